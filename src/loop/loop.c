/* Building loop IR: hash-consed expressions with constant folding, statements in open blocks.
 * i64 arithmetic is simplified in index.c. */
#include "loop/loop.h"
#include "loop/index.h"

void tn_loop_init(tn_loop *k, tn_arena *arena, tn_dims *dims, const char *name) {
    *k = (tn_loop){.arena = arena, .dims = dims, .name = tn_arena_strdup(arena, name), .note = ""};
    tn_map_init(&k->expr_ids, arena);
    tn_vec_push(arena, &k->exprs, (tn_lexpr){0});
    tn_vec_push(arena, &k->facts, (tn_lfacts){0});
    tn_vec_push(arena, &k->stmts, (tn_lstmt){0});
    tn_vec_push(arena, &k->vars, (tn_lvar){.name = "task"});
}

/* ---- parameters and storage ----------------------------------------------------------------- */

uint32_t tn_l_buffer(tn_loop *k, tn_lbuffer_kind kind, tn_dtype dtype, const char *name) {
    tn_lbuffer b = {.kind = kind, .dtype = dtype, .name = tn_arena_strdup(k->arena, name)};
    tn_vec_push(k->arena, &k->buffers, b);
    return k->buffers.len - 1;
}

uint32_t tn_l_scratch(tn_loop *k, tn_dtype dtype, tn_lx size, const char *name) {
    uint32_t id = tn_l_buffer(k, TN_LBUF_SCRATCH, dtype, name);
    k->buffers.data[id].size = size;
    return id;
}

uint32_t tn_l_register(tn_loop *k, tn_dtype dtype, uint32_t count, const char *name) {
    TN_ASSERT(count > 0);
    tn_lregister r = {dtype, count, tn_arena_strdup(k->arena, name)};
    tn_vec_push(k->arena, &k->registers, r);
    return k->registers.len - 1;
}

/* ---- interning ------------------------------------------------------------------------------ */

typedef struct expr_key {
    uint32_t kind, dtype, op, index, a, b, c, zero;
    uint64_t value;
} expr_key;

static void facts_include(const tn_loop *k, tn_lfacts *f, tn_lx operand) {
    if (!operand) return;
    const tn_lfacts *from = &k->facts.data[operand];
    f->vars |= from->vars;
    f->inner = TN_MAX(f->inner, from->inner);
    f->depth = TN_MAX(f->depth, from->depth + 1);
}

/* Lanes count as the innermost variables of all. */
static void facts_include_var(const tn_loop *k, tn_lfacts *f, uint32_t var) {
    bool lane = k->vars.data[var].lane;
    f->vars |= 1ull << tn__l_var_bit(k, var);
    f->inner = TN_MAX(f->inner, lane ? UINT32_MAX - 1 : var + 1);
}

static tn_lfacts facts_of(const tn_loop *k, const tn_lexpr *e) {
    tn_lfacts f = {.lo = INT64_MIN, .hi = INT64_MAX};
    if (e->kind == TN_LX_VAR) facts_include_var(k, &f, e->index);
    if (e->kind == TN_LX_LET)
        for (uint32_t i = 0; i < k->open.len; i++) {
            const tn_lstmt *s = &k->stmts.data[k->open.data[i]];
            if (s->kind == TN_LS_FOR) facts_include_var(k, &f, s->var);
        }
    if (e->kind == TN_LX_LET && e->index < k->stmts.len) {
        const tn_lstmt *s = &k->stmts.data[e->index];
        facts_include(k, &f, s->a);
        facts_include(k, &f, s->b);
        facts_include(k, &f, s->c);
        facts_include_var(k, &f, 0);
    }
    facts_include(k, &f, e->a);
    facts_include(k, &f, e->b);
    facts_include(k, &f, e->c);
    if (e->dtype == TN_i64) tn__l_range(k, e, &f.lo, &f.hi);
    return f;
}

tn_lx tn__l_intern(tn_loop *k, tn_lexpr e) {
    expr_key key = {e.kind, e.dtype, e.op, e.index, e.a, e.b, e.c, 0, e.value.u};
    uint32_t id;
    if (tn_map_get(&k->expr_ids, &key, sizeof key, &id)) return id;
    id = k->exprs.len;
    tn_lfacts facts = facts_of(k, &e);
    tn_vec_push(k->arena, &k->exprs, e);
    tn_vec_push(k->arena, &k->facts, facts);
    tn_map_put(&k->expr_ids, &key, sizeof key, id);
    return id;
}

/* ---- leaves --------------------------------------------------------------------------------- */

tn_lx tn_l_const(tn_loop *k, tn_dtype dtype, tn_cell value) {
    return tn__l_intern(
        k, (tn_lexpr){.kind = TN_LX_CONST, .dtype = dtype, .value = tn_cell_round(dtype, value)});
}

tn_lx tn_l_int(tn_loop *k, int64_t value) {
    return tn_l_const(k, TN_i64, (tn_cell){.i = value});
}

tn_lx tn_l_number(tn_loop *k, tn_dtype dtype, double value) {
    return tn_l_const(k, dtype, tn_cell_of(dtype, value));
}

tn_lx tn_l_scalar(tn_loop *k, uint32_t index) {
    return tn__l_intern(k, (tn_lexpr){.kind = TN_LX_SCALAR, .dtype = TN_i64, .index = index});
}

static tn_lx scalar_of(tn_loop *k, tn_dim d, int64_t lo, int64_t hi) {
    uint32_t i = 0;
    while (i < k->scalars.len && k->scalars.data[i].dim != d) i++;
    if (i == k->scalars.len) tn_vec_push(k->arena, &k->scalars, (tn_lscalar){d, lo, hi});
    return tn_l_scalar(k, i);
}

static bool dim_constant(const tn_loop *k, tn_dim d, int64_t *value) {
    *value = d;
    return tn_dim_is_const(d) || (k->dims && tn_dim_const_value(k->dims, d, value));
}

tn_lx tn_l_dim(tn_loop *k, tn_dim d) {
    int64_t value;
    if (dim_constant(k, d, &value)) return tn_l_int(k, value);
    return scalar_of(k, d, tn_dim_lo(k->dims, d), tn_dim_hi(k->dims, d));
}

tn_lx tn_l_open_dim(tn_loop *k, tn_dim d) {
    int64_t value;
    if (!dim_constant(k, d, &value)) return tn_l_dim(k, d);
    return scalar_of(k, d, value < 1 ? value : 1, TN_DIM_UNBOUNDED);
}

tn_lx tn_l_task(tn_loop *k) {
    return tn__l_intern(k, (tn_lexpr){.kind = TN_LX_VAR, .dtype = TN_i64, .index = 0});
}

/* ---- operations ----------------------------------------------------------------------------- */

static bool is_const(const tn_loop *k, tn_lx e) {
    return k->exprs.data[e].kind == TN_LX_CONST;
}

static tn_cell cell_of(const tn_loop *k, tn_lx e) {
    return k->exprs.data[e].value;
}

static bool is_flag(const tn_loop *k, tn_lx e, bool value) {
    return is_const(k, e) && tn_l_type(k, e) == TN_bool && cell_of(k, e).u == value;
}

tn_lx tn__l_op(tn_loop *k, tn_scalar_op op, tn_lx a, tn_lx b, tn_lx c) {
    tn_dtype dtype = tn_l_type(k, a);
    tn_dtype result = tn_scalar_gives_flag(op) ? TN_bool : dtype;
    TN_ASSERT(tn_scalar_accepts(op, dtype));
    TN_ASSERT((!b || tn_l_type(k, b) == dtype) && (!c || tn_l_type(k, c) == dtype));
    if (is_const(k, a) && (!b || is_const(k, b)) && (!c || is_const(k, c))) {
        tn_cell zero = {0};
        tn_cell value = tn_scalar_apply(op, dtype, cell_of(k, a), b ? cell_of(k, b) : zero,
                                        c ? cell_of(k, c) : zero);
        return tn_l_const(k, result, value);
    }
    return tn__l_intern(
        k, (tn_lexpr){.kind = TN_LX_OP, .dtype = result, .op = op, .a = a, .b = b, .c = c});
}

tn_lx tn_l_op1(tn_loop *k, tn_scalar_op op, tn_lx a) {
    const tn_lexpr *e = tn_l_expr(k, a);
    if (op == TN_S_neg && e->dtype == TN_i64) return tn_l_sub(k, tn_l_int(k, 0), a);
    if (op == TN_S_not && e->kind == TN_LX_OP && e->op == TN_S_not) return e->a;
    return tn__l_op(k, op, a, TN_LX_NONE, TN_LX_NONE);
}

static bool fold_flags(tn_loop *k, tn_scalar_op op, tn_lx a, tn_lx b, tn_lx *out) {
    if (op != TN_S_and && op != TN_S_or) return false;
    bool neutral = op == TN_S_and;
    if (a == b || is_flag(k, b, neutral) || is_flag(k, a, !neutral))
        *out = a;
    else if (is_flag(k, a, neutral) || is_flag(k, b, !neutral))
        *out = b;
    else
        return false;
    return true;
}

static bool fold_integer(tn_loop *k, tn_scalar_op op, tn_lx a, tn_lx b, tn_lx *out) {
    int64_t lo_a, lo_b, unused;
    switch (op) {
    case TN_S_add:
        *out = tn_l_add(k, a, b);
        return true;
    case TN_S_sub:
        *out = tn_l_sub(k, a, b);
        return true;
    case TN_S_mul:
        *out = tn_l_mul(k, a, b);
        return true;
    case TN_S_min:
        *out = tn_l_min(k, a, b);
        return true;
    case TN_S_max:
        *out = tn_l_max(k, a, b);
        return true;
    case TN_S_lt:
        *out = tn_l_lt(k, a, b);
        return true;
    case TN_S_le:
        *out = tn_l_le(k, a, b);
        return true;
    case TN_S_gt:
        *out = tn_l_lt(k, b, a);
        return true;
    case TN_S_ge:
        *out = tn_l_le(k, b, a);
        return true;
    case TN_S_eq:
    case TN_S_ne:
        return tn__l_fold_equal(k, op, a, b, out);
    case TN_S_div:
    case TN_S_rem:
        tn_l_bounds(k, a, &lo_a, &unused);
        tn_l_bounds(k, b, &lo_b, &unused);
        if (lo_a < 0 || lo_b < 1) return false;
        *out = op == TN_S_div ? tn_l_div(k, a, b) : tn_l_mod(k, a, b);
        return true;
    default:
        return false;
    }
}

tn_lx tn_l_op2(tn_loop *k, tn_scalar_op op, tn_lx a, tn_lx b) {
    tn_lx folded;
    tn_dtype dtype = tn_l_type(k, a);
    TN_ASSERT(dtype == tn_l_type(k, b));
    if (dtype == TN_bool && fold_flags(k, op, a, b, &folded)) return folded;
    if (dtype == TN_i64 && fold_integer(k, op, a, b, &folded)) return folded;
    if ((op == TN_S_min || op == TN_S_max) && a == b) return a;
    if (op == TN_S_sub && dtype == TN_f32 && (folded = tn__l_integer_sub(k, a, b))) return folded;
    return tn__l_op(k, op, a, b, TN_LX_NONE);
}

tn_lx tn_l_op3(tn_loop *k, tn_scalar_op op, tn_lx a, tn_lx b, tn_lx c) {
    return tn__l_op(k, op, a, b, c);
}

tn_lx tn_l_select(tn_loop *k, tn_lx flag, tn_lx a, tn_lx b) {
    TN_ASSERT(tn_l_type(k, flag) == TN_bool && tn_l_type(k, a) == tn_l_type(k, b));
    if (is_const(k, flag)) return cell_of(k, flag).u ? a : b;
    if (a == b) return a;
    if (is_flag(k, a, true) && is_flag(k, b, false)) return flag;
    return tn__l_intern(
        k, (tn_lexpr){.kind = TN_LX_SELECT, .dtype = tn_l_type(k, a), .a = flag, .b = a, .c = b});
}

tn_lx tn_l_cast(tn_loop *k, tn_lx a, tn_dtype to, bool saturate) {
    if (tn_l_type(k, a) != to) a = tn__l_before_cast(k, a);
    tn_dtype from = tn_l_type(k, a);
    if (from == to) return a;
    if (is_const(k, a))
        return tn_l_const(k, to,
                          saturate ? tn_cell_cast_saturate(from, to, cell_of(k, a))
                                   : tn_cell_cast(from, to, cell_of(k, a)));
    bool matters = saturate && tn_dtype_is_float(to) && tn_dtype_bits(to) <= 8;
    return tn__l_intern(k, (tn_lexpr){.kind = TN_LX_CAST, .dtype = to, .index = matters, .a = a});
}

tn_lx tn_l_bitcast(tn_loop *k, tn_lx a, tn_dtype to) {
    tn_dtype from = tn_l_type(k, a);
    if (from == to) return a;
    TN_ASSERT(tn_dtype_size(from) == tn_dtype_size(to));
    if (is_const(k, a)) {
        uint64_t bits = 0;
        tn_cell_store(from, &bits, cell_of(k, a));
        return tn_l_const(k, to, tn_cell_load(to, &bits));
    }
    return tn__l_intern(k, (tn_lexpr){.kind = TN_LX_BITCAST, .dtype = to, .a = a});
}

tn_lx tn_l_and(tn_loop *k, tn_lx a, tn_lx b) {
    if (!a || !b) return a ? a : b;
    return tn_l_op2(k, TN_S_and, a, b);
}

/* ---- statements ----------------------------------------------------------------------------- */

static tn_ls append(tn_loop *k, tn_lstmt s) {
    tn_ls id = k->stmts.len;
    tn_vec_push(k->arena, &k->stmts, s);
    if (k->last)
        k->stmts.data[k->last].next = id;
    else if (!k->open.len)
        k->body = id;
    else if (k->in_else)
        k->stmts.data[k->open.data[k->open.len - 1]].other = id;
    else
        k->stmts.data[k->open.data[k->open.len - 1]].body = id;
    k->last = id;
    return id;
}

static tn_lx append_let(tn_loop *k, tn_lstmt s) {
    s.kind = TN_LS_LET;
    tn_ls id = append(k, s);
    return tn__l_intern(k, (tn_lexpr){.kind = TN_LX_LET, .dtype = s.dtype, .index = id});
}

tn_lx tn_l_load(tn_loop *k, uint32_t buffer, tn_lx offset, tn_lx guard, tn_lx other) {
    const tn_lbuffer *b = &k->buffers.data[buffer];
    if (guard && is_flag(k, guard, true)) guard = TN_LX_NONE;
    if (!guard)
        other = TN_LX_NONE;
    else if (!other)
        other = tn_l_const(k, b->dtype, (tn_cell){0});
    if (guard && is_flag(k, guard, false)) return other;
    if (b->kind == TN_LBUF_INPUT)
        return tn__l_intern(k, (tn_lexpr){.kind = TN_LX_LOAD,
                                          .dtype = b->dtype,
                                          .index = buffer,
                                          .a = offset,
                                          .b = guard,
                                          .c = other});
    return append_let(k, (tn_lstmt){.let = TN_LET_LOAD,
                                    .dtype = b->dtype,
                                    .target = buffer,
                                    .a = offset,
                                    .b = guard,
                                    .c = other});
}

tn_lx tn_l_get(tn_loop *k, uint32_t reg, tn_lx index) {
    return append_let(k, (tn_lstmt){.let = TN_LET_REGISTER,
                                    .dtype = k->registers.data[reg].dtype,
                                    .target = reg,
                                    .a = index});
}

tn_lx tn_l_let(tn_loop *k, tn_lx value) {
    tn_lx_kind kind = tn_l_expr(k, value)->kind;
    if (kind == TN_LX_CONST || kind == TN_LX_VAR || kind == TN_LX_SCALAR || kind == TN_LX_LET)
        return value;
    return append_let(k, (tn_lstmt){.let = TN_LET_VALUE, .dtype = tn_l_type(k, value), .a = value});
}

tn_lx tn_l_fold(tn_loop *k, tn_scalar_op op, uint32_t reg) {
    return append_let(
        k, (tn_lstmt){
               .let = TN_LET_FOLD, .dtype = k->registers.data[reg].dtype, .op = op, .target = reg});
}

tn_lx tn_l_ticket(tn_loop *k, tn_lx counter) {
    return append_let(k, (tn_lstmt){.let = TN_LET_TICKET, .dtype = TN_i64, .a = counter});
}

void tn_l_store(tn_loop *k, uint32_t buffer, tn_lx offset, tn_lx value) {
    TN_ASSERT(k->buffers.data[buffer].dtype == tn_l_type(k, value));
    append(k, (tn_lstmt){.kind = TN_LS_STORE, .target = buffer, .a = offset, .b = value});
}

void tn_l_set(tn_loop *k, uint32_t reg, tn_lx index, tn_lx value) {
    TN_ASSERT(k->registers.data[reg].dtype == tn_l_type(k, value));
    append(k, (tn_lstmt){.kind = TN_LS_SET, .target = reg, .a = index, .b = value});
}

void tn_l_error(tn_loop *k, uint32_t error) {
    append(k, (tn_lstmt){.kind = TN_LS_ERROR, .target = error});
}

uint32_t tn_l_square(const tn_loop *k, uint32_t reg) {
    uint32_t count = k->registers.data[reg].count;
    for (uint32_t n = 1; n * n <= count; n *= 2)
        if (n * n == count) return n;
    return 0;
}

void tn_l_transpose(tn_loop *k, uint32_t reg) {
    TN_ASSERT(tn_l_square(k, reg));
    append(k, (tn_lstmt){.kind = TN_LS_TRANSPOSE, .target = reg});
}

void tn_l_prefetch(tn_loop *k, uint32_t buffer, tn_lx offset) {
    append(k, (tn_lstmt){.kind = TN_LS_PREFETCH, .target = buffer, .a = offset});
}

/* ---- blocks --------------------------------------------------------------------------------- */

static void open_block(tn_loop *k, tn_ls statement) {
    tn_vec_push(k->arena, &k->open, statement);
    k->last = TN_LS_NONE;
    k->in_else = false;
}

tn_lx tn_l_for(tn_loop *k, tn_loop_kind kind, tn_lx lo, tn_lx hi, const char *name) {
    uint32_t var = k->vars.len;
    tn_vec_push(k->arena, &k->vars,
                (tn_lvar){.name = tn_arena_strdup(k->arena, name), .lo = lo, .hi = hi});
    open_block(
        k, append(k, (tn_lstmt){.kind = TN_LS_FOR, .loop = kind, .var = var, .a = lo, .b = hi}));
    return tn__l_intern(k, (tn_lexpr){.kind = TN_LX_VAR, .dtype = TN_i64, .index = var});
}

tn_lx tn_l_lane(tn_loop *k, uint32_t var) {
    TN_ASSERT(k->vars.data[var].lane);
    return tn__l_intern(k, (tn_lexpr){.kind = TN_LX_VAR, .dtype = TN_i64, .index = var});
}

void tn_l_vector(tn_loop *k, uint32_t var) {
    const tn_lvar *v = &k->vars.data[var];
    open_block(
        k,
        append(k,
               (tn_lstmt){
                   .kind = TN_LS_FOR, .loop = TN_LOOP_VECTOR, .var = var, .a = v->lo, .b = v->hi}));
}

void tn_l_if(tn_loop *k, tn_lx condition) {
    open_block(k, append(k, (tn_lstmt){.kind = TN_LS_IF, .a = condition}));
}

void tn_l_else(tn_loop *k) {
    TN_ASSERT(k->open.len && !k->in_else);
    TN_ASSERT(k->stmts.data[k->open.data[k->open.len - 1]].kind == TN_LS_IF);
    k->last = TN_LS_NONE;
    k->in_else = true;
}

void tn_l_end(tn_loop *k) {
    TN_ASSERT(k->open.len);
    tn_ls closed = k->open.data[--k->open.len];
    k->last = closed;
    /* The closed statement is the last of its block, so that block is the else branch if there is
     * one. */
    k->in_else = k->open.len && k->stmts.data[k->open.data[k->open.len - 1]].other;
}

/* ---- sizes ---------------------------------------------------------------------------------- */

/* The value of an expression over constants and scalars. */
static int64_t size_value(const tn_loop *k, tn_lx e, const int64_t *scalars) {
    const tn_lexpr *x = tn_l_expr(k, e);
    if (x->kind == TN_LX_CONST) return x->value.i;
    if (x->kind == TN_LX_SCALAR) return scalars[x->index];
    TN_ASSERT(x->kind == TN_LX_OP || x->kind == TN_LX_SELECT);
    tn_cell a = {.i = size_value(k, x->a, scalars)};
    tn_cell b = {.i = x->b ? size_value(k, x->b, scalars) : 0};
    tn_cell c = {.i = x->c ? size_value(k, x->c, scalars) : 0};
    if (x->kind == TN_LX_SELECT) return a.u ? b.i : c.i;
    return tn_scalar_apply(x->op, tn_l_type(k, x->a), a, b, c).i;
}

int64_t tn_loop_task_count(const tn_loop *k, const int64_t *scalars) {
    return k->tasks ? size_value(k, k->tasks, scalars) : 1;
}

int64_t tn_loop_buffer_elements(const tn_loop *k, uint32_t buffer, const int64_t *scalars) {
    return size_value(k, k->buffers.data[buffer].size, scalars);
}

size_t tn_loop_scratch_offset(const tn_loop *k, uint32_t buffer, const int64_t *scalars) {
    size_t offset = 0;
    for (uint32_t i = 0; i < buffer; i++) {
        if (k->buffers.data[i].kind != TN_LBUF_SCRATCH) continue;
        size_t bytes;
        int64_t elements = tn_loop_buffer_elements(k, i, scalars);
        if (elements < 0 ||
            !tn_size_mul((size_t)elements, tn_dtype_size(k->buffers.data[i].dtype), &bytes) ||
            !tn_size_add(bytes, 63, &bytes) || !tn_size_add(offset, bytes & ~(size_t)63, &offset))
            tn_out_of_memory();
    }
    return offset;
}

size_t tn_loop_scratch_bytes(const tn_loop *k, const int64_t *scalars) {
    return tn_loop_scratch_offset(k, k->buffers.len, scalars);
}

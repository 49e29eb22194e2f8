/* Unrolling and the choice of vector widths. See expand.h.
 *
 * The kernel is built anew through the builder, statement by statement, so that indices simplify
 * under the constants that replace unrolled variables. `image` maps expressions; what was entered
 * within a block is forgotten at its end. */
#include "codegen/expand.h"

enum {
    SHORT_LOOP = 16,        /* iterations below which a loop without lanes is unrolled */
    STATEMENT_LIMIT = 8000, /* beyond it nothing is unrolled any more */
    WIDTHS = 7,             /* 1, 2, 4 … 64 lanes */
};

typedef struct expander {
    const tn_loop *from;
    tn_loop *to;
    const tn_target *target;
    tn_lx *image;
    tn_lx *var_value, *let_value; /* variable, LET → the expression that names it, or NONE */
    TN_VEC(tn_lx) entered;
    const uint64_t *indices; /* of `from`: see find_indices */
    uint32_t width;          /* of the VECTOR loop being built, or 0 */
    tn_lx mask;              /* what lanes must satisfy inside IFs of the VECTOR loop, or NONE */
} expander;

static tn_lx map(expander *x, tn_lx e);
static void map_block(expander *x, tn_ls first);

/* ---- expressions ---------------------------------------------------------------------------- */

static bool uses_lane(const expander *x, tn_lx e) {
    return x->width && tn_l_uses_var(x->to, e, tn__expand_lane(x->to, x->width));
}

static tn_lx map_load(expander *x, const tn_lexpr *e) {
    tn_lx index = map(x, e->a), guard = e->b ? map(x, e->b) : TN_LX_NONE;
    tn_lx other = e->c ? map(x, e->c) : TN_LX_NONE;
    if (x->mask && uses_lane(x, index)) guard = tn_l_and(x->to, x->mask, guard);
    return tn_l_load(x->to, e->index, index, guard, other);
}

static tn_lx map_op(expander *x, const tn_lexpr *e) {
    tn_lx a = map(x, e->a), b = e->b ? map(x, e->b) : TN_LX_NONE;
    if (e->index == 1) return e->op == TN_S_div ? tn_l_div(x->to, a, b) : tn_l_mod(x->to, a, b);
    if (e->c) return tn_l_op3(x->to, e->op, a, b, map(x, e->c));
    return b ? tn_l_op2(x->to, e->op, a, b) : tn_l_op1(x->to, e->op, a);
}

static tn_lx map_fresh(expander *x, const tn_lexpr *e) {
    switch (e->kind) {
    case TN_LX_CONST:
        return tn_l_const(x->to, e->dtype, e->value);
    case TN_LX_VAR:
        return tn_l_task(x->to); /* others are entered by their loops */
    case TN_LX_SCALAR:
        return tn_l_scalar(x->to, e->index);
    case TN_LX_OP:
        return map_op(x, e);
    case TN_LX_SELECT: {
        tn_lx flag = map(x, e->a), yes = map(x, e->b);
        return tn_l_select(x->to, flag, yes, map(x, e->c));
    }
    case TN_LX_CAST:
        return tn_l_cast(x->to, map(x, e->a), e->dtype, e->index);
    case TN_LX_BITCAST:
        return tn_l_bitcast(x->to, map(x, e->a), e->dtype);
    case TN_LX_LOAD:
        return map_load(x, e);
    default:
        TN_BUG("kernel '%s' uses a value outside its scope", x->from->name);
    }
}

static void enter(expander *x, tn_lx from, tn_lx to) {
    x->image[from] = to;
    tn_vec_push(x->to->arena, &x->entered, from);
}

static tn_lx map(expander *x, tn_lx e) {
    if (!x->image[e]) enter(x, e, map_fresh(x, tn_l_expr(x->from, e)));
    return x->image[e];
}

static tn_lx map_or_none(expander *x, tn_lx e) {
    return e ? map(x, e) : TN_LX_NONE;
}

static void forget(expander *x, uint32_t mark) {
    while (x->entered.len > mark) x->image[x->entered.data[--x->entered.len]] = TN_LX_NONE;
}

/* ---- widths --------------------------------------------------------------------------------- */

uint32_t tn__expand_lane(tn_loop *k, uint32_t width) {
    uint32_t var = 1;
    for (uint32_t w = 1; w < width; w *= 2) var++;
    TN_ASSERT(var <= WIDTHS && k->vars.data[var].lane);
    return var;
}

static void make_lanes(tn_loop *to) {
    for (uint32_t w = 1, i = 0; i < WIDTHS; i++, w *= 2) {
        tn_lvar v = {.name = "lane", .lo = tn_l_int(to, 0), .hi = tn_l_int(to, w), .lane = true};
        tn_vec_push(to->arena, &to->vars, v);
    }
}

/* Between memory and a register without any work: such data may fill whole vectors. */
static bool only_moves(const tn_loop *k, const tn_lstmt *s) {
    const tn_lexpr *value = tn_l_expr(k, s->b);
    while (value->kind == TN_LX_BITCAST) value = tn_l_expr(k, value->a);
    if (s->kind == TN_LS_SET) return value->kind == TN_LX_LOAD || value->kind == TN_LX_CONST;
    return value->kind == TN_LX_LET && k->stmts.data[value->index].let == TN_LET_REGISTER;
}

/* Bytes of the narrowest data that a statement deals with; index arithmetic does not count. Where
 * there is work at least 4: narrower data then have the lanes of f32. */
static size_t data_bytes(const tn_loop *k, const tn_lstmt *s) {
    size_t bytes = 8;
    if (s->kind == TN_LS_STORE) bytes = tn_dtype_size(k->buffers.data[s->target].dtype);
    if (s->kind == TN_LS_SET) bytes = tn_dtype_size(k->registers.data[s->target].dtype);
    if (s->kind == TN_LS_LET) bytes = tn_dtype_size(s->dtype);
    bool moves = (s->kind == TN_LS_STORE || s->kind == TN_LS_SET) && only_moves(k, s);
    return moves ? bytes : TN_MAX(bytes, 4);
}

static uint64_t variable_bit(uint32_t var) {
    return UINT64_C(1) << TN_MIN(var, 62);
}

/* Of each expression, the variables that decide which 64-bit integers in memory it takes an index from. */
static const uint64_t *find_indices(const tn_loop *k, tn_arena *arena) {
    uint64_t *read = TN_NEW_N(arena, uint64_t, k->exprs.len);
    uint64_t *used = TN_NEW_N(arena, uint64_t, k->exprs.len);
    for (tn_lx e = 1; e < k->exprs.len; e++) { /* operands come first */
        const tn_lexpr *x = tn_l_expr(k, e);
        read[e] = read[x->a] | read[x->b] | read[x->c];
        used[e] = used[x->a] | used[x->b] | used[x->c];
        if (x->kind != TN_LX_LOAD) continue;
        used[e] |= read[x->a];
        if (tn_dtype_is_integer(x->dtype) && tn_dtype_size(x->dtype) == 8)
            read[e] |= k->facts.data[x->a].vars;
    }
    return used;
}

/* Whether lanes look up indices: these are 64-bit numbers, and compilers take vectors of them that are
 * wider than the target's apart. */
static bool looks_up(const expander *x, tn_ls first, uint32_t var) {
    for (tn_ls id = first; id; id = x->from->stmts.data[id].next) {
        const tn_lstmt *s = &x->from->stmts.data[id];
        uint64_t used = x->indices[s->a] | x->indices[s->b] | x->indices[s->c];
        if (used & variable_bit(var)) return true;
        if (looks_up(x, s->body, var) || looks_up(x, s->other, var)) return true;
    }
    return false;
}

static size_t block_bytes(const tn_loop *k, tn_ls first) {
    size_t least = 8;
    for (tn_ls id = first; id; id = k->stmts.data[id].next) {
        const tn_lstmt *s = &k->stmts.data[id];
        least = TN_MIN(least, data_bytes(k, s));
        least = TN_MIN(least, block_bytes(k, s->body));
        least = TN_MIN(least, block_bytes(k, s->other));
    }
    return least;
}

/* The widest vector with which a VECTOR loop of this length begins, so that the vectors that follow, each
 * as wide as fits, take all of it; 0 when its length fits no vectors. */
static uint32_t choose_width(const expander *x, const tn_lstmt *s, int64_t length) {
    enum { LEAST_BYTES = 16, MOST_LANES = 1 << (WIDTHS - 1) };
    size_t bytes = block_bytes(x->from, s->body), least = LEAST_BYTES / TN_MAX(bytes, 4);
    size_t most = TN_MIN((size_t)x->target->vector_bytes / bytes, (size_t)MOST_LANES);
    if (looks_up(x, s->body, s->var)) most = TN_MIN(most, (size_t)x->target->vector_bytes / 8);
    if (most < least || length % (int64_t)least != 0) return 0;
    while ((int64_t)most > length) most /= 2;
    return (uint32_t)most;
}

/* ---- statements ----------------------------------------------------------------------------- */

static void map_serial(expander *x, const tn_lstmt *s, tn_lx var) {
    uint32_t mark = x->entered.len;
    tn_lx lo = map(x, s->a), hi = map(x, s->b);
    enter(x, var, tn_l_for(x->to, TN_LOOP_SERIAL, lo, hi, x->from->vars.data[s->var].name));
    map_block(x, s->body);
    tn_l_end(x->to);
    forget(x, mark);
}

static void map_unrolled(expander *x, const tn_lstmt *s, tn_lx var, int64_t lo, int64_t hi) {
    for (int64_t i = lo; i < hi; i++) {
        uint32_t mark = x->entered.len;
        enter(x, var, tn_l_int(x->to, i));
        map_block(x, s->body);
        forget(x, mark);
    }
}

static void map_vector(expander *x, const tn_lstmt *s, tn_lx var, int64_t lo, int64_t hi) {
    tn_loop *to = x->to;
    for (int64_t i = lo; i < hi; i += x->width) {
        uint32_t mark = x->entered.len;
        while (x->width > hi - i) x->width /= 2;
        uint32_t lane = tn__expand_lane(to, x->width);
        tn_lx element = tn_l_add(to, tn_l_lane(to, lane), tn_l_int(to, i));
        tn_l_vector(to, lane);
        enter(x, var, element);
        map_block(x, s->body);
        tn_l_end(to);
        forget(x, mark);
    }
}

static void map_for(expander *x, const tn_lstmt *s) {
    int64_t lo, hi;
    tn_lx var = x->var_value[s->var];
    bool constant = tn_l_is_const_int(x->from, s->a, &lo) && tn_l_is_const_int(x->from, s->b, &hi);
    bool room = x->to->stmts.len < STATEMENT_LIMIT;
    if (s->loop == TN_LOOP_VECTOR && constant && hi > lo && room) {
        x->width = choose_width(x, s, hi - lo);
        if (x->width) map_vector(x, s, var, lo, hi);
        bool done = x->width;
        x->width = 0;
        if (done) return;
    }
    bool unroll = s->loop == TN_LOOP_UNROLL || (s->loop == TN_LOOP_VECTOR && hi - lo < SHORT_LOOP);
    if (unroll && constant && room)
        map_unrolled(x, s, var, lo, hi);
    else
        map_serial(x, s, var);
}

static void map_branch(expander *x, tn_ls first, tn_lx mask) {
    uint32_t mark = x->entered.len;
    tn_lx outer = x->mask;
    x->mask = mask;
    map_block(x, first);
    x->mask = outer;
    forget(x, mark);
}

static void map_if(expander *x, const tn_lstmt *s) {
    tn_loop *to = x->to;
    tn_lx condition = map(x, s->a), yes = x->mask, no = x->mask;
    const tn_lexpr *c = tn_l_expr(to, condition);
    if (c->kind == TN_LX_CONST) {
        map_branch(x, c->value.u ? s->body : s->other, x->mask);
        return;
    }
    if (uses_lane(x, condition)) {
        yes = tn_l_and(to, x->mask, condition);
        if (s->other) no = tn_l_and(to, x->mask, tn_l_op1(to, TN_S_not, condition));
    }
    tn_l_if(to, condition);
    map_branch(x, s->body, yes);
    if (s->other) {
        tn_l_else(to);
        map_branch(x, s->other, no);
    }
    tn_l_end(to);
}

static void map_let(expander *x, tn_ls id, const tn_lstmt *s) {
    tn_loop *to = x->to;
    tn_lx a = map_or_none(x, s->a), b = map_or_none(x, s->b), c = map_or_none(x, s->c), value;
    switch (s->let) {
    case TN_LET_LOAD:
        if (x->mask && uses_lane(x, a)) b = tn_l_and(to, x->mask, b);
        value = tn_l_load(to, s->target, a, b, c);
        break;
    case TN_LET_REGISTER:
        value = tn_l_get(to, s->target, a);
        break;
    case TN_LET_FOLD:
        value = tn_l_fold(to, s->op, s->target);
        break;
    case TN_LET_TICKET:
        value = tn_l_ticket(to, a);
        break;
    default:
        value = tn_l_let(to, a);
        break;
    }
    enter(x, x->let_value[id], value);
}

static void map_block(expander *x, tn_ls first) {
    for (tn_ls id = first; id; id = x->from->stmts.data[id].next) {
        const tn_lstmt *s = &x->from->stmts.data[id];
        switch (s->kind) {
        case TN_LS_FOR:
            map_for(x, s);
            break;
        case TN_LS_IF:
            map_if(x, s);
            break;
        case TN_LS_LET:
            map_let(x, id, s);
            break;
        case TN_LS_TRANSPOSE:
            tn_l_transpose(x->to, s->target);
            break;
        case TN_LS_PREFETCH:
            tn_l_prefetch(x->to, s->target, map(x, s->a));
            break;
        case TN_LS_ERROR:
            tn_l_error(x->to, s->target);
            break;
        default: {
            tn_lx at = map(x, s->a), value = map(x, s->b);
            if (s->kind == TN_LS_STORE)
                tn_l_store(x->to, s->target, at, value);
            else
                tn_l_set(x->to, s->target, at, value);
        }
        }
    }
}

/* ---- entry ---------------------------------------------------------------------------------- */

static void copy_storage(expander *x) {
    const tn_loop *from = x->from;
    tn_loop *to = x->to;
    for (uint32_t i = 0; i < from->scalars.len; i++) {
        /* Kernels that differ in the bounds of their sizes share one text, so it must not use them.
         */
        tn_lscalar open = {from->scalars.data[i].dim, INT64_MIN, INT64_MAX};
        tn_vec_push(to->arena, &to->scalars, open);
    }
    for (uint32_t i = 0; i < from->registers.len; i++)
        tn_vec_push(to->arena, &to->registers, from->registers.data[i]);
    for (uint32_t i = 0; i < from->buffers.len; i++) {
        tn_lbuffer b = from->buffers.data[i];
        if (b.size) b.size = map(x, b.size);
        tn_vec_push(to->arena, &to->buffers, b);
    }
    to->counters = from->counters;
    to->note = from->note;
    if (from->tasks) to->tasks = map(x, from->tasks);
}

tn_loop *tn__expand(const tn_loop *k, const tn_target *target, tn_arena *arena) {
    expander x = {.from = k, .to = TN_NEW(arena, tn_loop), .target = target};
    x.image = TN_NEW_N(arena, tn_lx, k->exprs.len);
    x.indices = find_indices(k, arena);
    x.var_value = TN_NEW_N(arena, tn_lx, k->vars.len);
    x.let_value = TN_NEW_N(arena, tn_lx, k->stmts.len);
    for (tn_lx e = 1; e < k->exprs.len; e++) {
        const tn_lexpr *v = tn_l_expr(k, e);
        if (v->kind == TN_LX_VAR) x.var_value[v->index] = e;
        if (v->kind == TN_LX_LET) x.let_value[v->index] = e;
    }
    tn_loop_init(x.to, arena, NULL, k->name);
    make_lanes(x.to);
    copy_storage(&x);
    map_block(&x, k->body);
    return x.to;
}

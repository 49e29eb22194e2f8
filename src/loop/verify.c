/* The loop-IR verifier: types, scopes and structure. It accepts any bytes that tn_loop_read could
 * decode, so it trusts nothing but the handles' array bounds, which it checks first. */
#include "loop/loop.h"

#include <inttypes.h>

enum { MAX_SIZE_PARTS = 1 << 14 };

typedef struct checker {
    const tn_loop *k;
    tn_error *err;
    uint32_t *seen_in; /* expression → the scope in which it was found right, plus one */
    bool *scope_open;  /* scope → whether it still encloses the current place */
    bool *let_open;    /* LET statement → whether its value can be seen */
    bool *var_open;    /* loop variable */
    bool *stmt_seen;
    uint32_t scope, scopes, depth;
    bool in_vector;
} checker;

static tn_status refuse(checker *c, const char *kind, uint32_t id, const char *why) {
    return tn_error_set(c->err, TN_INVALID, "kernel '%s': %s %" PRIu32 ": %s", c->k->name, kind, id,
                        why);
}

#define EXPECT(condition, kind, id, why)                                                           \
    do {                                                                                           \
        if (!(condition)) return refuse(c, kind, id, why);                                         \
    } while (0)

/* ---- expressions on their own --------------------------------------------------------------- */

static tn_dtype type_or(const tn_loop *k, tn_lx e, tn_dtype otherwise) {
    return e ? k->exprs.data[e].dtype : otherwise;
}

static tn_status check_op(checker *c, tn_lx id, const tn_lexpr *x) {
    EXPECT(x->op < TN_SCALAR_COUNT, "expression", id, "unknown operation");
    int arity = tn_scalar_arity(x->op);
    EXPECT(x->a && (arity >= 2) == (x->b != 0) && (arity == 3) == (x->c != 0), "expression", id,
           "wrong number of operands");
    tn_dtype in = tn_l_type(c->k, x->a);
    EXPECT(type_or(c->k, x->b, in) == in && type_or(c->k, x->c, in) == in, "expression", id,
           "operands of different types");
    EXPECT(tn_scalar_accepts(x->op, in), "expression", id, "operation does not take this type");
    EXPECT(x->dtype == (tn_scalar_gives_flag(x->op) ? TN_bool : in), "expression", id,
           "wrong result type");
    bool index = x->dtype == TN_i64 && (x->op == TN_S_div || x->op == TN_S_rem);
    EXPECT(x->index == 0 || (x->index == 1 && index), "expression", id, "unknown variant");
    return TN_OK;
}

static tn_status check_leaf(checker *c, tn_lx id, const tn_lexpr *x) {
    const tn_loop *k = c->k;
    EXPECT(!x->a && !x->b && !x->c, "expression", id, "a leaf with operands");
    switch (x->kind) {
    case TN_LX_CONST: {
        tn_cell rounded = tn_cell_round(x->dtype, x->value);
        bool nan = tn_dtype_is_float(x->dtype) && x->value.f != x->value.f;
        EXPECT(nan || rounded.u == x->value.u, "expression", id, "constant is not of its type");
        return TN_OK;
    }
    case TN_LX_VAR:
        EXPECT(x->index < k->vars.len, "expression", id, "unknown variable");
        break;
    case TN_LX_SCALAR:
        EXPECT(x->index < k->scalars.len, "expression", id, "unknown parameter");
        break;
    default:
        EXPECT(x->index && x->index < k->stmts.len && k->stmts.data[x->index].kind == TN_LS_LET &&
                   k->stmts.data[x->index].dtype == x->dtype,
               "expression", id, "does not name a LET of its type");
        return TN_OK;
    }
    EXPECT(x->dtype == TN_i64, "expression", id, "variables and parameters are i64");
    return TN_OK;
}

static tn_status check_load(checker *c, tn_lx id, const tn_lexpr *x) {
    const tn_loop *k = c->k;
    EXPECT(x->index < k->buffers.len && k->buffers.data[x->index].kind == TN_LBUF_INPUT,
           "expression", id, "loads as an expression are from input buffers");
    EXPECT(k->buffers.data[x->index].dtype == x->dtype, "expression", id, "wrong type");
    EXPECT(x->a && tn_l_type(k, x->a) == TN_i64, "expression", id, "the element number is no i64");
    EXPECT(!x->b == !x->c && type_or(k, x->b, TN_bool) == TN_bool &&
               type_or(k, x->c, x->dtype) == x->dtype,
           "expression", id, "wrong guard");
    return TN_OK;
}

static tn_status check_expr(checker *c, tn_lx id) {
    const tn_loop *k = c->k;
    const tn_lexpr *x = tn_l_expr(k, id);
    EXPECT(x->dtype < TN_DTYPE_COUNT, "expression", id, "unknown type");
    EXPECT(x->a < id && x->b < id && x->c < id, "expression", id, "refers to a later expression");
    EXPECT(k->facts.data[id].depth <= TN_L_MAX_DEPTH, "expression", id, "nested too deeply");
    switch (x->kind) {
    case TN_LX_CONST:
    case TN_LX_VAR:
    case TN_LX_SCALAR:
    case TN_LX_LET:
        return check_leaf(c, id, x);
    case TN_LX_OP:
        return check_op(c, id, x);
    case TN_LX_SELECT:
        EXPECT(x->a && x->b && x->c && tn_l_type(k, x->a) == TN_bool &&
                   tn_l_type(k, x->b) == x->dtype && tn_l_type(k, x->c) == x->dtype,
               "expression", id, "wrong operands of a select");
        return TN_OK;
    case TN_LX_CAST:
        EXPECT(x->a && !x->b && !x->c && x->index <= 1, "expression", id, "wrong cast");
        return TN_OK;
    case TN_LX_BITCAST:
        EXPECT(x->a && !x->b && !x->c &&
                   tn_dtype_size(tn_l_type(k, x->a)) == tn_dtype_size(x->dtype),
               "expression", id, "a bitcast between sizes");
        return TN_OK;
    case TN_LX_LOAD:
        return check_load(c, id, x);
    default:
        return refuse(c, "expression", id, "unknown kind");
    }
}

/* ---- expressions in their place ------------------------------------------------------------- */

static bool leaf_visible(const checker *c, const tn_lexpr *x) {
    if (x->kind == TN_LX_LET) return c->let_open[x->index];
    return x->kind != TN_LX_VAR || c->var_open[x->index];
}

/* Every variable and LET that `e` needs can be seen here. */
static bool visible(checker *c, tn_lx e) {
    if (!e || (c->seen_in[e] && c->scope_open[c->seen_in[e] - 1])) return true;
    const tn_lexpr *x = tn_l_expr(c->k, e);
    if (!leaf_visible(c, x) || !visible(c, x->a) || !visible(c, x->b) || !visible(c, x->c))
        return false;
    c->seen_in[e] = c->scope + 1;
    return true;
}

static tn_status check_use(checker *c, tn_ls id, tn_lx e, tn_dtype dtype) {
    EXPECT(e && e < c->k->exprs.len, "statement", id, "an operand is missing");
    EXPECT(tn_l_type(c->k, e) == dtype, "statement", id, "an operand has the wrong type");
    EXPECT(visible(c, e), "statement", id, "uses a value outside its scope");
    return TN_OK;
}

/* Whether `e` is made of constants, parameters, operations and selects alone, and as a tree of no more than
 * `*budget` of them: its value is asked for without remembering those of its parts. */
static bool is_size(const checker *c, tn_lx e, uint32_t *budget) {
    if (!e) return true;
    if ((*budget)-- == 0) {
        *budget = 0;
        return false;
    }
    const tn_lexpr *x = tn_l_expr(c->k, e);
    if (x->kind == TN_LX_CONST || x->kind == TN_LX_SCALAR) return true;
    return (x->kind == TN_LX_OP || x->kind == TN_LX_SELECT) && is_size(c, x->a, budget) &&
           is_size(c, x->b, budget) && is_size(c, x->c, budget);
}

static tn_status check_size(checker *c, tn_lx e, const char *what) {
    uint32_t budget = MAX_SIZE_PARTS;
    bool right = e && e < c->k->exprs.len && tn_l_type(c->k, e) == TN_i64 && is_size(c, e, &budget);
    EXPECT(right, what, 0, "its size is not a short i64 expression over the parameters");
    return TN_OK;
}

/* ---- statements ----------------------------------------------------------------------------- */

static tn_status check_block(checker *c, tn_ls first);

static tn_status check_inner(checker *c, tn_ls first, uint32_t var) {
    uint32_t outer = c->scope;
    c->scope = c->scopes++;
    c->scope_open[c->scope] = true;
    if (var) c->var_open[var] = true;
    c->depth++;
    TN_CHECK(check_block(c, first));
    c->depth--;
    if (var) c->var_open[var] = false;
    c->scope_open[c->scope] = false;
    for (tn_ls s = first; s; s = c->k->stmts.data[s].next) c->let_open[s] = false;
    c->scope = outer;
    return TN_OK;
}

static tn_status check_for(checker *c, tn_ls id, const tn_lstmt *s) {
    const tn_loop *k = c->k;
    int64_t lo, hi;
    EXPECT(s->loop <= TN_LOOP_VECTOR, "statement", id, "unknown kind of loop");
    EXPECT(s->var && s->var < k->vars.len && !c->var_open[s->var], "statement", id,
           "unknown or open variable");
    EXPECT(k->vars.data[s->var].lo == s->a && k->vars.data[s->var].hi == s->b, "statement", id,
           "the variable has other bounds");
    TN_CHECK(check_use(c, id, s->a, TN_i64));
    TN_CHECK(check_use(c, id, s->b, TN_i64));
    EXPECT(!c->in_vector, "statement", id, "a loop inside a vector loop");
    if (s->loop != TN_LOOP_SERIAL) {
        bool constant = tn_l_is_const_int(k, s->a, &lo) && tn_l_is_const_int(k, s->b, &hi);
        EXPECT(constant, "statement", id, "an unrolled or vector loop without constant bounds");
        EXPECT(lo >= 0 && hi >= lo && hi - lo <= TN_L_MAX_REGISTER, "statement", id,
               "an unrolled or vector loop of this length");
    }
    c->in_vector = s->loop == TN_LOOP_VECTOR;
    TN_CHECK(check_inner(c, s->body, s->var));
    c->in_vector = false;
    return TN_OK;
}

static tn_status check_register(checker *c, tn_ls id, const tn_lstmt *s) {
    int64_t at;
    EXPECT(s->target < c->k->registers.len, "statement", id, "unknown register");
    TN_CHECK(check_use(c, id, s->a, TN_i64));
    if (tn_l_is_const_int(c->k, s->a, &at))
        EXPECT(at >= 0 && at < c->k->registers.data[s->target].count, "statement", id,
               "no such element of the register");
    return TN_OK;
}

static tn_status check_fold(checker *c, tn_ls id, const tn_lstmt *s) {
    EXPECT(s->target < c->k->registers.len, "statement", id, "unknown register");
    const tn_lregister *r = &c->k->registers.data[s->target];
    EXPECT(!c->in_vector, "statement", id, "a fold inside a vector loop");
    EXPECT(s->dtype == r->dtype && !(r->count & (r->count - 1)), "statement", id,
           "a fold needs a register of 2^n elements of its type");
    EXPECT(s->op < TN_SCALAR_COUNT && tn_scalar_arity(s->op) == 2 &&
               tn_scalar_accepts(s->op, s->dtype) && !tn_scalar_gives_flag(s->op),
           "statement", id, "a fold by an operation that does not combine two elements");
    return TN_OK;
}

static tn_status check_let(checker *c, tn_ls id, const tn_lstmt *s) {
    const tn_loop *k = c->k;
    EXPECT(s->dtype < TN_DTYPE_COUNT, "statement", id, "unknown type");
    switch (s->let) {
    case TN_LET_VALUE:
        TN_CHECK(check_use(c, id, s->a, s->dtype));
        break;
    case TN_LET_LOAD:
        EXPECT(s->target < k->buffers.len && k->buffers.data[s->target].dtype == s->dtype,
               "statement", id, "unknown buffer, or one of another type");
        TN_CHECK(check_use(c, id, s->a, TN_i64));
        EXPECT(!s->b == !s->c, "statement", id, "a guard and its other value come together");
        if (s->b) TN_CHECK(check_use(c, id, s->b, TN_bool));
        if (s->c) TN_CHECK(check_use(c, id, s->c, s->dtype));
        break;
    case TN_LET_REGISTER:
        TN_CHECK(check_register(c, id, s));
        EXPECT(k->registers.data[s->target].dtype == s->dtype, "statement", id, "wrong type");
        break;
    case TN_LET_FOLD:
        TN_CHECK(check_fold(c, id, s));
        break;
    case TN_LET_TICKET:
        TN_CHECK(check_use(c, id, s->a, TN_i64));
        EXPECT(s->dtype == TN_i64 && !c->in_vector, "statement", id, "a wrong ticket");
        break;
    default:
        return refuse(c, "statement", id, "unknown kind of LET");
    }
    c->let_open[id] = true;
    return TN_OK;
}

/* Operands and blocks that the kind of statement has no use for. */
static bool has_surplus(const tn_lstmt *s) {
    bool is_for = s->kind == TN_LS_FOR, is_if = s->kind == TN_LS_IF, is_let = s->kind == TN_LS_LET;
    bool guarded = is_let && s->let == TN_LET_LOAD;
    bool bare = s->kind == TN_LS_ERROR || s->kind == TN_LS_TRANSPOSE;
    bool single = is_if || bare || s->kind == TN_LS_PREFETCH || (is_let && !guarded);
    bool none = bare || (is_let && s->let == TN_LET_FOLD);
    return (none && s->a) || (single && s->b) || (!guarded && s->c) ||
           (!is_for && !is_if && s->body) || (!is_if && s->other);
}

static tn_status check_stmt(checker *c, tn_ls id, const tn_lstmt *s) {
    const tn_loop *k = c->k;
    EXPECT(!has_surplus(s), "statement", id, "has operands or blocks that its kind does not take");
    switch (s->kind) {
    case TN_LS_FOR:
        return check_for(c, id, s);
    case TN_LS_IF:
        TN_CHECK(check_use(c, id, s->a, TN_bool));
        TN_CHECK(check_inner(c, s->body, 0));
        return check_inner(c, s->other, 0);
    case TN_LS_LET:
        return check_let(c, id, s);
    case TN_LS_STORE:
        EXPECT(s->target < k->buffers.len && k->buffers.data[s->target].kind != TN_LBUF_INPUT,
               "statement", id, "no buffer to store to");
        TN_CHECK(check_use(c, id, s->a, TN_i64));
        return check_use(c, id, s->b, k->buffers.data[s->target].dtype);
    case TN_LS_SET:
        TN_CHECK(check_register(c, id, s));
        return check_use(c, id, s->b, k->registers.data[s->target].dtype);
    case TN_LS_TRANSPOSE:
        EXPECT(s->target < k->registers.len && tn_l_square(k, s->target) && !c->in_vector,
               "statement", id, "transposes what is no square register, or inside a vector loop");
        return TN_OK;
    case TN_LS_PREFETCH:
        EXPECT(s->target < k->buffers.len && !c->in_vector, "statement", id,
               "prefetches from no buffer, or inside a vector loop");
        return check_use(c, id, s->a, TN_i64);
    case TN_LS_ERROR:
        EXPECT(s->target && s->target <= INT32_MAX, "statement", id, "no error code");
        return TN_OK;
    default:
        return refuse(c, "statement", id, "unknown kind");
    }
}

static tn_status check_block(checker *c, tn_ls first) {
    enum { MAX_NESTING = 64 };
    EXPECT(c->depth <= MAX_NESTING, "statement", first, "nested too deeply");
    for (tn_ls id = first; id; id = c->k->stmts.data[id].next) {
        EXPECT(id < c->k->stmts.len, "statement", id, "is not there");
        EXPECT(!c->stmt_seen[id], "statement", id, "stands in two places");
        c->stmt_seen[id] = true;
        TN_CHECK(check_stmt(c, id, &c->k->stmts.data[id]));
    }
    return TN_OK;
}

/* ---- entry ---------------------------------------------------------------------------------- */

static tn_status check_storage(checker *c) {
    const tn_loop *k = c->k;
    for (uint32_t i = 0; i < k->buffers.len; i++) {
        const tn_lbuffer *b = &k->buffers.data[i];
        EXPECT(b->kind <= TN_LBUF_WORK && b->dtype < TN_DTYPE_COUNT, "buffer", i, "unknown kind");
        EXPECT(!b->stream || b->kind == TN_LBUF_OUTPUT, "buffer", i, "streams what is no output");
        EXPECT(!b->shared || b->kind == TN_LBUF_OUTPUT || b->kind == TN_LBUF_INPUT, "buffer", i,
               "shares memory, but is the kernel's own");
        bool local = b->kind == TN_LBUF_SCRATCH || b->kind == TN_LBUF_WORK;
        if (local) TN_CHECK(check_size(c, b->size, "a local buffer"));
    }
    for (uint32_t i = 0; i < k->registers.len; i++)
        EXPECT(k->registers.data[i].dtype < TN_DTYPE_COUNT && k->registers.data[i].count &&
                   k->registers.data[i].count <= TN_L_MAX_REGISTER,
               "register", i, "wrong type or count");
    if (k->tasks) TN_CHECK(check_size(c, k->tasks, "the task grid"));
    return TN_OK;
}

typedef struct request {
    const tn_loop *k;
    tn_arena arena;
} request;

static tn_status verify(void *argument, tn_error *err) {
    request *r = argument;
    const tn_loop *k = r->k;
    checker own = {.k = k, .err = err, .scopes = 1}, *c = &own;
    c->seen_in = TN_NEW_N(&r->arena, uint32_t, k->exprs.len);
    c->scope_open = TN_NEW_N(&r->arena, bool, 2 * k->stmts.len + 1);
    c->let_open = TN_NEW_N(&r->arena, bool, k->stmts.len);
    c->stmt_seen = TN_NEW_N(&r->arena, bool, k->stmts.len);
    c->var_open = TN_NEW_N(&r->arena, bool, k->vars.len);
    c->scope_open[0] = c->var_open[0] = true;
    EXPECT(!k->open.len, "statement", k->open.data[k->open.len - 1], "was not closed");
    for (tn_lx e = 1; e < k->exprs.len; e++) TN_CHECK(check_expr(c, e));
    TN_CHECK(check_storage(c));
    return check_block(c, k->body);
}

tn_status tn_loop_verify(const tn_loop *k, tn_error *err) {
    request r = {.k = k};
    tn_arena_init(&r.arena, tn_allocator_system());
    tn_status status = tn_guard(verify, &r, err);
    tn_arena_deinit(&r.arena);
    return status;
}

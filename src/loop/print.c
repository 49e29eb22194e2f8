/* Loop IR as text. Expressions that are used more than once are written as numbered lines where
 * they are first needed, so the text is as long as the kernel. The canonical text numbers
 * everything in the order of its appearance; it is the identity of a kernel. */
#include "loop/loop.h"

#include <inttypes.h>

typedef struct printer {
    const tn_loop *k;
    tn_str *out;
    bool canonical;
    int depth;
    uint32_t *uses;   /* expression → how often operands and statements refer to it */
    uint32_t *number; /* expression → its number, plus one; LETs too */
    uint32_t *var_number;
    tn_lx *let_value; /* LET statement → the expression that names it, or NONE */
    uint32_t numbers, var_numbers;
} printer;

static void expr(printer *p, tn_lx e);

/* ---- names ---------------------------------------------------------------------------------- */

static void buffer_name(printer *p, uint32_t i) {
    if (p->canonical)
        tn_str_appendf(p->out, "b%" PRIu32, i);
    else
        tn_str_appendf(p->out, "%s.%" PRIu32, p->k->buffers.data[i].name, i);
}

static void register_name(printer *p, uint32_t i) {
    if (p->canonical)
        tn_str_appendf(p->out, "r%" PRIu32, i);
    else
        tn_str_appendf(p->out, "%s.r%" PRIu32, p->k->registers.data[i].name, i);
}

static void var_name(printer *p, uint32_t i) {
    if (i == 0)
        tn_str_append(p->out, "task");
    else if (p->canonical)
        tn_str_appendf(p->out, "v%" PRIu32, p->var_number[i]);
    else
        tn_str_appendf(p->out, "%s.v%" PRIu32, p->k->vars.data[i].name, p->var_number[i]);
}

static void indent(printer *p) {
    for (int i = 0; i < p->depth; i++) tn_str_append(p->out, "  ");
}

/* ---- expressions ---------------------------------------------------------------------------- */

static void constant(printer *p, const tn_lexpr *x) {
    if (x->dtype == TN_bool)
        tn_str_append(p->out, x->value.u ? "true" : "false");
    else if (tn_dtype_is_float(x->dtype))
        tn_str_appendf(p->out, "%a", x->value.f);
    else if (tn_dtype_is_signed(x->dtype))
        tn_str_appendf(p->out, "%" PRId64, x->value.i);
    else
        tn_str_appendf(p->out, "%" PRIu64, x->value.u);
    if (x->dtype != TN_i64 && x->dtype != TN_bool)
        tn_str_appendf(p->out, ":%s", tn_dtype_name(x->dtype));
}

static const char *infix(tn_scalar_op op) {
    switch (op) {
    case TN_S_add:
        return " + ";
    case TN_S_sub:
        return " - ";
    case TN_S_mul:
        return "*";
    case TN_S_lt:
        return " < ";
    case TN_S_le:
        return " <= ";
    default:
        return NULL;
    }
}

static void op_text(printer *p, const tn_lexpr *x) {
    const char *sign = tn_l_type(p->k, x->a) == TN_i64 ? infix(x->op) : NULL;
    if (x->index == 1) sign = x->op == TN_S_div ? "/" : "%";
    if (sign) {
        tn_str_append_char(p->out, '(');
        expr(p, x->a);
        tn_str_append(p->out, sign);
        expr(p, x->b);
    } else {
        tn_str_appendf(p->out, "%s(", tn_scalar_name(x->op));
        expr(p, x->a);
        tn_lx rest[] = {x->b, x->c};
        for (int i = 0; i < 2 && rest[i]; i++) {
            tn_str_append(p->out, ", ");
            expr(p, rest[i]);
        }
    }
    tn_str_append_char(p->out, ')');
}

static void guard(printer *p, tn_lx condition, tn_lx other) {
    if (!condition) return;
    tn_str_append(p->out, " if ");
    expr(p, condition);
    tn_str_append(p->out, " else ");
    expr(p, other);
}

static void expr_text(printer *p, const tn_lexpr *x) {
    switch (x->kind) {
    case TN_LX_CONST:
        constant(p, x);
        break;
    case TN_LX_VAR:
        var_name(p, x->index);
        break;
    case TN_LX_SCALAR:
        tn_str_appendf(p->out, "n%" PRIu32, x->index);
        break;
    case TN_LX_OP:
        op_text(p, x);
        break;
    case TN_LX_SELECT:
        tn_str_append(p->out, "select(");
        expr(p, x->a);
        tn_str_append(p->out, ", ");
        expr(p, x->b);
        tn_str_append(p->out, ", ");
        expr(p, x->c);
        tn_str_append_char(p->out, ')');
        break;
    case TN_LX_CAST:
    case TN_LX_BITCAST:
        tn_str_appendf(p->out, "%s%s<%s>(", x->kind == TN_LX_CAST ? "cast" : "bitcast",
                       x->index ? "_saturate" : "", tn_dtype_name(x->dtype));
        expr(p, x->a);
        tn_str_append_char(p->out, ')');
        break;
    case TN_LX_LOAD:
        buffer_name(p, x->index);
        tn_str_append_char(p->out, '[');
        expr(p, x->a);
        tn_str_append_char(p->out, ']');
        guard(p, x->b, x->c);
        break;
    default:
        tn_str_append(p->out, "?");
        break;
    }
}

static bool is_leaf(const tn_lexpr *x) {
    return x->kind <= TN_LX_SCALAR;
}

/* A number instead of the text, for expressions that have one. */
static void expr(printer *p, tn_lx e) {
    if (p->number[e])
        tn_str_appendf(p->out, "%%%" PRIu32, p->number[e]);
    else
        expr_text(p, tn_l_expr(p->k, e));
}

/* Writes the lines of shared expressions that `e` needs and that have none yet. */
static void define(printer *p, tn_lx e) {
    const tn_lexpr *x = tn_l_expr(p->k, e);
    if (!e || p->number[e] || is_leaf(x) || x->kind == TN_LX_LET) return;
    define(p, x->a);
    define(p, x->b);
    define(p, x->c);
    if (p->uses[e] < 2) return;
    indent(p);
    tn_str_appendf(p->out, "%%%" PRIu32 " = ", p->numbers + 1);
    expr_text(p, x);
    tn_str_append_char(p->out, '\n');
    p->number[e] = ++p->numbers;
}

/* ---- statements ----------------------------------------------------------------------------- */

static void block(printer *p, tn_ls first);

static void target(printer *p, const char *open, tn_lx index, const char *close) {
    tn_str_append(p->out, open);
    expr(p, index);
    tn_str_append(p->out, close);
}

static void let_text(printer *p, const tn_lstmt *s) {
    switch (s->let) {
    case TN_LET_VALUE:
        expr(p, s->a);
        break;
    case TN_LET_LOAD:
        buffer_name(p, s->target);
        target(p, "[", s->a, "]");
        guard(p, s->b, s->c);
        break;
    case TN_LET_REGISTER:
        register_name(p, s->target);
        target(p, "[", s->a, "]");
        break;
    case TN_LET_FOLD:
        tn_str_appendf(p->out, "fold %s ", tn_scalar_name(s->op));
        register_name(p, s->target);
        break;
    case TN_LET_TICKET:
        target(p, "ticket(", s->a, ")");
        break;
    }
}

static void for_text(printer *p, const tn_lstmt *s) {
    static const char *const kinds[] = {"for", "unroll", "vector"};
    p->var_number[s->var] = ++p->var_numbers;
    tn_str_appendf(p->out, "%s ", kinds[s->loop]);
    var_name(p, s->var);
    target(p, " in ", s->a, " .. ");
    expr(p, s->b);
    tn_str_append(p->out, ":\n");
    block(p, s->body);
}

static void stmt(printer *p, const tn_lstmt *s, tn_lx value) {
    if (s->kind == TN_LS_STORE || s->kind == TN_LS_SET) {
        if (s->kind == TN_LS_STORE)
            buffer_name(p, s->target);
        else
            register_name(p, s->target);
        target(p, "[", s->a, "] = ");
        expr(p, s->b);
    } else if (s->kind == TN_LS_LET) {
        if (value) p->number[value] = ++p->numbers;
        tn_str_appendf(p->out, "%%%" PRIu32 " := ", value ? p->number[value] : ++p->numbers);
        let_text(p, s);
    } else if (s->kind == TN_LS_FOR) {
        for_text(p, s);
        return;
    } else if (s->kind == TN_LS_IF) {
        target(p, "if ", s->a, ":\n");
        block(p, s->body);
        if (!s->other) return;
        indent(p);
        tn_str_append(p->out, "else:\n");
        block(p, s->other);
        return;
    } else if (s->kind == TN_LS_TRANSPOSE) {
        tn_str_append(p->out, "transpose ");
        register_name(p, s->target);
    } else if (s->kind == TN_LS_PREFETCH) {
        tn_str_append(p->out, "prefetch ");
        buffer_name(p, s->target);
        target(p, "[", s->a, "]");
    } else {
        tn_str_appendf(p->out, "error %" PRIu32, s->target);
    }
    tn_str_append_char(p->out, '\n');
}

static void block(printer *p, tn_ls first) {
    p->depth++;
    for (tn_ls id = first; id; id = p->k->stmts.data[id].next) {
        const tn_lstmt *s = &p->k->stmts.data[id];
        define(p, s->a);
        define(p, s->b);
        define(p, s->c);
        indent(p);
        stmt(p, s, p->let_value[id]);
    }
    p->depth--;
}

/* ---- head ----------------------------------------------------------------------------------- */

static void head(printer *p) {
    static const char *const kinds[] = {"input", "output", "scratch", "work"};
    const tn_loop *k = p->k;
    tn_str_append(p->out, "kernel");
    if (!p->canonical) tn_str_appendf(p->out, " %s", k->name);
    tn_str_append_char(p->out, '(');
    for (uint32_t i = 0; i < k->buffers.len; i++) {
        const tn_lbuffer *b = &k->buffers.data[i];
        tn_str_appendf(p->out, "%s%s%s%s %s ", i ? ", " : "", b->stream ? "stream " : "",
                       b->shared ? "shared " : "", kinds[b->kind], tn_dtype_name(b->dtype));
        buffer_name(p, i);
        if (b->size) target(p, "[", b->size, "]");
    }
    tn_str_appendf(p->out, "; %" PRIu32 " sizes", k->scalars.len);
    if (k->counters) tn_str_appendf(p->out, ", %" PRIu32 " counters", k->counters);
    tn_str_append(p->out, ")\n");
    if (k->tasks) target(p, "  tasks ", k->tasks, "\n");
    for (uint32_t i = 0; i < k->registers.len; i++) {
        tn_str_append(p->out, "  register ");
        register_name(p, i);
        tn_str_appendf(p->out, " %s[%" PRIu32 "]\n", tn_dtype_name(k->registers.data[i].dtype),
                       k->registers.data[i].count);
    }
    if (!p->canonical && k->note && *k->note) tn_str_appendf(p->out, "  # %s\n", k->note);
}

/* ---- entry ---------------------------------------------------------------------------------- */

/* Counts only what statements reach, so that left-over expressions change nothing. */
static void count_uses(printer *p, tn_lx e) {
    if (!e || p->uses[e]++) return;
    const tn_lexpr *x = tn_l_expr(p->k, e);
    count_uses(p, x->a);
    count_uses(p, x->b);
    count_uses(p, x->c);
}

static void count_block(printer *p, tn_ls first) {
    for (tn_ls id = first; id; id = p->k->stmts.data[id].next) {
        const tn_lstmt *s = &p->k->stmts.data[id];
        count_uses(p, s->a);
        count_uses(p, s->b);
        count_uses(p, s->c);
        count_block(p, s->body);
        count_block(p, s->other);
    }
}

typedef struct request {
    printer p;
    tn_arena arena;
} request;

static tn_status print(void *argument, tn_error *err) {
    request *r = argument;
    const tn_loop *k = r->p.k;
    (void)err;
    r->p.uses = TN_NEW_N(&r->arena, uint32_t, k->exprs.len);
    r->p.number = TN_NEW_N(&r->arena, uint32_t, k->exprs.len);
    r->p.var_number = TN_NEW_N(&r->arena, uint32_t, k->vars.len);
    r->p.let_value = TN_NEW_N(&r->arena, tn_lx, k->stmts.len);
    for (tn_lx e = 1; e < k->exprs.len; e++)
        if (k->exprs.data[e].kind == TN_LX_LET) r->p.let_value[k->exprs.data[e].index] = e;
    head(&r->p);
    count_block(&r->p, k->body);
    block(&r->p, k->body);
    return TN_OK;
}

void tn_loop_print(const tn_loop *k, bool canonical, tn_str *out) {
    request r = {.p = {.k = k, .out = out, .canonical = canonical}};
    tn_arena_init(&r.arena, tn_allocator_system());
    tn_status status = tn_guard(print, &r, NULL);
    tn_arena_deinit(&r.arena);
    if (status == TN_OUT_OF_MEMORY) tn_out_of_memory();
}

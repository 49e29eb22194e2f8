/* The function: its head, its blocks and statements. See render_c.h, render.h. */
#include "codegen/render_c.h"
#include "codegen/render.h"

#include <inttypes.h>

static void statements(render *r, tn_ls first);

/* ---- blocks in the text --------------------------------------------------------------------- */

/* Appends the block to the one around, between `head` and "}". */
static void close_braces(render *r, const char *head) {
    tn_str text = tn__close_block(r);
    tn__line(r, "%s {", head);
    tn_str_append(&tn__current(r)->text, tn_str_text(&text));
    tn__line(r, "}");
    tn_str_deinit(&text);
}

/* A block that turned out to need no braces: its lines, one level further out. */
static void close_plain(render *r) {
    tn_str text = tn__close_block(r);
    tn_str *out = &tn__current(r)->text;
    for (const char *p = tn_str_text(&text); *p;) {
        const char *end = strchr(p, '\n') + 1;
        tn_str_append_n(out, p + 4, (size_t)(end - p) - 4);
        p = end;
    }
    tn_str_deinit(&text);
}

/* ---- loops ---------------------------------------------------------------------------------- */

static void serial_loop(render *r, const tn_lstmt *s) {
    int64_t first, end;
    bool runs =
        tn_l_is_const_int(r->k, s->a, &first) && tn_l_is_const_int(r->k, s->b, &end) && first < end;
    const char *lo = tn__named(r, s->a), *hi = tn__named(r, s->b);
    const char *var = tn__identifier(r, r->k->vars.data[s->var].name);
    /* What leaves the loop but may only run when it does goes between the two blocks. */
    if (!runs) tn__open_block(r, true, false);
    tn__open_block(r, false, false);
    r->var_name[s->var] = var;
    r->var_block[s->var] = r->blocks.len - 1;
    statements(r, s->body);
    tn_str body = tn__close_block(r);
    bool guarded = !runs && tn__current(r)->text.len > 0;
    tn__line(r, "for (i64 %s = %s; %s < %s; %s++) {", var, tn__bare(r, lo), var, hi, var);
    tn_str_append(&tn__current(r)->text, tn_str_text(&body));
    tn__line(r, "}");
    tn_str_deinit(&body);
    if (guarded)
        close_braces(r, tn__text(r, "if (%s < %s)", lo, hi));
    else if (!runs)
        close_plain(r);
}

static void vector_loop(render *r, const tn_lstmt *s) {
    r->lanes = (uint32_t)tn_l_expr(r->k, s->b)->value.i;
    statements(r, s->body);
    r->lanes = 0;
}

/* ---- branches ------------------------------------------------------------------------------- */

static void branch(render *r, tn_ls first, const char *head, bool is_if) {
    tn__open_block(r, true, is_if);
    statements(r, first);
    close_braces(r, head);
}

static void uniform_if(render *r, const tn_lstmt *s) {
    const char *condition = tn__named(r, s->a);
    if (s->body) branch(r, s->body, tn__text(r, "if (%s)", condition), true);
    if (s->other) branch(r, s->other, tn__text(r, "if (!%s)", condition), true);
}

/* Runs the block when any lane satisfies `mask`, for the lanes that do. What does not depend on the
 * lanes may leave it: such blocks are mostly the guards of last vectors and nearly always run. */
static void masked_branch(render *r, tn_ls first, tn_lx mask) {
    tn_lx outer = r->mask, count;
    const char *head = NULL; /* always */
    if (tn__holds_for_some(r, mask, r->lanes)) {
        count = TN_LX_NONE;
    } else if ((count = tn__prefix_count(r, mask, r->lanes))) {
        head = tn__text(r, "if (%s > 0)", tn__named(r, count));
    } else {
        tn__require(r, r->lanes, "any");
        head = tn__text(r, "if (tn_anyx%" PRIu32 "(%s))", r->lanes, tn__named(r, mask));
    }
    r->mask = mask;
    if (head)
        branch(r, first, head, false);
    else
        statements(r, first);
    r->mask = outer;
}

static void masked_if(render *r, const tn_lstmt *s) {
    tn_loop *k = r->k;
    if (s->body) masked_branch(r, s->body, tn_l_and(k, r->mask, s->a));
    if (s->other) masked_branch(r, s->other, tn_l_and(k, r->mask, tn_l_op1(k, TN_S_not, s->a)));
}

/* ---- values of statements ------------------------------------------------------------------- */

static bool reaches_once(render *r, tn_lx from, tn_lx value) {
    if (!from) return false;
    if (from == value) return true;
    if (tn__info(r, from)->uses != 1 || tn__info(r, from)->name) return false;
    const tn_lexpr x = *tn_l_expr(r->k, from);
    return reaches_once(r, x.a, value) || reaches_once(r, x.b, value) ||
           reaches_once(r, x.c, value);
}

/* Whether a register's value is used once only, by the next statement that writes anything: then
 * its variable can stand for it. */
static bool used_at_once(render *r, tn_ls id, tn_lx value) {
    tn_ls next = r->k->stmts.data[id].next;
    if (!value || tn__info(r, value)->uses != 1) return false;
    while (next && r->k->stmts.data[next].kind == TN_LS_LET &&
           r->k->stmts.data[next].let == TN_LET_REGISTER)
        next = r->k->stmts.data[next].next;
    if (!next) return false;
    const tn_lstmt *s = &r->k->stmts.data[next];
    if (s->kind != TN_LS_SET && s->kind != TN_LS_STORE) return false;
    return reaches_once(r, s->b, value);
}

static void define_let(render *r, tn_ls id, const char *base, const char *text) {
    const tn_lstmt *s = &r->k->stmts.data[id];
    uint32_t lanes = s->let == TN_LET_FOLD || s->let == TN_LET_TICKET ? 0 : tn__lanes_of(r, s->a);
    if (s->b) lanes = TN_MAX(lanes, tn__lanes_of(r, s->b));
    if (s->c) lanes = TN_MAX(lanes, tn__lanes_of(r, s->c));
    const char *name = tn__identifier(r, base);
    tn__line(r, "const %s %s = %s;", tn__c_type(r, s->dtype, lanes), name, tn__bare(r, text));
    r->let_name[id] = name;
}

static void let_statement(render *r, tn_ls id, tn_lx value) {
    const tn_lstmt s = r->k->stmts.data[id];
    r->let_block[id] = r->blocks.len - 1;
    switch (s.let) {
    case TN_LET_VALUE:
        r->let_name[id] = tn__named(r, s.a);
        break;
    case TN_LET_LOAD: {
        uint32_t lanes = tn__lanes_of(r, s.a);
        if (s.b) lanes = TN_MAX(lanes, tn__lanes_of(r, s.b));
        if (s.c) lanes = TN_MAX(lanes, tn__lanes_of(r, s.c));
        const char *base = tn__text(r, "%s_at", r->k->buffers.data[s.target].name);
        define_let(r, id, base, tn__load(r, s.target, s.a, s.b, s.c, lanes));
        break;
    }
    case TN_LET_REGISTER: {
        const char *text = tn__register_read(r, &s);
        const char *base = tn__text(r, "%s_was", r->k->registers.data[s.target].name);
        if (used_at_once(r, id, value))
            r->let_name[id] = text;
        else
            define_let(r, id, base, text);
        break;
    }
    case TN_LET_FOLD:
        define_let(r, id, tn__text(r, "%s_all", r->k->registers.data[s.target].name),
                   tn__register_fold(r, &s));
        break;
    case TN_LET_TICKET:
        define_let(r, id, "ticket",
                   tn__text(r, "__atomic_fetch_add(&context->counters[%s], 1, __ATOMIC_ACQ_REL)",
                            tn__bare(r, tn__value(r, s.a))));
        break;
    }
}

static void statement(render *r, tn_ls id) {
    const tn_lstmt s = r->k->stmts.data[id];
    switch (s.kind) {
    case TN_LS_FOR:
        if (s.loop == TN_LOOP_VECTOR)
            vector_loop(r, &s);
        else
            serial_loop(r, &s);
        break;
    case TN_LS_IF:
        if (r->lanes && tn__lanes_of(r, s.a))
            masked_if(r, &s);
        else
            uniform_if(r, &s);
        break;
    case TN_LS_LET:
        let_statement(r, id, r->let_value[id]);
        break;
    case TN_LS_STORE:
        tn__store(r, &s);
        break;
    case TN_LS_SET:
        tn__register_set(r, &s);
        break;
    case TN_LS_TRANSPOSE:
        tn__register_transpose(r, &s);
        break;
    case TN_LS_PREFETCH:
        tn__prefetch(r, &s);
        break;
    case TN_LS_ERROR:
        tn__require(r, 0, "report");
        tn__line(r, "tn_report(context->error, %" PRIu32 ");", s.target);
        break;
    case TN_LS_INVALID:
        TN_BUG("kernel '%s' has an invalid statement", r->k->name);
    }
}

static void statements(render *r, tn_ls first) {
    for (tn_ls id = first; id; id = r->k->stmts.data[id].next) statement(r, id);
}

/* ---- preparation ---------------------------------------------------------------------------- */

static void count_uses(render *r, tn_lx e) {
    if (!e || tn__info(r, e)->uses++) return;
    const tn_lexpr x = *tn_l_expr(r->k, e);
    count_uses(r, x.a);
    count_uses(r, x.b);
    count_uses(r, x.c);
}

static void count_block(render *r, tn_ls first) {
    for (tn_ls id = first; id; id = r->k->stmts.data[id].next) {
        const tn_lstmt s = r->k->stmts.data[id];
        count_uses(r, s.a);
        count_uses(r, s.b);
        count_uses(r, s.c);
        count_block(r, s.body);
        count_block(r, s.other);
    }
}

static void reserve_names(render *r) {
    static const char *const taken[] = {
        "auto",     "break",      "buffers",  "case",    "char",     "const",   "context",
        "continue", "default",    "do",       "double",  "else",     "enum",    "extern",
        "float",    "for",        "goto",     "if",      "inline",   "int",     "long",
        "register", "restrict",   "return",   "scalars", "scratch",  "short",   "signed",
        "sizeof",   "static",     "struct",   "switch",  "task",     "typedef", "task_end",
        "union",    "task_begin", "unsigned", "void",    "volatile", "while",   "asm",
        "typeof",   "unix",       "linux"};
    for (size_t i = 0; i < TN_COUNT(taken); i++) tn_map_put_str(&r->names, taken[i], 0);
    for (int i = 0; i < TN_DTYPE_COUNT; i++)
        tn_map_put_str(&r->names, tn_dtype_name((tn_dtype)i), 0);
    for (uint32_t i = 0; i < r->k->scalars.len; i++)
        tn_map_put_str(&r->names, tn__text(r, "size%" PRIu32, i), 0);
}

/* ---- the head of the function --------------------------------------------------------------- */

/* Never the end of the comment, whatever the text is. */
static void comment_text(const char *text, tn_str *out) {
    for (const char *p = text; *p; p++) {
        bool ends = *p == '/' && out->len && out->data[out->len - 1] == '*';
        if (*p == '\n')
            tn_str_append(out, "\n * ");
        else
            tn_str_append_char(out, ends ? ' ' : *p);
    }
}

static void comment(const tn_loop *k, tn_str *out) {
    tn_str_append(out, "\n/* ");
    comment_text(k->name, out);
    if (k->note && *k->note) {
        tn_str_append(out, ": ");
        comment_text(k->note, out);
    }
    tn_str_append(out, " */\n");
}

/* Scratch buffers follow each other, 64-byte aligned. */
static void declare_scratch(render *r, uint32_t i, bool *any) {
    const tn_lbuffer b = r->k->buffers.data[i];
    const char *type = tn__storage_type(b.dtype);
    if (!*any) tn__line(r, "char *scratch = context->scratch;");
    *any = true;
    tn__line(r, "%s *restrict %s = (%s *)scratch;", type, r->buffer_name[i], type);
    tn__line(r, "scratch += (%s * %zu + 63) & ~63l;", tn__value(r, b.size), tn_dtype_size(b.dtype));
}

static void declare_buffers(render *r) {
    uint32_t slot = 0;
    bool scratch = false;
    for (uint32_t i = 0; i < r->k->scalars.len; i++)
        tn__line(r, "const i64 size%" PRIu32 " = scalars[%" PRIu32 "];", i, i);
    for (uint32_t i = 0; i < r->k->buffers.len; i++) {
        const tn_lbuffer *b = &r->k->buffers.data[i];
        r->buffer_name[i] = tn__identifier(r, b->name);
        if (b->kind == TN_LBUF_SCRATCH) {
            declare_scratch(r, i, &scratch);
            continue;
        }
        /* Other threads write shared work memory too, so it is not `restrict`. */
        bool own = b->kind != TN_LBUF_WORK && !b->shared;
        tn__line(r, "%s%s *%s%s = buffers[%" PRIu32 "];", b->kind == TN_LBUF_INPUT ? "const " : "",
                 tn__storage_type(b->dtype), own ? "restrict " : "", r->buffer_name[i], slot++);
    }
}

/* What was stored past the caches is ordered before what the caller does next. */
static void finish_streams(render *r) {
    for (uint32_t i = 0; i < r->k->buffers.len; i++) {
        if (!r->k->buffers.data[i].stream) continue;
        tn__require(r, 0, "stream_end");
        tn__line(r, "tn_stream_end();");
        return;
    }
}

/* ---- entry ---------------------------------------------------------------------------------- */

typedef struct request {
    const tn_loop *k;
    const tn_target *target;
    const char *symbol;
    tn_prelude *prelude;
    tn_str *out;
    tn_arena arena;
} request;

/* Block texts grow in the arena, so that nothing leaks when memory runs out. */
static void *text_resize(void *context, void *ptr, size_t size) {
    size_t *old = ptr ? (size_t *)ptr - 2 : NULL;
    if (size == 0) return NULL;
    size_t *fresh = tn_arena_alloc(context, size + 2 * sizeof *fresh);
    fresh[0] = size;
    if (old) memcpy(fresh + 2, ptr, TN_MIN(old[0], size));
    return fresh + 2;
}

static void render_init(render *r, request *q) {
    *r = (render){.target = q->target, .prelude = q->prelude, .arena = &q->arena};
    r->text = (tn_allocator){&q->arena, text_resize};
    r->k = tn__expand(q->k, q->target, &q->arena);
    r->var_block = TN_NEW_N(r->arena, uint32_t, r->k->vars.len);
    r->let_block = TN_NEW_N(r->arena, uint32_t, r->k->stmts.len);
    r->var_name = TN_NEW_N(r->arena, const char *, r->k->vars.len);
    r->let_name = TN_NEW_N(r->arena, const char *, r->k->stmts.len);
    r->let_value = TN_NEW_N(r->arena, tn_lx, r->k->stmts.len);
    r->buffer_name = TN_NEW_N(r->arena, const char *, r->k->buffers.len);
    tn_map_init(&r->names, r->arena);
    for (tn_lx e = 1; e < r->k->exprs.len; e++)
        if (tn_l_expr(r->k, e)->kind == TN_LX_LET) r->let_value[tn_l_expr(r->k, e)->index] = e;
    count_block(r, r->k->body);
    reserve_names(r);
    tn__choose_registers(r);
}

static tn_status render_function(void *argument, tn_error *err) {
    request *q = argument;
    render own, *r = &own;
    render_init(r, q);
    r->err = err;
    tn__open_block(r, false, false);
    declare_buffers(r);
    tn__open_block(r, true, false);
    r->var_name[0] = "task";
    r->var_block[0] = 1;
    tn__declare_registers(r);
    statements(r, r->k->body);
    close_braces(r, "for (i64 task = task_begin; task < task_end; task++)");
    finish_streams(r);
    tn_str body = tn__close_block(r);
    if (r->status == TN_OK) {
        comment(q->k, q->out);
        tn_str_appendf(q->out,
                       "void %s(void *const *buffers, const i64 *scalars, "
                       "const tn_kernel_context *context,\n         i64 task_begin, i64 task_end) "
                       "{\n    (void)scalars, (void)context;\n%s}\n",
                       q->symbol, tn_str_text(&body));
    }
    tn_str_deinit(&body);
    return r->status;
}

tn_status tn_render_c_function(const tn_loop *k, const tn_target *target, const char *symbol,
                               tn_prelude *prelude, tn_str *out, tn_error *err) {
    request q = {.k = k, .target = target, .symbol = symbol, .prelude = prelude, .out = out};
    tn_arena_init(&q.arena, tn_allocator_system());
    tn_status status = tn_guard(render_function, &q, err);
    tn_arena_deinit(&q.arena);
    if (status != TN_OK)
        tn_error_push(err, "while rendering kernel '%s' for %s", k->name, target->name);
    return status;
}

void tn_render_c_head(const tn_prelude *prelude, tn_str *out) {
    tn_str_append(out, "typedef double f64;\n"
                       "typedef float f32;\n"
                       "typedef __INT64_TYPE__ i64;\n"
                       "typedef __UINT64_TYPE__ u64;\n"
                       "typedef int i32;\n"
                       "typedef unsigned u32;\n"
                       "typedef short i16;\n"
                       "typedef unsigned short u16;\n"
                       "typedef signed char i8;\n"
                       "typedef unsigned char u8;\n"
                       "typedef struct tn_kernel_context {\n"
                       "    void *scratch;\n"
                       "    int *error;\n"
                       "    int *counters;\n"
                       "} tn_kernel_context;\n");
    tn_prelude_render(prelude, out);
}

tn_status tn_render_c(const tn_loop *k, const tn_target *target, const char *symbol, tn_str *out,
                      tn_error *err) {
    tn_prelude prelude;
    tn_str function;
    tn_prelude_init(&prelude);
    tn_str_init_with(&function, out->allocator);
    tn_status status = tn_render_c_function(k, target, symbol, &prelude, &function, err);
    if (status == TN_OK) {
        tn_render_c_head(&prelude, out);
        tn_str_append(out, tn_str_text(&function));
    }
    tn_str_deinit(&function);
    tn_prelude_deinit(&prelude);
    return status;
}

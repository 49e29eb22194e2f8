/* Kernels as bytes: a head, then each table; every number little-endian, no padding.
 *
 * tn_loop_read trusts nothing: counts are checked against the bytes that are left before anything
 * is allocated, then the verifier checks meaning. Sizes of scalars are written as numbers of the
 * dims table that the program keeps beside its kernels. */
#include "loop/index.h"
#include "loop/loop.h"

enum {
    MAGIC = 0x314b4e54,
    MAX_NAME = 1 << 16,
    STREAM_FLAG = 0x80,
    SHARED_FLAG = 0x40
}; /* "TNK1" */

/* ---- writing -------------------------------------------------------------------------------- */

static void put(tn_str *out, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++) tn_str_append_char(out, (char)(value >> (8 * i)));
}

static void put32(tn_str *out, uint64_t value) {
    put(out, value, 4);
}

static void put_name(tn_str *out, const char *name) {
    size_t len = name ? TN_MIN(strlen(name), (size_t)MAX_NAME) : 0;
    put32(out, len);
    if (len) tn_str_append_n(out, name, len);
}

static void put_expr(tn_str *out, const tn_lexpr *x) {
    put(out, x->kind, 1);
    put(out, x->dtype, 1);
    put(out, x->op, 1);
    put32(out, x->index);
    put32(out, x->a);
    put32(out, x->b);
    put32(out, x->c);
    put(out, x->value.u, 8);
}

static void put_stmt(tn_str *out, const tn_lstmt *s) {
    put(out, s->kind, 1);
    put(out, s->loop, 1);
    put(out, s->let, 1);
    put(out, s->op, 1);
    put(out, s->dtype, 1);
    const uint32_t rest[] = {s->target, s->var, s->a, s->b, s->c, s->body, s->other, s->next};
    for (size_t i = 0; i < TN_COUNT(rest); i++) put32(out, rest[i]);
}

void tn_loop_write(const tn_loop *k, tn_str *out) {
    put32(out, MAGIC);
    put_name(out, k->name);
    put_name(out, k->note);
    const uint32_t head[] = {k->tasks,       k->counters,      k->body,
                             k->exprs.len,   k->stmts.len,     k->buffers.len,
                             k->scalars.len, k->registers.len, k->vars.len};
    for (size_t i = 0; i < TN_COUNT(head); i++) put32(out, head[i]);
    for (uint32_t i = 1; i < k->exprs.len; i++) put_expr(out, &k->exprs.data[i]);
    for (uint32_t i = 1; i < k->stmts.len; i++) put_stmt(out, &k->stmts.data[i]);
    for (uint32_t i = 0; i < k->buffers.len; i++) {
        const tn_lbuffer *b = &k->buffers.data[i];
        put(out, (uint64_t)b->kind | (b->stream ? STREAM_FLAG : 0) | (b->shared ? SHARED_FLAG : 0),
            1);
        put(out, b->dtype, 1);
        put32(out, b->size);
        put32(out, b->binding);
        put_name(out, b->name);
    }
    for (uint32_t i = 0; i < k->scalars.len; i++) {
        put(out, (uint64_t)k->scalars.data[i].dim, 8);
        put(out, (uint64_t)k->scalars.data[i].lo, 8);
        put(out, (uint64_t)k->scalars.data[i].hi, 8);
    }
    for (uint32_t i = 0; i < k->registers.len; i++) {
        put(out, k->registers.data[i].dtype, 1);
        put32(out, k->registers.data[i].count);
        put_name(out, k->registers.data[i].name);
    }
    for (uint32_t i = 0; i < k->vars.len; i++) {
        put32(out, k->vars.data[i].lo);
        put32(out, k->vars.data[i].hi);
        put_name(out, k->vars.data[i].name);
    }
}

/* ---- reading -------------------------------------------------------------------------------- */

enum {
    EXPR_BYTES = 27,
    STMT_BYTES = 37,
    BUFFER_BYTES = 14,
    SCALAR_BYTES = 24,
    REGISTER_BYTES = 9,
    VAR_BYTES = 12
};

typedef struct reader {
    tn_loop *k;
    const uint8_t *at;
    size_t left;
    bool failed;
} reader;

static uint64_t take(reader *r, size_t bytes) {
    uint64_t value = 0;
    if (r->left < bytes) r->failed = true;
    if (r->failed) return 0;
    for (size_t i = 0; i < bytes; i++) value |= (uint64_t)r->at[i] << (8 * i);
    r->at += bytes;
    r->left -= bytes;
    return value;
}

static uint32_t take32(reader *r) {
    return (uint32_t)take(r, 4);
}

/* A number that must be below `end`. */
static uint32_t take_below(reader *r, size_t bytes, uint32_t end) {
    uint32_t value = (uint32_t)take(r, bytes);
    if (value >= end) r->failed = true;
    return r->failed ? 0 : value;
}

/* The number of records that follow somewhere, each of at least `bytes`. */
static uint32_t take_count(reader *r, size_t bytes) {
    uint32_t count = take32(r);
    if (count > r->left / bytes + 1) r->failed = true;
    return r->failed ? 0 : count;
}

static const char *take_name(reader *r) {
    uint32_t len = take_below(r, 4, MAX_NAME + 1);
    if (len > r->left) r->failed = true;
    if (r->failed) return "";
    char *name = tn_arena_alloc(r->k->arena, len + 1);
    memcpy(name, r->at, len);
    for (uint32_t i = 0; i < len; i++) /* goes into a C comment */
        if ((unsigned char)name[i] < 0x20 && name[i] != '\n') name[i] = ' ';
    r->at += len;
    r->left -= len;
    return name;
}

static void take_expr(reader *r, tn_lexpr *x, uint32_t exprs) {
    x->kind = (tn_lx_kind)take_below(r, 1, TN_LX_LET + 1);
    x->dtype = (tn_dtype)take_below(r, 1, TN_DTYPE_COUNT);
    x->op = (tn_scalar_op)take_below(r, 1, TN_SCALAR_COUNT);
    x->index = take32(r);
    x->a = take_below(r, 4, exprs);
    x->b = take_below(r, 4, exprs);
    x->c = take_below(r, 4, exprs);
    x->value.u = take(r, 8);
}

static void take_stmt(reader *r, tn_lstmt *s, uint32_t exprs, uint32_t stmts, uint32_t vars) {
    s->kind = (tn_ls_kind)take_below(r, 1, TN_LS_PREFETCH + 1);
    s->loop = (tn_loop_kind)take_below(r, 1, TN_LOOP_VECTOR + 1);
    s->let = (tn_let_kind)take_below(r, 1, TN_LET_TICKET + 1);
    s->op = (tn_scalar_op)take_below(r, 1, TN_SCALAR_COUNT);
    s->dtype = (tn_dtype)take_below(r, 1, TN_DTYPE_COUNT);
    s->target = take32(r);
    s->var = take_below(r, 4, vars);
    s->a = take_below(r, 4, exprs);
    s->b = take_below(r, 4, exprs);
    s->c = take_below(r, 4, exprs);
    s->body = take_below(r, 4, stmts);
    s->other = take_below(r, 4, stmts);
    s->next = take_below(r, 4, stmts);
}

static void take_buffer(reader *r, uint32_t exprs) {
    uint32_t byte = (uint32_t)take(r, 1), kind = byte & ~(uint32_t)(STREAM_FLAG | SHARED_FLAG);
    if (kind > TN_LBUF_WORK) r->failed = true;
    tn_lbuffer b = {.kind = (tn_lbuffer_kind)kind};
    b.stream = byte & STREAM_FLAG;
    b.shared = byte & SHARED_FLAG;
    b.dtype = (tn_dtype)take_below(r, 1, TN_DTYPE_COUNT);
    b.size = take_below(r, 4, exprs);
    b.binding = take32(r);
    b.name = take_name(r);
    tn_vec_push(r->k->arena, &r->k->buffers, b);
}

static void take_tables(reader *r, const uint32_t *counts) {
    tn_loop *k = r->k;
    uint32_t exprs = counts[0], stmts = counts[1], vars = counts[5];
    for (uint32_t i = 1; i < exprs && !r->failed; i++) {
        tn_lexpr x = {0};
        take_expr(r, &x, exprs);
        tn_vec_push(k->arena, &k->exprs, x);
    }
    for (uint32_t i = 1; i < stmts && !r->failed; i++) {
        tn_lstmt s = {0};
        take_stmt(r, &s, exprs, stmts, vars);
        tn_vec_push(k->arena, &k->stmts, s);
    }
    for (uint32_t i = 0; i < counts[2] && !r->failed; i++) take_buffer(r, exprs);
    for (uint32_t i = 0; i < counts[3] && !r->failed; i++) {
        tn_lscalar s = {.dim = (tn_dim)take(r, 8)};
        s.lo = (int64_t)take(r, 8);
        s.hi = (int64_t)take(r, 8);
        tn_vec_push(k->arena, &k->scalars, s);
    }
    for (uint32_t i = 0; i < counts[4] && !r->failed; i++) {
        tn_lregister g = {.dtype = (tn_dtype)take_below(r, 1, TN_DTYPE_COUNT)};
        g.count = take32(r);
        g.name = take_name(r);
        tn_vec_push(k->arena, &k->registers, g);
    }
    k->vars.len = 0;
    for (uint32_t i = 0; i < vars && !r->failed; i++) {
        tn_lvar v = {.lo = take_below(r, 4, exprs)};
        v.hi = take_below(r, 4, exprs);
        v.name = take_name(r);
        tn_vec_push(k->arena, &k->vars, v);
    }
}

/* Depth for the verifier; nothing is known of values. Operands must stand before their users. */
static bool find_facts(tn_loop *k) {
    for (uint32_t e = 1; e < k->exprs.len; e++) {
        const tn_lexpr *x = &k->exprs.data[e];
        const tn_lx operand[] = {x->a, x->b, x->c};
        tn_lfacts f = {INT64_MIN, INT64_MAX, UINT64_MAX, k->vars.len, 0};
        for (int i = 0; i < 3; i++) {
            if (operand[i] >= e) return false;
            if (operand[i]) f.depth = TN_MAX(f.depth, k->facts.data[operand[i]].depth + 1);
        }
        tn_vec_push(k->arena, &k->facts, f);
    }
    return true;
}

tn_status tn_loop_read(tn_loop *k, tn_arena *arena, const void *data, size_t size, tn_error *err) {
    reader r = {.k = k, .at = data, .left = size};
    tn_loop_init(k, arena, NULL, "");
    if (take32(&r) != MAGIC)
        return tn_error_set(err, TN_INVALID, "not a kernel: it does not start with 'TNK1'");
    k->name = take_name(&r);
    k->note = take_name(&r);
    k->tasks = take32(&r);
    k->counters = take32(&r);
    k->body = take32(&r);
    static const size_t least[] = {EXPR_BYTES,   STMT_BYTES,     BUFFER_BYTES,
                                   SCALAR_BYTES, REGISTER_BYTES, VAR_BYTES};
    uint32_t counts[TN_COUNT(least)];
    for (size_t i = 0; i < TN_COUNT(least); i++) counts[i] = take_count(&r, least[i]);
    if (k->tasks >= TN_MAX(counts[0], 1u) || k->body >= TN_MAX(counts[1], 1u)) r.failed = true;
    if (counts[0] == 0 || counts[1] == 0 || counts[5] == 0) r.failed = true;
    if (!r.failed) take_tables(&r, counts);
    if (r.failed || r.left)
        return tn_error_set(err, TN_INVALID,
                            "kernel '%s' is damaged: a count or handle is out of range, %zu bytes "
                            "before its end",
                            k->name, r.left);
    if (!find_facts(k))
        return tn_error_set(err, TN_INVALID, "kernel '%s': an expression refers to a later one",
                            k->name);
    return tn_loop_verify(k, err);
}

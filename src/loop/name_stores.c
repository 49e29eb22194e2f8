/* Stores after what they depend on. See loop.h. */
#include "loop/index.h"

typedef TN_VEC(tn_ls) statements;

/* Whether a store to a result may as well be done after this statement. */
static bool may_pass(const tn_loop *k, const tn_lstmt *s) {
    switch (s->kind) {
    case TN_LS_LET:
        return s->let != TN_LET_TICKET &&
               (s->let != TN_LET_LOAD || k->buffers.data[s->target].kind == TN_LBUF_SCRATCH);
    case TN_LS_STORE:
        return k->buffers.data[s->target].kind != TN_LBUF_WORK;
    case TN_LS_SET:
    case TN_LS_TRANSPOSE:
    case TN_LS_PREFETCH:
        return true;
    default:
        return false;
    }
}

static void flush(tn_loop *k, statements *delayed, statements *out) {
    for (uint32_t i = 0; i < delayed->len; i++) tn_vec_push(k->arena, out, delayed->data[i]);
    delayed->len = 0;
}

/* A LET of the value that statement `id` stores, which stores the LET then. */
static void name_value(tn_loop *k, tn_ls id, statements *out) {
    tn_lx value = k->stmts.data[id].b;
    tn_lx_kind kind = tn_l_expr(k, value)->kind;
    if (kind == TN_LX_CONST || kind == TN_LX_VAR || kind == TN_LX_SCALAR || kind == TN_LX_LET)
        return;
    tn_lstmt let = {
        .kind = TN_LS_LET, .let = TN_LET_VALUE, .dtype = tn_l_type(k, value), .a = value};
    tn_ls named = k->stmts.len;
    tn_vec_push(k->arena, &k->stmts, let);
    tn_vec_push(k->arena, out, named);
    k->stmts.data[id].b =
        tn__l_intern(k, (tn_lexpr){.kind = TN_LX_LET, .dtype = let.dtype, .index = named});
}

/* Returns the first statement. */
static tn_ls name_block(tn_loop *k, tn_ls first) {
    statements out = {0}, delayed = {0};
    for (tn_ls id = first; id; id = k->stmts.data[id].next) {
        const tn_lstmt s = k->stmts.data[id];
        tn_ls body = name_block(k, s.body), other = name_block(k, s.other);
        k->stmts.data[id].body = body;
        k->stmts.data[id].other = other;
        if (!may_pass(k, &s)) flush(k, &delayed, &out);
        if (s.kind == TN_LS_STORE && k->buffers.data[s.target].kind == TN_LBUF_OUTPUT) {
            name_value(k, id, &out);
            tn_vec_push(k->arena, &delayed, id);
        } else {
            tn_vec_push(k->arena, &out, id);
        }
    }
    flush(k, &delayed, &out);
    for (uint32_t i = 0; i < out.len; i++)
        k->stmts.data[out.data[i]].next = i + 1 < out.len ? out.data[i + 1] : TN_LS_NONE;
    return out.len ? out.data[0] : TN_LS_NONE;
}

void tn_loop_name_stores(tn_loop *k) {
    k->body = name_block(k, k->body);
}

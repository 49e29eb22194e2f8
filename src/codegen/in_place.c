/* Which inputs of a kernel its result may take the memory of.
 *
 * One result is stored, every load of the input is part of a value that is stored at the very element
 * it reads, and every store has such a load: so nobody reads an element after it is written, in
 * whatever order tasks and lanes run, as long as no element is stored twice. Operations with loops of
 * their own may do that, so of them only those with one store qualify. (The C text still says
 * `restrict`: no load can move behind the store that needs it.) */
#include "codegen/lower.h"

typedef struct check {
    const tn_loop *k;
    uint32_t output; /* the only buffer that is stored to; UINT32_MAX: none yet */
    bool several;    /* there are others */
    bool *unfit;     /* per buffer */
    uint32_t *loads; /* per buffer: stores with a load of it */
    uint32_t stores;
    uint32_t *loaded; /* per buffer: the walk that met it last */
    uint32_t *seen;   /* per expression: the walk that visited it last */
    uint32_t walk;
} check;

/* Marks the inputs that `e` loads from elsewhere than element `at` (NONE: nowhere is right). */
static void visit(check *c, tn_lx e, tn_lx at) {
    if (e == TN_LX_NONE || c->seen[e] == c->walk) return;
    c->seen[e] = c->walk;
    const tn_lexpr *x = tn_l_expr(c->k, e);
    if (x->kind == TN_LX_LOAD) {
        if (x->a != at) c->unfit[x->index] = true;
        if (c->loaded[x->index] != c->walk) c->loads[x->index]++;
        c->loaded[x->index] = c->walk;
    }
    visit(c, x->a, at);
    visit(c, x->b, at);
    visit(c, x->c, at);
}

static void visit_root(check *c, tn_lx e, tn_lx at) {
    c->walk++;
    visit(c, e, at);
}

static void visit_block(check *c, tn_ls first) {
    for (tn_ls id = first; id; id = c->k->stmts.data[id].next) {
        const tn_lstmt *s = &c->k->stmts.data[id];
        bool stores =
            s->kind == TN_LS_STORE && c->k->buffers.data[s->target].kind == TN_LBUF_OUTPUT;
        if (stores) {
            c->several |= c->output != UINT32_MAX && c->output != s->target;
            c->output = s->target;
            c->stores++;
        }
        if (s->kind == TN_LS_LET && s->let == TN_LET_LOAD) c->unfit[s->target] = true;
        visit_root(c, s->a, TN_LX_NONE);
        visit_root(c, s->b, stores ? s->a : TN_LX_NONE);
        visit_root(c, s->c, TN_LX_NONE);
        visit_block(c, s->body);
        visit_block(c, s->other);
    }
}

uint32_t tn_find_in_place(const tn_loop *k, bool stores_once, tn_arena *arena, tn_value *found) {
    check c = {.k = k, .output = UINT32_MAX};
    uint32_t count = 0;
    c.unfit = TN_NEW_N(arena, bool, k->buffers.len);
    c.loads = TN_NEW_N(arena, uint32_t, k->buffers.len);
    c.loaded = TN_NEW_N(arena, uint32_t, k->buffers.len);
    c.seen = TN_NEW_N(arena, uint32_t, k->exprs.len);
    visit_block(&c, k->body);
    if (c.output == UINT32_MAX || c.several || (c.stores > 1 && !stores_once)) return 0;
    size_t size = tn_dtype_size(k->buffers.data[c.output].dtype);
    for (uint32_t i = 0; i < k->buffers.len && count < TN_MOST_IN_PLACE; i++) {
        const tn_lbuffer *b = &k->buffers.data[i];
        if (b->kind != TN_LBUF_INPUT || c.unfit[i] || (b->binding & TN_BIND_PACK)) continue;
        if (c.loads[i] != c.stores) continue;
        if (tn_dtype_size(b->dtype) == size) found[count++] = b->binding;
    }
    return count;
}

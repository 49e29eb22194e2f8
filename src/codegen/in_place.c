/* Which inputs of a kernel its results may take the memory of.
 *
 * For temporaries (tn_find_in_place) one result is stored, every load of the input is part of a value that is stored at the very element
 * it reads, and every store has such a load: so nobody reads an element after it is written, in
 * whatever order tasks and lanes run, as long as no element is stored twice. Operations with loops of
 * their own may do that, so of them only those with one store qualify. (The C text still says
 * `restrict`: no load can move behind the store that needs it.)
 *
 * For an output in place of an input (tn_may_take_over) there may be more results, and statements besides
 * the store may load the input, if they stand in the same block as a store of that very element and not
 * behind it. They run as often as the store and with the same variables, so they too read an element
 * only before it is written. Such buffers are `shared`. */
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

/* ---- one input, one output ------------------------------------------------------------------ */

typedef struct taking {
    const tn_loop *k;
    tn_arena *arena;
    uint32_t in, out, stores;
    uint32_t *seen; /* per expression: the walk that visited it last */
    uint32_t walk;
    TN_VEC(tn_lx) loads; /* elements of `in` that the walk met */
} taking;

static void find_loads(taking *t, tn_lx e) {
    if (e == TN_LX_NONE || t->seen[e] == t->walk) return;
    t->seen[e] = t->walk;
    const tn_lexpr *x = tn_l_expr(t->k, e);
    if (x->kind == TN_LX_LOAD && x->index == t->in) tn_vec_push(t->arena, &t->loads, x->a);
    find_loads(t, x->a);
    find_loads(t, x->b);
    find_loads(t, x->c);
}

static void statement_loads(taking *t, const tn_lstmt *s) {
    t->walk++;
    t->loads.len = 0;
    find_loads(t, s->a);
    find_loads(t, s->b);
    find_loads(t, s->c);
}

static bool is_store(const taking *t, const tn_lstmt *s) {
    return s->kind == TN_LS_STORE && s->target == t->out;
}

/* Whether the first store of element `at` in the block of statement `id` is this one, or a later one. */
static bool stored_from(const taking *t, tn_ls first, tn_ls id, tn_lx at) {
    const tn_lstmt *stmts = t->k->stmts.data;
    for (tn_ls s = first; s != id; s = stmts[s].next)
        if (is_store(t, &stmts[s]) && stmts[s].a == at) return false;
    for (; id; id = stmts[id].next)
        if (is_store(t, &stmts[id]) && stmts[id].a == at) return true;
    return false;
}

static bool loads_before(taking *t, tn_ls first, tn_ls store) {
    const tn_lstmt *stmts = t->k->stmts.data;
    for (tn_ls id = first;; id = stmts[id].next) {
        statement_loads(t, &stmts[id]);
        for (uint32_t i = 0; i < t->loads.len; i++)
            if (t->loads.data[i] == stmts[store].a) return true;
        if (id == store) return false;
    }
}

static bool check_block(taking *t, tn_ls first) {
    for (tn_ls id = first; id; id = t->k->stmts.data[id].next) {
        const tn_lstmt *s = &t->k->stmts.data[id];
        statement_loads(t, s);
        for (uint32_t i = 0; i < t->loads.len; i++)
            if (!stored_from(t, first, id, t->loads.data[i])) return false;
        t->stores += is_store(t, s);
        if (is_store(t, s) && !loads_before(t, first, id)) return false;
        if (!check_block(t, s->body) || !check_block(t, s->other)) return false;
    }
    return true;
}

bool tn_may_take_over(const tn_loop *k, uint32_t in, uint32_t out, bool stores_once,
                      tn_arena *arena) {
    const tn_lbuffer *from = &k->buffers.data[in], *to = &k->buffers.data[out];
    taking t = {.k = k, .arena = arena, .in = in, .out = out};
    t.seen = TN_NEW_N(arena, uint32_t, k->exprs.len);
    if (tn_dtype_size(from->dtype) != tn_dtype_size(to->dtype) || !check_block(&t, k->body))
        return false;
    return t.stores > 0 && (t.stores == 1 || stores_once);
}

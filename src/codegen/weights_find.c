/* Contractions: is the constant B made of narrow elements, so that a kernel can read those?
 *
 * An element of B is an expression of constants, found by emitting it on a throw-away kernel. One of
 * its leaves, of at most 16 bits, has one element per element of B: that one is packed as it is. The
 * others are parameters, scales and zeros: equal in all columns (read where they are), or along k, or
 * along blocks of k. Such blocks show as a division of k in the address of the parameter; the size is
 * tried by emitting B once more with k = block · size + rest, which leaves an address without `rest`. */
#include "codegen/contraction.h"

/* Sums of a group before zeros are taken off are larger than those after it, so groups are bounded. */
enum { MOST_LEAVES = 8, MOST_BITS = 16, WORD_BITS = 32, BYTE_BITS = 8, MOST_GROUP = 256 };

typedef struct leaf_use {
    tn_value value;
    tn_lx offset;
    uint32_t buffer;
} leaf_use;

typedef struct tn__leaf_uses {
    uint32_t count;
    bool plain; /* no more leaves than fit, none under a condition or read in two places */
    leaf_use at[MOST_LEAVES];
} leaf_uses;

/* One emission of B. */
typedef struct trial {
    tn__tile t;
    leaf_uses uses;
    tn_lx n[TN_MAX_RANK], k_rest; /* columns; k within its block */
    tn_lx element;
    bool guarded;
} trial;

static tn_lx note_leaf(tn__tile *t, tn_value v, const tn_lx *index) {
    leaf_uses *u = t->weights.uses;
    leaf_use use = {v, tn_maker_offset(&t->m, v, index), tn_maker_buffer(&t->m, v, TN_LBUF_INPUT)};
    tn_lx element = tn_maker_load(&t->m, v, index);
    u->plain &= t->m.access.emit.guard == TN_LX_NONE;
    for (uint32_t i = 0; i < u->count; i++)
        if (u->at[i].buffer == use.buffer) {
            u->plain &= u->at[i].offset == use.offset && u->at[i].value == v;
            return element;
        }
    if (u->count < MOST_LEAVES)
        u->at[u->count++] = use;
    else
        u->plain = false;
    return element;
}

/* Emits B with blocks of `group` elements along its only k axis (-1: no blocks). */
static void try_group(const tn_lower_context *c, uint32_t id, int64_t group, int k_axis, trial *r) {
    tn__tile *t = &r->t;
    tn_lx k[TN_MAX_RANK], zero;
    tn__tile_init(t, c, id, "weights");
    tn_loop *l = t->m.k;
    zero = tn_l_int(l, 0);
    r->uses = (leaf_uses){.plain = true};
    for (int i = 0; i < t->c.b; i++)
        t->b_index[i] = tn_l_for(l, TN_LOOP_SERIAL, zero, tn_l_dim(l, t->c.b_extent[i]), "b");
    for (int i = 0; i < t->c.n; i++)
        r->n[i] = tn_l_for(l, TN_LOOP_SERIAL, zero, tn_l_dim(l, t->c.n_extent[i]), "n");
    for (int i = 0; i < t->c.k; i++) {
        tn_lx extent = tn_l_dim(l, t->c.k_extent[i]), block = zero;
        if (i == k_axis) {
            tn_lx size = tn_l_int(l, group);
            block = tn_l_mul(l, tn_l_for(l, TN_LOOP_SERIAL, zero, tn_l_div(l, extent, size), "g"),
                             size);
            extent = size;
        }
        r->k_rest = tn_l_for(l, TN_LOOP_SERIAL, zero, extent, "k");
        k[i] = tn_l_add(l, block, r->k_rest);
    }
    tn_lx index[TN_MAX_RANK], guard = TN_LX_NONE;
    t->rules->rhs(&t->m.access.emit, t->node, t->b_index, k, r->n, index, &guard);
    r->guarded = guard != TN_LX_NONE;
    t->weights.uses = &r->uses;
    t->weights.leaf = note_leaf;
    r->element = tn__tile_rhs(t, t->b_index, k, r->n, TN_LX_NONE);
    t->weights.leaf = NULL;
}

static bool uses_columns(const trial *r, tn_lx e) {
    for (int i = 0; i < r->t.c.n; i++)
        if (tn_l_expr(r->t.m.k, r->n[i])->kind == TN_LX_VAR &&
            tn_l_uses_var(r->t.m.k, e, tn_l_expr(r->t.m.k, r->n[i])->index))
            return true;
    return false;
}

static bool uses_k(const trial *r, tn_lx e) {
    for (uint32_t v = 0; v < r->t.m.k->vars.len; v++)
        if (!strcmp(r->t.m.k->vars.data[v].name, "k") && tn_l_uses_var(r->t.m.k, e, v)) return true;
    return false;
}

static int64_t product(const tn_dim *d, int count) {
    int64_t p = 1;
    for (int i = 0; i < count; i++)
        if (!tn_dim_is_const(d[i]) || __builtin_mul_overflow(p, d[i], &p)) return 0;
    return p;
}

/* The narrow leaf with as many elements as B. */
static tn_value find_source(const trial *r) {
    const tn_contraction *c = &r->t.c;
    int64_t all = 0, part = product(c->b_extent, c->b) * product(c->k_extent, c->k);
    if (__builtin_mul_overflow(part, product(c->n_extent, c->n), &all) || all == 0)
        return TN_NO_VALUE;
    for (uint32_t i = 0; i < r->uses.count; i++) {
        const tn_type *type = tn_graph_type(r->t.m.graph, r->uses.at[i].value);
        if (tn_dtype_bits(type->dtype) <= MOST_BITS && type->dtype != TN_bool &&
            tn_shape_is_const(&type->shape) && tn_shape_const_count(&type->shape) == all)
            return r->uses.at[i].value;
    }
    return TN_NO_VALUE;
}

/* Whether a leaf must be packed, besides the source: it differs between columns. */
static bool is_param(const trial *r, const leaf_use *u, tn_value source) {
    return u->value != source && uses_columns(r, u->offset);
}

static bool params_fit(const trial *r, tn_value source) {
    for (uint32_t i = 0; i < r->uses.count; i++)
        if (is_param(r, &r->uses.at[i], source) && uses_k(r, r->uses.at[i].offset)) return false;
    return true;
}

/* The greatest divisor in `e` that divides `depth` and is less than `below`. */
static int64_t divisor_in(const tn_loop *k, tn_lx e, int64_t depth, int64_t below, int levels) {
    const tn_lexpr *x = tn_l_expr(k, e);
    int64_t best = 0, c;
    if (e == TN_LX_NONE || levels == 0 || (x->kind != TN_LX_OP && x->kind != TN_LX_CAST)) return 0;
    if (x->index == 1 && tn_l_is_const_int(k, x->b, &c) && c > 1 && c < below && depth % c == 0)
        best = c;
    best = TN_MAX(best, divisor_in(k, x->a, depth, below, levels - 1));
    best = TN_MAX(best, divisor_in(k, x->b, depth, below, levels - 1));
    return best;
}

/* The largest blocks of k in which all parameters stay the same; leaves the trial with them in *r. */
static int64_t find_group(const tn_lower_context *c, uint32_t id, const tn__weights *w, trial *r) {
    enum { LEVELS = 16 };
    if (params_fit(r, w->source)) return w->depth;
    trial whole = *r;
    for (int64_t size = w->depth; w->k_axis >= 0 && size > 0;) {
        int64_t next = 0;
        for (uint32_t i = 0; i < whole.uses.count; i++)
            next = TN_MAX(next,
                          divisor_in(whole.t.m.k, whole.uses.at[i].offset, w->depth, size, LEVELS));
        if ((size = next) == 0) break;
        try_group(c, id, size, w->k_axis, r);
        if (params_fit(r, w->source)) return size;
    }
    return 0;
}

static bool contains_load(const tn_loop *k, tn_lx e, uint32_t buffer) {
    if (e == TN_LX_NONE) return false;
    const tn_lexpr *x = tn_l_expr(k, e);
    return (x->kind == TN_LX_LOAD && x->index == buffer) || contains_load(k, x->a, buffer) ||
           contains_load(k, x->b, buffer) || contains_load(k, x->c, buffer);
}

tn_lx tn__weights_factor(const tn_loop *k, tn_lx element, uint32_t source, tn_lx *rest) {
    const tn_lexpr *x = tn_l_expr(k, element);
    *rest = element;
    if (x->kind != TN_LX_OP || x->op != TN_S_mul || x->dtype != TN_f32) return TN_LX_NONE;
    bool left = contains_load(k, x->a, source), right = contains_load(k, x->b, source);
    if (left == right) return TN_LX_NONE;
    *rest = left ? x->a : x->b;
    return left ? x->b : x->a;
}

/* Whether `e` is the load from `source`, or that in types which hold all integers of a byte. */
static bool is_converted(const tn_loop *k, tn_lx e, uint32_t source) {
    const tn_lexpr *x = tn_l_expr(k, e);
    while (x->kind == TN_LX_CAST && tn_dtype_bits(x->dtype) > BYTE_BITS) x = tn_l_expr(k, x->a);
    if (x->kind == TN_LX_CAST) x = tn_l_expr(k, x->a); /* a shared element */
    return x->kind == TN_LX_LOAD && x->index == source;
}

bool tn__weights_difference(tn_loop *k, tn_lx rest, uint32_t source, tn_lx *zero) {
    *zero = TN_LX_NONE;
    const tn_lexpr *x = tn_l_expr(k, rest);
    if (x->kind == TN_LX_CAST && x->dtype == TN_f32 && tn_l_type(k, x->a) == TN_i32)
        x = tn_l_expr(k, x->a);
    if (x->kind != TN_LX_OP || x->op != TN_S_sub) return is_converted(k, rest, source);
    tn_lx a = x->a, b = x->b;
    if (!is_converted(k, a, source) || contains_load(k, b, source)) return false;
    *zero = tn_l_cast(k, b, TN_f32, false);
    return true;
}

/* Whether a factor is shared by a group; what multiplies it. */
static bool shares_factor(trial *r, uint32_t source, tn_lx *rest) {
    tn_lx factor = tn__weights_factor(r->t.m.k, r->element, source, rest);
    return factor != TN_LX_NONE && !uses_k(r, factor);
}

static bool differs(trial *r, tn_lx rest, uint32_t source) {
    tn_lx zero;
    if (!tn__weights_difference(r->t.m.k, rest, source, &zero)) return false;
    return zero == TN_LX_NONE || !uses_k(r, zero);
}

/* Elements of less than a byte share words, or bytes, that do not cross the ends of groups. */
static void share(const tn_graph *g, tn__weights *w) {
    tn_dtype dtype = tn_graph_type(g, w->source)->dtype;
    uint32_t bits = (uint32_t)tn_dtype_bits(dtype);
    w->shared = 1;
    if (!tn_dtype_is_integer(dtype) || bits >= BYTE_BITS || w->k_axis < 0) return;
    if (w->group % (BYTE_BITS / bits) != 0) return;
    w->bits = bits;
    w->shared = (w->group % (WORD_BITS / bits) ? BYTE_BITS : WORD_BITS) / bits;
    while (w->scaled && w->differs && w->group > MOST_GROUP && w->group / 2 % w->shared == 0 &&
           w->group % 2 == 0)
        w->group /= 2;
}

static uint32_t buffer_of(const trial *r, tn_value v) {
    for (uint32_t i = 0; i < r->uses.count; i++)
        if (r->uses.at[i].value == v) return r->uses.at[i].buffer;
    TN_BUG("a leaf without a buffer");
}

/* The k axis that is not 1: the last one if all are; -1 if there are several. */
static int only_axis(const tn_contraction *c) {
    int axis = c->k - 1, wide = 0;
    for (int i = 0; i < c->k; i++)
        if (c->k_extent[i] != 1 && ++wide) axis = i;
    return wide > 1 ? -1 : axis;
}

void tn__weights_find(const tn_lower_context *c, uint32_t group, tn__weights *out) {
    trial r;
    *out = (tn__weights){.source = TN_NO_VALUE, .k_axis = -1};
    try_group(c, group, 0, -1, &r);
    const tn_contraction *x = &r.t.c;
    tn__weights w = {.depth = product(x->k_extent, x->k), .k_axis = only_axis(x)};
    if (!c->grouping->fuse || x->acc != TN_f32 || x->k == 0 || r.guarded || !r.uses.plain) return;
    w.source = find_source(&r);
    if (w.source == TN_NO_VALUE) return;
    w.group = find_group(c, group, &w, &r);
    if (w.group == 0 || !r.uses.plain) return;
    for (uint32_t i = 0; i < r.uses.count; i++) {
        if (!is_param(&r, &r.uses.at[i], w.source)) continue;
        if (w.params == TN_COUNT(w.param)) return;
        w.param[w.params++] = r.uses.at[i].value;
    }
    tn_lx rest;
    uint32_t buffer = buffer_of(&r, w.source);
    w.scaled = shares_factor(&r, buffer, &rest);
    w.differs = differs(&r, rest, buffer);
    share(r.t.m.graph, &w);
    *out = w;
}

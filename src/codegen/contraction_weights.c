/* Contractions: a constant B that is packed in its stored type and converted where it is used.
 *
 *   pack 0        [batch][panel][k][nr] narrow elements; of 4 bits: [k/2][nr] bytes, even k's low
 *   pack 1 + i    [batch][panel][k/group][nr] of parameter i: a scale, a zero
 *
 * Columns past the end are zero. RAW: the register tile converts as it loads. A factor that a group of
 * k shares multiplies the sums over the group instead of the elements, where registers allow. UNPACKED:
 * the task converts a panel into scratch, which its rows then read as they would read f32. */
#include "codegen/contraction.h"

static tn_lx times(tn_loop *k, tn_lx a, int64_t b) {
    return tn_l_mul(k, a, tn_l_int(k, b));
}

static tn_dtype source_type(const tn__tile *t) {
    return tn_graph_type(t->m.graph, t->weights.source)->dtype;
}

static tn_dtype packed_type(const tn__tile *t, uint32_t which) {
    const tn__weights *w = &t->weights;
    if (which > 0) return tn_graph_type(t->m.graph, w->param[which - 1])->dtype;
    if (!w->nibbles) return source_type(t);
    return tn_dtype_is_signed(source_type(t)) ? TN_i8 : TN_u8;
}

/* Lines of nr elements in a panel of a pack. */
static int64_t panel_lines(const tn__weights *w, uint32_t which) {
    if (which > 0) return w->depth / w->group;
    return w->nibbles ? w->depth / 2 : w->depth;
}

/* Element (line of the panel, column) of a pack. */
static tn_lx place_in(const tn__tile *t, uint32_t which, tn_lx line) {
    tn_loop *k = t->m.k;
    const tn__weights *w = &t->weights;
    tn_lx lines = tn_l_add(k, times(k, w->line, panel_lines(w, which)), line);
    return tn_l_add(k, times(k, lines, t->s.nr), w->column);
}

/* ---- elements ------------------------------------------------------------------------------- */

/* B's element at k_index, in the column that weights.column is of panel `panel`. */
static tn_lx element(tn__tile *t, const tn_lx *k_index, tn_lx panel, tn_lx valid,
                     tn_lx (*leaf)(tn__tile *t, tn_value v, const tn_lx *index)) {
    tn_loop *k = t->m.k;
    tn_lx n[TN_MAX_RANK], col = tn_l_add(k, times(k, panel, t->s.nr), t->weights.column);
    tn__split_plain(k, col, t->c.n_extent, t->c.n, n);
    uint32_t mark = tn_access_mark(&t->m.access);
    t->weights.leaf = leaf;
    tn_lx value = tn__tile_rhs(t, t->b_index, k_index, n, valid);
    t->weights.leaf = NULL;
    tn_access_release(&t->m.access, mark);
    return value;
}

/* A half of a byte as a number of `dtype`. */
static tn_lx half_of(tn_loop *k, tn_lx byte, int half, tn_dtype dtype) {
    tn_lx x = tn_l_cast(k, byte, TN_i32, false);
    if (!tn_dtype_is_signed(dtype))
        x = half ? tn_l_op2(k, TN_S_shr, x, tn_l_number(k, TN_i32, 4))
                 : tn_l_op2(k, TN_S_and, x, tn_l_number(k, TN_i32, 15));
    else if (half)
        x = tn_l_op2(k, TN_S_shr, x, tn_l_number(k, TN_i32, 4));
    else
        x = tn_l_op2(k, TN_S_shr, tn_l_op2(k, TN_S_shl, x, tn_l_number(k, TN_i32, 28)),
                     tn_l_number(k, TN_i32, 28));
    return tn_l_cast(k, x, dtype, false);
}

static tn_lx read_packed(tn__tile *t, tn_value v, const tn_lx *index) {
    tn_loop *k = t->m.k;
    const tn__weights *w = &t->weights;
    if (v == w->source) {
        tn_lx x = tn_l_load(k, w->raw, place_in(t, 0, w->k), TN_LX_NONE, TN_LX_NONE);
        return w->nibbles ? half_of(k, x, w->half, source_type(t)) : x;
    }
    for (uint32_t i = 0; i < w->params; i++)
        if (v == w->param[i])
            return tn_l_load(k, w->param_pack[i], place_in(t, 1 + i, w->at_group), TN_LX_NONE,
                             TN_LX_NONE);
    return tn_maker_load(&t->m, v, index);
}

/* ---- packing -------------------------------------------------------------------------------- */

static tn_lx read_wanted(tn__tile *t, tn_value v, const tn_lx *index) {
    tn_dtype dtype = tn_graph_type(t->m.graph, v)->dtype;
    if (v != t->weights.wanted) return tn_l_number(t->m.k, dtype, 1);
    return t->weights.found = tn_maker_load(&t->m, v, index);
}

static tn_lx packed_element(tn__tile *t, const tn_lx *k_index, tn_lx panel) {
    tn_loop *k = t->m.k;
    tn_lx col = tn_l_add(k, times(k, panel, t->s.nr), t->weights.column);
    tn_lx valid = tn__columns_exact(t) ? TN_LX_NONE : tn_l_lt(k, col, t->n_total);
    (void)element(t, k_index, panel, valid, read_wanted);
    return t->weights.found;
}

static void store_line(tn__tile *t, uint32_t which, uint32_t to, tn_lx *k_index, tn_lx line,
                       tn_lx panel) {
    tn_loop *k = t->m.k;
    tn__weights *w = &t->weights;
    w->column = tn_l_for(k, TN_LOOP_VECTOR, tn_l_int(k, 0), tn_l_int(k, t->s.nr), "j");
    tn_lx value;
    if (which == 0 && w->nibbles) {
        tn_lx pair[2], four = tn_l_number(k, TN_u8, 4);
        for (int half = 0; half < 2; half++) {
            k_index[w->k_axis] = tn_l_add(k, times(k, line, 2), tn_l_int(k, half));
            pair[half] = tn_l_cast(k, packed_element(t, k_index, panel), TN_u8, false);
        }
        value = tn_l_op2(k, TN_S_or, tn_l_op2(k, TN_S_and, pair[0], tn_l_number(k, TN_u8, 15)),
                         tn_l_op2(k, TN_S_shl, pair[1], four));
        value = tn_l_bitcast(k, value, packed_type(t, which));
    } else {
        value = packed_element(t, k_index, panel);
    }
    tn_l_store(k, to, place_in(t, which, line), value);
    tn_l_end(k);
}

static tn_dim pack_elements(const tn__tile *t, uint32_t which) {
    tn_dims *dims = t->m.graph->dims;
    tn_dim n = 1, nr = tn_dim_const(dims, t->s.nr);
    for (int i = 0; i < t->c.n; i++) n = tn_dim_mul(dims, n, t->c.n_extent[i]);
    tn_dim count = tn_dim_mul(dims, nr, tn_dim_ceildiv(dims, n, nr));
    for (int i = 0; i < t->c.b; i++) count = tn_dim_mul(dims, count, t->c.b_extent[i]);
    return tn_dim_mul(dims, count, tn_dim_const(dims, panel_lines(&t->weights, which)));
}

tn_pack tn__weights_pack(tn__tile *t, uint32_t which) {
    tn_loop *k = t->m.k;
    tn__weights *w = &t->weights;
    uint32_t to = tn_l_buffer(k, TN_LBUF_OUTPUT, packed_type(t, which), "packed");
    k->buffers.data[to].binding = TN_BIND_PACK;
    k->tasks = tn_l_mul(k, tn__tile_product(k, t->c.b_extent, t->c.b), t->panels);
    w->line = tn_l_task(k);
    w->wanted = which > 0 ? w->param[which - 1] : w->source;
    tn_lx panel = tn_l_mod(k, w->line, t->panels), line, k_index[TN_MAX_RANK];
    tn__split_plain(k, tn_l_div(k, w->line, t->panels), t->c.b_extent, t->c.b, t->b_index);
    bool apart[TN_MAX_RANK] = {false};
    int opened = 1;
    for (int i = 0; i < TN_MAX_RANK; i++) k_index[i] = tn_l_int(k, 0);
    if (which == 0 && !w->nibbles) {
        opened = tn__open_k(t, apart, k_index, &line);
    } else {
        line = tn_l_for(k, TN_LOOP_SERIAL, tn_l_int(k, 0), tn_l_int(k, panel_lines(w, which)), "k");
        if (w->k_axis >= 0) k_index[w->k_axis] = times(k, line, w->group);
    }
    store_line(t, which, to, k_index, line, panel);
    tn__close_loops(k, opened);
    return (tn_pack){k, pack_elements(t, which), packed_type(t, which)};
}

void tn__weights_bind(tn__tile *t) {
    tn_loop *k = t->m.k;
    tn__weights *w = &t->weights;
    for (uint32_t i = 0; i <= w->params; i++) {
        uint32_t b = tn_l_buffer(k, TN_LBUF_INPUT, packed_type(t, i), i ? "param" : "packed");
        k->buffers.data[b].binding = TN_BIND_PACK + i;
        *(i ? &w->param_pack[i - 1] : &w->raw) = b;
    }
    if (t->s.group_sums && w->group < w->depth)
        t->part = tn_l_register(k, t->c.acc, t->s.mr * t->s.nr, "part");
}

/* ---- loops over k --------------------------------------------------------------------------- */

/* One element of k for all rows, or for scratch. */
typedef void k_step(void *context, const tn_lx *k_index, tn_lx k_linear);

typedef struct k_work {
    tn__tile *t;
    tn_lx panel, m0;
    uint32_t rows, to; /* registers; or scratch */
} k_work;

/* Steps of k_step elements from `first` on. */
static void open_steps(tn__tile *t, tn_lx first, int64_t count, k_step *work, void *context) {
    tn_loop *k = t->m.k;
    tn__weights *w = &t->weights;
    int64_t pair = w->nibbles ? 2 : 1;
    tn_lx zero = tn_l_int(k, 0), k_index[TN_MAX_RANK];
    for (int i = 0; i < TN_MAX_RANK; i++) k_index[i] = zero;
    tn_lx step = tn_l_for(k, TN_LOOP_SERIAL, zero, tn_l_int(k, count / t->s.k_step), "k");
    tn_lx i = tn_l_for(k, TN_LOOP_UNROLL, zero, tn_l_int(k, t->s.k_step / pair), "u");
    tn_lx at = tn_l_add(k, first, tn_l_add(k, times(k, step, t->s.k_step), times(k, i, pair)));
    for (w->half = 0; w->half < pair; w->half++) {
        tn_lx linear = tn_l_add(k, at, tn_l_int(k, w->half));
        w->k = tn_l_div(k, at, tn_l_int(k, pair));
        k_index[w->k_axis] = linear;
        work(context, k_index, linear);
    }
    tn_l_end(k);
    tn_l_end(k);
}

/* All k's of one group, or of the only one when there are several axes. */
static void run_group(tn__tile *t, tn_lx at_group, k_step *work, void *context) {
    tn__weights *w = &t->weights;
    tn_lx k_index[TN_MAX_RANK], linear;
    w->at_group = at_group;
    if (w->k_axis >= 0) {
        open_steps(t, times(t->m.k, at_group, w->group), w->group, work, context);
        return;
    }
    int opened = tn__open_k(t, t->merged_k, k_index, &linear);
    w->k = linear;
    work(context, k_index, linear);
    tn__close_loops(t->m.k, opened);
}

static tn_lx open_columns(tn__tile *t) {
    tn_loop *k = t->m.k;
    return t->weights.column =
               tn_l_for(k, TN_LOOP_VECTOR, tn_l_int(k, 0), tn_l_int(k, t->s.nr), "j");
}

static void set_panel(tn__tile *t, tn_lx panel) {
    t->weights.line = tn_l_add(t->m.k, tn_l_mul(t->m.k, t->b_linear, t->panels), panel);
}

/* ---- RAW ------------------------------------------------------------------------------------ */

static void add_products(void *context, const tn_lx *k_index, tn_lx k_linear) {
    const k_work *x = context;
    tn__tile *t = x->t;
    tn_loop *k = t->m.k;
    uint32_t mark = tn_access_mark(&t->m.access);
    tn_lx k_part = tn__lhs_k_part(t, k_index, k_linear), rest;
    tn_lx i = tn_l_for(k, TN_LOOP_UNROLL, tn_l_int(k, 0), tn_l_int(k, x->rows), "i");
    tn_lx a = tn__lhs_element(t, i, x->m0, k_index, k_part), j = open_columns(t);
    tn_lx b = element(t, k_index, x->panel, TN_LX_NONE, read_packed);
    if (t->s.group_sums) {
        tn__weights_factor(k, b, t->weights.raw, &rest);
        b = rest;
    }
    tn_lx at = tn_l_add(k, times(k, i, t->s.nr), j);
    tn_l_set(k, x->to, at, tn_l_op3(k, TN_S_mad, a, b, tn_l_get(k, x->to, at)));
    tn_l_end(k);
    tn_l_end(k);
    tn_access_release(&t->m.access, mark);
}

/* Ends a group: acc = sums * factor, plus acc where there are several groups. */
static void apply_factor(const k_work *x) {
    tn__tile *t = x->t;
    tn_loop *k = t->m.k;
    tn_lx k_index[TN_MAX_RANK], rest;
    for (int i = 0; i < TN_MAX_RANK; i++) k_index[i] = tn_l_int(k, 0);
    if (t->weights.k_axis >= 0)
        k_index[t->weights.k_axis] = times(k, t->weights.at_group, t->weights.group);
    t->weights.k = tn_l_int(k, 0);
    t->weights.half = 0;
    tn_lx i = tn_l_for(k, TN_LOOP_UNROLL, tn_l_int(k, 0), tn_l_int(k, x->rows), "i");
    tn_lx j = open_columns(t), at = tn_l_add(k, times(k, i, t->s.nr), j);
    tn_lx b = element(t, k_index, x->panel, TN_LX_NONE, read_packed);
    tn_lx factor = tn__weights_factor(k, b, t->weights.raw, &rest), sum = tn_l_get(k, x->to, at);
    tn_l_set(k, t->acc, at,
             x->to == t->acc ? tn_l_op2(k, TN_S_mul, sum, factor)
                             : tn_l_op3(k, TN_S_mad, sum, factor, tn_l_get(k, t->acc, at)));
    tn_l_end(k);
    tn_l_end(k);
}

static void clear(const k_work *x, uint32_t reg) {
    tn__tile *t = x->t;
    tn_loop *k = t->m.k;
    tn_lx i = tn_l_for(k, TN_LOOP_UNROLL, tn_l_int(k, 0), tn_l_int(k, x->rows), "i");
    tn_lx j = open_columns(t);
    tn_l_set(k, reg, tn_l_add(k, times(k, i, t->s.nr), j), tn_l_number(k, t->c.acc, 0));
    tn_l_end(k);
    tn_l_end(k);
}

void tn__weights_multiply(tn__tile *t, uint32_t rows, tn_lx m0, tn_lx panel) {
    tn_loop *k = t->m.k;
    int64_t groups = t->weights.depth / t->weights.group;
    bool parts = t->s.group_sums && groups > 1;
    k_work x = {.t = t, .panel = panel, .m0 = m0, .rows = rows, .to = parts ? t->part : t->acc};
    set_panel(t, panel);
    clear(&x, t->acc);
    tn__row_addresses(t, rows, m0);
    tn_lx group = tn_l_int(k, 0);
    if (groups > 1)
        group = tn_l_for(k, TN_LOOP_SERIAL, tn_l_int(k, 0), tn_l_int(k, groups), "group");
    if (parts) clear(&x, t->part);
    run_group(t, group, add_products, &x);
    if (t->s.group_sums) apply_factor(&x);
    if (groups > 1) tn_l_end(k);
}

/* ---- UNPACKED ------------------------------------------------------------------------------- */

static void store_elements(void *context, const tn_lx *k_index, tn_lx k_linear) {
    const k_work *x = context;
    tn__tile *t = x->t;
    tn_loop *k = t->m.k;
    tn_lx j = open_columns(t);
    tn_l_store(k, t->packed, tn_l_add(k, times(k, k_linear, t->s.nr), j),
               element(t, k_index, x->panel, TN_LX_NONE, read_packed));
    tn_l_end(k);
}

void tn__weights_unpack(tn__tile *t, tn_lx panel) {
    tn_loop *k = t->m.k;
    int64_t groups = t->weights.depth / t->weights.group;
    k_work x = {.t = t, .panel = panel};
    set_panel(t, panel);
    tn_lx group = tn_l_int(k, 0);
    if (groups > 1)
        group = tn_l_for(k, TN_LOOP_SERIAL, tn_l_int(k, 0), tn_l_int(k, groups), "group");
    run_group(t, group, store_elements, &x);
    if (groups > 1) tn_l_end(k);
}

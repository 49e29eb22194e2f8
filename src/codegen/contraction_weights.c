/* Contractions: a constant B that is packed in its stored type and converted where it is used.
 *
 *   pack 0        [batch][panel][k][nr] narrow elements; of less than a byte: [k/shared][nr] bytes or
 *                 words of several, the first k lowest, signed ones plus half their range
 *   pack 1 + i    [batch][panel][k/group][nr] of parameter i: a scale, a zero
 *
 * Columns past the end are zero. RAW: the register tile converts as it loads. A factor that a group of
 * k shares multiplies the sums over the group instead of the elements, where registers allow. With
 * `zero_sums` the elements of a word are converted where they are, as multiples of 2^(bits · position),
 * by one `and` and one conversion; A is multiplied by the inverse of that power, and zeros are taken
 * off once a group: sum a·(w - z) = sum a·w - z · sum a. Or A is cut into digits, and words of weights
 * are multiplied as bytes (contraction_digits.c). UNPACKED: the task converts a panel into scratch,
 * which its rows then read as they would read f32. */
#include "codegen/contraction.h"

enum {
    CACHE_LINE = 64,
    PREFETCH_BYTES = 2 << 10,
};

static tn_lx times(tn_loop *k, tn_lx a, int64_t b) {
    return tn_l_mul(k, a, tn_l_int(k, b));
}

static tn_dtype source_type(const tn__tile *t) {
    return tn_graph_type(t->m.graph, t->weights.source)->dtype;
}

static tn_dtype packed_type(const tn__tile *t, uint32_t which) {
    const tn__weights *w = &t->weights;
    if (which > 0) return tn_graph_type(t->m.graph, w->param[which - 1])->dtype;
    if (w->shared == 1) return source_type(t);
    return w->shared * w->bits == 8 ? TN_u8 : TN_i32;
}

/* Lines of nr elements in a panel of a pack. */
static int64_t panel_lines(const tn__weights *w, uint32_t which) {
    if (which > 0) return w->depth / w->group;
    return w->depth / w->shared;
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

static tn_lx with_number(tn_loop *k, tn_scalar_op op, tn_lx x, int64_t number) {
    return number ? tn_l_op2(k, op, x, tn_l_number(k, TN_i32, (double)number)) : x;
}

/* What signed elements that share a byte or a word are raised by. */
static int64_t raised_by(const tn__tile *t) {
    return tn_dtype_is_signed(source_type(t)) ? INT64_C(1) << (t->weights.bits - 1) : 0;
}

/* The element of a byte or a word at weights.position, as an i32. */
static tn_lx shared_element(tn__tile *t, tn_lx packed) {
    tn_loop *k = t->m.k;
    const tn__weights *w = &t->weights;
    tn_lx x = with_number(k, TN_S_shr, tn_l_cast(k, packed, TN_i32, false), w->position * w->bits);
    x = tn_l_op2(k, TN_S_and, x, tn_l_number(k, TN_i32, (1 << w->bits) - 1));
    return with_number(k, TN_S_sub, x, raised_by(t));
}

/* Where element `position` of a word is kept: the last one would be at the sign. */
static uint32_t kept_at(const tn__weights *w, uint32_t position) {
    return w->bits * TN_MIN(position, w->shared - 2);
}

/* The same raised, times 2^kept_at(), as an f32. */
static tn_lx element_in_place(tn__tile *t, tn_lx word) {
    tn_loop *k = t->m.k;
    const tn__weights *w = &t->weights;
    uint32_t at = kept_at(w, w->position);
    tn_lx x = with_number(k, TN_S_shr, word, w->position * w->bits - at);
    x = tn_l_op2(k, TN_S_and, x, tn_l_number(k, TN_i32, ((1 << w->bits) - 1) << at));
    return tn_l_cast(k, x, TN_f32, false);
}

static tn_lx read_packed(tn__tile *t, tn_value v, const tn_lx *index) {
    tn_loop *k = t->m.k;
    const tn__weights *w = &t->weights;
    if (v == w->source) {
        tn_lx x = tn_l_load(k, w->raw, place_in(t, 0, w->k), TN_LX_NONE, TN_LX_NONE);
        return w->shared > 1 ? tn_l_cast(k, shared_element(t, x), source_type(t), false) : x;
    }
    for (uint32_t i = 0; i < w->params; i++)
        if (v == w->param[i])
            return tn_l_load(k, w->param_pack[i], place_in(t, 1 + i, w->at_group), TN_LX_NONE,
                             TN_LX_NONE);
    return tn_maker_load(&t->m, v, index);
}

/* The packed element as if it were the narrow one: shows what is done to that. */
static tn_lx read_stand_in(tn__tile *t, tn_value v, const tn_lx *index) {
    if (v != t->weights.source) return read_packed(t, v, index);
    tn_lx at = place_in(t, 0, t->weights.k);
    tn_lx x = tn_l_load(t->m.k, t->weights.raw, at, TN_LX_NONE, TN_LX_NONE);
    return tn_l_cast(t->m.k, x, source_type(t), false);
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

/* The elements of k that share element `line` of the pack. */
static tn_lx shared_line(tn__tile *t, tn_lx *k_index, tn_lx line, tn_lx panel) {
    tn_loop *k = t->m.k;
    tn__weights *w = &t->weights;
    tn_lx packed = TN_LX_NONE, mask = tn_l_number(k, TN_i32, (1 << w->bits) - 1);
    for (uint32_t i = 0; i < w->shared; i++) {
        k_index[w->k_axis] = t->s.digits ? tn__digits_k(t, line, i)
                                         : tn_l_add(k, times(k, line, w->shared), tn_l_int(k, i));
        tn_lx x = tn_l_cast(k, packed_element(t, k_index, panel), TN_i32, false);
        x = tn_l_op2(k, TN_S_and, with_number(k, TN_S_add, x, raised_by(t)), mask);
        x = with_number(k, TN_S_shl, x, i * w->bits);
        packed = i ? tn_l_op2(k, TN_S_or, packed, x) : x;
    }
    return tn_l_cast(k, packed, packed_type(t, 0), false);
}

static void store_line(tn__tile *t, uint32_t which, uint32_t to, tn_lx *k_index, tn_lx line,
                       tn_lx panel) {
    tn_loop *k = t->m.k;
    tn__weights *w = &t->weights;
    w->column = tn_l_for(k, TN_LOOP_VECTOR, tn_l_int(k, 0), tn_l_int(k, t->s.nr), "j");
    bool shared = which == 0 && w->shared > 1;
    tn_lx value = shared ? shared_line(t, k_index, line, panel) : packed_element(t, k_index, panel);
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
    if (which == 0 && w->shared == 1) {
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
    if (t->s.zero_sums) t->lhs_sum = tn_l_register(k, t->c.acc, t->s.mr, "lhs_sum");
    if (t->s.digits) tn__digits_declare(t);
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
    int64_t shared = w->shared;
    tn_lx zero = tn_l_int(k, 0), k_index[TN_MAX_RANK];
    for (int i = 0; i < TN_MAX_RANK; i++) k_index[i] = zero;
    tn_lx step = tn_l_for(k, TN_LOOP_SERIAL, zero, tn_l_int(k, count / t->s.k_step), "k");
    tn_lx i = tn_l_for(k, TN_LOOP_UNROLL, zero, tn_l_int(k, t->s.k_step / shared), "u");
    tn_lx at = tn_l_add(k, first, tn_l_add(k, times(k, step, t->s.k_step), times(k, i, shared)));
    for (w->position = 0; w->position < shared; w->position++) {
        tn_lx linear = tn_l_add(k, at, tn_l_int(k, w->position));
        w->k = tn_l_div(k, at, tn_l_int(k, shared));
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

/* The factor of what element_in_place() gives. */
static tn_lx scaled_lhs(tn__tile *t, tn_lx i, tn_lx a) {
    tn_loop *k = t->m.k;
    uint32_t at = kept_at(&t->weights, t->weights.position);
    tn_lx sum = tn_l_op2(k, TN_S_add, tn_l_get(k, t->lhs_sum, i), a);
    tn_l_set(k, t->lhs_sum, i, sum);
    tn_lx unit = tn_l_number(k, TN_f32, 1.0 / (double)(1 << at));
    return at ? tn_l_let(k, tn_l_op2(k, TN_S_mul, a, unit)) : a;
}

tn_lx tn__weights_word(tn__tile *t, tn_lx line) {
    return tn_l_load(t->m.k, t->weights.raw, place_in(t, 0, line), TN_LX_NONE, TN_LX_NONE);
}

void tn__weights_prefetch(tn__tile *t, tn_lx line) {
    tn_loop *k = t->m.k;
    int64_t bytes = (int64_t)tn_dtype_size(packed_type(t, 0));
    t->weights.column = tn_l_int(k, 0);
    tn_lx ahead = tn_l_add(k, place_in(t, 0, line), tn_l_int(k, PREFETCH_BYTES / bytes));
    for (int64_t at = 0; at < t->s.nr * bytes; at += CACHE_LINE)
        tn_l_prefetch(k, t->weights.raw, tn_l_add(k, ahead, tn_l_int(k, at / bytes)));
}

/* B's element, less its factor where sums are multiplied by that, and its zero. */
static tn_lx rhs_of_sums(tn__tile *t, const tn_lx *k_index, tn_lx panel) {
    tn_loop *k = t->m.k;
    if (t->s.zero_sums) return element_in_place(t, tn__weights_word(t, t->weights.k));
    tn_lx rest, b = element(t, k_index, panel, TN_LX_NONE, read_packed);
    if (!t->s.group_sums) return b;
    tn__weights_factor(k, b, t->weights.raw, &rest);
    return rest;
}

static void add_products(void *context, const tn_lx *k_index, tn_lx k_linear) {
    const k_work *x = context;
    tn__tile *t = x->t;
    tn_loop *k = t->m.k;
    uint32_t mark = tn_access_mark(&t->m.access);
    tn_lx k_part = tn__lhs_k_part(t, k_index, k_linear);
    tn_lx i = tn_l_for(k, TN_LOOP_UNROLL, tn_l_int(k, 0), tn_l_int(k, x->rows), "i");
    tn_lx a = tn__lhs_element(t, i, x->m0, k_index, k_part);
    if (t->s.zero_sums) a = scaled_lhs(t, i, a);
    tn_lx j = open_columns(t), b = rhs_of_sums(t, k_index, x->panel);
    tn_lx at = tn_l_add(k, times(k, i, t->s.nr), j);
    tn_l_set(k, x->to, at, tn_l_op3(k, TN_S_mad, a, b, tn_l_get(k, x->to, at)));
    tn_l_end(k);
    tn_l_end(k);
    tn_access_release(&t->m.access, mark);
}

/* The sum less what the zeros of B and raised elements are in it; `rest` is an element of B without
 * its factor. */
static tn_lx without_zero(tn__tile *t, tn_lx i, tn_lx sum, tn_lx rest) {
    tn_loop *k = t->m.k;
    tn_lx zero, raised = tn_l_number(k, TN_f32, (double)raised_by(t));
    TN_ASSERT(tn__weights_difference(k, rest, t->weights.raw, &zero));
    zero = zero ? tn_l_op2(k, TN_S_add, zero, raised) : raised;
    return tn_l_op2(k, TN_S_sub, sum, tn_l_op2(k, TN_S_mul, tn_l_get(k, t->lhs_sum, i), zero));
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
    t->weights.position = 0;
    tn_lx i = tn_l_for(k, TN_LOOP_UNROLL, tn_l_int(k, 0), tn_l_int(k, x->rows), "i");
    tn_lx j = open_columns(t), at = tn_l_add(k, times(k, i, t->s.nr), j);
    tn_lx b = element(t, k_index, x->panel, TN_LX_NONE, read_stand_in);
    tn_lx factor = tn__weights_factor(k, b, t->weights.raw, &rest), sum = tn_l_get(k, x->to, at);
    if (t->s.zero_sums) sum = without_zero(t, i, sum, rest);
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

static void clear_lhs_sums(tn__tile *t, uint32_t rows) {
    tn_loop *k = t->m.k;
    tn_lx i = tn_l_for(k, TN_LOOP_UNROLL, tn_l_int(k, 0), tn_l_int(k, rows), "i");
    tn_l_set(k, t->lhs_sum, i, tn_l_number(k, t->c.acc, 0));
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
    if (t->s.digits) {
        t->weights.at_group = group;
        tn__digits_multiply(t, rows, m0, group, x.to);
    } else {
        if (parts) clear(&x, t->part);
        if (t->s.zero_sums) clear_lhs_sums(t, rows);
        run_group(t, group, add_products, &x);
    }
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

/* dot and conv on a register tile.
 *
 *   task = (batch point, block of rows, range of column panels)
 *   for each panel of nr columns:  [pack the panel of B]
 *     for each tile of mr rows:    acc[mr][nr] += A[row i] (broadcast) * B[k][nr], over all of K
 *                                  epilogue on the tile, stores
 *
 * Measured choices (see schedule/record.c): A is read in place, row by row, so mr is at most 8; K
 * is not split; a constant B is packed once into panels [N/nr][K][nr] by a kernel of its own, B
 * with contiguous rows is read in place, any other is packed by the task. When A's address is a
 * function of the row plus a function of k, the row part is computed once per tile; else A is any
 * expression. Each element is one chain over ascending k, so bits do not depend on the tiling. */
#include "codegen/lower.h"
#include "codegen/merge.h"
#include "codegen/pack_turned.h"

/* Elements along k from which on turning square tiles pays. */
enum { LEAST_TURNED = 16 };

typedef struct tile {
    tn_kernel_maker m; /* first */
    const tn_node_info *node;
    const tn_contraction_rules *rules;
    tn_contraction c;
    tn_schedule s;
    bool direct; /* A's address splits into row and k parts */
    bool turned; /* B is contiguous along its last k axis and not along n */
    bool merged_m[TN_MAX_RANK], merged_k[TN_MAX_RANK];
    tn_lx b_index[TN_MAX_RANK], b_linear, panels, n_total, k_total;
    uint32_t acc, row, scratch, packed;
    tn_value a_leaf; /* direct: the value A is read from */
    tn_dtype a_dtype;
    tn_merge_probe *probe;
    tn_lx at[TN_MAX_RANK]; /* the current point of the group's space */
} tile;

/* ---- operand elements ----------------------------------------------------------------------- */

static tn_lx tile_leaf(tn_access *a, tn_value v, const tn_lx *index) {
    tile *t = a->context;
    tn_node node = tn_graph_value(t->m.graph, v)->node;
    if (t->m.grouping->group_of[node] == t->m.group_id && node != t->m.group->anchor)
        return tn_op_rules_of(tn_graph_node(t->m.graph, node)->op)
            ->lower.expression(&a->emit, tn_graph_node(t->m.graph, node), 0, index);
    if (t->probe) {
        tn_vec_push(a->arena, &t->probe->offsets, tn_maker_offset(&t->m, v, index));
        if (a->emit.guard != TN_LX_NONE) tn_vec_push(a->arena, &t->probe->values, a->emit.guard);
    }
    return tn_maker_load(&t->m, v, index);
}

static tn_lx operand(tile *t, uint32_t which, const tn_lx *index, tn_lx guard) {
    tn_emit *e = &t->m.access.emit;
    tn_dtype dtype = tn_node_type(t->m.graph, t->node, which)->dtype;
    tn_lx x = guard == TN_LX_NONE
                  ? e->operand(e, t->node, which, index)
                  : tn_emit_guarded(e, t->node, which, index, guard, tn_l_number(t->m.k, dtype, 0));
    return tn_l_cast(t->m.k, x, t->c.acc, false);
}

/* Where A is read in place, the analysis has shown that no element lies in padding; the bounds of a
 * tile's rows may be too wide to show it again. */
static tn_lx lhs_at(tile *t, const tn_lx *b, const tn_lx *m, const tn_lx *k) {
    tn_lx index[TN_MAX_RANK], guard = TN_LX_NONE;
    t->rules->lhs(&t->m.access.emit, t->node, b, m, k, index, &guard);
    return operand(t, 0, index, t->direct ? TN_LX_NONE : guard);
}

static tn_lx rhs_at(tile *t, const tn_lx *b, const tn_lx *k, const tn_lx *n, tn_lx valid) {
    tn_lx index[TN_MAX_RANK], guard = TN_LX_NONE;
    t->rules->rhs(&t->m.access.emit, t->node, b, k, n, index, &guard);
    return operand(t, 1, index, tn_l_and(t->m.k, guard, valid));
}

/* The address of a plain load (casts aside), or NONE. */
static tn_lx load_address(const tn_loop *k, tn_lx e, uint32_t *buffer) {
    const tn_lexpr *x = tn_l_expr(k, e);
    while (x->kind == TN_LX_CAST) x = tn_l_expr(k, x->a);
    if (x->kind != TN_LX_LOAD || x->b != TN_LX_NONE) return TN_LX_NONE;
    *buffer = x->index;
    return x->a;
}

/* ---- sizes ---------------------------------------------------------------------------------- */

static tn_lx product(tn_loop *k, const tn_dim *d, int count) {
    tn_lx p = tn_l_int(k, 1);
    for (int i = 0; i < count; i++) p = tn_l_mul(k, p, tn_l_dim(k, d[i]));
    return p;
}

/* Splits a linear number over axes of which some run inside the next one. */
static void split_axes(tn_loop *k, tn_lx linear, const tn_dim *d, int count, const bool *merged,
                       tn_lx *index) {
    tn_lx extent[TN_MAX_RANK], part[TN_MAX_RANK];
    int axis[TN_MAX_RANK], n = 0;
    tn_lx run = tn_l_int(k, 1);
    for (int i = 0; i < count; i++) {
        run = tn_l_mul(k, run, tn_l_dim(k, d[i]));
        index[i] = tn_l_int(k, 0);
        if (merged[i]) continue;
        axis[n] = i;
        extent[n++] = run;
        run = tn_l_int(k, 1);
    }
    tn_maker_split(k, linear, extent, n, part);
    for (int i = 0; i < n; i++) index[axis[i]] = part[i];
}

static void split_plain(tn_loop *k, tn_lx linear, const tn_dim *d, int count, tn_lx *index) {
    bool none[TN_MAX_RANK] = {false};
    split_axes(k, linear, d, count, none, index);
}

/* ---- from a result point to the group's space: through the views after the anchor ----------- */

static void push_reshape(tn_loop *k, const tn_shape *from, const tn_shape *to, const tn_lx *in,
                         tn_lx *out) {
    int lo = 0, hi = 0;
    while (lo < from->rank && lo < to->rank && from->dim[lo] == to->dim[lo]) {
        out[lo] = in[lo];
        lo++;
    }
    while (hi < from->rank - lo && hi < to->rank - lo &&
           from->dim[from->rank - 1 - hi] == to->dim[to->rank - 1 - hi]) {
        out[to->rank - 1 - hi] = in[from->rank - 1 - hi];
        hi++;
    }
    tn_lx linear = tn_l_int(k, 0);
    for (int i = lo; i < from->rank - hi; i++)
        linear = tn_l_add(k, tn_l_mul(k, linear, tn_l_dim(k, from->dim[i])), in[i]);
    if (to->rank - hi > lo) split_plain(k, linear, to->dim + lo, to->rank - hi - lo, out + lo);
}

static void push_views(tile *t, tn_value v, const tn_lx *result, tn_lx *out) {
    const tn_node_info *n = tn_graph_producer(t->m.graph, v);
    if (v == t->node->out) {
        memcpy(out, result, sizeof(tn_lx) * TN_MAX_RANK);
        return;
    }
    tn_lx in[TN_MAX_RANK];
    push_views(t, n->in[0], result, in);
    if (n->op == TN_OP_permute) {
        const tn_attrs_permute *a = n->attrs;
        for (int i = 0; i < a->perm.count; i++) out[i] = in[a->perm.at[i]];
    } else {
        push_reshape(t->m.k, &tn_node_type(t->m.graph, n, 0)->shape,
                     &tn_graph_type(t->m.graph, v)->shape, in, out);
    }
}

static void set_point(tile *t, const tn_lx *m, const tn_lx *n) {
    tn_lx result[TN_MAX_RANK];
    int at = 0;
    for (int i = 0; i < t->c.b; i++) result[at++] = t->b_index[i];
    for (int i = 0; i < t->c.m; i++) result[at++] = m[i];
    for (int i = 0; i < t->c.n; i++) result[at++] = n[i];
    push_views(t, t->m.group->domain_value, result, t->at);
    const tn_shape *s = &t->m.group->space.shape;
    for (int i = 0; i < s->rank; i++)
        if (s->dim[i] == 1) t->at[i] = tn_l_int(t->m.k, 0);
}

/* ---- epilogue ------------------------------------------------------------------------------- */

static const tn_member *member_of(const tile *t, tn_node node) {
    for (uint32_t i = 1; i < t->m.group->members.len; i++)
        if (t->m.group->members.data[i].node == node) return &t->m.group->members.data[i];
    return NULL;
}

static void epilogue_point(tile *t, tn_lx acc) {
    uint32_t mark = tn_access_mark(&t->m.access);
    tn_access_define(&t->m.access, t->m.group->domain_value, t->at, acc);
    for (uint32_t i = 0; i < t->m.group->stores.len; i++) {
        tn_value v = t->m.group->stores.data[i];
        const tn_type *type = tn_graph_type(t->m.graph, v);
        tn_lx index[TN_MAX_RANK];
        const tn_member *m = member_of(t, tn_graph_value(t->m.graph, v)->node);
        for (int j = 0; j < type->shape.rank; j++)
            index[j] = !m ? t->at[j] : m->axis[j] >= 0 ? t->at[m->axis[j]] : tn_l_int(t->m.k, 0);
        tn_lx value = tn_access_value(&t->m.access, v, index);
        if (t->probe) {
            tn_vec_push(t->probe->arena, &t->probe->offsets, tn_maker_offset(&t->m, v, index));
            tn_vec_push(t->probe->arena, &t->probe->values, value);
        } else {
            tn_maker_store(&t->m, v, index, value);
        }
    }
    tn_access_release(&t->m.access, mark);
}

static bool columns_exact(const tile *t) {
    int64_t n;
    return tn_l_is_const_int(t->m.k, t->n_total, &n) && n % t->s.nr == 0;
}

/* One row of the tile: lanes over the columns of the panel. */
static void epilogue_row(tile *t, tn_lx m_linear, tn_lx i, tn_lx n0) {
    tn_loop *k = t->m.k;
    tn_lx m[TN_MAX_RANK], n[TN_MAX_RANK];
    split_axes(k, m_linear, t->c.m_extent, t->c.m, t->merged_m, m);
    tn_lx j = tn_l_for(k, TN_LOOP_VECTOR, tn_l_int(k, 0), tn_l_int(k, t->s.nr), "j");
    tn_lx col = tn_l_add(k, n0, j), at = tn_l_add(k, tn_l_mul(k, i, tn_l_int(k, t->s.nr)), j);
    bool masked = !columns_exact(t);
    if (masked) tn_l_if(k, tn_l_lt(k, col, t->n_total));
    split_plain(k, col, t->c.n_extent, t->c.n, n);
    set_point(t, m, n);
    epilogue_point(t, t->s.staged_epilogue ? tn_l_load(k, t->scratch, at, TN_LX_NONE, TN_LX_NONE)
                                           : tn_l_get(k, t->acc, at));
    if (masked) tn_l_end(k);
    tn_l_end(k);
}

static void epilogue(tile *t, uint32_t rows, tn_lx m0, tn_lx n0) {
    tn_loop *k = t->m.k;
    tn_lx zero = tn_l_int(k, 0), height = tn_l_int(k, rows);
    if (t->s.staged_epilogue) {
        tn_lx i = tn_l_for(k, TN_LOOP_UNROLL, zero, height, "i");
        tn_lx j = tn_l_for(k, TN_LOOP_VECTOR, zero, tn_l_int(k, t->s.nr), "j");
        tn_lx at = tn_l_add(k, tn_l_mul(k, i, tn_l_int(k, t->s.nr)), j);
        tn_l_store(k, t->scratch, at, tn_l_get(k, t->acc, at));
        tn_l_end(k);
        tn_l_end(k);
    }
    tn_loop_kind kind = t->s.staged_epilogue ? TN_LOOP_SERIAL : TN_LOOP_UNROLL;
    tn_lx i = tn_l_for(k, kind, zero, height, "i");
    epilogue_row(t, tn_l_add(k, m0, i), i, n0);
    tn_l_end(k);
}

/* ---- the tile
 * -----------------------------------------------------------------------------------------------
 */

/* Opens the loops over k; `linear` is the position in packed order, the same however axes merge. */
static int open_k(tile *t, const bool *merged, tn_lx *index, tn_lx *linear) {
    tn_loop *k = t->m.k;
    int opened = 0;
    tn_lx run = tn_l_int(k, 1);
    *linear = tn_l_int(k, 0);
    for (int i = 0; i < t->c.k; i++) {
        index[i] = tn_l_int(k, 0);
        run = tn_l_mul(k, run, tn_l_dim(k, t->c.k_extent[i]));
        if (merged[i]) continue;
        int64_t one;
        if (!tn_l_is_const_int(k, run, &one) || one != 1) {
            index[i] = tn_l_for(k, TN_LOOP_SERIAL, tn_l_int(k, 0), run, "k");
            opened++;
        }
        *linear = tn_l_add(k, tn_l_mul(k, *linear, run), index[i]);
        run = tn_l_int(k, 1);
    }
    return opened;
}

static void close_loops(tn_loop *k, int n) {
    for (int i = 0; i < n; i++) tn_l_end(k);
}

static void zeros(tn_loop *k, tn_lx *index) {
    for (int i = 0; i < TN_MAX_RANK; i++) index[i] = tn_l_int(k, 0);
}

/* The address part that depends on k: the address at (0, 0, k) less the address at the origin. */
static tn_lx k_address(tile *t, const tn_lx *k_index) {
    tn_lx zero[TN_MAX_RANK];
    uint32_t buffer = 0;
    zeros(t->m.k, zero);
    tn_lx here = load_address(t->m.k, lhs_at(t, zero, zero, k_index), &buffer);
    tn_lx origin = load_address(t->m.k, lhs_at(t, zero, zero, zero), &buffer);
    TN_ASSERT(here != TN_LX_NONE && origin != TN_LX_NONE);
    return tn_l_sub(t->m.k, here, origin);
}

static void row_addresses(tile *t, uint32_t rows, tn_lx m0) {
    tn_loop *k = t->m.k;
    tn_lx m[TN_MAX_RANK], zero[TN_MAX_RANK];
    uint32_t buffer = 0;
    zeros(k, zero);
    tn_lx i = tn_l_for(k, TN_LOOP_UNROLL, tn_l_int(k, 0), tn_l_int(k, rows), "i");
    split_axes(k, tn_l_add(k, m0, i), t->c.m_extent, t->c.m, t->merged_m, m);
    tn_l_set(k, t->row, i, load_address(k, lhs_at(t, t->b_index, m, zero), &buffer));
    tn_l_end(k);
}

static tn_lx rhs_element(tile *t, const tn_lx *k_index, tn_lx k_linear, tn_lx panel, tn_lx j) {
    tn_loop *k = t->m.k;
    tn_lx nr = tn_l_int(k, t->s.nr);
    if (t->s.rhs == TN_RHS_PREPARED) {
        tn_lx line = tn_l_add(k, tn_l_mul(k, t->b_linear, t->panels), panel);
        tn_lx at = tn_l_mul(k, tn_l_mul(k, line, t->k_total), nr);
        return tn_l_load(k, t->packed, tn_l_add(k, at, tn_l_add(k, tn_l_mul(k, k_linear, nr), j)),
                         TN_LX_NONE, TN_LX_NONE);
    }
    if (t->s.rhs == TN_RHS_PACKED)
        return tn_l_load(k, t->packed, tn_l_add(k, tn_l_mul(k, k_linear, nr), j), TN_LX_NONE,
                         TN_LX_NONE);
    tn_lx n[TN_MAX_RANK], col = tn_l_add(k, tn_l_mul(k, panel, nr), j);
    split_plain(k, col, t->c.n_extent, t->c.n, n);
    return rhs_at(t, t->b_index, k_index, n,
                  columns_exact(t) ? TN_LX_NONE : tn_l_lt(k, col, t->n_total));
}

static void multiply(tile *t, uint32_t rows, tn_lx m0, tn_lx panel) {
    tn_loop *k = t->m.k;
    tn_lx zero = tn_l_int(k, 0), nr = tn_l_int(k, t->s.nr), height = tn_l_int(k, rows);
    tn_lx i = tn_l_for(k, TN_LOOP_UNROLL, zero, height, "i");
    tn_lx j = tn_l_for(k, TN_LOOP_VECTOR, zero, nr, "j");
    tn_l_set(k, t->acc, tn_l_add(k, tn_l_mul(k, i, nr), j), tn_l_number(k, t->c.acc, 0));
    tn_l_end(k);
    tn_l_end(k);
    if (t->direct) row_addresses(t, rows, m0);
    tn_lx k_index[TN_MAX_RANK], k_linear;
    int opened = open_k(t, t->merged_k, k_index, &k_linear);
    uint32_t mark = tn_access_mark(&t->m.access);
    tn_lx k_part = t->direct ? k_address(t, k_index) : TN_LX_NONE;
    i = tn_l_for(k, TN_LOOP_UNROLL, zero, height, "i");
    tn_lx a;
    if (t->direct) {
        tn_lx address = tn_l_add(k, tn_l_get(k, t->row, i), k_part);
        uint32_t buffer = tn_maker_buffer(&t->m, t->a_leaf, TN_LBUF_INPUT);
        a = tn_l_cast(k, tn_l_load(k, buffer, address, TN_LX_NONE, TN_LX_NONE), t->c.acc, false);
    } else {
        tn_lx m[TN_MAX_RANK];
        split_axes(k, tn_l_add(k, m0, i), t->c.m_extent, t->c.m, t->merged_m, m);
        a = tn_l_let(k, lhs_at(t, t->b_index, m, k_index));
    }
    j = tn_l_for(k, TN_LOOP_VECTOR, zero, nr, "j");
    tn_lx at = tn_l_add(k, tn_l_mul(k, i, nr), j);
    tn_lx b = rhs_element(t, k_index, k_linear, panel, j);
    tn_l_set(k, t->acc, at, tn_l_op3(k, TN_S_mad, a, b, tn_l_get(k, t->acc, at)));
    tn_l_end(k);
    tn_l_end(k);
    tn_access_release(&t->m.access, mark);
    close_loops(k, opened);
}

static void run_tile(tile *t, uint32_t rows, tn_lx m0, tn_lx panel) {
    multiply(t, rows, m0, panel);
    epilogue(t, rows, m0, tn_l_mul(t->m.k, panel, tn_l_int(t->m.k, t->s.nr)));
}

/* All rows [lo, hi) of one panel: full tiles, then the remainder: its one possible height when M is
 * known, else by halves. */
static void run_rows(tile *t, tn_lx lo, tn_lx hi, tn_lx m_total, tn_lx panel) {
    tn_loop *k = t->m.k;
    uint32_t mr = t->s.mr;
    tn_lx count = tn_l_sub(k, hi, lo), height = tn_l_int(k, mr);
    int64_t known;
    bool fixed = tn_l_is_const_int(k, m_total, &known);
    if (!fixed || known >= mr) {
        tn_lx i = tn_l_for(k, TN_LOOP_SERIAL, tn_l_int(k, 0), tn_l_div(k, count, height), "tile");
        run_tile(t, mr, tn_l_add(k, lo, tn_l_mul(k, i, height)), panel);
        tn_l_end(k);
    }
    if (fixed && known % mr == 0) return;
    tn_lx rest = tn_l_mod(k, count, height);
    if (fixed) {
        uint32_t rows = (uint32_t)(known % mr);
        tn_l_if(k, tn_l_lt(k, tn_l_int(k, 0), rest));
        run_tile(t, rows, tn_l_sub(k, hi, tn_l_int(k, rows)), panel);
        tn_l_end(k);
        return;
    }
    for (uint32_t rows = 4; rows > 0; rows /= 2) {
        if (rows >= mr) continue;
        tn_lx two = tn_l_int(k, 2 * rows), here = tn_l_mod(k, rest, two);
        tn_l_if(k, tn_l_le(k, tn_l_int(k, rows), here));
        run_tile(t, rows, tn_l_sub(k, hi, here), panel);
        tn_l_end(k);
    }
}

/* ---- packing
 * -------------------------------------------------------------------------------------------------
 */

typedef struct panel_element {
    tile *t;
    tn_lx panel, k_index[TN_MAX_RANK];
} panel_element;

static tn_lx panel_at(void *context, tn_lx x, tn_lx j) {
    panel_element *e = context;
    tile *t = e->t;
    tn_lx n[TN_MAX_RANK],
        col = tn_l_add(t->m.k, tn_l_mul(t->m.k, e->panel, tn_l_int(t->m.k, t->s.nr)), j);
    split_plain(t->m.k, col, t->c.n_extent, t->c.n, n);
    e->k_index[t->c.k - 1] = x;
    uint32_t mark = tn_access_mark(&t->m.access);
    tn_lx valid = columns_exact(t) ? TN_LX_NONE : tn_l_lt(t->m.k, col, t->n_total);
    tn_lx value = rhs_at(t, t->b_index, e->k_index, n, valid);
    tn_access_release(&t->m.access, mark);
    return value;
}

/* The last k axis in tiles, loops over the others. */
static void pack_panel_turned(tile *t, tn_lx panel, uint32_t to, tn_lx base) {
    tn_loop *k = t->m.k;
    panel_element e = {.t = t, .panel = panel};
    int last = t->c.k - 1, opened = 0;
    tn_lx linear = tn_l_int(k, 0);
    for (int i = 0; i < last; i++) {
        tn_lx extent = tn_l_dim(k, t->c.k_extent[i]);
        e.k_index[i] = tn_l_int(k, 0);
        if (t->c.k_extent[i] == 1) continue;
        e.k_index[i] = tn_l_for(k, TN_LOOP_SERIAL, tn_l_int(k, 0), extent, "k");
        linear = tn_l_add(k, tn_l_mul(k, linear, extent), e.k_index[i]);
        opened++;
    }
    tn_turned_pack p = {.k = k,
                        .dtype = t->c.acc,
                        .lanes = t->s.lanes,
                        .nr = t->s.nr,
                        .to = to,
                        .count = tn_l_dim(k, t->c.k_extent[last]),
                        .element = panel_at,
                        .context = &e};
    tn_lx before = tn_l_mul(k, tn_l_mul(k, linear, p.count), tn_l_int(k, t->s.nr));
    p.base = tn_l_add(k, base, before);
    tn_pack_turned(&p);
    close_loops(k, opened);
}

/* One panel of B, columns past the end as zero; element (k, j) goes to `base` + k*nr + j of `to`.
 */
static void pack_panel(tile *t, tn_lx panel, uint32_t to, tn_lx base) {
    tn_loop *k = t->m.k;
    if (t->turned) {
        pack_panel_turned(t, panel, to, base);
        return;
    }
    tn_lx nr = tn_l_int(k, t->s.nr), k_index[TN_MAX_RANK], k_linear, n[TN_MAX_RANK];
    bool apart[TN_MAX_RANK] = {false}; /* B need not be linear where A is */
    int opened = open_k(t, apart, k_index, &k_linear);
    uint32_t mark = tn_access_mark(&t->m.access);
    tn_lx j = tn_l_for(k, TN_LOOP_VECTOR, tn_l_int(k, 0), nr, "j");
    tn_lx col = tn_l_add(k, tn_l_mul(k, panel, nr), j);
    split_plain(k, col, t->c.n_extent, t->c.n, n);
    tn_lx valid = columns_exact(t) ? TN_LX_NONE : tn_l_lt(k, col, t->n_total);
    tn_lx at = tn_l_add(k, base, tn_l_add(k, tn_l_mul(k, k_linear, nr), j));
    tn_l_store(k, to, at, rhs_at(t, t->b_index, k_index, n, valid));
    tn_l_end(k);
    tn_access_release(&t->m.access, mark);
    close_loops(k, opened);
}

/* ---- analysis on a throw-away kernel -------------------------------------------------------- */

static void tile_init(tile *t, const tn_lower_context *c, uint32_t group, const char *name) {
    memset(t, 0, sizeof *t);
    tn_maker_init(&t->m, c, group, name);
    t->m.access.leaf = tile_leaf;
    t->m.access.context = t;
    t->node = tn_graph_node(t->m.graph, t->m.group->anchor);
    t->rules = tn_op_rules_of(t->node->op)->lower.contraction;
    t->rules->describe(t->m.graph, t->node, &t->c);
    t->n_total = product(t->m.k, t->c.n_extent, t->c.n);
    t->k_total = product(t->m.k, t->c.k_extent, t->c.k);
}

static void open_axes(tn_loop *k, const tn_dim *d, int count, tn_lx *var, tn_lx *extent) {
    for (int i = 0; i < count; i++) {
        extent[i] = tn_l_dim(k, d[i]);
        var[i] = tn_l_for(k, TN_LOOP_SERIAL, tn_l_int(k, 0), extent[i], "p");
    }
}

/* A's address splits when it is linear in every k with coefficients that know nothing of the row.
 */
static bool splits(tile *t, tn_lx address, const tn_lx *var, const tn_lx *m_var) {
    for (int i = 0; i < t->c.k; i++) {
        tn_lx coefficient, rest;
        if (!tn_l_affine(t->m.k, address, tn_l_expr(t->m.k, var[i])->index, &coefficient, &rest))
            return false;
        for (int j = 0; j < t->c.m; j++)
            if (tn_l_uses_var(t->m.k, coefficient, tn_l_expr(t->m.k, m_var[j])->index))
                return false;
        for (int j = 0; j < t->c.b; j++)
            if (tn_l_uses_var(t->m.k, coefficient, tn_l_expr(t->m.k, t->b_index[j])->index))
                return false;
    }
    return true;
}

static bool unit_columns(tile *t, const tn_lx *k_var, const tn_lx *n_var) {
    int wide = 0;
    for (int i = 0; i < t->c.n; i++) wide += t->c.n_extent[i] != 1;
    if (wide != 1 || t->c.n_extent[t->c.n - 1] == 1) return false;
    uint32_t buffer = 0;
    tn_lx address = load_address(t->m.k, rhs_at(t, t->b_index, k_var, n_var, TN_LX_NONE), &buffer);
    tn_lx coefficient, rest;
    int64_t one;
    return address != TN_LX_NONE &&
           tn_l_affine(t->m.k, address, tn_l_expr(t->m.k, n_var[t->c.n - 1])->index, &coefficient,
                       &rest) &&
           tn_l_is_const_int(t->m.k, coefficient, &one) && one == 1;
}

/* B's rows run along the last k axis, which is long enough for whole vectors. */
static bool unit_rows(tile *t, const tn_lx *k_var, const tn_lx *n_var) {
    if (t->c.k == 0 || tn_dtype_size(t->c.acc) < 4) return false;
    uint32_t buffer = 0;
    tn_lx address = load_address(t->m.k, rhs_at(t, t->b_index, k_var, n_var, TN_LX_NONE), &buffer);
    tn_lx coefficient, rest;
    int64_t one;
    return address != TN_LX_NONE &&
           tn_dim_guess(t->m.graph->dims, t->c.k_extent[t->c.k - 1]) >= LEAST_TURNED &&
           tn_l_affine(t->m.k, address, tn_l_expr(t->m.k, k_var[t->c.k - 1])->index, &coefficient,
                       &rest) &&
           tn_l_is_const_int(t->m.k, coefficient, &one) && one == 1;
}

typedef struct analysis {
    bool direct, rhs_unit, rhs_turned;
    bool merged_m[TN_MAX_RANK], merged_k[TN_MAX_RANK];
    tn_value a_leaf;
} analysis;

static void open_merged(tn_loop *k, const tn_dim *d, int count, const bool *merged, tn_lx *var) {
    tn_lx run = tn_l_int(k, 1);
    for (int i = 0; i < count; i++) {
        run = tn_l_mul(k, run, tn_l_dim(k, d[i]));
        var[i] = tn_l_int(k, 0);
        if (merged[i]) continue;
        var[i] = tn_l_for(k, TN_LOOP_SERIAL, tn_l_int(k, 0), run, "p");
        run = tn_l_int(k, 1);
    }
}

/* Takes back merges that do not hold once the work is emitted with them (see tn_merge_holds). */
static void check_merges(const tn_lower_context *c, uint32_t group, bool in_place, analysis *a) {
    tile t;
    tile_init(&t, c, group, "analysis");
    t.direct = true;
    tn_merge_probe probe = {.k = t.m.k, .arena = c->arena};
    tn_lx b_ext[TN_MAX_RANK], m[TN_MAX_RANK], n[TN_MAX_RANK], n_ext[TN_MAX_RANK], k[TN_MAX_RANK];
    open_axes(t.m.k, t.c.b_extent, t.c.b, t.b_index, b_ext);
    open_merged(t.m.k, t.c.m_extent, t.c.m, a->merged_m, m);
    open_axes(t.m.k, t.c.n_extent, t.c.n, n, n_ext);
    open_merged(t.m.k, t.c.k_extent, t.c.k, a->merged_k, k);
    uint32_t buffer = 0;
    tn_lx lhs = load_address(t.m.k, lhs_at(&t, t.b_index, m, k), &buffer), rhs = lhs;
    if (in_place) rhs = load_address(t.m.k, rhs_at(&t, t.b_index, k, n, TN_LX_NONE), &buffer);
    tn_vec_push(c->arena, &probe.offsets, lhs);
    tn_vec_push(c->arena, &probe.offsets, rhs);
    bool plain = lhs != TN_LX_NONE && rhs != TN_LX_NONE;
    if (!plain || !tn_merge_holds(&probe, k, t.c.k, a->merged_k))
        memset(a->merged_k, 0, sizeof a->merged_k);
    t.probe = &probe;
    set_point(&t, m, n);
    epilogue_point(&t, tn_l_number(t.m.k, t.c.acc, 0));
    if (!plain || !tn_merge_holds(&probe, m, t.c.m, a->merged_m))
        memset(a->merged_m, 0, sizeof a->merged_m);
}

static void analyse(const tn_lower_context *c, uint32_t group, analysis *out) {
    tile t;
    tile_init(&t, c, group, "analysis");
    memset(out, 0, sizeof *out);
    out->a_leaf = TN_NO_VALUE;
    tn_lx b_ext[TN_MAX_RANK], m[TN_MAX_RANK], m_ext[TN_MAX_RANK], n[TN_MAX_RANK],
        n_ext[TN_MAX_RANK], k[TN_MAX_RANK], k_ext[TN_MAX_RANK];
    open_axes(t.m.k, t.c.b_extent, t.c.b, t.b_index, b_ext);
    open_axes(t.m.k, t.c.m_extent, t.c.m, m, m_ext);
    open_axes(t.m.k, t.c.n_extent, t.c.n, n, n_ext);
    open_axes(t.m.k, t.c.k_extent, t.c.k, k, k_ext);
    bool all[TN_MAX_RANK];
    memset(all, true, sizeof all);
    uint32_t buffer = 0;
    out->rhs_unit = unit_columns(&t, k, n);
    out->rhs_turned = !out->rhs_unit && unit_rows(&t, k, n);
    bool prepared = t.m.grouping->constant[tn_graph_value(t.m.graph, t.node->in[1])->node] &&
                    !t.m.group->constant;
    bool in_place = out->rhs_unit && !prepared;
    tn_lx a = lhs_at(&t, t.b_index, m, k), address = load_address(t.m.k, a, &buffer);
    if (address != TN_LX_NONE && splits(&t, address, k, m)) {
        out->direct = true;
        out->a_leaf = t.m.k->buffers.data[buffer].binding;
        tn_merge_probe probe = {.k = t.m.k, .arena = c->arena};
        tn_vec_push(c->arena, &probe.offsets, address);
        if (in_place)
            tn_vec_push(c->arena, &probe.offsets,
                        load_address(t.m.k, rhs_at(&t, t.b_index, k, n, TN_LX_NONE), &buffer));
        tn_merge_find(&probe, k, k_ext, t.c.k, all, out->merged_k);
        t.probe = &probe;
        set_point(&t, m, n);
        tn_lx acc = tn_l_number(t.m.k, t.c.acc, 0);
        epilogue_point(&t, acc);
        tn_merge_find(&probe, m, m_ext, t.c.m, all, out->merged_m);
        t.probe = NULL;
        check_merges(c, group, in_place, out);
    }
}

static void tile_setup(tile *t, const tn_lower_context *c, uint32_t group, const char *name,
                       const analysis *a) {
    tile_init(t, c, group, name);
    t->s =
        tn_schedule_choose_contraction(t->m.grouping, t->m.group, (uint32_t)c->target->vector_bytes,
                                       (uint32_t)c->target->vector_registers, a->rhs_unit);
    t->direct = a->direct;
    t->turned = a->rhs_turned;
    t->a_leaf = a->a_leaf;
    memcpy(t->merged_m, a->merged_m, sizeof t->merged_m);
    memcpy(t->merged_k, a->merged_k, sizeof t->merged_k);
    tn_lx nr = tn_l_int(t->m.k, t->s.nr);
    t->panels = tn_l_div(t->m.k, tn_l_add(t->m.k, t->n_total, tn_l_int(t->m.k, t->s.nr - 1)), nr);
}

static void lower_pack(const tn_lower_context *c, uint32_t group, const analysis *a,
                       tn_lowered *out) {
    tile t;
    tile_setup(&t, c, group, "pack", a);
    tn_loop *k = t.m.k;
    uint32_t to = tn_l_buffer(k, TN_LBUF_OUTPUT, t.c.acc, "packed");
    k->buffers.data[to].binding = TN_BIND_PACK;
    k->tasks = tn_l_mul(k, product(k, t.c.b_extent, t.c.b), t.panels);
    tn_lx task = tn_l_task(k), panel = tn_l_mod(k, task, t.panels);
    split_plain(k, tn_l_div(k, task, t.panels), t.c.b_extent, t.c.b, t.b_index);
    tn_lx size = tn_l_mul(k, t.k_total, tn_l_int(k, t.s.nr));
    pack_panel(&t, panel, to, tn_l_mul(k, task, size));
    out->pack = k;
    out->pack_dtype = t.c.acc;
    tn_dims *dims = t.m.graph->dims;
    tn_dim n = 1, count = tn_dim_const(dims, t.s.nr);
    for (int i = 0; i < t.c.n; i++) n = tn_dim_mul(dims, n, t.c.n_extent[i]);
    count = tn_dim_mul(dims, count, tn_dim_ceildiv(dims, n, tn_dim_const(dims, t.s.nr)));
    for (int i = 0; i < t.c.b; i++) count = tn_dim_mul(dims, count, t.c.b_extent[i]);
    for (int i = 0; i < t.c.k; i++) count = tn_dim_mul(dims, count, t.c.k_extent[i]);
    out->pack_elements = count;
}

/* ---- the kernel
 * ------------------------------------------------------------------------------------------------
 */

static void emit_tasks(tile *t) {
    tn_loop *k = t->m.k;
    tn_lx m_total = product(k, t->c.m_extent, t->c.m), block = tn_l_int(k, t->s.m_block);
    tn_lx blocks = tn_l_div(k, tn_l_add(k, m_total, tn_l_int(k, t->s.m_block - 1)), block);
    tn_lx per = tn_l_int(k, t->s.n_panels);
    tn_lx ranges = tn_l_div(k, tn_l_add(k, t->panels, tn_l_int(k, t->s.n_panels - 1)), per);
    tn_lx batch = product(k, t->c.b_extent, t->c.b);
    k->tasks = tn_l_mul(k, tn_l_mul(k, batch, ranges), blocks);
    tn_lx task = tn_l_task(k), line = tn_l_div(k, task, blocks);
    t->b_linear = tn_l_div(k, line, ranges);
    split_plain(k, t->b_linear, t->c.b_extent, t->c.b, t->b_index);
    tn_lx lo = tn_l_mul(k, tn_l_mod(k, task, blocks), block);
    tn_lx hi = tn_l_min(k, m_total, tn_l_add(k, lo, block));
    tn_lx first = tn_l_mul(k, tn_l_mod(k, line, ranges), per);
    tn_lx last = tn_l_min(k, t->panels, tn_l_add(k, first, per));
    tn_lx panel = tn_l_for(k, TN_LOOP_SERIAL, first, last, "panel");
    if (t->s.rhs == TN_RHS_PACKED) pack_panel(t, panel, t->packed, tn_l_int(k, 0));
    run_rows(t, lo, hi, m_total, panel);
    tn_l_end(k);
}

void tn_lower_contraction(const tn_lower_context *c, uint32_t group, tn_lowered *out) {
    analysis a;
    analyse(c, group, &a);
    tile t;
    tile_setup(&t, c, group, "contract", &a);
    tn_loop *k = t.m.k;
    uint32_t elements = t.s.mr * t.s.nr;
    t.acc = tn_l_register(k, t.c.acc, elements, "acc");
    if (t.direct) t.row = tn_l_register(k, TN_i64, t.s.mr, "row");
    if (t.s.staged_epilogue) t.scratch = tn_l_scratch(k, t.c.acc, tn_l_int(k, elements), "tile");
    if (t.s.rhs == TN_RHS_PREPARED) {
        t.packed = tn_l_buffer(k, TN_LBUF_INPUT, t.c.acc, "packed");
        k->buffers.data[t.packed].binding = TN_BIND_PACK;
        lower_pack(c, group, &a, out);
    } else if (t.s.rhs == TN_RHS_PACKED) {
        tn_lx size = tn_l_mul(k, t.k_total, tn_l_int(k, t.s.nr));
        t.packed = tn_l_scratch(k, t.c.acc, size, "panel");
    }
    emit_tasks(&t);
    out->kernel = k;
    out->schedule = t.s;
}

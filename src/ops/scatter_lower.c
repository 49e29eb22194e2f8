/* Kernels of scatter.
 *
 * A task has a batch index and a block of the first axis of x that is looked up. It copies that part of x,
 * then goes through all updates in order and applies those that fall into the block: reading positions is
 * cheap beside rows of updates, and no two tasks write the same element, so bits do not depend on who runs
 * first. What is copied whole lies in vectors. */
#include "loop/strips.h"
#include "ops/indexing.h"

enum {
    LANES = 16,
    BLOCK_ELEMENTS = 1 << 16,
    MOST_BLOCKS = 32,
    POSITION_COST = 16, /* of looking at a position, in elements copied */
    LEAST_RUN = 4,      /* elements that make a vector loop worth while */
};

typedef struct scatter {
    tn_emit *e;
    const tn_node_info *n;
    tn_combine combine;
    index_view v;
    const tn_shape *updates;
    int64_t block;                          /* rows of the first axis behind the batch; 0: all */
    tn_lx to[TN_MAX_RANK], at[TN_MAX_RANK]; /* of an update, of x */
} scatter;

/* 0: not known, or too many. */
static int64_t constant_count(const tn_graph *g, const tn_dim *dim, int count) {
    int64_t product = 1, size;
    for (int i = 0; i < count; i++)
        if (!tn_dim_const_value(g->dims, dim[i], &size) ||
            __builtin_mul_overflow(product, size, &product))
            return 0;
    return product;
}

static int64_t rows_of_block(const scatter *s) {
    const tn_graph *g = s->e->graph;
    const tn_shape *x = s->v.x;
    int first = s->v.batch, behind = x->rank - first;
    if (s->v.axes->count == 0 || s->v.axes->at[0] != first) return 0;
    int64_t elements = constant_count(g, x->dim + first, behind), rows = 0;
    int64_t batches = constant_count(g, x->dim, first);
    int64_t positions = constant_count(g, s->updates->dim + first, s->v.index_rank - first);
    if (!elements || !batches || !positions) return 0;
    tn_dim_const_value(g->dims, x->dim[first], &rows);
    int64_t blocks = TN_MIN(elements / BLOCK_ELEMENTS, MOST_BLOCKS / batches);
    blocks = TN_MIN(blocks, elements / POSITION_COST / positions);
    return blocks < 2 ? 0 : (rows + blocks - 1) / blocks;
}

static scatter scatter_of(tn_emit *e, const tn_node_info *n) {
    scatter s = {.e = e, .n = n, .combine = ((const tn_attrs_scatter *)n->attrs)->combine};
    s.v = tn__index_view(e->graph, n);
    s.updates = &tn_node_type(e->graph, n, 2)->shape;
    s.block = rows_of_block(&s);
    return s;
}

static tn_lx rows(const scatter *s) {
    return tn_emit_dim(s->e, s->v.x->dim[s->v.batch]);
}

static tn_lx blocks(const scatter *s) {
    tn_loop *k = s->e->k;
    if (!s->block) return tn_l_int(k, 1);
    return tn_l_div(k, tn_l_add(k, rows(s), tn_l_int(k, s->block - 1)), tn_l_int(k, s->block));
}

static tn_lx scatter_tasks(tn_emit *e, const tn_node_info *n) {
    scatter s = scatter_of(e, n);
    return tn_l_mul(e->k, tn_emit_count(e, s.v.x->dim, s.v.batch), blocks(&s));
}

/* ---- runs of elements ----------------------------------------------------------------------- */

typedef void element_work(scatter *s, tn_lx linear);

typedef struct {
    scatter *s;
    element_work *work;
} strip;

static void vector_run(void *context, tn_lx base, uint32_t width, tn_lx limit) {
    const strip *of = context;
    tn_lx lane, at = tn_strip_open(of->s->e->k, base, width, limit, &lane);
    of->work(of->s, at);
    tn_strip_close(of->s->e->k, limit);
}

/* Work on [lo, hi) in vectors, where they are not known to be few. */
static void run(scatter *s, tn_lx lo, tn_lx hi, element_work *work) {
    tn_loop *k = s->e->k;
    int64_t known;
    if (tn_l_is_const_int(k, tn_l_sub(k, hi, lo), &known) && known < LEAST_RUN) {
        work(s, tn_l_for(k, TN_LOOP_SERIAL, lo, hi, "i"));
        tn_l_end(k);
        return;
    }
    tn_strips(k, LANES, 1, lo, hi, vector_run, &(strip){s, work});
}

static void copy_element(scatter *s, tn_lx linear) {
    tn_emit *e = s->e;
    const tn_shape *x = s->v.x;
    tn_emit_delinear(e, linear, x->dim + s->v.batch, x->rank - s->v.batch, s->at + s->v.batch);
    e->store(e, s->n, 0, s->at, e->operand(e, s->n, 0, s->at));
}

static void update_element(scatter *s, tn_lx linear) {
    tn_emit *e = s->e;
    int rest = s->v.rest.count;
    tn_lx *behind = s->to + s->v.index_rank;
    tn_emit_delinear(e, linear, s->updates->dim + s->v.index_rank, rest, behind);
    for (int i = 0; i < rest; i++) s->at[s->v.rest.at[i]] = behind[i];
    tn_lx update = e->operand(e, s->n, 2, s->to);
    if (s->combine != TN_COMBINE_set)
        update = tn_l_op2(e->k, tn__combine_op(s->combine), e->result(e, s->n, 0, s->at), update);
    e->store(e, s->n, 0, s->at, update);
}

/* ---- a task --------------------------------------------------------------------------------- */

static void copy(scatter *s, tn_lx lo, tn_lx hi) {
    tn_loop *k = s->e->k;
    int first = s->v.batch, count = s->v.x->rank - first;
    if (count == 0) {
        copy_element(s, tn_l_int(k, 0));
        return;
    }
    tn_lx row = tn_emit_count(s->e, s->v.x->dim + first + 1, count - 1);
    run(s, tn_l_mul(k, lo, row), tn_l_mul(k, hi, row), copy_element);
}

/* Applies an update where it falls into rows [lo, hi). */
static void update_run(scatter *s, tn_lx lo, tn_lx hi, tn_lx count) {
    tn_loop *k = s->e->k;
    tn_lx inside, zero = tn_l_int(k, 0);
    for (int i = 0; i < s->v.rest.count; i++) s->to[s->v.index_rank + i] = zero;
    tn__index_emit(s->e, s->n, &s->v, s->to, s->at, &inside);
    tn__index_report(s->e, s->n, &s->v, inside);
    if (s->block) {
        tn_lx row = s->at[s->v.batch];
        inside = tn_l_and(k, inside, tn_l_and(k, tn_l_le(k, lo, row), tn_l_lt(k, row, hi)));
    }
    if (inside != TN_LX_NONE) tn_l_if(k, inside);
    if (s->v.rest.count == 0)
        update_element(s, zero);
    else
        run(s, zero, count, update_element);
    if (inside != TN_LX_NONE) tn_l_end(k);
}

/* What has no elements is no update, so its position may be anything. */
static void update(scatter *s, tn_lx lo, tn_lx hi) {
    tn_loop *k = s->e->k;
    int opened = s->v.index_rank - s->v.batch;
    tn_lx zero = tn_l_int(k, 0);
    tn_lx count = tn_emit_count(s->e, s->updates->dim + s->v.index_rank, s->v.rest.count);
    int64_t least, most;
    tn_l_bounds(k, count, &least, &most);
    if (least < 1) tn_l_if(k, tn_l_lt(k, zero, count));
    for (int i = s->v.batch; i < s->v.index_rank; i++)
        s->to[i] = tn_l_for(k, TN_LOOP_SERIAL, zero, tn_emit_dim(s->e, s->updates->dim[i]), "i");
    update_run(s, lo, hi, count);
    for (int i = 0; i < opened; i++) tn_l_end(k);
    if (least < 1) tn_l_end(k);
}

static void scatter_body(tn_emit *e, const tn_node_info *n, tn_lx task) {
    tn_loop *k = e->k;
    scatter s = scatter_of(e, n);
    tn_lx count = blocks(&s), lo = tn_l_int(k, 0), hi = lo;
    tn_emit_delinear(e, tn_l_div(k, task, count), s.v.x->dim, s.v.batch, s.to);
    memcpy(s.at, s.to, sizeof s.at);
    if (s.v.x->rank > s.v.batch) hi = rows(&s);
    if (s.block) {
        tn_lx block = tn_l_int(k, s.block);
        lo = tn_l_mul(k, tn_l_mod(k, task, count), block);
        hi = tn_l_min(k, hi, tn_l_add(k, lo, block));
    }
    copy(&s, lo, hi);
    update(&s, lo, hi);
}

const tn_nest_rules tn__scatter_nest = {scatter_tasks, scatter_body, false};

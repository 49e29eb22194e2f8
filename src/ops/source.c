/* Operations without tensor operands: input, constant, iota, random_bits, axis_index. */
#include "base/random.h"
#include "ops/batch.h"
#include "ops/ops_common.h"

/* ---- input ---------------------------------------------------------------------------------- */

static tn_status infer_input(tn_infer *i, tn_error *err) {
    const tn_attrs_input *a = i->attrs;
    TN_CHECK(tn_infer_attr_dtype(i, "dtype", a->dtype, err));
    TN_CHECK(tn_infer_attr_shape(i, "shape", &a->shape, err));
    tn_infer_out(i, 0, a->dtype, a->shape);
    return TN_OK;
}

static tn_status eval_input(tn_eval_call *e, tn_error *err) {
    (void)e;
    return tn_error_set(err, TN_INVALID, "an input has no value of its own; bind an array to it");
}

const tn_op_rules tn_rules_input = {
    .infer = infer_input,
    .eval = eval_input,
    .cost = tn_cost_nothing,
    .lower = {.kind = TN_LOWER_SOURCE},
    .vjp = TN_RULE(tn_vjp_none),
    .batch = TN_REFUSE("which inputs carry the new axis is the caller's choice"),
    .shard = TN_REFUSE("the placement of an input is the caller's choice"),
};

/* ---- constant ------------------------------------------------------------------------------- */

static tn_status infer_constant(tn_infer *i, tn_error *err) {
    const tn_attrs_constant *a = i->attrs;
    TN_CHECK(tn_infer_attr_dtype(i, "dtype", a->dtype, err));
    TN_CHECK(tn_infer_attr_shape(i, "shape", &a->shape, err));
    if (!tn_shape_is_const(&a->shape))
        return tn_infer_refuse_attr(i, err, "shape %s has open sizes; a constant has none",
                                    tn_shape_text(i->graph->dims, &a->shape).at);
    int64_t count;
    if (!tn_sizes_count(a->shape.rank, a->shape.dim, &count) ||
        (size_t)count * tn_dtype_size(a->dtype) != a->data.size)
        return tn_infer_refuse_attr(i, err, "%zu bytes of data do not fill %s%s", a->data.size,
                                    tn_dtype_name(a->dtype),
                                    tn_shape_text(i->graph->dims, &a->shape).at);
    tn_infer_out(i, 0, a->dtype, a->shape);
    return TN_OK;
}

static tn_status eval_constant(tn_eval_call *e, tn_error *err) {
    const tn_attrs_constant *a = e->node->attrs;
    (void)err;
    memcpy(e->out[0].data, a->data.bytes, a->data.size);
    return TN_OK;
}

const tn_op_rules tn_rules_constant = {
    .infer = infer_constant,
    .eval = eval_constant,
    .cost = tn_cost_nothing,
    .lower = {.kind = TN_LOWER_SOURCE},
    .vjp = TN_RULE(tn_vjp_none),
    .batch = TN_RULE(tn_batch_replicate),
    .shard = TN_RULE(tn_shard_replicated),
};

/* ---- iota: y[i] = i[axis] ------------------------------------------------------------------- */

static tn_status infer_iota(tn_infer *i, tn_error *err) {
    const tn_attrs_iota *a = i->attrs;
    TN_CHECK(tn_infer_attr_dtype(i, "dtype", a->dtype, err));
    if (a->dtype == TN_bool || a->dtype == TN_f8e8m0)
        return tn_infer_refuse_attr(i, err,
                                    "dtype is %s; expected an integer type or a float type "
                                    "with a zero",
                                    tn_dtype_name(a->dtype));
    TN_CHECK(tn_infer_attr_shape(i, "shape", &a->shape, err));
    TN_CHECK(tn_infer_axis(i, "axis", a->axis, a->shape.rank, err));
    tn_infer_out(i, 0, a->dtype, a->shape);
    return TN_OK;
}

static tn_status eval_iota(tn_eval_call *e, tn_error *err) {
    const tn_attrs_iota *a = e->node->attrs;
    tn_array *y = &e->out[0];
    int64_t index[TN_MAX_RANK] = {0}, count = tn_array_count(y);
    (void)err;
    for (int64_t i = 0; i < count; i++) {
        tn_array_set(y, i, tn_cell_of_int(y->dtype, index[a->axis]));
        tn_index_next(index, y->rank, y->dim);
    }
    return TN_OK;
}

static tn_lx lower_iota(tn_emit *e, const tn_node_info *n, uint32_t result, const tn_lx *index) {
    const tn_attrs_iota *a = n->attrs;
    (void)result;
    return tn_l_cast(e->k, index[a->axis], a->dtype, false);
}

const tn_op_rules tn_rules_iota = {
    .infer = infer_iota,
    .eval = eval_iota,
    .cost = tn_cost_elementwise,
    .lower = TN_LOWER_BY(lower_iota),
    .vjp = TN_RULE(tn_vjp_none),
    .batch = TN_RULE(tn_batch_replicate),
    .shard = TN_RULE(tn_shard_replicated),
};

/* ---- random_bits ---------------------------------------------------------------------------- */

/* Elements made from one block of 128 bits. */
static int64_t per_block(tn_dtype dtype) {
    return dtype == TN_u32 ? 4 : 2;
}

/* The operands' axes are the first ones of the result: a stream for each of their elements. */
static tn_status infer_random_bits(tn_infer *i, tn_error *err) {
    const tn_attrs_random_bits *a = i->attrs;
    if (a->dtype != TN_u32 && a->dtype != TN_u64)
        return tn_infer_refuse_attr(i, err, "dtype is not u32 or u64");
    TN_CHECK(tn_infer_attr_shape(i, "shape", &a->shape, err));
    TN_CHECK(tn_infer_dtype(i, 0, TN_u64, err));
    TN_CHECK(tn_infer_same_type(i, 1, 0, err));
    const tn_shape *streams = &i->in[0]->shape;
    bool fits = streams->rank <= a->shape.rank;
    for (int k = 0; fits && k < streams->rank; k++) fits = streams->dim[k] == a->shape.dim[k];
    if (!fits)
        return tn_infer_refuse(i, 0, err, "expected a scalar, or the first axes of the result %s",
                               tn_shape_text(i->graph->dims, &a->shape).at);
    tn_infer_out(i, 0, a->dtype, a->shape);
    return TN_OK;
}

static tn_status eval_random_bits(tn_eval_call *e, tn_error *err) {
    tn_array *y = &e->out[0];
    int64_t streams = tn_array_count(&e->in[0]), total = tn_array_count(y);
    int64_t count = streams ? total / streams : 0, per = per_block(y->dtype);
    (void)err;
    for (int64_t i = 0; i < total; i++) {
        uint32_t x[4];
        uint64_t key = tn_array_get(&e->in[0], i / count).u;
        uint64_t counter = tn_array_get(&e->in[1], i / count).u;
        int64_t at = i % count, lane = at % per;
        tn_philox(key, counter + (uint64_t)(at / per), x);
        uint64_t bits =
            per == 4 ? x[lane] : (uint64_t)x[2 * lane] | (uint64_t)x[2 * lane + 1] << 32;
        tn_array_set(y, i, (tn_cell){.u = bits});
    }
    return TN_OK;
}

/* The same in loop IR: 32-bit words are kept in u64 below 2^32, so products are exact. */
typedef struct emit_word {
    tn_loop *k;
    tn_lx mask, shift;
} emit_word;

static tn_lx word_const(emit_word *w, uint64_t value) {
    return tn_l_const(w->k, TN_u64, (tn_cell){.u = value});
}
static tn_lx word_low(emit_word *w, tn_lx x) {
    return tn_l_op2(w->k, TN_S_and, x, w->mask);
}
static tn_lx word_high(emit_word *w, tn_lx x) {
    return tn_l_op2(w->k, TN_S_shr, x, w->shift);
}
static tn_lx word_xor(emit_word *w, tn_lx a, tn_lx b) {
    return tn_l_op2(w->k, TN_S_xor, a, b);
}

static void emit_philox(emit_word *w, tn_lx key, tn_lx block, tn_lx x[4]) {
    tn_lx k[2] = {word_low(w, key), word_high(w, key)};
    tn_lx m[2] = {word_const(w, tn_philox_m[0]), word_const(w, tn_philox_m[1])};
    x[0] = word_low(w, block);
    x[1] = word_high(w, block);
    x[2] = x[3] = word_const(w, 0);
    for (int round = 0; round < TN_PHILOX_ROUNDS; round++) {
        tn_lx p = tn_l_op2(w->k, TN_S_mul, m[0], x[0]), q = tn_l_op2(w->k, TN_S_mul, m[1], x[2]);
        tn_lx y[4] = {word_xor(w, word_xor(w, word_high(w, q), x[1]), k[0]), word_low(w, q),
                      word_xor(w, word_xor(w, word_high(w, p), x[3]), k[1]), word_low(w, p)};
        memcpy(x, y, sizeof y);
        for (int i = 0; i < 2; i++)
            k[i] = word_low(w, tn_l_op2(w->k, TN_S_add, k[i], word_const(w, tn_philox_w[i])));
    }
}

static tn_lx lower_random_bits(tn_emit *e, const tn_node_info *n, uint32_t result,
                               const tn_lx *index) {
    const tn_attrs_random_bits *a = n->attrs;
    tn_loop *k = e->k;
    emit_word w = {.k = k};
    w.mask = word_const(&w, UINT32_MAX);
    w.shift = word_const(&w, 32);
    int streams = tn_node_type(e->graph, n, 0)->shape.rank;
    tn_lx at = tn_emit_linear(e, index + streams, a->shape.dim + streams, a->shape.rank - streams);
    tn_lx per = tn_l_int(k, per_block(a->dtype)), lane = tn_l_mod(k, at, per), x[4];
    tn_lx key = e->operand(e, n, 0, index), counter = e->operand(e, n, 1, index);
    tn_lx block = tn_l_cast(k, tn_l_div(k, at, per), TN_u64, false);
    (void)result;
    emit_philox(&w, key, tn_l_op2(k, TN_S_add, counter, block), x);
    if (a->dtype == TN_u64)
        for (int i = 0; i < 2; i++)
            x[i] = tn_l_op2(k, TN_S_or, x[2 * i], tn_l_op2(k, TN_S_shl, x[2 * i + 1], w.shift));
    tn_lx bits = x[per_block(a->dtype) - 1];
    for (int64_t i = per_block(a->dtype) - 2; i >= 0; i--)
        bits = tn_l_select(k, tn_l_le(k, lane, tn_l_int(k, i)), x[i], bits);
    return tn_l_cast(k, bits, a->dtype, false);
}

/* Of members that share a key, the key of member i is key ^ mix(i), mix being the finalizer of SplitMix64
 * (Steele, Lea, Flood, OOPSLA 2014) after a product with an odd number. That is a bijection with mix(0) = 0:
 * all keys differ, and member 0 draws what it draws alone. */
static const uint64_t member_odd = 0x9e3779b97f4a7c15u, member_step = 0xd1b54a32d192ed04u,
                      member_factor[] = {0xbf58476d1ce4e5b9u, 0x94d049bb133111ebu};
static const int member_shift[] = {30, 27, 31};

uint64_t tn_batch_stream(uint64_t member) {
    uint64_t x = member * member_odd;
    for (int i = 0; i < 3; i++) {
        x ^= x >> member_shift[i];
        if (i < 2) x *= member_factor[i];
    }
    return x;
}

/* The keys of all members, u64[members, …]. Each axis of streams has a number of its own, so that members of
 * members differ, too. */
static tn_value member_keys(tn_builder *b, tn_value key, tn_dim members) {
    tn_shape one = {.rank = 1, .dim = {members}};
    tn_shape all = tn_b_type(b, key).shape;
    uint64_t level = (uint64_t)all.rank;
    all = tn_shape_with_front(&all, members);
    tn_value x = tn_b_iota(b, TN_u64, &one, 0);
    x = tn_b_mul(b, x, tn_b_scalar_int(b, TN_u64, (int64_t)(member_odd + level * member_step)));
    for (int i = 0; i < 3; i++) {
        tn_value high = tn_b_shr(b, x, tn_b_scalar_int(b, TN_u64, member_shift[i]));
        x = tn_b_xor(b, x, high);
        if (i < 2) x = tn_b_mul(b, x, tn_b_scalar_int(b, TN_u64, (int64_t)member_factor[i]));
    }
    for (int i = 1; i < all.rank; i++) x = tn_b_unsqueeze(b, x, i);
    return tn_b_xor(b, tn_b_expand(b, x, &all), tn_batch_operand(b, key, false, members));
}

static void batch_random_bits(tn_builder *b, const tn_graph *g, const tn_node_info *n,
                              const tn_batching *how, const tn_value *in, const bool *batched,
                              tn_value *out) {
    tn_attrs_random_bits a = *(const tn_attrs_random_bits *)n->attrs;
    (void)g;
    if (a.shape.rank == TN_MAX_RANK) {
        out[0] = tn_b_fail(b, TN_UNSUPPORTED, "random_bits has %d axes already", TN_MAX_RANK);
        return;
    }
    a.shape = tn_shape_with_front(&a.shape, how->size);
    tn_value wide[2];
    for (int i = 0; i < 2; i++) wide[i] = tn_batch_operand(b, in[i], batched[i], how->size);
    if (!batched[0] && how->independent) wide[0] = member_keys(b, in[0], how->size);
    tn_batch_node(b, n, wide, &a, out);
}

/* About a hundred integer operations a block. */
static void cost_random_bits(const tn_graph *g, const tn_node_info *n, const int64_t *bindings,
                             tn_cost *out) {
    tn_cost_elementwise(g, n, bindings, out);
    out->flops *= 100.0 / (double)per_block(tn_graph_type(g, n->out)->dtype);
}

/* Legal along an axis of streams; within a stream the position is that in the whole. */
static bool shard_random_bits(const tn_graph *g, const tn_node_info *n, tn_shard *s) {
    (void)g, (void)n;
    s->out[0] = s->in[0];
    return s->in[0] == s->in[1] && s->in[0] != TN_PLACE_PARTIAL;
}

const tn_op_rules tn_rules_random_bits = {
    .infer = infer_random_bits,
    .eval = eval_random_bits,
    .cost = cost_random_bits,
    .lower = TN_LOWER_BY(lower_random_bits),
    .vjp = TN_RULE(tn_vjp_none),
    .batch = TN_RULE(batch_random_bits),
    .shard = TN_RULE(shard_random_bits),
};

/* ---- axis_index ----------------------------------------------------------------------------- */

static tn_status infer_axis_index(tn_infer *i, tn_error *err) {
    const tn_attrs_axis_index *a = i->attrs;
    if (a->mesh_axis < 0)
        return tn_infer_refuse_attr(i, err, "mesh_axis is %lld; expected 0 or more",
                                    (long long)a->mesh_axis);
    tn_infer_out(i, 0, TN_i64, (tn_shape){0});
    return TN_OK;
}

/* One process is the first member of every mesh axis. */
static tn_status eval_axis_index(tn_eval_call *e, tn_error *err) {
    (void)err;
    tn_array_set(&e->out[0], 0, (tn_cell){.i = 0});
    return TN_OK;
}

const tn_op_rules tn_rules_axis_index = {
    .infer = infer_axis_index,
    .eval = eval_axis_index,
    .cost = tn_cost_nothing,
    .lower =
        TN_LOWER_REFUSE("a kernel does not know its rank; partitioning over a mesh makes "
                        "axis_index a scalar of the program, folding on one device makes it 0"),
    .vjp = TN_RULE(tn_vjp_none),
    .batch = TN_RULE(tn_batch_replicate),
    .shard = TN_REFUSE("its value differs from rank to rank, which no placement describes"),
};

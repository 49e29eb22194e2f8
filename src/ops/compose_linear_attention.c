/* Linear attention: a recurrence over a matrix per head instead of scores over all positions. See
 * compose.h. One step a position; a sequence is one scan. */
#include <math.h>

#include "ops/compose.h"
#include "ops/parts.h"

/* Operands of one step, sizes, and the scan being built. */
typedef struct step {
    tn_value q, k, v, decay, beta, state; /* absent: TN_NO_VALUE */
    tn_dim group;                         /* query heads per key head */
    double scale;
} step;

enum { MAX_OPERANDS = 6 };

typedef struct operands {
    tn_value at[MAX_OPERANDS];
    uint32_t count;
} operands;

/* v [N, H, T, …] becomes an operand sliced along T; gives the step's slice. */
static tn_value pass_slice(tn_builder *b, tn_builder *inner, operands *o, tn_value v) {
    if (v == TN_NO_VALUE || !tn_b_ok(b)) return TN_NO_VALUE;
    v = tn_b_move(b, v, 2, 0);
    tn_type type = tn_b_type(b, v);
    if (!tn_b_ok(b)) return TN_NO_VALUE;
    memmove(type.shape.dim, type.shape.dim + 1, sizeof(tn_dim) * (size_t)--type.shape.rank);
    o->at[o->count++] = v;
    return tn_b_input(inner, NULL, type.dtype, &type.shape);
}

static tn_value batched_dot(tn_builder *b, tn_value x, tn_value y, int x_axis, int y_axis) {
    tn_attrs_dot a = {.lhs_batch = {2, {0, 1}},
                      .rhs_batch = {2, {0, 1}},
                      .lhs_contract = {1, {x_axis}},
                      .rhs_contract = {1, {y_axis}},
                      .acc = tn_b_type(b, x).dtype};
    return tn_b_node(b, TN_OP_dot, (tn_value[]){x, y}, 2, &a);
}

/* S ← exp(g) S + k ⊗ v', v' = v or β (v − Sᵀk); result: scale · qᵀ S, as [N, Hq, Dv] */
static tn_value take_step(tn_builder *b, step *s) {
    tn_value v = s->v;
    if (s->decay != TN_NO_VALUE)
        s->state = tn_b_mul(b, s->state, tn_b_unsqueeze(b, tn_b_exp(b, s->decay), 3));
    if (s->beta != TN_NO_VALUE) {
        tn_value found = batched_dot(b, s->k, s->state, 2, 2);
        v = tn_b_mul(b, s->beta, tn_b_sub(b, v, found));
    }
    tn_value outer = tn_b_mul(b, tn_b_unsqueeze(b, s->k, 3), tn_b_unsqueeze(b, v, 2));
    s->state = tn_b_add(b, s->state, outer);
    tn_dim n = tn_b_dim(b, s->k, 0), heads = tn_b_dim(b, s->k, 1), dv = tn_b_dim(b, v, 2);
    tn_value q = tn_b_reshape_to(b, s->q, 4, (tn_dim[]){n, heads, s->group, tn_b_dim(b, s->q, 2)});
    tn_value y = tn_b_mul_scalar(b, batched_dot(b, q, s->state, 3, 2), s->scale);
    tn_dim all = tn_b_ok(b) ? tn_dim_mul(b->graph->dims, heads, s->group) : 1;
    return tn_b_reshape_to(b, y, 3, (tn_dim[]){n, all, dv});
}

static bool check(tn_builder *b, const tn_linear_attention *o, step *s) {
    if (tn_b_ok(b) &&
        (tn_b_rank(b, o->q) != 4 || tn_b_rank(b, o->k) != 4 || tn_b_rank(b, o->v) != 4))
        tn_b_fail(b, TN_INVALID,
                  "linear attention: q, k, v have %d, %d, %d axes; expected 4 each: N, heads, "
                  "length, size",
                  tn_b_rank(b, o->q), tn_b_rank(b, o->k), tn_b_rank(b, o->v));
    tn_dim q_heads = tn_b_dim(b, o->q, 1), heads = tn_b_dim(b, o->k, 1);
    int64_t size;
    if (tn_b_ok(b) && !tn_dim_divides(b->graph->dims, q_heads, heads, &s->group))
        tn_b_fail(b, TN_INVALID, "linear attention: %s key heads do not divide %s query heads",
                  tn_dim_text(b->graph->dims, heads).at, tn_dim_text(b->graph->dims, q_heads).at);
    s->scale = o->scale;
    if (!tn_b_ok(b) || s->scale != 0) return tn_b_ok(b);
    if (!tn_dim_const_value(b->graph->dims, tn_b_dim(b, o->k, 3), &size))
        tn_b_fail(b, TN_UNSUPPORTED, "linear attention: the head size must be constant");
    else
        s->scale = 1 / sqrt((double)size);
    return tn_b_ok(b);
}

tn_value tn_b_linear_attention(tn_builder *b, const tn_linear_attention *o, tn_value *state) {
    step s = {0};
    if (!check(b, o, &s)) return TN_NO_VALUE;
    tn_dtype dtype = tn_b_type(b, o->q).dtype;
    tn_shape shape = {.rank = 4,
                      .dim = {tn_b_dim(b, o->k, 0), tn_b_dim(b, o->k, 1), tn_b_dim(b, o->k, 3),
                              tn_b_dim(b, o->v, 3)}};
    operands in = {.count = 1};
    in.at[0] = o->state != TN_NO_VALUE ? o->state : tn_b_full(b, dtype, &shape, 0);
    tn_graph *body = tn_graph_new_sub(b->graph);
    tn_builder inner = tn_builder_of(body, b->err);
    inner.name = b->name;
    s.state = tn_b_input(&inner, NULL, dtype, &shape);
    s.q = pass_slice(b, &inner, &in, o->q);
    s.k = pass_slice(b, &inner, &in, o->k);
    s.v = pass_slice(b, &inner, &in, o->v);
    s.decay = pass_slice(b, &inner, &in, o->decay);
    s.beta = pass_slice(b, &inner, &in, o->beta);
    if (!tn_b_ok(b)) return TN_NO_VALUE;
    tn_value y = take_step(&inner, &s);
    b->status = inner.status;
    if (!tn_b_ok(b)) return TN_NO_VALUE;
    tn_graph_add_output(body, s.state, NULL);
    tn_graph_add_output(body, y, NULL);
    tn_attrs_scan a = {
        .carries = 1, .slices = in.count - 1, .length = tn_b_dim(b, o->q, 2), .body = body};
    *state = tn_b_node(b, TN_OP_scan, in.at, in.count, &a);
    return tn_b_ok(b) ? tn_b_move(b, *state + 1, 0, 2) : TN_NO_VALUE;
}

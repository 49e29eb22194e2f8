/* Mixtures of experts. See tenon/nn.h. */
#include <inttypes.h>

#include "nn/module.h"

/* ---- routing, recorded ---------------------------------------------------------------------- */

/* Of M tokens with k experts each, M · k places in the order of their experts. */
typedef struct routing {
    tn_value weight; /* [M, k] */
    tn_value order;  /* [M · k] i64: the place among the tokens' experts that comes at this one */
    tn_value back;   /* [M · k] i64: the inverse */
    tn_value counts; /* [experts] i64 */
} routing;

static tn_value flat(tn_builder *b, tn_value x) {
    tn_dim count = tn_dim_mul(b->graph->dims, tn_b_dim(b, x, 0), tn_b_dim(b, x, 1));
    return tn_b_reshape_to(b, x, 1, &count);
}

/* The weights of the chosen experts: scores by which gradients reach the router. */
static tn_value weights_of(tn_builder *b, const tn_moe_layer *o, tn_value scores, tn_value chosen) {
    tn_value w = tn_b_gather_elements(b, scores, chosen, 1, TN_INDEX_clamp);
    if (o->normalized) {
        tn_value sum = tn_b_sum(b, w, (int[]){1}, 1, true);
        w = tn_b_div(b, w, tn_b_add_scalar(b, sum, 1e-20)); /* σ of all may underflow */
    }
    return o->scale != 0 ? tn_b_mul_scalar(b, w, o->scale) : w;
}

/* x [M, I], gate [experts, I], bias [experts] or absent */
static routing route(tn_builder *b, const tn_moe_layer *o, tn_value x, tn_value gate,
                     tn_value bias) {
    tn_value best[2], sorted[2], inverse[2];
    tn_value logits = tn_b_linear(b, x, tn__cast_like(b, gate, x), TN_NO_VALUE);
    logits = tn__wide_like(b, logits, x);
    tn_value scores = o->sigmoid ? tn_b_sigmoid(b, logits) : tn_b_softmax(b, logits, 1);
    tn_value choice = tn__stopped(b, scores);
    if (bias != TN_NO_VALUE) choice = tn_b_add(b, choice, tn__cast_like(b, bias, choice));
    tn_b_top_k(b, choice, 1, o->top_k, false, best);
    tn_value expert = flat(b, best[1]);
    tn_b_sort(b, expert, 0, false, sorted);
    tn_b_sort(b, sorted[1], 0, false, inverse);
    tn_value ones = tn_b_scalar_int(b, TN_i64, 1), zeros = tn_b_scalar_int(b, TN_i64, 0);
    tn_value hot = tn_b_one_hot(b, expert, o->experts, 1, ones, zeros);
    return (routing){.weight = weights_of(b, o, scores, best[1]),
                     .order = sorted[1],
                     .back = inverse[1],
                     .counts = tn_b_sum(b, hot, (int[]){0}, 1, false)};
}

/* ---- experts, recorded ---------------------------------------------------------------------- */

/* Rows of x, sorted by expert, times each expert's matrix, in x's type */
static tn_value grouped(tn_builder *b, tn_value x, tn_value w, tn_value counts) {
    tn_dtype dtype = tn_b_type(b, x).dtype;
    tn_attrs_ragged_dot a = {.acc = tn_b_accumulator(dtype)};
    tn_value in[] = {x, tn__cast_like(b, w, x), counts};
    return tn_b_cast(b, tn_b_node(b, TN_OP_ragged_dot, in, 3, &a), dtype);
}

/* in: x, gate, w1, w2, w3, bias or absent; out: y, counts, the next bias */
static void build_moe(tn_builder *b, const tn_value *in, const void *args, tn_value *out) {
    const tn_moe_layer *o = args;
    tn_value x = tn__float_operand(b, "moe", in[0]);
    out[0] = out[1] = out[2] = TN_NO_VALUE;
    if (!tn_b_ok(b)) return;
    tn_type type = tn_b_type(b, x);
    tn_dim features = type.shape.dim[type.shape.rank - 1], tokens = 1;
    for (int a = 0; a + 1 < type.shape.rank; a++)
        tokens = tn_dim_mul(b->graph->dims, tokens, type.shape.dim[a]);
    x = tn_b_reshape_to(b, x, 2, (tn_dim[]){tokens, features});
    routing r = route(b, o, x, in[1], in[5]);
    tn_value k = tn_b_scalar_int(b, TN_i64, o->top_k);
    tn_value rows = tn_b_gather_axis(b, x, tn_b_div(b, r.order, k), 0, TN_INDEX_clamp);
    tn_value h = tn_b_mul(b, tn_b_silu(b, grouped(b, rows, in[2], r.counts)),
                          grouped(b, rows, in[4], r.counts));
    tn_value y = tn_b_gather_axis(b, grouped(b, h, in[3], r.counts), r.back, 0, TN_INDEX_clamp);
    y = tn_b_reshape_to(b, y, 3, (tn_dim[]){tokens, o->top_k, features});
    y = tn_b_mul(b, tn__wide_like(b, y, x), tn_b_unsqueeze(b, r.weight, 2));
    y = tn_b_cast(b, tn_b_sum(b, y, (int[]){1}, 1, false), type.dtype);
    out[0] = tn_b_reshape(b, y, &type.shape);
    out[1] = out[2] = r.counts;
    if (in[5] == TN_NO_VALUE) return;
    tn_dtype dtype = tn_b_type(b, in[5]).dtype;
    tn_value counts = tn_b_cast(b, r.counts, dtype);
    tn_value lack = tn_b_sub(b, tn_b_mean(b, counts, (int[]){0}, 1, true), counts);
    tn_value delta = tn_b_mul_scalar(b, tn_b_sign(b, lack), o->balance);
    delta = tn_b_sub(b, delta, tn_b_mean(b, delta, (int[]){0}, 1, true));
    out[2] = tn__stopped(b, tn_b_add(b, in[5], delta));
}

/* ---- the layer ------------------------------------------------------------------------------ */

static void resolve(tn__layer *l, tn_moe_layer *o, const tn_tensor *x) {
    if (o->top_k == 0) o->top_k = 1;
    if (o->up_weight.kind == TN_INIT_DEFAULT) o->up_weight = o->weight;
    if (l->ok && tn_tensor_rank(x) < 1) tn__layer_refuse(l, "x has no axis of features");
    if (o->experts < 1 || o->hidden < 1 || o->shared_hidden < 0)
        tn__layer_refuse(l,
                         "%" PRId64 " experts of hidden width %" PRId64 ", shared %" PRId64
                         "; say .hidden = …",
                         o->experts, o->hidden, o->shared_hidden);
    if (o->top_k < 1 || o->top_k > o->experts)
        tn__layer_refuse(l, "a token goes through %" PRId64 " of %" PRId64 " experts", o->top_k,
                         o->experts);
}

/* A stacked weight [experts, in, out] of l's child `experts`. */
static tn_tensor *stacked(tn__layer *l, const tn_moe_layer *o, const char *name, int64_t in,
                          int64_t out, tn_init given) {
    int64_t dim[] = {o->experts, in, out};
    return tn__layer_parameter(l, name, 3, dim, given, tn__init_by_fan(in));
}

static tn_tensor *linear(const tn__layer *l, const char *name, const tn_tensor *x, int64_t features,
                         tn_init weight) {
    tn_linear_layer o = {.size = sizeof o, .features = features, .no_bias = true, .weight = weight};
    return tn_linear_at(l->place, l->module, name, x, &o);
}

/* w2(silu(w1 x) ∘ w3 x) */
static tn_tensor *shared(const tn__layer *parent, const tn_moe_layer *o, const tn_tensor *x) {
    tn__layer l = tn__layer_begin(parent->place, parent->module, "shared_experts", x);
    tn_tensor *gate = linear(&l, "w1", x, o->shared_hidden, o->weight);
    tn_tensor *up = linear(&l, "w3", x, o->shared_hidden, o->up_weight);
    tn_tensor *h = tn_mul_at(l.place, tn_silu_at(l.place, gate), up);
    return linear(&l, "w2", h, tn_tensor_dim(x, -1), o->out_weight);
}

tn_tensor *tn_moe_at(const char *place, tn_module *m, const char *name, const tn_tensor *x,
                     const tn_moe_layer *options) {
    tn_moe_layer o;
    tn__layer l = tn__layer_begin(place, m, name, x);
    tn__layer_options(&l, options, &o, sizeof o);
    resolve(&l, &o, x);
    if (o.counts) *o.counts = NULL;
    if (!l.ok) return tn__layer_failed(&l);
    int64_t in = tn_tensor_dim(x, -1), hidden = o.hidden;
    tn_tensor *gate = tn__layer_parameter(&l, "router.gate.weight", 2, (int64_t[]){o.experts, in},
                                          o.gate, tn__init_by_fan(in));
    tn_tensor *w1 = stacked(&l, &o, "experts.w1", in, hidden, o.weight);
    tn_tensor *w2 = stacked(&l, &o, "experts.w2", hidden, in, o.out_weight);
    tn_tensor *w3 = stacked(&l, &o, "experts.w3", in, hidden, o.up_weight);
    tn_tensor *bias = NULL;
    if (o.balance != 0) bias = tn__layer_buffer(&l, "expert_bias", 1, &o.experts, tn_init_zeros());
    if (!l.ok) return tn__layer_failed(&l);
    tn_scope *scope = tn_scope_open(l.context);
    x = tn__layer_operand(&l, x);
    const tn_tensor *operands[] = {x, gate, w1, w2, w3, bias};
    tn_tensor *out[3];
    tn__call_results(place, operands, 6, 5, build_moe, &o, out, 3);
    if (bias && tn_module_training(l.module) && tn_tensor_ok(out[0]))
        tn_assign_at(place, bias, out[2]);
    if (o.counts) *o.counts = tn__scope_pass(scope, out[1]);
    tn_tensor *y = out[0];
    if (o.shared_hidden) y = tn_add_at(place, y, shared(&l, &o, x));
    return tn_scope_return(scope, y);
}

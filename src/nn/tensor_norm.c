/* Norms, embedding and dropout of lazy tensors. See tenon/tensor_layers.h. */
#include <inttypes.h>

#include "nn/tensor_inner.h"
#include "ops/ops_common.h"

static const double EPSILON = 1e-5;

typedef struct norm_args {
    int axes;
    int64_t groups;
    double epsilon, momentum;
} norm_args;

static double epsilon_of(double given) {
    return given != 0 ? given : EPSILON;
}

/* ---- over the last axes --------------------------------------------------------------------- */

/* The first of the last `axes` axes, with what has to hold for scale and bias. */
static int first_axis(tn_builder *b, const char *what, const norm_args *a, const tn_value *in,
                      int n) {
    int rank = tn_b_rank(b, tn__float_operand(b, what, in[0]));
    if (tn_b_ok(b) && (a->axes < 1 || a->axes > rank))
        tn_b_fail(b, TN_INVALID, "%s over %d axes of x with %d", what, a->axes, rank);
    for (int i = 1; i < n && tn_b_ok(b); i++) {
        if (in[i] == TN_NO_VALUE) continue;
        bool same = tn_b_rank(b, in[i]) == a->axes;
        for (int k = 1; same && k <= a->axes; k++)
            same = tn_b_dim(b, in[i], -k) == tn_b_dim(b, in[0], -k);
        tn_type x = tn_b_type(b, in[0]), p = tn_b_type(b, in[i]);
        if (!same)
            tn_b_fail(b, TN_INVALID, "%s: the %s is %s; expected the last %d axes of x, %s", what,
                      i == 1 ? "scale" : "bias", tn_type_text(b->graph->dims, &p).at, a->axes,
                      tn_type_text(b->graph->dims, &x).at);
    }
    return rank - a->axes;
}

static tn_value build_layer_norm(tn_builder *b, const tn_value *in, const void *args) {
    const norm_args *a = args;
    int axis = first_axis(b, "layer_norm", a, in, 3);
    if (!tn_b_ok(b)) return TN_NO_VALUE;
    return tn_b_layer_norm(b, in[0], axis, tn__wide_like(b, in[1], in[0]),
                           tn__wide_like(b, in[2], in[0]), a->epsilon, NULL);
}

tn_tensor *tn_layer_norm_with_at(const char *place, const tn_tensor *x, const tn_tensor *scale,
                                 const tn_tensor *bias, int axes, double epsilon) {
    return tn__call_some(place, (const tn_tensor *[]){x, scale, bias}, 3, 1, build_layer_norm,
                         &(norm_args){.axes = axes, .epsilon = epsilon_of(epsilon)});
}

static tn_value build_rms_norm(tn_builder *b, const tn_value *in, const void *args) {
    const norm_args *a = args;
    int axis = first_axis(b, "rms_norm", a, in, 2);
    if (!tn_b_ok(b)) return TN_NO_VALUE;
    return tn_b_rms_norm(b, in[0], axis, tn__wide_like(b, in[1], in[0]), a->epsilon);
}

tn_tensor *tn_rms_norm_with_at(const char *place, const tn_tensor *x, const tn_tensor *scale,
                               int axes, double epsilon) {
    return tn__call_some(place, (const tn_tensor *[]){x, scale}, 2, 1, build_rms_norm,
                         &(norm_args){.axes = axes, .epsilon = epsilon_of(epsilon)});
}

/* ---- over channels -------------------------------------------------------------------------- */

/* Each of in[1 … n − 1] is [C] or absent. */
static bool check_channels(tn_builder *b, const char *what, const tn_value *in, int n) {
    tn_dims *t = b->graph->dims;
    tn__float_operand(b, what, in[0]);
    if (tn_b_ok(b) && tn_b_rank(b, in[0]) < 2)
        tn_b_fail(b, TN_INVALID, "%s: x has %d axes; expected N, C, …", what, tn_b_rank(b, in[0]));
    for (int i = 1; i < n && tn_b_ok(b); i++) {
        tn_type type = tn_b_type(b, in[i]);
        if (in[i] == TN_NO_VALUE ||
            (type.shape.rank == 1 && type.shape.dim[0] == tn_b_dim(b, in[0], 1)))
            continue;
        tn_b_fail(b, TN_INVALID, "%s: operand %d is %s; x has %s channels", what, i,
                  tn_type_text(t, &type).at, tn_dim_text(t, tn_b_dim(b, in[0], 1)).at);
    }
    return tn_b_ok(b);
}

static tn_value build_group_norm(tn_builder *b, const tn_value *in, const void *args) {
    const norm_args *a = args;
    if (!check_channels(b, "group_norm", in, 3)) return TN_NO_VALUE;
    return tn_b_group_norm(b, in[0], a->groups, tn__wide_like(b, in[1], in[0]),
                           tn__wide_like(b, in[2], in[0]), a->epsilon);
}

tn_tensor *tn_group_norm_with_at(const char *place, const tn_tensor *x, const tn_tensor *scale,
                                 const tn_tensor *bias, int64_t groups, double epsilon) {
    return tn__call_some(place, (const tn_tensor *[]){x, scale, bias}, 3, 1, build_group_norm,
                         &(norm_args){.groups = groups, .epsilon = epsilon_of(epsilon)});
}

/* in: x, mean, variance, scale, bias */
static bool batch_norm_of(tn_builder *b, const tn_value *in, const norm_args *a, tn_batch_norm *o) {
    if (!check_channels(b, "batch_norm", in, 5)) return false;
    tn_shape channels = {.rank = 1, .dim = {tn_b_dim(b, in[0], 1)}};
    tn_dtype wide = tn_b_accumulator(tn_b_type(b, in[0]).dtype);
    *o = (tn_batch_norm){.mean = in[1],
                         .var = in[2],
                         .scale = tn__wide_like(b, in[3], in[0]),
                         .bias = tn__wide_like(b, in[4], in[0]),
                         .epsilon = a->epsilon,
                         .momentum = 1 - a->momentum,
                         .unbiased = true};
    if (in[3] == TN_NO_VALUE) o->scale = tn_b_full(b, wide, &channels, 1);
    if (in[4] == TN_NO_VALUE) o->bias = tn_b_full(b, wide, &channels, 0);
    return tn_b_ok(b);
}

static tn_value build_batch_norm(tn_builder *b, const tn_value *in, const void *args) {
    tn_batch_norm o;
    if (!batch_norm_of(b, in, args, &o)) return TN_NO_VALUE;
    o.mean = tn__wide_like(b, o.mean, in[0]);
    o.var = tn__wide_like(b, o.var, in[0]);
    return tn_b_batch_norm(b, in[0], &o);
}

tn_tensor *tn_batch_norm_with_at(const char *place, const tn_tensor *x, const tn_tensor *const p[4],
                                 double epsilon) {
    return tn__call_some(place, (const tn_tensor *[]){x, p[2], p[3], p[0], p[1]}, 5, 3,
                         build_batch_norm, &(norm_args){.epsilon = epsilon_of(epsilon)});
}

static void build_batch_norm_training(tn_builder *b, const tn_value *in, const void *args,
                                      tn_value *out) {
    tn_batch_norm o;
    out[0] = out[1] = out[2] = TN_NO_VALUE;
    if (!batch_norm_of(b, in, args, &o)) return;
    out[0] = tn_b_batch_norm_training(b, in[0], &o, out + 1);
    for (int i = 1; i < 3; i++) out[i] = tn__stopped(b, out[i]);
}

tn_tensor *tn_batch_norm_training_at(const char *place, const tn_tensor *x,
                                     const tn_tensor *const p[4], double momentum, double epsilon,
                                     tn_tensor *running[2]) {
    tn_tensor *out[3];
    tn__call_results(place, (const tn_tensor *[]){x, p[2], p[3], p[0], p[1]}, 5, 3,
                     build_batch_norm_training,
                     &(norm_args){.epsilon = epsilon_of(epsilon), .momentum = momentum}, out, 3);
    running[0] = out[1];
    running[1] = out[2];
    return out[0];
}

/* ---- embedding, dropout --------------------------------------------------------------------- */

tn_tensor *tn_embedding_with_at(const char *place, const tn_tensor *index,
                                const tn_tensor *weight) {
    return tn_take_at(place, weight, index, 0);
}

static tn_value build_dropout(tn_builder *b, const tn_value *in, const void *args) {
    double p = *(const double *)args;
    tn_value x = tn__float_operand(b, "dropout", in[0]);
    return tn_b_dropout(b, x, p, in[1], NULL);
}

tn_tensor *tn_dropout_with_at(const char *place, const tn_tensor *x, const tn_tensor *key,
                              double p) {
    return tn__call2(place, x, key, build_dropout, &p);
}

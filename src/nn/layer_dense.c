/* Linear, embedding and dropout layers. See tenon/nn.h. */
#include <inttypes.h>
#include <math.h>

#include "nn/module.h"

tn_tensor *tn_linear_at(const char *place, tn_module *m, const char *name, const tn_tensor *x,
                        const tn_linear_layer *options) {
    tn_linear_layer o;
    tn__layer l = tn__layer_begin(place, m, name, x);
    tn__layer_options(&l, options, &o, sizeof o);
    int64_t in = tn_tensor_dim(x, -1);
    if (l.ok && tn_tensor_rank(x) == 0) tn__layer_refuse(&l, "x has no axis of features");
    if (o.features < 1) tn__layer_refuse(&l, "%" PRId64 " features", o.features);
    tn_init weight = tn_init_kaiming_uniform(sqrt(5), TN_FAN_IN);
    if (in == 0) weight = tn_init_zeros();
    const tn_tensor *w =
        tn__layer_parameter(&l, "weight", 2, (int64_t[]){o.features, in}, o.weight, weight);
    const tn_tensor *b = NULL;
    if (!o.no_bias)
        b = tn__layer_parameter(&l, "bias", 1, &o.features, o.bias, tn__init_by_fan(in));
    if (!l.ok) return tn__layer_failed(&l);
    tn_scope *scope = tn_scope_open(l.context);
    return tn_scope_return(scope, tn_linear_with_at(place, tn__layer_operand(&l, x), w, b));
}

tn_tensor *tn_embedding_at(const char *place, tn_module *m, const char *name,
                           const tn_tensor *index, const tn_embedding_layer *options) {
    tn_embedding_layer o;
    tn__layer l = tn__layer_begin(place, m, name, index);
    tn__layer_options(&l, options, &o, sizeof o);
    if (o.rows < 1 || o.features < 1)
        tn__layer_refuse(&l, "%" PRId64 " rows of %" PRId64 " features", o.rows, o.features);
    const tn_tensor *w = tn__layer_parameter(&l, "weight", 2, (int64_t[]){o.rows, o.features},
                                             o.weight, tn_init_normal(0, 1));
    return l.ok ? tn_embedding_with_at(place, index, w) : tn__layer_failed(&l);
}

static tn_value build_same(tn_builder *b, const tn_value *in, const void *args) {
    (void)b;
    (void)args;
    return in[0];
}

static tn_value build_next(tn_builder *b, const tn_value *in, const void *args) {
    (void)args;
    return tn_b_add(b, in[0], tn_b_scalar_int(b, TN_u64, 1));
}

/* The stream's number is raised before it is used, so that its new value is connected with what it
 * drew and is evaluated with it. */
static const tn_tensor *draw(const tn__layer *l, tn_tensor *stream) {
    tn_tensor *next = tn__call1(l->place, stream, build_next, NULL);
    tn_assign_at(l->place, stream, next);
    tn_release(next);
    return stream;
}

tn_tensor *tn_dropout_at(const char *place, tn_module *m, const char *name, const tn_tensor *x,
                         double p) {
    tn__layer l = tn__layer_begin(place, m, name, x);
    tn_tensor *stream = tn__layer_random(&l, "random");
    if (!l.ok) return tn__layer_failed(&l);
    if (!tn_module_training(l.module) || p == 0) return tn__call1(place, x, build_same, NULL);
    return tn_dropout_with_at(place, x, draw(&l, stream), p);
}

/* in: x, the stream, p. The factor is computed in f64, so that an f64 p gives the bits of a double. */
static tn_value build_dropout(tn_builder *b, const tn_value *in, const void *args) {
    (void)args;
    tn_type type = tn_b_type(b, tn__float_operand(b, "dropout", in[0]));
    tn_value p = tn__stopped(b, tn_b_cast(b, in[2], TN_f64)), one = tn_b_scalar(b, TN_f64, 1);
    tn_value valid = tn_b_and(b, tn_b_ge(b, p, tn_b_scalar(b, TN_f64, 0)), tn_b_le(b, p, one));
    tn_value some = tn_b_lt(b, p, one), none = tn_b_scalar(b, TN_f64, 0);
    tn_value factor = tn_b_div(b, one, tn_b_where(b, some, tn_b_sub(b, one, p), one));
    factor = tn_b_where(b, some, factor, none);
    tn_value u = tn_b_random_uniform(b, TN_f32, &type.shape, in[1], 0, 1);
    tn_value kept = tn_b_ge(b, u, tn_b_cast(b, p, TN_f32));
    tn_value scaled = tn_b_mul(b, in[0], tn_b_cast(b, factor, type.dtype));
    tn_value y = tn_b_where(b, kept, scaled, tn_b_scalar(b, type.dtype, 0));
    return tn_b_where(b, valid, y, tn_b_scalar(b, type.dtype, (double)NAN));
}

tn_tensor *tn_dropout_by_at(const char *place, tn_module *m, const char *name, const tn_tensor *x,
                            const tn_tensor *p) {
    tn__layer l = tn__layer_begin(place, m, name, x);
    tn_tensor *stream = tn__layer_random(&l, "random");
    if (!tn_tensor_ok(p)) l.ok = false;
    if (tn_tensor_rank(p) != 0 || !tn_dtype_is_float(tn_tensor_dtype(p)))
        tn__layer_refuse(&l, "the probability is of type %s with %d axes; expected a float scalar",
                         tn_dtype_name(tn_tensor_dtype(p)), tn_tensor_rank(p));
    if (!l.ok) return tn__layer_failed(&l);
    if (!tn_module_training(l.module)) return tn__call1(place, x, build_same, NULL);
    return tn__call3(place, x, draw(&l, stream), p, build_dropout, NULL);
}

/* Convolution layers. See tenon/nn.h. */
#include <inttypes.h>
#include <math.h>

#include "nn/module.h"

static tn_window_options window_of(const tn_conv_layer *o) {
    tn_window_options w = {.size = sizeof w,
                           .stride = o->stride,
                           .padding = o->padding,
                           .dilation = o->dilation,
                           .output_padding = o->output_padding,
                           .groups = o->groups};
    memcpy(w.strides, o->strides, sizeof w.strides);
    memcpy(w.paddings, o->paddings, sizeof w.paddings);
    memcpy(w.dilations, o->dilations, sizeof w.dilations);
    memcpy(w.output_paddings, o->output_paddings, sizeof w.output_paddings);
    return w;
}

/* The weight's shape; false when the options do not fit x. */
static bool weight_shape(tn__layer *l, const tn_conv_layer *o, const tn_tensor *x, int spatial,
                         bool transposed, int64_t *dim) {
    int64_t channels = tn_tensor_dim(x, 1), groups = o->groups ? o->groups : 1;
    bool listed = false;
    for (int s = 0; s < spatial; s++) listed = listed || o->kernels[s] != 0;
    if (l->ok && tn_tensor_rank(x) != spatial + 2)
        tn__layer_refuse(l, "x has %d axes; expected %d: N, C and %d spatial ones",
                         tn_tensor_rank(x), spatial + 2, spatial);
    if (o->features < 1) tn__layer_refuse(l, "%" PRId64 " features", o->features);
    if (groups < 1 || channels % groups != 0 || o->features % groups != 0)
        tn__layer_refuse(
            l, "%" PRId64 " channels and %" PRId64 " features do not split into %" PRId64 " groups",
            channels, o->features, groups);
    dim[0] = transposed ? channels : o->features;
    if (l->ok) dim[1] = (transposed ? o->features : channels) / groups;
    for (int s = 0; s < spatial; s++) {
        dim[2 + s] = listed ? o->kernels[s] : o->kernel;
        if (dim[2 + s] < 1)
            tn__layer_refuse(l,
                             "a kernel of size %" PRId64 " along spatial axis %d; say .kernel = …",
                             dim[2 + s], s);
    }
    return l->ok;
}

static tn_tensor *conv(const char *place, tn_module *m, const char *name, const tn_tensor *x,
                       const tn_conv_layer *options, int spatial, bool transposed) {
    tn_conv_layer o;
    int64_t dim[2 + TN_SPATIAL_AXES] = {0}, fan = 1;
    tn__layer l = tn__layer_begin(place, m, name, x);
    tn__layer_options(&l, options, &o, sizeof o);
    if (!weight_shape(&l, &o, x, spatial, transposed, dim)) return tn__layer_failed(&l);
    for (int a = 1; a < spatial + 2; a++) fan *= dim[a];
    tn_init weight = fan ? tn_init_kaiming_uniform(sqrt(5), TN_FAN_IN) : tn_init_zeros();
    const tn_tensor *w = tn__layer_parameter(&l, "weight", spatial + 2, dim, o.weight, weight);
    const tn_tensor *b = NULL;
    if (!o.no_bias)
        b = tn__layer_parameter(&l, "bias", 1, &o.features, o.bias, tn__init_by_fan(fan));
    if (!l.ok) return tn__layer_failed(&l);
    tn_window_options window = window_of(&o);
    tn_scope *scope = tn_scope_open(l.context);
    x = tn__layer_operand(&l, x);
    return tn_scope_return(scope, transposed ? tn_conv_transpose_with_at(place, x, w, b, &window)
                                             : tn_conv_with_at(place, x, w, b, &window));
}

#define CONV(op, spatial, transposed)                                                              \
    tn_tensor *tn_##op##_at(const char *place, tn_module *m, const char *name, const tn_tensor *x, \
                            const tn_conv_layer *options) {                                        \
        return conv(place, m, name, x, options, spatial, transposed);                              \
    }
CONV(conv1d, 1, false)
CONV(conv2d, 2, false)
CONV(conv3d, 3, false)
CONV(conv_transpose1d, 1, true)
CONV(conv_transpose2d, 2, true)
CONV(conv_transpose3d, 3, true)

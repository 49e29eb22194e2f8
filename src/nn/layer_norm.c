/* Norm layers. See tenon/nn.h. */
#include <inttypes.h>

#include "nn/module.h"

/* A norm's layer, its options and its parameters of this shape. */
typedef struct norm {
    tn__layer l;
    tn_norm_layer o;
    tn_tensor *weight, *bias;
} norm;

static norm begin(const char *place, tn_module *m, const char *name, const tn_tensor *x,
                  const tn_norm_layer *options) {
    norm n = {.l = tn__layer_begin(place, m, name, x)};
    tn__layer_options(&n.l, options, &n.o, sizeof n.o);
    if (n.o.epsilon < 0) tn__layer_refuse(&n.l, "epsilon is %g", n.o.epsilon);
    return n;
}

static void make_parameters(norm *n, int rank, const int64_t *dim) {
    if (n->o.no_affine) return;
    n->weight = tn__layer_parameter(&n->l, "weight", rank, dim, n->o.weight, tn_init_ones());
    if (!n->o.no_bias)
        n->bias = tn__layer_parameter(&n->l, "bias", rank, dim, n->o.bias, tn_init_zeros());
}

/* ---- over the last axes --------------------------------------------------------------------- */

static void last_axes(norm *n, const tn_tensor *x) {
    int rank = tn_tensor_rank(x), axes = n->o.axes ? n->o.axes : 1;
    int64_t dim[TN_MAX_RANK];
    if (axes < 1 || axes > rank) {
        tn__layer_refuse(&n->l, "a norm over the last %d of x's %d axes", axes, rank);
        return;
    }
    for (int a = 0; a < axes; a++) dim[a] = tn_tensor_dim(x, rank - axes + a);
    n->o.axes = axes;
    make_parameters(n, axes, dim);
}

tn_tensor *tn_layer_norm_at(const char *place, tn_module *m, const char *name, const tn_tensor *x,
                            const tn_norm_layer *options) {
    norm n = begin(place, m, name, x, options);
    last_axes(&n, x);
    if (!n.l.ok) return tn__layer_failed(&n.l);
    return tn_layer_norm_with_at(place, x, n.weight, n.bias, n.o.axes, n.o.epsilon);
}

tn_tensor *tn_rms_norm_at(const char *place, tn_module *m, const char *name, const tn_tensor *x,
                          const tn_norm_layer *options) {
    norm n = begin(place, m, name, x, options);
    n.o.no_bias = true;
    last_axes(&n, x);
    if (!n.l.ok) return tn__layer_failed(&n.l);
    return tn_rms_norm_with_at(place, x, n.weight, n.o.axes, n.o.epsilon);
}

/* ---- over channels -------------------------------------------------------------------------- */

static void channels(norm *n, const tn_tensor *x) {
    int64_t count = tn_tensor_dim(x, 1);
    if (n->l.ok && tn_tensor_rank(x) < 2)
        tn__layer_refuse(&n->l, "x has %d axes; expected N, C, …", tn_tensor_rank(x));
    make_parameters(n, 1, &count);
}

static tn_tensor *grouped(norm *n, const tn_tensor *x, int64_t groups) {
    channels(n, x);
    if (groups < 1 || tn_tensor_dim(x, 1) % groups != 0)
        tn__layer_refuse(&n->l, "%" PRId64 " channels do not split into %" PRId64 " groups",
                         tn_tensor_dim(x, 1), groups);
    if (!n->l.ok) return tn__layer_failed(&n->l);
    return tn_group_norm_with_at(n->l.place, x, n->weight, n->bias, groups, n->o.epsilon);
}

tn_tensor *tn_group_norm_at(const char *place, tn_module *m, const char *name, const tn_tensor *x,
                            const tn_norm_layer *options) {
    norm n = begin(place, m, name, x, options);
    return grouped(&n, x, n.o.groups);
}

tn_tensor *tn_instance_norm_at(const char *place, tn_module *m, const char *name,
                               const tn_tensor *x, const tn_norm_layer *options) {
    norm n = begin(place, m, name, x, options);
    n.o.no_affine = !n.o.affine;
    return grouped(&n, x, tn_tensor_dim(x, 1));
}

tn_tensor *tn_batch_norm_at(const char *place, tn_module *m, const char *name, const tn_tensor *x,
                            const tn_norm_layer *options) {
    norm n = begin(place, m, name, x, options);
    int64_t count = tn_tensor_dim(x, 1);
    channels(&n, x);
    tn_tensor *mean = tn__layer_buffer(&n.l, "running_mean", 1, &count, tn_init_zeros());
    tn_tensor *var = tn__layer_buffer(&n.l, "running_var", 1, &count, tn_init_ones());
    if (!n.l.ok) return tn__layer_failed(&n.l);
    const tn_tensor *parameters[4] = {n.weight, n.bias, mean, var};
    if (!tn_module_training(n.l.module))
        return tn_batch_norm_with_at(place, x, parameters, n.o.epsilon);
    tn_tensor *running[2];
    double momentum = n.o.momentum != 0 ? n.o.momentum : 0.1;
    tn_tensor *y = tn_batch_norm_training_at(place, x, parameters, momentum, n.o.epsilon, running);
    if (tn_tensor_ok(y)) {
        tn_assign_at(place, mean, running[0]);
        tn_assign_at(place, var, running[1]);
    }
    tn_release(running[0]);
    tn_release(running[1]);
    return y;
}

/* Losses of lazy tensors. See tenon/tensor_layers.h. */
#include "nn/tensor_inner.h"

typedef struct loss_args {
    tn_loss_options o;
    tn_value (*each)(tn_builder *b, tn_value x, tn_value target, const tn_loss_options *o);
} loss_args;

static tn_reduction reduction_of(const tn_loss_options *o) {
    return o->reduction == TN_LOSS_SUM    ? TN_REDUCTION_SUM
           : o->reduction == TN_LOSS_EACH ? TN_REDUCTION_NONE
                                          : TN_REDUCTION_MEAN;
}

static tn_value reduced(tn_builder *b, tn_value x, const tn_loss_options *o) {
    int axes[TN_MAX_RANK], rank = tn_b_rank(b, x);
    for (int i = 0; i < rank; i++) axes[i] = i;
    if (o->reduction == TN_LOSS_EACH) return x;
    if (o->reduction == TN_LOSS_SUM) return tn_b_sum(b, x, axes, rank, false);
    return tn_b_mean(b, x, axes, rank, false);
}

static tn_tensor *call(const char *place, const tn_tensor *x, const tn_tensor *target,
                       const tn_loss_options *options, loss_args *a, tn__build *build) {
    tn_context *c = tn_tensor_context(x);
    if (!tn__options(c, place, options, &a->o, sizeof a->o)) return c ? tn__failed(c) : NULL;
    return tn__call_some(place, (const tn_tensor *[]){x, target, a->o.weight}, 3, 2, build, a);
}

/* A loss and the logarithms in it are too fine for narrow floats. */
static tn_value as_float(tn_builder *b, tn_value x) {
    return tn_b_cast(b, x, tn_b_accumulator(tn__float_for(tn_b_type(b, x).dtype)));
}

/* ---- of numbers ----------------------------------------------------------------------------- */

static tn_value build_numbers(tn_builder *b, const tn_value *in, const void *args) {
    const loss_args *a = args;
    tn_value x = in[0], target = in[1];
    tn__promote_pair(b, &x, &target);
    x = as_float(b, x);
    target = as_float(b, target);
    return tn_b_ok(b) ? reduced(b, a->each(b, x, target, &a->o), &a->o) : TN_NO_VALUE;
}

static tn_value squared_error(tn_builder *b, tn_value x, tn_value target,
                              const tn_loss_options *o) {
    (void)o;
    return tn_b_square(b, tn_b_sub(b, x, target));
}

static tn_value absolute_error(tn_builder *b, tn_value x, tn_value target,
                               const tn_loss_options *o) {
    (void)o;
    return tn_b_abs(b, tn_b_sub(b, x, target));
}

static tn_value huber(tn_builder *b, tn_value x, tn_value target, const tn_loss_options *o) {
    double delta = o->delta != 0 ? o->delta : 1;
    tn_dtype dtype = tn_b_type(b, x).dtype;
    if (!(delta > 0)) return tn_b_fail(b, TN_INVALID, "huber_loss: delta is %g", delta);
    tn_value d = tn_b_sub(b, x, target), size = tn_b_abs(b, d);
    tn_value near = tn_b_mul_scalar(b, tn_b_square(b, d), 0.5);
    tn_value far = tn_b_mul_scalar(b, tn_b_add_scalar(b, size, -delta / 2), delta);
    return tn_b_where(b, tn_b_le(b, size, tn_b_scalar(b, dtype, delta)), near, far);
}

static tn_value binary_cross_entropy(tn_builder *b, tn_value x, tn_value target,
                                     const tn_loss_options *o) {
    (void)o;
    return tn_b_sub(b, tn_b_softplus(b, x), tn_b_mul(b, x, target));
}

#define LOSS(op, function)                                                                         \
    tn_tensor *tn_##op##_at(const char *place, const tn_tensor *x, const tn_tensor *target,        \
                            const tn_loss_options *options) {                                      \
        return call(place, x, target, options, &(loss_args){.each = function}, build_numbers);     \
    }
LOSS(mse_loss, squared_error)
LOSS(l1_loss, absolute_error)
LOSS(huber_loss, huber)
LOSS(binary_cross_entropy, binary_cross_entropy)

/* ---- of classes ----------------------------------------------------------------------------- */

static tn_class_loss class_loss(tn_builder *b, const tn_value *in, const loss_args *a) {
    tn_dtype dtype = tn_b_type(b, in[1]).dtype;
    if (tn_b_ok(b) && !tn_dtype_is_integer(dtype))
        tn_b_fail(b, TN_INVALID, "a loss over classes: the target is of type %s; expected integers",
                  tn_dtype_name(dtype));
    if (tn_b_ok(b) && tn_b_rank(b, in[0]) < 2)
        tn_b_fail(b, TN_INVALID, "a loss over classes: x has %d axes; expected N, C, …",
                  tn_b_rank(b, in[0]));
    return (tn_class_loss){.target = tn_b_cast(b, in[1], dtype == TN_i32 ? TN_i32 : TN_i64),
                           .weight = in[2],
                           .has_ignore = a->o.ignores,
                           .ignore = a->o.ignored,
                           .reduction = reduction_of(&a->o)};
}

static tn_value build_nll(tn_builder *b, const tn_value *in, const void *args) {
    tn_class_loss loss = class_loss(b, in, args);
    return tn_b_ok(b) ? tn_b_nll_loss(b, as_float(b, in[0]), &loss) : TN_NO_VALUE;
}

tn_tensor *tn_nll_loss_at(const char *place, const tn_tensor *x, const tn_tensor *target,
                          const tn_loss_options *options) {
    return call(place, x, target, options, &(loss_args){0}, build_nll);
}

/* Each position's −mean of log p over the classes joins its loss; the mean counts what is not
 * ignored. */
static tn_value smoothed(tn_builder *b, tn_value x, tn_class_loss loss, const loss_args *a) {
    double s = a->o.label_smoothing;
    loss.reduction = TN_REDUCTION_NONE;
    tn_value log_p, sharp = tn_b_cross_entropy(b, x, &loss, &log_p);
    tn_value flat = tn_b_neg(b, tn_b_mean(b, log_p, (int[]){1}, 1, false));
    tn_dtype dtype = tn_b_type(b, sharp).dtype;
    tn_value each = tn_b_add(b, tn_b_mul_scalar(b, sharp, 1 - s), tn_b_mul_scalar(b, flat, s));
    if (!loss.has_ignore) return reduced(b, each, &a->o);
    tn_value ignored = tn_b_scalar_int(b, tn_b_type(b, loss.target).dtype, loss.ignore);
    tn_value counts = tn_b_ne(b, loss.target, ignored);
    each = tn_b_where(b, counts, each, tn_b_scalar(b, dtype, 0));
    if (a->o.reduction != TN_LOSS_MEAN) return reduced(b, each, &a->o);
    tn_loss_options sum = {.reduction = TN_LOSS_SUM};
    return tn_b_div(b, reduced(b, each, &sum), reduced(b, tn_b_cast(b, counts, dtype), &sum));
}

static tn_value build_cross_entropy(tn_builder *b, const tn_value *in, const void *args) {
    const loss_args *a = args;
    double s = a->o.label_smoothing;
    tn_class_loss loss = class_loss(b, in, args);
    if (!(s >= 0 && s <= 1) || (s != 0 && in[2] != TN_NO_VALUE))
        tn_b_fail(b, TN_INVALID,
                  "cross_entropy: label smoothing of %g%s; expected 0 to 1, and no "
                  "weights",
                  s, in[2] != TN_NO_VALUE ? " with weights" : "");
    if (!tn_b_ok(b)) return TN_NO_VALUE;
    tn_value x = as_float(b, in[0]);
    return s == 0 ? tn_b_cross_entropy(b, x, &loss, NULL) : smoothed(b, x, loss, a);
}

tn_tensor *tn_cross_entropy_at(const char *place, const tn_tensor *x, const tn_tensor *target,
                               const tn_loss_options *options) {
    return call(place, x, target, options, &(loss_args){0}, build_cross_entropy);
}

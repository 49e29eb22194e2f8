/* Steps of optimizers on one tensor. See compose.h.
 *
 * What depends on the step and the rate alone is a scalar: it is computed once for all tensors. */
#include <math.h>

#include "ops/compose.h"

static bool is_zero(const tn_coefficient *a) {
    return !a->is_value && a->number == 0;
}

static tn_value times(tn_builder *b, tn_value x, const tn_coefficient *a) {
    if (!a->is_value) return tn_b_mul_scalar(b, x, a->number);
    return tn_b_mul(b, x, tn_b_cast(b, a->value, tn_b_type(b, x).dtype));
}

/* g plus the gradient of norm/2 · |x|² */
static tn_value regularized(tn_builder *b, tn_value x, tn_value g, const tn_coefficient *norm) {
    return is_zero(norm) ? g : tn_b_add(b, times(b, x, norm), g);
}

static tn_value one_like(tn_builder *b, tn_value x) {
    return tn_b_scalar(b, tn_b_type(b, x).dtype, 1);
}

static tn_value rate_for(tn_builder *b, tn_value x, const tn_update *u) {
    return tn_b_cast(b, u->rate, tn_b_type(b, x).dtype);
}

/* x − rate · scale · (direction + decoupled · x), without a scalar of its own for each setting */
static tn_value moved(tn_builder *b, tn_value x, tn_value direction, const tn_update *u) {
    if (!is_zero(&u->decoupled)) direction = tn_b_add(b, direction, times(b, x, &u->decoupled));
    if (u->scale != 0 && u->scale != 1) direction = tn_b_mul_scalar(b, direction, u->scale);
    return tn_b_sub(b, x, tn_b_mul(b, rate_for(b, x, u), direction));
}

tn_value tn_b_adagrad(tn_builder *b, tn_value x, tn_value g, tn_value *square, const tn_update *u) {
    tn_value t = tn_b_cast(b, u->step, tn_b_type(b, x).dtype);
    tn_value slower = tn_b_add(b, one_like(b, x), tn_b_mul_scalar(b, t, u->decay));
    tn_value rate = tn_b_div(b, rate_for(b, x, u), slower);
    g = regularized(b, x, g, &u->norm);
    *square = tn_b_add(b, *square, tn_b_mul(b, g, g));
    tn_value size = tn_b_add_scalar(b, tn_b_sqrt(b, *square), u->epsilon);
    return tn_b_sub(b, x, tn_b_div(b, tn_b_mul(b, rate, g), size));
}

/* a·old + (1 − a)·new */
static tn_value blend(tn_builder *b, tn_value old, tn_value new, double a) {
    return tn_b_add(b, tn_b_mul_scalar(b, old, a), tn_b_mul_scalar(b, new, 1 - a));
}

/* 1 − a^t = −expm1(t · ln a), which is as exact as the type for an a near 1. */
static tn_value bias_correction(tn_builder *b, double a, tn_value t) {
    return tn_b_neg(b, tn_b_expm1(b, tn_b_mul_scalar(b, t, log(a))));
}

tn_value tn_b_adam_efficient(tn_builder *b, tn_value x, tn_value g, tn_value *momentum,
                             tn_value *square, const tn_update *u) {
    tn_dtype dtype = tn_b_type(b, x).dtype;
    tn_value t = tn_b_cast(b, u->step, dtype), rate = rate_for(b, x, u);
    g = regularized(b, x, g, &u->norm);
    *momentum = blend(b, *momentum, g, u->alpha);
    *square = blend(b, *square, tn_b_mul(b, g, g), u->beta);
    tn_value size = tn_b_add_scalar(b, tn_b_sqrt(b, *square), u->epsilon);
    tn_value first = bias_correction(b, u->alpha, t), second = bias_correction(b, u->beta, t);
    tn_value corrected = tn_b_div(b, tn_b_mul(b, rate, tn_b_sqrt(b, second)), first);
    tn_value started = tn_b_gt(b, t, tn_b_scalar(b, dtype, 0));
    rate = tn_b_where(b, started, corrected, rate);
    x = tn_b_sub(b, x, tn_b_mul(b, rate, tn_b_div(b, *momentum, size)));
    return u->norm_post == 0 ? x : tn_b_mul_scalar(b, x, 1 - u->norm_post);
}

tn_value tn_b_adam(tn_builder *b, tn_value x, tn_value g, tn_value *momentum, tn_value *square,
                   const tn_update *u) {
    tn_value t = tn_b_cast(b, u->step, tn_b_type(b, x).dtype);
    tn_value first = tn_b_div(b, one_like(b, x), bias_correction(b, u->alpha, t));
    tn_value second = tn_b_rsqrt(b, bias_correction(b, u->beta, t));
    g = regularized(b, x, g, &u->norm);
    *momentum = blend(b, *momentum, g, u->alpha);
    *square = blend(b, *square, tn_b_mul(b, g, g), u->beta);
    tn_value size = tn_b_mul(b, tn_b_sqrt(b, *square), second);
    size = tn_b_add_scalar(b, size, u->epsilon);
    return moved(b, x, tn_b_div(b, tn_b_mul(b, *momentum, first), size), u);
}

tn_value tn_b_momentum(tn_builder *b, tn_value x, tn_value g, tn_value *momentum, bool nesterov,
                       const tn_update *u) {
    g = regularized(b, x, g, &u->norm);
    tn_value step = g;
    if (momentum) {
        tn_dtype dtype = tn_b_type(b, x).dtype;
        if (u->beta != 1) { /* only once there is a momentum */
            tn_value zero = tn_b_scalar_int(b, tn_b_type(b, u->step).dtype, 0);
            tn_value beta = tn_b_where(b, tn_b_gt(b, u->step, zero), tn_b_scalar(b, dtype, u->beta),
                                       one_like(b, x));
            step = tn_b_mul(b, beta, g);
        }
        *momentum = tn_b_add(b, times(b, *momentum, &u->momentum), step);
        step = *momentum;
        if (nesterov) step = tn_b_add(b, g, times(b, *momentum, &u->momentum));
    }
    return moved(b, x, step, u);
}

tn_value tn_b_lion(tn_builder *b, tn_value x, tn_value g, tn_value *momentum, const tn_update *u) {
    tn_value direction = tn_b_sign(b, blend(b, *momentum, g, u->alpha));
    *momentum = blend(b, *momentum, g, u->beta);
    return moved(b, x, direction, u);
}

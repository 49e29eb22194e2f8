/* Steps of optimizers on one tensor. See compose.h. */
#include "ops/compose.h"

/* g plus the gradient of norm/2 · |x|² */
static tn_value regularized(tn_builder *b, tn_value x, tn_value g, double norm) {
    return norm == 0 ? g : tn_b_add(b, tn_b_mul_scalar(b, x, norm), g);
}

static tn_value one_like(tn_builder *b, tn_value x) {
    return tn_b_scalar(b, tn_b_type(b, x).dtype, 1);
}

tn_value tn_b_adagrad(tn_builder *b, tn_value x, tn_value g, tn_value *square,
                      const tn_optimizer *o) {
    tn_dtype dtype = tn_b_type(b, x).dtype;
    tn_value t = tn_b_cast(b, o->step, dtype), one = one_like(b, x);
    tn_value rate = tn_b_div(b, tn_b_cast(b, o->rate, dtype),
                             tn_b_add(b, one, tn_b_mul_scalar(b, t, o->decay)));
    g = regularized(b, x, g, o->norm);
    *square = tn_b_add(b, *square, tn_b_mul(b, g, g));
    tn_value size = tn_b_add_scalar(b, tn_b_sqrt(b, *square), o->epsilon);
    return tn_b_sub(b, x, tn_b_div(b, tn_b_mul(b, rate, g), size));
}

/* a·old + (1 − a)·new */
static tn_value blend(tn_builder *b, tn_value old, tn_value new, double a) {
    return tn_b_add(b, tn_b_mul_scalar(b, old, a), tn_b_mul_scalar(b, new, 1 - a));
}

tn_value tn_b_adam(tn_builder *b, tn_value x, tn_value g, tn_value *momentum, tn_value *square,
                   const tn_optimizer *o) {
    tn_dtype dtype = tn_b_type(b, x).dtype;
    tn_value t = tn_b_cast(b, o->step, dtype), one = one_like(b, x);
    tn_value rate = tn_b_cast(b, o->rate, dtype);
    g = regularized(b, x, g, o->norm);
    *momentum = blend(b, *momentum, g, o->alpha);
    *square = blend(b, *square, tn_b_mul(b, g, g), o->beta);
    tn_value size = tn_b_add_scalar(b, tn_b_sqrt(b, *square), o->epsilon);
    tn_value first = tn_b_sub(b, one, tn_b_pow(b, tn_b_scalar(b, dtype, o->alpha), t));
    tn_value second = tn_b_sub(b, one, tn_b_pow(b, tn_b_scalar(b, dtype, o->beta), t));
    tn_value corrected = tn_b_div(b, tn_b_mul(b, rate, tn_b_sqrt(b, second)), first);
    tn_value started = tn_b_gt(b, t, tn_b_scalar(b, dtype, 0));
    rate = tn_b_where(b, started, corrected, rate);
    x = tn_b_sub(b, x, tn_b_mul(b, rate, tn_b_div(b, *momentum, size)));
    return o->norm_post == 0 ? x : tn_b_mul_scalar(b, x, 1 - o->norm_post);
}

tn_value tn_b_momentum(tn_builder *b, tn_value x, tn_value g, tn_value *momentum, bool nesterov,
                       const tn_optimizer *o) {
    tn_dtype dtype = tn_b_type(b, x).dtype;
    tn_value started = tn_b_gt(b, o->step, tn_b_scalar_int(b, tn_b_type(b, o->step).dtype, 0));
    tn_value beta = tn_b_where(b, started, tn_b_scalar(b, dtype, o->beta), one_like(b, x));
    g = regularized(b, x, g, o->norm);
    *momentum = tn_b_add(b, tn_b_mul_scalar(b, *momentum, o->alpha), tn_b_mul(b, beta, g));
    tn_value step = *momentum;
    if (nesterov) step = tn_b_add(b, g, tn_b_mul_scalar(b, *momentum, o->alpha));
    return tn_b_sub(b, x, tn_b_mul(b, tn_b_cast(b, o->rate, dtype), step));
}

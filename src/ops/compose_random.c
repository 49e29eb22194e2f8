/* Random numbers of a distribution from random bits. See compose.h.
 *
 * A key, a u64 scalar, names a stream; equal keys give equal numbers, on every machine and in every
 * run. */
#include "ops/compose.h"
#include "ops/parts.h"

/* Uniform in [0, 1): the upper bits as a binary fraction. */
static tn_value unit(tn_builder *b, tn_dtype dtype, const tn_shape *shape, tn_value key) {
    bool wide = dtype == TN_f64;
    tn_dtype bits = wide ? TN_u64 : TN_u32;
    tn_attrs_random_bits a = {.dtype = bits, .shape = *shape};
    tn_value in[] = {key, tn_b_scalar_int(b, TN_u64, 0)};
    tn_value x = tn_b_node(b, TN_OP_random_bits, in, 2, &a);
    x = tn_b_shr(b, x, tn_b_scalar_int(b, bits, wide ? 11 : 8));
    return tn_b_mul_scalar(b, tn_b_cast(b, x, dtype), wide ? 0x1p-53 : 0x1p-24);
}

static tn_dtype work_type(tn_dtype dtype) {
    return dtype == TN_f64 ? TN_f64 : TN_f32;
}

tn_value tn_b_random_uniform(tn_builder *b, tn_dtype dtype, const tn_shape *shape, tn_value key,
                             double lo, double hi) {
    tn_value x = unit(b, work_type(dtype), shape, key);
    x = tn_b_add_scalar(b, tn_b_mul_scalar(b, x, hi - lo), lo);
    return tn_b_cast(b, x, dtype);
}

/* √(−2 ln u) · cos(2π v) with u in (0, 1] (Box, Muller 1958) */
tn_value tn_b_random_normal(tn_builder *b, tn_dtype dtype, const tn_shape *shape, tn_value key,
                            double mean, double deviation) {
    static const double TWO_PI = 6.283185307179586476925;
    tn_dtype work = work_type(dtype);
    if (shape->rank == TN_MAX_RANK)
        return tn_b_fail(b, TN_UNSUPPORTED, "random_normal: more than %d axes", TN_MAX_RANK - 1);
    tn_shape pair = tn_shape_with_front(shape, 2);
    tn_value both = unit(b, work, &pair, key);
    tn_value u = tn_b_squeeze(b, tn_b_slice_axis(b, both, 0, 0, 1, 1), 0);
    tn_value v = tn_b_squeeze(b, tn_b_slice_axis(b, both, 0, 1, 1, 1), 0);
    u = tn_b_sub(b, tn_b_scalar(b, work, 1), u);
    tn_value radius = tn_b_sqrt(b, tn_b_mul_scalar(b, tn_b_log(b, u), -2));
    tn_value x = tn_b_mul(b, radius, tn_b_cos(b, tn_b_mul_scalar(b, v, TWO_PI)));
    x = tn_b_add_scalar(b, tn_b_mul_scalar(b, x, deviation), mean);
    return tn_b_cast(b, x, dtype);
}

tn_value tn_b_bernoulli(tn_builder *b, tn_value probability, tn_dtype dtype, tn_value key) {
    tn_type type = tn_b_type(b, probability);
    tn_value x = unit(b, work_type(type.dtype), &type.shape, key);
    tn_value p = tn_b_cast(b, probability, work_type(type.dtype));
    return tn_b_cast(b, tn_b_lt(b, x, p), dtype);
}

tn_value tn_b_dropout(tn_builder *b, tn_value x, double p, tn_value key, tn_value *kept) {
    if (!(p >= 0 && p <= 1)) return tn_b_fail(b, TN_INVALID, "dropout: the probability is %g", p);
    tn_type type = tn_b_type(b, x);
    tn_value u = unit(b, TN_f32, &type.shape, key);
    tn_value keeps = tn_b_ge(b, u, tn_b_scalar(b, TN_f32, p));
    tn_value scaled = tn_b_mul_scalar(b, x, p < 1 ? 1 / (1 - p) : 0);
    if (kept) *kept = keeps;
    return tn_b_where(b, keeps, scaled, tn_b_scalar(b, type.dtype, 0));
}

/* The largest of x − ln(−ln u) over the classes (Gumbel 1954) is distributed as softmax(x). */
tn_value tn_b_multinomial(tn_builder *b, tn_value x, int64_t samples, tn_dtype dtype,
                          tn_value key) {
    tn_dtype work = work_type(tn_b_type(b, x).dtype);
    if (tn_b_ok(b) && (tn_b_rank(b, x) != 2 || samples < 1))
        return tn_b_fail(b, TN_INVALID,
                         "multinomial: x has %d axes and there are %lld samples; "
                         "expected x [N, C] and at least one",
                         tn_b_rank(b, x), (long long)samples);
    tn_shape shape = {.rank = 3, .dim = {tn_b_dim(b, x, 0), samples, tn_b_dim(b, x, 1)}};
    tn_value u = tn_b_sub(b, tn_b_scalar(b, work, 1), unit(b, work, &shape, key));
    /* u = 1 gives ln 0 = −∞ and −(−∞) = ∞: kept below that. */
    tn_value hazard = tn_b_neg(b, tn_b_log(b, u));
    hazard = tn_b_max(b, hazard, tn_b_scalar(b, work, 0x1p-25));
    tn_value noisy = tn_b_sub(b, tn_b_unsqueeze(b, tn_b_cast(b, x, work), 1), tn_b_log(b, hazard));
    tn_value best = tn_b_reduce(b, TN_REDUCE_argmax, noisy, (int[]){2}, 1, false);
    return tn_b_cast(b, best, dtype);
}

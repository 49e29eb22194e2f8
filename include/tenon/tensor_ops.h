/* Operations on lazy tensors. Include <tenon/tensor.h>; what holds for all of them is said there.
 *
 * tn_add(x, y) is a macro for tn_add_at(place, x, y), which bindings to other languages call. Axes
 * may be negative: they count from the end. */
#ifndef TENON_TENSOR_OPS_H
#define TENON_TENSOR_OPS_H

#include <tenon/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- element by element --------------------------------------------------------------------- */

/* clang-format off */
/* Of one tensor. Integers become floats where the function has no integer values: 8 bits f16, 16
 * bits f32, else f64. logical_not, isnan and isinf give bool; round goes to even. */
#define TN_TENSOR_UNARY(R) \
    R(neg) R(abs) R(sign) R(exp) R(expm1) R(log) R(log1p) R(sqrt) R(rsqrt) R(square) \
    R(reciprocal) R(sin) R(cos) R(tan) R(asin) R(acos) R(atan) R(sinh) R(cosh) R(tanh) \
    R(asinh) R(acosh) R(atanh) R(erf) R(floor) R(ceil) R(round) R(logical_not) R(isnan) \
    R(isinf) R(relu) R(sigmoid) R(silu) R(gelu) R(gelu_tanh) R(softplus) R(mish) R(softsign)
/* Of two, broadcast against each other, in the type that both promote to. div of integers is true
 * division in f64; floor_div and mod round towards −∞. The shifts and bit_… are of integers, the
 * logical_… of what is not zero. */
#define TN_TENSOR_BINARY(R) \
    R(add) R(sub) R(mul) R(div) R(floor_div) R(mod) R(pow) R(atan2) R(maximum) R(minimum) \
    R(bit_and) R(bit_or) R(bit_xor) R(shift_left) R(shift_right) R(logical_and) R(logical_or) \
    R(logical_xor)
/* Give bool. */
#define TN_TENSOR_COMPARE(R) R(equal) R(not_equal) R(less) R(less_equal) R(greater) R(greater_equal)
/* With a number that is part of the graph's structure. It takes x's type; a number that is not whole
 * makes integers f64. */
#define TN_TENSOR_SCALAR(R) R(add) R(sub) R(mul) R(div) R(pow) R(maximum) R(minimum)
/* clang-format on */

#define R(op) TN_API tn_tensor *tn_##op##_at(const char *place, const tn_tensor *x);
TN_TENSOR_UNARY(R)
#undef R
#define R(op)                                                                                      \
    TN_API tn_tensor *tn_##op##_at(const char *place, const tn_tensor *x, const tn_tensor *y);
TN_TENSOR_BINARY(R)
TN_TENSOR_COMPARE(R)
#undef R
#define R(op)                                                                                      \
    TN_API tn_tensor *tn_##op##_scalar_at(const char *place, const tn_tensor *x, double y);
TN_TENSOR_SCALAR(R)
#undef R
/* clang-format off */
#define tn_neg(...) tn_neg_at(TN_HERE, __VA_ARGS__)
#define tn_abs(...) tn_abs_at(TN_HERE, __VA_ARGS__)
#define tn_sign(...) tn_sign_at(TN_HERE, __VA_ARGS__)
#define tn_exp(...) tn_exp_at(TN_HERE, __VA_ARGS__)
#define tn_expm1(...) tn_expm1_at(TN_HERE, __VA_ARGS__)
#define tn_log(...) tn_log_at(TN_HERE, __VA_ARGS__)
#define tn_log1p(...) tn_log1p_at(TN_HERE, __VA_ARGS__)
#define tn_sqrt(...) tn_sqrt_at(TN_HERE, __VA_ARGS__)
#define tn_rsqrt(...) tn_rsqrt_at(TN_HERE, __VA_ARGS__)
#define tn_square(...) tn_square_at(TN_HERE, __VA_ARGS__)
#define tn_reciprocal(...) tn_reciprocal_at(TN_HERE, __VA_ARGS__)
#define tn_sin(...) tn_sin_at(TN_HERE, __VA_ARGS__)
#define tn_cos(...) tn_cos_at(TN_HERE, __VA_ARGS__)
#define tn_tan(...) tn_tan_at(TN_HERE, __VA_ARGS__)
#define tn_asin(...) tn_asin_at(TN_HERE, __VA_ARGS__)
#define tn_acos(...) tn_acos_at(TN_HERE, __VA_ARGS__)
#define tn_atan(...) tn_atan_at(TN_HERE, __VA_ARGS__)
#define tn_sinh(...) tn_sinh_at(TN_HERE, __VA_ARGS__)
#define tn_cosh(...) tn_cosh_at(TN_HERE, __VA_ARGS__)
#define tn_tanh(...) tn_tanh_at(TN_HERE, __VA_ARGS__)
#define tn_asinh(...) tn_asinh_at(TN_HERE, __VA_ARGS__)
#define tn_acosh(...) tn_acosh_at(TN_HERE, __VA_ARGS__)
#define tn_atanh(...) tn_atanh_at(TN_HERE, __VA_ARGS__)
#define tn_erf(...) tn_erf_at(TN_HERE, __VA_ARGS__)
#define tn_floor(...) tn_floor_at(TN_HERE, __VA_ARGS__)
#define tn_ceil(...) tn_ceil_at(TN_HERE, __VA_ARGS__)
#define tn_round(...) tn_round_at(TN_HERE, __VA_ARGS__)
#define tn_logical_not(...) tn_logical_not_at(TN_HERE, __VA_ARGS__)
#define tn_isnan(...) tn_isnan_at(TN_HERE, __VA_ARGS__)
#define tn_isinf(...) tn_isinf_at(TN_HERE, __VA_ARGS__)
#define tn_relu(...) tn_relu_at(TN_HERE, __VA_ARGS__)
#define tn_sigmoid(...) tn_sigmoid_at(TN_HERE, __VA_ARGS__)
#define tn_silu(...) tn_silu_at(TN_HERE, __VA_ARGS__)
#define tn_gelu(...) tn_gelu_at(TN_HERE, __VA_ARGS__)
#define tn_gelu_tanh(...) tn_gelu_tanh_at(TN_HERE, __VA_ARGS__)
#define tn_softplus(...) tn_softplus_at(TN_HERE, __VA_ARGS__)
#define tn_mish(...) tn_mish_at(TN_HERE, __VA_ARGS__)
#define tn_softsign(...) tn_softsign_at(TN_HERE, __VA_ARGS__)
#define tn_add(...) tn_add_at(TN_HERE, __VA_ARGS__)
#define tn_sub(...) tn_sub_at(TN_HERE, __VA_ARGS__)
#define tn_mul(...) tn_mul_at(TN_HERE, __VA_ARGS__)
#define tn_div(...) tn_div_at(TN_HERE, __VA_ARGS__)
#define tn_floor_div(...) tn_floor_div_at(TN_HERE, __VA_ARGS__)
#define tn_mod(...) tn_mod_at(TN_HERE, __VA_ARGS__)
#define tn_pow(...) tn_pow_at(TN_HERE, __VA_ARGS__)
#define tn_atan2(...) tn_atan2_at(TN_HERE, __VA_ARGS__)
#define tn_maximum(...) tn_maximum_at(TN_HERE, __VA_ARGS__)
#define tn_minimum(...) tn_minimum_at(TN_HERE, __VA_ARGS__)
#define tn_bit_and(...) tn_bit_and_at(TN_HERE, __VA_ARGS__)
#define tn_bit_or(...) tn_bit_or_at(TN_HERE, __VA_ARGS__)
#define tn_bit_xor(...) tn_bit_xor_at(TN_HERE, __VA_ARGS__)
#define tn_shift_left(...) tn_shift_left_at(TN_HERE, __VA_ARGS__)
#define tn_shift_right(...) tn_shift_right_at(TN_HERE, __VA_ARGS__)
#define tn_logical_and(...) tn_logical_and_at(TN_HERE, __VA_ARGS__)
#define tn_logical_or(...) tn_logical_or_at(TN_HERE, __VA_ARGS__)
#define tn_logical_xor(...) tn_logical_xor_at(TN_HERE, __VA_ARGS__)
#define tn_equal(...) tn_equal_at(TN_HERE, __VA_ARGS__)
#define tn_not_equal(...) tn_not_equal_at(TN_HERE, __VA_ARGS__)
#define tn_less(...) tn_less_at(TN_HERE, __VA_ARGS__)
#define tn_less_equal(...) tn_less_equal_at(TN_HERE, __VA_ARGS__)
#define tn_greater(...) tn_greater_at(TN_HERE, __VA_ARGS__)
#define tn_greater_equal(...) tn_greater_equal_at(TN_HERE, __VA_ARGS__)
#define tn_add_scalar(...) tn_add_scalar_at(TN_HERE, __VA_ARGS__)
#define tn_sub_scalar(...) tn_sub_scalar_at(TN_HERE, __VA_ARGS__)
#define tn_mul_scalar(...) tn_mul_scalar_at(TN_HERE, __VA_ARGS__)
#define tn_div_scalar(...) tn_div_scalar_at(TN_HERE, __VA_ARGS__)
#define tn_pow_scalar(...) tn_pow_scalar_at(TN_HERE, __VA_ARGS__)
#define tn_maximum_scalar(...) tn_maximum_scalar_at(TN_HERE, __VA_ARGS__)
#define tn_minimum_scalar(...) tn_minimum_scalar_at(TN_HERE, __VA_ARGS__)
/* clang-format on */

/* flag ? x : y */
#define tn_where(...) tn_where_at(TN_HERE, __VA_ARGS__)
TN_API tn_tensor *tn_where_at(const char *place, const tn_tensor *flag, const tn_tensor *x,
                              const tn_tensor *y);
/* min(max(x, lo), hi) */
#define tn_clip(...) tn_clip_at(TN_HERE, __VA_ARGS__)
TN_API tn_tensor *tn_clip_at(const char *place, const tn_tensor *x, double lo, double hi);
#define tn_cast(...) tn_cast_at(TN_HERE, __VA_ARGS__)
TN_API tn_tensor *tn_cast_at(const char *place, const tn_tensor *x, tn_dtype dtype);
/* The type that binary operations of the two compute in. */
TN_API tn_dtype tn_promote(tn_dtype x, tn_dtype y);

/* ---- reductions ----------------------------------------------------------------------------- */

/* Over TN_AXES(…) or TN_ALL_AXES; `keep` leaves axes of size 1. Sums and products of narrow integers
 * are i64 (u64), means of integers f64; sums of narrow floats are accumulated in f32. any and all
 * are of what is not zero. */
#define TN_TENSOR_REDUCE(R) R(sum) R(prod) R(max) R(min) R(mean) R(any) R(all)
#define R(op)                                                                                      \
    TN_API tn_tensor *tn_##op##_at(const char *place, const tn_tensor *x, int axis_count,          \
                                   const int *axes, bool keep);
TN_TENSOR_REDUCE(R)
#undef R
/* clang-format off */
#define tn_sum(...) tn_sum_at(TN_HERE, __VA_ARGS__)
#define tn_prod(...) tn_prod_at(TN_HERE, __VA_ARGS__)
#define tn_max(...) tn_max_at(TN_HERE, __VA_ARGS__)
#define tn_min(...) tn_min_at(TN_HERE, __VA_ARGS__)
#define tn_mean(...) tn_mean_at(TN_HERE, __VA_ARGS__)
#define tn_any(...) tn_any_at(TN_HERE, __VA_ARGS__)
#define tn_all(...) tn_all_at(TN_HERE, __VA_ARGS__)
/* clang-format on */
/* The mean of (x − mean)², divided by the count − correction. */
#define tn_var(...) tn_var_at(TN_HERE, __VA_ARGS__)
TN_API tn_tensor *tn_var_at(const char *place, const tn_tensor *x, int axis_count, const int *axes,
                            int correction, bool keep);
/* Positions as i64; the first where several are equal. */
#define tn_argmax(...) tn_argmax_at(TN_HERE, __VA_ARGS__)
TN_API tn_tensor *tn_argmax_at(const char *place, const tn_tensor *x, int axis, bool keep);
#define tn_argmin(...) tn_argmin_at(TN_HERE, __VA_ARGS__)
TN_API tn_tensor *tn_argmin_at(const char *place, const tn_tensor *x, int axis, bool keep);
#define tn_cumsum(...) tn_cumsum_at(TN_HERE, __VA_ARGS__)
TN_API tn_tensor *tn_cumsum_at(const char *place, const tn_tensor *x, int axis);
#define tn_cumprod(...) tn_cumprod_at(TN_HERE, __VA_ARGS__)
TN_API tn_tensor *tn_cumprod_at(const char *place, const tn_tensor *x, int axis);

/* ---- movement ------------------------------------------------------------------------------- */

/* One size may be −1: what is left. */
#define tn_reshape(...) tn_reshape_at(TN_HERE, __VA_ARGS__)
TN_API tn_tensor *tn_reshape_at(const char *place, const tn_tensor *x, int rank,
                                const int64_t *dim);
/* Axis i of the result is axis axes[i] of x. */
#define tn_permute(...) tn_permute_at(TN_HERE, __VA_ARGS__)
TN_API tn_tensor *tn_permute_at(const char *place, const tn_tensor *x, int axis_count,
                                const int *axes);
#define tn_swap_axes(...) tn_swap_axes_at(TN_HERE, __VA_ARGS__)
TN_API tn_tensor *tn_swap_axes_at(const char *place, const tn_tensor *x, int axis, int other);
#define tn_broadcast_to(...) tn_broadcast_to_at(TN_HERE, __VA_ARGS__)
TN_API tn_tensor *tn_broadcast_to_at(const char *place, const tn_tensor *x, int rank,
                                     const int64_t *dim);
#define tn_expand_dims(...) tn_expand_dims_at(TN_HERE, __VA_ARGS__)
TN_API tn_tensor *tn_expand_dims_at(const char *place, const tn_tensor *x, int axis);
#define tn_squeeze(...) tn_squeeze_at(TN_HERE, __VA_ARGS__)
TN_API tn_tensor *tn_squeeze_at(const char *place, const tn_tensor *x, int axis);
/* x[…, start:stop:step, …] along one axis; negative positions count from the end, those beyond it
 * are cut to it. TN_END is the end in the direction of the step. */
#define TN_END        INT64_MAX
#define tn_slice(...) tn_slice_at(TN_HERE, __VA_ARGS__)
TN_API tn_tensor *tn_slice_at(const char *place, const tn_tensor *x, int axis, int64_t start,
                              int64_t stop, int64_t step);
/* x[…, position, …]: the axis goes. */
#define tn_select(...) tn_select_at(TN_HERE, __VA_ARGS__)
TN_API tn_tensor *tn_select_at(const char *place, const tn_tensor *x, int axis, int64_t position);
#define tn_concat(...) tn_concat_at(TN_HERE, __VA_ARGS__)
TN_API tn_tensor *tn_concat_at(const char *place, tn_tensor *const *x, int count, int axis);
/* Along a new axis. */
#define tn_stack(...) tn_stack_at(TN_HERE, __VA_ARGS__)
TN_API tn_tensor *tn_stack_at(const char *place, tn_tensor *const *x, int count, int axis);
/* `value` before and after along one axis; negative counts cut. */
#define tn_pad(...) tn_pad_at(TN_HERE, __VA_ARGS__)
TN_API tn_tensor *tn_pad_at(const char *place, const tn_tensor *x, int axis, int64_t before,
                            int64_t after, double value);
#define tn_flip(...) tn_flip_at(TN_HERE, __VA_ARGS__)
TN_API tn_tensor *tn_flip_at(const char *place, const tn_tensor *x, int axis);
/* Each element `times` times in a row. */
#define tn_repeat(...) tn_repeat_at(TN_HERE, __VA_ARGS__)
TN_API tn_tensor *tn_repeat_at(const char *place, const tn_tensor *x, int axis, int64_t times);

/* ---- indexing and order --------------------------------------------------------------------- */

/* x[…, index, …]: the index's axes take the place of the axis. Index is i32 or i64, negative ones
 * count from the end; one out of range is an error of the evaluation. */
#define tn_take(...) tn_take_at(TN_HERE, __VA_ARGS__)
TN_API tn_tensor *tn_take_at(const char *place, const tn_tensor *x, const tn_tensor *index,
                             int axis);
#define tn_take_along_axis(...) tn_take_along_axis_at(TN_HERE, __VA_ARGS__)
TN_API tn_tensor *tn_take_along_axis_at(const char *place, const tn_tensor *x,
                                        const tn_tensor *index, int axis);
/* x with updates[i…] added at position index[i…] along the axis; equal positions add up. */
#define tn_add_along_axis(...) tn_add_along_axis_at(TN_HERE, __VA_ARGS__)
TN_API tn_tensor *tn_add_along_axis_at(const char *place, const tn_tensor *x,
                                       const tn_tensor *index, const tn_tensor *updates, int axis);
/* […, depth] of `dtype`: 1 at the index, else 0 */
#define tn_one_hot(...) tn_one_hot_at(TN_HERE, __VA_ARGS__)
TN_API tn_tensor *tn_one_hot_at(const char *place, const tn_tensor *index, int64_t depth,
                                tn_dtype dtype);
/* Stable; NaN is last. */
#define tn_sort(...) tn_sort_at(TN_HERE, __VA_ARGS__)
TN_API tn_tensor *tn_sort_at(const char *place, const tn_tensor *x, int axis, bool descending);
#define tn_argsort(...) tn_argsort_at(TN_HERE, __VA_ARGS__)
TN_API tn_tensor *tn_argsort_at(const char *place, const tn_tensor *x, int axis, bool descending);
/* result[0]: the k largest, best first; result[1]: their positions, i64 */
#define tn_top_k(...) tn_top_k_at(TN_HERE, __VA_ARGS__)
TN_API void tn_top_k_at(const char *place, const tn_tensor *x, int64_t k, int axis,
                        tn_tensor *result[2]);
/* The part on and below the k-th diagonal of the last two axes; the rest is 0. */
#define tn_tril(...) tn_tril_at(TN_HERE, __VA_ARGS__)
TN_API tn_tensor *tn_tril_at(const char *place, const tn_tensor *x, int64_t k);

/* ---- products and layers of functions ------------------------------------------------------- */

/* NumPy's matmul: stacks of matrices in the last two axes. Narrow floats accumulate in f32. */
#define tn_matmul(...) tn_matmul_at(TN_HERE, __VA_ARGS__)
TN_API tn_tensor *tn_matmul_at(const char *place, const tn_tensor *x, const tn_tensor *y);
/* NumPy's einsum: tn_einsum("bij,bjk->bik", xs, 2) */
#define tn_einsum(...) tn_einsum_at(TN_HERE, __VA_ARGS__)
TN_API tn_tensor *tn_einsum_at(const char *place, const char *equation, tn_tensor *const *x,
                               int count);
#define tn_softmax(...) tn_softmax_at(TN_HERE, __VA_ARGS__)
TN_API tn_tensor *tn_softmax_at(const char *place, const tn_tensor *x, int axis);
#define tn_log_softmax(...) tn_log_softmax_at(TN_HERE, __VA_ARGS__)
TN_API tn_tensor *tn_log_softmax_at(const char *place, const tn_tensor *x, int axis);

/* ---- new tensors ---------------------------------------------------------------------------- */

#define tn_full(...) tn_full_at(TN_HERE, __VA_ARGS__)
TN_API tn_tensor *tn_full_at(const char *place, tn_context *context, tn_dtype dtype, int rank,
                             const int64_t *dim, double value);
/* start, start + step, … below `stop` */
#define tn_arange(...) tn_arange_at(TN_HERE, __VA_ARGS__)
TN_API tn_tensor *tn_arange_at(const char *place, tn_context *context, tn_dtype dtype, double start,
                               double stop, double step);
/* `count` numbers from start to stop, both included */
#define tn_linspace(...) tn_linspace_at(TN_HERE, __VA_ARGS__)
TN_API tn_tensor *tn_linspace_at(const char *place, tn_context *context, tn_dtype dtype,
                                 double start, double stop, int64_t count);
#define tn_eye(...) tn_eye_at(TN_HERE, __VA_ARGS__)
TN_API tn_tensor *tn_eye_at(const char *place, tn_context *context, tn_dtype dtype, int64_t rows,
                            int64_t columns);
/* f32 in [0, 1). Draw n of a context depends on its seed and n alone (Philox4x32-10). */
#define tn_random_uniform(...) tn_random_uniform_at(TN_HERE, __VA_ARGS__)
TN_API tn_tensor *tn_random_uniform_at(const char *place, tn_context *context, int rank,
                                       const int64_t *dim);
/* f32 of mean 0 and deviation 1 (Box, Muller 1958) */
#define tn_random_normal(...) tn_random_normal_at(TN_HERE, __VA_ARGS__)
TN_API tn_tensor *tn_random_normal_at(const char *place, tn_context *context, int rank,
                                      const int64_t *dim);

#ifdef __cplusplus
}
#endif
#endif

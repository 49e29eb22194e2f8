/* Quantised numbers and products of them. See compose.h.
 *
 * A stored number q means (q − zero) · scale. Products run on bytes as they are stored, the left ones
 * unsigned, the right ones signed, with sums in i32, and zeros come off afterwards:
 *
 *   sum (x − p)(y − q) = sum x·y − p · sum y − q · (sum x − K·p)
 *
 * which is exact, also where it wraps. Of constant weights sum y is a constant, and q mostly zero. */
#include "ops/compose.h"
#include "ops/parts.h"

static bool is_one_element(tn_builder *b, tn_value v) {
    tn_type type = tn_b_type(b, v);
    return tn_shape_is_const(&type.shape) && tn_shape_const_count(&type.shape) == 1;
}

static tn_value as_scalar(tn_builder *b, tn_value v) {
    return tn_b_reshape(b, v, &(tn_shape){0});
}

/* A parameter for each block along the axis, repeated for the block's elements. */
static tn_value spread_blocks(tn_builder *b, tn_value v, tn_value x, int axis, int64_t block) {
    if (tn_b_ok(b) && tn_b_rank(b, v) != tn_b_rank(b, x))
        return tn_b_fail(b, TN_INVALID,
                         "quantisation in blocks: the scale has %d axes, x has %d; expected the "
                         "same number",
                         tn_b_rank(b, v), tn_b_rank(b, x));
    v = tn_b_repeat(b, v, axis, block);
    tn_dim size = tn_b_dim(b, x, axis);
    return tn_b_dim(b, v, axis) == size ? v : tn_b_slice_axis(b, v, axis, 0, size, 1);
}

/* A scale or zero as something that broadcasts to x. */
static tn_value spread(tn_builder *b, tn_value v, tn_value x, const tn_quant *q) {
    int rank = tn_b_rank(b, x), axis = q->axis < 0 ? q->axis + rank : q->axis;
    if (!tn_b_ok(b) || is_one_element(b, v)) return as_scalar(b, v);
    if (axis < 0 || axis >= rank)
        return tn_b_fail(b, TN_INVALID, "quantisation along axis %d; x has %d axes", q->axis, rank);
    if (q->block) return spread_blocks(b, v, x, axis, q->block);
    if (tn_b_rank(b, v) != 1)
        return tn_b_fail(b, TN_INVALID,
                         "quantisation along an axis: the scale has %d axes; expected 1",
                         tn_b_rank(b, v));
    tn_dim dim[TN_MAX_RANK];
    for (int i = 0; i < rank; i++) dim[i] = i == axis ? tn_b_dim(b, v, 0) : 1;
    return tn_b_reshape_to(b, v, rank, dim);
}

/* x / scale, already divided, in the stored type; the cast saturates. */
static tn_value store(tn_builder *b, tn_value x, tn_value zero, tn_dtype dtype, bool saturate) {
    if (tn_dtype_is_float(dtype)) {
        tn_attrs_cast a = {.dtype = dtype, .saturate = saturate};
        return tn_b_node(b, TN_OP_cast, &x, 1, &a);
    }
    x = tn_b_cast(b, tn_b_round(b, x), TN_f32);
    if (zero != TN_NO_VALUE) x = tn_b_add(b, x, tn_b_cast(b, zero, TN_f32));
    return tn_b_cast(b, x, dtype);
}

static bool storable(tn_builder *b, tn_dtype dtype) {
    bool narrow = dtype != TN_bool && tn_dtype_bits(dtype) <= (tn_dtype_is_float(dtype) ? 8 : 16);
    if (tn_b_ok(b) && !narrow)
        tn_b_fail(b, TN_INVALID, "quantisation to %s; expected a type of at most 16 bits",
                  tn_dtype_name(dtype));
    return tn_b_ok(b);
}

tn_value tn_b_quantize(tn_builder *b, tn_value x, const tn_quant *q, tn_dtype dtype, tn_dtype work,
                       bool saturate) {
    if (!storable(b, dtype)) return TN_NO_VALUE;
    tn_value scale = tn_b_cast(b, spread(b, q->scale, x, q), work);
    tn_value zero = q->zero == TN_NO_VALUE ? q->zero : spread(b, q->zero, x, q);
    return store(b, tn_b_div(b, tn_b_cast(b, x, work), scale), zero, dtype, saturate);
}

tn_value tn_b_dequantize(tn_builder *b, tn_value x, const tn_quant *q, tn_dtype dtype) {
    tn_value y = tn_b_cast(b, x, TN_f32);
    if (q->zero != TN_NO_VALUE && !tn_dtype_is_float(tn_b_type(b, x).dtype))
        y = tn_b_sub(b, y, tn_b_cast(b, spread(b, q->zero, x, q), TN_f32));
    y = tn_b_mul(b, y, tn_b_cast(b, spread(b, q->scale, x, q), TN_f32));
    return tn_b_cast(b, y, dtype);
}

tn_value tn_b_dynamic_quantize(tn_builder *b, tn_value x, tn_value *scale, tn_value *zero) {
    int axes[TN_MAX_RANK], rank = tn_b_rank(b, x);
    for (int i = 0; i < rank; i++) axes[i] = i;
    tn_value none = tn_b_scalar(b, TN_f32, 0), one = tn_b_scalar(b, TN_f32, 1);
    tn_value most = tn_b_scalar(b, TN_f32, 255);
    tn_value hi = tn_b_max(b, none, tn_b_reduce(b, TN_REDUCE_max, x, axes, rank, false));
    tn_value lo = tn_b_min(b, none, tn_b_reduce(b, TN_REDUCE_min, x, axes, rank, false));
    tn_value range = tn_b_where(b, tn_b_eq(b, hi, lo), one, tn_b_sub(b, hi, lo));
    *scale = tn_b_div(b, range, most);
    tn_value start = tn_b_neg(b, tn_b_div(b, lo, *scale));
    start = tn_b_round(b, tn_b_min(b, tn_b_max(b, start, none), most));
    *zero = tn_b_cast(b, start, TN_u8);
    return store(b, tn_b_div(b, x, *scale), *zero, TN_u8, true);
}

/* ---- products ------------------------------------------------------------------------------- */

static bool are_bytes(tn_builder *b, tn_value x) {
    tn_dtype dtype = tn_b_type(b, x).dtype;
    if (tn_b_ok(b) && (tn_dtype_bits(dtype) > 8 || dtype == TN_bool))
        tn_b_fail(b, TN_INVALID, "a quantised product of %s; expected bytes", tn_dtype_name(dtype));
    return tn_b_ok(b);
}

static bool is_byte(tn_builder *b, tn_value v) {
    tn_dtype dtype = tn_b_type(b, v).dtype;
    return dtype == TN_u8 || dtype == TN_i8;
}

/* An operand of a product of bytes, and its zero: an i32 scalar or of the operand's rank, or none. */
typedef struct byte_operand {
    tn_value x, zero;
} byte_operand;

/* Whether all elements are `value`. */
static bool is_all(tn_builder *b, tn_value v, int64_t value) {
    if (!tn_b_ok(b)) return false;
    const tn_node_info *n = tn_graph_producer(b->graph, v);
    while (n->op == TN_OP_reshape) n = tn_graph_producer(b->graph, v = n->in[0]);
    tn_array a;
    if (n->op != TN_OP_constant || !tn_graph_constant(b->graph, v, &a)) return false;
    for (int64_t i = 0; i < tn_array_count(&a); i++)
        if (tn_array_get(&a, i).i != value) return false;
    return true;
}

/* The operand in `dtype`, u8 or i8: the other one is half a range away, and so is its zero. */
static byte_operand byte_operand_of(tn_builder *b, tn_value x, tn_value zero, tn_dtype dtype) {
    byte_operand r = {x, TN_NO_VALUE};
    bool other = tn_b_type(b, x).dtype != dtype;
    int64_t shift = !other ? 0 : dtype == TN_u8 ? 128 : -128;
    if (other) {
        tn_dtype stored = tn_b_type(b, x).dtype;
        x = tn_b_xor(b, x, tn_b_scalar(b, stored, stored == TN_u8 ? 128 : -128));
        r.x = tn_b_node(b, TN_OP_bitcast, &x, 1, &(tn_attrs_bitcast){.dtype = dtype});
    }
    bool none = zero == TN_NO_VALUE ? shift == 0 : is_all(b, zero, -shift);
    if (none) return r;
    r.zero = tn_b_scalar(b, TN_i32, (double)shift);
    if (zero != TN_NO_VALUE) r.zero = tn_b_add(b, tn_b_cast(b, zero, TN_i32), r.zero);
    return r;
}

/* x − zero in a type that holds it: i16 for bytes, f32 for narrow floats. */
static tn_value centre(tn_builder *b, tn_value x, tn_value zero) {
    if (!are_bytes(b, x)) return TN_NO_VALUE;
    if (tn_dtype_is_float(tn_b_type(b, x).dtype)) return tn_b_cast(b, x, TN_f32);
    x = tn_b_cast(b, x, TN_i16);
    return zero == TN_NO_VALUE ? x : tn_b_sub(b, x, tn_b_cast(b, zero, TN_i16));
}

/* A parameter of a matrix: for all of it, or per row ([M] or […, M, 1]) or column ([N] …). */
static tn_value matrix_parameter(tn_builder *b, tn_value v, bool rows) {
    if (v == TN_NO_VALUE || !tn_b_ok(b)) return v;
    if (is_one_element(b, v)) return as_scalar(b, v);
    return rows && tn_b_rank(b, v) == 1 ? tn_b_unsqueeze(b, v, 1) : v;
}

/* One parameter for the kernel, or one for each of its output channels. */
static tn_value kernel_parameter(tn_builder *b, tn_value v, int rank) {
    if (v == TN_NO_VALUE || !tn_b_ok(b)) return v;
    if (is_one_element(b, v)) return as_scalar(b, v);
    tn_dim dim[TN_MAX_RANK] = {tn_b_dim(b, v, 0)};
    for (int i = 1; i < rank; i++) dim[i] = 1;
    return tn_b_reshape_to(b, v, rank, dim);
}

static tn_value sum_along(tn_builder *b, tn_value x, int axis) {
    return tn_b_reduce(b, TN_REDUCE_sum, tn_b_cast(b, x, TN_i32), (int[]){axis}, 1, true);
}

/* Both have at least two axes. */
static tn_value matmul_of_bytes(tn_builder *b, byte_operand x, byte_operand y) {
    int k = tn_b_rank(b, x.x) - 1;
    tn_value product = tn_b_matmul(b, x.x, y.x, TN_i32);
    if (x.zero != TN_NO_VALUE) {
        tn_value columns = sum_along(b, y.x, tn_b_rank(b, y.x) - 2);
        product = tn_b_sub(b, product, tn_b_mul(b, x.zero, columns));
    }
    if (y.zero == TN_NO_VALUE) return product;
    tn_value rows = sum_along(b, x.x, k);
    if (x.zero != TN_NO_VALUE) {
        tn_value depth = tn_b_dim_value(b, tn_b_dim(b, x.x, k), TN_i32);
        rows = tn_b_sub(b, rows, tn_b_mul(b, depth, x.zero));
    }
    return tn_b_sub(b, product, tn_b_mul(b, y.zero, rows));
}

tn_value tn_b_integer_matmul(tn_builder *b, tn_value x, tn_value y, tn_value x_zero,
                             tn_value y_zero) {
    if (!are_bytes(b, x) || !are_bytes(b, y)) return TN_NO_VALUE;
    x_zero = matrix_parameter(b, x_zero, true);
    y_zero = matrix_parameter(b, y_zero, false);
    if (is_byte(b, x) && is_byte(b, y) && tn_b_rank(b, x) > 1 && tn_b_rank(b, y) > 1)
        return matmul_of_bytes(b, byte_operand_of(b, x, x_zero, TN_u8),
                               byte_operand_of(b, y, y_zero, TN_i8));
    bool plain = x_zero == TN_NO_VALUE && y_zero == TN_NO_VALUE;
    if (!plain || tn_b_type(b, x).dtype != tn_b_type(b, y).dtype) {
        x = centre(b, x, x_zero);
        y = centre(b, y, y_zero);
    }
    return tn_b_matmul(b, x, y, tn_b_accumulator(tn_b_type(b, x).dtype));
}

/* w without a zero; padding holds the zero of x. */
static tn_value conv_of_bytes(tn_builder *b, byte_operand x, tn_value w, tn_value bias,
                              const tn_conv_options *o) {
    tn_conv_options inner = *o;
    int rank = tn_b_rank(b, x.x);
    inner.acc = TN_i32;
    inner.has_acc = true;
    if (x.zero == TN_NO_VALUE) return tn_b_conv(b, x.x, w, bias, &inner);
    tn_value fill = tn_b_cast(b, x.zero, TN_u8);
    for (int s = 0; s < rank - 2 && tn_b_ok(b); s++) {
        tn_dim lo = tn_dim_const(b->graph->dims, o->pad_lo[s]);
        tn_dim hi = tn_dim_const(b->graph->dims, o->pad_hi[s]);
        if (lo != 0 || hi != 0) x.x = tn_b_pad_axis(b, x.x, 2 + s, lo, hi, fill);
        inner.pad_lo[s] = inner.pad_hi[s] = 0;
    }
    int axes[TN_MAX_RANK];
    for (int i = 1; i < rank; i++) axes[i - 1] = i;
    tn_value sums = tn_b_reduce(b, TN_REDUCE_sum, tn_b_cast(b, w, TN_i32), axes, rank - 1, false);
    tn_value added = tn_b_neg(b, tn_b_mul(b, x.zero, sums));
    if (bias != TN_NO_VALUE) added = tn_b_add(b, bias, added);
    return tn_b_conv(b, x.x, w, added, &inner);
}

tn_value tn_b_integer_conv(tn_builder *b, tn_value x, tn_value w, tn_value x_zero, tn_value w_zero,
                           tn_value bias, const tn_conv_options *o) {
    if (!are_bytes(b, x) || !are_bytes(b, w)) return TN_NO_VALUE;
    if (is_byte(b, x) && is_byte(b, w)) {
        byte_operand y = byte_operand_of(b, w, w_zero, TN_i8);
        tn_value zero = x_zero == TN_NO_VALUE ? x_zero : as_scalar(b, x_zero);
        if (y.zero == TN_NO_VALUE)
            return conv_of_bytes(b, byte_operand_of(b, x, zero, TN_u8), y.x, bias, o);
    }
    x = centre(b, x, x_zero == TN_NO_VALUE ? x_zero : as_scalar(b, x_zero));
    w = centre(b, w, kernel_parameter(b, w_zero, tn_b_rank(b, w)));
    return tn_b_conv(b, x, w, bias, o);
}

/* A product of whole numbers, as the numbers it means, stored anew: factor = x_scale · w_scale / y's.
 */
static tn_value restore(tn_builder *b, tn_value product, tn_value factor, const tn_quant *y,
                        tn_dtype dtype) {
    if (!storable(b, dtype)) return TN_NO_VALUE;
    factor = tn_b_div(b, factor, tn_b_cast(b, as_scalar(b, y->scale), TN_f32));
    tn_value zero = y->zero == TN_NO_VALUE ? y->zero : as_scalar(b, y->zero);
    return store(b, tn_b_mul(b, tn_b_cast(b, product, TN_f32), factor), zero, dtype, true);
}

tn_value tn_b_quantized_matmul(tn_builder *b, tn_value x, const tn_quant *qx, tn_value w,
                               const tn_quant *qw, const tn_quant *qy, tn_dtype dtype) {
    tn_value product = tn_b_integer_matmul(b, x, w, qx->zero, qw->zero);
    tn_value rows = tn_b_cast(b, matrix_parameter(b, qx->scale, true), TN_f32);
    tn_value columns = tn_b_cast(b, matrix_parameter(b, qw->scale, false), TN_f32);
    return restore(b, product, tn_b_mul(b, rows, columns), qy, dtype);
}

tn_value tn_b_quantized_conv(tn_builder *b, tn_value x, const tn_quant *qx, tn_value w,
                             const tn_quant *qw, tn_value bias, const tn_quant *qy, tn_dtype dtype,
                             const tn_conv_options *o) {
    tn_value product = tn_b_integer_conv(b, x, w, qx->zero, qw->zero, bias, o);
    tn_value scale = qw->scale;
    if (is_one_element(b, scale))
        scale = as_scalar(b, scale);
    else
        scale = tn_b_channel_vector(b, scale, tn_b_rank(b, x));
    scale = tn_b_mul(b, as_scalar(b, qx->scale), scale);
    return restore(b, product, tn_b_cast(b, scale, TN_f32), qy, dtype);
}

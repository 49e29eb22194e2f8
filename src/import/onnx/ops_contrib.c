/* Operator set com.microsoft, of ONNX Runtime: products with weights of a few bits.
 *
 * B is taken apart while importing: it becomes a constant of a narrow type, which the kernels read as
 * it is (codegen/weights_find.c). */
#include "import/onnx/ops.h"

typedef struct nbits {
    int64_t k, n, block, blocks; /* depth, columns; elements of a block; blocks of a column */
    int bits;
    tn_dtype stored;
} nbits;

static bool read_sizes(tn_o *o, nbits *q) {
    enum { LEAST_BLOCK = 16 };
    q->k = tn_o_need_int(o, "K");
    q->n = tn_o_need_int(o, "N");
    q->block = tn_o_need_int(o, "block_size");
    int64_t bits = tn_o_int(o, "bits", 4);
    if (!tn_o_ok(o)) return false;
    if (bits != 2 && bits != 4 && bits != 8)
        tn_o_fail(o, TN_UNSUPPORTED, "its weights have %lld bits; 2, 4 and 8 are possible",
                  (long long)bits);
    if (q->block < LEAST_BLOCK || q->block > INT32_MAX || (q->block & (q->block - 1)) != 0)
        tn_o_fail(o, TN_INVALID, "block_size is %lld; expected a power of two from %d on",
                  (long long)q->block, LEAST_BLOCK);
    if (q->k < 1 || q->n < 1 || q->k > INT32_MAX || q->n > INT32_MAX)
        tn_o_fail(o, TN_INVALID, "K is %lld and N %lld; expected positive sizes", (long long)q->k,
                  (long long)q->n);
    if (!tn_o_ok(o)) return false;
    q->bits = (int)bits;
    q->stored = bits == 2 ? TN_u2 : bits == 4 ? TN_u4 : TN_u8;
    q->blocks = (q->k + q->block - 1) / q->block;
    return true;
}

/* Rows of numbers of a few bits, the first one lowest, each row padded to `row_bytes`. */
static tn_value unpack(tn_o *o, const nbits *q, const tn_array *packed, int64_t row_bytes,
                       int64_t columns) {
    tn_array out = tn_array_new(o->scratch, q->stored, 2, (int64_t[]){q->n, columns});
    const uint8_t *row = packed->data;
    uint8_t *to = out.data;
    for (int64_t r = 0; r < q->n; r++, row += row_bytes)
        for (int64_t c = 0; c < columns; c++) {
            int64_t bit = c * q->bits;
            *to++ = (uint8_t)(row[bit / 8] >> (bit % 8) & ((1 << q->bits) - 1));
        }
    return tn_b_constant(o->b, &out);
}

/* Input `i` as bytes in rows of `row_bytes`. */
static bool packed_rows(tn_o *o, int i, const char *what, const nbits *q, int64_t row_bytes,
                        tn_array *out) {
    if (!tn_o_need_array(o, i, what, out)) return false;
    int64_t count;
    if (out->dtype == TN_u8 && !__builtin_mul_overflow(q->n, row_bytes, &count) &&
        tn_array_count(out) == count)
        return true;
    tn_o_fail(o, TN_INVALID, "%s has %lld elements of %s; expected %lld times %lld bytes", what,
              (long long)tn_array_count(out), tn_dtype_name(out->dtype), (long long)q->n,
              (long long)row_bytes);
    return false;
}

/* Input `i`, one element for each block of each column, as [N, blocks]. */
static tn_value per_block(tn_o *o, int i, const char *what, const nbits *q) {
    tn_type type = tn_o_type(o, i);
    if (!tn_o_ok(o)) return TN_NO_VALUE;
    if (tn_shape_count(o->dims, &type.shape) != tn_dim_const(o->dims, q->n * q->blocks))
        return tn_o_fail(o, TN_INVALID,
                         "%s does not have %lld elements: %lld blocks of %lld columns", what,
                         (long long)(q->n * q->blocks), (long long)q->blocks, (long long)q->n);
    return tn_b_reshape_to(o->b, tn_o_in(o, i), 2, (tn_dim[]){q->n, q->blocks});
}

/* Bytes hold zeros as B its elements; other types have one a block. None: the middle of the range. */
static tn_value zero_points(tn_o *o, const nbits *q) {
    enum { ZEROS = 3 };
    tn_array packed;
    if (!tn_o_has(o, ZEROS)) return tn_b_scalar(o->b, q->stored, 1 << (q->bits - 1));
    if (tn_o_type(o, ZEROS).dtype != TN_u8) return per_block(o, ZEROS, "zero_points", q);
    int64_t row_bytes = (q->blocks * q->bits + 7) / 8;
    if (!packed_rows(o, ZEROS, "zero_points", q, row_bytes, &packed)) return TN_NO_VALUE;
    return unpack(o, q, &packed, row_bytes, q->blocks);
}

/* The block of each k, where it is not k / block_size: input g_idx. */
static bool other_blocks(tn_o *o, const nbits *q, tn_value *index) {
    enum { BLOCK_OF = 4 };
    tn_array a;
    if (!tn_o_has(o, BLOCK_OF) || !tn_o_need_array(o, BLOCK_OF, "g_idx", &a)) return false;
    if (!tn_dtype_is_integer(a.dtype) || tn_array_count(&a) < q->k) {
        tn_o_fail(o, TN_INVALID, "g_idx has %lld elements of %s; expected K = %lld integers",
                  (long long)tn_array_count(&a), tn_dtype_name(a.dtype), (long long)q->k);
        return false;
    }
    bool other = false;
    tn_array out = tn_array_new(o->scratch, TN_i64, 1, &q->k);
    for (int64_t i = 0; i < q->k && tn_o_ok(o); i++) {
        int64_t block = tn_array_get(&a, i).i;
        if (block < 0 || block >= q->blocks)
            tn_o_fail(o, TN_INVALID, "g_idx has %lld; there are %lld blocks", (long long)block,
                      (long long)q->blocks);
        other |= block != i / q->block;
        tn_array_set(&out, i, (tn_cell){.i = block});
    }
    if (other && tn_o_ok(o)) *index = tn_b_constant(o->b, &out);
    return other && tn_o_ok(o);
}

/* y = A · ((B − zero) · scale)ᵀ + bias, zeros and scales per block of K */
static void import_matmul_nbits(tn_o *o) {
    enum { A, B, SCALES, BIAS = 5 };
    tn_builder *b = o->b;
    nbits q;
    tn_array packed;
    int64_t row_bytes;
    if (!read_sizes(o, &q)) return;
    row_bytes = q.blocks * (q.block * q.bits / 8);
    if (!packed_rows(o, B, "B", &q, row_bytes, &packed)) return;
    tn_value x = tn_o_in(o, A), w = unpack(o, &q, &packed, row_bytes, q.k), index;
    tn_quant quant = {per_block(o, SCALES, "scales", &q), zero_points(o, &q), 1, (int)q.block};
    if (other_blocks(o, &q, &index)) {
        quant.scale = tn_b_gather_axis(b, quant.scale, index, 1, TN_INDEX_error);
        if (tn_b_rank(b, quant.zero) == 2)
            quant.zero = tn_b_gather_axis(b, quant.zero, index, 1, TN_INDEX_error);
        quant.block = 1;
    }
    w = tn_b_swap(b, tn_b_dequantize(b, w, &quant, TN_f32), 0, 1);
    tn_value y = tn_b_matmul(b, tn_b_cast(b, x, TN_f32), w, TN_f32);
    tn_value bias = tn_o_in_or_none(o, BIAS);
    if (bias != TN_NO_VALUE) y = tn_b_add(b, y, tn_b_cast(b, bias, TN_f32));
    tn_o_out(o, 0, tn_o_like(o, y, x));
}

static const tn_onnx_op rows[] = {
    {"MatMulNBits", 1, TN_ONNX_LATEST, import_matmul_nbits},
};
TN_ONNX_TABLE(contrib, "com.microsoft")

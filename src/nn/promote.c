/* NumPy's promotion of types (NEP 50), with ml_dtypes' for bf16 and narrower floats. See
 * tensor_inner.h. */
#include "nn/tensor_inner.h"

/* The narrowest signed (unsigned) type of at least so many bits. */
static tn_dtype signed_of(int bits) {
    return bits <= 8 ? TN_i8 : bits <= 16 ? TN_i16 : bits <= 32 ? TN_i32 : TN_i64;
}

tn_dtype tn__float_for(tn_dtype dtype) {
    if (tn_dtype_is_float(dtype)) return dtype;
    int bits = tn_dtype_bits(dtype);
    return bits <= 8 ? TN_f16 : bits <= 16 ? TN_f32 : TN_f64;
}

static tn_dtype promote_integers(tn_dtype x, tn_dtype y) {
    int xbits = tn_dtype_bits(x), ybits = tn_dtype_bits(y);
    bool xs = tn_dtype_is_signed(x), ys = tn_dtype_is_signed(y);
    if (xs == ys) return xbits >= ybits ? x : y;
    int with_sign = xs ? xbits : ybits, without = xs ? ybits : xbits;
    if (with_sign > without) return xs ? x : y;
    return without >= 64 ? TN_f64 : signed_of(2 * without);
}

static tn_dtype promote_floats(tn_dtype x, tn_dtype y) {
    int xbits = tn_dtype_bits(x), ybits = tn_dtype_bits(y);
    if (xbits != ybits) return xbits > ybits ? x : y;
    return TN_f32; /* f16 and bf16, or two kinds of 8 bits: neither holds the other */
}

/* An integer of 8 bits fits every float; wider ones take one that is as wide as NumPy's. */
static tn_dtype promote_mixed(tn_dtype f, tn_dtype i) {
    int bits = tn_dtype_bits(i);
    if (bits <= 8) return f;
    return promote_floats(bits <= 16 ? TN_f32 : TN_f64, f);
}

tn_dtype tn_promote(tn_dtype x, tn_dtype y) {
    if (x == y || y == TN_bool) return x;
    if (x == TN_bool) return y;
    bool xf = tn_dtype_is_float(x), yf = tn_dtype_is_float(y);
    if (xf && yf) return promote_floats(x, y);
    if (xf || yf) return xf ? promote_mixed(x, y) : promote_mixed(y, x);
    return promote_integers(x, y);
}

/* One element of any type: load, store, rounding and conversion. See scalar.h.
 *
 * A narrow float (16 bits or fewer) is described by one row of `narrow`; encoding scales the number
 * so that the last kept bit has weight one and rounds it there, once, to nearest even. */
#include "base/scalar.h"

#include <math.h>

/* ---- narrow floats -------------------------------------------------------------------------- */

typedef struct narrow_format {
    uint8_t exponent_bits, mantissa_bits, bias;
    uint16_t max; /* the greatest finite magnitude */
    uint16_t inf; /* what an overflow gives: infinity, NaN, or max where there is neither */
    uint16_t nan;
    bool unsigned_zero; /* the "fnuz" types: one zero, and the code of -0 is the only NaN */
} narrow_format;

static const narrow_format narrow[TN_DTYPE_COUNT] = {
    [TN_f16] = {5, 10, 15, 0x7bff, 0x7c00, 0x7e00, false},
    [TN_bf16] = {8, 7, 127, 0x7f7f, 0x7f80, 0x7fc0, false},
    [TN_f8e4m3fn] = {4, 3, 7, 0x7e, 0x7f, 0x7f, false},
    [TN_f8e4m3fnuz] = {4, 3, 8, 0x7f, 0x80, 0x80, true},
    [TN_f8e5m2] = {5, 2, 15, 0x7b, 0x7c, 0x7e, false},
    [TN_f8e5m2fnuz] = {5, 2, 16, 0x7f, 0x80, 0x80, true},
    [TN_f4e2m1] = {2, 1, 1, 0x7, 0x7, 0x8, false}, /* no NaN: a NaN becomes -0 */
};

static double narrow_decode(const narrow_format *f, unsigned code) {
    unsigned sign = code >> (f->exponent_bits + f->mantissa_bits) & 1;
    unsigned magnitude = code & ((1u << (f->exponent_bits + f->mantissa_bits)) - 1);
    if (f->unsigned_zero && code == f->nan) return (double)NAN;
    double value;
    if (magnitude > f->max) {
        value = magnitude == f->inf && f->inf != f->nan ? (double)INFINITY : (double)NAN;
    } else {
        int exponent = (int)(magnitude >> f->mantissa_bits);
        unsigned hidden = exponent ? 1u << f->mantissa_bits : 0;
        unsigned fraction = magnitude & ((1u << f->mantissa_bits) - 1);
        value = ldexp(fraction | hidden, TN_MAX(exponent, 1) - f->bias - f->mantissa_bits);
    }
    return sign ? -value : value;
}

static unsigned narrow_encode(const narrow_format *f, double x, bool saturate) {
    unsigned sign = (unsigned)(signbit(x) != 0) << (f->exponent_bits + f->mantissa_bits);
    if (isnan(x)) return f->nan | sign;
    unsigned code = f->max + 1u;
    int exponent; /* |x| = [0.5, 1) * 2^exponent */
    frexp(x, &exponent);
    if (x == 0) {
        code = 0;
    } else if (isfinite(x) && exponent - 1 + f->bias < 1 << f->exponent_bits) {
        int field = TN_MAX(exponent - 1 + f->bias, 1);
        double scaled = ldexp(fabs(x), f->bias + f->mantissa_bits - field);
        code = ((unsigned)(field - 1) << f->mantissa_bits) + (unsigned)rint(scaled);
    }
    if (code > f->max) code = saturate ? f->max : f->inf;
    if (f->unsigned_zero && (code == 0 || code == f->nan)) return code;
    return code | sign;
}

/* f8e8m0 is a power of two, code = exponent + 127, 0xff is NaN; it has no sign and no zero. ONNX's
 * two usual modes: saturating rounds up, the other to nearest (a tie goes up) with NaN out of
 * range. */
static unsigned e8m0_encode(double x, bool saturate) {
    enum { E8M0_NAN = 0xff, E8M0_MAX = 0xfe };
    if (isnan(x) || x < 0) return E8M0_NAN;
    if (x == 0) return saturate ? 0 : E8M0_NAN;
    if (isinf(x)) return saturate ? E8M0_MAX : E8M0_NAN;
    int exponent;
    double fraction = frexp(x, &exponent); /* [0.5, 1) */
    int code = exponent - 1 + 127 + (fraction > 0.5 && (saturate || fraction >= 0.75));
    if (code < 0) return saturate ? 0 : E8M0_NAN;
    if (code > E8M0_MAX) return saturate ? E8M0_MAX : E8M0_NAN;
    return (unsigned)code;
}

static double e8m0_decode(unsigned code) {
    return code == 0xff ? (double)NAN : ldexp(1, (int)code - 127);
}

static unsigned float_encode(tn_dtype dtype, double x, bool saturate) {
    return dtype == TN_f8e8m0 ? e8m0_encode(x, saturate)
                              : narrow_encode(&narrow[dtype], x, saturate);
}

static double float_decode(tn_dtype dtype, unsigned code) {
    return dtype == TN_f8e8m0 ? e8m0_decode(code) : narrow_decode(&narrow[dtype], code);
}

static double float_round(tn_dtype dtype, double x, bool saturate) {
    if (dtype == TN_f64) return x;
    if (dtype == TN_f32) return (double)(float)x;
    bool narrower = saturate && tn_dtype_bits(dtype) <= 8;
    return float_decode(dtype, float_encode(dtype, x, narrower));
}

/* ---- integers ------------------------------------------------------------------------------- */

/* Keeps the low bits of the type; sign or zero extends them. */
static tn_cell wrap(tn_dtype dtype, uint64_t value) {
    int unused = 64 - tn_dtype_bits(dtype);
    if (dtype == TN_bool) return (tn_cell){.u = value != 0};
    if (tn_dtype_is_signed(dtype)) return (tn_cell){.i = (int64_t)(value << unused) >> unused};
    return (tn_cell){.u = value << unused >> unused};
}

/* 2^(value bits): the first number above the type's range. */
static double range_end(tn_dtype dtype) {
    return ldexp(1, tn_dtype_bits(dtype) - (tn_dtype_is_signed(dtype) ? 1 : 0));
}

static tn_cell int_of_double(tn_dtype dtype, double x) {
    if (isnan(x)) return (tn_cell){.i = 0};
    if (x >= range_end(dtype)) return tn_cell_highest(dtype);
    if (!tn_dtype_is_signed(dtype)) return (tn_cell){.u = x <= 0 ? 0 : (uint64_t)x};
    if (x < -range_end(dtype)) return tn_cell_lowest(dtype);
    return (tn_cell){.i = (int64_t)x};
}

/* A double from which every narrower type rounds correctly: bits that do not fit leave a trace in
 * the last one (rounding to odd). */
static double odd_double_of(uint64_t magnitude) {
    if (magnitude >> 53) {
        int drop = 11 - __builtin_clzll(magnitude);
        uint64_t kept = magnitude >> drop;
        magnitude = (kept | (kept << drop != magnitude)) << drop;
    }
    return (double)magnitude;
}

static double float_of_int(tn_dtype from, tn_dtype to, tn_cell cell) {
    bool is_signed = tn_dtype_is_signed(from);
    if (to == TN_f64) return is_signed ? (double)cell.i : (double)cell.u;
    if (is_signed && cell.i < 0) return -odd_double_of(0 - cell.u);
    return odd_double_of(cell.u);
}

/* ---- cells ---------------------------------------------------------------------------------- */

static tn_cell load_float(tn_dtype dtype, const void *ptr) {
    float single;
    uint16_t half;
    tn_cell cell;
    switch (tn_dtype_size(dtype)) {
    case 8:
        memcpy(&cell.f, ptr, 8);
        return cell;
    case 4:
        memcpy(&single, ptr, 4);
        return (tn_cell){.f = (double)single};
    case 2:
        memcpy(&half, ptr, 2);
        return (tn_cell){.f = float_decode(dtype, half)};
    default: {
        unsigned code = *(const uint8_t *)ptr;
        if (dtype == TN_f4e2m1) code &= 0xf;
        return (tn_cell){.f = float_decode(dtype, code)};
    }
    }
}

tn_cell tn_cell_load(tn_dtype dtype, const void *ptr) {
    if (tn_dtype_is_float(dtype)) return load_float(dtype, ptr);
    uint64_t wide;
    uint32_t word;
    uint16_t half;
    switch (tn_dtype_size(dtype)) {
    case 8:
        memcpy(&wide, ptr, 8);
        break;
    case 4:
        memcpy(&word, ptr, 4);
        wide = word;
        break;
    case 2:
        memcpy(&half, ptr, 2);
        wide = half;
        break;
    default:
        wide = *(const uint8_t *)ptr;
        break;
    }
    return wrap(dtype, wide);
}

void tn_cell_store(tn_dtype dtype, void *ptr, tn_cell cell) {
    uint64_t bits;
    if (dtype == TN_f64) {
        bits = cell.u;
    } else if (dtype == TN_f32) {
        float single = (float)cell.f;
        uint32_t word;
        memcpy(&word, &single, 4);
        bits = word;
    } else if (tn_dtype_is_float(dtype)) {
        bits = float_encode(dtype, cell.f, false);
    } else {
        bits = wrap(dtype, cell.u).u;
    }
    uint32_t word = (uint32_t)bits;
    uint16_t half = (uint16_t)bits;
    switch (tn_dtype_size(dtype)) {
    case 8:
        memcpy(ptr, &bits, 8);
        break;
    case 4:
        memcpy(ptr, &word, 4);
        break;
    case 2:
        memcpy(ptr, &half, 2);
        break;
    default:
        *(uint8_t *)ptr = (uint8_t)bits;
        break;
    }
}

tn_cell tn_cell_round(tn_dtype dtype, tn_cell cell) {
    if (tn_dtype_is_float(dtype)) return (tn_cell){.f = float_round(dtype, cell.f, false)};
    return wrap(dtype, cell.u);
}

static tn_cell cast(tn_dtype from, tn_dtype to, tn_cell cell, bool saturate) {
    if (tn_dtype_is_float(to)) {
        double x = tn_dtype_is_float(from) ? cell.f : float_of_int(from, to, cell);
        return (tn_cell){.f = float_round(to, x, saturate)};
    }
    if (!tn_dtype_is_float(from)) return wrap(to, cell.u);
    if (to == TN_bool) return (tn_cell){.u = cell.f != 0};
    return int_of_double(to, cell.f);
}

tn_cell tn_cell_cast(tn_dtype from, tn_dtype to, tn_cell cell) {
    return cast(from, to, cell, false);
}

tn_cell tn_cell_cast_saturate(tn_dtype from, tn_dtype to, tn_cell cell) {
    return cast(from, to, cell, true);
}

tn_cell tn_cell_of(tn_dtype dtype, double value) {
    return tn_cell_cast(TN_f64, dtype, (tn_cell){.f = value});
}

tn_cell tn_cell_of_int(tn_dtype dtype, int64_t value) {
    return tn_cell_cast(TN_i64, dtype, (tn_cell){.i = value});
}

tn_cell tn_cell_lowest(tn_dtype dtype) {
    if (dtype == TN_f8e8m0) return (tn_cell){.f = e8m0_decode(0)};
    if (tn_dtype_is_float(dtype)) return (tn_cell){.f = -tn_cell_highest(dtype).f};
    if (tn_dtype_is_signed(dtype)) return wrap(dtype, 1ull << (tn_dtype_bits(dtype) - 1));
    return (tn_cell){.u = 0};
}

tn_cell tn_cell_highest(tn_dtype dtype) {
    if (dtype == TN_f64 || dtype == TN_f32) return (tn_cell){.f = (double)INFINITY};
    if (dtype == TN_f8e8m0) return (tn_cell){.f = e8m0_decode(0xfe)};
    if (tn_dtype_is_float(dtype)) {
        const narrow_format *f = &narrow[dtype];
        bool has_infinity = f->inf != f->nan && f->inf != f->max;
        return (tn_cell){.f = narrow_decode(f, has_infinity ? f->inf : f->max)};
    }
    if (tn_dtype_is_signed(dtype)) return (tn_cell){.i = ~tn_cell_lowest(dtype).i};
    return wrap(dtype, UINT64_MAX);
}

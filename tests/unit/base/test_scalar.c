#include "unit/test.h"

#include <math.h>

#include "base/scalar.h"

static tn_cell apply(tn_scalar_op op, tn_dtype dtype, tn_cell a, tn_cell b) {
    return tn_scalar_apply(op, dtype, a, b, (tn_cell){.u = 0});
}

static int64_t apply_int(tn_scalar_op op, tn_dtype dtype, int64_t a, int64_t b) {
    return apply(op, dtype, (tn_cell){.i = a}, (tn_cell){.i = b}).i;
}

static double cast_float(tn_dtype to, double x) {
    return tn_cell_cast(TN_f64, to, (tn_cell){.f = x}).f;
}

static double cast_saturate(tn_dtype to, double x) {
    return tn_cell_cast_saturate(TN_f64, to, (tn_cell){.f = x}).f;
}

static unsigned code_of(tn_dtype dtype, double x) {
    uint16_t code = 0;
    tn_cell_store(dtype, &code, (tn_cell){.f = x});
    return code;
}

static double value_of(tn_dtype dtype, unsigned code) {
    uint16_t bits = (uint16_t)code;
    return tn_cell_load(dtype, &bits).f;
}

static void assert_same(double a, double b) {
    if (isnan(a) || isnan(b))
        assert_true(isnan(a) && isnan(b));
    else
        assert_true(a == b && signbit(a) == signbit(b));
}

/* ---- names ---------------------------------------------------------------------------------- */

static void test_scalar__every_operation_has_a_row(void **state) {
    (void)state;
    for (int i = 0; i < TN_SCALAR_COUNT; i++) {
        tn_scalar_op op = (tn_scalar_op)i, found;
        assert_true(tn_scalar_parse(tn_scalar_name(op), &found));
        assert_int_equal(found, op);
        assert_in_range(tn_scalar_arity(op), 1, 3);
        bool used = false;
        for (int d = 0; d < TN_DTYPE_COUNT; d++) used |= tn_scalar_accepts(op, (tn_dtype)d);
        assert_true(used);
    }
    tn_scalar_op none;
    assert_false(tn_scalar_parse("frobnicate", &none));
    assert_true(tn_scalar_accepts(TN_S_and, TN_bool) && !tn_scalar_accepts(TN_S_add, TN_bool));
    assert_false(tn_scalar_accepts(TN_S_exp, TN_i32));
    assert_string_equal(tn_scalar_domain(TN_S_exp), "a float type");
}

/* Every accepted operation gives a value of the result's type, for every pair of special operands.
 */
static void test_scalar__results_are_in_the_type(void **state) {
    (void)state;
    const double special[] = {0, -0.0, 1, -1, 2, 3, 0.5, 100, -7, INFINITY, -INFINITY, NAN};
    for (int i = 0; i < TN_SCALAR_COUNT; i++) {
        for (int d = 0; d < TN_DTYPE_COUNT; d++) {
            tn_scalar_op op = (tn_scalar_op)i;
            tn_dtype dtype = (tn_dtype)d, result = tn_scalar_gives_flag(op) ? TN_bool : dtype;
            if (!tn_scalar_accepts(op, dtype)) continue;
            for (size_t k = 0; k < TN_COUNT(special) * TN_COUNT(special); k++) {
                tn_cell a = tn_cell_of(dtype, special[k / TN_COUNT(special)]);
                tn_cell b = tn_cell_of(dtype, special[k % TN_COUNT(special)]);
                tn_cell y = tn_scalar_apply(op, dtype, a, b, a), again = tn_cell_round(result, y);
                if (tn_dtype_is_float(result))
                    assert_same(y.f, again.f);
                else
                    assert_int_equal(y.u, again.u);
            }
        }
    }
}

/* ---- integers ------------------------------------------------------------------------------- */

static void test_integer__division_is_total(void **state) {
    (void)state;
    const tn_dtype types[] = {TN_i64, TN_i32, TN_i16, TN_i8, TN_i4, TN_i2};
    for (size_t i = 0; i < TN_COUNT(types); i++) {
        int64_t least = tn_cell_lowest(types[i]).i;
        assert_int_equal(apply_int(TN_S_div, types[i], least, -1), least);
        assert_int_equal(apply_int(TN_S_rem, types[i], least, -1), 0);
        assert_int_equal(apply_int(TN_S_div, types[i], 1, 0), -1);
        assert_int_equal(apply_int(TN_S_rem, types[i], 1, 0), 1);
        assert_int_equal(apply_int(TN_S_neg, types[i], least, 0), least);
        assert_int_equal(apply_int(TN_S_abs, types[i], least, 0), least);
    }
    assert_int_equal(apply_int(TN_S_div, TN_i32, -7, 2), -3);
    assert_int_equal(apply_int(TN_S_rem, TN_i32, -7, 2), -1);
    assert_int_equal(apply_int(TN_S_div, TN_u8, 7, 0), 255);
    assert_int_equal(apply_int(TN_S_rem, TN_u8, 7, 0), 7);
    assert_int_equal((uint64_t)apply_int(TN_S_div, TN_u64, -2, 2), UINT64_MAX / 2);
}

static void test_integer__shifts_are_total(void **state) {
    (void)state;
    assert_int_equal(apply_int(TN_S_shl, TN_i32, 1, 31), INT32_MIN);
    assert_int_equal(apply_int(TN_S_shl, TN_i32, 1, 32), 0);
    assert_int_equal(apply_int(TN_S_shr, TN_i32, -8, 1), -4);
    assert_int_equal(apply_int(TN_S_shr, TN_i32, -8, 32), -1);
    assert_int_equal(apply_int(TN_S_shr, TN_i32, 8, -1), 0);
    assert_int_equal(apply_int(TN_S_shr, TN_u8, 0x80, 7), 1);
    assert_int_equal(apply_int(TN_S_shr, TN_u8, 0x80, 8), 0);
    assert_int_equal(apply_int(TN_S_shl, TN_u4, 0xf, 2), 0xc);
    assert_int_equal(apply_int(TN_S_shl, TN_u64, 1, 64), 0);
}

static void test_integer__arithmetic_wraps(void **state) {
    (void)state;
    assert_int_equal(apply_int(TN_S_add, TN_i8, 127, 1), -128);
    assert_int_equal(apply_int(TN_S_sub, TN_u16, 0, 1), 65535);
    assert_int_equal(apply_int(TN_S_mul, TN_i64, INT64_MAX, 2), -2);
    assert_int_equal(apply_int(TN_S_add, TN_i4, 7, 1), -8);
    assert_int_equal(apply_int(TN_S_pow, TN_i32, 3, 4), 81);
    assert_int_equal(apply_int(TN_S_pow, TN_i32, -1, -3), -1);
    assert_int_equal(apply_int(TN_S_pow, TN_i32, 2, -1), 0);
    assert_int_equal(apply_int(TN_S_pow, TN_u8, 2, 9), 0);
    assert_int_equal(apply_int(TN_S_popcount, TN_i32, -1, 0), 32);
    assert_int_equal(apply_int(TN_S_not, TN_u8, 0x0f, 0), 0xf0);
    assert_int_equal(apply_int(TN_S_not, TN_bool, 1, 0), 0);
    assert_int_equal(apply_int(TN_S_sign, TN_i16, -5, 0), -1);
    tn_cell y = tn_scalar_apply(TN_S_mad, TN_i8, (tn_cell){.i = 100}, (tn_cell){.i = 2},
                                (tn_cell){.i = 60});
    assert_int_equal(y.i, 4);
}

static void test_integer__comparison_minds_the_sign(void **state) {
    (void)state;
    assert_true(apply_int(TN_S_lt, TN_i8, -1, 1) && !apply_int(TN_S_lt, TN_u64, -1, 1));
    assert_int_equal(apply_int(TN_S_max, TN_i64, -1, 1), 1);
    assert_int_equal(apply_int(TN_S_max, TN_u64, -1, 1), -1);
    assert_int_equal(apply_int(TN_S_min, TN_bool, 1, 0), 0);
    assert_true(apply_int(TN_S_ge, TN_i32, 3, 3) && apply_int(TN_S_ne, TN_i32, 3, 4));
}

/* ---- floats --------------------------------------------------------------------------------- */

static void test_float__nan_is_kept_by_max_and_min(void **state) {
    (void)state;
    tn_cell nan = {.f = NAN}, two = {.f = 2};
    assert_true(isnan(apply(TN_S_max, TN_f32, nan, two).f));
    assert_true(isnan(apply(TN_S_max, TN_f32, two, nan).f));
    assert_true(isnan(apply(TN_S_min, TN_f32, two, nan).f));
    assert_true(apply(TN_S_ne, TN_f32, nan, nan).u && !apply(TN_S_eq, TN_f32, nan, nan).u);
    assert_same(apply(TN_S_sign, TN_f64, (tn_cell){.f = -0.0}, two).f, -0.0);
}

/* f32 arithmetic in double must equal the hardware's f32 arithmetic, bit by bit. */
static void test_float__f32_arithmetic_rounds_once(void **state) {
    (void)state;
    uint64_t seed = 3;
    for (int i = 0; i < 200000; i++) {
        uint32_t bits[3];
        float x[3];
        for (int k = 0; k < 3; k++) bits[k] = (uint32_t)test_random(&seed);
        if (i % 2) /* neighbouring exponents, where sums and products cancel */
            for (int k = 0; k < 3; k++) bits[k] = (bits[k] & 0x81ffffffu) | 0x3e000000u;
        memcpy(x, bits, sizeof x);
        tn_cell a = {.f = (double)x[0]}, b = {.f = (double)x[1]}, c = {.f = (double)x[2]};
        assert_same(apply(TN_S_add, TN_f32, a, b).f, (double)(x[0] + x[1]));
        assert_same(apply(TN_S_mul, TN_f32, a, b).f, (double)(x[0] * x[1]));
        assert_same(apply(TN_S_div, TN_f32, a, b).f, (double)(x[0] / x[1]));
        assert_same(apply(TN_S_sqrt, TN_f32, a, b).f, (double)sqrtf(x[0]));
        assert_same(tn_scalar_apply(TN_S_fma, TN_f32, a, b, c).f, (double)fmaf(x[0], x[1], x[2]));
    }
}

/* 2^-24 decides a tie that double alone cannot see: 1 + 2^-24 + 2^-60 rounds up in f32. */
static void test_float__fma_does_not_round_twice(void **state) {
    (void)state;
    tn_cell half_ulp = {.f = 0x1p-24}, above = {.f = 1 + 0x1p-23};
    tn_cell tiny = {.f = 0x1p-60}, one = {.f = 1}, y;
    y = tn_scalar_apply(TN_S_fma, TN_f32, half_ulp, above, one);
    assert_true(y.f == 1 + 0x1p-23);
    y = tn_scalar_apply(TN_S_fma, TN_bf16, (tn_cell){.f = 0x1p-30}, (tn_cell){.f = 0x1p-30},
                        (tn_cell){.f = 1});
    assert_true(y.f == 1);
    y = tn_scalar_apply(TN_S_mad, TN_f64, tiny, tiny, (tn_cell){.f = -0x1p-120});
    assert_true(y.f == 0);
}

static void test_float__round_is_half_to_even(void **state) {
    (void)state;
    const double cases[][2] = {{0.5, 0}, {1.5, 2}, {2.5, 2}, {-0.5, -0.0}, {-2.5, -2}, {3.7, 4}};
    for (size_t i = 0; i < TN_COUNT(cases); i++) {
        tn_cell x = {.f = cases[i][0]};
        assert_same(apply(TN_S_round, TN_f32, x, x).f, cases[i][1]);
    }
}

/* ---- formats -------------------------------------------------------------------------------- */

static void test_format__all_codes_survive_a_round_trip(void **state) {
    (void)state;
    const tn_dtype types[] = {TN_f16,    TN_bf16,       TN_f8e4m3fn, TN_f8e4m3fnuz,
                              TN_f8e5m2, TN_f8e5m2fnuz, TN_f8e8m0,   TN_f4e2m1};
    for (size_t i = 0; i < TN_COUNT(types); i++) {
        for (unsigned code = 0; code < 1u << tn_dtype_bits(types[i]); code++) {
            double x = value_of(types[i], code);
            unsigned again = code_of(types[i], x);
            if (isnan(x))
                assert_true(isnan(value_of(types[i], again)));
            else
                assert_int_equal(again, code);
        }
    }
}

/* Halfway between two neighbours a number goes to the even code; next to it, to the nearer one. */
static void test_format__rounds_to_nearest_even(void **state) {
    (void)state;
    const tn_dtype types[] = {TN_f16,    TN_bf16,       TN_f8e4m3fn, TN_f8e4m3fnuz,
                              TN_f8e5m2, TN_f8e5m2fnuz, TN_f4e2m1};
    for (size_t i = 0; i < TN_COUNT(types); i++) {
        unsigned end = 1u << (tn_dtype_bits(types[i]) - 1);
        for (unsigned code = 0; code + 1 < end; code++) {
            double low = value_of(types[i], code), high = value_of(types[i], code + 1);
            if (!isfinite(low) || !isfinite(high)) break;
            double tie = low + (high - low) / 2;
            assert_int_equal(code_of(types[i], tie), code % 2 ? code + 1 : code);
            assert_int_equal(code_of(types[i], nextafter(tie, 0)), code);
            assert_int_equal(code_of(types[i], nextafter(tie, INFINITY)), code + 1);
            if (code == 0) continue;
            assert_int_equal(code_of(types[i], -nextafter(tie, INFINITY)), (code + 1) | end);
        }
    }
}

static void test_format__known_codes(void **state) {
    (void)state;
    assert_int_equal(code_of(TN_f16, 1), 0x3c00);
    assert_int_equal(code_of(TN_f16, 65519), 0x7bff);
    assert_int_equal(code_of(TN_f16, 65520), 0x7c00);
    assert_int_equal(code_of(TN_f16, 0x1p-25), 0);
    assert_int_equal(code_of(TN_bf16, -3.140625), 0xc049);
    assert_int_equal(code_of(TN_f8e4m3fn, 448), 0x7e);
    assert_int_equal(code_of(TN_f8e4m3fn, 1), 0x38);
    assert_int_equal(code_of(TN_f8e4m3fnuz, 240), 0x7f);
    assert_int_equal(code_of(TN_f8e4m3fnuz, -0.0), 0);
    assert_int_equal(code_of(TN_f8e4m3fnuz, NAN), 0x80);
    assert_int_equal(code_of(TN_f8e5m2, 57344), 0x7b);
    assert_int_equal(code_of(TN_f8e5m2fnuz, 57344), 0x7f);
    assert_int_equal(code_of(TN_f4e2m1, -6), 0xf);
    assert_int_equal(code_of(TN_f4e2m1, 0.75), 0x2);
    assert_int_equal(code_of(TN_f8e8m0, 1), 127);
    /* A double just above a tie must not be rounded to f32 on the way. */
    assert_int_equal(code_of(TN_f16, 1 + 0x1p-11 + 0x1p-50), 0x3c01);
    assert_int_equal(code_of(TN_f16, 1 + 0x1p-11), 0x3c00);
}

/* The two tables of ONNX's Cast (opset 24), row by row. */
static void test_cast__overflow_follows_onnx(void **state) {
    (void)state;
    const struct {
        tn_dtype dtype;
        double max, overflow;
    } rows[] = {
        {TN_f8e4m3fn, 448, NAN},
        {TN_f8e4m3fnuz, 240, NAN},
        {TN_f8e5m2, 57344, INFINITY},
        {TN_f8e5m2fnuz, 57344, NAN},
    };
    for (size_t i = 0; i < TN_COUNT(rows); i++) {
        const double large[] = {INFINITY, 1e6, rows[i].max * 1.2};
        for (size_t k = 0; k < TN_COUNT(large); k++) {
            assert_same(cast_saturate(rows[i].dtype, large[k]), rows[i].max);
            assert_same(cast_saturate(rows[i].dtype, -large[k]), -rows[i].max);
            assert_same(cast_float(rows[i].dtype, large[k]), rows[i].overflow);
            assert_same(cast_float(rows[i].dtype, -large[k]), -rows[i].overflow);
        }
        assert_true(isnan(cast_saturate(rows[i].dtype, NAN)));
        assert_same(tn_cell_highest(rows[i].dtype).f,
                    isinf(rows[i].overflow) ? rows[i].overflow : rows[i].max);
    }
    assert_same(cast_float(TN_f4e2m1, 1e6), 6);
    assert_same(cast_float(TN_f4e2m1, -INFINITY), -6);
    assert_same(cast_float(TN_f4e2m1, NAN), -0.0);
    assert_same(cast_saturate(TN_f16, 1e6), INFINITY);
}

static void test_cast__powers_of_two_follow_onnx(void **state) {
    (void)state;
    assert_same(cast_saturate(TN_f8e8m0, 0), 0x1p-127);
    assert_same(cast_saturate(TN_f8e8m0, 1.1), 2);
    assert_same(cast_saturate(TN_f8e8m0, 0.124), 0.125);
    assert_same(cast_saturate(TN_f8e8m0, INFINITY), 0x1p127);
    assert_same(cast_saturate(TN_f8e8m0, 0x1p-140), 0x1p-127);
    assert_same(cast_float(TN_f8e8m0, 1.49), 1);
    assert_same(cast_float(TN_f8e8m0, 1.5), 2);
    assert_true(isnan(cast_float(TN_f8e8m0, 0)) && isnan(cast_float(TN_f8e8m0, INFINITY)));
    assert_true(isnan(cast_float(TN_f8e8m0, 0x1p128)) && isnan(cast_saturate(TN_f8e8m0, NAN)));
}

/* ---- conversions ---------------------------------------------------------------------------- */

static void test_cast__float_to_integer_saturates(void **state) {
    (void)state;
    const struct {
        tn_dtype to;
        double x;
        int64_t expected;
    } cases[] = {
        {TN_i32, 2.9, 2},
        {TN_i32, -2.9, -2},
        {TN_i32, 1e20, INT32_MAX},
        {TN_i32, -1e20, INT32_MIN},
        {TN_i32, NAN, 0},
        {TN_u8, -3, 0},
        {TN_u8, 300, 255},
        {TN_i64, INFINITY, INT64_MAX},
        {TN_i64, -INFINITY, INT64_MIN},
        {TN_i4, 9, 7},
        {TN_u2, 9, 3},
        {TN_u64, 0x1p63, INT64_MIN},
        {TN_u64, 1e30, -1},
        {TN_bool, NAN, 1},
        {TN_bool, -0.0, 0},
    };
    for (size_t i = 0; i < TN_COUNT(cases); i++)
        assert_int_equal(tn_cell_cast(TN_f64, cases[i].to, (tn_cell){.f = cases[i].x}).i,
                         cases[i].expected);
}

static void test_cast__integer_to_integer_wraps(void **state) {
    (void)state;
    assert_int_equal(tn_cell_cast(TN_i16, TN_i8, (tn_cell){.i = 200}).i, -56);
    assert_int_equal(tn_cell_cast(TN_i32, TN_u4, (tn_cell){.i = -1}).i, 15);
    assert_int_equal(tn_cell_cast(TN_i32, TN_i2, (tn_cell){.i = 2}).i, -2);
    assert_int_equal(tn_cell_cast(TN_i8, TN_u64, (tn_cell){.i = -1}).i, -1);
    assert_int_equal(tn_cell_cast(TN_i32, TN_bool, (tn_cell){.i = 256}).u, 1);
}

static void test_cast__large_integers_round_once(void **state) {
    (void)state;
    uint64_t seed = 9;
    for (int i = 0; i < 100000; i++) {
        int64_t x = (int64_t)(test_random(&seed) >> (test_random(&seed) % 64));
        if (i % 2) x = (int64_t)(0 - (uint64_t)x);
        assert_same(tn_cell_cast(TN_i64, TN_f32, (tn_cell){.i = x}).f, (double)(float)x);
        assert_same(tn_cell_cast(TN_u64, TN_f32, (tn_cell){.i = x}).f, (double)(float)(uint64_t)x);
    }
    /* 2^62 + half of bf16's last place + 1: only the last bit breaks the tie. */
    int64_t x = (1ll << 62) + (1ll << 54) + 1;
    assert_true(tn_cell_cast(TN_i64, TN_bf16, (tn_cell){.i = x}).f == 0x1p62 + 0x1p55);
    assert_true(tn_cell_cast(TN_i64, TN_bf16, (tn_cell){.i = x - 1}).f == 0x1p62);
}

static void test_cell__small_integers_take_the_low_bits(void **state) {
    (void)state;
    uint8_t byte = 0xf9;
    assert_int_equal(tn_cell_load(TN_i4, &byte).i, -7);
    assert_int_equal(tn_cell_load(TN_u4, &byte).i, 9);
    assert_int_equal(tn_cell_load(TN_u2, &byte).i, 1);
    tn_cell_store(TN_i4, &byte, (tn_cell){.i = -1});
    assert_int_equal(byte, 0xff);
    tn_cell_store(TN_u4, &byte, (tn_cell){.i = -1});
    assert_int_equal(byte, 0x0f);
    assert_int_equal(tn_cell_lowest(TN_i2).i, -2);
    assert_int_equal(tn_cell_highest(TN_u4).u, 15);
    assert_int_equal(tn_cell_of_int(TN_i8, 130).i, -126);
    assert_true(tn_cell_of(TN_f16, 0.1).f == 0.0999755859375);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scalar__every_operation_has_a_row),
        cmocka_unit_test(test_scalar__results_are_in_the_type),
        cmocka_unit_test(test_integer__division_is_total),
        cmocka_unit_test(test_integer__shifts_are_total),
        cmocka_unit_test(test_integer__arithmetic_wraps),
        cmocka_unit_test(test_integer__comparison_minds_the_sign),
        cmocka_unit_test(test_float__nan_is_kept_by_max_and_min),
        cmocka_unit_test(test_float__f32_arithmetic_rounds_once),
        cmocka_unit_test(test_float__fma_does_not_round_twice),
        cmocka_unit_test(test_float__round_is_half_to_even),
        cmocka_unit_test(test_format__all_codes_survive_a_round_trip),
        cmocka_unit_test(test_format__rounds_to_nearest_even),
        cmocka_unit_test(test_format__known_codes),
        cmocka_unit_test(test_cast__overflow_follows_onnx),
        cmocka_unit_test(test_cast__powers_of_two_follow_onnx),
        cmocka_unit_test(test_cast__float_to_integer_saturates),
        cmocka_unit_test(test_cast__integer_to_integer_wraps),
        cmocka_unit_test(test_cast__large_integers_round_once),
        cmocka_unit_test(test_cell__small_integers_take_the_low_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

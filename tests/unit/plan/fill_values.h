/* What the inputs and constants of graphs in tests hold. */
#ifndef TENON_TESTS_FILL_VALUES_H
#define TENON_TESTS_FILL_VALUES_H

#include <math.h>

#include "base/array.h"
#include "unit/test.h"

/* Floats are multiples of 1/4, so that short sums and products are exact. */
static inline void fill_small(tn_array *a, uint64_t seed) {
    for (int64_t i = 0; i < tn_array_count(a); i++) {
        int64_t n = (int64_t)(test_random(&seed) % 17) - 8;
        bool is_float = tn_dtype_is_float(a->dtype);
        if (a->dtype == TN_bool || tn_dtype_bits(a->dtype) < 4) n &= 1;
        tn_array_set(a, i,
                     is_float                       ? tn_cell_of(a->dtype, (double)n / 4)
                     : tn_dtype_is_signed(a->dtype) ? tn_cell_of_int(a->dtype, n)
                                                    : tn_cell_of_int(a->dtype, n < 0 ? -n : n));
    }
}

static inline void fill_random(tn_array *a, uint64_t seed) {
    uint64_t state = seed * 0x9e3779b97f4a7c15u + 1;
    for (int64_t i = 0; i < tn_array_count(a); i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        double u = (double)(state >> 33) / 2147483648.0;
        tn_array_set(a, i,
                     tn_dtype_is_float(a->dtype) ? tn_cell_of(a->dtype, 2 * u - 1)
                                                 : tn_cell_of_int(a->dtype, (int64_t)(u * 4)));
    }
}

/* ---- where types end ------------------------------------------------------------------------ */

/* Inputs named so hold what fill_edge() gives. */
#define FILL_EDGE ": edge"

static inline bool fill_is_edge(const char *name) {
    return name && strstr(name, FILL_EDGE);
}

/* Bits that make a subnormal, the least normal and the greatest number, as often as they are drawn. */
static inline void fill_bits(tn_array *a, int64_t i, uint64_t random) {
    static const uint64_t patterns[] = {1,
                                        2,
                                        0x7f,
                                        0x80,
                                        0x3ff,
                                        0x400,
                                        0x7bff,
                                        0x7f7f,
                                        0x7fffff,
                                        0x800000,
                                        0x7f7fffff,
                                        0xfffffffffffff,
                                        0x10000000000000,
                                        0x7fefffffffffffff};
    size_t size = tn_dtype_size(a->dtype);
    uint64_t bits = patterns[random % TN_COUNT(patterns)];
    if (random >> 20 & 1) bits ^= (uint64_t)1 << (tn_dtype_bits(a->dtype) - 1);
    if (tn_dtype_bits(a->dtype) < 8) bits &= 7;
    memcpy((char *)a->data + (size_t)i * size, &bits, size);
}

static inline void fill_edge_float(tn_array *a, int64_t i, uint64_t random, bool infinite) {
    static const double numbers[] = {0.0,
                                     -0.0,
                                     1,
                                     -1,
                                     0.5,
                                     -3,
                                     3.14159265358979,
                                     1e-3,
                                     100,
                                     -1e4,
                                     0x1p60,
                                     -0x1p100,
                                     0x1p-40,
                                     88.5,
                                     -104,
                                     65504,
                                     2147483648.0,
                                     -9.3e18,
                                     INFINITY,
                                     -INFINITY,
                                     NAN};
    uint32_t end = TN_COUNT(numbers) - (infinite ? 0 : 3);
    double uniform = (double)(random >> 11) * 0x1p-53;
    if (random % 8 < 4)
        tn_array_set(a, i, tn_cell_of(a->dtype, 4 * uniform - 2));
    else if (random % 8 < 7)
        tn_array_set(a, i, tn_cell_of(a->dtype, numbers[(random >> 8) % end]));
    else
        fill_bits(a, i, random >> 3);
}

static inline void fill_edge_integer(tn_array *a, int64_t i, uint64_t random) {
    int bits = tn_dtype_bits(a->dtype);
    int64_t least = tn_cell_lowest(a->dtype).i, most = tn_cell_highest(a->dtype).i;
    const int64_t numbers[] = {0, 1, -1, 2, 3, least, most, least + 1, most - 1, bits, bits - 1};
    int64_t n =
        random % 4 == 0 ? (int64_t)(random >> 3) : numbers[(random >> 8) % TN_COUNT(numbers)];
    tn_array_set(a, i, tn_cell_of_int(a->dtype, random % 4 == 1 ? (int64_t)(random >> 8) % 8 : n));
}

/* Half uniform numbers, half the ends of the type: signed zeros, subnormals, the least and greatest, and in
 * every other array infinities and NaN. */
static inline void fill_edge(tn_array *a, uint64_t seed) {
    bool infinite = test_random(&seed) >> 40 & 1;
    for (int64_t i = 0; i < tn_array_count(a); i++) {
        uint64_t random = test_random(&seed) ^ test_random(&seed) >> 31;
        if (a->dtype == TN_bool)
            tn_array_set(a, i, tn_cell_of_int(TN_bool, random & 1));
        else if (tn_dtype_is_float(a->dtype))
            fill_edge_float(a, i, random, infinite);
        else
            fill_edge_integer(a, i, random);
    }
}

#endif

/* What the inputs of sample graphs hold, told by their names: "x: lo to hi" uniform numbers (nothing: -1
 * to 1), "x: apart" numbers that differ by 0.05 at least, "x: = a b c" these, from the first
 * one again where there are more elements. */
#ifndef TENON_TESTS_SAMPLE_VALUES_H
#define TENON_TESTS_SAMPLE_VALUES_H

#include "unit/test.h"

#include "base/array.h"

#include <stdlib.h>

typedef struct sample_values {
    uint64_t seed;
    int apart; /* how many numbers of that kind were given out */
} sample_values;

/* From -2 to 3, at least 0.05 from 0, no two the same for the first 101. */
static inline double sample_apart(sample_values *s) {
    return (double)(s->apart++ * 37 % 101) * 0.05 - 2.02;
}

/* What follows the name; NULL: nothing. */
static inline const char *sample_kind(const char *name) {
    const char *kind = name ? strchr(name, ':') : NULL;
    return kind ? kind + strspn(kind, ": ") : NULL;
}

static inline bool sample_is_list(const char *name) {
    const char *kind = sample_kind(name);
    return kind && kind[0] == '=';
}

/* A list again and again, as often as it fits. */
static inline void sample_fill_list(const char *name, tn_array *a) {
    const char *first = sample_kind(name) + 1, *list = first;
    int64_t numbers = 0, count = tn_array_count(a);
    for (int64_t i = 0; i < count; i++) {
        char *end;
        double value = strtod(list, &end);
        if (end == list && i > 0) {
            if (!numbers) numbers = i;
            value = strtod(first, &end);
        }
        tn_array_set(a, i, tn_cell_of(a->dtype, value));
        list = end;
    }
    if (numbers && count % numbers != 0) fail_msg("input '%s' has too few numbers", name);
}

/* Between the numbers of the kind, both included for integers. */
static inline double sample_number(sample_values *s, const tn_array *a, double lo, double hi) {
    uint64_t bits = test_random(&s->seed);
    if (!tn_dtype_is_float(a->dtype)) return lo + (double)(bits >> 8) * 0x1p-56 * (hi - lo + 1);
    return lo + (hi - lo) * ((double)(bits >> 11) * 0x1p-53);
}

static inline void sample_fill(sample_values *s, const char *name, tn_array *a) {
    const char *kind = sample_kind(name);
    bool apart = kind && !strcmp(kind, "apart");
    double lo = -1, hi = 1;
    if (sample_is_list(name)) {
        sample_fill_list(name, a);
        return;
    }
    if (kind && !apart && sscanf(kind, "%lf to %lf", &lo, &hi) != 2)
        fail_msg("an input holds '%s'", kind);
    for (int64_t i = 0; i < tn_array_count(a); i++) {
        double x = apart ? sample_apart(s) : sample_number(s, a, lo, hi);
        bool whole = !tn_dtype_is_float(a->dtype);
        tn_array_set(a, i, tn_cell_of(a->dtype, whole ? floor(x) : x));
    }
}

#endif

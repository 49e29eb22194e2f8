/* Comparing arrays. See compare.h. */
#include "cli/compare.h"

#include <math.h>
#include <stdio.h>

static double number(tn_dtype dtype, tn_cell cell) {
    if (tn_dtype_is_float(dtype)) return cell.f;
    return tn_dtype_is_signed(dtype) ? (double)cell.i : (double)cell.u;
}

/* The bits of a float without its sign, which is set in *negative: neighbours differ by one. */
static uint64_t magnitude(tn_dtype dtype, tn_cell cell, bool *negative) {
    uint64_t bits = 0;
    tn_cell_store(dtype, &bits, cell); /* little-endian */
    *negative = false;
    if (dtype == TN_f8e8m0) return bits;
    uint64_t sign = (uint64_t)1 << (tn_dtype_bits(dtype) - 1);
    *negative = bits & sign;
    return bits & (sign - 1);
}

double cli_ulp(tn_dtype dtype, tn_cell a, tn_cell b) {
    if (tn_dtype_is_signed(dtype)) {
        uint64_t x = (uint64_t)a.i, y = (uint64_t)b.i;
        return (double)(a.i > b.i ? x - y : y - x);
    }
    if (!tn_dtype_is_float(dtype)) return (double)(a.u > b.u ? a.u - b.u : b.u - a.u);
    if (isnan(a.f) || isnan(b.f)) return isnan(a.f) && isnan(b.f) ? 0 : INFINITY;
    bool a_negative, b_negative;
    uint64_t x = magnitude(dtype, a, &a_negative), y = magnitude(dtype, b, &b_negative);
    if (a_negative != b_negative) return (double)x + (double)y;
    return (double)(x > y ? x - y : y - x);
}

static bool close_enough(tn_dtype dtype, tn_cell expected, tn_cell actual, double ulp,
                         const cli_tolerance *t) {
    if (!isnan(t->max_ulp) && ulp > t->max_ulp) return false;
    if (ulp == 0) return true;
    double x = number(dtype, expected), y = number(dtype, actual);
    if (isinf(x) || isinf(y) || isnan(x) || isnan(y)) return x == y;
    return fabs(y - x) <= t->atol + t->rtol * fabs(x);
}

/* NaN stays. */
static double larger_error(double most, double x, double y) {
    double error = fabs(y - x);
    return isnan(most) || isnan(error) ? NAN : fmax(most, error);
}

void cli_compare(const tn_array *expected, const tn_array *actual, const cli_tolerance *t,
                 cli_difference *out) {
    tn_dtype dtype = expected->dtype;
    *out = (cli_difference){.equal = true, .count = tn_array_count(expected)};
    for (int64_t i = 0; i < out->count; i++) {
        tn_cell x = tn_array_get(expected, i), y = tn_array_get(actual, i);
        double ulp = cli_ulp(dtype, x, y);
        out->max_ulp = fmax(out->max_ulp, ulp);
        if (ulp > 0)
            out->max_error = larger_error(out->max_error, number(dtype, x), number(dtype, y));
        if (close_enough(dtype, x, y, ulp, t)) continue;
        if (out->equal) {
            out->first = i;
            out->expected = number(dtype, x);
            out->actual = number(dtype, y);
        }
        out->equal = false;
        out->beyond++;
    }
}

void cli_difference_text(const tn_array *a, const cli_difference *d, char *out, size_t size) {
    char place[256] = "";
    int64_t rest = d->first, index[TN_MAX_RANK];
    for (int i = a->rank - 1; i >= 0; i--) {
        index[i] = rest % a->dim[i];
        rest /= a->dim[i];
    }
    int used = 0;
    for (int i = 0; i < a->rank; i++)
        used += snprintf(place + used, sizeof place - (size_t)used, i ? ",%lld" : "%lld",
                         (long long)index[i]);
    snprintf(out, size, "element [%s]: expected %.9g, got %.9g (%lld of %lld differ, max %.6g ULP)",
             place, d->expected, d->actual, (long long)d->beyond, (long long)d->count, d->max_ulp);
}

/* Two arrays that should be equal: how far apart they are, and where. */
#ifndef TENON_CLI_COMPARE_H
#define TENON_CLI_COMPARE_H

#include "base/array.h"

typedef struct cli_tolerance {
    double rtol, atol;
    double max_ulp; /* NAN: no limit */
} cli_tolerance;

typedef struct cli_difference {
    bool equal;            /* within the tolerance everywhere */
    double max_ulp;        /* infinite where only one is NaN */
    double max_error;      /* |actual − expected|; NaN where only one is NaN */
    int64_t beyond, count; /* elements outside of the tolerance, elements */
    int64_t first;         /* of them, row-major */
    double expected, actual;
} cli_difference;

/* |actual − expected| ≤ atol + rtol · |expected|; NaN equals NaN. Types and shapes must agree. */
void cli_compare(const tn_array *expected, const tn_array *actual, const cli_tolerance *t,
                 cli_difference *out);
/* Distance in units in the last place of `dtype`; integers: the plain difference. */
double cli_ulp(tn_dtype dtype, tn_cell a, tn_cell b);
/* "element [0,3]: expected 1, got 2 (3 of 10 differ, max 4 ULP)" */
void cli_difference_text(const tn_array *a, const cli_difference *d, char *out, size_t size);

#endif

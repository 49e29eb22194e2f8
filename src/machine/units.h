/* Quantities of JSON files: "12.8 GB/s", {"value": 12.8, "unit": "GB/s", "source": "…"}, or a bare number in the
 * SI unit. */
#ifndef TENON_MACHINE_UNITS_H
#define TENON_MACHINE_UNITS_H

#include <jansson.h>

#include "base/base.h"

typedef enum tn_dimension {
    TN_DIMENSION_COUNT,         /* a positive integer */
    TN_DIMENSION_COUNT_OR_NONE, /* or zero */
    TN_DIMENSION_SHARE,         /* above 0, at most 1 */
    TN_DIMENSION_RATE,          /* MAC/s */
    TN_DIMENSION_BYTES,
    TN_DIMENSION_BANDWIDTH, /* B/s */
    TN_DIMENSION_FREQUENCY, /* Hz */
    TN_DIMENSION_TIME,      /* s */
    TN_DIMENSION_ENERGY,    /* J */
    TN_DIMENSION_BIT_ENERGY,
    TN_DIMENSION_AREA, /* mm² */
    TN_DIMENSION_BYTE_AREA,
} tn_dimension;

/* `path` names the value in messages ("memory.bandwidth"). Positive and finite; energies, times, areas and
 * COUNT_OR_NONE may be zero. */
tn_status tn_quantity_read(const json_t *v, tn_dimension dimension, const char *path, double *out,
                           tn_error *err);
/* The units that a dimension knows: "B, KB, …"; "" for counts and shares. */
void tn_dimension_units(tn_dimension dimension, char *out, size_t size);

#endif

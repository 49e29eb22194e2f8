/* Units of quantities in descriptions. See units.h. */
#include "machine/units.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const struct {
    tn_dimension dimension;
    const char *name;
    double factor; /* to the SI unit */
} units[] = {
    {TN_DIMENSION_RATE, "MAC/s", 1},
    {TN_DIMENSION_RATE, "GMAC/s", 1e9},
    {TN_DIMENSION_RATE, "TMAC/s", 1e12},
    {TN_DIMENSION_BYTES, "B", 1},
    {TN_DIMENSION_BYTES, "KB", 1e3},
    {TN_DIMENSION_BYTES, "MB", 1e6},
    {TN_DIMENSION_BYTES, "GB", 1e9},
    {TN_DIMENSION_BYTES, "KiB", 1024.0},
    {TN_DIMENSION_BYTES, "MiB", 1048576.0},
    {TN_DIMENSION_BYTES, "GiB", 1073741824.0},
    {TN_DIMENSION_BANDWIDTH, "B/s", 1},
    {TN_DIMENSION_BANDWIDTH, "MB/s", 1e6},
    {TN_DIMENSION_BANDWIDTH, "GB/s", 1e9},
    {TN_DIMENSION_BANDWIDTH, "TB/s", 1e12},
    {TN_DIMENSION_FREQUENCY, "Hz", 1},
    {TN_DIMENSION_FREQUENCY, "MHz", 1e6},
    {TN_DIMENSION_FREQUENCY, "GHz", 1e9},
    {TN_DIMENSION_TIME, "s", 1},
    {TN_DIMENSION_TIME, "us", 1e-6},
    {TN_DIMENSION_TIME, "ns", 1e-9},
    {TN_DIMENSION_ENERGY, "J", 1},
    {TN_DIMENSION_ENERGY, "nJ", 1e-9},
    {TN_DIMENSION_ENERGY, "pJ", 1e-12},
    {TN_DIMENSION_BIT_ENERGY, "J/bit", 1},
    {TN_DIMENSION_BIT_ENERGY, "pJ/bit", 1e-12},
    {TN_DIMENSION_AREA, "mm2", 1},
    {TN_DIMENSION_BYTE_AREA, "mm2/B", 1},
    {TN_DIMENSION_BYTE_AREA, "mm2/MB", 1e-6},
    {TN_DIMENSION_BYTE_AREA, "mm2/MiB", 1.0 / 1048576.0},
};

void tn_dimension_units(tn_dimension dimension, char *out, size_t size) {
    size_t used = 0;
    if (size) out[0] = 0;
    for (size_t i = 0; i < TN_COUNT(units) && used < size; i++)
        if (units[i].dimension == dimension)
            used +=
                (size_t)snprintf(out + used, size - used, "%s%s", used ? ", " : "", units[i].name);
}

static tn_status read_unit(const char *unit, tn_dimension dimension, const char *path,
                           double *factor, tn_error *err) {
    char known[128];
    for (size_t i = 0; i < TN_COUNT(units); i++) {
        if (units[i].dimension != dimension || strcmp(units[i].name, unit) != 0) continue;
        *factor = units[i].factor;
        return TN_OK;
    }
    tn_dimension_units(dimension, known, sizeof known);
    if (!known[0])
        return tn_error_set(err, TN_INVALID, "%s has unit '%s', but it is a number without a unit",
                            path, unit);
    return tn_error_set(err, TN_INVALID, "%s has unit '%s'; %s are known", path, unit, known);
}

static bool zero_allowed(tn_dimension d) {
    return d == TN_DIMENSION_COUNT_OR_NONE || d == TN_DIMENSION_TIME || d == TN_DIMENSION_ENERGY ||
           d == TN_DIMENSION_BIT_ENERGY || d == TN_DIMENSION_AREA || d == TN_DIMENSION_BYTE_AREA;
}

static const double MOST = 1e30; /* of any quantity: products of three of them stay finite */

static tn_status check_range(double v, tn_dimension d, const char *path, tn_error *err) {
    bool count = d == TN_DIMENSION_COUNT || d == TN_DIMENSION_COUNT_OR_NONE;
    if (!isfinite(v) || v < 0 || (v == 0 && !zero_allowed(d)))
        return tn_error_set(err, TN_INVALID, "%s is %g; it must be finite and %s", path, v,
                            zero_allowed(d) ? "not negative" : "above 0");
    if (d == TN_DIMENSION_SHARE && v > 1)
        return tn_error_set(err, TN_INVALID, "%s is %g; a share is at most 1", path, v);
    if (count && (v != floor(v) || v > 1e6))
        return tn_error_set(err, TN_INVALID, "%s is %g; it counts something (at most 10⁶)", path,
                            v);
    if (v > MOST || (v > 0 && v < 1 / MOST))
        return tn_error_set(err, TN_INVALID, "%s is %g; no machine has that: 10⁻³⁰ to 10³⁰", path,
                            v);
    return TN_OK;
}

tn_status tn_quantity_read(const json_t *v, tn_dimension dimension, const char *path, double *out,
                           tn_error *err) {
    double factor = 1, value;
    if (json_is_object(v)) {
        const json_t *unit = json_object_get(v, "unit"), *number = json_object_get(v, "value");
        if (!json_is_number(number) || (unit && !json_is_string(unit)))
            return tn_error_set(err, TN_INVALID,
                                "%s: an object needs a number 'value' and a text 'unit'", path);
        if (unit) TN_CHECK(read_unit(json_string_value(unit), dimension, path, &factor, err));
        value = json_number_value(number);
    } else if (json_is_string(v)) {
        char *end;
        const char *text = json_string_value(v);
        value = strtod(text, &end);
        if (end == text)
            return tn_error_set(err, TN_INVALID, "%s is '%s'; a number comes first", path, text);
        while (*end == ' ') end++;
        if (*end) TN_CHECK(read_unit(end, dimension, path, &factor, err));
    } else if (json_is_number(v)) {
        value = json_number_value(v);
    } else {
        return tn_error_set(
            err, TN_INVALID,
            "%s is neither a number, nor a text such as \"12.8 GB/s\", nor an object "
            "with value and unit",
            path);
    }
    *out = value * factor;
    return check_range(*out, dimension, path, err);
}

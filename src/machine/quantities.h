/* The quantities of a machine as a table: names, types, dimensions, places (description.def). */
#ifndef TENON_MACHINE_QUANTITIES_H
#define TENON_MACHINE_QUANTITIES_H

#include <tenon/machine.h>

#include "machine/units.h"

typedef enum tn_quantity_type { TN_QUANTITY_int, TN_QUANTITY_double } tn_quantity_type;

typedef struct tn_quantity {
    const char *section, *member;
    tn_quantity_type type;
    tn_dimension dimension;
    bool required;
    size_t offset; /* in tn_machine */
    const char *meaning;
} tn_quantity;

enum {
    TN_QUANTITY_COUNT = 0
#define QUANTITY(section, member, type, dimension, required, meaning) +1
#include "machine/description.def"
};
extern const tn_quantity tn__quantities[TN_QUANTITY_COUNT];

void tn_quantity_set(tn_machine *m, const tn_quantity *q, double value);
double tn_quantity_get(const tn_machine *m, const tn_quantity *q);
/* All of them in the order of the table; returns their number. */
int tn_machine_quantities(const tn_machine *m, double out[TN_QUANTITY_COUNT]);

#endif

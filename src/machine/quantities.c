/* The quantities of a machine as a table. See quantities.h. */
#include "machine/quantities.h"

#include <stddef.h>

const tn_quantity tn__quantities[TN_QUANTITY_COUNT] = {
#define QUANTITY(section, member, type, dimension, required, meaning)                              \
    {#section,                                                                                     \
     #member,                                                                                      \
     TN_QUANTITY_##type,                                                                           \
     TN_DIMENSION_##dimension,                                                                     \
     required,                                                                                     \
     offsetof(tn_machine, section.member),                                                         \
     meaning},
#include "machine/description.def"
};

void tn_quantity_set(tn_machine *m, const tn_quantity *q, double value) {
    char *at = (char *)m + q->offset;
    if (q->type == TN_QUANTITY_int)
        *(int *)(void *)at = (int)value;
    else
        *(double *)(void *)at = value;
}

double tn_quantity_get(const tn_machine *m, const tn_quantity *q) {
    const char *at = (const char *)m + q->offset;
    return q->type == TN_QUANTITY_int ? *(const int *)(const void *)at
                                      : *(const double *)(const void *)at;
}

int tn_machine_quantities(const tn_machine *m, double out[TN_QUANTITY_COUNT]) {
    for (int i = 0; i < TN_QUANTITY_COUNT; i++) out[i] = tn_quantity_get(m, &tn__quantities[i]);
    return TN_QUANTITY_COUNT;
}

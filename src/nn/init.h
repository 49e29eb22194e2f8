/* Initial values of parameters. See tenon/nn.h. */
#ifndef TENON_NN_INIT_H
#define TENON_NN_INIT_H

#include <tenon/nn.h>

#include "base/array.h"

/* Whether the values can be drawn for this type and shape. */
tn_status tn__init_check(const tn_init *init, tn_dtype dtype, int rank, const int64_t *dim,
                         tn_error *err);
/* Element n depends on the key and n alone. The array was checked. */
void tn__init_fill(const tn_init *init, uint64_t key, tn_array *out);

#endif

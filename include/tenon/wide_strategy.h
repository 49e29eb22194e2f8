/* What becomes of an operation where N members run as one program; see <tenon/wide.h>, <tenon/population.h>. */
#ifndef TENON_WIDE_STRATEGY_H
#define TENON_WIDE_STRATEGY_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How an operation of one member is done for all of a group, or of a population. */
typedef enum tn_wide_strategy {
    TN_WIDE_ONCE,     /* nothing of it depends on the member */
    TN_WIDE_ROWS,     /* weights are shared: members are further rows of one product */
    TN_WIDE_COLUMNS,  /* the input is shared: members are further columns of one product */
    TN_WIDE_BATCHED,  /* a product, a convolution for each member, in one kernel */
    TN_WIDE_ELEMENTS, /* members are one more axis of a kernel without products */
    TN_WIDE_LOOP,     /* a loop over members, or pieces of them, with other operations */
    TN_WIDE_ALONE,    /* a group of one member, which is its model's own program */
} tn_wide_strategy;
typedef struct tn_wide_node_info {
    const char *node, *op; /* of the first member's model; of a population the place of the call */
    tn_wide_strategy strategy;
    int64_t piece; /* members of a turn of the loop; else all */
} tn_wide_node_info;

#ifdef __cplusplus
}
#endif

#endif

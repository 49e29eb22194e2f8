/* Packing an operand that is contiguous along k into rows along n: square tiles turned in registers
 * instead of one gather per row. */
#ifndef TENON_CODEGEN_PACK_TURNED_H
#define TENON_CODEGEN_PACK_TURNED_H

#include "loop/loop.h"

typedef struct tn_turned_pack {
    tn_loop *k;
    tn_dtype dtype;     /* of the packed elements */
    uint32_t lanes, nr; /* of a vector; of a row, a multiple */
    uint32_t to;        /* the buffer: element (x, j) goes to base + x * nr + j */
    tn_lx base, count;  /* rows */
    /* The element at k = x, column j; one of the two follows the lane. */
    tn_lx (*element)(void *context, tn_lx x, tn_lx j);
    void *context;
} tn_turned_pack;

void tn_pack_turned(const tn_turned_pack *p);

#endif

/* What members must have in common: the graph that their outputs are computed by, with its attributes, its
 * sizes and the types of its weights. Names of nodes and weights do not count, nor their order in the
 * file. */
#ifndef TENON_WIDE_STRUCTURE_H
#define TENON_WIDE_STRUCTURE_H

#include "import/import.h"

typedef struct tn__structure {
    const tn_import *import; /* with weights as inputs, and a graph */
    TN_VEC(tn_node)
    order;         /* what outputs depend on: operands first, then as outputs come to them */
    tn_node *user; /* per node: the first one that reads it; UINT32_MAX */
    TN_VEC(uint32_t) weights; /* those that are read (numbers in the import), as `order` has them */
    TN_VEC(tn_value)
    settings;        /* float constants of the file beside these: also each member's own */
    tn_hash128 *key; /* per place in `order`: equal where the nodes are */
    tn_hash128 hash; /* of ports and all keys */
} tn__structure;

/* Everything lives in `arena`; borrows the import. Unwinds when memory runs out. */
void tn__structure_of(const tn_import *import, tn_arena *arena, tn__structure *out);
/* The first difference of `b`: "node 'act1': Gelu instead of Relu", what `a` has behind "instead of";
 * false when they are equal. */
bool tn__structure_difference(const tn__structure *a, const tn__structure *b, tn_str *out);

#endif

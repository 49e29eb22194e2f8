/* Nodes that look alike: equal operations, sizes and neighbours up to a few steps away. A graph of many
 * equal layers has few kinds of nodes; what is decided for one holds for all of its kind. */
#ifndef TENON_SCHEDULE_ALIKE_H
#define TENON_SCHEDULE_ALIKE_H

#include "ir/graph.h"

/* Per node: the first node of its kind (Weisfeiler and Leman's colour refinement, three rounds; the
 * contents of constants do not matter). */
const uint32_t *tn__alike(const tn_graph *g, tn_arena *arena);

#endif

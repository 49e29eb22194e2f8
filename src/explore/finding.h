/* What exploration found, as a table. */
#ifndef TENON_EXPLORE_FINDING_H
#define TENON_EXPLORE_FINDING_H

#include <tenon/explore.h>

/* Room for `count` machines, none of them there yet; NULL: out of memory. */
tn_finding *tn__finding_new(int64_t count, int part_count);
/* Where machine `i` has its solutions. */
tn_solution *tn__finding_parts(tn_finding *f, int64_t i);
/* Marks the Pareto front, and sorts: best first. */
void tn__finding_rank(tn_finding *f);

#endif

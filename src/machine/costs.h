/* What moving and computing cost on a machine: the few rates by which plans are compared. */
#ifndef TENON_MACHINE_COSTS_H
#define TENON_MACHINE_COSTS_H

#include "machine/measure.h"

typedef struct tn_costs {
    double memory;       /* bytes a second, read or written, of what no cache holds */
    double cache;        /* the same of what the core's own cache holds */
    double points;       /* simple element-wise operations a second */
    double launch;       /* seconds from one kernel to the next */
    double cached_bytes; /* a tensor of at most so many is in the core's own cache */
    double
        shared_bytes; /* of so many bytes that one kernel moves, the next finds its part in a cache */
} tn_costs;

/* A core of a common server, for machines that were not measured. */
tn_costs tn_costs_default(void);
/* All cores of a machine that was. */
tn_costs tn_costs_measured(const tn_roofs *r);

#endif

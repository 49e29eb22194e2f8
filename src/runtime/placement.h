/* Which core a worker of a pool runs on, where the system's own choice is poor. Hints only: a system may
 * refuse them.
 *
 * A system that starts or wakes a thread may put it on the core of the one who does so, which is about to
 * compute (in a virtual machine Linux does, because it takes an idle core for one that the host has taken
 * away). And a thread that waits for a core beside another process may wait while its pool's other core
 * idles. */
#ifndef TENON_RUNTIME_PLACEMENT_H
#define TENON_RUNTIME_PLACEMENT_H

#include <pthread.h>
#include <sched.h>

/* The cores that the calling thread may use, and those it starts. */
typedef struct tn_placement {
    cpu_set_t cores;
} tn_placement;

void tn_placement_init(tn_placement *p);
/* The core the calling thread is on; -1: not known. */
int tn_placement_core(void);
/* The thread runs on any of the cores but this one. */
void tn_placement_avoid(const tn_placement *p, pthread_t thread, int core);
/* The thread runs on this core only, until it is to avoid one. */
void tn_placement_bring(const tn_placement *p, pthread_t thread, int core);

#endif

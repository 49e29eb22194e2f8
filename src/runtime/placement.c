/* See placement.h. */
#include "runtime/placement.h"

#include <stdbool.h>

void tn_placement_init(tn_placement *p) {
    if (sched_getaffinity(0, sizeof p->cores, &p->cores) != 0) CPU_ZERO(&p->cores);
}

int tn_placement_core(void) {
    return sched_getcpu();
}

static bool is_allowed(const tn_placement *p, int core) {
    return core >= 0 && core < CPU_SETSIZE && CPU_ISSET((size_t)core, &p->cores);
}

void tn_placement_avoid(const tn_placement *p, pthread_t thread, int core) {
    if (!is_allowed(p, core)) return;
    cpu_set_t others = p->cores;
    CPU_CLR((size_t)core, &others);
    if (CPU_COUNT(&others) > 0) (void)pthread_setaffinity_np(thread, sizeof others, &others);
}

void tn_placement_bring(const tn_placement *p, pthread_t thread, int core) {
    if (!is_allowed(p, core)) return;
    cpu_set_t only;
    CPU_ZERO(&only);
    CPU_SET((size_t)core, &only);
    (void)pthread_setaffinity_np(thread, sizeof only, &only);
}

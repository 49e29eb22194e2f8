/* How many cores this process may use. */
#ifndef TENON_BASE_CORES_H
#define TENON_BASE_CORES_H

/* At least 1: the affinity mask of the process, limited by the cgroup's CPU quota (rounded up). */
int tn_cores(void);

#endif

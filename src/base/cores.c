/* Cores allowed by affinity and by the quotas of the cgroup and its ancestors (v2 and v1). */
#include "base/cores.h"

#include <sched.h>
#include <stdio.h>
#include <unistd.h>

#include "base/cgroup.h"

static int affinity_cores(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (int)online : 1;
}

/* Cores that `quota` microseconds in every `period` make; 0: no limit. */
static int quota_cores(long quota, long period) {
    if (quota <= 0 || period <= 0) return 0;
    return (int)TN_MIN((quota + period - 1) / period, 1 << 20);
}

static int folder_cores(const char *folder, bool unified) {
    char line[128];
    long quota = 0, period = 0;
    if (unified) {
        if (!tn_cgroup_line(folder, "cpu.max", line, sizeof line) ||
            sscanf(line, "%ld %ld", &quota, &period) != 2)
            return 0;
        return quota_cores(quota, period);
    }
    if (!tn_cgroup_line(folder, "cpu.cfs_quota_us", line, sizeof line) ||
        sscanf(line, "%ld", &quota) != 1)
        return 0;
    if (!tn_cgroup_line(folder, "cpu.cfs_period_us", line, sizeof line) ||
        sscanf(line, "%ld", &period) != 1)
        return 0;
    return quota_cores(quota, period);
}

static void limit_cores(void *context, const char *folder, bool unified) {
    int *cores = context, limit = folder_cores(folder, unified);
    if (limit > 0) *cores = TN_MIN(*cores, limit);
}

int tn_cores(void) {
    int cores = TN_MAX(affinity_cores(), 1);
    tn_cgroup_visit("cpu", limit_cores, &cores);
    return TN_MAX(cores, 1);
}

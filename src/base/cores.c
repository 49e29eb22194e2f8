/* Cores allowed by affinity and by the quotas of the cgroup and its ancestors (v2 and v1). */
#include "base/cores.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"

enum { PATH_SIZE = 1024 };

static int affinity_cores(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (int)online : 1;
}

static bool read_line(const char *path, char *line, int size) {
    FILE *f = fopen(path, "re");
    if (!f) return false;
    bool ok = fgets(line, size, f) != NULL;
    fclose(f);
    return ok;
}

/* Cores that `quota` microseconds in every `period` make; 0: no limit. */
static int quota_cores(long quota, long period) {
    if (quota <= 0 || period <= 0) return 0;
    return (int)TN_MIN((quota + period - 1) / period, 1 << 20);
}

static int folder_cores(const char *folder, bool unified) {
    char path[PATH_SIZE + 32], line[128];
    long quota = 0, period = 0;
    if (unified) {
        snprintf(path, sizeof path, "%s/cpu.max", folder);
        if (!read_line(path, line, sizeof line) || sscanf(line, "%ld %ld", &quota, &period) != 2)
            return 0;
        return quota_cores(quota, period);
    }
    snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", folder);
    if (!read_line(path, line, sizeof line) || sscanf(line, "%ld", &quota) != 1) return 0;
    snprintf(path, sizeof path, "%s/cpu.cfs_period_us", folder);
    if (!read_line(path, line, sizeof line) || sscanf(line, "%ld", &period) != 1) return 0;
    return quota_cores(quota, period);
}

/* The least limit on the way from `root`/`group` up to `root`. */
static int tree_cores(const char *root, const char *group, bool unified, int cores) {
    char folder[PATH_SIZE];
    size_t root_len = strlen(root);
    int len = snprintf(folder, sizeof folder, "%s%s", root, group);
    if (len < 0 || (size_t)len >= sizeof folder) return cores;
    for (;;) {
        int limit = folder_cores(folder, unified);
        if (limit > 0) cores = TN_MIN(cores, limit);
        char *slash = strrchr(folder, '/');
        if (!slash || (size_t)(slash - folder) < root_len) return cores;
        *slash = 0;
    }
}

/* Lines are "ID:controllers:/path"; the unified hierarchy has ID 0 and no controllers. */
static int cgroup_cores(int cores) {
    char line[PATH_SIZE];
    FILE *f = fopen("/proc/self/cgroup", "re");
    if (!f) return cores;
    while (fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = 0;
        char *controllers = strchr(line, ':'),
             *group = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!group) continue;
        *controllers++ = 0;
        *group++ = 0;
        if (*controllers == 0)
            cores = tree_cores("/sys/fs/cgroup", group, true, cores);
        else if (strstr(controllers, "cpu") && !strstr(controllers, "cpuset"))
            cores = tree_cores("/sys/fs/cgroup/cpu", group, false, cores);
    }
    fclose(f);
    return cores;
}

int tn_cores(void) {
    int cores = cgroup_cores(TN_MAX(affinity_cores(), 1));
    return TN_MAX(cores, 1);
}

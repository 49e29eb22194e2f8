/* Memory that can still be taken. See detect.h. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cgroup.h"
#include "machine/detect.h"

static uint64_t meminfo_available(void) {
    char line[128];
    uint64_t kilobytes = 0;
    FILE *f = fopen("/proc/meminfo", "re");
    if (!f) return UINT64_MAX;
    bool found = false;
    while (!found && fgets(line, sizeof line, f))
        found = sscanf(line, "MemAvailable: %" SCNu64, &kilobytes) == 1;
    fclose(f);
    return found ? kilobytes * 1024 : UINT64_MAX;
}

/* Pages of files that are given up when memory is short, which usage counts. */
static uint64_t reclaimable(const char *folder) {
    char path[2048], line[128];
    uint64_t bytes = 0;
    snprintf(path, sizeof path, "%s/memory.stat", folder);
    FILE *f = fopen(path, "re");
    if (!f) return 0;
    while (fgets(line, sizeof line, f))
        if (sscanf(line, "inactive_file %" SCNu64, &bytes) == 1) break;
    fclose(f);
    return bytes;
}

static void limit_memory(void *context, const char *folder, bool unified) {
    uint64_t *free = context;
    char line[64];
    if (!tn_cgroup_line(folder, unified ? "memory.max" : "memory.limit_in_bytes", line,
                        sizeof line) ||
        line[0] == 'm') /* "max" */
        return;
    uint64_t limit = strtoull(line, NULL, 10), used = 0;
    if (tn_cgroup_line(folder, unified ? "memory.current" : "memory.usage_in_bytes", line,
                       sizeof line))
        used = strtoull(line, NULL, 10);
    used -= TN_MIN(used, reclaimable(folder));
    *free = TN_MIN(*free, limit - TN_MIN(limit, used));
}

uint64_t tn_memory_available(void) {
    uint64_t free = meminfo_available();
    tn_cgroup_visit("memory", limit_memory, &free);
    return free;
}

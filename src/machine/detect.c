/* Processor, caches, cores, memory. See detect.h. */
#include "machine/detect.h"

#include <cpuinfo.h>
#include <hwloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/utsname.h>

#include "base/cores.h"

/* ---- processor ------------------------------------------------------------------------------ */

static void add_word(tn_host *m, const char *word, bool there) {
    size_t len = strlen(m->isa);
    if (there) snprintf(m->isa + len, sizeof m->isa - len, "%s%s", len ? " " : "", word);
}

static void detect_isa(tn_host *m) {
#if defined(__x86_64__)
    add_word(m, "sse4.1", cpuinfo_has_x86_sse4_1());
    add_word(m, "avx", cpuinfo_has_x86_avx());
    add_word(m, "f16c", cpuinfo_has_x86_f16c());
    add_word(m, "fma", cpuinfo_has_x86_fma3());
    add_word(m, "avx2", cpuinfo_has_x86_avx2());
    add_word(m, "avx512f", cpuinfo_has_x86_avx512f());
    add_word(m, "avx512vl", cpuinfo_has_x86_avx512vl());
    add_word(m, "avx512bw", cpuinfo_has_x86_avx512bw());
    add_word(m, "avx512dq", cpuinfo_has_x86_avx512dq());
    add_word(m, "avx512vnni", cpuinfo_has_x86_avx512vnni());
    add_word(m, "avx512bf16", cpuinfo_has_x86_avx512bf16());
#elif defined(__aarch64__)
    add_word(m, "neon", cpuinfo_has_arm_neon());
    add_word(m, "fp16", cpuinfo_has_arm_neon_fp16_arith());
    add_word(m, "dot", cpuinfo_has_arm_neon_dot());
    add_word(m, "sve", cpuinfo_has_arm_sve());
#endif
}

/* The value of the first line `key: value` of a file in /proc. */
static bool proc_value(const char *path, const char *key, char *out, size_t size) {
    char line[4096];
    FILE *f = fopen(path, "re");
    bool found = false;
    while (f && !found && fgets(line, sizeof line, f)) {
        char *colon = strchr(line, ':');
        if (strncmp(line, key, strlen(key)) != 0 || !colon) continue;
        colon += 1 + strspn(colon + 1, " \t");
        colon[strcspn(colon, "\n")] = 0;
        snprintf(out, size, "%s", colon);
        found = true;
    }
    if (f) fclose(f);
    return found;
}

void tn_host_cpu(char out[TN_HOST_TEXT]) {
    snprintf(out, TN_HOST_TEXT, "unknown");
    if (!proc_value("/proc/cpuinfo", "model name", out, TN_HOST_TEXT) && cpuinfo_initialize() &&
        cpuinfo_get_packages_count() > 0)
        snprintf(out, TN_HOST_TEXT, "%s", cpuinfo_get_package(0)->name);
}

static void detect_cpu(tn_host *m) {
    char flags[4096];
    struct utsname name;
    snprintf(m->arch, sizeof m->arch, "%.31s", uname(&name) == 0 ? name.machine : "unknown");
    tn_host_cpu(m->cpu);
    if (cpuinfo_initialize()) detect_isa(m);
    if (proc_value("/proc/cpuinfo", "flags", flags, sizeof flags))
        m->virtual_machine = strstr(flags, " hypervisor") != NULL;
}

/* ---- topology ------------------------------------------------------------------------------- */

static void detect_cache(tn_host *m, hwloc_topology_t t, hwloc_obj_type_t type) {
    int count = hwloc_get_nbobjs_by_type(t, type);
    if (count <= 0 || m->cache_count == TN_HOST_CACHES) return;
    hwloc_obj_t o = hwloc_get_obj_by_type(t, type, 0);
    tn_host_cache *c = &m->caches[m->cache_count++];
    c->level = (int)o->attr->cache.depth;
    c->instructions = o->attr->cache.type == HWLOC_OBJ_CACHE_INSTRUCTION;
    c->bytes = o->attr->cache.size;
    c->ways = o->attr->cache.associativity;
    c->line = (int)o->attr->cache.linesize;
    c->count = count;
    c->shared_by = o->cpuset ? hwloc_bitmap_weight(o->cpuset) : 0;
}

static void detect_topology(tn_host *m) {
    hwloc_topology_t t;
    if (hwloc_topology_init(&t) != 0) return;
    hwloc_topology_set_flags(t, HWLOC_TOPOLOGY_FLAG_INCLUDE_DISALLOWED);
    hwloc_topology_set_icache_types_filter(t, HWLOC_TYPE_FILTER_KEEP_ALL);
    if (hwloc_topology_load(t) == 0) {
        m->packages = TN_MAX(hwloc_get_nbobjs_by_type(t, HWLOC_OBJ_PACKAGE), 1);
        m->cores = TN_MAX(hwloc_get_nbobjs_by_type(t, HWLOC_OBJ_CORE), 1);
        m->threads = TN_MAX(hwloc_get_nbobjs_by_type(t, HWLOC_OBJ_PU), 1);
        m->numa_nodes = TN_MAX(hwloc_get_nbobjs_by_type(t, HWLOC_OBJ_NUMANODE), 1);
        static const hwloc_obj_type_t caches[] = {HWLOC_OBJ_L1CACHE, HWLOC_OBJ_L1ICACHE,
                                                  HWLOC_OBJ_L2CACHE, HWLOC_OBJ_L3CACHE,
                                                  HWLOC_OBJ_L4CACHE};
        for (size_t i = 0; i < TN_COUNT(caches); i++) detect_cache(m, t, caches[i]);
    }
    hwloc_topology_destroy(t);
}

/* ---- memory --------------------------------------------------------------------------------- */

static uint64_t read_number(const char *path) {
    char line[64];
    FILE *f = fopen(path, "re");
    uint64_t value = 0; /* "max" reads as 0 */
    if (f && fgets(line, sizeof line, f)) value = strtoull(line, NULL, 10);
    if (f) fclose(f);
    return value;
}

static uint64_t meminfo(const char *key) {
    char text[64];
    if (!proc_value("/proc/meminfo", key, text, sizeof text)) return 0;
    return strtoull(text, NULL, 10) * 1024;
}

static void detect_memory(tn_host *m) {
    m->memory = meminfo("MemTotal");
    m->memory_free = tn_memory_available();
    static const char *const limits[] = {"/sys/fs/cgroup/memory.max",
                                         "/sys/fs/cgroup/memory/memory.limit_in_bytes"};
    for (size_t i = 0; i < TN_COUNT(limits); i++) {
        uint64_t limit = read_number(limits[i]);
        if (limit > 0 && limit < m->memory) m->memory = limit;
    }
    m->memory_free = TN_MIN(m->memory_free, m->memory);
}

void tn_host_detect(tn_host *m) {
    *m = (tn_host){.usable = tn_cores(), .packages = 1, .cores = 1, .threads = 1, .numa_nodes = 1};
    detect_cpu(m);
    detect_topology(m);
    detect_memory(m);
}

uint64_t tn_host_last_cache(const tn_host *m) {
    uint64_t most = 0;
    for (int i = 0; i < m->cache_count; i++)
        if (!m->caches[i].instructions) most = TN_MAX(most, m->caches[i].bytes);
    return most;
}

uint64_t tn_host_own_cache(const tn_host *m) {
    for (int i = 0; i < m->cache_count; i++)
        if (m->caches[i].level == 2 && !m->caches[i].instructions) return m->caches[i].bytes;
    return 1 << 20;
}

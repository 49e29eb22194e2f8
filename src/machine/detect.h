/* What this machine is: processor, caches, cores, memory, and which accelerators and libraries can
 * be opened. Nothing here fails: what cannot be found is empty, zero or "not found". */
#ifndef TENON_MACHINE_DETECT_H
#define TENON_MACHINE_DETECT_H

#include "base/base.h"

enum { TN_HOST_CACHES = 6, TN_HOST_TEXT = 256, TN_HOST_PARTS = 8 };

typedef struct tn_host_cache {
    int level;
    bool instructions; /* an instruction cache */
    uint64_t bytes;    /* of each */
    int count, ways, line;
    int shared_by; /* logical processors */
} tn_host_cache;

typedef struct tn_host {
    char cpu[TN_HOST_TEXT];
    char arch[72];
    char isa[TN_HOST_TEXT]; /* extensions that kernels may use, separated by blanks */
    bool virtual_machine;
    int packages, cores, threads; /* of the machine */
    int usable; /* threads this process may run at once: affinity and cgroup limits obeyed */
    int numa_nodes;
    tn_host_cache caches[TN_HOST_CACHES];
    int cache_count;
    uint64_t memory, memory_free; /* bytes; `memory` is the cgroup's limit where that is less */
} tn_host;

void tn_host_detect(tn_host *m);
/* tn_host.cpu alone, which takes no time. */
void tn_host_cpu(char out[TN_HOST_TEXT]);
/* Bytes of the largest data cache; 0: unknown. */
uint64_t tn_host_last_cache(const tn_host *m);

/* Bytes of a core's own second-level cache; a common size when unknown. */
uint64_t tn_host_own_cache(const tn_host *m);

/* Something that may be there: a driver, a library. */
typedef struct tn_host_part {
    const char *name;
    bool found;
    char detail[TN_HOST_TEXT]; /* version and devices, or why not */
} tn_host_part;

/* Opens what Tenon can use and asks it for its version; at most TN_HOST_PARTS entries. */
int tn_host_parts(tn_host_part out[TN_HOST_PARTS]);

/* Bytes that this process can take before memory is short: what the system has free or can free, within the
 * limits of its cgroups. */
uint64_t tn_memory_available(void);

#endif

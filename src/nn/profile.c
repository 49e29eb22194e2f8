/* Times of the kernels that lazy tensors run. See tenon/tensor.h. */
#include <stdio.h>
#include <stdlib.h>

#include "nn/lazy.h"

/* Programs are compiled and run under `running`, the list of them is under `lock`. */
static void lock(tn_context *c) {
    pthread_mutex_lock(&c->running);
    pthread_mutex_lock(&c->lock);
}

static void unlock(tn_context *c) {
    pthread_mutex_unlock(&c->lock);
    pthread_mutex_unlock(&c->running);
}

void tn_context_profile(tn_context *c, bool on) {
    lock(c);
    c->profiling = on;
    for (tn__program *p = c->programs; p; p = p->next) {
        if (!p->instance) continue;
        tn_instance_profile(p->instance, false);
        tn_instance_profile(p->instance, on);
    }
    unlock(c);
}

static bool counts(const tn_step_time *t) {
    return t->runs && (t->step->kind == TN_STEP_KERNEL || t->step->kind == TN_STEP_COPY);
}

static tn_kernel_time entry_of(const tn_step_time *t) {
    const char *name = t->step->name ? t->step->name : "copy";
    tn_kernel_time e = {.runs = t->runs, .seconds = t->seconds, .parallel = t->parallel};
    e.flops = t->flops;
    e.bytes = t->bytes;
    snprintf(e.name, sizeof e.name, "%s", name);
    return e;
}

static int slower(const void *a, const void *b) {
    double x = ((const tn_kernel_time *)a)->seconds, y = ((const tn_kernel_time *)b)->seconds;
    return (x < y) - (x > y);
}

/* Those of one program behind the first `n`; out NULL: only counts. */
static int append(const tn__program *p, tn_kernel_time *out, int n) {
    uint32_t count;
    const tn_step_time *times = tn_instance_times(p->instance, &count);
    for (uint32_t i = 0; i < count; i++) {
        if (!counts(&times[i])) continue;
        if (out) out[n] = entry_of(&times[i]);
        n++;
    }
    return n;
}

static int collect(const tn_context *c, tn_kernel_time *out) {
    int n = 0;
    for (const tn__program *p = c->programs; p; p = p->next)
        if (p->instance) n = append(p, out, n);
    return n;
}

int tn_context_kernel_times(tn_context *c, tn_kernel_time *out, int room) {
    lock(c);
    int n = collect(c, NULL);
    tn_kernel_time *all = room > 0 && n ? malloc((size_t)n * sizeof *all) : NULL;
    if (all) {
        collect(c, all);
        qsort(all, (size_t)n, sizeof *all, slower);
        memcpy(out, all, (size_t)TN_MIN(n, room) * sizeof *all);
        free(all);
    } else if (room > 0) {
        n = 0; /* nothing ran, or no memory */
    }
    unlock(c);
    return n;
}

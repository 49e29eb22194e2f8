/* Rates of a machine. See costs.h. */
#include "machine/costs.h"

/* An element-wise operation loads and stores as well, which leaves it half the vector operations, and
 * a multiply-add counts as two. */
#define POINTS_OF_FLOPS 0.25
/* Waking a thread and hearing from it that it is done. */
#define LAUNCH_HANDOFFS 10
#define LAUNCH_SECONDS  1e-6
/* A last-level cache of 32 MB handed 6 MB on at its own rate, and 10 MB at that of memory (measured). */
#define SHARED_BYTES (8 << 20)
/* A longer hand-off was measured on a machine that was busy. */
#define LONGEST_HANDOFF 400e-9

tn_costs tn_costs_default(void) {
    return (tn_costs){.memory = 10e9,
                      .cache = 40e9,
                      .points = 30e9,
                      .launch = 2e-6,
                      .cached_bytes = 1 << 20,
                      .shared_bytes = SHARED_BYTES};
}

static double known(double measured, double otherwise) {
    return measured > 0 ? measured : otherwise;
}

tn_costs tn_costs_measured(const tn_roofs *r) {
    tn_costs usual = tn_costs_default();
    return (tn_costs){
        .memory = known(r->copy_gbs * 1e9, usual.memory),
        .cache = known(r->cache_gbs * 1e9, usual.cache),
        .points = known(r->gflops * 1e9 * POINTS_OF_FLOPS, usual.points),
        .launch = LAUNCH_SECONDS + LAUNCH_HANDOFFS * TN_MIN(r->handoff_ns * 1e-9, LONGEST_HANDOFF),
        .cached_bytes = known(r->cache_bytes, usual.cached_bytes),
        .shared_bytes = usual.shared_bytes,
    };
}

/* Latencies of what the benchmarks of this folder repeat, as peers.steady_latency has them. */
#ifndef BENCH_STEADY_H
#define BENCH_STEADY_H

#include <tenon/status.h>

typedef tn_status steady_run(void *context, tn_error *err);

typedef struct steady_options {
    double warm_up, length; /* seconds */
    int least;              /* runs */
} steady_options;

double steady_seconds(void); /* of a clock that only goes on */

/* Repeats `run` and prints the milliseconds of one: "latency_ms": {"min", "median", "p95", "runs"}. */
tn_status steady_latency(steady_run *run, void *context, steady_options how, tn_error *err);

int steady_fail(const tn_error *err); /* prints it; the exit status */

#endif

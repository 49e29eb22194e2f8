#include "steady.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { MOST_RUNS = 100000 };

double steady_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

tn_status steady_latency(steady_run *run, void *context, steady_options how, tn_error *err) {
    static double ms[MOST_RUNS];
    double end = steady_seconds() + how.warm_up;
    int count = 0;
    do TN_TRY(err, run(context, err), "while warming up");
    while (steady_seconds() < end);
    end = steady_seconds() + how.length;
    while (count < MOST_RUNS && (count < how.least || steady_seconds() < end)) {
        double begin = steady_seconds();
        TN_TRY(err, run(context, err), "while measuring");
        ms[count++] = (steady_seconds() - begin) * 1e3;
    }
    qsort(ms, (size_t)count, sizeof *ms, ascending);
    printf("\"latency_ms\": {\"min\": %.6g, \"median\": %.6g, \"p95\": %.6g, \"runs\": %d}", ms[0],
           (ms[count / 2] + ms[(count - 1) / 2]) / 2, ms[(count - 1) * 95 / 100], count);
    return TN_OK;
}

int steady_fail(const tn_error *err) {
    char text[4096];
    tn_error_format(err, text, sizeof text);
    fprintf(stderr, "%s\n", text);
    return EXIT_FAILURE;
}

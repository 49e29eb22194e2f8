/* What `tenon wide bench` finds out for one number of members. */
#ifndef TENON_CLI_WIDE_MEASURE_H
#define TENON_CLI_WIDE_MEASURE_H

#include "cli/wide.h"

enum { CLI_STRATEGIES = TN_WIDE_ALONE + 1 };

typedef struct cli_wide_result {
    int n, threads, groups;
    const char *refused; /* why it does not fit, in the arena; all else is zero */
    double max_abs_diff; /* between a member of the wide model and the member alone */
    double max_rel_diff; /* in parts of the largest magnitude of the member's output */
    bool valid;          /* max_rel_diff is what the outputs' types allow */
    double wide, loop;   /* seconds, medians; loop NaN: its programs do not fit */
    double gain;         /* median of loop / wide over pairs */
    int pairs;
    double compile;                      /* seconds from the open to the end of the first run */
    int64_t wide_bytes, loop_bytes;      /* weights, activations, scratch */
    int64_t shared_weights, own_weights; /* elements, of all members and of each */
    int strategies[CLI_STRATEGIES];      /* operations done so */
} cli_wide_result;

/* Everything is closed afterwards. A number that does not fit the memory is a result. */
tn_status cli_wide_measure(cli *c, const cli_roster *r, int n, cli_wide_result *out, tn_error *err);

#endif

/* Members as programs of their own, run one after the other: what a wide model has to equal, and to beat. */
#ifndef TENON_CLI_WIDE_ALONE_H
#define TENON_CLI_WIDE_ALONE_H

#include "cli/wide.h"
#include "cli/wide_predict.h"

typedef struct cli_alone {
    const cli_wide *of;
    struct cli_alone_member *each; /* of->n; those that are not open are zero */
    int64_t bytes;                 /* of those that are open: weights, activations, scratch */
} cli_alone;

/* Finds each member's inputs; none is open yet. */
tn_status cli_alone_init(cli *c, const cli_wide *w, cli_alone *a, tn_error *err);
/* Tunes member i's program, when that is asked for. */
tn_status cli_alone_tune(cli *c, cli_alone *a, int i, tn_error *err);
/* Opens member i's program on all threads and runs it once. */
tn_status cli_alone_open(cli_alone *a, int i, tn_error *err);
tn_status cli_alone_run(cli_alone *a, int i, tn_error *err);
/* Output k of its last run. */
const tn_buffer *cli_alone_output(const cli_alone *a, int i, int k);
/* What member i's program will take; it is not run. */
tn_status cli_alone_predict(cli *c, cli_alone *a, int i, cli_prediction *out, tn_error *err);
void cli_alone_close(cli_alone *a, int i);
void cli_alone_deinit(cli_alone *a);

#endif

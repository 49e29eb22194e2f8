/* What the training of a population tells: a line a step with numbers of all members, a page of curves. */
#ifndef TENON_CLI_WIDE_TRAIN_LOG_H
#define TENON_CLI_WIDE_TRAIN_LOG_H

#include <tenon/population.h>

#include "cli/train_report.h"

/* Of one member after a step. */
typedef struct member_record {
    double loss, grad_norm, lr;
    bool updated, active;       /* not active: it diverged, and was stopped */
    double eval_loss, accuracy; /* where the step was evaluated */
} member_record;

typedef struct wide_record {
    int64_t step; /* from 1 */
    int members;
    member_record *of;
    double step_ms, wait_ms;
    bool evaluated;
    double ensemble;               /* accuracy of the mean of the members' probabilities */
    const tn_population_step *how; /* whose strategies are told with this step; NULL: not now */
} wide_record;

/* The member whose held-out accuracy, else loss, is the best; -1: none has a finite one. */
int cli_wide_best(const wide_record *r);
/* `log` is open (cli_train_log_open); its file gets the lines of --json. */
tn_status cli_wide_log_step(train_log *log, const wide_record *r, tn_error *err);

/* Points of the curves. When there are too many, every second one goes. */
typedef struct wide_report {
    TN_VEC(double *) at; /* rows: step, losses, held-out losses, accuracies, norms of all members */
    int64_t stride;
} wide_report;
void cli_wide_report_add(cli *c, wide_report *report, const wide_record *r);
/* `names`: of each member. */
tn_status cli_wide_report_write(const wide_report *report, const char *title,
                                const char *const *names, int members, const char *path,
                                tn_error *err);

#endif

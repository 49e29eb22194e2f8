/* What a training run tells: lines for people or in JSON, a log file, a progress bar. */
#ifndef TENON_CLI_TRAIN_LOG_H
#define TENON_CLI_TRAIN_LOG_H

#include <stdio.h>

#include "cli/cli.h"
#include "cli/train_events.h"

typedef struct train_record {
    int64_t step; /* from 1 */
    double loss, grad_norm, lr;
    double step_ms, wait_ms;    /* of the whole step; of it waiting for data */
    double flops;               /* of the step's kernels */
    double of_peak;             /* the part of the measured peak that this is; NAN: not known */
    uint64_t skipped;           /* different corrupt images so far */
    bool evaluated;             /* the two below are known */
    double eval_loss, accuracy; /* accuracy: part of the classes, or next tokens */
} train_record;

typedef struct train_log {
    cli *c;
    FILE *file; /* NULL: none */
    const char *path;
    train_events events; /* open, or not */
    int64_t steps, every;
    double items; /* images or tokens of a step */
    const char *unit;
    bool bar;
    double begin, waited; /* seconds: when it began; waiting for data since */
    int64_t done;         /* steps since the beginning */
} train_log;

/* The files go on behind step `at`: what a run that was killed wrote after it is cut off, so that no step
 * is there twice. -1: a new run, whose log begins anew. `path`, and `folder` for TensorBoard, may be NULL. */
tn_status cli_train_log_open(train_log *log, const char *path, int64_t at, const char *folder,
                             tn_error *err);
tn_status cli_train_log_step(train_log *log, const train_record *r, tn_error *err);
/* What was told is on disk: before a checkpoint, so that no step before it is missing. */
tn_status cli_train_log_sync(train_log *log, tn_error *err);
/* One line for people, on standard error; the bar is wiped away first. */
void cli_train_log_note(train_log *log, const char *format, ...) TN_PRINTF(2, 3);
void cli_train_log_close(train_log *log);

#endif

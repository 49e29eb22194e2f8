/* TensorBoard's event files. A file is a row of records (TFRecord: length, checksum of it, bytes, checksum
 * of those); each record is one Event message of tensorflow/core/util/event.proto. */
#ifndef TENON_CLI_TRAIN_EVENTS_H
#define TENON_CLI_TRAIN_EVENTS_H

#include <stdio.h>

#include "base/base.h"

typedef struct train_events {
    FILE *file; /* NULL: not open */
    char path[1024];
} train_events;

/* A new file in `folder`, which is made. */
tn_status cli_events_open(train_events *e, const char *folder, tn_error *err);
/* Takes out of the files that runs left in `folder` what they wrote after `step`, and torn ends. */
tn_status cli_events_cut(const char *folder, int64_t step, tn_error *err);
/* One number of a curve. */
tn_status cli_events_scalar(train_events *e, int64_t step, const char *tag, double value,
                            tn_error *err);
/* What was written is there for readers; `durable`: on disk. */
tn_status cli_events_flush(train_events *e, bool durable, tn_error *err);
void cli_events_close(train_events *e);

#endif

/* The loaders of a training run. */
#ifndef TENON_CLI_TRAIN_DATA_H
#define TENON_CLI_TRAIN_DATA_H

#include "cli/train_settings.h"

typedef struct train_data {
    tn_loader *train, *held_out; /* held_out: NULL where nothing is */
    tn_dataset *dataset;         /* of `train`, which names the classes */
    int64_t batch, sequence;     /* samples of a batch, tokens of a sample */
    tn_buffer types[2];          /* of a batch of `train`; no data */
} train_data;

/* Opens what s->data says. Where classes and features of the model were not given, it gets the
 * data's. */
tn_status cli_train_data_open(cli *c, train_settings *s, train_data *out, tn_error *err);
/* Different corrupt images so far. */
uint64_t cli_train_data_skipped(const train_data *d);
void cli_train_data_close(train_data *d);

#endif

/* Checkpoints of training runs, of one model or of many members. */
#ifndef TENON_CLI_TRAIN_CHECKPOINT_H
#define TENON_CLI_TRAIN_CHECKPOINT_H

#include <tenon/checkpoint.h>

#include "cli/train_settings.h"

/* Takes up what the checkpoint holds. */
typedef tn_status cli_train_load(void *trainer, const tn_checkpoint *k, tn_error *err);

/* The newest checkpoint, where one is asked for; a folder of another run is not written into. */
tn_status cli_train_resume(cli *c, const train_settings *s, cli_train_load *load, void *trainer,
                           tn_error *err);

#endif

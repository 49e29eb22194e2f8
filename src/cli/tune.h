/* --tune=SECONDS: what a verb does before it compiles. */
#ifndef TENON_CLI_TUNE_H
#define TENON_CLI_TUNE_H

#include "cli/model.h"

/* Tunes the model of the command line for its inputs, when that is asked for; what is compiled
 * afterwards finds the records in the cache. */
tn_status cli_tune_first(cli *c, cli_missing missing, const char *seed, tn_error *err);
/* The parts of it: whether that is asked for (a usage error where it cannot be), and tuning a model. */
tn_status cli_tune_wanted(cli *c, bool *wanted, tn_error *err);
tn_status cli_tune_model(cli *c, tn_model *m, const char *name, const tn_buffer *inputs, int count,
                         tn_error *err);
/* How tuning cut a batch: "in pieces of 4". */
const char *cli_piece_text(cli *c, int64_t piece);

#endif

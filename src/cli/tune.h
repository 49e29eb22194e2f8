/* --tune=SECONDS: what a verb does before it compiles. */
#ifndef TENON_CLI_TUNE_H
#define TENON_CLI_TUNE_H

#include "cli/model.h"

/* Tunes the model of the command line for its inputs, when that is asked for; what is compiled
 * afterwards finds the records in the cache. */
tn_status cli_tune_first(cli *c, cli_missing missing, const char *seed, tn_error *err);

#endif

/* The values of a model's inputs, as the command line gives them. */
#ifndef TENON_CLI_BIND_H
#define TENON_CLI_BIND_H

#include <tenon/session.h>

#include "cli/cli.h"

typedef enum cli_missing {
    CLI_MISSING_IS_ERROR,
    CLI_MISSING_RANDOM, /* made up from the seed */
} cli_missing;

typedef struct cli_binding {
    tn_port_info *ports; /* one for each input */
    int count;
    const tn_compound *compounds; /* which of them are the tensors of one */
    int compound_count;
    const char **needs; /* "input 'shape'": what is never made up */
    int need_count;
    tn_buffer *inputs; /* found by cli_bind, in the arena */
    bool made_up;      /* some of them hold made-up values */
} cli_binding;

/* Fills in what the model needs. */
void cli_bind_needs(cli *c, cli_binding *b, const tn_model *m);
/* Reads the files of -i and finds the input each is for; missing ones are made up or an error. */
tn_status cli_bind(cli *c, cli_binding *b, cli_missing missing, const char *seed, tn_error *err);

#endif

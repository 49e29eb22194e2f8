/* A model as the verbs see it: opened with the command line's options, its inputs bound. */
#ifndef TENON_CLI_MODEL_H
#define TENON_CLI_MODEL_H

#include <tenon/session.h>

#include "cli/bind.h"
#include "session/session.h"

/* What --dump-after asks for and what came by. */
typedef struct cli_dump {
    const char *stage; /* "all": every one */
    tn_str stages;     /* names of all stages that ran */
    bool found;
} cli_dump;

/* The options of the command line. `dump` must outlive the model. */
tn_status cli_model_options(cli *c, tn_model_options *out, cli_dump *dump, tn_error *err);
/* After compiling: a usage error when no stage had the name that was asked for. */
tn_status cli_dump_check(cli *c, const cli_dump *dump, tn_error *err);

typedef struct cli_model {
    const char *path;
    tn_model *model;
    tn_model_options options;
    cli_dump dump;
    tn_buffer *inputs;
    int input_count;
    bool made_up; /* some inputs hold made-up values */
    /* Of a built-in model by name; all other inputs are weights, and none has elements. */
    const char *data; /* the input that is no weight; NULL: it is a file */
    tn_graph *graph;
    uint64_t parameters;
    uint32_t tensors;
} cli_model;

/* A built-in model as a program of the forward pass, and its inputs without elements: it cannot run. */
tn_status cli_model_open_named(cli *c, const char *name, cli_model *m, tn_error *err);
tn_status cli_model_open(cli *c, const char *path, cli_model *m, tn_error *err);
/* Opens m->path with m->options; sequences and optionals are bound by the command line. */
tn_status cli_model_reopen(cli *c, cli_model *m, tn_error *err);
/* As cli_bind. */
tn_status cli_model_bind(cli *c, cli_model *m, cli_missing missing, const char *seed,
                         tn_error *err);
void cli_model_close(cli_model *m);

/* Bytes of weights that a program reads in a steady run, prepared ones included. */
uint64_t cli_weight_bytes(const tn_artifact *a);
/* All memory of a steady run: weights, inputs, outputs, temporaries, scratch. */
uint64_t cli_peak_bytes(const cli_model *m, const tn_session *s);

#endif

/* The members of `tenon wide` as the command line names them, and the wide model made of them. */
#ifndef TENON_CLI_WIDE_H
#define TENON_CLI_WIDE_H

#include <tenon/wide.h>

#include "cli/model.h"
#include "cli/output.h"

/* Where members come from. */
typedef struct cli_roster {
    const char **models;
    int model_count;
    const char **weights; /* of one model */
    int weight_count;
    int fixed;         /* members that files tell; 0: one model, as many as --n says */
    bool same_weights; /* then all have the file's */
} cli_roster;

tn_status cli_roster_read(cli *c, cli_roster *out, tn_error *err);
/* The numbers of --n, in the arena. `several`: a list, with a default; else *out has one. */
tn_status cli_roster_sizes(cli *c, const cli_roster *r, bool several, int **out, int *count,
                           tn_error *err);
/* Member i; its texts are the command line's. */
tn_wide_member cli_roster_member(const cli_roster *r, int i);

typedef struct cli_wide {
    tn_wide_member *members; /* in the arena */
    int n;
    tn_wide *wide;
    tn_wide_options options;
    cli_dump dump;
    cli_binding in;
    bool *shared; /* of each input */
    int out_count;
    tn_port_info *out;
    tn_buffer *outputs; /* of the last run */
} cli_wide;

/* Members first … first + n - 1. */
tn_status cli_wide_open(cli *c, const cli_roster *r, int first, int n, cli_wide *w, tn_error *err);
/* As cli_bind, for inputs in the layout of the members. */
tn_status cli_wide_bind(cli *c, cli_wide *w, cli_missing missing, const char *seed, tn_error *err);
tn_status cli_wide_run(cli_wide *w, tn_error *err);
void cli_wide_close(cli_wide *w);

/* Tunes the programs of N members for their inputs, when that is asked for; what is opened afterwards is
 * tuned. */
tn_status cli_wide_tune_first(cli *c, const cli_roster *r, int n, cli_missing missing,
                              const char *seed, tn_error *err);
/* The inputs of a group's own model, in the arena. */
tn_status cli_wide_group_inputs(cli *c, const cli_wide *w, const tn_wide_group_info *g,
                                tn_buffer *out, tn_error *err);

/* What each member has of a value in the layout, in the model's own shape: part[i] points into it, or into the
 * arena where members are not contiguous. */
tn_status cli_wide_parts(cli *c, const cli_wide *w, const tn_buffer *whole, tn_buffer *part,
                         tn_error *err);

/* The strategy's word in tables and JSON. */
const char *cli_strategy_name(tn_wide_strategy s);
/* {"node", "op", "strategy", "piece"} */
json_t *cli_strategy_json(const tn_wide_node_info *n);

#endif

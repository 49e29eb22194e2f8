/* What a compiled model costs: per step and per group, for the sizes it is bound to. */
#ifndef TENON_CLI_REPORT_H
#define TENON_CLI_REPORT_H

#include "cli/model.h"
#include "cli/output.h"

/* The roofs of the last `doctor --measure`, zero where there is none. */
typedef struct cli_roofs {
    bool known;
    const char *id;
    double gflops;   /* of all threads, f32 */
    double read_gbs; /* reading out of cache, all threads */
    double copy_gbs;
    int threads;
} cli_roofs;
cli_roofs cli_roofs_read(cli *c);
/* f32 multiply-adds a second of so many threads (0: all), from the largest measured number up to it; 0: not
 * measured. */
double cli_roofs_flops(int64_t threads);

/* One kernel or copy of a steady run. */
typedef struct cli_step {
    const tn_prog_step *step;
    const tn_prog_group *group; /* NULL: a copy, or control flow */
    uint32_t block;
    int depth; /* of nesting in control flow */
    double flops, bytes;
    double seconds; /* of one run of the model; 0 when not profiled */
    uint64_t runs;  /* launches in one run of the model; of `while` one turn, until profiled */
} cli_step;
typedef TN_VEC(cli_step) cli_steps;

/* The steps of a steady run in order of position, for a session that is bound. */
cli_steps cli_steps_of(cli *c, const tn_session *s);
/* Runs the model `runs` times with the profile on and fills in seconds and runs. */
tn_status cli_steps_profile(cli_steps *steps, tn_session *s, const cli_model *m, int runs,
                            tn_error *err);
double cli_steps_flops(const cli_steps *steps);
double cli_steps_bytes(const cli_steps *steps);
json_t *cli_group_json(const cli_step *s);
/* A table of steps with their share of the time, in order. */
void cli_steps_print(cli *c, const cli_steps *steps, const cli_roofs *roofs);

#endif

/* tenon explore: what the options say, and the parts that its actions share. */
#ifndef TENON_CLI_EXPLORE_H
#define TENON_CLI_EXPLORE_H

#include <tenon/explore.h>

#include "cli/output.h"

/* A use of a workload, a family of machines, how to price and how to search. */
typedef struct explore_job {
    tn_machine_space space;
    tn_study_part *parts;
    int part_count;
    tn_cost_model *processor, *near_memory;
    tn_search_options search;
    bool fixed; /* a published dataflow, on the only machine of the space */
    tn_fixed_dataflow fixed_dataflow;
    const char *folder; /* of result.log */
} explore_job;

/* From the options of `c`. `out` is released by explore_job_release, also after an error. */
tn_status explore_job_read(cli *c, explore_job *out, tn_error *err);
void explore_job_release(explore_job *job);
/* The artifact's family with the options' lists; the scenario of its options. */
tn_status explore_published_space(cli *c, tn_machine_space *out, tn_error *err);
tn_status explore_published_scenario(cli *c, tn_scenario *out, tn_error *err);

/* Lists of options: "2,4,6,8", "[(8,400,6.4),(8,600,6.4)]". `name` is the option's, for messages. */
tn_status explore_read_list(cli *c, const char *name, const char *text, double least, double *out,
                            int *count, tn_error *err);
tn_status explore_read_elements(cli *c, const char *text, tn_machine_space *out, tn_error *err);

/* result.log as the artifact writes it: five lines, or three of a fixed dataflow (`m` NULL). */
tn_status explore_write_log(cli *c, const char *folder, const tn_evaluation *e, const tn_machine *m,
                            tn_error *err);

json_t *explore_machine_json(const tn_machine *m);
json_t *explore_part_json(const tn_study_part *part, const tn_solution *s);

/* page/explore.html about what was found, whose best machine is feasible; or with `data`, which is dropped. */
tn_status explore_report(cli *c, const explore_job *job, const tn_finding *f, const char *path,
                         tn_error *err);
tn_status explore_page_write(json_t *data, const char *path, tn_error *err);

/* The evaluation of the H²-LLM paper, 36 points; results.json, results.csv and reproduce.html in `folder`, unless
 * that is NULL. */
tn_status explore_reproduce(cli *c, const char *folder, tn_error *err);
tn_status explore_eval(cli *c, const char *path, tn_error *err);

#endif

/* Everything `tenon inspect` knows about a model; inspect_*.c print it. */
#ifndef TENON_CLI_INSPECT_H
#define TENON_CLI_INSPECT_H

#include "cli/cost.h"
#include "cli/report.h"
#include "transform/structure.h"

typedef struct cli_inspection {
    const cli_model *model;
    const tn_session *session;
    const tn_program *program;
    const tn_graph *graph;      /* as imported; NULL for a .tn program */
    const tn_graph *simplified; /* after the standard passes; NULL with `graph` */
    const int64_t *bindings;    /* of the simplified graph's sizes */
    cli_graph_cost cost;
    bool has_structure;
    tn_structure structure;
    cli_steps steps;
    uint64_t peak, weights;
    tn_memory_use memory;
} cli_inspection;

/* Of a session that is bound to the model's inputs. */
tn_status cli_inspect_bound(cli *c, cli_model *m, tn_session *s, cli_inspection *out,
                            tn_error *err);
/* Writes what --dot and --html ask for. */
tn_status cli_inspect_files(cli *c, cli_inspection *x, tn_session *s, tn_error *err);
json_t *cli_inspect_json(cli *c, const cli_inspection *x);
void cli_inspect_text(cli *c, const cli_inspection *x);
tn_status cli_inspect_dot(cli *c, const cli_inspection *x, const char *path, tn_error *err);
tn_status cli_inspect_html(cli *c, const cli_inspection *x, const char *path, tn_error *err);

/* Edges between steps: step `to` reads what step `from` wrote, in `bytes`. */
typedef struct cli_edge {
    uint32_t from, to; /* indices into steps */
    uint32_t buffer;
    double bytes;
} cli_edge;
typedef TN_VEC(cli_edge) cli_edges;
cli_edges cli_edges_of(cli *c, const cli_inspection *x);
double cli_buffer_bytes(const cli_inspection *x, uint32_t buffer);
/* Which of a step's buffers it writes. */
bool cli_step_writes(const tn_program *p, const tn_prog_step *s, uint32_t at);

#endif

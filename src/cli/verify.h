/* One ONNX test folder: run its data sets, compare with what is expected. */
#ifndef TENON_CLI_VERIFY_H
#define TENON_CLI_VERIFY_H

#include "cli/compare.h"
#include "cli/model.h"

enum { CLI_REASON = 2048 };

typedef struct cli_verdict {
    bool ok;
    double max_ulp; /* over all outputs that could be compared; NAN: none could */
    char reason[CLI_REASON];
    const char *stage;        /* what failed: "model", "data", "run", "compare"; NULL when ok */
    TN_VEC(const char *) ops; /* the model's operators, each once, in the verdict's arena */
    int data_sets;
} cli_verdict;

/* Checks the folder with the command line's tolerances and model options. Failures of any kind are
 * part of the verdict; a status other than TN_OK is one of usage or memory. */
tn_status cli_verify_folder(cli *c, const char *path, tn_arena *arena, cli_verdict *v,
                            tn_error *err);

/* Compares the value of every node of the imported graph with the reference evaluation: in the program as
 * it is, in one where each value is an output, and in the same with passes off. TN_RUNTIME with the first
 * node that departs. */
tn_status cli_verify_nodes(const tn_import *import, const tn_model_options *options,
                           const tn_buffer *inputs, int input_count, const cli_tolerance *t,
                           tn_error *err);

#endif

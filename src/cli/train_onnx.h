/* ONNX models in tenon train: what they read, and how they become a loss. Two kinds are known: one float
 * image [N, C, H, W] → logits [N, classes], and tokens [N, S] of whole numbers → logits [N, S, vocab]. */
#ifndef TENON_CLI_TRAIN_ONNX_H
#define TENON_CLI_TRAIN_ONNX_H

#include <tenon/onnx.h>

#include "cli/cli.h"

enum { TRAIN_ONNX_INPUTS = 8, TRAIN_ONNX_OUTPUTS = 64 };

/* What an input of a model of tokens gets. */
typedef enum train_onnx_role {
    TRAIN_ONNX_DATA,      /* the batch */
    TRAIN_ONNX_ONES,      /* an attention mask: nothing is padded */
    TRAIN_ONNX_ZEROS,     /* token types */
    TRAIN_ONNX_POSITIONS, /* 0 … S − 1 */
} train_onnx_role;

typedef struct train_onnx {
    const char *path; /* NULL: the model is none */
    bool tokens;
    tn_port_info input[TRAIN_ONNX_INPUTS]; /* their names are in the command's arena */
    train_onnx_role role[TRAIN_ONNX_INPUTS];
    int inputs, outputs;
    int64_t classes; /* or the vocabulary; -1: the file does not tell */
    tn_onnx *model;  /* once opened */
} train_onnx;

bool cli_is_onnx(const char *name);
/* Reads the ports; an error where the model is of another kind. */
tn_status cli_train_onnx_look(cli *c, const char *path, train_onnx *out, tn_error *err);
/* Types of a batch of `rows`; sizes that the file leaves open are -1, but for those of tokens. */
void cli_train_onnx_batch(const train_onnx *x, int64_t rows, int64_t length, tn_buffer out[2]);
/* Makes the parameters in m; `frozen`: patterns with commas between, or NULL. */
tn_status cli_train_onnx_open(cli *c, train_onnx *x, tn_module *m, const char *frozen,
                              tn_error *err);
tn_tensor *cli_train_onnx_logits(const train_onnx *x, tn_module *m, tn_tensor *batch);

#endif

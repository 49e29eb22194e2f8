/* ONNX models as functions of lazy tensors: to be differentiated, fine-tuned and saved again.
 *
 *   tn_onnx_open("model.onnx", m, NULL, &model, &err);       its weights become parameters of m
 *   tn_onnx_apply(model, &x, 1, &logits, 1);                 records the model's graph
 *   loss = tn_cross_entropy(logits, target); …               train as any other module
 *   tn_onnx_save(model, "tuned.onnx", &err);                 the same file with the new weights
 *
 * A weight is an initializer of the model's graph that is a float (f16, bf16, f32, f64) with at least one
 * axis and an operand of some node. It becomes a parameter under its name in the file; running means
 * and variances of batch norms become buffers. Frozen from the beginning are masks (weights with an
 * element that is infinite, not a number, or the largest of its type) and what options.frozen names.
 * All else is constant: scalars, whole numbers, attributes, settings of operators such as Resize's
 * scales, and initializers of sub-graphs.
 *
 * The graph stays what it is: in a file that was exported for inference, as usual, dropout is nothing
 * and batch norm uses its running statistics. It is PyTorch's eval() with gradients. */
#ifndef TENON_ONNX_H
#define TENON_ONNX_H

#include <tenon/nn.h>
#include <tenon/session.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tn_onnx tn_onnx;

/* The value of an input that decides shapes (Reshape's shape, TopK's k …). */
typedef struct tn_onnx_value {
    const char *name;
    tn_buffer value; /* copied by the open */
} tn_onnx_value;

typedef struct tn_onnx_options {
    size_t size;               /* sizeof(tn_onnx_options) */
    const char *const *frozen; /* patterns as of tn_module_match_trainable */
    int frozen_count;
    const tn_onnx_value *values;
    int value_count;
} tn_onnx_options;
#define TN_ONNX_OPTIONS_INIT                                                                       \
    { .size = sizeof(tn_onnx_options) }

/* Makes parameters and buffers in m with the file's values. Those that m has already (of the right type)
 * are taken as they are. `options` may be NULL. The file stays open until the release and must not
 * change; m must live until then, and has to be used by one thread at a time. */
TN_API tn_status tn_onnx_open(const char *path, tn_module *m, const tn_onnx_options *options,
                              tn_onnx **out, tn_error *err) TN_MUST_USE;
/* m keeps its parameters. NULL: nothing. */
TN_API void tn_onnx_release(tn_onnx *x);

/* The model's inputs and outputs as tn_model_input tells them. Names live as long as x. */
TN_API int tn_onnx_input_count(const tn_onnx *x);
TN_API int tn_onnx_output_count(const tn_onnx *x);
TN_API tn_status tn_onnx_input(const tn_onnx *x, int i, tn_port_info *out);
TN_API tn_status tn_onnx_output(const tn_onnx *x, int i, tn_port_info *out);

/* out[i] becomes output i for these inputs, which are all of the model's, in order, of its types. NULL
 * stands for an input whose value was given in the options. Open sizes are those of the inputs; the file
 * is read once for each new combination. Errors stick to the context: they name the model's node. */
#define tn_onnx_apply(...) tn_onnx_apply_at(TN_HERE, __VA_ARGS__)
TN_API void tn_onnx_apply_at(const char *place, tn_onnx *x, tn_tensor *const *in, int in_count,
                             tn_tensor **out, int out_count);

/* Evaluates the parameters and buffers, and writes the model to `path` with them; all else in the file
 * stays as it is. External data are written beside it under their names, over a file of that name only if
 * it has their size, as an earlier save leaves it. Files appear whole, by a rename; `path` may be the file
 * that was opened. */
TN_API tn_status tn_onnx_save(tn_onnx *x, const char *path, tn_error *err) TN_MUST_USE;

#ifdef __cplusplus
}
#endif
#endif

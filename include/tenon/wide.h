/* N models as one: members of equal structure with weights of their own, run as one program.
 *
 *   tn_wide_member members[20] = {{.model = "a.onnx"}, {.model = "b.onnx"}, …};
 *   tn_wide_open(members, 20, NULL, &wide, &err);
 *   tn_wide_run(wide, inputs, n_inputs, outputs, n_outputs, &err);      [20, …] in, [20, …] out
 *
 * Each member's result is that of its model alone (sums may be ordered in another way), and nothing that
 * a member computes depends on another one: NaN stays where it is. Members whose structure differs from
 * the first one's are in groups of their own, one program each. For populations that are trained see
 * <tenon/population.h>. */
#ifndef TENON_WIDE_H
#define TENON_WIDE_H

#include <tenon/session.h>
#include <tenon/wide_strategy.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- members -------------------------------------------------------------------------------- */

/* What a member is: one of N models, one model with one of N files of weights, or one model disturbed by
 * one of N seeds; any mixture makes a wide model. Texts are borrowed for the call. */
typedef struct tn_wide_member {
    const char *model; /* an ONNX file */
    /* A .safetensors or .npz file with arrays under the names of the model's weights, of their types, all
     * of them; others are errors. NULL: the weights of the model's file. */
    const char *weights;
    /* Every float weight is multiplied by 1 + 0.01 · normal, each element by a number of its own that
     * depends on the seed, the weight's name and the place of the element alone. */
    bool perturbed;
    uint64_t seed;
} tn_wide_member;

/* How the members lie in inputs and outputs. Of one without the axis that it needs (a scalar input
 * that is packed) the open fails. */
typedef enum tn_wide_layout {
    TN_WIDE_STACKED, /* [N, …]: a new first axis */
    TN_WIDE_PACKED,  /* [B, N·F, …]: side by side along axis 1, member by member */
} tn_wide_layout;

typedef struct tn_wide_options {
    size_t size; /* sizeof(tn_wide_options) */
    tn_model_options compile;
    tn_wide_layout layout;
    /* Inputs that all members read, which come as the model's own ones, once. Inputs whose values decide
     * shapes (Reshape's shape, TopK's k …) always do. */
    const char *const *shared;
    int shared_count;
    bool share_all;
    bool same_randoms; /* random numbers of a model (RandomNormal …) are the same for all
                          members; else each member has its own */
    bool one_group;    /* a member of another structure is an error that names node and member */
    /* Bytes that may be taken; 0: what the machine has free, limits of cgroups obeyed. Opening, or running
     * inputs of new sizes, that needs more is TN_OUT_OF_MEMORY before it is allocated, and the message has
     * the largest N that fits. Counted are weights as runs read them, what is beside them while they are packed, activations,
     * inputs and outputs. While it is opened a wide model takes little more than its packed weights; where
     * members' weights come from .npz files, these once more. */
    int64_t memory;
} tn_wide_options;
#define TN_WIDE_OPTIONS_INIT                                                                       \
    { .size = sizeof(tn_wide_options), .compile = TN_MODEL_OPTIONS_INIT }

typedef struct tn_wide tn_wide;

/* `options` may be NULL. The files stay where they are while the wide model exists. */
TN_API tn_status tn_wide_open(const tn_wide_member *members, int count,
                              const tn_wide_options *options, tn_wide **out,
                              tn_error *err) TN_MUST_USE;
TN_API void tn_wide_release(tn_wide *wide); /* NULL: nothing */

/* ---- running -------------------------------------------------------------------------------- */

/* Inputs and outputs in the chosen layout, over all members in their order. */
TN_API int tn_wide_input_count(const tn_wide *wide);
TN_API int tn_wide_output_count(const tn_wide *wide);
TN_API tn_status tn_wide_input(const tn_wide *wide, int i, tn_port_info *out);
TN_API tn_status tn_wide_output(const tn_wide *wide, int i, tn_port_info *out);
/* Whether input i comes once, for all members: named so in the options, or its values decide shapes. */
TN_API bool tn_wide_input_shared(const tn_wide *wide, int i);

/* As tn_session_run, over all groups. With one group nothing is copied. Used by one thread at a time. Groups
 * whose outputs differ in type are an error; their own models (tn_wide_group) can be run. */
TN_API tn_status tn_wide_run(tn_wide *wide, const tn_buffer *inputs, int input_count,
                             tn_buffer *outputs, int output_count, tn_error *err) TN_MUST_USE;

/* N arrays [B, F, …] of one type as [B, N·F, …], and back; no axis but 1 is changed. `out` has memory of
 * the result's size. Errors: no arrays, types that differ, fewer than two axes, a width that N does not
 * divide. */
TN_API tn_status tn_wide_pack(const tn_buffer *members, int count, tn_buffer *out,
                              tn_error *err) TN_MUST_USE;
TN_API tn_status tn_wide_unpack(const tn_buffer *packed, tn_buffer *members, int count,
                                tn_error *err) TN_MUST_USE;

/* ---- members of a wide model ---------------------------------------------------------------- */

TN_API int tn_wide_count(const tn_wide *wide);
/* The member's model as an ONNX file: its own file with its weights, bit for bit. */
TN_API tn_status tn_wide_extract(const tn_wide *wide, int member, const char *path,
                                 tn_error *err) TN_MUST_USE;
/* Members behind `at` move up; at = tn_wide_count(wide) appends. On failure nothing has changed. */
TN_API tn_status tn_wide_insert(tn_wide *wide, int at, const tn_wide_member *member,
                                tn_error *err) TN_MUST_USE;
TN_API tn_status tn_wide_replace(tn_wide *wide, int member, const tn_wide_member *with,
                                 tn_error *err) TN_MUST_USE;
TN_API tn_status tn_wide_remove(tn_wide *wide, int member, tn_error *err) TN_MUST_USE;

/* ---- what it became ------------------------------------------------------------------------- */

typedef struct tn_wide_group_info {
    const int *members; /* in ascending order */
    int count;
    const char *difference; /* to group 0: "node 'act1': gelu instead of relu"; NULL for group 0 */
    tn_model *model;        /* of this group alone, inputs and outputs of its members */
    int64_t shared_weights,
        own_weights; /* elements of a member's weights that are equal in all members,
                                            and of others; -1: not known before inputs are */
    int64_t bytes;   /* weights, activations and scratch */
} tn_wide_group_info;
/* Borrowed, until a member changes. */
TN_API int tn_wide_group_count(const tn_wide *wide);
TN_API tn_status tn_wide_group(const tn_wide *wide, int group, tn_wide_group_info *out);

/* Products, convolutions, folds and loops of the model, in their order. */
TN_API int tn_wide_node_count(const tn_wide *wide, int group);
TN_API tn_status tn_wide_node(const tn_wide *wide, int group, int i, tn_wide_node_info *out);

#ifdef __cplusplus
}
#endif

#include <tenon/population.h>
#endif

/* What the rest of Tenon may ask of models and sessions beyond the public interface. */
#ifndef TENON_SESSION_SESSION_H
#define TENON_SESSION_SESSION_H

#include <tenon/session.h>

#include "session/artifact.h"

/* A model from a graph made in this process (tests, layers). The graph and its arena must outlive
 * the model and must not be used while it compiles. Nothing goes to the program cache. */
tn_status tn_model_from_graph(const tn_graph *g, const tn_model_options *options, tn_model **out,
                              tn_error *err) TN_MUST_USE;

/* Where a model's graphs come from that is not one file: as from an import, what depends on sizes and values
 * that are not bound yet is asked for. */
typedef struct tn_model_maker {
    void *context;
    const char *name; /* for messages */
    /* All that the graphs depend on besides the build and the options: files by their identity. Unwinds when
     * memory runs out. NULL: programs are not kept in the cache (their kernels are). */
    void (*identify)(const void *context, tn_str *out);
    /* As tn_import_onnx, into a->arena and a->import; large constants may lie in a->blocks. Called by one
     * thread at a time. */
    tn_status (*import)(void *context, const tn_import_options *options, tn_artifact *a,
                        tn_error *err);
    void (*release)(void *context);
} tn_model_maker;
/* Programs go to the cache. The maker's context becomes the model's: it is released with it, and by a
 * call that fails. */
tn_status tn_model_from_maker(const tn_model_maker *maker, const tn_model_options *options,
                              tn_model **out, tn_error *err) TN_MUST_USE;

/* Inputs or sizes that must be known before the model can be compiled; 0 for an open model. */
int tn_model_need_count(const tn_model *model);
/* "input 'shape'", "size 'N'" or "the number of tensors of 'list'"; the model's memory. */
const char *tn_model_need(const tn_model *model, int i);

/* The imported graph (before any transform), for people to look at. A model with needs takes their
 * values from `inputs` (as in tn_session_run), others ignore them. It lives as long as the model.
 */
tn_status tn_model_graph(tn_model *model, const tn_buffer *inputs, int input_count,
                         const tn_graph **out, tn_error *err) TN_MUST_USE;
/* The import that made this graph: what its values are in the file. NULL before tn_model_graph, and where
 * the graph was made in this process. */
const tn_import *tn_model_imported(const tn_model *model);
/* Writes the program file of an open model: weights included, kernels as loop IR. A model with needs
 * has to be opened with these bound (sizes), or is refused. */
tn_status tn_model_save(tn_model *model, const char *path, tn_error *err) TN_MUST_USE;
/* Of an open model; else NULL: it is compiled when its inputs are known. */
const tn_artifact *tn_model_artifact(const tn_model *model);
/* What kernels are compiled for, and with. */
const tn_compiler *tn_model_compiler(const tn_model *model);
int tn_model_threads(const tn_model *model);

/* Compiles for these inputs, as a bind does, and tells what that would take for activations, without
 * taking it. */
tn_status tn_session_measure(tn_session *session, const tn_buffer *inputs, int input_count,
                             tn_memory_use *out, tn_error *err) TN_MUST_USE;
/* Writes the program file of the current binding: of a model with needs, for these values only. */
tn_status tn_session_save(tn_session *session, const char *path, tn_error *err) TN_MUST_USE;
/* After a bind or a run: program, weights, how long each part of the compile took. */
const tn_artifact *tn_session_artifact(const tn_session *session);
/* After a bind or a run: memory, step times (see tn_instance_profile). */
tn_instance *tn_session_instance(const tn_session *session);
/* Values of the program's symbols in the current binding; of those that a run binds, in the last run (before:
 * the greatest). */
const int64_t *tn_session_symbols(const tn_session *session);

#endif

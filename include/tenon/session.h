/* A model in, numbers out: load, compile (cached) and run.
 *
 *   tn_model *model;   tn_model_open("model.onnx", NULL, &model, &err);
 *   tn_session *s;     tn_session_create(model, &s, &err);
 *   tn_session_run(s, inputs, n_inputs, outputs, n_outputs, &err);
 *
 * A tn_model (import, compiled programs, weights, thread pool) may be shared by any number of
 * threads; a tn_session (activations, bound sizes) serves one thread at a time. A steady run (same
 * sizes as before) allocates nothing. */
#ifndef TENON_SESSION_H
#define TENON_SESSION_H

#include <tenon/type.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tn_model tn_model;
typedef struct tn_session tn_session;

/* A dense row-major array. As an input `data` is borrowed for the call. As an output of
 * tn_session_run `data` points into the session and stays valid until its next run (`size` stays 0,
 * so the array can be handed in again), or, when the caller set data and size, the result is written
 * there (size in bytes, must suffice; not the memory of an input).
 *
 * A size of an output may depend on data (NonZero, Unique …): it has a bound, which follows from the
 * inputs' sizes, and a length, which each run finds. `data` has room for the bound, memory that the caller
 * gives must suffice for it (a run with too little says how much it takes), and after the run `dim` is
 * the exact shape, whose elements lie at the beginning of `data`, dense. */
typedef struct tn_buffer {
    tn_dtype dtype;
    int rank;
    int64_t dim[TN_MAX_RANK];
    void *data;
    size_t size;
} tn_buffer;

typedef struct tn_dim_binding {
    const char *name;
    int64_t value;
} tn_dim_binding;

typedef enum tn_compile_mode {
    TN_COMPILE_AUTO,      /* the system's C compiler; without one, interpret and say so */
    TN_COMPILE_CC,        /* fail without a compiler */
    TN_COMPILE_INTERPRET, /* the loop-IR interpreter */
} tn_compile_mode;

typedef struct tn_model_options {
    size_t size; /* sizeof(tn_model_options) */
    int threads; /* 0: the cores this process may use */
    tn_compile_mode mode;
    bool no_opt;   /* no rewrites, no fusion */
    bool no_cache; /* neither read nor write the caches on disk */
    const char
        *cache; /* folder; NULL: TENON_CACHE, else XDG_CACHE_HOME/tenon, else ~/.cache/tenon */
    const tn_dim_binding *dims; /* sizes fixed at compile time */
    int dim_count;
    void (*dump)(void *context, const char *stage, const char *text);
    const char *dump_after;
    void *dump_context;
    bool no_tuned; /* do not use what tuning found; see docs/cli.md */
    const tn_model
        *threads_of; /* runs on that model's threads, for models that run in turn; `threads` is
                                   not looked at. NULL: on its own */
    /* Compile the kernels of a .tn program although this user did not write it here: they are code, and run
     * unchecked. Else such a program is interpreted, which is slow, and every access checked. */
    bool trust;
    const tn_compound_binding *compounds; /* inputs that are sequences and optionals */
    int compound_count;
} tn_model_options;
#define TN_MODEL_OPTIONS_INIT                                                                      \
    { .size = sizeof(tn_model_options) }

/* PATH is an ONNX file or a .tn program. `options` may be NULL. A model with sequences or optionals among
 * its inputs can be described without these being bound (its compounds have no inputs then), but not
 * run; a program file is bound already. */
TN_API tn_status tn_model_open(const char *path, const tn_model_options *options, tn_model **out,
                               tn_error *err) TN_MUST_USE;
/* The same from the bytes of an ONNX file, which are copied. They have no folder: external data are refused.
 * Kernels go to the cache on disk, programs do not. */
TN_API tn_status tn_model_open_bytes(const void *data, size_t size, const tn_model_options *options,
                                     tn_model **out, tn_error *err) TN_MUST_USE;
TN_API void tn_model_release(tn_model *model);

typedef struct tn_port_info {
    const char *name; /* borrowed from the model */
    tn_dtype dtype;
    int rank;
    int64_t dim[TN_MAX_RANK];        /* -1: open */
    const char *symbol[TN_MAX_RANK]; /* its printed size when open, else NULL */
} tn_port_info;
TN_API int tn_model_input_count(const tn_model *model);
TN_API int tn_model_output_count(const tn_model *model);
TN_API tn_status tn_model_input(const tn_model *model, int i, tn_port_info *out);
TN_API tn_status tn_model_output(const tn_model *model, int i, tn_port_info *out);

/* Which inputs and outputs are the tensors of a sequence or an optional, in order; *out is borrowed from the
 * model. TN_NOT_FOUND: there is no i-th. An output whose number of tensors depends on values that are bound by a
 * run has count TN_COMPOUND_UNKNOWN and no outputs here: ask the session. */
TN_API int tn_model_input_compound_count(const tn_model *model);
TN_API int tn_model_output_compound_count(const tn_model *model);
TN_API tn_status tn_model_input_compound(const tn_model *model, int i, tn_compound *out);
TN_API tn_status tn_model_output_compound(const tn_model *model, int i, tn_compound *out);

TN_API tn_status tn_session_create(tn_model *model, tn_session **out, tn_error *err) TN_MUST_USE;
TN_API void tn_session_release(tn_session *session);

/* Runs once. inputs[i] is input i; outputs[] receives output i. Sizes of open dimensions come from
 * the inputs. */
TN_API tn_status tn_session_run(tn_session *session, const tn_buffer *inputs, int input_count,
                                tn_buffer *outputs, int output_count, tn_error *err) TN_MUST_USE;
/* Compiles and binds for these inputs without running. */
TN_API tn_status tn_session_bind(tn_session *session, const tn_buffer *inputs, int input_count,
                                 tn_error *err) TN_MUST_USE;
/* As the functions of the model, for the inputs of the last bind or run; before one, the model's. Borrowed until
 * the next bind or run. */
TN_API int tn_session_output_count(const tn_session *session);
TN_API tn_status tn_session_output(const tn_session *session, int i, tn_port_info *out);
TN_API int tn_session_output_compound_count(const tn_session *session);
TN_API tn_status tn_session_output_compound(const tn_session *session, int i, tn_compound *out);

#ifdef __cplusplus
}
#endif
#endif

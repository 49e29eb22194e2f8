/* The inside of lazy tensors: what is recorded, what is stored, how they meet.
 *
 * A context records into one graph at a time, the *recording*. Each tensor names a value of it (it is
 * *pending*), or a storage with its elements (it is *concrete*); a concrete tensor that is used
 * enters the recording as an input, a *leaf*. An evaluation copies the pending graph that is
 * connected with what was asked for out of the recording (lazy_cut.c), finds or makes its program
 * (lazy_program.c), runs it, and its tensors become concrete. The recording is made anew without the
 * rest once most of it is dead, so neither handles nor recorded operations pile up.
 *
 * `lock` is over everything here but the elements of storages. What runs holds `running`; programs
 * are compiled and run in the order in which they were cut. */
#ifndef TENON_NN_LAZY_H
#define TENON_NN_LAZY_H

#include <pthread.h>
#include <stdatomic.h>
#include <tenon/tensor.h>

#include "ir/builder.h"
#include "session/artifact.h"
#include "transform/recompute.h"

/* Elements in memory. Not ready: some run writes them yet. An abstract one has a type and no elements:
 * it can be recorded, but nothing behind it can be evaluated. */
typedef struct tn__storage {
    uint32_t refs; /* tensors, also those it is the donor of, leaves and runs */
    tn_dtype dtype;
    int rank;
    int64_t dim[TN_MAX_RANK];
    void *
        data; /* NULL: the run that makes it gives it memory; or another storage has taken it over */
    size_t bytes;
    bool ready, failed;
    bool borrowed;       /* the memory is somebody else's */
    char *abstract;      /* what it stands for, in messages; NULL: it has elements */
    bool varies;         /* a variable was behind it; see tn_grad */
    uint64_t cut;        /* number of the evaluation that made it; 0: none */
    uint64_t generation; /* of the recording in which `leaf` stands for it; 0: none */
    tn_value leaf;
} tn__storage;

struct tn_tensor {
    tn_context *context;
    tn_tensor *previous, *next; /* all of the context */
    tn_scope *scope;            /* NULL: the caller releases it */
    tn_tensor *scope_previous, *scope_next;
    uint32_t refs,
        replays; /* replays: of the references, those of recordings that can be done again */
    bool failed, variable;
    bool stands_in; /* for what each member of a population has; assigned only where that records */
    tn_dtype dtype;
    int rank;
    int64_t dim[TN_MAX_RANK];
    tn__storage *storage; /* NULL: pending */
    tn_value value;       /* when pending */
    tn__storage *donor;   /* when pending: what it held before it was assigned; may be NULL */
};

struct tn_scope {
    tn_context *context;
    tn_scope *outer; /* of this thread */
    tn_tensor *first;
};

/* A leaf of the recording. */
typedef struct tn__leaf {
    tn_value value;
    tn__storage *storage; /* NULL: given up, since nothing live needs it */
} tn__leaf;

typedef struct tn__recording {
    tn_arena arena;
    tn_dims dims;
    tn_graph *graph;
    uint64_t generation;
    TN_VEC(tn__leaf) leaves; /* ascending values */
    uint32_t kept;           /* nodes that it began with */
    uint32_t room;           /* values that it had room for from the beginning */
} tn__recording;

/* Memory that was given back and may serve again. */
typedef struct tn__block {
    void *data;
    size_t bytes;
} tn__block;
enum { TN__BLOCKS = 256 };

typedef struct tn__program tn__program;
typedef struct tn__replay tn__replay;

struct tn_context {
    pthread_mutex_t lock;
    pthread_mutex_t running;
    pthread_cond_t done; /* a storage or a future became ready */
    tn_workshop workshop;
    tn_error error; /* the first; status TN_OK: none */
    tn_tensor *first;
    tn__recording *recording; /* NULL after the release */
    uint64_t generations;
    bool closed;     /* released; lives on for its tensors */
    bool rehearsing; /* see tn__rehearsal_begin */

    tn__program *programs; /* the last used first */
    int program_count, program_limit;
    tn__block blocks[TN__BLOCKS];
    int block_count;
    size_t block_bytes;

    struct tn__run *queue, **queue_end; /* for the worker */
    pthread_t worker;
    pthread_cond_t work;
    bool worker_started, stopping;
    uint64_t waiting; /* runs queued or in work in the background */

    uint64_t seed, draws;
    uint64_t cuts;  /* evaluations so far */
    bool profiling; /* under `running` */
    tn_context_stats stats;
};

/* No error. The texts are left as they are: they are kilobytes, and calls are many. */
static inline void tn__error_init(tn_error *err) {
    err->status = TN_OK;
    err->frame_count = 0;
    err->message[0] = 0;
}

/* ---- context.c: errors and life -------------------------------------------------------------- */

/* Keeps the first error; `place` of the call becomes its frame. Called under the lock. */
void tn__context_fail(tn_context *c, const char *place, const tn_error *err);
/* What is left of a released context goes with its last tensor. Called under the lock, which it
 * gives back. */
void tn__context_unlock(tn_context *c);

/* ---- storage.c ------------------------------------------------------------------------------- */

/* Refuses a tensor whose elements cannot be counted in bytes; `what` names it. */
tn_status tn__storage_check(const char *what, tn_dtype dtype, int rank, const int64_t *dim,
                            tn_error *err);
/* With one reference; NULL when memory runs out. The elements are undefined. */
tn__storage *tn__storage_new(tn_context *c, tn_dtype dtype, int rank, const int64_t *dim);
/* The same, without memory yet. */
tn__storage *tn__storage_empty(tn_dtype dtype, int rank, const int64_t *dim);
/* Gives `s` the memory of `donor` when the caller holds the only reference to that, else memory of its own;
 * false: there is none. Under the lock. */
bool tn__storage_take_over(tn_context *c, tn__storage *s, tn__storage *donor);
/* Without elements; `what` it stands for is copied. */
tn__storage *tn__storage_abstract(tn_dtype dtype, int rank, const int64_t *dim, const char *what);
tn_status tn__refuse_abstract(const tn__storage *s, tn_error *err);
/* Ready, of memory that outlives it. */
tn__storage *tn__storage_borrowed(tn_dtype dtype, int rank, const int64_t *dim, void *data);
tn__storage *tn__storage_retain(tn__storage *s);
void tn__storage_release(tn_context *c, tn__storage *s);
void tn__storage_trim(tn_context *c); /* gives spare blocks back to the system */

/* ---- tensor.c -------------------------------------------------------------------------------- */

/* Under the lock. NULL when memory runs out. */
tn_tensor *tn__tensor_new(tn_context *c);
/* The tensor of a value of the recording: pending, or concrete where it is a leaf. */
tn_tensor *tn__tensor_of_value(tn_context *c, tn_value v);
tn_tensor *tn__tensor_of_storage(tn_context *c, tn__storage *s); /* takes the reference */
tn_tensor *tn__tensor_failed(tn_context *c);
/* x goes from this scope to the one around it. Without the lock. */
tn_tensor *tn__scope_pass(tn_scope *s, tn_tensor *x);
bool tn__tensor_is_ok(const tn_tensor *x);                 /* NULL is not */
void tn__tensor_set_storage(tn_tensor *x, tn__storage *s); /* takes a reference of its own */
/* x becomes what `from` is, whatever it was; without checks. */
void tn__tensor_become(tn_tensor *x, const tn_tensor *from);
/* x becomes the value of the recording; what it held becomes its donor if it had none and that is a leaf. */
void tn__tensor_set_value(tn_tensor *x, tn_value v);

/* ---- rehearsal.c: for who records a graph to run it often ---------------------------------- */

/* New references, of the innermost scope. The elements of `x` outlive what is recorded. */
tn_status tn__tensor_borrow(tn_context *c, const tn_buffer *x, tn_tensor **out, tn_error *err);
/* `what` names it in messages. */
tn_status tn__tensor_abstract(tn_context *c, const tn_buffer *type, const char *what,
                              tn_tensor **out, tn_error *err);
/* A borrowed tensor goes on to this memory; false: it was assigned meanwhile, or something else reads what
 * it holds. */
bool tn__tensor_point(tn_tensor *x, void *data);
bool tn__tensor_is_pending(const tn_tensor *x);
/* In between, an assigned tensor keeps what it held, so that it can be restored; what was recorded and
 * is not held by the end leaves no trace. */
void tn__rehearsal_begin(tn_context *c);
void tn__rehearsal_end(tn_context *c);
/* An assigned and pending tensor is again what it was. */
void tn__tensor_restore(tn_tensor *x);

/* ---- lazy_record.c --------------------------------------------------------------------------- */

tn_status tn__recording_begin(tn_context *c, tn_error *err);
void tn__recording_end(tn_context *c);
/* The value of x in the recording. Under the lock and a guard. */
tn_value tn__recorded(tn_context *c, const tn_tensor *x);
/* NULL: the value is not a leaf, or one that was given up. */
tn__storage *tn__leaf_storage(const tn_context *c, tn_value v);
/* The recording forgets the storage of leaf `v`. */
void tn__leaf_give_up(tn_context *c, tn_value v);
/* Makes the recording anew from what is live, when that is much less. */
void tn__recording_shrink(tn_context *c);

/* One operation: builds `results` values from the operands'. */
typedef struct tn__call {
    const char *place;
    tn_context *context; /* needed where there are no operands */
    const tn_tensor *const *in;
    int in_count;
    int results;
    void (*build)(tn_builder *b, const tn_value *in, const void *args, tn_value *out);
    const void *args;
} tn__call;
/* Records and gives new tensors; failed ones when an operand is, or when the call is wrong. */
void tn__record(const tn__call *call, tn_tensor **out);

/* ---- lazy_graph.c ---------------------------------------------------------------------------- */

/* What computes the tensors, as a graph of its own in `arena`, whatever it depends on; nothing is
 * evaluated. Inputs have the names of what they stand for where they are abstract. */
tn_status tn__graph_of(tn_tensor *const *x, int count, tn_arena *arena, tn_graph **out,
                       tn_error *err);

/* ---- lazy_cut.c ------------------------------------------------------------------------------ */

/* A program to run on storages; what the tensors refer to afterwards. */
typedef struct tn__run {
    struct tn__run *next;
    tn__program *program;
    uint32_t input_count, output_count;
    tn__storage **inputs, **outputs;
    uint32_t *in_place; /* per output: 1 + the input whose memory it is to take over; 0: none */
    tn_future *future;  /* NULL: somebody waits */
} tn__run;

/* What a backward pass behind `loss` keeps; `rule.loss` is not looked at. */
typedef struct tn__recompute {
    tn_recompute rule;
    const tn_tensor *loss;
} tn__recompute;

/* How else than usual something is evaluated. */
typedef struct tn__eval_options {
    const tn__recompute *how; /* NULL: what is kept is left to the planner */
    tn__replay *replay;       /* not NULL: captures the evaluation, where that is possible */
} tn__eval_options;

/* Takes the graph connected with the pending ones of `x` out of the recording: afterwards all its
 * live tensors are concrete, and ready once *out has run. *out NULL: all were concrete. `o` may be
 * NULL. Under the lock. */
tn_status tn__cut(tn_context *c, tn_tensor *const *x, int count, const tn__eval_options *o,
                  tn__run **out, tn_error *err);
void tn__run_release(tn_context *c, tn__run *run);
/* What the rule is, for keys. */
void tn__recompute_append(const tn_recompute *r, tn_str *key);

/* ---- lazy_replay.c --------------------------------------------------------------------------- */

/* An evaluation that can be done again: its program, the tensors that inputs were read from, and those that got
 * the outputs. It can be captured when nothing was evaluated between this call and the evaluation, all that
 * is computed was recorded in between, and each input is held by a tensor that is still alive then. NULL when
 * memory runs out. */
tn__replay *tn__replay_begin(tn_context *c);
/* Called by the cut before tensors are handed over: values of the outputs, ascending; nodes of the program. */
void tn__replay_capture(tn__replay *r, const tn__run *run, const tn_value *outputs,
                        const bool *wanted);
bool tn__replay_ready(const tn__replay *r); /* whether something was captured */
/* What it runs, once that is compiled; else NULL. */
const tn_program *tn__replay_program(const tn__replay *r);
void tn__replay_release(tn__replay *r); /* NULL: nothing */
/* Does it again with what the tensors hold now. *ran false, and nothing done: a tensor failed or changed its
 * type, nobody else holds an input any more, or something recorded waits for it; recording it anew is right
 * then. Without the lock. */
tn_status tn__replay_run(const tn__replay *r, bool *ran, tn_error *err);

/* ---- tensor_trace.c ------------------------------------------------------------------------- */

/* An error while this thread records a function of the user's, whose tensors have no values;
 * `deed`: "read". */
tn_status tn__trace_refuse(const tn_context *c, const char *deed, tn_error *err);
/* Whether this thread may assign x where it is. */
tn_status tn__trace_check_assign(const tn_tensor *x, tn_error *err);

/* ---- lazy_program.c -------------------------------------------------------------------------- */

enum { TN__CACHED_NODES = 100 }; /* of graphs whose programs are kept on disk, at least */

/* A compiled graph, or one that is compiled when it first runs. */
struct tn__program {
    tn__program *next;
    uint32_t refs;
    tn_hash128 key;
    tn_artifact *artifact; /* whose arena holds `graph` */
    const tn_graph *graph; /* until it is compiled */
    bool recomputes;       /* by this rule, whose loss is a value of `graph` */
    tn_recompute rule;
    tn_instance *instance;
    tn_status status; /* of compiling it */
    tn_error error;
};

/* The program of this key, with a reference; NULL: there is none. Under the lock. */
tn__program *tn__program_find(tn_context *c, tn_hash128 key);
/* Keeps it as the newest, with a reference of its own; the oldest goes. Under the lock. */
void tn__program_keep(tn_context *c, tn__program *p);
/* With one reference and an empty artifact; NULL when memory runs out. */
tn__program *tn__program_new(tn_hash128 key);
void tn__program_release(tn__program *p); /* under the lock */
void tn__programs_release(tn_context *c); /* under the lock */
/* Waits for the inputs, compiles what is not compiled yet, runs, marks the outputs as ready (failed
 * ones too) and releases the run. Without the lock. */
tn_status tn__run_now(tn_context *c, tn__run *run, tn_error *err);

/* ---- lazy_eval.c ----------------------------------------------------------------------------- */

/* tn_eval; `o` as for tn__cut. */
tn_status tn__eval(tn_tensor *const *x, int count, const tn__eval_options *o, tn_error *err);
/* Waits for what is queued and ends the background thread. Without the lock. */
void tn__worker_stop(tn_context *c);

#endif

/* Lazy tensors: operations record a graph, reading a value compiles and runs it.
 *
 *   tn_context *c;      tn_context_create(NULL, &c, &err);
 *   tn_scope *scope = tn_scope_open(c);
 *   tn_tensor *x = tn_tensor_from(c, TN_f32, TN_SHAPE(2, 3), numbers);
 *   tn_tensor *y = tn_softmax(tn_mul(x, x), -1);
 *   float out[6];       tn_read(y, out, sizeof out, &err);
 *   tn_scope_close(scope);
 *   tn_context_release(c);
 *
 * What is live and connected is compiled as one program, which is kept and found again by the
 * graph's structure: a loop compiles once. A scalar that changes from step to step must be a tensor
 * (tn_tensor_scalar), because the `double` arguments of operations are part of the structure.
 *
 * Errors. An operation does not fail at the call: the context keeps the first error with the line
 * of the call, what is built from a failed tensor is failed too, and reading gives that error.
 *
 * Handles. Every function that returns a tn_tensor * gives a new reference: release it, or let a
 * scope do so. NULL is a failed tensor too. Threads. A context and its tensors may be used by any
 * number of threads at once; a scope belongs to the thread that opened it. Shapes and rules of
 * broadcasting, of result types and of reductions are NumPy's. */
#ifndef TENON_TENSOR_H
#define TENON_TENSOR_H

#include <tenon/session.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tn_context tn_context;
typedef struct tn_tensor tn_tensor;
typedef struct tn_scope tn_scope;
typedef struct tn_future tn_future;

/* The line of a call, for messages. */
#define TN_HERE         __FILE__ ":" TN_HERE_LINE(__LINE__)
#define TN_HERE_LINE(n) TN_HERE_TEXT(n)
#define TN_HERE_TEXT(n) #n
/* Lists as two arguments, count and elements: tn_reshape(x, TN_SHAPE(2, -1)) */
#define TN_SHAPE(...)                                                                              \
    (int)(sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (const int64_t[]) {           \
        __VA_ARGS__                                                                                \
    }
#define TN_SCALAR_SHAPE 0, NULL
#define TN_AXES(...)                                                                               \
    (int)(sizeof((const int[]){__VA_ARGS__}) / sizeof(int)), (const int[]) {                       \
        __VA_ARGS__                                                                                \
    }
#define TN_ALL_AXES 0, NULL

/* ---- contexts ------------------------------------------------------------------------------- */

typedef struct tn_context_options {
    size_t size;              /* sizeof(tn_context_options) */
    tn_model_options compile; /* threads, cache, mode … */
    uint64_t seed;            /* of tn_random_… */
    int programs;             /* how many compiled graphs are kept; 0: 64 */
} tn_context_options;
#define TN_CONTEXT_OPTIONS_INIT                                                                    \
    { .size = sizeof(tn_context_options), .compile = TN_MODEL_OPTIONS_INIT }

/* `options` may be NULL. */
TN_API tn_status tn_context_create(const tn_context_options *options, tn_context **out,
                                   tn_error *err) TN_MUST_USE;
/* Waits for what runs. Scopes are closed and futures released before. Tensors that are still held stay
 * valid (those that were not evaluated are failed) and keep what they need. */
TN_API void tn_context_release(tn_context *context);

/* The first error since the creation or the last clearing. */
TN_API tn_status tn_context_error(tn_context *context, tn_error *err);
/* Forgets the error; tensors that failed stay failed. */
TN_API void tn_context_clear_error(tn_context *context);

typedef struct tn_context_stats {
    uint64_t runs, compiles;    /* programs run and compiled since the creation */
    uint64_t tensors;           /* handles alive */
    uint64_t pending;           /* operations recorded and not evaluated, discarded ones included */
    uint64_t bytes, peak_bytes; /* of evaluated tensors; the most there were */
    uint64_t kernels;           /* launched by the last run, those inside loops once */
    uint64_t temporary_bytes;   /* activations of the last run */
    uint64_t cached;            /* of the compiled programs, those found in the cache on disk */
} tn_context_stats;
TN_API void tn_context_statistics(tn_context *context, tn_context_stats *out);

/* What the kernels of evaluated programs took, for finding out where time goes. */
typedef struct tn_kernel_time {
    char name[80];       /* the operations in it, "dot+add+relu", cut to fit */
    uint64_t runs;       /* launches; each turn of a loop counts */
    double seconds;      /* of all of them */
    double flops, bytes; /* of one launch: arithmetic, and memory that it reads and writes */
    bool parallel;       /* it is shared by threads */
} tn_kernel_time;
/* Switches timing on or off (at first: off); it costs a fraction of a microsecond a launch. Switching it
 * on forgets earlier times. Waits for a program that is running. */
TN_API void tn_context_profile(tn_context *context, bool on);
/* Kernels of the programs that are kept (tn_context_options.programs) that ran while it was on, slowest
 * first. Returns how many there are; the first `room` of them are put into `out`. */
TN_API int tn_context_kernel_times(tn_context *context, tn_kernel_time *out, int room);

/* Handles that this thread makes from now on are released by the scope's end, innermost scope
 * first. */
TN_API tn_scope *tn_scope_open(tn_context *context);
TN_API void tn_scope_close(tn_scope *scope);
/* Closes the scope, but x goes on to the scope around it, or to the caller: the last line of a
 * function that makes tensors on its way. What is still held when something is evaluated has to be
 * stored, what is not may vanish in a kernel. Returns x. */
TN_API tn_tensor *tn_scope_return(tn_scope *scope, tn_tensor *x);
/* Takes the tensor out of its scope: the caller has to release it. Returns it. */
TN_API tn_tensor *tn_keep(tn_tensor *x);

/* ---- tensors -------------------------------------------------------------------------------- */

/* Copies row-major `data` (NULL: zeros). */
#define tn_tensor_from(...) tn_tensor_from_at(TN_HERE, __VA_ARGS__)
TN_API tn_tensor *tn_tensor_from_at(const char *place, tn_context *context, tn_dtype dtype,
                                    int rank, const int64_t *dim, const void *data);
/* A number that is data, not structure; see above. */
#define tn_tensor_scalar(...) tn_tensor_scalar_at(TN_HERE, __VA_ARGS__)
TN_API tn_tensor *tn_tensor_scalar_at(const char *place, tn_context *context, tn_dtype dtype,
                                      double value);
TN_API tn_tensor *tn_retain(tn_tensor *x);
TN_API void tn_release(tn_tensor *x); /* NULL: nothing */

TN_API tn_context *tn_tensor_context(const tn_tensor *x);
TN_API tn_dtype tn_tensor_dtype(const tn_tensor *x);        /* of a failed tensor: f32 */
TN_API int tn_tensor_rank(const tn_tensor *x);              /* of a failed tensor: 0 */
TN_API int64_t tn_tensor_dim(const tn_tensor *x, int axis); /* negative axes count from the end */
TN_API int64_t tn_tensor_count(const tn_tensor *x);         /* elements */
/* False for one that failed. */
TN_API bool tn_tensor_ok(const tn_tensor *x);

/* A tensor under a name, as in lists of parameters and of state. */
typedef struct tn_named_tensor {
    const char *name;
    tn_tensor *tensor;
} tn_named_tensor;

/* x becomes `value`, which must have its type: the update of a parameter. Other tensors that were
 * built from the old x keep the old value. A new value that is computed from the old one is written
 * into its memory when it is evaluated, unless something else needs the old one then: steps hold
 * parameters and state once. */
#define tn_assign(...) tn_assign_at(TN_HERE, __VA_ARGS__)
TN_API void tn_assign_at(const char *place, tn_tensor *x, const tn_tensor *value);

/* Makes this the context's error, as an operation that is called wrongly does, and gives a failed
 * tensor: for functions of one's own. */
#define tn_fail(...) tn_fail_at(TN_HERE, __VA_ARGS__)
TN_API tn_tensor *tn_fail_at(const char *place, tn_context *context, const char *format, ...)
    TN_PRINTF(3, 4);

/* ---- evaluation ----------------------------------------------------------------------------- */

/* Evaluates these and every live tensor whose graph is connected with theirs, as one program. After an
 * error in the middle of it all of them are failed; those that were assigned have lost their old values,
 * too. */
TN_API tn_status tn_eval(tn_tensor *const *x, int count, tn_error *err) TN_MUST_USE;
/* The same in the background. Operations on the tensors can go on at once, reading one waits. */
TN_API tn_status tn_eval_async(tn_tensor *const *x, int count, tn_future **out,
                               tn_error *err) TN_MUST_USE;
TN_API tn_status tn_future_wait(tn_future *future, tn_error *err) TN_MUST_USE;
TN_API bool tn_future_done(tn_future *future);
TN_API void tn_future_release(tn_future *future); /* does not wait */

/* Evaluates x and copies it, row-major; `size` must be that of the copy in bytes. */
TN_API tn_status tn_read(tn_tensor *x, void *out, size_t size, tn_error *err) TN_MUST_USE;
/* The only element of x. */
TN_API tn_status tn_item(tn_tensor *x, double *out, tn_error *err) TN_MUST_USE;
/* Evaluates x and describes its memory, which lives as long as x is neither released nor assigned. Where
 * x is assigned what is computed from it (tn_assign), the new value mostly is at the same address: a
 * pointer here does not keep the old one. */
TN_API tn_status tn_view(tn_tensor *x, tn_buffer *out, tn_error *err) TN_MUST_USE;

/* ---- gradients ------------------------------------------------------------------------------ */

/* grads[i] = Σ cotangent · ∂y/∂xs[i], of xs[i]'s type; zeros where y does not depend on it. The
 * cotangent has y's type, NULL stands for ones. Gradients are tensors like others and can be
 * differentiated again. They go back to the tensors that were recorded since the last evaluation:
 * where a way from y to a variable (tn_variable) was cut by an evaluation, that is an error. At ties,
 * zeros and infinities they are what PyTorch gives. That holds for tn_where, too: what it does not
 * take is differentiated, and 0 · ∞ is NaN there. Make it harmless first:
 *     tn_where(ok, tn_sqrt(tn_where(ok, x, one)), zero) */
#define tn_grad(...) tn_grad_at(TN_HERE, __VA_ARGS__)
TN_API void tn_grad_at(const char *place, tn_tensor *y, tn_tensor *cotangent, tn_tensor *const *xs,
                       int count, tn_tensor **grads);
/* Marks x as what gradients are taken for, and returns it without a new reference. */
TN_API tn_tensor *tn_variable(tn_tensor *x);
/* The value of x, without a gradient. */
#define tn_stop_gradient(...) tn_stop_gradient_at(TN_HERE, __VA_ARGS__)
TN_API tn_tensor *tn_stop_gradient_at(const char *place, tn_tensor *x);
/* x, which ends a block of layers: training may keep such values only, and compute what lies between them
 * again in the backward pass (tenon/train.h). It changes no value and no gradient. */
#define tn_block_end(...) tn_block_end_at(TN_HERE, __VA_ARGS__)
TN_API tn_tensor *tn_block_end_at(const char *place, tn_tensor *x);

/* ---- functions of yours --------------------------------------------------------------------- */

/* A function that is called once to record what it does; its tensors have no values, so it cannot
 * read or assign, and random numbers it draws are the same in all steps and for all members. What it
 * makes is released when it returns, the results included. */

/* A result with a gradient of its own. forward: y_count results from x, then saved_count tensors for
 * later use. backward: dx, of x's types (NULL: zero), from x, the y and what was saved behind them,
 * and dy, the cotangents of the y. It records operations like any other, so that higher derivatives
 * are those of these operations. What the functions use besides x must not depend on a variable. */
typedef struct tn_custom_rule {
    size_t size; /* sizeof(tn_custom_rule) */
    void (*forward)(tn_tensor *const *x, tn_tensor **y, void *user);
    void (*backward)(tn_tensor *const *x, tn_tensor *const *y, tn_tensor *const *dy, tn_tensor **dx,
                     void *user);
    void *user;
    int saved_count;
} tn_custom_rule;
#define TN_CUSTOM_RULE_INIT                                                                        \
    { .size = sizeof(tn_custom_rule) }
#define tn_custom_vjp(...) tn_custom_vjp_at(TN_HERE, __VA_ARGS__)
TN_API void tn_custom_vjp_at(const char *place, const tn_custom_rule *rule, tn_tensor *const *x,
                             int x_count, tn_tensor **y, int y_count);

/* A loop over steps as one operation: step gets the carries and the x of one step (x has the steps
 * along axis 0), and gives the next carries and what is kept of the step. results: the carries after
 * the last step, then each y with the steps along a new axis 0. Its gradient is a loop back. */
typedef struct tn_scan_loop {
    size_t size; /* sizeof(tn_scan_loop) */
    void (*step)(tn_tensor *const *carry, tn_tensor *const *x, tn_tensor **next, tn_tensor **y,
                 void *user);
    void *user;
    tn_tensor *const *carry, *const *x;
    int carry_count, x_count, y_count;
    int64_t length; /* the number of steps where there is no x */
    bool reverse;   /* from the last step to the first */
} tn_scan_loop;
#define TN_SCAN_LOOP_INIT                                                                          \
    { .size = sizeof(tn_scan_loop) }
#define tn_scan(...) tn_scan_at(TN_HERE, __VA_ARGS__)
TN_API void tn_scan_at(const char *place, const tn_scan_loop *loop, tn_tensor **results);

/* fn for every member of a batch at once: the x have the members along axis 0, fn gets tensors
 * without that axis, and each y has what fn gives, along a new axis 0. What fn uses besides x is the
 * same for all. With tn_grad inside, gradients per sample. */
typedef void tn_vmap_fn(tn_tensor *const *x, tn_tensor **y, void *user);
#define tn_vmap(...) tn_vmap_at(TN_HERE, __VA_ARGS__)
TN_API void tn_vmap_at(const char *place, tn_vmap_fn *fn, void *user, tn_tensor *const *x,
                       int x_count, tn_tensor **y, int y_count);

#ifdef __cplusplus
}
#endif

#include <tenon/tensor_ops.h>

#include <tenon/tensor_layers.h>
#endif

/* The kernels of a program as functions of this process: rendered, compiled, cached, loaded. */
#ifndef TENON_SESSION_KERNELS_H
#define TENON_SESSION_KERNELS_H

#include <tenon/session.h>

#include "codegen/target.h"
#include "machine/costs.h"
#include "program/program.h"
#include "toolchain/cache.h"
#include "toolchain/cc.h"
#include "toolchain/object.h"

/* How this process compiles: found once per model. */
typedef struct tn_compiler {
    tn_cache cache;
    tn_cc cc;
    bool has_cc; /* false: interpret */
    const tn_target *target;
    tn_costs costs; /* measured by `tenon doctor --measure`, or common ones */
} tn_compiler;

/* Chooses cache, compiler and target. A missing compiler is an error in mode TN_COMPILE_CC only;
 * otherwise a warning says once that the interpreter is slow and what to install. TENON_TARGET
 * names another target than the machine's. */
tn_status tn_compiler_init(tn_compiler *c, const tn_model_options *options, tn_error *err);

typedef struct tn_kernels {
    tn_object object;
    tn_kernel_fn **functions; /* one per kernel; NULL: interpret */
    bool cached;              /* the object came from the cache */
} tn_kernels;

/* Kernels that prepare the weights are compiled apart from those that runs need: the weights are
 * prepared while the others are still compiled, and a warm start does not meet them. */
typedef enum tn_kernel_part { TN_KERNELS_RUN, TN_KERNELS_PREPARE, TN_KERNELS_ALL } tn_kernel_part;

/* The functions of kernels that do not belong to `part` are NULL. */
tn_status tn_kernels_build(tn_kernels *k, const tn_program *p, tn_kernel_part part,
                           const tn_compiler *c, tn_error *err);
/* Functions that `k` lacks are those of `from`, which must outlive it. */
void tn_kernels_fill(tn_kernels *k, const tn_kernels *from, uint32_t count);
/* For a program that is tried once: kernels that `like`, built as `from`, has too are those; the others
 * are compiled and not kept in the cache. `from` must outlive `k`. */
tn_status tn_kernels_build_trial(tn_kernels *k, const tn_program *p, const tn_program *like,
                                 const tn_kernels *from, const tn_compiler *c, tn_error *err);
void tn_kernels_deinit(tn_kernels *k);

/* One C text with all kernels of `p`, functions tn_kernel_0 …: what tenon compile --emit c shows.
 */
tn_status tn_kernels_render(const tn_program *p, const tn_target *target, tn_str *out,
                            tn_error *err);

#endif

/* Loop IR → C text with the ABI of tn_kernel_fn; no headers are needed to compile it.
 *
 * The text is meant for -O2 -ffp-contract=off -fno-math-errno -fno-trapping-math -fwrapv and the
 * target's flags. It gives the interpreter's results bit for bit, apart from math functions and
 * `mad`. Aliasing: an output may be the same memory as an input only where every element is read by
 * the lane that writes it, before. */
#ifndef TENON_CODEGEN_RENDER_C_H
#define TENON_CODEGEN_RENDER_C_H

#include "codegen/prelude.h"
#include "codegen/target.h"
#include "loop/loop.h"

/* One translation unit with one kernel, the function `symbol`. */
tn_status tn_render_c(const tn_loop *k, const tn_target *target, const char *symbol, tn_str *out,
                      tn_error *err);

/* For several kernels in one translation unit: each function is rendered, adding what it needs to
 * `prelude`; the text is tn_render_c_head, then all functions. */
tn_status tn_render_c_function(const tn_loop *k, const tn_target *target, const char *symbol,
                               tn_prelude *prelude, tn_str *out, tn_error *err);
void tn_render_c_head(const tn_prelude *prelude, tn_str *out);

#endif

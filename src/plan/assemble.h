/* From fusion groups to a program: kernels, buffers with live ranges, steps in blocks.
 *
 * Step positions are numbered over all blocks in execution order (a control step before the steps
 * of its blocks), so that one number line orders every lifetime. Work on constants alone goes to
 * block 1
 * (`prepare`). A value that is a graph output is written straight into the output's memory. */
#ifndef TENON_PLAN_ASSEMBLE_H
#define TENON_PLAN_ASSEMBLE_H

#include "codegen/lower.h"
#include "plan/plan.h"

enum { TN_BLOCK_MAIN, TN_BLOCK_PREPARE };

tn_status tn_assemble(const tn_graph *g, const tn_plan_options *options, tn_arena *arena,
                      tn_program *out, tn_str *groups_text, tn_error *err);

#endif

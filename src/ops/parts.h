/* More bodies for the families that address elements: contract, indexing, order. ops_common.h has
 * what all families share. */
#ifndef TENON_OPS_PARTS_H
#define TENON_OPS_PARTS_H

#include "ops/ops_common.h"

/* ---- infer ---------------------------------------------------------------------------------- */

/* `acc` must be able to accumulate the operand's elements: their type or a wider one of its kind.
 */
tn_status tn_infer_accumulator(const tn_infer *i, uint32_t which, tn_dtype acc, tn_error *err);

/* Windows along one axis. `base`: distance of x's elements (1: no holes between them). */
typedef struct tn_window {
    int64_t stride, dilation, base, lo, hi;
} tn_window;
/* Their number: floor((dilated size + lo + hi - dilated window) / stride) + 1. Open sizes may still
 * turn out too small when they are bound; then the number is not positive. */
tn_status tn_infer_window(const tn_infer *i, int axis, tn_dim size, tn_dim window, tn_window w,
                          tn_dim *out, tn_error *err);

/* ---- reductions ------------------------------------------------------------------------------ */

/* The combining operation; for argmax and argmin the comparison "is better". */
tn_scalar_op tn_reduce_op(tn_reduce_kind kind);
/* What changes nothing; for argmax and argmin the worst value. */
tn_cell tn_reduce_identity(tn_reduce_kind kind, tn_dtype dtype);

/* ---- axis lists ----------------------------------------------------------------------------- */

int tn_ints_find(const tn_ints *list, int64_t value); /* -1: absent */
static inline void tn_ints_push(tn_ints *list, int64_t value) {
    list->at[list->count++] = value;
}
tn_ints tn_ints_range(int lo, int hi); /* lo, lo + 1 … hi - 1 */
/* Each value plus `by`. */
tn_ints tn_ints_shifted(const tn_ints *list, int64_t by);

/* ---- eval ----------------------------------------------------------------------------------- */

/* All elements of operand `which`, converted to `to`. */
tn_cell *tn_eval_cells(tn_eval_call *e, uint32_t which, tn_dtype to);
/* Offsets of all positions in the space of the given axes of `a`, row-major; *count of them. */
int64_t *tn_eval_offsets(tn_arena *arena, const tn_array *a, const tn_ints *axes, int64_t *count);

/* ---- cost ----------------------------------------------------------------------------------- */

/* Operands read once, results written once, `flops` per element of result 0. */
void tn_cost_per_element(const tn_graph *g, const tn_node_info *n, const int64_t *bindings,
                         double flops, tn_cost *out);

/* ---- lower ---------------------------------------------------------------------------------- */

/* An operand element where `guard` holds, else zero; guard may be NONE. */
tn_lx tn_emit_or_zero(tn_emit *e, const tn_node_info *n, uint32_t which, const tn_lx *index,
                      tn_lx guard);
tn_lx tn_emit_not(tn_loop *k, tn_lx flag);
/* The position of element `at` of window `to` in x: to * stride + at * dilation - lo, over the
 * holes of `base`. Adds to *guard what must hold for it to be an element of x. */
tn_lx tn_emit_window(tn_emit *e, tn_window w, tn_dim size, tn_lx to, tn_lx at, tn_lx *guard);
/* tn_fold.total of a fold by `op` in `acc`. */
tn_dtype tn_sum_total(tn_scalar_op op, tn_dtype acc);
/* A contraction as a plain fold: sum = mad(lhs, rhs, sum). */
void tn_contraction_fold(const tn_contraction *c, tn_fold *out);
void tn_contraction_step(tn_emit *e, const tn_node_info *n, const tn_contraction_rules *rules,
                         const tn_lx *index, const tn_lx *at, const tn_lx *acc, tn_lx *next);
/* Combine by addition; finish with the first register. */
void tn_fold_add(tn_loop *k, const tn_graph *g, const tn_node_info *n, const tn_lx *a,
                 const tn_lx *b, tn_lx *out);
tn_lx tn_fold_first(tn_emit *e, const tn_node_info *n, const tn_lx *index, const tn_lx *acc);

/* ---- vjp, batch ----------------------------------------------------------------------------- */

/* Moves one axis of x to another place, the others keep their order. */
tn_value tn_b_move(tn_builder *b, tn_value x, int from, int to);
/* x reshaped so that its `n` axes from `axis` on become `count` axes of sizes `dim`. */
tn_value tn_b_regroup(tn_builder *b, tn_value x, int axis, int n, int count, const tn_dim *dim);

/* window_gradient.c */
tn_vjp_fn tn__window_vjp;

#endif

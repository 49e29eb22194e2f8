/* Bodies and helpers that the families of src/ops share; more for those that address elements is in
 * parts.h.
 *
 * A rule slot that several operations fill alike names one of these bodies. A slot that has no rule
 * says why: `.vjp = TN_REFUSE("…")`. Sizes of a node and of the builder a rule writes to belong to
 * one table (graph->dims). */
#ifndef TENON_OPS_OPS_COMMON_H
#define TENON_OPS_OPS_COMMON_H

#include "ir/rules.h"

/* ---- slots ---------------------------------------------------------------------------------- */

/* clang-format off */
#define TN_RULE(fn)       {(fn), NULL}
#define TN_REFUSE(reason) {NULL, (reason)}
/* `.lower = TN_LOWER_REFUSE("…")`, `.lower = TN_LOWER_BY(expression_fn)` */
#define TN_LOWER_REFUSE(reason) {.kind = TN_LOWER_REFUSED, .refusal = (reason)}
#define TN_LOWER_BY(fn)         {.kind = TN_LOWER_EXPRESSION, .expression = (fn)}
#define TN_LOWER_VIEW(fn)       {.kind = TN_LOWER_EXPRESSION, .expression = (fn), .view = true}
/* clang-format on */

/* ---- messages ------------------------------------------------------------------------------- */

enum { TN_TEXT_SIZE = 200 };
/* A short text by value, for use inside one call: tn_type_text(dims, type).at */
typedef struct tn_text {
    char at[TN_TEXT_SIZE];
} tn_text;
tn_text tn_type_text(const tn_dims *t, const tn_type *type);    /* f32[2,3,N] */
tn_text tn_shape_text(const tn_dims *t, const tn_shape *shape); /* [2,3,N] */
tn_text tn_dim_text(const tn_dims *t, tn_dim d);

/* ---- infer ---------------------------------------------------------------------------------- */

/* "operand 1 is f32[2,3]: <format>"; returns TN_INVALID. The graph adds operation and name. */
tn_status tn_infer_refuse(const tn_infer *i, uint32_t which, tn_error *err, const char *format, ...)
    TN_PRINTF(4, 5);
/* For what is wrong with an attribute; returns TN_INVALID. */
tn_status tn_infer_refuse_attr(const tn_infer *i, tn_error *err, const char *format, ...)
    TN_PRINTF(3, 4);
/* The same with TN_UNSUPPORTED, for sizes that no proof decides; says to bind them. */
tn_status tn_infer_undecided(const tn_infer *i, tn_error *err, const char *format, ...)
    TN_PRINTF(3, 4);

/* Operand `which` must be of `dtype`, agree with operand `other`, be a scalar, have `rank` axes. */
tn_status tn_infer_dtype(const tn_infer *i, uint32_t which, tn_dtype dtype, tn_error *err);
tn_status tn_infer_same_dtype(const tn_infer *i, uint32_t which, uint32_t other, tn_error *err);
tn_status tn_infer_same_shape(const tn_infer *i, uint32_t which, uint32_t other, tn_error *err);
tn_status tn_infer_same_type(const tn_infer *i, uint32_t which, uint32_t other, tn_error *err);
tn_status tn_infer_scalar(const tn_infer *i, uint32_t which, tn_error *err);
tn_status tn_infer_rank(const tn_infer *i, uint32_t which, int rank, tn_error *err);
/* An attribute axis must lie in 0 … rank-1; a list of axes must do so without repetition. */
tn_status tn_infer_axis(const tn_infer *i, const char *field, int64_t axis, int rank,
                        tn_error *err);
tn_status tn_infer_axes(const tn_infer *i, const char *field, const tn_ints *axes, int rank,
                        tn_error *err);
/* An attribute list must have `count` entries. */
tn_status tn_infer_count(const tn_infer *i, const char *field, int have, int count, tn_error *err);
/* An attribute dtype or shape must be a real one (rank in range, no size that may be negative). */
tn_status tn_infer_attr_dtype(const tn_infer *i, const char *field, tn_dtype dtype, tn_error *err);
tn_status tn_infer_attr_shape(const tn_infer *i, const char *field, const tn_shape *shape,
                              tn_error *err);
/* Result `which` has this type. */
static inline void tn_infer_out(tn_infer *i, uint32_t which, tn_dtype dtype, tn_shape shape) {
    i->out[which] = (tn_type){dtype, shape};
}
/* The result has the type of operand 0. */
tn_status tn_infer_identity(tn_infer *i, tn_error *err);

static inline bool tn_ints_have(const tn_ints *list, int64_t value) {
    for (int i = 0; i < list->count; i++)
        if (list->at[i] == value) return true;
    return false;
}
/* The shape without the axes in `axes`. */
tn_shape tn_shape_without(const tn_shape *shape, const tn_ints *axes);
/* The shape with `size` in front: what `batch` rules make. The rank must have room. */
tn_shape tn_shape_with_front(const tn_shape *shape, tn_dim size);

/* ---- eval ----------------------------------------------------------------------------------- */

/* Copies one element's bytes (NaN payloads survive). Both arrays are of one type. */
void tn_array_copy_element(tn_array *to, int64_t at, const tn_array *from, int64_t element);

/* ---- cost ----------------------------------------------------------------------------------- */

double tn_cost_elements(const tn_graph *g, const tn_shape *shape, const int64_t *bindings);
double tn_cost_bytes(const tn_graph *g, const tn_type *type, const int64_t *bindings);
/* Fills bytes: every operand read once, every result written once. flops stays as it is. */
void tn_cost_traffic(const tn_graph *g, const tn_node_info *n, const int64_t *bindings,
                     tn_cost *out);
/* One operation per result element. */
tn_cost_fn tn_cost_elementwise;
/* Moves its result: reads and writes as many bytes as the results have. */
tn_cost_fn tn_cost_move;
/* Nothing: input, constant. */
tn_cost_fn tn_cost_nothing;

/* ---- lower ---------------------------------------------------------------------------------- */

/* y[i] = x[i] */
tn_lx tn_lower_identity(tn_emit *e, const tn_node_info *n, uint32_t result, const tn_lx *index);
/* Row-major position of `index` in a space, and back. `rank` entries. */
tn_lx tn_emit_linear(tn_emit *e, const tn_lx *index, const tn_dim *dim, int rank);
void tn_emit_delinear(tn_emit *e, tn_lx linear, const tn_dim *dim, int rank, tn_lx *index);
/* Number of points of the space as an index expression. */
tn_lx tn_emit_count(tn_emit *e, const tn_dim *dim, int rank);

/* ---- vjp ------------------------------------------------------------------------------------ */

/* Integer or flag results, or a derivative that is zero almost everywhere: nothing flows. */
tn_vjp_fn tn_vjp_none;
/* The cotangent of the result is that of operand 0. */
tn_vjp_fn tn_vjp_identity;
/* A tensor of one value, of the type of `like`. */
tn_value tn_b_full_like(tn_builder *b, tn_value like, double value);

/* ---- batch ---------------------------------------------------------------------------------- */

/* The operand with the new axis in front: itself, or broadcast along it. */
tn_value tn_batch_operand(tn_builder *b, tn_value v, bool batched, tn_dim size);
/* For each element of x and y, which carry the axis: flag[member] ? x : y. */
tn_value tn_batch_select(tn_builder *b, tn_value flag, tn_value x, tn_value y);
/* Adds the node with other operands and attributes; its results go to out[0 … out_count). */
void tn_batch_node(tn_builder *b, const tn_node_info *n, const tn_value *in, const void *attrs,
                   tn_value *out);
/* All operands get the axis, the attributes stay: element-wise operations. */
tn_batch_fn tn_batch_elementwise;
/* The node once, its results repeated: for operations whose operands are not batched. Fails if one
 * is. */
tn_batch_fn tn_batch_replicate;

/* ---- shard ---------------------------------------------------------------------------------- */

/* All operands split alike or all replicated; no partial sums. */
tn_shard_fn tn_shard_elementwise;
/* The same for what is linear in all operands together (add, neg): partial sums pass too. */
tn_shard_fn tn_shard_linear;
/* Only replicated operands; the results are replicated. */
tn_shard_fn tn_shard_replicated;

#endif

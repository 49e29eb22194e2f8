/* What rewrites ask about values, and small things they build. */
#ifndef TENON_TRANSFORM_MATCH_H
#define TENON_TRANSFORM_MATCH_H

#include "transform/rewrite.h"

/* The node that makes `v` when it is of operation `op`, else NULL. */
const tn_node_info *tn__made_by(const tn_graph *g, tn_value v, tn_op op);
/* Whether all elements of `v` are one constant: a small uniform constant seen through views. */
bool tn__splat(const tn_graph *g, tn_value v, tn_cell *cell);
/* The same, of exactly this value (−0 is not 0). */
bool tn__splat_is(const tn_graph *g, tn_value v, double value);
/* The value at the end of a chain of one-operand views: they repeat, drop or move elements only. */
tn_value tn__behind_views(const tn_graph *g, tn_value v);
/* Whether `v` is a constant seen through views. */
bool tn__is_constant(const tn_graph *g, tn_value v);

/* Whether `v` is the result of a convolution with batch axes (groups). */
bool tn__is_grouped_conv(const tn_graph *g, tn_value v);
/* Whether a permute takes batch axes of a convolution, whose result it permutes, to another place: it brings
 * the results of groups to their channels. */
bool tn__merges_groups(const tn_graph *g, const tn_node_info *permute);

/* Whether it is a convolution with one channel in and out per group and at least 8 groups, without
 * base dilation: the kernel for those leaves padding unread. */
bool tn__is_depthwise(const tn_graph *g, const tn_node_info *n);

/* Whether an axis of `v`, longer than 1, is innermost in memory: views are looked through. */
bool tn__is_innermost(const tn_graph *g, tn_value v, int axis);

/* How the operand of a depthwise convolution lies in memory, and with what kernel it is best off. With its
 * columns innermost, not its channels, the result is stored so, too. */
typedef enum tn__planes {
    TN__PLANES_NONE,   /* channels innermost, or neither */
    TN__PLANES_WIDE,   /* columns innermost, enough for vectors */
    TN__PLANES_NARROW, /* fewer, 1 or 2 spatial axes: turned in parts */
} tn__planes;
tn__planes tn__planes_of(const tn_graph *g, const tn_node_info *conv);

/* A tensor of one value, of the given type. */
tn_value tn__full(tn_builder *b, const tn_type *type, tn_cell cell);

/* Whether the operation works element by element, on operands shaped as its result. */
bool tn__is_elementwise(tn_op op);

/* Whether a permute of `v` costs nothing: it only relabels what `v` repeats or counts. */
bool tn__is_layout_free(const tn_graph *g, tn_value v);

/* The operand that has a layout of its own, of pointwise work with one such; NO_VALUE: it is not so. */
tn_value tn__only_operand(const tn_graph *g, const tn_node_info *n);

/* Result axis i is operand axis perm[i]. Merges with a permute, broadcast or iota that makes `v`.
 */
tn_value tn__permuted(tn_builder *b, tn_value v, const tn_ints *perm);
/* Row: permute(permute(x)) = permute(x); permute(broadcast(x)) = broadcast(permute(x));
 * permute(iota) = iota; a permute that moves nothing is no node. */
bool tn__permute_merge(tn_rewriter *r, const tn_node_info *n, tn_value *out);
tn_ints tn__inverse(const tn_ints *perm);
bool tn__is_identity(const tn_ints *perm);
/* out[i] = list[perm[i]]: per-axis attributes of a permuted value. */
tn_ints tn__permute_ints(const tn_ints *list, const tn_ints *perm);
/* Broadcast with explicit axes; no node when nothing changes. */
tn_value tn__broadcast(tn_builder *b, tn_value x, const tn_shape *shape, const tn_ints *axes);

static inline bool tn__ints_have(const tn_ints *list, int64_t value) {
    for (int i = 0; i < list->count; i++)
        if (list->at[i] == value) return true;
    return false;
}
static inline const tn_shape *tn__shape_of(const tn_graph *g, tn_value v) {
    return &tn_graph_type(g, v)->shape;
}

#endif

/* The engine of table-driven rewrites, used by simplify and sink.
 *
 * A walk copies the graph node by node; each copied node is offered to the rows for its operation,
 * in order. A row looks at producers through r->g and may add nodes through r->b; when it applies,
 * it names values of the same types that replace the node's results. What it leaves unused is
 * dropped after the walk. */
#ifndef TENON_TRANSFORM_REWRITE_H
#define TENON_TRANSFORM_REWRITE_H

#include "ir/builder.h"
#include "transform/pass.h"

typedef struct tn_rewriter {
    tn_graph *g;           /* the graph being built */
    tn_builder b;          /* over g; nodes get the name of the one being rewritten */
    TN_VEC(uint32_t) uses; /* of values of g, as far as the graph being read says */
    bool float_unsafe;
} tn_rewriter;

/* `n` is a copy of the node's record and may be kept while nodes are added. */
typedef bool tn_rewrite_fn(tn_rewriter *r, const tn_node_info *n, tn_value *out);

typedef struct tn_rewrite {
    const char *name;
    tn_op op; /* TN_OP_COUNT: any */
    tn_rewrite_fn *apply;
    bool float_unsafe; /* for floats only with the option of that name */
} tn_rewrite;

typedef struct tn_rewrite_table {
    const tn_rewrite *rows;
    size_t count;
} tn_rewrite_table;

/* Walks until no row applies, at most `walks` times; fills `out` without dead nodes. `self` is run
 * over sub-graphs. */
tn_status tn__rewrite(const tn_graph *in, tn_graph *out, const tn_rewrite_table *tables,
                      size_t table_count, int walks, tn_pass_fn *self,
                      const tn_transform_options *options, tn_error *err);

/* What a row that replaces a single result by `v` returns. */
static inline bool tn__becomes(tn_value v, tn_value *out) {
    *out = v;
    return true;
}

/* The tables, by subject. */
extern const tn_rewrite_table tn__rewrites_arithmetic, tn__rewrites_select, tn__rewrites_view,
    tn__rewrites_slice, tn__rewrites_reduce, tn__rewrites_contract, tn__rewrites_control,
    tn__rewrites_sink, tn__rewrites_reshape;

#endif

/* Passes: each reads a graph and fills a new one that computes the same.
 *
 * A pass keeps every input and output (their order, types and names), works on sub-graphs too, and
 * never changes the graph it reads; both live in one arena and share one table of sizes. When
 * memory runs out it unwinds (tn_guard). Read next: tn_transform_standard() in pass.c. */
#ifndef TENON_TRANSFORM_PASS_H
#define TENON_TRANSFORM_PASS_H

#include "ir/graph.h"

typedef struct tn_transform_options {
    /* Allow rewrites that change rounding or special values (infinities, NaN, −0) of floats. */
    bool float_unsafe;
    bool verify; /* check the graph after every pass */
    /* Called with the graph after each pass; may be NULL. */
    void (*dump)(void *context, const char *pass, const tn_graph *g);
    void *context;
} tn_transform_options;

/* What builds use: nothing unsafe, verification unless NDEBUG is defined. */
tn_transform_options tn_transform_defaults(void);

/* Fills the empty graph `out`. */
typedef tn_status tn_pass_fn(const tn_graph *in, tn_graph *out, const tn_transform_options *options,
                             tn_error *err);

typedef struct tn_pass {
    const char *name;
    tn_pass_fn *run;
} tn_pass;

/* Runs the passes in order. *out is `in` itself when there are none. */
tn_status tn_transform_run(const tn_graph *in, const tn_pass *const *passes, size_t count,
                           const tn_transform_options *options, const tn_graph **out,
                           tn_error *err);
/* The passes of every compile, in their order. */
tn_status tn_transform_standard(const tn_graph *in, const tn_transform_options *options,
                                const tn_graph **out, tn_error *err);

/* ---- parts of passes ------------------------------------------------------------------------ */

/* Copies a node as it is, but runs `self` over its sub-graphs. */
tn_status tn__pass_copy_node(const tn_graph *in, tn_graph *out, tn_node n, tn_value *map,
                             tn_pass_fn *self, const tn_transform_options *options, tn_error *err);
void tn__pass_copy_outputs(const tn_graph *in, tn_graph *out, const tn_value *map);
/* An empty graph beside `out` (the same parent, or the same sources), for what lies between. */
tn_graph *tn__pass_scratch(const tn_graph *in, const tn_graph *out);
/* Gives `v` the name of a value that it replaces, if it has none. */
void tn__pass_keep_name(const tn_graph *in, tn_value old, tn_graph *out, tn_value v);

#endif

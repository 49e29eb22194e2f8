/* The graph: tensors in SSA form.
 *
 * Nodes are appended and never change, operands come before their users, every value has one
 * producer; so the node order is a topological order and a pass is a walk that builds a new graph.
 * Everything lives in one arena. Sub-graphs (of if, while, scan, call) are graphs of their own that
 * share the arena and the table of sizes and see only their inputs. Read next: builder.h, rules.h.
 */
#ifndef TENON_IR_GRAPH_H
#define TENON_IR_GRAPH_H

#include "base/array.h"
#include "base/dim.h"
#include "ir/attrs.h"

typedef uint32_t tn_value; /* index into tn_graph.values */
typedef uint32_t tn_node;  /* index into tn_graph.nodes */
#define TN_NO_VALUE UINT32_MAX

typedef struct tn_value_info {
    tn_type type;
    tn_node node;
    uint32_t result;  /* which output of the node */
    const char *name; /* NULL: none; only inputs, outputs and weights are sure to have one */
} tn_value_info;

typedef struct tn_node_info {
    tn_op op;
    uint32_t in_count, out_count;
    const tn_value *in;
    tn_value out;      /* the first result; the others follow */
    const void *attrs; /* tn_attrs_<op> */
    const char *name;  /* the source model's node, for messages; NULL: none */
} tn_node_info;

/* A mapped weight file that constants point into; the owner of the graph keeps it open. */
typedef struct tn_graph_source {
    const char *path;
    uint64_t device, inode, size, mtime_ns;
} tn_graph_source;

typedef struct tn_graph_output {
    tn_value value;
    const char *name;
    uint32_t in_place; /* 1 + number of the input whose memory the value takes over; 0: none */
} tn_graph_output;

struct tn_graph {
    tn_arena *arena;
    tn_dims *dims;
    tn_graph *parent; /* NULL: the outermost graph */
    TN_VEC(tn_node_info) nodes;
    TN_VEC(tn_value_info) values;
    TN_VEC(tn_value) inputs; /* results of input nodes, in order */
    TN_VEC(tn_graph_output) outputs;
    TN_VEC(tn_graph_source) sources; /* outermost graph only */
    /* Of inputs, then outputs: whether callers see a first axis of size one that the value lacks; NULL:
     * nowhere. Outermost graph only. */
    const bool *unit_fronts;
    /* Of models made one: what each has for itself has a first axis of this size,
     * but for inputs and outputs where members lie elsewhere. 0: none. Outermost graph only. */
    int64_t members;
    const bool
        *member_inputs; /* of each input: its first axis is theirs; NULL: where the size is */
};

/* All unwind when memory runs out (see tn_guard). */
tn_graph *tn_graph_new(tn_arena *arena, tn_dims *dims);
tn_graph *tn_graph_new_sub(tn_graph *parent);
/* An empty outermost graph with the arena, sizes, sources and unit fronts of `g`: where a pass begins. */
tn_graph *tn_graph_new_like(const tn_graph *g);
const tn_graph *tn_graph_root(const tn_graph *g);

/* Appends a node: checks counts, infers result types. `attrs` (may be NULL for all zero) and `in`
 * are copied, a constant's bytes are not. `out` (may be NULL) becomes the first result. The message
 * names the operation, the node and the operands' types. */
tn_status tn_graph_add(tn_graph *g, tn_op op, const tn_value *in, uint32_t in_count,
                       const void *attrs, const char *name, tn_value *out, tn_error *err);
void tn_graph_add_output(tn_graph *g, tn_value value, const char *name);
/* Lets the last output take over the memory of an input with as many elements of its type. Only of the
 * outermost graph, each input once: the verifier tells. It has no effect on values. */
void tn_graph_output_in_place(tn_graph *g, uint32_t input);

static inline const tn_node_info *tn_graph_node(const tn_graph *g, tn_node n) {
    return &g->nodes.data[n];
}
static inline const tn_value_info *tn_graph_value(const tn_graph *g, tn_value v) {
    return &g->values.data[v];
}
static inline const tn_type *tn_graph_type(const tn_graph *g, tn_value v) {
    return &g->values.data[v].type;
}
/* The node that made `v`. */
static inline const tn_node_info *tn_graph_producer(const tn_graph *g, tn_value v) {
    return &g->nodes.data[g->values.data[v].node];
}
/* The type of operand `which` of a node. */
static inline const tn_type *tn_node_type(const tn_graph *g, const tn_node_info *n,
                                          uint32_t which) {
    return tn_graph_type(g, n->in[which]);
}
/* Whether `v` is a constant; *array borrows its bytes. */
bool tn_graph_constant(const tn_graph *g, tn_value v, tn_array *array);

/* ---- sizes that are bound while the program runs ------------------------------------------------ */

/* Marks the symbols (an entry each) of the node's result types and attributes, sub-graphs included. */
void tn_graph_mark_symbols(const tn_graph *g, const tn_node_info *n, bool *used);
/* Per symbol: 1 + the bind_size node of `g` that binds it, 0: none. NULL when there is no such node. */
uint32_t *tn_graph_bound_sizes(const tn_graph *g, tn_arena *arena);

/* Number of uses of each value (operands and outputs); in the arena, indexed by value. */
uint32_t *tn_graph_use_counts(const tn_graph *g, tn_arena *arena);

/* Checks every invariant; collects all findings into `report` (may be NULL). */
tn_status tn_graph_verify(const tn_graph *g, tn_str *report, tn_error *err);

/* The text form; tn_graph_parse reads it back. Large constants print as `<N bytes>` and do not read
 * back unless `full`. */
void tn_graph_print(const tn_graph *g, bool full, tn_str *out);
tn_status tn_graph_parse(tn_arena *arena, const char *text, size_t len, tn_graph **out,
                         tn_error *err);

/* A hash (64 hex digits) of structure, attributes, constants' identity and signature: the names of
 * sizes, inputs and outputs enter, those of nodes and other values do not. */
void tn_graph_hash(const tn_graph *g, char out[65]);
/* Bytes (in the graph's arena) that are equal for nodes of `g` that compute the same from operands
 * `in`; constants beyond 4 KiB are known by their address or place in a file. */
const void *tn_graph_node_key(const tn_graph *g, const tn_node_info *n, const tn_value *in,
                              size_t *size);

/* ---- rebuilding ----------------------------------------------------------------------------- */

/* Copies node `n` of `from` into `to` with operands map[…]; records its results in map. The
 * substitution of sizes (see tn_dim_substitute) is applied to attributes when `with` is not NULL;
 * sizes of another table are otherwise carried over by the symbols' names. Sub-graphs are copied
 * too; a constant's bytes are shared when both graphs live in one arena. */
tn_status tn_graph_copy_node(tn_graph *to, const tn_graph *from, tn_node n, tn_value *map,
                             const tn_dim *with, tn_error *err);
/* The same, but each sub-graph is made by `fn`: it fills the empty `to_sub` from `sub`. */
typedef tn_status tn_sub_graph_fn(void *context, tn_graph *to_sub, const tn_graph *sub,
                                  tn_error *err);
tn_status tn_graph_copy_node_subs(tn_graph *to, const tn_graph *from, tn_node n, tn_value *map,
                                  tn_sub_graph_fn *fn, void *context, tn_error *err);
/* Copies all nodes and outputs of `from` into the empty graph `to`. */
tn_status tn_graph_copy(tn_graph *to, const tn_graph *from, const tn_dim *with, tn_error *err);

#endif

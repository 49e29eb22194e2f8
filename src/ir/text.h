/* Internal to src/ir: pieces of the text form that messages, the verifier and the parser share. */
#ifndef TENON_IR_TEXT_H
#define TENON_IR_TEXT_H

#include "ir/graph.h"

/* Limits of the text form; the parser refuses what goes beyond them. */
enum {
    TN_TEXT_DEPTH = 16,        /* nested sub-graphs */
    TN_TEXT_DIM_DEPTH = 48,    /* nested quotients, minima … of a size */
    TN_TEXT_SMALL = 16,        /* constants of at most so many elements are listed in full */
    TN_TEXT_UNIFORM = 1 << 20, /* bytes of a constant written as `all VALUE` */
    TN_TEXT_UNIFORM_TOTAL = 1 << 28,
};

/* A string in the arena, for messages: when memory runs out, nothing is left to free. */
void tn__str_init_in(tn_str *s, tn_arena *arena);

/* A size in the grammar of parse.c: names that are no identifiers are quoted. */
void tn__print_dim(const tn_dims *t, tn_dim d, tn_str *out);
void tn__print_type(const tn_dims *t, const tn_type *type, tn_str *out);
/* One node without the end of its line; `indent` is the depth of its sub-graphs, if any. */
void tn__print_node(const tn_graph *g, tn_node n, bool full, int indent, tn_str *out);
void tn__print_header(const tn_graph *g, tn_str *out); /* "graph (N in [1,64]) {" */
void tn__print_output(const tn_graph *g, uint32_t i, tn_str *out);
/* One element as its type's value; `#` and hex digits of its bytes where that would not be exact.
 */
void tn__print_element(tn_dtype dtype, const void *element, tn_str *out);

/* Checks operands and attributes and infers the result types (in the graph's arena). */
tn_status tn__graph_infer(const tn_graph *g, tn_op op, const tn_value *in, uint32_t in_count,
                          const void *attrs, tn_type **types, uint32_t *count, tn_error *err);

#endif

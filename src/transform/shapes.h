/* Specialising a graph: open sizes become constants. */
#ifndef TENON_TRANSFORM_SHAPES_H
#define TENON_TRANSFORM_SHAPES_H

#include "ir/graph.h"

typedef struct tn_binding {
    const char *symbol;
    int64_t value;
} tn_binding;

/* A graph (in the same arena, with its own table of sizes) in which each named symbol has its
 * value. A value outside the symbol's bounds, not a multiple of its divisor, or an unknown name is
 * an error; so is a value for which an operation's shapes do not fit. Symbols that are not named
 * stay open. */
tn_status tn_transform_bind(const tn_graph *in, const tn_binding *bindings, size_t count,
                            tn_graph **out, tn_error *err);

#endif

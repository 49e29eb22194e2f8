/* Short words for graphs that tests write down: numbered inputs and outputs, random weights. */
#ifndef TENON_TESTS_GRAPH_WORDS_H
#define TENON_TESTS_GRAPH_WORDS_H

#include "unit/plan/check_plan.h"

static inline tn_value input_of(tn_builder *b, tn_dtype dtype, int rank, const tn_dim *dim) {
    tn_shape s = {.rank = rank};
    for (int i = 0; i < rank; i++) s.dim[i] = dim[i];
    return tn_b_input(b, tn_arena_printf(b->graph->arena, "x%u", b->graph->inputs.len), dtype, &s);
}

/* An input of these sizes: "x0", "x1", … */
#define TYPED(b, dtype, ...)                                                                       \
    input_of((b), (dtype), (int)TN_COUNT(((tn_dim[]){__VA_ARGS__})), (tn_dim[]){__VA_ARGS__})
#define INPUT(b, ...) TYPED(b, TN_f32, __VA_ARGS__)

static inline tn_value weights_of(tn_builder *b, tn_dtype dtype, int rank, const int64_t *dim) {
    tn_array a = tn_array_new(b->graph->arena, dtype, rank, dim);
    fill_random(&a, b->graph->nodes.len);
    return tn_b_constant(b, &a);
}

#define WEIGHTS(b, ...)                                                                            \
    weights_of((b), TN_f32, (int)TN_COUNT(((int64_t[]){__VA_ARGS__})), (int64_t[]){__VA_ARGS__})

/* The next output: "y0", "y1", … */
static inline void out(tn_builder *b, tn_value v) {
    if (v != TN_NO_VALUE)
        tn_graph_add_output(b->graph, v,
                            tn_arena_printf(b->graph->arena, "y%u", b->graph->outputs.len));
}

static inline tn_value dot(tn_builder *b, tn_value x, tn_value y) {
    return tn_b_matmul(b, x, y, tn_b_type(b, x).dtype);
}

#endif

/* Runs a small graph of unknown origin by eval, and planned by the interpreter: nothing may go wrong in
 * memory, whatever its attributes, sizes and constants are. Graphs that would take long are left alone. */
#ifndef TENON_FUZZ_RUN_GRAPH_H
#define TENON_FUZZ_RUN_GRAPH_H

#include <math.h>
#include <stdlib.h>

#include "ir/rules.h"
#include "ops/eval.h"
#include "plan/plan.h"
#include "runtime/instance.h"

enum { FUZZ_MOST_NODES = 128, FUZZ_MOST_SYMBOLS = 16 };
static const double fuzz_most_work = 2e5;

static inline double fuzz_work(const tn_graph *g, const int64_t *symbols);

/* Of the sub-graphs, each as often as it runs. */
static inline double fuzz_inner_work(const tn_graph *g, const tn_node_info *n,
                                     const int64_t *symbols) {
    double work = 0, times = 1;
    if (n->op == TN_OP_while) return INFINITY; /* nothing tells its end */
    if (n->op == TN_OP_scan)
        times = (double)tn_dim_eval(g->dims, ((const tn_attrs_scan *)n->attrs)->length, symbols);
    for (const tn_field *f = tn_op_info_of(n->op)->fields; f->kind != TN_FIELD_END; f++)
        if (f->kind == TN_FIELD_GRAPH)
            work +=
                times *
                fuzz_work(*(tn_graph *const *)(const void *)((const char *)n->attrs + f->offset),
                          symbols);
    return work;
}

/* Operations and elements of one evaluation. */
static inline double fuzz_work(const tn_graph *g, const int64_t *symbols) {
    double work = g->nodes.len > FUZZ_MOST_NODES ? INFINITY : 0;
    for (tn_node i = 0; i < g->nodes.len && work <= fuzz_most_work; i++) {
        const tn_node_info *n = tn_graph_node(g, i);
        tn_cost cost = {0};
        for (uint32_t k = 0; k < n->out_count; k++) {
            const tn_shape *s = &tn_graph_type(g, n->out + k)->shape;
            double count = 1;
            for (int a = 0; a < s->rank; a++)
                count *= (double)tn_dim_eval(g->dims, s->dim[a], symbols);
            work += count >= 0 ? count : INFINITY;
        }
        tn_op_rules_of(n->op)->cost(g, n, symbols, &cost);
        work += 8 + cost.flops + fuzz_inner_work(g, n, symbols);
    }
    return work;
}

/* The greatest value of each size that a run binds: memory is planned and work counted for it. */
static inline void fuzz_run_symbols(const tn_graph *g, int64_t *out) {
    for (tn_node i = 0; i < g->nodes.len; i++) {
        const tn_node_info *n = tn_graph_node(g, i);
        const tn_attrs_bind_size *a = n->attrs;
        uint32_t symbol;
        if (n->op == TN_OP_bind_size && tn_dim_is_symbol(g->dims, a->size, &symbol))
            out[symbol] = tn_dim_eval(g->dims, a->bound, out);
    }
}

/* Small sizes within the symbols' bounds. */
static inline bool fuzz_symbols(const tn_graph *g, int64_t *out) {
    if (g->dims->symbols.len > FUZZ_MOST_SYMBOLS) return false;
    for (uint32_t i = 0; i < g->dims->symbols.len; i++) {
        const tn_dim_symbol *s = &g->dims->symbols.data[i];
        int64_t step = TN_MAX(s->divisor, 1);
        out[i] = (TN_MAX(s->lo, 2) + step - 1) / step * step;
        if (out[i] > s->hi) out[i] = s->lo;
    }
    fuzz_run_symbols(g, out);
    return true;
}

static inline tn_array fuzz_input(const tn_graph *g, tn_value v, const int64_t *symbols,
                                  tn_arena *arena) {
    const tn_type *type = tn_graph_type(g, v);
    int64_t dim[TN_MAX_RANK];
    for (int i = 0; i < type->shape.rank; i++)
        dim[i] = tn_dim_eval(g->dims, type->shape.dim[i], symbols);
    tn_array a = tn_array_new(arena, type->dtype, type->shape.rank, dim);
    /* Indices out of range, negative numbers, infinities and NaN among them. */
    static const double numbers[] = {0, 1, 2, -1, 0.5, 3, -2.5, 1e9, -1e9, INFINITY, NAN, 7};
    for (int64_t i = 0; i < tn_array_count(&a); i++) {
        double x = numbers[(uint64_t)(i * 5 + v) % TN_COUNT(numbers)];
        bool whole = !tn_dtype_is_float(a.dtype);
        if (whole && !isfinite(x)) x = 4;
        tn_array_set(&a, i, whole ? tn_cell_of_int(a.dtype, (int64_t)x) : tn_cell_of(a.dtype, x));
    }
    return a;
}

static inline tn_status fuzz_interpret(const tn_graph *g, const int64_t *symbols,
                                       const tn_array *inputs, tn_arena *arena, tn_error *err) {
    const tn_plan_options options = {.target = tn_target_native()};
    tn_program program;
    tn_instance *instance;
    TN_CHECK(tn_plan(g, &options, arena, &program, err));
    const void **sources = TN_NEW_N(arena, const void *, program.sources.len);
    for (uint32_t i = 0; i < program.sources.len; i++) sources[i] = program.sources.data[i].data;
    if (program.prepared_bytes > 1 << 24) return TN_OK;
    void *prepared = aligned_alloc(64, program.prepared_bytes / 64 * 64 + 64);
    if (!prepared) return TN_OUT_OF_MEMORY;
    tn_executable x = {.program = &program,
                       .functions = TN_NEW_N(arena, tn_kernel_fn *, program.kernels.len),
                       .sources = sources,
                       .prepared = prepared,
                       .driver = &tn_driver_cpu};
    tn_status status = tn_instance_create(&x, &instance, err);
    if (status == TN_OK) {
        status = tn_instance_bind(instance, symbols, err);
        for (uint32_t i = 0; i < program.inputs.len; i++)
            tn_instance_set_input(instance, i, inputs[i].data);
        if (status == TN_OK) status = tn_instance_run(instance, 1, err);
        if (status == TN_OK) status = tn_instance_run(instance, 0, err);
        tn_instance_release(instance);
    }
    free(prepared);
    return status;
}

/* The graph must be verified. */
static inline tn_status fuzz_run_graph(const tn_graph *g, tn_arena *arena, tn_error *err) {
    int64_t symbols[FUZZ_MOST_SYMBOLS];
    if (!fuzz_symbols(g, symbols) || !(fuzz_work(g, symbols) <= fuzz_most_work)) return TN_OK;
    tn_array *inputs = TN_NEW_N(arena, tn_array, g->inputs.len);
    tn_array *outputs = TN_NEW_N(arena, tn_array, g->outputs.len);
    for (uint32_t i = 0; i < g->inputs.len; i++)
        inputs[i] = fuzz_input(g, g->inputs.data[i], symbols, arena);
    tn_status expected = tn_eval_graph(g, inputs, symbols, outputs, arena, err);
    if (expected != TN_OK) return expected;
    tn_status status = fuzz_interpret(g, symbols, inputs, arena, err);
    if (status != TN_OK && status != TN_UNSUPPORTED && status != TN_OUT_OF_MEMORY)
        TN_BUG("eval runs it; planned: %s", err->message);
    return status;
}

#endif

/* Property checks for the rules of one operation: lowering against eval through the loop-IR
 * interpreter, gradients against central differences, batching against single evaluations. */
#ifndef TENON_OP_TEST_H
#define TENON_OP_TEST_H

#include "unit/test.h"

#include "ops/batch.h"
#include "ops/eval.h"
#include "ops/ops_common.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { OP_TEST_SYMBOLS = 8, OP_TEST_VALUES = 8 };

typedef struct op_test {
    tn_arena arena;
    tn_dims dims;
    tn_graph *g;
    tn_builder b;
    tn_error err;
    uint64_t seed;
    int64_t bindings[OP_TEST_SYMBOLS];
} op_test;

static inline void op_test_init(op_test *t) {
    *t = (op_test){.seed = 1};
    tn_arena_init(&t->arena, tn_allocator_system());
    tn_dims_init(&t->dims, &t->arena);
    t->g = tn_graph_new(&t->arena, &t->dims);
    t->b = tn_builder_of(t->g, &t->err);
}

static inline void op_test_deinit(op_test *t) {
    tn_arena_deinit(&t->arena);
}

static inline void op_test_ok(const op_test *t, tn_status status) {
    char text[2048];
    if (status == TN_OK) return;
    tn_error_format(&t->err, text, sizeof text);
    fail_msg("%s", text);
}

/* The builder must have refused, with `part` in the message; it can be used again afterwards. */
static inline void op_test_refused(op_test *t, tn_status status, const char *part) {
    char text[2048];
    tn_error_format(&t->err, text, sizeof text);
    if (t->b.status != status || !strstr(text, part))
        fail_msg("expected %s with '%s', got %s: %s", tn_status_name(status), part,
                 tn_status_name(t->b.status), text);
    t->b = tn_builder_of(t->g, &t->err);
}

static inline tn_dim op_test_symbol(op_test *t, const char *name, int64_t value) {
    tn_dim d = tn_dim_of_symbol(&t->dims, name);
    t->bindings[tn_dims_symbol(&t->dims, name)] = value;
    return d;
}

static inline tn_shape op_shape(int rank, const tn_dim *dim) {
    tn_shape shape = {.rank = rank};
    for (int i = 0; i < rank; i++) shape.dim[i] = dim[i];
    return shape;
}
#define SHAPE_OF(...)                                                                              \
    op_shape((int)(sizeof((tn_dim[]){__VA_ARGS__}) / sizeof(tn_dim)), (tn_dim[]){__VA_ARGS__})
#define SCALAR_SHAPE ((tn_shape){0})

static inline tn_value op_input(op_test *t, tn_dtype dtype, tn_shape shape) {
    return tn_b_input(&t->b, NULL, dtype, &shape);
}

/* ---- arrays --------------------------------------------------------------------------------- */

static inline tn_array op_array(op_test *t, const tn_type *type) {
    int64_t dim[TN_MAX_RANK] = {0};
    for (int i = 0; i < type->shape.rank; i++)
        dim[i] = tn_dim_eval(&t->dims, type->shape.dim[i], t->bindings);
    return tn_array_new(&t->arena, type->dtype, type->shape.rank, dim);
}

/* Random bits: every value of the type, NaN and infinities too. */
static inline tn_array op_any(op_test *t, const tn_type *type) {
    tn_array a = op_array(t, type);
    for (int64_t i = 0; i < tn_array_count(&a); i++) {
        uint64_t bits = test_random(&t->seed);
        if (type->dtype == TN_bool) bits &= 1;
        tn_array_set(&a, i, tn_cell_load(type->dtype, &bits));
    }
    return a;
}

/* Small multiples of 1/4 (integers: small numbers): sums and short products are exact. */
static inline tn_array op_small(op_test *t, const tn_type *type) {
    tn_array a = op_array(t, type);
    double unit = tn_dtype_is_float(type->dtype) ? 0.25 : 1;
    for (int64_t i = 0; i < tn_array_count(&a); i++) {
        double value = ((double)(test_random(&t->seed) % 17) - 8) * unit;
        tn_array_set(&a, i, tn_cell_of(type->dtype, value));
    }
    return a;
}

/* Uniform in [lo, hi]. */
static inline tn_array op_uniform(op_test *t, const tn_type *type, double lo, double hi) {
    tn_array a = op_array(t, type);
    for (int64_t i = 0; i < tn_array_count(&a); i++) {
        double unit = (double)(test_random(&t->seed) >> 11) * 0x1p-53;
        tn_array_set(&a, i, tn_cell_of(type->dtype, lo + (hi - lo) * unit));
    }
    return a;
}

static inline tn_array op_numbers(op_test *t, const tn_type *type, const double *value) {
    tn_array a = op_array(t, type);
    for (int64_t i = 0; i < tn_array_count(&a); i++)
        tn_array_set(&a, i, tn_cell_of(type->dtype, value[i]));
    return a;
}

static inline double op_number(const tn_array *a, int64_t i) {
    return tn_cell_cast(a->dtype, TN_f64, tn_array_get(a, i)).f;
}

/* Equal bits, or both NaN. */
static inline void op_expect_equal(const tn_array *have, const tn_array *want, const char *what) {
    assert_int_equal(have->dtype, want->dtype);
    assert_int_equal(tn_array_count(have), tn_array_count(want));
    for (int64_t i = 0; i < tn_array_count(have); i++) {
        tn_cell a = tn_array_get(have, i), b = tn_array_get(want, i);
        bool nan = tn_dtype_is_float(have->dtype) && isnan(a.f) && isnan(b.f);
        if (a.u != b.u && !nan)
            fail_msg("%s of %s: element %lld is %.17g, expected %.17g", what,
                     tn_dtype_name(have->dtype), (long long)i, op_number(have, i),
                     op_number(want, i));
    }
}

static inline void op_expect_numbers(const tn_array *have, const double *want, int64_t count) {
    assert_int_equal(tn_array_count(have), count);
    for (int64_t i = 0; i < count; i++) {
        double x = op_number(have, i);
        if (!(x == want[i] || (isnan(x) && isnan(want[i]))))
            fail_msg("element %lld is %.17g, expected %.17g", (long long)i, x, want[i]);
    }
}
#define EXPECT_NUMBERS(array, ...)                                                                 \
    op_expect_numbers((array), (double[]){__VA_ARGS__},                                            \
                      (int64_t)(sizeof((double[]){__VA_ARGS__}) / sizeof(double)))

/* ---- evaluation ----------------------------------------------------------------------------- */

/* The value of `v` from arrays for the graph's inputs so far. */
static inline tn_array op_eval(op_test *t, tn_value v, const tn_array *inputs) {
    tn_graph view = *t->g;
    tn_graph_output output = {.value = v};
    tn_array result = {0};
    op_test_ok(t, t->b.status);
    memset(&view.outputs, 0, sizeof view.outputs);
    view.outputs.data = &output;
    view.outputs.len = 1;
    op_test_ok(t, tn_eval_graph(&view, inputs, t->bindings, &result, &t->arena, &t->err));
    return result;
}

static inline void op_eval_node(op_test *t, tn_value v, const tn_array *in, tn_array *out) {
    tn_node n = tn_graph_value(t->g, v)->node;
    op_test_ok(t, tn_eval_node(t->g, n, in, out, t->bindings, &t->arena, &t->err));
}

/* ---- lowering ------------------------------------------------------------------------------- */

typedef struct op_test_emit {
    tn_emit base;
    uint32_t in[OP_TEST_VALUES], out[OP_TEST_VALUES];
} op_test_emit;

static inline tn_lx op_emit_operand(tn_emit *e, const tn_node_info *n, uint32_t which,
                                    const tn_lx *index) {
    op_test_emit *m = (op_test_emit *)e;
    const tn_shape *shape = &tn_node_type(e->graph, n, which)->shape;
    tn_lx offset = tn_emit_linear(e, index, shape->dim, shape->rank);
    return tn_l_load(e->k, m->in[which], offset, e->guard, TN_LX_NONE);
}

static inline void op_emit_store(tn_emit *e, const tn_node_info *n, uint32_t result,
                                 const tn_lx *index, tn_lx value) {
    op_test_emit *m = (op_test_emit *)e;
    const tn_shape *shape = &tn_graph_type(e->graph, n->out + result)->shape;
    tn_l_store(e->k, m->out[result], tn_emit_linear(e, index, shape->dim, shape->rank), value);
}

static inline tn_lx op_emit_result(tn_emit *e, const tn_node_info *n, uint32_t result,
                                   const tn_lx *index) {
    op_test_emit *m = (op_test_emit *)e;
    const tn_shape *shape = &tn_graph_type(e->graph, n->out + result)->shape;
    tn_lx offset = tn_emit_linear(e, index, shape->dim, shape->rank);
    return tn_l_load(e->k, m->out[result], offset, TN_LX_NONE, TN_LX_NONE);
}

static inline tn_kernel_error op_emit_error(tn_emit *e, const tn_node_info *n) {
    (void)e, (void)n;
    return 1;
}

static inline tn_lx op_emit_fold(tn_emit *e, const tn_node_info *n, const tn_lx *index) {
    const tn_fold_rules *rules = tn_op_rules_of(n->op)->lower.fold;
    tn_fold fold;
    uint32_t reg[TN_FOLD_REGISTERS];
    tn_lx at[TN_MAX_RANK], acc[TN_FOLD_REGISTERS], next[TN_FOLD_REGISTERS];
    tn_lx zero = tn_l_int(e->k, 0);
    rules->describe(e->graph, n, &fold);
    for (int i = 0; i < fold.registers; i++) {
        reg[i] = tn_l_register(e->k, fold.dtype[i], 1, "acc");
        tn_l_set(e->k, reg[i], zero, tn_l_const(e->k, fold.dtype[i], fold.init[i]));
    }
    for (int i = 0; i < fold.axes; i++)
        at[i] = tn_l_for(e->k, TN_LOOP_SERIAL, zero, tn_emit_dim(e, fold.extent[i]), "k");
    for (int i = 0; i < fold.registers; i++) acc[i] = tn_l_get(e->k, reg[i], zero);
    rules->step(e, n, index, at, acc, next);
    for (int i = 0; i < fold.registers; i++) next[i] = tn_l_let(e->k, next[i]);
    for (int i = 0; i < fold.registers; i++) tn_l_set(e->k, reg[i], zero, next[i]);
    for (int i = 0; i < fold.axes; i++) tn_l_end(e->k);
    for (int i = 0; i < fold.registers; i++) acc[i] = tn_l_get(e->k, reg[i], zero);
    return rules->finish(e, n, index, acc);
}

static inline void op_emit_node(tn_emit *e, const tn_node_info *n) {
    const tn_lower *lower = &tn_op_rules_of(n->op)->lower;
    if (lower->kind == TN_LOWER_NEST) {
        e->k->tasks = lower->nest->tasks(e, n);
        lower->nest->body(e, n, tn_l_task(e->k));
        return;
    }
    const tn_shape *shape = &tn_graph_type(e->graph, n->out)->shape;
    tn_lx index[TN_MAX_RANK], value;
    e->k->tasks = tn_emit_count(e, shape->dim, shape->rank);
    tn_emit_delinear(e, tn_l_task(e->k), shape->dim, shape->rank, index);
    if (lower->kind == TN_LOWER_EXPRESSION)
        value = lower->expression(e, n, 0, index);
    else
        value = op_emit_fold(e, n, index);
    op_emit_store(e, n, 0, index, value);
}

/* Builds a kernel for the node of `v`, interprets it, and compares with eval bit by bit. */
static inline void op_check_lowering(op_test *t, tn_value v, const tn_array *in) {
    tn_loop k;
    tn_node_info n = *tn_graph_producer(t->g, v);
    op_test_emit m = {
        .base = {.k = &k, .graph = t->g, .operand = op_emit_operand, .store = op_emit_store}};
    m.base.result = op_emit_result;
    m.base.error = op_emit_error;
    tn_array want[OP_TEST_VALUES], have[OP_TEST_VALUES];
    void *buffer[OP_TEST_VALUES];
    size_t elements[OP_TEST_VALUES];
    uint32_t buffers = 0;
    op_eval_node(t, v, in, want);
    tn_loop_init(&k, &t->arena, &t->dims, "test");
    for (uint32_t i = 0; i < n.in_count; i++, buffers++) {
        m.in[i] = tn_l_buffer(&k, TN_LBUF_INPUT, in[i].dtype, "x");
        buffer[buffers] = in[i].data;
        elements[buffers] = (size_t)tn_array_count(&in[i]);
    }
    for (uint32_t i = 0; i < n.out_count; i++, buffers++) {
        m.out[i] = tn_l_buffer(&k, TN_LBUF_OUTPUT, want[i].dtype, "y");
        have[i] = tn_array_new(&t->arena, want[i].dtype, want[i].rank, want[i].dim);
        buffer[buffers] = have[i].data;
        elements[buffers] = (size_t)tn_array_count(&have[i]);
    }
    op_emit_node(&m.base, &n);
    op_test_ok(t, tn_loop_verify(&k, &t->err));
    int64_t *scalars = TN_NEW_N(&t->arena, int64_t, k.scalars.len);
    for (uint32_t i = 0; i < k.scalars.len; i++)
        scalars[i] = tn_dim_eval(&t->dims, k.scalars.data[i].dim, t->bindings);
    int32_t error = 0, counters[1] = {0};
    size_t scratch = tn_loop_scratch_bytes(&k, scalars);
    tn_loop_args args = {.buffers = buffer,
                         .buffer_elements = elements,
                         .scalars = scalars,
                         .scratch = tn_arena_alloc(&t->arena, scratch + 64),
                         .error = &error,
                         .counters = counters};
    args.scratch = (void *)(((uintptr_t)args.scratch + 63) & ~(uintptr_t)63);
    int64_t tasks = tn_loop_task_count(&k, scalars);
    op_test_ok(t, tn_loop_interpret(&k, &args, 0, tasks, &t->err));
    assert_int_equal(error, 0);
    for (uint32_t i = 0; i < n.out_count; i++)
        op_expect_equal(&have[i], &want[i], tn_op_info_of(n.op)->name);
}

/* ---- gradients ------------------------------------------------------------------------------ */

/* Infinite elements (the start of an exclusive maximum) do not depend on the operands. */
static inline double op_weighted_sum(op_test *t, tn_value v, const tn_array *in,
                                     const tn_array *weight) {
    tn_array out[OP_TEST_VALUES], *y = &out[0];
    double sum = 0;
    op_eval_node(t, v, in, out);
    for (int64_t i = 0; i < tn_array_count(y); i++)
        if (isfinite(op_number(y, i))) sum += op_number(y, i) * op_number(weight, i);
    return sum;
}

/* Compares the vjp rule of the node of `v` (f64, operands are the graph's inputs in order) with
 * central differences of the weighted sum of its result. */
static inline void op_check_vjp(op_test *t, tn_value v, const tn_array *in) {
    tn_node_info n = *tn_graph_producer(t->g, v);
    tn_type type = *tn_graph_type(t->g, v);
    tn_value d[OP_TEST_VALUES], out[OP_TEST_VALUES], grads[OP_TEST_VALUES];
    for (uint32_t i = 0; i < OP_TEST_VALUES; i++) {
        d[i] = grads[i] = TN_NO_VALUE;
        out[i] = v + i;
    }
    d[0] = op_input(t, type.dtype, type.shape);
    tn_array inputs[OP_TEST_VALUES + 1];
    assert_int_equal(t->g->inputs.len, n.in_count + 1);
    for (uint32_t i = 0; i < n.in_count; i++) inputs[i] = in[i];
    inputs[n.in_count] = op_uniform(t, &type, -1, 1);
    tn_op_rules_of(n.op)->vjp.rule(&t->b, t->g, &n, n.in, out, d, grads);
    op_test_ok(t, t->b.status);
    for (uint32_t i = 0; i < n.in_count; i++) {
        if (in[i].dtype != TN_f64) {
            assert_int_equal(grads[i], TN_NO_VALUE);
            continue;
        }
        assert_int_not_equal(grads[i], TN_NO_VALUE);
        tn_array grad = op_eval(t, grads[i], inputs);
        assert_int_equal(tn_array_count(&grad), tn_array_count(&in[i]));
        for (int64_t k = 0; k < tn_array_count(&in[i]); k++) {
            double *x = (double *)in[i].data + k, kept = *x, h = 1e-5, up, down;
            *x = kept + h;
            up = op_weighted_sum(t, v, in, &inputs[n.in_count]);
            *x = kept - h;
            down = op_weighted_sum(t, v, in, &inputs[n.in_count]);
            *x = kept;
            double want = (up - down) / (2 * h), have = op_number(&grad, k);
            if (!(fabs(have - want) <= 1e-6 * fmax(1, fabs(want))))
                fail_msg("%s: gradient of operand %u, element %lld at %g is %.9g, expected %.9g",
                         tn_op_info_of(n.op)->name, i, (long long)k, kept, have, want);
        }
    }
}

/* ---- batching ------------------------------------------------------------------------------- */

enum { OP_TEST_MEMBERS = 3 };

/* Element bytes of member `m` of a batched array. */
static inline tn_array op_member(const tn_array *wide, int m) {
    tn_array a = {.dtype = wide->dtype, .rank = wide->rank - 1};
    memcpy(a.dim, wide->dim + 1, sizeof(int64_t) * (size_t)a.rank);
    a.data = (char *)wide->data + (size_t)m * tn_array_bytes(&a);
    return a;
}

/* For the operands in `batched`: the batched node against single evaluations of the node of `v`. */
static inline void op_check_batch_of(op_test *t, tn_value v, const bool *batched) {
    tn_graph *home = t->g;
    tn_node_info n = *tn_graph_producer(home, v);
    tn_value in[OP_TEST_VALUES], out[OP_TEST_VALUES];
    tn_array inputs[OP_TEST_VALUES], single[OP_TEST_VALUES], want[OP_TEST_VALUES];
    const tn_batching how = tn_batching_of(OP_TEST_MEMBERS, false);
    t->g = tn_graph_new(&t->arena, &t->dims);
    t->b = tn_builder_of(t->g, &t->err);
    for (uint32_t i = 0; i < n.in_count; i++) {
        tn_type type = *tn_graph_type(home, n.in[i]);
        if (batched[i]) type.shape = tn_shape_with_front(&type.shape, OP_TEST_MEMBERS);
        in[i] = op_input(t, type.dtype, type.shape);
        inputs[i] = op_small(t, &type);
    }
    tn_op_rules_of(n.op)->batch.rule(&t->b, home, &n, &how, in, batched, out);
    for (uint32_t r = 0; r < n.out_count; r++) {
        tn_array wide = op_eval(t, out[r], inputs);
        tn_graph *batched_graph = t->g;
        assert_int_equal(wide.dim[0], OP_TEST_MEMBERS);
        for (int m = 0; m < OP_TEST_MEMBERS; m++) {
            for (uint32_t i = 0; i < n.in_count; i++)
                single[i] = batched[i] ? op_member(&inputs[i], m) : inputs[i];
            t->g = home;
            op_eval_node(t, v, single, want);
            t->g = batched_graph;
            tn_array have = op_member(&wide, m);
            op_expect_equal(&have, &want[r], "a batched member");
        }
    }
    t->g = home;
    t->b = tn_builder_of(home, &t->err);
}

/* All choices of batched operands but none. */
static inline void op_check_batch(op_test *t, tn_value v) {
    uint32_t count = tn_graph_producer(t->g, v)->in_count;
    for (unsigned mask = 1; mask < 1u << count; mask++) {
        bool batched[OP_TEST_VALUES];
        for (uint32_t i = 0; i < count; i++) batched[i] = mask >> i & 1;
        op_check_batch_of(t, v, batched);
    }
}

/* ---- running tests -------------------------------------------------------------------------- */

static inline int op_test_setup(void **state) {
    op_test *t = malloc(sizeof *t);
    assert_non_null(t);
    op_test_init(t);
    *state = t;
    return 0;
}

static inline int op_test_teardown(void **state) {
    op_test_deinit(*state);
    free(*state);
    return 0;
}
#define OP_TEST(name) cmocka_unit_test_setup_teardown(name, op_test_setup, op_test_teardown)

#endif

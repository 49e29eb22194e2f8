/* Gradients of every primitive against central differences in f64, and the gradients of these
 * gradients. The samples are graphs in tests/golden/gradients.txt; a row of ops.def without one
 * fails, unless the table of reasons below has it. */
#include "unit/test.h"

#include "ops/gradient.h"
#include "unit/graph_test.h"
#include "unit/sample_values.h"

/* ---- operations without a gradient ---------------------------------------------------------- */

static const struct {
    tn_op op;
    const char *reason;
} without[] = {
    {TN_OP_input, "no operands"},
    {TN_OP_constant, "no operands"},
    {TN_OP_iota, "no operands"},
    {TN_OP_axis_index, "no operands"},
    {TN_OP_random_bits, "integers in, integers out"},
    {TN_OP_not, "flags or integers"},
    {TN_OP_popcount, "integers"},
    {TN_OP_and, "flags or integers"},
    {TN_OP_or, "flags or integers"},
    {TN_OP_xor, "flags or integers"},
    {TN_OP_shl, "integers"},
    {TN_OP_shr, "integers"},
    {TN_OP_is_nan, "flags"},
    {TN_OP_is_inf, "flags"},
    {TN_OP_eq, "flags"},
    {TN_OP_ne, "flags"},
    {TN_OP_lt, "flags"},
    {TN_OP_le, "flags"},
    {TN_OP_gt, "flags"},
    {TN_OP_ge, "flags"},
    {TN_OP_bitcast, "the rule refuses floats"},
    {TN_OP_bind_size, "integers"},
};

static const char *reason_without(tn_op op) {
    for (size_t i = 0; i < TN_COUNT(without); i++)
        if (without[i].op == op) return without[i].reason;
    return NULL;
}

/* ---- samples -------------------------------------------------------------------------------- */

static golden samples;
static bool sampled[TN_OP_COUNT];

enum { MAX_XS = 8, MAX_INPUTS = 64 };

typedef struct sample {
    graph_test t;
    const char *name;
    tn_graph *g;
    tn_builder b;
    sample_values values;
    tn_value x[MAX_XS];
    int x_count;
    tn_array in[MAX_INPUTS]; /* of each input of the graph */
} sample;

static void fill_input(sample *s, uint32_t at, const char *kind) {
    assert_true(at < MAX_INPUTS);
    const tn_type *type = tn_graph_type(s->g, s->g->inputs.data[at]);
    s->in[at] = tn_array_new(&s->t.arena, type->dtype, type->shape.rank, type->shape.dim);
    assert_true(type->dtype == TN_f64 || sample_is_list(kind));
    sample_fill(&s->values, kind, &s->in[at]);
}

static void note_operations(const tn_graph *g) {
    for (tn_node n = 0; n < g->nodes.len; n++) {
        const tn_node_info *node = tn_graph_node(g, n);
        for (uint32_t i = 0; i < node->in_count; i++)
            if (tn_node_type(g, node, i)->dtype == TN_f64) sampled[node->op] = true;
    }
}

static void sample_open(sample *s, const golden_section *section) {
    *s = (sample){.name = section->name, .values.seed = 7};
    graph_test_init(&s->t);
    s->g = graph_of_n(&s->t, section->part[0], section->len[0]);
    s->b = tn_builder_of(s->g, &s->t.err);
    note_operations(s->g);
    for (uint32_t i = 0; i < s->g->inputs.len; i++) {
        tn_value v = s->g->inputs.data[i];
        fill_input(s, i, tn_graph_value(s->g, v)->name);
        if (s->in[i].dtype != TN_f64) continue;
        assert_true(s->x_count < MAX_XS);
        s->x[s->x_count++] = v;
    }
}

/* ---- sums of what is differentiated --------------------------------------------------------- */

/* Σ v·w with w a new input of random numbers. */
static tn_value weighted(sample *s, tn_value v) {
    tn_type type = tn_b_type(&s->b, v);
    tn_value w = tn_b_input(&s->b, NULL, type.dtype, &type.shape);
    int axes[TN_MAX_RANK];
    must(&s->t, s->b.status);
    fill_input(s, s->g->inputs.len - 1, NULL);
    for (int i = 0; i < type.shape.rank; i++) axes[i] = i;
    v = tn_b_mul(&s->b, v, w);
    return type.shape.rank ? tn_b_sum(&s->b, v, axes, type.shape.rank, false) : v;
}

static tn_value weighted_sum(sample *s, const tn_value *v, int count) {
    tn_value sum = tn_b_scalar(&s->b, TN_f64, 0);
    for (int i = 0; i < count; i++)
        if (tn_b_type(&s->b, v[i]).dtype == TN_f64) sum = tn_b_add(&s->b, sum, weighted(s, v[i]));
    must(&s->t, s->b.status);
    return sum;
}

/* The value of v for the inputs as they are; what was evaluated is dropped with `arena`. */
static tn_array value_of(sample *s, tn_value v, tn_arena *arena) {
    tn_graph view = *s->g;
    tn_graph_output output = {.value = v};
    tn_array out;
    memset(&view.outputs, 0, sizeof view.outputs);
    view.outputs.data = &output;
    view.outputs.len = 1;
    must(&s->t, tn_eval_graph(&view, s->in, NULL, &out, arena, &s->t.err));
    return out;
}

static double number_of(sample *s, tn_value scalar) {
    tn_arena arena;
    tn_arena_init(&arena, tn_allocator_system());
    tn_array out = value_of(s, scalar, &arena);
    double value = tn_array_get(&out, 0).f;
    tn_arena_deinit(&arena);
    return value;
}

/* ∂scalar/∂x by the formula of order four: the error is of order h⁴ + ε/h. */
static double difference(sample *s, tn_value scalar, double *x) {
    double kept = *x, h = 2e-4, at[4];
    for (int i = 0; i < 4; i++) {
        *x = kept + (i < 2 ? i - 2 : i - 1) * h;
        at[i] = number_of(s, scalar);
    }
    *x = kept;
    return (at[0] - 8 * at[1] + 8 * at[2] - at[3]) / (12 * h);
}

static void check_gradient(sample *s, const char *order, tn_value scalar, int which, tn_value grad,
                           double *most) {
    tn_array have = value_of(s, grad, &s->t.arena);
    tn_value x = s->x[which];
    tn_array *in = &s->in[0];
    for (uint32_t i = 0; s->g->inputs.data[i] != x; i++) in++;
    assert_int_equal(tn_array_count(&have), tn_array_count(in));
    for (int64_t k = 0; k < tn_array_count(in); k++) {
        double want = difference(s, scalar, (double *)in->data + k);
        double found = tn_array_get(&have, k).f;
        *most = fmax(*most, fabs(want));
        if (!(fabs(found - want) <= 1e-6 * fmax(1, *most) * 0.1))
            fail_msg("%s: %s derivative with respect to operand %d, element %lld: %.10g, "
                     "expected %.10g",
                     s->name, order, which, (long long)k, found, want);
    }
}

static void check_all(sample *s, const char *order, tn_value scalar, tn_value *grads) {
    double most = 0;
    tn_b_gradient(&s->b, scalar, TN_NO_VALUE, s->x, s->x_count, grads);
    must(&s->t, s->b.status);
    must(&s->t, tn_graph_verify(s->g, NULL, &s->t.err));
    for (int i = 0; i < s->x_count; i++) check_gradient(s, order, scalar, i, grads[i], &most);
}

static void test_gradients__equal_central_differences(void **state) {
    sample s;
    tn_value outputs[MAX_INPUTS], grads[MAX_XS];
    sample_open(&s, *state);
    int count = (int)s.g->outputs.len;
    for (int i = 0; i < count; i++) outputs[i] = s.g->outputs.data[i].value;
    tn_value y = weighted_sum(&s, outputs, count);
    check_all(&s, "first", y, grads);
    if (!strstr(s.name, "(once)")) {
        tn_value again = weighted_sum(&s, grads, s.x_count);
        check_all(&s, "second", again, grads);
    }
    graph_test_deinit(&s.t);
}

static void test_operations__all_have_a_sample_or_a_reason(void **state) {
    (void)state;
    for (tn_op op = 0; op < TN_OP_COUNT; op++) {
        const char *name = tn_op_info_of(op)->name, *reason = reason_without(op);
        if (!sampled[op] && !reason)
            fail_msg("%s: add a sample to tests/golden/gradients.txt, or a reason to this file",
                     name);
        if (sampled[op] && reason) fail_msg("%s has a sample, yet '%s'", name, reason);
    }
}

int main(int argc, char **argv) {
    (void)argc;
    golden_open(&samples, "tests/golden/gradients.txt", 1, argv);
    struct CMUnitTest tests[GOLDEN_SECTIONS + 1];
    for (int i = 0; i < samples.count; i++)
        tests[i] =
            (struct CMUnitTest){samples.section[i].name, test_gradients__equal_central_differences,
                                NULL, NULL, &samples.section[i]};
    size_t count = (size_t)samples.count;
    tests[count++] =
        (struct CMUnitTest)cmocka_unit_test(test_operations__all_have_a_sample_or_a_reason);
    int failed = _cmocka_run_group_tests("gradients", tests, count, NULL, NULL);
    return golden_finish(&samples, failed);
}

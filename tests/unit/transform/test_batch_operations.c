/* Every operation for many members beside each member alone, bit for bit: inputs of any subset are the
 * members' own, along any axis; batching twice in both orders; members that are NaN; and gradients before
 * and after. Samples are graphs in tests/golden/batch.txt and gradients.txt; a row of ops.def without one
 * fails. */
#include "unit/transform/batch_lab.h"

#include "ops/gradient.h"

static golden samples, differentiable;
static bool sampled[TN_OP_COUNT];

enum { MOST_SUBSETS = 7 };

static batch_lab *lab_of(golden_section *section, const tn_graph **g) {
    void *made;
    batch_lab_setup(&made);
    batch_lab *t = made;
    t->label = section->name;
    t->fill = batch_fill_sample;
    for (const char *c = section->name; *c; c++) t->seed = t->seed * 31 + (uint64_t)*c;
    *g = graph_of_n(&t->t, section->part[0], section->len[0]);
    return t;
}

static void lab_end(batch_lab *t) {
    void *made = t;
    batch_lab_teardown(&made);
}

/* ---- alone ---------------------------------------------------------------------------------- */

static bool *own_of(batch_lab *t, const tn_graph *g, uint64_t set) {
    bool *own = TN_NEW_N(&t->t.arena, bool, g->inputs.len);
    for (uint32_t i = 0; i < g->inputs.len; i++) own[i] = set >> i & 1;
    return own;
}

/* All subsets of few inputs; of many, all inputs, each alone, and some. */
static uint64_t subset(batch_lab *t, const tn_graph *g, int which) {
    uint64_t all = ((uint64_t)1 << g->inputs.len) - 1;
    if (all <= MOST_SUBSETS) return (uint64_t)which;
    if (which == 1) return all;
    return test_random(&t->seed) & all;
}

static void test_operations__are_those_of_members_alone(void **state) {
    const tn_graph *g;
    batch_lab *t = lab_of(*state, &g);
    for (int i = 0; i <= MOST_SUBSETS && i >> g->inputs.len == 0; i++) {
        int members = 1 + (i + (int)g->nodes.len) % 3;
        bool *own = own_of(t, g, subset(t, g, i));
        tn_batch_spec spec = {.members = members, .same_randoms = true};
        spec.inputs = batch_random_ports(t, g, g->inputs.data, g->inputs.len, own);
        spec.outputs = batch_random_ports(t, g, batch_output_values(t, g), g->outputs.len, NULL);
        batch_check_spec(t, g, &spec, members);
    }
    lab_end(t);
}

/* ---- twice ---------------------------------------------------------------------------------- */

static void expect_equal(batch_lab *t, const tn_array *a, const tn_array *b, uint32_t output) {
    assert_int_equal(tn_array_count(a), tn_array_count(b));
    batch_expect(t, a, b, output, 0);
}

/* Ports along `axis` of inputs that the set has. */
static tn_batch_port *ports_at(batch_lab *t, uint32_t count, uint64_t set, const int *axis) {
    tn_batch_port *ports = TN_NEW_N(&t->t.arena, tn_batch_port, count);
    for (uint32_t i = 0; i < count; i++) ports[i].axis = set >> i & 1 ? axis[i] : -1;
    return ports;
}

/* Members of 2 in front of members of 3, made in either order. */
static void test_operations__batch_twice_in_both_orders(void **state) {
    enum { MOST_INPUTS = 64 };
    const tn_graph *g;
    batch_lab *t = lab_of(*state, &g);
    uint64_t inner = subset(t, g, 1), outer = test_random(&t->seed);
    int zero[MOST_INPUTS] = {0}, behind[MOST_INPUTS];
    assert_true(g->inputs.len <= MOST_INPUTS && g->outputs.len <= MOST_INPUTS);
    for (int i = 0; i < MOST_INPUTS; i++) behind[i] = outer >> i & 1;
    const tn_batch_port second = {.axis = 1};
    tn_batch_port *one = TN_NEW_N(&t->t.arena, tn_batch_port, g->outputs.len);
    for (uint32_t i = 0; i < g->outputs.len; i++) one[i] = second;
    const tn_batch_spec three = {3, ports_at(t, g->inputs.len, inner, zero), NULL, false, true};
    const tn_batch_spec two = {2, ports_at(t, g->inputs.len, outer, zero), NULL, false, true};
    const tn_batch_spec late = {3, ports_at(t, g->inputs.len, inner, behind), one, false, true};
    tn_batched x = batch_make(t, g, &three), xy = batch_make(t, x.graph, &two);
    tn_batched y = batch_make(t, g, &two), yx = batch_make(t, y.graph, &late);
    const tn_batch_spec none = {1, ports_at(t, g->inputs.len, 0, zero), NULL, false, true};
    batch_values v = batch_random_values(t, xy.graph, &none, 1);
    const tn_array *a = batch_run(t, xy.graph, v.in[0]), *b = batch_run(t, yx.graph, v.in[0]);
    for (uint32_t i = 0; i < g->outputs.len; i++) expect_equal(t, &a[i], &b[i], i);
    lab_end(t);
}

/* ---- apart ---------------------------------------------------------------------------------- */

static void fill_nan(tn_array *a) {
    for (int64_t i = 0; i < tn_array_count(a); i++) tn_array_set(a, i, (tn_cell){.f = NAN});
}

static void expect_member_kept(batch_lab *t, const tn_array *a, const tn_array *b, int members,
                               int m) {
    size_t size = tn_array_bytes(a) / (size_t)members;
    if (memcmp((char *)a->data + (size_t)m * size, (char *)b->data + (size_t)m * size, size) != 0)
        fail_msg("%s: member %d has other bits when another one is NaN", t->label, m);
}

/* One member's numbers become NaN, one input after the other. */
static void test_operations__keep_members_apart(void **state) {
    enum { MEMBERS = 3 };
    const tn_graph *g;
    batch_lab *t = lab_of(*state, &g);
    const tn_batch_spec spec = {.members = MEMBERS, .same_randoms = true};
    tn_batched made = batch_make(t, g, &spec);
    batch_values v = batch_random_values(t, g, &spec, MEMBERS);
    batch_assemble(t, g, made.graph, &spec, MEMBERS, &v);
    const tn_array *before = batch_run(t, made.graph, v.wide);
    for (uint32_t i = 0; i < g->inputs.len; i++) {
        int ill = (int)(i % MEMBERS);
        if (!tn_dtype_is_float(v.in[ill][i].dtype)) continue;
        fill_nan(&v.in[ill][i]);
        batch_assemble(t, g, made.graph, &spec, MEMBERS, &v);
        const tn_array *after = batch_run(t, made.graph, v.wide);
        for (uint32_t o = 0; o < g->outputs.len; o++)
            for (int m = 0; m < MEMBERS; m++)
                if (m != ill) expect_member_kept(t, &before[o], &after[o], MEMBERS, m);
        v = batch_random_values(t, g, &spec, MEMBERS);
    }
    lab_end(t);
}

/* ---- gradients ------------------------------------------------------------------------------ */

enum { MOST_XS = 8 };

/* Of Σ outputs · weights, the weights being new inputs, with respect to all inputs of `of`: outputs in
 * their order. */
static tn_graph *gradient_of(batch_lab *t, const tn_graph *of) {
    tn_graph *g = tn_graph_new_like(of);
    tn_builder b = tn_builder_of(g, &t->t.err);
    tn_value *map = TN_NEW_N(&t->t.arena, tn_value, of->values.len);
    tn_value xs[MOST_XS], grads[MOST_XS], sum = tn_b_scalar(&b, TN_f64, 0);
    int count = 0, axes[TN_MAX_RANK];
    for (int i = 0; i < TN_MAX_RANK; i++) axes[i] = i;
    for (tn_node p = 0; p < of->nodes.len; p++)
        must(&t->t, tn_graph_copy_node(g, of, p, map, NULL, &t->t.err));
    for (uint32_t i = 0; i < of->inputs.len; i++)
        if (tn_graph_type(of, of->inputs.data[i])->dtype == TN_f64 && count < MOST_XS)
            xs[count++] = g->inputs.data[i];
    for (uint32_t o = 0; o < of->outputs.len; o++) {
        tn_value y = map[of->outputs.data[o].value];
        tn_type type = tn_b_type(&b, y);
        if (type.dtype != TN_f64) continue;
        y = tn_b_mul(&b, y, tn_b_input(&b, NULL, type.dtype, &type.shape));
        sum = tn_b_add(&b, sum, tn_b_sum(&b, y, axes, type.shape.rank, false));
    }
    tn_b_gradient(&b, sum, TN_NO_VALUE, xs, count, grads);
    must(&t->t, b.status);
    for (int i = 0; i < count; i++) tn_graph_add_output(g, grads[i], NULL);
    return g;
}

/* Σ over members, axis 0. */
static tn_array sum_of_members(batch_lab *t, const tn_array *wide) {
    tn_array sum = tn_array_new(&t->t.arena, wide->dtype, wide->rank - 1, wide->dim + 1);
    int64_t count = tn_array_count(&sum);
    for (int64_t i = 0; i < count; i++) {
        double x = 0;
        for (int64_t m = 0; m < wide->dim[0]; m++) x += tn_array_get(wide, m * count + i).f;
        tn_array_set(&sum, i, (tn_cell){.f = x});
    }
    return sum;
}

static void check_gradients(batch_lab *t, const tn_graph *g, uint64_t set, int members) {
    tn_graph *of_one = gradient_of(t, g);
    uint64_t weights = ~(uint64_t)0 << g->inputs.len;
    tn_batch_spec spec = {.members = members, .inputs = batch_own(t, g, (unsigned)set)};
    tn_batch_spec wide = {.members = members};
    wide.inputs = batch_own(t, of_one, (unsigned)(set | weights));
    tn_graph *of_all = gradient_of(t, batch_make(t, g, &spec).graph);
    tn_batched all_of = batch_make(t, of_one, &wide);
    batch_values v = batch_random_values(t, of_one, &wide, members);
    batch_assemble(t, of_one, all_of.graph, &wide, members, &v);
    tn_array *a = batch_run(t, of_all, v.wide), *b = batch_run(t, all_of.graph, v.wide);
    for (uint32_t i = 0, o = 0; i < g->inputs.len && o < of_one->outputs.len; i++) {
        if (tn_graph_type(g, g->inputs.data[i])->dtype != TN_f64) continue;
        tn_array each = set >> i & 1 ? b[o] : sum_of_members(t, &b[o]);
        assert_int_equal(tn_array_count(&a[o]), tn_array_count(&each));
        batch_expect(t, &a[o], &each, i, -1);
        o++;
    }
}

static void test_gradients__are_the_same_before_and_after(void **state) {
    const tn_graph *g;
    batch_lab *t = lab_of(*state, &g);
    t->tolerance = 1e-12;
    for (int i = 0; i < 3; i++) check_gradients(t, g, subset(t, g, 1 + i), 2);
    lab_end(t);
}

/* ---- all of them ---------------------------------------------------------------------------- */

static void note_operations(const tn_graph *g) {
    for (tn_node p = 0; p < g->nodes.len; p++) {
        const tn_node_info *n = tn_graph_node(g, p);
        sampled[n->op] = true;
    }
}

static void test_operations__all_have_a_sample(void **state) {
    (void)state;
    golden *files[] = {&samples, &differentiable};
    for (int f = 0; f < 2; f++)
        for (int i = 0; i < files[f]->count; i++) {
            const tn_graph *g;
            batch_lab *t = lab_of(&files[f]->section[i], &g);
            note_operations(g);
            lab_end(t);
        }
    for (tn_op op = 0; op < TN_OP_COUNT; op++)
        if (!sampled[op])
            fail_msg("%s: add a sample to tests/golden/batch.txt", tn_op_info_of(op)->name);
}

static size_t add_tests(struct CMUnitTest *tests, golden *file, CMUnitTestFunction fn) {
    for (int i = 0; i < file->count; i++)
        tests[i] = (struct CMUnitTest){file->section[i].name, fn, NULL, NULL, &file->section[i]};
    return (size_t)file->count;
}

static size_t add_gradients(struct CMUnitTest *tests, golden *file, const char *marked) {
    size_t count = 0;
    for (int i = 0; i < file->count; i++)
        if (strstr(file->section[i].name, marked))
            tests[count++] = (struct CMUnitTest){file->section[i].name,
                                                 test_gradients__are_the_same_before_and_after,
                                                 NULL, NULL, &file->section[i]};
    return count;
}

int main(int argc, char **argv) {
    (void)argc;
    golden_open(&samples, "tests/golden/batch.txt", 1, argv);
    golden_open(&differentiable, "tests/golden/gradients.txt", 1, argv);
    static const CMUnitTestFunction each[] = {test_operations__are_those_of_members_alone,
                                              test_operations__batch_twice_in_both_orders,
                                              test_operations__keep_members_apart};
    static struct CMUnitTest tests[2 * 4 * GOLDEN_SECTIONS];
    size_t count = 0;
    for (size_t i = 0; i < TN_COUNT(each); i++) {
        count += add_tests(tests + count, &samples, each[i]);
        count += add_tests(tests + count, &differentiable, each[i]);
    }
    count += add_gradients(tests + count, &samples, "(gradient)");
    count += add_gradients(tests + count, &differentiable, "");
    tests[count++] = (struct CMUnitTest)cmocka_unit_test(test_operations__all_have_a_sample);
    int failed = _cmocka_run_group_tests("batch", tests, count, NULL, NULL);
    failed = golden_finish(&samples, failed);
    return golden_finish(&differentiable, failed);
}

/* Every operation for many members beside each member alone, bit for bit: inputs of any subset are the
 * members' own, along any axis; batching twice in both orders; members that are NaN; and gradients before
 * and after. Samples are graphs in tests/golden/batch.txt and gradients.txt; a row of ops.def without one
 * fails. */
#include "unit/transform/batch_gradients.h"

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

/* Members of 2 in front of members of 3, made in either order. */
static void test_operations__batch_twice_in_both_orders(void **state) {
    const tn_graph *g;
    batch_lab *t = lab_of(*state, &g);
    uint64_t inner = subset(t, g, 1);
    batch_check_twice(t, g, inner, test_random(&t->seed));
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

static void test_gradients__are_the_same_before_and_after(void **state) {
    const tn_graph *g;
    batch_lab *t = lab_of(*state, &g);
    t->tolerance = 1e-12;
    for (int i = 0; i < 3; i++) batch_check_gradients(t, g, subset(t, g, 1 + i), 2);
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
        if (!sampled[op] && tn_op_rules_of(op)->batch.rule)
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

/* Random graphs of random shapes and sizes that may be open, for many members: evaluated, each member bit
 * for bit as it is alone; planned and compiled, as the reference evaluates the batched graph. So are the
 * samples of tests/golden/batch.txt: loops and branches that differ between members, above all.
 *
 * TENON_RANDOM=FIRST[-LAST] checks these seeds instead of the usual ones. */
#include "unit/transform/batch_gradients.h"

#include "ir/graph.h"
#include "unit/plan/random_graph.h"
#include "unit/plan/shrink_graph.h"

enum {
    EVALUATED = 300,
    TWICE = 40,
    GRADIENTS = 60,
    PLANNED = 24,
    COMPILED = 6,
    SYMBOLS = RANDOM_SYMBOLS + 1
};

static const int64_t bindings[SYMBOLS] = {5, 16, 3};

static void fill_inputs(batch_lab *t, const char *name, tn_array *a, uint64_t *state) {
    (void)t, (void)name;
    fill_small(a, test_random(state));
}

/* Whether the sizes fit; an operation may refuse a window that does not. */
static bool is_possible(batch_lab *t, const tn_graph *g, const tn_array *in) {
    tn_array *out = TN_NEW_N(&t->t.arena, tn_array, g->outputs.len);
    tn_error err = TN_ERROR_INIT;
    return tn_eval_graph(g, in, bindings, out, &t->t.arena, &err) == TN_OK;
}

static tn_batch_spec random_spec(batch_lab *t, const tn_graph *g, int members) {
    bool *own = TN_NEW_N(&t->t.arena, bool, g->inputs.len);
    bool open = g->dims->symbols.len == RANDOM_SYMBOLS && members == 3;
    for (uint32_t i = 0; i < g->inputs.len; i++) own[i] = test_random(&t->seed) % 3 > 0;
    return (tn_batch_spec){
        .members = open ? tn_dim_of_symbol(g->dims, "M") : members,
        .inputs = batch_random_ports(t, g, g->inputs.data, g->inputs.len, own),
        .outputs = batch_random_ports(t, g, batch_output_values(t, g), g->outputs.len, NULL),
        .same_randoms = true};
}

/* Loops may differ between members. */
static batch_lab *lab_of(uint64_t seed, bool precise, random_maker **m) {
    void *made;
    batch_lab_setup(&made);
    batch_lab *t = made;
    t->fill = fill_inputs;
    t->bindings = bindings;
    t->label = tn_arena_printf(&t->t.arena, "seed %llu", (unsigned long long)seed);
    t->seed = seed;
    *m = TN_NEW(&t->t.arena, random_maker);
    (*m)->apart = seed % 2;
    (*m)->precise = precise;
    random_fill(*m, &t->t.arena, seed);
    return t;
}

static void lab_end(batch_lab *t) {
    void *made = t;
    batch_lab_teardown(&made);
}

static void check_evaluated(uint64_t seed) {
    random_maker *m;
    batch_lab *t = lab_of(seed, false, &m);
    int members = 1 + (int)(seed % 3);
    tn_batch_spec spec = random_spec(t, m->g, members);
    batch_values v = batch_random_values(t, m->g, &spec, members);
    if (is_possible(t, m->g, v.in[0])) batch_check_spec(t, m->g, &spec, members);
    lab_end(t);
}

/* The seeds to check: those of the environment, or `count` from `first` on. */
static void seeds(unsigned long long first, unsigned count, unsigned long long range[2]) {
    const char *text = getenv("TENON_RANDOM");
    range[0] = first, range[1] = first + count - 1;
    if (text && sscanf(text, "%llu-%llu", &range[0], &range[1]) == 1) range[1] = range[0];
}

static void for_seeds(unsigned long long first, unsigned count, void (*check)(uint64_t seed)) {
    unsigned long long range[2];
    seeds(first, count, range);
    for (uint64_t seed = range[0]; seed <= range[1]; seed++) check(seed);
}

static void test_random_graphs__are_members_alone(void **state) {
    (void)state;
    for_seeds(1, EVALUATED, check_evaluated);
}

static void check_twice(uint64_t seed) {
    random_maker *m;
    batch_lab *t = lab_of(seed, false, &m);
    const tn_batch_spec one = {.members = 1};
    uint64_t inner = test_random(&t->seed), outer = test_random(&t->seed);
    batch_values v = batch_random_values(t, m->g, &one, 1);
    if (is_possible(t, m->g, v.in[0])) batch_check_twice(t, m->g, inner, outer);
    lab_end(t);
}

static void test_random_graphs__batch_twice_in_both_orders(void **state) {
    (void)state;
    for_seeds(30001, TWICE, check_twice);
}

static void check_gradients(uint64_t seed) {
    random_maker *m;
    batch_lab *t = lab_of(seed, true, &m);
    const tn_batch_spec one = {.members = 1};
    batch_values v = batch_random_values(t, m->g, &one, 1);
    t->tolerance = 1e-9;
    t->may_refuse = m->symbols;
    if (is_possible(t, m->g, v.in[0])) batch_check_gradients(t, m->g, test_random(&t->seed), 2);
    lab_end(t);
}

static void test_random_graphs__have_gradients_of_members(void **state) {
    (void)state;
    for_seeds(40001, GRADIENTS, check_gradients);
}

/* ---- planned -------------------------------------------------------------------------------- */

/* Bounds of the differences are those of one member. NULL: sizes do not fit. */
static plan_case *planned_case(batch_lab *t, const random_maker *m, uint64_t seed) {
    tn_batch_spec spec = random_spec(t, m->g, 2 + (int)(seed % 2));
    plan_case *c = TN_NEW(&t->t.arena, plan_case);
    double *bounds = TN_NEW_N(&t->t.arena, double, m->g->outputs.len);
    for (uint32_t i = 0; i < m->g->outputs.len; i++)
        bounds[i] = m->bound[m->g->outputs.data[i].value];
    *c = (plan_case){.arena = &t->t.arena,
                     .graph = batch_make(t, m->g, &spec).graph,
                     .label = t->label,
                     .symbols = bindings,
                     .bound = bounds};
    if (plan_case_init(c, true)) return c;
    if (!strstr(c->why, "a size is -")) fail_msg("%s", c->why);
    return NULL;
}

static bool is_planned_wrongly(void *context, const tn_graph *g, const double *bound) {
    tn_arena arena;
    tn_arena_init(&arena, tn_allocator_system());
    double *bounds = TN_NEW_N(&arena, double, g->outputs.len);
    for (uint32_t i = 0; i < g->outputs.len; i++) bounds[i] = bound[g->outputs.data[i].value];
    plan_case c = {
        .arena = &arena, .graph = g, .label = "shrunk", .symbols = bindings, .bound = bounds};
    (void)context;
    bool ok = !plan_case_init(&c, true) || plan_interpret(&c);
    tn_arena_deinit(&arena);
    return !ok;
}

/* Prints what is left of a graph that fails. */
static void report(batch_lab *t, const plan_case *c) {
    double *bound = TN_NEW_N(&t->t.arena, double, c->graph->values.len);
    for (uint32_t v = 0; v < c->graph->values.len; v++) bound[v] = INFINITY;
    for (uint32_t i = 0; i < c->graph->outputs.len; i++)
        bound[c->graph->outputs.data[i].value] = c->bound[i];
    shrink_graph s = {
        .arena = &t->t.arena, .graph = c->graph, .bound = bound, .fails = is_planned_wrongly};
    tn_str text;
    shrink(&s);
    tn_str_init(&text);
    tn_graph_print(s.graph, true, &text);
    fprintf(stderr, "%s:\n%s", t->label, tn_str_text(&text));
    tn_str_deinit(&text);
}

static void check_planned(uint64_t seed) {
    random_maker *m;
    batch_lab *t = lab_of(seed, false, &m);
    plan_case *c = planned_case(t, m, seed);
    if (c && !plan_interpret(c)) {
        report(t, c);
        fail_msg("%s", c->why);
    }
    lab_end(t);
}

static void test_random_graphs__are_planned(void **state) {
    (void)state;
    for_seeds(10001, PLANNED, check_planned);
}

static void check_compiled(uint64_t first, uint32_t most) {
    batch_lab *t[COMPILED];
    plan_case *cases[COMPILED];
    uint32_t count = 0;
    const char *why = NULL;
    for (uint32_t i = 0; i < most; i++) {
        random_maker *m;
        t[i] = lab_of(first + i, false, &m);
        plan_case *c = planned_case(t[i], m, first + i);
        if (c) cases[count++] = c;
    }
    if (!plan_compile(cases, count, &t[0]->t.arena, &why)) fail_msg("%s", why);
    for (uint32_t i = 0; i < most; i++) lab_end(t[i]);
}

static void test_random_graphs__are_compiled(void **state) {
    unsigned long long range[2];
    (void)state;
    if (!plan_has_compiler()) skip();
    seeds(20000, COMPILED, range);
    for (uint64_t at = range[0]; at <= range[1]; at += COMPILED)
        check_compiled(at, (uint32_t)TN_MIN(COMPILED, range[1] - at + 1));
}

/* ---- samples -------------------------------------------------------------------------------- */

static golden samples;

/* A program's inputs and outputs have names. */
static void name_ports(tn_graph *g) {
    for (uint32_t i = 0; i < g->inputs.len; i++)
        g->values.data[g->inputs.data[i]].name = tn_arena_printf(g->arena, "x%u", i);
    for (uint32_t i = 0; i < g->outputs.len; i++)
        g->outputs.data[i].name = tn_arena_printf(g->arena, "y%u", i);
}

static batch_lab *sample_case(const golden_section *section, plan_case **out) {
    void *made;
    batch_lab_setup(&made);
    batch_lab *t = made;
    t->label = section->name;
    t->fill = batch_fill_sample;
    tn_graph *g = graph_of_n(&t->t, section->part[0], section->len[0]);
    const tn_batch_spec spec = {.members = 3};
    tn_graph *wide = batch_make(t, g, &spec).graph;
    batch_values v = batch_random_values(t, g, &spec, 3);
    batch_assemble(t, g, wide, &spec, 3, &v);
    name_ports(wide);
    plan_case *c = TN_NEW(&t->t.arena, plan_case);
    *c = (plan_case){.arena = &t->t.arena,
                     .graph = wide,
                     .label = t->label,
                     .inputs = v.wide,
                     .want = batch_run(t, wide, v.wide)};
    *out = uses_op(g, TN_OP_axis_index) ? NULL : c; /* a kernel has no rank */
    return t;
}

static void test_samples__are_planned(void **state) {
    (void)state;
    for (int i = 0; i < samples.count; i++) {
        plan_case *c;
        batch_lab *t = sample_case(&samples.section[i], &c);
        if (c && !plan_interpret(c)) fail_msg("%s", c->why);
        lab_end(t);
    }
}

int main(int argc, char **argv) {
    (void)argc;
    golden_open(&samples, "tests/golden/batch.txt", 1, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_graphs__are_members_alone),
        cmocka_unit_test(test_random_graphs__batch_twice_in_both_orders),
        cmocka_unit_test(test_random_graphs__have_gradients_of_members),
        cmocka_unit_test(test_random_graphs__are_planned),
        cmocka_unit_test(test_random_graphs__are_compiled),
        cmocka_unit_test(test_samples__are_planned),
    };
    return golden_finish(&samples, cmocka_run_group_tests(tests, NULL, NULL));
}

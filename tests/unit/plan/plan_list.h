/* Lists of graphs: each interpreted, and all of them as compiled kernels for every target. */
#ifndef TENON_TEST_PLAN_LIST_H
#define TENON_TEST_PLAN_LIST_H

#include "unit/plan/check_plan.h"

/* Graph i of a list. *note, if set: what stands in the note of one of its kernels. */
typedef plan_case *plan_maker(tn_arena *arena, size_t i, const char **note);

static inline bool plan_has_note(plan_case *c, const char *note) {
    tn_program p;
    if (!plan_program_of(c, PLAN_FUSED, tn_target_native(), &p)) fail_msg("%s", c->why);
    for (uint32_t i = 0; i < p.kernels.len; i++)
        if (strstr(p.kernels.data[i]->note, note)) return true;
    return false;
}

static inline void plan_list_interpret(plan_maker *make, size_t count) {
    for (size_t i = 0; i < count; i++) {
        tn_arena arena;
        const char *note = NULL;
        tn_arena_init(&arena, tn_allocator_system());
        plan_case *c = make(&arena, i, &note);
        if (note && !plan_has_note(c, note)) fail_msg("%s: no kernel has %s", c->label, note);
        if (!plan_interpret(c)) fail_msg("%s", c->why);
        tn_arena_deinit(&arena);
    }
}

static inline plan_case **plan_list_make(tn_arena *arena, plan_maker *make, size_t count) {
    plan_case **made = TN_NEW_N(arena, plan_case *, count);
    const char *note;
    for (size_t i = 0; i < count; i++) made[i] = make(arena, i, &note);
    return made;
}

static inline void plan_list_compile(plan_maker *make, size_t count) {
    tn_arena arena;
    const char *why = NULL;
    if (!plan_has_compiler()) skip();
    tn_arena_init(&arena, tn_allocator_system());
    if (!plan_compile(plan_list_make(&arena, make, count), (uint32_t)count, &arena, &why))
        fail_msg("%s", why);
    tn_arena_deinit(&arena);
}

/* As if every result were larger than the caches; gives the number of kernels that store past them. */
static inline uint32_t plan_list_stream(plan_maker *make, size_t count) {
    tn_arena arena;
    tn_target target = *tn_target_native();
    uint32_t streams = 0;
    if (!plan_has_compiler()) skip();
    target.stream_bytes = 1;
    tn_arena_init(&arena, tn_allocator_system());
    plan_batch b = {.count = (uint32_t)count, .target = &target, .arena = &arena};
    b.cases = plan_list_make(&arena, make, count);
    if (!plan_batch_check(&b)) fail_msg("%s", b.why);
    for (uint32_t i = 0; i < b.count; i++)
        for (uint32_t k = 0; k < b.programs[i].kernels.len; k++)
            streams += strstr(b.programs[i].kernels.data[k]->note, " stream") != NULL;
    tn_arena_deinit(&arena);
    return streams;
}

/* ---- graphs whose number of kernels is known ------------------------------------------------ */

typedef struct counted_graph {
    build_graph *build;
    const char *name;
    uint32_t kernels;
    const int64_t *symbols;
} counted_graph;

static inline void counted_graph_check(void **state) {
    const counted_graph *t = *state;
    uint32_t kernels = check_graph(t->build, t->symbols, t->name);
    if (kernels != t->kernels)
        fail_msg("%s: %u kernels, expected %u", t->name, kernels, t->kernels);
}

/* A test for each graph beside `others`. */
static inline int counted_graphs_run(counted_graph *graphs, size_t count,
                                     const struct CMUnitTest *others, size_t other_count) {
    tn_arena arena;
    tn_arena_init(&arena, tn_allocator_system());
    struct CMUnitTest *tests = TN_NEW_N(&arena, struct CMUnitTest, count + other_count);
    memcpy(tests, others, other_count * sizeof *others);
    for (size_t i = 0; i < count; i++)
        tests[other_count + i] =
            (struct CMUnitTest){graphs[i].name, counted_graph_check, NULL, NULL, &graphs[i]};
    int failed = _cmocka_run_group_tests("graphs", tests, count + other_count, NULL, NULL);
    tn_arena_deinit(&arena);
    return failed;
}

#endif

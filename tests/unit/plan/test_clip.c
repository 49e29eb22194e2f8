/* max and min with constants, which are one instruction: NaN, infinities, zeros; strided reads. */
#include "ops/compose.h"
#include "unit/plan/check_plan.h"

static const double specials[] = {NAN, INFINITY, -INFINITY, 0.0, -0.0, 1, -1, 6, 7, 1e-40, -1e-40};

static tn_value input(tn_builder *b, tn_dtype dtype, const tn_shape *s) {
    const char *name = tn_arena_printf(b->graph->arena, "x%u", b->graph->inputs.len);
    return tn_b_input(b, name, dtype, s);
}

static void output(tn_builder *b, tn_value v) {
    if (v != TN_NO_VALUE)
        tn_graph_add_output(b->graph, v,
                            tn_arena_printf(b->graph->arena, "y%u", b->graph->outputs.len));
}

static void clip(tn_builder *b, tn_dtype dtype) {
    static const double bounds[] = {0.0, -0.0, 6, -1, INFINITY, -INFINITY, NAN};
    enum { LENGTH = 4 * TN_COUNT(specials) + 3 };
    int64_t length = LENGTH;
    tn_array a = tn_array_new(b->graph->arena, dtype, 1, &length);
    for (int64_t i = 0; i < length; i++)
        tn_array_set(&a, i, tn_cell_of(dtype, specials[i % (int64_t)TN_COUNT(specials)]));
    tn_shape s = {1, {length}};
    /* an unknown 1 keeps the constants from being folded */
    tn_value one = tn_b_exp(b, tn_b_mul_scalar(b, input(b, dtype, &s), 0));
    tn_value x = tn_b_mul(b, tn_b_constant(b, &a), one);
    for (size_t i = 0; i < TN_COUNT(bounds); i++) {
        tn_value c = tn_b_scalar(b, dtype, bounds[i]);
        output(b, tn_b_max(b, x, c));
        output(b, tn_b_max(b, c, x));
        output(b, tn_b_min(b, x, c));
        output(b, tn_b_min(b, c, x));
    }
}

static void clip_f32(tn_builder *b) {
    clip(b, TN_f32);
}
static void clip_f64(tn_builder *b) {
    clip(b, TN_f64);
}
static void clip_bf16(tn_builder *b) {
    clip(b, TN_bf16);
}

static void test_clip__keeps_nan_and_infinities(void **state) {
    (void)state;
    tn_arena arena;
    const char *why = NULL;
    tn_arena_init(&arena, tn_allocator_system());
    plan_case *all[] = {plan_case_of(&arena, clip_f32, NULL, "f32"),
                        plan_case_of(&arena, clip_f64, NULL, "f64"),
                        plan_case_of(&arena, clip_bf16, NULL, "bf16")};
    for (size_t i = 0; i < TN_COUNT(all); i++)
        if (!plan_interpret(all[i])) fail_msg("%s", all[i]->why);
    if (plan_has_compiler() && !plan_compile(all, TN_COUNT(all), &arena, &why)) fail_msg("%s", why);
    tn_arena_deinit(&arena);
}

/* Every other element, by shuffles of two vectors, to the last of the operand. */
static void alternate(tn_builder *b) {
    static const tn_dtype dtypes[] = {TN_f32, TN_f64, TN_i32, TN_i8, TN_bf16};
    for (size_t i = 0; i < TN_COUNT(dtypes); i++) {
        tn_shape s = {2, {3, 2 * (64 + (int64_t)i) - 1}};
        tn_value x = input(b, dtypes[i], &s);
        tn_attrs_slice a = {
            .start = {2, {0, 0}}, .shape = {2, {3, 64 + (int64_t)i}}, .step = {2, {1, 2}}};
        tn_value y = tn_b_node(b, TN_OP_slice, &x, 1, &a);
        output(b, tn_b_add(b, y, y));
    }
}

static void test_slice__every_other_element(void **state) {
    (void)state;
    tn_arena arena;
    const char *why = NULL;
    tn_arena_init(&arena, tn_allocator_system());
    plan_case *c = plan_case_of(&arena, alternate, NULL, "alternate");
    if (!plan_interpret(c)) fail_msg("%s", c->why);
    if (plan_has_compiler() && !plan_compile(&c, 1, &arena, &why)) fail_msg("%s", why);
    tn_arena_deinit(&arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clip__keeps_nan_and_infinities),
        cmocka_unit_test(test_slice__every_other_element),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

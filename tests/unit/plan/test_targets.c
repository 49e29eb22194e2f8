/* A few kernels of each kind, with the flags that users of each target have them with, the others' too: the
 * compiler's passes meet vectors that are as wide as the target's, or halved. Other tests of plans compile
 * most text for other targets than the best one with few passes. */
#include "ops/compose.h"
#include "unit/plan/graph_words.h"

static void product_with_epilogue(tn_builder *b) {
    tn_value x = INPUT(b, 23, 67), w = WEIGHTS(b, 67, 61);
    tn_value y = tn_b_add(b, dot(b, x, w), INPUT(b, 61));
    out(b, tn_b_add(b, tn_b_gelu(b, y), INPUT(b, 23, 61)));
}

static void row_by_a_matrix(tn_builder *b) {
    tn_value x = INPUT(b, 1, 131);
    out(b, dot(b, x, INPUT(b, 131, 75)));
}

static void softmax(tn_builder *b) {
    out(b, tn_b_softmax(b, INPUT(b, 9, 77), 1));
}

static void layer_norm(tn_builder *b) {
    tn_value x = INPUT(b, 9, 77), scale = INPUT(b, 77), shift = INPUT(b, 77);
    out(b, tn_b_layer_norm(b, x, 1, scale, shift, 1e-5, NULL));
}

static tn_value convolved(tn_builder *b, int64_t channels, int64_t groups, int64_t stride) {
    tn_conv_options o = {.groups = groups};
    for (int i = 0; i < 2; i++) o.stride[i] = stride, o.pad_lo[i] = o.pad_hi[i] = 1;
    tn_value x = INPUT(b, 2, channels, 11, 13);
    tn_value w = WEIGHTS(b, 20, channels / groups, 3, 3);
    return tn_b_relu(b, tn_b_conv(b, x, w, INPUT(b, 20), &o));
}

static void conv(tn_builder *b) {
    out(b, convolved(b, 5, 1, 2));
}

static void conv_by_tiles(tn_builder *b) {
    out(b, convolved(b, 24, 1, 1));
}

static void depthwise(tn_builder *b) {
    out(b, convolved(b, 20, 20, 1));
}

static void attention(tn_builder *b) {
    tn_value q = INPUT(b, 2, 21, 24), k = INPUT(b, 2, 37, 24);
    tn_value x = tn_b_mul_scalar(b, tn_b_matmul(b, q, tn_b_swap(b, k, 1, 2), TN_f32), 0.2);
    out(b, tn_b_matmul(b, tn_b_softmax(b, x, 2), INPUT(b, 2, 37, 19), TN_f32));
}

static void product_of_bytes(tn_builder *b) {
    tn_array w = tn_array_new(b->graph->arena, TN_i8, 2, (int64_t[]){70, 45});
    for (int64_t i = 0; i < tn_array_count(&w); i++)
        tn_array_set(&w, i, tn_cell_of_int(TN_i8, i * 37 % 256 - 128));
    tn_value zero = tn_b_scalar_int(b, TN_u8, 203), none = TN_NO_VALUE;
    out(b, tn_b_integer_matmul(b, TYPED(b, TN_u8, 11, 70), tn_b_constant(b, &w), zero, none));
}

static void narrow_floats(tn_builder *b) {
    tn_value x = TYPED(b, TN_bf16, 7, 45), y = TYPED(b, TN_f16, 45);
    tn_value sum = tn_b_add(b, tn_b_cast(b, x, TN_f32), tn_b_cast(b, y, TN_f32));
    out(b, tn_b_cast(b, tn_b_tanh(b, sum), TN_bf16));
}

static void turned(tn_builder *b) {
    out(b, tn_b_swap(b, INPUT(b, 3, 21, 45), 1, 2));
}

typedef struct kernel {
    build_graph *build;
    const char *label;
} kernel;

#define KERNEL(name)                                                                               \
    { name, #name }
static const kernel kernels[] = {
    KERNEL(product_with_epilogue),
    KERNEL(row_by_a_matrix),
    KERNEL(softmax),
    KERNEL(layer_norm),
    KERNEL(conv),
    KERNEL(conv_by_tiles),
    KERNEL(depthwise),
    KERNEL(attention),
    KERNEL(product_of_bytes),
    KERNEL(narrow_floats),
    KERNEL(turned),
};

static void check_target(void **state) {
    const tn_target *target = *state;
    if (!plan_has_compiler()) skip();
    tn_arena arena;
    tn_arena_init(&arena, tn_allocator_system());
    plan_case *cases[TN_COUNT(kernels)];
    for (size_t i = 0; i < TN_COUNT(kernels); i++)
        cases[i] = plan_case_of(&arena, kernels[i].build, NULL, kernels[i].label);
    plan_batch b = {.cases = cases,
                    .count = TN_COUNT(kernels),
                    .target = target,
                    .as_users = true,
                    .arena = &arena};
    if (!plan_batch_check(&b)) fail_msg("%s: %s", target->name, b.why);
    tn_arena_deinit(&arena);
}

int main(void) {
    const tn_target *targets[TN_ISA_COUNT];
    struct CMUnitTest tests[TN_ISA_COUNT];
    uint32_t count = plan_targets(targets);
    for (uint32_t i = 0; i < count; i++)
        tests[i] = (struct CMUnitTest){targets[i]->name, check_target, NULL, NULL,
                                       (void *)(uintptr_t)targets[i]};
    return _cmocka_run_group_tests("targets", tests, count, NULL, NULL);
}

/* The n-th allocation fails while a model is refused: the refusal is told as ever, or that memory is short. What
 * the words of the message were put together in is freed: LeakSanitizer looks. */
#include "unit/each_allocation.h"
#include "unit/import/onnx_wire.h"

typedef struct refusal {
    wire model;
    const char *words;
} refusal;

static tn_status refuse(void *context, tn_error *err) {
    const refusal *r = context;
    tn_arena arena;
    tn_import import;
    char text[2048] = "";
    tn_arena_init(&arena, tn_allocator_system());
    tn_status status = tn_import_onnx_bytes(r->model.at, r->model.len, NULL, &arena, &import, err);
    if (status == TN_OK) {
        snprintf(text, sizeof text, "%s", import.need_reason ? import.need_reason : "imported");
        tn_import_close(&import);
    } else if (status != TN_OUT_OF_MEMORY) {
        tn_error_format(err, text, sizeof text);
    }
    tn_arena_deinit(&arena);
    if (status == TN_OUT_OF_MEMORY) return status;
    if (!strstr(text, r->words)) fail_msg("'%s'; expected: %s", text, r->words);
    return TN_OK;
}

/* y from `body` and x. */
static void refuses(wire *body, const char *sizes, const char *words) {
    static refusal r;
    wire_input(body, "x", W_FLOAT, sizes);
    wire_output(body, "y", W_FLOAT, "*");
    r = (refusal){wire_model(body, 21), words};
    fail_each_allocation(
        &(each_allocation){.what = words, .run = refuse, .context = &r, .step = 3});
}

static void test_refusal__lists_types(void **state) {
    (void)state;
    wire g = {.len = 0};
    wire_add_node(&g, "Not x > y");
    refuses(&g, "2,3", "its inputs: f32[2,3]");
}

static void test_refusal__lists_choices(void **state) {
    (void)state;
    wire g = {.len = 0}, node = wire_node("DepthToSpace x > y");
    wire_attr_int(&node, "blocksize", 2);
    wire_attr_text(&node, "mode", "RDC");
    wire_put(&g, 1, &node);
    refuses(&g, "1,4,2,2", "attribute 'mode' is 'RDC'; expected one of");
}

static void test_refusal__asks_for_a_size(void **state) {
    (void)state;
    wire g = {.len = 0};
    wire_input(&g, "w", W_FLOAT, "1,2,taps");
    wire_add_node(&g, "Conv x w > y");
    refuses(&g, "1,2,8", "the kernel's size is taps; it has to be bound");
}

static void test_refusal__of_a_size_by_data(void **state) {
    (void)state;
    wire g = {.len = 0}, cast = wire_node("Cast u > w");
    wire_ints(&g, "axes", 1, (int64_t[]){0});
    wire_add_node(&g, "Squeeze x axes > rows");
    wire_add_node(&g, "NonZero rows > i");
    wire_add_node(&g, "Unsqueeze i axes > u");
    wire_attr_int(&cast, "to", W_FLOAT);
    wire_put(&g, 1, &cast);
    wire_add_node(&g, "Conv x w > y");
    refuses(&g, "1,2,8", "the kernel's size is selected");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusal__lists_types),
        cmocka_unit_test(test_refusal__lists_choices),
        cmocka_unit_test(test_refusal__asks_for_a_size),
        cmocka_unit_test(test_refusal__of_a_size_by_data),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The n-th allocation fails, while layers make their parameters and a model with its
 * gradients is recorded: nothing crashes, and what would be lost LeakSanitizer finds. The linker leads
 * the allocations of the library here (--wrap, tests/CMakeLists.txt). */
#include <tenon/nn.h>

#include "unit/failing_allocations.h"
#include "unit/nn/lazy_test.h"

enum { STEP = 41 }; /* of next_allocation */

/* ---- a model -------------------------------------------------------------------------------- */

static tn_tensor *near(tn_tensor *query, tn_tensor *key, void *user) {
    (void)user;
    return tn_less_equal(key, query);
}

static void add(tn_tensor *const *x, tn_tensor **y, void *user) {
    y[0] = tn_add(x[0], *(tn_tensor *const *)user);
}

static tn_tensor *model(tn_module *m, tn_tensor *x) {
    tn_tensor *counts = NULL, *last = NULL;
    x = tn_conv1d(tn_module_child(m, "blocks.%d", 0), "conv", x, 6, .kernel = 3, .padding = 1);
    x = tn_max_pool(tn_batch_norm(m, "norm", x), .kernel = 2);
    x = tn_dropout(m, "dropout", tn_layer_norm(m, "ln", x), 0.5);
    x = tn_multi_head_attention(m, "attention", x, 2, .mask_function = near,
                                .rotary = {.theta = 100});
    x = tn_moe(m, "moe", x, 3, .hidden = 2, .shared_hidden = 2, .balance = 0.1, .counts = &counts);
    x = tn_gru(m, "gru", x, 3, .layers = 2, .last_h = &last);
    tn_tensor *first = tn_select(x, 0, 0), *sum;
    tn_tensor *flag = tn_greater(tn_sum(x, TN_ALL_AXES, false),
                                 tn_full(tn_module_context(m), TN_f32, TN_SCALAR_SHAPE, 0));
    tn_cond(flag, &(tn_branches){add, add, &last}, &first, 1, &sum, 1);
    return tn_mse_loss(sum, tn_select(x, 0, 1));
}

/* With allocation n failing; false once there is no such allocation. */
static bool record(tn_context *c, tn_tensor *x, long n) {
    tn_error err = TN_ERROR_INIT;
    tn_module *m;
    atomic_store(&failing_after, n);
    tn_status status = tn_module_create(c, NULL, &m, &err);
    tn_scope *scope = tn_scope_open(c);
    if (status == TN_OK) {
        tn_tensor *y = model(m, x), *w = tn_module_find(m, "attention.wq.weight"), *grad;
        tn_grad(y, NULL, &w, 1, &grad);
        if (tn_tensor_ok(grad)) assert_int_equal(tn_tensor_dim(grad, 0), 4);
    }
    bool reached = atomic_exchange(&failing_after, -1) < 0;
    if (!reached) assert_int_equal(tn_context_error(c, &err), TN_OK);
    tn_context_clear_error(c);
    tn_scope_close(scope);
    if (status == TN_OK) tn_module_release(m);
    return reached;
}

static void test_layers__survive_failing_allocations(void **state) {
    (void)state;
    tn_context *c = lazy_context(TN_COMPILE_INTERPRET, 1);
    tn_scope *scope = tn_scope_open(c);
    tn_tensor *x = some_numbers(c, TN_f32, TN_SHAPE(3, 2, 8), 1);
    long n = 0;
    while (record(c, x, n)) n = next_allocation(n, STEP);
    assert_true(n > 50);
    print_message("about %ld allocations\n", n);
    tn_scope_close(scope);
    tn_context_release(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_layers__survive_failing_allocations)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

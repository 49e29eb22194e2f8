/* Populations: what members begin with, functions of a member, what they share, errors. */
#include "unit/wide/population_lab.h"

static tn_population_call call_of(tn_member_function *fn, tn_tensor *const *x, int count) {
    return (tn_population_call){
        .size = sizeof(tn_population_call), .fn = fn, .x = x, .x_count = count, .y_count = 1};
}

static tn_population *population(tn_context *c, tn_population_options o) {
    tn_error err = TN_ERROR_INIT;
    tn_population *p;
    o.size = sizeof o;
    o.dtype = TN_f32;
    must(tn_population_create(c, &o, &p, &err), &err);
    return p;
}

static void net(void *context, tn_module *m, tn_tensor *const *x, tn_tensor **y) {
    (void)context;
    tn_tensor *h = tn_relu(tn_batch_norm(m, "bn", tn_linear(m, "fc1", x[0], 8)));
    y[0] = tn_linear(m, "fc2", tn_dropout(m, "drop", h, 0.4), 3);
}

/* ---- as modules of the same seeds ----------------------------------------------------------- */

static void test_apply__equals_modules_of_the_same_seeds(void **state) {
    (void)state;
    lab l = lab_open(TN_COMPILE_AUTO);
    tn_scope *scope = tn_scope_open(l.c);
    tn_tensor *x = some_numbers(l.c, TN_f32, TN_SHAPE(LAB_MEMBERS, 5, 4), 1);
    uint64_t compiles = 0;
    for (int i = 0; i < 6; i++) {
        lab_compare(&l, call_of(net, &x, 1), 1e-6);
        if (i == 1) compiles = statistics(l.c).compiles;
    }
    assert_int_equal(statistics(l.c).compiles, compiles);
    lab_set_training(&l, false);
    for (int i = 0; i < 2; i++) lab_compare(&l, call_of(net, &x, 1), 1e-6);
    tn_scope_close(scope);
    lab_close(&l);
}

static void test_create__takes_a_seed_of_each(void **state) {
    (void)state;
    static const uint64_t seeds[] = {9, 5, 9};
    tn_context *c = lazy_context(TN_COMPILE_INTERPRET, 1);
    tn_population *p = population(c, (tn_population_options){.members = 3, .seeds = seeds});
    int64_t n = 6;
    tn_tensor *one =
        tn_module_parameter(tn_population_module(p), "w", TN_f32, 1, &n, tn_init_normal(0, 1));
    assert_int_equal(tn_tensor_rank(one), 1);
    tn_scope *scope = tn_scope_open(c);
    for (int i = 0; i < 3; i++) {
        tn_module *m = lab_module(c, seeds[i]);
        lab_same("w", i, lab_row(tn_population_tensor(p, "w"), i),
                 tn_module_parameter(m, "w", TN_f32, 1, &n, tn_init_normal(0, 1)), 0);
        tn_module_release(m);
    }
    tn_scope_close(scope);
    tn_population_release(p);
    tn_context_release(c);
}

static void test_apply__reads_shared_inputs_once(void **state) {
    (void)state;
    lab l = lab_open(TN_COMPILE_INTERPRET);
    tn_scope *scope = tn_scope_open(l.c);
    tn_tensor *x = some_numbers(l.c, TN_f32, TN_SHAPE(5, 4), 1), *y[1];
    tn_population_call call = call_of(net, &x, 1);
    tn_error err = TN_ERROR_INIT;
    call.shared = (bool[]){true};
    lab_compare(&l, call, 1e-6);
    tn_population_apply(l.p, &call, y);
    uint64_t before = statistics(l.c).bytes;
    must(tn_eval(y, 1, &err), &err);
    assert_in_range(statistics(l.c).bytes - before, 0, LAB_MEMBERS * 5 * 3 * 4 + 64);
    tn_scope_close(scope);
    lab_close(&l);
}

static tn_tensor *is_large(tn_tensor *const *x, void *user) {
    (void)user;
    return tn_greater(tn_sum(tn_abs(x[0]), TN_ALL_AXES, false),
                      tn_full(tn_tensor_context(x[0]), TN_f32, TN_SCALAR_SHAPE, 0.1));
}
static void halve(tn_tensor *const *x, tn_tensor **next, void *user) {
    next[0] = tn_mul(x[0], user);
    next[1] = tn_add_scalar(x[1], 1);
}
/* Members go round as often as each of them needs. */
static void loops(void *context, tn_module *m, tn_tensor *const *x, tn_tensor **y) {
    (void)context;
    tn_tensor *w = tn_module_parameter(m, "w", TN_f32, TN_SCALAR_SHAPE, tn_init_uniform(0.1, 0.9));
    tn_tensor *in[] = {x[0], tn_full(tn_module_context(m), TN_i32, TN_SCALAR_SHAPE, 0)};
    tn_while(is_large, halve, w, in, y, 2);
}

static void test_apply__loops_as_often_as_each_member_needs(void **state) {
    (void)state;
    lab l = lab_open(TN_COMPILE_INTERPRET);
    tn_scope *scope = tn_scope_open(l.c);
    tn_tensor *x = some_numbers(l.c, TN_f32, TN_SHAPE(LAB_MEMBERS, 4), 1), *y[2];
    tn_population_call call = call_of(loops, &x, 1);
    call.y_count = 2;
    lab_compare(&l, call, 1e-6);
    tn_population_apply(l.p, &call, y);
    int32_t turns[LAB_MEMBERS];
    read_into(y[1], turns, sizeof turns);
    assert_true(turns[0] != turns[1] || turns[1] != turns[2]);
    tn_scope_close(scope);
    lab_close(&l);
}

/* Of parameters, buffers and what a member does not change. */
static void several(void *context, tn_module *m, tn_tensor *const *x, tn_tensor **y) {
    (void)x;
    (void)context;
    tn_tensor *count = tn_module_buffer(m, "count", TN_f32, TN_SCALAR_SHAPE, tn_init_constant(2));
    tn_tensor *next = tn_add_scalar(count, 1);
    tn_assign(count, next);
    tn_assign(count, tn_add_scalar(count, 1)); /* twice */
    tn_tensor *zero = tn_module_buffer(m, "zero", TN_f32, TN_SHAPE(2), tn_init_normal(0, 1));
    tn_assign(zero, tn_full(tn_module_context(m), TN_f32, TN_SHAPE(2), 7)); /* never read */
    y[0] = count;
    y[1] = next;
    y[2] = tn_full(tn_module_context(m), TN_f32, TN_SHAPE(2), 3);
    y[3] = zero;
}

static void test_apply__assigns_what_the_function_assigns(void **state) {
    (void)state;
    lab l = lab_open(TN_COMPILE_INTERPRET);
    tn_population_call call = call_of(several, NULL, 0);
    call.y_count = 4;
    for (int i = 0; i < 3; i++) lab_compare(&l, call, 0);
    EXPECT_NUMBERS(tn_population_tensor(l.p, "count"), 8, 8, 8);
    EXPECT_NUMBERS(tn_population_tensor(l.p, "zero"), 7, 7, 7, 7, 7, 7);
    assert_null(tn_population_tensor(l.p, "other"));
    lab_close(&l);
}

/* The program of a step knows stacks as tensors like others: gradients go to them. */
static void test_tensor__can_be_differentiated_and_assigned(void **state) {
    (void)state;
    lab l = lab_open(TN_COMPILE_INTERPRET);
    tn_scope *scope = tn_scope_open(l.c);
    tn_tensor *x = some_numbers(l.c, TN_f32, TN_SHAPE(LAB_MEMBERS, 5, 4), 1), *y, *grad, *one[1];
    tn_population_call call = call_of(net, &x, 1);
    for (int i = 0; i < 3; i++) {
        tn_population_apply(l.p, &call, &y);
        tn_tensor *w = tn_population_tensor(l.p, "fc2.weight");
        tn_grad(tn_sum(tn_sin(y), TN_ALL_AXES, false), NULL, &w, 1, &grad);
        tn_assign(w, tn_sub(w, tn_mul_scalar(grad, 0.1)));
        for (int k = 0; k < LAB_MEMBERS; k++) {
            tn_tensor *in = lab_row(x, k);
            net(NULL, l.alone[k], &in, one);
            w = tn_module_find(l.alone[k], "fc2.weight");
            tn_grad(tn_sum(tn_sin(one[0]), TN_ALL_AXES, false), NULL, &w, 1, &grad);
            tn_assign(w, tn_sub(w, tn_mul_scalar(grad, 0.1)));
        }
        lab_compare_items(&l, 1e-6);
    }
    tn_scope_close(scope);
    lab_close(&l);
}

/* ---- errors --------------------------------------------------------------------------------- */

static void test_create__refuses_bad_options(void **state) {
    (void)state;
    tn_context *c = lazy_context(TN_COMPILE_INTERPRET, 1);
    tn_error err = TN_ERROR_INIT;
    tn_population *p = (tn_population *)c;
    tn_population_options o = TN_POPULATION_OPTIONS_INIT;
    must_fail(tn_population_create(c, &o, &p, &err), TN_INVALID, &err, "a population of 0 members");
    assert_null(p);
    o.members = -3;
    must_fail(tn_population_create(c, &o, &p, &err), TN_INVALID, &err, "of -3 members");
    o.members = 2, o.dtype = TN_i32;
    must_fail(tn_population_create(c, &o, &p, &err), TN_INVALID, &err, "expected a float");
    o.size = 0;
    must_fail(tn_population_create(c, &o, &p, &err), TN_INVALID, &err,
              "tn_population_options.size is not set");
    assert_int_equal(tn_population_count(NULL), 0);
    assert_null(tn_population_module(NULL));
    tn_population_release(NULL);
    tn_context_release(c);
}

static void huge(void *context, tn_module *m, tn_tensor *const *x, tn_tensor **y) {
    (void)context;
    y[0] = tn_linear(m, "wide", tn_linear(m, "narrow", x[0], 4), 1 << 24);
}

static void test_apply__refuses_members_that_do_not_fit(void **state) {
    (void)state;
    tn_context *c = lazy_context(TN_COMPILE_INTERPRET, 1);
    tn_population *p = population(c, (tn_population_options){.members = 100000});
    tn_scope *scope = tn_scope_open(c);
    tn_tensor *x = some_numbers(c, TN_f32, TN_SHAPE(1, 1), 1), *y;
    tn_population_call call = call_of(huge, &x, 1);
    tn_error err = TN_ERROR_INIT;
    call.shared = (bool[]){true};
    tn_population_apply(p, &call, &y);
    must_fail(tn_context_error(c, &err), TN_OUT_OF_MEMORY, &err,
              "'wide.weight' of 100000 members takes 2.68e+04 GB");
    refused(c, "so at most ");
    assert_in_range(statistics(c).peak_bytes, 0, 16 << 20);
    tn_scope_close(scope);
    tn_population_release(p);
    tn_context_release(c);
}

static tn_tensor *outside; /* a tensor that is nobody's */

static void wrong_assign(void *context, tn_module *m, tn_tensor *const *x, tn_tensor **y) {
    (void)m;
    (void)context;
    tn_assign(outside, x[0]);
    y[0] = outside;
}
static void wrong_read(void *context, tn_module *m, tn_tensor *const *x, tn_tensor **y) {
    tn_error err = TN_ERROR_INIT;
    (void)m;
    must_fail(tn_read(x[0], context, 8, &err), TN_INVALID, &err, "input 0 of a member");
    y[0] = tn_relu(x[0]);
    must_fail(tn_read(y[0], context, 8, &err), TN_INVALID, &err,
              "inside a function given to tn_population_apply nothing can be read");
}
static void wrong_result(void *context, tn_module *m, tn_tensor *const *x, tn_tensor **y) {
    (void)m;
    (void)x;
    (void)y;
    (void)context;
}
static void wrong_layer(void *context, tn_module *m, tn_tensor *const *x, tn_tensor **y) {
    (void)context;
    y[0] = tn_conv2d(tn_module_child(m, "block"), "conv", x[0], 4, .kernel = 3);
}
static void step(tn_tensor *const *carry, tn_tensor *const *x, tn_tensor **next, tn_tensor **y,
                 void *user) {
    (void)x;
    (void)y;
    tn_assign(tn_module_buffer(user, "b", TN_f32, TN_SCALAR_SHAPE, tn_init_zeros()), carry[0]);
    next[0] = carry[0];
}
/* A buffer cannot become what a step of a loop stands for. */
static void wrong_scan(void *context, tn_module *m, tn_tensor *const *x, tn_tensor **y) {
    (void)context;
    tn_tensor *carry = tn_sum(x[0], TN_ALL_AXES, false);
    tn_scan_loop loop = TN_SCAN_LOOP_INIT;
    loop.step = step, loop.user = m, loop.carry = &carry, loop.carry_count = 1, loop.length = 2;
    tn_scan(&loop, y);
}
static void applies_itself(void *context, tn_module *m, tn_tensor *const *x, tn_tensor **y) {
    tn_population_call call = call_of(net, x, 1);
    (void)m;
    tn_population_apply(context, &call, y);
}

static void test_apply__tells_what_is_wrong(void **state) {
    (void)state;
    lab l = lab_open(TN_COMPILE_INTERPRET);
    tn_scope *scope = tn_scope_open(l.c);
    tn_tensor *x = some_numbers(l.c, TN_f32, TN_SHAPE(LAB_MEMBERS, 2), 1), *y;
    static const struct {
        tn_member_function *fn;
        const char *words[2];
    } wrong[] = {
        {NULL, {"tn_population_apply: there is no function", "test_population.c:"}},
        {wrong_assign, {"nothing can be assigned", "tn_population_apply"}},
        {wrong_result, {"tn_population_apply: the function left result 0 empty", ""}},
        {wrong_layer, {"'block.conv': x has 1 axes", "test_population.c:"}},
        {wrong_scan, {"inside a function given to tn_scan nothing can be assigned", ""}},
        {applies_itself, {"a function of a member applies the population", ""}},
    };
    outside = tn_tensor_from(l.c, TN_f32, TN_SHAPE(2), NULL);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        tn_population_call call = call_of(wrong[i].fn, &x, 1);
        call.context = l.p;
        tn_error err = TN_ERROR_INIT;
        tn_population_apply(l.p, &call, &y);
        must_fail(tn_context_error(l.c, &err), TN_INVALID, &err, wrong[i].words[0]);
        refused(l.c, wrong[i].words[1]);
        assert_false(tn_tensor_ok(y));
    }
    float data[2];
    tn_population_call call = call_of(wrong_read, &x, 1);
    call.context = data;
    tn_population_apply(l.p, &call, &y);
    assert_true(tn_tensor_ok(y));
    tn_scope_close(scope);
    lab_close(&l);
}

static void test_apply__tells_wrong_inputs(void **state) {
    (void)state;
    lab l = lab_open(TN_COMPILE_INTERPRET);
    tn_scope *scope = tn_scope_open(l.c);
    tn_tensor *x[] = {some_numbers(l.c, TN_f32, TN_SHAPE(LAB_MEMBERS, 5, 4), 1),
                      some_numbers(l.c, TN_f32, TN_SHAPE(5, 4), 1),
                      tn_tensor_scalar(l.c, TN_f32, 1)},
              *y;
    tn_population_call call = call_of(net, x, 2);
    tn_population_apply(l.p, &call, &y);
    refused(l.c, "input 1 has 5 members along axis 0; the population has 3");
    call.x_count = 3, call.shared = (bool[]){false, true, false};
    tn_population_apply(l.p, &call, &y);
    refused(l.c, "input 2 has 0 members along axis 0");
    call.size = 0;
    tn_population_apply(l.p, &call, &y);
    refused(l.c, "the size of the options is not set");
    /* A failed call leaves the members as they are. */
    lab_compare(&l, call_of(net, x, 1), 1e-6);
    tn_scope_close(scope);
    lab_close(&l);
}

static void test_module__stands_for_members(void **state) {
    (void)state;
    lab l = lab_open(TN_COMPILE_INTERPRET);
    tn_scope *scope = tn_scope_open(l.c);
    tn_error err = TN_ERROR_INIT;
    tn_tensor *x = some_numbers(l.c, TN_f32, TN_SHAPE(LAB_MEMBERS, 5, 4), 1);
    lab_compare(&l, call_of(net, &x, 1), 1e-6);
    tn_module *m = tn_population_module(l.p);
    tn_tensor *w = tn_module_find(m, "fc1.weight");
    float data[8 * 4];
    assert_int_equal(tn_tensor_rank(w), 2);
    assert_int_equal(tn_tensor_rank(tn_population_tensor(l.p, "fc1.weight")), 3);
    must_fail(tn_read(w, data, sizeof data, &err), TN_INVALID, &err, "'fc1.weight' of a member");
    tn_assign(w, tn_full(l.c, TN_f32, TN_SHAPE(8, 4), 1));
    refused(l.c, "tn_population_tensor gives that of all members");
    assert_int_equal(tn_module_match_trainable(m, "fc1.*", false), 2);
    tn_scope_close(scope);
    lab_close(&l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_apply__equals_modules_of_the_same_seeds),
        cmocka_unit_test(test_create__takes_a_seed_of_each),
        cmocka_unit_test(test_apply__reads_shared_inputs_once),
        cmocka_unit_test(test_apply__loops_as_often_as_each_member_needs),
        cmocka_unit_test(test_apply__assigns_what_the_function_assigns),
        cmocka_unit_test(test_tensor__can_be_differentiated_and_assigned),
        cmocka_unit_test(test_create__refuses_bad_options),
        cmocka_unit_test(test_apply__refuses_members_that_do_not_fit),
        cmocka_unit_test(test_apply__tells_what_is_wrong),
        cmocka_unit_test(test_apply__tells_wrong_inputs),
        cmocka_unit_test(test_module__stands_for_members),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "unit/program_lab.h"

/* y = x + x through a temporary; `t` and the steps are what the tests break. */
typedef struct sample {
    lab l;
    uint32_t x, t, y, add;
} sample;

static void make(sample *s) {
    lab_init(&s->l);
    s->x = lab_input(&s->l, "x", TN_f32, 8);
    s->y = lab_output(&s->l, "y", 8);
    s->add = lab_kernel(&s->l, "add", TN_S_add);
    s->t = lab_temp(&s->l, TN_f32, 8, 0, 1);
    lab_step(&s->l, 0, s->add, s->x, s->x, s->t, 8);
    lab_step(&s->l, 0, s->add, s->t, s->x, s->y, 8);
}

static void refused(sample *s, const char *text) {
    tn_error err = TN_ERROR_INIT;
    assert_int_equal(tn_program_verify(&s->l.p, &err), TN_INVALID);
    if (!strstr(err.message, text)) print_error("%s\n", err.message);
    assert_non_null(strstr(err.message, text));
    lab_deinit(&s->l);
}

static tn_prog_step *step(sample *s, uint32_t i) {
    return &s->l.p.blocks.data[0].steps.data[i];
}

static void test_verify__accepts_a_right_program(void **state) {
    (void)state;
    sample s;
    tn_error err = TN_ERROR_INIT;
    make(&s);
    lab_assert_ok(tn_program_verify(&s.l.p, &err), &err);
    lab_deinit(&s.l);
}

static void test_verify__refuses_bad_buffers(void **state) {
    (void)state;
    sample s;
    make(&s);
    s.l.p.buffers.data[s.t].elements = -1000;
    refused(&s, "unknown size");
    make(&s);
    s.l.p.buffers.data[s.t].first = 2;
    refused(&s, "live range ends");
    make(&s);
    s.l.p.buffers.data[s.x].index = 4;
    refused(&s, "no such input");
    make(&s);
    s.l.p.buffers.data[s.t].in_place_of = 77;
    refused(&s, "takes the place");
    make(&s);
    const float w[4] = {0};
    s.l.p.buffers.data[lab_weight(&s.l, w, 4)].offset = 1;
    refused(&s, "outside its source");
}

static void test_verify__refuses_bad_steps(void **state) {
    (void)state;
    sample s;
    make(&s);
    step(&s, 0)->kernel = 3;
    refused(&s, "no such kernel");
    make(&s);
    step(&s, 0)->buffers[1] = 99;
    refused(&s, "does not exist");
    make(&s);
    step(&s, 0)->buffers[2] = s.x;
    refused(&s, "writes to an input");
    make(&s);
    step(&s, 0)->buffer_count = 2;
    refused(&s, "too few buffers");
    make(&s);
    step(&s, 1)->position = 0;
    refused(&s, "positions do not ascend");
    make(&s);
    step(&s, 0)->scalar_count = 0;
    refused(&s, "wrong number of sizes");
    make(&s);
    s.l.p.buffers.data[s.t].dtype = TN_i32;
    refused(&s, "data type");
}

static void test_verify__refuses_dead_memory(void **state) {
    (void)state;
    sample s;
    make(&s);
    s.l.p.buffers.data[s.t].last = 0;
    refused(&s, "not alive");
}

static void test_verify__refuses_aliases_outside_their_owner(void **state) {
    (void)state;
    sample s;
    make(&s);
    step(&s, 1)->buffers[0] = lab_alias(&s.l, 8);
    refused(&s, "outside the step that sets it");
}

static void test_verify__refuses_cyclic_blocks(void **state) {
    (void)state;
    sample s;
    make(&s);
    uint32_t flag = lab_input(&s.l, "flag", TN_bool, 1), a = lab_block(&s.l), b = lab_block(&s.l);
    tn_prog_step branch = {
        .kind = TN_STEP_IF, .buffers = LAB_IDS(&s.l, flag), .buffer_count = 1, .blocks = {a, b}};
    lab_add(&s.l, 0, branch);
    lab_add(&s.l, a, branch);
    refused(&s, "belongs to another step");
}

/* Memory that a loop's body reads in every iteration must live as long as the loop. */
static void test_verify__refuses_memory_that_dies_inside_a_loop(void **state) {
    (void)state;
    sample s;
    lab *l = &s.l;
    lab_init(l);
    uint32_t x = lab_input(l, "x", TN_f32, 8), y = lab_output(l, "y", 8);
    uint32_t add = lab_kernel(l, "add", TN_S_add), body = lab_block(l);
    uint32_t t = lab_temp(l, TN_f32, 8, 0, 2);
    lab_step(l, 0, add, x, x, t, 8);
    tn_prog_loop *loop = TN_NEW(&l->arena, tn_prog_loop);
    loop->states = 1;
    loop->initial = LAB_IDS(l, x);
    loop->in = LAB_IDS(l, lab_alias(l, 8));
    loop->out = LAB_IDS(l, lab_alias(l, 8));
    loop->result = LAB_IDS(l, y);
    loop->spare = LAB_IDS(l, lab_temp(l, TN_f32, 8, 1, 3), lab_temp(l, TN_f32, 8, 1, 3));
    loop->length = 3;
    uint32_t inner = lab_temp(l, TN_f32, 8, 2, 3);
    lab_add(l, 0, (tn_prog_step){.kind = TN_STEP_SCAN, .loop = loop, .blocks = {body}});
    lab_step(l, body, add, loop->in[0], t, inner, 8);
    lab_step(l, body, add, inner, inner, loop->out[0], 8);
    refused(&s, "does not live until its loop ends");
}

/* y = x + x, then z = x * x, with one of them in the memory of x. */
static void make_taking(sample *s, uint32_t taker) {
    lab *l = &s->l;
    lab_init(l);
    s->x = lab_input(l, "x", TN_f32, 8);
    s->y = lab_output(l, "y", 8);
    s->t = lab_output(l, "z", 8);
    s->add = lab_kernel(l, "add", TN_S_add);
    lab_step(l, 0, s->add, s->x, s->x, s->y, 8);
    lab_step(l, 0, lab_kernel(l, "mul", TN_S_mul), s->x, s->x, s->t, 8);
    l->p.buffers.data[taker ? s->t : s->y].in_place_of = s->x;
}

static void test_verify__wants_inputs_read_before_they_are_overwritten(void **state) {
    (void)state;
    sample s;
    tn_error err = TN_ERROR_INIT;
    make_taking(&s, 1);
    lab_assert_ok(tn_program_verify(&s.l.p, &err), &err);
    lab_deinit(&s.l);
    make_taking(&s, 0);
    refused(&s, "reads an input that was overwritten");
    make_taking(&s, 1);
    s.l.p.buffers.data[s.y].in_place_of = s.x;
    refused(&s, "takes the place of a taken input");
    make_taking(&s, 1);
    s.l.p.buffers.data[s.t].in_place_of = s.y;
    refused(&s, "takes the place of no input");
    make_taking(&s, 1);
    s.l.p.buffers.data[s.t].in_place_of = lab_input(&s.l, "w", TN_f32, 9);
    refused(&s, "another type or size");
}

/* What a loop's steps write they may have written before they read. */
static void test_verify__wants_loops_not_to_overwrite_what_they_read(void **state) {
    (void)state;
    sample s;
    lab *l = &s.l;
    lab_init(l);
    uint32_t x = lab_input(l, "x", TN_f32, 8), y = lab_output(l, "y", 24),
             w = lab_input(l, "w", TN_f32, 24);
    uint32_t add = lab_kernel(l, "add", TN_S_add), body = lab_block(l);
    tn_prog_loop *loop = TN_NEW(&l->arena, tn_prog_loop);
    loop->xs_count = loop->ys_count = 1;
    loop->xs = LAB_IDS(l, w);
    loop->ys = LAB_IDS(l, y);
    loop->slice_in = LAB_IDS(l, lab_alias(l, 8));
    loop->slice_out = LAB_IDS(l, lab_alias(l, 8));
    loop->length = 3;
    lab_add(l, 0, (tn_prog_step){.kind = TN_STEP_SCAN, .loop = loop, .blocks = {body}});
    lab_step(l, body, add, loop->slice_in[0], x, loop->slice_out[0], 8);
    tn_error err = TN_ERROR_INIT;
    lab_assert_ok(tn_program_verify(&l->p, &err), &err);
    l->p.buffers.data[y].in_place_of = w;
    refused(&s, "reads an input that was overwritten");
}

static void test_print__names_everything(void **state) {
    (void)state;
    sample s;
    tn_str text;
    make(&s);
    tn_str_init(&text);
    tn_program_print(&s.l.p, &text);
    const char *const parts[] = {"program lab for generic", "input 'x' f32[8] %0",
                                 "%2 temp f32[8] alive 0..1",
                                 "0: kernel k0 add (%0, %0, %2) scalars 8", "kernel k0"};
    for (size_t i = 0; i < TN_COUNT(parts); i++) {
        if (!strstr(tn_str_text(&text), parts[i])) print_error("%s", tn_str_text(&text));
        assert_non_null(strstr(tn_str_text(&text), parts[i]));
    }
    tn_str_deinit(&text);
    lab_deinit(&s.l);
}

/* y[n] = x[n] + x[n] with n bound by the first step. */
static void make_sized(sample *s) {
    lab_init(&s->l);
    tn_dim n = tn_dim_of_symbol(&s->l.dims, "n");
    uint32_t length = lab_input(&s->l, "length", TN_i64, 1);
    s->x = lab_input(&s->l, "x", TN_f32, 8);
    s->y = lab_output(&s->l, "y", n);
    s->add = lab_kernel(&s->l, "add", TN_S_add);
    s->t = lab_temp(&s->l, TN_i64, 1, 0, 1);
    tn_prog_step size = {.kind = TN_STEP_SIZE, .buffer_count = 2, .scalar_count = 2};
    size.buffers = LAB_IDS(&s->l, length, s->t);
    size.scalars = tn_arena_dup(&s->l.arena, ((tn_dim[]){n, 8}), 2 * sizeof(tn_dim));
    lab_add(&s->l, 0, size);
    lab_step(&s->l, 0, s->add, s->x, s->x, s->y, n);
}

static void test_verify__wants_sizes_bound_before_their_use(void **state) {
    (void)state;
    sample s;
    tn_error err = TN_ERROR_INIT;
    make_sized(&s);
    lab_assert_ok(tn_program_verify(&s.l.p, &err), &err);
    lab_deinit(&s.l);
    make_sized(&s);
    tn_prog_step first = *step(&s, 0);
    *step(&s, 0) = *step(&s, 1);
    *step(&s, 1) = first;
    step(&s, 0)->position = 0;
    step(&s, 1)->position = 1;
    refused(&s, "uses a buffer before its size is bound");
    make_sized(&s);
    lab_add(&s.l, 0, *step(&s, 0));
    s.l.p.buffers.data[s.t].last = 2;
    refused(&s, "binds no size, or one that is bound");
    make_sized(&s);
    step(&s, 0)->scalars[0] = 8;
    refused(&s, "binds no size, or one that is bound");
    make_sized(&s);
    step(&s, 0)->scalars[1] = step(&s, 0)->scalars[0];
    refused(&s, "its bound is not known");
    make_sized(&s);
    step(&s, 0)->buffers[0] = s.x;
    refused(&s, "its size is not one i64");
    make_sized(&s);
    step(&s, 0)->scalar_count = 1;
    refused(&s, "two buffers, and a bound");
    make_sized(&s);
    s.l.p.inputs.data[1].type.shape.dim[0] = s.l.p.buffers.data[s.x].elements =
        step(&s, 0)->scalars[0];
    refused(&s, "its size is bound by the run");
    make_sized(&s);
    lab_add(&s.l, 1, *step(&s, 0));
    refused(&s, "binds a size inside of a block");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_verify__accepts_a_right_program),
        cmocka_unit_test(test_verify__refuses_bad_buffers),
        cmocka_unit_test(test_verify__refuses_bad_steps),
        cmocka_unit_test(test_verify__refuses_dead_memory),
        cmocka_unit_test(test_verify__refuses_aliases_outside_their_owner),
        cmocka_unit_test(test_verify__refuses_cyclic_blocks),
        cmocka_unit_test(test_verify__refuses_memory_that_dies_inside_a_loop),
        cmocka_unit_test(test_verify__wants_inputs_read_before_they_are_overwritten),
        cmocka_unit_test(test_verify__wants_loops_not_to_overwrite_what_they_read),
        cmocka_unit_test(test_verify__wants_sizes_bound_before_their_use),
        cmocka_unit_test(test_print__names_everything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Steps of training that keep less of the forward pass: the same bits, less memory; what they refuse. */
#include <math.h>
#include <tenon/train.h>

#include "lazy_test.h"
#include "nn/lazy.h"

enum { ROWS = 24, WIDTH = 8, HIDDEN = 24, BLOCKS = 4, ROOM = 4096 };

/* Blocks with something to keep inside: a norm, products, slow functions, dropout. */
static tn_tensor *block(tn_module *m, tn_tensor *x) {
    tn_tensor *h = tn_gelu(tn_linear(m, "up", tn_layer_norm(m, "norm", x), HIDDEN));
    h = tn_linear(m, "down", tn_dropout(m, "dropout", tn_tanh(h), 0.2), WIDTH);
    return tn_add(x, h);
}

static tn_tensor *loss_of(void *context, tn_module *m, tn_tensor *const *batch) {
    const bool *blocks = context;
    tn_tensor *x = batch[0];
    for (int i = 0; i < BLOCKS; i++) {
        x = block(tn_module_child(m, "layers.%d", i), x);
        if (*blocks) x = tn_block_end(x);
    }
    return tn_cross_entropy(tn_linear(m, "out", x, 3), batch[1]);
}

typedef struct result {
    float value[ROOM]; /* parameters and buffers after some steps */
    int count;
    double loss[3];
    uint64_t temporary_bytes;
    bool refused; /* when the step was compiled */
} result;

static bool blocks = true;

static void make_batch(float *x, int32_t *y) {
    for (int i = 0; i < ROWS; i++) {
        y[i] = i % 3;
        for (int j = 0; j < WIDTH; j++) x[i * WIDTH + j] = (float)sin(i * 1.7 + j * (y[i] + 1.0));
    }
}

static tn_status train(tn_recompute_options how, result *out, tn_error *err) {
    float x[ROWS * WIDTH];
    int32_t y[ROWS];
    tn_context *c = lazy_context(TN_COMPILE_INTERPRET, 1);
    tn_module *m;
    tn_train_step *step = NULL;
    tn_module_options mo = TN_MODULE_OPTIONS_INIT;
    tn_train_options o = TN_TRAIN_OPTIONS_INIT;
    mo.seed = 3;
    make_batch(x, y);
    must(tn_module_create(c, &mo, &m, err), err);
    tn_buffer batch[] = {{.dtype = TN_f32, .rank = 2, .dim = {ROWS, WIDTH}, .data = x},
                         {.dtype = TN_i32, .rank = 1, .dim = {ROWS}, .data = y}};
    o.module = m, o.loss = loss_of, o.context = &blocks, o.batch = batch, o.batch_count = 2;
    o.clip_norm = 1;
    o.recompute = how;
    tn_status status = tn_train_step_compile(&o, &step, err);
    out->refused = status != TN_OK;
    for (int i = 0; i < 3 && status == TN_OK; i++) {
        tn_train_metrics metrics;
        status = tn_train_step_run(step, batch, 0.01, &metrics, err);
        out->loss[i] = metrics.loss;
    }
    out->count = 0;
    tn_module_item item;
    for (int i = 0; status == TN_OK && tn_module_entry(m, i, &item); i++) {
        if (tn_tensor_dtype(item.tensor) != TN_f32) continue;
        int n = (int)tn_tensor_count(item.tensor);
        assert_true(out->count + n <= ROOM);
        read_into(item.tensor, out->value + out->count, (size_t)n * sizeof(float));
        out->count += n;
    }
    tn_train_step_release(step);
    tn_module_release(m);
    tn_context_release(c);
    return status;
}

/* Of the step that makes the loss, the first scalar that comes out: the others need the gradients. */
static uint32_t loss_position(const tn_program *p) {
    for (uint32_t i = 0; i < p->blocks.data[0].steps.len; i++) {
        const tn_prog_step *step = &p->blocks.data[0].steps.data[i];
        for (uint32_t k = 0; k < step->buffer_count; k++) {
            const tn_prog_buffer *b = &p->buffers.data[step->buffers[k]];
            if (b->store == TN_STORE_OUTPUT && b->elements == 1) return step->position;
        }
    }
    return 0;
}

/* Bytes that the plan holds from before the loss until behind it. */
static uint64_t bytes_across_loss(const tn_context *c) {
    const tn_program *p = c->programs->artifact->program;
    uint32_t at = loss_position(p);
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < p->buffers.len; i++) {
        const tn_prog_buffer *b = &p->buffers.data[i];
        if (b->store == TN_STORE_TEMP && b->first < at && b->last > at)
            bytes += (uint64_t)b->elements * (uint64_t)tn_dtype_bits(b->dtype) / 8;
    }
    return bytes;
}

typedef struct memory {
    uint64_t temporaries, across_loss;
} memory;

static memory memory_of(tn_recompute_options how) {
    float x[ROWS * WIDTH];
    int32_t y[ROWS];
    tn_error err = TN_ERROR_INIT;
    tn_context *c = lazy_context(TN_COMPILE_INTERPRET, 1);
    tn_module *m;
    tn_train_step *step;
    tn_train_options o = TN_TRAIN_OPTIONS_INIT;
    make_batch(x, y);
    must(tn_module_create(c, NULL, &m, &err), &err);
    tn_buffer batch[] = {{.dtype = TN_f32, .rank = 2, .dim = {ROWS, WIDTH}, .data = x},
                         {.dtype = TN_i32, .rank = 1, .dim = {ROWS}, .data = y}};
    o.module = m, o.loss = loss_of, o.context = &blocks, o.batch = batch, o.batch_count = 2;
    o.recompute = how;
    must(tn_train_step_compile(&o, &step, &err), &err);
    must(tn_train_step_run(step, batch, 0.01, NULL, &err), &err);
    memory bytes = {statistics(c).temporary_bytes, bytes_across_loss(c)};
    tn_train_step_release(step);
    tn_module_release(m);
    tn_context_release(c);
    return bytes;
}

static result reference, other;

static void assert_equal_to_none(tn_recompute_options how) {
    tn_error err = TN_ERROR_INIT;
    if (!reference.count) must(train((tn_recompute_options){0}, &reference, &err), &err);
    must(train(how, &other, &err), &err);
    assert_int_equal(other.count, reference.count);
    assert_memory_equal(other.loss, reference.loss, sizeof other.loss);
    assert_memory_equal(other.value, reference.value, (size_t)other.count * sizeof(float));
}

/* ---- values and memory ---------------------------------------------------------------------- */

static const tn_recompute_options full = {.mode = TN_RECOMPUTE_FULL};

static void test_recompute__full_gives_the_same(void **state) {
    (void)state;
    assert_equal_to_none(full);
}

static void test_recompute__full_takes_less_memory(void **state) {
    (void)state;
    uint64_t none = memory_of((tn_recompute_options){0}).temporaries;
    uint64_t least = memory_of(full).temporaries;
    if (least * 4 > none * 3)
        fail_msg("%llu bytes of %llu", (unsigned long long)least, (unsigned long long)none);
}

static void test_recompute__selective_gives_the_same(void **state) {
    (void)state;
    assert_equal_to_none((tn_recompute_options){.mode = TN_RECOMPUTE_SELECTIVE, .every = 2});
    assert_equal_to_none((tn_recompute_options){.mode = TN_RECOMPUTE_SELECTIVE, .keep = "dot"});
}

static void test_recompute__budget_gives_the_same(void **state) {
    (void)state;
    assert_equal_to_none((tn_recompute_options){.mode = TN_RECOMPUTE_BUDGET, .budget = 10000});
}

static void test_recompute__budget_is_obeyed_by_the_plan(void **state) {
    (void)state;
    uint64_t none = memory_of((tn_recompute_options){0}).across_loss;
    for (uint64_t budget = none / 4; budget < none; budget += none / 4) {
        uint64_t bytes = memory_of((tn_recompute_options){.mode = TN_RECOMPUTE_BUDGET,
                                                          .budget = (int64_t)budget})
                             .across_loss;
        if (bytes * 100 > budget * 102)
            fail_msg("%llu bytes, the budget is %llu of %llu", (unsigned long long)bytes,
                     (unsigned long long)budget, (unsigned long long)none);
    }
}

/* ---- what is refused ------------------------------------------------------------------------ */

static void refuse(tn_recompute_options how, const char *words) {
    tn_error err = TN_ERROR_INIT;
    tn_status status = train(how, &other, &err);
    must_fail(status, TN_INVALID, &err, words);
    assert_true(other.refused);
}

static void test_recompute__refuses_what_makes_no_sense(void **state) {
    (void)state;
    refuse((tn_recompute_options){.mode = TN_RECOMPUTE_SELECTIVE}, "one of the two");
    refuse((tn_recompute_options){.mode = TN_RECOMPUTE_SELECTIVE, .every = 2, .keep = "dot"},
           "one of the two");
    refuse((tn_recompute_options){.mode = TN_RECOMPUTE_SELECTIVE, .keep = "dot, matmul"},
           "no operation 'matmul'");
    refuse((tn_recompute_options){.mode = TN_RECOMPUTE_BUDGET, .budget = -1}, "-1 bytes");
    refuse((tn_recompute_options){.mode = (tn_recompute_mode)9}, "no mode of recomputation 9");
}

static void test_recompute__full_needs_blocks(void **state) {
    (void)state;
    blocks = false;
    refuse(full, "tn_block_end");
    blocks = true;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recompute__full_gives_the_same),
        cmocka_unit_test(test_recompute__full_takes_less_memory),
        cmocka_unit_test(test_recompute__selective_gives_the_same),
        cmocka_unit_test(test_recompute__budget_gives_the_same),
        cmocka_unit_test(test_recompute__budget_is_obeyed_by_the_plan),
        cmocka_unit_test(test_recompute__refuses_what_makes_no_sense),
        cmocka_unit_test(test_recompute__full_needs_blocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What members of a step have for themselves: numbers, whether they take part, what they were and become. */
#include <tenon/checkpoint.h>

#include "unit/test_folder.h"
#include "unit/wide/step_lab.h"

static double dropout = 0.3;

/* All elements of parameters, buffers and state of a member. */
typedef struct snapshot {
    uint8_t bytes[8192];
    size_t size;
} snapshot;

static void add_row(snapshot *s, tn_tensor *all, int member) {
    tn_error err = TN_ERROR_INIT;
    tn_buffer x;
    must(tn_view(all, &x, &err), &err);
    size_t row =
        (size_t)tn_tensor_count(all) * tn_dtype_size(x.dtype) / (size_t)tn_tensor_dim(all, 0);
    assert_true(s->size + row <= sizeof s->bytes);
    memcpy(s->bytes + s->size, (const uint8_t *)x.data + (size_t)member * row, row);
    s->size += row;
}

static snapshot snapshot_of(step_lab *t, int member) {
    tn_named_tensor state[128];
    tn_module_item item;
    snapshot s = {.size = 0};
    tn_module *m = tn_population_module(t->l.p);
    for (int i = 0; tn_module_entry(m, i, &item); i++)
        add_row(&s, tn_population_tensor(t->l.p, item.name), member);
    int n = tn_population_step_state(t->step, state, 128);
    for (int i = 0; i < n; i++) add_row(&s, state[i].tensor, member);
    return s;
}

static bool same(const snapshot *a, const snapshot *b) {
    return a->size == b->size && memcmp(a->bytes, b->bytes, a->size) == 0;
}

static void set(step_lab *t, tn_member_setting which, int member, double value) {
    tn_error err = TN_ERROR_INIT;
    must(tn_population_step_set(t->step, which, member, value, &err), &err);
}

/* ---- settings ------------------------------------------------------------------------------- */

static void no_decay_of_biases(void *context, const char *name, const tn_tensor *x,
                               tn_parameter_settings *out) {
    (void)context, (void)x;
    if (strstr(name, "bias")) out->weight_decay = 0;
}

static void test_set__is_what_a_step_alone_has(void **state) {
    (void)state;
    const double decay[] = {0, 0.1, 0.3}, momentum[] = {0, 0.5, 0.9}, clip[] = {0.1, 1, INFINITY};
    for (int kind = 0; kind < 2; kind++) {
        step_lab t;
        step_lab_open(&t, TN_COMPILE_INTERPRET, false);
        tn_train_options *o = &t.options.train;
        if (kind == 0) o->optimizer = (tn_optimizer_options)TN_SGD_INIT;
        o->optimizer.momentum = kind ? 0 : 0.7;
        o->optimizer.weight_decay = 0.05;
        o->optimizer.settings = no_decay_of_biases;
        o->clip_norm = 1;
        for (int m = 0; m < LAB_MEMBERS; m++) {
            tn_train_options alone = *o;
            alone.optimizer.weight_decay = decay[m];
            if (kind == 0 && m > 0) alone.optimizer.momentum = momentum[m];
            alone.clip_norm = clip[m];
            t.factor[m] = 1 + m;
            step_lab_compile_alone(&t, m, &alone);
        }
        step_lab_compile(&t);
        for (int m = 0; m < LAB_MEMBERS; m++) {
            set(&t, TN_SETTING_WEIGHT_DECAY, m, decay[m]);
            if (kind == 0) set(&t, TN_SETTING_MOMENTUM, m, m ? momentum[m] : 0.7);
            set(&t, TN_SETTING_CLIP_NORM, m, clip[m]);
        }
        step_lab_train(&t, 0, 5, 0.02);
        lab_compare_items(&t.l, 1e-5);
        step_lab_compare_state(&t, 1e-5);
        step_lab_close(&t);
    }
}

static void test_set__says_what_is_wrong(void **state) {
    (void)state;
    step_lab t;
    tn_error err = TN_ERROR_INIT;
    double value = 0;
    step_lab_open(&t, TN_COMPILE_INTERPRET, false);
    t.options.train.optimizer.weight_decay = 0;
    step_lab_compile(&t);
    must_fail(tn_population_step_set(t.step, TN_SETTING_RATE, 3, 1, &err), TN_NOT_FOUND, &err,
              "no member 3; the population has 3: 0 … 2");
    must_fail(tn_population_step_set(t.step, TN_SETTING_RATE, 1, -1, &err), TN_INVALID, &err,
              "the rate's factor of member 1 is -1; expected at least 0, and finite");
    must_fail(tn_population_step_set(t.step, TN_SETTING_WEIGHT_DECAY, 1, 0.1, &err), TN_INVALID,
              &err, "train.optimizer.weight_decay was 0");
    must_fail(tn_population_step_set(t.step, TN_SETTING_MOMENTUM, 1, 0.1, &err), TN_INVALID, &err,
              "train.optimizer.momentum (of SGD) was 0");
    must_fail(tn_population_step_set(t.step, TN_SETTING_CLIP_NORM, 1, 0.1, &err), TN_INVALID, &err,
              "train.clip_norm was 0");
    must_fail(tn_population_step_set(t.step, TN_SETTING_LOSS_SCALE, 1, 2, &err), TN_INVALID, &err,
              "train.loss_scale was 0");
    must_fail(tn_population_step_set(t.step, TN_SETTING_COUNT, 1, 2, &err), TN_NOT_FOUND, &err,
              "no setting 5");
    must_fail(tn_population_step_set_active(t.step, -1, false, &err), TN_NOT_FOUND, &err,
              "no member -1");
    assert_int_equal(tn_population_step_setting(t.step, TN_SETTING_RATE, 9, &value), TN_NOT_FOUND);
    assert_true(isnan(value));
    must(tn_population_step_setting(t.step, TN_SETTING_RATE, 2, &value), &err);
    expect_near(value, 1, 0);
    step_lab_close(&t);
}

/* ---- taking part ---------------------------------------------------------------------------- */

static void test_set_active__leaves_a_member_as_it_is(void **state) {
    (void)state;
    step_lab t;
    tn_error err = TN_ERROR_INIT;
    step_lab_open(&t, TN_COMPILE_INTERPRET, false);
    t.options.train.context = &dropout;
    t.options.train.average = 0.5;
    t.options.train.loss_scale = &(tn_loss_scale_options)TN_LOSS_SCALE_OPTIONS_INIT;
    step_lab_compile(&t);
    step_lab_train(&t, 0, 2, 0.01);
    must(tn_population_step_set_active(t.step, 1, false, &err), &err);
    snapshot before = snapshot_of(&t, 1);
    for (int i = 2; i < 5; i++) {
        step_lab_draw(&t, i);
        step_lab_run(&t, 0.01);
        for (int m = 0; m < LAB_MEMBERS; m += 2) must(step_lab_run_alone(&t, m, 0.01, &err), &err);
        assert_true(isfinite(t.metrics[1].loss) && !t.metrics[1].updated);
        assert_int_equal(t.metrics[1].updates, 2);
    }
    snapshot after = snapshot_of(&t, 1);
    assert_true(same(&before, &after));
    must(tn_population_step_set_active(t.step, 1, true, &err), &err);
    step_lab_train(&t, 5, 2, 0.01);
    lab_compare_items(&t.l, 1e-5);
    step_lab_compare_state(&t, 1e-5);
    step_lab_close(&t);
}

/* Member 1 sees NaN in one batch of an update; the others' bits are those of a run without it. */
static void run_with(step_lab *t, bool nan, int accumulate, snapshot out[LAB_MEMBERS]) {
    step_lab_open(t, TN_COMPILE_INTERPRET, true);
    tn_error err = TN_ERROR_INIT;
    t->options.train.context = &dropout;
    t->options.train.accumulate = accumulate;
    must(tn_population_step_compile(&t->options, &t->step, &err), &err);
    for (int i = 0; i < 6; i++) {
        step_lab_draw(t, i);
        if (i == 2 && nan) t->x[1][3][2] = NAN;
        snapshot before = snapshot_of(t, 1), after;
        step_lab_run(t, 0.01);
        if (i == 2) assert_true(isnan(t->metrics[1].loss) == nan);
        for (int m = 0; m < LAB_MEMBERS; m++)
            assert_int_equal(t->metrics[m].updates,
                             (i + 1) / accumulate -
                                 (nan && m == 1 && (i + 1) / accumulate > 2 / accumulate));
        after = snapshot_of(t, 1);
        if (i == 2 && accumulate == 1) assert_true(same(&before, &after) == nan);
    }
    for (int m = 0; m < LAB_MEMBERS; m++) out[m] = snapshot_of(t, m);
    step_lab_close(t);
}

static void test_run__leaves_a_member_without_finite_loss_alone(void **state) {
    (void)state;
    step_lab t;
    snapshot sound[LAB_MEMBERS], ill[LAB_MEMBERS];
    for (int accumulate = 1; accumulate <= 2; accumulate++) {
        run_with(&t, false, accumulate, sound);
        run_with(&t, true, accumulate, ill);
        assert_true(same(&sound[0], &ill[0]) && same(&sound[2], &ill[2]));
        assert_false(same(&sound[1], &ill[1]));
    }
}

/* ---- becoming another ----------------------------------------------------------------------- */

static void test_copy__makes_members_others(void **state) {
    (void)state;
    step_lab t;
    tn_error err = TN_ERROR_INIT;
    step_lab_open(&t, TN_COMPILE_INTERPRET, false);
    for (int m = 0; m < LAB_MEMBERS; m++) t.factor[m] = 1 + m;
    step_lab_compile(&t);
    step_lab_train(&t, 0, 3, 0.01);
    snapshot was[LAB_MEMBERS];
    for (int m = 0; m < LAB_MEMBERS; m++) was[m] = snapshot_of(&t, m);
    must(tn_population_step_copy(t.step, (int[]){1, 0, 1}, &err), &err);
    for (int m = 0; m < LAB_MEMBERS; m++) {
        snapshot is = snapshot_of(&t, m);
        assert_true(same(&is, &was[m == 1 ? 0 : 1]));
    }
    step_lab_run(&t, 0.01);
    snapshot a = snapshot_of(&t, 0), b = snapshot_of(&t, 2);
    assert_true(same(&a, &b));
    expect_near(t.metrics[0].loss, t.metrics[2].loss, 0);
    must_fail(tn_population_step_copy(t.step, (int[]){0, 1, 3}, &err), TN_NOT_FOUND, &err,
              "member 2 is to become member 3");
    step_lab_close(&t);
}

static void test_copy__leaves_random_streams_and_activity(void **state) {
    (void)state;
    step_lab t;
    tn_error err = TN_ERROR_INIT;
    uint64_t before[LAB_MEMBERS], after[LAB_MEMBERS];
    step_lab_open(&t, TN_COMPILE_INTERPRET, false);
    t.options.train.context = &dropout;
    step_lab_compile(&t);
    step_lab_run(&t, 0.01);
    must(tn_population_step_set_active(t.step, 1, false, &err), &err);
    tn_module_item item = {0};
    for (int i = 0; tn_module_entry(tn_population_module(t.l.p), i, &item); i++)
        if (tn_tensor_dtype(item.tensor) == TN_u64) break;
    read_into(tn_population_tensor(t.l.p, item.name), before, sizeof before);
    must(tn_population_step_copy(t.step, (int[]){1, 1, 1}, &err), &err);
    read_into(tn_population_tensor(t.l.p, item.name), after, sizeof after);
    assert_memory_equal(before, after, sizeof before);
    step_lab_run(&t, 0.01);
    for (int m = 0; m < LAB_MEMBERS; m++) assert_int_equal(t.metrics[m].updated, m != 1);
    step_lab_close(&t);
}

static void test_keep_best__is_put_back(void **state) {
    (void)state;
    step_lab t;
    tn_error err = TN_ERROR_INIT;
    bool kept[LAB_MEMBERS];
    double scores[LAB_MEMBERS];
    float weight[3][LAB_MEMBERS][5 * WIDTH], now[LAB_MEMBERS][5 * WIDTH];
    const double score[3][LAB_MEMBERS] = {{0.5, NAN, 0.1}, {0.4, NAN, 0.3}, {0.6, NAN, 0.3}};
    step_lab_open(&t, TN_COMPILE_INTERPRET, false);
    step_lab_compile(&t);
    must_fail(tn_population_restore_best(t.l.p, scores, &err), TN_NOT_FOUND, &err,
              "nothing was kept of these 3 members");
    for (int i = 0; i < 3; i++) {
        step_lab_run(&t, 0.01);
        read_into(tn_population_tensor(t.l.p, "fc1.weight"), weight[i], sizeof weight[i]);
        must(tn_population_keep_best(t.l.p, score[i], kept, &err), &err);
        assert_int_equal(kept[0], i != 1);
        assert_int_equal(kept[1], false);
        assert_int_equal(kept[2], i != 2);
    }
    step_lab_run(&t, 0.01);
    read_into(tn_population_tensor(t.l.p, "fc1.weight"), weight[0], sizeof weight[0]);
    must(tn_population_restore_best(t.l.p, scores, &err), &err);
    read_into(tn_population_tensor(t.l.p, "fc1.weight"), now, sizeof now);
    assert_memory_equal(now[0], weight[2][0], sizeof now[0]);
    assert_memory_equal(now[1], weight[0][1], sizeof now[1]); /* never kept: as it is */
    assert_memory_equal(now[2], weight[1][2], sizeof now[2]);
    assert_true(scores[0] == 0.6 && isnan(scores[1]) && scores[2] == 0.3);
    must(tn_population_remove(t.l.p, 1, &err), &err);
    must_fail(tn_population_restore_best(t.l.p, scores, &err), TN_NOT_FOUND, &err,
              "nothing was kept of these 2 members");
    step_lab_close(&t);
}

static void test_run__refuses_other_members_than_it_was_compiled_for(void **state) {
    (void)state;
    step_lab t;
    tn_error err = TN_ERROR_INIT;
    step_lab_open(&t, TN_COMPILE_INTERPRET, false);
    step_lab_compile(&t);
    step_lab_train(&t, 0, 1, 0.01);
    must(tn_population_insert(t.l.p, 3, t.l.alone[0], &err), &err);
    must_fail(tn_population_step_run(t.step, t.types, 0.01, NULL, &err), TN_INVALID, &err,
              "the population has 4 members, which are not those that this step was compiled for");
    must(tn_population_remove(t.l.p, 0, &err), &err);
    must_fail(tn_population_step_set(t.step, TN_SETTING_RATE, 0, 1, &err), TN_INVALID, &err,
              "compiled again");
    tn_population_step_release(t.step);
    must(tn_population_step_compile(&t.options, &t.step, &err), &err);
    step_lab_run(&t, 0.01);
    step_lab_close(&t);
}

/* ---- checkpoints ---------------------------------------------------------------------------- */

static int list_all(step_lab *t, tn_named_tensor out[256]) {
    tn_module_item item;
    int n = 0;
    for (int i = 0; tn_module_entry(tn_population_module(t->l.p), i, &item); i++)
        out[n++] = (tn_named_tensor){item.name, tn_population_tensor(t->l.p, item.name)};
    return n;
}

static void parts_of(step_lab *t, tn_named_tensor room[2][256], tn_checkpoint_part out[2]) {
    out[0] = (tn_checkpoint_part){"model", room[0], list_all(t, room[0])};
    out[1] =
        (tn_checkpoint_part){"optimizer", room[1], tn_population_step_state(t->step, room[1], 256)};
}

static void test_state__resumes_bit_for_bit(void **state) {
    (void)state;
    static tn_named_tensor room[2][256];
    tn_checkpoint_part parts[2];
    snapshot want[LAB_MEMBERS];
    for (int resumed = 0; resumed < 2; resumed++) {
        step_lab t;
        tn_error err = TN_ERROR_INIT;
        step_lab_open(&t, TN_COMPILE_INTERPRET, false);
        t.options.train.context = &dropout;
        must(tn_population_step_compile(&t.options, &t.step, &err), &err);
        parts_of(&t, room, parts);
        if (resumed) {
            tn_checkpoint *k;
            must(tn_checkpoint_open(folder, TN_CHECKPOINT_NEWEST, &k, &err), &err);
            must(tn_checkpoint_load(k, parts, 2, 0, &err), &err);
            tn_checkpoint_release(k);
        } else {
            set(&t, TN_SETTING_RATE, 1, 0.25);
            for (int i = 0; i < 3; i++) step_lab_run(&t, 0.01);
            tn_checkpoint_content content = {parts, 2, NULL, 0};
            must(tn_checkpoint_save(folder, 3, &content, NULL, &err), &err);
        }
        for (int i = 0; i < 3; i++) step_lab_run(&t, 0.01);
        for (int m = 0; m < LAB_MEMBERS; m++) {
            snapshot is = snapshot_of(&t, m);
            if (resumed)
                assert_true(same(&is, &want[m]));
            else
                want[m] = is;
        }
        step_lab_close(&t);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set__is_what_a_step_alone_has),
        cmocka_unit_test(test_set__says_what_is_wrong),
        cmocka_unit_test(test_set_active__leaves_a_member_as_it_is),
        cmocka_unit_test(test_run__leaves_a_member_without_finite_loss_alone),
        cmocka_unit_test(test_copy__makes_members_others),
        cmocka_unit_test(test_copy__leaves_random_streams_and_activity),
        cmocka_unit_test(test_keep_best__is_put_back),
        cmocka_unit_test(test_run__refuses_other_members_than_it_was_compiled_for),
        cmocka_unit_test_setup_teardown(test_state__resumes_bit_for_bit, make_folder,
                                        remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

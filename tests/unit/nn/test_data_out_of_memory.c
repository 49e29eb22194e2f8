/* The n-th allocation fails, for every n: opening and reading images and tokens end in
 * TN_OUT_OF_MEMORY or in the right batches. What would be lost on the way out, LeakSanitizer finds.
 * The linker leads the allocations of the library here (--wrap, tests/CMakeLists.txt). */
#include "unit/failing_allocations.h"
#include "unit/nn/data_lab.h"

/* ---- a run ---------------------------------------------------------------------------------- */

static char images[1024], tokens[1024];

static tn_status open_images(tn_dataset **out, tn_error *err) {
    static const tn_transform list[] = {TN_RANDOM_RESIZED_CROP(.height = 9, .width = 8),
                                        TN_WARP(.degrees = 20), TN_RESIZE(.shorter = 6)};
    tn_image_options o = TN_IMAGE_OPTIONS_INIT;
    o.transforms = list;
    o.transform_count = 3;
    return tn_dataset_images(images, &o, out, err);
}

static tn_status open_tokens(tn_dataset **out, tn_error *err) {
    tn_token_options o = TN_TOKEN_OPTIONS_INIT;
    o.window = 5;
    return tn_dataset_tokens(tokens, &o, out, err);
}

static tn_status load(tn_status (*open)(tn_dataset **out, tn_error *err), uint64_t *sum,
                      tn_error *err) {
    tn_loader_options how = TN_LOADER_OPTIONS_INIT;
    int64_t samples[] = {2, 0, 1};
    tn_dataset *d;
    tn_loader *l = NULL;
    tn_data_batch b;
    *sum = 0;
    TN_CHECK(open(&d, err));
    how.batch = 2, how.workers = 1, how.samples = samples, how.sample_count = 3;
    tn_status status = tn_loader_create(d, &how, &l, err);
    for (int i = 0; i < 3 && status == TN_OK; i++) {
        status = tn_loader_next(l, &b, err);
        for (int k = 0; k < b.count; k++)
            *sum = *sum * 31 + tn_hash64(b.buffers[k].data, b.buffers[k].size);
    }
    tn_loader_release(l);
    tn_dataset_release(d);
    return status;
}

static void try_all(tn_status (*open)(tn_dataset **out, tn_error *err)) {
    uint64_t want, got;
    tn_error err = TN_ERROR_INIT;
    int failed = 0;
    check(load(open, &want, &err), &err);
    for (long n = 0; n < 500; n++) {
        err = (tn_error)TN_ERROR_INIT;
        atomic_store(&failing_after, n);
        tn_status status = load(open, &got, &err);
        atomic_store(&failing_after, -1);
        if (status == TN_OK)
            assert_true(got == want);
        else
            assert_int_equal(status, TN_OUT_OF_MEMORY);
        failed += status != TN_OK;
    }
    assert_in_range(failed, 5, 400); /* the last ones had all they asked for */
}

static void test_images__out_of_memory(void **state) {
    (void)state;
    write_image("set/a/1.png", 30, 20, 3, 0);
    write_image("set/a/2.jpg", 30, 21, 3, 40);
    write_bytes("set/b/3.jpg", "corrupt", 7);
    write_image("set/b/4.jpg", 33, 21, 3, 80);
    snprintf(images, sizeof images, "%s", place("set"));
    try_all(open_images);
}

static void test_tokens__out_of_memory(void **state) {
    (void)state;
    write_bytes("tokens/1", "0123456789abcdef", 16);
    write_bytes("tokens/2", "0123456789abcdef", 16);
    snprintf(tokens, sizeof tokens, "%s", place("tokens"));
    try_all(open_tokens);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_images__out_of_memory),
        cmocka_unit_test(test_tokens__out_of_memory),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}

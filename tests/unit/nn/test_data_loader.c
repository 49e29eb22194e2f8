/* Loaders: order, reproducibility with any number of workers, positions, ranks, corrupt files, tokens. */
#include <unistd.h>

#include "unit/nn/data_lab.h"

static tn_dataset *open_images(const char *name, const tn_transform *list, int count) {
    tn_image_options o = TN_IMAGE_OPTIONS_INIT;
    tn_error err = TN_ERROR_INIT;
    tn_dataset *d;
    o.transforms = list;
    o.transform_count = count;
    check(tn_dataset_images(place(name), &o, &d, &err), &err);
    return d;
}

static tn_loader *open_loader(tn_dataset *d, const tn_loader_options *o) {
    tn_error err = TN_ERROR_INIT;
    tn_loader *l;
    check(tn_loader_create(d, o, &l, &err), &err);
    return l;
}

static tn_data_batch next(tn_loader *l) {
    tn_error err = TN_ERROR_INIT;
    tn_data_batch b;
    check(tn_loader_next(l, &b, &err), &err);
    return b;
}

/* All bytes of a batch and its place in the epochs. */
static uint64_t digest(const tn_data_batch *b) {
    uint64_t sum = (uint64_t)b->epoch * 1000 + (uint64_t)b->index;
    for (int i = 0; i < b->count; i++)
        sum = sum * 31 + tn_hash64(b->buffers[i].data, b->buffers[i].size);
    return sum;
}

/* 0 … n - 1 as rows of one array. */
static tn_dataset *count_to(int64_t n, int64_t *numbers) {
    tn_error err = TN_ERROR_INIT;
    tn_dataset *d;
    for (int64_t i = 0; i < n; i++) numbers[i] = i;
    tn_buffer b = {TN_i64, 1, {n}, numbers, 0};
    check(tn_dataset_arrays(&b, 1, &d, &err), &err);
    return d;
}

/* ---- order ---------------------------------------------------------------------------------- */

static void test_order__is_a_permutation(void **state) {
    int64_t seen[1000];
    int changed = 0;
    (void)state;
    for (int64_t n = 1; n <= 1000; n = n < 20 ? n + 1 : n * 2 - 7) {
        memset(seen, 0, sizeof seen);
        for (int64_t i = 0; i < n; i++) {
            int64_t at = tn__shuffled(3, 4, n, i);
            assert_in_range(at, 0, n - 1);
            seen[at]++;
        }
        for (int64_t i = 0; i < n; i++) assert_int_equal(seen[i], 1);
    }
    for (int64_t i = 0; i < 1000; i++)
        changed += tn__shuffled(3, 4, 1000, i) != tn__shuffled(3, 5, 1000, i);
    assert_in_range(changed, 985, 1000);
}

/* All orders of four are about equally frequent. */
static void test_order__is_even(void **state) {
    int count[256] = {0}, used = 0;
    (void)state;
    for (int64_t epoch = 0; epoch < 24000; epoch++) {
        int code = 0;
        for (int64_t i = 0; i < 4; i++) code = code * 4 + (int)tn__shuffled(9, epoch, 4, i);
        count[code]++;
    }
    for (int i = 0; i < 256; i++) {
        used += count[i] > 0;
        if (count[i]) assert_in_range(count[i], 850, 1150);
    }
    assert_int_equal(used, 24);
}

static void test_loader__epochs(void **state) {
    int64_t numbers[10], sum;
    tn_dataset *d = count_to(10, numbers);
    tn_loader_options o = TN_LOADER_OPTIONS_INIT;
    (void)state;
    o.batch = 4, o.epochs = 2, o.shuffle = true, o.workers = 2;
    tn_loader *l = open_loader(d, &o);
    tn_dataset_release(d); /* the loader keeps it */
    assert_int_equal(tn_loader_batches(l), 3);
    for (int64_t epoch = 0; epoch < 2; epoch++) {
        sum = 0;
        for (int64_t i = 0; i < 3; i++) {
            tn_data_batch b = next(l);
            const int64_t *rows = b.buffers[0].data;
            assert_true(b.epoch == epoch && b.index == i && b.last == (i == 2));
            assert_int_equal(b.samples, i == 2 ? 2 : 4);
            assert_true(b.count == 1 && b.buffers[0].rank == 1 && b.buffers[0].dim[0] == b.samples);
            for (int64_t k = 0; k < b.samples; k++) sum += 1 << rows[k];
        }
        assert_int_equal(sum, 1023);
    }
    for (int i = 0; i < 3; i++) assert_int_equal(next(l).count, 0);
    tn_loader_stats s;
    tn_loader_statistics(l, &s);
    assert_true(s.batches == 6 && s.samples == 20 && s.skipped == 0);
    tn_loader_release(l);
}

static void test_loader__subset_and_drop(void **state) {
    int64_t numbers[10];
    tn_dataset *d = count_to(10, numbers);
    tn_loader_options o = TN_LOADER_OPTIONS_INIT;
    (void)state;
    o.batch = 2, o.epochs = 1, o.drop_last = true;
    o.samples = (int64_t[]){9, 7, 5, 3, 1}, o.sample_count = 5;
    tn_loader *l = open_loader(d, &o);
    for (int64_t i = 0; i < 2; i++) {
        const int64_t *rows = next(l).buffers[0].data;
        assert_true(rows[0] == 9 - 4 * i && rows[1] == 7 - 4 * i);
    }
    assert_int_equal(next(l).count, 0);
    tn_loader_release(l);
    tn_dataset_release(d);
}

/* The ranks' batches side by side are those of one rank with a batch as large as theirs together. */
static void test_loader__ranks(void **state) {
    enum { RANKS = 3 };
    int64_t numbers[20];
    tn_dataset *d = count_to(20, numbers);
    tn_loader_options o = TN_LOADER_OPTIONS_INIT;
    tn_loader *rank[RANKS], *alone;
    (void)state;
    o.batch = 6, o.shuffle = true, o.seed = 8;
    alone = open_loader(d, &o);
    o.batch = 2, o.ranks = RANKS;
    for (o.rank = 0; o.rank < RANKS; o.rank++) rank[o.rank] = open_loader(d, &o);
    for (int step = 0; step < 9; step++) {
        tn_data_batch all = next(alone);
        for (int r = 0; r < RANKS; r++) {
            tn_data_batch b = next(rank[r]);
            const int64_t *whole = all.buffers[0].data, *rows = b.buffers[0].data;
            assert_true(b.epoch == all.epoch && b.index == all.index && b.last == all.last);
            assert_int_equal(b.samples, all.samples == 6 ? 2 : 1); /* 20 = 3 · 6 + 2 */
            for (int64_t k = 0; k < b.samples; k++)
                if (r * b.samples + k < all.samples)
                    assert_int_equal(rows[k], whole[r * b.samples + k]);
        }
    }
    for (int r = 0; r < RANKS; r++) tn_loader_release(rank[r]);
    tn_loader_release(alone);
    tn_dataset_release(d);
}

/* ---- images --------------------------------------------------------------------------------- */

static const tn_transform augment[] = {
    TN_RANDOM_RESIZED_CROP(.height = 12, .width = 12, .filter = TN_BICUBIC),
    TN_FLIP_HORIZONTAL(),
    TN_BRIGHTNESS(.low = 0.6, .high = 1.4),
    TN_CONTRAST(.low = 0.6, .high = 1.4, .probability = 0.5),
    TN_SATURATION(.low = 0.6, .high = 1.4),
    TN_WARP(.degrees = 15, .translate = {0.1, 0.1}, .scale = {0.9, 1.1}, .shear = {5, 5},
            .filter = TN_BICUBIC),
    TN_NOISE(.low = 0, .high = 0.05),
    TN_NORMALIZE(.mean = {0.5, 0.5, 0.5}, .std = {0.25, 0.25, 0.25}),
};

enum { IMAGES = 23 };

static void write_folder(const char *root) {
    char name[256];
    for (int i = 0; i < IMAGES; i++) {
        static const char *const classes[] = {"cat", "dog", "emu"};
        snprintf(name, sizeof name, "%s/%s/%02d.%s", root, classes[i % 3], i,
                 i % 5 == 0 ? "PNG"
                 : i % 2    ? "jpg"
                            : "JPEG");
        write_image(name, 30 + i, 25 + i % 7, i % 4 ? 3 : 1, 3 * i);
    }
    write_bytes("set/notes.txt", "no class", 8);
    write_bytes("set/cat/notes.txt", "no image", 8);
    write_bytes("set/.hidden/a.png", "", 0);
}

static void test_images__folder(void **state) {
    char path[512];
    int label;
    (void)state;
    write_folder("set");
    tn_dataset *d = open_images("set", augment, TN_COUNT(augment));
    assert_int_equal(tn_dataset_count(d), IMAGES);
    assert_int_equal(tn_dataset_class_count(d), 3);
    assert_string_equal(tn_dataset_class(d, 2), "emu");
    assert_null(tn_dataset_class(d, 3));
    assert_true(tn_dataset_file(d, 8, path, sizeof path, &label));
    assert_non_null(strstr(path, "set/dog/01.jpg"));
    assert_int_equal(label, 1);
    assert_false(tn_dataset_file(d, IMAGES, path, sizeof path, NULL));
    tn_loader_options o = TN_LOADER_OPTIONS_INIT;
    o.batch = 8;
    tn_loader *l = open_loader(d, &o);
    tn_data_batch b = next(l);
    assert_int_equal(b.count, 2);
    assert_true(b.buffers[0].dtype == TN_f32 && b.buffers[0].rank == 4);
    assert_true(b.buffers[0].dim[1] == 3 && b.buffers[0].dim[2] == 12 && b.buffers[0].dim[3] == 12);
    assert_true(b.buffers[1].dtype == TN_i32 && b.buffers[1].rank == 1);
    assert_true(((const int32_t *)b.buffers[1].data)[7] == 0);
    assert_true(((const int32_t *)next(l).buffers[1].data)[0] == 1);
    tn_loader_release(l);
    tn_dataset_release(d);
}

static void digests(tn_dataset *d, int workers, int count, uint64_t *out) {
    tn_loader_options o = TN_LOADER_OPTIONS_INIT;
    o.batch = 5, o.shuffle = true, o.seed = 77, o.workers = workers, o.prefetch = 1 + workers;
    tn_loader *l = open_loader(d, &o);
    for (int i = 0; i < count; i++) {
        tn_data_batch b = next(l);
        out[i] = digest(&b);
    }
    tn_loader_release(l);
}

static void test_loader__same_bits_with_any_workers(void **state) {
    enum { BATCHES = 13 };
    uint64_t one[BATCHES], some[BATCHES];
    (void)state;
    write_folder("set");
    tn_dataset *d = open_images("set", augment, TN_COUNT(augment));
    digests(d, 1, BATCHES, one);
    for (int i = 1; i < BATCHES; i++) assert_true(one[i] != one[i - 1]);
    for (int workers = 2; workers <= 4; workers++) {
        digests(d, workers, BATCHES, some);
        assert_memory_equal(one, some, sizeof one);
    }
    tn_dataset_release(d);
}

static void test_loader__resumes(void **state) {
    enum { BATCHES = 14 };
    uint64_t all[BATCHES];
    uint8_t saved[BATCHES][TN_LOADER_STATE_BYTES];
    tn_error err = TN_ERROR_INIT;
    (void)state;
    write_folder("set");
    tn_dataset *d = open_images("set", augment, TN_COUNT(augment));
    tn_loader_options o = TN_LOADER_OPTIONS_INIT;
    o.batch = 5, o.shuffle = true, o.seed = 78, o.workers = 2;
    tn_loader *l = open_loader(d, &o);
    for (int i = 0; i < BATCHES; i++) {
        tn_loader_save(l, saved[i]);
        tn_data_batch b = next(l);
        all[i] = digest(&b);
    }
    for (int i = BATCHES - 1; i >= 0; i -= 3) { /* backwards in the same loader, then in another */
        check(tn_loader_restore(l, saved[i], sizeof saved[i], &err), &err);
        tn_data_batch b = next(l);
        assert_true(digest(&b) == all[i]);
    }
    tn_loader_release(l);
    o.seed = 1, o.workers = 3; /* the seed is the state's */
    l = open_loader(d, &o);
    check(tn_loader_restore(l, saved[4], sizeof saved[4], &err), &err);
    for (int i = 4; i < BATCHES; i++) {
        tn_data_batch b = next(l);
        assert_true(digest(&b) == all[i]);
    }
    check(tn_loader_seek(l, 1, 2, &err), &err); /* the batch after the first five */
    tn_data_batch b = next(l);
    assert_true(b.epoch == 1 && b.index == 2 && digest(&b) == all[7]);
    assert_int_equal(tn_loader_seek(l, 1, 9, &err), TN_INVALID);
    tn_loader_release(l);
    tn_dataset_release(d);
}

static void test_loader__refuses_other_states(void **state) {
    int64_t numbers[20];
    uint8_t saved[TN_LOADER_STATE_BYTES];
    tn_dataset *d = count_to(20, numbers);
    tn_loader_options o = TN_LOADER_OPTIONS_INIT;
    tn_error err = TN_ERROR_INIT;
    (void)state;
    o.batch = 4;
    tn_loader *l = open_loader(d, &o), *other;
    tn_loader_save(l, saved);
    assert_int_equal(tn_loader_restore(l, saved, 63, &err), TN_INVALID);
    saved[30] ^= 1;
    assert_int_equal(tn_loader_restore(l, saved, sizeof saved, &err), TN_INVALID);
    saved[30] ^= 1;
    o.batch = 5;
    other = open_loader(d, &o);
    assert_int_equal(tn_loader_restore(other, saved, sizeof saved, &err), TN_INVALID);
    assert_non_null(strstr(err.message, "other samples of a batch over all ranks (4, here 5)"));
    tn_loader_release(other);
    o.batch = 2, o.ranks = 2; /* the same batch, divided */
    other = open_loader(d, &o);
    check(tn_loader_restore(other, saved, sizeof saved, &err), &err);
    tn_loader_release(other);
    o.shuffle = true;
    other = open_loader(d, &o);
    assert_int_equal(tn_loader_restore(other, saved, sizeof saved, &err), TN_INVALID);
    tn_loader_release(other);
    tn_loader_release(l);
    tn_dataset_release(d);
}

/* Released at any moment, with batches in every state. */
static void test_loader__stops(void **state) {
    write_folder("set");
    tn_dataset *d = open_images("set", augment, TN_COUNT(augment));
    tn_loader_options o = TN_LOADER_OPTIONS_INIT;
    (void)state;
    o.batch = 7, o.workers = 3, o.prefetch = 2, o.shuffle = true;
    for (int taken = 0; taken < 12; taken++) {
        tn_loader *l = open_loader(d, &o);
        for (int i = 0; i < taken % 4; i++) (void)next(l);
        tn_loader_release(l);
    }
    tn_loader_release(NULL);
    tn_dataset_release(d);
}

/* ---- corrupt images ------------------------------------------------------------------------- */

static void spoil_folder(void) {
    write_folder("set");
    write_bytes("set/cat/00.PNG", "\x89PNG\r\n\x1a\nnothing", 15);
    write_bytes("set/dog/22.JPEG", "", 0);
    write_bytes("set/emu/02.JPEG", "GIF89a", 6);
}

static void test_loader__skips_corrupt_images(void **state) {
    static const tn_transform list[] = {TN_RESIZE(.height = 8, .width = 8)};
    uint64_t first[2][5];
    (void)state;
    spoil_folder();
    tn_dataset *d = open_images("set", list, 1);
    tn_loader_options o = TN_LOADER_OPTIONS_INIT;
    o.batch = 5, o.seed = 3;
    for (o.workers = 1; o.workers <= 2; o.workers++) {
        tn_loader *l = open_loader(d, &o);
        tn_loader_stats s;
        for (int i = 0; i < 10; i++) { /* two epochs count each once */
            tn_data_batch b = next(l);
            if (i < 5) first[o.workers - 1][i] = digest(&b);
            if (i == 0) /* the next image stands in */
                assert_memory_equal(b.buffers[0].data, (float *)b.buffers[0].data + 3 * 64,
                                    3 * 64 * 4);
        }
        tn_loader_statistics(l, &s);
        assert_int_equal(s.skipped, 3);
        assert_non_null(strstr(tn_loader_skipped(l, 0), "set/cat/00.PNG: PNG: "));
        assert_non_null(strstr(tn_loader_skipped(l, 1), "set/dog/22.JPEG: an empty file"));
        assert_non_null(strstr(tn_loader_skipped(l, 2), "set/emu/02.JPEG: neither JPEG nor PNG"));
        assert_null(tn_loader_skipped(l, 3));
        tn_loader_release(l);
    }
    assert_memory_equal(first[0], first[1], sizeof first[0]);
    tn_dataset_release(d);
}

static void test_loader__strict(void **state) {
    static const tn_transform list[] = {TN_RESIZE(.height = 8, .width = 8)};
    tn_error err = TN_ERROR_INIT;
    tn_data_batch b;
    char text[2048];
    (void)state;
    spoil_folder();
    tn_dataset *d = open_images("set", list, 1);
    tn_loader_options o = TN_LOADER_OPTIONS_INIT;
    o.batch = 5, o.strict = true, o.workers = 2;
    o.samples = (int64_t[]){1, 2, 3, 4, 5, 6, 15, 0, 7, 8}, o.sample_count = 10;
    tn_loader *l = open_loader(d, &o);
    (void)next(l);
    for (int i = 0; i < 2; i++) { /* the first bad one, and again */
        assert_int_equal(tn_loader_next(l, &b, &err), TN_INVALID);
        tn_error_format(&err, text, sizeof text);
        assert_non_null(strstr(text, "while loading batch 1 of epoch 0: "));
        assert_non_null(strstr(text, "set/dog/22.JPEG: an empty file"));
    }
    check(tn_loader_seek(l, 0, 0, &err), &err);
    assert_int_equal(next(l).samples, 5);
    tn_loader_release(l);
    tn_dataset_release(d);
}

static void test_loader__nothing_readable(void **state) {
    static const tn_transform list[] = {TN_RESIZE(.height = 8, .width = 8)};
    tn_error err = TN_ERROR_INIT;
    tn_data_batch b;
    (void)state;
    write_bytes("bad/a/1.jpg", "x", 1);
    write_bytes("bad/a/2.jpg", "y", 1);
    tn_dataset *d = open_images("bad", list, 1);
    tn_loader *l = open_loader(d, NULL);
    assert_int_equal(tn_loader_next(l, &b, &err), TN_INVALID);
    assert_int_equal(b.count, 0);
    tn_loader_release(l);
    tn_dataset_release(d);
}

static void refuse_images(const char *name, const tn_image_options *o, const char *says) {
    tn_error err = TN_ERROR_INIT;
    tn_dataset *d;
    char text[2048];
    assert_int_not_equal(tn_dataset_images(place(name), o, &d, &err), TN_OK);
    assert_null(d);
    tn_error_format(&err, text, sizeof text);
    if (!strstr(text, says)) fail_msg("says: %s; expected: %s", text, says);
}

static void test_images__refused(void **state) {
    tn_image_options o = TN_IMAGE_OPTIONS_INIT;
    tn_error err = TN_ERROR_INIT;
    tn_dataset *d;
    tn_data_batch b;
    char text[2048];
    (void)state;
    (void)mkdir(place("empty"), 0700);
    (void)place("bare/a/x");
    write_image("sizes/a/1.png", 8, 8, 3, 0);
    write_image("sizes/a/2.png", 9, 8, 3, 0);
    write_image("other/z/1.png", 8, 8, 3, 0);
    refuse_images("missing", NULL, "missing: No such file");
    refuse_images("empty", NULL, "empty: no folders in it; expected");
    refuse_images("bare", NULL, "bare: no images in its 1 folders; expected");
    o.channels = 2;
    refuse_images("sizes", &o, "2 channels; expected 1 or 3");
    o.channels = 3, o.dtype = TN_f16;
    refuse_images("sizes", &o, "neither f32 nor bf16");
    o.dtype = TN_f32;
    check(tn_dataset_images(place("sizes"), &o, &d, &err), &err);
    o.classes = d;
    refuse_images("other", &o, "class 'z' is not among the 1 known ones");
    o.classes = NULL, o.max_pixels = INT64_MAX;
    refuse_images("sizes", &o, "max_pixels is not in 0 to 2^30");
    tn_loader_options how = TN_LOADER_OPTIONS_INIT;
    how.batch = 2;
    tn_loader *l = open_loader(d, &how);
    assert_int_equal(tn_loader_next(l, &b, &err), TN_INVALID);
    tn_error_format(&err, text, sizeof text);
    assert_non_null(strstr(text, "a/2.png: 9 x 8 pixels, other images have 8 x 8; add a crop"));
    tn_loader_release(l);
    how.ranks = 2, how.rank = 2;
    assert_int_equal(tn_loader_create(d, &how, &l, &err), TN_INVALID);
    how.rank = 0, how.drop_last = true, how.batch = 64;
    assert_int_equal(tn_loader_create(d, &how, &l, &err), TN_INVALID);
    assert_null(l);
    tn_error_format(&err, text, sizeof text);
    assert_non_null(strstr(text, "samples do not fill 2 batches of 64"));
    assert_non_null(strstr(text, "a batch may be at most 1"));
    tn_dataset_release(d);
}

/* A part of the classes keeps their numbers. */
static void test_images__classes_of_another_folder(void **state) {
    tn_image_options o = TN_IMAGE_OPTIONS_INIT;
    tn_error err = TN_ERROR_INIT;
    tn_dataset *all, *some;
    char path[512];
    int label;
    (void)state;
    for (char c = 'a'; c <= 'd'; c++) {
        char name[32];
        snprintf(name, sizeof name, "all/%c/1.png", c);
        write_image(name, 8, 8, 3, 0);
    }
    write_image("some/b/1.png", 8, 8, 3, 0);
    write_image("some/d/1.png", 8, 8, 3, 0);
    check(tn_dataset_images(place("all"), NULL, &all, &err), &err);
    o.classes = all;
    check(tn_dataset_images(place("some"), &o, &some, &err), &err);
    tn_dataset_release(all);
    assert_int_equal(tn_dataset_class_count(some), 4);
    assert_true(tn_dataset_file(some, 1, path, sizeof path, &label));
    assert_int_equal(label, 3);
    assert_string_equal(tn_dataset_class(some, label), "d");
    assert_non_null(strstr(path, "some/d/1.png"));
    tn_dataset_release(some);
}

/* A size beyond the limit makes an image corrupt, wherever it comes up. */
static void test_images__limit(void **state) {
    static const tn_transform list[] = {TN_FLIP_VERTICAL(), TN_RESIZE(.shorter = 100),
                                        TN_CENTER_CROP(.height = 4, .width = 4)};
    tn_image_options o = TN_IMAGE_OPTIONS_INIT;
    tn_error err = TN_ERROR_INIT;
    tn_dataset *d;
    tn_data_batch b;
    (void)state;
    write_image("long/a/1.png", 600, 1, 3, 0);
    write_image("long/a/2.png", 6, 6, 3, 0);
    for (int i = 0; i < 2; i++) {
        o.transforms = list + i;
        o.transform_count = 3 - i;
        o.max_pixels = 100 * 100;
        check(tn_dataset_images(place("long"), &o, &d, &err), &err);
        tn_loader *l = open_loader(d, NULL);
        check(tn_loader_next(l, &b, &err), &err);
        if (i == 0)
            assert_non_null(
                strstr(tn_loader_skipped(l, 0), "60000 x 100 pixels; the limit is 10000"));
        else /* only the crop is made */
            assert_null(tn_loader_skipped(l, 0));
        tn_loader_release(l);
        tn_dataset_release(d);
    }
}

static void test_images__types(void **state) {
    static const tn_transform list[] = {TN_NORMALIZE(.mean = {0.5}, .std = {0.5})};
    tn_image_options o = TN_IMAGE_OPTIONS_INIT;
    tn_error err = TN_ERROR_INIT;
    tn_dataset *d;
    (void)state;
    write_image("gray/7/1.png", 8, 8, 1, 40);
    o.transforms = list, o.transform_count = 1, o.channels = 1;
    o.dtype = TN_bf16, o.label_dtype = TN_i64;
    check(tn_dataset_images(place("gray"), &o, &d, &err), &err);
    tn_loader *l = open_loader(d, NULL);
    tn_data_batch b = next(l);
    const uint16_t *pixels = b.buffers[0].data;
    uint8_t *data = smooth_bytes(8, 8, 1, 40);
    assert_true(b.buffers[0].dtype == TN_bf16 && b.buffers[0].dim[1] == 1);
    assert_true(b.buffers[1].dtype == TN_i64 && *(const int64_t *)b.buffers[1].data == 0);
    for (int i = 0; i < 64; i++) {
        uint32_t bits = (uint32_t)pixels[i] << 16;
        float got, want = ((float)data[i] / 255 - 0.5f) / 0.5f;
        memcpy(&got, &bits, 4);
        assert_true(got >= want - 0.004f && got <= want + 0.004f);
    }
    free(data);
    tn_loader_release(l);
    tn_dataset_release(d);
}

/* ---- tokens --------------------------------------------------------------------------------- */

static void test_tokens__sequential(void **state) {
    uint16_t tokens[100];
    tn_token_options o = TN_TOKEN_OPTIONS_INIT;
    tn_error err = TN_ERROR_INIT;
    tn_dataset *d;
    (void)state;
    for (int i = 0; i < 100; i++) tokens[i] = (uint16_t)(i * 600);
    write_bytes("tokens/b.bin", tokens, 22 * 2); /* 21 / 10 = 2 windows */
    write_bytes("tokens/a.bin", tokens + 50, 31 * 2);
    write_bytes("tokens/c.bin", tokens, 3 * 2); /* too short for one */
    o.dtype = TN_u16, o.window = 10;
    check(tn_dataset_tokens(place("tokens"), &o, &d, &err), &err);
    assert_int_equal(tn_dataset_count(d), 3 + 2);
    tn_loader_options how = TN_LOADER_OPTIONS_INIT;
    how.batch = 5;
    tn_loader *l = open_loader(d, &how);
    tn_data_batch b = next(l);
    assert_true(b.count == 2 && b.buffers[0].rank == 2 && b.buffers[0].dim[1] == 10);
    const int32_t *in = b.buffers[0].data, *target = b.buffers[1].data;
    for (int row = 0; row < 5; row++)
        for (int i = 0; i < 10; i++) {
            int from = row < 3 ? 50 + 10 * row + i : 10 * (row - 3) + i;
            assert_int_equal(in[10 * row + i], from * 600);
            assert_int_equal(target[10 * row + i], (from + 1) * 600);
        }
    tn_loader_release(l);
    tn_dataset_release(d);
}

/* Windows begin at every place, none of them crosses from one file into another. */
static void test_tokens__random(void **state) {
    uint8_t tokens[2][12];
    bool seen[24] = {false};
    tn_token_options o = TN_TOKEN_OPTIONS_INIT;
    tn_error err = TN_ERROR_INIT;
    tn_dataset *d;
    (void)state;
    for (int i = 0; i < 24; i++) tokens[i / 12][i % 12] = (uint8_t)i;
    write_bytes("bytes/1", tokens[0], 12);
    write_bytes("bytes/2", tokens[1], 12);
    o.window = 4, o.random = true, o.limit = 24;
    check(tn_dataset_tokens(place("bytes"), &o, &d, &err), &err);
    assert_int_equal(tn_dataset_count(d), 4);
    tn_loader_options how = TN_LOADER_OPTIONS_INIT;
    how.batch = 4;
    tn_loader *l = open_loader(d, &how);
    for (int step = 0; step < 100; step++) {
        tn_data_batch b = next(l);
        const int32_t *in = b.buffers[0].data, *target = b.buffers[1].data;
        for (int row = 0; row < 4; row++) {
            int begin = in[4 * row];
            seen[begin] = true;
            assert_int_equal(begin / 12, target[4 * row + 3] / 12);
            for (int i = 0; i < 4; i++)
                assert_true(in[4 * row + i] == begin + i && target[4 * row + i] == begin + i + 1);
        }
    }
    for (int i = 0; i < 24; i++) assert_int_equal(seen[i], i % 12 < 8);
    tn_loader_release(l);
    tn_dataset_release(d);
}

static void test_tokens__from_memory(void **state) {
    static const int32_t tokens[] = {5, 6, 7, 8, 9, 300, 1};
    tn_token_options o = TN_TOKEN_OPTIONS_INIT;
    tn_error err = TN_ERROR_INIT;
    tn_data_batch b;
    tn_dataset *d;
    (void)state;
    o.dtype = TN_i32, o.window = 3, o.limit = 256;
    check(tn_dataset_token_array(tokens, 7, &o, &d, &err), &err);
    tn_loader *l = open_loader(d, NULL);
    assert_int_equal(((const int32_t *)next(l).buffers[1].data)[2], 8);
    assert_int_equal(tn_loader_next(l, &b, &err), TN_INVALID);
    assert_non_null(strstr(err.message, "tokens: token 5 is 300; expected 0 to 255"));
    tn_loader_release(l);
    tn_dataset_release(d);
    assert_int_equal(tn_dataset_token_array(tokens, 3, &o, &d, &err), TN_INVALID);
    assert_non_null(strstr(err.message, "a window of 3 needs 4 tokens"));
    o.dtype = TN_f32;
    assert_int_equal(tn_dataset_token_array(tokens, 7, &o, &d, &err), TN_INVALID);
    o.dtype = TN_i32, o.window = 0;
    assert_int_equal(tn_dataset_token_array(tokens, 7, &o, &d, &err), TN_INVALID);
    assert_null(d);
}

static void test_tokens__refused(void **state) {
    tn_token_options o = TN_TOKEN_OPTIONS_INIT;
    tn_error err = TN_ERROR_INIT;
    tn_dataset *d;
    (void)state;
    o.dtype = TN_u32, o.window = 2;
    write_bytes("odd.bin", "1234567890123456", 15);
    assert_int_equal(tn_dataset_tokens(place("odd.bin"), &o, &d, &err), TN_INVALID);
    assert_non_null(strstr(err.message, "odd.bin: 15 bytes are no u32 tokens"));
    o.skip_bytes = 3;
    check(tn_dataset_tokens(place("odd.bin"), &o, &d, &err), &err);
    tn_dataset_release(d);
    o.skip_bytes = 16;
    assert_int_equal(tn_dataset_tokens(place("odd.bin"), &o, &d, &err), TN_INVALID);
    o.skip_bytes = 0;
    assert_int_equal(tn_dataset_tokens(place("none.bin"), &o, &d, &err), TN_NOT_FOUND);
    (void)mkdir(place("nothing"), 0700);
    assert_int_equal(tn_dataset_tokens(place("nothing"), &o, &d, &err), TN_INVALID);
    assert_non_null(strstr(err.message, "nothing: no files in this folder"));
}

static void test_tokens__file_that_shrinks(void **state) {
    tn_token_options o = TN_TOKEN_OPTIONS_INIT;
    tn_loader_options options = TN_LOADER_OPTIONS_INIT;
    tn_error err = TN_ERROR_INIT;
    tn_dataset *d;
    tn_loader *l;
    tn_data_batch b;
    (void)state;
    o.window = 4;
    write_bytes("shrinks.bin", "123456789", 9);
    check(tn_dataset_tokens(place("shrinks.bin"), &o, &d, &err), &err);
    assert_int_equal(truncate(place("shrinks.bin"), 7), 0);
    check(tn_loader_create(d, &options, &l, &err), &err);
    check(tn_loader_next(l, &b, &err), &err);
    assert_int_equal(((const int32_t *)b.buffers[1].data)[3], '5');
    assert_int_equal(tn_loader_next(l, &b, &err), TN_IO);
    assert_non_null(
        strstr(err.message, "shrinks.bin: it ends at byte 7, and was longer when it was opened"));
    assert_int_equal(unlink(place("shrinks.bin")), 0);
    check(tn_loader_seek(l, 0, 0, &err), &err);
    assert_int_equal(tn_loader_next(l, &b, &err), TN_IO);
    assert_non_null(strstr(err.message, "shrinks.bin: cannot read: No such file"));
    tn_loader_release(l);
    tn_dataset_release(d);
}

static void test_arrays__refused(void **state) {
    float x[6] = {0};
    int32_t y[3] = {0};
    tn_error err = TN_ERROR_INIT;
    tn_dataset *d;
    tn_buffer arrays[2] = {{TN_f32, 2, {3, 2}, x, 0}, {TN_i32, 1, {2}, y, 0}};
    (void)state;
    assert_int_equal(tn_dataset_arrays(arrays, 2, &d, &err), TN_INVALID);
    assert_non_null(strstr(err.message, "array 1 has 2 rows, array 0 has 3"));
    assert_int_equal(tn_dataset_arrays(arrays, 0, &d, &err), TN_INVALID);
    arrays[1].dim[0] = 3;
    check(tn_dataset_arrays(arrays, 2, &d, &err), &err);
    tn_loader_options o = TN_LOADER_OPTIONS_INIT;
    tn_loader *l;
    o.batch = 0;
    assert_int_equal(tn_loader_create(d, &o, &l, &err), TN_INVALID);
    o.batch = 1, o.workers = -1;
    assert_int_equal(tn_loader_create(d, &o, &l, &err), TN_INVALID);
    o.workers = 1, o.samples = (int64_t[]){3}, o.sample_count = 1;
    assert_int_equal(tn_loader_create(d, &o, &l, &err), TN_INVALID);
    assert_non_null(strstr(err.message, "options.samples[0] is 3; the dataset has 3"));
    tn_dataset_release(d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order__is_a_permutation),
        cmocka_unit_test(test_order__is_even),
        cmocka_unit_test(test_loader__epochs),
        cmocka_unit_test(test_loader__subset_and_drop),
        cmocka_unit_test(test_loader__ranks),
        cmocka_unit_test(test_images__folder),
        cmocka_unit_test(test_loader__same_bits_with_any_workers),
        cmocka_unit_test(test_loader__resumes),
        cmocka_unit_test(test_loader__refuses_other_states),
        cmocka_unit_test(test_loader__stops),
        cmocka_unit_test(test_loader__skips_corrupt_images),
        cmocka_unit_test(test_loader__strict),
        cmocka_unit_test(test_loader__nothing_readable),
        cmocka_unit_test(test_images__refused),
        cmocka_unit_test(test_images__classes_of_another_folder),
        cmocka_unit_test(test_images__limit),
        cmocka_unit_test(test_images__types),
        cmocka_unit_test(test_tokens__sequential),
        cmocka_unit_test(test_tokens__random),
        cmocka_unit_test(test_tokens__from_memory),
        cmocka_unit_test(test_tokens__refused),
        cmocka_unit_test(test_tokens__file_that_shrinks),
        cmocka_unit_test(test_arrays__refused),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}

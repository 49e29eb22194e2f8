/* Checkpoints: what is saved is loaded, what is damaged is told, what is wrong changes nothing. */
#include "tenon/checkpoint.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "unit/nn/lazy_test.h"
#include "unit/test_folder.h"

static tn_context *c;
static tn_scope *scope;
static char run[512]; /* a folder that does not exist yet */

static int open_context(void **state) {
    (void)state;
    empty_folder();
    snprintf(run, sizeof run, "%s/a/run", folder);
    c = lazy_context(TN_COMPILE_INTERPRET, 1);
    scope = tn_scope_open(c);
    return 0;
}

static int close_context(void **state) {
    (void)state;
    tn_scope_close(scope);
    assert_int_equal(statistics(c).tensors, 0);
    tn_context_release(c);
    return 0;
}

/* ---- helpers -------------------------------------------------------------------------------- */

/* "w" [2, 3] bf16, "names.of.ö" [] i64, "empty" [0] f32: all hold numbers from `value` on. */
static void model_of(double value, tn_named_tensor out[3]) {
    tn_tensor *w = tn_arange(c, TN_bf16, value, value + 6, 1);
    out[0] = (tn_named_tensor){"w", tn_reshape(w, TN_SHAPE(2, 3))};
    out[1] = (tn_named_tensor){"names.of.\xc3\xb6", tn_tensor_scalar(c, TN_i64, value)};
    out[2] = (tn_named_tensor){"empty", tn_tensor_from(c, TN_f32, TN_SHAPE(0), NULL)};
}

static tn_status save_with(int64_t step, double value, const tn_checkpoint_options *options,
                           tn_error *err) {
    tn_named_tensor model[3], state = {"w.exp_avg", tn_full(c, TN_f32, TN_SHAPE(1000), value)};
    model_of(value, model);
    tn_checkpoint_part parts[] = {{"model", model, 3}, {"optimizer", &state, 1}};
    tn_named_blob blobs[] = {{"loader", &value, sizeof value}, {"nothing", NULL, 0}};
    tn_checkpoint_content content = {parts, 2, blobs, 2};
    return tn_checkpoint_save(run, step, &content, options, err);
}

static void save(int64_t step, double value, int keep) {
    tn_error err = TN_ERROR_INIT;
    tn_checkpoint_options options = TN_CHECKPOINT_OPTIONS_INIT;
    options.keep = keep;
    must(save_with(step, value, &options, &err), &err);
}

static void expect_content(const tn_checkpoint *k, double value) {
    tn_error err = TN_ERROR_INIT;
    tn_named_tensor model[3], state = {"w.exp_avg", tn_full(c, TN_f32, TN_SHAPE(1000), -1)};
    const void *data;
    size_t size;
    model_of(-9, model);
    tn_checkpoint_part parts[] = {{"optimizer", &state, 1}, {"model", model, 3}};
    must(tn_checkpoint_load(k, parts, 2, 0, &err), &err);
    for (int64_t i = 0; i < 6; i++) {
        tn_tensor *w = tn_reshape(model[0].tensor, TN_SHAPE(6));
        expect_near(item(tn_slice(w, 0, i, i + 1, 1)), value + (double)i, 0);
    }
    expect_near(item(model[1].tensor), value, 0);
    expect_near(item(tn_max(state.tensor, TN_ALL_AXES, false)), value, 0);
    expect_near(item(tn_min(state.tensor, TN_ALL_AXES, false)), value, 0);
    must(tn_checkpoint_blob(k, "loader", &data, &size, &err), &err);
    assert_true(size == sizeof value && memcmp(data, &value, size) == 0);
    must(tn_checkpoint_blob(k, "nothing", &data, &size, &err), &err);
    assert_int_equal(size, 0);
}

static void expect_newest(int64_t step, double value) {
    tn_error err = TN_ERROR_INIT;
    tn_checkpoint *k;
    must(tn_checkpoint_open(run, TN_CHECKPOINT_NEWEST, &k, &err), &err);
    assert_int_equal(tn_checkpoint_step(k), step);
    expect_content(k, value);
    tn_checkpoint_release(k);
}

/* How many names there are in the folder. */
static int names_in(const char *path) {
    DIR *dir = opendir(path);
    int n = 0;
    assert_non_null(dir);
    for (struct dirent *e; (e = readdir(dir));) n += e->d_name[0] != '.';
    closedir(dir);
    return n;
}

static const char *file_of(int64_t step, const char *name) {
    static char path[1024];
    snprintf(path, sizeof path, "%s/step-%lld/%s", run, (long long)step, name);
    return path;
}

/* ---- saving and loading --------------------------------------------------------------------- */

static void test_checkpoint__gives_back_what_was_saved(void **state) {
    (void)state;
    tn_error err = TN_ERROR_INIT;
    tn_checkpoint *k;
    save(7, 3, 0);
    expect_newest(7, 3);
    save(100, 5, 0);
    save(20, 4, 0);
    expect_newest(100, 5);
    must(tn_checkpoint_open(run, 7, &k, &err), &err);
    expect_content(k, 3);
    assert_null(tn_checkpoint_tensors(k, "none"));
    tn_tensor_info info;
    const tn_tensor_file *f = tn_checkpoint_tensors(k, "optimizer");
    assert_int_equal(tn_tensor_file_count(f), 1);
    assert_int_equal(tn_tensor_file_info(f, 0, &info), TN_OK);
    assert_true(strcmp(info.name, "w.exp_avg") == 0 && info.dtype == TN_f32 && info.rank == 1 &&
                info.dim[0] == 1000);
    assert_int_equal(tn_tensor_file_info(f, 1, &info), TN_NOT_FOUND);
    tn_checkpoint_release(k);
    must_fail(tn_checkpoint_open(run, 8, &k, &err), TN_NOT_FOUND, &err, "step-8");
    assert_null(k);
    must_fail(tn_checkpoint_open(run, -5, &k, &err), TN_INVALID, &err, "no step -5");
    assert_int_equal(names_in(run), 3);
}

static void test_checkpoint__takes_the_place_of_one_of_its_step(void **state) {
    (void)state;
    save(5, 1, 0);
    save(5, 2, 0);
    expect_newest(5, 2);
    assert_int_equal(names_in(run), 1);
    assert_int_equal(names_in(file_of(5, "")), 5);
}

static void test_checkpoint__keeps_as_many_as_asked_for(void **state) {
    (void)state;
    for (int i = 1; i <= 4; i++) save(i, i, 2);
    assert_int_equal(names_in(run), 2);
    expect_newest(4, 4);
    assert_int_equal(truncate(file_of(4, "model.safetensors"), 9), 0); /* counts no more */
    save(5, 5, 2);
    assert_int_equal(names_in(run), 3);
    assert_int_equal(access(file_of(3, ""), F_OK), 0);
    save(2, 20, 1); /* an older step than those there: it is kept itself */
    assert_int_equal(names_in(run), 1);
    expect_newest(2, 20);
}

static void test_checkpoint__is_cut_into_shards(void **state) {
    (void)state;
    tn_error err = TN_ERROR_INIT;
    tn_named_tensor x[4];
    static const char *const names[] = {"d", "c", "b", "a"};
    for (int i = 0; i < 4; i++)
        x[i] = (tn_named_tensor){names[i], tn_full(c, TN_f32, TN_SHAPE(100), i)};
    tn_checkpoint_part part = {"model", x, 4};
    tn_checkpoint_content content = {&part, 1, NULL, 0};
    tn_checkpoint_options options = TN_CHECKPOINT_OPTIONS_INIT;
    options.shard_bytes = 900; /* two tensors */
    must(tn_checkpoint_save(run, 0, &content, &options, &err), &err);
    assert_int_equal(access(file_of(0, "model-00001-of-00002.safetensors"), F_OK), 0);
    assert_int_equal(access(file_of(0, "model-00002-of-00002.safetensors"), F_OK), 0);
    tn_checkpoint *k;
    must(tn_checkpoint_open(run, 0, &k, &err), &err);
    for (int i = 0; i < 4; i++) tn_assign(x[i].tensor, tn_full(c, TN_f32, TN_SHAPE(100), -1));
    must(tn_checkpoint_load(k, &part, 1, 0, &err), &err);
    tn_checkpoint_release(k);
    for (int i = 0; i < 4; i++) expect_near(item(tn_max(x[i].tensor, TN_ALL_AXES, false)), i, 0);
    tn_tensor_file *f; /* as a folder of Hugging Face's */
    tn_tensor *b;
    must(tn_tensor_file_open(file_of(0, ""), &f, &err), &err);
    assert_int_equal(tn_tensor_file_count(f), 4);
    must(tn_tensor_file_get(f, c, "b", &b, &err), &err);
    expect_near(item(tn_min(b, TN_ALL_AXES, false)), 2, 0);
    must_fail(tn_tensor_file_get(f, c, "e", &b, &err), TN_NOT_FOUND, &err, "no tensor 'e'");
    tn_tensor_file_release(f);
}

static void test_checkpoint__evaluates_what_is_pending(void **state) {
    (void)state;
    tn_error err = TN_ERROR_INIT;
    char path[600];
    tn_tensor *x = tn_full(c, TN_f32, TN_SHAPE(3), 2);
    tn_named_tensor t[] = {{"x", tn_square(x)}, {"y", tn_exp(tn_mul_scalar(x, 0))}};
    snprintf(path, sizeof path, "%s/x.safetensors", folder);
    must(tn_tensors_save(path, t, 2, &err), &err);
    assert_int_equal(statistics(c).runs, 1);
    tn_tensor_file *f;
    must(tn_tensor_file_open(path, &f, &err), &err);
    tn_named_tensor back[] = {{"x", tn_full(c, TN_f32, TN_SHAPE(3), 0)}};
    must(tn_tensor_file_load(f, back, 1, TN_LOAD_ALLOW_UNUSED, &err), &err);
    expect_f32(back[0].tensor, (float[]){4, 4, 4}, 3, 0);
    tn_tensor_file_release(f);
    t[1].name = "x"; /* a failed save leaves the file, and nothing beside it */
    must_fail(tn_tensors_save(path, t, 2, &err), TN_INVALID, &err, "two tensors are named 'x'");
    assert_int_equal(names_in(folder), 1);
    must(tn_tensor_file_open(path, &f, &err), &err);
    tn_tensor_file_release(f);
}

/* ---- mistakes ------------------------------------------------------------------------------- */

static void expect_load_fails(const tn_checkpoint *k, const tn_named_tensor *t, int count,
                              int flags, tn_status status, const char *words) {
    tn_error err = TN_ERROR_INIT;
    tn_checkpoint_part part = {"model", t, count};
    must_fail(tn_checkpoint_load(k, &part, 1, flags, &err), status, &err, words);
}

/* The first of the tensors fits each time, and stays. */
static void test_load__changes_nothing_when_something_is_wrong(void **state) {
    (void)state;
    tn_error err = TN_ERROR_INIT;
    tn_checkpoint *k;
    tn_named_tensor t[4];
    save(1, 3, 0);
    must(tn_checkpoint_open(run, 1, &k, &err), &err);
    model_of(-9, t);
    t[3] = (tn_named_tensor){"more", tn_full(c, TN_f32, TN_SHAPE(2), 0)};
    expect_load_fails(k, t, 4, 0, TN_NOT_FOUND, "no tensor 'more' among its 3");
    expect_load_fails(k, t, 1, 0, TN_INVALID, "is not asked for");
    tn_tensor *right = t[1].tensor;
    t[1].tensor = tn_tensor_scalar(c, TN_i32, 0);
    expect_load_fails(k, t, 3, 0, TN_INVALID, "is i64[] in the file; expected i32[]");
    t[1].tensor = tn_full(c, TN_i64, TN_SHAPE(1), 0);
    expect_load_fails(k, t, 3, 0, TN_INVALID, "is i64[] in the file; expected i64[1]");
    t[1].tensor = NULL;
    expect_load_fails(k, t, 3, 0, TN_INVALID, "is NULL");
    t[1].tensor = right;
    tn_checkpoint_part parts[] = {{"model", t, 3}, {"none", NULL, 0}};
    must_fail(tn_checkpoint_load(k, parts, 2, 0, &err), TN_NOT_FOUND, &err, "no part 'none'");
    const void *data;
    size_t size;
    must_fail(tn_checkpoint_blob(k, "none", &data, &size, &err), TN_NOT_FOUND, &err, "'none'");
    expect_near(item(tn_max(t[0].tensor, TN_ALL_AXES, false)), -4, 0);
    expect_near(item(t[1].tensor), -9, 0);
    tn_checkpoint_part part = {"model", t, 4};
    must(tn_checkpoint_load(k, &part, 1, TN_LOAD_ALLOW_MISSING, &err), &err);
    expect_near(item(t[1].tensor), 3, 0);
    tn_checkpoint_release(k);
}

static void expect_save_fails(const tn_checkpoint_content *content,
                              const tn_checkpoint_options *options, int64_t step, tn_status status,
                              const char *words) {
    tn_error err = TN_ERROR_INIT;
    must_fail(tn_checkpoint_save(run, step, content, options, &err), status, &err, words);
}

static void test_save__refuses_what_is_wrong(void **state) {
    (void)state;
    save(1, 1, 0);
    tn_tensor *x = tn_full(c, TN_f32, TN_SHAPE(100), 1);
    tn_named_tensor good = {"x", x}, none = {"x", NULL}, narrow = {"n", tn_cast(x, TN_i4)};
    tn_named_tensor twice[] = {good, good};
    const struct {
        const char *words;
        tn_status status;
        tn_checkpoint_part parts[2];
        const char *blobs[2];
    } rows[] = {
        {"'a/b' cannot name a part", TN_INVALID, {{"a/b", &good, 1}}, {NULL}},
        {"'' cannot name a part", TN_INVALID, {{NULL, &good, 1}}, {NULL}},
        {"'..' cannot name a blob", TN_INVALID, {{"m", &good, 1}}, {".."}},
        {"two parts are named 'm'", TN_INVALID, {{"m", &good, 1}, {"m", &good, 1}}, {NULL}},
        {"two blobs are named 'b'", TN_INVALID, {{"m", &good, 1}}, {"b", "b"}},
        {"two tensors of 'm' are named 'x'", TN_INVALID, {{"m", twice, 2}}, {NULL}},
        {"tensor 0, 'x', of 1 to save is NULL", TN_INVALID, {{"m", &none, 1}}, {NULL}},
        {"tensor 'n' is i4", TN_UNSUPPORTED, {{"m", &narrow, 1}}, {NULL}},
    };
    tn_checkpoint_options options = TN_CHECKPOINT_OPTIONS_INIT;
    options.shard_bytes = 1; /* names are checked over all files of a part */
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        tn_named_blob blobs[2] = {{rows[r].blobs[0], "", 0}, {rows[r].blobs[1], "", 0}};
        tn_checkpoint_content content = {rows[r].parts, rows[r].parts[1].name ? 2 : 1, blobs,
                                         rows[r].blobs[1]   ? 2
                                         : rows[r].blobs[0] ? 1
                                                            : 0};
        expect_save_fails(&content, &options, 2, rows[r].status, rows[r].words);
        assert_int_equal(names_in(run), 1); /* nothing is left, the one before stays */
    }
    tn_checkpoint_content nothing = {NULL, 0, NULL, 0};
    expect_save_fails(&nothing, NULL, -1, TN_INVALID, "step -1");
    expect_save_fails(&nothing, &(tn_checkpoint_options){0}, 1, TN_INVALID, "size is not set");
    tn_named_tensor failed = {"x", tn_matmul(x, tn_full(c, TN_f32, TN_SHAPE(3), 1))};
    tn_checkpoint_part part = {"m", &failed, 1};
    expect_save_fails(&(tn_checkpoint_content){&part, 1, NULL, 0}, NULL, 2, TN_INVALID,
                      "test_checkpoint.c:");
    tn_context_clear_error(c);
    expect_newest(1, 1);
}

static void test_save__is_alone_in_its_folder(void **state) {
    (void)state;
    tn_error err = TN_ERROR_INIT;
    save(1, 1, 0);
    int fd = open(run, O_RDONLY | O_DIRECTORY);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    must_fail(save_with(2, 2, NULL, &err), TN_IO, &err, "another process is saving there");
    close(fd);
    save(2, 2, 0);
    expect_newest(2, 2);
}

/* ---- damage --------------------------------------------------------------------------------- */

static void expect_damaged(const char *words) {
    tn_error err = TN_ERROR_INIT;
    tn_checkpoint *k;
    tn_status status = tn_checkpoint_open(run, 2, &k, &err);
    assert_true(status != TN_OK);
    must_fail(status, status, &err, words);
    expect_newest(1, 1); /* the one before */
    save(2, 2, 0);
    expect_newest(2, 2);
}

static void flip(const char *path, long at) {
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    fseek(f, at, at < 0 ? SEEK_END : SEEK_SET);
    int byte = fgetc(f);
    fseek(f, at, at < 0 ? SEEK_END : SEEK_SET);
    fputc(byte ^ 1, f);
    fclose(f);
}

static void test_checkpoint__is_passed_over_when_damaged(void **state) {
    (void)state;
    save(1, 1, 0);
    save(2, 2, 0);
    flip(file_of(2, "optimizer.safetensors"), -1);
    expect_damaged("optimizer.safetensors: the file is not what was saved: its checksum");
    flip(file_of(2, "loader.bin"), 0);
    expect_damaged("loader.bin: the file is not what was saved: its checksum");
    assert_int_equal(truncate(file_of(2, "model.safetensors"), 100), 0);
    expect_damaged("model.safetensors: the file is not what was saved: its length");
    assert_int_equal(unlink(file_of(2, "model.safetensors")), 0);
    expect_damaged("model.safetensors: No such file");
    assert_int_equal(truncate(file_of(2, "manifest.json"), 50), 0);
    expect_damaged("manifest.json: line ");
    assert_int_equal(unlink(file_of(2, "manifest.json")), 0);
    expect_damaged("manifest.json: No such file");
    assert_int_equal(unlink(file_of(2, "loader.bin")), 0); /* "unreadable" for root, too */
    assert_int_equal(mkdir(file_of(2, "loader.bin"), 0700), 0);
    expect_damaged("loader.bin: not a regular file");
}

static void write_text(const char *path, const char *text) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void test_checkpoint__reads_no_manifest_that_is_strange(void **state) {
    static const struct {
        const char *text, *words;
    } rows[] = {
#define HEAD "{\"format\":\"tenon checkpoint\",\"version\":1,\"step\":2,\"files\":"
        {"", "line "},
        {"{}", "not the manifest of a checkpoint"},
        {"{\"format\":\"tenon checkpoint\",\"version\":2}", "another version"},
        {"{\"format\":\"tenon checkpoint\",\"version\":1,\"step\":3,\"files\":[]}",
         "not the manifest of step 2"},
        {HEAD "{}}", "not the manifest of step 2"},
        {HEAD "[3]}", "entry 0 of the files is damaged"},
        {HEAD
         "[{\"name\":\"../x\",\"bytes\":1,\"xxh3_128\":\"00000000000000000000000000000000\"}]}",
         "entry 0 of the files is damaged"},
        {HEAD "[{\"name\":\"x\",\"bytes\":-1,\"xxh3_128\":\"00000000000000000000000000000000\"}]}",
         "entry 0 of the files is damaged"},
        {HEAD "[{\"name\":\"x\",\"bytes\":1,\"xxh3_128\":\"0\"}]}",
         "entry 0 of the files is damaged"},
#undef HEAD
    };
    (void)state;
    save(1, 1, 0);
    save(2, 2, 0);
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        write_text(file_of(2, "manifest.json"), rows[r].text);
        expect_damaged(rows[r].words);
    }
}

static void test_checkpoint__ignores_leftovers_and_cleans_them(void **state) {
    (void)state;
    tn_error err = TN_ERROR_INIT;
    tn_checkpoint *k;
    char path[600];
    must_fail(tn_checkpoint_open(run, TN_CHECKPOINT_NEWEST, &k, &err), TN_NOT_FOUND, &err,
              "there is no checkpoint");
    save(3, 3, 0);
    snprintf(path, sizeof path, "%s/step-9.tmp", run);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof path, "%s/step-9.tmp/manifest.json", run);
    write_text(path, "{}");
    snprintf(path, sizeof path, "%s/step-04", run); /* not a name of ours */
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof path, "%s/step-99999999999999999999", run);
    assert_int_equal(mkdir(path, 0700), 0);
    expect_newest(3, 3);
    save(4, 4, 1);
    assert_int_equal(names_in(run), 3); /* step-4 and the strange ones */
    expect_newest(4, 4);
    snprintf(path, sizeof path, "%s/step-4/manifest.json", run);
    assert_int_equal(unlink(path), 0);
    must_fail(tn_checkpoint_open(run, TN_CHECKPOINT_NEWEST, &k, &err), TN_INVALID, &err,
              "no checkpoint is complete");
    assert_null(k);
}

static void test_tensor_file__refuses_a_wrong_index(void **state) {
    static const struct {
        const char *text, *words;
    } rows[] = {
        {"{", "line "},
        {"{}", "no weight_map"},
        {"{\"weight_map\":{\"x\":\"../x.safetensors\"}}", "is not the name of a file"},
        {"{\"weight_map\":{\"x\":3}}", "is not the name of a file"},
        {"{\"weight_map\":{\"x\":\"none.safetensors\"}}", "none.safetensors: No such file"},
        {"{\"weight_map\":{\"y\":\"a.safetensors\"}}", "tensor 'y' is not in a.safetensors"},
        {"{\"weight_map\":{\"x\":\"a.safetensors\",\"y\":\"b.safetensors\"}}", "is in two files"},
    };
    tn_error err = TN_ERROR_INIT;
    char path[600];
    (void)state;
    tn_named_tensor x = {"x", tn_full(c, TN_f32, TN_SHAPE(2), 1)};
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%c.safetensors", folder, 'a' + i);
        must(tn_tensors_save(path, &x, 1, &err), &err);
    }
    snprintf(path, sizeof path, "%s/model.safetensors.index.json", folder);
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        tn_tensor_file *f;
        write_text(path, rows[r].text);
        tn_status status = tn_tensor_file_open(folder, &f, &err);
        assert_true(status == TN_INVALID || status == TN_NOT_FOUND);
        must_fail(status, status, &err, rows[r].words);
        assert_null(f);
    }
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_context, close_context)
    const struct CMUnitTest tests[] = {
        TEST(test_checkpoint__gives_back_what_was_saved),
        TEST(test_checkpoint__takes_the_place_of_one_of_its_step),
        TEST(test_checkpoint__keeps_as_many_as_asked_for),
        TEST(test_checkpoint__is_cut_into_shards),
        TEST(test_checkpoint__evaluates_what_is_pending),
        TEST(test_load__changes_nothing_when_something_is_wrong),
        TEST(test_save__refuses_what_is_wrong),
        TEST(test_save__is_alone_in_its_folder),
        TEST(test_checkpoint__is_passed_over_when_damaged),
        TEST(test_checkpoint__reads_no_manifest_that_is_strange),
        TEST(test_checkpoint__ignores_leftovers_and_cleans_them),
        TEST(test_tensor_file__refuses_a_wrong_index),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}

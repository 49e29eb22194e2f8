/* See train_data.h. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "cli/train_data.h"

/* The datasets, which the loaders keep alive, and what is chosen of them. */
typedef struct sources {
    tn_dataset *train, *held_out; /* may be the same */
    int64_t *chosen[2], count[2]; /* samples of each; NULL: all */
} sources;

static bool is_folder(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* ---- images --------------------------------------------------------------------------------- */

static tn_status read_transforms(const train_settings *s, bool training,
                                 tn_transform out[MAX_TRANSFORMS], int *count, tn_error *err) {
    const char *text = training ? s->data_transforms : s->data_eval_transforms;
    tn_buffer batch[2];
    if (text) {
        TN_TRY(err, cli_transforms(text, out, count, err), "data.%stransforms",
               training ? "" : "eval_");
        return TN_OK;
    }
    cli_train_batch(s, 1, 1, batch);
    *count = batch[0].rank == 4;
    if (*count && (batch[0].dim[2] < 0 || batch[0].dim[3] < 0))
        return tn_error_set(err, TN_INVALID,
                            "%s takes images of any size; --data.transforms says which, as "
                            "[{\"name\": \"resize\", \"height\": 224, \"width\": 224}]",
                            s->model_config);
    if (*count)
        out[0] =
            (tn_transform)TN_RESIZE(.height = (int)batch[0].dim[2], .width = (int)batch[0].dim[3]);
    return TN_OK;
}

static tn_status open_images(const train_settings *s, const char *folder, const tn_dataset *classes,
                             tn_dataset **out, tn_error *err) {
    tn_transform list[MAX_TRANSFORMS] = {{0}};
    tn_image_options o = TN_IMAGE_OPTIONS_INIT;
    tn_buffer batch[2];
    cli_train_batch(s, 1, 1, batch);
    o.transforms = list;
    o.classes = classes;
    o.channels = s->data_channels     ? (int)s->data_channels
                 : batch[0].rank == 4 ? (int)batch[0].dim[1]
                                      : o.channels;
    TN_CHECK(read_transforms(s, !classes, list, &o.transform_count, err));
    return tn_dataset_images(folder, &o, out, err);
}

/* PATH/train and PATH/val, or PATH alone; data.validation goes before PATH/val. */
static tn_status find_images(cli *c, const train_settings *s, sources *x, tn_error *err) {
    const char *train = tn_arena_printf(&c->arena, "%s/train", s->data_path);
    const char *val = tn_arena_printf(&c->arena, "%s/val", s->data_path);
    bool parts = is_folder(train);
    TN_CHECK(open_images(s, parts ? train : s->data_path, NULL, &x->train, err));
    if (s->data_validation) val = s->data_validation;
    if (s->data_validation || (parts && is_folder(val)))
        return open_images(s, val, x->train, &x->held_out, err);
    /* The same files without augmentation */
    if (s->data_split > 0)
        return open_images(s, parts ? train : s->data_path, x->train, &x->held_out, err);
    return TN_OK;
}

static tn_status fit_classes(train_settings *s, const sources *x, tn_error *err) {
    char text[32], has[32] = "0";
    int classes = tn_dataset_class_count(x->train);
    if (s->onnx.path && s->onnx.classes >= 0 && classes > s->onnx.classes)
        return tn_error_set(err, TN_INVALID, "%s has %d classes, %s has logits for %lld",
                            s->data_path, classes, s->model_config, (long long)s->onnx.classes);
    if (s->onnx.path) return TN_OK;
    snprintf(text, sizeof text, "%d", classes);
    if (!s->classes_given) return tn_model_config_set(&s->model, "classes", text, err);
    tn_model_config_get(&s->model, "classes", has, sizeof has);
    if (classes <= strtol(has, NULL, 10)) return TN_OK;
    return tn_error_set(err, TN_INVALID,
                        "%s has %d classes, the model is for %s; leave out model.classes, or "
                        "say --model.classes %d",
                        s->data_path, classes, has, classes);
}

/* ---- tokens --------------------------------------------------------------------------------- */

static tn_status open_tokens(const train_settings *s, const char *path, bool training,
                             tn_dataset **out, tn_error *err) {
    static const tn_dtype dtypes[] = {TN_u16, TN_u32, TN_i32, TN_u8};
    tn_token_options o = TN_TOKEN_OPTIONS_INIT;
    char vocab[32] = "0";
    if (s->onnx.path)
        snprintf(vocab, sizeof vocab, "%lld", (long long)TN_MAX(s->onnx.classes, 0));
    else
        tn_model_config_get(&s->model, "vocab", vocab, sizeof vocab);
    o.dtype = s->data_kind == DATA_TOKENS ? dtypes[s->data_dtype] : TN_u8;
    o.window = s->data_sequence;
    o.random = training && s->data_random;
    o.limit = strtoll(vocab, NULL, 10);
    return tn_dataset_tokens(path, &o, out, err);
}

static tn_status find_tokens(const train_settings *s, sources *x, tn_error *err) {
    TN_CHECK(open_tokens(s, s->data_path, true, &x->train, err));
    if (s->data_validation) return open_tokens(s, s->data_validation, false, &x->held_out, err);
    if (s->data_split > 0) return open_tokens(s, s->data_path, false, &x->held_out, err);
    return TN_OK;
}

/* ---- what is held out ----------------------------------------------------------------------- */

/* Images by a hash of their number, which takes some of each class; of tokens the last windows. */
static bool held_out(const train_settings *s, int64_t i, int64_t count) {
    uint64_t key[2] = {(uint64_t)i, (uint64_t)s->seed};
    double at = s->tokens ? 1 - (double)(i + 1) / (double)count
                          : (double)(tn_hash64(key, sizeof key) >> 11) * 0x1p-53;
    return at < s->data_split;
}

static tn_status divide(cli *c, const train_settings *s, sources *x, tn_error *err) {
    int64_t count = tn_dataset_count(x->train);
    if (s->data_split <= 0 || s->data_validation || tn_dataset_count(x->held_out) != count)
        return TN_OK;
    for (int part = 0; part < 2; part++) x->chosen[part] = TN_NEW_N(&c->arena, int64_t, count);
    for (int64_t i = 0; i < count; i++) {
        int part = held_out(s, i, count);
        x->chosen[part][x->count[part]++] = i;
    }
    if (x->count[0] && x->count[1]) return TN_OK;
    return tn_error_set(err, TN_INVALID, "data.split = %g leaves %lld of %lld samples to train on",
                        s->data_split, (long long)x->count[0], (long long)count);
}

/* ---- loaders -------------------------------------------------------------------------------- */

/* Batches of training are whole, so that one program serves all. */
static tn_status check_batch(const train_settings *s, const sources *x, tn_error *err) {
    int64_t count = x->chosen[0] ? x->count[0] : tn_dataset_count(x->train);
    if (s->data_batch <= count) return TN_OK;
    const char *what = s->tokens ? "windows of data.sequence tokens" : "images";
    return tn_error_set(err, TN_INVALID,
                        "data.batch = %lld, but %s has only %lld %s to train on; --data.batch %lld "
                        "would do%s",
                        (long long)s->data_batch, s->data_path, (long long)count, what,
                        (long long)TN_MAX(count, 1),
                        s->tokens ? ", or a shorter --data.sequence" : "");
}

static tn_status open_loader(const train_settings *s, const sources *x, bool training,
                             tn_loader **out, tn_error *err) {
    tn_dataset *data = training ? x->train : x->held_out;
    tn_loader_options o = TN_LOADER_OPTIONS_INIT;
    o.batch = s->data_batch;
    o.seed = (uint64_t)s->seed;
    o.shuffle = o.drop_last = training;
    o.workers = (int)s->data_workers;
    o.samples = x->chosen[!training];
    o.sample_count = x->count[!training];
    return tn_loader_create(data, &o, out, err);
}

/* A model of flat inputs reads as many numbers as an image has. */
static tn_status fit_features(train_settings *s, const tn_buffer *images, tn_error *err) {
    char text[32];
    long long features = 1;
    if (s->onnx.path || s->features_given ||
        !tn_model_config_get(&s->model, "features", text, sizeof text))
        return TN_OK;
    for (int i = 1; i < images->rank; i++) features *= images->dim[i];
    snprintf(text, sizeof text, "%lld", features);
    return tn_model_config_set(&s->model, "features", text, err);
}

/* Types of the batches, from the first one. */
static tn_status look(train_data *d, tn_error *err) {
    tn_data_batch b;
    TN_CHECK(tn_loader_next(d->train, &b, err));
    for (int i = 0; i < 2; i++) {
        d->types[i] = b.buffers[i];
        d->types[i].data = NULL;
    }
    return tn_loader_seek(d->train, 0, 0, err);
}

static tn_status open_all(cli *c, train_settings *s, sources *x, train_data *d, tn_error *err) {
    TN_TRY(err, s->tokens ? find_tokens(s, x, err) : find_images(c, s, x, err),
           "while opening the data");
    if (!s->tokens) TN_CHECK(fit_classes(s, x, err));
    TN_CHECK(divide(c, s, x, err));
    TN_CHECK(check_batch(s, x, err));
    TN_TRY(err, open_loader(s, x, true, &d->train, err), "while opening the data");
    if (x->held_out)
        TN_TRY(err, open_loader(s, x, false, &d->held_out, err), "while opening what is held out");
    TN_TRY(err, look(d, err), "while reading the first batch");
    return fit_features(s, &d->types[0], err);
}

tn_status cli_train_data_open(cli *c, train_settings *s, train_data *out, tn_error *err) {
    sources x = {0};
    *out = (train_data){.batch = s->data_batch, .sequence = s->data_sequence};
    tn_status status = open_all(c, s, &x, out, err);
    out->dataset = x.train;
    tn_dataset_release(x.held_out);
    return status;
}

uint64_t cli_train_data_skipped(const train_data *d) {
    tn_loader *const loaders[] = {d->train, d->held_out};
    uint64_t sum = 0;
    for (size_t i = 0; i < TN_COUNT(loaders); i++) {
        tn_loader_stats stats;
        if (loaders[i]) tn_loader_statistics(loaders[i], &stats);
        if (loaders[i]) sum += stats.skipped;
    }
    return sum;
}

void cli_train_data_close(train_data *d) {
    tn_loader_release(d->train);
    tn_loader_release(d->held_out);
    tn_dataset_release(d->dataset);
    *d = (train_data){0};
}

/* Fine-tunes an ONNX model: a network that reads handwritten digits gets them lying on their side. It is
 * trained on some of those and written to an ONNX file again, which then runs like any other.
 *
 *   $ build/examples/09_onnx_fine_tuning [FOLDER [OUT.onnx]]
 *
 * FOLDER (examples/digits) holds digits.onnx, all_images.npy and all_labels.npy. */
#define _DEFAULT_SOURCE /* mkstemps */
#include <stdio.h>
#include <stdlib.h>
#include <tenon/onnx.h>
#include <tenon/train.h>
#include <unistd.h>

enum { COUNT = 1797, HELD_OUT = 360, TRAINED = COUNT - HELD_OUT, SIDE = 8, PIXELS = SIDE * SIDE };
enum { CLASSES = 10, BATCH = 64, STEPS = 3 * (TRAINED / BATCH) };

typedef struct digits {
    float image[COUNT][PIXELS]; /* 0 … 1, turned by a quarter */
    int64_t label[COUNT];
} digits;

/* An .npy file ends with its elements; here they are bytes. */
static tn_status read_bytes(const char *folder, const char *name, uint8_t *out, size_t bytes,
                            tn_error *err) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "rb");
    bool ok = f && fseek(f, -(long)bytes, SEEK_END) == 0 && fread(out, 1, bytes, f) == bytes;
    if (f) fclose(f);
    return ok ? TN_OK : tn_error_set(err, TN_NOT_FOUND, "%s: no such file", path);
}

static tn_status load(const char *folder, digits *d, tn_error *err) {
    static uint8_t pixels[COUNT][SIDE][SIDE], labels[COUNT];
    TN_CHECK(read_bytes(folder, "all_images.npy", pixels[0][0], sizeof pixels, err));
    TN_CHECK(read_bytes(folder, "all_labels.npy", labels, sizeof labels, err));
    for (int i = 0; i < COUNT; i++) {
        d->label[i] = labels[i];
        for (int p = 0; p < PIXELS; p++)
            d->image[i][p] = (float)pixels[i][p % SIDE][SIDE - 1 - p / SIDE] / 16;
    }
    return TN_OK;
}

/* The model as a function in a graph: its one input, its one output. */
static tn_tensor *loss(void *model, tn_module *m, tn_tensor *const *batch) {
    tn_tensor *logits;
    (void)m; /* its parameters are the model's weights */
    tn_onnx_apply(model, batch, 1, &logits, 1);
    return tn_cross_entropy(logits, batch[1]);
}

/* Some steps of AdamW on all parameters that are not frozen. */
static tn_status train(tn_module *m, tn_onnx *model, digits *d, tn_error *err) {
    tn_buffer batch[2] = {{.dtype = TN_f32, .rank = 4, .dim = {BATCH, 1, SIDE, SIDE}},
                          {.dtype = TN_i64, .rank = 1, .dim = {BATCH}}};
    tn_train_options options = TN_TRAIN_OPTIONS_INIT;
    tn_train_step *step;
    options.module = m, options.loss = loss, options.context = model;
    options.batch = batch, options.batch_count = 2;
    TN_CHECK(tn_train_step_compile(&options, &step, err));
    tn_status status = TN_OK;
    for (int i = 0; i < STEPS && status == TN_OK; i++) {
        tn_train_metrics metrics;
        int first = i % (TRAINED / BATCH) * BATCH;
        batch[0].data = d->image[first], batch[1].data = &d->label[first];
        status = tn_train_step_run(step, batch, 2e-3, &metrics, err);
        if (i % 22 == 0) printf("step %2d  loss %.3f\n", i, metrics.loss);
    }
    tn_train_step_release(step);
    return status;
}

/* How many of the digits that were not trained on an ONNX file reads rightly. */
static tn_status count_right(const char *path, digits *d, int *right, tn_error *err) {
    tn_buffer in = {.dtype = TN_f32, .rank = 4, .dim = {HELD_OUT, 1, SIDE, SIDE}}, out = {0};
    tn_model *model;
    tn_session *session = NULL;
    in.data = d->image[TRAINED];
    *right = 0;
    TN_CHECK(tn_model_open(path, NULL, &model, err));
    tn_status status = tn_session_create(model, &session, err);
    if (status == TN_OK) status = tn_session_run(session, &in, 1, &out, 1, err);
    for (int i = 0; i < HELD_OUT && status == TN_OK; i++) {
        const float *logits = (const float *)out.data + (ptrdiff_t)(i * CLASSES);
        int best = 0;
        for (int c = 1; c < CLASSES; c++) best = logits[c] > logits[best] ? c : best;
        *right += best == d->label[TRAINED + i];
    }
    tn_session_release(session);
    tn_model_release(model);
    return status;
}

/* Trains what is behind the first convolution, and saves. */
static tn_status tune(tn_context *c, const char *from, const char *to, digits *d, tn_error *err) {
    tn_module *m;
    tn_onnx *model = NULL;
    TN_CHECK(tn_module_create(c, NULL, &m, err));
    tn_status status = tn_onnx_open(from, m, NULL, &model, err);
    if (status == TN_OK) {
        /* Parameters have the names that the exporter gave: here the first convolution's. */
        int frozen = tn_module_match_trainable(m, "onnx::Conv_3[56]", false);
        printf("%lld parameters, %d of the tensors frozen\n",
               (long long)tn_module_parameter_elements(m), frozen);
        status = train(m, model, d, err);
    }
    if (status == TN_OK) status = tn_onnx_save(model, to, err);
    tn_onnx_release(model);
    tn_module_release(m);
    return status;
}

static tn_status run(const char *folder, const char *to, int right[2], tn_error *err) {
    static digits d;
    char from[4096];
    tn_context *c;
    snprintf(from, sizeof from, "%s/digits.onnx", folder);
    TN_CHECK(load(folder, &d, err));
    TN_CHECK(count_right(from, &d, &right[0], err));
    TN_CHECK(tn_context_create(NULL, &c, err));
    tn_status status = tune(c, from, to, &d, err);
    tn_context_release(c);
    TN_CHECK(status);
    return count_right(to, &d, &right[1], err);
}

int main(int argc, char **argv) {
    char temporary[] = "/tmp/tenon-example-XXXXXX.onnx", text[4096];
    tn_error err = TN_ERROR_INIT;
    int right[2] = {0}, made = argc > 2 ? -1 : mkstemps(temporary, 5);
    const char *to = argc > 2 ? argv[2] : temporary;
    tn_status status = run(argc > 1 ? argv[1] : "examples/digits", to, right, &err);
    if (made >= 0) (void)(close(made) + unlink(temporary));
    tn_error_format(&err, text, sizeof text);
    if (status != TN_OK) fprintf(stderr, "%s\n", text);
    if (status != TN_OK) return EXIT_FAILURE;
    printf("held out: %d of %d right before, %d after\n", right[0], HELD_OUT, right[1]);
    return right[1] > right[0] && right[1] * 10 > HELD_OUT * 8 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* A program outside the tree: loads a model, runs it and reads its result through the installed
 * headers and library only.      main FOLDER        which holds digits.onnx and images.npy */
#include <tenon/session.h>
#include <tenon/status.h>
#include <tenon/type.h>

#include <stdio.h>
#include <string.h>

enum { IMAGES = 4, PIXELS = 64, CLASSES = 10 };

static int fail(const tn_error *err) {
    char text[TN_ERROR_TEXT];
    tn_error_format(err, text, sizeof text);
    fprintf(stderr, "%s\n", text);
    return 1;
}

/* The last images of the file: .npy ends with its elements. */
static int read_images(const char *folder, float *out) {
    char path[4096];
    snprintf(path, sizeof path, "%s/images.npy", folder);
    FILE *f = fopen(path, "rb");
    size_t count = (size_t)IMAGES * PIXELS;
    int ok = f && fseek(f, -(long)(count * sizeof *out), SEEK_END) == 0 &&
             fread(out, sizeof *out, count, f) == count;
    if (f) fclose(f);
    return ok;
}

static int run(tn_model *model, float *images) {
    tn_error err = TN_ERROR_INIT;
    tn_session *session;
    float logits[IMAGES * CLASSES] = {0};
    tn_buffer in = {.dtype = TN_f32, .rank = 4, .dim = {IMAGES, 1, 8, 8}, .data = images};
    tn_buffer out = {.data = logits, .size = sizeof logits};
    if (tn_session_create(model, &session, &err) != TN_OK) return fail(&err);
    tn_status status = tn_session_run(session, &in, 1, &out, 1, &err);
    tn_session_release(session);
    if (status != TN_OK) return fail(&err);
    if (out.rank != 2 || out.dim[0] != IMAGES || out.dim[1] != CLASSES) return 1;
    printf("the installed library sees");
    for (int i = 0; i < IMAGES; i++) {
        int best = 0;
        for (int c = 1; c < CLASSES; c++)
            if (logits[i * CLASSES + c] > logits[i * CLASSES + best]) best = c;
        printf(" %d", best);
    }
    putchar('\n');
    return 0;
}

int main(int argc, char **argv) {
    tn_error err = TN_ERROR_INIT;
    tn_model *model;
    float images[IMAGES * PIXELS];
    char path[4096];
    tn_dtype dtype;
    if (!tn_dtype_parse("bf16", &dtype) || tn_dtype_size(dtype) != 2) return 1;
    if (tn_model_open("/nowhere/model.onnx", NULL, &model, &err) != TN_NOT_FOUND) return 1;
    if (argc != 2 || !read_images(argv[1], images)) return 2;
    snprintf(path, sizeof path, "%s/digits.onnx", argv[1]);
    if (tn_model_open(path, NULL, &model, &err) != TN_OK) return fail(&err);
    int status = run(model, images);
    tn_model_release(model);
    return status;
}

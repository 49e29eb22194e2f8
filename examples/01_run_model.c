/* Loads an ONNX model, runs it on a batch of images and prints what it sees.
 *
 *     example_01_run_model [FOLDER]        FOLDER holds digits.onnx, images.npy and labels.npy
 *
 * Everything from the public interface: tenon/session.h. */
#include <tenon/session.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { IMAGES = 16, SIDE = 8, PIXELS = SIDE * SIDE, CLASSES = 10, ACROSS = 4 };

/* The last `bytes` bytes of a file: an .npy file ends with its elements. */
static int read_tail(const char *folder, const char *name, void *out, size_t bytes) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "rb");
    int ok = f && fseek(f, -(long)bytes, SEEK_END) == 0 && fread(out, 1, bytes, f) == bytes;
    if (!ok) perror(path);
    if (f) fclose(f);
    return ok;
}

static int fail(const tn_error *err) {
    char text[TN_ERROR_TEXT];
    tn_error_format(err, text, sizeof text);
    fprintf(stderr, "%s\n", text);
    return 1;
}

/* A row of images, two characters for each pixel. */
static void print_images(const float *images, int count) {
    static const char *const shades[] = {"  ", "░░", "▒▒", "▓▓", "██"};
    for (int y = 0; y < SIDE; y++) {
        for (int i = 0; i < count; i++) {
            for (int x = 0; x < SIDE; x++) {
                float pixel = images[i * PIXELS + y * SIDE + x];
                int shade = (int)(pixel * 4.999f);
                fputs(shades[shade < 0 ? 0 : shade > 4 ? 4 : shade], stdout);
            }
            fputs("  ", stdout);
        }
        putchar('\n');
    }
}

/* The most likely class and its probability: softmax of the logits. */
static int predict(const float *logits, double *probability) {
    int best = 0;
    double sum = 0;
    for (int c = 1; c < CLASSES; c++)
        if (logits[c] > logits[best]) best = c;
    for (int c = 0; c < CLASSES; c++) sum += exp((double)logits[c] - (double)logits[best]);
    *probability = 1 / sum;
    return best;
}

static int print_row(const float *images, const float *logits, const int64_t *labels) {
    int right = 0;
    print_images(images, ACROSS);
    for (int i = 0; i < ACROSS; i++) {
        double probability;
        int digit = predict(logits + i * CLASSES, &probability);
        right += digit == (int)labels[i];
        printf("  %d  %5.1f %% %-7s", digit, 100 * probability,
               digit == (int)labels[i] ? "" : "wrong");
    }
    printf("\n\n");
    return right;
}

static int run(tn_session *session, const float *images, const int64_t *labels) {
    tn_error err = TN_ERROR_INIT;
    tn_buffer input = {.dtype = TN_f32,
                       .rank = 4,
                       .dim = {IMAGES, 1, SIDE, SIDE}, /* the model leaves the batch open */
                       .data = (void *)(uintptr_t)images};
    tn_buffer output = {0}; /* memory of the session, valid until its next run */
    if (tn_session_run(session, &input, 1, &output, 1, &err) != TN_OK) return fail(&err);

    const float *logits = output.data;
    int right = 0;
    for (int i = 0; i < IMAGES; i += ACROSS)
        right += print_row(images + i * PIXELS, logits + i * CLASSES, labels + i);
    printf("%d of %d right\n", right, IMAGES);
    return right < IMAGES - 1;
}

int main(int argc, char **argv) {
    static float images[IMAGES * PIXELS];
    static int64_t labels[IMAGES];
    const char *folder = argc > 1 ? argv[1] : "examples/digits";
    char path[4096];
    tn_error err = TN_ERROR_INIT;
    tn_model *model;
    tn_session *session;

    if (!read_tail(folder, "images.npy", images, sizeof images) ||
        !read_tail(folder, "labels.npy", labels, sizeof labels))
        return 1;
    snprintf(path, sizeof path, "%s/digits.onnx", folder);
    if (tn_model_open(path, NULL, &model, &err) != TN_OK) return fail(&err);
    int status = 1;
    if (tn_session_create(model, &session, &err) == TN_OK) {
        status = run(session, images, labels);
        tn_session_release(session);
    } else {
        fail(&err);
    }
    tn_model_release(model);
    return status;
}

/* Trains a convolutional network with batch norm and dropout to read handwritten digits.
 *
 *   $ build/examples/04_cnn [FOLDER]     FOLDER holds all_images.npy and all_labels.npy
 *
 * What layers keep beside their parameters are buffers of the module: batch norm's running statistics,
 * dropout's place in its stream of random numbers. The step that trains replaces them; in evaluation
 * (tn_module_set_training) they stay. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <tenon/nn.h>

enum { COUNT = 1797, HELD_OUT = 360, TRAINED = COUNT - HELD_OUT, SIDE = 8, PIXELS = SIDE * SIDE };
enum { CLASSES = 10, BATCH = 64, EPOCHS = 8, MAX_PARAMETERS = 16 };

typedef struct digits {
    float image[COUNT][PIXELS]; /* 0 … 1 */
    int32_t label[COUNT];
} digits;

/* An .npy file ends with its elements; here they are bytes. */
static int read_bytes(const char *folder, const char *name, unsigned char *out, size_t bytes) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "rb");
    int ok = f && fseek(f, -(long)bytes, SEEK_END) == 0 && fread(out, 1, bytes, f) == bytes;
    if (!ok) perror(path);
    if (f) fclose(f);
    return ok;
}

static int load(const char *folder, digits *d) {
    static unsigned char pixels[COUNT][PIXELS], labels[COUNT];
    if (!read_bytes(folder, "all_images.npy", pixels[0], sizeof pixels) ||
        !read_bytes(folder, "all_labels.npy", labels, sizeof labels))
        return 0;
    for (int i = 0; i < COUNT; i++) {
        for (int p = 0; p < PIXELS; p++) d->image[i][p] = (float)pixels[i][p] / 16;
        d->label[i] = labels[i];
    }
    return 1;
}

/* Convolution, batch norm, ReLU */
static tn_tensor *block(tn_module *m, tn_tensor *x, int64_t features) {
    tn_scope *scope = tn_scope_open(tn_module_context(m));
    x = tn_conv2d(m, "conv", x, features, .kernel = 3, .padding = 1, .no_bias = true);
    return tn_scope_return(scope, tn_relu(tn_batch_norm(m, "norm", x)));
}

/* x [N, 64] → logits [N, 10] */
static tn_tensor *network(tn_module *m, tn_tensor *x) {
    tn_scope *scope = tn_scope_open(tn_module_context(m));
    x = tn_reshape(x, TN_SHAPE(-1, 1, SIDE, SIDE));
    x = tn_max_pool(block(tn_module_child(m, "blocks.0"), x, 16), .kernel = 2);
    x = tn_max_pool(block(tn_module_child(m, "blocks.1"), x, 32), .kernel = 2);
    x = tn_dropout(m, "dropout", tn_reshape(x, TN_SHAPE(-1, 2 * 2 * 32)), 0.3);
    return tn_scope_return(scope, tn_linear(m, "out", x, CLASSES));
}

/* The parameters, without the buffers; how many there are. */
static int parameters(const tn_module *m, tn_tensor **out) {
    tn_module_item item;
    int count = 0;
    for (int i = 0; tn_module_entry(m, i, &item) && count < MAX_PARAMETERS; i++)
        if (item.trainable) out[count++] = item.tensor;
    return count;
}

/* One step of gradient descent on BATCH digits from `first` on. */
static tn_status step(tn_module *m, const digits *d, int first, tn_tensor *rate, double *loss,
                      tn_error *err) {
    tn_context *c = tn_module_context(m);
    tn_tensor *parameter[MAX_PARAMETERS], *gradient[MAX_PARAMETERS];
    tn_scope *scope = tn_scope_open(c);
    tn_tensor *x = tn_tensor_from(c, TN_f32, TN_SHAPE(BATCH, PIXELS), d->image[first]);
    tn_tensor *target = tn_tensor_from(c, TN_i32, TN_SHAPE(BATCH), &d->label[first]);
    tn_tensor *mean = tn_cross_entropy(network(m, x), target);
    int n = parameters(m, parameter);
    tn_grad(mean, NULL, parameter, n, gradient);
    for (int i = 0; i < n; i++) {
        tn_tensor *change = tn_mul(gradient[i], rate);
        tn_assign(parameter[i], tn_sub(parameter[i], change));
        tn_release(change);
        tn_release(gradient[i]);
    }
    tn_status status = tn_item(mean, loss, err);
    tn_scope_close(scope);
    return status;
}

/* How many of the digits that it was not trained on it reads rightly. */
static tn_status test(tn_module *m, const digits *d, int *right, tn_error *err) {
    tn_context *c = tn_module_context(m);
    int64_t read[HELD_OUT];
    tn_scope *scope = tn_scope_open(c);
    tn_module_set_training(m, false);
    tn_tensor *x = tn_tensor_from(c, TN_f32, TN_SHAPE(HELD_OUT, PIXELS), d->image[TRAINED]);
    tn_tensor *best = tn_argmax(network(m, x), 1, false);
    tn_status status = tn_read(best, read, sizeof read, err);
    *right = 0;
    for (int i = 0; i < HELD_OUT && status == TN_OK; i++)
        *right += read[i] == d->label[TRAINED + i];
    tn_module_set_training(m, true);
    tn_scope_close(scope);
    return status;
}

static tn_status train(tn_context *c, const digits *d, tn_error *err) {
    tn_module *m;
    double loss = NAN;
    int right = 0;
    TN_TRY(err, tn_module_create(c, NULL, &m, err), "while making the network");
    tn_tensor *rate = tn_tensor_scalar(c, TN_f32, 0.1);
    tn_status status = TN_OK;
    for (int epoch = 0; epoch < EPOCHS && status == TN_OK; epoch++) {
        for (int i = 0; i + BATCH <= TRAINED && status == TN_OK; i += BATCH)
            status = step(m, d, i, rate, &loss, err);
        if (status == TN_OK) status = test(m, d, &right, err);
        printf("epoch %d  loss %.4f  %d of %d read rightly\n", epoch + 1, loss, right, HELD_OUT);
    }
    tn_release(rate);
    tn_module_release(m);
    return status;
}

int main(int count, char **arguments) {
    static digits d;
    tn_error err = TN_ERROR_INIT;
    tn_context *c;
    if (!load(count > 1 ? arguments[1] : "examples/digits", &d)) return EXIT_FAILURE;
    tn_status status = tn_context_create(NULL, &c, &err);
    if (status == TN_OK) {
        status = train(c, &d, &err);
        tn_context_stats s;
        tn_context_statistics(c, &s);
        printf("%llu programs compiled, %llu runs\n", (unsigned long long)s.compiles,
               (unsigned long long)s.runs);
        tn_context_release(c);
    }
    if (status == TN_OK) return EXIT_SUCCESS;
    char text[4096];
    tn_error_format(&err, text, sizeof text);
    fprintf(stderr, "%s\n", text);
    return EXIT_FAILURE;
}

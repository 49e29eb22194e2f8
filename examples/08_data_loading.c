/* Data loading: writes the handwritten digits as JPEG class folders, as ImageNet has them, and loads them
 * in batches, shuffled and changed at random, on worker threads.
 *
 *   $ build/examples/08_data_loading [DIR]        DIR: build/digits
 *
 * An ImageNet folder is loaded by the same code. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <tenon/data.h>

enum { SIDE = 8, PIXELS = SIDE * SIDE, DIGITS = 1797, HELD_OUT = 360, NAME = 1024 };

/* ---- the folders ---------------------------------------------------------------------------- */

/* An .npy file ends with its elements; here they are bytes. */
static tn_status read_bytes(const char *path, uint8_t *out, size_t bytes, tn_error *err) {
    FILE *f = fopen(path, "rb");
    bool ok = f && fseek(f, -(long)bytes, SEEK_END) == 0 && fread(out, 1, bytes, f) == bytes;
    if (f) fclose(f);
    if (ok) return TN_OK;
    return tn_error_set(err, TN_NOT_FOUND, "%s: no file with %zu bytes here", path, bytes);
}

static tn_status write_digit(const uint8_t pixels[PIXELS], const char *dir, int i, int label,
                             tn_error *err) {
    static const char *const parts[] = {"train", "val"};
    char name[NAME];
    uint8_t gray[PIXELS];
    tn_buffer image = {.dtype = TN_u8, .rank = 3, .dim = {SIDE, SIDE, 1}, .data = gray};
    for (int p = 0; p < PIXELS; p++) gray[p] = (uint8_t)((pixels[p] * 255 + 8) / 16);
    const char *part = parts[i >= DIGITS - HELD_OUT];
    snprintf(name, sizeof name, "%s/%s", dir, part);
    (void)mkdir(name, 0755);
    snprintf(name, sizeof name, "%s/%s/%d", dir, part, label);
    (void)mkdir(name, 0755);
    snprintf(name, sizeof name, "%s/%s/%d/%04d.jpg", dir, part, label, i);
    return tn_image_write(name, &image, 95, err);
}

static tn_status write_folders(const char *dir, tn_error *err) {
    static uint8_t pixels[DIGITS][PIXELS], labels[DIGITS];
    TN_CHECK(read_bytes("examples/digits/all_images.npy", pixels[0], sizeof pixels, err));
    TN_CHECK(read_bytes("examples/digits/all_labels.npy", labels, sizeof labels, err));
    tn_status status = TN_OK;
    (void)mkdir(dir, 0755);
    for (int i = 0; i < DIGITS && status == TN_OK; i++)
        status = write_digit(pixels[i], dir, i, labels[i], err);
    return status;
}

/* ---- loading -------------------------------------------------------------------------------- */

static tn_status open_loader(const char *dir, tn_loader **out, tn_error *err) {
    /* Of an ImageNet folder: TN_RANDOM_RESIZED_CROP(.height = 224, .width = 224) and a flip. */
    static const tn_transform changes[] = {
        TN_RESIZE(.height = 32, .width = 32, .filter = TN_BICUBIC),
        TN_WARP(.degrees = 10, .translate = {0.1, 0.1}, .scale = {0.9, 1.1}, .filter = TN_BICUBIC),
        TN_NORMALIZE(.mean = {0.3}, .std = {0.35})};
    tn_image_options images = TN_IMAGE_OPTIONS_INIT;
    tn_loader_options how = TN_LOADER_OPTIONS_INIT;
    tn_dataset *digits;
    char name[NAME];
    snprintf(name, sizeof name, "%s/train", dir);
    images.transforms = changes;
    images.transform_count = 3;
    images.channels = 1;
    how.batch = 64;
    how.shuffle = how.drop_last = true;
    how.seed = 42;
    how.workers = 2;
    TN_CHECK(tn_dataset_images(name, &images, &digits, err));
    printf("%lld images in %d classes\n", (long long)tn_dataset_count(digits),
           tn_dataset_class_count(digits));
    tn_status status = tn_loader_create(digits, &how, out, err);
    tn_dataset_release(digits); /* the loader has a reference of its own */
    return status;
}

/* An epoch; then a position in the middle of it once more, as after a restart. */
static tn_status load(tn_loader *loader, tn_error *err) {
    uint8_t position[TN_LOADER_STATE_BYTES];
    float first = 0, again;
    tn_data_batch batch;
    do {
        TN_CHECK(tn_loader_next(loader, &batch, err));
        const float *pixels = batch.buffers[0].data;
        const int32_t *labels = batch.buffers[1].data;
        if (batch.index == 0)
            printf("images [%lld,%lld,%lld,%lld], labels %d %d %d %d …\n",
                   (long long)batch.buffers[0].dim[0], (long long)batch.buffers[0].dim[1],
                   (long long)batch.buffers[0].dim[2], (long long)batch.buffers[0].dim[3],
                   labels[0], labels[1], labels[2], labels[3]);
        if (batch.index == 10) tn_loader_save(loader, position); /* batch 11 is next */
        if (batch.index == 11) first = pixels[500];
    } while (!batch.last);
    TN_CHECK(tn_loader_restore(loader, position, sizeof position, err));
    TN_CHECK(tn_loader_next(loader, &batch, err));
    again = ((const float *)batch.buffers[0].data)[500];
    printf("batch %lld after a restart: %s\n", (long long)batch.index,
           again == first ? "the same" : "another one");
    return TN_OK;
}

int main(int argc, char **argv) {
    const char *dir = argc > 1 ? argv[1] : "build/digits";
    tn_error err = TN_ERROR_INIT;
    tn_loader *loader = NULL;
    tn_status status = write_folders(dir, &err);
    if (status == TN_OK) status = open_loader(dir, &loader, &err);
    if (status == TN_OK) status = load(loader, &err);
    tn_loader_release(loader);
    if (status == TN_OK) return EXIT_SUCCESS;
    char text[2048];
    tn_error_format(&err, text, sizeof text);
    fprintf(stderr, "%s\n", text);
    return EXIT_FAILURE;
}

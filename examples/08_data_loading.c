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

enum { ACROSS = 42, SIDE = 8, DIGITS = 1797, HELD_OUT = 360, NAME = 1024 };

/* ---- the folders ---------------------------------------------------------------------------- */

static tn_status read_labels(char labels[DIGITS], tn_error *err) {
    FILE *f = fopen("examples/digits/all_labels.txt", "r");
    int count = 0, c;
    while (f && count < DIGITS && (c = getc(f)) != EOF)
        if (c >= '0' && c <= '9') labels[count++] = (char)c;
    if (f) fclose(f);
    if (count == DIGITS) return TN_OK;
    return tn_error_set(err, TN_NOT_FOUND, "no examples/digits/all_labels.txt with %d digits here",
                        DIGITS);
}

/* Digit i is a cell of the sheet. */
static tn_status write_digit(const tn_buffer *sheet, const char *dir, int i, char label,
                             tn_error *err) {
    static const char *const parts[] = {"train", "val"};
    char name[NAME];
    uint8_t pixels[SIDE * SIDE];
    tn_buffer image = {.dtype = TN_u8, .rank = 3, .dim = {SIDE, SIDE, 1}, .data = pixels};
    const uint8_t *cell = (const uint8_t *)sheet->data +
                          (int64_t)(i / ACROSS * SIDE) * sheet->dim[1] + i % ACROSS * SIDE;
    for (int y = 0; y < SIDE; y++) memcpy(pixels + y * SIDE, cell + y * sheet->dim[1], SIDE);
    const char *part = parts[i >= DIGITS - HELD_OUT];
    snprintf(name, sizeof name, "%s/%s", dir, part);
    (void)mkdir(name, 0755);
    snprintf(name, sizeof name, "%s/%s/%c", dir, part, label);
    (void)mkdir(name, 0755);
    snprintf(name, sizeof name, "%s/%s/%c/%04d.jpg", dir, part, label, i);
    return tn_image_write(name, &image, 95, err);
}

static tn_status write_folders(const char *dir, tn_error *err) {
    char labels[DIGITS];
    tn_buffer sheet;
    TN_CHECK(read_labels(labels, err));
    TN_CHECK(tn_image_read("examples/digits/all_images.png", 1, &sheet, err));
    tn_status status = TN_OK;
    if (sheet.dim[1] != ACROSS * SIDE || sheet.dim[0] * ACROSS / SIDE < DIGITS)
        status = tn_error_set(err, TN_INVALID, "examples/digits/all_images.png: not the digits");
    (void)mkdir(dir, 0755);
    for (int i = 0; i < DIGITS && status == TN_OK; i++)
        status = write_digit(&sheet, dir, i, labels[i], err);
    tn_image_release(&sheet);
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

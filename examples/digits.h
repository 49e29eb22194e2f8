/* The handwritten digits of examples/digits, for the examples that train on them. */
#ifndef TENON_EXAMPLES_DIGITS_H
#define TENON_EXAMPLES_DIGITS_H

#include <stdio.h>
#include <tenon/status.h>

enum { COUNT = 1797, HELD_OUT = 360, TRAINED = COUNT - HELD_OUT, SIDE = 8, PIXELS = SIDE * SIDE };
enum { CLASSES = 10 };

typedef struct digits {
    float image[COUNT][PIXELS]; /* 0 … 1 */
    int32_t label[COUNT];
} digits;

/* An .npy file ends with its elements; here they are bytes. */
static inline tn_status digits_read(const char *folder, const char *name, uint8_t *out,
                                    size_t bytes, tn_error *err) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "rb");
    bool ok = f && fseek(f, -(long)bytes, SEEK_END) == 0 && fread(out, 1, bytes, f) == bytes;
    if (f) fclose(f);
    return ok ? TN_OK : tn_error_set(err, TN_NOT_FOUND, "%s: no such file", path);
}

/* The folder holds all_images.npy and all_labels.npy. Those that are held out come last: the last ones of
 * the files, who wrote none of the others, or every fifth of all. */
static inline tn_status digits_load(const char *folder, bool every_fifth, digits *d,
                                    tn_error *err) {
    static uint8_t pixels[COUNT][PIXELS], labels[COUNT];
    tn_status status = digits_read(folder, "all_images.npy", pixels[0], sizeof pixels, err);
    if (status == TN_OK) status = digits_read(folder, "all_labels.npy", labels, sizeof labels, err);
    for (int i = 0, trained = 0; i < COUNT && status == TN_OK; i++) {
        int to = i;
        if (every_fifth) to = i % 5 ? trained++ : TRAINED + i / 5;
        for (int p = 0; p < PIXELS; p++) d->image[to][p] = (float)pixels[i][p] / 16;
        d->label[to] = labels[i];
    }
    return status;
}

#endif

/* PNG by libpng: every type becomes 8-bit RGBA, then the wanted channels, alpha over black.
 *
 * Errors jump back into run(), as in jpeg.c. Rows below the wanted part are not decoded, except where
 * the image is interlaced. */
#include <setjmp.h>
#include <stdio.h>

#include <png.h>

#include "nn/data/image.h"

enum { MOST_CHUNK_BYTES = 8 << 20, MOST_CHUNKS = 1000 };

typedef struct decoder {
    png_structp png;
    png_infop info;
    const tn__encoded *file;
    size_t at;
    char message[128];
    tn__region want;
    int channels, height;
    tn__worker *worker;
    tn__pixels *out;
    tn_status status;
    tn_error *err;
} decoder;

static void leave(png_structp png, png_const_charp message) {
    decoder *d = png_get_error_ptr(png);
    snprintf(d->message, sizeof d->message, "%s", message);
    png_longjmp(png, 1);
}

static void be_silent(png_structp png, png_const_charp message) {
    (void)png, (void)message;
}

static void take_bytes(png_structp png, png_bytep out, size_t size) {
    decoder *d = png_get_io_ptr(png);
    if (d->file->size - d->at < size) png_error(png, "the file ends early");
    memcpy(out, d->file->bytes + d->at, size);
    d->at += size;
}

static void begin(decoder *d) {
    png_set_read_fn(d->png, d, take_bytes);
    png_set_chunk_malloc_max(d->png, MOST_CHUNK_BYTES);
    png_set_chunk_cache_max(d->png, MOST_CHUNKS);
    png_read_info(d->png, d->info);
    d->height = (int)png_get_image_height(d->png, d->info);
    d->status = tn__check_pixels(png_get_image_width(d->png, d->info), d->height,
                                 d->file->max_pixels, d->err);
}

static tn_status run(decoder *d, void (*body)(decoder *d)) {
    d->png = png_create_read_struct(PNG_LIBPNG_VER_STRING, d, leave, be_silent);
    d->info = d->png ? png_create_info_struct(d->png) : NULL;
    if (!d->info) {
        d->status = tn_error_set(d->err, TN_OUT_OF_MEMORY, "no memory to decode a PNG");
    } else if (setjmp(png_jmpbuf(d->png)) == 0) {
        begin(d);
        if (d->status == TN_OK) body(d);
    } else {
        d->status = tn_error_set(d->err, TN_INVALID, "PNG: %s", d->message);
    }
    png_destroy_read_struct(&d->png, &d->info, NULL);
    return d->status;
}

/* ---- decoding ------------------------------------------------------------------------------- */

static int expand_to_rgba(decoder *d) {
    png_set_expand(d->png);
    png_set_scale_16(d->png);
    png_set_gray_to_rgb(d->png);
    png_set_add_alpha(d->png, 0xff, PNG_FILLER_AFTER);
    int passes = png_set_interlace_handling(d->png);
    png_read_update_info(d->png, d->info);
    return passes;
}

static void put_row(const decoder *d, int y, const uint8_t *rgba) {
    const tn__region *r = &d->want;
    if (y < r->y || y >= r->y + r->height) return;
    uint8_t *out = d->out->data + (size_t)(y - r->y) * (size_t)r->width * (size_t)d->channels;
    rgba += 4 * (size_t)r->x;
    for (int i = 0; i < r->width; i++, rgba += 4) {
        unsigned rgb[3], alpha = rgba[3];
        for (int c = 0; c < 3; c++) rgb[c] = (rgba[c] * alpha + 127) / 255;
        if (d->channels == 1)
            *out++ = tn__luminance(rgb[0], rgb[1], rgb[2]);
        else
            for (int c = 0; c < 3; c++) *out++ = (uint8_t)rgb[c];
    }
}

static void read_rows(decoder *d, int passes, uint8_t *rows, size_t stride) {
    int end = d->want.y + d->want.height;
    if (passes > 1) {
        for (int pass = 0; pass < passes; pass++)
            for (int y = 0; y < d->height; y++)
                png_read_row(d->png, rows + (size_t)y * stride, NULL);
        for (int y = 0; y < d->height; y++) put_row(d, y, rows + (size_t)y * stride);
    } else {
        for (int y = 0; y < end; y++) {
            png_read_row(d->png, rows, NULL);
            put_row(d, y, rows);
        }
    }
    if (passes > 1 || end == d->height) png_read_end(d->png, NULL);
}

static void decode(decoder *d) {
    int passes = expand_to_rgba(d);
    size_t stride = png_get_rowbytes(d->png, d->info);
    if (stride != 4 * (size_t)png_get_image_width(d->png, d->info))
        png_error(d->png, "a type of pixels that is not known");
    size_t rows = passes > 1 ? (size_t)d->height : 1;
    size_t pixels = (size_t)d->want.width * (size_t)d->want.height;
    uint8_t *scratch = tn__scratch(d->worker, TN__SCRATCH_DECODE, rows * stride);
    *d->out = (tn__pixels){.channels = d->channels, .reduce = 1, .region = d->want};
    d->out->data = tn__scratch(d->worker, TN__SCRATCH_PIXELS, pixels * (size_t)d->channels);
    if (!scratch || !d->out->data) {
        d->status = tn_error_set(d->err, TN_OUT_OF_MEMORY, "no memory for %zu pixels", pixels);
        return;
    }
    read_rows(d, passes, scratch, stride);
}

tn_status tn__png_decode(const tn__encoded *file, tn__region want, int channels, tn__worker *w,
                         tn__pixels *out, tn_error *err) {
    decoder d = {
        .file = file, .want = want, .channels = channels, .worker = w, .out = out, .err = err};
    return run(&d, decode);
}

typedef struct size_query {
    decoder d; /* first */
    int width;
} size_query;

static void take_width(decoder *d) {
    ((size_query *)d)->width = (int)png_get_image_width(d->png, d->info);
}

tn_status tn__png_size(const tn__encoded *file, int *width, int *height, tn_error *err) {
    size_query q = {.d = {.file = file, .err = err}};
    TN_CHECK(run(&q.d, take_width));
    *width = q.width;
    *height = q.d.height;
    return TN_OK;
}

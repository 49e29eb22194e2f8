/* Images for the tests of data loading: written to the test's folder, by the library and by hand. */
#ifndef TENON_TEST_DATA_LAB_H
#define TENON_TEST_DATA_LAB_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <png.h>

#include <jpeglib.h>

#include "nn/data/image.h"
#include "unit/test_folder.h"

/* The picture of tools/data_golden.py. */
static inline uint8_t picture(int x, int y, int c) {
    return (uint8_t)((x * 37 + y * 91 + c * 53 + (x * y) % 17 * 5) % 256);
}

static inline uint8_t *picture_bytes(int width, int height, int channels) {
    uint8_t *data = malloc((size_t)(width * height * channels)), *at = data;
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            for (int c = 0; c < channels; c++) *at++ = picture(x, y, c);
    return data;
}

/* Smooth enough for JPEG to be near it; `shade` tells one image from another. */
static inline uint8_t *smooth_bytes(int width, int height, int channels, int shade) {
    uint8_t *data = malloc((size_t)(width * height * channels)), *at = data;
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            for (int c = 0; c < channels; c++)
                *at++ = (uint8_t)((x * 90 / width + y * 60 / height + c * 20 + shade) % 256);
    return data;
}

static inline const char *place(const char *name) {
    static char path[1024];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    for (char *slash = path + strlen(folder) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = 0;
        (void)mkdir(path, 0700);
        *slash = '/';
    }
    return path;
}

static inline void write_bytes(const char *name, const void *data, size_t size) {
    tn_error err = TN_ERROR_INIT;
    check(tn_file_write(place(name), data, size, false, &err), &err);
}

static inline void write_image(const char *name, int width, int height, int channels, int shade) {
    tn_error err = TN_ERROR_INIT;
    uint8_t *data = smooth_bytes(width, height, channels, shade);
    tn_buffer image = {TN_u8, 3, {height, width, channels}, data, 0};
    check(tn_image_write(place(name), &image, 95, &err), &err);
    free(data);
}

/* A JPEG in memory; `space` is that of `data`, chroma in half the columns and rows when `subsampled`. */
static inline size_t make_jpeg(const uint8_t *data, int width, int height, J_COLOR_SPACE space,
                               bool subsampled, bool progressive, unsigned char **out) {
    struct jpeg_compress_struct info = {0};
    struct jpeg_error_mgr errors;
    unsigned long size = 0;
    int channels = space == JCS_GRAYSCALE ? 1 : space == JCS_CMYK ? 4 : 3;
    *out = NULL;
    info.err = jpeg_std_error(&errors);
    jpeg_create_compress(&info);
    jpeg_mem_dest(&info, out, &size);
    info.image_width = (JDIMENSION)width;
    info.image_height = (JDIMENSION)height;
    info.input_components = channels;
    info.in_color_space = space;
    jpeg_set_defaults(&info);
    jpeg_set_quality(&info, 95, TRUE);
    if (!subsampled)
        for (int c = 0; c < channels; c++)
            info.comp_info[c].h_samp_factor = info.comp_info[c].v_samp_factor = 1;
    if (progressive) jpeg_simple_progression(&info);
    jpeg_start_compress(&info, TRUE);
    for (int y = 0; y < height; y++) {
        JSAMPROW row = (JSAMPROW)(uintptr_t)data + (size_t)(y * width * channels);
        (void)jpeg_write_scanlines(&info, &row, 1);
    }
    jpeg_finish_compress(&info);
    jpeg_destroy_compress(&info);
    return size;
}

/* ---- PNG of any type ------------------------------------------------------------------------ */

typedef struct png_memory {
    uint8_t data[1 << 16];
    size_t size;
} png_memory;

static inline void take_png(png_structp png, png_bytep data, size_t size) {
    png_memory *m = png_get_io_ptr(png);
    assert_true(m->size + size <= sizeof m->data);
    memcpy(m->data + m->size, data, size);
    m->size += size;
}

static inline void flush_png(png_structp png) {
    (void)png;
}

/* `rows` has packed rows of `stride` bytes; palette images take 4 colours, the last one transparent. */
static inline void make_png(png_memory *out, int width, int height, int depth, int type,
                            bool interlaced, const uint8_t *rows, size_t stride) {
    static const png_color colours[4] = {{255, 0, 0}, {0, 255, 0}, {0, 0, 255}, {200, 100, 50}};
    static const png_byte alpha[4] = {255, 255, 255, 0};
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    out->size = 0;
    png_set_write_fn(png, out, take_png, flush_png);
    png_set_IHDR(png, info, (png_uint_32)width, (png_uint_32)height, depth, type,
                 interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    if (type == PNG_COLOR_TYPE_PALETTE) {
        png_set_PLTE(png, info, colours, 4);
        png_set_tRNS(png, info, alpha, 4, NULL);
    }
    png_write_info(png, info);
    int passes = png_set_interlace_handling(png);
    for (int pass = 0; pass < passes; pass++)
        for (int y = 0; y < height; y++) png_write_row(png, rows + (size_t)y * stride);
    png_write_end(png, info);
    png_destroy_write_struct(&png, &info);
}

#endif

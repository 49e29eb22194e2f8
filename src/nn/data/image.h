/* Images: decoding parts of JPEG and PNG files, resampling, transforms.
 *
 * Decoders give bytes, interleaved; what is transformed are float planes with values in 0..1. */
#ifndef TENON_NN_DATA_IMAGE_H
#define TENON_NN_DATA_IMAGE_H

#include "nn/data/data.h"

/* A part of an image, in pixels. */
typedef struct tn__region {
    int x, y, width, height;
} tn__region;

/* ---- decoding ------------------------------------------------------------------------------- */

typedef struct tn__encoded {
    const uint8_t *bytes;
    size_t size;
    int64_t max_pixels;
} tn__encoded;

/* Decoded pixels [height, width, channels] of `region`, which is in pixels of the file divided by
 * `reduce`: a pixel is the mean of about reduce × reduce of them. */
typedef struct tn__pixels {
    uint8_t *data;
    int channels, reduce;
    tn__region region;
} tn__pixels;

/* The size from the header. A message says what is wrong, not in which file. */
tn_status tn__image_size(const tn__encoded *file, int *width, int *height, tn_error *err);
/* Decodes at least `want`, in pixels of the file and inside of it, into the worker's memory. `reduce`
 * is 1, 2, 4 or 8; the result may be reduced less, and be of a larger region. `channels`: 1 or 3. */
tn_status tn__image_decode(const tn__encoded *file, tn__region want, int reduce, int channels,
                           tn__worker *w, tn__pixels *out, tn_error *err);
tn_status tn__jpeg_size(const tn__encoded *file, int *width, int *height, tn_error *err);
tn_status tn__jpeg_decode(const tn__encoded *file, tn__region want, int reduce, int channels,
                          tn__worker *w, tn__pixels *out, tn_error *err);
tn_status tn__png_size(const tn__encoded *file, int *width, int *height, tn_error *err);
tn_status tn__png_decode(const tn__encoded *file, tn__region want, int channels, tn__worker *w,
                         tn__pixels *out, tn_error *err);
tn_status tn__check_pixels(int64_t width, int64_t height, int64_t max_pixels, tn_error *err);
/* Reads a regular file into the worker's memory. */
tn_status tn__read_image_file(const char *path, tn__worker *w, tn__encoded *out, tn_error *err);
/* Luminance of 8-bit RGB (ITU-R BT.601), as PIL rounds it. */
static inline uint8_t tn__luminance(unsigned r, unsigned g, unsigned b) {
    return (uint8_t)((r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16);
}

/* ---- float planes --------------------------------------------------------------------------- */

/* [channels, height, width] */
typedef struct tn__image {
    int channels, height, width;
    float *data;
} tn__image;

/* What resizing reads and makes: the part of the size out_height × out_width to which the `box` of the
 * source is resampled. The box is in pixels of the source's region; nothing outside of it is read. */
typedef struct tn__resize {
    double x, y, width, height;
    int out_width, out_height;
    tn__region part;
    tn_filter filter;
} tn__resize;

/* Into out->data (of part's size), bytes divided by 255. */
tn_status tn__resize_pixels(const tn__pixels *from, const tn__resize *r, tn__worker *w,
                            tn__image *out, tn_error *err);
tn_status tn__resize_image(const tn__image *from, const tn__resize *r, tn__worker *w,
                           tn__image *out, tn_error *err);

/* The map from pixels of the result to those of the source, about both images' centres:
 * x' = m[0] x + m[1] y + m[2], y' = m[3] x + m[4] y + m[5]. `padded` has the source with TN__WARP_BORDER zero
 * pixels on all sides. */
enum { TN__WARP_BORDER = 4 };
void tn__warp(const tn__image *padded, const double m[6], tn_filter filter, tn__image *out);

void tn__warp_matrix(double degrees, const double shift[2], double scale, const double shear[2],
                     double m[6]);

void tn__brightness(tn__image *image, float factor);
void tn__contrast(tn__image *image, float factor);
void tn__saturation(tn__image *image, float factor);
void tn__noise(tn__image *image, float deviation, tn__random *r);
void tn__grayscale(tn__image *image);
void tn__normalize(tn__image *image, const double *mean, const double *deviation);

/* ---- transforms ----------------------------------------------------------------------------- */

/* Refuses a list that makes no sense. */
tn_status tn__transforms_check(const tn_transform *list, int count, int channels, tn_error *err);
/* The size that the list gives to every image; false when that depends on the image. */
bool tn__transforms_size(const tn_transform *list, int count, int *height, int *width);
/* Decodes a file and transforms it; the result is in the worker's memory. */
tn_status tn__transformed(const tn__encoded *file, const tn_transform *list, int count,
                          int channels, const tn__sample_key *key, tn__worker *w, tn__image *out,
                          tn_error *err);

#endif

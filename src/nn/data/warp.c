/* Affine warps by bilinear or bicubic sampling, zero outside; torch's grid_sample on the affine grid. */
#include <math.h>

#include "nn/data/image.h"

#define KEYS (-0.75f)

enum { STRIP = 64 };

typedef float lanes __attribute__((vector_size(16))); /* gcc makes no vectors of four taps alone */

/* Weights of the four taps at -1, 0, 1, 2 for a point t behind the second: Keys' kernel with a = -0.75 as
 * polynomials in t. */
static inline void cubic(float t, float out[4]) {
    const lanes c3 = {KEYS, KEYS + 2, -KEYS - 2, -KEYS};
    const lanes c2 = {-2 * KEYS, -KEYS - 3, 2 * KEYS + 3, KEYS};
    const lanes c1 = {KEYS, 0, -KEYS, 0}, c0 = {0, 1, 0, 0};
    lanes w = ((c3 * t + c2) * t + c1) * t + c0;
    memcpy(out, &w, sizeof w);
}

static inline void linear(float t, float out[4]) {
    out[0] = 0, out[1] = 1 - t, out[2] = t, out[3] = 0;
}

/* The points of up to STRIP result pixels: where their taps begin in a padded plane, and the weights. */
typedef struct strip {
    int count;
    double x[STRIP], y[STRIP]; /* in the source; then behind the second tap */
    int at[STRIP];
    float wx[STRIP][4], wy[STRIP][4];
} strip;

/* Points beyond the border are moved into it, where all taps are zero. */
static void place(strip *s, const tn__image *padded, tn_filter filter) {
    const double most_x = padded->width - 4, most_y = padded->height - 4;
    for (int i = 0; i < s->count; i++) {
        double x = s->x[i] + TN__WARP_BORDER - 1, y = s->y[i] + TN__WARP_BORDER - 1;
        x = x > 0 ? x : 0, y = y > 0 ? y : 0;
        x = x < most_x ? x : most_x, y = y < most_y ? y : most_y;
        int left = (int)x, top = (int)y;
        s->at[i] = top * padded->width + left;
        s->x[i] = x - left, s->y[i] = y - top;
    }
    for (int i = 0; i < s->count; i++) {
        if (filter == TN_BICUBIC)
            cubic((float)s->x[i], s->wx[i]), cubic((float)s->y[i], s->wy[i]);
        else
            linear((float)s->x[i], s->wx[i]), linear((float)s->y[i], s->wy[i]);
    }
}

static inline lanes four(const float *in) {
    lanes x;
    memcpy(&x, in, sizeof x);
    return x;
}

static inline float at_cubic(const float *in, size_t stride, const float *wx, const float *wy) {
    lanes upper = wy[0] * four(in) + wy[1] * four(in + stride);
    lanes lower = wy[2] * four(in + 2 * stride) + wy[3] * four(in + 3 * stride);
    lanes sum = four(wx) * (upper + lower);
    return (sum[0] + sum[2]) + (sum[1] + sum[3]);
}

/* The outer taps are zero. */
static inline float at_linear(const float *in, size_t stride, const float *wx, const float *wy) {
    const float *upper = in + stride + 1, *lower = upper + stride;
    return wy[1] * (wx[1] * upper[0] + wx[2] * upper[1]) +
           wy[2] * (wx[1] * lower[0] + wx[2] * lower[1]);
}

static void sample(const strip *s, const float *restrict plane, size_t stride, tn_filter filter,
                   float *restrict out) {
    if (filter == TN_BICUBIC)
        for (int i = 0; i < s->count; i++)
            out[i] = at_cubic(plane + s->at[i], stride, s->wx[i], s->wy[i]);
    else
        for (int i = 0; i < s->count; i++)
            out[i] = at_linear(plane + s->at[i], stride, s->wx[i], s->wy[i]);
    for (int i = 0; i < s->count; i++) {
        float x = out[i] > 0 ? out[i] : 0;
        out[i] = x < 1 ? x : 1;
    }
}

void tn__warp(const tn__image *padded, const double m[6], tn_filter filter, tn__image *out) {
    size_t area = (size_t)padded->height * (size_t)padded->width;
    size_t out_area = (size_t)out->height * (size_t)out->width;
    double middle_x = (padded->width - 2 * TN__WARP_BORDER - 1) * 0.5;
    double middle_y = (padded->height - 2 * TN__WARP_BORDER - 1) * 0.5;
    strip s;
    for (int y = 0; y < out->height; y++) {
        double v = y - (out->height - 1) * 0.5;
        for (int x = 0; x < out->width; x += STRIP) {
            s.count = TN_MIN(STRIP, out->width - x);
            for (int i = 0; i < s.count; i++) {
                double u = x + i - (out->width - 1) * 0.5;
                s.x[i] = m[0] * u + m[1] * v + m[2] + middle_x;
                s.y[i] = m[3] * u + m[4] * v + m[5] + middle_y;
            }
            place(&s, padded, filter);
            for (int c = 0; c < out->channels; c++)
                sample(&s, padded->data + (size_t)c * area, (size_t)padded->width, filter,
                       out->data + (size_t)c * out_area + (size_t)y * (size_t)out->width +
                           (size_t)x);
        }
    }
}

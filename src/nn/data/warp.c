/* Affine warps by bilinear or bicubic sampling, zero outside; torch's grid_sample on the affine grid. */
#include <math.h>

#include "nn/data/image.h"

enum { STRIP = 64 };

/* Weights of the four taps at -1, 0, 1, 2 for a point t behind the second, Keys' kernel, a = -0.75. */
static inline void cubic(float t, float out[4]) {
    const float a = -0.75f;
    float u = 1 - t, far0 = t + 1, far1 = u + 1;
    out[0] = ((a * far0 - 5 * a) * far0 + 8 * a) * far0 - 4 * a;
    out[1] = ((a + 2) * t - (a + 3)) * t * t + 1;
    out[2] = ((a + 2) * u - (a + 3)) * u * u + 1;
    out[3] = ((a * far1 - 5 * a) * far1 + 8 * a) * far1 - 4 * a;
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

static void sample(const strip *s, const float *plane, size_t stride, float *out) {
    for (int i = 0; i < s->count; i++) {
        const float *in = plane + s->at[i], *wx = s->wx[i], *wy = s->wy[i];
        float sum[4] = {0};
        for (size_t k = 0; k < 4; k++)
            for (size_t j = 0; j < 4; j++) sum[j] += wy[k] * in[k * stride + j];
        float x = (sum[0] * wx[0] + sum[1] * wx[1]) + (sum[2] * wx[2] + sum[3] * wx[3]);
        x = x > 0 ? x : 0;
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
                sample(&s, padded->data + (size_t)c * area, (size_t)padded->width,
                       out->data + (size_t)c * out_area + (size_t)y * (size_t)out->width +
                           (size_t)x);
        }
    }
}

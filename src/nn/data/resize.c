/* Resampling of a box to a size: separable filters, as wide as the pixels of the smaller image.
 *
 * Each result row is a weighted sum of source rows (all lanes alike), eight such rows are turned so
 * that a column of them is one vector, and each result column is a weighted sum of those. Weights are
 * those of PIL and of torch's interpolate(antialias=True): the kernel at the distances of the pixels' centres,
 * inside the box only, divided by their sum. */
#include <math.h>

#include "nn/data/image.h"

#define LANES ((size_t)8)

/* Result i of one axis is the sum of taps[i·most + k] · source[first[i] + k], k < count[i]. */
typedef struct taps {
    int most;
    int *first, *count;
    float *weight;
} taps;

typedef struct source {
    const uint8_t *bytes; /* or */
    const float *floats;
    int height, width, channels; /* interleaved */
} source;

/* ---- weights -------------------------------------------------------------------------------- */

static double kernel(tn_filter filter, double x) {
    const double a = -0.5; /* R. G. Keys, "Cubic Convolution Interpolation", 1981 */
    x = fabs(x);
    if (filter == TN_BILINEAR) return x < 1 ? 1 - x : 0;
    if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

static double support_of(tn_filter filter, double scale) {
    return (filter == TN_BILINEAR ? 1 : 2) * TN_MAX(scale, 1);
}

/* The weights of results begin … begin + count - 1 of `out` over the box [from, from + length). */
static void make_taps(taps *t, tn_filter filter, double from, double length, int out, int begin,
                      int count, int size) {
    double scale = length / out, wide = TN_MAX(scale, 1), support = support_of(filter, scale);
    int low = TN_MAX((int)floor(from + 1e-6), 0), high = (int)ceil(from + length - 1e-6);
    high = TN_MIN(high, size);
    for (int i = 0; i < count; i++) {
        double center = from + (begin + i + 0.5) * scale, total = 0;
        int first = TN_MAX((int)floor(center - support + 0.5), low);
        int end = TN_MIN((int)floor(center + support + 0.5), high);
        float *weight = t->weight + (size_t)i * (size_t)t->most;
        first = TN_MIN(first, high - 1);
        end = TN_MIN(TN_MAX(end, first + 1), first + t->most);
        for (int k = first; k < end; k++) total += kernel(filter, (k - center + 0.5) / wide);
        for (int k = first; k < end; k++)
            weight[k - first] =
                (float)(total != 0 ? kernel(filter, (k - center + 0.5) / wide) / total : 1);
        while (end - first > 1 && weight[end - first - 1] == 0) end--;
        t->first[i] = first;
        t->count[i] = end - first;
    }
}

/* ---- sums ----------------------------------------------------------------------------------- */

static void scale_bytes(float *restrict out, const uint8_t *restrict in, float weight, int n) {
    for (int i = 0; i < n; i++) out[i] = weight * (float)in[i];
}
static void add_bytes(float *restrict out, const uint8_t *restrict in, float weight, int n) {
    for (int i = 0; i < n; i++) out[i] += weight * (float)in[i];
}
static void scale_floats(float *restrict out, const float *restrict in, float weight, int n) {
    for (int i = 0; i < n; i++) out[i] = weight * in[i];
}
static void add_floats(float *restrict out, const float *restrict in, float weight, int n) {
    for (int i = 0; i < n; i++) out[i] += weight * in[i];
}

/* One result row before its columns are resampled: elements [begin, begin + n) of the source's rows. */
static void sum_rows(const source *s, const taps *t, int i, int begin, int n, float *out) {
    const float *weight = t->weight + (size_t)i * (size_t)t->most;
    size_t stride = (size_t)s->width * (size_t)s->channels;
    for (int k = 0; k < t->count[i]; k++) {
        size_t at = (size_t)(t->first[i] + k) * stride + (size_t)begin;
        if (s->bytes)
            (k ? add_bytes : scale_bytes)(out, s->bytes + at, weight[k], n);
        else
            (k ? add_floats : scale_floats)(out, s->floats + at, weight[k], n);
    }
}

/* out[i][lane] = rows[lane][i] */
static void turn(float *restrict out, const float *restrict rows, int n) {
    for (int i = 0; i < n; i++)
        for (size_t lane = 0; lane < LANES; lane++)
            out[(size_t)i * LANES + lane] = rows[lane * (size_t)n + (size_t)i];
}

static inline void sum_column(const float *restrict in, size_t step, const float *weight, int count,
                              float low, float high, float out[LANES]) {
    float sum[LANES] = {0};
    for (int k = 0; k < count; k++)
        for (size_t lane = 0; lane < LANES; lane++)
            sum[lane] += weight[k] * in[(size_t)k * step + lane];
    for (size_t lane = 0; lane < LANES; lane++) {
        float x = sum[lane] > low ? sum[lane] : low;
        out[lane] = x < high ? x : high;
    }
}

/* `turned` has eight rows, begun at element `begin`; writes `rows` of them from row y of the result. */
static void sum_columns(const source *s, const taps *t, const float *turned, int begin,
                        tn__image *out, int plane, int y, size_t rows) {
    size_t width = (size_t)out->width, area = width * (size_t)out->height;
    for (int c = 0; c < s->channels; c++) {
        float *to = out->data + (size_t)(plane + c) * area + (size_t)y * width;
        for (int x = 0; x < out->width; x++) {
            float sum[LANES];
            int at = t->first[x] * s->channels + c - begin;
            sum_column(turned + (size_t)at * LANES, (size_t)s->channels * LANES,
                       t->weight + (size_t)x * (size_t)t->most, t->count[x], 0, 1, sum);
            for (size_t lane = 0; lane < rows; lane++)
                to[(size_t)lane * width + (size_t)x] = sum[lane];
        }
    }
}

/* ---- resizing ------------------------------------------------------------------------------- */

typedef struct plan {
    taps rows, columns;
    float *sums, *turned;
} plan;

static void *take(uint8_t **at, size_t bytes) {
    void *p = *at;
    *at += (bytes + 63) & ~(size_t)63;
    return p;
}

/* All memory of one call. */
static bool make_plan(plan *p, const source *s, const tn__resize *r, tn__worker *w) {
    size_t n = (size_t)s->width * (size_t)s->channels * LANES;
    size_t height = (size_t)r->part.height, width = (size_t)r->part.width;
    p->rows.most = 2 * (int)ceil(support_of(r->filter, r->height / r->out_height)) + 2;
    p->columns.most = 2 * (int)ceil(support_of(r->filter, r->width / r->out_width)) + 2;
    size_t weights = height * (size_t)p->rows.most + width * (size_t)p->columns.most;
    size_t bytes = sizeof(float) * (2 * n + weights + 2 * (height + width)) + 8 * 64;
    uint8_t *at = tn__scratch(w, TN__SCRATCH_FILTER, bytes);
    if (!at) return false;
    p->sums = take(&at, n * sizeof(float));
    p->turned = take(&at, n * sizeof(float));
    taps *axes[2] = {&p->rows, &p->columns};
    for (int i = 0; i < 2; i++) {
        size_t count = i ? width : height;
        axes[i]->first = take(&at, count * sizeof(int));
        axes[i]->count = take(&at, count * sizeof(int));
        axes[i]->weight = take(&at, count * (size_t)axes[i]->most * sizeof(float));
    }
    make_taps(&p->rows, r->filter, r->y, r->height, r->out_height, r->part.y, r->part.height,
              s->height);
    make_taps(&p->columns, r->filter, r->x, r->width, r->out_width, r->part.x, r->part.width,
              s->width);
    return true;
}

/* Channels s->channels of the result, from `plane` on. */
static void resize(const source *s, const plan *p, tn__image *out, int plane) {
    const taps *columns = &p->columns;
    int last = out->width - 1;
    int begin = columns->first[0] * s->channels;
    int n = (columns->first[last] + columns->count[last]) * s->channels - begin;
    for (int y = 0; y < out->height; y += (int)LANES) {
        size_t rows = TN_MIN(LANES, (size_t)(out->height - y));
        for (size_t lane = 0; lane < LANES; lane++)
            sum_rows(s, &p->rows, y + (int)TN_MIN(lane, rows - 1), begin, n,
                     p->sums + lane * (size_t)n);
        turn(p->turned, p->sums, n);
        sum_columns(s, columns, p->turned, begin, out, plane, y, rows);
    }
}

static tn_status no_memory(tn_error *err) {
    return tn_error_set(err, TN_OUT_OF_MEMORY, "no memory to resize an image");
}

tn_status tn__resize_pixels(const tn__pixels *from, const tn__resize *r, tn__worker *w,
                            tn__image *out, tn_error *err) {
    source s = {from->data, NULL, from->region.height, from->region.width, from->channels};
    plan p;
    out->channels = from->channels;
    out->height = r->part.height;
    out->width = r->part.width;
    if (!make_plan(&p, &s, r, w)) return no_memory(err);
    for (int i = 0; i < out->height; i++)
        for (int k = 0; k < p.rows.count[i]; k++) p.rows.weight[i * p.rows.most + k] /= 255;
    resize(&s, &p, out, 0);
    return TN_OK;
}

tn_status tn__resize_image(const tn__image *from, const tn__resize *r, tn__worker *w,
                           tn__image *out, tn_error *err) {
    size_t area = (size_t)from->height * (size_t)from->width;
    source s = {NULL, from->data, from->height, from->width, 1};
    plan p;
    out->channels = from->channels;
    out->height = r->part.height;
    out->width = r->part.width;
    if (!make_plan(&p, &s, r, w)) return no_memory(err);
    for (int c = 0; c < from->channels; c++, s.floats += area) resize(&s, &p, out, c);
    return TN_OK;
}

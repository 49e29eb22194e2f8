/* Colours and noise of float planes, as torchvision's transforms on float images do them. */
#include "nn/data/image.h"

static const float luminance[3] = {0.2989f, 0.587f, 0.114f};

static size_t area_of(const tn__image *image) {
    return (size_t)image->height * (size_t)image->width;
}

static inline float cut(float x) {
    x = x > 0 ? x : 0;
    return x < 1 ? x : 1;
}

static inline float gray_at(const float *data, size_t area, int channels, size_t i) {
    if (channels == 1) return data[i];
    return luminance[0] * data[i] + luminance[1] * data[area + i] +
           luminance[2] * data[2 * area + i];
}

/* x = factor · x + offset */
static void scale(float *data, size_t count, float factor, float offset) {
    for (size_t i = 0; i < count; i++) data[i] = cut(factor * data[i] + offset);
}

void tn__brightness(tn__image *image, float factor) {
    scale(image->data, area_of(image) * (size_t)image->channels, factor, 0);
}

void tn__contrast(tn__image *image, float factor) {
    size_t area = area_of(image);
    double sum = 0;
    for (size_t i = 0; i < area; i++) sum += (double)gray_at(image->data, area, image->channels, i);
    scale(image->data, area * (size_t)image->channels, factor,
          (1 - factor) * (float)(sum / (double)area));
}

void tn__saturation(tn__image *image, float factor) {
    size_t area = area_of(image);
    float *r = image->data, *g = r + area, *b = g + area;
    if (image->channels == 1) return;
    for (size_t i = 0; i < area; i++) {
        float gray = (1 - factor) * gray_at(r, area, 3, i);
        r[i] = cut(factor * r[i] + gray);
        g[i] = cut(factor * g[i] + gray);
        b[i] = cut(factor * b[i] + gray);
    }
}

void tn__grayscale(tn__image *image) {
    size_t area = area_of(image);
    float *data = image->data;
    if (image->channels == 1) return;
    for (size_t i = 0; i < area; i++) {
        float gray = gray_at(data, area, 3, i);
        for (size_t c = 0; c < 3; c++) data[c * area + i] = gray;
    }
}

void tn__noise(tn__image *image, float deviation, tn__random *r) {
    size_t count = area_of(image) * (size_t)image->channels;
    float normal[256];
    for (size_t i = 0; i < count; i += TN_COUNT(normal)) {
        size_t n = TN_MIN(count - i, TN_COUNT(normal));
        tn__random_normals(r, normal, n);
        for (size_t k = 0; k < n; k++)
            image->data[i + k] = cut(image->data[i + k] + deviation * normal[k]);
    }
}

void tn__normalize(tn__image *image, const double *mean, const double *deviation) {
    size_t area = area_of(image);
    for (int c = 0; c < image->channels; c++) {
        float *data = image->data + (size_t)c * area, shift = (float)mean[c];
        float factor = (float)(1 / deviation[c]);
        for (size_t i = 0; i < area; i++) data[i] = (data[i] - shift) * factor;
    }
}

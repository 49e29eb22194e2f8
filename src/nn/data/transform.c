/* Lists of transforms: checked once, then drawn and done for each sample.
 *
 * The first step decides what is decoded: a crop or a resize that begins the list (or a resize followed
 * by a crop) reads the part of the file it needs and writes the float image at once. The rest goes from
 * step to step in memory. Step i draws from stream i of its sample, so it does not depend on the others. */
#include <math.h>

#include "nn/data/image.h"

#define RADIANS 0.017453292519943295

enum { MOST_SIDE = 1 << 15 };

static const char *const names[TN_TRANSFORM_COUNT] = {
    [TN_TRANSFORM_RESIZE] = "resize",
    [TN_TRANSFORM_CENTER_CROP] = "center_crop",
    [TN_TRANSFORM_RANDOM_CROP] = "random_crop",
    [TN_TRANSFORM_RANDOM_RESIZED_CROP] = "random_resized_crop",
    [TN_TRANSFORM_FLIP_HORIZONTAL] = "flip_horizontal",
    [TN_TRANSFORM_FLIP_VERTICAL] = "flip_vertical",
    [TN_TRANSFORM_BRIGHTNESS] = "brightness",
    [TN_TRANSFORM_CONTRAST] = "contrast",
    [TN_TRANSFORM_SATURATION] = "saturation",
    [TN_TRANSFORM_NOISE] = "noise",
    [TN_TRANSFORM_WARP] = "warp",
    [TN_TRANSFORM_GRAYSCALE] = "grayscale",
    [TN_TRANSFORM_NORMALIZE] = "normalize",
};

const char *tn_transform_name(tn_transform_kind kind) {
    return (unsigned)kind < TN_TRANSFORM_COUNT ? names[kind] : NULL;
}

/* ---- checks --------------------------------------------------------------------------------- */

static bool is_range(const double range[2], double least) {
    bool is_default = range[0] == 0 && range[1] == 0;
    return is_default || (range[0] >= least && range[0] <= range[1] && isfinite(range[1]));
}

static bool has_size(const tn_transform *t) {
    return t->height > 0 && t->width > 0 && t->height <= MOST_SIDE && t->width <= MOST_SIDE;
}

/* What is wrong with a step; NULL: nothing. */
static const char *complaint(const tn_transform *t, int channels) {
    bool shorter = t->shorter > 0 && t->shorter <= MOST_SIDE && !t->height && !t->width;
    switch (t->kind) {
    case TN_TRANSFORM_RESIZE:
        return shorter || (!t->shorter && has_size(t)) ? NULL
                                                       : "set .height and .width, or .shorter";
    case TN_TRANSFORM_RANDOM_CROP:
        if (t->padding < 0 || t->padding > MOST_SIDE) return ".padding is out of range";
        return has_size(t) ? NULL : "set .height and .width";
    case TN_TRANSFORM_RANDOM_RESIZED_CROP:
        if (!is_range(t->scale, 1e-9) || t->scale[1] > 1) return ".scale is no range within 0 to 1";
        if (!is_range(t->ratio, 1e-9)) return ".ratio is no range of positive numbers";
        return has_size(t) ? NULL : "set .height and .width";
    case TN_TRANSFORM_CENTER_CROP:
        return has_size(t) ? NULL : "set .height and .width";
    case TN_TRANSFORM_BRIGHTNESS:
    case TN_TRANSFORM_CONTRAST:
    case TN_TRANSFORM_SATURATION:
    case TN_TRANSFORM_NOISE:
        return t->low >= 0 && t->low <= t->high && t->high > 0 && isfinite(t->high)
                   ? NULL
                   : ".low to .high is no range of positive numbers";
    case TN_TRANSFORM_WARP:
        if (!is_range(t->scale, 1e-9)) return ".scale is no range of positive numbers";
        for (int i = 0; i < 2; i++)
            if (!(fabs(t->translate[i]) <= 1 && fabs(t->shear[i]) < 90))
                return ".translate is over 1, or .shear over 90 degrees";
        return isfinite(t->degrees) ? NULL : ".degrees is not finite";
    case TN_TRANSFORM_NORMALIZE:
        for (int c = 0; c < channels; c++)
            if (!(t->std[c] > 0 && isfinite(t->std[c]) && isfinite(t->mean[c])))
                return "each channel needs a finite .mean and a positive .std";
        return NULL;
    default:
        return NULL;
    }
}

tn_status tn__transforms_check(const tn_transform *list, int count, int channels, tn_error *err) {
    for (int i = 0; i < count; i++) {
        const tn_transform *t = &list[i];
        if ((unsigned)t->kind >= TN_TRANSFORM_COUNT)
            return tn_error_set(err, TN_INVALID, "transform %d: unknown kind %d", i, (int)t->kind);
        const char *wrong = complaint(t, channels);
        if (!(t->probability >= 0 && t->probability <= 1)) wrong = ".probability is not in 0 to 1";
        if (wrong)
            return tn_error_set(err, TN_INVALID, "transform %d (%s): %s", i, names[t->kind], wrong);
    }
    return TN_OK;
}

bool tn__transforms_size(const tn_transform *list, int count, int *height, int *width) {
    bool known = false;
    for (int i = 0; i < count; i++) {
        if (list[i].kind > TN_TRANSFORM_RANDOM_RESIZED_CROP) continue;
        known = list[i].kind != TN_TRANSFORM_RESIZE || !list[i].shorter;
        *height = list[i].height;
        *width = list[i].width;
    }
    return known;
}

/* ---- what a step reads ---------------------------------------------------------------------- */

/* The longer side is cut to whole pixels. */
static void resized(const tn_transform *t, int width, int height, int *out_width, int *out_height) {
    int64_t shorter = t->shorter;
    *out_width = t->width;
    *out_height = t->height;
    if (!shorter) return;
    int64_t least = TN_MIN(width, height);
    *out_width = (int)TN_MIN(width == least ? shorter : shorter * width / least, INT32_MAX / 8);
    *out_height = (int)TN_MIN(height == least ? shorter : shorter * height / least, INT32_MAX / 8);
}

static int random_start(tn__random *r, int size, int padding, int wanted) {
    int64_t room = (int64_t)size + 2 * (int64_t)padding - wanted;
    if (room < 0) return (int)((size - wanted) / 2);
    return (int)tn__random_below(r, (uint64_t)room + 1) - padding;
}

/* A part of the wanted area and shape that fits, of ten that are drawn; else the largest in the middle
 * whose ratio is allowed. */
static tn__region random_part(const tn_transform *t, int width, int height, tn__random *r) {
    double scale[2] = {t->scale[0], t->scale[1]}, ratio[2] = {t->ratio[0], t->ratio[1]};
    if (scale[1] == 0) scale[0] = 0.08, scale[1] = 1;
    if (ratio[1] == 0) ratio[0] = 3.0 / 4, ratio[1] = 4.0 / 3;
    for (int attempt = 0; attempt < 10; attempt++) {
        double area = (double)width * height * tn__random_in(r, scale[0], scale[1]);
        double shape = exp(tn__random_in(r, log(ratio[0]), log(ratio[1])));
        double w = rint(sqrt(area * shape)), h = rint(sqrt(area / shape));
        if (!(w >= 1 && w <= width && h >= 1 && h <= height)) continue;
        tn__region part = {.width = (int)w, .height = (int)h};
        part.y = random_start(r, height, 0, part.height);
        part.x = random_start(r, width, 0, part.width);
        return part;
    }
    double whole = (double)width / height;
    double shape = TN_MIN(TN_MAX(whole, ratio[0]), ratio[1]);
    tn__region part = {.width = width, .height = height};
    if (whole < shape) part.height = TN_MAX((int)rint(width / shape), 1);
    if (whole > shape) part.width = TN_MAX((int)rint(height * shape), 1);
    part.x = (width - part.width) / 2;
    part.y = (height - part.height) / 2;
    return part;
}

/* The window of a crop, which may begin before the image and end behind it. */
static tn__region crop_window(const tn_transform *t, int width, int height, tn__random *r) {
    tn__region window = {.width = t->width, .height = t->height};
    if (t->kind == TN_TRANSFORM_CENTER_CROP) {
        window.x = (int)rint((width - t->width) / 2.0);
        window.y = (int)rint((height - t->height) / 2.0);
    } else {
        window.y = random_start(r, height, t->padding, t->height);
        window.x = random_start(r, width, t->padding, t->width);
    }
    return window;
}

static bool is_crop(const tn_transform *t) {
    return t->kind == TN_TRANSFORM_CENTER_CROP || t->kind == TN_TRANSFORM_RANDOM_CROP;
}

static bool is_inside(const tn__region *r, int width, int height) {
    return r->x >= 0 && r->y >= 0 && r->x + r->width <= width && r->y + r->height <= height;
}

static tn__resize resize_part(const tn_transform *t, int width, int height, tn__random *r) {
    tn__region part = random_part(t, width, height, r), all = {0, 0, t->width, t->height};
    return (tn__resize){.x = part.x,
                        .y = part.y,
                        .width = part.width,
                        .height = part.height,
                        .out_width = t->width,
                        .out_height = t->height,
                        .part = all,
                        .filter = t->filter};
}

/* What the first steps read of an image of width × height. Returns how many steps that are. */
static int plan_first(const tn_transform *list, int count, const tn__sample_key *key, int width,
                      int height, tn__resize *out) {
    const tn_transform *t = list;
    tn__random r;
    int done = 0;
    *out = (tn__resize){0, 0, width, height, width, height, {0, 0, width, height}, TN_BILINEAR};
    if (!count) return 0;
    tn__random_init(&r, key, 0);
    if (t->kind == TN_TRANSFORM_RANDOM_RESIZED_CROP) {
        *out = resize_part(t, width, height, &r);
        return 1;
    }
    if (t->kind == TN_TRANSFORM_RESIZE) {
        resized(t, width, height, &out->out_width, &out->out_height);
        out->part = (tn__region){0, 0, out->out_width, out->out_height};
        out->filter = t->filter;
        done = 1;
    }
    if (done < count && is_crop(&list[done])) {
        tn__random_init(&r, key, (unsigned)done);
        tn__region window = crop_window(&list[done], out->out_width, out->out_height, &r);
        if (is_inside(&window, out->out_width, out->out_height)) {
            out->part = window;
            done++;
        }
    }
    return done;
}

/* ---- the first image ------------------------------------------------------------------------ */

/* Halvings that leave at least twice the pixels of the result, for the filter to do the rest. */
static int reduction(const tn__resize *r) {
    double factor = TN_MIN(r->width / r->out_width, r->height / r->out_height) / 2;
    return factor >= 8 ? 8 : factor >= 4 ? 4 : factor >= 2 ? 2 : 1;
}

/* The pixels that the wanted part of the result is made of: its place in the box, and the filter's
 * width around it. */
static tn__region needed(const tn__resize *r) {
    double sx = r->width / r->out_width, sy = r->height / r->out_height;
    double edge_x = 2 * TN_MAX(sx, 1) + 2, edge_y = 2 * TN_MAX(sy, 1) + 2;
    double left = TN_MAX(floor(r->x + r->part.x * sx - edge_x), r->x);
    double top = TN_MAX(floor(r->y + r->part.y * sy - edge_y), r->y);
    double right = ceil(r->x + (r->part.x + r->part.width) * sx + edge_x);
    double bottom = ceil(r->y + (r->part.y + r->part.height) * sy + edge_y);
    right = TN_MIN(right, r->x + r->width);
    bottom = TN_MIN(bottom, r->y + r->height);
    return (tn__region){(int)left, (int)top, (int)(right - left), (int)(bottom - top)};
}

static tn_status new_image(tn__worker *w, tn__scratch_use use, int channels, int height, int width,
                           tn__image *out, tn_error *err) {
    size_t size = (size_t)channels * sizeof(float);
    *out = (tn__image){channels, height, width, NULL};
    if (tn_size_mul(size, (size_t)height, &size) && tn_size_mul(size, (size_t)width, &size))
        out->data = tn__scratch(w, use, size);
    if (out->data) return TN_OK;
    return tn_error_set(err, TN_OUT_OF_MEMORY, "no memory for an image of %d x %d", width, height);
}

static tn_status first_image(const tn__encoded *file, const tn__resize *plan, int channels,
                             tn__worker *w, tn__image *out, tn_error *err) {
    tn__pixels pixels = {0};
    tn__resize r = *plan;
    TN_CHECK(tn__check_pixels(r.part.width, r.part.height, file->max_pixels, err));
    TN_CHECK(tn__image_decode(file, needed(plan), reduction(plan), channels, w, &pixels, err));
    r.x = r.x / pixels.reduce - pixels.region.x;
    r.y = r.y / pixels.reduce - pixels.region.y;
    r.width /= pixels.reduce;
    r.height /= pixels.reduce;
    TN_CHECK(new_image(w, TN__SCRATCH_IMAGE, channels, r.part.height, r.part.width, out, err));
    return tn__resize_pixels(&pixels, &r, w, out, err);
}

/* ---- further steps -------------------------------------------------------------------------- */

typedef struct state {
    tn__image image;
    tn__scratch_use use; /* where it lies */
    tn__worker *worker;
    int64_t max_pixels;
    tn__random random;
} state;

static tn_status other_image(state *s, int height, int width, tn__image *out, tn_error *err) {
    tn__scratch_use other = s->use == TN__SCRATCH_IMAGE ? TN__SCRATCH_OTHER : TN__SCRATCH_IMAGE;
    TN_CHECK(tn__check_pixels(width, height, s->max_pixels, err));
    return new_image(s->worker, other, s->image.channels, height, width, out, err);
}

static void become(state *s, const tn__image *image) {
    s->image = *image;
    s->use = s->use == TN__SCRATCH_IMAGE ? TN__SCRATCH_OTHER : TN__SCRATCH_IMAGE;
}

static tn_status do_resize(state *s, tn__resize r, tn_error *err) {
    tn__image out;
    TN_CHECK(other_image(s, r.part.height, r.part.width, &out, err));
    TN_CHECK(tn__resize_image(&s->image, &r, s->worker, &out, err));
    become(s, &out);
    return TN_OK;
}

/* Copies a window of the image; what is outside of it is 0. */
static tn_status do_window(state *s, tn__region window, tn_error *err) {
    tn__image out, *in = &s->image;
    TN_CHECK(other_image(s, window.height, window.width, &out, err));
    int from = TN_MAX(0, -window.x), to = TN_MIN(window.width, in->width - window.x);
    for (int c = 0; c < in->channels; c++) {
        for (int y = 0; y < window.height; y++) {
            int64_t row = (int64_t)y + window.y;
            float *line =
                out.data + ((size_t)c * (size_t)out.height + (size_t)y) * (size_t)out.width;
            bool inside = row >= 0 && row < in->height && from < to;
            if (!inside || from > 0 || to < window.width)
                memset(line, 0, (size_t)out.width * sizeof *line);
            if (!inside) continue;
            const float *source =
                in->data + ((size_t)c * (size_t)in->height + (size_t)row) * (size_t)in->width;
            memcpy(line + from, source + window.x + from, (size_t)(to - from) * sizeof *line);
        }
    }
    become(s, &out);
    return TN_OK;
}

static void flip_rows(float *data, int height, int width) {
    for (int y = 0; y < height; y++, data += width)
        for (int x = 0; x < width / 2; x++) {
            float kept = data[x];
            data[x] = data[width - 1 - x];
            data[width - 1 - x] = kept;
        }
}

static void flip_columns(float *data, int height, int width) {
    for (int y = 0; y < height / 2; y++) {
        float *a = data + (size_t)y * (size_t)width;
        float *b = data + (size_t)(height - 1 - y) * (size_t)width;
        for (int x = 0; x < width; x++) {
            float kept = a[x];
            a[x] = b[x];
            b[x] = kept;
        }
    }
}

static void flip(tn__image *image, void (*plane)(float *data, int height, int width)) {
    size_t area = (size_t)image->height * (size_t)image->width;
    for (int c = 0; c < image->channels; c++)
        plane(image->data + (size_t)c * area, image->height, image->width);
}

/* The inverse of torchvision's affine map: shear, then rotate and scale, then shift. Angles in degrees. */
void tn__warp_matrix(double degrees, const double shift[2], double scale, const double shear[2],
                     double m[6]) {
    double angle = degrees * RADIANS, shear_x = shear[0] * RADIANS, shear_y = shear[1] * RADIANS;
    double a = cos(angle - shear_y) / cos(shear_y), c = sin(angle - shear_y) / cos(shear_y);
    double b = -a * tan(shear_x) - sin(angle), d = -c * tan(shear_x) + cos(angle);
    m[0] = d / scale, m[1] = -b / scale;
    m[3] = -c / scale, m[4] = a / scale;
    m[2] = -m[0] * shift[0] - m[1] * shift[1];
    m[5] = -m[3] * shift[0] - m[4] * shift[1];
}

static void draw_warp(const tn_transform *t, int width, int height, tn__random *r, double m[6]) {
    double degrees = tn__random_in(r, -t->degrees, t->degrees), shift[2], shear[2];
    shift[0] = rint(tn__random_in(r, -t->translate[0], t->translate[0]) * width);
    shift[1] = rint(tn__random_in(r, -t->translate[1], t->translate[1]) * height);
    double scale = t->scale[1] == 0 ? 1 : tn__random_in(r, t->scale[0], t->scale[1]);
    for (int i = 0; i < 2; i++) shear[i] = tn__random_in(r, -t->shear[i], t->shear[i]);
    tn__warp_matrix(degrees, shift, scale, shear, m);
}

static tn_status do_warp(const tn_transform *t, state *s, tn_error *err) {
    int width = s->image.width, height = s->image.height;
    tn__region padded = {-TN__WARP_BORDER, -TN__WARP_BORDER, width + 2 * TN__WARP_BORDER,
                         height + 2 * TN__WARP_BORDER};
    tn__image out;
    double m[6];
    draw_warp(t, width, height, &s->random, m);
    TN_CHECK(do_window(s, padded, err));
    TN_CHECK(other_image(s, height, width, &out, err));
    tn__warp(&s->image, m, t->filter, &out);
    become(s, &out);
    return TN_OK;
}

static bool happens(const tn_transform *t, tn__random *r) {
    bool is_flip = t->kind == TN_TRANSFORM_FLIP_HORIZONTAL || t->kind == TN_TRANSFORM_FLIP_VERTICAL;
    double probability = t->probability != 0 ? t->probability : is_flip ? 0.5 : 1;
    return t->kind <= TN_TRANSFORM_RANDOM_RESIZED_CROP || probability == 1 ||
           tn__random_in(r, 0, 1) < probability;
}

static void change_colours(const tn_transform *t, tn__image *image, tn__random *r) {
    float amount = (float)tn__random_in(r, t->low, t->high);
    if (t->kind == TN_TRANSFORM_BRIGHTNESS) tn__brightness(image, amount);
    if (t->kind == TN_TRANSFORM_CONTRAST) tn__contrast(image, amount);
    if (t->kind == TN_TRANSFORM_SATURATION) tn__saturation(image, amount);
    if (t->kind == TN_TRANSFORM_NOISE) tn__noise(image, amount, r);
}

static tn_status do_step(const tn_transform *t, state *s, tn_error *err) {
    tn__image *image = &s->image;
    tn__random *r = &s->random;
    tn__resize resize = {0, 0, image->width, image->height, 0, 0, {0}, t->filter};
    if (!happens(t, r)) return TN_OK;
    switch (t->kind) {
    case TN_TRANSFORM_RESIZE:
        resized(t, image->width, image->height, &resize.out_width, &resize.out_height);
        resize.part = (tn__region){0, 0, resize.out_width, resize.out_height};
        return do_resize(s, resize, err);
    case TN_TRANSFORM_RANDOM_RESIZED_CROP:
        return do_resize(s, resize_part(t, image->width, image->height, r), err);
    case TN_TRANSFORM_CENTER_CROP:
    case TN_TRANSFORM_RANDOM_CROP:
        return do_window(s, crop_window(t, image->width, image->height, r), err);
    case TN_TRANSFORM_WARP:
        return do_warp(t, s, err);
    case TN_TRANSFORM_FLIP_HORIZONTAL:
        flip(image, flip_rows);
        return TN_OK;
    case TN_TRANSFORM_FLIP_VERTICAL:
        flip(image, flip_columns);
        return TN_OK;
    case TN_TRANSFORM_GRAYSCALE:
        tn__grayscale(image);
        return TN_OK;
    case TN_TRANSFORM_NORMALIZE:
        tn__normalize(image, t->mean, t->std);
        return TN_OK;
    default:
        change_colours(t, image, r);
        return TN_OK;
    }
}

tn_status tn__transformed(const tn__encoded *file, const tn_transform *list, int count,
                          int channels, const tn__sample_key *key, tn__worker *w, tn__image *out,
                          tn_error *err) {
    state s = {.use = TN__SCRATCH_IMAGE, .worker = w, .max_pixels = file->max_pixels};
    tn__resize plan;
    int width, height;
    TN_CHECK(tn__image_size(file, &width, &height, err));
    int done = plan_first(list, count, key, width, height, &plan);
    TN_CHECK(first_image(file, &plan, channels, w, &s.image, err));
    for (; done < count; done++) {
        tn__random_init(&s.random, key, (unsigned)done);
        TN_TRY(err, do_step(&list[done], &s, err), "transform %d (%s)", done,
               names[list[done].kind]);
    }
    *out = s.image;
    return TN_OK;
}

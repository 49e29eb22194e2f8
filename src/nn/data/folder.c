/* Folders of images as a dataset: DIR/<class>/<file>. See tenon/data.h. */
#include <stdio.h>
#include <strings.h>

#include "nn/data/image.h"

enum { PATH_BYTES = 4096 };

typedef struct folder {
    tn_dataset base;
    const char *path;
    int count;          /* of class folders; those of base are the classes that labels count */
    const char **names; /* [count] */
    int32_t *label;     /* [count] */
    tn__names *files;   /* [count] */
    int64_t *first;     /* [count + 1]: the first sample of each */
    tn_transform *transforms;
    int transform_count, channels;
    int64_t max_pixels;
} folder;

/* ---- samples -------------------------------------------------------------------------------- */

static int folder_of(const folder *d, int64_t sample) {
    int low = 0, high = d->count;
    while (high - low > 1) {
        int middle = low + (high - low) / 2;
        if (d->first[middle] <= sample)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* False when the path does not fit. */
static bool file_of(const folder *d, int64_t sample, char *out, size_t size, int *label) {
    int c = folder_of(d, sample);
    const char *name = d->files[c].data[sample - d->first[c]];
    int len = snprintf(out, size, "%s/%s/%s", d->path, d->names[c], name);
    if (label) *label = d->label[c];
    return len >= 0 && (size_t)len < size;
}

static bool tell_file(const tn_dataset *base, int64_t sample, char *out, size_t size, int *label) {
    (void)file_of((const folder *)base, sample, out, size, label);
    return true;
}

/* Rounded to the nearest, ties to even; not-a-number does not occur. */
static void to_bf16(uint16_t *restrict out, const float *restrict in, size_t count) {
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &in[i], 4);
        out[i] = (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
    }
}

static void put_label(const folder *d, int label, void *out) {
    if (d->base.output[1].dtype == TN_i64)
        *(int64_t *)out = label;
    else
        *(int32_t *)out = label;
}

static tn_status read_sample(const folder *d, tn__worker *w, const tn__sample_key *key, int *label,
                             tn__image *out, tn_error *err) {
    char path[PATH_BYTES];
    tn__encoded file = {.max_pixels = d->max_pixels};
    tn_status status;
    if (!file_of(d, key->index, path, sizeof path, label))
        return tn_error_set(err, TN_INVALID, "%.200s…: the path is too long", path);
    status = tn__read_image_file(path, w, &file, err);
    if (status == TN_OK)
        status = tn__transformed(&file, d->transforms, d->transform_count, d->channels, key, w, out,
                                 err);
    if (status != TN_OK) tn_error_push(err, "%s", path);
    return status;
}

static tn_status load_image(const tn_dataset *base, tn__worker *w, const tn__sample_key *key,
                            void *const *out, bool *corrupt, tn_error *err) {
    const folder *d = (const folder *)base;
    const int64_t *dim = base->output[0].dim;
    char path[PATH_BYTES];
    tn__image image;
    int label;
    tn_status status = read_sample(d, w, key, &label, &image, err);
    *corrupt = status != TN_OK && status != TN_OUT_OF_MEMORY;
    TN_CHECK(status);
    if (image.height != dim[1] || image.width != dim[2]) {
        (void)file_of(d, key->index, path, sizeof path, NULL);
        return tn_error_set(
            err, TN_INVALID,
            "%s: %d x %d pixels, other images have %d x %d; add a crop, or a resize "
            "to .height and .width, to the transforms",
            path, image.width, image.height, (int)dim[2], (int)dim[1]);
    }
    size_t count = (size_t)image.channels * (size_t)image.height * (size_t)image.width;
    if (base->output[0].dtype == TN_bf16)
        to_bf16(out[0], image.data, count);
    else
        memcpy(out[0], image.data, count * sizeof(float));
    put_label(d, label, out[1]);
    return TN_OK;
}

static const tn__dataset_kind folder_kind = {
    .name = "images", .by_sample = true, .load = load_image};

/* ---- opening -------------------------------------------------------------------------------- */

typedef struct opening {
    folder *d;
    const char *path;
    const tn_image_options *options;
} opening;

static bool is_image(const char *name) {
    const char *dot = strrchr(name, '.');
    return dot &&
           (!strcasecmp(dot, ".jpg") || !strcasecmp(dot, ".jpeg") || !strcasecmp(dot, ".png"));
}

static tn_status find_files(folder *d, const char *path, tn_error *err) {
    tn_arena *arena = &d->base.arena;
    tn__names folders;
    d->path = tn_arena_strdup(arena, path);
    TN_CHECK(tn__list_folder(arena, path, true, NULL, &folders, err));
    if (!folders.len)
        return tn_error_set(err, TN_INVALID,
                            "%s: no folders in it; expected %s/<class>/<image>.jpg, .jpeg or .png",
                            path, path);
    d->names = folders.data;
    d->count = (int)folders.len;
    d->files = TN_NEW_N(arena, tn__names, folders.len);
    d->first = TN_NEW_N(arena, int64_t, folders.len + 1);
    for (int c = 0; c < d->count; c++) {
        const char *name = tn_arena_printf(arena, "%s/%s", path, d->names[c]);
        TN_CHECK(tn__list_folder(arena, name, false, is_image, &d->files[c], err));
        d->first[c + 1] = d->first[c] + d->files[c].len;
    }
    d->base.count = d->first[d->count];
    if (!d->base.count)
        return tn_error_set(err, TN_INVALID,
                            "%s: no images in its %d folders; expected %s/<class>/<image>.jpg, "
                            ".jpeg or .png",
                            path, d->count, path);
    return TN_OK;
}

/* Classes are this folder's, or those of another one, which has them all. */
static tn_status number_classes(folder *d, const tn_dataset *like, tn_error *err) {
    int count = like ? like->class_count : d->count;
    const char **classes = d->names;
    if (like) {
        classes = TN_NEW_N(&d->base.arena, const char *, count);
        for (int i = 0; i < count; i++)
            classes[i] = tn_arena_strdup(&d->base.arena, like->classes[i]);
    }
    d->base.classes = classes;
    d->base.class_count = count;
    d->label = TN_NEW_N(&d->base.arena, int32_t, d->count);
    for (int c = 0, label = 0; c < d->count; c++) { /* both are sorted */
        while (label < count && strcmp(classes[label], d->names[c]) < 0) label++;
        if (label == count || strcmp(classes[label], d->names[c]) != 0)
            return tn_error_set(err, TN_INVALID, "%s: class '%s' is not among the %d known ones",
                                d->path, d->names[c], count);
        d->label[c] = label;
    }
    return TN_OK;
}

/* The size of the first sound image, where the transforms do not say it. */
static tn_status probe_size(folder *d, int *height, int *width, tn_error *err) {
    tn__worker w = {0};
    tn__image image = {0};
    tn_status status = TN_INVALID;
    for (int64_t i = 0; i < TN_MIN(d->base.count, TN__BAD_IN_A_ROW) && status != TN_OK; i++) {
        tn__sample_key key = {.index = i};
        int label;
        status = read_sample(d, &w, &key, &label, &image, err);
    }
    *height = image.height;
    *width = image.width;
    tn__worker_deinit(&w);
    return status;
}

static tn_status open_folder(void *argument, tn_error *err) {
    opening *o = argument;
    folder *d = o->d;
    const tn_image_options *options = o->options;
    int height, width, count = options->transform_count;
    TN_CHECK(find_files(d, o->path, err));
    TN_CHECK(number_classes(d, options->classes, err));
    d->base.file = tell_file;
    d->channels = options->channels;
    d->max_pixels = options->max_pixels ? options->max_pixels : (int64_t)1 << 26;
    d->transform_count = count;
    d->transforms = count ? tn_arena_dup(&d->base.arena, options->transforms,
                                         (size_t)count * sizeof *d->transforms)
                          : NULL;
    if (!tn__transforms_size(d->transforms, count, &height, &width))
        TN_TRY(err, probe_size(d, &height, &width, err), "while looking for the images' size");
    tn__dataset_output(&d->base, options->dtype, 3, (int64_t[]){d->channels, height, width});
    tn__dataset_output(&d->base, options->label_dtype, 0, NULL);
    return TN_OK;
}

static tn_status check_options(const tn_image_options *o, tn_error *err) {
    if (o->channels != 1 && o->channels != 3)
        return tn_error_set(err, TN_INVALID, "images: %d channels; expected 1 or 3", o->channels);
    if (o->dtype != TN_f32 && o->dtype != TN_bf16)
        return tn_error_set(err, TN_INVALID, "images: the type is neither f32 nor bf16");
    if (o->label_dtype != TN_i32 && o->label_dtype != TN_i64)
        return tn_error_set(err, TN_INVALID, "images: the labels' type is neither i32 nor i64");
    if (o->max_pixels < 0 || o->max_pixels > (int64_t)1 << 30)
        return tn_error_set(err, TN_INVALID, "images: max_pixels is not in 0 to 2^30");
    if (o->transform_count < 0 || (o->transform_count && !o->transforms))
        return tn_error_set(err, TN_INVALID, "images: %d transforms", o->transform_count);
    if (o->classes && !o->classes->class_count)
        return tn_error_set(err, TN_INVALID, "images: options.classes is no folder of images");
    return tn__transforms_check(o->transforms, o->transform_count, o->channels, err);
}

tn_status tn_dataset_images(const char *path, const tn_image_options *options, tn_dataset **out,
                            tn_error *err) {
    tn_image_options all = TN_IMAGE_OPTIONS_INIT;
    *out = NULL;
    if (options && options->size > sizeof all)
        return tn_error_set(err, TN_INVALID, "images: options of an unknown size");
    if (options) memcpy(&all, options, options->size);
    TN_CHECK(check_options(&all, err));
    opening o = {tn__dataset_new(&folder_kind, sizeof *o.d), path, &all};
    return tn__dataset_finish((tn_dataset *)o.d, open_folder, &o, out, err);
}

/* Data loading: image folders, token streams and arrays become batches on worker threads, while the
 * batch before is computed with.
 *
 *   static const tn_transform train[] = {
 *       TN_RANDOM_RESIZED_CROP(.height = 224, .width = 224), TN_FLIP_HORIZONTAL(),
 *       TN_NORMALIZE(.mean = {0.485, 0.456, 0.406}, .std = {0.229, 0.224, 0.225})};
 *   tn_image_options images = TN_IMAGE_OPTIONS_INIT;
 *   images.transforms = train, images.transform_count = 3;
 *   tn_dataset *photos;   tn_dataset_images("imagenet/train", &images, &photos, &err);
 *   tn_loader_options how = TN_LOADER_OPTIONS_INIT;
 *   how.batch = 64, how.shuffle = true, how.seed = 1;
 *   tn_loader *loader;    tn_loader_create(photos, &how, &loader, &err);
 *   tn_data_batch batch;       tn_loader_next(loader, &batch, &err);
 *
 * The order of the samples and all random numbers are functions of (seed, epoch, index of the sample):
 * batches have the same bits with any number of workers, and after a position was restored. */
#ifndef TENON_DATA_H
#define TENON_DATA_H

#include <tenon/session.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What samples there are and how one is read. Immutable, for any number of threads and loaders. */
typedef struct tn_dataset tn_dataset;
typedef struct tn_loader tn_loader;

/* ---- transforms ----------------------------------------------------------------------------- */

/* What is done to an image of C channels with values in 0..1, in the order of a list. Results of
 * filters, brightness, contrast, saturation and noise are cut to 0..1; what lies outside an image is
 * 0 (black). The definitions are those of torchvision's transforms on float images. */
typedef enum tn_transform_kind {
    TN_TRANSFORM_RESIZE,
    TN_TRANSFORM_CENTER_CROP,
    TN_TRANSFORM_RANDOM_CROP,
    TN_TRANSFORM_RANDOM_RESIZED_CROP,
    TN_TRANSFORM_FLIP_HORIZONTAL,
    TN_TRANSFORM_FLIP_VERTICAL,
    TN_TRANSFORM_BRIGHTNESS,
    TN_TRANSFORM_CONTRAST,
    TN_TRANSFORM_SATURATION,
    TN_TRANSFORM_NOISE,
    TN_TRANSFORM_WARP,
    TN_TRANSFORM_GRAYSCALE,
    TN_TRANSFORM_NORMALIZE,
    TN_TRANSFORM_COUNT
} tn_transform_kind;
/* "resize", "center_crop", … as configurations and messages have them; NULL: no such kind. */
TN_API const char *tn_transform_name(tn_transform_kind kind);

/* How images are resampled. Shrinking widens the filter by the factor (antialias). TN_BICUBIC is Keys'
 * kernel with a = -0.5 in resizing (as PIL and torch's antialiased filter) and with a = -0.75 in
 * warps (as torch's grid_sample). */
typedef enum tn_filter { TN_BILINEAR, TN_BICUBIC } tn_filter;

/* One step; the macros below say which fields it reads. The others stay 0. */
typedef struct tn_transform {
    tn_transform_kind kind;
    tn_filter filter;
    int height, width, shorter, padding; /* pixels */
    double probability; /* with which a sample gets it; 0: always, of flips: one half */
    double low, high;
    double scale[2], ratio[2]; /* from, to */
    double degrees, translate[2], shear[2];
    double mean[3], std[3];
} tn_transform;

/* To .height × .width, or (.shorter) so that the shorter side has that many pixels; .filter. */
#define TN_RESIZE(...)                                                                             \
    { .kind = TN_TRANSFORM_RESIZE, __VA_ARGS__ }
/* The middle .height × .width. */
#define TN_CENTER_CROP(...)                                                                        \
    { .kind = TN_TRANSFORM_CENTER_CROP, __VA_ARGS__ }
/* .height × .width from anywhere, after .padding black pixels on all four sides. */
#define TN_RANDOM_CROP(...)                                                                        \
    { .kind = TN_TRANSFORM_RANDOM_CROP, __VA_ARGS__ }
/* A part with .scale (default 0.08 to 1) of the area and .ratio (default 3/4 to 4/3) of width to height,
 * resized to .height × .width; .filter. */
#define TN_RANDOM_RESIZED_CROP(...)                                                                \
    { .kind = TN_TRANSFORM_RANDOM_RESIZED_CROP, __VA_ARGS__ }
#define TN_FLIP_HORIZONTAL(...)                                                                    \
    { .kind = TN_TRANSFORM_FLIP_HORIZONTAL, __VA_ARGS__ }
#define TN_FLIP_VERTICAL(...)                                                                      \
    { .kind = TN_TRANSFORM_FLIP_VERTICAL, __VA_ARGS__ }
/* A factor in .low to .high times the image; the same, blended with (1 - factor) of its mean gray; of its
 * gray picture. */
#define TN_BRIGHTNESS(...)                                                                         \
    { .kind = TN_TRANSFORM_BRIGHTNESS, __VA_ARGS__ }
#define TN_CONTRAST(...)                                                                           \
    { .kind = TN_TRANSFORM_CONTRAST, __VA_ARGS__ }
#define TN_SATURATION(...)                                                                         \
    { .kind = TN_TRANSFORM_SATURATION, __VA_ARGS__ }
/* Adds Gaussian noise with a standard deviation in .low to .high. */
#define TN_NOISE(...)                                                                              \
    { .kind = TN_TRANSFORM_NOISE, __VA_ARGS__ }
/* An affine map about the centre: rotation by up to ±.degrees, shift by up to ±.translate[0] of the
 * width and ±[1] of the height (whole pixels), a .scale (default 1 to 1), shear by up to ±.shear degrees
 * along x and y; .filter. */
#define TN_WARP(...)                                                                               \
    { .kind = TN_TRANSFORM_WARP, __VA_ARGS__ }
/* Luminance 0.2989 R + 0.587 G + 0.114 B in all channels. */
#define TN_GRAYSCALE(...)                                                                          \
    { .kind = TN_TRANSFORM_GRAYSCALE, __VA_ARGS__ }
/* (x - .mean[c]) / .std[c] */
#define TN_NORMALIZE(...)                                                                          \
    { .kind = TN_TRANSFORM_NORMALIZE, __VA_ARGS__ }

/* ---- datasets ------------------------------------------------------------------------------- */

typedef struct tn_image_options {
    size_t size;                    /* sizeof(tn_image_options) */
    const tn_transform *transforms; /* copied */
    int transform_count;
    int channels;         /* 3 or 1 (luminance) */
    tn_dtype dtype;       /* of the images: TN_f32 or TN_bf16 */
    tn_dtype label_dtype; /* TN_i32 or TN_i64 */
    int64_t max_pixels;   /* a larger image counts as corrupt; 0: 2^26 */
    const tn_dataset
        *classes; /* number the classes as in this image folder (NULL: by their names) */
} tn_image_options;
#define TN_IMAGE_OPTIONS_INIT                                                                      \
    { .size = sizeof(tn_image_options), .channels = 3, .dtype = TN_f32, .label_dtype = TN_i32 }

/* DIR/<class>/<file>.{jpg,jpeg,png} in upper or lower case: classes and files in the order of their
 * bytes, labels are the numbers of the classes. A sample is the image [C,H,W] and its label []. Where
 * the transforms leave the size open, all images must have that of the first one. JPEG: gray, YCbCr,
 * RGB, CMYK and YCCK; PNG: all types, in 8 bits, alpha over black. The orientation in EXIF and colour
 * profiles are ignored. A random part of a JPEG or a much smaller copy is decoded alone, so such
 * pixels may differ a little from those of the whole image. */
TN_API tn_status tn_dataset_images(const char *folder, const tn_image_options *options,
                                   tn_dataset **out, tn_error *err) TN_MUST_USE;

typedef struct tn_token_options {
    size_t size;        /* sizeof(tn_token_options) */
    tn_dtype dtype;     /* of the file: TN_u8, TN_u16, TN_u32 or TN_i32, little-endian */
    int64_t window;     /* T */
    bool random;        /* windows begin anywhere; else at multiples of T */
    int64_t limit;      /* a token that is not below it is an error (0: 2^31) */
    int64_t skip_bytes; /* a header at the beginning of each file */
} tn_token_options;
#define TN_TOKEN_OPTIONS_INIT                                                                      \
    { .size = sizeof(tn_token_options), .dtype = TN_u8 }

/* A file of tokens, or a folder of such files (all in it, in the order of their names; those that begin
 * with a dot are ignored). A sample is a window of T tokens, i32 [T], and the T tokens that follow each
 * of them, i32 [T]; no window crosses from one file into another. A file that cannot be
 * read any more, or has become shorter, is an error of the loader. An epoch has as many samples as there are windows at multiples of T. */
TN_API tn_status tn_dataset_tokens(const char *path, const tn_token_options *options,
                                   tn_dataset **out, tn_error *err) TN_MUST_USE;
/* The same from memory, which is borrowed until the release: `count` tokens of options->dtype. */
TN_API tn_status tn_dataset_token_array(const void *tokens, int64_t count,
                                        const tn_token_options *options, tn_dataset **out,
                                        tn_error *err) TN_MUST_USE;
/* Arrays with a common first axis, borrowed until the release: sample i is the i-th row of each. */
TN_API tn_status tn_dataset_arrays(const tn_buffer *arrays, int count, tn_dataset **out,
                                   tn_error *err) TN_MUST_USE;
/* Loaders that still use the dataset keep it alive. NULL: nothing. */
TN_API void tn_dataset_release(tn_dataset *dataset);

TN_API int64_t tn_dataset_count(const tn_dataset *dataset); /* samples */
/* Of an image folder; 0 of others. */
TN_API int tn_dataset_class_count(const tn_dataset *dataset);
/* The name of a class, borrowed; NULL when there is none. */
TN_API const char *tn_dataset_class(const tn_dataset *dataset, int label);
/* The file of a sample and its label, for messages and reports: false when it has none. `out` is
 * terminated; `label` may be NULL. */
TN_API bool tn_dataset_file(const tn_dataset *dataset, int64_t sample, char *out, size_t size,
                            int *label);

/* ---- loader --------------------------------------------------------------------------------- */

typedef struct tn_loader_options {
    size_t size;    /* sizeof(tn_loader_options) */
    int64_t batch;  /* samples of a batch (of this rank) */
    uint64_t seed;  /* of the order and the transforms */
    bool shuffle;   /* a new order in every epoch */
    bool drop_last; /* leave out an epoch's last samples that do not fill a batch */
    bool strict;    /* a corrupt image is an error, not skipped */
    int workers;    /* threads; 0: half of the cores, at least one */
    int prefetch;   /* batches that are made ahead; 0: 2. Memory: prefetch + 1 batches */
    int rank,
        ranks; /* batch k of rank r is slice r of the k-th ranks · batch samples; 0, 0: alone */
    int64_t epochs;         /* after which there are no more batches; 0: endless */
    const int64_t *samples; /* use these samples of the dataset only, such as a range (copied) */
    int64_t sample_count;
} tn_loader_options;
#define TN_LOADER_OPTIONS_INIT                                                                     \
    { .size = sizeof(tn_loader_options), .batch = 1 }

/* With several ranks and without drop_last, the ranks get equally many of an epoch's last samples;
 * what is missing for that is taken from its beginning. */
TN_API tn_status tn_loader_create(tn_dataset *dataset, const tn_loader_options *options,
                                  tn_loader **out, tn_error *err) TN_MUST_USE;
/* Stops the workers, whatever they are doing. NULL: nothing. */
TN_API void tn_loader_release(tn_loader *loader);

typedef struct tn_data_batch {
    const tn_buffer *buffers; /* borrowed until the next call of next, seek, restore or release */
    int count;                /* of buffers; 0: no more batches */
    int64_t samples;          /* the first axis of the buffers */
    int64_t epoch, index;     /* index of the batch in its epoch */
    bool last;                /* of its epoch */
    double wait_seconds;      /* how long this call waited for the workers */
} tn_data_batch;

/* The next batch. A loader serves one thread at a time. A corrupt image is replaced by the next sound
 * one of the dataset, named in a warning and counted; 64 in a row are an error. Errors of workers are
 * returned where the batch would have come, and again until tn_loader_seek. */
TN_API tn_status tn_loader_next(tn_loader *loader, tn_data_batch *out, tn_error *err) TN_MUST_USE;
/* Batches of an epoch. */
TN_API int64_t tn_loader_batches(const tn_loader *loader);
/* Makes `batch` of `epoch` the next one; what was made ahead is dropped. */
TN_API tn_status tn_loader_seek(tn_loader *loader, int64_t epoch, int64_t batch,
                                tn_error *err) TN_MUST_USE;

/* The position: seed, epoch and batch that come next, and of what. Independent of machine, workers and
 * queue; the same ranks · batch may be divided among other ranks when it is restored. */
enum { TN_LOADER_STATE_BYTES = 64 };
TN_API void tn_loader_save(const tn_loader *loader, uint8_t out[TN_LOADER_STATE_BYTES]);
/* Refuses a state of other data or options, and leaves the loader as it was then. */
TN_API tn_status tn_loader_restore(tn_loader *loader, const void *state, size_t size,
                                   tn_error *err) TN_MUST_USE;

typedef struct tn_loader_stats {
    uint64_t batches, samples; /* handed out */
    uint64_t skipped;          /* different corrupt images met so far */
    double wait_seconds;       /* that next waited */
    double work_seconds;       /* of all workers together */
    uint64_t bytes_read;       /* of image files */
} tn_loader_stats;
TN_API void tn_loader_statistics(tn_loader *loader, tn_loader_stats *out);
/* The i-th corrupt image: "file: what is wrong", borrowed until the release; NULL when i is too large.
 * The first 256 are kept. */
TN_API const char *tn_loader_skipped(const tn_loader *loader, int i);

/* ---- single images -------------------------------------------------------------------------- */

/* Reads a JPEG or PNG file as u8 [height, width, channels]; channels is 3 or 1. */
TN_API tn_status tn_image_read(const char *path, int channels, tn_buffer *out,
                               tn_error *err) TN_MUST_USE;
/* Releases what tn_image_read gave. */
TN_API void tn_image_release(tn_buffer *image);
/* Writes u8 [height, width, 1 or 3] as .png, .jpg or .jpeg by the name; quality 1 to 100 of JPEG
 * (0: 90). The file appears whole. */
TN_API tn_status tn_image_write(const char *path, const tn_buffer *image, int quality,
                                tn_error *err) TN_MUST_USE;

#ifdef __cplusplus
}
#endif
#endif

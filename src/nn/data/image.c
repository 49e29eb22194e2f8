/* Image files by their first bytes; tn_image_read and tn_image_write. See image.h. */
#include "nn/data/image.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include <png.h>

#include <jpeglib.h>

#include "base/io.h"

#define MOST_FILE_BYTES ((int64_t)1 << 30)

tn_status tn__check_pixels(int64_t width, int64_t height, int64_t max_pixels, tn_error *err) {
    if (width > 0 && height > 0 && width <= INT32_MAX / 8 && height <= INT32_MAX / 8 &&
        width * height <= max_pixels)
        return TN_OK;
    return tn_error_set(err, TN_INVALID, "%" PRId64 " x %" PRId64 " pixels; the limit is %" PRId64,
                        width, height, max_pixels);
}

static bool is_jpeg(const tn__encoded *f) {
    return f->size >= 3 && memcmp(f->bytes, "\xff\xd8\xff", 3) == 0;
}
static bool is_png(const tn__encoded *f) {
    return f->size >= 8 && memcmp(f->bytes, "\x89PNG\r\n\x1a\n", 8) == 0;
}

static tn_status refuse(const tn__encoded *f, tn_error *err) {
    return tn_error_set(err, TN_INVALID, "%s", f->size ? "neither JPEG nor PNG" : "an empty file");
}

tn_status tn__image_size(const tn__encoded *f, int *width, int *height, tn_error *err) {
    if (is_jpeg(f)) return tn__jpeg_size(f, width, height, err);
    return is_png(f) ? tn__png_size(f, width, height, err) : refuse(f, err);
}

tn_status tn__image_decode(const tn__encoded *f, tn__region want, int reduce, int channels,
                           tn__worker *w, tn__pixels *out, tn_error *err) {
    if (is_jpeg(f)) return tn__jpeg_decode(f, want, reduce, channels, w, out, err);
    return is_png(f) ? tn__png_decode(f, want, channels, w, out, err) : refuse(f, err);
}

/* ---- files ---------------------------------------------------------------------------------- */

static tn_status read_whole(int fd, tn__worker *w, tn__encoded *out, tn_error *err) {
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        return tn_error_set(err, TN_IO, "not a regular file");
    if (st.st_size > MOST_FILE_BYTES)
        return tn_error_set(err, TN_INVALID, "%" PRId64 " bytes are too many for an image",
                            (int64_t)st.st_size);
    size_t size = (size_t)st.st_size, got = 0;
    uint8_t *bytes = tn__scratch(w, TN__SCRATCH_FILE, size);
    if (!bytes) return tn_error_set(err, TN_OUT_OF_MEMORY, "no memory for %zu bytes", size);
    while (got < size) {
        ssize_t n = read(fd, bytes + got, size - got);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return tn_error_set(err, TN_IO, "%s", strerror(errno));
        if (n == 0) break;
        got += (size_t)n;
    }
    w->bytes_read += got;
    out->bytes = bytes;
    out->size = got;
    return TN_OK;
}

tn_status tn__read_image_file(const char *path, tn__worker *w, tn__encoded *out, tn_error *err) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return tn_error_set(err, errno == ENOENT ? TN_NOT_FOUND : TN_IO, "%s", strerror(errno));
    tn_status status = read_whole(fd, w, out, err);
    close(fd);
    return status;
}

static tn_status read_image(const char *path, int channels, tn__worker *w, tn__pixels *out,
                            tn_error *err) {
    tn__encoded file = {.max_pixels = (int64_t)1 << 26};
    tn__region all = {0};
    TN_CHECK(tn__read_image_file(path, w, &file, err));
    TN_CHECK(tn__image_size(&file, &all.width, &all.height, err));
    return tn__image_decode(&file, all, 1, channels, w, out, err);
}

tn_status tn_image_read(const char *path, int channels, tn_buffer *out, tn_error *err) {
    tn__worker w = {0};
    tn__pixels p = {0};
    *out = (tn_buffer){0};
    if (channels != 1 && channels != 3)
        return tn_error_set(err, TN_INVALID, "%d channels; expected 1 or 3", channels);
    tn_status status = read_image(path, channels, &w, &p, err);
    if (status == TN_OK) {
        *out = (tn_buffer){TN_u8, 3, {p.region.height, p.region.width, channels}, p.data, 0};
        out->size = (size_t)p.region.height * (size_t)p.region.width * (size_t)channels;
        w.scratch[TN__SCRATCH_PIXELS].data = NULL; /* moved */
    } else {
        tn_error_push(err, "%s", path);
    }
    tn__worker_deinit(&w);
    return status;
}

void tn_image_release(tn_buffer *image) {
    free(image->data);
    *image = (tn_buffer){0};
}

/* ---- writing -------------------------------------------------------------------------------- */

static bool ends_in(const char *path, const char *end) {
    size_t n = strlen(path), m = strlen(end);
    return n >= m && strcasecmp(path + n - m, end) == 0;
}

/* The library's own handler of errors ends the process; compressing to memory fails only without
 * memory, which its caller sees as an empty result. */
typedef struct writer {
    struct jpeg_compress_struct info;
    struct jpeg_error_mgr errors;
    jmp_buf escape;
    unsigned char *bytes;
    unsigned long size;
} writer;

static void leave(j_common_ptr info) {
    longjmp(((writer *)info->client_data)->escape, 1);
}

static void compress_rows(writer *c, const tn_buffer *image, int quality) {
    size_t stride = (size_t)image->dim[1] * (size_t)image->dim[2];
    c->info.image_width = (JDIMENSION)image->dim[1];
    c->info.image_height = (JDIMENSION)image->dim[0];
    c->info.input_components = (int)image->dim[2];
    c->info.in_color_space = image->dim[2] == 3 ? JCS_RGB : JCS_GRAYSCALE;
    jpeg_set_defaults(&c->info);
    jpeg_set_quality(&c->info, quality, TRUE);
    jpeg_start_compress(&c->info, TRUE);
    for (size_t y = 0; y < (size_t)image->dim[0]; y++) {
        JSAMPROW row = (JSAMPROW)image->data + y * stride;
        (void)jpeg_write_scanlines(&c->info, &row, 1);
    }
    jpeg_finish_compress(&c->info);
}

static bool compress_jpeg(writer *c, const tn_buffer *image, int quality) {
    volatile bool ok = false;
    c->info.err = jpeg_std_error(&c->errors);
    c->errors.error_exit = leave;
    c->info.client_data = c;
    if (setjmp(c->escape) == 0) {
        jpeg_create_compress(&c->info);
        c->info.client_data = c;
        jpeg_mem_dest(&c->info, &c->bytes, &c->size);
        compress_rows(c, image, quality);
        ok = true;
    }
    jpeg_destroy_compress(&c->info);
    return ok;
}

static tn_status write_jpeg(const char *path, const tn_buffer *image, int quality, tn_error *err) {
    writer c = {0};
    tn_status status = compress_jpeg(&c, image, quality)
                           ? tn_file_write(path, c.bytes, c.size, false, err)
                           : tn_error_set(err, TN_INVALID, "%s: cannot be made a JPEG", path);
    free(c.bytes);
    return status;
}

static tn_status write_png(const char *path, const tn_buffer *image, tn_error *err) {
    png_image about = {.version = PNG_IMAGE_VERSION,
                       .width = (png_uint_32)image->dim[1],
                       .height = (png_uint_32)image->dim[0],
                       .format = image->dim[2] == 3 ? PNG_FORMAT_RGB : PNG_FORMAT_GRAY};
    png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(about);
    void *bytes = malloc(size);
    tn_status status;
    if (!bytes)
        status = tn_error_set(err, TN_OUT_OF_MEMORY, "%s: no memory for a PNG", path);
    else if (!png_image_write_to_memory(&about, bytes, &size, 0, image->data, 0, NULL))
        status = tn_error_set(err, TN_INVALID, "%s: PNG: %s", path, about.message);
    else
        status = tn_file_write(path, bytes, size, false, err);
    free(bytes);
    return status;
}

tn_status tn_image_write(const char *path, const tn_buffer *image, int quality, tn_error *err) {
    bool jpeg = ends_in(path, ".jpg") || ends_in(path, ".jpeg");
    if (image->dtype != TN_u8 || image->rank != 3 || (image->dim[2] != 1 && image->dim[2] != 3) ||
        image->dim[0] < 1 || image->dim[1] < 1 || image->dim[0] > 65500 || image->dim[1] > 65500)
        return tn_error_set(err, TN_INVALID,
                            "%s: an image is u8 [height, width, 1 or 3], up to 65500 wide and high",
                            path);
    if (!jpeg && !ends_in(path, ".png"))
        return tn_error_set(err, TN_INVALID, "%s: the name ends in neither .jpg, .jpeg nor .png",
                            path);
    if (quality < 0 || quality > 100)
        return tn_error_set(err, TN_INVALID, "%s: quality %d; expected 1 to 100", path, quality);
    return jpeg ? write_jpeg(path, image, quality ? quality : 90, err)
                : write_png(path, image, err);
}

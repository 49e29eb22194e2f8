/* JPEG by libjpeg-turbo: parts of images, reduced by powers of two in the inverse transform.
 *
 * The library reports by calls that must not return; they jump back into run(), which owns nothing
 * that a jump could lose. A file that ends early or whose entropy-coded data are damaged is an error; other
 * warnings (extra bytes, odd markers) are not. */
#include <setjmp.h>
#include <stdio.h>

#include <jpeglib.h>

#include <jerror.h>

#include "nn/data/image.h"

enum { MOST_SCANS = 500, EDGE = 2 };

typedef struct decoder {
    struct jpeg_decompress_struct info;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf escape;
    char message[JMSG_LENGTH_MAX];
    const tn__encoded *file;
    tn__region want;
    int reduce, channels;
    tn__worker *worker;
    tn__pixels *out;
    tn_status status;
    tn_error *err;
} decoder;

/* ---- errors --------------------------------------------------------------------------------- */

static void leave(j_common_ptr info) {
    decoder *d = info->client_data;
    info->err->format_message(info, d->message);
    longjmp(d->escape, 1);
}

static void warn(j_common_ptr info, int level) {
    switch (level < 0 ? info->err->msg_code : 0) {
    case JWRN_JPEG_EOF:
    case JWRN_HIT_MARKER:
    case JWRN_HUFF_BAD_CODE:
    case JWRN_ARITH_BAD_CODE:
    case JWRN_MUST_RESYNC:
        leave(info);
    }
}

static void be_silent(j_common_ptr info) {
    (void)info;
}

/* Each scan of a progressive file goes over the whole image: thousands of them take minutes. */
static void limit_scans(j_common_ptr info) {
    decoder *d = info->client_data;
    if (!info->is_decompressor || d->info.input_scan_number <= MOST_SCANS) return;
    snprintf(d->message, sizeof d->message, "more than %d scans", MOST_SCANS);
    longjmp(d->escape, 1);
}

static void begin(decoder *d) {
    d->info.err = jpeg_std_error(&d->errors);
    d->errors.error_exit = leave;
    d->errors.emit_message = warn;
    d->errors.output_message = be_silent;
    d->progress.progress_monitor = limit_scans;
    d->info.client_data = d;
    jpeg_create_decompress(&d->info);
    d->info.client_data = d;
    d->info.progress = &d->progress;
    jpeg_mem_src(&d->info, d->file->bytes, d->file->size);
    (void)jpeg_read_header(&d->info, TRUE);
    d->status =
        tn__check_pixels(d->info.image_width, d->info.image_height, d->file->max_pixels, d->err);
}

/* Calls `body` between begin() and the end, which is reached in every case. */
static tn_status run(decoder *d, void (*body)(decoder *d)) {
    if (setjmp(d->escape) == 0) {
        begin(d);
        if (d->status == TN_OK) body(d);
    } else {
        bool memory = d->errors.msg_code == JERR_OUT_OF_MEMORY;
        d->status =
            tn_error_set(d->err, memory ? TN_OUT_OF_MEMORY : TN_INVALID, "JPEG: %s", d->message);
    }
    jpeg_destroy_decompress(&d->info);
    return d->status;
}

/* ---- colours -------------------------------------------------------------------------------- */

/* Adobe's programs store inverted CMYK; others hardly exist. */
static void row_from_cmyk(const decoder *d, const uint8_t *in, uint8_t *out, int count) {
    unsigned invert = d->info.saw_Adobe_marker ? 0 : 255;
    for (int i = 0; i < count; i++, in += 4) {
        unsigned k = in[3] ^ invert, rgb[3];
        for (int c = 0; c < 3; c++) rgb[c] = ((in[c] ^ invert) * k + 127) / 255;
        if (d->channels == 1)
            out[i] = tn__luminance(rgb[0], rgb[1], rgb[2]);
        else
            for (int c = 0; c < 3; c++) out[3 * i + c] = (uint8_t)rgb[c];
    }
}

static bool choose_colours(decoder *d) {
    J_COLOR_SPACE stored = d->info.jpeg_color_space;
    switch (stored) {
    case JCS_CMYK:
    case JCS_YCCK:
        d->info.out_color_space = JCS_CMYK;
        return true;
    case JCS_GRAYSCALE:
    case JCS_YCbCr:
    case JCS_RGB:
        d->info.out_color_space = d->channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
        return true;
    default:
        d->status = tn_error_set(d->err, TN_UNSUPPORTED, "JPEG: %d components of unknown colours",
                                 d->info.num_components);
        return false;
    }
}

/* ---- decoding ------------------------------------------------------------------------------- */

/* The wanted columns, begun at the block that holds the first; some more at both ends, because
 * chroma is interpolated between neighbours. */
static void choose_columns(decoder *d, int first, int end) {
    int width = (int)d->info.output_width;
    JDIMENSION x = (JDIMENSION)TN_MAX(first - EDGE, 0);
    JDIMENSION count = (JDIMENSION)TN_MIN(end + EDGE, width) - x;
    if (count < d->info.output_width) jpeg_crop_scanline(&d->info, &x, &count);
    d->out->region.x = count < (JDIMENSION)width ? (int)x : 0;
    d->out->region.width = (int)d->info.output_width;
}

static uint8_t *memory(decoder *d, tn__scratch_use use, int rows, int per_pixel) {
    size_t size = (size_t)rows * (size_t)d->out->region.width * (size_t)per_pixel;
    uint8_t *data = tn__scratch(d->worker, use, size);
    if (!data) d->status = tn_error_set(d->err, TN_OUT_OF_MEMORY, "no memory for %zu bytes", size);
    return data;
}

static void read_rows(decoder *d, uint8_t *row) {
    tn__region *r = &d->out->region;
    size_t stride = (size_t)r->width * (size_t)d->channels;
    for (int y = 0; y < r->height; y++) {
        JSAMPROW to = row ? row : d->out->data + (size_t)y * stride;
        if (jpeg_read_scanlines(&d->info, &to, 1) != 1) ERREXIT(&d->info, JERR_CANT_SUSPEND);
        if (row) row_from_cmyk(d, row, d->out->data + (size_t)y * stride, r->width);
    }
}

static void decode(decoder *d) {
    tn__region want = d->want, *r = &d->out->region;
    int reduce = d->reduce;
    uint8_t *row = NULL;
    if (!choose_colours(d)) return;
    d->info.scale_num = 1;
    d->info.scale_denom = (unsigned)reduce;
    (void)jpeg_start_decompress(&d->info);
    choose_columns(d, want.x / reduce, (want.x + want.width + reduce - 1) / reduce);
    int end = TN_MIN((want.y + want.height + reduce - 1) / reduce, (int)d->info.output_height);
    r->y = TN_MIN(want.y / reduce, end - 1);
    r->height = end - r->y;
    d->out->channels = d->channels;
    d->out->reduce = reduce;
    d->out->data = memory(d, TN__SCRATCH_PIXELS, r->height, d->channels);
    if (d->info.out_color_space == JCS_CMYK) row = memory(d, TN__SCRATCH_DECODE, 1, 4);
    if (d->status != TN_OK) return;
    if (r->y) (void)jpeg_skip_scanlines(&d->info, (JDIMENSION)r->y);
    read_rows(d, row);
}

tn_status tn__jpeg_decode(const tn__encoded *file, tn__region want, int reduce, int channels,
                          tn__worker *w, tn__pixels *out, tn_error *err) {
    decoder d = {.file = file,
                 .want = want,
                 .reduce = reduce,
                 .channels = channels,
                 .worker = w,
                 .out = out,
                 .err = err};
    return run(&d, decode);
}

static void nothing(decoder *d) {
    (void)d;
}

tn_status tn__jpeg_size(const tn__encoded *file, int *width, int *height, tn_error *err) {
    decoder d = {.file = file, .err = err};
    TN_CHECK(run(&d, nothing));
    *width = (int)d.info.image_width;
    *height = (int)d.info.image_height;
    return TN_OK;
}

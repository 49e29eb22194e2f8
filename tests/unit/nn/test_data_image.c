/* Decoding, resampling and transforms of images, beside libjpeg's own result, PyTorch and torchvision
 * (tools/data_golden.py). */
#include <math.h>

#include "unit/nn/data_golden.h"
#include "unit/nn/data_lab.h"

/* ---- decoding ------------------------------------------------------------------------------- */

static tn_status decode(const void *bytes, size_t size, tn__region want, int reduce, int channels,
                        tn__worker *w, tn__pixels *out, tn_error *err) {
    tn__encoded file = {bytes, size, 1 << 20};
    int width, height;
    TN_CHECK(tn__image_size(&file, &width, &height, err));
    if (!want.width) want = (tn__region){0, 0, width, height};
    return tn__image_decode(&file, want, reduce, channels, w, out, err);
}

static void decode_ok(const void *bytes, size_t size, tn__region want, int reduce, int channels,
                      tn__worker *w, tn__pixels *out) {
    tn_error err = TN_ERROR_INIT;
    check(decode(bytes, size, want, reduce, channels, w, out, &err), &err);
}

static const tn__region whole;

static void near(const tn__pixels *p, const uint8_t *want, int tolerance) {
    int count = p->region.width * p->region.height * p->channels;
    for (int i = 0; i < count; i++)
        if (abs(p->data[i] - want[i]) > tolerance)
            fail_msg("byte %d is %d, expected %d", i, p->data[i], want[i]);
}

static void test_jpeg__colours(void **state) {
    const int width = 37, height = 29;
    tn__worker w = {0};
    (void)state;
    for (int channels = 1; channels <= 3; channels += 2) {
        for (int progressive = 0; progressive < 2; progressive++) {
            tn__pixels p;
            unsigned char *bytes;
            uint8_t *data = smooth_bytes(width, height, channels, 3);
            size_t size = make_jpeg(data, width, height, channels == 1 ? JCS_GRAYSCALE : JCS_RGB,
                                    true, progressive, &bytes);
            decode_ok(bytes, size, whole, 1, channels, &w, &p);
            assert_int_equal(p.region.width, width);
            assert_int_equal(p.region.height, height);
            near(&p, data, 6);
            decode_ok(bytes, size, whole, 1, 4 - channels, &w, &p); /* gray as RGB, RGB as gray */
            assert_int_equal(p.channels, 4 - channels);
            if (channels == 1)
                for (int i = 0; i < 3 * width * height; i++)
                    assert_true(abs(p.data[i] - data[i / 3]) <= 3);
            free(bytes);
            free(data);
        }
    }
    tn__worker_deinit(&w);
}

/* libjpeg writes an Adobe marker and stores the bytes it is given: those are inverted inks. */
static void test_jpeg__cmyk(void **state) {
    enum { SIDE = 16 };
    uint8_t inks[SIDE * SIDE * 4];
    unsigned char *bytes;
    tn__worker w = {0};
    tn__pixels p;
    (void)state;
    for (int i = 0; i < SIDE * SIDE; i++) memcpy(inks + 4 * i, (uint8_t[]){200, 100, 50, 128}, 4);
    size_t size = make_jpeg(inks, SIDE, SIDE, JCS_CMYK, false, false, &bytes);
    decode_ok(bytes, size, whole, 1, 3, &w, &p);
    for (int i = 0; i < SIDE * SIDE; i++) {
        assert_true(abs(p.data[3 * i] - 100) <= 3);
        assert_true(abs(p.data[3 * i + 1] - 50) <= 3);
        assert_true(abs(p.data[3 * i + 2] - 25) <= 3);
    }
    decode_ok(bytes, size, whole, 1, 1, &w, &p);
    assert_true(abs(p.data[0] - (299 * 100 + 587 * 50 + 114 * 25) / 1000) <= 3);
    free(bytes);
    tn__worker_deinit(&w);
}

/* A part is the whole image's, but for chroma at its edges. */
static void test_jpeg__parts(void **state) {
    const int width = 131, height = 97;
    uint8_t *data = smooth_bytes(width, height, 3, 11);
    tn__worker all = {0}, part = {0};
    uint64_t seed = 5;
    (void)state;
    for (int kind = 0; kind < 4; kind++) {
        unsigned char *bytes;
        size_t size = make_jpeg(data, width, height, JCS_RGB, kind & 1, kind & 2, &bytes);
        tn__pixels a, b;
        decode_ok(bytes, size, whole, 1, 3, &all, &a);
        for (int trial = 0; trial < 20; trial++) {
            tn__region want = {.x = (int)(test_random(&seed) % 100),
                               .y = (int)(test_random(&seed) % 80)};
            want.width = 1 + (int)(test_random(&seed) % (uint64_t)(width - want.x));
            want.height = 1 + (int)(test_random(&seed) % (uint64_t)(height - want.y));
            decode_ok(bytes, size, want, 1, 3, &part, &b);
            assert_true(b.region.x <= want.x && b.region.y == want.y);
            assert_true(b.region.x + b.region.width >= want.x + want.width);
            for (int y = 0; y < want.height; y++)
                for (int x = 0; x < 3 * want.width; x++) {
                    int at = y * b.region.width * 3 + 3 * (want.x - b.region.x) + x;
                    int from = (y + want.y) * width * 3 + 3 * want.x + x;
                    if (abs(b.data[at] - a.data[from]) > 1)
                        fail_msg("kind %d, %d,%d of %d x %d: %d, not %d", kind, x, y, want.width,
                                 want.height, b.data[at], a.data[from]);
                }
        }
        free(bytes);
    }
    free(data);
    tn__worker_deinit(&all);
    tn__worker_deinit(&part);
}

static void test_jpeg__reduced(void **state) {
    const int width = 131, height = 97;
    uint8_t *data = smooth_bytes(width, height, 3, 0);
    unsigned char *bytes;
    size_t size = make_jpeg(data, width, height, JCS_RGB, true, false, &bytes);
    tn__worker w = {0};
    (void)state;
    for (int reduce = 2; reduce <= 8; reduce *= 2) {
        tn__pixels p;
        decode_ok(bytes, size, (tn__region){40, 16, 64, 64}, reduce, 3, &w, &p);
        assert_int_equal(p.reduce, reduce);
        int x = (40 + 32) / reduce, y = (16 + 32) / reduce; /* near the middle of the part */
        const uint8_t *got = p.data + 3 * ((y - p.region.y) * p.region.width + x - p.region.x);
        const uint8_t *want =
            data + 3 * ((y * reduce + reduce / 2) * width + x * reduce + reduce / 2);
        for (int c = 0; c < 3; c++) assert_true(abs(got[c] - want[c]) <= 4);
    }
    free(bytes);
    free(data);
    tn__worker_deinit(&w);
}

static void test_png__types(void **state) {
    static png_memory file;
    const int width = 11, height = 9;
    tn__worker w = {0};
    tn__pixels p;
    (void)state;
    for (int interlaced = 0; interlaced < 2; interlaced++) {
        uint8_t *rgb = picture_bytes(width, height, 3), *gray = picture_bytes(width, height, 1);
        make_png(&file, width, height, 8, PNG_COLOR_TYPE_RGB, interlaced, rgb, 33);
        decode_ok(file.data, file.size, whole, 1, 3, &w, &p);
        near(&p, rgb, 0);
        decode_ok(file.data, file.size, (tn__region){3, 2, 4, 5}, 1, 3, &w, &p);
        assert_int_equal(p.data[0], picture(3, 2, 0));
        assert_int_equal(p.data[3 * 19 + 2], picture(6, 6, 2));
        make_png(&file, width, height, 8, PNG_COLOR_TYPE_GRAY, interlaced, gray, 11);
        decode_ok(file.data, file.size, whole, 1, 1, &w, &p);
        near(&p, gray, 0);

        uint8_t deep[9 * 22], pale[9 * 44], two[9 * 3];
        for (int y = 0; y < height; y++)
            for (int x = 0; x < width; x++) {
                deep[22 * y + 2 * x] = deep[22 * y + 2 * x + 1] = picture(x, y, 0); /* v · 257 */
                for (int c = 0; c < 3; c++) pale[44 * y + 4 * x + c] = picture(x, y, c);
                pale[44 * y + 4 * x + 3] = (uint8_t)(y * 25);
            }
        make_png(&file, width, height, 16, PNG_COLOR_TYPE_GRAY, interlaced, deep, 22);
        decode_ok(file.data, file.size, whole, 1, 1, &w, &p);
        near(&p, gray, 0);
        make_png(&file, width, height, 8, PNG_COLOR_TYPE_RGB_ALPHA, interlaced, pale, 44);
        decode_ok(file.data, file.size, whole, 1, 3, &w, &p);
        for (int i = 0; i < 3 * width * height; i++)
            assert_int_equal(p.data[i], (rgb[i] * (i / 33 * 25) + 127) / 255);
        memset(two, 0x1B, sizeof two); /* colours 0 1 2 3 */
        make_png(&file, width, height, 2, PNG_COLOR_TYPE_PALETTE, interlaced, two, 3);
        decode_ok(file.data, file.size, whole, 1, 3, &w, &p);
        assert_memory_equal(p.data, ((uint8_t[]){255, 0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0}), 12);
        free(rgb);
        free(gray);
    }
    tn__worker_deinit(&w);
}

/* ---- hostile files -------------------------------------------------------------------------- */

static void refused(const void *bytes, size_t size, const char *part) {
    tn__worker w = {0};
    tn__pixels p;
    tn_error err = TN_ERROR_INIT;
    assert_int_not_equal(decode(bytes, size, whole, 1, 3, &w, &p, &err), TN_OK);
    if (!strstr(err.message, part)) fail_msg("says: %s; expected: %s", err.message, part);
    tn__worker_deinit(&w);
}

static void test_hostile__jpeg(void **state) {
    uint8_t *data = smooth_bytes(64, 48, 3, 0);
    unsigned char *bytes;
    size_t size = make_jpeg(data, 64, 48, JCS_RGB, true, false, &bytes);
    tn__worker w = {0};
    (void)state;
    refused("", 0, "an empty file");
    refused("GIF89a", 6, "neither JPEG nor PNG");
    refused("\xff\xd8\xff", 3, "JPEG:");
    for (size_t n = 3; n < size - 2; n += 7) refused(bytes, n, "JPEG:");
    for (size_t i = 3; i < size; i++) { /* a damaged byte is an error or another image */
        tn__pixels p;
        unsigned char kept = bytes[i];
        bytes[i] ^= 0x41;
        (void)!decode(bytes, size, whole, 1 + (int)(i % 2), 1 + 2 * (int)(i % 2), &w, &p, NULL);
        bytes[i] = kept;
    }
    for (size_t i = 0; i + 4 < size; i++) /* the header says 65000 × 65000 */
        if (bytes[i] == 0xff && bytes[i + 1] == 0xc0) memcpy(bytes + i + 5, "\xfd\xe8\xfd\xe8", 4);
    refused(bytes, size, "65000 x 65000 pixels; the limit is 1048576");
    free(bytes);
    free(data);
    tn__worker_deinit(&w);
}

static void test_hostile__png(void **state) {
    static png_memory file;
    uint8_t *rgb = picture_bytes(20, 20, 3);
    tn__worker w = {0};
    (void)state;
    make_png(&file, 20, 20, 8, PNG_COLOR_TYPE_RGB, false, rgb, 60);
    for (size_t n = 8; n < file.size - 12; n += 5)
        refused(file.data, n, "PNG: the file ends early");
    for (size_t i = 8; i < file.size; i++) {
        tn__pixels p;
        file.data[i] ^= 0x24;
        (void)!decode(file.data, file.size, whole, 1, 3, &w, &p, NULL);
        file.data[i] ^= 0x24;
    }
    file.data[file.size - 12 - 1] ^= 1; /* the checksum of the pixels */
    refused(file.data, file.size, "CRC error");
    file.data[file.size - 12 - 1] ^= 1;
    file.data[16] = 0x70; /* the width, whose checksum is wrong then, too */
    refused(file.data, file.size, "PNG:");
    make_png(&file, 20000, 1, 8, PNG_COLOR_TYPE_GRAY, false, (uint8_t[20000]){0}, 20000);
    tn__encoded small = {file.data, file.size, 1000};
    tn_error err = TN_ERROR_INIT;
    int width, height;
    assert_int_equal(tn__image_size(&small, &width, &height, &err), TN_INVALID);
    assert_non_null(strstr(err.message, "20000 x 1 pixels; the limit is 1000"));
    free(rgb);
    tn__worker_deinit(&w);
}

/* ---- resampling ----------------------------------------------------------------------------- */

static void near_golden(const float *got, const float *want, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (!(fabsf(got[i] - want[i]) <= 2e-6f))
            fail_msg("element %zu is %.8g, expected %.8g", i, (double)got[i], (double)want[i]);
}

static void check_resize(int width, int height, tn__resize r, const float *want, size_t count) {
    tn__worker w = {0};
    tn_error err = TN_ERROR_INIT;
    uint8_t *bytes = picture_bytes(width, height, 3);
    tn__pixels p = {bytes, 3, 1, {0, 0, width, height}};
    float *planes = malloc((size_t)(3 * width * height) * sizeof *planes), got[1024], part[1024];
    tn__image floats = {3, height, width, planes}, out = {.data = got}, cut = {.data = part};
    check(tn__resize_pixels(&p, &r, &w, &out, &err), &err);
    assert_int_equal(out.width * out.height * 3, count);
    near_golden(got, want, count);
    for (int i = 0; i < 3 * width * height; i++)
        planes[i] = (float)picture(i % width, i / width % height, i / width / height) / 255;
    check(tn__resize_image(&floats, &r, &w, &out, &err), &err);
    near_golden(got, want, count);

    tn__resize some = r; /* a part of the result is the same part */
    some.part = (tn__region){1, 2, r.out_width - 2, r.out_height - 2};
    check(tn__resize_pixels(&p, &some, &w, &cut, &err), &err);
    for (int c = 0; c < 3; c++)
        for (int y = 0; y < cut.height; y++)
            near_golden(part + (c * cut.height + y) * cut.width,
                        want + (c * r.out_height + y + 2) * r.out_width + 1, (size_t)cut.width);
    free(planes);
    free(bytes);
    tn__worker_deinit(&w);
}

static void test_resize__as_pytorch(void **state) {
    tn__resize shrink = {0, 0, 40, 30, 7, 5, {0, 0, 7, 5}, TN_BILINEAR};
    tn__resize grow = {0, 0, 9, 6, 12, 11, {0, 0, 12, 11}, TN_BILINEAR};
    tn__resize crop = {5, 3, 21, 17, 6, 6, {0, 0, 6, 6}, TN_BICUBIC};
    (void)state;
    check_resize(40, 30, shrink, golden_shrunk_bilinear, TN_COUNT(golden_shrunk_bilinear));
    check_resize(9, 6, grow, golden_grown_bilinear, TN_COUNT(golden_grown_bilinear));
    shrink.filter = grow.filter = TN_BICUBIC;
    check_resize(40, 30, shrink, golden_shrunk_bicubic, TN_COUNT(golden_shrunk_bicubic));
    check_resize(9, 6, grow, golden_grown_bicubic, TN_COUNT(golden_grown_bicubic));
    check_resize(40, 30, crop, golden_cropped_bicubic, TN_COUNT(golden_cropped_bicubic));
}

static void test_warp__as_pytorch(void **state) {
    enum { W = 10, H = 8, B = TN__WARP_BORDER };
    static float padded[3 * (H + 2 * B) * (W + 2 * B)], got[3 * H * W];
    tn__image in = {3, H + 2 * B, W + 2 * B, padded}, out = {3, H, W, got};
    double m[6];
    (void)state;
    for (int c = 0; c < 3; c++)
        for (int y = 0; y < H; y++)
            for (int x = 0; x < W; x++)
                padded[(c * in.height + y + B) * in.width + x + B] = (float)picture(x, y, c) / 255;
    tn__warp_matrix(23, (double[]){3, -2}, 0.8, (double[]){7, -4}, m);
    for (int i = 0; i < 6; i++) assert_true(fabs(m[i] - golden_warp_matrix[i]) < 1e-12);
    tn__warp(&in, m, TN_BILINEAR, &out);
    near_golden(got, golden_warped_bilinear, TN_COUNT(got));
    tn__warp(&in, m, TN_BICUBIC, &out);
    near_golden(got, golden_warped_bicubic, TN_COUNT(got));
    tn__warp_matrix(0, (double[]){0, 0}, 1, (double[]){0, 0}, m);
    tn__warp(&in, m, TN_BICUBIC, &out);
    for (int i = 0; i < 3 * H * W; i++) /* nothing moves */
        assert_true(got[i] == (float)picture(i % W, i / W % H, i / W / H) / 255);
    tn__warp_matrix(0, (double[]){1e9, 0}, 1, (double[]){0, 0}, m);
    tn__warp(&in, m, TN_BICUBIC, &out);
    for (int i = 0; i < 3 * H * W; i++) assert_true(got[i] == 0);
}

static void test_colours__as_torchvision(void **state) {
    enum { W = 9, H = 6 };
    float data[4][3 * H * W];
    (void)state;
    for (int k = 0; k < 4; k++)
        for (int i = 0; i < 3 * H * W; i++)
            data[k][i] = (float)picture(i % W, i / W % H, i / W / H) / 255;
    tn__brightness(&(tn__image){3, H, W, data[0]}, 1.5f);
    tn__contrast(&(tn__image){3, H, W, data[1]}, 0.4f);
    tn__saturation(&(tn__image){3, H, W, data[2]}, 1.7f);
    tn__grayscale(&(tn__image){3, H, W, data[3]});
    near_golden(data[0], golden_brighter, 3 * H * W);
    near_golden(data[1], golden_contrast, 3 * H * W);
    near_golden(data[2], golden_saturation, 3 * H * W);
    near_golden(data[3], golden_gray, 3 * H * W);
}

/* ---- lists of transforms -------------------------------------------------------------------- */

typedef struct lab {
    tn__worker worker;
    tn__encoded file;
    png_memory png;
} lab;

static lab *open_lab(int width, int height) {
    lab *l = calloc(1, sizeof *l);
    uint8_t *rgb = picture_bytes(width, height, 3);
    make_png(&l->png, width, height, 8, PNG_COLOR_TYPE_RGB, false, rgb, (size_t)width * 3);
    l->file = (tn__encoded){l->png.data, l->png.size, 1 << 20};
    free(rgb);
    return l;
}

static void close_lab(lab *l) {
    tn__worker_deinit(&l->worker);
    free(l);
}

static tn__image transformed(lab *l, const tn_transform *list, int count, int64_t index) {
    tn_error err = TN_ERROR_INIT;
    tn__image out;
    check(tn__transforms_check(list, count, 3, &err), &err);
    check(tn__transformed(&l->file, list, count, 3, &(tn__sample_key){1, 2, index}, &l->worker,
                          &out, &err),
          &err);
    return out;
}

static float at(const tn__image *image, int c, int y, int x) {
    return image
        ->data[((size_t)c * (size_t)image->height + (size_t)y) * (size_t)image->width + (size_t)x];
}

static void test_transforms__geometry(void **state) {
    static const tn_transform none[] = {TN_RESIZE(.shorter = 20)};
    static const tn_transform middle[] = {TN_CENTER_CROP(.height = 4, .width = 7)};
    static const tn_transform outside[] = {TN_CENTER_CROP(.height = 40, .width = 6)};
    static const tn_transform flips[] = {TN_FLIP_HORIZONTAL(.probability = 1),
                                         TN_FLIP_VERTICAL(.probability = 1)};
    lab *l = open_lab(30, 20);
    (void)state;
    tn__image image = transformed(l, NULL, 0, 0);
    assert_true(image.width == 30 && image.height == 20);
    assert_true(fabsf(at(&image, 2, 19, 29) - (float)picture(29, 19, 2) / 255) < 1e-6f);
    image = transformed(l, none, 1, 0);
    assert_true(image.width == 30 && image.height == 20);
    image = transformed(l, middle, 1, 0); /* (30 - 7) / 2 = 11.5 is rounded to even */
    assert_true(image.width == 7 && image.height == 4);
    assert_true(fabsf(at(&image, 1, 0, 0) - (float)picture(12, 8, 1) / 255) < 1e-6f);
    image = transformed(l, outside, 1, 0);
    assert_true(at(&image, 0, 9, 3) == 0 && at(&image, 0, 30, 3) == 0);
    assert_true(fabsf(at(&image, 0, 10, 3) - (float)picture(15, 0, 0) / 255) < 1e-6f);
    image = transformed(l, flips, 2, 0);
    assert_true(fabsf(at(&image, 1, 3, 4) - (float)picture(25, 16, 1) / 255) < 1e-6f);
    close_lab(l);
}

/* A resize and a crop at once are the same as one after the other. */
static void test_transforms__fused_as_separate(void **state) {
    static const tn_transform fused[] = {TN_RESIZE(.shorter = 12, .filter = TN_BICUBIC),
                                         TN_RANDOM_CROP(.height = 9, .width = 8)};
    static const tn_transform apart[] = {TN_RESIZE(.shorter = 12, .filter = TN_BICUBIC),
                                         TN_RANDOM_CROP(.height = 9, .width = 8), TN_GRAYSCALE()};
    float kept[3 * 72];
    lab *l = open_lab(50, 40);
    (void)state;
    for (int64_t index = 0; index < 10; index++) {
        tn_transform slow[] = {
            {.kind = TN_TRANSFORM_BRIGHTNESS, .low = 1, .high = 1}, fused[0], fused[1]};
        tn__image image = transformed(l, fused, 2, index);
        assert_true(image.width == 8 && image.height == 9);
        memcpy(kept, image.data, sizeof kept);
        image = transformed(l, slow, 3, index);
        assert_true(image.width == 8 && image.height == 9);
        image = transformed(l, apart, 3, index);
        for (int i = 0; i < 72; i++) {
            float gray = 0.2989f * kept[i] + 0.587f * kept[72 + i] + 0.114f * kept[144 + i];
            assert_true(fabsf(image.data[i] - gray) < 1e-6f);
        }
    }
    close_lab(l);
}

/* Every crop lies inside and has the area and shape that were asked for; all places occur. */
static void test_transforms__random(void **state) {
    static const tn_transform crop[] = {TN_RANDOM_CROP(.height = 6, .width = 6, .padding = 2)};
    static const tn_transform tall[] = {
        TN_RANDOM_RESIZED_CROP(.height = 5, .width = 5, .scale = {0.2, 0.5}, .ratio = {0.5, 0.5})};
    static const tn_transform noise[] = {TN_NOISE(.low = 0.1, .high = 0.1)};
    static const tn_transform half[] = {TN_FLIP_HORIZONTAL()};
    lab *l = open_lab(6, 6), *big = open_lab(64, 64);
    bool seen[5][5] = {{0}};
    double sum = 0, squares = 0;
    int flipped = 0;
    (void)state;
    for (int64_t index = 0; index < 400; index++) {
        tn__image image = transformed(l, crop, 1, index);
        for (int y = -2; y <= 2; y++)
            for (int x = -2; x <= 2; x++) {
                bool is = true;
                for (int i = 0; i < 36 && is; i++) {
                    int from_x = i % 6 + x, from_y = i / 6 + y;
                    bool in = from_x >= 0 && from_x < 6 && from_y >= 0 && from_y < 6;
                    float want = in ? (float)picture(from_x, from_y, 0) / 255 : 0;
                    is = fabsf(image.data[i] - want) < 1e-6f;
                }
                seen[y + 2][x + 2] |= is;
            }
        image = transformed(l, half, 1, index);
        flipped += fabsf(at(&image, 0, 0, 0) - (float)picture(5, 0, 0) / 255) < 1e-6f;
    }
    for (int i = 0; i < 25; i++) assert_true(seen[i / 5][i % 5]);
    assert_true(flipped > 160 && flipped < 240);
    tn__image image = transformed(big, tall, 1, 3);
    assert_true(image.width == 5 && image.height == 5);
    image = transformed(big, noise, 1, 3);
    int count = 0;
    for (int i = 0; i < 64 * 64; i++) {
        float from = (float)picture(i % 64, i / 64, 0) / 255;
        if (from < 0.4f || from > 0.6f) continue; /* nothing is cut there */
        double d = (double)(image.data[i] - from);
        sum += d, squares += d * d, count++;
    }
    assert_true(fabs(sum / count) < 0.015);
    assert_true(fabs(sqrt(squares / count) - 0.1) < 0.01);
    close_lab(l);
    close_lab(big);
}

static void test_transforms__refused(void **state) {
    static const struct {
        tn_transform t;
        const char *says;
    } cases[] = {
        {TN_RESIZE(.height = 3), "transform 0 (resize): set .height and .width, or .shorter"},
        {TN_RESIZE(.shorter = 3, .height = 3), "set .height and .width, or .shorter"},
        {TN_CENTER_CROP(), "(center_crop): set .height and .width"},
        {TN_RANDOM_CROP(.height = 1, .width = 1, .padding = -1), ".padding is out of range"},
        {TN_RANDOM_RESIZED_CROP(.height = 1, .width = 1, .scale = {0.5, 2}), ".scale is no range"},
        {TN_BRIGHTNESS(.low = 2, .high = 1), ".low to .high is no range"},
        {TN_CONTRAST(), ".low to .high is no range"},
        {TN_NORMALIZE(.mean = {0.5}), "each channel needs a finite .mean and a positive .std"},
        {TN_WARP(.shear = {91}), ".shear over 90 degrees"},
        {TN_FLIP_VERTICAL(.probability = 2), ".probability is not in 0 to 1"},
        {{.kind = (tn_transform_kind)99}, "unknown kind 99"},
    };
    (void)state;
    for (size_t i = 0; i < TN_COUNT(cases); i++) {
        tn_error err = TN_ERROR_INIT;
        assert_int_equal(tn__transforms_check(&cases[i].t, 1, 3, &err), TN_INVALID);
        if (!strstr(err.message, cases[i].says)) fail_msg("case %zu says: %s", i, err.message);
    }
}

/* ---- single images -------------------------------------------------------------------------- */

static void test_image__write_and_read(void **state) {
    uint8_t *data = picture_bytes(13, 7, 3);
    tn_buffer image = {TN_u8, 3, {7, 13, 3}, data, 0}, got;
    tn_error err = TN_ERROR_INIT;
    (void)state;
    check(tn_image_write(place("a.png"), &image, 0, &err), &err);
    check(tn_image_read(place("a.png"), 3, &got, &err), &err);
    assert_int_equal(got.dim[0], 7);
    assert_int_equal(got.dim[1], 13);
    assert_memory_equal(got.data, data, 7 * 13 * 3);
    tn_image_release(&got);
    assert_int_equal(tn_image_write(place("a.gif"), &image, 0, &err), TN_INVALID);
    assert_int_equal(tn_image_write(place("a.jpg"), &image, 101, &err), TN_INVALID);
    assert_int_equal(tn_image_read(place("none.png"), 3, &got, &err), TN_NOT_FOUND);
    assert_int_equal(tn_image_read(folder, 3, &got, &err), TN_IO);
    image.dtype = TN_f32;
    assert_int_equal(tn_image_write(place("a.png"), &image, 0, &err), TN_INVALID);
    free(data);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_jpeg__colours),
        cmocka_unit_test(test_jpeg__cmyk),
        cmocka_unit_test(test_jpeg__parts),
        cmocka_unit_test(test_jpeg__reduced),
        cmocka_unit_test(test_png__types),
        cmocka_unit_test(test_hostile__jpeg),
        cmocka_unit_test(test_hostile__png),
        cmocka_unit_test(test_resize__as_pytorch),
        cmocka_unit_test(test_warp__as_pytorch),
        cmocka_unit_test(test_colours__as_torchvision),
        cmocka_unit_test(test_transforms__geometry),
        cmocka_unit_test(test_transforms__fused_as_separate),
        cmocka_unit_test(test_transforms__random),
        cmocka_unit_test(test_transforms__refused),
        cmocka_unit_test(test_image__write_and_read),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}

/* Fuzzes the decoding of JPEG and PNG files: parts, reductions and channels follow from the bytes. */
#include "nn/data/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const tn_transform list[] = {
        TN_RANDOM_RESIZED_CROP(.height = 9, .width = 7, .filter = TN_BICUBIC),
        TN_WARP(.degrees = 30, .scale = {0.5, 2})};
    tn__encoded file = {data, size, 1 << 18};
    tn__sample_key key = {tn_hash64(data, size), 0, 0};
    tn__worker w = {0};
    tn__pixels p;
    tn__image image;
    tn__random r;
    int width, height;
    if (tn__image_size(&file, &width, &height, NULL) == TN_OK) {
        tn__random_init(&r, &key, 0);
        tn__region want = {.x = (int)tn__random_below(&r, (uint64_t)width),
                           .y = (int)tn__random_below(&r, (uint64_t)height)};
        want.width = 1 + (int)tn__random_below(&r, (uint64_t)(width - want.x));
        want.height = 1 + (int)tn__random_below(&r, (uint64_t)(height - want.y));
        (void)!tn__image_decode(&file, want, 1 << tn__random_below(&r, 4),
                                1 + 2 * (int)tn__random_below(&r, 2), &w, &p, NULL);
        (void)!tn__transformed(&file, list, 2, 3, &key, &w, &image, NULL);
    }
    tn__worker_deinit(&w);
    return 0;
}

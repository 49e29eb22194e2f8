/* Loads BATCHES batches of 32 images from FOLDER on one worker and prints how long that took:
 *
 *     data_loader FOLDER train|eval|colour|warp BATCHES
 *
 * bench_data.py builds and runs it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <tenon/data.h>

#define NORMALIZE TN_NORMALIZE(.mean = {0.485, 0.456, 0.406}, .std = {0.229, 0.224, 0.225})

static const tn_transform train[] = {TN_RANDOM_RESIZED_CROP(.height = 224, .width = 224),
                                     TN_FLIP_HORIZONTAL(), NORMALIZE};
static const tn_transform eval[] = {TN_RESIZE(.shorter = 256),
                                    TN_CENTER_CROP(.height = 224, .width = 224), NORMALIZE};
static const tn_transform colour[] = {TN_RANDOM_RESIZED_CROP(.height = 224, .width = 224),
                                      TN_BRIGHTNESS(.low = 0.6, .high = 1.4),
                                      TN_CONTRAST(.low = 0.6, .high = 1.4),
                                      TN_SATURATION(.low = 0.6, .high = 1.4),
                                      TN_FLIP_HORIZONTAL(),
                                      NORMALIZE};
static const tn_transform warp[] = {
    TN_RESIZE(.shorter = 256), TN_CENTER_CROP(.height = 224, .width = 224),
    TN_WARP(.degrees = 15, .translate = {0.1, 0.1}, .scale = {0.9, 1.1}, .filter = TN_BILINEAR),
    NORMALIZE};
static const struct {
    const char *name;
    const tn_transform *list;
    int count;
} lists[] = {{"train", train, 3}, {"eval", eval, 3}, {"colour", colour, 6}, {"warp", warp, 4}};

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static tn_status load(const char *folder, int kind, int batches, tn_error *err) {
    tn_image_options images = TN_IMAGE_OPTIONS_INIT;
    tn_loader_options how = TN_LOADER_OPTIONS_INIT;
    tn_dataset *dataset = NULL;
    tn_loader *loader = NULL;
    tn_data_batch batch;
    tn_loader_stats stats;
    images.transforms = lists[kind].list;
    images.transform_count = lists[kind].count;
    how.batch = 32, how.workers = 1, how.shuffle = true;
    tn_status status = tn_dataset_images(folder, &images, &dataset, err);
    if (status == TN_OK) status = tn_loader_create(dataset, &how, &loader, err);
    if (status == TN_OK) status = tn_loader_next(loader, &batch, err);
    double begin = seconds(), count = 0;
    for (int i = 0; i < batches && status == TN_OK; i++) {
        status = tn_loader_next(loader, &batch, err);
        count += (double)batch.samples;
    }
    double wall = seconds() - begin;
    if (status == TN_OK) {
        tn_loader_statistics(loader, &stats);
        printf("{\"images\": %.0f, \"seconds\": %.6f, \"skipped\": %llu}\n", count, wall,
               (unsigned long long)stats.skipped);
    }
    tn_loader_release(loader);
    tn_dataset_release(dataset);
    return status;
}

int main(int argc, char **argv) {
    tn_error err = TN_ERROR_INIT;
    char text[2048];
    for (int i = 0; argc == 4 && i < 4; i++) {
        if (strcmp(argv[2], lists[i].name) != 0) continue;
        if (load(argv[1], i, atoi(argv[3]), &err) == TN_OK) return EXIT_SUCCESS;
        tn_error_format(&err, text, sizeof text);
        fprintf(stderr, "%s\n", text);
        return EXIT_FAILURE;
    }
    fprintf(stderr, "usage: data_loader FOLDER train|eval|colour|warp BATCHES\n");
    return 2;
}

/* Inside data loading: what a dataset does for a loader, the memory of a worker, random numbers.
 *
 * A dataset is immutable: workers share it and bring their own scratch. A sample is a function of its
 * key alone, which makes batches independent of threads. Read loader.c next, then folder.c. */
#ifndef TENON_NN_DATA_DATA_H
#define TENON_NN_DATA_DATA_H

#include <stdatomic.h>

#include "base/base.h"
#include <tenon/data.h>

enum { TN__OUTPUTS = 8, TN__BAD_IN_A_ROW = 64 };

/* ---- scratch of a worker -------------------------------------------------------------------- */

typedef enum tn__scratch_use {
    TN__SCRATCH_FILE,   /* an encoded image, or tokens */
    TN__SCRATCH_PIXELS, /* decoded */
    TN__SCRATCH_DECODE, /* rows of a decoder */
    TN__SCRATCH_FILTER, /* weights and rows of resizing */
    TN__SCRATCH_IMAGE,  /* the image that is transformed, and */
    TN__SCRATCH_OTHER,  /* the one it becomes */
    TN__SCRATCH_USES
} tn__scratch_use;

typedef struct tn__worker {
    struct {
        void *data;
        size_t size;
    } scratch[TN__SCRATCH_USES];
    uint64_t bytes_read;
} tn__worker;

/* At least `size` bytes, aligned to 64, with any content; NULL when there is no memory. What it gave
 * for the same use before is gone. */
void *tn__scratch(tn__worker *w, tn__scratch_use use, size_t size);
void tn__worker_deinit(tn__worker *w);

/* ---- datasets ------------------------------------------------------------------------------- */

typedef struct tn__sample_key {
    uint64_t seed;
    int64_t epoch, index;
} tn__sample_key;

typedef struct tn__dataset_kind {
    const char *name;
    bool by_sample; /* a worker takes one sample at a time; else a batch */
    /* Writes the outputs of one sample. `*corrupt` says that another one may stand in for it. */
    tn_status (*load)(const tn_dataset *d, tn__worker *w, const tn__sample_key *key,
                      void *const *out, bool *corrupt, tn_error *err);
} tn__dataset_kind;

struct tn_dataset {
    const tn__dataset_kind *kind;
    atomic_int references;
    tn_arena arena;
    int64_t count;
    int output_count;
    tn_buffer output[TN__OUTPUTS]; /* type of one sample */
    int class_count;
    const char *const *classes;
    bool (*file)(const tn_dataset *d, int64_t sample, char *out, size_t size, int *label);
};

/* A dataset whose structure begins with a tn_dataset and has `size` bytes; NULL without memory. */
void *tn__dataset_new(const tn__dataset_kind *kind, size_t size);
/* Fills the dataset by body (in a guard) or releases it; the end of every constructor. */
tn_status tn__dataset_finish(tn_dataset *d, tn_guarded *body, void *argument, tn_dataset **out,
                             tn_error *err);
void tn__dataset_output(tn_dataset *d, tn_dtype dtype, int rank, const int64_t *dim);

/* The names in a folder that `wanted` (NULL: all) takes, those beginning with a dot left out, sorted by
 * their bytes. `folders`: only folders, else only regular files; links are followed. */
typedef TN_VEC(const char *) tn__names;
tn_status tn__list_folder(tn_arena *arena, const char *path, bool folders,
                          bool (*wanted)(const char *name), tn__names *out, tn_error *err);

/* ---- random numbers ------------------------------------------------------------------------- */

/* A stream of Philox4x32-10 numbered by (seed; epoch, index, stream). */
typedef struct tn__random {
    uint32_t key[2], counter[4], block[4];
    int used;
} tn__random;

void tn__random_init(tn__random *r, const tn__sample_key *key, unsigned stream);
uint32_t tn__random_u32(tn__random *r);
uint64_t tn__random_below(tn__random *r, uint64_t n); /* 0 … n - 1 */
double tn__random_in(tn__random *r, double low, double high);
void tn__random_normals(tn__random *r, float *out, size_t count); /* N(0, 1) */
/* The place of i in the order of an epoch: a permutation of 0 … n - 1. */
int64_t tn__shuffled(uint64_t seed, int64_t epoch, int64_t n, int64_t i);

#endif

/* The loader: a ring of batches between workers and one consumer.
 *
 * Batches are numbered over all epochs; batch n lies in slot n mod depth. Workers take samples in order
 * (claim), so the batch that is needed next is always the one most work goes into. The slot of the batch
 * that the consumer holds is free only when it asks for the next one. All fields below `lock` change
 * under it; the data of a slot belong to whoever has claimed them. */
#ifndef TENON_NN_DATA_LOADER_H
#define TENON_NN_DATA_LOADER_H

#include <pthread.h>

#include "nn/data/data.h"

enum { TN__SKIPPED_KEPT = 256 };

/* A corrupt sample that a batch met. */
typedef struct tn__skip {
    struct tn__skip *next;
    int64_t position, sample; /* in the batch; of the dataset */
    char text[];
} tn__skip;

typedef struct tn__slot {
    int64_t samples, claimed, done;
    void *data[TN__OUTPUTS];
    tn_buffer buffer[TN__OUTPUTS];
    tn__skip *skips;
    tn_status status; /* of the first sample that failed, at */
    int64_t failed_at;
    tn_error error;
} tn__slot;

struct tn_loader {
    tn_dataset *dataset;
    tn_loader_options options;
    int64_t *samples; /* options.samples; NULL: all */
    int64_t count;    /* samples of an epoch, over all ranks */
    int64_t batches;  /* of an epoch */
    size_t row_bytes[TN__OUTPUTS];
    int depth, started;
    tn__slot *slot;
    pthread_t *thread;

    pthread_mutex_t lock;
    pthread_cond_t work, ready,
        idle; /* a slot is free or all must stop; a batch is done; none works */
    bool stop, pause;
    int active;    /* workers that hold a claim */
    int64_t base;  /* the batch that is handed out next, or held */
    int64_t claim; /* the batch that workers take samples of */
    bool held;
    tn_loader_stats stats;
    char *skipped[TN__SKIPPED_KEPT];
    int64_t *skipped_sample; /* all that were met, sorted */
    uint64_t skipped_room;
};

/* How many samples batch n has, and which one is at a position of it. */
int64_t tn__batch_samples(const tn_loader *l, int64_t n);
int64_t tn__batch_sample(const tn_loader *l, int64_t n, int64_t position, int64_t shift);
/* The batch behind the last one; INT64_MAX when endless. */
int64_t tn__batch_end(const tn_loader *l);
void *tn__loader_worker(void *loader);
void tn__drop_skips(tn__slot *slot);

#endif

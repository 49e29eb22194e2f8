/* The position of a loader: seeking, saving, restoring. See loader.h.
 *
 * A state is eight little-endian words: "TNLOADER"; version (low half) and flags; seed; epoch; batch in
 * the epoch; samples of a batch over all ranks; samples of an epoch; hash of the words before. */
#include <inttypes.h>

#include "nn/data/loader.h"

enum { WORDS = TN_LOADER_STATE_BYTES / 8, VERSION = 1 };
enum { MAGIC, FORMAT, SEED, EPOCH, BATCH, SAMPLES_OF_BATCH, SAMPLES, HASH };

static void put(uint8_t *out, uint64_t word) {
    for (int i = 0; i < 8; i++) out[i] = (uint8_t)(word >> 8 * i);
}

static uint64_t get(const uint8_t *in) {
    uint64_t word = 0;
    for (int i = 0; i < 8; i++) word |= (uint64_t)in[i] << 8 * i;
    return word;
}

/* What must be the same for the state's batches to be those of this loader. */
static void describe(const tn_loader *l, uint64_t word[WORDS]) {
    const tn_loader_options *o = &l->options;
    word[MAGIC] = get((const uint8_t *)"TNLOADER");
    word[FORMAT] = VERSION | (uint64_t)o->shuffle << 32 | (uint64_t)o->drop_last << 33;
    word[SAMPLES_OF_BATCH] = (uint64_t)(o->batch * o->ranks);
    word[SAMPLES] = (uint64_t)l->count;
}

void tn_loader_save(const tn_loader *l, uint8_t out[TN_LOADER_STATE_BYTES]) {
    uint64_t word[WORDS];
    int64_t next = l->base + l->held;
    describe(l, word);
    word[SEED] = l->options.seed;
    word[EPOCH] = (uint64_t)(next / l->batches);
    word[BATCH] = (uint64_t)(next % l->batches);
    for (int i = 0; i < HASH; i++) put(out + 8 * i, word[i]);
    put(out + 8 * HASH, tn_hash64(out, 8 * HASH));
}

/* No worker holds a claim while the position and the seed change. */
static void move_to(tn_loader *l, int64_t batch, uint64_t seed) {
    pthread_mutex_lock(&l->lock);
    l->pause = true;
    while (l->active) pthread_cond_wait(&l->idle, &l->lock);
    for (int i = 0; i < l->depth; i++) {
        l->slot[i].claimed = 0;
        tn__drop_skips(&l->slot[i]);
    }
    l->options.seed = seed;
    l->base = l->claim = batch;
    l->held = l->pause = false;
    pthread_cond_broadcast(&l->work);
    pthread_mutex_unlock(&l->lock);
}

tn_status tn_loader_seek(tn_loader *l, int64_t epoch, int64_t batch, tn_error *err) {
    int64_t at;
    if (epoch < 0 || batch < 0 || batch > l->batches ||
        __builtin_mul_overflow(epoch, l->batches, &at) || at > INT64_MAX / 2)
        return tn_error_set(err, TN_INVALID,
                            "loader: no batch %" PRId64 " of epoch %" PRId64
                            "; an epoch has %" PRId64,
                            batch, epoch, l->batches);
    move_to(l, at + batch, l->options.seed);
    return TN_OK;
}

tn_status tn_loader_restore(tn_loader *l, const void *state, size_t size, tn_error *err) {
    static const char *const what[WORDS] = {
        [FORMAT] = "shuffle, drop_last or the version of the format",
        [SAMPLES_OF_BATCH] = "samples of a batch over all ranks",
        [SAMPLES] = "samples of an epoch"};
    const uint8_t *bytes = state;
    uint64_t word[WORDS], own[WORDS];
    if (size != TN_LOADER_STATE_BYTES || memcmp(bytes, "TNLOADER", 8) != 0 ||
        get(bytes + 8 * HASH) != tn_hash64(bytes, 8 * HASH))
        return tn_error_set(err, TN_INVALID, "loader: %zu bytes that are no state of a loader",
                            size);
    for (int i = 0; i < HASH; i++) own[i] = word[i] = get(bytes + 8 * i);
    describe(l, own);
    for (int i = 0; i < HASH; i++)
        if (own[i] != word[i])
            return tn_error_set(err, TN_INVALID,
                                "loader: the saved state has other %s (%" PRIu64 ", here %" PRIu64
                                ")",
                                what[i], word[i], own[i]);
    int64_t at;
    if (word[BATCH] >= (uint64_t)l->batches || word[EPOCH] > INT64_MAX / 2 ||
        __builtin_mul_overflow((int64_t)word[EPOCH], l->batches, &at) || at > INT64_MAX / 2)
        return tn_error_set(err, TN_INVALID, "loader: the saved state is out of range");
    move_to(l, at + (int64_t)word[BATCH], word[SEED]);
    return TN_OK;
}

/* The workers of a loader: which samples a batch has, and making them. See loader.h. */
#include <stdio.h>
#include <stdlib.h>

#include "base/io.h"
#include "nn/data/loader.h"

/* ---- order ---------------------------------------------------------------------------------- */

int64_t tn__batch_end(const tn_loader *l) {
    int64_t end;
    if (!l->options.epochs || __builtin_mul_overflow(l->options.epochs, l->batches, &end))
        return INT64_MAX;
    return end;
}

/* All ranks have as many samples, so that none waits for what another one does not have. */
int64_t tn__batch_samples(const tn_loader *l, int64_t n) {
    int64_t ranks = l->options.ranks, whole = l->options.batch * ranks;
    int64_t left = l->count - n % l->batches * whole;
    return left >= whole ? l->options.batch : (left + ranks - 1) / ranks;
}

int64_t tn__batch_sample(const tn_loader *l, int64_t n, int64_t position, int64_t shift) {
    int64_t epoch = n / l->batches, samples = tn__batch_samples(l, n);
    int64_t begin = n % l->batches * l->options.batch * l->options.ranks;
    int64_t at = (begin + l->options.rank * samples + position) % l->count;
    if (l->options.shuffle) at = tn__shuffled(l->options.seed, epoch, l->count, at);
    at = (at + shift) % l->count;
    return l->samples ? l->samples[at] : at;
}

/* ---- samples -------------------------------------------------------------------------------- */

typedef struct claim {
    tn__slot *slot;
    int64_t batch, first, count;
} claim;

static void keep_skip(tn__skip **list, int64_t position, int64_t sample, const tn_error *err) {
    char text[TN_ERROR_TEXT];
    tn_error_format(err, text, sizeof text);
    size_t size = strlen(text) + 1;
    tn__skip *skip = malloc(sizeof *skip + size);
    if (!skip) return; /* it stays without a name */
    skip->next = *list;
    skip->position = position;
    skip->sample = sample;
    memcpy(skip->text, text, size);
    *list = skip;
}

/* One sample, or the next sound one of the dataset in its place. */
static tn_status make_sample(tn_loader *l, tn__worker *w, const claim *c, int64_t position,
                             tn__skip **skips, tn_error *err) {
    void *out[TN__OUTPUTS];
    int64_t tries = TN_MIN(l->count, TN__BAD_IN_A_ROW);
    tn_status status = TN_OK;
    for (int i = 0; i < l->dataset->output_count; i++)
        out[i] = (uint8_t *)c->slot->data[i] + (size_t)position * l->row_bytes[i];
    for (int64_t shift = 0; shift < tries; shift++) {
        tn__sample_key key = {l->options.seed, c->batch / l->batches,
                              tn__batch_sample(l, c->batch, position, shift)};
        bool corrupt = false;
        if (err) *err = (tn_error)TN_ERROR_INIT;
        status = l->dataset->kind->load(l->dataset, w, &key, out, &corrupt, err);
        if (status == TN_OK || !corrupt || l->options.strict) return status;
        keep_skip(skips, position, key.index, err);
    }
    tn_error_push(err, "%d samples in a row could not be read; the last one", (int)tries);
    return status;
}

/* ---- workers -------------------------------------------------------------------------------- */

static bool may_claim(const tn_loader *l) {
    return !l->pause && l->claim < tn__batch_end(l) && l->claim < l->base + l->depth;
}

static claim take_claim(tn_loader *l) {
    tn__slot *s = &l->slot[l->claim % l->depth];
    if (s->claimed == 0) {
        s->samples = tn__batch_samples(l, l->claim);
        s->done = 0;
        s->status = TN_OK;
    }
    claim c = {s, l->claim, s->claimed, l->dataset->kind->by_sample ? 1 : s->samples};
    s->claimed += c.count;
    if (s->claimed == s->samples) {
        l->claim++;
        l->slot[l->claim % l->depth].claimed = 0;
    }
    l->active++;
    return c;
}

typedef struct outcome {
    tn_status status;
    int64_t failed_at;
    tn_error error;
    tn__skip *skips;
} outcome;

static void give_claim(tn_loader *l, const claim *c, const outcome *o, double seconds,
                       uint64_t bytes) {
    tn__slot *s = c->slot;
    if (o->status != TN_OK && (s->status == TN_OK || o->failed_at < s->failed_at)) {
        s->status = o->status;
        s->failed_at = o->failed_at;
        s->error = o->error;
    }
    for (tn__skip *k = o->skips, *next; k; k = next) {
        next = k->next;
        k->next = s->skips;
        s->skips = k;
    }
    s->done += c->count;
    l->stats.work_seconds += seconds;
    l->stats.bytes_read += bytes;
    if (s->done == s->samples) pthread_cond_signal(&l->ready);
    if (--l->active == 0) pthread_cond_signal(&l->idle);
}

static void do_claim(tn_loader *l, tn__worker *w, const claim *c, outcome *o) {
    o->status = TN_OK;
    o->skips = NULL;
    for (int64_t i = 0; i < c->count && o->status == TN_OK; i++) {
        o->error = (tn_error)TN_ERROR_INIT;
        o->failed_at = c->first + i;
        o->status = make_sample(l, w, c, c->first + i, &o->skips, &o->error);
    }
}

void *tn__loader_worker(void *argument) {
    tn_loader *l = argument;
    tn__worker w = {0};
    outcome o;
    pthread_mutex_lock(&l->lock);
    for (;;) {
        while (!l->stop && !may_claim(l)) pthread_cond_wait(&l->work, &l->lock);
        if (l->stop) break;
        claim c = take_claim(l);
        uint64_t bytes = w.bytes_read;
        pthread_mutex_unlock(&l->lock);
        double begin = tn_seconds();
        do_claim(l, &w, &c, &o);
        double seconds = tn_seconds() - begin;
        pthread_mutex_lock(&l->lock);
        give_claim(l, &c, &o, seconds, w.bytes_read - bytes);
    }
    pthread_mutex_unlock(&l->lock);
    tn__worker_deinit(&w);
    return NULL;
}

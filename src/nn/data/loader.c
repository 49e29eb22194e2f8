/* Loaders: creation, the consumer's side of the ring, statistics. See loader.h. */
#include "nn/data/loader.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>

#include "base/cores.h"
#include "base/io.h"

/* ---- creation ------------------------------------------------------------------------------- */

static tn_status check_options(const tn_dataset *d, tn_loader_options *o, tn_error *err) {
    if (!o->ranks) o->ranks = 1;
    if (!o->workers) o->workers = TN_MAX(tn_cores() / 2, 1);
    if (!o->prefetch) o->prefetch = 2;
    if (o->batch < 1 || o->batch > INT32_MAX)
        return tn_error_set(err, TN_INVALID, "loader: a batch of %" PRId64 " samples", o->batch);
    if (o->rank < 0 || o->ranks < 1 || o->rank >= o->ranks)
        return tn_error_set(err, TN_INVALID, "loader: rank %d of %d", o->rank, o->ranks);
    if (o->workers < 1 || o->workers > 1024 || o->prefetch < 1 || o->prefetch > 1024)
        return tn_error_set(err, TN_INVALID, "loader: %d workers, prefetch %d; expected 1 to 1024",
                            o->workers, o->prefetch);
    if (o->epochs < 0 || o->sample_count < 0 || (o->samples && !o->sample_count))
        return tn_error_set(err, TN_INVALID,
                            "loader: %" PRId64 " epochs of %" PRId64 " listed samples", o->epochs,
                            o->sample_count);
    for (int64_t i = 0; o->samples && i < o->sample_count; i++)
        if (o->samples[i] < 0 || o->samples[i] >= d->count)
            return tn_error_set(err, TN_INVALID,
                                "loader: options.samples[%" PRId64 "] is %" PRId64
                                "; the dataset has %" PRId64,
                                i, o->samples[i], d->count);
    return TN_OK;
}

static tn_status count_batches(tn_loader *l, tn_error *err) {
    const tn_loader_options *o = &l->options;
    int64_t whole = o->batch * o->ranks;
    l->count = o->samples ? o->sample_count : l->dataset->count;
    l->batches = l->count / whole + (!o->drop_last && l->count % whole != 0);
    if (l->batches) return TN_OK;
    if (l->count < o->ranks)
        return tn_error_set(err, TN_INVALID, "loader: %" PRId64 " samples for %d ranks", l->count,
                            o->ranks);
    return tn_error_set(err, TN_INVALID,
                        "loader: %" PRId64 " samples do not fill %d batch%s of %" PRId64
                        ", and an epoch's last samples that do not fill one are left out; a batch "
                        "may be at most %" PRId64,
                        l->count, o->ranks, o->ranks > 1 ? "es" : "", o->batch,
                        l->count / o->ranks);
}

static tn_status no_memory(tn_error *err) {
    return tn_error_set(err, TN_OUT_OF_MEMORY, "no memory for a loader's batches");
}

static tn_status make_slot(tn_loader *l, tn__slot *s, tn_error *err) {
    for (int i = 0; i < l->dataset->output_count; i++) {
        const tn_buffer *row = &l->dataset->output[i];
        tn_buffer *b = &s->buffer[i];
        size_t bytes = tn_dtype_size(row->dtype);
        *b = (tn_buffer){.dtype = row->dtype, .rank = row->rank + 1};
        for (int a = 0; a < row->rank; a++) {
            b->dim[a + 1] = row->dim[a];
            if (!tn_size_mul(bytes, (size_t)row->dim[a], &bytes)) return no_memory(err);
        }
        l->row_bytes[i] = bytes;
        if (!tn_size_mul(bytes, (size_t)l->options.batch, &bytes) || bytes > SIZE_MAX / 2 ||
            !(s->data[i] = aligned_alloc(64, (bytes + 64) & ~(size_t)63)))
            return no_memory(err);
    }
    return TN_OK;
}

/* Signals of the process are for other threads. */
static tn_status start_workers(tn_loader *l, tn_error *err) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (l->started < l->options.workers &&
           pthread_create(&l->thread[l->started], NULL, tn__loader_worker, l) == 0)
        l->started++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (l->started == l->options.workers) return TN_OK;
    return tn_error_set(err, TN_OUT_OF_MEMORY, "loader: only %d of %d threads could be started",
                        l->started, l->options.workers);
}

static tn_status fill_loader(tn_loader *l, tn_error *err) {
    tn_loader_options *o = &l->options;
    TN_CHECK(count_batches(l, err));
    l->depth = o->prefetch + 1;
    l->slot = calloc((size_t)l->depth, sizeof *l->slot);
    l->thread = calloc((size_t)o->workers, sizeof *l->thread);
    if (!l->slot || !l->thread) return no_memory(err);
    if (o->samples) {
        size_t bytes = (size_t)o->sample_count * sizeof *l->samples;
        if (!(l->samples = malloc(bytes))) return no_memory(err);
        memcpy(l->samples, o->samples, bytes);
        o->samples = l->samples;
    }
    for (int i = 0; i < l->depth; i++) TN_CHECK(make_slot(l, &l->slot[i], err));
    return start_workers(l, err);
}

tn_status tn_loader_create(tn_dataset *dataset, const tn_loader_options *options, tn_loader **out,
                           tn_error *err) {
    tn_loader_options all = TN_LOADER_OPTIONS_INIT;
    *out = NULL;
    if (options && options->size > sizeof all)
        return tn_error_set(err, TN_INVALID, "loader: options of an unknown size");
    if (options) memcpy(&all, options, options->size);
    TN_CHECK(check_options(dataset, &all, err));
    tn_loader *l = calloc(1, sizeof *l);
    if (!l) return no_memory(err);
    atomic_fetch_add(&dataset->references, 1);
    l->dataset = dataset;
    l->options = all;
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->work, NULL);
    pthread_cond_init(&l->ready, NULL);
    pthread_cond_init(&l->idle, NULL);
    tn_status status = fill_loader(l, err);
    if (status == TN_OK)
        *out = l;
    else
        tn_loader_release(l);
    return status;
}

/* ---- release -------------------------------------------------------------------------------- */

void tn__drop_skips(tn__slot *s) {
    while (s->skips) {
        tn__skip *next = s->skips->next;
        free(s->skips);
        s->skips = next;
    }
}

void tn_loader_release(tn_loader *l) {
    if (!l) return;
    pthread_mutex_lock(&l->lock);
    l->stop = true;
    pthread_cond_broadcast(&l->work);
    pthread_mutex_unlock(&l->lock);
    for (int i = 0; i < l->started; i++) pthread_join(l->thread[i], NULL);
    for (int i = 0; l->slot && i < l->depth; i++) {
        tn__drop_skips(&l->slot[i]);
        for (int k = 0; k < TN__OUTPUTS; k++) free(l->slot[i].data[k]);
    }
    for (int i = 0; i < TN__SKIPPED_KEPT; i++) free(l->skipped[i]);
    pthread_cond_destroy(&l->idle);
    pthread_cond_destroy(&l->ready);
    pthread_cond_destroy(&l->work);
    pthread_mutex_destroy(&l->lock);
    tn_dataset_release(l->dataset);
    free(l->skipped_sample);
    free(l->samples);
    free(l->thread);
    free(l->slot);
    free(l);
}

/* ---- corrupt samples ------------------------------------------------------------------------ */

/* Adds the sample to the sorted list; false when it is there already. */
static bool is_new(tn_loader *l, int64_t sample) {
    uint64_t n = l->stats.skipped, low = 0, high = n;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (l->skipped_sample[middle] < sample)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < n && l->skipped_sample[low] == sample) return false;
    if (n == l->skipped_room) {
        uint64_t room = 2 * n + 16;
        int64_t *more = realloc(l->skipped_sample, room * sizeof *more);
        if (!more) return false;
        l->skipped_sample = more;
        l->skipped_room = room;
    }
    memmove(l->skipped_sample + low + 1, l->skipped_sample + low, (n - low) * sizeof(int64_t));
    l->skipped_sample[low] = sample;
    l->stats.skipped++;
    return true;
}

static bool is_before(const tn__skip *a, const tn__skip *b) {
    return a->position < b->position || (a->position == b->position && a->sample < b->sample);
}

/* Counts and names them in the order of the batch, whoever met them first. */
static void report_skips(tn_loader *l, tn__slot *s) {
    while (s->skips) {
        tn__skip **first = &s->skips;
        for (tn__skip **k = &s->skips; *k; k = &(*k)->next)
            if (is_before(*k, *first)) first = k;
        tn__skip *skip = *first;
        *first = skip->next;
        uint64_t at = l->stats.skipped;
        if (is_new(l, skip->sample)) {
            tn_log_write(TN_LOG_WARN, "skipped: %s", skip->text);
            if (at < TN__SKIPPED_KEPT) l->skipped[at] = strdup(skip->text);
        }
        free(skip);
    }
}

const char *tn_loader_skipped(const tn_loader *l, int i) {
    return i >= 0 && i < TN__SKIPPED_KEPT ? l->skipped[i] : NULL;
}

/* ---- the consumer --------------------------------------------------------------------------- */

static void give_back(tn_loader *l) {
    if (!l->held) return;
    l->held = false;
    l->base++;
    pthread_cond_broadcast(&l->work);
}

static bool is_ready(const tn_loader *l) {
    const tn__slot *s = &l->slot[l->base % l->depth];
    return l->base < l->claim && s->done == s->samples;
}

static void hand_out(tn_loader *l, tn_data_batch *out) {
    tn__slot *s = &l->slot[l->base % l->depth];
    for (int i = 0; i < l->dataset->output_count; i++) {
        s->buffer[i].data = s->data[i];
        s->buffer[i].dim[0] = s->samples;
        s->buffer[i].size = (size_t)s->samples * l->row_bytes[i];
    }
    l->held = true;
    l->stats.batches++;
    l->stats.samples += (uint64_t)s->samples;
    out->buffers = s->buffer;
    out->count = l->dataset->output_count;
    out->samples = s->samples;
    out->index = l->base % l->batches;
    out->last = out->index == l->batches - 1;
}

static tn_status next_batch(tn_loader *l, tn_data_batch *out, tn_error *err) {
    give_back(l);
    out->epoch = l->base / l->batches;
    if (l->base >= tn__batch_end(l)) return TN_OK;
    if (!is_ready(l)) {
        double begin = tn_seconds();
        while (!is_ready(l)) pthread_cond_wait(&l->ready, &l->lock);
        out->wait_seconds = tn_seconds() - begin;
        l->stats.wait_seconds += out->wait_seconds;
    }
    tn__slot *s = &l->slot[l->base % l->depth];
    report_skips(l, s);
    if (s->status != TN_OK) {
        if (err) *err = s->error;
        tn_error_push(err, "while loading batch %" PRId64 " of epoch %" PRId64,
                      l->base % l->batches, out->epoch);
        return s->status;
    }
    hand_out(l, out);
    return TN_OK;
}

tn_status tn_loader_next(tn_loader *l, tn_data_batch *out, tn_error *err) {
    *out = (tn_data_batch){0};
    pthread_mutex_lock(&l->lock);
    tn_status status = next_batch(l, out, err);
    pthread_mutex_unlock(&l->lock);
    return status;
}

int64_t tn_loader_batches(const tn_loader *l) {
    return l->batches;
}

void tn_loader_statistics(tn_loader *l, tn_loader_stats *out) {
    pthread_mutex_lock(&l->lock);
    *out = l->stats;
    pthread_mutex_unlock(&l->lock);
}

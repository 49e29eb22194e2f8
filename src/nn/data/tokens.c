/* Streams of tokens: windows of T tokens and the T that follow each of them. See tenon/data.h.
 *
 * A stream is one file or array. Window i of an epoch is the i-th at multiples of T over all streams,
 * or begins anywhere, each beginning as likely as the others. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "nn/data/data.h"

typedef struct stream {
    const char *name;      /* of the file; NULL: memory */
    const uint8_t *tokens; /* in memory */
    int64_t count;
    int64_t windows;    /* of the streams before: at multiples of T, */
    int64_t beginnings; /* and anywhere */
} stream;

typedef struct tokens {
    tn_dataset base;
    tn_dtype dtype;
    int64_t window, limit, beginnings;
    int64_t skip; /* bytes at the beginning of a file */
    bool random;
    TN_VEC(stream) streams;
} tokens;

/* ---- samples -------------------------------------------------------------------------------- */

/* The last stream before which there are at most `at` windows or beginnings. */
static const stream *stream_of(const tokens *d, int64_t at) {
    uint32_t low = 0, high = d->streams.len;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        const stream *s = &d->streams.data[middle];
        if ((d->random ? s->beginnings : s->windows) <= at)
            low = middle;
        else
            high = middle;
    }
    return &d->streams.data[low];
}

static const stream *window_of(const tokens *d, const tn__sample_key *key, int64_t *begin) {
    const stream *s;
    if (!d->random) {
        s = stream_of(d, key->index);
        *begin = (key->index - s->windows) * d->window;
        return s;
    }
    tn__random r;
    tn__random_init(&r, key, 0);
    int64_t at = (int64_t)tn__random_below(&r, (uint64_t)d->beginnings);
    s = stream_of(d, at);
    *begin = at - s->beginnings;
    return s;
}

static int64_t token_at(tn_dtype dtype, const uint8_t *raw, int64_t i) {
    uint32_t wide;
    uint16_t half;
    switch (tn_dtype_size(dtype)) {
    case 1:
        return raw[i];
    case 2:
        memcpy(&half, raw + 2 * i, 2);
        return half;
    default:
        memcpy(&wide, raw + 4 * i, 4);
    }
    return dtype == TN_i32 ? (int32_t)wide : (int64_t)wide;
}

/* By calls, not by a map: a disk that fails or a file that was cut is an error, no signal. */
static tn_status read_file(const stream *s, int64_t offset, uint8_t *out, size_t size,
                           tn_error *err) {
    int fd = open(s->name, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : 1;
    size_t done = 0;
    while (done < size && n > 0) {
        n = pread(fd, out + done, size - done, (off_t)(offset + (int64_t)done));
        if (n < 0 && errno == EINTR)
            n = 1;
        else if (n > 0)
            done += (size_t)n;
    }
    int why = errno;
    if (fd >= 0) close(fd);
    if (done == size) return TN_OK;
    if (n < 0) return tn_error_set(err, TN_IO, "%s: cannot read: %s", s->name, strerror(why));
    return tn_error_set(err, TN_IO,
                        "%s: it ends at byte %" PRId64 ", and was longer when it was opened",
                        s->name, offset + (int64_t)done);
}

/* `count` tokens from `begin` on, in memory or the worker's scratch. */
static tn_status tokens_at(const tokens *d, tn__worker *w, const stream *s, int64_t begin,
                           int64_t count, const uint8_t **out, tn_error *err) {
    int64_t element = (int64_t)tn_dtype_size(d->dtype);
    if (!s->name) {
        *out = s->tokens + begin * element;
        return TN_OK;
    }
    size_t size = (size_t)(count * element);
    uint8_t *scratch = tn__scratch(w, TN__SCRATCH_FILE, size);
    *out = scratch;
    if (!scratch) return tn_error_set(err, TN_OUT_OF_MEMORY, "no memory for a window of tokens");
    return read_file(s, d->skip + begin * element, scratch, size, err);
}

static tn_status load_window(const tn_dataset *base, tn__worker *w, const tn__sample_key *key,
                             void *const *out, bool *corrupt, tn_error *err) {
    const tokens *d = (const tokens *)base;
    const uint8_t *raw;
    int64_t begin;
    const stream *s = window_of(d, key, &begin);
    int32_t *input = out[0], *target = out[1];
    (void)corrupt;
    TN_CHECK(tokens_at(d, w, s, begin, d->window + 1, &raw, err));
    for (int64_t i = 0; i <= d->window; i++) {
        int64_t token = token_at(d->dtype, raw, i);
        if (token < 0 || token >= d->limit)
            return tn_error_set(err, TN_INVALID,
                                "%s: token %" PRId64 " is %" PRId64 "; expected 0 to %" PRId64
                                " (is %s the type of the file's tokens?)",
                                s->name ? s->name : "tokens", begin + i, token, d->limit - 1,
                                tn_dtype_name(d->dtype));
        if (i < d->window) input[i] = (int32_t)token;
        if (i > 0) target[i - 1] = (int32_t)token;
    }
    return TN_OK;
}

static const tn__dataset_kind tokens_kind = {.name = "tokens", .load = load_window};

/* ---- opening -------------------------------------------------------------------------------- */

typedef struct opening {
    tokens *d;
    const char *path;
    const void *memory;
    int64_t count;
    const tn_token_options *options;
} opening;

static tn_status check_options(const tn_token_options *o, tn_error *err) {
    if (o->dtype != TN_u8 && o->dtype != TN_u16 && o->dtype != TN_u32 && o->dtype != TN_i32)
        return tn_error_set(err, TN_INVALID, "tokens: type %s; expected u8, u16, u32 or i32",
                            (unsigned)o->dtype < TN_DTYPE_COUNT ? tn_dtype_name(o->dtype) : "?");
    if (o->window < 1 || o->window > INT32_MAX)
        return tn_error_set(err, TN_INVALID, "tokens: a window of %" PRId64 "; set options.window",
                            o->window);
    if (o->limit < 0 || o->limit > (int64_t)1 << 31 || o->skip_bytes < 0)
        return tn_error_set(err, TN_INVALID,
                            "tokens: limit %" PRId64 " or skip_bytes %" PRId64 " is out of range",
                            o->limit, o->skip_bytes);
    return TN_OK;
}

static void add_stream(tokens *d, stream s) {
    s.windows = d->base.count;
    s.beginnings = d->beginnings;
    d->base.count += TN_MAX((s.count - 1) / d->window, 0);
    d->beginnings += TN_MAX(s.count - d->window, 0);
    tn_vec_push(&d->base.arena, &d->streams, s);
}

static tn_status add_file(opening *o, const char *name, tn_error *err) {
    int64_t element = (int64_t)tn_dtype_size(o->d->dtype), skip = o->d->skip;
    int fd = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    if (fd < 0)
        return tn_error_set(err, errno == ENOENT ? TN_NOT_FOUND : TN_IO, "%s: %s", name,
                            strerror(errno));
    bool regular = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
    close(fd);
    if (!regular) return tn_error_set(err, TN_IO, "%s: not a regular file", name);
    if (st.st_size < skip || (st.st_size - skip) % element != 0)
        return tn_error_set(
            err, TN_INVALID, "%s: %lld bytes are no %s tokens (%d bytes each) after %lld bytes",
            name, (long long)st.st_size, tn_dtype_name(o->d->dtype), (int)element, (long long)skip);
    add_stream(o->d, (stream){.name = tn_arena_strdup(&o->d->base.arena, name),
                              .count = (st.st_size - skip) / element});
    return TN_OK;
}

static tn_status add_folder(opening *o, tn_error *err) {
    tn__names names;
    TN_CHECK(tn__list_folder(&o->d->base.arena, o->path, false, NULL, &names, err));
    if (!names.len) return tn_error_set(err, TN_INVALID, "%s: no files in this folder", o->path);
    for (uint32_t i = 0; i < names.len; i++)
        TN_CHECK(
            add_file(o, tn_arena_printf(&o->d->base.arena, "%s/%s", o->path, names.data[i]), err));
    return TN_OK;
}

static tn_status open_tokens(void *argument, tn_error *err) {
    opening *o = argument;
    tokens *d = o->d;
    struct stat st;
    d->dtype = o->options->dtype;
    d->window = o->options->window;
    d->limit = o->options->limit ? o->options->limit : (int64_t)1 << 31;
    d->random = o->options->random;
    d->skip = o->options->skip_bytes;
    if (!o->path)
        add_stream(d, (stream){.tokens = o->memory, .count = o->count});
    else if (stat(o->path, &st) == 0 && S_ISDIR(st.st_mode))
        TN_CHECK(add_folder(o, err));
    else
        TN_CHECK(add_file(o, o->path, err));
    if (!d->base.count)
        return tn_error_set(err, TN_INVALID,
                            "%s: too short: a window of %" PRId64 " needs %" PRId64
                            " tokens in one file",
                            o->path ? o->path : "tokens", d->window, d->window + 1);
    for (int i = 0; i < 2; i++) tn__dataset_output(&d->base, TN_i32, 1, &d->window);
    return TN_OK;
}

static tn_status open_with(opening *o, tn_dataset **out, tn_error *err) {
    tn_token_options all = TN_TOKEN_OPTIONS_INIT;
    *out = NULL;
    if (!o->options || o->options->size > sizeof all)
        return tn_error_set(err, TN_INVALID, "tokens: options of an unknown size");
    memcpy(&all, o->options, o->options->size);
    TN_CHECK(check_options(&all, err));
    o->options = &all;
    o->d = tn__dataset_new(&tokens_kind, sizeof *o->d);
    return tn__dataset_finish((tn_dataset *)o->d, open_tokens, o, out, err);
}

tn_status tn_dataset_tokens(const char *path, const tn_token_options *options, tn_dataset **out,
                            tn_error *err) {
    return open_with(&(opening){.path = path, .options = options}, out, err);
}

tn_status tn_dataset_token_array(const void *memory, int64_t count, const tn_token_options *options,
                                 tn_dataset **out, tn_error *err) {
    return open_with(&(opening){.memory = memory, .count = count, .options = options}, out, err);
}

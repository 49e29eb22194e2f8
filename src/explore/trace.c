/* Requests as scenarios. Lengths spread over orders of magnitude, so buckets are equal in their logarithms; of
 * those that most requests are in, each becomes one scenario with the mean lengths of its requests. */
#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <tenon/explore.h>

#include "base/base.h"
#include "base/io.h"

enum { LONGEST_LINE = 4096, MOST_TOKENS = 1 << 24 };

enum { PROMPT, GENERATE, ARRIVAL, BATCH, MEMBERS };
static const char *const members[MEMBERS] = {"prompt", "generate", "arrival", "batch"};
static const bool required[MEMBERS] = {[PROMPT] = true, [GENERATE] = true};

typedef struct request {
    double value[MEMBERS];
} request;

/* Requests of like lengths that ran in batches of one size. */
typedef struct bucket {
    int prompt, generate; /* ⌊steps · log2(tokens)⌋ */
    int batch;
    double prompts, generates, batches;
    int64_t requests;
} bucket;

typedef struct trace {
    const char *path;
    tn_file_map file;
    int64_t line;
    bool columns_known;
    int columns[MEMBERS]; /* −1: there is none */
    double last_arrival;
    int64_t context_limit;
    int batch; /* of requests that do not say theirs */
    TN_VEC(request) requests;
    tn_arena arena;
    tn_error *err;
} trace;

static tn_status fail(const trace *t, const char *what, const char *text) {
    return tn_error_set(t->err, TN_INVALID, "%s, line %lld: %s%s%s", t->path, (long long)t->line,
                        what, *text ? ": " : "", text);
}

static tn_status check_request(trace *t, const request *r) {
    char text[96];
    double arrival = r->value[ARRIVAL];
    for (int i = 0; i < MEMBERS; i++) {
        double v = r->value[i];
        if (i == ARRIVAL || (v == floor(v) && v >= (i == PROMPT) && v <= MOST_TOKENS)) continue;
        snprintf(text, sizeof text, "%s is %g; it counts %s, from %d to %d", members[i], v,
                 i == BATCH ? "sequences" : "tokens", i == PROMPT, (int)MOST_TOKENS);
        return fail(t, text, "");
    }
    if (!(arrival >= t->last_arrival) || !isfinite(arrival)) {
        snprintf(text, sizeof text, "arrival is %g s after one of %g s; requests come in order",
                 arrival, t->last_arrival);
        return fail(t, text, "");
    }
    if (r->value[PROMPT] > (double)t->context_limit) {
        snprintf(text, sizeof text, "prompt is %.0f tokens; the context takes %lld",
                 r->value[PROMPT], (long long)t->context_limit);
        return fail(t, text, "");
    }
    t->last_arrival = arrival;
    tn_vec_push(&t->arena, &t->requests, *r);
    double *batch = &t->requests.data[t->requests.len - 1].value[BATCH];
    if (*batch == 0) *batch = t->batch;
    return TN_OK;
}

/* ---- lines ---------------------------------------------------------------------------------- */

static tn_status read_object(trace *t, const char *line) {
    json_error_t bad;
    json_t *object = json_loads(line, JSON_REJECT_DUPLICATES, &bad);
    if (!object) return fail(t, bad.text, "");
    request r = {{0}};
    tn_status status = json_is_object(object) ? TN_OK : fail(t, "no object", "");
    for (int i = 0; i < MEMBERS && !status; i++) {
        const json_t *v = json_object_get(object, members[i]);
        if (json_is_number(v))
            r.value[i] = json_number_value(v);
        else if (v || required[i])
            status = fail(t, v ? "no number" : "missing", members[i]);
    }
    json_decref(object);
    return status ? status : check_request(t, &r);
}

/* One field of a line with commas; *at moves behind its comma, NULL after the last one. */
static const char *next_field(const char **at, char *out, size_t size) {
    const char *from = *at + strspn(*at, " \t"), *comma = strchr(from, ',');
    size_t length = comma ? (size_t)(comma - from) : strlen(from);
    *at = comma ? comma + 1 : NULL;
    while (length && isspace((unsigned char)from[length - 1])) length--;
    snprintf(out, size, "%.*s", (int)TN_MIN(length, size - 1), from);
    return out;
}

/* The first line may name the columns; others than those of `members` are skipped. */
static tn_status read_heading(trace *t, const char *line, bool *is_heading) {
    char field[64];
    *is_heading = !isdigit((unsigned char)*line);
    t->columns_known = true;
    for (int i = 0; i < MEMBERS; i++) t->columns[i] = *is_heading ? -1 : i;
    if (!*is_heading) return TN_OK;
    for (int column = 0; line; column++) {
        next_field(&line, field, sizeof field);
        for (int i = 0; i < MEMBERS; i++)
            if (strcmp(field, members[i]) == 0) t->columns[i] = column;
    }
    for (int i = 0; i < MEMBERS; i++)
        if (required[i] && t->columns[i] < 0)
            return fail(t, "the heading has no column of this name", members[i]);
    return TN_OK;
}

static tn_status read_fields(trace *t, const char *line) {
    char field[64], *end;
    request r = {{0}};
    bool seen[MEMBERS] = {false};
    for (int column = 0; line; column++) {
        next_field(&line, field, sizeof field);
        for (int i = 0; i < MEMBERS; i++) {
            if (t->columns[i] != column) continue;
            r.value[i] = strtod(field, &end);
            seen[i] = true;
            if (end == field || *end) return fail(t, "not a number", field);
        }
    }
    for (int i = 0; i < MEMBERS; i++)
        if (required[i] && !seen[i]) return fail(t, "missing", members[i]);
    return check_request(t, &r);
}

static tn_status read_line(trace *t, const char *line) {
    bool heading = false;
    line += strspn(line, " \t\r");
    if (!*line || *line == '#') return TN_OK;
    if (*line == '{') return read_object(t, line);
    if (!t->columns_known) TN_CHECK(read_heading(t, line, &heading));
    return heading ? TN_OK : read_fields(t, line);
}

static tn_status read_file(trace *t) {
    char line[LONGEST_LINE];
    tn_status status = TN_OK;
    const char *at = (const char *)t->file.data, *end = at ? at + t->file.size : at;
    while (at < end && !status) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        size_t length = (size_t)((stop ? stop : end) - at);
        t->line++;
        if (length >= sizeof line) {
            status = fail(t, "the line is too long", "");
        } else if (memchr(at, 0, length)) {
            status = fail(t, "the line holds a zero byte", "");
        } else {
            memcpy(line, at, length);
            line[length] = 0;
            status = read_line(t, line);
        }
        at = stop ? stop + 1 : end;
    }
    if (!status && !t->requests.len)
        status = tn_error_set(t->err, TN_INVALID, "%s holds no request", t->path);
    return status;
}

/* ---- buckets -------------------------------------------------------------------------------- */

static int step_of(double tokens, double steps) {
    return (int)floor(steps * log2(tokens + 1));
}

static int by_length(const void *a, const void *b) {
    const bucket *x = a, *y = b;
    if (x->prompt != y->prompt) return x->prompt < y->prompt ? -1 : 1;
    if (x->generate != y->generate) return x->generate < y->generate ? -1 : 1;
    return x->batch < y->batch ? -1 : x->batch > y->batch;
}

/* Batches up to 16 stay apart while there is room. */
static int batch_of(double batch, double steps) {
    return batch <= 16 && steps >= 1 ? (int)batch : 16 + step_of(batch, TN_MIN(steps, 4));
}

/* Counts the buckets at `steps` steps an octave, or gives up above `most`. */
static int fill(const trace *t, double steps, bucket *out, int most) {
    int count = 0;
    for (uint32_t i = 0; i < t->requests.len; i++) {
        const request *r = &t->requests.data[i];
        bucket b = {.prompt = step_of(r->value[PROMPT], steps),
                    .generate = step_of(r->value[GENERATE], steps),
                    .batch = batch_of(r->value[BATCH], steps)};
        int at = 0;
        while (at < count && by_length(&out[at], &b) != 0) at++;
        if (at == most) return most + 1;
        if (at == count) out[count++] = b;
        out[at].prompts += r->value[PROMPT];
        out[at].generates += r->value[GENERATE];
        out[at].batches += r->value[BATCH];
        out[at].requests++;
    }
    return count;
}

typedef struct call {
    trace *trace;
    const tn_scenario *use;
    tn_study_part *out;
    int capacity, *count;
} call;

static tn_status read_trace(void *argument, tn_error *err) {
    const call *c = argument;
    trace *t = c->trace;
    t->err = err;
    TN_CHECK(read_file(t));
    bucket *buckets = TN_NEW_N(&t->arena, bucket, c->capacity);
    double steps = 64;
    while ((*c->count = fill(t, steps, buckets, c->capacity)) > c->capacity) steps /= 2;
    qsort(buckets, (size_t)*c->count, sizeof *buckets, by_length);
    for (int i = 0; i < *c->count; i++) {
        double requests = (double)buckets[i].requests;
        tn_study_part *part = &c->out[i];
        part->scenario = *c->use;
        part->scenario.prompt = (int64_t)round(buckets[i].prompts / requests);
        part->scenario.generate = (int64_t)round(buckets[i].generates / requests);
        part->scenario.batch = (int)round(buckets[i].batches / requests);
        part->weight = requests / t->requests.len;
    }
    return TN_OK;
}

tn_status tn_study_from_trace(const char *path, const tn_scenario *use, tn_study_part *out,
                              int capacity, int *count, tn_error *err) {
    trace t = {.path = path, .context_limit = use->context_limit, .batch = use->batch};
    *count = 0;
    if (capacity < 1) return tn_error_set(err, TN_INVALID, "%s: no room for a scenario", path);
    TN_CHECK(tn_file_map_open(&t.file, path, err));
    tn_arena_init(&t.arena, tn_allocator_system());
    tn_status status = tn_guard(read_trace, &(call){&t, use, out, capacity, count}, err);
    if (status) *count = 0;
    tn_arena_deinit(&t.arena);
    tn_file_map_close(&t.file);
    return status;
}

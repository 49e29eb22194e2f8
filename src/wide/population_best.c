/* The best that members of a population were. See tenon/population.h.
 *
 * Rows are copied into memory of their own, one block per stack, so keeping a member is a copy of what
 * it is. Random streams are not kept: they go on. */
#include <math.h>
#include <stdlib.h>

#include "wide/population.h"

typedef struct best {
    uint64_t version; /* of the population */
    int items;
    double *score; /* of each member; NaN: nothing was kept */
    char **rows;   /* of each item's stack; NULL: it is not kept */
    size_t *bytes; /* of a row */
} best;

static void best_release(void *kept) {
    best *b = kept;
    if (!b) return;
    for (int i = 0; b->rows && i < b->items; i++) free(b->rows[i]);
    free(b->rows);
    free(b->bytes);
    free(b->score);
    free(b);
}

/* The first row of what is kept of item i, to be read or written; *bytes 0: nothing. */
static tn_status stack_rows(tn_population *p, int i, char **rows, size_t *bytes, tn_error *err) {
    void *data = NULL;
    *bytes = 0;
    if (!p->items[i].shared && !tn__module_is_random(p->module, i))
        TN_CHECK(tn__stack_row(&p->items[i], 0, &data, bytes, err));
    *rows = data;
    return TN_OK;
}

static tn_status best_fill(best *b, tn_population *p, tn_error *err) {
    size_t n = (size_t)p->count;
    b->score = calloc(n, sizeof *b->score);
    b->rows = calloc((size_t)b->items + 1, sizeof(char *));
    b->bytes = calloc((size_t)b->items + 1, sizeof *b->bytes);
    bool ok = b->score && b->rows && b->bytes;
    for (int i = 0; ok && i < p->count; i++) b->score[i] = NAN;
    for (int i = 0; ok && i < b->items; i++) {
        char *rows;
        TN_CHECK(stack_rows(p, i, &rows, &b->bytes[i], err));
        if (b->bytes[i]) ok = (b->rows[i] = malloc(n * b->bytes[i])) != NULL;
    }
    return ok ? TN_OK
              : tn_error_set(err, TN_OUT_OF_MEMORY, "no memory for the best of %d members",
                             p->count);
}

/* Anew where the members or what they consist of changed. */
static tn_status best_of(tn_population *p, best **out, tn_error *err) {
    int items = tn_module_count(p->module);
    *out = p->best;
    if (*out && (*out)->version == p->version && (*out)->items == items) return TN_OK;
    best *b = calloc(1, sizeof *b);
    if (!b) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    *b = (best){.version = p->version, .items = items};
    tn_status status = best_fill(b, p, err);
    if (status != TN_OK) {
        best_release(b);
        return status;
    }
    best_release(p->best);
    *out = p->best = b;
    p->best_release = best_release;
    return TN_OK;
}

static bool is_better(double score, double than) {
    return !isnan(score) && (isnan(than) || score > than);
}

/* One stack after another, so that a failure leaves none half kept: their rows are found first. */
static tn_status find_rows(tn_population *p, char **rows, int items, tn_error *err) {
    size_t bytes;
    for (int i = 0; i < items; i++) TN_CHECK(stack_rows(p, i, &rows[i], &bytes, err));
    return TN_OK;
}

static void copy_row(const best *b, int i, int member, char *to, const char *from) {
    size_t at = (size_t)member * b->bytes[i];
    if (b->bytes[i]) memcpy(to + at, from + at, b->bytes[i]);
}

static tn_status check(const tn_population *p, tn_error *err) {
    if (!p) return tn_error_set(err, TN_INVALID, "there is no population");
    if (!p->options.shared_parameters) return TN_OK;
    return tn_error_set(err, TN_INVALID,
                        "the members share one module's parameters: there is no best member");
}

tn_status tn_population_keep_best(tn_population *p, const double *scores, bool *kept,
                                  tn_error *err) {
    best *b;
    TN_CHECK(check(p, err));
    for (int m = 0; kept && m < p->count; m++) kept[m] = false;
    TN_CHECK(best_of(p, &b, err));
    char **rows = calloc((size_t)b->items + 1, sizeof *rows);
    if (!rows) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    tn_status status = find_rows(p, rows, b->items, err);
    for (int m = 0; status == TN_OK && m < p->count; m++) {
        if (!is_better(scores[m], b->score[m])) continue;
        for (int i = 0; i < b->items; i++) copy_row(b, i, m, b->rows[i], rows[i]);
        b->score[m] = scores[m];
        if (kept) kept[m] = true;
    }
    free(rows);
    return status;
}

tn_status tn_population_restore_best(tn_population *p, double *scores, tn_error *err) {
    TN_CHECK(check(p, err));
    const best *b = p->best;
    if (!b || b->version != p->version || b->items != tn_module_count(p->module))
        return tn_error_set(err, TN_NOT_FOUND,
                            "nothing was kept of these %d members: tn_population_keep_best does "
                            "that, and begins anew when members are inserted or removed",
                            p->count);
    char **rows = calloc((size_t)b->items + 1, sizeof *rows);
    if (!rows) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    tn_status status = find_rows(p, rows, b->items, err);
    for (int m = 0; status == TN_OK && m < p->count; m++) {
        for (int i = 0; i < b->items && !isnan(b->score[m]); i++)
            copy_row(b, i, m, rows[i], b->rows[i]);
        if (scores) scores[m] = b->score[m];
    }
    free(rows);
    return status;
}

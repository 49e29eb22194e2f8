/* Counting memory before it is taken. See budget.h. */
#include "wide/budget.h"

#include <math.h>
#include <stdio.h>

#include "machine/detect.h"
#include "wide/estimate.h"

/* More than kernels' forms of weights take of what they are made of: Winograd's F(6×6, 3×3) has 64 numbers
 * for 9. */
#define MOST_GROWTH 8.0
/* More than kernels take of the values of a graph for copies in other layouts, and work areas. */
#define MOST_COPIES 2.0
enum { TRIALS_BY_LINE = 6 }; /* plans on the way to the largest number that fits, before halving */

static tn__wide_file *file_of(const tn__wide_budget *b, int member) {
    tn__wide_file *file = NULL; /* imported already: it cannot fail */
    (void)tn__wide_files_get(b->files, b->members[member].model, &file, NULL);
    return file;
}

/* ---- weights -------------------------------------------------------------------------------- */

static double bytes_read(const tn__wide_file *f) {
    double bytes = 0;
    const tn_import *i = &f->import;
    for (uint32_t k = 0; i->graph && k < f->structure.weights.len; k++)
        bytes += (double)tn_array_bytes(&i->weights.data[f->structure.weights.data[k]].array);
    for (uint32_t k = 0; !i->graph && k < i->weights.len; k++)
        bytes += (double)tn_array_bytes(&i->weights.data[k].array);
    return bytes;
}

static bool same_text(const char *a, const char *b) {
    return a == b || (a && b && strcmp(a, b) == 0);
}

/* Members that name the same files share all weights. */
static bool is_repeated(const tn__wide_budget *b, const tn__wide_group *g) {
    const tn_wide_member *first = &b->members[g->members[0]];
    for (int i = 0; i < g->count; i++) {
        const tn_wide_member *m = &b->members[g->members[i]];
        if (m->perturbed || strcmp(m->model, first->model) ||
            !same_text(m->weights, first->weights))
            return false;
    }
    return true;
}

/* Reads the files, to find weights that are equal. */
static tn_status compare(const tn__wide_budget *b, const tn__wide_group *g, tn__wide_shares *out,
                         tn_error *err) {
    tn_wide_member *members = TN_NEW_N(b->arena, tn_wide_member, g->count);
    for (int i = 0; i < g->count; i++) members[i] = b->members[g->members[i]];
    tn__wide_reader r = {.files = b->files, .members = members, .count = g->count};
    r.structure = &file_of(b, g->members[0])->structure;
    tn_status status = tn__wide_compare(&r, b->arena, out, err);
    tn__wide_read_done(&r.first);
    tn__wide_read_done(&r.other);
    return status;
}

/* ---- activations ---------------------------------------------------------------------------- */

static bool is_weight(const tn_import *i, tn_value v) {
    for (uint32_t k = i->inputs.len; k < i->graph->inputs.len; k++)
        if (i->graph->inputs.data[k] == v) return true;
    return false;
}

/* All values of the graph, as if none made room for another. */
static double all_values(const tn_import *import, const int64_t *symbols) {
    const tn_graph *g = import->graph;
    double bytes = 0;
    for (tn_value v = 0; v < g->values.len; v++) {
        const tn_type *t = tn_graph_type(g, v);
        tn_op op = tn_graph_producer(g, v)->op;
        double elements = 1;
        if (op == TN_OP_constant || is_weight(import, v)) continue;
        for (int a = 0; a < t->shape.rank; a++)
            elements *= (double)tn_dim_eval(g->dims, t->shape.dim[a], symbols);
        bytes += elements * (double)tn_dtype_size(t->dtype);
    }
    return bytes;
}

/* ---- what is taken -------------------------------------------------------------------------- */

static double activation_bytes(const tn__wide_group *g) {
    if (!tn_session_instance(g->session)) return 0;
    tn_memory_use use = tn_instance_memory(tn_session_instance(g->session));
    return (double)use.temporaries + (double)use.outputs + (double)use.scratch;
}

static double taken_by(const tn__wide_group *g) {
    const tn_artifact *a = tn_session_artifact(g->session);
    if (!a) a = tn_model_artifact(g->model);
    return (a ? tn__wide_weight_bytes(a->program) : 0) + activation_bytes(g);
}

int64_t tn__wide_group_bytes(const tn__wide_group *g) {
    return (int64_t)taken_by(g);
}

/* ---- together ------------------------------------------------------------------------------- */

typedef struct counting {
    const tn__wide_budget *b;
    tn__wide_shares *shares; /* per group; NULL: a bound that needs neither plan nor files */
    tn__wide_memory
        all; /* of what was counted last: weights and activations summed, `preparing` at most */
} counting;

/* What a group surely stays below. */
static tn__wide_memory bound_of(const tn__wide_budget *b, const tn__wide_group *g, int count) {
    const tn__wide_file *f = file_of(b, g->members[0]);
    double weights = bytes_read(f) * (is_repeated(b, g) ? 1 : count);
    tn__wide_memory e = {.weights = MOST_GROWTH * weights, .preparing = weights};
    const int64_t *symbols =
        f->import.graph ? tn__wide_least_sizes(f->import.graph->dims, b->arena) : NULL;
    if (symbols) e.activations = MOST_COPIES * all_values(&f->import, symbols) * count;
    return e;
}

/* What is known of a model that needs values first. */
static tn__wide_memory weights_of(const tn__wide_budget *b, const tn__wide_group *g, int count) {
    double weights = bytes_read(file_of(b, g->members[0])) * (is_repeated(b, g) ? 1 : count);
    return (tn__wide_memory){.weights = weights, .preparing = weights};
}

static tn_status count_group(const counting *c, int group, int count, tn__wide_memory *out,
                             tn_error *err) {
    const tn__wide_budget *b = c->b;
    const tn__wide_group *g = b->groups[group];
    tn__wide_estimating e = {.w = b->w,
                             .members = b->members,
                             .numbers = g->members,
                             .count = count,
                             .files = b->files,
                             .shares = c->shares ? &c->shares[group] : NULL};
    *out = (tn__wide_memory){0};
    if (!c->shares)
        *out = bound_of(b, g, count);
    else if (!e.shares->structure)
        *out = weights_of(b, g, count);
    else
        TN_CHECK(tn__wide_estimate(&e, out, err));
    return TN_OK;
}

/* The most that is taken at once while the groups are made one after the other and then run, of the first
 * `count` members. */
static tn_status count_all(counting *c, int count, double *out, tn_error *err) {
    double taken = 0, most = 0;
    c->all = (tn__wide_memory){0};
    for (int i = 0; i < c->b->group_count; i++) {
        const tn__wide_group *g = c->b->groups[i];
        tn__wide_memory e;
        int n = 0;
        while (n < g->count && g->members[n] < count) n++;
        if (!n) continue;
        TN_CHECK(count_group(c, i, n, &e, err));
        most = TN_MAX(most, taken + e.weights + e.preparing);
        taken += e.weights + e.activations;
        c->all.weights += e.weights;
        c->all.preparing = TN_MAX(c->all.preparing, e.preparing);
        c->all.activations += e.activations;
    }
    *out = TN_MAX(most, taken);
    return TN_OK;
}

typedef struct size_text {
    char at[32];
} size_text;

static size_text text_of(double bytes) {
    size_text t;
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
    size_t unit = 0;
    if (isinf(bytes)) {
        snprintf(t.at, sizeof t.at, "more than can be addressed");
        return t;
    }
    for (; bytes >= 1024 && unit + 1 < TN_COUNT(units); unit++) bytes /= 1024;
    snprintf(t.at, sizeof t.at, "%.*f %s", unit ? 1 : 0, bytes, units[unit]);
    return t;
}

static const char *limit_name(const tn_wide *w) {
    return w->options.memory > 0 ? "may be taken" : "are free";
}

/* What groups have already is not free any more. */
static double limit_of(const tn_wide *w) {
    if (w->options.memory <= 0) return (double)tn_memory_available();
    double limit = (double)w->options.memory;
    for (int i = 0; i < w->groups.count; i++) limit -= taken_by(&w->groups.at[i]);
    return TN_MAX(limit, 0);
}

/* The largest number of members that fits, where `count` do not: more of them never take less, and usually
 * each takes as much as the next. */
static tn_status find_most(counting *c, double limit, double need, int *out, tn_error *err) {
    int fits = 0, fails = c->b->count;
    double fits_need = 0, fails_need = need;
    for (int trial = 0; fails - fits > 1; trial++) {
        double share = (limit - fits_need) / (fails_need - fits_need);
        int middle = fits + (fails - fits) / 2;
        if (trial < TRIALS_BY_LINE && isfinite(fails_need))
            middle = fits + (int)(share * (fails - fits));
        middle = TN_MAX(fits + 1, TN_MIN(middle, fails - 1));
        TN_CHECK(count_all(c, middle, &need, err));
        bool fit = need <= limit;
        *(fit ? &fits : &fails) = middle;
        *(fit ? &fits_need : &fails_need) = need;
    }
    *out = fits;
    return TN_OK;
}

static tn_status refuse(counting *c, double limit, double need, tn_error *err) {
    const tn__wide_budget *b = c->b;
    const tn__wide_memory all = c->all;
    double one = need;
    int most;
    TN_CHECK(find_most(c, limit, need, &most, err));
    if (!most && b->count > 1) TN_CHECK(count_all(c, 1, &one, err));
    tn_str fit;
    tn_str_init_with(&fit, tn_arena_allocator(b->arena));
    if (most)
        tn_str_appendf(&fit, "at most %d fit%s", most, most == 1 ? "s" : "");
    else
        tn_str_appendf(&fit, "not even one fits, which takes %s", text_of(one).at);
    return tn_error_set(err, TN_OUT_OF_MEMORY,
                        "%d member%s take%s %s (weights %s, and %s more while they are packed; "
                        "activations, inputs and outputs %s), %s %s: %s",
                        b->count, b->count == 1 ? "" : "s", b->count == 1 ? "s" : "",
                        text_of(need).at, text_of(all.weights).at, text_of(all.preparing).at,
                        text_of(all.activations).at, text_of(limit).at, limit_name(b->w),
                        tn_str_text(&fit));
}

tn_status tn__wide_budget_check(const tn__wide_budget *b, tn_error *err) {
    double limit = limit_of(b->w), need;
    counting c = {.b = b};
    TN_CHECK(count_all(&c, b->count, &need, err));
    if (need <= limit) return TN_OK;
    c.shares = TN_NEW_N(b->arena, tn__wide_shares, b->group_count);
    for (int i = 0; i < b->group_count; i++)
        if (file_of(b, b->groups[i]->members[0])->structure.import)
            TN_CHECK(compare(b, b->groups[i], &c.shares[i], err));
    TN_CHECK(count_all(&c, b->count, &need, err));
    return need <= limit ? TN_OK : refuse(&c, limit, need, err);
}

/* ---- runs ---------------------------------------------------------------------------------- */

tn_status tn__wide_budget_run(const tn_wide *w, const tn__wide_group *g, const tn_buffer *inputs,
                              int count, tn_error *err) {
    tn_memory_use use;
    TN_CHECK(tn_session_measure(g->session, inputs, count, &use, err));
    double need = (double)use.temporaries + (double)use.outputs + (double)use.scratch;
    double limit = limit_of(w) + activation_bytes(g); /* which make room */
    if (need <= limit) return TN_OK;
    int fit = (int)(limit / need * g->count);
    char most[64] = "not even one fits";
    if (fit > 0) snprintf(most, sizeof most, "at most %d fit%s", fit, fit == 1 ? "s" : "");
    return tn_error_set(err, TN_OUT_OF_MEMORY,
                        "activations of %d member%s take %s for inputs of these sizes, %s %s "
                        "beside the weights: %s",
                        g->count, g->count == 1 ? "" : "s", text_of(need).at, text_of(limit).at,
                        limit_name(w), most);
}

/* Counting memory before it is taken. See budget.h. */
#include "wide/budget.h"

#include <stdio.h>
#include <stdlib.h>

#include "machine/detect.h"
#include "plan/plan.h"
#include "wide/compare.h"

/* Bytes that a group takes. */
typedef struct cost {
    double own, shared;               /* weights: of each member, of all */
    double own_packed, shared_packed; /* as runs read them */
    double activations;               /* of each member */
} cost;

/* More than kernels' forms of weights take of what they are made of: Winograd's F(6×6, 3×3) has 64 numbers
 * for 9. */
#define MOST_GROWTH 8.0

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
static tn_status compare(const tn__wide_budget *b, const tn__wide_group *g, cost *out,
                         tn_error *err) {
    tn_wide_member *members = TN_NEW_N(b->arena, tn_wide_member, g->count);
    for (int i = 0; i < g->count; i++) members[i] = b->members[g->members[i]];
    tn__wide_shares shares = {0};
    tn__wide_reader r = {.files = b->files, .members = members, .count = g->count};
    r.structure = &file_of(b, g->members[0])->structure;
    if (!r.structure->import) return TN_OK;
    tn_status status = tn__wide_compare(&r, b->arena, &shares, err);
    tn__wide_read_done(&r.first);
    tn__wide_read_done(&r.other);
    out->own = (double)shares.own_bytes;
    out->shared = (double)shares.shared_bytes;
    return status;
}

/* ---- activations ---------------------------------------------------------------------------- */

static int64_t *least_sizes(const tn_dims *dims, tn_arena *arena) {
    int64_t *symbols = TN_NEW_N(arena, int64_t, dims->symbols.len + 1);
    for (uint32_t i = 0; i < dims->symbols.len; i++) {
        const tn_dim_symbol *s = &dims->symbols.data[i];
        int64_t least = TN_MAX(s->lo, 1), step = TN_MAX(s->divisor, 1);
        symbols[i] = TN_MIN((least + step - 1) / step * step, s->hi);
    }
    return symbols;
}

/* All values of the graph, as if none made room for another: what it surely stays below. */
static double all_values(const tn_graph *g, const int64_t *symbols) {
    double bytes = 0;
    for (tn_value v = 0; v < g->values.len; v++) {
        const tn_type *t = tn_graph_type(g, v);
        tn_op op = tn_graph_producer(g, v)->op;
        double elements = 1;
        if (op == TN_OP_input || op == TN_OP_constant) continue;
        for (int a = 0; a < t->shape.rank; a++)
            elements *= (double)tn_dim_eval(g->dims, t->shape.dim[a], symbols);
        bytes += elements * (double)tn_dtype_size(t->dtype);
    }
    return bytes;
}

/* What runs read: prepared weights, and those that stay as they are. */
static double weight_bytes(const tn_program *p) {
    double bytes = (double)p->prepared_bytes;
    uint8_t *used = calloc(p->buffers.len + 1, 1);
    if (used) tn_program_buffer_uses(p, used);
    for (uint32_t i = 0; used && i < p->buffers.len; i++) {
        const tn_prog_buffer *b = &p->buffers.data[i];
        if (used[i] && b->store == TN_STORE_WEIGHT)
            bytes += (double)b->elements * (double)tn_dtype_size(b->dtype);
    }
    free(used);
    return bytes;
}

/* What the plan of one member takes: its weights as runs read them, temporaries and outputs. */
static tn_status plan_member(const tn__wide_budget *b, int member, cost *out, tn_error *err) {
    tn_import import;
    tn_program program;
    tn_memory_use use;
    tn_import_options options = *b->files->options;
    options.weights = false;
    TN_CHECK(tn_import_onnx(b->members[member].model, &options, b->arena, &import, err));
    tn_plan_options plan = {.target = tn_target_native()};
    tn_status status =
        import.graph ? tn_plan(import.graph, &plan, b->arena, &program, err) : TN_INVALID;
    if (status == TN_OK) {
        tn_executable x = {.program = &program};
        status = tn_instance_measure(&x, least_sizes(program.dims, b->arena), &use, err);
        out->activations = (double)use.temporaries + (double)use.outputs;
        double packed = weight_bytes(&program), all = TN_MAX(out->own + out->shared, 1);
        out->own_packed = packed * out->own / all;
        out->shared_packed = packed * out->shared / all;
    }
    tn_import_close(&import);
    return status;
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
    return (a ? weight_bytes(a->program) : 0) + activation_bytes(g);
}

int64_t tn__wide_group_bytes(const tn__wide_group *g) {
    return (int64_t)taken_by(g);
}

/* ---- together ------------------------------------------------------------------------------- */

/* The most that is taken at once while the groups are made one after the other, of the first `count`
 * members. */
static double needed(const tn__wide_budget *b, const cost *costs, int count) {
    double taken = 0, most = 0;
    for (int i = 0; i < b->group_count; i++) {
        const tn__wide_group *g = b->groups[i];
        int n = 0;
        while (n < g->count && g->members[n] < count) n++;
        if (!n) continue;
        double packed = costs[i].own_packed * n + costs[i].shared_packed;
        most = TN_MAX(most, taken + costs[i].own * n + packed);
        taken += packed + costs[i].activations * n;
    }
    return TN_MAX(most, taken);
}

typedef struct size_text {
    char at[32];
} size_text;

static size_text text_of(double bytes) {
    size_text t;
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
    size_t unit = 0;
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

/* The largest number of members that fits; more of them never take less. */
static int find_most(const tn__wide_budget *b, const cost *costs, double limit) {
    int fits = 0, fails = b->count;
    while (fails - fits > 1) {
        int middle = fits + (fails - fits) / 2;
        *(needed(b, costs, middle) <= limit ? &fits : &fails) = middle;
    }
    return fits;
}

static tn_status refuse(const tn__wide_budget *b, const cost *costs, double limit, tn_error *err) {
    double weights = 0, packed = 0, activations = 0;
    for (int i = 0; i < b->group_count; i++) {
        weights += costs[i].own * b->groups[i]->count;
        packed += costs[i].own_packed * b->groups[i]->count + costs[i].shared_packed;
        activations += costs[i].activations * b->groups[i]->count;
    }
    int most = find_most(b, costs, limit);
    tn_str fit;
    tn_str_init_with(&fit, tn_arena_allocator(b->arena));
    if (most)
        tn_str_appendf(&fit, "at most %d fit%s", most, most == 1 ? "s" : "");
    else
        tn_str_appendf(&fit, "not even one fits, which takes %s", text_of(needed(b, costs, 1)).at);
    return tn_error_set(err, TN_OUT_OF_MEMORY,
                        "%d member%s take%s %s (weights %s, and %s more while they are packed; "
                        "activations %s), %s %s: %s",
                        b->count, b->count == 1 ? "" : "s", b->count == 1 ? "s" : "",
                        text_of(needed(b, costs, b->count)).at, text_of(packed).at,
                        text_of(weights).at, text_of(activations).at, text_of(limit).at,
                        limit_name(b->w), tn_str_text(&fit));
}

tn_status tn__wide_budget_check(const tn__wide_budget *b, tn_error *err) {
    double limit = limit_of(b->w);
    cost *costs = TN_NEW_N(b->arena, cost, b->group_count);
    for (int i = 0; i < b->group_count; i++) {
        const tn__wide_file *f = file_of(b, b->groups[i]->members[0]);
        const tn_graph *g = f->import.graph;
        *(is_repeated(b, b->groups[i]) ? &costs[i].shared : &costs[i].own) = bytes_read(f);
        costs[i].own_packed = MOST_GROWTH * costs[i].own;
        costs[i].shared_packed = MOST_GROWTH * costs[i].shared;
        if (g) costs[i].activations = all_values(g, least_sizes(g->dims, b->arena));
    }
    if (needed(b, costs, b->count) <= limit) return TN_OK;
    for (int i = 0; i < b->group_count; i++) {
        if (costs[i].own > 0) TN_CHECK(compare(b, b->groups[i], &costs[i], err));
        costs[i].own_packed = costs[i].own; /* as they are, where no program is known */
        costs[i].shared_packed = costs[i].shared;
        if (file_of(b, b->groups[i]->members[0])->import.graph)
            TN_CHECK(plan_member(b, b->groups[i]->members[0], &costs[i], err));
    }
    if (needed(b, costs, b->count) <= limit) return TN_OK;
    return refuse(b, costs, limit, err);
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

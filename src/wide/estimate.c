/* Planning a group to count its memory. See estimate.h. */
#include "wide/estimate.h"

#include <math.h>
#include <stdlib.h>

#include "plan/plan.h"

#define MOST_COUNTED 0x1p45 /* bytes; address space is not larger by much */

int64_t *tn__wide_least_sizes(const tn_dims *dims, tn_arena *arena) {
    int64_t *symbols = TN_NEW_N(arena, int64_t, dims->symbols.len + 1);
    for (uint32_t i = 0; i < dims->symbols.len; i++) {
        const tn_dim_symbol *s = &dims->symbols.data[i];
        int64_t least = TN_MAX(s->lo, 1), step = TN_MAX(s->divisor, 1);
        symbols[i] = TN_MIN((least + step - 1) / step * step, s->hi);
    }
    return symbols;
}

double tn__wide_weight_bytes(const tn_program *p) {
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

static double input_bytes(const tn_program *p, const int64_t *symbols) {
    double bytes = 0;
    for (uint32_t i = 0; i < p->inputs.len; i++) {
        const tn_type *t = &p->inputs.data[i].type;
        double elements = 1;
        for (int a = 0; a < t->shape.rank; a++)
            elements *= (double)tn_dim_eval(p->dims, t->shape.dim[a], symbols);
        bytes += elements * (double)tn_dtype_size(t->dtype);
    }
    return bytes;
}

/* The largest stack is in memory as a window, at worst of three members' parts; whole, if it comes from
 * archives. */
static double preparing_bytes(const tn__wide_estimating *e) {
    const tn__structure *s = e->shares->structure;
    double largest = 0, all = 0;
    bool archives = false;
    for (uint32_t k = 0; k < s->weights.len; k++) {
        double one = (double)tn_array_bytes(&s->import->weights.data[s->weights.data[k]].array);
        if (!e->shares->weight[k]) continue;
        largest = TN_MAX(largest, one);
        all += one * e->count;
    }
    for (int i = 0; i < e->count && !archives; i++) {
        const char *path = e->members[e->numbers[i]].weights;
        archives = path && tn__wide_is_archive(path);
    }
    return archives ? all : TN_MIN(all, TN_SUPPLY_WINDOW + 3 * largest);
}

typedef struct planning {
    const tn__wide_estimating *e;
    tn__wide_recipe *r;
    tn_artifact *a;
    tn_workshop shop;
    tn__wide_memory *out;
} planning;

static tn_status import_guarded(void *argument, tn_error *err) {
    planning *x = argument;
    tn_import_options options = *x->e->files->options;
    options.weights = false;
    tn_model_maker maker = tn__wide_maker(x->r);
    return maker.import(maker.context, &options, x->a, err);
}

static tn_status count_guarded(void *argument, tn_error *err) {
    planning *x = argument;
    tn_artifact *a = x->a;
    const tn_program *p = a->program;
    tn_memory_use use;
    const int64_t *symbols = tn__wide_least_sizes(p->dims, &a->arena);
    x->out->weights = tn__wide_weight_bytes(p);
    TN_CHECK(tn_instance_measure(&a->executable, symbols, &use, err));
    x->out->activations = (double)use.temporaries + (double)use.outputs + (double)use.scratch +
                          input_bytes(p, symbols);
    return TN_OK;
}

static tn_status plan(planning *x, tn_error *err) {
    TN_CHECK(tn_guard(import_guarded, x, err));
    if (!x->a->import.graph) return TN_OK; /* what it takes is known with its inputs */
    TN_CHECK(tn_artifact_plan(x->a, &x->shop, x->a->import.graph, err));
    return tn_guard(count_guarded, x, err);
}

static tn_status plan_all(planning *x, tn_error *err) {
    const tn__wide_estimating *e = x->e;
    tn_model_options options = e->w->options.compile;
    options.dump = NULL;
    x->r = tn__wide_recipe_new(e->members, e->numbers, e->count, &e->w->options);
    if (!x->r) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    x->r->files = e->files;
    x->r->sketch = e->shares;
    TN_CHECK(tn_workshop_init(&x->shop, &options, err));
    x->a = tn_artifact_new();
    tn_status status = x->a ? plan(x, err) : tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    tn_artifact_release(x->a);
    tn_workshop_deinit(&x->shop);
    return status;
}

tn_status tn__wide_estimate(const tn__wide_estimating *e, tn__wide_memory *out, tn_error *err) {
    double own = (double)e->shares->own_bytes * e->count, shared = (double)e->shares->shared_bytes;
    *out = (tn__wide_memory){.weights = own + shared, .preparing = preparing_bytes(e)};
    if (own > MOST_COUNTED) {
        out->activations = INFINITY;
        return TN_OK;
    }
    planning x = {.e = e, .out = out};
    tn_status status = plan_all(&x, err);
    tn__wide_recipe_free(x.r);
    return status;
}

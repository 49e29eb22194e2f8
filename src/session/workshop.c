/* Options, compiler and threads. See workshop.h. */
#include "session/workshop.h"

#include "session/model_inner.h"

typedef struct copy_args {
    tn_workshop *w;
    const tn_model_options *options;
} copy_args;

static void copy_compounds(tn_model_options *o, tn_arena *arena) {
    int count = o->compounds ? TN_MAX(o->compound_count, 0) : 0;
    tn_compound_binding *copy = TN_NEW_N(arena, tn_compound_binding, count);
    for (int i = 0; i < count; i++) {
        const tn_compound_binding *from = &o->compounds[i];
        bool ranked = from->ranks && from->count > 0 && from->count <= TN_COMPOUND_MOST;
        copy[i] = (tn_compound_binding){tn_arena_strdup(arena, from->name), from->count, NULL};
        if (ranked)
            copy[i].ranks =
                tn_arena_dup(arena, from->ranks, sizeof *from->ranks * (size_t)from->count);
    }
    o->compounds = copy;
    o->compound_count = count;
}

/* Texts are copied. */
static tn_status copy_options(void *argument, tn_error *err) {
    copy_args *x = argument;
    tn_arena *arena = &x->w->arena;
    tn_model_options *o = &x->w->options;
    *o = (tn_model_options)TN_MODEL_OPTIONS_INIT;
    if (x->options) {
        if (x->options->size < sizeof(size_t) || x->options->size > 4096)
            return tn_error_set(err, TN_INVALID,
                                "tn_model_options.size is not set; start from "
                                "TN_MODEL_OPTIONS_INIT");
        memcpy(o, x->options, TN_MIN(x->options->size, sizeof *o));
        o->size = sizeof *o;
    }
    if (o->threads < 0 || o->threads > 4096)
        return tn_error_set(err, TN_INVALID, "%d threads are not possible", o->threads);
    if (o->cache) o->cache = tn_arena_strdup(arena, o->cache);
    if (o->dump_after) o->dump_after = tn_arena_strdup(arena, o->dump_after);
    int count = o->dims ? TN_MAX(o->dim_count, 0) : 0;
    tn_dim_binding *dims = TN_NEW_N(arena, tn_dim_binding, count);
    for (int i = 0; i < count; i++)
        dims[i] = (tn_dim_binding){tn_arena_strdup(arena, o->dims[i].name), o->dims[i].value};
    o->dims = dims;
    o->dim_count = count;
    copy_compounds(o, arena);
    return TN_OK;
}

tn_status tn_workshop_init(tn_workshop *w, const tn_model_options *options, tn_error *err) {
    *w = (tn_workshop){0};
    tn_arena_init(&w->arena, tn_allocator_system());
    copy_args copy = {w, options};
    tn_status status = tn_guard(copy_options, &copy, err);
    if (status == TN_OK) status = tn_compiler_init(&w->compiler, &w->options, err);
    if (status == TN_OK) {
        const tn_model *of = w->options.threads_of;
        w->pool = of ? tn_pool_share(of->workshop.pool) : tn_pool_create(w->options.threads);
        w->options.threads_of = NULL; /* it may go first */
        if (!w->pool) status = tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    }
    if (status != TN_OK) tn_workshop_deinit(w);
    return status;
}

void tn_workshop_deinit(tn_workshop *w) {
    tn_pool_release(w->pool);
    w->pool = NULL;
    tn_arena_deinit(&w->arena);
}

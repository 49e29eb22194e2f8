/* Building and loading compiled models. See artifact.h. */
#include "session/artifact.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "schedule/batch_pieces.h"
#include "session/blocks.h"
#include "session/tunings.h"

enum {
    MANY = 64 << 20
}; /* bytes of weights that are prepared by all threads whatever else goes on */

tn_artifact *tn_artifact_new(void) {
    tn_artifact *a = calloc(1, sizeof *a);
    if (!a) return NULL;
    atomic_init(&a->refs, 1);
    tn_arena_init(&a->arena, tn_allocator_system());
    a->kernels.object = (tn_object)TN_OBJECT_NONE;
    a->preparers.object = (tn_object)TN_OBJECT_NONE;
    return a;
}

tn_artifact *tn_artifact_retain(tn_artifact *a) {
    atomic_fetch_add(&a->refs, 1);
    return a;
}

void tn_artifact_release(tn_artifact *a) {
    if (!a || atomic_fetch_sub(&a->refs, 1) != 1) return;
    (void)tn_artifact_finish(a, NULL);
    tn_kernels_deinit(&a->kernels);
    tn_kernels_deinit(&a->preparers);
    if (a->prepared) munmap(a->prepared, a->prepared_size);
    tn_artifact_blocks_release(a);
    tn_program_close(&a->file);
    tn_import_close(&a->import);
    free(a->sources);
    tn_arena_deinit(&a->arena);
    free(a);
}

/* ---- weights -------------------------------------------------------------------------------- */

/* The map of an imported file that a source names. */
static const void *imported_bytes(const tn_artifact *a, const tn_prog_source *s) {
    for (uint32_t i = 0; i < a->import.maps.len; i++) {
        const tn_file_map *m = &a->import.maps.data[i];
        if (m->device == s->device && m->inode == s->inode && m->size == s->size) return m->data;
    }
    return NULL;
}

/* A source may be listed for its identity alone. */
static bool is_referred_to(const tn_program *p, uint32_t source) {
    for (uint32_t i = 0; i < p->buffers.len; i++)
        if (p->buffers.data[i].store == TN_STORE_WEIGHT && p->buffers.data[i].index == source)
            return true;
    return false;
}

static tn_status find_sources(tn_artifact *a, tn_error *err) {
    uint32_t n = a->program->sources.len;
    a->sources = calloc(n ? n : 1, sizeof *a->sources);
    if (!a->sources) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    for (uint32_t i = 0; i < n; i++) {
        tn_prog_source *s = &a->program->sources.data[i];
        if (!s->data) s->data = imported_bytes(a, s);
        a->sources[i] = s->data;
        if (!a->sources[i] && s->size > 0 && is_referred_to(a->program, i))
            return tn_error_set(err, TN_INVALID, "weight file %s is not open",
                                s->path ? s->path : "(unnamed)");
    }
    return TN_OK;
}

static tn_status run_prepare(const tn_executable *x, tn_error *err) {
    tn_instance *i = NULL;
    tn_status status = tn_instance_create(x, &i, err);
    if (status == TN_OK) status = tn_instance_bind(i, NULL, err);
    if (status == TN_OK) status = tn_instance_run(i, 1, err);
    tn_instance_release(i);
    return status;
}

/* Page-aligned and zeroed, so that gaps between weights are the same in every file. */
static tn_status prepare(tn_artifact *a, tn_kernel_fn *const *functions, tn_error *err) {
    size_t size = (size_t)a->program->prepared_bytes;
    if (size == 0) return TN_OK;
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory: prepared weights take %zu bytes",
                            size);
    a->prepared = memory;
    a->prepared_size = size;
    if (size >= 4u << 20) (void)madvise(memory, size, MADV_HUGEPAGE);
    a->executable.prepared = memory;
    tn_executable preparing = a->executable;
    preparing.functions = functions;
    tn_supply supply = tn_artifact_supply(a);
    preparing.supply = a->filler.context ? &supply : NULL;
    if (a->compile.running && size < MANY)
        preparing.pool = NULL; /* compilers have the other cores */
    TN_TRY(err, run_prepare(&preparing, err), "while preparing the weights");
    (void)mprotect(memory, size, PROT_READ);
    return TN_OK;
}

/* ---- kernels -------------------------------------------------------------------------------- */

/* A machine whose compiler cannot run (no temporary folder) still runs the model. */
static tn_status or_interpret(tn_status status, const tn_workshop *w, const tn_error *why,
                              tn_error *err) {
    static atomic_flag told = ATOMIC_FLAG_INIT;
    if (status == TN_IO && w->options.mode == TN_COMPILE_AUTO) {
        char text[1024];
        if (atomic_flag_test_and_set(&told)) return TN_OK;
        tn_error_format(why, text, sizeof text);
        tn_log_write(TN_LOG_WARN, "kernels are interpreted, which is slow: %s", text);
        return TN_OK;
    }
    if (status != TN_OK && err) *err = *why;
    return status;
}

static tn_status build_kernels(tn_kernels *k, const tn_artifact *a, tn_kernel_part part,
                               const tn_workshop *w, tn_error *err) {
    tn_error why = TN_ERROR_INIT;
    return or_interpret(tn_kernels_build(k, a->program, part, &w->compiler, &why), w, &why, err);
}

static tn_status make_executable(tn_artifact *a, const tn_workshop *w, tn_error *err) {
    TN_CHECK(find_sources(a, err));
    a->executable = (tn_executable){.program = a->program,
                                    .sources = a->sources,
                                    .prepared = (uint8_t *)(uintptr_t)a->file.prepared,
                                    .pool = w->pool,
                                    .driver = &tn_driver_cpu};
    return TN_OK;
}

static void take_kernels(tn_artifact *a) {
    tn_kernels_fill(&a->kernels, &a->preparers, a->program->kernels.len);
    a->executable.functions = a->kernels.functions;
    a->stats.kernels_cached = a->kernels.cached;
    a->stats.interpreted = !a->kernels.functions;
}

/* ---- compiling beside other work ------------------------------------------------------------ */

static void *compile(void *argument) {
    tn_artifact *a = argument;
    tn_artifact_compile *c = &a->compile;
    double start = tn_seconds();
    c->status = build_kernels(&a->kernels, a, TN_KERNELS_RUN, c->workshop, &c->err);
    c->seconds = tn_seconds() - start;
    return NULL;
}

/* Without a thread it is done at once. */
static void start_compile(tn_artifact *a, const tn_workshop *w) {
    tn_artifact_compile *c = &a->compile;
    *c = (tn_artifact_compile){.workshop = w, .err = TN_ERROR_INIT};
    c->running = w->compiler.has_cc && pthread_create(&c->thread, NULL, compile, a) == 0;
    if (!c->running) compile(a);
}

tn_status tn_artifact_finish(tn_artifact *a, tn_error *err) {
    tn_artifact_compile *c = &a->compile;
    if (!c->workshop) return TN_OK;
    if (c->running) pthread_join(c->thread, NULL);
    c->workshop = NULL;
    a->stats.kernels = c->seconds;
    take_kernels(a);
    if (c->status != TN_OK && err) *err = c->err;
    return c->status;
}

/* ---- building ------------------------------------------------------------------------------- */

typedef struct plan_args {
    tn_artifact *a;
    const tn_workshop *w;
    const tn_graph *g;
    const tn_artifact_trial *trial; /* NULL: none */
} plan_args;

void tn_artifact_take_compounds(tn_artifact *a) {
    const tn_import *i = &a->import;
    tn_program *p = &a->planned;
    for (uint32_t n = 0; n < i->input_compounds.len; n++)
        tn_vec_push(&a->arena, &p->input_compounds, i->input_compounds.data[n]);
    for (uint32_t n = 0; n < i->output_compounds.len; n++)
        tn_vec_push(&a->arena, &p->output_compounds, i->output_compounds.data[n]);
}

static tn_status plan_guarded(void *argument, tn_error *err) {
    plan_args *p = argument;
    const tn_model_options *o = &p->w->options;
    const tn_record_source *records = p->trial ? p->trial->records : NULL;
    int64_t piece = p->trial ? p->trial->batch_piece : TN_PIECE_BY_COST;
    tn_tunings tunings;
    tn_record_source remembered;
    if (!records && !o->no_tuned && tn_tunings_open(&tunings, &p->w->compiler)) {
        remembered = tn_tunings_source(&tunings);
        records = &remembered;
        if (!p->trial) piece = tn_tunings_piece(&tunings, p->g);
    }
    tn_plan_options options = {.target = p->w->compiler.target,
                               .costs = &p->w->compiler.costs,
                               .records = records,
                               .batch_piece = piece,
                               .no_opt = o->no_opt,
                               .dump = o->dump,
                               .dump_after = o->dump_after,
                               .dump_context = o->dump_context};
    TN_CHECK(tn_plan(p->g, &options, &p->a->arena, &p->a->planned, err));
    p->a->planned.plan.tuned_piece = piece;
    tn_artifact_take_compounds(p->a);
    p->a->program = &p->a->planned;
    TN_TRY(err, tn_program_verify(p->a->program, err), "the planned program is not valid");
    return TN_OK;
}

static tn_status plan(tn_artifact *a, const tn_workshop *w, const tn_graph *g,
                      const tn_artifact_trial *trial, tn_error *err) {
    double start = tn_seconds();
    plan_args args = {a, w, g, trial};
    TN_CHECK(tn_guard(plan_guarded, &args, err));
    a->stats.plan = tn_seconds() - start;
    TN_CHECK(make_executable(a, w, err));
    tn_artifact_blocks_mark(a);
    return TN_OK;
}

tn_status tn_artifact_plan(tn_artifact *a, const tn_workshop *w, const tn_graph *g, tn_error *err) {
    return plan(a, w, g, NULL, err);
}

/* The kernels that prepare the weights are few and short. */
tn_status tn_artifact_start(tn_artifact *a, const tn_workshop *w, const tn_graph *g,
                            const tn_artifact_trial *trial, tn_error *err) {
    TN_CHECK(plan(a, w, g, trial, err));
    double start = tn_seconds();
    TN_CHECK(build_kernels(&a->preparers, a, TN_KERNELS_PREPARE, w, err));
    start_compile(a, w);
    tn_status status = prepare(a, a->preparers.functions, err);
    a->stats.prepare = tn_seconds() - start;
    if (status == TN_OK) tn_artifact_blocks_keep(a);
    if (status != TN_OK) (void)tn_artifact_finish(a, NULL);
    return status;
}

/* Most kernels are those of `like`: there is nothing to do meanwhile. */
static tn_status build_trial(tn_artifact *a, const tn_workshop *w, const tn_graph *g,
                             const tn_artifact_trial *trial, tn_error *err) {
    TN_CHECK(plan(a, w, g, trial, err));
    double start = tn_seconds();
    tn_error why = TN_ERROR_INIT;
    const tn_artifact *like = trial->like;
    tn_status status = tn_kernels_build_trial(&a->kernels, a->program, like->program,
                                              &like->kernels, &w->compiler, &why);
    TN_CHECK(or_interpret(status, w, &why, err));
    take_kernels(a);
    a->stats.kernels = tn_seconds() - start;
    TN_CHECK(prepare(a, a->kernels.functions, err));
    tn_artifact_blocks_keep(a);
    return TN_OK;
}

tn_status tn_artifact_build(tn_artifact *a, const tn_workshop *w, const tn_graph *g,
                            const tn_artifact_trial *trial, tn_error *err) {
    if (trial && trial->like) return build_trial(a, w, g, trial, err);
    TN_CHECK(tn_artifact_start(a, w, g, trial, err));
    return tn_artifact_finish(a, err);
}

/* ---- program files -------------------------------------------------------------------------- */

/* The cache's entry that says that this user wrote the program. */
typedef struct mark {
    char name[72];
} mark;

static mark mark_of(const char identity[65]) {
    mark m;
    snprintf(m.name, sizeof m.name, "%.64s.own", identity);
    return m;
}

static bool is_trusted(const tn_artifact *a, const tn_workshop *w) {
    tn_cache_entry entry;
    if (w->options.trust || !a->file.identity[0]) return true;
    bool known = tn_cache_get(&w->compiler.cache, mark_of(a->file.identity).name, &entry);
    if (known) tn_cache_entry_close(&entry);
    return known;
}

static void warn_foreign(const char *path) {
    tn_log_write(
        TN_LOG_WARN,
        "%s was not compiled by this user here: its kernels are interpreted, which is slow, "
        "and each access is checked; --trust compiles them, as code that you trust",
        path);
}

tn_status tn_artifact_load(tn_artifact *a, const tn_workshop *w, const char *path, bool own,
                           tn_error *err) {
    double start = tn_seconds();
    TN_CHECK(tn_program_load(&a->file, &a->arena, path, own, err));
    double loaded = tn_seconds();
    a->stats.load = loaded - start;
    a->program = &a->file.program;
    TN_CHECK(make_executable(a, w, err));
    a->stats.foreign = !is_trusted(a, w);
    if (!a->stats.foreign)
        TN_CHECK(build_kernels(&a->kernels, a, TN_KERNELS_RUN, w, err));
    else if (w->compiler.has_cc)
        warn_foreign(path);
    take_kernels(a);
    a->stats.kernels = tn_seconds() - loaded;
    return TN_OK;
}

tn_status tn_artifact_store(const tn_artifact *a, const char *path, tn_error *err) {
    return tn_program_save(a->program, a->executable.prepared, true, path, NULL, err);
}

tn_status tn_artifact_save(const tn_artifact *a, const tn_cache *cache, const char *path,
                           tn_error *err) {
    char identity[65];
    TN_CHECK(tn_program_save(a->program, a->executable.prepared, false, path, identity, err));
    bool marked = !a->stats.foreign && tn_cache_usable(cache) &&
                  tn_cache_put(cache, mark_of(identity).name, "", 0);
    if (!marked && !a->stats.foreign)
        tn_log_write(TN_LOG_WARN,
                     "%s: no cache remembers that this user wrote it; it needs --trust to run "
                     "compiled",
                     path);
    return TN_OK;
}

/* Building and loading compiled models. See artifact.h. */
#include "session/artifact.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "session/tunings.h"

tn_artifact *tn_artifact_new(void) {
    tn_artifact *a = calloc(1, sizeof *a);
    if (!a) return NULL;
    atomic_init(&a->refs, 1);
    tn_arena_init(&a->arena, tn_allocator_system());
    a->kernels.object = (tn_object)TN_OBJECT_NONE;
    return a;
}

tn_artifact *tn_artifact_retain(tn_artifact *a) {
    atomic_fetch_add(&a->refs, 1);
    return a;
}

void tn_artifact_release(tn_artifact *a) {
    if (!a || atomic_fetch_sub(&a->refs, 1) != 1) return;
    tn_kernels_deinit(&a->kernels);
    if (a->prepared) munmap(a->prepared, a->prepared_size);
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

static tn_status find_sources(tn_artifact *a, tn_error *err) {
    uint32_t n = a->program->sources.len;
    a->sources = calloc(n ? n : 1, sizeof *a->sources);
    if (!a->sources) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    for (uint32_t i = 0; i < n; i++) {
        tn_prog_source *s = &a->program->sources.data[i];
        if (!s->data) s->data = imported_bytes(a, s);
        a->sources[i] = s->data;
        if (!a->sources[i] && s->size > 0)
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
static tn_status prepare(tn_artifact *a, tn_error *err) {
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
    TN_TRY(err, run_prepare(&a->executable, err), "while preparing the weights");
    (void)mprotect(memory, size, PROT_READ);
    return TN_OK;
}

/* ---- building ------------------------------------------------------------------------------- */

/* A machine whose compiler cannot run (no temporary folder) still runs the model. */
static tn_status build_kernels(tn_artifact *a, const tn_workshop *w, const tn_artifact *like,
                               tn_error *err) {
    tn_error why = TN_ERROR_INIT;
    tn_status status = like ? tn_kernels_build_trial(&a->kernels, a->program, like->program,
                                                     &like->kernels, &w->compiler, &why)
                            : tn_kernels_build(&a->kernels, a->program, &w->compiler, &why);
    if (status == TN_IO && w->options.mode == TN_COMPILE_AUTO) {
        char text[1024];
        tn_error_format(&why, text, sizeof text);
        tn_log(TN_LOG_WARN, "kernels are interpreted, which is slow: %s", text);
        status = TN_OK;
    }
    if (status != TN_OK && err) *err = why;
    a->stats.kernels_cached = a->kernels.cached;
    a->stats.interpreted = !a->kernels.functions;
    return status;
}

static tn_status make_executable(tn_artifact *a, const tn_workshop *w, const tn_artifact *like,
                                 tn_error *err) {
    double start = tn_seconds();
    TN_CHECK(build_kernels(a, w, like, err));
    a->stats.kernels = tn_seconds() - start;
    TN_CHECK(find_sources(a, err));
    a->executable = (tn_executable){.program = a->program,
                                    .functions = a->kernels.functions,
                                    .sources = a->sources,
                                    .prepared = (uint8_t *)(uintptr_t)a->file.prepared,
                                    .pool = w->pool,
                                    .driver = &tn_driver_cpu};
    return TN_OK;
}

typedef struct plan_args {
    tn_artifact *a;
    const tn_workshop *w;
    const tn_graph *g;
    const tn_record_source *records; /* NULL: what tuning remembered */
} plan_args;

static tn_status plan_guarded(void *argument, tn_error *err) {
    plan_args *p = argument;
    const tn_model_options *o = &p->w->options;
    tn_tunings tunings;
    tn_record_source remembered;
    if (!p->records && !o->no_tuned && tn_tunings_open(&tunings, &p->w->compiler)) {
        remembered = tn_tunings_source(&tunings);
        p->records = &remembered;
    }
    tn_plan_options options = {.target = p->w->compiler.target,
                               .costs = &p->w->compiler.costs,
                               .records = p->records,
                               .no_opt = o->no_opt,
                               .dump = o->dump,
                               .dump_after = o->dump_after,
                               .dump_context = o->dump_context};
    TN_CHECK(tn_plan(p->g, &options, &p->a->arena, &p->a->planned, err));
    p->a->program = &p->a->planned;
    TN_TRY(err, tn_program_verify(p->a->program, err), "the planned program is not valid");
    return TN_OK;
}

tn_status tn_artifact_build(tn_artifact *a, const tn_workshop *w, const tn_graph *g,
                            const tn_artifact_trial *trial, tn_error *err) {
    double start = tn_seconds();
    plan_args plan = {a, w, g, trial ? trial->records : NULL};
    TN_CHECK(tn_guard(plan_guarded, &plan, err));
    a->stats.plan = tn_seconds() - start;
    TN_CHECK(make_executable(a, w, trial ? trial->like : NULL, err));
    start = tn_seconds();
    TN_CHECK(prepare(a, err));
    a->stats.prepare = tn_seconds() - start;
    return TN_OK;
}

tn_status tn_artifact_load(tn_artifact *a, const tn_workshop *w, const char *path, tn_error *err) {
    double start = tn_seconds();
    TN_CHECK(tn_program_load(&a->file, &a->arena, path, err));
    a->stats.load = tn_seconds() - start;
    a->program = &a->file.program;
    return make_executable(a, w, NULL, err);
}

tn_status tn_artifact_save(const tn_artifact *a, bool external, const char *path, tn_error *err) {
    return tn_program_save(a->program, a->executable.prepared, external, path, err);
}

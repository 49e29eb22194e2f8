/* Compiled graphs of lazy tensors, and running them. See lazy.h. */
#include <stdlib.h>

#include "nn/lazy.h"
#include "session/program_cache.h"

/* ---- programs ------------------------------------------------------------------------------- */

tn__program *tn__program_new(tn_hash128 key) {
    tn__program *p = calloc(1, sizeof *p);
    if (!p) return NULL;
    *p = (tn__program){.refs = 1, .key = key, .artifact = tn_artifact_new()};
    if (p->artifact) return p;
    free(p);
    return NULL;
}

void tn__program_release(tn__program *p) {
    if (--p->refs > 0) return;
    tn_instance_release(p->instance);
    tn_artifact_release(p->artifact);
    free(p);
}

static void push_front(tn_context *c, tn__program *p) {
    p->next = c->programs;
    c->programs = p;
}

tn__program *tn__program_find(tn_context *c, tn_hash128 key) {
    for (tn__program **at = &c->programs; *at; at = &(*at)->next) {
        tn__program *p = *at;
        if (p->key.lo != key.lo || p->key.hi != key.hi) continue;
        *at = p->next;
        push_front(c, p);
        p->refs++;
        return p;
    }
    return NULL;
}

static void drop_last(tn_context *c) {
    tn__program **at = &c->programs;
    while ((*at)->next) at = &(*at)->next;
    tn__program_release(*at);
    *at = NULL;
    c->program_count--;
}

void tn__program_keep(tn_context *c, tn__program *p) {
    if (c->program_count == c->program_limit) drop_last(c);
    p->refs++;
    push_front(c, p);
    c->program_count++;
}

void tn__programs_release(tn_context *c) {
    while (c->programs) drop_last(c);
}

/* ---- compiling ------------------------------------------------------------------------------ */

typedef struct compile_args {
    const tn_workshop *workshop;
    tn__program *program;
    tn_str text;
} compile_args;

/* All that the program depends on. The rule is plain data, whose pointer is not set yet. */
static tn_status describe(void *argument, tn_error *err) {
    compile_args *x = argument;
    const tn__program *p = x->program;
    char hash[65];
    (void)err;
    tn_program_cache_identify(x->workshop, &x->text);
    tn_graph_hash(p->graph, hash);
    tn_str_appendf(&x->text, "lazy %s\n", hash);
    if (p->recomputes) tn__recompute_append(&p->rule, &x->text);
    return TN_OK;
}

/* A graph that is planned as quickly as a file is read is not kept in the cache. */
static bool find_name(const tn_workshop *w, tn__program *p, char out[TN_PROGRAM_CACHE_NAME]) {
    if (p->graph->nodes.len < TN__CACHED_NODES || w->options.dump ||
        !tn_cache_usable(&w->compiler.cache))
        return false;
    compile_args x = {.workshop = w, .program = p};
    tn_str_init(&x.text);
    bool known = tn_guard(describe, &x, NULL) == TN_OK;
    if (known) tn_program_cache_name(&x.text, out);
    tn_str_deinit(&x.text);
    return known;
}

static tn_status recompute(void *argument, tn_error *err) {
    compile_args *x = argument;
    tn__program *p = x->program;
    tn_graph *made = tn_graph_new_like(p->graph);
    tn_recompute_result unused;
    p->rule.costs = &x->workshop->compiler.costs;
    TN_TRY(err, tn_recompute_run(p->graph, &p->rule, made, &unused, err),
           "while choosing what the backward pass keeps");
    p->graph = made;
    return TN_OK;
}

/* The artifact, from the cache or planned from the graph, which the new one need not keep. */
static tn_status make_artifact(const tn_workshop *w, tn__program *p, tn_error *err) {
    char name[TN_PROGRAM_CACHE_NAME];
    tn_artifact *found;
    bool cached = find_name(w, p, name);
    if (cached && tn_program_cache_load(w, name, &found)) {
        tn_artifact_release(p->artifact);
        p->artifact = found;
        return TN_OK;
    }
    compile_args x = {.workshop = w, .program = p};
    if (p->recomputes) TN_CHECK(tn_guard(recompute, &x, err));
    TN_CHECK(tn_artifact_start(p->artifact, w, p->graph, NULL, err));
    if (cached) tn_program_cache_store(w, name, p->artifact); /* while the kernels are compiled */
    return tn_artifact_finish(p->artifact, err);
}

static tn_status compile(const tn_context *c, tn__program *p, tn_error *err) {
    static const int64_t none[1];
    tn_status status = make_artifact(&c->workshop, p, err);
    p->graph = NULL;
    TN_CHECK(status);
    TN_CHECK(tn_instance_create(&p->artifact->executable, &p->instance, err));
    return tn_instance_bind(p->instance, none, err);
}

static tn_status compile_once(tn_context *c, tn__program *p, tn_error *err) {
    if (p->instance || p->status != TN_OK) {
        if (p->status != TN_OK && err) *err = p->error;
        return p->status;
    }
    tn_error why = TN_ERROR_INIT;
    p->status = compile(c, p, &why);
    p->error = why;
    if (p->status != TN_OK && err) *err = why;
    pthread_mutex_lock(&c->lock);
    c->stats.compiles++;
    c->stats.cached += p->status == TN_OK && p->artifact->stats.program_cached;
    pthread_mutex_unlock(&c->lock);
    return p->status;
}

/* ---- running -------------------------------------------------------------------------------- */

/* A result that lies elsewhere, because it is an input or another result too, is copied. */
static void copy_result(const tn_instance *instance, uint32_t i, const tn__storage *s) {
    const void *value = tn_instance_output(instance, i);
    if (value != s->data && s->bytes) memmove(s->data, value, s->bytes);
}

/* Memory for the outputs in place of inputs: that of the input, unless somebody else still needs its value. */
static tn_status take_over(tn_context *c, const tn__run *run, tn_error *err) {
    bool ok = true;
    pthread_mutex_lock(&c->lock);
    for (uint32_t i = 0; i < run->output_count && ok; i++)
        if (run->in_place[i])
            ok = tn__storage_take_over(c, run->outputs[i], run->inputs[run->in_place[i] - 1]);
    pthread_mutex_unlock(&c->lock);
    return ok ? TN_OK : tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
}

static tn_status execute(tn_context *c, const tn__run *run, tn_error *err) {
    tn_instance *instance = run->program->instance;
    TN_CHECK(take_over(c, run, err));
    for (uint32_t i = 0; i < run->input_count; i++)
        tn_instance_set_input(instance, i, run->inputs[i]->data);
    for (uint32_t i = 0; i < run->output_count; i++) {
        void *data = run->outputs[i]->data;
        uint32_t input = run->in_place[i] - 1;
        tn_instance_set_output(instance, i, data);
        if (run->in_place[i] && !run->inputs[input]->data) /* it has moved */
            tn_instance_set_input(instance, input, data);
    }
    tn_instance_profile(instance, c->profiling);
    tn_instance_reset(instance); /* everything is computed anew from the inputs */
    TN_CHECK(tn_instance_run(instance, 0, err));
    for (uint32_t i = 0; i < run->output_count; i++) copy_result(instance, i, run->outputs[i]);
    return TN_OK;
}

/* False when one of them failed. */
static bool wait_for_inputs(tn_context *c, const tn__run *run) {
    bool ok = true;
    pthread_mutex_lock(&c->lock);
    for (uint32_t i = 0; i < run->input_count; i++) {
        while (!run->inputs[i]->ready) pthread_cond_wait(&c->done, &c->lock);
        ok = ok && !run->inputs[i]->failed;
    }
    pthread_mutex_unlock(&c->lock);
    return ok;
}

static void note(tn_context *c, const tn__run *run) {
    const tn_program *p = run->program->artifact->program;
    c->stats.runs++;
    c->stats.kernels = 0;
    for (uint32_t i = 0; i < p->blocks.len; i++)
        for (uint32_t s = 0; i != 1 && s < p->blocks.data[i].steps.len; s++)
            c->stats.kernels += p->blocks.data[i].steps.data[s].kind == TN_STEP_KERNEL;
    c->stats.temporary_bytes = tn_instance_memory(run->program->instance).temporaries;
}

tn_status tn__run_now(tn_context *c, tn__run *run, tn_error *err) {
    tn_status status = TN_POISONED;
    if (wait_for_inputs(c, run)) {
        pthread_mutex_lock(&c->running);
        status = compile_once(c, run->program, err);
        if (status == TN_OK) status = execute(c, run, err);
        pthread_mutex_unlock(&c->running);
    } else {
        tn_error_set(err, status, "what it is computed from failed");
    }
    pthread_mutex_lock(&c->lock);
    if (status == TN_OK) note(c, run);
    for (uint32_t i = 0; i < run->output_count; i++) {
        run->outputs[i]->ready = true;
        run->outputs[i]->failed = status != TN_OK;
    }
    tn__run_release(c, run);
    pthread_cond_broadcast(&c->done);
    pthread_mutex_unlock(&c->lock);
    return status;
}

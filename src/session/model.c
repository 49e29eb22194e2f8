/* Opening models and describing their ports. See tenon/session.h. */
#include <stdlib.h>

#include "session/blocks.h"
#include "session/model_inner.h"

/* ---- making and releasing ------------------------------------------------------------------- */

static void model_release(tn_model *m) {
    if (!m || atomic_fetch_sub(&m->refs, 1) != 1) return;
    for (uint32_t i = 0; i < TN__VARIANTS; i++) tn_artifact_release(m->variants[i].artifact);
    tn_artifact_release(m->signature);
    tn_artifact_release(m->inspected);
    if (m->maker.release) m->maker.release(m->maker.context);
    tn_workshop_deinit(&m->workshop);
    pthread_mutex_destroy(&m->lock);
    tn_arena_deinit(&m->arena);
    free(m);
}

void tn_model_release(tn_model *model) {
    model_release(model);
}

typedef struct path_args {
    tn_model *m;
    const char *path;
} path_args;

static tn_status copy_path(void *argument, tn_error *err) {
    path_args *x = argument;
    (void)err;
    x->m->path = tn_arena_strdup(&x->m->arena, x->path);
    return TN_OK;
}

static tn_status model_new(const char *path, const tn_model_options *options, tn_model **out,
                           tn_error *err) {
    tn_model *m = calloc(1, sizeof *m);
    if (!m) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    atomic_init(&m->refs, 1);
    pthread_mutex_init(&m->lock, NULL);
    tn_arena_init(&m->arena, tn_allocator_system());
    path_args copy = {m, path};
    tn_status status = tn_workshop_init(&m->workshop, options, err);
    if (status == TN_OK && path) status = tn_guard(copy_path, &copy, err);
    if (status == TN_OK)
        *out = m;
    else
        model_release(m);
    return status;
}

/* Gives `a` to the model as what describes its ports. */
static tn_status set_signature(tn_model *m, tn_artifact *a, tn_error *err) {
    bool grown;
    m->signature = a;
    m->ports = a->program;
    return tn__model_add_needs(m, a->program, &grown, err);
}

static tn_status open_program(tn_model *m, tn_error *err) {
    tn_artifact *a = tn_artifact_new();
    if (!a) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    tn_status status = tn_artifact_load(a, &m->workshop, m->path, false, err);
    if (status == TN_OK && tn_program_has_needs(a->program))
        status = tn_error_set(err, TN_INVALID, "%s: the program was never specialised", m->path);
    if (status == TN_OK) return set_signature(m, a, err);
    tn_artifact_release(a);
    return status;
}

static tn_status open_model(tn_model *m, tn_error *err) {
    tn_artifact *a;
    TN_CHECK(tn__model_make(m, NULL, NULL, &a, err));
    return set_signature(m, a, err);
}

tn_status tn_model_open(const char *path, const tn_model_options *options, tn_model **out,
                        tn_error *err) {
    *out = NULL;
    char *full;
    TN_CHECK(tn_file_absolute(path, &full, err));
    tn_model *m;
    tn_status status = model_new(full, options, &m, err);
    free(full);
    TN_CHECK(status);
    status = tn_program_is_file(m->path) ? open_program(m, err) : open_model(m, err);
    if (status == TN_OK)
        *out = m;
    else
        model_release(m);
    return status;
}

tn_status tn_model_from_graph(const tn_graph *g, const tn_model_options *options, tn_model **out,
                              tn_error *err) {
    tn_model *m;
    *out = NULL;
    TN_CHECK(model_new(NULL, options, &m, err));
    m->given = g;
    tn_artifact *a = tn_artifact_new();
    tn_status status = a ? tn_artifact_build(a, &m->workshop, g, NULL, err)
                         : tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    if (status == TN_OK) {
        status = set_signature(m, a, err);
    } else {
        tn_artifact_release(a);
    }
    if (status == TN_OK)
        *out = m;
    else
        model_release(m);
    return status;
}

tn_status tn_model_from_maker(const tn_model_maker *maker, const tn_model_options *options,
                              tn_model **out, tn_error *err) {
    tn_model *m;
    *out = NULL;
    tn_status status = model_new(NULL, options, &m, err);
    if (status != TN_OK) {
        maker->release(maker->context);
        return status;
    }
    m->maker = *maker;
    status = open_model(m, err);
    if (status == TN_OK)
        *out = m;
    else
        model_release(m);
    return status;
}

const char *tn__model_name(const tn_model *m) {
    return m->path ? m->path : m->maker.name ? m->maker.name : "the model";
}

/* ---- ports ---------------------------------------------------------------------------------- */

int tn_model_input_count(const tn_model *m) {
    return (int)m->ports->inputs.len;
}
int tn_model_output_count(const tn_model *m) {
    return (int)m->ports->outputs.len;
}

typedef struct port_args {
    tn_model *m;
    const tn_program *program;
    const tn_prog_port *port;
    tn_port_info *out;
} port_args;

static tn_status describe_port(void *argument, tn_error *err) {
    (void)err;
    port_args *x = argument;
    tn_model *m = x->m;
    const tn_type *t = &x->port->type;
    *x->out = (tn_port_info){.name = x->port->name, .dtype = t->dtype, .rank = t->shape.rank};
    tn_str text;
    for (int a = 0; a < t->shape.rank; a++) {
        tn_dim d = t->shape.dim[a];
        x->out->dim[a] = tn_dim_is_const(d) ? d : -1;
        if (tn_dim_is_const(d)) continue;
        tn_str_init_with(&text, tn_arena_allocator(&m->arena));
        tn_dim_print(x->program->dims, d, &text);
        x->out->symbol[a] = tn_str_text(&text);
    }
    return TN_OK;
}

tn_status tn__model_port(const tn_model *model, const tn_program *p, bool output, int i,
                         tn_port_info *out) {
    *out = (tn_port_info){0};
    uint32_t count = output ? p->outputs.len : p->inputs.len;
    if (i < 0 || (uint32_t)i >= count) return TN_NOT_FOUND;
    tn_model *m = (tn_model *)(uintptr_t)model; /* texts go to its arena, under its lock */
    port_args x = {m, p, output ? &p->outputs.data[i] : &p->inputs.data[i], out};
    pthread_mutex_lock(&m->lock);
    tn_status status = tn_guard(describe_port, &x, NULL);
    pthread_mutex_unlock(&m->lock);
    return status;
}

tn_status tn_model_input(const tn_model *m, int i, tn_port_info *out) {
    return tn__model_port(m, m->ports, false, i, out);
}
tn_status tn_model_output(const tn_model *m, int i, tn_port_info *out) {
    return tn__model_port(m, m->ports, true, i, out);
}

int tn_model_input_compound_count(const tn_model *m) {
    return (int)m->ports->input_compounds.len;
}
int tn_model_output_compound_count(const tn_model *m) {
    return (int)m->ports->output_compounds.len;
}

tn_status tn__compound_at(const tn_compound *at, uint32_t count, int i, tn_compound *out) {
    bool is_there = i >= 0 && (uint32_t)i < count;
    *out = is_there ? at[i] : (tn_compound){0};
    return is_there ? TN_OK : TN_NOT_FOUND;
}

tn_status tn_model_input_compound(const tn_model *m, int i, tn_compound *out) {
    return tn__compound_at(m->ports->input_compounds.data, m->ports->input_compounds.len, i, out);
}
tn_status tn_model_output_compound(const tn_model *m, int i, tn_compound *out) {
    return tn__compound_at(m->ports->output_compounds.data, m->ports->output_compounds.len, i, out);
}

/* ---- for the rest of Tenon ------------------------------------------------------------------ */

static const tn_compound *unbound_at(const tn_program *p, uint32_t i) {
    for (uint32_t k = 0; k < p->input_compounds.len; k++)
        if (p->input_compounds.data[k].count == TN_COMPOUND_UNKNOWN && i-- == 0)
            return &p->input_compounds.data[k];
    return NULL;
}

int tn_model_need_count(const tn_model *m) {
    uint32_t unbound = 0;
    while (unbound_at(m->ports, unbound)) unbound++;
    return (int)(m->ports->need_values.len + m->ports->need_dims.len + unbound);
}

typedef struct need_args {
    tn_model *m;
    uint32_t i;
    const char *text;
} need_args;

static tn_status describe_need(void *argument, tn_error *err) {
    (void)err;
    need_args *x = argument;
    const tn_program *p = x->m->ports;
    uint32_t values = p->need_values.len, sizes = p->need_dims.len;
    if (x->i < values)
        x->text = tn_arena_printf(&x->m->arena, "input '%s'", p->need_values.data[x->i]);
    else if (x->i - values < sizes)
        x->text = tn_arena_printf(&x->m->arena, "size '%s'", p->need_dims.data[x->i - values]);
    else
        x->text = tn_arena_printf(&x->m->arena, "the number of tensors of '%s'",
                                  unbound_at(p, x->i - values - sizes)->name);
    return TN_OK;
}

const char *tn_model_need(const tn_model *model, int i) {
    tn_model *m = (tn_model *)(uintptr_t)model;
    need_args x = {m, (uint32_t)i, NULL};
    if (i < 0 || i >= tn_model_need_count(model)) return NULL;
    pthread_mutex_lock(&m->lock);
    tn_status status = tn_guard(describe_need, &x, NULL);
    pthread_mutex_unlock(&m->lock);
    return status == TN_OK ? x.text : NULL;
}

/* The graph of an artifact that was just built is there; one from a cache is imported for it. */
static tn_status find_graph(tn_model *m, const tn_buffer *inputs, const int64_t *symbols,
                            const tn_graph **out, tn_error *err) {
    if (m->given || m->graph) {
        *out = m->given ? m->given : m->graph;
        return TN_OK;
    }
    if (!m->maker.import && (!m->path || tn_program_is_file(m->path)))
        return tn_error_set(err, TN_UNSUPPORTED, "a program file holds no graph");
    if (m->signature->import.graph) {
        *out = m->graph = m->signature->import.graph;
        return TN_OK;
    }
    tn_artifact *a = tn_artifact_new();
    if (!a) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    tn_status status = tn__model_import(m, a, inputs, symbols, err);
    if (status == TN_OK && !a->import.graph)
        status = tn_error_set(err, TN_INVALID, "%s needs values first: %s", tn__model_name(m),
                              a->import.need_reason ? a->import.need_reason : "see its inputs");
    if (status != TN_OK) {
        tn_artifact_release(a);
        return status;
    }
    tn_artifact_blocks_fill(a);
    m->inspected = a;
    *out = m->graph = a->import.graph;
    return TN_OK;
}

tn_status tn_model_graph(tn_model *m, const tn_buffer *inputs, int input_count,
                         const tn_graph **out, tn_error *err) {
    *out = NULL;
    int64_t *symbols = NULL;
    if (inputs && tn_model_need_count(m) > 0) {
        /* Compiling for the inputs finds everything that the model needs. */
        tn_hash128 bound;
        tn_artifact *a = NULL;
        symbols = calloc(m->ports->dims->symbols.len + 1, sizeof *symbols);
        if (!symbols) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
        tn_status made = tn__model_artifact(m, inputs, input_count, symbols, &bound, &a, err);
        tn_artifact_release(a);
        if (made != TN_OK) {
            free(symbols);
            return made;
        }
    }
    pthread_mutex_lock(&m->lock);
    tn_status status = find_graph(m, symbols ? inputs : NULL, symbols, out, err);
    pthread_mutex_unlock(&m->lock);
    free(symbols);
    return status;
}

const tn_import *tn_model_imported(const tn_model *m) {
    if (!m->graph) return NULL;
    return m->inspected ? &m->inspected->import : &m->signature->import;
}

tn_status tn_model_save(tn_model *m, const char *path, tn_error *err) {
    if (tn_model_need_count(m) > 0)
        return tn_error_set(err, TN_INVALID, "%s is compiled once its %s is known; give it first",
                            tn__model_name(m), tn_model_need(m, 0));
    return tn_artifact_save(m->signature, &m->workshop.compiler.cache, path, err);
}

const tn_artifact *tn_model_artifact(const tn_model *m) {
    return tn_model_need_count(m) ? NULL : m->signature;
}
const tn_compiler *tn_model_compiler(const tn_model *m) {
    return &m->workshop.compiler;
}
int tn_model_threads(const tn_model *m) {
    return tn_pool_threads(m->workshop.pool);
}

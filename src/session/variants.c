/* Making the compiled forms of a model: program cache, import, plan, and which values they are for.
 *
 * A model whose sizes all stay open has one. Otherwise the import names inputs and sizes that it
 * needs; these are bound from the inputs of a run, and there is one program per set of values. */
#include <stdlib.h>

#include "session/identity.h"
#include "session/model_inner.h"
#include "session/ports.h"
#include "session/program_cache.h"

enum { MAX_ROUNDS = 8 }; /* an import may find that it needs more once the first needs are bound */

/* ---- what a program depends on -------------------------------------------------------------- */

static const tn_buffer *input_named(const tn_model *m, const tn_buffer *inputs, const char *name) {
    for (uint32_t i = 0; i < m->ports->inputs.len; i++)
        if (strcmp(m->ports->inputs.data[i].name, name) == 0) return &inputs[i];
    return NULL;
}

static size_t buffer_bytes(const tn_buffer *b) {
    size_t bytes = tn_dtype_size(b->dtype);
    for (int a = 0; a < b->rank; a++)
        if (!tn_size_mul(bytes, (size_t)b->dim[a], &bytes)) return 0;
    return bytes;
}

static int64_t size_named(const tn_model *m, const int64_t *symbols, const char *name) {
    uint32_t s;
    return tn_dims_find_symbol(m->ports->dims, name, &s) ? symbols[s] : -1;
}

static void fold_in(tn_hash128 *h, const void *data, size_t size) {
    tn_hash128 both[2] = {*h, tn_hash128_of(data, size)};
    *h = tn_hash128_of(both, sizeof both);
}

static tn_hash128 bound_hash(const tn_model *m, const tn_buffer *inputs, const int64_t *symbols) {
    tn_hash128 h = {0};
    for (uint32_t i = 0; i < m->need_dims.len; i++) {
        int64_t value = size_named(m, symbols, m->need_dims.data[i]);
        fold_in(&h, &value, sizeof value);
    }
    for (uint32_t i = 0; i < m->need_values.len; i++) {
        const tn_buffer *b = input_named(m, inputs, m->need_values.data[i]);
        if (!b) continue;
        fold_in(&h, b->dim, sizeof b->dim[0] * (size_t)b->rank);
        fold_in(&h, b->data, buffer_bytes(b));
    }
    return h;
}

tn_hash128 tn__model_bound(tn_model *m, const tn_buffer *inputs, const int64_t *symbols) {
    pthread_mutex_lock(&m->lock);
    tn_hash128 h = bound_hash(m, inputs, symbols);
    pthread_mutex_unlock(&m->lock);
    return h;
}

static void append_value(tn_str *s, const char *name, const tn_buffer *b) {
    char hash[65];
    tn_str_appendf(s, "value %s %s", name, tn_dtype_name(b->dtype));
    for (int a = 0; a < b->rank; a++) tn_str_appendf(s, " %lld", (long long)b->dim[a]);
    tn_sha256_hex(b->data ? b->data : "", buffer_bytes(b), hash);
    tn_str_appendf(s, " %s\n", hash);
}

static void append_compound(tn_str *s, const tn_compound_binding *c) {
    tn_str_appendf(s, "compound %s %d", c->name, c->count);
    for (int k = 0; k < c->count && c->ranks; k++) tn_str_appendf(s, " %d", c->ranks[k]);
    tn_str_append_char(s, '\n');
}

typedef struct key_args {
    const tn_model *m;
    const tn_buffer *inputs;
    const int64_t *symbols;
    tn_str text;
} key_args;

static tn_status key_guarded(void *argument, tn_error *err) {
    (void)err;
    key_args *x = argument;
    const tn_model *m = x->m;
    const tn_model_options *o = &m->workshop.options;
    tn_str *s = &x->text;
    tn_program_cache_identify(&m->workshop, s);
    if (m->path)
        tn_identify_file(m->path, s);
    else
        m->maker.identify(m->maker.context, s);
    for (int i = 0; i < o->dim_count; i++)
        tn_str_appendf(s, "dim %s %lld\n", o->dims[i].name, (long long)o->dims[i].value);
    for (int i = 0; i < o->compound_count; i++) append_compound(s, &o->compounds[i]);
    for (uint32_t i = 0; x->inputs && i < m->need_dims.len; i++)
        tn_str_appendf(s, "size %s %lld\n", m->need_dims.data[i],
                       (long long)size_named(m, x->symbols, m->need_dims.data[i]));
    for (uint32_t i = 0; x->inputs && i < m->need_values.len; i++) {
        const tn_buffer *b = input_named(m, x->inputs, m->need_values.data[i]);
        if (b) append_value(s, m->need_values.data[i], b);
    }
    return TN_OK;
}

bool tn__model_key(const tn_model *m, const tn_buffer *inputs, const int64_t *symbols,
                   char out[TN_PROGRAM_CACHE_NAME]) {
    if ((!m->path && !m->maker.identify) || !tn_cache_usable(&m->workshop.compiler.cache))
        return false;
    key_args x = {.m = m, .inputs = inputs, .symbols = symbols};
    tn_str_init(&x.text);
    bool known = tn_guard(key_guarded, &x, NULL) == TN_OK;
    if (known) tn_program_cache_name(&x.text, out);
    tn_str_deinit(&x.text);
    return known;
}

/* ---- import --------------------------------------------------------------------------------- */

typedef struct import_args {
    tn_model *m;
    tn_artifact *a;
    const tn_buffer *inputs;
    const int64_t *symbols;
} import_args;

static tn_array array_of(const tn_buffer *b) {
    tn_array array = {.dtype = b->dtype, .rank = b->rank, .data = b->data};
    memcpy(array.dim, b->dim, sizeof array.dim);
    return array;
}

static tn_status import_guarded(void *argument, tn_error *err) {
    import_args *x = argument;
    const tn_model *m = x->m;
    const tn_model_options *o = &m->workshop.options;
    tn_arena *arena = &x->a->arena;
    TN_VEC(tn_import_dim) dims = {0};
    TN_VEC(tn_import_value) values = {0};
    for (int i = 0; i < o->dim_count; i++)
        tn_vec_push(arena, &dims, (tn_import_dim){o->dims[i].name, o->dims[i].value});
    for (uint32_t i = 0; x->inputs && i < m->need_dims.len; i++) {
        const char *name = m->need_dims.data[i];
        tn_vec_push(arena, &dims, (tn_import_dim){name, size_named(m, x->symbols, name)});
    }
    for (uint32_t i = 0; x->inputs && i < m->need_values.len; i++) {
        const char *name = m->need_values.data[i];
        const tn_buffer *b = input_named(m, x->inputs, name);
        if (b) tn_vec_push(arena, &values, (tn_import_value){name, array_of(b)});
    }
    tn_import_options options = {.dims = dims.data,
                                 .dim_count = dims.len,
                                 .values = values.data,
                                 .value_count = values.len,
                                 .compounds = o->compounds,
                                 .compound_count = (uint32_t)o->compound_count};
    if (m->maker.import) return m->maker.import(m->maker.context, &options, x->a, err);
    return tn_import_onnx(m->path, &options, arena, &x->a->import, err);
}

tn_status tn__model_import(tn_model *m, tn_artifact *a, const tn_buffer *inputs,
                           const int64_t *symbols, tn_error *err) {
    import_args x = {m, a, inputs, symbols};
    double start = tn_seconds();
    tn_status status = tn_guard(import_guarded, &x, err);
    a->stats.import = tn_seconds() - start;
    return status;
}

/* ---- a program with needs ------------------------------------------------------------------- */

/* Ports of the import as a program without steps: what a later open of this model has to know. */
static tn_status needs_guarded(void *argument, tn_error *err) {
    (void)err;
    tn_artifact *a = argument;
    const tn_import *i = &a->import;
    tn_program *p = &a->planned;
    tn_program_init(p, &a->arena, i->dims);
    for (uint32_t n = 0; n < i->inputs.len; n++)
        tn_vec_push(&a->arena, &p->inputs,
                    (tn_prog_port){i->inputs.data[n].name, i->inputs.data[n].type, 0});
    for (uint32_t n = 0; n < i->outputs.len; n++) {
        tn_prog_port port = {i->outputs.data[n].name, i->outputs.data[n].type, 0};
        if (!i->outputs.data[n].typed) port.type.shape.rank = -1;
        tn_vec_push(&a->arena, &p->outputs, port);
    }
    tn_artifact_take_compounds(a);
    for (uint32_t n = 0; n < i->need_values.len; n++)
        tn_vec_push(&a->arena, &p->need_values, i->need_values.data[n]);
    for (uint32_t n = 0; n < i->need_dims.len; n++)
        tn_vec_push(&a->arena, &p->need_dims, i->need_dims.data[n]);
    /* The files decide what is needed, so a change to one of them must void this program too. */
    for (uint32_t n = 0; n < i->maps.len; n++) {
        const tn_file_map *f = &i->maps.data[n];
        tn_prog_source source = {i->paths.data[n], f->device, f->inode, f->size, f->mtime_ns, NULL};
        tn_vec_push(&a->arena, &p->sources, source);
    }
    a->program = p;
    return TN_OK;
}

static tn_status start_imported(tn_model *m, tn_artifact *a, tn_error *err) {
    if (a->import.graph) return tn_artifact_start(a, &m->workshop, a->import.graph, NULL, err);
    TN_CHECK(tn_guard(needs_guarded, a, err));
    if (!tn_program_has_needs(a->program)) TN_BUG("an import gave neither a graph nor needs");
    return TN_OK;
}

tn_status tn__model_make(tn_model *m, const tn_buffer *inputs, const int64_t *symbols,
                         tn_artifact **out, tn_error *err) {
    char name[TN_PROGRAM_CACHE_NAME];
    *out = NULL;
    bool cached = tn__model_key(m, inputs, symbols, name);
    if (cached && !m->workshop.options.dump && tn_program_cache_load(&m->workshop, name, out))
        return TN_OK;
    tn_artifact *a = tn_artifact_new();
    if (!a) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    tn_status status = tn__model_import(m, a, inputs, symbols, err);
    if (status == TN_OK) status = start_imported(m, a, err);
    if (status == TN_OK && cached)
        tn_program_cache_store(&m->workshop, name, a); /* while the kernels are compiled */
    if (status == TN_OK) status = tn_artifact_finish(a, err);
    if (status != TN_OK) {
        tn_artifact_release(a);
        return status;
    }
    *out = a;
    return TN_OK;
}

/* ---- specialisation ------------------------------------------------------------------------- */

static bool is_listed(const char *const *names, uint32_t count, const char *name) {
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0) return true;
    return false;
}

typedef struct needs_args {
    tn_model *m;
    const tn_program *p;
    bool grown;
} needs_args;

static tn_status grow_needs(void *argument, tn_error *err) {
    needs_args *x = argument;
    tn_model *m = x->m;
    (void)err;
    for (uint32_t i = 0; i < x->p->need_values.len; i++) {
        const char *name = x->p->need_values.data[i];
        if (is_listed(m->need_values.data, m->need_values.len, name)) continue;
        tn_vec_push(&m->arena, &m->need_values, tn_arena_strdup(&m->arena, name));
        x->grown = true;
    }
    for (uint32_t i = 0; i < x->p->need_dims.len; i++) {
        const char *name = x->p->need_dims.data[i];
        if (is_listed(m->need_dims.data, m->need_dims.len, name)) continue;
        tn_vec_push(&m->arena, &m->need_dims, tn_arena_strdup(&m->arena, name));
        x->grown = true;
    }
    return TN_OK;
}

tn_status tn__model_add_needs(tn_model *m, const tn_program *p, bool *grown, tn_error *err) {
    needs_args x = {m, p, false};
    TN_CHECK(tn_guard(grow_needs, &x, err));
    *grown = x.grown;
    return TN_OK;
}

static tn_artifact *find_variant(const tn_model *m, tn_hash128 bound) {
    uint32_t count = TN_MIN(m->variant_count, TN__VARIANTS);
    for (uint32_t i = 0; i < count; i++)
        if (m->variants[i].bound.lo == bound.lo && m->variants[i].bound.hi == bound.hi)
            return m->variants[i].artifact;
    return NULL;
}

/* The oldest makes room; sessions that still run it hold references of their own. */
static void add_variant(tn_model *m, tn_hash128 bound, tn_artifact *a) {
    tn__variant *v = &m->variants[m->variant_count++ % TN__VARIANTS];
    tn_artifact_release(v->artifact);
    *v = (tn__variant){bound, a};
}

static tn_status specialise(tn_model *m, const tn_buffer *inputs, const int64_t *symbols,
                            tn_hash128 *bound, tn_artifact **out, tn_error *err) {
    for (int round = 0; round < MAX_ROUNDS; round++) {
        *bound = bound_hash(m, inputs, symbols);
        *out = find_variant(m, *bound);
        if (*out) return TN_OK;
        tn_artifact *a;
        TN_TRY(err, tn__model_make(m, inputs, symbols, &a, err),
               "while compiling for these inputs");
        if (!tn_program_has_needs(a->program)) {
            add_variant(m, *bound, a);
            *out = a;
            return TN_OK;
        }
        bool grown = false;
        tn_status status = tn__model_add_needs(m, a->program, &grown, err);
        tn_artifact_release(a);
        TN_CHECK(status);
        if (!grown) break;
    }
    return tn_error_set(err, TN_UNSUPPORTED,
                        "%s: the model's shapes do not follow from its inputs' sizes and values",
                        tn__model_name(m));
}

tn_status tn__model_artifact(tn_model *m, const tn_buffer *inputs, int count, int64_t *symbols,
                             tn_hash128 *bound, tn_artifact **out, tn_error *err) {
    const tn_compound *open = tn_program_unbound(m->ports);
    *bound = (tn_hash128){0};
    *out = NULL;
    if (open)
        return tn_error_set(err, TN_INVALID,
                            "%s: input '%s' is %s; how many tensors it has is told when the model "
                            "is opened (tn_model_options.compounds)",
                            tn__model_name(m), open->name, tn_compound_kind_name(open->kind));
    TN_CHECK(tn_ports_bind(m->ports, inputs, count, symbols, err));
    pthread_mutex_lock(&m->lock);
    tn_status status = TN_OK;
    if (!tn_program_has_needs(m->ports))
        *out = m->signature;
    else
        status = specialise(m, inputs, symbols, bound, out, err);
    if (status == TN_OK) tn_artifact_retain(*out);
    pthread_mutex_unlock(&m->lock);
    return status;
}

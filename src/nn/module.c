/* Modules: trees of named parameters and buffers. See tenon/nn.h.
 *
 * The root holds all tensors and modules by their full names; a module is such a name and its mode. */
#include "nn/module.h"

#include <fnmatch.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "nn/init.h"

enum { NAME_MAX_BYTES = 512 };

typedef struct item {
    const char *name;
    tn_tensor *tensor;
    bool buffer, frozen, random;
} item;

typedef struct root {
    tn_context *context;
    tn_module_options options;
    tn_arena arena;
    tn_map item_ids, module_ids; /* by full name */
    TN_VEC(item) items;
    TN_VEC(tn_module *) modules;
    tn_tensor *failed;    /* what a wrong call gives, since results are borrowed */
    tn_dtype compute;     /* of modules that were told nothing */
    uint64_t version;     /* see tn__module_version */
    tn__item_maker maker; /* make NULL: tensors of this module's own */
    const void *elements; /* see tn__module_set_elements */
} root;

struct tn_module {
    root *root;
    const char *name; /* the full one; "" of the root */
    bool training;
    tn_dtype compute; /* f64: it was told nothing */
};

/* ---- life ----------------------------------------------------------------------------------- */

static tn_status fill_root(void *argument, tn_error *err) {
    root *r = argument;
    (void)err;
    tn_map_init(&r->item_ids, &r->arena);
    tn_map_init(&r->module_ids, &r->arena);
    tn_module *top = TN_NEW(&r->arena, tn_module);
    *top = (tn_module){.root = r, .name = "", .training = true};
    tn_vec_push(&r->arena, &r->modules, top);
    return TN_OK;
}

static tn_status copy_options(const tn_module_options *from, tn_module_options *to, tn_error *err) {
    *to = (tn_module_options)TN_MODULE_OPTIONS_INIT;
    if (!from) return TN_OK;
    if (from->size < sizeof(size_t) || from->size > 4096)
        return tn_error_set(err, TN_INVALID,
                            "tn_module_options.size is not set; start from TN_MODULE_OPTIONS_INIT");
    memcpy(to, from, TN_MIN(from->size, sizeof *to));
    if (!tn_dtype_is_float(to->dtype))
        return tn_error_set(err, TN_INVALID, "parameters of type %s; expected a float",
                            to->dtype < TN_DTYPE_COUNT ? tn_dtype_name(to->dtype) : "?");
    return TN_OK;
}

tn_status tn_module_create(tn_context *c, const tn_module_options *options, tn_module **out,
                           tn_error *err) {
    tn_module_options o;
    *out = NULL;
    TN_CHECK(copy_options(options, &o, err));
    root *r = calloc(1, sizeof *r);
    if (!r) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    *r = (root){.context = c, .options = o};
    tn_arena_init(&r->arena, tn_allocator_system());
    tn_status status = tn_guard(fill_root, r, err);
    if (status == TN_OK) r->failed = tn_keep(tn__failed(c));
    if (status == TN_OK && r->failed) {
        *out = r->modules.data[0];
        return TN_OK;
    }
    tn_arena_deinit(&r->arena);
    free(r);
    return status != TN_OK ? status : tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
}

void tn_module_release(tn_module *m) {
    if (!m) return;
    root *r = m->root;
    for (uint32_t i = 0; i < r->items.len; i++) tn_release(r->items.data[i].tensor);
    tn_release(r->failed);
    tn_arena_deinit(&r->arena);
    free(r);
}

tn_context *tn_module_context(const tn_module *m) {
    return m ? m->root->context : NULL;
}

const char *tn__module_name(const tn_module *m) {
    return m->name;
}

tn_dtype tn_module_dtype(const tn_module *m) {
    return m->root->options.dtype;
}

/* ---- errors and names ----------------------------------------------------------------------- */

static tn_tensor *refuse(const tn_module *m, const char *place, const tn_error *err) {
    tn_context *c = m->root->context;
    pthread_mutex_lock(&c->lock);
    tn__context_fail(c, place, err);
    pthread_mutex_unlock(&c->lock);
    return m->root->failed;
}

/* m's name and this one; false when it is empty or too long. */
static bool full_name(const tn_module *m, const char *name, char out[NAME_MAX_BYTES]) {
    int n = snprintf(out, NAME_MAX_BYTES, "%s%s%s", m->name, *m->name ? "." : "", name);
    return *name && n > 0 && n < NAME_MAX_BYTES;
}

static tn_status refuse_name(const char *name, tn_error *err) {
    return tn_error_set(err, TN_INVALID,
                        "'%.40s%s' is no name of a module or a parameter: it is %s", name,
                        strlen(name) > 40 ? "…" : "", *name ? "too long" : "empty");
}

/* ---- modules -------------------------------------------------------------------------------- */

typedef struct add_args {
    root *root;
    const char *name;
    tn_module *parent, *made;
    item item;
} add_args;

static tn_status add_module(void *argument, tn_error *err) {
    add_args *a = argument;
    root *r = a->root;
    (void)err;
    tn_module *m = TN_NEW(&r->arena, tn_module);
    *m = *a->parent;
    m->name = tn_arena_strdup(&r->arena, a->name);
    tn_vec_grow(&r->arena, &r->modules, r->modules.len + 1);
    tn_map_put_str(&r->module_ids, m->name, r->modules.len);
    tn_vec_push(&r->arena, &r->modules, m);
    r->version++;
    a->made = m;
    return TN_OK;
}

static tn_module *child_of(tn_module *m, const char *name) {
    char full[NAME_MAX_BYTES];
    tn_error err = TN_ERROR_INIT;
    uint32_t id;
    if (!full_name(m, name, full)) {
        refuse_name(name, &err);
        refuse(m, NULL, &err);
        return NULL;
    }
    if (tn_map_get_str(&m->root->module_ids, full, &id)) return m->root->modules.data[id];
    add_args a = {.root = m->root, .name = full, .parent = m};
    if (tn_guard(add_module, &a, &err) != TN_OK) refuse(m, NULL, &err);
    return a.made;
}

tn_module *tn_module_child(tn_module *m, const char *format, ...) {
    char name[NAME_MAX_BYTES];
    va_list args;
    if (!m) return NULL;
    va_start(args, format);
    int n = vsnprintf(name, sizeof name, format, args);
    va_end(args);
    if (n >= 0 && n < NAME_MAX_BYTES) return child_of(m, name);
    tn_error err = TN_ERROR_INIT;
    refuse_name(name, &err);
    refuse(m, NULL, &err);
    return NULL;
}

/* Whether `name` is that of m or of something below it. */
static bool is_below(const tn_module *m, const char *name) {
    size_t n = strlen(m->name);
    return n == 0 || (strncmp(name, m->name, n) == 0 && (name[n] == '.' || name[n] == '\0'));
}

void tn_module_set_training(tn_module *m, bool training) {
    if (!m) return;
    for (uint32_t i = 0; i < m->root->modules.len; i++) {
        tn_module *other = m->root->modules.data[i];
        if (!is_below(m, other->name) || other->training == training) continue;
        other->training = training;
        m->root->version++;
    }
}

uint64_t tn__module_version(const tn_module *m) {
    return m->root->version;
}

bool tn_module_training(const tn_module *m) {
    return m && m->training;
}

void tn_module_set_compute(tn_module *m, tn_dtype dtype) {
    if (!m) return;
    for (uint32_t i = 0; i < m->root->modules.len; i++) {
        tn_module *other = m->root->modules.data[i];
        if (!is_below(m, other->name) || other->compute == dtype) continue;
        other->compute = dtype;
        m->root->version++;
    }
}

tn_dtype tn__module_compute(const tn_module *m) {
    return m->compute != TN_f64 ? m->compute : m->root->compute;
}

tn_dtype tn__module_compute_all(tn_module *m, tn_dtype dtype) {
    tn_dtype before = m->root->compute;
    m->root->compute = dtype;
    return before;
}

void tn_module_set_trainable(tn_module *m, bool trainable) {
    if (!m) return;
    for (uint32_t i = 0; i < m->root->items.len; i++) {
        item *x = &m->root->items.data[i];
        if (!is_below(m, x->name) || x->frozen == !trainable) continue;
        x->frozen = !trainable;
        m->root->version++;
    }
}

void tn__module_freeze(tn_module *m, const tn_tensor *parameter) {
    for (uint32_t i = 0; i < m->root->items.len; i++)
        if (m->root->items.data[i].tensor == parameter) m->root->items.data[i].frozen = true;
}

int tn_module_match_trainable(tn_module *m, const char *pattern, bool trainable) {
    int count = 0;
    if (!m) return 0;
    size_t skip = *m->name ? strlen(m->name) + 1 : 0;
    for (uint32_t i = 0; i < m->root->items.len; i++) {
        item *x = &m->root->items.data[i];
        if (x->buffer || !is_below(m, x->name) || strlen(x->name) < skip) continue;
        if (fnmatch(pattern, x->name + skip, 0) != 0) continue;
        m->root->version += x->frozen == trainable;
        x->frozen = !trainable;
        count++;
    }
    return count;
}

/* ---- parameters and buffers ----------------------------------------------------------------- */

static void append_type(tn_str *s, tn_dtype dtype, int rank, const int64_t *dim) {
    tn_str_appendf(s, "%s[", tn_dtype_name(dtype));
    for (int a = 0; a < rank; a++) tn_str_appendf(s, "%s%" PRId64, a ? ", " : "", dim[a]);
    tn_str_append(s, "]");
}

typedef struct mismatch_args {
    const item *have;
    const tn__wanted *want;
    tn_str types[2]; /* of both; owned outside the guard */
} mismatch_args;

static tn_status describe_mismatch(void *argument, tn_error *err) {
    mismatch_args *a = argument;
    const tn_tensor *x = a->have->tensor;
    append_type(&a->types[0], x->dtype, x->rank, x->dim);
    append_type(&a->types[1], a->want->dtype, a->want->rank, a->want->dim);
    return tn_error_set(
        err, TN_INVALID,
        "%s '%s' is %s and is now wanted as %s %s; use another name, or the same sizes",
        a->have->buffer ? "buffer" : "parameter", a->have->name, tn_str_text(&a->types[0]),
        a->want->buffer ? "a buffer" : "a parameter", tn_str_text(&a->types[1]));
}

static bool matches(const item *have, const tn__wanted *want) {
    const tn_tensor *x = have->tensor;
    bool same = have->buffer == want->buffer && x->dtype == want->dtype && x->rank == want->rank;
    for (int a = 0; same && a < x->rank; a++) same = x->dim[a] == want->dim[a];
    return same;
}

static tn_status check_wanted(const tn__wanted *w, tn_error *err) {
    if (w->dtype >= TN_DTYPE_COUNT || w->rank < 0 || w->rank > TN_MAX_RANK)
        return tn_error_set(err, TN_INVALID, "a tensor of type %d with %d axes", (int)w->dtype,
                            w->rank);
    for (int a = 0; a < w->rank; a++)
        if (w->dim[a] < 0)
            return tn_error_set(err, TN_INVALID, "axis %d has size %" PRId64, a, w->dim[a]);
    TN_CHECK(tn__storage_check(w->buffer ? "the buffer" : "the parameter", w->dtype, w->rank,
                               w->dim, err));
    return tn__init_check(&w->init, w->dtype, w->rank, w->dim, err);
}

void tn__wanted_fill(const tn__wanted *w, uint64_t seed, const char *name, void *out) {
    uint64_t id[] = {seed, tn_hash64(name, strlen(name))}, key = tn_hash64(id, sizeof id);
    tn_array x = {.dtype = w->dtype, .rank = w->rank, .data = out};
    for (int a = 0; a < w->rank; a++) x.dim[a] = w->dim[a];
    if (w->elements && tn_array_bytes(&x))
        memcpy(out, w->elements, tn_array_bytes(&x));
    else if (w->random)
        *(uint64_t *)out = key;
    else if (!w->elements)
        tn__init_fill(&w->init, key, &x);
}

/* The tensor, kept. */
static tn_tensor *make(const root *r, const tn__wanted *w, const char *name, tn_error *err) {
    tn_context *c = r->context;
    if (r->maker.make) return r->maker.make(r->maker.user, w, name, err);
    pthread_mutex_lock(&c->lock);
    tn__storage *s = r->options.abstract ? tn__storage_abstract(w->dtype, w->rank, w->dim, name)
                                         : tn__storage_new(c, w->dtype, w->rank, w->dim);
    pthread_mutex_unlock(&c->lock);
    tn_tensor *x = NULL;
    if (s) {
        if (!s->abstract) tn__wanted_fill(w, r->options.seed, name, s->data);
        s->ready = true;
        pthread_mutex_lock(&c->lock);
        x = tn__tensor_of_storage(c, s);
        if (x) x->variable = !w->buffer;
        pthread_mutex_unlock(&c->lock);
    }
    if (!x) tn_error_set(err, TN_OUT_OF_MEMORY, "no memory for '%s'", name);
    return tn_keep(x);
}

static tn_status add_item(void *argument, tn_error *err) {
    add_args *a = argument;
    root *r = a->root;
    (void)err;
    a->item.name = tn_arena_strdup(&r->arena, a->name);
    tn_vec_grow(&r->arena, &r->items, r->items.len + 1);
    tn_map_put_str(&r->item_ids, a->item.name, r->items.len);
    tn_vec_push(&r->arena, &r->items, a->item);
    r->version++;
    return TN_OK;
}

static tn_tensor *create(const tn_module *m, const tn__wanted *w, const char *name) {
    tn_error err = TN_ERROR_INIT;
    root *r = m->root;
    if (check_wanted(w, &err) != TN_OK) {
        tn_error_push(&err, "'%s'", name);
        return refuse(m, w->place, &err);
    }
    add_args a = {.root = r, .name = name, .item = {.buffer = w->buffer, .random = w->random}};
    tn__wanted filled = *w;
    filled.elements = r->elements;
    a.item.tensor = make(r, &filled, name, &err);
    if (a.item.tensor && tn_guard(add_item, &a, &err) == TN_OK) return a.item.tensor;
    tn_release(a.item.tensor);
    return refuse(m, w->place, &err);
}

static tn_tensor *get(tn_module *m, const char *name, const tn__wanted *w) {
    char full[NAME_MAX_BYTES];
    tn_error err = TN_ERROR_INIT;
    uint32_t id;
    if (!m) return NULL;
    if (!full_name(m, name, full)) {
        refuse_name(name, &err);
        return refuse(m, w->place, &err);
    }
    if (!tn_map_get_str(&m->root->item_ids, full, &id)) return create(m, w, full);
    const item *have = &m->root->items.data[id];
    if (matches(have, w)) return have->tensor;
    mismatch_args x = {.have = have, .want = w};
    for (int i = 0; i < 2; i++) tn_str_init(&x.types[i]);
    tn_guard(describe_mismatch, &x, &err);
    for (int i = 0; i < 2; i++) tn_str_deinit(&x.types[i]);
    return refuse(m, w->place, &err);
}

tn_tensor *tn_module_parameter_at(const char *place, tn_module *m, const char *name, tn_dtype dtype,
                                  int rank, const int64_t *dim, tn_init init) {
    return get(m, name, &(tn__wanted){place, dtype, rank, dim, init, false, false, NULL});
}

tn_tensor *tn_module_buffer_at(const char *place, tn_module *m, const char *name, tn_dtype dtype,
                               int rank, const int64_t *dim, tn_init init) {
    return get(m, name, &(tn__wanted){place, dtype, rank, dim, init, true, false, NULL});
}

tn_tensor *tn_module_random_at(const char *place, tn_module *m, const char *name) {
    return get(m, name, &(tn__wanted){place, TN_u64, 0, NULL, tn_init_zeros(), true, true, NULL});
}

void tn__module_set_maker(tn_module *m, tn__item_maker maker) {
    m->root->maker = maker;
}

void tn__module_set_elements(tn_module *m, const void *elements) {
    m->root->elements = elements;
}

static tn_status make_item_like(tn_module *to, const item *x, tn_error *err) {
    const tn_tensor *t = x->tensor;
    tn__wanted w = {"tn_population_from", t->dtype,  t->rank,   t->dim,
                    tn_init_zeros(),      x->buffer, x->random, NULL};
    if (!tn__tensor_is_ok(get(to, x->name, &w))) return tn_context_error(to->root->context, err);
    to->root->items.data[to->root->items.len - 1].frozen = x->frozen;
    return TN_OK;
}

tn_status tn__module_make_like(tn_module *to, const tn_module *from, tn_error *err) {
    const root *r = from->root;
    to->root->compute = r->compute;
    for (uint32_t i = 0; i < r->modules.len; i++) {
        const tn_module *like = r->modules.data[i];
        tn_module *m = i ? child_of(to, like->name) : to;
        if (!m) return tn_context_error(to->root->context, err);
        m->training = like->training;
        m->compute = like->compute;
    }
    for (uint32_t i = 0; i < r->items.len; i++)
        TN_CHECK(make_item_like(to, &r->items.data[i], err));
    return TN_OK;
}

/* ---- looking -------------------------------------------------------------------------------- */

int tn_module_count(const tn_module *m) {
    return m ? (int)m->root->items.len : 0;
}

bool tn_module_entry(const tn_module *m, int index, tn_module_item *out) {
    *out = (tn_module_item){0};
    if (index < 0 || index >= tn_module_count(m)) return false;
    const item *x = &m->root->items.data[index];
    *out = (tn_module_item){x->name, x->tensor, !x->buffer && !x->frozen, x->buffer};
    return true;
}

bool tn__module_is_random(const tn_module *m, int index) {
    return index >= 0 && index < tn_module_count(m) && m->root->items.data[index].random;
}

int tn__module_index(const tn_module *m, const char *name) {
    uint32_t id;
    return m && tn_map_get_str(&m->root->item_ids, name, &id) ? (int)id : -1;
}

tn_tensor *tn_module_find(const tn_module *m, const char *name) {
    int i = tn__module_index(m, name);
    return i >= 0 ? m->root->items.data[i].tensor : NULL;
}

int64_t tn_module_parameter_elements(const tn_module *m) {
    int64_t sum = 0;
    for (int i = 0; i < tn_module_count(m); i++) {
        const item *x = &m->root->items.data[i];
        if (!x->buffer && __builtin_add_overflow(sum, tn_tensor_count(x->tensor), &sum))
            return INT64_MAX;
    }
    return sum;
}

/* Reading a node's attributes. See context.h. */
#include "import/onnx/context.h"
#include "import/onnx/scope.h"

static const char *const type_names[TN_ONNX_ATTR_TYPE_COUNT] = {
    "no type", "a float",          "an integer",         "a string",          "a tensor",
    "a graph", "a list of floats", "a list of integers", "a list of strings", "a list of tensors",
};

static const tn_onnx_attr *find_in(const tn_onnx_attr *at, uint32_t count, const char *name) {
    for (uint32_t i = 0; i < count; i++)
        if (!strcmp(at[i].name, name)) return &at[i];
    return NULL;
}

/* In a function's body an attribute may stand for one of the call, or for its default. */
static const tn_onnx_attr *find(const tn_o *o, const char *name) {
    for (int hops = 0; o && hops < 64; hops++) {
        const tn_onnx_attr *a = find_in(o->node->attrs.data, o->node->attrs.len, name);
        if (a && !a->ref[0]) return a;
        if (!a) return NULL;
        const tn_onnx_function *f = o->scope->function;
        name = a->ref;
        o = o->scope->caller;
        if (!o || !f) return NULL;
        if (!find_in(o->node->attrs.data, o->node->attrs.len, name))
            return find_in(f->defaults.data, f->defaults.len, name);
    }
    return NULL;
}

static const tn_onnx_attr *get(tn_o *o, const char *name, tn_onnx_attr_type type) {
    if (!tn_o_ok(o)) return NULL;
    const tn_onnx_attr *a = find(o, name);
    if (!a || a->type == (int64_t)type) return a;
    bool named = a->type > 0 && a->type < TN_ONNX_ATTR_TYPE_COUNT;
    tn_o_refuse(o, TN_INVALID, "attribute '%s' is %s; expected %s", name,
                named ? type_names[a->type] : "of another type", type_names[type]);
    return NULL;
}

static const tn_onnx_attr *need(tn_o *o, const char *name, tn_onnx_attr_type type) {
    const tn_onnx_attr *a = get(o, name, type);
    if (!a && tn_o_ok(o)) tn_o_refuse(o, TN_INVALID, "attribute '%s' is missing", name);
    return a;
}

void tn_o_check_attr(tn_o *o, const char *name, tn_onnx_attr_type type, bool needed) {
    if (needed)
        need(o, name, type);
    else
        get(o, name, type);
}

bool tn_o_has_attr(tn_o *o, const char *name) {
    return tn_o_ok(o) && find(o, name);
}

int64_t tn_o_int(tn_o *o, const char *name, int64_t other) {
    const tn_onnx_attr *a = get(o, name, TN_ONNX_ATTR_INT);
    return a ? a->i : other;
}

int64_t tn_o_need_int(tn_o *o, const char *name) {
    const tn_onnx_attr *a = need(o, name, TN_ONNX_ATTR_INT);
    return a ? a->i : 0;
}

double tn_o_float(tn_o *o, const char *name, double other) {
    const tn_onnx_attr *a = get(o, name, TN_ONNX_ATTR_FLOAT);
    return a ? (double)a->f : other;
}

static const char *text_of(tn_o *o, tn_onnx_bytes s) {
    return tn_arena_printf(o->scratch, "%.*s", (int)TN_MIN(s.size, 1 << 20), (const char *)s.at);
}

const char *tn_o_text(tn_o *o, const char *name, const char *other) {
    const tn_onnx_attr *a = get(o, name, TN_ONNX_ATTR_STRING);
    return a ? text_of(o, a->s) : other;
}

const char *tn_o_need_text(tn_o *o, const char *name) {
    const tn_onnx_attr *a = need(o, name, TN_ONNX_ATTR_STRING);
    return a ? text_of(o, a->s) : "";
}

const tn_onnx_graph *tn_o_graph(tn_o *o, const char *name) {
    const tn_onnx_attr *a = need(o, name, TN_ONNX_ATTR_GRAPH);
    if (a && !a->g) tn_o_refuse(o, TN_INVALID, "attribute '%s' holds no graph", name);
    return a ? a->g : NULL;
}

bool tn_o_ints(tn_o *o, const char *name, int *count, const int64_t **at) {
    const tn_onnx_attr *a = get(o, name, TN_ONNX_ATTR_INTS);
    *count = 0;
    *at = NULL;
    if (!a) return false;
    size_t n = tn_onnx_packed_count(&a->ints, 0);
    int64_t *values = TN_NEW_N(o->scratch, int64_t, n);
    tn_onnx_bytes bytes = a->ints.bytes;
    for (size_t i = 0; i < n; i++) {
        uint64_t v;
        if (!tn_onnx_next_varint(&bytes, &v)) {
            tn_o_refuse(o, TN_INVALID, "attribute '%s' holds a broken number", name);
            return false;
        }
        values[i] = (int64_t)v;
    }
    *count = (int)n;
    *at = values;
    return true;
}

bool tn_o_floats(tn_o *o, const char *name, int *count, const double **at) {
    const tn_onnx_attr *a = get(o, name, TN_ONNX_ATTR_FLOATS);
    *count = 0;
    *at = NULL;
    if (!a) return false;
    size_t n = tn_onnx_packed_count(&a->floats, sizeof(float));
    double *values = TN_NEW_N(o->scratch, double, n);
    for (size_t i = 0; i < n; i++) {
        float f;
        memcpy(&f, a->floats.bytes.at + i * sizeof f, sizeof f);
        values[i] = (double)f;
    }
    *count = (int)n;
    *at = values;
    return true;
}

bool tn_o_texts(tn_o *o, const char *name, int *count, const char *const **at) {
    const tn_onnx_attr *a = get(o, name, TN_ONNX_ATTR_STRINGS);
    *count = 0;
    *at = NULL;
    if (!a) return false;
    const char **texts = TN_NEW_N(o->scratch, const char *, a->strings.len);
    for (uint32_t i = 0; i < a->strings.len; i++) texts[i] = text_of(o, a->strings.data[i]);
    *count = (int)a->strings.len;
    *at = texts;
    return true;
}

const tn_onnx_content *tn_o_content(tn_o *o, const char *name) {
    const tn_onnx_attr *a = need(o, name, TN_ONNX_ATTR_TENSOR);
    if (a && !a->t) tn_o_refuse(o, TN_INVALID, "attribute '%s' holds no tensor", name);
    if (!tn_o_ok(o)) return NULL;
    tn_onnx_content *content = TN_NEW(o->scratch, tn_onnx_content);
    o->b->status = tn_onnx_tensor_check(a->t, &o->scope->im->files, content, o->b->err);
    if (tn_o_ok(o)) return content;
    tn_error_push(o->b->err, "attribute '%s'", name);
    return NULL;
}

bool tn_o_tensor(tn_o *o, const char *name, tn_array *out) {
    *out = (tn_array){.dtype = TN_f32};
    const tn_onnx_content *content = tn_o_has_attr(o, name) ? tn_o_content(o, name) : NULL;
    if (!content) return false;
    o->b->status = tn_onnx_tensor_decode(content, o->scratch, out, o->b->err);
    return tn_o_ok(o);
}

int tn_o_choice(tn_o *o, const char *name, const char *other, const char *const *names) {
    const char *text = tn_o_text(o, name, other);
    tn_str list;
    for (int i = 0; names[i]; i++)
        if (!strcmp(names[i], text)) return i;
    if (!tn_o_ok(o)) return 0;
    tn_str_init_with(&list, tn_arena_allocator(o->scratch));
    for (int i = 0; names[i]; i++) tn_str_appendf(&list, "%s'%s'", i ? ", " : "", names[i]);
    tn_o_refuse(o, TN_INVALID, "attribute '%s' is '%s'; expected one of %s", name, text,
                tn_str_text(&list));
    return 0;
}

tn_dtype tn_o_dtype(tn_o *o, const char *name, tn_dtype other) {
    const tn_onnx_attr *a = get(o, name, TN_ONNX_ATTR_INT);
    tn_dtype dtype = other;
    if (!a) return other;
    o->b->status = tn_onnx_dtype(a->i, &dtype, o->b->err);
    if (!tn_o_ok(o)) tn_error_push(o->b->err, "attribute '%s'", name);
    return dtype;
}

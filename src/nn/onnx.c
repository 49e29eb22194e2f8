/* Opening and saving ONNX models as functions of lazy tensors. See nn/onnx.h. */
#include "nn/onnx.h"

#include <fnmatch.h>
#include <stdlib.h>

#include "nn/module.h"
#include "program/program.h"

typedef struct opening {
    tn_onnx *x;
    tn_module *module;
    tn_onnx_options options;
} opening;

/* ---- weights -------------------------------------------------------------------------------- */

/* Whether an element has at least the magnitude of the largest finite one: masks add such to scores.
 * Without their sign the bits of floats are ordered as the floats are. Files do not align them. */
#define REACHES(type, data, count, largest)                                                        \
    for (int64_t i = 0; i < (count); i++) {                                                        \
        type bits;                                                                                 \
        memcpy(&bits, (const char *)(data) + (size_t)i * sizeof bits, sizeof bits);                \
        if ((bits & (type)(((type)-1) >> 1)) >= (type)(largest)) return true;                      \
    }

static bool is_mask(const tn_array *s, int64_t count) {
    if (s->dtype == TN_f32) REACHES(uint32_t, s->data, count, 0x7f7fffffu)
    if (s->dtype == TN_f64) REACHES(uint64_t, s->data, count, 0x7fefffffffffffffu)
    if (s->dtype == TN_f16) REACHES(uint16_t, s->data, count, 0x7bffu)
    if (s->dtype == TN_bf16) REACHES(uint16_t, s->data, count, 0x7f7fu)
    return false;
}

static bool is_listed(const opening *o, const char *name) {
    for (int i = 0; i < o->options.frozen_count; i++)
        if (fnmatch(o->options.frozen[i], name, 0) == 0) return true;
    return false;
}

/* The parameter or buffer of a weight; one that is new gets the file's elements. */
static tn_status make_weight(const opening *o, uint32_t i, tn_error *err) {
    const tn_import_weight *w = &o->x->opened.weights.data[i];
    const tn_array *a = &w->array;
    int before = tn_module_count(o->module);
    tn__module_set_elements(o->module, a->data);
    tn_tensor *t = (w->statistics ? tn_module_buffer_at : tn_module_parameter_at)(
        "tn_onnx_open", o->module, w->name, a->dtype, a->rank, a->dim, tn_init_zeros());
    tn__module_set_elements(o->module, NULL);
    if (!tn_tensor_ok(t)) return tn_context_error(o->x->context, err);
    o->x->weights[i] = tn_retain(t);
    bool is_new = tn_module_count(o->module) > before, freeze = is_listed(o, w->name);
    if (is_new && (t->stands_in || !t->storage->abstract))
        freeze = freeze || is_mask(a, tn_tensor_count(t));
    if (freeze) tn__module_freeze(o->module, t);
    return TN_OK;
}

/* ---- ports ---------------------------------------------------------------------------------- */

static const char *size_text(tn_onnx *x, tn_dim d) {
    tn_str text;
    tn_str_init_with(&text, tn_arena_allocator(&x->arena));
    tn_dim_print(x->opened.dims, d, &text);
    return tn_str_text(&text);
}

static tn_port_info *describe_ports(tn_onnx *x, const tn_import_port *port, uint32_t count) {
    tn_port_info *out = TN_NEW_N(&x->arena, tn_port_info, count);
    for (uint32_t i = 0; i < count; i++) {
        const tn_shape *shape = &port[i].type.shape;
        out[i] = (tn_port_info){.name = port[i].name, .dtype = port[i].type.dtype};
        out[i].rank = port[i].typed ? shape->rank : -1;
        for (int a = 0; a < out[i].rank; a++) {
            bool known = tn_dim_is_const(shape->dim[a]);
            out[i].dim[a] = known ? shape->dim[a] : -1;
            if (!known) out[i].symbol[a] = size_text(x, shape->dim[a]);
        }
    }
    return out;
}

static tn_status port_at(const tn_port_info *ports, int count, int i, tn_port_info *out) {
    *out = (tn_port_info){0};
    if (i < 0 || i >= count) return TN_NOT_FOUND;
    *out = ports[i];
    return TN_OK;
}

int tn_onnx_input_count(const tn_onnx *x) {
    return (int)x->opened.inputs.len;
}
int tn_onnx_output_count(const tn_onnx *x) {
    return (int)x->opened.outputs.len;
}
tn_status tn_onnx_input(const tn_onnx *x, int i, tn_port_info *out) {
    return port_at(x->inputs, tn_onnx_input_count(x), i, out);
}
tn_status tn_onnx_output(const tn_onnx *x, int i, tn_port_info *out) {
    return port_at(x->outputs, tn_onnx_output_count(x), i, out);
}

/* ---- opening -------------------------------------------------------------------------------- */

static tn_status copy_options(const tn_onnx_options *from, tn_onnx_options *to, tn_error *err) {
    *to = (tn_onnx_options)TN_ONNX_OPTIONS_INIT;
    if (!from) return TN_OK;
    if (from->size < sizeof(size_t) || from->size > 4096)
        return tn_error_set(err, TN_INVALID,
                            "tn_onnx_options.size is not set; start from TN_ONNX_OPTIONS_INIT");
    memcpy(to, from, TN_MIN(from->size, sizeof *to));
    return TN_OK;
}

static tn_status copy_values(const opening *o, tn_error *err) {
    tn_onnx *x = o->x;
    x->value_count = (uint32_t)o->options.value_count;
    x->values = TN_NEW_N(&x->arena, tn_import_value, x->value_count);
    for (uint32_t i = 0; i < x->value_count; i++) {
        const tn_onnx_value *v = &o->options.values[i];
        const tn_buffer *b = &v->value;
        if (b->dtype >= TN_DTYPE_COUNT || b->rank < 0 || b->rank > TN_MAX_RANK)
            return tn_error_set(err, TN_INVALID, "the value of '%s' has no valid type", v->name);
        for (int a = 0; a < b->rank; a++)
            if (b->dim[a] < 0)
                return tn_error_set(err, TN_INVALID, "the value of '%s': axis %d has size %lld",
                                    v->name, a, (long long)b->dim[a]);
        tn_array array = tn_array_new(&x->arena, b->dtype, b->rank, b->dim);
        if (tn_array_bytes(&array)) memcpy(array.data, b->data, tn_array_bytes(&array));
        x->values[i] = (tn_import_value){tn_arena_strdup(&x->arena, v->name), array};
    }
    return TN_OK;
}

/* The tensors of the values that were given. */
static tn_status make_given(tn_onnx *x, tn_error *err) {
    for (uint32_t v = 0; v < x->value_count; v++) {
        const tn_import_value *value = &x->values[v];
        uint32_t i = 0;
        while (i < x->opened.inputs.len && strcmp(x->opened.inputs.data[i].name, value->name)) i++;
        if (i == x->opened.inputs.len)
            return tn_error_set(err, TN_NOT_FOUND, "the model has no input named '%s'",
                                value->name);
        tn_release(x->given[i]);
        x->given[i] = tn_keep(tn_tensor_from(x->context, value->array.dtype, value->array.rank,
                                             value->array.dim, value->array.data));
    }
    return TN_OK;
}

static tn_status open_guarded(void *argument, tn_error *err) {
    opening *o = argument;
    tn_onnx *x = o->x;
    TN_CHECK(copy_values(o, err));
    tn_import_options options = {
        .values = x->values, .value_count = x->value_count, .weights = true};
    TN_CHECK(tn_import_onnx(x->path, &options, &x->arena, &x->opened, err));
    const tn_import *i = &x->opened;
    x->weights = TN_NEW_N(&x->arena, tn_tensor *, i->weights.len);
    x->given = TN_NEW_N(&x->arena, tn_tensor *, i->inputs.len);
    x->inputs = describe_ports(x, i->inputs.data, i->inputs.len);
    x->outputs = describe_ports(x, i->outputs.data, i->outputs.len);
    for (uint32_t k = 0; k < i->inputs.len; k++) x->sizes += TN_MAX(x->inputs[k].rank, 0);
    TN_CHECK(make_given(x, err));
    for (uint32_t k = 0; k < i->weights.len; k++)
        TN_TRY(err, make_weight(o, k, err), "initializer '%s'", i->weights.data[k].name);
    for (uint32_t k = 0; k < i->maps.len; k++) tn_file_map_drop(&i->maps.data[k]);
    return TN_OK;
}

static tn_status open_path(tn_onnx *x, const char *path, tn_error *err) {
    char *full;
    TN_CHECK(tn_file_absolute(path, &full, err));
    x->path = full;
    if (tn_program_is_file(full))
        return tn_error_set(err, TN_UNSUPPORTED,
                            "%s: a program file, which holds kernels and no graph; open the ONNX "
                            "file that it was made of",
                            path);
    return TN_OK;
}

tn_status tn_onnx_open(const char *path, tn_module *m, const tn_onnx_options *options,
                       tn_onnx **out, tn_error *err) {
    *out = NULL;
    if (!m) return tn_error_set(err, TN_INVALID, "tn_onnx_open needs a module");
    tn_onnx *x = calloc(1, sizeof *x);
    if (!x) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    x->context = tn_module_context(m);
    tn_arena_init(&x->arena, tn_allocator_system());
    opening o = {.x = x, .module = m};
    tn_status status = copy_options(options, &o.options, err);
    if (status == TN_OK) status = open_path(x, path, err);
    if (status == TN_OK) status = tn_guard(open_guarded, &o, err);
    if (status == TN_OK)
        *out = x;
    else
        tn_onnx_release(x);
    return status;
}

void tn_onnx_release(tn_onnx *x) {
    if (!x) return;
    tn__onnx_graphs_release(x);
    for (uint32_t i = 0; x->weights && i < x->opened.weights.len; i++) tn_release(x->weights[i]);
    for (uint32_t i = 0; x->given && i < x->opened.inputs.len; i++) tn_release(x->given[i]);
    tn_import_close(&x->opened);
    free((void *)(uintptr_t)x->path);
    tn_arena_deinit(&x->arena);
    free(x);
}

/* ---- saving --------------------------------------------------------------------------------- */

static tn_status check_saved(const tn_import_weight *w, const tn_buffer *b, tn_error *err) {
    bool same = b->dtype == w->array.dtype && b->rank == w->array.rank;
    for (int a = 0; same && a < b->rank; a++) same = b->dim[a] == w->array.dim[a];
    if (same) return TN_OK;
    return tn_error_set(err, TN_INVALID, "'%s' has another type or shape than the initializer",
                        w->name);
}

typedef struct saving {
    tn_onnx *x;
    const char *path;
} saving;

static tn_status save_guarded(void *argument, tn_error *err) {
    const saving *s = argument;
    tn_onnx *x = s->x;
    uint32_t count = x->opened.weights.len;
    const void **value = TN_NEW_N(&x->arena, const void *, count);
    if (count) TN_CHECK(tn_eval(x->weights, (int)count, err));
    for (uint32_t i = 0; i < count; i++) {
        tn_buffer b;
        TN_CHECK(tn_view(x->weights[i], &b, err));
        TN_CHECK(check_saved(&x->opened.weights.data[i], &b, err));
        value[i] = b.data;
    }
    return tn_import_save_onnx(&x->opened, value, s->path, err);
}

tn_status tn_onnx_save(tn_onnx *x, const char *path, tn_error *err) {
    return tn_guard(save_guarded, &(saving){x, path}, err);
}

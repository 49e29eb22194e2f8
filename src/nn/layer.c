/* What all layers share: their module, options, errors. See module.h. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "nn/module.h"

tn__layer tn__layer_begin(const char *place, tn_module *m, const char *name, const tn_tensor *x) {
    tn__layer l = {.place = place, .context = tn_module_context(m)};
    if (m) l.module = tn_module_child(m, "%s", name);
    l.ok = l.module && tn_tensor_ok(x);
    if (l.module) l.dtype = tn_module_dtype(l.module);
    if (l.module) l.compute = tn__module_compute(l.module);
    return l;
}

void tn__layer_options(tn__layer *l, const void *given, void *options, size_t size) {
    if (!tn__options(l->context, l->place, given, options, size)) l->ok = false;
}

void tn__layer_refuse(tn__layer *l, const char *format, ...) {
    char text[512];
    va_list args;
    if (!l->ok) return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    l->ok = false;
    tn__refuse(l->context, l->place, "'%s': %s", tn__module_name(l->module), text);
}

static tn_tensor *checked(tn__layer *l, tn_tensor *x) {
    if (!tn_tensor_ok(x)) l->ok = false;
    return x;
}

tn_tensor *tn__layer_parameter(tn__layer *l, const char *name, int rank, const int64_t *dim,
                               tn_init given, tn_init otherwise) {
    if (!l->ok) return NULL;
    tn_init init = given.kind == TN_INIT_DEFAULT ? otherwise : given;
    return checked(l, tn_module_parameter_at(l->place, l->module, name, l->dtype, rank, dim, init));
}

tn_tensor *tn__layer_buffer(tn__layer *l, const char *name, int rank, const int64_t *dim,
                            tn_init init) {
    if (!l->ok) return NULL;
    return checked(l, tn_module_buffer_at(l->place, l->module, name, l->dtype, rank, dim, init));
}

tn_tensor *tn__layer_random(tn__layer *l, const char *name) {
    return l->ok ? checked(l, tn_module_random_at(l->place, l->module, name)) : NULL;
}

static bool is_wider(const tn_tensor *x, tn_dtype than) {
    tn_dtype dtype = tn_tensor_dtype(x);
    return tn_dtype_is_float(dtype) && tn_dtype_bits(dtype) > tn_dtype_bits(than);
}

const tn_tensor *tn__layer_operand(const tn__layer *l, const tn_tensor *x) {
    return is_wider(x, l->compute) ? tn_cast_at(l->place, x, l->compute) : x;
}

tn_tensor *tn_module_narrow_at(const char *place, const tn_module *m, const tn_tensor *x) {
    tn_dtype compute = tn__module_compute(m);
    return tn_cast_at(place, x, is_wider(x, compute) ? compute : tn_tensor_dtype(x));
}

tn_init tn__init_by_fan(int64_t fan) {
    double bound = fan > 0 ? 1 / sqrt((double)fan) : 0;
    return tn_init_uniform(-bound, bound);
}

tn_tensor *tn__layer_failed(const tn__layer *l) {
    return l->context ? tn__failed(l->context) : NULL;
}

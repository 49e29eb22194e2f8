/* Specialisation of open sizes. See shapes.h. */
#include "transform/shapes.h"

#include <inttypes.h>
#include <stdio.h>

static tn_status unknown_symbol(const tn_dims *t, const char *name, tn_error *err) {
    char known[256] = "none";
    size_t len = 0;
    for (uint32_t i = 0; i < t->symbols.len; i++) {
        const char *other = t->symbols.data[i].name;
        size_t need = strlen(other) + (len ? 2 : 0);
        if (len + need >= sizeof(known)) break;
        if (len) memcpy(known + len, ", ", 2);
        memcpy(known + len + (len ? 2 : 0), other, strlen(other) + 1);
        len += need;
    }
    return tn_error_set(err, TN_NOT_FOUND, "the graph has no size '%s' (open sizes: %s)", name,
                        known);
}

static tn_status check_value(const tn_dim_symbol *s, int64_t value, tn_error *err) {
    if (value < s->lo || value > s->hi) {
        char hi[32] = "no upper bound";
        if (s->hi != TN_DIM_UNBOUNDED) snprintf(hi, sizeof(hi), "%" PRId64, s->hi);
        return tn_error_set(err, TN_INVALID,
                            "size '%s' = %" PRId64 ": must lie in %" PRId64 " … %s", s->name, value,
                            s->lo, hi);
    }
    if (value % s->divisor != 0)
        return tn_error_set(err, TN_INVALID,
                            "size '%s' = %" PRId64 ": must be a multiple of %" PRId64, s->name,
                            value, s->divisor);
    return TN_OK;
}

static tn_status bind_symbols(const tn_dims *from, const tn_binding *bindings, size_t count,
                              tn_dim *with, tn_error *err) {
    for (uint32_t i = 0; i < from->symbols.len; i++) with[i] = -1;
    for (size_t i = 0; i < count; i++) {
        uint32_t symbol;
        if (!tn_dims_find_symbol(from, bindings[i].symbol, &symbol))
            return unknown_symbol(from, bindings[i].symbol, err);
        TN_CHECK(check_value(&from->symbols.data[symbol], bindings[i].value, err));
        with[symbol] = bindings[i].value;
    }
    return TN_OK;
}

/* The symbols that stay, in their order, with their bounds. */
static void carry_symbols(tn_dims *to, const tn_dims *from, tn_dim *with) {
    for (uint32_t i = 0; i < from->symbols.len; i++) {
        const tn_dim_symbol *s = &from->symbols.data[i];
        if (with[i] >= 0) continue;
        with[i] = tn_dim_of_symbol(to, s->name);
        tn_dims_set_bounds(to, tn_dims_symbol(to, s->name), s->lo, s->hi, s->divisor);
    }
}

tn_status tn_transform_bind(const tn_graph *in, const tn_binding *bindings, size_t count,
                            tn_graph **out, tn_error *err) {
    *out = NULL;
    tn_dim *with = TN_NEW_N(in->arena, tn_dim, in->dims->symbols.len);
    TN_CHECK(bind_symbols(in->dims, bindings, count, with, err));
    tn_dims *dims = TN_NEW(in->arena, tn_dims);
    tn_dims_init(dims, in->arena);
    carry_symbols(dims, in->dims, with);
    tn_graph *bound = tn_graph_new(in->arena, dims);
    for (uint32_t i = 0; i < in->sources.len; i++)
        tn_vec_push(in->arena, &bound->sources, in->sources.data[i]);
    bound->unit_fronts = in->unit_fronts;
    bound->members = in->members;
    bound->member_inputs = in->member_inputs;
    TN_TRY(err, tn_graph_copy(bound, in, with, err), "binding sizes");
    *out = bound;
    return TN_OK;
}

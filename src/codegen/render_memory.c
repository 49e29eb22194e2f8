/* Loads and stores: whole vectors where the index follows the lane, partial ones under a condition
 * that holds for the first lanes, else lane by lane. See render.h. */
#include "codegen/render.h"

#include <inttypes.h>

/* ---- how an index and a condition follow the lane ------------------------------------------- */

bool tn__lane_affine(render *r, tn_lx index, uint32_t lanes, int64_t *scale, tn_lx *rest) {
    tn_lx coefficient;
    uint32_t lane = tn__expand_lane(r->k, lanes);
    if (!tn_l_affine(r->k, index, lane, &coefficient, rest)) return false;
    return tn_l_is_const_int(r->k, coefficient, scale) && !tn__lanes_of(r, *rest);
}

/* The count before it is brought into [0, lanes]. */
static tn_lx raw_count(render *r, tn_lx e, uint32_t lanes) {
    const tn_lexpr x = *tn_l_expr(r->k, e);
    tn_loop *k = r->k;
    if (!tn__lanes_of(r, e)) return tn_l_select(k, e, tn_l_int(k, lanes), tn_l_int(k, 0));
    if (x.kind != TN_LX_OP) return TN_LX_NONE;
    if (x.op == TN_S_and && x.dtype == TN_bool) {
        tn_lx a = raw_count(r, x.a, lanes), b = a ? raw_count(r, x.b, lanes) : TN_LX_NONE;
        return b ? tn_l_min(k, a, b) : TN_LX_NONE;
    }
    bool less = (x.op == TN_S_lt || x.op == TN_S_le) && tn_l_type(k, x.a) == TN_i64;
    int64_t scale;
    tn_lx rest;
    if (!less || tn__lanes_of(r, x.b)) return TN_LX_NONE;
    if (!tn__lane_affine(r, x.a, lanes, &scale, &rest) || scale != 1) return TN_LX_NONE;
    tn_lx count = tn_l_sub(k, x.b, rest);
    return x.op == TN_S_lt ? count : tn_l_add(k, count, tn_l_int(k, 1));
}

tn_lx tn__prefix_count(render *r, tn_lx condition, uint32_t lanes) {
    tn_lx count = raw_count(r, condition, lanes);
    if (!count) return TN_LX_NONE;
    return tn_l_min(r->k, tn_l_max(r->k, count, tn_l_int(r->k, 0)), tn_l_int(r->k, lanes));
}

bool tn__holds_for_some(render *r, tn_lx condition, uint32_t lanes) {
    tn_lx count = raw_count(r, condition, lanes);
    if (!count) return false;
    const tn_lexpr *some = tn_l_expr(r->k, tn_l_lt(r->k, tn_l_int(r->k, 0), count));
    return some->kind == TN_LX_CONST && some->value.u;
}

/* ---- addresses ------------------------------------------------------------------------------ */

static const char *address(render *r, uint32_t buffer, tn_lx index) {
    int64_t at;
    const char *name = r->buffer_name[buffer];
    if (tn_l_is_const_int(r->k, index, &at) && at == 0) return name;
    return tn__text(r, "%s + %s", name, tn__bare(r, tn__value(r, index)));
}

static const char *element(render *r, uint32_t buffer, tn_lx index) {
    return tn__text(r, "%s[%s]", r->buffer_name[buffer], tn__bare(r, tn__value(r, index)));
}

static const char *call(render *r, const char *function, const char *type, uint32_t lanes,
                        const char *arguments) {
    tn__require(r, lanes, "%s_%s", function, type);
    return tn__text(r, "tn_%s_%sx%" PRIu32 "(%s)", function, type, lanes, arguments);
}

/* ---- loads ---------------------------------------------------------------------------------- */

static const char *scalar_load(render *r, uint32_t buffer, tn_lx index) {
    const char *text = element(r, buffer, index);
    tn_dtype dtype = r->k->buffers.data[buffer].dtype;
    if (dtype == TN_bool) return tn__text(r, "(%s != 0)", text);
    return tn__from_storage(r, dtype, 0, text);
}

/* Memory lanes of a vector load as a value. */
static const char *loaded(render *r, tn_dtype dtype, uint32_t lanes, const char *bits) {
    if (dtype != TN_bool) return tn__from_storage(r, dtype, lanes, bits);
    return call(r, "cast_u8", "bool", lanes, bits);
}

/* The lanes follow each other in memory; `guard` differs between lanes, or is NONE. */
static const char *load_run(render *r, uint32_t buffer, tn_lx first, tn_lx guard, uint32_t lanes) {
    tn_dtype dtype = r->k->buffers.data[buffer].dtype;
    const char *type = tn__storage_type(dtype);
    tn_lx count = guard ? tn__prefix_count(r, guard, lanes) : TN_LX_NONE;
    const char *suffix = dtype == TN_bool ? "bool" : type, *text;
    const char *at = address(r, buffer, first);
    if (guard && !count) {
        tn__require(r, lanes, "type_%s", type);
        text =
            call(r, "load_mask", type, lanes,
                 tn__text(r, "%s, %s, (%sx%" PRIu32 "){0}", at, tn__named(r, guard), type, lanes));
        return loaded(r, dtype, lanes, text);
    }
    if (!guard)
        text = call(r, "load", suffix, lanes, at);
    else
        text = call(r, "load_part", suffix, lanes, tn__text(r, "%s, %s", at, tn__named(r, count)));
    /* The bool forms give masks already; their names have no type but "bool". */
    return dtype == TN_bool ? text : tn__from_storage(r, dtype, lanes, text);
}

const char *tn__load_vector(render *r, uint32_t buffer, tn_lx first, tn_lx count, uint32_t lanes) {
    const char *type = tn__storage_type(r->k->buffers.data[buffer].dtype);
    const char *at = address(r, buffer, first);
    int64_t known;
    if (count == TN_LX_NONE || (tn_l_is_const_int(r->k, count, &known) && known == lanes))
        return call(r, "load", type, lanes, at);
    return call(r, "load_part", type, lanes, tn__text(r, "%s, %s", at, tn__named(r, count)));
}

/* *masked: lanes for which `guard` does not hold are zero. */
static const char *load_scattered(render *r, uint32_t buffer, tn_lx index, tn_lx guard,
                                  uint32_t lanes, bool *masked) {
    tn_dtype dtype = r->k->buffers.data[buffer].dtype;
    const char *type = tn__storage_type(dtype), *name = r->buffer_name[buffer], *text;
    int64_t scale;
    tn_lx rest;
    tn_lx count = guard ? tn__prefix_count(r, guard, lanes) : TN_LX_NONE;
    if (guard == TN_LX_NONE || count != TN_LX_NONE) {
        text = tn__load_pieces(r, buffer, index, count, lanes);
        *masked = !text;
        if (text) return loaded(r, dtype, lanes, text);
    }
    if (!guard && tn__lane_affine(r, index, lanes, &scale, &rest)) {
        text = call(r, "stride", type, lanes,
                    tn__text(r, "%s, %" PRId64, address(r, buffer, rest), scale));
        return loaded(r, dtype, lanes, text);
    }
    const char *at = tn__bare(r, tn__vector(r, index, lanes));
    if (guard) {
        tn__require(r, lanes, "type_%s", type);
        text = call(r, "gather_mask", type, lanes,
                    tn__text(r, "%s, %s, %s, (%sx%" PRIu32 "){0}", name, at, tn__named(r, guard),
                             type, lanes));
    } else {
        text = call(r, "gather", type, lanes, tn__text(r, "%s, %s", name, at));
    }
    return loaded(r, dtype, lanes, text);
}

static bool is_zero(render *r, tn_lx e) {
    const tn_lexpr *x = tn_l_expr(r->k, e);
    return x->kind == TN_LX_CONST && x->value.u == 0;
}

static const char *vector_load(render *r, uint32_t buffer, tn_lx index, tn_lx guard, tn_lx other,
                               uint32_t lanes) {
    tn_dtype dtype = r->k->buffers.data[buffer].dtype;
    int64_t scale = 0;
    tn_lx rest;
    bool run = tn__lane_affine(r, index, lanes, &scale, &rest) && scale == 1, masked = true;
    const char *text = run ? load_run(r, buffer, rest, guard, lanes)
                           : load_scattered(r, buffer, index, guard, lanes, &masked);
    if (!guard || (masked && is_zero(r, other) && dtype != TN_f8e8m0)) return text;
    return tn__select(r, dtype, lanes, tn__named(r, guard), text, tn__vector(r, other, lanes));
}

const char *tn__load(render *r, uint32_t buffer, tn_lx index, tn_lx guard, tn_lx other,
                     uint32_t lanes) {
    bool varies = guard && tn__lanes_of(r, guard);
    const char *text;
    if (varies) return vector_load(r, buffer, index, guard, other, lanes);
    if (lanes && tn__lanes_of(r, index))
        text = vector_load(r, buffer, index, TN_LX_NONE, TN_LX_NONE, lanes);
    else if (!lanes)
        text = scalar_load(r, buffer, index);
    else { /* the other value differs between lanes */
        tn_dtype dtype = r->k->buffers.data[buffer].dtype;
        const char *type = dtype == TN_bool ? "i32" : tn__compute_name(dtype);
        text = scalar_load(r, buffer, index);
        if (dtype == TN_bool) text = tn__text(r, "-%s", text);
        text = call(r, "splat", type, lanes, text);
    }
    if (!guard) return text;
    return tn__text(r, "(%s ? %s : %s)", tn__value(r, guard), text, tn__value_as(r, other, lanes));
}

/* Into the second-level cache: what is asked for is not needed at once. */
void tn__prefetch(render *r, const tn_lstmt *s) {
    tn__line(r, "__builtin_prefetch(%s, 0, 2);", address(r, s->target, s->a));
}

/* ---- stores --------------------------------------------------------------------------------- */

static void store_run(render *r, const tn_lstmt *s, tn_lx first) {
    tn_dtype dtype = r->k->buffers.data[s->target].dtype;
    uint32_t lanes = r->lanes;
    bool flag = dtype == TN_bool;
    const char *type = flag ? "bool" : tn__storage_type(dtype);
    tn_lx count = r->mask ? tn__prefix_count(r, r->mask, lanes) : TN_LX_NONE;
    bool masked = r->mask && !count;
    if (masked && flag) type = "u8";
    const char *value =
        flag && !masked ? tn__vector(r, s->b, lanes) : tn__storage_value(r, s->b, lanes);
    const char *text = tn__text(r, "%s, %s", address(r, s->target, first), tn__bare(r, value));
    if (!r->mask)
        text = call(r, r->k->buffers.data[s->target].stream && !flag ? "stream" : "store", type,
                    lanes, text);
    else if (count)
        text = call(r, "store_part", type, lanes, tn__text(r, "%s, %s", text, tn__named(r, count)));
    else
        text =
            call(r, "store_mask", type, lanes, tn__text(r, "%s, %s", text, tn__named(r, r->mask)));
    tn__line(r, "%s;", text);
}

static void store_scattered(render *r, const tn_lstmt *s) {
    const char *type = tn__storage_type(r->k->buffers.data[s->target].dtype);
    const char *value = tn__bare(r, tn__storage_value(r, s->b, r->lanes));
    const char *text = tn__text(r, "%s, %s, %s", r->buffer_name[s->target],
                                tn__bare(r, tn__vector(r, s->a, r->lanes)), value);
    if (r->mask)
        text = call(r, "scatter_mask", type, r->lanes,
                    tn__text(r, "%s, %s", text, tn__named(r, r->mask)));
    else
        text = call(r, "scatter", type, r->lanes, text);
    tn__line(r, "%s;", text);
}

void tn__store(render *r, const tn_lstmt *s) {
    bool follows = r->lanes && tn__lanes_of(r, s->a);
    bool differs = r->lanes && tn__lanes_of(r, s->b);
    int64_t scale;
    tn_lx rest;
    if (!follows && !differs) {
        const char *value = tn__bare(r, tn__storage_value(r, s->b, 0));
        tn__line(r, "%s = %s;", element(r, s->target, s->a), value);
    } else if (follows && tn__lane_affine(r, s->a, r->lanes, &scale, &rest) && scale == 1) {
        store_run(r, s, rest);
    } else {
        store_scattered(r, s);
    }
}

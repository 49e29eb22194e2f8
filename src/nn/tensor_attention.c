/* Attention and rotary embedding of lazy tensors. See tenon/tensor_layers.h. */
#include <inttypes.h>
#include <math.h>

#include "nn/tensor_inner.h"

/* ---- masks ---------------------------------------------------------------------------------- */

/* |i + offset − j| < window, bool [S, T] */
static tn_value window_mask(tn_builder *b, const tn_attention_options *o, tn_value q, tn_value k) {
    tn_shape rows = {.rank = 2, .dim = {tn_b_dim(b, q, 2), 1}};
    tn_shape columns = {.rank = 2, .dim = {1, tn_b_dim(b, k, 2)}};
    tn_value i = tn_b_iota(b, TN_i64, &rows, 0), j = tn_b_iota(b, TN_i64, &columns, 1);
    tn_value limit = tn_b_scalar_int(b, TN_i64, o->window);
    i = tn_b_add(b, i, tn_b_scalar_int(b, TN_i64, o->offset));
    tn_value near = tn_b_lt(b, tn_b_sub(b, i, j), limit);
    if (o->causal) return near;
    return tn_b_and(b, near, tn_b_lt(b, tn_b_sub(b, j, i), limit));
}

/* What both masks let through. */
static tn_value join_masks(tn_builder *b, tn_value shown, tn_value mask) {
    if (mask == TN_NO_VALUE) return shown;
    tn_dtype dtype = tn_b_type(b, mask).dtype;
    if (dtype == TN_bool) return tn_b_and(b, shown, mask);
    return tn_b_where(b, shown, mask, tn_b_scalar(b, dtype, -INFINITY));
}

static bool attention_of(tn_builder *b, const tn_value *in, const tn_attention_options *o,
                         tn_attention *a) {
    tn_value q = tn__float_operand(b, "attention", in[0]), mask = in[3];
    if (o->window < 0 || o->offset > INT32_MAX || o->offset < -INT32_MAX || !(o->scale >= 0) ||
        !(o->soft_cap >= 0))
        tn_b_fail(b, TN_INVALID,
                  "attention: a window of %" PRId64 ", an offset of %" PRId64
                  ", a scale of %g, a cap of %g",
                  o->window, o->offset, o->scale, o->soft_cap);
    if (tn_b_ok(b) && mask != TN_NO_VALUE && tn_b_type(b, mask).dtype != TN_bool &&
        !tn_dtype_is_float(tn_b_type(b, mask).dtype))
        tn_b_fail(b, TN_INVALID,
                  "attention: the mask is of type %s; expected bool (false hides) or "
                  "a float (added)",
                  tn_dtype_name(tn_b_type(b, mask).dtype));
    *a = (tn_attention){.q = q,
                        .k = tn__cast_like(b, in[1], q),
                        .v = tn__cast_like(b, in[2], q),
                        .mask = mask,
                        .causal = o->causal,
                        .causal_offset = tn_dim_const(b->graph->dims, o->offset),
                        .scale = o->scale,
                        .softcap = o->soft_cap};
    return tn_b_ok(b);
}

static void add_window(tn_builder *b, const tn_attention_options *o, tn_attention *a) {
    if (o->window && tn_b_rank(b, a->q) == 4 && tn_b_rank(b, a->k) == 4)
        a->mask = join_masks(b, window_mask(b, o, a->q, a->k), a->mask);
}

/* ---- attention ------------------------------------------------------------------------------ */

static tn_value build_attention(tn_builder *b, const tn_value *in, const void *args) {
    tn_attention a;
    if (!attention_of(b, in, args, &a)) return TN_NO_VALUE;
    add_window(b, args, &a);
    return tn_b_attention(b, &a);
}

static tn_value build_scores(tn_builder *b, const tn_value *in, const void *args) {
    tn_attention a;
    return attention_of(b, in, args, &a) ? tn_b_attention_scores(b, &a) : TN_NO_VALUE;
}

/* in[4]: the scores */
static tn_value build_of_scores(tn_builder *b, const tn_value *in, const void *args) {
    tn_attention a;
    if (!attention_of(b, in, args, &a)) return TN_NO_VALUE;
    add_window(b, args, &a);
    return tn_b_attention_of_scores(b, &a, tn__wide_like(b, in[4], in[0]));
}

/* Positions along an axis of two: [size, 1] or [1, size] */
static tn_tensor *positions(const char *place, tn_context *c, int64_t size, int axis) {
    tn_tensor *line = tn_arange_at(place, c, TN_i64, 0, (double)size, 1);
    return tn_expand_dims_at(place, line, 1 - axis);
}

/* With functions of the user, which see tensors: so this is more than one call. */
static tn_tensor *attention_by_functions(const char *place, const tn_tensor *const in[4],
                                         const tn_attention_options *o) {
    tn_context *c = tn_tensor_context(in[0]);
    const tn_tensor *all[5] = {in[0], in[1], in[2], in[3], NULL};
    tn_scope *scope = tn_scope_open(c);
    tn_tensor *i = positions(place, c, tn_tensor_dim(in[0], 2), 0);
    tn_tensor *j = positions(place, c, tn_tensor_dim(in[1], 2), 1), *y;
    if (o->mask_function && in[3]) {
        tn__refuse(c, place, "attention: a mask and a mask function");
        return tn_scope_return(scope, tn__failed(c));
    }
    if (o->mask_function && !(all[3] = o->mask_function(i, j, o->user))) all[3] = tn__failed(c);
    if (o->score_function) {
        tn_tensor *scores = tn__call_some(place, all, 4, 3, build_scores, o);
        scores = o->score_function(scores, i, j, o->user);
        all[4] = scores ? scores : tn__failed(c);
        y = tn__call_some(place, all, 5, 3, build_of_scores, o);
    } else {
        y = tn__call_some(place, all, 4, 3, build_attention, o);
    }
    return tn_scope_return(scope, y);
}

tn_tensor *tn_attention_at(const char *place, const tn_tensor *q, const tn_tensor *k,
                           const tn_tensor *v, const tn_tensor *mask,
                           const tn_attention_options *options) {
    tn_attention_options o;
    tn_context *c = tn_tensor_context(q);
    const tn_tensor *in[] = {q, k, v, mask};
    if (!tn__options(c, place, options, &o, sizeof o)) return c ? tn__failed(c) : NULL;
    if (c && (o.mask_function || o.score_function)) return attention_by_functions(place, in, &o);
    return tn__call_some(place, in, 4, 3, build_attention, &o);
}

/* ---- rotary embedding ----------------------------------------------------------------------- */

static double or_else(double given, double otherwise) {
    return given != 0 ? given : otherwise;
}

/* θ^(−2i/features), scaled as Llama 3.1 does ("The Llama 3 Herd of Models", 2024; its reference code's
 * apply_scaling). */
static double frequency(const tn_rotary_options *o, int64_t i, int64_t features) {
    static const double TWO_PI = 6.28318530717958647693;
    double f = pow(or_else(o->theta, 10000), -2 * (double)i / (double)features);
    double factor = or_else(o->factor, 1), low = or_else(o->low, 1), high = or_else(o->high, 4);
    double turns = or_else(o->length, 8192) * f / TWO_PI; /* within the trained length */
    if (factor == 1 || turns > high) return f;
    if (turns < low) return f / factor;
    double blend = (turns - low) / (high - low);
    return (1 - blend) * f / factor + blend * f;
}

static tn_value frequencies(tn_builder *b, const tn_rotary_options *o, tn_dtype dtype,
                            int64_t features) {
    tn_array f = tn_array_new(b->graph->arena, dtype, 1, (int64_t[]){features / 2});
    for (int64_t i = 0; i < features / 2; i++)
        tn_array_set(&f, i, tn_cell_of(dtype, frequency(o, i, features)));
    return tn_b_constant(b, &f);
}

enum { ROTARY_MOST = 1 << 20 }; /* features: their frequencies are a table */

static bool check_rotary(tn_builder *b, const tn_rotary_options *o, tn_value x, int64_t *features) {
    tn__float_operand(b, "rotary", x);
    if (tn_b_ok(b) && tn_b_rank(b, x) < 2)
        tn_b_fail(b, TN_INVALID, "rotary: x has %d axes; expected […, length, features]",
                  tn_b_rank(b, x));
    *features = o->features ? o->features : tn_b_ok(b) ? tn_b_dim(b, x, -1) : 0;
    if (tn_b_ok(b) && (*features < 2 || *features % 2 != 0 || *features > tn_b_dim(b, x, -1)))
        tn_b_fail(b, TN_INVALID,
                  "rotary: %" PRId64 " of %" PRId64 " features are turned; expected an "
                  "even number",
                  *features, (int64_t)tn_b_dim(b, x, -1));
    if (tn_b_ok(b) && *features > ROTARY_MOST)
        tn_b_fail(b, TN_UNSUPPORTED, "rotary: %" PRId64 " features are turned; at most %d are",
                  *features, ROTARY_MOST);
    if (!(o->theta >= 0) || !(o->factor >= 0) || or_else(o->low, 1) >= or_else(o->high, 4))
        tn_b_fail(b, TN_INVALID, "rotary: theta %g, factor %g, low %g, high %g", o->theta,
                  o->factor, o->low, o->high);
    return tn_b_ok(b);
}

static tn_value build_rotary(tn_builder *b, const tn_value *in, const void *args) {
    const tn_rotary_options *o = args;
    tn_value x = in[0], position = in[1];
    int64_t features;
    if (!check_rotary(b, o, x, &features)) return TN_NO_VALUE;
    tn_dtype dtype = tn_b_type(b, x).dtype, work = tn_b_accumulator(dtype);
    tn_shape line = {.rank = 1, .dim = {tn_b_dim(b, x, -2)}};
    if (position == TN_NO_VALUE) position = tn_b_iota(b, TN_i64, &line, 0);
    position = tn_b_unsqueeze(b, tn_b_cast(b, position, work), tn_b_rank(b, position));
    tn_value angle = tn_b_mul(b, position, frequencies(b, o, work, features));
    tn_value y = tn_b_rotary(b, tn_b_cast(b, x, work), tn_b_cos(b, angle), tn_b_sin(b, angle),
                             o->interleaved);
    return tn_b_cast(b, y, dtype);
}

tn_tensor *tn_rotary_at(const char *place, const tn_tensor *x, const tn_tensor *at,
                        const tn_rotary_options *options) {
    tn_rotary_options o;
    tn_context *c = tn_tensor_context(x);
    if (!tn__options(c, place, options, &o, sizeof o)) return c ? tn__failed(c) : NULL;
    return tn__call_some(place, (const tn_tensor *[]){x, at}, 2, 1, build_rotary, &o);
}

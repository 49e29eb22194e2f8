/* Clipping and checking gradients. See tenon/optim.h. */
#include <math.h>
#include <stdlib.h>

#include "nn/optim_inner.h"

/* `clipped` may be the list itself; the results of a call go where its operands were. */
static void give(const tn__given *g, int from, int count, tn_tensor **results, tn_tensor **out) {
    for (int i = 0, at = from; i < count; i++) {
        bool is = at < g->count && g->index[at] == i;
        out[i] = is ? results[at++ - from] : NULL;
    }
}

static tn_value sum_of_squares(tn_builder *b, tn_value x) {
    int axes[TN_MAX_RANK], rank = tn_b_rank(b, x);
    for (int a = 0; a < rank; a++) axes[a] = a;
    return tn_b_sum(b, tn_b_mul(b, x, x), axes, rank, false);
}

typedef struct clip_args {
    int count;
    bool scalar; /* what limits is an operand, the first */
    double limit;
    bool clips;
} clip_args;

/* min(1, limit / norm) */
static tn_value clip_factor(tn_builder *b, tn_value norm, const tn_value *limit,
                            const clip_args *a) {
    tn_dtype dtype = tn_b_type(b, norm).dtype;
    tn_value most = a->scalar ? tn_b_cast(b, *limit, dtype) : tn_b_scalar(b, dtype, a->limit);
    tn_value scale = tn_b_div(b, most, tn_b_add_scalar(b, norm, 1e-6));
    return tn_b_min(b, scale, tn_b_scalar(b, dtype, 1));
}

/* out: the norm, then the clipped ones */
static void build_norm(tn_builder *b, const tn_value *in, const void *args, tn_value *out) {
    const clip_args *a = args;
    const tn_value *limit = in;
    if (a->scalar) in++;
    tn_dtype dtype = TN_f32;
    tn_value sum = TN_NO_VALUE;
    for (int i = 0; i < a->count; i++)
        if (tn_b_type(b, in[i]).dtype == TN_f64) dtype = TN_f64;
    for (int i = 0; i < a->count; i++) {
        tn_value square = sum_of_squares(b, tn_b_cast(b, in[i], dtype));
        sum = i ? tn_b_add(b, sum, square) : square;
    }
    out[0] = tn_b_sqrt(b, sum);
    if (!a->clips) return;
    tn_value scale = clip_factor(b, out[0], limit, a);
    for (int i = 0; i < a->count; i++) {
        tn_dtype own = tn_b_type(b, in[i]).dtype, wide = tn__wide_float(own);
        tn_value x = tn_b_mul(b, tn_b_cast(b, in[i], wide), tn_b_cast(b, scale, wide));
        out[1 + i] = tn_b_cast(b, x, own);
    }
}

static tn_tensor *bad_limit(const char *place, const tn__given *g, const char *what, double limit) {
    tn_context *c = tn_tensor_context(g->tensor[0]);
    tn_error err = TN_ERROR_INIT;
    tn_error_set(&err, TN_INVALID, "clipping gradients: %s is %g; expected %s ≥ 0", what, limit,
                 what);
    pthread_mutex_lock(&c->lock);
    tn__context_fail(c, place, &err);
    tn_tensor *failed = tn__tensor_failed(c);
    pthread_mutex_unlock(&c->lock);
    return failed;
}

/* New references; failed ones where the call was wrong. */
static void pass_on(tn_tensor *const *gradients, int count, bool ok, tn_tensor **out) {
    for (int i = 0; i < count; i++) {
        tn_tensor *x = gradients[i] ? tn__again(gradients[i]) : NULL;
        if (x && !ok) x->failed = true;
        out[i] = x;
    }
}

tn_tensor *tn_clip_gradients_norm_at(const char *place, tn_tensor *const *gradients, int count,
                                     double max_norm, tn_tensor **clipped) {
    tn__given g;
    tn_tensor *norm = NULL, **results = calloc((size_t)count + 1, sizeof *results);
    bool ok = tn__given_init(&g, NULL, gradients, count) && results, valid = max_norm >= 0;
    bool clips = clipped && max_norm < INFINITY;
    if (ok && g.count && !valid) {
        norm = bad_limit(place, &g, "max_norm", max_norm);
    } else if (ok && g.count) {
        clip_args args = {.count = g.count, .limit = max_norm, .clips = clips};
        tn__call call = {place,      NULL, g.tensor, g.count, 1 + (clips ? g.count : 0),
                         build_norm, &args};
        tn__record(&call, results);
        norm = results[0];
    }
    if (clipped && ok && valid && clips)
        give(&g, 0, count, results + 1, clipped);
    else if (clipped)
        pass_on(gradients, count, ok && valid, clipped);
    free(results);
    tn__given_deinit(&g);
    return norm;
}

tn_tensor *tn__clip_gradients_norm(const char *place, tn_tensor *const *gradients, int count,
                                   const tn_tensor *max_norm, tn_tensor **clipped) {
    tn__given g;
    tn_tensor *norm = NULL, **results = calloc((size_t)count + 1, sizeof *results);
    bool ok = tn__given_init(&g, max_norm, gradients, count) && results;
    if (ok && g.count > 1) {
        clip_args args = {.count = g.count - 1, .scalar = true, .clips = true};
        tn__call call = {place, NULL, g.tensor, g.count, g.count, build_norm, &args};
        tn__record(&call, results);
        norm = results[0];
        give(&g, 1, count, results + 1, clipped);
    } else {
        pass_on(gradients, count, ok, clipped);
    }
    free(results);
    tn__given_deinit(&g);
    return norm;
}

void tn_clip_gradients_value_at(const char *place, tn_tensor *const *gradients, int count,
                                double limit, tn_tensor **clipped) {
    tn__given g;
    bool ok = tn__given_init(&g, NULL, gradients, count), valid = limit >= 0;
    if (ok && g.count && !valid) tn_release(bad_limit(place, &g, "the limit", limit));
    if (!ok || !valid)
        pass_on(gradients, count, false, clipped);
    else
        for (int i = 0; i < count; i++)
            clipped[i] = gradients[i] ? tn_clip_at(place, gradients[i], -limit, limit) : NULL;
    tn__given_deinit(&g);
}

static void build_finite(tn_builder *b, const tn_value *in, const void *args, tn_value *out) {
    out[0] = tn__all_finite(b, in, *(const int *)args);
}

tn_tensor *tn_gradients_finite_at(const char *place, tn_tensor *const *gradients, int count) {
    tn__given g;
    tn_tensor *flag = NULL;
    if (tn__given_init(&g, NULL, gradients, count) && g.count) {
        tn__call call = {place, NULL, g.tensor, g.count, 1, build_finite, &g.count};
        tn__record(&call, &flag);
    }
    tn__given_deinit(&g);
    return flag;
}

/* Scaling of losses. See tenon/optim.h. */
#include <math.h>
#include <stdlib.h>

#include "nn/optim_inner.h"

struct tn_loss_scale {
    tn_loss_scale_options options;
    tn_tensor *scale, *good; /* f32; i32: finite steps since the scale last changed */
};

static tn_status copy_options(const tn_loss_scale_options *from, tn_loss_scale_options *to,
                              tn_error *err) {
    *to = (tn_loss_scale_options)TN_LOSS_SCALE_OPTIONS_INIT;
    if (!from) return TN_OK;
    if (from->size < sizeof(size_t) || from->size > 4096)
        return tn_error_set(err, TN_INVALID,
                            "tn_loss_scale_options.size is not set; start from "
                            "TN_LOSS_SCALE_OPTIONS_INIT");
    memcpy(to, from, TN_MIN(from->size, sizeof *to));
    if (!(to->initial > 0 && to->growth >= 1 && to->backoff > 0 && to->backoff <= 1) ||
        !(to->initial < INFINITY && to->growth < INFINITY) || to->interval < 1)
        return tn_error_set(err, TN_INVALID,
                            "loss scale: initial %g, growth %g, backoff %g, interval %d; expected "
                            "initial > 0, growth ≥ 1, 0 < backoff ≤ 1, interval ≥ 1",
                            to->initial, to->growth, to->backoff, to->interval);
    return TN_OK;
}

tn_status tn_loss_scale_create(tn_context *context, const tn_loss_scale_options *options,
                               tn_loss_scale **out, tn_error *err) {
    tn_loss_scale_options o;
    *out = NULL;
    TN_CHECK(copy_options(options, &o, err));
    tn_loss_scale *s = calloc(1, sizeof *s);
    if (!s) return tn_error_set(err, TN_OUT_OF_MEMORY, "loss scale: out of memory");
    s->options = o;
    s->scale = tn_keep(tn_tensor_scalar(context, TN_f32, o.initial));
    s->good = tn_keep(tn_tensor_scalar(context, TN_i32, 0));
    if (tn_tensor_ok(s->scale) && tn_tensor_ok(s->good)) {
        *out = s;
        return TN_OK;
    }
    tn_loss_scale_release(s);
    return tn_error_set(err, TN_OUT_OF_MEMORY, "loss scale: out of memory");
}

void tn_loss_scale_release(tn_loss_scale *s) {
    if (!s) return;
    tn_release(s->scale);
    tn_release(s->good);
    free(s);
}

int tn_loss_scale_state(tn_loss_scale *s, tn_named_tensor *out, int room) {
    if (room > 0) out[0] = (tn_named_tensor){"loss_scale", s->scale};
    if (room > 1) out[1] = (tn_named_tensor){"loss_scale.good_steps", s->good};
    return 2;
}

/* The scale follows from earlier gradients, through which no gradient goes. */
static tn_value scale_for(tn_builder *b, tn_value scale, tn_dtype dtype) {
    scale = tn_b_node(b, TN_OP_barrier, &scale, 1, &(tn_attrs_barrier){.stop = true});
    return tn_b_cast(b, scale, dtype);
}

static tn_value build_apply(tn_builder *b, const tn_value *in, const void *args) {
    tn_dtype wide = tn__wide_float(tn_b_type(b, in[0]).dtype);
    (void)args;
    return tn_b_mul(b, tn_b_cast(b, in[0], wide), scale_for(b, in[1], wide));
}

tn_tensor *tn_loss_scale_apply_at(const char *place, tn_loss_scale *s, const tn_tensor *loss) {
    return tn__call2(place, loss, s->scale, build_apply, NULL);
}

/* in: scale, gradients; out: whether all are finite, the quotients */
static void build_unscale(tn_builder *b, const tn_value *in, const void *args, tn_value *out) {
    int count = *(const int *)args;
    for (int i = 1; i <= count; i++) {
        tn_dtype wide = tn__wide_float(tn_b_type(b, in[i]).dtype);
        tn_value inverse = tn_b_div(b, tn_b_scalar(b, wide, 1), scale_for(b, in[0], wide));
        out[i] = tn_b_mul(b, tn_b_cast(b, in[i], wide), inverse);
    }
    out[0] = tn__all_finite(b, in + 1, count);
}

tn_tensor *tn_loss_scale_unscale_at(const char *place, tn_loss_scale *s,
                                    tn_tensor *const *gradients, int count, tn_tensor **out) {
    tn__given g;
    tn_tensor *finite = NULL, **results = calloc((size_t)count + 1, sizeof *results);
    if (tn__given_init(&g, s->scale, gradients, count) && results && g.count > 1) {
        int given = g.count - 1;
        tn__call call = {place, NULL, g.tensor, g.count, g.count, build_unscale, &given};
        tn__record(&call, results);
        finite = results[0];
    }
    for (int i = 0; i < count; i++) out[i] = NULL;
    for (int k = 1; k < g.count && results; k++) out[g.index[k]] = results[k];
    free(results);
    tn__given_deinit(&g);
    return finite;
}

/* in: scale, good steps, finite */
static void build_update(tn_builder *b, const tn_value *in, const void *args, tn_value *out) {
    const tn_loss_scale_options *o = args;
    tn_value finite = tn__truth(b, in[2]), zero = tn_b_scalar_int(b, TN_i32, 0);
    tn_value good = tn_b_add_scalar(b, in[1], 1);
    tn_value grows = tn_b_ge(b, good, tn_b_scalar_int(b, TN_i32, o->interval));
    tn_value grown = tn_b_mul_scalar(b, in[0], o->growth);
    tn_value stays = tn_b_or(b, tn_b_not(b, grows), tn_b_is_inf(b, grown));
    out[0] = tn_b_where(b, finite, tn_b_where(b, stays, in[0], grown),
                        tn_b_mul_scalar(b, in[0], o->backoff));
    out[1] = tn_b_where(b, tn_b_and(b, finite, tn_b_not(b, grows)), good, zero);
}

void tn_loss_scale_update_at(const char *place, tn_loss_scale *s, const tn_tensor *finite) {
    if (!finite) return; /* there were no gradients */
    tn_tensor *to[2] = {s->scale, s->good}, *from[2];
    tn__call call = {place,      NULL, (const tn_tensor *const[]){s->scale, s->good, finite},
                     3,          2,    build_update,
                     &s->options};
    tn__record(&call, from);
    tn__assign_all(place, to, from, 2);
}

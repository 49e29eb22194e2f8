/* Sums of gradients over batches and averages of parameters over steps. See tenon/optim.h. */
#include <math.h>
#include <stdlib.h>

#include "nn/optim_inner.h"
#include "ops/ops_common.h"

/* ---- sums ----------------------------------------------------------------------------------- */

struct tn_accumulator {
    tn__slots slots;
};

static tn_status accumulator_fill(tn__slots *s, const tn_named_tensor *parameters, int count,
                                  tn_error *err) {
    TN_CHECK(tn__slots_init(s, "gradient sums", parameters, count, ".gradient", err));
    for (int i = 0; i < count; i++) s->state[i].tensor = tn__zeros_like(s->parameter[i].tensor);
    return tn__slots_check(s, "gradient sums", err);
}

tn_status tn_accumulator_create(const tn_named_tensor *parameters, int count, tn_accumulator **out,
                                tn_error *err) {
    *out = NULL;
    tn_accumulator *a = calloc(1, sizeof *a);
    if (!a) return tn_error_set(err, TN_OUT_OF_MEMORY, "gradient sums: out of memory");
    tn_status status = accumulator_fill(&a->slots, parameters, count, err);
    if (status == TN_OK)
        *out = a;
    else
        tn_accumulator_release(a);
    return status;
}

void tn_accumulator_release(tn_accumulator *a) {
    if (!a) return;
    tn__slots_deinit(&a->slots);
    free(a);
}

int tn_accumulator_state(tn_accumulator *a, tn_named_tensor *out, int room) {
    return tn__slots_list(&a->slots, out, room);
}

typedef struct sum_args {
    const char *name;
    double scale;
} sum_args;

static tn_value build_sum(tn_builder *b, const tn_value *in, const void *args) {
    const sum_args *a = args;
    tn_type sum = tn_b_type(b, in[0]), x = tn_b_type(b, in[1]);
    if (!tn_dtype_is_float(x.dtype) || !tn_shape_equal(&sum.shape, &x.shape))
        return tn_b_fail(b, TN_INVALID, "gradient sums: '%s' is %s, what is added %s", a->name,
                         tn_type_text(b->graph->dims, &sum).at,
                         tn_type_text(b->graph->dims, &x).at);
    return tn_b_add(b, in[0], tn_b_mul_scalar(b, tn_b_cast(b, in[1], sum.dtype), a->scale));
}

void tn_accumulator_add_at(const char *place, tn_accumulator *a, tn_tensor *const *gradients,
                           double scale) {
    for (int i = 0; i < a->slots.count; i++) {
        const tn_named_tensor *to = &a->slots.state[i];
        if (!gradients[i]) continue;
        tn_tensor *sum =
            tn__call2(place, to->tensor, gradients[i], build_sum, &(sum_args){to->name, scale});
        tn__assign_all(place, &to->tensor, &sum, 1);
    }
}

void tn_accumulator_take_at(const char *place, tn_accumulator *a, tn_tensor **out) {
    for (int i = 0; i < a->slots.count; i++) {
        tn_tensor *sum = a->slots.state[i].tensor;
        tn_tensor *zeros = tn_full_at(place, a->slots.context, sum->dtype, sum->rank, sum->dim, 0);
        out[i] = tn__again(sum);
        tn__assign_all(place, &sum, &zeros, 1);
    }
}

/* ---- averages ------------------------------------------------------------------------------- */

struct tn_ema {
    tn__slots slots;
    double decay;
};

/* In memory of its own, and behind no variable. */
static tn_value build_start(tn_builder *b, const tn_value *in, const void *args) {
    tn_value x = tn_b_cast(b, in[0], tn__wide_float(tn_b_type(b, in[0]).dtype));
    (void)args;
    return tn_b_node(b, TN_OP_barrier, &x, 1, &(tn_attrs_barrier){.stop = true});
}

/* Averages begin as numbers, not as a graph: a step that is compiled once must find them in memory. */
static tn_status evaluate(tn__slots *s, tn_error *err) {
    for (int i = 0; i < s->count; i++)
        if (!tn__is_abstract(s->parameter[i].tensor))
            TN_CHECK(tn_eval(&s->state[i].tensor, 1, err));
    return TN_OK;
}

static tn_status ema_fill(tn_ema *e, const tn_named_tensor *parameters, int count, tn_error *err) {
    if (!(e->decay >= 0 && e->decay <= 1))
        return tn_error_set(err, TN_INVALID, "average: decay is %g; expected 0 ≤ decay ≤ 1",
                            e->decay);
    tn__slots *s = &e->slots;
    TN_CHECK(tn__slots_init(s, "average", parameters, count, ".average", err));
    for (int i = 0; i < count; i++)
        s->state[i].tensor =
            tn_keep(tn__call1("tn_ema_create", s->parameter[i].tensor, build_start, NULL));
    TN_CHECK(tn__slots_check(s, "average", err));
    return evaluate(s, err);
}

tn_status tn_ema_create(const tn_named_tensor *parameters, int count, double decay, tn_ema **out,
                        tn_error *err) {
    *out = NULL;
    tn_ema *e = calloc(1, sizeof *e);
    if (!e) return tn_error_set(err, TN_OUT_OF_MEMORY, "average: out of memory");
    e->decay = decay;
    tn_status status = ema_fill(e, parameters, count, err);
    if (status == TN_OK)
        *out = e;
    else
        tn_ema_release(e);
    return status;
}

void tn_ema_release(tn_ema *e) {
    if (!e) return;
    tn__slots_deinit(&e->slots);
    free(e);
}

int tn_ema_state(tn_ema *e, tn_named_tensor *out, int room) {
    return tn__slots_list(&e->slots, out, room);
}

/* average + (1 − decay) · (x − average): stays x where both are x */
static tn_value build_blend(tn_builder *b, const tn_value *in, const void *args) {
    tn_value x = tn_b_cast(b, in[1], tn_b_type(b, in[0]).dtype);
    x = tn_b_node(b, TN_OP_barrier, &x, 1, &(tn_attrs_barrier){.stop = true});
    tn_value way = tn_b_sub(b, x, in[0]);
    return tn_b_add(b, in[0], tn_b_mul_scalar(b, way, 1 - *(const double *)args));
}

/* An update of parameters that were evaluated before hangs together with nothing that is read: without
 * this such updates would pile up. */
static void settle(tn_ema *e) {
    tn_tensor **pending = calloc((size_t)e->slots.count, sizeof *pending);
    int n = 0;
    pthread_mutex_lock(&e->slots.context->lock);
    for (int i = 0; i < e->slots.count && pending; i++)
        if (!e->slots.state[i].tensor->storage && e->slots.parameter[i].tensor->storage)
            pending[n++] = e->slots.state[i].tensor;
    pthread_mutex_unlock(&e->slots.context->lock);
    (void)!tn_eval(pending, n, NULL); /* an error stays with the context */
    free(pending);
}

void tn_ema_update_at(const char *place, tn_ema *e) {
    settle(e);
    for (int i = 0; i < e->slots.count; i++) {
        tn_tensor *to = e->slots.state[i].tensor;
        tn_tensor *next =
            tn__call2(place, to, e->slots.parameter[i].tensor, build_blend, &e->decay);
        tn__assign_all(place, &to, &next, 1);
    }
}

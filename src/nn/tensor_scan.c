/* tn_scan. See tenon/tensor.h.
 *
 * The step is called once on places, as in tensor_custom.c, and what it records becomes the body of a
 * scan; what it uses besides carries and x are invariants. */
#include <stdlib.h>

#include "nn/tensor_trace.h"
#include "ops/lift.h"

typedef struct scan {
    const char *place;
    tn_context *c;
    const tn_scan_loop *loop;
    int given, made; /* carries and x; carries and y */
    uint64_t cuts;
    int64_t length;
    tn_tensor **in, **at, **out; /* carries and x, their places, what a step gives */
    bool ok;
} scan;

/* in: carry or x, x[0]. A place for a step of x. */
static tn_value build_step(tn_builder *b, const tn_value *in, const void *args) {
    tn_type type = tn_b_type(b, in[0]), first = tn_b_type(b, in[1]);
    int which = *(const int *)args;
    if (!tn_b_ok(b)) return TN_NO_VALUE;
    if (type.shape.rank == 0 || first.shape.rank == 0)
        return tn_b_fail(b, TN_INVALID, "tn_scan: x[%d] is a scalar; expected steps along axis 0",
                         which);
    if (type.shape.dim[0] != first.shape.dim[0])
        return tn_b_fail(b, TN_INVALID, "tn_scan: x[%d] has %lld steps, x[0] has %lld", which,
                         (long long)type.shape.dim[0], (long long)first.shape.dim[0]);
    memmove(type.shape.dim, type.shape.dim + 1, sizeof(tn_dim) * (size_t)--type.shape.rank);
    tn_value zeros = tn_b_full(b, type.dtype, &type.shape, 0);
    return tn_b_node(b, TN_OP_barrier, &zeros, 1, NULL);
}

/* in: carries and x, their places, what a step gives. */
static void build_scan(tn_builder *b, const tn_value *in, const void *args, tn_value *out) {
    const scan *k = args;
    const tn_value *at = in + k->given, *made = at + k->given;
    tn_value_list inputs = {0}, captured = {0};
    for (int i = 0; i < k->given; i++) tn_vec_push(b->graph->arena, &inputs, at[i]);
    tn__trace_check_values(b, k->c, k->cuts, made, k->made);
    if (k->length < 0)
        tn_b_fail(b, TN_INVALID, "tn_scan: a length of %lld steps", (long long)k->length);
    if (!tn_b_ok(b)) return;
    tn_b_captured(b, at, (uint32_t)k->given, made, (uint32_t)k->made, &captured);
    for (uint32_t i = 0; i < captured.len; i++)
        tn_vec_push(b->graph->arena, &inputs, captured.data[i]);
    tn_attrs_scan a = {.carries = k->loop->carry_count,
                       .slices = k->loop->x_count,
                       .length = k->length,
                       .reverse = k->loop->reverse};
    a.body = tn_b_lift(b, inputs.data, inputs.len, made, (uint32_t)k->made);
    for (int i = 0; i < k->given; i++) inputs.data[i] = in[i];
    tn_value first = tn_b_node(b, TN_OP_scan, inputs.data, inputs.len, &a);
    for (int i = 0; i < k->made && tn_b_ok(b); i++) out[i] = first + (tn_value)i;
}

/* Calls the step on places; these and what it gave are retained. */
static void trace(scan *k) {
    const tn_scan_loop *l = k->loop;
    tn__trace t;
    tn__trace_begin(&t, k->c, "tn_scan");
    k->cuts = t.cuts;
    for (int i = 0; i < k->given; i++) {
        int which = i - l->carry_count;
        k->at[i] = which < 0 ? tn__trace_place(k->place, k->in[i])
                             : tn__call2(k->place, k->in[i], l->x[0], build_step, &which);
        k->ok = k->ok && tn__tensor_is_ok(k->at[i]);
    }
    tn_tensor *const *x = k->at + l->carry_count;
    if (k->ok) l->step(k->at, x, k->out, k->out + l->carry_count, l->user);
    if (k->ok) tn__trace_check(&t, k->place, k->out, k->made);
    for (int i = 0; i < k->given + k->made; i++) tn_retain(k->at[i]);
    tn__trace_end(&t);
}

static tn_context *context_of(const tn_scan_loop *l) {
    if (l->carry_count > 0 && l->carry[0]) return l->carry[0]->context;
    return l->x_count > 0 && l->x[0] ? l->x[0]->context : NULL;
}

void tn_scan_at(const char *place, const tn_scan_loop *loop, tn_tensor **results) {
    scan k = {.place = place, .c = context_of(loop), .loop = loop, .ok = true};
    k.given = loop->carry_count + loop->x_count;
    k.made = loop->carry_count + loop->y_count;
    k.length = loop->x_count > 0 ? tn_tensor_dim(loop->x[0], 0) : loop->length;
    for (int i = 0; i < k.made; i++) results[i] = NULL;
    size_t total = 2 * (size_t)k.given + (size_t)k.made;
    if (!k.c || !(k.in = calloc(total, sizeof *k.in))) return;
    k.at = k.in + k.given;
    k.out = k.at + k.given;
    for (int i = 0; i < k.given; i++)
        k.in[i] = i < loop->carry_count ? loop->carry[i] : loop->x[i - loop->carry_count];
    trace(&k);
    tn__call call = {place,      k.c, (const tn_tensor *const *)k.in, (int)total, k.made,
                     build_scan, &k};
    tn__record(&call, results);
    for (size_t i = (size_t)k.given; i < total; i++) tn_release(k.in[i]);
    free(k.in);
}

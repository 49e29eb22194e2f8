/* tn_while and tn_cond. See tenon/tensor_layers.h, tensor_scan.c.
 *
 * The user's functions are called on places that stand for values; what they record is
 * lifted out into sub-graphs. What does not depend on the places is computed once, outside. */
#include <stdlib.h>

#include "nn/tensor_trace.h"
#include "ops/lift.h"
#include "ops/ops_common.h"

enum { MAX_FUNCTIONS = 2 };

/* Functions that are traced on the same places, and the operation that runs them. */
typedef struct control {
    const char *place, *what;
    tn_context *c;
    tn_tensor **in; /* the flag of a branch, x, places, what each function made */
    int flag, x_count, functions, made[MAX_FUNCTIONS];
    uint64_t cuts;
} control;

/* ---- building ------------------------------------------------------------------------------- */

/* The bodies of the functions, over places and captured values, and the operands in their place. */
typedef struct lifted {
    tn_graph *body[MAX_FUNCTIONS];
    tn_value_list operands;
} lifted;

static bool lift(tn_builder *b, const control *k, const tn_value *in, lifted *out) {
    tn_arena *arena = b->graph->arena;
    uint32_t n = (uint32_t)k->x_count;
    const tn_value *x = in + k->flag, *places = x + n, *made = places + n;
    tn_value_list captured = {0}, inputs = {0};
    *out = (lifted){0};
    for (int f = 0, at = 0; f < k->functions; at += k->made[f++]) {
        tn__trace_check_values(b, k->c, k->cuts, made + at, k->made[f]);
        tn_b_captured(b, places, n, made + at, (uint32_t)k->made[f], &captured);
    }
    for (int i = 0; i < k->flag; i++) tn_vec_push(arena, &out->operands, in[i]);
    for (uint32_t i = 0; i < n; i++) tn_vec_push(arena, &inputs, places[i]);
    for (uint32_t i = 0; i < n; i++) tn_vec_push(arena, &out->operands, x[i]);
    for (uint32_t i = 0; i < captured.len; i++) tn_vec_push(arena, &inputs, captured.data[i]);
    for (uint32_t i = 0; i < captured.len; i++)
        tn_vec_push(arena, &out->operands, captured.data[i]);
    for (int f = 0, at = 0; f < k->functions && tn_b_ok(b); at += k->made[f++])
        out->body[f] = tn_b_lift(b, inputs.data, inputs.len, made + at, (uint32_t)k->made[f]);
    return tn_b_ok(b);
}

static void give(tn_builder *b, tn_value first, int count, tn_value *out) {
    for (int i = 0; i < count; i++) out[i] = tn_b_ok(b) ? first + (tn_value)i : TN_NO_VALUE;
}

static void build_while(tn_builder *b, const tn_value *in, const void *args, tn_value *out) {
    const control *k = args;
    lifted l;
    if (!lift(b, k, in, &l)) return;
    tn_attrs_while a = {.states = k->x_count, .body = l.body[0], .cond = l.body[1]};
    give(b, tn_b_node(b, TN_OP_while, l.operands.data, l.operands.len, &a), k->made[0], out);
}

static void build_if(tn_builder *b, const tn_value *in, const void *args, tn_value *out) {
    const control *k = args;
    lifted l;
    if (!lift(b, k, in, &l)) return;
    tn_attrs_if a = {.then_graph = l.body[0], .else_graph = l.body[1]};
    give(b, tn_b_node(b, TN_OP_if, l.operands.data, l.operands.len, &a), k->made[0], out);
}

/* ---- recording ------------------------------------------------------------------------------ */

/* Places for x; false when one of them failed. */
static bool make_places(control *k) {
    tn_tensor **x = k->in + k->flag, **places = x + k->x_count;
    bool ok = true;
    for (int i = 0; i < k->x_count; i++) {
        places[i] = tn__trace_place(k->place, x[i]);
        ok = ok && tn_tensor_ok(places[i]);
    }
    return ok;
}

typedef struct functions {
    tn_body_fn *fn[MAX_FUNCTIONS];
    tn_condition_fn *condition; /* in the place of the second */
    void *user;
} functions;

/* Calls the functions; places and results are retained, or NULL. */
static void trace(control *k, const functions *f) {
    tn__trace t;
    tn_tensor **places = k->in + k->flag + k->x_count, **made = places + k->x_count;
    int count = k->x_count;
    tn__trace_begin(&t, k->c, k->what);
    k->cuts = t.cuts;
    bool ok = make_places(k);
    for (int i = 0; i < k->functions; made += k->made[i], count += k->made[i], i++) {
        if (ok && i == 1 && f->condition)
            made[0] = f->condition(places, f->user);
        else if (ok)
            f->fn[i](places, made, f->user);
        ok = ok && tn__trace_check(&t, k->place, made, k->made[i]);
    }
    for (int i = 0; i < count; i++) tn_retain(places[i]);
    tn__trace_end(&t);
}

static void run(control *k, const functions *f, const tn_tensor *flag, tn_tensor *const *x,
                tn__build_all *build, tn_tensor **y) {
    int total = k->flag + 2 * k->x_count;
    for (int i = 0; i < k->functions; i++) total += k->made[i];
    for (int i = 0; i < k->made[0]; i++) y[i] = NULL;
    for (int i = 0; i < k->x_count && !k->c; i++) k->c = tn_tensor_context(x[i]);
    if (!k->c || !(k->in = calloc((size_t)total, sizeof *k->in))) return;
    const tn_tensor **in = (const tn_tensor **)k->in;
    if (k->flag) in[0] = flag;
    for (int i = 0; i < k->x_count; i++) in[k->flag + i] = x[i];
    trace(k, f);
    tn__call call = {k->place, k->c, in, total, k->made[0], build, k};
    tn__record(&call, y);
    for (int i = k->flag + k->x_count; i < total; i++) tn_release(k->in[i]);
    free(k->in);
}

void tn_while_at(const char *place, tn_condition_fn *condition, tn_body_fn *body, void *user,
                 tn_tensor *const *x, tn_tensor **y, int count) {
    control k = {
        .place = place, .what = "tn_while", .x_count = count, .functions = 2, .made = {count, 1}};
    functions f = {.fn = {body}, .condition = condition, .user = user};
    if (count > 0) run(&k, &f, NULL, x, build_while, y);
}

void tn_cond_at(const char *place, const tn_tensor *flag, const tn_branches *branches,
                tn_tensor *const *x, int x_count, tn_tensor **y, int y_count) {
    control k = {.place = place,
                 .what = "tn_cond",
                 .c = tn_tensor_context(flag),
                 .flag = 1,
                 .x_count = x_count,
                 .functions = 2,
                 .made = {y_count, y_count}};
    functions f = {.fn = {branches->then, branches->otherwise}, .user = branches->user};
    if (x_count >= 0 && y_count > 0) run(&k, &f, flag, x, build_if, y);
}

/* LSTM and GRU. See tenon/nn.h.
 *
 * The layer library has ONNX's gate orders (i o f c; z r h); PyTorch's rows are put into these. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "nn/module.h"

enum { MAX_GATES = 4, PER_DIRECTION = 4, OPERANDS = 3 + 2 * PER_DIRECTION };

typedef struct kind {
    tn_rnn_kind kind;
    const char *name;
    int gates, order[MAX_GATES]; /* PyTorch's gate in each of ONNX's places */
} kind;

static const kind lstm = {TN_RNN_LSTM, "lstm", 4, {0, 3, 1, 2}};
static const kind gru = {TN_RNN_GRU, "gru", 3, {1, 0, 2}};

typedef struct rnn_args {
    const kind *kind;
    int directions;
    int64_t hidden, first; /* row of the initial states */
    bool batch_first;
} rnn_args;

/* ---- one layer, recorded -------------------------------------------------------------------- */

/* Rows gate · hidden … in ONNX's order, with a new first axis for the direction. */
static tn_value reorder(tn_builder *b, const rnn_args *a, tn_value x) {
    tn_value part[MAX_GATES];
    if (x == TN_NO_VALUE) return x;
    for (int g = 0; g < a->kind->gates; g++)
        part[g] = tn_b_slice_axis(b, x, 0, a->kind->order[g] * a->hidden, a->hidden, 1);
    return tn_b_unsqueeze(b, tn_b_concat(b, part, a->kind->gates, 0), 0);
}

/* Operand `which` of all directions: [D, G · hidden, …]. */
static tn_value gather(tn_builder *b, const rnn_args *a, const tn_value *in, int which) {
    tn_value part[2] = {TN_NO_VALUE, TN_NO_VALUE};
    for (int d = 0; d < a->directions; d++)
        part[d] = reorder(b, a, tn__cast_like(b, in[3 + d * PER_DIRECTION + which], in[0]));
    return part[0] == TN_NO_VALUE || a->directions == 1 ? part[0]
                                                        : tn_b_concat(b, part, a->directions, 0);
}

/* This layer's rows of an initial state [layers · D, N, hidden]. */
static tn_value initial(tn_builder *b, const rnn_args *a, tn_value state, tn_value x) {
    if (state == TN_NO_VALUE) return state;
    state = tn__cast_like(b, state, x);
    return tn_b_slice_axis(b, state, 0, a->first, a->directions, 1);
}

static void build_layer(tn_builder *b, const tn_value *in, const void *args, tn_value *out) {
    const rnn_args *a = args;
    tn_value x = tn__float_operand(b, a->kind->name, in[0]);
    tn_rnn o = {.kind = a->kind->kind,
                .direction = a->directions == 2 ? TN_RNN_BIDIRECTIONAL : TN_RNN_FORWARD,
                .x = a->batch_first ? tn_b_swap(b, x, 0, 1) : x,
                .w = gather(b, a, in, 0),
                .r = gather(b, a, in, 1),
                .bias = TN_NO_VALUE,
                .lengths = TN_NO_VALUE,
                .h0 = initial(b, a, in[1], x),
                .c0 = initial(b, a, in[2], x),
                .peephole = TN_NO_VALUE,
                .linear_before_reset = true};
    tn_value biases[] = {gather(b, a, in, 2), gather(b, a, in, 3)};
    if (biases[0] != TN_NO_VALUE) o.bias = tn_b_concat(b, biases, 2, 1);
    tn_rnn_result r = tn_b_rnn(b, &o);
    out[0] = out[1] = out[2] = TN_NO_VALUE;
    if (!tn_b_ok(b)) return;
    tn_value y = tn_b_permute(b, r.y, (int[]){0, 2, 1, 3}); /* T, N, D, H */
    tn_dim shape[] = {tn_b_dim(b, y, 0), tn_b_dim(b, y, 1), a->directions * a->hidden};
    y = tn_b_reshape_to(b, y, 3, shape);
    out[0] = a->batch_first ? tn_b_swap(b, y, 0, 1) : y;
    out[1] = r.h;
    out[2] = a->kind == &lstm ? r.c : r.h;
}

/* ---- all layers ----------------------------------------------------------------------------- */

static bool check_state(tn__layer *l, const tn_recurrent_layer *o, const tn_tensor *x,
                        const tn_tensor *state, const char *name) {
    int64_t directions = o->bidirectional ? 2 : 1, batch = tn_tensor_dim(x, !o->batch_first);
    if (!l->ok || !state) return l->ok;
    if (tn_tensor_rank(state) != 3 || tn_tensor_dim(state, 0) != o->layers * directions ||
        tn_tensor_dim(state, 1) != batch || tn_tensor_dim(state, 2) != o->hidden)
        tn__layer_refuse(l,
                         "the state %s before the first step is not [layers · directions, N, "
                         "hidden] = [%" PRId64 ", %" PRId64 ", %" PRId64 "]",
                         name, o->layers * directions, batch, o->hidden);
    return l->ok;
}

static void resolve(tn__layer *l, tn_recurrent_layer *o, const kind *k, const tn_tensor *x) {
    if (o->layers == 0) o->layers = 1;
    if (l->ok && tn_tensor_rank(x) != 3)
        tn__layer_refuse(l, "x has %d axes; expected %s", tn_tensor_rank(x),
                         o->batch_first ? "N, steps, features" : "steps, N, features");
    if (o->hidden < 1 || o->hidden > INT32_MAX || o->layers < 1 || o->layers > 1 << 16)
        tn__layer_refuse(l, "%d layers with a state of %" PRId64, o->layers, o->hidden);
    if (k != &lstm && (o->c || o->last_c)) tn__layer_refuse(l, "a GRU has no state c");
    check_state(l, o, x, o->h, "h");
    check_state(l, o, x, o->c, "c");
}

/* The parameters of one layer and direction. */
static void parameters(tn__layer *l, const tn_recurrent_layer *o, const kind *k, int layer,
                       int direction, int64_t in, const tn_tensor **out) {
    static const char *const names[] = {"weight_ih", "weight_hh", "bias_ih", "bias_hh"};
    int64_t rows = k->gates * o->hidden;
    tn_init init = tn__init_by_fan(o->hidden);
    for (int i = 0; i < PER_DIRECTION; i++) {
        char name[64];
        int64_t dim[] = {rows, i == 0 ? in : o->hidden};
        snprintf(name, sizeof name, "%s_l%d%s", names[i], layer, direction ? "_reverse" : "");
        out[i] = i >= 2 && o->no_bias
                     ? NULL
                     : tn__layer_parameter(l, name, i < 2 ? 2 : 1, dim, init, init);
    }
}

/* One layer; out: y, h, c. */
static void run_layer(tn__layer *l, const tn_recurrent_layer *o, const kind *k, int layer,
                      const tn_tensor *x, tn_tensor *out[3]) {
    int directions = o->bidirectional ? 2 : 1;
    const tn_tensor *in[OPERANDS] = {x, o->h, o->c};
    for (int d = 0; d < directions; d++)
        parameters(l, o, k, layer, d, tn_tensor_dim(x, 2), in + 3 + d * PER_DIRECTION);
    rnn_args a = {k, directions, o->hidden, layer * directions, o->batch_first};
    if (l->ok) tn__call_results(l->place, in, OPERANDS, 1, build_layer, &a, out, 3);
}

static tn_tensor *drop(tn__layer *l, const tn_recurrent_layer *o, int layer, tn_tensor *y) {
    char name[64];
    if (o->dropout == 0 || layer + 1 == o->layers) return y;
    snprintf(name, sizeof name, "dropout_l%d", layer);
    return tn_dropout_at(l->place, l->module, name, y, o->dropout);
}

/* All layers' states as one tensor that the caller gets. */
static void give_states(const tn__layer *l, tn_scope *scope, tn_tensor *const *state, int layers,
                        tn_tensor **out) {
    if (out) *out = tn__scope_pass(scope, tn_concat_at(l->place, state, layers, 0));
}

static tn_tensor *recurrent(const char *place, tn_module *m, const char *name, const tn_tensor *x,
                            const tn_recurrent_layer *options, const kind *k) {
    tn_recurrent_layer o;
    tn__layer l = tn__layer_begin(place, m, name, x);
    tn__layer_options(&l, options, &o, sizeof o);
    resolve(&l, &o, k, x);
    if (o.last_h) *o.last_h = NULL;
    if (o.last_c) *o.last_c = NULL;
    tn_tensor **states = l.ok ? calloc((size_t)o.layers * 2, sizeof(*states)) : NULL;
    if (!states) return tn__layer_failed(&l);
    tn_scope *scope = tn_scope_open(l.context);
    tn_tensor *out[3] = {NULL, NULL, NULL};
    x = tn__layer_operand(&l, x);
    for (int i = 0; i < o.layers && l.ok; i++) {
        run_layer(&l, &o, k, i, i ? out[0] : x, out);
        out[0] = drop(&l, &o, i, out[0]);
        states[i] = out[1];
        states[o.layers + i] = out[2];
    }
    if (l.ok) give_states(&l, scope, states, o.layers, o.last_h);
    if (l.ok) give_states(&l, scope, states + o.layers, o.layers, o.last_c);
    free(states);
    return tn_scope_return(scope, l.ok ? out[0] : tn__layer_failed(&l));
}

tn_tensor *tn_lstm_at(const char *place, tn_module *m, const char *name, const tn_tensor *x,
                      const tn_recurrent_layer *options) {
    return recurrent(place, m, name, x, options, &lstm);
}

tn_tensor *tn_gru_at(const char *place, tn_module *m, const char *name, const tn_tensor *x,
                     const tn_recurrent_layer *options) {
    return recurrent(place, m, name, x, options, &gru);
}

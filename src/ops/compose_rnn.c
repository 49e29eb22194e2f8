/* RNN, GRU and LSTM with ONNX's semantics, on scan.
 *
 * The input's part of all gates, x·Wᵀ + Wb, is one product over all steps before the scan; a step
 * adds h·Rᵀ + Rb. Steps at or after a sequence's end give zeros and keep the state. For the reverse
 * direction the scan runs backwards: it then meets a sequence's end first, and the state stays the
 * initial one until it does; ONNX reverses within the sequence's own length, which is the same. */
#include <ctype.h>

#include "ops/compose.h"
#include "ops/parts.h"

/* ---- activations ---------------------------------------------------------------------------- */

typedef struct activation_row {
    const char *name;
    double alpha, beta; /* ONNX's defaults */
} activation_row;

static const activation_row activation_rows[] = {
    [TN_ACT_Relu] = {"Relu", 0, 0},
    [TN_ACT_Tanh] = {"Tanh", 0, 0},
    [TN_ACT_Sigmoid] = {"Sigmoid", 0, 0},
    [TN_ACT_Affine] = {"Affine", 1, 0},
    [TN_ACT_LeakyRelu] = {"LeakyRelu", 0.01, 0},
    [TN_ACT_ThresholdedRelu] = {"ThresholdedRelu", 1, 0},
    [TN_ACT_ScaledTanh] = {"ScaledTanh", 1, 1},
    [TN_ACT_HardSigmoid] = {"HardSigmoid", 0.2, 0.5},
    [TN_ACT_Elu] = {"Elu", 1, 0},
    [TN_ACT_Softsign] = {"Softsign", 0, 0},
    [TN_ACT_Softplus] = {"Softplus", 0, 0},
};

static bool same_name(const char *a, const char *b) {
    while (*a && tolower((unsigned char)*a) == tolower((unsigned char)*b)) a++, b++;
    return !*a && !*b;
}

bool tn_activation_parse(const char *name, tn_activation *out) {
    for (int i = 0; i < TN_ACT_COUNT; i++) {
        const activation_row *r = &activation_rows[i];
        if (!same_name(name, r->name)) continue;
        *out = (tn_activation){(tn_rnn_activation)i, r->alpha, r->beta};
        return true;
    }
    return false;
}

tn_value tn_b_activation(tn_builder *b, tn_value x, const tn_activation *a) {
    switch (a->kind) {
    case TN_ACT_Relu:
        return tn_b_relu(b, x);
    case TN_ACT_Tanh:
        return tn_b_tanh(b, x);
    case TN_ACT_Sigmoid:
        return tn_b_sigmoid(b, x);
    case TN_ACT_Affine:
        return tn_b_add_scalar(b, tn_b_mul_scalar(b, x, a->alpha), a->beta);
    case TN_ACT_LeakyRelu:
        return tn_b_leaky_relu(b, x, a->alpha);
    case TN_ACT_ThresholdedRelu:
        return tn_b_thresholded_relu(b, x, a->alpha);
    case TN_ACT_ScaledTanh:
        return tn_b_mul_scalar(b, tn_b_tanh(b, tn_b_mul_scalar(b, x, a->beta)), a->alpha);
    case TN_ACT_HardSigmoid:
        return tn_b_hard_sigmoid(b, x, a->alpha, a->beta);
    case TN_ACT_Elu:
        return tn_b_elu(b, x, a->alpha);
    case TN_ACT_Softsign:
        return tn_b_softsign(b, x);
    case TN_ACT_Softplus:
        return tn_b_softplus(b, x);
    case TN_ACT_COUNT:
        break;
    }
    TN_BUG("unknown activation %d", a->kind);
}

/* ---- one direction -------------------------------------------------------------------------- */

static int gates_of(tn_rnn_kind kind) {
    return kind == TN_RNN_SIMPLE ? 1 : kind == TN_RNN_GRU ? 3 : 4;
}

/* What a step needs besides its input. In the scan's body the values are the body's. */
typedef struct cell {
    const tn_rnn *o;
    tn_dtype dtype;
    tn_dim length, batch, hidden;
    tn_activation act[3];
    tn_value r;        /* [G·H, H] */
    tn_value r_bias;   /* [G·H] or absent; GRU only: the others fold it into the input's part */
    tn_value peephole; /* [3·H] or absent */
    tn_value h, c;     /* state [N, H] */
} cell;

/* Columns gate·H … of x [N, G·H] (or entries of a vector). */
static tn_value gate(tn_builder *b, const cell *c, tn_value x, int which) {
    tn_dim start = tn_dim_mul(b->graph->dims, which, c->hidden);
    return tn_b_slice_axis(b, x, tn_b_rank(b, x) - 1, start, c->hidden, 1);
}

static tn_value activate(tn_builder *b, const cell *c, int which, tn_value x) {
    if (c->o->clip > 0) {
        tn_value lo = tn_b_scalar(b, c->dtype, -c->o->clip);
        x = tn_b_clip(b, x, lo, tn_b_scalar(b, c->dtype, c->o->clip));
    }
    return tn_b_activation(b, x, &c->act[which]);
}

static tn_value peep(tn_builder *b, const cell *c, tn_value x, int which, tn_value state) {
    if (c->peephole == TN_NO_VALUE) return x;
    return tn_b_add(b, x, tn_b_mul(b, state, gate(b, c, c->peephole, which)));
}

/* gates i o f c: i = f(·), f = f(·), c' = f·c + i·g(·), o = f(·), h' = o·h(c') */
static void lstm_step(tn_builder *b, cell *c, tn_value x) {
    tn_value z = tn_b_add(b, x, tn_b_linear(b, c->h, c->r, TN_NO_VALUE));
    tn_value i = activate(b, c, 0, peep(b, c, gate(b, c, z, 0), 0, c->c));
    tn_value f = c->o->input_forget ? tn_b_sub(b, tn_b_scalar(b, c->dtype, 1), i)
                                    : activate(b, c, 0, peep(b, c, gate(b, c, z, 2), 2, c->c));
    tn_value candidate = activate(b, c, 1, gate(b, c, z, 3));
    c->c = tn_b_add(b, tn_b_mul(b, f, c->c), tn_b_mul(b, i, candidate));
    tn_value o = activate(b, c, 0, peep(b, c, gate(b, c, z, 1), 1, c->c));
    c->h = tn_b_mul(b, o, tn_b_activation(b, c->c, &c->act[2]));
}

/* gates z r h: h' = (1 − z)·g(·) + z·h */
static void gru_step(tn_builder *b, cell *c, tn_value x) {
    tn_dims *t = b->graph->dims;
    tn_dim two = tn_dim_mul(t, 2, c->hidden);
    tn_value r_zr = tn_b_slice_axis(b, c->r, 0, 0, two, 1);
    tn_value r_h = tn_b_slice_axis(b, c->r, 0, two, c->hidden, 1);
    tn_value bias_zr = TN_NO_VALUE, bias_h = TN_NO_VALUE;
    if (c->r_bias != TN_NO_VALUE) {
        bias_zr = tn_b_slice_axis(b, c->r_bias, 0, 0, two, 1);
        bias_h = tn_b_slice_axis(b, c->r_bias, 0, two, c->hidden, 1);
    }
    tn_value zr =
        tn_b_add(b, tn_b_slice_axis(b, x, 1, 0, two, 1), tn_b_linear(b, c->h, r_zr, bias_zr));
    tn_value z = activate(b, c, 0, gate(b, c, zr, 0)), r = activate(b, c, 0, gate(b, c, zr, 1));
    tn_value back = c->o->linear_before_reset ? tn_b_mul(b, r, tn_b_linear(b, c->h, r_h, bias_h))
                                              : tn_b_linear(b, tn_b_mul(b, r, c->h), r_h, bias_h);
    tn_value candidate = activate(b, c, 1, tn_b_add(b, gate(b, c, x, 2), back));
    tn_value keep = tn_b_mul(b, z, c->h);
    tn_value fresh = tn_b_mul(b, tn_b_sub(b, tn_b_scalar(b, c->dtype, 1), z), candidate);
    c->h = tn_b_add(b, fresh, keep);
}

static void simple_step(tn_builder *b, cell *c, tn_value x) {
    c->h = activate(b, c, 0, tn_b_add(b, x, tn_b_linear(b, c->h, c->r, TN_NO_VALUE)));
}

static void cell_step(tn_builder *b, cell *c, tn_value x) {
    if (c->o->kind == TN_RNN_LSTM)
        lstm_step(b, c, x);
    else if (c->o->kind == TN_RNN_GRU)
        gru_step(b, c, x);
    else
        simple_step(b, c, x);
}

/* ---- the scan ------------------------------------------------------------------------------- */

enum { MAX_OPERANDS = 9 };

/* Operands of the scan in order, and the body's inputs for them. */
typedef struct operands {
    tn_value outer[MAX_OPERANDS], inner[MAX_OPERANDS];
    uint32_t count;
} operands;

/* Adds an operand; `step`: it is sliced along axis 0. Returns the body's value. */
static tn_value pass(tn_builder *outer, tn_builder *inner, operands *o, tn_value v, bool step) {
    if (v == TN_NO_VALUE || !tn_b_ok(outer)) return TN_NO_VALUE;
    tn_type type = tn_b_type(outer, v);
    if (step)
        memmove(type.shape.dim, type.shape.dim + 1, sizeof(tn_dim) * (size_t)--type.shape.rank);
    o->outer[o->count] = v;
    o->inner[o->count] = tn_b_input(inner, NULL, type.dtype, &type.shape);
    return o->inner[o->count++];
}

/* Sequences that have ended keep their state and give zeros. `lengths` and `step` are the body's.
 */
static tn_value hold(tn_builder *b, tn_value lengths, tn_value step, tn_value fresh, tn_value old) {
    if (lengths == TN_NO_VALUE) return fresh;
    tn_value running = tn_b_unsqueeze(b, tn_b_lt(b, step, lengths), 1);
    return tn_b_where(b, running, fresh, old);
}

typedef struct direction_result {
    tn_value y, h, c; /* [T, N, H], [N, H] */
} direction_result;

/* x [T, N, G·H]: the input's part of the gates. */
static direction_result run_direction(tn_builder *b, cell c, tn_value x, tn_value lengths,
                                      bool reverse) {
    direction_result none = {TN_NO_VALUE, TN_NO_VALUE, TN_NO_VALUE};
    if (!tn_b_ok(b)) return none;
    bool lstm = c.o->kind == TN_RNN_LSTM;
    tn_graph *body = tn_graph_new_sub(b->graph);
    tn_builder inner = tn_builder_of(body, b->err);
    inner.name = b->name;
    operands o = {.count = 0};
    cell in = c;
    in.h = pass(b, &inner, &o, c.h, false);
    if (lstm) in.c = pass(b, &inner, &o, c.c, false);
    tn_attrs_scan a = {.carries = o.count, .length = c.length, .reverse = reverse, .body = body};
    tn_value step_x = pass(b, &inner, &o, x, true), step = TN_NO_VALUE;
    tn_shape count = {.rank = 1, .dim = {c.length}};
    if (lengths != TN_NO_VALUE) {
        tn_value number = tn_b_iota(b, tn_b_type(b, lengths).dtype, &count, 0);
        step = pass(b, &inner, &o, number, true);
    }
    a.slices = o.count - a.carries;
    in.r = pass(b, &inner, &o, c.r, false);
    in.r_bias = pass(b, &inner, &o, c.r_bias, false);
    in.peephole = pass(b, &inner, &o, c.peephole, false);
    tn_value ends = pass(b, &inner, &o, lengths, false);
    tn_value old_h = in.h, old_c = in.c;
    cell_step(&inner, &in, step_x);
    tn_value y = hold(&inner, ends, step, in.h, tn_b_scalar(&inner, c.dtype, 0));
    if (tn_b_ok(&inner)) {
        tn_value h = hold(&inner, ends, step, in.h, old_h);
        tn_value state = lstm ? hold(&inner, ends, step, in.c, old_c) : TN_NO_VALUE;
        if (tn_b_ok(&inner)) {
            tn_graph_add_output(body, h, NULL);
            if (lstm) tn_graph_add_output(body, state, NULL);
            tn_graph_add_output(body, y, NULL);
        }
    }
    if (tn_b_ok(b)) b->status = inner.status;
    tn_value first = tn_b_node(b, TN_OP_scan, o.outer, o.count, &a);
    if (!tn_b_ok(b)) return none;
    return (direction_result){first + 1 + lstm, first, lstm ? first + 1 : TN_NO_VALUE};
}

/* ---- all directions ------------------------------------------------------------------------- */

/* Row d of an operand with directions along axis 0; absent stays absent. */
static tn_value of_direction(tn_builder *b, tn_value v, int d) {
    if (v == TN_NO_VALUE) return v;
    return tn_b_squeeze(b, tn_b_slice_axis(b, v, 0, d, 1, 1), 0);
}

static tn_value initial_state(tn_builder *b, const cell *c, tn_value v, int d) {
    tn_shape shape = {.rank = 2, .dim = {c->batch, c->hidden}};
    return v == TN_NO_VALUE ? tn_b_full(b, c->dtype, &shape, 0) : of_direction(b, v, d);
}

static void default_activations(tn_rnn_kind kind, tn_activation act[3]) {
    bool simple = kind == TN_RNN_SIMPLE;
    act[0] = (tn_activation){simple ? TN_ACT_Tanh : TN_ACT_Sigmoid, 0, 0};
    act[1] = act[2] = (tn_activation){TN_ACT_Tanh, 0, 0};
}

/* The input's part of the gates; biases that are added to it anyway are folded in. A GRU's
 * recurrence bias of h goes inside the reset when linear_before_reset, so it stays apart. */
static tn_value input_part(tn_builder *b, cell *c, tn_value x, int d) {
    int gates = gates_of(c->o->kind);
    tn_value w = of_direction(b, c->o->w, d), bias = of_direction(b, c->o->bias, d);
    c->r_bias = TN_NO_VALUE;
    if (bias == TN_NO_VALUE) return tn_b_linear(b, x, w, TN_NO_VALUE);
    tn_dim half = tn_dim_mul(b->graph->dims, gates, c->hidden);
    tn_value own = tn_b_slice_axis(b, bias, 0, 0, half, 1);
    tn_value back = tn_b_slice_axis(b, bias, 0, half, half, 1);
    if (c->o->kind == TN_RNN_GRU)
        c->r_bias = back;
    else
        own = tn_b_add(b, own, back);
    return tn_b_linear(b, x, w, own);
}

static bool check_operand(tn_builder *b, tn_value v, int rank, tn_dim directions,
                          const char *name) {
    if (v == TN_NO_VALUE || !tn_b_ok(b)) return tn_b_ok(b);
    if (tn_b_rank(b, v) == rank && (directions == 0 || tn_b_dim(b, v, 0) == directions))
        return true;
    tn_type type = tn_b_type(b, v);
    tn_b_fail(b, TN_INVALID, "%s is %s; expected %d axes with the directions (%d) first", name,
              tn_type_text(b->graph->dims, &type).at, rank, (int)directions);
    return false;
}

static bool check_rnn(tn_builder *b, const tn_rnn *o, int directions) {
    tn_dim d = directions, states = o->batch_first ? 0 : d;
    return tn_b_ok(b) && check_operand(b, o->x, 3, 0, "x") && check_operand(b, o->w, 3, d, "w") &&
           check_operand(b, o->r, 3, d, "r") && check_operand(b, o->bias, 2, d, "bias") &&
           check_operand(b, o->h0, 3, states, "the initial h") &&
           check_operand(b, o->c0, 3, states, "the initial c") &&
           check_operand(b, o->peephole, 2, d, "the peephole weight") &&
           check_operand(b, o->lengths, 1, 0, "the sequence lengths");
}

/* [N, D, H] ↔ [D, N, H] */
static tn_value swap_state(tn_builder *b, tn_value v, bool batch_first) {
    return v != TN_NO_VALUE && batch_first ? tn_b_swap(b, v, 0, 1) : v;
}

static tn_value stack(tn_builder *b, const tn_value *v, int n, int axis) {
    tn_value part[2];
    if (v[0] == TN_NO_VALUE) return TN_NO_VALUE;
    for (int d = 0; d < n; d++) part[d] = tn_b_unsqueeze(b, v[d], axis);
    return n == 1 ? part[0] : tn_b_concat(b, part, n, axis);
}

tn_rnn_result tn_b_rnn(tn_builder *b, const tn_rnn *o) {
    tn_rnn_result result = {TN_NO_VALUE, TN_NO_VALUE, TN_NO_VALUE};
    int directions = o->direction == TN_RNN_BIDIRECTIONAL ? 2 : 1;
    int each = o->kind == TN_RNN_LSTM ? 3 : o->kind == TN_RNN_GRU ? 2 : 1;
    if (!check_rnn(b, o, directions)) return result;
    if (o->activation_count != 0 && o->activation_count != each * directions) {
        tn_b_fail(b, TN_INVALID, "%d activations; expected %d", o->activation_count,
                  each * directions);
        return result;
    }
    tn_value x = o->batch_first ? tn_b_swap(b, o->x, 0, 1) : o->x;
    tn_value h0 = swap_state(b, o->h0, o->batch_first), c0 = swap_state(b, o->c0, o->batch_first);
    tn_value y[2], h[2], c[2];
    for (int d = 0; d < directions; d++) {
        cell one = {.o = o,
                    .dtype = tn_b_type(b, x).dtype,
                    .length = tn_b_dim(b, x, 0),
                    .batch = tn_b_dim(b, x, 1),
                    .hidden = tn_b_dim(b, o->r, 2)};
        default_activations(o->kind, one.act);
        for (int i = 0; i < each && o->activation_count; i++)
            one.act[i] = o->activation[d * each + i];
        tn_value part = input_part(b, &one, x, d);
        one.r = of_direction(b, o->r, d);
        one.peephole = of_direction(b, o->peephole, d);
        one.h = initial_state(b, &one, h0, d);
        one.c = o->kind == TN_RNN_LSTM ? initial_state(b, &one, c0, d) : TN_NO_VALUE;
        bool reverse = d == 1 || o->direction == TN_RNN_REVERSE;
        direction_result r = run_direction(b, one, part, o->lengths, reverse);
        y[d] = r.y, h[d] = r.h, c[d] = r.c;
    }
    if (!tn_b_ok(b)) return result;
    result.y = stack(b, y, directions, 1); /* [T, D, N, H] */
    if (o->batch_first) result.y = tn_b_permute(b, result.y, (int[]){2, 0, 1, 3});
    result.h = swap_state(b, stack(b, h, directions, 0), o->batch_first);
    result.c = swap_state(b, stack(b, c, directions, 0), o->batch_first);
    return result;
}

/* Recurrent layers: RNN, GRU, LSTM. */
#include "import/onnx/ops.h"

static bool read_activations(tn_o *o, tn_rnn *r, int per_direction) {
    int count, alphas, betas, next_alpha = 0, next_beta = 0;
    const char *const *names;
    const double *alpha, *beta;
    if (!tn_o_texts(o, "activations", &count, &names)) return tn_o_ok(o);
    tn_o_floats(o, "activation_alpha", &alphas, &alpha);
    tn_o_floats(o, "activation_beta", &betas, &beta);
    int expected = per_direction * (r->direction == TN_RNN_BIDIRECTIONAL ? 2 : 1);
    if (tn_o_ok(o) && count != expected)
        tn_o_fail(o, TN_INVALID, "%d activations; expected %d", count, expected);
    for (int i = 0; i < count && tn_o_ok(o); i++) {
        tn_activation *a = &r->activation[i];
        if (!tn_activation_parse(names[i], a)) {
            tn_o_fail(o, TN_UNSUPPORTED, "activation '%s' is not known", names[i]);
            break;
        }
        /* Values are listed for the activations that have them, in order. */
        bool has_alpha = a->kind == TN_ACT_Affine || a->kind == TN_ACT_LeakyRelu ||
                         a->kind == TN_ACT_ThresholdedRelu || a->kind == TN_ACT_ScaledTanh ||
                         a->kind == TN_ACT_HardSigmoid || a->kind == TN_ACT_Elu;
        bool has_beta = a->kind == TN_ACT_Affine || a->kind == TN_ACT_ScaledTanh ||
                        a->kind == TN_ACT_HardSigmoid;
        if (has_alpha && next_alpha < alphas) a->alpha = alpha[next_alpha++];
        if (has_beta && next_beta < betas) a->beta = beta[next_beta++];
    }
    r->activation_count = count;
    return tn_o_ok(o);
}

/* The recurrence weights tell the number of hidden units; the attribute has to agree. */
static void check_hidden(tn_o *o, const tn_rnn *r) {
    int64_t hidden = tn_o_int(o, "hidden_size", -1), have;
    if (hidden < 0 || !tn_dim_const_value(o->dims, tn_b_dim(o->b, r->r, -1), &have)) return;
    if (have != hidden)
        tn_o_fail(o, TN_INVALID, "hidden_size is %lld; its weights are for %lld", (long long)hidden,
                  (long long)have);
}

/* W [D, G·H, I], R [D, G·H, H], bias [D, 2·G·H], with the directions and gates first. */
static void check_shapes(tn_o *o, const tn_rnn *r) {
    int gates = r->kind == TN_RNN_LSTM ? 4 : r->kind == TN_RNN_GRU ? 3 : 1;
    tn_dim directions = r->direction == TN_RNN_BIDIRECTIONAL ? 2 : 1;
    tn_shape x = tn_o_type(o, 0).shape, back = tn_o_type(o, 2).shape;
    if (tn_o_ok(o) && (x.rank != 3 || back.rank != 3))
        tn_o_fail(o, TN_INVALID, "its input has %d axes and R %d; expected 3 each", x.rank,
                  back.rank);
    if (!tn_o_ok(o)) return;
    tn_dim hidden = back.dim[2], rows = tn_dim_mul(o->dims, hidden, gates);
    tn_o_expect(o, 1, "W", 3, (tn_dim[]){directions, rows, x.dim[2]});
    tn_o_expect(o, 2, "R", 3, (tn_dim[]){directions, rows, hidden});
    tn_o_expect(o, 3, "bias", 2, (tn_dim[]){directions, tn_dim_mul(o->dims, rows, 2)});
}

static void import_recurrent(tn_o *o, tn_rnn_kind kind, int activations) {
    static const char *const directions[] = {"forward", "reverse", "bidirectional", NULL};
    tn_rnn r = {
        .kind = kind,
        .direction = (tn_rnn_direction)tn_o_choice(o, "direction", "forward", directions),
        .x = tn_o_in(o, 0),
        .w = tn_o_in(o, 1),
        .r = tn_o_in(o, 2),
        .bias = tn_o_in_or_none(o, 3),
        .lengths = tn_o_in_or_none(o, 4),
        .h0 = tn_o_in_or_none(o, 5),
        .c0 = TN_NO_VALUE,
        .peephole = TN_NO_VALUE,
        .batch_first = tn_o_int(o, "layout", 0) != 0,
        .linear_before_reset = tn_o_int(o, "linear_before_reset", 0) != 0,
        .input_forget = tn_o_int(o, "input_forget", 0) != 0,
        .clip = tn_o_float(o, "clip", 0),
    };
    if (kind == TN_RNN_LSTM) {
        r.c0 = tn_o_in_or_none(o, 6);
        r.peephole = tn_o_in_or_none(o, 7);
    }
    if (!read_activations(o, &r, activations)) return;
    check_hidden(o, &r);
    check_shapes(o, &r);
    tn_rnn_result result = tn_b_rnn(o->b, &r);
    tn_o_out(o, 0, result.y);
    tn_o_out(o, 1, result.h);
    if (kind == TN_RNN_LSTM) tn_o_out(o, 2, result.c);
}

static void import_rnn(tn_o *o) {
    import_recurrent(o, TN_RNN_SIMPLE, 1);
}
static void import_gru(tn_o *o) {
    import_recurrent(o, TN_RNN_GRU, 2);
}
static void import_lstm(tn_o *o) {
    import_recurrent(o, TN_RNN_LSTM, 3);
}

static const tn_onnx_op rows[] = {
    {"GRU", 1, TN_ONNX_LATEST, import_gru},
    {"LSTM", 1, TN_ONNX_LATEST, import_lstm},
    {"RNN", 1, TN_ONNX_LATEST, import_rnn},
};
TN_ONNX_TABLE(rnn, "")

#include "unit/ops/op_test.h"

#include "ops/compose.h"

enum { T = 4, N = 3, I = 2, H = 2 };

static double sigmoid(double x) {
    return 1 / (1 + exp(-x));
}

/* One operand of the layer, random in [-1, 1]. */
typedef struct operand {
    tn_value v;
    tn_array a;
} operand;

static operand random_operand(op_test *t, tn_shape shape) {
    operand o = {.v = op_input(t, TN_f64, shape)};
    o.a = op_uniform(t, tn_graph_type(t->g, o.v), -1, 1);
    return o;
}

/* The gate's input part x·Wᵀ + Wb and recurrence part h·Rᵀ + Rb of direction d. */
typedef struct layer {
    tn_rnn_kind kind;
    int gates, directions;
    bool linear_before_reset;
    operand x, w, r, bias, peephole, h0, c0;
    int64_t lengths[N];
} layer;

static double input_part(const layer *l, int d, int t, int n, int row) {
    double sum = op_number(&l->bias.a, d * 2 * l->gates * H + row);
    for (int i = 0; i < I; i++)
        sum += op_number(&l->x.a, (t * N + n) * I + i) *
               op_number(&l->w.a, (d * l->gates * H + row) * I + i);
    return sum;
}

static double back_part(const layer *l, int d, const double *h, int row) {
    double sum = op_number(&l->bias.a, (d * 2 + 1) * l->gates * H + row);
    for (int k = 0; k < H; k++) sum += h[k] * op_number(&l->r.a, (d * l->gates * H + row) * H + k);
    return sum;
}

static double peep(const layer *l, int d, int which, int j, double c) {
    return op_number(&l->peephole.a, (d * 3 + which) * H + j) * c;
}

static void lstm_step(const layer *l, int d, int t, int n, double *h, double *c) {
    double h_new[H], c_new[H];
    for (int j = 0; j < H; j++) {
        double z[4];
        for (int g = 0; g < 4; g++)
            z[g] = input_part(l, d, t, n, g * H + j) + back_part(l, d, h, g * H + j);
        double i = sigmoid(z[0] + peep(l, d, 0, j, c[j])),
               f = sigmoid(z[2] + peep(l, d, 2, j, c[j]));
        c_new[j] = f * c[j] + i * tanh(z[3]);
        h_new[j] = sigmoid(z[1] + peep(l, d, 1, j, c_new[j])) * tanh(c_new[j]);
    }
    memcpy(h, h_new, sizeof h_new);
    memcpy(c, c_new, sizeof c_new);
}

static void gru_step(const layer *l, int d, int t, int n, double *h) {
    double z[H], r[H], reset[H], h_new[H];
    for (int j = 0; j < H; j++) {
        z[j] = sigmoid(input_part(l, d, t, n, j) + back_part(l, d, h, j));
        r[j] = sigmoid(input_part(l, d, t, n, H + j) + back_part(l, d, h, H + j));
        reset[j] = r[j] * h[j];
    }
    for (int j = 0; j < H; j++) {
        double back = l->linear_before_reset ? r[j] * back_part(l, d, h, 2 * H + j)
                                             : back_part(l, d, reset, 2 * H + j);
        h_new[j] = (1 - z[j]) * tanh(input_part(l, d, t, n, 2 * H + j) + back) + z[j] * h[j];
    }
    memcpy(h, h_new, sizeof h_new);
}

static void simple_step(const layer *l, int d, int t, int n, double *h) {
    double h_new[H];
    for (int j = 0; j < H; j++) h_new[j] = tanh(input_part(l, d, t, n, j) + back_part(l, d, h, j));
    memcpy(h, h_new, sizeof h_new);
}

static void close_to(double have, double want) {
    if (fabs(have - want) > 1e-12) fail_msg("%.15g, expected %.15g", have, want);
}

/* Runs sequence n of direction d by the formulas and compares y and the last state. */
static void check_sequence(const layer *l, int d, bool reverse, int n, const tn_array *y,
                           const tn_array *last_h, const tn_array *last_c) {
    double h[H], c[H];
    int64_t state = (int64_t)(d * N + n) * H;
    for (int j = 0; j < H; j++) {
        h[j] = op_number(&l->h0.a, state + j);
        c[j] = op_number(&l->c0.a, state + j);
    }
    for (int step = 0; step < T; step++) {
        int t = reverse ? T - 1 - step : step;
        bool running = t < l->lengths[n];
        if (running && l->kind == TN_RNN_LSTM) lstm_step(l, d, t, n, h, c);
        if (running && l->kind == TN_RNN_GRU) gru_step(l, d, t, n, h);
        if (running && l->kind == TN_RNN_SIMPLE) simple_step(l, d, t, n, h);
        for (int j = 0; j < H; j++)
            close_to(op_number(y, ((t * l->directions + d) * N + n) * H + j), running ? h[j] : 0);
    }
    for (int j = 0; j < H; j++) {
        close_to(op_number(last_h, state + j), h[j]);
        if (last_c) close_to(op_number(last_c, state + j), c[j]);
    }
}

static void check_layer(tn_rnn_kind kind, tn_rnn_direction direction, bool linear_before_reset) {
    op_test t;
    op_test_init(&t);
    int gates = kind == TN_RNN_SIMPLE ? 1 : kind == TN_RNN_GRU ? 3 : 4;
    int D = direction == TN_RNN_BIDIRECTIONAL ? 2 : 1;
    layer l = {.kind = kind,
               .gates = gates,
               .directions = D,
               .lengths = {4, 2, 3},
               .linear_before_reset = linear_before_reset};
    l.x = random_operand(&t, SHAPE_OF(T, N, I));
    l.w = random_operand(&t, SHAPE_OF(D, gates * H, I));
    l.r = random_operand(&t, SHAPE_OF(D, gates * H, H));
    l.bias = random_operand(&t, SHAPE_OF(D, 2 * gates * H));
    l.peephole = random_operand(&t, SHAPE_OF(D, 3 * H));
    l.h0 = random_operand(&t, SHAPE_OF(D, N, H));
    l.c0 = random_operand(&t, SHAPE_OF(D, N, H));
    tn_value lengths = op_input(&t, TN_i32, SHAPE_OF(N));
    bool lstm = kind == TN_RNN_LSTM;
    tn_rnn o = {.kind = kind,
                .direction = direction,
                .x = l.x.v,
                .w = l.w.v,
                .r = l.r.v,
                .bias = l.bias.v,
                .lengths = lengths,
                .h0 = l.h0.v,
                .c0 = lstm ? l.c0.v : TN_NO_VALUE,
                .peephole = lstm ? l.peephole.v : TN_NO_VALUE,
                .linear_before_reset = linear_before_reset};
    tn_rnn_result r = tn_b_rnn(&t.b, &o);
    op_test_ok(&t, t.b.status);
    tn_array in[] = {
        l.x.a,        l.w.a,
        l.r.a,        l.bias.a,
        l.peephole.a, l.h0.a,
        l.c0.a,       op_numbers(&t, tn_graph_type(t.g, lengths), (double[]){4, 2, 3})};
    tn_array y = op_eval(&t, r.y, in), h = op_eval(&t, r.h, in), c = {0};
    if (lstm) c = op_eval(&t, r.c, in);
    for (int d = 0; d < D; d++)
        for (int n = 0; n < N; n++)
            check_sequence(&l, d, d == 1 || direction == TN_RNN_REVERSE, n, &y, &h,
                           lstm ? &c : NULL);
    op_test_deinit(&t);
}

static void test_rnn__follows_the_formulas(void **state) {
    (void)state;
    for (int direction = TN_RNN_FORWARD; direction <= TN_RNN_BIDIRECTIONAL; direction++) {
        check_layer(TN_RNN_SIMPLE, (tn_rnn_direction)direction, false);
        check_layer(TN_RNN_GRU, (tn_rnn_direction)direction, false);
        check_layer(TN_RNN_GRU, (tn_rnn_direction)direction, true);
        check_layer(TN_RNN_LSTM, (tn_rnn_direction)direction, false);
    }
}

/* batch_first only permutes; absent operands are zeros. */
static void test_rnn__takes_batch_first_and_absent_operands(void **state) {
    op_test *t = *state;
    operand x = random_operand(t, SHAPE_OF(T, N, I)), w = random_operand(t, SHAPE_OF(1, 4 * H, I));
    operand r = random_operand(t, SHAPE_OF(1, 4 * H, H));
    tn_rnn o = {.kind = TN_RNN_LSTM,
                .x = x.v,
                .w = w.v,
                .r = r.v,
                .bias = TN_NO_VALUE,
                .lengths = TN_NO_VALUE,
                .h0 = TN_NO_VALUE,
                .c0 = TN_NO_VALUE,
                .peephole = TN_NO_VALUE};
    tn_rnn_result plain = tn_b_rnn(&t->b, &o);
    o.x = tn_b_swap(&t->b, x.v, 0, 1);
    o.batch_first = true;
    tn_rnn_result swapped = tn_b_rnn(&t->b, &o);
    op_test_ok(t, t->b.status);
    tn_array in[] = {x.a, w.a, r.a};
    tn_value back = tn_b_permute(&t->b, swapped.y, (int[]){1, 2, 0, 3});
    tn_array a = op_eval(t, plain.y, in), b = op_eval(t, back, in);
    op_expect_equal(&b, &a, "batch_first");
    assert_int_equal(tn_b_type(&t->b, swapped.h).shape.dim[0], N);
    o.activation_count = 2;
    tn_b_rnn(&t->b, &o);
    op_test_refused(t, TN_INVALID, "2 activations; expected 3");
}

static void test_activation__is_found_by_name(void **state) {
    (void)state;
    tn_activation a;
    assert_true(tn_activation_parse("hardsigmoid", &a));
    assert_int_equal(a.kind, TN_ACT_HardSigmoid);
    assert_true(a.alpha == 0.2 && a.beta == 0.5);
    assert_false(tn_activation_parse("Swish", &a));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        OP_TEST(test_rnn__follows_the_formulas),
        OP_TEST(test_rnn__takes_batch_first_and_absent_operands),
        OP_TEST(test_activation__is_found_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

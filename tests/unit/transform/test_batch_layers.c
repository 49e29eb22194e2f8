/* Layers that are easy to batch wrongly, three members with inputs and weights of their own: evaluated,
 * each is what it is alone; interpreted and compiled, within 1e-5 of that. */
#include "unit/transform/batch_lab.h"

#include "ops/compose.h"
#include "ops/parts.h"
#include "unit/plan/check_plan.h"

enum { MEMBERS = 3 };

/* ---- layers --------------------------------------------------------------------------------- */

#define DIMS(...)                                                                                  \
    (tn_shape) {                                                                                   \
        .rank = (int)(sizeof((tn_dim[]){__VA_ARGS__}) / sizeof(tn_dim)), .dim = { __VA_ARGS__ }    \
    }

static const char *next_name(tn_builder *b) {
    return tn_arena_printf(b->graph->arena, "x%u", b->graph->inputs.len);
}

static tn_value in(tn_builder *b, tn_shape shape) {
    return tn_b_input(b, next_name(b), TN_f32, &shape);
}

/* Between 0.5 and 1.5: a variance. */
static tn_value positive(tn_builder *b, tn_shape shape) {
    tn_value half = tn_b_mul_scalar(b, in(b, shape), 0.5);
    return tn_b_add_scalar(b, half, 1);
}

static void out(tn_builder *b, tn_value v) {
    if (!tn_b_ok(b)) return;
    tn_graph_add_output(b->graph, v,
                        tn_arena_printf(b->graph->arena, "y%u", b->graph->outputs.len));
}

static void depthwise_conv(tn_builder *b) {
    const tn_conv_options o = {.pad_lo = {1, 1}, .pad_hi = {1, 1}, .groups = 4};
    tn_value x = in(b, DIMS(2, 4, 5, 6)), w = in(b, DIMS(4, 1, 3, 3));
    out(b, tn_b_conv(b, x, w, in(b, DIMS(4)), &o));
}

static void grouped_conv(tn_builder *b) {
    const tn_conv_options o = {.stride = {2, 1}, .groups = 2};
    tn_value x = in(b, DIMS(2, 4, 7, 6)), w = in(b, DIMS(6, 2, 3, 2));
    out(b, tn_b_conv(b, x, w, in(b, DIMS(6)), &o));
}

static void conv_of_one_dimension(tn_builder *b) {
    const tn_conv_options o = {.dilation = {2}, .pad_lo = {2}, .pad_hi = {2}};
    tn_value x = in(b, DIMS(2, 3, 9)), w = in(b, DIMS(5, 3, 3));
    out(b, tn_b_conv(b, x, w, TN_NO_VALUE, &o));
}

static void conv_of_three_dimensions(tn_builder *b) {
    const tn_conv_options o = {.stride = {1, 2, 1}, .pad_lo = {1, 0, 1}};
    tn_value x = in(b, DIMS(2, 3, 4, 5, 4)), w = in(b, DIMS(4, 3, 2, 3, 2));
    out(b, tn_b_conv(b, x, w, in(b, DIMS(4)), &o));
}

static void transposed_conv(tn_builder *b) {
    const tn_conv_options o = {
        .stride = {2, 2}, .output_pad = {1, 0}, .pad_lo = {1, 1}, .groups = 2};
    tn_value x = in(b, DIMS(2, 4, 4, 3)), w = in(b, DIMS(4, 3, 3, 3));
    out(b, tn_b_conv_transpose(b, x, w, in(b, DIMS(6)), &o));
}

static void circular_padding(tn_builder *b) {
    const tn_conv_options o = {0};
    tn_value x = in(b, DIMS(2, 3, 6, 5)), w = in(b, DIMS(4, 3, 3, 3));
    x = tn_b_pad_around(b, tn_b_pad_around(b, x, 2, 1, 1, TN_PAD_WRAP), 3, 1, 1, TN_PAD_WRAP);
    out(b, tn_b_conv(b, x, w, in(b, DIMS(4)), &o));
}

static void other_paddings(tn_builder *b) {
    tn_value x = in(b, DIMS(2, 3, 6, 5));
    out(b, tn_b_pad_around(b, x, 2, 2, 1, TN_PAD_REFLECT));
    out(b, tn_b_pad_around(b, x, 3, 1, 2, TN_PAD_EDGE));
}

/* An even window: one more at the end. */
static void padding_same(tn_builder *b) {
    const tn_conv_options o = {.pad_lo = {1, 0}, .pad_hi = {2, 1}};
    tn_value x = in(b, DIMS(2, 3, 6, 5)), w = in(b, DIMS(4, 3, 4, 2));
    out(b, tn_b_conv(b, x, w, in(b, DIMS(4)), &o));
}

static void pools(tn_builder *b) {
    const tn_pool_options o = {.window = {3, 2}, .stride = {2, 2}, .pad_lo = {1, 0}};
    tn_value x = in(b, DIMS(2, 3, 7, 6));
    out(b, tn_b_max_pool(b, x, &o, NULL));
    out(b, tn_b_average_pool(b, x, &o));
    out(b, tn_b_global_average_pool(b, x));
}

static void prelu(tn_builder *b) {
    tn_value x = in(b, DIMS(2, 3, 4)), slope = in(b, DIMS(3));
    out(b, tn_b_prelu(b, x, tn_b_channel_vector(b, slope, 3)));
}

static void norms(tn_builder *b) {
    tn_value x = in(b, DIMS(2, 4, 5, 3)), scale = in(b, DIMS(4)), bias = in(b, DIMS(4));
    out(b, tn_b_group_norm(b, x, 2, scale, bias, 1e-5));
    out(b, tn_b_instance_norm(b, x, scale, bias, 1e-5));
    out(b, tn_b_layer_norm(b, x, 2, in(b, DIMS(5, 3)), in(b, DIMS(5, 3)), 1e-5, NULL));
    out(b, tn_b_rms_norm(b, x, 3, in(b, DIMS(3)), 1e-6));
}

/* Instance norm that has running statistics, in evaluation: the formula of batch norm. */
static void running_statistics(tn_builder *b) {
    tn_value x = in(b, DIMS(2, 4, 5));
    const tn_batch_norm o = {.scale = in(b, DIMS(4)),
                             .bias = in(b, DIMS(4)),
                             .mean = in(b, DIMS(4)),
                             .var = positive(b, DIMS(4)),
                             .epsilon = 1e-5,
                             .momentum = 0.9,
                             .unbiased = true};
    tn_value running[2];
    out(b, tn_b_batch_norm(b, x, &o));
    out(b, tn_b_batch_norm_training(b, x, &o, running));
    out(b, running[0]);
    out(b, running[1]);
}

static void positional_axes(tn_builder *b) {
    tn_value x = in(b, DIMS(3, 4, 5)), y = in(b, DIMS(3, 2, 5));
    out(b, tn_b_softmax(b, x, 1));
    out(b, tn_b_softmax(b, x, 0));
    out(b, tn_b_mean(b, x, (int[]){1}, 1, false));
    out(b, tn_b_mean(b, x, (int[]){0, 2}, 2, true));
    out(b, tn_b_concat(b, (tn_value[]){x, y}, 2, 1));
    out(b, tn_b_swap(b, x, 1, 2));
    out(b, tn_b_squeeze(b, tn_b_slice_axis(b, x, 1, 0, 1, 1), 1));
    out(b, tn_b_reshape_to(b, x, 2, (tn_dim[]){3, 20}));
}

static void recurrent(tn_builder *b, tn_rnn_kind kind, int gates, bool batch_first) {
    tn_value x = in(b, batch_first ? DIMS(2, 4, 3) : DIMS(4, 2, 3));
    for (int layer = 0; layer < 2; layer++) {
        const tn_rnn o = {.kind = kind,
                          .direction = TN_RNN_BIDIRECTIONAL,
                          .x = x,
                          .w = in(b, DIMS(2, gates * 4, layer ? 8 : 3)),
                          .r = in(b, DIMS(2, gates * 4, 4)),
                          .bias = in(b, DIMS(2, 2 * gates * 4)),
                          .lengths = TN_NO_VALUE,
                          .h0 = TN_NO_VALUE,
                          .c0 = TN_NO_VALUE,
                          .peephole = TN_NO_VALUE,
                          .batch_first = batch_first,
                          .linear_before_reset = true};
        tn_rnn_result y = tn_b_rnn(b, &o);
        out(b, y.h);
        if (!batch_first) y.y = tn_b_swap(b, y.y, 1, 2);
        x = tn_b_reshape_to(b, y.y, 3, batch_first ? (tn_dim[]){2, 4, 8} : (tn_dim[]){4, 2, 8});
    }
    out(b, x);
}

static void lstm(tn_builder *b) {
    recurrent(b, TN_RNN_LSTM, 4, true);
}

static void gru(tn_builder *b) {
    recurrent(b, TN_RNN_GRU, 3, false);
}

static void simple_rnn(tn_builder *b) {
    recurrent(b, TN_RNN_SIMPLE, 1, false);
}

static tn_value heads(tn_builder *b, tn_value x, tn_dim length) {
    tn_value y = tn_b_linear(b, x, in(b, DIMS(8, 8)), in(b, DIMS(8)));
    return tn_b_swap(b, tn_b_reshape_to(b, y, 4, (tn_dim[]){2, length, 2, 4}), 1, 2);
}

/* Of x to itself, causal, and to another sequence with a mask. */
static void attention(tn_builder *b) {
    tn_value x = in(b, DIMS(2, 5, 8)), y = in(b, DIMS(2, 3, 8));
    tn_attention o = {.mask = TN_NO_VALUE, .causal = true};
    o.q = heads(b, x, 5);
    o.k = heads(b, x, 5);
    o.v = heads(b, x, 5);
    tn_value z = tn_b_swap(b, tn_b_attention(b, &o), 1, 2);
    z = tn_b_add(b, x, tn_b_reshape_to(b, z, 3, (tn_dim[]){2, 5, 8}));
    o = (tn_attention){.mask = in(b, DIMS(2, 1, 5, 3))};
    o.q = heads(b, z, 5);
    o.k = heads(b, y, 3);
    o.v = heads(b, y, 3);
    out(b, tn_b_attention(b, &o));
}

static void embedding(tn_builder *b) {
    tn_shape shape = DIMS(2, 4);
    tn_value ids = tn_b_input(b, next_name(b), TN_i64, &shape), table = in(b, DIMS(5, 6));
    out(b, tn_b_gather_axis(b, table, ids, 0, TN_INDEX_error));
}

static const struct {
    const char *name;
    void (*build)(tn_builder *b);
} layers[] = {{"depthwise convolution", depthwise_conv},
              {"grouped convolution", grouped_conv},
              {"convolution of one dimension", conv_of_one_dimension},
              {"convolution of three dimensions", conv_of_three_dimensions},
              {"transposed convolution", transposed_conv},
              {"circular padding", circular_padding},
              {"other paddings", other_paddings},
              {"padding same", padding_same},
              {"pools", pools},
              {"prelu", prelu},
              {"norms", norms},
              {"running statistics", running_statistics},
              {"positional axes", positional_axes},
              {"lstm", lstm},
              {"gru", gru},
              {"rnn", simple_rnn},
              {"attention", attention},
              {"embedding", embedding}};

/* ---- checks --------------------------------------------------------------------------------- */

/* Floats between -1 and 1, positions from 0 to 3. */
static void fill_layer(batch_lab *t, const char *name, tn_array *a, uint64_t *state) {
    (void)t, (void)name;
    fill_random(a, test_random(state));
}

static batch_lab *lab_of(size_t i, tn_graph **g) {
    void *made;
    batch_lab_setup(&made);
    batch_lab *t = made;
    tn_dims *dims = TN_NEW(&t->t.arena, tn_dims);
    tn_dims_init(dims, &t->t.arena);
    *g = tn_graph_new(&t->t.arena, dims);
    tn_builder b = tn_builder_of(*g, &t->t.err);
    layers[i].build(&b);
    must(&t->t, b.status);
    t->label = layers[i].name;
    t->fill = fill_layer;
    return t;
}

static void lab_end(batch_lab *t) {
    void *made = t;
    batch_lab_teardown(&made);
}

static void test_layers__members_are_those_alone(void **state) {
    (void)state;
    for (size_t i = 0; i < TN_COUNT(layers); i++) {
        tn_graph *g;
        batch_lab *t = lab_of(i, &g);
        unsigned all = (1u << g->inputs.len) - 1;
        batch_check(t, g, all, MEMBERS);
        batch_check(t, g, all & ~1u, MEMBERS); /* what comes in is shared */
        batch_check(t, g, 1, MEMBERS);         /* the weights are */
        lab_end(t);
    }
}

/* A case for the planner: inputs of members, and what the reference makes of the batched graph, which is
 * what members are alone (above). */
static plan_case *planned(batch_lab *t, const tn_graph *g, unsigned own) {
    const tn_batch_spec spec = {.members = MEMBERS, .inputs = batch_own(t, g, own)};
    plan_case *c = TN_NEW(&t->t.arena, plan_case);
    *c = (plan_case){
        .arena = &t->t.arena, .graph = batch_make(t, g, &spec).graph, .label = t->label};
    if (!plan_case_init(c, false)) fail_msg("%s", c->why);
    return c;
}

static void test_layers__are_planned(void **state) {
    (void)state;
    for (size_t i = 0; i < TN_COUNT(layers); i++) {
        tn_graph *g;
        batch_lab *t = lab_of(i, &g);
        plan_case *c = planned(t, g, i % 2 ? ~0u : ~1u);
        if (!plan_interpret(c)) fail_msg("%s", c->why);
        lab_end(t);
    }
}

/* Runs the compiled programs; the results lie in `got` of each case. */
static void run_compiled(plan_case **cases) {
    plan_batch b = {.cases = cases,
                    .count = TN_COUNT(layers),
                    .target = tn_target_native(),
                    .arena = cases[0]->arena};
    if (!plan_batch_check(&b)) fail_msg("%s", b.why);
}

/* All floats of one member become NaN, its weights too. */
static void make_nan(plan_case *c, int member) {
    const tn_graph *g = c->graph;
    tn_error err = TN_ERROR_INIT;
    for (uint32_t i = 0; i < g->inputs.len; i++) {
        tn_array *a = &c->inputs[i];
        int64_t each = tn_array_count(a) / MEMBERS;
        for (int64_t k = 0; k < each && tn_dtype_is_float(a->dtype); k++)
            tn_array_set(a, member * each + k, (tn_cell){.f = NAN});
    }
    if (tn_eval_graph(g, c->inputs, NULL, c->want, c->arena, &err) != TN_OK) fail_msg("eval");
}

static void expect_others_kept(const plan_case *c, const tn_array *before, int member) {
    for (uint32_t o = 0; o < c->graph->outputs.len; o++) {
        size_t size = tn_array_bytes(&before[o]) / MEMBERS;
        for (int m = 0; m < MEMBERS; m++) {
            size_t at = (size_t)m * size;
            const char *was = before[o].data, *is = c->got[o].data;
            if (m != member && memcmp(was + at, is + at, size) != 0)
                fail_msg("%s: output %u of member %d has other bits when member %d is NaN",
                         c->label, o, m, member);
        }
    }
}

/* As the reference; and a member that is NaN changes no bit of another one. */
static void test_layers__are_compiled(void **state) {
    batch_lab *t[TN_COUNT(layers)];
    plan_case *cases[TN_COUNT(layers)];
    const tn_array *before[TN_COUNT(layers)];
    (void)state;
    if (!plan_has_compiler()) skip();
    for (size_t i = 0; i < TN_COUNT(layers); i++) {
        tn_graph *g;
        t[i] = lab_of(i, &g);
        cases[i] = planned(t[i], g, ~0u);
    }
    run_compiled(cases);
    for (size_t i = 0; i < TN_COUNT(layers); i++) {
        before[i] = cases[i]->got;
        make_nan(cases[i], (int)i % MEMBERS);
    }
    run_compiled(cases);
    for (size_t i = 0; i < TN_COUNT(layers); i++) {
        expect_others_kept(cases[i], before[i], (int)i % MEMBERS);
        lab_end(t[i]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layers__members_are_those_alone),
        cmocka_unit_test(test_layers__are_planned),
        cmocka_unit_test(test_layers__are_compiled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

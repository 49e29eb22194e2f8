/* Gradients of composed functions against PyTorch's, in f64. tests/golden/torch_gradients.txt is
 * made by tests/conformance/torch_gradients.py, which has the same functions in its words. */
#include "unit/test.h"

#include "base/io.h"
#include "ops/compose.h"
#include "ops/gradient.h"
#include "unit/graph_test.h"

enum { MAX_XS = 6, MAX_CASES = 96, MAX_NUMBERS = 512 };

typedef tn_value function(tn_builder *b, const tn_value *x);

/* ---- the functions -------------------------------------------------------------------------- */

#define FUNCTION(name) static tn_value name(tn_builder *b, const tn_value *x)
#define NO             TN_NO_VALUE

static tn_value indices(tn_builder *b, int rank, const int64_t *dim, const int64_t *at) {
    tn_array a = tn_array_new(b->graph->arena, TN_i64, rank, dim);
    memcpy(a.data, at, tn_array_bytes(&a));
    return tn_b_constant(b, &a);
}
#define DIMS(...)                                                                                  \
    (int)(sizeof((int64_t[]){__VA_ARGS__}) / 8), (int64_t[]) {                                     \
        __VA_ARGS__                                                                                \
    }
#define INDEX(dims, ...) indices(b, dims, (int64_t[]){__VA_ARGS__})
#define SCATTERED(combine)                                                                         \
    tn_b_scatter_elements(b, x[0],                                                                 \
                          INDEX(DIMS(3, 6), 0, 0, 3, 1, 1, 1, 1, 2, 1, 0, 0, 2, 3, 3, 3, 2, 2, 2), \
                          x[1], 1, TN_INDEX_error, combine)

FUNCTION(softmax) {
    return tn_b_softmax(b, x[0], -1);
}
FUNCTION(softmax_middle) {
    return tn_b_softmax(b, tn_b_mul_scalar(b, x[0], 3), 1);
}
FUNCTION(log_softmax) {
    return tn_b_log_softmax(b, x[0], -1);
}
FUNCTION(cross_entropy) {
    tn_class_loss o = {.target = INDEX(DIMS(4), 1, 0, 4, 1), .weight = NO};
    return tn_b_cross_entropy(b, x[0], &o, NULL);
}
FUNCTION(weighted_cross_entropy) {
    tn_value w = tn_b_mul(b, x[1], x[1]);
    w = tn_b_node(b, TN_OP_barrier, &w, 1, &(tn_attrs_barrier){.stop = true});
    tn_class_loss o = {.target = INDEX(DIMS(4), 1, 0, 2, 1), .weight = w};
    return tn_b_cross_entropy(b, x[0], &o, NULL);
}
FUNCTION(layer_norm) {
    return tn_b_layer_norm(b, x[0], 1, x[1], x[2], 1e-5, NULL);
}
FUNCTION(rms_norm) {
    return tn_b_rms_norm(b, x[0], 1, x[1], 1e-5);
}
FUNCTION(group_norm) {
    return tn_b_group_norm(b, x[0], 2, x[1], x[2], 1e-5);
}
FUNCTION(instance_norm) {
    return tn_b_instance_norm(b, x[0], x[1], x[2], 1e-5);
}
FUNCTION(batch_norm) {
    tn_type type = tn_b_type(b, x[1]);
    tn_value zeros = tn_b_full(b, TN_f64, &type.shape, 0), running[2];
    tn_batch_norm o = {x[1], x[2], zeros, zeros, 1e-5, 0.9, false};
    return tn_b_batch_norm_training(b, x[0], &o, running);
}
FUNCTION(gelu) {
    return tn_b_gelu(b, x[0]);
}
FUNCTION(gelu_tanh) {
    return tn_b_gelu_tanh(b, x[0]);
}
FUNCTION(silu) {
    return tn_b_silu(b, x[0]);
}
FUNCTION(softplus) {
    return tn_b_softplus(b, x[0]);
}
FUNCTION(mish) {
    return tn_b_mish(b, x[0]);
}
FUNCTION(causal_attention) {
    tn_attention o = {.q = x[0], .k = x[1], .v = x[2], .mask = NO, .causal = true};
    return tn_b_attention(b, &o);
}
FUNCTION(shared_attention) {
    tn_attention o = {.q = x[0], .k = x[1], .v = x[2], .mask = NO};
    return tn_b_attention(b, &o);
}
FUNCTION(conv_1d) {
    tn_conv_options o = {.stride = {2}, .dilation = {2}, .pad_lo = {1}, .pad_hi = {1}, .groups = 1};
    return tn_b_conv(b, x[0], x[1], x[2], &o);
}
FUNCTION(conv_2d) {
    tn_conv_options o = {
        .stride = {2, 1}, .dilation = {1, 1}, .pad_lo = {1}, .pad_hi = {1}, .groups = 1};
    return tn_b_conv(b, x[0], x[1], x[2], &o);
}
FUNCTION(grouped_conv) {
    tn_conv_options o = {
        .stride = {1, 1}, .dilation = {1, 1}, .pad_lo = {1, 1}, .pad_hi = {1, 1}, .groups = 2};
    return tn_b_conv(b, x[0], x[1], NO, &o);
}
FUNCTION(depthwise_conv) {
    tn_conv_options o = {.stride = {1, 1}, .dilation = {1, 1}, .groups = 3};
    return tn_b_conv(b, x[0], x[1], NO, &o);
}
FUNCTION(conv_transpose) {
    tn_conv_options o = {.stride = {2}, .dilation = {1}, .pad_lo = {1}, .pad_hi = {1}, .groups = 1};
    o.output_pad[0] = 1;
    return tn_b_conv_transpose(b, x[0], x[1], x[2], &o);
}
FUNCTION(max_pool) {
    tn_pool_options o = {
        .window = {2, 2}, .stride = {2, 1}, .dilation = {1, 1}, .pad_lo = {1}, .pad_hi = {1}};
    return tn_b_max_pool(b, x[0], &o, NULL);
}
FUNCTION(max_pool_ties) {
    tn_pool_options o = {
        .window = {3}, .stride = {2}, .dilation = {1}, .pad_lo = {1}, .pad_hi = {1}};
    return tn_b_max_pool(b, x[0], &o, NULL);
}
FUNCTION(average_pool) {
    tn_pool_options o = {
        .window = {3}, .stride = {2}, .dilation = {1}, .pad_lo = {1}, .pad_hi = {1}};
    return tn_b_average_pool(b, x[0], &o);
}
FUNCTION(lstm) {
    tn_rnn o = {.kind = TN_RNN_LSTM, .x = x[0], .w = x[1], .r = x[2], .bias = x[3], .lengths = NO};
    o.h0 = x[4];
    o.c0 = x[5];
    o.peephole = NO;
    return tn_b_rnn(b, &o).y;
}
FUNCTION(gru) {
    tn_rnn o = {.kind = TN_RNN_GRU, .x = x[0], .w = x[1], .r = x[2], .bias = x[3], .lengths = NO};
    o.h0 = x[4];
    o.c0 = o.peephole = NO;
    return tn_b_rnn(b, &o).y;
}
FUNCTION(cumsum) {
    return tn_b_cumulative(b, TN_REDUCE_sum, x[0], 1, false, false);
}
FUNCTION(cumprod) {
    return tn_b_cumulative(b, TN_REDUCE_prod, x[0], 1, false, false);
}
FUNCTION(cummax) {
    return tn_b_cumulative(b, TN_REDUCE_max, x[0], 1, false, false);
}
FUNCTION(sort_down) {
    tn_value y[2];
    tn_b_sort(b, x[0], 1, true, y);
    return tn_b_exp(b, y[0]);
}
FUNCTION(sort_up) {
    tn_value y[2];
    tn_b_sort(b, x[0], 1, false, y);
    return tn_b_exp(b, y[0]);
}
FUNCTION(top_k) {
    tn_value y[2];
    tn_b_top_k(b, x[0], 1, 2, false, y);
    return tn_b_exp(b, y[0]);
}
FUNCTION(gather) {
    tn_value at = INDEX(DIMS(3, 3), 0, 0, 3, 1, 2, 1, 3, 3, 3);
    return tn_b_exp(b, tn_b_gather_elements(b, x[0], at, 1, TN_INDEX_error));
}
FUNCTION(scatter_add) {
    tn_value at = INDEX(DIMS(3, 3), 0, 0, 3, 1, 2, 1, 3, 3, 3);
    return tn_b_exp(b, tn_b_scatter_elements(b, x[0], at, x[1], 1, TN_INDEX_error, TN_COMBINE_add));
}
FUNCTION(scatter_product) {
    tn_value at = INDEX(DIMS(3, 3), 0, 0, 3, 1, 2, 1, 3, 3, 3);
    return tn_b_scatter_elements(b, x[0], at, x[1], 1, TN_INDEX_error, TN_COMBINE_mul);
}
FUNCTION(scatter_product_zeros) {
    return SCATTERED(TN_COMBINE_mul);
}
FUNCTION(scatter_maximum) {
    return SCATTERED(TN_COMBINE_max);
}
FUNCTION(product) {
    return tn_b_reduce(b, TN_REDUCE_prod, x[0], (int[]){1}, 1, false);
}
FUNCTION(maximum) {
    return tn_b_reduce(b, TN_REDUCE_max, x[0], (int[]){1}, 1, false);
}
FUNCTION(larger) {
    return tn_b_max(b, x[0], x[1]);
}
FUNCTION(variance) {
    tn_value d = tn_b_sub(b, x[0], tn_b_mean(b, x[0], (int[]){1}, 1, true));
    return tn_b_mul_scalar(b, tn_b_sum(b, tn_b_mul(b, d, d), (int[]){1}, 1, false), 0.25);
}
FUNCTION(log_sum_exp) {
    return tn_b_log_sum_exp(b, x[0], (int[]){1}, 1, false);
}
FUNCTION(einsum) {
    return tn_b_einsum(b, "bij,jk,bk->ik", x, 3);
}
FUNCTION(grid_sample) {
    tn_grid_sample o = {.mode = TN_RESIZE_LINEAR};
    return tn_b_grid_sample(b, x[0], tn_b_mul_scalar(b, x[1], 0.9), &o);
}
FUNCTION(power) {
    tn_value base = tn_b_add_scalar(b, tn_b_abs(b, x[0]), 0.1);
    return tn_b_pow(b, base, tn_b_mul_scalar(b, x[1], 3));
}
FUNCTION(remainder_of) {
    return tn_b_rem(b, tn_b_mul_scalar(b, x[0], 7), x[1]);
}
FUNCTION(angles) {
    return tn_b_atan2(b, x[0], x[1]);
}

static const struct {
    const char *name;
    function *fn;
} functions[] = {
    {"softmax", softmax},
    {"softmax of a middle axis", softmax_middle},
    {"log_softmax", log_softmax},
    {"cross entropy", cross_entropy},
    {"cross entropy, weighted", weighted_cross_entropy},
    {"layer norm", layer_norm},
    {"rms norm", rms_norm},
    {"group norm", group_norm},
    {"instance norm", instance_norm},
    {"batch norm in training", batch_norm},
    {"gelu", gelu},
    {"gelu by tanh", gelu_tanh},
    {"silu", silu},
    {"softplus", softplus},
    {"mish", mish},
    {"attention", causal_attention},
    {"attention with shared heads", shared_attention},
    {"conv 1d", conv_1d},
    {"conv 2d", conv_2d},
    {"conv 2d, grouped", grouped_conv},
    {"conv 2d, depthwise", depthwise_conv},
    {"conv transpose", conv_transpose},
    {"max pool", max_pool},
    {"max pool with ties", max_pool_ties},
    {"average pool", average_pool},
    {"lstm", lstm},
    {"gru", gru},
    {"cumsum", cumsum},
    {"cumprod", cumprod},
    {"cumprod with zeros", cumprod},
    {"cummax with ties", cummax},
    {"sort", sort_down},
    {"sort with ties", sort_up},
    {"top k", top_k},
    {"gather", gather},
    {"scatter add", scatter_add},
    {"scatter product", scatter_product},
    {"scatter product with zeros", scatter_product_zeros},
    {"scatter maximum with ties", scatter_maximum},
    {"product", product},
    {"product with zeros", product},
    {"maximum with ties", maximum},
    {"the larger of two with ties", larger},
    {"variance", variance},
    {"log sum exp", log_sum_exp},
    {"einsum", einsum},
    {"grid sample", grid_sample},
    {"power", power},
    {"remainder", remainder_of},
    {"angles", angles},
};

static function *function_of(const char *name) {
    for (size_t i = 0; i < TN_COUNT(functions); i++)
        if (!strcmp(functions[i].name, name)) return functions[i].fn;
    fail_msg("no function '%s' in this file", name);
    return NULL;
}

/* ---- the file ------------------------------------------------------------------------------- */

typedef struct torch_case {
    char *name;
    bool quarters;
    int count;
    tn_shape shape[MAX_XS];
    double want[MAX_XS][MAX_NUMBERS];
    int numbers[MAX_XS];
} torch_case;

static torch_case cases[MAX_CASES];
static int case_count;

static void read_line(char *line) {
    torch_case *c = case_count ? &cases[case_count - 1] : NULL;
    if (line[0] == '#' || line[0] == 0) return;
    if (!strncmp(line, "case ", 5)) {
        cases[case_count++].name = strdup(line + 5);
    } else if (!strcmp(line, "quarters")) {
        c->quarters = true;
    } else if (!strncmp(line, "shape", 5)) {
        tn_shape *s = &c->shape[c->count++];
        for (char *end, *at = line + 5; *at; at = end) s->dim[s->rank++] = strtoll(at, &end, 10);
    } else {
        int which = c->count - 1;
        for (char *end, *at = line; *at; at = end)
            c->want[which][c->numbers[which]++] = strtod(at, &end);
    }
}

static void read_cases(const char *path) {
    static char line[4096];
    FILE *file = fopen(path, "r");
    if (!file) {
        fprintf(stderr, "%s: not found (run from the source folder)\n", path);
        exit(1);
    }
    while (fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        read_line(line);
    }
    fclose(file);
}

/* ---- the comparison ------------------------------------------------------------------------- */

/* The generator of torch_gradients.py. */
static tn_array numbers(graph_test *t, const tn_shape *shape, uint64_t seed, bool quarters) {
    tn_array a = tn_array_new(&t->arena, TN_f64, shape->rank, shape->dim);
    uint64_t state = seed * 0x9E3779B97F4A7C15u + 1;
    for (int64_t i = 0; i < tn_array_count(&a); i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        double value = (double)(state >> 11) * 0x1p-52 - 1;
        ((double *)a.data)[i] = quarters ? nearbyint(value * 4) / 4 : value;
    }
    return a;
}

static void check_case(graph_test *t, const torch_case *c, const tn_array *grads) {
    for (int i = 0; i < c->count; i++) {
        double most = 1;
        for (int k = 0; k < c->numbers[i]; k++) most = fmax(most, fabs(c->want[i][k]));
        assert_int_equal(tn_array_count(&grads[i]), c->numbers[i]);
        for (int k = 0; k < c->numbers[i]; k++) {
            double have = tn_array_get(&grads[i], k).f, want = c->want[i][k];
            if (!(fabs(have - want) <= 1e-8 * most))
                fail_msg("%s: input %d, element %d: %.10g, PyTorch gives %.10g", c->name, i, k,
                         have, want);
        }
    }
    (void)t;
}

static void test_gradients__equal_those_of_pytorch(void **state) {
    const torch_case *c = *state;
    graph_test t;
    tn_dims dims;
    tn_value x[MAX_XS], grads[MAX_XS];
    tn_array in[MAX_XS], out[MAX_XS];
    graph_test_init(&t);
    tn_dims_init(&dims, &t.arena);
    tn_graph *g = tn_graph_new(&t.arena, &dims);
    tn_builder b = tn_builder_of(g, &t.err);
    for (int i = 0; i < c->count; i++) {
        x[i] = tn_b_input(&b, NULL, TN_f64, &c->shape[i]);
        in[i] = numbers(&t, &c->shape[i], (uint64_t)i + 1, c->quarters);
    }
    tn_value y = function_of(c->name)(&b, x);
    must(&t, b.status);
    tn_shape shape = tn_b_type(&b, y).shape;
    tn_array weight = numbers(&t, &shape, 99, false);
    tn_b_gradient(&b, y, tn_b_constant(&b, &weight), x, c->count, grads);
    must(&t, b.status);
    for (int i = 0; i < c->count; i++) tn_graph_add_output(g, grads[i], NULL);
    must(&t, tn_graph_verify(g, NULL, &t.err));
    must(&t, tn_eval_graph(g, in, NULL, out, &t.arena, &t.err));
    check_case(&t, c, out);
    graph_test_deinit(&t);
}

int main(void) {
    struct CMUnitTest tests[MAX_CASES];
    read_cases("tests/golden/torch_gradients.txt");
    for (int i = 0; i < case_count; i++)
        tests[i] = (struct CMUnitTest){cases[i].name, test_gradients__equal_those_of_pytorch, NULL,
                                       NULL, &cases[i]};
    int failed = _cmocka_run_group_tests("torch", tests, (size_t)case_count, NULL, NULL);
    for (int i = 0; i < case_count; i++) free(cases[i].name);
    return failed;
}

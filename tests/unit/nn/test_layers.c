/* Layers and functions of networks against PyTorch: results, gradients of inputs and parameters, buffers
 * after a step in training. The figures are made by tools/golden_layers.py. */
#include "unit/nn/lazy_test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tenon/nn.h>

#include "unit/nn/golden_npz.h"

enum { MAX_INPUTS = 4, MAX_NAMED = 24 };

static int load(void **state) {
    (void)state;
    return golden_load("tests/golden/layers.npz");
}

/* The array "case/kind.name" (without the dot where the kind has no names); NULL: there is none. */
static const tn_array *find(const char *one, const char *kind, const char *name) {
    char key[256];
    snprintf(key, sizeof key, "%s/%s%s%s", one, kind, *name ? "." : "", name);
    for (uint32_t i = 0; i < golden.len; i++)
        if (strcmp(golden.data[i].name, key) == 0) return &golden.data[i].array;
    return NULL;
}

static tn_tensor *tensor_of(tn_context *c, const tn_array *a) {
    return tn_tensor_from(c, a->dtype, a->rank, a->dim, a->data);
}

/* Within 1e-5 of the largest magnitude; 1e-6 for what would be 0 but for rounding. */
static void check(const char *one, const char *what, const char *name, tn_tensor *x,
                  const tn_array *want) {
    tn_error err = TN_ERROR_INIT;
    if (!want) fail_msg("%s: no figures of %s %s", one, what, name);
    size_t n = (size_t)tn_array_count(want);
    float *got = malloc(n * sizeof *got + 1);
    const float *expected = want->data;
    must(tn_read(x, got, n * sizeof *got, &err), &err);
    assert_int_equal(tn_tensor_rank(x), want->rank);
    for (int a = 0; a < want->rank; a++) assert_int_equal(tn_tensor_dim(x, a), want->dim[a]);
    float top = 0;
    for (size_t i = 0; i < n; i++) top = fmaxf(top, fabsf(expected[i]));
    for (size_t i = 0; i < n; i++)
        if (!(fabsf(got[i] - expected[i]) <= 1e-5f * fmaxf(top, 0.1f)))
            fail_msg("%s: %s %s[%zu] is %.9g, PyTorch's %.9g (largest %g)", one, what, name, i,
                     (double)got[i], (double)expected[i], (double)top);
    free(got);
}

/* ---- the cases ------------------------------------------------------------------------------ */

typedef tn_tensor *call(tn_module *m, tn_tensor *const *in);
typedef struct layer_case {
    const char *name;
    call *call;
} layer_case;

/* Positions whose sum is 1 modulo 3 are hidden. */
static tn_tensor *third(tn_tensor *query, tn_tensor *key, void *user) {
    tn_tensor *sum = tn_add(query, key),
              *three = tn_full(tn_tensor_context(sum), TN_i64, TN_SHAPE(1), 3);
    assert_null(user);
    return tn_not_equal(tn_mod(sum, three),
                        tn_full(tn_tensor_context(sum), TN_i64, TN_SHAPE(1), 1));
}

/* Scores fall with the distance (Press et al. 2022). */
static tn_tensor *slope(tn_tensor *scores, tn_tensor *query, tn_tensor *key, void *user) {
    tn_tensor *distance = tn_cast(tn_sub(key, query), TN_f32);
    return tn_add(scores, tn_mul_scalar(distance, *(const double *)user));
}
static double quarter = 0.25;

/* The states after the last step, h behind c. */
static tn_tensor *last_states(tn_module *m, tn_tensor *const *in) {
    tn_tensor *last[2];
    tn_lstm(m, "l", in[0], 4, .layers = 2, .no_bias = true, .h = in[1], .c = in[2],
            .last_h = &last[0], .last_c = &last[1]);
    return tn_concat(last, 2, 0);
}

#define CASE(one, ...)                                                                             \
    static tn_tensor *call_##one(tn_module *m, tn_tensor *const *in) {                             \
        const tn_tensor *x = in[0];                                                                \
        (void)m;                                                                                   \
        (void)x;                                                                                   \
        return __VA_ARGS__;                                                                        \
    }
/* clang-format off */
#define CASES(R) \
    R(linear, tn_linear(m, "l", x, 4)) \
    R(linear_no_bias, tn_linear(m, "l", x, 4, .no_bias = true)) \
    R(embedding, tn_embedding(m, "l", x, 7, 5)) \
    R(conv1d, tn_conv1d(m, "l", x, 4, .kernel = 3, .stride = 2, .padding = 1)) \
    R(conv2d, tn_conv2d(m, "l", x, 4, .kernel = 3, .stride = 2, .padding = 1)) \
    R(conv2d_lists, tn_conv2d(m, "l", x, 3, .kernels = {3, 2}, .strides = {1, 2}, \
                              .paddings = {0, 1}, .dilations = {2, 1})) \
    R(conv2d_groups, \
      tn_conv2d(m, "l", x, 6, .kernel = 3, .padding = 1, .groups = 2, .no_bias = true)) \
    R(conv2d_depthwise, tn_conv2d(m, "l", x, 4, .kernel = 3, .padding = 1, .groups = 4)) \
    R(conv3d, tn_conv3d(m, "l", x, 3, .kernel = 2)) \
    R(conv_transpose1d, tn_conv_transpose1d(m, "l", x, 2, .kernel = 4, .stride = 2, .padding = 1)) \
    R(conv_transpose2d, tn_conv_transpose2d(m, "l", x, 6, .kernel = 3, .stride = 2, .padding = 1, \
                                            .output_padding = 1, .groups = 2)) \
    R(conv_transpose3d, tn_conv_transpose3d(m, "l", x, 2, .kernel = 2, .stride = 2)) \
    R(max_pool, tn_max_pool(x, .kernel = 3, .stride = 2, .padding = 1)) \
    R(max_pool_ceil, tn_max_pool(x, .kernel = 2, .ceil_mode = true)) \
    R(max_pool1d, tn_max_pool(x, .kernel = 3)) \
    R(average_pool, tn_average_pool(x, .kernel = 3, .stride = 2, .padding = 1)) \
    R(average_pool_exclude, \
      tn_average_pool(x, .kernel = 3, .stride = 2, .padding = 1, .exclude_padding = true)) \
    R(average_pool3d, tn_average_pool(x, .kernels = {1, 2, 2})) \
    R(global_average_pool, tn_global_average_pool(x)) \
    R(resize_nearest, tn_resize(x, TN_SHAPE(10, 9), TN_RESIZE_BY_NEAREST)) \
    R(resize_linear, tn_resize(x, TN_SHAPE(10, 4), TN_RESIZE_BY_LINEAR)) \
    R(resize_cubic, tn_resize(x, TN_SHAPE(11, 8), TN_RESIZE_BY_CUBIC)) \
    R(layer_norm, tn_layer_norm(m, "l", x)) \
    R(layer_norm_two_axes, tn_layer_norm(m, "l", x, .axes = 2, .epsilon = 1e-3)) \
    R(rms_norm, tn_rms_norm(m, "l", x)) \
    R(group_norm, tn_group_norm(m, "l", x, 2)) \
    R(instance_norm, tn_instance_norm(m, "l", x)) \
    R(instance_norm_affine, tn_instance_norm(m, "l", x, .affine = true)) \
    R(batch_norm, tn_batch_norm(m, "l", x)) \
    R(batch_norm_flat, tn_batch_norm(m, "l", x, .epsilon = 1e-4, .momentum = 0.3)) \
    R(batch_norm_eval, (tn_module_set_training(m, false), tn_batch_norm(m, "l", x))) \
    R(mse_loss, tn_mse_loss(x, in[1])) \
    R(mse_loss_sum, tn_mse_loss(x, in[1], .reduction = TN_LOSS_SUM)) \
    R(l1_loss, tn_l1_loss(x, in[1])) \
    R(huber_loss, tn_huber_loss(x, in[1], .delta = 0.7)) \
    R(binary_cross_entropy, tn_binary_cross_entropy(x, in[1])) \
    R(cross_entropy, tn_cross_entropy(x, in[1])) \
    R(cross_entropy_each, tn_cross_entropy(x, in[1], .reduction = TN_LOSS_EACH)) \
    R(cross_entropy_ignored, tn_cross_entropy(x, in[1], .ignores = true, .ignored = -100)) \
    R(cross_entropy_weighted, \
      tn_cross_entropy(x, in[1], .ignores = true, .ignored = -100, \
                       .weight = tn_tensor_from(tn_module_context(m), TN_f32, TN_SHAPE(5), \
                                                (float[]){0.5f, 1, 2, 1, 3}))) \
    R(cross_entropy_smooth, tn_cross_entropy(x, in[1], .label_smoothing = 0.1)) \
    R(cross_entropy_smooth_ignored, \
      tn_cross_entropy(x, in[1], .label_smoothing = 0.1, .ignores = true, .ignored = -100)) \
    R(cross_entropy_places, tn_cross_entropy(x, in[1])) \
    R(nll_loss, tn_nll_loss(x, in[1])) \
    R(attention, tn_attention(x, in[1], in[2], NULL)) \
    R(attention_causal, tn_attention(x, in[1], in[2], NULL, .causal = true, .scale = 0.3)) \
    R(attention_window, tn_attention(x, in[1], in[2], NULL, .window = 3)) \
    R(attention_causal_window, \
      tn_attention(x, in[1], in[2], NULL, .causal = true, .window = 3)) \
    R(attention_bool_mask, tn_attention(x, in[1], in[2], tn_cast(in[3], TN_bool))) \
    R(attention_bias, tn_attention(x, in[1], in[2], in[3])) \
    R(attention_mask_function, tn_attention(x, in[1], in[2], NULL, .mask_function = third)) \
    R(attention_score_function, tn_attention(x, in[1], in[2], NULL, .score_function = slope, \
                                             .user = &quarter, .causal = true)) \
    R(rotary, tn_rotary(x, NULL)) \
    R(rotary_interleaved, \
      tn_rotary(x, NULL, .theta = 100, .interleaved = true, .features = 6)) \
    R(rotary_scaled, \
      tn_rotary(x, tn_arange(tn_module_context(m), TN_i32, 0, 70, 1), .theta = 500000, \
                .factor = 8, .length = 64)) \
    R(attention_layer, tn_multi_head_attention(m, "l", x, 4)) \
    R(attention_layer_llama, \
      tn_multi_head_attention(m, "l", x, 4, .kv_heads = 2, .head_features = 6, .no_bias = true, \
                              .causal = true, \
                              .rotary = {.theta = 500000, .factor = 8, .length = 64})) \
    R(attention_layer_source, tn_multi_head_attention(m, "l", x, 3, .source = in[1])) \
    R(lstm, tn_lstm(m, "l", x, 4)) \
    R(lstm_deep, \
      tn_lstm(m, "l", x, 2, .layers = 2, .bidirectional = true, .batch_first = true)) \
    R(lstm_states, last_states(m, in)) \
    R(gru, tn_gru(m, "l", x, 4)) \
    R(gru_deep, tn_gru(m, "l", x, 2, .layers = 2, .bidirectional = true, .h = in[1])) \
    R(moe, tn_moe(m, "l", x, 4, .hidden = 6, .top_k = 2)) \
    R(moe_sigmoid, tn_moe(m, "l", x, 4, .hidden = 3, .top_k = 3, .shared_hidden = 7, \
                          .sigmoid = true, .normalized = true, .scale = 2.5, .balance = 0.01))
/* clang-format on */
CASES(CASE)
#define ROW(one, ...) {#one, call_##one},
static const layer_case cases[] = {CASES(ROW)};

/* ---- running one ---------------------------------------------------------------------------- */

/* Gives the module's tensors PyTorch's values. */
static void set_parameters(const layer_case *k, tn_module *m) {
    tn_module_item item;
    int set = 0, given = 0;
    for (int i = 0; tn_module_entry(m, i, &item); i++) {
        const tn_array *a = find(k->name, "p", item.name + strlen("l."));
        if (!a && item.buffer) continue;
        if (!a) fail_msg("%s: PyTorch has no parameter %s", k->name, item.name);
        tn_tensor *value = tensor_of(tn_module_context(m), a);
        tn_assign(item.tensor, value);
        tn_release(value);
        set++;
    }
    char prefix[128];
    snprintf(prefix, sizeof prefix, "%s/p.", k->name);
    for (uint32_t i = 0; i < golden.len; i++)
        given += strncmp(golden.data[i].name, prefix, strlen(prefix)) == 0;
    if (set != given)
        fail_msg("%s: %d parameters and buffers, PyTorch has %d", k->name, set, given);
}

typedef struct sought {
    tn_tensor *x[MAX_INPUTS + MAX_NAMED], *grad[MAX_INPUTS + MAX_NAMED];
    const tn_array *want[MAX_INPUTS + MAX_NAMED];
    const char *name[MAX_INPUTS + MAX_NAMED];
    int count;
} sought;

static void seek(sought *s, tn_tensor *x, const char *name, const tn_array *want) {
    if (!want) return;
    s->x[s->count] = x;
    s->name[s->count] = name;
    s->want[s->count++] = want;
}

static void check_case(const layer_case *k) {
    static const char *const numbers[MAX_INPUTS] = {"0", "1", "2", "3"};
    static const char *const of_inputs[MAX_INPUTS] = {"in.0", "in.1", "in.2", "in.3"};
    tn_context *c = lazy_context(TN_COMPILE_INTERPRET, 1);
    tn_module *m;
    tn_error err = TN_ERROR_INIT;
    must(tn_module_create(c, NULL, &m, &err), &err);
    tn_scope *scope = tn_scope_open(c);
    tn_tensor *in[MAX_INPUTS] = {NULL};
    sought s = {.count = 0};
    for (int i = 0; i < MAX_INPUTS; i++) {
        const tn_array *a = find(k->name, "in", numbers[i]);
        if (a) in[i] = tensor_of(c, a);
        seek(&s, in[i], of_inputs[i], find(k->name, "d.in", numbers[i]));
    }
    tn_scope *trial = tn_scope_open(c);
    k->call(m, in); /* makes the parameters */
    tn_scope_close(trial);
    set_parameters(k, m);
    tn_tensor *y = k->call(m, in), *cotangent = tensor_of(c, find(k->name, "c", ""));
    tn_module_item item;
    for (int i = 0; tn_module_entry(m, i, &item); i++)
        if (item.trainable) seek(&s, item.tensor, item.name + 2, find(k->name, "d", item.name + 2));
    tn_grad(y, cotangent, s.x, s.count, s.grad);
    check(k->name, "y", "", y, find(k->name, "y", ""));
    for (int i = 0; i < s.count; i++)
        check(k->name, "gradient of", s.name[i], s.grad[i], s.want[i]);
    for (int i = 0; tn_module_entry(m, i, &item); i++)
        if (item.buffer && find(k->name, "after", item.name + 2))
            check(k->name, "buffer", item.name, item.tensor, find(k->name, "after", item.name + 2));
    tn_scope_close(scope);
    tn_module_release(m);
    tn_context_stats stats;
    tn_context_statistics(c, &stats);
    assert_int_equal(stats.tensors, 0);
    tn_context_release(c);
}

static void test_layers__agree_with_pytorch(void **state) {
    (void)state;
    for (size_t i = 0; i < TN_COUNT(cases); i++) check_case(&cases[i]);
}

/* Every case that was written is looked at. */
static void test_layers__no_case_is_left_out(void **state) {
    (void)state;
    for (uint32_t i = 0; i < golden.len; i++) {
        size_t n = strcspn(golden.data[i].name, "/");
        bool known = false;
        for (size_t k = 0; k < TN_COUNT(cases) && !known; k++)
            known =
                strlen(cases[k].name) == n && strncmp(cases[k].name, golden.data[i].name, n) == 0;
        if (!known) fail_msg("%s has no test", golden.data[i].name);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layers__agree_with_pytorch),
        cmocka_unit_test(test_layers__no_case_is_left_out),
    };
    return cmocka_run_group_tests(tests, load, golden_unload);
}

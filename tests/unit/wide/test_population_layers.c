/* Every kind of layer in a population, beside modules that run alone: results, gradients, buffers, and
 * that nothing of a member reaches another one. */
#include "base/base.h"
#include "unit/wide/compiled_lab.h"

enum { MAX_ITEMS = 24 };

typedef struct input {
    int rank;
    int64_t dim[5];
    int64_t rows; /* not 0: indices below it */
} input;

typedef tn_tensor *layer(tn_module *m, tn_tensor *const *in);
typedef struct layer_case {
    const char *name;
    layer *call;
    input in[LAB_INPUTS];
} layer_case;

/* ---- layers of one's own -------------------------------------------------------------------- */

static tn_tensor *prelu(tn_module *m, tn_tensor *x) {
    tn_tensor *slope = tn_module_parameter(tn_module_child(m, "act"), "weight", TN_f32,
                                           TN_SHAPE(3, 1), tn_init_uniform(0.1, 0.4));
    return tn_where(tn_greater(x, tn_mul_scalar(x, 0)), x, tn_mul(slope, x));
}

typedef struct cell {
    tn_tensor *w, *bias;
} cell;

/* hₜ = tanh(W [xₜ hₜ₋₁] + b) (Elman 1990) */
static void rnn_step(tn_tensor *const *carry, tn_tensor *const *x, tn_tensor **next, tn_tensor **y,
                     void *user) {
    const cell *k = user;
    tn_tensor *both = tn_concat((tn_tensor *[]){x[0], carry[0]}, 2, -1);
    next[0] = tn_tanh(tn_linear_with(both, k->w, k->bias));
    y[0] = tn_mul_scalar(next[0], 2);
}

static tn_tensor *rnn(tn_module *m, tn_tensor *x) {
    int64_t in = tn_tensor_dim(x, -1), hidden = 4;
    cell k = {tn_module_parameter(m, "weight", TN_f32, TN_SHAPE(4, 4 + in), tn_init_normal(0, 0.4)),
              tn_module_parameter(m, "bias", TN_f32, 1, &hidden, tn_init_normal(0, 0.4))};
    tn_tensor *h = tn_full(tn_module_context(m), TN_f32, TN_SHAPE(tn_tensor_dim(x, 1), 4), 0);
    tn_tensor *out[2];
    tn_scan_loop loop = TN_SCAN_LOOP_INIT;
    loop.step = rnn_step, loop.user = &k;
    loop.carry = &h, loop.carry_count = 1;
    loop.x = &x, loop.x_count = 1, loop.y_count = 1;
    tn_scan(&loop, out);
    return out[1];
}

static void scaled(tn_tensor *const *x, tn_tensor **y, void *user) {
    y[0] = tn_mul(tn_sum(tn_square(x[0]), TN_ALL_AXES, false), user);
}

/* A tn_vmap over the batch, with a weight of the member. */
static tn_tensor *vmapped(tn_module *m, tn_tensor *x) {
    tn_tensor *y, *w = tn_module_parameter(m, "w", TN_f32, TN_SCALAR_SHAPE, tn_init_normal(1, 1));
    tn_vmap(scaled, w, &x, 1, &y, 1);
    return y;
}

static tn_tensor *twice(tn_module *m, tn_tensor *x) {
    tn_tensor *w = tn_module_parameter(m, "w", TN_f32, TN_SHAPE(4), tn_init_normal(1, 1)), *dx;
    tn_grad(tn_sum(tn_tanh(tn_mul(tn_mul(x, x), w)), TN_ALL_AXES, false), NULL, &x, 1, &dx);
    return dx;
}

static void scaled_branch(tn_tensor *const *x, tn_tensor **y, void *user) {
    y[0] = tn_tanh(tn_mul(x[0], user));
}
static void other_branch(tn_tensor *const *x, tn_tensor **y, void *user) {
    (void)user;
    y[0] = tn_square(x[0]);
}

/* Members decide for themselves. */
static tn_tensor *branches(tn_module *m, tn_tensor *x) {
    tn_tensor *w = tn_module_parameter(m, "w", TN_f32, TN_SCALAR_SHAPE, tn_init_normal(1, 1)), *y;
    tn_tensor *sum = tn_sum(x, TN_ALL_AXES, false);
    tn_branches both = {scaled_branch, other_branch, w};
    tn_cond(tn_greater(sum, tn_mul_scalar(sum, 0)), &both, &x, 1, &y, 1);
    return y;
}

/* Both ends of axis 2 meet. */
static tn_tensor *circular(tn_module *m, tn_tensor *x) {
    int64_t n = tn_tensor_dim(x, 2);
    tn_tensor *around[] = {tn_slice(x, 2, n - 1, n, 1), x, tn_slice(x, 2, 0, 1, 1)};
    return tn_conv1d(m, "l", tn_concat(around, 3, 2), 4, .kernel = 3);
}

static tn_tensor *transformer_block(tn_module *m, tn_tensor *x) {
    tn_tensor *h =
        tn_multi_head_attention(m, "attention", tn_layer_norm(m, "ln1", x), 2, .causal = true);
    x = tn_add(x, tn_dropout(m, "drop", h, 0.2));
    h = tn_gelu(tn_linear(m, "fc1", tn_layer_norm(m, "ln2", x), 6));
    return tn_add(x, tn_linear(m, "fc2", h, 4));
}

static tn_tensor *small_resnet(tn_module *m, tn_tensor *x) {
    x = tn_conv2d(m, "conv1", x, 3, .kernel = 7, .stride = 2, .padding = 3, .no_bias = true);
    x = tn_max_pool(tn_relu(tn_batch_norm(m, "bn1", x)), .kernel = 3, .stride = 2, .padding = 1);
    tn_tensor *h = tn_relu(tn_batch_norm(
        m, "bn2", tn_conv2d(m, "conv2", x, 3, .kernel = 3, .padding = 1, .no_bias = true)));
    x = tn_relu(tn_add(x, h));
    x = tn_reshape(tn_global_average_pool(x), TN_SHAPE(tn_tensor_dim(x, 0), -1));
    return tn_linear(m, "fc", x, 3);
}

/* ---- cases ---------------------------------------------------------------------------------- */

#define CASE(one, in0, in1, ...)                                                                   \
    static tn_tensor *call_##one(tn_module *m, tn_tensor *const *in) {                             \
        tn_tensor *x = in[0];                                                                      \
        (void)m;                                                                                   \
        return __VA_ARGS__;                                                                        \
    }
#define F(...)                                                                                     \
    { (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), {__VA_ARGS__}, 0 }
#define INDEX(below, ...)                                                                          \
    { (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), {__VA_ARGS__}, below }
#define NONE                                                                                       \
    { -1, {0}, 0 }
/* clang-format off */
#define CASES(R) \
    R(linear, F(4, 5), NONE, tn_linear(m, "l", x, 3)) \
    R(conv1d, F(2, 3, 8), NONE, tn_conv1d(m, "l", x, 4, .kernel = 3, .stride = 2, .padding = 1)) \
    R(conv2d, F(2, 3, 6, 5), NONE, tn_conv2d(m, "l", x, 4, .kernel = 3, .padding = 1)) \
    R(conv2d_groups, F(2, 4, 6, 5), NONE, \
      tn_conv2d(m, "l", x, 6, .kernel = 3, .stride = 2, .groups = 2)) \
    R(conv2d_depthwise, F(2, 4, 4, 3), NONE, \
      tn_conv2d(m, "l", x, 4, .kernel = 3, .padding = 1, .groups = 4)) \
    R(conv3d, F(2, 2, 4, 4, 3), NONE, tn_conv3d(m, "l", x, 3, .kernel = 2)) \
    R(conv_transpose1d, F(2, 3, 5), NONE, \
      tn_conv_transpose1d(m, "l", x, 2, .kernel = 4, .stride = 2, .padding = 1)) \
    R(conv_transpose2d, F(1, 4, 3, 2), NONE, \
      tn_conv_transpose2d(m, "l", x, 4, .kernel = 3, .stride = 2, .padding = 1, \
                          .output_padding = 1, .groups = 2)) \
    R(batch_norm1d, F(6, 3), NONE, tn_batch_norm(m, "l", x)) \
    R(batch_norm2d, F(2, 3, 4, 3), NONE, tn_batch_norm(m, "l", x, .momentum = 0.3)) \
    R(batch_norm3d, F(2, 3, 2, 2, 3), NONE, tn_batch_norm(m, "l", x)) \
    R(layer_norm, F(2, 3, 4), NONE, tn_layer_norm(m, "l", x, .axes = 2)) \
    R(rms_norm, F(2, 3, 4), NONE, tn_rms_norm(m, "l", x)) \
    R(group_norm, F(2, 4, 5), NONE, tn_group_norm(m, "l", x, 2)) \
    R(instance_norm, F(2, 3, 4, 3), NONE, tn_instance_norm(m, "l", x, .affine = true)) \
    R(embedding, INDEX(7, 2, 3), NONE, tn_embedding(m, "l", x, 7, 5)) \
    R(attention_self, F(2, 3, 4), NONE, tn_multi_head_attention(m, "l", x, 2)) \
    R(attention_cross, F(1, 3, 4), F(1, 2, 3), \
      tn_multi_head_attention(m, "l", x, 2, .kv_heads = 1, .source = in[1])) \
    R(attention_rotary, F(2, 3, 4), NONE, \
      tn_multi_head_attention(m, "l", x, 2, .causal = true, .rotary = {.theta = 1e4})) \
    R(gru, F(3, 2, 3), NONE, tn_gru(m, "l", x, 2)) \
    R(lstm, F(3, 2, 3), NONE, tn_lstm(m, "l", x, 2)) \
    R(lstm_deep, F(2, 3, 2), NONE, tn_lstm(m, "l", x, 2, .layers = 2, .bidirectional = true, \
                                          .batch_first = true, .dropout = 0.25)) \
    R(rnn, F(3, 2, 3), NONE, rnn(m, x)) \
    R(prelu, F(2, 3, 4), NONE, prelu(m, x)) \
    R(dropout, F(6, 7), NONE, tn_dropout(m, "l", x, 0.3)) \
    R(adaptive_average_pool, F(2, 3, 6, 4), NONE, \
      tn_average_pool(x, .kernels = {3, 2}, .strides = {3, 2})) \
    R(elementwise, F(3, 4), F(4), tn_div(tn_sub(tn_mul(tn_add(x, in[1]), x), in[1]), \
                                         tn_add_scalar(tn_square(in[1]), 1))) \
    R(matmul, F(2, 3, 4), F(2, 4, 3), tn_matmul(x, in[1])) \
    R(softmax_mean, F(4, 3, 2), NONE, tn_mean(tn_softmax(x, 1), TN_AXES(1), false)) \
    R(concat_transpose, F(3, 4, 2), F(3, 1, 2), \
      tn_swap_axes(tn_concat((tn_tensor *[]){x, in[1]}, 2, 1), 1, 2)) \
    R(first_position, F(3, 4, 2), NONE, tn_select(x, 1, 0)) \
    R(moe, F(4, 3), NONE, tn_moe(m, "l", x, 4, .hidden = 3, .top_k = 2, .shared_hidden = 4, \
                                 .sigmoid = true, .balance = 0.01)) \
    R(circular_padding, F(2, 3, 6), NONE, circular(m, x)) \
    R(transformer_block, F(2, 3, 4), NONE, transformer_block(m, x)) \
    R(small_resnet, F(2, 2, 8, 8), NONE, small_resnet(m, x)) \
    R(vmap_inside, F(4, 3), NONE, vmapped(m, x)) \
    R(gradient_inside, F(3, 4), NONE, twice(m, x)) \
    R(branches, F(2, 2), NONE, branches(m, x))
/* clang-format on */
CASES(CASE)
#define ROW(one, in0, in1, ...) {#one, call_##one, {in0, in1, NONE, NONE}},
static const layer_case cases[] = {CASES(ROW)};

/* ---- running one ---------------------------------------------------------------------------- */

static tn_tensor *indices(tn_context *c, int rank, const int64_t *dim, int64_t below) {
    uint64_t seed = 5;
    int64_t count = 1;
    for (int a = 0; a < rank; a++) count *= dim[a];
    int32_t *data = malloc((size_t)count * sizeof *data);
    for (int64_t i = 0; i < count; i++) data[i] = (int32_t)(test_random(&seed) % (uint64_t)below);
    tn_tensor *x = tn_tensor_from(c, TN_i32, rank, dim, data);
    free(data);
    return x;
}

static int make_inputs(tn_context *c, const layer_case *k, tn_tensor **x) {
    int n = 0;
    for (; k->in[n].rank >= 0; n++) {
        int64_t dim[6] = {LAB_MEMBERS};
        int rank = k->in[n].rank + 1;
        memcpy(dim + 1, k->in[n].dim, sizeof k->in[n].dim);
        x[n] = k->in[n].rows ? indices(c, rank, dim, k->in[n].rows)
                             : some_numbers(c, TN_f32, rank, dim, 11 + (uint64_t)n);
    }
    return n;
}

/* What gradients are taken for: inputs, and parameters of the layer, which is a child of its name. */
static int sought(const layer_case *k, const tn_module *m, tn_tensor *const *x, tn_tensor **out) {
    tn_module_item item;
    size_t length = strlen(k->name);
    int n = 0;
    for (int i = 0; k->in[i].rank >= 0; i++)
        if (!k->in[i].rows) out[n++] = x[i];
    for (int i = 0; tn_module_entry(m, i, &item); i++) {
        bool own = strncmp(item.name, k->name, length) == 0 && item.name[length] == '.';
        if (own && item.trainable) out[n++] = item.tensor;
    }
    assert_true(n <= MAX_ITEMS);
    return n;
}

/* Gradients of Σ sin(y), behind the result; how many both are. */
static int results_of(const layer_case *k, tn_module *m, tn_tensor *const *x, tn_tensor **y) {
    tn_tensor *to[MAX_ITEMS];
    y[0] = k->call(tn_module_child(m, "%s", k->name), x);
    int n = sought(k, m, x, to);
    tn_grad(tn_sum(tn_sin(y[0]), TN_ALL_AXES, false), NULL, to, n, y + 1);
    return 1 + n;
}

static void gradients(void *context, tn_module *m, tn_tensor *const *x, tn_tensor **y) {
    results_of(context, m, x, y);
}

/* How many these are: a module is recorded that nothing is evaluated of. */
static int result_count(const layer_case *k, tn_context *c, tn_tensor *const *x) {
    tn_tensor *out[MAX_ITEMS], *one[LAB_INPUTS];
    tn_module *m = lab_module(c, 1);
    tn_scope *scope = tn_scope_open(c);
    for (int i = 0; k->in[i].rank >= 0; i++) one[i] = lab_row(x[i], 0);
    k->call(tn_module_child(m, "%s", k->name), one);
    int n = sought(k, m, x, out);
    tn_scope_close(scope);
    tn_module_release(m);
    return 1 + n;
}

static void check_case(const layer_case *k) {
    lab l = lab_open(TN_COMPILE_INTERPRET);
    tn_scope *scope = tn_scope_open(l.c);
    tn_tensor *x[LAB_INPUTS];
    const char *names[1 + MAX_ITEMS];
    lab_case = k->name;
    for (int i = 0; i <= MAX_ITEMS; i++) names[i] = i ? "a gradient" : "the result";
    tn_population_call call = TN_POPULATION_CALL_INIT;
    call.fn = gradients, call.context = (void *)(uintptr_t)k;
    call.x = x, call.x_count = make_inputs(l.c, k, x);
    call.y_count = result_count(k, l.c, x);
    for (int i = 0; i < 2; i++) lab_compare(&l, call, 1e-6);
    lab_check_isolation(&l, call, names);
    tn_scope_close(scope);
    lab_close(&l);
}

static void test_layers__equal_modules_alone(void **state) {
    (void)state;
    for (size_t i = 0; i < TN_COUNT(cases); i++) check_case(&cases[i]);
}

/* ---- compiled, all of them in one program --------------------------------------------------- */

static void all_layers(void *context, tn_module *m, tn_tensor *const *x, tn_tensor **y) {
    (void)context;
    for (size_t i = 0; i < TN_COUNT(cases); i++) {
        y += results_of(&cases[i], m, x, y);
        for (int k = 0; cases[i].in[k].rank >= 0; k++) x++;
    }
}

static tn_population_call call_of_all(tn_context *c, tn_tensor **x, const char **names) {
    tn_population_call call = TN_POPULATION_CALL_INIT;
    call.fn = all_layers, call.x = x;
    for (size_t i = 0; i < TN_COUNT(cases); i++) {
        int inputs = make_inputs(c, &cases[i], x + call.x_count);
        int results = result_count(&cases[i], c, x + call.x_count);
        for (int k = 0; k < results; k++) names[call.y_count + k] = cases[i].name;
        call.x_count += inputs;
        call.y_count += results;
    }
    return call;
}

static void test_layers__compiled(void **state) {
    static const tn_compile_mode modes[] = {TN_COMPILE_INTERPRET, TN_COMPILE_CC};
    (void)state;
    if (!lab_quick_compiler()) skip();
    lab l[2];
    tn_scope *scope[2];
    tn_population_call call[2];
    tn_tensor *x[2][LAB_INPUTS * TN_COUNT(cases)];
    const char *names[LAB_NUMBERS];
    lab_case = "compiled";
    for (int i = 0; i < 2; i++) {
        l[i] = lab_open(modes[i]);
        scope[i] = tn_scope_open(l[i].c);
        call[i] = call_of_all(l[i].c, x[i], names);
    }
    lab_check_compiled(l, call, names);
    for (int i = 0; i < 2; i++) {
        tn_scope_close(scope[i]);
        lab_close(&l[i]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layers__equal_modules_alone),
        cmocka_unit_test(test_layers__compiled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

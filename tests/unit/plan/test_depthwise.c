/* Depthwise convolutions: the kernels along the channels and along the columns against eval. */
#include "ops/compose.h"
#include "unit/plan/check_plan.h"

enum { OPEN = -1 }; /* a size that is a symbol: N, H, W in the order of the fields */

typedef struct layer {
    const char *name;
    bool last; /* channels */
    int64_t n, c, h, w;
    int64_t window[2], stride[2], dilation[2], lo[2], hi[2];
    enum { CONSTANT, COMPUTED } weights;
    const char *kernel; /* a word of its schedule */
    int64_t symbols[3];
} layer;

#define CHANNELS "shape=depthwise"
#define COLUMNS  "shape=planes"
#define NARROW   "shape=narrow"

static const layer layers[] = {
    {"whole vectors", true, 1, 32, 8, 16, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}, 0, CHANNELS, {0}},
    {"ragged channels",
     true,
     2,
     61,
     5,
     11,
     {3, 3},
     {1, 1},
     {1, 1},
     {1, 1},
     {1, 1},
     0,
     CHANNELS,
     {0}},
    {"stride 2", true, 1, 24, 9, 33, {3, 3}, {2, 2}, {1, 1}, {1, 1}, {1, 1}, 0, CHANNELS, {0}},
    {"large", true, 1, 80, 4, 3300, {3, 3}, {2, 2}, {1, 1}, {1, 1}, {1, 1}, 0, CHANNELS, {0}},
    {"7 by 7", true, 1, 16, 9, 20, {7, 7}, {1, 1}, {1, 1}, {3, 3}, {3, 3}, 0, CHANNELS, {0}},
    {"uneven padding", true, 1, 9, 7, 10, {5, 4}, {2, 1}, {1, 1}, {2, 0}, {1, 3}, 0, CHANNELS, {0}},
    {"negative padding",
     true,
     2,
     8,
     9,
     20,
     {3, 3},
     {1, 2},
     {1, 1},
     {-2, -1},
     {-1, -3},
     0,
     CHANNELS,
     {0}},
    {"dilation", true, 1, 17, 12, 40, {3, 3}, {1, 1}, {3, 5}, {3, 5}, {3, 5}, 0, CHANNELS, {0}},
    {"padding beyond x",
     true,
     1,
     8,
     2,
     3,
     {3, 3},
     {1, 1},
     {1, 1},
     {6, 7},
     {5, 9},
     0,
     CHANNELS,
     {0}},
    {"wide window", true, 1, 8, 2, 50, {1, 21}, {1, 1}, {1, 1}, {0, 10}, {0, 10}, 0, CHANNELS, {0}},
    {"one column", true, 3, 20, 6, 1, {3, 1}, {1, 1}, {1, 1}, {1, 0}, {1, 0}, 0, CHANNELS, {0}},
    {"computed weights",
     true,
     2,
     37,
     6,
     9,
     {3, 3},
     {1, 1},
     {1, 1},
     {1, 1},
     {1, 1},
     COMPUTED,
     CHANNELS,
     {0}},
    {"open batch", true, OPEN, 24, 6, 18, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}, 0, CHANNELS, {3}},
    {"open sizes",
     true,
     OPEN,
     24,
     OPEN,
     OPEN,
     {3, 3},
     {2, 1},
     {1, 2},
     {1, 2},
     {1, 2},
     0,
     CHANNELS,
     {2, 7, 19}},
    {"open, smaller than the window",
     true,
     OPEN,
     8,
     OPEN,
     OPEN,
     {3, 5},
     {1, 1},
     {1, 1},
     {1, 2},
     {1, 2},
     0,
     CHANNELS,
     {1, 1, 2}},
    {"planes", false, 2, 9, 20, 30, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}, 0, COLUMNS, {0}},
    {"planes of whole vectors",
     false,
     1,
     8,
     16,
     64,
     {3, 3},
     {1, 1},
     {1, 1},
     {1, 1},
     {1, 1},
     0,
     COLUMNS,
     {0}},
    {"planes, stride 2",
     false,
     1,
     8,
     31,
     45,
     {3, 3},
     {2, 2},
     {1, 1},
     {1, 1},
     {1, 1},
     0,
     COLUMNS,
     {0}},
    {"planes, stride 3",
     false,
     1,
     8,
     20,
     61,
     {2, 4},
     {3, 3},
     {1, 1},
     {0, 1},
     {1, 2},
     0,
     COLUMNS,
     {0}},
    {"planes in blocks of rows",
     false,
     1,
     8,
     90,
     100,
     {3, 3},
     {1, 1},
     {1, 1},
     {1, 1},
     {1, 1},
     0,
     COLUMNS,
     {0}},
    {"planes, 7 by 7",
     false,
     1,
     8,
     13,
     17,
     {7, 7},
     {1, 1},
     {1, 1},
     {3, 3},
     {3, 3},
     0,
     COLUMNS,
     {0}},
    {"planes, dilation",
     false,
     1,
     8,
     14,
     40,
     {3, 3},
     {1, 1},
     {2, 4},
     {2, 4},
     {2, 4},
     0,
     COLUMNS,
     {0}},
    {"planes, negative padding",
     false,
     1,
     8,
     11,
     40,
     {3, 3},
     {1, 2},
     {1, 1},
     {-2, -3},
     {1, -2},
     0,
     COLUMNS,
     {0}},
    {"planes, padding beyond x",
     false,
     1,
     8,
     2,
     3,
     {3, 3},
     {1, 1},
     {1, 1},
     {6, 9},
     {5, 9},
     0,
     COLUMNS,
     {0}},
    {"planes, computed weights",
     false,
     1,
     10,
     12,
     20,
     {3, 3},
     {1, 1},
     {1, 1},
     {1, 1},
     {1, 1},
     COMPUTED,
     COLUMNS,
     {0}},
    {"planes, wide window",
     false,
     1,
     8,
     3,
     80,
     {2, 40},
     {1, 1},
     {1, 1},
     {1, 20},
     {0, 20},
     0,
     COLUMNS,
     {0}},
    {"planes, open sizes",
     false,
     OPEN,
     8,
     OPEN,
     OPEN,
     {3, 3},
     {1, 2},
     {1, 1},
     {1, 1},
     {1, 1},
     0,
     COLUMNS,
     {2, 9, 35}},
    {"narrow planes", false, 2, 16, 7, 7, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}, 0, NARROW, {0}},
    {"narrow planes, one image",
     false,
     1,
     19,
     7,
     7,
     {3, 3},
     {1, 1},
     {1, 1},
     {1, 1},
     {1, 1},
     0,
     NARROW,
     {0}},
    {"narrow planes, stride 2",
     false,
     2,
     40,
     14,
     14,
     {3, 3},
     {2, 2},
     {1, 1},
     {1, 1},
     {1, 1},
     0,
     NARROW,
     {0}},
    {"narrow planes in blocks of rows",
     false,
     1,
     8,
     150,
     9,
     {3, 3},
     {1, 2},
     {1, 1},
     {1, 1},
     {1, 1},
     0,
     NARROW,
     {0}},
    {"narrow planes, dilation",
     false,
     1,
     21,
     9,
     8,
     {3, 2},
     {1, 1},
     {2, 3},
     {3, 0},
     {1, 2},
     0,
     NARROW,
     {0}},
    {"narrow planes, negative padding",
     false,
     2,
     9,
     12,
     13,
     {3, 3},
     {1, 2},
     {1, 1},
     {-2, -1},
     {1, -2},
     COMPUTED,
     NARROW,
     {0}},
    {"narrow planes, padding beyond x",
     false,
     1,
     8,
     2,
     3,
     {3, 3},
     {1, 1},
     {1, 1},
     {6, 3},
     {5, 4},
     0,
     NARROW,
     {0}},
    {"narrow planes, wide window",
     false,
     1,
     33,
     3,
     24,
     {2, 20},
     {1, 1},
     {1, 1},
     {1, 2},
     {0, 1},
     0,
     NARROW,
     {0}},
    {"narrow planes, open rows",
     false,
     OPEN,
     24,
     OPEN,
     7,
     {3, 3},
     {2, 1},
     {1, 1},
     {1, 1},
     {1, 1},
     0,
     NARROW,
     {3, 9}},
};

static tn_value weights(tn_builder *b, int rank, const int64_t *dim, uint64_t seed) {
    tn_array a = tn_array_new(b->graph->arena, TN_f32, rank, dim);
    fill_random(&a, seed);
    return tn_b_constant(b, &a);
}

static tn_dim size_of(tn_builder *b, int64_t size, const char *symbol) {
    return size == OPEN ? tn_dim_of_symbol(b->graph->dims, symbol) : size;
}

static const layer *current; /* of build_layer() */

static tn_value layer_input(tn_builder *b, const layer *l) {
    tn_dim n = size_of(b, l->n, "N"), h = size_of(b, l->h, "H"), w = size_of(b, l->w, "W");
    tn_shape first = {4, {n, l->c, h, w}}, last = {4, {n, h, w, l->c}};
    return tn_b_input(b, "x", TN_f32, l->last ? &last : &first);
}

static tn_value layer_weights(tn_builder *b, const layer *l) {
    tn_shape shape = {4, {l->c, 1, l->window[0], l->window[1]}};
    if (l->weights == COMPUTED) return tn_b_input(b, "w", TN_f32, &shape);
    return weights(b, 4, shape.dim, 3);
}

/* min(max(conv(x) + bias + residual, 0), 6), in the layout of x. */
static void build_layer(tn_builder *b) {
    const layer *l = current;
    tn_conv_options o = {.groups = l->c};
    for (int i = 0; i < 2; i++) {
        o.stride[i] = l->stride[i];
        o.dilation[i] = l->dilation[i];
        o.pad_lo[i] = l->lo[i];
        o.pad_hi[i] = l->hi[i];
    }
    tn_value x = layer_input(b, l), w = layer_weights(b, l), bias = weights(b, 1, &l->c, 5);
    if (l->last) x = tn_b_permute(b, x, (int[]){0, 3, 1, 2});
    tn_value y = tn_b_conv(b, x, w, bias, &o);
    if (l->last) y = tn_b_permute(b, y, (int[]){0, 2, 3, 1});
    if (y == TN_NO_VALUE) return;
    const tn_type type = tn_b_type(b, y);
    y = tn_b_add(b, y, tn_b_input(b, "r", TN_f32, &type.shape));
    y = tn_b_min(b, tn_b_max(b, y, tn_b_scalar(b, TN_f32, 0)), tn_b_scalar(b, TN_f32, 6));
    tn_graph_add_output(b->graph, y, "y");
}

static plan_case *layer_case(tn_arena *arena, const layer *l) {
    current = l;
    return plan_case_of(arena, build_layer, l->symbols[0] ? l->symbols : NULL, l->name);
}

static void check_kernel(plan_case *c, const char *word) {
    tn_program p;
    if (!plan_program_of(c, PLAN_FUSED, tn_target_native(), &p)) fail_msg("%s", c->why);
    for (uint32_t i = 0; i < p.kernels.len; i++)
        if (p.kernels.data[i]->note && strstr(p.kernels.data[i]->note, word)) return;
    fail_msg("%s: no kernel with %s", c->label, word);
}

/* So large that rows are asked for ahead: compiled alone, since the interpreter would take seconds. */
static bool is_large(const layer *l) {
    return l->c * l->h * l->w >= 1 << 20;
}

static void test_depthwise__interpreted(void **state) {
    (void)state;
    for (size_t i = 0; i < TN_COUNT(layers); i++) {
        tn_arena arena;
        tn_arena_init(&arena, tn_allocator_system());
        plan_case *c = layer_case(&arena, &layers[i]);
        check_kernel(c, layers[i].kernel);
        if (!is_large(&layers[i]) && !plan_interpret(c)) fail_msg("%s", c->why);
        tn_arena_deinit(&arena);
    }
}

static void test_depthwise__compiled(void **state) {
    (void)state;
    if (!plan_has_compiler()) skip();
    tn_arena arena;
    const char *why = NULL;
    plan_case *all[TN_COUNT(layers)];
    tn_arena_init(&arena, tn_allocator_system());
    for (size_t i = 0; i < TN_COUNT(layers); i++) all[i] = layer_case(&arena, &layers[i]);
    if (!plan_compile(all, TN_COUNT(all), &arena, &why)) fail_msg("%s", why);
    tn_arena_deinit(&arena);
}

/* ---- what else goes into such a kernel ------------------------------------------------------ */

/* x with NaN and infinities, which no window but those around them may see. */
static tn_value hostile(tn_builder *b, const int64_t *dim) {
    tn_array a = tn_array_new(b->graph->arena, TN_f32, 4, dim);
    int64_t count = tn_array_count(&a);
    for (int64_t i = 0; i < count; i++) tn_array_set(&a, i, tn_cell_of(TN_f32, 0));
    tn_array_set(&a, 0, tn_cell_of(TN_f32, NAN));
    tn_array_set(&a, count / 2, tn_cell_of(TN_f32, INFINITY));
    tn_array_set(&a, count - 1, tn_cell_of(TN_f32, -INFINITY));
    tn_shape s = {4, {dim[0], dim[1], dim[2], dim[3]}};
    return tn_b_add(b, tn_b_input(b, "x", TN_f32, &s), tn_b_constant(b, &a));
}

static tn_value plain(tn_builder *b, tn_value x, int64_t channels, int64_t window) {
    tn_conv_options o = {.groups = channels};
    for (int i = 0; i < 2; i++) o.pad_lo[i] = o.pad_hi[i] = window / 2;
    return tn_b_conv(b, x, weights(b, 4, (int64_t[]){channels, 1, window, window}, 4), TN_NO_VALUE,
                     &o);
}

static void hostile_planes(tn_builder *b) {
    tn_value y = plain(b, hostile(b, (int64_t[]){1, 8, 14, 20}), 8, 3);
    if (y != TN_NO_VALUE) tn_graph_add_output(b->graph, y, "y");
}

static void hostile_narrow(tn_builder *b) {
    tn_value y = plain(b, hostile(b, (int64_t[]){2, 20, 13, 9}), 20, 3);
    if (y != TN_NO_VALUE) tn_graph_add_output(b->graph, y, "y");
}

static void hostile_channels(tn_builder *b) {
    tn_value x = tn_b_permute(b, hostile(b, (int64_t[]){1, 9, 14, 24}), (int[]){0, 3, 1, 2});
    tn_value y = tn_b_permute(b, plain(b, x, 24, 5), (int[]){0, 2, 3, 1});
    if (y != TN_NO_VALUE) tn_graph_add_output(b->graph, y, "y");
}

/* Pointwise work before a 1×1 window goes into the kernel. */
static void scaled(tn_builder *b) {
    tn_shape s = {4, {2, 6, 10, 40}};
    tn_value x = tn_b_tanh(b, tn_b_input(b, "x", TN_f32, &s));
    x = tn_b_permute(b, x, (int[]){0, 3, 1, 2});
    tn_value y = tn_b_permute(b, plain(b, x, 40, 1), (int[]){0, 2, 3, 1});
    if (y != TN_NO_VALUE) tn_graph_add_output(b->graph, y, "y");
}

static void along(tn_builder *b, int spatial, bool last) {
    tn_shape s = {.rank = spatial + 2, .dim = {2, 12, 18, 5, 16}};
    int to_first[] = {0, spatial + 1, 1, 2, 3}, to_last[] = {0, 2, 3, 4, 1};
    to_last[spatial + 1] = 1;
    int64_t window[] = {16, 1, 3, 2, 4}, channels = 16;
    for (int i = 0; !last && i < spatial; i++) s.dim[2 + i] = 14 + i;
    s.dim[last ? spatial + 1 : 1] = channels;
    tn_conv_options o = {.groups = channels, .pad_lo = {1, 1, 2}, .pad_hi = {0, 1, 1}};
    tn_value x = tn_b_input(b, "x", TN_f32, &s);
    if (last) x = tn_b_permute(b, x, to_first);
    tn_value y = tn_b_conv(b, x, weights(b, spatial + 2, window, 4), TN_NO_VALUE, &o);
    if (last) y = tn_b_permute(b, y, to_last);
    if (y != TN_NO_VALUE) tn_graph_add_output(b->graph, y, "y");
}

static void line_narrow(tn_builder *b) {
    tn_shape s = {3, {3, 20, 9}};
    tn_conv_options o = {.groups = 20, .pad_lo = {2}, .pad_hi = {1}};
    tn_value w = weights(b, 3, (int64_t[]){20, 1, 4}, 4);
    tn_value y = tn_b_conv(b, tn_b_input(b, "x", TN_f32, &s), w, TN_NO_VALUE, &o);
    if (y != TN_NO_VALUE) tn_graph_add_output(b->graph, y, "y");
}
static void volume_narrow(tn_builder *b) {
    tn_shape s = {5, {1, 18, 4, 6, 7}};
    tn_conv_options o = {.groups = 18, .pad_lo = {1, 1, 1}, .pad_hi = {1, 0, 1}};
    tn_value w = weights(b, 5, (int64_t[]){18, 1, 3, 2, 3}, 4);
    tn_value y = tn_b_conv(b, tn_b_input(b, "x", TN_f32, &s), w, TN_NO_VALUE, &o);
    if (y != TN_NO_VALUE) tn_graph_add_output(b->graph, y, "y");
}
static void line_first(tn_builder *b) {
    along(b, 1, false);
}
static void line_last(tn_builder *b) {
    along(b, 1, true);
}
static void volume_first(tn_builder *b) {
    along(b, 3, false);
}
static void volume_last(tn_builder *b) {
    along(b, 3, true);
}

/* Two of them, expansion and projection around: an inverted residual block. */
static void block(tn_builder *b) {
    tn_shape s = {4, {1, 9, 10, 16}};
    tn_conv_options none = {0};
    tn_value in = tn_b_input(b, "x", TN_f32, &s);
    tn_value x = tn_b_permute(b, in, (int[]){0, 3, 1, 2});
    x = tn_b_conv(b, x, weights(b, 4, (int64_t[]){48, 16, 1, 1}, 1), TN_NO_VALUE, &none);
    x = plain(b, tn_b_max(b, x, tn_b_scalar(b, TN_f32, 0)), 48, 3);
    x = plain(b, tn_b_max(b, x, tn_b_scalar(b, TN_f32, 0)), 48, 5);
    x = tn_b_conv(b, x, weights(b, 4, (int64_t[]){16, 48, 1, 1}, 2), TN_NO_VALUE, &none);
    x = tn_b_add(b, tn_b_permute(b, x, (int[]){0, 2, 3, 1}), in);
    if (x != TN_NO_VALUE) tn_graph_add_output(b->graph, x, "y");
}

static const struct {
    build_graph *build;
    const char *name;
} others[] = {
    {hostile_planes, "NaN and infinities in planes"},
    {hostile_narrow, "NaN and infinities in narrow planes"},
    {hostile_channels, "NaN and infinities in channels"},
    {scaled, "scaled"},
    {line_narrow, "along a short line"},
    {line_first, "along a line"},
    {line_last, "along a line, channels last"},
    {volume_first, "in space"},
    {volume_narrow, "in a small space"},
    {volume_last, "in space, channels last"},
    {block, "inverted residual"},
};

static void test_depthwise__in_graphs(void **state) {
    (void)state;
    tn_arena arena;
    const char *why = NULL;
    plan_case *all[TN_COUNT(others)];
    tn_arena_init(&arena, tn_allocator_system());
    for (size_t i = 0; i < TN_COUNT(others); i++) {
        all[i] = plan_case_of(&arena, others[i].build, NULL, others[i].name);
        if (!plan_interpret(all[i])) fail_msg("%s", all[i]->why);
    }
    if (plan_has_compiler() && !plan_compile(all, TN_COUNT(all), &arena, &why)) fail_msg("%s", why);
    tn_arena_deinit(&arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_depthwise__interpreted),
        cmocka_unit_test(test_depthwise__compiled),
        cmocka_unit_test(test_depthwise__in_graphs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Folds over windows: the kernels along the columns and behind them against eval. */
#include "ops/compose.h"
#include "unit/plan/plan_list.h"

enum { OPEN = -1, AXES = 4 }; /* a size that is a symbol: N, A, B, C in the order of the axes */

#define LINE   "shape=windows" /* a line in scratch */
#define DIRECT "block=0"       /* none */

typedef struct fold {
    const char *name;
    int64_t x[AXES], window[AXES], stride[AXES], dilation[AXES], lo[AXES],
        hi[AXES]; /* 0: default */
    tn_reduce_kind kind;
    tn_dtype dtype;
    const char *note; /* of its kernel */
    int64_t symbols[AXES];
    bool hostile; /* x has NaN and infinities, which only the windows around them see */
    int turned;   /* 1: the result's axes in another order; 2: flat */
} fold;

#define MAX   .kind = TN_REDUCE_max, .dtype = TN_f32
#define SUM   .kind = TN_REDUCE_sum, .dtype = TN_f32
#define WHERE .kind = TN_REDUCE_argmax, .dtype = TN_f32

static const fold folds[] = {
    {"3 by 3, stride 2",
     {2, 3, 11, 70},
     {1, 1, 3, 3},
     {1, 1, 2, 2},
     {0},
     {0, 0, 1, 1},
     {0, 0, 1, 1},
     MAX,
     .note = LINE,
     .hostile = true},
    {"wide and dilated",
     {1, 2, 5, 90},
     {1, 1, 1, 40},
     {0},
     {1, 1, 1, 2},
     {0, 0, 0, 30},
     {0, 0, 0, 39},
     MAX,
     .note = LINE},
    {"a line in blocks",
     {1, 1, 2, 9001},
     {1, 1, 1, 5},
     {1, 1, 1, 3},
     {0},
     {0, 0, 0, 2},
     {0, 0, 0, 3},
     MAX,
     .note = LINE},
    {"padding beyond x, and negative",
     {1, 2, 2, 30},
     {1, 1, 3, 3},
     {1, 1, 1, 2},
     {0},
     {0, 0, 4, -1},
     {0, 0, 3, 9},
     SUM,
     .note = LINE,
     .turned = 1},
    {"over images",
     {3, 4, 2, 33},
     {2, 3, 1, 2},
     {0},
     {0},
     {1, 1, 0, 1},
     {0, 1, 0, 0},
     SUM,
     .note = LINE},
    {"no images", {0, 2, 5, 40}, {1, 1, 3, 3}, {1, 1, 2, 2}, {0}, {0, 0, 1, 1}, {0, 0, 1, 1}, MAX},
    {"no columns of x", {1, 2, 3, 0}, {1, 1, 2, 4}, {0}, {0}, {0, 0, 1, 20}, {0, 0, 1, 20}, MAX},
    {"open",
     {OPEN, 2, OPEN, OPEN},
     {1, 1, 3, 3},
     {1, 1, 2, 2},
     {0},
     {0, 0, 1, 1},
     {0, 0, 1, 1},
     MAX,
     .note = LINE,
     .symbols = {2, 7, 45}},
    {"open, smaller than the window",
     {OPEN, 2, OPEN, OPEN},
     {1, 1, 3, 5},
     {0},
     {0},
     {0, 0, 1, 2},
     {0, 0, 1, 2},
     SUM,
     .note = LINE,
     .symbols = {1, 1, 1}},
    {"positions",
     {1, 2, 7, 38},
     {1, 1, 3, 3},
     {1, 1, 2, 2},
     {0},
     {0, 0, 1, 1},
     {0, 0, 1, 1},
     WHERE,
     .note = LINE,
     .hostile = true},
    {"positions, channels last",
     {2, 7, 9, 35},
     {1, 3, 3, 1},
     {1, 2, 2, 1},
     {0},
     {0, 1, 1, 0},
     {0, 1, 1, 0},
     WHERE,
     .note = DIRECT},
    {"bytes",
     {1, 2, 9, 70},
     {1, 1, 3, 3},
     {1, 1, 2, 2},
     {0},
     {0, 0, 1, 1},
     {0, 0, 1, 1},
     .kind = TN_REDUCE_min,
     .dtype = TN_i8,
     .note = LINE},
    {"flags",
     {1, 2, 9, 40},
     {1, 1, 3, 3},
     {0},
     {0},
     {0, 0, 1, 1},
     {0, 0, 1, 1},
     .kind = TN_REDUCE_or,
     .dtype = TN_bool,
     .note = LINE},
    {"bf16",
     {1, 2, 9, 40},
     {1, 1, 2, 3},
     {1, 1, 1, 2},
     {0},
     {0, 0, 1, 1},
     {0, 0, 1, 1},
     .kind = TN_REDUCE_max,
     .dtype = TN_bf16,
     .note = LINE},
    {"channels last, stride 2",
     {2, 9, 11, 37},
     {1, 3, 3, 1},
     {1, 2, 2, 1},
     {0},
     {0, 1, 1, 0},
     {0, 1, 1, 0},
     MAX,
     .note = DIRECT,
     .hostile = true},
    {"channels last, stride 1, in blocks",
     {1, 3, 200, 70},
     {1, 5, 5, 1},
     {0},
     {0},
     {0, 2, 2, 0},
     {0, 2, 2, 0},
     MAX,
     .note = LINE,
     .hostile = true},
    {"channels last, dilated",
     {1, 12, 14, 20},
     {1, 3, 3, 1},
     {0},
     {1, 2, 3, 1},
     {0, 3, 1, 0},
     {0, 1, 4, 0},
     SUM,
     .turned = 1},
    {"channels last, flat",
     {1, 6, 8, 16},
     {1, 2, 2, 1},
     {1, 2, 2, 1},
     {0},
     {0},
     {0},
     MAX,
     .turned = 2},
    {"channels last, open",
     {OPEN, OPEN, OPEN, 24},
     {1, 3, 3, 1},
     {0},
     {0},
     {0, 1, 1, 0},
     {0, 1, 1, 0},
     MAX,
     .note = LINE,
     .symbols = {2, 5, 7}},
};

static const fold *current; /* of build_fold() */

static tn_value fold_input(tn_builder *b, const fold *f) {
    static const char *const names[] = {"N", "A", "B", "C"};
    tn_shape shape = {.rank = AXES};
    for (int i = 0; i < AXES; i++)
        shape.dim[i] = f->x[i] == OPEN ? tn_dim_of_symbol(b->graph->dims, names[i]) : f->x[i];
    tn_value x = tn_b_input(b, "x", f->dtype, &shape);
    if (!f->hostile) return x;
    tn_array a = tn_array_new(b->graph->arena, TN_f32, AXES, f->x);
    int64_t count = tn_array_count(&a);
    for (int64_t i = 0; i < count; i++) tn_array_set(&a, i, tn_cell_of(TN_f32, 0));
    tn_array_set(&a, 0, tn_cell_of(TN_f32, NAN));
    tn_array_set(&a, count / 2, tn_cell_of(TN_f32, INFINITY));
    tn_array_set(&a, count / 3, tn_cell_of(TN_f32, -INFINITY));
    tn_array_set(&a, count - 1, tn_cell_of(TN_f32, -NAN));
    return tn_b_add(b, x, tn_b_constant(b, &a));
}

/* Pointwise work before the fold and behind it, where the type has some. */
static void build_fold(tn_builder *b) {
    const fold *f = current;
    tn_attrs_window_reduce a = {.kind = f->kind, .acc = f->dtype};
    a.window.count = a.stride.count = a.dilation.count = a.pad_lo.count = a.pad_hi.count = AXES;
    for (int i = 0; i < AXES; i++) {
        a.window.at[i] = TN_MAX(1, f->window[i]);
        a.stride.at[i] = TN_MAX(1, f->stride[i]);
        a.dilation.at[i] = TN_MAX(1, f->dilation[i]);
        a.pad_lo.at[i] = f->lo[i];
        a.pad_hi.at[i] = f->hi[i];
    }
    tn_value x = fold_input(b, f);
    tn_value y = tn_b_node(b, TN_OP_window_reduce, &x, 1, &a);
    if (f->turned == 1) y = tn_b_permute(b, y, (int[]){0, 2, 1, 3});
    if (f->turned == 2) y = tn_b_reshape_to(b, y, 2, (tn_dim[]){3 * 4, 16});
    if (tn_dtype_is_float(tn_b_type(b, y).dtype) && !f->turned) {
        const tn_type type = tn_b_type(b, y);
        y = tn_b_add(b, y, tn_b_input(b, "r", type.dtype, &type.shape));
    }
    if (y != TN_NO_VALUE) tn_graph_add_output(b->graph, y, "y");
}

static plan_case *make_fold(tn_arena *arena, size_t i, const char **note) {
    const fold *f = current = &folds[i];
    *note = f->note;
    return plan_case_of(arena, build_fold, f->symbols[0] ? f->symbols : NULL, f->name);
}

static void test_windows__interpreted(void **state) {
    (void)state;
    plan_list_interpret(make_fold, TN_COUNT(folds));
}

static void test_windows__compiled(void **state) {
    (void)state;
    plan_list_compile(make_fold, TN_COUNT(folds));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_windows__interpreted),
        cmocka_unit_test(test_windows__compiled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

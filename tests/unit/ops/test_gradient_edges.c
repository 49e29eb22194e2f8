/* Gradients where there is none in the strict sense: ties, zeros, infinities, and values that a
 * select does not take. Expected is what PyTorch gives, where it has the operation. */
#include "unit/test.h"

#include "ops/gradient.h"
#include "unit/graph_test.h"

enum { MAX_X = 8, MAX_XS = 3 };

typedef struct edge {
    const char *name, *graph;   /* one output, f64 inputs in order */
    double x[MAX_XS][MAX_X];    /* the inputs */
    double want[MAX_XS][MAX_X]; /* gradients of the sum of the output */
} edge;

static const edge edges[] = {
    {"ties of two share",
     "graph { %x = input : f64[3] %y = input : f64[3] %z = max %x %y output %z }",
     {{1, 2, 3}, {1, 3, 2}},
     {{.5, 0, 1}, {.5, 1, 0}}},
    {"ties of two share, the least",
     "graph { %x = input : f64[3] %y = input : f64[3] %z = min %x %y output %z }",
     {{1, 2, 3}, {1, 3, 2}},
     {{.5, 1, 0}, {.5, 0, 1}}},
    {"all extremes share",
     "graph { %x = input : f64[4] %z = reduce %x {kind=max axes=[0] acc=f64} output %z }",
     {{7, 1, 7, 7}},
     {{1. / 3, 0, 1. / 3, 1. / 3}}},
    {"all least share",
     "graph { %x = input : f64[2,2] %z = reduce %x {kind=min axes=[0,1] acc=f64} output %z }",
     {{2, 2, 5, 9}},
     {{.5, .5, 0, 0}}},
    {"the first of a window wins",
     "graph { %x = input : f64[4] %z = window_reduce %x {kind=max window=[2] stride=[2] "
     "dilation=[1] pad_lo=[0] pad_hi=[0] acc=f64} output %z }",
     {{3, 3, 1, 2}},
     {{1, 0, 0, 1}}},
    {"the first NaN of a window wins",
     "graph { %x = input : f64[4] %z = window_reduce %x {kind=max window=[4] stride=[1] "
     "dilation=[1] pad_lo=[0] pad_hi=[0] acc=f64} output %z }",
     {{9, NAN, 1, NAN}},
     {{0, 1, 0, 0}}},
    {"padding never wins",
     "graph { %x = input : f64[4] %z = window_reduce %x {kind=max window=[3] stride=[2] "
     "dilation=[1] pad_lo=[2] pad_hi=[3] acc=f64} output %z }",
     {{-INFINITY, -INFINITY, -INFINITY, NAN}},
     {{2, 0, 0, 1}}},
    {"padding never wins, the least",
     "graph { %x = input : f64[3] %z = window_reduce %x {kind=min window=[2] stride=[2] "
     "dilation=[2] pad_lo=[1] pad_hi=[2] acc=f64} output %z }",
     {{5, INFINITY, 7}},
     {{0, 2, 0}}},
    {"the last of a run wins",
     "graph { %x = input : f64[4] %z = cumulative %x {kind=max axis=0} output %z }",
     {{1, 1, 0, 1}},
     {{1, 2, 0, 1}}},
    {"the last of a run wins, backwards",
     "graph { %x = input : f64[3] %z = cumulative %x {kind=min axis=0 reverse=true} output %z }",
     {{1, 2, 1}},
     {{1, 0, 2}}},
    {"the best of scattered share",
     "graph { %x = input : f64[2] %u = input : f64[3] %i = constant {data=[0,0,1]} : i64[3,1] "
     "%z = scatter %x %i %u {axes=[0] mode=fill combine=max} output %z }",
     {{4, 1}, {4, 4, 5}},
     {{1. / 3, 0}, {1. / 3, 1. / 3, 1}}},
    {"the last of scattered stays",
     "graph { %x = input : f64[2] %u = input : f64[3] %i = constant {data=[0,0,1]} : i64[3,1] "
     "%z = scatter %x %i %u {axes=[0] mode=fill combine=set} output %z }",
     {{4, 1}, {4, 4, 5}},
     {{0, 0}, {0, 1, 1}}},
    {"flat at the kink",
     "graph { %x = input : f64[2] %a = abs %x : f64[2] %s = sign %x : f64[2] %z = add %a %s output "
     "%z }",
     {{0, -0.0}},
     {{0, 0}}},
    {"roots at 0",
     "graph { %x = input : f64[2] %z = sqrt %x output %z }",
     {{0, 4}},
     {{INFINITY, .25}}},
    {"logarithm at 0", "graph { %x = input : f64[1] %z = log %x output %z }", {{0}}, {{INFINITY}}},
    {"powers at 0",
     "graph { %x = input : f64[5] %y = input : f64[5] %z = pow %x %y output %z }",
     {{0, 0, 0, 0, 2}, {0, 1, 2, .5, 0}},
     {{0, 1, 0, INFINITY, 0}, {0, 0, 0, 0, 0.6931471805599453}}},
    {"negative powers at 0",
     "graph { %x = input : f64[1] %y = input : f64[1] %z = pow %x %y output %z }",
     {{0}, {-1}},
     {{-INFINITY}, {-INFINITY}}},
    {"powers of negative numbers",
     "graph { %x = input : f64[2] %y = constant {data=[2,3]} : f64[2] %z = pow %x %y output %z }",
     {{-3, -2}},
     {{-6, 12}}},
    {"products without one of the zeros",
     "graph { %x = input : f64[2,3] %z = reduce %x {kind=prod axes=[1] acc=f64} output %z }",
     {{0, 2, 3, 0, 0, 5}},
     {{6, 0, 0, 0, 0, 0}}},
    {"a select does not protect from what it does not take",
     "graph { %x = input : f64[2] %o = constant {data=all 0} : f64[2] %r = sqrt %x : f64[2] "
     "%f = gt %x %o : bool[2] %z = select %f %r %o output %z }",
     {{0, 4}},
     {{NAN, .25}}},
    {"a select before it does",
     "graph { %x = input : f64[2] %o = constant {data=all 0} : f64[2] "
     "%i = constant {data=all 1} : f64[2] %f = gt %x %o : bool[2] %s = select %f %x %i : f64[2] "
     "%r = sqrt %s : f64[2] %z = select %f %r %o output %z }",
     {{0, 4}},
     {{0, .25}}},
    {"nothing flows through a stop",
     "graph { %x = input : f64[2] %s = barrier %x {stop=true} %z = mul %x %s output %z }",
     {{3, 5}},
     {{3, 5}}},
    {"a short float and back",
     "graph { %x = input : f64[2] %s = cast %x : f32[2] %b = cast %s : bf16[2] "
     "%z = cast %b : f64[2] output %z }",
     {{3, 5}},
     {{1, 1}}},
    {"not through integers",
     "graph { %x = input : f64[2] %i = cast %x : i32[2] %y = cast %i : f64[2] %z = add %x %y "
     "output %z }",
     {{3, 5}},
     {{1, 1}}},
};

static bool agrees(double have, double want) {
    if (isnan(want)) return isnan(have);
    return have == want || fabs(have - want) <= 1e-15 * fabs(want);
}

static void check_numbers(const edge *e, int which, const tn_array *have) {
    for (int64_t k = 0; k < tn_array_count(have); k++) {
        double found = tn_array_get(have, k).f, want = e->want[which][k];
        if (!agrees(found, want))
            fail_msg("%s: operand %d, element %lld: %.17g, expected %.17g", e->name, which,
                     (long long)k, found, want);
    }
}

static void test_gradient__at_an_edge(void **state) {
    const edge *e = *state;
    graph_test t;
    tn_array in[MAX_XS], have[MAX_XS];
    tn_value x[MAX_XS], grads[MAX_XS];
    graph_test_init(&t);
    tn_graph *g = graph_of(&t, e->graph);
    int count = (int)g->inputs.len;
    for (int i = 0; i < count; i++) {
        const tn_type *type = tn_graph_type(g, x[i] = g->inputs.data[i]);
        in[i] = tn_array_new(&t.arena, TN_f64, type->shape.rank, type->shape.dim);
        memcpy(in[i].data, e->x[i], tn_array_bytes(&in[i]));
    }
    tn_builder b = tn_builder_of(g, &t.err);
    tn_b_gradient(&b, g->outputs.data[0].value, TN_NO_VALUE, x, count, grads);
    must(&t, b.status);
    g->outputs.len = 0;
    for (int i = 0; i < count; i++) tn_graph_add_output(g, grads[i], NULL);
    must(&t, tn_eval_graph(g, in, NULL, have, &t.arena, &t.err));
    for (int i = 0; i < count; i++) check_numbers(e, i, &have[i]);
    graph_test_deinit(&t);
}

/* Without a static number of iterations there is no way back, and the message says what helps. */
static void test_gradient__of_an_open_while(void **state) {
    (void)state;
    graph_test t;
    tn_value grad;
    char text[2048];
    graph_test_init(&t);
    tn_graph *g =
        graph_of(&t, "graph { %i = input : i64[] %x = input : f64[] "
                     "%j, %y = while %i %x {states=2 cond=graph { "
                     "  %i = input : i64[] %x = input : f64[] "
                     "  %n = constant {data=[9]} : i64[] %f = lt %i %n output %f "
                     "} body=graph { "
                     "  %i = input : i64[] %x = input : f64[] "
                     "  %o = constant {data=[1]} : i64[] %j = add %i %o : i64[] %y = sin %x "
                     "  output %j output %y "
                     "}} output %y }");
    tn_builder b = tn_builder_of(g, &t.err);
    tn_b_gradient(&b, g->outputs.data[0].value, TN_NO_VALUE, &g->inputs.data[1], 1, &grad);
    assert_int_equal(b.status, TN_UNSUPPORTED);
    tn_error_format(&t.err, text, sizeof text);
    assert_non_null(strstr(text, "a counter that starts at a constant"));
    graph_test_deinit(&t);
}

int main(void) {
    struct CMUnitTest tests[TN_COUNT(edges) + 1];
    size_t count = TN_COUNT(edges);
    for (size_t i = 0; i < count; i++)
        tests[i] = (struct CMUnitTest){edges[i].name, test_gradient__at_an_edge, NULL, NULL,
                                       (void *)(uintptr_t)&edges[i]};
    tests[count++] = (struct CMUnitTest)cmocka_unit_test(test_gradient__of_an_open_while);
    return _cmocka_run_group_tests("gradient edges", tests, count, NULL, NULL);
}

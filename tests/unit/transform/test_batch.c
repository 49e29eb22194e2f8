/* Batching of whole graphs: where members come in and out, what is told about it, and refusals. That every
 * operation computes what its members do alone: test_batch_operations.c. */
#include "unit/transform/batch_lab.h"

#include "transform/batch_axis.h"

static const char *const LAYERS = "graph {\n"
                                  "  %x = input : f32[2,3]\n"
                                  "  %w = input : f32[3,4]\n"
                                  "  %v = input : f32[4,2]\n"
                                  "  %h0 = dot %x %w {lhs_contract=[1] rhs_contract=[0] acc=f32}\n"
                                  "  %h = tanh %h0\n"
                                  "  %y = dot %h %v {lhs_contract=[1] rhs_contract=[0] acc=f32}\n"
                                  "  %n = neg %v\n"
                                  "  output %y \"y\" output %h \"h\" output %n \"n\"\n"
                                  "}\n";

static void test_batch__members_are_those_alone(void **state) {
    batch_lab *t = *state;
    const tn_graph *g = graph_of(&t->t, LAYERS);
    for (unsigned own = 1; own < 8; own++)
        for (int members = 1; members < 4; members += 2) batch_check(t, g, own, members);
}

static void test_batch__members_lie_where_ports_say(void **state) {
    batch_lab *t = *state;
    const tn_graph *g = graph_of(&t->t, LAYERS);
    const tn_batch_port in[] = {{.axis = 1}, {.axis = 2}, {.axis = -1}};
    const tn_batch_port out[] = {{.axis = 1, .joined = true}, {.axis = 2}, {.axis = -1}};
    const tn_batch_spec spec = {.members = 3, .inputs = in, .outputs = out};
    batch_check_spec(t, g, &spec, 3);
    const tn_graph *made = t->made.graph;
    assert_string_equal(batch_type_text(t, made, made->inputs.data[0]), "f32[2,3,3]");
    assert_string_equal(batch_type_text(t, made, made->inputs.data[1]), "f32[3,4,3]");
    assert_string_equal(batch_type_text(t, made, made->inputs.data[2]), "f32[4,2]");
    assert_string_equal(batch_type_text(t, made, made->outputs.data[0].value), "f32[2,6]");
    assert_string_equal(batch_type_text(t, made, made->outputs.data[1].value), "f32[2,4,3]");
    assert_string_equal(batch_type_text(t, made, made->outputs.data[2].value), "f32[4,2]");
}

static void test_batch__inputs_may_be_joined(void **state) {
    batch_lab *t = *state;
    const tn_graph *g = graph_of(&t->t, LAYERS);
    const tn_batch_port in[] = {{.axis = 1, .joined = true}, {0}, {.axis = 0, .joined = true}};
    const tn_batch_spec spec = {.members = 3, .inputs = in};
    batch_check_spec(t, g, &spec, 3);
    assert_string_equal(batch_type_text(t, t->made.graph, t->made.graph->inputs.data[0]),
                        "f32[2,9]");
    assert_string_equal(batch_type_text(t, t->made.graph, t->made.graph->inputs.data[2]),
                        "f32[12,2]");
}

static void test_batch__outputs_that_all_share_may_stay(void **state) {
    batch_lab *t = *state;
    const tn_graph *g = graph_of(&t->t, LAYERS);
    const tn_batch_port in[] = {{0}, {.axis = -1}, {.axis = -1}};
    tn_batch_spec spec = {.members = 3, .inputs = in};
    batch_check_spec(t, g, &spec, 3);
    assert_string_equal(batch_type_text(t, t->made.graph, t->made.graph->outputs.data[2].value),
                        "f32[3,4,2]");
    spec.keep_common = true;
    batch_check_spec(t, g, &spec, 3);
    assert_string_equal(batch_type_text(t, t->made.graph, t->made.graph->outputs.data[2].value),
                        "f32[4,2]");
    assert_true(t->made.carries[g->outputs.data[0].value]);
    assert_false(t->made.carries[g->outputs.data[2].value]);
}

static void test_batch__names_origins_and_places_are_kept(void **state) {
    batch_lab *t = *state;
    tn_graph *g = graph_of(&t->t, "graph {\n"
                                  "  %x \"x\" = input : f32[2,3]\n"
                                  "  %s \"s\" = input : f32[2,3]\n"
                                  "  %w \"w\" = input : f32[3]\n"
                                  "  %b = broadcast \"spread\" %w {axes=[1]} : f32[2,3]\n"
                                  "  %y = mul \"gain\" %x %b\n"
                                  "  %z = add \"sum\" %s %y\n"
                                  "  output %z \"z\" in place of %s\n"
                                  "}\n");
    const tn_batch_spec spec = {.members = 4};
    batch_check_spec(t, g, &spec, 4);
    const tn_graph *made = t->made.graph;
    assert_string_equal(tn_graph_value(made, made->inputs.data[1])->name, "s");
    assert_string_equal(made->outputs.data[0].name, "z");
    assert_int_equal(made->outputs.data[0].in_place, 2);
    bool seen = false;
    for (tn_node p = 0; p < made->nodes.len; p++) {
        const tn_node_info *n = tn_graph_node(made, p), *old = tn_graph_node(g, t->made.origin[p]);
        if (n->op != TN_OP_mul) continue;
        seen = true;
        assert_int_equal(old->op, TN_OP_mul);
        assert_string_equal(n->name, "gain");
    }
    assert_true(seen);
    const tn_batch_port in[] = {{0}, {.axis = -1}, {.axis = -1}};
    const tn_batch_spec fewer = {.members = 4, .inputs = in};
    batch_check_spec(t, g, &fewer, 4); /* the input has too few elements by now */
    assert_int_equal(t->made.graph->outputs.data[0].in_place, 0);
}

static void test_batch__the_number_of_members_may_be_open(void **state) {
    batch_lab *t = *state;
    tn_graph *g = graph_of(&t->t, "graph (N in [1,64], B in [1,8]) {\n"
                                  "  %x = input : f32[B,3]\n"
                                  "  %w = input : f32[3,2]\n"
                                  "  %y = dot %x %w {lhs_contract=[1] rhs_contract=[0] acc=f32}\n"
                                  "  output %y\n"
                                  "}\n");
    const tn_batch_spec spec = {.members = tn_dim_of_symbol(g->dims, "N")};
    batch_check_spec(t, g, &spec, 3);
}

/* ---- random streams ------------------------------------------------------------------------- */

enum { BITS = 4096, STREAMS = 8 };

static const char *const DROPOUT = "graph {\n"
                                   "  %a = constant {data=[1]} : u64[]\n"
                                   "  %b = constant {data=[2]} : u64[]\n"
                                   "  %zero = constant {data=[0]} : u64[]\n"
                                   "  %x = random_bits %a %zero : u32[4096]\n"
                                   "  %y = random_bits %b %zero : u32[4096]\n"
                                   "  output %x output %y\n"
                                   "}\n";

/* Bits of the outputs of all members, [output][member][BITS]. */
static const uint32_t *streams_of(batch_lab *t, const tn_graph *g, const tn_batch_spec *spec,
                                  uint32_t output) {
    return batch_run(t, batch_make(t, g, spec).graph, NULL)[output].data;
}

static bool dropped(uint32_t bits) {
    return bits < 0.3 * 4294967296.0;
}

static void expect_independent(const uint32_t *x, const uint32_t *y) {
    int of_x = 0, of_both = 0;
    for (int i = 0; i < BITS; i++) {
        of_x += dropped(x[i]);
        of_both += dropped(x[i]) && dropped(y[i]);
    }
    double one = (of_x - 0.3 * BITS) / sqrt(0.3 * 0.7 * BITS);
    double both = (of_both - 0.09 * BITS) / sqrt(0.09 * 0.91 * BITS);
    if (fabs(one) > 3 || fabs(both) > 3.5)
        fail_msg("of %d bits of a member %g σ too many are below p, of two members %g σ", BITS, one,
                 both);
}

static void test_batch__members_draw_from_streams_of_their_own(void **state) {
    batch_lab *t = *state;
    const tn_graph *g = graph_of(&t->t, DROPOUT);
    const tn_batch_spec spec = {.members = STREAMS};
    tn_array *alone = batch_run(t, g, NULL);
    const uint32_t *stream[2 * STREAMS];
    for (int i = 0; i < 2 * STREAMS; i++)
        stream[i] = streams_of(t, g, &spec, (uint32_t)(i / STREAMS)) + i % STREAMS * BITS;
    for (int i = 0; i < 2 * STREAMS; i++)
        for (int j = 0; j < i; j++) expect_independent(stream[i], stream[j]);
    assert_memory_equal(stream[0], alone[0].data, sizeof(uint32_t) * BITS);
    assert_memory_equal(stream[STREAMS], alone[1].data, sizeof(uint32_t) * BITS);
}

static void test_batch__one_member_is_the_graph_alone(void **state) {
    batch_lab *t = *state;
    const tn_graph *g = graph_of(&t->t, DROPOUT);
    const tn_batch_spec spec = {.members = 1};
    tn_array *alone = batch_run(t, g, NULL);
    for (uint32_t o = 0; o < 2; o++)
        assert_memory_equal(streams_of(t, g, &spec, o), alone[o].data, sizeof(uint32_t) * BITS);
}

static void test_batch__members_may_share_streams(void **state) {
    batch_lab *t = *state;
    const tn_graph *g = graph_of(&t->t, DROPOUT);
    const tn_batch_spec spec = {.members = 3, .same_randoms = true};
    const uint32_t *x = streams_of(t, g, &spec, 0);
    tn_array *alone = batch_run(t, g, NULL);
    for (int m = 0; m < 3; m++)
        assert_memory_equal(x + m * BITS, alone[0].data, sizeof(uint32_t) * BITS);
}

static void test_batch__members_of_members_draw_apart(void **state) {
    batch_lab *t = *state;
    const tn_graph *g = graph_of(&t->t, DROPOUT);
    const tn_batch_spec spec = {.members = 3};
    const tn_graph *once = batch_make(t, g, &spec).graph;
    const uint32_t *x = streams_of(t, once, &spec, 1);
    for (int i = 0; i < 9; i++)
        for (int j = 0; j < i; j++) expect_independent(x + i * BITS, x + j * BITS);
}

/* A key that differs already is the stream's, whatever is asked for. */
static void test_batch__keys_of_members_are_used_as_they_are(void **state) {
    batch_lab *t = *state;
    const tn_graph *g = graph_of(&t->t, "graph {\n"
                                        "  %key = input : u64[]\n"
                                        "  %c = constant {data=[5]} : u64[]\n"
                                        "  %x = random_bits %key %c : u64[3]\n"
                                        "  output %x\n"
                                        "}\n");
    const tn_batch_spec spec = {.members = 4};
    batch_check_spec(t, g, &spec, 4);
}

/* ---- refusals ------------------------------------------------------------------------------- */

static void expect_refusal(batch_lab *t, const tn_graph *g, const tn_batch_spec *spec,
                           tn_status status, const char *message) {
    char text[1024];
    tn_error err = TN_ERROR_INIT;
    tn_batched made;
    assert_int_equal(tn_batch(g, spec, &made, &err), status);
    assert_null(made.graph);
    tn_error_format(&err, text, sizeof text);
    if (!strstr(text, message)) fail_msg("'%s' does not say '%s'", text, message);
    (void)t;
}

static void test_batch__refuses_what_is_no_axis(void **state) {
    batch_lab *t = *state;
    const tn_graph *g = graph_of(&t->t, "graph {\n"
                                        "  %x \"x\" = input : f32[2]\n"
                                        "  output %x \"y\"\n"
                                        "}\n");
    tn_batch_port in = {.axis = 2}, out = {0};
    tn_batch_spec spec = {.members = 2, .inputs = &in, .outputs = &out};
    expect_refusal(t, g, &spec, TN_INVALID,
                   "input 0 'x' is f32[2]: members cannot lie along axis 2; expected -1 … 1");
    in = (tn_batch_port){.axis = 1, .joined = true};
    expect_refusal(t, g, &spec, TN_INVALID,
                   "input 0 'x' is f32[2]: members cannot lie along axis 1 of it; expected -1 … 0");
    in.axis = 0;
    out.axis = -1;
    expect_refusal(t, g, &spec, TN_INVALID,
                   "output 0 'y' differs between the members; expected an axis for them");
    out.axis = -2;
    expect_refusal(t, g, &spec, TN_INVALID, "output 0 'y' is f32[2]: members cannot lie along");
    spec.members = 0;
    expect_refusal(t, g, &spec, TN_INVALID, "0 members; expected 1 or more");
}

static void test_batch__refuses_what_has_no_room(void **state) {
    batch_lab *t = *state;
    const tn_graph *g =
        graph_of(&t->t, "graph {\n"
                        "  %x \"x\" = input : f32[2]\n"
                        "  %y = reshape \"wide\" %x : f32[1,1,1,1,1,1,1,1,1,1,1,2]\n"
                        "  output %y\n"
                        "}\n");
    const tn_batch_spec spec = {.members = 2};
    expect_refusal(t, g, &spec, TN_UNSUPPORTED, "reshape to 12 axes cannot take one more");
    expect_refusal(t, g, &spec, TN_UNSUPPORTED, "'wide'");
}

/* The planner finds the members behind a shared input, and where they lie side by side. */
static void test_batch__members_are_found(void **state) {
    batch_lab *t = *state;
    const tn_graph *g = graph_of(&t->t, LAYERS);
    const tn_batch_port shared[] = {{.axis = -1}, {.axis = 0}, {.axis = 0}};
    const tn_batch_port joined[] = {{.axis = 1, .joined = true}, {.axis = -1}, {.axis = -1}};
    const tn_batch_port *const ports[] = {shared, joined};
    for (int i = 0; i < 2; i++) {
        const tn_batch_spec spec = {.members = 3, .inputs = ports[i]};
        const tn_graph *made = batch_make(t, g, &spec).graph;
        tn_batch_axes axes = tn_batch_axes_find(made);
        assert_int_equal(axes.size, 3);
        assert_int_equal(axes.axis[made->inputs.data[0]], TN_BATCH_FREE);
        assert_int_equal(axes.axis[made->outputs.data[0].value], 0);
        assert_int_equal(axes.axis[made->outputs.data[1].value], 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        BATCH_TEST(test_batch__members_are_those_alone),
        BATCH_TEST(test_batch__members_are_found),
        BATCH_TEST(test_batch__members_lie_where_ports_say),
        BATCH_TEST(test_batch__inputs_may_be_joined),
        BATCH_TEST(test_batch__outputs_that_all_share_may_stay),
        BATCH_TEST(test_batch__names_origins_and_places_are_kept),
        BATCH_TEST(test_batch__the_number_of_members_may_be_open),
        BATCH_TEST(test_batch__members_draw_from_streams_of_their_own),
        BATCH_TEST(test_batch__one_member_is_the_graph_alone),
        BATCH_TEST(test_batch__members_may_share_streams),
        BATCH_TEST(test_batch__members_of_members_draw_apart),
        BATCH_TEST(test_batch__keys_of_members_are_used_as_they_are),
        BATCH_TEST(test_batch__refuses_what_is_no_axis),
        BATCH_TEST(test_batch__refuses_what_has_no_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

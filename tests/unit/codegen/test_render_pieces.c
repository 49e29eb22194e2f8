/* Vector loads whose lanes lie in a few runs of memory; every buffer ends at a guard page. */
#include "kernel_lab.h"

static tn_lx num(lab_case *c, int64_t value) {
    return tn_l_int(&c->k, value);
}

typedef tn_lx pattern(lab_case *c, tn_lx x);

static tn_lx pairs_apart(lab_case *c, tn_lx x) { /* (2,n):(1,6) */
    tn_loop *k = &c->k;
    return tn_l_add(k, tn_l_mul(k, tn_l_div(k, x, num(c, 2)), num(c, 6)),
                    tn_l_mod(k, x, num(c, 2)));
}
static tn_lx twice(lab_case *c, tn_lx x) { /* (2,n):(0,1) */
    return tn_l_div(&c->k, x, num(c, 2));
}
static tn_lx in_turn(lab_case *c, tn_lx x) { /* (2,n):(70,1): two rows */
    tn_loop *k = &c->k;
    return tn_l_add(k, tn_l_mul(k, tn_l_mod(k, x, num(c, 2)), num(c, 70)),
                    tn_l_div(k, x, num(c, 2)));
}
static tn_lx four_in_turn(lab_case *c, tn_lx x) { /* (4,n):(40,1) */
    tn_loop *k = &c->k;
    return tn_l_add(k, tn_l_mul(k, tn_l_mod(k, x, num(c, 4)), num(c, 40)),
                    tn_l_div(k, x, num(c, 4)));
}
static tn_lx backwards(lab_case *c, tn_lx x) {
    return tn_l_sub(&c->k, num(c, 127), x);
}
static tn_lx every_third(lab_case *c, tn_lx x) {
    return tn_l_mul(&c->k, x, num(c, 3));
}
static tn_lx repeated(lab_case *c, tn_lx x) { /* (4,n):(1,0): a few elements again and again */
    return tn_l_mod(&c->k, x, num(c, 4));
}
static tn_lx far_apart(lab_case *c, tn_lx x) { /* no few vectors: gathered */
    return tn_l_mul(&c->k, x, num(c, 100));
}

/* y[x] = a[pattern(x)] for 128 elements, of a buffer that ends with the last one read. */
static void add_pattern(lab *l, pattern *at, int64_t last, tn_dtype dtype, int lanes, bool front) {
    lab_case *c = lab_new(l, "pieces");
    tn_loop *k = &c->k;
    uint32_t a = lab_buffer(c, TN_LBUF_INPUT, dtype, (size_t)last + 1, "a");
    uint32_t y = lab_buffer(c, TN_LBUF_OUTPUT, dtype, 128, "y");
    tn_lx block =
        front ? num(c, 0) : tn_l_for(k, TN_LOOP_SERIAL, num(c, 0), num(c, 128 / lanes), "block");
    tn_lx lane = tn_l_for(k, TN_LOOP_VECTOR, num(c, 0), num(c, lanes), "lane");
    tn_lx x = tn_l_add(k, tn_l_mul(k, block, num(c, lanes)), lane);
    tn_l_store(k, y, x, tn_l_load(k, a, at(c, x), 0, 0));
    while (k->open.len) tn_l_end(k);
    if (!front) return;
    tn_lx i = tn_l_for(k, TN_LOOP_SERIAL, num(c, lanes), num(c, 128), "i"); /* the others */
    tn_l_store(k, y, i, tn_l_load(k, a, at(c, i), 0, 0));
    tn_l_end(k);
}

/* The same for `count` elements, at run time fewer than whole vectors; the other lanes are 0. */
static void add_part(lab *l, pattern *at, tn_dtype dtype, int lanes, int64_t count) {
    lab_case *c = lab_new(l, "part");
    tn_loop *k = &c->k;
    int64_t last = 0, element;
    for (int64_t i = 0; i < count; i++)
        if (tn_l_is_const_int(k, at(c, num(c, i)), &element)) last = TN_MAX(last, element);
    uint32_t a = lab_buffer(c, TN_LBUF_INPUT, dtype, (size_t)last + 1, "a");
    uint32_t y = lab_buffer(c, TN_LBUF_OUTPUT, dtype, 128, "y");
    tn_lx block = tn_l_for(k, TN_LOOP_SERIAL, num(c, 0), num(c, 128 / lanes), "block");
    tn_lx lane = tn_l_for(k, TN_LOOP_VECTOR, num(c, 0), num(c, lanes), "lane");
    tn_lx x = tn_l_add(k, tn_l_mul(k, block, num(c, lanes)), lane);
    tn_lx guard = tn_l_lt(k, x, num(c, count));
    tn_l_store(k, y, x, tn_l_load(k, a, at(c, x), guard, TN_LX_NONE));
    while (k->open.len) tn_l_end(k);
}

static void test_render__lanes_of_the_end_of_a_row(void **state) {
    (void)state;
    static pattern *const patterns[] = {pairs_apart, twice,       in_turn,  four_in_turn,
                                        backwards,   every_third, repeated, far_apart};
    static const tn_dtype types[] = {TN_f32, TN_u8, TN_bool, TN_bf16, TN_i64};
    static const int64_t counts[] = {0, 1, 13, 67, 127};
    lab l;
    lab_init(&l, 43);
    for (size_t p = 0; p < TN_COUNT(patterns); p++)
        for (size_t t = 0; t < TN_COUNT(types); t++)
            for (size_t n = 0; n < TN_COUNT(counts); n++)
                add_part(&l, patterns[p], types[t], n % 2 ? 16 : 4, counts[n]);
    lab_check(&l);
    lab_deinit(&l);
}

static void test_render__lanes_in_a_few_runs(void **state) {
    (void)state;
    static const struct {
        pattern *at;
        int64_t last;
    } patterns[] = {{pairs_apart, 379}, {twice, 63},        {in_turn, 133}, {four_in_turn, 151},
                    {backwards, 127},   {every_third, 381}, {repeated, 3},  {far_apart, 12700}};
    static const tn_dtype types[] = {TN_f32, TN_f64, TN_u8, TN_bool, TN_bf16, TN_i16};
    static const int widths[] = {4, 16, 64};
    lab l;
    lab_init(&l, 41);
    for (size_t p = 0; p < TN_COUNT(patterns); p++)
        for (size_t t = 0; t < TN_COUNT(types); t++)
            for (size_t w = 0; w < TN_COUNT(widths); w++)
                add_pattern(&l, patterns[p].at, patterns[p].last, types[t], widths[w], w % 2);
    lab_check(&l);
    lab_deinit(&l);
}

static bool gathers(pattern *at) {
    lab l;
    tn_prelude prelude;
    tn_str text;
    tn_error err = TN_ERROR_INIT;
    lab_init(&l, 42);
    add_pattern(&l, at, 12700, TN_f32, 8, false);
    tn_prelude_init(&prelude);
    tn_str_init(&text);
    const lab_case *c = l.cases.data[0];
    tn_status status =
        tn_render_c_function(&c->k, tn_target_native(), c->symbol, &prelude, &text, &err);
    assert_int_equal(status, TN_OK);
    bool found = strstr(tn_str_text(&text), "gather") || strstr(tn_str_text(&text), "stride");
    tn_str_deinit(&text);
    tn_prelude_deinit(&prelude);
    lab_deinit(&l);
    return found;
}

/* What the pieces are for: no gather where a few vectors hold the elements. */
static void test_render__gathers_only_what_is_far_apart(void **state) {
    (void)state;
    static pattern *const near[] = {pairs_apart, twice,       in_turn, four_in_turn,
                                    backwards,   every_third, repeated};
    for (size_t p = 0; p < TN_COUNT(near); p++) assert_false(gathers(near[p]));
    assert_true(gathers(far_apart));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_render__lanes_in_a_few_runs),
        cmocka_unit_test(test_render__lanes_of_the_end_of_a_row),
        cmocka_unit_test(test_render__gathers_only_what_is_far_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

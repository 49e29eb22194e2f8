/* What tasks read is bounded by what they surely do not pass, and tightly for packing. */
#include "loop_test.h"

#include "loop/reads.h"

enum { MEMBERS = 5, PANELS = 4, ROWS = 7, LANES = 8 };

/* y[t][k][j] = w[m][k][p][j] of members m and panels p, t = m · panels + p; the sizes are parameters. */
static void build_pack(fixture *f) {
    tn_loop *k = &f->k;
    uint32_t w = tn_l_buffer(k, TN_LBUF_INPUT, TN_f32, "w");
    uint32_t y = tn_l_buffer(k, TN_LBUF_OUTPUT, TN_f32, "y");
    tn_lx members = size(f, 1, 100), panels = size(f, 1, 100), rows = size(f, 1, 100);
    k->tasks = tn_l_mul(k, members, panels);
    tn_lx t = tn_l_task(k), m = tn_l_div(k, t, panels), p = tn_l_mod(k, t, panels);
    tn_lx r = loop_to(f, rows, "r");
    tn_lx j = tn_l_for(k, TN_LOOP_VECTOR, num(f, 0), num(f, LANES), "j");
    tn_lx row = tn_l_add(k, tn_l_mul(k, m, rows), r);
    tn_lx from = tn_l_add(k, tn_l_mul(k, row, panels), p);
    tn_lx to = tn_l_add(k, tn_l_mul(k, t, rows), r);
    tn_lx v = tn_l_load(k, w, tn_l_add(k, tn_l_mul(k, from, num(f, LANES)), j), 0, 0);
    tn_l_store(k, y, tn_l_add(k, tn_l_mul(k, to, num(f, LANES)), j), v);
    tn_l_end(k);
    tn_l_end(k);
}

static tn_loop_extent read_by(int64_t begin, int64_t end) {
    tn_loop_extent e = {INT64_MAX, 0};
    for (int64_t t = begin; t < end; t++)
        for (int64_t r = 0; r < ROWS; r++) {
            int64_t at = ((t / PANELS * ROWS + r) * PANELS + t % PANELS) * LANES;
            e.begin = TN_MIN(e.begin, at);
            e.end = TN_MAX(e.end, at + LANES);
        }
    return e;
}

static void test_reads__of_packing(void **state) {
    (void)state;
    const int64_t scalars[] = {MEMBERS, PANELS, ROWS};
    fixture f;
    fixture_init(&f);
    build_pack(&f);
    tn_error err = TN_ERROR_INIT;
    assert_int_equal(tn_loop_verify(&f.k, &err), TN_OK);
    for (int64_t begin = 0; begin < MEMBERS * PANELS; begin++)
        for (int64_t end = begin + 1; end <= MEMBERS * PANELS; end++) {
            tn_loop_extent got[2], want = read_by(begin, end);
            tn_loop_reads(&f.k, scalars, begin, end, &f.arena, got);
            assert_true(got[0].begin <= want.begin && got[0].end >= want.end);
            bool one = begin / PANELS == (end - 1) / PANELS;
            bool all = begin % PANELS == 0 && end % PANELS == 0;
            if (one || all) assert_int_equal(got[0].begin, want.begin);
            if (one || all) assert_int_equal(got[0].end, want.end);
            assert_true(got[1].begin >= got[1].end); /* the output */
        }
    fixture_deinit(&f);
}

/* y[t] = w[v[t]]: nothing is known of where w is read. */
static void test_reads__of_a_gather(void **state) {
    (void)state;
    fixture f;
    fixture_init(&f);
    tn_loop *k = &f.k;
    uint32_t v = tn_l_buffer(k, TN_LBUF_INPUT, TN_i64, "v");
    uint32_t w = tn_l_buffer(k, TN_LBUF_INPUT, TN_f32, "w");
    uint32_t y = tn_l_buffer(k, TN_LBUF_OUTPUT, TN_f32, "y");
    k->tasks = num(&f, 10);
    tn_lx at = tn_l_load(k, v, tn_l_task(k), 0, 0);
    tn_l_store(k, y, tn_l_task(k), tn_l_load(k, w, at, 0, 0));
    tn_loop_extent got[3];
    tn_loop_reads(k, NULL, 3, 5, &f.arena, got);
    assert_int_equal(got[v].begin, 3);
    assert_int_equal(got[v].end, 5);
    assert_int_equal(got[w].begin, 0);
    assert_int_equal(got[w].end, INT64_MAX);
    fixture_deinit(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads__of_packing),
        cmocka_unit_test(test_reads__of_a_gather),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

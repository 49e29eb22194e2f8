#include "unit/program_lab.h"

#include "runtime/memory.h"

/* Whether `a` and `b` belong to one chain of in-place buffers. */
static bool chained(const tn_program *p, uint32_t a, uint32_t b) {
    for (uint32_t x = a; x != UINT32_MAX; x = p->buffers.data[x].in_place_of)
        if (x == b) return true;
    for (uint32_t x = b; x != UINT32_MAX; x = p->buffers.data[x].in_place_of)
        if (x == a) return true;
    return false;
}

static void random_program(lab *l, uint64_t *seed, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        uint32_t first = (uint32_t)(test_random(seed) % 40);
        uint32_t last = first + (uint32_t)(test_random(seed) % 12);
        uint32_t id = lab_temp(l, TN_f32, (tn_dim)(test_random(seed) % 500), first, last);
        uint32_t before = (uint32_t)(test_random(seed) % (id + 1));
        if (before < id && l->p.buffers.data[before].last == first)
            l->p.buffers.data[id].in_place_of = before;
    }
}

static void test_place__live_buffers_do_not_overlap(void **state) {
    (void)state;
    uint64_t seed = 7;
    for (int round = 0; round < 200; round++) {
        lab l;
        lab_init(&l);
        random_program(&l, &seed, 1 + (uint32_t)(test_random(&seed) % 60));
        uint32_t n = l.p.buffers.len;
        uint64_t *bytes = TN_NEW_N(&l.arena, uint64_t, n);
        for (uint32_t i = 0; i < n; i++) bytes[i] = 4 * (uint64_t)l.p.buffers.data[i].elements;
        tn_memory_plan plan;
        tn_memory_place(&l.p, bytes, &l.arena, &plan);
        for (uint32_t a = 0; a < n; a++) {
            const tn_prog_buffer *x = &l.p.buffers.data[a];
            assert_int_equal(plan.offset[a] % TN_MEMORY_ALIGN, 0);
            assert_true(plan.offset[a] + bytes[a] <= plan.total);
            for (uint32_t b = 0; b < a; b++) {
                const tn_prog_buffer *y = &l.p.buffers.data[b];
                bool live = x->first <= y->last && y->first <= x->last;
                bool apart = plan.offset[a] + bytes[a] <= plan.offset[b] ||
                             plan.offset[b] + bytes[b] <= plan.offset[a];
                if (live && bytes[a] && bytes[b] && !apart) assert_true(chained(&l.p, a, b));
            }
        }
        lab_deinit(&l);
    }
}

static void test_place__a_chain_shares_one_place(void **state) {
    (void)state;
    lab l;
    lab_init(&l);
    uint32_t a = lab_temp(&l, TN_f32, 100, 0, 1), b = lab_temp(&l, TN_f32, 100, 1, 2);
    uint32_t c = lab_temp(&l, TN_f32, 100, 2, 3);
    l.p.buffers.data[b].in_place_of = a;
    l.p.buffers.data[c].in_place_of = b;
    uint64_t bytes[] = {400, 400, 400};
    tn_memory_plan plan;
    tn_memory_place(&l.p, bytes, &l.arena, &plan);
    assert_int_equal(plan.total, 448);
    assert_int_equal(plan.offset[a], plan.offset[c]);
    lab_deinit(&l);
}

static void test_place__only_one_takes_the_place(void **state) {
    (void)state;
    lab l;
    lab_init(&l);
    uint32_t a = lab_temp(&l, TN_f32, 16, 0, 1), b = lab_temp(&l, TN_f32, 16, 1, 2);
    uint32_t c = lab_temp(&l, TN_f32, 16, 1, 2);
    l.p.buffers.data[b].in_place_of = a;
    l.p.buffers.data[c].in_place_of = a;
    uint64_t bytes[] = {64, 64, 64};
    tn_memory_plan plan;
    tn_memory_place(&l.p, bytes, &l.arena, &plan);
    assert_int_equal(plan.offset[a], plan.offset[b]);
    assert_int_not_equal(plan.offset[b], plan.offset[c]);
    lab_deinit(&l);
}

static void test_place__memory_is_reused(void **state) {
    (void)state;
    lab l;
    lab_init(&l);
    uint64_t bytes[32];
    for (uint32_t i = 0; i < 32; i++) {
        lab_temp(&l, TN_f32, 1000, i, i + 1);
        bytes[i] = 4032;
    }
    tn_memory_plan plan;
    tn_memory_place(&l.p, bytes, &l.arena, &plan);
    assert_int_equal(plan.total, 2 * 4032);
    lab_deinit(&l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_place__live_buffers_do_not_overlap),
        cmocka_unit_test(test_place__a_chain_shares_one_place),
        cmocka_unit_test(test_place__only_one_takes_the_place),
        cmocka_unit_test(test_place__memory_is_reused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Builder, verifier, printer and the byte form. */
#include "loop_test.h"

#include <stdio.h>
#include <stdlib.h>

/* y[i] = i < 5 ? -x[i] : r, with a register, a branch and a fold; `variant` makes others. */
static void build(fixture *f, int variant) {
    tn_loop *k = &f->k;
    uint32_t x = tn_l_buffer(k, TN_LBUF_INPUT, TN_f32, variant ? "other" : "x");
    uint32_t y = tn_l_buffer(k, TN_LBUF_OUTPUT, TN_f32, "y");
    uint32_t tmp = tn_l_scratch(k, TN_f32, size(f, 1, 100), "tmp");
    uint32_t r = tn_l_register(k, TN_f32, 8, "r");
    k->note = variant ? "noted" : "";
    k->tasks = tn_l_scalar(k, 0);
    if (variant) tn_l_number(k, TN_f32, 123); /* left over */
    tn_lx j = tn_l_for(k, TN_LOOP_VECTOR, num(f, 0), num(f, 8), variant ? "lane" : "j");
    tn_l_set(k, r, j, tn_l_load(k, x, j, 0, 0));
    tn_l_end(k);
    tn_lx all = tn_l_fold(k, TN_S_add, r);
    tn_lx i = loop_to(f, tn_l_scalar(k, 0), "i");
    tn_l_prefetch(k, x, tn_l_add(k, i, num(f, 64)));
    tn_l_if(k, tn_l_lt(k, i, num(f, 5)));
    tn_lx v = tn_l_load(k, x, i, 0, 0);
    tn_l_store(k, tmp, i, tn_l_op2(k, TN_S_mul, v, v));
    tn_l_else(k);
    tn_l_store(k, tmp, i, all);
    tn_l_end(k);
    tn_l_store(k, y, i, tn_l_load(k, tmp, i, 0, 0));
    tn_l_end(k);
}

static char *text_of(const tn_loop *k, bool canonical) {
    tn_str text;
    tn_str_init(&text);
    tn_loop_print(k, canonical, &text);
    return text.data;
}

static void test_expressions__are_shared_and_folded(void **state) {
    (void)state;
    fixture f;
    fixture_init(&f);
    tn_loop *k = &f.k;
    uint32_t x = tn_l_buffer(k, TN_LBUF_INPUT, TN_f32, "x");
    tn_lx i = loop_to(&f, num(&f, 9), "i"), v = tn_l_load(k, x, i, 0, 0);
    assert_int_equal(v, tn_l_load(k, x, i, 0, 0));
    assert_int_equal(tn_l_op1(k, TN_S_exp, v), tn_l_op1(k, TN_S_exp, v));
    tn_lx two = tn_l_number(k, TN_f32, 2);
    assert_int_equal(tn_l_op2(k, TN_S_mul, two, two), tn_l_number(k, TN_f32, 4));
    tn_lx yes = tn_l_const(k, TN_bool, (tn_cell){.u = 1});
    assert_int_equal(tn_l_select(k, yes, v, two), v);
    assert_int_equal(tn_l_and(k, TN_LX_NONE, yes), yes);
    assert_int_equal(tn_l_cast(k, v, TN_f32, false), v);
    assert_int_equal(tn_l_cast(k, two, TN_i32, false), tn_l_number(k, TN_i32, 2));
    assert_int_equal(tn_l_load(k, x, i, tn_l_lt(k, i, num(&f, 0)), two), two);
    tn_lx flag = tn_l_op2(k, TN_S_lt, v, two);
    assert_int_equal(tn_l_op1(k, TN_S_not, tn_l_op1(k, TN_S_not, flag)), flag);
    fixture_deinit(&f);
}

static void test_verify__accepts_and_refuses(void **state) {
    (void)state;
    tn_error err = TN_ERROR_INIT;
    for (int wrong = 0; wrong < 12; wrong++) {
        fixture f;
        fixture_init(&f);
        tn_loop *k = &f.k;
        build(&f, 0);
        switch (wrong) {
        case 1:
            k->stmts.data[1].b = TN_LX_NONE;
            break;
        case 2:
            k->stmts.data[2].a = tn_l_number(k, TN_f32, 1);
            break;
        case 3:
            k->stmts.data[k->stmts.len - 1].next = 1;
            break; /* a cycle */
        case 4:
            k->registers.data[0].count = 7;
            break;
        case 5:
            k->exprs.data[k->exprs.len - 1].a = k->exprs.len - 1;
            break;
        case 6:
            k->buffers.data[2].size = tn_l_task(k);
            break;
        case 7:
            loop_to(&f, num(&f, 3), "open");
            break;
        case 8: { /* a value outside its loop */
            tn_lx i = loop_to(&f, num(&f, 3), "i");
            tn_l_end(k);
            tn_l_store(k, 1, i, tn_l_number(k, TN_f32, 0));
            break;
        }
        case 9:
            tn_l_prefetch(k, 9, num(&f, 0));
            break;
        case 10: /* a size is asked for without an interpreter */
            k->buffers.data[2].size = tn_l_cast(k, tn_l_scalar(k, 0), TN_i32, false);
            k->buffers.data[2].size = tn_l_cast(k, k->buffers.data[2].size, TN_i64, false);
            break;
        case 11: /* as a tree it has 2^40 leaves */
            for (int i = 0; i < 40; i++)
                k->buffers.data[2].size =
                    tn_l_op2(k, TN_S_max, tn_l_op2(k, TN_S_xor, k->buffers.data[2].size, k->tasks),
                             k->buffers.data[2].size);
            break;
        default:
            break;
        }
        tn_status status = tn_loop_verify(k, &err);
        assert_int_equal(status, wrong ? TN_INVALID : TN_OK);
        if (wrong) assert_non_null(strstr(err.message, "kernel 'test'"));
        fixture_deinit(&f);
    }
}

static void test_print__shows_the_kernel(void **state) {
    (void)state;
    fixture f;
    fixture_init(&f);
    build(&f, 0);
    char *text = text_of(&f.k, false);
    assert_string_equal(text, "kernel test(input f32 x.0, output f32 y.1, scratch f32 "
                              "tmp.2[n0]; 1 sizes)\n"
                              "  tasks n0\n"
                              "  register r.r0 f32[8]\n"
                              "  vector j.v1 in 0 .. 8:\n"
                              "    r.r0[j.v1] = x.0[j.v1]\n"
                              "  %1 := fold add r.r0\n"
                              "  for i.v2 in 0 .. n0:\n"
                              "    prefetch x.0[(i.v2 + 64)]\n"
                              "    if (i.v2 < 5):\n"
                              "      %2 = x.0[i.v2]\n"
                              "      tmp.2[i.v2] = mul(%2, %2)\n"
                              "    else:\n"
                              "      tmp.2[i.v2] = %1\n"
                              "    %3 := tmp.2[i.v2]\n"
                              "    y.1[i.v2] = %3\n");
    free(text);
    fixture_deinit(&f);
}

static void test_print__canonical_ignores_names(void **state) {
    (void)state;
    fixture a, b;
    fixture_init(&a);
    fixture_init(&b);
    build(&a, 0);
    build(&b, 1);
    char *first = text_of(&a.k, true), *second = text_of(&b.k, true);
    assert_string_equal(first, second);
    free(first);
    free(second);
    fixture_deinit(&a);
    fixture_deinit(&b);
}

/* Stores go behind what reads the same inputs, but not past what reads results, nor out of their block. */
static void test_name_stores__loads_before_it_stores(void **state) {
    (void)state;
    fixture f;
    tn_error err = TN_ERROR_INIT;
    fixture_init(&f);
    tn_loop *k = &f.k;
    uint32_t x = tn_l_buffer(k, TN_LBUF_INPUT, TN_f32, "x");
    uint32_t y = tn_l_buffer(k, TN_LBUF_OUTPUT, TN_f32, "y");
    uint32_t z = tn_l_buffer(k, TN_LBUF_OUTPUT, TN_f32, "z");
    uint32_t r = tn_l_register(k, TN_f32, 1, "r");
    k->tasks = num(&f, 4);
    k->buffers.data[x].shared = k->buffers.data[y].shared = true;
    tn_lx i = tn_l_task(k), one = tn_l_number(k, TN_f32, 1);
    tn_lx v = tn_l_load(k, x, i, TN_LX_NONE, TN_LX_NONE);
    tn_l_store(k, y, i, tn_l_op2(k, TN_S_add, v, one));
    tn_l_set(k, r, num(&f, 0), v);
    tn_l_store(k, z, i, v);
    tn_l_store(k, z, tn_l_add(k, i, num(&f, 4)), one);
    tn_lx back = tn_l_load(k, y, i, TN_LX_NONE, TN_LX_NONE);
    tn_l_store(k, z, tn_l_add(k, i, num(&f, 8)), back);
    tn_loop_name_stores(k);
    assert_int_equal(tn_loop_verify(k, &err), TN_OK);
    char *text = text_of(k, false);
    assert_string_equal(text, "kernel test(shared input f32 x.0, shared output f32 y.1, output f32 "
                              "z.2; 0 sizes)\n"
                              "  tasks 4\n"
                              "  register r.r0 f32[1]\n"
                              "  %1 = x.0[task]\n"
                              "  %2 := add(%1, 0x1p+0:f32)\n"
                              "  r.r0[0] = %1\n"
                              "  %3 := %1\n"
                              "  y.1[task] = %2\n"
                              "  z.2[task] = %3\n"
                              "  z.2[(task + 4)] = 0x1p+0:f32\n"
                              "  %4 := y.1[task]\n"
                              "  z.2[(task + 8)] = %4\n");
    free(text);
    k->buffers.data[tn_l_scratch(k, TN_f32, num(&f, 4), "s")].shared = true;
    assert_int_equal(tn_loop_verify(k, &err), TN_INVALID);
    fixture_deinit(&f);
}

static void test_bytes__come_back(void **state) {
    (void)state;
    fixture f, g;
    tn_error err = TN_ERROR_INIT;
    tn_str bytes, again;
    fixture_init(&f);
    fixture_init(&g);
    tn_str_init(&bytes);
    tn_str_init(&again);
    build(&f, 0);
    f.k.buffers.data[0].shared = true;
    tn_loop_write(&f.k, &bytes);
    assert_int_equal(tn_loop_read(&g.k, &g.arena, bytes.data, bytes.len, &err), TN_OK);
    char *first = text_of(&f.k, false), *second = text_of(&g.k, false);
    assert_string_equal(first, second);
    tn_loop_write(&g.k, &again);
    assert_int_equal(bytes.len, again.len);
    assert_memory_equal(bytes.data, again.data, bytes.len);
    free(first);
    free(second);
    tn_str_deinit(&bytes);
    tn_str_deinit(&again);
    fixture_deinit(&f);
    fixture_deinit(&g);
}

/* Damaged bytes are refused, or are a kernel that can be printed and run. */
static void test_bytes__may_be_hostile(void **state) {
    (void)state;
    fixture f;
    tn_str bytes;
    uint64_t seed = 3;
    fixture_init(&f);
    tn_str_init(&bytes);
    build(&f, 0);
    tn_loop_write(&f.k, &bytes);
    char *copy = malloc(bytes.len);
    for (int round = 0; round < 20000; round++) {
        size_t len = bytes.len;
        tn_error err = TN_ERROR_INIT;
        memcpy(copy, bytes.data, len);
        if (round < (int)len)
            len = (size_t)round;
        else
            for (int n = 0; n < 1 + round % 3; n++)
                copy[test_random(&seed) % len] =
                    (char)(test_random(&seed) >> (round % 2 ? 60 : 40));
        char *exact = malloc(len ? len : 1); /* for the sanitizer */
        memcpy(exact, copy, len);
        fixture g;
        fixture_init(&g);
        tn_status status = tn_loop_read(&g.k, &g.arena, exact, len, &err);
        if (status == TN_OK)
            free(text_of(&g.k, true));
        else
            assert_int_not_equal(err.message[0], 0);
        fixture_deinit(&g);
        free(exact);
    }
    free(copy);
    tn_str_deinit(&bytes);
    fixture_deinit(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_expressions__are_shared_and_folded),
        cmocka_unit_test(test_verify__accepts_and_refuses),
        cmocka_unit_test(test_print__shows_the_kernel),
        cmocka_unit_test(test_print__canonical_ignores_names),
        cmocka_unit_test(test_name_stores__loads_before_it_stores),
        cmocka_unit_test(test_bytes__come_back),
        cmocka_unit_test(test_bytes__may_be_hostile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Members side by side along axis 1. */
#include "unit/test_folder.h"
#include "unit/wide/wide_lab.h"

static tn_buffer floats(float *data, size_t size, int64_t rows, int64_t columns) {
    return (tn_buffer){
        .dtype = TN_f32, .rank = 2, .dim = {rows, columns}, .data = data, .size = size};
}

static void test_pack__puts_members_side_by_side(void **state) {
    (void)state;
    tn_error err = TN_ERROR_INIT;
    float x[3][6], side[18], back[3][6];
    tn_buffer part[3], out = {.data = side, .size = sizeof side};
    static const float want[] = {0, 1, 2, 10, 11, 12, 20, 21, 22, 3, 4, 5, 13, 14, 15, 23, 24, 25};
    for (int i = 0; i < 3; i++) {
        for (int k = 0; k < 6; k++) x[i][k] = (float)(10 * i + k);
        part[i] = floats(x[i], sizeof x[i], 2, 3);
    }
    check(tn_wide_pack(part, 3, &out, &err), &err);
    assert_int_equal(out.rank, 2);
    assert_int_equal(out.dim[0], 2);
    assert_int_equal(out.dim[1], 9);
    assert_memory_equal(side, want, sizeof want);
    for (int i = 0; i < 3; i++) part[i] = (tn_buffer){.data = back[i], .size = sizeof back[i]};
    check(tn_wide_unpack(&out, part, 3, &err), &err);
    for (int i = 0; i < 3; i++) assert_memory_equal(back[i], x[i], sizeof x[i]);
    assert_int_equal(part[2].dim[1], 3);
}

static void test_pack__keeps_further_axes(void **state) {
    (void)state;
    tn_error err = TN_ERROR_INIT;
    enum { B = 8, F = 64, S = 32, COUNT = B * F * S * S };
    float *x = calloc(COUNT, sizeof *x), *side = calloc((size_t)COUNT * 10, sizeof *side);
    tn_buffer part[10], out = {.data = side, .size = (size_t)COUNT * 10 * sizeof *side};
    for (int k = 0; k < COUNT; k++) x[k] = (float)k;
    for (int i = 0; i < 10; i++)
        part[i] = (tn_buffer){.dtype = TN_f32, .rank = 4, .dim = {B, F, S, S}, .data = x};
    check(tn_wide_pack(part, 10, &out, &err), &err);
    assert_int_equal(out.dim[1], 640);
    for (int b = 0; b < B; b++)
        for (int i = 0; i < 10; i++)
            assert_memory_equal(side + ((size_t)b * 10 + (size_t)i) * F * S * S,
                                x + (size_t)b * F * S * S, sizeof(float) * F * S * S);
    free(x);
    free(side);
}

static void test_pack__refuses(void **state) {
    (void)state;
    tn_error err = TN_ERROR_INIT;
    float x[6] = {0}, room[18];
    tn_buffer part[3], out = {.data = room, .size = sizeof room};
    for (int i = 0; i < 3; i++) part[i] = floats(x, sizeof x, 2, 3);
    expect_error(tn_wide_pack(part, 0, &out, &err), &err, "0 members");
    part[2].dim[1] = 2;
    expect_error(tn_wide_pack(part, 3, &out, &err), &err,
                 "member 2 is f32[2,2], member 0 is f32[2,3]");
    part[2] = part[0];
    part[2].dtype = TN_i32;
    expect_error(tn_wide_pack(part, 3, &out, &err), &err, "member 2 is i32[2,3]");
    part[0].rank = 1;
    expect_error(tn_wide_pack(part, 1, &out, &err), &err, "along axis 1, which it lacks");
    part[0] = part[1];
    out.size = 8;
    expect_error(tn_wide_pack(part, 2, &out, &err), &err, "takes 48 bytes, the memory given has 8");
    tn_buffer packed = floats(room, sizeof room, 2, 7);
    expect_error(tn_wide_unpack(&packed, part, 3, &err), &err,
                 "f32[2,7] holds 7 columns, which 3 members cannot share alike");
    packed.dim[1] = -3;
    expect_error(tn_wide_unpack(&packed, part, 3, &err), &err, "no valid type or shape");
    packed.dim[1] = INT64_MAX / 2;
    expect_error(tn_wide_unpack(&packed, part, 3, &err), &err, "no valid type or shape");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pack__puts_members_side_by_side),
        cmocka_unit_test(test_pack__keeps_further_axes),
        cmocka_unit_test(test_pack__refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

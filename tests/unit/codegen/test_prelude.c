/* The operations of the kernel prelude against their reference meaning (base/scalar.h).
 *
 * Each test generates one C file of small kernels from the rendered prelude, compiles it as kernels
 * are compiled, loads it and runs every kernel on special, neighbouring and sampled values. */
#include "prelude_lab.h"

/* |got - want| in units in the last place that f32 has at `want`; 0 where both round alike. */
static double ulp_error(double got, double want) {
    int exponent;
    if ((float)got == (float)want || (isnan(got) && isnan(want))) return 0;
    if (isnan(got) || isnan(want) || isinf(want) || isinf(got)) return (double)INFINITY;
    frexp(want, &exponent);
    return fabs(got - want) / ldexp(1, (exponent < -125 ? -125 : exponent) - 24);
}

static bool is_approximate(tn_scalar_op op) {
    static const char list[] =
        " exp exp2 expm1 log log1p rsqrt sin cos tan asin acos atan sinh cosh asinh "
        "acosh atanh tanh erf pow atan2 ";
    char name[24];
    snprintf(name, sizeof name, " %s ", tn_scalar_name(op));
    return strstr(list, name) != NULL;
}

static void check_scalar(tn_scalar_op op, tn_dtype dtype, const target *t) {
    size_t size = tn_dtype_size(dtype);
    tn_dtype to = tn_scalar_gives_flag(op) ? TN_bool : dtype;
    size_t to_size = tn_dtype_size(to);
    for (size_t i = 0; i < (size_t)data.count; i++) {
        tn_cell in[3];
        for (int k = 0; k < 3; k++) in[k] = tn_cell_load(dtype, &data.in[k][i * size]);
        tn_cell want = tn_scalar_apply(op, dtype, in[0], in[1], in[2]);
        tn_cell got = tn_cell_load(to, &data.out[i * to_size]);
        bool zeros = dtype <= TN_f32 && in[0].f == 0 && in[1].f == 0;
        if (op == TN_S_max && zeros) want.u = in[0].u & in[1].u; /* max(-0, 0) = 0 */
        if (op == TN_S_min && zeros) want.u = in[0].u | in[1].u;
        if (same(to, got, want)) continue;
        if (is_approximate(op) && dtype == TN_f32 && ulp_error(got.f, want.f) <= 2) continue;
        /* The reference rounds mad as the target may: fused or not. */
        if (op == TN_S_mad && (got.f == in[0].f * in[1].f + in[2].f || dtype == TN_f32)) continue;
        if (tn_dtype_is_float(dtype))
            fail_msg("%s_%s x%d %s: (%a, %a, %a) gives %a, not %a", tn_scalar_name(op),
                     tn_dtype_name(dtype), t->width, t->flags, in[0].f, in[1].f, in[2].f, got.f,
                     want.f);
        fail_msg("%s_%s x%d %s: (%lld, %lld) gives %lld, not %lld", tn_scalar_name(op),
                 tn_dtype_name(dtype), t->width, t->flags, (long long)in[0].i, (long long)in[1].i,
                 (long long)got.i, (long long)want.i);
    }
}

/* ---- tests ---------------------------------------------------------------------------------- */

static const tn_dtype lane_types[] = {TN_f64, TN_f32, TN_i64, TN_i32, TN_i16, TN_i8,
                                      TN_u64, TN_u32, TN_u16, TN_u8,  TN_bool};

/* Whether operation and type have a fragment; those without are rendered as C operators. */
static bool scalar_fragment(tn_scalar_op op, tn_dtype dtype, char *name, size_t size) {
    snprintf(name, size, "%s_%s", tn_scalar_name(op), tn_dtype_name(dtype));
    return op != TN_S_mad && tn_scalar_accepts(op, dtype) && tn_prelude_has(name);
}

static void generate_scalar(lab *l, tn_scalar_op op, tn_dtype dtype) {
    char name[64];
    if (!scalar_fragment(op, dtype, name, sizeof name)) return;
    int arity = tn_scalar_arity(op);
    need(l, "%s", name);
    begin_kernel(l, name, dtype, tn_scalar_gives_flag(op) ? TN_bool : dtype, arity);
    tn_str_appendf(&l->body, "tn_%sx%d(%s)", name, l->target.width,
                   arity == 1   ? "va"
                   : arity == 2 ? "va, vb"
                                : "va, vb, vc");
    end_kernel(l);
}

static void test_scalar__agrees_with_reference(void **state) {
    (void)state;
    for (size_t i = 0; i < TN_COUNT(targets); i++) {
        lab l;
        char name[64];
        lab_init(&l, targets[i]);
        for (size_t k = 0; k < TN_COUNT(lane_types); k++)
            for (int op = 0; op < TN_SCALAR_COUNT; op++)
                generate_scalar(&l, (tn_scalar_op)op, lane_types[k]);
        compile(&l);
        for (size_t k = 0; k < TN_COUNT(lane_types); k++)
            for (int op = 0; op < TN_SCALAR_COUNT; op++) {
                tn_dtype dtype = lane_types[k];
                if (!scalar_fragment((tn_scalar_op)op, dtype, name, sizeof name)) continue;
                fill(&data, dtype, tn_scalar_arity((tn_scalar_op)op), 2000);
                find(&l, name)(data.in[0], data.in[1], data.in[2], data.out, data.count);
                check_scalar((tn_scalar_op)op, dtype, &targets[i]);
            }
        lab_deinit(&l);
    }
}

/* Every operation of every type it accepts has a fragment. */
static void test_scalar__is_complete(void **state) {
    (void)state;
    for (size_t k = 0; k < TN_COUNT(lane_types); k++)
        for (int op = 0; op < TN_SCALAR_COUNT; op++) {
            char name[64];
            snprintf(name, sizeof name, "%s_%s", tn_scalar_name((tn_scalar_op)op),
                     tn_dtype_name(lane_types[k]));
            if (tn_scalar_accepts((tn_scalar_op)op, lane_types[k]) && !tn_prelude_has(name))
                fail_msg("no fragment %s", name);
        }
}

/* Every 4099th f32. */
static void sample_f32(tn_scalar_op op, kernel *run, const target *t) {
    for (uint64_t bits = 0; bits < 1ull << 32;) {
        data.count = MAX_BATCH;
        for (size_t i = 0; i < MAX_BATCH; i++, bits += 4099) {
            uint32_t word = (uint32_t)bits;
            memcpy(&data.in[0][i * 4], &word, 4);
        }
        run(data.in[0], data.in[0], data.in[0], data.out, data.count);
        check_scalar(op, TN_f32, t);
    }
}

static void test_f32__is_within_2_ulp_everywhere(void **state) {
    (void)state;
    for (size_t i = 0; i < TN_COUNT(targets); i++) {
        lab l;
        char name[64];
        lab_init(&l, targets[i]);
        for (int op = 0; op < TN_SCALAR_COUNT; op++)
            if (tn_scalar_arity((tn_scalar_op)op) == 1)
                generate_scalar(&l, (tn_scalar_op)op, TN_f32);
        compile(&l);
        for (int op = 0; op < TN_SCALAR_COUNT; op++)
            if (tn_scalar_arity((tn_scalar_op)op) == 1 &&
                scalar_fragment((tn_scalar_op)op, TN_f32, name, sizeof name))
                sample_f32((tn_scalar_op)op, find(&l, name), &targets[i]);
        lab_deinit(&l);
    }
}

/* ---- widths, memory, reductions ------------------------------------------------------------- */

/* The hash of the f32 results in `data`, all NaN alike. */
static uint64_t hash_results(void) {
    for (int i = 0; i < data.count; i++) {
        float y;
        memcpy(&y, &data.out[i * 4], 4);
        if (isnan(y)) memset(&data.out[i * 4], 0xff, 4);
    }
    return tn_hash64(data.out, (size_t)data.count * 4);
}

/* A lane's result depends neither on the width nor on the other lanes. */
static void test_f32__has_the_same_bits_at_every_width(void **state) {
    (void)state;
    static const int widths[] = {4, 8, 16, 32};
    uint64_t first[TN_SCALAR_COUNT] = {0};
    for (size_t i = 0; i < TN_COUNT(widths); i++) {
        lab l;
        char name[64];
        lab_init(&l, (target){widths[i], NATIVE});
        for (int op = 0; op < TN_SCALAR_COUNT; op++)
            if (is_approximate((tn_scalar_op)op)) generate_scalar(&l, (tn_scalar_op)op, TN_f32);
        compile(&l);
        fill(&data, TN_f32, 2, 8000);
        for (int op = 0; op < TN_SCALAR_COUNT; op++) {
            if (!is_approximate((tn_scalar_op)op)) continue;
            assert_true(scalar_fragment((tn_scalar_op)op, TN_f32, name, sizeof name));
            find(&l, name)(data.in[0], data.in[1], NULL, data.out, data.count);
            uint64_t hash = hash_results();
            if (i == 0) first[op] = hash;
            if (hash != first[op])
                fail_msg("%s differs between %d and %d lanes", name, widths[0], widths[i]);
        }
        lab_deinit(&l);
    }
}

/* x over 80 powers of two around 1, y over [-20, 20]. */
static void test_pow_atan2__are_within_2_ulp_on_a_grid(void **state) {
    (void)state;
    static const tn_scalar_op grid_ops[] = {TN_S_pow, TN_S_atan2, TN_S_rem};
    lab l;
    lab_init(&l, (target){8, NATIVE});
    for (size_t k = 0; k < TN_COUNT(grid_ops); k++) generate_scalar(&l, grid_ops[k], TN_f32);
    compile(&l);
    data.count = MAX_BATCH;
    for (int i = 0; i < MAX_BATCH; i++) {
        float x = ldexpf(1 + (float)(i * 7919 % 4093) / 4093, i % 80 - 40);
        float y = (float)(i * 10007 % 65521) / 65521 * 40 - 20;
        memcpy(&data.in[0][i * 4], &x, 4);
        memcpy(&data.in[1][i * 4], &y, 4);
    }
    for (size_t k = 0; k < TN_COUNT(grid_ops); k++) {
        char name[64];
        assert_true(scalar_fragment(grid_ops[k], TN_f32, name, sizeof name));
        find(&l, name)(data.in[0], data.in[1], NULL, data.out, data.count);
        check_scalar(grid_ops[k], TN_f32, &l.target);
    }
    lab_deinit(&l);
}

/* Copies n elements through every n of load_part and store_part. */
static void test_parts__touch_only_their_lanes(void **state) {
    (void)state;
    for (size_t i = 0; i < TN_COUNT(targets); i++) {
        int w = targets[i].width;
        lab l;
        lab_init(&l, targets[i]);
        for (size_t k = 0; k < TN_COUNT(lane_types); k++) {
            const char *type = memory_name(lane_types[k]);
            need(&l, "load_part_%s", type);
            need(&l, "store_part_%s", type);
            need(&l, "store_%s", type);
            tn_str_appendf(&l.body,
                           "void copy_%s(const char *a, const char *b, const char *c, char *out, "
                           "long n) {\n    (void)b;\n"
                           "    tn_store_%sx%d((char *)c, tn_load_part_%sx%d(a, n));\n"
                           "    tn_store_part_%sx%d(out, tn_load_part_%sx%d(a, n), n);\n}\n",
                           type, type, w, type, w, type, w, type, w);
        }
        compile(&l);
        for (size_t k = 0; k < TN_COUNT(lane_types); k++) {
            size_t size = tn_dtype_size(lane_types[k]);
            char name[64];
            snprintf(name, sizeof name, "copy_%s", memory_name(lane_types[k]));
            for (size_t n = 0; n <= (size_t)w; n++) {
                memset(data.in[0], 1, 1024);
                memset(data.in[2], 7, 1024);
                memset(data.out, 9, 1024);
                find(&l, name)(data.in[0] + 1, NULL, data.in[2], data.out + 1, (long)n);
                for (size_t b = 0; b < (size_t)w * size; b++) {
                    assert_int_equal(data.in[2][b], b < n * size);
                    assert_int_equal(data.out[1 + b], b < n * size ? 1 : 9);
                }
            }
        }
        lab_deinit(&l);
    }
}

/* Folds the upper half onto the lower half until one is left. */
static tn_cell fold(tn_scalar_op op, tn_dtype dtype, tn_cell *v, int width) {
    for (int half = width / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++) v[i] = tn_scalar_apply(op, dtype, v[i], v[i + half], v[i]);
    return v[0];
}

static void test_reductions__fold_halves(void **state) {
    (void)state;
    static const struct {
        const char *name;
        tn_scalar_op op;
    } kinds[] = {{"hsum", TN_S_add}, {"hprod", TN_S_mul}, {"hmin", TN_S_min},
                 {"hmax", TN_S_max}, {"hand", TN_S_and},  {"hor", TN_S_or}};
    for (size_t i = 0; i < TN_COUNT(targets); i++) {
        int w = targets[i].width;
        char name[64];
        lab l;
        lab_init(&l, targets[i]);
        for (size_t k = 0; k < TN_COUNT(lane_types) - 1; k++)
            for (size_t h = 0; h < TN_COUNT(kinds); h++) {
                const char *type = tn_dtype_name(lane_types[k]);
                snprintf(name, sizeof name, "%s_%s", kinds[h].name, type);
                if (!tn_prelude_has(name)) continue;
                need(&l, "%s", name);
                need(&l, "splat_%s", type);
                begin_kernel(&l, name, lane_types[k], lane_types[k], 1);
                tn_str_appendf(&l.body, "tn_splat_%sx%d(tn_%sx%d(va))", type, w, name, w);
                end_kernel(&l);
            }
        compile(&l);
        for (size_t k = 0; k < TN_COUNT(lane_types) - 1; k++)
            for (size_t h = 0; h < TN_COUNT(kinds); h++) {
                tn_dtype dtype = lane_types[k];
                size_t size = tn_dtype_size(dtype);
                snprintf(name, sizeof name, "%s_%s", kinds[h].name, tn_dtype_name(dtype));
                if (!tn_prelude_has(name)) continue;
                fill(&data, dtype, 1, 1000);
                find(&l, name)(data.in[0], NULL, NULL, data.out, data.count);
                for (int at = 0; at < data.count; at += w) {
                    tn_cell v[64], got = tn_cell_load(dtype, &data.out[(size_t)at * size]);
                    for (int j = 0; j < w; j++)
                        v[j] = tn_cell_load(dtype, &data.in[0][(size_t)(at + j) * size]);
                    tn_cell want = fold(kinds[h].op, dtype, v, w);
                    bool zeros = tn_dtype_is_float(dtype) && want.f == 0 && got.f == 0;
                    if (!zeros && !same(dtype, got, want))
                        fail_msg("%s x%d %s", name, w, targets[i].flags);
                }
            }
        lab_deinit(&l);
    }
}

static void test_require__refuses_what_it_does_not_know(void **state) {
    (void)state;
    tn_prelude p;
    tn_error err = TN_ERROR_INIT;
    tn_prelude_init(&p);
    assert_int_equal(tn_prelude_require(&p, "exp_f33", 8, &err), TN_NOT_FOUND);
    assert_string_equal(err.message, "kernel prelude: no fragment 'exp_f33'");
    assert_int_equal(tn_prelude_require(&p, "exp_f32", 6, &err), TN_UNSUPPORTED);
    assert_string_equal(err.message, "kernel prelude: no vectors of 6 lanes");
    tn_prelude_deinit(&p);
}

static void test_require__adds_each_fragment_once(void **state) {
    (void)state;
    tn_prelude p;
    tn_str once, twice;
    tn_prelude_init(&p);
    tn_str_init(&once);
    tn_str_init(&twice);
    assert_int_equal(tn_prelude_require(&p, "exp_f32", 8, NULL), TN_OK);
    tn_prelude_render(&p, &once);
    assert_int_equal(tn_prelude_require(&p, "exp_f32", 8, NULL), TN_OK);
    assert_int_equal(tn_prelude_require(&p, "type_f32", 8, NULL), TN_OK);
    tn_prelude_render(&p, &twice);
    assert_string_equal(tn_str_text(&once), tn_str_text(&twice));
    assert_null(strchr(tn_str_text(&once), '$'));
    tn_str_deinit(&once);
    tn_str_deinit(&twice);
    tn_prelude_deinit(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_require__refuses_what_it_does_not_know),
        cmocka_unit_test(test_require__adds_each_fragment_once),
        cmocka_unit_test(test_scalar__is_complete),
        cmocka_unit_test(test_scalar__agrees_with_reference),
        cmocka_unit_test(test_f32__is_within_2_ulp_everywhere),
        cmocka_unit_test(test_f32__has_the_same_bits_at_every_width),
        cmocka_unit_test(test_pow_atan2__are_within_2_ulp_on_a_grid),
        cmocka_unit_test(test_parts__touch_only_their_lanes),
        cmocka_unit_test(test_reductions__fold_halves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

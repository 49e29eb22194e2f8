/* The casts of the kernel prelude against their reference meaning (base/scalar.h).
 *
 * Each test generates one C file of small kernels from the rendered prelude, compiles it as kernels
 * are compiled, loads it and runs every kernel on special, neighbouring and sampled values. */
#include "prelude_lab.h"

#include "codegen/render_c.h"

static bool cast_fragment(int mode, tn_dtype from, tn_dtype to, char *name, size_t size) {
    snprintf(name, size, "%s_%s_%s", mode ? "sat" : "cast", tn_dtype_name(from), tn_dtype_name(to));
    return tn_prelude_has(name);
}

static void check_cast(int mode, tn_dtype from, tn_dtype to, const target *t) {
    for (size_t i = 0; i < (size_t)data.count; i++) {
        tn_cell in = tn_cell_load(from, &data.in[0][i * tn_dtype_size(from)]);
        tn_cell got = tn_cell_load(to, &data.out[i * tn_dtype_size(to)]);
        tn_cell want = mode ? tn_cell_cast_saturate(from, to, in) : tn_cell_cast(from, to, in);
        if (same(to, got, want)) continue;
        if (tn_dtype_is_float(from))
            fail_msg("%s %s to %s x%d %s: %a gives %a (0x%llx), not %a (0x%llx)",
                     mode ? "sat" : "cast", tn_dtype_name(from), tn_dtype_name(to), t->width,
                     t->flags, in.f, got.f, (unsigned long long)got.u, want.f,
                     (unsigned long long)want.u);
        fail_msg("%s %s to %s x%d %s: %lld gives %a (0x%llx), not %a (0x%llx)",
                 mode ? "sat" : "cast", tn_dtype_name(from), tn_dtype_name(to), t->width, t->flags,
                 (long long)in.i, got.f, (unsigned long long)got.u, want.f,
                 (unsigned long long)want.u);
    }
}

static void generate_casts(lab *l) {
    char name[64];
    for (int mode = 0; mode < 2; mode++)
        for (int from = 0; from < TN_DTYPE_COUNT; from++)
            for (int to = 0; to < TN_DTYPE_COUNT; to++) {
                if (!cast_fragment(mode, (tn_dtype)from, (tn_dtype)to, name, sizeof name)) continue;
                need(l, "%s", name);
                begin_kernel(l, name, (tn_dtype)from, (tn_dtype)to, 1);
                tn_str_appendf(&l->body, "tn_%sx%d(va)", name, l->target.width);
                end_kernel(l);
            }
}

static void test_cast__agrees_with_reference(void **state) {
    (void)state;
    for (size_t i = 0; i < TN_COUNT(targets); i += 2) { /* the narrowest and the widest */
        lab l;
        char name[64];
        lab_init(&l, targets[i]);
        generate_casts(&l);
        compile(&l);
        for (int mode = 0; mode < 2; mode++)
            for (int from = 0; from < TN_DTYPE_COUNT; from++)
                for (int to = 0; to < TN_DTYPE_COUNT; to++) {
                    tn_dtype f = (tn_dtype)from, t = (tn_dtype)to;
                    if (!cast_fragment(mode, f, t, name, sizeof name)) continue;
                    fill(&data, f, 1, tn_dtype_bits(f) <= 8 ? 0 : 5000);
                    find(&l, name)(data.in[0], NULL, NULL, data.out, data.count);
                    check_cast(mode, f, t, &targets[i]);
                }
        lab_deinit(&l);
    }
}

static void test_cast__is_complete(void **state) {
    (void)state;
    char name[64];
    for (int from = 0; from < TN_DTYPE_COUNT; from++)
        for (int to = 0; to < TN_DTYPE_COUNT; to++)
            if (!cast_fragment(0, (tn_dtype)from, (tn_dtype)to, name, sizeof name))
                fail_msg("no fragment %s", name);
}

/* With the fragments it names and nothing else that happens to be there. */
static void check_alone(const char *fragment) {
    tn_prelude prelude;
    tn_str text;
    tn_error err = TN_ERROR_INIT;
    char path[] = "/tmp/tn_castXXXXXX", command[160];
    tn_prelude_init(&prelude);
    tn_str_init(&text);
    assert_int_equal(tn_prelude_require(&prelude, fragment, 16, &err), TN_OK);
    tn_render_c_head(&prelude, &text);
    int fd = mkstemp(path);
    assert_true(fd >= 0 && write(fd, text.data, text.len) == (ssize_t)text.len);
    close(fd);
    const char *cc = getenv("CC");
    snprintf(command, sizeof command, "%s -x c -fsyntax-only -w %s", cc ? cc : "cc", path);
    if (system(command) != 0) fail_msg("%s does not compile alone", fragment);
    unlink(path);
    tn_str_deinit(&text);
    tn_prelude_deinit(&prelude);
}

static void test_cast__names_what_it_needs(void **state) {
    (void)state;
    for (int from = 0; from < TN_DTYPE_COUNT; from++)
        for (int to = 0; to < TN_DTYPE_COUNT; to++) {
            char name[64];
            if (tn_dtype_is_float((tn_dtype)from) &&
                cast_fragment(0, (tn_dtype)from, (tn_dtype)to, name, sizeof name))
                check_alone(name);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cast__names_what_it_needs),
        cmocka_unit_test(test_cast__is_complete),
        cmocka_unit_test(test_cast__agrees_with_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

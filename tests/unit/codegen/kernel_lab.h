/* Kernels built by hand, run by the interpreter and as compiled C, and compared.
 *
 * Kernels of one lab share a translation unit, so that a test compiles once per target. Every
 * buffer ends at a page that cannot be touched. */
#ifndef TENON_TEST_KERNEL_LAB_H
#define TENON_TEST_KERNEL_LAB_H

#include "unit/test.h"

#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "codegen/render_c.h"

enum { LAB_BUFFERS = 6, LAB_PAGE = 4096, LAB_SCALARS = 4 };

typedef struct lab_case {
    tn_loop k;
    char symbol[32];
    size_t elements[LAB_BUFFERS]; /* of buffers that are bound */
    int64_t scalars[LAB_SCALARS];
    double ulp;     /* allowed difference of floats */
    bool any_zero;  /* -0 and 0 are equal */
    tn_cell lo, hi; /* where lo < hi: i64 inputs lie in [lo.i, hi.i) */
} lab_case;

typedef struct lab {
    tn_arena arena;
    TN_VEC(lab_case *) cases;
    uint64_t seed;
} lab;

static inline void lab_init(lab *l, uint64_t seed) {
    *l = (lab){.seed = seed};
    tn_arena_init(&l->arena, tn_allocator_system());
}

static inline void lab_deinit(lab *l) {
    tn_arena_deinit(&l->arena);
}

static inline lab_case *lab_new(lab *l, const char *name) {
    lab_case *c = TN_NEW(&l->arena, lab_case);
    tn_loop_init(&c->k, &l->arena, NULL, name);
    c->k.tasks = tn_l_int(&c->k, 1);
    snprintf(c->symbol, sizeof c->symbol, "kernel_%u", l->cases.len);
    tn_vec_push(&l->arena, &l->cases, c);
    return c;
}

static inline uint32_t lab_buffer(lab_case *c, tn_lbuffer_kind kind, tn_dtype dtype,
                                  size_t elements, const char *name) {
    uint32_t slot = 0;
    for (uint32_t i = 0; i < c->k.buffers.len; i++)
        slot += c->k.buffers.data[i].kind != TN_LBUF_SCRATCH;
    c->elements[slot] = elements;
    uint32_t id = tn_l_buffer(&c->k, kind, dtype, name);
    if (kind == TN_LBUF_WORK) c->k.buffers.data[id].size = tn_l_int(&c->k, (int64_t)elements);
    return id;
}

/* A run-time size. */
static inline tn_lx lab_size(lab_case *c, int64_t value) {
    uint32_t i = c->k.scalars.len;
    tn_lscalar s = {.dim = i, .lo = 0, .hi = 1 << 20};
    tn_vec_push(c->k.arena, &c->k.scalars, s);
    c->scalars[i] = value;
    return tn_l_scalar(&c->k, i);
}

/* ---- memory --------------------------------------------------------------------------------- */

typedef struct lab_memory {
    char *map[LAB_BUFFERS];
    size_t mapped[LAB_BUFFERS], bytes[LAB_BUFFERS];
    void *data[LAB_BUFFERS];
    uint32_t count;
    int32_t counters[4], error;
    void *scratch;
} lab_memory;

static inline tn_cell lab_value(const lab_case *c, tn_dtype dtype, uint64_t *seed) {
    static const double special[] = {0.0, -0.0, 1, -1, 0.5, -2.5, 3, 1e-40, 65504, 1e30};
    uint64_t bits = test_random(seed);
    if (dtype == TN_i64 && c->lo.i < c->hi.i)
        return (tn_cell){.i = c->lo.i + (int64_t)(bits % (uint64_t)(c->hi.i - c->lo.i))};
    if (!tn_dtype_is_float(dtype)) {
        if (bits % 4 == 0)
            return tn_cell_round(dtype, (tn_cell){.i = (int64_t)(bits >> 8 & 7) - 3});
        return tn_cell_round(dtype, (tn_cell){.u = test_random(seed)});
    }
    if (bits % 8 == 0) return tn_cell_of(dtype, special[bits / 8 % TN_COUNT(special)]);
    if (bits % 61 == 1) return tn_cell_of(dtype, (double)NAN);
    if (bits % 61 == 2) return tn_cell_of(dtype, (double)INFINITY);
    return tn_cell_of(dtype, ((double)(bits >> 11) * 0x1p-53 - 0.5) * 16);
}

static inline void lab_fill(lab_memory *m, const lab_case *c, uint64_t seed) {
    *m = (lab_memory){0};
    for (uint32_t i = 0; i < c->k.buffers.len; i++) {
        const tn_lbuffer *b = &c->k.buffers.data[i];
        if (b->kind == TN_LBUF_SCRATCH) continue;
        uint32_t slot = m->count++;
        size_t size = tn_dtype_size(b->dtype), bytes = c->elements[slot] * size;
        size_t pages = (bytes + LAB_PAGE - 1) / LAB_PAGE + 1;
        m->mapped[slot] = pages * LAB_PAGE;
        m->bytes[slot] = bytes;
        m->map[slot] =
            mmap(NULL, m->mapped[slot], PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        assert_true(m->map[slot] != MAP_FAILED);
        assert_int_equal(mprotect(m->map[slot] + (pages - 1) * LAB_PAGE, LAB_PAGE, PROT_NONE), 0);
        m->data[slot] = m->map[slot] + (pages - 1) * LAB_PAGE - bytes;
        for (size_t e = 0; e < c->elements[slot]; e++)
            tn_cell_store(b->dtype, (char *)m->data[slot] + e * size,
                          lab_value(c, b->dtype, &seed));
    }
    size_t scratch = tn_loop_scratch_bytes(&c->k, c->scalars);
    m->scratch = scratch ? aligned_alloc(64, scratch) : NULL;
    if (scratch) memset(m->scratch, 0, scratch);
}

static inline void lab_drop(lab_memory *m) {
    for (uint32_t i = 0; i < m->count; i++) munmap(m->map[i], m->mapped[i]);
    free(m->scratch);
}

/* ---- comparing ------------------------------------------------------------------------------ */

static inline double lab_ulp(tn_dtype dtype, double got, double want) {
    int exponent, digits = dtype == TN_f64 ? 53 : dtype == TN_f32 ? 24 : dtype == TN_f16 ? 11 : 8;
    if (!isfinite(got) || !isfinite(want)) return (double)INFINITY;
    frexp(want, &exponent);
    if (dtype == TN_f32 && exponent < -125) exponent = -125;
    if (dtype == TN_f16 && exponent < -13) exponent = -13;
    return fabs(got - want) / ldexp(1, exponent - digits);
}

static inline bool lab_same(const lab_case *c, tn_dtype dtype, tn_cell got, tn_cell want) {
    if (!tn_dtype_is_float(dtype)) return got.u == want.u;
    if (got.f == want.f && (c->any_zero || signbit(got.f) == signbit(want.f))) return true;
    if (isnan(got.f) && isnan(want.f)) return true;
    return c->ulp > 0 && lab_ulp(dtype, got.f, want.f) <= c->ulp;
}

static inline void lab_compare(const lab_case *c, const tn_target *t, const lab_memory *got,
                               const lab_memory *want) {
    uint32_t slot = 0;
    for (uint32_t i = 0; i < c->k.buffers.len; i++) {
        const tn_lbuffer *b = &c->k.buffers.data[i];
        if (b->kind == TN_LBUF_SCRATCH) continue;
        size_t size = tn_dtype_size(b->dtype);
        for (size_t e = 0; e < c->elements[slot]; e++) {
            tn_cell x = tn_cell_load(b->dtype, (char *)got->data[slot] + e * size);
            tn_cell y = tn_cell_load(b->dtype, (char *)want->data[slot] + e * size);
            if (lab_same(c, b->dtype, x, y)) continue;
            tn_str text; /* left to the end of the process: the test fails here */
            tn_str_init(&text);
            tn_loop_print(&c->k, false, &text);
            tn_prelude prelude;
            tn_prelude_init(&prelude);
            tn_status ignored = tn_render_c_function(&c->k, t, c->symbol, &prelude, &text, NULL);
            (void)ignored;
            if (tn_dtype_is_float(b->dtype))
                fail_msg("%s (%s) on %s: %s[%zu] is %a, not %a\n%s", c->k.name, c->symbol, t->name,
                         b->name, e, x.f, y.f, tn_str_text(&text));
            fail_msg("%s (%s) on %s: %s[%zu] is %lld, not %lld\n%s", c->k.name, c->symbol, t->name,
                     b->name, e, (long long)x.i, (long long)y.i, tn_str_text(&text));
        }
        slot++;
    }
    assert_int_equal(got->error, want->error);
    for (int i = 0; i < 4; i++) assert_int_equal(got->counters[i], want->counters[i]);
}

/* ---- running -------------------------------------------------------------------------------- */

static inline void lab_interpret(const lab_case *c, lab_memory *m) {
    tn_error err = TN_ERROR_INIT;
    tn_loop_args args = {m->data, c->elements, c->scalars, m->scratch, &m->error, m->counters};
    int64_t tasks = tn_loop_task_count(&c->k, c->scalars);
    if (tn_loop_interpret(&c->k, &args, 0, tasks, &err) != TN_OK)
        fail_msg("%s: %s", c->symbol, err.message);
}

static inline void *lab_compile(lab *l, const tn_target *t) {
    char dir[] = "/tmp/tenon_kernel_XXXXXX", text[1024];
    tn_error err = TN_ERROR_INIT;
    tn_prelude prelude;
    tn_str source, functions;
    tn_prelude_init(&prelude);
    tn_str_init(&source);
    tn_str_init(&functions);
    for (uint32_t i = 0; i < l->cases.len; i++) {
        lab_case *c = l->cases.data[i];
        if (tn_loop_verify(&c->k, &err) != TN_OK) fail_msg("%s: %s", c->symbol, err.message);
        if (tn_render_c_function(&c->k, t, c->symbol, &prelude, &functions, &err) != TN_OK)
            fail_msg("%s: %s", c->k.name, err.message);
    }
    tn_render_c_head(&prelude, &source);
    tn_str_append(&source, tn_str_text(&functions));
    assert_non_null(mkdtemp(dir));
    snprintf(text, sizeof text, "%s/k.c", dir);
    FILE *file = fopen(text, "w");
    assert_non_null(file);
    assert_true(fputs(tn_str_text(&source), file) >= 0);
    assert_int_equal(fclose(file), 0);
    const char *cc = getenv("CC");
    snprintf(text, sizeof text,
             "%s -O2 -ffp-contract=off -fno-math-errno -fno-trapping-math -fwrapv -Wno-psabi %s "
             "-shared -fPIC -o %s/k.so %s/k.c -lm",
             cc ? cc : "cc", t->flags, dir, dir);
    if (system(text) != 0) fail_msg("the kernels in %s do not compile", dir);
    snprintf(text, sizeof text, "%s/k.so", dir);
    void *library = dlopen(text, RTLD_NOW);
    if (!library) fail_msg("%s", dlerror());
    if (!getenv("TENON_KEEP")) {
        snprintf(text, sizeof text, "rm -r %s", dir);
        assert_int_equal(system(text), 0);
    }
    tn_str_deinit(&source);
    tn_str_deinit(&functions);
    tn_prelude_deinit(&prelude);
    return library;
}

static inline void lab_check_case(const lab_case *c, const tn_target *t, void *library,
                                  uint64_t seed) {
    lab_memory want, got;
    void *symbol = dlsym(library, c->symbol);
    tn_kernel_fn *run;
    assert_non_null(symbol);
    memcpy(&run, &symbol, sizeof run);
    lab_fill(&want, c, seed);
    lab_fill(&got, c, seed);
    lab_interpret(c, &want);
    tn_kernel_context context = {got.scratch, &got.error, got.counters};
    run(got.data, c->scalars, &context, 0, tn_loop_task_count(&c->k, c->scalars));
    lab_compare(c, t, &got, &want);
    lab_drop(&want);
    lab_drop(&got);
}

static inline bool has_avx512(const tn_target *t) {
    return t->isa == TN_ISA_AVX512 || t->isa == TN_ISA_AVX512_VNNI;
}

/* The targets that this machine runs, the best first. */
static inline int lab_targets(const tn_target **out) {
    int count = 0;
    const tn_target *native = tn_target_native();
    out[count++] = native;
    if (has_avx512(native)) out[count++] = tn_target_of(TN_ISA_AVX2);
    if (native->isa != TN_ISA_GENERIC) out[count++] = tn_target_of(TN_ISA_GENERIC);
    return count;
}

static inline void lab_check_on(lab *l, const tn_target *t) {
    void *library = lab_compile(l, t);
    for (uint32_t i = 0; i < l->cases.len; i++)
        lab_check_case(l->cases.data[i], t, library, l->seed + i);
    dlclose(library);
}

static inline void lab_check(lab *l) {
    const tn_target *targets[TN_ISA_COUNT];
    int count = lab_targets(targets);
    for (int i = 0; i < count; i++) lab_check_on(l, targets[i]);
}

#endif

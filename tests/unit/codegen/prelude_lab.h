/* Compiling and running kernels made of prelude fragments, for the tests of the prelude. */
#ifndef TENON_TEST_PRELUDE_LAB_H
#define TENON_TEST_PRELUDE_LAB_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>

#include <cmocka.h>

#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/scalar.h"
#include "codegen/prelude.h"

typedef void kernel(const void *a, const void *b, const void *c, void *out, long n);

typedef struct target {
    int width;
    const char *flags;
} target;

/* A cross compiler knows no native machine; its default is what kernels are compiled for. */
#if defined(__x86_64__)
#define NATIVE "-march=native"
#else
#define NATIVE ""
#endif

static const target targets[] = {
    {4, ""},
    {8, NATIVE},
    {16, NATIVE},
};

/* ---- generating and loading ----------------------------------------------------------------- */

typedef struct lab {
    target target;
    tn_prelude prelude;
    tn_str body;
    void *library;
} lab;

static inline void lab_init(lab *l, target t) {
    *l = (lab){.target = t};
    tn_prelude_init(&l->prelude);
    tn_str_init(&l->body);
}

static inline void lab_deinit(lab *l) {
    if (l->library) dlclose(l->library);
    tn_str_deinit(&l->body);
    tn_prelude_deinit(&l->prelude);
}

static inline void need(lab *l, const char *format, ...) TN_PRINTF(2, 3);
static inline void need(lab *l, const char *format, ...) {
    char name[64];
    va_list list;
    va_start(list, format);
    vsnprintf(name, sizeof name, format, list);
    va_end(list);
    tn_error err = TN_ERROR_INIT;
    if (tn_prelude_require(&l->prelude, name, l->target.width, &err) != TN_OK)
        fail_msg("%s", err.message);
}

/* What loads and stores name a type by: bool has its own. */
static inline const char *memory_name(tn_dtype dtype) {
    return dtype == TN_bool ? "bool" : tn_prelude_lane(dtype);
}

/* Opens the kernel `void NAME(a, b, c, out, n)` with its operands of type `from` loaded. */
static inline void begin_kernel(lab *l, const char *name, tn_dtype from, tn_dtype to,
                                int operands) {
    int w = l->target.width;
    need(l, "load_%s", memory_name(from));
    need(l, "store_%s", memory_name(to));
    tn_str_appendf(&l->body,
                   "void %s(const char *a, const char *b, const char *c, char *out, long n) {\n"
                   "    (void)b, (void)c;\n    for (long i = 0; i < n; i += %d) {\n",
                   name, w);
    for (int i = 0; i < operands; i++)
        tn_str_appendf(&l->body, "        %sx%d v%c = tn_load_%sx%d(%c + i * %d);\n",
                       tn_prelude_lane(from), w, 'a' + i, memory_name(from), w, 'a' + i,
                       (int)tn_dtype_size(from));
    tn_str_appendf(&l->body, "        tn_store_%sx%d(out + i * %d, ", memory_name(to), w,
                   (int)tn_dtype_size(to));
}

static inline void end_kernel(lab *l) {
    tn_str_append(&l->body, ");\n    }\n}\n");
}

static inline void compile(lab *l) {
    char dir[] = "/tmp/tenon_prelude_XXXXXX", text[1024];
    assert_non_null(mkdtemp(dir));
    snprintf(text, sizeof text, "%s/k.c", dir);
    FILE *file = fopen(text, "w");
    assert_non_null(file);
    tn_str source;
    tn_str_init(&source);
    tn_prelude_render(&l->prelude, &source);
    tn_str_append(&source, tn_str_text(&l->body));
    assert_true(fputs(tn_str_text(&source), file) >= 0);
    assert_int_equal(fclose(file), 0);
    tn_str_deinit(&source);
    const char *cc = getenv("CC");
    snprintf(text, sizeof text,
             "%s -O2 -ffp-contract=off -fno-math-errno -fno-trapping-math -fwrapv -Wno-psabi "
             "-Werror %s -shared -fPIC -o %s/k.so %s/k.c -lm",
             cc ? cc : "cc", l->target.flags, dir, dir);
    assert_int_equal(system(text), 0);
    snprintf(text, sizeof text, "%s/k.so", dir);
    l->library = dlopen(text, RTLD_NOW);
    assert_non_null(l->library);
    snprintf(text, sizeof text, "rm -r %s", dir);
    assert_int_equal(system(text), 0);
}

static inline kernel *find(const lab *l, const char *name) {
    void *symbol = dlsym(l->library, name);
    if (!symbol) fail_msg("no kernel %s", name);
    kernel *result;
    memcpy(&result, &symbol, sizeof result);
    return result;
}

/* ---- values --------------------------------------------------------------------------------- */

enum { MAX_BATCH = 1 << 16, ALIGN = 64 };

/* Three operands and a result; `count` of them are in use, padded to a multiple of 64. */
typedef struct batch {
    unsigned char in[3][MAX_BATCH * 8], out[MAX_BATCH * 8];
    int count;
} batch;

static batch data; /* too large for the stack */

static inline uint64_t next_random(uint64_t *state) {
    *state += 0x9e3779b97f4a7c15u; /* splitmix64 */
    uint64_t z = *state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* Bit patterns of `dtype` worth trying, at most 256. */
static inline int special_patterns(tn_dtype dtype, uint64_t out[256]) {
    int bits = tn_dtype_bits(dtype), n = 0;
    if (bits <= 8) {
        for (uint64_t i = 0; i < 1ull << bits; i++) out[n++] = i;
        return n;
    }
    uint64_t top = 1ull << (bits - 1);
    if (tn_dtype_is_float(dtype)) {
        static const double values[] = {0,       0.5, 1,    1.5,    2,      2.5,    3,
                                        4,       5,   7,    10,     0.1,    100,    0x1p-149,
                                        1e-40,   448, 464,  465,    65504,  65520,  0x1.fffffep127,
                                        0x1p-24, 1e9, 1e19, 0x1p31, 0x1p63, 0x1p127};
        unsigned char memory[8] = {0};
        for (size_t i = 0; i < TN_COUNT(values); i++) {
            uint64_t pattern = 0;
            tn_cell_store(dtype, memory, tn_cell_of(dtype, values[i]));
            memcpy(&pattern, memory, 8);
            pattern &= top | (top - 1);
            for (uint64_t near = pattern ? pattern - 1 : 0; near <= pattern + 1; near++) {
                out[n++] = near;
                out[n++] = near | top;
            }
        }
        tn_cell_store(dtype, memory, (tn_cell){.f = (double)NAN});
        memcpy(&out[n], memory, 8);
        n++;
        return n;
    }
    for (int shift = 0; shift < bits; shift += 3)
        for (int delta = -1; delta <= 1; delta++) {
            uint64_t power = UINT64_C(1) << shift, change = (uint64_t)delta;
            out[n++] = power + change;
            out[n++] = change - power;
        }
    for (uint64_t i = 0; i < 12; i++) out[n++] = i;
    out[n++] = top;
    out[n++] = top - 1;
    return n;
}

static inline void put(batch *d, int operand, int i, tn_dtype dtype, uint64_t pattern) {
    size_t size = tn_dtype_size(dtype);
    unsigned char memory[8];
    memcpy(memory, &pattern, 8);
    tn_cell_store(dtype, &d->in[operand][(size_t)i * size], tn_cell_load(dtype, memory));
}

/* Every pair of special patterns with a random third, then `extra` random triples. */
static inline void fill(batch *d, tn_dtype dtype, int operands, int extra) {
    uint64_t special[256], state = 1;
    int n = special_patterns(dtype, special), count = 0;
    for (int i = 0; i < n; i++)
        for (int j = 0; j < (operands > 1 ? n : 1); j++, count++) {
            put(d, 0, count, dtype, special[i]);
            put(d, 1, count, dtype, special[j]);
            put(d, 2, count, dtype, special[next_random(&state) % (uint64_t)n]);
        }
    for (int i = 0; (i < extra && count < MAX_BATCH) || count % ALIGN; i++, count++)
        for (int k = 0; k < 3; k++) put(d, k, count, dtype, next_random(&state));
    assert_true(count <= MAX_BATCH);
    d->count = count;
}

/* ---- comparing ------------------------------------------------------------------------------ */

static inline bool same(tn_dtype dtype, tn_cell got, tn_cell want) {
    if (tn_dtype_is_float(dtype) && isnan(want.f)) return isnan(got.f);
    return got.u == want.u;
}

#endif

/* The largest error of an f32 function of the kernel prelude over all 2^32 arguments.
 *
 *     ulp_sweep FUNCTION [WIDTH [STEP [CC FLAGS ...]]]
 *
 * Renders the prelude, compiles it with $CC (default cc) and the given flags (default
 * -march=native), runs every STEP-th bit pattern on two threads and compares with libm's double
 * function: prints the largest error in units in the last place of the f32 result, where it is, and
 * the number of wrong special results (NaN, infinities, signs of zero). */
#include <dlfcn.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "codegen/prelude.h"

typedef void kernel(const float *x, float *y);
typedef double reference(double x);

static double rsqrt(double x) {
    return 1 / sqrt(x);
}

static const struct {
    const char *name;
    reference *exact;
} functions[] = {
    {"exp", exp},     {"exp2", exp2},   {"expm1", expm1}, {"log", log},     {"log1p", log1p},
    {"sqrt", sqrt},   {"rsqrt", rsqrt}, {"sin", sin},     {"cos", cos},     {"tan", tan},
    {"asin", asin},   {"acos", acos},   {"atan", atan},   {"sinh", sinh},   {"cosh", cosh},
    {"asinh", asinh}, {"acosh", acosh}, {"atanh", atanh}, {"tanh", tanh},   {"erf", erf},
    {"floor", floor}, {"ceil", ceil},   {"round", rint},  {"trunc", trunc},
};

enum { THREADS = 2, BLOCK = 4096 };

typedef struct sweep {
    reference *exact;
    kernel *run;
    uint64_t begin, end, step;
    double worst;
    float at, got;
    uint64_t wrong;
} sweep;

/* |got - exact| in units in the last place that f32 has at `exact`. */
static double ulp_error(double got, double exact) {
    int exponent;
    frexp(exact, &exponent);
    return fabs(got - exact) / ldexp(1, (exponent < -125 ? -125 : exponent) - 24);
}

/* Whether NaN, infinities, zeros and signs are as they must be. An overflow or underflow by less
 * than one unit is an error to be measured, not a wrong result. */
static bool is_right(float got, double exact) {
    if (isnan(exact) || isnan(got)) return isnan(exact) && isnan(got);
    if (isinf(exact)) return (double)got == exact;
    return !signbit(got) == !signbit(exact);
}

static void compare(sweep *s, float x, float got) {
    double exact = s->exact((double)x);
    float rounded = (float)exact;
    if (!is_right(got, exact)) {
        if (s->wrong++ == 0)
            fprintf(stderr, "wrong: f(%a) = %a, not %a\n", (double)x, (double)got, exact);
        return;
    }
    if (isnan(got) || (isinf(got) && isinf(rounded))) return;
    double error = ulp_error(isinf(got) ? copysign(0x1p128, (double)got) : (double)got, exact);
    if (error <= s->worst) return;
    s->worst = error;
    s->at = x;
    s->got = got;
}

static void *run_sweep(void *argument) {
    sweep *s = argument;
    float x[BLOCK], y[BLOCK];
    for (uint64_t bits = s->begin; bits < s->end;) {
        for (int i = 0; i < BLOCK; i++, bits += s->step) {
            uint32_t word = (uint32_t)(bits < s->end ? bits : s->end - 1);
            memcpy(&x[i], &word, 4);
        }
        s->run(x, y);
        for (int i = 0; i < BLOCK; i++) compare(s, x[i], y[i]);
    }
    return NULL;
}

/* Writes the kernel y[i] = f(x[i]) over one block and compiles it. */
static kernel *build(const char *name, int width, const char *flags) {
    tn_prelude prelude;
    tn_prelude_init(&prelude);
    tn_error err = TN_ERROR_INIT;
    char fragment[32], dir[] = "/tmp/ulp_sweep_XXXXXX", command[4096];
    snprintf(fragment, sizeof fragment, "%s_f32", name);
    const char *parts[] = {fragment, "load_f32", "store_f32"};
    for (size_t i = 0; i < TN_COUNT(parts); i++) {
        if (tn_prelude_require(&prelude, parts[i], width, &err) == TN_OK) continue;
        fprintf(stderr, "%s\n", err.message);
        exit(1);
    }
    tn_str text;
    tn_str_init(&text);
    tn_prelude_render(&prelude, &text);
    tn_str_appendf(&text,
                   "void run(const float *x, float *y) {\n    for (int i = 0; i < %d; i += %d)\n"
                   "        tn_store_f32x%d(y + i, tn_%s_f32x%d(tn_load_f32x%d(x + i)));\n}\n",
                   BLOCK, width, width, name, width, width);
    if (!mkdtemp(dir)) exit(1);
    snprintf(command, sizeof command, "%s/k.c", dir);
    FILE *file = fopen(command, "w");
    if (!file || fputs(tn_str_text(&text), file) < 0 || fclose(file) != 0) exit(1);
    const char *cc = getenv("CC");
    snprintf(command, sizeof command,
             "%s -O2 -ffp-contract=off -fno-math-errno -fno-trapping-math -fwrapv -Wno-psabi %s "
             "-shared -fPIC -o %s/k.so %s/k.c -lm",
             cc ? cc : "cc", flags, dir, dir);
    if (system(command) != 0) exit(1);
    snprintf(command, sizeof command, "%s/k.so", dir);
    void *library = dlopen(command, RTLD_NOW), *run = library ? dlsym(library, "run") : NULL;
    snprintf(command, sizeof command, "rm -r %s", dir);
    if (!run || system(command) != 0) exit(1);
    tn_str_deinit(&text);
    tn_prelude_deinit(&prelude);
    kernel *result;
    memcpy(&result, &run, sizeof result);
    return result;
}

static reference *find(const char *name) {
    for (size_t i = 0; i < TN_COUNT(functions); i++)
        if (!strcmp(name, functions[i].name)) return functions[i].exact;
    fprintf(stderr, "no function '%s'\n", name);
    exit(2);
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: ulp_sweep FUNCTION [WIDTH [STEP [FLAGS ...]]]\n");
        return 2;
    }
    char flags[1024] = "";
    for (int i = 4; i < argc; i++)
        snprintf(flags + strlen(flags), sizeof flags - strlen(flags), " %s", argv[i]);
    int width = argc > 2 ? atoi(argv[2]) : 8;
    sweep s[THREADS];
    pthread_t threads[THREADS];
    reference *exact = find(argv[1]);
    kernel *run = build(argv[1], width, argc > 4 ? flags : "-march=native");
    for (int i = 0; i < THREADS; i++) {
        uint64_t share = (1ull << 32) / THREADS, begin = share * (uint64_t)i;
        uint64_t step = argc > 3 ? strtoull(argv[3], NULL, 0) : 1;
        s[i] =
            (sweep){.exact = exact, .run = run, .begin = begin, .end = begin + share, .step = step};
        if (pthread_create(&threads[i], NULL, run_sweep, &s[i]) != 0) return 1;
    }
    sweep *worst = &s[0];
    uint64_t wrong = 0;
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        if (s[i].worst > worst->worst) worst = &s[i];
        wrong += s[i].wrong;
    }
    printf("%-6s max %.4f ULP at %a (%a), %llu wrong\n", argv[1], worst->worst, (double)worst->at,
           (double)worst->got, (unsigned long long)wrong);
    return wrong != 0;
}

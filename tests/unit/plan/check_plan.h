/* Runs graphs in every way there is and compares with the reference evaluation: planned without
 * fusion, fused, fused and lowered by other schedule records, fused without rewrites, image by image;
 * interpreted and compiled for every target this machine runs; with one thread and with two, which must
 * agree in every bit. Graphs with outputs in place of inputs run with memory of their own for these, and
 * with that of the inputs.
 *
 * All memory that a program is given ends at a page that cannot be touched, and what a run has to
 * write first is filled with ones. Nothing here calls fail(): a check returns false and says why,
 * so that a failing graph can be shrunk (shrink_graph.h). */
#ifndef TENON_TESTS_CHECK_PLAN_H
#define TENON_TESTS_CHECK_PLAN_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "codegen/render_c.h"
#include "ir/builder.h"
#include "ops/eval.h"
#include "plan/assemble.h"
#include "plan/plan.h"
#include "runtime/instance.h"
#include "toolchain/cc.h"
#include "toolchain/object.h"
#include "unit/plan/check_program.h"
#include "unit/plan/fill_values.h"
#include "unit/plan/random_records.h"
#include "unit/plan/rounding_slack.h"
#include "unit/test.h"

enum { PLAN_PAGE = 4096, PLAN_UNIT_KERNELS = 24 };

typedef enum plan_variant {
    PLAN_PLAIN,
    PLAN_FUSED,
    PLAN_RECORDS, /* which give the same bits as PLAN_FUSED */
    PLAN_UNCHANGED,
    PLAN_PIECES, /* loops over pieces of the batch wherever that is possible */
    PLAN_VARIANTS
} plan_variant;

typedef struct plan_case {
    tn_arena *arena;
    const tn_graph *graph;
    const char *label;
    const int64_t *symbols;
    const double *bound; /* per output: the largest difference allowed; NULL: by type */
    double **slack;      /* per output and element instead (rounding_slack.h); or NULL */
    int64_t piece;       /* of PLAN_PIECES: images at a time; 0: one */
    uint32_t ways;       /* set of variants to interpret; 0: all */
    const tn_record_source *records; /* of PLAN_RECORDS; NULL: random ones that keep the bits */
    tn_array *inputs, *want;
    tn_array *got; /* of the run before, which must have given the same bits; NULL: none yet */
    char *why;     /* what went wrong */
} plan_case;

static inline bool plan_fails(plan_case *c, const char *format, ...) TN_PRINTF(2, 3);
static inline bool plan_fails(plan_case *c, const char *format, ...) {
    char text[3000];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    c->why = tn_arena_printf(c->arena, "%s: %s", c->label, text);
    return false;
}

static inline bool plan_error(plan_case *c, const char *what, const tn_error *err) {
    char text[2048];
    tn_error_format(err, text, sizeof text);
    return plan_fails(c, "%s: %s", what, text);
}

/* ---- numbers -------------------------------------------------------------------------------- */

static inline double plan_bound(const tn_array *want) {
    double largest = 1e-30;
    for (int64_t i = 0; i < tn_array_count(want); i++) {
        double f = tn_array_get(want, i).f;
        if (isfinite(f)) largest = fmax(largest, fabs(f));
    }
    return largest * (want->dtype == TN_f64 ? 1e-12 : want->dtype == TN_f32 ? 1e-5 : 2e-2);
}

static inline bool plan_compare(plan_case *c, uint32_t output, const tn_array *got,
                                const char *way) {
    const tn_array *want = &c->want[output];
    bool is_float = tn_dtype_is_float(want->dtype);
    double bound = !is_float ? 0 : c->bound ? c->bound[output] : plan_bound(want);
    for (int64_t i = 0; i < tn_array_count(want); i++) {
        tn_cell a = tn_array_get(want, i), b = tn_array_get(got, i);
        if (c->slack) bound = c->slack[output][i];
        if (isnan(bound)) continue;
        if (!is_float && a.i != b.i)
            return plan_fails(c, "%s: output %u, element %lld is %lld, not %lld", way, output,
                              (long long)i, (long long)b.i, (long long)a.i);
        if (!is_float || a.f == b.f || (isnan(a.f) && isnan(b.f))) continue;
        if (!(fabs(a.f - b.f) <= bound))
            return plan_fails(c, "%s: output %u, element %lld is %.9g, not %.9g (%g allowed)", way,
                              output, (long long)i, b.f, a.f, bound);
    }
    return true;
}

/* ---- guarded memory ------------------------------------------------------------------------- */

typedef struct plan_memory {
    void *map;
    size_t mapped;
    uint8_t *data;
} plan_memory;

static inline plan_memory plan_memory_of(const void *bytes, size_t size) {
    size_t pages = (size + PLAN_PAGE - 1) / PLAN_PAGE;
    plan_memory m = {.mapped = (pages + 1) * PLAN_PAGE};
    m.map = mmap(NULL, m.mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (m.map == MAP_FAILED) tn_out_of_memory();
    mprotect((char *)m.map + pages * PLAN_PAGE, PLAN_PAGE, PROT_NONE);
    m.data = (uint8_t *)m.map + pages * PLAN_PAGE - size;
    if (bytes)
        memcpy(m.data, bytes, size);
    else
        memset(m.data, 0xff, size);
    return m;
}

static inline void plan_memory_drop(plan_memory *m, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) munmap(m[i].map, m[i].mapped);
}

static inline void *plan_allocate(size_t size) {
    void *memory = tn_driver_cpu.allocate(size);
    if (memory) memset(memory, 0xff, size);
    return memory;
}

/* ---- planning ------------------------------------------------------------------------------- */

static inline bool plan_program_of(plan_case *c, plan_variant variant, const tn_target *target,
                                   tn_program *out) {
    tn_error err = TN_ERROR_INIT;
    tn_plan_options options = {.target = target, .no_opt = variant == PLAN_PLAIN};
    if (variant == PLAN_PIECES) options.batch_piece = TN_MAX(c->piece, 1);
    if (variant == PLAN_RECORDS)
        options.records = c->records ? c->records : &random_records_of(c->arena, 1, true)->source;
    tn_status status = variant == PLAN_UNCHANGED
                           ? tn_assemble(c->graph, &options, c->arena, out, NULL, &err)
                           : tn_plan(c->graph, &options, c->arena, out, &err);
    if (status != TN_OK) return plan_error(c, "plan", &err);
    if (getenv("CHECK_PLAN_PRINT")) {
        tn_str text;
        tn_str_init(&text);
        tn_program_print(out, &text);
        for (uint32_t i = 0; i < out->kernels.len; i++)
            tn_loop_print(out->kernels.data[i], false, &text);
        fprintf(stderr, "%s\n", tn_str_text(&text));
        tn_str_deinit(&text);
    }
    const char *wrong = program_check(out, c->symbols, c->arena);
    return wrong ? plan_fails(c, "%s", wrong) : true;
}

/* ---- running -------------------------------------------------------------------------------- */

typedef struct plan_run {
    plan_case *c;
    const tn_program *program;
    tn_kernel_fn **functions; /* one per kernel; NULL: interpret */
    tn_pool *pool;
    const char *way;
    bool donate; /* outputs in place of inputs have the memory of these */
    bool other;  /* the run before was another program's */
    plan_memory *inputs, *outputs, *sources;
} plan_run;

/* The input whose memory output `i` takes over; UINT32_MAX: none. */
static inline uint32_t plan_taken(const tn_program *p, uint32_t i) {
    uint32_t in = p->buffers.data[p->outputs.data[i].buffer].in_place_of;
    return in == UINT32_MAX ? in : p->buffers.data[in].index;
}

static inline bool plan_takes_any(const tn_program *p) {
    for (uint32_t i = 0; i < p->outputs.len; i++)
        if (plan_taken(p, i) != UINT32_MAX) return true;
    return false;
}

static inline uint8_t *plan_output(const plan_run *r, uint32_t i) {
    uint32_t in = r->donate ? plan_taken(r->program, i) : UINT32_MAX;
    return in == UINT32_MAX ? r->outputs[i].data : r->inputs[in].data;
}

static inline bool plan_is_overwritten(const plan_run *r, uint32_t input) {
    for (uint32_t i = 0; r->donate && i < r->program->outputs.len; i++)
        if (plan_taken(r->program, i) == input) return true;
    return false;
}

static inline tn_status plan_execute(const plan_run *r, tn_instance *instance, tn_error *err) {
    static const int64_t none[1];
    tn_status status = tn_instance_bind(instance, r->c->symbols ? r->c->symbols : none, err);
    if (status == TN_OK) status = tn_instance_run(instance, 1, err);
    for (uint32_t i = 0; i < r->program->inputs.len; i++)
        tn_instance_set_input(instance, i, r->inputs[i].data);
    for (uint32_t i = 0; i < r->program->outputs.len; i++)
        tn_instance_set_output(instance, i, plan_output(r, i));
    for (int times = r->donate; times < 2 && status == TN_OK; times++)
        status = tn_instance_run(instance, 0, err);
    return status;
}

/* Bit by bit, but for those of what is not a number, and what `slack` (or NULL) says is undefined. */
static inline bool plan_same_bits(const tn_array *a, const tn_array *b, const double *slack) {
    if (memcmp(a->data, b->data, tn_array_bytes(a)) == 0) return true;
    bool is_float = tn_dtype_is_float(a->dtype);
    size_t size = tn_dtype_size(a->dtype);
    for (int64_t i = 0; i < tn_array_count(a); i++) {
        if (slack && isnan(slack[i])) continue;
        const char *x = (const char *)a->data + (size_t)i * size;
        const char *y = (const char *)b->data + (size_t)i * size;
        if (memcmp(x, y, size) != 0 &&
            !(is_float && isnan(tn_array_get(a, i).f) && isnan(tn_array_get(b, i).f)))
            return false;
    }
    return true;
}

/* Compares with the reference and with the run before. */
static inline bool plan_judge(plan_run *r) {
    plan_case *c = r->c;
    uint32_t count = r->program->outputs.len;
    tn_array *got = TN_NEW_N(c->arena, tn_array, count);
    for (uint32_t i = 0; i < count; i++) {
        size_t size = tn_array_bytes(&c->want[i]);
        got[i] = c->want[i];
        got[i].data = tn_arena_dup(c->arena, plan_output(r, i), size);
        if (!plan_compare(c, i, &got[i], r->way)) return false;
        const double *slack = r->other && c->slack ? c->slack[i] : NULL;
        if (c->got && !plan_same_bits(&c->got[i], &got[i], slack))
            return plan_fails(c, "%s: output %u has other bits than with other threads or records",
                              r->way, i);
    }
    for (uint32_t i = 0; i < r->program->inputs.len; i++)
        if (!plan_is_overwritten(r, i) &&
            memcmp(r->inputs[i].data, c->inputs[i].data, tn_array_bytes(&c->inputs[i])) != 0)
            return plan_fails(c, "%s: input %u was written to", r->way, i);
    c->got = got;
    return true;
}

static inline bool plan_run_program(plan_run *r) {
    plan_case *c = r->c;
    const tn_program *p = r->program;
    tn_error err = TN_ERROR_INIT;
    uint32_t ni = p->inputs.len, no = p->outputs.len, ns = p->sources.len;
    r->inputs = TN_NEW_N(c->arena, plan_memory, ni);
    r->outputs = TN_NEW_N(c->arena, plan_memory, no);
    r->sources = TN_NEW_N(c->arena, plan_memory, ns);
    const void **sources = TN_NEW_N(c->arena, const void *, ns);
    for (uint32_t i = 0; i < ni; i++)
        r->inputs[i] = plan_memory_of(c->inputs[i].data, tn_array_bytes(&c->inputs[i]));
    for (uint32_t i = 0; i < no; i++)
        r->outputs[i] = plan_memory_of(NULL, tn_array_bytes(&c->want[i]));
    for (uint32_t i = 0; i < ns; i++) {
        r->sources[i] = plan_memory_of(p->sources.data[i].data, p->sources.data[i].size);
        sources[i] = r->sources[i].data;
    }
    size_t prepared = (p->prepared_bytes + 63) / 64 * 64;
    plan_memory weights = plan_memory_of(NULL, prepared);
    tn_driver driver = tn_driver_cpu;
    driver.allocate = plan_allocate;
    tn_executable x = {.program = p,
                       .functions = r->functions
                                        ? r->functions
                                        : TN_NEW_N(c->arena, tn_kernel_fn *, p->kernels.len),
                       .sources = sources,
                       .prepared = weights.data,
                       .pool = r->pool,
                       .driver = &driver};
    tn_instance *instance;
    tn_status status = tn_instance_create(&x, &instance, &err);
    if (status == TN_OK) {
        status = plan_execute(r, instance, &err);
        tn_instance_release(instance);
    }
    bool ok = status == TN_OK ? plan_judge(r) : plan_error(c, r->way, &err);
    plan_memory_drop(r->inputs, ni);
    plan_memory_drop(r->outputs, no);
    plan_memory_drop(r->sources, ns);
    plan_memory_drop(&weights, 1);
    return ok;
}

/* With one thread, then with two. */
static inline bool plan_run_threads(plan_case *c, const tn_program *p, tn_kernel_fn **functions,
                                    const char *way) {
    plan_run one = {.c = c, .program = p, .functions = functions, .way = way};
    c->got = NULL;
    if (!plan_run_program(&one)) return false;
    plan_run two = {.c = c, .program = p, .functions = functions, .way = way};
    two.pool = tn_pool_create(2);
    bool ok = plan_run_program(&two);
    two.donate = true;
    if (ok && plan_takes_any(p)) ok = plan_run_program(&two);
    tn_pool_release(two.pool);
    return ok;
}

/* ---- a case --------------------------------------------------------------------------------- */

/* Inputs and reference results of c->graph under c->symbols. */
static inline bool plan_case_init(plan_case *c, bool small) {
    const tn_graph *g = c->graph;
    tn_error err = TN_ERROR_INIT;
    c->inputs = TN_NEW_N(c->arena, tn_array, g->inputs.len);
    c->want = TN_NEW_N(c->arena, tn_array, g->outputs.len);
    for (uint32_t i = 0; i < g->inputs.len; i++) {
        const tn_type *type = tn_graph_type(g, g->inputs.data[i]);
        int64_t dim[TN_MAX_RANK];
        for (int j = 0; j < type->shape.rank; j++)
            dim[j] = tn_dim_eval(g->dims, type->shape.dim[j], c->symbols);
        c->inputs[i] = tn_array_new(c->arena, type->dtype, type->shape.rank, dim);
        if (fill_is_edge(tn_graph_value(g, g->inputs.data[i])->name))
            fill_edge(&c->inputs[i], i + 1);
        else if (small)
            fill_small(&c->inputs[i], i + 1);
        else
            fill_random(&c->inputs[i], i + 1);
    }
    if (tn_eval_graph(g, c->inputs, c->symbols, c->want, c->arena, &err) != TN_OK)
        return plan_error(c, "eval", &err);
    return true;
}

static const char *const plan_ways[PLAN_VARIANTS] = {"not fused", "fused", "fused by other records",
                                                     "fused, not rewritten", "image by image"};

static inline bool plan_interpret(plan_case *c) {
    const char *wrong = grouping_check(c->graph, c->arena);
    if (wrong) return plan_fails(c, "%s", wrong);
    for (int v = 0; v < PLAN_VARIANTS; v++) {
        tn_program program;
        if (c->ways && !(c->ways >> v & 1)) continue;
        if (!plan_program_of(c, (plan_variant)v, tn_target_native(), &program)) return false;
        plan_run run = {.c = c, .program = &program, .way = plan_ways[v], .other = true};
        if (v != PLAN_RECORDS || c->records) c->got = NULL;
        if (!plan_run_program(&run)) return false;
        run.other = false;
        run.donate = true;
        if (plan_takes_any(&program) && !plan_run_program(&run)) return false;
    }
    return true;
}

/* ---- compiling ------------------------------------------------------------------------------ */

/* The fused programs of many cases for one target, in one shared object. */
typedef struct plan_batch {
    plan_case **cases;
    uint32_t count;
    const tn_target *target;
    bool quick;    /* with few of the compiler's passes, and nothing is kept in the cache */
    bool as_users; /* have them: fused, with all of the compiler's passes, whatever the target */
    tn_arena *arena;
    tn_program *programs;
    const char **symbols; /* of their kernels, one program's behind the other's */
    tn_object object;
    const char *why;
} plan_batch;

/* A name for kernel `k` that depends on its text alone: programs that share a kernel share its code. */
static inline bool plan_symbol(plan_batch *b, const tn_loop *k, const char **out) {
    tn_error err = TN_ERROR_INIT;
    tn_prelude prelude;
    tn_str text;
    char hash[65];
    tn_prelude_init(&prelude);
    tn_str_init(&text);
    bool ok = tn_render_c_function(k, b->target, "k", &prelude, &text, &err) == TN_OK;
    tn_sha256_hex(text.data, text.len, hash);
    tn_str_deinit(&text);
    tn_prelude_deinit(&prelude);
    if (ok) *out = tn_arena_printf(b->arena, "k%.31s", hash);
    if (!ok) b->why = tn_arena_printf(b->arena, "render: %s", err.message);
    return ok;
}

static inline bool plan_is_rendered(const plan_batch *b, const char *symbol, uint32_t count) {
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(b->symbols[i], symbol) == 0) return true;
    return false;
}

/* Kernels rendered so far, as a unit. */
static inline tn_cc_unit plan_unit(tn_arena *arena, tn_prelude *prelude, tn_str *functions) {
    tn_str text;
    tn_str_init(&text);
    tn_render_c_head(prelude, &text);
    tn_str_append(&text, tn_str_text(functions));
    tn_cc_unit unit = {tn_arena_strdup(arena, tn_str_text(&text)), text.len};
    tn_str_deinit(&text);
    tn_str_clear(functions);
    tn_prelude_deinit(prelude);
    tn_prelude_init(prelude);
    return unit;
}

/* All kernels as C, each text once, in units of at most PLAN_UNIT_KERNELS. */
static inline bool plan_render(plan_batch *b, tn_cc_unit *units, uint32_t *unit_count) {
    tn_error err = TN_ERROR_INIT;
    tn_prelude prelude;
    tn_str functions;
    uint32_t held = 0, n = 0, at = 0;
    tn_prelude_init(&prelude);
    tn_str_init(&functions);
    bool ok = true;
    for (uint32_t i = 0; i < b->count && ok; i++)
        for (uint32_t k = 0; k < b->programs[i].kernels.len && ok; k++, at++) {
            const tn_loop *kernel = b->programs[i].kernels.data[k];
            ok = plan_symbol(b, kernel, &b->symbols[at]);
            if (!ok || plan_is_rendered(b, b->symbols[at], at)) continue;
            ok = tn_render_c_function(kernel, b->target, b->symbols[at], &prelude, &functions,
                                      &err) == TN_OK;
            if (++held < PLAN_UNIT_KERNELS) continue;
            held = 0;
            units[n++] = plan_unit(b->arena, &prelude, &functions);
        }
    if (held) units[n++] = plan_unit(b->arena, &prelude, &functions);
    tn_str_deinit(&functions);
    tn_prelude_deinit(&prelude);
    *unit_count = n;
    return ok;
}

/* The best target's kernels are compiled as users have them. On the others, what is checked is the text
 * that is written for them: without most of the compiler's passes it takes less than half the time.
 * test_targets.c has the kinds of kernels as users of these targets have them. */
static inline const char *plan_flags(const plan_batch *b) {
    if (b->as_users || (b->target == tn_target_native() && !b->quick)) return b->target->flags;
    return tn_arena_printf(b->arena, "%s -Og", b->target->flags);
}

/* Through the cache, so that repeating a test does not compile anew. */
static inline bool plan_build(plan_batch *b, const tn_cc_unit *units, uint32_t count) {
    tn_error err = TN_ERROR_INIT;
    tn_cache cache;
    tn_cc cc;
    tn_cache_open(&cache, NULL);
    if (tn_cc_find(&cc, NULL, &err) != TN_OK) {
        b->why = tn_arena_strdup(b->arena, err.message);
        return false;
    }
    const char *flags = plan_flags(b);
    tn_str key;
    tn_str_init(&key);
    for (uint32_t i = 0; i < count; i++) tn_str_append(&key, units[i].text);
    tn_str_append(&key, flags);
    tn_str_append(&key, tn_cc_flags());
    tn_str_append(&key, cc.identity);
    char hash[65];
    tn_sha256_hex(key.data, key.len, hash);
    tn_str_deinit(&key);
    const char *name = tn_arena_printf(b->arena, "%s.o", hash);
    bool cached = !b->quick && tn_cache_usable(&cache);
    if (cached && tn_object_from_cache(&b->object, &cache, name, NULL) == TN_OK) return true;
    tn_cc_job job = {.units = units, .count = count, .flags = flags, .seconds = 900};
    uint8_t *bytes;
    size_t size;
    tn_status status = tn_cc_build(&cc, &job, &bytes, &size, &err);
    if (status == TN_OK) {
        if (cached) tn_cache_put(&cache, name, bytes, size);
        status = tn_object_from_bytes(&b->object, bytes, size, &err);
        free(bytes);
    }
    if (status != TN_OK) b->why = tn_arena_strdup(b->arena, err.message);
    return status == TN_OK;
}

/* `symbols`: of this program. */
static inline bool plan_run_compiled(plan_batch *b, uint32_t i, const char *const *symbols) {
    const tn_program *p = &b->programs[i];
    tn_kernel_fn **functions = TN_NEW_N(b->arena, tn_kernel_fn *, p->kernels.len);
    for (uint32_t k = 0; k < p->kernels.len; k++) {
        void *symbol = tn_object_symbol(&b->object, symbols[k]);
        memcpy(&functions[k], &symbol, sizeof symbol);
    }
    return plan_run_threads(b->cases[i], p, functions, b->target->name);
}

static inline bool plan_batch_check(plan_batch *b) {
    uint32_t kernels = 0, units = 0;
    b->programs = TN_NEW_N(b->arena, tn_program, b->count);
    b->object = (tn_object)TN_OBJECT_NONE;
    for (uint32_t i = 0; i < b->count; i++) {
        static const plan_variant variants[] = {PLAN_FUSED,   PLAN_PLAIN,     PLAN_FUSED,
                                                PLAN_RECORDS, PLAN_UNCHANGED, PLAN_PIECES};
        plan_variant variant = b->as_users ? PLAN_FUSED : variants[i % TN_COUNT(variants)];
        if (!plan_program_of(b->cases[i], variant, b->target, &b->programs[i])) {
            b->why = b->cases[i]->why;
            return false;
        }
        kernels += b->programs[i].kernels.len;
    }
    tn_cc_unit *unit = TN_NEW_N(b->arena, tn_cc_unit, kernels / PLAN_UNIT_KERNELS + 1);
    if (kernels == 0) return true;
    b->symbols = TN_NEW_N(b->arena, const char *, kernels);
    if (!plan_render(b, unit, &units) || !plan_build(b, unit, units)) return false;
    bool ok = true;
    for (uint32_t i = 0, at = 0; i < b->count && ok; at += b->programs[i++].kernels.len) {
        ok = plan_run_compiled(b, i, b->symbols + at);
        if (!ok) b->why = b->cases[i]->why;
    }
    tn_object_close(&b->object);
    return ok;
}

static inline bool has_avx512(const tn_target *t) {
    return t->isa == TN_ISA_AVX512 || t->isa == TN_ISA_AVX512_VNNI;
}

/* The targets that this machine runs, the best first; sanitizers do not look into kernels, so that one is
 * enough for them. */
static inline uint32_t plan_targets(const tn_target **out) {
    uint32_t count = 0;
    const tn_target *native = tn_target_native();
    out[count++] = native;
#ifdef __SANITIZE_ADDRESS__
    return count;
#endif
    if (has_avx512(native)) out[count++] = tn_target_of(TN_ISA_AVX2);
    if (has_avx512(native) || native->isa == TN_ISA_AVX2)
        out[count++] = tn_target_of(TN_ISA_X86_64);
    return count;
}

static inline bool plan_compile(plan_case **cases, uint32_t count, tn_arena *arena,
                                const char **why) {
    const tn_target *targets[TN_ISA_COUNT];
    uint32_t n = plan_targets(targets);
    for (uint32_t i = 0; i < n; i++) {
        plan_batch b = {.cases = cases, .count = count, .target = targets[i], .arena = arena};
        if (plan_batch_check(&b)) continue;
        *why = tn_arena_printf(arena, "%s: %s", targets[i]->name, b.why);
        return false;
    }
    return true;
}

static inline bool plan_has_compiler(void) {
    tn_cc cc;
    bool found = tn_cc_find(&cc, NULL, NULL) == TN_OK;
    if (!found) print_message("skipped: there is no C compiler to build kernels with\n");
    return found;
}

/* ---- graphs built by functions -------------------------------------------------------------- */

typedef void build_graph(tn_builder *b);

static inline plan_case *plan_case_of(tn_arena *arena, build_graph *build, const int64_t *symbols,
                                      const char *label) {
    tn_error err = TN_ERROR_INIT;
    plan_case *c = TN_NEW(arena, plan_case);
    *c = (plan_case){.arena = arena, .label = label, .symbols = symbols};
    tn_dims *dims = TN_NEW(arena, tn_dims);
    tn_dims_init(dims, arena);
    tn_graph *g = tn_graph_new(arena, dims);
    tn_builder b = tn_builder_of(g, &err);
    build(&b);
    if (tn_b_finish(&b) != TN_OK) fail_msg("%s: build: %s", label, err.message);
    c->graph = g;
    if (!plan_case_init(c, false)) fail_msg("%s", c->why);
    return c;
}

/* Weights are packed in `prepare`, however loops are nested: no block of runs has a step for it. */
static inline void plan_expect_packed(const tn_program *p, const char *label) {
    for (uint32_t b = 0; b < p->blocks.len; b++) {
        const tn_prog_block *block = &p->blocks.data[b];
        for (uint32_t i = 0; !block->prepares && i < block->steps.len; i++)
            if (!strcmp(block->steps.data[i].name, "pack")) fail_msg("%s: packs in a run", label);
    }
}

/* Builds, evaluates, plans and interprets; returns the number of steps with fusion. */
static inline uint32_t check_graph(build_graph *build, const int64_t *symbols, const char *label) {
    tn_arena arena;
    tn_arena_init(&arena, tn_allocator_system());
    plan_case *c = plan_case_of(&arena, build, symbols, label);
    tn_program program;
    if (!plan_interpret(c) || !plan_program_of(c, PLAN_FUSED, tn_target_native(), &program))
        fail_msg("%s", c->why);
    uint32_t steps = program.blocks.data[0].steps.len;
    tn_arena_deinit(&arena);
    return steps;
}

#endif

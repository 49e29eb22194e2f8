/* Graphs in tests: from text, to text, evaluated on random inputs; and golden sections.
 *
 * Include after "../test.h". A golden file has sections "== NAME", each with parts separated by
 * lines "--"; tests read the first part and compare the others. A program started with --update
 * writes what it found instead (see golden_finish). */
#ifndef TENON_GRAPH_TEST_H
#define TENON_GRAPH_TEST_H

#include "base/io.h"
#include "ir/builder.h"
#include "ops/eval.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct graph_test {
    tn_arena arena;
    tn_error err;
} graph_test;

static inline void graph_test_init(graph_test *t) {
    *t = (graph_test){.err = TN_ERROR_INIT};
    tn_arena_init(&t->arena, tn_allocator_system());
}

static inline void graph_test_deinit(graph_test *t) {
    tn_arena_deinit(&t->arena);
}

static inline void must(graph_test *t, tn_status status) {
    char text[2048];
    if (status == TN_OK) return;
    tn_error_format(&t->err, text, sizeof text);
    fail_msg("%s: %s", tn_status_name(status), text);
}

static inline tn_graph *graph_of_n(graph_test *t, const char *text, size_t len) {
    tn_graph *g;
    must(t, tn_graph_parse(&t->arena, text, len, &g, &t->err));
    must(t, tn_graph_verify(g, NULL, &t->err));
    return g;
}

static inline tn_graph *graph_of(graph_test *t, const char *text) {
    return graph_of_n(t, text, strlen(text));
}

static inline const char *text_of(graph_test *t, const tn_graph *g, bool full) {
    tn_str out;
    tn_str_init(&out);
    tn_graph_print(g, full, &out);
    const char *text = tn_arena_strdup(&t->arena, tn_str_text(&out));
    tn_str_deinit(&out);
    return text;
}

static inline bool uses_op(const tn_graph *g, tn_op op) {
    for (tn_node n = 0; n < g->nodes.len; n++)
        if (tn_graph_node(g, n)->op == op) return true;
    return false;
}

/* ---- evaluation ----------------------------------------------------------------------------- */

/* The smallest legal value from 3 on of each symbol. */
static inline int64_t *some_bindings(graph_test *t, const tn_graph *g) {
    int64_t *value = TN_NEW_N(&t->arena, int64_t, g->dims->symbols.len);
    for (uint32_t i = 0; i < g->dims->symbols.len; i++) {
        const tn_dim_symbol *s = &g->dims->symbols.data[i];
        int64_t wanted = TN_MIN(TN_MAX((int64_t)3, s->lo), s->hi);
        value[i] = (wanted + s->divisor - 1) / s->divisor * s->divisor;
    }
    return value;
}

static inline tn_array random_array(graph_test *t, const tn_graph *g, tn_value v,
                                    const int64_t *bindings, uint64_t *state) {
    const tn_type *type = tn_graph_type(g, v);
    int64_t dim[TN_MAX_RANK];
    for (int i = 0; i < type->shape.rank; i++)
        dim[i] = tn_dim_eval(g->dims, type->shape.dim[i], bindings);
    tn_array a = tn_array_new(&t->arena, type->dtype, type->shape.rank, dim);
    for (int64_t i = 0, count = tn_array_count(&a); i < count; i++) {
        int64_t r = (int64_t)(test_random(state) % 33) - 16;
        bool wide = tn_dtype_is_float(a.dtype);
        tn_array_set(&a, i, wide ? tn_cell_of(a.dtype, (double)r / 8) : tn_cell_of_int(a.dtype, r));
    }
    return a;
}

static inline tn_array *run_graph(graph_test *t, const tn_graph *g, uint64_t seed) {
    const int64_t *bindings = some_bindings(t, g);
    tn_array *in = TN_NEW_N(&t->arena, tn_array, g->inputs.len);
    tn_array *out = TN_NEW_N(&t->arena, tn_array, g->outputs.len);
    for (uint32_t i = 0; i < g->inputs.len; i++)
        in[i] = random_array(t, g, g->inputs.data[i], bindings, &seed);
    must(t, tn_eval_graph(g, in, bindings, out, &t->arena, &t->err));
    return out;
}

static inline bool cells_agree(tn_dtype dtype, tn_cell a, tn_cell b, double tolerance) {
    if (!tn_dtype_is_float(dtype)) return a.u == b.u;
    if (isnan(a.f) || isnan(b.f)) return isnan(a.f) && isnan(b.f);
    return a.f == b.f || fabs(a.f - b.f) <= tolerance * (1 + fabs(a.f));
}

/* Both graphs give the same outputs for the same inputs; tolerance 0: equal values. */
static inline void assert_same_results(graph_test *t, const tn_graph *a, const tn_graph *b,
                                       double tolerance) {
    tn_array *x = run_graph(t, a, 1), *y = run_graph(t, b, 1);
    assert_int_equal(a->outputs.len, b->outputs.len);
    for (uint32_t i = 0; i < a->outputs.len; i++) {
        assert_int_equal(x[i].dtype, y[i].dtype);
        assert_int_equal(tn_array_count(&x[i]), tn_array_count(&y[i]));
        for (int64_t k = 0; k < tn_array_count(&x[i]); k++) {
            tn_cell p = tn_array_get(&x[i], k), q = tn_array_get(&y[i], k);
            if (!cells_agree(x[i].dtype, p, q, tolerance))
                fail_msg("output %u, element %lld: %g, then %g", i, (long long)k, p.f, q.f);
        }
    }
}

/* ---- golden sections ------------------------------------------------------------------------ */

enum { GOLDEN_PARTS = 4, GOLDEN_SECTIONS = 256 };

typedef struct golden_section {
    char *name;
    int parts;
    const char *part[GOLDEN_PARTS];
    size_t len[GOLDEN_PARTS];
    const char *found; /* what the last part should be; NULL: not run */
} golden_section;

typedef struct golden {
    const char *path;
    tn_file_map map;
    tn_arena arena;
    bool update;
    int count;
    golden_section section[GOLDEN_SECTIONS];
} golden;

static inline void golden_line(golden *g, const char *line, size_t len) {
    golden_section *s = g->count ? &g->section[g->count - 1] : NULL;
    if (len > 3 && memcmp(line, "== ", 3) == 0 && g->count < GOLDEN_SECTIONS) {
        s = &g->section[g->count++];
        s->name = tn_arena_printf(&g->arena, "%.*s", (int)(len - 3), line + 3);
        s->parts = 1;
        s->part[0] = line + len + 1;
    } else if (s && len == 2 && memcmp(line, "--", 2) == 0 && s->parts < GOLDEN_PARTS) {
        s->part[s->parts++] = line + len + 1;
    } else if (s) {
        s->len[s->parts - 1] = (size_t)(line + len + 1 - s->part[s->parts - 1]);
    }
}

static inline void golden_open(golden *g, const char *path, int argc, char **argv) {
    tn_error err = TN_ERROR_INIT;
    *g = (golden){.path = path};
    tn_arena_init(&g->arena, tn_allocator_system());
    g->update = argc > 1 && strcmp(argv[1], "--update") == 0;
    if (tn_file_map_open(&g->map, path, &err) != TN_OK) {
        fprintf(stderr, "%s: %s (run from the source folder)\n", path, err.message);
        exit(1);
    }
    const char *at = (const char *)g->map.data, *end = at + g->map.size;
    while (at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        if (!stop) stop = end;
        golden_line(g, at, (size_t)(stop - at));
        at = stop + 1;
    }
}

/* Without the empty line before the next section. */
static inline size_t golden_len(const golden_section *s, int part) {
    size_t len = s->len[part];
    while (len > 1 && s->part[part][len - 1] == '\n' && s->part[part][len - 2] == '\n') len--;
    return len;
}

/* The last part of the section against `text`. */
static inline void golden_check(golden *g, golden_section *s, const char *text) {
    int last = s->parts - 1;
    s->found = tn_arena_strdup(&g->arena, text);
    if (g->update) return;
    size_t len = strlen(text);
    bool equal = last > 0 && golden_len(s, last) == len && memcmp(s->part[last], text, len) == 0;
    if (equal) return;
    print_error("expected:\n%.*s\nfound:\n%s\n", last > 0 ? (int)s->len[last] : 0,
                last > 0 ? s->part[last] : "", text);
    fail_msg("section '%s' of %s differs; if it is right, run this test with --update", s->name,
             g->path);
}

/* With --update: writes the file with what was found. Frees everything. */
static inline int golden_finish(golden *g, int failed) {
    tn_str out;
    tn_error err = TN_ERROR_INIT;
    tn_str_init(&out);
    for (int i = 0; i < g->count; i++) {
        const golden_section *s = &g->section[i];
        int last = s->parts - 1;
        bool replace = s->found != NULL;
        tn_str_appendf(&out, "%s== %s\n", i ? "\n" : "", s->name);
        for (int k = 0; k <= last; k++) {
            size_t len = golden_len(s, k);
            if (k > 0) tn_str_append(&out, "--\n");
            if (k == last && k > 0 && replace)
                tn_str_append(&out, s->found);
            else
                tn_str_append_n(&out, s->part[k], len);
        }
        if (last == 0 && replace) tn_str_appendf(&out, "--\n%s", s->found);
    }
    if (g->update && tn_file_write(g->path, out.data, out.len, false, &err) != TN_OK) failed = 1;
    tn_str_deinit(&out);
    tn_arena_deinit(&g->arena);
    tn_file_map_close(&g->map);
    return failed;
}

#endif

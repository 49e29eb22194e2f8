/* Runs ONNX test folders through the importer and the reference evaluator, without any kernel.
 *
 *     eval_folder FOLDER…      one line each: "pass NAME" or "fail NAME: reason"
 *
 * EVAL_NEEDS=1 prints what has to be bound, EVAL_PRINT=1 the graph.
 * A folder holds model.onnx and test_data_set_*; every folder runs in a process of its own. */
#include <glob.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "import/import.h"
#include "ops/eval.h"

enum { MAX_PORTS = 64, MAX_ROUNDS = 8 };
static const double relative = 1e-3, absolute = 1e-7;

typedef struct run {
    const char *set;
    tn_arena *arena;
    tn_import import;
    tn_import_value values[MAX_PORTS];
    tn_import_dim dims[MAX_PORTS];
    tn_import_options options;
    tn_array in[MAX_PORTS];
    const char *names[MAX_PORTS];
    int in_count;
} run;

static bool exists(const char *path) {
    return access(path, R_OK) == 0;
}

static tn_status read_inputs(run *r, tn_error *err) {
    for (r->in_count = 0; r->in_count < MAX_PORTS; r->in_count++) {
        const char *path = tn_arena_printf(r->arena, "%s/input_%d.pb", r->set, r->in_count);
        if (!exists(path)) return TN_OK;
        int i = r->in_count;
        TN_CHECK(tn_import_tensor_pb(path, r->arena, &r->in[i], &r->names[i], err));
    }
    return TN_OK;
}

/* The array for an input: the one of its name, else the one of its number. */
static const tn_array *array_for(const run *r, uint32_t port) {
    for (int i = 0; i < r->in_count; i++)
        if (!strcmp(r->names[i], r->import.inputs.data[port].name)) return &r->in[i];
    return port < (uint32_t)r->in_count ? &r->in[port] : NULL;
}

static void add_dim(run *r, const char *name, int64_t value) {
    for (uint32_t i = 0; i < r->options.dim_count; i++)
        if (!strcmp(r->dims[i].name, name)) return;
    if (r->options.dim_count < MAX_PORTS)
        r->dims[r->options.dim_count++] = (tn_import_dim){tn_arena_strdup(r->arena, name), value};
}

static void bind_values(run *r) {
    for (uint32_t i = 0; i < r->import.need_values.len; i++)
        for (uint32_t k = 0; k < r->import.inputs.len; k++) {
            const char *name = r->import.inputs.data[k].name;
            const tn_array *a = array_for(r, k);
            if (strcmp(name, r->import.need_values.data[i]) || !a) continue;
            r->values[r->options.value_count++] =
                (tn_import_value){tn_arena_strdup(r->arena, name), *a};
        }
}

static void bind_dims(run *r) {
    for (uint32_t i = 0; i < r->import.need_dims.len; i++)
        for (uint32_t k = 0; k < r->import.inputs.len; k++) {
            const tn_shape *s = &r->import.inputs.data[k].type.shape;
            const tn_array *a = array_for(r, k);
            for (int d = 0; a && d < s->rank; d++) {
                uint32_t symbol;
                if (!tn_dim_is_symbol(r->import.dims, s->dim[d], &symbol)) continue;
                const char *name = r->import.dims->symbols.data[symbol].name;
                if (!strcmp(name, r->import.need_dims.data[i])) add_dim(r, name, a->dim[d]);
            }
        }
}

static tn_status import_all(run *r, const char *model, tn_error *err) {
    r->options.values = r->values;
    r->options.dims = r->dims;
    for (int round = 0; round < MAX_ROUNDS; round++) {
        TN_CHECK(tn_import_onnx(model, &r->options, r->arena, &r->import, err));
        if (r->import.graph) return TN_OK;
        if (getenv("EVAL_NEEDS")) fprintf(stderr, "%s\n", r->import.need_reason);
        uint32_t before = r->options.value_count + r->options.dim_count;
        bind_values(r);
        bind_dims(r);
        if (r->options.value_count + r->options.dim_count == before) break;
    }
    return tn_error_set(err, TN_INVALID, "needs: %s", r->import.need_reason);
}

static double as_double(const tn_array *a, int64_t i) {
    return tn_cell_cast(a->dtype, TN_f64, tn_array_get(a, i)).f;
}

static tn_status compare(const tn_array *have, const tn_array *want, int which, tn_error *err) {
    bool same = have->dtype == want->dtype && have->rank == want->rank;
    for (int d = 0; same && d < have->rank; d++) same = have->dim[d] == want->dim[d];
    if (!same) {
        char text[2][160];
        const tn_array *both[] = {have, want};
        for (int k = 0; k < 2; k++) {
            int at = snprintf(text[k], sizeof text[k], "%s[", tn_dtype_name(both[k]->dtype));
            for (int d = 0; d < both[k]->rank; d++)
                at += snprintf(text[k] + at, sizeof text[k] - (size_t)at, "%lld,",
                               (long long)both[k]->dim[d]);
        }
        return tn_error_set(err, TN_INVALID, "output %d: %s] instead of %s]", which, text[0],
                            text[1]);
    }
    for (int64_t i = 0; i < tn_array_count(have); i++) {
        double x = as_double(have, i), y = as_double(want, i);
        if (x == y || (isnan(x) && isnan(y))) continue;
        if (!(fabs(x - y) <= absolute + relative * fabs(y)))
            return tn_error_set(err, TN_INVALID, "output %d element %lld: %.9g instead of %.9g",
                                which, (long long)i, x, y);
    }
    return TN_OK;
}

static tn_status evaluate(run *r, tn_error *err) {
    const tn_graph *g = r->import.graph;
    tn_array in[MAX_PORTS], out[MAX_PORTS], want;
    int64_t *bindings = TN_NEW_N(r->arena, int64_t, g->dims->symbols.len + 1);
    TN_TRY(err, tn_graph_verify(g, NULL, err), "verify");
    for (uint32_t k = 0; k < r->import.inputs.len; k++) {
        const tn_shape *s = &r->import.inputs.data[k].type.shape;
        const tn_array *a = array_for(r, k);
        if (!a) return tn_error_set(err, TN_NOT_FOUND, "no data for input %u", k);
        in[k] = *a;
        for (int d = 0; d < s->rank && d < a->rank; d++) {
            uint32_t symbol;
            if (tn_dim_is_symbol(g->dims, s->dim[d], &symbol)) bindings[symbol] = a->dim[d];
        }
    }
    TN_CHECK(tn_eval_graph(g, in, bindings, out, r->arena, err));
    for (uint32_t k = 0; k < g->outputs.len; k++) {
        const char *path = tn_arena_printf(r->arena, "%s/output_%u.pb", r->set, k);
        TN_CHECK(tn_import_tensor_pb(path, r->arena, &want, NULL, err));
        TN_CHECK(compare(&out[k], &want, (int)k, err));
    }
    return TN_OK;
}

typedef struct job {
    const char *folder, *set;
    tn_arena *arena;
    run r;
} job;

static tn_status run_set(void *argument, tn_error *err) {
    job *j = argument;
    j->r = (run){.set = j->set, .arena = j->arena};
    const char *model = tn_arena_printf(j->arena, "%s/model.onnx", j->folder);
    TN_CHECK(read_inputs(&j->r, err));
    TN_CHECK(import_all(&j->r, model, err));
    if (getenv("EVAL_PRINT")) {
        tn_str text;
        tn_str_init(&text);
        tn_graph_print(j->r.import.graph, false, &text);
        puts(tn_str_text(&text));
        tn_str_deinit(&text);
    }
    return evaluate(&j->r, err);
}

static int run_folder(const char *folder) {
    glob_t sets;
    char pattern[4096], text[TN_ERROR_TEXT];
    snprintf(pattern, sizeof pattern, "%s/test_data_set_*", folder);
    if (glob(pattern, 0, NULL, &sets) != 0) return puts("fail: no data"), 1;
    for (size_t i = 0; i < sets.gl_pathc; i++) {
        tn_error err = TN_ERROR_INIT;
        tn_arena arena;
        tn_arena_init(&arena, tn_allocator_system());
        job j = {.folder = folder, .set = sets.gl_pathv[i], .arena = &arena};
        if (tn_guard(run_set, &j, &err) != TN_OK) {
            tn_error_format(&err, text, sizeof text);
            const char *name = strrchr(folder, '/');
            printf("fail %s: %s\n", name ? name + 1 : folder, text);
            return 1;
        }
        tn_import_close(&j.r.import);
        tn_arena_deinit(&arena);
    }
    const char *name = strrchr(folder, '/');
    printf("pass %s\n", name ? name + 1 : folder);
    globfree(&sets);
    return 0;
}

int main(int argc, char **argv) {
    int failed = 0;
    for (int i = 1; i < argc; i++) {
        fflush(stdout);
        pid_t child = fork();
        if (child == 0) {
            struct rlimit limit = {60, 60};
            setrlimit(RLIMIT_CPU, &limit);
            int rc = run_folder(argv[i]);
            fflush(stdout);
            _exit(rc);
        }
        int status = 0;
        waitpid(child, &status, 0);
        if (WIFSIGNALED(status)) printf("fail %s: signal %d\n", argv[i], WTERMSIG(status));
        failed += status != 0;
    }
    return failed != 0;
}

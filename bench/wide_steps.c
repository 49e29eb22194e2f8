/* Tenon's side of bench_wide.py: N members of a model as one program, or one program after another.
 *
 *     wide_steps FOLDER THREADS wide|loop
 *
 * FOLDER has member-000.onnx, … and x.bin, the inputs of all members. For each line that it reads it prints one
 * of JSON: "members N" opens and runs them, their results become FOLDER/y-wide.bin or y-loop.bin; SECONDS gives
 * milliseconds of a run of all members. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tenon/wide.h>

#include "steady.h"

enum { MOST = 1000, LEAST_RUNS = 2 };
#define WARM_UP_SECONDS 0.05

typedef struct program {
    tn_model *model;
    tn_session *session;
    tn_buffer x, y;
} program;

typedef struct bench {
    const char *folder, *mode;
    int threads, count;
    bool together;
    void *inputs;
    tn_wide *wide;
    tn_buffer x, y;
    program each[MOST];
    char path[MOST][512];
} bench;

/* ---- members -------------------------------------------------------------------------------- */

static size_t bytes_of(const tn_buffer *b) {
    size_t size = b->dtype == TN_i64 ? 8 : 4;
    for (int a = 0; a < b->rank; a++) size *= (size_t)b->dim[a];
    return size;
}

static tn_buffer buffer_of(const tn_port_info *port, void *data) {
    tn_buffer b = {.dtype = port->dtype, .rank = port->rank, .data = data};
    memcpy(b.dim, port->dim, sizeof b.dim);
    return b;
}

static void close_members(bench *b) {
    for (int i = 0; i < b->count; i++) {
        tn_session_release(b->each[i].session);
        tn_model_release(b->each[i].model);
        b->each[i] = (program){0};
    }
    tn_wide_release(b->wide);
    b->wide = NULL;
    b->y = (tn_buffer){0};
    b->count = 0;
}

static tn_status open_wide(bench *b, int count, tn_error *err) {
    tn_wide_options options = TN_WIDE_OPTIONS_INIT;
    tn_wide_member members[MOST];
    tn_port_info port;
    options.compile.threads = b->threads;
    for (int i = 0; i < count; i++) members[i] = (tn_wide_member){.model = b->path[i]};
    TN_TRY(err, tn_wide_open(members, count, &options, &b->wide, err), "with %d members", count);
    TN_TRY(err, tn_wide_input(b->wide, 0, &port), "with %d members", count);
    b->x = buffer_of(&port, b->inputs);
    return TN_OK;
}

static tn_status open_loop(bench *b, int count, tn_error *err) {
    tn_model_options options = TN_MODEL_OPTIONS_INIT;
    tn_port_info port;
    char *at = b->inputs;
    options.threads = b->threads;
    for (b->count = 0; b->count < count; b->count++) {
        program *p = &b->each[b->count];
        options.threads_of = b->each[0].model; /* pools of their own would compete */
        TN_TRY(err, tn_model_open(b->path[b->count], &options, &p->model, err), "while opening");
        TN_TRY(err, tn_session_create(p->model, &p->session, err), "while opening");
        TN_TRY(err, tn_model_input(p->model, 0, &port), "while opening");
        p->x = buffer_of(&port, at);
        at += bytes_of(&p->x);
    }
    return TN_OK;
}

static tn_status run(void *context, tn_error *err) {
    bench *b = context;
    if (b->together) return tn_wide_run(b->wide, &b->x, 1, &b->y, 1, err);
    for (int i = 0; i < b->count; i++) {
        program *p = &b->each[i];
        TN_TRY(err, tn_session_run(p->session, &p->x, 1, &p->y, 1, err), "in member %d", i);
    }
    return TN_OK;
}

/* ---- answers -------------------------------------------------------------------------------- */

/* Of the process: `key` of /proc/self/status, in bytes. */
static long resident(const char *key) {
    char line[256];
    long kilobytes = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, key, strlen(key)) == 0) kilobytes = atol(line + strlen(key) + 1);
    if (f) fclose(f);
    return kilobytes * 1024;
}

static tn_status save_results(const bench *b, tn_error *err) {
    char path[600];
    snprintf(path, sizeof path, "%s/y-%s.bin", b->folder, b->mode);
    FILE *f = fopen(path, "wb");
    bool good = f != NULL;
    if (good && b->together) good = fwrite(b->y.data, bytes_of(&b->y), 1, f) == 1;
    for (int i = 0; good && !b->together && i < b->count; i++)
        good = fwrite(b->each[i].y.data, bytes_of(&b->each[i].y), 1, f) == 1;
    if (f) good = fclose(f) == 0 && good;
    return good ? TN_OK : tn_error_set(err, TN_IO, "%s: cannot be written", path);
}

static void print_strategies(const bench *b) {
    static const char *const name[] = {"once", "rows", "columns", "batched", "elements", "loop"};
    int each[6] = {0}, kinds = 0;
    tn_wide_node_info node;
    for (int g = 0; g < tn_wide_group_count(b->wide); g++)
        for (int i = 0; i < tn_wide_node_count(b->wide, g); i++)
            if (tn_wide_node(b->wide, g, i, &node) == TN_OK) each[node.strategy]++;
    for (int k = 0; k < 6; k++)
        if (each[k]) printf("%s%d %s", kinds++ ? ", " : "", each[k], name[k]);
}

static tn_status open_members(bench *b, int count, long before, tn_error *err) {
    tn_wide_group_info group = {0};
    close_members(b);
    double begin = steady_seconds();
    TN_TRY(err, b->together ? open_wide(b, count, err) : open_loop(b, count, err), "in %s",
           b->folder);
    TN_TRY(err, run(b, err), "in the first run");
    double seconds = steady_seconds() - begin;
    TN_TRY(err, save_results(b, err), "after the first run");
    printf("{\"compile_s\": %.3f, \"bytes\": %ld, ", seconds, resident("VmHWM:") - before);
    if (b->together && tn_wide_group(b->wide, 0, &group) == TN_OK)
        printf("\"groups\": %d, \"planned_bytes\": %" PRId64 ", ", tn_wide_group_count(b->wide),
               group.bytes);
    printf("\"how\": \"");
    if (b->together) print_strategies(b);
    printf("\"}\n");
    return TN_OK;
}

static tn_status answer(bench *b, const char *line, long before, tn_error *err) {
    int count;
    if (sscanf(line, "members %d", &count) == 1) {
        if (count < 1 || count > MOST)
            return tn_error_set(err, TN_INVALID, "members: 1 to %d", MOST);
        return open_members(b, count, before, err);
    }
    steady_options how = {.warm_up = WARM_UP_SECONDS, .length = atof(line), .least = LEAST_RUNS};
    printf("{");
    TN_TRY(err, steady_latency(run, b, how, err), "with %s", b->mode);
    printf("}\n");
    return TN_OK;
}

static tn_status read_inputs(bench *b, tn_error *err) {
    char path[600];
    snprintf(path, sizeof path, "%s/x.bin", b->folder);
    FILE *f = fopen(path, "rb");
    bool good = f && fseek(f, 0, SEEK_END) == 0;
    long size = good ? ftell(f) : 0;
    good = size > 0 && fseek(f, 0, SEEK_SET) == 0;
    good = good && (b->inputs = malloc((size_t)size)) && fread(b->inputs, (size_t)size, 1, f) == 1;
    if (f) fclose(f);
    return good ? TN_OK : tn_error_set(err, TN_IO, "%s: cannot be read", path);
}

static tn_status work(bench *b, tn_error *err) {
    char line[64];
    for (int i = 0; i < MOST; i++)
        snprintf(b->path[i], sizeof b->path[i], "%s/member-%03d.onnx", b->folder, i);
    TN_TRY(err, read_inputs(b, err), "while beginning");
    long before = resident("VmRSS:");
    while (fgets(line, sizeof line, stdin)) {
        TN_TRY(err, answer(b, line, before, err), "while measuring");
        fflush(stdout);
    }
    return TN_OK;
}

int main(int argc, char **argv) {
    static bench b;
    tn_error err = TN_ERROR_INIT;
    bool wide = argc == 4 && strcmp(argv[3], "wide") == 0;
    if (argc != 4 || (!wide && strcmp(argv[3], "loop") != 0)) {
        fprintf(stderr, "usage: wide_steps FOLDER THREADS wide|loop\n");
        return 2;
    }
    b.folder = argv[1], b.threads = atoi(argv[2]), b.mode = argv[3], b.together = wide;
    tn_status status = work(&b, &err);
    close_members(&b);
    free(b.inputs);
    return status == TN_OK ? EXIT_SUCCESS : steady_fail(&err);
}

/* Writing a program as C source. See emit_c.h.
 *
 * The C file holds the kernels as the toolchain sees them and a small runtime: a table of buffer
 * addresses, one function per block of steps. Sizes are those of the binding, so memory is placed
 * here and every launch is written with constants. It runs on one thread. */
#include "cli/emit_c.h"

#include <ctype.h>
#include <stdio.h>

#include "base/io.h"
#include "runtime/memory.h"

/* The emitted runtime, embedded by CMake; @NAME@ stands for the model. */
extern const char *const cli_emit_runtime[];

typedef struct emitter {
    cli *c;
    const tn_session *s;
    const tn_artifact *a;
    const tn_program *p;
    const int64_t *symbols;
    const char *name;
    uint64_t *bytes;  /* per buffer */
    uint64_t *weight; /* per buffer: its place in the weights' file; weights and prepared ones */
    bool *used;       /* per buffer: some step of a run names it */
    tn_memory_plan plan;
    tn_str source, header, weights;
} emitter;

static int64_t size_of(const emitter *e, tn_dim d) {
    return tn_dim_is_const(d) ? d : tn_dim_eval(e->p->dims, d, e->symbols);
}

/* ---- names ---------------------------------------------------------------------------------- */

/* The base of the file's name as a C identifier. */
static const char *identifier(cli *c, const char *file) {
    const char *slash = strrchr(file, '/'), *base = slash ? slash + 1 : file;
    char *name = tn_arena_printf(&c->arena, "%s%.*s", isdigit((unsigned char)*base) ? "m" : "",
                                 (int)strcspn(base, "."), base);
    for (char *p = name; *p; p++)
        if (!isalnum((unsigned char)*p)) *p = '_';
    return *name ? name : "model";
}

static const char *beside(cli *c, const char *file, const char *ending) {
    const char *dot = strrchr(file, '.'), *slash = strrchr(file, '/');
    int len = dot && (!slash || dot > slash) ? (int)(dot - file) : (int)strlen(file);
    return tn_arena_printf(&c->arena, "%.*s.%s", len, file, ending);
}

/* Text that is safe inside of a comment and of a string literal. */
static const char *harmless(cli *c, const char *text) {
    char *out = tn_arena_strdup(&c->arena, text ? text : "");
    for (char *p = out; *p; p++)
        if (*p == '"' || *p == '\\' || (unsigned char)*p < 32 ||
            (*p == '/' && p > out && p[-1] == '*') || *p == '?')
            *p = '_';
    return out;
}

/* ---- buffers -------------------------------------------------------------------------------- */

static bool is_weight(const tn_prog_buffer *b) {
    return b->store == TN_STORE_WEIGHT || b->store == TN_STORE_PREPARED;
}

static void use(emitter *e, const uint32_t *ids, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) e->used[ids[i]] = true;
}

static void find_used(emitter *e) {
    const tn_program *p = e->p;
    for (uint32_t b = 0; b < p->blocks.len; b++)
        for (uint32_t i = 0; !p->blocks.data[b].prepares && i < p->blocks.data[b].steps.len; i++) {
            const tn_prog_step *s = &p->blocks.data[b].steps.data[i];
            use(e, s->buffers, s->buffer_count);
            if (!s->loop) continue;
            use(e, s->loop->initial, s->loop->states);
            use(e, s->loop->xs, s->loop->xs_count);
        }
}

static void add_weights(emitter *e) {
    for (uint32_t i = 0; i < e->p->buffers.len; i++) {
        const tn_prog_buffer *b = &e->p->buffers.data[i];
        if (!is_weight(b) || !e->used[i]) continue;
        const uint8_t *from = b->store == TN_STORE_PREPARED
                                  ? e->a->executable.prepared
                                  : (const uint8_t *)e->a->sources[b->index];
        e->weight[i] = e->weights.len;
        tn_str_append_n(&e->weights, (const char *)from + b->offset, e->bytes[i]);
        while (e->weights.len % TN_MEMORY_ALIGN) tn_str_append_char(&e->weights, 0);
    }
}

static void prepare_buffers(emitter *e) {
    uint32_t n = e->p->buffers.len;
    e->bytes = TN_NEW_N(&e->c->arena, uint64_t, n);
    e->weight = TN_NEW_N(&e->c->arena, uint64_t, n);
    e->used = TN_NEW_N(&e->c->arena, bool, n);
    for (uint32_t i = 0; i < n; i++) {
        const tn_prog_buffer *b = &e->p->buffers.data[i];
        e->bytes[i] = (uint64_t)size_of(e, b->elements) * tn_dtype_size(b->dtype);
    }
    tn_memory_place(e->p, e->bytes, &e->c->arena, &e->plan);
    find_used(e);
    add_weights(e);
}

/* Where each buffer is, as the emitted runtime reads it. */
static void append_buffers(emitter *e) {
    tn_str *s = &e->source;
    tn_str_appendf(s, "static const struct buffer buffers[BUFFERS] = {\n");
    for (uint32_t i = 0; i < e->p->buffers.len; i++) {
        const tn_prog_buffer *b = &e->p->buffers.data[i];
        const char *place = b->store == TN_STORE_INPUT    ? "AT_INPUT"
                            : b->store == TN_STORE_OUTPUT ? "AT_OUTPUT"
                            : b->store == TN_STORE_TEMP   ? "AT_MEMORY"
                            : is_weight(b) && e->used[i]  ? "AT_WEIGHTS"
                                                          : "AT_NOWHERE";
        uint64_t offset = b->store == TN_STORE_TEMP ? e->plan.offset[i]
                          : is_weight(b)            ? e->weight[i]
                                                    : b->index;
        tn_str_appendf(s, "    {%s, %lluu, %lluu},%s%s%s\n", place, (unsigned long long)offset,
                       (unsigned long long)e->bytes[i], b->name ? " /* " : "",
                       b->name ? harmless(e->c, b->name) : "", b->name ? " */" : "");
    }
    if (e->p->buffers.len == 0) tn_str_append(s, "    {AT_NOWHERE, 0, 0},\n");
    tn_str_append(s, "};\n\n");
}

/* ---- steps ---------------------------------------------------------------------------------- */

static void append_ids(tn_str *s, const char *name, const uint32_t *ids, uint32_t count) {
    tn_str_appendf(s, "        static const unsigned %s[] = {", name);
    for (uint32_t i = 0; i < count; i++) tn_str_appendf(s, "%s%u", i ? ", " : "", ids[i]);
    tn_str_append(s, count ? "};\n" : "0};\n");
}

/* A launch that never ends in scratch of another size: scalars of a step are constants here. */
static void append_kernel(emitter *e, const tn_prog_step *step) {
    tn_str *s = &e->source;
    const tn_loop *k = e->p->kernels.data[step->kernel];
    int64_t *scalars = TN_NEW_N(&e->c->arena, int64_t, step->scalar_count + 1);
    for (uint32_t i = 0; i < step->scalar_count; i++) scalars[i] = size_of(e, step->scalars[i]);
    tn_str_appendf(s, "    { /* %s */\n", harmless(e->c, step->name));
    append_ids(s, "ids", step->buffers, step->buffer_count);
    tn_str_append(s, "        static const i64 scalars[] = {");
    for (uint32_t i = 0; i < step->scalar_count; i++)
        tn_str_appendf(s, "%s%lld", i ? ", " : "", (long long)scalars[i]);
    tn_str_append(s, step->scalar_count ? "};\n" : "0};\n");
    tn_str_appendf(s,
                   "        if ((code = launch(m, tn_kernel_%u, ids, %u, scalars, %lld)) != 0) "
                   "return code;\n    }\n",
                   step->kernel, step->buffer_count, (long long)tn_loop_task_count(k, scalars));
}

static void append_loop_tables(emitter *e, const tn_prog_loop *l) {
    tn_str *s = &e->source;
    append_ids(s, "initial", l->initial, l->states);
    append_ids(s, "in", l->in, l->states);
    append_ids(s, "out", l->out, l->states);
    append_ids(s, "result", l->result, l->states);
    append_ids(s, "spare", l->spare, 2 * l->states);
    tn_str_appendf(s,
                   "        static const struct states states = {%u, initial, in, out, result, "
                   "spare};\n",
                   l->states);
}

static void append_while(emitter *e, const tn_prog_step *step) {
    tn_str *s = &e->source;
    tn_str_append(s, "    { /* while */\n");
    append_loop_tables(e, step->loop);
    tn_str_appendf(s,
                   "        for (i64 t = 0;; t++) {\n"
                   "            turn_states(m, &states, t);\n"
                   "            if ((code = block_%u(m)) != 0) return code;\n"
                   "            if (!*(const unsigned char *)m->at[%u]) break;\n"
                   "            if ((code = block_%u(m)) != 0) return code;\n"
                   "        }\n        finish_states(m, &states);\n    }\n",
                   step->blocks[0], step->loop->flag, step->blocks[1]);
}

static void append_scan(emitter *e, const tn_prog_step *step) {
    tn_str *s = &e->source;
    const tn_prog_loop *l = step->loop;
    long long length = (long long)size_of(e, l->length);
    tn_str_append(s, "    { /* scan */\n");
    append_loop_tables(e, l);
    append_ids(s, "xs", l->xs, l->xs_count);
    append_ids(s, "slice_in", l->slice_in, l->xs_count);
    append_ids(s, "ys", l->ys, l->ys_count);
    append_ids(s, "slice_out", l->slice_out, l->ys_count);
    tn_str_appendf(s, "        for (i64 t = 0; t < %lld; t++) {\n", length);
    tn_str_appendf(s, "            i64 at = %s;\n",
                   l->reverse ? tn_arena_printf(&e->c->arena, "%lld - t", length - 1) : "t");
    tn_str_appendf(s,
                   "            turn_states(m, &states, t);\n"
                   "            set_slices(m, xs, slice_in, %u, at);\n"
                   "            set_slices(m, ys, slice_out, %u, at);\n"
                   "            if ((code = block_%u(m)) != 0) return code;\n        }\n"
                   "        turn_states(m, &states, %lld);\n"
                   "        finish_states(m, &states);\n    }\n",
                   l->xs_count, l->ys_count, step->blocks[0], length);
}

static void append_step(emitter *e, const tn_prog_step *step) {
    tn_str *s = &e->source;
    switch (step->kind) {
    case TN_STEP_KERNEL:
        append_kernel(e, step);
        break;
    case TN_STEP_COPY:
        tn_str_appendf(s, "    copy_buffer(m, %u, %u);\n", step->buffers[1], step->buffers[0]);
        break;
    case TN_STEP_IF:
        tn_str_appendf(s,
                       "    code = *(const unsigned char *)m->at[%u] ? block_%u(m) : block_%u(m);\n"
                       "    if (code) return code;\n",
                       step->buffers[0], step->blocks[0], step->blocks[1]);
        break;
    case TN_STEP_WHILE:
        append_while(e, step);
        break;
    case TN_STEP_SCAN:
        append_scan(e, step);
        break;
    case TN_STEP_SIZE:
        TN_BUG("refused before");
    }
}

/* Inputs whose memory outputs take over are where these are. */
static void append_taken(emitter *e) {
    tn_str *s = &e->source;
    tn_str_appendf(s, "\nstatic void place_taken(struct %s_model *m) {\n    (void)m;\n", e->name);
    for (uint32_t i = 0; i < e->p->buffers.len; i++) {
        const tn_prog_buffer *b = &e->p->buffers.data[i];
        if (b->store == TN_STORE_OUTPUT && b->in_place_of != UINT32_MAX)
            tn_str_appendf(s, "    copy_buffer(m, %u, %u);\n    m->at[%u] = m->at[%u];\n", i,
                           b->in_place_of, b->in_place_of, i);
    }
    tn_str_append(s, "}\n");
}

/* Block 1 made the weights; it is not needed any more. */
static void append_blocks(emitter *e) {
    tn_str *s = &e->source;
    for (uint32_t b = 0; b < e->p->blocks.len; b++)
        if (!e->p->blocks.data[b].prepares)
            tn_str_appendf(s, "static int block_%u(struct %s_model *m) __attribute__((unused));\n",
                           b, e->name);
    for (uint32_t b = 0; b < e->p->blocks.len; b++) {
        if (e->p->blocks.data[b].prepares) continue;
        tn_str_appendf(s, "\nstatic int block_%u(struct %s_model *m) {\n    int code = 0;\n", b,
                       e->name);
        for (uint32_t i = 0; i < e->p->blocks.data[b].steps.len; i++)
            append_step(e, &e->p->blocks.data[b].steps.data[i]);
        tn_str_append(s, "    (void)m;\n    return code;\n}\n");
    }
}

/* ---- the files ------------------------------------------------------------------------------ */

/* Appends the embedded text with @NAME@ replaced. */
static void append_runtime(emitter *e, const char *text, tn_str *s) {
    for (const char *mark; (mark = strstr(text, "@NAME@")); text = mark + 6) {
        tn_str_append_n(s, text, (size_t)(mark - text));
        tn_str_append(s, e->name);
    }
    tn_str_append(s, text);
}

/* The most that any launch of any kernel takes. */
static void append_limits(emitter *e) {
    size_t scratch = 0;
    uint32_t counters = 0, buffers = 1;
    for (uint32_t b = 0; b < e->p->blocks.len; b++) {
        const tn_prog_block *block = &e->p->blocks.data[b];
        for (uint32_t i = 0; !block->prepares && i < block->steps.len; i++) {
            const tn_prog_step *step = &block->steps.data[i];
            if (step->kind != TN_STEP_KERNEL) continue;
            const tn_loop *k = e->p->kernels.data[step->kernel];
            int64_t *scalars = TN_NEW_N(&e->c->arena, int64_t, step->scalar_count + 1);
            for (uint32_t n = 0; n < step->scalar_count; n++)
                scalars[n] = size_of(e, step->scalars[n]);
            scratch = TN_MAX(scratch, tn_loop_scratch_bytes(k, scalars));
            counters = TN_MAX(counters, k->counters);
            buffers = TN_MAX(buffers, step->buffer_count);
        }
    }
    tn_str_appendf(&e->source,
                   "enum {\n    BUFFERS = %u,\n    LAUNCH_BUFFERS = %u,\n    COUNTERS = %u\n};\n"
                   "#define MEMORY_BYTES %lluu\n#define SCRATCH_BYTES %zuu\n"
                   "#define WEIGHT_BYTES %zuu\n\n",
                   TN_MAX(e->p->buffers.len, 1), buffers, counters + 1,
                   (unsigned long long)e->plan.total, scratch, e->weights.len);
}

static void append_errors(emitter *e) {
    tn_str *s = &e->source;
    tn_str_append(s, "static const char *const errors[] = {\n    \"ok\",\n");
    for (uint32_t i = 0; i < e->p->errors.len; i++)
        tn_str_appendf(s, "    \"%s\",\n", harmless(e->c, e->p->errors.data[i]));
    tn_str_append(s, "};\n\n");
}

static tn_status make_source(emitter *e, const tn_target *target, const char *header,
                             tn_error *err) {
    tn_str *s = &e->source;
    const char *slash = strrchr(header, '/');
    tn_str_appendf(
        s,
        "/* %s, compiled by Tenon %s for %s. Compile with the optimizer and the flags the\n"
        " * kernels were scheduled for:\n"
        " *   cc -c -O2 -ffp-contract=off -fno-math-errno -fno-trapping-math -fwrapv %s\n"
        " * They are correct with any flags. */\n"
        "#pragma GCC diagnostic ignored \"-Wpsabi\"\n",
        e->name, TENON_VERSION, target->name, target->flags);
    for (uint32_t i = 0; i < e->p->kernels.len; i++)
        tn_str_appendf(s, "#define tn_kernel_%u %s_kernel_%u\n", i, e->name, i);
    TN_CHECK(tn_kernels_render(e->p, target, s, err));
    tn_str_appendf(s, "\n#include \"%s\"\n\n", slash ? slash + 1 : header);
    append_limits(e);
    append_errors(e);
    append_runtime(e, cli_emit_runtime[0], s);
    append_buffers(e);
    append_runtime(e, cli_emit_runtime[1], s);
    append_blocks(e);
    append_taken(e);
    append_runtime(e, cli_emit_runtime[2], s);
    return TN_OK;
}

static void append_ports(emitter *e, bool output) {
    const tn_program *p = e->p;
    uint32_t count = output ? p->outputs.len : p->inputs.len;
    for (uint32_t i = 0; i < count; i++) {
        const tn_prog_port *port = output ? &p->outputs.data[i] : &p->inputs.data[i];
        tn_str_appendf(&e->header, " *   %s[%u] '%s': %s[", output ? "outputs" : "inputs", i,
                       harmless(e->c, port->name), tn_dtype_name(port->type.dtype));
        for (int a = 0; a < port->type.shape.rank; a++)
            tn_str_appendf(&e->header, a ? ",%lld" : "%lld",
                           (long long)size_of(e, port->type.shape.dim[a]));
        tn_str_appendf(&e->header, "], %llu bytes\n", (unsigned long long)e->bytes[port->buffer]);
    }
}

static void make_header(emitter *e) {
    tn_str *h = &e->header;
    const char *n = e->name;
    tn_str_appendf(h, "/* %s: a model compiled by Tenon %s. Arrays are dense and row-major.\n", n,
                   TENON_VERSION);
    append_ports(e, false);
    append_ports(e, true);
    tn_str_appendf(h,
                   " */\n#ifndef TENON_MODEL_%s_H\n#define TENON_MODEL_%s_H\n\n"
                   "#ifdef __cplusplus\nextern \"C\" {\n#endif\n\n",
                   n, n);
    tn_str_appendf(h, "enum { %s_inputs = %u, %s_outputs = %u };\n\n", n, e->p->inputs.len, n,
                   e->p->outputs.len);
    tn_str_appendf(
        h,
        "typedef struct %s_model %s_model;\n\n"
        "/* Reads the weights' file. NULL: it cannot be read or is another model's, or "
        "memory ran out. */\n%s_model *%s_open(const char *weights);\n"
        "/* Runs once. 0, or a number that %s_error explains. One thread at a time. */\n"
        "int %s_run(%s_model *model, const void *const inputs[], void *const outputs[]);\n"
        "const char *%s_error(int code);\n"
        "void %s_close(%s_model *model);\n\n"
        "#ifdef __cplusplus\n}\n#endif\n#endif\n",
        n, n, n, n, n, n, n, n, n, n);
}

static tn_status write_files(emitter *e, cli_emitted *out, tn_error *err) {
    const tn_str *text[] = {&e->source, &e->header, &e->weights};
    for (int i = 0; i < out->count; i++)
        TN_CHECK(tn_file_write(out->path[i], text[i]->data ? text[i]->data : "", text[i]->len,
                               false, err));
    return TN_OK;
}

tn_status cli_emit_c(cli *c, const tn_session *session, const tn_target *target, const char *file,
                     cli_emitted *out, tn_error *err) {
    const tn_artifact *a = tn_session_artifact(session);
    emitter e = {.c = c,
                 .s = session,
                 .a = a,
                 .p = a->program,
                 .symbols = tn_session_symbols(session),
                 .name = identifier(c, file)};
    *out = (cli_emitted){{file, beside(c, file, "h"), beside(c, file, "bin")}, 3};
    if (strcmp(file, out->path[1]) == 0 || strcmp(file, out->path[2]) == 0)
        return cli_usage(c, err, "-o %s: the C file cannot end in .h or .bin", file);
    for (uint32_t i = 0; i < e.p->blocks.data[0].steps.len; i++)
        if (e.p->blocks.data[0].steps.data[i].kind == TN_STEP_SIZE)
            return tn_error_set(err, TN_UNSUPPORTED,
                                "%s: C is written of programs whose sizes are known before a run; "
                                "here one depends on data (write a .tn file instead)",
                                file);
    tn_str_init(&e.source);
    tn_str_init(&e.header);
    tn_str_init(&e.weights);
    prepare_buffers(&e);
    make_header(&e);
    tn_status status = make_source(&e, target, out->path[1], err);
    if (status == TN_OK) status = write_files(&e, out, err);
    tn_str_deinit(&e.source);
    tn_str_deinit(&e.header);
    tn_str_deinit(&e.weights);
    return status;
}

/* C text of the measuring kernels, in the vocabulary of generated kernels. See measure_kernels.h.
 */
#include "cli/measure_kernels.h"

#include <stdlib.h>

#include "codegen/prelude.h"

/* Chains of multiply-adds: more than the latency of one times the units there are, and few enough
 * to stay in registers. */
enum { CHAINS = 12, READ_CHAINS = 8 };

static void append_fma(tn_str *s, int lanes) {
    tn_str_append(s, "void tn_measure_fma(long rounds, float *sink) {\n");
    tn_str_appendf(s, "    f32x%d m = tn_splat_f32x%d(0.999f), c = tn_splat_f32x%d(0.001f);\n",
                   lanes, lanes, lanes);
    for (int i = 0; i < CHAINS; i++)
        tn_str_appendf(s, "    f32x%d a%d = tn_splat_f32x%d(%d.0f);\n", lanes, i, lanes, i);
    tn_str_append(s, "    for (long r = 0; r < rounds; r++) {\n");
    for (int i = 0; i < CHAINS; i++)
        tn_str_appendf(s, "        a%d = tn_mad_f32x%d(a%d, m, c);\n", i, lanes, i);
    tn_str_append(s, "    }\n");
    for (int i = 1; i < CHAINS; i++) tn_str_appendf(s, "    a0 += a%d;\n", i);
    tn_str_append(s, "    *sink = a0[0] + a0[1];\n}\n");
}

static void append_read(tn_str *s, int lanes) {
    tn_str_append(s, "void tn_measure_read(const float *x, long count, float *sink) {\n");
    for (int i = 0; i < READ_CHAINS; i++) tn_str_appendf(s, "    f32x%d a%d = {0};\n", lanes, i);
    tn_str_appendf(s, "    for (long i = 0; i < count; i += %d) {\n", READ_CHAINS * lanes);
    for (int i = 0; i < READ_CHAINS; i++)
        tn_str_appendf(s, "        a%d += tn_load_f32x%d(x + i + %d);\n", i, lanes, i * lanes);
    tn_str_append(s, "    }\n");
    for (int i = 1; i < READ_CHAINS; i++) tn_str_appendf(s, "    a0 += a%d;\n", i);
    tn_str_append(s, "    *sink = a0[0] + a0[1];\n}\n");
}

static void append_copy(tn_str *s, int lanes) {
    tn_str_append(s, "void tn_measure_copy(float *to, const float *from, long count) {\n");
    tn_str_appendf(s, "    for (long i = 0; i < count; i += %d)\n", lanes);
    tn_str_appendf(s, "        tn_store_f32x%d(to + i, tn_load_f32x%d(from + i));\n}\n", lanes,
                   lanes);
}

typedef struct compile_args {
    const tn_compiler *compiler;
    cli_measure *out;
    tn_prelude prelude;
    tn_str text;
    uint8_t *bytes;
    size_t size;
} compile_args;

static tn_status compile_guarded(void *argument, tn_error *err) {
    static const char *const fragments[] = {"splat_f32", "mad_f32", "load_f32", "store_f32"};
    compile_args *x = argument;
    const tn_target *target = x->compiler->target;
    int lanes = target->vector_bytes / (int)sizeof(float);
    for (size_t i = 0; i < TN_COUNT(fragments); i++)
        TN_CHECK(tn_prelude_require(&x->prelude, fragments[i], lanes, err));
    tn_prelude_render(&x->prelude, &x->text);
    append_fma(&x->text, lanes);
    append_read(&x->text, lanes);
    append_copy(&x->text, lanes);
    x->out->kernels.flops_per_round = 2.0 * CHAINS * lanes;
    tn_cc_unit unit = {x->text.data, x->text.len};
    tn_cc_job job = {.units = &unit, .count = 1, .flags = target->flags};
    TN_CHECK(tn_cc_build(&x->compiler->cc, &job, &x->bytes, &x->size, err));
    return tn_object_from_bytes(&x->out->object, x->bytes, x->size, err);
}

static tn_status find_kernels(cli_measure *m, tn_error *err) {
    static const char *const names[] = {"tn_measure_fma", "tn_measure_read", "tn_measure_copy"};
    void *address[TN_COUNT(names)];
    for (size_t i = 0; i < TN_COUNT(names); i++) {
        address[i] = tn_object_symbol(&m->object, names[i]);
        if (!address[i]) return tn_error_set(err, TN_TOOLCHAIN, "no function '%s'", names[i]);
    }
    memcpy(&m->kernels.fma, &address[0], sizeof address[0]);
    memcpy(&m->kernels.read, &address[1], sizeof address[1]);
    memcpy(&m->kernels.copy, &address[2], sizeof address[2]);
    return TN_OK;
}

tn_status cli_measure_compile(const tn_compiler *compiler, cli_measure *out, tn_error *err) {
    *out = (cli_measure){.object = TN_OBJECT_NONE};
    compile_args x = {.compiler = compiler, .out = out};
    tn_prelude_init(&x.prelude);
    tn_str_init(&x.text);
    tn_status status = tn_guard(compile_guarded, &x, err);
    if (status == TN_OK) status = find_kernels(out, err);
    tn_str_deinit(&x.text);
    tn_prelude_deinit(&x.prelude);
    free(x.bytes);
    if (status != TN_OK) cli_measure_close(out);
    return status;
}

void cli_measure_close(cli_measure *m) {
    tn_object_close(&m->object);
    m->object = (tn_object)TN_OBJECT_NONE;
}

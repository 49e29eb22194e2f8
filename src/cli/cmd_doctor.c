/* tenon doctor: what was found on this machine, and its measured roofs. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/measure_kernels.h"
#include "cli/output.h"
#include "machine/profile.h"

enum { MIB = 1 << 20 };

typedef struct findings {
    tn_host machine;
    tn_host_part parts[TN_HOST_PARTS];
    int part_count;
    tn_compiler compiler;
    tn_profile profile;
    bool measured; /* `profile` holds something */
} findings;

/* Arrays that no cache holds, within a quarter of the free memory. */
static uint64_t array_bytes(const tn_host *m) {
    uint64_t bytes = TN_MAX(4 * tn_host_last_cache(m), (uint64_t)64 * MIB);
    bytes = TN_MIN(bytes, (uint64_t)512 * MIB);
    return TN_MIN(bytes, TN_MAX(m->memory_free / 8, (uint64_t)MIB));
}

static tn_status measure(cli *c, findings *f, tn_error *err) {
    if (!f->compiler.has_cc)
        return tn_error_set(err, TN_NOT_FOUND,
                            "measuring needs a C compiler; install gcc or clang, or set CC");
    if (c->options.threads > 1024)
        return cli_usage(c, err, "--threads: %lld are too many", (long long)c->options.threads);
    int threads = c->options.threads ? (int)c->options.threads : f->machine.usable;
    cli_measure m;
    TN_TRY(err, cli_measure_compile(&f->compiler, &m, err), "while compiling what is measured");
    tn_profile *p = &f->profile;
    *p = (tn_profile){0};
    snprintf(p->cpu, sizeof p->cpu, "%s", f->machine.cpu);
    snprintf(p->target, sizeof p->target, "%s", f->compiler.target->name);
    tn_status status = tn_measure(&m.kernels, threads, array_bytes(&f->machine),
                                  tn_host_own_cache(&f->machine), &p->roofs, err);
    cli_measure_close(&m);
    f->measured = status == TN_OK;
    return status;
}

/* A profile is kept where compiled models are; a machine without a cache still gets its figures. */
static void keep_profile(findings *f) {
    char path[TN_CACHE_PATH + 32];
    tn_error err = TN_ERROR_INIT;
    if (!tn_cache_usable(&f->compiler.cache)) return;
    snprintf(path, sizeof path, "%s/" TN_PROFILE_FILE, f->compiler.cache.folder);
    tn_status status = tn_make_dirs(f->compiler.cache.folder, 0700, &err);
    if (status == TN_OK) status = tn_profile_write(&f->profile, path, &err);
    if (status != TN_OK) tn_cache_warn(&f->compiler.cache, &err);
}

static void read_profile(findings *f) {
    char path[TN_CACHE_PATH + 32];
    if (!tn_cache_usable(&f->compiler.cache)) return;
    snprintf(path, sizeof path, "%s/" TN_PROFILE_FILE, f->compiler.cache.folder);
    f->measured = tn_profile_read(&f->profile, path, f->machine.cpu);
}

/* ---- text ----------------------------------------------------------------------------------- */

static void row(cli *c, const char *name, const char *format, ...) TN_PRINTF(3, 4);
static void row(cli *c, const char *name, const char *format, ...) {
    va_list args;
    printf("  %s%-12s%s ", cli_style_on(c, CLI_BOLD), name, CLI_OFF(c));
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
}

static void heading(cli *c, const char *text) {
    printf("%s%s%s\n", cli_style_on(c, CLI_CYAN), text, CLI_OFF(c));
}

static void print_machine(cli *c, const findings *f) {
    const tn_host *m = &f->machine;
    heading(c, "machine");
    row(c, "CPU", "%s (%s%s)", m->cpu, m->arch, m->virtual_machine ? ", virtual machine" : "");
    row(c, "extensions", "%s", *m->isa ? m->isa : "none known");
    row(c, "cores",
        "%d in %d package%s, %d hardware threads, %d NUMA node%s; this process may use %d",
        m->cores, m->packages, m->packages > 1 ? "s" : "", m->threads, m->numa_nodes,
        m->numa_nodes > 1 ? "s" : "", m->usable);
    for (int i = 0; i < m->cache_count; i++) {
        const tn_host_cache *k = &m->caches[i];
        const char *name = tn_arena_printf(&c->arena, "L%d%s", k->level,
                                           k->instructions ? "i"
                                           : k->level == 1 ? "d"
                                                           : "");
        row(c, name, "%d × %s, %d-way, %d-byte lines, shared by %d", k->count,
            cli_bytes(c, (double)k->bytes), k->ways, k->line, k->shared_by);
    }
    row(c, "memory", "%s, %s free", cli_bytes(c, (double)m->memory),
        cli_bytes(c, (double)m->memory_free));
}

static void print_software(cli *c, const findings *f) {
    heading(c, "software");
    if (f->compiler.has_cc)
        row(c, "compiler", "%s: %s", f->compiler.cc.word[0], f->compiler.cc.version);
    else
        row(c, "compiler",
            "not found: kernels are interpreted, which is slow; install gcc or clang");
    row(c, "target", "%s, %d-byte vectors%s%s", f->compiler.target->name,
        f->compiler.target->vector_bytes, *f->compiler.target->flags ? ", flags " : "",
        f->compiler.target->flags);
    row(c, "cache", "%s", tn_cache_usable(&f->compiler.cache) ? f->compiler.cache.folder : "none");
    for (int i = 0; i < f->part_count; i++) row(c, f->parts[i].name, "%s", f->parts[i].detail);
}

static void print_roofs(cli *c, const findings *f) {
    const tn_roofs *r = &f->profile.roofs;
    heading(c, "roofs");
    if (!f->measured) {
        printf("  not measured; tenon doctor --measure does it in a few seconds\n");
        return;
    }
    row(c, "profile", "%s, target %s", f->profile.id, f->profile.target);
    cli_table t = cli_table_of(c, "lrrr", false);
    for (int i = 0; i < r->scale_count; i++) {
        cli_table_cell(&t, "  %d thread%s", r->scale[i].threads,
                       r->scale[i].threads > 1 ? "s" : "");
        cli_table_cell(&t, "%.1f GFLOP/s", r->scale[i].gflops);
        cli_table_cell(&t, "read %.1f GB/s", r->scale[i].read_gbs);
        cli_table_cell(&t, "scaling %.2f×", r->scale[i].gflops / r->gflops_1);
    }
    cli_table_print(&t);
    row(c, "copy", "%.1f GB/s with 1 thread, %.1f GB/s with %d (bytes read and written)",
        r->copy_gbs_1, r->copy_gbs, r->threads);
    row(c, "cached copy", "%.1f GB/s with %d within %s each", r->cache_gbs, r->threads,
        cli_bytes(c, r->cache_bytes));
    if (r->handoff_ns > 0) row(c, "hand-off", "%.0f ns from thread to thread", r->handoff_ns);
}

/* ---- JSON ----------------------------------------------------------------------------------- */

static json_t *machine_json(const tn_host *m) {
    json_t *caches = json_array();
    for (int i = 0; i < m->cache_count; i++) {
        const tn_host_cache *k = &m->caches[i];
        json_array_append_new(caches,
                              json_pack("{s:i, s:b, s:I, s:i, s:i, s:i, s:i}", "level", k->level,
                                        "instructions", (int)k->instructions, "bytes",
                                        (json_int_t)k->bytes, "count", k->count, "ways", k->ways,
                                        "line", k->line, "shared_by", k->shared_by));
    }
    return json_pack("{s:s, s:s, s:s, s:b, s:i, s:i, s:i, s:i, s:i, s:o, s:I, s:I}", "cpu", m->cpu,
                     "arch", m->arch, "extensions", m->isa, "virtual", (int)m->virtual_machine,
                     "packages", m->packages, "cores", m->cores, "threads", m->threads, "usable",
                     m->usable, "numa_nodes", m->numa_nodes, "caches", caches, "memory",
                     (json_int_t)m->memory, "memory_free", (json_int_t)m->memory_free);
}

static json_t *software_json(const findings *f) {
    const tn_compiler *k = &f->compiler;
    json_t *parts = json_object();
    for (int i = 0; i < f->part_count; i++)
        json_object_set_new(
            parts, f->parts[i].name,
            json_pack("{s:b, s:s}", "found", (int)f->parts[i].found, "detail", f->parts[i].detail));
    json_t *cc = k->has_cc
                     ? json_pack("{s:s, s:s}", "path", k->cc.word[0], "version", k->cc.version)
                     : json_null();
    return json_pack("{s:o, s:{s:s, s:i, s:s}, s:s?, s:o}", "compiler", cc, "target", "name",
                     k->target->name, "vector_bytes", k->target->vector_bytes, "flags",
                     k->target->flags, "cache", tn_cache_usable(&k->cache) ? k->cache.folder : NULL,
                     "parts", parts);
}

static tn_status print_json(cli *c, const findings *f, tn_error *err) {
    json_t *roofs = f->measured ? tn_roofs_json(&f->profile.roofs) : json_null();
    return cli_json(c,
                    json_pack("{s:s, s:o, s:o, s:s?, s:o}", "schema", "tenon.doctor/1", "machine",
                              machine_json(&f->machine), "software", software_json(f), "profile",
                              f->measured ? f->profile.id : NULL, "roofs", roofs),
                    err);
}

tn_status cmd_doctor(cli *c, tn_error *err) {
    findings *f = tn_arena_alloc(&c->arena, sizeof *f);
    tn_model_options options = TN_MODEL_OPTIONS_INIT;
    tn_host_detect(&f->machine);
    f->part_count = tn_host_parts(f->parts);
    TN_CHECK(tn_compiler_init(&f->compiler, &options, err));
    if (c->options.measure) {
        TN_CHECK(measure(c, f, err));
        keep_profile(f);
    } else {
        read_profile(f);
    }
    if (c->options.json) return print_json(c, f, err);
    print_machine(c, f);
    print_software(c, f);
    print_roofs(c, f);
    return TN_OK;
}

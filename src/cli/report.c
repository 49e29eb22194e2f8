/* Steps, groups and their cost. See report.h. */
#include "cli/report.h"

#include <stdio.h>
#include <stdlib.h>

#include "machine/profile.h"

/* ---- roofs ---------------------------------------------------------------------------------- */

static bool read_profile(tn_profile *out) {
    char path[TN_CACHE_PATH + 32];
    tn_cache cache;
    tn_host machine;
    tn_cache_open(&cache, NULL);
    if (!tn_cache_usable(&cache)) return false;
    snprintf(path, sizeof path, "%s/" TN_PROFILE_FILE, cache.folder);
    tn_host_detect(&machine);
    return tn_profile_read(out, path, machine.cpu);
}

cli_roofs cli_roofs_read(cli *c) {
    cli_roofs roofs = {0};
    tn_profile profile;
    if (!read_profile(&profile)) return roofs;
    roofs.known = true;
    roofs.id = tn_arena_strdup(&c->arena, profile.id);
    roofs.gflops = profile.roofs.gflops;
    roofs.read_gbs = profile.roofs.read_gbs;
    roofs.copy_gbs = profile.roofs.copy_gbs;
    roofs.threads = profile.roofs.threads;
    return roofs;
}

double cli_roofs_flops(int64_t threads) {
    tn_profile p;
    if (!read_profile(&p)) return 0;
    double gflops = threads ? p.roofs.gflops_1 : p.roofs.gflops;
    for (int i = 0; i < p.roofs.scale_count; i++)
        if (p.roofs.scale[i].threads <= threads) gflops = p.roofs.scale[i].gflops;
    return gflops * 1e9;
}

/* ---- steps ---------------------------------------------------------------------------------- */

static double size_of(const tn_session *s, tn_dim d) {
    const tn_program *p = tn_session_artifact(s)->program;
    return (double)(tn_dim_is_const(d) ? d : tn_dim_eval(p->dims, d, tn_session_symbols(s)));
}

static const tn_prog_group *group_at(const tn_program *p, uint32_t position) {
    for (uint32_t i = 0; i < p->groups.len; i++)
        if (p->groups.data[i].step_position == position) return &p->groups.data[i];
    return NULL;
}

/* The steps of a block that runs `runs` times. */
static void add_block(cli *c, const tn_session *s, uint32_t block, uint64_t runs, int depth,
                      cli_steps *out) {
    const tn_program *p = tn_session_artifact(s)->program;
    for (uint32_t i = 0; i < p->blocks.data[block].steps.len; i++) {
        const tn_prog_step *step = &p->blocks.data[block].steps.data[i];
        cli_step one = {.step = step,
                        .block = block,
                        .depth = depth,
                        .runs = runs,
                        .flops = size_of(s, step->flops),
                        .bytes = size_of(s, step->bytes)};
        if (step->kind == TN_STEP_KERNEL) one.group = group_at(p, step->position);
        tn_vec_push(&c->arena, out, one);
        if (step->kind == TN_STEP_SCAN) {
            uint64_t turns = (uint64_t)size_of(s, step->loop->length);
            add_block(c, s, step->blocks[0], runs * turns, depth + 1, out);
        } else if (step->kind == TN_STEP_IF || step->kind == TN_STEP_WHILE) {
            add_block(c, s, step->blocks[0], runs, depth + 1, out);
            add_block(c, s, step->blocks[1], runs, depth + 1, out);
        }
    }
}

cli_steps cli_steps_of(cli *c, const tn_session *s) {
    cli_steps steps = {0};
    add_block(c, s, 0, 1, 0, &steps);
    return steps;
}

tn_status cli_steps_profile(cli_steps *steps, tn_session *s, const cli_model *m, int runs,
                            tn_error *err) {
    int count = tn_session_output_count(s);
    tn_buffer *outputs = calloc((size_t)count + 1, sizeof *outputs);
    if (!outputs) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    tn_instance *instance = tn_session_instance(s);
    tn_instance_profile(instance, true);
    tn_status status = TN_OK;
    for (int i = 0; i < runs && status == TN_OK; i++)
        status = tn_session_run(s, m->inputs, m->input_count, outputs, count, err);
    tn_instance_profile(instance, false);
    free(outputs);
    TN_CHECK(status);
    uint32_t n;
    const tn_step_time *times = tn_instance_times(instance, &n);
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = 0; j < steps->len; j++) {
            cli_step *step = &steps->data[j];
            if (step->step != times[i].step) continue;
            step->seconds = times[i].seconds / runs;
            step->runs = times[i].runs / (uint64_t)runs;
        }
    return TN_OK;
}

double cli_steps_flops(const cli_steps *steps) {
    double sum = 0;
    for (uint32_t i = 0; i < steps->len; i++)
        sum += steps->data[i].flops * (double)steps->data[i].runs;
    return sum;
}

double cli_steps_bytes(const cli_steps *steps) {
    double sum = 0;
    for (uint32_t i = 0; i < steps->len; i++)
        sum += steps->data[i].bytes * (double)steps->data[i].runs;
    return sum;
}

json_t *cli_group_json(const cli_step *s) {
    const tn_prog_group *g = s->group;
    return json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:s}", "kernel",
                     s->step->name ? s->step->name : "", "anchors", cli_json_split(g->anchors),
                     "mainloop", cli_json_split(g->mainloop), "epilogue",
                     cli_json_split(g->epilogue), "stores", cli_json_split(g->stores), "recomputes",
                     cli_json_split(g->recomputes), "bytes", cli_json_number(s->bytes), "flops",
                     cli_json_number(s->flops), "launches", (json_int_t)s->runs, "schedule",
                     g->schedule ? g->schedule : "");
}

/* ---- the table of steps --------------------------------------------------------------------- */

static double total_seconds(const cli_steps *steps) {
    double sum = 0;
    for (uint32_t i = 0; i < steps->len; i++)
        if (steps->data[i].depth == 0) sum += steps->data[i].seconds;
    return sum;
}

static const char *indent(cli *c, const cli_step *s) {
    const char *name = s->step->name ? s->step->name : "?";
    return tn_arena_printf(&c->arena, "%*s%s", 2 * s->depth, "", name);
}

/* Share of the nearer roof that the step reaches. */
static const char *roof_text(cli *c, const cli_step *s, const cli_roofs *r) {
    double runs = (double)s->runs;
    if (!r->known || s->seconds <= 0) return "";
    double compute = s->flops * runs / s->seconds * 1e-9 / r->gflops;
    double memory = s->bytes * runs / s->seconds * 1e-9 / r->read_gbs;
    return tn_arena_printf(&c->arena, "%.0f %% %s", 100 * TN_MAX(compute, memory),
                           compute > memory ? "FMA" : "memory");
}

void cli_steps_print(cli *c, const cli_steps *steps, const cli_roofs *roofs) {
    double total = total_seconds(steps);
    cli_table t = cli_table_of(c, roofs->known ? "lrrrrrr" : "lrrrrr", true);
    const char *names[] = {"step", "time", "share", "launches", "GFLOP/s", "GB/s", "of the roof"};
    for (int i = 0; i < t.columns; i++) cli_table_cell(&t, "%s", names[i]);
    for (uint32_t i = 0; i < steps->len; i++) {
        const cli_step *s = &steps->data[i];
        double runs = (double)s->runs, seconds = TN_MAX(s->seconds, 1e-12);
        cli_table_cell(&t, "%s", indent(c, s));
        cli_table_cell(&t, "%s", cli_time(c, s->seconds));
        cli_table_cell(&t, "%.1f %%", total > 0 ? 100 * s->seconds / total : 0.0);
        cli_table_cell(&t, "%llu", (unsigned long long)s->runs);
        cli_table_cell(&t, "%.1f", s->flops * runs / seconds * 1e-9);
        cli_table_cell(&t, "%.1f", s->bytes * runs / seconds * 1e-9);
        if (roofs->known) cli_table_cell(&t, "%s", roof_text(c, s, roofs));
    }
    cli_table_print(&t);
}

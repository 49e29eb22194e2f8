/* The whole compile, stage by stage. Start reading here.
 *
 *   graph ─ simplify … sink ─► graph ─ cut the batch ─► graph ─ group ─► fusion groups ─ lower ─►
 *   loop IR ─ assemble ─► program
 */
#include "plan/assemble.h"
#include "plan/plan.h"
#include "schedule/batch_pieces.h"
#include "transform/channels_last.h"
#include "transform/column_parts.h"
#include "transform/dce.h"
#include "transform/exchange.h"
#include "transform/explicit_pad.h"
#include "transform/inline_constants.h"
#include "transform/narrow_permute.h"
#include "transform/pass.h"
#include "transform/raise_permute.h"
#include "transform/sink.h"

static void dump(const tn_plan_options *o, const char *stage, const char *text) {
    if (o->dump && (!o->dump_after || !strcmp(o->dump_after, stage)))
        o->dump(o->dump_context, stage, text);
}

static void dump_graph(void *context, const char *pass, const tn_graph *g) {
    const tn_plan_options *o = context;
    if (!o->dump || (o->dump_after && strcmp(o->dump_after, pass) != 0)) return;
    tn_str text;
    tn_str_init_with(&text, tn_arena_allocator(g->arena));
    tn_graph_print(g, false, &text);
    dump(o, pass, tn_str_text(&text));
    tn_str_deinit(&text);
}

static void dump_program(const tn_plan_options *o, const tn_program *p) {
    if (!o->dump) return;
    tn_str text;
    tn_str_init_with(&text, tn_arena_allocator(p->arena));
    for (uint32_t i = 0; i < p->kernels.len; i++)
        if (!o->dump_after || !strcmp(o->dump_after, "loops"))
            tn_loop_print(p->kernels.data[i], false, &text);
    dump(o, "loops", tn_str_text(&text));
    tn_str_clear(&text);
    tn_program_print(p, &text);
    dump(o, "program", tn_str_text(&text));
    tn_str_deinit(&text);
}

tn_status tn_plan(const tn_graph *g, const tn_plan_options *options, tn_arena *arena,
                  tn_program *out, tn_error *err) {
    tn_transform_options transform = tn_transform_defaults();
    transform.float_unsafe = options->unsafe_math;
    transform.dump = dump_graph;
    transform.context = (void *)(uintptr_t)options;
    dump_graph(transform.context, "import", g);
    if (!options->no_opt) {
        const tn_pass *const late[] = {&tn_pass_inline_constants,
                                       &tn_pass_explicit_pad,
                                       &tn_pass_sink,
                                       &tn_pass_exchange,
                                       &tn_pass_sink,
                                       &tn_pass_channels_last,
                                       &tn_pass_column_parts,
                                       &tn_pass_narrow_permute,
                                       &tn_pass_raise_permute,
                                       &tn_pass_dce};
        TN_TRY(err, tn_transform_standard(g, &transform, &g, err), "while simplifying");
        TN_TRY(err, tn_transform_run(g, late, TN_COUNT(late), &transform, &g, err),
               "while simplifying");
        tn_costs costs = options->costs ? *options->costs : tn_costs_default();
        TN_TRY(err, tn_batch_in_pieces(g, &costs, options->batch_piece, &g, err),
               "while cutting the batch into pieces");
        dump_graph(transform.context, "pieces", g);
    }
    tn_str groups;
    tn_str_init_with(&groups, tn_arena_allocator(arena));
    tn_status status = tn_assemble(g, options, arena, out, options->dump ? &groups : NULL, err);
    dump(options, "groups", tn_str_text(&groups));
    tn_str_deinit(&groups);
    TN_CHECK(status);
    dump_program(options, out);
    return TN_OK;
}

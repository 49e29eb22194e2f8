/* tenon wide inspect: the groups, how each operation is done for all members, memory, what to expect. */
#include <stdio.h>

#include "cli/inspect.h"
#include "cli/wide_alone.h"
#include "cli/wide_predict.h"
#include "wide/report.h"

typedef struct part {
    tn_wide_group_info info;
    cli_model model; /* borrows the group's */
    tn_session *session;
    cli_inspection x;
} part;

typedef struct inspection {
    cli_wide w;
    part *groups;
    int count;
    cli_prediction wide, loop; /* all groups; each member alone */
} inspection;

/* ---- looking -------------------------------------------------------------------------------- */

static tn_status open_group(cli *c, inspection *x, int i, tn_error *err) {
    part *g = &x->groups[i];
    TN_CHECK(tn_wide_group(x->w.wide, i, &g->info));
    g->model = (cli_model){.path = x->w.members[g->info.members[0]].model,
                           .model = g->info.model,
                           .inputs = TN_NEW_N(&c->arena, tn_buffer, x->w.in.count),
                           .input_count = x->w.in.count};
    TN_CHECK(cli_wide_group_inputs(c, &x->w, &g->info, g->model.inputs, err));
    TN_CHECK(tn_session_create(g->model.model, &g->session, err));
    TN_CHECK(tn_session_bind(g->session, g->model.inputs, g->model.input_count, err));
    tn_error why = TN_ERROR_INIT;
    tn_status known = tn__wide_report_bound(x->w.wide, i, g->session, g->model.inputs, &why);
    if (known != TN_OK && known != TN_UNSUPPORTED) {
        *err = why;
        return known;
    }
    /* What became of the operations, and how large it is, is known from now on. */
    TN_CHECK(tn_wide_group(x->w.wide, i, &g->info));
    TN_CHECK(cli_inspect_bound(c, &g->model, g->session, &g->x, err));
    cli_prediction p = cli_predict(&g->x.steps, g->model.model);
    x->wide.seconds += p.seconds;
    x->wide.launches += p.launches;
    return TN_OK;
}

/* One member of each group stands for all of it. */
static tn_status predict_loop(cli *c, inspection *x, tn_error *err) {
    cli_alone alone;
    TN_CHECK(cli_alone_init(c, &x->w, &alone, err));
    tn_status status = TN_OK;
    for (int i = 0; i < x->count && status == TN_OK; i++) {
        const part *g = &x->groups[i];
        cli_prediction p;
        status = cli_alone_predict(c, &alone, g->info.members[0], &p, err);
        if (status != TN_OK) break;
        x->loop.seconds += p.seconds * g->info.count;
        x->loop.launches += p.launches * g->info.count;
    }
    cli_alone_deinit(&alone);
    return status;
}

/* ---- words ---------------------------------------------------------------------------------- */

/* "0–4, 7" */
static const char *members_text(cli *c, const tn_wide_group_info *g) {
    const char *text = "";
    for (int i = 0; i < g->count;) {
        int last = i;
        while (last + 1 < g->count && g->members[last + 1] == g->members[last] + 1) last++;
        text = tn_arena_printf(&c->arena, "%s%s%d", text, i ? ", " : "", g->members[i]);
        if (last > i) text = tn_arena_printf(&c->arena, "%s–%d", text, g->members[last]);
        i = last + 1;
    }
    return text;
}

static void print_nodes(cli *c, const tn_wide *w, int group) {
    int count = tn_wide_node_count(w, group);
    if (count == 0) return;
    putchar('\n');
    cli_table t = cli_table_of(c, "lllr", true);
    const char *names[] = {"node", "operation", "members", "of a piece"};
    for (int i = 0; i < t.columns; i++) cli_table_cell(&t, "%s", names[i]);
    for (int i = 0; i < count; i++) {
        tn_wide_node_info n;
        if (tn_wide_node(w, group, i, &n) != TN_OK) continue;
        cli_table_cell(&t, "%s", n.node);
        cli_table_cell(&t, "%s", n.op);
        cli_table_cell(&t, "%s", cli_strategy_name(n.strategy));
        cli_table_cell(&t, "%s",
                       n.strategy == TN_WIDE_LOOP
                           ? tn_arena_printf(&c->arena, "%lld", (long long)n.piece)
                           : "");
    }
    cli_table_print(&t);
}

static void print_group(cli *c, const inspection *x, int i) {
    const tn_wide_group_info *g = &x->groups[i].info;
    printf("%s%sgroup %d%s     %d member%s: %s\n", i ? "\n" : "", cli_style_on(c, CLI_BOLD), i,
           CLI_OFF(c), g->count, g->count > 1 ? "s" : "", members_text(c, g));
    if (g->count == 1) printf("program     its model's own, with nothing to batch\n");
    if (g->difference) printf("because     %s\n", g->difference);
    cli_inspect_text(c, &x->groups[i].x);
    if (g->own_weights < 0)
        printf("weights     known when inputs are\n");
    else
        printf("weights     %s of each member, %s that are equal in all\n",
               cli_si(c, (double)g->own_weights), cli_si(c, (double)g->shared_weights));
    print_nodes(c, x->w.wide, i);
}

static void print_text(cli *c, const inspection *x) {
    for (int i = 0; i < x->count; i++) print_group(c, x, i);
    printf("\nto expect   %s, a loop %s: %s%.1f×%s, %.0f launch%s instead of %.0f\n",
           cli_time(c, x->wide.seconds), cli_time(c, x->loop.seconds), cli_style_on(c, CLI_BOLD),
           x->loop.seconds / x->wide.seconds, CLI_OFF(c), x->wide.launches,
           x->wide.launches == 1 ? "" : "es", x->loop.launches);
}

/* ---- JSON ----------------------------------------------------------------------------------- */

static json_t *nodes_json(const tn_wide *w, int group) {
    json_t *list = json_array();
    for (int i = 0; i < tn_wide_node_count(w, group); i++) {
        tn_wide_node_info n;
        if (tn_wide_node(w, group, i, &n) != TN_OK) continue;
        json_array_append_new(list, cli_strategy_json(&n));
    }
    return list;
}

static json_t *group_json(cli *c, const inspection *x, int i) {
    const tn_wide_group_info *g = &x->groups[i].info;
    json_t *members = json_array();
    for (int k = 0; k < g->count; k++) json_array_append_new(members, json_integer(g->members[k]));
    return json_pack("{s:o, s:s?, s:I, s:I, s:I, s:o, s:o}", "members", members, "difference",
                     g->difference, "own_weights", (json_int_t)g->own_weights, "shared_weights",
                     (json_int_t)g->shared_weights, "bytes", (json_int_t)g->bytes, "nodes",
                     nodes_json(x->w.wide, i), "program", cli_inspect_json(c, &x->groups[i].x));
}

static tn_status print_json(cli *c, const inspection *x, tn_error *err) {
    json_t *groups = json_array();
    for (int i = 0; i < x->count; i++) json_array_append_new(groups, group_json(c, x, i));
    return cli_json(c,
                    json_pack("{s:s, s:i, s:o, s:{s:f, s:f, s:f, s:f, s:f}}", "schema",
                              "tenon.wide.inspect/1", "n", x->w.n, "groups", groups, "predicted",
                              "wide_ms", x->wide.seconds * 1e3, "loop_ms", x->loop.seconds * 1e3,
                              "gain", x->loop.seconds / x->wide.seconds, "wide_launches",
                              x->wide.launches, "loop_launches", x->loop.launches),
                    err);
}

/* ---- the action ----------------------------------------------------------------------------- */

static tn_status inspect(cli *c, inspection *x, tn_error *err) {
    cli_roster roster;
    int *n, count;
    TN_CHECK(cli_roster_read(c, &roster, err));
    TN_CHECK(cli_roster_sizes(c, &roster, false, &n, &count, err));
    TN_CHECK(cli_wide_open(c, &roster, 0, n[0], &x->w, err));
    TN_CHECK(cli_wide_bind(c, &x->w, CLI_MISSING_RANDOM, c->options.random, err));
    x->groups = TN_NEW_N(&c->arena, part, tn_wide_group_count(x->w.wide));
    for (; x->count < tn_wide_group_count(x->w.wide); x->count++)
        TN_CHECK(open_group(c, x, x->count, err));
    TN_CHECK(cli_dump_check(c, &x->w.dump, err));
    TN_CHECK(cli_inspect_files(c, &x->groups[0].x, x->groups[0].session, err));
    TN_CHECK(predict_loop(c, x, err));
    if (c->options.json) return print_json(c, x, err);
    print_text(c, x);
    return TN_OK;
}

tn_status cmd_wide_inspect(cli *c, tn_error *err) {
    inspection x = {0};
    tn_status status = inspect(c, &x, err);
    for (int i = 0; x.groups && i < tn_wide_group_count(x.w.wide); i++)
        tn_session_release(x.groups[i].session);
    cli_wide_close(&x.w);
    return status;
}

/* What a program tells people of its groups: names, parts, work. See assemble_inner.h. */
#include "plan/assemble_inner.h"

static const char *node_label(const tn__scope *s, tn_node n) {
    const tn_node_info *info = tn_graph_node(s->g, n);
    const char *op = tn_op_info_of(info->op)->name;
    return info->name ? tn_arena_printf(s->a->arena, "%s (%s)", op, info->name) : op;
}

const char *tn__assemble_step_name(const tn__scope *s, const tn_group *g) {
    tn_str text;
    if (g->gradient) return "attention gradient";
    tn_str_init_with(&text, tn_arena_allocator(s->a->arena));
    uint32_t first = g->attention ? 1 + g->attention->inner.len : 0; /* the epilogue */
    if (g->attention) tn_str_append(&text, first < g->members.len ? "attention+" : "attention");
    for (uint32_t i = first; i < g->members.len; i++) {
        if (i == first + 4) {
            tn_str_appendf(&text, "+%u more", g->members.len - i);
            break;
        }
        tn_op op = tn_graph_node(s->g, g->members.data[i].node)->op;
        tn_str_appendf(&text, "%s%s", i > first ? "+" : "", tn_op_info_of(op)->name);
    }
    const char *name = tn_arena_strdup(s->a->arena, tn_str_text(&text));
    tn_str_deinit(&text);
    return name;
}

static void list_inlined(const tn__scope *s, const tn_group *g, tn_node n, uint8_t *seen,
                         tn_str *out, tn_str *again) {
    const tn_node_info *info = tn_graph_node(s->g, n);
    for (uint32_t i = 0; i < info->in_count; i++) {
        tn_node from = tn_graph_value(s->g, info->in[i])->node;
        if (!s->groups->inlined[from] || seen[from] || tn_group_is_domain(g, info->in[i])) continue;
        seen[from] = true;
        list_inlined(s, g, from, seen, out, again);
        tn_str_appendf(out, "%s%s", out->len ? ", " : "", node_label(s, from));
        if (s->groups->use_count[info->in[i]] > 1)
            tn_str_appendf(again, "%s%s", again->len ? ", " : "", node_label(s, from));
    }
}

static void list_prologue(tn__scope *s, const tn_group *g, uint8_t *seen, tn_str *out,
                          tn_str *again) {
    const tn_group *rows = &s->groups->groups.data[g->prologue];
    for (uint32_t i = 0; i < rows->members.len; i++) {
        tn_node n = rows->members.data[i].node;
        list_inlined(s, rows, n, seen, out, again);
        tn_str_appendf(out, "%s%s", out->len ? ", " : "", node_label(s, n));
    }
}

static const char *take_text(tn__assembler *a, tn_str *text) {
    const char *kept = tn_arena_strdup(a->arena, tn_str_text(text));
    tn_str_deinit(text);
    return kept;
}

void tn__assemble_describe(tn__scope *s, const tn_group *g, const tn_schedule *schedule, bool tuned,
                           tn_dim bytes) {
    tn__assembler *a = s->a;
    tn_str anchors, mainloop, epilogue, stores, again, record;
    tn_str_init_with(&anchors, tn_arena_allocator(a->arena));
    tn_str_init_with(&mainloop, tn_arena_allocator(a->arena));
    tn_str_init_with(&epilogue, tn_arena_allocator(a->arena));
    tn_str_init_with(&stores, tn_arena_allocator(a->arena));
    tn_str_init_with(&again, tn_arena_allocator(a->arena));
    tn_str_init_with(&record, tn_arena_allocator(a->arena));
    uint8_t *seen = TN_NEW_N(a->arena, uint8_t, s->g->nodes.len);
    if (g->prologue != TN_NO_GROUP) list_prologue(s, g, seen, &mainloop, &again);
    for (uint32_t i = 0; i < g->members.len; i++) {
        tn_node n = g->members.data[i].node;
        tn_lower_kind kind = tn_op_rules_of(tn_graph_node(s->g, n)->op)->lower.kind;
        bool anchor = kind != TN_LOWER_EXPRESSION;
        tn_str *to = anchor ? &anchors : &epilogue;
        list_inlined(s, g, n, seen, anchor ? &mainloop : &epilogue, &again);
        tn_str_appendf(to, "%s%s", to->len ? ", " : "", node_label(s, n));
    }
    for (uint32_t i = 0; i < tn_group_results(g); i++) {
        tn_value v = tn_group_result(g, i);
        tn_str_appendf(&stores, "%s%%%u ", stores.len ? ", " : "", v);
        tn_type_print(s->g->dims, tn_graph_type(s->g, v), &stores);
    }
    tn_schedule_print(schedule, g->kind, &record);
    if (tuned) tn_str_append(&record, " tuned");
    tn_prog_group info = {.step_position = a->position, .bytes = bytes};
    info.anchors = take_text(a, &anchors);
    info.mainloop = take_text(a, &mainloop);
    info.epilogue = take_text(a, &epilogue);
    info.stores = take_text(a, &stores);
    info.recomputes = take_text(a, &again);
    info.schedule = take_text(a, &record);
    tn_vec_push(a->arena, &a->p->groups, info);
}

/* Of a contraction or window fold. */
static tn_dim anchor_flops(const tn__scope *s, tn_node anchor) {
    tn_dims *dims = s->g->dims;
    const tn_node_info *n = tn_graph_node(s->g, anchor);
    const tn_lower *l = &tn_op_rules_of(n->op)->lower;
    tn_dim work = tn_dim_const(dims, 2);
    if (l->kind == TN_LOWER_CONTRACTION) {
        tn_contraction c;
        l->contraction->describe(s->g, n, &c);
        for (int i = 0; i < c.k; i++) work = tn_dim_mul(dims, work, c.k_extent[i]);
    } else if (l->kind == TN_LOWER_FOLD) {
        tn_fold f;
        l->fold->describe(s->g, n, &f);
        for (int i = 0; i < f.axes; i++) work = tn_dim_mul(dims, work, f.extent[i]);
    }
    const tn_shape *result = &tn_graph_type(s->g, n->out)->shape;
    return tn_dim_mul(dims, work, tn_shape_count(dims, result));
}

static tn_dim gradient_flops(const tn__scope *s, const tn_attention_gradient *y) {
    tn_dims *dims = s->g->dims;
    tn_dim flops = tn_dim_const(dims, 0);
    for (uint32_t i = 0; i < y->products.len; i++)
        flops = tn_dim_add(dims, flops, anchor_flops(s, y->products.data[i].node));
    for (uint32_t i = 0; i < y->inner.len; i++) {
        const tn_score_node *n = &y->inner.data[i];
        const tn_shape *result = &tn_graph_type(s->g, tn_graph_node(s->g, n->node)->out)->shape;
        tn_dim work =
            n->kind == TN_SCORE_SOURCE ? anchor_flops(s, n->node) : tn_shape_count(dims, result);
        if (n->needed) flops = tn_dim_add(dims, flops, work);
    }
    return flops;
}

tn_dim tn__assemble_flops(const tn__scope *s, const tn_group *g) {
    tn_dims *dims = s->g->dims;
    if (g->gradient) return gradient_flops(s, g->gradient);
    const tn_attention_parts *x = g->attention;
    uint32_t inner = x ? x->inner.len : 0;
    tn_dim flops = tn_dim_mul(dims, tn_shape_count(dims, &g->space.shape),
                              tn_dim_const(dims, (int64_t)(g->members.len - inner)));
    for (uint32_t i = 0; g->anchor != TN_NO_NODE && i < tn_group_anchors(g); i++)
        flops = tn_dim_add(dims, flops, anchor_flops(s, tn_group_anchor(g, i).node));
    if (g->prologue != TN_NO_GROUP)
        flops =
            tn_dim_add(dims, flops, tn__assemble_flops(s, &s->groups->groups.data[g->prologue]));
    if (!x) return flops;
    flops = tn_dim_add(dims, flops, anchor_flops(s, x->score));
    const tn_shape *scores = &tn_graph_type(s->g, x->scores)->shape;
    return tn_dim_add(
        dims, flops,
        tn_dim_mul(dims, tn_shape_count(dims, scores), tn_dim_const(dims, (int64_t)inner)));
}

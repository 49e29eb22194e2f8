/* The rewrite engine. See rewrite.h. */
#include "transform/rewrite.h"

#include "transform/dce.h"

enum { MAX_CHAIN = 16 }; /* rewrites of one node in one walk */

typedef struct walk {
    const tn_graph *in;
    tn_rewriter r;
    const tn_rewrite_table *tables;
    size_t table_count;
    tn_value *map;
    bool changed;
} walk;

static bool type_equal(const tn_type *a, const tn_type *b) {
    return a->dtype == b->dtype && tn_shape_equal(&a->shape, &b->shape);
}

static bool touches_floats(const tn_graph *g, const tn_node_info *n) {
    if (n->in_count && tn_dtype_is_float(tn_node_type(g, n, 0)->dtype)) return true;
    return n->out_count && tn_dtype_is_float(tn_graph_type(g, n->out)->dtype);
}

static const tn_rewrite *apply_first(walk *w, const tn_node_info *n, tn_value *out) {
    bool guarded = !w->r.float_unsafe && touches_floats(w->r.g, n);
    for (size_t t = 0; t < w->table_count; t++)
        for (size_t i = 0; i < w->tables[t].count; i++) {
            const tn_rewrite *row = &w->tables[t].rows[i];
            if ((row->op != n->op && row->op != TN_OP_COUNT) || (row->float_unsafe && guarded))
                continue;
            bool applied = row->apply(&w->r, n, out);
            if (applied && tn_b_ok(&w->r.b)) return row;
            w->r.b.status = TN_OK;
        }
    return NULL;
}

static tn_status check_replacement(const walk *w, const tn_rewrite *row, const tn_node_info *n,
                                   const tn_value *out, tn_error *err) {
    for (uint32_t i = 0; i < n->out_count; i++)
        if (!type_equal(tn_graph_type(w->r.g, n->out + i), tn_graph_type(w->r.g, out[i])))
            return tn_error_set(err, TN_INVALID,
                                "rewrite '%s' changed the type of result %u of %s (a bug in Tenon)",
                                row->name, i, tn_op_info_of(n->op)->name);
    return TN_OK;
}

/* Offers the newest form of a node to the rows until none applies. `out` has its results. */
static tn_status rewrite_node(walk *w, tn_value *out, uint32_t out_count, tn_error *err) {
    tn_graph *g = w->r.g;
    for (int i = 0; i < MAX_CHAIN; i++) {
        tn_node_info n = *tn_graph_producer(g, out[0]);
        uint32_t before = g->values.len;
        w->r.b.name = n.name;
        tn_value *next = TN_NEW_N(g->arena, tn_value, n.out_count);
        const tn_rewrite *row = apply_first(w, &n, next);
        if (!row) return TN_OK;
        TN_CHECK(check_replacement(w, row, &n, next, err));
        w->changed = true;
        memcpy(out, next, out_count * sizeof(*out));
        /* Older values have been offered already; several results may have several producers. */
        if (out_count != 1 || out[0] < before || tn_graph_producer(g, out[0])->out_count != 1)
            return TN_OK;
    }
    return TN_OK;
}

static void count_uses(walk *w, const uint32_t *uses, tn_value v) {
    uint32_t len = w->r.uses.len;
    if (len < w->r.g->values.len) {
        tn_vec_grow(w->r.g->arena, &w->r.uses, w->r.g->values.len);
        memset(w->r.uses.data + len, 0, (w->r.g->values.len - len) * sizeof(uint32_t));
        w->r.uses.len = w->r.g->values.len;
    }
    w->r.uses.data[w->map[v]] += uses[v];
}

static tn_status walk_once(walk *w, tn_pass_fn *self, const tn_transform_options *options,
                           tn_error *err) {
    const tn_graph *in = w->in;
    const uint32_t *uses = tn_graph_use_counts(in, in->arena);
    for (tn_node id = 0; id < in->nodes.len; id++) {
        const tn_node_info *n = tn_graph_node(in, id);
        TN_CHECK(tn__pass_copy_node(in, w->r.g, id, w->map, self, options, err));
        if (n->out_count == 0) continue;
        TN_CHECK(rewrite_node(w, &w->map[n->out], n->out_count, err));
        for (uint32_t i = 0; i < n->out_count; i++) {
            tn__pass_keep_name(in, n->out + i, w->r.g, w->map[n->out + i]);
            count_uses(w, uses, n->out + i);
        }
    }
    tn__pass_copy_outputs(in, w->r.g, w->map);
    return TN_OK;
}

tn_status tn__rewrite(const tn_graph *in, tn_graph *out, const tn_rewrite_table *tables,
                      size_t table_count, int walks, tn_pass_fn *self,
                      const tn_transform_options *options, tn_error *err) {
    for (int i = 1;; i++) {
        tn_graph *next = tn__pass_scratch(in, out), *clean = tn__pass_scratch(in, out);
        walk w = {.in = in, .tables = tables, .table_count = table_count};
        w.r = (tn_rewriter){.g = next, .b = tn_builder_of(next, NULL)};
        w.r.float_unsafe = options->float_unsafe;
        w.map = TN_NEW_N(in->arena, tn_value, in->values.len);
        TN_CHECK(walk_once(&w, self, options, err));
        if (!w.changed || i >= walks) return tn_pass_dce.run(next, out, options, err);
        TN_CHECK(tn_pass_dce.run(next, clean, options, err));
        in = clean;
    }
}

/* Constant folding. See fold.h. */
#include "transform/fold.h"

#include "ir/rules.h"
#include "ops/eval.h"

typedef struct folder {
    const tn_graph *in;
    tn_graph *out;
    const tn_transform_options *options;
    tn_arena arena;  /* of all that is evaluated; constants that stay are copied */
    tn_array *array; /* per value of `in` */
    bool *known;     /* whether array[v] has a type, and its elements follow from constants */
    bool *made;      /* whether array[v] holds them: those of nodes that stay wait for a reader */
    int64_t *stored; /* bytes of the constants that v is made of at run time */
    tn_value *map;
    tn_error *err;
} folder;

static bool is_small(const tn_shape *s, int64_t limit) {
    int64_t count = 1;
    for (int i = 0; i < s->rank; i++) {
        if (!tn_dim_is_const(s->dim[i]) || __builtin_mul_overflow(count, s->dim[i], &count))
            return false;
        if (count > limit) return false;
    }
    return true;
}

static bool dims_are_const(const tn_dims *t, const tn_dim *dim, int count) {
    int64_t value;
    for (int i = 0; i < count; i++)
        if (!tn_dim_const_value(t, dim[i], &value)) return false;
    return true;
}

/* Whether no attribute needs the value of a symbol. */
static bool attrs_are_const(const tn_graph *g, const tn_node_info *n) {
    for (const tn_field *f = tn_op_info_of(n->op)->fields; f->kind != TN_FIELD_END; f++) {
        const void *at = (const char *)n->attrs + f->offset;
        const tn_dim_list *list = at;
        const tn_shape *shape = at;
        if (f->kind == TN_FIELD_DIM && !dims_are_const(g->dims, at, 1)) return false;
        if (f->kind == TN_FIELD_DIMS && !dims_are_const(g->dims, list->at, list->count))
            return false;
        if (f->kind == TN_FIELD_SHAPE && !dims_are_const(g->dims, shape->dim, shape->rank))
            return false;
    }
    return true;
}

static bool can_eval(const folder *f, const tn_node_info *n) {
    if (tn_op_rules_of(n->op)->lower.kind == TN_LOWER_CONTROL || n->op == TN_OP_barrier)
        return false;
    int64_t limit = n->op == TN_OP_iota ? TN_FOLD_IOTA : TN_FOLD_ELEMENTS;
    if (n->in_count == 0 && n->op != TN_OP_iota) return false; /* depends on more than operands */
    for (uint32_t i = 0; i < n->in_count; i++)
        if (!f->known[n->in[i]]) return false;
    for (uint32_t i = 0; i < n->out_count; i++)
        if (!is_small(&tn_graph_type(f->in, n->out + i)->shape, limit)) return false;
    if (!attrs_are_const(f->in, n)) return false;
    tn_cost cost = {0, 0, 0};
    tn_op_rules_of(n->op)->cost(f->in, n, NULL, &cost);
    return cost.flops <= TN_FOLD_FLOPS;
}

/* Operands are made. */
static bool eval_one(folder *f, tn_node id) {
    const tn_node_info *n = tn_graph_node(f->in, id);
    tn_array *in = TN_NEW_N(&f->arena, tn_array, n->in_count);
    for (uint32_t i = 0; i < n->in_count; i++) in[i] = f->array[n->in[i]];
    tn_error ignored = TN_ERROR_INIT;
    if (tn_eval_node(f->in, id, in, &f->array[n->out], NULL, &f->arena, &ignored) != TN_OK)
        return false;
    for (uint32_t i = 0; i < n->out_count; i++) f->made[n->out + i] = true;
    return true;
}

static bool find_unmade(const folder *f, tn_node id, tn_node *out) {
    const tn_node_info *n = tn_graph_node(f->in, id);
    for (uint32_t i = 0; i < n->in_count; i++) {
        *out = tn_graph_value(f->in, n->in[i])->node;
        if (!f->made[n->in[i]]) return true;
    }
    return false;
}

/* With what waits before it, which may be a long chain. */
static bool eval_node(folder *f, tn_node id) {
    TN_VEC(tn_node) open = {0};
    tn_vec_push(&f->arena, &open, id);
    while (open.len) {
        tn_node last = open.data[open.len - 1], before;
        if (find_unmade(f, last, &before))
            tn_vec_push(&f->arena, &open, before);
        else if (eval_one(f, last))
            open.len--;
        else
            return false;
    }
    return true;
}

static void note_types(folder *f, const tn_node_info *n) {
    for (uint32_t i = 0; i < n->out_count; i++) {
        const tn_type *t = tn_graph_type(f->in, n->out + i);
        tn_array *x = &f->array[n->out + i];
        *x = (tn_array){.dtype = t->dtype, .rank = t->shape.rank};
        for (int a = 0; a < x->rank; a++) x->dim[a] = t->shape.dim[a];
    }
}

/* A node worth keeping although its result is known: iota, views that only repeat, and what takes much
 * more memory than what it is made of. */
static bool stays(const folder *f, const tn_node_info *n) {
    const tn_lower *l = &tn_op_rules_of(n->op)->lower;
    if (n->op == TN_OP_iota) return true;
    if (l->kind != TN_LOWER_EXPRESSION || n->out_count != 1) return false;
    int64_t read = 0, stored = 0, bytes = (int64_t)tn_array_bytes(&f->array[n->out]);
    for (uint32_t i = 0; i < n->in_count; i++) {
        read += tn_array_count(&f->array[n->in[i]]);
        stored += f->stored[n->in[i]];
    }
    if (l->view && tn_array_count(&f->array[n->out]) > read) return true;
    return bytes >= TN_FOLD_STORED && bytes > stored + stored / 2;
}

/* What node `id` of the input makes at run time from, if it is kept; from its own bytes, if not. */
static void note_stored(folder *f, const tn_node_info *n, bool kept) {
    for (uint32_t o = 0; o < n->out_count; o++) {
        if (!f->known[n->out + o]) continue;
        int64_t bytes = kept ? 0 : (int64_t)tn_array_bytes(&f->array[n->out + o]);
        for (uint32_t i = 0; kept && i < n->in_count; i++) bytes += f->stored[n->in[i]];
        f->stored[n->out + o] = bytes;
    }
}

static tn_status add_constants(folder *f, const tn_node_info *n) {
    tn_builder b = tn_builder_of(f->out, f->err);
    b.name = n->name;
    for (uint32_t i = 0; i < n->out_count; i++) {
        tn_value v = tn_b_constant(&b, &f->array[n->out + i]);
        if (!tn_b_ok(&b)) break;
        f->map[n->out + i] = v;
        tn__pass_keep_name(f->in, n->out + i, f->out, v);
    }
    return tn_b_finish(&b);
}

static tn_status fold_node(folder *f, tn_node id) {
    const tn_graph *in = f->in;
    const tn_node_info *n = tn_graph_node(in, id);
    if (n->op == TN_OP_constant)
        f->known[n->out] = f->made[n->out] =
            is_small(&tn_graph_type(in, n->out)->shape, TN_FOLD_ELEMENTS) &&
            tn_graph_constant(in, n->out, &f->array[n->out]);
    bool known = n->op != TN_OP_constant && can_eval(f, n);
    if (known) note_types(f, n);
    bool kept = known && stays(f, n);
    if (known && !kept) known = eval_node(f, id);
    for (uint32_t i = 0; known && i < n->out_count; i++) f->known[n->out + i] = true;
    note_stored(f, n, kept);
    if (known && !kept) return add_constants(f, n);
    return tn__pass_copy_node(in, f->out, id, f->map, tn_pass_fold.run, f->options, f->err);
}

static tn_status fold_guarded(void *argument, tn_error *err) {
    folder *f = argument;
    const tn_graph *in = f->in;
    f->err = err;
    f->array = TN_NEW_N(&f->arena, tn_array, in->values.len);
    f->known = TN_NEW_N(&f->arena, bool, in->values.len);
    f->made = TN_NEW_N(&f->arena, bool, in->values.len);
    f->map = TN_NEW_N(&f->arena, tn_value, in->values.len);
    f->stored = TN_NEW_N(&f->arena, int64_t, in->values.len);
    for (tn_node id = 0; id < in->nodes.len; id++) TN_CHECK(fold_node(f, id));
    tn__pass_copy_outputs(in, f->out, f->map);
    return TN_OK;
}

static tn_status run(const tn_graph *in, tn_graph *out, const tn_transform_options *options,
                     tn_error *err) {
    folder f = {.in = in, .out = out, .options = options};
    tn_arena_init(&f.arena, in->arena->allocator);
    f.arena.limit = in->arena->limit;
    tn_status status = tn_guard(fold_guarded, &f, err);
    tn_arena_deinit(&f.arena);
    return status;
}

const tn_pass tn_pass_fold = {"fold", run};

/* Structures of members as keys of nodes in canonical order. See structure.h. */
#include "wide/structure.h"

enum { NONE = UINT32_MAX };

/* ---- canonical order ------------------------------------------------------------------------ */

typedef struct visit {
    tn_node node;
    uint32_t next; /* operand */
} visit;

typedef struct walk {
    tn__structure *s;
    tn_arena *arena;
    const tn_graph *g;
    bool *seen;
    TN_VEC(visit) stack;
} walk;

static void enter(walk *w, tn_value v, tn_node user) {
    tn_node n = w->g->values.data[v].node;
    if (w->s->user[n] == NONE) w->s->user[n] = user;
    if (w->seen[n]) return;
    w->seen[n] = true;
    tn_vec_push(w->arena, &w->stack, (visit){n, 0});
}

/* Depth first, without recursion: files may nest as deep as they like. */
static void visit_from(walk *w, tn_value v) {
    enter(w, v, NONE);
    while (w->stack.len) {
        visit *top = &w->stack.data[w->stack.len - 1];
        const tn_node_info *n = tn_graph_node(w->g, top->node);
        if (top->next < n->in_count) {
            enter(w, n->in[top->next++], top->node);
            continue;
        }
        tn_vec_push(w->arena, &w->s->order, top->node);
        w->stack.len--;
    }
}

static void find_order(tn__structure *s, tn_arena *arena) {
    const tn_graph *g = s->import->graph;
    walk w = {.s = s, .arena = arena, .g = g, .seen = TN_NEW_N(arena, bool, g->nodes.len)};
    s->user = TN_NEW_N(arena, tn_node, g->nodes.len);
    for (tn_node n = 0; n < g->nodes.len; n++) s->user[n] = NONE;
    for (uint32_t i = 0; i < g->outputs.len; i++) visit_from(&w, g->outputs.data[i].value);
}

/* ---- keys ----------------------------------------------------------------------------------- */

/* Number of the input that `n` is; those behind the model's own are weights. */
static uint32_t input_number(const tn_graph *g, const tn_node_info *n) {
    for (uint32_t i = 0; i < g->inputs.len; i++)
        if (g->inputs.data[i] == n->out) return i;
    return NONE;
}

/* Floats that the file gives by name are data; what an operator's attributes became has none. */
static bool is_setting(const tn_graph *g, const tn_node_info *n) {
    if (n->op != TN_OP_constant) return false;
    const tn_value_info *v = tn_graph_value(g, n->out);
    return v->name && tn_dtype_is_float(v->type.dtype);
}

static void fold_in(tn_hash128 *h, const void *data, size_t size) {
    tn_hash128 both[2] = {*h, tn_hash128_of(data, size)};
    *h = tn_hash128_of(both, sizeof both);
}

static void fold_number(tn_hash128 *h, int64_t number) {
    fold_in(h, &number, sizeof number);
}

static void fold_type(tn_hash128 *h, const tn_graph *g, const tn_type *t) {
    tn_str text;
    tn_str_init_with(&text, tn_arena_allocator(g->arena));
    tn_type_print(g->dims, t, &text);
    fold_in(h, text.data, text.len);
}

static tn_hash128 key_of(const tn__structure *s, const tn_node_info *n, const tn_value *number) {
    const tn_graph *g = s->import->graph;
    tn_hash128 h = {0};
    fold_number(&h, n->op);
    if (n->op == TN_OP_input || n->op == TN_OP_constant) fold_type(&h, g, tn_graph_type(g, n->out));
    if (n->op == TN_OP_input) {
        uint32_t i = input_number(g, n);
        fold_number(&h, i < s->import->inputs.len ? (int64_t)i : -1);
        return h;
    }
    if (n->op == TN_OP_constant) {
        const tn_attrs_constant *c = n->attrs;
        bool own = is_setting(g, n);
        fold_number(&h, own);
        if (!own) fold_in(&h, c->data.bytes, c->data.size);
        return h;
    }
    size_t size;
    tn_value *in = TN_NEW_N(g->arena, tn_value, n->in_count);
    for (uint32_t i = 0; i < n->in_count; i++) in[i] = number[n->in[i]];
    const void *key = tn_graph_node_key(g, n, in, &size);
    fold_in(&h, key, size);
    return h;
}

static void hash_ports(tn__structure *s, const tn_value *number) {
    const tn_import *i = s->import;
    const tn_graph *g = i->graph;
    fold_number(&s->hash, i->inputs.len);
    for (uint32_t k = 0; k < i->inputs.len; k++)
        fold_type(&s->hash, g, tn_graph_type(g, g->inputs.data[k]));
    fold_number(&s->hash, g->outputs.len);
    for (uint32_t k = 0; k < g->outputs.len; k++)
        fold_number(&s->hash, number[g->outputs.data[k].value]);
}

static void note_own(tn__structure *s, const tn_node_info *n, tn_arena *arena) {
    const tn_graph *g = s->import->graph;
    uint32_t i = n->op == TN_OP_input ? input_number(g, n) : NONE;
    if (i != NONE && i >= s->import->inputs.len)
        tn_vec_push(arena, &s->weights, i - s->import->inputs.len);
    if (is_setting(g, n)) tn_vec_push(arena, &s->settings, n->out);
}

void tn__structure_of(const tn_import *import, tn_arena *arena, tn__structure *out) {
    const tn_graph *g = import->graph;
    *out = (tn__structure){.import = import};
    find_order(out, arena);
    tn_value *number = TN_NEW_N(arena, tn_value, g->values.len), next = 0;
    out->key = TN_NEW_N(arena, tn_hash128, out->order.len);
    for (uint32_t p = 0; p < out->order.len; p++) {
        const tn_node_info *n = tn_graph_node(g, out->order.data[p]);
        for (uint32_t r = 0; r < n->out_count; r++) number[n->out + r] = next++;
        out->key[p] = key_of(out, n, number);
        fold_in(&out->hash, &out->key[p], sizeof out->key[p]);
        note_own(out, n, arena);
    }
    hash_ports(out, number);
}

/* Merging and trimming scans. See loops.h. */
#include "transform/loops.h"

#include "ops/control.h"

typedef struct pass {
    const tn_graph *in;
    tn_graph *out;
    const tn_transform_options *options;
    tn_error *err;
    tn_value *map;              /* values of `in` in `out` */
    bool *used;                 /* values of `in` that something reads */
    const tn_attrs_scan **loop; /* of each node; NULL: no loop */
    tn_node *first;             /* of each loop: the earliest over the same operands */
} pass;

/* A loop in the making. Its body has the results of all members: the carries, then ys. */
typedef struct loop {
    const tn_attrs_scan *attrs;
    tn_graph *body;
    tn_map seen; /* key of a node of the body → node */
    bool *needed;
    TN_VEC(tn_value) results; /* values of the body */
    TN_VEC(bool) wanted;      /* of each result */
} loop;

static tn_status run(const tn_graph *in, tn_graph *out, const tn_transform_options *options,
                     tn_error *err);

/* ---- finding -------------------------------------------------------------------------------- */

/* A scan, or a while that is one since the number of its iterations follows from constants. */
static const tn_attrs_scan *loop_of(const pass *p, const tn_node_info *n) {
    if (n->op == TN_OP_scan) return n->attrs;
    if (n->op != TN_OP_while) return NULL;
    const tn_attrs_while *a = n->attrs;
    tn_attrs_scan *scan = TN_NEW(p->out->arena, tn_attrs_scan);
    *scan = (tn_attrs_scan){.carries = a->states, .body = a->body};
    return tn__while_trips(p->in, a, n->in, &scan->length) ? scan : NULL;
}

static bool same_loop(const pass *p, tn_node a, tn_node b) {
    const tn_node_info *x = tn_graph_node(p->in, a), *y = tn_graph_node(p->in, b);
    const tn_attrs_scan *q = p->loop[a], *r = p->loop[b];
    return x->in_count == y->in_count && q->carries == r->carries && q->slices == r->slices &&
           q->length == r->length && q->reverse == r->reverse &&
           memcmp(x->in, y->in, x->in_count * sizeof *x->in) == 0;
}

static void find_first(pass *p) {
    for (tn_node n = 0; n < p->in->nodes.len; n++) {
        p->first[n] = n;
        p->loop[n] = loop_of(p, tn_graph_node(p->in, n));
        for (tn_node k = 0; p->loop[n] && k < n && p->first[n] == n; k++)
            if (p->loop[k] && p->first[k] == k && same_loop(p, k, n)) p->first[n] = k;
    }
}

static void find_used(pass *p) {
    for (tn_node n = 0; n < p->in->nodes.len; n++) {
        const tn_node_info *node = tn_graph_node(p->in, n);
        for (uint32_t i = 0; i < node->in_count; i++) p->used[node->in[i]] = true;
    }
    for (uint32_t i = 0; i < p->in->outputs.len; i++) p->used[p->in->outputs.data[i].value] = true;
}

/* ---- merging -------------------------------------------------------------------------------- */

/* Adds the nodes of a body that are not there yet; map: its values in the loop's body. */
static tn_status add_body(loop *l, const tn_graph *body, tn_value *map, tn_error *err) {
    for (uint32_t i = 0; i < body->inputs.len; i++)
        map[body->inputs.data[i]] = l->body->inputs.data[i];
    for (tn_node i = 0; i < body->nodes.len; i++) {
        const tn_node_info *n = tn_graph_node(body, i);
        tn_node known, next = l->body->nodes.len;
        if (n->op == TN_OP_input) continue;
        tn_value *in = TN_NEW_N(l->body->arena, tn_value, n->in_count);
        for (uint32_t k = 0; k < n->in_count; k++) in[k] = map[n->in[k]];
        size_t size;
        const void *key = tn_graph_node_key(body, n, in, &size);
        if (n->op != TN_OP_barrier && tn_map_get(&l->seen, key, size, &known)) {
            for (uint32_t o = 0; o < n->out_count; o++)
                map[n->out + o] = tn_graph_node(l->body, known)->out + o;
            continue;
        }
        TN_CHECK(tn_graph_copy_node(l->body, body, i, map, NULL, err));
        tn_map_put(&l->seen, key, size, next);
    }
    return TN_OK;
}

static uint32_t result_of(loop *l, tn_value v) {
    for (uint32_t r = (uint32_t)l->attrs->carries; r < l->results.len; r++)
        if (l->results.data[r] == v) return r;
    tn_vec_push(l->body->arena, &l->results, v);
    tn_vec_push(l->body->arena, &l->wanted, false);
    return l->results.len - 1;
}

/* Joins node `n`; place[r]: which result of the loop its result r is. False when its carries are
 * others. */
static tn_status join(const pass *p, loop *l, tn_node n, uint32_t *place, bool *joined) {
    const tn_node_info *node = tn_graph_node(p->in, n);
    const tn_graph *body = p->loop[n]->body;
    uint32_t carries = (uint32_t)l->attrs->carries;
    tn_value *map = TN_NEW_N(p->out->arena, tn_value, body->values.len);
    bool first = l->results.len == 0;
    TN_CHECK(add_body(l, body, map, p->err));
    for (uint32_t r = 0; r < carries; r++) {
        tn_value v = map[body->outputs.data[r].value];
        if (first) tn_vec_push(p->out->arena, &l->results, v);
        if (first) tn_vec_push(p->out->arena, &l->wanted, false);
        if (l->results.data[r] != v) return TN_OK;
        place[r] = r;
    }
    for (uint32_t r = carries; r < node->out_count; r++)
        place[r] = result_of(l, map[body->outputs.data[r].value]);
    for (uint32_t r = 0; r < node->out_count; r++)
        if (p->used[node->out + r]) l->wanted.data[place[r]] = true;
    *joined = true;
    return TN_OK;
}

/* ---- trimming ------------------------------------------------------------------------------- */

/* Marks what the wanted results are computed from; a carry that is read is wanted itself. */
static void find_needed(loop *l) {
    l->needed = TN_NEW_N(l->body->arena, bool, l->body->values.len);
    for (bool more = true; more;) {
        more = false;
        for (uint32_t r = 0; r < l->results.len; r++)
            if (l->wanted.data[r]) l->needed[l->results.data[r]] = true;
        for (tn_node i = l->body->nodes.len; i-- > 0;) {
            const tn_node_info *n = tn_graph_node(l->body, i);
            bool any = false;
            for (uint32_t o = 0; o < n->out_count; o++) any = any || l->needed[n->out + o];
            for (uint32_t k = 0; any && k < n->in_count; k++) l->needed[n->in[k]] = true;
        }
        for (uint32_t r = 0; r < (uint32_t)l->attrs->carries; r++) {
            if (l->wanted.data[r] || !l->needed[l->body->inputs.data[r]]) continue;
            l->wanted.data[r] = more = true;
        }
    }
}

static bool keeps_operand(const loop *l, uint32_t i) {
    return i < l->attrs->carries ? l->wanted.data[i] : l->needed[l->body->inputs.data[i]];
}

/* A scan has an operand, if only an unread one: an invariant or a slice where there is one. */
static void keep_an_operand(loop *l) {
    uint32_t last = l->body->inputs.len - 1;
    for (uint32_t i = 0; i <= last; i++)
        if (keeps_operand(l, i)) return;
    if (last < l->attrs->carries) {
        l->wanted.data[last] = true;
        find_needed(l);
    } else {
        l->needed[l->body->inputs.data[last]] = true;
    }
}

/* The body with what is needed of it, after this pass over what is in it. */
static tn_status trimmed_body(const pass *p, const loop *l, tn_graph **out) {
    const tn_graph *from = l->body;
    tn_graph *kept = tn_graph_new_sub(p->out);
    tn_value *map = TN_NEW_N(p->out->arena, tn_value, from->values.len);
    for (uint32_t i = 0; i < from->inputs.len; i++)
        if (keeps_operand(l, i))
            TN_CHECK(tn_graph_copy_node(kept, from, from->values.data[from->inputs.data[i]].node,
                                        map, NULL, p->err));
    for (tn_node i = 0; i < from->nodes.len; i++) {
        const tn_node_info *n = tn_graph_node(from, i);
        bool any = false;
        for (uint32_t o = 0; o < n->out_count; o++) any = any || l->needed[n->out + o];
        if (any && n->op != TN_OP_input)
            TN_CHECK(tn_graph_copy_node(kept, from, i, map, NULL, p->err));
    }
    for (uint32_t r = 0; r < l->results.len; r++)
        if (l->wanted.data[r]) tn_graph_add_output(kept, map[l->results.data[r]], NULL);
    *out = tn_graph_new_sub(p->out);
    return run(kept, *out, p->options, p->err);
}

/* Adds the loop's node; value[r]: its result r, where it is wanted. */
static tn_status add_loop(const pass *p, const loop *l, tn_node n, tn_value *value) {
    const tn_node_info *node = tn_graph_node(p->in, n);
    tn_attrs_scan a = *l->attrs;
    uint32_t carries = (uint32_t)a.carries, slices = (uint32_t)a.slices, count = 0;
    tn_value *in = TN_NEW_N(p->out->arena, tn_value, node->in_count), at;
    a.carries = a.slices = 0;
    for (uint32_t i = 0; i < node->in_count; i++) {
        if (!keeps_operand(l, i)) continue;
        in[count++] = p->map[node->in[i]];
        a.carries += i < carries;
        a.slices += i >= carries && i < carries + slices;
    }
    TN_CHECK(trimmed_body(p, l, &a.body));
    TN_CHECK(tn_graph_add(p->out, TN_OP_scan, in, count, &a, node->name, &at, p->err));
    for (uint32_t r = 0; r < l->results.len; r++)
        if (l->wanted.data[r]) value[r] = at++;
    return TN_OK;
}

/* ---- the pass ------------------------------------------------------------------------------- */

static void give_results(const pass *p, tn_node n, const uint32_t *place, const tn_value *value) {
    const tn_node_info *node = tn_graph_node(p->in, n);
    for (uint32_t r = 0; r < node->out_count; r++) {
        if (!p->used[node->out + r]) continue;
        p->map[node->out + r] = value[place[r]];
        tn__pass_keep_name(p->in, node->out + r, p->out, value[place[r]]);
    }
}

static tn_status loop_begin(const pass *p, tn_node n, loop *l) {
    *l = (loop){.attrs = p->loop[n], .body = tn_graph_new_sub(p->out)};
    const tn_graph *body = l->attrs->body;
    tn_map_init(&l->seen, p->out->arena);
    tn_value *map = TN_NEW_N(p->out->arena, tn_value, body->values.len);
    for (uint32_t i = 0; i < body->inputs.len; i++)
        TN_CHECK(tn_graph_copy_node(l->body, body, body->values.data[body->inputs.data[i]].node,
                                    map, NULL, p->err));
    return TN_OK;
}

/* The scan `n` and those after it that join. */
static tn_status make_loop(pass *p, tn_node n) {
    loop l;
    uint32_t count = p->in->nodes.len;
    uint32_t **place = TN_NEW_N(p->out->arena, uint32_t *, count);
    TN_CHECK(loop_begin(p, n, &l));
    for (tn_node k = n; k < count; k++) {
        if (p->first[k] != n) continue;
        bool joined = false;
        place[k] = TN_NEW_N(p->out->arena, uint32_t, tn_graph_node(p->in, k)->out_count);
        TN_CHECK(join(p, &l, k, place[k], &joined));
        if (!joined) p->first[k] = k; /* a loop of its own */
        if (!joined) place[k] = NULL;
    }
    bool any = false;
    for (uint32_t r = 0; r < l.results.len; r++) any = any || l.wanted.data[r];
    if (!any) return TN_OK;
    find_needed(&l);
    keep_an_operand(&l);
    tn_value *value = TN_NEW_N(p->out->arena, tn_value, l.results.len);
    TN_CHECK(add_loop(p, &l, n, value));
    for (tn_node k = n; k < count; k++)
        if (place[k]) give_results(p, k, place[k], value);
    return TN_OK;
}

static tn_status run(const tn_graph *in, tn_graph *out, const tn_transform_options *options,
                     tn_error *err) {
    pass p = {.in = in, .out = out, .options = options, .err = err};
    p.map = TN_NEW_N(in->arena, tn_value, in->values.len);
    p.used = TN_NEW_N(in->arena, bool, in->values.len);
    p.loop = TN_NEW_N(in->arena, const tn_attrs_scan *, in->nodes.len);
    p.first = TN_NEW_N(in->arena, tn_node, in->nodes.len);
    find_first(&p);
    find_used(&p);
    for (tn_node n = 0; n < in->nodes.len; n++) {
        if (!p.loop[n])
            TN_CHECK(tn__pass_copy_node(in, out, n, p.map, run, options, err));
        else if (p.first[n] == n)
            TN_CHECK(make_loop(&p, n));
    }
    tn__pass_copy_outputs(in, out, p.map);
    return TN_OK;
}

const tn_pass tn_pass_loops = {"loops", run};

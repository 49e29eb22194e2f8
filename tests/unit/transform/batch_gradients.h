/* Batching twice, and gradients before and after batching. See batch_lab.h. */
#ifndef TENON_TESTS_BATCH_GRADIENTS_H
#define TENON_TESTS_BATCH_GRADIENTS_H

#include "unit/transform/batch_lab.h"

#include "ops/gradient.h"

/* ---- twice ---------------------------------------------------------------------------------- */

/* Ports along `axis` of inputs that the set has. */
static inline tn_batch_port *batch_ports_at(batch_lab *t, uint32_t count, uint64_t set,
                                            const int *axis) {
    tn_batch_port *ports = TN_NEW_N(&t->t.arena, tn_batch_port, count);
    for (uint32_t i = 0; i < count; i++) ports[i].axis = set >> i & 1 ? axis[i] : -1;
    return ports;
}

/* Members of 2 in front of members of 3, made in either order; sets of inputs that the members of 3 and
 * of 2 have for themselves. */
static inline void batch_check_twice(batch_lab *t, const tn_graph *g, uint64_t inner,
                                     uint64_t outer) {
    enum { MOST_INPUTS = 64 };
    int zero[MOST_INPUTS] = {0}, behind[MOST_INPUTS];
    assert_true(g->inputs.len <= MOST_INPUTS && g->outputs.len <= MOST_INPUTS);
    for (int i = 0; i < MOST_INPUTS; i++) behind[i] = outer >> i & 1;
    const tn_batch_port second = {.axis = 1};
    tn_batch_port *one = TN_NEW_N(&t->t.arena, tn_batch_port, g->outputs.len);
    for (uint32_t i = 0; i < g->outputs.len; i++) one[i] = second;
    const tn_batch_spec three = {3, batch_ports_at(t, g->inputs.len, inner, zero), NULL, false,
                                 true};
    const tn_batch_spec two = {2, batch_ports_at(t, g->inputs.len, outer, zero), NULL, false, true};
    const tn_batch_spec late = {3, batch_ports_at(t, g->inputs.len, inner, behind), one, false,
                                true};
    tn_batched x = batch_make(t, g, &three), xy = batch_make(t, x.graph, &two);
    tn_batched y = batch_make(t, g, &two), yx = batch_make(t, y.graph, &late);
    const tn_batch_spec none = {1, batch_ports_at(t, g->inputs.len, 0, zero), NULL, false, true};
    batch_values v = batch_random_values(t, xy.graph, &none, 1);
    const tn_array *a = batch_run(t, xy.graph, v.in[0]), *b = batch_run(t, yx.graph, v.in[0]);
    for (uint32_t i = 0; i < g->outputs.len; i++) {
        assert_int_equal(tn_array_count(&a[i]), tn_array_count(&b[i]));
        batch_expect(t, &a[i], &b[i], i, 0);
    }
}

/* ---- gradients ------------------------------------------------------------------------------ */

enum { MOST_XS = 8 };

/* Of Σ outputs · weights, the weights being new inputs, with respect to all inputs of `of`: outputs in
 * their order. NULL: refused. */
static inline tn_graph *batch_gradient_of(batch_lab *t, const tn_graph *of) {
    tn_graph *g = tn_graph_new_like(of);
    tn_builder b = tn_builder_of(g, &t->t.err);
    tn_value *map = TN_NEW_N(&t->t.arena, tn_value, of->values.len);
    tn_value xs[MOST_XS], grads[MOST_XS], sum = tn_b_scalar(&b, TN_f64, 0);
    int count = 0, axes[TN_MAX_RANK];
    for (int i = 0; i < TN_MAX_RANK; i++) axes[i] = i;
    for (tn_node p = 0; p < of->nodes.len; p++)
        must(&t->t, tn_graph_copy_node(g, of, p, map, NULL, &t->t.err));
    for (uint32_t i = 0; i < of->inputs.len; i++)
        if (tn_graph_type(of, of->inputs.data[i])->dtype == TN_f64 && count < MOST_XS)
            xs[count++] = g->inputs.data[i];
    for (uint32_t o = 0; o < of->outputs.len; o++) {
        tn_value y = map[of->outputs.data[o].value];
        tn_type type = tn_b_type(&b, y);
        if (type.dtype != TN_f64) continue;
        y = tn_b_mul(&b, y, tn_b_input(&b, NULL, type.dtype, &type.shape));
        sum = tn_b_add(&b, sum, tn_b_sum(&b, y, axes, type.shape.rank, false));
    }
    tn_b_gradient(&b, sum, TN_NO_VALUE, xs, count, grads);
    if (b.status == TN_UNSUPPORTED) return NULL; /* a strided window over an open axis */
    must(&t->t, b.status);
    for (int i = 0; i < count; i++) tn_graph_add_output(g, grads[i], NULL);
    return g;
}

/* Σ over members, axis 0. */
static inline tn_array batch_sum_of_members(batch_lab *t, const tn_array *wide) {
    tn_array sum = tn_array_new(&t->t.arena, wide->dtype, wide->rank - 1, wide->dim + 1);
    int64_t count = tn_array_count(&sum);
    for (int64_t i = 0; i < count; i++) {
        double x = 0;
        for (int64_t m = 0; m < wide->dim[0]; m++) x += tn_array_get(wide, m * count + i).f;
        tn_array_set(&sum, i, (tn_cell){.f = x});
    }
    return sum;
}

static inline void batch_check_gradients(batch_lab *t, const tn_graph *g, uint64_t set,
                                         int members) {
    tn_graph *of_one = batch_gradient_of(t, g);
    if (!of_one && t->may_refuse) return;
    assert_non_null(of_one);
    uint64_t weights = ~(uint64_t)0 << g->inputs.len;
    tn_batch_spec spec = {.members = members, .inputs = batch_own(t, g, (unsigned)set)};
    tn_batch_spec wide = {.members = members};
    wide.inputs = batch_own(t, of_one, (unsigned)(set | weights));
    tn_graph *of_all = batch_gradient_of(t, batch_make(t, g, &spec).graph);
    assert_non_null(of_all);
    tn_batched all_of = batch_make(t, of_one, &wide);
    batch_values v = batch_random_values(t, of_one, &wide, members);
    batch_assemble(t, of_one, all_of.graph, &wide, members, &v);
    tn_array *a = batch_run(t, of_all, v.wide), *b = batch_run(t, all_of.graph, v.wide);
    for (uint32_t i = 0, o = 0; i < g->inputs.len && o < of_one->outputs.len; i++) {
        if (tn_graph_type(g, g->inputs.data[i])->dtype != TN_f64) continue;
        tn_array each = set >> i & 1 ? b[o] : batch_sum_of_members(t, &b[o]);
        assert_int_equal(tn_array_count(&a[o]), tn_array_count(&each));
        batch_expect(t, &a[o], &each, i, -1);
        o++;
    }
}

#endif

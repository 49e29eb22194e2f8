/* Batched graphs beside their members: every member of a graph made by tn_batch must be what the graph
 * alone computes of that member's inputs. Evaluated by the reference. */
#ifndef TENON_TESTS_BATCH_LAB_H
#define TENON_TESTS_BATCH_LAB_H

#include "unit/test.h"

#include "ops/ops_common.h"
#include "transform/batch.h"
#include "unit/graph_test.h"
#include "unit/sample_values.h"

enum { BATCH_MEMBERS = 8 };

typedef struct batch_lab batch_lab;
typedef void batch_fill_fn(batch_lab *t, const char *name, tn_array *a, uint64_t *state);

struct batch_lab {
    graph_test t;
    tn_batched made;         /* by the last check */
    batch_fill_fn *fill;     /* of inputs; NULL: multiples of 1/8 */
    bool may_refuse;         /* gradients */
    double tolerance;        /* relative; 0: equal bits but for NaN, which equals NaN */
    const char *label;       /* for messages */
    const int64_t *bindings; /* NULL: some_bindings */
    uint64_t seed;
};

static inline int batch_lab_setup(void **state) {
    batch_lab *t = malloc(sizeof *t);
    assert_non_null(t);
    *t = (batch_lab){.label = "", .seed = 1};
    graph_test_init(&t->t);
    *state = t;
    return 0;
}

static inline int batch_lab_teardown(void **state) {
    graph_test_deinit(&((batch_lab *)*state)->t);
    free(*state);
    return 0;
}
#define BATCH_TEST(name) cmocka_unit_test_setup_teardown(name, batch_lab_setup, batch_lab_teardown)

static inline const char *batch_type_text(batch_lab *t, const tn_graph *g, tn_value v) {
    return tn_arena_strdup(&t->t.arena, tn_type_text(g->dims, tn_graph_type(g, v)).at);
}

static inline const int64_t *batch_bindings(batch_lab *t, const tn_graph *g) {
    return t->bindings ? t->bindings : some_bindings(&t->t, g);
}

/* ---- members in tensors --------------------------------------------------------------------- */

static inline tn_batch_port batch_port(const tn_batch_port *ports, uint32_t at) {
    return ports ? ports[at] : (tn_batch_port){0};
}

/* Copies member m into `wide` (or from there): a joined axis is a new one that is not told. */
static inline void batch_copy(tn_array *wide, tn_batch_port port, int members, int m,
                              tn_array *member, bool out_of) {
    int64_t inner = 1, outer = 1;
    for (int i = 0; i < member->rank; i++) *(i < port.axis ? &outer : &inner) *= member->dim[i];
    for (int64_t o = 0; o < outer; o++)
        for (int64_t k = 0; k < inner; k++) {
            int64_t w = port.axis < 0 ? o * inner + k : (o * members + m) * inner + k;
            if (out_of)
                tn_array_copy_element(member, o * inner + k, wide, w);
            else
                tn_array_copy_element(wide, w, member, o * inner + k);
        }
}

static inline tn_array batch_new_array(batch_lab *t, const tn_graph *g, tn_value v,
                                       const int64_t *bindings) {
    const tn_type *type = tn_graph_type(g, v);
    int64_t dim[TN_MAX_RANK];
    for (int i = 0; i < type->shape.rank; i++)
        dim[i] = tn_dim_eval(g->dims, type->shape.dim[i], bindings);
    return tn_array_new(&t->t.arena, type->dtype, type->shape.rank, dim);
}

static inline void batch_fill(batch_lab *t, const char *name, tn_array *a, uint64_t *state) {
    if (t->fill) {
        t->fill(t, name, a, state);
        return;
    }
    for (int64_t i = 0, count = tn_array_count(a); i < count; i++) {
        int64_t r = (int64_t)(test_random(state) % 33) - 16;
        bool fraction = tn_dtype_is_float(a->dtype);
        tn_array_set(a, i,
                     fraction ? tn_cell_of(a->dtype, (double)r / 8) : tn_cell_of_int(a->dtype, r));
    }
}

/* Lists are turned, so that members differ. */
static inline void batch_fill_sample(batch_lab *t, const char *name, tn_array *a, uint64_t *state) {
    sample_values s = {.seed = test_random(state)};
    int64_t count = tn_array_count(a);
    s.apart = (int)(s.seed % 101);
    sample_fill(&s, name, a);
    if (!sample_is_list(name) || count == 0) return;
    tn_array list = tn_array_new(&t->t.arena, a->dtype, a->rank, a->dim);
    memcpy(list.data, a->data, tn_array_bytes(a));
    int64_t by = (int64_t)(s.seed % (uint64_t)count);
    for (int64_t i = 0; i < count; i++) tn_array_copy_element(a, i, &list, (i + by) % count);
}

/* Inputs of each member, in[m][i]; inputs that all share are one array. */
typedef struct batch_values {
    tn_array *in[BATCH_MEMBERS];
    tn_array *wide;
} batch_values;

static inline void batch_assemble(batch_lab *t, const tn_graph *g, const tn_graph *made,
                                  const tn_batch_spec *spec, int members, batch_values *v) {
    const int64_t *bindings = batch_bindings(t, g);
    v->wide = TN_NEW_N(&t->t.arena, tn_array, g->inputs.len);
    for (uint32_t i = 0; i < g->inputs.len; i++) {
        v->wide[i] = batch_new_array(t, made, made->inputs.data[i], bindings);
        for (int m = 0; m < members; m++)
            batch_copy(&v->wide[i], batch_port(spec->inputs, i), members, m, &v->in[m][i], false);
    }
}

static inline batch_values batch_random_values(batch_lab *t, const tn_graph *g,
                                               const tn_batch_spec *spec, int members) {
    const int64_t *bindings = batch_bindings(t, g);
    batch_values v = {0};
    uint64_t state = t->seed;
    for (int m = 0; m < members; m++) v.in[m] = TN_NEW_N(&t->t.arena, tn_array, g->inputs.len);
    for (uint32_t i = 0; i < g->inputs.len; i++)
        for (int m = 0; m < members; m++) {
            bool again = m > 0 && batch_port(spec->inputs, i).axis < 0;
            tn_value input = g->inputs.data[i];
            v.in[m][i] = again ? v.in[0][i] : batch_new_array(t, g, input, bindings);
            if (!again) batch_fill(t, tn_graph_value(g, input)->name, &v.in[m][i], &state);
        }
    return v;
}

/* ---- checks --------------------------------------------------------------------------------- */

static inline void batch_expect(batch_lab *t, const tn_array *have, const tn_array *want,
                                uint32_t output, int member) {
    assert_int_equal(have->dtype, want->dtype);
    for (int64_t k = 0; k < tn_array_count(want); k++) {
        tn_cell p = tn_array_get(want, k), q = tn_array_get(have, k);
        bool is_float = tn_dtype_is_float(want->dtype);
        bool zero = is_float && t->tolerance == 0 && p.f == 0 && signbit(p.f) != signbit(q.f);
        if (zero || !cells_agree(want->dtype, p, q, t->tolerance))
            fail_msg("%s: output %u of member %d, element %lld is %.17g, alone %.17g", t->label,
                     output, member, (long long)k, is_float ? q.f : (double)q.i,
                     is_float ? p.f : (double)p.i);
    }
}

/* The outputs of `made` for these inputs. */
static inline tn_array *batch_run(batch_lab *t, const tn_graph *made, const tn_array *wide) {
    tn_array *out = TN_NEW_N(&t->t.arena, tn_array, made->outputs.len);
    const int64_t *bindings = batch_bindings(t, made);
    must(&t->t, tn_eval_graph(made, wide, bindings, out, &t->t.arena, &t->t.err));
    return out;
}

static inline void batch_compare(batch_lab *t, const tn_graph *g, const tn_batch_spec *spec,
                                 int members, const batch_values *v, tn_array *wide) {
    for (int m = 0; m < members; m++) {
        const tn_array *want = batch_run(t, g, v->in[m]);
        for (uint32_t o = 0; o < g->outputs.len; o++) {
            tn_array have = tn_array_new(&t->t.arena, want[o].dtype, want[o].rank, want[o].dim);
            tn_batch_port port = batch_port(spec->outputs, o);
            if (spec->keep_common && !t->made.carries[g->outputs.data[o].value]) port.axis = -1;
            int64_t times = port.axis < 0 ? 1 : members;
            assert_int_equal(tn_array_count(&wide[o]), times * tn_array_count(&have));
            batch_copy(&wide[o], port, members, m, &have, true);
            batch_expect(t, &have, &want[o], o, m);
        }
    }
}

static inline tn_batched batch_make(batch_lab *t, const tn_graph *g, const tn_batch_spec *spec) {
    tn_batched made;
    must(&t->t, tn_batch(g, spec, &made, &t->t.err));
    must(&t->t, tn_graph_verify(made.graph, NULL, &t->t.err));
    return made;
}

/* Every member of the batched graph against the graph alone. */
static inline void batch_check_spec(batch_lab *t, const tn_graph *g, const tn_batch_spec *spec,
                                    int members) {
    t->made = batch_make(t, g, spec);
    batch_values v = batch_random_values(t, g, spec, members);
    batch_assemble(t, g, t->made.graph, spec, members, &v);
    batch_compare(t, g, spec, members, &v, batch_run(t, t->made.graph, v.wide));
}

/* Inputs in the set `own` are each member's, along axis 0. */
static inline tn_batch_port *batch_own(batch_lab *t, const tn_graph *g, unsigned own) {
    tn_batch_port *ports = TN_NEW_N(&t->t.arena, tn_batch_port, g->inputs.len);
    for (uint32_t i = 0; i < g->inputs.len; i++) ports[i].axis = own >> i & 1 ? 0 : -1;
    return ports;
}

static inline void batch_check(batch_lab *t, const tn_graph *g, unsigned own, int members) {
    const tn_batch_spec spec = {.members = members, .inputs = batch_own(t, g, own)};
    batch_check_spec(t, g, &spec, members);
}

/* Members along any axis of what is in `own`, which may be joined. */
static inline tn_batch_port *batch_random_ports(batch_lab *t, const tn_graph *g, const tn_value *v,
                                                uint32_t count, const bool *own) {
    tn_batch_port *ports = TN_NEW_N(&t->t.arena, tn_batch_port, count);
    for (uint32_t i = 0; i < count; i++) {
        int rank = tn_graph_type(g, v[i])->shape.rank;
        ports[i].joined = rank > 0 && test_random(&t->seed) % 4 == 0;
        ports[i].axis = (int)(test_random(&t->seed) % (uint64_t)(rank + !ports[i].joined));
        if (own && !own[i]) ports[i] = (tn_batch_port){.axis = -1};
    }
    return ports;
}

static inline const tn_value *batch_output_values(batch_lab *t, const tn_graph *g) {
    tn_value *v = TN_NEW_N(&t->t.arena, tn_value, g->outputs.len);
    for (uint32_t i = 0; i < g->outputs.len; i++) v[i] = g->outputs.data[i].value;
    return v;
}

#endif

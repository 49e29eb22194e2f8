/* Running wide models. See tenon/wide.h.
 *
 * An array with members is [outer, N, inner]: outer is 1 where they are stacked, and the first axis where
 * they are packed. With one group the caller's arrays are the model's; with several each group's part
 * is gathered, unless it lies together as it is, and results are put in their places. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "session/ports.h"
#include "wide/budget.h"

/* ---- ports ---------------------------------------------------------------------------------- */

int tn_wide_input_count(const tn_wide *w) {
    return w->groups.ports.in_count;
}

int tn_wide_output_count(const tn_wide *w) {
    return w->groups.ports.out_count;
}

static tn_status port_at(const tn_port_info *ports, int count, int i, tn_port_info *out) {
    *out = (tn_port_info){0};
    if (i < 0 || i >= count) return TN_NOT_FOUND;
    *out = ports[i];
    return TN_OK;
}

tn_status tn_wide_input(const tn_wide *w, int i, tn_port_info *out) {
    return port_at(w->groups.ports.in, w->groups.ports.in_count, i, out);
}

tn_status tn_wide_output(const tn_wide *w, int i, tn_port_info *out) {
    return port_at(w->groups.ports.out, w->groups.ports.out_count, i, out);
}

bool tn_wide_input_shared(const tn_wide *w, int i) {
    return i >= 0 && i < w->groups.ports.in_count && w->groups.ports.shared[i];
}

/* ---- arrays with members -------------------------------------------------------------------- */

typedef struct extent {
    size_t outer, inner; /* inner: bytes of one member */
} extent;

static int member_axis(const tn_wide *w) {
    return w->options.layout == TN_WIDE_PACKED ? 1 : 0;
}

/* Of an array whose member axis is that of `members` members. */
static extent extent_of(const tn_wide *w, const tn_buffer *b, int members) {
    int axis = member_axis(w);
    extent e = {1, tn_dtype_size(b->dtype)};
    for (int a = 0; a < axis; a++) e.outer *= (size_t)b->dim[a];
    for (int a = axis; a < b->rank; a++) e.inner *= (size_t)b->dim[a];
    e.inner /= (size_t)members;
    return e;
}

static void *grow(tn__wide_room *room, size_t size) {
    if (room->data && room->size >= size) return room->data;
    free(room->data);
    room->data = malloc(size ? size : 1);
    room->size = room->data ? size : 0;
    return room->data;
}

static tn_status refuse_input(const tn_port_info *port, const tn_buffer *b, int members,
                              const char *what, tn_error *err) {
    char got[160];
    tn_ports_describe(b, got, sizeof got);
    return tn_error_set(err, TN_INVALID, "input '%s' is %s: %s of %d members", port->name, got,
                        what, members);
}

/* What the groups cannot tell: they see their own members. */
static tn_status check_input(const tn_wide *w, int i, const tn_buffer *b, tn_error *err) {
    const tn_port_info *port = &w->groups.ports.in[i];
    int axis = member_axis(w);
    size_t bytes = tn_dtype_size(b->dtype);
    if (b->dtype != port->dtype || b->rank != port->rank || b->rank > TN_MAX_RANK)
        return refuse_input(port, b, w->count, "not the type and number of axes", err);
    for (int a = 0; a < b->rank; a++)
        if (b->dim[a] < 0 || !tn_size_mul(bytes, (size_t)b->dim[a], &bytes))
            return refuse_input(port, b, w->count, "no valid sizes", err);
    if (w->groups.ports.shared[i]) return TN_OK;
    if (axis == 0 ? b->dim[0] != w->count : b->dim[1] % w->count)
        return refuse_input(port, b, w->count,
                            axis == 0 ? "axis 0 is not the number" : "axis 1 is not the width",
                            err);
    if (!b->data && bytes) return refuse_input(port, b, w->count, "no data", err);
    return TN_OK;
}

static bool lies_together(const tn_wide *w, const tn__wide_group *g) {
    return member_axis(w) == 0 && g->members[g->count - 1] - g->members[0] == g->count - 1;
}

/* Of one group, whose session tells all else: it knows the width as a product and not of whom. */
static tn_status check_widths(const tn_wide *w, const tn_buffer *inputs, tn_error *err) {
    for (int i = 0; member_axis(w) == 1 && i < w->groups.ports.in_count; i++)
        if (!w->groups.ports.shared[i] && inputs[i].rank > 1 && inputs[i].dim[1] % w->count)
            return refuse_input(&w->groups.ports.in[i], &inputs[i], w->count,
                                "axis 1 is not the width", err);
    return TN_OK;
}

/* The group's part of an input. */
static tn_status gather(const tn_wide *w, tn__wide_group *g, int input, const tn_buffer *all,
                        tn_buffer *out, tn_error *err) {
    extent e = extent_of(w, all, w->count);
    int axis = member_axis(w);
    *out = *all;
    if (w->groups.ports.shared[input]) return TN_OK;
    out->dim[axis] = all->dim[axis] / w->count * g->count;
    char *from = all->data;
    if (lies_together(w, g)) {
        out->data = from ? from + (size_t)g->members[0] * e.inner : NULL;
        return TN_OK;
    }
    char *to = grow(&g->gathered[input], e.outer * e.inner * (size_t)g->count);
    out->data = to;
    if (!to) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    for (size_t o = 0; o < e.outer && e.inner; o++)
        for (int i = 0; i < g->count; i++, to += e.inner)
            memcpy(to, from + (o * (size_t)w->count + (size_t)g->members[i]) * e.inner, e.inner);
    return TN_OK;
}

/* ---- one group ------------------------------------------------------------------------------ */

static tn_hash128 sizes_of(const tn_buffer *inputs, int count) {
    tn_hash128 h = {0};
    for (int i = 0; i < count; i++) {
        int rank = TN_MAX(0, TN_MIN(inputs[i].rank, TN_MAX_RANK));
        tn_hash128 both[2] = {h, tn_hash128_of(inputs[i].dim, sizeof(int64_t) * (size_t)rank)};
        h = tn_hash128_of(both, sizeof both);
    }
    return h;
}

/* Memory is counted where sizes are new. */
static tn_status run_session(const tn_wide *w, tn__wide_group *g, const tn_buffer *inputs,
                             tn_buffer *outputs, int output_count, tn_error *err) {
    int count = w->groups.ports.in_count;
    tn_hash128 sizes = sizes_of(inputs, count);
    if (!g->counted || sizes.lo != g->sizes.lo || sizes.hi != g->sizes.hi)
        TN_CHECK(tn__wide_budget_run(w, g, inputs, count, err));
    g->counted = true;
    g->sizes = sizes;
    return tn_session_run(g->session, inputs, count, outputs, output_count, err);
}

/* ---- several groups ------------------------------------------------------------------------- */

/* The results of all groups, group by group. */
typedef struct run {
    tn_wide *w;
    const tn_buffer *inputs;
    tn_buffer *part, *results;
} run;

static tn_status run_group(const run *r, int group, tn_error *err) {
    const tn_wide *w = r->w;
    const tn__wide_ports *p = &w->groups.ports;
    tn__wide_group *g = &r->w->groups.at[group];
    tn_buffer *results = r->results + group * p->out_count;
    for (int i = 0; i < p->in_count; i++)
        TN_CHECK(gather(w, g, i, &r->inputs[i], &r->part[i], err));
    tn_status status = run_session(w, g, r->part, results, p->out_count, err);
    if (status != TN_OK)
        tn_error_push(err, "group %d (%d members, the first is %d)", group, g->count,
                      g->members[0]);
    return status;
}

/* "member 2 gives", "the 3 members like member 2 give" */
static void describe_group(const tn__wide_group *g, char *out, size_t size) {
    if (g->count == 1)
        snprintf(out, size, "member %d gives", g->members[0]);
    else
        snprintf(out, size, "the %d members like member %d give", g->count, g->members[0]);
}

static tn_status refuse_results(const run *r, int output, int group, tn_error *err) {
    const tn__wide_ports *p = &r->w->groups.ports;
    char one[160], other[160], first[64], second[64];
    tn_ports_describe(&r->results[output], one, sizeof one);
    tn_ports_describe(&r->results[group * p->out_count + output], other, sizeof other);
    describe_group(&r->w->groups.at[0], first, sizeof first);
    describe_group(&r->w->groups.at[group], second, sizeof second);
    return tn_error_set(err, TN_INVALID, "output '%s': %s %s, %s %s; run the groups' own models",
                        p->out[output].name, first, one, second, other);
}

/* Results differ between groups in nothing but the number of members. */
static tn_status check_results(const run *r, int output, tn_error *err) {
    const tn_wide *w = r->w;
    const tn__wide_ports *p = &w->groups.ports;
    int axis = member_axis(w);
    const tn_buffer *first = &r->results[output];
    for (int g = 1; g < w->groups.count; g++) {
        const tn_buffer *b = &r->results[g * p->out_count + output];
        const tn__wide_group *x = &w->groups.at[0], *y = &w->groups.at[g];
        bool same = b->dtype == first->dtype && b->rank == first->rank;
        for (int a = 0; same && a < b->rank; a++)
            same = a == axis ? first->dim[a] / x->count == b->dim[a] / y->count
                             : first->dim[a] == b->dim[a];
        if (!same) return refuse_results(r, output, g, err);
    }
    return TN_OK;
}

static void scatter(const run *r, int output, const extent *e, char *to) {
    const tn_wide *w = r->w;
    for (int g = 0; g < w->groups.count; g++) {
        const tn__wide_group *x = &w->groups.at[g];
        const char *from = r->results[g * w->groups.ports.out_count + output].data;
        for (size_t o = 0; o < e->outer && e->inner; o++)
            for (int i = 0; i < x->count; i++, from += e->inner)
                memcpy(to + (o * (size_t)w->count + (size_t)x->members[i]) * e->inner, from,
                       e->inner);
    }
}

static tn_status give_output(const run *r, int output, tn_buffer *out, tn_error *err) {
    tn_wide *w = r->w;
    int axis = member_axis(w), first = w->groups.at[0].count;
    TN_CHECK(check_results(r, output, err));
    tn_buffer shape = r->results[output];
    extent e = extent_of(w, &shape, first);
    size_t bytes = e.outer * e.inner * (size_t)w->count; /* as the groups' results together */
    shape.dim[axis] = shape.dim[axis] / first * w->count;
    shape.data = out->data;
    shape.size = out->size;
    if (!out->data || out->size == 0) {
        shape.size = 0;
        shape.data = grow(&w->groups.ports.results[output], bytes);
        if (!shape.data) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    } else if (out->size < bytes) {
        return tn_error_set(err, TN_INVALID,
                            "output '%s' takes %zu bytes, the memory given has %zu",
                            w->groups.ports.out[output].name, bytes, out->size);
    }
    scatter(r, output, &e, shape.data);
    *out = shape;
    return TN_OK;
}

static tn_status run_groups(const run *r, tn_buffer *outputs, tn_error *err) {
    const tn__wide_groups *g = &r->w->groups;
    for (int i = 0; i < g->ports.in_count; i++) TN_CHECK(check_input(r->w, i, &r->inputs[i], err));
    for (int i = 0; i < g->count; i++) TN_CHECK(run_group(r, i, err));
    for (int i = 0; i < g->ports.out_count; i++) TN_CHECK(give_output(r, i, &outputs[i], err));
    return TN_OK;
}

tn_status tn_wide_run(tn_wide *w, const tn_buffer *inputs, int input_count, tn_buffer *outputs,
                      int output_count, tn_error *err) {
    const tn__wide_ports *p = &w->groups.ports;
    if (input_count != p->in_count || output_count != p->out_count)
        return tn_error_set(err, TN_INVALID,
                            "%d inputs and %d outputs given; the model has %d and %d", input_count,
                            output_count, p->in_count, p->out_count);
    if (w->groups.count == 1) {
        TN_CHECK(check_widths(w, inputs, err));
        TN_TRY(err, run_session(w, &w->groups.at[0], inputs, outputs, output_count, err),
               "%d members, %s", w->count,
               w->options.layout == TN_WIDE_PACKED ? "packed [B, N·F, …]" : "stacked [N, …]");
        return TN_OK;
    }
    size_t results = (size_t)p->out_count * (size_t)w->groups.count;
    run r = {.w = w, .inputs = inputs};
    r.part = calloc((size_t)p->in_count + results + 1, sizeof *r.part);
    if (!r.part) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    r.results = r.part + p->in_count;
    tn_status status = run_groups(&r, outputs, err);
    free(r.part);
    return status;
}

/* Recording a function of a member for all of them. See population.h. */
#include <stdio.h>
#include <stdlib.h>

#include "nn/tensor_trace.h"
#include "ops/batch.h"
#include "ops/ops_common.h"
#include "wide/population.h"

/* A recording in work. Operands of the call that batches it, all of them references:
 * places and stacks of what each member has, places and x of inputs that members have along axis 0,
 * results of a member, what was assigned. */
typedef struct record {
    tn_population *p;
    const tn__member_call *call;
    tn__trace trace;
    tn_tensor **in, **out;
    tn_tensor **x;        /* of a member */
    tn__stack **assigned; /* whose new values are behind the results */
    int stacks, places, assigned_count;
    bool ok;
} record;

static int stack_count(const record *r) {
    return tn_module_count(r->p->module) + r->call->own_count;
}

static tn__stack *stack_at(const record *r, int i) {
    int items = tn_module_count(r->p->module);
    return i < items ? &r->p->items[i] : r->call->own[i - items];
}

static bool tell(const record *r, const tn_error *err) {
    tn_context *c = r->p->context;
    pthread_mutex_lock(&c->lock);
    tn__context_fail(c, r->call->place, err);
    pthread_mutex_unlock(&c->lock);
    return false;
}

/* Tensors for which there is no memory are NULL, and nobody says so. */
static void tell_silent(const record *r) {
    tn_error err = TN_ERROR_INIT;
    if (tn_context_error(r->p->context, NULL) != TN_OK) return;
    tn_error_set(&err, TN_OUT_OF_MEMORY,
                 "%s: out of memory, or a tensor failed whose error was cleared", r->call->what);
    tell(r, &err);
}

static bool out_of_memory(const record *r) {
    tn_error err = TN_ERROR_INIT;
    tn_error_set(&err, TN_OUT_OF_MEMORY, "%s: out of memory", r->call->what);
    return tell(r, &err);
}

/* ---- stand-ins ------------------------------------------------------------------------------ */

/* What is shared is itself while something is recorded; everything else has a place. */
static void bind(const record *r, bool recording) {
    pthread_mutex_lock(&r->p->context->lock);
    for (int i = 0; i < stack_count(r); i++) {
        const tn__stack *s = stack_at(r, i);
        tn__tensor_become(s->one, s->shared && recording ? s->all : s->place);
    }
    pthread_mutex_unlock(&r->p->context->lock);
    r->p->recording = recording;
}

static bool is_assigned(const tn__stack *s) {
    const tn_tensor *was = s->shared ? s->all : s->place;
    return s->one->storage != was->storage || s->one->failed ||
           (!was->storage && s->one->value != was->value);
}

static bool is_shared_input(const tn__member_call *call, int i) {
    return call->shared && call->shared[i];
}

static bool make_input(record *r, int i) {
    const tn__member_call *call = r->call;
    const tn_tensor *x = call->x[i];
    tn_context *c = r->p->context;
    tn_error err = TN_ERROR_INIT;
    if (!tn_tensor_ok(x)) return false;
    if (is_shared_input(call, i)) {
        r->x[i] = call->x[i];
        return true;
    }
    if (x->rank == 0 || x->dim[0] != r->p->count) {
        tn__refuse(c, call->place,
                   "%s: input %d has %lld members along axis 0; the population has %d (an input "
                   "that all members read has to be called shared)",
                   call->what, i, x->rank ? (long long)x->dim[0] : 0LL, r->p->count);
        return false;
    }
    char what[64];
    tn_buffer type = {.dtype = x->dtype, .rank = x->rank - 1};
    for (int a = 1; a < x->rank; a++) type.dim[a - 1] = x->dim[a];
    snprintf(what, sizeof what, "input %d of a member", i);
    return tn__tensor_abstract(c, &type, what, &r->x[i], &err) == TN_OK || tell(r, &err);
}

/* ---- recording ------------------------------------------------------------------------------ */

static bool call_member(record *r, tn_tensor **y) {
    const tn__member_call *call = r->call;
    for (int i = 0; i < call->x_count; i++)
        if (!make_input(r, i)) return false;
    call->fn(call->context, r->p, r->x, y);
    bool ok = tn__trace_check(&r->trace, call->place, y, call->y_count);
    for (int i = 0; i < call->y_count; i++) ok = ok && tn_tensor_ok(y[i]);
    return ok;
}

/* Takes references of all that the batching needs, out of the trace's scope; of results and of what was
 * assigned new ones, since stand-ins become what they were. */
static bool collect(record *r, tn_tensor *const *y) {
    const tn__member_call *call = r->call;
    int stacks = stack_count(r), all = 2 * (stacks + call->x_count) + call->y_count + stacks, n = 0;
    r->in = calloc((size_t)all + 1, sizeof *r->in);
    r->out = calloc((size_t)(call->y_count + stacks) + 1, sizeof *r->out);
    r->assigned = calloc((size_t)stacks + 1, sizeof *r->assigned);
    if (!r->in || !r->out || !r->assigned) return out_of_memory(r);
    for (int i = 0; i < stacks; i++) r->places += !stack_at(r, i)->shared;
    for (int i = 0; i < call->x_count; i++) r->places += !is_shared_input(call, i);
    for (int i = 0; i < stacks; i++) {
        const tn__stack *s = stack_at(r, i);
        if (s->shared) continue;
        r->in[n] = tn_retain(s->place);
        r->in[r->places + n++] = tn_retain(s->all);
    }
    for (int i = 0; i < call->x_count; i++) {
        if (is_shared_input(call, i)) continue;
        r->in[n] = tn_retain(r->x[i]);
        r->in[r->places + n++] = tn_retain(call->x[i]);
    }
    n = 2 * r->places;
    for (int i = 0; i < call->y_count; i++) r->in[n++] = tn_keep(tn__again(y[i]));
    for (int i = 0; i < stacks; i++) {
        tn__stack *s = stack_at(r, i);
        if (!is_assigned(s)) continue;
        r->assigned[r->assigned_count++] = s;
        r->in[n++] = tn_keep(tn__again(s->one));
    }
    return true;
}

static void trace(record *r) {
    const tn__member_call *call = r->call;
    tn_tensor **y = calloc((size_t)call->y_count + 1, sizeof *y);
    r->x = calloc((size_t)call->x_count + 1, sizeof *r->x);
    tn__trace_begin(&r->trace, r->p->context, call->what);
    r->trace.assigns = true;
    bind(r, true);
    if (!y || !r->x)
        out_of_memory(r);
    else
        r->ok = call_member(r, y) && collect(r, y);
    bind(r, false);
    tn__trace_end(&r->trace);
    free(y);
    free(r->x);
}

/* ---- batching ------------------------------------------------------------------------------- */

/* What depends on the member cannot be a value that all share. */
static tn_value assigned_value(tn_builder *b, const record *r, int i, tn_value v, bool carries) {
    const tn__stack *s = r->assigned[i];
    if (!s->shared) return tn_batch_operand(b, v, carries, r->p->count);
    if (carries)
        tn_b_fail(b, TN_INVALID,
                  "%s is shared by all members, and what the function assigns to it differs "
                  "between them; statistics that are not to change want tn_module_set_training(…, "
                  "false) in their layer",
                  s->place->storage->abstract);
    return v;
}

static void batch_and_report(tn_builder *b, const record *r, tn_batch_inputs *x, const tn_value *y,
                             int results, tn_value *out) {
    const bool *behind = tn_batch_nodes_behind(b->graph, y, results), *found;
    uint32_t nodes = b->graph->nodes.len;
    x->found = &found;
    tn_b_batch(b, x, y, results, out);
    if (tn_b_ok(b) && r->call->report)
        tn__population_report_make(r->call->report, b->graph, nodes, behind, found);
}

static void build(tn_builder *b, const tn_value *in, const void *args, tn_value *out) {
    const record *r = args;
    int results = r->call->y_count + r->assigned_count;
    const tn_value *y = in + 2 * r->places;
    bool *carries = TN_NEW_N(b->graph->arena, bool, results + 1);
    tn_batch_inputs x = {.member = in,
                         .all = in + r->places,
                         .count = r->places,
                         .size = r->p->count,
                         .independent = !r->p->options.same_randoms,
                         .carries = carries};
    tn__trace_check_values(b, r->p->context, r->trace.cuts, y, results);
    if (tn_b_ok(b)) batch_and_report(b, r, &x, y, results, out);
    for (int i = 0; i < results && tn_b_ok(b); i++)
        out[i] = i < r->call->y_count
                     ? tn_batch_operand(b, out[i], carries[i], r->p->count)
                     : assigned_value(b, r, i - r->call->y_count, out[i], carries[i]);
}

static bool batch(record *r, tn_tensor **y) {
    int results = r->call->y_count + r->assigned_count;
    tn__call call = {.place = r->call->place,
                     .context = r->p->context,
                     .in = (const tn_tensor *const *)r->in,
                     .in_count = 2 * r->places + results,
                     .results = results,
                     .build = build,
                     .args = r};
    tn__record(&call, r->out);
    bool ok = true;
    for (int i = 0; i < results; i++) ok = ok && tn__tensor_is_ok(r->out[i]);
    for (int i = 0; i < r->call->y_count; i++) y[i] = r->out[i];
    for (int i = 0; i < r->assigned_count; i++) {
        tn_tensor *value = r->out[r->call->y_count + i];
        if (ok) tn_assign_at(r->call->place, r->assigned[i]->all, value);
        tn_release(value);
    }
    return ok;
}

bool tn__population_record(tn_population *p, const tn__member_call *call, tn_tensor **y) {
    record r = {.p = p, .call = call};
    for (int i = 0; i < call->y_count; i++) y[i] = NULL;
    if (p->recording) {
        tn__refuse(p->context, call->place,
                   "%s: a function of a member applies the population that it is a member of",
                   call->what);
        return false;
    }
    trace(&r);
    bool ok = r.ok && batch(&r, y);
    int operands = r.in ? 2 * r.places + call->y_count + r.assigned_count : 0;
    for (int i = 0; i < operands; i++) tn_release(r.in[i]);
    free(r.in);
    free(r.out);
    free(r.assigned);
    if (!ok) tell_silent(&r);
    return ok;
}

/* ---- tn_population_apply -------------------------------------------------------------------- */

static void apply_member(void *context, tn_population *p, tn_tensor *const *x, tn_tensor **y) {
    const tn_population_call *call = context;
    call->fn(call->context, p->module, x, y);
}

void tn_population_apply_at(const char *place, tn_population *p, const tn_population_call *call,
                            tn_tensor **y) {
    tn_population_call o = TN_POPULATION_CALL_INIT;
    if (!p || !tn__options(p->context, place, call, &o, sizeof o)) return;
    tn__member_call all = {.place = place,
                           .what = "tn_population_apply",
                           .fn = apply_member,
                           .context = &o,
                           .x = o.x,
                           .shared = o.shared,
                           .x_count = o.x_count,
                           .y_count = o.y_count,
                           .report = &p->report};
    for (int i = 0; i < o.y_count; i++) y[i] = NULL;
    if (o.fn)
        tn__population_record(p, &all, y);
    else
        tn__refuse(p->context, place, "tn_population_apply: there is no function");
}

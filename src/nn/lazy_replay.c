/* Doing an evaluation again without recording it. See lazy.h.
 *
 * What it read and made is remembered as tensors, not as storages: the same program then reads what
 * these tensors hold now, and gives them what it makes. */
#include <stdlib.h>

#include "nn/lazy.h"

/* A tensor that an input was read from, or that an output went to, and the type it had. */
typedef struct port {
    tn_tensor *x;
    uint32_t number;
    tn_dtype dtype;
    int rank;
    int64_t dim[TN_MAX_RANK];
} port;

typedef struct ports {
    port *at;
    int count;
} ports;

struct tn__replay {
    tn_context *context;
    uint64_t generation, cuts; /* when the recording began */
    uint32_t first;            /* its first node */
    ports inputs, outputs;
    tn__program *program; /* NULL: nothing was captured */
    uint32_t input_count, output_count;
    uint32_t *in_place; /* as in tn__run */
    bool *varies;
};

/* ---- capturing ------------------------------------------------------------------------------ */

tn__replay *tn__replay_begin(tn_context *c) {
    tn__replay *r = calloc(1, sizeof *r);
    if (!r) return NULL;
    pthread_mutex_lock(&c->lock);
    *r = (tn__replay){.context = c, .cuts = c->cuts};
    if (c->recording) {
        r->generation = c->recording->generation;
        r->first = c->recording->graph->nodes.len;
    }
    pthread_mutex_unlock(&c->lock);
    return r;
}

static bool add(ports *list, uint32_t number, tn_tensor *x) {
    port *more = realloc(list->at, (size_t)(list->count + 1) * sizeof *more);
    if (!more) return false;
    list->at = more;
    port *p = &more[list->count++];
    *p = (port){.x = x, .number = number, .dtype = x->dtype, .rank = x->rank};
    memcpy(p->dim, x->dim, sizeof p->dim);
    x->refs++;
    x->replays++;
    return true;
}

/* By somebody who may assign it; what only replays hold stays what it is. */
static bool is_held(const tn_tensor *x) {
    return x->refs > x->replays;
}

/* False too when some input is of no tensor: it was made from memory while this was recorded, and what it
 * would be next is not known. */
static bool find_inputs(tn__replay *r, const tn__run *run) {
    for (uint32_t i = 0; i < run->input_count; i++) {
        int before = r->inputs.count;
        for (tn_tensor *x = r->context->first; x; x = x->next)
            if ((x->storage ? x->storage : x->donor) == run->inputs[i] && is_held(x))
                if (!add(&r->inputs, i, x)) return false;
        if (r->inputs.count == before) return false;
    }
    return true;
}

static int ascending(const void *a, const void *b) {
    tn_value x = *(const tn_value *)a, y = *(const tn_value *)b;
    return x < y ? -1 : x > y;
}

static bool find_outputs(tn__replay *r, const tn_value *outputs, uint32_t count) {
    for (tn_tensor *x = r->context->first; x; x = x->next) {
        if (x->storage || x->failed) continue;
        const tn_value *at = bsearch(&x->value, outputs, count, sizeof *outputs, ascending);
        if (at && !add(&r->outputs, (uint32_t)(at - outputs), x)) return false;
    }
    return true;
}

/* Whether all that the program computes was recorded since the beginning, and nothing evaluated. */
static bool recorded_since(const tn__replay *r, const bool *wanted) {
    const tn__recording *now = r->context->recording;
    if (now->generation != r->generation || r->context->cuts != r->cuts + 1) return false;
    for (tn_node n = 0; n < r->first; n++)
        if (wanted[n] && tn_graph_node(now->graph, n)->op != TN_OP_input) return false;
    return true;
}

void tn__replay_capture(tn__replay *r, const tn__run *run, const tn_value *outputs,
                        const bool *wanted) {
    uint32_t n = run->output_count;
    if (r->program || !recorded_since(r, wanted) || !find_inputs(r, run) ||
        !find_outputs(r, outputs, n))
        return;
    r->in_place = calloc((size_t)n + 1, sizeof *r->in_place);
    r->varies = calloc((size_t)n + 1, sizeof *r->varies);
    if (!r->in_place || !r->varies) return;
    for (uint32_t i = 0; i < n; i++) {
        r->in_place[i] = run->in_place[i];
        r->varies[i] = run->outputs[i]->varies;
    }
    r->input_count = run->input_count;
    r->output_count = n;
    r->program = run->program;
    r->program->refs++;
}

bool tn__replay_ready(const tn__replay *r) {
    return r && r->program;
}

const tn_program *tn__replay_program(const tn__replay *r) {
    return tn__replay_ready(r) && r->program->instance ? r->program->artifact->program : NULL;
}

static void release_ports(ports *list) {
    for (int i = 0; i < list->count; i++) tn_release(list->at[i].x);
    free(list->at);
}

/* Under the lock. */
static void leave_ports(const ports *list) {
    for (int i = 0; i < list->count; i++) list->at[i].x->replays--;
}

void tn__replay_release(tn__replay *r) {
    if (!r) return;
    tn_context *c = r->context;
    pthread_mutex_lock(&c->lock);
    if (r->program) tn__program_release(r->program);
    leave_ports(&r->inputs);
    leave_ports(&r->outputs);
    pthread_mutex_unlock(&c->lock);
    release_ports(&r->inputs);
    release_ports(&r->outputs);
    free(r->in_place);
    free(r->varies);
    free(r);
}

/* ---- running -------------------------------------------------------------------------------- */

static bool has_type(const port *p) {
    const tn_tensor *x = p->x;
    bool same = tn__tensor_is_ok(x) && x->dtype == p->dtype && x->rank == p->rank;
    for (int a = 0; same && a < x->rank; a++) same = x->dim[a] == p->dim[a];
    return same;
}

/* Whether tensors that were one input still are, somebody else holds them, who may assign them, and nothing
 * recorded waits for what they hold: then it is recorded, as that knows what has to be kept. */
static bool fits(const tn__replay *r) {
    const tn_context *c = r->context;
    if (!c->recording || c->error.status != TN_OK) return false;
    for (int i = 0; i < r->inputs.count; i++) {
        const port *p = &r->inputs.at[i];
        const tn__storage *s = p->x->storage;
        if (!has_type(p) || !is_held(p->x) || !s || s->abstract ||
            s->generation == c->recording->generation)
            return false;
        if (i > 0 && p[-1].number == p->number && p[-1].x->storage != s) return false;
    }
    for (int i = 0; i < r->outputs.count; i++)
        if (!has_type(&r->outputs.at[i])) return false;
    return true;
}

static tn__storage *new_result(const tn__replay *r, const port *p) {
    tn__storage *s = r->in_place[p->number]
                         ? tn__storage_empty(p->dtype, p->rank, p->dim)
                         : tn__storage_new(r->context, p->dtype, p->rank, p->dim);
    if (!s) return NULL;
    s->varies = r->varies[p->number];
    s->cut = r->context->cuts;
    return s;
}

static bool fill(const tn__replay *r, tn__run *run) {
    run->inputs = calloc((size_t)r->input_count + 1, sizeof *run->inputs);
    run->outputs = calloc((size_t)r->output_count + 1, sizeof *run->outputs);
    run->in_place = calloc((size_t)r->output_count + 1, sizeof *run->in_place);
    if (!run->inputs || !run->outputs || !run->in_place) return false;
    for (int i = 0; i < r->inputs.count; i++) {
        const port *p = &r->inputs.at[i];
        if (!run->inputs[p->number]) run->inputs[p->number] = tn__storage_retain(p->x->storage);
    }
    for (int i = 0; i < r->outputs.count; i++) {
        const port *p = &r->outputs.at[i];
        if (run->outputs[p->number]) continue;
        run->outputs[p->number] = new_result(r, p);
        if (!run->outputs[p->number]) return false;
    }
    memcpy(run->in_place, r->in_place, r->output_count * sizeof *run->in_place);
    return true;
}

/* Under the lock. */
static tn_status start(const tn__replay *r, tn__run **out, tn_error *err) {
    tn__run *run = *out = calloc(1, sizeof *run);
    r->context->cuts++;
    if (!run || !fill(r, run)) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    run->input_count = r->input_count;
    run->output_count = r->output_count;
    run->program = r->program;
    run->program->refs++;
    for (int i = 0; i < r->outputs.count; i++) {
        const port *p = &r->outputs.at[i];
        tn__tensor_set_storage(p->x, run->outputs[p->number]);
    }
    return TN_OK;
}

/* One that could not be filled. */
static void drop(const tn__replay *r, tn__run *run) {
    if (!run) return;
    for (uint32_t i = 0; run->inputs && i < r->input_count; i++)
        tn__storage_release(r->context, run->inputs[i]);
    for (uint32_t i = 0; run->outputs && i < r->output_count; i++)
        tn__storage_release(r->context, run->outputs[i]);
    tn__run_release(r->context, run);
}

/* What was assigned since is a program of its own. */
static tn_status evaluate_pending(const tn__replay *r, tn_error *err) {
    for (int i = 0; i < r->inputs.count; i++)
        if (tn__tensor_is_pending(r->inputs.at[i].x)) TN_CHECK(tn_eval(&r->inputs.at[i].x, 1, err));
    return TN_OK;
}

tn_status tn__replay_run(const tn__replay *r, bool *ran, tn_error *err) {
    tn_context *c = r->context;
    tn__run *run = NULL;
    tn_status status = TN_OK;
    *ran = false;
    if (evaluate_pending(r, NULL) != TN_OK) return TN_OK; /* the recording tells */
    pthread_mutex_lock(&c->lock);
    bool same = fits(r);
    if (same) status = start(r, &run, err);
    if (status != TN_OK) drop(r, run);
    pthread_mutex_unlock(&c->lock);
    if (!same || status != TN_OK) return status;
    *ran = true;
    tn_error why = TN_ERROR_INIT;
    status = tn__run_now(c, run, &why);
    if (status == TN_OK) return TN_OK;
    pthread_mutex_lock(&c->lock);
    tn__context_fail(c, NULL, &why);
    pthread_mutex_unlock(&c->lock);
    if (err) *err = why;
    return status;
}

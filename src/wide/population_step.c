/* Steps of populations: compiling and running. See tenon/population.h, population_step.h. */
#include "wide/population_step.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

/* ---- recording ------------------------------------------------------------------------------ */

/* A step that is recorded for a member, and what that gives. */
typedef struct recording {
    tn_population_step *s;
    bool updates;
    tn__train_results r; /* of a member */
    tn_status status;
    tn_error *err;
} recording;

static void record_member(void *context, tn_population *p, tn_tensor *const *x, tn_tensor **y) {
    recording *k = context;
    tn_population_step *s = k->s;
    (void)p;
    const tn_tensor *rate = tn_mul(x[s->train.options.batch_count], s->stacks[TN_SETTING_RATE].one);
    k->status = tn__train_record(&s->train, x, rate, k->updates, &k->r, k->err);
    int n = 0;
    y[n++] = k->r.loss;
    if (k->r.applied) y[n++] = k->r.applied;
    if (k->r.norm) y[n++] = k->r.norm;
}

static tn_status record_failed(const recording *k) {
    if (k->status != TN_OK) return k->status;
    return tn_context_error(k->s->train.context, k->err);
}

static tn_status record(void *owner, tn_tensor *const *given, bool updates, tn__train_results *out,
                        tn_error *err) {
    tn_population_step *s = owner;
    recording k = {.s = s, .updates = updates, .err = err};
    tn_tensor *y[3];
    bool norm = updates && s->train.options.clip_norm > 0;
    tn__member_call call = {.place = "tn_population_step_run",
                            .what = "a step of a population",
                            .fn = record_member,
                            .context = &k,
                            .own = s->own,
                            .own_count = s->stack_count,
                            .x = given,
                            .shared = s->shared,
                            .x_count = s->train.options.batch_count + 1,
                            .y_count = 1 + updates + norm,
                            .report = &s->report};
    bool ok = tn__population_record(s->population, &call, y);
    tn__train_results_release(&k.r);
    if (!ok) return record_failed(&k);
    out->loss = tn_retain(y[0]);
    if (updates) out->applied = tn_retain(y[1]);
    if (norm) out->norm = tn_retain(y[2]);
    return TN_OK;
}

/* All members' tensors, as one program. */
static tn_status evaluate(void *owner, const tn__train_results *r, tn__replay *replay,
                          tn_error *err) {
    const tn_population_step *s = owner;
    const tn_population *p = s->population;
    int items = tn_module_count(p->module), n = 0;
    tn_tensor **x = calloc((size_t)(items + s->stack_count) + 1, sizeof *x);
    if (!x) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    for (int i = 0; i < items; i++) x[n++] = p->items[i].all;
    for (int i = 0; i < s->stack_count; i++) x[n++] = s->stacks[i].all;
    tn_status status = tn__train_evaluate(&s->train, r, x, n, replay, err);
    free(x);
    return status;
}

/* ---- running -------------------------------------------------------------------------------- */

tn_status tn__population_step_check(const tn_population_step *s, tn_error *err) {
    if (!s) return tn_error_set(err, TN_INVALID, "the step is NULL");
    if (s->version == s->population->version) return TN_OK;
    return tn_error_set(err, TN_INVALID,
                        "the population has %d members, which are not those that this step was "
                        "compiled for (%d): it has to be compiled again",
                        s->population->count, s->members);
}

/* A number of each member; NULL: none, they stay as they are. */
static tn_status read_all(tn_tensor *x, int members, double *out, size_t stride, tn_error *err) {
    tn_buffer all;
    if (!x) return TN_OK;
    TN_CHECK(tn_view(x, &all, err));
    tn_array array = {.dtype = all.dtype, .rank = 1, .dim = {members}, .data = all.data};
    for (int i = 0; i < members; i++)
        *(double *)((char *)out + (size_t)i * stride) =
            tn_cell_cast(all.dtype, TN_f64, tn_array_get(&array, i)).f;
    return TN_OK;
}

static tn_status read_metrics(tn_population_step *s, const tn__train_results *r,
                              tn_train_metrics *out, tn_error *err) {
    enum { STRIDE = sizeof(tn_train_metrics) };
    tn_buffer applied = {0};
    for (int i = 0; i < s->members; i++) out[i] = (tn_train_metrics){.loss = NAN, .grad_norm = NAN};
    TN_CHECK(read_all(r->loss, s->members, &out->loss, STRIDE, err));
    TN_CHECK(read_all(r->norm, s->members, &out->grad_norm, STRIDE, err));
    if (r->applied) TN_CHECK(tn_view(r->applied, &applied, err));
    for (int i = 0; i < s->members; i++) {
        out[i].updated = applied.data && ((const uint8_t *)applied.data)[i];
        out[i].updates = s->updates[i] += out[i].updated;
    }
    return TN_OK;
}

tn_status tn_population_step_run(tn_population_step *s, const tn_buffer *batch, double rate,
                                 tn_train_metrics *metrics, tn_error *err) {
    TN_CHECK(tn__population_step_check(s, err));
    int n = s->train.options.batch_count;
    bool updates = s->batches + 1 >= s->train.options.accumulate;
    const tn__train_results *r;
    s->rate = rate;
    for (int i = 0; i < n; i++) s->given[i] = batch[i];
    s->given[n] = (tn_buffer){.dtype = TN_f64, .data = &s->rate, .size = sizeof s->rate};
    tn__traces_call call = {.module = s->population->module,
                            .given = s->given,
                            .count = n + 1,
                            .updates = updates,
                            .owner = s,
                            .record = record,
                            .evaluate = evaluate};
    TN_CHECK(tn__traces_run(&s->traces, &call, &r, err));
    s->batches = updates ? 0 : s->batches + 1;
    return read_metrics(s, r, metrics ? metrics : s->metrics, err);
}

/* ---- compiling: the batch ------------------------------------------------------------------- */

static tn_status check_options(const tn_population_train_options *o, tn_error *err) {
    const tn_population *p = o->population;
    if (!p) return tn_error_set(err, TN_INVALID, "a step of a population needs one");
    if (p->options.shared_parameters)
        return tn_error_set(err, TN_INVALID,
                            "all %d members share their parameters, so there is one model to "
                            "train: tn_train_step_compile does that",
                            p->count);
    if (o->train.batch_count < 1 || !o->train.batch)
        return tn_error_set(err, TN_INVALID, "a step needs the types of what makes a batch");
    return TN_OK;
}

/* What one member gets of tensor i. */
static tn_status member_type(const tn_population_step *s, int i, const tn_buffer *from,
                             tn_buffer *out, tn_error *err) {
    *out = *from;
    if (s->shared[i]) return TN_OK;
    if (from->rank < 1 || from->rank > TN_MAX_RANK || from->dim[0] != s->members)
        return tn_error_set(err, TN_INVALID,
                            "tensor %d of the batch has %" PRId64
                            " members along axis 0; the population has %d (what all members read "
                            "has to be called shared)",
                            i, from->rank > 0 ? from->dim[0] : 0, s->members);
    out->rank = from->rank - 1;
    for (int a = 0; a < out->rank; a++) out->dim[a] = from->dim[a + 1];
    return TN_OK;
}

static tn_status copy_batch(tn_population_step *s, const tn_population_train_options *o,
                            tn_buffer *types, tn_error *err) {
    int n = o->train.batch_count;
    for (int i = 0; i <= n; i++) s->shared[i] = i == n || !o->shared || o->shared[i];
    for (int i = 0; i < n; i++) TN_CHECK(member_type(s, i, &o->train.batch[i], &types[i], err));
    return TN_OK;
}

/* ---- compiling: state and settings ---------------------------------------------------------- */

typedef struct beginning {
    tn_population_step *s;
    const tn_train_options *options;
    tn_status status;
    tn_error *err;
} beginning;

static void begin_member(void *context, tn_population *p, tn_tensor *const *x, tn_tensor **y) {
    beginning *b = context;
    (void)p, (void)x, (void)y;
    b->status = tn__train_init(&b->s->train, b->options, b->s->members, b->err);
}

/* Values of the state at first that are computed from parameters. */
static void first_values(void *context, tn_population *p, tn_tensor *const *x, tn_tensor **y) {
    const tn__train *t = context;
    (void)p, (void)x;
    for (int i = 0, n = 0; i < t->state_count; i++)
        if (tn__tensor_is_pending(t->state[i].tensor)) y[n++] = tn__again(t->state[i].tensor);
}

static tn_status adopt(tn_population_step *s, tn__stack *stack, const tn_named_tensor *state,
                       tn_tensor *value, tn_error *err) {
    tn_tensor *one = state->tensor;
    if (!value) return tn__stack_init_from(stack, s->population, one, state->name, err);
    tn_buffer type = {.dtype = tn_tensor_dtype(one), .rank = tn_tensor_rank(one)};
    for (int a = 0; a < type.rank; a++) type.dim[a] = tn_tensor_dim(one, a);
    TN_CHECK(tn__stack_init(stack, s->population, &type, false, state->name, err));
    tn_assign(stack->all, value);
    tn__stack_stand_in(stack, one);
    return TN_OK;
}

static tn_status adopt_state(tn_population_step *s, tn_tensor **value, tn_error *err) {
    const tn__train *t = &s->train;
    int pending = 0;
    for (int i = 0; i < t->state_count; i++) pending += tn__tensor_is_pending(t->state[i].tensor);
    tn__member_call call = {.place = "tn_population_step_compile",
                            .what = "the first state of a step",
                            .fn = first_values,
                            .context = &s->train,
                            .y_count = pending};
    if (pending && !tn__population_record(s->population, &call, value))
        return tn_context_error(t->context, err);
    for (int i = 0, n = 0; i < t->state_count; i++) {
        tn__stack *stack = &s->stacks[TN__SETTINGS + i];
        bool computed = tn__tensor_is_pending(t->state[i].tensor);
        s->names[TN__SETTINGS + i] = t->state[i].name;
        TN_CHECK(adopt(s, stack, &t->state[i], computed ? value[n++] : NULL, err));
    }
    return TN_OK;
}

static tn_status make_stacks(tn_population_step *s, tn_error *err) {
    size_t count = (size_t)(s->train.state_count + TN__SETTINGS);
    tn_tensor **value = calloc(count, sizeof *value);
    s->stacks = calloc(count, sizeof *s->stacks);
    s->own = calloc(count, sizeof(tn__stack *));
    s->names = calloc(count, sizeof *s->names);
    tn_status status = TN_OK;
    if (!value || !s->stacks || !s->own || !s->names)
        status = tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    else
        s->stack_count = (int)count;
    for (int i = 0; i < s->stack_count; i++) s->own[i] = &s->stacks[i];
    if (status == TN_OK) status = tn__population_settings_make(s, err);
    if (status == TN_OK) status = adopt_state(s, value, err);
    free(value);
    return status;
}

/* ---- compiling ------------------------------------------------------------------------------ */

static bool is_common(const void *owner, int item) {
    return ((const tn_population *)owner)->items[item].shared;
}

/* What the step reads in place of numbers of the options. */
static void use_settings(tn_population_step *s) {
    tn__train *t = &s->train;
    t->member = (tn__train_member){.active = s->stacks[TN__ACTIVE].one,
                                   .clip_norm = s->stacks[TN_SETTING_CLIP_NORM].one,
                                   .shares = is_common,
                                   .owner = s->population};
    tn__optimizer_scalars_set(t->optimizer,
                              &(tn__optimizer_scalars){s->stacks[TN_SETTING_WEIGHT_DECAY].one,
                                                       s->stacks[TN_SETTING_MOMENTUM].one});
}

static tn_status begin(tn_population_step *s, const tn_train_options *options, tn_error *err) {
    beginning b = {.s = s, .options = options, .err = err};
    tn__member_call call = {.place = "tn_population_step_compile",
                            .what = "a step of a population",
                            .fn = begin_member,
                            .context = &b};
    bool ok = tn__population_record(s->population, &call, NULL);
    TN_CHECK(b.status);
    if (!ok) return tn_context_error(s->population->context, err);
    TN_CHECK(make_stacks(s, err));
    use_settings(s);
    return evaluate(s, NULL, NULL, err); /* so that the first step is recorded as all others */
}

static tn_status fill(tn_population_step *s, const tn_population_train_options *o, tn_error *err) {
    size_t n = (size_t)o->train.batch_count + 1;
    tn_train_options train = o->train;
    tn_buffer *types = calloc(n, sizeof *types);
    s->given = calloc(n, sizeof *s->given);
    s->shared = calloc(n, sizeof *s->shared);
    s->updates = calloc((size_t)s->members, sizeof *s->updates);
    s->metrics = calloc((size_t)s->members, sizeof *s->metrics);
    tn_status status = TN_OK;
    if (!types || !s->given || !s->shared || !s->updates || !s->metrics)
        status = tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    if (status == TN_OK) status = copy_batch(s, o, types, err);
    train.module = s->population->module;
    train.batch = types;
    tn_scope *scope = tn_scope_open(s->population->context);
    if (!scope && status == TN_OK) status = tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    if (status == TN_OK) status = begin(s, &train, err);
    tn_scope_close(scope);
    s->train.options.batch = NULL;
    free(types);
    return status;
}

tn_status tn_population_step_compile(const tn_population_train_options *options,
                                     tn_population_step **out, tn_error *err) {
    *out = NULL;
    tn_population_train_options o = TN_POPULATION_TRAIN_OPTIONS_INIT;
    if (!options || options->size < sizeof(size_t) || options->size > 4096)
        return tn_error_set(err, TN_INVALID,
                            "tn_population_train_options.size is not set; start from "
                            "TN_POPULATION_TRAIN_OPTIONS_INIT");
    memcpy(&o, options, TN_MIN(options->size, sizeof o));
    TN_CHECK(check_options(&o, err));
    tn_population_step *s = calloc(1, sizeof *s);
    if (!s) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    s->population = o.population;
    s->version = o.population->version;
    s->members = o.population->count;
    tn_status status = fill(s, &o, err);
    if (status == TN_OK)
        *out = s;
    else
        tn_population_step_release(s);
    return status;
}

void tn_population_step_release(tn_population_step *s) {
    if (!s) return;
    tn__traces_reset(&s->traces);
    tn__population_report_free(&s->report);
    for (int i = 0; i < s->stack_count; i++) tn__stack_deinit(&s->stacks[i]);
    tn__train_deinit(&s->train);
    free(s->stacks);
    free(s->own);
    free(s->names);
    free(s->given);
    free(s->shared);
    free(s->updates);
    free(s->metrics);
    free(s);
}

/* Optimizers over lists of tensors. See tenon/optim.h; the arithmetic is ops/compose_optimizer.c. */
#include <math.h>
#include <stdlib.h>

#include "nn/optim_inner.h"
#include "ops/ops_common.h"

enum { MOST_STATE = 3 }; /* tensors of state per parameter */

typedef struct parameter {
    tn_named_tensor x;
    tn_parameter_settings settings;
    int state_count;
    tn_named_tensor
        state[MOST_STATE]; /* the moments, then the master; tensors from `prepared` on */
    bool master;
} parameter;

struct tn_optimizer {
    tn_context *context;
    tn_optimizer_options options;
    int count;
    parameter *parameter;
    tn_tensor *step; /* i64: updates so far; NULL where none are needed */
    bool prepared;
    tn__optimizer_scalars scalars;
};

/* ---- making --------------------------------------------------------------------------------- */

static tn_status check_number(const char *name, double value, double limit, tn_error *err) {
    if (value >= 0 && value < limit) return TN_OK;
    return tn_error_set(err, TN_INVALID, "optimizer: %s is %g; expected 0 ≤ %s < %g", name, value,
                        name, limit);
}

static tn_status check_options(const tn_optimizer_options *o, tn_error *err) {
    if ((unsigned)o->kind > TN_OPTIMIZER_LION)
        return tn_error_set(err, TN_INVALID, "optimizer: there is no kind %d", (int)o->kind);
    TN_CHECK(check_number("weight_decay", o->weight_decay, INFINITY, err));
    TN_CHECK(check_number("epsilon", o->epsilon, INFINITY, err));
    TN_CHECK(check_number("beta1", o->beta1, 1, err));
    TN_CHECK(check_number("beta2", o->beta2, 1, err));
    TN_CHECK(check_number("momentum", o->momentum, INFINITY, err));
    if (o->nesterov && o->momentum == 0)
        return tn_error_set(err, TN_INVALID, "optimizer: Nesterov's method needs a momentum");
    return TN_OK;
}

static tn_status copy_options(const tn_optimizer_options *from, tn_optimizer_options *to,
                              tn_error *err) {
    *to = (tn_optimizer_options){0};
    if (!from || from->size < sizeof(size_t) || from->size > 4096)
        return tn_error_set(err, TN_INVALID,
                            "optimizer: the options' size is not set; start from TN_ADAMW_INIT or "
                            "another of the _INIT macros");
    memcpy(to, from, TN_MIN(from->size, sizeof *to));
    return check_options(to, err);
}

/* What a parameter's state is called, in the order in which it is updated. */
static int state_names(const tn_optimizer_options *o, bool master, const char *out[MOST_STATE]) {
    int n = 0;
    if (o->kind == TN_OPTIMIZER_SGD) {
        if (o->momentum != 0) out[n++] = ".momentum_buffer";
    } else {
        out[n++] = ".exp_avg";
        if (o->kind != TN_OPTIMIZER_LION) out[n++] = ".exp_avg_sq";
    }
    if (master) out[n++] = ".master";
    return n;
}

static tn_status check_rate(double rate, tn_error *err) {
    if (rate > 0 && rate < INFINITY) return TN_OK;
    return tn_error_set(err, TN_INVALID,
                        "optimizer: the rate's factor is %g; expected more than 0 (a parameter "
                        "without gradient, NULL, is left alone)",
                        rate);
}

static tn_status add_parameter(tn_optimizer *o, const tn_named_tensor *from, tn_error *err) {
    const char *suffix[MOST_STATE];
    parameter *p = &o->parameter[o->count++];
    p->x = (tn_named_tensor){tn__name_with(from->name, ""), tn_retain(from->tensor)};
    p->settings = (tn_parameter_settings){1, o->options.weight_decay};
    p->master = o->options.master && tn_dtype_size(from->tensor->dtype) < 4;
    p->state_count = state_names(&o->options, p->master, suffix);
    bool ok = p->x.name;
    for (int i = 0; i < p->state_count; i++)
        ok &= (p->state[i].name = tn__name_with(from->name, suffix[i])) != NULL;
    if (!ok) return tn_error_set(err, TN_OUT_OF_MEMORY, "optimizer: out of memory");
    if (o->options.settings)
        o->options.settings(o->options.settings_context, p->x.name, p->x.tensor, &p->settings);
    TN_TRY(err, check_rate(p->settings.rate, err), "parameter '%s'", p->x.name);
    TN_TRY(err, check_number("weight_decay", p->settings.weight_decay, INFINITY, err),
           "parameter '%s'", p->x.name);
    return TN_OK;
}

static tn_status fill(tn_optimizer *o, const tn_optimizer_options *options,
                      const tn_named_tensor *parameters, int count, tn_error *err) {
    TN_CHECK(copy_options(options, &o->options, err));
    TN_CHECK(tn__check_parameters("optimizer", parameters, count, err));
    o->context = parameters[0].tensor->context;
    o->parameter = calloc((size_t)count, sizeof *o->parameter);
    if (!o->parameter) return tn_error_set(err, TN_OUT_OF_MEMORY, "optimizer: out of memory");
    for (int i = 0; i < count; i++) TN_CHECK(add_parameter(o, &parameters[i], err));
    return TN_OK;
}

tn_status tn_optimizer_create(const tn_optimizer_options *options,
                              const tn_named_tensor *parameters, int count, tn_optimizer **out,
                              tn_error *err) {
    *out = NULL;
    tn_optimizer *o = calloc(1, sizeof *o);
    if (!o) return tn_error_set(err, TN_OUT_OF_MEMORY, "optimizer: out of memory");
    tn_status status = fill(o, options, parameters, count, err);
    if (status == TN_OK)
        *out = o;
    else
        tn_optimizer_release(o);
    return status;
}

static void named_deinit(tn_named_tensor *x) {
    free((char *)(uintptr_t)x->name);
    tn_release(x->tensor);
}

void tn_optimizer_release(tn_optimizer *o) {
    if (!o) return;
    for (int i = 0; i < o->count; i++) {
        named_deinit(&o->parameter[i].x);
        for (int s = 0; s < MOST_STATE; s++) named_deinit(&o->parameter[i].state[s]);
    }
    tn_release(o->step);
    free(o->parameter);
    free(o);
}

/* ---- state ---------------------------------------------------------------------------------- */

static bool counts_steps(const tn_optimizer *o) {
    return o->options.kind == TN_OPTIMIZER_ADAM || o->options.kind == TN_OPTIMIZER_ADAMW;
}

/* Masters begin as numbers, not as a graph: a step that is compiled once must find them in memory. */
static void make_master(const char *place, parameter *p) {
    tn_tensor *master = tn_keep(tn_cast_at(place, p->x.tensor, TN_f32));
    p->state[p->state_count - 1].tensor = master;
    if (!tn__is_abstract(p->x.tensor))
        (void)!tn_eval(&master, 1, NULL); /* an error stays with the context */
}

static void prepare(const char *place, tn_optimizer *o) {
    if (o->prepared) return;
    o->prepared = true;
    for (int i = 0; i < o->count; i++) {
        parameter *p = &o->parameter[i];
        for (int s = 0; s < p->state_count - p->master; s++)
            p->state[s].tensor = tn__zeros_like(p->x.tensor);
        if (p->master) make_master(place, p);
    }
    if (counts_steps(o))
        o->step = tn_keep(tn_tensor_from_at(place, o->context, TN_i64, TN_SCALAR_SHAPE, NULL));
}

int tn_optimizer_state(tn_optimizer *o, tn_named_tensor *out, int room) {
    int n = 0;
    prepare("tn_optimizer_state", o);
    for (int i = 0; i < o->count; i++)
        for (int s = 0; s < o->parameter[i].state_count; s++, n++)
            if (n < room) out[n] = o->parameter[i].state[s];
    if (o->step && n++ < room) out[n - 1] = (tn_named_tensor){"step", o->step};
    return n;
}

void tn__optimizer_scalars_set(tn_optimizer *o, const tn__optimizer_scalars *scalars) {
    o->scalars = *scalars;
}

/* ---- a step --------------------------------------------------------------------------------- */

typedef struct step_args {
    const tn_optimizer *o;
    const parameter *p;
    bool decay, momentum, apply; /* which scalars there are */
} step_args;

/* What is the same for all parameters; the first is NULL only where it failed or is not needed, the others
 * may be. */
typedef struct common {
    const tn_tensor *step, *decay, *momentum, *apply;
} common;

static bool is_scalar(tn_builder *b, const char *what, tn_value v) {
    tn_type type = tn_b_type(b, v);
    if (type.shape.rank == 0) return true;
    tn_b_fail(b, TN_INVALID, "optimizer: %s is %s; expected a scalar", what,
              tn_type_text(b->graph->dims, &type).at);
    return false;
}

static bool check_gradient(tn_builder *b, const parameter *p, tn_value x, tn_value g) {
    tn_type want = tn_b_type(b, x), have = tn_b_type(b, g);
    bool same = tn_dtype_is_float(have.dtype) && have.shape.rank == want.shape.rank;
    for (int a = 0; same && a < want.shape.rank; a++) same = have.shape.dim[a] == want.shape.dim[a];
    if (!same)
        tn_b_fail(b, TN_INVALID, "optimizer: parameter '%s' is %s, its gradient %s", p->x.name,
                  tn_type_text(b->graph->dims, &want).at, tn_type_text(b->graph->dims, &have).at);
    return same;
}

/* The new x; the moments are replaced. */
static tn_value update(tn_builder *b, const step_args *a, tn_update *u, const tn_coefficient *decay,
                       tn_value x, tn_value g, tn_value *moment) {
    const tn_optimizer_options *o = &a->o->options;
    u->epsilon = o->epsilon;
    u->alpha = o->beta1;
    u->beta = o->beta2;
    switch (o->kind) {
    case TN_OPTIMIZER_SGD:
        u->norm = *decay;
        u->beta = 1;
        return tn_b_momentum(b, x, g, o->momentum != 0 ? moment : NULL, o->nesterov, u);
    case TN_OPTIMIZER_ADAM:
        u->norm = *decay;
        return tn_b_adam(b, x, g, &moment[0], &moment[1], u);
    case TN_OPTIMIZER_ADAMW:
        u->decoupled = *decay;
        return tn_b_adam(b, x, g, &moment[0], &moment[1], u);
    case TN_OPTIMIZER_LION:
        u->decoupled = *decay;
        return tn_b_lion(b, x, g, &moment[0], u);
    }
    TN_BUG("an optimizer of no kind");
}

static bool check_scalars(tn_builder *b, const tn_value *in, const step_args *a, int at) {
    static const char *const names[] = {"the weight decay", "the momentum",
                                        "the flag of what to apply"};
    const bool given[] = {a->decay, a->momentum, a->apply};
    if (!is_scalar(b, "the learning rate", in[0])) return false;
    for (int i = 0; i < 3; i++)
        if (given[i] && !is_scalar(b, names[i], in[at++])) return false;
    return true;
}

/* in: rate, gradient, x, state …, those that there are of step, decay, momentum, apply; out: x, state … */
static void build_step(tn_builder *b, const tn_value *in, const void *args, tn_value *out) {
    const step_args *a = args;
    const parameter *p = a->p;
    int n = 3 + p->state_count, moments = p->state_count - p->master;
    tn_value x = in[2], old[1 + MOST_STATE], new[1 + MOST_STATE];
    tn_update u = {.rate = in[0], .step = TN_NO_VALUE, .scale = p->settings.rate};
    tn_coefficient decay = {.number = p->settings.weight_decay, .is_value = a->decay};
    u.momentum = (tn_coefficient){.number = a->o->options.momentum, .is_value = a->momentum};
    if (a->o->step) u.step = in[n++];
    if (!check_scalars(b, in, a, n) || !check_gradient(b, p, x, in[1])) return;
    if (a->decay) decay.value = in[n++];
    if (a->momentum) u.momentum.value = in[n++];
    tn_dtype dtype = tn_b_type(b, x).dtype, wide = tn__wide_float(dtype);
    for (int i = 0; i < moments; i++) old[1 + i] = new[1 + i] = in[3 + i];
    old[0] = p->master ? in[3 + moments] : tn_b_cast(b, x, wide);
    new[0] = update(b, a, &u, &decay, old[0], tn_b_cast(b, in[1], wide), new + 1);
    for (int i = 0; i <= moments && a->apply; i++)
        new[i] = tn_b_where(b, tn__truth(b, in[n]), new[i], old[i]);
    out[0] = tn_b_cast(b, new[0], dtype);
    for (int i = 0; i < moments; i++) out[1 + i] = new[1 + i];
    if (p->master) out[1 + moments] = new[0];
}

/* Those whose weight decay is another than the optimizer's keep it. */
static bool follows(const tn_optimizer *o, const parameter *p) {
    return p->settings.weight_decay == o->options.weight_decay && p->settings.weight_decay != 0;
}

static void step_parameter(const char *place, tn_optimizer *o, parameter *p, const tn_tensor *rate,
                           const tn_tensor *gradient, const common *c) {
    const tn_tensor *in[3 + MOST_STATE + 4] = {rate, gradient, p->x.tensor};
    tn_tensor *to[1 + MOST_STATE] = {p->x.tensor}, *from[1 + MOST_STATE];
    int n = 3, results = 1 + p->state_count;
    for (int i = 0; i < p->state_count; i++) in[n++] = to[1 + i] = p->state[i].tensor;
    step_args args = {o, p, c->decay && follows(o, p), c->momentum && o->options.momentum != 0,
                      c->apply != NULL};
    if (o->step) in[n++] = c->step;
    if (args.decay) in[n++] = c->decay;
    if (args.momentum) in[n++] = c->momentum;
    if (args.apply) in[n++] = c->apply;
    tn__call call = {place, o->context, in, n, results, build_step, &args};
    tn__record(&call, from);
    tn__assign_all(place, to, from, results);
}

/* in: the count, apply if there is one; out: with this step, and the new count */
static void build_count(tn_builder *b, const tn_value *in, const void *args, tn_value *out) {
    bool apply = *(const bool *)args;
    out[0] = out[1] = tn_b_add_scalar(b, in[0], 1);
    if (apply && is_scalar(b, "the flag of what to apply", in[1]))
        out[1] = tn_b_where(b, tn__truth(b, in[1]), out[0], in[0]);
}

/* The updates read the new count, so that it is evaluated with them. */
static tn_tensor *count_step(const char *place, tn_optimizer *o, const tn_tensor *apply) {
    bool has_apply = apply != NULL;
    tn_tensor *out[2];
    const tn_tensor *in[] = {o->step, apply};
    tn__call call = {place, o->context, in, 1 + has_apply, 2, build_count, &has_apply};
    tn__record(&call, out);
    tn__assign_all(place, &o->step, &out[1], 1);
    return out[0];
}

void tn_optimizer_step_at(const char *place, tn_optimizer *o, const tn_tensor *rate,
                          tn_tensor *const *gradients, const tn_tensor *apply) {
    int given = 0;
    for (int i = 0; i < o->count; i++) given += gradients[i] != NULL;
    if (given == 0) return;
    prepare(place, o);
    tn_tensor *step = o->step ? count_step(place, o, apply) : NULL;
    const common c = {step, o->scalars.weight_decay, o->scalars.momentum, apply};
    for (int i = 0; i < o->count; i++)
        if (gradients[i]) step_parameter(place, o, &o->parameter[i], rate, gradients[i], &c);
    tn_release(step);
}

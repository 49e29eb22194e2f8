/* Members alone. See wide_alone.h. */
#include "cli/wide_alone.h"

#include "cli/tune.h"
#include "wide/wide.h"

struct cli_alone_member {
    tn_model *model;
    tn_session *session;
    int64_t bytes;
    tn_buffer *in, *out;
};

tn_status cli_alone_init(cli *c, const cli_wide *w, cli_alone *a, tn_error *err) {
    *a = (cli_alone){.of = w, .each = TN_NEW_N(&c->arena, struct cli_alone_member, w->n)};
    tn_buffer *part = TN_NEW_N(&c->arena, tn_buffer, w->n);
    for (int i = 0; i < w->n; i++) {
        a->each[i].in = TN_NEW_N(&c->arena, tn_buffer, w->in.count);
        a->each[i].out = TN_NEW_N(&c->arena, tn_buffer, w->out_count);
    }
    for (int k = 0; k < w->in.count; k++) {
        if (!w->shared[k]) TN_CHECK(cli_wide_parts(c, w, &w->in.inputs[k], part, err));
        for (int i = 0; i < w->n; i++) a->each[i].in[k] = w->shared[k] ? w->in.inputs[k] : part[i];
    }
    return TN_OK;
}

static tn_status bind_alone(cli_alone *a, int i, tn_error *err) {
    struct cli_alone_member *m = &a->each[i];
    TN_CHECK(tn__wide_alone(a->of->wide, i, &m->model, err));
    TN_CHECK(tn_session_create(m->model, &m->session, err));
    TN_CHECK(tn_session_bind(m->session, m->in, a->of->in.count, err));
    tn_memory_use use = tn_instance_memory(tn_session_instance(m->session));
    m->bytes = (int64_t)(use.temporaries + use.outputs + use.scratch +
                         cli_weight_bytes(tn_session_artifact(m->session)));
    a->bytes += m->bytes;
    return TN_OK;
}

tn_status cli_alone_open(cli_alone *a, int i, tn_error *err) {
    TN_TRY(err, bind_alone(a, i, err), "member %d alone", i);
    TN_TRY(err, cli_alone_run(a, i, err), "member %d alone", i);
    return TN_OK;
}

tn_status cli_alone_predict(cli *c, cli_alone *a, int i, cli_prediction *out, tn_error *err) {
    TN_TRY(err, bind_alone(a, i, err), "member %d alone", i);
    cli_steps steps = cli_steps_of(c, a->each[i].session);
    *out = cli_predict(&steps, a->each[i].model);
    cli_alone_close(a, i);
    return TN_OK;
}

tn_status cli_alone_tune(cli *c, cli_alone *a, int i, tn_error *err) {
    bool wanted;
    tn_model *model = NULL;
    TN_CHECK(cli_tune_wanted(c, &wanted, err));
    if (!wanted) return TN_OK;
    TN_CHECK(tn__wide_alone(a->of->wide, i, &model, err));
    const char *name = tn_arena_printf(&c->arena, "member %d alone", i);
    tn_status status = cli_tune_model(c, model, name, a->each[i].in, a->of->in.count, err);
    tn_model_release(model);
    return status;
}

tn_status cli_alone_run(cli_alone *a, int i, tn_error *err) {
    const struct cli_alone_member *m = &a->each[i];
    return tn_session_run(m->session, m->in, a->of->in.count, m->out, a->of->out_count, err);
}

const tn_buffer *cli_alone_output(const cli_alone *a, int i, int k) {
    return &a->each[i].out[k];
}

void cli_alone_close(cli_alone *a, int i) {
    struct cli_alone_member *m = &a->each[i];
    tn_session_release(m->session);
    tn_model_release(m->model);
    m->session = NULL;
    m->model = NULL;
    a->bytes -= m->bytes;
    m->bytes = 0;
}

void cli_alone_deinit(cli_alone *a) {
    for (int i = 0; a->each && i < a->of->n; i++) cli_alone_close(a, i);
}

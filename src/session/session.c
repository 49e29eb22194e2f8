/* Running models. See tenon/session.h. */
#include <stdlib.h>

#include "session/model_inner.h"
#include "session/ports.h"

/* An output whose value lies in memory that the session does not own: it is copied here. */
typedef struct kept_output {
    void *data;
    size_t capacity;
} kept_output;

struct tn_session {
    tn_model *model;
    int64_t *port_symbols; /* of the model's ports; only a model with needs uses them */
    tn_artifact *artifact; /* NULL before the first run */
    tn_hash128 bound;      /* the needs' values it is for */
    tn_instance *instance;
    int64_t *symbols; /* of the artifact's program */
    kept_output *kept;
    uint32_t kept_count;
};

tn_status tn_session_create(tn_model *model, tn_session **out, tn_error *err) {
    *out = NULL;
    tn_session *s = calloc(1, sizeof *s);
    if (s) s->port_symbols = calloc(model->ports->dims->symbols.len + 1, sizeof *s->port_symbols);
    if (!s || !s->port_symbols) {
        free(s);
        return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    }
    atomic_fetch_add(&model->refs, 1);
    s->model = model;
    *out = s;
    return TN_OK;
}

static void drop_artifact(tn_session *s) {
    tn_instance_release(s->instance);
    tn_artifact_release(s->artifact);
    for (uint32_t i = 0; i < s->kept_count; i++) free(s->kept[i].data);
    free(s->kept);
    free(s->symbols);
    s->instance = NULL;
    s->artifact = NULL;
    s->kept = NULL;
    s->kept_count = 0;
    s->symbols = NULL;
}

void tn_session_release(tn_session *s) {
    if (!s) return;
    drop_artifact(s);
    free(s->port_symbols);
    tn_model_release(s->model);
    free(s);
}

/* ---- binding -------------------------------------------------------------------------------- */

/* Takes the reference of the caller. */
static tn_status set_artifact(tn_session *s, tn_artifact *a, tn_hash128 bound, tn_error *err) {
    drop_artifact(s);
    s->artifact = a;
    s->bound = bound;
    s->symbols = calloc(a->program->dims->symbols.len + 1, sizeof *s->symbols);
    s->kept = calloc(a->program->outputs.len + 1, sizeof *s->kept);
    tn_status status = TN_OUT_OF_MEMORY;
    if (s->symbols && s->kept) {
        s->kept_count = a->program->outputs.len;
        status = tn_instance_create(&a->executable, &s->instance, err);
    } else {
        tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    }
    if (status != TN_OK) drop_artifact(s);
    return status;
}

/* Whether the artifact of the last run fits; for an open model it always does. */
static bool artifact_fits(tn_session *s, const tn_buffer *inputs, int count) {
    if (!s->artifact) return false;
    if (tn_model_need_count(s->model) == 0) return true;
    if (tn_ports_bind(s->model->ports, inputs, count, s->port_symbols, NULL) != TN_OK) return false;
    tn_hash128 bound = tn__model_bound(s->model, inputs, s->port_symbols);
    return bound.lo == s->bound.lo && bound.hi == s->bound.hi;
}

static tn_status find_artifact(tn_session *s, const tn_buffer *inputs, int count, tn_error *err) {
    tn_hash128 bound;
    tn_artifact *a;
    if (artifact_fits(s, inputs, count)) return TN_OK;
    TN_CHECK(tn__model_artifact(s->model, inputs, count, s->port_symbols, &bound, &a, err));
    return set_artifact(s, a, bound, err);
}

tn_status tn_session_measure(tn_session *s, const tn_buffer *inputs, int count, tn_memory_use *out,
                             tn_error *err) {
    *out = (tn_memory_use){0};
    TN_CHECK(find_artifact(s, inputs, count, err));
    const tn_program *p = s->artifact->program;
    int64_t *symbols = calloc(p->dims->symbols.len + 1, sizeof *symbols);
    if (!symbols) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    tn_status status = tn_ports_bind(p, inputs, count, symbols, err);
    if (status == TN_OK) status = tn_instance_measure(&s->artifact->executable, symbols, out, err);
    free(symbols);
    return status;
}

tn_status tn_session_bind(tn_session *s, const tn_buffer *inputs, int count, tn_error *err) {
    TN_CHECK(find_artifact(s, inputs, count, err));
    TN_CHECK(tn_ports_bind(s->artifact->program, inputs, count, s->symbols, err));
    return tn_instance_bind(s->instance, s->symbols, err);
}

/* ---- outputs -------------------------------------------------------------------------------- */

/* After a run. */
static size_t output_shape(const tn_session *s, uint32_t i, tn_buffer *b) {
    const tn_program *p = s->artifact->program;
    const int64_t *symbols = tn_instance_symbols(s->instance);
    const tn_type *t = &p->outputs.data[i].type;
    size_t bytes = tn_dtype_size(t->dtype);
    b->dtype = t->dtype;
    b->rank = t->shape.rank;
    for (int a = 0; a < b->rank; a++) {
        tn_dim d = t->shape.dim[a];
        b->dim[a] = tn_dim_is_const(d) ? d : tn_dim_eval(p->dims, d, symbols);
        bytes *= (size_t)b->dim[a]; /* no overflow: the buffer's size was checked at binding */
    }
    return bytes;
}

/* Results are written to the caller's memory where it is given. */
static tn_status offer_outputs(tn_session *s, tn_buffer *outputs, tn_error *err) {
    const tn_program *p = s->artifact->program;
    for (uint32_t i = 0; i < p->outputs.len; i++) {
        size_t bytes = tn_instance_output_room(s->instance, i);
        bool given = outputs[i].data && outputs[i].size > 0;
        if (given && outputs[i].size < bytes)
            return tn_error_set(err, TN_INVALID,
                                "output '%s' takes %zu bytes, the memory given has %zu",
                                p->outputs.data[i].name, bytes, outputs[i].size);
        tn_instance_set_output(s->instance, i, given ? outputs[i].data : NULL);
    }
    return TN_OK;
}

static tn_status keep_output(tn_session *s, uint32_t i, size_t bytes, tn_error *err) {
    kept_output *k = &s->kept[i];
    if (k->data && k->capacity >= bytes) return TN_OK;
    free(k->data);
    k->capacity = bytes;
    k->data = malloc(bytes ? bytes : 1);
    return k->data ? TN_OK : tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
}

static tn_status hand_out(tn_session *s, uint32_t i, tn_buffer *out, tn_error *err) {
    const tn_program *p = s->artifact->program;
    const tn_prog_buffer *b = &p->buffers.data[p->outputs.data[i].buffer];
    const void *value = tn_instance_output(s->instance, i);
    bool given = out->data && out->size > 0;
    bool direct = b->store == TN_STORE_OUTPUT && b->index == i;
    size_t bytes = output_shape(s, i, out);
    if (direct) {
        out->data = (void *)(uintptr_t)value;
        return TN_OK;
    }
    if (!given) {
        TN_CHECK(keep_output(s, i, bytes, err));
        out->data = s->kept[i].data;
    }
    if (bytes) memmove(out->data, value, bytes);
    return TN_OK;
}

tn_status tn_session_run(tn_session *s, const tn_buffer *inputs, int input_count,
                         tn_buffer *outputs, int output_count, tn_error *err) {
    TN_CHECK(tn_session_bind(s, inputs, input_count, err));
    const tn_program *p = s->artifact->program;
    if (output_count != (int)p->outputs.len)
        return tn_error_set(err, TN_INVALID,
                            "%d outputs asked for, the model has %u for these inputs", output_count,
                            p->outputs.len);
    for (uint32_t i = 0; i < p->inputs.len; i++)
        tn_instance_set_input(s->instance, i, inputs[i].data);
    TN_CHECK(offer_outputs(s, outputs, err));
    /* Each run computes everything anew from its inputs: an earlier failure left nothing behind. */
    tn_instance_reset(s->instance);
    TN_CHECK(tn_instance_run(s->instance, 0, err));
    for (uint32_t i = 0; i < p->outputs.len; i++) TN_CHECK(hand_out(s, i, &outputs[i], err));
    return TN_OK;
}

/* ---- what a binding gives ------------------------------------------------------------------- */

int tn_session_output_count(const tn_session *s) {
    return s->artifact ? (int)s->artifact->program->outputs.len : tn_model_output_count(s->model);
}

tn_status tn_session_output(const tn_session *s, int i, tn_port_info *out) {
    if (!s->artifact) return tn_model_output(s->model, i, out);
    return tn__model_port(s->model, s->artifact->program, true, i, out);
}

int tn_session_output_compound_count(const tn_session *s) {
    return s->artifact ? (int)s->artifact->program->output_compounds.len
                       : tn_model_output_compound_count(s->model);
}

tn_status tn_session_output_compound(const tn_session *s, int i, tn_compound *out) {
    if (!s->artifact) return tn_model_output_compound(s->model, i, out);
    const tn_program *p = s->artifact->program;
    return tn__compound_at(p->output_compounds.data, p->output_compounds.len, i, out);
}

/* ---- for the rest of Tenon ------------------------------------------------------------------ */

tn_status tn_session_save(tn_session *s, const char *path, tn_error *err) {
    if (!s->artifact) return tn_error_set(err, TN_INVALID, "%s: nothing is compiled yet", path);
    return tn_artifact_save(s->artifact, &s->model->workshop.compiler.cache, path, err);
}

const tn_artifact *tn_session_artifact(const tn_session *s) {
    return s->artifact;
}
tn_instance *tn_session_instance(const tn_session *s) {
    return s->instance;
}
const int64_t *tn_session_symbols(const tn_session *s) {
    return tn_instance_symbols(s->instance);
}

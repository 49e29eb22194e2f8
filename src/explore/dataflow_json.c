/* Dataflows as JSON, in the forms of the artifact and of the reference rows. */
#include <stdio.h>

#include "base/base.h"
#include "explore/dataflow.h"
#include "explore/workload.h"

/* ---- reading -------------------------------------------------------------------------------- */

typedef struct reader {
    const tn_workload *workload;
    const tn_machine *machine;
    tn_dataflow *out;
    tn_error *err;
    size_t at[4]; /* group, partition, tier, operator */
} reader;

static tn_status refuse(const reader *r, const char *what) {
    return tn_error_set(r->err, TN_INVALID, "mags[%zu][%zu][%zu][%zu]: %s", r->at[0], r->at[1],
                        r->at[2], r->at[3], what);
}

static tn_status read_channels(const reader *r, const json_t *list, uint64_t *out) {
    const json_t *channel;
    size_t i;
    if (list && !json_is_array(list)) return refuse(r, "'nmp' is no list of channels");
    json_array_foreach((json_t *)list, i, channel) {
        json_int_t c = json_is_integer(channel) ? json_integer_value(channel) : -1;
        if (c < 0 || c >= r->machine->near_memory.channels || *out >> c & 1)
            return refuse(r, "'nmp' lists a channel that is not near memory, or lists it twice");
        *out |= UINT64_C(1) << c;
    }
    return TN_OK;
}

static tn_status read_operator(const reader *r, const json_t *v) {
    const char *name = json_string_value(json_object_get(v, "op"));
    const json_t *ratio = json_object_get(v, "nmp_ratio"), *normal = json_object_get(v, "normal");
    int op = name ? tn__workload_find(r->workload, name) : -1;
    if (op < 0) return refuse(r, "'op' is no operator of the workload");
    if (r->out->count == TN_OPERATORS) return refuse(r, "too many operators");
    tn_placement *a = &r->out->at[r->out->count++];
    *a = (tn_placement){.op = (uint8_t)op,
                        .group = (uint8_t)r->at[0],
                        .partition = (uint8_t)r->at[1],
                        .tier = (uint8_t)r->at[2],
                        .normal = json_is_true(normal) || json_array_size(normal) > 0};
    TN_CHECK(read_channels(r, json_object_get(v, "nmp"), &a->nmp));
    a->ratio = json_is_number(ratio) ? json_number_value(ratio) : a->normal ? 0 : 1;
    return TN_OK;
}

/* The lists of one level, down to operators at level 3. */
static tn_status read_level(reader *r, const json_t *list, int level) {
    const json_t *v;
    size_t i;
    if (!json_is_array(list)) return refuse(r, "no list");
    if (json_array_size(list) > UINT8_MAX) return refuse(r, "too many members");
    json_array_foreach((json_t *)list, i, v) {
        r->at[level] = i;
        for (int inner = level + 1; inner < 4; inner++) r->at[inner] = 0;
        TN_CHECK(level == 3 ? read_operator(r, v) : read_level(r, v, level + 1));
    }
    return TN_OK;
}

tn_status tn__dataflow_read(const json_t *groups, const tn_workload *w, const tn_machine *m,
                            tn_dataflow *out, tn_error *err) {
    reader r = {.workload = w, .machine = m, .out = out, .err = err};
    *out = (tn_dataflow){0};
    return read_level(&r, groups, 0);
}

/* ---- writing -------------------------------------------------------------------------------- */

static json_t *channels_json(uint64_t set) {
    json_t *list = json_array();
    for (int c = 0; c < TN_MACHINE_CHANNELS; c++)
        if (set >> c & 1) json_array_append_new(list, json_integer(c));
    return list;
}

static json_t *normal_json(const tn_placement *a, const tn_machine *m) {
    json_t *list = json_array(), *channels;
    if (!a->normal) return list;
    channels = json_array();
    for (int c = m->near_memory.channels; c < m->memory.channels; c++)
        json_array_append_new(channels, json_integer(c));
    json_array_append_new(list, channels);
    return list;
}

static json_t *placement_json(const tn_placement *a, const tn_workload *w, const tn_machine *m) {
    const char *exec = a->nmp && a->normal ? "MIX" : a->nmp ? "NMP" : "NPU";
    return json_pack("{s:s, s:o, s:o, s:f, s:s}", "op", w->operators[a->op].name, "nmp",
                     channels_json(a->nmp), "normal", normal_json(a, m), "nmp_ratio", a->ratio,
                     "exec", exec);
}

static json_t *short_json(const tn_placement *a, const tn_workload *w, const tn_machine *m) {
    (void)m;
    return json_pack("[s, i, b, f]", w->operators[a->op].name, tn__channel_count(a->nmp), a->normal,
                     a->ratio);
}

typedef json_t *write_placement(const tn_placement *a, const tn_workload *w, const tn_machine *m);

/* The list within `list` for placement i: a new one when its level changes, else the last. */
static json_t *inner_list(json_t *list, bool fresh) {
    if (fresh) json_array_append_new(list, json_array());
    return json_array_get(list, json_array_size(list) - 1);
}

static json_t *write_dataflow(const tn_dataflow *d, const tn_workload *w, const tn_machine *m,
                              write_placement *write) {
    json_t *groups = json_array();
    for (int i = 0; i < d->count; i++) {
        const tn_placement *a = &d->at[i], *b = i ? &d->at[i - 1] : NULL;
        bool group = !b || b->group != a->group, partition = group || b->partition != a->partition,
             tier = partition || b->tier != a->tier;
        json_t *list = inner_list(inner_list(inner_list(groups, group), partition), tier);
        json_array_append_new(list, write(a, w, m));
    }
    return groups;
}

json_t *tn__dataflow_json(const tn_dataflow *d, const tn_workload *w, const tn_machine *m) {
    return write_dataflow(d, w, m, placement_json);
}

json_t *tn__dataflow_plan_json(const tn_dataflow *d, const tn_workload *w) {
    return write_dataflow(d, w, NULL, short_json);
}

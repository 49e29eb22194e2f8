/* A cost model that is a program of the user's: one JSON object a line each way (docs/machines.md). */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "machine/cost_asker.h"
#include "machine/quantities.h"

typedef struct process {
    tn_cost_asker asker;
    char line[16384];
} process;

/* ---- JSON ----------------------------------------------------------------------------------- */

static json_t *machine_json(const tn_machine *m) {
    json_t *v = json_pack("{s:s}", "name", m->name);
    for (int i = 0; i < TN_QUANTITY_COUNT; i++) {
        const tn_quantity *q = &tn__quantities[i];
        json_t *section = json_object_get(v, q->section);
        if (!section) {
            json_object_set_new(v, q->section, json_object());
            section = json_object_get(v, q->section);
        }
        json_object_set_new(section, q->member, json_real(tn_quantity_get(m, q)));
    }
    return v;
}

static json_t *query_json(const tn_cost_query *q) {
    static const char *const events[] = {"product", "mode_change", "sync"};
    json_t *v = json_pack("{s:s, s:s, s:i, s:i, s:i}", "event", events[q->event], "unit",
                          q->unit == TN_UNIT_PROCESSOR ? "processor" : "near_memory",
                          "nmp_channels", q->nmp_channels, "normal_channels", q->normal_channels,
                          "sequences", q->sequences);
    if (q->event == TN_COST_PRODUCT)
        json_object_set_new(v, "product",
                            json_pack("{s:I, s:I, s:I, s:I, s:f}", "batch",
                                      (json_int_t)q->product.batch, "m", (json_int_t)q->product.m,
                                      "n", (json_int_t)q->product.n, "k", (json_int_t)q->product.k,
                                      "element_bytes", q->product.element_bytes));
    return v;
}

/* One line out, one line in; `out` is the caller's reference. */
static tn_status exchange(process *p, json_t *question, json_t **out, tn_error *err) {
    char *text = question ? json_dumps(question, JSON_COMPACT) : NULL;
    json_error_t at;
    json_decref(question);
    if (!text) return tn_error_set(err, TN_OUT_OF_MEMORY, "no memory for a question");
    tn_status status = tn_child_write(&p->asker.child, text, strlen(text), err);
    if (!status) status = tn_child_write(&p->asker.child, "\n", 1, err);
    free(text);
    TN_CHECK(status);
    TN_CHECK(tn_child_read_line(&p->asker.child, p->line, sizeof p->line, err));
    *out = json_loads(p->line, JSON_REJECT_DUPLICATES, &at);
    if (json_is_object(*out)) return TN_OK;
    json_decref(*out);
    *out = NULL;
    return tn_error_set(err, TN_INVALID, "the model answers '%.80s', which is no JSON object",
                        p->line);
}

/* NaN, which JSON lacks, would be no number either. */
static tn_status read_answer(const json_t *v, const char *line, tn_cost *out, tn_error *err) {
    static const struct {
        const char *key;
        size_t offset;
        bool required;
    } members[] = {
#define MEMBER(name, required) {#name, offsetof(tn_cost, name), required}
        MEMBER(latency, true),      MEMBER(energy, false),      MEMBER(bytes, false),
        MEMBER(compute, false),     MEMBER(transfer, false),    MEMBER(sync, false),
        MEMBER(mac_energy, false),  MEMBER(sram_energy, false), MEMBER(dram_energy, false),
        MEMBER(link_energy, false),
#undef MEMBER
    };
    const char *failure = json_string_value(json_object_get(v, "error"));
    if (failure) return tn_error_set(err, TN_RUNTIME, "the model answers: %.200s", failure);
    for (size_t i = 0; i < TN_COUNT(members); i++) {
        const json_t *x = json_object_get(v, members[i].key);
        if (!x && !members[i].required) continue;
        if (!json_is_number(x) || json_number_value(x) < 0)
            return tn_error_set(
                err, TN_INVALID,
                "the model answers '%.80s', where '%s' is not a number of at least 0", line,
                members[i].key);
        *(double *)(void *)((char *)out + members[i].offset) = json_number_value(x);
    }
    return TN_OK;
}

/* ---- asking --------------------------------------------------------------------------------- */

static tn_status ask(tn_cost_asker *a, const tn_cost_query *q, tn_cost *out, tn_error *err) {
    process *p = (process *)a;
    json_t *answer, *question = query_json(q);
    json_object_set_new(question, "machine", machine_json(q->machine));
    if (q->before && !p->asker.separable)
        json_object_set_new(question, "before", query_json(q->before));
    TN_CHECK(exchange(p, question, &answer, err));
    tn_status status = read_answer(answer, p->line, out, err);
    json_decref(answer);
    return status;
}

/* The model introduces itself: {"name": …, "separable": …, "events": …}, each of them optional. */
tn_status tn__cost_process(const char *command, tn_cost_model *m, tn_error *err) {
    json_t *hello;
    tn_cost_asker *a;
    TN_CHECK(tn_cost_asker_new(&a, sizeof(process), m, err));
    process *p = m->state;
    a->ask = ask;
    TN_CHECK(tn_child_run(&p->asker.child, command, err));
    TN_TRY(err, exchange(p, json_pack("{s:i}", "tenon_cost", 1), &hello, err), "starting '%s'",
           command);
    const char *name = json_string_value(json_object_get(hello, "name"));
    const json_t *separable = json_object_get(hello, "separable");
    if (name) snprintf(m->name, sizeof m->name, "%.63s", name);
    m->separable = p->asker.separable = !json_is_false(separable);
    m->events = json_is_true(json_object_get(hello, "events"));
    json_decref(hello);
    return TN_OK;
}

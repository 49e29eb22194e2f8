/* Tuning records as cache entries. See tunings.h. */
#include "session/tunings.h"

#include <stdlib.h>

#include "base/io.h"
#include "base/json.h"
#include "schedule/batch_pieces.h"

#define SCHEMA "tenon.tuned/1"

enum { NAME = 80 };

/* ---- the id --------------------------------------------------------------------------------- */

static void id_name(const tn_compiler *c, char out[NAME]) {
    char text[128];
    int len = snprintf(text, sizeof text, "tenon tunings 1\n%s", c->target->name);
    tn_sha256_hex(text, (size_t)len, out);
    strcpy(out + 64, ".tunings");
}

bool tn_tunings_id(const tn_compiler *c, char id[TN_TUNING_ID]) {
    char name[NAME];
    tn_cache_entry entry;
    if (!tn_cache_usable(&c->cache)) return false;
    id_name(c, name);
    if (!tn_cache_get(&c->cache, name, &entry)) return false;
    bool known = entry.size == TN_TUNING_ID - 1;
    if (known) {
        memcpy(id, entry.data, entry.size);
        id[entry.size] = 0;
    }
    tn_cache_entry_close(&entry);
    return known;
}

/* After the records, so that whoever sees the id sees them. */
static void change_id(const tn_compiler *c, const tn_str *written, tn_str *text) {
    char name[NAME], id[TN_TUNING_ID] = "";
    (void)tn_tunings_id(c, id);
    tn_str_appendf(text, "%s %.9f\n%s", id, tn_seconds(), tn_str_text(written));
    tn_sha256_hex(text->data, text->len, id);
    id_name(c, name);
    tn_cache_put(&c->cache, name, id, TN_TUNING_ID - 1);
}

/* ---- records -------------------------------------------------------------------------------- */

static void record_name(const tn_tunings *t, const char *key, char out[NAME]) {
    char text[TN_HOST_TEXT + 256];
    int len = snprintf(text, sizeof text, "%s\n%s\n%s\n%s", SCHEMA, t->compiler->target->name,
                       t->cpu, key);
    tn_sha256_hex(text, TN_MIN((size_t)len, sizeof text - 1), out);
    strcpy(out + 64, ".tuned");
}

/* NULL: there is none that can be read. */
static json_t *read_entry(const tn_tunings *t, const char *key) {
    char name[NAME];
    tn_cache_entry entry;
    record_name(t, key, name);
    if (!tn_cache_get(&t->compiler->cache, name, &entry)) return NULL;
    json_t *json = tn_json_parse(entry.data, entry.size, 0, 0, NULL);
    tn_cache_entry_close(&entry);
    const char *schema = json_string_value(json_object_get(json, "schema"));
    if (schema && strcmp(schema, SCHEMA) == 0) return json;
    json_decref(json);
    return NULL;
}

static bool find_record(void *context, const tn_kernel_site *site, tn_schedule *record) {
    json_t *json = read_entry(context, site->key);
    bool ok = json && tn_schedule_read(record, json_object_get(json, "record"));
    json_decref(json);
    return ok;
}

bool tn_tunings_open(tn_tunings *t, const tn_compiler *c) {
    char id[TN_TUNING_ID];
    *t = (tn_tunings){.compiler = c};
    if (!tn_tunings_id(c, id)) return false;
    tn_host_cpu(t->cpu);
    return true;
}

tn_record_source tn_tunings_source(tn_tunings *t) {
    return (tn_record_source){t, find_record};
}

static json_t *record_json(const tn_tunings *t, const tn_tune_site *s) {
    json_t *record = tn_schedule_json(&s->best);
    return record ? json_pack("{s:s, s:s, s:s, s:s, s:s, s:f, s:f, s:o}", "schema", SCHEMA,
                              "kernel", s->key, "name", s->name, "target",
                              t->compiler->target->name, "cpu", t->cpu, "before_ms",
                              s->before * 1e3, "after_ms", s->after * 1e3, "record", record)
                  : NULL;
}

typedef struct put_args {
    tn_tunings t;
    const tn_tuner *tuner;
    const char *graph; /* of the piece */
    const tn_tuned_piece *piece;
    tn_str written, id; /* these and `entry` are freed outside the guard */
    char *entry;
    int count;
} put_args;

/* Ends `json`. */
static bool put_entry(put_args *x, const char *key, json_t *json) {
    char name[NAME];
    free(x->entry);
    x->entry = json ? json_dumps(json, JSON_INDENT(1)) : NULL;
    json_decref(json);
    if (!x->entry) return false;
    record_name(&x->t, key, name);
    bool ok = tn_cache_put(&x->t.compiler->cache, name, x->entry, strlen(x->entry));
    if (ok) tn_str_append(&x->written, x->entry);
    return ok;
}

static tn_status put_guarded(void *argument, tn_error *err) {
    (void)err;
    put_args *x = argument;
    for (uint32_t i = 0; i < x->tuner->sites.len; i++) {
        const tn_tune_site *s = &x->tuner->sites.data[i];
        if (s->won && put_entry(x, s->key, record_json(&x->t, s))) x->count++;
    }
    if (x->count > 0) change_id(x->t.compiler, &x->written, &x->id);
    return TN_OK;
}

static int put(const tn_compiler *c, tn_status (*what)(void *, tn_error *), put_args *x) {
    if (!tn_cache_usable(&c->cache)) return 0;
    x->t.compiler = c;
    tn_host_cpu(x->t.cpu);
    tn_str_init(&x->written);
    tn_str_init(&x->id);
    (void)tn_guard(what, x, NULL);
    tn_str_deinit(&x->written);
    tn_str_deinit(&x->id);
    free(x->entry);
    return x->count;
}

int tn_tunings_put(const tn_compiler *c, const tn_tuner *tuner) {
    put_args x = {.tuner = tuner};
    return put(c, put_guarded, &x);
}

/* ---- pieces of the batch -------------------------------------------------------------------- */

void tn_tunings_graph(const tn_graph *g, char key[TN_TUNING_GRAPH]) {
    static const char kind[] = "graph ";
    tn_str text;
    tn_str_init_with(&text, tn_arena_allocator(g->arena));
    tn_graph_print(g, false, &text);
    memcpy(key, kind, sizeof kind);
    tn_sha256_hex(text.data, text.len, key + strlen(kind));
    tn_str_deinit(&text);
}

int64_t tn_tunings_piece(const tn_tunings *t, const tn_graph *g) {
    char key[TN_TUNING_GRAPH];
    tn_tunings_graph(g, key);
    json_t *json = read_entry(t, key);
    int64_t piece = json_integer_value(json_object_get(json, "piece"));
    json_decref(json);
    return piece >= TN_PIECE_NEVER ? piece : TN_PIECE_BY_COST;
}

static tn_status put_piece_guarded(void *argument, tn_error *err) {
    (void)err;
    put_args *x = argument;
    json_t *json = json_pack("{s:s, s:s, s:s, s:s, s:f, s:f, s:I}", "schema", SCHEMA, "graph",
                             x->graph, "target", x->t.compiler->target->name, "cpu", x->t.cpu,
                             "before_ms", x->piece->before * 1e3, "after_ms", x->piece->after * 1e3,
                             "piece", (json_int_t)x->piece->piece);
    if (put_entry(x, x->graph, json)) x->count++;
    if (x->count > 0) change_id(x->t.compiler, &x->written, &x->id);
    return TN_OK;
}

bool tn_tunings_put_piece(const tn_compiler *c, const char *graph, const tn_tuned_piece *p) {
    put_args x = {.graph = graph, .piece = p};
    return put(c, put_piece_guarded, &x) > 0;
}

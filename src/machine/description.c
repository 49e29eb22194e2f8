/* A family of machines from its JSON description (docs/machines.md). The quantities of a machine are rows of
 * description.def; the lists of the space and the tables of the technology are read here. */
#include <stdio.h>

#include "base/nearest.h"
#include "base/json.h"
#include "machine/quantities.h"

#define SCHEMA "tenon.machines/1"

typedef struct reader {
    tn_machine_space *out;
    tn_error *err;
} reader;

static bool is_remark(const char *member) {
    return strcmp(member, "about") == 0 || strcmp(member, "source") == 0;
}

/* Every member of `object` is one of `known` or a remark. */
static tn_status check_members(const reader *r, const json_t *object, const char *path,
                               const char *const *known, int count) {
    const char *member;
    json_t *value;
    json_object_foreach((json_t *)object, member, value) {
        int i = 0;
        while (i < count && strcmp(known[i], member) != 0) i++;
        if (i < count || is_remark(member)) continue;
        const char *near = tn_nearest(member, known, count);
        return tn_error_set(r->err, TN_INVALID, "%s has no member '%s'%s%s%s", path, member,
                            near ? "; '" : "", near ? near : "", near ? "' is one" : "");
    }
    return TN_OK;
}

static tn_status read_section(const reader *r, const json_t *root, const char *section,
                              bool required) {
    const char *known[TN_QUANTITY_COUNT];
    int count = 0;
    const json_t *object = json_object_get(root, section);
    if (!object && !required) return TN_OK;
    if (!json_is_object(object))
        return tn_error_set(r->err, TN_INVALID, "'%s' is %s", section,
                            object ? "no object" : "missing");
    for (int i = 0; i < TN_QUANTITY_COUNT; i++) {
        const tn_quantity *q = &tn__quantities[i];
        if (strcmp(q->section, section) != 0) continue;
        known[count++] = q->member;
        char path[96];
        snprintf(path, sizeof path, "%s.%s", section, q->member);
        const json_t *v = json_object_get(object, q->member);
        double value;
        if (!v && q->required) return tn_error_set(r->err, TN_INVALID, "%s is missing", path);
        if (!v) continue;
        TN_CHECK(tn_quantity_read(v, q->dimension, path, &value, r->err));
        tn_quantity_set(&r->out->base, q, value);
    }
    return check_members(r, object, section, known, count);
}

/* ---- lists ---------------------------------------------------------------------------------- */

/* A list of at most `capacity` rows; absent: count 0. */
static tn_status list_of(const reader *r, const json_t *parent, const char *path,
                         const char *member, int capacity, const json_t **list, int *count) {
    *list = json_object_get(parent, member);
    *count = 0;
    if (!*list) return TN_OK;
    size_t size = json_array_size(*list);
    if (!json_is_array(*list) || size == 0 || size > (size_t)capacity)
        return tn_error_set(r->err, TN_INVALID, "%s.%s is no list of 1 to %d values", path, member,
                            capacity);
    *count = (int)size;
    return TN_OK;
}

static tn_status read_numbers(const reader *r, const json_t *space, const char *member,
                              tn_dimension dimension, double *out, int *count) {
    const json_t *list;
    TN_CHECK(list_of(r, space, "space", member, TN_SPACE_VALUES, &list, count));
    for (int i = 0; i < *count; i++) {
        char path[96];
        snprintf(path, sizeof path, "space.%s[%d]", member, i);
        TN_CHECK(
            tn_quantity_read(json_array_get(list, (size_t)i), dimension, path, &out[i], r->err));
    }
    return TN_OK;
}

/* One column of a row of a table. */
typedef struct column {
    const char *member;
    tn_dimension dimension;
    double *out;
} column;

static tn_status read_row(const reader *r, const json_t *row, const char *path,
                          const column *columns, int count) {
    const char *known[8];
    if (!json_is_object(row)) return tn_error_set(r->err, TN_INVALID, "%s is no object", path);
    for (int i = 0; i < count; i++) {
        char at[128];
        const json_t *v = json_object_get(row, columns[i].member);
        snprintf(at, sizeof at, "%s.%s", path, columns[i].member);
        known[i] = columns[i].member;
        if (!v) return tn_error_set(r->err, TN_INVALID, "%s is missing", at);
        TN_CHECK(tn_quantity_read(v, columns[i].dimension, at, columns[i].out, r->err));
    }
    return check_members(r, row, path, known, count);
}

static tn_status read_elements(const reader *r, const json_t *space) {
    const json_t *list;
    tn_machine_space *s = r->out;
    TN_CHECK(list_of(r, space, "space", "elements", TN_SPACE_VALUES, &list, &s->element_count));
    for (int i = 0; i < s->element_count; i++) {
        char path[64];
        double fpus;
        tn_element_choice *e = &s->elements[i];
        snprintf(path, sizeof path, "space.elements[%d]", i);
        const column columns[] = {{"fpus", TN_DIMENSION_COUNT, &fpus},
                                  {"clock", TN_DIMENSION_FREQUENCY, &e->clock},
                                  {"bandwidth", TN_DIMENSION_BANDWIDTH, &e->bandwidth}};
        TN_CHECK(read_row(r, json_array_get(list, (size_t)i), path, columns, 3));
        e->fpus = (int)fpus;
    }
    return TN_OK;
}

static tn_status read_space(const reader *r, const json_t *root) {
    static const char *const known[] = {"channels", "elements", "input_buffer", "weight_buffer",
                                        "output_buffer"};
    const json_t *space = json_object_get(root, "space");
    tn_machine_space *s = r->out;
    double channels[TN_SPACE_VALUES];
    if (!space) return TN_OK;
    if (!json_is_object(space)) return tn_error_set(r->err, TN_INVALID, "'space' is no object");
    TN_CHECK(check_members(r, space, "space", known, (int)TN_COUNT(known)));
    TN_CHECK(read_numbers(r, space, "channels", TN_DIMENSION_COUNT_OR_NONE, channels,
                          &s->channel_count));
    for (int i = 0; i < s->channel_count; i++) s->channels[i] = (int)channels[i];
    TN_CHECK(read_elements(r, space));
    TN_CHECK(read_numbers(r, space, "input_buffer", TN_DIMENSION_BYTES, s->input_buffers,
                          &s->input_buffer_count));
    TN_CHECK(read_numbers(r, space, "weight_buffer", TN_DIMENSION_BYTES, s->weight_buffers,
                          &s->weight_buffer_count));
    return read_numbers(r, space, "output_buffer", TN_DIMENSION_BYTES, s->output_buffers,
                        &s->output_buffer_count);
}

/* ---- technology ----------------------------------------------------------------------------- */

static tn_status read_clocks(const reader *r, const json_t *table) {
    tn_technology *t = &r->out->technology;
    const json_t *list;
    TN_CHECK(list_of(r, table, "technology", "clocks", TN_TECHNOLOGY_ROWS, &list, &t->clock_count));
    for (int i = 0; i < t->clock_count; i++) {
        char path[64];
        snprintf(path, sizeof path, "technology.clocks[%d]", i);
        const column columns[] = {{"clock", TN_DIMENSION_FREQUENCY, &t->clocks[i].clock},
                                  {"fpu_area", TN_DIMENSION_AREA, &t->clocks[i].fpu_area},
                                  {"mac_energy", TN_DIMENSION_ENERGY, &t->clocks[i].mac_energy}};
        TN_CHECK(read_row(r, json_array_get(list, (size_t)i), path, columns, 3));
        if (i && t->clocks[i].clock <= t->clocks[i - 1].clock)
            return tn_error_set(r->err, TN_INVALID, "%s.clock is not above the row before", path);
    }
    return TN_OK;
}

static tn_status read_links(const reader *r, const json_t *table) {
    tn_technology *t = &r->out->technology;
    const json_t *list;
    TN_CHECK(list_of(r, table, "technology", "links", TN_TECHNOLOGY_ROWS, &list, &t->link_count));
    for (int i = 0; i < t->link_count; i++) {
        char path[64];
        snprintf(path, sizeof path, "technology.links[%d]", i);
        const column columns[] = {{"bandwidth", TN_DIMENSION_BANDWIDTH, &t->links[i].bandwidth},
                                  {"area_share", TN_DIMENSION_SHARE, &t->links[i].area_share}};
        TN_CHECK(read_row(r, json_array_get(list, (size_t)i), path, columns, 2));
        if (i && t->links[i].bandwidth <= t->links[i - 1].bandwidth)
            return tn_error_set(r->err, TN_INVALID, "%s.bandwidth is not above the row before",
                                path);
    }
    return TN_OK;
}

static tn_status read_utilizations(const reader *r, const json_t *table) {
    tn_technology *t = &r->out->technology;
    const json_t *list;
    TN_CHECK(list_of(r, table, "technology", "utilizations", TN_TECHNOLOGY_ROWS, &list,
                     &t->utilization_count));
    for (int i = 0; i < t->utilization_count; i++) {
        char path[64];
        double fpus, batch;
        snprintf(path, sizeof path, "technology.utilizations[%d]", i);
        const column columns[] = {
            {"fpus", TN_DIMENSION_COUNT, &fpus},
            {"clock", TN_DIMENSION_FREQUENCY, &t->utilizations[i].clock},
            {"bandwidth", TN_DIMENSION_BANDWIDTH, &t->utilizations[i].bandwidth},
            {"batch", TN_DIMENSION_COUNT, &batch},
            {"utilization", TN_DIMENSION_SHARE, &t->utilizations[i].utilization}};
        TN_CHECK(read_row(r, json_array_get(list, (size_t)i), path, columns, 5));
        t->utilizations[i].fpus = (int)fpus;
        t->utilizations[i].batch = (int)batch;
    }
    return TN_OK;
}

static tn_status read_technology(const reader *r, const json_t *root) {
    static const char *const known[] = {"clocks", "links", "utilizations", "sram_area"};
    const json_t *table = json_object_get(root, "technology"), *area;
    if (!table) return TN_OK;
    if (!json_is_object(table))
        return tn_error_set(r->err, TN_INVALID, "'technology' is no object");
    TN_CHECK(check_members(r, table, "technology", known, (int)TN_COUNT(known)));
    TN_CHECK(read_clocks(r, table));
    TN_CHECK(read_links(r, table));
    TN_CHECK(read_utilizations(r, table));
    area = json_object_get(table, "sram_area");
    return area ? tn_quantity_read(area, TN_DIMENSION_BYTE_AREA, "technology.sram_area",
                                   &r->out->technology.sram_area, r->err)
                : TN_OK;
}

/* ---- the file ------------------------------------------------------------------------------- */

static tn_status read_root(const reader *r, const json_t *root) {
    static const char *const known[] = {"schema",      "name",       "processor", "memory",
                                        "near_memory", "technology", "space"};
    const char *schema = json_string_value(json_object_get(root, "schema")),
               *name = json_string_value(json_object_get(root, "name"));
    if (!json_is_object(root)) return tn_error_set(r->err, TN_INVALID, "the file holds no object");
    if (!schema || strcmp(schema, SCHEMA) != 0)
        return tn_error_set(r->err, TN_INVALID, "'schema' is %s%s%s; expected \"" SCHEMA "\"",
                            schema ? "\"" : "", schema ? schema : "missing", schema ? "\"" : "");
    if (!name || !*name || strlen(name) >= TN_MACHINE_NAME)
        return tn_error_set(r->err, TN_INVALID, "'name' is no text of 1 to %d bytes",
                            TN_MACHINE_NAME - 1);
    snprintf(r->out->base.name, sizeof r->out->base.name, "%s", name);
    r->out->base.near_memory.utilization = 1;
    TN_CHECK(check_members(r, root, "the file", known, (int)TN_COUNT(known)));
    TN_CHECK(read_section(r, root, "processor", true));
    TN_CHECK(read_section(r, root, "memory", true));
    TN_CHECK(read_section(r, root, "near_memory", false));
    TN_CHECK(read_technology(r, root));
    return read_space(r, root);
}

/* Channels and elements in all combinations; buffers run fastest and were checked as they were read. */
static tn_status check_space(const reader *r) {
    const tn_machine_space *s = r->out;
    int64_t count = tn_machine_space_count(s), step = TN_MAX(1, s->input_buffer_count) *
                                                      (int64_t)TN_MAX(1, s->weight_buffer_count) *
                                                      TN_MAX(1, s->output_buffer_count);
    for (int64_t i = 0; i < count; i += step) {
        tn_machine m;
        tn_machine_space_at(s, i, &m);
        TN_TRY(r->err, tn_machine_check(&m, r->err), "machine %lld of the space", (long long)i);
    }
    return TN_OK;
}

extern const char *const tn__builtin_machines[]; /* the files of machines/ */

/* NULL: no built-in machine has that name. */
static json_t *load_builtin(const char *name) {
    for (int i = 0; tn__builtin_machines[i]; i++) {
        json_t *root = json_loads(tn__builtin_machines[i], 0, NULL);
        const char *own = json_string_value(json_object_get(root, "name"));
        if (own && strcmp(own, name) == 0) return root;
        json_decref(root);
    }
    return NULL;
}

static tn_status load_file(const char *path, json_t **out, tn_error *err) {
    json_error_t at;
    *out = tn_json_read(path, JSON_REJECT_DUPLICATES, &at);
    if (!*out && at.line < 0)
        return tn_error_set(err, TN_NOT_FOUND, "no file and no built-in machine has that name");
    return *out ? TN_OK
                : tn_error_set(err, TN_INVALID, "line %d, column %d: %s", at.line, at.column,
                               at.text);
}

tn_status tn_machine_space_load(const char *path, tn_machine_space *out, tn_error *err) {
    reader r = {out, err};
    *out = (tn_machine_space){0};
    json_t *root = load_builtin(path);
    tn_status status = root ? TN_OK : load_file(path, &root, err);
    if (!status) status = read_root(&r, root);
    if (!status) status = check_space(&r);
    json_decref(root);
    if (!status) return TN_OK;
    *out = (tn_machine_space){0};
    tn_error_push(err, "%s", path);
    return status;
}

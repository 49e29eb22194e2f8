/* Workloads in the artifact's files: shape.json, the numbers of a layer, and operator_graph.json, who reads
 * whom. A graph may say sizes of its operators itself ("operator"); the names q k v qk sv o f1 f2 f3 get theirs
 * from the shape. */
#include <stdio.h>

#include "base/base.h"
#include "base/json.h"
#include "explore/workload.h"

static tn_status load(const char *path, json_t **out, tn_error *err) {
    json_error_t at;
    *out = tn_json_read(path, JSON_REJECT_DUPLICATES, &at);
    if (!*out && at.line < 0) return tn_error_set(err, TN_NOT_FOUND, "cannot open '%s'", path);
    if (!*out)
        return tn_error_set(err, TN_INVALID, "%s: line %d, column %d: %s", path, at.line, at.column,
                            at.text);
    if (json_is_object(*out)) return TN_OK;
    json_decref(*out);
    return tn_error_set(err, TN_INVALID, "%s: the file holds no object", path);
}

/* A positive integer that products of four of them keep far from overflow. */
static tn_status read_count(const json_t *object, const char *path, const char *key, int64_t *out,
                            tn_error *err) {
    const json_t *v = json_object_get(object, key);
    if (!v) return tn_error_set(err, TN_INVALID, "%s: '%s' is missing", path, key);
    if (!json_is_integer(v) || json_integer_value(v) < 1 || json_integer_value(v) > 1 << 24)
        return tn_error_set(err, TN_INVALID, "%s: '%s' is no integer from 1 to 2^24", path, key);
    *out = json_integer_value(v);
    return TN_OK;
}

/* ---- shape.json ----------------------------------------------------------------------------- */

static tn_status read_heads(const json_t *object, const char *path, tn_workload *w, tn_error *err) {
    if (w->query_heads % w->key_heads)
        return tn_error_set(err, TN_INVALID,
                            "%s: %lld query heads do not divide among %lld key heads", path,
                            (long long)w->query_heads, (long long)w->key_heads);
    if (json_object_get(object, "head_dim"))
        return read_count(object, path, "head_dim", &w->head_dim, err);
    if (w->hidden % w->query_heads)
        return tn_error_set(
            err, TN_INVALID,
            "%s: hidden_dim %lld does not divide among %lld query heads; 'head_dim' "
            "may say their width",
            path, (long long)w->hidden, (long long)w->query_heads);
    w->head_dim = w->hidden / w->query_heads;
    return TN_OK;
}

static tn_status read_shape(const json_t *object, const char *path, tn_workload *w,
                            const char **type, tn_error *err) {
    int64_t layers;
    *type = json_string_value(json_object_get(object, "type"));
    if (!*type) return tn_error_set(err, TN_INVALID, "%s: 'type' is missing", path);
    snprintf(w->name, sizeof w->name, "%s", *type);
    TN_CHECK(read_count(object, path, "layer_num", &layers, err));
    TN_CHECK(read_count(object, path, "hidden_dim", &w->hidden, err));
    TN_CHECK(read_count(object, path, "intermediate_dim", &w->intermediate, err));
    TN_CHECK(read_count(object, path, "q_head_num", &w->query_heads, err));
    TN_CHECK(read_count(object, path, "kv_head_num", &w->key_heads, err));
    w->layers = (int)layers;
    return read_heads(object, path, w, err);
}

/* ---- operator_graph.json -------------------------------------------------------------------- */

static const char *const kinds[] = {"weights", "experts", "scores", "values"};

/* Sizes that the file itself gives to operator `name`. */
static tn_status read_operator(const json_t *object, const char *path, const char *name,
                               tn_operator *o, tn_error *err) {
    const char *kind = json_string_value(json_object_get(object, "kind"));
    int64_t experts = 0, active = 0;
    int found = -1;
    for (int i = 0; kind && i < (int)TN_COUNT(kinds); i++)
        if (strcmp(kinds[i], kind) == 0) found = i;
    if (found < 0)
        return tn_error_set(err, TN_INVALID,
                            "%s: operator '%s': 'kind' is not weights, experts, scores or values",
                            path, name);
    o->kind = (tn_operator_kind)found;
    bool attention = o->kind == TN_OPERATOR_SCORES || o->kind == TN_OPERATOR_VALUES;
    if (o->kind != TN_OPERATOR_SCORES) TN_CHECK(read_count(object, path, "n", &o->n, err));
    if (o->kind != TN_OPERATOR_VALUES) TN_CHECK(read_count(object, path, "k", &o->k, err));
    if (attention) {
        TN_CHECK(read_count(object, path, "heads", &o->heads, err));
        TN_CHECK(read_count(object, path, "group", &o->group, err));
        if (json_object_get(object, "window"))
            TN_CHECK(read_count(object, path, "window", &o->window, err));
    }
    if (o->kind != TN_OPERATOR_EXPERTS) return TN_OK;
    TN_CHECK(read_count(object, path, "experts", &experts, err));
    TN_CHECK(read_count(object, path, "active", &active, err));
    if (active > experts)
        return tn_error_set(err, TN_INVALID, "%s: operator '%s': %lld of %lld experts", path, name,
                            (long long)active, (long long)experts);
    o->experts = (int)experts;
    o->active = (int)active;
    return TN_OK;
}

static tn_status add_node(const json_t *root, const char *path, const char *name, tn_workload *w,
                          tn_error *err) {
    const json_t *own = json_object_get(json_object_get(root, "operator"), name);
    if (w->count == TN_OPERATORS)
        return tn_error_set(err, TN_UNSUPPORTED, "%s: more than %d operators", path, TN_OPERATORS);
    if (strlen(name) >= TN_OPERATOR_NAME || !*name)
        return tn_error_set(err, TN_INVALID, "%s: '%.40s' is no name of 1 to %d bytes", path, name,
                            TN_OPERATOR_NAME - 1);
    if (!own) {
        if (tn__workload_add(w, name)) return TN_OK;
        return tn_error_set(
            err, TN_INVALID,
            "%s: operator '%s' is not one of q k v qk sv o f1 f2 f3, and 'operator' "
            "does not say its size",
            path, name);
    }
    tn_operator *o = &w->operators[w->count++];
    *o = (tn_operator){0};
    snprintf(o->name, sizeof o->name, "%s", name);
    return read_operator(own, path, name, o, err);
}

static int find_id(const json_int_t *ids, int count, json_int_t id) {
    for (int i = 0; i < count; i++)
        if (ids[i] == id) return i;
    return -1;
}

static tn_status read_nodes(const json_t *root, const char *path, tn_workload *w,
                            json_int_t ids[TN_OPERATORS], tn_error *err) {
    const json_t *nodes = json_object_get(root, "node");
    const char *name;
    json_t *id;
    if (!json_is_object(nodes))
        return tn_error_set(err, TN_INVALID, "%s: 'node' is no object", path);
    json_object_foreach((json_t *)nodes, name, id) {
        if (!json_is_integer(id))
            return tn_error_set(err, TN_INVALID, "%s: the id of '%s' is no integer", path, name);
        int other = find_id(ids, w->count, json_integer_value(id));
        if (other >= 0)
            return tn_error_set(err, TN_INVALID, "%s: '%s' and '%s' have the same id %lld", path,
                                w->operators[other].name, name, (long long)json_integer_value(id));
        TN_CHECK(add_node(root, path, name, w, err));
        ids[w->count - 1] = json_integer_value(id);
    }
    return TN_OK;
}

static tn_status read_edges(const json_t *root, const char *path, tn_workload *w,
                            const json_int_t ids[TN_OPERATORS], tn_error *err) {
    const json_t *edges = json_object_get(root, "edge"), *edge;
    size_t i;
    if (!json_is_array(edges)) return tn_error_set(err, TN_INVALID, "%s: 'edge' is no list", path);
    json_array_foreach((json_t *)edges, i, edge) {
        int ends[2];
        for (size_t side = 0; side < 2; side++) {
            const json_t *id = json_array_get(edge, side);
            if (json_array_size(edge) != 2 || !json_is_integer(id))
                return tn_error_set(err, TN_INVALID, "%s: edge %zu is no pair of ids", path, i);
            ends[side] = find_id(ids, w->count, json_integer_value(id));
            if (ends[side] < 0)
                return tn_error_set(err, TN_INVALID, "%s: edge %zu: no node has id %lld", path, i,
                                    (long long)json_integer_value(id));
        }
        if (ends[0] == ends[1])
            return tn_error_set(err, TN_INVALID, "%s: edge %zu: '%s' reads itself", path, i,
                                w->operators[ends[0]].name);
        w->before[ends[1]] |= 1u << ends[0];
    }
    return TN_OK;
}

static tn_status read_graph(const json_t *root, const char *path, tn_workload *w, tn_error *err) {
    static const char *const required[] = {"qk", "sv", "k", "v"};
    json_int_t ids[TN_OPERATORS] = {0};
    TN_CHECK(read_nodes(root, path, w, ids, err));
    /* A graph with sizes of its own may have attention of another form. */
    for (size_t i = 0; i < TN_COUNT(required) && !json_object_get(root, "operator"); i++)
        if (tn__workload_find(w, required[i]) < 0)
            return tn_error_set(err, TN_INVALID,
                                "%s: operator '%s' is missing; qk, sv, k and v are required", path,
                                required[i]);
    if (!w->count) return tn_error_set(err, TN_INVALID, "%s: no operators", path);
    TN_CHECK(read_edges(root, path, w, ids, err));
    TN_TRY(err, tn__workload_sort(w, err), "%s", path);
    return TN_OK;
}

tn_status tn_workload_from_graph(const char *graph_path, tn_workload *w, tn_error *err) {
    tn_workload made = *w;
    json_t *graph = NULL;
    TN_CHECK(load(graph_path, &graph, err));
    made.count = 0;
    memset(made.operators, 0, sizeof made.operators);
    memset(made.before, 0, sizeof made.before);
    tn_status status = read_graph(graph, graph_path, &made, err);
    json_decref(graph);
    if (!status) *w = made;
    return status;
}

tn_status tn_workload_from_shape(const char *shape_path, const char *graph_path, tn_workload *out,
                                 tn_error *err) {
    json_t *shape = NULL;
    const char *type;
    *out = (tn_workload){0};
    TN_CHECK(load(shape_path, &shape, err));
    tn_status status = read_shape(shape, shape_path, out, &type, err);
    if (!status && graph_path) {
        status = tn_workload_from_graph(graph_path, out, err);
    } else if (!status) {
        status = tn__workload_layer(type, out, err);
        if (status) tn_error_push(err, "%s", shape_path);
    }
    json_decref(shape);
    if (status) *out = (tn_workload){0};
    return status;
}

/* ---- order ---------------------------------------------------------------------------------- */

tn_status tn__workload_sort(tn_workload *w, tn_error *err) {
    int order[TN_OPERATORS], place[TN_OPERATORS], count = 0;
    uint32_t done = 0;
    for (bool moved = true; moved && count < w->count;) {
        moved = false;
        for (int i = 0; i < w->count && !moved; i++) {
            if (done >> i & 1 || (w->before[i] & ~done)) continue;
            place[i] = count;
            order[count++] = i;
            done |= 1u << i;
            moved = true;
        }
    }
    if (count < w->count) {
        char names[256] = "";
        size_t used = 0;
        for (int i = 0; i < w->count && used < sizeof names; i++)
            if (!(done >> i & 1))
                used += (size_t)snprintf(names + used, sizeof names - used, " %s",
                                         w->operators[i].name);
        return tn_error_set(err, TN_INVALID, "the operators%s wait for each other in a cycle",
                            names);
    }
    tn_workload sorted = *w;
    for (int i = 0; i < count; i++) {
        sorted.operators[i] = w->operators[order[i]];
        sorted.before[i] = 0;
        for (int j = 0; j < count; j++)
            if (w->before[order[i]] >> j & 1) sorted.before[i] |= 1u << place[j];
    }
    *w = sorted;
    return TN_OK;
}

/* ---- writing -------------------------------------------------------------------------------- */

static json_t *operator_json(const tn_operator *o) {
    json_t *v = json_pack("{s:s}", "kind", kinds[o->kind]);
    if (o->kind != TN_OPERATOR_SCORES) json_object_set_new(v, "n", json_integer(o->n));
    if (o->kind != TN_OPERATOR_VALUES) json_object_set_new(v, "k", json_integer(o->k));
    if (o->kind == TN_OPERATOR_SCORES || o->kind == TN_OPERATOR_VALUES) {
        json_object_set_new(v, "heads", json_integer(o->heads));
        json_object_set_new(v, "group", json_integer(o->group));
        if (o->window) json_object_set_new(v, "window", json_integer(o->window));
    }
    if (o->kind == TN_OPERATOR_EXPERTS) {
        json_object_set_new(v, "experts", json_integer(o->experts));
        json_object_set_new(v, "active", json_integer(o->active));
    }
    return v;
}

json_t *tn__workload_graph_json(const tn_workload *w) {
    json_t *nodes = json_object(), *edges = json_array(), *operators = json_object();
    for (int i = 0; i < w->count; i++) {
        json_object_set_new(nodes, w->operators[i].name, json_integer(w->count - i));
        json_object_set_new(operators, w->operators[i].name, operator_json(&w->operators[i]));
        for (int j = 0; j < i; j++)
            if (w->before[i] >> j & 1)
                json_array_append_new(edges, json_pack("[i, i]", w->count - j, w->count - i));
    }
    return json_pack("{s:o, s:o, s:o}", "node", nodes, "edge", edges, "operator", operators);
}

json_t *tn__workload_shape_json(const tn_workload *w, const char *type) {
    return json_pack("{s:s, s:i, s:I, s:I, s:I, s:I, s:I}", "type", type, "layer_num", w->layers,
                     "hidden_dim", (json_int_t)w->hidden, "intermediate_dim",
                     (json_int_t)w->intermediate, "q_head_num", (json_int_t)w->query_heads,
                     "kv_head_num", (json_int_t)w->key_heads, "head_dim", (json_int_t)w->head_dim);
}

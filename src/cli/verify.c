/* Checking one test folder. See verify.h. */
#include "cli/verify.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/json.h"
#include "cli/compounds.h"
#include "cli/values.h"
#include "import/onnx/model.h"

typedef struct checker {
    cli *c;
    const char *folder, *model_path;
    tn_arena *arena;
    cli_verdict *v;
    cli_tolerance tolerance;
    tn_model_options options;
    cli_dump dump;
    tn_model *model;
    tn_session *session;
} checker;

/* What a file of a data set holds: a tensor counts as a compound of one. */
typedef struct value {
    bool has;
    tn_import_compound value;
} value;

/* ---- what the folder holds ------------------------------------------------------------------ */

/* The operators of the model, known even where the import refuses it. */
static tn_status list_ops(checker *k, const tn_file_map *map, tn_arena *scratch, tn_error *err) {
    tn_onnx_model model;
    TN_CHECK(tn_onnx_read_model(map->data, map->size, scratch, &model, err));
    for (uint32_t i = 0; model.graph && i < model.graph->nodes.len; i++) {
        const tn_onnx_node *n = &model.graph->nodes.data[i];
        bool plain = !*n->domain || strcmp(n->domain, "ai.onnx") == 0;
        const char *op = plain ? tn_arena_strdup(k->arena, n->op)
                               : tn_arena_printf(k->arena, "%s.%s", n->domain, n->op);
        bool known = false;
        for (uint32_t j = 0; j < k->v->ops.len && !known; j++)
            known = strcmp(k->v->ops.data[j], op) == 0;
        if (!known) tn_vec_push(k->arena, &k->v->ops, op);
    }
    return TN_OK;
}

typedef struct ops_args {
    checker *k;
    tn_file_map map;
    tn_arena scratch;
} ops_args;

static tn_status ops_guarded(void *argument, tn_error *err) {
    ops_args *x = argument;
    return list_ops(x->k, &x->map, &x->scratch, err);
}

/* `path` is the folder's and a name in it: whoever made the folder must not lead out of it. */
static tn_status map_inside(const checker *k, const char *path, tn_file_map *m, tn_error *err) {
    return tn_file_map_beneath(m, k->folder, path + strlen(k->folder) + 1,
                               TN_BENEATH_SHARED | TN_BENEATH_HUB, err);
}

static tn_status check_inside(const checker *k, const char *path, tn_error *err) {
    tn_file_map m;
    TN_CHECK(map_inside(k, path, &m, err));
    tn_file_map_close(&m);
    return TN_OK;
}

static void find_ops(checker *k, const char *model_path) {
    ops_args x = {.k = k};
    if (map_inside(k, model_path, &x.map, NULL) != TN_OK) return;
    tn_arena_init(&x.scratch, tn_allocator_system());
    x.scratch.limit = tn_onnx_memory_limit(x.map.size);
    if (tn_guard(ops_guarded, &x, NULL) != TN_OK) k->v->ops.len = 0;
    tn_arena_deinit(&x.scratch);
    tn_file_map_close(&x.map);
}

/* data.json of the folder, then the command line. */
static void choose_tolerance(checker *k) {
    const cli_options *o = &k->c->options;
    cli_tolerance *t = &k->tolerance;
    *t = (cli_tolerance){1e-3, 1e-7, o->max_ulp};
    const char *path = tn_arena_printf(k->arena, "%s/data.json", k->folder);
    tn_file_map map;
    if (map_inside(k, path, &map, NULL) != TN_OK) map = (tn_file_map){0};
    json_t *data = tn_json_parse(map.data, map.size, 0, 0, NULL), *number;
    tn_file_map_close(&map);
    if ((number = json_object_get(data, "rtol")) && json_is_number(number))
        t->rtol = json_number_value(number);
    if ((number = json_object_get(data, "atol")) && json_is_number(number))
        t->atol = json_number_value(number);
    json_decref(data);
    if (!isnan(o->rtol)) t->rtol = o->rtol;
    if (!isnan(o->atol)) t->atol = o->atol;
}

static int compare_names(const void *a, const void *b) {
    const char *const *x = a, *const *y = b;
    return strverscmp(*x, *y);
}

/* Names in `folder` that begin with `prefix` and end with `suffix`, in order of their numbers. */
static cli_list list_files(checker *k, const char *folder, const char *prefix, const char *suffix) {
    TN_VEC(const char *) names = {0};
    DIR *d = opendir(folder);
    struct dirent *e;
    size_t suffix_len = strlen(suffix);
    while (d && (e = readdir(d))) {
        size_t len = strlen(e->d_name);
        if (strncmp(e->d_name, prefix, strlen(prefix)) != 0 || len < suffix_len ||
            strcmp(e->d_name + len - suffix_len, suffix) != 0)
            continue;
        tn_vec_push(k->arena, &names, tn_arena_printf(k->arena, "%s/%s", folder, e->d_name));
    }
    if (d) closedir(d);
    if (names.len) qsort(names.data, names.len, sizeof *names.data, compare_names);
    return (cli_list){names.data, (int)names.len};
}

/* ---- one data set --------------------------------------------------------------------------- */

static tn_status fail(checker *k, const char *stage, tn_error *err) {
    tn_error_format(err, k->v->reason, sizeof k->v->reason);
    if (!k->v->reason[0])
        snprintf(k->v->reason, sizeof k->v->reason, "%s", tn_status_name(err->status));
    k->v->stage = stage;
    return err->status;
}

static tn_status read_one(checker *k, const char *path, tn_import_entry *out, tn_error *err) {
    tn_import_entries values = {0};
    TN_CHECK(cli_values_read(k->arena, path, &values, err));
    if (values.len != 1)
        return tn_error_set(err, TN_UNSUPPORTED, "%s: %u arrays; one is expected", path,
                            values.len);
    *out = values.data[0];
    return TN_OK;
}

static tn_status port_info(const checker *k, bool output, int i, tn_port_info *out) {
    return output ? tn_session_output(k->session, i, out) : tn_model_input(k->model, i, out);
}

/* By the tensor's name where a port has it, else by the file's number. */
static int unit_for(const checker *k, bool output, const cli_units *units, const char *name,
                    int number) {
    tn_port_info port;
    for (uint32_t u = 0; *name && u < units->len; u++) {
        const cli_unit *unit = &units->data[u];
        if (!unit->is_compound && port_info(k, output, unit->compound.first, &port) == TN_OK &&
            strcmp(port.name, name) == 0)
            return (int)u;
    }
    return (uint32_t)number < units->len ? number : -1;
}

/* Nothing in a file tells that it is a sequence or an optional, so these go by number. */
static tn_status read_value(checker *k, const char *path, bool output, const cli_units *units,
                            int number, value *values, tn_error *err) {
    const cli_unit *unit = (uint32_t)number < units->len ? &units->data[number] : NULL;
    value v = {.has = true};
    TN_CHECK(check_inside(k, path, err));
    if (unit && unit->is_compound) {
        TN_CHECK(tn_import_compound_pb(path, unit->compound.kind, k->arena, &v.value, err));
    } else {
        tn_import_entry entry = {0};
        TN_CHECK(read_one(k, path, &entry, err));
        v.value = (tn_import_compound){entry.name, 1, TN_NEW(k->arena, tn_array)};
        v.value.tensors[0] = entry.array;
        number = unit_for(k, output, units, entry.name, number);
        if (number < 0 || units->data[number].is_compound)
            return tn_error_set(err, TN_INVALID, "%s: the model has fewer %s", path,
                                output ? "outputs" : "inputs");
    }
    values[number] = v;
    return TN_OK;
}

/* The files of a data set, one for each input or output of the model's file. */
static tn_status load_set(checker *k, const char *folder, bool output, const cli_units *units,
                          value **values, tn_error *err) {
    const char *prefix = output ? "output_" : "input_";
    cli_list files = list_files(k, folder, prefix, ".pb");
    if (files.count == 0) files = list_files(k, folder, prefix, ".npy");
    *values = TN_NEW_N(k->arena, value, units->len);
    for (int i = 0; i < files.count; i++)
        TN_CHECK(read_value(k, files.at[i], output, units, i, *values, err));
    return TN_OK;
}

/* ---- the model for one data set ------------------------------------------------------------- */

static tn_status open_model(checker *k, tn_error *err) {
    tn_session_release(k->session);
    tn_model_release(k->model);
    k->session = NULL;
    k->model = NULL;
    return tn_model_open(k->model_path, &k->options, &k->model, err);
}

static cli_units input_units(const checker *k) {
    int count;
    tn_compound *at = cli_input_compounds(k->arena, k->model, &count);
    return cli_units_of(k->arena, at, count, tn_model_input_count(k->model));
}

static cli_units output_units(const checker *k) {
    int count;
    tn_compound *at = cli_output_compounds(k->arena, k->session, &count);
    return cli_units_of(k->arena, at, count, tn_session_output_count(k->session));
}

/* A model with sequences or optionals among its inputs is compiled for those of the set. */
static tn_status bind_compounds(checker *k, const cli_units *units, const value *values,
                                tn_error *err) {
    tn_compound_binding *bound = TN_NEW_N(k->arena, tn_compound_binding, units->len);
    int count = 0;
    for (uint32_t u = 0; u < units->len; u++) {
        const tn_compound *of = &units->data[u].compound;
        if (units->data[u].is_compound && values[u].has)
            bound[count++] = cli_compound_binding(k->arena, tn_arena_strdup(k->arena, of->name),
                                                  &values[u].value);
    }
    k->options.compounds = bound;
    k->options.compound_count = count;
    return count ? open_model(k, err) : TN_OK;
}

/* ---- comparing ------------------------------------------------------------------------------ */

static const char *type_text(checker *k, const tn_array *a) {
    const char *text = tn_dtype_name(a->dtype);
    for (int i = 0; i < a->rank; i++)
        text = tn_arena_printf(k->arena, "%s%s%lld", text, i ? "," : "[", (long long)a->dim[i]);
    return tn_arena_printf(k->arena, a->rank ? "%s]" : "%s[]", text);
}

static tn_status compare_output(checker *k, int i, const tn_array *expected, const tn_buffer *got,
                                tn_error *err) {
    tn_port_info port;
    TN_CHECK(tn_session_output(k->session, i, &port));
    tn_array actual = cli_array_of(got);
    bool same = actual.dtype == expected->dtype && actual.rank == expected->rank;
    for (int a = 0; same && a < actual.rank; a++) same = actual.dim[a] == expected->dim[a];
    if (!same)
        return tn_error_set(err, TN_RUNTIME, "output '%s': expected %s, got %s", port.name,
                            type_text(k, expected), type_text(k, &actual));
    cli_difference d;
    cli_compare(expected, &actual, &k->tolerance, &d);
    k->v->max_ulp = isnan(k->v->max_ulp) ? d.max_ulp : fmax(k->v->max_ulp, d.max_ulp);
    if (d.equal) return TN_OK;
    char text[512];
    cli_difference_text(expected, &d, text, sizeof text);
    return tn_error_set(err, TN_RUNTIME, "output '%s' %s", port.name, text);
}

/* A model that is specialised for values has another graph for each data set. */
static tn_status check_nodes(checker *k, const tn_buffer *inputs, int count, tn_error *err) {
    const tn_graph *g;
    tn_model *own = NULL, *m = k->model;
    if (tn_model_need_count(m) > 0) {
        TN_CHECK(tn_model_open(k->model_path, &k->options, &own, err));
        m = own;
    }
    tn_status status = tn_model_graph(m, inputs, count, &g, err);
    if (status == TN_OK)
        status =
            cli_verify_nodes(tn_model_imported(m), &k->options, inputs, count, &k->tolerance, err);
    tn_model_release(own);
    return status;
}

static tn_status compare_unit(checker *k, const cli_unit *unit, const tn_import_compound *expected,
                              const tn_buffer *outputs, tn_error *err) {
    int count = unit->is_compound ? unit->compound.count : 1;
    tn_compound other = unit->compound;
    other.count = expected->count;
    if (count != expected->count)
        return tn_error_set(err, TN_RUNTIME, "output '%s': expected %s, got %s", other.name,
                            cli_compound_text(k->arena, &other),
                            cli_compound_text(k->arena, &unit->compound));
    for (int i = 0; i < count; i++) {
        int at = unit->compound.first + i;
        TN_CHECK(compare_output(k, at, &expected->tensors[i], &outputs[at], err));
    }
    return TN_OK;
}

/* The inputs of the program, one after the other. */
static tn_status flatten(const char *folder, const cli_units *units, const value *values,
                         tn_buffer *inputs, tn_error *err) {
    int n = 0;
    for (uint32_t u = 0; u < units->len; u++) {
        if (!values[u].has)
            return tn_error_set(err, TN_INVALID, "%s: no file for input %u", folder, u);
        for (int i = 0; i < values[u].value.count; i++)
            inputs[n++] = cli_buffer_of(&values[u].value.tensors[i]);
    }
    return TN_OK;
}

static tn_status run_set(checker *k, const char *folder, tn_error *err) {
    value *values;
    cli_units units = input_units(k);
    if (load_set(k, folder, false, &units, &values, err) != TN_OK) return fail(k, "data", err);
    if (bind_compounds(k, &units, values, err) != TN_OK) return fail(k, "model", err);
    int ins = tn_model_input_count(k->model);
    tn_buffer *inputs = TN_NEW_N(k->arena, tn_buffer, ins);
    if (flatten(folder, &units, values, inputs, err) != TN_OK) return fail(k, "data", err);
    if ((!k->session && tn_session_create(k->model, &k->session, err) != TN_OK) ||
        tn_session_bind(k->session, inputs, ins, err) != TN_OK)
        return fail(k, "run", err);
    int outs = tn_session_output_count(k->session);
    tn_buffer *outputs = TN_NEW_N(k->arena, tn_buffer, outs);
    if (tn_session_run(k->session, inputs, ins, outputs, outs, err) != TN_OK)
        return fail(k, "run", err);
    if (k->c->options.per_node && check_nodes(k, inputs, ins, err) != TN_OK)
        return fail(k, "compare", err);
    units = output_units(k);
    if (load_set(k, folder, true, &units, &values, err) != TN_OK) return fail(k, "data", err);
    for (uint32_t u = 0; u < units.len; u++)
        if (values[u].has &&
            compare_unit(k, &units.data[u], &values[u].value, outputs, err) != TN_OK)
            return fail(k, "compare", err);
    k->v->data_sets++;
    return TN_OK;
}

/* ---- the folder ----------------------------------------------------------------------------- */

static tn_status check_folder(checker *k, tn_error *err) {
    k->model_path = tn_arena_printf(k->arena, "%s/model.onnx", k->folder);
    find_ops(k, k->model_path);
    choose_tolerance(k);
    if (check_inside(k, k->model_path, err) != TN_OK || open_model(k, err) != TN_OK)
        return fail(k, "model", err);
    cli_list sets = list_files(k, k->folder, "test_data_set_", "");
    if (sets.count == 0) {
        tn_error_set(err, TN_NOT_FOUND, "%s: no test_data_set_* folder", k->folder);
        return fail(k, "data", err);
    }
    for (int i = 0; i < sets.count; i++) TN_CHECK(run_set(k, sets.at[i], err));
    return TN_OK;
}

static tn_status folder_guarded(void *argument, tn_error *err) {
    return check_folder(argument, err);
}

tn_status cli_verify_folder(cli *c, const char *path, tn_arena *arena, cli_verdict *v,
                            tn_error *err) {
    checker k = {.c = c, .folder = path, .arena = arena, .v = v};
    *v = (cli_verdict){.max_ulp = NAN};
    TN_CHECK(cli_model_options(c, &k.options, &k.dump, err));
    tn_error why = TN_ERROR_INIT;
    tn_status status = tn_guard(folder_guarded, &k, &why);
    v->ok = status == TN_OK;
    if (status != TN_OK && !v->stage) fail(&k, "run", &why);
    tn_session_release(k.session);
    tn_model_release(k.model);
    tn_str_deinit(&k.dump.stages);
    return TN_OK;
}

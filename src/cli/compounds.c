/* Binding sequences and optionals. See compounds.h. */
#include "cli/compounds.h"

#include <stdlib.h>

#include "cli/values.h"

/* ---- order ---------------------------------------------------------------------------------- */

cli_units cli_units_of(tn_arena *arena, const tn_compound *compounds, int count, int ports) {
    cli_units units = {0};
    int k = 0;
    for (int i = 0; i < ports || k < count;) {
        cli_unit unit = {.compound.first = i};
        if (k < count && compounds[k].first <= i) {
            unit = (cli_unit){true, compounds[k++]};
            i += TN_MAX(unit.compound.count, 0);
        } else {
            i++;
        }
        tn_vec_push(arena, &units, unit);
    }
    return units;
}

tn_compound *cli_input_compounds(tn_arena *arena, const tn_model *m, int *count) {
    *count = tn_model_input_compound_count(m);
    tn_compound *at = TN_NEW_N(arena, tn_compound, *count);
    for (int i = 0; i < *count; i++) (void)tn_model_input_compound(m, i, &at[i]);
    return at;
}

tn_compound *cli_output_compounds(tn_arena *arena, const tn_session *s, int *count) {
    *count = tn_session_output_compound_count(s);
    tn_compound *at = TN_NEW_N(arena, tn_compound, *count);
    for (int i = 0; i < *count; i++) (void)tn_session_output_compound(s, i, &at[i]);
    return at;
}

/* ---- words and JSON ------------------------------------------------------------------------- */

const char *cli_compound_text(tn_arena *arena, const tn_compound *of) {
    const char *kind = tn_compound_kind_name(of->kind);
    if (of->count == TN_COMPOUND_ABSENT) return tn_arena_printf(arena, "%s without a value", kind);
    if (of->count == TN_COMPOUND_UNKNOWN) return kind;
    return tn_arena_printf(arena, "%s of %d tensor%s", kind, of->count, of->count == 1 ? "" : "s");
}

json_t *cli_compounds_json(const tn_compound *at, int count) {
    static const char *const kinds[] = {"sequence", "optional", "optional sequence"};
    json_t *list = json_array();
    for (int i = 0; i < count; i++)
        json_array_append_new(list,
                              json_pack("{s:s, s:s, s:i, s:o}", "name", at[i].name, "kind",
                                        kinds[at[i].kind], "first", at[i].first, "count",
                                        at[i].count < 0 ? json_null() : json_integer(at[i].count)));
    return list;
}

/* ---- words of the command line -------------------------------------------------------------- */

static bool ends_with(const char *text, const char *end) {
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

const char *cli_compound_value(const tn_compound *of, const char *word) {
    size_t len = strlen(of->name);
    return strncmp(word, of->name, len) == 0 && word[len] == '=' ? word + len + 1 : NULL;
}

/* NAME[K]=FILE: K and the file, else -1. */
static int element_of(const tn_compound *of, const char *word, const char **file) {
    size_t len = strlen(of->name);
    char *end;
    if (strncmp(word, of->name, len) != 0 || word[len] != '[') return -1;
    if (word[len + 1] < '0' || word[len + 1] > '9') return -1;
    unsigned long k = strtoul(word + len + 1, &end, 10);
    if (end[0] != ']' || end[1] != '=' || k >= TN_COMPOUND_MOST) return -1;
    *file = end + 2;
    return (int)k;
}

/* The arrays of an archive; a single one is an optional's tensor. */
static tn_status read_arrays(tn_arena *arena, const tn_compound *of, const char *path,
                             tn_import_compound *out, tn_error *err) {
    tn_import_entries values = {0};
    bool optional = of->kind == TN_COMPOUND_OPTIONAL;
    TN_CHECK(cli_values_read(arena, path, &values, err));
    if (optional ? values.len != 1 : !ends_with(path, ".npz"))
        return tn_error_set(err, TN_INVALID, "%s: '%s' is %s; it takes %s, or -i '%s[0]=FILE' …",
                            path, of->name, tn_compound_kind_name(of->kind),
                            optional ? "one array" : "an .npz or the .pb of one", of->name);
    out->count = (int)values.len;
    out->tensors = TN_NEW_N(arena, tn_array, values.len);
    for (uint32_t i = 0; i < values.len; i++) out->tensors[i] = values.data[i].array;
    return TN_OK;
}

tn_status cli_compound_read(tn_arena *arena, const tn_compound *of, const char *value,
                            tn_import_compound *out, tn_error *err) {
    *out = (tn_import_compound){.name = of->name};
    bool empty = strcmp(value, "[]") == 0, none = strcmp(value, "none") == 0;
    if ((empty && of->kind == TN_COMPOUND_OPTIONAL) || (none && of->kind == TN_COMPOUND_SEQUENCE))
        return tn_error_set(err, TN_INVALID, "'%s' is %s; it cannot be %s", of->name,
                            tn_compound_kind_name(of->kind), value);
    if (none) out->count = TN_COMPOUND_ABSENT;
    if (empty || none) return TN_OK;
    if (ends_with(value, ".pb")) return tn_import_compound_pb(value, of->kind, arena, out, err);
    return read_arrays(arena, of, value, out, err);
}

/* ---- choosing ------------------------------------------------------------------------------- */

tn_compound_binding cli_compound_binding(tn_arena *arena, const char *name,
                                         const tn_import_compound *value) {
    int *ranks = TN_NEW_N(arena, int, TN_MAX(value->count, 0));
    for (int i = 0; i < value->count; i++) ranks[i] = value->tensors[i].rank;
    return (tn_compound_binding){name, value->count, value->count > 0 ? ranks : NULL};
}

/* --tensors NAME=N or NAME=none */
static tn_status chosen_count(cli *c, const tn_compound *of, int *count, bool *found,
                              tn_error *err) {
    const cli_list *list = &c->options.tensors;
    for (int i = 0; i < list->count; i++) {
        const char *value = cli_compound_value(of, list->at[i]);
        char *end = NULL;
        if (!value) continue;
        *found = true;
        *count = TN_COMPOUND_ABSENT;
        if (strcmp(value, "none") == 0) continue;
        long n = *value >= '0' && *value <= '9' ? strtol(value, &end, 10) : -1;
        if (n < 0 || *end || n > TN_COMPOUND_MOST)
            return cli_usage(c, err, "--tensors: '%s' is not %s=N or %s=none", list->at[i],
                             of->name, of->name);
        *count = (int)n;
    }
    return TN_OK;
}

/* NAME[0]=FILE, NAME[1]=FILE, …; leaves *out alone when there is none. */
static tn_status read_elements(cli *c, const tn_compound *of, tn_import_compound *out, bool *found,
                               tn_error *err) {
    const cli_list *words = &c->options.input;
    const char *path;
    int count = 0;
    for (int i = 0; i < words->count; i++)
        count = TN_MAX(count, element_of(of, words->at[i], &path) + 1);
    if (count == 0) return TN_OK;
    *found = true;
    out->count = count;
    out->tensors = TN_NEW_N(&c->arena, tn_array, count);
    bool *given = TN_NEW_N(&c->arena, bool, count);
    for (int i = 0; i < words->count; i++) {
        tn_import_entries values = {0};
        int k = element_of(of, words->at[i], &path);
        if (k < 0) continue;
        TN_CHECK(cli_values_read(&c->arena, path, &values, err));
        if (values.len == 1) out->tensors[k] = values.data[0].array;
        given[k] = true;
    }
    for (int k = 0; k < count; k++)
        if (!given[k])
            return tn_error_set(err, TN_INVALID, "no value for input '%s[%d]'", of->name, k);
    return TN_OK;
}

static tn_status choose_one(cli *c, const tn_compound *of, tn_compound_binding *out,
                            tn_error *err) {
    tn_import_compound value = {.name = of->name};
    bool found = false, counted = false;
    int count = 0;
    TN_CHECK(read_elements(c, of, &value, &found, err));
    for (int i = 0; i < c->options.input.count && !found; i++) {
        const char *text = cli_compound_value(of, c->options.input.at[i]);
        if (!text) continue;
        TN_CHECK(cli_compound_read(&c->arena, of, text, &value, err));
        found = true;
    }
    TN_CHECK(chosen_count(c, of, &count, &counted, err));
    if (found && counted && count != value.count)
        return cli_usage(c, err, "--tensors: '%s' is given with %d tensors", of->name, value.count);
    if (!found && !counted)
        return cli_usage(
            c, err,
            of->kind == TN_COMPOUND_OPTIONAL
                ? "input '%s' is %s: give -i '%s=FILE' or '%s=none' (or --tensors %s=1 or none)"
                : "input '%s' is %s: give -i '%s[0]=FILE' …, or '%s=[]' (or --tensors %s=N)",
            of->name, tn_compound_kind_name(of->kind), of->name, of->name, of->name);
    *out = cli_compound_binding(&c->arena, of->name, &value);
    if (!found) *out = (tn_compound_binding){of->name, count, NULL};
    out->name = tn_arena_strdup(&c->arena, of->name);
    return TN_OK;
}

bool cli_has_unbound(const tn_model *m) {
    tn_compound of;
    for (int i = 0; tn_model_input_compound(m, i, &of) == TN_OK; i++)
        if (of.count == TN_COMPOUND_UNKNOWN) return true;
    return false;
}

static tn_status check_counts(cli *c, const tn_compound *at, int count, tn_error *err) {
    for (int i = 0; i < c->options.tensors.count; i++) {
        bool known = false;
        for (int k = 0; k < count; k++)
            known |= cli_compound_value(&at[k], c->options.tensors.at[i]) != NULL;
        if (!known)
            return cli_usage(c, err,
                             "--tensors %s: the model has no such input that is a sequence or an "
                             "optional",
                             c->options.tensors.at[i]);
    }
    return TN_OK;
}

tn_status cli_compounds_choose(cli *c, const tn_model *m, tn_model_options *o, tn_error *err) {
    int count, bound = 0;
    tn_compound *at = cli_input_compounds(&c->arena, m, &count);
    TN_CHECK(check_counts(c, at, count, err));
    tn_compound_binding *bindings = TN_NEW_N(&c->arena, tn_compound_binding, count);
    for (int i = 0; i < count; i++)
        if (at[i].count == TN_COMPOUND_UNKNOWN)
            TN_CHECK(choose_one(c, &at[i], &bindings[bound++], err));
    o->compounds = bindings;
    o->compound_count = bound;
    return TN_OK;
}

/* Files and made-up values for the inputs of a model. See bind.h. */
#include "cli/bind.h"

#include <stdlib.h>

#include "base/io.h"
#include "cli/compounds.h"
#include "cli/values.h"
#include "session/session.h"

typedef struct binder {
    cli *c;
    const cli_binding *of;
    const tn_port_info *ports; /* of->ports */
    int count;
    tn_array *arrays;
    bool *bound;
} binder;

/* ---- files ---------------------------------------------------------------------------------- */

static int find_input(const binder *b, const char *name, size_t len) {
    for (int i = 0; i < b->count; i++)
        if (strlen(b->ports[i].name) == len && memcmp(b->ports[i].name, name, len) == 0) return i;
    return -1;
}

static const char *input_names(const binder *b) {
    const char *text = "";
    for (int i = 0; i < b->count; i++)
        text = tn_arena_printf(&b->c->arena, "%s%s%s", text, i ? ", " : "", b->ports[i].name);
    return text;
}

/* Types that NumPy lacks come widened. */
static tn_status set_input(binder *b, int i, const tn_array *a, const char *file, tn_error *err) {
    if (b->bound[i])
        return cli_usage(b->c, err, "%s: input '%s' is given twice", file, b->ports[i].name);
    tn_dtype want = b->ports[i].dtype;
    bool widened = a->dtype != want && a->dtype == cli_wide_dtype(want);
    b->arrays[i] = widened ? cli_values_cast(&b->c->arena, a, want) : *a;
    b->bound[i] = true;
    return TN_OK;
}

static tn_status set_next(binder *b, const tn_array *a, const char *file, tn_error *err) {
    for (int i = 0; i < b->count; i++)
        if (!b->bound[i]) return set_input(b, i, a, file, err);
    return cli_usage(b->c, err, "%s: the model has only %d input%s", file, b->count,
                     b->count == 1 ? "" : "s");
}

/* `NAME=FILE`: the part before = names an input, or the word is no file as a whole. */
static const char *split_name(const binder *b, const char *word, int *input) {
    const char *equals = strchr(word, '=');
    *input = -1;
    while (equals && *input < 0) {
        *input = find_input(b, word, (size_t)(equals - word));
        if (*input < 0) equals = strchr(equals + 1, '=');
    }
    return *input < 0 ? word : equals + 1;
}

static tn_status unknown_input(const binder *b, const char *word, tn_error *err) {
    size_t len = strcspn(word, "=");
    return cli_usage(b->c, err, "-i %s: the model has no input '%.*s'; its inputs are: %s", word,
                     (int)len, word, input_names(b));
}

/* NAME=VALUE for all tensors of a sequence or optional. */
static tn_status bind_compound(binder *b, const tn_compound *of, const char *value, tn_error *err) {
    tn_import_compound all;
    TN_CHECK(cli_compound_read(&b->c->arena, of, value, &all, err));
    if (all.count != of->count)
        return cli_usage(b->c, err, "-i %s=%s: the model is compiled for %d tensors", of->name,
                         value, of->count);
    for (int i = 0; i < all.count; i++)
        TN_CHECK(set_input(b, of->first + i, &all.tensors[i], value, err));
    return TN_OK;
}

static tn_status bind_word(binder *b, const char *word, tn_error *err) {
    int input;
    for (int i = 0; i < b->of->compound_count; i++) {
        const char *value = cli_compound_value(&b->of->compounds[i], word);
        if (value) return bind_compound(b, &b->of->compounds[i], value, err);
    }
    tn_import_entries values = {0};
    const char *path = split_name(b, word, &input);
    tn_error why = TN_ERROR_INIT;
    tn_status status = cli_values_read(&b->c->arena, path, &values, &why);
    if (status == TN_NOT_FOUND && input < 0 && strchr(word, '='))
        return unknown_input(b, word, err);
    if (status != TN_OK) {
        *err = why;
        return status;
    }
    if (input >= 0 && values.len != 1)
        return tn_error_set(err, TN_INVALID, "%s: it holds %u arrays, input '%s' takes one", path,
                            values.len, b->ports[input].name);
    if (input >= 0) return set_input(b, input, &values.data[0].array, path, err);
    for (uint32_t i = 0; i < values.len; i++) {
        const tn_import_entry *v = &values.data[i];
        int named = find_input(b, v->name, strlen(v->name));
        bool by_name = named >= 0 && !b->bound[named];
        if (values.len > 1 && named < 0)
            return tn_error_set(err, TN_INVALID, "%s: the model has no input '%s'; it has: %s",
                                path, v->name, input_names(b));
        TN_CHECK(by_name ? set_input(b, named, &v->array, path, err)
                         : set_next(b, &v->array, path, err));
    }
    return TN_OK;
}

/* ---- values that are made up ----------------------------------------------------------------- */

/* Members side by side have sizes such as 3*S: the factor, and the name behind it. */
static int64_t factor_of(const char *symbol, const char **name) {
    char *end;
    long long factor = strtoll(symbol, &end, 10);
    bool product = *symbol >= '1' && *symbol <= '9' && *end == '*';
    *name = product ? end + 1 : symbol;
    return product ? factor : 1;
}

/* The size of an open axis: what a bound input gives to the same symbol, else 1. */
static int64_t guess_size(const binder *b, const char *symbol) {
    const char *name, *other;
    int64_t factor = factor_of(symbol, &name);
    for (int i = 0; i < b->count; i++)
        for (int a = 0; b->bound[i] && a < b->ports[i].rank && a < b->arrays[i].rank; a++) {
            if (!b->ports[i].symbol[a]) continue;
            int64_t per = factor_of(b->ports[i].symbol[a], &other);
            if (strcmp(name, other) == 0) return b->arrays[i].dim[a] / per * factor;
        }
    return factor;
}

static void make_up(binder *b, int i, uint64_t seed) {
    const tn_port_info *p = &b->ports[i];
    int64_t dim[TN_MAX_RANK];
    for (int a = 0; a < p->rank; a++) {
        dim[a] = p->dim[a];
        if (dim[a] >= 0) continue;
        const char *name;
        factor_of(p->symbol[a], &name);
        dim[a] = guess_size(b, p->symbol[a]);
        tn_log_write(TN_LOG_INFO, "input '%s': size %s is taken to be %lld; --dim %s=N sets it",
                     p->name, p->symbol[a], (long long)dim[a], name);
    }
    b->arrays[i] = tn_array_new(&b->c->arena, p->dtype, p->rank, dim);
    cli_values_random(&b->arrays[i], seed, (uint64_t)i);
}

/* ---- missing ones ---------------------------------------------------------------------------- */

static const char *needs_text(const binder *b) {
    const char *text = "";
    for (int i = 0; i < b->of->need_count; i++)
        text = tn_arena_printf(&b->c->arena, "%s%s%s", text, i ? ", " : "", b->of->needs[i]);
    return text;
}

/* Whether input i's value decides shapes. */
static bool is_needed(const binder *b, int i) {
    const char *need = tn_arena_printf(&b->c->arena, "input '%s'", b->ports[i].name);
    for (int n = 0; n < b->of->need_count; n++)
        if (strcmp(b->of->needs[n], need) == 0) return true;
    return false;
}

static tn_status missing_inputs(const binder *b, bool needed_only, tn_error *err) {
    const char *text = "";
    int missing = 0;
    for (int i = 0; i < b->count; i++)
        if (!b->bound[i] && (!needed_only || is_needed(b, i)))
            text = tn_arena_printf(&b->c->arena, "%s%s'%s'", text, missing++ ? ", " : "",
                                   b->ports[i].name);
    if (b->of->need_count > 0)
        return tn_error_set(
            err, TN_INVALID,
            "no value for %s %s; the model's shapes depend on %s: give -i NAME=FILE",
            missing > 1 ? "inputs" : "input", text, needs_text(b));
    return tn_error_set(err, TN_INVALID,
                        "no value for %s %s; give -i NAME=FILE, or --random to make values up",
                        missing > 1 ? "inputs" : "input", text);
}

static tn_status parse_seed(cli *c, const char *text, uint64_t *seed, tn_error *err) {
    char *end;
    *seed = 0;
    if (!text || !*text) return TN_OK;
    *seed = strtoull(text, &end, 10);
    if (*end || *text == '-') return cli_usage(c, err, "the seed '%s' is not a whole number", text);
    return TN_OK;
}

void cli_bind_needs(cli *c, cli_binding *b, const tn_model *m) {
    b->need_count = tn_model_need_count(m);
    b->needs = TN_NEW_N(&c->arena, const char *, b->need_count);
    for (int i = 0; i < b->need_count; i++) b->needs[i] = tn_model_need(m, i);
}

tn_status cli_bind(cli *c, cli_binding *of, cli_missing missing, const char *seed_text,
                   tn_error *err) {
    uint64_t seed;
    int n = of->count;
    TN_CHECK(parse_seed(c, seed_text, &seed, err));
    binder b = {
        c, of, of->ports, n, TN_NEW_N(&c->arena, tn_array, n), TN_NEW_N(&c->arena, bool, n)};
    for (int i = 0; i < c->options.input.count; i++)
        TN_CHECK(bind_word(&b, c->options.input.at[i], err));
    bool decisive = false; /* a value that decides shapes is missing: it cannot be made up */
    of->made_up = false;
    for (int i = 0; i < n; i++) {
        of->made_up |= !b.bound[i];
        decisive |= !b.bound[i] && is_needed(&b, i);
    }
    if (decisive || (of->made_up && missing == CLI_MISSING_IS_ERROR))
        return missing_inputs(&b, missing == CLI_MISSING_RANDOM, err);
    for (int i = 0; i < n; i++)
        if (!b.bound[i]) make_up(&b, i, seed);
    of->inputs = TN_NEW_N(&c->arena, tn_buffer, n);
    for (int i = 0; i < n; i++) of->inputs[i] = cli_buffer_of(&b.arrays[i]);
    return TN_OK;
}

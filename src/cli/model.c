/* Opening models and binding their inputs. See model.h. */
#include "cli/model.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/io.h"
#include "cli/values.h"

/* ---- options -------------------------------------------------------------------------------- */

static void take_dump(void *context, const char *stage, const char *text) {
    cli_dump *d = context;
    tn_str_appendf(&d->stages, "%s%s", d->stages.len ? ", " : "", stage);
    if (strcmp(d->stage, "all") != 0 && strcmp(d->stage, stage) != 0) return;
    d->found = true;
    fprintf(stderr, "---- after %s ----\n%s\n", stage, text);
}

tn_status cli_dump_check(cli *c, const cli_dump *dump, tn_error *err) {
    if (!dump->stage || dump->found || !dump->stages.len) return TN_OK;
    return cli_usage(c, err, "--dump-after: no stage '%s'; there are: all, %s", dump->stage,
                     tn_str_text(&dump->stages));
}

static tn_status parse_dims(cli *c, tn_model_options *o, tn_error *err) {
    const cli_list *list = &c->options.dim;
    tn_dim_binding *dims = TN_NEW_N(&c->arena, tn_dim_binding, list->count);
    for (int i = 0; i < list->count; i++) {
        const char *equals = strrchr(list->at[i], '=');
        char *end = NULL;
        long long value = equals ? strtoll(equals + 1, &end, 10) : -1;
        if (!equals || equals == list->at[i] || !equals[1] || *end || value < 0)
            return cli_usage(c, err, "--dim: '%s' is not NAME=N", list->at[i]);
        dims[i].name = tn_arena_printf(&c->arena, "%.*s", (int)(equals - list->at[i]), list->at[i]);
        dims[i].value = value;
    }
    o->dims = dims;
    o->dim_count = list->count;
    return TN_OK;
}

tn_status cli_model_options(cli *c, tn_model_options *out, cli_dump *dump, tn_error *err) {
    const cli_options *o = &c->options;
    *out = (tn_model_options)TN_MODEL_OPTIONS_INIT;
    if (o->device && strcmp(o->device, "cpu") != 0)
        return cli_usage(c, err, "--device: there is no device '%s'; this build has: cpu",
                         o->device);
    if (o->threads > 4096)
        return cli_usage(c, err, "--threads: %lld are too many", (long long)o->threads);
    out->threads = (int)o->threads;
    out->mode = o->interpret ? TN_COMPILE_INTERPRET : TN_COMPILE_AUTO;
    out->no_opt = o->no_opt;
    out->no_cache = o->no_cache;
    out->no_tuned = o->no_tuned;
    *dump = (cli_dump){.stage = o->dump_after};
    tn_str_init(&dump->stages);
    if (o->dump_after) {
        out->dump = take_dump;
        out->dump_context = dump;
    }
    return parse_dims(c, out, err);
}

tn_status cli_model_open(cli *c, const char *path, cli_model *m, tn_error *err) {
    *m = (cli_model){.path = path};
    TN_CHECK(cli_model_options(c, &m->options, &m->dump, err));
    return tn_model_open(path, &m->options, &m->model, err);
}

void cli_model_close(cli_model *m) {
    tn_model_release(m->model);
    tn_str_deinit(&m->dump.stages);
    m->model = NULL;
}

/* ---- inputs --------------------------------------------------------------------------------- */

typedef struct binder {
    cli *c;
    tn_model *model;
    tn_port_info *ports;
    tn_array *arrays;
    bool *bound;
    int count;
} binder;

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
    return cli_usage(b->c, err, "%s: the model has only %d inputs", file, b->count);
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

static tn_status bind_word(binder *b, const char *word, tn_error *err) {
    int input;
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

/* The size of an open axis: what a bound input gives to the same symbol, else 1. */
static int64_t guess_size(const binder *b, const char *symbol) {
    for (int i = 0; i < b->count; i++)
        for (int a = 0; b->bound[i] && a < b->ports[i].rank && a < b->arrays[i].rank; a++)
            if (b->ports[i].symbol[a] && strcmp(b->ports[i].symbol[a], symbol) == 0)
                return b->arrays[i].dim[a];
    return 1;
}

static void make_up(binder *b, int i, uint64_t seed) {
    const tn_port_info *p = &b->ports[i];
    int64_t dim[TN_MAX_RANK];
    for (int a = 0; a < p->rank; a++) {
        dim[a] = p->dim[a];
        if (dim[a] >= 0) continue;
        dim[a] = guess_size(b, p->symbol[a]);
        tn_log_write(TN_LOG_INFO, "input '%s': size %s is taken to be %lld; --dim %s=N sets it",
                     p->name, p->symbol[a], (long long)dim[a], p->symbol[a]);
    }
    b->arrays[i] = tn_array_new(&b->c->arena, p->dtype, p->rank, dim);
    cli_values_random(&b->arrays[i], seed, (uint64_t)i);
}

static const char *needs_text(const binder *b) {
    const char *text = "";
    for (int i = 0; i < tn_model_need_count(b->model); i++)
        text = tn_arena_printf(&b->c->arena, "%s%s%s", text, i ? ", " : "",
                               tn_model_need(b->model, i));
    return text;
}

/* Whether input i's value decides shapes. */
static bool is_needed(const binder *b, int i) {
    const char *need = tn_arena_printf(&b->c->arena, "input '%s'", b->ports[i].name);
    for (int n = 0; n < tn_model_need_count(b->model); n++)
        if (strcmp(tn_model_need(b->model, n), need) == 0) return true;
    return false;
}

static tn_status missing_inputs(const binder *b, bool needed_only, tn_error *err) {
    const char *text = "";
    int missing = 0;
    for (int i = 0; i < b->count; i++)
        if (!b->bound[i] && (!needed_only || is_needed(b, i)))
            text = tn_arena_printf(&b->c->arena, "%s%s'%s'", text, missing++ ? ", " : "",
                                   b->ports[i].name);
    if (tn_model_need_count(b->model) > 0)
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

tn_status cli_model_bind(cli *c, cli_model *m, cli_missing missing, const char *seed_text,
                         tn_error *err) {
    uint64_t seed;
    TN_CHECK(parse_seed(c, seed_text, &seed, err));
    int n = tn_model_input_count(m->model);
    binder b = {c,
                m->model,
                TN_NEW_N(&c->arena, tn_port_info, n),
                TN_NEW_N(&c->arena, tn_array, n),
                TN_NEW_N(&c->arena, bool, n),
                n};
    for (int i = 0; i < n; i++)
        if (tn_model_input(m->model, i, &b.ports[i]) != TN_OK)
            return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    for (int i = 0; i < c->options.input.count; i++)
        TN_CHECK(bind_word(&b, c->options.input.at[i], err));
    bool decisive = false; /* a value that decides shapes is missing: it cannot be made up */
    m->made_up = false;
    for (int i = 0; i < n; i++) {
        m->made_up |= !b.bound[i];
        decisive |= !b.bound[i] && is_needed(&b, i);
    }
    if (decisive || (m->made_up && missing == CLI_MISSING_IS_ERROR))
        return missing_inputs(&b, missing == CLI_MISSING_RANDOM, err);
    for (int i = 0; i < n; i++)
        if (!b.bound[i]) make_up(&b, i, seed);
    m->inputs = TN_NEW_N(&c->arena, tn_buffer, n);
    for (int i = 0; i < n; i++) m->inputs[i] = cli_buffer_of(&b.arrays[i]);
    m->input_count = n;
    return TN_OK;
}

/* ---- memory --------------------------------------------------------------------------------- */

uint64_t cli_weight_bytes(const tn_artifact *a) {
    const tn_program *p = a->program;
    uint64_t bytes = p->prepared_bytes;
    uint8_t *read = calloc(p->buffers.len + 1, 1);
    if (!read) return bytes;
    for (uint32_t b = 0; b < p->blocks.len; b++)
        for (uint32_t s = 0; b != 1 && s < p->blocks.data[b].steps.len; s++) {
            const tn_prog_step *step = &p->blocks.data[b].steps.data[s];
            for (uint32_t i = 0; i < step->buffer_count; i++) read[step->buffers[i]] = 1;
        }
    for (uint32_t i = 0; i < p->buffers.len; i++) {
        const tn_prog_buffer *b = &p->buffers.data[i];
        if (read[i] && b->store == TN_STORE_WEIGHT && tn_dim_is_const(b->elements))
            bytes += (uint64_t)b->elements * tn_dtype_size(b->dtype);
    }
    free(read);
    return bytes;
}

uint64_t cli_peak_bytes(const cli_model *m, const tn_session *s) {
    tn_memory_use use = tn_instance_memory(tn_session_instance(s));
    uint64_t bytes = use.temporaries + use.outputs + use.scratch;
    for (int i = 0; i < m->input_count; i++) {
        tn_array a = cli_array_of(&m->inputs[i]);
        bytes += tn_array_bytes(&a);
    }
    return bytes + cli_weight_bytes(tn_session_artifact(s));
}

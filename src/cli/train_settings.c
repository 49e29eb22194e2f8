/* See train_settings.h. Values from a file and from the command line become assignments of text first,
 * which are read in the order: the model's name, then all the rest, the last one of a field wins. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/nearest.h"
#include "base/json.h"
#include "cli/train_settings.h"

typedef enum setting_kind { INT, REAL, FLAG, TEXT, CHOICE, INTS, JSON } setting_kind;
typedef struct setting {
    size_t offset;
    setting_kind kind;
    const char *section, *key, *choices, *help;
} setting;
static const setting table[] = {
#define SETTING(field, kind, section, key, choices, help)                                          \
    {offsetof(train_settings, field), kind, section, key, choices, help},
#include "cli/train.def"
#undef SETTING
};

/* One value; `from` is the file, or NULL for the command line. */
typedef struct assignment {
    const char *section, *key, *text, *from;
} assignment;
typedef struct reader {
    cli *c;
    train_settings *s;
    TN_VEC(assignment) list;
} reader;

/* ---- names ---------------------------------------------------------------------------------- */

static const setting *find(const char *section, const char *key) {
    for (size_t i = 0; i < TN_COUNT(table); i++)
        if (strcmp(table[i].section, section) == 0 && strcmp(table[i].key, key) == 0)
            return &table[i];
    return NULL;
}

/* Sections, or the keys of one. */
static int known_names(const train_settings *s, const char *section, const char **out) {
    const tn_model_field *f;
    int n = 0;
    for (size_t i = 0; i < TN_COUNT(table); i++) {
        if (section && strcmp(table[i].section, section) == 0) out[n++] = table[i].key;
        if (!section && (n == 0 || strcmp(out[n - 1], table[i].section) != 0))
            out[n++] = table[i].section;
    }
    for (int i = 0; section && strcmp(section, "model") == 0 && s->model.family &&
                    (f = tn_model_config_field(&s->model, i));
         i++)
        out[n++] = f->name;
    return n;
}

static tn_status unknown_name(const reader *r, const assignment *a, tn_error *err) {
    const char *known[128];
    char list[1024] = "";
    int sections = known_names(r->s, NULL, known);
    bool section = true;
    for (int i = 0; i < sections; i++) section &= strcmp(known[i], a->section) != 0;
    int count = section ? sections : known_names(r->s, a->section, known);
    const char *word = section ? a->section : a->key, *near = tn_nearest(word, known, count);
    for (int i = 0; i < count; i++)
        snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", i ? ", " : "", known[i]);
    return tn_error_set(err, TN_INVALID, "there is no %s '%.80s'%s%s%s%s; there is %s",
                        section ? "section" : "field", word, section ? "" : " in ",
                        section ? "" : a->section, near ? "; did you mean " : "", near ? near : "",
                        list);
}

/* ---- values --------------------------------------------------------------------------------- */

static tn_status expected(const char *what, const assignment *a, tn_error *err) {
    return tn_error_set(err, TN_INVALID, "%s.%s = %.80s; expected %s", a->section, a->key, a->text,
                        what);
}

/* "[1, 2]" or "1,2"; how many, -1: it is none. */
static int read_numbers(const char *text, double *out, int room) {
    int n = 0;
    text += *text == '[';
    while (*text && *text != ']') {
        char *end;
        if (n == room) return -1;
        out[n++] = strtod(text, &end);
        if (end == text || (*end && *end != ',' && *end != ']')) return -1;
        text = *end == ',' ? end + 1 : end;
    }
    return n;
}

static bool read_int(const char *text, int64_t *out) {
    char *end;
    errno = 0;
    *out = strtoll(text, &end, 10);
    return end != text && !*end && !errno && *out >= 0;
}

static bool read_choice(const char *choices, const char *word, int *out) {
    size_t size = strlen(word);
    for (int i = 0; *choices; i++) {
        size_t n = strcspn(choices, "|");
        if (n == size && memcmp(choices, word, n) == 0) {
            *out = i;
            return true;
        }
        choices += n + (choices[n] == '|');
    }
    return false;
}

static tn_status read_ints(const assignment *a, train_ints *out, tn_error *err) {
    double x[MAX_MILESTONES];
    out->count = read_numbers(a->text, x, MAX_MILESTONES);
    for (int i = 0; i < out->count; i++) {
        if (!(x[i] >= 0 && x[i] < 1e15 && x[i] == floor(x[i]))) out->count = -1;
        if (out->count > 0) out->at[i] = (int64_t)x[i];
    }
    return out->count >= 0 ? TN_OK : expected("up to 64 whole numbers in a list", a, err);
}

/* A number that was read, against the range. */
static tn_status in_range(const setting *t, const assignment *a, double x, bool read,
                          tn_error *err) {
    double least = t->kind == INT ? 0 : -INFINITY, most = INFINITY;
    char what[96];
    if (t->choices && sscanf(t->choices, "from %lf", &least) != 1)
        (void)sscanf(t->choices, "%lf to %lf", &least, &most);
    if (read && x >= least && x <= most) return TN_OK;
    const char *word = t->choices && *t->choices != 'f' ? " from " : " ";
    snprintf(what, sizeof what, "a %snumber%s%s", t->kind == INT ? "whole " : "",
             t->choices ? word : "", t->choices ? t->choices : "");
    return expected(what, a, err);
}

/* One value for all takes the place of a list. */
static void forget_list(train_settings *s, const setting *t) {
    for (int i = 0; i < TRAIN_LISTS; i++)
        if (s->lists[i].name && strcmp(strchr(s->lists[i].name, '.') + 1, t->key) == 0)
            s->lists[i].name = NULL;
}

/* The field itself is the greatest of its values, so that what 0 turns off is there for those who have it. */
static tn_status set_list(cli *c, const setting *t, const assignment *a, train_settings *s,
                          tn_error *err) {
    double *const fields[TRAIN_LISTS] = {
        [LIST_LR] = &s->lr,
        [LIST_WEIGHT_DECAY] = &s->weight_decay,
        [LIST_MOMENTUM] = &s->momentum,
        [LIST_CLIP_NORM] = &s->clip_norm,
    };
    int i = 0;
    double *field = (double *)(void *)((char *)s + t->offset);
    while (i < TRAIN_LISTS && fields[i] != field) i++;
    if (i == TRAIN_LISTS)
        return expected("a number: members differ in optimizer.lr, weight_decay, momentum and "
                        "clip_norm alone",
                        a, err);
    train_list *list = &s->lists[i];
    const char *want = cli_train_list_read(c, a->text, list);
    if (want) return expected(want, a, err);
    list->name = tn_arena_printf(&c->arena, "%s.%s", t->section, t->key);
    *field = cli_train_list_most(list);
    return TN_OK;
}

static tn_status set(const setting *t, const assignment *a, train_settings *s, tn_error *err) {
    void *field = (char *)s + t->offset;
    char *end;
    bool read;
    switch (t->kind) {
    case INT:
        read = read_int(a->text, field);
        return in_range(t, a, (double)*(int64_t *)field, read, err);
    case REAL:
        forget_list(s, t);
        *(double *)field = strtod(a->text, &end);
        read = end != a->text && !*end && isfinite(*(double *)field);
        return in_range(t, a, *(double *)field, read, err);
    case FLAG:
        *(bool *)field = strcmp(a->text, "true") == 0;
        if (*(bool *)field || strcmp(a->text, "false") == 0) return TN_OK;
        return expected("true or false", a, err);
    case CHOICE:
        return read_choice(t->choices, a->text, field) ? TN_OK : expected(t->choices, a, err);
    case INTS:
        return read_ints(a, field, err);
    case TEXT:
    case JSON:
        *(const char **)field = a->text;
        return TN_OK;
    }
    return TN_OK;
}

/* A list of the model's numbers is written without brackets there. */
static tn_status set_model(const reader *r, const assignment *a, tn_error *err) {
    size_t size = strlen(a->text);
    const char *text = a->text;
    if (find(a->section, a->key)) return TN_OK;
    if (size > 1 && text[0] == '[' && text[size - 1] == ']')
        text = tn_arena_printf(&r->c->arena, "%.*s", (int)size - 2, text + 1);
    const char *known[128];
    int count = known_names(r->s, "model", known);
    for (int i = 0; i < count; i++)
        if (strcmp(known[i], a->key) == 0) {
            r->s->classes_given |= strcmp(a->key, "classes") == 0;
            r->s->features_given |= strcmp(a->key, "features") == 0;
            TN_TRY(err, tn_model_config_set(&r->s->model, a->key, text, err), "model");
            return TN_OK;
        }
    return unknown_name(r, a, err);
}

/* ---- sources -------------------------------------------------------------------------------- */

static void add(reader *r, const char *section, const char *key, const char *text,
                const char *from) {
    tn_vec_push(&r->c->arena, &r->list, (assignment){section, key, text, from});
}

/* A JSON string stays in quotes where no text is wanted, so that it is refused there. */
static const char *text_of(reader *r, const setting *t, const json_t *value) {
    bool text = t && (t->kind == TEXT || t->kind == CHOICE || t->kind == JSON);
    if (t && t->kind == REAL && r->s->members && json_is_string(value))
        text = cli_train_is_list(json_string_value(value));
    if (text && json_is_string(value))
        return tn_arena_strdup(&r->c->arena, json_string_value(value));
    char *dump = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(17));
    if (!dump) tn_out_of_memory();
    const char *copy = tn_arena_strdup(&r->c->arena, dump);
    free(dump);
    return copy;
}

static tn_status add_section(reader *r, const char *section, const json_t *object, const char *path,
                             tn_error *err) {
    const char *key, *name = tn_arena_strdup(&r->c->arena, section);
    json_t *value;
    if (!json_is_object(object))
        return tn_error_set(err, TN_INVALID,
                            "%.80s: expected a section, which is an object with fields", section);
    json_object_foreach((json_t *)(uintptr_t)object, key, value) {
        const setting *t = find(name, key);
        assignment a = {name, tn_arena_strdup(&r->c->arena, key), text_of(r, t, value), path};
        bool list = t && strcmp(t->key, "betas") == 0 && json_is_array(value);
        if (t && t->kind == TEXT && !json_is_string(value) && !list)
            return expected("a text", &a, err);
        tn_vec_push(&r->c->arena, &r->list, a);
    }
    return TN_OK;
}

static tn_status add_file(reader *r, const char *path, tn_error *err) {
    json_error_t at;
    const char *section;
    json_t *root = tn_json_read(path, JSON_REJECT_DUPLICATES, &at), *value;
    tn_status status = TN_OK;
    if (!root && at.line < 0) return tn_error_set(err, TN_NOT_FOUND, "%s", at.text);
    if (!root)
        return tn_error_set(err, TN_INVALID, "%s:%d:%d: %s", path, at.line, at.column, at.text);
    if (!json_is_object(root))
        status = tn_error_set(err, TN_INVALID, "expected an object with sections");
    json_object_foreach(root, section, value) {
        if (status == TN_OK) status = add_section(r, section, value, path, err);
    }
    json_decref(root);
    TN_TRY(err, status, "%s", path);
    return TN_OK;
}

static void add_overrides(reader *r) {
    const cli_options *o = &r->c->options;
    if (o->data) add(r, "data", "path", o->data, NULL);
    if (o->steps) add(r, "train", "steps", o->steps, NULL);
    if (o->resume) add(r, "checkpoint", "resume", "true", NULL);
    for (int i = 0; i < o->set.count; i++) {
        char *name = tn_arena_strdup(&r->c->arena, o->set.at[i]);
        char *value = strchr(name, '='), *key;
        *value = '\0';
        key = strchr(name, '.');
        *key = '\0';
        add(r, name, key + 1, value + 1, NULL);
    }
}

/* ---- all together --------------------------------------------------------------------------- */

static tn_status assign(reader *r, const assignment *a, tn_error *err) {
    const setting *t = find(a->section, a->key);
    bool list = t && t->kind == REAL && r->s->members && cli_train_is_list(a->text);
    tn_status status = list                               ? set_list(r->c, t, a, r->s, err)
                       : t                                ? set(t, a, r->s, err)
                       : strcmp(a->section, "model") == 0 ? set_model(r, a, err)
                                                          : unknown_name(r, a, err);
    if (status == TN_OK) return status;
    if (a->from)
        tn_error_push(err, "%s", a->from);
    else
        r->c->usage = true;
    return status;
}

static tn_status read_sources(reader *r, tn_error *err) {
    const char *first = r->c->options.positional.at[0];
    size_t size = strlen(first);
    bool is_file = size > 5 && strcmp(first + size - 5, ".json") == 0;
    if (is_file)
        TN_CHECK(add_file(r, first, err));
    else
        add(r, "model", "config", first, NULL);
    add_overrides(r);
    for (uint32_t i = 0; i < r->list.len; i++)
        if (strcmp(r->list.data[i].section, "model") == 0 &&
            strcmp(r->list.data[i].key, "config") == 0)
            r->s->model_config = r->list.data[i].text;
    if (!r->s->model_config)
        return tn_error_set(err, TN_INVALID,
                            "%s: no model; expected \"model\": {\"config\": \"resnet18\"}", first);
    if (cli_is_onnx(r->s->model_config)) {
        TN_CHECK(cli_train_onnx_look(r->c, r->s->model_config, &r->s->onnx, err));
    } else {
        tn_status status = tn_model_config_find(r->s->model_config, &r->s->model, err);
        if (status != TN_OK && !is_file) r->c->usage = true;
        TN_CHECK(status);
    }
    for (uint32_t i = 0; i < r->list.len; i++) TN_CHECK(assign(r, &r->list.data[i], err));
    return TN_OK;
}

static double given(double x, double otherwise) {
    return isnan(x) ? otherwise : x;
}

static tn_status fill_optimizer(train_settings *s, tn_error *err) {
    static const tn_optimizer_options kinds[] = {TN_ADAMW_INIT, TN_ADAM_INIT, TN_SGD_INIT,
                                                 TN_LION_INIT};
    tn_optimizer_options *o = &s->optimizer;
    double betas[2];
    *o = kinds[s->optimizer_kind];
    o->epsilon = given(s->eps, o->epsilon);
    o->weight_decay = given(s->weight_decay, o->weight_decay);
    o->momentum = given(s->momentum, o->momentum);
    o->nesterov = s->nesterov;
    if (!s->betas) return TN_OK;
    bool read = read_numbers(s->betas, betas, 2) == 2;
    for (int i = 0; read && i < 2; i++) read = betas[i] >= 0 && betas[i] < 1;
    if (!read)
        return tn_error_set(err, TN_INVALID,
                            "optimizer.betas = %.80s; expected two numbers from 0 to below 1, such "
                            "as 0.9,0.95",
                            s->betas);
    o->beta1 = betas[0];
    o->beta2 = betas[1];
    return TN_OK;
}

static tn_status fill_rate(train_settings *s, tn_error *err) {
    int64_t behind = TN_MAX(1, s->steps - s->rate_warmup);
    s->rate = (tn_rate_schedule)TN_RATE_SCHEDULE_INIT;
    s->rate.kind = (tn_rate_kind)s->rate_kind;
    s->rate.rate = given(s->lr, 1e-3);
    s->rate.minimum = given(s->rate_minimum, 0);
    s->rate.warmup = s->rate_warmup;
    s->rate.period = s->rate_period ? s->rate_period : behind;
    s->rate.period_factor = TN_MAX(1, s->rate_period_factor);
    s->rate.gamma = given(s->rate_gamma, s->rate.gamma);
    s->rate.milestones = s->rate_milestones.at;
    s->rate.milestone_count = s->rate_milestones.count;
    s->rate.total = s->rate_total ? s->rate_total : s->steps;
    s->rate.decay_ratio = given(s->rate_decay_ratio, s->rate.decay_ratio);
    s->rate.curve = (tn_decay_curve)s->rate_curve;
    TN_TRY(err, tn_rate_check(&s->rate, err), "schedule");
    return TN_OK;
}

static tn_status check(cli *c, const train_settings *s, tn_error *err) {
    if (!s->data_path)
        return cli_usage(c, err, "no data; --data PATH (data.path) names a folder or a file");
    if (!s->steps) return cli_usage(c, err, "how long? --steps N (train.steps) says so");
    if (s->data_kind && (s->data_kind == DATA_IMAGES) == s->tokens)
        return tn_error_set(err, TN_INVALID, "data.kind: %s reads %s", s->model_config,
                            s->tokens ? "tokens or text" : "images");
    if (s->data_split > 0 && s->data_random)
        return tn_error_set(err, TN_INVALID,
                            "data.split cannot divide windows that begin anywhere (data.random); "
                            "data.validation names a file that is held out");
    return TN_OK;
}

/* What only one of both kinds of models has. */
static tn_status check_onnx(cli *c, const train_settings *s, tn_error *err) {
    if (s->onnx.path && s->precision)
        return tn_error_set(err, TN_INVALID,
                            "train.precision: an ONNX model computes in the types of its file");
    if (s->onnx.path) return TN_OK;
    if (s->model_frozen)
        return tn_error_set(err, TN_INVALID,
                            "model.frozen is for ONNX models; %s begins with random parameters",
                            s->model_config);
    if (c->options.out_file)
        return cli_usage(c, err,
                         "--output writes an ONNX model; parameters of %s are saved with "
                         "--checkpoint.folder DIR",
                         s->model_config);
    return TN_OK;
}

tn_status cli_train_settings(cli *c, train_settings *s, tn_error *err) {
    reader r = {.c = c, .s = s};
    tn_buffer batch[2];
    *s = (train_settings){.data_batch = 32,
                          .data_sequence = 256,
                          .accumulate = 1,
                          .log_every = 10,
                          .members = c->verb->bit == V_WIDE_TRAIN};
    for (size_t i = 0; i < TN_COUNT(table); i++)
        if (table[i].kind == REAL) *(double *)((char *)s + table[i].offset) = NAN;
    TN_CHECK(read_sources(&r, err));
    s->data_split = given(s->data_split, 0);
    cli_train_batch(s, 1, 1, batch);
    s->tokens = !tn_dtype_is_float(batch[0].dtype);
    TN_CHECK(check(c, s, err));
    TN_CHECK(check_onnx(c, s, err));
    if (!s->onnx.path) TN_TRY(err, tn_model_config_check(&s->model, err), "model");
    TN_CHECK(fill_optimizer(s, err));
    return fill_rate(s, err);
}

/* ---- the model ------------------------------------------------------------------------------ */

tn_tensor *cli_train_logits(const train_settings *s, tn_module *m, tn_tensor *x) {
    return s->onnx.path ? cli_train_onnx_logits(&s->onnx, m, x) : tn_model_logits(m, &s->model, x);
}

tn_tensor *cli_train_loss(void *context, tn_module *m, tn_tensor *const *batch) {
    train_settings *s = context;
    if (!s->onnx.path) return tn_model_loss(&s->model, m, batch);
    tn_scope *scope = tn_scope_open(tn_module_context(m));
    tn_tensor *logits = cli_train_onnx_logits(&s->onnx, m, batch[0]), *target = batch[1];
    if (s->tokens && tn_tensor_ok(logits)) {
        logits = tn_reshape(logits, TN_SHAPE(-1, tn_tensor_dim(logits, -1)));
        target = tn_reshape(target, TN_SHAPE(-1));
    }
    return tn_scope_return(scope, tn_cross_entropy(logits, target));
}

void cli_train_batch(const train_settings *s, int64_t rows, int64_t length, tn_buffer out[2]) {
    if (s->onnx.path)
        cli_train_onnx_batch(&s->onnx, rows, length, out);
    else
        tn_model_batch(&s->model, rows, length, out);
}

/* ---- help ----------------------------------------------------------------------------------- */

void cli_train_help(tn_str *out) {
    const char *section = "";
    for (size_t i = 0; i < TN_COUNT(table); i++) {
        const setting *t = &table[i];
        if (strcmp(section, t->section) != 0) tn_str_appendf(out, "\n%s\n", t->section);
        section = t->section;
        const char *mark = !t->choices ? "" : t->kind == CHOICE ? ": " : "; ";
        tn_str_appendf(out, "  %-16s %s%s%s\n", t->key, t->help, mark,
                       t->choices ? t->choices : "");
    }
}

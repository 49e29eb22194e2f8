/* Configurations: finding them by name, and their fields as text. See tenon/models.h. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "base/nearest.h"
#include "nn/models/family.h"

/* ---- names ---------------------------------------------------------------------------------- */

const char *tn_model_name(int i) {
    return i >= 0 && i < tn__model_config_count ? tn__model_configs[i].name : NULL;
}

const char *tn_model_family_name(const tn_model_config *c) {
    return c->family->name;
}

const tn_model_field *tn_model_config_field(const tn_model_config *c, int i) {
    return i >= 0 && i < c->family->field_count ? &c->family->fields[i] : NULL;
}

typedef const char *name_of(const void *context, int index);

/* Says what there is, and what may have been meant. */
static tn_status refuse_name(const char *what, const char *word, name_of *name, const void *context,
                             tn_error *err) {
    const char *known[64], *near;
    char list[TN_ERROR_TEXT] = "";
    int count = 0;
    while (count < (int)TN_COUNT(known) && (known[count] = name(context, count))) {
        size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s%s", count ? ", " : "", known[count]);
        count++;
    }
    near = tn_nearest(word, known, count);
    return tn_error_set(err, TN_NOT_FOUND, "%s '%.60s'%s%s%s; there is %s", what, word,
                        near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "", list);
}

static const char *name_of_model(const void *context, int i) {
    (void)context;
    return tn_model_name(i);
}

static const char *name_of_field(const void *config, int i) {
    const tn_model_field *f = tn_model_config_field(config, i);
    return f ? f->name : NULL;
}

tn_status tn_model_config_find(const char *name, tn_model_config *out, tn_error *err) {
    memset(out, 0, sizeof *out);
    for (int i = 0; i < tn__model_config_count; i++) {
        if (strcmp(tn__model_configs[i].name, name) != 0) continue;
        *out = tn__model_configs[i].config;
        return TN_OK;
    }
    return refuse_name("there is no model", name, name_of_model, NULL, err);
}

static const tn_model_field *find_field(const tn_model_config *c, const char *name) {
    for (int i = 0; i < c->family->field_count; i++)
        if (strcmp(c->family->fields[i].name, name) == 0) return &c->family->fields[i];
    return NULL;
}

/* ---- one field ------------------------------------------------------------------------------ */

/* A value of any kind; as large as the largest. */
typedef struct value {
    int64_t list[TN_MODEL_LIST]; /* the first: a whole number */
    double number;
    bool flag;
} value;

static bool in_range(const tn_model_field *f, double x) {
    return x >= f->least && x <= f->most;
}

static tn_status refuse(const tn_model_field *f, const char *text, tn_error *err) {
    if (f->kind == TN_MODEL_FIELD_BOOL)
        return tn_error_set(err, TN_INVALID, "%s = '%.60s'; expected true or false", f->name, text);
    const char *what[] = {"a whole number", "a number", "", "up to 8 whole numbers with commas,"};
    return tn_error_set(err, TN_INVALID, "%s = '%.60s'; expected %s from %.10g to %.10g", f->name,
                        text, what[f->kind], f->least, f->most);
}

/* Whole numbers with commas, into `out`, which ends with zeros. */
static bool parse_list(const tn_model_field *f, const char *text, int room, int64_t *out) {
    for (int n = 0; n < room; n++) {
        char *end;
        errno = 0;
        out[n] = strtoll(text, &end, 10);
        if (end == text || errno || !in_range(f, (double)out[n])) return false;
        if (room > 1 && out[n] == 0) return false;
        if (!*end) return true;
        if (*end != ',') return false;
        text = end + 1;
    }
    return false;
}

static bool parse(const tn_model_field *f, const char *text, value *out) {
    char *end;
    *out = (value){.number = 0};
    switch (f->kind) {
    case TN_MODEL_FIELD_INT:
        return parse_list(f, text, 1, out->list);
    case TN_MODEL_FIELD_LIST:
        return !*text || parse_list(f, text, TN_MODEL_LIST, out->list);
    case TN_MODEL_FIELD_FLOAT:
        out->number = strtod(text, &end);
        return end != text && !*end && in_range(f, out->number);
    case TN_MODEL_FIELD_BOOL:
        out->flag = strcmp(text, "true") == 0;
        return out->flag || strcmp(text, "false") == 0;
    }
    return false;
}

static void *at(const tn_model_config *c, const tn_model_field *f) {
    return (char *)(uintptr_t)&c->options + f->offset;
}

tn_status tn_model_config_set(tn_model_config *c, const char *field, const char *text,
                              tn_error *err) {
    const tn_model_field *f = find_field(c, field);
    value v;
    if (!f) {
        char what[80];
        snprintf(what, sizeof what, "%s has no field", c->family->name);
        return refuse_name(what, field, name_of_field, c, err);
    }
    if (!parse(f, text, &v)) return refuse(f, text, err);
    switch (f->kind) {
    case TN_MODEL_FIELD_INT:
        *(int64_t *)at(c, f) = v.list[0];
        break;
    case TN_MODEL_FIELD_LIST:
        memcpy(at(c, f), v.list, sizeof v.list);
        break;
    case TN_MODEL_FIELD_FLOAT:
        *(double *)at(c, f) = v.number;
        break;
    case TN_MODEL_FIELD_BOOL:
        *(bool *)at(c, f) = v.flag;
        break;
    }
    return TN_OK;
}

/* The shortest of 15 and 17 digits that reads back the same. */
static void print_float(double x, char *out, size_t size) {
    snprintf(out, size, "%.15g", x);
    if (strtod(out, NULL) != x) snprintf(out, size, "%.17g", x);
}

bool tn_model_config_get(const tn_model_config *c, const char *field, char *out, size_t size) {
    const tn_model_field *f = find_field(c, field);
    const int64_t *list = f ? at(c, f) : NULL;
    if (size) *out = '\0';
    if (!f || !size) return false;
    switch (f->kind) {
    case TN_MODEL_FIELD_INT:
        snprintf(out, size, "%" PRId64, *list);
        break;
    case TN_MODEL_FIELD_FLOAT:
        print_float(*(const double *)at(c, f), out, size);
        break;
    case TN_MODEL_FIELD_BOOL:
        snprintf(out, size, "%s", *(const bool *)at(c, f) ? "true" : "false");
        break;
    case TN_MODEL_FIELD_LIST:
        for (int i = 0; i < TN_MODEL_LIST && list[i]; i++) {
            size_t used = strlen(out);
            snprintf(out + used, size - used, "%s%" PRId64, i ? "," : "", list[i]);
        }
    }
    return true;
}

/* ---- all fields ----------------------------------------------------------------------------- */

static bool field_in_range(const tn_model_config *c, const tn_model_field *f) {
    const int64_t *list = at(c, f);
    if (f->kind == TN_MODEL_FIELD_FLOAT) return in_range(f, *(const double *)at(c, f));
    if (f->kind == TN_MODEL_FIELD_BOOL) return true;
    int count = f->kind == TN_MODEL_FIELD_LIST ? TN_MODEL_LIST : 1;
    for (int i = 0; i < count; i++)
        if (!in_range(f, (double)list[i])) return false;
    return true;
}

tn_status tn_model_config_check(const tn_model_config *c, tn_error *err) {
    if (!c->family)
        return tn_error_set(err, TN_INVALID,
                            "the configuration has no model; begin with tn_model_config_find");
    for (int i = 0; i < c->family->field_count; i++) {
        const tn_model_field *f = &c->family->fields[i];
        char text[256];
        if (field_in_range(c, f)) continue;
        tn_model_config_get(c, f->name, text, sizeof text);
        TN_TRY(err, refuse(f, text, err), "%s", c->family->name);
    }
    TN_TRY(err, c->family->check(&c->options, err), "%s", c->family->name);
    return TN_OK;
}

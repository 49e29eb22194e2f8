/* The option parser of all verbs: options.def is its table.
 *
 * Long options take their argument after `=` or as the next word, short ones in the same word or
 * the next. `--` ends the options. */
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/nearest.h"
#include "cli/output.h"
#include "cli/train_settings.h"

enum { HELP_COLUMN = 20 }; /* width of names in --help */

typedef enum option_kind { FLAG, COUNT, INT, REAL, TEXT, OPTIONAL, LIST } option_kind;

typedef struct option {
    size_t offset;
    option_kind kind;
    const char *name;
    char letter;
    const char *argument;
    unsigned verbs;
    const char *help;
} option;

static const option table[] = {
#define OPTION(field, kind, name, letter, argument, verbs, help)                                   \
    {offsetof(cli_options, field), kind, name, letter, argument, verbs, help},
#include "cli/options.def"
#undef OPTION
};

tn_status cli_usage(cli *c, tn_error *err, const char *format, ...) {
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    c->usage = true;
    return tn_error_set(err, TN_INVALID, "%s", text);
}

static tn_status unknown_option(cli *c, const char *word, const char *name, tn_error *err) {
    const char *names[TN_COUNT(table)];
    int count = 0;
    for (size_t i = 0; i < TN_COUNT(table); i++)
        if (table[i].verbs & c->verb->bit) names[count++] = table[i].name;
    const char *near = strlen(name) > 1 ? tn_nearest(name, names, count) : NULL;
    if (near) return cli_usage(c, err, "unknown option %s; did you mean --%s?", word, near);
    return cli_usage(c, err, "unknown option %s; tenon %s --help lists what there is", word,
                     c->verb->name);
}

/* ---- parsing -------------------------------------------------------------------------------- */

static const option *find_long(const cli *c, const char *name, size_t len) {
    for (size_t i = 0; i < TN_COUNT(table); i++)
        if ((table[i].verbs & c->verb->bit) && strlen(table[i].name) == len &&
            memcmp(table[i].name, name, len) == 0)
            return &table[i];
    return NULL;
}

static const option *find_short(const cli *c, char letter) {
    for (size_t i = 0; i < TN_COUNT(table); i++)
        if ((table[i].verbs & c->verb->bit) && letter && table[i].letter == letter)
            return &table[i];
    return NULL;
}

static void list_add(cli *c, cli_list *list, const char *text) {
    const char **more = TN_NEW_N(&c->arena, const char *, list->count + 1);
    if (list->count) memcpy(more, list->at, (size_t)list->count * sizeof *more);
    more[list->count++] = text;
    list->at = more;
}

static bool parse_int(const char *text, int64_t *out) {
    char *end;
    errno = 0;
    *out = strtoll(text, &end, 10);
    return *text && !*end && !errno && *out > 0;
}

static bool parse_real(const char *text, double *out) {
    char *end;
    *out = strtod(text, &end);
    return *text && !*end && *out >= 0;
}

/* `value` NULL: none was given. */
static tn_status set_option(cli *c, const option *o, const char *value, tn_error *err) {
    void *field = (char *)&c->options + o->offset;
    switch (o->kind) {
    case FLAG:
        *(bool *)field = true;
        break;
    case COUNT:
        ++*(int *)field;
        break;
    case INT:
        if (!parse_int(value, field))
            return cli_usage(c, err, "--%s: '%s' is not a whole number from 1", o->name, value);
        break;
    case REAL:
        if (!parse_real(value, field))
            return cli_usage(c, err, "--%s: '%s' is not a number of 0 or more", o->name, value);
        break;
    case TEXT:
        *(const char **)field = value;
        break;
    case OPTIONAL:
        *(const char **)field = value ? value : "";
        break;
    case LIST:
        list_add(c, field, value);
        break;
    }
    return TN_OK;
}

static bool takes_argument(const option *o) {
    return o->argument && o->kind != OPTIONAL;
}

static tn_status parse_long(cli *c, char **argv, int argc, int *i, tn_error *err) {
    const char *word = argv[*i], *name = word + 2;
    size_t len = strcspn(name, "=");
    const char *value = name[len] ? name + len + 1 : NULL;
    const option *o = find_long(c, name, len);
    bool field = !o && (c->verb->bit & (V_TRAIN | V_WIDE_TRAIN)) && memchr(name, '.', len);
    if (field) o = find_long(c, "SECTION.KEY", strlen("SECTION.KEY"));
    if (!o) return unknown_option(c, word, tn_arena_printf(&c->arena, "%.*s", (int)len, name), err);
    if (value && !o->argument) return cli_usage(c, err, "--%s takes no value", o->name);
    if (value && !*value && o->kind == OPTIONAL)
        return cli_usage(c, err, "--%s= is without its %s", o->name, o->argument);
    if (!value && takes_argument(o)) {
        if (*i + 1 >= argc) return cli_usage(c, err, "--%s needs %s", o->name, o->argument);
        value = argv[++*i];
    }
    if (field) value = tn_arena_printf(&c->arena, "%.*s=%s", (int)len, name, value);
    return set_option(c, o, value, err);
}

static tn_status parse_short(cli *c, char **argv, int argc, int *i, tn_error *err) {
    for (const char *p = argv[*i] + 1; *p; p++) {
        const option *o = find_short(c, *p);
        if (!o) return unknown_option(c, argv[*i], p, err);
        if (!takes_argument(o)) {
            TN_CHECK(set_option(c, o, NULL, err));
            continue;
        }
        if (!p[1] && *i + 1 >= argc) return cli_usage(c, err, "-%c needs %s", *p, o->argument);
        return set_option(c, o, p[1] ? p + 1 : argv[++*i], err);
    }
    return TN_OK;
}

static tn_status check_positional(cli *c, tn_error *err) {
    const cli_verb *v = c->verb;
    int n = c->options.positional.count;
    if (n < v->least)
        return cli_usage(c, err, "%s is missing; tenon %s --help tells more", v->positional,
                         v->name);
    if (v->most >= 0 && n > v->most)
        return cli_usage(c, err, "'%s' is one argument too many; usage: tenon %s [OPTION]… %s",
                         c->options.positional.at[v->most], v->name, v->positional);
    return TN_OK;
}

tn_status cli_parse(cli *c, int argc, char **argv, tn_error *err) {
    for (size_t i = 0; i < TN_COUNT(table); i++)
        if (table[i].kind == REAL) *(double *)((char *)&c->options + table[i].offset) = NAN;
    bool options_end = false;
    for (int i = 0; i < argc; i++) {
        if (options_end || argv[i][0] != '-' || !argv[i][1])
            list_add(c, &c->options.positional, argv[i]);
        else if (strcmp(argv[i], "--") == 0)
            options_end = true;
        else if (argv[i][1] == '-')
            TN_CHECK(parse_long(c, argv, argc, &i, err));
        else
            TN_CHECK(parse_short(c, argv, argc, &i, err));
    }
    return c->options.help ? TN_OK : check_positional(c, err);
}

/* ---- help ----------------------------------------------------------------------------------- */

void cli_help(const cli *c, tn_str *out) {
    const cli_verb *v = c->verb;
    tn_str_appendf(out, "usage: tenon %s [OPTION]…%s%s\n\n%s.\n", v->name,
                   *v->positional ? " " : "", v->positional, v->summary);
    if (v->text) tn_str_appendf(out, "%s\n", v->text);
    tn_str_append(out, "\n");
    for (size_t i = 0; i < TN_COUNT(table); i++) {
        const option *o = &table[i];
        char name[64];
        if (!(o->verbs & v->bit)) continue;
        const char *format = !o->argument ? "--%s" : o->kind == OPTIONAL ? "--%s[=%s]" : "--%s %s";
        snprintf(name, sizeof name, format, o->name, o->argument ? o->argument : "");
        int pad = TN_MAX(0, HELP_COLUMN - cli_text_width(name));
        if (o->letter)
            tn_str_appendf(out, "  -%c, ", o->letter);
        else
            tn_str_append(out, "      ");
        tn_str_appendf(out, "%s%*s %s\n", name, pad, "", o->help);
    }
    if (v->bit & (V_TRAIN | V_WIDE_TRAIN)) cli_train_help(out);
}

/* Values that members of a population have for themselves. See train_settings.h. */
#include <math.h>
#include <stdlib.h>

#include "cli/train_settings.h"

enum { MOST_MEMBERS = 65536 };

bool cli_train_is_list(const char *text) {
    return strpbrk(text, ",:[") != NULL;
}

/* Numbers with `separator` between them; false: they are not. */
static bool read_numbers(cli *c, const char *text, char separator, train_list *out) {
    int room = 2;
    for (const char *p = text; *p; p++) room += *p == separator;
    out->at = TN_NEW_N(&c->arena, double, room);
    for (out->count = 0;; text++) {
        char *end;
        double x = strtod(text, &end);
        if (end == text || !(x >= 0 && x < INFINITY)) return false;
        out->at[out->count++] = x;
        text = end;
        if (*text != separator) break;
    }
    return *text == '\0';
}

static const char *read_range(cli *c, const char *text, train_list *out) {
    static const char *const form =
        "a range FIRST:LAST of numbers from 0, or FIRST:LAST:log of numbers above 0";
    size_t size = strlen(text);
    out->range = true;
    out->logarithmic = size > 4 && strcmp(text + size - 4, ":log") == 0;
    if (out->logarithmic) text = tn_arena_printf(&c->arena, "%.*s", (int)size - 4, text);
    if (!read_numbers(c, text, ':', out) || out->count != 2) return form;
    return out->logarithmic && !(out->at[0] > 0 && out->at[1] > 0) ? form : NULL;
}

const char *cli_train_list_read(cli *c, const char *text, train_list *out) {
    size_t size = strlen(text);
    *out = (train_list){0};
    if (strchr(text, ':')) return read_range(c, text, out);
    if (size > 1 && text[0] == '[' && text[size - 1] == ']')
        text = tn_arena_printf(&c->arena, "%.*s", (int)size - 2, text + 1);
    return read_numbers(c, text, ',', out) ? NULL
                                           : "numbers from 0 with commas between, one a member";
}

double cli_train_list_most(const train_list *l) {
    double most = 0;
    for (int i = 0; i < l->count; i++) most = fmax(most, l->at[i]);
    return most;
}

double cli_train_list_value(const train_list *l, int i, int n) {
    if (!l->range) return l->at[i];
    if (i == 0 || i == n - 1) return l->at[i > 0];
    double part = (double)i / (n - 1);
    if (l->logarithmic) return l->at[0] * pow(l->at[1] / l->at[0], part);
    return l->at[0] + (l->at[1] - l->at[0]) * part;
}

tn_status cli_train_members(cli *c, const train_settings *s, int *out, tn_error *err) {
    const train_list *first = NULL;
    *out = 0;
    if (c->options.n) {
        char *end;
        long n = strtol(c->options.n, &end, 10);
        if (end == c->options.n || *end || n < 1 || n > MOST_MEMBERS)
            return cli_usage(c, err, "--n %s: expected a number of members, 1 to %d", c->options.n,
                             MOST_MEMBERS);
        *out = (int)n;
    }
    for (int i = 0; i < TRAIN_LISTS; i++) {
        const train_list *l = &s->lists[i];
        if (!l->name || l->range) continue;
        if (*out == 0) *out = l->count, first = l;
        if (l->count == *out) continue;
        return cli_usage(c, err, "%s has %d values for %d members (%s%s)", l->name, l->count, *out,
                         first ? first->name : "--n ", first ? "" : c->options.n);
    }
    if (*out) return TN_OK;
    return cli_usage(c, err,
                     "how many members? --n N, or a list such as --optimizer.lr 1e-3,1e-2 says so");
}

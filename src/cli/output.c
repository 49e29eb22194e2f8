/* Tables, colours, numbers and JSON. See output.h. */
#include "cli/output.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

const char *cli_style_on(const cli *c, cli_style style) {
    static const char *const codes[] = {
        [CLI_PLAIN] = "\033[0m", [CLI_BOLD] = "\033[1m",   [CLI_DIM] = "\033[2m",
        [CLI_RED] = "\033[31m",  [CLI_GREEN] = "\033[32m", [CLI_YELLOW] = "\033[33m",
        [CLI_CYAN] = "\033[36m",
    };
    return c->color ? codes[style] : "";
}

/* ---- numbers -------------------------------------------------------------------------------- */

static const char *scaled(cli *c, double value, double base, const char *const *units, int count) {
    int u = 0;
    while (fabs(value) >= base && u + 1 < count) {
        value /= base;
        u++;
    }
    if (u == 0) return tn_arena_printf(&c->arena, "%.0f%s", value, units[0]);
    int digits = fabs(value) < 10 ? 2 : fabs(value) < 100 ? 1 : 0;
    return tn_arena_printf(&c->arena, "%.*f%s", digits, value, units[u]);
}

const char *cli_bytes(cli *c, double bytes) {
    static const char *const units[] = {" B", " KiB", " MiB", " GiB", " TiB"};
    return scaled(c, bytes, 1024, units, 5);
}

const char *cli_si(cli *c, double value) {
    static const char *const units[] = {"", " K", " M", " G", " T", " P"};
    return scaled(c, value, 1000, units, 6);
}

const char *cli_time(cli *c, double seconds) {
    static const char *const units[] = {"ns", "µs", "ms"};
    double value = seconds * 1e9;
    int u = 0;
    while (value >= 1000 && u < 3) {
        value /= 1000;
        u++;
    }
    int digits = value < 10 ? 2 : value < 100 ? 1 : 0;
    return tn_arena_printf(&c->arena, "%.*f %s", digits, value, u < 3 ? units[u] : "s");
}

const char *cli_shortest(cli *c, double value) {
    char digits[32];
    int exponent, precision = 0;
    if (!isfinite(value)) return isnan(value) ? "nan" : value < 0 ? "-inf" : "inf";
    do snprintf(digits, sizeof digits, "%.*e", precision, value);
    while (strtod(digits, NULL) != value && ++precision < 17);
    exponent = atoi(strchr(digits, 'e') + 1);
    if (exponent < -4 || exponent >= 16) return tn_arena_strdup(&c->arena, digits);
    return tn_arena_printf(&c->arena, "%.*f", TN_MAX(precision - exponent, 1), value);
}

const char *cli_type_text(cli *c, tn_dtype dtype, int rank, const int64_t *dim) {
    tn_str s;
    tn_str_init_with(&s, c->arena.allocator);
    tn_str_appendf(&s, "%s[", tn_dtype_name(dtype));
    for (int i = 0; i < rank; i++) tn_str_appendf(&s, i ? ",%lld" : "%lld", (long long)dim[i]);
    tn_str_append(&s, "]");
    const char *text = tn_arena_strdup(&c->arena, tn_str_text(&s));
    tn_str_deinit(&s);
    return text;
}

/* ---- tables --------------------------------------------------------------------------------- */

cli_table cli_table_of(cli *c, const char *align, bool heading) {
    return (cli_table){.c = c, .columns = (int)strlen(align), .align = align, .heading = heading};
}

void cli_table_cell(cli_table *t, const char *format, ...) {
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    tn_arena *arena = &t->c->arena;
    tn_vec_push(arena, &t->cells, tn_arena_strdup(arena, text));
}

int cli_text_width(const char *text) {
    int width = 0;
    for (; *text; text++) width += ((unsigned char)*text & 0xC0) != 0x80;
    return width;
}

void cli_table_print(const cli_table *t) {
    int width[16] = {0};
    uint32_t columns = (uint32_t)TN_MIN(t->columns, 16);
    for (uint32_t i = 0; i < t->cells.len; i++)
        width[i % columns] = TN_MAX(width[i % columns], cli_text_width(t->cells.data[i]));
    for (uint32_t i = 0; i < t->cells.len; i++) {
        uint32_t column = i % columns;
        const char *text = t->cells.data[i];
        bool head = t->heading && i < columns, right = t->align[column] == 'r';
        int blanks = width[column] - cli_text_width(text);
        if (column + 1 == columns && !right) blanks = 0;
        printf("%s%s%*s%s%*s%s", column ? "  " : "", head ? cli_style_on(t->c, CLI_BOLD) : "",
               right ? blanks : 0, "", text, right ? 0 : blanks, "", head ? CLI_OFF(t->c) : "");
        if (column + 1 == columns) putchar('\n');
    }
}

/* ---- JSON ----------------------------------------------------------------------------------- */

static tn_status print_json(json_t *value, size_t flags, tn_error *err) {
    char *text = value ? json_dumps(value, flags) : NULL;
    json_decref(value);
    if (!text)
        return tn_error_set(err, TN_INVALID,
                            "the answer cannot be written as JSON: a name is not valid UTF-8, or "
                            "memory ran out");
    puts(text);
    free(text);
    return TN_OK;
}

tn_status cli_json(cli *c, json_t *value, tn_error *err) {
    size_t indent = isatty(STDOUT_FILENO) ? JSON_INDENT(2) : 0;
    (void)c;
    return print_json(value, indent | JSON_REAL_PRECISION(9), err);
}

tn_status cli_json_exact(cli *c, json_t *value, tn_error *err) {
    (void)c;
    return print_json(value, JSON_REAL_PRECISION(17), err);
}

tn_status cli_json_line(cli *c, json_t *value, tn_error *err) {
    (void)c;
    return print_json(value, JSON_REAL_PRECISION(9), err);
}

json_t *cli_json_number(double value) {
    if (!isfinite(value)) return json_null();
    if (value == nearbyint(value) && fabs(value) < 9e15) return json_integer((json_int_t)value);
    return json_real(value);
}

/* Commas inside of brackets belong to the item. */
json_t *cli_json_split(const char *list) {
    json_t *array = json_array();
    for (const char *p = list ? list : ""; *p;) {
        p += strspn(p, ", ");
        int depth = 0;
        const char *begin = p;
        for (; *p && (depth > 0 || *p != ','); p++) {
            depth += *p == '(' || *p == '[';
            depth -= *p == ')' || *p == ']';
        }
        if (p > begin) json_array_append_new(array, json_stringn(begin, (size_t)(p - begin)));
    }
    return array;
}

tn_status cli_flush(tn_error *err) {
    if (fflush(stdout) == 0 && !ferror(stdout)) return TN_OK;
    return tn_error_set(err, TN_IO, "cannot write to standard output: %s", strerror(errno));
}

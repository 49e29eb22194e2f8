/* Printing: tables, colours, sizes in words, JSON. */
#ifndef TENON_CLI_OUTPUT_H
#define TENON_CLI_OUTPUT_H

#include <jansson.h>

#include "cli/cli.h"

/* The escape sequence of a style, or "" when standard output has no colours. */
typedef enum cli_style {
    CLI_PLAIN,
    CLI_BOLD,
    CLI_DIM,
    CLI_RED,
    CLI_GREEN,
    CLI_YELLOW,
    CLI_CYAN
} cli_style;
const char *cli_style_on(const cli *c, cli_style style);
#define CLI_OFF(c) cli_style_on((c), CLI_PLAIN)

/* Numbers for people, in the arena: "1.5 MiB", "2.43 G", "1.23 ms". */
const char *cli_bytes(cli *c, double bytes);
const char *cli_si(cli *c, double value);
const char *cli_time(cli *c, double seconds);
/* The shortest text that reads back as `value`, as Python's repr writes it: "0.1", "1e-05", "3.0". */
const char *cli_shortest(cli *c, double value);
/* "f32[2,3]" */
const char *cli_type_text(cli *c, tn_dtype dtype, int rank, const int64_t *dim);

/* Columns that UTF-8 text takes, as far as it holds no wide characters. */
int cli_text_width(const char *text);

/* A table of text; cells are copied, column widths found when it is printed. */
typedef struct cli_table {
    cli *c;
    int columns;
    const char *align; /* one letter a column: l or r */
    TN_VEC(const char *) cells;
    bool heading; /* the first row is one */
} cli_table;
cli_table cli_table_of(cli *c, const char *align, bool heading);
void cli_table_cell(cli_table *t, const char *format, ...) TN_PRINTF(2, 3);
void cli_table_print(const cli_table *t);

/* Prints one value as one line (or indented on a terminal) and drops it. `value` may be NULL:
 * jansson's functions pass a failed allocation, or a text that is not UTF-8, on. */
tn_status cli_json(cli *c, json_t *value, tn_error *err);
/* The same in one line, with all digits of its numbers. */
tn_status cli_json_exact(cli *c, json_t *value, tn_error *err);
/* The same, always in one line. */
tn_status cli_json_line(cli *c, json_t *value, tn_error *err);
/* NaN and infinities, which JSON lacks, become null. */
json_t *cli_json_number(double value);
/* "a, b" as an array of texts. */
json_t *cli_json_split(const char *list);

/* Standard output was written without an error. */
tn_status cli_flush(tn_error *err);

#endif

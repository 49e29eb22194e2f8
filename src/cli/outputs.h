/* What came out of a run: in words, as JSON, as files. */
#ifndef TENON_CLI_OUTPUTS_H
#define TENON_CLI_OUTPUTS_H

#include "cli/output.h"
#include "cli/values.h"

enum { CLI_SHOWN = 6 }; /* first values of an output in a summary */

typedef struct cli_summary {
    double min, mean, max; /* of the elements that are numbers */
    int64_t nans;
    double first[CLI_SHOWN];
    int shown;
} cli_summary;

cli_summary cli_summarise(const tn_array *a);
/* Element i as a number. */
double cli_number_at(const tn_array *a, int64_t i);

void cli_output_print(cli *c, const char *name, const tn_array *a);
/* `path`: the file it was written to, or NULL. */
json_t *cli_output_json(const char *name, const tn_array *a, const char *path);
/* `min`, `mean`, `max`, `nans`, `first` */
json_t *cli_summary_json(const cli_summary *s);
/* The first `count` of some numbers, as "1, 2, …". */
const char *cli_numbers_text(cli *c, const double *x, int count, bool more);
json_t *cli_numbers_json(const double *x, int count);

/* Writes each to -o DIR/<name>.npy with / as _; paths[i], in the arena, is where. */
tn_status cli_outputs_write(cli *c, const char *const *names, const tn_buffer *outputs, int count,
                            const char **paths, tn_error *err);

#endif

/* One page with the curves of a run. */
#ifndef TENON_CLI_TRAIN_REPORT_H
#define TENON_CLI_TRAIN_REPORT_H

#include <jansson.h>

#include "cli/train_log.h"

enum { REPORT_POINTS = 4096 };

/* The steps that the curves show. When there are too many, every second one goes and only each stride-th
 * is taken from then on; evaluations stay as long as they are few. */
typedef struct train_report {
    train_record at[REPORT_POINTS];
    int count;
    int64_t stride; /* 0: 1 */
} train_report;

void cli_train_report_add(train_report *r, const train_record *step);
/* `samples` (cli_train_samples) is taken over; NULL: none. */
tn_status cli_train_report_write(const train_report *r, const char *title, json_t *samples,
                                 const char *path, tn_error *err);
/* The page with data of another kind, which is taken over (NULL: memory ran out): "title", "points": rows of
 * numbers, "samples" or null, "charts": [[title, [[name, index into a row], …]], …]. */
tn_status cli_train_page_write(json_t *data, const char *path, tn_error *err);

#endif

/* See train_report.h; the page is page/train.html. */
#include <math.h>

#include "cli/page.h"
#include "cli/train_report.h"

extern const char *const cli_train_page[];

static void thin(train_report *r) {
    int kept = 0, evaluated = 0;
    for (int i = 0; i < r->count; i++) evaluated += r->at[i].evaluated;
    bool few = evaluated < REPORT_POINTS / 4;
    for (int i = 0; i < r->count; i++)
        if (i % 2 == 0 || (few && r->at[i].evaluated)) r->at[kept++] = r->at[i];
    r->count = kept;
    r->stride *= 2;
}

void cli_train_report_add(train_report *r, const train_record *step) {
    r->stride = TN_MAX(1, r->stride);
    if (step->step % r->stride != 0 && !step->evaluated) return;
    if (r->count == REPORT_POINTS) thin(r);
    r->at[r->count++] = *step;
}

static json_t *points(const train_report *r) {
    json_t *list = json_array();
    for (int i = 0; i < r->count; i++) {
        const train_record *x = &r->at[i];
        double y[] = {(double)x->step, x->loss, x->grad_norm, x->lr,     x->step_ms,
                      x->wait_ms,      NAN,     NAN,          x->of_peak};
        if (x->evaluated) {
            y[6] = x->eval_loss;
            y[7] = x->accuracy;
        }
        json_t *point = json_array();
        for (size_t k = 0; k < TN_COUNT(y); k++)
            json_array_append_new(point, cli_json_number(y[k]));
        json_array_append_new(list, point);
    }
    return list;
}

tn_status cli_train_page_write(json_t *data, const char *path, tn_error *err) {
    return cli_page_write(cli_train_page[0], data, path, err);
}

tn_status cli_train_report_write(const train_report *r, const char *title, json_t *samples,
                                 const char *path, tn_error *err) {
    json_t *data = json_pack("{s:s, s:o, s:o}", "title", title, "points", points(r), "samples",
                             samples ? samples : json_null());
    return cli_train_page_write(data, path, err);
}

/* Pictures of a workload's operators and who reads whom: for graphviz, and as an image of our own. */
#ifndef TENON_EXPLORE_DRAW_H
#define TENON_EXPLORE_DRAW_H

#include <tenon/explore.h>

#include "base/str.h"

/* "14336 × 4096", "8 heads × 4 × 128", "2 of 8: 14336 × 4096". The sign between numbers is `times`. */
void tn__operator_size(const tn_operator *o, const char *times, char *out, size_t size);
/* Whether `from` is read by `to` and by nothing between them: what others imply is not drawn. */
bool tn__draws_edge(const tn_workload *w, int from, int to);
/* Graphviz' language. */
void tn__draw_gv(const tn_workload *w, tn_str *out);
/* A PNG file's bytes: operators in rows by their depth. */
tn_status tn__draw_png(const tn_workload *w, tn_str *out, tn_error *err);

#endif

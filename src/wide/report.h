/* What became of the operations of a group's members. */
#ifndef TENON_WIDE_REPORT_H
#define TENON_WIDE_REPORT_H

#include "wide/wide.h"

/* Reads the members' files, to know which weights are shared, and fills in the group's report. It fails for
 * a model that needs values first. */
tn_status tn__wide_report_make(const tn_wide *w, tn__wide_group *g, tn_error *err);
/* As the group's model runs in this session, for these inputs, whose values it may need. */
tn_status tn__wide_report_bound(const tn_wide *w, int group, const tn_session *session,
                                const tn_buffer *inputs, tn_error *err);
void tn__wide_report_free(tn__wide_report *r);

#endif

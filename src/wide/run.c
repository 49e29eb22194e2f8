/* Running wide models. See tenon/wide.h. */
#include <stdlib.h>

#include "wide/wide.h"

tn_status tn_wide_run(tn_wide *w, const tn_buffer *inputs, int input_count, tn_buffer *outputs,
                      int output_count, tn_error *err) {
    if (w->groups.count == 1)
        return tn_session_run(w->groups.at[0].session, inputs, input_count, outputs, output_count,
                              err);
    return tn_error_set(err, TN_UNSUPPORTED, "several groups");
}
int tn_wide_input_count(const tn_wide *w) {
    return tn_model_input_count(w->groups.at[0].model);
}
int tn_wide_output_count(const tn_wide *w) {
    return tn_model_output_count(w->groups.at[0].model);
}
tn_status tn_wide_input(const tn_wide *w, int i, tn_port_info *out) {
    return tn_model_input(w->groups.at[0].model, i, out);
}
tn_status tn_wide_output(const tn_wide *w, int i, tn_port_info *out) {
    return tn_model_output(w->groups.at[0].model, i, out);
}

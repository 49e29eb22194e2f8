/* Workloads from models. */
#include "base/base.h"
#include "explore/workload.h"

tn_status tn_workload_from_model(const char *path, tn_workload *out, int capacity, int *count,
                                 tn_error *err) {
    (void)out, (void)capacity;
    *count = 0;
    return tn_error_set(err, TN_UNSUPPORTED, "'%s': models are not read yet", path);
}

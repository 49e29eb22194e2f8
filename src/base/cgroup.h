/* The control groups that limit this process (v2 and v1). */
#ifndef TENON_BASE_CGROUP_H
#define TENON_BASE_CGROUP_H

#include "base/base.h"

/* Calls `fn` for the folder of the process's group and for those above it, where limits of the controller
 * ("cpu", "memory") stand in files; `unified`: of version 2. */
typedef void tn_cgroup_fn(void *context, const char *folder, bool unified);
void tn_cgroup_visit(const char *controller, tn_cgroup_fn *fn, void *context);
/* The first line of a file in a folder; false when there is none. */
bool tn_cgroup_line(const char *folder, const char *file, char *line, int size);

#endif

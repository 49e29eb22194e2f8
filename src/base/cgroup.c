/* Walking up the tree of control groups. See cgroup.h. */
#include "base/cgroup.h"

#include <stdio.h>

enum { PATH_SIZE = 1024 };

bool tn_cgroup_line(const char *folder, const char *file, char *line, int size) {
    char path[PATH_SIZE + 64];
    if (snprintf(path, sizeof path, "%s/%s", folder, file) >= (int)sizeof path) return false;
    FILE *f = fopen(path, "re");
    if (!f) return false;
    bool ok = fgets(line, size, f) != NULL;
    fclose(f);
    return ok;
}

/* On the way from `root`/`group` up to `root`. */
static void visit_tree(const char *root, const char *group, bool unified, tn_cgroup_fn *fn,
                       void *context) {
    char folder[PATH_SIZE];
    size_t root_len = strlen(root);
    int len = snprintf(folder, sizeof folder, "%s%s", root, group);
    if (len < 0 || (size_t)len >= sizeof folder) return;
    for (;;) {
        fn(context, folder, unified);
        char *slash = strrchr(folder, '/');
        if (!slash || (size_t)(slash - folder) < root_len) return;
        *slash = 0;
    }
}

/* Whether a list "cpu,cpuacct" has the name. */
static bool lists(const char *controllers, const char *name) {
    size_t len = strlen(name);
    for (const char *at = controllers; (at = strstr(at, name)) != NULL; at += len)
        if ((at == controllers || at[-1] == ',') && (at[len] == 0 || at[len] == ',')) return true;
    return false;
}

/* Lines are "ID:controllers:/path"; the unified hierarchy has ID 0 and no controllers. */
void tn_cgroup_visit(const char *controller, tn_cgroup_fn *fn, void *context) {
    char line[PATH_SIZE], root[64];
    FILE *f = fopen("/proc/self/cgroup", "re");
    if (!f) return;
    snprintf(root, sizeof root, "/sys/fs/cgroup/%s", controller);
    while (fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = 0;
        char *controllers = strchr(line, ':'),
             *group = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!group) continue;
        *controllers++ = 0;
        *group++ = 0;
        if (*controllers == 0)
            visit_tree("/sys/fs/cgroup", group, true, fn, context);
        else if (lists(controllers, controller))
            visit_tree(root, group, false, fn, context);
    }
    fclose(f);
}

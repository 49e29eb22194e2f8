/* Identities of files and of this build. See identity.h. */
#include "session/identity.h"

#include <sys/stat.h>

void tn_identify_file(const char *path, tn_str *out) {
    struct stat st;
    if (stat(path, &st) != 0) {
        tn_str_appendf(out, "%s ?\n", path);
        return;
    }
    tn_str_appendf(out, "%s %llu %llu %llu %lld.%09ld\n", path, (unsigned long long)st.st_dev,
                   (unsigned long long)st.st_ino, (unsigned long long)st.st_size,
                   (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
}

extern const char tn__build_id[]; /* generated, cmake/build_id.cmake */

void tn_identify_build(tn_str *out) {
    tn_str_appendf(out, "build %s\n", tn__build_id);
}

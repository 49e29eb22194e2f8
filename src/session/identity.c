/* Identities of files and of this build. See identity.h. */
#include "session/identity.h"

#include <dlfcn.h>
#include <string.h>
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

void tn_identify_build(tn_str *out) {
    Dl_info info = {0};
    struct stat st;
    void *here;
    void (*function)(tn_str *) = tn_identify_build;
    memcpy(&here, &function, sizeof here);
    if (dladdr(here, &info) && info.dli_fname && stat(info.dli_fname, &st) == 0)
        tn_identify_file(info.dli_fname, out);
    else
        tn_identify_file("/proc/self/exe", out);
}

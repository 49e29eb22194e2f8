/* What cached things depend on besides their content, as text for the keys of the caches. */
#ifndef TENON_SESSION_IDENTITY_H
#define TENON_SESSION_IDENTITY_H

#include "base/str.h"

/* Path, device, inode, size and time of a file; without reading it. */
void tn_identify_file(const char *path, tn_str *out);
/* The build of Tenon: a hash of its sources. The command, the library and the tests of one state are the same. */
void tn_identify_build(tn_str *out);

#endif

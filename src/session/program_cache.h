/* Compiled programs in the cache on disk. An entry's name hashes all that its program depends on. */
#ifndef TENON_SESSION_PROGRAM_CACHE_H
#define TENON_SESSION_PROGRAM_CACHE_H

#include "session/artifact.h"

enum { TN_PROGRAM_CACHE_NAME = 80 };

/* What programs depend on besides what they compute: build, target, options, costs, tuning. Unwinds
 * when memory runs out (see tn_guard). */
void tn_program_cache_identify(const tn_workshop *w, tn_str *out);
/* The entry's name for a text that begins with these. */
void tn_program_cache_name(const tn_str *text, char out[TN_PROGRAM_CACHE_NAME]);
/* False when there is no such entry. One that does not load, damaged or of a changed weight file, is
 * removed. */
bool tn_program_cache_load(const tn_workshop *w, const char *name, tn_artifact **out);
/* While kernels are compiled, maybe. What cannot be written is no error. */
void tn_program_cache_store(const tn_workshop *w, const char *name, tn_artifact *a);

#endif

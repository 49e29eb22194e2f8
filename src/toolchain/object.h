/* A shared object of kernels in this process. */
#ifndef TENON_TOOLCHAIN_OBJECT_H
#define TENON_TOOLCHAIN_OBJECT_H

#include "base/base.h"
#include "toolchain/cache.h"

typedef struct tn_object {
    void *handle;
    int fd; /* a memory file it was loaded from, or -1 */
} tn_object;

#define TN_OBJECT_NONE                                                                             \
    { NULL, -1 }

/* Loads the verified cache entry `name`. TN_NOT_FOUND when there is none (or it was damaged). */
tn_status tn_object_from_cache(tn_object *o, const tn_cache *c, const char *name, tn_error *err);
/* Loads an object that is in memory, through a file that is gone afterwards. */
tn_status tn_object_from_bytes(tn_object *o, const void *data, size_t size, tn_error *err);
/* The address of a function; NULL when the object has none of that name. */
void *tn_object_symbol(const tn_object *o, const char *name);
void tn_object_close(tn_object *o);

#endif

/* JSON texts that may be hostile: jansson's readers, with their memory bounded before they begin. */
#ifndef TENON_BASE_JSON_H
#define TENON_BASE_JSON_H

#include <jansson.h>

#include "base/base.h"

/* As json_loadb. A text whose values would take more than `limit` bytes is refused, by counting its tokens;
 * 0 for `limit`: 2 × size + 16 MiB. NULL and *why, which may be NULL. */
json_t *tn_json_parse(const void *text, size_t size, size_t limit, size_t flags, json_error_t *why);
/* As json_load_file, of regular files only: nothing waits for a pipe. What cannot be opened has line -1. */
json_t *tn_json_read(const char *path, size_t flags, json_error_t *why);

/* What the values of a text may take at most. */
size_t tn_json_memory(const void *text, size_t size);

#endif

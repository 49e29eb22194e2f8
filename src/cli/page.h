/* Pages: HTML that CMake embeds, with data in the place of a mark. */
#ifndef TENON_CLI_PAGE_H
#define TENON_CLI_PAGE_H

#include "cli/output.h"

/* Writes `page` with `data`, which is dropped, in the place of @DATA@. */
tn_status cli_page_write(const char *page, json_t *data, const char *path, tn_error *err);

#endif

/* See page.h. */
#include "cli/page.h"

#include <stdlib.h>

#include "base/io.h"

tn_status cli_page_write(const char *page, json_t *data, const char *path, tn_error *err) {
    const char *mark = strstr(page, "@DATA@");
    /* With / escaped no text can end the script element. */
    char *text =
        data ? json_dumps(data, JSON_COMPACT | JSON_ESCAPE_SLASH | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(data);
    if (!mark) TN_BUG("the page has no place for its data");
    if (!text) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    const tn_file_part parts[] = {{page, (size_t)(mark - page)},
                                  {text, strlen(text)},
                                  {mark + strlen("@DATA@"), strlen(mark + strlen("@DATA@"))}};
    tn_status status = tn_file_write_parts(path, parts, TN_COUNT(parts), false, err);
    free(text);
    return status;
}

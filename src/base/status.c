/* Error reports: one message and the frames added on the way up. */
#include "tenon/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

tn_status tn_error_set(tn_error *err, tn_status status, const char *format, ...) {
    if (!err) return status;
    err->status = status;
    err->frame_count = 0;
    va_list args;
    va_start(args, format);
    vsnprintf(err->message, sizeof err->message, format, args);
    va_end(args);
    return status;
}

void tn_error_push(tn_error *err, const char *format, ...) {
    if (!err) return;
    /* What is outermost, the file, is said even where much lies between. */
    if (err->frame_count == TN_ERROR_FRAMES) err->frame_count--;
    va_list args;
    va_start(args, format);
    vsnprintf(err->frames[err->frame_count++], TN_ERROR_FRAME_TEXT, format, args);
    va_end(args);
}

void tn_error_format(const tn_error *err, char *out, size_t size) {
    size_t len = 0;
    if (size == 0) return;
    out[0] = 0;
    for (int i = err->frame_count - 1; i >= 0 && len < size; i--)
        len += (size_t)snprintf(out + len, size - len, "%s: ", err->frames[i]);
    if (len < size) snprintf(out + len, size - len, "%s", err->message);
}

const char *tn_status_name(tn_status status) {
    static const char *const names[] = {
        [TN_OK] = "ok",
        [TN_INVALID] = "invalid input",
        [TN_UNSUPPORTED] = "unsupported",
        [TN_NOT_FOUND] = "not found",
        [TN_OUT_OF_MEMORY] = "out of memory",
        [TN_IO] = "input/output error",
        [TN_TOOLCHAIN] = "compiler failure",
        [TN_RUNTIME] = "run-time error",
        [TN_POISONED] = "unusable after an earlier failure",
    };
    return (unsigned)status < sizeof names / sizeof *names ? names[status] : "unknown";
}

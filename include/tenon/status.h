/* Status codes and error reports.
 *
 * Every fallible call returns a tn_status and takes a caller-owned tn_error (may be NULL). The
 * error holds one message (what, where, why, what would help) and the frames added on the way up.
 */
#ifndef TENON_STATUS_H
#define TENON_STATUS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(_WIN32)
#define TN_API
#else
#define TN_API __attribute__((visibility("default")))
#endif
#define TN_MUST_USE          __attribute__((warn_unused_result))
#define TN_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

typedef enum tn_status {
    TN_OK = 0,
    TN_INVALID,       /* the input is wrong: a malformed file, a shape that does not fit */
    TN_UNSUPPORTED,   /* the input is right, Tenon cannot do it */
    TN_NOT_FOUND,     /* a file, a name */
    TN_OUT_OF_MEMORY, /* an allocation failed */
    TN_IO,            /* the operating system refused a read or a write */
    TN_TOOLCHAIN,     /* the system's compiler failed */
    TN_RUNTIME,       /* a kernel reported an error: an index out of range */
    TN_POISONED,      /* an earlier step failed; the session's state is not usable */
} tn_status;

enum { TN_ERROR_TEXT = 1536, TN_ERROR_FRAMES = 8, TN_ERROR_FRAME_TEXT = 160 };

/* Plain data; zero-initialise with TN_ERROR_INIT. Frames run from the innermost outwards. */
typedef struct tn_error {
    tn_status status;
    int frame_count;
    char message[TN_ERROR_TEXT];
    char frames[TN_ERROR_FRAMES][TN_ERROR_FRAME_TEXT];
} tn_error;

#define TN_ERROR_INIT                                                                              \
    {                                                                                              \
        TN_OK, 0, {0}, {                                                                           \
            { 0 }                                                                                  \
        }                                                                                          \
    }

/* Sets the message and drops earlier frames; returns `status`. `err` may be NULL. */
TN_API tn_status tn_error_set(tn_error *err, tn_status status, const char *format, ...)
    TN_PRINTF(3, 4);

/* Adds a context frame such as "while inferring node 'conv1'". */
TN_API void tn_error_push(tn_error *err, const char *format, ...) TN_PRINTF(2, 3);

/* Writes "frame: frame: message" (outermost first) into `out`; always terminates it. */
TN_API void tn_error_format(const tn_error *err, char *out, size_t size);

/* The name of a status, such as "invalid input". */
TN_API const char *tn_status_name(tn_status status);

/* Evaluates `expr`; on failure adds the frame and returns the status from the enclosing function.
 */
#define TN_TRY(err, expr, ...)                                                                     \
    do {                                                                                           \
        tn_status tn_try_status_ = (expr);                                                         \
        if (tn_try_status_ != TN_OK) {                                                             \
            tn_error_push((err), __VA_ARGS__);                                                     \
            return tn_try_status_;                                                                 \
        }                                                                                          \
    } while (0)

/* The same without a frame of its own. */
#define TN_CHECK(expr)                                                                             \
    do {                                                                                           \
        tn_status tn_try_status_ = (expr);                                                         \
        if (tn_try_status_ != TN_OK) return tn_try_status_;                                        \
    } while (0)

#ifdef __cplusplus
}
#endif
#endif

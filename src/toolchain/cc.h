/* The system's C compiler: found, identified, asked what it accepts, and run.
 *
 * Compilers are started without a shell, in process groups of their own, with a time limit; their
 * files lie in a private temporary folder that is gone afterwards (a failed compile keeps the
 * source). Thread-safe: nothing here has global state. */
#ifndef TENON_TOOLCHAIN_CC_H
#define TENON_TOOLCHAIN_CC_H

#include "base/base.h"
#include "base/str.h"
#include "toolchain/cache.h"

enum { TN_CC_WORDS = 16, TN_CC_COMMAND = 4096, TN_CC_VERSION = 256, TN_CC_MAX_UNITS = 64 };

typedef struct tn_cc {
    char command[TN_CC_COMMAND];   /* absolute path, then its arguments, each ended by NUL */
    const char *word[TN_CC_WORDS]; /* into command */
    int words;
    uint64_t size, mtime_ns;     /* of the program */
    char version[TN_CC_VERSION]; /* first line of --version */
    char identity[65];           /* SHA-256 of all of the above */
    bool remembered;             /* the version came from the cache: no process was started */
} tn_cc;

/* Environment CC (it may hold arguments, as in "clang -m64"), else cc, gcc, clang in PATH. With
 * `memo` (may be NULL) the version of an unchanged program is remembered. TN_NOT_FOUND says what to
 * install. A tn_cc holds no resources, but points into itself: do not copy it. */
tn_status tn_cc_find(tn_cc *cc, tn_cache *memo, tn_error *err);

/* Whether the compiler takes `text` with `flags` (separated by blanks); remembered in `memo`. */
bool tn_cc_accepts(const tn_cc *cc, const char *flags, const char *text, tn_cache *memo);

typedef struct tn_cc_unit {
    const char *text;
    size_t len;
} tn_cc_unit;

typedef struct tn_cc_job {
    const tn_cc_unit *units; /* translation units; compiled side by side, linked into one object */
    uint32_t count;
    const char *flags; /* of the target, separated by blanks; may be NULL */
    int jobs;          /* compilers at once; 0: tn_cores() */
    double seconds;    /* time limit of each compiler; 0: 120 */
} tn_cc_job;

/* The bytes of the shared object, to be freed with free(). A failure holds the first lines of what
 * the compiler said and the path of the source, which is kept. */
tn_status tn_cc_build(const tn_cc *cc, const tn_cc_job *job, uint8_t **bytes, size_t *size,
                      tn_error *err);

/* The flags that every unit is compiled with, separated by blanks: part of a kernel's identity. */
const char *tn_cc_flags(void);

#endif

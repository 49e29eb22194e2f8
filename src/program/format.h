/* The layout of program files (.tn), for save.c and load.c.
 *
 * A head, a table of sections, then the sections. All numbers are little-endian. Sizes are written
 * as a table of expressions of their own (dims_file.c), so only what the program uses is kept.
 *
 * A file of the cache names in its head the boot in which its weights were written or last checked:
 * until the machine stops they need no check, so a warm start does not read them. */
#ifndef TENON_PROGRAM_FORMAT_H
#define TENON_PROGRAM_FORMAT_H

#include "program/program.h"

#define TN__PROGRAM_MAGIC "TENONPRG"
enum {
    TN__PROGRAM_VERSION = 6,
    /* magic, u32 version, u32 sections, u64 file size, hash of the table, boot id or zeros */
    TN__PROGRAM_HEAD = 64,
    TN__PROGRAM_BOOT = 40,    /* offset of the boot id */
    TN__PROGRAM_SECTION = 40, /* u32 kind, u32 index, u64 offset, u64 size, hash */
    TN__PROGRAM_PAGE = 4096,
};

typedef enum tn__section_kind {
    TN__SECTION_STRUCTURE = 1,
    TN__SECTION_KERNELS,
    TN__SECTION_PREPARED,
    TN__SECTION_SOURCE, /* bytes of source `index` */
} tn__section_kind;

/* Where a section of a kind begins at the earliest, behind `at`: sections follow each other so, ordered
 * by kind and index, and nothing else is in the file. */
static inline uint64_t tn__section_offset(uint32_t kind, uint64_t at) {
    uint64_t unit = kind == TN__SECTION_PREPARED ? TN__PROGRAM_PAGE : 64;
    return (at + unit - 1) / unit * unit;
}

/* SHA-256 of what decides which bytes a program reads and writes: all but the weights. */
void tn__program_identity(const void *structure, size_t structure_size, const void *kernels,
                          size_t kernels_size, char out[65]);

/* ---- writing -------------------------------------------------------------------------------- */

static inline void tn__put(tn_str *out, uint64_t value, int bytes) {
    char text[8];
    for (int i = 0; i < bytes; i++) text[i] = (char)(value >> (8 * i));
    tn_str_append_n(out, text, (size_t)bytes);
}
static inline void tn__put32(tn_str *out, uint64_t value) {
    tn__put(out, value, 4);
}
static inline void tn__put64(tn_str *out, uint64_t value) {
    tn__put(out, value, 8);
}
/* NULL and texts are told apart. */
static inline void tn__put_text(tn_str *out, const char *text) {
    tn__put32(out, text ? strlen(text) + 1 : 0);
    if (text) tn_str_append_n(out, text, strlen(text));
}

/* Sizes on their way into a file: each expression gets a number when it is first met. */
typedef struct tn__dims_writer {
    tn_arena *arena;
    const tn_dims *dims;
    uint32_t *number_of;    /* per expression of the table: 1 + its number in the file, or 0 */
    TN_VEC(uint32_t) exprs; /* by number */
    uint8_t *atom_used;
} tn__dims_writer;

void tn__dims_writer_init(tn__dims_writer *w, tn_arena *arena, const tn_dims *dims);
void tn__put_dim(tn__dims_writer *w, tn_str *out, tn_dim d);
/* The table of all expressions met; to be placed before them. */
void tn__put_dims(tn__dims_writer *w, tn_str *out);

/* ---- reading -------------------------------------------------------------------------------- */

/* After a failure everything read is zero. */
typedef struct tn__reader {
    tn_arena *arena;
    const uint8_t *at;
    size_t left;
    bool failed;
} tn__reader;

static inline uint64_t tn__take(tn__reader *r, size_t bytes) {
    uint64_t value = 0;
    if (r->failed || r->left < bytes) {
        r->failed = true;
        return 0;
    }
    for (size_t i = 0; i < bytes; i++) value |= (uint64_t)r->at[i] << (8 * i);
    r->at += bytes;
    r->left -= bytes;
    return value;
}
static inline uint8_t tn__take8(tn__reader *r) {
    return (uint8_t)tn__take(r, 1);
}
static inline uint32_t tn__take32(tn__reader *r) {
    return (uint32_t)tn__take(r, 4);
}
static inline uint64_t tn__take64(tn__reader *r) {
    return tn__take(r, 8);
}
/* A count of things that take at least `least` bytes each: never more than can follow. */
static inline uint32_t tn__take_count(tn__reader *r, size_t least) {
    uint32_t count = tn__take32(r);
    if (count > r->left / least) r->failed = true;
    return r->failed ? 0 : count;
}
static inline const char *tn__take_text(tn__reader *r) {
    uint32_t len = tn__take32(r);
    if (r->failed || len == 0) return NULL;
    if (--len > r->left || memchr(r->at, 0, len)) {
        r->failed = true;
        return NULL;
    }
    char *text = tn_arena_alloc(r->arena, (size_t)len + 1);
    memcpy(text, r->at, len);
    r->at += len;
    r->left -= len;
    return text;
}

/* Expressions of the file, by number. */
typedef struct tn__dims_reader {
    tn_dims *dims;
    tn_dim *exprs;
    uint32_t count;
} tn__dims_reader;

/* Fills the empty table `dims`; false when the file's is not valid. */
bool tn__take_dims(tn__dims_reader *d, tn__reader *r, tn_dims *dims);
tn_dim tn__take_dim(const tn__dims_reader *d, tn__reader *r);

#endif

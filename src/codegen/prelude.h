/* The prelude of a generated C kernel: vector types, arithmetic, mathematics, conversions.
 *
 * Its source is the .inc files of src/codegen/prelude, embedded in the library; base.inc describes
 * their notation. A kernel holds only the fragments it requires, each once per lane count,
 * dependencies first. */
#ifndef TENON_CODEGEN_PRELUDE_H
#define TENON_CODEGEN_PRELUDE_H

#include "base/base.h"
#include "base/str.h"

typedef struct tn_prelude {
    tn_arena arena;
    tn_map done; /* "name@width" of what `text` holds */
    tn_str text;
    tn_str scratch; /* the name being looked up */
} tn_prelude;

/* Running out of memory unwinds (tn_guard); own the object outside the guarded function. */
void tn_prelude_init(tn_prelude *p);
void tn_prelude_deinit(tn_prelude *p);

/* Adds a fragment, such as "exp_f32", and what it depends on, at `width` lanes: 2, 4, 8, 16, 32 or
 * 64. Adding it again does nothing. An unknown name is an error; so is another width. */
tn_status tn_prelude_require(tn_prelude *p, const char *fragment, int width, tn_error *err);

/* Whether a fragment of this name exists. */
bool tn_prelude_has(const char *fragment);

/* Appends everything required so far as C source. */
void tn_prelude_render(const tn_prelude *p, tn_str *out);

/* The element type of the lanes that hold `dtype` in a kernel: "u16" for f16, "u8" for the f8 and
 * f4 types, "i8" for i4, and so on. bool is "i32", a mask of 0 and -1, although it takes one byte
 * in memory (tn_load_bool, tn_store_bool). */
const char *tn_prelude_lane(tn_dtype dtype);

#endif

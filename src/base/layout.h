/* Layout algebra: functions from coordinates to indices, built from shapes and strides.
 *
 * A layout is a mode shape:stride, or a tuple of layouts. Read as a function it takes a 1-D
 * coordinate, split over the modes with the first one running fastest, and gives the sum of
 * coordinate·stride: (2,3):(1,10) maps 0 … 5 to 0 1 10 11 20 21. One algebra serves the views of
 * tensors, the tiles of loops, the width of vectors, and the proof that accesses do not collide.
 * Operations and their laws are those of CuTe (NVIDIA, CUTLASS 3, "CuTe layout algebra"); the laws
 * are checked by tests/unit/base/test_layout.c.
 *
 * Results live in the arena. An operation returns false, and nothing else, when its result is no
 * layout (sizes that do not divide, modes that overlap) or a number does not fit 63 bits. */
#ifndef TENON_BASE_LAYOUT_H
#define TENON_BASE_LAYOUT_H

#include "base/base.h"
#include "base/str.h"

typedef struct tn_layout tn_layout;
struct tn_layout {
    const tn_layout *mode; /* [rank]; NULL: one mode, shape:stride */
    int rank;
    int64_t shape, stride;
};

/* ---- making --------------------------------------------------------------------------------- */

tn_layout tn_layout_mode(int64_t shape, int64_t stride);
/* Copies `modes`. */
tn_layout tn_layout_tuple(tn_arena *arena, const tn_layout *modes, int count);
/* Dense, the first axis contiguous (column-major), or the last one (row-major). */
tn_layout tn_layout_columns(tn_arena *arena, const int64_t *shape, int rank);
tn_layout tn_layout_rows(tn_arena *arena, const int64_t *shape, int rank);

/* ---- asking --------------------------------------------------------------------------------- */

/* Modes at the top: 1 for shape:stride. */
int tn_layout_rank(const tn_layout *l);
tn_layout tn_layout_at(const tn_layout *l, int mode);
int64_t tn_layout_size(const tn_layout *l);
/* The largest index plus one; 0 when the layout is empty. */
int64_t tn_layout_cosize(const tn_layout *l);
int64_t tn_layout_index(const tn_layout *l, int64_t coordinate);
/* One coordinate per top mode. */
int64_t tn_layout_index_of(const tn_layout *l, const int64_t *coordinate);
/* Shapes and strides equal, nesting included. */
bool tn_layout_equal(const tn_layout *a, const tn_layout *b);
/* "((2,2),3):((24,2),8)" */
void tn_layout_print(const tn_layout *l, tn_str *out);

/* ---- algebra -------------------------------------------------------------------------------- */

/* The same function with the fewest modes; by mode: of each top mode on its own. */
tn_layout tn_layout_coalesce(tn_arena *arena, const tn_layout *l);
tn_layout tn_layout_coalesce_modes(tn_arena *arena, const tn_layout *l);

/* out(i) = a(b(i)), shaped like b. By mode: b[m] over mode m of a; further modes of a stay. */
bool tn_layout_compose(tn_arena *arena, const tn_layout *a, const tn_layout *b, tn_layout *out);
bool tn_layout_compose_modes(tn_arena *arena, const tn_layout *a, const tn_layout *b, int count,
                             tn_layout *out);

/* What `l` leaves out of 0 … size-1, in order: l and it together reach `size` without repeating. */
bool tn_layout_complement(tn_arena *arena, const tn_layout *l, int64_t size, tn_layout *out);

/* A layout of l's indices (its first mode walks a tile, the second the tiles). By mode, `tile` has
 * one layout per mode of l, and results are grouped
 *   logical ((tile0, rest0), (tile1, rest1), …, l2 …)
 *   zipped  ((tile0, tile1), (rest0, rest1, …, l2 …))
 *   tiled   ((tile0, tile1), rest0, rest1, …, l2 …)
 *   flat    (tile0, tile1, rest0, rest1, …, l2 …) */
bool tn_layout_divide(tn_arena *arena, const tn_layout *l, const tn_layout *tile, tn_layout *out);
typedef enum tn_layout_grouping {
    TN_LAYOUT_LOGICAL,
    TN_LAYOUT_ZIPPED,
    TN_LAYOUT_TILED,
    TN_LAYOUT_FLAT,
} tn_layout_grouping;
bool tn_layout_divide_modes(tn_arena *arena, const tn_layout *l, const tn_layout *tile, int count,
                            tn_layout_grouping grouping, tn_layout *out);

/* `l` repeated as `tiles` says: mode 0 is l, mode 1 the tiles. Blocked and raked have one mode per
 * axis: of block and tiles, or of tiles and block (interleaved). */
bool tn_layout_product(tn_arena *arena, const tn_layout *l, const tn_layout *tiles, tn_layout *out);
bool tn_layout_blocked_product(tn_arena *arena, const tn_layout *l, const tn_layout *tiles,
                               tn_layout *out);
bool tn_layout_raked_product(tn_arena *arena, const tn_layout *l, const tn_layout *tiles,
                             tn_layout *out);

/* right: l(out(i)) = i as far as l's indices are dense from 0; left: out(l(i)) = i. */
tn_layout tn_layout_right_inverse(tn_arena *arena, const tn_layout *l);
bool tn_layout_left_inverse(tn_arena *arena, const tn_layout *l, tn_layout *out);

/* ---- swizzle -------------------------------------------------------------------------------- */

/* x with `bits` bits from position base + shift on exclusive-or'ed into those from `base` on. Its own
 * inverse; keeps runs of 2^base elements together. */
typedef struct tn_swizzle {
    int bits, base, shift;
} tn_swizzle;
int64_t tn_swizzle_index(tn_swizzle s, int64_t x);

#endif

/* Layout algebra. See layout.h. */
#include "base/layout.h"

#include <stdlib.h>

typedef struct flat_layout {
    TN_VEC(tn_layout) modes; /* none of them a tuple */
} flat_layout;

/* ---- making and asking ---------------------------------------------------------------------- */

tn_layout tn_layout_mode(int64_t shape, int64_t stride) {
    return (tn_layout){.rank = 1, .shape = shape, .stride = stride};
}

tn_layout tn_layout_tuple(tn_arena *arena, const tn_layout *modes, int count) {
    return (tn_layout){.mode = tn_arena_dup(arena, modes, (size_t)count * sizeof *modes),
                       .rank = count};
}

tn_layout tn_layout_columns(tn_arena *arena, const int64_t *shape, int rank) {
    tn_layout *modes = TN_NEW_N(arena, tn_layout, rank);
    for (int64_t i = 0, stride = 1; i < rank; stride *= shape[i++])
        modes[i] = tn_layout_mode(shape[i], stride);
    return (tn_layout){.mode = modes, .rank = rank};
}

tn_layout tn_layout_rows(tn_arena *arena, const int64_t *shape, int rank) {
    tn_layout *modes = TN_NEW_N(arena, tn_layout, rank);
    int64_t stride = 1;
    for (int i = rank; i-- > 0; stride *= shape[i]) modes[i] = tn_layout_mode(shape[i], stride);
    return (tn_layout){.mode = modes, .rank = rank};
}

int tn_layout_rank(const tn_layout *l) {
    return l->rank;
}

tn_layout tn_layout_at(const tn_layout *l, int mode) {
    return l->mode ? l->mode[mode] : *l;
}

int64_t tn_layout_size(const tn_layout *l) {
    if (!l->mode) return l->shape;
    int64_t size = 1;
    for (int i = 0; i < l->rank; i++) size *= tn_layout_size(&l->mode[i]);
    return size;
}

int64_t tn_layout_index(const tn_layout *l, int64_t coordinate) {
    if (!l->mode) return coordinate * l->stride;
    int64_t index = 0;
    for (int i = 0; i < l->rank; i++) {
        int64_t size = tn_layout_size(&l->mode[i]);
        bool last = i == l->rank - 1; /* takes what is left, even beyond its size */
        index += tn_layout_index(&l->mode[i], last ? coordinate : coordinate % size);
        coordinate /= size;
    }
    return index;
}

int64_t tn_layout_index_of(const tn_layout *l, const int64_t *coordinate) {
    if (!l->mode) return tn_layout_index(l, coordinate[0]);
    int64_t index = 0;
    for (int i = 0; i < l->rank; i++) index += tn_layout_index(&l->mode[i], coordinate[i]);
    return index;
}

static int64_t largest_index(const tn_layout *l) {
    if (!l->mode) return (l->shape - 1) * TN_MAX(l->stride, 0);
    int64_t index = 0;
    for (int i = 0; i < l->rank; i++) index += largest_index(&l->mode[i]);
    return index;
}

int64_t tn_layout_cosize(const tn_layout *l) {
    return tn_layout_size(l) == 0 ? 0 : largest_index(l) + 1;
}

bool tn_layout_equal(const tn_layout *a, const tn_layout *b) {
    if (!a->mode || !b->mode)
        return !a->mode && !b->mode && a->shape == b->shape && a->stride == b->stride;
    bool equal = a->rank == b->rank;
    for (int i = 0; i < a->rank && equal; i++) equal = tn_layout_equal(&a->mode[i], &b->mode[i]);
    return equal;
}

static void print_part(const tn_layout *l, bool strides, tn_str *out) {
    if (!l->mode) {
        tn_str_appendf(out, "%lld", (long long)(strides ? l->stride : l->shape));
        return;
    }
    for (int i = 0; i < l->rank; i++) {
        tn_str_append(out, i ? "," : "(");
        print_part(&l->mode[i], strides, out);
    }
    tn_str_append(out, l->rank ? ")" : "()");
}

void tn_layout_print(const tn_layout *l, tn_str *out) {
    print_part(l, false, out);
    tn_str_append(out, ":");
    print_part(l, true, out);
}

/* ---- coalesce ------------------------------------------------------------------------------- */

static void flatten_into(tn_arena *arena, const tn_layout *l, flat_layout *out) {
    if (!l->mode) {
        tn_vec_push(arena, &out->modes, *l);
        return;
    }
    for (int i = 0; i < l->rank; i++) flatten_into(arena, &l->mode[i], out);
}

static flat_layout flatten(tn_arena *arena, const tn_layout *l) {
    flat_layout flat = {0};
    flatten_into(arena, l, &flat);
    return flat;
}

/* No modes make 1:0, one mode stands for itself. */
static tn_layout from_flat(const flat_layout *flat) {
    if (flat->modes.len == 0) return tn_layout_mode(1, 0);
    if (flat->modes.len == 1) return flat->modes.data[0];
    return (tn_layout){.mode = flat->modes.data, .rank = (int)flat->modes.len};
}

/* Appends a mode behind the others, as part of the last one where it goes on from there. */
static void append_coalesced(tn_arena *arena, flat_layout *flat, int64_t shape, int64_t stride) {
    tn_layout *last = flat->modes.len ? &flat->modes.data[flat->modes.len - 1] : NULL;
    int64_t end;
    if (shape == 1) return;
    if (last && !__builtin_mul_overflow(last->shape, last->stride, &end) && end == stride)
        last->shape *= shape;
    else
        tn_vec_push(arena, &flat->modes, tn_layout_mode(shape, stride));
}

static flat_layout coalesced(tn_arena *arena, const tn_layout *l) {
    flat_layout flat = flatten(arena, l), out = {0};
    for (uint32_t i = 0; i < flat.modes.len; i++)
        append_coalesced(arena, &out, flat.modes.data[i].shape, flat.modes.data[i].stride);
    return out;
}

tn_layout tn_layout_coalesce(tn_arena *arena, const tn_layout *l) {
    flat_layout flat = coalesced(arena, l);
    return from_flat(&flat);
}

tn_layout tn_layout_coalesce_modes(tn_arena *arena, const tn_layout *l) {
    if (!l->mode) return *l;
    tn_layout *modes = TN_NEW_N(arena, tn_layout, l->rank);
    for (int i = 0; i < l->rank; i++) modes[i] = tn_layout_coalesce(arena, &l->mode[i]);
    return (tn_layout){.mode = modes, .rank = l->rank};
}

/* ---- composition ---------------------------------------------------------------------------- */

/* shape:stride of steps along `a`: skips stride steps, and takes shape of every stride-th one. The
 * last mode of `a` goes on for ever. */
static bool compose_mode(tn_arena *arena, const flat_layout *a, int64_t shape, int64_t stride,
                         tn_layout *out) {
    if (stride == 0 || shape == 1) {
        *out = tn_layout_mode(shape, 0);
        return true;
    }
    flat_layout steps = {0};
    int64_t scaled;
    for (uint32_t i = 0; i + 1 < a->modes.len; i++) {
        const tn_layout *mode = &a->modes.data[i];
        if (mode->shape % stride != 0 && stride % mode->shape != 0) return false;
        int64_t taken = TN_MIN(TN_MAX(mode->shape / stride, 1), shape);
        if (shape % taken != 0) return false;
        if (__builtin_mul_overflow(stride, mode->stride, &scaled)) return false;
        if (taken != 1) tn_vec_push(arena, &steps.modes, tn_layout_mode(taken, scaled));
        shape /= taken;
        stride = (stride + mode->shape - 1) / mode->shape;
    }
    int64_t last = a->modes.len ? a->modes.data[a->modes.len - 1].stride : 0;
    if (__builtin_mul_overflow(stride, last, &scaled)) return false;
    if (shape != 1 || steps.modes.len == 0)
        tn_vec_push(arena, &steps.modes, tn_layout_mode(shape, scaled));
    *out = from_flat(&steps);
    return true;
}

static bool compose_flat(tn_arena *arena, const flat_layout *a, const tn_layout *b,
                         tn_layout *out) {
    if (!b->mode) return b->stride >= 0 && compose_mode(arena, a, b->shape, b->stride, out);
    tn_layout *modes = TN_NEW_N(arena, tn_layout, b->rank);
    for (int i = 0; i < b->rank; i++)
        if (!compose_flat(arena, a, &b->mode[i], &modes[i])) return false;
    *out = (tn_layout){.mode = modes, .rank = b->rank};
    return true;
}

bool tn_layout_compose(tn_arena *arena, const tn_layout *a, const tn_layout *b, tn_layout *out) {
    flat_layout flat = coalesced(arena, a);
    return compose_flat(arena, &flat, b, out);
}

bool tn_layout_compose_modes(tn_arena *arena, const tn_layout *a, const tn_layout *b, int count,
                             tn_layout *out) {
    int rank = tn_layout_rank(a);
    if (count > rank) return false;
    tn_layout *modes = TN_NEW_N(arena, tn_layout, rank);
    for (int i = 0; i < rank; i++) {
        modes[i] = tn_layout_at(a, i);
        if (i < count && !tn_layout_compose(arena, &modes[i], &b[i], &modes[i])) return false;
    }
    *out = (tn_layout){.mode = modes, .rank = rank};
    return true;
}

/* ---- complement ----------------------------------------------------------------------------- */

static int by_stride(const void *a, const void *b) {
    const tn_layout *x = a, *y = b;
    if (x->stride != y->stride) return x->stride < y->stride ? -1 : 1;
    return (x->shape > y->shape) - (x->shape < y->shape);
}

bool tn_layout_complement(tn_arena *arena, const tn_layout *l, int64_t size, tn_layout *out) {
    flat_layout flat = flatten(arena, l), gaps = {0};
    if (flat.modes.len) qsort(flat.modes.data, flat.modes.len, sizeof *flat.modes.data, by_stride);
    int64_t reached = 1; /* every index below is taken or in a gap */
    for (uint32_t i = 0; i < flat.modes.len; i++) {
        const tn_layout *mode = &flat.modes.data[i];
        if (mode->stride == 0 || mode->shape == 1) continue;
        if (mode->stride < reached) return false;
        append_coalesced(arena, &gaps, mode->stride / reached, reached);
        if (__builtin_mul_overflow(mode->shape, mode->stride, &reached)) return false;
    }
    append_coalesced(arena, &gaps, (size + reached - 1) / reached, reached);
    *out = from_flat(&gaps);
    return true;
}

/* ---- divide --------------------------------------------------------------------------------- */

static tn_layout pair_of(tn_arena *arena, tn_layout a, tn_layout b) {
    return tn_layout_tuple(arena, (tn_layout[]){a, b}, 2);
}

bool tn_layout_divide(tn_arena *arena, const tn_layout *l, const tn_layout *tile, tn_layout *out) {
    tn_layout rest;
    if (!tn_layout_complement(arena, tile, tn_layout_size(l), &rest)) return false;
    tn_layout both = pair_of(arena, *tile, rest);
    return tn_layout_compose(arena, l, &both, out);
}

/* From ((tile, rest) of `count` modes, further modes) to another grouping. */
static tn_layout regroup(tn_arena *arena, const tn_layout *logical, int count,
                         tn_layout_grouping grouping) {
    flat_layout tiles = {0}, rests = {0}, all = {0};
    for (int i = 0; i < logical->rank; i++) {
        const tn_layout *mode = &logical->mode[i];
        if (i < count) tn_vec_push(arena, &tiles.modes, mode->mode[0]);
        tn_vec_push(arena, &rests.modes, i < count ? mode->mode[1] : *mode);
    }
    tn_layout tile = {.mode = tiles.modes.data, .rank = (int)tiles.modes.len};
    tn_layout rest = {.mode = rests.modes.data, .rank = (int)rests.modes.len};
    if (grouping == TN_LAYOUT_ZIPPED) return pair_of(arena, tile, rest);
    if (grouping == TN_LAYOUT_TILED)
        tn_vec_push(arena, &all.modes, tile);
    else
        for (int i = 0; i < tile.rank; i++) tn_vec_push(arena, &all.modes, tile.mode[i]);
    for (int i = 0; i < rest.rank; i++) tn_vec_push(arena, &all.modes, rest.mode[i]);
    return (tn_layout){.mode = all.modes.data, .rank = (int)all.modes.len};
}

bool tn_layout_divide_modes(tn_arena *arena, const tn_layout *l, const tn_layout *tile, int count,
                            tn_layout_grouping grouping, tn_layout *out) {
    int rank = tn_layout_rank(l);
    if (count > rank) return false;
    tn_layout *modes = TN_NEW_N(arena, tn_layout, rank);
    for (int i = 0; i < rank; i++) {
        modes[i] = tn_layout_at(l, i);
        if (i < count && !tn_layout_divide(arena, &modes[i], &tile[i], &modes[i])) return false;
    }
    *out = (tn_layout){.mode = modes, .rank = rank};
    if (grouping != TN_LAYOUT_LOGICAL) *out = regroup(arena, out, count, grouping);
    return true;
}

/* ---- product -------------------------------------------------------------------------------- */

bool tn_layout_product(tn_arena *arena, const tn_layout *l, const tn_layout *tiles,
                       tn_layout *out) {
    tn_layout free_part, repeated;
    int64_t room;
    if (__builtin_mul_overflow(tn_layout_size(l), tn_layout_cosize(tiles), &room)) return false;
    if (!tn_layout_complement(arena, l, room, &free_part)) return false;
    if (!tn_layout_compose(arena, &free_part, tiles, &repeated)) return false;
    *out = pair_of(arena, *l, repeated);
    return true;
}

/* With modes 1:0 behind, up to `rank`. */
static tn_layout padded(tn_arena *arena, const tn_layout *l, int rank) {
    tn_layout *modes = TN_NEW_N(arena, tn_layout, rank);
    for (int i = 0; i < rank; i++)
        modes[i] = i < tn_layout_rank(l) ? tn_layout_at(l, i) : tn_layout_mode(1, 0);
    return (tn_layout){.mode = modes, .rank = rank};
}

/* Pairs mode i of the block (0) and of the tiles (1); `fast` is the part that runs faster. */
static bool product_by_axis(tn_arena *arena, const tn_layout *l, const tn_layout *tiles, int fast,
                            tn_layout *out) {
    int rank = TN_MAX(tn_layout_rank(l), tn_layout_rank(tiles));
    tn_layout block = padded(arena, l, rank), around = padded(arena, tiles, rank), both;
    if (!tn_layout_product(arena, &block, &around, &both)) return false;
    tn_layout *modes = TN_NEW_N(arena, tn_layout, rank);
    for (int i = 0; i < rank; i++)
        modes[i] = pair_of(arena, both.mode[fast].mode[i], both.mode[1 - fast].mode[i]);
    *out = (tn_layout){.mode = modes, .rank = rank};
    return true;
}

bool tn_layout_blocked_product(tn_arena *arena, const tn_layout *l, const tn_layout *tiles,
                               tn_layout *out) {
    return product_by_axis(arena, l, tiles, 0, out);
}

bool tn_layout_raked_product(tn_arena *arena, const tn_layout *l, const tn_layout *tiles,
                             tn_layout *out) {
    return product_by_axis(arena, l, tiles, 1, out);
}

/* ---- inverses ------------------------------------------------------------------------------- */

/* Follows the modes in the order of their strides as long as each begins where the last one ends;
 * a mode's place among l's coordinates is its stride in the inverse. */
tn_layout tn_layout_right_inverse(tn_arena *arena, const tn_layout *l) {
    flat_layout flat = flatten(arena, l), order = {0}, out = {0};
    TN_VEC(int64_t) place = {0};
    int64_t before = 1, reached = 1;
    for (uint32_t i = 0; i < flat.modes.len; i++) {
        const tn_layout *mode = &flat.modes.data[i];
        if (mode->shape != 1 && mode->stride != 0) {
            uint32_t at = order.modes.len; /* insertion sort: few modes */
            tn_vec_push(arena, &order.modes, *mode);
            tn_vec_push(arena, &place, before);
            for (; at > 0 && order.modes.data[at - 1].stride > mode->stride; at--) {
                order.modes.data[at] = order.modes.data[at - 1];
                place.data[at] = place.data[at - 1];
            }
            order.modes.data[at] = *mode;
            place.data[at] = before;
        }
        before *= mode->shape;
    }
    for (uint32_t i = 0; i < order.modes.len && order.modes.data[i].stride == reached; i++) {
        append_coalesced(arena, &out, order.modes.data[i].shape, place.data[i]);
        reached *= order.modes.data[i].shape;
    }
    return from_flat(&out);
}

bool tn_layout_left_inverse(tn_arena *arena, const tn_layout *l, tn_layout *out) {
    tn_layout rest;
    if (!tn_layout_complement(arena, l, 1, &rest)) return false;
    tn_layout whole = pair_of(arena, *l, rest);
    *out = tn_layout_right_inverse(arena, &whole);
    return true;
}

/* ---- swizzle -------------------------------------------------------------------------------- */

int64_t tn_swizzle_index(tn_swizzle s, int64_t x) {
    int64_t mask = (((int64_t)1 << s.bits) - 1) << (s.base + s.shift);
    return x ^ ((x & mask) >> s.shift);
}

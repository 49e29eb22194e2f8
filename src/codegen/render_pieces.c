/* Vector loads whose lanes lie in a few runs of memory: vectors and shuffles instead of a gather.
 *
 * How the index follows the lane is a layout: (2,8):(1,8) reads pairs, (2,8):(0,1) every element
 * twice, (2,8):(96,1) two rows in turn, 16:-1 a row backwards. All that is known when the kernel is
 * made, so the vectors that cover the elements and the lane of each are, too. A vector never reaches
 * past the outermost elements that are read; where only the first lanes read (the end of a row), and their
 * elements ascend, it is loaded up to the last of those. */
#include "codegen/render.h"
#include "loop/index_layout.h"

#include <inttypes.h>

enum { MOST_LANES = 64, MOST_PIECES = 4 };

typedef struct pieces {
    uint32_t lanes, width, count;
    int64_t start[MOST_PIECES]; /* elements from `rest` on */
    uint32_t piece[MOST_LANES], place[MOST_LANES];
    tn_layout follows;
    bool ascend; /* elements never lie before those of the lane before */
} pieces;

static int64_t smallest_from(const int64_t *offset, uint32_t lanes, int64_t from) {
    int64_t least = INT64_MAX;
    for (uint32_t i = 0; i < lanes; i++)
        if (offset[i] >= from) least = TN_MIN(least, offset[i]);
    return least;
}

/* False when more than MOST_PIECES vectors are needed, or there is only one element. */
static bool cover(pieces *p, const int64_t *offset) {
    int64_t first = smallest_from(offset, p->lanes, INT64_MIN), last = first;
    for (uint32_t i = 0; i < p->lanes; i++) last = TN_MAX(last, offset[i]);
    p->width = p->lanes;
    while (p->width > last - first + 1) p->width /= 2;
    if (p->width < 2) return false;
    for (int64_t at = first; at != INT64_MAX && p->count < MOST_PIECES;) {
        int64_t start = TN_MIN(at, last + 1 - (int64_t)p->width);
        for (uint32_t i = 0; i < p->lanes; i++)
            if (offset[i] >= start && offset[i] < start + p->width) {
                p->piece[i] = p->count;
                p->place[i] = (uint32_t)(offset[i] - start);
            }
        p->start[p->count++] = start;
        at = smallest_from(offset, p->lanes, start + p->width);
        if (at == INT64_MAX) return true;
    }
    return false;
}

static bool find(render *r, tn_lx index, pieces *p, tn_lx *rest) {
    int64_t offset[MOST_LANES];
    uint32_t lane = tn__expand_lane(r->k, p->lanes);
    if (p->lanes > MOST_LANES) return false;
    if (!tn_l_layout(r->k, index, lane, p->lanes, r->arena, &p->follows, rest)) return false;
    if (tn__lanes_of(r, *rest)) return false;
    p->ascend = true;
    for (uint32_t i = 0; i < p->lanes; i++) {
        offset[i] = tn_layout_index(&p->follows, i);
        p->ascend &= i == 0 || offset[i] >= offset[i - 1];
    }
    return cover(p, offset);
}

/* The number of elements from the first lane's up to that of the last of `count` lanes; NONE: not found. */
static tn_lx elements_of(tn_loop *k, const pieces *p, tn_lx count) {
    tn_lx one = tn_l_int(k, 1), zero = tn_l_int(k, 0), sum = one;
    tn_lx lane = tn_l_max(k, zero, tn_l_sub(k, count, one));
    for (int i = 0; i < tn_layout_rank(&p->follows); i++) {
        tn_layout mode = tn_layout_at(&p->follows, i);
        tn_lx size = tn_l_int(k, mode.shape);
        if (mode.mode) return TN_LX_NONE;
        sum = tn_l_add(k, sum, tn_l_mul(k, tn_l_mod(k, lane, size), tn_l_int(k, mode.stride)));
        lane = tn_l_div(k, lane, size);
    }
    return tn_l_select(k, tn_l_lt(k, zero, count), sum, zero);
}

static const char *load_piece(render *r, uint32_t buffer, const pieces *p, uint32_t i, tn_lx rest,
                              tn_lx elements) {
    tn_loop *k = r->k;
    tn_lx first = tn_l_add(k, rest, tn_l_int(k, p->start[i])), width = tn_l_int(k, p->width);
    if (elements == TN_LX_NONE) return tn__load_vector(r, buffer, first, TN_LX_NONE, p->width);
    tn_lx from = tn_l_int(k, p->start[i] - tn_layout_index(&p->follows, 0));
    tn_lx left = tn_l_max(k, tn_l_int(k, 0), tn_l_sub(k, elements, from));
    return tn__load_vector(r, buffer, first, tn_l_min(k, left, width), p->width);
}

/* Vectors a and b (a alone where there is no b) as one, with every lane of theirs in its place. */
static const char *joined(render *r, const pieces *p, const char *const *vector, uint32_t a) {
    bool two = a + 1 < p->count;
    const char *text =
        tn__text(r, "__builtin_shufflevector(%s, %s", vector[a], vector[two ? a + 1 : a]);
    for (uint32_t i = 0; i < p->lanes; i++) {
        uint32_t from = p->piece[i] == a + 1 ? p->width : 0;
        bool here = p->piece[i] == a || p->piece[i] == a + 1;
        text = tn__text(r, "%s, %" PRIu32, text, here ? from + p->place[i] : 0);
    }
    return tn__text(r, "%s)", text);
}

const char *tn__load_pieces(render *r, uint32_t buffer, tn_lx index, tn_lx count, uint32_t lanes) {
    pieces p = {.lanes = lanes};
    tn_lx rest, elements = TN_LX_NONE;
    const char *vector[MOST_PIECES];
    if (!find(r, index, &p, &rest)) return NULL;
    if (count != TN_LX_NONE) {
        elements = p.ascend ? elements_of(r->k, &p, count) : TN_LX_NONE;
        if (elements == TN_LX_NONE) return NULL;
    }
    for (uint32_t i = 0; i < p.count; i++) vector[i] = load_piece(r, buffer, &p, i, rest, elements);
    const char *low = joined(r, &p, vector, 0);
    if (p.count <= 2) return low;
    const char *text = tn__text(r, "__builtin_shufflevector(%s, %s", low, joined(r, &p, vector, 2));
    for (uint32_t i = 0; i < lanes; i++)
        text = tn__text(r, "%s, %" PRIu32, text, p.piece[i] < 2 ? i : lanes + i);
    return tn__text(r, "%s)", text);
}

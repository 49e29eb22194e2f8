/* Transposing a square register of vectors by shuffles.
 *
 * Within blocks of 128 bits (e elements), e rows at a time: log2(e) rounds in which rows i and
 * i + e/2 are interleaved block by block, the low half of each block first; that is what unpack and
 * zip instructions do. Then the blocks of rows that are e apart change places: rounds in which the
 * even blocks of neighbouring rows go to the front and the odd ones to the back. n * log2(n)
 * shuffles of two vectors in all, each one instruction on x86 and AArch64. */
#include "codegen/render.h"

#include <inttypes.h>

enum { BLOCK_BITS = 128, MOST_ROWS = 64 };

typedef struct square {
    render *r;
    const char *type;
    uint32_t n, block; /* lanes of a vector and of a block */
    const char *row[MOST_ROWS];
} square;

/* Lane numbers of two vectors a, b: those of b are n and more. */
static const char *shuffled(square *s, uint32_t a, uint32_t b, const uint32_t *lane) {
    const char *name = tn__identifier(s->r, "turn"), *list = "";
    for (uint32_t i = 0; i < s->n; i++) list = tn__text(s->r, "%s, %" PRIu32, list, lane[i]);
    tn__line(s->r, "const %s %s = __builtin_shufflevector(%s, %s%s);", s->type, name, s->row[a],
             s->row[b], list);
    return name;
}

/* One half (0, 1) of each block of a, interleaved with that of b. */
static const char *interleaved(square *s, uint32_t a, uint32_t b, uint32_t half) {
    uint32_t lane[MOST_ROWS];
    for (uint32_t i = 0; i < s->n; i++) {
        uint32_t in_block = i % s->block;
        lane[i] = i - in_block + half * s->block / 2 + in_block / 2 + (in_block % 2) * s->n;
    }
    return shuffled(s, a, b, lane);
}

/* The even (0) or odd (1) blocks of a, then those of b. */
static const char *every_other(square *s, uint32_t a, uint32_t b, uint32_t odd) {
    uint32_t lane[MOST_ROWS];
    for (uint32_t i = 0; i < s->n; i++)
        lane[i] = (2 * (i / s->block) + odd) * s->block + i % s->block;
    return shuffled(s, a, b, lane);
}

static void turn_blocks_inside(square *s, uint32_t first) {
    for (uint32_t round = 1; round < s->block; round *= 2) {
        const char *next[MOST_ROWS];
        for (uint32_t i = 0; i < s->block / 2; i++)
            for (uint32_t half = 0; half < 2; half++)
                next[2 * i + half] = interleaved(s, first + i, first + i + s->block / 2, half);
        memcpy(s->row + first, next, s->block * sizeof *next);
    }
}

static void turn_blocks(square *s, uint32_t first) {
    uint32_t count = s->n / s->block;
    for (uint32_t round = 1; round < count; round *= 2) {
        const char *next[MOST_ROWS];
        for (uint32_t odd = 0; odd < 2; odd++)
            for (uint32_t i = 0; i < count / 2; i++) {
                uint32_t a = first + 2 * i * s->block;
                next[odd * count / 2 + i] = every_other(s, a, a + s->block, odd);
            }
        for (uint32_t i = 0; i < count; i++) s->row[first + i * s->block] = next[i];
    }
}

static void turn_array(render *r, uint32_t reg, uint32_t n) {
    const char *name = r->registers[reg].name, *t = tn__identifier(r, "held");
    const char *i = tn__identifier(r, "i"), *j = tn__identifier(r, "j");
    tn__line(r, "for (i64 %s = 0; %s < %" PRIu32 "; %s++)", i, i, n, i);
    tn__line(r, "    for (i64 %s = 0; %s < %s; %s++) {", j, j, i, j);
    const char *a = tn__text(r, "%s[%s * %" PRIu32 " + %s]", name, i, n, j);
    const char *b = tn__text(r, "%s[%s * %" PRIu32 " + %s]", name, j, n, i);
    tn__line(r, "        const %s %s = %s;", tn__c_type(r, r->k->registers.data[reg].dtype, 0), t,
             a);
    tn__line(r, "        %s = %s;", a, b);
    tn__line(r, "        %s = %s;", b, t);
    tn__line(r, "    }");
}

void tn__register_transpose(render *r, const tn_lstmt *st) {
    const register_info *info = &r->registers[st->target];
    uint32_t n = tn_l_square(r->k, st->target);
    if (info->form == REGISTER_UNUSED || n == 1) return;
    if (info->form != REGISTER_VECTORS || n > MOST_ROWS) {
        turn_array(r, st->target, n);
        return;
    }
    tn_dtype dtype = r->k->registers.data[st->target].dtype;
    square s = {.r = r, .type = tn__c_type(r, dtype, n), .n = n};
    uint32_t bits = dtype == TN_bool ? 32 : (uint32_t)TN_MAX(tn_dtype_bits(dtype), 8);
    if (tn_dtype_is_float(dtype)) bits = TN_MAX(bits, 32);
    s.block = TN_MIN(n, BLOCK_BITS / bits);
    for (uint32_t i = 0; i < n; i++) s.row[i] = info->variable[i * n];
    for (uint32_t i = 0; i < n; i += s.block) turn_blocks_inside(&s, i);
    /* rows c, c + block, … of every group now hold parts of the same columns */
    for (uint32_t i = 0; i < s.block; i++) turn_blocks(&s, i);
    for (uint32_t i = 0; i < n; i++) tn__line(r, "%s = %s;", info->variable[i * n], s.row[i]);
}

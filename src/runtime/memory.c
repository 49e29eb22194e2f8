/* Greedy best-fit placement by size over live ranges. See memory.h. */
#include "runtime/memory.h"

#include <stdlib.h>

/* Buffers that share one place: a chain in which each takes the place of the one before. */
typedef struct place {
    uint64_t size, offset;
    uint32_t first, last; /* of the whole chain */
    uint32_t id;
} place;

typedef struct placer {
    const tn_program *p;
    const uint64_t *bytes;
    uint32_t *place_of; /* per buffer */
    uint32_t *tail_of;  /* per place: the buffer at the end of its chain */
    place *places;
    uint32_t count;
} placer;

static uint64_t aligned(uint64_t bytes) {
    uint64_t sum;
    if (__builtin_add_overflow(bytes, (uint64_t)TN_MEMORY_ALIGN - 1, &sum)) tn_out_of_memory();
    return sum & ~(uint64_t)(TN_MEMORY_ALIGN - 1);
}

/* Whether `b` may join the chain that ends with the buffer it would replace. */
static bool may_join(const placer *s, const tn_prog_buffer *b, uint32_t place_id) {
    const tn_prog_buffer *before = &s->p->buffers.data[b->in_place_of];
    return s->tail_of[place_id] == b->in_place_of && before->last == b->first;
}

static void add_buffer(placer *s, uint32_t id) {
    const tn_prog_buffer *b = &s->p->buffers.data[id];
    uint32_t at = UINT32_MAX;
    if (b->in_place_of != UINT32_MAX) at = s->place_of[b->in_place_of];
    if (at == UINT32_MAX || !may_join(s, b, at)) {
        at = s->count++;
        s->places[at] = (place){.first = b->first, .id = at};
    }
    place *to = &s->places[at];
    to->last = b->last;
    to->size = TN_MAX(to->size, aligned(s->bytes[id]));
    s->place_of[id] = at;
    s->tail_of[at] = id;
}

/* Indices of TEMP buffers, those that live first in front, so that chains are built in order. */
typedef struct birth {
    uint32_t first, last, id;
} birth;

static int by_birth(const void *a, const void *b) {
    const birth *x = a, *y = b;
    if (x->first != y->first) return x->first < y->first ? -1 : 1;
    if (x->last != y->last) return x->last < y->last ? -1 : 1;
    return x->id < y->id ? -1 : 1;
}

static void make_places(placer *s, tn_arena *arena) {
    uint32_t n = s->p->buffers.len, count = 0;
    birth *births = TN_NEW_N(arena, birth, n);
    for (uint32_t i = 0; i < n; i++) {
        const tn_prog_buffer *b = &s->p->buffers.data[i];
        s->place_of[i] = UINT32_MAX;
        if (b->store == TN_STORE_TEMP) births[count++] = (birth){b->first, b->last, i};
    }
    qsort(births, count, sizeof *births, by_birth);
    for (uint32_t i = 0; i < count; i++) add_buffer(s, births[i].id);
}

static int by_size(const void *a, const void *b) {
    const place *x = a, *y = b;
    if (x->size != y->size) return x->size > y->size ? -1 : 1;
    return x->id < y->id ? -1 : 1;
}

/* The tightest gap between those of `placed` (by ascending offset) that live at the same time. */
static uint64_t find_offset(const place *p, place *const *placed, uint32_t count) {
    uint64_t end = 0, best = UINT64_MAX, best_gap = UINT64_MAX;
    for (uint32_t i = 0; i < count; i++) {
        const place *q = placed[i];
        if (q->last < p->first || p->last < q->first) continue;
        if (q->offset >= end && q->offset - end >= p->size && q->offset - end < best_gap) {
            best = end;
            best_gap = q->offset - end;
        }
        end = TN_MAX(end, q->offset + q->size);
    }
    return best == UINT64_MAX ? end : best;
}

static uint64_t place_all(placer *s, tn_arena *arena) {
    place **placed = TN_NEW_N(arena, place *, s->count);
    uint64_t total = 0;
    for (uint32_t i = 0; i < s->count; i++) {
        place *p = &s->places[i];
        uint64_t end;
        p->offset = find_offset(p, placed, i);
        if (__builtin_add_overflow(p->offset, p->size, &end) || end > INT64_MAX) tn_out_of_memory();
        total = TN_MAX(total, end);
        uint32_t at = i;
        while (at > 0 && placed[at - 1]->offset > p->offset) at--;
        memmove(placed + at + 1, placed + at, (i - at) * sizeof(place *));
        placed[at] = p;
    }
    return total;
}

void tn_memory_place(const tn_program *p, const uint64_t *bytes, tn_arena *arena,
                     tn_memory_plan *out) {
    uint32_t n = p->buffers.len;
    placer s = {.p = p, .bytes = bytes};
    s.place_of = TN_NEW_N(arena, uint32_t, n);
    s.tail_of = TN_NEW_N(arena, uint32_t, n);
    s.places = TN_NEW_N(arena, place, n);
    make_places(&s, arena);
    qsort(s.places, s.count, sizeof *s.places, by_size);
    out->total = place_all(&s, arena);
    uint64_t *offset_of = TN_NEW_N(arena, uint64_t, n);
    for (uint32_t i = 0; i < s.count; i++) offset_of[s.places[i].id] = s.places[i].offset;
    out->offset = TN_NEW_N(arena, uint64_t, n);
    for (uint32_t i = 0; i < n; i++)
        if (s.place_of[i] != UINT32_MAX) out->offset[i] = offset_of[s.place_of[i]];
}

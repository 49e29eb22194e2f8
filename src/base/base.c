/* Allocators, arenas with unwinding, vectors, maps and hashes. See base.h. */
#include "base/base.h"

#include <setjmp.h>
#include <sha2.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

void tn_bug(const char *file, int line, const char *format, ...) {
    va_list args;
    va_start(args, format);
    fprintf(stderr, "tenon: bug at %s:%d: ", file, line);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    abort();
}

/* ---- allocator ------------------------------------------------------------------------------ */

enum { PAGE = 4096, LARGE_BLOCK = 4 << 20 };

/* Tensors in huge pages are read half as fast again: fewer misses of the TLB. */
static void advise_huge_pages(void *block, size_t size) {
    uintptr_t first = ((uintptr_t)block + PAGE - 1) & ~(uintptr_t)(PAGE - 1);
    (void)madvise((void *)first, (size - PAGE) & ~(size_t)(PAGE - 1), MADV_HUGEPAGE);
}

static void *system_resize(void *context, void *ptr, size_t size) {
    (void)context;
    if (size == 0) {
        free(ptr);
        return NULL;
    }
    void *block = realloc(ptr, size);
    if (block && size >= LARGE_BLOCK) advise_huge_pages(block, size);
    return block;
}

tn_allocator tn_allocator_system(void) {
    return (tn_allocator){NULL, system_resize};
}

void *tn_alloc(tn_allocator a, size_t size) {
    void *p = a.resize(a.context, NULL, size ? size : 1);
    if (p) memset(p, 0, size);
    return p;
}

void *tn_realloc(tn_allocator a, void *p, size_t n) {
    return a.resize(a.context, p, n ? n : 1);
}

void tn_free(tn_allocator a, void *ptr) {
    if (ptr) a.resize(a.context, ptr, 0);
}

bool tn_size_mul(size_t a, size_t b, size_t *out) {
    return !__builtin_mul_overflow(a, b, out);
}
bool tn_size_add(size_t a, size_t b, size_t *out) {
    return !__builtin_add_overflow(a, b, out);
}

/* ---- guard ---------------------------------------------------------------------------------- */

typedef struct guard_frame {
    jmp_buf escape;
    struct guard_frame *outer;
} guard_frame;

static _Thread_local guard_frame *guard_top;

tn_status tn_guard(tn_guarded *body, void *argument, tn_error *err) {
    guard_frame frame;
    frame.outer = guard_top;
    if (setjmp(frame.escape)) {
        guard_top = guard_top->outer;
        return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    }
    guard_top = &frame;
    tn_status status = body(argument, err);
    guard_top = frame.outer;
    return status;
}

void tn_out_of_memory(void) {
    if (!guard_top) TN_BUG("out of memory outside a guard");
    longjmp(guard_top->escape, 1);
}

/* ---- arena ---------------------------------------------------------------------------------- */

enum { ARENA_ALIGN = 16, ARENA_CHUNK = 64 << 10, LINE = 64 };

struct tn_arena_chunk {
    tn_arena_chunk *next;
    size_t used, size;
    size_t pad; /* keeps the data 16-byte aligned */
};

void tn_arena_init(tn_arena *a, tn_allocator allocator) {
    *a = (tn_arena){.allocator = allocator};
}

void tn_arena_deinit(tn_arena *a) {
    for (tn_arena_chunk *c = a->chunk; c;) {
        tn_arena_chunk *next = c->next;
        tn_free(a->allocator, c);
        c = next;
    }
    a->chunk = NULL;
    a->used = 0;
}

void tn_arena_clear(tn_arena *a) {
    tn_arena_chunk *kept = NULL;
    for (tn_arena_chunk *c = a->chunk, *next; c; c = next) {
        next = c->next;
        if (!kept && c->size == ARENA_CHUNK)
            kept = c;
        else
            tn_free(a->allocator, c);
    }
    if (kept) *kept = (tn_arena_chunk){.size = kept->size};
    a->chunk = kept;
    a->used = 0;
}

/* What to leave at the start of a chunk for its data to begin a cache line. */
static size_t line_pad(const tn_arena_chunk *c) {
    return (size_t)(-(uintptr_t)(c + 1) & (LINE - 1));
}

/* At least `size` bytes, which hold anything. */
static void *arena_take(tn_arena *a, size_t size) {
    size_t need;
    if (!tn_size_add(size ? size : 1, ARENA_ALIGN - 1, &need)) tn_out_of_memory();
    need &= ~(size_t)(ARENA_ALIGN - 1);
    if (a->limit && (need > a->limit || a->used > a->limit - need)) tn_out_of_memory();
    tn_arena_chunk *c = a->chunk;
    if (!c || c->size - c->used < need) {
        bool large = need > ARENA_CHUNK;
        size_t total, room = large ? need : ARENA_CHUNK;
        if (large && !tn_size_add(need, LINE, &room)) tn_out_of_memory();
        if (!tn_size_add(room, sizeof(tn_arena_chunk), &total)) tn_out_of_memory();
        tn_arena_chunk *fresh = a->allocator.resize(a->allocator.context, NULL, total);
        if (!fresh) tn_out_of_memory();
        *fresh = (tn_arena_chunk){.next = c, .size = room};
        if (large) fresh->used = line_pad(fresh);
        if (c && need > ARENA_CHUNK / 4) { /* a big block must not retire a half-empty chunk */
            fresh->next = c->next;
            c->next = fresh;
        } else {
            a->chunk = fresh;
        }
        c = fresh;
    }
    void *p = (char *)(c + 1) + c->used;
    c->used += need;
    a->used += need;
    return p;
}

void *tn_arena_alloc(tn_arena *a, size_t size) {
    return memset(arena_take(a, size), 0, size);
}

void *tn_arena_alloc_n(tn_arena *a, size_t size, size_t count) {
    size_t total;
    if (!tn_size_mul(size, count, &total)) tn_out_of_memory();
    return tn_arena_alloc(a, total);
}

void *tn_arena_dup(tn_arena *a, const void *data, size_t size) {
    void *p = arena_take(a, size);
    if (size) memcpy(p, data, size);
    return p;
}

/* Each block is preceded by its size. */
static void *arena_resize(void *context, void *ptr, size_t size) {
    if (size == 0) return NULL;
    size_t total;
    if (!tn_size_add(size, ARENA_ALIGN, &total)) return NULL;
    char *fresh = tn_arena_alloc(context, total);
    memcpy(fresh, &size, sizeof size);
    if (ptr) {
        size_t old;
        memcpy(&old, (char *)ptr - ARENA_ALIGN, sizeof old);
        memcpy(fresh + ARENA_ALIGN, ptr, TN_MIN(old, size));
    }
    return fresh + ARENA_ALIGN;
}

tn_allocator tn_arena_allocator(tn_arena *a) {
    return (tn_allocator){a, arena_resize};
}

char *tn_arena_strdup(tn_arena *a, const char *text) {
    return tn_arena_dup(a, text, strlen(text) + 1);
}

char *tn_arena_printf(tn_arena *a, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *text = tn_arena_alloc(a, (size_t)len + 1);
    va_start(args, format);
    vsnprintf(text, (size_t)len + 1, format, args);
    va_end(args);
    return text;
}

void tn_vec_reserve(tn_arena *a, void **data, uint32_t *cap, uint32_t need, size_t element) {
    if (need <= *cap) return;
    if (need > UINT32_MAX / 2) tn_out_of_memory();
    uint32_t fresh = *cap ? *cap : 8;
    while (fresh < need) fresh *= 2;
    void *moved = tn_arena_alloc_n(a, element, fresh);
    if (*cap) memcpy(moved, *data, *cap * element);
    *data = moved;
    *cap = fresh;
}

/* ---- map ------------------------------------------------------------------------------------ */

void tn_map_init(tn_map *m, tn_arena *arena) {
    *m = (tn_map){.arena = arena};
}

static tn_map_slot *map_find(const tn_map *m, const void *key, size_t len, uint64_t hash) {
    if (!m->cap) return NULL;
    for (uint32_t i = (uint32_t)hash & (m->cap - 1);; i = (i + 1) & (m->cap - 1)) {
        tn_map_slot *slot = &m->slots[i];
        if (!slot->key) return slot;
        if (slot->hash == hash && slot->key_len == len && !memcmp(slot->key, key, len)) return slot;
    }
}

bool tn_map_get(const tn_map *m, const void *key, size_t key_len, uint32_t *value) {
    const tn_map_slot *slot = map_find(m, key, key_len, tn_hash64(key, key_len));
    if (!slot || !slot->key) return false;
    *value = slot->value;
    return true;
}

void tn_map_put(tn_map *m, const void *key, size_t key_len, uint32_t value) {
    if (m->len * 2 >= m->cap) {
        tn_map old = *m;
        m->cap = old.cap ? old.cap * 2 : 32;
        m->slots = TN_NEW_N(m->arena, tn_map_slot, m->cap);
        for (uint32_t i = 0; i < old.cap; i++) {
            const tn_map_slot *s = &old.slots[i];
            if (s->key) *map_find(m, s->key, s->key_len, s->hash) = *s;
        }
    }
    uint64_t hash = tn_hash64(key, key_len);
    tn_map_slot *slot = map_find(m, key, key_len, hash);
    if (!slot->key) {
        *slot = (tn_map_slot){tn_arena_dup(m->arena, key, key_len), (uint32_t)key_len, 0, hash};
        m->len++;
    }
    slot->value = value;
}

bool tn_map_get_str(const tn_map *m, const char *key, uint32_t *value) {
    return tn_map_get(m, key, strlen(key), value);
}

void tn_map_put_str(tn_map *m, const char *key, uint32_t value) {
    tn_map_put(m, key, strlen(key), value);
}

/* ---- hashes --------------------------------------------------------------------------------- */

uint64_t tn_hash64(const void *data, size_t size) {
    return XXH3_64bits(data, size);
}

tn_hash128 tn_hash128_of(const void *data, size_t size) {
    XXH128_hash_t h = XXH3_128bits(data, size);
    return (tn_hash128){h.low64, h.high64};
}

void tn_sha256_hex(const void *data, size_t size, char out[65]) {
    SHA256Data(data, size, out);
}

/* Memory, containers and invariants for everything inside the compiler.
 *
 * Compile-time structures live in arenas. An arena never returns NULL: when the allocator fails, it
 * unwinds to the nearest tn_guard(), which returns TN_OUT_OF_MEMORY; the guard's owner then drops
 * the arena. So passes need no allocation checks. Whatever is not arena memory (files, maps,
 * processes, reference-counted objects) must be owned outside the guarded function. */
#ifndef TENON_BASE_BASE_H
#define TENON_BASE_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <tenon/status.h>
#include <tenon/type.h>

#define TN_COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define TN_MIN(a, b)    ((a) < (b) ? (a) : (b))
#define TN_MAX(a, b)    ((a) > (b) ? (a) : (b))

/* A broken invariant: prints the place and aborts. Never reachable from input. */
#define TN_BUG(...) tn_bug(__FILE__, __LINE__, __VA_ARGS__)
#define TN_ASSERT(condition)                                                                       \
    do {                                                                                           \
        if (!(condition)) TN_BUG("broken invariant: %s", #condition);                              \
    } while (0)
_Noreturn void tn_bug(const char *file, int line, const char *format, ...) TN_PRINTF(3, 4);

/* ---- allocator ------------------------------------------------------------------------------ */

/* realloc-like: (ptr, 0) frees; (NULL, n) allocates. Passed by value. */
typedef struct tn_allocator {
    void *context;
    void *(*resize)(void *context, void *ptr, size_t size);
} tn_allocator;

tn_allocator tn_allocator_system(void);
void *tn_alloc(tn_allocator a, size_t size);         /* zeroed; NULL on failure */
void *tn_realloc(tn_allocator a, void *p, size_t n); /* NULL on failure, p stays valid */
void tn_free(tn_allocator a, void *ptr);

/* Overflow-checked size arithmetic; false on overflow. */
bool tn_size_mul(size_t a, size_t b, size_t *out);
bool tn_size_add(size_t a, size_t b, size_t *out);

/* ---- arena ---------------------------------------------------------------------------------- */

typedef struct tn_arena_chunk tn_arena_chunk;
typedef struct tn_arena {
    tn_allocator allocator;
    tn_arena_chunk *chunk;
    size_t used;  /* bytes handed out */
    size_t limit; /* 0: none; beyond it the arena behaves as out of memory */
} tn_arena;

void tn_arena_init(tn_arena *a, tn_allocator allocator);
void tn_arena_deinit(tn_arena *a);
/* Takes back all memory that was handed out; some is kept for what comes next. */
void tn_arena_clear(tn_arena *a);
/* Zeroed memory, aligned to 16 bytes, a tensor's (more than 64 KiB) to 64. Size 0 gives a valid unique
 * pointer. */
void *tn_arena_alloc(tn_arena *a, size_t size);
void *tn_arena_dup(tn_arena *a, const void *data, size_t size);
char *tn_arena_strdup(tn_arena *a, const char *text);
char *tn_arena_printf(tn_arena *a, const char *format, ...) TN_PRINTF(2, 3);
/* An allocator over the arena, for strings that must not leak when memory runs out. Freeing does
 * nothing; `a` must outlive what it gives. */
tn_allocator tn_arena_allocator(tn_arena *a);
#define TN_NEW(arena, T)      ((T *)tn_arena_alloc((arena), sizeof(T)))
#define TN_NEW_N(arena, T, n) ((T *)tn_arena_alloc_n((arena), sizeof(T), (size_t)(n)))
void *tn_arena_alloc_n(tn_arena *a, size_t size, size_t count);

/* Runs `body(argument, err)`; when an arena runs out of memory inside it, control returns here with
 * TN_OUT_OF_MEMORY. Guards nest; they are per thread. */
typedef tn_status tn_guarded(void *argument, tn_error *err);
tn_status tn_guard(tn_guarded *body, void *argument, tn_error *err);
/* Unwinds to the nearest guard as if an allocation had failed. */
_Noreturn void tn_out_of_memory(void);

/* ---- vector --------------------------------------------------------------------------------- */

/* A growing array in an arena: TN_VEC(int) v = {0}; tn_vec_push(arena, &v, 3); v.data[0] */
#define TN_VEC(T)                                                                                  \
    struct {                                                                                       \
        T *data;                                                                                   \
        uint32_t len, cap;                                                                         \
    }
#define tn_vec_push(arena, v, ...)                                                                 \
    do {                                                                                           \
        tn_vec_reserve((arena), (void **)&(v)->data, &(v)->cap, (v)->len + 1, sizeof(*(v)->data)); \
        (v)->data[(v)->len++] = (__VA_ARGS__);                                                     \
    } while (0)
#define tn_vec_grow(arena, v, n)                                                                   \
    tn_vec_reserve((arena), (void **)&(v)->data, &(v)->cap, (n), sizeof(*(v)->data))
void tn_vec_reserve(tn_arena *a, void **data, uint32_t *cap, uint32_t need, size_t element);

/* ---- hash map: bytes → u32 ------------------------------------------------------------------ */

typedef struct tn_map_slot {
    const void *key;
    uint32_t key_len, value;
    uint64_t hash;
} tn_map_slot;
/* Keys are copied into the arena. Iteration order is not defined; nothing may depend on it. */
typedef struct tn_map {
    tn_arena *arena;
    tn_map_slot *slots;
    uint32_t len, cap;
} tn_map;

void tn_map_init(tn_map *m, tn_arena *arena);
bool tn_map_get(const tn_map *m, const void *key, size_t key_len, uint32_t *value);
void tn_map_put(tn_map *m, const void *key, size_t key_len, uint32_t value);
bool tn_map_get_str(const tn_map *m, const char *key, uint32_t *value);
void tn_map_put_str(tn_map *m, const char *key, uint32_t value);

/* ---- hashes --------------------------------------------------------------------------------- */

uint64_t tn_hash64(const void *data, size_t size);
/* 128-bit content hash (XXH3): integrity of files, identity of data we wrote ourselves. */
typedef struct tn_hash128 {
    uint64_t lo, hi;
} tn_hash128;
tn_hash128 tn_hash128_of(const void *data, size_t size);
/* SHA-256 in hex (64 digits + NUL): cache keys, where a forged collision must be impossible. */
void tn_sha256_hex(const void *data, size_t size, char out[65]);

#endif

/* Allocations of the library that fail on purpose. For tests whose name ends in out_of_memory: the linker
 * leads the allocations here (--wrap, tests/CMakeLists.txt). One test program includes this once.
 *
 * An arena takes memory in large pieces, so most of what is asked of it could not fail: each request counts as an
 * allocation, too, be it for an object, a copy, a text, or a vector or map that grows. */
#ifndef TENON_FAILING_ALLOCATIONS_H
#define TENON_FAILING_ALLOCATIONS_H

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/base.h"

/* Allocations that still succeed before one fails; below 0 none fails. */
static atomic_long failing_after = -1;

enum { DENSE_ALLOCATIONS = 200 }; /* of which the first are tried one by one */

/* The allocation to fail after the n-th: the next one, behind the dense ones `step` further, unless
 * TENON_EVERY_ALLOCATION is in the environment. */
static inline long next_allocation(long n, long step) {
    bool every = n < DENSE_ALLOCATIONS || getenv("TENON_EVERY_ALLOCATION");
    return n + (every ? 1 : TN_MAX(step, 1));
}

static bool allocation_fails(void) {
    return atomic_load(&failing_after) >= 0 && atomic_fetch_sub(&failing_after, 1) == 0;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *p, size_t size);
void *__real_aligned_alloc(size_t align, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *p, size_t size);
void *__wrap_aligned_alloc(size_t align, size_t size);

void *__wrap_malloc(size_t size) {
    return allocation_fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size) {
    return allocation_fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *p, size_t size) {
    return size > 0 && allocation_fails() ? NULL : __real_realloc(p, size);
}

void *__wrap_aligned_alloc(size_t align, size_t size) {
    return allocation_fails() ? NULL : __real_aligned_alloc(align, size);
}

/* Where an arena is asked. */
static inline void arena_request(void) {
    if (allocation_fails()) tn_out_of_memory();
}

void *__real_tn_arena_alloc(tn_arena *a, size_t size);
void *__real_tn_arena_alloc_n(tn_arena *a, size_t size, size_t count);
void *__real_tn_arena_dup(tn_arena *a, const void *data, size_t size);
char *__real_tn_arena_strdup(tn_arena *a, const char *text);
tn_allocator __real_tn_arena_allocator(tn_arena *a);
void __real_tn_vec_reserve(tn_arena *a, void **data, uint32_t *cap, uint32_t need, size_t element);
void __real_tn_map_put(tn_map *m, const void *key, size_t key_len, uint32_t value);
void __real_tn_map_put_str(tn_map *m, const char *key, uint32_t value);
void *__wrap_tn_arena_alloc(tn_arena *a, size_t size);
void *__wrap_tn_arena_alloc_n(tn_arena *a, size_t size, size_t count);
void *__wrap_tn_arena_dup(tn_arena *a, const void *data, size_t size);
char *__wrap_tn_arena_strdup(tn_arena *a, const char *text);
char *__wrap_tn_arena_printf(tn_arena *a, const char *format, ...) TN_PRINTF(2, 3);
tn_allocator __wrap_tn_arena_allocator(tn_arena *a);
void __wrap_tn_vec_reserve(tn_arena *a, void **data, uint32_t *cap, uint32_t need, size_t element);
void __wrap_tn_map_put(tn_map *m, const void *key, size_t key_len, uint32_t value);
void __wrap_tn_map_put_str(tn_map *m, const char *key, uint32_t value);

void *__wrap_tn_arena_alloc(tn_arena *a, size_t size) {
    arena_request();
    return __real_tn_arena_alloc(a, size);
}

void *__wrap_tn_arena_alloc_n(tn_arena *a, size_t size, size_t count) {
    arena_request();
    return __real_tn_arena_alloc_n(a, size, count);
}

void *__wrap_tn_arena_dup(tn_arena *a, const void *data, size_t size) {
    arena_request();
    return __real_tn_arena_dup(a, data, size);
}

char *__wrap_tn_arena_strdup(tn_arena *a, const char *text) {
    arena_request();
    return __real_tn_arena_strdup(a, text);
}

char *__wrap_tn_arena_printf(tn_arena *a, const char *format, ...) {
    va_list args;
    arena_request();
    va_start(args, format);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *text = __real_tn_arena_alloc(a, (size_t)len + 1);
    va_start(args, format);
    vsnprintf(text, (size_t)len + 1, format, args);
    va_end(args);
    return text;
}

static inline void *arena_resize_or_fail(void *context, void *ptr, size_t size) {
    if (size) arena_request();
    return __real_tn_arena_allocator(context).resize(context, ptr, size);
}

tn_allocator __wrap_tn_arena_allocator(tn_arena *a) {
    return (tn_allocator){a, arena_resize_or_fail};
}

void __wrap_tn_vec_reserve(tn_arena *a, void **data, uint32_t *cap, uint32_t need, size_t element) {
    if (need > *cap) arena_request();
    __real_tn_vec_reserve(a, data, cap, need, element);
}

void __wrap_tn_map_put(tn_map *m, const void *key, size_t key_len, uint32_t value) {
    arena_request();
    __real_tn_map_put(m, key, key_len, value);
}

void __wrap_tn_map_put_str(tn_map *m, const char *key, uint32_t value) {
    arena_request();
    __real_tn_map_put_str(m, key, value);
}

#endif

/* Allocations of the library that fail on purpose. For tests whose name ends in out_of_memory: the linker
 * leads the allocations here (--wrap, tests/CMakeLists.txt). One test program includes this once.
 *
 * An arena takes memory in large pieces, so most of what is asked of it cannot fail; with
 * `arenas_fail` each of these counts as an allocation, too. */
#ifndef TENON_FAILING_ALLOCATIONS_H
#define TENON_FAILING_ALLOCATIONS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/base.h"

/* Allocations that still succeed before one fails; below 0 none fails. */
static atomic_long failing_after = -1;

static bool arenas_fail;

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

void *__real_tn_arena_alloc(tn_arena *a, size_t size);
void *__real_tn_arena_alloc_n(tn_arena *a, size_t size, size_t count);
void *__wrap_tn_arena_alloc(tn_arena *a, size_t size);
void *__wrap_tn_arena_alloc_n(tn_arena *a, size_t size, size_t count);

void *__wrap_tn_arena_alloc(tn_arena *a, size_t size) {
    if (arenas_fail && allocation_fails()) tn_out_of_memory();
    return __real_tn_arena_alloc(a, size);
}

void *__wrap_tn_arena_alloc_n(tn_arena *a, size_t size, size_t count) {
    if (arenas_fail && allocation_fails()) tn_out_of_memory();
    return __real_tn_arena_alloc_n(a, size, count);
}

#endif

/* Arrays by name from an .npz file of tests/golden, for all tests of a program. */
#ifndef TENON_GOLDEN_NPZ_H
#define TENON_GOLDEN_NPZ_H

#include "import/import.h"

static tn_arena golden_arena;
static tn_import_entries golden;

static inline int golden_load(const char *path) {
    tn_error err = TN_ERROR_INIT;
    tn_arena_init(&golden_arena, tn_allocator_system());
    return tn_import_npz(path, &golden_arena, &golden, &err) == TN_OK ? 0 : -1;
}

static inline int golden_unload(void **state) {
    (void)state;
    tn_arena_deinit(&golden_arena);
    return 0;
}

#endif

/* Fuzzes the reader of program files. Sizes and hashes are set right first, as whoever forges a file
 * would: what is behind them is what must hold. */
#include "base/base.h"
#include "fuzz/file.h"
#include "program/format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct input {
    tn_arena arena;
    const char *path;
} input;

static void put(uint8_t *at, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++) at[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t take(const uint8_t *at, int bytes) {
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++) value |= (uint64_t)at[i] << (8 * i);
    return value;
}

static void put_hash(uint8_t *at, const uint8_t *data, uint64_t size) {
    tn_hash128 hash = tn_hash128_of(data, size);
    put(at, hash.lo, 8);
    put(at + 8, hash.hi, 8);
}

/* Head: magic 8, version 4, sections 4, size 8, hash 16. Section: kind 4, index 4, offset 8, size 8,
 * hash 16. */
static void forge(uint8_t *file, size_t size) {
    if (size < TN__PROGRAM_HEAD) return;
    memcpy(file, TN__PROGRAM_MAGIC, 8);
    put(file + 8, TN__PROGRAM_VERSION, 4);
    put(file + 16, size, 8);
    uint64_t count = take(file + 12, 4), room = (size - TN__PROGRAM_HEAD) / TN__PROGRAM_SECTION;
    if (count > room) return;
    uint8_t *table = file + TN__PROGRAM_HEAD;
    for (uint64_t i = 0; i < count; i++) {
        uint8_t *section = table + i * TN__PROGRAM_SECTION;
        uint64_t offset = take(section + 8, 8), bytes = take(section + 16, 8);
        if (offset <= size && bytes <= size - offset) put_hash(section + 24, file + offset, bytes);
    }
    put_hash(file + 24, table, count * TN__PROGRAM_SECTION);
}

static tn_status load(void *argument, tn_error *err) {
    input *in = argument;
    tn_program_file f;
    TN_CHECK(tn_program_load(&f, &in->arena, in->path, err));
    tn_str text;
    tn_str_init_with(&text, tn_arena_allocator(&in->arena));
    tn_program_print(&f.program, &text);
    tn_program_close(&f);
    return TN_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    uint8_t *forged = malloc(size + 1);
    if (!forged) abort();
    memcpy(forged, data, size);
    forge(forged, size);
    fuzz_file file = fuzz_file_open(forged, size);
    free(forged);
    input in = {.path = file.path};
    tn_error err = TN_ERROR_INIT;
    tn_arena_init(&in.arena, tn_allocator_system());
    in.arena.limit = (size_t)64 << 20;
    (void)!tn_guard(load, &in, &err);
    tn_arena_deinit(&in.arena);
    fuzz_file_close(&file);
    return 0;
}

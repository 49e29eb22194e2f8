/* Fuzzes the reader of program files. Sizes and hashes are set right first, as whoever forges a file
 * would: what is behind them is what must hold. */
#include "base/base.h"
#include "fuzz/file.h"
#include "program/format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t most);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed);

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

/* ---- mutations ------------------------------------------------------------------------------ */

static uint32_t below(uint64_t *random, uint64_t n) {
    *random = *random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((*random >> 33) % n);
}

/* A section of the file, never one that is empty or of weights; false: there is none. */
static bool choose_section(const uint8_t *file, size_t size, uint64_t *random, size_t *at,
                           size_t *bytes) {
    uint64_t count = size < TN__PROGRAM_HEAD ? 0 : take(file + 12, 4);
    for (int tries = 0; tries < 8 && count; tries++) {
        uint64_t where = TN__PROGRAM_HEAD + below(random, count) * TN__PROGRAM_SECTION;
        if (where + TN__PROGRAM_SECTION > size) continue;
        uint64_t kind = take(file + where, 4), begin = take(file + where + 8, 8),
                 length = take(file + where + 16, 8);
        *at = begin;
        *bytes = length;
        bool data = kind == TN__SECTION_PREPARED || kind == TN__SECTION_SOURCE;
        if (!data && length && begin < size && length <= size - begin) return true;
    }
    return false;
}

/* One number becomes another, or libFuzzer changes some bytes; all else stays where it is. */
static void change(uint8_t *at, size_t size, uint64_t *random) {
    static const uint64_t numbers[] = {
        0, 1, 2, 3, 7, 8, 16, 64, UINT8_MAX, UINT16_MAX, INT32_MAX, UINT32_MAX, INT64_MAX};
    static const int widths[] = {1, 4, 4, 8};
    int width = widths[below(random, TN_COUNT(widths))];
    if ((size_t)width > size) return;
    size_t where = below(random, size - (size_t)width + 1);
    uint64_t value = take(at + where, width);
    switch (below(random, 4)) {
    case 0:
        put(at + where, numbers[below(random, TN_COUNT(numbers))], width);
        return;
    case 1:
        put(at + where, below(random, 2) ? value + 1 : value - 1, width);
        return;
    case 2: /* what stands elsewhere */
        memmove(at + where, at + below(random, size - (size_t)width + 1), (size_t)width);
        return;
    default:
        where = below(random, size);
        (void)LLVMFuzzerMutate(at + where, TN_MIN(size - where, 16), TN_MIN(size - where, 16));
    }
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed) {
    uint64_t random = seed * 0x9e3779b97f4a7c15u + 1;
    size_t at, bytes;
    if (below(&random, 8) == 0 || !choose_section(data, size, &random, &at, &bytes))
        return LLVMFuzzerMutate(data, size, most);
    for (uint32_t n = 1 + below(&random, 3); n; n--) change(data + at, bytes, &random);
    return size;
}

/* ---- loading -------------------------------------------------------------------------------- */

static tn_status load(void *argument, tn_error *err) {
    input *in = argument;
    tn_program_file f;
    TN_CHECK(tn_program_load(&f, &in->arena, in->path, false, err));
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

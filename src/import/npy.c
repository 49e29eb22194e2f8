/* NumPy's .npy files and .npz archives. See import.h.
 *
 * The format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html. A header is a
 * Python dictionary of three entries, of which the literals that NumPy writes are understood. */
#include <ctype.h>
#include <zlib.h>

#include "import/import.h"

typedef struct bytes {
    const uint8_t *at;
    size_t size;
} bytes;

static uint64_t little(const uint8_t *p, int size) {
    uint64_t value = 0;
    for (int i = size - 1; i >= 0; i--) value = value << 8 | p[i];
    return value;
}

/* ---- the header ----------------------------------------------------------------------------- */

typedef struct npy_header {
    tn_array type; /* data NULL */
    bool swapped, fortran;
    size_t element;
} npy_header;

/* What follows `'key':` in the dictionary, blanks skipped. */
static const char *find_key(const char *text, const char *key) {
    const char *at = strstr(text, key);
    if (!at) return NULL;
    at += strlen(key);
    at += strspn(at, " ");
    if (*at != ':') return NULL;
    return at + 1 + strspn(at + 1, " ");
}

static bool parse_dtype(const char *at, npy_header *h) {
    static const struct {
        const char *code;
        tn_dtype dtype;
    } types[] = {{"f8", TN_f64}, {"f4", TN_f32}, {"f2", TN_f16}, {"i8", TN_i64},
                 {"i4", TN_i32}, {"i2", TN_i16}, {"i1", TN_i8},  {"u8", TN_u64},
                 {"u4", TN_u32}, {"u2", TN_u16}, {"u1", TN_u8},  {"b1", TN_bool}};
    if (!at || *at != '\'' || !at[1] || !strchr("<>|=", at[1])) return false;
    for (size_t i = 0; i < TN_COUNT(types); i++) {
        if (strncmp(at + 2, types[i].code, 2) != 0 || at[4] != '\'') continue;
        h->type.dtype = types[i].dtype;
        h->element = tn_dtype_size(types[i].dtype);
        h->swapped = at[1] == '>' && h->element > 1;
        return true;
    }
    return false;
}

/* "(2, 3)", "(2,)" or "()" */
static bool parse_shape(const char *at, npy_header *h) {
    if (!at || *at++ != '(') return false;
    for (;;) {
        at += strspn(at, " ,");
        if (*at == ')') return true;
        if (!isdigit((unsigned char)*at) || h->type.rank == TN_MAX_RANK) return false;
        int64_t size = 0;
        for (; isdigit((unsigned char)*at); at++) {
            if (size > INT64_MAX / 10 - 1) return false;
            size = size * 10 + (*at - '0');
        }
        h->type.dim[h->type.rank++] = size;
    }
}

static tn_status parse_header(bytes file, tn_arena *arena, npy_header *h, bytes *data,
                              tn_error *err) {
    *h = (npy_header){0};
    if (file.size < 12 || memcmp(file.at, "\x93NUMPY", 6) != 0)
        return tn_error_set(err, TN_INVALID, "not an .npy file");
    int wide = file.at[6] >= 2 ? 4 : 2;
    size_t begin = 8 + (size_t)wide, len = (size_t)little(file.at + 8, wide);
    if (file.at[6] < 1 || file.at[6] > 3 || len > file.size - begin)
        return tn_error_set(err, TN_INVALID, "the .npy header is damaged");
    char *text = tn_arena_alloc(arena, len + 1);
    memcpy(text, file.at + begin, len);
    const char *descr = find_key(text, "'descr'"), *order = find_key(text, "'fortran_order'");
    if (!parse_dtype(descr, h))
        return tn_error_set(err, TN_UNSUPPORTED,
                            "elements of type %.24s; supported are floats, integers and bool",
                            descr ? descr : "?");
    if (!order || !parse_shape(find_key(text, "'shape'"), h))
        return tn_error_set(err, TN_INVALID, "the .npy header is damaged: %.80s", text);
    h->fortran = strncmp(order, "True", 4) == 0;
    *data = (bytes){file.at + begin + len, file.size - begin - len};
    return TN_OK;
}

/* ---- the elements --------------------------------------------------------------------------- */

static tn_status check_size(const npy_header *h, size_t have, size_t *need, tn_error *err) {
    int64_t count;
    if (!tn_sizes_count(h->type.rank, h->type.dim, &count))
        return tn_error_set(err, TN_INVALID, "the number of elements overflows");
    *need = (size_t)count * h->element;
    if (*need <= have) return TN_OK;
    return tn_error_set(err, TN_INVALID,
                        "the file is cut off: %zu bytes of data, its shape needs %zu", have, *need);
}

static void swap_bytes(uint8_t *p, size_t size, size_t element) {
    for (; size >= element; size -= element, p += element)
        for (size_t i = 0; i < element / 2; i++) {
            uint8_t keep = p[i];
            p[i] = p[element - 1 - i];
            p[element - 1 - i] = keep;
        }
}

/* Column-major elements into row-major order. */
static void reorder(const tn_array *out, const uint8_t *from, size_t element) {
    int64_t index[TN_MAX_RANK] = {0};
    uint8_t *to = out->data;
    if (tn_array_count(out) == 0) return;
    do {
        int64_t offset = 0;
        for (int a = out->rank - 1; a >= 0; a--) offset = offset * out->dim[a] + index[a];
        memcpy(to, from + (size_t)offset * element, element);
        to += element;
    } while (tn_index_next(index, out->rank, out->dim));
}

static tn_status read_npy(bytes file, tn_arena *arena, tn_array *out, tn_error *err) {
    npy_header h;
    bytes data = {0};
    size_t need = 0;
    TN_CHECK(parse_header(file, arena, &h, &data, err));
    TN_CHECK(check_size(&h, data.size, &need, err));
    *out = h.type;
    out->data = tn_arena_alloc(arena, need);
    if (h.fortran && out->rank > 1)
        reorder(out, data.at, h.element);
    else if (need)
        memcpy(out->data, data.at, need);
    if (h.swapped) swap_bytes(out->data, need, h.element);
    uint8_t *flags = out->data;
    for (size_t i = 0; h.type.dtype == TN_bool && i < need; i++) flags[i] = flags[i] != 0;
    return TN_OK;
}

/* ---- archives ------------------------------------------------------------------------------- */

enum { END_SIZE = 22, CENTRAL_SIZE = 46, LOCAL_SIZE = 30, MOST_COMMENT = 65535 };

/* The record at the end of an archive: where the list of its files is. */
static bool find_end(bytes file, uint64_t *offset, uint64_t *count) {
    if (file.size < END_SIZE) return false;
    size_t least = file.size > END_SIZE + MOST_COMMENT ? file.size - END_SIZE - MOST_COMMENT : 0;
    for (size_t at = file.size - END_SIZE + 1; at-- > least;) {
        if (memcmp(file.at + at, "PK\5\6", 4) != 0) continue;
        *count = little(file.at + at + 10, 2);
        *offset = little(file.at + at + 16, 4);
        return true;
    }
    return false;
}

enum { STORED = 0, DEFLATED = 8, MOST_INFLATION = 1032, MOST_HEADER = 1 << 17 };

typedef struct zip_entry {
    bytes name, data;
    uint64_t size; /* uncompressed */
    uint32_t crc;
    int method;
} zip_entry;

/* One entry of the list at *at, with its data. Sizes of 4 GiB or more stand in an extra field. */
static bool next_entry(bytes file, uint64_t *at, zip_entry *e) {
    if (*at > file.size || file.size - *at < CENTRAL_SIZE) return false;
    const uint8_t *p = file.at + *at;
    if (memcmp(p, "PK\1\2", 4) != 0) return false;
    size_t name = (size_t)little(p + 28, 2), extra = (size_t)little(p + 30, 2);
    size_t len = CENTRAL_SIZE + name + extra + (size_t)little(p + 32, 2);
    if (len > file.size - *at) return false;
    uint64_t field[3] = {little(p + 24, 4), little(p + 20, 4), little(p + 42, 4)};
    const uint8_t *x = p + CENTRAL_SIZE + name, *end = x + extra;
    for (; end - x >= 4 && (size_t)(end - x) >= 4 + little(x + 2, 2); x += 4 + little(x + 2, 2)) {
        if (little(x, 2) != 1) continue;
        size_t used = 4;
        for (int i = 0; i < 3; i++)
            if (field[i] == UINT32_MAX && used + 8 <= 4 + little(x + 2, 2)) {
                field[i] = little(x + used, 8);
                used += 8;
            }
    }
    uint64_t local = field[2];
    if (local > file.size || file.size - local < LOCAL_SIZE) return false;
    const uint8_t *q = file.at + local;
    uint64_t begin = local + LOCAL_SIZE + little(q + 26, 2) + little(q + 28, 2);
    if (begin > file.size || field[1] > file.size - begin) return false;
    e->method = (int)little(p + 10, 2);
    e->crc = (uint32_t)little(p + 16, 4);
    e->size = field[0];
    e->name = (bytes){p + CENTRAL_SIZE, name};
    e->data = (bytes){file.at + begin, (size_t)field[1]};
    *at += len;
    return true;
}

/* All bytes, which must be `size`, or the first ones. */
static bool inflate_to(bytes from, uint8_t *to, size_t size, bool all) {
    z_stream z = {.next_in = (uint8_t *)(uintptr_t)from.at, .next_out = to};
    if (inflateInit2(&z, -MAX_WBITS) != Z_OK) return false;
    size_t in_left = from.size, out_left = size;
    int result = Z_OK;
    while (result == Z_OK) { /* zlib counts in 32 bits */
        if (!z.avail_in) z.avail_in = (uInt)TN_MIN(in_left, 1u << 30), in_left -= z.avail_in;
        if (!z.avail_out) z.avail_out = (uInt)TN_MIN(out_left, 1u << 30), out_left -= z.avail_out;
        result = inflate(&z, Z_NO_FLUSH);
    }
    bool full = !z.avail_out && !out_left;
    inflateEnd(&z);
    return full && (result == Z_STREAM_END || (!all && result == Z_BUF_ERROR));
}

/* Whether the array that the header tells of takes as many bytes as the archive says: before they are made. */
static tn_status check_inflated(const zip_entry *z, tn_arena *arena, tn_error *err) {
    size_t room = TN_MIN((size_t)z->size, (size_t)MOST_HEADER), need = 0;
    uint8_t *first = tn_arena_alloc(arena, room);
    npy_header h;
    bytes data = {0};
    if (!inflate_to(z->data, first, room, false))
        return tn_error_set(err, TN_INVALID, "the compressed data are damaged");
    TN_CHECK(parse_header((bytes){first, room}, arena, &h, &data, err));
    size_t have = (size_t)z->size - (size_t)(data.at - first);
    TN_CHECK(check_size(&h, have, &need, err));
    if (need == have) return TN_OK;
    return tn_error_set(err, TN_INVALID, "%zu bytes of data, its shape needs %zu", have, need);
}

/* The entry's bytes; deflated ones in the arena. */
static tn_status open_entry(const zip_entry *z, tn_arena *arena, const char *name, bytes *out,
                            tn_error *err) {
    *out = z->data;
    if (z->method == STORED) return TN_OK;
    if (z->method != DEFLATED)
        return tn_error_set(err, TN_UNSUPPORTED,
                            "'%s' is compressed by method %d; np.savez and np.savez_compressed "
                            "write what is understood",
                            name, z->method);
    if (z->size / MOST_INFLATION > z->data.size)
        return tn_error_set(err, TN_INVALID, "'%s': %zu bytes cannot hold %llu", name, z->data.size,
                            (unsigned long long)z->size);
    TN_TRY(err, check_inflated(z, arena, err), "'%s'", name);
    uint8_t *to = tn_arena_alloc(arena, (size_t)z->size);
    *out = (bytes){to, (size_t)z->size};
    if (!inflate_to(z->data, to, out->size, true) || crc32_z(0, to, out->size) != z->crc)
        return tn_error_set(err, TN_INVALID, "'%s': the compressed data are damaged", name);
    return TN_OK;
}

static tn_status read_entry(const zip_entry *z, tn_arena *arena, tn_import_entries *out,
                            tn_error *err) {
    char *name = tn_arena_printf(arena, "%.*s", (int)z->name.size, (const char *)z->name.at);
    size_t len = strlen(name);
    if (len < 4 || strcmp(name + len - 4, ".npy") != 0) return TN_OK; /* not an array */
    name[len - 4] = 0;
    bytes content;
    TN_CHECK(open_entry(z, arena, name, &content, err));
    tn_import_entry entry = {.name = name};
    TN_TRY(err, read_npy(content, arena, &entry.array, err), "'%s'", name);
    tn_vec_push(arena, out, entry);
    return TN_OK;
}

static tn_status read_npz(bytes file, tn_arena *arena, tn_import_entries *out, tn_error *err) {
    uint64_t at, count, compressed = 0;
    zip_entry entry;
    if (!find_end(file, &at, &count)) return tn_error_set(err, TN_INVALID, "not an .npz archive");
    for (uint64_t i = 0; i < count; i++) {
        if (!next_entry(file, &at, &entry))
            return tn_error_set(err, TN_INVALID, "the archive's list of files is damaged");
        compressed += entry.data.size;
        if (compressed > file.size)
            return tn_error_set(err, TN_INVALID, "files of the archive share their bytes");
        TN_CHECK(read_entry(&entry, arena, out, err));
    }
    return TN_OK;
}

/* ---- files ---------------------------------------------------------------------------------- */

typedef struct npy_job {
    tn_file_map map;
    tn_arena *arena;
    tn_array *array;            /* .npy */
    tn_import_entries *entries; /* .npz */
} npy_job;

static tn_status job_guarded(void *argument, tn_error *err) {
    npy_job *job = argument;
    bytes file = {job->map.data, job->map.size};
    if (job->array) return read_npy(file, job->arena, job->array, err);
    return read_npz(file, job->arena, job->entries, err);
}

static tn_status run_job(npy_job *job, const char *path, tn_error *err) {
    TN_CHECK(tn_file_map_open(&job->map, path, err));
    tn_status status = tn_guard(job_guarded, job, err);
    tn_file_map_close(&job->map);
    TN_TRY(err, status, "%s", path);
    return TN_OK;
}

tn_status tn_import_npy(const char *path, tn_arena *arena, tn_array *out, tn_error *err) {
    npy_job job = {.arena = arena, .array = out};
    *out = (tn_array){0};
    return run_job(&job, path, err);
}

tn_status tn_import_npz(const char *path, tn_arena *arena, tn_import_entries *out, tn_error *err) {
    npy_job job = {.arena = arena, .entries = out};
    *out = (tn_import_entries){0};
    return run_job(&job, path, err);
}

/* Reading safetensors files. See safetensors.h. */
#include "import/safetensors.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"

enum { PREFIX = 8, MOST_HEADER = 100000000 }; /* the reference's limit */

/* By alignment, as the reference has them. */
static const struct {
    const char *name;
    tn_dtype dtype;
} types[] = {
    {"BOOL", TN_bool},
    {"F4", TN_f4e2m1},
    {"U8", TN_u8},
    {"I8", TN_i8},
    {"F8_E5M2", TN_f8e5m2},
    {"F8_E4M3", TN_f8e4m3fn},
    {"F8_E8M0", TN_f8e8m0},
    {"F8_E4M3FNUZ", TN_f8e4m3fnuz},
    {"F8_E5M2FNUZ", TN_f8e5m2fnuz},
    {"I16", TN_i16},
    {"U16", TN_u16},
    {"F16", TN_f16},
    {"BF16", TN_bf16},
    {"I32", TN_i32},
    {"U32", TN_u32},
    {"F32", TN_f32},
    {"F64", TN_f64},
    {"I64", TN_i64},
    {"U64", TN_u64},
};

const char *tn_safetensors_dtype(tn_dtype dtype) {
    for (size_t i = 0; i < TN_COUNT(types); i++)
        if (types[i].dtype == dtype) return types[i].name;
    return NULL;
}

int tn_safetensors_order(tn_dtype dtype) {
    int i = 0;
    while (i < (int)TN_COUNT(types) && types[i].dtype != dtype) i++;
    return i;
}

bool tn_safetensors_size(tn_dtype dtype, int64_t count, size_t *out) {
    size_t bits = dtype == TN_f4e2m1 ? 4 : 8 * tn_dtype_size(dtype);
    if (!tn_safetensors_dtype(dtype) || count < 0) return false;
    if (!tn_size_mul((size_t)count, bits, out) || *out % 8) return false;
    *out /= 8;
    return true;
}

/* ---- one tensor ----------------------------------------------------------------------------- */

typedef struct reader {
    const char *path;
    tn_arena *arena;
    tn_safetensors *out;
    const json_t *root;
    const uint8_t *data; /* behind the header */
    size_t size;
} reader;

#define BAD(r, name, ...) bad(r, name, err, __VA_ARGS__)
static tn_status bad(const reader *r, const char *name, tn_error *err, const char *format, ...)
    TN_PRINTF(4, 5);
static tn_status bad(const reader *r, const char *name, tn_error *err, const char *format, ...) {
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return tn_error_set(err, TN_INVALID, "%s: tensor '%.200s' %s", r->path, name, text);
}

static tn_status read_dtype(const reader *r, const json_t *j, tn_safetensor *t, tn_error *err) {
    const char *text = json_string_value(json_object_get(j, "dtype"));
    if (!text) return BAD(r, t->name, "has no dtype");
    for (size_t i = 0; i < TN_COUNT(types); i++) {
        if (strcmp(types[i].name, text) != 0) continue;
        t->dtype = types[i].dtype;
        return TN_OK;
    }
    return BAD(r, t->name, "is of type '%.40s'; supported are floats, integers and BOOL", text);
}

/* Its sizes and how many elements they make. */
static tn_status read_shape(const reader *r, const json_t *j, tn_safetensor *t, int64_t *count,
                            tn_error *err) {
    const json_t *shape = json_object_get(j, "shape");
    size_t rank = json_array_size(shape);
    if (!json_is_array(shape)) return BAD(r, t->name, "has no shape");
    if (rank > TN_MAX_RANK)
        return BAD(r, t->name, "has %zu axes; at most %d are supported", rank, TN_MAX_RANK);
    t->rank = (int)rank;
    for (size_t i = 0; i < rank; i++) {
        const json_t *size = json_array_get(shape, i);
        t->dim[i] = json_integer_value(size);
        if (!json_is_integer(size) || t->dim[i] < 0)
            return BAD(r, t->name, "has a shape that is not of sizes");
    }
    if (!tn_sizes_count(t->rank, t->dim, count))
        return BAD(r, t->name, "has more elements than can be counted");
    return TN_OK;
}

static tn_status read_tensor(const reader *r, const char *name, const json_t *j, tn_safetensor *t,
                             tn_error *err) {
    int64_t count = 0;
    size_t size;
    *t = (tn_safetensor){.name = tn_arena_strdup(r->arena, name)};
    if (!json_is_object(j)) return BAD(r, name, "is not described by an object");
    TN_CHECK(read_dtype(r, j, t, err));
    TN_CHECK(read_shape(r, j, t, &count, err));
    const json_t *offsets = json_object_get(j, "data_offsets");
    const json_t *first = json_array_get(offsets, 0), *last = json_array_get(offsets, 1);
    json_int_t begin = json_integer_value(first), end = json_integer_value(last);
    if (json_array_size(offsets) != 2 || !json_is_integer(first) || !json_is_integer(last))
        return BAD(r, name, "has no data_offsets [begin, end]");
    if (begin < 0 || end < begin || (uint64_t)end > r->size)
        return BAD(r, name,
                   "has its data at [%" JSON_INTEGER_FORMAT ", %" JSON_INTEGER_FORMAT
                   "); the file holds %zu bytes of data (is it cut off?)",
                   begin, end, r->size);
    t->data = r->data ? r->data + begin : NULL;
    t->size = (size_t)(end - begin);
    if (!tn_safetensors_size(t->dtype, count, &size) || size != t->size)
        return BAD(r, name, "has %zu bytes of data; its shape and type need another number",
                   t->size);
    return TN_OK;
}

/* ---- all tensors ---------------------------------------------------------------------------- */

static int by_data(const void *a, const void *b) {
    const tn_safetensor *x = a, *y = b;
    if (x->data != y->data) return x->data < y->data ? -1 : 1;
    if (x->size != y->size) return x->size < y->size ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* Each byte belongs to exactly one tensor. */
static tn_status check_cover(const reader *r, tn_error *err) {
    const tn_safetensor *list = r->out->tensors.data;
    size_t at = 0;
    for (uint32_t i = 0; i < r->out->tensors.len; i++) {
        size_t begin = list[i].size ? (size_t)(list[i].data - r->data) : at;
        if (begin < at) return BAD(r, list[i].name, "shares bytes with '%.200s'", list[i - 1].name);
        if (begin > at)
            return BAD(r, list[i].name, "comes after %zu bytes that belong to no tensor",
                       begin - at);
        at += list[i].size;
    }
    if (at == r->size) return TN_OK;
    return tn_error_set(err, TN_INVALID, "%s: %zu bytes at the end belong to no tensor", r->path,
                        r->size - at);
}

static tn_status read_metadata(reader *r, const json_t *j, tn_error *err) {
    const char *key;
    const json_t *value;
    json_object_foreach((json_t *)(uintptr_t)j, key, value) {
        const char *text = json_string_value(value);
        if (!text)
            return tn_error_set(err, TN_INVALID, "%s: '%.200s' of __metadata__ is not a text",
                                r->path, key);
        tn_vec_push(
            r->arena, &r->out->metadata,
            (tn_safetensors_text){tn_arena_strdup(r->arena, key), tn_arena_strdup(r->arena, text)});
    }
    if (json_is_object(j)) return TN_OK;
    return tn_error_set(err, TN_INVALID, "%s: __metadata__ is not an object", r->path);
}

static tn_status read_all(void *argument, tn_error *err) {
    reader *r = argument;
    const char *name;
    const json_t *value;
    json_object_foreach((json_t *)(uintptr_t)r->root, name, value) {
        if (strcmp(name, "__metadata__") == 0) {
            TN_CHECK(read_metadata(r, value, err));
            continue;
        }
        tn_safetensor t;
        TN_CHECK(read_tensor(r, name, value, &t, err));
        tn_vec_push(r->arena, &r->out->tensors, t);
    }
    if (r->out->tensors.len)
        qsort(r->out->tensors.data, r->out->tensors.len, sizeof(tn_safetensor), by_data);
    return check_cover(r, err);
}

/* ---- the file ------------------------------------------------------------------------------- */

static tn_status find_header(reader *r, const tn_file_map *m, size_t *header, tn_error *err) {
    uint64_t length = 0;
    if (m->size < PREFIX)
        return tn_error_set(err, TN_INVALID, "%s: %zu bytes are too few for a safetensors file",
                            r->path, m->size);
    for (int i = PREFIX - 1; i >= 0; i--) length = length << 8 | m->data[i];
    if (length > m->size - PREFIX || length > MOST_HEADER)
        return tn_error_set(err, TN_INVALID,
                            "%s: a header of %" PRIu64
                            " bytes does not fit a file of %zu bytes; it is cut off, or not a "
                            "safetensors file",
                            r->path, length, m->size);
    *header = (size_t)length;
    r->size = m->size - PREFIX - *header;
    r->data = m->data + PREFIX + *header;
    return TN_OK;
}

static tn_status read_file(reader *r, tn_error *err) {
    size_t header = 0;
    json_error_t why;
    const tn_file_map *m = &r->out->map;
    TN_CHECK(find_header(r, m, &header, err));
    json_t *root = tn_json_parse(m->data + PREFIX, header, 2 * m->size + ((size_t)16 << 20),
                                 JSON_REJECT_DUPLICATES, &why);
    tn_status status;
    if (!json_is_object(root)) {
        status = tn_error_set(err, TN_INVALID, "%s: the header is not a JSON object: %s", r->path,
                              root ? "it is another value" : why.text);
    } else {
        r->root = root;
        status = tn_guard(read_all, r, err);
    }
    json_decref(root);
    return status;
}

tn_status tn_safetensors_open(const char *path, tn_arena *arena, tn_safetensors *out,
                              tn_error *err) {
    tn_file_map map;
    *out = (tn_safetensors){0};
    TN_CHECK(tn_file_map_open(&map, path, err));
    return tn_safetensors_of_map(map, path, arena, out, err);
}

tn_status tn_safetensors_of_map(tn_file_map map, const char *path, tn_arena *arena,
                                tn_safetensors *out, tn_error *err) {
    *out = (tn_safetensors){.map = map};
    reader r = {.path = path, .arena = arena, .out = out};
    tn_status status = read_file(&r, err);
    if (status != TN_OK) tn_safetensors_close(out);
    return status;
}

void tn_safetensors_close(tn_safetensors *s) {
    tn_file_map_close(&s->map);
    *s = (tn_safetensors){0};
}

void tn_safetensor_copy(const tn_safetensor *t, void *out) {
    uint8_t *to = out;
    if (t->size == 0) return;
    if (t->dtype == TN_f4e2m1) {
        for (size_t i = 0; i < t->size; i++) {
            to[2 * i] = t->data[i] & 15;
            to[2 * i + 1] = t->data[i] >> 4;
        }
        return;
    }
    memcpy(to, t->data, t->size);
    for (size_t i = 0; t->dtype == TN_bool && i < t->size; i++) to[i] = to[i] != 0;
}

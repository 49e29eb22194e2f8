/* Writing a model with other weights: the file as it is, but for the initializers' data. See
 * tn_import_save_onnx in import/import.h.
 *
 * The wire format is walked only as deep as it has to be, ModelProto.graph.initializer; everything else
 * goes through byte for byte. What is written is a list of places: of the mapped file, of the caller's
 * elements, and of a few bytes (new lengths) in the arena. */
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "import/import.h"
#include "import/onnx/model.h"

/* Fields of the public onnx.proto. */
enum {
    MODEL_GRAPH = 7,
    GRAPH_INITIALIZER = 5,
    TENSOR_FLOAT_DATA = 4,
    TENSOR_INT32_DATA = 5,
    TENSOR_NAME = 8,
    TENSOR_RAW_DATA = 9,
    TENSOR_DOUBLE_DATA = 10,
    TENSOR_EXTERNAL = 13,
    WIRE_VARINT = 0,
    WIRE_64 = 1,
    WIRE_BYTES = 2,
    WIRE_32 = 5,
};

typedef struct rope {
    TN_VEC(tn_onnx_bytes) parts;
    size_t size;
} rope;

typedef struct save {
    const tn_import *import;
    const void *const *value;
    const char *path;
    tn_arena arena;
    tn_map ids; /* of weights by name */
} save;

/* ---- the wire format ------------------------------------------------------------------------ */

typedef struct field {
    uint32_t number, wire;
    tn_onnx_bytes whole, content; /* content: of WIRE_BYTES */
} field;

/* The next field; false at the end, or where the encoding is broken, which the import would have said. */
static bool next_field(tn_onnx_bytes *at, field *f) {
    uint64_t key, size = 0;
    const uint8_t *begin = at->at;
    if (!at->size || !tn_onnx_next_varint(at, &key)) return false;
    *f = (field){.number = (uint32_t)(key >> 3), .wire = (uint32_t)(key & 7)};
    if (f->wire == WIRE_VARINT && !tn_onnx_next_varint(at, &size)) return false;
    if (f->wire == WIRE_VARINT) size = 0;
    if (f->wire == WIRE_BYTES && !tn_onnx_next_varint(at, &size)) return false;
    if (f->wire == WIRE_64) size = 8;
    if (f->wire == WIRE_32) size = 4;
    if (size > at->size) return false;
    f->content = (tn_onnx_bytes){at->at, (size_t)size};
    at->at += size;
    at->size -= (size_t)size;
    f->whole = (tn_onnx_bytes){begin, (size_t)(at->at - begin)};
    return true;
}

static void add(save *s, rope *r, tn_onnx_bytes b) {
    if (!b.size) return;
    r->size += b.size;
    tn_onnx_bytes *last = r->parts.len ? &r->parts.data[r->parts.len - 1] : NULL;
    if (last && last->at + last->size == b.at)
        last->size += b.size;
    else
        tn_vec_push(&s->arena, &r->parts, b);
}

/* The key of a field of bytes, and how many follow. */
static void add_head(save *s, rope *r, uint32_t number, size_t size) {
    uint8_t *head = tn_arena_alloc(&s->arena, 16);
    size_t n = 0;
    uint64_t left = size;
    head[n++] = (uint8_t)(number << 3 | WIRE_BYTES); /* the numbers here are below 16 */
    do {
        head[n++] = (uint8_t)((left & 0x7f) | (left > 0x7f ? 0x80 : 0));
        left >>= 7;
    } while (left);
    add(s, r, (tn_onnx_bytes){head, n});
}

static void add_message(save *s, rope *r, uint32_t number, const rope *content) {
    add_head(s, r, number, content->size);
    for (uint32_t i = 0; i < content->parts.len; i++) add(s, r, content->parts.data[i]);
}

/* ---- the model ------------------------------------------------------------------------------ */

/* Whether field `f` of a tensor holds its elements. */
static bool holds_elements(const field *f) {
    return f->number == TENSOR_FLOAT_DATA || f->number == TENSOR_INT32_DATA ||
           f->number == TENSOR_RAW_DATA || f->number == TENSOR_DOUBLE_DATA;
}

/* The new elements of the tensor; false where it keeps its own, or they lie in another file. */
static bool new_elements(const save *s, tn_onnx_bytes tensor, tn_onnx_bytes *out) {
    bool known = false;
    uint32_t id = 0;
    field f;
    while (next_field(&tensor, &f)) {
        if (f.number == TENSOR_EXTERNAL) return false;
        if (f.number != TENSOR_NAME || f.wire != WIRE_BYTES) continue;
        known = tn_map_get(&s->ids, f.content.at, f.content.size, &id);
    }
    if (!known || !s->value[id]) return false;
    *out = (tn_onnx_bytes){s->value[id], tn_array_bytes(&s->import->weights.data[id].array)};
    return true;
}

static void add_initializer(save *s, rope *r, const field *from) {
    tn_onnx_bytes elements, at = from->content;
    rope tensor = {0};
    field f;
    if (!new_elements(s, from->content, &elements)) {
        add(s, r, from->whole);
        return;
    }
    while (next_field(&at, &f))
        if (!holds_elements(&f)) add(s, &tensor, f.whole);
    add_head(s, &tensor, TENSOR_RAW_DATA, elements.size);
    add(s, &tensor, elements);
    add_message(s, r, GRAPH_INITIALIZER, &tensor);
}

static void make_graph(save *s, tn_onnx_bytes at, rope *out) {
    field f;
    while (next_field(&at, &f))
        if (f.number == GRAPH_INITIALIZER && f.wire == WIRE_BYTES)
            add_initializer(s, out, &f);
        else
            add(s, out, f.whole);
}

static void make_model(save *s, tn_onnx_bytes at, rope *out) {
    field f;
    while (next_field(&at, &f)) {
        rope graph = {0};
        if (f.number != MODEL_GRAPH || f.wire != WIRE_BYTES) {
            add(s, out, f.whole);
            continue;
        }
        make_graph(s, f.content, &graph);
        add_message(s, out, MODEL_GRAPH, &graph);
    }
}

/* ---- external data -------------------------------------------------------------------------- */

typedef struct patch {
    size_t offset;
    tn_onnx_bytes bytes;
} patch;

static int by_offset(const void *x, const void *y) {
    const patch *a = x, *b = y;
    return (a->offset > b->offset) - (a->offset < b->offset);
}

/* The file with the weights' new elements where the old ones lie. Two weights may share bytes: the
 * one of them is written. */
static void make_data(save *s, const tn_file_map *m, rope *out) {
    TN_VEC(patch) patches = {0};
    for (uint32_t i = 0; i < s->import->weights.len; i++) {
        const tn_array *a = &s->import->weights.data[i].array;
        const uint8_t *at = a->data;
        if (!s->value[i] || !m->data || at < m->data || at >= m->data + m->size) continue;
        patch p = {(size_t)(at - m->data), {s->value[i], tn_array_bytes(a)}};
        tn_vec_push(&s->arena, &patches, p);
    }
    if (patches.len) qsort(patches.data, patches.len, sizeof *patches.data, by_offset);
    size_t done = 0;
    for (uint32_t i = 0; i < patches.len; i++) {
        const patch *p = &patches.data[i];
        if (p->offset < done) continue;
        add(s, out, (tn_onnx_bytes){m->data + done, p->offset - done});
        add(s, out, p->bytes);
        done = p->offset + p->bytes.size;
    }
    add(s, out, (tn_onnx_bytes){m->data + done, m->size - done});
}

/* ---- writing -------------------------------------------------------------------------------- */

static size_t folder_length(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? (size_t)(slash - path) + 1 : 0;
}

static tn_status write_rope(save *s, const char *path, const rope *r, tn_error *err) {
    tn_file_part *part = TN_NEW_N(&s->arena, tn_file_part, r->parts.len);
    for (uint32_t i = 0; i < r->parts.len; i++)
        part[i] = (tn_file_part){r->parts.data[i].at, r->parts.data[i].size};
    return tn_file_write_parts(path, part, r->parts.len, true, err);
}

static const char *location_of(const tn_import *i, uint32_t map) {
    return i->paths.data[map] + folder_length(i->paths.data[0]);
}

static const char *data_path(save *s, uint32_t map) {
    return tn_arena_printf(&s->arena, "%.*s%s", (int)folder_length(s->path), s->path,
                           location_of(s->import, map));
}

static tn_status write_data(save *s, uint32_t map, tn_error *err) {
    const tn_import *i = s->import;
    const char *path = data_path(s, map);
    size_t folder = folder_length(path);
    rope file = {0};
    if (folder > folder_length(s->path))
        TN_CHECK(
            tn_make_dirs(tn_arena_printf(&s->arena, "%.*s", (int)folder - 1, path), 0777, err));
    make_data(s, &i->maps.data[map], &file);
    return write_rope(s, path, &file, err);
}

static bool is_same_file(const char *x, const char *y) {
    struct stat a, b;
    return stat(x, &a) == 0 && stat(y, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* The file chooses the names of its data, so one that is there already is overwritten only where an earlier
 * save may have written it, which has the same size. */
static tn_status check_stranger(const save *s, uint32_t map, const char *path, tn_error *err) {
    struct stat there;
    size_t size = s->import->maps.data[map].size;
    if (stat(path, &there) != 0 || (S_ISREG(there.st_mode) && (size_t)there.st_size == size))
        return TN_OK;
    return tn_error_set(
        err, TN_INVALID,
        "%s: the model names '%s' as its external data, %zu bytes, but another file "
        "of that name is there; save to another folder",
        s->path, location_of(s->import, map), size);
}

/* Another model in the folder of the one that was opened would take its external data away. */
static tn_status check_guarded(void *argument, tn_error *err) {
    save *s = argument;
    const tn_import *i = s->import;
    const char *folder = tn_arena_printf(&s->arena, "%.*s.", (int)folder_length(s->path), s->path);
    if (access(folder, W_OK | X_OK) != 0)
        return tn_error_set(err, TN_IO, "%s: cannot create: %s", s->path, strerror(errno));
    bool own = is_same_file(s->path, i->paths.data[0]);
    for (uint32_t m = 1; m < i->maps.len; m++) {
        const char *path = data_path(s, m);
        if (strcmp(path, s->path) != 0 && (own || !is_same_file(path, i->paths.data[m]))) {
            if (!own) TN_CHECK(check_stranger(s, m, path, err));
            continue;
        }
        return tn_error_set(err, TN_INVALID,
                            "%s: writing '%s', the external data, would overwrite those of %s; "
                            "save to another folder, or over the model itself",
                            s->path, location_of(i, m), i->paths.data[0]);
    }
    return TN_OK;
}

tn_status tn_import_check_save(const tn_import *i, const char *path, tn_error *err) {
    save s = {.import = i, .path = path};
    tn_arena_init(&s.arena, tn_allocator_system());
    tn_status status = tn_guard(check_guarded, &s, err);
    tn_arena_deinit(&s.arena);
    return status;
}

static tn_status save_guarded(void *argument, tn_error *err) {
    save *s = argument;
    const tn_import *i = s->import;
    rope model = {0};
    TN_CHECK(check_guarded(s, err));
    tn_map_init(&s->ids, &s->arena);
    for (uint32_t k = 0; k < i->weights.len; k++)
        tn_map_put_str(&s->ids, i->weights.data[k].name, k);
    make_model(s, (tn_onnx_bytes){i->maps.data[0].data, i->maps.data[0].size}, &model);
    for (uint32_t m = 1; m < i->maps.len; m++) TN_CHECK(write_data(s, m, err));
    return write_rope(s, s->path, &model, err);
}

tn_status tn_import_save_onnx(const tn_import *i, const void *const *value, const char *path,
                              tn_error *err) {
    save s = {.import = i, .value = value, .path = path};
    tn_arena_init(&s.arena, tn_allocator_system());
    tn_status status = tn_guard(save_guarded, &s, err);
    tn_arena_deinit(&s.arena);
    return status;
}

/* What a checkpoint consists of: manifest.json. See checkpoint_inner.h.
 *
 *   {"format": "tenon checkpoint", "version": 1, "step": 100, "files": [
 *     {"name": "model.safetensors", "bytes": 4096, "xxh3_128": "32 hex digits", "part": "model"},
 *     {"name": "loader.bin", …, "blob": "loader"}]} */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "nn/checkpoint_inner.h"

#define FORMAT "tenon checkpoint"
enum { VERSION = 1 };

void tn__manifest_init(tn__manifest *m, int64_t step) {
    *m = (tn__manifest){.step = step};
    tn_arena_init(&m->arena, tn_allocator_system());
}

void tn__manifest_deinit(tn__manifest *m) {
    tn_arena_deinit(&m->arena);
}

bool tn__checkpoint_name_ok(const char *name) {
    size_t n = name ? strlen(name) : 0;
    if (n < 1 || n > 64 || name[0] == '.') return false;
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)name[i]) && !strchr("_-.", name[i])) return false;
    return true;
}

/* ---- adding --------------------------------------------------------------------------------- */

typedef struct add_args {
    tn__manifest *m;
    const tn__manifest_file *file;
} add_args;

static tn_status add(void *argument, tn_error *err) {
    const add_args *a = argument;
    tn_arena *arena = &a->m->arena;
    tn__manifest_file f = *a->file;
    (void)err;
    f.name = tn_arena_strdup(arena, f.name);
    if (f.part) f.part = tn_arena_strdup(arena, f.part);
    if (f.blob) f.blob = tn_arena_strdup(arena, f.blob);
    tn_vec_push(arena, &a->m->files, f);
    return TN_OK;
}

tn_status tn__manifest_add(tn__manifest *m, const tn__manifest_file *file, tn_error *err) {
    return tn_guard(add, &(add_args){m, file}, err);
}

/* ---- writing -------------------------------------------------------------------------------- */

static json_t *file_json(const tn__manifest_file *f) {
    char hash[33];
    snprintf(hash, sizeof hash, "%016" PRIx64 "%016" PRIx64, f->hash.hi, f->hash.lo);
    return json_pack("{s:s, s:I, s:s, s:s*, s:s*}", "name", f->name, "bytes", (json_int_t)f->bytes,
                     "xxh3_128", hash, "part", f->part, "blob", f->blob);
}

static char *manifest_text(const tn__manifest *m) {
    json_t *files = json_array();
    bool ok = files != NULL;
    for (uint32_t i = 0; i < m->files.len && ok; i++)
        ok = json_array_append_new(files, file_json(&m->files.data[i])) == 0;
    json_t *root = json_pack("{s:s, s:i, s:I, s:o}", "format", FORMAT, "version", VERSION, "step",
                             (json_int_t)m->step, "files", files);
    char *text = root && ok ? json_dumps(root, JSON_INDENT(1)) : NULL;
    json_decref(root);
    return text;
}

tn_status tn__manifest_write(const tn__manifest *m, const char *folder, tn_error *err) {
    char path[TN__PATH];
    tn__out out;
    TN_CHECK(tn__path(path, folder, TN__MANIFEST, err));
    char *text = manifest_text(m);
    if (!text) return tn_error_set(err, TN_OUT_OF_MEMORY, "%s: out of memory", path);
    tn_status status = tn__out_open(&out, path, err);
    if (status == TN_OK)
        status = tn__out_close(&out, tn__out_write(&out, text, strlen(text), err), NULL, err);
    free(text);
    return status;
}

/* ---- reading -------------------------------------------------------------------------------- */

static bool parse_hash(const char *text, tn_hash128 *out) {
    char half[17] = {0};
    if (!text || strlen(text) != 32 || strspn(text, "0123456789abcdef") != 32) return false;
    memcpy(half, text, 16);
    *out = (tn_hash128){.lo = strtoull(text + 16, NULL, 16), .hi = strtoull(half, NULL, 16)};
    return true;
}

static tn_status parse_file(tn__manifest *m, const json_t *j, const char *path, tn_error *err) {
    tn__manifest_file f = {.name = json_string_value(json_object_get(j, "name")),
                           .part = json_string_value(json_object_get(j, "part")),
                           .blob = json_string_value(json_object_get(j, "blob"))};
    json_int_t bytes = json_integer_value(json_object_get(j, "bytes"));
    f.bytes = (uint64_t)bytes;
    if (!f.name || !f.name[0] || f.name[0] == '.' || strchr(f.name, '/') || bytes < 0 ||
        !json_is_integer(json_object_get(j, "bytes")) ||
        !parse_hash(json_string_value(json_object_get(j, "xxh3_128")), &f.hash))
        return tn_error_set(err, TN_INVALID, "%s: entry %u of the files is damaged", path,
                            m->files.len);
    return tn__manifest_add(m, &f, err);
}

static tn_status parse(tn__manifest *m, const json_t *root, const char *path, tn_error *err) {
    const char *format = json_string_value(json_object_get(root, "format"));
    const json_t *step = json_object_get(root, "step"), *files = json_object_get(root, "files"), *j;
    size_t i;
    if (!format || strcmp(format, FORMAT) != 0)
        return tn_error_set(err, TN_INVALID, "%s: not the manifest of a checkpoint", path);
    if (json_integer_value(json_object_get(root, "version")) != VERSION)
        return tn_error_set(err, TN_UNSUPPORTED,
                            "%s: the checkpoint is of another version of its format; this one "
                            "reads %d",
                            path, VERSION);
    if (!json_is_integer(step) || json_integer_value(step) != m->step || !json_is_array(files))
        return tn_error_set(err, TN_INVALID, "%s: not the manifest of step %" PRId64, path,
                            m->step);
    json_array_foreach((json_t *)(uintptr_t)files, i, j) TN_CHECK(parse_file(m, j, path, err));
    return TN_OK;
}

/* ---- files ---------------------------------------------------------------------------------- */

static tn_status check_file(const tn__manifest_file *f, const char *folder, bool bytes,
                            tn_error *err) {
    tn_file_map m;
    TN_CHECK(tn_file_map_beneath(&m, folder, f->name, 0, err));
    bool length = m.size == f->bytes;
    tn_hash128 hash = length && bytes ? tn_hash128_of(m.data, m.size) : f->hash;
    tn_file_map_close(&m);
    if (length && hash.lo == f->hash.lo && hash.hi == f->hash.hi) return TN_OK;
    return tn_error_set(err, TN_INVALID, "%s/%s: the file is not what was saved: %s differs",
                        folder, f->name, length ? "its checksum" : "its length");
}

tn_status tn__manifest_read(tn__manifest *m, const char *folder, int64_t step, bool bytes,
                            tn_error *err) {
    char path[TN__PATH];
    tn_file_map map;
    json_error_t why;
    m->step = step;
    TN_CHECK(tn__path(path, folder, TN__MANIFEST, err));
    TN_CHECK(tn_file_map_open(&map, path, err));
    json_t *root = tn_json_parse(map.data, map.size, 0, JSON_REJECT_DUPLICATES, &why);
    tn_status status =
        root ? parse(m, root, path, err)
             : tn_error_set(err, TN_INVALID, "%s: line %d: %s", path, why.line, why.text);
    json_decref(root);
    tn_file_map_close(&map);
    for (uint32_t i = 0; i < m->files.len && status == TN_OK; i++)
        status = check_file(&m->files.data[i], folder, bytes, err);
    return status;
}

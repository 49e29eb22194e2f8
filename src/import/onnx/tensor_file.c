/* Single tensors, sequences and optionals in files of their own, as ONNX's test data are. See
 * import/import.h. */
#include "import/import.h"
#include "import/onnx/model.h"

/* ---- one tensor ----------------------------------------------------------------------------- */

typedef struct tensor_job {
    tn_file_map map;
    tn_arena *arena, scratch;
    tn_array *out;
    const char **name;
} tensor_job;

static tn_status decode(const tn_onnx_tensor *t, tn_arena *arena, tn_array *out, tn_error *err) {
    tn_onnx_content content;
    TN_CHECK(tn_onnx_tensor_check(t, NULL, &content, err));
    return tn_onnx_tensor_decode(&content, arena, out, err);
}

static tn_status tensor_guarded(void *argument, tn_error *err) {
    tensor_job *job = argument;
    tn_onnx_tensor tensor;
    TN_CHECK(tn_onnx_read_tensor(job->map.data, job->map.size, &job->scratch, &tensor, err));
    if (job->name) *job->name = tn_arena_strdup(job->arena, tensor.name);
    return decode(&tensor, job->arena, job->out, err);
}

/* Opens the file, runs `read` within the memory that it may take. */
static tn_status read_file(const char *path, tn_file_map *map, tn_arena *scratch,
                           const tn_arena *arena, tn_guarded *read, void *job, tn_error *err) {
    TN_CHECK(tn_file_map_open(map, path, err));
    tn_arena_init(scratch, arena->allocator);
    scratch->limit = tn_onnx_memory_limit(map->size);
    tn_status status = tn_guard(read, job, err);
    tn_arena_deinit(scratch);
    tn_file_map_close(map);
    if (status != TN_OK) tn_error_push(err, "%s", path);
    return status;
}

tn_status tn_import_tensor_pb(const char *path, tn_arena *arena, tn_array *out, const char **name,
                              tn_error *err) {
    tensor_job job = {.arena = arena, .out = out, .name = name};
    *out = (tn_array){.dtype = TN_f32};
    return read_file(path, &job.map, &job.scratch, arena, tensor_guarded, &job, err);
}

/* ---- sequences and optionals ---------------------------------------------------------------- */

typedef struct compound_job {
    tn_file_map map;
    tn_compound_kind kind;
    tn_arena *arena, scratch;
    tn_import_compound *out;
} compound_job;

static tn_status compound_guarded(void *argument, tn_error *err) {
    compound_job *job = argument;
    tn_import_compound *out = job->out;
    tn_onnx_sequence s;
    bool sequence = job->kind == TN_COMPOUND_SEQUENCE;
    TN_CHECK((sequence ? tn_onnx_read_sequence : tn_onnx_read_optional)(
        job->map.data, job->map.size, &job->scratch, &s, err));
    if (s.other)
        return tn_error_set(err, TN_UNSUPPORTED, "its element is %s; expected a tensor", s.other);
    if (job->kind == TN_COMPOUND_OPTIONAL && !s.absent && s.tensors.len != 1)
        return tn_error_set(err, TN_INVALID, "%u tensors; an optional holds one", s.tensors.len);
    out->name = tn_arena_strdup(job->arena, s.name);
    out->tensors = TN_NEW_N(job->arena, tn_array, s.tensors.len);
    for (uint32_t i = 0; i < s.tensors.len; i++)
        TN_TRY(err, decode(s.tensors.data[i], job->arena, &out->tensors[i], err), "tensor %u", i);
    out->count = s.absent ? TN_COMPOUND_ABSENT : (int)s.tensors.len;
    return TN_OK;
}

tn_status tn_import_compound_pb(const char *path, tn_compound_kind kind, tn_arena *arena,
                                tn_import_compound *out, tn_error *err) {
    compound_job job = {.kind = kind, .arena = arena, .out = out};
    *out = (tn_import_compound){.name = "", .count = TN_COMPOUND_ABSENT};
    return read_file(path, &job.map, &job.scratch, arena, compound_guarded, &job, err);
}

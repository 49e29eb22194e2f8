/* Single tensors in files of their own, as ONNX's test data are. See import/import.h. */
#include "import/import.h"
#include "import/onnx/model.h"

typedef struct tensor_job {
    tn_file_map map;
    tn_arena *arena, scratch;
    tn_array *out;
    const char **name;
} tensor_job;

static tn_status read_guarded(void *argument, tn_error *err) {
    tensor_job *job = argument;
    tn_onnx_tensor tensor;
    tn_onnx_content content;
    TN_CHECK(tn_onnx_read_tensor(job->map.data, job->map.size, &job->scratch, &tensor, err));
    TN_CHECK(tn_onnx_tensor_check(&tensor, NULL, &content, err));
    if (job->name) *job->name = tn_arena_strdup(job->arena, tensor.name);
    return tn_onnx_tensor_decode(&content, job->arena, job->out, err);
}

tn_status tn_import_tensor_pb(const char *path, tn_arena *arena, tn_array *out, const char **name,
                              tn_error *err) {
    tensor_job job = {.arena = arena, .out = out, .name = name};
    *out = (tn_array){.dtype = TN_f32};
    TN_CHECK(tn_file_map_open(&job.map, path, err));
    tn_arena_init(&job.scratch, arena->allocator);
    job.scratch.limit = tn_onnx_memory_limit(job.map.size);
    tn_status status = tn_guard(read_guarded, &job, err);
    tn_arena_deinit(&job.scratch);
    tn_file_map_close(&job.map);
    if (status != TN_OK) tn_error_push(err, "%s", path);
    return status;
}

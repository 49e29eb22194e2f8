/* Fuzzes what is read from JSON: the first byte chooses the reader ('a': the first), the rest is the text. */
#include "base/base.h"
#include "cli/train_settings.h"
#include "explore/workload.h"
#include "explore/workload_graph.h"
#include "fuzz/folder.h"
#include "machine/profile.h"

#include <tenon/checkpoint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

const cli_verb cli_verbs[1]; /* for messages of usage */
const int cli_verb_count = 0;

typedef struct text {
    cli c; /* with the arena */
    const uint8_t *data;
    size_t size;
    const char *path; /* of a file with the text */
} text;

static const tn_scenario use = {
    .batch = 1, .prompt = 16, .generate = 1, .context_limit = 64, .element_bytes = 2};

/* ---- explore and machines ------------------------------------------------------------------- */

static void machine_space(text *t, tn_error *err) {
    tn_machine_space *space = TN_NEW(&t->c.arena, tn_machine_space);
    tn_machine machine;
    if (tn_machine_space_load(t->path, space, err) != TN_OK) return;
    int64_t count = tn_machine_space_count(space);
    for (int64_t i = 0; i < count; i += 1 + count / 8) {
        tn_machine_space_at(space, i, &machine);
        tn_machine_for_batch(space, 1, &machine);
        if (tn_machine_check(&machine, err) != TN_OK) abort();
    }
}

static void profile(text *t, tn_error *err) {
    tn_profile p;
    (void)err;
    if (tn_profile_read(&p, t->path, NULL)) json_decref(tn_roofs_json(&p.roofs));
}

static void check_workload(const tn_workload *w) {
    if (w->count < 0 || w->count > TN_OPERATORS) abort();
    for (int i = 0; i < w->count; i++) {
        (void)tn_workload_product(w, i, &use, tn_phase_prefill(&use));
        (void)tn_workload_bytes(w, i, &use);
    }
    json_decref(tn__workload_graph_json(w));
    json_decref(tn__workload_shape_json(w, "llama"));
}

static void workload_shape(text *t, tn_error *err) {
    tn_workload w;
    if (tn_workload_from_shape(t->path, NULL, &w, err) == TN_OK) check_workload(&w);
}

static void workload_graph(text *t, tn_error *err) {
    tn_workload w;
    if (tn_workload_named("llama3-8b", &w, err) != TN_OK) abort();
    if (tn_workload_from_graph(t->path, &w, err) == TN_OK) check_workload(&w);
}

static void workload_config(text *t, tn_error *err) {
    enum { KINDS = 4 };
    tn_workload w[KINDS];
    int count;
    if (tn__workload_from_config(t->path, w, KINDS, &count, err) != TN_OK) return;
    for (int i = 0; i < count; i++) check_workload(&w[i]);
}

static void trace(text *t, tn_error *err) {
    enum { PARTS = 4 };
    tn_study_part *parts = TN_NEW_N(&t->c.arena, tn_study_part, PARTS);
    int count;
    (void)!tn_study_from_trace(t->path, &use, parts, PARTS, &count, err);
}

/* ---- training ------------------------------------------------------------------------------- */

static void read_settings(text *t, unsigned verb, tn_error *err) {
    train_settings *s = TN_NEW(&t->c.arena, train_settings);
    cli_verb v = {.name = "train", .bit = verb};
    t->c.verb = &v;
    t->c.options.positional = (cli_list){&t->path, 1};
    t->c.options.data = "data"; /* the command line may say it */
    if (cli_train_settings(&t->c, s, err) == TN_OK && s->data_transforms) {
        tn_transform list[MAX_TRANSFORMS];
        int count;
        (void)!cli_transforms(s->data_transforms, list, &count, err);
    }
}

static void settings(text *t, tn_error *err) {
    read_settings(t, V_TRAIN, err);
}

static void settings_of_members(text *t, tn_error *err) {
    read_settings(t, V_WIDE_TRAIN, err);
}

static void transforms(text *t, tn_error *err) {
    tn_transform list[MAX_TRANSFORMS];
    int count;
    const char *json = tn_arena_printf(&t->c.arena, "%.*s", (int)t->size, (const char *)t->data);
    (void)!cli_transforms(json, list, &count, err);
}

/* ---- files of files ------------------------------------------------------------------------- */

static void manifest(text *t, tn_error *err) {
    tn_checkpoint *checkpoint;
    fuzz_write("step-1/manifest.json", t->data, t->size);
    if (tn_checkpoint_open(fuzz_folder, 1, &checkpoint, err) == TN_OK)
        tn_checkpoint_release(checkpoint);
}

static void tensor_index(text *t, tn_error *err) {
    tn_tensor_file *file;
    (void)err;
    fuzz_write("index.json", t->data, t->size);
    if (tn_tensor_file_open(fuzz_path("index.json"), &file, err) == TN_OK)
        tn_tensor_file_release(file);
}

/* ---- all together --------------------------------------------------------------------------- */

static void (*const readers[])(text *, tn_error *) = {
    machine_space, profile,    workload_shape, workload_graph,      workload_config, trace,
    settings,      transforms, manifest,       settings_of_members, tensor_index,
};

static tn_status read_guarded(void *argument, tn_error *err) {
    text *t = argument;
    readers[(uint8_t)(t->data[-1] - 'a') % TN_COUNT(readers)](t, err);
    return TN_OK;
}

/* A file of one tensor, which indexes and manifests may name. */
static void make_folder(void) {
    static const char file[] = "\x38\0\0\0\0\0\0\0"
                               "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}  "
                               "\0\0\200\77";
    if (!fuzz_folder_make()) return;
    if (mkdir(fuzz_path("step-1"), 0700)) abort();
    fuzz_write("one.safetensors", file, sizeof file - 1);
    fuzz_write("step-1/one.safetensors", file, sizeof file - 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char path[128];
    tn_error err = TN_ERROR_INIT;
    if (size < 1) return 0;
    make_folder();
    fuzz_write("text.json", data + 1, size - 1);
    snprintf(path, sizeof path, "%s", fuzz_path("text.json"));
    text t = {.data = data + 1, .size = size - 1, .path = path};
    tn_arena_init(&t.c.arena, tn_allocator_system());
    t.c.arena.limit = (size_t)64 << 20;
    (void)!tn_guard(read_guarded, &t, &err);
    tn_arena_deinit(&t.c.arena);
    return 0;
}

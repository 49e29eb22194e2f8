/* Members of a wide model: taking one out, and changing which there are. See tenon/wide.h. */
#include <stdlib.h>

#include "wide/wide.h"

static tn_status check_member(const tn_wide *w, int member, int end, tn_error *err) {
    if (member >= 0 && member < end) return TN_OK;
    return tn_error_set(err, TN_NOT_FOUND, "there is no member %d; the wide model has 0 … %d",
                        member, w->count - 1);
}

/* ---- extracting ----------------------------------------------------------------------------- */

typedef struct extracting {
    const tn_wide_member *member;
    const char *path;
    tn__wide_file *file;
    tn__wide_values values;
    tn_arena arena;
} extracting;

/* Weights that are those of the model's file are left as they lie there. */
static tn_status extract_guarded(void *argument, tn_error *err) {
    extracting *x = argument;
    const tn_import *i = &x->file->import;
    bool changed = x->member->weights || x->member->perturbed;
    const void **value = TN_NEW_N(&x->arena, const void *, i->weights.len);
    for (uint32_t k = 0; k < i->weights.len && changed; k++) {
        size_t bytes = tn_array_bytes(&i->weights.data[k].array);
        void *own = tn_arena_alloc(&x->arena, bytes);
        tn__wide_values_copy(&x->values, k, 0, bytes, own);
        value[k] = own;
    }
    return tn_import_save_onnx(i, value, x->path, err);
}

tn_status tn__wide_extract_one(const tn_wide_member *member, int number, const char *path,
                               tn_error *err) {
    const tn_import_options options = {.weights = true};
    tn__wide_files files = {.options = &options};
    extracting x = {.member = member, .path = path};
    tn_arena_init(&x.arena, tn_allocator_system());
    tn_status status = tn__wide_files_get(&files, x.member->model, &x.file, err);
    if (status == TN_OK) status = tn__wide_values_open(&x.values, x.file, x.member, err);
    if (status == TN_OK) {
        status = tn_guard(extract_guarded, &x, err);
        tn__wide_values_close(&x.values);
    }
    tn__wide_files_deinit(&files);
    tn_arena_deinit(&x.arena);
    return tn__wide_in_member(status, number, member, err);
}

tn_status tn_wide_extract(const tn_wide *w, int member, const char *path, tn_error *err) {
    TN_CHECK(check_member(w, member, w->count, err));
    return tn__wide_extract_one(&w->entries[member].member, member, path, err);
}

/* ---- changing ------------------------------------------------------------------------------- */

/* Makes these the members. On failure they stay with the caller. */
static tn_status set_entries(tn_wide *w, tn__wide_entry *entries, int count, tn_error *err) {
    tn__wide_groups groups;
    TN_CHECK(tn__wide_groups_make(w, entries, count, &groups, err));
    tn__wide_groups_free(&w->groups);
    free(w->entries);
    w->groups = groups;
    w->entries = entries;
    w->count = count;
    return TN_OK;
}

/* The entries with `taken` of them at `at` replaced by `given`, of `put` entries. */
static tn_status splice(tn_wide *w, int at, int taken, const tn__wide_entry *given, int put,
                        tn_error *err) {
    int count = w->count - taken + put, behind = w->count - at - taken;
    tn__wide_entry *entries = calloc((size_t)count, sizeof *entries);
    if (!entries) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    for (int i = 0; i < at; i++) entries[i] = w->entries[i];
    for (int i = 0; i < put; i++) entries[at + i] = given[i];
    for (int i = 0; i < behind; i++) entries[at + put + i] = w->entries[at + taken + i];
    tn__wide_entry old = taken ? w->entries[at] : (tn__wide_entry){0};
    tn_status status = set_entries(w, entries, count, err);
    if (status == TN_OK)
        tn__wide_member_free(&old.member);
    else
        free(entries);
    return status;
}

static tn_status put_member(tn_wide *w, int at, int taken, const tn_wide_member *member,
                            tn_error *err) {
    tn__wide_entry entry;
    TN_CHECK(tn__wide_entry_make(w, at, member, &entry, err));
    tn_status status = splice(w, at, taken, &entry, 1, err);
    if (status != TN_OK) tn__wide_member_free(&entry.member);
    return status;
}

tn_status tn_wide_insert(tn_wide *w, int at, const tn_wide_member *member, tn_error *err) {
    TN_CHECK(check_member(w, at, w->count + 1, err));
    return put_member(w, at, 0, member, err);
}

tn_status tn_wide_replace(tn_wide *w, int member, const tn_wide_member *with, tn_error *err) {
    TN_CHECK(check_member(w, member, w->count, err));
    return put_member(w, member, 1, with, err);
}

tn_status tn_wide_remove(tn_wide *w, int member, tn_error *err) {
    TN_CHECK(check_member(w, member, w->count, err));
    if (w->count == 1)
        return tn_error_set(err, TN_INVALID,
                            "member 0 is the last one; a wide model has at least one");
    return splice(w, member, 1, NULL, 0, err);
}

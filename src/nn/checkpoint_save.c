/* Saving checkpoints. See tenon/checkpoint.h.
 *
 * A folder step-N.tmp is filled, synced and renamed to step-N; then older ones go, each renamed to
 * step-M.tmp first. So a folder without ".tmp" was complete once, and those with it are leftovers,
 * which the next save removes. The lock on the parent folder keeps other savers out. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "nn/checkpoint_inner.h"

#define SHARD_BYTES 5000000000u

typedef struct saving {
    const char *folder;
    int64_t step;
    const tn_checkpoint_content *content;
    tn_checkpoint_options options;
    tn__manifest manifest;
    char temporary[TN__PATH], target[TN__PATH];
} saving;

/* ---- what was given ------------------------------------------------------------------------- */

static tn_status check_name(const saving *s, const char *what, const char *name, int times,
                            tn_error *err) {
    if (!tn__checkpoint_name_ok(name))
        return tn_error_set(err, TN_INVALID,
                            "%s: '%.80s' cannot name a %s; expected letters, digits, '_', '-' "
                            "and '.', which is not first",
                            s->folder, name ? name : "", what);
    if (times == 1) return TN_OK;
    return tn_error_set(err, TN_INVALID, "%s: two %ss are named '%s'", s->folder, what, name);
}

static tn_status check_content(const saving *s, tn_error *err) {
    const tn_checkpoint_content *c = s->content;
    for (int i = 0; i < c->part_count; i++) {
        int times = 0;
        for (int k = 0; k <= i && c->parts[i].name && c->parts[k].name; k++)
            times += strcmp(c->parts[k].name, c->parts[i].name) == 0;
        TN_CHECK(check_name(s, "part", c->parts[i].name, times, err));
    }
    for (int i = 0; i < c->blob_count; i++) {
        int times = 0;
        for (int k = 0; k <= i && c->blobs[i].name && c->blobs[k].name; k++)
            times += strcmp(c->blobs[k].name, c->blobs[i].name) == 0;
        TN_CHECK(check_name(s, "blob", c->blobs[i].name, times, err));
    }
    return TN_OK;
}

static tn_status check(saving *s, const tn_checkpoint_options *options, tn_error *err) {
    s->options = (tn_checkpoint_options)TN_CHECKPOINT_OPTIONS_INIT;
    if (options && (options->size < sizeof(size_t) || options->size > 4096))
        return tn_error_set(err, TN_INVALID,
                            "tn_checkpoint_options.size is not set; start from "
                            "TN_CHECKPOINT_OPTIONS_INIT");
    if (options) memcpy(&s->options, options, TN_MIN(options->size, sizeof s->options));
    if (s->options.shard_bytes == 0) s->options.shard_bytes = SHARD_BYTES;
    if (s->step < 0 || s->options.keep < 0)
        return tn_error_set(err, TN_INVALID, "%s: step %" PRId64 ", keep %d; expected 0 or more",
                            s->folder, s->step, s->options.keep);
    return check_content(s, err);
}

/* ---- parts ---------------------------------------------------------------------------------- */

/* How many of the tensors from `first` on go into one file; one at least. */
static int shard_length(const saving *s, const tn__snapshot *t, int first) {
    uint64_t bytes = 0;
    int n = 0;
    for (; first + n < t->count; n++) {
        uint64_t more = tn_array_bytes(&t->entry[first + n].array);
        if (n > 0 && (bytes + more < more || bytes + more > s->options.shard_bytes)) break;
        bytes += more;
    }
    return n;
}

static tn_status add_file(saving *s, const tn__manifest_file *f, tn_error *err) {
    return tn__manifest_add(&s->manifest, f, err);
}

static tn_status write_shard(saving *s, const tn__snapshot *t, const char *part, const char *name,
                             int first, int count, tn_error *err) {
    char path[TN__PATH];
    tn__manifest_file f = {.name = name, .part = part};
    TN_CHECK(tn__path(path, s->temporary, name, err));
    TN_CHECK(tn__snapshot_write(t, first, count, path, &f.bytes, &f.hash, err));
    return add_file(s, &f, err);
}

/* Which file each tensor is in, as Hugging Face's loaders read it. */
static tn_status write_index(saving *s, const char *part, json_t *map, uint64_t total,
                             tn_error *err) {
    char name[256], path[TN__PATH];
    tn__out out;
    snprintf(name, sizeof name, "%s.safetensors.index.json", part);
    tn__manifest_file f = {.name = name};
    json_t *root =
        json_pack("{s:{s:I}, s:O}", "metadata", "total_size", (json_int_t)total, "weight_map", map);
    char *text = root ? json_dumps(root, JSON_INDENT(1)) : NULL;
    json_decref(root);
    if (!text) return tn_error_set(err, TN_OUT_OF_MEMORY, "%s: out of memory", s->temporary);
    tn_status status = tn__path(path, s->temporary, name, err);
    if (status == TN_OK) status = tn__out_open(&out, path, err);
    if (status == TN_OK) {
        status = tn__out_write(&out, text, strlen(text), err);
        f.bytes = out.bytes;
        status = tn__out_close(&out, status, &f.hash, err);
    }
    free(text);
    return status == TN_OK ? add_file(s, &f, err) : status;
}

static tn_status write_shards(saving *s, const tn__snapshot *t, const char *part, int shards,
                              json_t *map, tn_error *err) {
    char name[256];
    uint64_t total = 0;
    for (int first = 0, n, i = 1; first < t->count; first += n, i++) {
        n = shard_length(s, t, first);
        snprintf(name, sizeof name, "%s-%05d-of-%05d.safetensors", part, i, shards);
        TN_CHECK(write_shard(s, t, part, name, first, n, err));
        for (int k = first; k < first + n; k++) {
            total += tn_array_bytes(&t->entry[k].array);
            if (json_object_set_new(map, t->entry[k].name, json_string(name)) != 0)
                return tn_error_set(err, TN_OUT_OF_MEMORY, "%s: out of memory", s->temporary);
        }
    }
    return write_index(s, part, map, total, err);
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Over all files of the part: each file alone is checked when it is written. */
static tn_status check_names(const tn__snapshot *t, const char *part, tn_error *err) {
    const char **name = calloc((size_t)t->count + 1, sizeof *name), *twice = NULL;
    if (!name) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    for (int i = 0; i < t->count; i++) name[i] = t->entry[i].name;
    qsort(name, (size_t)t->count, sizeof *name, by_name);
    for (int i = 1; i < t->count && !twice; i++)
        if (strcmp(name[i - 1], name[i]) == 0) twice = name[i];
    free(name);
    if (!twice) return TN_OK;
    return tn_error_set(err, TN_INVALID, "two tensors of '%s' are named '%.200s'", part, twice);
}

static tn_status write_part(saving *s, const tn__snapshot *t, const char *part, tn_error *err) {
    char name[256];
    int shards = 0;
    TN_CHECK(check_names(t, part, err));
    for (int first = 0; first < t->count; shards++) first += shard_length(s, t, first);
    if (shards <= 1) {
        snprintf(name, sizeof name, "%s.safetensors", part);
        return write_shard(s, t, part, name, 0, t->count, err);
    }
    json_t *map = json_object();
    tn_status status = map ? write_shards(s, t, part, shards, map, err)
                           : tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    json_decref(map);
    return status;
}

static tn_status write_blob(saving *s, const tn_named_blob *blob, tn_error *err) {
    char name[256], path[TN__PATH];
    tn__out out;
    snprintf(name, sizeof name, "%s.bin", blob->name);
    tn__manifest_file f = {.name = name, .blob = blob->name, .bytes = blob->size};
    TN_CHECK(tn__path(path, s->temporary, name, err));
    TN_CHECK(tn__out_open(&out, path, err));
    tn_status status = tn__out_write(&out, blob->data, blob->size, err);
    TN_CHECK(tn__out_close(&out, status, &f.hash, err));
    return add_file(s, &f, err);
}

/* ---- the folder ----------------------------------------------------------------------------- */

static tn_status fill(saving *s, const tn__snapshot *parts, tn_error *err) {
    if (mkdir(s->temporary, 0777) != 0)
        return tn_error_set(err, TN_IO, "%s: cannot create: %s", s->temporary, strerror(errno));
    for (int i = 0; i < s->content->part_count; i++)
        TN_CHECK(write_part(s, &parts[i], s->content->parts[i].name, err));
    for (int i = 0; i < s->content->blob_count; i++)
        TN_CHECK(write_blob(s, &s->content->blobs[i], err));
    TN_CHECK(tn__manifest_write(&s->manifest, s->temporary, err));
    return tn__sync_folder(s->temporary, err);
}

/* One of this step that is there already changes places with the new one, and then goes. Where the file
 * system cannot do that at once, it is moved away first. */
static bool take_place(const saving *s) {
    char old[TN__PATH];
    if (rename(s->temporary, s->target) == 0) return true;
    if (errno != EEXIST && errno != ENOTEMPTY) return false;
    if (renameat2(AT_FDCWD, s->temporary, AT_FDCWD, s->target, RENAME_EXCHANGE) == 0) return true;
    if (snprintf(old, sizeof old, "%s.old.tmp", s->target) >= (int)sizeof old) return false;
    bool ok = rename(s->target, old) == 0 && rename(s->temporary, s->target) == 0;
    int why = errno;
    if (ok) tn__remove_folder(old);
    errno = why;
    return ok;
}

static tn_status publish(const saving *s, tn_error *err) {
    if (take_place(s)) return tn__sync_folder(s->folder, err);
    return tn_error_set(err, TN_IO, "%s: cannot rename to %s: %s", s->temporary, s->target,
                        strerror(errno));
}

static void remove_checkpoint(const char *folder, int64_t step) {
    char from[TN__PATH], to[TN__PATH];
    if (tn__step_path(from, folder, step, NULL) != TN_OK) return;
    if (snprintf(to, sizeof to, "%s.tmp", from) >= (int)sizeof to) return;
    if (rename(from, to) == 0) tn__remove_folder(to);
}

static bool looks_complete(const char *folder, int64_t step) {
    char path[TN__PATH];
    tn__manifest m;
    tn__manifest_init(&m, step);
    bool ok = tn__step_path(path, folder, step, NULL) == TN_OK &&
              tn__manifest_read(&m, path, step, false, NULL) == TN_OK;
    tn__manifest_deinit(&m);
    return ok;
}

/* Those before the `keep` newest complete ones; never the one just saved. That one stands when this
 * fails, so it is no error. */
static void remove_old(const saving *s) {
    int64_t *steps;
    int count, complete = 1;
    tn_error err = TN_ERROR_INIT;
    if (s->options.keep == 0) return;
    if (tn__steps_in(s->folder, &steps, &count, &err) != TN_OK)
        tn_log_write(TN_LOG_WARN, "older checkpoints stay: %s", err.message);
    for (int i = 0; i < count; i++) {
        if (steps[i] == s->step) continue;
        if (complete >= s->options.keep)
            remove_checkpoint(s->folder, steps[i]);
        else
            complete += looks_complete(s->folder, steps[i]);
    }
    free(steps);
}

static void remove_leftovers(const char *folder) {
    DIR *dir = opendir(folder);
    char path[TN__PATH];
    for (struct dirent *e; dir && (e = readdir(dir));) {
        size_t n = strlen(e->d_name);
        if (strncmp(e->d_name, "step-", 5) != 0 || n < 4 || strcmp(e->d_name + n - 4, ".tmp") != 0)
            continue;
        if (tn__path(path, folder, e->d_name, NULL) == TN_OK) tn__remove_folder(path);
    }
    if (dir) closedir(dir);
}

/* ---- the save ------------------------------------------------------------------------------- */

/* All parts are evaluated before anything is written. */
static tn_status take_all(const tn_checkpoint_content *c, tn__snapshot *parts, tn_error *err) {
    for (int i = 0; i < c->part_count; i++)
        TN_TRY(err, tn__snapshot_take(&parts[i], c->parts[i].tensors, c->parts[i].count, err),
               "part '%s'", c->parts[i].name);
    return TN_OK;
}

static tn_status write_all(saving *s, const tn__snapshot *parts, tn_error *err) {
    remove_leftovers(s->folder);
    tn_status status = fill(s, parts, err);
    if (status == TN_OK) status = publish(s, err);
    tn__remove_folder(s->temporary);
    if (status == TN_OK) remove_old(s);
    return status;
}

static tn_status with_lock(saving *s, const tn__snapshot *parts, tn_error *err) {
    TN_CHECK(tn_make_dirs(s->folder, 0777, err));
    int fd = open(s->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return tn_error_set(err, TN_IO, "%s: cannot open: %s", s->folder, strerror(errno));
    tn_status status;
    if (flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        status = tn_error_set(err, TN_IO, "%s: another process is saving there", s->folder);
    else
        status = write_all(s, parts, err);
    close(fd);
    return status;
}

static tn_status prepare(saving *s, tn_error *err) {
    TN_CHECK(tn__step_path(s->target, s->folder, s->step, err));
    int n = snprintf(s->temporary, sizeof s->temporary, "%s.tmp", s->target);
    if (n > 0 && n < TN__PATH) return TN_OK;
    return tn_error_set(err, TN_INVALID, "%.200s…: the path is too long", s->folder);
}

tn_status tn_checkpoint_save(const char *folder, int64_t step, const tn_checkpoint_content *content,
                             const tn_checkpoint_options *options, tn_error *err) {
    saving *s = calloc(1, sizeof *s);
    tn__snapshot *parts = calloc((size_t)content->part_count + 1, sizeof *parts);
    tn_status status = TN_OK;
    if (!s || !parts) {
        free(s);
        free(parts);
        return tn_error_set(err, TN_OUT_OF_MEMORY, "%s: out of memory", folder);
    }
    *s = (saving){.folder = folder, .step = step, .content = content};
    tn__manifest_init(&s->manifest, step);
    status = check(s, options, err);
    if (status == TN_OK) status = prepare(s, err);
    if (status == TN_OK) status = take_all(content, parts, err);
    if (status == TN_OK) status = with_lock(s, parts, err);
    if (status != TN_OK) tn_error_push(err, "while saving step %" PRId64, step);
    for (int i = 0; i < content->part_count; i++) tn__snapshot_release(&parts[i]);
    tn__manifest_deinit(&s->manifest);
    free(parts);
    free(s);
    return status;
}

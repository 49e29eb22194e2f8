/* What all datasets share: life, questions, scratch memory, listing folders. See data.h. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "nn/data/data.h"

/* ---- scratch -------------------------------------------------------------------------------- */

void *tn__scratch(tn__worker *w, tn__scratch_use use, size_t size) {
    size_t rounded = (size + size / 4 + 63) & ~(size_t)63;
    if (w->scratch[use].size >= size && w->scratch[use].data) return w->scratch[use].data;
    if (rounded < size) return NULL;
    free(w->scratch[use].data);
    w->scratch[use].data = aligned_alloc(64, rounded ? rounded : 64);
    w->scratch[use].size = w->scratch[use].data ? rounded : 0;
    return w->scratch[use].data;
}

void tn__worker_deinit(tn__worker *w) {
    for (int i = 0; i < TN__SCRATCH_USES; i++) free(w->scratch[i].data);
}

/* ---- life ----------------------------------------------------------------------------------- */

void *tn__dataset_new(const tn__dataset_kind *kind, size_t size) {
    tn_dataset *d = calloc(1, size);
    if (!d) return NULL;
    d->kind = kind;
    atomic_init(&d->references, 1);
    tn_arena_init(&d->arena, tn_allocator_system());
    return d;
}

tn_status tn__dataset_finish(tn_dataset *d, tn_guarded *body, void *argument, tn_dataset **out,
                             tn_error *err) {
    if (!d) return tn_error_set(err, TN_OUT_OF_MEMORY, "no memory for a dataset");
    tn_status status = tn_guard(body, argument, err);
    if (status == TN_OK)
        *out = d;
    else
        tn_dataset_release(d);
    return status;
}

void tn_dataset_release(tn_dataset *d) {
    if (!d || atomic_fetch_sub(&d->references, 1) != 1) return;
    tn_arena_deinit(&d->arena);
    free(d);
}

void tn__dataset_output(tn_dataset *d, tn_dtype dtype, int rank, const int64_t *dim) {
    tn_buffer *b = &d->output[d->output_count++];
    *b = (tn_buffer){.dtype = dtype, .rank = rank};
    for (int i = 0; i < rank; i++) b->dim[i] = dim[i];
}

/* ---- questions ------------------------------------------------------------------------------ */

int64_t tn_dataset_count(const tn_dataset *d) {
    return d->count;
}
int tn_dataset_class_count(const tn_dataset *d) {
    return d->class_count;
}

const char *tn_dataset_class(const tn_dataset *d, int label) {
    return label >= 0 && label < d->class_count ? d->classes[label] : NULL;
}

bool tn_dataset_file(const tn_dataset *d, int64_t sample, char *out, size_t size, int *label) {
    if (size) out[0] = 0;
    if (label) *label = -1;
    return d->file && sample >= 0 && sample < d->count && d->file(d, sample, out, size, label);
}

/* ---- folders -------------------------------------------------------------------------------- */

static int by_bytes(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* A link that leads nowhere counts as a file: reading it tells what is missing. */
static bool is_wanted(DIR *dir, const struct dirent *entry, bool folders) {
    struct stat st;
    if (folders && entry->d_type == DT_DIR) return true;
    if (!folders && entry->d_type == DT_REG) return true;
    if (entry->d_type != DT_LNK && entry->d_type != DT_UNKNOWN) return false;
    if (fstatat(dirfd(dir), entry->d_name, &st, 0) != 0) return !folders;
    return folders ? S_ISDIR(st.st_mode) : S_ISREG(st.st_mode);
}

typedef struct listing {
    tn_arena *arena;
    DIR *dir;
    bool folders;
    bool (*wanted)(const char *name);
    tn__names *out;
    int failed; /* errno */
} listing;

static tn_status list(void *argument, tn_error *err) {
    listing *l = argument;
    struct dirent *entry;
    (void)err;
    while (errno = 0, (entry = readdir(l->dir)) != NULL) {
        if (entry->d_name[0] == '.' || (l->wanted && !l->wanted(entry->d_name))) continue;
        if (!is_wanted(l->dir, entry, l->folders)) continue;
        const char *name = tn_arena_strdup(l->arena, entry->d_name);
        tn_vec_push(l->arena, l->out, name);
    }
    l->failed = errno;
    return TN_OK;
}

tn_status tn__list_folder(tn_arena *arena, const char *path, bool folders,
                          bool (*wanted)(const char *name), tn__names *out, tn_error *err) {
    *out = (tn__names){0};
    listing l = {arena, opendir(path), folders, wanted, out, 0};
    if (!l.dir)
        return tn_error_set(err, errno == ENOENT ? TN_NOT_FOUND : TN_IO, "%s: %s", path,
                            strerror(errno));
    tn_status status = tn_guard(list, &l, err);
    closedir(l.dir);
    TN_CHECK(status);
    if (l.failed) return tn_error_set(err, TN_IO, "%s: %s", path, strerror(l.failed));
    if (out->len) qsort(out->data, out->len, sizeof *out->data, by_bytes);
    return TN_OK;
}

/* Where members' weights come from: model files, files of weights, seeds. */
#ifndef TENON_WIDE_SOURCE_H
#define TENON_WIDE_SOURCE_H

#include <tenon/wide.h>

#include "wide/structure.h"

/* One model file, imported with its weights as inputs. */
typedef struct tn__wide_file {
    struct tn__wide_file *next;
    char *path;
    tn_arena arena;
    tn_import import;
    tn__structure structure; /* where the import has a graph */
} tn__wide_file;

/* Each model file that members have is imported once. */
typedef struct tn__wide_files {
    const tn_import_options *options; /* `weights` is set */
    tn__wide_file *first, *recent;    /* all in a list; what was asked for last */
    tn_arena arena;
    tn_map numbers; /* from paths, in `at` */
    TN_VEC(tn__wide_file *) at;
} tn__wide_files;

void tn__wide_files_deinit(tn__wide_files *f);
/* The file of a model; owned by `f`. Errors name the path. */
tn_status tn__wide_files_get(tn__wide_files *f, const char *path, tn__wide_file **out,
                             tn_error *err);

/* The weights of one member while they are read. */
typedef struct tn__wide_values {
    const tn__wide_file *file;
    const tn_wide_member *member;
    tn_arena arena;
    const void **data; /* per weight of the import, not aligned; NULL: those of the model's file */
    tn_file_map map;   /* of a file of weights; without data: its weights are in the arena */
} tn__wide_values;

/* The member's file of weights must hold all weights of the model and nothing else, of their types. */
tn_status tn__wide_values_open(tn__wide_values *v, const tn__wide_file *file,
                               const tn_wide_member *member, tn_error *err);
void tn__wide_values_close(tn__wide_values *v);
/* Bytes from `begin` to `end` of a weight as the member has them. Both are multiples of TN__WIDE_PART or the
 * weight's ends. */
enum { TN__WIDE_PART = 64 };
void tn__wide_values_copy(const tn__wide_values *v, uint32_t weight, size_t begin, size_t end,
                          void *out);
/* Whether two members' weights are equal, bit for bit. Weights that seeds change are not compared. */
bool tn__wide_values_equal(const tn__wide_values *a, uint32_t weight, const tn__wide_values *b,
                           uint32_t other);
/* x · (1 + 0.01 · normal), computed in f64 and rounded once: the normal number of element i is made of word
 * i % 4 of block i / 4 of the Philox stream that seed and name of the weight are the key of. `x` is the
 * weight's elements from `first` on, a multiple of the step. */
enum { TN__WIDE_PERTURB_STEP = 4 };
void tn__wide_perturb(const char *name, uint64_t seed, int64_t first, tn_array *x);

/* Whether a file of weights is an archive, whose weights lie in no map. */
bool tn__wide_is_archive(const char *weights);

/* "member 3 (c.onnx)" as a frame of an error; gives its status back. */
tn_status tn__wide_in_member(tn_status status, int number, const tn_wide_member *member,
                             tn_error *err);

#endif

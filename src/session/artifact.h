/* One compiled form of a model: a program with its weights and kernels, ready for instances.
 *
 * Made from a graph, or mapped from a program file. Reference-counted; sessions share it. */
#ifndef TENON_SESSION_ARTIFACT_H
#define TENON_SESSION_ARTIFACT_H

#include <pthread.h>
#include <stdatomic.h>

#include "import/import.h"
#include "plan/plan.h"
#include "runtime/instance.h"
#include "session/workshop.h"

/* Seconds each part took; zero where it was not needed. While the kernels of a new program are
 * compiled its weights are prepared and stored. */
typedef struct tn_artifact_stats {
    double import, plan, kernels, prepare, load, store;
    bool program_cached, kernels_cached, interpreted;
    bool foreign; /* a file of somebody else, whose kernels are interpreted */
} tn_artifact_stats;

/* Compiling the kernels of runs on a thread of its own; its results are the artifact's `kernels`. */
typedef struct tn_artifact_compile {
    pthread_t thread;
    bool running;
    const tn_workshop *workshop;
    tn_status status;
    tn_error err;
    double seconds;
} tn_artifact_compile;

/* Memory that constants of the graph lie in; see blocks.h. */
typedef struct tn_artifact_block {
    void *data;
    size_t size, filled, dropped; /* bytes: all, made so far, given back from the front */
    uint32_t number;              /* the filler's */
    bool kept;                    /* runs read it */
} tn_artifact_block;

/* Who makes the bytes of blocks. */
typedef struct tn_artifact_filler {
    void *context; /* NULL: nobody, blocks are whole */
    /* Makes the bytes from `begin` to `end`, or some more of them, and gives the new end. `pool` is held; NULL:
     * one thread. Cannot fail. */
    size_t (*fill)(void *context, const tn_artifact_block *block, size_t end, tn_pool *pool);
    void (*release)(void *context); /* called when no byte is wanted any more */
} tn_artifact_filler;

typedef struct tn_artifact {
    atomic_int refs;
    tn_arena arena; /* graph and program */
    const tn_program *program;
    tn_program planned;
    tn_program_file file;
    tn_import import; /* maps that the program's weights lie in */
    TN_VEC(tn_artifact_block) blocks;
    tn_artifact_filler filler;
    const void **sources;
    uint8_t *prepared; /* own memory; NULL when it lies in the file's map */
    size_t prepared_size;
    tn_kernels kernels, preparers; /* those of runs; those that prepare the weights */
    tn_artifact_compile compile;
    tn_executable executable;
    tn_artifact_stats stats;
} tn_artifact;

/* Empty, with one reference; NULL when memory runs out. An import may fill `arena` and `import`. */
tn_artifact *tn_artifact_new(void);
/* How else than usual an artifact is built: for tuning. */
typedef struct tn_artifact_trial {
    const tn_record_source *records; /* instead of what tuning remembered; NULL: that */
    int64_t batch_piece;             /* see tn_batch_in_pieces; instead of what tuning remembered */
    const tn_artifact *like;         /* whose kernels serve where they are the same; may be NULL */
} tn_artifact_trial;

/* Plans `g`, starts to compile its kernels and prepares its weights meanwhile: then it can be saved,
 * and run once finished. The graph's constants must outlive the artifact (they do in its own arena
 * and import). After a failure it can only be released. `trial` may be NULL. */
tn_status tn_artifact_start(tn_artifact *a, const tn_workshop *w, const tn_graph *g,
                            const tn_artifact_trial *trial, tn_error *err);
/* Plans `g`, and nothing more: of such an artifact tn_instance_measure tells what it would take. */
tn_status tn_artifact_plan(tn_artifact *a, const tn_workshop *w, const tn_graph *g, tn_error *err);
/* Gives the planned program the sequences and optionals of the import. */
void tn_artifact_take_compounds(tn_artifact *a);
/* Waits for the kernels; nothing to do where none were started. */
tn_status tn_artifact_finish(tn_artifact *a, tn_error *err);
/* Both of them; trial->like must outlive the artifact. */
tn_status tn_artifact_build(tn_artifact *a, const tn_workshop *w, const tn_graph *g,
                            const tn_artifact_trial *trial, tn_error *err);
/* Maps a program file and compiles its kernels (or finds them in the cache). `own`: an entry of the cache.
 * Kernels are code that nobody has shown to stay inside its buffers: those of other files are compiled only if
 * this user wrote the program (its identity is in the cache) or says `trust`, else interpreted. */
tn_status tn_artifact_load(tn_artifact *a, const tn_workshop *w, const char *path, bool own,
                           tn_error *err);
tn_artifact *tn_artifact_retain(tn_artifact *a);
void tn_artifact_release(tn_artifact *a);

/* Writes an entry of the cache, which refers to the files that its weights lie in. */
tn_status tn_artifact_store(const tn_artifact *a, const char *path, tn_error *err);
/* Writes a program file that holds its weights, and notes in `cache` that this user wrote it. */
tn_status tn_artifact_save(const tn_artifact *a, const tn_cache *cache, const char *path,
                           tn_error *err);

#endif

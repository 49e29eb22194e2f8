/* The inside of a model, for model.c, variants.c and session.c. */
#ifndef TENON_SESSION_MODEL_INNER_H
#define TENON_SESSION_MODEL_INNER_H

#include <pthread.h>

#include "session/program_cache.h"
#include "session/session.h"

enum { TN__VARIANTS = 16 };

/* The program specialised for the needs' values; `bound` tells them. */
typedef struct tn__variant {
    tn_hash128 bound;
    tn_artifact *artifact;
} tn__variant;

struct tn_model {
    atomic_int refs;
    pthread_mutex_t lock; /* over everything below that changes after the open */
    tn_workshop workshop;
    tn_arena arena;   /* texts; changed only while opening, and under the lock */
    const char *path; /* absolute; NULL: from a graph, or a maker */
    const tn_graph *given;
    tn_model_maker maker;   /* import NULL: none */
    tn_artifact *signature; /* holds `ports`: the open program, or one with needs only */
    const tn_program *ports;
    TN_VEC(const char *) need_values;
    TN_VEC(const char *) need_dims;
    tn__variant variants[TN__VARIANTS]; /* a ring */
    uint32_t variant_count;
    tn_artifact *inspected; /* keeps the graph that tn_model_graph gave */
    const tn_graph *graph;
};

/* The artifact for these inputs: the open one, or the variant (compiled if new). *bound identifies
 * the needs' values. The caller gets a reference. `symbols`: room for the ports' symbols. */
tn_status tn__model_artifact(tn_model *m, const tn_buffer *inputs, int count, int64_t *symbols,
                             tn_hash128 *bound, tn_artifact **out, tn_error *err);
/* Identifies the needs' values without compiling; zero for an open model. */
tn_hash128 tn__model_bound(tn_model *m, const tn_buffer *inputs, const int64_t *symbols);

/* Makes the artifact for the values of `inputs` (NULL: nothing is bound): from the cache, or by
 * import and plan. An artifact whose program has needs only is a result too. */
tn_status tn__model_make(tn_model *m, const tn_buffer *inputs, const int64_t *symbols,
                         tn_artifact **out, tn_error *err);
/* Imports into `a` with the needs bound; its graph is NULL when more is needed (see a->import). */
tn_status tn__model_import(tn_model *m, tn_artifact *a, const tn_buffer *inputs,
                           const int64_t *symbols, tn_error *err);

/* Adds what `p` needs to what the model binds; *grown when something is new. */
tn_status tn__model_add_needs(tn_model *m, const tn_program *p, bool *grown, tn_error *err);

/* Describes an input or output of one of the model's programs. */
tn_status tn__model_port(const tn_model *m, const tn_program *p, bool output, int i,
                         tn_port_info *out);
tn_status tn__compound_at(const tn_compound *at, uint32_t count, int i, tn_compound *out);

/* The model in messages. */
const char *tn__model_name(const tn_model *m);

/* Name of the cache entry for these values. False when there is no use of the cache. */
bool tn__model_key(const tn_model *m, const tn_buffer *inputs, const int64_t *symbols,
                   char out[TN_PROGRAM_CACHE_NAME]);

#endif

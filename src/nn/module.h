/* The inside of modules and what layers share. See tenon/nn.h. */
#ifndef TENON_NN_MODULE_H
#define TENON_NN_MODULE_H

#include <tenon/nn.h>

#include "nn/tensor_inner.h"

const char *tn__module_name(const tn_module *m); /* the full one */
/* Changes with every module, parameter and buffer that is made, and with every mode that is set, anywhere
 * below the root. */
uint64_t tn__module_version(const tn_module *m);
/* What tn_module_set_compute said, or else what holds for all modules of the root. */
tn_dtype tn__module_compute(const tn_module *m);
/* For all modules that were told nothing; gives what held before. */
tn_dtype tn__module_compute_all(tn_module *m, tn_dtype dtype);

/* The parameter is not trained. */
void tn__module_freeze(tn_module *m, const tn_tensor *parameter);

/* What a parameter or buffer is to be. */
typedef struct tn__wanted {
    const char *place;
    tn_dtype dtype;
    int rank;
    const int64_t *dim;
    tn_init init;
    bool buffer, random;  /* random: the number of a stream */
    const void *elements; /* not NULL: instead of the initial values */
} tn__wanted;
/* Fills `out`, of this type, as a module of this seed does. */
void tn__wanted_fill(const tn__wanted *w, uint64_t seed, const char *full_name, void *out);

/* Makes the tensors of a root module: kept, of the type that is wanted. NULL: err tells. */
typedef struct tn__item_maker {
    tn_tensor *(*make)(void *user, const tn__wanted *w, const char *full_name, tn_error *err);
    void *user;
} tn__item_maker;
void tn__module_set_maker(tn_module *root, tn__item_maker maker);
/* What is made next gets these elements, until it is NULL. */
void tn__module_set_elements(tn_module *m, const void *elements);
/* The item of this full name; −1: there is none. */
int tn__module_index(const tn_module *m, const char *full_name);
/* Whether the item is the number of a random stream (tn_module_random). */
bool tn__module_is_random(const tn_module *m, int index);
/* Makes in the root `to`, which is empty, all modules and items that `from` has, modes and what is frozen
 * included; the maker of `to` says what they hold. */
tn_status tn__module_make_like(tn_module *to, const tn_module *from, tn_error *err);

/* A layer's own module: the child of this name, with what its calls need. */
typedef struct tn__layer {
    const char *place;
    tn_context *context;
    tn_module *module;
    tn_dtype dtype;   /* of parameters */
    tn_dtype compute; /* of products; see tn_module_set_compute */
    bool ok;          /* false: an error was told, or an operand failed */
} tn__layer;

/* Not ok when x failed. */
tn__layer tn__layer_begin(const char *place, tn_module *m, const char *name, const tn_tensor *x);
/* Copies `given` (NULL: all zero) of the caller's size to `options` of ours; both begin with it. */
void tn__layer_options(tn__layer *l, const void *given, void *options, size_t size);
/* A sticky error with the layer's full name in front; the layer is not ok then. */
void tn__layer_refuse(tn__layer *l, const char *format, ...) TN_PRINTF(2, 3);
/* Parameters and buffers of the layer; NULL when it is not ok. */
tn_tensor *tn__layer_parameter(tn__layer *l, const char *name, int rank, const int64_t *dim,
                               tn_init given, tn_init otherwise);
tn_tensor *tn__layer_buffer(tn__layer *l, const char *name, int rank, const int64_t *dim,
                            tn_init init);
/* A stream of random numbers, see tn_module_random. */
tn_tensor *tn__layer_random(tn__layer *l, const char *name);
/* x as an operand of the layer's products, narrowed to the type that they compute in: x itself, or a new
 * tensor, which is left to a scope. */
const tn_tensor *tn__layer_operand(const tn__layer *l, const tn_tensor *x);
/* PyTorch's default for biases: uniform in ±1/√fan. */
tn_init tn__init_by_fan(int64_t fan);
/* What a layer that is not ok gives. */
tn_tensor *tn__layer_failed(const tn__layer *l);

#endif

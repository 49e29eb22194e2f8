/* Model files → graphs: what the importers take and give.
 *
 * Sizes stay symbols where everything downstream can keep them open. Where it cannot, or where an
 * input's *values* decide shapes (Reshape's shape, Slice's starts, TopK's k), the import says which
 * sizes or inputs it needs; it is then repeated with these bound: the graph is specialised.
 *
 * Sequences and optionals are structure of the import alone: an input that is one is bound by its number of
 * tensors and becomes as many inputs of the graph, an output as many outputs. */
#ifndef TENON_IMPORT_IMPORT_H
#define TENON_IMPORT_IMPORT_H

#include "base/array.h"
#include "base/io.h"
#include "ir/graph.h"

typedef struct tn_import_dim {
    const char *name; /* of a symbol, as the model spells it */
    int64_t value;
} tn_import_dim;

typedef struct tn_import_value {
    const char *name; /* of an input */
    tn_array array;   /* its value; borrowed during the import */
} tn_import_value;

typedef struct tn_import_options {
    const tn_import_dim *dims;
    uint32_t dim_count;
    const tn_import_value *values;
    uint32_t value_count;
    const tn_compound_binding *compounds; /* inputs that are sequences and optionals */
    uint32_t compound_count;
    /* Weights become inputs of the graph behind those of the model; see tn_import_weight. Then the import
     * also lists the model's nodes. */
    bool weights;
    /* For a look at a model's structure: external data that are not there are zeros, and sizes that computed
     * values decide have their upper bound. Such a graph is not to be run. */
    bool absent_data;
    /* Numbers that follow from inputs of a few integers are asked for where a size that a run binds would do:
     * for who computes with many members at once, whose sizes have to agree. */
    bool specialize;
    uint64_t stream; /* xored into the keys of all random numbers; 0: those of the model */
} tn_import_options;

typedef struct tn_import_port {
    const char *name;
    tn_type type; /* sizes over tn_import.dims; of outputs as far as the file tells */
    bool typed;   /* false: the file does not tell the rank (outputs only) */
} tn_import_port;

/* An initializer of the outermost graph that is data of the network and not a setting of some
 * operator: a float with axes that at least one node takes as an operand which its operator computes
 * with (Resize's scales are a setting). */
typedef struct tn_import_weight {
    const char *name;
    tn_array array;  /* its elements, borrowed from a map or in the arena */
    bool statistics; /* the running mean or variance of batch norms, and nothing else */
} tn_import_weight;

/* A node of the model, as those of the graph that it became are named. */
typedef struct tn_import_node {
    const char *name, *op;
} tn_import_node;

/* An output of a node of the outermost graph; sub-graphs and functions belong to the node that holds
 * them. */
typedef struct tn_import_result {
    const char *node, *op, *name; /* the node without a name has that of its first output */
    tn_value value;
} tn_import_result;

typedef struct tn_import {
    /* All of the model's inputs in order, bound ones included (they stay inputs, used or not). NULL
     * when something is needed first. Borrows the bytes of constants from `maps`. */
    tn_graph *graph;
    tn_dims *dims; /* the table of the ports' sizes; the graph's when there is one */
    TN_VEC(tn_import_port) inputs;
    TN_VEC(tn_import_port) outputs;
    /* Which of these are the tensors of a sequence or optional, in order. An input that was not bound,
     * and an output without a graph, has none: its count is TN_COMPOUND_UNKNOWN. */
    TN_VEC(tn_compound) input_compounds;
    TN_VEC(tn_compound) output_compounds;
    TN_VEC(tn_import_weight) weights; /* if asked for; known with or without a graph */
    TN_VEC(tn_import_node) nodes;     /* with the weights; a function's where it is called */
    TN_VEC(tn_import_result) results; /* tensors of the graph, in the order of the nodes */
    /* Set with TN_OK and graph NULL: what has to be bound, besides input compounds of unknown count. */
    TN_VEC(const char *) need_values; /* names of inputs */
    TN_VEC(const char *) need_dims;   /* names of sizes */
    const char *need_reason; /* "node 'r' (Reshape): its shape is computed from input 'n'" */
    /* Files that stay open: the model and its external data; their identity is the model's. The
     * order is the graph's sources'. */
    TN_VEC(tn_file_map) maps;
    TN_VEC(const char *) paths; /* of maps */
    tn_file_map zeros;          /* data that are not there */
} tn_import;

/* Everything but the maps lives in `arena`. On failure the maps are closed already. The file may be
 * hostile: nothing is believed before it is checked. */
tn_status tn_import_onnx(const char *path, const tn_import_options *options, tn_arena *arena,
                         tn_import *out, tn_error *err);
/* Writes the model that `i` was imported from to `path`, with the bytes value[k] (as many as it has) for
 * weights[k]; NULL: as it was. External data go to files of the same names in path's folder. Each file
 * appears whole, by a rename, the model last; `path` may be the model's own. */
tn_status tn_import_save_onnx(const tn_import *i, const void *const *value, const char *path,
                              tn_error *err);
/* What can be told before: a folder that cannot be written, and a path beside the model, which would
 * take its external data. tn_import_save_onnx refuses the same. */
tn_status tn_import_check_save(const tn_import *i, const char *path, tn_error *err);
/* Closes the maps. */
void tn_import_close(tn_import *i);

/* A TensorProto file (test data): its elements in `arena`; *name (may be NULL) its name or "". */
tn_status tn_import_tensor_pb(const char *path, tn_arena *arena, tn_array *out, const char **name,
                              tn_error *err);

/* A SequenceProto or OptionalProto file (test data); nothing in it tells which, nor that it is no tensor. */
typedef struct tn_import_compound {
    const char *name;
    int count; /* of tensors, or TN_COMPOUND_ABSENT */
    tn_array *tensors;
} tn_import_compound;
tn_status tn_import_compound_pb(const char *path, tn_compound_kind kind, tn_arena *arena,
                                tn_import_compound *out, tn_error *err);

/* NumPy's files; the elements are copied into `arena`, in row-major order. */
typedef struct tn_import_entry {
    const char *name; /* without ".npy" */
    tn_array array;
} tn_import_entry;
typedef TN_VEC(tn_import_entry) tn_import_entries;
tn_status tn_import_npy(const char *path, tn_arena *arena, tn_array *out, tn_error *err);
/* Archives of np.savez and np.savez_compressed. */
tn_status tn_import_npz(const char *path, tn_arena *arena, tn_import_entries *out, tn_error *err);

#endif

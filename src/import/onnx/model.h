/* An ONNX model as it stands in its file: names, attributes, and where tensor data lie.
 *
 * Read from a mapped file into an arena; bulk data (raw bytes, packed numbers) stay in the map.
 * Lengths are checked against the file, nothing else is believed yet: shapes, types and names are
 * checked where they are used. Read next: read.c, tensor.c, import.c. */
#ifndef TENON_IMPORT_ONNX_MODEL_H
#define TENON_IMPORT_ONNX_MODEL_H

#include "base/array.h"
#include "base/base.h"

typedef struct tn_onnx_bytes {
    const uint8_t *at;
    size_t size;
} tn_onnx_bytes;

/* A repeated number field in its packed encoding; `own` holds it when the file does not. */
typedef struct tn_onnx_packed {
    tn_onnx_bytes bytes;
    TN_VEC(uint8_t) own;
} tn_onnx_packed;

/* The fields for numbers of a TensorProto. */
typedef enum tn_onnx_field {
    TN_ONNX_FLOAT_DATA,
    TN_ONNX_INT32_DATA,
    TN_ONNX_INT64_DATA,
    TN_ONNX_DOUBLE_DATA,
    TN_ONNX_UINT64_DATA,
    TN_ONNX_FIELD_COUNT
} tn_onnx_field;

typedef struct tn_onnx_entry {
    const char *key, *value;
} tn_onnx_entry;

typedef struct tn_onnx_tensor {
    const char *name; /* "" when it has none, as everywhere here */
    int64_t type;     /* TensorProto.DataType */
    TN_VEC(int64_t) dims;
    bool has_raw, is_segment, is_external;
    tn_onnx_bytes raw;
    tn_onnx_packed data[TN_ONNX_FIELD_COUNT];
    TN_VEC(tn_onnx_bytes) strings;
    TN_VEC(tn_onnx_entry) external;
} tn_onnx_tensor;

/* Test data for a compound. */
typedef struct tn_onnx_sequence {
    const char *name;
    bool absent; /* an optional without a value */
    TN_VEC(tn_onnx_tensor *) tensors;
    const char *other; /* not a tensor: what an element is; else NULL */
} tn_onnx_sequence;

typedef struct tn_onnx_graph tn_onnx_graph;

/* AttributeProto.AttributeType */
typedef enum tn_onnx_attr_type {
    TN_ONNX_ATTR_FLOAT = 1,
    TN_ONNX_ATTR_INT = 2,
    TN_ONNX_ATTR_STRING = 3,
    TN_ONNX_ATTR_TENSOR = 4,
    TN_ONNX_ATTR_GRAPH = 5,
    TN_ONNX_ATTR_FLOATS = 6,
    TN_ONNX_ATTR_INTS = 7,
    TN_ONNX_ATTR_STRINGS = 8,
    TN_ONNX_ATTR_TENSORS = 9,
    TN_ONNX_ATTR_TYPE_COUNT
} tn_onnx_attr_type;

typedef struct tn_onnx_attr {
    const char *name, *ref; /* ref: the attribute of the function called that is meant; or "" */
    int64_t type;
    float f;
    int64_t i;
    tn_onnx_bytes s;
    tn_onnx_tensor *t;
    tn_onnx_graph *g;
    tn_onnx_packed floats, ints;
    TN_VEC(tn_onnx_bytes) strings;
    TN_VEC(tn_onnx_tensor *) tensors;
} tn_onnx_attr;

typedef TN_VEC(const char *) tn_onnx_names;

typedef struct tn_onnx_node {
    const char *name, *op, *domain, *overload;
    tn_onnx_names inputs, outputs;
    TN_VEC(tn_onnx_attr) attrs;
} tn_onnx_node;

typedef struct tn_onnx_dim {
    bool has_value;
    int64_t value;
    const char *symbol; /* "" when unknown */
} tn_onnx_dim;

/* A graph's input or output. */
typedef struct tn_onnx_port {
    const char *name;
    const char
        *other; /* what it is when it, or its element, is nothing that Tenon has; else NULL */
    bool is_compound;
    tn_compound_kind kind; /* of a compound; then the rest is the type of its tensors */
    int64_t type;
    bool has_shape;
    TN_VEC(tn_onnx_dim) dims;
} tn_onnx_port;

struct tn_onnx_graph {
    const char *name;
    TN_VEC(tn_onnx_node) nodes;
    TN_VEC(tn_onnx_tensor *) initializers;
    TN_VEC(tn_onnx_port) inputs;
    TN_VEC(tn_onnx_port) outputs;
    bool has_sparse;
};

typedef struct tn_onnx_opset {
    const char *domain;
    int64_t version;
} tn_onnx_opset;
typedef TN_VEC(tn_onnx_opset) tn_onnx_opsets;

typedef struct tn_onnx_function {
    const char *name, *domain, *overload;
    tn_onnx_names inputs, outputs, attrs;
    TN_VEC(tn_onnx_attr) defaults;
    TN_VEC(tn_onnx_node) nodes;
    tn_onnx_opsets opsets;
} tn_onnx_function;

typedef struct tn_onnx_model {
    const char *producer;
    int64_t ir_version;
    tn_onnx_opsets opsets;
    tn_onnx_graph *graph; /* NULL: the file has none */
    TN_VEC(tn_onnx_function) functions;
} tn_onnx_model;

/* The memory that reading `size` bytes may take: the limit to give the arena. */
size_t tn_onnx_memory_limit(size_t size);

/* Both unwind (tn_guard) when the arena's limit is reached. The result points into `data`. */
tn_status tn_onnx_read_model(const void *data, size_t size, tn_arena *arena, tn_onnx_model *out,
                             tn_error *err);
tn_status tn_onnx_read_tensor(const void *data, size_t size, tn_arena *arena, tn_onnx_tensor *out,
                              tn_error *err);
tn_status tn_onnx_read_sequence(const void *data, size_t size, tn_arena *arena,
                                tn_onnx_sequence *out, tn_error *err);
tn_status tn_onnx_read_optional(const void *data, size_t size, tn_arena *arena,
                                tn_onnx_sequence *out, tn_error *err);

/* Numbers of a packed field. Varints are counted by their last bytes. */
size_t tn_onnx_packed_count(const tn_onnx_packed *p, size_t element); /* element 0: varints */
/* Steps over one varint; false when the encoding is broken or ends. */
bool tn_onnx_next_varint(tn_onnx_bytes *at, uint64_t *value);

/* ---- tensors (tensor.c) --------------------------------------------------------------------- */

/* The element type of a TensorProto.DataType; the message says which it is when Tenon has none. */
tn_status tn_onnx_dtype(int64_t type, tn_dtype *out, tn_error *err);
/* The TensorProto.DataType of an element type. */
int tn_onnx_type_number(tn_dtype dtype);

/* Where external data are found: the bytes of `location`, or an error. */
typedef struct tn_onnx_files {
    tn_status (*find)(void *context, const char *location, tn_onnx_bytes *out, tn_error *err);
    /* Bytes that are all zero, for data whose file is not there; NULL: that is an error. */
    tn_status (*zeros)(void *context, size_t size, tn_onnx_bytes *out, tn_error *err);
    void *context; /* NULL: external data are refused */
} tn_onnx_files;

/* A checked tensor: type, shape, and data that have exactly the size the shape needs. */
typedef struct tn_onnx_content {
    tn_array type; /* data NULL */
    int64_t count; /* elements */
    bool as_is;    /* `bytes` are the elements as Tenon holds them */
    tn_onnx_bytes bytes;
    const tn_onnx_tensor *tensor;
} tn_onnx_content;

tn_status tn_onnx_tensor_check(const tn_onnx_tensor *t, const tn_onnx_files *files,
                               tn_onnx_content *out, tn_error *err);
/* The elements, in the arena. */
tn_status tn_onnx_tensor_decode(const tn_onnx_content *c, tn_arena *arena, tn_array *out,
                                tn_error *err);

#endif

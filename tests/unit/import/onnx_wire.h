/* Writing ONNX files byte by byte, for tests: a wire is one message, nested ones are appended.
 *
 * Include after "../test.h". */
#ifndef TENON_TEST_ONNX_WIRE_H
#define TENON_TEST_ONNX_WIRE_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/str.h"
#include "import/onnx/onnx.h"

typedef struct wire {
    uint8_t at[8192];
    size_t len;
} wire;

/* TensorProto.DataType and AttributeProto.AttributeType */
enum { W_FLOAT = 1, W_UINT8 = 2, W_INT32 = 6, W_INT64 = 7, W_STRING = 8, W_BOOL = 9 };

static inline void wire_raw(wire *w, const void *data, size_t size) {
    assert_true(w->len + size <= sizeof w->at);
    if (size) memcpy(w->at + w->len, data, size);
    w->len += size;
}

static inline void wire_varint(wire *w, uint64_t v) {
    do {
        uint8_t byte = (uint8_t)((v & 0x7f) | (v > 0x7f ? 0x80 : 0));
        wire_raw(w, &byte, 1);
        v >>= 7;
    } while (v);
}

static inline void wire_int(wire *w, int field, int64_t v) {
    wire_varint(w, (uint64_t)field << 3);
    wire_varint(w, (uint64_t)v);
}

static inline void wire_bytes(wire *w, int field, const void *data, size_t size) {
    wire_varint(w, (uint64_t)field << 3 | 2);
    wire_varint(w, size);
    wire_raw(w, data, size);
}

static inline void wire_text(wire *w, int field, const char *text) {
    wire_bytes(w, field, text, strlen(text));
}

static inline void wire_put(wire *w, int field, const wire *inner) {
    wire_bytes(w, field, inner->at, inner->len);
}

/* ---- ONNX messages ----------------------------------------------------------------------------- */

/* Sizes of a port: numbers, or names of symbols; "?" is unknown. */
static inline wire wire_tensor_type(int type, const char *sizes) {
    wire shape = {.len = 0}, tensor = {.len = 0}, proto = {.len = 0};
    char text[128];
    snprintf(text, sizeof text, "%s", sizes);
    for (char *rest = NULL, *s = strtok_r(text, ",", &rest); s; s = strtok_r(NULL, ",", &rest)) {
        wire dim = {.len = 0};
        if (*s >= '0' && *s <= '9')
            wire_int(&dim, 1, atoll(s));
        else if (*s != '?')
            wire_text(&dim, 2, s);
        wire_put(&shape, 1, &dim);
    }
    wire_int(&tensor, 1, type);
    if (*sizes != '*') wire_put(&tensor, 2, &shape); /* "*": any number of axes */
    wire_put(&proto, 1, &tensor);
    return proto;
}
static inline void wire_typed_port(wire *graph, int field, const char *name, const wire *type) {
    wire port = {.len = 0};
    wire_text(&port, 1, name);
    wire_put(&port, 2, type);
    wire_put(graph, field, &port);
}
/* A sequence (4) or optional (9) of a type. */
enum { W_SEQUENCE_OF = 4, W_OPTIONAL_OF = 9 };
static inline wire wire_type_of(int field, const wire *element) {
    wire inner = {.len = 0}, proto = {.len = 0};
    wire_put(&inner, 1, element);
    wire_put(&proto, field, &inner);
    return proto;
}
static inline void wire_port(wire *graph, int field, const char *name, int type,
                             const char *sizes) {
    wire proto = wire_tensor_type(type, sizes);
    wire_typed_port(graph, field, name, &proto);
}
static inline void wire_input(wire *graph, const char *name, int type, const char *sizes) {
    wire_port(graph, 11, name, type, sizes);
}
static inline void wire_output(wire *graph, const char *name, int type, const char *sizes) {
    wire_port(graph, 12, name, type, sizes);
}

/* "Op in in > out out"; attributes are added to the wire that is given back. */
static inline wire wire_node(const char *text) {
    wire node = {.len = 0};
    char copy[256];
    int field = 4;
    snprintf(copy, sizeof copy, "%s", text);
    for (char *rest = NULL, *s = strtok_r(copy, " ", &rest); s; s = strtok_r(NULL, " ", &rest)) {
        if (*s == '>') {
            field = 2;
            continue;
        }
        wire_text(&node, field, *s == '-' ? "" : s); /* "-" is an absent one */
        if (field == 4) field = 1;
    }
    return node;
}
static inline void wire_add_node(wire *graph, const char *text) {
    wire node = wire_node(text);
    wire_put(graph, 1, &node);
}
static inline void wire_attr_float(wire *node, const char *name, float value) {
    wire attr = {.len = 0};
    wire_text(&attr, 1, name);
    wire_varint(&attr, 2 << 3 | 5);
    wire_raw(&attr, &value, sizeof value);
    wire_int(&attr, 20, 1);
    wire_put(node, 5, &attr);
}

static inline void wire_attr_text(wire *node, const char *name, const char *value) {
    wire attr = {.len = 0};
    wire_text(&attr, 1, name);
    wire_text(&attr, 4, value);
    wire_int(&attr, 20, 3);
    wire_put(node, 5, &attr);
}

static inline void wire_attr_int(wire *node, const char *name, int64_t value) {
    wire attr = {.len = 0};
    wire_text(&attr, 1, name);
    wire_int(&attr, 3, value);
    wire_int(&attr, 20, 2);
    wire_put(node, 5, &attr);
}
static inline void wire_attr_graph(wire *node, const char *name, const wire *graph) {
    wire attr = {.len = 0};
    wire_text(&attr, 1, name);
    wire_put(&attr, 6, graph);
    wire_int(&attr, 20, 5);
    wire_put(node, 5, &attr);
}

static inline wire wire_tensor(const char *name, int type, int rank, const int64_t *dim,
                               const void *raw, size_t size) {
    wire t = {.len = 0};
    for (int i = 0; i < rank; i++) wire_int(&t, 1, dim[i]);
    wire_int(&t, 2, type);
    wire_text(&t, 8, name);
    if (raw) wire_bytes(&t, 9, raw, size);
    return t;
}
static inline void wire_ints(wire *graph, const char *name, int64_t count, const int64_t *values) {
    wire t = wire_tensor(name, W_INT64, 1, &count, values, (size_t)count * sizeof *values);
    wire_put(graph, 5, &t);
}

static inline wire wire_model(const wire *graph, int64_t opset) {
    wire model = {.len = 0}, set = {.len = 0};
    wire_int(&set, 2, opset);
    wire_int(&model, 1, 9);
    wire_put(&model, 7, graph);
    wire_put(&model, 8, &set);
    return model;
}

/* ---- importing ----------------------------------------------------------------------------------- */

typedef struct imported {
    tn_arena arena;
    tn_import import;
    tn_status status;
    tn_error err;
    char text[2048]; /* the error with its frames */
} imported;

static inline void import_bytes(imported *i, const void *data, size_t size,
                                const tn_import_options *options) {
    memset(i, 0, sizeof *i);
    tn_arena_init(&i->arena, tn_allocator_system());
    i->status = tn_import_onnx_bytes(data, size, options, &i->arena, &i->import, &i->err);
    if (i->status != TN_OK) tn_error_format(&i->err, i->text, sizeof i->text);
}

static inline void import_model_at(imported *i, const wire *graph, int64_t opset) {
    wire *model = malloc(sizeof *model);
    *model = wire_model(graph, opset);
    import_bytes(i, model->at, model->len, NULL);
    free(model); /* small constants are copied */
}
static inline void import_model(imported *i, const wire *graph) {
    import_model_at(i, graph, 21);
}

static inline void import_done(imported *i) {
    tn_import_close(&i->import);
    tn_arena_deinit(&i->arena);
}

/* The graph must be refused with a message that holds `part`. */
static inline void refused_at(const wire *graph, int64_t opset, const char *part) {
    imported i;
    import_model_at(&i, graph, opset);
    if (i.status == TN_OK) fail_msg("imported; expected: %s", part);
    if (!strstr(i.text, part)) fail_msg("'%s'; expected: %s", i.text, part);
    import_done(&i);
}
static inline void refused(const wire *graph, const char *part) {
    refused_at(graph, 21, part);
}

static inline const char *shape_text(imported *i, uint32_t output) {
    static tn_str text;
    if (!text.allocator.resize) tn_str_init(&text);
    tn_str_clear(&text);
    if (i->status != TN_OK) fail_msg("%s", i->text);
    if (!i->import.graph) fail_msg("needs: %s", i->import.need_reason);
    tn_type_print(i->import.dims, &i->import.outputs.data[output].type, &text);
    return tn_str_text(&text);
}

#endif

/* Reading the wire format. See model.h.
 *
 * nanopb walks the fields and calls one function per message (tn_wire_<Message>_callback). The
 * stream reads from memory; a field's bytes are its place in the map, so that nothing is copied. A
 * number field whose wire type is not a length comes on a small stream of nanopb's own. */
#include "import/onnx/model.h"

#include <pb_decode.h>
#include <stdio.h>

#include "import/onnx/onnx.pb.h"

enum { MAX_DEPTH = 48 };

typedef struct reader {
    tn_arena *arena;
    const uint8_t *begin, *cursor;
    int depth;
    char why[160]; /* the innermost reason of a failure */
} reader;

/* nanopb's message structures hold one char per field, which nobody reads. */
typedef struct target {
    char fields[24];
    reader *r;
    void *out;
} target;
#define FITS(message)                                                                              \
    _Static_assert(sizeof(tn_wire_##message) <= sizeof((target *)0)->fields, #message)
FITS(ModelProto);
FITS(OperatorSetIdProto);
FITS(GraphProto);
FITS(FunctionProto);
FITS(NodeProto);
FITS(AttributeProto);
FITS(TensorProto);
FITS(SparseTensorProto);
FITS(StringStringEntryProto);
FITS(ValueInfoProto);
FITS(TypeProto);
FITS(TypeProto_Tensor);
FITS(TypeProto_Sequence);
FITS(TypeProto_Optional);
FITS(SequenceProto);
FITS(OptionalProto);
FITS(TensorShapeProto);
FITS(TensorShapeProto_Dimension);

/* ---- streams and fields --------------------------------------------------------------------- */

/* stream->state is the reader; substreams share it and are read strictly in order. */
static bool read_map(pb_istream_t *stream, pb_byte_t *to, size_t count) {
    reader *r = stream->state;
    if (to) memcpy(to, r->cursor, count);
    r->cursor += count;
    return true;
}

static bool fail(reader *r, const char *why) {
    if (!r->why[0]) snprintf(r->why, sizeof r->why, "%s", why);
    return false;
}

/* All bytes of a length-delimited field. */
static bool take(reader *r, pb_istream_t *stream, tn_onnx_bytes *out) {
    if (stream->callback != read_map) return fail(r, "a field has the wrong wire type");
    *out = (tn_onnx_bytes){r->cursor, stream->bytes_left};
    r->cursor += stream->bytes_left; /* pb_read would touch every byte */
    stream->bytes_left = 0;
    return true;
}

static bool take_text(reader *r, pb_istream_t *stream, const char **out) {
    tn_onnx_bytes b;
    if (!take(r, stream, &b)) return false;
    if (b.size && memchr(b.at, 0, b.size)) return fail(r, "a name holds a zero byte");
    char *text = tn_arena_alloc(r->arena, b.size + 1);
    if (b.size) memcpy(text, b.at, b.size);
    *out = text;
    return true;
}

static bool take_int(reader *r, pb_istream_t *stream, int64_t *out) {
    uint64_t value;
    if (stream->callback == read_map) return fail(r, "a number has the wrong wire type");
    if (!pb_decode_varint(stream, &value)) return false;
    if (stream->bytes_left) return fail(r, "a number has the wrong wire type");
    *out = (int64_t)value;
    return true;
}

static bool take_float(reader *r, pb_istream_t *stream, float *out) {
    if (stream->callback == read_map || stream->bytes_left != sizeof *out)
        return fail(r, "a number has the wrong wire type");
    return pb_decode_fixed32(stream, out);
}

/* One packed run (a place in the map), or one number that is not packed. */
static bool take_packed(reader *r, pb_istream_t *stream, tn_onnx_packed *p) {
    tn_onnx_bytes b;
    uint8_t number[16];
    if (stream->callback == read_map) {
        if (!take(r, stream, &b)) return false;
        if (!p->bytes.size) {
            p->bytes = b;
            return true;
        }
    } else {
        b = (tn_onnx_bytes){number, stream->bytes_left};
        if (b.size > sizeof number || !pb_read(stream, number, b.size)) return false;
    }
    size_t before = p->bytes.size;
    if (before + b.size > UINT32_MAX) return fail(r, "a number field is too long");
    bool moves = p->own.len == 0;
    tn_vec_grow(r->arena, &p->own, (uint32_t)(before + b.size));
    if (moves && before) memcpy(p->own.data, p->bytes.at, before);
    if (b.size) memcpy(p->own.data + before, b.at, b.size);
    p->own.len = (uint32_t)(before + b.size);
    p->bytes = (tn_onnx_bytes){p->own.data, p->own.len};
    return true;
}

static bool take_message(reader *r, pb_istream_t *stream, const pb_msgdesc_t *type, void *out) {
    target t = {.r = r, .out = out};
    if (stream->callback != read_map) return fail(r, "a field has the wrong wire type");
    if (r->depth == MAX_DEPTH) return fail(r, "messages are nested too deeply");
    r->depth++;
    bool ok = pb_decode(stream, type, &t);
    r->depth--;
    return ok;
}

static reader *reader_of(const pb_field_t *field) {
    return ((target *)field->message)->r;
}
static void *out_of(const pb_field_t *field) {
    return ((target *)field->message)->out;
}

/* Appends a zeroed element to a vector and reads a message into it. */
#define TAKE_PUSHED(r, stream, vec, message)                                                       \
    (tn_vec_grow((r)->arena, (vec), (vec)->len + 1),                                               \
     memset(&(vec)->data[(vec)->len], 0, sizeof *(vec)->data),                                     \
     init_##message(&(vec)->data[(vec)->len]),                                                     \
     take_message((r), (stream), &tn_wire_##message##_msg, &(vec)->data[(vec)->len++]))

static bool push_text(reader *r, pb_istream_t *stream, tn_onnx_names *names) {
    const char *text;
    if (!take_text(r, stream, &text)) return false;
    tn_vec_push(r->arena, names, text);
    return true;
}

/* ---- one function per message --------------------------------------------------------------- */

#define CALLBACK(message)                                                                          \
    bool tn_wire_##message##_callback(pb_istream_t *stream, pb_ostream_t *unused,                  \
                                      const pb_field_t *field)
/* nanopb declares the functions' parameters with other names. */
#define BEGIN(T)                                                                                   \
    reader *r = reader_of(field);                                                                  \
    T *out = out_of(field);                                                                        \
    (void)unused

static void init_OperatorSetIdProto(tn_onnx_opset *o) {
    o->domain = "";
}
CALLBACK(OperatorSetIdProto) {
    BEGIN(tn_onnx_opset);
    if (field->tag == tn_wire_OperatorSetIdProto_domain_tag)
        return take_text(r, stream, &out->domain);
    return take_int(r, stream, &out->version);
}

static void init_StringStringEntryProto(tn_onnx_entry *e) {
    e->key = e->value = "";
}
CALLBACK(StringStringEntryProto) {
    BEGIN(tn_onnx_entry);
    bool key = field->tag == tn_wire_StringStringEntryProto_key_tag;
    return take_text(r, stream, key ? &out->key : &out->value);
}

static void init_TensorProto(tn_onnx_tensor *t) {
    t->name = "";
}
static bool tensor_text(reader *r, pb_istream_t *stream, const pb_field_t *field,
                        tn_onnx_tensor *out) {
    tn_onnx_bytes b;
    if (field->tag == tn_wire_TensorProto_name_tag) return take_text(r, stream, &out->name);
    if (field->tag == tn_wire_TensorProto_external_data_tag)
        return TAKE_PUSHED(r, stream, &out->external, StringStringEntryProto);
    if (!take(r, stream, &b)) return false;
    if (field->tag == tn_wire_TensorProto_segment_tag) out->is_segment = true;
    if (field->tag == tn_wire_TensorProto_string_data_tag) tn_vec_push(r->arena, &out->strings, b);
    if (field->tag == tn_wire_TensorProto_raw_data_tag) {
        out->raw = b;
        out->has_raw = true;
    }
    return true;
}
static bool tensor_dims(reader *r, pb_istream_t *stream, tn_onnx_tensor *out) {
    tn_onnx_packed packed = {0};
    uint64_t value;
    if (!take_packed(r, stream, &packed)) return false;
    while (packed.bytes.size) {
        if (!tn_onnx_next_varint(&packed.bytes, &value)) return fail(r, "a broken number");
        if (out->dims.len > TN_MAX_RANK) return fail(r, "a tensor has too many axes");
        tn_vec_push(r->arena, &out->dims, (int64_t)value);
    }
    return true;
}
CALLBACK(TensorProto) {
    BEGIN(tn_onnx_tensor);
    int64_t location = 0;
    switch (field->tag) {
    case tn_wire_TensorProto_dims_tag:
        return tensor_dims(r, stream, out);
    case tn_wire_TensorProto_data_type_tag:
        return take_int(r, stream, &out->type);
    case tn_wire_TensorProto_float_data_tag:
        return take_packed(r, stream, &out->data[TN_ONNX_FLOAT_DATA]);
    case tn_wire_TensorProto_int32_data_tag:
        return take_packed(r, stream, &out->data[TN_ONNX_INT32_DATA]);
    case tn_wire_TensorProto_int64_data_tag:
        return take_packed(r, stream, &out->data[TN_ONNX_INT64_DATA]);
    case tn_wire_TensorProto_double_data_tag:
        return take_packed(r, stream, &out->data[TN_ONNX_DOUBLE_DATA]);
    case tn_wire_TensorProto_uint64_data_tag:
        return take_packed(r, stream, &out->data[TN_ONNX_UINT64_DATA]);
    case tn_wire_TensorProto_data_location_tag:
        if (!take_int(r, stream, &location)) return false;
        out->is_external = location == 1;
        return true;
    default:
        return tensor_text(r, stream, field, out);
    }
}

CALLBACK(SparseTensorProto) {
    tn_onnx_bytes ignored;
    (void)unused;
    return take(reader_of(field), stream, &ignored);
}

static bool take_tensor(reader *r, pb_istream_t *stream, tn_onnx_tensor **out) {
    *out = TN_NEW(r->arena, tn_onnx_tensor);
    init_TensorProto(*out);
    return take_message(r, stream, &tn_wire_TensorProto_msg, *out);
}

CALLBACK(SequenceProto) {
    BEGIN(tn_onnx_sequence);
    tn_onnx_bytes ignored;
    tn_onnx_tensor *tensor;
    int64_t type; /* what follows tells it, too */
    switch (field->tag) {
    case tn_wire_SequenceProto_name_tag:
        return take_text(r, stream, &out->name);
    case tn_wire_SequenceProto_elem_type_tag:
        return take_int(r, stream, &type);
    case tn_wire_SequenceProto_tensor_values_tag:
        if (out->tensors.len == TN_COMPOUND_MOST) return fail(r, "a sequence has too many tensors");
        if (!take_tensor(r, stream, &tensor)) return false;
        tn_vec_push(r->arena, &out->tensors, tensor);
        return true;
    default:
        out->other = "a sequence, map or optional";
        return take(r, stream, &ignored);
    }
}

CALLBACK(OptionalProto) {
    BEGIN(tn_onnx_sequence);
    tn_onnx_bytes ignored;
    tn_onnx_tensor *tensor;
    int64_t type;
    switch (field->tag) {
    case tn_wire_OptionalProto_name_tag:
        return take_text(r, stream, &out->name);
    case tn_wire_OptionalProto_elem_type_tag:
        return take_int(r, stream, &type);
    case tn_wire_OptionalProto_tensor_value_tag:
        out->absent = false;
        out->tensors.len = 0; /* the last one counts */
        if (!take_tensor(r, stream, &tensor)) return false;
        tn_vec_push(r->arena, &out->tensors, tensor);
        return true;
    case tn_wire_OptionalProto_sequence_value_tag:
        out->absent = false;
        return take_message(r, stream, &tn_wire_SequenceProto_msg, out);
    default:
        out->other = "a map, optional or sparse tensor";
        return take(r, stream, &ignored);
    }
}

static void init_GraphProto(tn_onnx_graph *g) {
    g->name = "";
}
static bool take_graph(reader *r, pb_istream_t *stream, tn_onnx_graph **out) {
    *out = TN_NEW(r->arena, tn_onnx_graph);
    init_GraphProto(*out);
    return take_message(r, stream, &tn_wire_GraphProto_msg, *out);
}

static void init_AttributeProto(tn_onnx_attr *a) {
    a->name = a->ref = "";
}
CALLBACK(AttributeProto) {
    BEGIN(tn_onnx_attr);
    tn_onnx_bytes b;
    tn_onnx_tensor *tensor;
    switch (field->tag) {
    case tn_wire_AttributeProto_name_tag:
        return take_text(r, stream, &out->name);
    case tn_wire_AttributeProto_ref_attr_name_tag:
        return take_text(r, stream, &out->ref);
    case tn_wire_AttributeProto_type_tag:
        return take_int(r, stream, &out->type);
    case tn_wire_AttributeProto_f_tag:
        return take_float(r, stream, &out->f);
    case tn_wire_AttributeProto_i_tag:
        return take_int(r, stream, &out->i);
    case tn_wire_AttributeProto_s_tag:
        return take(r, stream, &out->s);
    case tn_wire_AttributeProto_t_tag:
        return take_tensor(r, stream, &out->t);
    case tn_wire_AttributeProto_g_tag:
        return take_graph(r, stream, &out->g);
    case tn_wire_AttributeProto_floats_tag:
        return take_packed(r, stream, &out->floats);
    case tn_wire_AttributeProto_ints_tag:
        return take_packed(r, stream, &out->ints);
    case tn_wire_AttributeProto_strings_tag:
        if (!take(r, stream, &b)) return false;
        tn_vec_push(r->arena, &out->strings, b);
        return true;
    case tn_wire_AttributeProto_tensors_tag:
        if (!take_tensor(r, stream, &tensor)) return false;
        tn_vec_push(r->arena, &out->tensors, tensor);
        return true;
    default:
        return take(r, stream, &b); /* a sparse tensor: the type says so */
    }
}

static void init_NodeProto(tn_onnx_node *n) {
    n->name = n->op = n->domain = n->overload = "";
}
CALLBACK(NodeProto) {
    BEGIN(tn_onnx_node);
    switch (field->tag) {
    case tn_wire_NodeProto_input_tag:
        return push_text(r, stream, &out->inputs);
    case tn_wire_NodeProto_output_tag:
        return push_text(r, stream, &out->outputs);
    case tn_wire_NodeProto_name_tag:
        return take_text(r, stream, &out->name);
    case tn_wire_NodeProto_op_type_tag:
        return take_text(r, stream, &out->op);
    case tn_wire_NodeProto_domain_tag:
        return take_text(r, stream, &out->domain);
    case tn_wire_NodeProto_overload_tag:
        return take_text(r, stream, &out->overload);
    default:
        return TAKE_PUSHED(r, stream, &out->attrs, AttributeProto);
    }
}

static void init_TensorShapeProto_Dimension(tn_onnx_dim *d) {
    d->symbol = "";
}
CALLBACK(TensorShapeProto_Dimension) {
    BEGIN(tn_onnx_dim);
    if (field->tag == tn_wire_TensorShapeProto_Dimension_dim_param_tag)
        return take_text(r, stream, &out->symbol);
    out->has_value = true;
    return take_int(r, stream, &out->value);
}

CALLBACK(TensorShapeProto) {
    BEGIN(tn_onnx_port);
    if (out->dims.len > TN_MAX_RANK) return fail(r, "an input or output has too many axes");
    return TAKE_PUSHED(r, stream, &out->dims, TensorShapeProto_Dimension);
}

CALLBACK(TypeProto_Tensor) {
    BEGIN(tn_onnx_port);
    if (field->tag == tn_wire_TypeProto_Tensor_elem_type_tag)
        return take_int(r, stream, &out->type);
    out->has_shape = true;
    out->dims.len = 0;
    return take_message(r, stream, &tn_wire_TensorShapeProto_msg, out);
}

CALLBACK(TypeProto_Sequence) {
    BEGIN(tn_onnx_port);
    if (out->is_compound && out->kind != TN_COMPOUND_OPTIONAL)
        out->other = "a sequence of sequences";
    out->kind = out->is_compound ? TN_COMPOUND_OPTIONAL_SEQUENCE : TN_COMPOUND_SEQUENCE;
    out->is_compound = true;
    return take_message(r, stream, &tn_wire_TypeProto_msg, out);
}

CALLBACK(TypeProto_Optional) {
    BEGIN(tn_onnx_port);
    if (out->is_compound)
        out->other = out->kind == TN_COMPOUND_OPTIONAL ? "an optional of an optional"
                                                       : "a sequence of optionals";
    out->kind = TN_COMPOUND_OPTIONAL;
    out->is_compound = true;
    return take_message(r, stream, &tn_wire_TypeProto_msg, out);
}

CALLBACK(TypeProto) {
    BEGIN(tn_onnx_port);
    tn_onnx_bytes ignored;
    bool inner = out->is_compound;
    switch (field->tag) {
    case tn_wire_TypeProto_tensor_type_tag:
        return take_message(r, stream, &tn_wire_TypeProto_Tensor_msg, out);
    case tn_wire_TypeProto_sequence_type_tag:
        return take_message(r, stream, &tn_wire_TypeProto_Sequence_msg, out);
    case tn_wire_TypeProto_optional_type_tag:
        return take_message(r, stream, &tn_wire_TypeProto_Optional_msg, out);
    case tn_wire_TypeProto_map_type_tag:
        out->other = inner ? "a sequence or optional of maps" : "a map";
        break;
    case tn_wire_TypeProto_sparse_tensor_type_tag:
        out->other = inner ? "a sequence or optional of sparse tensors" : "a sparse tensor";
        break;
    default:
        out->other = "opaque";
        break;
    }
    return take(r, stream, &ignored);
}

static void init_ValueInfoProto(tn_onnx_port *p) {
    p->name = "";
}
CALLBACK(ValueInfoProto) {
    BEGIN(tn_onnx_port);
    if (field->tag == tn_wire_ValueInfoProto_name_tag) return take_text(r, stream, &out->name);
    return take_message(r, stream, &tn_wire_TypeProto_msg, out);
}

CALLBACK(GraphProto) {
    BEGIN(tn_onnx_graph);
    tn_onnx_tensor *tensor;
    tn_onnx_bytes ignored;
    switch (field->tag) {
    case tn_wire_GraphProto_node_tag:
        return TAKE_PUSHED(r, stream, &out->nodes, NodeProto);
    case tn_wire_GraphProto_name_tag:
        return take_text(r, stream, &out->name);
    case tn_wire_GraphProto_initializer_tag:
        if (!take_tensor(r, stream, &tensor)) return false;
        tn_vec_push(r->arena, &out->initializers, tensor);
        return true;
    case tn_wire_GraphProto_input_tag:
        return TAKE_PUSHED(r, stream, &out->inputs, ValueInfoProto);
    case tn_wire_GraphProto_output_tag:
        return TAKE_PUSHED(r, stream, &out->outputs, ValueInfoProto);
    default:
        out->has_sparse = true;
        return take(r, stream, &ignored);
    }
}

static void init_FunctionProto(tn_onnx_function *f) {
    f->name = f->domain = f->overload = "";
}
CALLBACK(FunctionProto) {
    BEGIN(tn_onnx_function);
    switch (field->tag) {
    case tn_wire_FunctionProto_name_tag:
        return take_text(r, stream, &out->name);
    case tn_wire_FunctionProto_domain_tag:
        return take_text(r, stream, &out->domain);
    case tn_wire_FunctionProto_overload_tag:
        return take_text(r, stream, &out->overload);
    case tn_wire_FunctionProto_input_tag:
        return push_text(r, stream, &out->inputs);
    case tn_wire_FunctionProto_output_tag:
        return push_text(r, stream, &out->outputs);
    case tn_wire_FunctionProto_attribute_tag:
        return push_text(r, stream, &out->attrs);
    case tn_wire_FunctionProto_node_tag:
        return TAKE_PUSHED(r, stream, &out->nodes, NodeProto);
    case tn_wire_FunctionProto_opset_import_tag:
        return TAKE_PUSHED(r, stream, &out->opsets, OperatorSetIdProto);
    default:
        return TAKE_PUSHED(r, stream, &out->defaults, AttributeProto);
    }
}

CALLBACK(ModelProto) {
    BEGIN(tn_onnx_model);
    switch (field->tag) {
    case tn_wire_ModelProto_ir_version_tag:
        return take_int(r, stream, &out->ir_version);
    case tn_wire_ModelProto_producer_name_tag:
        return take_text(r, stream, &out->producer);
    case tn_wire_ModelProto_graph_tag:
        if (out->graph) return fail(r, "the model has two graphs");
        return take_graph(r, stream, &out->graph);
    case tn_wire_ModelProto_opset_import_tag:
        return TAKE_PUSHED(r, stream, &out->opsets, OperatorSetIdProto);
    default:
        return TAKE_PUSHED(r, stream, &out->functions, FunctionProto);
    }
}

/* ---- entry points --------------------------------------------------------------------------- */

size_t tn_onnx_memory_limit(size_t size) {
    size_t limit, slack = (size_t)16 << 20;
    if (!tn_size_mul(size, 2, &limit) || !tn_size_add(limit, slack, &limit)) return SIZE_MAX;
    return limit;
}

static tn_status read_message(const void *data, size_t size, tn_arena *arena,
                              const pb_msgdesc_t *type, void *out, const char *what,
                              tn_error *err) {
    reader r = {.arena = arena, .begin = data, .cursor = data};
    pb_istream_t stream = {.callback = read_map, .state = &r, .bytes_left = size};
    if (take_message(&r, &stream, type, out)) return TN_OK;
    const char *why = r.why[0] ? r.why : stream.errmsg ? stream.errmsg : "malformed";
    return tn_error_set(err, TN_INVALID, "not %s, or a damaged one: at byte %zu of %zu: %s", what,
                        (size_t)(r.cursor - r.begin), size, why);
}

tn_status tn_onnx_read_model(const void *data, size_t size, tn_arena *arena, tn_onnx_model *out,
                             tn_error *err) {
    *out = (tn_onnx_model){.producer = ""};
    TN_CHECK(read_message(data, size, arena, &tn_wire_ModelProto_msg, out, "an ONNX model", err));
    if (out->graph) return TN_OK;
    return tn_error_set(err, TN_INVALID, "not an ONNX model: there is no graph in it");
}

tn_status tn_onnx_read_tensor(const void *data, size_t size, tn_arena *arena, tn_onnx_tensor *out,
                              tn_error *err) {
    *out = (tn_onnx_tensor){.name = ""};
    return read_message(data, size, arena, &tn_wire_TensorProto_msg, out, "an ONNX tensor", err);
}

tn_status tn_onnx_read_sequence(const void *data, size_t size, tn_arena *arena,
                                tn_onnx_sequence *out, tn_error *err) {
    *out = (tn_onnx_sequence){.name = ""};
    return read_message(data, size, arena, &tn_wire_SequenceProto_msg, out, "an ONNX sequence",
                        err);
}

tn_status tn_onnx_read_optional(const void *data, size_t size, tn_arena *arena,
                                tn_onnx_sequence *out, tn_error *err) {
    *out = (tn_onnx_sequence){.name = "", .absent = true};
    return read_message(data, size, arena, &tn_wire_OptionalProto_msg, out, "an ONNX optional",
                        err);
}

size_t tn_onnx_packed_count(const tn_onnx_packed *p, size_t element) {
    if (element) return p->bytes.size / element;
    size_t count = 0;
    for (size_t i = 0; i < p->bytes.size; i++) count += !(p->bytes.at[i] & 0x80);
    return count;
}

bool tn_onnx_next_varint(tn_onnx_bytes *at, uint64_t *value) {
    uint64_t v = 0;
    for (int shift = 0; at->size && shift < 64; shift += 7) {
        uint8_t byte = *at->at++;
        at->size--;
        v |= (uint64_t)(byte & 0x7f) << shift;
        if (byte & 0x80) continue;
        *value = v;
        return true;
    }
    return false;
}

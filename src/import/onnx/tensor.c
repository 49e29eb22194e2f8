/* Tensors of ONNX files: checked against their data, decoded. See model.h. */
#include <errno.h>
#include <stdlib.h>

#include "import/onnx/model.h"

/* ---- types ---------------------------------------------------------------------------------- */

typedef struct tensor_type {
    const char *name;
    bool known;
    tn_dtype dtype;
    tn_onnx_field field; /* where numbers are when they are not raw */
} tensor_type;

/* By TensorProto.DataType. */
static const tensor_type types[] = {
    [1] = {"FLOAT", true, TN_f32, TN_ONNX_FLOAT_DATA},
    [2] = {"UINT8", true, TN_u8, TN_ONNX_INT32_DATA},
    [3] = {"INT8", true, TN_i8, TN_ONNX_INT32_DATA},
    [4] = {"UINT16", true, TN_u16, TN_ONNX_INT32_DATA},
    [5] = {"INT16", true, TN_i16, TN_ONNX_INT32_DATA},
    [6] = {"INT32", true, TN_i32, TN_ONNX_INT32_DATA},
    [7] = {"INT64", true, TN_i64, TN_ONNX_INT64_DATA},
    [8] = {"STRING", .known = false},
    [9] = {"BOOL", true, TN_bool, TN_ONNX_INT32_DATA},
    [10] = {"FLOAT16", true, TN_f16, TN_ONNX_INT32_DATA},
    [11] = {"DOUBLE", true, TN_f64, TN_ONNX_DOUBLE_DATA},
    [12] = {"UINT32", true, TN_u32, TN_ONNX_UINT64_DATA},
    [13] = {"UINT64", true, TN_u64, TN_ONNX_UINT64_DATA},
    [14] = {"COMPLEX64", .known = false},
    [15] = {"COMPLEX128", .known = false},
    [16] = {"BFLOAT16", true, TN_bf16, TN_ONNX_INT32_DATA},
    [17] = {"FLOAT8E4M3FN", true, TN_f8e4m3fn, TN_ONNX_INT32_DATA},
    [18] = {"FLOAT8E4M3FNUZ", true, TN_f8e4m3fnuz, TN_ONNX_INT32_DATA},
    [19] = {"FLOAT8E5M2", true, TN_f8e5m2, TN_ONNX_INT32_DATA},
    [20] = {"FLOAT8E5M2FNUZ", true, TN_f8e5m2fnuz, TN_ONNX_INT32_DATA},
    [21] = {"UINT4", true, TN_u4, TN_ONNX_INT32_DATA},
    [22] = {"INT4", true, TN_i4, TN_ONNX_INT32_DATA},
    [23] = {"FLOAT4E2M1", true, TN_f4e2m1, TN_ONNX_INT32_DATA},
    [24] = {"FLOAT8E8M0", true, TN_f8e8m0, TN_ONNX_INT32_DATA},
    [25] = {"UINT2", true, TN_u2, TN_ONNX_INT32_DATA},
    [26] = {"INT2", true, TN_i2, TN_ONNX_INT32_DATA},
};

tn_status tn_onnx_dtype(int64_t type, tn_dtype *out, tn_error *err) {
    if (type <= 0 || type >= (int64_t)TN_COUNT(types))
        return tn_error_set(err, TN_INVALID, "%lld is not an element type of ONNX",
                            (long long)type);
    if (!types[type].known)
        return tn_error_set(
            err, TN_UNSUPPORTED, "elements of type %s; Tenon has no such type%s", types[type].name,
            strcmp(types[type].name, "STRING") == 0 ? ": turn texts into numbers before the model"
                                                    : "");
    *out = types[type].dtype;
    return TN_OK;
}

int tn_onnx_type_number(tn_dtype dtype) {
    for (size_t i = 0; i < TN_COUNT(types); i++)
        if (types[i].known && types[i].dtype == dtype) return (int)i;
    return 0;
}

/* Bits of one element in a file: flags take a byte. */
static size_t file_bits(tn_dtype dtype) {
    return dtype == TN_bool ? 8 : (size_t)tn_dtype_bits(dtype);
}

/* ---- checking ------------------------------------------------------------------------------- */

static tn_status check_shape(const tn_onnx_tensor *t, tn_onnx_content *c, tn_error *err) {
    if (t->dims.len > TN_MAX_RANK)
        return tn_error_set(err, TN_UNSUPPORTED, "%u axes; at most %d", t->dims.len, TN_MAX_RANK);
    c->type.rank = (int)t->dims.len;
    for (uint32_t i = 0; i < t->dims.len; i++) {
        int64_t d = t->dims.data[i];
        if (d < 0) return tn_error_set(err, TN_INVALID, "axis %u has size %lld", i, (long long)d);
        c->type.dim[i] = d;
    }
    if (!tn_sizes_count(c->type.rank, c->type.dim, &c->count))
        return tn_error_set(err, TN_INVALID, "the number of elements overflows");
    return TN_OK;
}

static bool parse_number(const char *text, uint64_t *out) {
    char *end;
    if (*text < '0' || *text > '9') return false;
    errno = 0;
    *out = strtoull(text, &end, 10);
    return !*end && !errno;
}

static tn_status find_external(const tn_onnx_tensor *t, const tn_onnx_files *files, size_t expected,
                               tn_onnx_bytes *out, tn_error *err) {
    const char *location = NULL;
    uint64_t offset = 0, length = 0;
    bool has_length = false;
    for (uint32_t i = 0; i < t->external.len; i++) {
        const tn_onnx_entry *e = &t->external.data[i];
        bool number = true;
        if (!strcmp(e->key, "location")) location = e->value;
        if (!strcmp(e->key, "offset")) number = parse_number(e->value, &offset);
        if (!strcmp(e->key, "length")) has_length = number = parse_number(e->value, &length);
        if (!number)
            return tn_error_set(err, TN_INVALID, "external data: %s '%s' is not a number", e->key,
                                e->value);
    }
    if (!location) return tn_error_set(err, TN_INVALID, "external data without a location");
    if (!files || !files->context)
        return tn_error_set(err, TN_INVALID, "external data '%s' cannot be read from here",
                            location);
    tn_onnx_bytes file;
    tn_error why = TN_ERROR_INIT;
    tn_status status = files->find(files->context, location, &file, &why);
    if (status == TN_NOT_FOUND && files->zeros)
        return files->zeros(files->context, expected, out, err);
    if (status) {
        if (err) *err = why;
        return status;
    }
    if (offset > file.size || (has_length && length > file.size - offset))
        return tn_error_set(
            err, TN_INVALID, "external data '%s': %llu bytes at %llu do not lie in its %zu bytes",
            location, (unsigned long long)length, (unsigned long long)offset, file.size);
    /* An empty file has no address. */
    *out = (tn_onnx_bytes){file.size ? file.at + offset : NULL,
                           has_length ? length : file.size - offset};
    return TN_OK;
}

static tn_status file_bytes(const tn_onnx_content *c, size_t *out, tn_error *err) {
    size_t bits;
    if (!tn_size_mul((size_t)c->count, file_bits(c->type.dtype), &bits))
        return tn_error_set(err, TN_INVALID, "the number of elements overflows");
    *out = (bits + 7) / 8;
    return TN_OK;
}

static tn_status check_raw(const tn_onnx_content *c, tn_error *err) {
    size_t expected;
    TN_CHECK(file_bytes(c, &expected, err));
    if (c->bytes.size == expected) return TN_OK;
    return tn_error_set(err, TN_INVALID, "%zu bytes of data; %lld elements of type %s need %zu",
                        c->bytes.size, (long long)c->count, tn_dtype_name(c->type.dtype), expected);
}

static tn_status check_numbers(const tn_onnx_packed *p, tn_onnx_content *c, tn_onnx_field field,
                               tn_error *err) {
    size_t element = field == TN_ONNX_FLOAT_DATA ? 4 : field == TN_ONNX_DOUBLE_DATA ? 8 : 0;
    size_t count = tn_onnx_packed_count(p, element), expected = (size_t)c->count;
    size_t bits = file_bits(c->type.dtype);
    if (bits < 8) expected = (expected * bits + 7) / 8;
    if (count != expected || (element && p->bytes.size != count * element))
        return tn_error_set(err, TN_INVALID, "%zu numbers; its shape needs %zu", count, expected);
    c->as_is = element != 0;
    c->bytes = p->bytes;
    return TN_OK;
}

tn_status tn_onnx_tensor_check(const tn_onnx_tensor *t, const tn_onnx_files *files,
                               tn_onnx_content *out, tn_error *err) {
    *out = (tn_onnx_content){.tensor = t};
    TN_CHECK(tn_onnx_dtype(t->type, &out->type.dtype, err));
    TN_CHECK(check_shape(t, out, err));
    if (t->is_segment) return tn_error_set(err, TN_UNSUPPORTED, "a tensor stored in segments");
    size_t bits = file_bits(out->type.dtype);
    out->as_is = bits >= 8 && out->type.dtype != TN_bool;
    if (t->is_external) {
        size_t expected;
        TN_CHECK(file_bytes(out, &expected, err));
        TN_CHECK(find_external(t, files, expected, &out->bytes, err));
        return check_raw(out, err);
    }
    out->bytes = t->raw;
    if (t->has_raw) return check_raw(out, err);
    return check_numbers(&t->data[types[t->type].field], out, types[t->type].field, err);
}

/* ---- decoding ------------------------------------------------------------------------------- */

/* Elements smaller than a byte lie in a byte from its low bits up. */
static void unpack_bits(tn_array *a, int64_t at, int64_t end, uint8_t byte) {
    int bits = tn_dtype_bits(a->dtype);
    for (int shift = 0; shift < 8 && at < end; shift += bits, at++) {
        uint8_t v = (uint8_t)((byte >> shift) & ((1 << bits) - 1));
        bool negative = tn_dtype_is_signed(a->dtype) && (v >> (bits - 1));
        if (negative) v = (uint8_t)(v | (0xff << bits));
        ((uint8_t *)a->data)[at] = v;
    }
}

static void store_bits(tn_array *a, int64_t at, uint64_t value) {
    size_t size = tn_dtype_size(a->dtype);
    if (a->dtype == TN_bool) value = value != 0;
    memcpy((uint8_t *)a->data + (size_t)at * size, &value, size); /* little-endian */
}

static tn_status decode_varints(const tn_onnx_content *c, tn_array *out, tn_error *err) {
    tn_onnx_bytes at = c->bytes;
    size_t bits = file_bits(c->type.dtype);
    int64_t step = bits < 8 ? (int64_t)(8 / bits) : 1;
    for (int64_t i = 0; i < c->count; i += step) {
        uint64_t value;
        if (!tn_onnx_next_varint(&at, &value))
            return tn_error_set(err, TN_INVALID, "a broken number in its data");
        if (bits < 8)
            unpack_bits(out, i, c->count, (uint8_t)value);
        else
            store_bits(out, i, value);
    }
    return TN_OK;
}

tn_status tn_onnx_tensor_decode(const tn_onnx_content *c, tn_arena *arena, tn_array *out,
                                tn_error *err) {
    *out = tn_array_new(arena, c->type.dtype, c->type.rank, c->type.dim);
    if (!c->count) return TN_OK;
    if (c->as_is) {
        memcpy(out->data, c->bytes.at, tn_array_bytes(out));
        return TN_OK;
    }
    if (!c->tensor->has_raw && !c->tensor->is_external) return decode_varints(c, out, err);
    size_t bits = file_bits(c->type.dtype);
    int64_t step = bits < 8 ? (int64_t)(8 / bits) : 1;
    for (int64_t i = 0; i < c->count; i += step) {
        uint8_t byte = c->bytes.at[i / step];
        if (bits < 8)
            unpack_bits(out, i, c->count, byte);
        else
            store_bits(out, i, byte); /* flags */
    }
    return TN_OK;
}

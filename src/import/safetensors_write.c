/* Writing safetensors files. See safetensors.h. */
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>

#include "base/str.h"
#include "import/safetensors.h"

typedef struct writer {
    const tn_import_entry *tensors;
    uint32_t count;
    const tn_safetensors_text *metadata;
    uint32_t metadata_count;
    tn_safetensors_sink *sink;
    void *context;
    tn_arena arena;
} writer;

/* ---- checks --------------------------------------------------------------------------------- */

static bool is_utf8(const char *text) {
    json_t *j = json_string(text);
    json_decref(j);
    return j != NULL;
}

static tn_status check_tensor(const tn_import_entry *e, tn_error *err) {
    size_t size;
    int64_t count = tn_array_count(&e->array);
    if (!e->name || !is_utf8(e->name) || strcmp(e->name, "__metadata__") == 0)
        return tn_error_set(err, TN_INVALID,
                            "'%.200s' cannot name a tensor in a safetensors file; expected UTF-8, "
                            "not '__metadata__'",
                            e->name ? e->name : "");
    if (!tn_safetensors_dtype(e->array.dtype))
        return tn_error_set(err, TN_UNSUPPORTED,
                            "tensor '%.200s' is %s, which safetensors files cannot hold; cast it "
                            "first",
                            e->name, tn_dtype_name(e->array.dtype));
    if (!tn_safetensors_size(e->array.dtype, count, &size))
        return tn_error_set(err, TN_UNSUPPORTED,
                            "tensor '%.200s' has %" PRId64 " elements of four bits; safetensors "
                            "files hold an even number",
                            e->name, count);
    return TN_OK;
}

static int by_alignment(const void *a, const void *b) {
    const tn_import_entry *x = *(const tn_import_entry *const *)a;
    const tn_import_entry *y = *(const tn_import_entry *const *)b;
    int order = tn_safetensors_order(y->array.dtype) - tn_safetensors_order(x->array.dtype);
    return order ? order : strcmp(x->name, y->name);
}

static int by_name(const void *a, const void *b) {
    return strcmp((*(const tn_import_entry *const *)a)->name,
                  (*(const tn_import_entry *const *)b)->name);
}

static tn_status check_all(const writer *w, const tn_import_entry **order, tn_error *err) {
    for (uint32_t i = 0; i < w->count; i++) {
        TN_CHECK(check_tensor(&w->tensors[i], err));
        order[i] = &w->tensors[i];
    }
    qsort(order, w->count, sizeof *order, by_name);
    for (uint32_t i = 1; i < w->count; i++)
        if (strcmp(order[i - 1]->name, order[i]->name) == 0)
            return tn_error_set(err, TN_INVALID, "two tensors are named '%.200s'", order[i]->name);
    for (uint32_t i = 0; i < w->metadata_count; i++)
        if (!is_utf8(w->metadata[i].key) || !is_utf8(w->metadata[i].value))
            return tn_error_set(err, TN_INVALID, "metadata '%.200s' is not UTF-8",
                                w->metadata[i].key);
    qsort(order, w->count, sizeof *order, by_alignment);
    return TN_OK;
}

/* ---- the header ----------------------------------------------------------------------------- */

static void append_metadata(const writer *w, tn_str *out) {
    if (w->metadata_count == 0) return;
    tn_str_append(out, "\"__metadata__\":{");
    for (uint32_t i = 0; i < w->metadata_count; i++) {
        if (i) tn_str_append_char(out, ',');
        tn_str_append_json(out, w->metadata[i].key);
        tn_str_append_char(out, ':');
        tn_str_append_json(out, w->metadata[i].value);
    }
    tn_str_append_char(out, '}');
}

static void append_tensor(const tn_import_entry *e, size_t begin, size_t end, tn_str *out) {
    tn_str_append_json(out, e->name);
    tn_str_appendf(out, ":{\"dtype\":\"%s\",\"shape\":[", tn_safetensors_dtype(e->array.dtype));
    for (int a = 0; a < e->array.rank; a++)
        tn_str_appendf(out, "%s%" PRId64, a ? "," : "", e->array.dim[a]);
    tn_str_appendf(out, "],\"data_offsets\":[%zu,%zu]}", begin, end);
}

static tn_status write_header(const writer *w, const tn_import_entry *const *order, tn_str *out,
                              tn_error *err) {
    uint8_t prefix[8];
    size_t begin = 0, size;
    tn_str_append_char(out, '{');
    append_metadata(w, out);
    for (uint32_t i = 0; i < w->count; i++) {
        if (i || w->metadata_count) tn_str_append_char(out, ',');
        (void)tn_safetensors_size(order[i]->array.dtype, tn_array_count(&order[i]->array), &size);
        append_tensor(order[i], begin, begin + size, out);
        begin += size;
    }
    tn_str_append_char(out, '}');
    while (out->len % 8) tn_str_append_char(out, ' ');
    for (int i = 0; i < 8; i++) prefix[i] = (uint8_t)((uint64_t)out->len >> (8 * i));
    TN_CHECK(w->sink(w->context, prefix, sizeof prefix, err));
    return w->sink(w->context, out->data, out->len, err);
}

/* ---- the elements --------------------------------------------------------------------------- */

static tn_status write_packed(const writer *w, const tn_array *a, tn_error *err) {
    uint8_t packed[4096];
    const uint8_t *from = a->data;
    int64_t count = tn_array_count(a);
    for (int64_t i = 0; i < count;) {
        size_t n = 0;
        for (; n < sizeof packed && i < count; n++, i += 2)
            packed[n] = (uint8_t)((from[i] & 15) | from[i + 1] << 4);
        TN_CHECK(w->sink(w->context, packed, n, err));
    }
    return TN_OK;
}

static tn_status write_all(void *argument, tn_error *err) {
    writer *w = argument;
    tn_str header;
    const tn_import_entry **order = TN_NEW_N(&w->arena, const tn_import_entry *, w->count);
    TN_CHECK(check_all(w, order, err));
    tn_str_init_with(&header, tn_arena_allocator(&w->arena));
    TN_CHECK(write_header(w, order, &header, err));
    for (uint32_t i = 0; i < w->count; i++) {
        const tn_array *a = &order[i]->array;
        size_t size = tn_array_bytes(a);
        if (a->dtype == TN_f4e2m1)
            TN_CHECK(write_packed(w, a, err));
        else if (size)
            TN_CHECK(w->sink(w->context, a->data, size, err));
    }
    return TN_OK;
}

tn_status tn_safetensors_write(const tn_import_entry *tensors, uint32_t count,
                               const tn_safetensors_text *metadata, uint32_t metadata_count,
                               tn_safetensors_sink *sink, void *context, tn_error *err) {
    writer w = {tensors, count, metadata, metadata_count, sink, context, {{0}, 0, 0, 0}};
    tn_arena_init(&w.arena, tn_allocator_system());
    tn_status status = tn_guard(write_all, &w, err);
    tn_arena_deinit(&w.arena);
    return status;
}

/* Reading, casting, writing and making up arrays. See values.h. */
#include "cli/values.h"

#include <math.h>

#include "base/io.h"

/* ---- reading --------------------------------------------------------------------------------- */

static bool ends_with(const char *text, const char *end) {
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

tn_status cli_values_read(tn_arena *arena, const char *path, tn_import_entries *out,
                          tn_error *err) {
    *out = (tn_import_entries){0};
    if (ends_with(path, ".npz")) return tn_import_npz(path, arena, out, err);
    tn_import_entry entry = {.name = ""};
    if (ends_with(path, ".npy")) {
        TN_CHECK(tn_import_npy(path, arena, &entry.array, err));
    } else if (ends_with(path, ".pb")) {
        TN_CHECK(tn_import_tensor_pb(path, arena, &entry.array, &entry.name, err));
    } else {
        return tn_error_set(err, TN_UNSUPPORTED,
                            "%s: values are read from .npy, .npz and ONNX .pb files", path);
    }
    tn_vec_push(arena, out, entry);
    return TN_OK;
}

/* ---- types ------------------------------------------------------------------------------------ */

tn_dtype cli_wide_dtype(tn_dtype dtype) {
    if (tn_dtype_is_float(dtype))
        return dtype == TN_f64 || dtype == TN_f32 || dtype == TN_f16 ? dtype : TN_f32;
    if (tn_dtype_is_signed(dtype)) return tn_dtype_bits(dtype) < 8 ? TN_i8 : dtype;
    if (tn_dtype_is_unsigned(dtype)) return tn_dtype_bits(dtype) < 8 ? TN_u8 : dtype;
    return dtype;
}

tn_array cli_values_cast(tn_arena *arena, const tn_array *a, tn_dtype dtype) {
    if (a->dtype == dtype) return *a;
    tn_array out = tn_array_new(arena, dtype, a->rank, a->dim);
    int64_t count = tn_array_count(a);
    for (int64_t i = 0; i < count; i++)
        tn_array_set(&out, i, tn_cell_cast(a->dtype, dtype, tn_array_get(a, i)));
    return out;
}

/* ---- .npy ----------------------------------------------------------------------------------- */

static void npy_header(const tn_array *a, tn_str *out) {
    char kind = a->dtype == TN_bool              ? 'b'
                : tn_dtype_is_float(a->dtype)    ? 'f'
                : tn_dtype_is_unsigned(a->dtype) ? 'u'
                                                 : 'i';
    tn_str text;
    tn_str_init(&text);
    tn_str_appendf(&text, "{'descr': '%c%c%zu', 'fortran_order': False, 'shape': (",
                   tn_dtype_size(a->dtype) > 1 ? '<' : '|', kind, tn_dtype_size(a->dtype));
    for (int i = 0; i < a->rank; i++) tn_str_appendf(&text, "%lld, ", (long long)a->dim[i]);
    tn_str_append(&text, "), }");
    while ((10 + text.len + 1) % 64) tn_str_append_char(&text, ' '); /* the data are aligned */
    tn_str_append_char(&text, '\n');
    tn_str_append_n(out, "\x93NUMPY\x01\x00", 8);
    tn_str_append_char(out, (char)(text.len & 255));
    tn_str_append_char(out, (char)(text.len >> 8));
    tn_str_append_n(out, text.data, text.len);
    tn_str_deinit(&text);
}

typedef struct npy_args {
    const char *path;
    const tn_array *array;
    tn_arena arena;
    tn_str bytes;
} npy_args;

static tn_status npy_guarded(void *argument, tn_error *err) {
    npy_args *x = argument;
    tn_array wide = cli_values_cast(&x->arena, x->array, cli_wide_dtype(x->array->dtype));
    npy_header(&wide, &x->bytes);
    tn_str_append_n(&x->bytes, wide.data ? wide.data : "", tn_array_bytes(&wide));
    return tn_file_write(x->path, x->bytes.data, x->bytes.len, false, err);
}

tn_status cli_npy_write(const char *path, const tn_array *a, tn_error *err) {
    npy_args x = {.path = path, .array = a};
    tn_arena_init(&x.arena, tn_allocator_system());
    tn_str_init(&x.bytes);
    tn_status status = tn_guard(npy_guarded, &x, err);
    tn_str_deinit(&x.bytes);
    tn_arena_deinit(&x.arena);
    return status;
}

/* ---- made-up values ------------------------------------------------------------------------- */

/* SplitMix64 (Steele, Lea, Flood, OOPSLA 2014). */
static uint64_t next_random(uint64_t *state) {
    uint64_t z = (*state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

/* Box and Muller's method. */
static double next_normal(uint64_t *state) {
    double u = ((double)(next_random(state) >> 11) + 0.5) * 0x1p-53;
    double v = ((double)(next_random(state) >> 11) + 0.5) * 0x1p-53;
    return sqrt(-2 * log(u)) * cos(6.283185307179586 * v);
}

void cli_values_random(tn_array *a, uint64_t seed, uint64_t stream) {
    uint64_t state = seed * 0xD1342543DE82EF95u + stream;
    int64_t count = tn_array_count(a);
    bool is_float = tn_dtype_is_float(a->dtype);
    for (int64_t i = 0; i < count; i++) {
        tn_cell cell = is_float ? tn_cell_of(a->dtype, next_normal(&state))
                                : tn_cell_of_int(a->dtype, (int64_t)(next_random(&state) >> 63));
        tn_array_set(a, i, cell);
    }
}

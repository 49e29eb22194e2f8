/* Members side by side along axis 1, and back. See tenon/wide.h. */
#include <inttypes.h>

#include "session/ports.h"
#include "wide/wide.h"

/* ---- checking ------------------------------------------------------------------------------- */

/* f32[2,3] by value, for use inside one call. */
typedef struct words {
    char at[160];
} words;

static words text_of(const tn_buffer *b) {
    words w;
    tn_ports_describe(b, w.at, sizeof w.at);
    return w;
}

static bool is_sound(const tn_buffer *b) {
    if (b->dtype >= TN_DTYPE_COUNT || b->rank < 0 || b->rank > TN_MAX_RANK) return false;
    size_t bytes = tn_dtype_size(b->dtype);
    for (int a = 0; a < b->rank; a++)
        if (b->dim[a] < 0 || !tn_size_mul(bytes, (size_t)b->dim[a], &bytes)) return false;
    return true;
}

static size_t bytes_of(const tn_buffer *b, int from) {
    size_t bytes = tn_dtype_size(b->dtype);
    for (int a = from; a < b->rank; a++) bytes *= (size_t)b->dim[a];
    return bytes;
}

static tn_status check_array(const tn_buffer *b, const char *what, int number, tn_error *err) {
    if (!is_sound(b))
        return tn_error_set(err, TN_INVALID, "%s %d has no valid type or shape", what, number);
    if (b->rank < 2)
        return tn_error_set(err, TN_INVALID,
                            "%s %d is %s; members lie side by side along axis 1, which it lacks",
                            what, number, text_of(b).at);
    if (!b->data && bytes_of(b, 0) > 0)
        return tn_error_set(err, TN_INVALID, "%s %d has no data", what, number);
    return TN_OK;
}

static tn_status check_members(const tn_buffer *members, int count, tn_error *err) {
    for (int i = 0; i < count; i++) TN_CHECK(check_array(&members[i], "member", i, err));
    for (int i = 1; i < count; i++) {
        bool same = members[i].dtype == members[0].dtype && members[i].rank == members[0].rank;
        for (int a = 0; same && a < members[0].rank; a++)
            same = members[i].dim[a] == members[0].dim[a];
        if (!same)
            return tn_error_set(err, TN_INVALID,
                                "member %d is %s, member 0 is %s; they must be alike", i,
                                text_of(&members[i]).at, text_of(&members[0]).at);
    }
    return TN_OK;
}

static tn_status check_room(const tn_buffer *b, const char *what, int number, size_t bytes,
                            tn_error *err) {
    if (bytes == 0 || (b->data && b->size >= bytes)) return TN_OK;
    return tn_error_set(err, TN_INVALID, "%s %d takes %zu bytes, the memory given has %zu", what,
                        number, bytes, b->data ? b->size : 0);
}

static tn_status check_count(int count, tn_error *err) {
    if (count >= 1) return TN_OK;
    return tn_error_set(err, TN_INVALID, "%d members; there must be at least one", count);
}

/* ---- copying -------------------------------------------------------------------------------- */

tn_status tn_wide_pack(const tn_buffer *members, int count, tn_buffer *out, tn_error *err) {
    TN_CHECK(check_count(count, err));
    TN_CHECK(check_members(members, count, err));
    tn_buffer shape = members[0];
    size_t bytes, row = bytes_of(&members[0], 1);
    if (__builtin_mul_overflow(shape.dim[1], (int64_t)count, &shape.dim[1]) || !is_sound(&shape))
        return tn_error_set(err, TN_INVALID, "%d members of %s are too large", count,
                            text_of(&members[0]).at);
    bytes = bytes_of(&shape, 0);
    TN_CHECK(check_room(out, "the result for members 0 to", count - 1, bytes, err));
    for (int64_t b = 0; b < shape.dim[0] && row; b++)
        for (int i = 0; i < count; i++)
            memcpy((char *)out->data + ((size_t)b * (size_t)count + (size_t)i) * row,
                   (const char *)members[i].data + (size_t)b * row, row);
    shape.data = out->data;
    shape.size = out->size;
    *out = shape;
    return TN_OK;
}

tn_status tn_wide_unpack(const tn_buffer *packed, tn_buffer *members, int count, tn_error *err) {
    TN_CHECK(check_count(count, err));
    TN_CHECK(check_array(packed, "array", 0, err));
    if (packed->dim[1] % count)
        return tn_error_set(err, TN_INVALID,
                            "%s holds %" PRId64 " columns, which %d members cannot share alike",
                            text_of(packed).at, packed->dim[1], count);
    tn_buffer one = *packed;
    one.dim[1] /= count;
    size_t row = bytes_of(&one, 1), bytes = bytes_of(&one, 0);
    for (int i = 0; i < count; i++) TN_CHECK(check_room(&members[i], "member", i, bytes, err));
    for (int64_t b = 0; b < one.dim[0] && row; b++)
        for (int i = 0; i < count; i++)
            memcpy((char *)members[i].data + (size_t)b * row,
                   (const char *)packed->data + ((size_t)b * (size_t)count + (size_t)i) * row, row);
    for (int i = 0; i < count; i++) {
        one.data = members[i].data;
        one.size = members[i].size;
        members[i] = one;
    }
    return TN_OK;
}

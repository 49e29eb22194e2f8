/* The bytes of constants in the text form. The grammar is in parse.c. */
#include "ir/parse.h"

#include "ir/text.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

static tn_status skip_until(tn_lex *x, char end) {
    const char *found = memchr(x->text + x->at, end, x->len - x->at);
    if (!found) return tn__lex_fail(x, "the data of a constant do not end");
    x->at = (size_t)(found - x->text) + 1;
    return TN_OK;
}

tn_status tn__skip_data(tn_lex *x) {
    char number[TN_LEX_NUMBER];
    if (tn__lex_accept(x, '[')) return skip_until(x, ']');
    if (tn__lex_accept(x, '<')) return skip_until(x, '>');
    tn_span word = tn__lex_word(x);
    if (tn__span_is(word, "all")) return tn__lex_number(x, number);
    if (!tn__span_is(word, "hex"))
        return tn__lex_fail(x, "expected [VALUES], all VALUE or hex\"…\"");
    TN_CHECK(tn__lex_expect(x, '"'));
    return skip_until(x, '"');
}

/* ---- one element ---------------------------------------------------------------------------- */

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return -1;
}

static bool hex_bytes(const char *digits, size_t size, unsigned char *out) {
    for (size_t i = 0; i < size; i++) {
        int high = hex_digit(digits[2 * i]), low = high < 0 ? -1 : hex_digit(digits[2 * i + 1]);
        if (low < 0) return false;
        out[i] = (unsigned char)(high << 4 | low);
    }
    return true;
}

static bool parse_integer(const char *text, tn_dtype dtype, tn_cell *out) {
    char *end;
    int bits = tn_dtype_bits(dtype);
    errno = 0;
    if (tn_dtype_is_signed(dtype)) {
        out->i = strtoll(text, &end, 10);
        int64_t highest = INT64_MAX >> (64 - bits);
        if (out->i > highest || out->i < -highest - 1) return false;
    } else {
        out->u = strtoull(text, &end, 10);
        if (*text == '-' || (bits < 64 && out->u >> bits != 0)) return false;
    }
    return errno == 0 && *end == 0;
}

static bool parse_element(const char *text, tn_dtype dtype, void *out) {
    size_t size = tn_dtype_size(dtype);
    tn_cell cell = {.u = 0};
    char *end;
    if (*text == '#') return strlen(text + 1) == 2 * size && hex_bytes(text + 1, size, out);
    if (dtype == TN_bool) {
        if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0) return false;
        cell.u = *text == 't';
    } else if (tn_dtype_is_float(dtype)) {
        cell.f = strtod(text, &end);
        if (*end != 0) return false;
    } else if (!parse_integer(text, dtype, &cell))
        return false;
    tn_cell_store(dtype, out, cell);
    return true;
}

static tn_status read_element(tn_lex *x, tn_dtype dtype, void *out) {
    char text[TN_LEX_NUMBER];
    TN_CHECK(tn__lex_number(x, text));
    if (parse_element(text, dtype, out)) return TN_OK;
    return tn__lex_fail(x, "'%s' is not a value of type %s", text, tn_dtype_name(dtype));
}

/* ---- all elements --------------------------------------------------------------------------- */

static tn_status check_size(tn_lex *x, tn_dtype dtype, const tn_shape *shape, size_t *bytes) {
    int64_t count;
    for (int i = 0; i < shape->rank; i++)
        if (!tn_dim_is_const(shape->dim[i]))
            return tn__lex_fail(x, "a constant needs constant sizes; axis %d is open", i);
    if (!tn_sizes_count(shape->rank, shape->dim, &count))
        return tn__lex_fail(x, "the constant is larger than memory can be");
    *bytes = (size_t)count * tn_dtype_size(dtype);
    return TN_OK;
}

static tn_status parse_list(tn_lex *x, tn_dtype dtype, size_t bytes, void **out) {
    size_t element = tn_dtype_size(dtype), count = bytes / element;
    /* Every listed element takes a character, so the text bounds the allocation. */
    if (count > x->len - x->at) return tn__lex_fail(x, "expected %zu elements", count);
    char *data = tn_arena_alloc(x->arena, bytes);
    for (size_t i = 0; i < count; i++) {
        if (i) TN_CHECK(tn__lex_expect(x, ','));
        TN_CHECK(read_element(x, dtype, data + i * element));
    }
    *out = data;
    if (tn__lex_peek(x) != ']')
        return tn__lex_fail(x, "more than the %zu elements of the type", count);
    return tn__lex_expect(x, ']');
}

static tn_status parse_all(tn_lex *x, tn_dtype dtype, size_t bytes, void **out) {
    size_t element = tn_dtype_size(dtype);
    if (bytes > TN_TEXT_UNIFORM)
        return tn__lex_fail(x, "`all` is for constants of at most %d bytes; broadcast a scalar",
                            TN_TEXT_UNIFORM);
    x->uniform += bytes;
    if (x->uniform > TN_TEXT_UNIFORM_TOTAL)
        return tn__lex_fail(x, "more than %d bytes of `all` constants", TN_TEXT_UNIFORM_TOTAL);
    char value[sizeof(uint64_t)] = {0};
    TN_CHECK(read_element(x, dtype, value));
    char *data = tn_arena_alloc(x->arena, bytes);
    for (size_t at = 0; at < bytes; at += element) memcpy(data + at, value, element);
    *out = data;
    return TN_OK;
}

static tn_status parse_hex(tn_lex *x, size_t bytes, void **out) {
    TN_CHECK(tn__lex_expect(x, '"'));
    if (bytes > (x->len - x->at) / 2) return tn__lex_fail(x, "expected %zu bytes of hex", bytes);
    *out = tn_arena_alloc(x->arena, bytes);
    if (!hex_bytes(x->text + x->at, bytes, *out))
        return tn__lex_fail(x, "expected %zu bytes as pairs of hex digits 0-9a-f", bytes);
    x->at += 2 * bytes;
    return tn__lex_expect(x, '"');
}

tn_status tn__parse_data(tn_lex *x, tn_dtype dtype, const tn_shape *shape, tn_data *out) {
    size_t bytes = 0;
    void *data = NULL;
    TN_CHECK(check_size(x, dtype, shape, &bytes));
    if (tn__lex_peek(x) == '<')
        return tn__lex_fail(x, "a large constant was printed without its bytes; print it in full");
    if (tn__lex_accept(x, '['))
        TN_CHECK(parse_list(x, dtype, bytes, &data));
    else if (tn__span_is(tn__lex_word(x), "all"))
        TN_CHECK(parse_all(x, dtype, bytes, &data));
    else
        TN_CHECK(parse_hex(x, bytes, &data));
    *out = (tn_data){.bytes = data, .size = bytes};
    return TN_OK;
}

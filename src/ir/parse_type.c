/* Sizes, symbols and types of the text form. The grammar is in parse.c. */
#include "ir/parse.h"

#include "ir/text.h"

/* ---- sizes ---------------------------------------------------------------------------------- */

static tn_status parse_sum(tn_lex *x, tn_dims *t, int depth, tn_dim *out);

static tn_status parse_symbol(tn_lex *x, tn_dims *t, const char *name, tn_dim *out) {
    uint32_t index;
    if (!tn_dims_find_symbol(t, name, &index))
        return tn__lex_fail(x, "unknown size '%s'; declare it: graph (%s) {", name, name);
    *out = tn_dim_of_symbol(t, name);
    return TN_OK;
}

static tn_status parse_call(tn_lex *x, tn_dims *t, const char *name, int depth, tn_dim *out) {
    static const struct {
        const char *name;
        tn_dim (*apply)(tn_dims *, tn_dim, tn_dim);
    } functions[] = {{"floordiv", tn_dim_floordiv},
                     {"mod", tn_dim_mod},
                     {"min", tn_dim_min},
                     {"max", tn_dim_max}};
    for (size_t i = 0; i < TN_COUNT(functions); i++) {
        tn_dim a, b;
        if (strcmp(functions[i].name, name) != 0) continue;
        TN_CHECK(parse_sum(x, t, depth + 1, &a));
        TN_CHECK(tn__lex_expect(x, ','));
        TN_CHECK(parse_sum(x, t, depth + 1, &b));
        *out = functions[i].apply(t, a, b);
        return tn__lex_expect(x, ')');
    }
    return tn__lex_fail(x, "there is no function '%s' of sizes (floordiv, mod, min, max)", name);
}

static tn_status parse_factor(tn_lex *x, tn_dims *t, int depth, tn_dim *out) {
    char c = tn__lex_peek(x), *name;
    if (depth > TN_TEXT_DIM_DEPTH + 2) return tn__lex_fail(x, "a size is nested too deeply");
    if (c >= '0' && c <= '9') return tn__lex_int(x, out);
    if (tn__lex_accept(x, '-')) {
        TN_CHECK(parse_factor(x, t, depth + 1, out));
        *out = tn_dim_sub(t, 0, *out);
        return TN_OK;
    }
    if (tn__lex_accept(x, '(')) {
        TN_CHECK(parse_sum(x, t, depth + 1, out));
        return tn__lex_expect(x, ')');
    }
    TN_CHECK(tn__lex_name(x, "a size", &name));
    bool call = c != '"' && tn__lex_accept(x, '(');
    return call ? parse_call(x, t, name, depth, out) : parse_symbol(x, t, name, out);
}

static tn_status parse_product(tn_lex *x, tn_dims *t, int depth, tn_dim *out) {
    TN_CHECK(parse_factor(x, t, depth, out));
    while (tn__lex_accept(x, '*')) {
        tn_dim factor;
        TN_CHECK(parse_factor(x, t, depth, &factor));
        *out = tn_dim_mul(t, *out, factor);
    }
    return TN_OK;
}

static tn_status parse_sum(tn_lex *x, tn_dims *t, int depth, tn_dim *out) {
    TN_CHECK(parse_product(x, t, depth, out));
    for (;;) {
        bool minus = tn__lex_peek(x) == '-';
        tn_dim term;
        if (!minus && tn__lex_peek(x) != '+') return TN_OK;
        x->at++;
        TN_CHECK(parse_product(x, t, depth, &term));
        *out = minus ? tn_dim_sub(t, *out, term) : tn_dim_add(t, *out, term);
    }
}

tn_status tn__parse_dim(tn_lex *x, tn_dims *t, tn_dim *out) {
    return parse_sum(x, t, 0, out);
}

/* ---- symbols -------------------------------------------------------------------------------- */

static tn_status parse_bounds(tn_lex *x, int64_t *lo, int64_t *hi) {
    TN_CHECK(tn__lex_expect(x, '['));
    TN_CHECK(tn__lex_int(x, lo));
    TN_CHECK(tn__lex_expect(x, ','));
    *hi = TN_DIM_UNBOUNDED;
    if (!tn__lex_accept(x, '*')) TN_CHECK(tn__lex_int(x, hi));
    if (*lo < 0 || *lo > *hi) return tn__lex_fail(x, "bounds must satisfy 0 <= low <= high");
    return tn__lex_expect(x, ']');
}

static bool accept_word(tn_lex *x, const char *word) {
    tn_lex before = *x;
    if (tn__span_is(tn__lex_word(x), word)) return true;
    x->at = before.at;
    return false;
}

static tn_status parse_symbol_declaration(tn_lex *x, tn_dims *t) {
    char *name;
    uint32_t index;
    int64_t lo = 1, hi = TN_DIM_UNBOUNDED, divisor = 1;
    TN_CHECK(tn__lex_name(x, "the name of a size", &name));
    if (tn_dims_find_symbol(t, name, &index))
        return tn__lex_fail(x, "the size '%s' is declared twice", name);
    if (accept_word(x, "in")) TN_CHECK(parse_bounds(x, &lo, &hi));
    if (accept_word(x, "div")) TN_CHECK(tn__lex_int(x, &divisor));
    if (divisor < 1) return tn__lex_fail(x, "a divisor must be at least 1");
    index = tn_dims_symbol(t, name);
    tn_dims_set_bounds(t, index, lo, hi, divisor);
    return TN_OK;
}

tn_status tn__parse_symbols(tn_lex *x, tn_dims *t) {
    if (!tn__lex_accept(x, '(')) return TN_OK;
    if (tn__lex_accept(x, ')')) return TN_OK;
    do TN_CHECK(parse_symbol_declaration(x, t));
    while (tn__lex_accept(x, ','));
    return tn__lex_expect(x, ')');
}

/* ---- types ---------------------------------------------------------------------------------- */

tn_status tn__parse_dtype(tn_lex *x, tn_dtype *out) {
    char *name = tn__span_dup(x->arena, tn__lex_word(x));
    if (tn_dtype_parse(name, out)) return TN_OK;
    return tn__lex_fail(x, "'%s' is not a data type", name);
}

tn_status tn__parse_dims(tn_lex *x, tn_dims *t, int *count, tn_dim at[TN_MAX_RANK]) {
    *count = 0;
    TN_CHECK(tn__lex_expect(x, '['));
    if (tn__lex_accept(x, ']')) return TN_OK;
    do {
        if (*count == TN_MAX_RANK) return tn__lex_fail(x, "more than %d entries", TN_MAX_RANK);
        TN_CHECK(tn__parse_dim(x, t, &at[*count]));
        ++*count;
    } while (tn__lex_accept(x, ','));
    return tn__lex_expect(x, ']');
}

tn_status tn__parse_type(tn_lex *x, tn_dims *t, tn_type *out) {
    TN_CHECK(tn__parse_dtype(x, &out->dtype));
    TN_CHECK(tn__parse_dims(x, t, &out->shape.rank, out->shape.dim));
    for (int i = 0; i < out->shape.rank; i++) {
        int64_t value;
        if (tn_dim_const_value(t, out->shape.dim[i], &value) && value < 0)
            return tn__lex_fail(x, "axis %d has a negative size", i);
    }
    return TN_OK;
}

/* The lexer of the text form. See lex.h. */
#include "ir/lex.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static void place_of(const tn_lex *x, size_t at, size_t *line, size_t *column) {
    *line = *column = 1;
    for (size_t i = 0; i < at && i < x->len; i++) {
        ++*column;
        if (x->text[i] != '\n') continue;
        ++*line;
        *column = 1;
    }
}

tn_status tn__lex_fail(const tn_lex *x, const char *format, ...) {
    char message[512];
    size_t line, column;
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    place_of(x, x->at, &line, &column);
    return tn_error_set(x->err, TN_INVALID, "text:%zu:%zu: %s", line, column, message);
}

void tn__lex_frame(const tn_lex *x, size_t at) {
    size_t line, column;
    place_of(x, at, &line, &column);
    tn_error_push(x->err, "text:%zu:%zu", line, column);
}

void tn__lex_space(tn_lex *x) {
    for (; x->at < x->len; x->at++) {
        if (x->text[x->at] == '#')
            while (x->at < x->len && x->text[x->at] != '\n') x->at++;
        if (x->at == x->len || !isspace((unsigned char)x->text[x->at])) return;
    }
}

char tn__lex_peek(tn_lex *x) {
    tn__lex_space(x);
    return x->at < x->len ? x->text[x->at] : 0;
}

bool tn__lex_accept(tn_lex *x, char c) {
    if (tn__lex_peek(x) != c || x->at == x->len) return false;
    x->at++;
    return true;
}

tn_status tn__lex_expect(tn_lex *x, char c) {
    if (tn__lex_accept(x, c)) return TN_OK;
    if (x->at == x->len) return tn__lex_fail(x, "expected '%c', the text ends", c);
    char found = x->text[x->at];
    return isprint((unsigned char)found)
               ? tn__lex_fail(x, "expected '%c', found '%c'", c, found)
               : tn__lex_fail(x, "expected '%c', found byte %u", c, (unsigned char)found);
}

bool tn__lex_same_line(tn_lex *x, char c) {
    while (x->at < x->len && (x->text[x->at] == ' ' || x->text[x->at] == '\t')) x->at++;
    return x->at < x->len && x->text[x->at] == c;
}

static bool is_word(char c) {
    return isalnum((unsigned char)c) || c == '_' || c == '.';
}

tn_span tn__lex_word(tn_lex *x) {
    tn__lex_space(x);
    size_t begin = x->at;
    while (x->at < x->len && is_word(x->text[x->at])) x->at++;
    return (tn_span){x->text + begin, x->at - begin};
}

bool tn__span_is(tn_span s, const char *word) {
    return s.len == strlen(word) && memcmp(s.at, word, s.len) == 0;
}

char *tn__span_dup(tn_arena *arena, tn_span s) {
    char *copy = TN_NEW_N(arena, char, s.len + 1);
    if (s.len) memcpy(copy, s.at, s.len);
    return copy;
}

/* The character after a backslash; -1 when it is none. */
static int escaped(tn_lex *x) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (x->at == x->len) return -1;
    char c = x->text[x->at++];
    const char *known = c ? strchr(from, c) : NULL;
    if (known) return to[known - from];
    if (c != 'u' || x->len - x->at < 4) return -1;
    char digits[5] = {0};
    memcpy(digits, x->text + x->at, 4);
    char *end;
    long code = strtol(digits, &end, 16);
    if (end != digits + 4 || !isxdigit((unsigned char)digits[0]) || code < 1 || code > 0x7f)
        return -1;
    x->at += 4;
    return (int)code;
}

tn_status tn__lex_string(tn_lex *x, char **out) {
    TN_CHECK(tn__lex_expect(x, '"'));
    size_t end = x->at;
    while (end < x->len && x->text[end] != '"') end += x->text[end] == '\\' ? 2 : 1;
    if (end >= x->len) return tn__lex_fail(x, "the string does not end");
    char *copy = TN_NEW_N(x->arena, char, end - x->at + 1), *to = copy;
    while (x->at < end) {
        int c = (unsigned char)x->text[x->at++];
        if (c == '\\') c = escaped(x);
        if (c <= 0) return tn__lex_fail(x, "a string has a NUL byte or an unknown escape");
        *to++ = (char)c;
    }
    x->at = end + 1;
    *out = copy;
    return TN_OK;
}

tn_status tn__lex_name(tn_lex *x, const char *what, char **out) {
    if (tn__lex_peek(x) == '"') return tn__lex_string(x, out);
    tn_span word = tn__lex_word(x);
    if (word.len == 0) return tn__lex_fail(x, "expected %s", what);
    *out = tn__span_dup(x->arena, word);
    return TN_OK;
}

tn_status tn__lex_int(tn_lex *x, int64_t *out) {
    tn__lex_space(x);
    char digits[32];
    size_t len = 0, at = x->at;
    if (at < x->len && x->text[at] == '-') digits[len++] = x->text[at++];
    while (at < x->len && isdigit((unsigned char)x->text[at]) && len + 1 < sizeof(digits))
        digits[len++] = x->text[at++];
    digits[len] = 0;
    char *end;
    errno = 0;
    long long value = strtoll(digits, &end, 10);
    if (len == 0 || end == digits) return tn__lex_fail(x, "expected an integer");
    if (errno == ERANGE || (at < x->len && isdigit((unsigned char)x->text[at])))
        return tn__lex_fail(x, "the integer does not fit 64 bits");
    x->at = at;
    *out = value;
    return TN_OK;
}

tn_status tn__lex_number(tn_lex *x, char out[TN_LEX_NUMBER]) {
    /* `#` begins the bytes of an element here, not a comment. */
    while (x->at < x->len && isspace((unsigned char)x->text[x->at])) x->at++;
    size_t len = 0;
    while (x->at + len < x->len) {
        char c = x->text[x->at + len];
        if (!is_word(c) && c != '-' && c != '+' && c != '#') break;
        if (len + 1 == TN_LEX_NUMBER) return tn__lex_fail(x, "a number is too long");
        out[len++] = c;
    }
    if (len == 0) return tn__lex_fail(x, "expected a number");
    out[len] = 0;
    x->at += len;
    return TN_OK;
}

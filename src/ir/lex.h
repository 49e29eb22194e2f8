/* Internal to src/ir: characters, words and numbers of the text form, with places in messages. */
#ifndef TENON_IR_LEX_H
#define TENON_IR_LEX_H

#include "base/base.h"

/* A word or the inside of a quoted name; not terminated. */
typedef struct tn_span {
    const char *at;
    size_t len;
} tn_span;

typedef struct tn_lex {
    const char *text;
    size_t len, at;
    size_t uniform; /* bytes of `all VALUE` constants so far: they are not bounded by the text */
    tn_arena *arena;
    tn_error *err;
} tn_lex;

/* "text:LINE:COLUMN: message" at the current place. */
tn_status tn__lex_fail(const tn_lex *x, const char *format, ...) TN_PRINTF(2, 3);
/* Adds the frame "text:LINE:COLUMN" for a failure found elsewhere. */
void tn__lex_frame(const tn_lex *x, size_t at);

/* All skip spaces and `#` comments before they look. Spaces end at the text's end. */
void tn__lex_space(tn_lex *x);
char tn__lex_peek(tn_lex *x); /* 0 at the end */
bool tn__lex_accept(tn_lex *x, char c);
tn_status tn__lex_expect(tn_lex *x, char c);
/* Whether `c` comes next on this line. */
bool tn__lex_same_line(tn_lex *x, char c);
/* [A-Za-z0-9_.]+; length 0 when there is none. */
tn_span tn__lex_word(tn_lex *x);
bool tn__span_is(tn_span s, const char *word);
char *tn__span_dup(tn_arena *arena, tn_span s);
/* A JSON string without escapes beyond \" \\ \/ \b \f \n \r \t and \u00XX. */
tn_status tn__lex_string(tn_lex *x, char **out);
/* A word or a string. */
tn_status tn__lex_name(tn_lex *x, const char *what, char **out);
tn_status tn__lex_int(tn_lex *x, int64_t *out);
/* The characters of a number: [-+0-9A-Za-z.#]+, terminated. */
enum { TN_LEX_NUMBER = 64 };
tn_status tn__lex_number(tn_lex *x, char out[TN_LEX_NUMBER]);

#endif

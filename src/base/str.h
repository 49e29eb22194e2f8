/* A growing string. Grows through the allocator; out of memory unwinds like an arena (tn_guard). */
#ifndef TENON_BASE_STR_H
#define TENON_BASE_STR_H

#include "base/base.h"

typedef struct tn_str {
    tn_allocator allocator;
    char *data; /* always terminated; NULL only before the first append */
    size_t len, cap;
} tn_str;

void tn_str_init(tn_str *s); /* with the system allocator */
void tn_str_init_with(tn_str *s, tn_allocator allocator);
void tn_str_deinit(tn_str *s);
void tn_str_clear(tn_str *s);
void tn_str_append(tn_str *s, const char *text);
void tn_str_append_n(tn_str *s, const char *text, size_t len);
void tn_str_append_char(tn_str *s, char c);
void tn_str_appendf(tn_str *s, const char *format, ...) TN_PRINTF(2, 3);
/* Appends `text` as a JSON string literal with quotes. */
void tn_str_append_json(tn_str *s, const char *text);
/* The text, "" when nothing was appended. */
const char *tn_str_text(const tn_str *s);

#endif

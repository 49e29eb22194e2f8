/* Growing strings. See str.h. */
#include "base/str.h"

#include <stdarg.h>
#include <stdio.h>

void tn_str_init(tn_str *s) {
    tn_str_init_with(s, tn_allocator_system());
}

void tn_str_init_with(tn_str *s, tn_allocator allocator) {
    *s = (tn_str){.allocator = allocator};
}

void tn_str_deinit(tn_str *s) {
    if (s->data) tn_free(s->allocator, s->data);
    *s = (tn_str){.allocator = s->allocator};
}

void tn_str_clear(tn_str *s) {
    s->len = 0;
    if (s->data) s->data[0] = 0;
}

static void str_reserve(tn_str *s, size_t extra) {
    size_t need;
    if (!tn_size_add(s->len, extra, &need) || !tn_size_add(need, 1, &need)) tn_out_of_memory();
    if (need <= s->cap) return;
    size_t cap = s->cap ? s->cap : 256;
    while (cap < need) cap *= 2;
    char *moved = tn_realloc(s->allocator, s->data, cap);
    if (!moved) tn_out_of_memory();
    s->data = moved;
    s->cap = cap;
}

void tn_str_append_n(tn_str *s, const char *text, size_t len) {
    str_reserve(s, len);
    if (len) memcpy(s->data + s->len, text, len);
    s->len += len;
    s->data[s->len] = 0;
}

void tn_str_append(tn_str *s, const char *text) {
    tn_str_append_n(s, text, strlen(text));
}

void tn_str_append_char(tn_str *s, char c) {
    tn_str_append_n(s, &c, 1);
}

void tn_str_appendf(tn_str *s, const char *format, ...) {
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    str_reserve(s, (size_t)len);
    vsnprintf(s->data + s->len, (size_t)len + 1, format, again);
    va_end(again);
    s->len += (size_t)len;
}

void tn_str_append_json(tn_str *s, const char *text) {
    tn_str_append_char(s, '"');
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        if (*p == '"' || *p == '\\')
            tn_str_appendf(s, "\\%c", *p);
        else if (*p < 0x20)
            tn_str_appendf(s, "\\u%04x", *p);
        else
            tn_str_append_char(s, (char)*p);
    }
    tn_str_append_char(s, '"');
}

const char *tn_str_text(const tn_str *s) {
    return s->data ? s->data : "";
}

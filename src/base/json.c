/* JSON texts within a bound of memory. See json.h. */
#include "base/json.h"

#include <stdio.h>

#include "base/io.h"

/* What jansson 2.14 allocates on 64 bits at most, with what malloc adds. A value includes its share of the
 * tables of its container, of the old and the new one while they grow. */
enum { OBJECT = 248, ARRAY = 152, NUMBER = 56, STRING = 104, KEY = 128 };

/* The place behind a string that begins at `at`, or the end. */
static size_t skip_string(const uint8_t *text, size_t size, size_t at) {
    for (at++; at < size && text[at] != '"'; at++) at += text[at] == '\\';
    return TN_MIN(at + 1, size);
}

static bool is_between(uint8_t c) {
    return c <= ' ' || c == ',' || c == ':' || c == ']' || c == '}';
}

static bool is_key(const uint8_t *text, size_t size, size_t at) {
    while (at < size && text[at] <= ' ') at++;
    return at < size && text[at] == ':';
}

/* What the token at *at costs; *at moves behind it. */
static size_t take_token(const uint8_t *text, size_t size, size_t *at) {
    size_t begin = *at;
    uint8_t c = text[begin];
    if (c == '"') {
        *at = skip_string(text, size, begin);
        return (is_key(text, size, *at) ? KEY : STRING) + (*at - begin);
    }
    ++*at;
    if (c == '{') return OBJECT;
    if (c == '[') return ARRAY;
    if (is_between(c)) return 0;
    while (*at < size && !is_between(text[*at]) && text[*at] != '"') ++*at;
    return NUMBER;
}

size_t tn_json_memory(const void *text, size_t size) {
    size_t total = 4096, longest = 0;
    for (size_t at = 0, begin = 0; at < size; begin = at) {
        if (!tn_size_add(total, take_token(text, size, &at), &total)) return SIZE_MAX;
        longest = TN_MAX(longest, at - begin);
    }
    return tn_size_add(total, 4 * longest, &total) ? total : SIZE_MAX; /* of the token being read */
}

static void say(json_error_t *why, int line, const char *source, const char *text) {
    if (!why) return;
    *why = (json_error_t){.line = line, .column = 1};
    snprintf(why->source, sizeof why->source, "%s", source);
    snprintf(why->text, sizeof why->text, "%s", text);
}

json_t *tn_json_parse(const void *text, size_t size, size_t limit, size_t flags,
                      json_error_t *why) {
    if (!limit && (!tn_size_mul(size, 2, &limit) || !tn_size_add(limit, (size_t)16 << 20, &limit)))
        limit = SIZE_MAX;
    if (!text) text = ""; /* a map of no bytes */
    if (tn_json_memory(text, size) <= limit) return json_loadb(text, size, flags, why);
    say(why, 1, "<buffer>", "its values would take more memory than twice its size and 16 MiB");
    return NULL;
}

json_t *tn_json_read(const char *path, size_t flags, json_error_t *why) {
    tn_file_map map;
    tn_error err = TN_ERROR_INIT;
    if (tn_file_map_open(&map, path, &err) != TN_OK) {
        char text[JSON_ERROR_TEXT_LENGTH];
        snprintf(text, sizeof text, "unable to open %.140s", err.message);
        say(why, -1, path, text);
        return NULL;
    }
    json_t *root = tn_json_parse(map.data, map.size, 0, flags, why);
    tn_file_map_close(&map);
    return root;
}

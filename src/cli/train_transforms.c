/* Transforms of images from JSON. See train_settings.h. */
#include <jansson.h>

#include "base/nearest.h"
#include "cli/train_settings.h"

/* How many numbers a field has; 0: a whole number. */
typedef struct field {
    const char *name;
    size_t offset;
    int count;
} field;
#define FIELD(name, count)                                                                         \
    { #name, offsetof(tn_transform, name), count }
static const field fields[] = {FIELD(height, 0),      FIELD(width, 0),     FIELD(shorter, 0),
                               FIELD(padding, 0),     FIELD(low, 1),       FIELD(high, 1),
                               FIELD(probability, 1), FIELD(scale, 2),     FIELD(ratio, 2),
                               FIELD(degrees, 1),     FIELD(translate, 2), FIELD(shear, 2),
                               FIELD(mean, 3),        FIELD(std, 3)};

static tn_status unknown(const char *what, const char *word, const char *const *known, int count,
                         tn_error *err) {
    char list[512] = "";
    const char *near = tn_nearest(word, known, count);
    if (near)
        return tn_error_set(err, TN_NOT_FOUND, "there is no %s '%.60s'; did you mean '%s'?", what,
                            word, near);
    for (int i = 0; i < count; i++)
        snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", i ? ", " : "", known[i]);
    return tn_error_set(err, TN_NOT_FOUND, "there is no %s '%.60s'; there is %s", what, word, list);
}

/* A number is a list of one; of `mean` and `std` one channel is enough. */
static bool read_numbers(const field *f, const json_t *value, tn_transform *t) {
    double *out = (double *)((char *)t + f->offset);
    int count = json_is_array(value) ? (int)json_array_size(value) : 1;
    if (json_is_array(value) ? count != f->count && (f->count != 3 || count != 1) : f->count == 2)
        return false;
    for (int i = 0; i < count; i++) {
        const json_t *x = json_is_array(value) ? json_array_get(value, (size_t)i) : value;
        if (!json_is_number(x)) return false;
        out[i] = json_number_value(x);
    }
    return true;
}

static tn_status set_field(const char *key, const json_t *value, tn_transform *t, tn_error *err) {
    const char *known[TN_COUNT(fields) + 1] = {"filter"};
    if (strcmp(key, "filter") == 0) {
        const char *text = json_is_string(value) ? json_string_value(value) : "";
        t->filter = strcmp(text, "bicubic") == 0 ? TN_BICUBIC : TN_BILINEAR;
        if (t->filter == TN_BICUBIC || strcmp(text, "bilinear") == 0) return TN_OK;
        return tn_error_set(err, TN_INVALID, "filter: expected \"bilinear\" or \"bicubic\"");
    }
    for (size_t i = 0; i < TN_COUNT(fields); i++) {
        const field *f = &fields[i];
        known[i + 1] = f->name;
        if (strcmp(f->name, key) != 0) continue;
        if (f->count && read_numbers(f, value, t)) return TN_OK;
        json_int_t whole = json_integer_value(value);
        if (f->count || !json_is_integer(value) || whole < 0 || whole > 1 << 20)
            return tn_error_set(err, TN_INVALID, "%s: expected %s", key,
                                f->count == 0   ? "a number of pixels"
                                : f->count == 1 ? "a number"
                                : f->count == 2 ? "two numbers in a list"
                                                : "a number for each channel in a list");
        *(int *)((char *)t + f->offset) = (int)whole;
        return TN_OK;
    }
    return unknown("field", key, known, (int)TN_COUNT(known), err);
}

static tn_status read_transform(const json_t *item, tn_transform *t, tn_error *err) {
    const json_t *name = json_is_object(item) ? json_object_get(item, "name") : item;
    const char *word = json_is_string(name) ? json_string_value(name) : NULL;
    const char *key;
    json_t *value;
    int kind = 0;
    if (!word)
        return tn_error_set(err, TN_INVALID,
                            "expected a name, or an object with \"name\" and fields");
    while (kind < TN_TRANSFORM_COUNT &&
           strcmp(tn_transform_name((tn_transform_kind)kind), word) != 0)
        kind++;
    if (kind == TN_TRANSFORM_COUNT) {
        const char *names[TN_TRANSFORM_COUNT];
        for (int i = 0; i < TN_TRANSFORM_COUNT; i++)
            names[i] = tn_transform_name((tn_transform_kind)i);
        return unknown("transform", word, names, kind, err);
    }
    *t = (tn_transform){.kind = (tn_transform_kind)kind};
    if (!json_is_object(item)) return TN_OK;
    json_object_foreach((json_t *)(uintptr_t)item, key, value) {
        if (strcmp(key, "name") != 0) TN_TRY(err, set_field(key, value, t, err), "%s", word);
    }
    return TN_OK;
}

static tn_status read_list(const json_t *list, tn_transform *out, int *count, tn_error *err) {
    size_t size = json_array_size(list);
    if (!json_is_array(list))
        return tn_error_set(err, TN_INVALID,
                            "expected a list in JSON, such as "
                            "[{\"name\": \"resize\", \"shorter\": 256}, "
                            "\"flip_horizontal\"]");
    if (size > MAX_TRANSFORMS)
        return tn_error_set(err, TN_INVALID, "%zu transforms; at most %d", size, MAX_TRANSFORMS);
    for (size_t i = 0; i < size; i++)
        TN_TRY(err, read_transform(json_array_get(list, i), &out[i], err), "item %zu", i + 1);
    *count = (int)size;
    return TN_OK;
}

tn_status cli_transforms(const char *text, tn_transform out[MAX_TRANSFORMS], int *count,
                         tn_error *err) {
    json_t *list = json_loads(text, JSON_DECODE_ANY, NULL);
    tn_status status = read_list(list, out, count, err);
    json_decref(list);
    return status;
}

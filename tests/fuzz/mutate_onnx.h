/* A mutator for ONNX's wire format. It edits one field of one message and sets the lengths around it right,
 * which bytes that change at random hardly ever do: fields are removed, doubled, put elsewhere, and names,
 * operators and numbers are exchanged for others that mean something. One time in three it leaves the
 * bytes to libFuzzer, for files whose lengths are wrong. */
#ifndef TENON_FUZZ_MUTATE_ONNX_H
#define TENON_FUZZ_MUTATE_ONNX_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "import/onnx/ops.h"

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t most);
/* Calls mutate_onnx. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed);

/* ---- messages ------------------------------------------------------------------------------- */

typedef enum message {
    LEAF,
    MODEL,
    GRAPH,
    NODE,
    ATTRIBUTE,
    TENSOR,
    PORT,
    TYPE,
    TENSOR_TYPE,
    SEQUENCE_TYPE,
    SHAPE,
    SIZE,
    FUNCTION,
    OPSET,
    ENTRY,
} message;

static const struct {
    uint8_t in, field, is;
} nested[] = {
    {MODEL, 7, GRAPH},        {MODEL, 8, OPSET},         {MODEL, 25, FUNCTION},
    {GRAPH, 1, NODE},         {GRAPH, 5, TENSOR},        {GRAPH, 11, PORT},
    {GRAPH, 12, PORT},        {GRAPH, 13, PORT},         {FUNCTION, 7, NODE},
    {FUNCTION, 9, OPSET},     {FUNCTION, 11, ATTRIBUTE}, {NODE, 5, ATTRIBUTE},
    {ATTRIBUTE, 5, TENSOR},   {ATTRIBUTE, 6, GRAPH},     {ATTRIBUTE, 10, TENSOR},
    {TENSOR, 13, ENTRY},      {PORT, 2, TYPE},           {TYPE, 1, TENSOR_TYPE},
    {TYPE, 4, SEQUENCE_TYPE}, {TYPE, 9, SEQUENCE_TYPE},  {SEQUENCE_TYPE, 1, TYPE},
    {TENSOR_TYPE, 2, SHAPE},  {SHAPE, 1, SIZE},
};

static message nested_in(message in, uint32_t field) {
    for (size_t i = 0; i < sizeof nested / sizeof *nested; i++)
        if (nested[i].in == in && nested[i].field == field) return (message)nested[i].is;
    return LEAF;
}

/* ---- fields --------------------------------------------------------------------------------- */

typedef struct span {
    const uint8_t *at;
    size_t size;
} span;

typedef struct field {
    message in, is;
    uint32_t number, wire;
    span whole, body; /* of a varint its digits; of a text what is in it */
} field;

static bool take_varint(span *s, uint64_t *out) {
    *out = 0;
    for (int shift = 0; s->size && shift < 64; shift += 7) {
        uint8_t byte = *s->at++;
        s->size--;
        *out |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) return true;
    }
    return false;
}

static bool take_field(span *s, message in, field *f) {
    uint64_t key, size = 0;
    f->whole.at = s->at;
    if (!take_varint(s, &key)) return false;
    *f = (field){.in = in, .number = (uint32_t)(key >> 3), .wire = key & 7, .whole = f->whole};
    f->body.at = s->at;
    if (f->wire == 0) {
        if (!take_varint(s, &size)) return false;
        f->body.size = (size_t)(s->at - f->body.at);
    } else {
        if (f->wire == 2 && !take_varint(s, &size)) return false;
        if (f->wire == 1 || f->wire == 5) size = f->wire == 1 ? 8 : 4;
        if ((f->wire != 1 && f->wire != 2 && f->wire != 5) || size > s->size) return false;
        f->body = (span){s->at, (size_t)size};
        s->at += size;
        s->size -= size;
    }
    f->whole.size = (size_t)(s->at - f->whole.at);
    f->is = f->wire == 2 ? nested_in(in, f->number) : LEAF;
    return true;
}

/* Calls `visit` for each field, outer ones first; what cannot be read ends a message. */
typedef void visit_field(void *context, const field *f);
static void walk(span s, message in, int depth, visit_field *visit, void *context) {
    field f;
    while (s.size && take_field(&s, in, &f)) {
        visit(context, &f);
        if (f.is && depth < 24) walk(f.body, f.is, depth + 1, visit, context);
    }
}

typedef struct chosen {
    uint64_t random;
    uint32_t seen;
    message in; /* LEAF: of any message */
    uint32_t number;
    field f;
} chosen;

static uint32_t below(uint64_t *random, uint32_t n) {
    *random = *random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((*random >> 33) % n);
}

static void choose_field(void *context, const field *f) {
    chosen *c = context;
    if (c->in && (f->in != c->in || f->number != c->number)) return;
    if (below(&c->random, ++c->seen) == 0) c->f = *f;
}

/* ---- writing -------------------------------------------------------------------------------- */

typedef struct bytes_out {
    uint8_t *at;
    size_t size, room;
} bytes_out;

static void put_bytes(bytes_out *o, const void *data, size_t size) {
    if (size > o->room - o->size) {
        o->size = o->room = 0; /* too much: the mutation is given up */
        return;
    }
    if (size) memmove(o->at + o->size, data, size);
    o->size += size;
}

static void put_varint(bytes_out *o, uint64_t v) {
    uint8_t digits[10];
    size_t n = 0;
    do {
        digits[n++] = (uint8_t)((v & 0x7f) | (v > 0x7f ? 0x80 : 0));
        v >>= 7;
    } while (v);
    put_bytes(o, digits, n);
}

static void put_text(bytes_out *o, uint32_t number, span text) {
    put_varint(o, number << 3 | 2);
    put_varint(o, text.size);
    put_bytes(o, text.at, text.size);
}

/* The message again, with `to` in the place of the field at `from`. */
static void rewrite(span s, message in, int depth, const uint8_t *from, span to, bytes_out *o) {
    field f;
    while (s.size && take_field(&s, in, &f)) {
        if (f.whole.at == from) {
            put_bytes(o, to.at, to.size);
        } else if (f.is && depth < 24 && from > f.whole.at && from < f.body.at + f.body.size) {
            size_t begin = o->size, room = o->room;
            rewrite(f.body, f.is, depth + 1, from, to, o);
            if (!o->room || o->size - begin > room / 2) {
                o->room = 0;
                return;
            }
            uint8_t *inner = malloc(o->size - begin + 1);
            if (!inner) abort();
            span body = {inner, o->size - begin};
            memcpy(inner, o->at + begin, body.size);
            o->size = begin;
            put_text(o, f.number, body);
            free(inner);
        } else {
            put_bytes(o, f.whole.at, f.whole.size);
        }
    }
    put_bytes(o, s.at, s.size);
}

/* ---- mutations ------------------------------------------------------------------------------ */

static void put_number(bytes_out *o, const field *f, uint64_t *random) {
    static const int64_t numbers[] = {
        0,    1,     -1,        2,         3,          4,         7,         8,
        -2,   10,    11,        12,        13,         16,        18,        127,
        1024, 65536, INT32_MAX, INT32_MIN, UINT32_MAX, INT64_MAX, INT64_MIN, (int64_t)1 << 40};
    uint32_t count = sizeof numbers / sizeof *numbers, pick = below(random, count + 4);
    uint64_t value;
    span digits = f->body;
    if (!take_varint(&digits, &value)) value = 0;
    put_varint(o, f->number << 3);
    if (pick < count)
        put_varint(o, (uint64_t)numbers[pick]);
    else
        put_varint(o, pick % 2 ? value + 1 : value - 1);
}

/* A text from a field of the same kind elsewhere; an input may take the name of any output. */
static void put_other(bytes_out *o, span all, message root, const field *f, uint64_t *random) {
    chosen other = {.random = *random, .in = f->in, .number = f->number, .f = *f};
    if (f->in == NODE && f->number == 1 && below(random, 2)) other.number = 2;
    walk(all, root, 0, choose_field, &other);
    put_text(o, f->number, other.f.body);
}

/* The name of an operator of any domain. */
static void put_operator(bytes_out *o, const field *f, uint64_t *random) {
    static const tn_onnx_rows *const tables[] = {
#define T(topic) &tn__onnx_ops_##topic,
        TN_ONNX_TABLES(T)
#undef T
    };
    const tn_onnx_rows *rows = tables[below(random, TN_COUNT(tables))];
    const char *name = rows->at[below(random, (uint32_t)rows->count)].name;
    put_text(o, f->number, (span){(const uint8_t *)name, strlen(name)});
}

static void put_changed(bytes_out *o, const field *f) {
    enum { MORE = 64 };
    size_t room = f->body.size + MORE;
    uint8_t *copy = malloc(room);
    if (!copy) abort();
    memcpy(copy, f->body.at, f->body.size);
    span changed = {copy, LLVMFuzzerMutate(copy, f->body.size, f->wire == 2 ? room : f->body.size)};
    if (f->wire == 2) {
        put_text(o, f->number, changed);
    } else {
        put_varint(o, f->number << 3 | f->wire);
        put_bytes(o, changed.at, f->body.size);
    }
    free(copy);
}

/* What takes the field's place. */
static void put_mutated(bytes_out *o, span all, message root, const field *f, uint64_t *random) {
    chosen any = {.random = *random};
    switch (below(random, 8)) {
    case 0: /* gone */
        return;
    case 1: /* twice */
        put_bytes(o, f->whole.at, f->whole.size);
        put_bytes(o, f->whole.at, f->whole.size);
        return;
    case 2: /* with one of its kind from elsewhere */
        any.in = f->in;
        any.number = f->number;
        any.f = *f;
        walk(all, root, 0, choose_field, &any);
        put_bytes(o, f->whole.at, f->whole.size);
        put_bytes(o, any.f.whole.at, any.f.whole.size);
        return;
    default:
        if (f->wire == 0)
            put_number(o, f, random);
        else if (f->in == NODE && f->number == 4)
            put_operator(o, f, random);
        else if (f->wire == 2 && !f->is && below(random, 2))
            put_other(o, all, root, f, random);
        else
            put_changed(o, f);
    }
}

static size_t mutate_onnx(message root, uint8_t *data, size_t size, size_t most, unsigned seed) {
    uint64_t random = seed * 0x9e3779b97f4a7c15u + 1;
    chosen c = {.random = random};
    span all = {data, size};
    if (below(&random, 3)) walk(all, root, 0, choose_field, &c);
    if (!c.seen) return LLVMFuzzerMutate(data, size, most);
    bytes_out to = {.room = most}, whole = {.room = most};
    to.at = malloc(most);
    whole.at = malloc(most);
    if (!to.at || !whole.at) abort();
    put_mutated(&to, all, root, &c.f, &random);
    if (to.room) rewrite(all, root, 0, c.f.whole.at, (span){to.at, to.size}, &whole);
    bool fits = to.room && whole.room && whole.size;
    if (fits) memcpy(data, whole.at, whole.size);
    free(to.at);
    free(whole.at);
    return fits ? whole.size : LLVMFuzzerMutate(data, size, most);
}

#endif

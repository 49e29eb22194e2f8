/* Names in scope and the values behind them. See scope.h. */
#include "import/onnx/scope.h"

tn_onnx_level *tn_onnx_level_new(tn_onnx_importer *im, tn_graph *g, tn_onnx_level *parent,
                                 tn_error *err) {
    tn_onnx_level *level = TN_NEW(im->scratch, tn_onnx_level);
    level->builder = tn_builder_of(g, err);
    level->parent = parent;
    return level;
}

void tn_onnx_scope_init(tn_onnx_scope *s, tn_onnx_importer *im, tn_onnx_scope *parent,
                        tn_onnx_level *level) {
    *s = (tn_onnx_scope){.im = im, .parent = parent, .level = level};
    tn_map_init(&s->names, im->scratch);
    tn_map_init(&s->seen, im->scratch);
    if (!parent) return;
    s->opsets = parent->opsets;
    s->more_opsets = parent->more_opsets;
    s->caller = parent->caller;
    s->function = parent->function;
}

/* ---- items ---------------------------------------------------------------------------------- */

tn_onnx_item *tn_onnx_item_new(tn_onnx_scope *s, tn_value v, const char *name) {
    tn_onnx_item *item = TN_NEW(s->im->scratch, tn_onnx_item);
    *item = (tn_onnx_item){.level = s->level, .value = v, .name = name};
    return item;
}

tn_onnx_item *tn_onnx_item_known(tn_onnx_scope *s, const tn_known *known, const char *name) {
    tn_onnx_item *item = tn_onnx_item_new(s, TN_NO_VALUE, name);
    item->known = tn_arena_dup(s->im->scratch, known, sizeof *known);
    return item;
}

tn_type tn_onnx_item_type(const tn_onnx_item *item) {
    if (item->value != TN_NO_VALUE) return tn_b_type(&item->level->builder, item->value);
    tn_type type = {.dtype = TN_f32};
    const int64_t *dim = NULL;
    if (item->known) {
        type.dtype = item->known->dtype;
        type.shape.rank = item->known->rank;
        dim = item->known->dim;
    } else if (item->initializer) {
        type.dtype = item->initializer->type.dtype;
        type.shape.rank = item->initializer->type.rank;
        dim = item->initializer->type.dim;
    }
    for (int i = 0; i < type.shape.rank; i++) type.shape.dim[i] = dim[i];
    return type;
}

/* ---- building ------------------------------------------------------------------------------- */

enum { COPIED = 4096 }; /* constants up to this size do not refer to the file */

/* Where the bytes lie in a file; leaves `data` alone when they lie in none. */
static void find_source(const tn_onnx_importer *im, tn_data *data) {
    const uint8_t *at = data->bytes;
    for (uint32_t i = 0; i < im->result->maps.len; i++) {
        const tn_file_map *m = &im->result->maps.data[i];
        if (!m->data || at < m->data || at >= m->data + m->size) continue;
        data->source = i + 1;
        data->offset = (uint64_t)(at - m->data);
    }
}

static tn_value build_initializer(tn_onnx_scope *s, tn_builder *b, const tn_onnx_content *c) {
    if (!tn_b_ok(b)) return TN_NO_VALUE;
    tn_array array = c->type;
    size_t size = tn_array_bytes(&array);
    if (!c->as_is || size <= COPIED) {
        b->status = tn_onnx_tensor_decode(c, s->im->arena, &array, b->err);
        if (!tn_b_ok(b)) return TN_NO_VALUE;
    } else {
        array.data = (void *)(uintptr_t)c->bytes.at;
    }
    tn_attrs_constant attrs = {.dtype = array.dtype, .shape = {.rank = array.rank}};
    for (int i = 0; i < array.rank; i++) attrs.shape.dim[i] = array.dim[i];
    attrs.data = (tn_data){.bytes = array.data, .size = size};
    if (size > COPIED && !s->im->options->weights) find_source(s->im, &attrs.data);
    return tn_b_node(b, TN_OP_constant, NULL, 0, &attrs);
}

/* Elements [from, from + count) that are all constants, as a vector. */
static tn_value build_run(tn_onnx_scope *s, tn_builder *b, const tn_known *k, int64_t from,
                          int64_t count) {
    tn_array run = tn_array_new(s->im->scratch, k->dtype, 1, &count);
    for (int64_t i = 0; i < count; i++) {
        int64_t value = 0;
        tn_dim_const_value(b->graph->dims, k->at[from + i], &value);
        tn_array_set(&run, i, tn_cell_of_int(k->dtype, value));
    }
    return tn_b_constant(b, &run);
}

static tn_value build_known(tn_onnx_scope *s, tn_builder *b, const tn_known *k) {
    TN_VEC(tn_value) parts = {0};
    int64_t unused;
    s->im->work -= 32 * (double)k->count;
    if (s->im->work < 0) return tn_b_fail(b, TN_UNSUPPORTED, "too many computed sizes");
    for (int64_t i = 0; i < k->count && tn_b_ok(b);) {
        int64_t end = i;
        while (end < k->count && tn_dim_const_value(b->graph->dims, k->at[end], &unused)) end++;
        tn_value part;
        if (end > i) {
            part = build_run(s, b, k, i, end - i);
        } else {
            part = tn_b_unsqueeze(b, tn_b_dim_value(b, k->at[i], k->dtype), 0);
            end = i + 1;
        }
        tn_vec_push(s->im->scratch, &parts, part);
        i = end;
    }
    tn_shape shape = {.rank = k->rank};
    for (int i = 0; i < k->rank; i++) shape.dim[i] = k->dim[i];
    if (k->count == 0) {
        tn_array empty = tn_array_new(s->im->scratch, k->dtype, k->rank, k->dim);
        return tn_b_constant(b, &empty);
    }
    return tn_b_reshape(b, tn_b_concat(b, parts.data, (int)parts.len, 0), &shape);
}

tn_value tn_onnx_item_build(tn_onnx_scope *s, tn_onnx_item *item) {
    tn_builder *b = &item->level->builder;
    if (item->value != TN_NO_VALUE || !tn_b_ok(b)) return item->value;
    if (item->kind != TN_ITEM_TENSOR)
        return tn_b_fail(b, TN_INVALID, "'%s' is not a tensor but %s", item->name,
                         item->kind == TN_ITEM_SEQUENCE ? "a sequence" : "an empty optional");
    if (item->initializer)
        item->value = build_initializer(s, b, item->initializer);
    else if (item->known)
        item->value = build_known(s, b, item->known);
    if (item->value != TN_NO_VALUE && item->name && item->name[0]) {
        tn_value_info *info = &b->graph->values.data[item->value];
        if (!info->name) info->name = tn_arena_strdup(b->graph->arena, item->name);
    }
    return item->value;
}

/* ---- names ---------------------------------------------------------------------------------- */

void tn_onnx_define(tn_onnx_scope *s, const char *name, tn_onnx_item *item) {
    tn_builder *b = &s->level->builder;
    uint32_t taken;
    if (!tn_b_ok(b) || !name[0]) return;
    if (tn_map_get_str(&s->names, name, &taken)) {
        s->im->refused = true;
        tn_b_fail(b, TN_INVALID, "'%s' is defined twice", name);
        return;
    }
    tn_map_put_str(&s->names, name, s->items.len);
    tn_vec_push(s->im->scratch, &s->items, item);
    if (item->value == TN_NO_VALUE || item->level != s->level) return;
    tn_value_info *info = &b->graph->values.data[item->value];
    if (!info->name) info->name = tn_arena_strdup(b->graph->arena, name);
}

/* A small constant, copied into the inner graph. */
static bool copy_constant(tn_onnx_scope *s, const tn_onnx_item *outer, tn_onnx_item *inner) {
    const tn_graph *g = outer->level->builder.graph;
    if (outer->value >= g->values.len) return false;
    const tn_node_info *n = tn_graph_producer(g, outer->value);
    if (n->op != TN_OP_constant) return false;
    const tn_attrs_constant *attrs = n->attrs;
    if (attrs->data.size > COPIED) return false;
    inner->value = tn_b_node(&s->level->builder, TN_OP_constant, NULL, 0, attrs);
    return true;
}

static void capture_tensor(tn_onnx_scope *s, tn_onnx_item *outer, tn_onnx_item *inner) {
    tn_known known;
    tn_builder *b = &s->level->builder;
    inner->initializer = outer->initializer;
    if (inner->initializer && !outer->weight) return;
    if (tn_onnx_item_get_known(s, outer, &known)) {
        inner->known = outer->known;
        return;
    }
    if (copy_constant(s, outer, inner)) return;
    tn_onnx_item_build(s->parent, outer);
    if (outer->level->builder.status != TN_OK) {
        b->status = outer->level->builder.status;
        return;
    }
    tn_type type = tn_onnx_item_type(outer);
    inner->value = tn_b_input(b, outer->name, type.dtype, &type.shape);
    tn_onnx_capture capture = {outer, inner};
    tn_vec_push(s->im->scratch, &s->captures, capture);
}

tn_onnx_item *tn_onnx_capture_item(tn_onnx_scope *s, tn_onnx_item *outer) {
    if (outer->level == s->level) return outer;
    uint32_t index;
    if (tn_map_get(&s->seen, &outer, sizeof outer, &index)) return s->inner.data[index];
    tn_onnx_item *inner = tn_onnx_item_new(s, TN_NO_VALUE, outer->name);
    inner->kind = outer->kind;
    inner->count = outer->count;
    if (outer->kind == TN_ITEM_TENSOR) capture_tensor(s, outer, inner);
    if (outer->kind == TN_ITEM_SEQUENCE) {
        tn_onnx_item **items = TN_NEW_N(s->im->scratch, tn_onnx_item *, outer->count);
        for (int i = 0; i < outer->count; i++) items[i] = tn_onnx_capture_item(s, outer->items[i]);
        inner->items = items;
    }
    tn_map_put(&s->seen, &outer, sizeof outer, s->inner.len);
    tn_vec_push(s->im->scratch, &s->inner, inner);
    return inner;
}

tn_onnx_item *tn_onnx_lookup(tn_onnx_scope *s, const char *name) {
    uint32_t index;
    if (tn_map_get_str(&s->names, name, &index)) return s->items.data[index];
    tn_onnx_item *outer = s->parent ? tn_onnx_lookup(s->parent, name) : NULL;
    return outer ? tn_onnx_capture_item(s, outer) : NULL;
}

tn_onnx_scope *tn_onnx_scope_around(const tn_onnx_scope *s) {
    return s->parent ? s->parent : s->caller ? s->caller->scope : NULL;
}

tn_onnx_item *tn_onnx_turn(tn_onnx_scope *s, const tn_onnx_scope *loop) {
    if (s == loop) return s->turn;
    return tn_onnx_capture_item(s, tn_onnx_turn(tn_onnx_scope_around(s), loop));
}

bool tn_onnx_visible(const tn_onnx_scope *s, const char *name) {
    uint32_t index;
    for (; s; s = s->parent)
        if (tn_map_get_str(&s->names, name, &index)) return true;
    return false;
}

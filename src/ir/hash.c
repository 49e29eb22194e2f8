/* The identity of a graph: SHA-256 over a plain serialisation. See graph.h. */
#include "ir/graph.h"

enum { DIM_DEPTH = 64 }; /* deeper sizes enter by their number in the table */

typedef TN_VEC(char) bytes;

static void put(tn_arena *a, bytes *out, const void *data, size_t size) {
    if (size > UINT32_MAX - out->len) tn_out_of_memory();
    tn_vec_grow(a, out, out->len + (uint32_t)size);
    if (size) memcpy(out->data + out->len, data, size);
    out->len += (uint32_t)size;
}

static void put_i64(tn_arena *a, bytes *out, int64_t value) {
    put(a, out, &value, sizeof(value));
}

/* With its length, so that neighbours cannot run into each other; -1: none. */
static void put_text(tn_arena *a, bytes *out, const char *text) {
    put_i64(a, out, text ? (int64_t)strlen(text) : -1);
    if (text) put(a, out, text, strlen(text));
}

static void put_dim(const tn_graph *g, bytes *out, tn_dim d, int depth) {
    const tn_dims *t = g->dims;
    put_i64(g->arena, out, d >= 0 || depth > DIM_DEPTH ? d : -1);
    if (d >= 0 || depth > DIM_DEPTH) return;
    tn_dim_expr e = t->exprs.data[-1 - d];
    put_i64(g->arena, out, e.count);
    for (uint32_t i = 0; i < e.count; i++) {
        put_i64(g->arena, out, e.term[i].coefficient);
        put_i64(g->arena, out, e.term[i].count);
        for (int k = 0; k < e.term[i].count; k++) {
            const tn_dim_atom *atom = &t->atoms.data[e.term[i].atom[k]];
            put_i64(g->arena, out, atom->fn);
            if (atom->fn == TN_DIM_SYMBOL) {
                put_text(g->arena, out, t->symbols.data[atom->symbol].name);
                continue;
            }
            put_dim(g, out, atom->a, depth + 1);
            put_dim(g, out, atom->b, depth + 1);
        }
    }
}

static void put_dims(const tn_graph *g, bytes *out, const tn_dim *dim, int count) {
    put_i64(g->arena, out, count);
    for (int i = 0; i < count; i++) put_dim(g, out, dim[i], 0);
}

enum { KEY_BYTES = 4096 }; /* constants up to this size enter a node's key with their content */

/* `shallow`: larger constants are known by their address, not read. */
static void put_data(const tn_graph *g, bytes *out, const tn_data *data, bool shallow) {
    put_i64(g->arena, out, (int64_t)data->size);
    if (data->source == 0 && shallow) {
        bool small = data->size <= KEY_BYTES;
        if (small)
            put(g->arena, out, data->bytes, data->size);
        else
            put(g->arena, out, &data->bytes, sizeof(data->bytes));
        return;
    }
    if (data->source == 0) {
        char hex[65];
        tn_sha256_hex(data->bytes, data->size, hex);
        put(g->arena, out, hex, 64);
        return;
    }
    const tn_graph_source *s = &tn_graph_root(g)->sources.data[data->source - 1];
    const uint64_t identity[] = {s->device, s->inode, s->size, s->mtime_ns, data->offset};
    put(g->arena, out, "file", 4);
    put(g->arena, out, identity, sizeof(identity));
}

static void put_graph(const tn_graph *g, bytes *out);

static void put_field(const tn_graph *g, bytes *out, const tn_field *f, const void *at,
                      bool shallow) {
    switch (f->kind) {
    case TN_FIELD_I64:
        put_i64(g->arena, out, *(const int64_t *)at);
        break;
    case TN_FIELD_BOOL:
        put_i64(g->arena, out, *(const bool *)at);
        break;
    case TN_FIELD_DTYPE:
        put_text(g->arena, out, tn_dtype_name(*(const tn_dtype *)at));
        break;
    case TN_FIELD_ENUM:
        put_text(g->arena, out, f->enum_names[*(const int *)at]);
        break;
    case TN_FIELD_INTS: {
        const tn_ints *list = at;
        put_i64(g->arena, out, list->count);
        for (int i = 0; i < list->count; i++) put_i64(g->arena, out, list->at[i]);
        break;
    }
    case TN_FIELD_DIM:
        put_dim(g, out, *(const tn_dim *)at, 0);
        break;
    case TN_FIELD_DIMS:
        put_dims(g, out, ((const tn_dim_list *)at)->at, ((const tn_dim_list *)at)->count);
        break;
    case TN_FIELD_SHAPE:
        put_dims(g, out, ((const tn_shape *)at)->dim, ((const tn_shape *)at)->rank);
        break;
    case TN_FIELD_GRAPH:
        put_graph(*(tn_graph *const *)at, out);
        break;
    case TN_FIELD_DATA:
        put_data(g, out, at, shallow);
        break;
    case TN_FIELD_END:
        break;
    }
}

static void put_node(const tn_graph *g, bytes *out, const tn_node_info *n, const tn_value *in,
                     bool shallow) {
    const tn_op_info *info = tn_op_info_of(n->op);
    if (shallow)
        put_i64(g->arena, out, n->op);
    else
        put_text(g->arena, out, info->name);
    put_i64(g->arena, out, n->in_count);
    for (uint32_t i = 0; i < n->in_count; i++) put_i64(g->arena, out, in[i]);
    for (const tn_field *f = info->fields; f->kind != TN_FIELD_END; f++)
        put_field(g, out, f, (const char *)n->attrs + f->offset, shallow);
}

static void put_graph(const tn_graph *g, bytes *out) {
    put_i64(g->arena, out, g->nodes.len);
    for (tn_node i = 0; i < g->nodes.len; i++) {
        const tn_node_info *n = tn_graph_node(g, i);
        put_node(g, out, n, n->in, false);
    }
    for (uint32_t i = 0; i < g->inputs.len; i++)
        put_text(g->arena, out, tn_graph_value(g, g->inputs.data[i])->name);
    put_i64(g->arena, out, g->outputs.len);
    for (uint32_t i = 0; i < g->outputs.len; i++) {
        put_i64(g->arena, out, g->outputs.data[i].value);
        put_text(g->arena, out, g->outputs.data[i].name);
        put_i64(g->arena, out, g->outputs.data[i].in_place);
    }
}

static void put_symbols(const tn_graph *g, bytes *out) {
    put_i64(g->arena, out, g->dims->symbols.len);
    for (uint32_t i = 0; i < g->dims->symbols.len; i++) {
        const tn_dim_symbol *s = &g->dims->symbols.data[i];
        put_text(g->arena, out, s->name);
        put_i64(g->arena, out, s->lo);
        put_i64(g->arena, out, s->hi);
        put_i64(g->arena, out, s->divisor);
    }
}

void tn_graph_hash(const tn_graph *g, char out[65]) {
    bytes all = {0};
    put_symbols(g, &all);
    put_graph(g, &all);
    tn_sha256_hex(all.data, all.len, out);
}

const void *tn_graph_node_key(const tn_graph *g, const tn_node_info *n, const tn_value *in,
                              size_t *size) {
    enum { USUAL_BYTES = 256 };
    bytes key = {0};
    tn_vec_grow(g->arena, &key, USUAL_BYTES);
    put_node(g, &key, n, in, true);
    *size = key.len;
    return key.data;
}

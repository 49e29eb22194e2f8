/* The text form of graphs; the grammar is in parse.c. */
#include "ir/text.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { DIM_TEXT = 1 << 16 }; /* a size is cut off beyond so many characters */

/* ---- strings in an arena -------------------------------------------------------------------- */

void tn__str_init_in(tn_str *s, tn_arena *arena) {
    tn_str_init_with(s, tn_arena_allocator(arena));
}

/* ---- sizes and types ------------------------------------------------------------------------ */

static bool is_identifier(const char *name) {
    if (!isalpha((unsigned char)*name) && *name != '_') return false;
    while (isalnum((unsigned char)*name) || *name == '_' || *name == '.') name++;
    return *name == 0;
}

static void print_name(const char *name, tn_str *out) {
    if (is_identifier(name))
        tn_str_append(out, name);
    else
        tn_str_append_json(out, name);
}

static void print_dim(const tn_dims *t, tn_dim d, int depth, size_t end, tn_str *out);

static void print_atom(const tn_dims *t, const tn_dim_atom *atom, int depth, size_t end,
                       tn_str *out) {
    const char *fn = atom->fn == TN_DIM_FLOORDIV ? "floordiv"
                     : atom->fn == TN_DIM_MOD    ? "mod"
                     : atom->fn == TN_DIM_MIN    ? "min"
                                                 : "max";
    if (atom->fn == TN_DIM_SYMBOL) {
        print_name(t->symbols.data[atom->symbol].name, out);
        return;
    }
    tn_str_appendf(out, "%s(", fn);
    print_dim(t, atom->a, depth + 1, end, out);
    tn_str_append(out, ",");
    print_dim(t, atom->b, depth + 1, end, out);
    tn_str_append(out, ")");
}

static void print_term(const tn_dims *t, const tn_dim_term *term, bool first, int depth, size_t end,
                       tn_str *out) {
    int64_t c = term->coefficient;
    bool unit = (c == 1 || c == -1) && term->count > 0;
    if (!first && c >= 0) tn_str_append(out, "+");
    if (unit && c < 0) tn_str_append(out, "-");
    if (!unit) tn_str_appendf(out, "%" PRId64 "%s", c, term->count ? "*" : "");
    for (int i = 0; i < term->count; i++) {
        if (i) tn_str_append(out, "*");
        print_atom(t, &t->atoms.data[term->atom[i]], depth, end, out);
    }
}

static void print_dim(const tn_dims *t, tn_dim d, int depth, size_t end, tn_str *out) {
    if (d >= 0) {
        tn_str_appendf(out, "%" PRId64, d);
        return;
    }
    if (depth > TN_TEXT_DIM_DEPTH || out->len > end) {
        tn_str_append(out, "?");
        return;
    }
    const tn_dim_expr *e = &t->exprs.data[-1 - d];
    for (uint32_t i = 0; i < e->count; i++) print_term(t, &e->term[i], i == 0, depth, end, out);
}

void tn__print_dim(const tn_dims *t, tn_dim d, tn_str *out) {
    print_dim(t, d, 0, out->len + DIM_TEXT, out);
}

static void print_dims(const tn_dims *t, const tn_dim *dim, int count, tn_str *out) {
    tn_str_append(out, "[");
    for (int i = 0; i < count; i++) {
        if (i) tn_str_append(out, ",");
        tn__print_dim(t, dim[i], out);
    }
    tn_str_append(out, "]");
}

void tn__print_type(const tn_dims *t, const tn_type *type, tn_str *out) {
    tn_str_append(out, tn_dtype_name(type->dtype));
    print_dims(t, type->shape.dim, type->shape.rank, out);
}

/* ---- constants ------------------------------------------------------------------------------ */

/* The shortest text that reads back as the same number of the type. */
static void print_float(tn_dtype dtype, double value, tn_str *out) {
    char text[40], best[40] = "nan";
    if (isinf(value)) strcpy(best, value < 0 ? "-inf" : "inf");
    for (int digits = 17; digits >= 1 && isfinite(value); digits--) {
        snprintf(text, sizeof(text), "%.*g", digits, value);
        if (tn_cell_round(dtype, (tn_cell){.f = strtod(text, NULL)}).f != value) break;
        if (digits == 17 || strlen(text) <= strlen(best)) strcpy(best, text);
    }
    tn_str_append(out, best);
}

static bool reads_back(tn_dtype dtype, const void *element, tn_cell cell) {
    char again[sizeof(uint64_t)] = {0};
    tn_cell_store(dtype, again, cell);
    return memcmp(again, element, tn_dtype_size(dtype)) == 0;
}

void tn__print_element(tn_dtype dtype, const void *element, tn_str *out) {
    tn_cell cell = tn_cell_load(dtype, element);
    if (tn_dtype_is_float(dtype) && isnan(cell.f)) cell.f = NAN; /* what "nan" reads back as */
    if (!reads_back(dtype, element, cell)) {
        tn_str_append(out, "#");
        for (size_t i = 0; i < tn_dtype_size(dtype); i++)
            tn_str_appendf(out, "%02x", ((const unsigned char *)element)[i]);
    } else if (dtype == TN_bool)
        tn_str_append(out, cell.u ? "true" : "false");
    else if (tn_dtype_is_float(dtype))
        print_float(dtype, cell.f, out);
    else if (tn_dtype_is_signed(dtype))
        tn_str_appendf(out, "%" PRId64, cell.i);
    else
        tn_str_appendf(out, "%" PRIu64, cell.u);
}

static bool all_equal(const char *bytes, size_t size, size_t element) {
    return size <= element || memcmp(bytes, bytes + element, size - element) == 0;
}

static void print_hex(const unsigned char *bytes, size_t size, tn_str *out) {
    static const char digit[] = "0123456789abcdef";
    tn_str_append(out, "hex\"");
    for (size_t i = 0; i < size; i++) {
        tn_str_append_char(out, digit[bytes[i] >> 4]);
        tn_str_append_char(out, digit[bytes[i] & 15]);
    }
    tn_str_append(out, "\"");
}

static void print_data(tn_dtype dtype, const tn_data *data, bool full, tn_str *out) {
    size_t element = tn_dtype_size(dtype), count = data->size / element;
    bool listed = count <= TN_TEXT_SMALL && data->size % element == 0;
    if (!listed && data->size <= TN_TEXT_UNIFORM && data->size % element == 0 &&
        all_equal(data->bytes, data->size, element)) {
        tn_str_append(out, "all ");
        tn__print_element(dtype, data->bytes, out);
    } else if (listed) {
        tn_str_append(out, "[");
        for (size_t i = 0; i < count; i++) {
            if (i) tn_str_append(out, ",");
            tn__print_element(dtype, (const char *)data->bytes + i * element, out);
        }
        tn_str_append(out, "]");
    } else if (full)
        print_hex(data->bytes, data->size, out);
    else
        tn_str_appendf(out, "<%zu bytes>", data->size);
}

/* ---- attributes ----------------------------------------------------------------------------- */

static void print_graph(const tn_graph *g, bool full, int indent, tn_str *out);

static void print_ints(const tn_ints *list, tn_str *out) {
    tn_str_append(out, "[");
    for (int i = 0; i < list->count; i++)
        tn_str_appendf(out, "%s%" PRId64, i ? "," : "", list->at[i]);
    tn_str_append(out, "]");
}

/* The result's type says what the fields `dtype` and `shape` say; zeros need no words either. */
static bool is_implied(const tn_graph *g, const tn_node_info *n, const tn_field *f,
                       const void *at) {
    const tn_type *result = n->out_count ? tn_graph_type(g, n->out) : NULL;
    switch (f->kind) {
    case TN_FIELD_I64:
        return *(const int64_t *)at == 0;
    case TN_FIELD_BOOL:
        return !*(const bool *)at;
    case TN_FIELD_INTS:
        return ((const tn_ints *)at)->count == 0;
    case TN_FIELD_DIMS:
        return ((const tn_dim_list *)at)->count == 0;
    case TN_FIELD_DTYPE:
        return result && strcmp(f->name, "dtype") == 0 && *(const tn_dtype *)at == result->dtype;
    case TN_FIELD_SHAPE:
        return result && strcmp(f->name, "shape") == 0 && tn_shape_equal(at, &result->shape);
    default:
        return false;
    }
}

static void print_field(const tn_graph *g, const tn_node_info *n, const tn_field *f, bool full,
                        int indent, tn_str *out) {
    const void *at = (const char *)n->attrs + f->offset;
    tn_str_appendf(out, "%s=", f->name);
    switch (f->kind) {
    case TN_FIELD_I64:
        tn_str_appendf(out, "%" PRId64, *(const int64_t *)at);
        break;
    case TN_FIELD_BOOL:
        tn_str_append(out, *(const bool *)at ? "true" : "false");
        break;
    case TN_FIELD_DTYPE:
        tn_str_append(out, tn_dtype_name(*(const tn_dtype *)at));
        break;
    case TN_FIELD_ENUM:
        tn_str_append(out, f->enum_names[*(const int *)at]);
        break;
    case TN_FIELD_INTS:
        print_ints(at, out);
        break;
    case TN_FIELD_DIM:
        tn__print_dim(g->dims, *(const tn_dim *)at, out);
        break;
    case TN_FIELD_DIMS: {
        const tn_dim_list *list = at;
        print_dims(g->dims, list->at, list->count, out);
        break;
    }
    case TN_FIELD_SHAPE: {
        const tn_shape *shape = at;
        print_dims(g->dims, shape->dim, shape->rank, out);
        break;
    }
    case TN_FIELD_GRAPH:
        print_graph(*(tn_graph *const *)at, full, indent + 1, out);
        break;
    case TN_FIELD_DATA:
        print_data(((const tn_attrs_constant *)n->attrs)->dtype, at, full, out);
        break;
    case TN_FIELD_END:
        break;
    }
}

static void print_attrs(const tn_graph *g, const tn_node_info *n, bool full, int indent,
                        tn_str *out) {
    bool any = false;
    for (const tn_field *f = tn_op_info_of(n->op)->fields; f->kind != TN_FIELD_END; f++) {
        if (is_implied(g, n, f, (const char *)n->attrs + f->offset)) continue;
        tn_str_append(out, any ? " " : " {");
        any = true;
        print_field(g, n, f, full, indent, out);
    }
    if (any) tn_str_append(out, "}");
}

/* ---- nodes and graphs ----------------------------------------------------------------------- */

static void print_indent(int indent, tn_str *out) {
    for (int i = 0; i < indent; i++) tn_str_append(out, "  ");
}

void tn__print_node(const tn_graph *g, tn_node id, bool full, int indent, tn_str *out) {
    const tn_node_info *n = tn_graph_node(g, id);
    for (uint32_t i = 0; i < n->out_count; i++) {
        const char *name = tn_graph_value(g, n->out + i)->name;
        tn_str_appendf(out, "%s%%%u", i ? ", " : "", n->out + i);
        if (!name) continue;
        tn_str_append(out, " ");
        tn_str_append_json(out, name);
    }
    tn_str_appendf(out, "%s%s", n->out_count ? " = " : "", tn_op_info_of(n->op)->name);
    if (n->name) {
        tn_str_append(out, " ");
        tn_str_append_json(out, n->name);
    }
    for (uint32_t i = 0; i < n->in_count; i++) tn_str_appendf(out, " %%%u", n->in[i]);
    print_attrs(g, n, full, indent, out);
    for (uint32_t i = 0; i < n->out_count; i++) {
        tn_str_append(out, i ? ", " : " : ");
        tn__print_type(g->dims, tn_graph_type(g, n->out + i), out);
    }
}

static void print_symbol(const tn_dim_symbol *s, tn_str *out) {
    print_name(s->name, out);
    if (s->lo != 1 || s->hi != TN_DIM_UNBOUNDED || s->divisor != 1) {
        tn_str_appendf(out, " in [%" PRId64 ",", s->lo);
        if (s->hi == TN_DIM_UNBOUNDED)
            tn_str_append(out, "*]");
        else
            tn_str_appendf(out, "%" PRId64 "]", s->hi);
    }
    if (s->divisor != 1) tn_str_appendf(out, " div %" PRId64, s->divisor);
}

void tn__print_header(const tn_graph *g, tn_str *out) {
    tn_str_append(out, "graph ");
    if (!g->parent && g->dims->symbols.len) {
        for (uint32_t i = 0; i < g->dims->symbols.len; i++) {
            tn_str_append(out, i ? ", " : "(");
            print_symbol(&g->dims->symbols.data[i], out);
        }
        tn_str_append(out, ") ");
    }
    tn_str_append(out, "{");
}

void tn__print_output(const tn_graph *g, uint32_t i, tn_str *out) {
    const tn_graph_output *o = &g->outputs.data[i];
    tn_str_appendf(out, "output %%%u", o->value);
    if (o->name) {
        tn_str_append(out, " ");
        tn_str_append_json(out, o->name);
    }
    if (o->in_place && o->in_place <= g->inputs.len)
        tn_str_appendf(out, " in place of %%%u", g->inputs.data[o->in_place - 1]);
}

static void print_graph(const tn_graph *g, bool full, int indent, tn_str *out) {
    tn__print_header(g, out);
    tn_str_append(out, "\n");
    for (tn_node n = 0; n < g->nodes.len; n++) {
        print_indent(indent + 1, out);
        tn__print_node(g, n, full, indent, out);
        tn_str_append(out, "\n");
    }
    for (uint32_t i = 0; i < g->outputs.len; i++) {
        print_indent(indent + 1, out);
        tn__print_output(g, i, out);
        tn_str_append(out, "\n");
    }
    print_indent(indent, out);
    tn_str_append(out, "}");
}

void tn_graph_print(const tn_graph *g, bool full, tn_str *out) {
    print_graph(g, full, 0, out);
    tn_str_append(out, "\n");
}

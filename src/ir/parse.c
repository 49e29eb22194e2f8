/* Reads the text form of graphs. The text may be hostile: depth, sizes and numbers are bounded.
 *
 *   graph   = "graph" [ "(" [ symbol { "," symbol } ] ")" ] "{" { node | output } "}"
 *   symbol  = name [ "in" "[" int "," ( int | "*" ) "]" ] [ "div" int ]        only the outermost
 *   node    = [ result { "," result } "=" ] OP [ string ] { value } [ "{" { FIELD "=" attr } "}" ]
 *             [ ":" type { "," type } ]
 *   result  = value [ string ]                output = "output" value [ string ] [ "in" "place" "of" value ]
 *   value   = "%" word                        type = DTYPE "[" [ size { "," size } ] "]"
 *   attr    = int | "true" | "false" | DTYPE | ENUM | "[" ints or sizes "]" | size | graph | data
 *   data    = "[" number { "," number } "]" | "all" number | "hex" string | "<" … ">"
 *   size    = sums and products of int, name, "(" size ")",
 * ("floordiv"|"mod"|"min"|"max")(size,size) name    = word | string                   number =
 * decimal, hex float, nan, inf, "#" hex bytes
 *
 * OP, FIELD and ENUM are those of ops.def. The fields `dtype` and `shape` may be left out: they are
 * those of the first result's type. Other fields default to zero, types to the inferred ones.
 * Operands stand on the line of their OP. Comments run from "#" to the end of the line. */
#include "ir/parse.h"

#include "ir/text.h"

typedef TN_VEC(tn_value) value_list;

typedef struct parser {
    tn_lex x;
    tn_graph *g;
    tn_map values; /* written name → value of g */
    int depth;
} parser;

/* One node being read. */
typedef struct reading {
    TN_VEC(tn_span) results;
    TN_VEC(char *) names;
    value_list in;
    TN_VEC(tn_type) types;
    tn_op op;
    char *name;
    void *attrs;
    uint64_t given; /* bit per field */
    size_t data_at; /* where the text of a DATA field begins; 0: none */
} reading;

static tn_status parse_graph(parser *p);

/* ---- values --------------------------------------------------------------------------------- */

static tn_status parse_value_word(parser *p, tn_span *out) {
    TN_CHECK(tn__lex_expect(&p->x, '%'));
    *out = tn__lex_word(&p->x);
    return out->len ? TN_OK : tn__lex_fail(&p->x, "expected a value's name after '%%'");
}

static tn_status parse_value(parser *p, tn_value *out) {
    tn_span word;
    TN_CHECK(parse_value_word(p, &word));
    if (tn_map_get(&p->values, word.at, word.len, out)) return TN_OK;
    return tn__lex_fail(&p->x, "%%%.*s is not defined before its use",
                        (int)TN_MIN(word.len, (size_t)64), word.at);
}

static tn_status parse_optional_string(parser *p, char **out) {
    *out = NULL;
    return tn__lex_peek(&p->x) == '"' ? tn__lex_string(&p->x, out) : TN_OK;
}

/* ---- attributes ----------------------------------------------------------------------------- */

static tn_status parse_bool(parser *p, bool *out) {
    tn_span word = tn__lex_word(&p->x);
    *out = tn__span_is(word, "true");
    if (*out || tn__span_is(word, "false")) return TN_OK;
    return tn__lex_fail(&p->x, "expected true or false");
}

static tn_status parse_enum(parser *p, const tn_field *f, int *out) {
    tn_span word = tn__lex_word(&p->x);
    for (int i = 0; f->enum_names[i]; i++) {
        if (!tn__span_is(word, f->enum_names[i])) continue;
        *out = i;
        return TN_OK;
    }
    return tn__lex_fail(&p->x, "'%.*s' is not a value of '%s'", (int)TN_MIN(word.len, (size_t)64),
                        word.at, f->name);
}

static tn_status parse_ints(parser *p, tn_ints *out) {
    out->count = 0;
    TN_CHECK(tn__lex_expect(&p->x, '['));
    if (tn__lex_accept(&p->x, ']')) return TN_OK;
    do {
        if (out->count == TN_MAX_RANK)
            return tn__lex_fail(&p->x, "more than %d entries", TN_MAX_RANK);
        TN_CHECK(tn__lex_int(&p->x, &out->at[out->count]));
        out->count++;
    } while (tn__lex_accept(&p->x, ','));
    return tn__lex_expect(&p->x, ']');
}

static tn_status parse_sub_graph(parser *p, tn_graph **out) {
    if (p->depth == TN_TEXT_DEPTH)
        return tn__lex_fail(&p->x, "sub-graphs nest deeper than %d", TN_TEXT_DEPTH);
    if (!tn__span_is(tn__lex_word(&p->x), "graph")) return tn__lex_fail(&p->x, "expected 'graph'");
    parser inner = {.x = p->x, .g = tn_graph_new_sub(p->g), .depth = p->depth + 1};
    tn_map_init(&inner.values, p->g->arena);
    *out = inner.g;
    tn_status status = parse_graph(&inner);
    p->x = inner.x;
    return status;
}

static tn_status parse_attr(parser *p, reading *r, const tn_field *f) {
    void *at = (char *)r->attrs + f->offset;
    tn_dims *t = p->g->dims;
    switch (f->kind) {
    case TN_FIELD_I64:
        return tn__lex_int(&p->x, at);
    case TN_FIELD_BOOL:
        return parse_bool(p, at);
    case TN_FIELD_DTYPE:
        return tn__parse_dtype(&p->x, at);
    case TN_FIELD_ENUM:
        return parse_enum(p, f, at);
    case TN_FIELD_INTS:
        return parse_ints(p, at);
    case TN_FIELD_DIM:
        return tn__parse_dim(&p->x, t, at);
    case TN_FIELD_DIMS: {
        tn_dim_list *list = at;
        return tn__parse_dims(&p->x, t, &list->count, list->at);
    }
    case TN_FIELD_SHAPE: {
        tn_shape *shape = at;
        return tn__parse_dims(&p->x, t, &shape->rank, shape->dim);
    }
    case TN_FIELD_GRAPH:
        return parse_sub_graph(p, at);
    case TN_FIELD_DATA:
        tn__lex_space(&p->x);
        r->data_at = p->x.at;
        return tn__skip_data(&p->x);
    case TN_FIELD_END:
        break;
    }
    return TN_OK;
}

static tn_status parse_attrs(parser *p, reading *r) {
    const tn_op_info *info = tn_op_info_of(r->op);
    r->attrs = tn_arena_alloc(p->x.arena, info->attrs_size);
    if (!tn__lex_accept(&p->x, '{')) return TN_OK;
    while (!tn__lex_accept(&p->x, '}')) {
        tn_span word = tn__lex_word(&p->x);
        const tn_field *f = info->fields;
        while (f->kind != TN_FIELD_END && !tn__span_is(word, f->name)) f++;
        if (f->kind == TN_FIELD_END)
            return tn__lex_fail(&p->x, "%s has no field '%.*s'", info->name,
                                (int)TN_MIN(word.len, (size_t)64), word.at);
        uint64_t bit = UINT64_C(1) << (f - info->fields);
        if (r->given & bit) return tn__lex_fail(&p->x, "field '%s' is given twice", f->name);
        r->given |= bit;
        TN_CHECK(tn__lex_expect(&p->x, '='));
        TN_CHECK(parse_attr(p, r, f));
    }
    return TN_OK;
}

/* Fills in what the result's type says, then reads the bytes of a constant. */
static tn_status complete_attrs(parser *p, reading *r) {
    const tn_op_info *info = tn_op_info_of(r->op);
    const tn_type *type = r->types.len ? &r->types.data[0] : NULL;
    for (const tn_field *f = info->fields; f->kind != TN_FIELD_END; f++) {
        void *at = (char *)r->attrs + f->offset;
        bool is_dtype = f->kind == TN_FIELD_DTYPE && strcmp(f->name, "dtype") == 0;
        bool is_shape = f->kind == TN_FIELD_SHAPE && strcmp(f->name, "shape") == 0;
        if ((!is_dtype && !is_shape) || r->given >> (f - info->fields) & 1) continue;
        if (!type)
            return tn__lex_fail(&p->x, "%s needs its %s: give the result's type after ':'",
                                info->name, f->name);
        if (is_dtype)
            *(tn_dtype *)at = type->dtype;
        else
            *(tn_shape *)at = type->shape;
    }
    if (r->op != TN_OP_constant) return TN_OK;
    if (r->data_at == 0) return tn__lex_fail(&p->x, "constant has no field 'data'");
    tn_attrs_constant *a = r->attrs;
    size_t here = p->x.at;
    p->x.at = r->data_at;
    TN_CHECK(tn__parse_data(&p->x, a->dtype, &a->shape, &a->data));
    p->x.at = here;
    return TN_OK;
}

/* ---- nodes ---------------------------------------------------------------------------------- */

static tn_status parse_results(parser *p, reading *r) {
    if (tn__lex_peek(&p->x) != '%') return TN_OK;
    do {
        tn_span word;
        char *name;
        TN_CHECK(parse_value_word(p, &word));
        TN_CHECK(parse_optional_string(p, &name));
        tn_vec_push(p->x.arena, &r->results, word);
        tn_vec_push(p->x.arena, &r->names, name);
    } while (tn__lex_accept(&p->x, ','));
    return tn__lex_expect(&p->x, '=');
}

static tn_status parse_types(parser *p, reading *r) {
    if (!tn__lex_accept(&p->x, ':')) return TN_OK;
    do {
        tn_type type = {.dtype = TN_f32};
        TN_CHECK(tn__parse_type(&p->x, p->g->dims, &type));
        tn_vec_push(p->x.arena, &r->types, type);
    } while (tn__lex_accept(&p->x, ','));
    return TN_OK;
}

static tn_status fail_type(parser *p, const tn_type *written, const tn_type *inferred) {
    tn_str text;
    tn__str_init_in(&text, p->x.arena);
    tn_str_append(&text, "the result is ");
    tn__print_type(p->g->dims, inferred, &text);
    tn_str_append(&text, ", not ");
    tn__print_type(p->g->dims, written, &text);
    tn_status status = tn__lex_fail(&p->x, "%s", tn_str_text(&text));
    return status;
}

static bool type_equal(const tn_type *a, const tn_type *b) {
    return a->dtype == b->dtype && tn_shape_equal(&a->shape, &b->shape);
}

static tn_status check_results(parser *p, const reading *r, const tn_node_info *n) {
    if (n->out_count != r->results.len)
        return tn__lex_fail(&p->x, "%s has %u results, %u are named", tn_op_info_of(n->op)->name,
                            n->out_count, r->results.len);
    if (r->types.len && r->types.len != n->out_count)
        return tn__lex_fail(&p->x, "%u results, %u types", n->out_count, r->types.len);
    for (uint32_t i = 0; i < r->types.len; i++) {
        const tn_type *inferred = tn_graph_type(p->g, n->out + i);
        if (!type_equal(&r->types.data[i], inferred))
            return fail_type(p, &r->types.data[i], inferred);
    }
    return TN_OK;
}

static tn_status define_results(parser *p, const reading *r, tn_value out) {
    for (uint32_t i = 0; i < r->results.len; i++) {
        tn_span word = r->results.data[i];
        tn_value known;
        if (tn_map_get(&p->values, word.at, word.len, &known))
            return tn__lex_fail(&p->x, "%%%.*s is defined twice", (int)TN_MIN(word.len, (size_t)64),
                                word.at);
        tn_map_put(&p->values, word.at, word.len, out + i);
        p->g->values.data[out + i].name = r->names.data[i];
    }
    return TN_OK;
}

static tn_status parse_node(parser *p) {
    reading r = {.op = TN_OP_COUNT};
    tn__lex_space(&p->x);
    size_t begin = p->x.at;
    TN_CHECK(parse_results(p, &r));
    char *op = tn__span_dup(p->x.arena, tn__lex_word(&p->x));
    if (!tn_op_parse(op, &r.op)) return tn__lex_fail(&p->x, "'%s' is not an operation", op);
    TN_CHECK(parse_optional_string(p, &r.name));
    while (tn__lex_same_line(&p->x, '%')) {
        tn_value operand;
        TN_CHECK(parse_value(p, &operand));
        tn_vec_push(p->x.arena, &r.in, operand);
    }
    TN_CHECK(parse_attrs(p, &r));
    TN_CHECK(parse_types(p, &r));
    TN_CHECK(complete_attrs(p, &r));
    tn_value out;
    tn_status status =
        tn_graph_add(p->g, r.op, r.in.data, r.in.len, r.attrs, r.name, &out, p->x.err);
    if (status != TN_OK) {
        tn__lex_frame(&p->x, begin);
        return status;
    }
    TN_CHECK(check_results(p, &r, tn_graph_node(p->g, p->g->nodes.len - 1)));
    return define_results(p, &r, out);
}

/* After the word `in`. */
static tn_status parse_in_place(parser *p) {
    tn_value v;
    if (!tn__span_is(tn__lex_word(&p->x), "place") || !tn__span_is(tn__lex_word(&p->x), "of"))
        return tn__lex_fail(&p->x, "expected 'in place of' an input");
    TN_CHECK(parse_value(p, &v));
    for (uint32_t i = 0; i < p->g->inputs.len; i++)
        if (p->g->inputs.data[i] == v) {
            tn_graph_output_in_place(p->g, i);
            return TN_OK;
        }
    return tn__lex_fail(&p->x, "an output can only be in place of an input");
}

static tn_status parse_output(parser *p) {
    tn_value value;
    char *name;
    TN_CHECK(parse_value(p, &value));
    TN_CHECK(parse_optional_string(p, &name));
    tn_graph_add_output(p->g, value, name);
    size_t before = p->x.at;
    if (tn__span_is(tn__lex_word(&p->x), "in")) return parse_in_place(p);
    p->x.at = before;
    return TN_OK;
}

/* After the word `graph` and its symbols. */
static tn_status parse_graph(parser *p) {
    TN_CHECK(tn__lex_expect(&p->x, '{'));
    while (!tn__lex_accept(&p->x, '}')) {
        size_t before = p->x.at;
        bool output = tn__span_is(tn__lex_word(&p->x), "output");
        if (!output) p->x.at = before;
        if (p->x.at == p->x.len) return tn__lex_fail(&p->x, "expected '}', the text ends");
        TN_CHECK(output ? parse_output(p) : parse_node(p));
    }
    return TN_OK;
}

tn_status tn_graph_parse(tn_arena *arena, const char *text, size_t len, tn_graph **out,
                         tn_error *err) {
    *out = NULL;
    parser p = {.x = {.text = text, .len = len, .arena = arena, .err = err}};
    tn_dims *dims = TN_NEW(arena, tn_dims);
    tn_dims_init(dims, arena);
    p.g = tn_graph_new(arena, dims);
    tn_map_init(&p.values, arena);
    if (!tn__span_is(tn__lex_word(&p.x), "graph"))
        return tn__lex_fail(&p.x, "expected 'graph' at the beginning");
    TN_CHECK(tn__parse_symbols(&p.x, dims));
    TN_CHECK(parse_graph(&p));
    tn__lex_space(&p.x);
    if (p.x.at != len) return tn__lex_fail(&p.x, "something follows the graph");
    /* What no line shows by itself: names given twice, sizes bound twice. */
    TN_CHECK(tn_graph_verify(p.g, NULL, err));
    *out = p.g;
    return TN_OK;
}

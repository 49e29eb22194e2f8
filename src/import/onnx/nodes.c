/* Importing nodes: versions, functions of the model, the table of operators, messages. */
#include "import/onnx/ops.h"
#include "import/onnx/scope.h"
#include "import/onnx/signature.h"

#include <stdio.h>

enum { MAX_CALLS = 48 };

static const char *plain_domain(const char *domain) {
    return strcmp(domain, "ai.onnx") ? domain : "";
}

static bool find_version(const tn_onnx_opsets *opsets, const char *domain, int64_t *version) {
    for (uint32_t i = 0; opsets && i < opsets->len; i++)
        if (!strcmp(plain_domain(opsets->data[i].domain), domain)) {
            *version = opsets->data[i].version;
            return true;
        }
    return false;
}

static int64_t version_of(const tn_onnx_scope *s, const char *domain) {
    int64_t version = 1;
    if (find_version(s->opsets, domain, &version)) return version;
    find_version(s->more_opsets, domain, &version);
    return version;
}

/* ---- functions of the model ------------------------------------------------------------------ */

static const char *function_key(tn_onnx_importer *im, const char *domain, const char *name,
                                const char *overload) {
    return tn_arena_printf(im->scratch, "%s\n%s\n%s", plain_domain(domain), name, overload);
}

void tn_onnx_index_functions(tn_onnx_importer *im) {
    tn_map_init(&im->functions, im->scratch);
    for (uint32_t i = 0; i < im->model->functions.len; i++) {
        const tn_onnx_function *f = &im->model->functions.data[i];
        tn_map_put_str(&im->functions, function_key(im, f->domain, f->name, f->overload), i);
    }
}

static const tn_onnx_function *find_function(const tn_onnx_scope *s, const tn_onnx_node *n) {
    uint32_t index;
    if (!s->im->functions.len) return NULL;
    const char *key = function_key(s->im, n->domain, n->op, n->overload);
    bool found = tn_map_get_str(&s->im->functions, key, &index);
    return found ? &s->im->model->functions.data[index] : NULL;
}

static void give_results(tn_o *o, tn_onnx_scope *inner, const tn_onnx_function *f) {
    for (uint32_t i = 0; i < o->node->outputs.len && tn_o_ok(o); i++) {
        if (!tn_o_wants(o, (int)i)) continue;
        const char *name = i < f->outputs.len ? f->outputs.data[i] : "";
        tn_onnx_item *item = tn_onnx_lookup(inner, name);
        if (item)
            tn_o_out_item(o, (int)i, item);
        else
            tn_o_refuse(o, TN_INVALID, "the function has no value for its output %u", i);
    }
}

static void import_call(tn_o *o, const tn_onnx_function *f) {
    tn_onnx_scope inner;
    tn_onnx_importer *im = o->scope->im;
    if (im->depth == MAX_CALLS) {
        tn_o_refuse(o, TN_INVALID, "functions are nested more than %d deep, or call themselves",
                    MAX_CALLS);
        return;
    }
    if (o->node->inputs.len > f->inputs.len) {
        tn_o_refuse(o, TN_INVALID, "%u inputs; the function has %u", o->node->inputs.len,
                    f->inputs.len);
        return;
    }
    tn_onnx_scope_init(&inner, im, NULL, o->scope->level);
    inner.opsets = &f->opsets;
    inner.more_opsets = &im->model->opsets;
    inner.caller = o;
    inner.function = f;
    for (uint32_t i = 0; i < f->inputs.len; i++) {
        if (tn_o_has(o, (int)i)) {
            tn_onnx_define(&inner, f->inputs.data[i], tn_o_item(o, (int)i));
            continue;
        }
        tn_onnx_item *none = tn_onnx_item_new(&inner, TN_NO_VALUE, f->inputs.data[i]);
        none->kind = TN_ITEM_NONE;
        tn_onnx_define(&inner, f->inputs.data[i], none);
    }
    im->depth++;
    tn_onnx_import_nodes(&inner, f->nodes.data, f->nodes.len);
    im->depth--;
    give_results(o, &inner, f);
}

/* ---- one node -------------------------------------------------------------------------------- */

static void refuse_operator(tn_o *o, const char *domain, bool known) {
    const char *of = domain[0] ? domain : "ai.onnx";
    if (known)
        tn_o_refuse(o, TN_UNSUPPORTED,
                    "operator %s is not supported in version %d of operator set '%s'", o->node->op,
                    o->version, of);
    else
        tn_o_refuse(o, TN_UNSUPPORTED,
                    "operator %s of operator set '%s' is not supported; docs/onnx.md lists what is",
                    o->node->op, of);
}

static bool check_inputs(tn_o *o) {
    for (uint32_t i = 0; i < o->node->inputs.len; i++) {
        const char *name = o->node->inputs.data[i];
        if (!name[0] || tn_onnx_visible(o->scope, name)) continue;
        tn_o_refuse(
            o, TN_INVALID,
            "input '%s' is not computed before it: nodes must be in topological order, without "
            "cycles",
            name);
        return false;
    }
    return true;
}

static void check_outputs(tn_o *o) {
    for (uint32_t i = 0; i < o->node->outputs.len && tn_o_ok(o); i++) {
        uint32_t index;
        const char *name = o->node->outputs.data[i];
        if (!name[0] || tn_map_get_str(&o->scope->names, name, &index)) continue;
        tn_o_refuse(o, TN_UNSUPPORTED, "its output %u ('%s') is not supported", i, name);
    }
}

static void dispatch(tn_o *o) {
    const char *domain = plain_domain(o->node->domain);
    const tn_onnx_function *f = find_function(o->scope, o->node);
    if (f) {
        import_call(o, f);
        return;
    }
    bool known;
    int64_t version = version_of(o->scope, domain);
    o->version = (int)TN_MIN(TN_MAX(version, 0), TN_ONNX_LATEST);
    const tn_onnx_op *op = tn_onnx_op_find(domain, o->node->op, o->version, &known);
    if (!op) {
        refuse_operator(o, domain, known);
        return;
    }
    tn_onnx_check_signature(o, domain);
    if (tn_o_ok(o) && (domain[0] || !tn_onnx_import_known(o))) op->import(o);
}

/* The types of the node's inputs behind the message, unless it has them already. */
static void add_types(tn_o *o) {
    enum { MOST = 8 };
    tn_error *err = o->b->err;
    size_t used = strlen(err->message);
    char whole[TN_ERROR_TEXT];
    tn_str text;
    tn_error_format(err, whole, sizeof whole);
    tn_str_init_with(&text, tn_arena_allocator(o->scratch));
    for (uint32_t i = 0; i < o->node->inputs.len; i++) {
        const tn_onnx_item *item = tn_onnx_lookup(o->scope, o->node->inputs.data[i]);
        if (i) tn_str_append(&text, ", ");
        if (i == MOST) {
            tn_str_append(&text, "…");
            break;
        }
        if (!item || item->kind != TN_ITEM_TENSOR) {
            tn_str_append(&text, item && item->kind == TN_ITEM_SEQUENCE ? "a sequence" : "none");
            continue;
        }
        tn_type type = tn_onnx_item_type(item);
        tn_type_print(o->dims, &type, &text);
    }
    const char *types = tn_str_text(&text);
    if (*types && !strstr(whole, types))
        snprintf(err->message + used, sizeof err->message - used, "; its inputs: %s", types);
}

/* "node 'name' (Op)" in front; the builder's own frames with the name are dropped. */
static void add_frame(tn_o *o) {
    tn_error *err = o->b->err;
    char frame[TN_ERROR_FRAME_TEXT];
    int kept = 0;
    if (!err) return;
    snprintf(frame, sizeof frame, "node '%s'", o->b->name);
    for (int i = 0; i < err->frame_count; i++)
        if (strcmp(err->frames[i], frame))
            memmove(err->frames[kept++], err->frames[i], sizeof err->frames[i]);
    err->frame_count = kept;
    if (!o->scope->im->described) add_types(o);
    o->scope->im->described = true;
    tn_error_push(err, "node '%s' (%s)", o->b->name, o->node->op);
}

static void note_node(tn_onnx_importer *im, const char *name, const char *op) {
    tn_import_node node = {tn_arena_strdup(im->arena, name), tn_arena_strdup(im->arena, op)};
    tn_vec_push(im->arena, &im->result->nodes, node);
}

const char *tn_onnx_node_name(const tn_onnx_node *n) {
    return n->name[0] ? n->name : n->outputs.len ? n->outputs.data[0] : n->op;
}

static void import_node(tn_onnx_scope *s, const tn_onnx_node *n) {
    tn_builder *b = &s->level->builder;
    tn_o o = {.b = b, .scope = s, .node = n, .dims = b->graph->dims, .scratch = s->im->scratch};
    const char *outer = b->name;
    b->name = tn_onnx_node_name(n);
    if (s->im->options->weights) note_node(s->im, b->name, n->op);
    if (s->im->nodes == 0)
        tn_o_refuse(
            &o, TN_UNSUPPORTED,
            "too many nodes, counting those of functions at every call and of unrolled loops at "
            "every turn");
    else
        s->im->nodes--;
    if (tn_o_ok(&o) && check_inputs(&o)) dispatch(&o);
    check_outputs(&o);
    if (!tn_o_ok(&o) && !s->im->needs) {
        b->status = TN_OK; /* so that operands can be looked at */
        tn_status status = b->err ? b->err->status : TN_INVALID;
        add_frame(&o);
        bool of_sizes = status == TN_INVALID || status == TN_UNSUPPORTED;
        if (of_sizes && !s->im->refused && !s->im->again) tn_onnx_ask_after_error(&o);
        b->status = status == TN_OK ? TN_INVALID : status;
    }
    b->name = outer;
}

void tn_onnx_import_nodes(tn_onnx_scope *s, const tn_onnx_node *nodes, uint32_t count) {
    for (uint32_t i = 0; i < count && tn_b_ok(&s->level->builder); i++) import_node(s, &nodes[i]);
}

void tn_onnx_import_initializers(tn_onnx_scope *s, const tn_onnx_graph *g) {
    tn_builder *b = &s->level->builder;
    if (tn_b_ok(b) && g->has_sparse)
        tn_b_fail(b, TN_UNSUPPORTED, "sparse initializers are not supported");
    for (uint32_t i = 0; i < g->initializers.len && tn_b_ok(b); i++) {
        const tn_onnx_tensor *t = g->initializers.data[i];
        tn_onnx_content *content = TN_NEW(s->im->scratch, tn_onnx_content);
        b->status = tn_onnx_tensor_check(t, &s->im->files, content, b->err);
        if (!tn_b_ok(b)) {
            tn_error_push(b->err, "initializer '%s'", t->name);
            return;
        }
        tn_onnx_item *item = tn_onnx_item_new(s, TN_NO_VALUE, t->name);
        item->initializer = content;
        tn_onnx_define(s, t->name, item);
    }
}

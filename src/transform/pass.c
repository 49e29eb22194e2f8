/* Running passes one after the other. See pass.h. */
#include "transform/pass.h"

#include "base/io.h"
#include "transform/cse.h"
#include "transform/dce.h"
#include "transform/fold.h"
#include "transform/integer_products.h"
#include "transform/loops.h"
#include "transform/simplify.h"
#include "transform/sink.h"

tn_transform_options tn_transform_defaults(void) {
#ifdef NDEBUG
    return (tn_transform_options){.verify = false};
#else
    return (tn_transform_options){.verify = true};
#endif
}

static tn_status check(const tn_pass *pass, const tn_graph *g, tn_error *err) {
    tn_str report;
    tn_str_init_with(&report, tn_arena_allocator(g->arena));
    tn_status status = tn_graph_verify(g, &report, err);
    if (status != TN_OK) {
        tn_log_write(TN_LOG_DEBUG, "%s", tn_str_text(&report));
        tn_error_push(err, "pass '%s' made a wrong graph (a bug in Tenon)", pass->name);
    }
    tn_str_deinit(&report);
    return status;
}

tn_status tn_transform_run(const tn_graph *in, const tn_pass *const *passes, size_t count,
                           const tn_transform_options *options, const tn_graph **out,
                           tn_error *err) {
    *out = NULL;
    for (size_t i = 0; i < count; i++) {
        tn_graph *made = tn_graph_new_like(in);
        TN_TRY(err, passes[i]->run(in, made, options, err), "pass '%s'", passes[i]->name);
        if (options->verify) TN_CHECK(check(passes[i], made, err));
        if (options->dump) options->dump(options->context, passes[i]->name, made);
        in = made;
    }
    *out = in;
    return TN_OK;
}

tn_status tn_transform_standard(const tn_graph *in, const tn_transform_options *options,
                                const tn_graph **out, tn_error *err) {
    static const tn_pass *const passes[] = {
        &tn_pass_dce,              /* what no output needs is not worth a look */
        &tn_pass_loops,            /* a scan and its gradient's copy of it, while they are alike */
        &tn_pass_fold,             /* shapes and parameters that importers compute with nodes */
        &tn_pass_simplify,         /* local algebra */
        &tn_pass_sink,             /* layouts: permutes move towards the outputs and cancel */
        &tn_pass_integer_products, /* of numbers as they are stored */
        &tn_pass_simplify,         /* what the layouts made visible */
        &tn_pass_fold,
        &tn_pass_cse,
        &tn_pass_dce,
    };
    return tn_transform_run(in, passes, TN_COUNT(passes), options, out, err);
}

/* ---- parts of passes ------------------------------------------------------------------------ */

typedef struct recursion {
    tn_pass_fn *self;
    const tn_transform_options *options;
} recursion;

static tn_status recurse(void *context, tn_graph *to_sub, const tn_graph *sub, tn_error *err) {
    const recursion *r = context;
    return r->self(sub, to_sub, r->options, err);
}

tn_status tn__pass_copy_node(const tn_graph *in, tn_graph *out, tn_node n, tn_value *map,
                             tn_pass_fn *self, const tn_transform_options *options, tn_error *err) {
    recursion r = {self, options};
    return tn_graph_copy_node_subs(out, in, n, map, recurse, &r, err);
}

void tn__pass_copy_outputs(const tn_graph *in, tn_graph *out, const tn_value *map) {
    for (uint32_t i = 0; i < in->outputs.len; i++) {
        const tn_graph_output *o = &in->outputs.data[i];
        tn_graph_add_output(out, map[o->value], o->name);
        if (o->in_place) tn_graph_output_in_place(out, o->in_place - 1);
    }
}

tn_graph *tn__pass_scratch(const tn_graph *in, const tn_graph *out) {
    return out->parent ? tn_graph_new_sub(out->parent) : tn_graph_new_like(in);
}

void tn__pass_keep_name(const tn_graph *in, tn_value old, tn_graph *out, tn_value v) {
    const char **name = &out->values.data[v].name;
    if (!*name && tn_graph_producer(out, v)->op != TN_OP_input)
        *name = tn_graph_value(in, old)->name;
}

/* Options of recomputation. See train_recompute.h. */
#include "nn/train_recompute.h"

#include <stdio.h>
#include <stdlib.h>

#include "nn/lazy.h"

/* Marks the operations of a list of names between blanks or commas. */
static tn_status read_names(const char *names, bool *keep, tn_error *err) {
    for (;;) {
        char name[64];
        names += strspn(names, " ,");
        int length = (int)strcspn(names, " ,");
        if (length == 0) return TN_OK;
        tn_op op;
        snprintf(name, sizeof name, "%.*s", length, names);
        if (!tn_op_parse(name, &op))
            return tn_error_set(err, TN_INVALID,
                                "recompute.keep: there is no operation '%s'; names are those that "
                                "`tenon ops` prints, such as dot or conv",
                                name);
        keep[op] = true;
        names += length;
    }
}

static tn_status read_selective(const tn_recompute_options *o, tn_recompute *out, tn_error *err) {
    if (o->every < 0 || (o->every > 0) == (o->keep != NULL))
        return tn_error_set(err, TN_INVALID,
                            "selective recomputation needs `every` (blocks, here %d) or `keep` "
                            "(operations), one of the two",
                            o->every);
    out->rule = o->keep ? TN_RECOMPUTE_BY_OPERATION : TN_RECOMPUTE_BY_BLOCK;
    out->every = o->every;
    return o->keep ? read_names(o->keep, out->keep, err) : TN_OK;
}

tn_status tn__recompute_rule(const tn_recompute_options *o, tn_recompute *out, tn_error *err) {
    *out = (tn_recompute){.rule = TN_RECOMPUTE_BY_BLOCK};
    switch (o->mode) {
    case TN_RECOMPUTE_NONE:
    case TN_RECOMPUTE_FULL:
        return TN_OK;
    case TN_RECOMPUTE_SELECTIVE:
        return read_selective(o, out, err);
    case TN_RECOMPUTE_BUDGET:
        if (o->budget < 0)
            return tn_error_set(err, TN_INVALID, "a budget of %lld bytes", (long long)o->budget);
        out->rule = TN_RECOMPUTE_BY_BUDGET;
        out->budget = o->budget;
        return TN_OK;
    }
    return tn_error_set(err, TN_INVALID, "there is no mode of recomputation %d", (int)o->mode);
}

/* ---- trying --------------------------------------------------------------------------------- */

typedef struct attempt {
    const tn_recompute *rule;
    const tn_context *context;
    const tn_graph *graph; /* the loss is its first output */
} attempt;

static tn_status try_rule(void *argument, tn_error *err) {
    const attempt *a = argument;
    tn_recompute how = *a->rule;
    tn_recompute_result unused;
    how.loss = a->graph->outputs.data[0].value;
    how.costs = &a->context->workshop.compiler.costs;
    return tn_recompute_run(a->graph, &how, tn_graph_new_like(a->graph), &unused, err);
}

/* Results: the loss, then the gradients there are. */
static tn_status graph_of(tn_tensor *loss, tn_tensor *const *x, int count, tn_arena *arena,
                          tn_graph **out, tn_error *err) {
    tn_tensor **y = calloc((size_t)count + 1, sizeof *y);
    if (!y) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    int n = 1;
    y[0] = loss;
    tn_grad(loss, NULL, x, count, y + 1);
    for (int i = 1; i <= count; i++)
        if (y[i]) y[n++] = y[i];
    tn_status status = tn__graph_of(y, n, arena, out, err);
    free(y);
    return status;
}

tn_status tn__recompute_check(const tn_recompute *rule, tn_tensor *loss, tn_tensor *const *x,
                              int count, tn_error *err) {
    tn_graph *g;
    tn_arena arena;
    tn_arena_init(&arena, tn_allocator_system());
    tn_status status = graph_of(loss, x, count, &arena, &g, err);
    attempt a = {rule, tn_tensor_context(loss), g};
    if (status == TN_OK) status = tn_guard(try_rule, &a, err);
    tn_arena_deinit(&arena);
    return status;
}

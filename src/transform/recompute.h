/* Recomputation (gradient checkpointing; Chen et al. 2016): which values of a forward pass are kept for the
 * backward pass, and which are computed again there.
 *
 * The graph is a joint one: loss and everything recorded before it are the forward pass, all nodes behind the
 * loss read it. A value of the forward pass that is read behind is kept or recomputed. What is recomputed are
 * copies of its nodes, right before their first reader, made from kept values through barriers that wait for the
 * last product before that reader, so neither CSE nor fusion nor the order of kernels makes them early. Copies
 * do the same arithmetic, random bits included (they are functions of a key and a counter). Ends of blocks are
 * barriers with `block`. */
#ifndef TENON_TRANSFORM_RECOMPUTE_H
#define TENON_TRANSFORM_RECOMPUTE_H

#include "ir/graph.h"
#include "machine/costs.h"

typedef enum tn_recompute_rule {
    TN_RECOMPUTE_BY_BLOCK,     /* only the ends of blocks are kept */
    TN_RECOMPUTE_BY_OPERATION, /* only results of the operations in `keep` are */
    TN_RECOMPUTE_BY_BUDGET, /* the quickest choice that keeps at most `budget` bytes: a minimum cut */
} tn_recompute_rule;

typedef struct tn_recompute {
    tn_recompute_rule rule;
    tn_value loss;
    int every; /* BY_BLOCK: this block of as many is recomputed, the others are kept; 0: all are */
    bool keep[TN_OP_COUNT];
    int64_t budget;
    const tn_costs *costs; /* NULL: of a common machine */
} tn_recompute;

typedef struct tn_recompute_result {
    int64_t
        kept_bytes;  /* of the values made before the loss that are read behind it, inputs aside */
    uint32_t copies; /* nodes that are computed again */
} tn_recompute_result;

/* Fills the empty graph `out`. What follows the last block stays, because the backward pass begins there.
 * Errors: no block where they are asked for; a budget that cannot be kept, with the least that can. */
tn_status tn_recompute_run(const tn_graph *in, const tn_recompute *how, tn_graph *out,
                           tn_recompute_result *result, tn_error *err);

/* ---- between recompute.c and recompute_cut.c ------------------------------------------------- */

/* A value of the forward pass, as far as keeping it goes. */
typedef struct tn__forward {
    bool constant; /* made of constants alone */
    bool
        free; /* in memory anyway: an input, a result of the program, a view of these, a constant */
    bool view;      /* nothing but index arithmetic: never kept by itself */
    bool read;      /* behind the loss */
    bool ancestor;  /* of the loss */
    bool kept;      /* what is decided */
    double bytes;   /* constant sizes; of others the least */
    double seconds; /* to make it again */
    bool expensive; /* a product, a scan, a sort … */
} tn__forward;

/* Sets `kept` where the sum of bytes is at most `budget`, and the time of what is recomputed small. `values`
 * has an element for each of the first `count` values of the graph. */
tn_status tn__recompute_cut(const tn_graph *g, tn__forward *values, tn_node count, int64_t budget,
                            tn_error *err);

#endif

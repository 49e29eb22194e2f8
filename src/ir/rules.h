/* The rules of an operation: everything Tenon knows about it, in one structure.
 *
 * src/ops/<family>.c defines `const tn_op_rules tn_rules_<op>` for each row of ops.def; a missing
 * one fails at link time. A slot is a rule or a refusal with its reason, never both, never neither
 * (a test checks). The engines call through these and hold no per-operation code. */
#ifndef TENON_IR_RULES_H
#define TENON_IR_RULES_H

#include "ir/builder.h"
#include "ir/graph.h"
#include "loop/loop.h"

/* ---- infer ---------------------------------------------------------------------------------- */

typedef struct tn_infer {
    const tn_graph *graph; /* sizes: graph->dims */
    tn_op op;
    uint32_t in_count;
    const tn_type *const *in;
    const void *attrs;
    tn_type *out; /* room for *out_count entries; rules of variable-result ops set the count */
    uint32_t *out_count;
    uint32_t out_max;
} tn_infer;
typedef tn_status tn_infer_fn(tn_infer *i, tn_error *err);

/* ---- eval ----------------------------------------------------------------------------------- */

typedef struct tn_eval_call {
    const tn_graph *graph;
    const tn_node_info *node;
    const int64_t *bindings; /* value of each symbol */
    tn_arena *arena;
    const tn_array *in;
    tn_array *out; /* allocated and typed already */
} tn_eval_call;
typedef tn_status tn_eval_fn(tn_eval_call *e, tn_error *err);

/* ---- cost ----------------------------------------------------------------------------------- */

typedef struct tn_cost {
    double flops, bytes_read, bytes_written;
} tn_cost;
/* For the symbols at `bindings`. */
typedef void tn_cost_fn(const tn_graph *g, const tn_node_info *n, const int64_t *bindings,
                        tn_cost *out);

/* ---- lower ---------------------------------------------------------------------------------- */

/* Building loop IR for one node inside a kernel. The owner (src/codegen) decides what an operand
 * is: an inlined producer, a buffer, a register. */
typedef struct tn_emit tn_emit;
struct tn_emit {
    tn_loop *k;
    const tn_graph *graph;
    tn_lx guard;           /* what must hold for operand elements to be read; NONE: nothing */
    uint32_t vector_bytes; /* NEST only: of the target; 0: unknown */
    tn_lx (*operand)(tn_emit *e, const tn_node_info *n, uint32_t which, const tn_lx *index);
    /* NEST only: writes a result element. */
    void (*store)(tn_emit *e, const tn_node_info *n, uint32_t result, const tn_lx *index,
                  tn_lx value);
    /* NEST only: reads back an element of a result that this task wrote before. */
    tn_lx (*result)(tn_emit *e, const tn_node_info *n, uint32_t result, const tn_lx *index);
    /* The error code to report for this node (index out of range). */
    tn_kernel_error (*error)(tn_emit *e, const tn_node_info *n);
};

/* Reads an operand element only where `guard` holds, else `other` (an expression of its type). */
tn_lx tn_emit_guarded(tn_emit *e, const tn_node_info *n, uint32_t which, const tn_lx *index,
                      tn_lx guard, tn_lx other);
/* A size of the graph as an index expression: a constant, or a kernel parameter. */
static inline tn_lx tn_emit_dim(tn_emit *e, tn_dim d) {
    return tn_l_dim(e->k, d);
}

typedef enum tn_lower_kind {
    TN_LOWER_REFUSED,
    TN_LOWER_SOURCE,      /* input, constant: a buffer */
    TN_LOWER_EXPRESSION,  /* result element at an index from operand elements */
    TN_LOWER_FOLD,        /* a reduction over a fold space */
    TN_LOWER_CONTRACTION, /* a fold that is a sum of products: has index maps besides */
    TN_LOWER_NEST,        /* own loops */
    TN_LOWER_CONTROL,     /* run by the executor */
} tn_lower_kind;

enum { TN_FOLD_REGISTERS = 2 };
typedef struct tn_fold {
    int registers;
    tn_dtype dtype[TN_FOLD_REGISTERS];
    tn_cell init[TN_FOLD_REGISTERS];
    /* One register combined by one commutative scalar operation (sum, max …); else use combine. */
    bool simple;
    tn_scalar_op op;
    tn_dtype
        total; /* simple: the type in which what many steps came to is combined; it holds more digits
                       than dtype[0] where a long chain would lose some */
    int axes;  /* the fold space, outermost first */
    tn_dim extent[TN_MAX_RANK];
} tn_fold;

typedef struct tn_fold_rules {
    void (*describe)(const tn_graph *g, const tn_node_info *n, tn_fold *out);
    /* Folds in the element at result index `index` (rank of the result) and fold index `at`. */
    void (*step)(tn_emit *e, const tn_node_info *n, const tn_lx *index, const tn_lx *at,
                 const tn_lx *acc, tn_lx *next);
    /* Combines two partial results (a before b in fold order). */
    void (*combine)(tn_loop *k, const tn_graph *g, const tn_node_info *n, const tn_lx *a,
                    const tn_lx *b, tn_lx *out);
    tn_lx (*finish)(tn_emit *e, const tn_node_info *n, const tn_lx *index, const tn_lx *acc);
} tn_fold_rules;

/* result[b…, m…, n…] = sum over k… of lhs(b, m, k) * rhs(b, k, n), accumulated in `acc`. Result
 * axes are in the order b, m, n. Operand elements are found by the index maps; *guard is set when
 * the element may lie in padding (then its value is 0), else left NONE. */
typedef struct tn_contraction {
    int b, m, n, k; /* number of axes of each kind */
    tn_dim b_extent[TN_MAX_RANK], m_extent[TN_MAX_RANK], n_extent[TN_MAX_RANK],
        k_extent[TN_MAX_RANK];
    tn_dtype acc;
} tn_contraction;

typedef struct tn_contraction_rules {
    void (*describe)(const tn_graph *g, const tn_node_info *n, tn_contraction *out);
    void (*lhs)(tn_emit *e, const tn_node_info *n, const tn_lx *b, const tn_lx *m, const tn_lx *k,
                tn_lx *index, tn_lx *guard);
    void (*rhs)(tn_emit *e, const tn_node_info *n, const tn_lx *b, const tn_lx *k, const tn_lx *x,
                tn_lx *index, tn_lx *guard);
} tn_contraction_rules;

typedef struct tn_nest_rules {
    /* The number of independent tasks, then the body of one task `task` (0 … tasks-1). */
    tn_lx (*tasks)(tn_emit *e, const tn_node_info *n);
    void (*body)(tn_emit *e, const tn_node_info *n, tn_lx task);
    bool stores_once; /* no element of a result is stored twice */
} tn_nest_rules;

typedef struct tn_lower {
    tn_lower_kind kind;
    const char *refusal;
    tn_lx (*expression)(tn_emit *e, const tn_node_info *n, uint32_t result, const tn_lx *index);
    bool view;                 /* EXPRESSION that only moves elements: costs nothing to recompute */
    const tn_fold_rules *fold; /* FOLD and CONTRACTION */
    const tn_contraction_rules *contraction;
    const tn_nest_rules *nest;
} tn_lower;

/* ---- vjp, batch, shard ---------------------------------------------------------------------- */

/* Adds to `b` the cotangents of the operands. cotangents[i] of result i may be TN_NO_VALUE (zero);
 * grads[i] is left TN_NO_VALUE where no gradient flows. `in`, `out`: the node's values in b->graph.
 */
typedef void tn_vjp_fn(tn_builder *b, const tn_graph *g, const tn_node_info *n, const tn_value *in,
                       const tn_value *out, const tn_value *cotangents, tn_value *grads);

/* How members become one graph. */
typedef struct tn_batching {
    tn_dim size;      /* how many there are */
    bool independent; /* random bits of a key that all members share differ between them */
    /* bool[size] of the builder's graph: members whose results are wanted; TN_NO_VALUE: all. The others
     * (of a loop that is over for them, a branch that they do not take) must end and raise no error. */
    tn_value live;
} tn_batching;

/* Adds the node for all members: operands with batched[i] have them along a new axis 0. So shall
 * results, but those that are the same for all may have the type of one member's. */
typedef void tn_batch_fn(tn_builder *b, const tn_graph *g, const tn_node_info *n,
                         const tn_batching *how, const tn_value *in, const bool *batched,
                         tn_value *out);

/* Placements of a tensor over one mesh axis: split along an axis (>= 0), replicated, or a partial
 * sum that an all-reduce completes. */
enum { TN_PLACE_REPLICATED = -1, TN_PLACE_PARTIAL = -2 };
typedef struct tn_shard {
    const int *in; /* placement per operand */
    int *out;      /* placement per result */
} tn_shard;
/* False when the placements are not legal for this operation without communication. */
typedef bool tn_shard_fn(const tn_graph *g, const tn_node_info *n, tn_shard *s);

typedef struct tn_op_rules {
    tn_infer_fn *infer;
    tn_eval_fn *eval;
    tn_cost_fn *cost;
    tn_lower lower;
    struct {
        tn_vjp_fn *rule;
        const char *refusal;
    } vjp;
    struct {
        tn_batch_fn *rule;
        const char *refusal;
    } batch;
    struct {
        tn_shard_fn *rule;
        const char *refusal;
    } shard;
} tn_op_rules;

#define OP(name, family, lo, hi, outs, fields) extern const tn_op_rules tn_rules_##name;
#include "ir/ops.def"
#undef OP

const tn_op_rules *tn_op_rules_of(tn_op op);

#endif

/* Fusion groups: which operations share a kernel.
 *
 * Every node is a source, inlined (recomputed inside whoever reads it: views and single-use
 * pointwise operations), or a *root* that belongs to exactly one group. A group is one kernel:
 *   CONTRACTION  an anchor (dot, conv), or several over the same space whose results meet; pointwise
 *                roots as the epilogue on the result tile, folds of these over the columns, the rows
 *                or all, and pointwise roots on such folds; a group of rows as its prologue, when that
 *                makes what only left operands of products read;
 *   ATTENTION    two dots and the softmax between them (attention.h), with an epilogue as above;
 *   ATTENTION_GRADIENT   the products of its gradient, with all of the scores' size between them
 *                (attention_gradient.h), some of which the ATTENTION group makes for itself as well;
 *   ROWS         pointwise roots and folds over one space, whose axes are row axes or folded axes:
 *                softmax, norms, reductions, pooling, plain pointwise chains and copies;
 *   NEST         one operation with loops of its own;   CONTROL  if, while, scan: run by the
 * executor. Members of a group read each other only at the index being computed (checked by
 * emitting the index arithmetic), so values between them stay in registers or row scratch; scalars
 * that only one group of ROWS reads are members of it that have no axes. A group's graph has no cycles. Only values read by other groups, or outputs, are stored. */
#ifndef TENON_SCHEDULE_GROUP_H
#define TENON_SCHEDULE_GROUP_H

#include "ir/rules.h"
#include "machine/costs.h"
#include "ops/control.h"
#include "schedule/attention_gradient.h"

typedef enum tn_group_kind {
    TN_GROUP_ROWS,
    TN_GROUP_CONTRACTION,
    TN_GROUP_ATTENTION,
    TN_GROUP_ATTENTION_GRADIENT,
    TN_GROUP_NEST,
    TN_GROUP_CONTROL,
} tn_group_kind;

#define TN_NO_GROUP UINT32_MAX
#define TN_NO_NODE  UINT32_MAX

/* The index space of a group. A member's value has `axis[i]`: the space axis that its axis i runs
 * along, or -1 when its size is 1. */
typedef struct tn_space {
    tn_shape shape;
    bool folded[TN_MAX_RANK];
    bool has_fold;
} tn_space;

/* What a member of a CONTRACTION group runs along. */
typedef enum tn_along {
    TN_ALONG_SPACE,         /* every element */
    TN_ALONG_ROWS,          /* folded over the columns, and what follows from such folds */
    TN_ALONG_COLUMNS,       /* folded over batch and rows */
    TN_ALONG_NOTHING,       /* folded over everything */
    TN_ALONG_BATCH_COLUMNS, /* folded over the rows of each product of a batch */
    TN_ALONG_BATCH,         /* folded over all of each product of a batch */
    TN_ALONG_COUNT
} tn_along;

typedef struct tn_member {
    tn_node node;
    int8_t axis[TN_MAX_RANK];    /* of its (first) result */
    int8_t operand[TN_MAX_RANK]; /* reduce members: of the operand's axes */
    bool element;                /* runs along folded axes too (or the group folds nothing) */
    bool scalar;                 /* one element beside a space of more (scalars.c) */
    tn_along along;              /* CONTRACTION */
    uint32_t level;              /* number of folds it waits for, one after another */
} tn_member;

typedef TN_VEC(uint32_t) tn__group_list;
typedef TN_VEC(tn_value) tn__value_list;
typedef TN_VEC(tn_node) tn__node_list;

/* A product, and its result seen through the views that follow it. */
typedef struct tn_anchor {
    tn_node node;
    tn_value domain_value;
} tn_anchor;

enum { TN_MOST_ANCHORS = 4 };

typedef struct tn_group {
    tn_group_kind kind;
    tn_node anchor; /* CONTRACTION, ATTENTION (its second product), NEST, CONTROL, and ROWS around a
                       window fold; else NO_NODE */
    tn_value domain_value; /* CONTRACTION, ATTENTION, window fold: the anchor's result seen through
                              the views that follow it; its shape is the space */
    TN_VEC(tn_anchor)
    siblings; /* CONTRACTION: more anchors over the same space, seen through the
                                   same views; they run before `anchor` does */
    const tn_attention_parts
        *attention; /* ATTENTION; what is inside it follows the anchor in `members` */
    const tn_attention_gradient
        *gradient; /* ATTENTION_GRADIENT: its products come first in `members`, what
                                              else is its own behind */
    tn_space space;
    uint32_t prologue; /* CONTRACTION: the group whose rows are those of the left operand, which its
                          tasks evaluate; else TN_NO_GROUP */
    bool nested;       /* ROWS: part of products' mainloops, has no kernel of its own */
    bool constant;     /* depends on constants only: runs once, in `prepare` */
    TN_VEC(tn_member) members;
    tn__value_list stores;  /* in the memory of tn_group_storage() of each */
    tn__value_list scalars; /* stored as well, of members that are scalars: by one task */
    tn__group_list deps;    /* groups whose values it reads */
    const char *note;
} tn_group;

/* Anchors of a group that has one, by number: 0 is `anchor`, the others are its siblings. */
static inline uint32_t tn_group_anchors(const tn_group *g) {
    return 1 + g->siblings.len;
}
static inline tn_anchor tn_group_anchor(const tn_group *g, uint32_t number) {
    return number ? g->siblings.data[number - 1] : (tn_anchor){g->anchor, g->domain_value};
}
/* What a group stores, by number: elements of its space, then scalars. */
static inline uint32_t tn_group_results(const tn_group *g) {
    return g->stores.len + g->scalars.len;
}
static inline tn_value tn_group_result(const tn_group *g, uint32_t number) {
    return number < g->stores.len ? g->stores.data[number]
                                  : g->scalars.data[number - g->stores.len];
}
bool tn_group_has_anchor(const tn_group *g, tn_node n);
/* Whether `v` is the domain value of an anchor. */
bool tn_group_is_domain(const tn_group *g, tn_value v);
/* Whether group `id` evaluates `n`, which is none of its members, wherever it reads it. */
bool tn_group_evaluates(const tn_grouping *p, uint32_t id, tn_node n);

/* Who reads a value, looking through views; while groups are formed. */
typedef struct tn__reader {
    uint32_t count; /* effective uses */
    tn_node node;   /* the only one, when count is 1 */
    uint32_t which; /* operand of `node` */
    bool repeated;  /* a broadcast lies between: its elements are read more than once */
    bool product;   /* some reader is a contraction */
    bool weight;    /* the same, looking through constant pointwise work, too */
    bool mainloop;  /* the same, looking through all pointwise work */
} tn__reader;

/* The inputs of a loop's body. */
typedef struct tn_loop_inputs {
    uint32_t invariants; /* from this one on they are the same in all iterations; or
                            TN_NO_INVARIANTS */
    const bool *slices;  /* per input: of a constant, one for each iteration; NULL: none is */
} tn_loop_inputs;

struct tn_grouping {
    const tn_graph *graph;
    tn_arena *arena;
    tn_arena *probes; /* of one probe at a time, while groups are formed */
    bool fuse;
    tn_costs costs;
    double seconds;             /* that moving, element-wise work and launches take, by `costs` */
    double least_seconds;       /* that they take in any grouping */
    const int64_t *typical;     /* per symbol: the size it is taken for */
    uint32_t tried;             /* groupings compared */
    bool all_tried;             /* these were all combinations of the choices there are */
    uint8_t *inlined;           /* per node */
    uint8_t *constant;          /* per node: depends on constants only */
    const tn_loop_inputs *loop; /* NULL: the graph is no body of a loop */
    uint8_t *steady;   /* per node: the same in all iterations, and known before the first: a
                             constant, an invariant, or made of these by what is inlined */
    uint8_t *prepared; /* per node: a constant, one of the slices of a constant that the loop goes
                             through, or a view of one: what is packed of it is in `prepare` */
    const tn__node_list *binders; /* per node: those that bind sizes which it is made of; NULL: no
                                     node of the graph binds any */
    uint32_t *group_of;           /* per node: its group, or TN_NO_GROUP */
    const tn_attention_parts **attention; /* per node: what it is the second product of, or NULL */
    tn_attention_gradient **gradient;     /* per node: whose last product it is, or NULL */
    uint8_t
        *enclosed;   /* per node: inside an attention, or its gradient, that is yet to be placed */
    uint8_t *united; /* per node: brought products that it reads into one group */
    uint8_t *stored; /* per value: lives in memory (besides sources) */
    uint32_t *use_count; /* per value */
    const tn__reader *readers;
    const uint8_t *choices;    /* per node: bits of tn__choice; may be NULL */
    tn__group_list *loaders;   /* per value: groups that load it */
    uint32_t *seen, seen_mark; /* per node: of walks */
    tn__group_list group_seen; /* per group: of walks */
    uint32_t group_mark;
    TN_VEC(tn_group) groups;
    TN_VEC(uint32_t) order; /* execution order */
};

/* What choose.c decides about a node. */
typedef enum tn__choice {
    TN__RECOMPUTED = 1,   /* inlined though it has several readers */
    TN__SECOND_GROUP = 2, /* joins the second group that would take it, not the first */
    TN__APART = 4,        /* products that it reads stay in groups of their own */
} tn__choice;

/* Forms groups greedily under these choices. */
tn_grouping *tn__form_groups(const tn_graph *g, const tn_loop_inputs *loop, bool fuse,
                             const uint8_t *choices, const tn_costs *costs, tn_arena *arena);

/* The values that `n` loads from outside group `id` (TN_NO_GROUP: all), looking through what is inlined. */
tn__value_list tn__loads_of(tn_grouping *p, uint32_t id, tn_node n);
/* Whether a contraction reads each element of its operand for one (row, k) or (k, column) only; the
 * windows of a convolution overlap. */
bool tn__reads_once(const tn_graph *g, const tn_node_info *n, uint32_t which);

/* Forms the groups of one graph (sub-graphs are grouped on their own). Without `fuse` every node is
 * a root in a group of its own. */
tn_grouping *tn_group_graph(const tn_graph *g, bool fuse, const tn_costs *costs, tn_arena *arena);
/* The same for the body of a loop (NULL: of none). */
tn_grouping *tn_group_body(const tn_graph *g, const tn_loop_inputs *loop, bool fuse,
                           const tn_costs *costs, tn_arena *arena);

/* The value whose memory holds `v`: looks through reshapes and barriers, which move nothing. */
tn_value tn_group_storage(const tn_grouping *p, tn_value v);

/* Text for people: one line a group. */
void tn_grouping_print(const tn_grouping *p, tn_str *out);

#endif

/* From which operands carry the members, and where the program runs an operation, to its strategy. See
 * strategy.h. */
#include "wide/strategy.h"

/* ---- which nodes ---------------------------------------------------------------------------- */

int tn__wide_weight(tn_op op) {
    switch (op) {
    case TN_OP_dot:
    case TN_OP_ragged_dot:
    case TN_OP_conv:
        return 3;
    case TN_OP_scan:
    case TN_OP_while:
        return 2;
    case TN_OP_reduce:
    case TN_OP_window_reduce:
    case TN_OP_cumulative:
        return 1;
    default:
        return 0;
    }
}

static bool is_product(tn_op op) {
    return tn__wide_weight(op) == 3;
}

tn_wide_strategy tn__wide_strategy_of(const tn_node_info *n, const bool *carries) {
    if (!carries[n->out]) return TN_WIDE_ONCE;
    if (!is_product(n->op)) return TN_WIDE_ELEMENTS;
    bool left = carries[n->in[0]], right = carries[n->in[1]];
    return left && right ? TN_WIDE_BATCHED : left ? TN_WIDE_ROWS : TN_WIDE_COLUMNS;
}

/* ---- loops over members --------------------------------------------------------------------- */

/* The step that owns a block; NULL: none does. */
static const tn_prog_step *owner_of(const tn_program *p, uint32_t block, uint32_t *in) {
    for (uint32_t b = 0; b < p->blocks.len; b++)
        for (uint32_t i = 0; i < p->blocks.data[b].steps.len; i++) {
            const tn_prog_step *s = &p->blocks.data[b].steps.data[i];
            bool owns = s->kind >= TN_STEP_IF && s->kind <= TN_STEP_SCAN;
            if (!owns || (s->blocks[0] != block && s->blocks[1] != block)) continue;
            *in = b;
            return s;
        }
    return NULL;
}

static bool block_of(const tn_program *p, uint32_t position, uint32_t *block) {
    for (uint32_t b = 0; b < p->blocks.len; b++)
        for (uint32_t i = 0; i < p->blocks.data[b].steps.len; i++)
            if (p->blocks.data[b].steps.data[i].position == position) {
                *block = b;
                return true;
            }
    return false;
}

/* Members of a turn of the scan that the group at `position` is in, below the loops of the model itself; 0:
 * it is in none. */
static int64_t piece_at(const tn_program *p, uint32_t position, int members, int own_loops) {
    uint32_t block;
    const tn_prog_step *outermost = NULL;
    int depth = 0;
    if (!block_of(p, position, &block) || block == 1) return 0;
    for (const tn_prog_step *s; block > 1 && (s = owner_of(p, block, &block)) != NULL; depth++)
        outermost = s;
    if (depth <= own_loops || outermost->kind != TN_STEP_SCAN) return 0;
    int64_t turns = outermost->loop->length;
    bool fits = tn_dim_is_const(turns) && turns > 1 && members % turns == 0;
    return fits ? members / turns : 0;
}

static bool mentions(const char *text, const char *name) {
    size_t len = strlen(name);
    for (const char *at = text; at && (at = strstr(at, name)) != NULL; at += len)
        if (at > text && at[-1] == '(' && at[len] == ')') return true;
    return false;
}

int64_t tn__wide_piece(const tn_program *p, const char *name, int members, int own_loops) {
    for (uint32_t i = 0; i < p->groups.len; i++) {
        const tn_prog_group *g = &p->groups.data[i];
        if (!mentions(g->anchors, name) && !mentions(g->epilogue, name)) continue;
        int64_t piece = piece_at(p, g->step_position, members, own_loops);
        if (piece) return piece;
    }
    return 0;
}

int tn__wide_loops(const tn_graph *g, const char *name) {
    for (tn_node p = 0; p < g->nodes.len; p++) {
        const tn_node_info *n = tn_graph_node(g, p);
        bool loop = n->op == TN_OP_scan || n->op == TN_OP_while;
        if (loop && n->name && strcmp(n->name, name) == 0) return 1;
    }
    return 0;
}

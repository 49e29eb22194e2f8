/* Inside the C renderer.
 *
 * Every open block of the C text has its own string; closing a block appends it to the block
 * around. A pure expression that is used more than once, or that an inner loop would repeat,
 * becomes a named constant of the outermost open block in which all that it depends on can be seen,
 * and where it is safe: a load or a division stays inside the innermost block that may be skipped,
 * everything stays inside an IF. All other expressions are written where they are used.
 *
 * A value that depends on the lane is a vector of `lanes` elements; others are scalars, broadcast
 * where they meet a vector. bool is 0/1 as a scalar and an i32 mask of 0/-1 as a vector. Narrow
 * floats are computed with as f32 and rounded after each operation. */
#ifndef TENON_CODEGEN_RENDER_H
#define TENON_CODEGEN_RENDER_H

#include "codegen/expand.h"
#include "codegen/render_c.h"

enum { SCALAR_LANES = 4 }; /* scalar mathematics is lane 0 of vectors of this length */

typedef struct block {
    tn_str text;
    bool skippable; /* it may not run though the block around does */
    bool is_if;
    TN_VEC(tn_lx) named;   /* expressions whose names end with the block */
    TN_VEC(tn_lx) widened; /* uniform expressions whose broadcast does */
} block;

typedef struct expr_info {
    uint32_t uses;
    uint32_t lanes;   /* 0: the same in all lanes */
    const char *name; /* once it is defined, until its block ends */
    uint32_t name_block;
    const char *wide_name; /* of the broadcast to wide_lanes */
    uint32_t wide_lanes;
    uint32_t place, place_epoch; /* cache of placement(); epoch 0: none */
    bool known;
} expr_info;

typedef enum register_form {
    REGISTER_UNUSED,
    REGISTER_SCALARS, /* name0, name1 … */
    REGISTER_VECTORS, /* name0 …, each of several elements */
    REGISTER_ARRAY,
} register_form;

typedef struct register_info {
    register_form form;
    uint32_t lanes;        /* VECTORS that are all alike; else 0 */
    uint8_t *lanes_at;     /* of the vector that begins at an element; 0: none does */
    bool square;           /* it is transposed: rows are vectors, or it is an array */
    const char *name;      /* ARRAY */
    const char **variable; /* SCALARS, VECTORS: by (first) element */
} register_info;

typedef struct render {
    tn_loop *k; /* expanded */
    const tn_target *target;
    tn_prelude *prelude;
    tn_arena *arena;
    tn_allocator text; /* of block texts */
    tn_error *err;
    tn_status status; /* of the first failure */
    TN_VEC(expr_info) info;
    TN_VEC(block) blocks;   /* open ones, outermost first */
    uint32_t epoch, epochs; /* of the open blocks: changes when one opens or closes; last one */
    uint32_t *var_block;    /* loop variable → open block that defines it */
    uint32_t *let_block;    /* LET → the same */
    const char **var_name, **let_name;
    const char **buffer_name;
    tn_lx *let_value; /* LET → the expression that names it, or NONE */
    register_info *registers;
    tn_map names;     /* C identifiers in use in this function */
    uint32_t counter; /* of names without a meaning */
    uint32_t lanes;   /* of the VECTOR loop being rendered, or 0 */
    tn_lx mask;       /* what lanes must satisfy, inside IFs of it, or NONE */
} render;

/* ---- render_expr.c: placement and names ----------------------------------------------------- */

expr_info *tn__info(render *r, tn_lx e);
uint32_t tn__lanes_of(render *r, tn_lx e);
/* The value as an operand: a name, a literal, a call or text in parentheses. */
const char *tn__value(render *r, tn_lx e);
/* The same as a vector: broadcast when it is uniform. */
const char *tn__vector(render *r, tn_lx e, uint32_t lanes);
const char *tn__value_as(render *r, tn_lx e, uint32_t lanes); /* lanes 0: tn__value */
/* A name, defined if need be. */
const char *tn__named(render *r, tn_lx e);
/* Without the parentheses around the whole. */
const char *tn__bare(render *r, const char *text);
/* A fresh C identifier made of `base`. */
const char *tn__identifier(render *r, const char *base);

void tn__open_block(render *r, bool skippable, bool is_if);
tn_str tn__close_block(render *r); /* its text; the caller drops it */
block *tn__current(render *r);
/* An indented line in the current block. */
void tn__line(render *r, const char *format, ...) TN_PRINTF(2, 3);
const char *tn__text(render *r, const char *format, ...) TN_PRINTF(2, 3);
void tn__indent(render *r, tn_str *out, uint32_t depth);

/* ---- render_op.c: operations ---------------------------------------------------------------- */

/* The C type of a scalar or (lanes > 0) vector value of `dtype` in computation. */
const char *tn__c_type(render *r, tn_dtype dtype, uint32_t lanes);
/* The element type in memory. */
const char *tn__storage_type(tn_dtype dtype);
/* What stands for `dtype` in names of prelude functions that compute: "f32" for f16, "bool". */
const char *tn__compute_name(tn_dtype dtype);
void tn__require(render *r, uint32_t lanes, const char *format, ...) TN_PRINTF(3, 4);
const char *tn__constant(render *r, tn_dtype dtype, tn_cell value);
const char *tn__op(render *r, tn_scalar_op op, tn_dtype dtype, uint32_t lanes, const char *a,
                   const char *b, const char *c);
/* The text of an expression with operands written out; not named, not looked up. */
const char *tn__expression(render *r, tn_lx e);
/* An OP or CAST to a narrow float or any value as what memory holds; `v` of tn__value otherwise. */
const char *tn__storage_value(render *r, tn_lx e, uint32_t lanes);
/* Storage bits → computing value, as loads give them. */
const char *tn__from_storage(render *r, tn_dtype dtype, uint32_t lanes, const char *bits);
const char *tn__select(render *r, tn_dtype dtype, uint32_t lanes, const char *mask, const char *yes,
                       const char *no);

/* ---- render_memory.c ------------------------------------------------------------------------ */

/* An element, or a vector of them, of a buffer; guard and other may be NONE. */
const char *tn__load(render *r, uint32_t buffer, tn_lx index, tn_lx guard, tn_lx other,
                     uint32_t lanes);
void tn__store(render *r, const tn_lstmt *s);
void tn__prefetch(render *r, const tn_lstmt *s);
/* The number of leading lanes for which a condition holds, when it holds for such lanes only. */
tn_lx tn__prefix_count(render *r, tn_lx condition, uint32_t lanes);
/* Whether it is known to hold for the first lane at least. */
bool tn__holds_for_some(render *r, tn_lx condition, uint32_t lanes);
/* index = rest + scale * lane */
bool tn__lane_affine(render *r, tn_lx index, uint32_t lanes, int64_t *scale, tn_lx *rest);

/* Elements first, first + 1, … as memory holds them; with a count, only so many. */
const char *tn__load_vector(render *r, uint32_t buffer, tn_lx first, tn_lx count, uint32_t lanes);

/* ---- render_pieces.c ------------------------------------------------------------------------ */

/* The elements at `index`, as memory holds them, from a few vectors; NULL: a gather does it. With a count,
 * only those of the first so many lanes are read, and the others may become anything. */
const char *tn__load_pieces(render *r, uint32_t buffer, tn_lx index, tn_lx count, uint32_t lanes);

/* ---- render_transpose.c --------------------------------------------------------------------- */

void tn__register_transpose(render *r, const tn_lstmt *s);

/* ---- render_register.c ---------------------------------------------------------------------- */

void tn__choose_registers(render *r);
void tn__declare_registers(render *r);
const char *tn__register_read(render *r, const tn_lstmt *let);
void tn__register_set(render *r, const tn_lstmt *set);
const char *tn__register_fold(render *r, const tn_lstmt *let);

#endif

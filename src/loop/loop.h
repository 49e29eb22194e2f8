/* Loop IR: one kernel as a fixed grid of independent tasks, each a tree of loops.
 *
 * Expressions are pure and hash-consed (equal expressions are the same handle); what depends on the
 * moment (a register, a writable buffer) is read by a LET statement and referred to by its value.
 * Index arithmetic is i64. The constructors fold constants and simplify affine index arithmetic.
 *
 * Loops are SERIAL, UNROLL (constant trip count, the body is repeated) or VECTOR (constant trip
 * count, innermost, no loop inside; iterations are independent lanes). A VECTOR loop's body may
 * hold LET, STORE, SET and IF (a mask). Registers are small arrays private to a task; in VECTOR
 * loops a register element is addressed as constant + lane.
 *
 * The interpreter runs the tree as written; the C renderer gives the same operations in the same
 * order, so results differ only by the error of math functions and of `mad`. */
#ifndef TENON_LOOP_LOOP_H
#define TENON_LOOP_LOOP_H

#include "base/dim.h"
#include "base/scalar.h"

typedef uint32_t tn_lx; /* expression handle; TN_LX_NONE: absent */
#define TN_LX_NONE 0u
typedef uint32_t tn_ls; /* statement handle; TN_LS_NONE: absent */
#define TN_LS_NONE 0u

/* Limits that the verifier holds: nesting of an expression; elements of a register and iterations
 * of an unrolled or vector loop. */
enum { TN_L_MAX_DEPTH = 2000, TN_L_MAX_REGISTER = 4096 };

typedef enum tn_lx_kind {
    TN_LX_INVALID,
    TN_LX_CONST,   /* value */
    TN_LX_VAR,     /* loop variable `index` (task variable is 0) */
    TN_LX_SCALAR,  /* kernel parameter `index`, i64 */
    TN_LX_OP,      /* op(a, b, c) on operands of type dtype_of(a); flags give bool. `index` 1: a div
                      or rem of index numbers (a >= 0, b > 0), plain / and % */
    TN_LX_SELECT,  /* a ? b : c */
    TN_LX_CAST,    /* a converted to dtype; `index` 1: saturating */
    TN_LX_BITCAST, /* a's bits as dtype */
    TN_LX_LOAD,    /* read-only buffer `index` at element a; with b: only if b holds, else c */
    TN_LX_LET,     /* the value of LET statement `index` */
} tn_lx_kind;

typedef struct tn_lexpr {
    tn_lx_kind kind;
    tn_dtype dtype;
    tn_scalar_op op;
    uint32_t index;
    tn_lx a, b, c;
    tn_cell value;
} tn_lexpr;

/* What the builder knows of an expression, beside it in `facts`. */
typedef struct tn_lfacts {
    int64_t lo, hi; /* of i64 ones; INT64_MIN, INT64_MAX: unbounded */
    uint64_t vars;  /* variables it depends on: bit v, 62 for all v >= 62, 63 for lanes */
    uint32_t inner; /* 1 + the greatest variable it depends on; 0: none */
    uint32_t depth; /* of the tree */
} tn_lfacts;

typedef enum tn_ls_kind {
    TN_LS_INVALID,
    TN_LS_FOR,       /* var in [a, b): `loop` kind; body */
    TN_LS_IF,        /* a: condition; body, other */
    TN_LS_LET,       /* an effect-dependent read; see `let` */
    TN_LS_STORE,     /* buffer `target`[a] = b */
    TN_LS_SET,       /* register `target`[a] = b */
    TN_LS_ERROR,     /* report error `target` (a tn_kernel_error) once; the task goes on */
    TN_LS_TRANSPOSE, /* register `target` of n*n elements, n a power of two: r[i*n+j] and r[j*n+i]
                        change places */
    TN_LS_PREFETCH, /* the cache line of buffer `target`[a], which may lie outside it, is read soon: no
                        effect on meaning */
} tn_ls_kind;

typedef enum tn_loop_kind { TN_LOOP_SERIAL, TN_LOOP_UNROLL, TN_LOOP_VECTOR } tn_loop_kind;

typedef enum tn_let_kind {
    TN_LET_VALUE,    /* a: names an expression (no effect on meaning; forces evaluation here) */
    TN_LET_LOAD,     /* writable or scratch buffer `target` at a; with b: only if b, else c */
    TN_LET_REGISTER, /* register `target` at a */
    TN_LET_FOLD,     /* all elements of register `target` combined by `op` in a halving tree: for
                        h = n/2, n/4 … 1: r[i] = op(r[i], r[i+h]); n is a power of two */
    TN_LET_TICKET,   /* increments counter a of the kernel atomically; the value before, i64 */
} tn_let_kind;

typedef struct tn_lstmt {
    tn_ls_kind kind;
    tn_loop_kind loop;
    tn_let_kind let;
    tn_scalar_op op;
    tn_dtype dtype;  /* LET: type of the value */
    uint32_t target; /* buffer, register or error */
    uint32_t var;    /* FOR */
    tn_lx a, b, c;
    tn_ls body, other; /* first statement of the block */
    tn_ls next;        /* next statement in the same block */
} tn_lstmt;

typedef enum tn_lbuffer_kind {
    TN_LBUF_INPUT, /* read only during the kernel; aliased by an output only where both are `shared` */
    TN_LBUF_OUTPUT,  /* written; may be read back by its writer (LET_LOAD) */
    TN_LBUF_SCRATCH, /* private to a task while it runs; undefined at its start */
    TN_LBUF_WORK, /* shared by all tasks of one launch (numbered slots); undefined at the start */
} tn_lbuffer_kind;

typedef struct tn_lbuffer {
    tn_lbuffer_kind kind;
    tn_dtype dtype;
    const char *name; /* for people; not part of the kernel's identity */
    tn_lx size;       /* SCRATCH, WORK: elements, an expression over scalars */
    uint32_t binding; /* free for the kernel's maker: which value is bound here */
    bool
        stream; /* OUTPUT that is larger than the caches and is not read back: whole vectors are stored
                    past them where the machine can. No effect on meaning */
    bool
        shared; /* INPUT and OUTPUT: the same memory as another such buffer; no element is read after it was
                    stored, whatever the order of tasks and lanes */
} tn_lbuffer;

typedef struct tn_lscalar {
    tn_dim dim; /* the size it stands for, in `dims`; evaluated when a program is bound */
    int64_t lo, hi;
} tn_lscalar;

typedef struct tn_lregister {
    tn_dtype dtype;
    uint32_t count;
    const char *name;
} tn_lregister;

typedef struct tn_lvar {
    const char *name;
    tn_lx lo, hi; /* NONE for the task variable: [0, tasks) */
    bool lane;    /* the lane of a vector, in kernels that the renderer has expanded */
} tn_lvar;

typedef struct tn_loop {
    tn_arena *arena;
    tn_dims *dims;    /* of the graph that the scalars' sizes belong to; may be NULL */
    const char *name; /* a C identifier */
    const char *note; /* operations and schedule, for the comment above the generated text */
    TN_VEC(tn_lexpr) exprs;
    TN_VEC(tn_lfacts) facts; /* one per expression */
    TN_VEC(tn_lstmt) stmts;
    TN_VEC(tn_lbuffer) buffers; /* parameters and local ones, in order of creation */
    TN_VEC(tn_lscalar) scalars;
    TN_VEC(tn_lregister) registers;
    TN_VEC(tn_lvar) vars;
    tn_lx tasks;       /* size of the grid, over scalars; set before the body is built it bounds
                          the task variable */
    uint32_t counters; /* number of TICKET counters, zero at the start of a launch */
    tn_ls body;        /* first statement */
    tn_map expr_ids;
    /* builder state: the open blocks */
    TN_VEC(tn_ls) open;
    tn_ls last; /* last statement of the innermost open block, or NONE */
    bool in_else;
} tn_loop;

/* ---- construction --------------------------------------------------------------------------- */

void tn_loop_init(tn_loop *k, tn_arena *arena, tn_dims *dims, const char *name);

uint32_t tn_l_buffer(tn_loop *k, tn_lbuffer_kind kind, tn_dtype dtype, const char *name);
uint32_t tn_l_scratch(tn_loop *k, tn_dtype dtype, tn_lx size, const char *name);
uint32_t tn_l_register(tn_loop *k, tn_dtype dtype, uint32_t count, const char *name);

tn_lx tn_l_const(tn_loop *k, tn_dtype dtype, tn_cell value);
tn_lx tn_l_int(tn_loop *k, int64_t value); /* i64 */
tn_lx tn_l_number(tn_loop *k, tn_dtype dtype, double value);
/* A size: a constant when it is one, else a scalar parameter. */
tn_lx tn_l_dim(tn_loop *k, tn_dim d);
/* A size as a parameter even when it is constant, so that kernels of many sizes are one. */
tn_lx tn_l_open_dim(tn_loop *k, tn_dim d);
tn_lx tn_l_task(tn_loop *k);

/* Scalar operations; operands of one dtype (not checked beyond an assertion). */
tn_lx tn_l_op1(tn_loop *k, tn_scalar_op op, tn_lx a);
tn_lx tn_l_op2(tn_loop *k, tn_scalar_op op, tn_lx a, tn_lx b);
tn_lx tn_l_op3(tn_loop *k, tn_scalar_op op, tn_lx a, tn_lx b, tn_lx c);
tn_lx tn_l_select(tn_loop *k, tn_lx flag, tn_lx a, tn_lx b);
tn_lx tn_l_cast(tn_loop *k, tn_lx a, tn_dtype to, bool saturate);
tn_lx tn_l_bitcast(tn_loop *k, tn_lx a, tn_dtype to);

/* i64 index arithmetic, simplified; div and mod are of non-negative numbers. */
tn_lx tn_l_add(tn_loop *k, tn_lx a, tn_lx b);
tn_lx tn_l_sub(tn_loop *k, tn_lx a, tn_lx b);
tn_lx tn_l_mul(tn_loop *k, tn_lx a, tn_lx b);
tn_lx tn_l_div(tn_loop *k, tn_lx a, tn_lx b);
tn_lx tn_l_mod(tn_loop *k, tn_lx a, tn_lx b);
tn_lx tn_l_min(tn_loop *k, tn_lx a, tn_lx b);
tn_lx tn_l_max(tn_loop *k, tn_lx a, tn_lx b);
tn_lx tn_l_lt(tn_loop *k, tn_lx a, tn_lx b); /* bool; folded when bounds decide */
tn_lx tn_l_le(tn_loop *k, tn_lx a, tn_lx b);
/* Logical and; TN_LX_NONE counts as true. */
tn_lx tn_l_and(tn_loop *k, tn_lx a, tn_lx b);
/* Bounds of an i64 expression (conservative). */
void tn_l_bounds(const tn_loop *k, tn_lx e, int64_t *lo, int64_t *hi);
bool tn_l_is_const_int(const tn_loop *k, tn_lx e, int64_t *value);
/* e = coefficient * var + rest, with a rest that does not depend on var; false when it is not so.
 * *coefficient is an expression without var. */
bool tn_l_affine(tn_loop *k, tn_lx e, uint32_t var, tn_lx *coefficient, tn_lx *rest);
bool tn_l_uses_var(const tn_loop *k, tn_lx e, uint32_t var);

/* Element `offset` of a buffer. A read-only buffer gives a pure expression, others a LET at the
 * current place. With `guard` (may be NONE) the element is read only if it holds, else the value is
 * `other` (NONE: zero). */
tn_lx tn_l_load(tn_loop *k, uint32_t buffer, tn_lx offset, tn_lx guard, tn_lx other);
tn_lx tn_l_get(tn_loop *k, uint32_t reg, tn_lx index);
tn_lx tn_l_let(tn_loop *k, tn_lx value);
tn_lx tn_l_fold(tn_loop *k, tn_scalar_op op, uint32_t reg);
tn_lx tn_l_ticket(tn_loop *k, tn_lx counter);
void tn_l_store(tn_loop *k, uint32_t buffer, tn_lx offset, tn_lx value);
void tn_l_set(tn_loop *k, uint32_t reg, tn_lx index, tn_lx value);
void tn_l_error(tn_loop *k, uint32_t error);
void tn_l_transpose(tn_loop *k, uint32_t reg);
void tn_l_prefetch(tn_loop *k, uint32_t buffer, tn_lx offset);
/* The n of a register that can be transposed, else 0. */
uint32_t tn_l_square(const tn_loop *k, uint32_t reg);

/* Opens a loop over [lo, hi) and returns its variable; tn_l_end closes the innermost block. */
tn_lx tn_l_for(tn_loop *k, tn_loop_kind kind, tn_lx lo, tn_lx hi, const char *name);
void tn_l_if(tn_loop *k, tn_lx condition);
void tn_l_else(tn_loop *k);
void tn_l_end(tn_loop *k);

/* Parameter `index`; the lane variable `var` and a VECTOR loop over it. For builders of kernels
 * from kernels. */
tn_lx tn_l_scalar(tn_loop *k, uint32_t index);
tn_lx tn_l_lane(tn_loop *k, uint32_t var);
void tn_l_vector(tn_loop *k, uint32_t var);

static inline const tn_lexpr *tn_l_expr(const tn_loop *k, tn_lx e) {
    return &k->exprs.data[e];
}
static inline tn_dtype tn_l_type(const tn_loop *k, tn_lx e) {
    return k->exprs.data[e].dtype;
}

/* Names the values that are stored in results by LETs, and stores them as late in their blocks as what is
 * done between does not read results: so what several stores load is loaded before the first of them. */
void tn_loop_name_stores(tn_loop *k);

/* ---- checking, text, identity, execution ---------------------------------------------------- */

tn_status tn_loop_verify(const tn_loop *k, tn_error *err);
/* `canonical`: without names and notes; equal texts mean interchangeable kernels. The text starts
 * with the parameter list. */
void tn_loop_print(const tn_loop *k, bool canonical, tn_str *out);

/* Plain-data form, part of program files; reading validates everything (it may be hostile). */
void tn_loop_write(const tn_loop *k, tn_str *out);
tn_status tn_loop_read(tn_loop *k, tn_arena *arena, const void *data, size_t size, tn_error *err);

typedef struct tn_loop_args {
    void *const *buffers;          /* one per INPUT, OUTPUT and WORK buffer, in order of creation */
    const size_t *buffer_elements; /* their sizes, for bounds checks; NULL: unchecked */
    const int64_t *scalars;
    void *scratch;  /* tn_loop_scratch_bytes() bytes, 64-byte aligned */
    int32_t *error; /* error slot: 0, or the first error that was reported */
    int32_t *counters;
} tn_loop_args;

/* Bytes of all SCRATCH buffers of one task (each 64-byte aligned, in order of creation). */
size_t tn_loop_scratch_bytes(const tn_loop *k, const int64_t *scalars);
size_t tn_loop_scratch_offset(const tn_loop *k, uint32_t buffer, const int64_t *scalars);
int64_t tn_loop_task_count(const tn_loop *k, const int64_t *scalars);
/* Elements of a WORK buffer. */
int64_t tn_loop_buffer_elements(const tn_loop *k, uint32_t buffer, const int64_t *scalars);
/* Runs tasks [begin, end). An access out of bounds is a tn_status error naming the statement, and so
 * are two of these tasks that store the same element of a result. */
tn_status tn_loop_interpret(const tn_loop *k, const tn_loop_args *args, int64_t begin, int64_t end,
                            tn_error *err);

/* The ABI of generated kernels. scratch is 64-byte aligned. */
typedef struct tn_kernel_context {
    void *scratch;
    int32_t *error;
    int32_t *counters;
} tn_kernel_context;
typedef void tn_kernel_fn(void *const *buffers, const int64_t *scalars,
                          const tn_kernel_context *context, int64_t task_begin, int64_t task_end);

/* What a kernel can report: error code = 1 + index of the reporting node within the program. */
typedef uint32_t tn_kernel_error;

#endif

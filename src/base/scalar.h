/* One element of any type, and the reference meaning of every scalar operation.
 *
 * `eval` of element-wise graph operations and the loop-IR interpreter both run on this; generated
 * kernels are compared with it. */
#ifndef TENON_BASE_SCALAR_H
#define TENON_BASE_SCALAR_H

#include "base/base.h"

typedef enum tn_scalar_op {
#define SCALAR(name, arity, domain, result) TN_S_##name,
#include "base/scalar.def"
#undef SCALAR
    TN_SCALAR_COUNT
} tn_scalar_op;

const char *tn_scalar_name(tn_scalar_op op);
int tn_scalar_arity(tn_scalar_op op);
bool tn_scalar_gives_flag(tn_scalar_op op); /* the result is bool */
bool tn_scalar_accepts(tn_scalar_op op, tn_dtype dtype);
/* The operand kinds in words, such as "a float type". */
const char *tn_scalar_domain(tn_scalar_op op);
bool tn_scalar_parse(const char *name, tn_scalar_op *out);

/* Floats of every type are held in f (exactly); integers extended in i or u; bool in u as 0 or 1. */
typedef union tn_cell {
    double f;
    int64_t i;
    uint64_t u;
} tn_cell;

tn_cell tn_cell_load(tn_dtype dtype, const void *ptr);
/* Rounds floats to nearest even, wraps integers. */
void tn_cell_store(tn_dtype dtype, void *ptr, tn_cell cell);
/* The value after a store and a load: rounded or wrapped to the type. */
tn_cell tn_cell_round(tn_dtype dtype, tn_cell cell);
/* float→int truncates, saturates, NaN gives 0; int→int wraps; to bool is x != 0; to a narrower float
 * rounds to nearest even, overflow gives infinity (fp8 without infinity: NaN). */
tn_cell tn_cell_cast(tn_dtype from, tn_dtype to, tn_cell cell);
/* The same, but an overflowing fp8 or f4 result is the largest finite value (ONNX `saturate`). */
tn_cell tn_cell_cast_saturate(tn_dtype from, tn_dtype to, tn_cell cell);
/* From a plain number; integers are exact up to 2^53. */
tn_cell tn_cell_of(tn_dtype dtype, double value);
tn_cell tn_cell_of_int(tn_dtype dtype, int64_t value);
/* The least and greatest values (infinities for floats that have them). */
tn_cell tn_cell_lowest(tn_dtype dtype);
tn_cell tn_cell_highest(tn_dtype dtype);

/* Operands are of type `dtype`, the result of `dtype` or bool; b and c are ignored below arity. */
tn_cell tn_scalar_apply(tn_scalar_op op, tn_dtype dtype, tn_cell a, tn_cell b, tn_cell c);

#endif

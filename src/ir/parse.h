/* Internal to src/ir: the parts of the parser. */
#ifndef TENON_IR_PARSE_H
#define TENON_IR_PARSE_H

#include "ir/graph.h"
#include "ir/lex.h"

/* A size over declared symbols; its value may be negative. */
tn_status tn__parse_dim(tn_lex *x, tn_dims *t, tn_dim *out);
/* "(N in [1,64] div 8, S)" after the word `graph`; nothing when there is no parenthesis. */
tn_status tn__parse_symbols(tn_lex *x, tn_dims *t);
tn_status tn__parse_dtype(tn_lex *x, tn_dtype *out);
/* "[2,N]" */
tn_status tn__parse_dims(tn_lex *x, tn_dims *t, int *count, tn_dim at[TN_MAX_RANK]);
tn_status tn__parse_type(tn_lex *x, tn_dims *t, tn_type *out);

/* Moves past the value of a `data` field without reading it: its type comes later. */
tn_status tn__skip_data(tn_lex *x);
tn_status tn__parse_data(tn_lex *x, tn_dtype dtype, const tn_shape *shape, tn_data *out);

#endif

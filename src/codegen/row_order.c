/* Walking over rows in the order of an operand. See row_order.h. */
#include "codegen/row_order.h"

static bool step_of(tn_loop *k, tn_lx offset, tn_lx var, int64_t *step) {
    tn_lx coefficient, rest;
    const tn_lexpr *v = tn_l_expr(k, var);
    return v->kind == TN_LX_VAR && tn_l_affine(k, offset, v->index, &coefficient, &rest) &&
           tn_l_is_const_int(k, coefficient, step);
}

void tn_row_order(tn_loop *k, tn_lx offset, const tn_lx *var, int *axis, int count) {
    int64_t step[TN_MAX_RANK];
    for (int i = 0; i < count; i++)
        if (!step_of(k, offset, var[axis[i]], &step[i])) return;
    for (int i = 1; i < count; i++) /* by insertion: equal steps keep their order */
        for (int j = i; j > 0 && step[j - 1] < step[j]; j--) {
            int64_t farther = step[j];
            int moved = axis[j];
            step[j] = step[j - 1];
            axis[j] = axis[j - 1];
            step[j - 1] = farther;
            axis[j - 1] = moved;
        }
}

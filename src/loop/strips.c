/* Ranges in vectors. See strips.h. */
#include "loop/strips.h"

void tn_strips(tn_loop *k, uint32_t lanes, uint32_t unroll, tn_lx lo, tn_lx hi, tn_strip_work *work,
               void *context) {
    int64_t known;
    for (uint32_t width = lanes * unroll; width; width = width > lanes ? lanes : 0) {
        tn_lx total = tn_l_sub(k, hi, lo), steps = tn_l_div(k, total, tn_l_int(k, width));
        if (tn_l_is_const_int(k, total, &known) && known < width) continue;
        tn_lx i = tn_l_for(k, TN_LOOP_SERIAL, tn_l_int(k, 0), steps, "strip");
        work(context, tn_l_add(k, lo, tn_l_mul(k, i, tn_l_int(k, width))), width, TN_LX_NONE);
        tn_l_end(k);
        lo = tn_l_add(k, lo, tn_l_mul(k, steps, tn_l_int(k, width)));
    }
    if (tn_l_is_const_int(k, tn_l_sub(k, hi, lo), &known) && known == 0) return;
    tn_l_if(k, tn_l_lt(k, lo, hi));
    work(context, lo, lanes, hi);
    tn_l_end(k);
}

tn_lx tn_strip_open(tn_loop *k, tn_lx base, uint32_t width, tn_lx limit, tn_lx *lane) {
    *lane = tn_l_for(k, TN_LOOP_VECTOR, tn_l_int(k, 0), tn_l_int(k, width), "l");
    tn_lx x = tn_l_add(k, base, *lane);
    if (limit != TN_LX_NONE) tn_l_if(k, tn_l_lt(k, x, limit));
    return x;
}

void tn_strip_close(tn_loop *k, tn_lx limit) {
    if (limit != TN_LX_NONE) tn_l_end(k);
    tn_l_end(k);
}

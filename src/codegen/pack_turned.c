/* Packing by square tiles. See pack_turned.h. */
#include "codegen/pack_turned.h"

static tn_lx place_of(const tn_turned_pack *p, tn_lx x, tn_lx j) {
    tn_loop *k = p->k;
    return tn_l_add(k, p->base, tn_l_add(k, tn_l_mul(k, x, tn_l_int(k, p->nr)), j));
}

/* Rows [x, x + lanes), columns [j, j + lanes). */
static void pack_tile(const tn_turned_pack *p, uint32_t tile, tn_lx x, tn_lx j) {
    tn_loop *k = p->k;
    tn_lx zero = tn_l_int(k, 0), n = tn_l_int(k, p->lanes);
    tn_lx i = tn_l_for(k, TN_LOOP_UNROLL, zero, n, "i");
    tn_lx lane = tn_l_for(k, TN_LOOP_VECTOR, zero, n, "l");
    tn_lx value = p->element(p->context, tn_l_add(k, x, lane), tn_l_add(k, j, i));
    tn_l_set(k, tile, tn_l_add(k, tn_l_mul(k, i, n), lane), value);
    tn_l_end(k);
    tn_l_end(k);
    tn_l_transpose(k, tile);
    i = tn_l_for(k, TN_LOOP_UNROLL, zero, n, "i");
    lane = tn_l_for(k, TN_LOOP_VECTOR, zero, n, "l");
    tn_l_store(k, p->to, place_of(p, tn_l_add(k, x, i), tn_l_add(k, j, lane)),
               tn_l_get(k, tile, tn_l_add(k, tn_l_mul(k, i, n), lane)));
    tn_l_end(k);
    tn_l_end(k);
}

void tn_pack_turned(const tn_turned_pack *p) {
    tn_loop *k = p->k;
    uint32_t tile = tn_l_register(k, p->dtype, p->lanes * p->lanes, "tile");
    tn_lx zero = tn_l_int(k, 0), n = tn_l_int(k, p->lanes), whole = tn_l_div(k, p->count, n);
    tn_lx block = tn_l_for(k, TN_LOOP_SERIAL, zero, whole, "block");
    tn_lx part = tn_l_for(k, TN_LOOP_SERIAL, zero, tn_l_int(k, p->nr / p->lanes), "part");
    pack_tile(p, tile, tn_l_mul(k, block, n), tn_l_mul(k, part, n));
    tn_l_end(k);
    tn_l_end(k);
    int64_t rest;
    if (tn_l_is_const_int(k, tn_l_mod(k, p->count, n), &rest) && rest == 0) return;
    tn_lx x = tn_l_for(k, TN_LOOP_SERIAL, tn_l_mul(k, whole, n), p->count, "k");
    tn_lx j = tn_l_for(k, TN_LOOP_VECTOR, zero, tn_l_int(k, p->nr), "j");
    tn_l_store(k, p->to, place_of(p, x, j), p->element(p->context, x, j));
    tn_l_end(k);
    tn_l_end(k);
}

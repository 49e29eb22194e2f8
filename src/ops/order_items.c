/* Sorting the items of one row: by ranks where they are few, else by radix. See order.h.
 *
 * By ranks: an item's place is the number of those before it; all pairs are compared, in vectors. By
 * radix: four stable passes over digits of 8 bits, the lowest first (Knuth, The Art of Computer
 * Programming 3, 5.2.5); the buckets of all passes are counted at once, and a digit that is the same in
 * all items is passed over. */
#include "ops/order.h"

enum { LANES = 16, MOST_RANKED = 128, DIGIT_BITS = 8, BUCKETS = 1 << DIGIT_BITS, DIGITS = 4 };

static tn_lx word(tn_loop *k, uint64_t value) {
    return tn_l_const(k, TN_u64, (tn_cell){.u = value});
}

tn_lx tn__item(tn_loop *k, tn_lx key, tn_lx position) {
    tn_lx high = tn_l_op2(k, TN_S_shl, tn_l_cast(k, key, TN_u64, false), word(k, 32));
    return tn_l_op2(k, TN_S_or, high, tn_l_cast(k, position, TN_u64, false));
}

tn_lx tn__item_key(tn_loop *k, tn_lx item) {
    return tn_l_cast(k, tn_l_op2(k, TN_S_shr, item, word(k, 32)), TN_u32, false);
}

tn_lx tn__item_position(tn_loop *k, tn_lx item) {
    return tn_l_cast(k, tn_l_op2(k, TN_S_and, item, word(k, UINT32_MAX)), TN_i64, false);
}

tn__items tn__items_new(tn_loop *k, tn_lx room, int64_t most, bool stable) {
    tn__items s = {.k = k, .room = room, .ranked = !stable && most <= MOST_RANKED};
    s.buffer = tn_l_scratch(k, TN_u64, tn_l_add(k, room, room), "items");
    s.from = tn_l_register(k, TN_i64, 1, "from");
    if (!s.ranked) s.buckets = tn_l_scratch(k, TN_i64, tn_l_int(k, DIGITS * BUCKETS), "buckets");
    tn_l_set(k, s.from, tn_l_int(k, 0), tn_l_int(k, 0));
    return s;
}

static tn_lx half(const tn__items *s) {
    return tn_l_get(s->k, s->from, tn_l_int(s->k, 0));
}

static tn_lx item_at(const tn__items *s, tn_lx half, tn_lx at) {
    return tn_l_load(s->k, s->buffer, tn_l_add(s->k, half, at), TN_LX_NONE, TN_LX_NONE);
}

tn_lx tn__items_get(const tn__items *s, tn_lx at) {
    return item_at(s, half(s), at);
}

void tn__items_set(const tn__items *s, tn_lx at, tn_lx item) {
    tn_l_store(s->k, s->buffer, tn_l_add(s->k, half(s), at), item);
}

/* ---- by ranks ------------------------------------------------------------------------------- */

/* Opens lanes over items [base, base + LANES) that are below count. */
static tn_lx open_lanes(tn_loop *k, tn_lx base, tn_lx count, tn_lx *lane) {
    *lane = tn_l_for(k, TN_LOOP_VECTOR, tn_l_int(k, 0), tn_l_int(k, LANES), "l");
    tn_lx at = tn_l_add(k, base, *lane);
    tn_l_if(k, tn_l_lt(k, at, count));
    return at;
}

static void close_lanes(tn_loop *k) {
    tn_l_end(k);
    tn_l_end(k);
}

static void sort_by_ranks(const tn__items *s, tn_lx count) {
    tn_loop *k = s->k;
    tn_lx zero = tn_l_int(k, 0), lane, from = half(s), to = tn_l_let(k, tn_l_sub(k, s->room, from));
    uint32_t mine = tn_l_register(k, TN_u64, LANES, "mine");
    uint32_t rank = tn_l_register(k, TN_i64, LANES, "rank");
    tn_lx strips = tn_l_div(k, tn_l_add(k, count, tn_l_int(k, LANES - 1)), tn_l_int(k, LANES));
    tn_lx strip = tn_l_for(k, TN_LOOP_SERIAL, zero, strips, "strip");
    tn_lx base = tn_l_mul(k, strip, tn_l_int(k, LANES)), at = open_lanes(k, base, count, &lane);
    tn_l_set(k, mine, lane, item_at(s, from, at));
    tn_l_set(k, rank, lane, to);
    close_lanes(k);
    tn_lx other = tn_l_for(k, TN_LOOP_SERIAL, zero, count, "other"), item = item_at(s, from, other);
    lane = tn_l_for(k, TN_LOOP_VECTOR, zero, tn_l_int(k, LANES), "l");
    tn_lx before = tn_l_op2(k, TN_S_lt, item, tn_l_get(k, mine, lane));
    tn_l_set(k, rank, lane,
             tn_l_add(k, tn_l_get(k, rank, lane), tn_l_cast(k, before, TN_i64, false)));
    tn_l_end(k);
    tn_l_end(k);
    open_lanes(k, base, count, &lane);
    tn_l_store(k, s->buffer, tn_l_get(k, rank, lane), tn_l_get(k, mine, lane));
    close_lanes(k);
    tn_l_end(k);
    tn_l_set(k, s->from, zero, to);
}

/* ---- by radix ------------------------------------------------------------------------------- */

/* The bucket of an item in the pass over digit `digit`, 0 … 3. */
static tn_lx bucket_of(tn_loop *k, tn_lx item, tn_lx digit) {
    tn_lx shift = tn_l_add(k, tn_l_mul(k, digit, tn_l_int(k, DIGIT_BITS)), tn_l_int(k, 32));
    tn_lx value = tn_l_op2(k, TN_S_shr, item, tn_l_cast(k, shift, TN_u64, false));
    value = tn_l_cast(k, tn_l_op2(k, TN_S_and, value, word(k, BUCKETS - 1)), TN_i64, false);
    return tn_l_add(k, value, tn_l_mul(k, digit, tn_l_int(k, BUCKETS)));
}

static tn_lx bucket_get(const tn__items *s, tn_lx bucket) {
    return tn_l_load(s->k, s->buckets, bucket, TN_LX_NONE, TN_LX_NONE);
}

static void count_buckets(const tn__items *s, tn_lx count) {
    tn_loop *k = s->k;
    tn_lx zero = tn_l_int(k, 0), vectors = tn_l_int(k, DIGITS * BUCKETS / LANES);
    tn_lx base = tn_l_mul(k, tn_l_for(k, TN_LOOP_SERIAL, zero, vectors, "v"), tn_l_int(k, LANES));
    tn_lx lane = tn_l_for(k, TN_LOOP_VECTOR, zero, tn_l_int(k, LANES), "l");
    tn_l_store(k, s->buckets, tn_l_add(k, base, lane), zero);
    tn_l_end(k);
    tn_l_end(k);
    tn_lx from = half(s), at = tn_l_for(k, TN_LOOP_SERIAL, zero, count, "i");
    tn_lx item = item_at(s, from, at);
    for (int d = 0; d < DIGITS; d++) {
        tn_lx bucket = bucket_of(k, item, tn_l_int(k, d));
        tn_l_store(k, s->buckets, bucket, tn_l_add(k, bucket_get(s, bucket), tn_l_int(k, 1)));
    }
    tn_l_end(k);
}

/* Moves the items to the other half, where the buckets of `digit` follow each other from `to` on. */
static void distribute(const tn__items *s, tn_lx count, tn_lx digit, tn_lx from, tn_lx to) {
    tn_loop *k = s->k;
    tn_lx zero = tn_l_int(k, 0);
    uint32_t running = tn_l_register(k, TN_i64, 1, "running");
    tn_l_set(k, running, zero, to);
    tn_lx b = tn_l_for(k, TN_LOOP_SERIAL, zero, tn_l_int(k, BUCKETS), "b");
    tn_lx bucket = tn_l_add(k, tn_l_mul(k, digit, tn_l_int(k, BUCKETS)), b);
    tn_lx size = bucket_get(s, bucket), begin = tn_l_get(k, running, zero);
    tn_l_store(k, s->buckets, bucket, begin);
    tn_l_set(k, running, zero, tn_l_add(k, begin, size));
    tn_l_end(k);
    tn_lx at = tn_l_for(k, TN_LOOP_SERIAL, zero, count, "i"), item = item_at(s, from, at);
    bucket = tn_l_let(k, bucket_of(k, item, digit));
    tn_lx place = bucket_get(s, bucket);
    tn_l_store(k, s->buffer, place, item);
    tn_l_store(k, s->buckets, bucket, tn_l_add(k, place, tn_l_int(k, 1)));
    tn_l_end(k);
}

static void sort_by_radix(const tn__items *s, tn_lx count) {
    tn_loop *k = s->k;
    tn_lx zero = tn_l_int(k, 0);
    tn_l_if(k, tn_l_lt(k, tn_l_int(k, 1), count));
    count_buckets(s, count);
    tn_lx digit = tn_l_for(k, TN_LOOP_SERIAL, zero, tn_l_int(k, DIGITS), "digit");
    tn_lx from = half(s), to = tn_l_let(k, tn_l_sub(k, s->room, from));
    tn_lx alike = bucket_get(s, bucket_of(k, item_at(s, from, zero), digit));
    tn_l_if(k, tn_l_lt(k, alike, count));
    distribute(s, count, digit, from, to);
    tn_l_set(k, s->from, zero, to);
    tn_l_end(k);
    tn_l_end(k);
    tn_l_end(k);
}

void tn__items_sort(const tn__items *s, tn_lx count) {
    if (s->ranked)
        sort_by_ranks(s, count);
    else
        sort_by_radix(s, count);
}

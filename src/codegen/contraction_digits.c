/* Contractions: few rows of f32 times 4-bit weights, in integers.
 *
 * Where the target multiplies bytes, converting weights is what takes time. So the task brings A to fixed
 * point: in each group of k, a = step · i with |i| <= 2^22 and step = max |a| / 2^22, which is as exact as a
 * sum of floats of this length. i is written with three signed digits of 8 bits, and the eight weights of a
 * word are two words of bytes: six `dot4` add eight products.
 *
 *   digits  t->digits.words [row][group][chunk][3][lanes] words of four digits, the least ones first
 *           t->digits.steps [row][group][2] max |a| and the sum of i, as floats
 *   B       byte i of a word of weights has two elements of k: its low half one that byte i of a word of
 *           digits has, its high half the same of the next word
 *
 * Word l of a chunk of 4·lanes elements has the elements l, lanes + l, 2·lanes + l and 3·lanes + l, so
 * that digits are made in vectors. What weights are raised by, and their zeros, go off the sums as
 * elsewhere (contraction_weights.c). An infinite or NaN element of A makes its row NaN. */
#include "codegen/contraction.h"

enum { DIGITS = 3, DIGIT_BITS = 8, BYTES = 4, MOST_LANES = 16, STEPS = 2 };

#define LARGEST 4194304.0 /* 2^22 */
#define LEAST   0x1p-100  /* a group below this is rounded to multiples of 2^-122 */

static tn_lx times(tn_loop *k, tn_lx a, int64_t b) {
    return tn_l_mul(k, a, tn_l_int(k, b));
}

static tn_lx i32(tn_loop *k, int64_t x) {
    return tn_l_number(k, TN_i32, (double)x);
}

static uint32_t lanes_of(const tn__weights *w) {
    uint32_t lanes = MOST_LANES;
    while (w->group % (BYTES * (int64_t)lanes) != 0) lanes /= 2;
    return lanes;
}

tn_lx tn__digits_k(const tn__tile *t, tn_lx line, uint32_t position) {
    tn_loop *k = t->m.k;
    uint32_t lanes = lanes_of(&t->weights);
    tn_lx pairs = tn_l_int(k, lanes / 2);
    tn_lx chunk = times(k, tn_l_div(k, line, pairs), BYTES * (int64_t)lanes);
    tn_lx first = tn_l_add(k, chunk, times(k, tn_l_mod(k, line, pairs), 2));
    return tn_l_add(k, first, tn_l_int(k, position / 2 * lanes + position % 2));
}

static int64_t groups_of(const tn__tile *t) {
    return t->weights.depth / t->weights.group;
}

void tn__digits_declare(tn__tile *t) {
    tn_loop *k = t->m.k;
    uint32_t lanes = lanes_of(&t->weights);
    int64_t rows = t->s.m_block;
    t->digits.words =
        tn_l_scratch(k, TN_i32, tn_l_int(k, rows * t->weights.depth / BYTES * DIGITS), "digits");
    t->digits.steps = tn_l_scratch(k, TN_f32, tn_l_int(k, rows * groups_of(t) * STEPS), "steps");
    t->digits.most = tn_l_register(k, TN_f32, lanes, "most");
    t->digits.sum = tn_l_register(k, TN_i32, lanes, "sum");
    t->digits.acc = tn_l_register(k, TN_i32, t->s.mr * DIGITS * t->s.nr, "digit_acc");
}

/* ---- A -------------------------------------------------------------------------------------- */

/* A group of a row of A. */
typedef struct group_of_row {
    tn__tile *t;
    uint32_t lanes;
    tn_lx row, at; /* of the result; of the steps, and a chunk's words are at `at` · its words */
    tn_lx first;   /* element of k */
    tn_lx inverse; /* of the step */
    tn_lx address; /* of the row, read before lanes are open; NONE: A is evaluated */
} group_of_row;

/* Emits the work of one chunk; `lane` is open. */
typedef void chunk_work(const group_of_row *g, tn_lx chunk, tn_lx lane);

static void each_chunk(const group_of_row *g, chunk_work *work) {
    tn_loop *k = g->t->m.k;
    tn_lx zero = tn_l_int(k, 0);
    int64_t count = g->t->weights.group / (BYTES * (int64_t)g->lanes);
    tn_lx chunk = tn_l_for(k, TN_LOOP_SERIAL, zero, tn_l_int(k, count), "chunk");
    tn_lx lane = tn_l_for(k, TN_LOOP_VECTOR, zero, tn_l_int(k, g->lanes), "l");
    work(g, chunk, lane);
    tn_l_end(k);
    tn_l_end(k);
}

/* A's element that is byte i of word `lane` of a chunk. */
static tn_lx element(const group_of_row *g, tn_lx chunk, tn_lx lane, int i) {
    tn__tile *t = g->t;
    tn_loop *k = t->m.k;
    tn_lx k_index[TN_MAX_RANK];
    for (int j = 0; j < TN_MAX_RANK; j++) k_index[j] = tn_l_int(k, 0);
    tn_lx in_group = tn_l_add(k, times(k, chunk, BYTES * (int64_t)g->lanes),
                              tn_l_add(k, lane, tn_l_int(k, i * (int64_t)g->lanes)));
    tn_lx linear = k_index[t->weights.k_axis] = tn_l_add(k, g->first, in_group);
    uint32_t mark = tn_access_mark(&t->m.access);
    tn_lx k_part = tn__lhs_k_part(t, k_index, linear);
    tn_lx a = g->address ? tn__lhs_at(t, tn_l_add(k, g->address, k_part))
                         : tn__lhs_element(t, tn_l_int(k, 0), g->row, k_index, k_part);
    tn_access_release(&t->m.access, mark);
    return a;
}

static void find_most(const group_of_row *g, tn_lx chunk, tn_lx lane) {
    tn_loop *k = g->t->m.k;
    tn_lx most = tn_l_get(k, g->t->digits.most, lane);
    for (int i = 0; i < BYTES; i++)
        most = tn_l_op2(k, TN_S_max, most, tn_l_op1(k, TN_S_abs, element(g, chunk, lane, i)));
    tn_l_set(k, g->t->digits.most, lane, most);
}

/* x = d0 + 2^8 · d1 + 2^16 · d2 with digits in [-128, 127]: the bytes of x + 0x808080 are theirs plus
 * 128. */
static tn_lx with_digits(tn_loop *k, tn_lx x) {
    tn_lx middle = i32(k, 0x808080);
    return tn_l_let(k, tn_l_op2(k, TN_S_xor, tn_l_op2(k, TN_S_add, x, middle), middle));
}

static void make_digits(const group_of_row *g, tn_lx chunk, tn_lx lane) {
    tn__tile *t = g->t;
    tn_loop *k = t->m.k;
    tn_lx digits[BYTES], sum = tn_l_get(k, t->digits.sum, lane);
    for (int i = 0; i < BYTES; i++) {
        tn_lx x = tn_l_op2(k, TN_S_mul, element(g, chunk, lane, i), g->inverse);
        x = tn_l_let(k, tn_l_cast(k, tn_l_op1(k, TN_S_round, x), TN_i32, false));
        sum = tn_l_op2(k, TN_S_add, sum, x);
        digits[i] = with_digits(k, x);
    }
    tn_l_set(k, t->digits.sum, lane, sum);
    int64_t per = t->weights.group / BYTES * DIGITS;
    tn_lx base = tn_l_add(k, times(k, g->at, per), times(k, chunk, DIGITS * (int64_t)g->lanes));
    for (int d = 0; d < DIGITS; d++) {
        tn_lx word = TN_LX_NONE;
        for (int i = 0; i < BYTES; i++) {
            tn_lx byte = d ? tn_l_op2(k, TN_S_shr, digits[i], i32(k, d * DIGIT_BITS)) : digits[i];
            byte = tn_l_op2(k, TN_S_and, byte, i32(k, 255));
            if (i) byte = tn_l_op2(k, TN_S_shl, byte, i32(k, i * DIGIT_BITS));
            word = i ? tn_l_op2(k, TN_S_or, word, byte) : byte;
        }
        tn_lx at = tn_l_add(k, base, tn_l_add(k, tn_l_int(k, d * (int64_t)g->lanes), lane));
        tn_l_store(k, t->digits.words, at, word);
    }
}

static void clear_lanes(tn_loop *k, uint32_t reg, tn_dtype dtype, uint32_t lanes) {
    tn_lx lane = tn_l_for(k, TN_LOOP_VECTOR, tn_l_int(k, 0), tn_l_int(k, lanes), "l");
    tn_l_set(k, reg, lane, tn_l_number(k, dtype, 0));
    tn_l_end(k);
}

static tn_lx step_at(const tn__tile *t, tn_lx at, int which) {
    return tn_l_add(t->m.k, times(t->m.k, at, STEPS), tn_l_int(t->m.k, which));
}

void tn__digits_make(tn__tile *t, tn_lx lo, tn_lx hi) {
    tn_loop *k = t->m.k;
    tn_lx zero = tn_l_int(k, 0);
    group_of_row g = {.t = t, .lanes = lanes_of(&t->weights)};
    g.row = tn_l_for(k, TN_LOOP_SERIAL, lo, hi, "row");
    tn__row_addresses(t, 1, g.row);
    if (t->s.lhs != TN_LHS_ELEMENT) g.address = tn_l_get(k, t->row, zero);
    tn_lx group = tn_l_for(k, TN_LOOP_SERIAL, zero, tn_l_int(k, groups_of(t)), "group");
    g.at = tn_l_add(k, times(k, tn_l_sub(k, g.row, t->first_row), groups_of(t)), group);
    g.first = times(k, group, t->weights.group);
    clear_lanes(k, t->digits.most, TN_f32, g.lanes);
    each_chunk(&g, find_most);
    tn_lx most = tn_l_fold(k, TN_S_max, t->digits.most);
    most = tn_l_let(k, tn_l_op2(k, TN_S_max, most, tn_l_number(k, TN_f32, LEAST)));
    g.inverse = tn_l_let(k, tn_l_op2(k, TN_S_div, tn_l_number(k, TN_f32, LARGEST), most));
    clear_lanes(k, t->digits.sum, TN_i32, g.lanes);
    each_chunk(&g, make_digits);
    tn_lx sum = tn_l_cast(k, tn_l_fold(k, TN_S_add, t->digits.sum), TN_f32, false);
    tn_l_store(k, t->digits.steps, step_at(t, g.at, 0), most);
    tn_l_store(k, t->digits.steps, step_at(t, g.at, 1), sum);
    tn_l_end(k);
    tn_l_end(k);
}

/* ---- products ------------------------------------------------------------------------------- */

/* Rows [m0, m0 + rows) and a panel, in a group. */
typedef struct group_of_tile {
    tn__tile *t;
    uint32_t rows;
    tn_lx m0, group;
} group_of_tile;

/* Element of the sums of digit d. */
static tn_lx digit_at(const tn__tile *t, tn_lx i, int d, tn_lx j) {
    tn_loop *k = t->m.k;
    tn_lx line = tn_l_add(k, times(k, i, DIGITS), tn_l_int(k, d));
    return tn_l_add(k, times(k, line, t->s.nr), j);
}

static tn_lx open_rows(const group_of_tile *g) {
    tn_loop *k = g->t->m.k;
    return tn_l_for(k, TN_LOOP_UNROLL, tn_l_int(k, 0), tn_l_int(k, g->rows), "i");
}

static tn_lx open_columns(const group_of_tile *g) {
    tn_loop *k = g->t->m.k;
    return tn_l_for(k, TN_LOOP_VECTOR, tn_l_int(k, 0), tn_l_int(k, g->t->s.nr), "j");
}

static tn_lx steps_of(const group_of_tile *g, tn_lx i) {
    const tn__tile *t = g->t;
    tn_loop *k = t->m.k;
    tn_lx row = tn_l_add(k, tn_l_sub(k, g->m0, t->first_row), i);
    return tn_l_add(k, times(k, row, groups_of(t)), g->group);
}

static void clear_sums(const group_of_tile *g) {
    tn_loop *k = g->t->m.k;
    tn_lx i = open_rows(g);
    for (int d = 0; d < DIGITS; d++) {
        tn_lx j = open_columns(g);
        tn_l_set(k, g->t->digits.acc, digit_at(g->t, i, d, j), i32(k, 0));
        tn_l_end(k);
    }
    tn_l_end(k);
}

/* One half of the weights' bytes times the digits at `at` of row 0's group. */
static void add_half(const group_of_tile *g, tn_lx line, int half, tn_lx at) {
    tn__tile *t = g->t;
    tn_loop *k = t->m.k;
    uint32_t lanes = lanes_of(&t->weights);
    tn_lx i = open_rows(g);
    tn_lx base = times(k, steps_of(g, i), t->weights.group / BYTES * DIGITS);
    for (int d = 0; d < DIGITS; d++) {
        tn_lx from = tn_l_add(k, tn_l_add(k, base, at), tn_l_int(k, d * (int64_t)lanes + half));
        tn_lx digits = tn_l_load(k, t->digits.words, from, TN_LX_NONE, TN_LX_NONE);
        tn_lx j = t->weights.column = open_columns(g);
        tn_lx word = tn__weights_word(t, line), to = digit_at(t, i, d, j);
        if (half) word = tn_l_op2(k, TN_S_shr, word, i32(k, 4));
        word = tn_l_op2(k, TN_S_and, word, i32(k, 0x0f0f0f0f));
        tn_l_set(k, t->digits.acc, to,
                 tn_l_op3(k, TN_S_dot4, word, digits, tn_l_get(k, t->digits.acc, to)));
        tn_l_end(k);
    }
    tn_l_end(k);
}

/* The three sums as one, in `to`, and the sum over A. */
static void join_sums(const group_of_tile *g, uint32_t to) {
    tn__tile *t = g->t;
    tn_loop *k = t->m.k;
    tn_lx i = open_rows(g), at = steps_of(g, i);
    tn_lx most = tn_l_load(k, t->digits.steps, step_at(t, at, 0), TN_LX_NONE, TN_LX_NONE);
    tn_lx all = tn_l_load(k, t->digits.steps, step_at(t, at, 1), TN_LX_NONE, TN_LX_NONE);
    tn_lx unit = tn_l_number(k, TN_f32, 1 / LARGEST);
    all = tn_l_op2(k, TN_S_mul, tn_l_op2(k, TN_S_mul, all, unit), most);
    tn_l_set(k, t->lhs_sum, i, all);
    tn_lx j = open_columns(g), sum[DIGITS];
    for (int d = 0; d < DIGITS; d++) sum[d] = tn_l_get(k, t->digits.acc, digit_at(t, i, d, j));
    tn_lx low = tn_l_op2(k, TN_S_shl, sum[1], i32(k, DIGIT_BITS));
    low = tn_l_cast(k, tn_l_op2(k, TN_S_add, low, sum[0]), TN_f32, false);
    tn_lx high = tn_l_cast(k, sum[2], TN_f32, false);
    low = tn_l_op2(k, TN_S_mul, low, unit);
    high = tn_l_op3(k, TN_S_mad, high, tn_l_number(k, TN_f32, 65536 / LARGEST), low);
    tn_l_set(k, to, tn_l_add(k, times(k, i, t->s.nr), j), tn_l_op2(k, TN_S_mul, high, most));
    tn_l_end(k);
    tn_l_end(k);
}

void tn__digits_multiply(tn__tile *t, uint32_t rows, tn_lx m0, tn_lx group, uint32_t to) {
    tn_loop *k = t->m.k;
    group_of_tile g = {t, rows, m0, group};
    int64_t lanes = lanes_of(&t->weights), chunks = t->weights.group / (BYTES * lanes);
    tn_lx zero = tn_l_int(k, 0);
    clear_sums(&g);
    tn_lx chunk = tn_l_for(k, TN_LOOP_SERIAL, zero, tn_l_int(k, chunks), "chunk");
    tn_lx pair = tn_l_for(k, TN_LOOP_SERIAL, zero, tn_l_int(k, lanes / 2), "pair");
    tn_lx line =
        tn_l_add(k, times(k, tn_l_add(k, times(k, group, chunks), chunk), lanes / 2), pair);
    tn_lx at = tn_l_add(k, times(k, chunk, DIGITS * lanes), times(k, pair, 2));
    if (rows > 1) tn__weights_prefetch(t, line); /* one is only waiting for memory */
    for (int half = 0; half < 2; half++) add_half(&g, line, half, at);
    tn_l_end(k);
    tn_l_end(k);
    join_sums(&g, to);
}

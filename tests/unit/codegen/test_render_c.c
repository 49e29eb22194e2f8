/* Rendered C against the interpreter. */
#include "kernel_lab.h"

#include "base/io.h"

enum { N = 83 };

static tn_lx num(lab_case *c, int64_t value) {
    return tn_l_int(&c->k, value);
}

/* A loop over [0, n) by vectors of `lanes`, the last one guarded; returns the element. With lanes
 * 0, a plain loop. Closed by end_elements. */
static tn_lx begin_elements(lab_case *c, tn_lx n, int lanes) {
    tn_loop *k = &c->k;
    if (!lanes) return tn_l_for(k, TN_LOOP_SERIAL, num(c, 0), n, "i");
    tn_lx blocks = tn_l_div(k, tn_l_add(k, n, num(c, lanes - 1)), num(c, lanes));
    tn_lx block = tn_l_for(k, TN_LOOP_SERIAL, num(c, 0), blocks, "block");
    tn_lx lane = tn_l_for(k, TN_LOOP_VECTOR, num(c, 0), num(c, lanes), "lane");
    tn_lx i = tn_l_add(k, tn_l_mul(k, block, num(c, lanes)), lane);
    tn_l_if(k, tn_l_lt(k, i, n));
    return i;
}

static void end_elements(lab_case *c) {
    while (c->k.open.len) tn_l_end(&c->k);
}

/* ---- every operation of every type ---------------------------------------------------------- */

static bool is_function(tn_scalar_op op) {
    switch (op) {
    case TN_S_neg:
    case TN_S_abs:
    case TN_S_sign:
    case TN_S_sqrt:
    case TN_S_floor:
    case TN_S_ceil:
    case TN_S_round:
    case TN_S_not:
    case TN_S_is_nan:
    case TN_S_is_inf:
    case TN_S_popcount:
        return false;
    case TN_S_rsqrt:
        return true;
    case TN_S_pow:
    case TN_S_atan2:
        return true;
    default:
        return tn_scalar_arity(op) == 1;
    }
}

static void add_op(lab *l, tn_scalar_op op, tn_dtype dtype, int lanes) {
    bool is_float = tn_dtype_is_float(dtype), function = is_float && is_function(op);
    bool wide = dtype == TN_f64 || dtype == TN_f32;
    if (!tn_scalar_accepts(op, dtype) || (function && !wide) || op == TN_S_mad) return;
    if (op == TN_S_fma && !wide) return; /* rounded twice */
    lab_case *c = lab_new(l, tn_scalar_name(op));
    tn_dtype to = tn_scalar_gives_flag(op) ? TN_bool : dtype;
    uint32_t in[3];
    tn_lx operand[3] = {0};
    for (int i = 0; i < tn_scalar_arity(op); i++)
        in[i] = lab_buffer(c, TN_LBUF_INPUT, dtype, N, "x");
    uint32_t out = lab_buffer(c, TN_LBUF_OUTPUT, to, N, "y");
    tn_lx i = begin_elements(c, lab_size(c, N), lanes);
    for (int a = 0; a < tn_scalar_arity(op); a++) operand[a] = tn_l_load(&c->k, in[a], i, 0, 0);
    tn_lx y = operand[2]   ? tn_l_op3(&c->k, op, operand[0], operand[1], operand[2])
              : operand[1] ? tn_l_op2(&c->k, op, operand[0], operand[1])
                           : tn_l_op1(&c->k, op, operand[0]);
    tn_l_store(&c->k, out, i, y);
    end_elements(c);
    c->ulp = function ? 2 : 0;
    c->any_zero = op == TN_S_max || op == TN_S_min;
}

static void check_ops(const tn_dtype *types, size_t count, bool everywhere) {
    lab l;
    lab_init(&l, 11);
    for (size_t t = 0; t < count; t++)
        for (int op = 0; op < TN_SCALAR_COUNT; op++) {
            add_op(&l, (tn_scalar_op)op, types[t], 16);
            add_op(&l, (tn_scalar_op)op, types[t], 0);
        }
    if (everywhere)
        lab_check(&l);
    else
        lab_check_on(&l, tn_target_native());
    lab_deinit(&l);
}

static void test_render__operations_of_wide_types(void **state) {
    (void)state;
    static const tn_dtype types[] = {TN_f32, TN_i32, TN_u64, TN_bool};
    check_ops(types, TN_COUNT(types), true);
}

static void test_render__operations_of_narrow_types(void **state) {
    (void)state;
    static const tn_dtype types[] = {TN_f16, TN_f8e4m3fnuz, TN_i16, TN_i4, TN_u2};
    check_ops(types, TN_COUNT(types), false);
}

/* ---- every conversion ----------------------------------------------------------------------- */

static void add_casts(lab *l, tn_dtype from, int lanes) {
    lab_case *c = lab_new(l, tn_dtype_name(from));
    tn_loop *k = &c->k;
    uint32_t in = lab_buffer(c, TN_LBUF_INPUT, from, N, "x");
    uint32_t out = lab_buffer(c, TN_LBUF_OUTPUT, TN_u64, N * TN_DTYPE_COUNT, "y");
    tn_lx i = begin_elements(c, num(c, N), lanes);
    for (int t = 0; t < TN_DTYPE_COUNT; t++) {
        static const tn_dtype same_size[] = {0, TN_u8, TN_u16, 0, TN_u32, 0, 0, 0, TN_u64};
        tn_dtype to = (tn_dtype)t;
        tn_lx x = tn_l_cast(k, tn_l_load(k, in, i, 0, 0), to, t % 2);
        tn_lx bits = tn_l_bitcast(k, x, same_size[tn_dtype_size(to)]);
        /* NaNs need not keep their bits. */
        if (tn_dtype_is_float(to) && to != TN_f8e8m0)
            bits = tn_l_select(k, tn_l_op1(k, TN_S_is_nan, x),
                               tn_l_number(k, tn_l_type(k, bits), 1), bits);
        tn_lx at = tn_l_add(k, i, num(c, t * N));
        tn_l_store(k, out, at, tn_l_cast(k, bits, TN_u64, false));
    }
    end_elements(c);
}

static void test_render__conversions(void **state) {
    (void)state;
    lab l;
    lab_init(&l, 12);
    for (int t = 0; t < TN_DTYPE_COUNT; t++) add_casts(&l, (tn_dtype)t, t % 3 ? 16 : 0);
    lab_check_on(&l, tn_target_native());
    lab_deinit(&l);
}

/* ---- loads and stores ----------------------------------------------------------------------- */

/* Lengths around whole vectors, for every size of element. */
static void test_render__tails(void **state) {
    (void)state;
    static const tn_dtype types[] = {TN_f64, TN_f32, TN_f16, TN_i8, TN_bool};
    lab l;
    lab_init(&l, 13);
    for (size_t t = 0; t < TN_COUNT(types); t++)
        for (int64_t n = 0; n < 70; n += n < 36 ? 1 : 11) {
            if (n % 3 && t) continue;
            lab_case *c = lab_new(&l, "tail");
            uint32_t x = lab_buffer(c, TN_LBUF_INPUT, types[t], (size_t)n, "x");
            uint32_t y = lab_buffer(c, TN_LBUF_OUTPUT, types[t], (size_t)n, "y");
            tn_lx i = begin_elements(c, lab_size(c, n), n % 2 ? 32 : 16);
            tn_l_store(&c->k, y, i, tn_l_load(&c->k, x, i, 0, 0));
            end_elements(c);
        }
    lab_check(&l);
    lab_deinit(&l);
}

typedef enum pattern { REVERSED, STRIDED, MODULO, PADDED, SHIFTED, SAME, PATTERNS } pattern;

/* Reads x in some order, with and without a guard, and adds it to itself shifted. */
static void add_access(lab *l, tn_dtype dtype, pattern p, int lanes) {
    lab_case *c = lab_new(l, "access");
    tn_loop *k = &c->k;
    uint32_t x = lab_buffer(c, TN_LBUF_INPUT, dtype, N, "x");
    uint32_t y = lab_buffer(c, TN_LBUF_OUTPUT, dtype, 2 * N, "y");
    tn_lx n = lab_size(c, N), i = begin_elements(c, n, lanes), guard = 0, other = 0, at = i;
    switch (p) {
    case REVERSED:
        at = tn_l_sub(k, tn_l_sub(k, n, num(c, 1)), i);
        break;
    case STRIDED:
        at = tn_l_mul(k, i, num(c, 3));
        guard = tn_l_lt(k, at, n);
        other = tn_l_number(k, dtype, 1);
        break;
    case MODULO:
        at = tn_l_mod(k, tn_l_mul(k, i, num(c, 7)), num(c, 11));
        break;
    case PADDED:
        at = tn_l_sub(k, i, num(c, 5));
        guard = tn_l_and(k, tn_l_le(k, num(c, 0), at), tn_l_lt(k, at, num(c, N - 20)));
        break;
    case SHIFTED:
        at = tn_l_add(k, i, num(c, 9));
        guard = tn_l_lt(k, at, n);
        other = tn_l_number(k, dtype, 1);
        break;
    default:
        at = num(c, 17);
        break;
    }
    tn_lx v = tn_l_load(k, x, at, guard, other);
    tn_l_store(k, y, p == STRIDED ? tn_l_mul(k, i, num(c, 2)) : i, v);
    if (p == REVERSED) tn_l_store(k, y, tn_l_sub(k, num(c, 2 * N - 1), i), v);
    if (p == MODULO) tn_l_store(k, y, tn_l_add(k, at, num(c, N)), v);
    end_elements(c);
}

static void test_render__access_patterns(void **state) {
    (void)state;
    static const tn_dtype types[] = {TN_f32, TN_i64, TN_bf16, TN_i8, TN_bool, TN_f8e8m0};
    lab l;
    lab_init(&l, 14);
    for (size_t t = 0; t < TN_COUNT(types); t++)
        for (int p = 0; p < PATTERNS; p++) {
            add_access(&l, types[t], (pattern)p, 16);
            add_access(&l, types[t], (pattern)p, t == 0 ? 12 : 0);
        }
    lab_check(&l);
    lab_deinit(&l);
}

static void test_render__indirect_accesses(void **state) {
    (void)state;
    lab l;
    lab_init(&l, 15);
    for (int lanes = 0; lanes <= 32; lanes += 16) {
        lab_case *c = lab_new(&l, "gather");
        tn_loop *k = &c->k;
        uint32_t at = lab_buffer(c, TN_LBUF_INPUT, TN_i64, N, "at");
        uint32_t x = lab_buffer(c, TN_LBUF_INPUT, TN_f32, N, "x");
        uint32_t y = lab_buffer(c, TN_LBUF_OUTPUT, TN_f32, 2 * N, "y");
        c->lo.i = -10;
        c->hi.i = N + 10;
        tn_lx i = begin_elements(c, lab_size(c, N), lanes), index = tn_l_load(k, at, i, 0, 0);
        tn_lx fits = tn_l_and(k, tn_l_le(k, num(c, 0), index), tn_l_lt(k, index, num(c, N)));
        tn_l_store(k, y, i, tn_l_load(k, x, index, fits, tn_l_number(k, TN_f32, 7)));
        tn_l_if(k, fits);
        tn_l_store(k, y, tn_l_add(k, index, num(c, N)), tn_l_load(k, x, i, 0, 0));
        tn_l_else(k);
        tn_l_error(k, 9);
        end_elements(c);
    }
    lab_check(&l);
    lab_deinit(&l);
}

/* ---- branches ------------------------------------------------------------------------------- */

static void test_render__branches_between_lanes(void **state) {
    (void)state;
    static const tn_dtype types[] = {TN_f32, TN_f64, TN_u8, TN_f16, TN_bool};
    lab l;
    lab_init(&l, 16);
    for (size_t t = 0; t < TN_COUNT(types); t++) {
        lab_case *c = lab_new(&l, "branch");
        tn_loop *k = &c->k;
        tn_dtype dtype = types[t];
        uint32_t m = lab_buffer(c, TN_LBUF_INPUT, TN_bool, N, "m");
        uint32_t x = lab_buffer(c, TN_LBUF_INPUT, dtype, N, "x");
        uint32_t y = lab_buffer(c, TN_LBUF_OUTPUT, dtype, N, "y");
        uint32_t z = lab_buffer(c, TN_LBUF_OUTPUT, TN_i32, 3 * N, "z");
        uint32_t sum = tn_l_register(k, dtype, 16, "sum");
        tn_lx n = lab_size(c, N), i = begin_elements(c, n, 16);
        tn_lx lane = tn_l_mod(k, i, num(c, 16));
        tn_lx v = tn_l_load(k, x, i, 0, 0), flag = tn_l_load(k, m, i, 0, 0);
        tn_l_set(k, sum, lane, v);
        tn_l_if(k, flag);
        tn_l_store(k, y, i, tn_l_number(k, dtype, 1));
        tn_l_set(k, sum, lane, tn_l_number(k, dtype, 0));
        tn_l_if(k, tn_l_op2(k, TN_S_lt, v, tn_l_number(k, dtype, 1)));
        tn_l_store(k, z, tn_l_mul(k, i, num(c, 3)), tn_l_number(k, TN_i32, 5));
        tn_l_end(k);
        tn_l_else(k);
        tn_l_store(k, y, i, tn_l_load(k, x, tn_l_sub(k, tn_l_sub(k, n, num(c, 1)), i), 0, 0));
        tn_l_store(k, z, num(c, 1), tn_l_cast(k, i, TN_i32, false));
        tn_l_end(k);
        tn_lx got = tn_l_get(k, sum, lane);
        tn_l_store(k, z, tn_l_add(k, tn_l_mul(k, i, num(c, 3)), num(c, 2)),
                   tn_l_cast(k, tn_l_op2(k, TN_S_ne, got, v), TN_i32, false));
        end_elements(c);
    }
    lab_check(&l);
    lab_deinit(&l);
}

/* A load that must not leave the loop or branch that may not run. */
static void test_render__keeps_loads_where_they_are_safe(void **state) {
    (void)state;
    lab l;
    lab_init(&l, 17);
    lab_case *c = lab_new(&l, "empty");
    tn_loop *k = &c->k;
    uint32_t x = lab_buffer(c, TN_LBUF_INPUT, TN_f32, 0, "x");
    uint32_t m = lab_buffer(c, TN_LBUF_INPUT, TN_i64, 0, "m");
    uint32_t y = lab_buffer(c, TN_LBUF_OUTPUT, TN_f32, N, "y");
    tn_lx n = lab_size(c, 0), zero = lab_size(c, 0);
    tn_lx outer = tn_l_for(k, TN_LOOP_SERIAL, num(c, 0), num(c, 3), "outer");
    tn_lx i = tn_l_for(k, TN_LOOP_SERIAL, num(c, 0), n, "i");
    tn_lx far = tn_l_mod(k, tn_l_load(k, m, num(c, 1 << 20), 0, 0), zero);
    tn_lx bias = tn_l_op1(k, TN_S_exp, tn_l_load(k, x, num(c, 1 << 20), 0, 0));
    tn_l_store(k, y, tn_l_add(k, outer, tn_l_add(k, i, far)), bias);
    tn_l_end(k);
    tn_l_if(k, tn_l_lt(k, outer, n));
    tn_l_store(k, y, outer, tn_l_op1(k, TN_S_exp, tn_l_load(k, x, num(c, 1 << 21), 0, 0)));
    tn_l_store(k, y, tn_l_div(k, n, zero), tn_l_load(k, x, num(c, 1 << 22), 0, 0));
    end_elements(c);
    lab_check(&l);
    lab_deinit(&l);
}

/* ---- registers ------------------------------------------------------------------------------ */

static void add_reduction(lab *l, tn_dtype dtype, tn_scalar_op op, int lanes, bool vector) {
    lab_case *c = lab_new(l, "reduce");
    tn_loop *k = &c->k;
    uint32_t x = lab_buffer(c, TN_LBUF_INPUT, dtype, 5 * 128, "x");
    uint32_t y = lab_buffer(c, TN_LBUF_OUTPUT, dtype, 5, "y");
    uint32_t part = tn_l_register(k, dtype, (uint32_t)lanes, "part");
    k->tasks = num(c, 5);
    tn_loop_kind kind = vector ? TN_LOOP_VECTOR : TN_LOOP_UNROLL;
    tn_lx lane = tn_l_for(k, kind, num(c, 0), num(c, lanes), "lane");
    tn_lx row = tn_l_mul(k, tn_l_task(k), num(c, 128));
    tn_l_set(k, part, lane, tn_l_load(k, x, tn_l_add(k, row, lane), 0, 0));
    tn_l_end(k);
    tn_lx i = tn_l_for(k, TN_LOOP_SERIAL, num(c, 1), num(c, 128 / lanes), "i");
    lane = tn_l_for(k, kind, num(c, 0), num(c, lanes), "lane");
    tn_lx at = tn_l_add(k, row, tn_l_add(k, tn_l_mul(k, i, num(c, lanes)), lane));
    tn_lx was = tn_l_get(k, part, lane);
    tn_l_set(k, part, lane, tn_l_op2(k, op, was, tn_l_load(k, x, at, 0, 0)));
    tn_l_end(k);
    tn_l_end(k);
    tn_l_store(k, y, tn_l_task(k), tn_l_fold(k, op, part));
    c->any_zero = true;
}

static void test_render__folds(void **state) {
    (void)state;
    static const struct {
        tn_dtype dtype;
        tn_scalar_op op;
    } folds[] = {{TN_f32, TN_S_add}, {TN_f32, TN_S_max}, {TN_f64, TN_S_mul}, {TN_i32, TN_S_min},
                 {TN_i8, TN_S_add},  {TN_f16, TN_S_add}, {TN_bool, TN_S_or}, {TN_bool, TN_S_and},
                 {TN_i64, TN_S_xor}, {TN_u4, TN_S_add},  {TN_bool, TN_S_xor}};
    lab l;
    lab_init(&l, 18);
    for (size_t f = 0; f < TN_COUNT(folds); f++) {
        add_reduction(&l, folds[f].dtype, folds[f].op, 16, true);
        add_reduction(&l, folds[f].dtype, folds[f].op, 64, true);
        add_reduction(&l, folds[f].dtype, folds[f].op, 4, false);
        add_reduction(&l, folds[f].dtype, folds[f].op, 1, false);
    }
    lab_check(&l);
    lab_deinit(&l);
}

/* Registers that are addressed in several ways live in memory. */
static void test_render__registers_of_mixed_use(void **state) {
    (void)state;
    static const tn_dtype types[] = {TN_f32, TN_i64, TN_bool, TN_f16};
    lab l;
    lab_init(&l, 19);
    for (size_t t = 0; t < TN_COUNT(types); t++) {
        lab_case *c = lab_new(&l, "mixed");
        tn_loop *k = &c->k;
        uint32_t x = lab_buffer(c, TN_LBUF_INPUT, types[t], 64, "x");
        uint32_t y = lab_buffer(c, TN_LBUF_OUTPUT, types[t], 128, "y");
        uint32_t r = tn_l_register(k, types[t], 64, "r");
        tn_lx j = tn_l_for(k, TN_LOOP_VECTOR, num(c, 0), num(c, 64), "j");
        tn_l_set(k, r, tn_l_sub(k, num(c, 63), j), tn_l_load(k, x, j, 0, 0));
        tn_l_end(k);
        tn_lx i = tn_l_for(k, TN_LOOP_SERIAL, num(c, 0), num(c, 64), "i");
        tn_lx v = tn_l_get(k, r, i);
        tn_l_store(k, y, i, v);
        tn_l_if(k, tn_l_lt(k, i, num(c, 20)));
        tn_l_set(k, r, i, tn_l_load(k, x, i, 0, 0));
        tn_l_end(k);
        tn_l_end(k);
        j = tn_l_for(k, TN_LOOP_VECTOR, num(c, 0), num(c, 64), "j");
        tn_l_if(k, tn_l_lt(k, j, num(c, 37)));
        tn_l_set(k, r, j, tn_l_load(k, x, tn_l_add(k, j, num(c, 3)), 0, 0));
        tn_l_end(k);
        tn_l_store(k, y, tn_l_add(k, j, num(c, 64)), tn_l_get(k, r, j));
        tn_l_end(k);
        if (types[t] == TN_bool) continue;
        tn_l_store(k, y, num(c, 0), tn_l_fold(k, TN_S_max, r));
        c->any_zero = true;
    }
    lab_check(&l);
    lab_deinit(&l);
}

/* A register's value is the one at the time of the LET. */
static void test_render__let_is_a_snapshot(void **state) {
    (void)state;
    lab l;
    lab_init(&l, 20);
    for (int vector = 0; vector < 2; vector++) {
        lab_case *c = lab_new(&l, "swap");
        tn_loop *k = &c->k;
        tn_loop_kind kind = vector ? TN_LOOP_VECTOR : TN_LOOP_UNROLL;
        uint32_t x = lab_buffer(c, TN_LBUF_INPUT, TN_f32, 16, "x");
        uint32_t y = lab_buffer(c, TN_LBUF_OUTPUT, TN_f32, 48, "y");
        uint32_t a = tn_l_register(k, TN_f32, 16, "a"), b = tn_l_register(k, TN_f32, 16, "b");
        tn_lx j = tn_l_for(k, kind, num(c, 0), num(c, 16), "j");
        tn_l_set(k, a, j, tn_l_load(k, x, j, 0, 0));
        tn_l_set(k, b, j, tn_l_op1(k, TN_S_neg, tn_l_load(k, x, j, 0, 0)));
        tn_l_end(k);
        tn_lx i = tn_l_for(k, TN_LOOP_SERIAL, num(c, 0), num(c, 5), "i");
        j = tn_l_for(k, kind, num(c, 0), num(c, 16), "j");
        tn_lx was_a = tn_l_get(k, a, j), was_b = tn_l_get(k, b, j);
        tn_lx sum = tn_l_op2(k, TN_S_add, was_a, was_b);
        tn_l_set(k, a, j, was_b);
        tn_l_set(k, b, j, was_a);
        tn_l_store(k, y, tn_l_add(k, j, num(c, 32)),
                   tn_l_op2(k, TN_S_add, sum, tn_l_cast(k, i, TN_f32, false)));
        tn_l_end(k);
        tn_l_end(k);
        j = tn_l_for(k, kind, num(c, 0), num(c, 16), "j");
        tn_l_store(k, y, j, tn_l_get(k, a, j));
        tn_l_store(k, y, tn_l_add(k, j, num(c, 16)), tn_l_get(k, b, j));
        tn_l_end(k);
    }
    lab_check(&l);
    lab_deinit(&l);
}

/* ---- the rest ------------------------------------------------------------------------------- */

static void test_render__scratch_tickets_and_work(void **state) {
    (void)state;
    lab l;
    lab_init(&l, 21);
    lab_case *c = lab_new(&l, "parts");
    tn_loop *k = &c->k;
    tn_lx n = lab_size(c, 40);
    uint32_t x = lab_buffer(c, TN_LBUF_INPUT, TN_f32, 40 * 6, "x");
    uint32_t y = lab_buffer(c, TN_LBUF_OUTPUT, TN_f32, 40, "y");
    uint32_t work = lab_buffer(c, TN_LBUF_WORK, TN_f32, 40 * 6, "work");
    tn_l_scratch(k, TN_u8, tn_l_add(k, n, num(c, 1)), "unused");
    uint32_t tmp = tn_l_scratch(k, TN_f32, n, "tmp");
    k->tasks = num(c, 6);
    k->counters = 2;
    tn_lx base = tn_l_mul(k, tn_l_task(k), n);
    tn_lx i = tn_l_for(k, TN_LOOP_SERIAL, num(c, 0), n, "i");
    tn_l_store(k, tmp, i, tn_l_op1(k, TN_S_abs, tn_l_load(k, x, tn_l_add(k, base, i), 0, 0)));
    tn_l_end(k);
    i = tn_l_for(k, TN_LOOP_SERIAL, num(c, 0), n, "i");
    tn_lx turned = tn_l_sub(k, tn_l_sub(k, n, num(c, 1)), i);
    tn_l_store(k, work, tn_l_add(k, base, i), tn_l_load(k, tmp, turned, 0, 0));
    tn_l_end(k);
    tn_lx last = tn_l_op2(k, TN_S_eq, tn_l_ticket(k, num(c, 1)), num(c, 5));
    tn_l_if(k, last);
    tn_lx block = tn_l_for(k, TN_LOOP_SERIAL, num(c, 0), tn_l_div(k, n, num(c, 8)), "block");
    tn_lx lane = tn_l_for(k, TN_LOOP_VECTOR, num(c, 0), num(c, 8), "lane");
    tn_lx j = tn_l_add(k, tn_l_mul(k, block, num(c, 8)), lane);
    tn_lx sum = tn_l_load(k, work, j, 0, 0);
    for (int part = 1; part < 6; part++) {
        tn_lx at = tn_l_add(k, tn_l_mul(k, n, num(c, part)), j);
        sum = tn_l_op2(k, TN_S_add, sum, tn_l_load(k, work, at, 0, 0));
    }
    tn_l_store(k, y, j, sum);
    while (k->open.len) tn_l_end(k);
    tn_l_if(k, tn_l_op2(k, TN_S_eq, tn_l_task(k), num(c, 3)));
    tn_l_error(k, 77);
    tn_l_end(k);
    lab_check(&l);
    lab_deinit(&l);
}

/* C = A B with a 6x32 tile; a size that is no multiple of it. */
static void add_product(lab *l, int64_t depth) {
    enum { ROWS = 6, COLUMNS = 32 };
    lab_case *c = lab_new(l, "product");
    tn_loop *k = &c->k;
    uint32_t a = lab_buffer(c, TN_LBUF_INPUT, TN_f32, (size_t)depth * ROWS, "a");
    uint32_t b = lab_buffer(c, TN_LBUF_INPUT, TN_f32, (size_t)depth * COLUMNS, "b");
    uint32_t y = lab_buffer(c, TN_LBUF_OUTPUT, TN_f32, ROWS * COLUMNS, "y");
    uint32_t acc = tn_l_register(k, TN_f32, ROWS * COLUMNS, "acc");
    tn_lx n = lab_size(c, depth), i, j, at, p;
    for (int step = 0; step < 3; step++) {
        p = step == 1 ? tn_l_for(k, TN_LOOP_SERIAL, num(c, 0), n, "p") : 0;
        i = tn_l_for(k, TN_LOOP_UNROLL, num(c, 0), num(c, ROWS), "i");
        j = tn_l_for(k, TN_LOOP_VECTOR, num(c, 0), num(c, COLUMNS), "j");
        at = tn_l_add(k, tn_l_mul(k, i, num(c, COLUMNS)), j);
        if (step == 0) tn_l_set(k, acc, at, tn_l_number(k, TN_f32, 0));
        if (step == 1) {
            tn_lx left = tn_l_load(k, a, tn_l_add(k, tn_l_mul(k, p, num(c, ROWS)), i), 0, 0);
            tn_lx right = tn_l_load(k, b, tn_l_add(k, tn_l_mul(k, p, num(c, COLUMNS)), j), 0, 0);
            tn_l_set(k, acc, at, tn_l_op3(k, TN_S_mad, left, right, tn_l_get(k, acc, at)));
        }
        if (step == 2) tn_l_store(k, y, at, tn_l_get(k, acc, at));
        while (k->open.len) tn_l_end(k);
    }
    c->ulp = 1e4; /* cancellation: mad rounds once or twice */
}

static void test_render__product(void **state) {
    (void)state;
    lab l;
    lab_init(&l, 22);
    add_product(&l, 0);
    add_product(&l, 1);
    add_product(&l, 9);
    lab_check(&l);
    lab_deinit(&l);
}

/* ---- text ----------------------------------------------------------------------------------- */

/* Row softmax: readable, with what does not change in front of the loops. */
static void softmax(lab_case *c) {
    tn_loop *k = &c->k;
    tn_lx rows = lab_size(c, 3), n = lab_size(c, N);
    uint32_t x = lab_buffer(c, TN_LBUF_INPUT, TN_f32, 3 * N, "x");
    uint32_t y = lab_buffer(c, TN_LBUF_OUTPUT, TN_f32, 3 * N, "y");
    uint32_t part = tn_l_register(k, TN_f32, 16, "part");
    k->note = "softmax over f32[R,N]; rows, 16 lanes";
    k->tasks = rows;
    tn_lx row = tn_l_mul(k, tn_l_task(k), n), most = 0;
    for (int pass = 0; pass < 3; pass++) {
        tn_lx lane, all = 0;
        if (pass < 2) {
            lane = tn_l_for(k, TN_LOOP_VECTOR, num(c, 0), num(c, 16), "lane");
            tn_l_set(k, part, lane, tn_l_number(k, TN_f32, pass ? 0 : (double)-INFINITY));
            tn_l_end(k);
        } else {
            all = tn_l_fold(k, TN_S_add, part);
        }
        tn_lx i = begin_elements(c, n, 16), v = tn_l_load(k, x, tn_l_add(k, row, i), 0, 0);
        lane = tn_l_mod(k, i, num(c, 16));
        if (pass) v = tn_l_op1(k, TN_S_exp, tn_l_op2(k, TN_S_sub, v, most));
        if (pass == 2)
            tn_l_store(k, y, tn_l_add(k, row, i), tn_l_op2(k, TN_S_div, v, all));
        else {
            tn_lx was = tn_l_get(k, part, lane);
            tn_l_set(k, part, lane, tn_l_op2(k, pass ? TN_S_add : TN_S_max, was, v));
        }
        end_elements(c);
        if (!pass) most = tn_l_fold(k, TN_S_max, part);
    }
    c->ulp = 64;
    c->any_zero = true;
}

static void test_render__softmax(void **state) {
    (void)state;
    lab l;
    lab_init(&l, 23);
    softmax(lab_new(&l, "softmax"));
    lab_check(&l);
    lab_deinit(&l);
}

/* Names and notes come from models: none of them ends the comment that it stands in. */
static void test_render__no_name_leaves_its_comment(void **state) {
    (void)state;
    static const char *const names[] = {"a*/ int leaked; /*", "*", "/", "**//", "a\n*/ int leaked;",
                                        "*/*/int leaked;"};
    for (size_t i = 0; i < TN_COUNT(names) * TN_COUNT(names); i++) {
        lab l;
        tn_str text;
        tn_error err = TN_ERROR_INIT;
        tn_prelude prelude;
        lab_init(&l, 24);
        tn_str_init(&text);
        tn_prelude_init(&prelude);
        lab_case *c = lab_new(&l, "softmax");
        softmax(c);
        c->k.name = names[i % TN_COUNT(names)];
        c->k.note = names[i / TN_COUNT(names)];
        assert_int_equal(
            tn_render_c_function(&c->k, tn_target_native(), "f", &prelude, &text, &err), TN_OK);
        const char *begin = strstr(tn_str_text(&text), "/*"), *end = strstr(begin + 2, "*/");
        assert_non_null(end);
        assert_memory_equal(end, "*/\nvoid f(", 10);
        tn_str_deinit(&text);
        tn_prelude_deinit(&prelude);
        lab_deinit(&l);
    }
}

/* TENON_UPDATE=1 writes the file anew. */
static void test_render__text(void **state) {
    (void)state;
    static const char path[] = "tests/golden/render_softmax.c.txt";
    lab l;
    tn_str text;
    tn_error err = TN_ERROR_INIT;
    tn_prelude prelude;
    lab_init(&l, 24);
    tn_str_init(&text);
    tn_prelude_init(&prelude);
    lab_case *c = lab_new(&l, "softmax");
    softmax(c);
    assert_int_equal(
        tn_render_c_function(&c->k, tn_target_of(TN_ISA_AVX512), "softmax", &prelude, &text, &err),
        TN_OK);
    if (getenv("TENON_UPDATE"))
        assert_int_equal(tn_file_write(path, text.data, text.len, false, &err), TN_OK);
    tn_file_map m;
    assert_int_equal(tn_file_map_open(&m, path, &err), TN_OK);
    tn_str golden;
    tn_str_init(&golden);
    tn_str_append_n(&golden, (const char *)m.data, m.size);
    assert_string_equal(tn_str_text(&text), tn_str_text(&golden));
    tn_str_deinit(&golden);
    tn_file_map_close(&m);
    tn_prelude_deinit(&prelude);
    tn_str_deinit(&text);
    lab_deinit(&l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_render__tails),
        cmocka_unit_test(test_render__access_patterns),
        cmocka_unit_test(test_render__indirect_accesses),
        cmocka_unit_test(test_render__branches_between_lanes),
        cmocka_unit_test(test_render__keeps_loads_where_they_are_safe),
        cmocka_unit_test(test_render__folds),
        cmocka_unit_test(test_render__registers_of_mixed_use),
        cmocka_unit_test(test_render__let_is_a_snapshot),
        cmocka_unit_test(test_render__scratch_tickets_and_work),
        cmocka_unit_test(test_render__product),
        cmocka_unit_test(test_render__softmax),
        cmocka_unit_test(test_render__no_name_leaves_its_comment),
        cmocka_unit_test(test_render__text),
        cmocka_unit_test(test_render__conversions),
        cmocka_unit_test(test_render__operations_of_wide_types),
        cmocka_unit_test(test_render__operations_of_narrow_types),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

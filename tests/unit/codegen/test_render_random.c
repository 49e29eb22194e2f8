/* Random kernels: loops of all kinds, branches, registers, guarded and indirect loads. */
#include "kernel_lab.h"

enum { X = 256, STORES = 64, ROOM = 256, R = 32, TASKS = 2, KERNELS = 120 };

typedef struct maker {
    lab_case *c;
    uint64_t seed;
    uint32_t x, at, y, reg;
    tn_lx vars[8], lane, limit; /* the lane is in [0, limit) */
    int var_count, depth, statements, stores;
    tn_lx values[32]; /* f32 values that can be seen */
    int value_count;
} maker;

static uint32_t pick(maker *m, uint32_t end) {
    return (uint32_t)(test_random(&m->seed) >> 33) % end;
}

static tn_lx any_index(maker *m) {
    tn_loop *k = &m->c->k;
    tn_lx e = tn_l_int(k, pick(m, 20));
    for (int n = (int)pick(m, 3); n > 0; n--) {
        tn_lx v = m->lane && pick(m, 2) ? m->lane
                  : m->var_count        ? m->vars[pick(m, (uint32_t)m->var_count)]
                                        : tn_l_scalar(k, 0);
        v = tn_l_mul(k, v, tn_l_int(k, 1 + pick(m, 4) * pick(m, 2)));
        if (pick(m, 6) == 0) v = tn_l_div(k, v, tn_l_int(k, 1 + pick(m, 5)));
        if (pick(m, 6) == 0) v = tn_l_mod(k, v, tn_l_int(k, 1 + pick(m, 9)));
        e = tn_l_add(k, e, v);
    }
    return e;
}

static tn_lx value(maker *m, int depth);

static tn_lx flag(maker *m, int depth) {
    tn_loop *k = &m->c->k;
    switch (pick(m, 5)) {
    case 0:
        return tn_l_lt(k, any_index(m), any_index(m));
    case 1:
        return tn_l_le(k, tn_l_int(k, pick(m, 20)), any_index(m));
    case 2:
        return m->lane ? tn_l_lt(k, m->lane, tn_l_int(k, pick(m, 20)))
                       : tn_l_lt(k, any_index(m), tn_l_scalar(k, 1));
    case 3:
        return tn_l_op1(k, TN_S_not, tn_l_lt(k, any_index(m), tn_l_scalar(k, 1)));
    default:
        return tn_l_op2(k, TN_S_lt, value(m, depth + 1), value(m, depth + 1));
    }
}

static tn_lx load(maker *m) {
    tn_loop *k = &m->c->k;
    tn_lx index = any_index(m);
    if (pick(m, 5) == 0) /* a value of `at` is in [0, X) */
        index = tn_l_load(k, m->at, tn_l_mod(k, index, tn_l_int(k, X)), 0, 0);
    if (pick(m, 2)) return tn_l_load(k, m->x, tn_l_mod(k, index, tn_l_int(k, X)), 0, 0);
    tn_lx limit = pick(m, 2) ? tn_l_int(k, 10 + pick(m, X - 10)) : tn_l_scalar(k, 1);
    tn_lx other = pick(m, 2) ? tn_l_number(k, TN_f32, 3) : TN_LX_NONE;
    return tn_l_load(k, m->x, index, tn_l_lt(k, index, limit), other);
}

static tn_lx value(maker *m, int depth) {
    static const tn_scalar_op ops[] = {TN_S_add, TN_S_sub, TN_S_mul, TN_S_max};
    tn_loop *k = &m->c->k;
    uint32_t kind = depth > 3 ? pick(m, 3) : pick(m, 8);
    if (kind == 0 && m->value_count) return m->values[pick(m, (uint32_t)m->value_count)];
    switch (kind) {
    case 1:
        return tn_l_number(k, TN_f32, pick(m, 9) * 0.25 - 1);
    case 3:
        return tn_l_select(k, flag(m, depth), value(m, depth + 1), value(m, depth + 1));
    case 4:
        return tn_l_cast(k, any_index(m), TN_f32, false);
    case 5:
    case 6:
        return tn_l_op2(k, ops[pick(m, 4)], value(m, depth + 1), value(m, depth + 1));
    case 7:
        return tn_l_cast(k, tn_l_cast(k, value(m, depth + 1), TN_f16, false), TN_f32, false);
    default:
        return load(m);
    }
}

/* A register's element that belongs to the lane. */
static tn_lx element(maker *m) {
    tn_loop *k = &m->c->k;
    int64_t limit;
    if (!m->lane) return tn_l_mod(k, any_index(m), tn_l_int(k, R));
    tn_l_is_const_int(k, m->limit, &limit);
    uint32_t rooms = (uint32_t)(R / limit);
    return tn_l_add(k, m->lane, tn_l_int(k, limit * pick(m, rooms)));
}

static void keep(maker *m, tn_lx v) {
    if (m->value_count < 32) m->values[m->value_count++] = v;
}

static void statement(maker *m);

static void block(maker *m) {
    int values = m->value_count;
    m->depth++;
    for (int n = 1 + (int)pick(m, 4); n > 0; n--) statement(m);
    m->depth--;
    m->value_count = values;
}

static void loop(maker *m) {
    tn_loop *k = &m->c->k;
    int values = m->value_count;
    tn_loop_kind kind = (tn_loop_kind)pick(m, 3);
    static const int64_t widths[] = {4, 8, 16, 32, 5};
    if (m->lane || m->var_count == 8) return;
    if (kind == TN_LOOP_VECTOR) {
        m->limit = tn_l_int(k, widths[pick(m, 5)]);
        m->lane = tn_l_for(k, kind, tn_l_int(k, 0), m->limit, "lane");
        block(m);
        m->lane = TN_LX_NONE;
    } else {
        tn_lx end = kind == TN_LOOP_UNROLL || pick(m, 2) ? tn_l_int(k, pick(m, 4))
                                                         : tn_l_scalar(k, pick(m, 2) ? 0 : 2);
        m->vars[m->var_count++] = tn_l_for(k, kind, tn_l_int(k, 0), end, "i");
        block(m);
        m->var_count--;
    }
    tn_l_end(k);
    m->value_count = values;
}

static void store(maker *m) {
    tn_loop *k = &m->c->k;
    /* Stores of their own places, so that tasks and lanes are independent. */
    if (m->stores == STORES) return;
    tn_lx at = tn_l_int(k, ROOM * m->stores++ + (int64_t)pick(m, 32));
    if (m->lane)
        at = tn_l_add(k, at, tn_l_mul(k, m->lane, tn_l_int(k, 1 + pick(m, 2) * pick(m, 4))));
    if (m->var_count && pick(m, 2)) {
        tn_lx v = m->vars[pick(m, (uint32_t)m->var_count)];
        at = tn_l_add(k, at, tn_l_mul(k, v, tn_l_int(k, 16)));
    }
    tn_lx own = tn_l_mul(k, tn_l_task(k), tn_l_int(k, ROOM * STORES));
    tn_l_store(k, m->y, tn_l_add(k, at, own), value(m, 0));
}

static void statement(maker *m) {
    tn_loop *k = &m->c->k;
    if (m->statements++ > 60) return;
    switch (pick(m, m->depth > 4 ? 6 : 9)) {
    case 0:
    case 1:
        store(m);
        break;
    case 2:
    case 3:
        tn_l_set(k, m->reg, element(m), value(m, 0));
        break;
    case 4:
        keep(m, tn_l_get(k, m->reg, element(m)));
        break;
    case 5:
        keep(m, pick(m, 2) || m->lane ? tn_l_let(k, value(m, 0)) : tn_l_fold(k, TN_S_add, m->reg));
        break;
    case 6:
        tn_l_if(k, flag(m, 1));
        block(m);
        if (pick(m, 2)) {
            tn_l_else(k);
            block(m);
        }
        tn_l_end(k);
        break;
    default:
        loop(m);
        break;
    }
}

static void make(lab *l, uint64_t seed) {
    maker m = {.c = lab_new(l, "random"), .seed = seed};
    tn_loop *k = &m.c->k;
    m.x = lab_buffer(m.c, TN_LBUF_INPUT, TN_f32, X, "x");
    m.at = lab_buffer(m.c, TN_LBUF_INPUT, TN_i64, X, "at");
    m.y = lab_buffer(m.c, TN_LBUF_OUTPUT, TN_f32, TASKS * ROOM * STORES, "y");
    m.reg = tn_l_register(k, TN_f32, R, "r");
    m.c->hi.i = X;
    m.c->any_zero = true;
    lab_size(m.c, pick(&m, 5));
    lab_size(m.c, 1 + pick(&m, X - 1));
    lab_size(m.c, 0);
    k->tasks = tn_l_int(k, TASKS);
    tn_lx i = tn_l_for(k, TN_LOOP_VECTOR, tn_l_int(k, 0), tn_l_int(k, R), "i");
    tn_l_set(k, m.reg, i, tn_l_load(k, m.x, i, 0, 0));
    tn_l_end(k);
    m.vars[m.var_count++] = tn_l_task(k);
    for (int n = 0; n < 6; n++) statement(&m);
}

static void check(uint64_t seed) {
    lab l;
    lab_init(&l, seed);
    for (uint64_t i = 0; i < KERNELS; i++) make(&l, seed * 1000 + i);
    lab_check(&l);
    lab_deinit(&l);
}

static void test_render__random_kernels(void **state) {
    (void)state;
    const char *seed = getenv("TENON_SEED");
    check(seed ? strtoull(seed, NULL, 10) : 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_render__random_kernels)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

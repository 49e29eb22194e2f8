/* Assigned tensors in the memory of what they held: addresses and bytes stay, values are always right. */
#include "../test.h"

#include <math.h>
#include <pthread.h>
#include <string.h>

#include <tenon/tensor.h>

/* ---- helpers -------------------------------------------------------------------------------- */

static tn_context *context_with(tn_compile_mode mode) {
    tn_context_options o = TN_CONTEXT_OPTIONS_INIT;
    tn_context *c;
    tn_error err = TN_ERROR_INIT;
    o.compile.threads = 1;
    o.compile.mode = mode;
    if (tn_context_create(&o, &c, &err) != TN_OK) fail_msg("%s", err.message);
    return c;
}

static tn_context *context(void) {
    return context_with(TN_COMPILE_INTERPRET);
}

static void must(tn_status status, const tn_error *err) {
    char text[2048];
    if (status == TN_OK) return;
    tn_error_format(err, text, sizeof text);
    fail_msg("%s: %s", tn_status_name(status), text);
}

static void eval(tn_tensor *x) {
    tn_error err = TN_ERROR_INIT;
    must(tn_eval(&x, 1, &err), &err);
}

static tn_future *eval_async(tn_tensor *x) {
    tn_error err = TN_ERROR_INIT;
    tn_future *f;
    must(tn_eval_async(&x, 1, &f, &err), &err);
    return f;
}

static const void *address(tn_tensor *x) {
    tn_error err = TN_ERROR_INIT;
    tn_buffer b;
    must(tn_view(x, &b, &err), &err);
    return b.data;
}

static void check(tn_tensor *x, const float *want, int count) {
    float got[64];
    tn_error err = TN_ERROR_INIT;
    must(tn_read(x, got, (size_t)count * sizeof *got, &err), &err);
    for (int i = 0; i < count; i++)
        if (!(fabsf(got[i] - want[i]) <= 1e-6f * (1 + fabsf(want[i]))))
            fail_msg("element %d is %g, expected %g", i, (double)got[i], (double)want[i]);
}

#define CHECK(x, ...)                                                                              \
    check(x, (const float[]){__VA_ARGS__}, (int)(sizeof((float[]){__VA_ARGS__}) / sizeof(float)))

static tn_tensor *vector(tn_context *c, int n, const float *x) {
    return tn_tensor_from(c, TN_f32, TN_SHAPE(n), x);
}

#define VECTOR(c, ...)                                                                             \
    vector(c, (int)(sizeof((float[]){__VA_ARGS__}) / sizeof(float)), (const float[]){__VA_ARGS__})

static tn_context_stats statistics(tn_context *c) {
    tn_context_stats s;
    tn_context_statistics(c, &s);
    return s;
}

static void assign_and_release(tn_tensor *x, tn_tensor *value) {
    tn_assign(x, value);
    tn_release(value);
}

/* ---- one step after the other --------------------------------------------------------------- */

static void test_donation__keeps_addresses_and_bytes(void **state) {
    (void)state;
    tn_context *c = context();
    tn_tensor *x = VECTOR(c, 1, 2, 3), *m = VECTOR(c, 0, 0, 0);
    const void *at_x = address(x), *at_m = address(m);
    for (int step = 0; step < 3; step++) {
        tn_scope *scope = tn_scope_open(c);
        tn_assign(m, tn_add(tn_mul_scalar(m, 0.5), x));
        tn_assign(x, tn_sub(x, m));
        tn_scope_close(scope);
        eval(x);
        assert_ptr_equal(address(x), at_x);
        assert_ptr_equal(address(m), at_m);
    }
    assert_int_equal(statistics(c).compiles, 1);
    tn_release(x);
    tn_release(m);
    tn_context_release(c);
}

/* Adam over a layer and its bias: parameters and state are held once, whatever else a step makes. */
static void adam_step(tn_context *c, tn_tensor **p, tn_tensor **m, tn_tensor **v, tn_tensor *x) {
    tn_scope *scope = tn_scope_open(c);
    tn_tensor *grad[2];
    tn_tensor *y = tn_add(tn_matmul(x, p[0]), p[1]);
    tn_grad(tn_mean(tn_square(y), TN_ALL_AXES, false), NULL, p, 2, grad);
    for (int i = 0; i < 2; i++) {
        tn_assign(m[i], tn_add(tn_mul_scalar(m[i], 0.9), tn_mul_scalar(grad[i], 0.1)));
        tn_assign(v[i], tn_add(tn_mul_scalar(v[i], 0.99), tn_mul_scalar(tn_square(grad[i]), 0.01)));
        tn_tensor *slope = tn_div(m[i], tn_add_scalar(tn_sqrt(v[i]), 1e-3));
        tn_assign(p[i], tn_sub(p[i], tn_mul_scalar(slope, 0.1)));
    }
    tn_scope_close(scope);
    eval(p[0]);
}

/* The same on plain arrays. */
static void adam_reference(float *p, float *m, float *v, int steps) {
    static const float x[4] = {1, 2, -1, 0.5f}; /* [2,2] */
    for (int s = 0; s < steps; s++) {
        float y[4], g[6] = {0};
        for (int i = 0; i < 2; i++)
            for (int j = 0; j < 2; j++)
                y[2 * i + j] = x[2 * i] * p[j] + x[2 * i + 1] * p[2 + j] + p[4 + j];
        for (int i = 0; i < 2; i++)
            for (int j = 0; j < 2; j++) {
                float d = y[2 * i + j] / 2;
                g[j] += x[2 * i] * d;
                g[2 + j] += x[2 * i + 1] * d;
                g[4 + j] += d;
            }
        for (int i = 0; i < 6; i++) {
            m[i] = 0.9f * m[i] + 0.1f * g[i];
            v[i] = 0.99f * v[i] + 0.01f * g[i] * g[i];
            p[i] -= 0.1f * m[i] / (sqrtf(v[i]) + 1e-3f);
        }
    }
}

static void check_adam(tn_compile_mode mode) {
    tn_context *c = context_with(mode);
    float want[6] = {1, -2, 0.5f, 3, 0.25f, -1}, m_want[6] = {0}, v_want[6] = {0};
    tn_tensor *p[2] = {tn_tensor_from(c, TN_f32, TN_SHAPE(2, 2), want), vector(c, 2, want + 4)};
    tn_tensor *m[2] = {tn_tensor_from(c, TN_f32, TN_SHAPE(2, 2), NULL), vector(c, 2, NULL)};
    tn_tensor *v[2] = {tn_tensor_from(c, TN_f32, TN_SHAPE(2, 2), NULL), vector(c, 2, NULL)};
    tn_tensor *x = tn_tensor_from(c, TN_f32, TN_SHAPE(2, 2), ((float[]){1, 2, -1, 0.5f}));
    uint64_t held = statistics(c).bytes;
    for (int step = 0; step < 5; step++) adam_step(c, p, m, v, x);
    assert_int_equal(statistics(c).bytes, held);
    assert_int_equal(statistics(c).peak_bytes, held);
    assert_int_equal(statistics(c).compiles, 1);
    adam_reference(want, m_want, v_want, 5);
    check(p[0], want, 4);
    check(p[1], want + 4, 2);
    check(m[0], m_want, 4);
    check(v[1], v_want + 4, 2);
    for (int i = 0; i < 2; i++) {
        tn_release(p[i]);
        tn_release(m[i]);
        tn_release(v[i]);
    }
    tn_release(x);
    tn_context_release(c);
}

static void test_donation__adam_holds_parameters_and_state_once(void **state) {
    (void)state;
    check_adam(TN_COMPILE_INTERPRET);
}

static void test_donation__adam_compiled(void **state) {
    (void)state;
    check_adam(TN_COMPILE_AUTO);
}

/* ---- who else needs the old value ----------------------------------------------------------- */

static void test_donation__another_tensor_keeps_the_old_value(void **state) {
    (void)state;
    tn_context *c = context();
    tn_tensor *x = VECTOR(c, 1, 2, 3), *old = VECTOR(c, 0, 0, 0);
    const void *at = address(x);
    tn_assign(old, x); /* they share the memory now */
    assign_and_release(x, tn_mul_scalar(x, 2));
    eval(x);
    CHECK(old, 1, 2, 3);
    CHECK(x, 2, 4, 6);
    assert_ptr_equal(address(old), at);
    assert_ptr_not_equal(address(x), at);
    at = address(x);
    assign_and_release(x, tn_mul_scalar(x, 2)); /* the same program, now in place */
    eval(x);
    CHECK(x, 4, 8, 12);
    assert_ptr_equal(address(x), at);
    assert_int_equal(statistics(c).compiles, 1);
    tn_release(x);
    tn_release(old);
    tn_context_release(c);
}

static void test_donation__another_part_keeps_the_old_value(void **state) {
    (void)state;
    tn_context *c = context();
    tn_tensor *x = VECTOR(c, 1, 2, 3);
    tn_tensor *later = tn_add_scalar(x, 10); /* pending; only the weight joins it to the update */
    assign_and_release(x, tn_mul_scalar(x, 2));
    eval(x);
    CHECK(x, 2, 4, 6);
    CHECK(later, 11, 12, 13);
    tn_release(later);
    tn_release(x);
    tn_context_release(c);
}

static void test_donation__old_and_new_value_in_one_program(void **state) {
    (void)state;
    tn_context *c = context();
    tn_scope *scope = tn_scope_open(c);
    tn_tensor *x = VECTOR(c, 1, 2, 3);
    const void *at = address(x);
    tn_tensor *before = tn_mul_scalar(x, 10);
    tn_assign(x, tn_add(x, x));
    tn_tensor *after = tn_add(tn_mul_scalar(x, 100), before); /* reads the new one */
    tn_tensor *view = tn_reshape(x, TN_SHAPE(3, 1));
    eval(after);
    CHECK(x, 2, 4, 6);
    CHECK(before, 10, 20, 30);
    CHECK(after, 210, 420, 630);
    CHECK(view, 2, 4, 6);
    assert_ptr_equal(address(x), at);
    tn_scope_close(scope);
    tn_context_release(c);
}

static void test_donation__a_view_of_the_old_value_is_a_result_too(void **state) {
    (void)state;
    tn_context *c = context();
    tn_scope *scope = tn_scope_open(c);
    tn_tensor *x = VECTOR(c, 1, 2, 3, 4);
    tn_tensor *rows = tn_reshape(x, TN_SHAPE(2, 2)), *part = tn_slice(x, 0, 1, 3, 1);
    tn_tensor *both = tn_add(tn_mul_scalar(x, 2), tn_reshape(rows, TN_SHAPE(4)));
    tn_assign(x, tn_sub(both, tn_sum(part, TN_AXES(0), true)));
    eval(x);
    CHECK(x, -2, 1, 4, 7);
    CHECK(rows, 1, 2, 3, 4);
    CHECK(part, 2, 3);
    tn_scope_close(scope);
    tn_context_release(c);
}

static void test_donation__two_tensors_of_one_memory(void **state) {
    (void)state;
    tn_context *c = context();
    tn_scope *scope = tn_scope_open(c);
    tn_tensor *a = VECTOR(c, 1, 2, 3), *b = VECTOR(c, 0, 0, 0);
    tn_assign(b, a);
    tn_tensor *sum = tn_add(a, b), *x = tn_mul(sum, a), *y = tn_sub(sum, b);
    tn_assign(a, x); /* both want the memory that they share */
    tn_assign(b, y);
    eval(a);
    CHECK(a, 2, 8, 18);
    CHECK(b, 1, 2, 3);
    tn_assign(a, tn_add(b, b)); /* one value for two */
    tn_assign(b, a);
    eval(a);
    CHECK(a, 2, 4, 6);
    CHECK(b, 2, 4, 6);
    tn_assign(a, tn_add_scalar(a, 1));
    eval(a);
    CHECK(a, 3, 5, 7);
    CHECK(b, 2, 4, 6);
    tn_scope_close(scope);
    tn_context_release(c);
}

/* ---- values that read other elements -------------------------------------------------------- */

static void test_donation__swaps(void **state) {
    (void)state;
    tn_context *c = context();
    tn_tensor *a = VECTOR(c, 1, 2, 3), *b = VECTOR(c, 4, 5, 6), *d = VECTOR(c, 7, 8, 9);
    tn_tensor *all[] = {a, b, d};
    const void *at[] = {address(a), address(b), address(d)};
    tn_error err = TN_ERROR_INIT;
    for (int step = 0; step < 3; step++) { /* a, b, d = b, d, a, which is nothing but copies */
        tn_scope *scope = tn_scope_open(c);
        tn_tensor *turned = tn_concat((tn_tensor *[]){b, d, a}, 3, 0);
        tn_assign(a, tn_slice(turned, 0, 0, 3, 1));
        tn_assign(b, tn_slice(turned, 0, 3, 6, 1));
        tn_assign(d, tn_slice(turned, 0, 6, 9, 1));
        tn_scope_close(scope);
        must(tn_eval(all, 3, &err), &err);
        for (int i = 0; i < 3; i++) assert_ptr_equal(address(all[i]), at[i]);
        if (step > 0) continue;
        CHECK(a, 4, 5, 6);
        CHECK(b, 7, 8, 9);
        CHECK(d, 1, 2, 3);
    }
    CHECK(a, 1, 2, 3);
    CHECK(b, 4, 5, 6);
    CHECK(d, 7, 8, 9);
    for (int i = 0; i < 3; i++) tn_release(all[i]);
    tn_context_release(c);
}

static void test_donation__reads_other_elements(void **state) {
    (void)state;
    tn_context *c = context();
    tn_scope *scope = tn_scope_open(c);
    tn_tensor *x = VECTOR(c, 1, 2, 3, 4, 5);
    tn_tensor *y = tn_tensor_from(c, TN_f32, TN_SHAPE(2, 2), ((float[]){1, 2, 3, 4}));
    tn_tensor *z = VECTOR(c, 0, 1, 0, 1), *w = VECTOR(c, 1, 2, 3);
    const void *at[] = {address(x), address(y), address(z), address(w)};
    tn_assign(x, tn_add(x, tn_slice(x, 0, -1, TN_END, -1)));
    tn_assign(y, tn_permute(y, TN_AXES(1, 0)));
    tn_assign(z, tn_softmax(z, -1));
    tn_assign(w, tn_cumsum(w, 0));
    CHECK(x, 6, 6, 6, 6, 6);
    CHECK(y, 1, 3, 2, 4);
    float e = expf(1);
    CHECK(z, 0.5f / (1 + e), 0.5f * e / (1 + e), 0.5f / (1 + e), 0.5f * e / (1 + e));
    CHECK(w, 1, 3, 6);
    tn_tensor *all[] = {x, y, z, w};
    for (int i = 0; i < 4; i++) assert_ptr_equal(address(all[i]), at[i]);
    tn_scope_close(scope);
    tn_context_release(c);
}

/* A product that reads the weight beside its update; x times x into x. */
static void test_donation__products(void **state) {
    (void)state;
    tn_context *c = context();
    tn_scope *all = tn_scope_open(c);
    tn_tensor *w = tn_tensor_from(c, TN_f32, TN_SHAPE(2, 2), ((float[]){1, 2, 3, 4}));
    tn_tensor *x = tn_tensor_from(c, TN_f32, TN_SHAPE(1, 2), ((float[]){1, 1}));
    const void *at = address(w);
    tn_scope *scope = tn_scope_open(c);
    tn_tensor *y = tn_matmul(x, w);
    tn_tensor *dx = tn_matmul(y, tn_permute(w, TN_AXES(1, 0)));
    tn_tensor *dw = tn_matmul(tn_permute(x, TN_AXES(1, 0)), y);
    tn_assign(w, tn_sub(w, tn_mul_scalar(dw, 0.5)));
    eval(w);
    CHECK(y, 4, 6);
    CHECK(dx, 16, 36);
    CHECK(w, -1, -1, 1, 1);
    tn_scope_close(scope); /* the handle of the new value goes, which would keep it */
    assign_and_release(w, tn_matmul(w, w));
    CHECK(w, 0, 0, 0, 0);
    scope = tn_scope_open(c);
    tn_assign(w, tn_add_scalar(tn_matmul(w, w), 2));
    CHECK(w, 2, 2, 2, 2);
    assert_ptr_equal(address(w), at);
    tn_scope_close(scope);
    tn_scope_close(all);
    tn_context_release(c);
}

/* ---- assigned more than once, or not evaluated ---------------------------------------------- */

static void test_donation__assigned_twice_or_back(void **state) {
    (void)state;
    tn_context *c = context();
    tn_scope *scope = tn_scope_open(c);
    tn_tensor *x = VECTOR(c, 1, 2), *y = VECTOR(c, 5, 6);
    const void *at = address(x);
    tn_assign(x, tn_add_scalar(x, 1));
    tn_assign(x, tn_mul_scalar(x, 2));
    CHECK(x, 4, 6);
    assert_ptr_equal(address(x), at);
    tn_assign(x, tn_add_scalar(x, 1));
    tn_assign(x, y); /* forgets the update */
    CHECK(x, 5, 6);
    tn_assign(x, tn_add_scalar(x, 1));
    CHECK(y, 5, 6);
    CHECK(x, 6, 7);
    tn_assign(x, tn_mul(y, y)); /* does not read its old value */
    CHECK(x, 25, 36);
    tn_assign(x, tn_exp(x));
    tn_release(tn_keep(x)); /* never evaluated */
    tn_scope_close(scope);
    assert_int_equal(statistics(c).tensors, 0);
    tn_context_release(c);
}

static void test_donation__a_failed_value_fails_the_tensor(void **state) {
    (void)state;
    tn_context *c = context();
    tn_error err = TN_ERROR_INIT;
    tn_tensor *x = VECTOR(c, 1, 2),
              *index = tn_tensor_from(c, TN_i64, TN_SHAPE(2), ((int64_t[]){0, 7}));
    tn_tensor *picked = tn_take(x, index, 0);
    tn_tensor *scale = tn_mul(x, picked);
    tn_assign(x, scale);
    tn_release(scale);
    tn_release(picked);
    assert_int_equal(tn_eval(&x, 1, &err), TN_RUNTIME);
    assert_false(tn_tensor_ok(x));
    tn_tensor *fresh = VECTOR(c, 3, 4);
    tn_context_clear_error(c);
    tn_assign(x, fresh);
    CHECK(x, 3, 4);
    tn_release(fresh);
    tn_release(index);
    tn_release(x);
    assert_int_equal(statistics(c).bytes, 0);
    tn_context_release(c);
}

/* ---- anything ------------------------------------------------------------------------------- */

enum { TENSORS = 5, ELEMENTS = 4 };

/* Tensors and what they should hold. All values are those of the beginning or their negatives. */
typedef struct random_state {
    tn_context *c;
    uint64_t seed;
    tn_tensor *x[TENSORS];
    float want[TENSORS][ELEMENTS];
} random_state;

static uint32_t pick(random_state *r, uint32_t end) {
    return (uint32_t)(test_random(&r->seed) >> 33) % end;
}

/* max(x[j], -x[k]), or min(x[j], x[k] backwards), as a new tensor; `out` may be want[j] or want[k]. */
static tn_tensor *random_value(random_state *r, uint32_t j, uint32_t k, float *out) {
    tn_scope *scope = tn_scope_open(r->c);
    bool turned = pick(r, 2);
    tn_tensor *other = turned ? tn_slice(r->x[k], 0, -1, TN_END, -1) : tn_neg(r->x[k]);
    tn_tensor *y = tn_keep(turned ? tn_minimum(r->x[j], other) : tn_maximum(r->x[j], other));
    float want[ELEMENTS];
    for (int i = 0; i < ELEMENTS; i++) {
        float a = r->want[j][i], b = turned ? r->want[k][ELEMENTS - 1 - i] : -r->want[k][i];
        want[i] = turned ? fminf(a, b) : fmaxf(a, b);
    }
    memcpy(out, want, sizeof want);
    tn_scope_close(scope);
    return y;
}

static void random_rotation(random_state *r, uint32_t first) {
    uint32_t at[3];
    float want[3][ELEMENTS];
    tn_scope *scope = tn_scope_open(r->c);
    for (uint32_t i = 0; i < 3; i++) at[i] = (first + i) % TENSORS;
    tn_tensor *all = tn_concat((tn_tensor *[]){r->x[at[1]], r->x[at[2]], r->x[at[0]]}, 3, 0);
    for (uint32_t i = 0; i < 3; i++) memcpy(want[i], r->want[at[(i + 1) % 3]], sizeof want[i]);
    for (uint32_t i = 0; i < 3; i++) {
        tn_assign(r->x[at[i]], tn_slice(all, 0, ELEMENTS * i, ELEMENTS * (i + 1), 1));
        memcpy(r->want[at[i]], want[i], sizeof want[i]);
    }
    tn_scope_close(scope);
}

static void random_step(random_state *r) {
    uint32_t i = pick(r, TENSORS), j = pick(r, TENSORS), k = pick(r, TENSORS);
    switch (pick(r, 8)) {
    case 0:
        tn_assign(r->x[i], r->x[j]);
        memmove(r->want[i], r->want[j], sizeof r->want[i]);
        break;
    case 1:
        random_rotation(r, i);
        break;
    case 2: { /* another handle */
        tn_tensor *y = random_value(r, j, k, r->want[i]);
        tn_release(r->x[i]);
        r->x[i] = y;
        break;
    }
    case 3:
        check(r->x[i], r->want[i], ELEMENTS);
        break;
    case 4:
        tn_future_release(eval_async(r->x[i]));
        break;
    default:
        assign_and_release(r->x[i], random_value(r, j, k, r->want[i]));
    }
}

static void test_donation__anything(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        random_state r = {.c = context(), .seed = seed};
        for (int i = 0; i < TENSORS; i++) {
            for (int e = 0; e < ELEMENTS; e++) r.want[i][e] = (float)pick(&r, 100) - 50;
            r.x[i] = vector(r.c, ELEMENTS, r.want[i]);
        }
        for (int step = 0; step < 40; step++) random_step(&r);
        for (int i = 0; i < TENSORS; i++) check(r.x[i], r.want[i], ELEMENTS);
        for (int i = 0; i < TENSORS; i++) tn_release(r.x[i]);
        tn_context_release(r.c);
    }
}

/* ---- in the background ---------------------------------------------------------------------- */

static void test_donation__steps_in_flight(void **state) {
    (void)state;
    enum { STEPS = 40 };
    tn_context *c = context();
    tn_tensor *x = VECTOR(c, 1, 2, 3), *kept = NULL;
    tn_future *f[STEPS];
    const void *at = address(x);
    uint64_t held = statistics(c).bytes;
    for (int step = 0; step < STEPS; step++) {
        assign_and_release(x, tn_add_scalar(x, 1));
        f[step] = eval_async(x);
        if (step != STEPS / 2) continue;
        kept = VECTOR(c, 0, 0,
                      0); /* holds the value of this step, which the next one must not overwrite */
        tn_assign(kept, x);
    }
    CHECK(x, 41, 42, 43);
    CHECK(kept, 22, 23, 24);
    assert_ptr_equal(address(kept), at);
    assert_true(statistics(c).bytes <= 2 * held);
    assert_true(statistics(c).peak_bytes <= 3 * held);
    for (int step = 0; step < STEPS; step++) tn_future_release(f[step]);
    tn_release(kept);
    tn_release(x);
    tn_context_release(c);
}

typedef struct reader {
    tn_tensor *x;
    int bad;
} reader;

/* What is read is the value of some step, never half of two. */
static void *read_often(void *argument) {
    reader *r = argument;
    tn_error err = TN_ERROR_INIT;
    float got[64];
    for (int i = 0; i < 200; i++) {
        if (tn_read(r->x, got, sizeof got, &err) != TN_OK) r->bad++;
        for (int j = 1; j < 64; j++) r->bad += got[j] != got[0];
    }
    return NULL;
}

static void test_donation__reading_beside_updates(void **state) {
    (void)state;
    tn_context *c = context();
    tn_tensor *x = tn_tensor_from(c, TN_f32, TN_SHAPE(64), NULL);
    reader r = {x, 0};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, read_often, &r), 0);
    for (int step = 0; step < 200; step++) {
        assign_and_release(x, tn_add_scalar(x, 1));
        tn_future_release(eval_async(x));
    }
    pthread_join(thread, NULL);
    assert_int_equal(r.bad, 0);
    float last[64];
    for (int i = 0; i < 64; i++) last[i] = 200;
    check(x, last, 64);
    tn_release(x);
    tn_context_release(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_donation__keeps_addresses_and_bytes),
        cmocka_unit_test(test_donation__adam_holds_parameters_and_state_once),
        cmocka_unit_test(test_donation__adam_compiled),
        cmocka_unit_test(test_donation__another_tensor_keeps_the_old_value),
        cmocka_unit_test(test_donation__another_part_keeps_the_old_value),
        cmocka_unit_test(test_donation__old_and_new_value_in_one_program),
        cmocka_unit_test(test_donation__a_view_of_the_old_value_is_a_result_too),
        cmocka_unit_test(test_donation__two_tensors_of_one_memory),
        cmocka_unit_test(test_donation__swaps),
        cmocka_unit_test(test_donation__reads_other_elements),
        cmocka_unit_test(test_donation__products),
        cmocka_unit_test(test_donation__assigned_twice_or_back),
        cmocka_unit_test(test_donation__a_failed_value_fails_the_tensor),
        cmocka_unit_test(test_donation__anything),
        cmocka_unit_test(test_donation__steps_in_flight),
        cmocka_unit_test(test_donation__reading_beside_updates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Initial values of parameters. See init.h, tenon/nn.h.
 *
 * Element n is made from block n / 2 of the key's Philox stream, in f64, and rounded once. */
#include "nn/init.h"

#include <inttypes.h>
#include <math.h>

#include "base/random.h"

/* ---- makers --------------------------------------------------------------------------------- */

tn_init tn_init_zeros(void) {
    return tn_init_constant(0);
}
tn_init tn_init_ones(void) {
    return tn_init_constant(1);
}
tn_init tn_init_constant(double value) {
    return (tn_init){.kind = TN_INIT_CONSTANT, .a = value};
}
tn_init tn_init_uniform(double lo, double hi) {
    return (tn_init){.kind = TN_INIT_UNIFORM, .lo = lo, .hi = hi};
}
tn_init tn_init_normal(double mean, double deviation) {
    return (tn_init){.kind = TN_INIT_NORMAL, .a = mean, .b = deviation};
}
tn_init tn_init_truncated_normal(double mean, double deviation, double lo, double hi) {
    return (tn_init){
        .kind = TN_INIT_TRUNCATED_NORMAL, .a = mean, .b = deviation, .lo = lo, .hi = hi};
}
tn_init tn_init_kaiming_uniform(double slope, tn_fan fan) {
    return (tn_init){.kind = TN_INIT_KAIMING_UNIFORM, .fan = fan, .a = slope};
}
tn_init tn_init_kaiming_normal(double slope, tn_fan fan) {
    return (tn_init){.kind = TN_INIT_KAIMING_NORMAL, .fan = fan, .a = slope};
}
tn_init tn_init_xavier_uniform(double gain) {
    return (tn_init){.kind = TN_INIT_XAVIER_UNIFORM, .a = gain};
}
tn_init tn_init_xavier_normal(double gain) {
    return (tn_init){.kind = TN_INIT_XAVIER_NORMAL, .a = gain};
}

/* ---- from fans to uniform and normal -------------------------------------------------------- */

static bool counts_fans(tn_init_kind kind) {
    return kind >= TN_INIT_KAIMING_UNIFORM;
}

static double deviation_of(const tn_init *init, int rank, const int64_t *dim) {
    double window = 1;
    for (int a = 2; a < rank; a++) window *= (double)dim[a];
    double in = (double)dim[1] * window, out = (double)dim[0] * window;
    if (init->kind == TN_INIT_XAVIER_UNIFORM || init->kind == TN_INIT_XAVIER_NORMAL)
        return init->a * sqrt(2 / (in + out));
    return sqrt(2 / (1 + init->a * init->a) / (init->fan == TN_FAN_OUT ? out : in));
}

static tn_init plain(const tn_init *init, const tn_array *x) {
    if (init->kind == TN_INIT_DEFAULT) return tn_init_zeros();
    if (!counts_fans(init->kind)) return *init;
    double deviation = deviation_of(init, x->rank, x->dim), bound = sqrt(3) * deviation;
    bool normal = init->kind == TN_INIT_KAIMING_NORMAL || init->kind == TN_INIT_XAVIER_NORMAL;
    return normal ? tn_init_normal(0, deviation) : tn_init_uniform(-bound, bound);
}

tn_status tn__init_check(const tn_init *init, tn_dtype dtype, int rank, const int64_t *dim,
                         tn_error *err) {
    if (init->kind > TN_INIT_XAVIER_NORMAL)
        return tn_error_set(err, TN_INVALID, "there is no kind %d of initial values",
                            (int)init->kind);
    if (init->kind > TN_INIT_CONSTANT && !tn_dtype_is_float(dtype))
        return tn_error_set(err, TN_INVALID, "random initial values of type %s; expected a float",
                            tn_dtype_name(dtype));
    if (counts_fans(init->kind) && rank < 2)
        return tn_error_set(
            err, TN_INVALID,
            "initial values that depend on the fan need a weight [out, in, …]; this "
            "one has %d axes",
            rank);
    if (counts_fans(init->kind) && (dim[0] == 0 || dim[1] == 0))
        return tn_error_set(err, TN_INVALID, "the fan of a weight %" PRId64 "×%" PRId64 " is 0",
                            dim[0], dim[1]);
    if (init->kind == TN_INIT_TRUNCATED_NORMAL && !(init->lo < init->hi))
        return tn_error_set(err, TN_INVALID,
                            "a normal distribution truncated to %g … %g deviations", init->lo,
                            init->hi);
    return TN_OK;
}

/* ---- numbers -------------------------------------------------------------------------------- */

static const double ROOT_2 = 1.41421356237309504880;
static const double PI = 3.14159265358979323846;

/* Two numbers in [0, 1). */
static void draw(uint64_t key, uint64_t block, double out[2]) {
    uint32_t x[4];
    tn_philox(key, block, x);
    for (int i = 0; i < 2; i++) {
        uint64_t bits = (uint64_t)x[2 * i] | (uint64_t)x[2 * i + 1] << 32;
        out[i] = (double)(bits >> 11) * 0x1p-53;
    }
}

/* The area of N(0, 1) below x. */
static double normal_area(double x) {
    return erfc(-x / ROOT_2) / 2;
}

/* Winitzki's approximation ("A handy approximation for the error function and its inverse", 2008;
 * relative error 2e-3), then Halley's steps, which cube the error. */
static double inverse_erf(double y) {
    static const double A = 0.147, ROOT_PI = 1.77245385090551602730;
    if (fabs(y) >= 1) return y > 0 ? (double)INFINITY : -(double)INFINITY;
    double l = log1p(-y * y), k = 2 / (PI * A) + l / 2;
    double x = copysign(sqrt(sqrt(k * k - l / A) - k), y);
    for (int i = 0; i < 2; i++) {
        double e = (erf(x) - y) * ROOT_PI / 2 * exp(x * x);
        x -= e / (1 + x * e);
    }
    return x;
}

/* One block's two elements. */
static void make_pair(const tn_init *p, uint64_t key, uint64_t block, double out[2]) {
    draw(key, block, out);
    if (p->kind == TN_INIT_UNIFORM) {
        for (int i = 0; i < 2; i++) out[i] = p->lo + (p->hi - p->lo) * out[i];
    } else if (p->kind == TN_INIT_NORMAL) { /* Box, Muller 1958 */
        double radius = p->b * sqrt(-2 * log1p(-out[0])), angle = 2 * PI * out[1];
        out[0] = p->a + radius * cos(angle);
        out[1] = p->a + radius * sin(angle);
    } else { /* by the inverse of the distribution function */
        double lo = normal_area(p->lo), hi = normal_area(p->hi);
        for (int i = 0; i < 2; i++) {
            double x = ROOT_2 * inverse_erf(2 * (lo + (hi - lo) * out[i]) - 1);
            out[i] = p->a + p->b * fmin(fmax(x, p->lo), p->hi);
        }
    }
}

static void store(tn_array *x, int64_t i, double value) {
    if (x->dtype == TN_f32)
        ((float *)x->data)[i] = (float)value;
    else
        tn_array_set(x, i, tn_cell_of(x->dtype, value));
}

void tn__init_fill(const tn_init *init, uint64_t key, tn_array *out) {
    tn_init p = plain(init, out);
    int64_t count = tn_array_count(out);
    for (int64_t i = 0; i < count; i += 2) {
        double pair[2] = {p.a, p.a};
        if (p.kind != TN_INIT_CONSTANT) make_pair(&p, key, (uint64_t)i / 2, pair);
        store(out, i, pair[0]);
        if (i + 1 < count) store(out, i + 1, pair[1]);
    }
}

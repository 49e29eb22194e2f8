/* Winograd transforms as expressions. See winograd.h.
 *
 * With P(x²) = ∏ (x² − p²) over the pairs and Q(x²) = P / (x² − p²) for one of them, a polynomial's
 * coefficients being those of the even powers:
 *   Bᵀ  at 0: P · (d0, d2, d4);  at infinity: P · (d1, d3, d5);
 *       at ±p: Q · (d2, d4) ± p Q · (d1, d3)
 *   G   at 0: g0 / P(0);  at infinity: g2;
 *       at ±p: (g0 ± p g1 + p² g2) / (2 p² Q(p²))
 *   Aᵀ  y[i] = Σ pⁱ (x[+p] + (−1)ⁱ x[−p]), with x[0] in the first and x[∞] in the last */
#include "codegen/winograd.h"

/* The points of F(4×4, 3×3) decide its error: with 512 channels of normal data the largest one, over the
 * largest result, is 1.4e-5 for the usual 1 and 2, 1.1e-5 for 1/2 and 1, 3.5e-6 for these (the direct sum
 * in f32: 2.4e-6), whose powers are exact in f32. Barabasz et al., "Error Analysis and Improving the
 * Accuracy of Winograd Convolution for Deep Neural Networks" (ACM TOMS, 2020), on why. */
tn_winograd tn_winograd_of(uint32_t m) {
    TN_ASSERT(m == 2 || m == 4);
    if (m == 2) return (tn_winograd){.m = 2, .n = 4, .pairs = 1, .pair = {1}};
    return (tn_winograd){.m = 4, .n = 6, .pairs = 2, .pair = {0.75, 1.5}};
}

/* ---- sums of few terms ---------------------------------------------------------------------- */

/* sum + a·x; NONE is an empty sum. */
static tn_lx term(tn_loop *k, tn_lx sum, double a, tn_lx x) {
    tn_lx factor = tn_l_number(k, tn_l_type(k, x), a);
    if (a == 0) return sum;
    if (sum == TN_LX_NONE) return a == 1 ? x : tn_l_op2(k, TN_S_mul, factor, x);
    if (a == 1) return tn_l_op2(k, TN_S_add, sum, x);
    if (a == -1) return tn_l_op2(k, TN_S_sub, sum, x);
    return tn_l_op3(k, TN_S_mad, factor, x, sum);
}

/* Σ c[i] · x[2i], the highest power first: its coefficient is 1. */
static tn_lx even_terms(tn_loop *k, const double *c, uint32_t count, const tn_lx *x) {
    tn_lx sum = TN_LX_NONE;
    for (uint32_t i = count; i-- > 0;) sum = term(k, sum, c[i], x[2 * i]);
    return tn_l_let(k, sum);
}

/* Coefficients of ∏ (y − p²) over the pairs other than `without`; returns their number. */
static uint32_t polynomial(const tn_winograd *w, uint32_t without, double *c) {
    uint32_t degree = 0;
    c[0] = 1;
    for (uint32_t l = 0; l < w->pairs; l++) {
        if (l == without) continue;
        double square = w->pair[l] * w->pair[l];
        c[degree + 1] = c[degree];
        for (uint32_t i = degree; i > 0; i--) c[i] = c[i - 1] - square * c[i];
        c[0] = -square * c[0];
        degree++;
    }
    return degree + 1;
}

static double value_at(const double *c, uint32_t count, double y) {
    double sum = 0;
    for (uint32_t i = count; i-- > 0;) sum = sum * y + c[i];
    return sum;
}

/* ---- along one axis ------------------------------------------------------------------------- */

static void input_line(tn_loop *k, const tn_winograd *w, const tn_lx *d, tn_lx *out) {
    double c[TN_WINOGRAD_PAIRS + 1];
    uint32_t count = polynomial(w, w->pairs, c);
    out[0] = even_terms(k, c, count, d);
    out[w->n - 1] = even_terms(k, c, count, d + 1);
    for (uint32_t l = 0; l < w->pairs; l++) {
        count = polynomial(w, l, c);
        tn_lx even = even_terms(k, c, count, d + 2), odd = even_terms(k, c, count, d + 1);
        out[1 + 2 * l] = term(k, even, w->pair[l], odd);
        out[2 + 2 * l] = term(k, even, -w->pair[l], odd);
    }
}

static void kernel_line(tn_loop *k, const tn_winograd *w, const tn_lx *g, tn_lx *out) {
    double c[TN_WINOGRAD_PAIRS + 1];
    uint32_t count = polynomial(w, w->pairs, c);
    out[0] = term(k, TN_LX_NONE, 1 / c[0], g[0]);
    out[w->n - 1] = g[2];
    for (uint32_t l = 0; l < w->pairs; l++) {
        double p = w->pair[l], square = p * p;
        count = polynomial(w, l, c);
        double scale = 1 / (2 * square * value_at(c, count, square));
        tn_lx even = term(k, term(k, TN_LX_NONE, scale, g[0]), scale * square, g[2]);
        out[1 + 2 * l] = term(k, even, scale * p, g[1]);
        out[2 + 2 * l] = term(k, even, -scale * p, g[1]);
    }
}

static void output_line(tn_loop *k, const tn_winograd *w, const tn_lx *x, tn_lx *out) {
    tn_lx sum[TN_WINOGRAD_PAIRS], difference[TN_WINOGRAD_PAIRS];
    double power[TN_WINOGRAD_PAIRS];
    for (uint32_t l = 0; l < w->pairs; l++) {
        const tn_lx *at = x + 1 + 2 * l;
        sum[l] = tn_l_let(k, tn_l_op2(k, TN_S_add, at[0], at[1]));
        difference[l] = tn_l_let(k, tn_l_op2(k, TN_S_sub, at[0], at[1]));
        power[l] = 1;
    }
    for (uint32_t i = 0; i < w->m; i++) {
        tn_lx y = i == 0 ? x[0] : i == w->m - 1 ? x[w->n - 1] : TN_LX_NONE;
        for (uint32_t l = 0; l < w->pairs; l++) {
            y = term(k, y, power[l], i % 2 ? difference[l] : sum[l]);
            power[l] *= w->pair[l];
        }
        out[i] = y;
    }
}

/* ---- along both ----------------------------------------------------------------------------- */

typedef void line_transform(tn_loop *k, const tn_winograd *w, const tn_lx *in, tn_lx *out);

static void both_axes(tn_loop *k, const tn_winograd *w, line_transform *line, uint32_t from,
                      uint32_t to, const tn_lx *in, tn_lx *out) {
    tn_lx middle[TN_WINOGRAD_SIDE][TN_WINOGRAD_SIDE]; /* [to][from] */
    for (uint32_t j = 0; j < from; j++) {
        tn_lx column[TN_WINOGRAD_SIDE], done[TN_WINOGRAD_SIDE];
        for (uint32_t i = 0; i < from; i++) column[i] = in[i * from + j];
        line(k, w, column, done);
        for (uint32_t i = 0; i < to; i++) middle[i][j] = tn_l_let(k, done[i]);
    }
    for (uint32_t i = 0; i < to; i++) line(k, w, middle[i], out + i * to);
}

void tn_winograd_input(tn_loop *k, const tn_winograd *w, const tn_lx *d, tn_lx *out) {
    both_axes(k, w, input_line, w->n, w->n, d, out);
}

void tn_winograd_kernel(tn_loop *k, const tn_winograd *w, const tn_lx *g, tn_lx *out) {
    both_axes(k, w, kernel_line, 3, w->n, g, out);
}

void tn_winograd_output(tn_loop *k, const tn_winograd *w, const tn_lx *x, tn_lx *out) {
    both_axes(k, w, output_line, w->n, w->m, x, out);
}

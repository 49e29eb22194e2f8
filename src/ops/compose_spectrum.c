/* Spectra of frames: the inverse transform of real signals, the short-time transform, mel filters.
 * The discrete Fourier transform itself is in compose_signal.c. See compose.h. */
#include <math.h>

#include "ops/compose.h"
#include "ops/parts.h"

enum { LONGEST = 2048, MEL_MOST = 1 << 24, FRAMES_MOST = 1 << 24 }; /* elements of tables */

static tn_value table(tn_builder *b, tn_dtype dtype, int rank, const int64_t *dim,
                      const double *value) {
    tn_array a = tn_array_new(b->graph->arena, dtype, rank, dim);
    for (int64_t i = 0; i < tn_array_count(&a); i++)
        tn_array_set(&a, i, tn_cell_cast(TN_f64, dtype, (tn_cell){.f = value[i]}));
    return tn_b_constant(b, &a);
}

/* ---- inverse transform of half a spectrum --------------------------------------------------- */

/* y[t] = 1/n Σₖ wₖ (Re xₖ cos 2πkt/n − Im xₖ sin 2πkt/n), wₖ = 1 for k = 0 and 2k = n, else 2: the
 * other half is the conjugate. */
static tn_value half_table(tn_builder *b, int64_t count, int64_t length, tn_dtype dtype) {
    static const double TWO_PI = 6.283185307179586476925;
    int64_t dim[] = {count, 2, length}, at = 0;
    double *value = TN_NEW_N(b->graph->arena, double, count * 2 * length);
    for (int64_t k = 0; k < count; k++)
        for (int part = 0; part < 2; part++)
            for (int64_t t = 0; t < length; t++) {
                double angle = TWO_PI * (double)(k * t % length) / (double)length;
                double weight = k == 0 || 2 * k == length ? 1 : 2;
                value[at++] = weight / (double)length * (part ? -sin(angle) : cos(angle));
            }
    return table(b, dtype, 3, dim, value);
}

tn_value tn_b_inverse_real_dft(tn_builder *b, tn_value x, int axis, int64_t length) {
    int rank = tn_b_rank(b, x);
    int64_t size;
    if (axis < 0) axis += rank;
    if (tn_b_ok(b) && (rank < 2 || axis < 0 || axis >= rank - 1 || tn_b_dim(b, x, -1) != 2))
        return tn_b_fail(
            b, TN_INVALID,
            "inverse_real_dft: axis %d of x with %d axes; the last axis must hold real "
            "and imaginary part",
            axis, rank);
    if (!tn_b_ok(b)) return TN_NO_VALUE;
    if (!tn_dim_const_value(b->graph->dims, tn_b_dim(b, x, axis), &size))
        return tn_b_fail(b, TN_UNSUPPORTED,
                         "inverse_real_dft: the size of axis %d must be constant", axis);
    if (length == 0) length = 2 * (size - 1);
    if (length < 1 || length > LONGEST)
        return tn_b_fail(b, TN_UNSUPPORTED, "inverse_real_dft: length %lld; expected 1 to %d",
                         (long long)length, LONGEST);
    int64_t count = TN_MIN(size, length / 2 + 1);
    tn_dtype dtype = tn_b_type(b, x).dtype;
    tn_attrs_dot a = {.lhs_contract = {2, {axis, rank - 1}},
                      .rhs_contract = {2, {0, 1}},
                      .acc = tn_b_accumulator(dtype)};
    tn_value in[] = {tn_b_cast(b, tn_b_slice_axis(b, x, axis, 0, count, 1), a.acc),
                     half_table(b, count, length, a.acc)};
    tn_value y = tn_b_move(b, tn_b_node(b, TN_OP_dot, in, 2, &a), rank - 2, axis);
    return tn_b_cast(b, tn_b_unsqueeze(b, y, rank - 1), dtype);
}

/* ---- short-time transform ------------------------------------------------------------------- */

tn_value tn_b_stft(tn_builder *b, tn_value signal, tn_value window, int64_t step, int64_t length,
                   bool onesided) {
    int64_t size;
    if (tn_b_ok(b) && tn_b_rank(b, signal) != 3)
        return tn_b_fail(b, TN_INVALID, "stft: the signal has %d axes; expected [N, length, parts]",
                         tn_b_rank(b, signal));
    if (!tn_b_ok(b)) return TN_NO_VALUE;
    if (!tn_dim_const_value(b->graph->dims, tn_b_dim(b, signal, 1), &size))
        return tn_b_fail(b, TN_UNSUPPORTED, "stft: the length of the signal must be constant");
    if (step < 1 || length < 1 || length > size || length > LONGEST)
        return tn_b_fail(b, TN_INVALID,
                         "stft: frames of %lld every %lld elements of %lld; at most %d a frame",
                         (long long)length, (long long)step, (long long)size, LONGEST);
    int64_t frames = (size - length) / step + 1;
    if (frames > FRAMES_MOST / length)
        return tn_b_fail(b, TN_UNSUPPORTED, "stft: %lld frames of %lld elements; at most %d in all",
                         (long long)frames, (long long)length, FRAMES_MOST);
    tn_array index = tn_array_new(b->graph->arena, TN_i64, 2, (int64_t[]){frames, length});
    for (int64_t i = 0; i < frames * length; i++)
        tn_array_set(&index, i, (tn_cell){.i = i / length * step + i % length});
    tn_value x = tn_b_gather_axis(b, signal, tn_b_constant(b, &index), 1, TN_INDEX_clamp);
    if (window != TN_NO_VALUE)
        x = tn_b_mul(b, x, tn_b_reshape_to(b, window, 2, (tn_dim[]){length, 1}));
    return tn_b_dft(b, x, &(tn_dft){.axis = 2, .onesided = onesided});
}

/* ---- mel filters ---------------------------------------------------------------------------- */

static double mel_of(double hertz) {
    return 2595 * log10(1 + hertz / 700);
}

static double hertz_of(double mel) {
    return 700 * (pow(10, mel / 2595) - 1);
}

/* The bin that corner `i` of the triangles falls into. */
static int64_t mel_corner(const tn_mel *m, int64_t i) {
    double low = mel_of(m->lower_hertz), high = mel_of(m->upper_hertz);
    double mel = low + (double)i * (high - low) / (double)(m->bins + 2);
    double bin = floor((double)(m->dft_length + 1) * hertz_of(mel) / (double)m->sample_rate);
    return (int64_t)fmin(fmax(bin, -1), 1e9);
}

/* Column `i`: rises from corner i to i + 1, falls to i + 2. */
static void mel_triangle(const tn_mel *m, int64_t i, int64_t rows, double *value) {
    int64_t left = mel_corner(m, i), middle = mel_corner(m, i + 1), right = mel_corner(m, i + 2);
    for (int64_t j = TN_MAX(left, 0); j <= middle && j < rows; j++)
        value[j * m->bins + i] = middle == left ? 1 : (double)(j - left) / (double)(middle - left);
    for (int64_t j = TN_MAX(middle, 0); j < right && j < rows; j++)
        value[j * m->bins + i] = (double)(right - j) / (double)(right - middle);
}

tn_value tn_b_mel_weights(tn_builder *b, const tn_mel *m, tn_dtype dtype) {
    if (!tn_b_ok(b)) return TN_NO_VALUE;
    int64_t rows = m->dft_length / 2 + 1;
    bool fits = m->bins > 0 && m->dft_length > 0 && m->sample_rate > 0 && m->lower_hertz >= 0 &&
                m->upper_hertz >= m->lower_hertz && m->bins < MEL_MOST && rows < MEL_MOST;
    if (!fits || m->bins * rows > MEL_MOST)
        return tn_b_fail(b, TN_INVALID,
                         "mel_weights: %lld bins, DFT of %lld, %lld Hz, from %g to %g Hz",
                         (long long)m->bins, (long long)m->dft_length, (long long)m->sample_rate,
                         m->lower_hertz, m->upper_hertz);
    double *value = TN_NEW_N(b->graph->arena, double, rows * m->bins);
    for (int64_t i = 0; i < m->bins; i++) mel_triangle(m, i, rows, value);
    return table(b, dtype, 2, (int64_t[]){rows, m->bins}, value);
}

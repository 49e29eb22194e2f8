/* Operators for signals: Fourier transforms, windows, mel filters. */
#include "import/onnx/ops.h"

/* The axis is an attribute before opset 20, then an input. */
static void import_dft(tn_o *o) {
    tn_value x = tn_o_in(o, 0);
    int64_t axis = o->version < 20  ? tn_o_int(o, "axis", 1)
                   : tn_o_has(o, 2) ? tn_o_need_int_value(o, 2, "axis")
                                    : -2;
    tn_dft d = {.axis = tn_o_axis(o, axis, tn_b_rank(o->b, x))};
    d.inverse = tn_o_int(o, "inverse", 0) != 0;
    d.onesided = tn_o_int(o, "onesided", 0) != 0;
    if (tn_o_has(o, 1)) d.length = tn_o_need_int_value(o, 1, "dft_length");
    if (tn_o_ok(o) && d.length < 0)
        tn_o_fail(o, TN_INVALID, "its dft_length is %lld", (long long)d.length);
    tn_o_const_dim(o, tn_b_dim(o->b, x, d.axis), "the size of the transformed axis");
    if (!tn_o_ok(o)) return;
    tn_o_out(o, 0,
             d.inverse && d.onesided ? tn_b_inverse_real_dft(o->b, x, d.axis, d.length)
                                     : tn_b_dft(o->b, x, &d));
}

static void import_stft(tn_o *o) {
    tn_value signal = tn_o_in(o, 0), window = tn_o_in_or_none(o, 2);
    int64_t step = tn_o_need_int_value(o, 1, "frame_step");
    int64_t size = tn_o_const_dim(o, tn_b_dim(o->b, signal, 1), "the length of the signal");
    int64_t length = size;
    if (tn_o_has(o, 3))
        length = tn_o_need_int_value(o, 3, "frame_length");
    else if (window != TN_NO_VALUE)
        length = tn_o_const_dim(o, tn_b_dim(o->b, window, 0), "the length of the window");
    bool onesided = tn_o_int(o, "onesided", 1) != 0;
    if (!tn_o_ok(o)) return;
    tn_o_out(o, 0, tn_b_stft(o->b, signal, window, step, length, onesided));
}

enum { WINDOW_LONGEST = 1 << 24 };

static void window(tn_o *o, tn_window_kind kind) {
    int64_t size = tn_o_need_int_value(o, 0, "size");
    bool periodic = tn_o_int(o, "periodic", 1) != 0;
    tn_dtype dtype = tn_o_dtype(o, "output_datatype", TN_f32);
    if (tn_o_ok(o) && (size < 0 || size > WINDOW_LONGEST))
        tn_o_fail(o, TN_UNSUPPORTED, "a window of %lld elements; at most %d", (long long)size,
                  WINDOW_LONGEST);
    tn_o_out(o, 0, tn_b_window(o->b, kind, size, periodic, dtype));
}

static void import_hann(tn_o *o) {
    window(o, TN_WINDOW_HANN);
}

static void import_hamming(tn_o *o) {
    window(o, TN_WINDOW_HAMMING);
}

static void import_blackman(tn_o *o) {
    window(o, TN_WINDOW_BLACKMAN);
}

static double need_number(tn_o *o, int i, const char *what) {
    int count;
    const double *at;
    if (!tn_o_need_floats(o, i, what, &count, &at)) return 0;
    if (count != 1) tn_o_fail(o, TN_INVALID, "its %s has %d elements; expected one", what, count);
    return count == 1 ? at[0] : 0;
}

static void import_mel_weights(tn_o *o) {
    tn_mel m = {.bins = tn_o_need_int_value(o, 0, "num_mel_bins"),
                .dft_length = tn_o_need_int_value(o, 1, "dft_length"),
                .sample_rate = tn_o_need_int_value(o, 2, "sample_rate"),
                .lower_hertz = need_number(o, 3, "lower_edge_hertz"),
                .upper_hertz = need_number(o, 4, "upper_edge_hertz")};
    tn_dtype dtype = tn_o_dtype(o, "output_datatype", TN_f32);
    tn_o_out(o, 0, tn_b_mel_weights(o->b, &m, dtype));
}

static const tn_onnx_op rows[] = {
    {"BlackmanWindow", 17, TN_ONNX_LATEST, import_blackman},
    {"DFT", 17, TN_ONNX_LATEST, import_dft},
    {"HammingWindow", 17, TN_ONNX_LATEST, import_hamming},
    {"HannWindow", 17, TN_ONNX_LATEST, import_hann},
    {"MelWeightMatrix", 17, TN_ONNX_LATEST, import_mel_weights},
    {"STFT", 17, TN_ONNX_LATEST, import_stft},
};
TN_ONNX_TABLE(signal, "")

/* The layer library: functions that build layers from primitives.
 *
 * Everything a model calls a layer is built here and nowhere else, so that every transformation
 * works on it. Each function follows builder.h's rules: after an error it does nothing and returns
 * TN_NO_VALUE. An optional operand is TN_NO_VALUE when it is absent. Axes may be negative. Layouts
 * are channels-first, as in ONNX and PyTorch: x [N, C, spatial…]. Sums and statistics of f16 and
 * bf16 are computed in f32. */
#ifndef TENON_OPS_COMPOSE_H
#define TENON_OPS_COMPOSE_H

#include "ir/builder.h"

/* ---- pointwise (compose_pointwise.c) -------------------------------------------------------- */

tn_value tn_b_relu(tn_builder *b, tn_value x);                           /* max(x, 0) */
tn_value tn_b_leaky_relu(tn_builder *b, tn_value x, double alpha);       /* x < 0 ? αx : x */
tn_value tn_b_prelu(tn_builder *b, tn_value x, tn_value slope);          /* x < 0 ? slope·x : x */
tn_value tn_b_thresholded_relu(tn_builder *b, tn_value x, double alpha); /* x > α ? x : 0 */
tn_value tn_b_elu(tn_builder *b, tn_value x, double alpha); /* x < 0 ? α(eˣ−1) : x */
tn_value tn_b_selu(tn_builder *b, tn_value x, double alpha, double gamma); /* γ·elu(x, α) */
tn_value tn_b_celu(tn_builder *b, tn_value x, double alpha); /* max(0,x) + min(0, α(e^(x/α)−1)) */
tn_value tn_b_sigmoid(tn_builder *b, tn_value x);            /* 1 / (1 + e^−x) */
tn_value tn_b_hard_sigmoid(tn_builder *b, tn_value x, double alpha, double beta);
tn_value tn_b_hard_swish(tn_builder *b, tn_value x);         /* x · max(0, min(1, x/6 + 1/2)) */
tn_value tn_b_silu(tn_builder *b, tn_value x);               /* x · sigmoid(x) */
tn_value tn_b_swish(tn_builder *b, tn_value x, double beta); /* x · sigmoid(βx) */
tn_value tn_b_mish(tn_builder *b, tn_value x);               /* x · tanh(softplus(x)) */
tn_value tn_b_softplus(tn_builder *b, tn_value x);           /* log(1 + eˣ), without overflow */
tn_value tn_b_softsign(tn_builder *b, tn_value x);           /* x / (1 + |x|) */
tn_value tn_b_gelu(tn_builder *b, tn_value x);               /* x/2 · (1 + erf(x/√2)) */
tn_value tn_b_gelu_tanh(tn_builder *b, tn_value x); /* x/2 · (1 + tanh(√(2/π)(x + 0.044715x³))) */
tn_value tn_b_quick_gelu(tn_builder *b, tn_value x, double alpha); /* x · sigmoid(αx) */
tn_value tn_b_shrink(tn_builder *b, tn_value x, double bias, double lambda);
/* min(max(x, lo), hi); lo, hi: scalars, may be absent */
tn_value tn_b_clip(tn_builder *b, tn_value x, tn_value lo, tn_value hi);
tn_value tn_b_square(tn_builder *b, tn_value x);
tn_value tn_b_reciprocal(tn_builder *b, tn_value x);
/* NumPy's mod: the result has the divisor's sign */
tn_value tn_b_floor_mod(tn_builder *b, tn_value x, tn_value y);
/* Both broadcast against the flag: flag ? x : y */
tn_value tn_b_where(tn_builder *b, tn_value flag, tn_value x, tn_value y);
/* y[…, j, …] = index == j ? on : off, the new axis at `axis` of the result; negative indices count
 * from the end; on, off: scalars of one type. */
tn_value tn_b_one_hot(tn_builder *b, tn_value index, tn_dim depth, int axis, tn_value on,
                      tn_value off);
/* x with a channel vector [C] along axis 1: [1, C, 1, …] */
tn_value tn_b_channel_vector(tn_builder *b, tn_value vector, int rank);

/* ---- normalisation (compose_norm.c) --------------------------------------------------------- */

tn_value tn_b_softmax(tn_builder *b, tn_value x, int axis); /* e^(x−max) / Σ e^(x−max) */
tn_value tn_b_log_softmax(tn_builder *b, tn_value x, int axis);
tn_value tn_b_log_sum_exp(tn_builder *b, tn_value x, const int *axes, int n, bool keep);

/* (x − mean) / √(var + ε) · scale + bias over the axes from `axis` on; scale and bias broadcast and
 * may be absent. stats (may be NULL): mean and 1/√(var + ε), with axes of size 1. */
tn_value tn_b_layer_norm(tn_builder *b, tn_value x, int axis, tn_value scale, tn_value bias,
                         double epsilon, tn_value stats[2]);
/* x / √(mean(x²) + ε) · scale over the axes from `axis` on (Zhang, Sennrich 2019) */
tn_value tn_b_rms_norm(tn_builder *b, tn_value x, int axis, tn_value scale, double epsilon);
/* Statistics per sample and group of channels; scale and bias [C] (Wu, He 2018) */
tn_value tn_b_group_norm(tn_builder *b, tn_value x, int64_t groups, tn_value scale, tn_value bias,
                         double epsilon);
tn_value tn_b_instance_norm(tn_builder *b, tn_value x, tn_value scale, tn_value bias,
                            double epsilon);
/* scale · (x − mean) / √(var + ε) + bias, all [C] */
typedef struct tn_batch_norm {
    tn_value scale, bias, mean, var;
    double epsilon, momentum; /* running = running · momentum + batch · (1 − momentum) */
    bool unbiased; /* the running variance is that of the batch, divided by count − 1 */
} tn_batch_norm;
tn_value tn_b_batch_norm(tn_builder *b, tn_value x, const tn_batch_norm *o);
/* With the statistics of x itself (population variance); running: the new mean and var. */
tn_value tn_b_batch_norm_training(tn_builder *b, tn_value x, const tn_batch_norm *o,
                                  tn_value running[2]);
/* x / (bias + α/size · Σ x² over `size` channels around)^β (Krizhevsky et al. 2012, §3.3) */
tn_value tn_b_lrn(tn_builder *b, tn_value x, int64_t size, double alpha, double beta, double bias);
/* x / ‖x‖_p along an axis, p is 1 or 2 */
tn_value tn_b_lp_norm(tn_builder *b, tn_value x, int axis, int p);
/* (x − mean) / (√var + ε) over the axes */
tn_value tn_b_mean_variance_norm(tn_builder *b, tn_value x, const int *axes, int n, double epsilon);

/* ---- convolution and pooling (compose_conv.c) ----------------------------------------------- */

enum { TN_MAX_SPATIAL = 3 };
/* Per spatial axis; a stride or dilation of 0 means 1, groups 0 means 1. */
typedef struct tn_conv_options {
    int64_t stride[TN_MAX_SPATIAL], dilation[TN_MAX_SPATIAL];
    int64_t pad_lo[TN_MAX_SPATIAL], pad_hi[TN_MAX_SPATIAL];
    int64_t output_pad[TN_MAX_SPATIAL]; /* conv_transpose only */
    int64_t groups;
    tn_dtype acc; /* used when has_acc; else f32 for narrow floats, i32 for narrow integers */
    bool has_acc;
} tn_conv_options;
/* x [N, C, …], w [O, C/groups, …], bias [O] or absent → [N, O, …] in x's type (acc for integers) */
tn_value tn_b_conv(tn_builder *b, tn_value x, tn_value w, tn_value bias, const tn_conv_options *o);
/* The transpose of conv: w [C, O/groups, …]; pads crop the result. */
tn_value tn_b_conv_transpose(tn_builder *b, tn_value x, tn_value w, tn_value bias,
                             const tn_conv_options *o);

typedef struct tn_pool_options {
    int64_t window[TN_MAX_SPATIAL], stride[TN_MAX_SPATIAL], dilation[TN_MAX_SPATIAL];
    int64_t pad_lo[TN_MAX_SPATIAL], pad_hi[TN_MAX_SPATIAL];
    bool count_include_pad; /* average_pool: padding counts as zeros */
    bool ceil_mode;         /* a last window that begins inside x or its low padding counts */
} tn_pool_options;
/* positions (may be NULL): row-major positions in x, i64 */
tn_value tn_b_max_pool(tn_builder *b, tn_value x, const tn_pool_options *o, tn_value *positions);
tn_value tn_b_average_pool(tn_builder *b, tn_value x, const tn_pool_options *o);
tn_value tn_b_lp_pool(tn_builder *b, tn_value x, const tn_pool_options *o, int p);
/* Over all spatial axes, which stay with size 1. */
tn_value tn_b_global_average_pool(tn_builder *b, tn_value x);
tn_value tn_b_global_max_pool(tn_builder *b, tn_value x);
tn_value tn_b_global_lp_pool(tn_builder *b, tn_value x, int p);

/* x · wᵀ + bias; x […, I], w [O, I] */
tn_value tn_b_linear(tn_builder *b, tn_value x, tn_value w, tn_value bias);
/* The accumulator for contractions of this type: f32 for narrow floats, i32 for narrow integers. */
tn_dtype tn_b_accumulator(tn_dtype dtype);
/* matmul in the usual accumulator, rounded back to the operands' type when it is a float. */
tn_value tn_b_product(tn_builder *b, tn_value x, tn_value y);

/* ---- recurrent layers (compose_rnn.c) ------------------------------------------------------- */

typedef enum tn_rnn_kind { TN_RNN_SIMPLE, TN_RNN_GRU, TN_RNN_LSTM } tn_rnn_kind;
typedef enum tn_rnn_direction {
    TN_RNN_FORWARD,
    TN_RNN_REVERSE,
    TN_RNN_BIDIRECTIONAL
} tn_rnn_direction;
#define TN_RNN_ACTIVATIONS(R)                                                                      \
    R(Relu)                                                                                        \
    R(Tanh)                                                                                        \
    R(Sigmoid)                                                                                     \
    R(Affine)                                                                                      \
    R(LeakyRelu) R(ThresholdedRelu) R(ScaledTanh) R(HardSigmoid) R(Elu) R(Softsign) R(Softplus)
typedef enum tn_rnn_activation {
#define R(name) TN_ACT_##name,
    TN_RNN_ACTIVATIONS(R)
#undef R
        TN_ACT_COUNT
} tn_rnn_activation;
typedef struct tn_activation {
    tn_rnn_activation kind;
    double alpha, beta;
} tn_activation;
/* By ONNX name, any case, with ONNX's default alpha and beta; false when there is none. */
bool tn_activation_parse(const char *name, tn_activation *out);
tn_value tn_b_activation(tn_builder *b, tn_value x, const tn_activation *a);

/* ONNX RNN, GRU and LSTM. D is the number of directions, G gates (1; z r h; i o f c), H hidden. */
typedef struct tn_rnn {
    tn_rnn_kind kind;
    tn_rnn_direction direction;
    tn_value x;               /* [T, N, I]; batch_first: [N, T, I] */
    tn_value w, r;            /* [D, G·H, I], [D, G·H, H] */
    tn_value bias;            /* [D, 2·G·H]: of the input, of the recurrence; absent: zeros */
    tn_value lengths;         /* [N] i32 or i64; absent: all T */
    tn_value h0, c0;          /* [D, N, H]; batch_first: [N, D, H]; absent: zeros */
    tn_value peephole;        /* LSTM: [D, 3·H] for i, o, f; absent: zeros */
    bool batch_first;         /* ONNX layout = 1 */
    bool linear_before_reset; /* GRU */
    bool input_forget;        /* LSTM: f = 1 − i */
    double clip;              /* bound of the activations' inputs; 0: none */
    int activation_count;     /* 0: the defaults; else per direction 1 (RNN), 2 (GRU), 3 (LSTM) */
    tn_activation activation[6];
} tn_rnn;
typedef struct tn_rnn_result {
    tn_value y;    /* [T, D, N, H]; batch_first: [N, T, D, H]; zeros after a sequence's end */
    tn_value h, c; /* [D, N, H]; batch_first: [N, D, H]; the state at a sequence's end */
} tn_rnn_result;
tn_rnn_result tn_b_rnn(tn_builder *b, const tn_rnn *o);

/* ---- attention (compose_attention.c) -------------------------------------------------------- */

typedef enum tn_attention_stage {
    TN_SCORES_RAW,
    TN_SCORES_CAPPED,
    TN_SCORES_MASKED,
    TN_SCORES_SOFTMAX
} tn_attention_stage;
/* softmax(scale · q kᵀ + mask) v (Vaswani et al. 2017, eq. 1), in f32 for narrow floats. */
typedef struct tn_attention {
    tn_value q, k, v; /* [N, Hq, S, D], [N, Hk, T, D], [N, Hk, T, Dv]; Hk divides Hq */
    tn_value mask;    /* broadcasts to [N, Hq, S, T]; bool: false hides; float: added; absent */
    bool causal;      /* position i sees j <= i + causal_offset */
    tn_dim causal_offset;
    double scale;   /* 0: 1/√D */
    double softcap; /* 0: none; else scores = c · tanh(scores / c) before the mask */
    tn_attention_stage stage;
    tn_value *scores; /* not NULL: becomes the scores [N, Hq, S, T] after `stage`, in q's type */
    tn_dtype softmax; /* the type of the softmax, when has_softmax; else f32 for narrow floats */
    bool has_softmax;
    /* Not NULL: change the scores behind the mask, and the softmax; both in the softmax' type */
    tn_value (*score_mod)(void *context, tn_value scores);
    tn_value (*weight_mod)(void *context, tn_value weights);
    void *context;
} tn_attention;
tn_value tn_b_attention(tn_builder *b, const tn_attention *o);
/* Its two halves: scale · q kᵀ, capped, [N, Hq, S, T] in the accumulator's type; and what follows from
 * such scores. */
tn_value tn_b_attention_scores(tn_builder *b, const tn_attention *o);
tn_value tn_b_attention_of_scores(tn_builder *b, const tn_attention *o, tn_value scores);
/* Rotary position embedding (Su et al. 2021, §3.4.2) of the last axis of x: pairs (x1, x2) become
 * (x1 cos − x2 sin, x1 sin + x2 cos). cos and sin broadcast to x with half the rotated axis; pairs
 * are neighbours when interleaved, else the two halves. What the tables do not cover stays. */
tn_value tn_b_rotary(tn_builder *b, tn_value x, tn_value cos, tn_value sin, bool interleaved);

/* ---- losses (compose_loss.c) ---------------------------------------------------------------- */

typedef enum tn_reduction { TN_REDUCTION_MEAN, TN_REDUCTION_SUM, TN_REDUCTION_NONE } tn_reduction;
typedef struct tn_class_loss {
    tn_value target; /* [N, …] class per position, i32 or i64 */
    tn_value weight; /* [C] or absent */
    bool has_ignore;
    int64_t ignore; /* positions of this class do not count */
    tn_reduction reduction;
} tn_class_loss;
/* −weight[t] · x[n, t, …], x [N, C, …]; the mean is weighted */
tn_value tn_b_nll_loss(tn_builder *b, tn_value log_probability, const tn_class_loss *o);
/* nll_loss(log_softmax(x, 1)); log_probability (may be NULL) gives log_softmax(x) */
tn_value tn_b_cross_entropy(tn_builder *b, tn_value x, const tn_class_loss *o,
                            tn_value *log_probability);

/* ---- boxes (compose_boxes.c) ---------------------------------------------------------------- */

typedef struct tn_suppression {
    tn_value boxes, scores; /* f32 [N, B, 4]; f32 [N, C, B] */
    bool
        centers; /* a box is its centre x, y, then width, height; else two opposite corners, y before x */
    tn_value most;    /* i64 scalar: boxes kept of a class at most */
    tn_value overlap; /* f32 scalar: intersection over union that none of these exceed */
    tn_value score;   /* f32 scalar that their scores exceed; TN_NO_VALUE: any will do */
} tn_suppression;
/* Greedy non-maximum suppression for each class: order i64 [N, C, B], a class's boxes from the best on
 * (of equal ones the first), and kept bool [N, C, B], which of these are left. */
void tn_b_suppress_boxes(tn_builder *b, const tn_suppression *o, tn_value *order, tn_value *kept);

/* ---- index helpers and rearrangement (compose_index.c) -------------------------------------- */

/* Indices that count from the end where negative become plain ones. */
tn_value tn_b_wrap_index(tn_builder *b, tn_value index, tn_dim size);
/* y[i…] = x[i…] with position index[i…] along `axis` (ONNX GatherElements, torch.gather) */
tn_value tn_b_gather_elements(tn_builder *b, tn_value x, tn_value index, int axis,
                              tn_index_mode mode);
/* x with updates[i…] combined in at position index[i…] along `axis` (ONNX ScatterElements) */
tn_value tn_b_scatter_elements(tn_builder *b, tn_value x, tn_value index, tn_value updates,
                               int axis, tn_index_mode mode, tn_combine combine);
/* ONNX GatherND and ScatterND: the last axis of index holds positions for the axes after `batch` */
tn_value tn_b_gather_nd(tn_builder *b, tn_value x, tn_value index, int batch, tn_index_mode mode);
tn_value tn_b_scatter_nd(tn_builder *b, tn_value x, tn_value index, tn_value updates,
                         tn_index_mode mode, tn_combine combine);
tn_value tn_b_cumulative(tn_builder *b, tn_reduce_kind kind, tn_value x, int axis, bool exclusive,
                         bool reverse);
/* results[0]: values, results[1]: i64 positions, best first */
void tn_b_top_k(tn_builder *b, tn_value x, int axis, tn_dim k, bool smallest, tn_value results[2]);
/* Sorts and gives the values and, in results[1], the i64 positions they came from. */
void tn_b_sort(tn_builder *b, tn_value x, int axis, bool descending, tn_value results[2]);
tn_value tn_b_reverse(tn_builder *b, tn_value x, int axis);
/* [N, C·s², H, W] → [N, C, H·s, W·s]; crd: ONNX mode CRD, as torch.pixel_shuffle */
tn_value tn_b_depth_to_space(tn_builder *b, tn_value x, int64_t block, bool crd);
tn_value tn_b_space_to_depth(tn_builder *b, tn_value x, int64_t block);
/* Keeps the part on and below (lower) or on and above the k-th diagonal of the last two axes. */
tn_value tn_b_triangle(tn_builder *b, tn_value x, bool lower, tn_value k);
/* [rows, columns] of `dtype` with ones on the k-th diagonal */
tn_value tn_b_eye(tn_builder *b, tn_dtype dtype, tn_dim rows, tn_dim columns, int64_t k);
/* NumPy einsum: letters and ellipsis, "->" optional */
tn_value tn_b_einsum(tn_builder *b, const char *equation, const tn_value *in, int n);

/* ---- resize (compose_resize.c) -------------------------------------------------------------- */

typedef enum tn_resize_mode { TN_RESIZE_NEAREST, TN_RESIZE_LINEAR, TN_RESIZE_CUBIC } tn_resize_mode;
/* ONNX coordinate_transformation_mode and nearest_mode */
typedef enum tn_resize_grid {
    TN_GRID_HALF_PIXEL,
    TN_GRID_HALF_PIXEL_SYMMETRIC,
    TN_GRID_PYTORCH_HALF_PIXEL,
    TN_GRID_ALIGN_CORNERS,
    TN_GRID_ASYMMETRIC,
    TN_GRID_CROP,
    TN_GRID_TF_HALF_PIXEL, /* (i + 1/2) / scale */
} tn_resize_grid;
typedef enum tn_resize_round {
    TN_ROUND_PREFER_FLOOR,
    TN_ROUND_PREFER_CEIL,
    TN_ROUND_FLOOR,
    TN_ROUND_CEIL,
} tn_resize_round;
typedef struct tn_resize_options {
    tn_resize_mode mode;
    tn_resize_grid grid;
    tn_resize_round round;
    double cubic;         /* the kernel's a; 0: −0.75 */
    bool exclude_outside; /* weights outside are 0, the others renormalised */
    bool antialias;       /* stretch the kernel when shrinking */
    double extrapolation; /* TN_GRID_CROP: value of samples outside */
} tn_resize_options;
/* Resizes one axis of constant size to `size`; scale is the nominal ratio (0: size / old size);
 * crop: start and end in [0, 1] for TN_GRID_CROP, else NULL. */
tn_value tn_b_resize_axis(tn_builder *b, tn_value x, int axis, int64_t size, double scale,
                          const double crop[2], const tn_resize_options *o);

/* ---- signals (compose_signal.c) ------------------------------------------------------------- */

typedef enum tn_window_kind {
    TN_WINDOW_HANN,
    TN_WINDOW_HAMMING,
    TN_WINDOW_BLACKMAN
} tn_window_kind;
/* Window function of constant size; periodic: as if one longer */
tn_value tn_b_window(tn_builder *b, tn_window_kind kind, int64_t size, bool periodic,
                     tn_dtype dtype);
typedef struct tn_dft {
    int axis;
    int64_t length; /* 0: that of the axis; else cut or padded with zeros */
    bool inverse, onesided;
} tn_dft;
/* x […, n, …, 1 or 2] (real, or real and imaginary part last) → […, 2] by dot with cos, sin tables
 */
tn_value tn_b_dft(tn_builder *b, tn_value x, const tn_dft *o);

/* ---- more rearrangement (compose_rearrange.c) ---------------------------------------------------
 */

/* Each element `times` times in a row along an axis (NumPy repeat) */
tn_value tn_b_repeat(tn_builder *b, tn_value x, int axis, int64_t times);
/* The first lengths[n] steps of each sequence n in reversed order */
tn_value tn_b_reverse_sequence(tn_builder *b, tn_value x, tn_value lengths, int batch_axis,
                               int time_axis);
/* cache [N, …, T, …] with update [N, …, S, …] written along `axis` from start[n] on (absent: 0);
 * circular: positions beyond T begin again at 0. */
tn_value tn_b_cache_update(tn_builder *b, tn_value cache, tn_value update, tn_value start, int axis,
                           bool circular);
/* One axis of constant size cut or padded with zeros on both sides to `size`; the odd one is at the
 * end */
tn_value tn_b_center_crop_pad(tn_builder *b, tn_value x, int axis, int64_t size);
/* One axis with its own elements around it: the first and last repeated; mirrored without repeating
 * these; or from the other end. lo and hi may be negative. */
typedef enum tn_pad_mode { TN_PAD_EDGE, TN_PAD_REFLECT, TN_PAD_WRAP } tn_pad_mode;
tn_value tn_b_pad_around(tn_builder *b, tn_value x, int axis, tn_dim lo, tn_dim hi,
                         tn_pad_mode mode);
/* Zeros of `shape`, x[i] at the row-major position positions[i] */
tn_value tn_b_max_unpool(tn_builder *b, tn_value x, tn_value positions, const tn_shape *shape);
/* Sums overlapping blocks: x [N, C · Π block, blocks] → [N, C, image…] (torch.nn.functional.fold) */
typedef struct tn_col2im {
    int spatial;
    int64_t image[TN_MAX_SPATIAL], block[TN_MAX_SPATIAL];
    int64_t stride[TN_MAX_SPATIAL], dilation[TN_MAX_SPATIAL];
    int64_t pad_lo[TN_MAX_SPATIAL], pad_hi[TN_MAX_SPATIAL];
} tn_col2im;
tn_value tn_b_col2im(tn_builder *b, tn_value x, const tn_col2im *o);

/* ---- sampling (compose_sample.c, compose_region.c) ----------------------------------------------
 */

typedef enum tn_sample_padding {
    TN_PADDING_ZEROS,
    TN_PADDING_BORDER,
    TN_PADDING_REFLECTION
} tn_sample_padding;
typedef struct tn_grid_sample {
    tn_resize_mode mode;
    tn_sample_padding padding;
    bool
        align_corners; /* −1 and 1 are the middles of the corner elements, else their outer edges */
} tn_grid_sample;
/* x [N, C, sizes…] at positions grid [N, P…, n] in −1 … 1, that of the last axis first → [N, C, P…]
 */
tn_value tn_b_grid_sample(tn_builder *b, tn_value x, tn_value grid, const tn_grid_sample *o);
/* The grid [N, sizes…, n] of the affine maps theta [N, n, n + 1] for grid_sample */
tn_value tn_b_affine_grid(tn_builder *b, tn_value theta, int n, const tn_dim *size,
                          bool align_corners);
/* Convolution whose windows' elements are moved by offsets (Dai et al. 2017; mask: Zhu et al. 2019).
 */
typedef struct tn_deform_conv {
    tn_value x, w, bias;  /* as for conv with two spatial axes; bias may be absent */
    tn_value offset;      /* [N, offset_groups · kh · kw · 2, oh, ow], row before column */
    tn_value mask;        /* [N, offset_groups · kh · kw, oh, ow] or absent */
    tn_conv_options conv; /* stride, dilation, pad_lo, groups */
    int64_t offset_groups;
} tn_deform_conv;
tn_value tn_b_deform_conv(tn_builder *b, const tn_deform_conv *o);

typedef struct tn_roi {
    int64_t height, width; /* of the result */
    double scale;          /* from the regions' coordinates to x's */
    int64_t samples;       /* align: per bin and axis */
    bool half_pixel, max;  /* align: pixels' middles are at .5; the largest sample, not the mean */
} tn_roi;
/* x [N, C, H, W], regions [R, 4] (left, top, right, bottom), batch [R] → [R, C, height, width] (He et
 * al. 2017, §3) */
tn_value tn_b_roi_align(tn_builder *b, tn_value x, tn_value regions, tn_value batch,
                        const tn_roi *o);
/* regions [R, 5]: batch, left, top, right, bottom (Girshick 2015, §2.1) */
tn_value tn_b_roi_max_pool(tn_builder *b, tn_value x, tn_value regions, const tn_roi *o);

/* ---- quantisation (compose_quant.c) -------------------------------------------------------------
 */

/* How stored numbers are meant: (q − zero) · scale */
typedef struct tn_quant {
    tn_value scale, zero; /* one, or one per place along `axis`; zero may be absent */
    int axis;
    int64_t block; /* not 0: per block of so many places along `axis`, other axes as x's */
} tn_quant;
/* saturate(round(x / scale) + zero), computed in `work`; to 8-bit floats just x / scale */
tn_value tn_b_quantize(tn_builder *b, tn_value x, const tn_quant *q, tn_dtype dtype, tn_dtype work,
                       bool saturate);
tn_value tn_b_dequantize(tn_builder *b, tn_value x, const tn_quant *q, tn_dtype dtype);
/* To u8 with scale and zero from x's range (0 included): scale = range / 255 */
tn_value tn_b_dynamic_quantize(tn_builder *b, tn_value x, tn_value *scale, tn_value *zero);
/* (x − x_zero) (y − y_zero) in i32; zeros may be absent, per row of x, per column of y */
tn_value tn_b_integer_matmul(tn_builder *b, tn_value x, tn_value y, tn_value x_zero,
                             tn_value y_zero);
/* The same for conv; w_zero: one or one per output channel; bias i32 or absent */
tn_value tn_b_integer_conv(tn_builder *b, tn_value x, tn_value w, tn_value x_zero, tn_value w_zero,
                           tn_value bias, const tn_conv_options *o);
/* Quantised operands and results */
tn_value tn_b_quantized_matmul(tn_builder *b, tn_value x, const tn_quant *qx, tn_value w,
                               const tn_quant *qw, const tn_quant *qy, tn_dtype dtype);
tn_value tn_b_quantized_conv(tn_builder *b, tn_value x, const tn_quant *qx, tn_value w,
                             const tn_quant *qw, tn_value bias, const tn_quant *qy, tn_dtype dtype,
                             const tn_conv_options *o);

/* ---- random numbers (compose_random.c): equal keys give equal numbers --------------------------- */

/* Uniform in [lo, hi) */
tn_value tn_b_random_uniform(tn_builder *b, tn_dtype dtype, const tn_shape *shape, tn_value key,
                             double lo, double hi);
tn_value tn_b_random_normal(tn_builder *b, tn_dtype dtype, const tn_shape *shape, tn_value key,
                            double mean, double deviation);
/* 1 with the given probabilities, else 0 */
tn_value tn_b_bernoulli(tn_builder *b, tn_value probability, tn_dtype dtype, tn_value key);
/* Each element is 0 with probability p, from 0 to 1, else x / (1 − p) (Srivastava et al., JMLR 15, 2014); *kept,
 * which may be NULL, tells by a bool which are not 0 for that. */
tn_value tn_b_dropout(tn_builder *b, tn_value x, double p, tn_value key, tn_value *kept);
/* Classes drawn from softmax(x): x [N, C] → [N, samples] */
tn_value tn_b_multinomial(tn_builder *b, tn_value x, int64_t samples, tn_dtype dtype, tn_value key);

/* ---- optimizer steps (compose_optimizer.c) ------------------------------------------------------
 */

/* A number that is structure, or a scalar of the graph. */
typedef struct tn_coefficient {
    double number;
    bool is_value;
    tn_value value;
} tn_coefficient;

typedef struct tn_update {
    tn_value rate, step; /* scalars; step i64: updates before this one, of adam with this one */
    tn_coefficient norm; /* adds norm · x to the gradient */
    double epsilon;
    double alpha, beta;      /* of adam's and lion's moments; momentum: beta of the gradient */
    tn_coefficient momentum; /* of momentum: of the old one */
    double decay;            /* adagrad: rate / (1 + step · decay) */
    double norm_post;        /* adam_efficient: the result times 1 − norm_post */
    /* of momentum, adam and lion */
    tn_coefficient
        decoupled; /* takes away rate · decoupled · x as well (Loshchilov, Hutter 2019) */
    double scale;  /* multiplies the rate; 0: 1 */
} tn_update;
/* The new x; the running values are replaced by the new ones. Duchi et al. 2011; Kingma, Ba 2015 in the
 * efficient order of §2, as ONNX has it: no correction at step 0; Sutskever et al. 2013 (`momentum`
 * NULL: plain gradient descent). */
tn_value tn_b_adagrad(tn_builder *b, tn_value x, tn_value g, tn_value *square, const tn_update *u);
tn_value tn_b_adam_efficient(tn_builder *b, tn_value x, tn_value g, tn_value *momentum,
                             tn_value *square, const tn_update *u);
tn_value tn_b_momentum(tn_builder *b, tn_value x, tn_value g, tn_value *momentum, bool nesterov,
                       const tn_update *u);
/* Kingma, Ba 2015, algorithm 1: epsilon is added to the root of the corrected moment. */
tn_value tn_b_adam(tn_builder *b, tn_value x, tn_value g, tn_value *momentum, tn_value *square,
                   const tn_update *u);
/* Chen et al. 2023, algorithm 2 */
tn_value tn_b_lion(tn_builder *b, tn_value x, tn_value g, tn_value *momentum, const tn_update *u);

/* ---- linear algebra (compose_linalg.c) ----------------------------------------------------------
 */

/* Determinants of […, n, n] by elimination with row exchanges; n constant and small */
tn_value tn_b_det(tn_builder *b, tn_value x);
/* Inverses of the last two axes' matrices, of constant size up to 32, by elimination with row exchange; of
 * singular ones infinities and NaNs */
tn_value tn_b_inverse(tn_builder *b, tn_value x);

/* ---- spectra (compose_spectrum.c) ---------------------------------------------------------------
 */

/* Half a spectrum […, n/2 + 1, …, 2] along `axis` → the real signal […, n, …, 1]; length 0: even */
tn_value tn_b_inverse_real_dft(tn_builder *b, tn_value x, int axis, int64_t length);
/* dft of frames of `length` every `step` elements, times window [length] or absent:
 * signal [N, L, 1 or 2] → [N, frames, length (or its half), 2] */
tn_value tn_b_stft(tn_builder *b, tn_value signal, tn_value window, int64_t step, int64_t length,
                   bool onesided);
typedef struct tn_mel {
    int64_t bins, dft_length, sample_rate;
    double lower_hertz, upper_hertz;
} tn_mel;
/* Triangular filters, evenly spaced in mel = 2595 log10(1 + f/700): [dft_length/2 + 1, bins] */
tn_value tn_b_mel_weights(tn_builder *b, const tn_mel *m, tn_dtype dtype);

/* ---- linear attention (compose_linear_attention.c) ----------------------------------------------
 */

/* Per head a matrix S [D, Dv]: S ← exp(g) S + k ⊗ v', y = scale · qᵀ S, with v' = v or, with β, the
 * delta rule v' = β (v − (exp(g) S)ᵀ k) (Katharopoulos et al. 2020; Yang et al. 2024). */
typedef struct tn_linear_attention {
    tn_value q, k, v; /* [N, Hq, T, D], [N, H, T, D], [N, H, T, Dv]; H divides Hq */
    tn_value decay;   /* g: [N, H, T, D or 1] or absent */
    tn_value beta;    /* [N, H or 1, T, 1] or absent */
    tn_value state;   /* S before: [N, H, D, Dv]; absent: zeros */
    double scale;     /* 0: 1/√D */
} tn_linear_attention;
/* y [N, Hq, T, Dv] and in *state S behind the last position; all operands of one type. */
tn_value tn_b_linear_attention(tn_builder *b, const tn_linear_attention *o, tn_value *state);

/* ---- n-grams (compose_ngram.c)
 * ------------------------------------------------------------------- */

/* How often each n-gram, a row of grams [G, n], occurs in each row of x [N, C]: f32 [N, G]. Its
 * elements may have up to `skips` others between neighbours, always equally many. */
tn_value tn_b_count_ngrams(tn_builder *b, tn_value x, tn_value grams, int64_t skips);

#endif

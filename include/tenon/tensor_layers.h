/* Functions of neural networks on lazy tensors: convolution, pooling, norms, attention, losses, branches.
 * Include <tenon/tensor.h>; what holds for all operations is said there. Layers that make their own
 * parameters are in <tenon/nn.h>; the functions of the same names that end in _with take them as
 * tensors.
 *
 * Options are given by name behind the operands: tn_max_pool(x, .kernel = 3, .stride = 2). A field
 * that is left out, or 0, is the default. tn_max_pool_at(place, x, &options) is the same for other
 * languages; options.size has to be set there, NULL stands for the defaults. A tensor that is called
 * optional may be NULL. Channels come before the spatial axes, as in PyTorch: x [N, C, …]. Sums and
 * statistics of narrow floats are computed in f32. */
#ifndef TENON_TENSOR_LAYERS_H
#define TENON_TENSOR_LAYERS_H

#include <tenon/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A call with options of this type behind 1, 2, 3 or 4 operands. */
#define TN_WITH_OPTIONS_1(fn, type, a, ...)          fn(TN_HERE, a, &(type){__VA_ARGS__})
#define TN_WITH_OPTIONS_2(fn, type, a, b, ...)       fn(TN_HERE, a, b, &(type){__VA_ARGS__})
#define TN_WITH_OPTIONS_3(fn, type, a, b, c, ...)    fn(TN_HERE, a, b, c, &(type){__VA_ARGS__})
#define TN_WITH_OPTIONS_4(fn, type, a, b, c, d, ...) fn(TN_HERE, a, b, c, d, &(type){__VA_ARGS__})
#define TN_SIZE(type)                                .size = sizeof(type)

/* ---- linear, convolution -------------------------------------------------------------------- */

/* x · weightᵀ + bias: x […, I], weight [O, I], bias [O] or NULL → […, O] */
#define tn_linear_with(...) tn_linear_with_at(TN_HERE, __VA_ARGS__)
TN_API tn_tensor *tn_linear_with_at(const char *place, const tn_tensor *x, const tn_tensor *weight,
                                    const tn_tensor *bias);

enum { TN_SPATIAL_AXES = 3 }; /* at most */

/* Windows along 1 to 3 spatial axes. A number holds for all of them; the list of the same name is for
 * numbers that differ, and is read where one of them is not 0: .stride = 2, .strides = {2, 1}. */
#define TN_WINDOW_FIELDS                                                                           \
    int64_t kernel, kernels[TN_SPATIAL_AXES];                                                      \
    int64_t stride, strides[TN_SPATIAL_AXES];                 /* 0: 1; of pooling: the kernel */   \
    int64_t padding, paddings[TN_SPATIAL_AXES];               /* on both sides */                  \
    int64_t dilation, dilations[TN_SPATIAL_AXES];             /* 0: 1 */                           \
    int64_t output_padding, output_paddings[TN_SPATIAL_AXES]; /* transposed: more at the end */    \
    int64_t groups;                                           /* 0: 1 */
typedef struct tn_window_options {
    size_t size;          /* sizeof(tn_window_options) */
    TN_WINDOW_FIELDS      /* a convolution's kernel is its weight's; pooling has no groups */
        bool ceil_mode;   /* pooling: a last window that begins inside x or its padding counts */
    bool exclude_padding; /* average pooling: the mean over what lies in x */
} tn_window_options;

/* Cross-correlation: x [N, C, …], weight [O, C / groups, window…], bias [O] or NULL → [N, O, …] */
#define tn_conv_with(...)                                                                          \
    TN_WITH_OPTIONS_3(tn_conv_with_at, tn_window_options, __VA_ARGS__, TN_SIZE(tn_window_options))
TN_API tn_tensor *tn_conv_with_at(const char *place, const tn_tensor *x, const tn_tensor *weight,
                                  const tn_tensor *bias, const tn_window_options *options);
/* The transpose of that in x: weight [C, O / groups, window…] → [N, O, …] */
#define tn_conv_transpose_with(...)                                                                \
    TN_WITH_OPTIONS_3(tn_conv_transpose_with_at, tn_window_options, __VA_ARGS__,                   \
                      TN_SIZE(tn_window_options))
TN_API tn_tensor *tn_conv_transpose_with_at(const char *place, const tn_tensor *x,
                                            const tn_tensor *weight, const tn_tensor *bias,
                                            const tn_window_options *options);

/* ---- pooling, resizing: x [N, C, …] --------------------------------------------------------- */

#define tn_max_pool(...)                                                                           \
    TN_WITH_OPTIONS_1(tn_max_pool_at, tn_window_options, __VA_ARGS__, TN_SIZE(tn_window_options))
TN_API tn_tensor *tn_max_pool_at(const char *place, const tn_tensor *x,
                                 const tn_window_options *options);
#define tn_average_pool(...)                                                                       \
    TN_WITH_OPTIONS_1(tn_average_pool_at, tn_window_options, __VA_ARGS__,                          \
                      TN_SIZE(tn_window_options))
TN_API tn_tensor *tn_average_pool_at(const char *place, const tn_tensor *x,
                                     const tn_window_options *options);
/* Over all spatial axes, which stay with size 1. */
#define tn_global_average_pool(...) tn_global_average_pool_at(TN_HERE, __VA_ARGS__)
TN_API tn_tensor *tn_global_average_pool_at(const char *place, const tn_tensor *x);
#define tn_global_max_pool(...) tn_global_max_pool_at(TN_HERE, __VA_ARGS__)
TN_API tn_tensor *tn_global_max_pool_at(const char *place, const tn_tensor *x);

/* Elements are areas: their middles are at .5 (PyTorch's align_corners = False); nearest takes the one
 * at or before the position, as PyTorch's "nearest" does. */
typedef enum tn_resize_by {
    TN_RESIZE_BY_NEAREST,
    TN_RESIZE_BY_LINEAR,
    TN_RESIZE_BY_CUBIC
} tn_resize_by;
/* The spatial axes become of these sizes: tn_resize(x, TN_SHAPE(64, 64), TN_RESIZE_BY_LINEAR) */
#define tn_resize(...) tn_resize_at(TN_HERE, __VA_ARGS__)
TN_API tn_tensor *tn_resize_at(const char *place, const tn_tensor *x, int spatial,
                               const int64_t *dim, tn_resize_by by);

/* ---- norms ---------------------------------------------------------------------------------- */

/* (x − mean) / √(var + ε) · scale + bias over the last `axes` axes (at least 1), which scale and bias
 * have too; both optional. An epsilon of 0 is 1e-5 in all norms. */
#define tn_layer_norm_with(...) tn_layer_norm_with_at(TN_HERE, __VA_ARGS__)
TN_API tn_tensor *tn_layer_norm_with_at(const char *place, const tn_tensor *x,
                                        const tn_tensor *scale, const tn_tensor *bias, int axes,
                                        double epsilon);
/* x / √(mean(x²) + ε) · scale (Zhang, Sennrich 2019) */
#define tn_rms_norm_with(...) tn_rms_norm_with_at(TN_HERE, __VA_ARGS__)
TN_API tn_tensor *tn_rms_norm_with_at(const char *place, const tn_tensor *x, const tn_tensor *scale,
                                      int axes, double epsilon);
/* Per sample and group of channels: x [N, C, …], scale and bias [C], both optional (Wu, He 2018).
 * groups = C is instance norm. */
#define tn_group_norm_with(...) tn_group_norm_with_at(TN_HERE, __VA_ARGS__)
TN_API tn_tensor *tn_group_norm_with_at(const char *place, const tn_tensor *x,
                                        const tn_tensor *scale, const tn_tensor *bias,
                                        int64_t groups, double epsilon);
/* Per channel of x [N, C, …] with parameters[4]: scale, bias (both optional), mean, variance, all
 * [C]. */
#define tn_batch_norm_with(...) tn_batch_norm_with_at(TN_HERE, __VA_ARGS__)
TN_API tn_tensor *tn_batch_norm_with_at(const char *place, const tn_tensor *x,
                                        const tn_tensor *const parameters[4], double epsilon);
/* With mean and variance of x itself. running[2] become the new running mean and variance: old · (1 −
 * momentum) + batch's · momentum, with the variance divided by count − 1, without a gradient. */
#define tn_batch_norm_training(...) tn_batch_norm_training_at(TN_HERE, __VA_ARGS__)
TN_API tn_tensor *tn_batch_norm_training_at(const char *place, const tn_tensor *x,
                                            const tn_tensor *const parameters[4], double momentum,
                                            double epsilon, tn_tensor *running[2]);

/* ---- embedding, dropout --------------------------------------------------------------------- */

/* Rows of weight [n, D]: index […] i32 or i64 → […, D] */
#define tn_embedding_with(index, weight) tn_embedding_with_at(TN_HERE, index, weight)
TN_API tn_tensor *tn_embedding_with_at(const char *place, const tn_tensor *index,
                                       const tn_tensor *weight);
/* Zero with probability p, else x / (1 − p). The key, a u64 scalar, names a stream of random numbers:
 * equal keys drop the same elements. */
#define tn_dropout_with(...) tn_dropout_with_at(TN_HERE, __VA_ARGS__)
TN_API tn_tensor *tn_dropout_with_at(const char *place, const tn_tensor *x, const tn_tensor *key,
                                     double p);

/* ---- attention ------------------------------------------------------------------------------ */

/* Of positions: query i64 [S, 1], key i64 [1, T] → bool (false hides) or float (added to the scores),
 * broadcast to [N, H, S, T]. */
typedef tn_tensor *tn_mask_fn(tn_tensor *query, tn_tensor *key, void *user);
/* scores [N, H, S, T] behind the scale, before the mask → the same type. */
typedef tn_tensor *tn_score_fn(tn_tensor *scores, tn_tensor *query, tn_tensor *key, void *user);
typedef struct tn_attention_options {
    size_t size;               /* sizeof(tn_attention_options) */
    bool causal;               /* position i sees j ≤ i + offset */
    int64_t offset;            /* of the first query among the keys */
    int64_t window;            /* not 0: i sees only |i + offset − j| < window */
    double scale;              /* 0: 1/√D */
    double soft_cap;           /* not 0: scores become cap · tanh(scores / cap) */
    tn_mask_fn *mask_function; /* called once, now; what it makes joins the kernel */
    tn_score_fn *score_function;
    void *user;
} tn_attention_options;
/* softmax(scale · q kᵀ + mask) v: q [N, H, S, D], k [N, K, T, D], v [N, K, T, E] where K divides H, mask
 * optional → [N, H, S, E] (Vaswani et al. 2017, eq. 1; shared key heads: Ainslie et al. 2023). */
#define tn_attention(...)                                                                          \
    TN_WITH_OPTIONS_4(tn_attention_at, tn_attention_options, __VA_ARGS__,                          \
                      TN_SIZE(tn_attention_options))
TN_API tn_tensor *tn_attention_at(const char *place, const tn_tensor *q, const tn_tensor *k,
                                  const tn_tensor *v, const tn_tensor *mask,
                                  const tn_attention_options *options);

/* Angles position · θ^(−2i/D) (Su et al. 2021, §3.4.2). With factor > 1 frequencies are divided by it
 * where their wave is longer than length / low, left where it is shorter than length / high, and
 * blended between (Llama 3.1). */
typedef struct tn_rotary_options {
    size_t size;              /* sizeof(tn_rotary_options) */
    double theta;             /* 0: 10000 */
    double factor;            /* 0: 1 */
    double low, high, length; /* 0: 1, 4, 8192 */
    int64_t features;         /* how many of the last axis are turned; 0: all */
    bool interleaved;         /* pairs are neighbours, else one from each half */
} tn_rotary_options;
/* x […, S, D] turned by its positions, integers that broadcast to x without its last axis; NULL: 0 … S
 * − 1 */
#define tn_rotary(...)                                                                             \
    TN_WITH_OPTIONS_2(tn_rotary_at, tn_rotary_options, __VA_ARGS__, TN_SIZE(tn_rotary_options))
TN_API tn_tensor *tn_rotary_at(const char *place, const tn_tensor *x, const tn_tensor *positions,
                               const tn_rotary_options *options);

/* ---- losses --------------------------------------------------------------------------------- */

/* Computed in f32 where x is narrower, and given in it. */
typedef enum tn_loss_reduction { TN_LOSS_MEAN, TN_LOSS_SUM, TN_LOSS_EACH } tn_loss_reduction;
typedef struct tn_loss_options {
    size_t size; /* sizeof(tn_loss_options) */
    tn_loss_reduction reduction;
    double delta;           /* huber: where the square ends; 0: 1 */
    double label_smoothing; /* cross_entropy: this part of a target is spread over all classes */
    bool ignores;           /* positions with the target `ignored` do not count */
    int64_t ignored;
    const tn_tensor *weight; /* [C] of each class, or NULL; nll_loss, cross_entropy */
} tn_loss_options;
#define TN_LOSS(fn, ...)                                                                           \
    TN_WITH_OPTIONS_2(fn, tn_loss_options, __VA_ARGS__, TN_SIZE(tn_loss_options))
/* Of x and its target, which broadcast: (x − t)², |x − t|, and (x − t)²/2 where |x − t| ≤ δ, else δ (|x
 * − t| − δ/2) (Huber 1964) */
#define tn_mse_loss(...) TN_LOSS(tn_mse_loss_at, __VA_ARGS__)
TN_API tn_tensor *tn_mse_loss_at(const char *place, const tn_tensor *x, const tn_tensor *target,
                                 const tn_loss_options *options);
#define tn_l1_loss(...) TN_LOSS(tn_l1_loss_at, __VA_ARGS__)
TN_API tn_tensor *tn_l1_loss_at(const char *place, const tn_tensor *x, const tn_tensor *target,
                                const tn_loss_options *options);
#define tn_huber_loss(...) TN_LOSS(tn_huber_loss_at, __VA_ARGS__)
TN_API tn_tensor *tn_huber_loss_at(const char *place, const tn_tensor *x, const tn_tensor *target,
                                   const tn_loss_options *options);
/* −t log σ(x) − (1 − t) log(1 − σ(x)), as log(1 + eˣ) − t x */
#define tn_binary_cross_entropy(...) TN_LOSS(tn_binary_cross_entropy_at, __VA_ARGS__)
TN_API tn_tensor *tn_binary_cross_entropy_at(const char *place, const tn_tensor *x,
                                             const tn_tensor *target,
                                             const tn_loss_options *options);
/* −x[target]: x [N, C, …] of log-probabilities, target [N, …] i32 or i64. The mean is over the positions
 * that count, weighted by their classes' weights. */
#define tn_nll_loss(...) TN_LOSS(tn_nll_loss_at, __VA_ARGS__)
TN_API tn_tensor *tn_nll_loss_at(const char *place, const tn_tensor *x, const tn_tensor *target,
                                 const tn_loss_options *options);
/* nll_loss of log_softmax(x, 1). With label smoothing s: (1 − s) of that and s of the mean over the
 * classes of −log_softmax(x, 1) (Szegedy et al. 2016, §7); not together with weights. */
#define tn_cross_entropy(...) TN_LOSS(tn_cross_entropy_at, __VA_ARGS__)
TN_API tn_tensor *tn_cross_entropy_at(const char *place, const tn_tensor *x,
                                      const tn_tensor *target, const tn_loss_options *options);

/* ---- loops and branches; tn_scan is in tensor.h --------------------------------------------- */

/* Functions that are given to these are called once, to record what they do; see tensor.h. They may use
 * tensors from outside. What does not depend on their x is computed once, before. */
typedef void tn_body_fn(tn_tensor *const *x, tn_tensor **y, void *user);
/* A bool scalar. */
typedef tn_tensor *tn_condition_fn(tn_tensor *const *x, void *user);
/* As long as the condition holds for the `count` states, body makes new ones of the same types. A
 * gradient needs a number of steps that can be read off the graph; else use tn_scan. */
#define tn_while(...) tn_while_at(TN_HERE, __VA_ARGS__)
TN_API void tn_while_at(const char *place, tn_condition_fn *condition, tn_body_fn *body, void *user,
                        tn_tensor *const *x, tn_tensor **y, int count);

/* Both give `y_count` results of the same types. */
typedef struct tn_branches {
    tn_body_fn *then, *otherwise;
    void *user;
} tn_branches;
/* flag, a bool scalar, ? then(x) : otherwise(x); only one of the two is run. */
#define tn_cond(...) tn_cond_at(TN_HERE, __VA_ARGS__)
TN_API void tn_cond_at(const char *place, const tn_tensor *flag, const tn_branches *branches,
                       tn_tensor *const *x, int x_count, tn_tensor **y, int y_count);

#ifdef __cplusplus
}
#endif
#endif

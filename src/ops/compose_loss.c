/* Classification losses. See compose.h. */
#include "ops/compose.h"

static tn_value axes_sum(tn_builder *b, tn_value x) {
    int axes[TN_MAX_RANK], rank = tn_b_rank(b, x);
    for (int i = 0; i < rank; i++) axes[i] = i;
    return tn_b_sum(b, x, axes, rank, false);
}

/* The weight of each position: that of its class, 0 where it is ignored; absent when all are 1. */
static tn_value position_weights(tn_builder *b, const tn_class_loss *o, tn_dtype dtype) {
    tn_value weight = TN_NO_VALUE;
    tn_type target = tn_b_type(b, o->target);
    if (o->weight != TN_NO_VALUE)
        weight = tn_b_cast(b, tn_b_gather_axis(b, o->weight, o->target, 0, TN_INDEX_clamp), dtype);
    if (!o->has_ignore) return weight;
    if (weight == TN_NO_VALUE) weight = tn_b_full(b, dtype, &target.shape, 1);
    tn_value ignored = tn_b_eq(b, o->target, tn_b_scalar_int(b, target.dtype, o->ignore));
    return tn_b_where(b, ignored, tn_b_scalar(b, dtype, 0), weight);
}

tn_value tn_b_nll_loss(tn_builder *b, tn_value log_probability, const tn_class_loss *o) {
    tn_dtype dtype = tn_b_type(b, log_probability).dtype, wide = tn_b_accumulator(dtype);
    if (tn_b_ok(b) && tn_b_rank(b, log_probability) != tn_b_rank(b, o->target) + 1)
        return tn_b_fail(b, TN_INVALID,
                         "a loss over classes: x has %d axes and the target %d; "
                         "expected x [N, C, …] and a target [N, …]",
                         tn_b_rank(b, log_probability), tn_b_rank(b, o->target));
    tn_value index = tn_b_unsqueeze(b, o->target, 1);
    tn_value picked = tn_b_gather_elements(b, log_probability, index, 1, TN_INDEX_clamp);
    tn_value loss = tn_b_neg(b, tn_b_cast(b, tn_b_squeeze(b, picked, 1), wide));
    tn_value weight = position_weights(b, o, wide);
    /* Selected rather than multiplied: an ignored −∞ must not become NaN. */
    if (weight != TN_NO_VALUE) {
        tn_value zero = tn_b_scalar(b, wide, 0);
        loss = tn_b_where(b, tn_b_eq(b, weight, zero), zero, tn_b_mul(b, loss, weight));
    }
    if (o->reduction == TN_REDUCTION_NONE) return tn_b_cast(b, loss, dtype);
    tn_value sum = axes_sum(b, loss);
    if (o->reduction == TN_REDUCTION_SUM) return tn_b_cast(b, sum, dtype);
    if (weight == TN_NO_VALUE) {
        tn_type target = tn_b_type(b, o->target);
        tn_dim count = tn_shape_count(b->graph->dims, &target.shape);
        return tn_b_cast(b, tn_b_div(b, sum, tn_b_dim_value(b, count, wide)), dtype);
    }
    return tn_b_cast(b, tn_b_div(b, sum, axes_sum(b, weight)), dtype);
}

tn_value tn_b_cross_entropy(tn_builder *b, tn_value x, const tn_class_loss *o,
                            tn_value *log_probability) {
    tn_value log_p = tn_b_log_softmax(b, x, 1);
    if (log_probability) *log_probability = log_p;
    return tn_b_nll_loss(b, log_p, o);
}

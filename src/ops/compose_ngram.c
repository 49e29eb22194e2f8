/* Counting n-grams: short sequences of known numbers. See compose.h. */
#include "ops/compose.h"

/* Which of the G n-grams begin at each place, with neighbours `distance` apart: bool [N, P, G]. */
static tn_value matches(tn_builder *b, tn_value x, tn_value grams, int64_t n, int64_t distance,
                        int64_t places) {
    tn_value all = TN_NO_VALUE;
    for (int64_t i = 0; i < n; i++) {
        tn_value here = tn_b_slice_axis(b, x, 1, i * distance, places, 1);
        tn_value wanted = tn_b_squeeze(b, tn_b_slice_axis(b, grams, 1, i, 1, 1), 1);
        tn_value equal = tn_b_eq(b, tn_b_unsqueeze(b, here, 2), wanted);
        all = i == 0 ? equal : tn_b_and(b, all, equal);
    }
    return all;
}

tn_value tn_b_count_ngrams(tn_builder *b, tn_value x, tn_value grams, int64_t skips) {
    int64_t size, n, count;
    tn_dims *t = tn_b_ok(b) ? b->graph->dims : NULL;
    if (!t) return TN_NO_VALUE;
    if (tn_b_rank(b, x) != 2 || !tn_dim_const_value(t, tn_b_dim(b, x, 1), &size) ||
        tn_b_rank(b, grams) != 2 || !tn_dim_const_value(t, tn_b_dim(b, grams, 1), &n) ||
        !tn_dim_const_value(t, tn_b_dim(b, grams, 0), &count))
        return tn_b_fail(b, TN_UNSUPPORTED,
                         "count_ngrams: expected x [N, C] and grams [G, n] of "
                         "constant C, G and n");
    tn_shape none = {.rank = 2, .dim = {tn_b_dim(b, x, 0), count}};
    tn_value sum = tn_b_full(b, TN_f32, &none, 0);
    for (int64_t distance = 1; distance <= (n > 1 ? skips + 1 : 1); distance++) {
        int64_t places = size - (n - 1) * distance;
        if (places < 1) break;
        tn_value found = tn_b_cast(b, matches(b, x, grams, n, distance, places), TN_f32);
        sum = tn_b_add(b, sum, tn_b_sum(b, found, (int[]){1}, 1, false));
    }
    return sum;
}

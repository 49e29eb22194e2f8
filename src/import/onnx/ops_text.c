/* Operators on texts: refused, as a compiled model has only numbers; and TfIdfVectorizer, which works
 * on numbers too. */
#include "import/onnx/ops.h"

static void refuse_texts(tn_o *o) {
    tn_o_fail(o, TN_UNSUPPORTED,
              "it works on texts, and a compiled model has only numbers; prepare them before");
}

/* The attributes: n-grams of length 1, 2, … lie behind each other, those of length n from start[n−1]
 * on; place[i] is the column of the i-th. */
typedef struct vocabulary {
    int total, lengths, places, weights;
    const int64_t *numbers, *start, *place;
    const double *weight;
    int64_t shortest, longest, skips, columns;
} vocabulary;

enum { MOST_SKIPS = 64, LONGEST = 16 };

static bool read_vocabulary(tn_o *o, vocabulary *v) {
    if (tn_o_has_attr(o, "pool_strings")) {
        refuse_texts(o);
        return false;
    }
    bool all = tn_o_ints(o, "pool_int64s", &v->total, &v->numbers);
    all = tn_o_ints(o, "ngram_counts", &v->lengths, &v->start) && all;
    all = tn_o_ints(o, "ngram_indexes", &v->places, &v->place) && all;
    tn_o_floats(o, "weights", &v->weights, &v->weight);
    v->shortest = tn_o_need_int(o, "min_gram_length");
    v->longest = tn_o_need_int(o, "max_gram_length");
    v->skips = tn_o_need_int(o, "max_skip_count");
    if (tn_o_ok(o) && (!all || v->shortest < 1 || v->longest < v->shortest || v->skips < 0 ||
                       v->skips > MOST_SKIPS || v->longest > LONGEST))
        tn_o_fail(
            o, TN_INVALID,
            "it lacks one of pool_int64s, ngram_counts and ngram_indexes, or its n-grams of %lld "
            "to %lld with %lld skips make no sense",
            (long long)v->shortest, (long long)v->longest, (long long)v->skips);
    for (int i = 0; i < v->places && tn_o_ok(o); i++) {
        if (v->place[i] < 0 || v->place[i] > INT32_MAX)
            tn_o_fail(o, TN_INVALID, "ngram_indexes holds %lld", (long long)v->place[i]);
        v->columns = TN_MAX(v->columns, v->place[i] + 1);
    }
    if (tn_o_ok(o) && v->weights && v->weights < v->columns)
        tn_o_fail(o, TN_INVALID, "%d weights for %lld columns", v->weights, (long long)v->columns);
    return tn_o_ok(o);
}

static tn_value vector(tn_o *o, const int64_t *at, int64_t count) {
    tn_array a = tn_array_new(o->scratch, TN_i64, 2, (int64_t[]){count, 1});
    for (int64_t i = 0; i < count; i++) tn_array_set(&a, i, (tn_cell){.i = at[i]});
    return tn_b_constant(o->b, &a);
}

/* Adds counts [N, G] of n-grams `first` … to their columns of y [columns, N]. */
static tn_value place_counts(tn_o *o, const vocabulary *v, tn_value y, tn_value counts,
                             int64_t first, int64_t count) {
    if (tn_o_ok(o) && first + count > v->places)
        return tn_o_fail(o, TN_INVALID, "ngram_indexes has %d entries, too few", v->places);
    if (!tn_o_ok(o)) return TN_NO_VALUE;
    tn_value index = vector(o, v->place + first, count);
    tn_attrs_scatter a = {.axes = {1, {0}}, .mode = TN_INDEX_error, .combine = TN_COMBINE_add};
    tn_value in[] = {y, index, tn_b_swap(o->b, counts, 0, 1)};
    return tn_b_node(o->b, TN_OP_scatter, in, 3, &a);
}

/* y [columns, N] of x [N, C] */
static tn_value frequencies(tn_o *o, const vocabulary *v, tn_value x) {
    tn_shape shape = {.rank = 2, .dim = {v->columns, tn_b_dim(o->b, x, 0)}};
    tn_value y = tn_b_full(o->b, TN_f32, &shape, 0);
    int64_t first = 0;
    for (int64_t n = 1; n <= v->lengths && tn_o_ok(o); n++) {
        int64_t start = v->start[n - 1], end = n < v->lengths ? v->start[n] : v->total;
        if (start < 0 || end < start || end > v->total || (end - start) % n)
            return tn_o_fail(o, TN_INVALID, "ngram_counts does not divide pool_int64s");
        int64_t count = (end - start) / n;
        if (count && n >= v->shortest && n <= v->longest) {
            tn_array a = tn_array_new(o->scratch, TN_i64, 2, (int64_t[]){count, n});
            for (int64_t i = 0; i < count * n; i++)
                tn_array_set(&a, i, (tn_cell){.i = v->numbers[start + i]});
            tn_value counts = tn_b_count_ngrams(o->b, x, tn_b_constant(o->b, &a), v->skips);
            y = place_counts(o, v, y, counts, first, count);
        }
        first += count;
    }
    return y;
}

static void import_tf_idf(tn_o *o) {
    static const char *const modes[] = {"TF", "IDF", "TFIDF", NULL};
    enum { TF, IDF, TFIDF };
    tn_builder *b = o->b;
    vocabulary v = {0};
    int mode = tn_o_choice(o, "mode", "TF", modes);
    if (!read_vocabulary(o, &v)) return;
    tn_value x = tn_b_cast(b, tn_o_in(o, 0), TN_i64);
    bool row = tn_b_rank(b, x) < 2;
    if (row) x = tn_b_reshape_to(b, x, 2, (tn_dim[]){1, tn_b_dim(b, x, 0)});
    tn_o_const_dim(o, tn_b_dim(b, x, 1), "the length of a row");
    if (!tn_o_ok(o)) return;
    tn_value y = tn_b_swap(b, frequencies(o, &v, x), 0, 1);
    if (mode == IDF) y = tn_b_min(b, y, tn_b_scalar(b, TN_f32, 1));
    if (mode != TF && v.weights) {
        tn_array w = tn_array_new(o->scratch, TN_f32, 1, &v.columns);
        for (int64_t i = 0; i < v.columns; i++) tn_array_set(&w, i, (tn_cell){.f = v.weight[i]});
        y = tn_b_mul(b, y, tn_b_constant(b, &w));
    }
    tn_o_out(o, 0, row ? tn_b_squeeze(b, y, 0) : y);
}

static const tn_onnx_op rows[] = {
    {"RegexFullMatch", 20, TN_ONNX_LATEST, refuse_texts},
    {"StringConcat", 20, TN_ONNX_LATEST, refuse_texts},
    {"StringNormalizer", 10, TN_ONNX_LATEST, refuse_texts},
    {"StringSplit", 20, TN_ONNX_LATEST, refuse_texts},
    {"TfIdfVectorizer", 9, TN_ONNX_LATEST, import_tf_idf},
};
TN_ONNX_TABLE(text, "")

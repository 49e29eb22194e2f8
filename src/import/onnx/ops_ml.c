/* Operator set ai.onnx.ml: what is plain arithmetic or indexing. */
#include "import/onnx/ops.h"

/* x > threshold ? 1 : 0 */
static void import_binarizer(tn_o *o) {
    tn_value x = tn_o_in(o, 0);
    tn_dtype dtype = tn_b_type(o->b, x).dtype;
    tn_value threshold = tn_b_scalar(o->b, dtype, tn_o_float(o, "threshold", 0));
    tn_o_out(o, 0, tn_b_cast(o->b, tn_b_gt(o->b, x, threshold), dtype));
}

/* Columns of the last axis; a vector counts as one row. */
static void import_feature_extractor(tn_o *o) {
    tn_value x = tn_o_in(o, 0), index = tn_o_in(o, 1);
    tn_type type = tn_b_type(o->b, index);
    tn_dim count = tn_shape_count(o->dims, &type.shape);
    if (tn_b_rank(o->b, x) == 1) x = tn_b_unsqueeze(o->b, x, 0);
    index = tn_b_reshape_to(o->b, index, 1, &count);
    tn_o_out(o, 0, tn_b_gather_axis(o->b, x, index, -1, TN_INDEX_error));
}

/* (x − offset) · scale; one value, or one per feature */
static void import_scaler(tn_o *o) {
    static const char *const names[] = {"offset", "scale"};
    tn_value x = tn_b_cast(o->b, tn_o_in(o, 0), TN_f32), v[2];
    for (int k = 0; k < 2; k++) {
        int n;
        const double *at;
        if (!tn_o_floats(o, names[k], &n, &at)) {
            v[k] = tn_b_scalar(o->b, TN_f32, k);
            continue;
        }
        int64_t count = n;
        tn_array a = tn_array_new(o->scratch, TN_f32, 1, &count);
        for (int i = 0; i < n; i++) tn_array_set(&a, i, (tn_cell){.f = at[i]});
        v[k] = tn_b_constant(o->b, &a);
    }
    tn_o_out(o, 0, tn_b_mul(o->b, tn_b_sub(o->b, x, v[0]), v[1]));
}

static const tn_onnx_op rows[] = {
    {"ArrayFeatureExtractor", 1, TN_ONNX_LATEST, import_feature_extractor},
    {"Binarizer", 1, TN_ONNX_LATEST, import_binarizer},
    {"Scaler", 1, TN_ONNX_LATEST, import_scaler},
};
TN_ONNX_TABLE(ml, "ai.onnx.ml")

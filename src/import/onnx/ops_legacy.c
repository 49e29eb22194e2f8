/* Operators of operator set 6 and older whose meaning changed later.
 *
 * Rows of the other files reach back to where an operator has meant the same, apart from
 * `consumed_inputs`, a hint of set 1 that memory may be reused. */
#include "import/onnx/ops.h"

/* ---- broadcasting by attributes ----------------------------------------------------------------- */

/* y without broadcast = 1: x and y have one shape. */
static void check_same_shape(tn_o *o, tn_value x, tn_value y) {
    tn_shape a = tn_b_type(o->b, x).shape, c = tn_b_type(o->b, y).shape;
    bool same = a.rank == c.rank;
    for (int i = 0; same && i < a.rank; i++)
        same = a.dim[i] == c.dim[i] || !tn_dim_is_const(a.dim[i]) || !tn_dim_is_const(c.dim[i]);
    if (tn_o_ok(o) && !same)
        tn_o_fail(o, TN_INVALID,
                  "its operands differ in shape; before operator set 7 that needs broadcast = 1");
}

/* y as an operand that broadcasts to x: one element, or axes of x from attribute `axis` on (its
 * last ones without it). */
static tn_value old_operand(tn_o *o, tn_value x, tn_value y) {
    tn_shape to = tn_b_type(o->b, x).shape, from = tn_b_type(o->b, y).shape;
    if (!tn_o_int(o, "broadcast", 0)) {
        check_same_shape(o, x, y);
        return y;
    }
    if (tn_shape_count(o->dims, &from) == 1) return tn_b_reshape(o->b, y, &(tn_shape){0});
    int64_t axis = tn_o_int(o, "axis", -1);
    if (axis == -1) axis = to.rank - from.rank; /* Caffe2's way to say that there is none */
    if (axis < 0) axis += to.rank;
    if (tn_o_ok(o) && (axis < 0 || axis > to.rank - from.rank))
        return tn_o_fail(o, TN_INVALID, "%d axes from axis %lld on do not fit into %d axes",
                         from.rank, (long long)axis, to.rank);
    if (!tn_o_ok(o)) return TN_NO_VALUE;
    tn_shape shape = {.rank = to.rank - (int)axis};
    for (int i = 0; i < shape.rank; i++) shape.dim[i] = i < from.rank ? from.dim[i] : 1;
    return tn_b_reshape(o->b, y, &shape);
}

#define BINARY(name)                                                                               \
    static void import_##name(tn_o *o) {                                                           \
        tn_value x = tn_o_in(o, 0), y = old_operand(o, x, tn_o_in(o, 1));                          \
        tn_o_out(o, 0, tn_b_##name(o->b, x, y));                                                   \
    }
BINARY(add)
BINARY(sub)
BINARY(mul)
BINARY(div)
BINARY(pow)
BINARY(and)
BINARY(or)
BINARY(xor)
BINARY(eq)
BINARY(lt)
BINARY(gt)

/* A slope for each channel, or one for all. */
static void import_prelu(tn_o *o) {
    tn_value x = tn_o_in(o, 0), slope = tn_o_in(o, 1);
    tn_shape shape = tn_b_type(o->b, slope).shape;
    int rank = tn_b_rank(o->b, x);
    if (tn_shape_count(o->dims, &shape) == 1)
        slope = tn_b_reshape(o->b, slope, &(tn_shape){0});
    else if (shape.rank == 1 && rank > 1)
        slope = tn_b_channel_vector(o->b, slope, rank);
    tn_o_out(o, 0, tn_b_prelu(o->b, x, slope));
}

/* ---- layers that train unless told not to ------------------------------------------------------- */

/* x [N, …] as [N, all the rest]. */
static tn_value flat(tn_o *o, tn_value x, int from) {
    tn_shape s = tn_b_type(o->b, x).shape, to = {.rank = from + 1, .dim = {s.dim[0], 1}};
    to.dim[from] = 1;
    for (int i = from; i < s.rank; i++) to.dim[from] = tn_dim_mul(o->dims, to.dim[from], s.dim[i]);
    return tn_b_reshape(o->b, x, &to);
}

/* Set 6 and older train without is_test, 7 to 13 where the running statistics are asked for. With
 * spatial = 0 each element of a sample has statistics of its own. */
static void import_batch_norm(tn_o *o) {
    tn_value x = tn_o_in(o, 0), running[2];
    tn_shape shape = tn_b_type(o->b, x).shape, part = shape;
    bool each = o->version < 9 && !tn_o_int(o, "spatial", 1) && shape.rank > 1;
    tn_value p[4];
    for (int i = 0; i < 4; i++) p[i] = each ? flat(o, tn_o_in(o, 1 + i), 0) : tn_o_in(o, 1 + i);
    tn_batch_norm n = {p[0],
                       p[1],
                       p[2],
                       p[3],
                       tn_o_float(o, "epsilon", (double)1e-5f),
                       tn_o_float(o, "momentum", (double)0.9f),
                       false};
    if (each) x = flat(o, x, 1);
    bool test = o->version < 7 ? tn_o_int(o, "is_test", 0) != 0 : !tn_o_wants(o, 1);
    tn_value y =
        test ? tn_b_batch_norm(o->b, x, &n) : tn_b_batch_norm_training(o->b, x, &n, running);
    tn_o_out(o, 0, tn_b_reshape(o->b, y, &shape));
    if (test) return;
    part.rank = each ? shape.rank - 1 : 1;
    for (int i = 0; i < part.rank; i++) part.dim[i] = shape.dim[i + 1];
    for (int i = 0; i < 2; i++) tn_o_out(o, 1 + i, tn_b_reshape(o->b, running[i], &part));
}

static void import_dropout(tn_o *o) {
    tn_type type = tn_o_type(o, 0);
    if (!tn_o_int(o, "is_test", 0) && tn_o_float(o, "ratio", 0.5) != 0)
        tn_o_fail(o, TN_UNSUPPORTED, "dropout in training mode; export with is_test = 1");
    tn_o_out_same(o, 0, 0);
    if (tn_o_wants(o, 1)) tn_o_out(o, 1, tn_b_full(o->b, type.dtype, &type.shape, 1));
}

/* ---- the rest ----------------------------------------------------------------------------------- */

/* The type by its name in ONNX's TensorProto. */
static void import_cast(tn_o *o) {
    static const char *const names[] = {"FLOAT",  "UINT8",  "INT8", "UINT16",  "INT16",
                                        "INT32",  "INT64",  "BOOL", "FLOAT16", "DOUBLE",
                                        "UINT32", "UINT64", NULL};
    static const tn_dtype types[] = {TN_f32, TN_u8,   TN_i8,  TN_u16, TN_i16, TN_i32,
                                     TN_i64, TN_bool, TN_f16, TN_f64, TN_u32, TN_u64};
    tn_o_need_text(o, "to");
    tn_o_out(o, 0, tn_b_cast(o->b, tn_o_in(o, 0), types[tn_o_choice(o, "to", "FLOAT", names)]));
}

static void import_concat(tn_o *o) {
    int n = tn_o_in_count(o);
    tn_value *in = TN_NEW_N(o->scratch, tn_value, n);
    for (int i = 0; i < n; i++) in[i] = tn_o_in(o, i);
    tn_o_out(o, 0,
             tn_b_concat(o->b, in, n,
                         tn_o_axis(o, tn_o_int(o, "axis", 1), n ? tn_b_rank(o->b, in[0]) : 0)));
}

static void import_selu(tn_o *o) {
    double alpha = tn_o_float(o, "alpha", (double)1.6732f);
    double gamma = tn_o_float(o, "gamma", (double)1.0507f);
    tn_o_out(o, 0, tn_b_selu(o->b, tn_o_in(o, 0), alpha, gamma));
}

static const tn_onnx_op rows[] = {
    {"Add", 1, 6, import_add},
    {"And", 1, 6, import_and},
    {"BatchNormalization", 1, 13, import_batch_norm},
    {"Cast", 1, 5, import_cast},
    {"Concat", 1, 3, import_concat},
    {"Div", 1, 6, import_div},
    {"Dropout", 1, 6, import_dropout},
    {"Equal", 1, 6, import_eq},
    {"Greater", 1, 6, import_gt},
    {"Less", 1, 6, import_lt},
    {"Mul", 1, 6, import_mul},
    {"Or", 1, 6, import_or},
    {"PRelu", 1, 6, import_prelu},
    {"Pow", 1, 6, import_pow},
    {"Selu", 1, 5, import_selu},
    {"Sub", 1, 6, import_sub},
    {"Xor", 1, 6, import_xor},
};
TN_ONNX_TABLE(legacy, "")

/* Pad: how much may be an expression over open sizes. */
#include "import/onnx/dynamic.h"
#include "import/onnx/ops.h"

typedef struct padding {
    int rank;
    tn_dim lo[TN_MAX_RANK], hi[TN_MAX_RANK];
} padding;

/* Which axis entry i of the amounts is for; since opset 18 an input may name them. */
static int read_pad_axes(tn_o *o, int rank, int *axis) {
    int count;
    const int64_t *at;
    if (o->version < 18 || !tn_o_has(o, 3)) {
        for (int i = 0; i < rank; i++) axis[i] = i;
        return rank;
    }
    if (!tn_o_need_ints(o, 3, "axes", &count, &at)) return 0;
    if (count > rank) tn_o_fail(o, TN_INVALID, "%d axes of an input with %d", count, rank);
    for (int i = 0; i < count && tn_o_ok(o); i++) axis[i] = tn_o_axis(o, at[i], rank);
    return tn_o_ok(o) ? count : 0;
}

/* Before opset 11 an attribute; all starts, then all ends. */
static bool read_amounts(tn_o *o, int64_t *count, const tn_dim **at) {
    if (o->version >= 11) {
        tn_known k;
        if (!tn_o_need_sizes(o, 1, "pads", true, &k)) return false;
        *count = k.count;
        *at = k.at;
        return true;
    }
    int n;
    const int64_t *given;
    const char *name = o->version < 2 ? "paddings" : "pads";
    if (!tn_o_ints(o, name, &n, &given)) {
        tn_o_fail(o, TN_INVALID, "its attribute '%s' is missing", name);
        return false;
    }
    tn_dim *dim = TN_NEW_N(o->scratch, tn_dim, n);
    for (int i = 0; i < n; i++) dim[i] = tn_dim_const(o->dims, given[i]);
    *count = n;
    *at = dim;
    return true;
}

static bool read_padding(tn_o *o, tn_value x, padding *p) {
    int axis[TN_MAX_RANK];
    int64_t count;
    const tn_dim *at;
    *p = (padding){.rank = tn_b_rank(o->b, x)};
    int n = read_pad_axes(o, p->rank, axis);
    if (!tn_o_ok(o) || !read_amounts(o, &count, &at)) return false;
    if (count != 2 * n) {
        tn_o_fail(o, TN_INVALID, "its pads have %lld entries; expected %d", (long long)count,
                  2 * n);
        return false;
    }
    for (int i = 0; i < n; i++) {
        p->lo[axis[i]] = at[i];
        p->hi[axis[i]] = at[n + i];
    }
    return true;
}

/* Of x's type; without one it is 0. */
static tn_value fill_value(tn_o *o, tn_value x) {
    tn_dtype dtype = tn_b_type(o->b, x).dtype;
    if (o->version < 11) return tn_b_scalar(o->b, dtype, tn_o_float(o, "value", 0));
    if (!tn_o_has(o, 2)) return tn_b_scalar(o->b, dtype, 0);
    tn_value v = tn_b_reshape(o->b, tn_o_in(o, 2), &(tn_shape){0});
    return tn_b_cast(o->b, v, dtype);
}

static void import_pad(tn_o *o) {
    static const char *const modes[] = {"constant", "edge", "reflect", "wrap", NULL};
    static const tn_pad_mode around[] = {TN_PAD_EDGE, TN_PAD_EDGE, TN_PAD_REFLECT, TN_PAD_WRAP};
    int mode = tn_o_choice(o, "mode", "constant", modes);
    tn_value x = tn_o_in(o, 0);
    padding p;
    if (!read_padding(o, x, &p)) return;
    if (mode) {
        for (int a = 0; a < p.rank; a++)
            x = tn_b_pad_around(o->b, x, a, p.lo[a], p.hi[a], around[mode]);
        tn_o_out(o, 0, x);
        return;
    }
    tn_attrs_pad a = {.lo = {.count = p.rank}, .hi = {.count = p.rank}};
    a.interior.count = p.rank;
    for (int i = 0; i < p.rank; i++) {
        a.lo.at[i] = p.lo[i];
        a.hi.at[i] = p.hi[i];
    }
    tn_value in[] = {x, fill_value(o, x)};
    tn_o_out(o, 0, tn_b_node(o->b, TN_OP_pad, in, 2, &a));
}

static const tn_onnx_op rows[] = {
    {"Pad", 1, TN_ONNX_LATEST, import_pad},
};
TN_ONNX_TABLE(pad, "")

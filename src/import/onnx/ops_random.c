/* Random numbers. A node's numbers follow from its seed, without one from the name of its result and of
 * the calls of functions around it: every run of a model gives the same ones. Each turn of a loop draws others, the
 * same whether the loop is unrolled or not. */
#include <math.h>

#include "import/onnx/body.h"
#include "import/onnx/ops.h"
#include "import/onnx/scope.h"

/* factor · number of the turn */
static tn_value turn_value(tn_o *o, const tn_onnx_scope *loop, uint64_t factor) {
    tn_value turn = tn_o_item_value(o, tn_onnx_turn(o->scope, loop));
    tn_value scale = tn_b_scalar_int(o->b, TN_u64, (int64_t)factor);
    return tn_b_mul(o->b, tn_b_cast(o->b, turn, TN_u64), scale);
}

/* stream + Σ factor · turn over the loops around, each with a factor of its own; then what makes a member of many
 * draw its own (xor, as the batch rule of random_bits does). */
static tn_value key_from(tn_o *o, uint64_t stream) {
    uint64_t member = o->scope->im->options->stream, loops = 0;
    tn_value open = TN_NO_VALUE;
    int64_t number;
    for (tn_onnx_scope *s = o->scope; s && tn_o_ok(o); s = tn_onnx_scope_around(s)) {
        if (!s->repeated) continue;
        uint64_t factor = tn_hash64(&loops, sizeof loops) | 1;
        loops++;
        if (s->turn && tn_onnx_known_number(o, s->turn, &number)) {
            stream += (uint64_t)number * factor;
        } else if (s->turn) {
            tn_value one = turn_value(o, s, factor);
            open = open == TN_NO_VALUE ? one : tn_b_add(o->b, open, one);
        }
    }
    if (open == TN_NO_VALUE) return tn_b_scalar_int(o->b, TN_u64, (int64_t)(stream ^ member));
    tn_value key = tn_b_add(o->b, open, tn_b_scalar_int(o->b, TN_u64, (int64_t)stream));
    return tn_b_xor(o->b, key, tn_b_scalar_int(o->b, TN_u64, (int64_t)member));
}

static uint64_t stream_of_name(const tn_o *o) {
    const char *name = o->node->outputs.len ? o->node->outputs.data[0] : "";
    uint64_t stream = tn_hash64(name, strlen(name));
    if (!o->scope->caller) return stream;
    uint64_t both[] = {stream, stream_of_name(o->scope->caller)};
    return tn_hash64(both, sizeof both);
}

static tn_value key_of(tn_o *o) {
    if (!tn_o_has_attr(o, "seed")) return key_from(o, stream_of_name(o));
    double seed = tn_o_float(o, "seed", 0);
    return key_from(o, tn_hash64(&seed, sizeof seed));
}

static bool float_type(tn_o *o, tn_dtype dtype) {
    if (tn_o_ok(o) && !tn_dtype_is_float(dtype))
        tn_o_fail(o, TN_INVALID, "random numbers of type %s", tn_dtype_name(dtype));
    return tn_o_ok(o);
}

typedef struct random_result {
    tn_dtype dtype;
    tn_shape shape;
} random_result;

/* Given by attributes, or (like) by the input, whose type an attribute may replace. */
static bool read_result(tn_o *o, bool like, random_result *r) {
    int count;
    const int64_t *at;
    if (like) {
        tn_type type = tn_o_type(o, 0);
        *r = (random_result){tn_o_dtype(o, "dtype", type.dtype), type.shape};
        return float_type(o, r->dtype);
    }
    *r = (random_result){.dtype = tn_o_dtype(o, "dtype", TN_f32)};
    if (!tn_o_ints(o, "shape", &count, &at) || count > TN_MAX_RANK) {
        tn_o_fail(o, TN_INVALID, "its shape is missing or has more than %d axes", TN_MAX_RANK);
        return false;
    }
    r->shape.rank = count;
    for (int i = 0; i < count; i++) {
        if (at[i] < 0) tn_o_fail(o, TN_INVALID, "its shape has size %lld", (long long)at[i]);
        r->shape.dim[i] = at[i];
    }
    return float_type(o, r->dtype);
}

static void uniform(tn_o *o, bool like) {
    random_result r;
    double low = tn_o_float(o, "low", 0), high = tn_o_float(o, "high", 1);
    if (!read_result(o, like, &r)) return;
    tn_o_out(o, 0, tn_b_random_uniform(o->b, r.dtype, &r.shape, key_of(o), low, high));
}

static void normal(tn_o *o, bool like) {
    random_result r;
    double mean = tn_o_float(o, "mean", 0), scale = tn_o_float(o, "scale", 1);
    if (!read_result(o, like, &r)) return;
    tn_o_out(o, 0, tn_b_random_normal(o->b, r.dtype, &r.shape, key_of(o), mean, scale));
}

static void import_uniform(tn_o *o) {
    uniform(o, false);
}

static void import_uniform_like(tn_o *o) {
    uniform(o, true);
}

static void import_normal(tn_o *o) {
    normal(o, false);
}

static void import_normal_like(tn_o *o) {
    normal(o, true);
}

static void import_bernoulli(tn_o *o) {
    tn_value p = tn_o_in(o, 0);
    tn_dtype dtype = tn_o_dtype(o, "dtype", tn_b_type(o->b, p).dtype);
    tn_o_out(o, 0, tn_b_bernoulli(o->b, p, dtype, key_of(o)));
}

static void import_multinomial(tn_o *o) {
    int64_t samples = tn_o_int(o, "sample_size", 1);
    tn_dtype dtype = tn_o_dtype(o, "dtype", TN_i32);
    tn_o_out(o, 0, tn_b_multinomial(o->b, tn_o_in(o, 0), samples, dtype, key_of(o)));
}

/* ---- dropout ------------------------------------------------------------------------------------ */

/* The probability of a dropout in training mode; 0: it is none. */
static double dropout_ratio(tn_o *o) {
    tn_array training;
    int count = 0;
    const double *ratio = NULL;
    bool trains = o->version >= 12 && tn_o_has(o, 2) &&
                  tn_o_need_array(o, 2, "training_mode", &training) &&
                  tn_array_count(&training) == 1 && tn_array_get(&training, 0).u;
    if (!trains) return 0;
    if (!tn_o_has(o, 1)) return 0.5;
    if (!tn_o_need_floats(o, 1, "ratio", &count, &ratio)) return 0;
    if (count == 1 && ratio[0] >= 0 && ratio[0] <= 1) return ratio[0];
    tn_o_refuse(o, TN_INVALID, "ratio is %s%g; expected one number from 0 to 1",
                count == 1 ? "" : "a list of them, first ", count ? ratio[0] : (double)NAN);
    return 0;
}

/* Its seed is a whole number, that of others a float. */
static tn_value dropout_key(tn_o *o) {
    if (!tn_o_has_attr(o, "seed")) return key_from(o, stream_of_name(o));
    int64_t seed = tn_o_int(o, "seed", 0);
    return key_from(o, tn_hash64(&seed, sizeof seed));
}

/* Outside of training mode the result is the input, the mask all true. */
static void import_dropout(tn_o *o) {
    double ratio = dropout_ratio(o);
    tn_type type = tn_o_type(o, 0);
    if (ratio > 0) {
        tn_value kept = TN_NO_VALUE;
        tn_o_out(o, 0, tn_b_dropout(o->b, tn_o_in(o, 0), ratio, dropout_key(o), &kept));
        if (tn_o_wants(o, 1)) tn_o_out(o, 1, kept);
        return;
    }
    tn_o_out_same(o, 0, 0);
    if (!tn_o_wants(o, 1)) return;
    tn_dtype dtype = o->version >= 10 ? TN_bool : type.dtype;
    tn_o_out(o, 1, tn_b_full(o->b, dtype, &type.shape, 1));
}

static const tn_onnx_op rows[] = {
    {"Bernoulli", 15, TN_ONNX_LATEST, import_bernoulli},
    {"Dropout", 7, TN_ONNX_LATEST, import_dropout},
    {"Multinomial", 7, TN_ONNX_LATEST, import_multinomial},
    {"RandomNormal", 1, TN_ONNX_LATEST, import_normal},
    {"RandomNormalLike", 1, TN_ONNX_LATEST, import_normal_like},
    {"RandomUniform", 1, TN_ONNX_LATEST, import_uniform},
    {"RandomUniformLike", 1, TN_ONNX_LATEST, import_uniform_like},
};
TN_ONNX_TABLE(random, "")

/* ---- who draws ---------------------------------------------------------------------------------- */

/* `calls`: what is said of calls of functions. */
static bool nodes_draw(const tn_onnx_node *nodes, uint32_t count, bool calls) {
    for (uint32_t i = 0; i < count; i++) {
        const tn_onnx_node *n = &nodes[i];
        if (calls && n->domain[0]) return true;
        for (size_t k = 0; k < TN_COUNT(rows); k++)
            if (!strcmp(n->op, rows[k].name)) return true;
        for (uint32_t k = 0; k < n->attrs.len; k++) {
            const tn_onnx_graph *g = n->attrs.data[k].g;
            if (g && nodes_draw(g->nodes.data, g->nodes.len, calls)) return true;
        }
    }
    return false;
}

bool tn_onnx_draws(const tn_onnx_model *model, const tn_onnx_graph *g) {
    bool calls = false;
    for (uint32_t i = 0; i < model->functions.len && !calls; i++) {
        const tn_onnx_function *f = &model->functions.data[i];
        calls = nodes_draw(f->nodes.data, f->nodes.len, false);
    }
    return nodes_draw(g->nodes.data, g->nodes.len, calls);
}

/* What operators say of ranks, sizes, axes and values of attributes that do not fit: a row of
 * onnx_refusals.def is one node and the message that follows "FILE: node 'n' (Op): ". Types,
 * numbers of inputs and names of attributes: test_import_onnx_signatures.c. */
#include "unit/test_folder.h"

#include <stdlib.h>

#include "import/onnx/ops.h"
#include "import/onnx/signature.h"
#include "unit/import/onnx_wire.h"

typedef struct refusal {
    const char *op;         /* "com.microsoft:Gelu", or without a domain ONNX's own */
    int version;            /* of ONNX's operator set */
    const char *inputs;     /* "f32[2,3] i64{1,2} i64=3 -": an input, a list, a scalar, none */
    const char *attributes; /* "axis=1 mode='a' scale=0.5 pads=[1,1] names=['a','b']" */
    const char *message;
} refusal;

static const refusal refusals[] = {
#define ROW(...) {__VA_ARGS__},
#include "error/onnx_refusals.def"
#undef ROW
};

#define OWN_DOMAIN "com.microsoft" /* the only one beside ONNX's own */

static const char *name_of(const char *op) {
    const char *end = strchr(op, ':');
    return end ? end + 1 : op;
}

static int type_of(const char *word) {
    static const struct {
        const char *name;
        int type;
    } types[] = {{"f32", 1}, {"u8", 2}, {"i32", 6}, {"i64", 7}, {"bool", 9}};
    size_t length = strcspn(word, "[{=");
    for (size_t i = 0; i < TN_COUNT(types); i++)
        if (strlen(types[i].name) == length && !memcmp(types[i].name, word, length))
            return types[i].type;
    fail_msg("type of '%s'", word);
    return 0;
}

/* Elements "1,2" of a constant, as the file has them. */
static size_t constant_bytes(int type, char *text, uint8_t *out) {
    size_t size = 0;
    for (char *rest = NULL, *s = strtok_r(text, ",}", &rest); s; s = strtok_r(NULL, ",}", &rest)) {
        double f = atof(s);
        if (type == 1) {
            memcpy(out + size, &(float){(float)f}, 4);
            size += 4;
        } else if (type == 6) {
            memcpy(out + size, &(int32_t){(int32_t)f}, 4);
            size += 4;
        } else if (type == 7) {
            memcpy(out + size, &(int64_t){(int64_t)f}, 8);
            size += 8;
        } else {
            out[size++] = (uint8_t)f;
        }
    }
    return size;
}

static void add_operand(wire *graph, wire *node, const char *word, int number) {
    char name[16], text[64];
    uint8_t bytes[256];
    int type = type_of(word);
    snprintf(name, sizeof name, "x%d", number);
    wire_text(node, 1, name);
    const char *rest = word + strcspn(word, "[{=");
    snprintf(text, sizeof text, "%s", rest + 1);
    if (*rest == '[') {
        text[strcspn(text, "]")] = 0;
        wire_input(graph, name, type, text);
        return;
    }
    size_t size = constant_bytes(type, text, bytes), each = type == 7                ? 8
                                                            : type == 1 || type == 6 ? 4
                                                                                     : 1;
    int64_t count = (int64_t)(size / each);
    wire t = wire_tensor(name, type, *rest == '{', &count, bytes, size);
    wire_put(graph, 5, &t);
}

static void add_list(wire *attr, char *text) {
    bool texts = text[1] == '\'';
    for (char *rest = NULL, *s = strtok_r(text, "[],'", &rest); s;
         s = strtok_r(NULL, "[],'", &rest))
        if (texts)
            wire_text(attr, 9, s);
        else
            wire_int(attr, 8, atoll(s));
    wire_int(attr, 20, texts ? 8 : 7);
}

static void add_attribute(wire *node, char *word) {
    wire attr = {.len = 0};
    char *value = strchr(word, '=');
    assert_non_null(value);
    *value++ = 0;
    wire_text(&attr, 1, word);
    if (*value == '[') {
        add_list(&attr, value);
    } else if (*value == '\'') {
        value[strlen(value) - 1] = 0;
        wire_text(&attr, 4, value + 1);
        wire_int(&attr, 20, 3);
    } else {
        wire_int(&attr, 3, atoll(value));
        wire_int(&attr, 20, 2);
    }
    wire_put(node, 5, &attr);
}

static wire graph_of(const refusal *r) {
    wire g = {.len = 0}, node = {.len = 0};
    char text[256];
    int number = 0;
    snprintf(text, sizeof text, "%s", r->inputs);
    for (char *rest = NULL, *s = strtok_r(text, " ", &rest); s; s = strtok_r(NULL, " ", &rest))
        if (!strcmp(s, "-"))
            wire_text(&node, 1, "");
        else
            add_operand(&g, &node, s, number++);
    wire_text(&node, 2, "y");
    wire_text(&node, 3, "n");
    wire_text(&node, 4, name_of(r->op));
    if (name_of(r->op) != r->op) wire_text(&node, 7, OWN_DOMAIN);
    snprintf(text, sizeof text, "%s", r->attributes);
    for (char *rest = NULL, *s = strtok_r(text, " ", &rest); s; s = strtok_r(NULL, " ", &rest))
        add_attribute(&node, s);
    wire_put(&g, 1, &node);
    wire_port(&g, 12, "y", 0, "?");
    return g;
}

static void reads(const char *path, const refusal *r) {
    char expected[TN_ERROR_TEXT];
    wire g = graph_of(r), model = wire_model(&g, r->version);
    imported i = {.status = TN_OK};
    assert_int_equal(tn_file_write(path, model.at, model.len, false, NULL), TN_OK);
    tn_arena_init(&i.arena, tn_allocator_system());
    i.status = tn_import_onnx(path, NULL, &i.arena, &i.import, &i.err);
    if (i.status != TN_OK) tn_error_format(&i.err, i.text, sizeof i.text);
    const char *text = i.status != TN_OK      ? i.text
                       : i.import.need_reason ? i.import.need_reason
                                              : "imported";
    snprintf(expected, sizeof expected, "%s: node 'n' (%s): %s", path, name_of(r->op), r->message);
    if (strcmp(text, expected))
        print_error("%s %d '%s' '%s':\n  %s\n", r->op, r->version, r->inputs, r->attributes, text);
    if (i.status != TN_OK) assert_int_not_equal(i.status, TN_OUT_OF_MEMORY);
    bool same = !strcmp(text, expected);
    import_done(&i);
    assert_true(same);
}

static void test_refusals__name_what_does_not_fit(void **state) {
    (void)state;
    char path[600];
    snprintf(path, sizeof path, "%s/m.onnx", folder);
    for (size_t k = 0; k < TN_COUNT(refusals); k++) reads(path, &refusals[k]);
}

/* Operators that take any shape, with attributes that any value fits. */
static const char *const any_shape[] = {
    "Abs",
    "Acos",
    "Acosh",
    "Asin",
    "Asinh",
    "Atan",
    "Atanh",
    "BitwiseNot",
    "Ceil",
    "Cos",
    "Cosh",
    "Elu",
    "Erf",
    "Exp",
    "Floor",
    "HardSigmoid",
    "HardSwish",
    "IsNaN",
    "LeakyRelu",
    "Log",
    "Mish",
    "Neg",
    "NonZero",
    "Not",
    "Optional",
    "Reciprocal",
    "Relu",
    "Round",
    "Selu",
    "SequenceEmpty",
    "Shrink",
    "Sigmoid",
    "Sign",
    "Sin",
    "Sinh",
    "Softplus",
    "Softsign",
    "Sqrt",
    "Swish",
    "Tan",
    "Tanh",
    "ThresholdedRelu",
    "com.microsoft:Gelu",
    "com.microsoft:QuickGelu",
    /* refused as a whole */
    "ImageDecoder",
    "RegexFullMatch",
    "StringConcat",
    "StringNormalizer",
    "StringSplit",
};

static bool has_refusal(const char *op) {
    for (size_t i = 0; i < TN_COUNT(refusals); i++)
        if (!strcmp(refusals[i].op, op)) return true;
    for (size_t i = 0; i < TN_COUNT(any_shape); i++)
        if (!strcmp(any_shape[i], op)) return true;
    return false;
}

static void test_refusals__are_there_for_every_operator(void **state) {
    (void)state;
    size_t count;
    int missing = 0;
    const tn_onnx_signature *all = tn_onnx_signatures(&count);
    for (size_t i = 0; i < count; i++) {
        bool known, own = !strcmp(all[i].domain, OWN_DOMAIN);
        char op[128];
        if (all[i].domain[0] && !own) continue;
        if (!tn_onnx_op_find(all[i].domain, all[i].name, all[i].since, &known)) continue;
        snprintf(op, sizeof op, "%s%s", own ? OWN_DOMAIN ":" : "", all[i].name);
        if (has_refusal(op)) continue;
        print_error("%s has no row\n", op);
        missing++;
    }
    assert_int_equal(missing, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusals__name_what_does_not_fit),
        cmocka_unit_test(test_refusals__are_there_for_every_operator),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}

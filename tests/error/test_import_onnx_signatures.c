/* Every operator that ONNX has a schema of and the importer knows: inputs of a wrong type, too many
 * inputs, attributes it does not have or of another type are refused, with file, node, operator and
 * shapes in the message. What operators say of ranks and sizes: test_import_onnx_shapes.c. */
#include "unit/test.h"

#include <stdlib.h>

#include "import/onnx/ops.h"
#include "import/onnx/signature.h"
#include "unit/import/onnx_wire.h"

enum { MOST_INPUTS = 40 };

/* The version at which a row is tried; 0: the importer has no such operator there, or it is older
 * than what importers still read. */
static int version_of(const tn_onnx_signature *s) {
    bool known;
    int version = s->domain[0] ? s->since : TN_MAX(s->since, 7);
    if (tn_onnx_signature_find(s->domain, s->name, version) != s) return 0;
    return tn_onnx_op_find(s->domain, s->name, version, &known) ? version : 0;
}

static wire new_model(const wire *graph, const tn_onnx_signature *s, int version) {
    wire model = wire_model(graph, 21), set = {.len = 0};
    if (!s->domain[0]) return wire_model(graph, version);
    wire_text(&set, 1, s->domain);
    wire_int(&set, 2, version);
    wire_put(&model, 8, &set);
    return model;
}

static int type_letter(char letter) {
    return (int)(strchr("-fistgFIST", letter) - "-fistgFIST");
}

static void add_attribute(wire *node, const char *name, char letter) {
    static const float one = 1;
    wire attr = {.len = 0}, graph = {.len = 0};
    wire tensor = wire_tensor("t", W_FLOAT, 0, NULL, &one, sizeof one);
    wire_text(&attr, 1, name);
    switch (letter) {
    case 'i':
        wire_int(&attr, 3, 1);
        break;
    case 's':
        wire_text(&attr, 4, "s");
        break;
    case 't':
        wire_put(&attr, 5, &tensor);
        break;
    case 'g':
        wire_put(&attr, 6, &graph);
        break;
    case 'I':
        wire_int(&attr, 8, 1);
        break;
    case 'S':
        wire_text(&attr, 9, "s");
        break;
    case 'T':
        wire_put(&attr, 10, &tensor);
        break;
    default:
        break; /* floats are 0 */
    }
    wire_int(&attr, 20, type_letter(letter));
    wire_put(node, 5, &attr);
}

/* The next "name:t!" of a list; false at its end. */
static bool next_attribute(const char **at, char name[64], char *letter, bool *needed) {
    if (!**at) return false;
    size_t length = strcspn(*at, ":");
    snprintf(name, 64, "%.*s", (int)length, *at);
    *letter = (*at)[length + 1];
    *needed = (*at)[length + 2] == '!';
    *at += strcspn(*at, " ");
    *at += **at == ' ';
    return true;
}

/* Node 'n' with `inputs` inputs x0, x1, … and, but for `other`, the attributes it must have. */
static wire node_of(const tn_onnx_signature *s, int inputs, const char *other) {
    wire node = {.len = 0};
    char name[64], letter;
    bool needed;
    for (int i = 0; i < inputs; i++) {
        snprintf(name, sizeof name, "x%d", i);
        wire_text(&node, 1, name);
    }
    wire_text(&node, 2, "y");
    wire_text(&node, 3, "n");
    wire_text(&node, 4, s->name);
    wire_text(&node, 7, s->domain);
    for (const char *at = s->attributes; next_attribute(&at, name, &letter, &needed);)
        if (needed && strcmp(name, other) && letter != 'x') add_attribute(&node, name, letter);
    return node;
}

static wire graph_of(const wire *node, int inputs, const int *types) {
    wire g = {.len = 0};
    char name[16];
    for (int i = 0; i < inputs; i++) {
        snprintf(name, sizeof name, "x%d", i);
        wire_input(&g, name, types[i], "2,3");
    }
    wire_put(&g, 1, node);
    wire_output(&g, "y", W_FLOAT, "?");
    return g;
}

static void refuses(const tn_onnx_signature *s, int version, const wire *node, int inputs,
                    const int *types, const char *expected) {
    imported i;
    char begin[128];
    wire g = graph_of(node, inputs, types), model = new_model(&g, s, version);
    import_bytes(&i, model.at, model.len, NULL);
    snprintf(begin, sizeof begin, "node 'n' (%s): ", s->name);
    if (i.status == TN_OK) fail_msg("%s %d: imported; expected: %s", s->name, version, expected);
    if (strncmp(i.text, begin, strlen(begin)) || !strstr(i.text, expected) ||
        (inputs && !strstr(i.text, "[2,3]")))
        fail_msg("%s %d: '%s'; expected: %s", s->name, version, i.text, expected);
    import_done(&i);
}

/* A type that Tenon has, allowed or not; 0: there is none. */
static int pick_type(uint32_t types, bool allowed) {
    tn_dtype dtype;
    for (int k = 1; k < TN_ONNX_NO_TENSOR; k++)
        if (tn_onnx_dtype(k, &dtype, NULL) == TN_OK && (types >> k & 1) == (uint32_t)allowed)
            return k;
    return 0;
}

/* Types of the needed inputs; their number, 0 when some cannot be a tensor Tenon has. */
static int good_types(const tn_onnx_signature *s, int *types) {
    const char *at = s->inputs;
    int variable[26] = {0};
    tn_onnx_slot slot = {0};
    int count = TN_MAX(s->least, *at != 0);
    for (int i = 0; i < count; i++) {
        if (!slot.repeated) slot = tn_onnx_next_slot(&at);
        int *of = slot.variable == '-' ? &types[i] : &variable[slot.variable - 'a'];
        if (of == &types[i] || !*of) *of = pick_type(slot.types, true);
        types[i] = *of;
        if (!types[i]) return 0;
    }
    return count;
}

/* A row that is tried, with good types for the inputs it needs. */
typedef struct attempt {
    const tn_onnx_signature *s;
    int version, inputs;
    int types[MOST_INPUTS];
} attempt;

static void refused_as(const attempt *a, const wire *node, const char *expected) {
    refuses(a->s, a->version, node, a->inputs, a->types, expected);
}

/* Tries every row; `try` tells how many nodes it saw refused. */
static void try_all(int (*try)(attempt *a), int at_least) {
    size_t count;
    int refusals = 0;
    const tn_onnx_signature *all = tn_onnx_signatures(&count);
    for (size_t r = 0; r < count; r++) {
        attempt a = {.s = &all[r], .version = version_of(&all[r])};
        if (!a.version) continue;
        a.inputs = good_types(a.s, a.types);
        refusals += try(&a);
    }
    assert_true(refusals > at_least);
}

static int try_types(attempt *a) {
    const char *at = a->s->inputs;
    tn_onnx_slot slot = {0};
    int refusals = 0;
    for (int i = 0; i < a->inputs; i++) {
        char expected[64];
        if (!slot.repeated) slot = tn_onnx_next_slot(&at);
        int wrong = pick_type(slot.types, false), right = a->types[i];
        if (!wrong) continue; /* every type is allowed */
        a->types[i] = wrong;
        wire node = node_of(a->s, a->inputs, "");
        snprintf(expected, sizeof expected, "input %d ('x%d') has type", i, i);
        refused_as(a, &node, expected);
        a->types[i] = right;
        refusals++;
    }
    return refusals;
}

/* Two inputs that share a type variable. */
static int try_pair(attempt *a) {
    const char *at = a->s->inputs;
    if (a->inputs < 2) return 0;
    tn_onnx_slot first = tn_onnx_next_slot(&at);
    tn_onnx_slot second = first.repeated ? first : tn_onnx_next_slot(&at);
    int other = pick_type(second.types & ~(1u << a->types[0]), true);
    if (first.variable != second.variable || first.variable == '-' || !other) return 0;
    a->types[1] = other;
    wire node = node_of(a->s, a->inputs, "");
    refused_as(a, &node, "as of those before it");
    return 1;
}

static int try_numbers(attempt *a) {
    const char *at = a->s->inputs;
    tn_onnx_slot slot = {0};
    int most = 0;
    while (*at) slot = tn_onnx_next_slot(&at), most++;
    if (!a->inputs || a->inputs != most || slot.repeated) return 0;
    a->types[most] = a->types[0];
    a->inputs = most + 1;
    wire node = node_of(a->s, a->inputs, "");
    refused_as(a, &node, "it has at most");
    if (!a->s->least) return 1;
    a->inputs = a->s->least - 1;
    node = node_of(a->s, a->inputs, "");
    refused_as(a, &node, "is missing");
    return 2;
}

static int try_attributes(attempt *a) {
    char name[64], letter, expected[160];
    bool needed;
    int refusals = 1;
    wire node = node_of(a->s, a->inputs, "");
    add_attribute(&node, "nonsense", 'i');
    refused_as(a, &node, "attribute 'nonsense' is none of operator");
    for (const char *at = a->s->attributes; next_attribute(&at, name, &letter, &needed);) {
        if (letter == 'x') continue;
        node = node_of(a->s, a->inputs, name);
        add_attribute(&node, name, letter == 's' ? 'F' : 's');
        snprintf(expected, sizeof expected, "attribute '%s' is a", name);
        refused_as(a, &node, expected);
        refusals++;
        if (!needed) continue;
        node = node_of(a->s, a->inputs, name);
        snprintf(expected, sizeof expected, "attribute '%s' is missing", name);
        refused_as(a, &node, expected);
    }
    return refusals;
}

static void test_signature__types(void **state) {
    (void)state;
    try_all(try_types, 300);
}

static void test_signature__types_that_differ(void **state) {
    (void)state;
    try_all(try_pair, 40);
}

static void test_signature__number_of_inputs(void **state) {
    (void)state;
    try_all(try_numbers, 200);
}

static void test_signature__attributes(void **state) {
    (void)state;
    try_all(try_attributes, 600);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_signature__types),
        cmocka_unit_test(test_signature__types_that_differ),
        cmocka_unit_test(test_signature__number_of_inputs),
        cmocka_unit_test(test_signature__attributes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

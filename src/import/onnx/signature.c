/* What nodes of each operator may have: inputs, their element types, attributes. See signature.h.
 *
 * Checked before a node is imported, so the functions of operators see what their operator set
 * allows, and an attribute that a version does not have is an error instead of being passed over. */
#include "import/onnx/signature.h"

#include "import/onnx/scope.h"

static const tn_onnx_signature signatures[] = {
#define TYPES(number, mask)
#define SIGNATURE(...) {__VA_ARGS__},
#include "import/onnx/signatures.def"
#undef SIGNATURE
#undef TYPES
};

static const uint32_t sets[] = {
#define SIGNATURE(...)
#define TYPES(number, mask) [number] = mask,
#include "import/onnx/signatures.def"
#undef SIGNATURE
#undef TYPES
};

const tn_onnx_signature *tn_onnx_signatures(size_t *count) {
    *count = TN_COUNT(signatures);
    return signatures;
}

const tn_onnx_signature *tn_onnx_signature_find(const char *domain, const char *name, int version) {
    size_t low = 0, high = TN_COUNT(signatures);
    while (low < high) {
        size_t middle = (low + high) / 2;
        const tn_onnx_signature *s = &signatures[middle];
        int order = strcmp(s->domain, domain);
        if (!order) order = strcmp(s->name, name);
        if (order < 0 || (!order && s->since <= version))
            low = middle + 1;
        else
            high = middle;
    }
    const tn_onnx_signature *s = low ? &signatures[low - 1] : NULL;
    return s && !strcmp(s->domain, domain) && !strcmp(s->name, name) ? s : NULL;
}

static const char *set_name(const tn_o *o) {
    return o->node->domain[0] ? o->node->domain : "ai.onnx";
}

/* ---- inputs --------------------------------------------------------------------------------- */

tn_onnx_slot tn_onnx_next_slot(const char **at) {
    const char *p = *at;
    tn_onnx_slot s = {.variable = *p++};
    unsigned set = 0;
    while (*p >= '0' && *p <= '9') set = set * 10 + (unsigned)(*p++ - '0');
    s.types = sets[set];
    for (; *p == '?' || *p == '*'; p++) *(*p == '?' ? &s.optional : &s.repeated) = true;
    *at = *p ? p + 1 : p;
    return s;
}

static const char *type_list(tn_o *o, uint32_t types) {
    tn_str text;
    const char *between = "";
    tn_str_init_with(&text, tn_arena_allocator(o->scratch));
    for (int k = 1; k < TN_ONNX_NO_TENSOR; k++) {
        tn_dtype dtype;
        if (!(types >> k & 1) || tn_onnx_dtype(k, &dtype, NULL) != TN_OK) continue;
        tn_str_appendf(&text, "%s%s", between, tn_dtype_name(dtype));
        between = ", ";
    }
    if (types >> TN_ONNX_NO_TENSOR & 1) tn_str_appendf(&text, "%sa sequence or optional", between);
    return tn_str_text(&text);
}

enum { VARIABLES = 26 };

/* `bound`: the element type of each variable + 1, 0 while it has none. */
static void check_input(tn_o *o, int i, const tn_onnx_slot *s, uint8_t *bound) {
    if (!tn_o_has(o, i)) {
        bool named = (uint32_t)i < o->node->inputs.len && o->node->inputs.data[i][0];
        if (!s->optional && !s->repeated && !named)
            tn_o_refuse(o, TN_INVALID, "input %d is missing", i);
        return;
    }
    const tn_onnx_item *item = tn_o_item(o, i);
    if (!tn_o_ok(o)) return;
    if (item->kind != TN_ITEM_TENSOR) {
        if (!(s->types >> TN_ONNX_NO_TENSOR & 1))
            tn_o_refuse(o, TN_INVALID, "input %d ('%s') is a sequence; expected a tensor of %s", i,
                        o->node->inputs.data[i], type_list(o, s->types));
        return;
    }
    tn_dtype dtype = tn_onnx_item_type(item).dtype;
    if (!(s->types >> tn_onnx_type_number(dtype) & 1)) {
        const char *expected = type_list(o, s->types);
        if (*expected) /* of texts the operator itself speaks */
            tn_o_refuse(o, TN_INVALID, "input %d ('%s') has type %s; expected %s", i,
                        o->node->inputs.data[i], tn_dtype_name(dtype), expected);
        return;
    }
    if (s->variable == '-') return;
    uint8_t *first = &bound[s->variable - 'a'];
    if (*first && *first != (uint8_t)(dtype + 1))
        tn_o_refuse(o, TN_INVALID, "input %d ('%s') has type %s; expected %s as of those before it",
                    i, o->node->inputs.data[i], tn_dtype_name(dtype),
                    tn_dtype_name((tn_dtype)(*first - 1)));
    *first = (uint8_t)(dtype + 1);
}

static void check_inputs(tn_o *o, const tn_onnx_signature *s) {
    uint8_t bound[VARIABLES] = {0};
    const char *at = s->inputs;
    tn_onnx_slot now = {0};
    int count = tn_o_in_count(o), i = 0;
    for (; (*at || (now.repeated && i < count)) && tn_o_ok(o); i++) {
        if (!now.repeated) now = tn_onnx_next_slot(&at);
        check_input(o, i, &now, bound);
    }
    if (tn_o_ok(o) && count > i)
        tn_o_refuse(o, TN_INVALID, "%d inputs; it has at most %d in operator set %d", count, i,
                    o->version);
    int given = (int)o->node->inputs.len; /* empty names count */
    if (tn_o_ok(o) && given < s->least) tn_o_refuse(o, TN_INVALID, "input %d is missing", given);
}

/* ---- attributes ----------------------------------------------------------------------------- */

/* Attributes of the node that the signature does not have. */
static void check_names(tn_o *o, const tn_onnx_signature *s) {
    for (uint32_t i = 0; i < o->node->attrs.len && tn_o_ok(o); i++) {
        const char *name = o->node->attrs.data[i].name, *at = s->attributes;
        size_t length = strlen(name);
        bool found = !strncmp(name, "__", 2); /* notes of tools, by ONNX's own rule */
        while (*at && !found) {
            size_t word = strcspn(at, ":");
            found = word == length && !memcmp(at, name, word);
            at += strcspn(at, " ");
            at += *at == ' ';
        }
        if (!found)
            tn_o_refuse(o, TN_INVALID,
                        "attribute '%s' is none of operator %s in version %d of operator set '%s'",
                        name, o->node->op, o->version, set_name(o));
    }
}

static void check_attributes(tn_o *o, const tn_onnx_signature *s) {
    static const char letters[TN_ONNX_ATTR_TYPE_COUNT + 1] = "-fistgFIST";
    check_names(o, s);
    for (const char *at = s->attributes; *at && tn_o_ok(o);) {
        size_t length = strcspn(at, ":");
        const char *name = tn_arena_printf(o->scratch, "%.*s", (int)length, at);
        const char *type = strchr(letters, at[length + 1]);
        bool needed = at[length + 2] == '!';
        if (type) tn_o_check_attr(o, name, (tn_onnx_attr_type)(type - letters), needed);
        at += strcspn(at, " ");
        at += *at == ' ';
    }
}

void tn_onnx_check_signature(tn_o *o, const char *domain) {
    const tn_onnx_signature *s = tn_onnx_signature_find(domain, o->node->op, o->version);
    if (!s) return;
    check_attributes(o, s);
    if (tn_o_ok(o)) check_inputs(o, s);
}

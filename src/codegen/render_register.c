/* Registers: named C variables where every access is known at this time, else a local array. */
#include "codegen/render.h"

#include <inttypes.h>

enum { MOST_SCALARS = 256, MOST_LANES = 64 };

/* ---- the form of each register -------------------------------------------------------------- */

/* Whether lanes [at, at + lanes) can be a vector beside those that the register has: it is one of them or
 * apart from all; in the second case it is added. */
static bool add_vector(register_info *info, uint32_t count, int64_t at, uint32_t lanes) {
    if (at < 0 || at + lanes > count) return false;
    if (info->lanes_at[at] == lanes) return true;
    for (int64_t i = 0; i < at + lanes; i++)
        if (info->lanes_at[i] && i + info->lanes_at[i] > at) return false;
    info->lanes_at[at] = (uint8_t)lanes;
    return true;
}

static register_form form_of_access(render *r, const tn_lstmt *s, uint32_t lanes) {
    uint32_t count = r->k->registers.data[s->target].count;
    int64_t at, scale;
    tn_lx rest;
    if (!lanes || !tn__lanes_of(r, s->a))
        return tn_l_is_const_int(r->k, s->a, &at) && at >= 0 && at < count ? REGISTER_SCALARS
                                                                           : REGISTER_ARRAY;
    return tn__lane_affine(r, s->a, lanes, &scale, &rest) && scale == 1 &&
                   tn_l_is_const_int(r->k, rest, &at) &&
                   add_vector(&r->registers[s->target], count, at, lanes)
               ? REGISTER_VECTORS
               : REGISTER_ARRAY;
}

static void note_access(render *r, const tn_lstmt *s, uint32_t lanes) {
    register_info *info = &r->registers[s->target];
    if (!info->lanes_at)
        info->lanes_at = TN_NEW_N(r->arena, uint8_t, r->k->registers.data[s->target].count);
    register_form form = form_of_access(r, s, lanes);
    if (info->form == REGISTER_UNUSED)
        info->form = form;
    else if (info->form != form)
        info->form = REGISTER_ARRAY;
}

static void note_block(render *r, tn_ls first, uint32_t lanes) {
    for (tn_ls id = first; id; id = r->k->stmts.data[id].next) {
        const tn_lstmt s = r->k->stmts.data[id];
        bool reads = s.kind == TN_LS_LET && s.let == TN_LET_REGISTER;
        bool vector = s.kind == TN_LS_FOR && s.loop == TN_LOOP_VECTOR;
        if (s.kind == TN_LS_SET || reads) note_access(r, &s, lanes);
        if (s.kind == TN_LS_TRANSPOSE) r->registers[s.target].square = true;
        note_block(r, s.body, vector ? (uint32_t)tn_l_expr(r->k, s.b)->value.i : lanes);
        note_block(r, s.other, lanes);
    }
}

/* The lanes of all vectors of a register that they fill without gaps; 0: it is not like that. */
static uint32_t equal_lanes(const register_info *info, uint32_t count) {
    uint32_t lanes = info->lanes_at[0];
    for (uint32_t i = 0; lanes && i < count; i += lanes)
        if (info->lanes_at[i] != lanes) return 0;
    return lanes;
}

/* A variable for every element, or for every vector at its first element. */
static void name_register(render *r, uint32_t reg) {
    register_info *info = &r->registers[reg];
    const char *name = r->k->registers.data[reg].name;
    uint32_t count = r->k->registers.data[reg].count, number = 0;
    if (info->form == REGISTER_ARRAY) info->name = tn__identifier(r, name);
    if (info->form != REGISTER_SCALARS && info->form != REGISTER_VECTORS) return;
    info->variable = TN_NEW_N(r->arena, const char *, count);
    for (uint32_t i = 0; i < count; i++)
        if (info->form == REGISTER_SCALARS || info->lanes_at[i])
            info->variable[i] = tn__identifier(r, tn__text(r, "%s%" PRIu32, name, number++));
}

void tn__choose_registers(render *r) {
    r->registers = TN_NEW_N(r->arena, register_info, r->k->registers.len);
    note_block(r, r->k->body, 0);
    for (uint32_t i = 0; i < r->k->registers.len; i++) {
        register_info *info = &r->registers[i];
        uint32_t count = r->k->registers.data[i].count;
        if (info->form == REGISTER_SCALARS && count > MOST_SCALARS) info->form = REGISTER_ARRAY;
        if (info->form == REGISTER_VECTORS) info->lanes = equal_lanes(info, count);
        if (info->square && info->lanes != tn_l_square(r->k, i)) info->form = REGISTER_ARRAY;
        name_register(r, i);
    }
}

/* The variables of vectors of `lanes`, or of all elements (0). */
static void declare_variables(render *r, uint32_t reg, uint32_t lanes) {
    enum { A_LINE = 8 };
    const register_info *info = &r->registers[reg];
    tn_dtype dtype = r->k->registers.data[reg].dtype;
    const char *list = NULL;
    uint32_t listed = 0;
    for (uint32_t i = 0; i < r->k->registers.data[reg].count; i++) {
        if (lanes && info->lanes_at[i] != lanes) continue;
        if (listed && listed % A_LINE == 0) tn__line(r, "%s;", list);
        const char *before = listed % A_LINE ? list : tn__c_type(r, dtype, lanes);
        list = tn__text(r, listed % A_LINE ? "%s, %s" : "%s %s", before, info->variable[i]);
        listed++;
    }
    if (list) tn__line(r, "%s;", list);
}

/* In arrays, bool is a mask of 0 and -1 for scalar accesses too. */
void tn__declare_registers(render *r) {
    for (uint32_t i = 0; i < r->k->registers.len; i++) {
        const tn_lregister *reg = &r->k->registers.data[i];
        const register_info *info = &r->registers[i];
        switch (info->form) {
        case REGISTER_UNUSED:
            break;
        case REGISTER_SCALARS:
            declare_variables(r, i, 0);
            break;
        case REGISTER_VECTORS:
            for (uint32_t lanes = MOST_LANES; lanes; lanes /= 2) declare_variables(r, i, lanes);
            break;
        case REGISTER_ARRAY:
            tn__line(r, "%s %s[%" PRIu32 "] __attribute__((aligned(64)));",
                     tn__c_type(r, reg->dtype, 0), info->name, reg->count);
        }
    }
}

/* ---- accesses ------------------------------------------------------------------------------- */

static const char *array_call(render *r, const char *function, tn_dtype dtype, uint32_t lanes,
                              const char *arguments) {
    const char *type = dtype == TN_bool ? "i32" : tn__compute_name(dtype);
    tn__require(r, lanes, "%s_%s", function, type);
    return tn__text(r, "tn_%s_%sx%" PRIu32 "(%s)", function, type, lanes, arguments);
}

/* "name + first" when the lanes follow each other in an array, else NULL. */
static const char *array_run(render *r, uint32_t reg, tn_lx index, uint32_t lanes) {
    int64_t scale;
    tn_lx rest;
    if (!tn__lane_affine(r, index, lanes, &scale, &rest) || scale != 1) return NULL;
    return tn__text(r, "%s + %s", r->registers[reg].name, tn__bare(r, tn__value(r, rest)));
}

/* The variable or element as C text that can be assigned; NULL for lanes of an array. */
static const char *place(render *r, uint32_t reg, tn_lx index) {
    const register_info *info = &r->registers[reg];
    int64_t at, scale;
    tn_lx rest;
    bool follows = tn__lanes_of(r, index);
    if (info->form == REGISTER_ARRAY)
        return follows ? NULL : tn__text(r, "%s[%s]", info->name, tn__bare(r, tn__value(r, index)));
    if (!follows) {
        TN_ASSERT(tn_l_is_const_int(r->k, index, &at));
        return info->variable[at];
    }
    bool affine = tn__lane_affine(r, index, tn__lanes_of(r, index), &scale, &rest);
    TN_ASSERT(affine && tn_l_is_const_int(r->k, rest, &at));
    return info->variable[at];
}

const char *tn__register_read(render *r, const tn_lstmt *s) {
    tn_dtype dtype = s->dtype;
    const char *at = place(r, s->target, s->a);
    bool array = r->registers[s->target].form == REGISTER_ARRAY;
    if (at) return array && dtype == TN_bool ? tn__text(r, "(-%s)", at) : at;
    uint32_t lanes = tn__lanes_of(r, s->a);
    at = array_run(r, s->target, s->a, lanes);
    if (at) return array_call(r, "load", dtype, lanes, at);
    return array_call(r, "gather", dtype, lanes,
                      tn__text(r, "%s, %s", r->registers[s->target].name,
                               tn__bare(r, tn__vector(r, s->a, lanes))));
}

static void set_lanes_of_array(render *r, const tn_lstmt *s) {
    tn_dtype dtype = r->k->registers.data[s->target].dtype;
    const char *at = array_run(r, s->target, s->a, r->lanes);
    const char *value = tn__bare(r, tn__vector(r, s->b, r->lanes));
    const char *mask = r->mask ? tn__text(r, ", %s", tn__named(r, r->mask)) : "";
    if (at) {
        tn__line(r, "%s;",
                 array_call(r, r->mask ? "store_mask" : "store", dtype, r->lanes,
                            tn__text(r, "%s, %s%s", at, value, mask)));
        return;
    }
    const char *index = tn__bare(r, tn__vector(r, s->a, r->lanes));
    tn__line(
        r, "%s;",
        array_call(r, r->mask ? "scatter_mask" : "scatter", dtype, r->lanes,
                   tn__text(r, "%s, %s, %s%s", r->registers[s->target].name, index, value, mask)));
}

void tn__register_set(render *r, const tn_lstmt *s) {
    tn_dtype dtype = r->k->registers.data[s->target].dtype;
    bool follows = r->lanes && tn__lanes_of(r, s->a);
    const char *at = place(r, s->target, s->a);
    if (!at || (r->lanes && !follows && tn__lanes_of(r, s->b))) {
        if (at) { /* all lanes set one element: the last one stays */
            tn__line(r, "%s = %s[%" PRIu32 "];", at, tn__named(r, s->b), r->lanes - 1);
            return;
        }
        set_lanes_of_array(r, s);
        return;
    }
    const char *value = tn__value_as(r, s->b, follows ? r->lanes : 0);
    if (follows && r->mask)
        value = tn__select(r, dtype, r->lanes, tn__vector(r, r->mask, r->lanes), value, at);
    if (!follows && dtype == TN_bool && r->registers[s->target].form == REGISTER_ARRAY)
        value = tn__text(r, "-%s", value);
    tn__line(r, "%s = %s;", at, tn__bare(r, value));
}

/* ---- folds ---------------------------------------------------------------------------------- */

/* The halving tree over the variable at `first` and those `stride` elements apart. */
static const char *tree(render *r, const tn_lstmt *s, uint32_t lanes, uint32_t first,
                        uint32_t stride) {
    if (stride >= r->k->registers.data[s->target].count)
        return r->registers[s->target].variable[first];
    const char *a = tree(r, s, lanes, first, 2 * stride);
    const char *b = tree(r, s, lanes, first + stride, 2 * stride);
    return tn__op(r, s->op, s->dtype, lanes, a, b, NULL);
}

static const char *horizontal(tn_scalar_op op) {
    switch (op) {
    case TN_S_add:
        return "sum";
    case TN_S_mul:
        return "prod";
    case TN_S_min:
        return "min";
    case TN_S_max:
        return "max";
    case TN_S_and:
        return "and";
    case TN_S_or:
        return "or";
    default:
        return NULL;
    }
}

/* The prelude's horizontal operation does not round between the steps. */
static bool has_horizontal(tn_scalar_op op, tn_dtype dtype) {
    if (!horizontal(op)) return false;
    if (dtype == TN_bool) return op == TN_S_and || op == TN_S_or;
    return tn_dtype_bits(dtype) >= (tn_dtype_is_float(dtype) ? 32 : 8);
}

static const char *fold_vectors(render *r, const tn_lstmt *s) {
    uint32_t lanes = r->registers[s->target].lanes;
    const char *text = tn__bare(r, tree(r, s, lanes, 0, lanes));
    const char *type = s->dtype == TN_bool ? "i32" : tn__compute_name(s->dtype);
    tn__require(r, lanes, "h%s_%s", horizontal(s->op), type);
    text = tn__text(r, "tn_h%s_%sx%" PRIu32 "(%s)", horizontal(s->op), type, lanes, text);
    return s->dtype == TN_bool ? tn__text(r, "(-%s)", text) : text;
}

/* In a copy, as loop.h says it. */
static const char *fold_array(render *r, const tn_lstmt *s) {
    const register_info *info = &r->registers[s->target];
    const char *type = tn__c_type(r, s->dtype, 0), *part = tn__identifier(r, "part");
    const char *half = tn__identifier(r, "half"), *i = tn__identifier(r, "at");
    uint32_t count = r->k->registers.data[s->target].count;
    bool masks = s->dtype == TN_bool && info->form != REGISTER_SCALARS;
    tn__line(r, "%s %s[%" PRIu32 "] __attribute__((aligned(64)));", type, part, count);
    if (info->form == REGISTER_VECTORS) {
        for (uint32_t e = 0; e < count; e++)
            if (info->lanes_at[e])
                tn__line(
                    r, "%s;",
                    array_call(r, "store", s->dtype, info->lanes_at[e],
                               tn__text(r, "%s + %" PRIu32 ", %s", part, e, info->variable[e])));
    } else {
        tn__line(r, "for (i64 %s = 0; %s < %" PRIu32 "; %s++) %s[%s] = %s[%s];", i, i, count, i,
                 part, i, info->name, i);
    }
    const char *a = tn__text(r, "%s[%s]", part, i), *b = tn__text(r, "%s[%s + %s]", part, i, half);
    if (masks) {
        a = tn__text(r, "(-%s)", a);
        b = tn__text(r, "(-%s)", b);
    }
    const char *step = tn__bare(r, tn__op(r, s->op, s->dtype, 0, a, b, NULL));
    tn__line(r, "for (i64 %s = %" PRIu32 "; %s >= 1; %s /= 2)", half, count / 2, half, half);
    tn__line(r, "    for (i64 %s = 0; %s < %s; %s++) %s[%s] = %s%s%s;", i, i, half, i, part, i,
             masks ? "-(" : "", step, masks ? ")" : "");
    return tn__text(r, masks ? "(-%s[0])" : "%s[0]", part);
}

const char *tn__register_fold(render *r, const tn_lstmt *s) {
    const register_info *info = &r->registers[s->target];
    if (info->form == REGISTER_SCALARS) return tree(r, s, 0, 0, 1);
    if (info->form == REGISTER_VECTORS && info->lanes && has_horizontal(s->op, s->dtype))
        return fold_vectors(r, s);
    if (info->form == REGISTER_UNUSED) return tn__constant(r, s->dtype, (tn_cell){0});
    return fold_array(r, s);
}

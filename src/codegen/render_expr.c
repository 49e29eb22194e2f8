/* Where an expression is written, and under which name. See render.h. */
#include "codegen/render.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

enum { INLINE_TEXT = 64 }; /* longer texts get a name */

/* ---- text ----------------------------------------------------------------------------------- */

const char *tn__text(render *r, const char *format, ...) {
    char local[256];
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int len = vsnprintf(local, sizeof local, format, args);
    va_end(args);
    char *text = tn_arena_alloc(r->arena, (size_t)len + 1);
    if ((size_t)len < sizeof local)
        memcpy(text, local, (size_t)len);
    else
        vsnprintf(text, (size_t)len + 1, format, again);
    va_end(again);
    return text;
}

void tn__indent(render *r, tn_str *out, uint32_t depth) {
    (void)r;
    for (uint32_t i = 0; i < depth; i++) tn_str_append(out, "    ");
}

block *tn__current(render *r) {
    return &r->blocks.data[r->blocks.len - 1];
}

static void line_in(render *r, uint32_t at, const char *text) {
    tn_str *out = &r->blocks.data[at].text;
    tn__indent(r, out, at + 1);
    tn_str_append(out, text);
    tn_str_append_char(out, '\n');
}

void tn__line(render *r, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *text = tn_arena_alloc(r->arena, (size_t)len + 1);
    va_start(args, format);
    vsnprintf(text, (size_t)len + 1, format, args);
    va_end(args);
    line_in(r, r->blocks.len - 1, text);
}

const char *tn__bare(render *r, const char *text) {
    size_t len = strlen(text);
    if (len < 2 || text[0] != '(' || text[len - 1] != ')') return text;
    int depth = 0;
    for (size_t i = 0; i + 1 < len; i++) {
        depth += (text[i] == '(') - (text[i] == ')');
        if (depth == 0) return text;
    }
    char *bare = tn_arena_alloc(r->arena, len - 1);
    memcpy(bare, text + 1, len - 2);
    return bare;
}

/* ---- names ---------------------------------------------------------------------------------- */

const char *tn__identifier(render *r, const char *base) {
    enum { LONGEST = 24 };
    char clean[LONGEST + 1];
    size_t len = 0;
    for (; base[len] && len < LONGEST; len++)
        clean[len] = (char)(isalnum((unsigned char)base[len]) ? base[len] : '_');
    clean[len] = 0;
    const char *name = isalpha((unsigned char)clean[0]) ? clean : tn__text(r, "v%s", clean);
    uint32_t next = 0;
    if (tn_map_get_str(&r->names, name, &next)) {
        const char *stem = name;
        uint32_t taken;
        do name = tn__text(r, "%s_%" PRIu32, stem, ++next);
        while (tn_map_get_str(&r->names, name, &taken));
        tn_map_put_str(&r->names, stem, next);
    }
    tn_map_put_str(&r->names, name, 0);
    return tn_arena_strdup(r->arena, name);
}

/* at: index number, m: flag or mask, x: float, n: integer; v in front of a vector. */
static const char *fresh_name(render *r, tn_dtype dtype, uint32_t lanes) {
    const char *base = "n";
    if (dtype == TN_i64) base = "at";
    if (dtype == TN_bool) base = "m";
    if (tn_dtype_is_float(dtype)) base = "x";
    return tn__identifier(r, tn__text(r, "%s%s%" PRIu32, lanes ? "v" : "", base, ++r->counter));
}

/* ---- blocks --------------------------------------------------------------------------------- */

void tn__open_block(render *r, bool skippable, bool is_if) {
    block b = {.skippable = skippable, .is_if = is_if};
    tn_str_init_with(&b.text, r->text);
    tn_vec_push(r->arena, &r->blocks, b);
    r->epoch = ++r->epochs;
}

tn_str tn__close_block(render *r) {
    block *b = tn__current(r);
    for (uint32_t i = 0; i < b->named.len; i++) tn__info(r, b->named.data[i])->name = NULL;
    for (uint32_t i = 0; i < b->widened.len; i++) tn__info(r, b->widened.data[i])->wide_name = NULL;
    r->blocks.len--;
    r->epoch = ++r->epochs;
    return b->text;
}

/* ---- what is known of an expression --------------------------------------------------------- */

static uint32_t operand_lanes(render *r, tn_lx e) {
    const tn_lexpr x = *tn_l_expr(r->k, e);
    if (x.kind == TN_LX_VAR) {
        const tn_lvar *v = &r->k->vars.data[x.index];
        return v->lane ? (uint32_t)tn_l_expr(r->k, v->hi)->value.i : 0;
    }
    tn_lx operand[] = {x.a, x.b, x.c};
    if (x.kind == TN_LX_LET) {
        const tn_lstmt *s = &r->k->stmts.data[x.index];
        operand[0] = s->a;
        operand[1] = s->b;
        operand[2] = s->c;
    }
    uint32_t lanes = 0;
    for (int i = 0; i < 3; i++)
        if (operand[i]) lanes = TN_MAX(lanes, tn__lanes_of(r, operand[i]));
    return lanes;
}

expr_info *tn__info(render *r, tn_lx e) {
    if (e >= r->info.len) {
        tn_vec_grow(r->arena, &r->info, r->k->exprs.len);
        while (r->info.len < r->k->exprs.len) r->info.data[r->info.len++] = (expr_info){0};
    }
    return &r->info.data[e];
}

uint32_t tn__lanes_of(render *r, tn_lx e) {
    if (!tn__info(r, e)->known) {
        uint32_t lanes = operand_lanes(r, e);
        expr_info *info = tn__info(r, e);
        info->lanes = lanes;
        info->known = true;
    }
    return tn__info(r, e)->lanes;
}

/* ---- placement ------------------------------------------------------------------------------ */

/* What may fail when its block would not have run: an access, a division by a size of zero. */
static bool may_fault(const render *r, const tn_lexpr *x) {
    if (x->kind == TN_LX_LOAD) return true;
    return x->kind == TN_LX_OP && x->index == 1 && tn_l_expr(r->k, x->b)->kind != TN_LX_CONST;
}

/* The innermost open block that an expression must not leave. */
static uint32_t barrier(const render *r, bool faults) {
    uint32_t at = r->blocks.len - 1;
    while (at > 0 && !r->blocks.data[at].is_if && !(faults && r->blocks.data[at].skippable)) at--;
    return at;
}

/* The block where an expression would be defined. */
static uint32_t placement(render *r, tn_lx e) {
    const tn_lexpr x = *tn_l_expr(r->k, e);
    if (x.kind == TN_LX_CONST || x.kind == TN_LX_SCALAR) return 0;
    if (x.kind == TN_LX_VAR) return r->k->vars.data[x.index].lane ? 0 : r->var_block[x.index];
    if (x.kind == TN_LX_LET) return r->let_block[x.index];
    if (tn__info(r, e)->name) return tn__info(r, e)->name_block;
    if (tn__info(r, e)->place_epoch == r->epoch) return tn__info(r, e)->place;
    uint32_t place = barrier(r, may_fault(r, &x));
    const tn_lx operand[] = {x.a, x.b, x.c};
    for (int i = 0; i < 3; i++)
        if (operand[i]) place = TN_MAX(place, placement(r, operand[i]));
    expr_info *info = tn__info(r, e);
    info->place = place;
    info->place_epoch = r->epoch;
    return place;
}

/* Runs with block `at` as the current one, so that what `e` needs is defined there too. */
static const char *written_in(render *r, tn_lx e, uint32_t at) {
    uint32_t open = r->blocks.len, epoch = r->epoch;
    if (at + 1 == open) return tn__expression(r, e);
    r->blocks.len = at + 1;
    r->epoch = ++r->epochs; /* placements of the inner block do not hold here */
    const char *text = tn__expression(r, e);
    r->blocks.len = open;
    r->epoch = epoch;
    return text;
}

static void define(render *r, tn_lx e, uint32_t at, const char *text) {
    tn_dtype dtype = tn_l_type(r->k, e);
    uint32_t lanes = tn__lanes_of(r, e);
    const char *name = fresh_name(r, dtype, lanes);
    line_in(r, at,
            tn__text(r, "const %s %s = %s;", tn__c_type(r, dtype, lanes), name, tn__bare(r, text)));
    expr_info *info = tn__info(r, e);
    info->name = name;
    info->name_block = at;
    tn_vec_push(r->arena, &r->blocks.data[at].named, e);
}

static const char *leaf(render *r, const tn_lexpr *x, uint32_t lanes) {
    switch (x->kind) {
    case TN_LX_CONST:
        return tn__constant(r, x->dtype, x->value);
    case TN_LX_SCALAR:
        return tn__text(r, "size%" PRIu32, x->index);
    case TN_LX_LET:
        return r->let_name[x->index];
    case TN_LX_VAR:
        if (!lanes) return r->var_name[x->index];
        tn__require(r, lanes, "ramp_i64");
        return tn__text(r, "tn_ramp_i64x%" PRIu32 "(0)", lanes);
    default:
        return NULL;
    }
}

const char *tn__named(render *r, tn_lx e) {
    const tn_lexpr x = *tn_l_expr(r->k, e);
    const char *text = leaf(r, &x, tn__lanes_of(r, e));
    if (text) return text;
    if (!tn__info(r, e)->name) {
        uint32_t at = placement(r, e);
        text = written_in(r, e, at);
        if (!tn__info(r, e)->name) define(r, e, at, text);
    }
    return tn__info(r, e)->name;
}

const char *tn__value(render *r, tn_lx e) {
    const tn_lexpr x = *tn_l_expr(r->k, e);
    const char *text = leaf(r, &x, tn__lanes_of(r, e));
    if (text) return text;
    if (tn__info(r, e)->name) return tn__info(r, e)->name;
    if (tn__info(r, e)->uses > 1 || placement(r, e) + 1 < r->blocks.len) return tn__named(r, e);
    text = tn__expression(r, e);
    if (strlen(text) <= INLINE_TEXT) return text;
    if (!tn__info(r, e)->name) define(r, e, r->blocks.len - 1, text);
    return tn__info(r, e)->name;
}

static const char *splat(render *r, tn_lx e, uint32_t lanes, const char *text) {
    tn_dtype dtype = tn_l_type(r->k, e);
    if (dtype == TN_bool) text = tn__text(r, "-%s", text);
    const char *name = dtype == TN_bool ? "i32" : tn__compute_name(dtype);
    tn__require(r, lanes, "splat_%s", name);
    return tn__text(r, "tn_splat_%sx%" PRIu32 "(%s)", name, lanes, tn__bare(r, text));
}

const char *tn__vector(render *r, tn_lx e, uint32_t lanes) {
    if (tn__lanes_of(r, e)) return tn__value(r, e);
    tn_dtype dtype = tn_l_type(r->k, e);
    const tn_lexpr x = *tn_l_expr(r->k, e);
    if (x.kind == TN_LX_CONST) return splat(r, e, lanes, tn__value(r, e));
    expr_info *info = tn__info(r, e);
    if (info->wide_name && info->wide_lanes == lanes) return info->wide_name;
    uint32_t at = placement(r, e);
    const char *text;
    if (x.kind == TN_LX_LET || x.kind == TN_LX_VAR || x.kind == TN_LX_SCALAR) {
        text = tn__value(r, e);
    } else if (tn__info(r, e)->uses > 1) {
        text = tn__named(r, e);
    } else {
        text = tn__info(r, e)->name ? tn__info(r, e)->name : written_in(r, e, at);
    }
    text = splat(r, e, lanes, text);
    info = tn__info(r, e);
    if (info->wide_name) return text; /* of another width */
    const char *name = fresh_name(r, dtype, lanes);
    line_in(r, at, tn__text(r, "const %s %s = %s;", tn__c_type(r, dtype, lanes), name, text));
    info->wide_name = name;
    info->wide_lanes = lanes;
    tn_vec_push(r->arena, &r->blocks.data[at].widened, e);
    return name;
}

const char *tn__value_as(render *r, tn_lx e, uint32_t lanes) {
    return lanes ? tn__vector(r, e, lanes) : tn__value(r, e);
}

/* einsum: sums of products named by letters, as a chain of dots.
 *
 * Every axis has a label: a letter, or, for the axes under an ellipsis, 128 + its place from the
 * right. Operands are combined from left to right; a label that neither a later operand nor the
 * result needs is contracted as soon as it can be. */
#include <ctype.h>

#include "ops/compose.h"
#include "ops/parts.h"

typedef struct labels {
    int count;
    unsigned char at[TN_MAX_RANK];
} labels;

typedef struct term {
    tn_value v;
    labels l;
} term;

enum { ELLIPSIS = 128, MAX_TERMS = 16 };

static int find_label(const labels *l, unsigned char label) {
    for (int i = 0; i < l->count; i++)
        if (l->at[i] == label) return i;
    return -1;
}

static bool has_label(const labels *l, unsigned char label) {
    return find_label(l, label) >= 0;
}

static bool push_label(tn_builder *b, labels *l, unsigned char label) {
    if (l->count == TN_MAX_RANK) {
        tn_b_fail(b, TN_UNSUPPORTED, "einsum: more than %d axes", TN_MAX_RANK);
        return false;
    }
    l->at[l->count++] = label;
    return true;
}

/* Reads labels up to `,`, `-` or the end; `covered`: how many axes the ellipsis stands for. */
static const char *read_labels(tn_builder *b, const char *text, int covered, labels *l) {
    *l = (labels){0};
    while (*text && *text != ',' && *text != '-' && tn_b_ok(b)) {
        if (strncmp(text, "...", 3) == 0) {
            for (int i = covered; i-- > 0;) push_label(b, l, (unsigned char)(ELLIPSIS + i));
            text += 3;
            continue;
        }
        if (isalpha((unsigned char)*text))
            push_label(b, l, (unsigned char)*text);
        else if (*text != ' ')
            tn_b_fail(b, TN_INVALID, "einsum: '%c' is no letter", *text);
        text++;
    }
    return text;
}

static int letters_in(const char *text) {
    int count = 0;
    for (; *text && *text != ',' && *text != '-'; text++)
        count += isalpha((unsigned char)*text) != 0;
    return count;
}

/* The axis `from` is brought onto `to`, the diagonal of both. The result has it in front. */
static void take_diagonal(tn_builder *b, term *t, int to, int from) {
    tn_dim size = tn_b_dim(b, t->v, to);
    if (size != tn_b_dim(b, t->v, from)) {
        tn_b_fail(b, TN_INVALID, "einsum: axes with the same label '%c' have different sizes",
                  t->l.at[to]);
        return;
    }
    tn_shape shape = {.rank = 2, .dim = {size, 2}};
    tn_attrs_gather a = {.axes = {2, {to, from}}, .mode = TN_INDEX_clamp};
    tn_value index = tn_b_iota(b, TN_i64, &shape, 0);
    t->v = tn_b_node(b, TN_OP_gather, (tn_value[]){t->v, index}, 2, &a);
    labels l = {1, {t->l.at[to]}};
    for (int i = 0; i < t->l.count; i++)
        if (i != to && i != from) l.at[l.count++] = t->l.at[i];
    t->l = l;
}

static void take_diagonals(tn_builder *b, term *t) {
    for (int i = 0; i < t->l.count && tn_b_ok(b); i++)
        for (int j = i + 1; j < t->l.count; j++)
            if (t->l.at[i] == t->l.at[j]) {
                take_diagonal(b, t, i, j);
                i = -1;
                break;
            }
}

/* Sums the axes whose labels are in none of the given lists. */
static void sum_unneeded(tn_builder *b, term *t, const labels *other, const labels *result,
                         const term *later, int later_count) {
    int axes[TN_MAX_RANK], n = 0;
    labels kept = {0};
    for (int i = 0; i < t->l.count; i++) {
        unsigned char label = t->l.at[i];
        bool needed = has_label(result, label) || (other && has_label(other, label));
        for (int p = 0; p < later_count; p++) needed = needed || has_label(&later[p].l, label);
        if (needed)
            kept.at[kept.count++] = label;
        else
            axes[n++] = i;
    }
    if (n) t->v = tn_b_sum(b, t->v, axes, n, false);
    t->l = kept;
}

/* Axes of size 1 that the other operand has larger are stretched (NumPy's ellipsis). */
static void stretch(tn_builder *b, term *t, const term *other) {
    tn_type type = tn_b_type(b, t->v);
    for (int i = 0; i < t->l.count && tn_b_ok(b); i++) {
        int at = find_label(&other->l, t->l.at[i]);
        if (at >= 0 && type.shape.dim[i] == 1) type.shape.dim[i] = tn_b_dim(b, other->v, at);
    }
    t->v = tn_b_expand(b, t->v, &type.shape);
}

/* x and y become one term. */
static term combine(tn_builder *b, term x, term y, const labels *result, const term *later,
                    int later_count) {
    sum_unneeded(b, &x, &y.l, result, later, later_count);
    sum_unneeded(b, &y, &x.l, result, later, later_count);
    stretch(b, &x, &y);
    stretch(b, &y, &x);
    tn_dtype dtype = tn_b_type(b, x.v).dtype;
    tn_attrs_dot a = {.acc = tn_b_accumulator(dtype)};
    labels batch = {0}, free_x = {0}, free_y = {0};
    for (int i = 0; i < x.l.count; i++) {
        unsigned char label = x.l.at[i];
        int j = find_label(&y.l, label);
        bool needed = has_label(result, label);
        for (int p = 0; p < later_count; p++) needed = needed || has_label(&later[p].l, label);
        if (j < 0) {
            free_x.at[free_x.count++] = label;
        } else if (needed) {
            batch.at[batch.count++] = label;
            tn_ints_push(&a.lhs_batch, i);
            tn_ints_push(&a.rhs_batch, j);
        } else {
            tn_ints_push(&a.lhs_contract, i);
            tn_ints_push(&a.rhs_contract, j);
        }
    }
    for (int j = 0; j < y.l.count; j++)
        if (!has_label(&x.l, y.l.at[j])) free_y.at[free_y.count++] = y.l.at[j];
    term z = {.v = tn_b_node(b, TN_OP_dot, (tn_value[]){x.v, y.v}, 2, &a), .l = batch};
    for (int i = 0; i < free_x.count && tn_b_ok(b); i++) push_label(b, &z.l, free_x.at[i]);
    for (int i = 0; i < free_y.count && tn_b_ok(b); i++) push_label(b, &z.l, free_y.at[i]);
    if (tn_dtype_is_float(dtype)) z.v = tn_b_cast(b, z.v, dtype);
    return z;
}

/* Without "->": the ellipsis, then the letters that occur once, in alphabetical order. */
static void implicit_result(tn_builder *b, const term *t, int n, int covered, labels *result) {
    int count[256] = {0};
    for (int p = 0; p < n; p++)
        for (int i = 0; i < t[p].l.count; i++) count[t[p].l.at[i]]++;
    *result = (labels){0};
    for (int i = covered; i-- > 0;) push_label(b, result, (unsigned char)(ELLIPSIS + i));
    for (int c = 0; c < ELLIPSIS; c++)
        if (count[c] == 1) push_label(b, result, (unsigned char)c);
}

static bool read_equation(tn_builder *b, const char *text, const tn_value *in, int n, term *t,
                          labels *result) {
    int widest = 0;
    for (int p = 0; p < n && tn_b_ok(b); p++) {
        int covered = tn_b_rank(b, in[p]) - letters_in(text);
        if (covered > widest) widest = covered;
        t[p].v = in[p];
        text = read_labels(b, text, TN_MAX(covered, 0), &t[p].l);
        if (tn_b_ok(b) && t[p].l.count != tn_b_rank(b, in[p]))
            tn_b_fail(b, TN_INVALID, "einsum: operand %d has %d axes; the equation names %d", p,
                      tn_b_rank(b, in[p]), t[p].l.count);
        if (tn_b_ok(b) && p + 1 < n && *text++ != ',')
            tn_b_fail(b, TN_INVALID, "einsum: the equation names fewer operands than %d", n);
    }
    if (tn_b_ok(b) && *text == ',')
        tn_b_fail(b, TN_INVALID, "einsum: the equation names more operands than %d", n);
    if (!tn_b_ok(b)) return false;
    if (*text != '-')
        implicit_result(b, t, n, widest, result);
    else if (text[1] == '>')
        read_labels(b, text + 2, widest, result);
    else
        tn_b_fail(b, TN_INVALID, "einsum: '-' without '>'");
    return tn_b_ok(b);
}

tn_value tn_b_einsum(tn_builder *b, const char *equation, const tn_value *in, int n) {
    term t[MAX_TERMS];
    labels result;
    if (n < 1 || n > MAX_TERMS)
        return tn_b_fail(b, TN_UNSUPPORTED, "einsum: %d operands; expected 1 to %d", n, MAX_TERMS);
    if (!tn_b_ok(b) || !read_equation(b, equation, in, n, t, &result)) return TN_NO_VALUE;
    for (int p = 0; p < n; p++) take_diagonals(b, &t[p]);
    term all = t[0];
    for (int p = 1; p < n && tn_b_ok(b); p++)
        all = combine(b, all, t[p], &result, t + p + 1, n - p - 1);
    sum_unneeded(b, &all, NULL, &result, NULL, 0);
    int perm[TN_MAX_RANK];
    for (int i = 0; i < result.count && tn_b_ok(b); i++) {
        perm[i] = find_label(&all.l, result.at[i]);
        for (int j = 0; j < i; j++)
            if (perm[i] == perm[j])
                return tn_b_fail(b, TN_INVALID, "einsum: a label occurs twice in the result");
        if (perm[i] < 0)
            return tn_b_fail(b, TN_INVALID, "einsum: '%c' of the result is in no operand",
                             result.at[i]);
    }
    return tn_b_ok(b) ? tn_b_permute(b, all.v, perm) : TN_NO_VALUE;
}

/* Solving the symbols of a program from the sizes of its inputs. See ports.h. */
#include "session/ports.h"

#include <inttypes.h>
#include <stdio.h>

#define UNKNOWN INT64_MIN

void tn_ports_describe(const tn_buffer *b, char *out, size_t size) {
    int used = snprintf(out, size, "%s[", tn_dtype_name(b->dtype));
    for (int i = 0; i < b->rank && used > 0 && (size_t)used < size; i++)
        used += snprintf(out + used, size - (size_t)used, i ? ",%" PRId64 : "%" PRId64, b->dim[i]);
    if (used > 0 && (size_t)used < size) snprintf(out + used, size - (size_t)used, "]");
}

typedef struct mismatch_args {
    const tn_program *p;
    uint32_t input;
    const tn_buffer *b;
    const char *what;
    tn_str expected;
} mismatch_args;

static tn_status describe_mismatch(void *argument, tn_error *err) {
    mismatch_args *x = argument;
    const tn_prog_port *port = &x->p->inputs.data[x->input];
    char got[256];
    tn_ports_describe(x->b, got, sizeof got);
    tn_type_print(x->p->dims, &port->type, &x->expected);
    return tn_error_set(err, TN_INVALID, "input '%s': %s (got %s, expected %s)", port->name,
                        x->what, got, tn_str_text(&x->expected));
}

/* Fails with both types: what the program expects and what came. */
static tn_status mismatch(const tn_program *p, uint32_t input, const tn_buffer *b, const char *what,
                          tn_error *err) {
    mismatch_args x = {.p = p, .input = input, .b = b, .what = what};
    tn_str_init(&x.expected);
    tn_status status = tn_guard(describe_mismatch, &x, err);
    tn_str_deinit(&x.expected);
    return status;
}

static tn_status check_kind(const tn_program *p, uint32_t i, const tn_buffer *b, tn_error *err) {
    const tn_type *t = &p->inputs.data[i].type;
    if (b->dtype != t->dtype) return mismatch(p, i, b, "wrong data type", err);
    if (b->rank != t->shape.rank) return mismatch(p, i, b, "wrong number of axes", err);
    bool empty = false;
    for (int a = 0; a < b->rank; a++) {
        if (b->dim[a] < 0) return mismatch(p, i, b, "negative size", err);
        empty |= b->dim[a] == 0;
    }
    if (!b->data && !empty) return mismatch(p, i, b, "no data", err);
    return TN_OK;
}

/* ---- solving -------------------------------------------------------------------------------- */

/* How many symbols of `d` are unknown; *which is one of them. */
static int unknowns(const tn_program *p, tn_dim d, const int64_t *symbols, uint32_t *which) {
    int count = 0;
    if (tn_dim_is_const(d)) return 0;
    for (uint32_t s = 0; s < p->dims->symbols.len; s++)
        if (symbols[s] == UNKNOWN && tn_dim_uses_symbol(p->dims, d, s)) {
            *which = s;
            count++;
        }
    return count;
}

/* Finds symbol s such that d is `value`, for d = a * s + b. */
static bool solve(const tn_program *p, tn_dim d, int64_t *symbols, uint32_t s, int64_t value) {
    symbols[s] = 0;
    int64_t at0 = tn_dim_eval(p->dims, d, symbols);
    symbols[s] = 1;
    int64_t slope = tn_dim_eval(p->dims, d, symbols) - at0;
    if (slope != 0) symbols[s] = (value - at0) / slope;
    if (slope != 0 && tn_dim_eval(p->dims, d, symbols) == value) return true;
    symbols[s] = UNKNOWN;
    return false;
}

/* Looks at one size; *open when it holds symbols that other sizes have to tell first. */
static tn_status bind_size(const tn_program *p, uint32_t input, const tn_buffer *b, int axis,
                           int64_t *symbols, bool *open, bool *progress, tn_error *err) {
    tn_dim d = p->inputs.data[input].type.shape.dim[axis];
    uint32_t s = 0;
    if (!tn_dim_is_const(d) && tn_dim_is_symbol(p->dims, d, &s)) {
        if (symbols[s] == UNKNOWN) {
            symbols[s] = b->dim[axis];
            *progress = true;
        }
        d = symbols[s];
    } else if (!tn_dim_is_const(d)) {
        int count = unknowns(p, d, symbols, &s);
        if (count == 1 && solve(p, d, symbols, s, b->dim[axis]))
            *progress = true;
        else if (count > 0)
            *open = true;
        d = count == 0 ? tn_dim_eval(p->dims, d, symbols) : b->dim[axis];
    }
    if (d == b->dim[axis]) return TN_OK;
    char what[96];
    snprintf(what, sizeof what, "axis %d has size %" PRId64 ", expected %" PRId64, axis,
             b->dim[axis], d);
    return mismatch(p, input, b, what, err);
}

static bool is_used(const tn_program *p, uint32_t symbol) {
    for (uint32_t i = 0; i < p->buffers.len; i++)
        if (tn_dim_uses_symbol(p->dims, p->buffers.data[i].elements, symbol)) return true;
    for (uint32_t b = 0; b < p->blocks.len; b++)
        for (uint32_t s = 0; s < p->blocks.data[b].steps.len; s++) {
            const tn_prog_step *step = &p->blocks.data[b].steps.data[s];
            for (uint32_t n = 0; n < step->scalar_count; n++)
                if (tn_dim_uses_symbol(p->dims, step->scalars[n], symbol)) return true;
        }
    return false;
}

/* A symbol that no input tells is legal only where nothing depends on it. */
static tn_status settle(const tn_program *p, uint32_t symbol, int64_t *symbols, tn_error *err) {
    const tn_dim_symbol *s = &p->dims->symbols.data[symbol];
    if (s->lo != s->hi && is_used(p, symbol))
        return tn_error_set(err, TN_INVALID,
                            "size %s does not follow from the inputs' sizes; fix it with --dim "
                            "%s=N",
                            s->name, s->name);
    int64_t divisor = TN_MAX(s->divisor, 1);
    symbols[symbol] = s->lo % divisor == 0 ? s->lo : s->lo + divisor - s->lo % divisor;
    return TN_OK;
}

/* Symbols that a run binds are 0 until it does. */
static void clear_run_sizes(const tn_program *p, int64_t *symbols) {
    uint32_t symbol;
    for (uint32_t i = 0; i < p->blocks.data[0].steps.len; i++) {
        const tn_prog_step *s = &p->blocks.data[0].steps.data[i];
        if (s->kind == TN_STEP_SIZE && tn_dim_is_symbol(p->dims, s->scalars[0], &symbol))
            symbols[symbol] = 0;
    }
}

static tn_status check_bounds(const tn_program *p, const int64_t *symbols, tn_error *err) {
    for (uint32_t i = 0; i < p->dims->symbols.len; i++) {
        const tn_dim_symbol *s = &p->dims->symbols.data[i];
        if (symbols[i] >= s->lo && symbols[i] <= s->hi &&
            (s->divisor <= 1 || symbols[i] % s->divisor == 0))
            continue;
        return tn_error_set(err, TN_INVALID,
                            "the inputs' sizes make %s = %" PRId64 "; it must be in [%" PRId64
                            ", %" PRId64 "] and a multiple of %" PRId64,
                            s->name, symbols[i], s->lo, s->hi, TN_MAX(s->divisor, 1));
    }
    return TN_OK;
}

tn_status tn_ports_bind(const tn_program *p, const tn_buffer *inputs, int count, int64_t *symbols,
                        tn_error *err) {
    if (count != (int)p->inputs.len)
        return tn_error_set(err, TN_INVALID, "%d inputs given, the model has %u", count,
                            p->inputs.len);
    for (uint32_t i = 0; i < p->inputs.len; i++) TN_CHECK(check_kind(p, i, &inputs[i], err));
    for (uint32_t s = 0; s < p->dims->symbols.len; s++) symbols[s] = UNKNOWN;
    bool open = true, progress = true;
    while (open && progress) {
        open = progress = false;
        for (uint32_t i = 0; i < p->inputs.len; i++)
            for (int a = 0; a < inputs[i].rank; a++)
                TN_CHECK(bind_size(p, i, &inputs[i], a, symbols, &open, &progress, err));
    }
    clear_run_sizes(p, symbols);
    for (uint32_t s = 0; s < p->dims->symbols.len; s++)
        if (symbols[s] == UNKNOWN) TN_CHECK(settle(p, s, symbols, err));
    return check_bounds(p, symbols, err);
}

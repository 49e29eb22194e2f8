/* Checking a program: after it was planned, and before a loaded one is believed.
 *
 * What is checked makes execution safe as far as steps reach: every index and size, what may be
 * written, that memory is alive where it is used (around loops too), that aliases are read only
 * inside their owner. What a kernel does inside its buffers is its loop IR's business. */
#include "program/program.h"

enum { MAX_NESTING = 64 };

typedef struct loop_span {
    uint32_t begin, end; /* positions */
} loop_span;

typedef struct checker {
    const tn_program *p;
    tn_error *err;
    uint8_t *alias_open;  /* per buffer: an enclosing step sets its address */
    uint8_t *block_owned; /* per block */
    uint32_t *taker;      /* per INPUT buffer: the OUTPUT in its place; UINT32_MAX: none */
    uint32_t *written; /* per OUTPUT buffer: 1 + where the first step may write it; 0: none yet */
    loop_span loops[MAX_NESTING];
    int depth, loop_depth;
    bool prepare;
    bool *
        unbound; /* per symbol: a step of block 0 that is not reached yet binds it; NULL: none does */
    uint32_t next_position; /* the least position a step may have */
} checker;

static tn_status bad_step(checker *c, const tn_prog_step *s, const char *what) {
    return tn_error_set(c->err, TN_INVALID, "program: step %u (%s): %s", s->position,
                        s->name ? s->name : "unnamed", what);
}

static bool dim_valid(const tn_program *p, tn_dim d) {
    return d >= 0 || (uint64_t)(-1 - d) < p->dims->exprs.len;
}

static bool shape_valid(const tn_program *p, const tn_type *t) {
    if ((unsigned)t->dtype >= TN_DTYPE_COUNT) return false;
    if (t->shape.rank < 0 || t->shape.rank > TN_MAX_RANK) return false;
    for (int i = 0; i < t->shape.rank; i++)
        if (!dim_valid(p, t->shape.dim[i])) return false;
    return true;
}

/* Whether a size has a value where the check has come to. */
static bool is_bound(const checker *c, tn_dim d) {
    const tn_dims *t = c->p->dims;
    if (!c->unbound || tn_dim_is_const(d)) return true;
    for (uint32_t i = 0; i < t->symbols.len; i++)
        if (c->unbound[i] && tn_dim_uses_symbol(t, d, i)) return false;
    return true;
}

/* ---- buffers -------------------------------------------------------------------------------- */

static bool bytes_of(const tn_prog_buffer *b, uint64_t *bytes) {
    return b->elements >= 0 &&
           !__builtin_mul_overflow((uint64_t)b->elements, (uint64_t)tn_dtype_size(b->dtype), bytes);
}

static bool same_size(const tn_program *p, uint32_t a, uint32_t b) {
    const tn_prog_buffer *x = &p->buffers.data[a], *y = &p->buffers.data[b];
    return x->dtype == y->dtype && x->elements == y->elements;
}

static bool lies_within(const tn_prog_buffer *b, uint64_t size) {
    uint64_t bytes;
    return bytes_of(b, &bytes) && bytes <= size && b->offset <= size - bytes;
}

/* NULL, or what is wrong. */
static const char *buffer_fault(const tn_program *p, const tn_prog_buffer *b) {
    if ((unsigned)b->dtype >= TN_DTYPE_COUNT) return "unknown data type";
    if (!dim_valid(p, b->elements)) return "unknown size";
    switch (b->store) {
    case TN_STORE_INPUT:
        return b->index < p->inputs.len ? NULL : "no such input";
    case TN_STORE_OUTPUT:
        if (b->index >= p->outputs.len) return "no such output";
        if (b->in_place_of == UINT32_MAX) return NULL;
        if (b->in_place_of >= p->buffers.len ||
            p->buffers.data[b->in_place_of].store != TN_STORE_INPUT)
            return "takes the place of no input";
        return same_size(p, (uint32_t)(b - p->buffers.data), b->in_place_of)
                   ? NULL
                   : "takes the place of an input of another type or size";
    case TN_STORE_WEIGHT:
        if (b->index >= p->sources.len) return "no such weight source";
        return lies_within(b, p->sources.data[b->index].size) ? NULL : "weight outside its source";
    case TN_STORE_PREPARED:
        if (b->offset % 64) return "prepared weight is not aligned";
        return lies_within(b, p->prepared_bytes) ? NULL : "weight outside the prepared weights";
    case TN_STORE_TEMP:
        if (b->first > b->last) return "live range ends before it begins";
        if (b->in_place_of == UINT32_MAX || b->in_place_of < p->buffers.len) return NULL;
        return "takes the place of a buffer that does not exist";
    case TN_STORE_ALIAS:
        return NULL;
    }
    return "unknown kind of memory";
}

static const char *note_taker(checker *c, uint32_t id) {
    const tn_prog_buffer *b = &c->p->buffers.data[id];
    if (b->store != TN_STORE_OUTPUT || b->in_place_of == UINT32_MAX) return NULL;
    if (c->taker[b->in_place_of] != UINT32_MAX) return "takes the place of a taken input";
    c->taker[b->in_place_of] = id;
    return NULL;
}

/* Prepared weights follow each other without holes or overlaps; `*end` is where the last one ends. */
static const char *place_fault(const tn_prog_buffer *b, uint64_t *end) {
    uint64_t bytes;
    if (b->store != TN_STORE_PREPARED) return NULL;
    if (b->offset < *end) return "prepared weights overlap";
    if (b->offset > *end) return "bytes that belong to no prepared weight";
    if (!bytes_of(b, &bytes) || bytes > UINT64_MAX - b->offset - 63) return "too large";
    *end += (bytes + 63) / 64 * 64;
    return NULL;
}

static tn_status check_buffers(checker *c) {
    uint64_t end = 0;
    for (uint32_t i = 0; i < c->p->buffers.len; i++) {
        const tn_prog_buffer *b = &c->p->buffers.data[i];
        const char *fault = buffer_fault(c->p, b);
        if (!fault) fault = place_fault(b, &end);
        if (!fault) fault = note_taker(c, i);
        if (fault) return tn_error_set(c->err, TN_INVALID, "program: buffer %u: %s", i, fault);
    }
    if (end == c->p->prepared_bytes) return TN_OK;
    return tn_error_set(c->err, TN_INVALID,
                        "program: %llu bytes are prepared, %llu belong to weights",
                        (unsigned long long)c->p->prepared_bytes, (unsigned long long)end);
}

static const char *port_fault(const tn_program *p, const tn_prog_port *port) {
    if (!port->name) return "no name";
    if (!shape_valid(p, &port->type)) return "bad type";
    if (port->buffer >= p->buffers.len) return "no such buffer";
    const tn_prog_buffer *b = &p->buffers.data[port->buffer];
    if (b->dtype != port->type.dtype) return "its buffer is of another data type";
    if (tn_shape_count(p->dims, &port->type.shape) != b->elements)
        return "its buffer is of another size";
    return b->store == TN_STORE_ALIAS ? "its buffer has no memory of its own" : NULL;
}

/* NULL, or what is wrong with the compounds of `ports` inputs or outputs. */
static const char *compound_fault(const tn_compound *at, uint32_t count, uint32_t ports,
                                  bool has_needs) {
    int64_t end = 0;
    for (uint32_t i = 0; i < count; i++) {
        const tn_compound *c = &at[i];
        if (!c->name || (unsigned)c->kind >= TN_COMPOUND_KIND_COUNT) return "no name or kind";
        if (c->count < (has_needs ? TN_COMPOUND_UNKNOWN : TN_COMPOUND_ABSENT) ||
            c->count > TN_COMPOUND_MOST)
            return "no such number of tensors";
        if (c->count == TN_COMPOUND_ABSENT && c->kind == TN_COMPOUND_SEQUENCE)
            return "a sequence cannot be absent";
        if (c->kind == TN_COMPOUND_OPTIONAL && (c->count == 0 || c->count > 1))
            return "an optional has one tensor or none";
        if (c->first < end) return "its tensors are another's";
        end = (int64_t)c->first + TN_MAX(c->count, 0);
        if (end > ports) return "it has more tensors than there are";
    }
    return NULL;
}

static tn_status check_compounds(checker *c, bool has_needs) {
    const tn_program *p = c->p;
    const char *in =
        compound_fault(p->input_compounds.data, p->input_compounds.len, p->inputs.len, has_needs);
    const char *out = compound_fault(p->output_compounds.data, p->output_compounds.len,
                                     p->outputs.len, has_needs);
    if (!in && !out) return TN_OK;
    return tn_error_set(c->err, TN_INVALID, "program: sequence or optional among its %s: %s",
                        in ? "inputs" : "outputs", in ? in : out);
}

/* A program with needs describes its ports only. */
static tn_status check_needs(checker *c, bool *has_needs) {
    const tn_program *p = c->p;
    *has_needs = tn_program_has_needs(p);
    if (!*has_needs) return TN_OK;
    if (p->blocks.data[0].steps.len > 0 || p->blocks.data[1].steps.len > 0)
        return tn_error_set(c->err, TN_INVALID, "program: has steps before it is specialised");
    for (uint32_t i = 0; i < p->inputs.len; i++)
        if (!p->inputs.data[i].name || !shape_valid(p, &p->inputs.data[i].type))
            return tn_error_set(c->err, TN_INVALID, "program: input %u: bad name or type", i);
    for (uint32_t i = 0; i < p->outputs.len; i++) {
        const tn_prog_port *port = &p->outputs.data[i];
        if (!port->name || (port->type.shape.rank != -1 && !shape_valid(p, &port->type)))
            return tn_error_set(c->err, TN_INVALID, "program: output %u: bad name or type", i);
    }
    return TN_OK;
}

/* Sizes that a run binds are found; inputs have none of them. */
static tn_status find_run_sizes(checker *c, tn_arena *arena) {
    const tn_program *p = c->p;
    const tn_prog_block *b = &p->blocks.data[0];
    bool any = false;
    for (uint32_t i = 0; i < b->steps.len; i++) {
        const tn_prog_step *s = &b->steps.data[i];
        if (s->kind != TN_STEP_SIZE) continue;
        any = true;
        if (s->scalar_count < 1 || !dim_valid(p, s->scalars[0]))
            return bad_step(c, s, "unknown size");
    }
    if (!any) return TN_OK;
    c->unbound = TN_NEW_N(arena, bool, p->dims->symbols.len);
    tn_program_run_sizes(p, c->unbound);
    for (uint32_t i = 0; i < p->inputs.len; i++)
        for (int a = 0; a < p->inputs.data[i].type.shape.rank; a++)
            if (!is_bound(c, p->inputs.data[i].type.shape.dim[a]))
                return tn_error_set(c->err, TN_INVALID,
                                    "program: input %u: its size is bound by the run", i);
    return TN_OK;
}

static tn_status check_ports(checker *c) {
    const tn_program *p = c->p;
    bool has_needs;
    TN_CHECK(check_needs(c, &has_needs));
    TN_CHECK(check_compounds(c, has_needs));
    if (has_needs) return TN_OK;
    for (uint32_t i = 0; i < p->inputs.len; i++) {
        const tn_prog_port *port = &p->inputs.data[i];
        const char *fault = port_fault(p, port);
        if (!fault && (p->buffers.data[port->buffer].store != TN_STORE_INPUT ||
                       p->buffers.data[port->buffer].index != i))
            fault = "its buffer is not that input";
        if (fault) return tn_error_set(c->err, TN_INVALID, "program: input %u: %s", i, fault);
    }
    for (uint32_t i = 0; i < p->outputs.len; i++) {
        const char *fault = port_fault(p, &p->outputs.data[i]);
        if (fault) return tn_error_set(c->err, TN_INVALID, "program: output %u: %s", i, fault);
    }
    return TN_OK;
}

/* ---- uses of buffers ------------------------------------------------------------------------ */

static const char *use_fault(const checker *c, uint32_t id, uint32_t position, bool write) {
    if (id >= c->p->buffers.len) return "uses a buffer that does not exist";
    const tn_prog_buffer *b = &c->p->buffers.data[id];
    switch (b->store) {
    case TN_STORE_INPUT:
    case TN_STORE_WEIGHT:
        if (write) return "writes to an input or a weight";
        return c->prepare && b->store == TN_STORE_INPUT ? "prepare reads an input" : NULL;
    case TN_STORE_OUTPUT:
        return c->prepare ? "prepare writes an output" : NULL;
    case TN_STORE_PREPARED:
        return write && !c->prepare ? "writes to a prepared weight" : NULL;
    case TN_STORE_ALIAS:
        return c->alias_open[id] ? NULL : "uses an alias outside the step that sets it";
    case TN_STORE_TEMP:
        break;
    }
    if (position < b->first || position > b->last) return "uses memory that is not alive";
    for (int i = 0; i < c->loop_depth; i++)
        if (b->first < c->loops[i].begin && b->last < c->loops[i].end)
            return "uses memory that does not live until its loop ends";
    return NULL;
}

/* An input is not read any more once its memory holds an output. What a loop writes, it may have written
 * from its beginning on. */
static const char *order_fault(checker *c, uint32_t id, uint32_t position, bool write) {
    const tn_prog_buffer *b = &c->p->buffers.data[id];
    if (write && b->store == TN_STORE_OUTPUT && !c->written[id])
        c->written[id] = 1 + (c->loop_depth ? c->loops[0].begin : position);
    if (write || b->store != TN_STORE_INPUT || c->taker[id] == UINT32_MAX) return NULL;
    uint32_t written = c->written[c->taker[id]];
    return written && position >= written ? "reads an input that was overwritten" : NULL;
}

static tn_status check_use(checker *c, const tn_prog_step *s, uint32_t id, uint32_t position,
                           bool write) {
    const char *fault = use_fault(c, id, position, write);
    if (!fault && !is_bound(c, c->p->buffers.data[id].elements))
        fault = "uses a buffer before its size is bound";
    if (!fault) fault = order_fault(c, id, position, write);
    return fault ? bad_step(c, s, fault) : TN_OK;
}

/* The last position inside the blocks of `s`, without trusting them to form a tree. */
static uint32_t last_inside(const tn_program *p, const tn_prog_step *s) {
    uint32_t last = s->position;
    for (int depth = 0; depth < MAX_NESTING; depth++) {
        const tn_prog_step *next = NULL;
        bool nested = s->kind == TN_STEP_IF || s->kind == TN_STEP_WHILE || s->kind == TN_STEP_SCAN;
        for (int i = 0; nested && i < (s->kind == TN_STEP_SCAN ? 1 : 2); i++) {
            if (s->blocks[i] >= p->blocks.len) continue;
            const tn_prog_block *b = &p->blocks.data[s->blocks[i]];
            if (b->steps.len == 0 || b->steps.data[b->steps.len - 1].position <= last) continue;
            next = &b->steps.data[b->steps.len - 1];
            last = next->position;
        }
        if (!next) break;
        s = next;
    }
    return last;
}

/* A kernel sees elements as what they are, or as the bits they are stored in. */
static bool may_hold(tn_dtype seen, tn_dtype stored) {
    if (seen == stored) return true;
    if (seen != TN_u8 && seen != TN_u16) return false;
    return (tn_dtype_bits(stored) >= 8 || stored == TN_bool) &&
           tn_dtype_size(stored) == tn_dtype_size(seen);
}

/* ---- steps ---------------------------------------------------------------------------------- */

static tn_status check_kernel(checker *c, const tn_prog_step *s) {
    if (s->kernel >= c->p->kernels.len) return bad_step(c, s, "no such kernel");
    const tn_loop *k = c->p->kernels.data[s->kernel];
    uint32_t at = 0;
    for (uint32_t i = 0; i < k->buffers.len; i++) {
        const tn_lbuffer *b = &k->buffers.data[i];
        if (b->kind == TN_LBUF_SCRATCH) continue;
        if (at == s->buffer_count) return bad_step(c, s, "too few buffers for its kernel");
        TN_CHECK(check_use(c, s, s->buffers[at], s->position, b->kind != TN_LBUF_INPUT));
        if (!may_hold(b->dtype, c->p->buffers.data[s->buffers[at]].dtype))
            return bad_step(c, s, "a buffer's data type is not its kernel's");
        at++;
    }
    if (at != s->buffer_count) return bad_step(c, s, "too many buffers for its kernel");
    if (s->scalar_count != k->scalars.len) return bad_step(c, s, "wrong number of sizes");
    for (uint32_t i = 0; i < s->scalar_count; i++)
        if (!dim_valid(c->p, s->scalars[i]) || !is_bound(c, s->scalars[i]))
            return bad_step(c, s, "unknown size");
    return TN_OK;
}

/* Steps whose sizes are right have been counted in `unbound`; a second one of a symbol finds it bound. */
static tn_status check_size(checker *c, const tn_prog_step *s) {
    uint32_t symbol;
    if (c->depth > 0 || c->prepare) return bad_step(c, s, "binds a size inside of a block");
    if (s->buffer_count != 2 || s->scalar_count != 2)
        return bad_step(c, s, "a size has two buffers, and a bound");
    for (uint32_t i = 0; i < 2; i++) {
        TN_CHECK(check_use(c, s, s->buffers[i], s->position, i == 1));
        const tn_prog_buffer *b = &c->p->buffers.data[s->buffers[i]];
        if (b->dtype != TN_i64 || b->elements != 1)
            return bad_step(c, s, "its size is not one i64");
        if (!dim_valid(c->p, s->scalars[i])) return bad_step(c, s, "unknown size");
    }
    if (!tn_dim_is_symbol(c->p->dims, s->scalars[0], &symbol) || !c->unbound[symbol])
        return bad_step(c, s, "binds no size, or one that is bound");
    if (!is_bound(c, s->scalars[1])) return bad_step(c, s, "its bound is not known");
    c->unbound[symbol] = false;
    return TN_OK;
}

static tn_status check_copy(checker *c, const tn_prog_step *s) {
    if (s->buffer_count != 2) return bad_step(c, s, "a copy has two buffers");
    TN_CHECK(check_use(c, s, s->buffers[0], s->position, false));
    TN_CHECK(check_use(c, s, s->buffers[1], s->position, true));
    return same_size(c->p, s->buffers[0], s->buffers[1]) ? TN_OK
                                                         : bad_step(c, s, "copies between sizes");
}

static tn_status check_block(checker *c, uint32_t id);

static tn_status check_body(checker *c, const tn_prog_step *s, int which) {
    uint32_t id = s->blocks[which];
    if (id < 2 || id >= c->p->blocks.len) return bad_step(c, s, "no such block");
    if (c->block_owned[id]) return bad_step(c, s, "its block belongs to another step");
    if (c->depth == MAX_NESTING) return bad_step(c, s, "blocks are nested too deep");
    c->block_owned[id] = 1;
    c->depth++;
    TN_CHECK(check_block(c, id));
    c->depth--;
    return TN_OK;
}

static bool is_flag(const checker *c, uint32_t id) {
    const tn_prog_buffer *b = &c->p->buffers.data[id];
    return b->dtype == TN_bool && b->elements == 1;
}

static tn_status check_if(checker *c, const tn_prog_step *s) {
    if (s->buffer_count < 1) return bad_step(c, s, "an if has a flag");
    TN_CHECK(check_use(c, s, s->buffers[0], s->position, false));
    if (!is_flag(c, s->buffers[0])) return bad_step(c, s, "its flag is not one bool");
    TN_CHECK(check_body(c, s, 0));
    return check_body(c, s, 1);
}

static tn_status open_alias(checker *c, const tn_prog_step *s, uint32_t id) {
    if (id >= c->p->buffers.len || c->p->buffers.data[id].store != TN_STORE_ALIAS)
        return bad_step(c, s, "its bodies see something that is no alias");
    if (c->alias_open[id]) return bad_step(c, s, "an alias is set twice");
    c->alias_open[id] = 1;
    return TN_OK;
}

/* Whether the steps leave state `i` in a slice that they store anyway. */
static bool is_collected(const tn_prog_loop *l, uint32_t i) {
    if (l->spare[2 * i] != l->spare[2 * i + 1]) return false;
    for (uint32_t j = 0; j < l->ys_count; j++)
        if (l->slice_out[j] == l->spare[2 * i]) return true;
    return false;
}

/* Position `last` is the end of the loop: what it uses must live from the owner to there. */
static tn_status check_states(checker *c, const tn_prog_step *s, uint32_t last) {
    const tn_prog_loop *l = s->loop;
    for (uint32_t i = 0; i < l->states; i++) {
        TN_CHECK(open_alias(c, s, l->in[i]));
        TN_CHECK(open_alias(c, s, l->out[i]));
        TN_CHECK(check_use(c, s, l->initial[i], s->position, false));
        TN_CHECK(check_use(c, s, l->result[i], last, true));
        const uint32_t all[] = {l->in[i], l->out[i], l->result[i], l->spare[2 * i],
                                l->spare[2 * i + 1]};
        for (size_t j = 3; j < TN_COUNT(all) && !is_collected(l, i); j++) {
            TN_CHECK(check_use(c, s, all[j], s->position, true));
            TN_CHECK(check_use(c, s, all[j], last, true));
        }
        for (size_t j = 0; j < TN_COUNT(all); j++)
            if (!same_size(c->p, l->initial[i], all[j]))
                return bad_step(c, s, "the copies of a state differ in type or size");
    }
    return TN_OK;
}

/* `whole` has `length` times the elements of `slice`. */
static tn_status check_slices(checker *c, const tn_prog_step *s, uint32_t whole, uint32_t slice,
                              uint32_t last, bool write) {
    TN_CHECK(open_alias(c, s, slice));
    TN_CHECK(check_use(c, s, whole, s->position, write));
    TN_CHECK(check_use(c, s, whole, last, write));
    const tn_prog_buffer *w = &c->p->buffers.data[whole], *part = &c->p->buffers.data[slice];
    if (w->dtype != part->dtype ||
        tn_dim_mul(c->p->dims, part->elements, s->loop->length) != w->elements)
        return bad_step(c, s, "slices do not make up the whole");
    return TN_OK;
}

static void close_aliases(checker *c, const uint32_t *ids, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) c->alias_open[ids[i]] = 0;
}

static tn_status check_loop_bodies(checker *c, const tn_prog_step *s) {
    const tn_prog_loop *l = s->loop;
    TN_CHECK(check_body(c, s, 0));
    if (s->kind != TN_STEP_WHILE) return TN_OK;
    const tn_prog_block *cond = &c->p->blocks.data[s->blocks[0]];
    uint32_t tested =
        cond->steps.len ? last_inside(c->p, &cond->steps.data[cond->steps.len - 1]) : s->position;
    TN_CHECK(check_use(c, s, l->flag, tested, true));
    if (!is_flag(c, l->flag)) return bad_step(c, s, "its flag is not one bool");
    return check_body(c, s, 1);
}

/* Whatever the loop uses must live to its `end`. */
static tn_status check_loop(checker *c, const tn_prog_step *s, uint32_t end) {
    const tn_prog_loop *l = s->loop;
    if (!l || !dim_valid(c->p, l->length) || !is_bound(c, l->length))
        return bad_step(c, s, "its loop is not described");
    if (s->kind == TN_STEP_WHILE && (l->xs_count || l->ys_count))
        return bad_step(c, s, "a while has no slices");
    if (c->loop_depth == MAX_NESTING) return bad_step(c, s, "loops are nested too deep");
    TN_CHECK(check_states(c, s, end));
    for (uint32_t i = 0; i < l->ys_count; i++)
        TN_CHECK(check_slices(c, s, l->ys[i], l->slice_out[i], end, true));
    for (uint32_t i = 0; i < l->xs_count; i++)
        TN_CHECK(check_slices(c, s, l->xs[i], l->slice_in[i], end, false));
    c->loops[c->loop_depth++] = (loop_span){s->position, end};
    TN_CHECK(check_loop_bodies(c, s));
    c->loop_depth--;
    close_aliases(c, l->in, l->states);
    close_aliases(c, l->out, l->states);
    close_aliases(c, l->slice_in, l->xs_count);
    close_aliases(c, l->slice_out, l->ys_count);
    return TN_OK;
}

static tn_status check_step(checker *c, const tn_prog_step *s) {
    if (s->position < c->next_position || s->position == UINT32_MAX)
        return bad_step(c, s, "positions do not ascend");
    c->next_position = s->position + 1;
    if (!dim_valid(c->p, s->flops) || !dim_valid(c->p, s->bytes))
        return bad_step(c, s, "unknown size");
    switch (s->kind) {
    case TN_STEP_KERNEL:
        return check_kernel(c, s);
    case TN_STEP_COPY:
        return check_copy(c, s);
    case TN_STEP_IF:
        return check_if(c, s);
    case TN_STEP_WHILE:
    case TN_STEP_SCAN:
        return check_loop(c, s, last_inside(c->p, s));
    case TN_STEP_SIZE:
        return check_size(c, s);
    }
    return bad_step(c, s, "unknown kind of step");
}

static tn_status check_block(checker *c, uint32_t id) {
    const tn_prog_block *b = &c->p->blocks.data[id];
    for (uint32_t i = 0; i < b->steps.len; i++) TN_CHECK(check_step(c, &b->steps.data[i]));
    return TN_OK;
}

static tn_status verify_all(checker *c, tn_arena *arena, tn_error *err) {
    const tn_program *p = c->p;
    if (p->blocks.len < 2) return tn_error_set(err, TN_INVALID, "program: no main block");
    c->taker = TN_NEW_N(arena, uint32_t, p->buffers.len);
    c->written = TN_NEW_N(arena, uint32_t, p->buffers.len);
    memset(c->taker, 0xff, p->buffers.len * sizeof *c->taker);
    TN_CHECK(check_buffers(c));
    TN_CHECK(check_ports(c));
    for (uint32_t i = 0; i < p->kernels.len; i++)
        TN_TRY(err, tn_loop_verify(p->kernels.data[i], err), "program: kernel %u", i);
    TN_CHECK(find_run_sizes(c, arena));
    c->alias_open = tn_arena_alloc(arena, p->buffers.len);
    c->block_owned = tn_arena_alloc(arena, p->blocks.len);
    TN_CHECK(check_block(c, 0));
    c->prepare = true;
    c->next_position = 0;
    return check_block(c, 1);
}

typedef struct verify_args {
    const tn_program *p;
    tn_arena arena;
} verify_args;

static tn_status verify_guarded(void *argument, tn_error *err) {
    verify_args *a = argument;
    checker *c = TN_NEW(&a->arena, checker);
    c->p = a->p;
    c->err = err;
    return verify_all(c, &a->arena, err);
}

tn_status tn_program_verify(const tn_program *p, tn_error *err) {
    verify_args a = {.p = p};
    tn_arena_init(&a.arena, tn_allocator_system());
    tn_status status = tn_guard(verify_guarded, &a, err);
    tn_arena_deinit(&a.arena);
    return status;
}

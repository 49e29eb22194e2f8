/* Stacking members' weights. See stack.h. */
#include "wide/stack.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "session/blocks.h"

enum {
    PIECE = 256 << 10,    /* bytes that a thread makes at a time */
    SMALL = 1 << 20,      /* bytes that one thread makes as fast */
    MOST_READ = 64 << 20, /* bytes of files that count as memory of the process */
};

/* ---- life ----------------------------------------------------------------------------------- */

tn__wide_stacker *tn__wide_stacker_new(tn__wide_files *files, const tn_import_options *options) {
    tn__wide_stacker *s = calloc(1, sizeof *s);
    if (!s) return NULL;
    tn_arena_init(&s->arena, tn_allocator_system());
    s->own.options = options;
    s->files = files ? files : &s->own;
    return s;
}

void tn__wide_stacker_free(tn__wide_stacker *s) {
    if (!s) return;
    for (int i = 0; i < s->opened; i++) tn__wide_values_close(&s->values[i]);
    tn__wide_files_deinit(&s->own);
    tn_arena_deinit(&s->arena);
    free(s);
}

static void release(void *context) {
    tn__wide_stacker_free(context);
}

/* ---- filling -------------------------------------------------------------------------------- */

/* Parts of one member begin where values can be copied from. */
static size_t part_at(const tn__wide_stack *x, size_t at) {
    size_t before = at / x->bytes * x->bytes, inside = at - before;
    inside = (inside + TN__WIDE_PART - 1) / TN__WIDE_PART * TN__WIDE_PART;
    return before + TN_MIN(inside, x->bytes);
}

static void copy_setting(const tn__wide_values *v, const tn__wide_stack *x, size_t begin,
                         size_t end, char *to) {
    tn_array from;
    tn__wide_setting(v->file, x->setting, &from);
    memcpy(to, (const char *)from.data + begin, end - begin);
}

static void copy_member(const tn__wide_values *v, const tn__wide_stack *x, size_t begin, size_t end,
                        char *to) {
    if (x->weight == UINT32_MAX)
        copy_setting(v, x, begin, end, to);
    else
        tn__wide_values_copy(v, v->file->structure.weights.data[x->weight], begin, end, to);
}

static void fill_range(const tn__wide_stacker *s, const tn__wide_stack *x, size_t begin,
                       size_t end) {
    while (begin < end) {
        size_t member = begin / x->bytes, from = begin % x->bytes;
        size_t to = TN_MIN(x->bytes, from + (end - begin));
        copy_member(&s->values[member], x, from, to, x->data + begin);
        begin += to - from;
    }
}

typedef struct filling {
    const tn__wide_stacker *s;
    const tn__wide_stack *x;
    size_t begin, end;
    atomic_size_t next;
} filling;

static void fill_pieces(void *context, size_t worker) {
    filling *f = context;
    (void)worker;
    for (;;) {
        size_t at = f->begin + atomic_fetch_add(&f->next, PIECE);
        if (at >= f->end) return;
        fill_range(f->s, f->x, part_at(f->x, at), part_at(f->x, TN_MIN(at + PIECE, f->end)));
    }
}

static void let_go(tn__wide_stacker *s, size_t read) {
    s->unread += read;
    if (s->unread < MOST_READ) return;
    s->unread = 0;
    for (const tn__wide_file *f = s->files->first; f; f = f->next)
        for (uint32_t i = 0; i < f->import.maps.len; i++) tn_file_map_drop(&f->import.maps.data[i]);
    for (int i = 0; i < s->opened; i++)
        if (s->values[i].map.data) tn_file_map_drop(&s->values[i].map);
}

static size_t fill(void *context, const tn_artifact_block *block, size_t end, tn_pool *pool) {
    tn__wide_stacker *s = context;
    filling f = {.s = s, .x = &s->stacks[block->number], .begin = block->filled};
    f.end = part_at(f.x, end);
    if (pool && f.end - f.begin >= SMALL)
        tn_pool_run(pool, fill_pieces, &f);
    else
        fill_pieces(&f, 0);
    let_go(s, f.end - f.begin);
    return f.end;
}

/* ---- stacks --------------------------------------------------------------------------------- */

static tn__wide_stack *stack_at(tn__wide_stacker *s, const tn__structure *t, uint32_t k,
                                bool weight) {
    tn__wide_stack *x = &s->stacks[weight ? k : t->weights.len + k];
    *x = (tn__wide_stack){.weight = UINT32_MAX, .setting = UINT32_MAX};
    *(weight ? &x->weight : &x->setting) = k;
    return x;
}

static void make_room(tn__wide_stacker *s, tn__wide_stack *x, int count, tn_artifact *a) {
    size_t bytes;
    if (!tn_size_mul(x->bytes, (size_t)count, &bytes)) tn_out_of_memory();
    x->data = bytes < TN_ARTIFACT_BLOCK
                  ? tn_arena_alloc(&a->arena, bytes)
                  : tn_artifact_block_new(a, bytes, (uint32_t)(x - s->stacks));
    if (!x->data) tn_out_of_memory();
}

static void make_stacks(tn__wide_stacker *s, const tn__wide_reader *r,
                        const tn__wide_shares *shares, tn_artifact *a) {
    const tn__structure *t = r->structure;
    s->count = t->weights.len + t->settings.len;
    s->stacks = TN_NEW_N(&s->arena, tn__wide_stack, s->count);
    for (uint32_t k = 0; k < t->weights.len; k++) {
        tn__wide_stack *x = stack_at(s, t, k, true);
        x->bytes = tn_array_bytes(&t->import->weights.data[t->weights.data[k]].array);
        if (shares->weight[k]) make_room(s, x, r->count, a);
    }
    for (uint32_t k = 0; k < t->settings.len; k++) {
        tn__wide_stack *x = stack_at(s, t, k, false);
        tn_array one;
        tn_graph_constant(t->import->graph, t->settings.data[k], &one);
        x->bytes = tn_array_bytes(&one);
        if (shares->setting[k]) make_room(s, x, r->count, a);
    }
}

/* ---- members -------------------------------------------------------------------------------- */

/* What is read of a file is told by a list, not by what was needed to make it. */
static void keep_list(tn__wide_stacker *s, tn__wide_values *v) {
    if (!v->data) return;
    v->data = tn_arena_dup(&s->arena, v->data, v->file->import.weights.len * sizeof *v->data);
    tn_arena_deinit(&v->arena);
}

static bool is_archive(const tn__wide_values *v) {
    return v->data && !v->map.data;
}

static bool is_block(const tn__wide_stack *x, int count) {
    return x->bytes * (size_t)count >= TN_ARTIFACT_BLOCK;
}

/* A member into stacks; those that are filled later are left out. */
static void stack_member(tn__wide_stacker *s, int member, int count, bool blocks) {
    for (uint32_t k = 0; k < s->count; k++) {
        tn__wide_stack *x = &s->stacks[k];
        if (!x->data || !x->bytes || (is_block(x, count) && !blocks)) continue;
        copy_member(&s->values[member], x, 0, x->bytes, x->data + (size_t)member * x->bytes);
    }
}

/* From the first archive on all stacks are filled at once, those of members before it too. */
static tn_status open_members(tn__wide_stacker *s, tn__wide_reader *r, bool *whole, tn_error *err) {
    for (int i = 0; i < r->count; i++) {
        tn__wide_values *v = &s->values[i];
        TN_CHECK(tn__wide_read(r, i, v, err));
        s->opened = i + 1;
        bool archive = is_archive(v);
        for (int before = 0; archive && !*whole && before < i; before++)
            stack_member(s, before, r->count, true);
        *whole = *whole || archive;
        stack_member(s, i, r->count, *whole);
        if (archive)
            tn__wide_values_close(v);
        else
            keep_list(s, v);
    }
    return TN_OK;
}

tn_status tn__wide_stacker_start(tn__wide_stacker *s, tn__wide_reader *r,
                                 const tn__wide_shares *shares, bool sketch, tn_artifact *a,
                                 tn_error *err) {
    bool whole = false;
    make_stacks(s, r, shares, a);
    if (sketch) return TN_OK;
    s->values = TN_NEW_N(&s->arena, tn__wide_values, r->count);
    TN_CHECK(open_members(s, r, &whole, err));
    for (uint32_t i = 0; i < a->blocks.len && whole; i++)
        a->blocks.data[i].filled = a->blocks.data[i].size;
    let_go(s, MOST_READ);
    if (a->blocks.len && !whole) a->filler = (tn_artifact_filler){s, fill, release};
    return TN_OK;
}

/* Large constants of a graph. See blocks.h. */
#include "session/blocks.h"

#include <sys/mman.h>

#include "transform/fold.h"

_Static_assert(TN_ARTIFACT_BLOCK > TN_FOLD_ELEMENTS * sizeof(double), "folding reads constants");

enum { PAGE = 4096, HUGE_FROM = 4 << 20 };

void *tn_artifact_block_new(tn_artifact *a, size_t size, uint32_t number) {
    tn_vec_push(&a->arena, &a->blocks, (tn_artifact_block){.number = number});
    void *data = mmap(NULL, size, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (data == MAP_FAILED) return NULL;
    tn_artifact_block *b = &a->blocks.data[a->blocks.len - 1];
    if (size >= HUGE_FROM) (void)madvise(data, size, MADV_HUGEPAGE);
    b->data = data;
    b->size = size;
    b->kept = true;
    return data;
}

static void unmap(tn_artifact_block *b) {
    if (b->data) munmap(b->data, b->size);
    b->data = NULL;
}

static void release_filler(tn_artifact *a) {
    if (a->filler.context) a->filler.release(a->filler.context);
    a->filler = (tn_artifact_filler){0};
}

void tn_artifact_blocks_release(tn_artifact *a) {
    for (uint32_t i = 0; i < a->blocks.len; i++) unmap(&a->blocks.data[i]);
    release_filler(a);
}

/* ---- filling -------------------------------------------------------------------------------- */

static void fill_to(tn_artifact *a, tn_artifact_block *b, size_t end, tn_pool *pool) {
    if (a->filler.context && b->data && b->filled < end)
        b->filled = a->filler.fill(a->filler.context, b, end, pool);
}

static void fill_block(tn_artifact *a, tn_artifact_block *b) {
    tn_pool *pool = a->executable.pool;
    if (!b->data || b->filled == b->size) return;
    if (pool && !tn_pool_acquire(pool)) pool = NULL;
    fill_to(a, b, b->size, pool);
    if (pool) tn_pool_leave(pool);
}

void tn_artifact_blocks_fill(tn_artifact *a) {
    for (uint32_t i = 0; i < a->blocks.len; i++) fill_block(a, &a->blocks.data[i]);
}

/* ---- what stays ----------------------------------------------------------------------------- */

static tn_status mark_guarded(void *argument, tn_error *err) {
    tn_artifact *a = argument;
    const tn_program *p = a->program;
    (void)err;
    uint8_t *used = TN_NEW_N(&a->arena, uint8_t, p->buffers.len);
    tn_program_buffer_uses(p, used);
    for (uint32_t i = 0; i < a->blocks.len; i++) {
        tn_artifact_block *block = &a->blocks.data[i];
        block->kept = false;
        for (uint32_t n = 0; n < p->buffers.len && !block->kept; n++) {
            const tn_prog_buffer *b = &p->buffers.data[n];
            block->kept = used[n] && b->store == TN_STORE_WEIGHT &&
                          p->sources.data[b->index].data == block->data;
        }
    }
    return TN_OK;
}

void tn_artifact_blocks_mark(tn_artifact *a) {
    if (a->blocks.len) (void)tn_guard(mark_guarded, a, NULL);
}

void tn_artifact_blocks_keep(tn_artifact *a) {
    if (a->blocks.len) a->import.graph = NULL;
    for (uint32_t i = 0; i < a->blocks.len; i++)
        if (!a->blocks.data[i].kept) unmap(&a->blocks.data[i]);
    tn_artifact_blocks_fill(a);
    release_filler(a);
}

/* ---- while `prepare` runs ------------------------------------------------------------------- */

static tn_artifact_block *block_of(const tn_artifact *a, uint32_t source) {
    for (uint32_t i = 0; i < a->blocks.len; i++)
        if (a->blocks.data[i].data && a->blocks.data[i].data == a->sources[source])
            return &a->blocks.data[i];
    return NULL;
}

static bool has(void *context, uint32_t source) {
    return block_of(context, source) != NULL;
}

static void need(void *context, uint32_t source, uint64_t end, tn_pool *pool) {
    fill_to(context, block_of(context, source), end, pool);
}

static void done(void *context, uint32_t source, uint64_t end) {
    tn_artifact_block *b = block_of(context, source);
    size_t to = TN_MIN((size_t)end, b->filled) / PAGE * PAGE;
    if (b->kept || to <= b->dropped) return;
    (void)madvise((char *)b->data + b->dropped, to - b->dropped, MADV_DONTNEED);
    b->dropped = to;
}

tn_supply tn_artifact_supply(tn_artifact *a) {
    return (tn_supply){.context = a, .has = has, .need = need, .done = done};
}

/* Writing program files. See format.h.
 *
 * A saved program has run its `prepare` block: what that block read is left out, and so are the
 * block and its kernels. Weight sources are cut into one section per weight that is still used, unless they are
 * kept by reference. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "program/format.h"

typedef struct section {
    uint32_t kind, index;
    const void *data;
    uint64_t offset, size;
    tn_hash128 hash;
} section;

#define NONE UINT32_MAX

typedef struct saver {
    const tn_program *p;
    const void *prepared;
    bool external;
    tn_arena arena;
    tn_str tables, body, kernels, head;
    tn__dims_writer dims;
    uint8_t *used;           /* per buffer: block 0, or a port, refers to it */
    uint32_t *kernel_number; /* in the file; NONE: left out */
    uint32_t kernels_kept;
    tn_prog_buffer *buffers;        /* as they are written */
    TN_VEC(tn_prog_source) sources; /* as they are written */
    TN_VEC(section) sections;
    int fd;
    char name[4096]; /* of the unfinished file */
} saver;

/* ---- what is still used --------------------------------------------------------------------- */

static uint64_t bytes_of(const tn_prog_buffer *b) {
    return (uint64_t)b->elements * tn_dtype_size(b->dtype);
}

/* The number of the source that holds just this weight; equal ranges share one. */
static uint32_t source_of(saver *s, tn_map *known, const tn_prog_buffer *b) {
    const uint64_t key[] = {b->index, b->offset, bytes_of(b)};
    uint32_t id;
    if (tn_map_get(known, key, sizeof key, &id)) return id;
    const uint8_t *data = s->p->sources.data[b->index].data;
    tn_prog_source fresh = {.size = bytes_of(b), .data = data + b->offset};
    tn_vec_push(&s->arena, &s->sources, fresh);
    tn_map_put(known, key, sizeof key, s->sources.len - 1);
    return s->sources.len - 1;
}

/* Weights get sources of their own; a buffer that nothing reads any more becomes empty. */
static tn_status choose_sources(saver *s, tn_error *err) {
    const tn_program *p = s->p;
    tn_map known;
    tn_map_init(&known, &s->arena);
    s->buffers = tn_arena_dup(&s->arena, p->buffers.data, p->buffers.len * sizeof *s->buffers);
    for (uint32_t i = 0; i < p->sources.len && s->external; i++) {
        tn_prog_source none = {0};
        tn_vec_push(&s->arena, &s->sources, p->sources.data[i].path ? p->sources.data[i] : none);
    }
    for (uint32_t i = 0; i < p->buffers.len; i++) {
        tn_prog_buffer *b = &s->buffers[i];
        if (b->store != TN_STORE_WEIGHT) continue;
        bool by_reference = s->external && p->sources.data[b->index].path;
        if (!s->used[i]) {
            *b = (tn_prog_buffer){
                .store = TN_STORE_TEMP, .dtype = b->dtype, .in_place_of = UINT32_MAX};
        } else if (!by_reference) {
            if (!p->sources.data[b->index].data && bytes_of(b) > 0)
                return tn_error_set(err, TN_INVALID, "weight '%s' is not in memory",
                                    b->name ? b->name : "(unnamed)");
            b->index = source_of(s, &known, b);
            b->offset = 0;
        }
    }
    return TN_OK;
}

static void choose_kernels(saver *s) {
    uint32_t count = s->p->kernels.len;
    uint8_t *uses = tn_arena_alloc(&s->arena, count);
    tn_program_kernel_uses(s->p, uses);
    s->kernel_number = TN_NEW_N(&s->arena, uint32_t, count);
    for (uint32_t i = 0; i < count; i++)
        s->kernel_number[i] = uses[i] == TN_USED_BY_PREPARE ? NONE : s->kernels_kept++;
}

/* ---- structure ------------------------------------------------------------------------------ */

static void put_dim(saver *s, tn_dim d) {
    tn__put_dim(&s->dims, &s->body, d);
}

static void put_ports(saver *s, const tn_prog_port *ports, uint32_t count) {
    tn__put32(&s->body, count);
    for (uint32_t i = 0; i < count; i++) {
        const tn_type *t = &ports[i].type;
        tn__put_text(&s->body, ports[i].name);
        tn__put(&s->body, t->dtype, 1);
        tn__put(&s->body, (uint64_t)t->shape.rank, 1);
        for (int a = 0; a < t->shape.rank; a++) put_dim(s, t->shape.dim[a]);
        tn__put32(&s->body, ports[i].buffer);
    }
}

static void put_compounds(saver *s, const tn_compound *at, uint32_t count) {
    tn__put32(&s->body, count);
    for (uint32_t i = 0; i < count; i++) {
        tn__put_text(&s->body, at[i].name);
        tn__put(&s->body, (uint64_t)at[i].kind, 1);
        tn__put32(&s->body, (uint32_t)at[i].first);
        tn__put32(&s->body, (uint32_t)at[i].count);
    }
}

static void put_sources(saver *s) {
    tn__put32(&s->body, s->sources.len);
    for (uint32_t i = 0; i < s->sources.len; i++) {
        const tn_prog_source *x = &s->sources.data[i];
        tn__put_text(&s->body, x->path);
        tn__put64(&s->body, x->device);
        tn__put64(&s->body, x->inode);
        tn__put64(&s->body, x->size);
        tn__put64(&s->body, x->mtime_ns);
    }
}

static void put_buffers(saver *s) {
    tn__put32(&s->body, s->p->buffers.len);
    for (uint32_t i = 0; i < s->p->buffers.len; i++) {
        const tn_prog_buffer *b = &s->buffers[i];
        tn__put(&s->body, b->store, 1);
        tn__put(&s->body, b->dtype, 1);
        put_dim(s, b->elements);
        tn__put32(&s->body, b->index);
        tn__put64(&s->body, b->offset);
        tn__put32(&s->body, b->first);
        tn__put32(&s->body, b->last);
        tn__put32(&s->body, b->in_place_of);
        tn__put_text(&s->body, b->name);
    }
}

static void put_ids(saver *s, const uint32_t *ids, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) tn__put32(&s->body, ids[i]);
}

static void put_loop(saver *s, const tn_prog_loop *l) {
    tn__put(&s->body, l != NULL, 1);
    if (!l) return;
    tn__put32(&s->body, l->states);
    tn__put32(&s->body, l->xs_count);
    tn__put32(&s->body, l->ys_count);
    const uint32_t *const lists[] = {l->initial, l->in, l->out, l->result};
    for (size_t i = 0; i < TN_COUNT(lists); i++) put_ids(s, lists[i], l->states);
    put_ids(s, l->spare, 2 * l->states);
    put_ids(s, l->xs, l->xs_count);
    put_ids(s, l->slice_in, l->xs_count);
    put_ids(s, l->ys, l->ys_count);
    put_ids(s, l->slice_out, l->ys_count);
    tn__put32(&s->body, l->flag);
    put_dim(s, l->length);
    tn__put(&s->body, l->reverse, 1);
}

static void put_step(saver *s, const tn_prog_step *x) {
    tn__put(&s->body, x->kind, 1);
    tn__put32(&s->body, x->position);
    tn__put32(&s->body, x->kind == TN_STEP_KERNEL ? s->kernel_number[x->kernel] : x->kernel);
    tn__put32(&s->body, x->buffer_count);
    put_ids(s, x->buffers, x->buffer_count);
    tn__put32(&s->body, x->scalar_count);
    for (uint32_t i = 0; i < x->scalar_count; i++) put_dim(s, x->scalars[i]);
    put_ids(s, x->blocks, 2);
    put_loop(s, x->loop);
    tn__put_text(&s->body, x->name);
    put_dim(s, x->flops);
    put_dim(s, x->bytes);
}

static void put_blocks(saver *s) {
    tn__put32(&s->body, s->p->blocks.len);
    for (uint32_t i = 0; i < s->p->blocks.len; i++) {
        const tn_prog_block *b = &s->p->blocks.data[i];
        uint32_t count = b->prepares ? 0 : b->steps.len;
        tn__put32(&s->body, count);
        for (uint32_t j = 0; j < count; j++) put_step(s, &b->steps.data[j]);
    }
}

static void put_groups(saver *s) {
    tn__put32(&s->body, s->p->groups.len);
    for (uint32_t i = 0; i < s->p->groups.len; i++) {
        const tn_prog_group *g = &s->p->groups.data[i];
        const char *const texts[] = {g->anchors, g->mainloop,   g->epilogue,
                                     g->stores,  g->recomputes, g->schedule};
        tn__put32(&s->body, g->step_position);
        for (size_t t = 0; t < TN_COUNT(texts); t++) tn__put_text(&s->body, texts[t]);
        put_dim(s, g->bytes);
    }
}

static void put_texts(saver *s, const char *const *texts, uint32_t count) {
    tn__put32(&s->body, count);
    for (uint32_t i = 0; i < count; i++) tn__put_text(&s->body, texts[i]);
}

static void put_structure(saver *s) {
    const tn_program *p = s->p;
    tn__dims_writer_init(&s->dims, &s->arena, p->dims);
    put_ports(s, p->inputs.data, p->inputs.len);
    put_ports(s, p->outputs.data, p->outputs.len);
    put_compounds(s, p->input_compounds.data, p->input_compounds.len);
    put_compounds(s, p->output_compounds.data, p->output_compounds.len);
    put_sources(s);
    put_buffers(s);
    put_blocks(s);
    put_groups(s);
    tn__put32(&s->body, p->demands.len);
    for (uint32_t i = 0; i < p->demands.len; i++) {
        tn__put32(&s->body, p->demands.data[i].block);
        put_dim(s, p->demands.data[i].size);
        put_dim(s, p->demands.data[i].room);
        tn__put_text(&s->body, p->demands.data[i].node);
    }
    put_texts(s, p->errors.data, p->errors.len);
    put_texts(s, p->need_values.data, p->need_values.len);
    put_texts(s, p->need_dims.data, p->need_dims.len);
    tn__put64(&s->body, p->prepared_bytes);
    tn__put64(&s->body, p->plan.ns);
    tn__put64(&s->body, p->plan.least_ns);
    tn__put32(&s->body, p->plan.tried);
    tn__put32(&s->body, p->plan.all_tried);
    tn__put64(&s->body, (uint64_t)p->plan.tuned_piece);
    tn__put_text(&s->tables, p->name);
    tn__put_text(&s->tables, p->target);
    tn__put_dims(&s->dims, &s->tables);
    tn_str_append_n(&s->tables, tn_str_text(&s->body), s->body.len);
}

static void put_kernels(saver *s) {
    tn__put32(&s->kernels, s->kernels_kept);
    for (uint32_t i = 0; i < s->p->kernels.len; i++) {
        if (s->kernel_number[i] == NONE) continue;
        size_t at = s->kernels.len;
        tn__put64(&s->kernels, 0);
        tn_loop_write(s->p->kernels.data[i], &s->kernels);
        uint64_t size = s->kernels.len - at - 8;
        for (int b = 0; b < 8; b++) s->kernels.data[at + (size_t)b] = (char)(size >> (8 * b));
    }
}

/* ---- sections and file ---------------------------------------------------------------------- */

static void add_section(saver *s, tn__section_kind kind, uint32_t index, const void *data,
                        uint64_t size) {
    section x = {.kind = kind, .index = index, .data = data, .size = size};
    x.hash = tn_hash128_of(data, size);
    tn_vec_push(&s->arena, &s->sections, x);
}

static void choose_sections(saver *s) {
    add_section(s, TN__SECTION_STRUCTURE, 0, s->tables.data, s->tables.len);
    add_section(s, TN__SECTION_KERNELS, 0, s->kernels.data, s->kernels.len);
    if (s->p->prepared_bytes)
        add_section(s, TN__SECTION_PREPARED, 0, s->prepared, s->p->prepared_bytes);
    for (uint32_t i = 0; i < s->sources.len; i++)
        if (!s->sources.data[i].path)
            add_section(s, TN__SECTION_SOURCE, i, s->sources.data[i].data, s->sources.data[i].size);
}

/* Returns the size of the file. */
static uint64_t place_sections(saver *s) {
    uint64_t at = TN__PROGRAM_HEAD + (uint64_t)s->sections.len * TN__PROGRAM_SECTION;
    for (uint32_t i = 0; i < s->sections.len; i++) {
        section *x = &s->sections.data[i];
        x->offset = tn__section_offset(x->kind, at);
        at = x->offset + x->size;
    }
    return at;
}

static void put_head(saver *s, uint64_t file_size) {
    tn_str table;
    tn_str_init_with(&table, tn_arena_allocator(&s->arena));
    for (uint32_t i = 0; i < s->sections.len; i++) {
        const section *x = &s->sections.data[i];
        tn__put32(&table, x->kind);
        tn__put32(&table, x->index);
        tn__put64(&table, x->offset);
        tn__put64(&table, x->size);
        tn__put64(&table, x->hash.lo);
        tn__put64(&table, x->hash.hi);
    }
    tn_hash128 hash = tn_hash128_of(table.data, table.len);
    tn_str_append(&s->head, TN__PROGRAM_MAGIC);
    tn__put32(&s->head, TN__PROGRAM_VERSION);
    tn__put32(&s->head, s->sections.len);
    tn__put64(&s->head, file_size);
    tn__put64(&s->head, hash.lo);
    tn__put64(&s->head, hash.hi);
    tn_hash128 boot = s->external ? tn_boot_id() : (tn_hash128){0};
    tn__put64(&s->head, boot.lo);
    tn__put64(&s->head, boot.hi);
    while (s->head.len < TN__PROGRAM_HEAD) tn_str_append_char(&s->head, 0);
    tn_str_append_n(&s->head, table.data, table.len);
}

static bool write_at(int fd, const void *data, uint64_t size, uint64_t offset) {
    const char *p = data;
    while (size) {
        ssize_t n = pwrite(fd, p, (size_t)TN_MIN(size, 1u << 30), (off_t)offset);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        p += n;
        size -= (uint64_t)n;
        offset += (uint64_t)n;
    }
    return true;
}

static bool write_file(saver *s, uint64_t file_size) {
    bool ok =
        ftruncate(s->fd, (off_t)file_size) == 0 && write_at(s->fd, s->head.data, s->head.len, 0);
    for (uint32_t i = 0; i < s->sections.len && ok; i++) {
        const section *x = &s->sections.data[i];
        ok = write_at(s->fd, x->data, x->size, x->offset);
    }
    return ok && fchmod(s->fd, 0644) == 0;
}

static tn_status save_guarded(void *argument, tn_error *err) {
    saver *s = argument;
    s->used = tn_arena_alloc(&s->arena, s->p->buffers.len);
    tn_program_buffer_uses(s->p, s->used);
    TN_CHECK(choose_sources(s, err));
    choose_kernels(s);
    put_structure(s);
    put_kernels(s);
    choose_sections(s);
    uint64_t size = place_sections(s);
    put_head(s, size);
    if (write_file(s, size)) return TN_OK;
    return tn_error_set(err, TN_IO, "cannot write %s: %s", s->name, strerror(errno));
}

void tn__program_identity(const void *structure, size_t structure_size, const void *kernels,
                          size_t kernels_size, char out[65]) {
    char parts[129];
    tn_sha256_hex(structure, structure_size, parts);
    tn_sha256_hex(kernels, kernels_size, parts + 64);
    tn_sha256_hex(parts, 128, out);
}

tn_status tn_program_save(const tn_program *p, const void *prepared, bool external,
                          const char *path, char identity[65], tn_error *err) {
    if (p->prepared_bytes && !prepared)
        return tn_error_set(err, TN_INVALID, "%s: the program was not prepared yet", path);
    saver s = {.p = p, .prepared = prepared, .external = external};
    int len = snprintf(s.name, sizeof s.name, "%s.tmp.XXXXXX", path);
    if (len < 0 || (size_t)len >= sizeof s.name)
        return tn_error_set(err, TN_INVALID, "%s: the path is too long", path);
    s.fd = mkostemp(s.name, O_CLOEXEC);
    if (s.fd < 0) return tn_error_set(err, TN_IO, "%s: cannot create: %s", path, strerror(errno));
    tn_arena_init(&s.arena, tn_allocator_system());
    tn_str *const texts[] = {&s.tables, &s.body, &s.kernels, &s.head};
    for (size_t i = 0; i < TN_COUNT(texts); i++) tn_str_init(texts[i]);
    tn_status status = tn_guard(save_guarded, &s, err);
    if (identity)
        tn__program_identity(s.tables.data, s.tables.len, s.kernels.data, s.kernels.len, identity);
    for (size_t i = 0; i < TN_COUNT(texts); i++) tn_str_deinit(texts[i]);
    tn_arena_deinit(&s.arena);
    if (close(s.fd) != 0 && status == TN_OK)
        status = tn_error_set(err, TN_IO, "%s: cannot write: %s", path, strerror(errno));
    if (status == TN_OK && rename(s.name, path) != 0)
        status = tn_error_set(err, TN_IO, "%s: cannot write: %s", path, strerror(errno));
    if (status != TN_OK) unlink(s.name);
    return status;
}

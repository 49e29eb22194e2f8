/* Reading program files, which may be damaged or hostile. See format.h.
 *
 * Order of trust: head and section table against the file's size and their hash; sections without holes
 * or overlaps; the hash of each, but for weights of a cache entry that this boot wrote; counts against the
 * bytes that are left; at last tn_program_verify on the whole. That the kernels, which are code, stay
 * inside their buffers is not proven here: see tn_program_file.identity. */
#include <fcntl.h>
#include <unistd.h>

#include "program/format.h"

bool tn_program_is_file(const char *path) {
    char head[sizeof TN__PROGRAM_MAGIC - 1];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return false;
    ssize_t n = read(fd, head, sizeof head);
    close(fd);
    return n == (ssize_t)sizeof head && memcmp(head, TN__PROGRAM_MAGIC, sizeof head) == 0;
}

typedef struct loader {
    tn_program_file *f;
    tn_program *p;
    tn_arena *arena;
    const char *path;
    tn__reader r;
    tn__dims_reader dims;
    tn_hash128 boot, written; /* ids of this boot and of the file's */
    bool own;                 /* an entry of the cache */
} loader;

static tn_status damaged(const loader *l, const char *what, tn_error *err) {
    return tn_error_set(err, TN_INVALID, "%s: damaged program file: %s", l->path, what);
}

/* ---- sections ------------------------------------------------------------------------------- */

typedef struct section {
    uint32_t kind, index;
    const uint8_t *data;
    uint64_t size;
} section;

typedef struct section_list {
    section *data;
    uint32_t count;
} section_list;

static bool is_known(tn_hash128 boot) {
    return boot.lo != 0 || boot.hi != 0;
}

static bool written_now(const loader *l) {
    return l->own && is_known(l->written) && l->written.lo == l->boot.lo &&
           l->written.hi == l->boot.hi;
}

static bool holds_weights(const section *s) {
    return s->kind == TN__SECTION_PREPARED || s->kind == TN__SECTION_SOURCE;
}

static bool all_zero(const uint8_t *data, uint64_t size) {
    for (uint64_t i = 0; i < size; i++)
        if (data[i]) return false;
    return true;
}

/* Reads the entry of a section that begins behind `*at`, and moves `*at` behind it. */
static tn_status take_section(loader *l, tn__reader *r, uint64_t *at, section *out, tn_error *err) {
    const tn_file_map *map = &l->f->map;
    out->kind = tn__take32(r);
    out->index = tn__take32(r);
    uint64_t offset = tn__take64(r), begin = tn__section_offset(out->kind, *at);
    out->size = tn__take64(r);
    tn_hash128 expected = {0};
    expected.lo = tn__take64(r);
    expected.hi = tn__take64(r);
    if (out->kind < TN__SECTION_STRUCTURE || out->kind > TN__SECTION_SOURCE ||
        (out->kind != TN__SECTION_SOURCE && out->index))
        return damaged(l, "a section of an unknown kind", err);
    if (r->failed || offset > map->size || out->size > map->size - offset)
        return damaged(l, "a section lies outside the file", err);
    if (offset < begin) return damaged(l, "sections overlap", err);
    if (offset > begin || !all_zero(map->data + *at, offset - *at))
        return damaged(l, "bytes that belong to no section", err);
    *at = offset + out->size;
    out->data = map->data + offset;
    if (holds_weights(out) && written_now(l)) return TN_OK;
    tn_hash128 hash = tn_hash128_of(out->data, out->size);
    if (hash.lo != expected.lo || hash.hi != expected.hi)
        return damaged(l, "its contents were changed", err);
    return TN_OK;
}

/* By kind and index, each once, to the end of the file. */
static tn_status take_table(loader *l, tn__reader *r, const section_list *list, tn_error *err) {
    uint64_t at = TN__PROGRAM_HEAD + (uint64_t)list->count * TN__PROGRAM_SECTION;
    for (uint32_t i = 0; i < list->count; i++) {
        section *s = &list->data[i];
        TN_CHECK(take_section(l, r, &at, s, err));
        if (i > 0 && (s->kind < s[-1].kind || (s->kind == s[-1].kind && s->index <= s[-1].index)))
            return damaged(l, "a section is there twice, or not in order", err);
    }
    return at == l->f->map.size ? TN_OK : damaged(l, "bytes behind the last section", err);
}

static tn_status take_sections(loader *l, section_list *out, tn_error *err) {
    const tn_file_map *map = &l->f->map;
    tn__reader r = {.arena = l->arena, .at = map->data, .left = map->size};
    if (map->size < TN__PROGRAM_HEAD ||
        memcmp(map->data, TN__PROGRAM_MAGIC, sizeof TN__PROGRAM_MAGIC - 1) != 0)
        return tn_error_set(err, TN_INVALID, "%s: not a program file", l->path);
    tn__take64(&r);
    uint32_t version = tn__take32(&r);
    if (version != TN__PROGRAM_VERSION)
        return tn_error_set(err, TN_UNSUPPORTED,
                            "%s: program file of version %u, this Tenon reads version %d; compile "
                            "the model again",
                            l->path, version, TN__PROGRAM_VERSION);
    out->count = tn__take32(&r);
    uint64_t size = tn__take64(&r), lo = tn__take64(&r), hi = tn__take64(&r);
    l->written.lo = tn__take64(&r);
    l->written.hi = tn__take64(&r);
    if (is_known(l->written)) l->boot = tn_boot_id();
    size_t room = map->size - TN__PROGRAM_HEAD;
    if (size != map->size) return damaged(l, "it is cut off", err);
    if (out->count > room / TN__PROGRAM_SECTION) return damaged(l, "too many sections", err);
    const uint8_t *table = map->data + TN__PROGRAM_HEAD;
    tn_hash128 hash = tn_hash128_of(table, (size_t)out->count * TN__PROGRAM_SECTION);
    if (hash.lo != lo || hash.hi != hi) return damaged(l, "its contents were changed", err);
    out->data = TN_NEW_N(l->arena, section, out->count);
    r = (tn__reader){.arena = l->arena, .at = table, .left = room};
    return take_table(l, &r, out, err);
}

static const section *find_section(const section_list *s, uint32_t kind, uint32_t index) {
    for (uint32_t i = 0; i < s->count; i++)
        if (s->data[i].kind == kind && s->data[i].index == index) return &s->data[i];
    return NULL;
}

/* ---- structure ------------------------------------------------------------------------------ */

static tn_dim take_dim(loader *l) {
    return tn__take_dim(&l->dims, &l->r);
}

static void take_port(loader *l, tn_prog_port *port) {
    tn__reader *r = &l->r;
    *port = (tn_prog_port){.name = tn__take_text(r)};
    uint8_t dtype = tn__take8(r), rank = tn__take8(r);
    if (dtype >= TN_DTYPE_COUNT || (rank > TN_MAX_RANK && rank != 255)) {
        r->failed = true;
        return;
    }
    port->type.dtype = (tn_dtype)dtype;
    port->type.shape.rank = rank == 255 ? -1 : rank;
    for (int a = 0; a < port->type.shape.rank; a++) port->type.shape.dim[a] = take_dim(l);
    port->buffer = tn__take32(r);
}

static void take_ports(loader *l) {
    uint32_t inputs = tn__take_count(&l->r, 10);
    for (uint32_t i = 0; i < inputs && !l->r.failed; i++) {
        tn_prog_port port;
        take_port(l, &port);
        tn_vec_push(l->arena, &l->p->inputs, port);
    }
    uint32_t outputs = tn__take_count(&l->r, 10);
    for (uint32_t i = 0; i < outputs && !l->r.failed; i++) {
        tn_prog_port port;
        take_port(l, &port);
        tn_vec_push(l->arena, &l->p->outputs, port);
    }
}

static tn_compound take_compound(tn__reader *r) {
    tn_compound c = {.name = tn__take_text(r), .kind = (tn_compound_kind)tn__take8(r)};
    c.first = (int)tn__take32(r);
    c.count = (int)tn__take32(r);
    return c;
}

static void take_compounds(loader *l) {
    uint32_t inputs = tn__take_count(&l->r, 13);
    for (uint32_t i = 0; i < inputs; i++)
        tn_vec_push(l->arena, &l->p->input_compounds, take_compound(&l->r));
    uint32_t outputs = tn__take_count(&l->r, 13);
    for (uint32_t i = 0; i < outputs; i++)
        tn_vec_push(l->arena, &l->p->output_compounds, take_compound(&l->r));
}

static void take_sources(loader *l) {
    uint32_t count = tn__take_count(&l->r, 36);
    for (uint32_t i = 0; i < count; i++) {
        tn_prog_source s = {.path = tn__take_text(&l->r)};
        s.device = tn__take64(&l->r);
        s.inode = tn__take64(&l->r);
        s.size = tn__take64(&l->r);
        s.mtime_ns = tn__take64(&l->r);
        tn_vec_push(l->arena, &l->p->sources, s);
    }
}

static void take_buffers(loader *l) {
    tn__reader *r = &l->r;
    uint32_t count = tn__take_count(r, 38);
    for (uint32_t i = 0; i < count && !r->failed; i++) {
        tn_prog_buffer b = {.store = (tn_store)tn__take8(r), .dtype = (tn_dtype)tn__take8(r)};
        b.elements = take_dim(l);
        b.index = tn__take32(r);
        b.offset = tn__take64(r);
        b.first = tn__take32(r);
        b.last = tn__take32(r);
        b.in_place_of = tn__take32(r);
        b.name = tn__take_text(r);
        tn_vec_push(l->arena, &l->p->buffers, b);
    }
}

static uint32_t *take_ids(loader *l, uint32_t count) {
    if (count > l->r.left / 4) l->r.failed = true;
    if (l->r.failed) return NULL;
    uint32_t *ids = TN_NEW_N(l->arena, uint32_t, count);
    for (uint32_t i = 0; i < count; i++) ids[i] = tn__take32(&l->r);
    return ids;
}

static tn_prog_loop *take_loop(loader *l) {
    tn__reader *r = &l->r;
    if (!tn__take8(r)) return NULL;
    tn_prog_loop *x = TN_NEW(l->arena, tn_prog_loop);
    x->states = tn__take_count(r, 24);
    x->xs_count = tn__take_count(r, 8);
    x->ys_count = tn__take_count(r, 8);
    x->initial = take_ids(l, x->states);
    x->in = take_ids(l, x->states);
    x->out = take_ids(l, x->states);
    x->result = take_ids(l, x->states);
    x->spare = take_ids(l, 2 * x->states);
    x->xs = take_ids(l, x->xs_count);
    x->slice_in = take_ids(l, x->xs_count);
    x->ys = take_ids(l, x->ys_count);
    x->slice_out = take_ids(l, x->ys_count);
    x->flag = tn__take32(r);
    x->length = take_dim(l);
    x->reverse = tn__take8(r);
    return x;
}

static void take_step(loader *l, tn_prog_step *s) {
    tn__reader *r = &l->r;
    *s = (tn_prog_step){.kind = (tn_step_kind)tn__take8(r)};
    s->position = tn__take32(r);
    s->kernel = tn__take32(r);
    s->buffer_count = tn__take32(r);
    s->buffers = take_ids(l, s->buffer_count);
    s->scalar_count = tn__take_count(r, 8);
    s->scalars = TN_NEW_N(l->arena, tn_dim, s->scalar_count);
    for (uint32_t i = 0; i < s->scalar_count; i++) s->scalars[i] = take_dim(l);
    s->blocks[0] = tn__take32(r);
    s->blocks[1] = tn__take32(r);
    s->loop = take_loop(l);
    s->name = tn__take_text(r);
    s->flops = take_dim(l);
    s->bytes = take_dim(l);
}

static void take_blocks(loader *l) {
    uint32_t count = tn__take_count(&l->r, 4);
    for (uint32_t i = 0; i < count && !l->r.failed; i++) {
        tn_prog_block b = {.prepares = i == 1};
        uint32_t steps = tn__take_count(&l->r, 46);
        for (uint32_t j = 0; j < steps && !l->r.failed; j++) {
            tn_prog_step s;
            take_step(l, &s);
            tn_vec_push(l->arena, &b.steps, s);
        }
        tn_vec_push(l->arena, &l->p->blocks, b);
    }
}

static void take_groups(loader *l) {
    tn__reader *r = &l->r;
    uint32_t count = tn__take_count(r, 36);
    for (uint32_t i = 0; i < count && !r->failed; i++) {
        tn_prog_group g = {.step_position = tn__take32(r)};
        const char **texts[] = {&g.anchors, &g.mainloop,   &g.epilogue,
                                &g.stores,  &g.recomputes, &g.schedule};
        for (size_t t = 0; t < TN_COUNT(texts); t++) *texts[t] = tn__take_text(r);
        g.bytes = take_dim(l);
        tn_vec_push(l->arena, &l->p->groups, g);
    }
}

/* A list of texts, none of which is missing. */
static const char *take_item(loader *l) {
    const char *text = tn__take_text(&l->r);
    if (!text) l->r.failed = true;
    return text;
}

static void take_demands(loader *l) {
    uint32_t count = tn__take_count(&l->r, 16);
    for (uint32_t i = 0; i < count && !l->r.failed; i++) {
        tn_prog_demand d = {.block = tn__take32(&l->r)};
        d.size = take_dim(l);
        d.room = take_dim(l);
        d.node = take_item(l);
        tn_vec_push(l->arena, &l->p->demands, d);
    }
}

static void take_texts(loader *l) {
    uint32_t count = tn__take_count(&l->r, 4);
    for (uint32_t i = 0; i < count && !l->r.failed; i++)
        tn_vec_push(l->arena, &l->p->errors, take_item(l));
    count = tn__take_count(&l->r, 4);
    for (uint32_t i = 0; i < count && !l->r.failed; i++)
        tn_vec_push(l->arena, &l->p->need_values, take_item(l));
    count = tn__take_count(&l->r, 4);
    for (uint32_t i = 0; i < count && !l->r.failed; i++)
        tn_vec_push(l->arena, &l->p->need_dims, take_item(l));
}

static tn_status take_structure(loader *l, const section *s, tn_error *err) {
    if (!s) return damaged(l, "it has no structure", err);
    l->r = (tn__reader){.arena = l->arena, .at = s->data, .left = s->size};
    tn_dims *dims = TN_NEW(l->arena, tn_dims);
    tn_dims_init(dims, l->arena);
    *l->p = (tn_program){.arena = l->arena, .dims = dims};
    l->p->name = tn__take_text(&l->r);
    l->p->target = tn__take_text(&l->r);
    if (!tn__take_dims(&l->dims, &l->r, dims)) return damaged(l, "bad sizes", err);
    take_ports(l);
    take_compounds(l);
    take_sources(l);
    take_buffers(l);
    take_blocks(l);
    take_groups(l);
    take_demands(l);
    take_texts(l);
    l->p->prepared_bytes = tn__take64(&l->r);
    l->p->plan.ns = tn__take64(&l->r);
    l->p->plan.least_ns = tn__take64(&l->r);
    l->p->plan.tried = tn__take32(&l->r);
    l->p->plan.all_tried = tn__take32(&l->r) != 0;
    l->p->plan.tuned_piece = (int64_t)tn__take64(&l->r);
    if (l->r.failed || l->r.left) return damaged(l, "a number is out of range", err);
    return TN_OK;
}

static tn_status take_kernels(loader *l, const section *s, tn_error *err) {
    if (!s) return damaged(l, "it has no kernels", err);
    tn__reader r = {.arena = l->arena, .at = s->data, .left = s->size};
    uint32_t count = tn__take_count(&r, 8);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t size = tn__take64(&r);
        if (r.failed || size > r.left) return damaged(l, "a kernel is cut off", err);
        tn_loop *k = TN_NEW(l->arena, tn_loop);
        TN_TRY(err, tn_loop_read(k, l->arena, r.at, size, err), "%s: kernel %u", l->path, i);
        r.at += size;
        r.left -= size;
        tn_vec_push(l->arena, &l->p->kernels, k);
    }
    return r.failed || r.left ? damaged(l, "a kernel is cut off", err) : TN_OK;
}

/* ---- weights -------------------------------------------------------------------------------- */

static tn_status open_source(loader *l, uint32_t i, tn_error *err) {
    tn_prog_source *s = &l->p->sources.data[i];
    tn_file_map *m = &l->f->source_maps[i];
    if (!l->own) /* what a file names by absolute paths could be anybody's */
        return tn_error_set(
            err, TN_INVALID,
            "%s: the weights are in another file, as only entries of the cache have "
            "them; 'tenon compile' writes programs that hold theirs",
            l->path);
    TN_TRY(err, tn_file_map_open(m, s->path, err), "%s: weights", l->path);
    if (m->device != s->device || m->inode != s->inode || m->size != s->size ||
        m->mtime_ns != s->mtime_ns)
        return tn_error_set(err, TN_INVALID,
                            "%s: weight file %s has changed since; compile the model again",
                            l->path, s->path);
    s->data = m->data;
    return TN_OK;
}

static tn_status find_weights(loader *l, const section_list *sections, tn_error *err) {
    tn_program *p = l->p;
    uint32_t inside = 0, held = 0;
    for (uint32_t i = 0; i < sections->count; i++)
        inside += sections->data[i].kind == TN__SECTION_SOURCE;
    l->f->source_maps = TN_NEW_N(l->arena, tn_file_map, p->sources.len);
    for (uint32_t i = 0; i < p->sources.len; i++) {
        tn_prog_source *s = &p->sources.data[i];
        if (s->path) {
            TN_CHECK(open_source(l, i, err));
            continue;
        }
        held++;
        const section *bytes = find_section(sections, TN__SECTION_SOURCE, i);
        if (!bytes || bytes->size != s->size) return damaged(l, "weights are missing", err);
        s->data = bytes->data;
    }
    if (inside != held) return damaged(l, "weights that nothing reads", err);
    const section *prepared = find_section(sections, TN__SECTION_PREPARED, 0);
    if ((prepared ? prepared->size : 0) != p->prepared_bytes)
        return damaged(l, "prepared weights are missing", err);
    l->f->prepared = prepared ? prepared->data : NULL;
    return TN_OK;
}

/* The weights were found whole: until the next boot they are believed. */
static void note_boot(const loader *l) {
    if (!l->own || !is_known(l->written) || !is_known(l->boot) || written_now(l)) return;
    tn_str id;
    tn_str_init_with(&id, tn_arena_allocator(l->arena));
    tn__put64(&id, l->boot.lo);
    tn__put64(&id, l->boot.hi);
    int fd = open(l->path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return;
    (void)!pwrite(fd, id.data, id.len, TN__PROGRAM_BOOT);
    close(fd);
}

static tn_status load_guarded(void *argument, tn_error *err) {
    loader *l = argument;
    section_list sections = {0};
    TN_CHECK(take_sections(l, &sections, err));
    const section *structure = find_section(&sections, TN__SECTION_STRUCTURE, 0);
    const section *kernels = find_section(&sections, TN__SECTION_KERNELS, 0);
    TN_CHECK(take_structure(l, structure, err));
    TN_CHECK(take_kernels(l, kernels, err));
    if (!l->own)
        tn__program_identity(structure->data, structure->size, kernels->data, kernels->size,
                             l->f->identity);
    TN_TRY(err, tn_program_verify(l->p, err), "%s", l->path);
    TN_CHECK(find_weights(l, &sections, err));
    note_boot(l);
    return TN_OK;
}

tn_status tn_program_load(tn_program_file *f, tn_arena *arena, const char *path, bool own,
                          tn_error *err) {
    *f = (tn_program_file){0};
    TN_CHECK(tn_file_map_open(&f->map, path, err));
    loader l = {.f = f, .p = &f->program, .arena = arena, .path = path, .own = own};
    tn_status status = tn_guard(load_guarded, &l, err);
    if (status != TN_OK) tn_program_close(f);
    return status;
}

void tn_program_close(tn_program_file *f) {
    for (uint32_t i = 0; f->source_maps && i < f->program.sources.len; i++)
        tn_file_map_close(&f->source_maps[i]);
    tn_file_map_close(&f->map);
    *f = (tn_program_file){0};
}

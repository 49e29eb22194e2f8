/* Compiling the kernels of a program into one shared object. See kernels.h. */
#include "session/kernels.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cores.h"
#include "codegen/render_c.h"
#include "machine/profile.h"
#include "session/identity.h"

enum { UNIT_WEIGHT = 700 }; /* expressions and statements that are worth a compiler of their own */

/* ---- compiler and target -------------------------------------------------------------------- */

static void warn_slow(const tn_error *why) {
    static atomic_flag told = ATOMIC_FLAG_INIT;
    if (atomic_flag_test_and_set(&told)) return;
    char text[1024];
    tn_error_format(why, text, sizeof text);
    tn_log_write(TN_LOG_WARN, "kernels are interpreted, which is hundreds of times slower: %s",
                 text);
}

static tn_status choose_target(tn_compiler *c, tn_error *err) {
    const char *name = getenv("TENON_TARGET");
    c->target = tn_target_native();
    if (name && *name) {
        c->target = tn_target_find(name);
        if (!c->target)
            return tn_error_set(err, TN_INVALID, "TENON_TARGET is '%s', which is no target", name);
        return TN_OK;
    }
    tn_cache *memo = tn_cache_usable(&c->cache) ? &c->cache : NULL;
    while (c->has_cc && *c->target->flags &&
           !tn_cc_accepts(&c->cc, c->target->flags, "int tn_probe;\n", memo)) {
        const tn_target *plainer = tn_target_plainer(c->target);
        tn_log_write(TN_LOG_WARN, "%s does not know the flags %s; kernels are for %s",
                     c->cc.word[0], c->target->flags, plainer->name);
        c->target = plainer;
    }
    return TN_OK;
}

/* A profile that was measured with other vectors says nothing of these. */
static void read_costs(tn_compiler *c) {
    char path[TN_CACHE_PATH];
    tn_profile profile;
    c->costs = tn_costs_default();
    if (tn_cache_usable(&c->cache) && tn_cache_path(&c->cache, TN_PROFILE_FILE, path) &&
        tn_profile_read(&profile, path, NULL) && strcmp(profile.target, c->target->name) == 0)
        c->costs = tn_costs_measured(&profile.roofs);
}

static tn_status init_guarded(void *argument, tn_error *err) {
    TN_CHECK(choose_target(argument, err));
    read_costs(argument);
    return TN_OK;
}

tn_status tn_compiler_init(tn_compiler *c, const tn_model_options *options, tn_error *err) {
    *c = (tn_compiler){0};
    if (options->no_cache)
        tn_cache_open_none(&c->cache);
    else
        tn_cache_open(&c->cache, options->cache);
    if (options->mode != TN_COMPILE_INTERPRET) {
        tn_error why = TN_ERROR_INIT;
        tn_cache *memo = tn_cache_usable(&c->cache) ? &c->cache : NULL;
        tn_status status = tn_cc_find(&c->cc, memo, &why);
        c->has_cc = status == TN_OK;
        if (!c->has_cc && options->mode == TN_COMPILE_CC) {
            if (err) *err = why;
            return status;
        }
        if (!c->has_cc) warn_slow(&why);
    }
    return tn_guard(init_guarded, c, err);
}

/* ---- rendering ------------------------------------------------------------------------------ */

/* One translation unit: which kernels, and their text. */
typedef struct unit {
    tn_prelude prelude;
    tn_str functions, text;
} unit;

typedef struct builder {
    const tn_program *p;
    const tn_compiler *c;
    tn_kernel_part part;
    bool keep;        /* in the cache */
    uint32_t *chosen; /* numbers of the kernels in question */
    uint32_t n;
    tn_kernels *k;
    tn_arena arena;
    unit units[TN_CC_MAX_UNITS];
    uint32_t count;
    tn_str key_text;
    char name[80]; /* of the cache entry */
    uint8_t *object;
    size_t object_size;
} builder;

static size_t weight_of(const tn_loop *k) {
    return (size_t)k->exprs.len + k->stmts.len;
}

/* By the place among the kernels of the object, so that equal kernels make equal objects. */
static void symbol_of(uint32_t place, char out[32]) {
    snprintf(out, 32, "tn_kernel_%u", place);
}

static void unit_init(unit *u) {
    tn_prelude_init(&u->prelude);
    tn_str_init(&u->functions);
    tn_str_init(&u->text);
}

static void unit_deinit(unit *u) {
    tn_prelude_deinit(&u->prelude);
    tn_str_deinit(&u->functions);
    tn_str_deinit(&u->text);
}

static tn_status add_kernel(unit *u, const tn_loop *k, const tn_target *target, uint32_t place,
                            tn_error *err) {
    char symbol[32];
    symbol_of(place, symbol);
    TN_TRY(err, tn_render_c_function(k, target, symbol, &u->prelude, &u->functions, err),
           "while writing kernel '%s' as C", k->name);
    return TN_OK;
}

static void finish_unit(unit *u) {
    tn_render_c_head(&u->prelude, &u->text);
    tn_str_append(&u->text, tn_str_text(&u->functions));
}

static const tn_loop *chosen_kernel(const builder *b, uint32_t place) {
    return b->p->kernels.data[b->chosen[place]];
}

static bool belongs(uint8_t uses, tn_kernel_part part) {
    if (part == TN_KERNELS_PREPARE) return uses & TN_USED_BY_PREPARE;
    return part == TN_KERNELS_ALL || uses != TN_USED_BY_PREPARE;
}

static void choose_kernels(builder *b) {
    uint32_t count = b->p->kernels.len;
    uint8_t *uses = tn_arena_alloc(&b->arena, count);
    if (b->part != TN_KERNELS_ALL) tn_program_kernel_uses(b->p, uses);
    b->chosen = TN_NEW_N(&b->arena, uint32_t, count);
    for (uint32_t i = 0; i < count; i++)
        if (belongs(uses[i], b->part)) b->chosen[b->n++] = i;
}

/* As many units as there are cores and work for them, each kernel to the lightest one so far, the
 * heaviest kernels first (by weight, so that the result is always the same). */
static void choose_units(builder *b, uint32_t *unit_of, tn_arena *arena) {
    uint32_t n = b->n;
    uint8_t *taken = tn_arena_alloc(arena, n);
    size_t total = 0, weights[TN_CC_MAX_UNITS] = {0};
    for (uint32_t i = 0; i < n; i++) total += weight_of(chosen_kernel(b, i));
    size_t wanted = TN_MIN(1 + total / UNIT_WEIGHT, (size_t)tn_cores());
    b->count = (uint32_t)TN_MIN(TN_MIN(wanted, n), TN_CC_MAX_UNITS);
    for (uint32_t done = 0; done < n; done++) {
        uint32_t heaviest = UINT32_MAX, lightest = 0;
        for (uint32_t i = 0; i < n; i++)
            if (!taken[i] && (heaviest == UINT32_MAX || weight_of(chosen_kernel(b, i)) >
                                                            weight_of(chosen_kernel(b, heaviest))))
                heaviest = i;
        for (uint32_t u = 1; u < b->count; u++)
            if (weights[u] < weights[lightest]) lightest = u;
        taken[heaviest] = 1;
        unit_of[heaviest] = lightest;
        weights[lightest] += weight_of(chosen_kernel(b, heaviest));
    }
}

static tn_status render_units(builder *b, tn_error *err) {
    uint32_t *unit_of = TN_NEW_N(&b->arena, uint32_t, b->n);
    choose_units(b, unit_of, &b->arena);
    tn_status status = TN_OK;
    for (uint32_t i = 0; i < b->n && status == TN_OK; i++)
        status = add_kernel(&b->units[unit_of[i]], chosen_kernel(b, i), b->c->target, i, err);
    for (uint32_t u = 0; u < b->count; u++) finish_unit(&b->units[u]);
    return status;
}

typedef struct render_args {
    unit u;
    const tn_program *p;
    const tn_target *target;
} render_args;

static tn_status render_guarded(void *argument, tn_error *err) {
    render_args *a = argument;
    for (uint32_t i = 0; i < a->p->kernels.len; i++)
        TN_CHECK(add_kernel(&a->u, a->p->kernels.data[i], a->target, i, err));
    finish_unit(&a->u);
    return TN_OK;
}

tn_status tn_kernels_render(const tn_program *p, const tn_target *target, tn_str *out,
                            tn_error *err) {
    render_args a = {.p = p, .target = target};
    unit_init(&a.u);
    tn_status status = tn_guard(render_guarded, &a, err);
    if (status == TN_OK) tn_str_append(out, tn_str_text(&a.u.text));
    unit_deinit(&a.u);
    return status;
}

/* ---- building ------------------------------------------------------------------------------- */

static void name_entry(builder *b) {
    tn_str *s = &b->key_text;
    tn_identify_build(s); /* what renders the kernels */
    tn_str_appendf(s, "%s\n%s\n%s\n%s\n", b->c->target->name, b->c->target->flags,
                   b->c->cc.identity, tn_cc_flags());
    for (uint32_t i = 0; i < b->n; i++) {
        tn_loop_print(chosen_kernel(b, i), true, s);
        tn_str_append(s, "\n--\n");
    }
    tn_sha256_hex(s->data, s->len, b->name);
    strcpy(b->name + 64, ".so");
}

static tn_status find_functions(builder *b, tn_error *err) {
    char symbol[32];
    b->k->functions = calloc(b->p->kernels.len, sizeof(tn_kernel_fn *));
    if (!b->k->functions) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    for (uint32_t i = 0; i < b->n; i++) {
        symbol_of(i, symbol);
        void *address = tn_object_symbol(&b->k->object, symbol);
        if (!address)
            return tn_error_set(err, TN_TOOLCHAIN, "the compiled kernels have no '%s'", symbol);
        memcpy(&b->k->functions[b->chosen[i]], &address, sizeof address);
    }
    return TN_OK;
}

static tn_status compile(builder *b, tn_error *err) {
    tn_cc_unit units[TN_CC_MAX_UNITS];
    TN_CHECK(render_units(b, err));
    for (uint32_t i = 0; i < b->count; i++)
        units[i] = (tn_cc_unit){tn_str_text(&b->units[i].text), b->units[i].text.len};
    tn_cc_job job = {.units = units, .count = b->count, .flags = b->c->target->flags};
    TN_TRY(err, tn_cc_build(&b->c->cc, &job, &b->object, &b->object_size, err),
           "while compiling %u kernels", b->n);
    return TN_OK;
}

static tn_status build_guarded(void *argument, tn_error *err) {
    builder *b = argument;
    choose_kernels(b);
    if (b->n == 0) return find_functions(b, err);
    name_entry(b);
    if (b->keep && tn_object_from_cache(&b->k->object, &b->c->cache, b->name, NULL) == TN_OK) {
        b->k->cached = true;
        return find_functions(b, err);
    }
    TN_CHECK(compile(b, err));
    if (b->keep) tn_cache_put(&b->c->cache, b->name, b->object, b->object_size);
    TN_CHECK(tn_object_from_bytes(&b->k->object, b->object, b->object_size, err));
    return find_functions(b, err);
}

static tn_status build(tn_kernels *k, const tn_program *p, const tn_compiler *c,
                       tn_kernel_part part, bool keep, tn_error *err) {
    *k = (tn_kernels){.object = TN_OBJECT_NONE};
    if (!c->has_cc || p->kernels.len == 0) return TN_OK;
    builder *b = calloc(1, sizeof *b);
    if (!b) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    b->p = p;
    b->c = c;
    b->part = part;
    b->keep = keep;
    b->k = k;
    tn_arena_init(&b->arena, tn_allocator_system());
    tn_str_init(&b->key_text);
    for (uint32_t i = 0; i < TN_CC_MAX_UNITS; i++) unit_init(&b->units[i]);
    tn_status status = tn_guard(build_guarded, b, err);
    for (uint32_t i = 0; i < TN_CC_MAX_UNITS; i++) unit_deinit(&b->units[i]);
    tn_str_deinit(&b->key_text);
    tn_arena_deinit(&b->arena);
    free(b->object);
    free(b);
    if (status != TN_OK) tn_kernels_deinit(k);
    return status;
}

tn_status tn_kernels_build(tn_kernels *k, const tn_program *p, tn_kernel_part part,
                           const tn_compiler *c, tn_error *err) {
    return build(k, p, c, part, true, err);
}

void tn_kernels_fill(tn_kernels *k, const tn_kernels *from, uint32_t count) {
    for (uint32_t i = 0; k->functions && from->functions && i < count; i++)
        if (!k->functions[i]) k->functions[i] = from->functions[i];
}

/* ---- trials --------------------------------------------------------------------------------- */

typedef struct trial {
    const tn_program *p, *like;
    tn_arena arena;
    tn_program changed; /* has only the kernels that are new */
    uint32_t *same;     /* per kernel of p: that of `like`, or NEW + that of `changed` */
} trial;
#define NEW 0x80000000u

static void put_kernel(tn_map *map, const tn_loop *k, uint32_t id) {
    tn_str text;
    tn_str_init_with(&text, tn_arena_allocator(map->arena));
    tn_loop_print(k, true, &text);
    uint32_t known;
    if (!tn_map_get(map, text.data, text.len, &known)) tn_map_put(map, text.data, text.len, id);
    tn_str_deinit(&text);
}

static uint32_t find_kernel(tn_map *map, const tn_loop *k, uint32_t otherwise) {
    tn_str text;
    tn_str_init_with(&text, tn_arena_allocator(map->arena));
    tn_loop_print(k, true, &text);
    uint32_t id = otherwise;
    (void)tn_map_get(map, text.data, text.len, &id);
    tn_str_deinit(&text);
    return id;
}

static tn_status compare_guarded(void *argument, tn_error *err) {
    (void)err;
    trial *x = argument;
    tn_map map;
    tn_map_init(&map, &x->arena);
    for (uint32_t i = 0; i < x->like->kernels.len; i++)
        put_kernel(&map, x->like->kernels.data[i], i);
    x->same = TN_NEW_N(&x->arena, uint32_t, x->p->kernels.len);
    for (uint32_t i = 0; i < x->p->kernels.len; i++) {
        tn_loop *k = x->p->kernels.data[i];
        x->same[i] = find_kernel(&map, k, NEW + x->changed.kernels.len);
        if (x->same[i] >= NEW) tn_vec_push(&x->arena, &x->changed.kernels, k);
    }
    return TN_OK;
}

/* Functions of `p` from those of `from` and the ones just built. */
static tn_status join_functions(const trial *x, const tn_kernels *from, tn_kernels *k,
                                tn_error *err) {
    uint32_t n = x->p->kernels.len;
    tn_kernel_fn **functions = calloc(n ? n : 1, sizeof *functions);
    if (!functions) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    for (uint32_t i = 0; i < n; i++)
        functions[i] =
            x->same[i] >= NEW ? k->functions[x->same[i] - NEW] : from->functions[x->same[i]];
    free(k->functions);
    k->functions = functions;
    return TN_OK;
}

tn_status tn_kernels_build_trial(tn_kernels *k, const tn_program *p, const tn_program *like,
                                 const tn_kernels *from, const tn_compiler *c, tn_error *err) {
    *k = (tn_kernels){.object = TN_OBJECT_NONE};
    if (!from->functions) return TN_OK;
    trial x = {.p = p, .like = like, .changed = {.target = p->target}};
    tn_arena_init(&x.arena, tn_allocator_system());
    tn_status status = tn_guard(compare_guarded, &x, err);
    if (status == TN_OK) status = build(k, &x.changed, c, TN_KERNELS_ALL, false, err);
    if (status == TN_OK) status = join_functions(&x, from, k, err);
    tn_arena_deinit(&x.arena);
    if (status != TN_OK) tn_kernels_deinit(k);
    return status;
}

void tn_kernels_deinit(tn_kernels *k) {
    free(k->functions);
    tn_object_close(&k->object);
    *k = (tn_kernels){.object = TN_OBJECT_NONE};
}

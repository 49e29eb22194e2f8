/* Small programs built by hand: element-wise kernels over f32, weights, control flow. */
#ifndef TENON_PROGRAM_LAB_H
#define TENON_PROGRAM_LAB_H

#include "unit/test.h"

#include "program/program.h"
#include "runtime/instance.h"

typedef struct lab {
    tn_arena arena;
    tn_dims dims;
    tn_program p;
    tn_dim n; /* symbol N in [1, 1 << 20] */
    uint32_t position;
} lab;

static inline void lab_init(lab *l) {
    *l = (lab){0};
    tn_arena_init(&l->arena, tn_allocator_system());
    tn_dims_init(&l->dims, &l->arena);
    tn_program_init(&l->p, &l->arena, &l->dims);
    l->p.name = "lab";
    l->p.target = "generic";
    l->n = tn_dim_of_symbol(&l->dims, "N");
    tn_dims_set_bounds(&l->dims, tn_dims_symbol(&l->dims, "N"), 1, 1 << 20, 1);
}

static inline void lab_deinit(lab *l) {
    tn_arena_deinit(&l->arena);
}

/* ---- buffers -------------------------------------------------------------------------------- */

static inline uint32_t lab_buffer(lab *l, tn_prog_buffer b) {
    b.in_place_of = UINT32_MAX;
    tn_vec_push(&l->arena, &l->p.buffers, b);
    return l->p.buffers.len - 1;
}

static inline tn_prog_port lab_port(const char *name, tn_dtype dtype, tn_dim size,
                                    uint32_t buffer) {
    tn_prog_port port = {.name = name, .buffer = buffer};
    port.type = (tn_type){.dtype = dtype, .shape = {.rank = 1, .dim = {size}}};
    return port;
}

static inline uint32_t lab_input(lab *l, const char *name, tn_dtype dtype, tn_dim size) {
    uint32_t id = lab_buffer(l, (tn_prog_buffer){.store = TN_STORE_INPUT,
                                                 .dtype = dtype,
                                                 .elements = size,
                                                 .index = l->p.inputs.len,
                                                 .name = name});
    tn_vec_push(&l->arena, &l->p.inputs, lab_port(name, dtype, size, id));
    return id;
}

static inline uint32_t lab_output(lab *l, const char *name, tn_dim size) {
    uint32_t id = lab_buffer(l, (tn_prog_buffer){.store = TN_STORE_OUTPUT,
                                                 .dtype = TN_f32,
                                                 .elements = size,
                                                 .index = l->p.outputs.len,
                                                 .name = name});
    tn_vec_push(&l->arena, &l->p.outputs, lab_port(name, TN_f32, size, id));
    return id;
}

static inline uint32_t lab_temp(lab *l, tn_dtype dtype, tn_dim size, uint32_t first,
                                uint32_t last) {
    return lab_buffer(l, (tn_prog_buffer){.store = TN_STORE_TEMP,
                                          .dtype = dtype,
                                          .elements = size,
                                          .first = first,
                                          .last = last});
}

static inline uint32_t lab_alias(lab *l, tn_dim size) {
    return lab_buffer(l,
                      (tn_prog_buffer){.store = TN_STORE_ALIAS, .dtype = TN_f32, .elements = size});
}

static inline uint32_t lab_weight(lab *l, const float *data, uint32_t count) {
    tn_prog_source source = {.data = data, .size = count * sizeof(float)};
    tn_vec_push(&l->arena, &l->p.sources, source);
    return lab_buffer(l, (tn_prog_buffer){.store = TN_STORE_WEIGHT,
                                          .dtype = TN_f32,
                                          .elements = count,
                                          .index = l->p.sources.len - 1,
                                          .name = "w"});
}

static inline uint32_t lab_prepared(lab *l, uint32_t count) {
    uint64_t at = l->p.prepared_bytes;
    l->p.prepared_bytes += (count * sizeof(float) + 63) & ~(uint64_t)63;
    return lab_buffer(
        l, (tn_prog_buffer){
               .store = TN_STORE_PREPARED, .dtype = TN_f32, .elements = count, .offset = at});
}

/* ---- kernels -------------------------------------------------------------------------------- */

/* out[i] = a[i] op b[i] for i < N, 64 elements a task; `flag` kernels compare and write bool. */
static inline uint32_t lab_kernel(lab *l, const char *name, tn_scalar_op op) {
    tn_loop *k = TN_NEW(&l->arena, tn_loop);
    tn_loop_init(k, &l->arena, &l->dims, name);
    tn_dtype result = tn_scalar_gives_flag(op) ? TN_bool : TN_f32;
    uint32_t a = tn_l_buffer(k, TN_LBUF_INPUT, TN_f32, "a");
    uint32_t b = tn_l_buffer(k, TN_LBUF_INPUT, TN_f32, "b");
    uint32_t out = tn_l_buffer(k, TN_LBUF_OUTPUT, result, "out");
    tn_lx n = tn_l_open_dim(k, l->n), piece = tn_l_int(k, 64);
    k->tasks = tn_l_div(k, tn_l_add(k, n, tn_l_int(k, 63)), piece);
    tn_lx from = tn_l_mul(k, tn_l_task(k), piece);
    tn_lx to = tn_l_min(k, n, tn_l_add(k, from, piece));
    tn_lx i = tn_l_for(k, TN_LOOP_SERIAL, from, to, "i");
    tn_lx x = tn_l_load(k, a, i, TN_LX_NONE, TN_LX_NONE);
    tn_lx y = tn_l_load(k, b, i, TN_LX_NONE, TN_LX_NONE);
    tn_l_store(k, out, i, tn_l_op2(k, op, x, y));
    tn_l_end(k);
    tn_vec_push(&l->arena, &l->p.kernels, k);
    return l->p.kernels.len - 1;
}

/* Reports error 1 where a[i] < 0, else copies. */
static inline uint32_t lab_checking_kernel(lab *l) {
    tn_loop *k = TN_NEW(&l->arena, tn_loop);
    tn_loop_init(k, &l->arena, &l->dims, "checked");
    uint32_t a = tn_l_buffer(k, TN_LBUF_INPUT, TN_f32, "a");
    uint32_t out = tn_l_buffer(k, TN_LBUF_OUTPUT, TN_f32, "out");
    tn_lx n = tn_l_open_dim(k, l->n);
    k->tasks = n;
    tn_lx x = tn_l_load(k, a, tn_l_task(k), TN_LX_NONE, TN_LX_NONE);
    tn_l_if(k, tn_l_op2(k, TN_S_lt, x, tn_l_number(k, TN_f32, 0)));
    tn_l_error(k, 1);
    tn_l_end(k);
    tn_l_store(k, out, tn_l_task(k), x);
    tn_vec_push(&l->arena, &l->p.kernels, k);
    return l->p.kernels.len - 1;
}

/* ---- steps ---------------------------------------------------------------------------------- */

static inline tn_prog_step *lab_add(lab *l, uint32_t block, tn_prog_step s) {
    s.position = l->position++;
    s.name = s.name ? s.name : "step";
    tn_vec_push(&l->arena, &l->p.blocks.data[block].steps, s);
    return &l->p.blocks.data[block].steps.data[l->p.blocks.data[block].steps.len - 1];
}

static inline uint32_t *lab_ids(lab *l, uint32_t count, const uint32_t *ids) {
    return tn_arena_dup(&l->arena, ids, count * sizeof *ids);
}
#define LAB_IDS(l, ...)                                                                            \
    lab_ids((l), sizeof((uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t), (uint32_t[]){__VA_ARGS__})

/* out = a op b over n elements. */
static inline void lab_step(lab *l, uint32_t block, uint32_t kernel, uint32_t a, uint32_t b,
                            uint32_t out, tn_dim n) {
    tn_prog_step s = {.kind = TN_STEP_KERNEL, .kernel = kernel, .buffer_count = 3};
    s.buffers = LAB_IDS(l, a, b, out);
    s.scalar_count = l->p.kernels.data[kernel]->scalars.len;
    s.scalars = TN_NEW_N(&l->arena, tn_dim, s.scalar_count);
    for (uint32_t i = 0; i < s.scalar_count; i++) s.scalars[i] = n;
    s.flops = n;
    s.bytes = tn_dim_mul(&l->dims, n, 12);
    lab_add(l, block, s);
}

static inline void lab_copy(lab *l, uint32_t block, uint32_t from, uint32_t to) {
    lab_add(
        l, block,
        (tn_prog_step){.kind = TN_STEP_COPY, .buffers = LAB_IDS(l, from, to), .buffer_count = 2});
}

static inline uint32_t lab_block(lab *l) {
    tn_vec_push(&l->arena, &l->p.blocks, (tn_prog_block){0});
    return l->p.blocks.len - 1;
}

/* ---- running -------------------------------------------------------------------------------- */

typedef struct lab_run {
    tn_executable x;
    tn_instance *i;
    const void *sources[8];
} lab_run;

/* Interprets; `pool` may be NULL. */
static inline void lab_start(lab_run *r, const tn_program *p, uint8_t *prepared, tn_pool *pool) {
    tn_error err = TN_ERROR_INIT;
    *r = (lab_run){0};
    for (uint32_t i = 0; i < p->sources.len; i++) r->sources[i] = p->sources.data[i].data;
    r->x = (tn_executable){.program = p,
                           .sources = r->sources,
                           .prepared = prepared,
                           .pool = pool,
                           .driver = &tn_driver_cpu};
    tn_status status = tn_instance_create(&r->x, &r->i, &err);
    assert_int_equal(status, TN_OK);
}

static inline void lab_stop(lab_run *r) {
    tn_instance_release(r->i);
}

static inline void lab_assert_ok(tn_status status, const tn_error *err) {
    if (status != TN_OK) print_error("%s\n", err->message);
    assert_int_equal(status, TN_OK);
}

#endif

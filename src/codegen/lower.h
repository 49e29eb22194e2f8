/* From a fusion group and a schedule record to loop IR.
 *
 * lower_rows.c: pointwise work and folds; lower_split.c: folds of few, long rows in pieces;
 * lower_transpose.c (transpose.h): reads across the rows, by tiles; lower_place.c: concat and pad as copies;
 * lower_contraction.c: dot and conv on a register tile; lower_winograd.c: 3×3 convolutions with fewer
 * products; lower_depthwise.c: convolutions with one channel per group, along the channels or, in
 * lower_depthwise_planes.c and lower_depthwise_narrow.c, of planes; lower_windows.c: folds over windows; lower_attention.c:
 * softmax between two products; lower_nest.c: operations with loops of their own. Each kernel's buffers
 * say in `binding` which value they stand for. */
#ifndef TENON_CODEGEN_LOWER_H
#define TENON_CODEGEN_LOWER_H

#include "codegen/target.h"
#include "schedule/record.h"

/* tn_lbuffer.binding: a value of the graph, or TN_BIND_PACK + the number of a pack of this group. */
#define TN_BIND_PACK 0x80000000u

enum { TN_MOST_IN_PLACE = 4, TN_MOST_PACKS = 4 };

/* What is made of an operand for the group's kernel to read: of a constant one once, in `prepare`, else in a
 * step before it. */
typedef struct tn_pack {
    tn_loop *kernel; /* makes it; its OUTPUT buffer has binding TN_BIND_PACK */
    tn_dim elements;
    tn_dtype dtype;
} tn_pack;

/* An output of the graph that its kernel may write in the memory of the input it is in place of. */
typedef struct tn_taken {
    tn_value from, to; /* the input; the value in whose memory the output is */
} tn_taken;

typedef struct tn_lowered {
    tn_loop *kernel;
    tn_schedule schedule;
    tn_pack packs[TN_MOST_PACKS];
    uint32_t pack_count;
    tn_value in_place[TN_MOST_IN_PLACE]; /* inputs whose memory the only store may take over */
    uint32_t in_place_count;
    TN_VEC(tn_taken) taken; /* among the outputs in place of inputs that the kernel reads */
} tn_lowered;

/* `error_base`: kernel error code of node n is error_base + n. */
typedef struct tn_lower_context {
    const tn_grouping *grouping;
    const tn_target *target;
    tn_arena *arena;
    uint32_t error_base;
    const tn_schedule *record; /* instead of the chosen one, where it fits; may be NULL */
} tn_lower_context;

tn_status tn_lower_group(const tn_lower_context *c, uint32_t group, tn_lowered *out, tn_error *err);

/* in_place.c: finds up to TN_MOST_IN_PLACE such inputs of a kernel, which stores no element twice
 * (stores_once) or may; returns their number. */
uint32_t tn_find_in_place(const tn_loop *k, bool stores_once, tn_arena *arena, tn_value *found);

/* Whether OUTPUT buffer `out` may be the memory of INPUT buffer `in`, however tasks and lanes run. */
bool tn_may_take_over(const tn_loop *k, uint32_t in, uint32_t out, bool stores_once,
                      tn_arena *arena);

/* ---- shared by the lowerings ---------------------------------------------------------------- */

/* The value of each value-bound buffer of a kernel, by order. */
typedef struct tn_kernel_bindings {
    TN_VEC(tn_value) value;
    TN_VEC(uint32_t) buffer;
} tn_kernel_bindings;

typedef struct tn_kernel_maker {
    tn_access access; /* first */
    const tn_lower_context *context;
    const tn_grouping *grouping;
    const tn_graph *graph;
    const tn_group *group;
    uint32_t group_id;
    tn_loop *k;
    tn_kernel_bindings *bound;
    bool
        as_bits; /* the group only moves values: flags and narrow floats stay in their storage form */
} tn_kernel_maker;

/* The record that `group` is lowered by when `chosen` was. */
tn_schedule tn_lower_record(const tn_lower_context *c, uint32_t group, tn_schedule chosen);
void tn_maker_init(tn_kernel_maker *m, const tn_lower_context *c, uint32_t group, const char *name);
/* For the work of another group inside the kernel that `outer` makes. */
void tn_maker_init_inside(tn_kernel_maker *m, const tn_kernel_maker *outer, uint32_t group);
/* For more work of the same group at the end of a kernel that is lowered. */
void tn_maker_init_behind(tn_kernel_maker *m, const tn_lower_context *c, uint32_t group,
                          tn_loop *lowered);
/* The type of value `v` in the kernel. */
tn_dtype tn_maker_dtype(const tn_kernel_maker *m, tn_value v);
/* The buffer that holds value `v` (looking through reshapes), made on first use. */
uint32_t tn_maker_buffer(tn_kernel_maker *m, tn_value v, tn_lbuffer_kind kind);
bool tn_maker_has_buffer(const tn_kernel_maker *m, tn_value v, uint32_t *buffer);
/* Row-major position of an index in a value. */
tn_lx tn_maker_offset(tn_kernel_maker *m, tn_value v, const tn_lx *index);
tn_lx tn_maker_load(tn_kernel_maker *m, tn_value v, const tn_lx *index);
void tn_maker_store(tn_kernel_maker *m, tn_value v, const tn_lx *index, tn_lx value);
/* Splits a linear number over `count` axes, the last fastest. */
void tn_maker_split(tn_loop *k, tn_lx linear, const tn_lx *extent, int count, tn_lx *index);

/* False, with nothing in `out`: the group is not of this shape, or better off with tn_lower_rows. */
bool tn_lower_place(const tn_lower_context *c, uint32_t group, tn_lowered *out);
bool tn_lower_split(const tn_lower_context *c, uint32_t group, tn_lowered *out);
bool tn_lower_transpose(const tn_lower_context *c, uint32_t group, tn_lowered *out);
/* False: not a 3×3 convolution of this kind, or better off with tn_lower_contraction. */
bool tn_lower_winograd(const tn_lower_context *c, uint32_t group, tn_lowered *out);
/* False: not a depthwise convolution. */
bool tn_lower_depthwise(const tn_lower_context *c, uint32_t group, tn_lowered *out);
/* Called by tn_lower_depthwise; false: the operand's columns are not innermost. */
bool tn_lower_depthwise_planes(const tn_lower_context *c, uint32_t group, tn_lowered *out);
/* The same where they are too few for vectors. */
bool tn_lower_depthwise_narrow(const tn_lower_context *c, uint32_t group, tn_lowered *out);
/* False: not a window fold, or left to tn_lower_rows. */
bool tn_lower_windows(const tn_lower_context *c, uint32_t group, tn_lowered *out);
void tn_lower_rows(const tn_lower_context *c, uint32_t group, tn_lowered *out);
/* What the group stores besides elements of its space, at the end of the kernel that one of these made. */
void tn_lower_scalars(const tn_lower_context *c, uint32_t group, tn_lowered *out);
void tn_lower_contraction(const tn_lower_context *c, uint32_t group, tn_lowered *out);
void tn_lower_attention(const tn_lower_context *c, uint32_t group, tn_lowered *out);
void tn_lower_attention_gradient(const tn_lower_context *c, uint32_t group, tn_lowered *out);
void tn_lower_nest(const tn_lower_context *c, uint32_t group, tn_lowered *out);

#endif

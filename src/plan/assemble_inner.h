/* What the parts of the assembler share. See assemble.h. */
#ifndef TENON_PLAN_ASSEMBLE_INNER_H
#define TENON_PLAN_ASSEMBLE_INNER_H

#include "plan/assemble.h"
#include "schedule/candidates.h"

#define NO_BUFFER UINT32_MAX

/* `buffer` may take the memory of `from` if that dies in the step that makes it. */
typedef struct tn__reuse {
    uint32_t buffer, from;
} tn__reuse;

typedef struct tn__assembler {
    tn_program *p;
    tn_arena *arena;
    const tn_target *target;
    tn_costs costs;
    bool fuse;
    const tn_record_source *records;
    tn_map kernels; /* canonical text → kernel */
    tn_map packs;   /* operand buffers, kernel → packed buffer */
    uint32_t position;
    TN_VEC(tn_prog_step) prepare; /* appended to block 1 at the end */
    TN_VEC(tn__reuse) reuses;
    TN_VEC(tn__reuse) taken; /* outputs in place of inputs that their own kernel reads */
    tn_str *groups_text;
} tn__assembler;

/* One of the slices of a buffer that a loop goes through, as its body sees it. */
typedef struct tn__slice {
    uint32_t whole, alias;
} tn__slice;

/* What the body of a loop has done once, before the loop: in the block around it, where positions from
 * `position` on are kept free for it, or in `prepare` for all iterations. */
typedef struct tn__before {
    tn_loop_inputs inputs; /* of the body */
    uint32_t block, position;
    TN_VEC(uint32_t) packed;     /* buffers that the loop reads */
    tn_dim length;               /* iterations */
    TN_VEC(tn__slice) constants; /* that the loop goes through */
    TN_VEC(tn__slice) prepared;  /* what is packed of them, one pack after the other */
    struct tn__before
        *slicer; /* the loop whose slices inputs.slices are: itself, or one around it, whose
                                    slices are invariants here; NULL: there are none */
} tn__before;

/* One graph being assembled: the main one or a body. */
typedef struct tn__scope {
    tn__assembler *a;
    const tn_graph *g;
    tn_grouping *groups;
    uint32_t block;
    uint32_t error_base;
    uint32_t *buffer;   /* per value: where it lives, or NO_BUFFER */
    bool *outside;      /* per value: read outside of `prepare` */
    tn__before *before; /* NULL: no body of a loop */
} tn__scope;

/* Buffers. One that belongs to a value has its element type, count and name. */
uint32_t tn__assemble_buffer(tn__assembler *a, tn_prog_buffer b);
tn_prog_buffer tn__assemble_buffer_of_type(const tn__scope *s, tn_value v, tn_store store);
uint32_t tn__assemble_temp(tn__scope *s, tn_value v);
/* The buffer that holds `v`; constants get theirs on first use. */
uint32_t tn__assemble_buffer_of(tn__scope *s, tn_value v);
/* The buffer is in use at the present position. */
void tn__assemble_touch(tn__assembler *a, uint32_t buffer);
/* The same, and a step of the present position, or one inside it, writes to it. */
void tn__assemble_touch_result(tn__assembler *a, uint32_t buffer);

/* Binds a kernel's buffers; packed[i] stands for TN_BIND_PACK + i. */
tn_prog_step tn__assemble_kernel_step(tn__scope *s, tn_loop *k, const uint32_t *packed);
/* Into the block of the scope, or among the work on constants alone. */
void tn__assemble_push(tn__scope *s, tn_prog_step step, bool prepare);
void tn__assemble_copy(tn__scope *s, uint32_t from, uint32_t to);
/* The packed form of an operand: made once in `prepare` if it is constant, or a slice of a constant that the
 * loop goes through (for all slices); before the loop if that does not change it; these are shared by all
 * kernels that want the same. Else it is made by a step at the present position. */
uint32_t tn__assemble_packed(tn__scope *s, const tn_group *g, const tn_pack *pack);

/* Positions that each of them takes. */
uint32_t tn__assemble_pack_positions(const tn__scope *s);

/* "dot+add+relu" */
const char *tn__assemble_step_name(const tn__scope *s, const tn_group *g);
/* Adds the group to the program's list, which `inspect` prints. */
void tn__assemble_describe(tn__scope *s, const tn_group *g, const tn_schedule *schedule, bool tuned,
                           tn_dim bytes);
tn_dim tn__assemble_flops(const tn__scope *s, const tn_group *g);

/* Assembles `g` into `block`. inputs[i]: the buffer of input i; outputs[i]: the buffer that output
 * i must end up in. `before`: NULL, or of the loop whose body it is. */
tn_status tn__assemble_graph(tn__assembler *a, const tn_graph *g, uint32_t block,
                             const uint32_t *inputs, const uint32_t *outputs, tn__before *before,
                             tn_error *err);
/* Lists what the graph's nodes, assembled into `block`, demand of open sizes. */
void tn__assemble_demands(tn__assembler *a, const tn_graph *g, uint32_t block);
tn_status tn__assemble_control(tn__scope *s, const tn_group *g, tn_error *err);
/* Puts the results where they belong, once all steps are there; direct[i]: steps write output i. */
void tn__assemble_results(tn__scope *s, const bool *direct, const uint32_t *outputs);

#endif

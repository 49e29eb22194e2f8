/* The compiled artefact: verified plain data that the runtime executes.
 *
 * A program has a signature, buffers, kernels (as loop IR) and steps. Steps sit in blocks: block 0
 * is the main one, block 1 is `prepare` (run once, when the program is made: it fills the buffers
 * of kind TN_STORE_PREPARED, after which they are weights); further ones are bodies of control
 * steps. Sizes are tn_dims over the program's own table; they are evaluated once per binding of the
 * symbols, those that steps of kind TN_STEP_SIZE bind in each run: what has such sizes comes after the
 * step, and has room for the greatest. Memory of temporaries is placed at binding time from the live ranges found at compile
 * time.
 *
 * Program files (.tn) are written by tn_program_save and checked on load: every index, size and
 * kernel is validated before anything is believed. */
#ifndef TENON_PROGRAM_PROGRAM_H
#define TENON_PROGRAM_PROGRAM_H

#include "base/dim.h"
#include "base/io.h"
#include "loop/loop.h"

typedef enum tn_store {
    TN_STORE_INPUT,    /* the caller's memory, input `index` */
    TN_STORE_OUTPUT,   /* the caller's or the session's memory, output `index` */
    TN_STORE_WEIGHT,   /* bytes [offset, offset + size) of weight source `index` */
    TN_STORE_PREPARED, /* made by block 1; afterwards bytes at `offset` of the prepared weights */
    TN_STORE_TEMP, /* placed by the memory plan; alive over steps [first, last] of its block tree */
    TN_STORE_ALIAS, /* its address is set by the control step that owns the block */
} tn_store;

typedef struct tn_prog_buffer {
    tn_store store;
    tn_dtype dtype;
    tn_dim elements;
    uint32_t index;
    uint64_t offset;
    uint32_t first,
        last; /* TEMP: positions in the global step numbering, see tn_prog_step.position */
    uint32_t
        in_place_of; /* TEMP: may share the memory of this buffer, which dies at `first`. OUTPUT: is in
                             the memory of this INPUT, which no step reads after the first that writes
                             the output. UINT32_MAX: of none */
    const char *name; /* the graph value's name, for people; may be NULL */
} tn_prog_buffer;

/* Where weights come from. With path NULL the bytes are in the program file (or borrowed from the
 * graph while compiling). */
typedef struct tn_prog_source {
    const char *path;
    uint64_t device, inode, size, mtime_ns; /* identity of the file at compile time */
    const void *data;
} tn_prog_source;

typedef struct tn_prog_port {
    const char *name;
    tn_type type; /* sizes over the program's symbols */
    uint32_t buffer;
} tn_prog_port;

typedef enum tn_step_kind {
    TN_STEP_KERNEL, /* kernel `kernel` on `buffers` (its INPUT, OUTPUT and WORK buffers, in order)
                     */
    TN_STEP_COPY,   /* buffers[1] = buffers[0], whole */
    TN_STEP_IF,     /* buffers[0]: flag; blocks[0] if set, else blocks[1] */
    TN_STEP_WHILE,  /* loop_of describes */
    TN_STEP_SCAN,
    TN_STEP_SIZE, /* symbol scalars[0] gets the i64 in buffers[0], which must be in 0 … scalars[1];
                     buffers[1] = buffers[0]. In block 0 only, once a symbol */
} tn_step_kind;

/* WHILE: state i lives in initial[i] at first, is seen by cond (blocks[0]) and body (blocks[1]) as
 * in[i] (ALIAS), the body writes out[i] (ALIAS); the final state is copied to result[i]. cond
 * writes `flag` (TEMP, one bool). SCAN: the same for carries, with the body in blocks[0];
 * slice_in[j] (ALIAS) is step t of xs[j], slice_out[j] (ALIAS) of ys[j]; `length` steps, last first
 * when `reverse`. Two copies of each state are the executor's: spare[2*i], spare[2*i+1] (TEMP). A state
 * that ys[j] collects has none: both are slice_out[j], which the body writes, and the next step reads it
 * there. */
typedef struct tn_prog_loop {
    uint32_t states, xs_count, ys_count;
    uint32_t *initial, *in, *out, *result, *spare;
    uint32_t *xs, *slice_in, *ys, *slice_out;
    uint32_t flag;
    tn_dim length;
    bool reverse;
} tn_prog_loop;

typedef struct tn_prog_step {
    tn_step_kind kind;
    uint32_t
        position; /* global number: steps of nested blocks lie between their owner and the next */
    uint32_t kernel;
    uint32_t *buffers, buffer_count;
    tn_dim *scalars;
    uint32_t scalar_count;
    uint32_t blocks[2];
    tn_prog_loop *loop;
    const char *name;    /* what it computes, short: "dot+add+relu" */
    tn_dim flops, bytes; /* work of one launch, over the symbols */
} tn_prog_step;

typedef struct tn_prog_block {
    TN_VEC(tn_prog_step) steps;
    bool prepares; /* block 1, or one that a loop of it owns: of no use to runs */
} tn_prog_block;

/* One fused group, for inspect; text lists are comma-separated node names or operations. */
typedef struct tn_prog_group {
    uint32_t step_position;
    const char *anchors, *mainloop, *epilogue, *stores, *recomputes, *schedule;
    tn_dim bytes;
} tn_prog_group;

/* How good the grouping of the main graph is, by the machine's rates: moving data, element-wise work and
 * launches; the arithmetic of products is the same in every grouping. */
typedef struct tn_prog_plan {
    uint64_t ns, least_ns; /* of this grouping; a bound that no grouping is below */
    uint32_t tried;        /* groupings compared */
    bool all_tried;        /* these were all there are to choose from */
    int64_t tuned_piece; /* images or members of a piece, as tuning chose: see tn_batch_in_pieces */
} tn_prog_plan;

/* What sizes must fulfil so that a node reads nothing beside its input: `room` is not negative, or `size` is
 * 0. Only what does not follow from the bounds of the symbols is listed. */
typedef struct tn_prog_demand {
    uint32_t
        block; /* that the node is in: asked before a run of block 0, when another is entered */
    tn_dim size, room;
    const char *node; /* "top_k 'name'" */
} tn_prog_demand;

typedef struct tn_program {
    tn_arena *arena;
    tn_dims *dims;
    const char *name;
    const char *target; /* the target's name the kernels were scheduled for, see codegen/target.h */
    TN_VEC(tn_prog_port) inputs;
    TN_VEC(tn_prog_port) outputs;
    TN_VEC(tn_compound) input_compounds; /* in order, as in an import */
    TN_VEC(tn_compound) output_compounds;
    TN_VEC(tn_prog_source) sources;
    TN_VEC(tn_prog_buffer) buffers;
    TN_VEC(tn_loop *) kernels; /* distinct by canonical text */
    TN_VEC(tn_prog_block) blocks;
    TN_VEC(tn_prog_group) groups;
    tn_prog_plan plan;
    TN_VEC(tn_prog_demand) demands;
    TN_VEC(const char *) errors; /* text of kernel error code i + 1 */
    /* A program with needs has ports and no steps: a model that is compiled once per value of these
     * inputs and sizes, which are not known yet. Its outputs may have rank -1, unknown, and its compounds
     * an unknown count; one of the inputs is a need of its own. */
    TN_VEC(const char *) need_values; /* names of inputs */
    TN_VEC(const char *) need_dims;   /* names of symbols */
    uint64_t prepared_bytes; /* size of the prepared weights; offsets are 64-byte aligned */
} tn_program;

/* Blocks 0 and 1 exist afterwards and are empty. */
void tn_program_init(tn_program *p, tn_arena *arena, tn_dims *dims);
/* Whether the model has to be compiled for values that are not known yet. */
bool tn_program_has_needs(const tn_program *p);
/* The first input whose number of tensors is not bound, or NULL. */
const tn_compound *tn_program_unbound(const tn_program *p);
/* Every index, count, live range, kernel and size in order? */
tn_status tn_program_verify(const tn_program *p, tn_error *err);
void tn_program_print(const tn_program *p, tn_str *out);
/* Marks the symbols (an entry each) that a run binds. */
void tn_program_run_sizes(const tn_program *p, bool *bound);
/* Who launches kernel i, as flags in uses[i]; 0: nobody. */
enum { TN_USED_BY_RUN = 1, TN_USED_BY_PREPARE = 2 };
void tn_program_kernel_uses(const tn_program *p, uint8_t *uses);
/* Whether block 0, what it owns, or a port refers to buffer i: the others are read by `prepare` alone. */
void tn_program_buffer_uses(const tn_program *p, uint8_t *used);
/* Position of the last step of `s` and of the blocks it owns. */
uint32_t tn_program_last_position(const tn_program *p, const tn_prog_step *s);

/* The whole program with its weights (`prepared` may be NULL when prepared_bytes is 0). Weight
 * bytes are copied into the file unless `external` keeps them by reference (the cache does). `identity`
 * (may be NULL) is that of tn_program_file. */
tn_status tn_program_save(const tn_program *p, const void *prepared, bool external,
                          const char *path, char identity[65], tn_error *err);

/* Whether the file begins like a program file. */
bool tn_program_is_file(const char *path);

typedef struct tn_program_file {
    tn_program program;
    const uint8_t *prepared; /* in the map */
    tn_file_map map;
    tn_file_map *source_maps; /* external weight files, by source; closed with the file */
    char identity[65];        /* SHA-256 of steps and kernels, in hex; "" of an own file */
} tn_program_file;
/* Validates and maps. `own`: an entry of the cache, which nobody else can write. Only such a one may have its
 * weights in other files (one that changed since is TN_INVALID), and only its kernels are known to stay
 * inside their buffers; those of another file are compiled if somebody trusts its identity, else
 * interpreted, which checks every access. */
tn_status tn_program_load(tn_program_file *f, tn_arena *arena, const char *path, bool own,
                          tn_error *err);
void tn_program_close(tn_program_file *f);

#endif

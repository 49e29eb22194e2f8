/* The inside of populations. See tenon/population.h.
 *
 * The members' tensors lie in stacks, [N, …]. A function of a member is recorded on tensors that stand in
 * for one member's: abstract ones, which the recording has as inputs. Batching then puts the stacks in their
 * place, and what the function assigned to a stand-in is assigned to its stack. What all members share
 * is bound to its stand-in itself while something is recorded, so nothing behind it gets the axis. */
#ifndef TENON_WIDE_POPULATION_H
#define TENON_WIDE_POPULATION_H

#include <tenon/population.h>

#include "nn/module.h"
#include "nn/optim_inner.h"
#include "program/program.h"

/* A tensor of a member's. All references are the population's, or of who made it. */
typedef struct tn__stack {
    tn_tensor *one;   /* stands in for a member's; abstract outside of recordings */
    tn_tensor *place; /* what `one` is then */
    tn_tensor *all;   /* [N, …]; shared: without the axis */
    bool shared;
} tn__stack;

/* What becomes of the operations of something recorded. */
typedef struct tn__population_report {
    tn_arena arena;
    bool made;
    struct tn__population_node *nodes;
    int count;
} tn__population_report;

struct tn_population {
    tn_context *context;
    tn_population_options options; /* seeds is NULL */
    int count;
    uint64_t *seeds;
    tn_module *module;
    tn__stack *items; /* as the module's entries */
    int item_room;
    tn_module *const *sources; /* while it is made of modules */
    bool recording;
    uint64_t version;             /* changes with the members */
    tn__population_report report; /* of the last tn_population_apply */
    /* What others keep with it: they set both. */
    void *best;
    void (*best_release)(void *best);
};

/* `from` may be NULL. */
tn_status tn__population_options(const tn_population_options *from, tn_population_options *to,
                                 tn_error *err);
/* Whether m has parameters and buffers of the names and types that `like` has; messages call that `whose`. */
tn_status tn__module_check_alike(const tn_module *m, const tn_module *like, const char *whose,
                                 tn_error *err);

/* `type` is one member's. Zeros for all members, and a stand-in that messages call `what`. To be deinited in
 * any case. `variable`: gradients are taken for it. */
tn_status tn__stack_init(tn__stack *s, const tn_population *p, const tn_buffer *type, bool shared,
                         const char *what, tn_error *err);
/* `one`, a tensor with elements, becomes the stand-in; each member begins with what it held. */
tn_status tn__stack_init_from(tn__stack *s, const tn_population *p, tn_tensor *one,
                              const char *what, tn_error *err);
/* Makes `one`, of a member's type, the stand-in in place of that it was made with. */
void tn__stack_stand_in(tn__stack *s, tn_tensor *one);
void tn__stack_deinit(tn__stack *s);
/* Memory of row i of a stack, or of what is shared, to be written: evaluates it, and copies it if
 * something else reads it. */
tn_status tn__stack_row(tn__stack *s, int i, void **data, size_t *bytes, tn_error *err);

/* What is recorded once for all members. */
typedef struct tn__member_call {
    const char *place, *what; /* of messages; "tn_population_apply" */
    void (*fn)(void *context, tn_population *p, tn_tensor *const *x, tn_tensor **y);
    void *context;
    /* Stacks beside the module's, which fn may read and assign as `one`. */
    tn__stack *const *own;
    int own_count;
    /* [N, …], or shared[i]: as they are; shared may be NULL */
    tn_tensor *const *x;
    const bool *shared;
    int x_count, y_count;
    tn__population_report *report; /* is filled in; NULL: nobody asks */
} tn__member_call;
/* y[i]: [N, …], failed or NULL where something is wrong; new references of the innermost scope. Assigns
 * the stacks of what fn assigned. False: it failed, nothing was assigned, and the context has the error. */
bool tn__population_record(tn_population *p, const tn__member_call *call, tn_tensor **y);

/* ---- population_report.c -------------------------------------------------------------------- */

/* Of the first `nodes` operations those that `behind` marks; carries[v]: members differ in value v. Unwinds when memory runs out. */
void tn__population_report_make(tn__population_report *r, const tn_graph *g, uint32_t nodes,
                                const bool *behind, const bool *carries);
void tn__population_report_free(tn__population_report *r);
/* `program`: where loops over members are looked for; NULL: it is not known. */
tn_status tn__population_report_at(const tn__population_report *r, int i, int members,
                                   const tn_program *program, tn_wide_node_info *out);

#endif

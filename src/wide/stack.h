/* The members' weights and settings that differ, as stacks [N, …].
 *
 * Large stacks are blocks of the artifact (session/blocks.h): they are filled from the members' files, by all
 * threads, when `prepare` comes to them. Weights of archives (.npz) do not lie in maps: where a member
 * has such, all stacks are filled at once, member by member. */
#ifndef TENON_WIDE_STACK_H
#define TENON_WIDE_STACK_H

#include "session/artifact.h"
#include "wide/compare.h"

typedef struct tn__wide_stack {
    uint32_t weight;  /* of the structure's weights; or */
    uint32_t setting; /* of its settings; the other one is UINT32_MAX */
    size_t bytes;     /* of one member */
    char *data;       /* NULL: members do not differ in it */
} tn__wide_stack;

/* Owned by the artifact, once it has blocks to fill. */
typedef struct tn__wide_stacker {
    tn_arena arena;
    tn__wide_files own,
        *files;             /* `files` may be somebody's who keeps them until `prepare` is done */
    tn__wide_stack *stacks; /* weights, then settings */
    uint32_t count;
    tn__wide_values *values; /* of members that were opened */
    int opened;
    size_t unread; /* bytes that were read since pages of files were let go */
} tn__wide_stacker;

/* NULL: out of memory. With files of its own where `files` is NULL. */
tn__wide_stacker *tn__wide_stacker_new(tn__wide_files *files, const tn_import_options *options);
void tn__wide_stacker_free(tn__wide_stacker *s);
/* Makes the stacks of what the reader's members differ in, and opens all members; for a sketch it makes
 * their room only. The artifact takes the stacker if it has blocks to fill. Unwinds when memory runs out. */
tn_status tn__wide_stacker_start(tn__wide_stacker *s, tn__wide_reader *r,
                                 const tn__wide_shares *shares, bool sketch, tn_artifact *a,
                                 tn_error *err);

#endif

/* The graph of a group: one member's graph with a new first axis, weights stacked along it. */
#ifndef TENON_WIDE_MERGE_H
#define TENON_WIDE_MERGE_H

#include "session/session.h"
#include "wide/source.h"

/* What all graphs of a group depend on; owned by the group's model. */
typedef struct tn__wide_recipe {
    tn_wide_member *members; /* with texts of its own */
    int count;
    tn_wide_options options; /* layout, shared inputs with texts of its own, random numbers */
    bool alone;              /* one member as it is: no axis is added */
    uint64_t stream;         /* then: of its random numbers (tn_batch_stream) */
    tn__wide_files *files;   /* imported already, where nothing is bound; NULL: none are */
    /* What members differ in, where that is known and only a plan is wanted: their weights are not read and
     * large stacks have no elements. NULL: all of it is to be made. */
    const struct tn__wide_shares *sketch;
} tn__wide_recipe;

/* Copies texts. NULL: out of memory. `members` are the numbers of the group's. */
tn__wide_recipe *tn__wide_recipe_new(const tn_wide_member *members, const int *numbers, int count,
                                     const tn_wide_options *options);
void tn__wide_recipe_free(tn__wide_recipe *r);
/* The maker of a group's model; takes the recipe. */
tn_model_maker tn__wide_maker(tn__wide_recipe *r);

void tn__wide_recipe_identify(const void *recipe, tn_str *out);

/* Copies of a member's texts; false when memory runs out. */
bool tn__wide_member_copy(const tn_wide_member *from, tn_wide_member *to);
void tn__wide_member_free(tn_wide_member *m);

/* The shape of a port with the members. */
tn_status tn__wide_widen(tn_wide_layout layout, int count, tn_dims *dims,
                         const tn_import_port *port, tn_shape *out, tn_error *err);
/* Whether all members read this input as one. Inputs whose values decide shapes are so too. */
bool tn__wide_is_shared(const tn_wide_options *o, const tn_import *i, const char *input);

#endif

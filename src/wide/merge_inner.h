/* The state of making a group's graph, for merge.c and merge_graph.c. */
#ifndef TENON_WIDE_MERGE_INNER_H
#define TENON_WIDE_MERGE_INNER_H

#include "wide/compare.h"
#include "wide/merge.h"
#include "wide/stack.h"

typedef struct tn__merging {
    tn__wide_recipe *r;
    const tn_import_options *options;
    tn_artifact *a;
    tn__wide_stacker *stacker;
    tn__wide_reader reader;
    tn__structure structure; /* of the artifact's import */
    tn__wide_shares shares;
    void **
        stacked; /* per weight that is read, then per setting: of all members; of the first one where
                       they are equal, if its file does not stay open; NULL: as in the import */
} tn__merging;

/* Imports the first member and finds what the others differ in; without a graph only ports are known. */
tn_status tn__merge_compare(tn__merging *m, tn_error *err);
/* One member's graph with weights and settings that differ as inputs, and which of its values members
 * differ in. */
tn_status tn__merge_carries(tn__merging *m, const tn_graph **one, const bool **carries,
                            tn_error *err);
/* Gives the ports of a model that needs values first the members. */
tn_status tn__merge_ports(tn__merging *m, tn_error *err);
/* The import's graph and ports become those of all members; weights become constants. */
tn_status tn__merge_graph(tn__merging *m, tn_error *err);

#endif

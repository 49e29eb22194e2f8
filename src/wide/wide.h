/* The inside of a wide model, for wide.c, groups.c, run.c and members.c. */
#ifndef TENON_WIDE_WIDE_H
#define TENON_WIDE_WIDE_H

#include "wide/merge.h"

typedef struct tn__wide_entry {
    tn_wide_member member; /* texts of its own; the model's path is absolute */
    uint64_t id;           /* of this place of a member: tells whether a group is still the same */
} tn__wide_entry;

/* Memory that grows. */
typedef struct tn__wide_room {
    void *data;
    size_t size;
} tn__wide_room;

/* What tn_wide_node tells; made when it is asked for. */
typedef struct tn__wide_report {
    bool made;
    tn_arena arena;
    tn_wide_node_info *nodes;
    int node_count;
    int64_t own, shared; /* elements of weights, of one member */
} tn__wide_report;

typedef struct tn__wide_group {
    int *members; /* numbers, in ascending order */
    uint64_t *ids;
    int count;
    char *difference; /* to group 0; NULL for that */
    tn_model *model;
    tn_session *session;
    tn__wide_recipe *recipe; /* the model's */
    tn__wide_room *gathered; /* per input, where several groups run */
    tn__wide_report report;
    bool counted;
    tn_hash128 sizes; /* of the inputs that memory was last counted for */
} tn__wide_group;

/* Ports over all members. */
typedef struct tn__wide_ports {
    tn_arena arena;
    tn_port_info *in, *out;
    bool *shared; /* per input */
    int in_count, out_count;
    tn__wide_room *results; /* per output, where several groups run and the caller gave no memory */
} tn__wide_ports;

typedef struct tn__wide_groups {
    tn__wide_group *at;
    int count;
    tn__wide_ports ports;
} tn__wide_groups;

struct tn_wide {
    tn_arena arena; /* texts of options */
    tn_wide_options options;
    tn__wide_entry *entries;
    int count;
    uint64_t next_id;
    tn__wide_groups groups;
};

/* A member's model as an ordinary one that draws its random numbers, on the threads of w: the oracle of tests and what wide models are
 * measured against. Its programs are not kept in the cache. */
tn_status tn__wide_alone(const tn_wide *w, int member, tn_model **out, tn_error *err);

/* As tn_wide_extract, of a member of this number that no wide model has yet. */
tn_status tn__wide_extract_one(const tn_wide_member *member, int number, const char *path,
                               tn_error *err);

/* Groups of these members. Those that w has already, of the same members, are taken from there, in the
 * end, when nothing can fail any more. */
tn_status tn__wide_groups_make(tn_wide *w, const tn__wide_entry *entries, int count,
                               tn__wide_groups *out, tn_error *err);
void tn__wide_groups_free(tn__wide_groups *g);
tn_status tn__wide_entry_make(tn_wide *w, int number, const tn_wide_member *m, tn__wide_entry *out,
                              tn_error *err);
#endif

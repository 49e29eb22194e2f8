/* Reading the weights of members one after the other, and finding which ones they differ in. */
#ifndef TENON_WIDE_COMPARE_H
#define TENON_WIDE_COMPARE_H

#include "wide/source.h"

typedef struct tn__wide_reader {
    tn__wide_files *files;
    const tn_wide_member *members;
    int count;
    const tn__structure *structure; /* that all members must have */
    const tn__wide_file *checked;   /* the last one */
    tn__wide_values first, other;   /* what is open */
} tn__wide_reader;

/* The weights of a member into `out`, which is `first` or `other`. */
tn_status tn__wide_read(tn__wide_reader *r, int member, tn__wide_values *out, tn_error *err);
/* Pages of files that were read no longer count as memory of the process. */
void tn__wide_read_done(tn__wide_values *v);
/* A setting of the structure in this file. */
void tn__wide_setting(const tn__wide_file *file, uint32_t k, tn_array *out);

/* Per weight that is read and per setting, in the order of the structure: some member differs in it. */
typedef struct tn__wide_shares {
    const tn__structure *structure;
    bool *weight, *setting;
    int64_t own, shared;              /* elements of weights, of one member */
    uint64_t own_bytes, shared_bytes; /* the same */
} tn__wide_shares;
/* Reads until all differ. `first` stays open. Unwinds when memory runs out. */
tn_status tn__wide_compare(tn__wide_reader *r, tn_arena *arena, tn__wide_shares *out,
                           tn_error *err);

#endif

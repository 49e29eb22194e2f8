/* What tuning found, in the cache: an entry for each kernel and each graph whose batch it cuts, and an id
 * of all there is for a target. */
#ifndef TENON_SESSION_TUNINGS_H
#define TENON_SESSION_TUNINGS_H

#include "machine/detect.h"
#include "plan/tune.h"
#include "session/kernels.h"

enum { TN_TUNING_ID = 65, TN_TUNING_GRAPH = 80 };

typedef struct tn_tunings {
    const tn_compiler *compiler;
    char cpu[TN_HOST_TEXT];
} tn_tunings;

/* The id changes with every tn_tunings_put; part of what a compiled program depends on. False, with
 * `id` unchanged, when nothing was ever tuned. */
bool tn_tunings_id(const tn_compiler *c, char id[TN_TUNING_ID]);
/* False when nothing was ever tuned: there is no use in asking. */
bool tn_tunings_open(tn_tunings *t, const tn_compiler *c);
/* Damaged entries are as none. `t` must outlive what it gives. */
tn_record_source tn_tunings_source(tn_tunings *t);

/* How the batch of such a graph is cut best (see tn_batch_in_pieces); TN_PIECE_BY_COST where nothing is
 * known. In the graph's arena; unwinds when memory runs out. */
int64_t tn_tunings_piece(const tn_tunings *t, const tn_graph *g);
/* Identifies graphs that are equal but for the values of large constants. */
void tn_tunings_graph(const tn_graph *g, char key[TN_TUNING_GRAPH]);

typedef struct tn_tuned_piece {
    int64_t piece;        /* see tn_batch_in_pieces */
    double before, after; /* seconds of a run: as chosen by cost, and with this */
} tn_tuned_piece;
/* False when it could not be written. */
bool tn_tunings_put_piece(const tn_compiler *c, const char *graph, const tn_tuned_piece *p);

/* Keeps the best record of each site that won; their number that could be written. */
int tn_tunings_put(const tn_compiler *c, const tn_tuner *tuner);

#endif

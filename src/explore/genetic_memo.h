/* Answers of separable cost models, kept by one thread: a search asks the same few hundred questions over and
 * over, and some models think long. */
#ifndef TENON_EXPLORE_GENETIC_MEMO_H
#define TENON_EXPLORE_GENETIC_MEMO_H

#include <tenon/explore.h>

#include "machine/cost_model.h"

typedef struct genetic_memo genetic_memo;

/* The models stay the caller's. NULL: out of memory. */
genetic_memo *tn__genetic_memo_new(const tn_cost_model *processor,
                                   const tn_cost_model *near_memory);
void tn__genetic_memo_release(genetic_memo *m); /* NULL: nothing */
/* `p`, of machine number `machine`, asks the memo from now on; until this is called for another machine. */
void tn__genetic_memo_use(genetic_memo *m, int64_t machine, tn_problem *p);

#endif

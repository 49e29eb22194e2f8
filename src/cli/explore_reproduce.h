/* The evaluation of the H²-LLM paper: what is kept of it, and its figures. */
#ifndef TENON_CLI_EXPLORE_REPRODUCE_H
#define TENON_CLI_EXPLORE_REPRODUCE_H

#include "cli/explore.h"

enum {
    REPRODUCE_CP,
    REPRODUCE_ID_NMP,
    REPRODUCE_ID_NMP_PLUS,
    REPRODUCE_ATTN,
    REPRODUCE_SPLIT,
    REPRODUCE_FC,
    REPRODUCE_CC,
    REPRODUCE_H2,
    REPRODUCE_UNION,
    REPRODUCE_FULL,
    REPRODUCE_DESIGNS
};
/* Point (model · 4 + dataset) · 3 + batch. */
enum { REPRODUCE_POINTS = 36, REPRODUCE_MEANS = 24 };

typedef enum reproduce_part {
    REPRODUCE_ALL,
    REPRODUCE_DECODE_HEAVY,
    REPRODUCE_PREFILL_HEAVY,
    REPRODUCE_SMALL_BATCH,
    REPRODUCE_LARGE_BATCH
} reproduce_part;

typedef struct reproduce_mean {
    const char *name;
    int design, base;
    reproduce_part part;
    bool prefill;
    double exact, paper; /* 0: none */
} reproduce_mean;

typedef struct reproduce_result {
    tn_evaluation evaluation;
    double lower_bound;
    bool optimal;
    tn_machine machine;
} reproduce_result;

typedef struct reproduction {
    reproduce_result at[REPRODUCE_DESIGNS][REPRODUCE_POINTS];
    double means[REPRODUCE_MEANS];
} reproduction;

const char *reproduce_design_name(int design);
/* "OPT HE 16", in the arena. */
const char *reproduce_point_name(cli *c, int point);
/* Geometric mean of a design's speed-up over another, of the points of `part`. */
double reproduce_speedup(const reproduction *r, int design, int base, reproduce_part part,
                         bool prefill);

/* The figures, for page/explore.html. */
json_t *reproduce_page_json(cli *c, const reproduction *r);

#endif

/* Contractions: into which parts of k the sums are cut. See record.h and codegen/contraction_pieces.c. */
#include "schedule/record.h"

enum {
    SIDE = 64,             /* of a part of the result in which operands are used often enough */
    MOST_PARTS = 4,        /* of a result that is small */
    TASKS = 16,            /* wanted then, */
    LEAST_MADS = 64 << 10, /* of each at least so many multiply-adds */
    LEAST_PIECE = 512,     /* and elements of k: the sums are written and read once */
    SWEEP_SUMS = 4096,     /* of a task: half of that cache */
    SWEEP_PIECE = 128,
    L1_ELEMENTS = 1024, /* of k: rows of a tile, a quarter of a cache of 32 KB each */
};

static int64_t parts_of(int64_t size) {
    return (TN_MIN(size, INT64_MAX / 2) + SIDE - 1) / SIDE;
}

/* From sizes alone, so that fusion does not change how sums are cut. */
int64_t tn__k_pieces(int64_t batch, int64_t rows, int64_t columns, int64_t k) {
    if (batch < 1 || rows < 1 || columns < 1 || batch > MOST_PARTS) return 1;
    int64_t down = parts_of(rows), across = parts_of(columns);
    if (down > MOST_PARTS || across > MOST_PARTS || batch * down * across > MOST_PARTS) return 1;
    double mads = (double)(batch * rows * columns) * (double)k;
    int64_t wanted = (int64_t)TN_MIN((double)TASKS, mads / LEAST_MADS) / batch;
    return TN_MAX(1, TN_MIN(wanted, k / LEAST_PIECE));
}

int64_t tn__k_block(int64_t rows, int64_t k, const tn_schedule *s) {
    int64_t piece = k / TN_MAX(1, s->k_pieces);
    if (rows < 4 * (int64_t)s->mr || piece <= L1_ELEMENTS + L1_ELEMENTS / 2) return 0;
    int64_t blocks = (piece + L1_ELEMENTS - 1) / L1_ELEMENTS;
    return ((piece + blocks - 1) / blocks + 15) / 16 * 16;
}

/* Rows of B as long as may be, which memory streams best, and pieces of k in place of columns. */
void tn__sweep_pieces(int64_t batch, int64_t rows, int64_t panels, int64_t k, tn_schedule *s) {
    int64_t most = TN_MAX(1, SWEEP_SUMS / TN_MAX(1, rows * (int64_t)s->nr));
    int64_t ranges = (panels + most - 1) / most;
    if (batch < 1 || batch > TASKS || ranges < 1 || ranges > TASKS) return;
    int64_t pieces = TN_MIN(TASKS / (batch * ranges), k / SWEEP_PIECE);
    if (pieces < 2) return;
    s->n_panels = (panels + ranges - 1) / ranges;
    s->k_pieces = pieces;
}

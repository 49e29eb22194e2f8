/* Contractions: into which parts of k the sums are cut. See record.h and codegen/contraction_pieces.c. */
#include "schedule/record.h"

enum {
    SIDE = 64,             /* of a part of the result in which operands are used often enough */
    MOST_PARTS = 16,       /* of a result that is small … */
    FEW_PARTS = 4,         /* … for a k that is not very long */
    TASKS = 16,            /* wanted then, */
    LEAST_MADS = 64 << 10, /* of each at least so many multiply-adds */
    LEAST_PIECE = 512,     /* and elements of k: the sums are written and read once */
    VERY_LONG =
        16384, /* so that operands, which each part would read anew, are not in the caches */
    LONG_COLUMNS = 4096, /* a k for which columns of A are not near the core */
    COLUMN_ROWS = 384,   /* of a task then */
    COLUMN_BLOCK =
        384, /* lines of columns that a set of the caches keeps, though they lie a page apart */
    MOST_SLOTS = 8 << 20,
    SWEEP_SUMS = 4096, /* of a task: half of that cache */
    SWEEP_PIECE = 128,
    /* Elements of B that all rows of a task pass: from where on by blocks, and of these. A copy shares the
     * cache with what it is made of and with what the next one will be, so that its blocks are shorter. */
    LONG_PANEL = 96 << 10,
    LONG_COPY = 64 << 10,
    PANEL_BLOCK = 48 << 10,
    COPY_BLOCK = 32 << 10,
};

static int64_t parts_of(int64_t size) {
    return (TN_MIN(size, INT64_MAX / 2) + SIDE - 1) / SIDE;
}

/* Rows of A that are columns in memory, a line each: a task that passes them once for all panels of B, a
 * block of k at a time, reads neither often from afar. */
static int64_t column_pieces(int64_t batch, int64_t rows, int64_t columns, int64_t k) {
    double results = (double)batch * (double)rows * (double)columns;
    int64_t most = results > 0 ? (int64_t)(MOST_SLOTS / results) : 0;
    if (k < LONG_COLUMNS || most < 2) return 1;
    int64_t tasks = batch * ((rows + COLUMN_ROWS - 1) / COLUMN_ROWS);
    return TN_MAX(2, TN_MIN(TN_MIN(TASKS / tasks, k / (LONG_COLUMNS / 2)), most));
}

/* From sizes and strides alone, so that fusion does not change how sums are cut. */
int64_t tn__k_pieces(int64_t batch, int64_t rows, int64_t columns, int64_t k, bool turned) {
    if (batch < 1 || rows < 1 || columns < 1) return 1;
    int64_t down = parts_of(rows), across = parts_of(columns);
    bool small = batch <= FEW_PARTS && down <= MOST_PARTS && across <= MOST_PARTS &&
                 batch * down * across <= (k < VERY_LONG ? FEW_PARTS : MOST_PARTS);
    if (!small) return turned ? column_pieces(batch, rows, columns, k) : 1;
    double mads = (double)(batch * rows * columns) * (double)k;
    int64_t wanted = (int64_t)TN_MIN((double)TASKS, mads / LEAST_MADS) / batch;
    return TN_MAX(1, TN_MIN(wanted, k / LEAST_PIECE));
}

int64_t tn__piece_rows(int64_t rows, int64_t columns) {
    bool small = parts_of(rows) <= MOST_PARTS && parts_of(rows) * parts_of(columns) <= MOST_PARTS;
    return small ? rows : TN_MIN(rows, (int64_t)COLUMN_ROWS);
}

int64_t tn__k_block(int64_t rows, int64_t k, bool turned, const tn_schedule *s) {
    bool copy = s->rhs == TN_RHS_PACKED;
    int64_t piece = k / TN_MAX(1, s->k_pieces);
    int64_t least = (copy ? LONG_COPY : LONG_PANEL) / s->nr;
    int64_t most = (copy ? COPY_BLOCK : PANEL_BLOCK) / s->nr;
    if (s->k_pieces > 1)
        least = most + most / 2; /* whose sums are in slots anyway */
    else if (turned)
        least = TN_MIN(least, 2 * COLUMN_BLOCK), most = TN_MIN(most, COLUMN_BLOCK);
    if (rows < 4 * (int64_t)s->mr || piece <= least) return 0;
    int64_t blocks = (piece + most - 1) / most;
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

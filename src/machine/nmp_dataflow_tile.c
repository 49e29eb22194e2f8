/* The tiles of one element. Which tiles are tried does not depend on the machine, only which are legal: larger
 * buffers, faster links and more FPUs never make the best one worse. */
#include <math.h>

#include "base/base.h"
#include "machine/nmp_dataflow.h"

enum { ACCUMULATOR_BYTES = 4 };

static double divide_up(double a, double b) {
    return ceil(a / b);
}

typedef struct tiling_search {
    const tn_machine *machine;
    const tn_nmp_slice *slice;
    double rows, columns, depth; /* of an element's part: m, n, k */
    double vector;               /* of k that an FPU takes in a cycle */
    double rate;                 /* of the link, B/s */
    double least;                /* s that no tiling can beat */
    tn_nmp_tiling *best;
} tiling_search;

/* Bytes a second from a bank while its rows are read one after the other. */
static double link_rate(const tn_near_memory *u) {
    if (u->row_bytes <= 0) return u->bandwidth;
    return u->row_bytes / (u->row_bytes / u->bandwidth + u->row_time);
}

/* Cycles for the output tiles of all sizes: an FPU sums up a vector of k for one output in a cycle. */
static double mac_cycles(const tiling_search *t, double m, double n) {
    double fpus = t->machine->near_memory.fpus;
    double m_full = floor(t->rows / m), m_rest = t->rows - m_full * m;
    double n_full = floor(t->columns / n), n_rest = t->columns - n_full * n;
    double outputs = m_full * n_full * divide_up(m * n, fpus) +
                     n_full * divide_up(m_rest * n, fpus) + m_full * divide_up(m * n_rest, fpus) +
                     divide_up(m_rest * n_rest, fpus);
    return divide_up(t->depth, t->vector) * outputs;
}

/* Whether the buffers hold what `kept` asks for; *ahead: and the next weights, and the next inputs. */
static bool fits(const tiling_search *t, double m, double n, tn_nmp_kept kept, bool ahead[2]) {
    const tn_near_memory *u = &t->machine->near_memory;
    double s = t->slice->element_bytes;
    double weights = s * n * (kept == TN_NMP_WEIGHTS ? t->depth : t->vector);
    double inputs = s * m * (kept == TN_NMP_INPUTS ? t->depth : t->vector);
    ahead[0] = 2 * weights <= u->weight_buffer;
    ahead[1] = 2 * inputs <= u->input_buffer;
    return weights <= u->weight_buffer && inputs <= u->input_buffer &&
           ACCUMULATOR_BYTES * m * n <= u->output_buffer;
}

static void consider(tiling_search *t, double m, double n, tn_nmp_kept kept) {
    const tn_near_memory *u = &t->machine->near_memory;
    double s = t->slice->element_bytes, row_tiles = divide_up(t->rows, m);
    bool ahead[2], whole = s * t->rows * t->depth <= u->input_buffer;
    if (!fits(t, m, n, kept, ahead)) return;
    tn_nmp_tiling x = {.m = (int64_t)m, .n = (int64_t)n, .kept = kept, .overlapped = ahead[0]};
    x.weight_passes = kept == TN_NMP_WEIGHTS ? 1 : row_tiles;
    x.input_passes = whole ? 0 : kept == TN_NMP_INPUTS ? 1 : divide_up(t->columns, n);
    double results = s * t->rows * t->columns / t->rate;
    double weights = s * t->depth * t->columns * x.weight_passes / t->rate;
    double inputs = s * t->rows * t->depth * x.input_passes / t->rate;
    double link = weights + results + (ahead[1] ? inputs : 0);
    if (link > t->best->latency) return;
    double mac = mac_cycles(t, m, n) / u->clock;
    x.latency = (x.overlapped ? TN_MAX(mac, link) + s * t->vector / t->rate : mac + link) +
                (ahead[1] ? 0 : inputs);
    double all = (double)t->slice->n, moved = s * t->depth * all;
    x.link_bytes = moved * x.weight_passes + s * t->rows * (all + t->depth * x.input_passes);
    x.input_reads = s * t->rows * t->depth * divide_up(t->columns, TN_MIN(n, u->fpus));
    x.weight_accesses = moved * (x.weight_passes + row_tiles);
    if (x.latency < t->best->latency ||
        (x.latency == t->best->latency && x.link_bytes < t->best->link_bytes))
        *t->best = x;
}

/* What overlapped multiplying and loading everything once take. */
static double least_latency(const tiling_search *t) {
    const tn_near_memory *u = &t->machine->near_memory;
    double s = t->slice->element_bytes;
    double mac = mac_cycles(t, t->rows, t->columns) / u->clock;
    double link = s * t->depth * t->columns / t->rate + s * t->rows * t->columns / t->rate;
    return TN_MAX(mac, link) + s * t->vector / t->rate;
}

static bool is_perfect(const tiling_search *t) {
    const tn_nmp_tiling *x = t->best;
    return x->latency <= t->least && x->weight_passes == 1 && x->input_passes == 0;
}

enum { MOST_SIZES = 3 * 64 };

/* The sizes of tiles that are tried: `whole` in 1, 2, 3, 4, 6, 8, 12 … parts, and powers of two; descending. */
static int sizes_of(double whole, double out[MOST_SIZES]) {
    int count = 0;
    double power = exp2(ceil(log2(whole))), last = INFINITY;
    for (double parts = 1; last > 1; parts *= 2, power /= 2) {
        /* power / 2 < whole / parts ≤ power, so the three come in this order */
        double next[] = {divide_up(whole, parts), divide_up(2 * whole, 3 * parts), power / 2};
        if (next[1] < next[2]) next[1] = next[2], next[2] = divide_up(2 * whole, 3 * parts);
        for (int i = 0; i < 3; i++)
            if (next[i] < last && next[i] >= 1) out[count++] = last = next[i];
    }
    return count;
}

bool tn__nmp_tile(const tn_machine *m, const tn_nmp_slice *s, double within, tn_nmp_tiling *out) {
    const tn_near_memory *u = &m->near_memory;
    double rows[MOST_SIZES], columns[MOST_SIZES];
    *out = (tn_nmp_tiling){.latency = within};
    tiling_search t = {.machine = m,
                       .slice = s,
                       .rows = (double)s->m,
                       .columns = divide_up((double)s->n, m->memory.banks),
                       .depth = (double)s->k,
                       .vector = (double)TN_MIN(s->k, u->macs),
                       .rate = link_rate(u),
                       .best = out};
    t.least = least_latency(&t);
    if (t.least >= within) return false;
    int row_count = sizes_of(t.rows, rows), column_count = sizes_of(t.columns, columns);
    for (int i = 0; i < row_count; i++)
        for (int j = 0; j < column_count && !is_perfect(&t); j++) {
            consider(&t, rows[i], columns[j], TN_NMP_STREAMED);
            if (i > 0) consider(&t, rows[i], columns[j], TN_NMP_WEIGHTS);
            if (j > 0) consider(&t, rows[i], columns[j], TN_NMP_INPUTS);
        }
    return out->latency < within;
}

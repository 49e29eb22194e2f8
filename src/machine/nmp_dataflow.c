/* The cost model nmp_dataflow. See nmp_dataflow.h for units near memory; the processor is a roofline whose
 * traffic depends on its memory. Energies are those of what was moved and multiplied; parts of an idle unit and
 * leakage are not modelled. */
#include "machine/nmp_dataflow.h"

#include <math.h>

#include "machine/cost_model.h"

enum { BITS = 8, ARRAY = 128 /* rows and columns of a systolic array */, ACCUMULATOR_BYTES = 4 };

static double divide_up(double a, double b) {
    return ceil(a / b);
}

/* ---- channels ------------------------------------------------------------------------------- */

/* Partial sums of a group's channels are added by the vector units, which the groups share, as they come. */
static double gather_time(const tn_machine *m, const tn_nmp_plan *p) {
    const tn_processor *c = &m->processor;
    double rows = (double)p->slice.m, columns = (double)p->slice.n;
    double moved = p->slice.element_bytes * rows * columns / m->memory.bandwidth;
    double sums = rows * columns * p->n_parts * (p->k_parts - 1);
    if (c->vector_rate <= 0) return moved;
    double share = TN_MIN(1.0, (double)TN_MAX(1, c->vector_units) / p->groups);
    return TN_MAX(moved, sums / (c->vector_rate * share));
}

static double round_time(const tn_nmp_plan *p) {
    return p->scatter + p->tiling.latency + p->gather;
}

/* The parts along k and n that cost least, below `within` s a round: TK · TN of the paper, with what elements
 * then need. */
static bool split_product(const tn_machine *m, const tn_product *p, int channels, double within,
                          tn_nmp_plan *io) {
    tn_nmp_plan x = *io;
    bool found = false;
    for (int k_parts = 1; k_parts <= channels && k_parts <= p->k; k_parts++) {
        x.k_parts = k_parts;
        x.n_parts = (int)TN_MIN((int64_t)(channels / k_parts), p->n);
        x.slice = (tn_nmp_slice){p->m, (p->n + x.n_parts - 1) / x.n_parts,
                                 (p->k + x.k_parts - 1) / x.k_parts, p->element_bytes};
        x.scatter = p->element_bytes * (double)p->m * (double)x.slice.k / m->memory.bandwidth;
        x.gather = gather_time(m, &x);
        if (!tn__nmp_tile(m, &x.slice, within - x.scatter - x.gather, &x.tiling)) continue;
        if (round_time(&x) >= within) continue;
        within = round_time(&x);
        *io = x;
        found = true;
    }
    return found;
}

bool tn__nmp_plan(const tn_machine *m, const tn_product *p, int channels, tn_nmp_plan *out) {
    *out = (tn_nmp_plan){0};
    double best = INFINITY;
    int last = 0;
    for (int groups = (int)TN_MIN((int64_t)channels, p->batch); groups >= 1; groups--) {
        int width = channels / groups;
        if (width == last) continue; /* more groups of that width were tried */
        tn_nmp_plan x = {.groups = groups, .rounds = divide_up((double)p->batch, groups)};
        last = width;
        if (!split_product(m, p, width, best / x.rounds, &x)) continue;
        best = x.rounds * round_time(&x);
        *out = x;
    }
    return out->groups > 0;
}

/* ---- units near memory ---------------------------------------------------------------------- */

static void add_up(tn_cost *c) {
    c->energy = c->mac_energy + c->sram_energy + c->dram_energy + c->link_energy;
}

static void near_memory_energy(const tn_machine *m, const tn_product *p, const tn_nmp_plan *x,
                               tn_cost *out) {
    const tn_near_memory *u = &m->near_memory;
    const tn_processor *c = &m->processor;
    double slices = (double)p->batch * x->k_parts * x->n_parts, s = p->element_bytes;
    double rows = (double)x->slice.m, columns = (double)x->slice.n, depth = (double)x->slice.k;
    double inputs = s * rows * depth, results = s * rows * columns, outputs = rows * columns;
    double channel = slices * (inputs + results), link = slices * x->tiling.link_bytes;
    double macs = slices * outputs * depth;
    double sums = slices * outputs * (x->k_parts - 1) / x->k_parts;
    double vectors = slices * outputs * divide_up(depth, u->macs);
    double buffers = slices * (inputs * TN_MAX(1.0, x->tiling.input_passes) +
                               x->tiling.input_reads + x->tiling.weight_accesses) +
                     2 * ACCUMULATOR_BYTES * vectors;
    out->mac_energy = macs * u->mac_energy + sums * c->mac_energy;
    out->sram_energy = BITS * (buffers * u->buffer_bit_energy + channel * c->sram_bit_energy);
    out->dram_energy = BITS * (channel * m->memory.bit_energy + link * m->memory.array_bit_energy);
    out->link_energy = BITS * link * u->bank_bit_energy;
    out->bytes = channel + link;
    add_up(out);
}

static tn_status near_memory_cost(const tn_cost_query *q, tn_cost *out, tn_error *err) {
    const tn_near_memory *u = &q->machine->near_memory;
    tn_nmp_plan x;
    if (!tn__nmp_plan(q->machine, &q->product, q->nmp_channels, &x))
        return tn_error_set(
            err, TN_INVALID,
            "machine '%s': no tile fits into the buffers of an element (input %g B, "
            "weights %g B, outputs %g B); one vector of %d and one output of %d B do "
            "at least",
            q->machine->name, u->input_buffer, u->weight_buffer, u->output_buffer, u->macs,
            ACCUMULATOR_BYTES);
    out->compute = x.rounds * x.tiling.latency;
    out->transfer = x.rounds * (x.scatter + x.gather);
    out->latency = out->compute + out->transfer;
    near_memory_energy(q->machine, &q->product, &x, out);
    return TN_OK;
}

/* ---- the processor -------------------------------------------------------------------------- */

/* Bytes of one product through the channels: one operand in blocks that half of the memory on the chip holds,
 * the other one once for each block, the results once. Without memory: as if that were large. */
static double processor_traffic(const tn_processor *c, const tn_product *p) {
    double s = p->element_bytes, left = s * (double)p->m * (double)p->k,
           right = s * (double)p->k * (double)p->n, results = s * (double)p->m * (double)p->n;
    double half = c->sram / 2;
    if (half <= 0) return left + right + results;
    double keep_left = left + right * divide_up(left, half);
    double keep_right = right + left * divide_up(right, half);
    return TN_MIN(keep_left, keep_right) + results;
}

static void processor_cost(const tn_cost_query *q, tn_cost *out) {
    const tn_processor *c = &q->machine->processor;
    const tn_memory *mem = &q->machine->memory;
    const tn_product *p = &q->product;
    double batch = (double)p->batch, m = (double)p->m, n = (double)p->n, k = (double)p->k;
    double macs = batch * m * n * k;
    double bandwidth = mem->bandwidth * (q->nmp_channels + q->normal_channels);
    out->bytes = batch * processor_traffic(c, p);
    out->latency = out->compute =
        TN_MAX(macs / (c->macs * c->utilization), out->bytes / (bandwidth * c->utilization));
    /* Both operands enter an array once for each of its columns or rows; a sum is updated once an array's
     * depth. */
    double on_chip =
        out->bytes +
        batch * p->element_bytes * m * n * k * (1 / TN_MIN(n, ARRAY) + 1 / TN_MIN(m, ARRAY)) +
        batch * 2 * ACCUMULATOR_BYTES * m * n * divide_up(k, ARRAY);
    out->mac_energy = macs * c->mac_energy;
    out->sram_energy = BITS * on_chip * c->sram_bit_energy;
    out->dram_energy = BITS * out->bytes * mem->bit_energy;
    add_up(out);
}

/* ---- the model ------------------------------------------------------------------------------ */

static tn_status dataflow_cost(void *state, const tn_cost_query *q, tn_cost *out, tn_error *err) {
    (void)state;
    const tn_near_memory *u = &q->machine->near_memory;
    const tn_product *p = &q->product;
    if (q->event != TN_COST_PRODUCT) {
        out->sync = q->event == TN_COST_SYNC ? u->synchronization : 2 * u->mode_change;
        out->latency = out->sync;
        return TN_OK;
    }
    if (p->batch <= 0 || p->m <= 0 || p->n <= 0 || p->k <= 0) return TN_OK;
    if (q->unit == TN_UNIT_NEAR_MEMORY) return near_memory_cost(q, out, err);
    processor_cost(q, out);
    return TN_OK;
}

tn_status tn__cost_nmp_dataflow(const char *rest, tn_cost_model *m, tn_error *err) {
    (void)rest, (void)err;
    m->cost = dataflow_cost;
    m->separable = m->events = true;
    return TN_OK;
}

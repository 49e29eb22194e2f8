/* Families of machines: numbering, and what a choice means by the tables of its technology. */
#include <math.h>
#include <tenon/machine.h>

#include "base/base.h"

static int64_t at_least_one(int count) {
    return count ? count : 1;
}

int64_t tn_machine_space_count(const tn_machine_space *s) {
    return at_least_one(s->channel_count) * at_least_one(s->element_count) *
           at_least_one(s->input_buffer_count) * at_least_one(s->weight_buffer_count) *
           at_least_one(s->output_buffer_count);
}

/* Linear between two rows of a table; its ends reach on. */
static double between(double x, double x0, double x1, double y0, double y1) {
    if (x1 <= x0) return y0;
    return y0 + (y1 - y0) * TN_MIN(1.0, TN_MAX(0.0, (x - x0) / (x1 - x0)));
}

static void apply_clock(const tn_technology *t, double clock, double *area, double *energy) {
    int i = 0;
    if (!t->clock_count) return;
    while (i + 2 < t->clock_count && t->clocks[i + 1].clock <= clock) i++;
    int j = TN_MIN(i + 1, t->clock_count - 1);
    *area = between(clock, t->clocks[i].clock, t->clocks[j].clock, t->clocks[i].fpu_area,
                    t->clocks[j].fpu_area);
    *energy = between(clock, t->clocks[i].clock, t->clocks[j].clock, t->clocks[i].mac_energy,
                      t->clocks[j].mac_energy);
}

static double link_share(const tn_technology *t, double bandwidth) {
    int i = 0;
    if (!t->link_count) return 0;
    while (i + 2 < t->link_count && t->links[i + 1].bandwidth <= bandwidth) i++;
    int j = TN_MIN(i + 1, t->link_count - 1);
    return between(bandwidth, t->links[i].bandwidth, t->links[j].bandwidth, t->links[i].area_share,
                   t->links[j].area_share);
}

/* FPUs, buffers (an element's part of its channel's input buffer) and the pins of the link. */
static void apply_technology(const tn_technology *t, tn_machine *m) {
    tn_near_memory *u = &m->near_memory;
    double fpu_area = 0, buffers;
    if (!u->channels) return;
    apply_clock(t, u->clock, &fpu_area, &u->mac_energy);
    buffers = u->weight_buffer + u->output_buffer + u->input_buffer / m->memory.banks;
    u->area =
        u->fpus * fpu_area + buffers * t->sram_area + link_share(t, u->bandwidth) * u->area_limit;
}

/* The value of digit `*i` of a list, which is cut off the number. */
static int digit(int64_t *i, int count) {
    int64_t base = at_least_one(count);
    int value = (int)(*i % base);
    *i /= base;
    return value;
}

void tn_machine_space_at(const tn_machine_space *s, int64_t i, tn_machine *out) {
    *out = s->base;
    tn_near_memory *u = &out->near_memory;
    int output = digit(&i, s->output_buffer_count), weight = digit(&i, s->weight_buffer_count),
        input = digit(&i, s->input_buffer_count), element = digit(&i, s->element_count),
        channels = digit(&i, s->channel_count);
    if (s->output_buffer_count) u->output_buffer = s->output_buffers[output];
    if (s->weight_buffer_count) u->weight_buffer = s->weight_buffers[weight];
    if (s->input_buffer_count) u->input_buffer = s->input_buffers[input];
    if (s->channel_count) u->channels = s->channels[channels];
    if (s->element_count) {
        u->fpus = s->elements[element].fpus;
        u->clock = s->elements[element].clock;
        u->bandwidth = s->elements[element].bandwidth;
    }
    apply_technology(&s->technology, out);
}

void tn_machine_for_batch(const tn_machine_space *s, int batch, tn_machine *m) {
    const tn_technology *t = &s->technology;
    tn_near_memory *u = &m->near_memory;
    for (int i = 0; i < t->utilization_count; i++)
        if (t->utilizations[i].fpus == u->fpus && t->utilizations[i].batch == batch &&
            t->utilizations[i].clock == u->clock && t->utilizations[i].bandwidth == u->bandwidth)
            u->utilization = t->utilizations[i].utilization;
}

static tn_status positive(double v, const char *name, const tn_machine *m, tn_error *err) {
    if (isfinite(v) && v > 0) return TN_OK;
    return tn_error_set(err, TN_INVALID, "machine '%s': %s is %g; it must be finite and above 0",
                        m->name, name, v);
}

static tn_status check_near_memory(const tn_machine *m, tn_error *err) {
    const tn_near_memory *u = &m->near_memory;
    TN_CHECK(positive(u->fpus, "near_memory.fpus", m, err));
    TN_CHECK(positive(u->macs, "near_memory.macs", m, err));
    TN_CHECK(positive(u->clock, "near_memory.clock", m, err));
    TN_CHECK(positive(u->bandwidth, "near_memory.bandwidth", m, err));
    return positive(u->utilization, "near_memory.utilization", m, err);
}

tn_status tn_machine_check(const tn_machine *m, tn_error *err) {
    const tn_near_memory *u = &m->near_memory;
    TN_CHECK(positive(m->processor.macs, "processor.macs", m, err));
    TN_CHECK(positive(m->processor.utilization, "processor.utilization", m, err));
    TN_CHECK(positive(m->memory.channels, "memory.channels", m, err));
    TN_CHECK(positive(m->memory.banks, "memory.banks", m, err));
    TN_CHECK(positive(m->memory.bank_bytes, "memory.bank_bytes", m, err));
    TN_CHECK(positive(m->memory.bandwidth, "memory.bandwidth", m, err));
    if (m->memory.channels > TN_MACHINE_CHANNELS)
        return tn_error_set(err, TN_INVALID, "machine '%s': %d channels of memory; at most %d",
                            m->name, m->memory.channels, TN_MACHINE_CHANNELS);
    if (u->channels < 0 || u->channels > m->memory.channels)
        return tn_error_set(err, TN_INVALID,
                            "machine '%s': %d channels near memory; the memory has %d", m->name,
                            u->channels, m->memory.channels);
    return u->channels ? check_near_memory(m, err) : TN_OK;
}

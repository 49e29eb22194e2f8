/* Small changes of a dataflow. The artifact's operators draw all groups, tiers or operators anew at once, so
 * that one which is right beside many others is seldom kept; these change one window of groups, one partition,
 * one tier, or the channels and the ratio of one operator. */
#include <math.h>

#include "base/base.h"
#include "explore/dataflow.h"
#include "explore/genetic.h"

/* ---- one part anew -------------------------------------------------------------------------- */

static void append(const tn_dataflow *from, int first, int end, int group_shift, tn_dataflow *to) {
    for (int i = first; i < end; i++) {
        to->at[to->count] = from->at[i];
        to->at[to->count++].group = (uint8_t)(from->at[i].group + group_shift);
    }
}

/* Up to three groups in a row become others of the same operators. */
static bool redraw_groups(const sampler *s, const tn_dataflow *from, int first, tn_dataflow *to) {
    tn_placement place = {.group = from->at[first].group};
    int end = first;
    for (int count = 1 + tn__sample_below(s->random, 3); count && end < from->count; count--)
        end = tn__genetic_run_end(from, end, 0);
    uint32_t ops = tn__genetic_ops(from, first, end);
    append(from, 0, first, 0, to);
    bool one = tn__sample_below(s->random, 2);
    if (one ? !tn__sample_group(s, ops, false, &place, to)
            : !tn__sample_interval(s, ops, &place, to))
        return false;
    if (end < from->count) append(from, end, from->count, place.group - from->at[end].group, to);
    return true;
}

/* First place of the partition (level 1) or tier (2) of place `at`. */
static int run_begin(const tn_dataflow *d, int at, int level) {
    int from = 0;
    while (tn__genetic_run_end(d, from, level) <= at) from = tn__genetic_run_end(d, from, level);
    return from;
}

static bool redraw_run(const sampler *s, const tn_dataflow *from, int at, int level,
                       tn_dataflow *to) {
    int partition = run_begin(from, at, 1), partition_end = tn__genetic_run_end(from, partition, 1);
    sample_channels channels = tn__genetic_channels(from, partition, partition_end);
    int first = run_begin(from, at, level), end = tn__genetic_run_end(from, first, level);
    uint32_t ops = tn__genetic_ops(from, first, end);
    append(from, 0, first, 0, to);
    if (level == 1 ? !tn__sample_partition(s, ops, channels, from->at[first], to)
                   : !tn__sample_tier(s, ops, channels, from->at[first], to))
        return false;
    append(from, end, from->count, 0, to);
    return true;
}

bool tn__genetic_redraw_window(const sampler *s, const tn_dataflow *from, tn_dataflow *to) {
    int at = tn__sample_below(s->random, from->count), level = tn__sample_below(s->random, 4);
    if (level == 1 || level == 2) return redraw_run(s, from, at, level, to);
    return redraw_groups(s, from, run_begin(from, at, 0), to);
}

/* ---- one operator --------------------------------------------------------------------------- */

/* After its channels or its machine have changed: the space's ratio that is nearest to the old one. */
static bool settle_ratio(const sampler *s, tn_placement *a) {
    double old = a->ratio, ratios[TN_FISSION_RATIOS];
    a->ratio = a->nmp ? 1 : 0;
    if (!a->nmp || !a->normal) return a->nmp || a->normal;
    if (!(old > 0 && old < 1))
        return tn__sample_ratio(s, a->op, tn__channel_count(a->nmp), &a->ratio);
    int count = tn__fission_ratios(s->problem, a->op, tn__channel_count(a->nmp), ratios);
    a->ratio = old;
    if (s->space == TN_UNION) return true;
    for (int i = 0; i < count; i++)
        if (!i || fabs(ratios[i] - old) < fabs(a->ratio - old)) a->ratio = ratios[i];
    return count > 0;
}

/* Some units more or less, by steps of all sizes, of what the union may cut anywhere. */
static bool step_ratio(const sampler *s, tn_placement *a) {
    tn_product whole = tn_workload_product(s->problem->workload, a->op, &s->problem->scenario,
                                           tn_phase_decode(&s->problem->scenario));
    int64_t units = tn__fission_units(&whole), part = llround(a->ratio * (double)units);
    int bits = 1;
    while (bits < 30 && units >> bits) bits++;
    int64_t step = INT64_C(1) << tn__sample_below(s->random, bits);
    part += tn__sample_below(s->random, 2) ? step : -step;
    if (part < 1 || part >= units) return false;
    a->ratio = tn__fission_share(part, units);
    return true;
}

static bool change_ratio(const sampler *s, tn_dataflow *d, int at) {
    tn_placement *a = &d->at[at];
    if (!a->nmp || !a->normal) return false;
    if (s->space == TN_UNION && tn__sample_below(s->random, 4)) return step_ratio(s, a);
    return tn__sample_ratio(s, a->op, tn__channel_count(a->nmp), &a->ratio);
}

static bool change_normal(const sampler *s, tn_dataflow *d, int at) {
    d->at[at].normal = !d->at[at].normal;
    return settle_ratio(s, &d->at[at]);
}

static bool valid(const sampler *s, tn_placement *a) {
    if (!a->nmp) a->normal = true;
    return settle_ratio(s, a);
}

/* A channel goes to another operator of the tier. */
static bool move_channel(const sampler *s, tn_dataflow *d, int at) {
    int first = run_begin(d, at, 2), end = tn__genetic_run_end(d, first, 2);
    int to = first + tn__sample_below(s->random, end - first);
    if (to == at || !d->at[at].nmp) return false;
    uint64_t c = UINT64_C(1) << tn__sample_bit(s->random, d->at[at].nmp);
    d->at[at].nmp &= ~c;
    d->at[to].nmp |= c;
    return valid(s, &d->at[at]) && valid(s, &d->at[to]);
}

/* Two channels change places in one group, or in one tier: what fits depends on who they are. */
static bool swap_channels(const sampler *s, tn_dataflow *d, int at) {
    uint64_t all = tn__nmp_channels(&s->problem->machine);
    if (!all) return false;
    int level = tn__sample_below(s->random, 3), first = run_begin(d, at, level),
        end = tn__genetic_run_end(d, first, level);
    int x = tn__sample_bit(s->random, all), y = tn__sample_bit(s->random, all);
    for (int i = first; i < end; i++) {
        uint64_t *set = &d->at[i].nmp, differ = (*set >> x ^ *set >> y) & 1;
        *set ^= differ << x ^ differ << y;
    }
    return x != y;
}

/* The union may leave a channel unused. */
static bool flip_channel(const sampler *s, tn_dataflow *d, int at) {
    uint64_t all = tn__nmp_channels(&s->problem->machine);
    if (!all || s->space != TN_UNION) return false;
    d->at[at].nmp ^= UINT64_C(1) << tn__sample_bit(s->random, all);
    return valid(s, &d->at[at]);
}

static bool is_legal(const sampler *s, const tn_dataflow *d) {
    tn_error err = TN_ERROR_INIT;
    return tn_dataflow_check(s->problem, s->space, d, &err) == TN_OK;
}

bool tn__genetic_edit(const sampler *s, const tn_dataflow *from, tn_dataflow *to) {
    typedef bool edit(const sampler *s, tn_dataflow *d, int at);
    static edit *const edits[] = {change_ratio, change_ratio,  change_normal,
                                  move_channel, swap_channels, flip_channel};
    int done = 0;
    *to = *from;
    for (int count = 1 + tn__sample_below(s->random, 3), try = 0; done < count && try < 12; try++) {
        tn_dataflow next = *to;
        int at = tn__sample_below(s->random, next.count);
        if (!edits[tn__sample_below(s->random, (int)TN_COUNT(edits))](s, &next, at)) continue;
        *to = next;
        done++;
    }
    return done && is_legal(s, to);
}

/* ---- another machine ------------------------------------------------------------------------ */

bool tn__genetic_move(const sampler *s, const tn_dataflow *from, tn_dataflow *to) {
    *to = *from;
    bool settled = true;
    for (int i = 0; i < to->count && settled; i++) settled = settle_ratio(s, &to->at[i]);
    if (settled && is_legal(s, to)) return true;
    /* Other channels: the groups stay. */
    tn_placement place = {0};
    to->count = 0;
    for (int i = 0, end; i < from->count; i = end) {
        end = tn__genetic_run_end(from, i, 0);
        if (!tn__sample_group(s, tn__genetic_ops(from, i, end), true, &place, to)) return false;
    }
    return true;
}

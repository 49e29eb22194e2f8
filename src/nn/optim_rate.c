/* Learning rates. See tenon/optim.h. */
#include <inttypes.h>
#include <math.h>

#include "base/base.h"
#include "tenon/optim.h"

static const double pi = 3.14159265358979323846;

/* ---- checks --------------------------------------------------------------------------------- */

static bool drops_by_period(tn_rate_kind kind) {
    return kind == TN_RATE_STEP || kind == TN_RATE_COSINE || kind == TN_RATE_COSINE_RESTARTS;
}

static tn_status check_milestones(const tn_rate_schedule *r, tn_error *err) {
    if (r->milestone_count < 0 || (r->milestone_count > 0 && !r->milestones))
        return tn_error_set(err, TN_INVALID, "learning rate: %d milestones", r->milestone_count);
    for (int i = 1; i < r->milestone_count; i++)
        if (r->milestones[i] < r->milestones[i - 1])
            return tn_error_set(err, TN_INVALID,
                                "learning rate: milestone %d, %" PRId64 ", is below the one before "
                                "it; expected ascending steps",
                                i, r->milestones[i]);
    return TN_OK;
}

static tn_status check_kind(const tn_rate_schedule *r, tn_error *err) {
    if (drops_by_period(r->kind) && r->period < 1)
        return tn_error_set(err, TN_INVALID, "learning rate: period is %" PRId64 "; expected ≥ 1",
                            r->period);
    if (r->kind == TN_RATE_COSINE_RESTARTS && r->period_factor < 1)
        return tn_error_set(err, TN_INVALID,
                            "learning rate: period_factor is %" PRId64 "; expected ≥ 1",
                            r->period_factor);
    if (r->kind == TN_RATE_STABLE_DECAY &&
        (r->total < r->warmup || !(r->decay_ratio >= 0 && r->decay_ratio <= 1)))
        return tn_error_set(err, TN_INVALID,
                            "learning rate: %" PRId64 " steps, %" PRId64
                            " of warm-up, decay_ratio %g; expected total ≥ warmup and a ratio of 0 "
                            "to 1",
                            r->total, r->warmup, r->decay_ratio);
    return r->kind == TN_RATE_MULTI_STEP ? check_milestones(r, err) : TN_OK;
}

tn_status tn_rate_check(const tn_rate_schedule *r, tn_error *err) {
    if (r->size != sizeof *r)
        return tn_error_set(err, TN_INVALID,
                            "tn_rate_schedule.size is not set; start from TN_RATE_SCHEDULE_INIT");
    if ((unsigned)r->kind > TN_RATE_STABLE_DECAY || (unsigned)r->curve > TN_DECAY_SQRT)
        return tn_error_set(err, TN_INVALID, "learning rate: there is no kind %d with curve %d",
                            (int)r->kind, (int)r->curve);
    if (!(r->rate >= 0 && r->rate < INFINITY) || !(r->minimum >= 0 && r->minimum <= r->rate) ||
        !(r->gamma >= 0 && r->gamma < INFINITY) || r->warmup < 0)
        return tn_error_set(err, TN_INVALID,
                            "learning rate: rate %g, minimum %g, gamma %g, warmup %" PRId64
                            "; expected 0 ≤ minimum ≤ rate, gamma ≥ 0, warmup ≥ 0",
                            r->rate, r->minimum, r->gamma, r->warmup);
    return check_kind(r, err);
}

/* ---- rates ---------------------------------------------------------------------------------- */

/* From `rate` at 0 to `minimum` at 1. */
static double half_cosine(const tn_rate_schedule *r, double progress) {
    return r->minimum + (r->rate - r->minimum) * (1 + cos(pi * progress)) / 2;
}

static double restarted(const tn_rate_schedule *r, int64_t s) {
    int64_t period = TN_MAX(r->period, 1);
    if (r->period_factor <= 1) return half_cosine(r, (double)(s % period) / (double)period);
    while (s >= period && period <= INT64_MAX / r->period_factor) {
        s -= period;
        period *= r->period_factor;
    }
    return half_cosine(r, TN_MIN((double)s / (double)period, 1));
}

static int passed_milestones(const tn_rate_schedule *r, int64_t s) {
    int n = 0;
    while (r->milestones && n < r->milestone_count && s >= r->milestones[n]) n++;
    return n;
}

static double stable_decay(const tn_rate_schedule *r, int64_t step) {
    int64_t decay = (int64_t)nearbyint((double)r->total * r->decay_ratio); /* as Python rounds */
    decay = TN_MIN(decay, r->total - r->warmup);
    int64_t start = r->total + 1 - decay;
    if (step < start || decay <= 0) return r->rate;
    double progress = TN_MIN((double)(step + 1 - start) / (double)decay, 1), left = 1 - progress;
    if (r->curve == TN_DECAY_COSINE) return half_cosine(r, progress);
    if (r->curve == TN_DECAY_SQRT) left = 1 - sqrt(progress);
    return r->minimum + (r->rate - r->minimum) * left;
}

double tn_rate_at(const tn_rate_schedule *r, int64_t step) {
    step = TN_MAX(step, 0);
    if (step < r->warmup) return r->rate * ((double)(step + 1) / (double)r->warmup);
    int64_t s = step - r->warmup, period = TN_MAX(r->period, 1);
    switch (r->kind) {
    case TN_RATE_CONSTANT:
        return r->rate;
    case TN_RATE_STEP:
        return r->rate * pow(r->gamma, (double)(s / period));
    case TN_RATE_MULTI_STEP:
        return r->rate * pow(r->gamma, passed_milestones(r, s));
    case TN_RATE_EXPONENTIAL:
        return r->rate * pow(r->gamma, (double)s);
    case TN_RATE_COSINE:
        return half_cosine(r, TN_MIN((double)s / (double)period, 1));
    case TN_RATE_COSINE_RESTARTS:
        return restarted(r, s);
    case TN_RATE_STABLE_DECAY:
        return stable_decay(r, step);
    }
    return r->rate;
}

/* See small_runs.h. The first runs of a stretch are alone; of those behind them, PERIOD after PERIOD, TRIED are
 * alone, TRIED together, and the others as was sooner. A pause ends a stretch, but what was found out stays. */
#include "runtime/small_runs.h"

enum { FIRST = 8, PERIOD = 4096, TRIED = 16 };
#define CLOSE_SECONDS 50e-6
#define NEVER         1e9

/* The number of the run within its period; below 0: it is one of the first of its stretch. */
static int64_t position(const tn__small_runs *s) {
    return s->close < FIRST ? -1 : (int64_t)(s->count % PERIOD);
}

bool tn__small_run_begins(tn__small_runs *s, double now) {
    s->close = now - s->ended < CLOSE_SECONDS ? s->close + 1 : 0;
    int64_t at = position(s);
    return at >= 0 && (at < 2 * TRIED ? at >= TRIED : s->together);
}

bool tn__small_run_ends(tn__small_runs *s, double began, double now) {
    int64_t at = position(s);
    s->ended = now;
    if (at < 0) return false;
    s->count++;
    if (at == 0) s->seconds[0] = s->seconds[1] = NEVER;
    if (at < 2 * TRIED) {
        double *best = &s->seconds[at / TRIED];
        *best = TN_MIN(*best, now - began);
    }
    if (at == 2 * TRIED - 1) s->together = s->seconds[1] < s->seconds[0];
    return at >= TRIED && (at < 2 * TRIED - 1 || s->together);
}

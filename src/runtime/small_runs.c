/* See small_runs.h. A stretch of close runs begins alone; from then on, PERIOD after PERIOD, TRIED runs are
 * alone, TRIED together, of which the later half is timed, and the others as was sooner. */
#include "runtime/small_runs.h"

enum { FIRST = 64, PERIOD = 4096, TRIED = 16 };
#define CLOSE_SECONDS 50e-6

/* The number of the run within its period; below 0: too few were close. */
static int64_t position(const tn__small_runs *s) {
    return s->close < FIRST ? -1 : (int64_t)(s->close - FIRST) % PERIOD;
}

bool tn__small_run_begins(tn__small_runs *s, double now) {
    s->close = now - s->ended < CLOSE_SECONDS ? s->close + 1 : 0;
    int64_t at = position(s);
    return at >= TRIED && (at < 2 * TRIED || s->together);
}

bool tn__small_run_ends(tn__small_runs *s, double began, double now) {
    int64_t at = position(s);
    s->ended = now;
    if (at == 0) s->seconds[0] = s->seconds[1] = 0;
    if (at >= 0 && at < 2 * TRIED && at % TRIED >= TRIED / 2) s->seconds[at / TRIED] += now - began;
    if (at == 2 * TRIED - 1) s->together = s->seconds[1] < s->seconds[0];
    return at >= TRIED && (at < 2 * TRIED - 1 || s->together);
}

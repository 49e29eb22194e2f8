#include "base/nearest.h"

#include <string.h>

#include "base/base.h"

enum { WORD = 40 };

/* Edit distance (Levenshtein) of words shorter than WORD. */
static int distance(const char *a, const char *b) {
    int row[WORD + 1];
    int m = (int)strlen(a), n = (int)strlen(b);
    if (m >= WORD || n >= WORD) return WORD;
    for (int j = 0; j <= n; j++) row[j] = j;
    for (int i = 1; i <= m; i++) {
        int corner = row[0];
        row[0] = i;
        for (int j = 1; j <= n; j++) {
            int above = row[j];
            int change = corner + (a[i - 1] != b[j - 1]);
            row[j] = TN_MIN(change, TN_MIN(above, row[j - 1]) + 1);
            corner = above;
        }
    }
    return row[n];
}

const char *tn_nearest(const char *word, const char *const *candidates, int count) {
    const char *best = NULL;
    int least = TN_MAX(2, (int)TN_MIN(strlen(word), WORD) / 3) + 1;
    for (int i = 0; i < count; i++) {
        int d = distance(word, candidates[i]);
        if (d >= least) continue;
        least = d;
        best = candidates[i];
    }
    return best;
}

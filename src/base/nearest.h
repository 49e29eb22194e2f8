/* Suggestions for names that nobody knows. */
#ifndef TENON_BASE_NEAREST_H
#define TENON_BASE_NEAREST_H

/* The candidate with the least edit distance to `word`, or NULL when none is near. */
const char *tn_nearest(const char *word, const char *const *candidates, int count);

#endif

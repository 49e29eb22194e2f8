/* Sleeping until a word in memory changes: a futex on Linux, elsewhere a condition variable. */
#ifndef TENON_BASE_PARK_H
#define TENON_BASE_PARK_H

#include <stdatomic.h>

/* Sleeps while *word is `seen`; may return earlier. Whoever changes the word and then calls
 * tn_unpark wakes all that slept on the old value. */
void tn_park(atomic_uint *word, unsigned seen);
void tn_unpark(atomic_uint *word);

#endif

/* Random bits by a counter: Philox4x32-10 (J. Salmon et al., "Parallel Random Numbers: As Easy as 1,
 * 2, 3", SC 2011). Block n of a key depends on nothing else, so bits do not depend on who asks first. */
#ifndef TENON_BASE_RANDOM_H
#define TENON_BASE_RANDOM_H

#include <stdint.h>

enum { TN_PHILOX_ROUNDS = 10 };
extern const uint32_t tn_philox_m[2]; /* multipliers */
extern const uint32_t tn_philox_w[2]; /* key increments */

/* The 128 bits of one block. */
void tn_philox(uint64_t key, uint64_t block, uint32_t out[4]);

#endif

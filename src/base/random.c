/* Philox4x32-10. See random.h. */
#include "base/random.h"

#include <string.h>

const uint32_t tn_philox_m[2] = {0xD2511F53, 0xCD9E8D57};
const uint32_t tn_philox_w[2] = {0x9E3779B9, 0xBB67AE85};

void tn_philox(uint64_t key, uint64_t block, uint32_t x[4]) {
    uint32_t k[2] = {(uint32_t)key, (uint32_t)(key >> 32)};
    x[0] = (uint32_t)block;
    x[1] = (uint32_t)(block >> 32);
    x[2] = x[3] = 0;
    for (int round = 0; round < TN_PHILOX_ROUNDS; round++) {
        uint64_t p = (uint64_t)tn_philox_m[0] * x[0], q = (uint64_t)tn_philox_m[1] * x[2];
        uint32_t y[4] = {(uint32_t)(q >> 32) ^ x[1] ^ k[0], (uint32_t)q,
                         (uint32_t)(p >> 32) ^ x[3] ^ k[1], (uint32_t)p};
        memcpy(x, y, sizeof y);
        for (int i = 0; i < 2; i++) k[i] += tn_philox_w[i];
    }
}

/* Random numbers and orders that depend on (seed, epoch, sample) only. See data.h. */
#include <math.h>

#include "nn/data/data.h"

#define TWO_PI 6.28318530717958647692

/* Philox4x32-10: J. Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011. */
static void philox(const uint32_t key[2], const uint32_t counter[4], uint32_t out[4]) {
    uint32_t k0 = key[0], k1 = key[1];
    uint32_t x0 = counter[0], x1 = counter[1], x2 = counter[2], x3 = counter[3];
    for (int round = 0; round < 10; round++) {
        uint64_t p = (uint64_t)0xD2511F53 * x0, q = (uint64_t)0xCD9E8D57 * x2;
        x0 = (uint32_t)(q >> 32) ^ x1 ^ k0;
        x1 = (uint32_t)q;
        x2 = (uint32_t)(p >> 32) ^ x3 ^ k1;
        x3 = (uint32_t)p;
        k0 += 0x9E3779B9;
        k1 += 0xBB67AE85;
    }
    out[0] = x0, out[1] = x1, out[2] = x2, out[3] = x3;
}

/* The counter: block, index (48 bits), stream (16 bits), epoch (32 bits). */
void tn__random_init(tn__random *r, const tn__sample_key *key, unsigned stream) {
    uint64_t index = (uint64_t)key->index;
    *r = (tn__random){
        .key = {(uint32_t)key->seed, (uint32_t)(key->seed >> 32)},
        .counter = {0, (uint32_t)index, ((uint32_t)(index >> 32) & 0xFFFF) | (uint32_t)stream << 16,
                    (uint32_t)key->epoch},
        .used = 4,
    };
}

uint32_t tn__random_u32(tn__random *r) {
    if (r->used == 4) {
        philox(r->key, r->counter, r->block);
        r->counter[0]++;
        r->used = 0;
    }
    return r->block[r->used++];
}

/* The high word of n times 64 random bits: off by less than n / 2^64. */
uint64_t tn__random_below(tn__random *r, uint64_t n) {
    uint64_t low = tn__random_u32(r), high = tn__random_u32(r);
    return (uint64_t)(((unsigned __int128)(high << 32 | low) * n) >> 64);
}

double tn__random_in(tn__random *r, double low, double high) {
    return low + (high - low) * ((double)tn__random_u32(r) + 0.5) * 0x1p-32;
}

/* Box and Muller: two from two uniform numbers. */
void tn__random_normals(tn__random *r, float *out, size_t count) {
    for (size_t i = 0; i < count; i += 2) {
        float u = ((float)(tn__random_u32(r) >> 8) + 0.5f) * 0x1p-24f;
        float angle = (float)TWO_PI * ((float)(tn__random_u32(r) >> 8) * 0x1p-24f);
        float radius = sqrtf(-2 * logf(u));
        out[i] = radius * cosf(angle);
        if (i + 1 < count) out[i + 1] = radius * sinf(angle);
    }
}

static uint64_t mixed(uint64_t z) { /* SplitMix64's finalizer (Steele et al., 2014) */
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* Swap or not: V. T. Hoang, B. Morris, P. Rogaway, "An Enciphering Scheme Based on a Card Shuffle",
 * CRYPTO 2012. In each round i and its partner k - i (mod n) change places by one bit that is a function
 * of the larger of the two. So it is a permutation for any n, and needs no memory. */
int64_t tn__shuffled(uint64_t seed, int64_t epoch, int64_t n, int64_t i) {
    uint64_t size = (uint64_t)n, at = (uint64_t)i;
    uint64_t key = mixed(seed + mixed((uint64_t)epoch + 0x9e3779b97f4a7c15u));
    int rounds = 24 + 4 * (64 - __builtin_clzll(size | 1));
    for (int round = 0; round < rounds; round++) {
        key = mixed(key + 0x9e3779b97f4a7c15u);
        uint64_t k = (uint64_t)(((unsigned __int128)key * size) >> 64);
        uint64_t partner = k >= at ? k - at : k + size - at;
        if (mixed(key ^ (TN_MAX(at, partner) * 0xd1342543de82ef95u + 1)) >> 63) at = partner;
    }
    return (int64_t)at;
}

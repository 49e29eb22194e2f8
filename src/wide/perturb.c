/* Weights disturbed by a seed. See source.h.
 *
 * Elements are done in strips: random words, central normal numbers for all of them, then those that lie in
 * the tails. Each number is computed by the same operations in the same order whatever the vectors' width,
 * so that a seed means the same bits on every machine. */
#include <math.h>

#include "base/random.h"
#include "wide/source.h"

enum {
    WORDS = TN__WIDE_PERTURB_STEP, /* of a block of random bits */
    STRIP = 256,                   /* elements */
    LANES = 8,
    BLOCKS = STRIP / WORDS,
};

typedef uint64_t whole __attribute__((vector_size(LANES * sizeof(uint64_t))));
typedef uint32_t half __attribute__((vector_size(LANES * sizeof(uint32_t))));
typedef double real __attribute__((vector_size(LANES * sizeof(double))));

#if defined(__x86_64__)
#define WIDEST __attribute__((target("avx512f,avx512dq,avx512vl")))
#define WIDER  __attribute__((target("avx2")))
#endif
#define ALWAYS static inline __attribute__((always_inline))

/* ---- random words --------------------------------------------------------------------------- */

/* x[w] has word w of each block; in memory blocks follow each other. */
ALWAYS void store_words(const whole x[WORDS], uint32_t *word) {
    whole first = x[0] | x[1] << 32, second = x[2] | x[3] << 32, pairs[2];
    pairs[0] = __builtin_shufflevector(first, second, 0, 8, 1, 9, 2, 10, 3, 11);
    pairs[1] = __builtin_shufflevector(first, second, 4, 12, 5, 13, 6, 14, 7, 15);
    memcpy(word, pairs, sizeof pairs);
}

/* Philox4x32-10 as base/random.h has it, of LANES blocks: word w of block b at word[WORDS * b + w]. */
ALWAYS void draw_blocks(uint64_t key, uint64_t first, uint32_t *word) {
    const uint64_t low = UINT32_MAX;
    whole x[WORDS], number;
    uint32_t k[2] = {(uint32_t)key, (uint32_t)(key >> 32)};
    for (int i = 0; i < LANES; i++) number[i] = first + (uint64_t)i;
    x[0] = number & low;
    x[1] = number >> 32;
    x[2] = x[3] = number ^ number;
    for (int round = 0; round < TN_PHILOX_ROUNDS; round++) {
        whole p = x[0] * (uint64_t)tn_philox_m[0], q = x[2] * (uint64_t)tn_philox_m[1];
        x[0] = (q >> 32) ^ x[1] ^ (uint64_t)k[0];
        x[1] = q & low;
        x[2] = (p >> 32) ^ x[3] ^ (uint64_t)k[1];
        x[3] = p & low;
        for (int i = 0; i < 2; i++) k[i] += tn_philox_w[i];
    }
    store_words(x, word);
}

/* ---- normal numbers ------------------------------------------------------------------------- */

/* The number below which N(0, 1) is with probability p: M. J. Wichura, "Algorithm AS 241: The Percentage
 * Points of the Normal Distribution", Applied Statistics 37 (1988), PPND7, to seven digits. Its third part,
 * for p below exp(-25), is beyond the least p that a word of 32 bits gives. */
static const double A[] = {3.3871327179, 50.434271938, 159.29113202, 59.109374720};
static const double B[] = {1, 17.895169469, 78.757757664, 67.187563600};
static const double C[] = {1.4234372777, 2.7568153900, 1.3067284816, 0.17023821103};
static const double D[] = {1, 0.73700164250, 0.12021132975, 0};
#define TAIL                                                                                       \
    322122547u /* words below it are not central: (word + 1/2) / 2^32 is below 1/2 - 0.425 */

#define POLYNOMIAL(c, x) ((((c)[3] * (x) + (c)[2]) * (x) + (c)[1]) * (x) + (c)[0])

static double normal_of_tail(uint32_t word) {
    double p = ((double)word + 0.5) * 0x1p-32, q = p - 0.5;
    double r = sqrt(-log(q < 0 ? p : 1 - p)) - 1.6;
    return copysign(POLYNOMIAL(C, r) / POLYNOMIAL(D, r), q);
}

/* As if all were central; `tail` gets the places of those that are not. */
ALWAYS int central_normals(const uint32_t *word, double *z, uint16_t *tail) {
    for (int i = 0; i < STRIP; i += LANES) {
        half w;
        memcpy(&w, word + i, sizeof w);
        real q = (__builtin_convertvector(w, real) + 0.5) * 0x1p-32 - 0.5;
        real r = 0.180625 - q * q;
        q = q * POLYNOMIAL(A, r) / POLYNOMIAL(B, r);
        memcpy(z + i, &q, sizeof q);
    }
    int tails = 0;
    for (int i = 0; i < STRIP; i++) {
        tail[tails] = (uint16_t)i;
        tails += TN_MIN(word[i], ~word[i]) < TAIL;
    }
    return tails;
}

/* The numbers of BLOCKS blocks. */
ALWAYS void draw_with(uint64_t key, uint64_t first, double *z) {
    uint32_t word[STRIP];
    uint16_t tail[STRIP + 1];
    for (uint64_t b = 0; b < BLOCKS; b += LANES) draw_blocks(key, first + b, word + b * WORDS);
    int tails = central_normals(word, z, tail);
    for (int i = 0; i < tails; i++) z[tail[i]] = normal_of_tail(word[tail[i]]);
}

typedef void drawing(uint64_t key, uint64_t first, double *z);

static void draw_plain(uint64_t key, uint64_t first, double *z) {
    draw_with(key, first, z);
}

#if defined(__x86_64__)
WIDER static void draw_wider(uint64_t key, uint64_t first, double *z) {
    draw_with(key, first, z);
}

WIDEST static void draw_widest(uint64_t key, uint64_t first, double *z) {
    draw_with(key, first, z);
}
#endif

static drawing *find_drawing(void) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        return draw_widest;
    if (__builtin_cpu_supports("avx2")) return draw_wider;
#endif
    return draw_plain;
}

/* ---- elements ------------------------------------------------------------------------------- */

static void scale(tn_array *x, int64_t at, int64_t count, const double *z) {
    float *single = (float *)x->data + at;
    if (x->dtype == TN_f32)
        for (int64_t i = 0; i < count; i++)
            single[i] = (float)((double)single[i] * (1 + 0.01 * z[i]));
    else
        for (int64_t i = 0; i < count; i++)
            tn_array_set(x, at + i,
                         tn_cell_of(x->dtype, tn_array_get(x, at + i).f * (1 + 0.01 * z[i])));
}

void tn__wide_perturb(const char *name, uint64_t seed, int64_t first, tn_array *x) {
    tn_hash128 hash = tn_hash128_of(name, strlen(name));
    const uint64_t place[] = {hash.lo, hash.hi, seed};
    uint64_t key = tn_hash128_of(place, sizeof place).lo;
    int64_t count = tn_array_count(x);
    drawing *draw = find_drawing();
    TN_ASSERT(first % WORDS == 0);
    for (int64_t done = 0; done < count; done += STRIP) {
        double z[STRIP];
        draw(key, (uint64_t)(first + done) / WORDS, z);
        scale(x, done, TN_MIN(count - done, STRIP), z);
    }
}

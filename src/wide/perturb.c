/* Weights disturbed by a seed. See source.h. */
#include <math.h>

#include "base/random.h"
#include "wide/source.h"

enum { WORDS = 4 }; /* of a block of random bits */

static double polynomial(const double c[4], double x) {
    return ((c[3] * x + c[2]) * x + c[1]) * x + c[0];
}

/* The number below which N(0, 1) is with probability p: M. J. Wichura, "Algorithm AS 241: The Percentage
 * Points of the Normal Distribution", Applied Statistics 37 (1988), PPND7, to seven digits. */
static double normal_at(double p) {
    static const double A[] = {3.3871327179, 50.434271938, 159.29113202, 59.109374720};
    static const double B[] = {1, 17.895169469, 78.757757664, 67.187563600};
    static const double C[] = {1.4234372777, 2.7568153900, 1.3067284816, 0.17023821103};
    static const double D[] = {1, 0.73700164250, 0.12021132975, 0};
    static const double E[] = {6.6579051150, 3.0812263860, 0.42868294337, 0.017337203997};
    static const double F[] = {1, 0.24197894225, 0.012258202635, 0};
    double q = p - 0.5;
    if (fabs(q) <= 0.425) {
        double r = 0.180625 - q * q;
        return q * polynomial(A, r) / polynomial(B, r);
    }
    double r = sqrt(-log(q < 0 ? p : 1 - p));
    double z = r <= 5 ? polynomial(C, r - 1.6) / polynomial(D, r - 1.6)
                      : polynomial(E, r - 5) / polynomial(F, r - 5);
    return copysign(z, q);
}

/* Words 0 … 3 of a block, as numbers inside (0, 1). */
static void draw(uint64_t key, uint64_t block, double factor[WORDS]) {
    uint32_t word[WORDS];
    tn_philox(key, block, word);
    for (int i = 0; i < WORDS; i++)
        factor[i] = 1 + 0.01 * normal_at(((double)word[i] + 0.5) * 0x1p-32);
}

static void scale(tn_array *x, int64_t i, double factor) {
    float *single = x->data;
    if (x->dtype == TN_f32)
        single[i] = (float)((double)single[i] * factor);
    else
        tn_array_set(x, i, tn_cell_of(x->dtype, tn_array_get(x, i).f * factor));
}

void tn__wide_perturb(const char *name, uint64_t seed, tn_array *x) {
    tn_hash128 hash = tn_hash128_of(name, strlen(name));
    const uint64_t place[] = {hash.lo, hash.hi, seed};
    uint64_t key = tn_hash128_of(place, sizeof place).lo;
    int64_t count = tn_array_count(x);
    for (int64_t done = 0; done < count; done += WORDS) {
        double factor[WORDS];
        draw(key, (uint64_t)done / WORDS, factor);
        for (int i = 0; i < WORDS && done + i < count; i++) scale(x, done + i, factor[i]);
    }
}

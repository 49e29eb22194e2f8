/* MatMulNBits of com.microsoft: what it means, and what it refuses. */
#include "unit/test.h"

#include <math.h>
#include <stdlib.h>

#include "ops/eval.h"
#include "unit/import/onnx_wire.h"

enum { K = 40, N = 3, BLOCK = 16, BLOCKS = 3 };

typedef struct product {
    int bits;
    bool zero, float_zero, index, bias;
} product;

static uint8_t packed[N * BLOCKS * BLOCK], zeros[N * BLOCKS];
static float scales[N * BLOCKS], float_zeros[N * BLOCKS], bias[N];
static int32_t block_of[K];

static void fill(void) {
    uint64_t seed = 5;
    for (size_t i = 0; i < sizeof packed; i++) packed[i] = (uint8_t)test_random(&seed);
    for (int i = 0; i < N * BLOCKS; i++) {
        zeros[i] = (uint8_t)test_random(&seed);
        scales[i] = (float)(1 + i % 5) / 8;
        float_zeros[i] = (float)(test_random(&seed) % 30) / 4;
    }
    for (int i = 0; i < N; i++) bias[i] = (float)i - 1;
    for (int i = 0; i < K; i++) block_of[i] = (i * 7) % BLOCKS;
}

static void add(wire *g, const char *name, int type, int64_t count, const void *data, size_t size) {
    wire t = wire_tensor(name, type, 1, &count, data, size);
    wire_put(g, 5, &t);
}

/* `x` [2, K] times the weights. */
static wire graph_of(const product *p, int64_t block) {
    wire g = {.len = 0};
    char text[64];
    int64_t bytes = N * BLOCKS * BLOCK * p->bits / 8;
    int64_t zero_bytes = N * ((BLOCKS * p->bits + 7) / 8);
    wire_input(&g, "x", W_FLOAT, "2,40");
    add(&g, "w", W_UINT8, bytes, packed, (size_t)bytes);
    add(&g, "s", W_FLOAT, N * BLOCKS, scales, sizeof scales);
    if (p->zero) add(&g, "z", W_UINT8, zero_bytes, zeros, (size_t)zero_bytes);
    if (p->float_zero) add(&g, "z", W_FLOAT, N * BLOCKS, float_zeros, sizeof float_zeros);
    if (p->index) add(&g, "i", W_INT32, K, block_of, sizeof block_of);
    if (p->bias) add(&g, "b", W_FLOAT, N, bias, sizeof bias);
    snprintf(text, sizeof text, "MatMulNBits x w s %s %s %s > y",
             p->zero || p->float_zero ? "z" : "-", p->index ? "i" : "-", p->bias ? "b" : "-");
    wire node = wire_node(text);
    wire_text(&node, 7, "com.microsoft");
    wire_attr_int(&node, "K", K);
    wire_attr_int(&node, "N", N);
    wire_attr_int(&node, "bits", p->bits);
    wire_attr_int(&node, "block_size", block);
    wire_put(&g, 1, &node);
    wire_output(&g, "y", W_FLOAT, "?");
    return g;
}

static int field(const uint8_t *row, int i, int bits) {
    return row[i * bits / 8] >> (i * bits % 8) & ((1 << bits) - 1);
}

static double weight(const product *p, int n, int k) {
    int block = p->index ? block_of[k] : k / BLOCK;
    double zero = 1 << (p->bits - 1);
    if (p->zero) zero = field(zeros + n * ((BLOCKS * p->bits + 7) / 8), block, p->bits);
    if (p->float_zero) zero = (double)float_zeros[n * BLOCKS + block];
    int q = field(packed + n * (BLOCKS * BLOCK * p->bits / 8), k, p->bits);
    return (q - zero) * (double)scales[n * BLOCKS + block];
}

static void check(const product *p) {
    imported i;
    wire g = graph_of(p, BLOCK);
    import_model(&i, &g);
    if (i.status != TN_OK) fail_msg("%s", i.text);
    tn_array x = tn_array_new(&i.arena, TN_f32, 2, (int64_t[]){2, K}), y;
    for (int e = 0; e < 2 * K; e++) ((float *)x.data)[e] = (float)(e % 11 - 5) / 2;
    if (tn_eval_graph(i.import.graph, &x, NULL, &y, &i.arena, &i.err) != TN_OK) fail();
    for (int m = 0; m < 2; m++)
        for (int n = 0; n < N; n++) {
            double want = p->bias ? (double)bias[n] : 0;
            for (int k = 0; k < K; k++)
                want += (double)((float *)x.data)[m * K + k] * weight(p, n, k);
            double got = tn_array_get(&y, m * N + n).f;
            if (!(fabs(got - want) <= 1e-5 * 2000))
                fail_msg("%d bits: element (%d, %d) is %g, not %g", p->bits, m, n, got, want);
        }
    import_done(&i);
}

static void test_matmul_nbits__means_its_formula(void **state) {
    static const product products[] = {
        {.bits = 4},
        {.bits = 8},
        {.bits = 2},
        {.bits = 4, .zero = true, .bias = true},
        {.bits = 8, .zero = true},
        {.bits = 2, .zero = true},
        {.bits = 4, .float_zero = true},
        {.bits = 4, .index = true, .bias = true},
        {.bits = 4, .index = true, .zero = true},
        {.bits = 8, .index = true, .float_zero = true},
    };
    (void)state;
    fill();
    for (size_t i = 0; i < TN_COUNT(products); i++) check(&products[i]);
}

static void test_matmul_nbits__names_what_is_wrong(void **state) {
    (void)state;
    fill();
    wire g = graph_of(&(product){.bits = 3}, BLOCK);
    refused(&g, "its weights have 3 bits; 2, 4 and 8 are possible");
    g = graph_of(&(product){.bits = 4}, 24);
    refused(&g, "block_size is 24; expected a power of two from 16 on");
    g = graph_of(&(product){.bits = 4}, 32);
    refused(&g, "B has 72 elements of u8; expected 3 times 32 bytes");
    block_of[3] = BLOCKS;
    g = graph_of(&(product){.bits = 4, .index = true}, BLOCK);
    refused(&g, "g_idx has 3; there are 3 blocks");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matmul_nbits__means_its_formula),
        cmocka_unit_test(test_matmul_nbits__names_what_is_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The targets of generated kernels. See target.h. */
#include "codegen/target.h"

/* A last-level cache is about as large. A smaller result is as soon read by the next kernel from there. */
enum { STREAM_BYTES = 24 << 20 };
/* A last-level cache still holds most of less from the run before, and asking costs instructions. */
enum { AHEAD_BYTES = 8 << 20 };

static const tn_target targets[TN_ISA_COUNT] = {
    [TN_ISA_GENERIC] = {TN_ISA_GENERIC, "generic", 16, 16, false, "", STREAM_BYTES, AHEAD_BYTES},
    [TN_ISA_X86_64] = {TN_ISA_X86_64, "x86-64", 16, 16, false, "", STREAM_BYTES, AHEAD_BYTES},
    [TN_ISA_AVX2] = {TN_ISA_AVX2, "avx2", 32, 16, true, "-mavx2 -mfma -mf16c", STREAM_BYTES,
                     AHEAD_BYTES},
    [TN_ISA_AVX512] = {TN_ISA_AVX512, "avx512", 64, 32, true,
                       "-mavx2 -mfma -mf16c -mavx512f -mavx512vl -mavx512bw -mavx512dq "
                       "-mprefer-vector-width=512",
                       STREAM_BYTES, AHEAD_BYTES},
    [TN_ISA_AVX512_VNNI] = {TN_ISA_AVX512_VNNI, "avx512vnni", 64, 32, true,
                            "-mavx2 -mfma -mf16c -mavx512f -mavx512vl -mavx512bw -mavx512dq "
                            "-mavx512vnni -mprefer-vector-width=512",
                            STREAM_BYTES, AHEAD_BYTES},
    [TN_ISA_AARCH64] = {TN_ISA_AARCH64, "aarch64", 16, 32, true, "", STREAM_BYTES, AHEAD_BYTES},
};

const tn_target *tn_target_of(tn_isa isa) {
    TN_ASSERT(isa < TN_ISA_COUNT);
    return &targets[isa];
}

const tn_target *tn_target_find(const char *name) {
    for (int i = 0; i < TN_ISA_COUNT; i++)
        if (strcmp(targets[i].name, name) == 0) return &targets[i];
    return NULL;
}

const tn_target *tn_target_plainer(const tn_target *t) {
    if (t->isa == TN_ISA_AVX512_VNNI) return &targets[TN_ISA_AVX512];
    if (t->isa == TN_ISA_AVX512 || t->isa == TN_ISA_AVX2) return &targets[TN_ISA_X86_64];
    return t;
}

const tn_target *tn_target_native(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq"))
        return &targets[__builtin_cpu_supports("avx512vnni") ? TN_ISA_AVX512_VNNI : TN_ISA_AVX512];
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return &targets[TN_ISA_AVX2];
    return &targets[TN_ISA_X86_64];
#elif defined(__aarch64__)
    return &targets[TN_ISA_AARCH64];
#else
    return &targets[TN_ISA_GENERIC];
#endif
}

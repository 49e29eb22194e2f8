/* What a kernel is generated for: an instruction set and the flags that make the compiler use it.
 */
#ifndef TENON_CODEGEN_TARGET_H
#define TENON_CODEGEN_TARGET_H

#include "base/base.h"

typedef enum tn_isa {
    TN_ISA_GENERIC,     /* any machine that the compiler knows; 16-byte vectors */
    TN_ISA_X86_64,      /* baseline: SSE2 */
    TN_ISA_AVX2,        /* with FMA and F16C */
    TN_ISA_AVX512,      /* F, VL, BW, DQ */
    TN_ISA_AVX512_VNNI, /* and products of bytes */
    TN_ISA_AARCH64,     /* Advanced SIMD */
    TN_ISA_COUNT
} tn_isa;

typedef struct tn_target {
    tn_isa isa;
    const char *name; /* "avx2" */
    int vector_bytes;
    int vector_registers;
    bool has_fma;
    const char *flags;    /* for the C compiler, separated by spaces */
    int64_t stream_bytes; /* results of at least so many bytes are stored past the caches */
    int64_t ahead_bytes;  /* rows at indices, of at least so many bytes, are asked for ahead */
} tn_target;

const tn_target *tn_target_of(tn_isa isa);
/* By name; NULL when there is none. */
const tn_target *tn_target_find(const char *name);
/* One that runs on the same machines and asks less of the C compiler; the baseline gives itself. */
const tn_target *tn_target_plainer(const tn_target *t);
/* The best one for the machine that runs this process. */
const tn_target *tn_target_native(void);

#endif

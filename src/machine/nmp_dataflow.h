/* How channels near memory compute a product in the model nmp_dataflow (after H²-LLM, ISCA '25): products are
 * spread over groups of channels, a product over the channels of its group along k and n, a channel's columns
 * over its elements, and an element works through output tiles that stay in its output buffer until they are
 * summed up. Inputs are in the channel's shared buffer, weights come from the bank through the weight buffer. */
#ifndef TENON_MACHINE_NMP_DATAFLOW_H
#define TENON_MACHINE_NMP_DATAFLOW_H

#include <tenon/machine.h>

/* What a channel computes of a product; its elements share the columns. */
typedef struct tn_nmp_slice {
    int64_t m, n, k;
    double element_bytes;
} tn_nmp_slice;

/* What stays in its buffer while the loop around it runs. */
typedef enum tn_nmp_kept {
    TN_NMP_STREAMED, /* nothing but the output tile */
    TN_NMP_WEIGHTS,  /* all k of a tile's columns, for all rows */
    TN_NMP_INPUTS,   /* all k of a tile's rows, for all columns */
} tn_nmp_kept;

typedef struct tn_nmp_tiling {
    int64_t m, n; /* of an output tile of one element */
    tn_nmp_kept kept;
    bool overlapped; /* weights are loaded while others are multiplied */
    double weight_passes,
        input_passes;  /* loads of all of them; inputs 0: scattered into the buffer */
    double latency;    /* s, of the slice */
    double link_bytes; /* between banks and elements of the channel */
    double input_reads,
        weight_accesses; /* bytes read from the input buffer, and through the weight buffer */
} tn_nmp_tiling;

/* The tiling of least latency, among those of least link_bytes. false: none that fits into the buffers takes less
 * than `within` (s, may be infinite). */
bool tn__nmp_tile(const tn_machine *m, const tn_nmp_slice *s, double within, tn_nmp_tiling *out);

/* A product on `channels` channels: `groups` of k_parts · n_parts channels each take every groups-th product. */
typedef struct tn_nmp_plan {
    int groups, k_parts, n_parts;
    double rounds; /* products of a group, one after the other */
    tn_nmp_slice slice;
    tn_nmp_tiling tiling;
    double scatter, gather; /* s a round; gather includes adding up what k_parts channels send */
} tn_nmp_plan;
bool tn__nmp_plan(const tn_machine *m, const tn_product *p, int channels, tn_nmp_plan *out);

#endif

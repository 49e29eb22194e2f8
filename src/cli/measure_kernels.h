/* The kernels that `doctor --measure` times, compiled for this machine. */
#ifndef TENON_CLI_MEASURE_KERNELS_H
#define TENON_CLI_MEASURE_KERNELS_H

#include "machine/measure.h"
#include "session/kernels.h"

typedef struct cli_measure {
    tn_object object;
    tn_measure_kernels kernels;
} cli_measure;

tn_status cli_measure_compile(const tn_compiler *compiler, cli_measure *out, tn_error *err);
void cli_measure_close(cli_measure *m);

#endif

/* What a program will take by the machine's rates, without running it. */
#ifndef TENON_CLI_WIDE_PREDICT_H
#define TENON_CLI_WIDE_PREDICT_H

#include "cli/report.h"

typedef struct cli_prediction {
    double seconds;
    double launches; /* of kernels and copies */
} cli_prediction;

/* Each launch takes the longer of its arithmetic at the peak and of its bytes at the rate of cache or memory,
 * behind the time of a launch. Rates are those of the last `doctor --measure`, else common ones. */
cli_prediction cli_predict(const cli_steps *steps, const tn_model *model);

#endif

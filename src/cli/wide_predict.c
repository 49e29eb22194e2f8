/* Time by the machine's rates. See wide_predict.h. */
#include "cli/wide_predict.h"

#define FLOPS_OF_POINTS 4 /* as tn_costs_measured has it */

cli_prediction cli_predict(const cli_steps *steps, const tn_model *model) {
    const tn_costs *costs = &tn_model_compiler(model)->costs;
    double peak = FLOPS_OF_POINTS * costs->points;
    cli_prediction p = {0};
    for (uint32_t i = 0; i < steps->len; i++) {
        const cli_step *s = &steps->data[i];
        tn_step_kind kind = s->step->kind;
        if (kind != TN_STEP_KERNEL && kind != TN_STEP_COPY) continue;
        double rate = s->bytes <= costs->shared_bytes ? costs->cache : costs->memory;
        double work = TN_MAX(s->flops / peak, s->bytes / rate);
        p.seconds += (double)s->runs * (costs->launch + work);
        p.launches += (double)s->runs;
    }
    return p;
}

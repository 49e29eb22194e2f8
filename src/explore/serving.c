/* What a user of the machine sees: all layers, all sequences. */
#include <tenon/explore.h>

tn_serving tn_serving_of(const tn_workload *w, const tn_scenario *s, const tn_evaluation *e) {
    double tokens = (double)s->batch * (double)s->generate;
    tn_serving v = {.first_token = w->layers * e->prefill, .per_token = w->layers * e->decode_step};
    if (e->total > 0) v.tokens_a_second = tokens / (w->layers * e->total);
    if (e->energy > 0) v.tokens_a_joule = tokens / (w->layers * e->energy);
    return v;
}

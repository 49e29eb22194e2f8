/* Local algebra. The rows are in rewrite_*.c. See simplify.h. */
#include "transform/simplify.h"

#include "transform/rewrite.h"

enum { MAX_WALKS = 8 };

static tn_status run(const tn_graph *in, tn_graph *out, const tn_transform_options *options,
                     tn_error *err) {
    const tn_rewrite_table tables[] = {
        tn__rewrites_arithmetic, tn__rewrites_select,   tn__rewrites_view,    tn__rewrites_slice,
        tn__rewrites_reduce,     tn__rewrites_contract, tn__rewrites_control,
    };
    return tn__rewrite(in, out, tables, TN_COUNT(tables), MAX_WALKS, run, options, err);
}

const tn_pass tn_pass_simplify = {"simplify", run};

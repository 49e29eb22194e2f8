#include "cli/emit_c.h"
tn_status cli_emit_c(cli *c, const tn_artifact *a, const tn_target *target, const char *file,
                     cli_emitted *out, tn_error *err) {
    (void)c;(void)a;(void)target;(void)file;(void)out;
    return tn_error_set(err, TN_UNSUPPORTED, "in the making");
}

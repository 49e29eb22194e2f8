#include "cli/model.h"
tn_status cmd_inspect(cli *c, tn_error *err) {
    (void)c;
    return tn_error_set(err, TN_UNSUPPORTED, "in the making");
}

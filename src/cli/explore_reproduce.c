/* stub */
#include "cli/explore.h"
tn_status explore_reproduce(cli *c, const char *folder, tn_error *err) {
    (void)c, (void)folder;
    return tn_error_set(err, TN_UNSUPPORTED, "reproduce is not there yet");
}

/* A compiled model as C source: kernels, a function that runs them, a header, weights in a file. */
#ifndef TENON_CLI_EMIT_C_H
#define TENON_CLI_EMIT_C_H

#include "cli/cli.h"
#include "session/session.h"

typedef struct cli_emitted {
    const char *path[3]; /* NAME.c, NAME.h, NAME.bin */
    int count;
} cli_emitted;

/* `file` names the C file; header and weights lie beside it. The source is for the sizes that the
 * session is bound to. */
tn_status cli_emit_c(cli *c, const tn_session *s, const tn_target *target, const char *file,
                     cli_emitted *out, tn_error *err);

#endif

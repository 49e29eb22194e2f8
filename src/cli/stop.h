/* Ending a long command between two of its steps. */
#ifndef TENON_CLI_STOP_H
#define TENON_CLI_STOP_H

#include <stdbool.h>

/* The first SIGINT or SIGTERM lets the step end, the second one ends the process. */
void cli_catch_signals(void);
bool cli_stopped(void);

#endif

/* A child process that answers questions, one at a time: what runs a user's code, so that a crash or a loop
 * there is an error here. Bytes go both ways through one socket. */
#ifndef TENON_MACHINE_COST_CHILD_H
#define TENON_MACHINE_COST_CHILD_H

#include "base/base.h"

#define TN_CHILD_SECONDS 10.0

typedef struct tn_child {
    int pid;        /* 0: none; also its process group */
    int socket;     /* this end */
    double seconds; /* for one answer; TN_CHILD_SECONDS at first */
} tn_child;

/* `sh -c command` with the socket as its standard input and output. */
tn_status tn_child_run(tn_child *c, const char *command, tn_error *err);
/* A fork of this process that runs `serve` with its end of the socket. */
tn_status tn_child_fork(tn_child *c, void (*serve)(int socket, void *context), void *context,
                        tn_error *err);
/* Ends its process group. Safe on a zeroed child, and twice. */
void tn_child_end(tn_child *c);

/* After a failure (it ended, by which signal; it does not answer in time) the child is ended. */
tn_status tn_child_write(tn_child *c, const void *data, size_t size, tn_error *err);
tn_status tn_child_read(tn_child *c, void *data, size_t size, tn_error *err);
/* Terminated, without the newline. A line that `out` does not hold is a failure. */
tn_status tn_child_read_line(tn_child *c, char *out, size_t size, tn_error *err);

#endif

/* The inputs of a run against the ports of a program: types, sizes, symbols. */
#ifndef TENON_SESSION_PORTS_H
#define TENON_SESSION_PORTS_H

#include <tenon/session.h>

#include "program/program.h"

/* Checks the inputs' types and finds the value of each symbol of the program's table. Messages name
 * the input. Allocates nothing. */
tn_status tn_ports_bind(const tn_program *p, const tn_buffer *inputs, int count, int64_t *symbols,
                        tn_error *err);

/* "f32[2,3]" of an actual array. */
void tn_ports_describe(const tn_buffer *b, char *out, size_t size);

#endif

/* Scans over the same operands become one, and what of a scan nothing needs is left out.
 *
 * The gradient of a scan runs it again and keeps more of its steps (ops/scan_gradient.c); here the
 * two become one loop. Results that nobody reads, carries that serve only themselves, and operands
 * that no step reads go, but for one where steps read none. A while that runs as often as constants
 * say is a scan. It runs early, while bodies are still alike. */
#ifndef TENON_TRANSFORM_LOOPS_H
#define TENON_TRANSFORM_LOOPS_H

#include "transform/pass.h"

extern const tn_pass tn_pass_loops;

#endif

/* What the files about cumulative share. */
#ifndef TENON_OPS_CUMULATIVE_H
#define TENON_OPS_CUMULATIVE_H

#include "ops/parts.h"

/* cumulative_lower.c */
extern const tn_nest_rules tn__cumulative_nest;

#endif

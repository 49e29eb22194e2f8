/* Layouts: permutes move towards the outputs, where they meet their inverses and vanish.
 *
 * Importers bring operations to one layout with a permute before and the inverse behind (channels
 * last around each convolution). A permute only ever moves from an operand of a node to its result,
 * so this ends; one that cannot pass a node stays. Since a permute is a view, moving it past one of
 * several users copies nothing but the view. */
#ifndef TENON_TRANSFORM_SINK_H
#define TENON_TRANSFORM_SINK_H

#include "transform/pass.h"

extern const tn_pass tn_pass_sink;

#endif

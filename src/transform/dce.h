/* Dead code: drops nodes that no output needs. Inputs stay, they are the signature. */
#ifndef TENON_TRANSFORM_DCE_H
#define TENON_TRANSFORM_DCE_H

#include "transform/pass.h"

extern const tn_pass tn_pass_dce;

#endif

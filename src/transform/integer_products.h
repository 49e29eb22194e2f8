/* Products of dequantised numbers become products of the numbers as they are stored.
 *
 *   sum s (x − p) · t w = s·t · (sum x·w − p · sum w)      x, w bytes; w, s, t constants
 *
 * The sums are i32 and exact, so the result is nearer to the true one than a sum of floats, and a product
 * of bytes is several times faster. s and p are the same for all of x, t for each column of w: so models
 * whose layers stand between DequantizeLinear and QuantizeLinear run on bytes throughout. */
#ifndef TENON_TRANSFORM_INTEGER_PRODUCTS_H
#define TENON_TRANSFORM_INTEGER_PRODUCTS_H

#include "transform/pass.h"

extern const tn_pass tn_pass_integer_products;

#endif

/* Blocks of an artifact: constants of its graph that are too large to be there twice.
 *
 * A block is address space first. `prepare` reads it in windows: a filler makes the bytes that come next,
 * and what was read is given back, so that a block is never in memory as a whole unless runs read it. Constants
 * that a compile looks at (transform/fold.h, ir/text.h) are smaller than TN_ARTIFACT_BLOCK. */
#ifndef TENON_SESSION_BLOCKS_H
#define TENON_SESSION_BLOCKS_H

#include "session/artifact.h"

enum { TN_ARTIFACT_BLOCK = 2 << 20 };

/* A new block that the filler knows by this number; NULL when address space runs out. Unwinds as an arena. */
void *tn_artifact_block_new(tn_artifact *a, size_t size, uint32_t number);
/* Once the program is known: which blocks runs read. Without memory to find out, all stay. */
void tn_artifact_blocks_mark(tn_artifact *a);
/* The supply of an executable of `a`. */
tn_supply tn_artifact_supply(tn_artifact *a);
/* Makes all blocks whole, for readers of the graph. */
void tn_artifact_blocks_fill(tn_artifact *a);
/* After `prepare`: those that runs read become whole, the others go, and the filler; so the graph is gone
 * then. */
void tn_artifact_blocks_keep(tn_artifact *a);
void tn_artifact_blocks_release(tn_artifact *a);

#endif

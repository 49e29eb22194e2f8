/* What tasks of a kernel read, for those who hold its inputs only in part. */
#ifndef TENON_LOOP_READS_H
#define TENON_LOOP_READS_H

#include "loop/loop.h"

/* Elements [begin, end) of a buffer; begin >= end: none. */
typedef struct tn_loop_extent {
    int64_t begin, end;
} tn_loop_extent;
/* What tasks [begin, end) read at most of each INPUT buffer, as reads[buffer]: the end may lie behind the
 * buffer's. Prefetches do not count. Unwinds when memory runs out. */
void tn_loop_reads(const tn_loop *k, const int64_t *scalars, int64_t begin, int64_t end,
                   tn_arena *arena, tn_loop_extent *reads);

#endif

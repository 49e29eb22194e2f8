/* Depthwise convolution with vectors along the channels: what its kernels share. */
#ifndef TENON_CODEGEN_DEPTHWISE_H
#define TENON_CODEGEN_DEPTHWISE_H

#include "codegen/contraction.h"

/* A batch axis in front of the channels (the members of a wide model) is one more number of an image: how many
 * images there are in all, and number `at` as *image of filter t->b_linear, whose index is t->b_index. */
tn_lx tn__depthwise_images(tn__tile *t);
void tn__depthwise_image(tn__tile *t, tn_lx at, tn_lx *image);

/* x and the result as [line][column][lane] in scratch; lower_depthwise_narrow.c. */
typedef struct tn__turned_planes {
    bool used;
    bool x_merged, y_merged; /* lines are turned as one */
    uint32_t x, y;           /* scratch */
    tn_lx x_pitch, y_pitch;  /* columns of a line */
    tn_lx first_line, row;   /* of x; of the result */
} tn__turned_planes;

typedef struct tn__depthwise {
    tn__tile t; /* first */
    const tn_attrs_conv *attrs;
    int last;                             /* spatial axis of the columns */
    int channel;                          /* batch axis of the channels, the last one */
    tn_lx m[TN_MAX_RANK], k[TN_MAX_RANK]; /* the current image, row and column; window position */
    bool ahead;                           /* rows of x are asked for before they are read */
    tn_lx channels, width;                /* of the group; of a row of packed weights */
    tn_lx filter;                         /* of those that are packed, whose weights are read */
    tn_lx from, to;                       /* channels of the task */
    uint32_t vectors;                     /* of channels in a tile */
    tn_lx strip, limit;                   /* first channel of the vector; see strips.h */
    tn__turned_planes turned;
} tn__depthwise;

/* Everything but the accumulators and the weights. */
void tn__depthwise_init(tn__depthwise *d, const tn_lower_context *c, uint32_t group,
                        const tn_schedule *s, const char *name);
void tn__depthwise_bind_weights(tn__depthwise *d, const tn_lower_context *c, uint32_t group,
                                tn_lowered *out);
/* The task makes the weights of channels [d->from, d->to) where they are computed. */
void tn__depthwise_make_weights(tn__depthwise *d);
/* The row of the result at d->m, for channels [d->from, d->to). */
void tn__depthwise_row(tn__depthwise *d);

/* Element `index` of x, and of the result at d->m, in scratch. */
tn_lx tn__turned_x(const tn__depthwise *d, const tn_lx *index);
tn_lx tn__turned_y(const tn__depthwise *d, tn_lx channel);

#endif

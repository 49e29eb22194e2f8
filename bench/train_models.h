/* The models of bench_train.py: those of tenon/models.h by name, and some that are written here. */
#ifndef BENCH_TRAIN_MODELS_H
#define BENCH_TRAIN_MODELS_H

#include <tenon/models.h>
#include <tenon/train.h>

/* A model and what it is trained with. Parameters are named as in train_peers.py. */
typedef struct train_case {
    const char *name;
    const char *config; /* of tenon/models.h; NULL: `loss` is called without a context */
    tn_loss_function *loss;
    /* x: f32 [rows, x…] or, where `classes` of x are given, i32; the targets are i32 */
    int64_t rows, x[3];
    int64_t tokens;   /* x are numbers below this; 0: x are N(0, 1) */
    bool target_each; /* a target for each x, [rows, length]; else [rows] */
    int64_t classes;  /* targets are below this */
    tn_optimizer_options optimizer;
    double rate, clip_norm;
} train_case;

extern const train_case train_cases[];
extern const int train_case_count;

#endif

/* The configuration of a training run: a JSON file or a model's name, and --section.key values. */
#ifndef TENON_CLI_TRAIN_SETTINGS_H
#define TENON_CLI_TRAIN_SETTINGS_H

#include <tenon/data.h>
#include <tenon/models.h>
#include <tenon/optim.h>
#include <tenon/train.h>

#include "cli/cli.h"
#include "cli/train_onnx.h"

/* Numbers of the choices in train.def. */
enum { DATA_AUTO, DATA_IMAGES, DATA_TOKENS, DATA_TEXT };
enum { MAX_TRANSFORMS = 32, MAX_MILESTONES = 64 };

typedef struct train_ints {
    int64_t at[MAX_MILESTONES];
    int count;
} train_ints;

/* Fields that may have a value for each member (train_lists.c): "1e-3,1e-2" are values, "1e-4:1e-1" as many
 * as there are members, evenly spaced, "1e-4:1e-1:log" by their logarithms. */
enum { LIST_LR, LIST_WEIGHT_DECAY, LIST_MOMENTUM, LIST_CLIP_NORM, TRAIN_LISTS };
typedef struct train_list {
    const char *name; /* "optimizer.lr"; NULL: one value for all */
    double *at;       /* of a range its ends */
    int count;
    bool range, logarithmic;
} train_list;

typedef struct train_settings {
#define INT                                               int64_t
#define REAL                                              double
#define FLAG                                              bool
#define TEXT                                              const char *
#define CHOICE                                            int
#define INTS                                              train_ints
#define JSON                                              const char *
#define SETTING(field, kind, section, key, choices, help) kind field;
#include "cli/train.def"
#undef SETTING
#undef INT
#undef REAL
#undef FLAG
#undef TEXT
#undef CHOICE
#undef INTS
#undef JSON
    tn_model_config model; /* where onnx.path is NULL */
    train_onnx onnx;
    bool members; /* lists are allowed */
    train_list lists[TRAIN_LISTS];
    bool classes_given, features_given; /* of the model; else they are the data's */
    bool tokens;                        /* the model reads tokens, else images */
    tn_optimizer_options optimizer;
    tn_rate_schedule rate;
} train_settings;

/* Reads the first positional argument, --data, --steps, --resume and --section.key values, and fills
 * in the defaults. What it gives lives in c's arena. */
tn_status cli_train_settings(cli *c, train_settings *s, tn_error *err);

/* What the model makes of x, its logits; the mean cross entropy of a batch (context: train_settings); the
 * types of a batch. */
tn_tensor *cli_train_logits(const train_settings *s, tn_module *m, tn_tensor *x);
tn_loss_function cli_train_loss;
void cli_train_batch(const train_settings *s, int64_t rows, int64_t length, tn_buffer out[2]);

/* Whether a text is more than one number. */
bool cli_train_is_list(const char *text);
/* NULL, or what would be right. */
const char *cli_train_list_read(cli *c, const char *text, train_list *out);
/* The greatest of its values, and that of member i of n. */
double cli_train_list_most(const train_list *l);
double cli_train_list_value(const train_list *l, int i, int n);
/* How many members the lists and --n tell. */
tn_status cli_train_members(cli *c, const train_settings *s, int *out, tn_error *err);

/* The sections with their fields. */
void cli_train_help(tn_str *out);

/* A list as [{"name": "resize", "height": 32, "width": 32}, "flip_horizontal", …]; names and fields are those
 * of tenon/data.h. */
tn_status cli_transforms(const char *json, tn_transform out[MAX_TRANSFORMS], int *count,
                         tn_error *err);

#endif

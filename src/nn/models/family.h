/* What the registry knows of a family of models. See tenon/models.h. */
#ifndef TENON_NN_MODELS_FAMILY_H
#define TENON_NN_MODELS_FAMILY_H

#include <tenon/models.h>

struct tn_model_family {
    const char *name;
    size_t size; /* of the options */
    const tn_model_field *fields;
    int field_count;
    /* What goes beyond the fields' ranges. */
    tn_status (*check)(const void *options, tn_error *err);
    tn_tensor *(*logits)(tn_module *m, const void *options, const tn_tensor *x);
    void (*input)(const void *options, int64_t rows, int64_t length, tn_buffer *out);
    bool tokens; /* there is a class for each element of the input, not for each row */
};

/* The table of all configurations. */
extern const tn_model_family tn__mlp_family, tn__resnet_family, tn__gpt2_family, tn__llama3_family,
    tn__deepseek_v3_family;
typedef struct tn__named_config {
    const char *name;
    tn_model_config config;
} tn__named_config;
extern const tn__named_config tn__model_configs[];
extern const int tn__model_config_count;

#endif

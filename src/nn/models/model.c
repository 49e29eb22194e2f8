/* What is alike for all families: logits, loss, batches, parameters. See tenon/models.h. */
#include "base/base.h"
#include "nn/lazy.h"
#include "nn/models/family.h"

static tn_status check_input(const tn_model_config *config, const tn_tensor *x, tn_error *err) {
    TN_CHECK(tn_model_config_check(config, err));
    bool tokens = config->family->tokens;
    int rank = tn_tensor_rank(x);
    if (!tn_tensor_ok(x)) return tn_error_set(err, TN_POISONED, "the input failed");
    if (tokens ? rank == 2 : rank >= 1) return TN_OK;
    return tn_error_set(err, TN_INVALID, "%s: the input has %d axes; expected %s",
                        config->family->name, rank, tokens ? "2: rows, length" : "the rows first");
}

tn_tensor *tn_model_logits(tn_module *m, const tn_model_config *config, const tn_tensor *x) {
    char text[TN_ERROR_TEXT];
    tn_error err = TN_ERROR_INIT;
    if (check_input(config, x, &err) == TN_OK)
        return config->family->logits(m, &config->options, x);
    tn_error_format(&err, text, sizeof text);
    return tn_fail(tn_module_context(m), "%s", text);
}

tn_tensor *tn_model_loss(void *context, tn_module *m, tn_tensor *const *batch) {
    const tn_model_config *config = context;
    tn_scope *scope = tn_scope_open(tn_module_context(m));
    tn_tensor *logits = tn_model_logits(m, config, batch[0]), *target = batch[1];
    if (tn_tensor_ok(logits) && config->family->tokens) {
        logits = tn_reshape(logits, TN_SHAPE(-1, tn_tensor_dim(logits, -1)));
        target = tn_reshape(target, TN_SHAPE(-1));
    }
    return tn_scope_return(scope, tn_cross_entropy(logits, target));
}

void tn_model_batch(const tn_model_config *config, int64_t rows, int64_t length, tn_buffer out[2]) {
    config->family->input(&config->options, rows, length, &out[0]);
    out[1] = (tn_buffer){.dtype = TN_i32, .rank = 1, .dim = {rows}};
    if (config->family->tokens) out[1] = out[0];
}

/* An input without elements; in evaluation, where no buffer is replaced. */
tn_status tn_model_declare(tn_module *m, const tn_model_config *config, tn_error *err) {
    tn_buffer batch[2];
    tn_tensor *x;
    tn_context *c = tn_module_context(m);
    bool training = tn_module_training(m);
    TN_CHECK(tn_model_config_check(config, err));
    tn_model_batch(config, 1, 1, batch);
    tn_scope *scope = tn_scope_open(c);
    tn_status status = tn__tensor_abstract(c, &batch[0], "the input", &x, err);
    if (status == TN_OK) {
        tn_module_set_training(m, false);
        tn_model_logits(m, config, x);
        tn_module_set_training(m, training);
        status = tn_context_error(c, err);
    }
    tn_scope_close(scope);
    return status;
}

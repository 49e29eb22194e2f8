/* A transformer learns to continue a text, byte by byte.
 *
 * The model is a small Llama: RMS norm, attention with rotary embedding, SwiGLU. (tenon/models.h has it
 * in all sizes; here it is written out.) tn_train_step_compile makes loss, gradients, clipping and update
 * one program, which runs once a step; then the model goes on from where a sentence begins.
 *
 *   05_transformer [TEXT]  (docs/design.md when it is run in the source folder without) */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tenon/data.h>
#include <tenon/train.h>

enum { BYTES = 256, DIM = 96, LAYERS = 2, HEADS = 4, HIDDEN = 256, LENGTH = 64 };
enum { BATCH = 8, STEPS = 500, SHOWN = 200 };

/* ---- the model ------------------------------------------------------------------------------ */

/* x + attention(norm x), then x + w2(silu(w1 h) ∘ w3 h) of h = norm x */
static tn_tensor *block(tn_module *m, tn_tensor *x) {
    tn_scope *scope = tn_scope_open(tn_module_context(m));
    tn_tensor *h = tn_rms_norm(m, "attention_norm", x);
    h = tn_multi_head_attention(m, "attention", h, HEADS, .causal = true, .no_bias = true,
                                .rotary = {.theta = 10000});
    x = tn_add(x, h);
    h = tn_rms_norm(m, "ffn_norm", x);
    tn_tensor *gate = tn_silu(tn_linear(m, "w1", h, HIDDEN, .no_bias = true));
    h = tn_mul(gate, tn_linear(m, "w3", h, HIDDEN, .no_bias = true));
    x = tn_add(x, tn_linear(m, "w2", h, DIM, .no_bias = true));
    return tn_scope_return(scope, x);
}

/* Bytes [N, S] → logits [N, S, 256] of the bytes that follow each */
static tn_tensor *network(tn_module *m, const tn_tensor *bytes) {
    tn_scope *scope = tn_scope_open(tn_module_context(m));
    tn_tensor *x = tn_embedding(m, "tok_embeddings", bytes, BYTES, DIM);
    for (int i = 0; i < LAYERS; i++) x = block(tn_module_child(m, "layers.%d", i), x);
    x = tn_linear(m, "output", tn_rms_norm(m, "norm", x), BYTES, .no_bias = true);
    return tn_scope_return(scope, x);
}

static tn_tensor *loss(void *context, tn_module *m, tn_tensor *const *batch) {
    (void)context;
    tn_scope *scope = tn_scope_open(tn_module_context(m));
    tn_tensor *logits = tn_reshape(network(m, batch[0]), TN_SHAPE(-1, BYTES));
    return tn_scope_return(scope, tn_cross_entropy(logits, tn_reshape(batch[1], TN_SHAPE(-1))));
}

/* ---- training ------------------------------------------------------------------------------- */

/* Windows of the text that begin anywhere, and the same one byte further. */
static tn_status open_text(const char *path, tn_loader **out, tn_error *err) {
    tn_token_options t = TN_TOKEN_OPTIONS_INIT;
    tn_loader_options l = TN_LOADER_OPTIONS_INIT;
    tn_dataset *text;
    t.window = LENGTH;
    t.random = true;
    l.batch = BATCH;
    l.shuffle = l.drop_last = true;
    TN_TRY(err, tn_dataset_tokens(path, &t, &text, err), "while opening the text");
    tn_status status = tn_loader_create(text, &l, out, err);
    tn_dataset_release(text); /* the loader keeps it */
    return status;
}

static tn_status train(tn_module *m, tn_loader *loader, tn_error *err) {
    tn_train_options o = TN_TRAIN_OPTIONS_INIT;
    tn_rate_schedule rate = TN_RATE_SCHEDULE_INIT;
    tn_train_metrics metrics;
    tn_train_step *step;
    tn_data_batch batch;
    rate.kind = TN_RATE_COSINE;
    rate.rate = 3e-3;
    rate.warmup = 20;
    rate.period = STEPS - 20;
    TN_TRY(err, tn_loader_next(loader, &batch, err), "while reading the text");
    o.module = m;
    o.loss = loss;
    o.batch = batch.buffers; /* of these types are all batches */
    o.batch_count = batch.count;
    o.clip_norm = 1;
    TN_TRY(err, tn_train_step_compile(&o, &step, err), "while making the step");
    tn_status status = TN_OK;
    for (int i = 0; i < STEPS && status == TN_OK; i++) {
        status = tn_train_step_run(step, batch.buffers, tn_rate_at(&rate, i), &metrics, err);
        if (status == TN_OK && (i + 1) % 100 == 0)
            printf("step %3d  loss %.3f  gradient norm %.2f\n", i + 1, metrics.loss,
                   metrics.grad_norm);
        if (status == TN_OK) status = tn_loader_next(loader, &batch, err);
    }
    tn_train_step_release(step);
    return status;
}

/* ---- continuing a text ---------------------------------------------------------------------- */

/* Draws the byte behind `count` bytes by its probability to the power of 2: the largest of the logits
 * with Gumbel noise, −log(−log u). What comes later in the window is not looked at. */
static tn_status next_byte(tn_module *m, const char *text, int count, char *out, tn_error *err) {
    int32_t window[LENGTH] = {0};
    int64_t best[LENGTH];
    int used = count < LENGTH ? count : LENGTH;
    for (int i = 0; i < used; i++) window[i] = (unsigned char)text[count - used + i];
    tn_context *c = tn_module_context(m);
    tn_scope *scope = tn_scope_open(c);
    tn_tensor *x = tn_tensor_from(c, TN_i32, TN_SHAPE(1, LENGTH), window);
    tn_tensor *u = tn_random_uniform(c, TN_SHAPE(LENGTH, BYTES));
    tn_tensor *noise = tn_mul_scalar(tn_log(tn_neg(tn_log(u))), -0.5);
    x = tn_argmax(tn_add(network(m, x), noise), -1, false);
    tn_status status = tn_read(x, best, sizeof best, err);
    tn_scope_close(scope);
    if (status == TN_OK) *out = (char)best[used - 1];
    return status;
}

static tn_status show(tn_module *m, const char *begin, tn_error *err) {
    char text[SHOWN + 1] = {0};
    int count = snprintf(text, sizeof text, "%s", begin);
    tn_module_set_training(m, false);
    for (; count < SHOWN; count++)
        TN_TRY(err, next_byte(m, text, count, &text[count], err), "while continuing the text");
    printf("\n%s\n", text);
    return TN_OK;
}

int main(int count, char **arguments) {
    const char *path = count > 1 ? arguments[1] : "docs/design.md";
    tn_error err = TN_ERROR_INIT;
    tn_context *c = NULL;
    tn_module *m = NULL;
    tn_loader *loader = NULL;
    tn_context_options o = TN_CONTEXT_OPTIONS_INIT;
    o.compile.threads = 1; /* steps of a model of this size are too short to share */
    tn_status status = tn_context_create(&o, &c, &err);
    if (status == TN_OK) status = tn_module_create(c, NULL, &m, &err);
    if (status == TN_OK) status = open_text(path, &loader, &err);
    if (status == TN_OK) status = train(m, loader, &err);
    if (status == TN_OK) status = show(m, "The ", &err);
    tn_loader_release(loader);
    tn_module_release(m);
    tn_context_release(c);
    if (status == TN_OK) return EXIT_SUCCESS;
    char text[4096];
    tn_error_format(&err, text, sizeof text);
    fprintf(stderr, "%s\n", text);
    return EXIT_FAILURE;
}

/* The models of bench_train.py. Their twins in PyTorch are in train_peers.py. */
#include "train_models.h"

/* The mean cross entropy of logits […, C] and classes […]. */
static tn_tensor *cross_entropy(tn_tensor *logits, tn_tensor *target) {
    logits = tn_reshape(logits, TN_SHAPE(-1, tn_tensor_dim(logits, -1)));
    return tn_cross_entropy(logits, tn_reshape(target, TN_SHAPE(-1)));
}

/* ---- convolutions on small images ------------------------------------------------------------ */

static tn_tensor *conv_block(tn_module *m, tn_tensor *x, int64_t features) {
    x = tn_conv2d(m, "conv", x, features, .kernel = 3, .padding = 1, .no_bias = true);
    return tn_relu(tn_batch_norm(m, "norm", x));
}

/* Three stages of two convolutions with batch norm (Simonyan, Zisserman 2015, in small) */
static tn_tensor *cnn(void *context, tn_module *m, tn_tensor *const *batch) {
    static const int64_t width[] = {32, 64, 128};
    (void)context;
    tn_scope *scope = tn_scope_open(tn_module_context(m));
    tn_tensor *x = batch[0];
    for (int i = 0; i < 6; i++) {
        x = conv_block(tn_module_child(m, "blocks.%d", i), x, width[i / 2]);
        if (i % 2) x = tn_max_pool(x, .kernel = 2);
    }
    x = tn_linear(m, "out", tn_reshape(x, TN_SHAPE(tn_tensor_dim(x, 0), -1)), 10);
    return tn_scope_return(scope, cross_entropy(x, batch[1]));
}

/* ---- BERT (Devlin et al. 2019), with a classifier of two classes ------------------------------- */

enum { BERT_DIM = 768, BERT_LAYERS = 12, BERT_HEADS = 12, BERT_FFN = 3072, BERT_VOCAB = 30522 };

static tn_tensor *norm(tn_module *m, const char *name, tn_tensor *x) {
    return tn_layer_norm(m, name, x, .epsilon = 1e-12);
}

static tn_tensor *table(tn_module *m, const char *name, int64_t rows) {
    return tn_module_parameter(m, name, TN_f32, TN_SHAPE(rows, BERT_DIM), tn_init_normal(0, 0.02));
}

static tn_tensor *bert_embeddings(tn_module *m, tn_tensor *tokens) {
    tn_tensor *words = table(m, "word", BERT_VOCAB), *places = table(m, "position", 512);
    tn_tensor *segment = tn_slice(table(m, "segment", 2), 0, 0, 1, 1);
    tn_tensor *place = tn_slice(places, 0, 0, tn_tensor_dim(tokens, 1), 1);
    tn_tensor *x = tn_add(tn_embedding_with(tokens, words), tn_add(place, segment));
    return norm(m, "norm", x);
}

static tn_tensor *bert_layer(tn_module *m, tn_tensor *x) {
    tn_init init = tn_init_normal(0, 0.02);
    tn_scope *scope = tn_scope_open(tn_module_context(m));
    tn_tensor *y =
        tn_multi_head_attention(m, "attention", x, BERT_HEADS, .weight = init, .out_weight = init);
    x = norm(m, "attention_norm", tn_add(x, y));
    y = tn_gelu(tn_linear(m, "fc1", x, BERT_FFN, .weight = init));
    y = tn_linear(m, "fc2", y, BERT_DIM, .weight = init);
    return tn_scope_return(scope, norm(m, "ffn_norm", tn_add(x, y)));
}

static tn_tensor *bert(void *context, tn_module *m, tn_tensor *const *batch) {
    (void)context;
    tn_scope *scope = tn_scope_open(tn_module_context(m));
    tn_tensor *x = bert_embeddings(tn_module_child(m, "embeddings"), batch[0]);
    for (int i = 0; i < BERT_LAYERS; i++) x = bert_layer(tn_module_child(m, "layers.%d", i), x);
    x = tn_reshape(tn_slice(x, 1, 0, 1, 1), TN_SHAPE(-1, BERT_DIM));
    x = tn_tanh(tn_linear(m, "pooler", x, BERT_DIM, .weight = tn_init_normal(0, 0.02)));
    x = tn_linear(m, "classifier", x, 2, .weight = tn_init_normal(0, 0.02));
    return tn_scope_return(scope, cross_entropy(x, batch[1]));
}

/* ---- a recurrent language model ---------------------------------------------------------------- */

enum { LSTM_WIDTH = 256, LSTM_VOCAB = 256 };

static tn_tensor *lstm(void *context, tn_module *m, tn_tensor *const *batch) {
    (void)context;
    tn_scope *scope = tn_scope_open(tn_module_context(m));
    tn_tensor *x = tn_embedding(m, "embedding", batch[0], LSTM_VOCAB, LSTM_WIDTH);
    x = tn_lstm(m, "lstm", x, LSTM_WIDTH, .layers = 2, .batch_first = true);
    return tn_scope_return(scope, cross_entropy(tn_linear(m, "out", x, LSTM_VOCAB), batch[1]));
}

/* ---- all of them ------------------------------------------------------------------------------ */

/* As torchtitan trains its debug models. */
#define LANGUAGE_MODEL                                                                             \
    {                                                                                              \
        .size = sizeof(tn_optimizer_options), .kind = TN_OPTIMIZER_ADAMW, .weight_decay = 0.1,     \
        .beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8                                               \
    }
#define MOMENTUM                                                                                   \
    {                                                                                              \
        .size = sizeof(tn_optimizer_options), .kind = TN_OPTIMIZER_SGD, .momentum = 0.9,           \
        .weight_decay = 1e-4                                                                       \
    }

const train_case train_cases[] = {
    {"mlp", "mlp", .rows = 1024, .x = {784}, .classes = 10, .optimizer = TN_ADAMW_INIT,
     .rate = 1e-3},
    {"cnn", NULL, cnn, .rows = 128, .x = {3, 32, 32}, .classes = 10, .optimizer = MOMENTUM,
     .rate = 0.001},
    {"resnet18", "resnet18", .rows = 8, .x = {3, 224, 224}, .classes = 1000, .optimizer = MOMENTUM,
     .rate = 0.001},
    {"llama3_debugmodel", "llama3_debugmodel", .rows = 4, .x = {512}, .tokens = 2048,
     .target_each = true, .classes = 2048, .optimizer = LANGUAGE_MODEL, .rate = 8e-4,
     .clip_norm = 1},
    {"deepseek_v3_debugmodel", "deepseek_v3_debugmodel", .rows = 2, .x = {256}, .tokens = 2048,
     .target_each = true, .classes = 2048, .optimizer = LANGUAGE_MODEL, .rate = 8e-4,
     .clip_norm = 1},
    {"bert_base", NULL, bert, .rows = 4, .x = {128}, .tokens = BERT_VOCAB, .classes = 2,
     .optimizer = TN_ADAMW_INIT, .rate = 2e-5},
    {"lstm", NULL, lstm, .rows = 32, .x = {128}, .tokens = LSTM_VOCAB, .target_each = true,
     .classes = LSTM_VOCAB, .optimizer = TN_ADAMW_INIT, .rate = 1e-3},
};
const int train_case_count = sizeof train_cases / sizeof *train_cases;

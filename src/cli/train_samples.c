/* See train_samples.h. */
#include "cli/train_samples.h"

#include <math.h>
#include <stdlib.h>

#include "cli/output.h"

enum { IMAGES = 12, WINDOWS = 4, SHOWN_TOKENS = 160, SIDE = 96 };

/* What is predicted for each row of logits, and how probable it is. */
typedef struct predictions {
    int64_t *best;
    float *probability;
    int64_t count;
} predictions;

static tn_status read_predictions(const tn_tensor *logits, predictions *p, tn_error *err) {
    tn_tensor *both[2] = {tn_argmax(logits, -1, false),
                          tn_max(tn_softmax(tn_cast(logits, TN_f32), -1), TN_AXES(-1), false)};
    p->count = tn_tensor_count(both[0]);
    p->best = calloc((size_t)p->count + 1, sizeof *p->best);
    p->probability = calloc((size_t)p->count + 1, sizeof *p->probability);
    if (!p->best || !p->probability) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    TN_CHECK(tn_eval(both, 2, err));
    TN_CHECK(tn_read(both[0], p->best, (size_t)p->count * sizeof *p->best, err));
    return tn_read(both[1], p->probability, (size_t)p->count * sizeof *p->probability, err);
}

static tn_status predict(const train_settings *s, tn_module *m, const tn_buffer *x, predictions *p,
                         tn_error *err) {
    tn_context *c = tn_module_context(m);
    tn_scope *scope = tn_scope_open(c);
    bool training = tn_module_training(m);
    tn_module_set_training(m, false);
    tn_tensor *input = tn_tensor_from(c, x->dtype, x->rank, x->dim, x->data);
    tn_status status = read_predictions(cli_train_logits(s, m, input), p, err);
    tn_module_set_training(m, training);
    tn_scope_close(scope);
    return status;
}

/* ---- images --------------------------------------------------------------------------------- */

static json_t *base64(const uint8_t *data, size_t size) {
    static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    tn_str s;
    tn_str_init(&s);
    for (size_t i = 0; i < size; i += 3) {
        size_t n = TN_MIN(size - i, (size_t)3);
        uint32_t x = (uint32_t)data[i] << 16;
        if (n > 1) x |= (uint32_t)data[i + 1] << 8;
        if (n > 2) x |= data[i + 2];
        char four[] = {digit[x >> 18], digit[x >> 12 & 63], n > 1 ? digit[x >> 6 & 63] : '=',
                       n > 2 ? digit[x & 63] : '='};
        tn_str_append_n(&s, four, sizeof four);
    }
    json_t *text = json_string(tn_str_text(&s));
    tn_str_deinit(&s);
    return text;
}

/* The part of the batch's images [N, C, H, W] that is shown: every step-th pixel. */
typedef struct grid {
    int64_t channels, height, width, step;
} grid;

/* From the darkest to the brightest value of the image, since it was normalised. */
static json_t *pixels(const grid *g, const float *x) {
    static uint8_t out[SIDE * SIDE * 3];
    int64_t area = g->height * g->width, n = 0;
    float low = INFINITY, high = -INFINITY;
    for (int64_t i = 0; i < g->channels * area; i++) {
        low = fminf(low, x[i]);
        high = fmaxf(high, x[i]);
    }
    for (int64_t h = 0; h < g->height; h += g->step)
        for (int64_t w = 0; w < g->width; w += g->step)
            for (int64_t c = 0; c < g->channels; c++) {
                float v = (x[c * area + h * g->width + w] - low) / fmaxf(high - low, 1e-20F);
                out[n++] = (uint8_t)(255 * v + 0.5F);
            }
    return base64(out, (size_t)n);
}

static json_t *class_name(const train_data *d, int64_t label) {
    const char *name = tn_dataset_class(d->dataset, (int)label);
    json_t *text = name ? json_string(name) : NULL;
    return text ? text : json_sprintf("%lld", (long long)label);
}

static grid grid_of(const tn_buffer *images) {
    grid g = {images->dim[1], images->dim[2], images->dim[3], 1};
    while ((g.height + g.step - 1) / g.step > SIDE || (g.width + g.step - 1) / g.step > SIDE)
        g.step++;
    return g;
}

static json_t *image_item(const train_data *d, const tn_data_batch *b, const predictions *p,
                          int64_t row) {
    grid g = grid_of(&b->buffers[0]);
    const float *x = b->buffers[0].data;
    const int32_t *label = b->buffers[1].data;
    return json_pack("{s:o, s:o, s:o, s:o}", "pixels",
                     pixels(&g, x + row * g.channels * g.height * g.width), "label",
                     class_name(d, label[row]), "prediction", class_name(d, p->best[row]),
                     "probability", cli_json_number((double)p->probability[row]));
}

static json_t *images_json(const tn_buffer *images, json_t *items) {
    grid g = grid_of(images);
    return json_pack("{s:s, s:I, s:I, s:I, s:o}", "kind", "images", "width",
                     (json_int_t)((g.width + g.step - 1) / g.step), "height",
                     (json_int_t)((g.height + g.step - 1) / g.step), "channels",
                     (json_int_t)g.channels, "items", items);
}

/* ---- tokens --------------------------------------------------------------------------------- */

static json_t *token_item(const tn_data_batch *b, const predictions *p, int64_t row) {
    const int32_t *input = b->buffers[0].data, *target = b->buffers[1].data;
    int64_t length = b->buffers[0].dim[1], begin = row * length;
    json_t *list[4];
    for (int k = 0; k < 4; k++) list[k] = json_array();
    for (int64_t i = begin; i < begin + TN_MIN(length, (int64_t)SHOWN_TOKENS); i++) {
        json_array_append_new(list[0], json_integer(input[i]));
        json_array_append_new(list[1], json_integer(target[i]));
        json_array_append_new(list[2], json_integer((json_int_t)p->best[i]));
        json_array_append_new(list[3], cli_json_number((double)p->probability[i]));
    }
    return json_pack("{s:o, s:o, s:o, s:o}", "input", list[0], "target", list[1], "prediction",
                     list[2], "probability", list[3]);
}

/* ---- both ----------------------------------------------------------------------------------- */

typedef struct taking {
    const train_settings *s;
    tn_module *module;
    const train_data *data;
    json_t *items;
} taking;

/* `rows` samples of a batch. */
static tn_status take(const taking *t, const tn_data_batch *b, int64_t rows, tn_error *err) {
    predictions p = {0};
    rows = TN_MIN(rows, b->samples);
    tn_status status = predict(t->s, t->module, &b->buffers[0], &p, err);
    for (int64_t i = 0; status == TN_OK && i < rows; i++) {
        int64_t row = i * b->samples / rows;
        json_array_append_new(t->items, t->s->tokens ? token_item(b, &p, row)
                                                     : image_item(t->data, b, &p, row));
    }
    free(p.best);
    free(p.probability);
    return status;
}

static tn_status take_all(const taking *t, tn_loader *loader, tn_data_batch *b, tn_error *err) {
    int64_t wanted = t->s->tokens ? WINDOWS : IMAGES;
    int64_t whole = TN_MAX(1, tn_loader_batches(loader) - 1), used = TN_MIN(wanted, whole);
    for (int64_t i = 0; i < used; i++) {
        TN_CHECK(tn_loader_seek(loader, 0, i * whole / used, err));
        TN_CHECK(tn_loader_next(loader, b, err));
        if (!t->s->tokens && b->buffers[0].dtype != TN_f32) return TN_OK;
        TN_CHECK(take(t, b, (wanted + used - 1) / used, err));
    }
    return TN_OK;
}

tn_status cli_train_samples(const train_settings *s, tn_module *m, const train_data *d,
                            json_t **out, tn_error *err) {
    tn_loader *loader = d->held_out ? d->held_out : d->train;
    taking t = {s, m, d, json_array()};
    tn_data_batch b;
    *out = NULL;
    tn_status status = take_all(&t, loader, &b, err);
    if (status != TN_OK) json_decref(t.items);
    TN_TRY(err, status, "while predicting samples for the report");
    bool text = s->data_kind != DATA_TOKENS || s->data_dtype == 3;
    *out = s->tokens ? json_pack("{s:s, s:o}", "kind", text ? "text" : "tokens", "items", t.items)
                     : images_json(&b.buffers[0], t.items);
    return TN_OK;
}

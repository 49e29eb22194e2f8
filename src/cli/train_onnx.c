/* See train_onnx.h. */
#include "cli/train_onnx.h"

#include <stdlib.h>

#include "import/import.h"

bool cli_is_onnx(const char *name) {
    size_t size = strlen(name);
    return size > 5 && strcmp(name + size - 5, ".onnx") == 0;
}

/* ---- what it reads -------------------------------------------------------------------------- */

static tn_port_info port_of(cli *c, const tn_import_port *p) {
    tn_port_info out = {.name = tn_arena_strdup(&c->arena, p->name), .dtype = p->type.dtype};
    out.rank = p->typed ? p->type.shape.rank : -1;
    for (int a = 0; a < out.rank; a++) {
        tn_dim d = p->type.shape.dim[a];
        out.dim[a] = tn_dim_is_const(d) ? d : -1;
    }
    return out;
}

static bool find_role(const tn_port_info *p, train_onnx_role *out) {
    static const struct {
        const char *name;
        train_onnx_role role;
    } known[] = {{"attention_mask", TRAIN_ONNX_ONES},
                 {"token_type_ids", TRAIN_ONNX_ZEROS},
                 {"position_ids", TRAIN_ONNX_POSITIONS}};
    for (size_t i = 0; i < TN_COUNT(known); i++)
        if (strcmp(p->name, known[i].name) == 0 && p->rank == 2) {
            *out = known[i].role;
            return true;
        }
    return false;
}

static void append_port(tn_str *s, const tn_port_info *p) {
    tn_str_appendf(s, "'%s' %s", p->name, tn_dtype_name(p->dtype));
    for (int a = 0; a < p->rank; a++)
        if (p->dim[a] >= 0)
            tn_str_appendf(s, "%s%lld", a ? ", " : " [", (long long)p->dim[a]);
        else
            tn_str_appendf(s, "%s?", a ? ", " : " [");
    if (p->rank > 0) tn_str_append(s, "]");
}

static tn_status refuse_kind(cli *c, const train_onnx *x, const tn_port_info *out, tn_error *err) {
    tn_str s;
    tn_str_init_with(&s, tn_arena_allocator(&c->arena));
    for (int i = 0; i < x->inputs; i++) {
        if (i) tn_str_append(&s, ", ");
        append_port(&s, &x->input[i]);
    }
    tn_str_append(&s, " → ");
    append_port(&s, out);
    return tn_error_set(
        err, TN_UNSUPPORTED,
        "%s: %s; tenon train takes one float image [N, C, H, W] → logits [N, classes], "
        "or tokens [N, S] (and attention_mask, token_type_ids, position_ids) → logits "
        "[N, S, vocabulary]; tenon/onnx.h trains any other model with a loss of your own",
        x->path, tn_str_text(&s));
}

static bool is_images(const train_onnx *x, const tn_port_info *out) {
    const tn_port_info *in = &x->input[0];
    bool channels = in->rank == 4 && (in->dim[1] == 1 || in->dim[1] == 3);
    return x->inputs == 1 && in->dtype == TN_f32 && channels && out->rank == 2;
}

static bool is_tokens(const train_onnx *x, const tn_port_info *out) {
    int data = 0;
    for (int i = 0; i < x->inputs; i++) {
        if (!tn_dtype_is_integer(x->input[i].dtype) || x->input[i].rank != 2) return false;
        data += x->role[i] == TRAIN_ONNX_DATA;
    }
    return data == 1 && out->rank == 3;
}

typedef struct looking {
    cli *c;
    const tn_import *import;
    train_onnx *out;
} looking;

static tn_status look(const looking *k, tn_error *err) {
    train_onnx *x = k->out;
    const tn_import *i = k->import;
    if (i->inputs.len == 0 || i->inputs.len > TRAIN_ONNX_INPUTS || i->outputs.len == 0 ||
        i->outputs.len > TRAIN_ONNX_OUTPUTS)
        return tn_error_set(err, TN_UNSUPPORTED,
                            "%s: %u inputs and %u outputs; tenon train takes models of images or "
                            "tokens, whose first output is logits",
                            x->path, i->inputs.len, i->outputs.len);
    x->inputs = (int)i->inputs.len;
    x->outputs = (int)i->outputs.len;
    for (int p = 0; p < x->inputs; p++) {
        x->input[p] = port_of(k->c, &i->inputs.data[p]);
        find_role(&x->input[p], &x->role[p]);
    }
    tn_port_info out = port_of(k->c, &i->outputs.data[0]);
    x->tokens = is_tokens(x, &out);
    bool known = tn_dtype_is_float(out.dtype) && (x->tokens || is_images(x, &out));
    if (!known) return refuse_kind(k->c, x, &out, err);
    if (k->c->options.out_file)
        TN_TRY(err, tn_import_check_save(i, k->c->options.out_file, err), "--output");
    x->classes = out.dim[out.rank - 1];
    return TN_OK;
}

tn_status cli_train_onnx_look(cli *c, const char *path, train_onnx *out, tn_error *err) {
    tn_import import;
    *out = (train_onnx){.path = path};
    TN_CHECK(tn_import_onnx(path, NULL, &c->arena, &import, err));
    tn_status status = look(&(looking){c, &import, out}, err);
    tn_import_close(&import);
    return status;
}

static const tn_port_info *data_port(const train_onnx *x) {
    int i = 0;
    while (x->role[i] != TRAIN_ONNX_DATA) i++;
    return &x->input[i];
}

void cli_train_onnx_batch(const train_onnx *x, int64_t rows, int64_t length, tn_buffer out[2]) {
    const tn_port_info *p = data_port(x);
    out[0] = (tn_buffer){.dtype = x->tokens ? TN_i32 : p->dtype, .rank = p->rank};
    for (int a = 0; a < p->rank; a++) out[0].dim[a] = p->dim[a];
    out[0].dim[0] = rows;
    if (x->tokens) out[0].dim[1] = length;
    out[1] = (tn_buffer){.dtype = TN_i32, .rank = 1, .dim = {rows}};
    if (x->tokens) out[1] = out[0];
}

/* ---- as a network --------------------------------------------------------------------------- */

tn_status cli_train_onnx_open(cli *c, train_onnx *x, tn_module *m, const char *frozen,
                              tn_error *err) {
    tn_onnx_options o = TN_ONNX_OPTIONS_INIT;
    TN_VEC(const char *) patterns = {0};
    for (const char *at = frozen; at && *at;) {
        size_t size = strcspn(at, ",");
        tn_vec_push(&c->arena, &patterns, tn_arena_printf(&c->arena, "%.*s", (int)size, at));
        at += size + (at[size] == ',');
    }
    o.frozen = patterns.data;
    o.frozen_count = (int)patterns.len;
    return tn_onnx_open(x->path, m, &o, &x->model, err);
}

static tn_tensor *input_of(const train_onnx *x, int i, tn_tensor *batch) {
    const tn_port_info *p = &x->input[i];
    tn_context *c = tn_tensor_context(batch);
    int64_t dim[TN_MAX_RANK] = {tn_tensor_dim(batch, 0), tn_tensor_dim(batch, 1)};
    switch (x->role[i]) {
    case TRAIN_ONNX_DATA:
        return tn_cast(batch, p->dtype);
    case TRAIN_ONNX_ONES:
        return tn_full(c, p->dtype, 2, dim, 1);
    case TRAIN_ONNX_ZEROS:
        return tn_full(c, p->dtype, 2, dim, 0);
    case TRAIN_ONNX_POSITIONS:
        return tn_broadcast_to(tn_arange(c, p->dtype, 0, (double)dim[1], 1), 2, dim);
    }
    return NULL;
}

tn_tensor *cli_train_onnx_logits(const train_onnx *x, tn_module *m, tn_tensor *batch) {
    tn_tensor *in[TRAIN_ONNX_INPUTS], *out[TRAIN_ONNX_OUTPUTS];
    (void)m;
    for (int i = 0; i < x->inputs; i++) in[i] = input_of(x, i, batch);
    tn_onnx_apply(x->model, in, x->inputs, out, x->outputs);
    return out[0];
}

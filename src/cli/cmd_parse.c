/* tenon parse: the operators of a model's layers, printed, and as files that explore reads. */
#include <stdio.h>
#include <unistd.h>

#include "base/io.h"
#include "cli/output.h"
#include "explore/draw.h"
#include "explore/workload.h"

enum { MOST_KINDS = 16, FILES = 4 };

/* The type of shape.json whose layer this is, or "custom". */
static const char *type_of(const tn_workload *w) {
    static const char *const types[] = {"opt", "llama", "palm"};
    tn_error unknown = TN_ERROR_INIT;
    for (size_t t = 0; t < TN_COUNT(types); t++) {
        tn_workload like = *w;
        like.count = 0;
        memset(like.operators, 0, sizeof like.operators);
        memset(like.before, 0, sizeof like.before);
        if (w->intermediate < 1 || tn__workload_layer(types[t], &like, &unknown) ||
            tn__workload_same(w, &like) == false)
            continue;
        return types[t];
    }
    return "custom";
}

/* ---- printing ------------------------------------------------------------------------------- */

static json_t *others_json(const tn_workload *w) {
    json_t *others = json_object();
    for (int i = 0; i < w->other_count; i++)
        json_object_set_new(others, w->others[i].name, json_integer(w->others[i].count));
    return others;
}

static json_t *layer_json(const tn_workload *w) {
    return json_pack("{s:s, s:o, s:o, s:o}", "name", w->name, "shape",
                     tn__workload_shape_json(w, type_of(w)), "graph", tn__workload_graph_json(w),
                     "others", others_json(w));
}

static const char *read_by(cli *c, const tn_workload *w, int op) {
    const char *text = "";
    for (int j = 0; j < op; j++)
        if (w->before[op] >> j & 1)
            text =
                tn_arena_printf(&c->arena, "%s%s%s", text, *text ? " " : "", w->operators[j].name);
    return text;
}

static void print_layer(cli *c, const tn_workload *w) {
    char size[96];
    printf("%s%s%s  %d layer%s like %s: hidden %lld, inner %lld, %lld query and %lld key heads of "
           "%lld\n",
           cli_style_on(c, CLI_BOLD), w->name, CLI_OFF(c), w->layers, w->layers == 1 ? "" : "s",
           type_of(w), (long long)w->hidden, (long long)w->intermediate, (long long)w->query_heads,
           (long long)w->key_heads, (long long)w->head_dim);
    cli_table t = cli_table_of(c, "lll", true);
    cli_table_cell(&t, "operator");
    cli_table_cell(&t, "size");
    cli_table_cell(&t, "reads");
    for (int i = 0; i < w->count; i++) {
        const tn_operator *o = &w->operators[i];
        tn__operator_size(o, "×", size, sizeof size);
        cli_table_cell(&t, "%s", o->name);
        if (o->window)
            cli_table_cell(&t, "%s, window %lld", size, (long long)o->window);
        else
            cli_table_cell(&t, "%s", size);
        cli_table_cell(&t, "%s", read_by(c, w, i));
    }
    cli_table_print(&t);
    for (int i = 0; i < w->other_count; i++)
        printf("%s%s %d", i ? ", " : "others: ", w->others[i].name, w->others[i].count);
    printf(w->other_count ? "\n" : "");
}

/* ---- files ---------------------------------------------------------------------------------- */

typedef struct file {
    const char *path;
    tn_str text;
} file;

static tn_status dump(json_t *value, tn_str *out, tn_error *err) {
    char *text = value ? json_dumps(value, JSON_INDENT(1) | JSON_ENSURE_ASCII) : NULL;
    json_decref(value);
    if (!text) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    tn_str_appendf(out, "%s\n", text);
    free(text);
    return TN_OK;
}

/* All files of a layer, in memory. */
static tn_status make_files(cli *c, const tn_workload *w, const char *folder, file files[FILES],
                            tn_error *err) {
    static const char *const names[FILES] = {"shape.json", "operator_graph.json",
                                             "operator_graph.gv", "operator_graph.png"};
    for (int i = 0; i < FILES; i++)
        files[i].path = tn_arena_printf(&c->arena, "%s/%s", folder, names[i]);
    TN_CHECK(dump(tn__workload_shape_json(w, type_of(w)), &files[0].text, err));
    TN_CHECK(dump(tn__workload_graph_json(w), &files[1].text, err));
    tn__draw_gv(w, &files[2].text);
    return tn__draw_png(w, &files[3].text, err);
}

/* Each appears whole; after an error those of this run are gone. */
static tn_status write_files(const file *files, int count, tn_error *err) {
    for (int i = 0; i < count; i++) {
        tn_status status = tn_file_write(files[i].path, tn_str_text(&files[i].text),
                                         files[i].text.len, false, err);
        if (!status) continue;
        while (i-- > 0) unlink(files[i].path);
        return status;
    }
    return TN_OK;
}

static const char *folder_of(cli *c, int kind, int kinds) {
    const char *folder = c->options.out_dir;
    return kinds > 1 ? tn_arena_printf(&c->arena, "%s/layer%d", folder, kind + 1) : folder;
}

static tn_status write_layers(cli *c, const tn_workload *w, int count, tn_error *err) {
    file files[MOST_KINDS * FILES];
    tn_status status = TN_OK;
    for (int i = 0; i < count * FILES; i++) tn_str_init(&files[i].text);
    for (int i = 0; i < count && !status; i++)
        status = make_files(c, &w[i], folder_of(c, i, count), files + i * FILES, err);
    for (int i = 0; i < count && !status; i++)
        status = tn_make_dirs(folder_of(c, i, count), 0777, err);
    if (!status) status = write_files(files, count * FILES, err);
    for (int i = 0; i < count * FILES; i++) tn_str_deinit(&files[i].text);
    return status;
}

/* ---- all ------------------------------------------------------------------------------------ */

tn_status cmd_parse(cli *c, tn_error *err) {
    const char *path = c->options.positional.at[0];
    tn_workload *w = TN_NEW_N(&c->arena, tn_workload, MOST_KINDS);
    tn_error unknown = TN_ERROR_INIT;
    int count = 1;
    if (tn_workload_named(path, &w[0], &unknown))
        TN_CHECK(tn_workload_from_model(path, w, MOST_KINDS, &count, err));
    if (c->options.out_dir) TN_CHECK(write_layers(c, w, count, err));
    if (c->options.json) {
        json_t *layers = json_array();
        for (int i = 0; i < count; i++) json_array_append_new(layers, layer_json(&w[i]));
        return cli_json(c, json_pack("{s:s, s:o}", "schema", "tenon.parse/1", "layers", layers),
                        err);
    }
    for (int i = 0; i < count; i++) print_layer(c, &w[i]);
    return TN_OK;
}

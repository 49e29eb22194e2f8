/* tenon verify: ONNX test folders, one line each. */
#include <math.h>
#include <stdio.h>

#include "cli/output.h"
#include "cli/verify.h"

static const char *base_name(const char *path) {
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/') end--;
    size_t begin = end;
    while (begin > 0 && path[begin - 1] != '/') begin--;
    return path + begin;
}

static tn_status print_json(cli *c, const char *path, const cli_verdict *v, tn_error *err) {
    const char *name = base_name(path);
    json_t *ops = json_array();
    for (uint32_t i = 0; i < v->ops.len; i++)
        json_array_append_new(ops, json_string(v->ops.data[i]));
    json_t *reason = json_null();
    if (!v->ok) { /* texts of a hostile file may not be UTF-8 */
        reason = json_string(v->reason);
        if (!reason) reason = json_string("the reason is not valid UTF-8");
    }
    return cli_json_line(c,
                         json_pack("{s:s, s:s, s:s%, s:b, s:o, s:o, s:s*, s:i, s:o}", "schema",
                                   "tenon.verify/1", "path", path, "name", name, strcspn(name, "/"),
                                   "ok", (int)v->ok, "max_ulp", cli_json_number(v->max_ulp),
                                   "reason", reason, "stage", v->stage, "data_sets", v->data_sets,
                                   "ops", ops),
                         err);
}

static void print_line(cli *c, const char *path, const cli_verdict *v) {
    const char *name = base_name(path);
    int len = (int)strcspn(name, "/");
    if (v->ok && c->options.quiet) return;
    printf("%s%s%s  %-*.*s", cli_style_on(c, v->ok ? CLI_GREEN : CLI_RED), v->ok ? "ok  " : "FAIL",
           CLI_OFF(c), TN_MAX(len, 40), len, name);
    if (v->ok && isnan(v->max_ulp))
        printf("  no outputs\n");
    else if (v->ok)
        printf("  max %.6g ULP\n", v->max_ulp);
    else
        printf("  %s\n", v->reason);
}

static tn_status verify_one(cli *c, const char *path, bool *ok, tn_error *err) {
    tn_arena arena;
    cli_verdict v;
    tn_arena_init(&arena, tn_allocator_system());
    tn_status status = cli_verify_folder(c, path, &arena, &v, err);
    *ok = v.ok;
    if (status == TN_OK && c->options.json)
        status = print_json(c, path, &v, err);
    else if (status == TN_OK)
        print_line(c, path, &v);
    tn_arena_deinit(&arena);
    TN_CHECK(status);
    return cli_flush(err);
}

tn_status cmd_verify(cli *c, tn_error *err) {
    int passed = 0, count = c->options.positional.count;
    for (int i = 0; i < count; i++) {
        bool ok = false;
        TN_CHECK(verify_one(c, c->options.positional.at[i], &ok, err));
        passed += ok;
    }
    c->failed = passed < count;
    if (!c->options.json && count > 1) printf("%d passed, %d failed\n", passed, count - passed);
    return TN_OK;
}

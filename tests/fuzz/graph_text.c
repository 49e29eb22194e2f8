/* Fuzzes the text parser: whatever is read prints, reads back and can be transformed. */
#include "base/base.h"
#include "ir/graph.h"
#include "transform/pass.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct input {
    tn_arena arena;
    const char *text;
    size_t len;
    tn_str printed; /* owned outside the guard */
} input;

static tn_status check(void *argument, tn_error *err) {
    input *in = argument;
    tn_graph *g, *again;
    const tn_transform_options options = {.float_unsafe = in->len % 2, .verify = true};
    const tn_graph *out;
    TN_CHECK(tn_graph_parse(&in->arena, in->text, in->len, &g, err));
    tn_graph_print(g, true, &in->printed);
    /* Sizes that are nested too deeply for the text form are cut off and do not read back. */
    tn_status status = tn_graph_parse(&in->arena, in->printed.data, in->printed.len, &again, err);
    if (status != TN_OK && !strchr(in->printed.data, '?')) TN_BUG("%s", err->message);
    if (tn_transform_standard(g, &options, &out, err) != TN_OK)
        TN_BUG("a transform failed: %s", err->message);
    return TN_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    input in = {.text = (const char *)data, .len = size};
    tn_error err = TN_ERROR_INIT;
    tn_arena_init(&in.arena, tn_allocator_system());
    in.arena.limit = (size_t)64 << 20;
    tn_str_init(&in.printed);
    (void)!tn_guard(check, &in, &err);
    tn_str_deinit(&in.printed);
    tn_arena_deinit(&in.arena);
    return 0;
}

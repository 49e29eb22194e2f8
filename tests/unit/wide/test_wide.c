/* Wide models beside their members alone: inputs, outputs, shared and own weights. */
#include "unit/test_folder.h"
#include "unit/wide/wide_lab.h"

/* x → Gemm → activation → Gemm, with weights of this seed. */
static const char *mlp(const char *name, const char *activation, uint64_t seed) {
    wire g = {.len = 0};
    char node[64];
    wire_input(&g, "x", W_FLOAT, "B,6");
    wire_weight(&g, "w1", DIMS(6, 10), 0.5f, &seed);
    wire_weight(&g, "b1", DIMS(10), 0.5f, &seed);
    wire_weight(&g, "w2", DIMS(10, 3), 0.5f, &seed);
    wire_add_node(&g, "Gemm x w1 b1 > h");
    snprintf(node, sizeof node, "%s h > a", activation);
    wire_add_node(&g, node);
    wire_add_node(&g, "MatMul a w2 > y");
    wire_output(&g, "y", W_FLOAT, "B,3");
    const char *path = in_folder(name);
    write_model(&g, 20, path);
    return path;
}

static void test_wide__equals_members_alone(void **state) {
    (void)state;
    char name[7][32];
    const char *paths[7];
    tn_wide_member members[7] = {0};
    for (int i = 0; i < 7; i++) {
        snprintf(name[i], sizeof name[i], "mlp%d.onnx", i);
        paths[i] = members[i].model = mlp(name[i], "Relu", (uint64_t)i);
    }
    static const int counts[] = {1, 2, 3, 7};
    for (size_t c = 0; c < TN_COUNT(counts); c++) {
        tn_wide_options o = lab_options();
        uint64_t seed = 77;
        tn_buffer x = floats_of(&seed, DIMS(counts[c], 4, 6));
        tn_wide *w = open_wide(members, counts[c], &o);
        expect_as_alone(w, paths, &x, 1, NULL, 1);
        free(x.data);
        tn_wide_release(w);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wide__equals_members_alone),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}

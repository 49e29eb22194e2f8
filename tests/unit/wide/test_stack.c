/* Large weights: what seeds draw, and stacks that are filled while they are packed. */
#include <stdlib.h>
#include <sys/stat.h>

#include "base/random.h"
#include "import/safetensors.h"
#include "session/session.h"
#include "unit/test_folder.h"
#include "unit/wide/wide_lab.h"
#include "wide/source.h"

/* ---- seeds -------------------------------------------------------------------------------------- */

/* As source.h and AS 241 have it, one number after the other. */
static double normal_at(double p) {
    double q = p - 0.5, r = 0.180625 - q * q;
    if (fabs(q) <= 0.425)
        return q * (((59.109374720 * r + 159.29113202) * r + 50.434271938) * r + 3.3871327179) /
               (((67.187563600 * r + 78.757757664) * r + 17.895169469) * r + 1);
    r = sqrt(-log(q < 0 ? p : 1 - p)) - 1.6;
    return copysign((((0.17023821103 * r + 1.3067284816) * r + 2.7568153900) * r + 1.4234372777) /
                        (((0 * r + 0.12021132975) * r + 0.73700164250) * r + 1),
                    q);
}

static void disturb(const char *name, uint64_t seed, tn_array *x) {
    tn_hash128 hash = tn_hash128_of(name, strlen(name));
    const uint64_t place[] = {hash.lo, hash.hi, seed};
    uint64_t key = tn_hash128_of(place, sizeof place).lo;
    uint32_t word[4];
    for (int64_t i = 0; i < tn_array_count(x); i++) {
        if (i % 4 == 0) tn_philox(key, (uint64_t)i / 4, word);
        double factor = 1 + 0.01 * normal_at(((double)word[i % 4] + 0.5) * 0x1p-32);
        tn_array_set(x, i, tn_cell_of(x->dtype, tn_array_get(x, i).f * factor));
    }
}

static void test_seeds__mean_the_same_bits_in_parts(void **state) {
    (void)state;
    enum { COUNT = 30011, PART = 1240 };
    static const tn_dtype dtypes[] = {TN_f32, TN_f64, TN_f16};
    double want[COUNT], got[COUNT]; /* room for any of them */
    for (size_t d = 0; d < TN_COUNT(dtypes); d++) {
        size_t size = tn_dtype_size(dtypes[d]);
        tn_array a = {.dtype = dtypes[d], .rank = 1, .dim = {COUNT}, .data = want}, part = a;
        for (int64_t i = 0; i < COUNT; i++)
            tn_array_set(&a, i, tn_cell_of(a.dtype, 0.37 * (double)(i % 100) - 17));
        memcpy(got, want, COUNT * size);
        disturb("layer.weight", 5, &a);
        for (int64_t done = 0; done < COUNT; done += PART) {
            part.dim[0] = TN_MIN(PART, COUNT - done);
            part.data = (char *)got + (size_t)done * size;
            tn__wide_perturb("layer.weight", 5, done, &part);
        }
        assert_memory_equal(got, want, COUNT * size);
    }
}

/* ---- stacks ------------------------------------------------------------------------------------- */

enum { WIDTH = 512, MEMBERS = 17, BYTES = WIDTH * WIDTH * 4 }; /* stacks of two windows */

static void put_entry(wire *tensor, const char *key, const char *value) {
    wire entry = {.len = 0};
    wire_text(&entry, 1, key);
    wire_text(&entry, 2, value);
    wire_put(tensor, 13, &entry);
}

static void put_large(wire *g, const char *name, const char *file, int64_t offset, int rank) {
    static const int64_t dim[2][3] = {{WIDTH, WIDTH}, {WIDTH / 4, 4, WIDTH}};
    char at[32], length[32];
    wire t = wire_tensor(name, W_FLOAT, rank, dim[rank - 2], NULL, 0);
    snprintf(at, sizeof at, "%lld", (long long)offset);
    snprintf(length, sizeof length, "%d", BYTES);
    put_entry(&t, "location", file);
    put_entry(&t, "offset", at);
    put_entry(&t, "length", length);
    wire_int(&t, 14, 1); /* data_location: external */
    wire_put(g, 5, &t);
}

/* y = relu(x · w) · v + b, where runs read b as it is and w, v packed. */
static const char *write_large(const char *name, uint64_t seed) {
    wire g = {.len = 0};
    float *values = malloc(3 * BYTES);
    char file[64];
    snprintf(file, sizeof file, "%s.bin", name);
    random_floats(values, 3 * WIDTH * WIDTH, &seed);
    for (int i = 0; i < 3 * WIDTH * WIDTH; i++) values[i] *= 0.1f;
    FILE *f = fopen(in_folder(file), "wb");
    assert_int_equal(fwrite(values, 1, 3 * BYTES, f), 3 * BYTES);
    fclose(f);
    free(values);
    wire_input(&g, "x", W_FLOAT, "4,512");
    put_large(&g, "w", file, 0, 2);
    put_large(&g, "v", file, BYTES, 2);
    put_large(&g, "b", file, 2 * BYTES, 3);
    static const char *const nodes[] = {"MatMul x w > h", "Relu h > a", "MatMul a v > z",
                                        "Add z b > y"};
    for (size_t i = 0; i < TN_COUNT(nodes); i++) wire_add_node(&g, nodes[i]);
    wire_output(&g, "y", W_FLOAT, "128,4,512");
    const char *path = in_folder(name);
    write_model(&g, 20, path);
    return path;
}

static tn_status to_file(void *context, const void *data, size_t size, tn_error *err) {
    (void)err;
    fwrite(data, 1, size, context);
    return TN_OK;
}

/* The weights of a model as a file of their own. */
static const char *write_weights(const char *model, const char *name) {
    tn_error err = TN_ERROR_INIT;
    tn_arena arena;
    tn_import i;
    tn_import_entry entries[3];
    const char *path = in_folder(name);
    tn_arena_init(&arena, tn_allocator_system());
    check(tn_import_onnx(model, &(tn_import_options){.weights = true}, &arena, &i, &err), &err);
    for (int k = 0; k < 3; k++)
        entries[k] = (tn_import_entry){i.weights.data[k].name, i.weights.data[k].array};
    FILE *f = fopen(path, "wb");
    check(tn_safetensors_write(entries, 3, NULL, 0, to_file, f, &err), &err);
    fclose(f);
    tn_import_close(&i);
    tn_arena_deinit(&arena);
    return path;
}

static void test_stacks__are_filled_while_they_are_packed(void **state) {
    (void)state;
    tn_error err = TN_ERROR_INIT;
    tn_wide_options o = lab_options();
    tn_wide_member members[MEMBERS] = {{0}};
    const char *paths[MEMBERS], *a = write_large("a.onnx", 1), *b = write_large("b.onnx", 2);
    const char *weights = write_weights(b, "b.safetensors");
    for (int i = 0; i < MEMBERS; i++) {
        members[i].model = i % 4 == 1 ? b : a;
        if (i % 4 == 2) members[i].weights = weights;
        members[i].perturbed = i % 4 == 3;
        members[i].seed = (uint64_t)i;
    }
    tn_wide *w = open_wide(members, MEMBERS, &o);
    tn_wide_group_info info;
    assert_int_equal(tn_wide_group(w, 0, &info), TN_OK);
    assert_int_equal(info.own_weights, 3 * WIDTH * WIDTH);
    const tn_artifact *artifact = tn_model_artifact(info.model);
    assert_int_equal(artifact->blocks.len, 3);
    int kept = 0;
    for (uint32_t i = 0; i < artifact->blocks.len; i++)
        kept += artifact->blocks.data[i].data != NULL;
    assert_in_range(kept, 0, 1); /* b */
    assert_null(artifact->filler.context);
    for (int i = 0; i < MEMBERS; i++) {
        char name[32];
        snprintf(name, sizeof name, "out%d", i);
        assert_int_equal(mkdir(in_folder(name), 0700), 0); /* weights have a file of their own */
        snprintf(name, sizeof name, "out%d/m.onnx", i);
        paths[i] = in_folder(name);
        check(tn_wide_extract(w, i, paths[i], &err), &err);
    }
    uint64_t seed = 9;
    tn_buffer x = floats_of(&seed, DIMS(MEMBERS, 4, WIDTH));
    expect_as_alone(w, paths, &x, 1, NULL, 1);
    free(x.data);
    tn_wide_release(w);
}

/* The graph is for people to look at: its constants are whole. */
static void test_stacks__are_whole_in_a_graph(void **state) {
    (void)state;
    tn_error err = TN_ERROR_INIT;
    tn_wide_options o = lab_options();
    tn_wide_member members[MEMBERS] = {{0}};
    const tn_graph *g;
    tn_wide_group_info info;
    const char *model = write_large("graph.onnx", 3);
    for (int i = 0; i < MEMBERS; i++)
        members[i] = (tn_wide_member){.model = model, .perturbed = true, .seed = (uint64_t)i};
    tn_wide *w = open_wide(members, MEMBERS, &o);
    assert_int_equal(tn_wide_group(w, 0, &info), TN_OK);
    check(tn_model_graph(info.model, NULL, 0, &g, &err), &err);
    int found = 0;
    for (tn_node n = 0; n < g->nodes.len; n++) {
        tn_array stack;
        const tn_node_info *node = tn_graph_node(g, n);
        if (node->op != TN_OP_constant || !tn_graph_constant(g, node->out, &stack)) continue;
        if (tn_array_bytes(&stack) != (size_t)MEMBERS * BYTES) continue;
        found++;
        for (int m = 0; m < MEMBERS; m++) {
            const float *row = (const float *)stack.data + m * WIDTH * WIDTH;
            assert_true(row[0] != 0 && row[WIDTH * WIDTH - 1] != 0);
        }
    }
    assert_int_equal(found, 3);
    tn_wide_release(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_seeds__mean_the_same_bits_in_parts),
        cmocka_unit_test(test_stacks__are_filled_while_they_are_packed),
        cmocka_unit_test(test_stacks__are_whole_in_a_graph),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}

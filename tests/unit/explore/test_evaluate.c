/* Rooflines, fixed and random dataflows against rows computed with the H²-LLM artifact. */
#include "unit/explore/models.h"

#include "machine/cost_model.h"

#include "explore/dataflow.h"

static tn_product product_of(const json_t *row) {
    return (tn_product){rows_integer(row, "B"), rows_integer(row, "M"), rows_integer(row, "N"),
                        rows_integer(row, "K"), rows_number(row, "element_size")};
}

static void check_cost(const tn_cost_model *model, const tn_cost_query *q, const json_t *row) {
    tn_error err = TN_ERROR_INIT;
    tn_cost cost;
    assert_ok(tn_cost_of(model, q, &cost, &err), &err);
    rows_near(cost.latency, rows_number(row, "latency_s"), 1e-12, "latency");
    assert_true(cost.energy == rows_number(row, "energy"));
}

static void test_npu_roofline__equals_rows(void **state) {
    (void)state;
    json_t *file = rows_load("npu_roofline"), *row;
    size_t i;
    json_array_foreach(json_object_get(file, "rows"), i, row) {
        tn_machine m = rows_machine(0, 1, 1, 1);
        m.processor.macs = rows_number(row, "npu_tmacs") * 1e12;
        tn_cost_query q = {.machine = &m,
                           .product = product_of(row),
                           .nmp_channels = (int)rows_integer(row, "nmp_channels"),
                           .normal_channels = (int)rows_integer(row, "normal_channels")};
        check_cost(npu, &q, row);
    }
    assert_true(i > 100);
    json_decref(file);
}

static void test_nmp_roofline__equals_rows(void **state) {
    (void)state;
    json_t *file = rows_load("nmp_roofline"), *row;
    size_t i;
    json_array_foreach(json_object_get(file, "rows"), i, row) {
        tn_machine m =
            rows_machine((int)rows_integer(row, "nmp_channels"), (int)rows_integer(row, "fpu"),
                         rows_number(row, "mhz"), rows_number(row, "pe_bw"));
        tn_cost_query q = {.machine = &m,
                           .unit = TN_UNIT_NEAR_MEMORY,
                           .product = product_of(row),
                           .nmp_channels = m.near_memory.channels};
        check_cost(nmp, &q, row);
    }
    assert_true(i > 200);
    json_decref(file);
}

static tn_fixed_dataflow fixed_of(const char *name) {
    static const char *const names[] = {"npu_only", "2x_npu_only", "fc_offloading",
                                        "attention_offloading",
                                        "attention_offloading_with_ffn_splitting"};
    for (int i = 0; i < 5; i++)
        if (strcmp(names[i], name) == 0) return (tn_fixed_dataflow)i;
    fail_msg("no dataflow '%s'", name);
    return TN_NPU_ONLY;
}

static void test_fixed_dataflows__equal_rows(void **state) {
    (void)state;
    json_t *file = rows_load("fixed_dataflow"), *row;
    size_t i;
    json_array_foreach(file, i, row) {
        tn_error err = TN_ERROR_INIT;
        tn_evaluation e;
        tn_workload w;
        rows_workload(rows_text(row, "model"), &w);
        tn_problem p = {
            .workload = &w,
            .scenario = rows_scenario(rows_text(row, "dataset"), (int)rows_integer(row, "batch")),
            .machine = rows_machine((int)rows_integer(row, "nmp_channels"), 8, 600, 25.6),
            .processor = npu,
            .near_memory = nmp};
        assert_ok(tn_fixed_evaluate(&p, fixed_of(rows_text(row, "dataflow")), &e, &err), &err);
        rows_near(e.prefill, rows_number(row, "prefill"), 1e-12, "prefill");
        rows_near(e.decode, rows_number(row, "decode"), 1e-12, "decode");
        rows_near(e.total, rows_number(row, "total"), 1e-12, "total");
    }
    assert_true(i > 100);
    json_decref(file);
}

/* Spans end where the evaluation does, to the bit; no channel near memory does two things at once, nor does the
 * processor within a partition; every part of every operator is there. */
static void check_timeline(const tn_problem *p, const tn_dataflow *d, const tn_evaluation *e) {
    tn_error err = TN_ERROR_INIT;
    tn_timeline t;
    double end = 0;
    int parts = 0, events = 0;
    assert_ok(tn_dataflow_timeline(p, d, &t, &err), &err);
    for (int i = 0; i < t.count; i++) {
        const tn_timeline_span *a = &t.spans[i];
        bool near = a->unit == TN_UNIT_NEAR_MEMORY;
        assert_true(a->start >= 0 && a->end >= a->start);
        end = fmax(end, a->end);
        events += a->op < 0;
        for (int j = 0; j < i; j++) {
            const tn_timeline_span *b = &t.spans[j];
            bool same_unit = near ? (a->nmp & b->nmp) != 0 : a->partition == b->partition;
            if (b->unit == a->unit && same_unit) assert_true(b->end <= a->start);
        }
    }
    for (int i = 0; i < d->count; i++) parts += (d->at[i].nmp != 0) + d->at[i].normal;
    assert_int_equal(t.count - events, parts);
    assert_true(!events == !p->near_memory->events);
    assert_true(end == e->decode_step);
    assert_int_equal(t.prefill_count, d->count);
    assert_true(t.prefill[d->count - 1].end == e->prefill);
}

static tn_status cost_with_events(void *state, const tn_cost_query *q, tn_cost *out,
                                  tn_error *err) {
    (void)state;
    if (q->event == TN_COST_PRODUCT) return tn_cost_of(nmp, q, out, err);
    out->latency = out->sync = 1e-6 / q->nmp_channels;
    return TN_OK;
}

static void check_timeline_with_events(const tn_problem *p, const tn_dataflow *d) {
    tn_error err = TN_ERROR_INIT;
    tn_cost_model model = {.cost = cost_with_events, .separable = true, .events = true};
    tn_problem with = *p;
    tn_evaluation e;
    with.near_memory = &model;
    assert_ok(tn_dataflow_evaluate(&with, d, &e, &err), &err);
    for (int i = 0; i < d->count; i++)
        if (d->at[i].nmp) return check_timeline(&with, d, &e);
}

static void test_random_dataflows__equal_rows(void **state) {
    (void)state;
    json_t *file = rows_load("dataflow_eval"), *utilizations = rows_load("nmp_utilization"), *row;
    size_t i;
    json_array_foreach(file, i, row) {
        const json_t *device = json_object_get(row, "device");
        bool data_centric = strcmp(rows_text(row, "mode"), "data-centric") == 0;
        tn_error err = TN_ERROR_INIT;
        tn_dataflow d, again;
        tn_evaluation e;
        tn_workload w;
        rows_workload(rows_text(row, "model"), &w);
        int batch = (int)rows_integer(row, "batch");
        tn_problem p = {.workload = &w,
                        .scenario = {batch, rows_integer(row, "prompt"), rows_integer(row, "gen"),
                                     rows_integer(row, "context"), 2.0},
                        .machine =
                            rows_machine((int)rows_integer(device, "nmp_channels"),
                                         (int)rows_integer(device, "fpu"),
                                         rows_number(device, "mhz"), rows_number(device, "pe_bw")),
                        .processor = npu,
                        .near_memory = nmp};
        p.machine.near_memory.utilization = rows_utilization(utilizations, &p.machine, batch);
        assert_ok(tn__dataflow_read(json_object_get(row, "mags"), &w, &p.machine, &d, &err), &err);
        json_t *written = tn__dataflow_json(&d, &w, &p.machine);
        assert_ok(tn__dataflow_read(written, &w, &p.machine, &again, &err), &err);
        assert_memory_equal(&again, &d, sizeof d);
        json_decref(written);
        assert_ok(
            tn_dataflow_check(&p, data_centric ? TN_DATA_CENTRIC : TN_COMPUTE_CENTRIC, &d, &err),
            &err);
        assert_ok(tn_dataflow_evaluate(&p, &d, &e, &err), &err);
        rows_near(e.prefill, rows_number(row, "prefill"), 1e-12, "prefill");
        rows_near(e.decode_step, rows_number(row, "decode_step"), 1e-12, "decode step");
        rows_near(e.total, rows_number(row, "total"), 1e-12, "total");
        assert_int_equal(e.fits, json_is_true(json_object_get(row, "capacity_ok")));
        check_timeline(&p, &d, &e);
        check_timeline_with_events(&p, &d);
    }
    assert_true(i > 100);
    json_decref(utilizations);
    json_decref(file);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_npu_roofline__equals_rows),
        cmocka_unit_test(test_nmp_roofline__equals_rows),
        cmocka_unit_test(test_fixed_dataflows__equal_rows),
        cmocka_unit_test(test_random_dataflows__equal_rows),
    };
    return cmocka_run_group_tests(tests, open_models, release_models);
}

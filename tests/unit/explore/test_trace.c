/* Requests of a trace as weighted scenarios, and traces that are refused. */
#include "unit/test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tenon/explore.h>
#include <unistd.h>

static const tn_scenario use = {.batch = 4, .context_limit = 2048, .element_bytes = 2};

static void write_trace(char *path, const char *text) {
    int file = mkstemp(path);
    size_t size = strlen(text);
    assert_true(file >= 0);
    assert_int_equal(write(file, text, size), size);
    close(file);
}

static tn_status read_trace(const char *text, tn_study_part *out, int capacity, int *count,
                            tn_error *err) {
    char path[] = "/tmp/tenon-trace-XXXXXX";
    write_trace(path, text);
    tn_status status = tn_study_from_trace(path, &use, out, capacity, count, err);
    unlink(path);
    return status;
}

static void test_trace__forms_say_the_same(void **state) {
    (void)state;
    static const char *const texts[] = {
        "100,10\n1000,200\n100,10\n100,10\n",
        "# four "
        "requests\nprompt,generate,arrival\n100,10,0\n1000,200,0.5\n\n100,10,0.5\r\n100,10,2",
        "arrival, user, generate ,prompt\n0,7,10,100\n1,8,200,1000\n1,9,10,100\n3,7,10,100\n",
        "{\"prompt\": 100, \"generate\": 10}\n{\"generate\": 200, \"prompt\": 1000, \"id\": "
        "\"b\"}\n"
        "{\"prompt\": 100, \"generate\": 10, \"arrival\": 1}\n{\"prompt\": 100, \"generate\": 10, "
        "\"arrival\": 1.5}\n",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        tn_study_part parts[8] = {0};
        tn_error err = TN_ERROR_INIT;
        int count;
        if (read_trace(texts[i], parts, 8, &count, &err)) fail_msg("%s", err.message);
        assert_int_equal(count, 2);
        assert_true(parts[0].weight == 0.75 && parts[1].weight == 0.25);
        assert_int_equal(parts[0].scenario.prompt, 100);
        assert_int_equal(parts[0].scenario.generate, 10);
        assert_int_equal(parts[1].scenario.prompt, 1000);
        assert_int_equal(parts[1].scenario.generate, 200);
        assert_int_equal(parts[1].scenario.batch, 4);
        assert_int_equal(parts[1].scenario.context_limit, 2048);
    }
}

static void test_trace__batches_are_those_of_the_requests(void **state) {
    (void)state;
    tn_study_part parts[8] = {0};
    tn_error err = TN_ERROR_INIT;
    int count;
    assert_int_equal(read_trace("prompt,generate,batch\n100,10,1\n100,10,16\n100,10,16\n100,10,0\n",
                                parts, 8, &count, &err),
                     TN_OK);
    assert_int_equal(count, 3);
    assert_int_equal(parts[0].scenario.batch, 1);
    assert_int_equal(parts[1].scenario.batch, 4); /* that of the use */
    assert_int_equal(parts[2].scenario.batch, 16);
    assert_true(parts[2].weight == 0.5);
    assert_int_equal(read_trace("100,10,0,1\n100,10,0,16\n", parts, 1, &count, &err), TN_OK);
    assert_int_equal(parts[0].scenario.batch, 9); /* the mean, where one scenario must do */
}

/* However few the scenarios: their weights are 1 in all, and the mean lengths those of the trace. */
static void test_trace__buckets_keep_the_mean(void **state) {
    (void)state;
    static char text[65536];
    size_t used = 0;
    double prompts = 0, generates = 0;
    for (unsigned i = 0, x = 1; i < 500; i++) {
        x = x * 1103515245u + 12345u;
        unsigned prompt = 1 + (x >> 8) % 2000, generate = (x >> 20) % 300;
        prompts += prompt / 500.0;
        generates += generate / 500.0;
        used += (size_t)snprintf(text + used, sizeof text - used, "%u,%u\n", prompt, generate);
    }
    for (int capacity = 1; capacity <= 64; capacity *= 4) {
        tn_study_part parts[64] = {0};
        tn_error err = TN_ERROR_INIT;
        int count;
        double weight = 0, prompt = 0, generate = 0;
        assert_int_equal(read_trace(text, parts, capacity, &count, &err), TN_OK);
        assert_true(count >= 1 && count <= capacity && (capacity < 16 || count > 1));
        for (int i = 0; i < count; i++) {
            weight += parts[i].weight;
            prompt += parts[i].weight * (double)parts[i].scenario.prompt;
            generate += parts[i].weight * (double)parts[i].scenario.generate;
        }
        assert_true(fabs(weight - 1) < 1e-12);
        assert_true(fabs(prompt - prompts) <= 0.5 && fabs(generate - generates) <= 0.5);
    }
}

static const struct {
    const char *text, *message;
} refusals[] = {
    {"", " holds no request"},
    {"prompt,generate\n", " holds no request"},
    {"prompt,answer\n1,2\n", ", line 1: the heading has no column of this name: generate"},
    {"100\n", ", line 1: missing: generate"},
    {"100,10\n100,\n", ", line 2: not a number"},
    {"100,ten\n", ", line 1: not a number: ten"},
    {"100,10\n0,10\n", ", line 2: prompt is 0; it counts tokens, from 1 to 16777216"},
    {"1.5,10\n", ", line 1: prompt is 1.5; it counts tokens, from 1 to 16777216"},
    {"1,-1\n", ", line 1: generate is -1; it counts tokens, from 0 to 16777216"},
    {"1,nan\n", ", line 1: generate is nan; it counts tokens, from 0 to 16777216"},
    {"1,1e300\n", ", line 1: generate is 1e+300; it counts tokens, from 0 to 16777216"},
    {"3000,1\n", ", line 1: prompt is 3000 tokens; the context takes 2048"},
    {"1,1,5\n1,1,4\n", ", line 2: arrival is 4 s after one of 5 s; requests come in order"},
    {"1,1,inf\n", ", line 1: arrival is inf s after one of 0 s; requests come in order"},
    {"1,1,0,2.5\n", ", line 1: batch is 2.5; it counts sequences, from 0 to 16777216"},
    {"{\"prompt\": 1}\n", ", line 1: missing: generate"},
    {"{\"prompt\": \"1\", \"generate\": 1}\n", ", line 1: no number: prompt"},
};

static void test_trace__refusals_name_the_line(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        tn_study_part parts[4] = {0};
        tn_error err = TN_ERROR_INIT;
        int count;
        assert_int_equal(read_trace(refusals[i].text, parts, 4, &count, &err), TN_INVALID);
        assert_int_equal(count, 0);
        const char *message = err.message + strlen("/tmp/tenon-trace-XXXXXX");
        assert_string_equal(message, refusals[i].message);
    }
    tn_error err = TN_ERROR_INIT;
    tn_study_part part;
    int count;
    assert_int_equal(tn_study_from_trace("/none/trace.csv", &use, &part, 1, &count, &err),
                     TN_NOT_FOUND);
}

static void test_trace__hostile_bytes(void **state) {
    (void)state;
    static char text[8192];
    tn_study_part parts[4] = {0};
    tn_error err = TN_ERROR_INIT;
    char path[] = "/tmp/tenon-trace-XXXXXX";
    int count;
    memset(text, '1', sizeof text - 1);
    assert_int_equal(read_trace("1,1\n{\"prompt\": 1,\n", parts, 4, &count, &err), TN_INVALID);
    assert_non_null(strstr(err.message, ", line 2: ")); /* then what the JSON reader says */
    assert_int_equal(read_trace(text, parts, 4, &count, &err), TN_INVALID);
    assert_non_null(strstr(err.message, "line 1: the line is too long"));
    int file = mkstemp(path);
    assert_int_equal(write(file, "1,1\n1\0,1\n", 9), 9);
    close(file);
    assert_int_equal(tn_study_from_trace(path, &use, parts, 4, &count, &err), TN_INVALID);
    assert_non_null(strstr(err.message, "line 2: the line holds a zero byte"));
    unlink(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trace__forms_say_the_same),
        cmocka_unit_test(test_trace__batches_are_those_of_the_requests),
        cmocka_unit_test(test_trace__buckets_keep_the_mean),
        cmocka_unit_test(test_trace__refusals_name_the_line),
        cmocka_unit_test(test_trace__hostile_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_eval_suites.c - items from data, and answers judged, without a model: where code ends, calls, numbers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "eval/eval_suite.h"

typedef struct {
    r2i_heap heap;
    r2i_arena arena;
    r2_eval_options options;
    r2i_eval_load load;
    const r2i_eval_suite *suite;
    r2_error err;
} rig;

static r2_status begin_with(rig *r, const char *suite, const r2_eval_data *data, int32_t n,
                            const r2_host *host) {
    memset(r, 0, sizeof *r);
    r2i_heap_init_host(&r->heap, host);
    r2i_arena_init(&r->arena, &r->heap, host != NULL ? 16 : 1 << 14, 0);
    r->options = (r2_eval_options){ .suite = suite, .data = data, .n_data = n };
    r->load = (r2i_eval_load){ .options = &r->options, .arena = &r->arena };
    r2i_buffer_init(&r->load.items, &r->heap, 1 << 20);
    r->suite = r2i_eval_suite_find(suite);
    assert_non_null(r->suite);
    return r->suite->load(&r->load, &r->err);
}

static r2_status begin(rig *r, const char *suite, const r2_eval_data *data, int32_t n) {
    return begin_with(r, suite, data, n, NULL);
}

static const r2i_eval_item *items_of(const rig *r, size_t *n) {
    *n = r->load.items.n_bytes / sizeof(r2i_eval_item);
    return (const r2i_eval_item *)(void *)r->load.items.bytes;
}

static void end(rig *r) {
    r2i_buffer_destroy(&r->load.items);
    r2i_arena_destroy(&r->arena);
}

static r2_eval_data data_of(const char *name, const char *text) {
    return (r2_eval_data){ name, text, strlen(text) };
}

static r2_grade judge(rig *r, size_t item, const char *text, const char *calls) {
    size_t n;
    r2_grade grade;
    const r2i_eval_text answer = { text, strlen(text), calls };
    const r2i_eval_item *items = items_of(r, &n);
    assert_true(item < n);
    assert_int_equal(r->suite->judge(&grade, &items[item], &answer, NULL, &r->err), R2_OK);
    return grade;
}

/* ---- programs: where nothing that follows can count any more ---- */

static void test_code_is_certain(void **state) {
    static const struct {
        const char *text;
        bool is_certain;
    } cases[] = {
        { "```python\ndef f(x):\n    return x\n```", true },
        { "```python\ndef f(x):\n    return x\n``", false },
        { "```python\ndef f(x):\n    return x\n", false },
        { "def f(x):\n    return x\n", false },
        { "```\nprint(1)\n```", false }, /* another one may follow */
        { "```\nprint(1)\n```\n```py\ndef  f (x): pass\n```", true },
        { "```markdown\n```py\ndef f(x): pass\n```", true }, /* a block in a block */
        { "```\ndef ff(x): pass\n```", false },              /* a longer name */
        { "```\ndef g(f): return f(1)\n```", false },
        { "<think>```\ndef f(x): pass\n```", false }, /* thoughts */
        { "<think>a</think>```\ndef f(x): pass\n```", true },
        { "", false },
        { "```", false },
    };
    const r2_eval_data data = data_of(
        "d",
        "{\"task_id\": \"t/0\", \"prompt\": \"def f(x):\\n  '''x'''\\n\", \"entry_point\": \"f\", "
        "\"test\": \"def check(c): assert c(1) == 1\"}\n\n");
    rig r;
    size_t n;
    (void)state;
    assert_int_equal(begin(&r, "humaneval", &data, 1), R2_OK);
    const r2i_eval_item *items = items_of(&r, &n);
    assert_int_equal(n, 1);
    assert_string_equal(items[0].question, "def f(x):\n  '''x'''");
    assert_non_null(strstr(items[0].expected, "check(f)"));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (r.suite->is_certain(&items[0], cases[i].text, strlen(cases[i].text)) !=
            cases[i].is_certain)
            fail_msg("case %zu: %s", i, cases[i].text);
    }
    end(&r);
}

/* ---- numbers ---- */

static void test_word_problems(void **state) {
    const r2_eval_data gsm =
        data_of("test.jsonl", "{\"question\": \"1+1?\", \"answer\": \"so\\n#### 1,002\"}\n");
    const r2_eval_data mgsm[] = { data_of("a/mgsm_de.tsv", "Eins?\t1\r\nZwei?\t2.5\n"),
                                  data_of("mgsm_zz.tsv", "One?\t1\n") };
    static const char *const broken[] = { "no tab\n", "question\t\n", "question\tmany\n" };
    rig r;
    size_t n;
    (void)state;
    assert_int_equal(begin(&r, "gsm8k", &gsm, 1), R2_OK);
    assert_true(judge(&r, 0, "thus \\boxed{1002}", "").is_right);
    const r2_grade loose = judge(&r, 0, "so it is 1002.", "");
    assert_true(!loose.is_right && loose.is_found);
    assert_false(judge(&r, 0, "\\boxed{1003}", "").is_found);
    end(&r);
    assert_int_equal(begin(&r, "mgsm", mgsm, 2), R2_OK);
    const r2i_eval_item *items = items_of(&r, &n);
    assert_int_equal(n, 3);
    assert_string_equal(items[1].id, "mgsm/de/1");
    assert_string_equal(items[2].group, "en");
    assert_non_null(strstr(items[0].prompt, "Schritt"));
    assert_true(judge(&r, 1, "\\boxed{5/2}", "").is_right);
    end(&r);
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        const r2_eval_data data = data_of("mgsm_en.tsv", broken[i]);
        assert_int_equal(begin(&r, "mgsm", &data, 1), R2_E_FORMAT);
        assert_non_null(strstr(r.err.text, "mgsm_en.tsv:1"));
        end(&r);
    }
}

/* ---- calls ---- */

#define CALL "\x1e"
#define WITH "\x1f"

static void test_calls(void **state) {
    static const struct {
        size_t item;
        const char *text, *calls, *flags; /* r right, f found */
    } cases[] = {
        { 0, "", CALL "geo.area" WITH "{\"base\": 10, \"height\": 5}", "rf" },
        { 0, "", CALL "geo_area" WITH "{\"base\": 10.0, \"height\": 5, \"unit\": \"Square-CM\"}",
          "rf" },
        { 0, "", CALL "geo.area" WITH "{\"base\": 10}", "" }, /* one is missing */
        { 0, "", CALL "geo.area" WITH "{\"base\": 10, \"height\": 6}", "" },
        { 0, "", CALL "geo.area" WITH "{\"base\": 10, \"height\": true}", "" },
        { 0, "", CALL "geo.area" WITH "{\"base\": 10, \"height\": 5, \"more\": 1}", "" },
        { 0, "", CALL "geo" WITH "{\"base\": 10, \"height\": 5}", "" },
        { 0, "", CALL "geo.area" WITH "{\"base\": 10, \"hei", "" },
        { 0, "", CALL "geo.area" WITH "{\"base\": 10, \"height\": 5}" CALL "geo.area" WITH "{}",
          "" },
        { 0, "", CALL, "" },
        { 0, "{\"name\": \"geo.area\", \"arguments\": {\"base\": 10, \"height\": 5}} so", "", "f" },
        { 0, "{ {{ {\"name\": 1}", "", "" },
        { 1, "I cannot.", "", "rf" },
        { 1, "", CALL "geo.area" WITH "{}", "" },
        { 1, "{\"name\": \"geo.area\", \"arguments\": {}}", "", "r" },
        { 2, "", CALL "f" WITH "{\"list\": [\"A b\", \"c\"], \"map\": {\"k\": 2}}", "rf" },
        { 2, "", CALL "f" WITH "{\"list\": [\"A b\"], \"map\": {\"k\": 2}}", "" },
    };
    static const char function[] = "\"function\": [{\"name\": \"geo.area\", \"parameters\": "
                                   "{\"type\": \"dict\", \"properties\": "
                                   "{\"base\": {\"type\": \"float\"}}}}]";
    char text[2048];
    (void)snprintf(
        text, sizeof text,
        "{\"id\": \"simple_0\", \"question\": [[{\"role\": \"user\", \"content\": \"q\"}]], %s}\n"
        "{\"id\": \"irrelevance_0\", \"question\": [[{\"role\": \"user\", \"content\": \"q\"}]], "
        "%s}\n"
        "{\"id\": \"simple_1\", \"question\": [[{\"role\": \"user\", \"content\": \"q\"}]], %s}\n",
        function, function, function);
    const r2_eval_data data[] = {
        data_of("q.json", text),
        data_of("a.json",
                "{\"id\": \"simple_0\", \"ground_truth\": [{\"geo.area\": {\"base\": [10], "
                "\"height\": [5, "
                "7], \"unit\": [\"square cm\", \"\"]}}]}\n{\"id\": \"simple_1\", \"ground_truth\": "
                "[{\"f\": {\"list\": [[\"a b\", \"C\"]], \"map\": [{\"k\": [1, 2]}]}}]}\n")
    };
    rig r;
    size_t n;
    (void)state;
    assert_int_equal(begin(&r, "bfcl", data, 2), R2_OK);
    const r2i_eval_item *items = items_of(&r, &n);
    assert_int_equal(n, 3);
    assert_string_equal(items[1].group, "irrelevance");
    assert_non_null(strstr(items[0].tools_json, "\"object\""));
    assert_non_null(strstr(items[0].tools_json, "\"number\""));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const r2_grade g = judge(&r, cases[i].item, cases[i].text, cases[i].calls);
        if (g.is_right != (strchr(cases[i].flags, 'r') != NULL) ||
            g.is_found != (strchr(cases[i].flags, 'f') != NULL))
            fail_msg("case %zu: right %d, found %d: %s", i, g.is_right, g.is_found, g.why);
    }
    end(&r);
    assert_int_equal(begin(&r, "bfcl", data, 1), R2_E_FORMAT); /* without the answers */
    end(&r);
}

/* ---- memory ---- */

typedef struct {
    int n_calls, fails_at, n_held;
} memory;

static void *allocate(void *user, size_t n_bytes) {
    memory *m = user;
    if (++m->n_calls == m->fails_at) return NULL;
    m->n_held++;
    return malloc(n_bytes);
}

static void release(void *user, void *block, size_t n_bytes) {
    memory *m = user;
    (void)n_bytes;
    m->n_held -= block != NULL;
    free(block);
}

/* Each allocation of a load fails once: an error, and nothing is lost. */
static void test_memory(void **state) {
    static const char human[] =
        "{\"task_id\": \"t\", \"prompt\": \"def f(x):\", "
        "\"entry_point\": \"f\", \"test\": "
        "\"pass                                                                           \"}\n",
                      gsm[] = "{\"question\": \"1?\", \"answer\": \"#### 1\"}\n",
                      call[] = "{\"id\": \"irrelevance_0\", \"question\": [[{\"role\": \"user\", "
                               "\"content\": \"q\"}]], \"function\": []}\n";
    static const struct {
        const char *suite, *file, *text;
    } suites[] = { { "humaneval", "h", human },
                   { "gsm8k", "test.jsonl", gsm },
                   { "mgsm", "mgsm_de.tsv", "Eins?\t1\n" },
                   { "bfcl", "q.json", call } };
    (void)state;
    for (size_t i = 0; i < sizeof suites / sizeof *suites; i++) {
        const r2_eval_data data = data_of(suites[i].file, suites[i].text);
        for (int k = 1, has_failed = 1; has_failed; k++) {
            memory m = { .fails_at = k };
            const r2_host host = { .allocate = allocate, .release = release, .user = &m };
            rig r;
            const r2_status status = begin_with(&r, suites[i].suite, &data, 1, &host);
            has_failed = m.n_calls >= k;
            if (status != (has_failed ? R2_E_NOMEM : R2_OK) || has_failed != (r.err.text[0] != 0))
                fail_msg("%s, allocation %d: %d %s", suites[i].suite, k, status, r.err.text);
            end(&r);
            assert_int_equal(m.n_held, 0);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_code_is_certain),
                                        cmocka_unit_test(test_word_problems),
                                        cmocka_unit_test(test_calls),
                                        cmocka_unit_test(test_memory) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

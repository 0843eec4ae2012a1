/* test_grade.c - answers judged: every kind, in and out of form, hostile ones included. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/utf8_valid.h"
#include "r2lm/task.h"
#include "task/number_value.h"

/* What is to be found: r right, f found anywhere, o form, e thoughts ended. */
typedef struct {
    r2_grade_kind kind;
    const char *expected, *text, *flags;
} sample;

static const sample samples[] = {
    /* Where the answer stands. */
    { R2_GRADE_EXACT, "Paris", "Paris", "rfe" },
    { R2_GRADE_EXACT, "Paris", "<think>Rome? no</think>\n<answer> Paris </answer>", "rfoe" },
    { R2_GRADE_EXACT, "Paris", "<answer>Rome</answer> no: <answer>Paris</answer>", "rfoe" },
    { R2_GRADE_EXACT, "Paris", "<think><answer>Paris</answer>", "" },
    { R2_GRADE_EXACT, "Paris", "<think>a</think><think>Paris", "" },
    { R2_GRADE_EXACT, "Paris", "It is:\nParis", "fe" },
    { R2_GRADE_EXACT, "Paris", "<answer>Paris", "e" },
    { R2_GRADE_EXACT, "Paris", "", "e" },
    { R2_GRADE_EXACT, "caf\xc3\xa9", "cafe\xcc\x81", "rfe" }, /* composed */
    { R2_GRADE_EXACT, "ABC 1", "\xef\xbc\xa1\xef\xbc\xa2\xef\xbc\xa3\xe3\x80\x80\xef\xbc\x91",
      "rfe" }, /* wide */
    { R2_GRADE_EXACT, "\xe7\xad\x94", "\xe7\xad\x94", "rfe" },
    { R2_GRADE_EXACT, "x", "\xff\xfe", "e" },
    /* Numbers. */
    { R2_GRADE_NUMBER, "42", "So the answer is 42.", "fe" },
    { R2_GRADE_NUMBER, "42", "<answer>42</answer>", "rfoe" },
    { R2_GRADE_NUMBER, "42", "\\boxed{42}", "rfoe" },
    { R2_GRADE_NUMBER, "42", "reasons\n#### 42", "rfoe" },
    { R2_GRADE_NUMBER, "42", "#### 42.0 apples", "rfoe" },
    { R2_GRADE_NUMBER, "42", "#### 43", "oe" },
    { R2_GRADE_NUMBER, "0.75", "\\boxed{\\frac{3}{4}}", "rfoe" },
    { R2_GRADE_NUMBER, "3/4", "$\\boxed{0.75}$", "rfoe" },
    { R2_GRADE_NUMBER, "1 3/4", "\\boxed{7/4}", "rfoe" },
    { R2_GRADE_NUMBER, "-1/2", "\\boxed{-\\frac12}", "rfoe" },
    { R2_GRADE_NUMBER, "1234567", "<answer>1,234,567</answer>", "rfoe" },
    { R2_GRADE_NUMBER, "1234567", "<answer>$1 234 567.00</answer>", "rfoe" },
    { R2_GRADE_NUMBER, "50", "\\boxed{50\\%}", "rfoe" },
    { R2_GRADE_NUMBER, "0.5", "\\boxed{50\\%}", "rfoe" },
    { R2_GRADE_NUMBER, "5", "\\boxed{x = 5}", "rfoe" },
    { R2_GRADE_NUMBER, "5", "\\boxed{5\\text{ km}}", "rfoe" },
    { R2_GRADE_NUMBER, "5", "\\boxed{5 km/h}", "rfoe" },
    { R2_GRADE_NUMBER, "5", "\\boxed{5 m^2}", "rfoe" },
    { R2_GRADE_NUMBER, "5", "<answer>5 or 6</answer>", "oe" },
    { R2_GRADE_NUMBER, "6", "<answer>5 or 6</answer>", "foe" },
    { R2_GRADE_NUMBER, "5", "<answer>2+3</answer>", "oe" },
    { R2_GRADE_NUMBER, "12", "a12", "e" },
    { R2_GRADE_NUMBER, "0.1", "\\boxed{0.10}", "rfoe" },
    { R2_GRADE_NUMBER, "1e3", "1000", "rfe" },
    { R2_GRADE_NUMBER, "123456789012345678901234567890", "123456789012345678901234567890", "rfe" },
    { R2_GRADE_NUMBER, "7", "", "e" },
    /* Letters. */
    { R2_GRADE_CHOICE, "B", "B", "rfe" },
    { R2_GRADE_CHOICE, "B", "<answer>(B) Paris</answer>", "rfoe" },
    { R2_GRADE_CHOICE, "b", "<answer>B.</answer>", "rfoe" },
    { R2_GRADE_CHOICE, "B", "A rose is a flower, so the answer is B.", "rfe" },
    { R2_GRADE_CHOICE, "B", "Not B but C", "e" },
    { R2_GRADE_CHOICE, "A", "I think that it must be A.", "rfe" },
    { R2_GRADE_CHOICE, "B", "<answer>Berlin</answer>", "oe" },
    /* JSON. */
    { R2_GRADE_JSON, "{\"a\": 1, \"b\": [true]}", "{\"b\": [true], \"a\": 1.0}", "rfe" },
    { R2_GRADE_JSON, "{\"a\": 1}", "Call:\n```json\n{\"a\": 1}\n```", "rfe" },
    { R2_GRADE_JSON, "{\"a\": 1}", "I call {\"a\": 1} now", "fe" },
    { R2_GRADE_JSON, "{\"a\": 1}", "{\"a\": 1, \"a\": 1}", "e" },
    { R2_GRADE_JSON, "{\"any_of\": [{\"a\": 1}, {\"a\": 2}]}", "{\"a\": 2}", "rfe" },
    { R2_GRADE_JSON, "[1]", "[1, 2]", "e" },
    /* Expressions. */
    { R2_GRADE_REGEX, "a+b?", "<answer>aaab</answer>", "rfoe" },
    { R2_GRADE_REGEX, "a+b?", "<answer>aaabc</answer>", "foe" },
    { R2_GRADE_REGEX, "(a+)+$", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", "e" },
};

static bool has(const char *flags, char flag) {
    return strchr(flags, flag) != NULL;
}

static void test_samples(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        const sample *s = &samples[i];
        const r2_grade_options o = { .kind = s->kind, .expected = s->expected };
        r2_error err;
        r2_grade g;
        assert_int_equal(r2_grade_answer(&g, s->text, strlen(s->text), &o, &err), R2_OK);
        if (g.is_right != has(s->flags, 'r') || g.is_found != has(s->flags, 'f') ||
            g.has_form != has(s->flags, 'o') || g.is_finished != has(s->flags, 'e'))
            fail_msg("%zu: \"%s\" for \"%s\": right %d found %d form %d finished %d (%s)", i,
                     s->text, s->expected, g.is_right, g.is_found, g.has_form, g.is_finished,
                     g.why);
        assert_int_equal(g.why[0] == '\0', g.is_right);
    }
}

static void test_refused(void **state) {
    (void)state;
    static const sample wrong[] = {
        { R2_GRADE_NUMBER, "many", "", "" }, { R2_GRADE_CHOICE, "42", "", "" },
        { R2_GRADE_JSON, "{", "", "" },      { R2_GRADE_REGEX, "(", "", "" },
        { R2_GRADE_EXACT, NULL, "", "" },    { (r2_grade_kind)99, "x", "", "" }
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const r2_grade_options o = { .kind = wrong[i].kind, .expected = wrong[i].expected };
        r2_error err;
        r2_grade g;
        assert_int_equal(r2_grade_answer(&g, "x", 1, &o, &err), R2_E_ARGUMENT);
        assert_true(err.text[0] != '\0');
    }
}

/* Zeros, and ten megabytes. */
static void test_hostile(void **state) {
    (void)state;
    enum { N = 10 << 20 };
    char *text = malloc(N);
    assert_non_null(text);
    for (int kind = R2_GRADE_EXACT; kind <= R2_GRADE_REGEX; kind++) {
        static const char *const expected[] = { "x", "1", "A", "{}", "x" };
        const r2_grade_options o = { .kind = (r2_grade_kind)kind, .expected = expected[kind] };
        r2_error err;
        r2_grade g;
        static const char fills[] = { '\0', '1', '{', '[', '\xff', 'A', '`', '<' };
        for (size_t f = 0; f < sizeof fills; f++) {
            const size_t n = N;
            memset(text, fills[f], n);
            assert_int_equal(r2_grade_answer(&g, text, n, &o, &err), R2_OK);
            assert_false(g.is_right);
        }
    }
    free(text);
}

/* TESTS_NEED_SANDBOX: nothing is skipped silently. */
static void need_sandbox(void) {
    r2_layer_state layers[R2_N_LAYERS];
    if (r2_sandbox_check(layers)) return;
    if (getenv("TESTS_NEED_SANDBOX") != NULL && getenv("TESTS_NEED_SANDBOX")[0] != 0)
        fail_msg("no sandbox here");
    skip();
}

static void test_programs(void **state) {
    (void)state;
    static const struct {
        r2_grade_kind kind;
        const char *expected, *text;
        bool is_right;
    } programs[] = {
        { R2_GRADE_STDOUT, "42", "```python\nprint(6 * 7)\n```", true },
        { R2_GRADE_STDOUT, "42", "```markdown\n```python\nprint(6 * 7)\n```\n```\n", true },
        { R2_GRADE_STDOUT, "42", "```markdown\n```python\nprint(42)\n```\n```\nHope this helps!",
          true },
        { R2_GRADE_STDOUT, "42", "```python\nprint(42)\n```The code prints:\n42 as asked", true },
        { R2_GRADE_STDOUT, "42", "```python\nprint(42)\n```\nOutput:\n```\n42\n```", true },
        { R2_GRADE_STDOUT, "42", "```py\nprint(41)\n```\nNo:\n```py\nprint(42)\n```", true },
        { R2_GRADE_STDOUT, "42", "```\nprint(41)\n```\nNo:\n```\nprint(42)\n```", true },
        { R2_GRADE_STDOUT, "42", "```\nprint(42)", true },
        { R2_GRADE_STDOUT, "42", "print(41)", false },
        { R2_GRADE_STDOUT, "42", "print(42); raise SystemExit(1)", false },
        { R2_GRADE_STDOUT, "42", "print('x' + '\xc3\xbc' * 200)", false }, /* cut in a character */
        { R2_GRADE_STDOUT, "42", "import sys; sys.stdout.buffer.write(b'\\xff\\n\\x1b[2J')",
          false },
        { R2_GRADE_STDOUT, "42", "import os; os.write(2, b'\\xe2\\x82'); os._exit(1)", false },
        { R2_GRADE_PYTHON, "assert f(2) == 4",
          "Here:\n```python\ndef f(x):\n    return x * x\n```\nDone.", true },
        { R2_GRADE_PYTHON, "assert f(2) == 4", "def f(x): return 5", false },
        { R2_GRADE_PYTHON, "assert f(2) == 4", "import os; os._exit(0)", false },
        { R2_GRADE_PYTHON, "assert f(2) == 4", "import sys; sys.exit(0)", false },
        { R2_GRADE_PYTHON, "assert f(2) == 4", "print('0123456789abcdef')\ndef f(x): return 5",
          false },
        { R2_GRADE_PYTHON, "assert f(2) == 4",
          "import sys\nprint(sys.stdin.read())\nimport os; os._exit(0)", false },
        { R2_GRADE_PYTHON, "assert f(2) == 4", "def f(x):\n  while True: pass", false },
        { R2_GRADE_PYTHON, "assert f(2) == 4", "def f(x) return", false },
        { R2_GRADE_PYTHON, "assert f(2) == 4",
          "def f(x):\n  import os\n  return 4 if os.path.exists('tests.py') else 5", false },
    };
    need_sandbox();
    for (size_t i = 0; i < sizeof programs / sizeof *programs; i++) {
        const r2_grade_options o = { .kind = programs[i].kind,
                                     .expected = programs[i].expected,
                                     .limits = { .wall_seconds = 20, .cpu_seconds = 1 } };
        r2_error err;
        r2_grade g;
        const r2_status status =
            r2_grade_answer(&g, programs[i].text, strlen(programs[i].text), &o, &err);
        if (status != R2_OK) fail_msg("%s", err.text);
        if (g.is_right != programs[i].is_right) fail_msg("%zu: %s: %s", i, programs[i].text, g.why);
        if (!r2i_utf8_is_valid(g.why, strlen(g.why)) || strpbrk(g.why, "\n\x1b") != NULL)
            fail_msg("%zu: no line of UTF-8: %s", i, g.why);
    }
}

/* By default it is processor time that ends a loop, on a busy machine too, never the clock. */
static void test_usual_limits(void **state) {
    (void)state;
    const r2_grade_options o = { .kind = R2_GRADE_STDOUT, .expected = "1" };
    static const char loop[] = "```python\nwhile True: pass\n```";
    r2_error err;
    r2_grade g;
    need_sandbox();
    if (r2_grade_answer(&g, loop, sizeof loop - 1, &o, &err) != R2_OK) fail_msg("%s", err.text);
    if (g.is_right || strstr(g.why, "CPU time") == NULL) fail_msg("%s", g.why);
}

/* Sentences of each language; what is mixed lies between. */
static void test_languages(void **state) {
    (void)state;
    static const struct {
        const char *language, *text;
        double low, high;
    } texts[] = {
        { "en", "First we need the number of apples, which is 5 times 3 = 15.", 1, 1 },
        { "de", "Zuerst brauchen wir die Zahl der \xc3\x84pfel: das ist 5 mal 3 = 15.", 0.99, 1 },
        { "fr",
          "D'abord nous avons le nombre de pommes, qui est 15, donc la r\xc3\xa9ponse est 15.",
          0.99, 1 },
        { "es", "Primero el n\xc3\xbamero de manzanas: son 15, entonces la respuesta es 15.", 0.99,
          1 },
        { "zh",
          "\xe9\xa6\x96\xe5\x85\x88\xef\xbc\x8c\xe8\x8b\xb9\xe6\x9e\x9c\xe7\x9a\x84\xe6\x95\xb0\xe9"
          "\x87\x8f\xe6\x98\xaf 15\xe3\x80\x82",
          1, 1 },
        { "zh", "First we need the number of apples, which is 15.", 0, 0 },
        { "de", "First we need the number of apples. Dann ist das die Antwort.", 0.2, 0.8 },
        { "en", "`der die das und ist` the code ```\nle les et est\n``` is this", 1, 1 },
        { "fr", "15 * 3 = 45", 1, 1 },
        { "xx", "the number is this", 0, 0 },
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const double share =
            r2_language_share(texts[i].text, strlen(texts[i].text), texts[i].language);
        if (share < texts[i].low || share > texts[i].high)
            fail_msg("%zu: %s %g", i, texts[i].text, share);
    }
    assert_true(r2_language_share("", 0, "en") == 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_samples),      cmocka_unit_test(test_refused),
        cmocka_unit_test(test_hostile),      cmocka_unit_test(test_programs),
        cmocka_unit_test(test_usual_limits), cmocka_unit_test(test_languages)
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

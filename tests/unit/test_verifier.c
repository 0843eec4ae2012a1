/* test_verifier.c - programs that judge as they should, and all the ways in which they may fail. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/utf8_valid.h"
#include "r2lm/verifier.h"

/* A program of the shell: `hello` and `rest` are what it does with its first line and the others, whose
 * id is $n. */
static r2_verifier *open_shell(const char *rest, r2_verifier_options o) {
    char command[1024];
    r2_error err;
    r2_verifier *v;
    snprintf(
        command, sizeof command,
        "n=-1; while read -r line; do n=${line#'{\"id\":'}; n=${n%%%%,*}; case $line in "
        "*'\"hello\"'*) echo '{\"id\":'$n',\"name\":\"shell\",\"levels\":2}';; *) %s;; esac; done",
        rest);
    o.command = command;
    if (r2_verifier_open(&v, &o, &err) != R2_OK) fail_msg("%s", err.text);
    return v;
}

static r2_grade grade(r2_verifier *v, const char *text, size_t n) {
    r2_error err;
    r2_grade g;
    if (r2_verifier_grade(v, &g, "What?", "[1, \"x\"]", text, n, &err) != R2_OK)
        fail_msg("%s", err.text);
    return g;
}

static void test_judges(void **state) {
    (void)state;
    r2_verifier *v = open_shell("case $line in *'\"answer\":\"4\"'*'\"key\":[1,\"x\"]'*) echo "
                                "'{\"id\":'$n',\"score\":1}';; *) echo "
                                "'{\"id\":'$n',\"score\":0.25,\"why\":\"nearly\"}';; esac",
                                (r2_verifier_options){ 0 });
    assert_string_equal(r2_verifier_name(v), "shell");
    assert_int_equal(r2_verifier_levels(v), 2);
    const char right[] = "<think>2+2</think><answer>4</answer>";
    r2_grade g = grade(v, right, sizeof right - 1);
    assert_true(g.is_right && g.score == 1 && g.has_form && g.why[0] == '\0');
    g = grade(v, "5", 1);
    assert_true(!g.is_right && g.score == 0.25);
    assert_string_equal(g.why, "nearly");
    r2_verifier_close(v);
}

/* Any bytes are one line of JSON for it. */
static void test_any_bytes(void **state) {
    (void)state;
    enum { N = 10 << 20 };
    r2_verifier *v = open_shell("echo '{\"id\":'$n',\"score\":true}'", (r2_verifier_options){ 0 });
    char *text = malloc(N);
    assert_non_null(text);
    for (int i = 0; i < 256; i++)
        text[i] = (char)i;
    assert_true(grade(v, text, 256).is_right);
    assert_true(grade(v, text, 0).is_right);
    memset(text, 'a', N);
    const r2_grade g = grade(v, text, N);
    assert_true(!g.is_right && g.why[0] != '\0');
    assert_true(grade(v, "\xf0\x9f", 2).is_right);
    const r2_verifier_counts c = r2_verifier_get_counts(v);
    assert_int_equal(c.n_too_long, 1);
    assert_int_equal(c.n_crashes + c.n_garbage + c.n_timeouts, 0);
    assert_int_equal(c.n_starts, 1);
    free(text);
    r2_verifier_close(v);
}

/* What a verifier says of an answer is a line of UTF-8, wherever it had to be cut. */
static void test_any_words(void **state) {
    (void)state;
    static const char *const replies[] = {
        ("w=x; while [ ${#w} -lt 250 ]; do w=$w\xc3\xbc; done; "
         "echo '{\"id\":'$n',\"score\":0,\"why\":\"'$w'\"}'"),
        "echo '{\"id\":'$n',\"score\":0,\"why\":\"a\\nb\\u001b[2J\"}'",
        "printf '\\377\\033\\303\\n'",
    };
    for (size_t i = 0; i < sizeof replies / sizeof *replies; i++) {
        r2_verifier *v = open_shell(replies[i], (r2_verifier_options){ 0 });
        const r2_grade g = grade(v, "4", 1);
        if (g.why[0] == '\0' || !r2i_utf8_is_valid(g.why, strlen(g.why)) ||
            strpbrk(g.why, "\n\x1b") != NULL)
            fail_msg("%zu: no line of UTF-8: %s", i, g.why);
        r2_verifier_close(v);
    }
}

static void test_makes(void **state) {
    (void)state;
    r2_verifier *v =
        open_shell("case $line in *'\"index\":5'*) echo "
                   "'{\"id\":'$n',\"prompt\":\"P\",\"key\":{\"a\":1},\"answer\":\"A\"}';; "
                   "*) echo '{\"id\":'$n'}';; esac",
                   (r2_verifier_options){ .max_failures = 2 });
    r2_error err;
    r2_task_item item;
    assert_int_equal(r2_verifier_make(v, &item, 1, 7, 5, &err), R2_OK);
    assert_string_equal(item.prompt, "P");
    assert_string_equal(item.expected, "{\"a\":1}");
    assert_string_equal(item.reply, "<answer>A</answer>");
    assert_int_equal(r2_verifier_make(v, &item, 1, 7, 6, &err), R2_E_IO);
    assert_null(item.prompt);
    assert_non_null(strstr(err.text, "2 requests in a row"));
    assert_int_equal(r2_verifier_make(v, &item, 1, 7, 5, &err), R2_OK);
    r2_verifier_close(v);
}

/* It fails twice with score 0, is started anew each time, and the third failure in a row is an error. */
static void test_failures(void **state) {
    (void)state;
    static const struct {
        const char *rest, *why;
        int64_t n_timeouts, n_crashes, n_garbage;
    } programs[] = {
        { "exit 9", "exit code 9", 0, 3, 0 },
        { "kill -9 $$", "killed", 0, 3, 0 },
        { "sleep 60", "no reply within", 3, 0, 0 },
        { "printf '{'; sleep 60", "no end of its line", 3, 0, 0 },
        { "echo hello", "found \"hello\"", 0, 0, 3 },
        { "printf hello; sleep 60", "found \"hello\"", 0, 0, 3 }, /* its line has no end */
        { "printf ' \\0'; sleep 60", "expected", 0, 0, 3 },
        { "echo '{\"id\":99}'", "\"id\":", 0, 0, 3 },
        { "echo '{\"id\":'$n'}'", "score", 0, 0, 3 },
        { "echo '{\"id\":'$n',\"score\":7}'", "score", 0, 0, 3 },
        { "printf '\\377\\000\\n'", "expected", 0, 0, 3 },
        { "echo; echo", "", 0, 0, 3 },
    };
    for (size_t i = 0; i < sizeof programs / sizeof *programs; i++) {
        r2_verifier *v = open_shell(
            programs[i].rest,
            (r2_verifier_options){ .reply_seconds = programs[i].n_timeouts > 0 ? 0.3 : 30,
                                   .max_failures = 3 });
        r2_error err;
        r2_grade g;
        for (int k = 0; k < 2; k++) {
            g = grade(v, "4", 1);
            assert_true(!g.is_right && g.score == 0);
            if (strstr(g.why, programs[i].why) == NULL) fail_msg("%s", g.why);
        }
        assert_int_equal(r2_verifier_grade(v, &g, "?", "4", "4", 1, &err), R2_E_IO);
        assert_non_null(strstr(err.text, "3 requests in a row failed"));
        const r2_verifier_counts c = r2_verifier_get_counts(v);
        if (c.n_timeouts != programs[i].n_timeouts || c.n_crashes != programs[i].n_crashes ||
            c.n_garbage != programs[i].n_garbage || c.n_starts != 3)
            fail_msg("%s: %d %d %d %d", programs[i].rest, (int)c.n_timeouts, (int)c.n_crashes,
                     (int)c.n_garbage, (int)c.n_starts);
        r2_verifier_close(v);
    }
}

static void test_refused(void **state) {
    (void)state;
    static const struct {
        const char *command;
        r2_status status;
    } commands[] = { { "", R2_E_ARGUMENT },
                     { "/none/such --flag", R2_E_NOT_FOUND },
                     { "no-such-program-here", R2_E_NOT_FOUND },
                     { "exit 3", R2_E_IO },
                     { "echo no json", R2_E_IO },
                     { "sleep 60", R2_E_IO },
                     { "(", R2_E_IO } };
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        const r2_verifier_options o = {
            .command = commands[i].command,
            .start_seconds = strcmp(commands[i].command, "sleep 60") == 0 ? 0.3 : 30
        };
        r2_error err = { R2_OK, "" };
        r2_verifier *v;
        assert_int_equal(r2_verifier_open(&v, &o, &err), commands[i].status);
        assert_true(v == NULL && err.text[0] != '\0');
    }
}

typedef struct {
    int n_calls, fails_at;
} memory;

static void *allocate(void *user, size_t n_bytes) {
    memory *m = user;
    return ++m->n_calls == m->fails_at ? NULL : malloc(n_bytes);
}

static void release(void *user, void *block, size_t n_bytes) {
    (void)user;
    (void)n_bytes;
    free(block);
}

/* Each allocation fails once: an error, and nothing is lost. */
static void *open_in_a_thread(void *out) {
    *(r2_verifier **)out =
        open_shell("echo '{\"id\":'$n',\"score\":1}'", (r2_verifier_options){ 0 });
    return NULL;
}

/* A verifier outlives the thread that opened it. */
static void test_other_thread(void **state) {
    (void)state;
    pthread_t thread;
    r2_verifier *v = NULL;
    assert_int_equal(pthread_create(&thread, NULL, open_in_a_thread, &v), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(grade(v, "4", 1).is_right);
    assert_int_equal(r2_verifier_get_counts(v).n_crashes, 0);
    r2_verifier_close(v);
}

static void test_memory(void **state) {
    (void)state;
    for (int k = 1, has_failed = 1; has_failed; k++) {
        memory m = { .fails_at = k };
        const r2_verifier_options o = {
            .command = "read -r line; echo '{\"id\":0,\"levels\":1}'; read -r line; "
                       "echo '{\"id\":1,\"prompt\":\"P\",\"key\":1,\"answer\":\"A\"}'; "
                       "read -r line; echo '{\"id\":2,\"score\":1}'; read -r line",
            .host = { .allocate = allocate, .release = release, .user = &m }
        };
        r2_error err = { R2_OK, "" };
        r2_task_item item;
        r2_grade g;
        r2_verifier *v;
        r2_status status = r2_verifier_open(&v, &o, &err);
        if (status == R2_OK) status = r2_verifier_make(v, &item, 1, 1, 1, &err);
        if (status == R2_OK) status = r2_verifier_grade(v, &g, "P", item.expected, "A", 1, &err);
        has_failed = m.n_calls >= k;
        assert_int_equal(status, has_failed ? R2_E_NOMEM : R2_OK);
        assert_true(has_failed == (err.text[0] != '\0') && k < 100);
        if (status == R2_OK) assert_true(g.is_right);
        r2_verifier_close(v);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_judges),    cmocka_unit_test(test_any_bytes),
        cmocka_unit_test(test_any_words), cmocka_unit_test(test_makes),
        cmocka_unit_test(test_failures),  cmocka_unit_test(test_refused),
        cmocka_unit_test(test_memory),    cmocka_unit_test(test_other_thread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

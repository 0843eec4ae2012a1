/* test_task.c - all tasks: items are the same again, splits hold apart, answers are right, others are not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "r2lm/task.h"

static const char *const languages[] = { "en", "zh", "es", "fr", "de" };
enum { N_ITEMS = 42, N_PROGRAMS = 2, TEXT_BYTES = 1 << 17 };

static r2_task_maker *new_maker(void) {
    r2_task_maker *maker;
    assert_int_equal(r2_task_maker_create(&maker, NULL, NULL), R2_OK);
    return maker;
}

static void make(r2_task_maker *maker, r2_task_item *item, const r2_task_choice *choice,
                 uint64_t i) {
    r2_error err;
    if (r2_task_make(maker, item, choice, i, &err) != R2_OK) fail_msg("%s", err.text);
}

static bool is_right(const r2_task_choice *c, const r2_task_item *item, const char *reply) {
    static char text[TEXT_BYTES];
    r2_error err;
    r2_grade grade;
    snprintf(text, sizeof text, "<think>%s</think>%s", item->trace, reply);
    if (r2_task_grade(&grade, c->task, item->expected, text, strlen(text), NULL, &err) != R2_OK)
        fail_msg("%s", err.text);
    assert_true(grade.score == (grade.is_right ? 1 : 0));
    return grade.is_right;
}

/* Nothing like "{0}" is left of a question. */
static bool is_filled(const char *prompt) {
    for (const char *at = prompt; (at = strchr(at, '{')) != NULL; at++) {
        if (at[1] >= '0' && at[1] <= '9' && at[2] == '}') return false;
    }
    return true;
}

static bool is_program(int32_t t) {
    return r2_task_kind(t) == R2_GRADE_STDOUT || r2_task_kind(t) == R2_GRADE_PYTHON;
}

/* A split, level and language that go together; i: any number. */
static r2_task_choice choose(int32_t t, int32_t level, uint64_t i) {
    r2_task_split split = (r2_task_split)(i % R2_N_SPLITS);
    if (!r2_task_has_split(t, split)) split = R2_SPLIT_TEST;
    uint64_t l = i / R2_N_SPLITS % 5;
    while (!r2_task_has_language(t, languages[l], split))
        l = (l + 1) % 5;
    return (r2_task_choice){
        .task = r2_task_name(t), .level = level, .language = languages[l], .split = split, .seed = 7
    };
}

/* Every task, level, language and split. */
static void test_items(void **state) {
    (void)state;
    r2_layer_state layers[R2_N_LAYERS];
    const bool can_run = r2_sandbox_check(layers);
    int n_foreign = 0;
    r2_task_maker *maker = new_maker(), *other = new_maker();
    for (int32_t t = 0; t < r2_task_count(); t++) {
        for (int32_t level = 1; level <= r2_task_levels(t); level++) {
            for (uint64_t i = 0; i < N_ITEMS; i++) {
                const r2_task_choice c = choose(t, level, i);
                r2_task_item a, b;
                make(maker, &a, &c, i);
                make(other, &b, &c, i + 1); /* what came before does not count */
                make(other, &b, &c, i);
                assert_string_equal(a.prompt, b.prompt);
                assert_string_equal(a.trace, b.trace);
                assert_true(a.key == b.key && a.trace[0] != '\0' && a.answer[0] != '\0');
                if (!is_filled(a.prompt)) fail_msg("%s: %s", c.task, a.prompt);
                if (!is_program(t)) {
                    if (!is_right(&c, &a, a.reply)) fail_msg("%s: %s", a.prompt, a.reply);
                    assert_false(is_right(&c, &a, "<answer></answer>"));
                    assert_false(is_right(&c, &a, "<answer>none</answer>"));
                } else if (can_run && i < N_PROGRAMS) {
                    if (!is_right(&c, &a, a.reply)) fail_msg("%s: %s", a.prompt, a.reply);
                    assert_false(is_right(&c, &a, "```python\nnone\n```"));
                }
                /* Thoughts are in the language of the question, as far as they have words. */
                const double share = r2_language_share(a.trace, strlen(a.trace), c.language);
                if (share < 0.5) {
                    print_error("%s in %s: %s\n", c.task, c.language, a.trace);
                    n_foreign++;
                }
            }
        }
    }
    assert_int_equal(n_foreign, 0);
    r2_task_maker_destroy(maker);
    r2_task_maker_destroy(other);
}

/* What is to be repaired is wrong, and the question shows where: "== 3, but gives 4". */
static void test_repairs_are_needed(void **state) {
    (void)state;
    static const char shown[] = ") == ", but[] = ", but gives ";
    r2_task_maker *maker = new_maker();
    for (uint64_t i = 0; i < 2000; i++) {
        const r2_task_choice c = { .task = "repair",
                                   .level = 1 + (int32_t)(i % 5),
                                   .language = "en",
                                   .split = R2_SPLIT_TEST,
                                   .seed = 7 };
        r2_task_item item;
        make(maker, &item, &c, i);
        const char *wrong = strstr(item.prompt, but), *right = strstr(item.prompt, shown);
        assert_true(wrong != NULL && right != NULL && right < wrong);
        right += sizeof shown - 1;
        const size_t n = (size_t)(wrong - right);
        wrong += sizeof but - 1;
        if (strncmp(right, wrong, n) == 0 && wrong[n] == '\n') fail_msg("%s", item.prompt);
    }
    r2_task_maker_destroy(maker);
}

/* No instance of one split is one of another, whatever language and seed. */
static void test_splits(void **state) {
    (void)state;
    enum { N = 100 };
    static uint64_t keys[3][N];
    r2_task_maker *maker = new_maker();
    for (int32_t t = 0; t < r2_task_count(); t++) {
        for (int split = 0; split < 3; split++) {
            for (uint64_t i = 0; i < N; i++) {
                const char *language = languages[i % 5];
                if (!r2_task_has_language(t, language, R2_SPLIT_TRAIN)) language = "en";
                const r2_task_choice c = { .task = r2_task_name(t),
                                           .level = 1,
                                           .language = language,
                                           .split = (r2_task_split)split,
                                           .seed = i % 3 };
                r2_task_item item;
                make(maker, &item, &c, i);
                keys[split][i] = item.key;
            }
        }
        for (int i = 0; i < N; i++) {
            for (int j = 0; j < N; j++)
                assert_true(keys[0][i] != keys[1][j] && keys[0][i] != keys[2][j] &&
                            keys[1][i] != keys[2][j]);
        }
    }
    r2_task_maker_destroy(maker);
}

static void test_countdown(void **state) {
    (void)state;
    static const struct {
        const char *answer;
        bool is_right;
    } samples[] = { { "(7+3)*4", true },   { "4*(3+7)", true },    { "4 * 3 + 4 * 7", false },
                    { "40", false },       { "(7+3)*4=40", true }, { "(7+3)*4=41", false },
                    { "7+3*4", false },    { "(7+3)*4*1", false }, { "((7+3)*4", false },
                    { "(7+3)*4)", false }, { "4/(1/10)", false },  { "(3+7)/0*4", false },
                    { "73*4", false },     { "\xff", false } };
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        char text[256];
        r2_grade grade;
        snprintf(text, sizeof text, "<answer>%s</answer>", samples[i].answer);
        assert_int_equal(
            r2_task_grade(&grade, "countdown", "40 3, 4, 7", text, strlen(text), NULL, NULL),
            R2_OK);
        if (grade.is_right != samples[i].is_right) fail_msg("%s", samples[i].answer);
    }
}

/* Numbers in words are taken as people write them, digits and numerals as they are. */
static void test_numeral(void **state) {
    (void)state;
    static const struct {
        const char *expected, *answer;
        bool is_right;
    } samples[] = { { "one hundred five", "One Hundred and Five", true },
                    { "one hundred five", "one hundred fifty", false },
                    { "quatre-vingts", "quatre vingt", true },
                    { "dieciséis", "dieciseis", true },
                    { "二百零五", "两百零五", true },
                    { "ff", "ff", true },
                    { "ff", "FF", false },
                    { "XIV", "XIV", true },
                    { "XIV", "xiv", false },
                    { "105", "1 05", false },
                    { "105", "105", true } };
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        char text[256];
        r2_grade grade;
        snprintf(text, sizeof text, "<answer>%s</answer>", samples[i].answer);
        assert_int_equal(
            r2_task_grade(&grade, "numeral", samples[i].expected, text, strlen(text), NULL, NULL),
            R2_OK);
        if (grade.is_right != samples[i].is_right) fail_msg("%s", samples[i].answer);
        assert_true((grade.why[0] == '\0') == grade.is_right);
    }
}

static void test_refused(void **state) {
    (void)state;
    static const r2_task_choice wrong[] = {
        { .task = "none", .level = 1, .language = "en" },
        { .task = "sum", .level = 0, .language = "en" },
        { .task = "sum", .level = 99, .language = "en" },
        { .task = "sum", .level = 1, .language = "xx" },
        { .task = "sum", .level = 1, .language = "zh" },
        { .task = "sum", .level = 1, .language = "en", .split = R2_SPLIT_OOD_LANGUAGE },
        { .task = "grid", .level = 1, .language = "en", .split = R2_SPLIT_OOD_VALUES },
        { .task = "sum", .level = 1, .language = "en", .split = R2_N_SPLITS },
        { .task = NULL, .level = 1, .language = "en" }
    };
    r2_task_maker *maker = new_maker();
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        r2_error err;
        r2_task_item item;
        assert_true(r2_task_make(maker, &item, &wrong[i], 0, &err) != R2_OK && err.text[0] != '\0');
    }
    r2_task_maker_destroy(maker);
    assert_null(r2_task_name(-1));
    assert_null(r2_task_name(r2_task_count()));
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_repairs_are_needed),
                                        cmocka_unit_test(test_items),
                                        cmocka_unit_test(test_splits),
                                        cmocka_unit_test(test_countdown),
                                        cmocka_unit_test(test_numeral),
                                        cmocka_unit_test(test_refused) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

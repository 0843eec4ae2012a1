/* test_task_splits.c - what is never taught is in nothing that is taught, and in all of what is beyond it;
 * wrong tries stand in every fifth trace.
 *
 *   languages, values, phrasings, lengths: told from the texts, not by the library
 *   shares of wrong tries, and that they are wrong */
#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "r2lm/task.h"

enum { N_SCANNED = 400, N_BEYOND = 40, N_TRACES = 1500, MAX_PHRASES = 64, PHRASE_BYTES = 200 };
static const char *const languages[] = { "en", "zh", "es", "fr", "de" };

typedef struct {
    r2_task_maker *maker;
    r2_task_item item;
} rig;

static rig begin(void) {
    rig r = { 0 };
    assert_int_equal(r2_task_maker_create(&r.maker, NULL, NULL), R2_OK);
    return r;
}

static const r2_task_item *make(rig *r, int32_t t, int32_t level, const char *language,
                                r2_task_split split, uint64_t i) {
    r2_error err;
    const r2_task_choice c = { r2_task_name(t), level, language, split, 11 };
    if (r2_task_make(r->maker, &r->item, &c, i, &err) != R2_OK) fail_msg("%s", err.text);
    return &r->item;
}

static int32_t find(const char *name) {
    int32_t t = 0;
    while (strcmp(r2_task_name(t), name) != 0)
        t++;
    return t;
}

/* ---- languages ---- */

static void test_languages(void **state) {
    (void)state;
    rig r = begin();
    int n_withheld = 0;
    for (int32_t t = 0; t < r2_task_count(); t++) {
        const char *withheld = r2_task_withheld_language(t);
        assert_true(r2_task_has_language(t, "en", R2_SPLIT_TRAIN));
        assert_int_equal(r2_task_has_split(t, R2_SPLIT_OOD_LANGUAGE), withheld != NULL);
        n_withheld += withheld != NULL;
        for (int l = 0; l < 5 && withheld != NULL; l++) {
            const bool is_withheld = strcmp(languages[l], withheld) == 0;
            for (int split = 0; split < R2_N_SPLITS; split++) {
                const r2_task_choice c = { r2_task_name(t), 1, languages[l], (r2_task_split)split,
                                           1 };
                if (!r2_task_has_split(t, c.split)) continue;
                r2_error err;
                const bool is_beyond = split == R2_SPLIT_OOD_LANGUAGE;
                const r2_status status = r2_task_make(r.maker, &r.item, &c, 0, &err);
                assert_int_equal(status, is_withheld == is_beyond ? R2_OK : R2_E_ARGUMENT);
            }
        }
        if (withheld == NULL) continue;
        for (uint64_t i = 0; i < N_BEYOND; i++) {
            const r2_task_item *item = make(&r, t, 1, NULL, R2_SPLIT_OOD_LANGUAGE, i);
            assert_string_equal(item->language, withheld);
            assert_true(r2_language_share(item->prompt, strlen(item->prompt), withheld) > 0.5);
        }
    }
    assert_true(n_withheld >= 20);
    r2_task_maker_destroy(r.maker);
}

/* ---- values ---- */

/* Begins with 11, 37 to 39 or 64 to 66. */
static bool is_withheld(const char *digits, size_t n) {
    if (n < 2) return false;
    const int two = (digits[0] - '0') * 10 + digits[1] - '0';
    return two == 11 || (two >= 37 && two <= 39) || (two >= 64 && two <= 66);
}

static int n_withheld_in(const char *text) {
    int count = 0;
    while (*text != '\0') {
        size_t n = 0;
        while (isdigit((unsigned char)text[n]))
            n++;
        count += is_withheld(text, n);
        text += n > 0 ? n : 1;
    }
    return count;
}

/* Whose questions take longer than all others to make. */
static bool is_long(int32_t t) {
    return strcmp(r2_task_name(t), "needle") == 0;
}

static void test_values(void **state) {
    (void)state;
    /* Whose questions show the operands, and nothing else that is a number. */
    static const char *const shown[] = { "sum",        "multiply", "divide", "gcd",    "sort",
                                         "expression", "story",    "lists",  "needle", "tool" };
    rig r = begin();
    for (size_t k = 0; k < sizeof shown / sizeof *shown; k++) {
        const int32_t t = find(shown[k]);
        const uint64_t n_scanned = is_long(t) ? N_BEYOND : N_SCANNED;
        for (uint64_t i = 0; i < n_scanned; i++) {
            const int32_t level = (int32_t)(i % (uint64_t)r2_task_levels(t)) + 1;
            const r2_task_split split =
                (r2_task_split)(i % 8 < 6 || is_long(t) ? R2_SPLIT_TRAIN : i % 8 - 5);
            const r2_task_item *item = make(&r, t, level, "en", split, i);
            if (n_withheld_in(item->prompt) != 0) fail_msg("%s: %s", shown[k], item->prompt);
        }
        for (uint64_t i = 0; i < N_BEYOND; i++) {
            const r2_task_item *item = make(&r, t, (int32_t)(i % (uint64_t)r2_task_levels(t)) + 1,
                                            "en", R2_SPLIT_OOD_VALUES, i);
            if (n_withheld_in(item->prompt) == 0) fail_msg("%s: %s", shown[k], item->prompt);
        }
    }
    for (uint64_t i = 0; i < N_SCANNED; i++) { /* words that begin with k */
        const bool is_beyond = i % 2 == 0;
        const char *prompt = make(&r, find("letters"), (int32_t)(i % 5) + 1, "en",
                                  is_beyond ? R2_SPLIT_OOD_VALUES : R2_SPLIT_TRAIN, i)
                                 ->prompt;
        const bool has_k = strstr(prompt, "Word: k") != NULL || strstr(prompt, "word \"k") != NULL;
        if (has_k != is_beyond) fail_msg("%s", prompt);
    }
    int n_tasks = 0;
    for (int32_t t = 0; t < r2_task_count(); t++) {
        if (!r2_task_has_split(t, R2_SPLIT_OOD_VALUES)) continue;
        n_tasks++;
        for (int32_t level = 1; level <= r2_task_levels(t); level++)
            (void)make(&r, t, level, "en", R2_SPLIT_OOD_VALUES, (uint64_t)level);
    }
    assert_true(n_tasks >= 15);
    r2_task_maker_destroy(r.maker);
}

/* ---- phrasings ---- */

/* The words around what is drawn: all but digits and operators of a first line. */
static void phrase_of(const char *prompt, char out[PHRASE_BYTES]) {
    size_t n = 0;
    for (; *prompt != '\0' && *prompt != '\n' && n + 1 < PHRASE_BYTES; prompt++) {
        if (strchr("0123456789+-*/(),[] ", *prompt) == NULL) out[n++] = *prompt;
    }
    out[n] = '\0';
}

static int n_phrases(rig *r, int32_t t, const char *language, r2_task_split split,
                     char found[MAX_PHRASES][PHRASE_BYTES]) {
    int n = 0;
    for (uint64_t i = 0; i < N_SCANNED; i++) {
        char phrase[PHRASE_BYTES];
        int k = 0;
        phrase_of(make(r, t, 2, language, split, i)->prompt, phrase);
        while (k < n && strcmp(found[k], phrase) != 0)
            k++;
        if (k < n) continue;
        assert_in_range(n, 0, MAX_PHRASES - 1);
        memcpy(found[n++], phrase, PHRASE_BYTES);
    }
    return n;
}

static void test_phrasings(void **state) {
    (void)state;
    static char taught[MAX_PHRASES][PHRASE_BYTES], others[MAX_PHRASES][PHRASE_BYTES];
    static const char *const shown[] = { "sum", "multiply", "divide", "gcd", "expression", "sort" };
    rig r = begin();
    for (size_t k = 0; k < sizeof shown / sizeof *shown; k++) {
        for (int l = 0; l < 5; l++) {
            const int32_t t = find(shown[k]);
            if (!r2_task_has_language(t, languages[l], R2_SPLIT_TRAIN)) continue;
            assert_int_equal(n_phrases(&r, t, languages[l], R2_SPLIT_TRAIN, taught), 8);
            const int n = n_phrases(&r, t, languages[l], R2_SPLIT_OOD_PHRASING, others);
            assert_in_range(n, 3, 8);
            for (int i = 0; i < n; i++) {
                for (int j = 0; j < 8; j++)
                    assert_string_not_equal(others[i], taught[j]);
            }
        }
    }
    r2_task_maker_destroy(r.maker);
}

/* ---- lengths ---- */

/* Digits of the widest number. */
static int widest_number(const r2_task_item *item) {
    int widest = 0, n = 0;
    for (const char *at = item->prompt; *at != '\0'; at++) {
        n = isdigit((unsigned char)*at) ? n + 1 : 0;
        widest = n > widest ? n : widest;
    }
    return widest;
}

static int n_of(const char *text, char sign) {
    int n = 0;
    for (; *text != '\0'; text++)
        n += *text == sign;
    return n;
}

static int n_commas(const r2_task_item *item) {
    return n_of(item->answer, ',');
}

static int n_lines(const r2_task_item *item) {
    return n_of(item->prompt, '\n');
}

static int n_steps(const r2_task_item *item) {
    return n_of(item->trace, '\n');
}

static int n_kilobytes(const r2_task_item *item) {
    return (int)strlen(item->prompt) / 1000;
}

static int number_in_answer(const r2_task_item *item) {
    return abs(atoi(item->answer));
}

static void test_lengths(void **state) {
    (void)state;
    static const struct {
        const char *task;
        int (*measure)(const r2_task_item *item);
    } measures[] = { { "sum", widest_number },
                     { "multiply", widest_number },
                     { "divide", widest_number },
                     { "sort", n_commas },
                     { "order", n_commas },
                     { "letters", n_steps },
                     { "grid", n_lines },
                     { "tool", n_lines },
                     { "needle", n_kilobytes },
                     { "days", number_in_answer },
                     { "equation", number_in_answer } };
    rig r = begin();
    for (size_t k = 0; k < sizeof measures / sizeof *measures; k++) {
        const int32_t t = find(measures[k].task), top = r2_task_levels(t);
        int longest = 0;
        for (uint64_t i = 0; i < N_SCANNED / 2; i++) {
            const int n = measures[k].measure(make(&r, t, top, "en", R2_SPLIT_TRAIN, i));
            longest = n > longest ? n : longest;
        }
        for (uint64_t i = 0; i < N_BEYOND / 4; i++) {
            const r2_task_item *item = make(&r, t, 1, "en", R2_SPLIT_OOD_LENGTH, i);
            const bool is_longer = measures[k].measure(item) > longest;
            assert_int_equal(item->level, top + 1);
            if (!is_longer) fail_msg("%s: %s", measures[k].task, item->prompt);
        }
    }
    r2_task_maker_destroy(r.maker);
}

/* ---- wrong tries ---- */

static int n_repairs(const char *trace) {
    static const char *const marks[] = { "? no, ", "? 不对， ", "? non, ", "? nein, " };
    int n = 0;
    for (int i = 0; i < 4; i++) {
        for (const char *at = trace; (at = strstr(at, marks[i])) != NULL; at++)
            n++;
    }
    return n;
}

/* Searches show tries that fail anyway. */
static bool is_search(const char *task) {
    return strcmp(task, "countdown") == 0 || strcmp(task, "knights") == 0;
}

static void test_wrong_tries(void **state) {
    (void)state;
    rig r = begin();
    int n_all = 0, n_wrong = 0;
    for (int32_t t = 0; t < r2_task_count(); t++) {
        int n = 0;
        for (uint64_t i = 0; i < N_TRACES; i++) {
            const char *language = languages[i % 5];
            if (!r2_task_has_language(t, language, R2_SPLIT_TRAIN)) language = "en";
            const int32_t level = (int32_t)(i / 5 % (uint64_t)r2_task_levels(t)) + 1;
            const int found = n_repairs(make(&r, t, level, language, R2_SPLIT_TRAIN, i)->trace);
            assert_in_range(found, 0, 1);
            n += found;
        }
        if (is_search(r2_task_name(t))) {
            assert_int_equal(n, 0);
            continue;
        }
        n_all += N_TRACES;
        n_wrong += n;
        /* Four deviations of 1,500 draws at one in five. */
        if (n < N_TRACES * 16 / 100 || n > N_TRACES * 24 / 100)
            fail_msg("%s: %d of %d", r2_task_name(t), n, N_TRACES);
    }
    print_message("wrong tries: %d of %d traces\n", n_wrong, n_all);
    assert_in_range(n_wrong * 1000 / n_all, 180, 220);
    r2_task_maker_destroy(r.maker);
}

/* What is tried is wrong: "54? no, 54" teaches nothing. */
static void test_tries_are_wrong(void **state) {
    (void)state;
    rig r = begin();
    for (int32_t t = 0; t < r2_task_count(); t++) {
        for (uint64_t i = 0; i < N_TRACES; i++) {
            const int32_t level = (int32_t)(i % (uint64_t)r2_task_levels(t)) + 1;
            const char *trace = make(&r, t, level, "en", R2_SPLIT_TRAIN, i)->trace,
                       *mark = strstr(trace, "? no, ");
            if (mark == NULL) continue;
            const char *right = mark + strlen("? no, ");
            size_t n = strcspn(right, "\n ;");
            if (n > 0 && right[n - 1] == ',') n--;
            const bool is_same =
                n > 0 && mark - trace >= (ptrdiff_t)n && memcmp(mark - n, right, n) == 0 &&
                (mark - n == trace || !isalnum((unsigned char)mark[-1 - (ptrdiff_t)n]));
            if (is_same) fail_msg("%s: %s", r2_task_name(t), trace);
        }
    }
    r2_task_maker_destroy(r.maker);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_languages),   cmocka_unit_test(test_values),
        cmocka_unit_test(test_phrasings),   cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_wrong_tries), cmocka_unit_test(test_tries_are_wrong)
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_number_words.c - numbers in words as num2words (en, de, fr, es) and CLDR (zh) spell them
 * (number_words.json, made by tools/check_number_words.py), and what counts as the same number.
 *
 *   200 numbers of each language, to the letter; English without "and"
 *   parts add up
 *   usual spellings are taken, others are not, and no two of 0 to 9,999 are the same */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "golden_cases.h"
#include "task/number_words.h"
#include "task/task_draft.h"

enum { PATH_BYTES = 1024, N_NUMBERS = 200, HIGHEST = 9999 };
static const char *const languages[R2I_N_LANGUAGES] = { "en", "zh", "es", "fr", "de" };

static void test_published(void **state) {
    (void)state;
    char path[PATH_BYTES], words[R2I_WORDS_BYTES];
    snprintf(path, sizeof path, "%.900s/number_words.json", golden_folder());
    json_t *file = json_load_file(path, 0, NULL);
    if (file == NULL) {
        printf("no number_words.json among the golden cases\n");
        skip();
    }
    for (int32_t l = 0; l < R2I_N_LANGUAGES; l++) {
        json_t *numbers = json_object_get(file, languages[l]), *theirs;
        const char *n;
        assert_int_equal(json_object_size(numbers), N_NUMBERS);
        json_object_foreach(numbers, n, theirs) {
            const char *expected = json_string_value(theirs);
            r2i_number_words(l, atoi(n), words);
            if (l != R2I_EN) assert_string_equal(words, expected);
            if (!r2i_is_same_in_words(words, expected, strlen(expected)))
                fail_msg("%s: %s, %s", n, words, expected);
        }
    }
    json_decref(file);
}

static void test_parts(void **state) {
    (void)state;
    for (int32_t l = 0; l < R2I_N_LANGUAGES; l++) {
        for (int32_t n = 0; n <= R2I_MAX_IN_WORDS; n += n < 2000 ? 1 : 37) {
            r2i_word_part parts[R2I_WORD_PARTS];
            const int32_t n_parts = r2i_number_parts(l, n, parts);
            int32_t sum = 0;
            assert_in_range(n_parts, 1, R2I_WORD_PARTS);
            for (int32_t i = 0; i < n_parts; i++) {
                assert_true(parts[i].text[0] != '\0' && parts[i].text[0] != ' ');
                sum += parts[i].value;
            }
            assert_int_equal(sum, n);
        }
    }
}

static void test_spellings(void **state) {
    (void)state;
    static const struct {
        int32_t language, n;
        const char *answer;
        bool is_right;
    } samples[] = {
        { R2I_EN, 105, "One hundred and five.", true },
        { R2I_EN, 105, "a hundred five", true },
        { R2I_EN, 2021, "two thousand, twenty one", true },
        { R2I_EN, 105, "one hundred fifty", false },
        { R2I_EN, 105, "105", false },
        { R2I_EN, 105, "one hundred 5", false },
        { R2I_EN, 105, "", false },
        { R2I_EN, 105, "one hundred five\xff", false },
        { R2I_DE, 135, "Ein Hundert fuenfunddreissig", true },
        { R2I_DE, 1101, "tausendeinhundertundeins", true },
        { R2I_DE, 135, "einhundertdreiundfünfzig", false },
        { R2I_FR, 71, "soixante-et-onze", true },
        { R2I_FR, 280, "Deux-cent quatre-vingt", true },
        { R2I_FR, 280, "deux cent vingt-quatre", false },
        { R2I_ES, 16, "diez y seis", true },
        { R2I_ES, 123, "ciento veintitres", true },
        { R2I_ES, 123, "ciento treinta y dos", false },
        { R2I_ZH, 2205, "两千两百零五", true },
        { R2I_ZH, 2205, "二千二百〇五", true },
        { R2I_ZH, 2205, "二千二百五十", false },
    };
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        char words[R2I_WORDS_BYTES];
        r2i_number_words(samples[i].language, samples[i].n, words);
        if (r2i_is_same_in_words(words, samples[i].answer, strlen(samples[i].answer)) !=
            samples[i].is_right)
            fail_msg("%s, %s", words, samples[i].answer);
    }
}

static int compare(const void *a, const void *b) {
    return strcmp(a, b);
}

/* Neighbours in the order of letters and of numbers. */
static void test_no_two_alike(void **state) {
    (void)state;
    static char all[HIGHEST + 1][R2I_WORDS_BYTES];
    for (int32_t l = 0; l < R2I_N_LANGUAGES; l++) {
        for (int32_t n = 0; n <= HIGHEST; n++) {
            r2i_number_words(l, n, all[n]);
            const int32_t others[] = { n - 1, n / 10, n % 1000, n - n % 100 };
            for (int i = 0; i < 4; i++) {
                if (others[i] >= 0 && others[i] < n &&
                    r2i_is_same_in_words(all[n], all[others[i]], strlen(all[others[i]])))
                    fail_msg("%s, %s", all[n], all[others[i]]);
            }
        }
        qsort(all, HIGHEST + 1, sizeof *all, compare);
        for (int32_t n = 1; n <= HIGHEST; n++)
            assert_false(r2i_is_same_in_words(all[n - 1], all[n], strlen(all[n])));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_published),
                                        cmocka_unit_test(test_parts),
                                        cmocka_unit_test(test_spellings),
                                        cmocka_unit_test(test_no_two_alike) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* task_numeral.c - numbers in base 2, 3, 8 or 16, in Roman numerals or in words, and back. */
#include <string.h>

#include "task/number_words.h"
#include "task/task_draft.h"

enum { WORDS, ROMAN, TEXT_BYTES = R2I_WORDS_BYTES, MAX_ROMAN = 3999, BEYOND = 6 };

static const char *const questions[R2I_N_LANGUAGES][R2I_QUESTIONS] = {
    { "Write the number {0} {1} as a number {2}.", "Convert {0} {1} to a number {2}.",
      "How is the {0} written {2}, if it is a number {1}?" },
    { "把{1} {0} 写成{2}。", "将{1} {0} 转换为{2}。", "{1} {0} 用{2}怎么写？" },
    { "Escribe el número {0} {1} como número {2}.", "Convierte {0} {1} en un número {2}.",
      "¿Cómo se escribe {2} el número {0} {1}?" },
    { "Écris le nombre {0} {1} comme nombre {2}.", "Convertis {0} {1} en un nombre {2}.",
      "Comment s'écrit {2} le nombre {0} {1} ?" },
    { "Schreibe die Zahl {0} {1} als Zahl {2}.", "Wandle {0} {1} in eine Zahl {2} um.",
      "Wie schreibt man die Zahl {0} {1} als Zahl {2}?" },
};
/* Words twice as often. */
static const int32_t bases[] = { 2, 8, 16, ROMAN, 3, WORDS, WORDS };
static const char *const roman_name[R2I_N_LANGUAGES] = { "in Roman numerals", "罗马数字",
                                                         "en números romanos",
                                                         "en chiffres romains",
                                                         "in römischen Ziffern" };
/* What is opposite to digits in some base is called digits. */
static const char *const words_name[R2I_N_LANGUAGES][2] = { { "in words", "in digits" },
                                                            { "汉字数字", "阿拉伯数字" },
                                                            { "en palabras", "en cifras" },
                                                            { "en toutes lettres", "en chiffres" },
                                                            { "in Worten", "in Ziffern" } };
static const char *const base_name[R2I_N_LANGUAGES] = { "in base %d", "%d 进制数", "en base %d",
                                                        "en base %d", "zur Basis %d" };
static const char *const left[R2I_N_LANGUAGES] = { "left", "余", "queda", "il reste", "und noch" };

static const struct {
    int32_t value;
    const char *sign;
} signs[] = { { 1000, "M" }, { 900, "CM" }, { 500, "D" }, { 400, "CD" }, { 100, "C" },
              { 90, "XC" },  { 50, "L" },   { 40, "XL" }, { 10, "X" },   { 9, "IX" },
              { 5, "V" },    { 4, "IV" },   { 1, "I" } };

static void name_base(r2i_task_draft *d, int i, int32_t base, bool is_in_words) {
    if (base == WORDS || is_in_words)
        r2i_fill(d, i, "%s", words_name[d->language][base != WORDS]);
    else if (base == ROMAN)
        r2i_fill(d, i, "%s", roman_name[d->language]);
    else
        r2i_fill(d, i, base_name[d->language], base);
}

/* Signs from the largest on; `is_to`: from number to numeral, otherwise read. */
static void roman(r2i_task_draft *d, int32_t n, char *out, bool is_to) {
    int32_t sum = 0;
    size_t n_out = 0;
    for (size_t i = 0; n > 0; i += n < signs[i].value) {
        if (n < signs[i].value) continue;
        n -= signs[i].value;
        sum += signs[i].value;
        for (const char *sign = signs[i].sign; *sign != '\0'; sign++)
            out[n_out++] = *sign;
        out[n_out] = '\0';
        if (is_to)
            r2i_think(d, "%d %s, %s ", signs[i].value, signs[i].sign, left[d->language]);
        else
            r2i_think(d, "%s %d: ", signs[i].sign, signs[i].value);
        r2i_doubt(d, "%d", (is_to ? n : sum) + 10);
        r2i_think(d, "%d\n", is_to ? n : sum);
    }
}

static void digits(r2i_task_draft *d, int32_t n, int32_t base, char *out, bool is_told) {
    char backwards[TEXT_BYTES];
    int k = 0;
    do {
        if (is_told) {
            r2i_think(d, "%d/%d=", n, base);
            r2i_doubt(d, "%d", n / base + 1);
            r2i_think(d, "%d, %s %d\n", n / base, left[d->language], n % base);
        }
        backwards[k++] = "0123456789abcdef"[n % base];
        n /= base;
    } while (n > 0);
    for (int i = 0; i < k; i++)
        out[i] = backwards[k - 1 - i];
    out[k] = '\0';
}

/* From the left: what there was times the base, and the next digit. */
static void say_reading(r2i_task_draft *d, const char *text, int32_t base) {
    int32_t sum = 0;
    for (; *text != '\0'; text++) {
        const int32_t digit = *text <= '9' ? *text - '0' : *text - 'a' + 10;
        r2i_think(d, "%d*%d+%d=", sum, base, digit);
        sum = sum * base + digit;
        r2i_doubt(d, "%d", sum + 1);
        r2i_think(d, "%d\n", sum);
    }
}

/* Those of a neighbour with as many noughts. */
static void doubt_words(r2i_task_draft *d, int32_t value) {
    char wrong[R2I_WORDS_BYTES];
    int32_t step = 1;
    while (value % (step * 10) == 0)
        step *= 10;
    r2i_number_words(d->language, value + (value / step % 10 < 9 ? step : -step), wrong);
    r2i_doubt(d, "%s", wrong);
}

/* The words of each part, or what they come to together. */
static void words(r2i_task_draft *d, int32_t n, char *out, bool is_to) {
    r2i_word_part parts[R2I_WORD_PARTS];
    const int32_t n_parts = r2i_number_parts(d->language, n, parts);
    int32_t sum = 0;
    for (int32_t i = 0; i < n_parts; i++) {
        sum += parts[i].value;
        if (is_to) {
            r2i_think(d, "%d: ", parts[i].value);
            doubt_words(d, parts[i].value);
            r2i_think(d, "%s\n", parts[i].text);
        } else {
            r2i_think(d, "%s %d: ", parts[i].text, parts[i].value);
            r2i_doubt(d, "%d", sum + 10);
            r2i_think(d, "%d\n", sum);
        }
    }
    r2i_number_words(d->language, n, out);
}

static int32_t draw_number(r2i_task_draft *d, int32_t base) {
    static const int32_t highest[] = { 0, 63, 255, 999, 2000, MAX_ROMAN, 9999 },
                         highest_words[] = { 0, 99, 255, 999, 3999, 9999, R2I_MAX_IN_WORDS };
    const int32_t *h = base == WORDS ? highest_words : highest;
    return (int32_t)r2i_draw_operand(d, d->level < BEYOND ? 4 : h[d->level - 1] + 1, h[d->level]);
}

static void make(r2i_task_draft *d) {
    const bool is_back = r2i_draw_once_in(d, 2);
    const int64_t dice = r2i_draw(d, 0, sizeof bases / sizeof *bases - 1);
    const int32_t base = bases[dice] == ROMAN && d->level == BEYOND ? 2 : bases[dice],
                  n = draw_number(d, base);
    char text[TEXT_BYTES];
    r2i_key_add(d, n * 100 + base * 2 + is_back);
    if (base == ROMAN)
        roman(d, n, text, !is_back);
    else if (base == WORDS)
        words(d, n, text, !is_back);
    else
        digits(d, n, base, text, !is_back);
    if (base > ROMAN && is_back) say_reading(d, text, base);
    if (is_back)
        r2i_fill(d, 0, "%s", text);
    else
        r2i_fill(d, 0, "%d", n);
    name_base(d, is_back ? 1 : 2, base, false);
    name_base(d, is_back ? 2 : 1, 10, base == WORDS);
    if (is_back)
        r2i_conclude(d, "%d", n);
    else
        r2i_conclude(d, "%s", text);
}

/* Only where words were asked for: digits of any base and Roman numerals are compared as they are. */
static bool is_also_right(const char *expected, const char *answer, size_t n_answer) {
    const bool is_in_words = expected[strspn(expected, "0123456789abcdefIVXLCDM")] != '\0';
    return is_in_words && r2i_is_same_in_words(expected, answer, n_answer);
}

const r2i_task r2i_task_numeral = { .name = "numeral",
                                    .about = "numbers in other bases, Roman numerals and words",
                                    .n_levels = 5,
                                    .has_values = true,
                                    .kind = R2_GRADE_EXACT,
                                    .questions = questions,
                                    .make = make,
                                    .is_also_right = is_also_right };

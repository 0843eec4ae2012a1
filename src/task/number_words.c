/* number_words.c - the rules are those of CLDR's spellout-cardinal (masculine in Spanish, the traditional
 * hyphens in French); tools/check_number_words.py holds all numbers against num2words and CLDR. */
#include "task/number_words.h"

#include <stdio.h>
#include <string.h>
#include <utf8proc.h>

#include "task/task_draft.h"

enum { FOLD_POINTS = 512, FOLD_BYTES = 4 * FOLD_POINTS, N_SMALL = 20, N_SMALL_ES = 30 };

static const char *const small_en[N_SMALL] = { "zero",    "one",       "two",      "three",
                                               "four",    "five",      "six",      "seven",
                                               "eight",   "nine",      "ten",      "eleven",
                                               "twelve",  "thirteen",  "fourteen", "fifteen",
                                               "sixteen", "seventeen", "eighteen", "nineteen" };
static const char *const small_fr[N_SMALL] = { "zéro",   "un",       "deux",     "trois",
                                               "quatre", "cinq",     "six",      "sept",
                                               "huit",   "neuf",     "dix",      "onze",
                                               "douze",  "treize",   "quatorze", "quinze",
                                               "seize",  "dix-sept", "dix-huit", "dix-neuf" };
static const char *const small_de[N_SMALL] = { "null",     "ein",      "zwei",     "drei",
                                               "vier",     "fünf",     "sechs",    "sieben",
                                               "acht",     "neun",     "zehn",     "elf",
                                               "zwölf",    "dreizehn", "vierzehn", "fünfzehn",
                                               "sechzehn", "siebzehn", "achtzehn", "neunzehn" };
static const char *const small_es[N_SMALL_ES] = {
    "cero",         "uno",         "dos",        "tres",        "cuatro",     "cinco",
    "seis",         "siete",       "ocho",       "nueve",       "diez",       "once",
    "doce",         "trece",       "catorce",    "quince",      "dieciséis",  "diecisiete",
    "dieciocho",    "diecinueve",  "veinte",     "veintiuno",   "veintidós",  "veintitrés",
    "veinticuatro", "veinticinco", "veintiséis", "veintisiete", "veintiocho", "veintinueve"
};
static const char *const tens_en[] = { "",      "",      "twenty",  "thirty", "forty",
                                       "fifty", "sixty", "seventy", "eighty", "ninety" };
static const char *const tens_fr[] = {
    "",          "",         "vingt",    "trente",       "quarante",
    "cinquante", "soixante", "soixante", "quatre-vingt", "quatre-vingt"
};
static const char *const tens_de[] = { "",        "",        "zwanzig", "dreißig", "vierzig",
                                       "fünfzig", "sechzig", "siebzig", "achtzig", "neunzig" };
static const char *const tens_es[] = { "",          "",        "",        "treinta", "cuarenta",
                                       "cincuenta", "sesenta", "setenta", "ochenta", "noventa" };
static const char *const hundreds_es[] = {
    "",           "ciento",      "doscientos",  "trescientos", "cuatrocientos",
    "quinientos", "seiscientos", "setecientos", "ochocientos", "novecientos"
};
static const char *const small_zh[] = {
    "零", "一", "二", "三", "四", "五", "六", "七", "八", "九"
};

/* ---- below a hundred; `is_count`: of thousands, which follow ---- */

static void below_hundred_fr(char *out, int32_t n, bool is_count) {
    const int32_t ten = n / 10, rest = ten == 7 || ten == 9 ? n % 10 + 10 : n % 10;
    if (n < N_SMALL)
        (void)snprintf(out, R2I_PART_BYTES, "%s", small_fr[n]);
    else if (rest == 0)
        (void)snprintf(out, R2I_PART_BYTES, "%s%s", tens_fr[ten], n == 80 && !is_count ? "s" : "");
    else
        (void)snprintf(out, R2I_PART_BYTES, "%s%s%s", tens_fr[ten],
                       n % 10 == 1 && ten < 8 ? " et " : "-", small_fr[rest]);
}

/* Before "mil" uno is un. */
static void below_hundred_es(char *out, int32_t n, bool is_count) {
    const bool is_short = is_count && n % 10 == 1 && n != 11;
    if (is_short && n == 21)
        (void)snprintf(out, R2I_PART_BYTES, "veintiún");
    else if (n < N_SMALL_ES)
        (void)snprintf(out, R2I_PART_BYTES, "%s", small_es[n]);
    else if (n % 10 == 0)
        (void)snprintf(out, R2I_PART_BYTES, "%s", tens_es[n / 10]);
    else
        (void)snprintf(out, R2I_PART_BYTES, "%s y %s", tens_es[n / 10],
                       is_short ? "un" : small_es[n % 10]);
}

static void below_hundred_de(char *out, int32_t n, bool is_count) {
    if (n < N_SMALL)
        (void)snprintf(out, R2I_PART_BYTES, "%s%s", small_de[n], n == 1 && !is_count ? "s" : "");
    else
        (void)snprintf(out, R2I_PART_BYTES, "%s%s%s", n % 10 > 0 ? small_de[n % 10] : "",
                       n % 10 > 0 ? "und" : "", tens_de[n / 10]);
}

static void below_hundred_en(char *out, int32_t n, bool is_count) {
    (void)is_count;
    if (n < N_SMALL)
        (void)snprintf(out, R2I_PART_BYTES, "%s", small_en[n]);
    else
        (void)snprintf(out, R2I_PART_BYTES, "%s%s%s", tens_en[n / 10], n % 10 > 0 ? "-" : "",
                       n % 10 > 0 ? small_en[n % 10] : "");
}

/* ---- thousands and hundreds ---- */

typedef struct {
    void (*below_hundred)(char *out, int32_t n, bool is_count);
    const char *thousand, *hundred; /* behind their count */
    bool has_one;                   /* "one hundred", but "cent" and "mil" */
} rules;
static const rules rules_of[R2I_N_LANGUAGES] = {
    [R2I_EN] = { below_hundred_en, " thousand", " hundred", true },
    [R2I_ES] = { below_hundred_es, " mil", "", false },
    [R2I_FR] = { below_hundred_fr, " mille", " cent", false },
    [R2I_DE] = { below_hundred_de, "tausend", "hundert", true },
};

static void say_count(const rules *r, char *out, int32_t n, const char *unit) {
    char count[R2I_PART_BYTES];
    r->below_hundred(count, n, true);
    if (n == 1 && !r->has_one)
        (void)snprintf(out, R2I_PART_BYTES, "%s", unit + 1); /* without its space */
    else
        (void)snprintf(out, R2I_PART_BYTES, "%.30s%s", count, unit);
}

static void say_hundreds(int32_t language, char *out, int32_t n, bool is_end) {
    if (language == R2I_ES) {
        (void)snprintf(out, R2I_PART_BYTES, "%s", n == 1 && is_end ? "cien" : hundreds_es[n]);
        return;
    }
    const bool is_many = language == R2I_FR && n > 1 && is_end;
    say_count(&rules_of[language], out, n, is_many ? " cents" : rules_of[language].hundred);
}

/* A part per place; 零 where one or more places between two are empty. */
static int32_t parts_zh(int32_t n, r2i_word_part *parts) {
    static const char *const places[] = { "万", "千", "百", "十", "" };
    int32_t n_parts = 0, place = 10000;
    bool is_gap = false;
    for (int i = 0; i < 5; i++, place /= 10) {
        const int32_t digit = n / place % 10;
        const bool is_first = n_parts == 0;
        if (digit == 0) {
            is_gap = true;
            continue;
        }
        parts[n_parts].value = digit * place;
        (void)snprintf(parts[n_parts++].text, R2I_PART_BYTES, "%s%s%s",
                       is_gap && !is_first ? "零" : "",
                       is_first && digit == 1 && place == 10 ? "" : small_zh[digit], places[i]);
        is_gap = false;
    }
    return n_parts;
}

int32_t r2i_number_parts(int32_t language, int32_t n, r2i_word_part parts[R2I_WORD_PARTS]) {
    int32_t n_parts = 0;
    const int32_t thousands = n / 1000, hundreds = n / 100 % 10, rest = n % 100;
    if (n == 0 && language == R2I_ZH) {
        parts[0] = (r2i_word_part){ 0, "零" };
        return 1;
    }
    if (language == R2I_ZH) return parts_zh(n, parts);
    const rules *r = &rules_of[language];
    if (thousands > 0) {
        parts[n_parts].value = thousands * 1000;
        say_count(r, parts[n_parts++].text, thousands, r->thousand);
    }
    if (hundreds > 0) {
        parts[n_parts].value = hundreds * 100;
        say_hundreds(language, parts[n_parts++].text, hundreds, rest == 0);
    }
    if (rest > 0 || n == 0) {
        parts[n_parts].value = rest;
        r->below_hundred(parts[n_parts++].text, rest, false);
    }
    return n_parts;
}

void r2i_number_words(int32_t language, int32_t n, char out[R2I_WORDS_BYTES]) {
    r2i_word_part parts[R2I_WORD_PARTS];
    const int32_t n_parts = r2i_number_parts(language, n, parts);
    const bool is_joined = language == R2I_DE || language == R2I_ZH;
    size_t used = 0; /* five parts have room */
    for (int32_t i = 0; i < n_parts; i++)
        used += (size_t)snprintf(out + used, R2I_WORDS_BYTES - used, "%s%.30s",
                                 i > 0 && !is_joined ? " " : "", parts[i].text);
}

/* ---- comparing ---- */

/* Done one after the other to letters that stand without anything between them; no two numbers of a language
 * become one (tests/golden/test_number_words.c). */
static const struct {
    const char *from, *to;
} usual[] = {
    { "athousand", "onethousand" },
    { "ahundred", "onehundred" },
    { "and", "" }, /* en */
    { "ue", "u" },
    { "oe", "o" }, /* de: fuenf */
    { "einhundert", "hundert" },
    { "eintausend", "tausend" },
    { "hundertund", "hundert" },
    { "tausendund", "tausend" },
    { "cents", "cent" },
    { "vingts", "vingt" }, /* fr */
    { "diezy", "dieci" },
    { "veintey", "veinti" },
    { "unomil", "unmil" }, /* es */
    { "两", "二" },
    { "〇", "零" },
    { "一十", "十" }, /* zh */
    { "萬", "万" },
    { "兩", "二" },
};

static void replace_all(char *text, const char *from, const char *to) {
    const size_t n_from = strlen(from), n_to = strlen(to); /* or a few letters longer */
    for (char *at = text; (at = strstr(at, from)) != NULL; at += n_to) {
        memmove(at + n_to, at + n_from, strlen(at + n_from) + 1);
        memcpy(at, to, n_to);
    }
}

/* Letters and digits alone, small, without marks.  False: no UTF-8, or longer than any number. */
static bool fold(const char *text, size_t n, char out[FOLD_BYTES]) {
    utf8proc_int32_t points[FOLD_POINTS];
    const utf8proc_option_t how =
        UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT | UTF8PROC_CASEFOLD | UTF8PROC_STRIPMARK;
    size_t n_out = 0;
    if (n > FOLD_POINTS) return false;
    const utf8proc_ssize_t n_points = utf8proc_decompose(
        (const utf8proc_uint8_t *)text, (utf8proc_ssize_t)n, points, FOLD_POINTS, how);
    if (n_points < 0 || n_points > FOLD_POINTS / 2) return false;
    for (utf8proc_ssize_t i = 0; i < n_points; i++) {
        const utf8proc_category_t kind = utf8proc_category(points[i]);
        const bool is_letter = kind >= UTF8PROC_CATEGORY_LU && kind <= UTF8PROC_CATEGORY_LO,
                   is_digit = kind >= UTF8PROC_CATEGORY_ND && kind <= UTF8PROC_CATEGORY_NO;
        if (is_letter || is_digit)
            n_out += (size_t)utf8proc_encode_char(points[i], (utf8proc_uint8_t *)out + n_out);
    }
    out[n_out] = '\0';
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++)
        replace_all(out, usual[i].from, usual[i].to);
    return true;
}

bool r2i_is_same_in_words(const char *expected, const char *answer, size_t n_answer) {
    char left[FOLD_BYTES], right[FOLD_BYTES];
    return fold(expected, strlen(expected), left) && fold(answer, n_answer, right) &&
           strcmp(left, right) == 0;
}

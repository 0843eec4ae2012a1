/* task_letters.c - words spelt backwards, letters counted, replaced and shifted. */
#include <string.h>

#include "task/task_draft.h"

enum { MAX_LETTERS = 20, N_LETTERS = 26, N_KINDS = 4 };
enum { BACKWARDS, COUNT, REPLACE, SHIFT };

static const char *const questions[R2I_N_LANGUAGES][R2I_QUESTIONS] = {
    { "Word: {0}. {1}", "Take the word \"{0}\". {1}", "{1} The word is {0}." },
    { "单词：{0}。{1}", "看单词“{0}”。{1}", "{1}单词是 {0}。" },
    { "Palabra: {0}. {1}", "Toma la palabra \"{0}\". {1}", "{1} La palabra es {0}." },
    { "Mot : {0}. {1}", "Prends le mot \"{0}\". {1}", "{1} Le mot est {0}." },
    { "Wort: {0}. {1}", "Nimm das Wort \"{0}\". {1}", "{1} Das Wort ist {0}." },
};
/* The last takes a number, the others up to two letters. */
static const char *const asked[R2I_N_LANGUAGES][N_KINDS] = {
    { "Spell it backwards.", "How often does the letter %c occur?", "Replace each %c by %c.",
      "Move each letter %d places on in the alphabet, z to a." },
    { "把它倒着拼写。", "字母 %c 出现几次？", "把每个 %c 换成 %c。",
      "把每个字母在字母表中后移 %d 位，z 后接 a。" },
    { "Escríbela al revés.", "¿Cuántas veces aparece la letra %c?", "Cambia cada %c por %c.",
      "Mueve cada letra %d lugares en el alfabeto, de z a a." },
    { "Écris-le à l'envers.", "Combien de fois y a-t-il la lettre %c ?",
      "Remplace chaque %c par %c.",
      "Avance chaque lettre de %d places dans l'alphabet, z vers a." },
    { "Schreibe es rückwärts.", "Wie oft kommt der Buchstabe %c vor?", "Ersetze jedes %c durch %c.",
      "Schiebe jeden Buchstaben um %d Stellen im Alphabet weiter, z zu a." },
};

static void draw_word(r2i_task_draft *d, char *out, int32_t n) {
    static const char vowels[] = "aeiou", others[] = "bcdfghklmnprstvz";
    for (int32_t i = 0; i < n; i++)
        out[i] = i % 2 == 0 ? others[r2i_draw(d, 0, 15)] : vowels[r2i_draw(d, 0, 4)];
    out[n] = '\0';
}

/* What one letter becomes. */
static char step(int64_t kind, char letter, char from, char to, int32_t places) {
    if (kind == REPLACE) return letter == from ? to : letter;
    const int shifted =
        'a' + (letter - 'a' + places) % N_LETTERS; /* one step: gcc's sanitizers warn else */
    return kind == SHIFT ? (char)shifted : letter;
}

static void make(r2i_task_draft *d) {
    const int64_t kind = r2i_draw(d, 0, N_KINDS - 1);
    const int32_t n =
        (int32_t)r2i_draw(d, d->level > 5 ? 3 + 2 * 5 : 2 + d->level, 2 + 2 * d->level);
    char word[MAX_LETTERS];
    draw_word(d, word, n);
    r2i_note_withheld(d, word[0] == 'k');
    const char from = word[r2i_draw(d, 0, n - 1)], to = (char)('a' + r2i_draw(d, 0, N_LETTERS - 1));
    const int32_t places = (int32_t)r2i_draw(d, 1, 2 + d->level);
    const char *format = asked[d->language][kind];
    int32_t count = 0;
    if (kind == SHIFT)
        r2i_fill(d, 1, format, places);
    else
        r2i_fill(d, 1, format, from, to);
    r2i_fill(d, 0, "%s", word);
    r2i_key_add_text(d, word);
    r2i_key_add(d, kind * 10000 + (kind == SHIFT       ? places
                                   : kind == BACKWARDS ? 0
                                                       : from * 100 + to));
    for (int32_t i = 0; i < n; i++) {
        const char letter = word[kind == BACKWARDS ? n - 1 - i : i],
                   out = step(kind, letter, from, to, places);
        count += letter == from;
        r2i_think(d, "%d '%c': ", kind == BACKWARDS ? n - i : i + 1, letter);
        if (kind == COUNT) {
            r2i_doubt(d, "%d", count + 1);
            r2i_think(d, "%d\n", count);
        } else {
            r2i_doubt(d, "'%c'", step(SHIFT, out, 0, 0, 1));
            r2i_think(d, "'%c'\n", out);
            r2i_conclude(d, "%c", out);
        }
    }
    if (kind == COUNT) r2i_conclude(d, "%d", count);
}

const r2i_task r2i_task_letters = { .name = "letters",
                                    .about =
                                        "words spelt backwards, letters counted, replaced, shifted",
                                    .n_levels = 5,
                                    .withheld_language = R2I_ZH,
                                    .has_values = true,
                                    .kind = R2_GRADE_EXACT,
                                    .questions = questions,
                                    .make = make };

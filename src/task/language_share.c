/* language_share.c - r2_language_share: how much of a text is in the language asked for.
 *
 * A word counts for the one language whose common words it is among, Chinese by its characters; all
 * other words (names, loans, what two languages share) count for nobody. */
#include <ctype.h>
#include <stdint.h>
#include <string.h>

#include "r2lm/task.h"

enum { N_LANGUAGES = 5, CHINESE = 4, MAX_WORD = 24 };
static const char *const names[N_LANGUAGES] = { "en", "de", "fr", "es", "zh" };

/* Common words that the other three do not have, in small letters; a space on both sides of each. */
static const char *const common[N_LANGUAGES - 1] = {
    " the and is are was were of to that this it with for have has had be been not but they we you "
    "he she his her "
    "which what when where how who there their them then than so if because first next check let "
    "find need needs "
    "number numbers answer total each all would can could should from by at or my your our step "
    "steps gives equals "
    "times plus minus divided more less left right yes wrong try does did now know means ",
    " der die das und ist sind war waren von zu dass dieser diese dieses mit haben hat hatte sein "
    "nicht aber sie wir ihr "
    "er ich welche wann wo wie wer dort dann als wenn weil zuerst also nun zahl zahlen antwort "
    "insgesamt jede jeder alle "
    "kann soll aus bei oder mein dein unser schritt schritte ergibt gleich mal geteilt durch mehr "
    "weniger links rechts "
    "ja falsch brauchen den dem des ein eine einen einem einer auf noch nur auch im am zum zur "
    "bedeutet ",
    " le les et est sont était du au aux cette ce ces il elle ils elles nous vous avec pour "
    "avoir avait être pas mais "
    "qui quand où comment alors donc si parce d'abord ensuite nombre nombres réponse "
    "chaque tous toutes peut doit "
    "dans chez ou mon ton notre étape étapes donne fois plus moins divisé par "
    "gauche droite oui faux besoin des une "
    "sur aussi ç"
    "a c'est je suis sa ses leur leurs trouver vérifions ",
    " el los las y es son era eran del al esta este estos esto ella ellos nosotros usted con para "
    "tener tení"
    "a ser pero "
    "quien quienes cuando dónde cómo entonces porque primero luego número "
    "números respuesta cada todos todas puede "
    "debe desde o mi tu nuestro paso pasos igual veces más menos dividido izquierda derecha "
    "sí falso necesita una unos "
    "unas sobre también muy hay lo su sus hemos encontrar comprobamos "
};

static bool is_common(int language, const char *word, size_t n) {
    char needle[MAX_WORD + 3] = " ";
    if (n > MAX_WORD) return false;
    memcpy(needle + 1, word, n);
    needle[n + 1] = ' ';
    needle[n + 2] = '\0';
    return strstr(common[language], needle) != NULL;
}

/* Its only language, or -1. */
static int language_of(const char *word, size_t n) {
    int found = -1;
    for (int i = 0; i < CHINESE; i++) {
        if (!is_common(i, word, n)) continue;
        if (found >= 0) return -1;
        found = i;
    }
    return found;
}

/* One character of U+3400 to U+9FFF. */
static bool is_han(const unsigned char *at, size_t n) {
    if (n < 3 || (at[0] & 0xf0) != 0xe0) return false;
    const uint32_t code =
        (uint32_t)(at[0] & 0xf) << 12 | (uint32_t)(at[1] & 0x3f) << 6 | (uint32_t)(at[2] & 0x3f);
    return code >= 0x3400 && code <= 0x9fff;
}

/* Letters of Latin words, those of U+00C0 to U+017F and apostrophes included: bytes of one; 0: none. */
static size_t letter_width(const unsigned char *at, size_t n) {
    if (isalpha(at[0]) || at[0] == '\'') return 1;
    return n >= 2 && at[0] >= 0xc3 && at[0] <= 0xc5 ? 2 : 0;
}

static size_t take_word(const unsigned char *at, size_t n, char word[MAX_WORD + 1],
                        size_t *n_word) {
    size_t used = 0, width;
    *n_word = 0;
    while (used < n && (width = letter_width(at + used, n - used)) > 0) {
        for (size_t i = 0; i < width; i++) {
            unsigned char c = at[used + i];
            if (width == 1) c = (unsigned char)tolower(c);
            if (width == 2 && i == 1 && at[used] == 0xc3 && c >= 0x80 && c <= 0x9e)
                c = (unsigned char)(c + 0x20);
            if (*n_word < MAX_WORD) word[*n_word] = (char)c;
            ++*n_word;
        }
        used += width;
    }
    return used;
}

/* Bytes of code here: between backquotes, or a command of LaTeX or a tag. */
static size_t code_width(const unsigned char *at, size_t n) {
    if (at[0] == '`') {
        size_t ticks = 1, run = 0;
        while (ticks < n && at[ticks] == '`')
            ticks++;
        for (size_t i = ticks; i < n; i++) {
            run = at[i] == '`' ? run + 1 : 0;
            if (run == ticks) return i + 1;
        }
        return ticks >= 3 ? n : ticks;
    }
    if (at[0] == '\\' || at[0] == '<') {
        size_t i = 1;
        while (i < n && (isalpha(at[i]) || at[i] == '/'))
            i++;
        return i;
    }
    return 0;
}

double r2_language_share(const char *text, size_t n_bytes, const char *language) {
    const unsigned char *at = (const unsigned char *)text, *end = at + n_bytes;
    int64_t counts[N_LANGUAGES] = { 0 }, all = 0;
    char word[MAX_WORD + 1];
    while (at < end) {
        const size_t n = (size_t)(end - at), code = code_width(at, n);
        size_t n_word, used = code > 0 ? 0 : take_word(at, n, word, &n_word);
        if (used > 0) {
            const int which = n_word <= MAX_WORD ? language_of(word, n_word) : -1;
            if (which >= 0) counts[which]++;
        } else if (code == 0 && is_han(at, n)) {
            counts[CHINESE]++;
            used = 3;
        }
        at += code > 0 ? code : used > 0 ? used : 1;
    }
    for (int i = 0; i < N_LANGUAGES; i++)
        all += counts[i];
    for (int i = 0; all > 0 && i < N_LANGUAGES; i++) {
        if (strcmp(names[i], language) == 0) return (double)counts[i] / (double)all;
    }
    return all > 0 ? 0 : 1;
}

/* number_words.h - whole numbers in words of five languages, and words compared as people vary them. */
#ifndef R2I_NUMBER_WORDS_H
#define R2I_NUMBER_WORDS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { R2I_MAX_IN_WORDS = 99999, R2I_WORD_PARTS = 5, R2I_PART_BYTES = 48, R2I_WORDS_BYTES = 160 };

/* A part as it stands in its number: "fünftausend", 5000; Chinese with the 零 before it. */
typedef struct {
    int32_t value;
    char text[R2I_PART_BYTES];
} r2i_word_part;

/* The parts of n, 0 to R2I_MAX_IN_WORDS, from the largest on; how many.  language: R2I_EN ... */
int32_t r2i_number_parts(int32_t language, int32_t n, r2i_word_part parts[R2I_WORD_PARTS]);
/* All of them in one. */
void r2i_number_words(int32_t language, int32_t n, char out[R2I_WORDS_BYTES]);
/* True: the same number but for capitals, accents, hyphens, spaces and what else is usual: "one hundred and
 * five", "hundertundfünf", "vingt-et-un", "diez y seis", 两百.  n_answer bytes of anything. */
bool r2i_is_same_in_words(const char *expected, const char *answer, size_t n_answer);
#endif

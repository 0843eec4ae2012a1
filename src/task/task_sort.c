/* task_sort.c - a list of whole numbers put in order, the smallest taken out one after the other. */
#include <stdio.h>
#include <string.h>

#include "task/task_draft.h"

enum { MAX_LENGTH = 16, MAX_NUMBER = 99 };

static const char *const questions[R2I_N_LANGUAGES][R2I_QUESTIONS] = {
    { "Sort from the smallest to the largest: {0}", "Put these numbers in ascending order: {0}",
      "Rank these from low to high: {0}" },
    { "从小到大排序：{0}", "把这些数按升序排列：{0}", "从低到高排：{0}" },
    { "Ordena de menor a mayor: {0}", "Pon estos números en orden ascendente: {0}",
      "Clasifica de bajo a alto: {0}" },
    { "Trie du plus petit au plus grand : {0}", "Mets ces nombres en ordre croissant : {0}",
      "Classe du bas vers le haut : {0}" },
    { "Sortiere vom kleinsten zum größten: {0}",
      "Bringe diese Zahlen in aufsteigende Reihenfolge: {0}", "Reihe von niedrig nach hoch: {0}" },
};

static void print_list(char out[R2I_FILL_BYTES], const int32_t *numbers, int32_t n) {
    size_t used = 0;
    for (int32_t i = 0; i < n; i++)
        used += (size_t)snprintf(out + used, R2I_FILL_BYTES - used, "%s%d", i > 0 ? ", " : "[",
                                 numbers[i]);
    (void)snprintf(out + used, R2I_FILL_BYTES - used, n > 0 ? "]" : "[]");
}

static void make(r2i_task_draft *d) {
    const int32_t n = 2 + d->level + (d->level < 6 ? (int32_t)r2i_draw(d, 0, 1) : 1);
    int32_t left[MAX_LENGTH] = { 0 }, sorted[MAX_LENGTH];
    char list[R2I_FILL_BYTES];
    for (int32_t i = 0; i < n; i++) {
        left[i] = (int32_t)r2i_draw_operand(d, 0, MAX_NUMBER);
        r2i_key_add(d, left[i]);
    }
    print_list(list, left, n);
    r2i_fill(d, 0, "%s", list);
    for (int32_t k = 0; k < n; k++) {
        int32_t least = 0;
        for (int32_t i = 1; i < n - k; i++)
            least = left[i] < left[least] ? i : least;
        sorted[k] = left[least];
        for (int32_t i = 0; i < n - k; i++) {
            if (left[i] > sorted[k]) r2i_doubt(d, "%d", left[i]);
        }
        memmove(left + least, left + least + 1, (size_t)(n - k - 1 - least) * sizeof *left);
        print_list(list, left, n - k - 1);
        r2i_say(d, &d->trace, "%d; %s%s", sorted[k], list, k + 1 < n ? "\n" : "");
    }
    print_list(list, sorted, n);
    r2i_say(d, &d->answer, "%s", list);
}

const r2i_task r2i_task_sort = { .name = "sort",
                                 .about = "lists of 3 to 8 whole numbers put in order",
                                 .n_levels = 5,
                                 .withheld_language = R2I_FR,
                                 .has_values = true,
                                 .kind = R2_GRADE_JSON,
                                 .questions = questions,
                                 .make = make };

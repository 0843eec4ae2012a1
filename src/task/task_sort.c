/* task_sort.c - a list of whole numbers put in order, the smallest taken out one after the other. */
#include <stdio.h>
#include <string.h>

#include "task/task_draft.h"

enum { MAX_LENGTH = 16, MAX_NUMBER = 99 };

static const char *const prompts[R2I_N_LANGUAGES][R2I_ALL_PHRASINGS] = {
    { "Sort from the smallest to the largest: {0}", "Put these numbers in ascending order: {0}",
      "Order this list: {0}", "Arrange {0} from small to large.", "Sort the list {0}.",
      "Write {0} in increasing order.", "Bring {0} into ascending order.",
      "Here is a list: {0}. Sort it.", "Line these up, smallest first: {0}", "What is {0}, sorted?",
      "Rank these from low to high: {0}" },
    { "从小到大排序：{0}", "把这些数按升序排列：{0}", "给这个列表排序：{0}",
      "将 {0} 由小到大排列。", "排序列表 {0}。", "按递增顺序写出 {0}。", "把 {0} 排成升序。",
      "有一个列表：{0}。请排序。", "最小的在前，排好：{0}", "{0} 排序后是什么？",
      "从低到高排：{0}" },
    { "Ordena de menor a mayor: {0}", "Pon estos números en orden ascendente: {0}",
      "Ordena esta lista: {0}", "Coloca {0} de menor a mayor.", "Ordena la lista {0}.",
      "Escribe {0} en orden creciente.", "Deja {0} en orden ascendente.",
      "Esta es una lista: {0}. Ordénala.", "Ponlos en fila, el menor primero: {0}",
      "¿Cómo queda {0} ordenada?", "Clasifica de bajo a alto: {0}" },
    { "Trie du plus petit au plus grand : {0}", "Mets ces nombres en ordre croissant : {0}",
      "Trie cette liste : {0}", "Range {0} du plus petit au plus grand.", "Trie la liste {0}.",
      "Écris {0} en ordre croissant.", "Mets {0} dans l'ordre croissant.",
      "Voici une liste : {0}. Trie-la.", "Aligne-les, le plus petit d'abord : {0}",
      "Que devient {0} une fois triée ?", "Classe du bas vers le haut : {0}" },
    { "Sortiere vom kleinsten zum größten: {0}",
      "Bringe diese Zahlen in aufsteigende Reihenfolge: {0}", "Ordne diese Liste: {0}",
      "Ordne {0} von klein nach groß.", "Sortiere die Liste {0}.",
      "Schreibe {0} in steigender Reihenfolge.", "Bringe {0} in steigende Ordnung.",
      "Hier ist eine Liste: {0}. Sortiere sie.", "Stelle sie auf, die kleinste zuerst: {0}",
      "Wie lautet {0} sortiert?", "Reihe von niedrig nach hoch: {0}" },
};

static void print_list(char out[R2I_FILL_BYTES], const int32_t *numbers, int32_t n) {
    size_t used = 0;
    for (int32_t i = 0; i < n; i++)
        used += (size_t)snprintf(out + used, R2I_FILL_BYTES - used, "%s%d", i > 0 ? ", " : "[",
                                 numbers[i]);
    (void)snprintf(out + used, R2I_FILL_BYTES - used, n > 0 ? "]" : "[]");
}

static void make(r2i_task_draft *d) {
    const int32_t n = 2 + d->level + (d->level < 6 ? (int32_t)r2i_draw(d, 0, 1) : 0);
    int32_t left[MAX_LENGTH] = { 0 }, sorted[MAX_LENGTH];
    char list[R2I_FILL_BYTES];
    for (int32_t i = 0; i < n; i++) {
        left[i] = (int32_t)r2i_draw(d, 0, MAX_NUMBER);
        r2i_key_add(d, left[i]);
    }
    print_list(list, left, n);
    r2i_fill(d, 0, "%s", list);
    for (int32_t k = 0; k < n; k++) {
        int32_t least = 0;
        for (int32_t i = 1; i < n - k; i++)
            least = left[i] < left[least] ? i : least;
        sorted[k] = left[least];
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
                                 .kind = R2_GRADE_JSON,
                                 .prompts = prompts,
                                 .make = make };

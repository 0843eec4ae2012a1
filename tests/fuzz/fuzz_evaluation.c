/* fuzz_evaluation.c - any bytes as the data of a suite, and as an answer to its items: refused with a place, or
 * items with all that their judge needs.
 *
 * The first byte chooses the suite.  Zero bytes part what follows: one file, another one, what a model said, its
 * calls.  Nothing runs: of programs it is only asked where they end. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "eval/eval_suite.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes);

enum { N_PARTS = 4, MAX_JUDGED = 16, MAX_BYTES = 1 << 16 };

static const struct {
    const char *suite, *files[2];
} suites[] = {
    { "humaneval", { "HumanEval.jsonl", "HumanEval.jsonl" } },
    { "gsm8k", { "test.jsonl", "test.jsonl" } },
    { "mgsm", { "mgsm_de.tsv", "mgsm_zh.tsv" } },
    { "bfcl", { "BFCL_v4_simple.json", "possible_answer.json" } },
};

typedef struct {
    char *text; /* a copy of exactly n bytes and a 0 */
    size_t n;
} part;

static void split(part parts[N_PARTS], const uint8_t *bytes, size_t n_bytes) {
    for (int i = 0; i < N_PARTS; i++) {
        const uint8_t *end = n_bytes > 0 && i < N_PARTS - 1 ? memchr(bytes, 0, n_bytes) : NULL;
        const size_t n = end != NULL ? (size_t)(end - bytes) : n_bytes, skip = n + (end != NULL);
        parts[i] = (part){ malloc(n + 1), n };
        if (parts[i].text == NULL) abort();
        if (n > 0) memcpy(parts[i].text, bytes, n);
        parts[i].text[n] = '\0';
        bytes += skip;
        n_bytes -= skip;
    }
}

static void check_item(const r2i_eval_suite *suite, const r2i_eval_item *item,
                       const part parts[N_PARTS]) {
    r2_grade grade;
    r2_error err;
    const r2i_eval_text answer = { parts[2].text, parts[2].n, parts[3].text };
    if (item->id == NULL || item->question == NULL || item->expected == NULL) abort();
    if (suite->about.prompt == NULL && item->prompt == NULL && item->tools_json == NULL) abort();
    if (suite->is_certain != NULL) (void)suite->is_certain(item, parts[2].text, parts[2].n);
    if (suite->about.runs_programs) return;
    if (suite->judge(&grade, item, &answer, NULL, &err) != R2_OK) abort();
    if (memchr(grade.why, 0, sizeof grade.why) == NULL) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes) {
    enum { N_SUITES = sizeof suites / sizeof *suites };
    if (n_bytes < 1 || n_bytes > MAX_BYTES) return 0;
    const size_t which = bytes[0] % N_SUITES;
    const r2i_eval_suite *suite = r2i_eval_suite_find(suites[which].suite);
    part parts[N_PARTS];
    split(parts, bytes + 1, n_bytes - 1);
    const r2_eval_data data[] = { { suites[which].files[0], parts[0].text, parts[0].n },
                                  { suites[which].files[1], parts[1].text, parts[1].n } };
    const r2_eval_options options = { .suite = suite->about.name, .data = data, .n_data = 2 };
    r2i_heap heap;
    r2i_arena arena;
    r2_error err = { R2_OK, "" };
    r2i_heap_init(&heap);
    r2i_arena_init(&arena, &heap, 4096, 0);
    r2i_eval_load load = { .options = &options, .arena = &arena };
    r2i_buffer_init(&load.items, &heap, (size_t)1 << 26);
    if (suite->load(&load, &err) == R2_OK) {
        const r2i_eval_item *items = (const r2i_eval_item *)(void *)load.items.bytes;
        for (size_t i = 0; i < load.items.n_bytes / sizeof *items && i < MAX_JUDGED; i++)
            check_item(suite, &items[i], parts);
    } else if (err.text[0] == '\0') {
        abort();
    }
    if (suite->close != NULL) suite->close(&load);
    r2i_buffer_destroy(&load.items);
    r2i_arena_destroy(&arena);
    for (int i = 0; i < N_PARTS; i++)
        free(parts[i].text);
    return 0;
}

/* suite_word_problems.c - GSM8K (Cobbe et al. 2021) and MGSM (Shi et al. 2022): word problems whose answer is a
 * number.  Strict: the number stands in \boxed{}, <answer> or behind ####; lenient: it is the last in the text. */
#include <jansson.h>
#include <string.h>

#include "base/failure.h"
#include "eval/suite_load.h"
#include "files/json_read.h"
#include "task/answer_text.h"

static const struct {
    const char *language, *prompt;
} prompts[] = {
    { "en",
      "{question}\n\nPlease reason step by step, and put your final answer within \\boxed{}." },
    { "de", "{question}\n\nBitte \xc3\xbc"
            "berlege Schritt f\xc3\xbcr Schritt und schreibe die Antwort am Ende in \\boxed{}." },
    { "es", "{question}\n\nRazona paso a paso y escribe la respuesta final dentro de \\boxed{}." },
    { "fr", "{question}\n\nRaisonne \xc3\xa9tape par \xc3\xa9tape et mets la r\xc3\xa9ponse finale "
            "dans \\boxed{}." },
    { "zh", "{question}\n\n\xe8\xaf\xb7\xe9\x80\x90\xe6\xad\xa5\xe6\x8e\xa8\xe7\x90\x86\xef\xbc\x8c"
            "\xe5\xb9\xb6\xe6\x8a\x8a\xe6\x9c\x80\xe7\xbb\x88\xe7\xad\x94\xe6\xa1\x88\xe6\x94\xbe"
            "\xe5\x9c\xa8 \\boxed{} \xe4\xb8\xad\xe3\x80\x82" },
};
enum { N_PROMPTS = sizeof prompts / sizeof *prompts };

static r2_status judge_number(r2_grade *grade, const r2i_eval_item *item,
                              const r2i_eval_text *answer, const r2_host *host, r2_error *err) {
    r2_grade_options options = { .kind = R2_GRADE_NUMBER, .expected = item->expected };
    if (host != NULL) options.host = *host;
    return r2_grade_answer(grade, answer->text, answer->n_bytes, &options, err);
}

/* An answer that no number can be compared with is found now, not after hours. */
static r2_status add_problem(r2i_eval_load *load, const r2i_eval_item *item, const char *place,
                             r2_error *err) {
    r2_grade grade;
    if (item->expected == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for items");
    if (judge_number(&grade, item, &(r2i_eval_text){ .text = "" }, NULL, NULL) != R2_OK)
        return r2i_fail(err, R2_E_FORMAT, "%s: expected a number, found \"%.60s\"", place,
                        item->expected);
    return r2i_eval_add(load, item, err);
}

static const char *id_of(r2i_eval_load *load, const char *first, int64_t number) {
    char digits[32];
    (void)snprintf(digits, sizeof digits, "%lld", (long long)number);
    return r2i_eval_join(load, first, "/", digits);
}

/* ---- GSM8K: {"question", "answer": "steps\n#### 42"} ---- */

static r2_status add_line(r2i_eval_load *load, const json_t *line, const char *place, int32_t n,
                          r2_error *err) {
    const char *question, *answer;
    R2I_TRY(r2i_json_get_text(line, place, "question", &question, err));
    R2I_TRY(r2i_json_get_text(line, place, "answer", &answer, err));
    const r2i_span all = { answer, strlen(answer) };
    const char *mark = r2i_span_last(all, "####");
    if (mark == NULL)
        return r2i_fail(err, R2_E_FORMAT, "%s: answer: expected #### and a number", place);
    const r2i_span number = r2i_span_trim((r2i_span){ mark + 4, strlen(mark + 4) });
    const r2i_eval_item item = { .id = id_of(load, "gsm8k", n),
                                 .question = r2i_eval_copy(load, question),
                                 .expected =
                                     r2i_arena_copy_text(load->arena, number.text, number.n) };
    return add_problem(load, &item, place, err);
}

static r2_status load_gsm8k(r2i_eval_load *load, r2_error *err) {
    return r2i_eval_each_object(load, add_line, err);
}

/* ---- MGSM: question TAB number; the language is in the file's name ---- */

/* The two letters behind the last "_" of mgsm_de.tsv; "en" where there are none. */
static const char *language_of(const char *name) {
    const char *at = strrchr(name, '_');
    for (size_t i = 0; at != NULL && i < N_PROMPTS; i++) {
        if (strncmp(at + 1, prompts[i].language, 2) == 0 && at[3] == '.')
            return prompts[i].language;
    }
    return "en";
}

static const char *prompt_in(const char *language) {
    for (size_t i = 0; i < N_PROMPTS; i++) {
        if (strcmp(language, prompts[i].language) == 0) return prompts[i].prompt;
    }
    return prompts[0].prompt;
}

static r2_status load_language(r2i_eval_load *load, const r2_eval_data *data, r2_error *err) {
    r2i_data_lines lines = { .data = data };
    const char *text, *language = language_of(data->name);
    size_t n_bytes;
    for (int32_t n = 0; !r2i_eval_is_full(load, n) && r2i_data_line(&lines, &text, &n_bytes); n++) {
        const char *tab = memchr(text, '\t', n_bytes);
        if (tab == NULL || memchr(text, 0, n_bytes) != NULL)
            return r2i_fail(err, R2_E_FORMAT, "%s: expected a question, a tab and a number",
                            lines.place);
        const r2i_span number =
            r2i_span_trim((r2i_span){ tab + 1, n_bytes - (size_t)(tab + 1 - text) });
        const r2i_eval_item item = {
            .id = id_of(load, r2i_eval_join(load, "mgsm", "/", language), n),
            .group = language,
            .question = r2i_arena_copy_text(load->arena, text, (size_t)(tab - text)),
            .prompt = prompt_in(language),
            .expected = r2i_arena_copy_text(load->arena, number.text, number.n)
        };
        R2I_TRY(add_problem(load, &item, lines.place, err));
    }
    return R2_OK;
}

static r2_status load_mgsm(r2i_eval_load *load, r2_error *err) {
    for (int32_t i = 0; i < load->options->n_data; i++)
        R2I_TRY(load_language(load, &load->options->data[i], err));
    return R2_OK;
}

const r2i_eval_suite r2i_suite_gsm8k = {
    .about = { .name = "gsm8k",
               .about = "grade-school word problems, the answer is a number",
               .files = "test.jsonl",
               .origin =
                   "github.com/openai/grade-school-math, grade_school_math/data/test.jsonl (MIT)",
               .prompt =
                   "{question}\n\nPlease reason step by step, and put your final answer within "
                   "\\boxed{}.",
               .max_new_tokens = 512,
               .has_lenient = true },
    .load = load_gsm8k,
    .judge = judge_number,
    .has_answers = true
};

const r2i_eval_suite r2i_suite_mgsm = {
    .about = { .name = "mgsm",
               .about = "250 of these in several languages, translated by people",
               .files = "mgsm_en.tsv mgsm_zh.tsv mgsm_es.tsv mgsm_fr.tsv mgsm_de.tsv",
               .origin = "github.com/google-research/url-nlp, mgsm/mgsm_*.tsv (CC BY 4.0)",
               .prompt =
                   "{question}\n\nPlease reason step by step, and put your final answer within "
                   "\\boxed{}.",
               .max_new_tokens = 512,
               .has_lenient = true },
    .load = load_mgsm,
    .judge = judge_number,
    .has_answers = true
};

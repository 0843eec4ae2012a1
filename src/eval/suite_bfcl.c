/* suite_bfcl.c - Berkeley Function Calling Leaderboard (Patil et al.): one function to call (simple), one of
 * several (multiple), or none that helps (irrelevance), in which case calling nothing is right.
 *
 * The model gets the functions as tools through its own chat template.  Strict: a call in the template's form;
 * lenient: also one that stands in the text as JSON. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/failure.h"
#include "eval/call_match.h"
#include "eval/suite_load.h"
#include "files/json_read.h"

/* ---- schemas as OpenAI's tools have them ---- */

/* Python's names of types become those of JSON schemas; "any" says nothing and goes. */
static void mend_types(json_t *schema, int depth) {
    static const char *const names[][2] = { { "dict", "object" },
                                            { "float", "number" },
                                            { "tuple", "array" } };
    const char *key, *type = json_string_value(json_object_get(schema, "type"));
    json_t *value;
    size_t i;
    if (depth > 32) return; /* the reader's limit is 64 */
    for (size_t k = 0; type != NULL && k < sizeof names / sizeof *names; k++) {
        if (strcmp(type, names[k][0]) != 0) continue;
        (void)json_object_set_new(schema, "type", json_string(names[k][1]));
        type = NULL;
    }
    if (type != NULL && strcmp(type, "any") == 0) (void)json_object_del(schema, "type");
    json_object_foreach(schema, key, value) if (json_is_object(value)) mend_types(value, depth + 1);
    json_array_foreach(schema, i, value) mend_types(value, depth + 1);
}

static const char *tools_of(r2i_eval_load *load, json_t *functions) {
    json_free_t release;
    json_t *tools = json_array(), *function;
    size_t i;
    json_array_foreach(functions, i, function) {
        mend_types(json_object_get(function, "parameters"), 0);
        (void)json_array_append_new(
            tools, json_pack("{s:s, s:O}", "type", "function", "function", function));
    }
    char *text = json_dumps(tools, JSON_COMPACT);
    const char *out = text != NULL ? r2i_eval_copy(load, text) : NULL;
    json_get_alloc_funcs(NULL, &release);
    release(text);
    json_decref(tools);
    return out;
}

/* ---- data ---- */

/* "simple_python" of "simple_python_17". */
static const char *group_of(r2i_eval_load *load, const char *id) {
    const char *end = strrchr(id, '_');
    return r2i_arena_copy_text(load->arena, id, end != NULL ? (size_t)(end - id) : strlen(id));
}

/* [{"function": {"argument": [values]}}] as text; "": nothing is to be called. */
static r2_status expected_of(r2i_eval_load *load, const char **out, const char *id,
                             const json_t *answers, const char *place, r2_error *err) {
    json_free_t release;
    const json_t *calls = json_object_get(answers, id);
    *out = "";
    if (strstr(id, "irrelevance") != NULL) return R2_OK;
    if (json_array_size(calls) != 1 || json_object_size(json_array_get(calls, 0)) != 1)
        return r2i_fail(err, R2_E_FORMAT,
                        "%s: %.60s: expected one acceptable call in the files of possible_answer",
                        place, id);
    char *text = json_dumps(json_array_get(calls, 0), JSON_COMPACT);
    *out = text != NULL ? r2i_eval_copy(load, text) : NULL;
    json_get_alloc_funcs(NULL, &release);
    release(text);
    return *out != NULL ? R2_OK : r2i_fail(err, R2_E_NOMEM, "no memory for items");
}

static r2_status add_question(r2i_eval_load *load, const json_t *line, const json_t *answers,
                              const char *place, r2_error *err) {
    const char *id, *content;
    const json_t *turns, *functions;
    R2I_TRY(r2i_json_get_text(line, place, "id", &id, err));
    R2I_TRY(r2i_json_get_tree(line, place, "question", JSON_ARRAY, &turns, err));
    R2I_TRY(r2i_json_get_tree(line, place, "function", JSON_ARRAY, &functions, err));
    const json_t *messages = json_array_get(turns, 0);
    content = json_string_value(json_object_get(json_array_get(messages, 0), "content"));
    if (json_array_size(turns) != 1 || json_array_size(messages) != 1 || content == NULL)
        return r2i_fail(err, R2_E_FORMAT, "%s: question: expected one message of a user", place);
    r2i_eval_item item = { .id = r2i_eval_copy(load, id),
                           .group = group_of(load, id),
                           .question = r2i_eval_copy(load, content),
                           .tools_json = tools_of(load, (json_t *)(uintptr_t)functions) };
    R2I_TRY(expected_of(load, &item.expected, id, answers, place, err));
    if (item.group == NULL || item.tools_json == NULL)
        return r2i_fail(err, R2_E_NOMEM, "no memory for items");
    return r2i_eval_add(load, &item, err);
}

/* Calls with each line of all files; answers: which kind of line is wanted. */
static r2_status take_files(r2i_eval_load *load, json_t *answers, bool wants_answers,
                            r2_error *err) {
    for (int32_t i = 0; i < load->options->n_data; i++) {
        r2i_data_lines lines = { .data = &load->options->data[i] };
        for (int32_t n = 0; wants_answers || !r2i_eval_is_full(load, n); n++) {
            json_t *line;
            r2_status status = R2_OK;
            R2I_TRY(r2i_data_object(&line, &lines, err));
            if (line == NULL) break;
            json_t *truth = json_object_get(line, "ground_truth");
            const char *id = json_string_value(json_object_get(line, "id"));
            if (wants_answers && truth != NULL && id != NULL)
                (void)json_object_set(answers, id, truth);
            if (!wants_answers && truth == NULL)
                status = add_question(load, line, answers, lines.place, err);
            json_decref(line);
            if (status != R2_OK) return status;
        }
    }
    return R2_OK;
}

static r2_status load_questions(r2i_eval_load *load, r2_error *err) {
    json_t *answers = json_object();
    if (answers == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for items");
    r2_status status = take_files(load, answers, true, err);
    if (status == R2_OK) status = take_files(load, answers, false, err);
    json_decref(answers);
    return status;
}

/* ---- judging ---- */

/* Is it {"name", "arguments"} as one of them is wanted?  Otherwise *why says what is not. */
static bool is_wanted_call(const json_t *call, const json_t *wanted, const char **why) {
    void *first = json_object_iter((json_t *)(uintptr_t)wanted);
    const char *name = json_string_value(json_object_get(call, "name"));
    const json_t *arguments = json_object_get(call, "arguments");
    *why = "the arguments are no object";
    if (name == NULL || !json_is_object(arguments)) return false;
    *why = "another function";
    if (!r2i_is_function_name(name, json_object_iter_key(first))) return false;
    *why = "other arguments";
    return r2i_arguments_are_acceptable(arguments, json_object_iter_value(first));
}

/* The one call that was made, the caller's; NULL: none, or several. */
static json_t *call_made(const char *calls, const char **why) {
    const char *mark = calls[0] == R2I_CALL_MARK ? strchr(calls, R2I_ARGUMENTS_MARK) : NULL;
    *why = mark == NULL ? "no call" : "several calls";
    if (mark == NULL || strchr(calls + 1, R2I_CALL_MARK) != NULL) return NULL;
    json_t *arguments = json_loads(mark + 1, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    return json_pack("{s:s%, s:o}", "name", calls + 1, (size_t)(mark - calls - 1), "arguments",
                     arguments != NULL ? arguments : json_null());
}

/* The first {"name", "arguments"} that a text holds, the caller's; NULL: none. */
static json_t *call_written(const char *text, size_t n) {
    enum { MAX_TRIES = 64 };
    const char *end = text + n, *at = text;
    for (int i = 0; i < MAX_TRIES && at < end; i++, at++) {
        at = memchr(at, '{', (size_t)(end - at));
        if (at == NULL) return NULL;
        json_t *call = json_loadb(at, (size_t)(end - at), JSON_DISABLE_EOF_CHECK, NULL);
        if (json_is_string(json_object_get(call, "name")) &&
            json_is_object(json_object_get(call, "arguments")))
            return call;
        json_decref(call);
    }
    return NULL;
}

static void judge_none(r2_grade *grade, const r2i_eval_text *answer) {
    json_t *written = call_written(answer->text, answer->n_bytes);
    grade->is_right = grade->has_form = answer->calls[0] == '\0';
    grade->is_found = grade->is_right && written == NULL;
    if (!grade->is_found)
        (void)snprintf(grade->why, sizeof grade->why, "a call where none helps%s",
                       grade->is_right ? ", as text" : "");
    json_decref(written);
}

static r2_status judge(r2_grade *grade, const r2i_eval_item *item, const r2i_eval_text *answer,
                       const r2_host *host, r2_error *err) {
    const char *why, *why_written;
    (void)host;
    *grade = (r2_grade){ .is_finished = true };
    if (item->expected[0] == '\0') {
        judge_none(grade, answer);
        return R2_OK;
    }
    json_t *wanted = json_loads(item->expected, 0, NULL), *made = call_made(answer->calls, &why),
           *written = made == NULL ? call_written(answer->text, answer->n_bytes) : NULL;
    if (wanted == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for judging a call");
    grade->has_form = made != NULL;
    if (made != NULL) grade->is_right = is_wanted_call(made, wanted, &why);
    grade->is_found =
        grade->is_right || (written != NULL && is_wanted_call(written, wanted, &why_written));
    if (!grade->is_right) (void)snprintf(grade->why, sizeof grade->why, "%s", why);
    json_decref(wanted);
    json_decref(made);
    json_decref(written);
    return R2_OK;
}

const r2i_eval_suite r2i_suite_bfcl = {
    .about = { .name = "bfcl",
               .about = "function calls: simple, multiple, irrelevance",
               .files = "BFCL_v4_simple_python.json possible_answer/BFCL_v4_simple_python.json "
                        "BFCL_v4_multiple.json possible_answer/BFCL_v4_multiple.json "
                        "BFCL_v4_irrelevance.json",
               .origin = "pip package bfcl-eval (download --no-deps), bfcl_eval/data (Apache-2.0)",
               .max_new_tokens = 256,
               .has_lenient = true },
    .load = load_questions,
    .judge = judge
};

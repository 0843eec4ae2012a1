/* verifier.c - r2_verifier: requests and replies as lines of JSON, and what is done when none comes. */
#include "r2lm/verifier.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/failure.h"
#include "base/hash.h"
#include "base/utf8_valid.h"
#include "task/answer_text.h"
#include "base/json_escape.h"
#include "task/line_program.h"

enum {
    MAX_TEXT = 1 << 20,
    MAX_LINE = 16 << 20,
    NAME_BYTES = 80,
    SHOWN_BYTES = 60,
    MAX_FAILURES = 8,
    NO_PROGRAM = 127
};
static const double usual_start_seconds = 60, usual_reply_seconds = 10;
static const uint64_t max_number = (UINT64_C(1) << 53) - 1; /* whole in every JSON reader */

struct r2_verifier {
    r2i_heap heap;
    r2_verifier_options options;        /* command: a copy */
    r2i_buffer command, line, texts[4]; /* prompt, trace, answer, reply */
    r2i_buffer key;
    r2i_line_program program;
    char name[NAME_BYTES];
    int32_t n_levels;
    int64_t next_id;
    int32_t n_failed; /* in a row */
    r2_verifier_counts counts;
};

/* ---- one request, one reply ---- */

static r2_status garbage(r2_verifier *v, const char *what, r2_error *err) {
    char found[SHOWN_BYTES + 1];
    const int n =
        v->program.reply.n_bytes < SHOWN_BYTES ? (int)v->program.reply.n_bytes : SHOWN_BYTES;
    v->counts.n_garbage++;
    (void)snprintf(found, sizeof found, "%.*s", n, n > 0 ? v->program.reply.bytes : "");
    r2i_utf8_make_line(found);
    const r2_status status =
        r2i_fail(err, R2_E_IO, "verifier: expected %s, found \"%s\"", what, found);
    r2i_line_program_stop(&v->program, true);
    return status;
}

/* Sends v->line.  *reply is the caller's. */
static r2_status ask_running(r2_verifier *v, json_t **reply, double seconds, r2_error *err) {
    r2_status status;
    *reply = NULL;
    v->counts.n_requests++;
    const r2i_line_end end =
        r2i_line_program_ask(&v->program, v->line.bytes, v->line.n_bytes, seconds, &status, err);
    if (status != R2_OK) return status;
    v->counts.n_timeouts += end == R2I_LINE_TIMEOUT;
    v->counts.n_crashes += end == R2I_LINE_ENDED;
    v->counts.n_garbage += end == R2I_LINE_TOO_LONG;
    if (end == R2I_LINE_ENDED && v->program.exit_code == NO_PROGRAM)
        return r2i_fail(err, R2_E_NOT_FOUND, "verifier: no such program: %.120s", v->command.bytes);
    if (end != R2I_LINE_OK) return r2i_fail(err, R2_E_IO, "verifier: %s", v->program.why);
    json_t *json = json_loadb(v->program.reply.bytes != NULL ? v->program.reply.bytes : "",
                              v->program.reply.n_bytes, JSON_REJECT_DUPLICATES, NULL);
    const json_t *id = json_object_get(json, "id");
    if (!json_is_integer(id) || json_integer_value(id) != v->next_id - 1) {
        json_decref(json);
        char what[80];
        (void)snprintf(what, sizeof what, "a line of JSON with \"id\": %" PRId64, v->next_id - 1);
        return garbage(v, what, err);
    }
    *reply = json;
    return R2_OK;
}

static r2_status begin_line(r2_verifier *v, r2_error *err) {
    r2i_buffer_clear(&v->line);
    return r2i_buffer_append_format(&v->line, err, "{\"id\":%" PRId64, v->next_id++);
}

/* Starts the program and greets it. */
static r2_status start(r2_verifier *v, r2_error *err) {
    json_t *reply;
    R2I_TRY(r2i_line_program_start(&v->program, v->command.bytes, err));
    v->counts.n_starts++;
    R2I_TRY(begin_line(v, err));
    R2I_TRY(r2i_buffer_append_text(&v->line, ",\"hello\":1}\n", err));
    R2I_TRY(ask_running(v, &reply, v->options.start_seconds, err));
    const char *name = json_string_value(json_object_get(reply, "name"));
    const json_int_t levels = json_integer_value(json_object_get(reply, "levels"));
    (void)snprintf(v->name, sizeof v->name, "%.70s", name != NULL ? name : "verifier");
    r2i_utf8_make_line(v->name);
    v->n_levels = levels < 0 ? 0 : levels > 1000 ? 1000 : (int32_t)levels;
    json_decref(reply);
    return R2_OK;
}

static r2_status ensure(r2_verifier *v, r2_error *err) {
    return v->program.pid != 0 ? R2_OK : start(v, err);
}

/* ---- opening ---- */

static void init_buffers(r2_verifier *v) {
    r2i_buffer_init(&v->command, &v->heap, MAX_TEXT);
    r2i_buffer_init(&v->line, &v->heap, MAX_LINE);
    r2i_buffer_init(&v->key, &v->heap, MAX_LINE);
    r2i_buffer_init(&v->program.reply, &v->heap, MAX_LINE);
    for (int i = 0; i < 4; i++)
        r2i_buffer_init(&v->texts[i], &v->heap, MAX_LINE);
}

r2_status r2_verifier_open(r2_verifier **out, const r2_verifier_options *options, r2_error *err) {
    r2i_heap heap;
    *out = NULL;
    if (options->command == NULL || options->command[0] == '\0')
        return r2i_fail(err, R2_E_ARGUMENT, "verifier: expected a command, found none");
    r2i_heap_init_host(&heap, &options->host);
    r2_verifier *v = r2i_heap_take(&heap, sizeof *v);
    if (v == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for a verifier");
    memset(v, 0, sizeof *v);
    v->heap = heap;
    v->options = *options;
    if (v->options.start_seconds <= 0) v->options.start_seconds = usual_start_seconds;
    if (v->options.reply_seconds <= 0) v->options.reply_seconds = usual_reply_seconds;
    if (v->options.max_failures <= 0) v->options.max_failures = MAX_FAILURES;
    init_buffers(v);
    r2_status status = r2i_buffer_append_text(&v->command, options->command, err);
    if (status == R2_OK) status = start(v, err);
    if (status == R2_OK)
        *out = v;
    else
        r2_verifier_close(v);
    return status;
}

void r2_verifier_close(r2_verifier *v) {
    if (v == NULL) return;
    r2i_line_program_stop(&v->program, false);
    r2i_buffer_destroy(&v->command);
    r2i_buffer_destroy(&v->line);
    r2i_buffer_destroy(&v->key);
    r2i_buffer_destroy(&v->program.reply);
    for (int i = 0; i < 4; i++)
        r2i_buffer_destroy(&v->texts[i]);
    r2i_heap heap = v->heap;
    r2i_heap_give(&heap, v, sizeof *v);
}

const char *r2_verifier_name(const r2_verifier *v) {
    return v->name;
}

int32_t r2_verifier_levels(const r2_verifier *v) {
    return v->n_levels;
}

r2_verifier_counts r2_verifier_get_counts(const r2_verifier *v) {
    return v->counts;
}

/* ---- judging ---- */

static r2_status add_member(r2_verifier *v, const char *name, const char *text, size_t n,
                            r2_error *err) {
    R2I_TRY(r2i_buffer_append_format(&v->line, err, ",\"%s\":", name));
    return r2i_json_escape(&v->line, text, n, err);
}

/* JSON as it is, in one line; any other text as a string. */
static r2_status add_key(r2_verifier *v, const char *expected, r2_error *err) {
    json_t *json = json_loads(expected, JSON_DECODE_ANY, NULL);
    if (json == NULL) return add_member(v, "key", expected, strlen(expected), err);
    r2_status status = r2i_buffer_append_text(&v->line, ",\"key\":", err);
    if (status == R2_OK && json_dump_callback(json, r2i_buffer_append_chunk, &v->line,
                                              JSON_ENCODE_ANY | JSON_COMPACT) != 0)
        status = r2i_fail(err, R2_E_NOMEM, "no memory for a request to a verifier");
    json_decref(json);
    return status;
}

static r2_status write_answer(r2_verifier *v, const char *prompt, const char *expected,
                              const char *text, size_t n, r2i_span answer, r2_error *err) {
    R2I_TRY(begin_line(v, err));
    R2I_TRY(add_member(v, "prompt", prompt, strlen(prompt), err));
    R2I_TRY(add_member(v, "answer", answer.text, answer.n, err));
    R2I_TRY(add_member(v, "text", text, n, err));
    R2I_TRY(add_key(v, expected, err));
    return r2i_buffer_append_text(&v->line, "}\n", err);
}

static r2_status read_score(r2_verifier *v, r2_grade *grade, const json_t *reply, r2_error *err) {
    const json_t *score = json_object_get(reply, "score");
    const char *why = json_string_value(json_object_get(reply, "why"));
    const double x = json_is_boolean(score)  ? (json_is_true(score) ? 1 : 0)
                     : json_is_number(score) ? json_number_value(score)
                                             : -1;
    if (!(x >= 0 && x <= 1)) return garbage(v, "\"score\" from 0 to 1", err);
    grade->score = x;
    grade->is_right = grade->is_found = x >= 1;
    (void)snprintf(grade->why, sizeof grade->why, "%.200s",
                   grade->is_right ? ""
                   : why != NULL   ? why
                                   : "judged wrong");
    r2i_utf8_make_line(grade->why);
    return R2_OK;
}

static r2_status judge(r2_verifier *v, r2_grade *grade, const char *prompt, const char *expected,
                       const char *text, size_t n, r2i_span answer, r2_error *err) {
    json_t *reply;
    R2I_TRY(ensure(v, err));
    R2I_TRY(write_answer(v, prompt, expected, text, n, answer, err));
    R2I_TRY(ask_running(v, &reply, v->options.reply_seconds, err));
    const r2_status status = read_score(v, grade, reply, err);
    json_decref(reply);
    return status;
}

/* A failed request is the last that may fail, or not yet. */
static r2_status count_failure(r2_verifier *v, r2_status status, r2_error *why, r2_error *err) {
    char text[sizeof why->text];
    if (status != R2_E_IO && status != R2_E_NOT_FOUND) {
        if (err != NULL) *err = *why;
        return status;
    }
    if (++v->n_failed < v->options.max_failures) return R2_OK;
    (void)snprintf(text, sizeof text, "%.180s", why->text);
    return r2i_fail(err, R2_E_IO, "%d requests in a row failed, the last: %s", v->n_failed, text);
}

r2_status r2_verifier_grade(r2_verifier *v, r2_grade *grade, const char *prompt,
                            const char *expected, const char *text, size_t n_bytes, r2_error *err) {
    r2_error why = { R2_OK, "" };
    r2i_answer_text found;
    *grade = (r2_grade){ 0 };
    r2i_answer_find(&found, text, n_bytes);
    grade->has_form = found.has_form || found.has_code;
    grade->is_finished = found.is_finished;
    if (n_bytes > MAX_TEXT) {
        v->counts.n_too_long++;
        (void)snprintf(grade->why, sizeof grade->why, "%zu bytes are more than 1 MiB", n_bytes);
        return R2_OK;
    }
    const r2_status status = judge(v, grade, prompt, expected, text, n_bytes, found.answer, &why);
    if (status == R2_OK) {
        v->n_failed = 0;
        return R2_OK;
    }
    grade->is_unjudged = true;
    (void)snprintf(grade->why, sizeof grade->why, "%s", why.text);
    r2i_utf8_make_line(grade->why);
    return count_failure(v, status, &why, err);
}

/* ---- making ---- */

static r2_status keep(r2i_buffer *to, const char **out, const char *text, r2_error *err) {
    r2i_buffer_clear(to);
    R2I_TRY(r2i_buffer_append_text(to, text != NULL ? text : "", err));
    *out = to->bytes != NULL ? to->bytes : "";
    return R2_OK;
}

static r2_status read_item(r2_verifier *v, r2_task_item *item, const json_t *reply, r2_error *err) {
    const char *prompt = json_string_value(json_object_get(reply, "prompt")),
               *answer = json_string_value(json_object_get(reply, "answer")),
               *trace = json_string_value(json_object_get(reply, "trace"));
    const json_t *key = json_object_get(reply, "key");
    if (prompt == NULL || prompt[0] == '\0') return garbage(v, "a \"prompt\"", err);
    R2I_TRY(keep(&v->texts[0], &item->prompt, prompt, err));
    R2I_TRY(keep(&v->texts[1], &item->trace, trace, err));
    R2I_TRY(keep(&v->texts[2], &item->answer, answer, err));
    R2I_TRY(keep(&v->texts[3], &item->reply, "", err));
    if (answer != NULL)
        R2I_TRY(r2i_buffer_append_format(&v->texts[3], err, "<answer>%s</answer>", answer));
    item->reply = v->texts[3].bytes != NULL ? v->texts[3].bytes : "";
    r2i_buffer_clear(&v->key);
    if (key == NULL)
        R2I_TRY(r2i_buffer_append_text(&v->key, "null", err));
    else if (json_dump_callback(key, r2i_buffer_append_chunk, &v->key,
                                JSON_ENCODE_ANY | JSON_COMPACT) != 0)
        return r2i_fail(err, R2_E_NOMEM, "no memory for the key of an item");
    item->expected = v->key.bytes;
    item->key = r2i_hash_bytes(R2I_HASH_SEED, prompt, strlen(prompt));
    return R2_OK;
}

static r2_status make_once(r2_verifier *v, r2_task_item *item, int32_t level, uint64_t seed,
                           uint64_t index, r2_error *err) {
    json_t *reply;
    R2I_TRY(ensure(v, err));
    R2I_TRY(begin_line(v, err));
    R2I_TRY(r2i_buffer_append_format(&v->line, err,
                                     ",\"make\":{\"level\":%" PRId32 ",\"seed\":%" PRIu64
                                     ",\"index\":%" PRIu64 "}}\n",
                                     level, seed & max_number, index & max_number));
    R2I_TRY(ask_running(v, &reply, v->options.reply_seconds, err));
    const r2_status status = read_item(v, item, reply, err);
    json_decref(reply);
    return status;
}

r2_status r2_verifier_make(r2_verifier *v, r2_task_item *item, int32_t level, uint64_t seed,
                           uint64_t index, r2_error *err) {
    *item = (r2_task_item){ 0 };
    if (v->n_levels == 0)
        return r2i_fail(err, R2_E_ARGUMENT, "verifier %s: it makes no items, it only judges",
                        v->name);
    if (level < 1 || level > v->n_levels)
        return r2i_fail(err, R2_E_ARGUMENT,
                        "verifier %.60s: expected a level of 1 to %" PRId32 ", found %" PRId32,
                        v->name, v->n_levels, level);
    for (;;) {
        r2_error why = { R2_OK, "" };
        r2_status status = make_once(v, item, level, seed, index, &why);
        if (status == R2_OK) {
            v->n_failed = 0;
            return R2_OK;
        }
        status = count_failure(v, status, &why, err);
        if (status != R2_OK) {
            *item = (r2_task_item){ 0 };
            return status;
        }
    }
}

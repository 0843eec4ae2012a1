#include "eval/sample_line.h"

#include <string.h>

#include "base/failure.h"

enum { SHOWN_BYTES = 4000 };

/* At most this much of a text, whole characters. */
static json_t *shown(const char *text) {
    size_t n = text != NULL ? strlen(text) : 0;
    if (text == NULL) return json_null();
    if (n > SHOWN_BYTES) {
        n = SHOWN_BYTES;
        while (n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80)
            n--;
    }
    json_t *out = json_stringn(text, n);
    return out != NULL ? out : json_string("(no UTF-8)");
}

static bool says(const json_t *line, const char *key, const char *text) {
    json_t *wanted = shown(text);
    const bool is_same = json_equal(wanted, json_object_get(line, key)) == 1;
    json_decref(wanted);
    return is_same;
}

static int32_t number_in(const json_t *line, const char *key) {
    return (int32_t)json_integer_value(json_object_get(line, key));
}

/* As text to be read: NAME ARGUMENTS, a line each. */
static json_t *calls_of(const r2i_eval_answer *a) {
    if (a->calls.n_bytes == 0) return json_null();
    for (size_t i = 0; i < a->calls.n_bytes; i++) {
        char *c = &a->calls.bytes[i];
        if (*c == R2I_CALL_MARK) *c = '\n';
        if (*c == R2I_ARGUMENTS_MARK) *c = ' ';
    }
    json_t *out = json_stringn(a->calls.bytes + 1, a->calls.n_bytes - 1);
    return out != NULL ? out : json_string("(no UTF-8)");
}

json_t *r2i_sample_line_make(const r2i_eval_item *item, const r2i_eval_answer *a) {
    json_t *text = json_stringn(a->text.bytes != NULL ? a->text.bytes : "", a->text.n_bytes);
    json_t *why = json_string(a->grade.why), *calls = calls_of(a);
    return json_pack("{s:i, s:i, s:s, s:s?, s:b, s:b, s:b, s:o, s:s, s:i, s:i, s:i, s:o, s:o, s:o, "
                     "s:o}",
                     "item", a->item, "sample", a->sample, "id", item->id, "group", item->group,
                     "right", a->grade.is_right, "found", a->grade.is_found, "in_form",
                     a->grade.has_form, "why", why != NULL ? why : json_string("(no UTF-8)"),
                     "stop", r2i_eval_stop_name(a->stop), "prompt_tokens", a->n_prompt, "tokens",
                     a->n_tokens, "thinking_tokens", a->n_thinking, "question",
                     shown(item->question), "expected", shown(item->expected), "text",
                     text != NULL ? text : json_string("(no UTF-8)"), "calls", calls);
}

r2_status r2i_sample_line_read(r2i_eval_record *out, const json_t *line, const r2i_eval_item *item,
                               r2_error *err) {
    const char *stop = json_string_value(json_object_get(line, "stop"));
    if (!says(line, "question", item->question) || !says(line, "expected", item->expected))
        return r2i_fail(err, R2_E_MISMATCH, "holds an answer to another question of this name");
    *out = (r2i_eval_record){ .is_done = true,
                              .is_right = json_is_true(json_object_get(line, "right")),
                              .is_found = json_is_true(json_object_get(line, "found")),
                              .has_form = json_is_true(json_object_get(line, "in_form")),
                              .n_prompt = number_in(line, "prompt_tokens"),
                              .n_tokens = number_in(line, "tokens"),
                              .n_thinking = number_in(line, "thinking_tokens") };
    while (stop != NULL && out->stop < R2I_STOP_TOO_LONG &&
           strcmp(stop, r2i_eval_stop_name(out->stop)) != 0)
        out->stop++;
    return R2_OK;
}

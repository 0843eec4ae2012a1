#include "text/grammar_tools.h"

#include <stdio.h>
#include <string.h>

#include "base/failure.h"
#include "text/grammar_json.h"
#include "text/grammar_schema.h"
#include "text/token_tree.h"

/* Small models repeat the same call without end where nothing stops them. */
enum { MAX_TOOLS = 512, MAX_CALLS = 16 };

#define ADD(whole, part) ((whole) = r2i_expression_add(d, (whole), (part)))
#define WORD(text) r2i_expression_word(d, (text))

typedef struct {
    r2i_grammar_draft *draft;
    const r2i_tools_wanted *wanted;
    r2_error *err;
} tools_reader;

static const json_t *function_of(const json_t *tool) {
    return json_object_get(tool, "function");
}

static bool is_strict(const json_t *tool) {
    return json_is_true(json_object_get(function_of(tool), "strict"));
}

static bool is_wanted(const r2i_tools_wanted *w, const json_t *tool) {
    const char *name = json_string_value(json_object_get(function_of(tool), "name"));
    return w->name == NULL || (name != NULL && strcmp(name, w->name) == 0);
}

bool r2i_tools_need_grammar(const r2i_tools_wanted *w) {
    bool has_strict = false;
    for (size_t i = 0; i < json_array_size(w->tools); i++)
        has_strict |= is_strict(json_array_get(w->tools, i));
    return w->is_required || w->content != NULL ||
           (has_strict && w->syntax->ids[R2I_MARK_OPEN] >= 0);
}

/* ---- marks ---- */

/* The token itself, or its text where the vocabulary has no such token. */
static r2i_expression *mark(const tools_reader *r, r2i_call_mark m) {
    r2i_grammar_draft *d = r->draft;
    const r2i_tool_syntax *s = r->wanted->syntax;
    const char *text = r2i_call_mark_text(s->family, m);
    if (s->ids[m] >= 0) return r2i_expression_text(d, (char[]){ (char)R2I_MARK_BYTE, (char)m }, 2);
    return WORD(text != NULL ? text : "");
}

/* ---- arguments ---- */

/* What a schema that was not understood has left undefined is any value; nothing refers to it. */
static void define_rest(r2i_grammar_draft *d) {
    for (int32_t i = 0; i < d->n_rules; i++) {
        if (d->rules[i].body == NULL) r2i_draft_define(d, i, WORD(""));
    }
}

static r2_status read_arguments(const tools_reader *r, const json_t *tool, size_t index,
                                r2i_expression **out) {
    r2i_grammar_draft *d = r->draft;
    const json_t *schema = json_object_get(function_of(tool), "parameters");
    const char *name = json_string_value(json_object_get(function_of(tool), "name"));
    char scope[32], place[R2_ERROR_TEXT_BYTES];
    *out = r2i_json_object(d);
    if (json_object_size(schema) == 0 || (!r->wanted->is_required && !is_strict(tool)))
        return R2_OK;
    (void)snprintf(scope, sizeof scope, "tool %zu ", index);
    const r2_status status = r2i_schema_part(d, schema, scope, out, r->err);
    if (status == R2_OK || status == R2_E_NOMEM) return status;
    (void)snprintf(place, sizeof place, "function %.60s", name);
    if (is_strict(tool) || d->status != R2_OK) return r2i_fail_at(r->err, status, place);
    define_rest(d);
    *out = r2i_json_object(d);
    return R2_OK;
}

/* ---- one call ---- */

/* {"name": "f", "arguments": {...}} */
static void add_envelope(r2i_grammar_draft *d, r2i_expression **all, const char *name,
                         const char *key, r2i_expression *arguments) {
    ADD(*all, WORD("{\"name\": "));
    ADD(*all, r2i_json_quoted(d, name));
    ADD(*all, WORD(", \""));
    ADD(*all, WORD(key));
    ADD(*all, WORD("\": "));
    ADD(*all, arguments);
    ADD(*all, WORD("}"));
}

static void add_deepseek(const tools_reader *r, r2i_expression **all, const char *name,
                         r2i_expression *arguments) {
    r2i_grammar_draft *d = r->draft;
    const bool is_fenced = r->wanted->syntax->family == R2I_CALLS_DEEPSEEK_FENCED;
    ADD(*all, WORD(is_fenced ? "function" : name));
    ADD(*all, mark(r, R2I_MARK_SEPARATOR));
    if (is_fenced) {
        ADD(*all, WORD(name));
        ADD(*all, WORD("\n```json\n"));
    }
    ADD(*all, arguments);
    if (is_fenced) ADD(*all, WORD("\n```"));
}

static r2_status add_call(const tools_reader *r, const json_t *tool, size_t index,
                          r2i_expression **calls) {
    r2i_grammar_draft *d = r->draft;
    const char *name = json_string_value(json_object_get(function_of(tool), "name"));
    r2i_expression *arguments, *call = r2i_expression_sequence(d);
    if (name == NULL || name[0] == '\0')
        return r2i_fail(r->err, R2_E_FORMAT, "tool %zu: expected a function with a name", index);
    if (!is_wanted(r->wanted, tool)) return R2_OK;
    R2I_TRY(read_arguments(r, tool, index, &arguments));
    switch (r->wanted->syntax->family) {
    case R2I_CALLS_HERMES:
        ADD(call, WORD("\n"));
        add_envelope(d, &call, name, "arguments", arguments);
        ADD(call, WORD("\n"));
        break;
    case R2I_CALLS_LLAMA:
        add_envelope(d, &call, name, "parameters", arguments);
        break;
    default:
        add_deepseek(r, &call, name, arguments);
        break;
    }
    ADD(*calls, call);
    return r2i_draft_check(d, r->err);
}

/* ---- all of them ---- */

static r2_status read_calls(const tools_reader *r, r2i_expression **out) {
    const json_t *tools = r->wanted->tools;
    const size_t n = json_array_size(tools);
    *out = r2i_expression_choice(r->draft);
    if (!json_is_array(tools) || n == 0 || n > MAX_TOOLS)
        return r2i_fail(r->err, R2_E_FORMAT, "tools: expected an array of 1 to %d functions",
                        (int)MAX_TOOLS);
    for (size_t i = 0; i < n; i++)
        R2I_TRY(add_call(r, json_array_get(tools, i), i, out));
    if (*out != NULL && (*out)->parts == NULL)
        return r2i_fail(r->err, R2_E_NOT_FOUND, "tools: no function %.80s", r->wanted->name);
    return R2_OK;
}

/* A rule, because an expression has one parent. */
static int32_t as_rule(r2i_grammar_draft *d, r2i_expression *e) {
    const int32_t rule = r2i_draft_new_rule(d);
    r2i_draft_define(d, rule, e);
    return rule;
}

/* One call with its marks around it. */
static int32_t marked_call(const tools_reader *r, r2i_expression *inside) {
    r2i_grammar_draft *d = r->draft;
    r2i_expression *e = r2i_expression_sequence(d);
    if (r->wanted->syntax->family != R2I_CALLS_LLAMA) ADD(e, mark(r, R2I_MARK_OPEN));
    ADD(e, inside);
    if (r->wanted->syntax->family != R2I_CALLS_LLAMA) ADD(e, mark(r, R2I_MARK_CLOSE));
    return as_rule(d, e);
}

static r2i_expression *many(const tools_reader *r, int32_t call, const char *between) {
    r2i_grammar_draft *d = r->draft;
    r2i_expression *all = r2i_expression_sequence(d), *more = r2i_expression_sequence(d);
    ADD(more, WORD(between));
    ADD(more, r2i_expression_rule(d, call));
    ADD(all, r2i_expression_rule(d, call));
    ADD(all, r2i_expression_repeat(d, more, 0, r->wanted->is_single ? 0 : MAX_CALLS - 1));
    return all;
}

/* Llama's template has room for one call only. */
static r2i_expression *calls_of(const tools_reader *r, int32_t call) {
    r2i_grammar_draft *d = r->draft;
    r2i_expression *all;
    switch (r->wanted->syntax->family) {
    case R2I_CALLS_HERMES:
        return many(r, call, "\n");
    case R2I_CALLS_LLAMA:
        return r2i_expression_rule(d, call);
    default:
        all = r2i_expression_sequence(d);
        ADD(all, mark(r, R2I_MARK_BEGIN));
        ADD(all, many(r, call, r->wanted->syntax->family == R2I_CALLS_DEEPSEEK_FENCED ? "\n" : ""));
        ADD(all, mark(r, R2I_MARK_END));
        return all;
    }
}

r2_status r2i_tools_read(r2i_grammar_draft *d, const r2i_tools_wanted *wanted, r2_error *err) {
    const tools_reader r = { d, wanted, err };
    r2i_expression *inside, *all = r2i_expression_sequence(d);
    d->root = r2i_draft_rule(d, "root", 4);
    R2I_TRY(read_calls(&r, &inside));
    r2i_expression *calls = calls_of(&r, marked_call(&r, inside));
    if (wanted->content != NULL && !wanted->is_required) {
        r2i_expression *content, *either = r2i_expression_choice(d);
        R2I_TRY(r2i_schema_part(d, wanted->content, "answer ", &content, err));
        ADD(either, content);
        ADD(either, calls);
        ADD(all, either);
    } else {
        if (!wanted->is_required)
            ADD(all, r2i_expression_repeat(d, r2i_expression_class(d, NULL, 0, true), 0, -1));
        ADD(all, r2i_expression_repeat(d, calls, wanted->is_required, 1));
    }
    r2i_draft_define(d, d->root, all);
    return r2i_draft_check(d, err);
}

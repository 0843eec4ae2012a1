/* The way in: compile, render, hand over; which variables and roles are trusted. */
#define _GNU_SOURCE /* memmem */
#include "text/chat_template.h"

#include <stdio.h>
#include <string.h>

#include "base/failure.h"
#include "base/utf8_valid.h"
#include "text/template_eval.h"

enum { BLOCK_BYTES = 64 * 1024 };

struct r2i_chat_template {
    r2i_heap *heap;
    r2i_arena arena;
    r2i_tnode *body;
};

void r2i_text_ranges_init(r2i_text_ranges *ranges, r2i_heap *heap) {
    *ranges = (r2i_text_ranges){ .heap = heap };
}

void r2i_text_ranges_destroy(r2i_text_ranges *ranges) {
    r2i_heap_give(ranges->heap, ranges->items, ranges->cap_items * sizeof *ranges->items);
    *ranges = (r2i_text_ranges){ .heap = ranges->heap };
}

r2_status r2i_text_ranges_add(r2i_text_ranges *r, size_t begin, size_t end, r2_error *err) {
    if (begin == end) return R2_OK;
    if (r->n_items > 0 && r->items[r->n_items - 1].end == begin) {
        r->items[r->n_items - 1].end = end;
        return R2_OK;
    }
    if (r->n_items == r->cap_items) {
        const size_t cap = r->cap_items * 2 + 8;
        r2i_text_range *items =
            r2i_heap_resize(r->heap, r->items, r->cap_items * sizeof *items, cap * sizeof *items);
        if (items == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for a prompt");
        r->items = items;
        r->cap_items = cap;
    }
    r->items[r->n_items++] = (r2i_text_range){ begin, end };
    return R2_OK;
}

r2_status r2i_chat_template_create(r2i_chat_template **out, const char *source, size_t n_bytes,
                                   r2i_heap *heap, r2_error *err) {
    *out = NULL;
    if (n_bytes > R2I_TEMPLATE_MAX_SOURCE_BYTES) {
        return r2i_fail(err, R2_E_LIMIT, "chat template: %zu bytes, at most %d are allowed",
                        n_bytes, R2I_TEMPLATE_MAX_SOURCE_BYTES);
    }
    if (!r2i_utf8_is_valid(source, n_bytes))
        return r2i_fail(err, R2_E_FORMAT, "chat template: not valid UTF-8");
    r2i_chat_template *tmpl = r2i_heap_take(heap, sizeof *tmpl);
    if (tmpl == NULL) return r2i_fail(err, R2_E_NOMEM, "chat template: out of memory");
    *tmpl = (r2i_chat_template){ .heap = heap };
    r2i_arena_init(&tmpl->arena, heap, BLOCK_BYTES, R2I_TEMPLATE_MAX_MEMORY_BYTES);
    r2i_trun run = { .arena = &tmpl->arena, .err = err };
    if (!r2i_template_parse(&run, source, n_bytes, &tmpl->body)) {
        r2i_chat_template_destroy(tmpl);
        return run.status;
    }
    *out = tmpl;
    return R2_OK;
}

void r2i_chat_template_destroy(r2i_chat_template *tmpl) {
    if (tmpl == NULL) return;
    r2i_arena_destroy(&tmpl->arena);
    r2i_heap_give(tmpl->heap, tmpl, sizeof *tmpl);
}

/* Whether a variable is the model author's and not the user's. */
static bool is_trusted_variable(const char *name) {
    static const char suffix[] = "_token";
    const size_t n = strlen(name);
    return n >= sizeof suffix - 1 && strcmp(name + n - (sizeof suffix - 1), suffix) == 0;
}

/* Removes the marks of roles from the closed set: templates write them between special tokens. */
static void trust_roles(const r2i_tvalue *messages) {
    static const char *const roles[] = { "system", "user",      "assistant",
                                         "tool",   "developer", "function" };
    if (messages->kind != R2I_TV_SEQUENCE) return;
    for (size_t i = 0; i < messages->as.sequence->n_items; i++) {
        const r2i_tvalue *message = &messages->as.sequence->items[i];
        const size_t n = message->kind == R2I_TV_DICT ? message->as.dict->n_entries : 0;
        for (size_t j = 0; j < n; j++) {
            r2i_tentry *entry = &message->as.dict->entries[j];
            if (!r2i_tstring_is(entry->key.as.string, "role") || entry->value.kind != R2I_TV_STRING)
                continue;
            for (size_t k = 0; k < sizeof roles / sizeof *roles; k++) {
                static const r2i_tstring names[] = {
                    { .bytes = "system", .n_bytes = 6 },    { .bytes = "user", .n_bytes = 4 },
                    { .bytes = "assistant", .n_bytes = 9 }, { .bytes = "tool", .n_bytes = 4 },
                    { .bytes = "developer", .n_bytes = 9 }, { .bytes = "function", .n_bytes = 8 }
                };
                if (!r2i_tstring_is(entry->value.as.string, roles[k])) continue;
                entry->value = r2i_tvalue_string(&names[k]);
                break;
            }
        }
    }
}

/* ---- arguments of calls ---- */

static r2i_tvalue *member(const r2i_tvalue *dict, const char *name) {
    const size_t n = dict != NULL && dict->kind == R2I_TV_DICT ? dict->as.dict->n_entries : 0;
    for (size_t i = 0; i < n; i++) {
        r2i_tentry *entry = &dict->as.dict->entries[i];
        if (r2i_tstring_is(entry->key.as.string, name)) return &entry->value;
    }
    return NULL;
}

static bool open_text(r2i_trun *run, r2i_tvalue *value) {
    const r2i_tstring *text = value->as.string;
    json_t *json = json_loadb(text->bytes, text->n_bytes, JSON_REJECT_DUPLICATES, NULL);
    bool ok = true;
    if (json_is_object(json)) {
        ok = r2i_tvalue_from_json(run, json, r2i_tstring_has_untrusted(text), value);
        if (ok) value->as.dict->source = text;
    }
    json_decref(json);
    return ok;
}

/* What is no object stays a text. */
static bool open_arguments(r2i_trun *run, const r2i_tvalue *messages) {
    const size_t n = messages->kind == R2I_TV_SEQUENCE ? messages->as.sequence->n_items : 0;
    for (size_t i = 0; i < n; i++) {
        const r2i_tvalue *calls = member(&messages->as.sequence->items[i], "tool_calls");
        const size_t n_calls =
            calls != NULL && calls->kind == R2I_TV_SEQUENCE ? calls->as.sequence->n_items : 0;
        for (size_t k = 0; k < n_calls; k++) {
            const r2i_tvalue *call = &calls->as.sequence->items[k];
            const r2i_tvalue *function = member(call, "function");
            r2i_tvalue *arguments = member(function != NULL ? function : call, "arguments");
            if (arguments == NULL || arguments->kind != R2I_TV_STRING) continue;
            if (!open_text(run, arguments)) return false;
        }
    }
    return true;
}

static bool convert_context(r2i_trun *run, const r2i_template_input *input, r2i_tvalue *out) {
    json_t *context = input->context;
    if (!r2i_tdict_create(run, R2I_TV_DICT, out)) return false;
    for (void *i = json_object_iter(context); i != NULL; i = json_object_iter_next(context, i)) {
        const char *name = json_object_iter_key(i);
        r2i_tvalue key, value;
        if (!r2i_tstring_create(run, name, strlen(name), false, &key)) return false;
        if (!r2i_tvalue_from_json(run, json_object_iter_value(i), !is_trusted_variable(name),
                                  &value))
            return false;
        const bool is_messages = strcmp(name, "messages") == 0;
        if (is_messages) trust_roles(&value);
        if (is_messages && input->opens_arguments && !open_arguments(run, &value)) return false;
        if (!r2i_tdict_set(run, out->as.dict, key, value)) return false;
    }
    return true;
}

static r2_status hand_over(const r2i_tbuilder *b, r2i_buffer *text, r2i_text_ranges *untrusted,
                           r2_error *err) {
    const r2_status status = r2i_buffer_append(text, b->bytes, b->n_bytes, err);
    if (status != R2_OK || untrusted == NULL) return status;
    if (b->n_ranges > untrusted->cap_items) {
        r2i_text_range *items =
            r2i_heap_resize(untrusted->heap, untrusted->items, untrusted->cap_items * sizeof *items,
                            b->n_ranges * sizeof *items);
        if (items == NULL) {
            r2i_buffer_clear(text);
            return r2i_fail(err, R2_E_NOMEM, "chat template: out of memory");
        }
        untrusted->items = items;
        untrusted->cap_items = b->n_ranges;
    }
    if (b->n_ranges != 0) memcpy(untrusted->items, b->ranges, b->n_ranges * sizeof *b->ranges);
    untrusted->n_items = b->n_ranges;
    return R2_OK;
}

r2_status r2i_chat_template_run(const r2i_chat_template *tmpl, const r2i_template_input *input,
                                r2i_buffer *text, r2i_text_ranges *untrusted, r2_error *err) {
    r2i_buffer_clear(text);
    if (untrusted != NULL) untrusted->n_items = 0;
    if (!json_is_object(input->context))
        return r2i_fail(err, R2_E_ARGUMENT, "chat template: context must be a JSON object");
    r2i_arena arena;
    r2i_arena_init(&arena, tmpl->heap, BLOCK_BYTES, R2I_TEMPLATE_MAX_MEMORY_BYTES);
    r2i_trun run = { .arena = &arena, .err = err, .now_seconds = input->now_seconds };
    r2i_tbuilder out;
    r2i_tbuilder_init(&out, &run);
    r2i_tframe root = { 0 };
    r2i_tflow flow = R2I_FLOW_ON;
    r2i_tvalue variables;
    run.frame = &root;
    run.out = &out;
    r2_status status = R2_OK;
    if (convert_context(&run, input, &variables)) {
        run.context = variables.as.dict;
        run.n_steps = 0; /* the conversion is the caller's data, not the template's work */
        (void)r2i_template_exec(&run, tmpl->body, &flow);
    }
    status = run.status;
    if (status == R2_OK) status = hand_over(&out, text, untrusted, err);
    r2i_arena_destroy(&arena);
    return status;
}

r2_status r2i_chat_template_render(const r2i_chat_template *tmpl, json_t *context,
                                   int64_t now_seconds, r2i_buffer *text,
                                   r2i_text_ranges *untrusted, r2_error *err) {
    const r2i_template_input input = { .context = context, .now_seconds = now_seconds };
    return r2i_chat_template_run(tmpl, &input, text, untrusted, err);
}

static bool mentions(const char *source, size_t n_bytes, const char *word) {
    return n_bytes != 0 && memmem(source, n_bytes, word, strlen(word)) != NULL;
}

/* Whether `word` occurs as a whole name, not inside a longer one. */
static bool mentions_name(const char *source, size_t n_bytes, const char *word) {
    const size_t n = strlen(word);
    for (size_t at = 0; at + n <= n_bytes;) {
        const char *found = memmem(source + at, n_bytes - at, word, n);
        if (found == NULL) return false;
        const size_t begin = (size_t)(found - source);
        const char before = begin > 0 ? found[-1] : ' ',
                   after = begin + n < n_bytes ? found[n] : ' ';
        const char *const joined =
            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";
        if (strchr(joined, before) == NULL && strchr(joined, after) == NULL) return true;
        at = begin + n;
    }
    return false;
}

/* Is something of a call's arguments done that takes an object: "arguments | tojson", ".items()"? */
static bool opens_arguments(const char *source, size_t n_bytes) {
    static const char *const uses[] = { "tojson", "items", "from_json" };
    static const char word[] = "arguments";
    const char *const end = source + n_bytes;
    for (const char *at = source; n_bytes != 0;) {
        at = memmem(at, (size_t)(end - at), word, sizeof word - 1);
        if (at == NULL) break;
        at += sizeof word - 1;
        const char *next = at;
        while (next < end && strchr("'\"] |.", *next) != NULL && *next != '\0')
            next++;
        for (size_t i = 0; i < sizeof uses / sizeof *uses; i++) {
            const size_t n = strlen(uses[i]);
            if ((size_t)(end - next) >= n && memcmp(next, uses[i], n) == 0) return true;
        }
    }
    return mentions(source, n_bytes, "from_json") || mentions(source, n_bytes, ".items()") ||
           mentions(source, n_bytes, "is mapping");
}

static bool tests_content(const char *source, size_t n_bytes) {
    return mentions(source, n_bytes, "content'] is not none") ||
           mentions(source, n_bytes, "content'] is none") ||
           mentions(source, n_bytes, "content\"] is not none") ||
           mentions(source, n_bytes, ".content is not none") ||
           mentions(source, n_bytes, ".content is none");
}

r2i_chat_template_traits r2i_chat_template_get_traits(const char *source, size_t n_bytes) {
    const bool enable = mentions_name(source, n_bytes, "enable_thinking");
    const bool plain = mentions(source, n_bytes, "thinking is defined") ||
                       mentions(source, n_bytes, "if thinking") ||
                       mentions(source, n_bytes, "not thinking");
    return (r2i_chat_template_traits){
        .tools = mentions_name(source, n_bytes, "tools"),
        .tool_calls = mentions_name(source, n_bytes, "tool_calls"),
        .text_arguments = !opens_arguments(source, n_bytes),
        .null_content = tests_content(source, n_bytes),
        .thinking_switch = enable || plain,
        .thinking_name = enable  ? "enable_thinking"
                         : plain ? "thinking"
                                 : NULL,
        .think_markers = mentions(source, n_bytes, "<think>"),
        .reasoning_content = mentions(source, n_bytes, "reasoning_content"),
    };
}

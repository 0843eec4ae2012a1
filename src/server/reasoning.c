#include "server/reasoning.h"

#include <string.h>

#include "base/failure.h"
#include "server/request_fields.h"

enum { MAX_BUDGET = 1 << 24, NO_BUDGET = -2, UNLIMITED = -1 };

/* What was found so far, and which field said so. */
typedef struct {
    const json_t *body;
    r2i_refusal *refusal;
    const char *on_by, *off_by;
    const char *effort, *effort_by;
    const char *budget_by;
    int64_t budget, minimum;
} findings;

static const struct {
    const char *name, *told; /* what the template is told */
    int32_t budget;          /* 0: none of its own */
} efforts[] = {
    { "none", NULL, 0 },        { "minimal", "low", 1024 }, { "low", "low", 1024 },
    { "medium", "high", 8192 }, { "high", "high", 8192 },   { "xhigh", "high", 8192 },
    { "max", "max", 0 },        { "ultra", "max", 0 },
};

static int find_effort(const char *name) {
    for (size_t i = 0; i < sizeof efforts / sizeof *efforts; i++) {
        if (strcmp(name, efforts[i].name) == 0) return (int)i;
    }
    return -1;
}

/* ---- one field ---- */

static r2_status refuse_pair(r2i_refusal *r, const char *name, const char *other) {
    return r2i_refuse(r, 400, name, "contradictory_parameters",
                      "%s: contradicts %s: expected one of them, or both to say the same", name,
                      other);
}

static r2_status read_count(const char *name, const json_t *value, int64_t low, int64_t *out,
                            r2i_refusal *r) {
    const r2i_field field = { name, R2I_FIELD_COUNT, 0, (double)low, MAX_BUDGET };
    return r2i_field_read(&field, value, out, r);
}

static r2_status note_switch(findings *f, const char *name, bool is_on) {
    const char *against = is_on ? f->off_by : f->on_by;
    if (against != NULL) return refuse_pair(f->refusal, name, against);
    *(is_on ? &f->on_by : &f->off_by) = name;
    return R2_OK;
}

static r2_status note_flag(findings *f, const char *name, const json_t *value) {
    if (!r2i_json_is_given(value)) return R2_OK;
    if (!json_is_boolean(value)) return r2i_refuse_type(f->refusal, name, "true or false", value);
    return note_switch(f, name, json_is_true(value));
}

static r2_status note_effort(findings *f, const char *name, const json_t *value) {
    if (!r2i_json_is_given(value)) return R2_OK;
    if (!json_is_string(value)) return r2i_refuse_type(f->refusal, name, "a text", value);
    const char *effort = json_string_value(value);
    if (find_effort(effort) < 0)
        return r2i_refuse(f->refusal, 400, name, "invalid_value",
                          "%s: expected none, minimal, low, medium, high, xhigh, max or ultra, "
                          "found \"%.40s\"",
                          name, effort);
    if (f->effort != NULL && strcmp(f->effort, effort) != 0)
        return refuse_pair(f->refusal, name, f->effort_by);
    f->effort = effort;
    f->effort_by = name;
    return strcmp(effort, "none") == 0 ? note_switch(f, name, false) : R2_OK;
}

static r2_status note_budget(findings *f, const char *name, const json_t *value, int64_t low) {
    int64_t budget = 0;
    if (!r2i_json_is_given(value)) return R2_OK;
    R2I_TRY(read_count(name, value, low, &budget, f->refusal));
    if (f->budget != NO_BUDGET && f->budget != budget)
        return refuse_pair(f->refusal, name, f->budget_by);
    f->budget = budget;
    f->budget_by = name;
    return R2_OK;
}

/* NULL for one that is not there; a refusal for what is no object. */
static r2_status find_object(const findings *f, const char *name, const json_t **out) {
    *out = json_object_get(f->body, name);
    if (!r2i_json_is_given(*out)) *out = NULL;
    return *out == NULL || json_is_object(*out)
               ? R2_OK
               : r2i_refuse_type(f->refusal, name, "an object", *out);
}

/* ---- the spellings ---- */

/* {"thinking": {"type": "enabled", "budget_tokens": 1000}} */
static r2_status read_thinking(findings *f) {
    const json_t *o;
    R2I_TRY(find_object(f, "thinking", &o));
    if (o == NULL) return R2_OK;
    const json_t *type = json_object_get(o, "type");
    const bool is_off = r2i_json_is_text(type, "disabled");
    if (!is_off && !r2i_json_is_text(type, "enabled") && !r2i_json_is_text(type, "adaptive"))
        return r2i_refuse(f->refusal, 400, "thinking.type", "invalid_value",
                          "thinking.type: expected enabled, disabled or adaptive");
    R2I_TRY(note_switch(f, "thinking.type", !is_off));
    return note_budget(f, "thinking.budget_tokens", json_object_get(o, "budget_tokens"), 0);
}

/* {"reasoning": {"enabled": true, "effort": "high", "max_tokens": 1000}} */
static r2_status read_group(findings *f) {
    const json_t *o;
    R2I_TRY(find_object(f, "reasoning", &o));
    if (o == NULL) return R2_OK;
    R2I_TRY(note_flag(f, "reasoning.enabled", json_object_get(o, "enabled")));
    R2I_TRY(note_effort(f, "reasoning.effort", json_object_get(o, "effort")));
    return note_budget(f, "reasoning.max_tokens", json_object_get(o, "max_tokens"), 0);
}

/* {"think": false} or {"think": "low"} */
static r2_status read_think(findings *f) {
    const json_t *value = json_object_get(f->body, "think");
    if (json_is_string(value)) return note_effort(f, "think", value);
    return note_flag(f, "think", value);
}

static r2_status read_template_values(findings *f, json_t *extra) {
    static const char *const ours[] = { "messages", "tools", "add_generation_prompt", "bos_token",
                                        "eos_token" };
    const json_t *o;
    R2I_TRY(find_object(f, "chat_template_kwargs", &o));
    if (o == NULL) return R2_OK;
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++) {
        if (json_object_get(o, ours[i]) != NULL)
            return r2i_refuse(f->refusal, 400, "chat_template_kwargs", "invalid_value",
                              "chat_template_kwargs: %s cannot be given here", ours[i]);
    }
    R2I_TRY(note_flag(f, "chat_template_kwargs.enable_thinking",
                      json_object_get(o, "enable_thinking")));
    R2I_TRY(note_flag(f, "chat_template_kwargs.thinking", json_object_get(o, "thinking")));
    return json_object_update(extra, (json_t *)(uintptr_t)o) == 0 ? R2_OK
                                                                  : r2i_refuse_memory(f->refusal);
}

static r2_status read_minimum(findings *f) {
    static const char name[] = "reasoning_min_tokens";
    const json_t *value = json_object_get(f->body, name);
    if (!r2i_json_is_given(value)) return R2_OK;
    R2I_TRY(read_count(name, value, 0, &f->minimum, f->refusal));
    if (f->minimum > 0 && f->off_by != NULL) return refuse_pair(f->refusal, name, f->off_by);
    if (f->budget >= 0 && f->minimum > f->budget)
        return refuse_pair(f->refusal, name, f->budget_by);
    return R2_OK;
}

static r2_status read_all(findings *f, json_t *extra) {
    static const char *const budgets[] = { "reasoning_budget_tokens", "thinking_budget_tokens",
                                           "thinking_token_budget" };
    R2I_TRY(note_effort(f, "reasoning_effort", json_object_get(f->body, "reasoning_effort")));
    R2I_TRY(note_flag(f, "enable_thinking", json_object_get(f->body, "enable_thinking")));
    R2I_TRY(read_thinking(f));
    R2I_TRY(read_group(f));
    R2I_TRY(read_think(f));
    R2I_TRY(read_template_values(f, extra));
    for (size_t i = 0; i < sizeof budgets / sizeof *budgets; i++)
        R2I_TRY(note_budget(f, budgets[i], json_object_get(f->body, budgets[i]), UNLIMITED));
    return read_minimum(f);
}

/* ---- all of it ---- */

/* A name that the client's own variables have is left to them. */
static void tell(json_t *extra, const char *name, json_t *value) {
    if (json_object_get(extra, name) == NULL)
        (void)json_object_set_new(extra, name, value);
    else
        json_decref(value);
}

static void take(const findings *f, r2i_wishes *w, json_t *extra) {
    r2_sequence_options *o = &w->options;
    if (f->off_by != NULL) o->think = R2_THINK_OFF;
    if (f->on_by != NULL) {
        o->think = R2_THINK_AUTO;
        tell(extra, "enable_thinking", json_true());
        tell(extra, "thinking", json_true());
    }
    if (f->effort != NULL && f->off_by == NULL) {
        const int i = find_effort(f->effort);
        o->think = R2_THINK_AUTO;
        o->think_budget = efforts[i].budget;
        tell(extra, "reasoning_effort", json_string(efforts[i].told));
    }
    if (f->budget != NO_BUDGET) {
        w->has_think_budget = true;
        o->think_budget = f->budget == 0 ? -1 : f->budget == UNLIMITED ? 0 : (int32_t)f->budget;
    }
    o->think_minimum = (int32_t)f->minimum;
}

r2_status r2i_reasoning_read(const json_t *body, r2i_wishes *wishes, json_t *extra,
                             r2i_refusal *refusal) {
    findings f = { .body = body, .refusal = refusal, .budget = NO_BUDGET };
    R2I_TRY(read_all(&f, extra));
    take(&f, wishes, extra);
    return R2_OK;
}

void r2i_reasoning_cap(r2i_wishes *w, int32_t n_prompt, int32_t n_context) {
    enum { ANSWER_TOKENS = 3 }; /* both markers and one behind them */
    r2_sequence_options *o = &w->options;
    int32_t n_left = n_context - n_prompt;
    if (w->has_think_budget || o->think == R2_THINK_OFF || o->think_budget < 0) return;
    if (o->max_new_tokens > 0 && o->max_new_tokens < n_left) n_left = o->max_new_tokens;
    int32_t cap = (int32_t)((int64_t)n_left * 3 / 4);
    if (cap > n_left - ANSWER_TOKENS) cap = n_left - ANSWER_TOKENS;
    if (cap < o->think_minimum) cap = o->think_minimum;
    if (o->think_budget == 0 || o->think_budget > cap) o->think_budget = cap > 0 ? cap : -1;
}

/* ---- earlier turns ---- */

static bool has_calls(const json_t *message) {
    return json_array_size(json_object_get(message, "tool_calls")) > 0;
}

void r2i_reasoning_forget(json_t *messages) {
    const size_t n = json_array_size(messages);
    for (size_t begin = 0, end; begin < n; begin = end) {
        bool is_kept = false;
        for (end = begin; end < n; end++) {
            const json_t *m = json_array_get(messages, end);
            if (end > begin && r2i_json_is_text(json_object_get(m, "role"), "user")) break;
            is_kept |= has_calls(m);
        }
        for (size_t i = begin; i < end && !is_kept; i++)
            (void)json_object_del(json_array_get(messages, i), "reasoning_content");
    }
}

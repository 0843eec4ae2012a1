/* chat_thinking.c - every spelling of on, off, effort and budget. */
#include <string.h>

#include "base/failure.h"
#include "server/chat_request.h"
#include "server/request_fields.h"

static r2_status read_effort(r2i_chat_request *q, const char *effort, r2i_refusal *r) {
    static const struct {
        const char *name, *told; /* what the template is told */
        int32_t budget;
    } efforts[] = {
        { "none", NULL, 0 },        { "minimal", "low", 1024 }, { "low", "low", 1024 },
        { "medium", "high", 8192 }, { "high", "high", 8192 },   { "xhigh", "high", 8192 },
        { "max", "max", 0 },        { "ultra", "max", 0 },
    };
    if (effort == NULL) return R2_OK;
    for (size_t i = 0; i < sizeof efforts / sizeof *efforts; i++) {
        if (strcmp(effort, efforts[i].name) != 0) continue;
        q->wishes.options.think = efforts[i].told != NULL ? R2_THINK_AUTO : R2_THINK_OFF;
        q->wishes.options.think_budget = efforts[i].budget;
        if (efforts[i].told != NULL)
            (void)json_object_set_new(q->extra, "reasoning_effort", json_string(efforts[i].told));
        return R2_OK;
    }
    return r2i_refuse(r, 400, "reasoning_effort", "invalid_value",
                      "reasoning_effort: expected none, minimal, low, medium, high, xhigh, max or "
                      "ultra, found \"%.40s\"",
                      effort);
}

static r2_status read_thinking(r2i_chat_request *q, int64_t *budget, r2i_refusal *r) {
    static const r2i_field budget_field = { "thinking.budget_tokens", R2I_FIELD_COUNT, 0, 0,
                                            1 << 24 };
    const json_t *o = json_object_get(q->body, "thinking");
    const json_t *type = json_object_get(o, "type");
    const json_t *tokens = json_object_get(o, "budget_tokens");
    if (!json_is_object(o)) return R2_OK;
    if (r2i_json_is_text(type, "enabled") || r2i_json_is_text(type, "adaptive"))
        q->wishes.options.think = R2_THINK_AUTO;
    else if (r2i_json_is_text(type, "disabled"))
        q->wishes.options.think = R2_THINK_OFF;
    else
        return r2i_refuse(r, 400, "thinking.type", "invalid_value",
                          "thinking.type: expected enabled, disabled or adaptive");
    if (!r2i_json_is_given(tokens)) return R2_OK;
    return r2i_field_read(&budget_field, tokens, budget, r);
}

static r2_status read_template_values(r2i_chat_request *q, r2i_refusal *r) {
    static const char *const ours[] = { "messages", "tools", "add_generation_prompt", "bos_token",
                                        "eos_token" };
    json_t *o = json_object_get(q->body, "chat_template_kwargs");
    const json_t *enable = json_object_get(o, "enable_thinking");
    if (!json_is_object(o)) return R2_OK;
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++) {
        if (json_object_get(o, ours[i]) != NULL)
            return r2i_refuse(r, 400, "chat_template_kwargs", "invalid_value",
                              "chat_template_kwargs: %s cannot be given here", ours[i]);
    }
    if (enable != NULL)
        q->wishes.options.think = json_is_false(enable) ? R2_THINK_OFF : R2_THINK_AUTO;
    return json_object_update(q->extra, o) == 0 ? R2_OK : r2i_refuse_memory(r);
}

/* The latter is the stronger: effort, the template's variables, on and off, budgets. */
r2_status r2i_chat_thinking_read(r2i_chat_request *q, const r2i_chat_thinking *v, r2i_refusal *r) {
    int64_t budget = v->budget >= 0 ? v->budget : v->budget_2;
    R2I_TRY(read_effort(q, v->effort, r));
    R2I_TRY(read_template_values(q, r));
    const json_t *enable = json_object_get(q->body, "enable_thinking");
    if (json_is_boolean(enable))
        q->wishes.options.think = json_is_true(enable) ? R2_THINK_AUTO : R2_THINK_OFF;
    R2I_TRY(read_thinking(q, &budget, r));
    if (budget >= 0) q->wishes.options.think_budget = budget == 0 ? -1 : (int32_t)budget;
    return R2_OK;
}

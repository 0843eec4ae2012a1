/* reasoning.h - what a request says about thinking, in the spellings of several servers and clients.
 *
 * Switches: thinking.type, enable_thinking, think, reasoning.enabled, chat_template_kwargs.enable_thinking
 * and .thinking, an effort of "none".  Those that are given must agree; without any, the server's default
 * holds.  Levels: reasoning_effort, reasoning.effort, think.  Budgets: thinking.budget_tokens,
 * reasoning_budget_tokens, thinking_budget_tokens, thinking_token_budget, reasoning.max_tokens; a budget is
 * stronger than a level's.  Off is off, whatever the level and the budget. */
#ifndef R2I_REASONING_H
#define R2I_REASONING_H
#include <jansson.h>

#include "server/refusal.h"
#include "server/wishes.h"

/* Fills in wishes->options.think, .think_budget, .think_minimum and adds what the template is told to
 * `extra`.  Fields that contradict each other are refused. */
R2_CHECKED r2_status r2i_reasoning_read(const json_t *body, r2i_wishes *wishes, json_t *extra,
                                        r2i_refusal *refusal);
/* Without a budget in the request thoughts may take three quarters of what is left for the answer, so that
 * there is one. */
void r2i_reasoning_cap(r2i_wishes *wishes, int32_t n_prompt, int32_t n_context);
/* Thoughts of turns without tool calls are not shown to the model again; those of turns with tool calls
 * stay.  A turn is what stands between two messages of the user. */
void r2i_reasoning_forget(json_t *messages);
#endif

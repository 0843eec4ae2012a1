/* completion_prompt.h - from a request's prompts to what its choices start from: tokens, and the text and the
 * places of tokens for an answer that repeats the prompt. */
#ifndef R2I_COMPLETION_PROMPT_H
#define R2I_COMPLETION_PROMPT_H
#include "server/completion_request.h"
#include "server/job.h"
#include "server/prompt_limits.h"

/* Fills in job->prompts, of which there are as many as the request has, and job->out.n_prompt;
 * *n_longest: tokens of the longest.  On failure job->refusal says why. */
R2_CHECKED r2_status r2i_completion_prompts_read(r2i_job *job, r2i_heap *heap,
                                                 const r2_model *model,
                                                 const r2i_prompt_limits *limits,
                                                 int32_t *n_longest);
#endif

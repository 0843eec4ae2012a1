/* session.h - a model with an engine, opened as the flags say, and one answer after another. */
#ifndef R2I_SESSION_H
#define R2I_SESSION_H
#include "base/buffer.h"
#include "cli/program.h"
#include "r2lm/text.h"

typedef struct {
    r2i_program *program;
    const char *path;
    r2_model *model;
    r2_engine *engine;
    r2_adapter *adapter; /* NULL: none (adapter_choice.h) */
    float adapter_scale;
    r2_model_info info;
    int64_t open_ns;
} r2i_session;

/* Opens `path`, and the adapter that the flags name; the engine for n_sequences sequences of
 * n_context tokens (0: the model's). */
R2_CHECKED r2_status r2i_session_open_model(r2i_session *out, r2i_program *program,
                                            const char *path, r2_error *err);
R2_CHECKED r2_status r2i_session_open_engine(r2i_session *session, const r2_engine_options *options,
                                             r2_error *err);
void r2i_session_close(r2i_session *session);
/* As --cache-type says. */
r2_cache_rows r2i_session_cache_rows(const r2i_session *session);

typedef enum { R2I_PART_THINKING, R2I_PART_ANSWER } r2i_part;
/* Receives text as it comes, complete characters only. */
typedef void (*r2i_text_sink)(void *user, r2i_part part, const char *text);

typedef struct {
    int32_t n_prompt, n_cached, n_generated, n_thinking, n_drafted, n_accepted;
    bool is_think_cut, was_stopped;
    r2_finish finish;
    double prompt_s, decode_s, think_s;
} r2i_answer;

/* The thinking budget that goes with an effort: `budget` if it is given (above 0), else 1024 tokens
 * for low, 8192 for high, 0 (no limit) for the others. */
int32_t r2i_think_budget(r2i_effort effort, int32_t budget);
/* The variable by which chat templates are told, as r2_chat_options.extra_json; NULL: nothing to say. */
const char *r2i_effort_json(r2i_effort effort);
/* Sampling, limits and thinking as the flags say. */
void r2i_session_sequence_options(const r2i_session *session, r2_sequence_options *out);
/* Reads the tokens and writes an answer into the sink until it ends or a signal comes. */
R2_CHECKED r2_status r2i_session_answer(r2i_session *session, const r2_token *tokens,
                                        int32_t n_tokens, const r2_sequence_options *options,
                                        r2i_text_sink sink, void *user, r2i_answer *out,
                                        r2_error *err);
/* "stop", "length", "canceled", "memory", "error". */
const char *r2i_finish_name(r2_finish finish);
/* Tokens of a text, in the program's arena. */
R2_CHECKED r2_status r2i_session_tokenize(r2i_session *session, const char *text, size_t n_bytes,
                                          int flags, r2_token **tokens, int32_t *n_tokens,
                                          r2_error *err);
json_t *r2i_answer_timings(const r2i_answer *answer);
void r2i_answer_print_timings(const r2i_program *program, const r2i_answer *answer);
#endif

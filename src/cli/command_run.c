/* command_run.c - `r2lm run`: one question, one answer on standard output. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/failure.h"
#include "cli/grammar_choice.h"
#include "cli/model_find.h"
#include "cli/session.h"
#include "cli/text_input.h"

typedef struct {
    r2i_session session;
    r2i_grammar_choice grammar;
    r2i_buffer prompt, answer, thinking;
    bool shows_thinking, is_thinking_shown; /* the second: the last thing written was a thought */
    char last;                              /* last character on standard output */
    r2_error failure;                       /* of the sink */
} run_state;

static void print_event(run_state *s, const char *type, const char *text) {
    (void)r2i_program_print_json(s->session.program,
                                 json_pack("{s:s, s:s}", "type", type, "text", text));
}

static void close_thinking(run_state *s) {
    if (!s->is_thinking_shown) return;
    fprintf(stderr, "%s\n\n", r2i_terminal_plain(&s->session.program->terminal));
    s->is_thinking_shown = false;
}

static void show_thinking(run_state *s, const char *text) {
    const r2i_terminal *terminal = &s->session.program->terminal;
    if (!s->is_thinking_shown) (void)fputs(r2i_terminal_dim(terminal), stderr);
    s->is_thinking_shown = true;
    r2i_terminal_write(terminal, true, text);
}

static void on_text(void *user, r2i_part part, const char *text) {
    run_state *s = user;
    const r2i_options *o = s->session.program->options;
    const bool is_answer = part == R2I_PART_ANSWER;
    if (o->wants_jsonl) print_event(s, is_answer ? "text" : "thinking", text);
    if (o->wants_json || o->wants_jsonl) {
        const r2_status status =
            r2i_buffer_append_text(is_answer ? &s->answer : &s->thinking, text, &s->failure);
        if (status != R2_OK) s->failure.code = status;
        return;
    }
    if (!is_answer) {
        if (s->shows_thinking) show_thinking(s, text);
        return;
    }
    close_thinking(s);
    r2i_terminal_write(&s->session.program->terminal, false, text);
    s->last = text[strlen(text) - 1];
    (void)fflush(stdout);
}

/* The prompt's tokens: through the chat template, or as they are. */
static r2_status make_tokens(run_state *s, r2_token **tokens, int32_t *n_tokens, r2_error *err) {
    const r2i_options *o = s->session.program->options;
    const char *text = s->prompt.bytes != NULL ? s->prompt.bytes : "";
    if (o->is_raw || !s->session.info.has_chat_template) {
        return r2i_session_tokenize(&s->session, text, s->prompt.n_bytes, R2_TOKENIZE_START, tokens,
                                    n_tokens, err);
    }
    R2I_TRY(r2i_prompt_check(&s->prompt, err));
    const r2_chat_message messages[] = { { .role = "system", .content = o->system },
                                         { .role = "user", .content = text } };
    const int skip = o->system == NULL;
    const r2_chat_options chat = { .think = o->think ? R2_THINK_AUTO : R2_THINK_OFF,
                                   .extra_json = r2i_effort_json((r2i_effort)o->think) };
    r2_prompt *prompt;
    R2I_TRY(r2_chat_render(&prompt, s->session.model, messages + skip, 2 - skip, &chat, err));
    *n_tokens = prompt->n_tokens;
    *tokens = R2I_ARENA_ARRAY(&s->session.program->arena, r2_token, (size_t)prompt->n_tokens + 1);
    if (*tokens != NULL)
        memcpy(*tokens, prompt->tokens, (size_t)prompt->n_tokens * sizeof **tokens);
    r2_prompt_destroy(prompt);
    return *tokens != NULL ? R2_OK : r2i_fail(err, R2_E_NOMEM, "no memory for the prompt");
}

static int print_result(run_state *s, const r2i_answer *a) {
    r2i_program *p = s->session.program;
    json_t *object = json_pack(
        "{s:s, s:s, s:s, s:s, s:i, s:i, s:i, s:i, s:b, s:o}", "model", s->session.info.name, "text",
        s->answer.bytes != NULL ? s->answer.bytes : "", "thinking",
        s->thinking.bytes != NULL ? s->thinking.bytes : "", "finish_reason",
        r2i_finish_name(a->finish), "prompt_tokens", a->n_prompt, "cached_tokens", a->n_cached,
        "completion_tokens", a->n_generated, "thinking_tokens", a->n_thinking, "thinking_truncated",
        a->is_think_cut, "timings", r2i_answer_timings(a));
    if (object != NULL && p->options->wants_jsonl)
        (void)json_object_set_new(object, "type", json_string("done"));
    return r2i_program_print_json(p, object);
}

static r2_status answer(run_state *s, r2i_answer *out, r2_error *err) {
    const r2i_options *o = s->session.program->options;
    r2_token *tokens = NULL;
    int32_t n_tokens = 0;
    r2_sequence_options options;
    R2I_TRY(r2i_grammar_choose(&s->grammar, &s->session, err));
    R2I_TRY(r2i_session_open_engine(
        &s->session, &(r2_engine_options){ .n_context = o->ctx_size, .n_sequences = 1 }, err));
    R2I_TRY(make_tokens(s, &tokens, &n_tokens, err));
    if (n_tokens == 0)
        return r2i_fail(err, R2_E_ARGUMENT, "prompt: expected at least one token, found none");
    r2i_session_sequence_options(&s->session, &options);
    r2i_grammar_use(&s->grammar, &options);
    R2I_TRY(r2i_session_answer(&s->session, tokens, n_tokens, &options, on_text, s, out, err));
    if (s->failure.code != R2_OK) *err = s->failure;
    return s->failure.code;
}

static int finish(run_state *s, const r2i_answer *a) {
    const r2i_options *o = s->session.program->options;
    close_thinking(s);
    if (o->wants_json || o->wants_jsonl) {
        const int code = print_result(s, a);
        if (code != R2I_EXIT_OK) return code;
    } else if (s->last != '\n') {
        (void)fputc('\n', stdout);
    }
    (void)fflush(stdout);
    if (o->shows_timings || o->is_verbose) r2i_answer_print_timings(s->session.program, a);
    return a->was_stopped ? R2I_EXIT_SIGNAL + r2i_signals_pending() : R2I_EXIT_OK;
}

/* `run MODEL [PROMPT]`; with -m every word belongs to the prompt. */
static r2_status open_all(run_state *s, r2i_program *p, r2_error *err) {
    const r2i_options *o = p->options;
    const char *path = NULL, *name = o->model;
    int first_word = 0;
    if (p->arguments.n_words > 0 && !p->arguments.has_model_flag)
        name = p->arguments.words[first_word++];
    R2I_TRY(r2i_prompt_collect(&s->prompt, p, first_word, err));
    R2I_TRY(r2i_model_resolve(&path, p, name, err));
    r2i_signals_catch();
    return r2i_session_open_model(&s->session, p, path, err);
}

/* What to do next.  A question without -p, piped text behind it, was taken as a model. */
static void print_hint(r2i_program *p, r2_status status) {
    if (status == R2_E_NOT_FOUND) r2i_models_hint(p);
    if (p->is_model_missing && p->arguments.n_words > 0 && !p->arguments.has_model_flag)
        r2i_program_hint(p,
                         "      the first word names the model; a question alone goes behind -p");
    if (status == R2_E_FULL) r2i_program_hint(p, "      a larger context: -c N");
    if (status == R2_E_NOMEM)
        r2i_program_hint(p, "      less memory: a smaller context (-c N) or --no-pack");
}

int r2i_run_command(r2i_program *p) {
    run_state s = { .session = { .program = p } };
    r2_error err = { R2_OK, "" };
    r2i_answer result = { 0 };
    r2i_prompt_buffer_init(&s.prompt, p);
    r2i_prompt_buffer_init(&s.answer, p);
    r2i_prompt_buffer_init(&s.thinking, p);
    const r2i_options *o = p->options;
    s.shows_thinking = o->hides_thinking == 0 || (o->hides_thinking < 0 && p->terminal.is_err_tty);
    r2_status status = o->ignores_end && o->predict == 0
                           ? r2i_fail(&err, R2_E_ARGUMENT, "--ignore-eos: expected -n beside it")
                           : R2_OK;
    if (status == R2_OK) status = open_all(&s, p, &err);
    if (status == R2_OK) status = answer(&s, &result, &err);
    int code;
    if (status == R2_OK) {
        code = finish(&s, &result);
    } else {
        close_thinking(&s);
        code = r2i_program_fail(p, status, &err);
        print_hint(p, status);
    }
    r2i_grammar_drop(&s.grammar);
    r2i_session_close(&s.session);
    r2i_buffer_destroy(&s.prompt);
    r2i_buffer_destroy(&s.answer);
    r2i_buffer_destroy(&s.thinking);
    return code;
}

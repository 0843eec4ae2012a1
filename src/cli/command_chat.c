/* command_chat.c - `r2lm chat`: the conversation is rendered anew for every turn; what the model has
 * read before comes out of the prefix cache. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/failure.h"
#include "cli/chat_state.h"
#include "cli/model_find.h"
#include "cli/text_input.h"

enum { THINK_LINE_NS = 100000000 };

void r2i_chat_fail(r2i_chat *c, r2_status status, const r2_error *err) {
    const int code = r2i_program_fail(c->session.program, status, err);
    if (c->exit_code == R2I_EXIT_OK && !c->session.program->terminal.is_in_tty) c->exit_code = code;
}

/* ---- one answer ---- */

/* The conversation as tokens, with the beginning of an answer or without; *out is the caller's. */
static r2_status render_chat(r2i_chat *c, bool opens_answer, r2_prompt **out, r2_error *err) {
    const size_t n = r2i_conversation_count(&c->conversation);
    const r2i_arena_mark mark = r2i_arena_get_mark(&c->session.program->arena);
    r2_chat_message *messages = R2I_ARENA_ARRAY(&c->session.program->arena, r2_chat_message, n + 1);
    if (messages == NULL || n > INT32_MAX)
        return r2i_fail(err, R2_E_NOMEM, "no memory for %zu messages", n);
    for (size_t i = 0; i < n; i++) {
        messages[i] = (r2_chat_message){ .role = r2i_conversation_role(&c->conversation, i),
                                         .content = r2i_conversation_content(&c->conversation, i) };
    }
    const r2_chat_options options = { .think = c->effort != R2I_EFFORT_OFF ? R2_THINK_AUTO
                                                                           : R2_THINK_OFF,
                                      .extra_json = r2i_effort_json(c->effort),
                                      .has_no_answer_prompt = !opens_answer };
    const r2_status status =
        r2_chat_render(out, c->session.model, messages, (int32_t)n, &options, err);
    r2i_arena_rewind(&c->session.program->arena, mark);
    return status;
}

int32_t r2i_chat_count_tokens(r2i_chat *c) {
    r2_prompt *prompt;
    if (r2i_conversation_count(&c->conversation) == 0) return 0;
    if (render_chat(c, false, &prompt, NULL) != R2_OK) return -1;
    const int32_t n = prompt->n_tokens;
    r2_prompt_destroy(prompt);
    return n;
}

/* One line that is rewritten while the model thinks, or the thoughts themselves. */
static void show_thought(r2i_chat *c, const char *text) {
    r2i_program *p = c->session.program;
    const r2i_terminal *terminal = &p->terminal;
    const int64_t now = r2i_clock_ns();
    if (c->think_start_ns == 0) c->think_start_ns = now;
    c->n_thought_pieces++;
    if (p->options->hides_thinking == 1 ||
        (p->options->hides_thinking < 0 && !terminal->is_err_tty))
        return;
    if (p->options->unfolds || !terminal->is_err_tty) {
        if (!c->is_thinking_shown) (void)fputs(r2i_terminal_dim(terminal), stderr);
        r2i_terminal_write(terminal, true, text);
    } else if (now - c->think_shown_ns > THINK_LINE_NS) {
        c->think_shown_ns = now;
        fprintf(stderr, "\r%sthinking for %.1f s, %d tokens%s", r2i_terminal_dim(terminal),
                (double)(now - c->think_start_ns) * 1e-9, c->n_thought_pieces,
                r2i_terminal_plain(terminal));
    }
    c->is_thinking_shown = true;
}

static void on_text(void *user, r2i_part part, const char *text) {
    r2i_chat *c = user;
    r2i_program *p = c->session.program;
    if (part == R2I_PART_THINKING) {
        if (!p->options->wants_json) show_thought(c, text);
        return;
    }
    (void)!(r2i_buffer_append_text(&c->answer, text, NULL));
    if (p->options->wants_json) return;
    if (c->is_thinking_shown) {
        if (p->options->unfolds || !p->terminal.is_err_tty)
            fprintf(stderr, "%s\n\n", r2i_terminal_plain(&p->terminal));
        else
            fprintf(stderr, "\r%sthought for %.1f s, %d tokens%s%20s\n",
                    r2i_terminal_dim(&p->terminal),
                    (double)(r2i_clock_ns() - c->think_start_ns) * 1e-9, c->n_thought_pieces,
                    r2i_terminal_plain(&p->terminal), "");
        c->is_thinking_shown = false;
    }
    r2i_terminal_write(&p->terminal, false, text);
    c->is_line_open = text[strlen(text) - 1] != '\n';
    (void)fflush(stdout);
}

static void begin_answer(r2i_chat *c) {
    r2i_buffer_clear(&c->answer);
    c->think_start_ns = c->think_shown_ns = 0;
    c->n_thought_pieces = 0;
    c->is_thinking_shown = c->is_line_open = false;
}

static r2_status write_answer(r2i_chat *c, r2_error *err) {
    r2_prompt *prompt;
    r2_sequence_options options;
    R2I_TRY(render_chat(c, true, &prompt, err));
    r2i_session_sequence_options(&c->session, &options);
    options.think = c->effort != R2I_EFFORT_OFF ? R2_THINK_AUTO : R2_THINK_OFF;
    options.think_budget = r2i_think_budget(c->effort, c->budget);
    options.sampling.seed += (uint64_t)c->n_turns; /* an answer again is another answer */
    const r2_status status = r2i_session_answer(&c->session, prompt->tokens, prompt->n_tokens,
                                                &options, on_text, c, &c->last, err);
    r2_prompt_destroy(prompt);
    return status;
}

static const char *answer_text(const r2i_chat *c) {
    return c->answer.n_bytes > 0 ? c->answer.bytes : "";
}

static void print_answer_json(r2i_chat *c) {
    (void)r2i_program_print_json(
        c->session.program,
        json_pack("{s:s, s:s, s:i, s:i, s:i, s:i, s:o}", "text", answer_text(c), "finish_reason",
                  r2i_finish_name(c->last.finish), "prompt_tokens", c->last.n_prompt,
                  "cached_tokens", c->last.n_cached, "completion_tokens", c->last.n_generated,
                  "thinking_tokens", c->last.n_thinking, "timings", r2i_answer_timings(&c->last)));
}

/* Answers the last message; what was written before a stop stays in the conversation. */
static r2_status answer(r2i_chat *c, r2_error *err) {
    r2i_program *p = c->session.program;
    begin_answer(c);
    const r2_status status = write_answer(c, err);
    if (c->is_thinking_shown) fprintf(stderr, "%s\n", r2i_terminal_plain(&p->terminal));
    if (c->is_line_open || (status == R2_OK && c->answer.n_bytes == 0 && !p->options->wants_json))
        (void)fputc('\n', stdout);
    (void)fflush(stdout);
    if (status != R2_OK) return status;
    c->n_turns++;
    if (p->options->wants_json) print_answer_json(c);
    if (p->options->shows_timings || p->options->is_verbose) r2i_answer_print_timings(p, &c->last);
    if (c->last.was_stopped) r2i_program_note(p, "[stopped]");
    if (c->last.finish == R2_FINISH_LENGTH)
        r2i_program_note(p, "[cut: the limit of tokens is reached]");
    return r2i_conversation_add(&c->conversation, "assistant", answer_text(c),
                                strlen(answer_text(c)), err);
}

static void answer_or_forget(r2i_chat *c, size_t n_before) {
    r2_error err = { R2_OK, "" };
    const r2_status status = answer(c, &err);
    if (status == R2_OK) return;
    r2i_conversation_cut(&c->conversation, n_before);
    r2i_chat_fail(c, status, &err);
    if (status == R2_E_FULL)
        r2i_program_hint(c->session.program,
                         "      the message is forgotten; /undo, /clear or a larger -c make room");
}

/* ---- lines ---- */

static const char quotes[] = "\"\"\"";

/* The rest of a message that began with three quotation marks. */
static r2i_line_result read_block(r2i_chat *c, r2_error *err) {
    const char *text = c->line.bytes + strlen(quotes);
    for (;;) {
        const char *end = strstr(text, quotes);
        const size_t n_bytes = end != NULL ? (size_t)(end - text) : strlen(text);
        if (r2i_buffer_append(&c->message, text, n_bytes, err) != R2_OK) return R2I_LINE_END;
        if (end != NULL) return R2I_LINE_READ;
        if (c->message.n_bytes > 0 && r2i_buffer_append(&c->message, "\n", 1, err) != R2_OK)
            return R2I_LINE_END;
        const r2i_line_result result = r2i_line_input_read(c->input, ". ", &c->line);
        if (result != R2I_LINE_READ) return result;
        if (r2i_prompt_check(&c->line, err) != R2_OK) return R2I_LINE_END;
        text = c->line.bytes != NULL ? c->line.bytes : "";
    }
}

static void take_message(r2i_chat *c) {
    r2_error err = { R2_OK, "" };
    const size_t n_before = r2i_conversation_count(&c->conversation);
    r2_status status = R2_OK;
    if (c->attached.n_bytes > 0) {
        status = r2i_buffer_append(&c->attached, c->message.bytes, c->message.n_bytes, &err);
        if (status == R2_OK)
            status = r2i_conversation_add(&c->conversation, "user", c->attached.bytes,
                                          c->attached.n_bytes, &err);
        r2i_buffer_clear(&c->attached);
    } else {
        status = r2i_conversation_add(&c->conversation, "user", c->message.bytes,
                                      c->message.n_bytes, &err);
    }
    if (status != R2_OK)
        r2i_chat_fail(c, status, &err);
    else
        answer_or_forget(c, n_before);
}

static void take_line(r2i_chat *c) {
    const char *line = c->line.n_bytes > 0 ? c->line.bytes : "";
    r2_error err = { R2_OK, "" };
    line += strspn(line, " \t");
    r2i_buffer_clear(&c->message);
    if (r2i_prompt_check(&c->line, &err) != R2_OK) {
        r2i_chat_fail(c, err.code, &err);
        return;
    }
    if (line[0] == '\0') return;
    if (line[0] == '/' && line[1] != '/') {
        const size_t n_before = r2i_conversation_count(&c->conversation);
        if (r2i_chat_run_command(c, line)) answer_or_forget(c, n_before);
        return;
    }
    r2i_line_result result = R2I_LINE_READ;
    if (strncmp(line, quotes, strlen(quotes)) == 0 && line == c->line.bytes)
        result = read_block(c, &err);
    else if (r2i_buffer_append_text(&c->message, line + (line[0] == '/'), &err) != R2_OK)
        result = R2I_LINE_END;
    if (result == R2I_LINE_READ && c->message.n_bytes > 0) take_message(c);
    if (err.text[0] != '\0') r2i_chat_fail(c, err.code, &err);
}

/* Ctrl-C at the prompt: the first one warns, the second one ends. */
static int talk(r2i_chat *c) {
    bool was_interrupted = false;
    while (!c->is_over) {
        const r2i_line_result result = r2i_line_input_read(c->input, "> ", &c->line);
        if (result == R2I_LINE_END) break;
        const int number = r2i_signals_pending();
        r2i_signals_clear();
        if (result == R2I_LINE_INTERRUPTED) {
            if (number != 2 || was_interrupted || !c->session.program->terminal.is_in_tty)
                return R2I_EXIT_SIGNAL + number;
            was_interrupted = true;
            r2i_program_note(c->session.program, "\nCtrl-C again or Ctrl-D ends");
            continue;
        }
        was_interrupted = false;
        take_line(c);
        const int stopped = r2i_signals_pending();
        if (stopped != 0 && (stopped != 2 || !c->session.program->terminal.is_in_tty))
            return R2I_EXIT_SIGNAL + stopped;
        r2i_signals_clear();
    }
    if (c->session.program->terminal.is_in_tty) (void)fputc('\n', stderr);
    return c->exit_code;
}

static r2_status open_all(r2i_chat *c, r2i_program *p, r2_error *err) {
    const r2i_options *o = p->options;
    const char *path, *name = o->model;
    if (p->arguments.n_words > 0 && !p->arguments.has_model_flag) name = p->arguments.words[0];
    R2I_TRY(r2i_model_resolve(&path, p, name, err));
    R2I_TRY(r2i_session_open_model(&c->session, p, path, err));
    if (!c->session.info.has_chat_template) {
        return r2i_fail(err, R2_E_UNSUPPORTED,
                        "%.150s: no chat template; `r2lm run --raw` goes on with a text", path);
    }
    R2I_TRY(r2i_session_open_engine(
        &c->session, &(r2_engine_options){ .n_context = o->ctx_size, .n_sequences = 2 }, err));
    R2I_TRY(r2i_conversation_init(&c->conversation, err));
    if (o->load != NULL) R2I_TRY(r2i_conversation_load(&c->conversation, o->load, err));
    if (o->system != NULL) R2I_TRY(r2i_conversation_set_system(&c->conversation, o->system, err));
    c->input = r2i_line_input_open(p);
    return c->input != NULL ? R2_OK : r2i_fail(err, R2_E_NOMEM, "no memory for lines");
}

/* The name comes from the file. */
static void greet(const r2i_chat *c) {
    char name[128];
    (void)snprintf(name, sizeof name, "%s", c->session.info.name);
    r2i_text_strip_controls(name);
    r2i_program_note(c->session.program, "%s; /help lists commands, Ctrl-D ends", name);
}

int r2i_chat_command(r2i_program *p) {
    r2i_chat c = { .session = { .program = p },
                   .effort = (r2i_effort)p->options->think,
                   .budget = p->options->budget };
    r2_error err = { R2_OK, "" };
    r2i_buffer *buffers[] = { &c.line, &c.message, &c.answer, &c.attached };
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        r2i_prompt_buffer_init(buffers[i], p);
    r2i_signals_catch();
    const r2_status status = open_all(&c, p, &err);
    int code;
    if (status == R2_OK) {
        if (p->terminal.is_in_tty) greet(&c);
        code = talk(&c);
    } else {
        code = r2i_program_fail(p, status, &err);
        if (status == R2_E_NOT_FOUND) r2i_models_hint(p);
    }
    if (c.input != NULL) r2i_line_input_close(c.input);
    r2i_conversation_destroy(&c.conversation);
    r2i_session_close(&c.session);
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        r2i_buffer_destroy(buffers[i]);
    return code;
}

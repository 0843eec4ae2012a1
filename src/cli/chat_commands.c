/* chat_commands.c - what begins with a slash in `r2lm chat`. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/failure.h"
#include "cli/adapter_choice.h"
#include "cli/chat_state.h"
#include "cli/text_edit.h"
#include "cli/text_input.h"

typedef struct {
    const char *name, *arguments, *help;
    bool (*run)(r2i_chat *chat, const char *argument); /* true: answer now */
} chat_command;

static bool say(const r2i_chat *c, const char *text) {
    r2i_program_note(c->session.program, "%s", text);
    return false;
}

/* Reports failure or says `done`. */
static bool report(r2i_chat *c, r2_status status, const r2_error *err, const char *done) {
    if (status != R2_OK)
        r2i_chat_fail(c, status, err);
    else
        (void)say(c, done);
    return false;
}

static bool lacks(r2i_chat *c, const char *argument, const char *what) {
    r2_error err;
    if (argument[0] != '\0') return false;
    r2i_chat_fail(c, r2i_fail(&err, R2_E_ARGUMENT, "expected %s behind the command", what), &err);
    return true;
}

static bool run_think(r2i_chat *c, const char *argument) {
    static const char *const efforts[] = { "low", "high", "max" };
    r2i_effort effort = R2I_EFFORT_MODEL;
    char *end;
    long budget = 0;
    r2_error err;
    for (int i = 0; i < 3; i++) {
        if (strcmp(argument, efforts[i]) == 0) effort = (r2i_effort)(R2I_EFFORT_LOW + i);
    }
    if (effort == R2I_EFFORT_MODEL) {
        budget = strtol(argument, &end, 10);
        if (*end != '\0' || budget < 0 || budget > 1 << 24) {
            return report(c,
                          r2i_fail(&err, R2_E_ARGUMENT,
                                   "/think: expected a number of tokens, low, high or max, found "
                                   "\"%.60s\"",
                                   argument),
                          &err, "");
        }
    }
    c->effort = effort;
    c->budget = (int32_t)budget;
    if (!c->session.info.can_think) return say(c, "this model has no tokens for thinking");
    const int32_t most = r2i_think_budget(effort, c->budget);
    if (most > 0)
        r2i_program_note(c->session.program, "thinks, at most %d tokens", most);
    else
        r2i_program_note(c->session.program, "thinks, without a limit");
    return false;
}

static bool run_nothink(r2i_chat *c, const char *argument) {
    (void)argument;
    c->effort = R2I_EFFORT_OFF;
    return say(c, "does not think");
}

static bool run_read(r2i_chat *c, const char *argument) {
    r2_error err = { R2_OK, "" };
    if (lacks(c, argument, "a file")) return false;
    const size_t before = c->attached.n_bytes;
    const r2_status status = r2i_file_append(&c->attached, argument, &err);
    if (status == R2_OK && r2i_buffer_append_text(&c->attached, "\n\n", &err) == R2_OK) {
        r2i_program_note(c->session.program, "%zu bytes go in front of the next message",
                         c->attached.n_bytes - before - 2);
        return false;
    }
    c->attached.n_bytes = before;
    return report(c, status, &err, "");
}

static bool run_system(r2i_chat *c, const char *argument) {
    r2_error err = { R2_OK, "" };
    return report(c, r2i_conversation_set_system(&c->conversation, argument, &err), &err,
                  argument[0] != '\0' ? "system message set" : "system message removed");
}

static bool run_save(r2i_chat *c, const char *argument) {
    r2_error err = { R2_OK, "" };
    if (lacks(c, argument, "a file")) return false;
    return report(c, r2i_conversation_save(&c->conversation, argument, &err), &err, "saved");
}

static bool run_load(r2i_chat *c, const char *argument) {
    r2_error err = { R2_OK, "" };
    if (lacks(c, argument, "a file")) return false;
    return report(c, r2i_conversation_load(&c->conversation, argument, &err), &err, "loaded");
}

static bool is_role(const r2i_chat *c, size_t i, const char *role) {
    const char *found = r2i_conversation_role(&c->conversation, i);
    return found != NULL && strcmp(found, role) == 0;
}

static bool run_regen(r2i_chat *c, const char *argument) {
    const size_t n = r2i_conversation_count(&c->conversation);
    (void)argument;
    if (n > 0 && is_role(c, n - 1, "assistant")) r2i_conversation_cut(&c->conversation, n - 1);
    const size_t left = r2i_conversation_count(&c->conversation);
    if (left > 0 && is_role(c, left - 1, "user")) return true;
    return say(c, "there is nothing to answer again");
}

static bool run_undo(r2i_chat *c, const char *argument) {
    size_t n = r2i_conversation_count(&c->conversation);
    (void)argument;
    while (n > 0 && !is_role(c, n - 1, "user"))
        n--;
    if (n == 0) return say(c, "there is nothing to take back");
    r2i_conversation_cut(&c->conversation, n - 1);
    return say(c, "the last question and its answer are forgotten");
}

/* A line per message, as far as it goes. */
static bool run_list(r2i_chat *c, const char *argument) {
    enum { SHOWN_BYTES = 60 };
    const size_t n = r2i_conversation_count(&c->conversation);
    (void)argument;
    for (size_t i = 0; i < n; i++) {
        const char *text = r2i_conversation_content(&c->conversation, i);
        char shown[SHOWN_BYTES + 1];
        size_t n_bytes = strcspn(text, "\n");
        const bool is_cut = text[n_bytes] != '\0' || n_bytes > SHOWN_BYTES;
        if (n_bytes > SHOWN_BYTES) n_bytes = SHOWN_BYTES;
        while (n_bytes > 0 && ((unsigned char)text[n_bytes] & 0xc0) == 0x80)
            n_bytes--; /* not inside a character */
        memcpy(shown, text, n_bytes);
        shown[n_bytes] = '\0';
        r2i_text_strip_controls(shown);
        r2i_program_note(c->session.program, "%3zu %-9s %s%s", i + 1,
                         r2i_conversation_role(&c->conversation, i), shown, is_cut ? " ..." : "");
    }
    return n > 0 ? false : say(c, "nothing was said yet");
}

/* Takes the last question back and asks the text given, or what the user makes of the old one. */
static bool run_edit(r2i_chat *c, const char *argument) {
    r2_error err = { R2_OK, "" };
    size_t n = r2i_conversation_count(&c->conversation);
    r2i_buffer *text = &c->message;
    while (n > 0 && !is_role(c, n - 1, "user"))
        n--;
    if (n == 0) return say(c, "there is nothing to edit");
    r2i_buffer_clear(text);
    r2_status status = r2i_buffer_append_text(
        text, argument[0] != '\0' ? argument : r2i_conversation_content(&c->conversation, n - 1),
        &err);
    if (status == R2_OK && argument[0] == '\0') status = r2i_text_edit(text, &err);
    if (status == R2_OK) status = r2i_prompt_check(text, &err);
    if (status == R2_OK && text->n_bytes == 0) return say(c, "an empty text: nothing is changed");
    if (status != R2_OK) return report(c, status, &err, "");
    r2i_conversation_cut(&c->conversation, n - 1);
    status = r2i_conversation_add(&c->conversation, "user", text->bytes, text->n_bytes, &err);
    return status == R2_OK ? true : report(c, status, &err, "");
}

static bool run_ctx(r2i_chat *c, const char *argument) {
    const int32_t n = r2i_chat_count_tokens(c), wish = c->session.program->options->ctx_size;
    const int32_t n_context = wish > 0                            ? wish
                              : c->session.info.n_context < 32768 ? c->session.info.n_context
                                                                  : 32768;
    (void)argument;
    r2i_program_note(c->session.program, "%d of %d tokens used (%.0f %%)", n < 0 ? 0 : n, n_context,
                     n < 0 ? 0 : 100.0 * n / n_context);
    return false;
}

static bool run_stats(r2i_chat *c, const char *argument) {
    r2_engine_stats stats;
    (void)argument;
    r2_engine_get_stats(c->session.engine, &stats);
    r2i_answer_print_timings(c->session.program, &c->last);
    r2i_program_note(c->session.program,
                     "%lld answers, %lld tokens read, %lld from the cache, %lld written; kept for "
                     "the next question: %d full pages of %d tokens, of %d in the cache",
                     (long long)c->n_turns, (long long)stats.n_prompt_tokens,
                     (long long)stats.n_cached_tokens, (long long)stats.n_generated_tokens,
                     stats.n_pages_used + stats.n_pages_kept, stats.page_tokens, stats.n_pages);
    return false;
}

static bool run_clear(r2i_chat *c, const char *argument) {
    (void)argument;
    r2i_conversation_clear(&c->conversation);
    r2i_buffer_clear(&c->attached);
    return say(c, "forgotten");
}

static bool run_lora(r2i_chat *c, const char *argument) {
    r2_error err = { R2_OK, "" };
    const bool is_off = strcmp(argument, "off") == 0;
    if (lacks(c, argument, "PATH[:SCALE] or off")) return false;
    return report(c, r2i_session_choose_adapter(&c->session, is_off ? NULL : argument, &err), &err,
                  is_off ? "the model alone answers" : "the next answer uses this adapter");
}

static bool run_exit(r2i_chat *c, const char *argument) {
    (void)argument;
    c->is_over = true;
    return false;
}

static bool run_help(r2i_chat *chat, const char *argument);

static const chat_command commands[] = {
    { "help", "", "this list", run_help },
    { "think", "[N]", "let the model think, at most N tokens, or low, high, max", run_think },
    { "nothink", "", "do not let it think", run_nothink },
    { "read", "FILE", "put a file's text in front of the next message", run_read },
    { "system", "[TEXT]", "set the system message, or remove it", run_system },
    { "save", "FILE", "keep the conversation in a file", run_save },
    { "load", "FILE", "go on with a conversation from a file", run_load },
    { "regen", "", "answer the last question again", run_regen },
    { "edit", "[TEXT]", "ask the last question otherwise: as TEXT, or as changed in $EDITOR",
      run_edit },
    { "list", "", "what was said", run_list },
    { "undo", "", "forget the last question and its answer", run_undo },
    { "ctx", "", "how much of the context is used", run_ctx },
    { "stats", "", "speed and cache", run_stats },
    { "clear", "", "forget the conversation", run_clear },
    { "lora", "PATH[:SCALE]|off", "use a LoRA adapter from the next answer on", run_lora },
    { "exit", "", "end (also Ctrl-D)", run_exit },
    { "quit", "", "end", run_exit },
};

static bool run_help(r2i_chat *c, const char *argument) {
    (void)argument;
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        r2i_program_note(c->session.program, "/%-8s %-7s %s", commands[i].name,
                         commands[i].arguments, commands[i].help);
    }
    return say(c, "\"\"\" begins and ends text of several lines; // begins a message with a slash; "
                  "Ctrl-C stops the answer, Ctrl-T ends the thoughts");
}

static const chat_command *find_command(const char *name, size_t n_bytes) {
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        if (strlen(commands[i].name) == n_bytes && memcmp(commands[i].name, name, n_bytes) == 0)
            return &commands[i];
    }
    return NULL;
}

static const char *nearest(const char *name) {
    const char *best = "help";
    int best_distance = 4;
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        const int distance = r2i_word_distance(name, commands[i].name);
        if (distance >= best_distance || 2 * distance > (int)strlen(name)) continue;
        best_distance = distance;
        best = commands[i].name;
    }
    return best;
}

bool r2i_chat_run_command(r2i_chat *c, const char *line) {
    const char *name = line + 1;
    const size_t n_bytes = strcspn(name, " \t");
    const chat_command *command = find_command(name, n_bytes);
    if (command != NULL) {
        const char *argument = name + n_bytes;
        return command->run(c, argument + strspn(argument, " \t"));
    }
    char word[40];
    r2_error err;
    (void)snprintf(word, sizeof word, "%.*s",
                   (int)(n_bytes < sizeof word ? n_bytes : sizeof word - 1), name);
    r2i_chat_fail(c,
                  r2i_fail(&err, R2_E_ARGUMENT, "/%s: no such command; did you mean /%s?", word,
                           nearest(word)),
                  &err);
    return false;
}

/* Tool calls by the public API alone: told, enforced, written, read back, answered. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "r2lm/tools.h"
#include "toy_engine.h"

enum { CAP = 1024 };

static const char tools_text[] =
    "[{\"type\":\"function\",\"function\":{\"name\":\"turn\",\"parameters\":{\"type\":\"object\","
    "\"properties\":"
    "{\"to\":{\"enum\":[\"left\",\"right\"]}},\"required\":[\"to\"]}}}]";

static r2_prompt *render(const r2_chat_message *messages, int32_t n) {
    r2_prompt *prompt;
    r2_error err;
    const r2_chat_options options = { .think = R2_THINK_OFF, .tools_json = tools_text };
    must(r2_chat_render(&prompt, toy.model, messages, n, &options, &err), &err);
    return prompt;
}

typedef struct {
    char content[CAP], name[CAP], arguments[CAP];
    int32_t n_calls;
} answer;

static void take(answer *a, const r2_answer_piece *pieces, int32_t n) {
    for (int32_t i = 0; i < n; i++) {
        char *to = pieces[i].kind == R2_PIECE_CONTENT ? a->content
                   : pieces[i].kind == R2_PIECE_CALL  ? a->name
                                                      : a->arguments;
        assert_true(strlen(to) + pieces[i].n_bytes < CAP);
        strncat(to, pieces[i].text, pieces[i].n_bytes);
        assert_true(pieces[i].kind == R2_PIECE_CONTENT ? pieces[i].call == -1
                                                       : pieces[i].call == 0);
    }
}

static void write_answer(const r2_prompt *prompt, r2_grammar_matcher *matcher, answer *a) {
    const r2_sequence_options options = { .mask = matcher != NULL ? r2_grammar_mask : NULL,
                                          .user = matcher,
                                          .think = R2_THINK_OFF,
                                          .max_new_tokens = 200,
                                          .sampling = { .temperature = 0.5f, .seed = 4 } };
    r2_generated tokens[256];
    const r2_answer_piece *pieces;
    r2_tool_parser *parser;
    r2_sequence *s;
    r2_error err;
    int32_t n_pieces;
    *a = (answer){ .n_calls = 0 };
    must(r2_tool_parser_create(&parser, toy.model, tools_text, &err), &err);
    must(r2_sequence_create(&s, toy.engine, &options, &err), &err);
    must(r2_sequence_append(s, prompt->tokens, prompt->n_tokens, &err), &err);
    run_toy();
    const int32_t n = r2_sequence_read(s, tokens, 256);
    for (int32_t i = 0; i < n; i++) {
        must(r2_tool_parser_feed(parser, tokens[i].token, &pieces, &n_pieces, &err), &err);
        take(a, pieces, n_pieces);
    }
    must(r2_tool_parser_finish(parser, &pieces, &n_pieces, &err), &err);
    take(a, pieces, n_pieces);
    a->n_calls = r2_tool_parser_n_calls(parser);
    r2_sequence_destroy(s);
    r2_tool_parser_destroy(parser);
}

static void goes_round(void **state) {
    (void)state;
    r2_chat_message messages[3] = { { .role = "user", .content = "Where?" } };
    const r2_tool_options options = { .tools_json = tools_text,
                                      .choice = R2_TOOLS_REQUIRED,
                                      .is_single = true };
    char calls[2 * CAP + 128];
    r2_grammar *grammar;
    r2_grammar_matcher *matcher;
    r2_error err;
    answer a;
    must(r2_grammar_from_tools(&grammar, toy.model, &options, &err), &err);
    must(r2_grammar_matcher_create(&matcher, grammar, &err), &err);
    r2_prompt *prompt = render(messages, 1);
    assert_non_null(strstr(prompt->text, "\"turn\"")); /* the toy's template knows no tools */
    write_answer(prompt, matcher, &a);
    assert_int_equal(a.n_calls, 1);
    assert_string_equal(a.name, "turn");
    assert_string_equal(a.content, "");
    assert_true(strstr(a.arguments, "\"left\"") != NULL ||
                strstr(a.arguments, "\"right\"") != NULL);
    /* as an object here; as a text it would be quoted */
    (void)snprintf(
        calls, sizeof calls,
        "[{\"id\":\"1\",\"type\":\"function\",\"function\":{\"name\":\"%s\",\"arguments\":%s}}]",
        a.name, a.arguments);
    messages[1] = (r2_chat_message){ .role = "assistant", .tool_calls_json = calls };
    messages[2] = (r2_chat_message){ .role = "tool", .content = "done", .tool_call_id = "1" };
    r2_prompt *next = render(messages, 3);
    assert_memory_equal(next->text, prompt->text, 20);
    assert_non_null(
        strstr(next->text, "<tool_call>\n{\"name\": \"turn\", \"arguments\": {\"to\": \""));
    assert_non_null(strstr(next->text, "<tool_response>\ndone\n</tool_response>"));
    r2_prompt_destroy(next);
    r2_prompt_destroy(prompt);
    r2_grammar_matcher_destroy(matcher);
    r2_grammar_destroy(grammar);
}

static void leaves_content_alone(void **state) {
    (void)state;
    const r2_chat_message message = { .role = "user", .content = "Hello" };
    r2_grammar *grammar;
    r2_error err;
    answer a;
    must(r2_grammar_from_tools(&grammar, toy.model, &(r2_tool_options){ .tools_json = tools_text },
                               &err),
         &err);
    assert_null(grammar); /* nothing to enforce */
    r2_prompt *prompt = render(&message, 1);
    write_answer(prompt, NULL, &a);
    assert_int_equal(a.n_calls, 0);
    assert_true(strlen(a.content) > 20);
    r2_prompt_destroy(prompt);
}

static void refuses_nonsense(void **state) {
    (void)state;
    r2_grammar *grammar;
    r2_tool_parser *parser;
    r2_prompt *prompt;
    r2_error err;
    r2_tool_options options = { .tools_json = tools_text,
                                .choice = R2_TOOLS_REQUIRED,
                                .name = "walk" };
    assert_int_equal(r2_grammar_from_tools(&grammar, toy.model, &options, &err), R2_E_NOT_FOUND);
    options = (r2_tool_options){ .tools_json = "{}", .choice = R2_TOOLS_REQUIRED };
    assert_int_equal(r2_grammar_from_tools(&grammar, toy.model, &options, &err), R2_E_FORMAT);
    options.tools_json = "[{\"type\": \"function\"}]";
    assert_int_equal(r2_grammar_from_tools(&grammar, toy.model, &options, &err), R2_E_FORMAT);
    assert_int_equal(r2_tool_parser_create(&parser, toy.model, "[", &err), R2_E_FORMAT);
    assert_null(parser);
    const r2_chat_message message = { .role = "assistant", .tool_calls_json = "[{" };
    assert_int_equal(r2_chat_render(&prompt, toy.model, &message, 1, NULL, &err), R2_E_FORMAT);
    assert_non_null(strstr(err.text, "message 0"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goes_round),
        cmocka_unit_test(leaves_content_alone),
        cmocka_unit_test(refuses_nonsense),
    };
    return cmocka_run_group_tests(tests, open_toy, close_toy);
}

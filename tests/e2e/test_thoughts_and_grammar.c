/* test_thoughts_and_grammar.c - thoughts, blank lines and an answer held to a grammar, in one text; drafts
 * change none of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/drafter.h"
#include "r2lm/text.h"
#include "toy_engine.h"

enum { CAP = 128, N_NEW = 48, TEXT_BYTES = 1024 };

static r2_token close_token, end_token, line_token;

static int set_up(void **state) {
    r2_error err;
    int32_t n;
    (void)open_toy(state);
    close_token = r2_token_find(toy.model, "</think>");
    end_token = r2_token_find(toy.model, "<|im_end|>");
    must(r2_tokenize(toy.model, "\n", 1, 0, &line_token, 1, &n, &err), &err);
    return close_token >= 0 && end_token >= 0 ? 0 : -1;
}

typedef struct {
    char answer[TEXT_BYTES]; /* what is no thought, blank lines included */
    int32_t n_thoughts, n;
    r2_token tokens[CAP];
    r2_finish finish;
} outcome;

typedef struct {
    r2_sequence_options options;
    r2_think_mode prompt; /* AUTO: it ends in an open block */
    const char *gbnf;
} scene;

static void read_all(r2_sequence *s, outcome *out) {
    r2_generated items[CAP];
    r2_detokenizer *texts;
    r2_sequence_status status;
    r2_error err;
    must(r2_detokenizer_create(&texts, toy.model, false, &err), &err);
    out->n = r2_sequence_read(s, items, CAP);
    out->answer[0] = '\0';
    for (int32_t i = 0; i < out->n; i++) {
        out->tokens[i] = items[i].token;
        out->n_thoughts += items[i].is_thinking;
        if (items[i].is_thinking) continue;
        const size_t n = strlen(out->answer);
        (void)snprintf(out->answer + n, sizeof out->answer - n, "%s",
                       r2_detokenizer_feed(texts, items[i].token));
    }
    r2_sequence_get_status(s, &status);
    out->finish = status.finish;
    r2_detokenizer_destroy(texts);
}

/* Half of the guesses are what will be drawn. */
static int32_t propose(void *user, r2_sequence *s, int32_t cap, int32_t *out, int32_t *grade) {
    const outcome *truth = user;
    r2_sequence_status status;
    int32_t n = 0;
    r2_sequence_get_status(s, &status);
    for (; n < cap && status.n_generated + n < truth->n; n++)
        out[n] = truth->tokens[status.n_generated + n] + (n % 4 == 3);
    *grade = 0;
    return n;
}

static void play_once(const scene *of, int32_t n_draft, outcome *out) {
    const r2_chat_message message = { .role = "user", .content = "Hello" };
    r2_sequence_options options = of->options;
    r2_grammar *grammar;
    r2_grammar_matcher *matcher;
    r2_prompt *prompt;
    r2_sequence *s;
    r2_error err;
    *out = (outcome){ .n = 0 };
    must(r2_grammar_from_gbnf(&grammar, toy.model, of->gbnf, strlen(of->gbnf), &err), &err);
    must(r2_grammar_matcher_create(&matcher, grammar, &err), &err);
    must(r2_chat_render(&prompt, toy.model, &message, 1, &(r2_chat_options){ .think = of->prompt },
                        &err),
         &err);
    options.mask = r2_grammar_mask;
    options.user = matcher;
    options.n_draft = n_draft;
    if (options.max_new_tokens == 0) options.max_new_tokens = N_NEW;
    must(r2_sequence_create(&s, toy.engine, &options, &err), &err);
    must(r2_sequence_append(s, prompt->tokens, prompt->n_tokens, &err), &err);
    run_toy();
    read_all(s, out);
    r2_sequence_destroy(s);
    r2_prompt_destroy(prompt);
    r2_grammar_matcher_destroy(matcher);
    r2_grammar_destroy(grammar);
}

static void play(const scene *of, outcome *out) {
    outcome again;
    const r2i_drafter drafter = { .propose = propose, .user = out, .is_eager = true };
    play_once(of, 0, out);
    r2i_engine_set_drafter(toy.engine, &drafter);
    play_once(of, 7, &again);
    r2i_engine_set_drafter(toy.engine, NULL);
    assert_int_equal(again.n, out->n);
    assert_memory_equal(again.tokens, out->tokens, (size_t)out->n * sizeof *out->tokens);
    assert_int_equal(again.finish, out->finish);
}

/* Two newlines, no more; where the grammar cannot begin with one. */
static void test_blank_lines_behind_thoughts(void **state) {
    const r2_logit_bias wish = { line_token, 1000.0f };
    scene s = { .options = { .sampling = { .biases = &wish, .n_biases = 1 }, .think_budget = 4 },
                .gbnf = "root ::= \"yes\" | \"no\"" };
    outcome out;
    (void)state;
    play(&s, &out);
    if (strcmp(out.answer, "\n\nyes") != 0) assert_string_equal(out.answer, "\n\nno");
    assert_int_equal(out.finish, R2_FINISH_END);
    assert_int_equal(out.n_thoughts, 5); /* four and the marker */
    s.options.think_budget = -1;         /* closed before the grammar was asked */
    play(&s, &out);
    assert_int_equal(strspn(out.answer, "\n"), 2);
    s.prompt = R2_THINK_OFF; /* no thoughts: the answer stands at once */
    play(&s, &out);
    assert_int_equal(strspn(out.answer, "\n"), 0);
}

/* A grammar that speaks of newlines itself keeps them all, and no others come. */
static void test_newlines_of_the_grammar(void **state) {
    const r2_logit_bias wish = { line_token, 1000.0f };
    const scene s = { .options = { .sampling = { .biases = &wish, .n_biases = 1 },
                                   .think_budget = 4 },
                      .gbnf = "root ::= \"\\n\\n\\n\\n\" \"yes\"" };
    outcome out;
    (void)state;
    play(&s, &out);
    assert_string_equal(out.answer, "\n\n\n\nyes");
}

/* A model that ends its text within its thoughts would leave no answer. */
static void test_no_end_within_thoughts(void **state) {
    const r2_logit_bias wish = { end_token, 1000.0f };
    scene s = { .options = { .sampling = { .biases = &wish, .n_biases = 1 }, .think_budget = 9 },
                .gbnf = "root ::= [a-f]{12}" };
    outcome out;
    (void)state;
    play(&s, &out);
    assert_int_equal(out.n_thoughts, 10);
    assert_int_equal(strlen(out.answer), 12);
    assert_int_equal(out.finish, R2_FINISH_END);
    s.options.think_budget = 0; /* never closed: no answer rather than a free one */
    play(&s, &out);
    assert_string_equal(out.answer, "");
    assert_int_equal(out.finish, R2_FINISH_LENGTH);
}

/* Blank lines, thoughts and the grammar come again after a rewind to the prompt. */
static void test_rewind(void **state) {
    const r2_logit_bias wish = { line_token, 1000.0f };
    r2_sequence_options options = { .sampling = { .biases = &wish, .n_biases = 1 },
                                    .think_budget = 3,
                                    .max_new_tokens = N_NEW };
    const r2_chat_message message = { .role = "user", .content = "Hello" };
    static const char gbnf[] = "root ::= \"yes\"";
    r2_prompt *prompt;
    r2_grammar *grammar;
    r2_grammar_matcher *matcher;
    r2_sequence *s;
    r2_error err;
    (void)state;
    must(r2_grammar_from_gbnf(&grammar, toy.model, gbnf, sizeof gbnf - 1, &err), &err);
    must(r2_grammar_matcher_create(&matcher, grammar, &err), &err);
    assert_true(r2_grammar_matcher_skips_newlines(matcher));
    assert_true(r2_grammar_memory(grammar) > 1000);
    options.mask = r2_grammar_mask;
    options.user = matcher;
    must(r2_chat_render(&prompt, toy.model, &message, 1, NULL, &err), &err);
    must(r2_sequence_create(&s, toy.engine, &options, &err), &err);
    must(r2_sequence_append(s, prompt->tokens, prompt->n_tokens, &err), &err);
    for (int round = 0; round < 3; round++) {
        outcome out = { .n = 0 };
        for (int32_t n_active = 1; n_active > 0;)
            must(r2_engine_step(toy.engine, &n_active, &err), &err);
        read_all(s, &out);
        assert_string_equal(out.answer, "\n\nyes");
        must(r2_sequence_rewind(s, prompt->n_tokens, &err), &err);
    }
    r2_sequence_destroy(s);
    r2_prompt_destroy(prompt);
    r2_grammar_matcher_destroy(matcher);
    r2_grammar_destroy(grammar);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blank_lines_behind_thoughts),
        cmocka_unit_test(test_newlines_of_the_grammar),
        cmocka_unit_test(test_no_end_within_thoughts),
        cmocka_unit_test(test_rewind),
    };
    return cmocka_run_group_tests(tests, set_up, close_toy);
}

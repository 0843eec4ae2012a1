/* test_thinking.c - thinking budgets are exact to the token, whatever the model would rather do.
 *
 * The toy's template opens a block ("<think>\n"), and the toy never closes it by itself. */
#define _GNU_SOURCE /* mkstemp */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/drafter.h"
#include "r2lm/text.h"
#include "toy_engine.h"

enum { CAP = 256, N_NEW = 48 };

static r2_token open_token, close_token;

static int set_up(void **state) {
    const int code = open_toy(state);
    open_token = r2_token_find(toy.model, "<think>");
    close_token = r2_token_find(toy.model, "</think>");
    return code;
}

typedef struct {
    int32_t n, n_inside, n_opened, close_at; /* close_at: -1: never */
    bool was_forced;
    int32_t n_counted; /* what the engine says */
    r2_generated items[CAP];
} outcome;

static void summarize(r2_sequence *s, outcome *out) {
    r2_sequence_status status;
    out->n = r2_sequence_read(s, out->items, CAP);
    out->n_inside = out->n_opened = 0;
    out->close_at = -1;
    for (int32_t i = 0; i < out->n; i++) {
        const r2_generated *g = &out->items[i];
        if (g->token == open_token)
            out->n_opened++;
        else if (g->token == close_token && out->close_at < 0)
            out->close_at = i;
        else if (g->is_thinking && g->token != close_token)
            out->n_inside++;
    }
    r2_sequence_get_status(s, &status);
    out->was_forced = status.is_think_cut;
    out->n_counted = status.n_thinking;
}

/* Guesses what was drawn without guesses, every fifth time something else; what comes behind a budget
 * is guessed like any other. */
static int32_t propose(void *user, r2_sequence *s, int32_t cap, int32_t *out, int32_t *grade) {
    const outcome *truth = user;
    r2_sequence_status status;
    int32_t n = 0;
    r2_sequence_get_status(s, &status);
    for (; n < cap && status.n_generated + n < truth->n; n++) {
        const r2_token token = truth->items[status.n_generated + n].token;
        out[n] = (status.n_generated + n) % 5 == 4 ? (token + 1) % 100 : token;
    }
    *grade = 0;
    return n;
}

static void go_once(const r2_prompt *prompt, const r2_sequence_options *options, outcome *out) {
    r2_error err;
    r2_sequence *s;
    must(r2_sequence_create(&s, toy.engine, options, &err), &err);
    must(r2_sequence_append(s, prompt->tokens, prompt->n_tokens, &err), &err);
    run_toy();
    summarize(s, out);
    r2_sequence_destroy(s);
}

/* Every run is repeated with drafts, made-up ones and looked-up ones: nothing may change. */
static void go(const r2_prompt *prompt, const r2_sequence_options *options, outcome *out) {
    const r2i_drafter drafter = { .propose = propose, .user = out, .is_eager = true };
    r2_sequence_options drafting = *options;
    outcome again;
    drafting.n_draft = 7;
    go_once(prompt, options, out);
    for (int is_lookup = 0; is_lookup < 2; is_lookup++) {
        r2i_engine_set_drafter(toy.engine, is_lookup ? NULL : &drafter);
        go_once(prompt, &drafting, &again);
        r2i_engine_set_drafter(toy.engine, NULL);
        assert_int_equal(again.n, out->n);
        for (int32_t i = 0; i < out->n; i++) {
            assert_int_equal(again.items[i].token, out->items[i].token);
            assert_int_equal(again.items[i].is_thinking, out->items[i].is_thinking);
            assert_true(again.items[i].logprob == out->items[i].logprob);
        }
        assert_int_equal(again.n_counted, out->n_counted);
        assert_int_equal(again.was_forced, out->was_forced);
    }
}

static r2_prompt *ask(r2_think_mode think) {
    const r2_chat_message message = { .role = "user", .content = "What is <think> 6 * 7?" };
    r2_error err;
    r2_prompt *prompt;
    must(
        r2_chat_render(&prompt, toy.model, &message, 1, &(r2_chat_options){ .think = think }, &err),
        &err);
    return prompt;
}

static void test_prompt_ends_in_an_open_block(void **state) {
    r2_prompt *prompt = ask(R2_THINK_AUTO);
    (void)state;
    assert_true(open_token >= 0 && close_token >= 0);
    assert_true(prompt->n_tokens > 2);
    assert_int_equal(prompt->tokens[prompt->n_tokens - 2], open_token);
    r2_prompt_destroy(prompt);
}

static void test_budget_is_exact(void **state) {
    r2_prompt *prompt = ask(R2_THINK_AUTO);
    outcome out;
    (void)state;
    for (int32_t budget = 1; budget <= 40; budget++) {
        const float temperatures[] = { 0, 1.5f };
        for (int t = 0; t < 2; t++) {
            const r2_sequence_options options = { .sampling = { .temperature = temperatures[t],
                                                                .seed = 5 },
                                                  .max_new_tokens = N_NEW,
                                                  .think_budget = budget,
                                                  .ignores_end = true };
            go(prompt, &options, &out);
            assert_int_equal(out.n, N_NEW);
            assert_true(out.close_at >= 0);
            assert_true(out.n_inside <= budget);
            assert_int_equal(out.n_counted, out.n_inside);
            if (out.was_forced) assert_int_equal(out.close_at, budget);
            if (t == 0) assert_true(out.was_forced); /* greedy, it never closes by itself */
        }
    }
    r2_prompt_destroy(prompt);
}

static void go_on(r2_sequence *s, outcome *out) {
    run_toy();
    summarize(s, out);
}

/* A block goes on after a rewind into it and in a loaded sequence, with what it has used. */
static void test_block_survives_rewind_and_file(void **state) {
    r2_prompt *prompt = ask(R2_THINK_AUTO);
    r2_sequence_options options = { .max_new_tokens = 10, .think_budget = 20, .ignores_end = true };
    char path[] = "/tmp/r2lm-thinking-XXXXXX";
    r2_error err;
    r2_sequence *s, *loaded;
    outcome out;
    (void)state;
    const int file = mkstemp(path);
    assert_true(file >= 0);
    close(file);
    must(r2_sequence_create(&s, toy.engine, &options, &err), &err);
    must(r2_sequence_append(s, prompt->tokens, prompt->n_tokens, &err), &err);
    go_on(s, &out);
    assert_int_equal(out.n_inside, 10);
    must(r2_sequence_save(s, path, &err), &err);
    options.max_new_tokens = 30;
    must(r2_sequence_load(&loaded, toy.engine, path, &options, &err), &err);
    go_on(loaded, &out);
    assert_int_equal(out.close_at, 10);
    must(r2_sequence_rewind(s, prompt->n_tokens + 7, &err), &err);
    go_on(s, &out);
    assert_int_equal(out.n_inside, 10);
    must(r2_sequence_rewind(s, prompt->n_tokens + 15, &err), &err);
    go_on(s, &out);
    assert_int_equal(out.close_at, 5);
    unlink(path);
    r2_sequence_destroy(loaded);
    r2_sequence_destroy(s);
    r2_prompt_destroy(prompt);
}

static void test_no_budget_no_cut(void **state) {
    r2_prompt *prompt = ask(R2_THINK_AUTO);
    const r2_sequence_options options = { .max_new_tokens = N_NEW };
    outcome out;
    (void)state;
    go(prompt, &options, &out);
    assert_int_equal(out.n_inside, N_NEW);
    assert_int_equal(out.close_at, -1);
    assert_false(out.was_forced);
    r2_prompt_destroy(prompt);
}

static void test_negative_budget_closes_at_once(void **state) {
    r2_prompt *prompt = ask(R2_THINK_AUTO);
    const r2_sequence_options options = { .max_new_tokens = 8, .think_budget = -1 };
    outcome out;
    (void)state;
    go(prompt, &options, &out);
    assert_int_equal(out.close_at, 0);
    assert_int_equal(out.n_inside, 0);
    r2_prompt_destroy(prompt);
}

/* The template is told, so the prompt holds an empty block; the options forbid another one. */
static void test_think_off(void **state) {
    r2_prompt *prompt = ask(R2_THINK_OFF);
    const r2_logit_bias wish = { open_token, 1000.0f };
    const r2_sequence_options options = { .sampling = { .biases = &wish, .n_biases = 1 },
                                          .max_new_tokens = 16,
                                          .think = R2_THINK_OFF };
    outcome out;
    (void)state;
    go(prompt, &options, &out);
    assert_int_equal(out.n, 16);
    assert_int_equal(out.n_opened, 0);
    assert_int_equal(out.n_inside, 0);
    r2_prompt_destroy(prompt);
}

/* Off in the options alone: the block that the prompt opened is closed before anything else. */
static void test_think_off_closes_an_open_prompt(void **state) {
    r2_prompt *prompt = ask(R2_THINK_AUTO);
    const r2_sequence_options options = { .max_new_tokens = 8, .think = R2_THINK_OFF };
    outcome out;
    (void)state;
    go(prompt, &options, &out);
    assert_int_equal(out.items[0].token, close_token);
    assert_int_equal(out.n_inside, 0);
    r2_prompt_destroy(prompt);
}

static void allow_only(uint32_t *allowed, int32_t n_vocab, r2_token token) {
    for (int32_t i = 0; i < n_vocab / 32 + 1; i++)
        allowed[i] = 0;
    allowed[token / 32] = 1u << token % 32;
}

/* Blocks of three tokens. */
static bool close_after_three(void *user, const r2_sequence *s, uint32_t *allowed,
                              int32_t n_vocab) {
    r2_sequence_status status;
    int32_t n, n_inside = 0;
    const r2_token *tokens = r2_sequence_tokens(s, &n);
    (void)user;
    r2_sequence_get_status(s, &status);
    if (!status.is_thinking) return false;
    while (tokens[n - 1 - n_inside] != open_token)
        n_inside++;
    if (n_inside == 3)
        allow_only(allowed, n_vocab, close_token);
    else
        allowed[open_token / 32] &= ~(1u << open_token % 32);
    return true;
}

/* A model that opens block after block: the budget holds for all of them together. */
static void test_all_blocks_are_held(void **state) {
    const r2_logit_bias wish = { open_token, 1000.0f };
    r2_sequence_options options = { .sampling = { .biases = &wish, .n_biases = 1 },
                                    .max_new_tokens = N_NEW,
                                    .think_budget = 8,
                                    .mask = close_after_three,
                                    .ignores_end = true };
    r2_prompt *prompt = ask(R2_THINK_OFF);
    outcome out;
    (void)state;
    go(prompt, &options, &out);
    assert_int_equal(out.n_inside, 8); /* 3, 3 and 2 */
    assert_int_equal(out.n_opened, 3);
    assert_true(out.was_forced);
    options.think_budget = 9;
    go(prompt, &options, &out);
    assert_int_equal(out.n_inside, 9);
    assert_int_equal(out.n_opened, 3); /* nothing is left for a fourth */
    r2_prompt_destroy(prompt);
}

/* From outside, while it thinks: the block is closed with the next token and no other one is opened. */
static void test_stopped_from_outside(void **state) {
    const r2_logit_bias wish = { open_token, 1000.0f };
    r2_prompt *prompt = ask(R2_THINK_AUTO);
    r2_error err;
    (void)state;
    for (int32_t after = 0; after < 12; after += 3) {
        const r2_sequence_options options = { .max_new_tokens = 24, .ignores_end = true };
        r2_sequence *s;
        r2_sequence_status status;
        outcome out;
        int32_t n_active;
        must(r2_sequence_create(&s, toy.engine, &options, &err), &err);
        must(r2_sequence_append(s, prompt->tokens, prompt->n_tokens, &err), &err);
        do {
            r2_sequence_get_status(s, &status);
            if (status.n_generated >= after) break;
            must(r2_engine_step(toy.engine, &n_active, &err), &err);
        } while (n_active > 0);
        r2_sequence_stop_thinking(s);
        go_on(s, &out);
        assert_int_equal(out.close_at, after);
        assert_int_equal(out.n_inside, after);
        assert_int_equal(out.n, 24);
        assert_true(out.was_forced);
        const r2_sequence_options again = { .sampling = { .biases = &wish, .n_biases = 1 },
                                            .max_new_tokens = 4 };
        must(r2_sequence_set_options(s, &again, &err), &err);
        go_on(s, &out); /* options anew: it may think again */
        assert_true(out.n_opened > 0);
        r2_sequence_destroy(s);
    }
    r2_prompt_destroy(prompt);
}

/* A model that would close its block, and end its text, at once: both wait. */
static void test_minimum(void **state) {
    const r2_logit_bias wishes[] = { { close_token, 1000.0f },
                                     { r2_token_find(toy.model, "<|im_end|>"), 900.0f } };
    r2_prompt *prompt = ask(R2_THINK_AUTO);
    outcome out;
    (void)state;
    for (int32_t minimum = 0; minimum <= 20; minimum += 5) {
        const r2_sequence_options options = { .sampling = { .biases = wishes, .n_biases = 2 },
                                              .max_new_tokens = N_NEW,
                                              .think_minimum = minimum };
        go(prompt, &options, &out);
        assert_int_equal(out.close_at, minimum);
        assert_int_equal(out.n_inside, minimum);
        assert_false(out.was_forced);
    }
    const r2_sequence_options both = { .max_new_tokens = N_NEW,
                                       .think_minimum = 20,
                                       .think_budget = 6 };
    go(prompt, &both, &out);
    assert_int_equal(out.close_at, 6); /* the budget is the stronger */
    r2_prompt_destroy(prompt);
}

/* The model ends its text somewhere inside a draft: nothing behind it is drawn. */
static void test_end_inside_a_draft(void **state) {
    r2_prompt *prompt = ask(R2_THINK_OFF);
    outcome out;
    const r2_token end = r2_token_find(toy.model, "<|im_end|>");
    int n_ended = 0;
    (void)state;
    assert_true(end >= 0);
    for (uint64_t seed = 0; seed < 20; seed++) {
        const r2_logit_bias wish = { end, 4.5f };
        const r2_sequence_options options = {
            .sampling = { .temperature = 1, .seed = seed, .biases = &wish, .n_biases = 1 },
            .max_new_tokens = N_NEW
        };
        go(prompt, &options, &out);
        assert_true(out.n > 0);
        for (int32_t i = 0; i + 1 < out.n; i++)
            assert_int_not_equal(out.items[i].token, end);
        n_ended += out.n > 2 && out.items[out.n - 1].token == end;
    }
    assert_true(n_ended > 3);
    r2_prompt_destroy(prompt);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prompt_ends_in_an_open_block),
        cmocka_unit_test(test_budget_is_exact),
        cmocka_unit_test(test_block_survives_rewind_and_file),
        cmocka_unit_test(test_no_budget_no_cut),
        cmocka_unit_test(test_negative_budget_closes_at_once),
        cmocka_unit_test(test_think_off),
        cmocka_unit_test(test_think_off_closes_an_open_prompt),
        cmocka_unit_test(test_all_blocks_are_held),
        cmocka_unit_test(test_stopped_from_outside),
        cmocka_unit_test(test_minimum),
        cmocka_unit_test(test_end_inside_a_draft),
    };
    return cmocka_run_group_tests(tests, set_up, close_toy);
}

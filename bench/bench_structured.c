/* bench_structured.c - what holding answers to a schema costs of the speed they are written at.
 *
 *     bench_structured MODEL [THREADS [ROUNDS]]
 *
 * Answers of N_NEW tokens each to one short prompt, 1 and 8 at once, in turns: free, and held to a schema whose
 * texts do not end before.  Sampled, as chats are.  `first`: the schema was just compiled; `again`: its states
 * are known.  Prints CSV: streams, tokens/s of each (best round), percent that the mask costs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "r2lm/text.h"

enum { N_NEW = 160, MOST_STREAMS = 8 };

static const char schema[] =
    "{\"type\":\"array\",\"minItems\":40,\"items\":{\"type\":\"object\",\"properties\":{"
    "\"name\":{\"type\":\"string\",\"maxLength\":40},\"age\":{\"type\":\"integer\",\"minimum\":0,"
    "\"maximum\":150},\"email\":{\"type\":\"string\",\"format\":\"email\"},\"role\":{\"enum\":["
    "\"admin\",\"editor\",\"guest\"]},\"tags\":{\"type\":\"array\",\"items\":{\"type\":\"string\"},"
    "\"maxItems\":3},\"active\":{\"type\":[\"boolean\",\"null\"]}},\"required\":[\"name\",\"age\","
    "\"email\",\"role\",\"tags\",\"active\"],\"additionalProperties\":false}}";
static const char question[] = "Write a JSON list of 40 made-up users of a web shop.";

static void must(r2_status status, const r2_error *err) {
    if (status == R2_OK) return;
    fprintf(stderr, "bench_structured: %s\n", err->text);
    exit(1);
}

static void start(r2_sequence **s, r2_engine *engine, const r2_prompt *prompt, uint64_t seed,
                  r2_grammar_matcher *matcher) {
    const r2_sequence_options options = {
        .sampling = { .temperature = 0.7f, .top_p = 0.95f, .top_k = 40, .seed = seed },
        .max_new_tokens = N_NEW,
        .ignores_end = matcher == NULL,
        .mask = matcher != NULL ? r2_grammar_mask : NULL,
        .user = matcher
    };
    r2_error err;
    must(r2_sequence_create(s, engine, &options, &err), &err);
    must(r2_sequence_append(*s, prompt->tokens, prompt->n_tokens, &err), &err);
}

/* Tokens per second from the step after all have read the prompt; grammar NULL: free. */
static double measure(r2_engine *engine, const r2_prompt *prompt, r2_grammar *grammar, int n) {
    r2_sequence *s[MOST_STREAMS];
    r2_grammar_matcher *matchers[MOST_STREAMS] = { NULL };
    r2_sequence_status status;
    r2_error err;
    int64_t start_ns = 0;
    int32_t n_active = 1, n_before = 0, n_after = 0;
    for (int i = 0; i < n; i++) {
        if (grammar != NULL) must(r2_grammar_matcher_create(&matchers[i], grammar, &err), &err);
        start(&s[i], engine, prompt, (uint64_t)i, matchers[i]);
    }
    while (n_active > 0) {
        must(r2_engine_step(engine, &n_active, &err), &err);
        bool all_write = start_ns == 0;
        n_after = 0;
        for (int i = 0; i < n; i++) {
            r2_sequence_get_status(s[i], &status);
            all_write &= status.n_generated > 0;
            n_after += status.n_generated;
        }
        if (!all_write) continue;
        start_ns = r2i_clock_ns();
        n_before = n_after;
    }
    const double seconds = (double)(r2i_clock_ns() - start_ns) * 1e-9;
    for (int i = 0; i < n; i++) {
        r2_sequence_destroy(s[i]);
        r2_grammar_matcher_destroy(matchers[i]);
    }
    return (n_after - n_before) / seconds;
}

static void keep_best(double *best, double value) {
    if (value > *best) *best = value;
}

static void compare(const r2_model *model, r2_engine *engine, const r2_prompt *prompt, int n,
                    int n_rounds) {
    double plain = 0, first = 0, again = 0;
    for (int round = 0; round < n_rounds; round++) {
        r2_grammar *grammar;
        r2_error err;
        must(r2_grammar_from_json_schema(&grammar, model, schema, sizeof schema - 1, &err), &err);
        keep_best(&plain, measure(engine, prompt, NULL, n));
        keep_best(&first, measure(engine, prompt, grammar, n));
        keep_best(&plain, measure(engine, prompt, NULL, n));
        keep_best(&again, measure(engine, prompt, grammar, n));
        r2_grammar_destroy(grammar);
    }
    printf("%d,%.2f,%.2f,%.2f,%.2f,%.2f\n", n, plain, first, again, 100 * (1 - first / plain),
           100 * (1 - again / plain));
}

int main(int argc, char **argv) {
    const r2_chat_message message = { .role = "user", .content = question };
    const r2_engine_options options = { .n_threads = argc > 2 ? atoi(argv[2]) : 0,
                                        .n_context = 1024,
                                        .n_sequences = MOST_STREAMS };
    const int n_rounds = argc > 3 ? atoi(argv[3]) : 3;
    r2_model *model;
    r2_engine *engine;
    r2_prompt *prompt;
    r2_error err;
    if (argc < 2) {
        fprintf(stderr, "usage: bench_structured MODEL [THREADS [ROUNDS]]\n");
        return 2;
    }
    must(r2_model_open(&model, argv[1], NULL, &err), &err);
    must(r2_engine_create(&engine, model, &options, &err), &err);
    must(r2_chat_render(&prompt, model, &message, 1, &(r2_chat_options){ .think = R2_THINK_OFF },
                        &err),
         &err);
    puts("streams,free_tok_s,first_tok_s,again_tok_s,first_cost_percent,again_cost_percent");
    compare(model, engine, prompt, 1, n_rounds);
    compare(model, engine, prompt, MOST_STREAMS, n_rounds);
    r2_prompt_destroy(prompt);
    r2_engine_destroy(engine);
    r2_model_close(model);
    return 0;
}

/* bench_grammar.c - what a mask costs: the first time in a state, and when its state is known.
 *
 *     bench_grammar MODEL [SCHEMA...]
 *
 * For each schema an answer is drawn at random from the masks, twice; every mask is timed.  Prints CSV:
 * milliseconds per mask (mean, largest) of the first and of the second time, tokens, milliseconds to
 * compile, megabytes remembered. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "model/model_grammar.h"

enum { MAX_STEPS = 400 };

static const char *const SCHEMAS[] = {
    "{\"type\":\"object\"}",
    "{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\"},\"age\":{\"type\":"
    "\"integer\","
    "\"minimum\":0,\"maximum\":150},\"tags\":{\"type\":\"array\",\"items\":{\"type\":\"string\"}},"
    "\"home\":{\"type\":\"object\",\"properties\":{\"street\":{\"type\":\"string\"},\"city\":{"
    "\"type\":"
    "\"string\"}},\"required\":[\"street\",\"city\"]}},\"required\":[\"name\",\"age\",\"tags\","
    "\"home\"]}",
    "{\"type\":\"object\",\"properties\":{\"title\":{\"type\":\"string\",\"minLength\":5,"
    "\"maxLength\":60},"
    "\"text\":{\"type\":\"string\",\"maxLength\":2000}},\"required\":[\"title\",\"text\"]}",
};

typedef struct {
    double sum_ms, most_ms;
    int n;
} timing;

static void must(r2_status status, const r2_error *err) {
    if (status == R2_OK) return;
    fprintf(stderr, "bench_grammar: %s\n", err->text);
    exit(1);
}

/* One of the allowed tokens, long ones more often than not: text as models write it. */
static r2_token draw(const r2_model *model, const uint32_t *allowed, int32_t n_vocab,
                     uint64_t *dice) {
    r2_token best = -1;
    size_t best_bytes = 0;
    for (int tries = 0; tries < 4000 && (best < 0 || tries < 64); tries++) {
        *dice = *dice * 6364136223846793005u + 1442695040888963407u;
        const r2_token token = (r2_token)((*dice >> 33) % (uint64_t)n_vocab);
        if ((allowed[token / 32] >> token % 32 & 1) == 0) continue;
        const size_t n = r2_token_bytes(model, token, NULL, 0);
        if (best < 0 || (n > best_bytes && n < 8)) {
            best = token;
            best_bytes = n;
        }
    }
    for (r2_token token = 0; best < 0 && token < n_vocab; token++) {
        if ((allowed[token / 32] >> token % 32 & 1) != 0) best = token;
    }
    return best;
}

static void answer(const r2_model *model, r2_grammar *grammar, int32_t n_vocab, timing *out) {
    const size_t n_words = (size_t)n_vocab / 32 + 1;
    uint32_t *allowed = malloc(n_words * sizeof *allowed);
    r2_grammar_matcher *m;
    r2_error err;
    uint64_t dice = 7;
    *out = (timing){ 0 };
    must(r2_grammar_matcher_create(&m, grammar, &err), &err);
    for (int i = 0; i < MAX_STEPS && !m->place.is_ended && allowed != NULL; i++) {
        memset(allowed, 0xff, n_words * sizeof *allowed);
        const int64_t start_ns = r2i_clock_ns();
        must(r2_grammar_matcher_mask(m, allowed, n_vocab, &err), &err);
        const double ms = (double)(r2i_clock_ns() - start_ns) * 1e-6;
        out->sum_ms += ms;
        if (ms > out->most_ms) out->most_ms = ms;
        out->n++;
        must(r2_grammar_matcher_accept_token(m, draw(model, allowed, n_vocab, &dice), &err), &err);
    }
    r2_grammar_matcher_destroy(m);
    free(allowed);
}

int main(int argc, char **argv) {
    r2_model *model;
    r2_model_info info;
    r2_error err;
    const int n_given = argc - 2,
              n = n_given > 0 ? n_given : (int)(sizeof SCHEMAS / sizeof *SCHEMAS);
    if (argc < 2) {
        fprintf(stderr, "usage: bench_grammar MODEL [SCHEMA...]\n");
        return 2;
    }
    must(r2_model_open(&model, argv[1], NULL, &err), &err);
    r2_model_get_info(model, &info);
    puts("schema,compile_ms,masks,first_ms,first_most_ms,again_ms,again_most_ms,remembered_mb");
    for (int i = 0; i < n; i++) {
        const char *schema = n_given > 0 ? argv[2 + i] : SCHEMAS[i];
        r2_grammar *g;
        timing first, again;
        const size_t used = model->heap.used_bytes;
        const int64_t start_ns = r2i_clock_ns();
        must(r2_grammar_from_json_schema(&g, model, schema, strlen(schema), &err), &err);
        const double compile_ms = (double)(r2i_clock_ns() - start_ns) * 1e-6;
        answer(model, g, info.n_vocab, &first);
        answer(model, g, info.n_vocab, &again);
        printf("%d,%.2f,%d,%.4f,%.3f,%.4f,%.3f,%.1f\n", i, compile_ms, first.n,
               first.sum_ms / first.n, first.most_ms, again.sum_ms / again.n, again.most_ms,
               (double)(model->heap.used_bytes - used) * 1e-6);
        r2_grammar_destroy(g);
    }
    r2_model_close(model);
    return 0;
}

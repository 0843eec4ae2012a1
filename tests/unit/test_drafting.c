/* test_drafting.c - tokens and the bits of their log-probabilities are the same with and without
 * drafts, whether these are right, wrong, mixed or looked up, and whatever happens in the middle of one. */
#define _GNU_SOURCE /* mkstemp */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <math.h>

#include <cmocka.h>

#include "engine_runs.h"
#include "engine/engine_state.h"

enum { N_NEW = 60, CAP = 640, N_PROMPT = 100 };

/* ---- drafters that know the answer ---- */

typedef enum { RIGHT, WRONG, MIXED, LOOKUP, MODULE, N_KINDS } script_kind;

typedef struct {
    script_kind kind;
    const int32_t *truth; /* [n] tokens that will be drawn, the prompt before them */
    int32_t n;
    const r2_sequence *forks[2]; /* for these it is another */
    const int32_t *fork_truths[2];
} script;

static int32_t propose(void *user, r2_sequence *s, int32_t cap, int32_t *out, int32_t *grade) {
    script *sc = user;
    int32_t n_tokens, n = 0;
    (void)r2_sequence_tokens(s, &n_tokens);
    for (; n < cap; n++) {
        const int32_t *truth = s == sc->forks[0]   ? sc->fork_truths[0]
                               : s == sc->forks[1] ? sc->fork_truths[1]
                                                   : sc->truth;
        const int32_t at = n_tokens + n, known = at < sc->n ? truth[at] : 1;
        const bool is_wrong = sc->kind == WRONG || (sc->kind == MIXED && at % 7 == 3);
        out[n] = is_wrong ? (known + 1) % 100 : known;
    }
    *grade = n_tokens % R2I_DRAFT_GRADES;
    return n;
}

/* LOOKUP is what engines do by themselves; MODULE asks the model's prediction module alone. */
static void set_script(r2_engine *engine, script *sc) {
    const r2i_drafter drafter = { .propose = sc->kind == MODULE ? NULL : propose,
                                  .user = sc,
                                  .uses_module = sc->kind == MODULE,
                                  .is_eager = true };
    r2i_engine_set_drafter(engine, sc->kind == LOOKUP ? NULL : &drafter);
}

/* ---- runs ---- */

typedef struct {
    int32_t n;
    r2_generated items[CAP];
    int32_t tokens[CAP];
    int32_t n_tokens;
    r2_sequence_status status;
    int64_t n_steps;
    int n_called;       /* callbacks */
    uint64_t called_at; /* hash of where and with what */
} output;

static void make_prompt(r2_token *tokens, int32_t n, int32_t salt) {
    for (int32_t i = 0; i < n; i++)
        tokens[i] = (i % 29 * 37 + salt * 11 + i * i % 23) % 120;
}

static r2_sequence *start(r2_engine *engine, const r2_sequence_options *options, int32_t n_prompt,
                          int32_t salt) {
    r2_error err;
    r2_sequence *s;
    r2_token tokens[CAP];
    make_prompt(tokens, n_prompt, salt);
    must(r2_sequence_create(&s, engine, options, &err), &err);
    must(r2_sequence_append(s, tokens, n_prompt, &err), &err);
    return s;
}

static void step(r2_engine *engine, int n) {
    r2_error err;
    int32_t n_active;
    for (int i = 0; i < n; i++)
        must(r2_engine_step(engine, &n_active, &err), &err);
}

static void collect(r2_sequence *s, output *out) {
    out->n += r2_sequence_read(s, out->items + out->n, CAP - out->n);
    const r2_token *tokens = r2_sequence_tokens(s, &out->n_tokens);
    memcpy(out->tokens, tokens, (size_t)out->n_tokens * sizeof *tokens);
    r2_sequence_get_status(s, &out->status);
}

static void assert_same(const output *a, const output *b) {
    assert_int_equal(a->n, b->n);
    for (int32_t i = 0; i < a->n; i++) {
        assert_int_equal(a->items[i].token, b->items[i].token);
        assert_int_equal(a->items[i].is_thinking, b->items[i].is_thinking);
        assert_memory_equal(&a->items[i].logprob, &b->items[i].logprob, sizeof(float));
    }
    assert_int_equal(a->status.state, b->status.state);
    assert_int_equal(a->status.finish, b->status.finish);
    assert_int_equal(a->status.n_tokens, b->status.n_tokens);
    assert_int_equal(a->status.n_computed, b->status.n_computed);
    assert_int_equal(a->status.n_generated, b->status.n_generated);
    assert_int_equal(a->status.n_thinking, b->status.n_thinking);
    assert_int_equal(a->status.is_think_cut, b->status.is_think_cut);
    assert_int_equal(a->n_called, b->n_called);
    assert_true(a->called_at == b->called_at);
}

static bool note_and_mask(void *user, const r2_sequence *s, uint32_t *allowed, int32_t n_vocab) {
    output *out = user;
    r2_sequence_status status;
    int32_t n_tokens;
    const r2_token *tokens = r2_sequence_tokens(s, &n_tokens);
    r2_sequence_get_status(s, &status);
    out->n_called++;
    out->called_at = out->called_at * 31 + (uint64_t)n_tokens * 1009 +
                     (uint64_t)tokens[n_tokens - 1] + (uint64_t)status.n_computed * 7 +
                     (uint64_t)status.n_generated;
    for (int32_t i = 0; i <= n_vocab / 32; i++) /* what is allowed depends on the token before */
        allowed[i] &= tokens[n_tokens - 1] % 2 == 0 ? 0x55555555u : 0x77777777u;
    return true;
}

static void note_hidden(void *user, int32_t position, const float *row, int32_t d_model) {
    output *out = user;
    out->n_called++;
    out->called_at = out->called_at * 31 + (uint64_t)position;
    for (int32_t i = 0; i < d_model; i++) {
        uint32_t bits;
        memcpy(&bits, &row[i], sizeof bits);
        out->called_at = out->called_at * 31 + bits;
    }
}

/* One sequence from its prompt to its end; drafts of `kind` if n_draft > 0. */
static void generate(r2_model *model, const r2_engine_options *eo, r2_sequence_options o,
                     int32_t n_prompt, script *sc, output *out) {
    r2_error err;
    r2_engine *engine;
    r2_engine_stats stats;
    memset(out, 0, sizeof *out);
    o.user = out;
    must(r2_engine_create(&engine, model, eo, &err), &err);
    if (o.n_draft > 0) set_script(engine, sc);
    r2_sequence *s = start(engine, &o, n_prompt, 1);
    run_engine(engine);
    collect(s, out);
    r2_engine_get_stats(engine, &stats);
    out->n_steps = stats.n_steps;
    assert_int_equal(stats.n_generated_tokens, out->status.n_generated);
    assert_int_equal(stats.n_drafted_tokens, out->status.n_drafted);
    assert_int_equal(stats.n_accepted_tokens, out->status.n_accepted);
    r2_sequence_destroy(s);
    r2_engine_get_stats(engine, &stats);
    assert_int_equal(stats.n_pages_used, 0);
    r2_engine_destroy(engine);
}

/* The same options without drafts and with each kind of them. */
static void compare(r2_model *model, const r2_engine_options *eo, const r2_sequence_options *o,
                    int32_t n_prompt, int32_t n_draft) {
    static output plain, drafted;
    r2_sequence_options with = *o;
    const bool has_module = model->weights.has_mtp;
    generate(model, eo, *o, n_prompt, NULL, &plain);
    assert_int_equal(plain.status.n_drafted, 0);
    with.n_draft = n_draft;
    for (int kind = 0; kind < N_KINDS; kind++) {
        script sc = { .kind = (script_kind)kind, .truth = plain.tokens, .n = plain.n_tokens };
        generate(model, eo, with, n_prompt, &sc, &drafted);
        assert_same(&plain, &drafted);
        if (kind == RIGHT) assert_int_equal(drafted.status.n_accepted, drafted.status.n_drafted);
        if (kind == WRONG) assert_int_equal(drafted.status.n_accepted, 0);
        const bool has_room = plain.status.n_generated > 4 && eo->n_batch_tokens != 1;
        if (kind == RIGHT && has_room) assert_true(drafted.n_steps < plain.n_steps);
        if (kind == MODULE && has_room && has_module) assert_true(drafted.status.n_drafted > 0);
        if (kind == WRONG && has_room) assert_true(drafted.status.n_drafted > 0);
        if (eo->n_batch_tokens == 1) assert_int_equal(drafted.status.n_drafted, 0);
    }
}

static const r2_sequence_options greedy = { .max_new_tokens = N_NEW, .ignores_end = true };
static const r2_sequence_options warm = { .sampling = { .temperature = 0.8f, .seed = 3 },
                                          .max_new_tokens = N_NEW,
                                          .ignores_end = true };
static const r2_engine_options two_threads = { .n_threads = 2, .n_context = CAP };

static void test_every_family(void **state) {
    static const char *const names[] = { "llama",     "qwen2_yarn",  "qwen3",
                                         "qwen3_moe", "deepseek_v2", "deepseek_v3" };
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        r2_model *model = open_model(names[i]);
        compare(model, &two_threads, &greedy, N_PROMPT, 7);
        r2_engine_options eo = two_threads;
        eo.cache_rows = R2_CACHE_Q8;
        compare(model, &eo, &warm, N_PROMPT, 7);
        for (uint64_t seed = 0; seed < 3; seed++) {
            r2_sequence_options o = warm;
            o.sampling.seed = seed;
            compare(model, &two_threads, &o, N_PROMPT, 1 + 15 * (int32_t)seed);
        }
        r2_model_close(model);
    }
}

static void check_options(const char *name) {
    static const r2_logit_bias biases[] = { { 7, 2.5f }, { 8, -INFINITY }, { 9, 3 } };
    r2_model *model = open_model(name);
    for (int temperature = 0; temperature < 2; temperature++) {
        const r2_sequence_options base = temperature == 0 ? greedy : warm;
        r2_sequence_options o = base;
        o.sampling.repetition_penalty = 1.4f;
        o.sampling.presence_penalty = 0.5f;
        o.sampling.frequency_penalty = 0.7f;
        o.sampling.n_penalty_tokens = 11;
        compare(model, &two_threads, &o, N_PROMPT, 9);
        o = base;
        o.sampling.biases = biases;
        o.sampling.n_biases = 3;
        o.sampling.top_k = 20;
        o.sampling.top_p = 0.9f;
        o.sampling.min_p = 0.01f;
        compare(model, &two_threads, &o, N_PROMPT, 9);
        o = base;
        o.mask = note_and_mask;
        compare(model, &two_threads, &o, N_PROMPT, 9);
        o = base;
        o.hidden = note_hidden;
        compare(model, &two_threads, &o, N_PROMPT, 9);
        o.wants_prompt_logprobs = true;
        o.mask = note_and_mask;
        compare(model, &two_threads, &o, N_PROMPT, 9);
    }
    r2_model_close(model);
}

static void test_options(void **state) {
    (void)state;
    check_options("llama");
    check_options("deepseek_v3");
}

/* Limits fall everywhere inside a draft: on its first token, its last, behind it. */
static void check_limits(const char *name) {
    r2_model *model = open_model(name);
    for (int32_t n = 1; n <= 20; n++) {
        r2_sequence_options o = warm;
        o.max_new_tokens = n;
        compare(model, &two_threads, &o, 20, 6);
        o.max_new_tokens = 0;
        compare(model, &(r2_engine_options){ .n_threads = 1, .n_context = 20 + n }, &o, 20, 6);
    }
    compare(model, &(r2_engine_options){ .n_threads = 1, .n_context = CAP, .n_batch_tokens = 1 },
            &warm, 20, 6) /* no room for a draft */;
    r2_model_close(model);
}

static void test_limits(void **state) {
    (void)state;
    check_limits("llama");
    check_limits("deepseek_v3");
}

/* Drafts across the borders of pages, at every distance from one. */
static void check_page_borders(const char *name) {
    r2_model *model = open_model(name);
    for (int32_t n_prompt = 118; n_prompt <= 130; n_prompt++) {
        r2_sequence_options o = n_prompt % 2 == 0 ? warm : greedy;
        o.max_new_tokens = 24;
        compare(model, &two_threads, &o, n_prompt, 13);
    }
    r2_model_close(model);
}

static void test_page_borders(void **state) {
    (void)state;
    check_page_borders("llama");
    check_page_borders("deepseek_v3");
}

/* What became known under drafts is what the model computes: a later sequence goes on from it. */
static void check_known_pages(const char *name) {
    static output plain, first, second;
    r2_error err;
    r2_model *model = open_model(name);
    r2_sequence_options o = warm;
    o.max_new_tokens = 180;
    generate(model, &two_threads, o, N_PROMPT, NULL, &plain);
    for (int kind = 0; kind < N_KINDS; kind++) {
        script sc = { .kind = (script_kind)kind, .truth = plain.tokens, .n = plain.n_tokens };
        r2_engine *engine;
        r2_sequence *s;
        must(r2_engine_create(&engine, model, &two_threads, &err), &err);
        set_script(engine, &sc);
        o.n_draft = 32;
        memset(&first, 0, sizeof first);
        memset(&second, 0, sizeof second);
        s = start(engine, &o, N_PROMPT, 1);
        run_engine(engine);
        collect(s, &first);
        assert_same(&plain, &first);
        r2_sequence_destroy(s);
        /* 270 tokens are known by now. */
        o.n_draft = 0;
        o.max_new_tokens = 10;
        must(r2_sequence_create(&s, engine, &o, &err), &err);
        must(r2_sequence_append(s, plain.tokens, 270, &err), &err);
        run_engine(engine);
        collect(s, &second);
        assert_int_equal(second.status.n_cached, 269);
        assert_memory_equal(plain.tokens, second.tokens, 280 * sizeof *plain.tokens);
        assert_memory_equal(&plain.items[170].logprob, &second.items[0].logprob, sizeof(float));
        o.max_new_tokens = 180;
        r2_sequence_destroy(s);
        r2_engine_destroy(engine);
    }
    r2_model_close(model);
}

static void test_known_pages(void **state) {
    (void)state;
    check_known_pages("llama");
    check_known_pages("deepseek_v3");
}

/* Fork, save, load and rewind between two steps with drafts. */
static void check_interruptions(const char *name) {
    static output plain, out;
    char path[] = "/tmp/r2lm_drafting_XXXXXX";
    r2_error err;
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    r2_model *model = open_model(name);
    generate(model, &two_threads, warm, N_PROMPT, NULL, &plain);
    for (int kind = 0; kind < N_KINDS; kind++) {
        script sc = { .kind = (script_kind)kind, .truth = plain.tokens, .n = plain.n_tokens };
        r2_engine *engine;
        r2_sequence *fork, *loaded;
        must(r2_engine_create(&engine, model, &two_threads, &err), &err);
        set_script(engine, &sc);
        r2_sequence_options o = warm;
        o.n_draft = 5;
        r2_sequence *s = start(engine, &o, N_PROMPT, 1);
        step(engine, 6);
        must(r2_sequence_fork(&fork, s, &o, &err), &err);
        must(r2_sequence_save(s, path, &err), &err);
        must(r2_sequence_load(&loaded, engine, path, &o, &err), &err);
        run_engine(engine); /* three at once, from the same half-filled page */
        r2_sequence *const all[] = { s, fork, loaded };
        for (int i = 0; i < 3; i++) {
            memset(&out, 0, sizeof out);
            collect(all[i], &out);
            const int32_t n = out.n_tokens < plain.n_tokens ? out.n_tokens : plain.n_tokens;
            assert_true(n >= plain.n_tokens);
            assert_memory_equal(plain.tokens, out.tokens, (size_t)n * sizeof *out.tokens);
        }
        for (int32_t back = 40; back > 0; back -= 13) {
            must(r2_sequence_rewind(s, N_PROMPT + back, &err), &err);
            o.max_new_tokens = N_NEW - back;
            must(r2_sequence_set_options(s, &o, &err), &err);
            step(engine, 2);
            run_engine(engine);
            memset(&out, 0, sizeof out);
            collect(s, &out);
            assert_int_equal(out.n_tokens, plain.n_tokens);
            assert_memory_equal(plain.tokens, out.tokens,
                                (size_t)out.n_tokens * sizeof *out.tokens);
        }
        for (int i = 0; i < 3; i++)
            r2_sequence_destroy(all[i]);
        r2_engine_destroy(engine);
    }
    unlink(path);
    r2_model_close(model);
}

static void test_interruptions(void **state) {
    (void)state;
    check_interruptions("llama");
    check_interruptions("deepseek_v3");
}

/* From n tokens on, in an engine of its own and without drafts. */
static void go_on_alone(r2_model *model, const int32_t *tokens, int32_t n,
                        const r2_sequence_options *options, output *out) {
    r2_error err;
    r2_engine *engine;
    r2_sequence *s;
    r2_sequence_options o = *options;
    o.n_draft = 0;
    must(r2_engine_create(&engine, model, &two_threads, &err), &err);
    must(r2_sequence_create(&s, engine, &o, &err), &err);
    must(r2_sequence_append(s, tokens, n, &err), &err);
    run_engine(engine);
    memset(out, 0, sizeof *out);
    collect(s, out);
    r2_sequence_destroy(s);
    r2_engine_destroy(engine);
}

/* Two forks that go on differently side by side, made while drafts reached into the next page: what they
 * write there must be their own. */
static void check_forks(const char *name) {
    static output truth, out, fresh[2];
    r2_error err;
    r2_model *model = open_model(name);
    r2_sequence_options o = warm;
    for (int32_t n_prompt = 118; n_prompt <= 128; n_prompt++) {
        generate(model, &two_threads, warm, n_prompt, NULL, &truth);
        for (int kind = 0; kind < N_KINDS; kind++) {
            script sc = { .kind = kind == MODULE ? MODULE : WRONG,
                          .truth = truth.tokens,
                          .n = truth.n_tokens };
            r2_engine *engine;
            r2_sequence *forks[2];
            int32_t n_tokens;
            must(r2_engine_create(&engine, model, &two_threads, &err), &err);
            set_script(engine, &sc);
            o.sampling.seed = warm.sampling.seed;
            o.n_draft = 12;
            r2_sequence *s = start(engine, &o, n_prompt, 1);
            step(engine, 2);
            (void)r2_sequence_tokens(s, &n_tokens);
            sc.kind = kind == MODULE ? RIGHT : (script_kind)kind;
            set_script(engine, &sc);
            for (int i = 0; i < 2; i++) {
                o.sampling.seed = 98 + (uint64_t)i;
                go_on_alone(model, truth.tokens, n_tokens, &o, &fresh[i]);
                must(r2_sequence_fork(&forks[i], s, &o, &err), &err);
                sc.forks[i] = forks[i];
                sc.fork_truths[i] = fresh[i].tokens;
            }
            r2_sequence_cancel(s);
            run_engine(engine);
            for (int i = 0; i < 2; i++) {
                memset(&out, 0, sizeof out);
                collect(forks[i], &out);
                assert_same(&fresh[i], &out);
                r2_sequence_destroy(forks[i]);
            }
            r2_sequence_destroy(s);
            r2_engine_destroy(engine);
        }
    }
    r2_model_close(model);
}

static void test_forks(void **state) {
    (void)state;
    check_forks("llama");
    check_forks("deepseek_v3");
}

/* Eight sequences, every other one with drafts, prompts still being read beside them. */
static void test_company(void **state) {
    static output alone[8], among;
    (void)state;
    r2_error err;
    r2_model *model = open_model("qwen3");
    r2_engine *engine;
    const r2_engine_options eo = { .n_threads = 3, .n_context = CAP, .n_batch_tokens = 48 };
    for (int i = 0; i < 8; i++) {
        must(r2_engine_create(&engine, model, &eo, &err), &err);
        r2_sequence *s = start(engine, &warm, 30 + 41 * i, i);
        memset(&alone[i], 0, sizeof alone[i]);
        run_engine(engine);
        collect(s, &alone[i]);
        r2_sequence_destroy(s);
        r2_engine_destroy(engine);
    }
    for (int kind = 0; kind < N_KINDS; kind++) {
        script sc = { .kind = (script_kind)kind, .truth = alone[0].tokens, .n = alone[0].n_tokens };
        r2_sequence *all[8];
        must(r2_engine_create(&engine, model, &eo, &err), &err);
        set_script(engine, &sc);
        for (int i = 0; i < 8; i++) {
            r2_sequence_options o = warm;
            o.n_draft = i % 2 == 0 ? 8 : 0;
            all[i] = start(engine, &o, 30 + 41 * i, i);
        }
        run_engine(engine);
        for (int i = 0; i < 8; i++) {
            memset(&among, 0, sizeof among);
            collect(all[i], &among);
            assert_same(&alone[i], &among);
            assert_true(i % 2 == 0 || among.status.n_drafted == 0);
            r2_sequence_destroy(all[i]);
        }
        r2_engine_destroy(engine);
    }
    r2_model_close(model);
}

static void check_cancel(const char *name) {
    static output plain, out;
    r2_error err;
    r2_model *model = open_model(name);
    generate(model, &two_threads, warm, N_PROMPT, NULL, &plain);
    script sc = { .kind = MIXED, .truth = plain.tokens, .n = plain.n_tokens };
    r2_engine *engine;
    must(r2_engine_create(&engine, model, &two_threads, &err), &err);
    set_script(engine, &sc);
    r2_sequence_options o = warm;
    o.n_draft = 5;
    r2_sequence *s = start(engine, &o, N_PROMPT, 1);
    step(engine, 4);
    r2_sequence_cancel(s);
    run_engine(engine);
    memset(&out, 0, sizeof out);
    collect(s, &out);
    assert_int_equal(out.status.finish, R2_FINISH_CANCELED);
    assert_true(out.n > 4 && out.n < N_NEW);
    assert_memory_equal(plain.tokens, out.tokens, (size_t)out.n_tokens * sizeof *out.tokens);
    r2_sequence_destroy(s);
    r2_engine_destroy(engine);
    r2_model_close(model);
}

static void test_cancel(void **state) {
    (void)state;
    check_cancel("llama");
    check_cancel("deepseek_v3");
}

static void ignore_row(void *user, int32_t position, const float *row, int32_t d_model) {
    (void)user;
    (void)position;
    (void)row;
    (void)d_model;
}

/* Few pages: drafts must not take the page that a token needs, and the end comes at the same token. */
static void check_cache_full(const char *name) {
    static output plain[2], out;
    r2_error err;
    r2_model *model = open_model(name);
    r2_model_info info;
    r2_model_get_info(model, &info);
    const r2_engine_options eo = { .n_threads = 1,
                                   .n_context = 400,
                                   .has_no_prefix_cache = true,
                                   .cache_bytes = 3 * 128 * info.cache_bytes_per_token };
    r2_sequence_options o = warm;
    r2_sequence_options beside = warm;
    o.max_new_tokens = 250;
    beside.hidden = ignore_row; /* its rows are looked at: its pages cannot be taken */
    for (int kind = -1; kind < N_KINDS; kind++) {
        script sc = { .kind = (script_kind)kind, .truth = plain[0].tokens, .n = plain[0].n_tokens };
        r2_engine *engine;
        must(r2_engine_create(&engine, model, &eo, &err), &err);
        if (kind >= 0) set_script(engine, &sc);
        o.n_draft = kind >= 0 ? 20 : 0;
        r2_sequence *const both[] = { start(engine, &o, 90, 1), start(engine, &beside, 60, 2) };
        run_engine(engine);
        for (int i = 0; i < 2; i++) {
            output *to = kind < 0 ? &plain[i] : &out;
            memset(to, 0, sizeof *to);
            collect(both[i], to);
            assert_same(&plain[i], to);
            if (i == 0) assert_int_equal(to->status.finish, R2_FINISH_MEMORY);
            r2_sequence_destroy(both[i]);
        }
        r2_engine_destroy(engine);
    }
    r2_model_close(model);
}

static void test_cache_full(void **state) {
    (void)state;
    check_cache_full("llama");
    check_cache_full("deepseek_v3");
}

/* ---- nothing is allocated between two tokens ---- */

static int n_allocated;

static void *count_allocate(void *user, size_t n_bytes) {
    (void)user;
    n_allocated++;
    return aligned_alloc(16, (n_bytes + 15) / 16 * 16);
}

static void count_release(void *user, void *memory, size_t n_bytes) {
    (void)user;
    (void)n_bytes;
    free(memory);
}

static void test_no_allocation(void **state) {
    (void)state;
    r2_error err;
    r2_model *model;
    r2_engine *engine;
    char path[1024];
    (void)snprintf(path, sizeof path, "%s/qwen3_moe", R2LM_DEFAULT_GOLDEN_DIR);
    const r2_model_options mo = { .host = { .allocate = count_allocate,
                                            .release = count_release } };
    must(r2_model_open(&model, path, &mo, &err), &err);
    must(r2_engine_create(&engine, model, &two_threads, &err), &err);
    r2_sequence_options o = greedy;
    o.n_draft = 16;
    r2_sequence *s = start(engine, &o, N_PROMPT, 1);
    const int before = n_allocated;
    run_engine(engine);
    assert_int_equal(n_allocated, before);
    r2_sequence_destroy(s);
    r2_engine_destroy(engine);
    r2_model_close(model);
}

static void test_bad_options(void **state) {
    (void)state;
    r2_error err;
    r2_engine *engine;
    r2_sequence *s;
    r2_model *model = open_model("llama");
    must(r2_engine_create(&engine, model, &two_threads, &err), &err);
    assert_int_equal(r2_sequence_create(&s, engine, &(r2_sequence_options){ .n_draft = -1 }, &err),
                     R2_E_RANGE);
    assert_int_equal(r2_sequence_create(&s, engine, &(r2_sequence_options){ .n_draft = 33 }, &err),
                     R2_E_RANGE);
    r2_engine_destroy(engine);
    r2_model_close(model);
}

/* ---- the prediction module ---- */

enum { MODULE_CAP = 160, N_GUESSES = 4 };

/* The module asked by hand: all rows at once, then on from its own ones. */
static void guess_by_hand(r2_model *m, const int32_t *ids, int32_t n, int32_t *guesses) {
    r2_error err;
    r2i_pool *pool;
    r2i_cache_layout cache;
    r2i_forward *forward;
    int32_t sources[MODULE_CAP];
    must(r2i_pool_create(&pool, 1, &m->heap, &err), &err);
    must(r2i_cache_layout_create(&cache, &m->config, r2i_model_cache_rows(m, R2_CACHE_BF16),
                                 &m->arena, &err),
         &err);
    const r2i_forward_parts parts = { .config = &m->config,
                                      .weights = &m->weights,
                                      .kernels = &m->kernels,
                                      .pool = pool,
                                      .cache = &cache };
    const r2i_forward_limits limits = { .cap_rows = MODULE_CAP,
                                        .cap_logits = 1,
                                        .cap_positions = 2 * R2I_PAGE_TOKENS };
    must(r2i_forward_create(&forward, &parts, &limits, &m->arena, &err), &err);
    uint8_t *pages[2];
    for (int i = 0; i < 2; i++) {
        pages[i] = r2i_arena_push_array(&m->arena, 1, cache.page_bytes, 64);
        assert_non_null(pages[i]);
        memset(pages[i], 0, cache.page_bytes);
    }
    float *logits = R2I_ARENA_ARRAY(&m->arena, float, (size_t)m->config.n_vocab);
    assert_non_null(logits);
    for (int32_t i = 0; i < n - 1; i++)
        sources[i] = i;
    const r2i_run run = { .n_rows = n - 1, .pages = pages };
    r2i_forward_run(forward, &(r2i_batch){ ids, n - 1, &run, 1 });
    r2i_mtp_keep_rows(forward);
    r2i_mtp_run(forward,
                &(r2i_mtp_batch){ .batch = { ids + 1, n - 1, &run, 1 }, .source_rows = sources });
    for (int32_t depth = 0, row = n - 2; depth < N_GUESSES; depth++, row = 0) {
        r2i_mtp_logits(forward, &row, 1, logits);
        guesses[depth] = r2i_largest_logit(logits, m->config.n_vocab);
        const r2i_run next = { .n_rows = 1, .first_position = n - 1 + depth, .pages = pages };
        r2i_mtp_run(forward, &(r2i_mtp_batch){ .batch = { &guesses[depth], 1, &next, 1 },
                                               .source_rows = &row,
                                               .is_own = true });
    }
    r2i_pool_destroy(pool);
}

static bool allow_one(void *user, const r2_sequence *s, uint32_t *allowed, int32_t n_vocab) {
    const int32_t *ids = user;
    memset(allowed, 0, ((size_t)n_vocab / 32 + 1) * sizeof *allowed);
    allowed[ids[s->n_tokens] / 32] |= 1u << ids[s->n_tokens] % 32;
    return true;
}

/* What stands ready after the last of n tokens was drawn, near and across the border of a page, the
 * prompt read in chunks. */
static void test_module_guesses(void **state) {
    (void)state;
    r2_error err;
    int n_distinct = 0;
    r2_model *model = open_model("deepseek_v3");
    for (int32_t n = 124; n <= 132; n++) {
        r2_engine *engine;
        int32_t ids[MODULE_CAP], by_hand[N_GUESSES];
        make_prompt(ids, n, n);
        guess_by_hand(model, ids, n, by_hand);
        const r2_engine_options eo = { .n_threads = 2, .n_context = 200, .n_batch_tokens = 30 };
        must(r2_engine_create(&engine, model, &eo, &err), &err);
        script sc = { .kind = MODULE };
        set_script(engine, &sc);
        r2_sequence_options o = { .n_draft = N_GUESSES, .mask = allow_one, .user = ids };
        r2_sequence *s = start(engine, &o, n - 1, n);
        while (s->n_tokens < n)
            step(engine, 1);
        assert_int_equal(s->n_ready, N_GUESSES);
        assert_int_equal(s->ready_at, n);
        assert_memory_equal(s->draft, by_hand, sizeof by_hand);
        n_distinct += by_hand[0] != by_hand[1];
        r2_sequence_destroy(s);
        r2_engine_destroy(engine);
    }
    assert_true(n_distinct > 2);
    r2_model_close(model);
}

/* ---- the parts ---- */

enum { N_CONTEXT = 2000, N_SLOTS = 2048 };
typedef struct {
    int32_t last[N_SLOTS], before[N_CONTEXT];
    r2i_lookup lookup;
} index_memory;

static r2i_lookup *clear(index_memory *m) {
    memset(m, 0, sizeof *m);
    assert_int_equal(r2i_lookup_slots(N_CONTEXT), N_SLOTS);
    m->lookup = (r2i_lookup){ .last = m->last, .before = m->before, .n_slots = N_SLOTS };
    return &m->lookup;
}

static void test_lookup_finds(void **state) {
    static index_memory memory;
    (void)state;
    const int32_t text[] = { 1, 2, 3, 4, 50, 9, 2, 3, 4, 60, 1, 2, 3, 4 };
    int32_t out[12], grade = -1, grade_of_two = -1;
    /* The longest match wins (1 2 3 4, not the younger 2 3 4). */
    assert_int_equal(r2i_lookup_propose(clear(&memory), text, 14, 4, out, &grade), 4);
    assert_memory_equal(out, ((int32_t[]){ 50, 9, 2, 3 }), sizeof(int32_t[4]));
    /* Behind the end a period goes on. */
    const int32_t period[] = { 5, 6, 7, 5, 6 };
    assert_int_equal(r2i_lookup_propose(clear(&memory), period, 5, 9, out, &grade_of_two), 9);
    assert_memory_equal(out, ((int32_t[]){ 7, 5, 6, 7, 5, 6, 7, 5, 6 }), sizeof(int32_t[9]));
    assert_true(grade > grade_of_two);
    /* Nothing twice, nothing to say. */
    const int32_t plain[] = { 1, 2, 3, 4, 5 };
    assert_int_equal(r2i_lookup_propose(clear(&memory), plain, 5, 9, out, &grade), 0);
    assert_int_equal(r2i_lookup_propose(clear(&memory), plain, 1, 9, out, &grade), 0);
    assert_int_equal(r2i_lookup_propose(clear(&memory), plain, 0, 9, out, &grade), 0);
}

/* An index that has grown and shrunk at random finds what a fresh one finds. */
static void test_lookup_rewinds(void **state) {
    static index_memory grown, fresh;
    static int32_t text[N_CONTEXT];
    int32_t n = 0, a[8], b[8], grade_a = 0, grade_b = 0, n_found = 0;
    uint32_t random = 12345;
    (void)state;
    clear(&grown);
    for (int round = 0; round < 3000; round++) {
        random = random * 1664525u + 1013904223u;
        if (random >> 28 == 0 && n > 40) {
            const int32_t back = (int32_t)(random >> 8 & 31);
            r2i_lookup_rewind(&grown.lookup, text, n - back);
            n -= back;
        }
        if (n == N_CONTEXT) break;
        text[n++] = (int32_t)(random >> 20 & 7);
        if (round % 5 != 0) continue;
        const int32_t n_a = r2i_lookup_propose(&grown.lookup, text, n, 8, a, &grade_a),
                      n_b = r2i_lookup_propose(clear(&fresh), text, n, 8, b, &grade_b);
        assert_int_equal(n_a, n_b);
        if (n_a > 0) assert_int_equal(grade_a, grade_b);
        assert_memory_equal(a, b, (size_t)n_a * sizeof *a);
        n_found += n_a > 0;
    }
    assert_true(n_found > 100);
}

static void test_chances_follow(void **state) {
    r2i_draft_record record = { 0 };
    (void)state;
    const float before = r2i_draft_chance(&record, 3);
    for (int i = 0; i < 20; i++)
        r2i_draft_note(&record, 3, 4, 0);
    assert_true(r2i_draft_chance(&record, 3) < 0.15f);
    for (int i = 0; i < 40; i++)
        r2i_draft_note(&record, 3, 4, 4);
    assert_true(r2i_draft_chance(&record, 3) > 0.9f);
    for (int i = 0; i < 1000; i++)
        r2i_draft_note_unused(&record, 3);
    assert_true(r2i_draft_chance(&record, 3) - before < 0.01f);
}

static void test_costs_follow(void **state) {
    r2i_step_cost cost = { 0 };
    double step, row;
    (void)state;
    assert_false(r2i_step_cost_get(&cost, 1, &step, &row));
    for (int i = 0; i < 200; i++) {
        const int32_t n = 1 + i % 8;
        r2i_step_cost_note(&cost, n, 1000000 + 200000 * n + (i % 50 == 49 ? 90000000 : 0));
    }
    assert_true(r2i_step_cost_get(&cost, 5, &step, &row));
    assert_true(step > 1.9e6 && step < 2.4e6);
    assert_true(row > 1.4e5 && row < 3.2e5);
    /* Only single rows for long: what more of them cost is a guess again. */
    for (int i = 0; i < 500; i++)
        r2i_step_cost_note(&cost, 1, 1000000);
    assert_true(r2i_step_cost_get(&cost, 1, &step, &row));
    assert_true(row < 0.1 * step && row > 0.01 * step);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_family),   cmocka_unit_test(test_options),
        cmocka_unit_test(test_limits),         cmocka_unit_test(test_page_borders),
        cmocka_unit_test(test_known_pages),    cmocka_unit_test(test_interruptions),
        cmocka_unit_test(test_forks),          cmocka_unit_test(test_company),
        cmocka_unit_test(test_cancel),         cmocka_unit_test(test_cache_full),
        cmocka_unit_test(test_no_allocation),  cmocka_unit_test(test_bad_options),
        cmocka_unit_test(test_module_guesses), cmocka_unit_test(test_lookup_finds),
        cmocka_unit_test(test_lookup_rewinds), cmocka_unit_test(test_chances_follow),
        cmocka_unit_test(test_costs_follow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* command_bench.c - `r2lm bench`: tokens per second, and how near they are to the memory's limit.
 *
 * Prompts are made-up token numbers, different each time, so that nothing comes out of the prefix
 * cache unless that is what is measured.  Each figure is the best of --repeat. */
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "base/clock.h"
#include "base/failure.h"
#include "cli/adapter_choice.h"
#include "cli/model_find.h"
#include "cli/read_rate.h"
#include "cli/session.h"
#include "cli/text_input.h"

enum { BATCH_PROMPT = 16, SHORT_PROMPT = 8, PAGE_TOKENS = 128 };
static const double read_seconds = 0.3;

typedef struct {
    r2i_session session;
    const r2i_options *o;
    r2_token *prompt, *text; /* text: --file, rendered */
    int32_t n_text;
    double answer;
    r2_sequence_status answered; /* of the best round */
    int32_t n_context, next_prompt;
    double start_ms, prefill, decode, batch, cold_ms, cached_ms, read_rate;
    int64_t cache_bytes, peak_bytes;
} bench;

static int32_t longest(const bench *b) {
    const r2i_options *o = b->o;
    int32_t n = r2i_max_i32(o->prompt_tokens + 1, o->depth + SHORT_PROMPT + o->predict + 1);
    n = r2i_max_i32(n, BATCH_PROMPT + o->predict + 1);
    n = r2i_max_i32(n, b->n_text + o->predict + 1);
    return r2i_max_i32(n, o->long_prompt + 2);
}

/* Room for the batch, two long sequences (one being a kept prefix) and what page borders waste. */
static int64_t cache_room(const bench *b) {
    const int64_t page = b->session.info.cache_bytes_per_token * PAGE_TOKENS;
    const int64_t batch =
        b->o->streams * (int64_t)r2i_div_up_i32(BATCH_PROMPT + b->o->predict + 1, PAGE_TOKENS);
    const int64_t alone = 2 * (int64_t)r2i_div_up_i32(b->n_context, PAGE_TOKENS);
    return (batch + alone + 4) * page * 5 / 4;
}

static void fill_prompt(bench *b, int32_t n) {
    const int64_t n_vocab = b->session.info.n_vocab;
    b->next_prompt++;
    for (int64_t i = 0; i < n; i++)
        b->prompt[i] = (r2_token)((1000 + i * 7 + b->next_prompt * 31 + i * i % 13) % n_vocab);
}

static r2_engine_stats stats_of(const bench *b) {
    r2_engine_stats stats;
    r2_engine_get_stats(b->session.engine, &stats);
    return stats;
}

static void note_cache(bench *b) {
    const r2_engine_stats stats = stats_of(b);
    const int64_t bytes = (int64_t)(stats.n_pages_used + stats.n_pages_kept) * stats.page_bytes;
    if (bytes > b->cache_bytes) b->cache_bytes = bytes;
}

static r2_status start(bench *b, int32_t n_prompt, int32_t n_new, r2_sequence **out,
                       r2_error *err) {
    r2_sequence_options options = { .max_new_tokens = n_new,
                                    .ignores_end = true,
                                    .n_draft = b->o->draft };
    r2i_session_use_adapter(&b->session, &options);
    R2I_TRY(r2_sequence_create(out, b->session.engine, &options, err));
    const r2_status status = r2_sequence_append(*out, b->prompt, n_prompt, err);
    if (status == R2_OK) return R2_OK;
    r2_sequence_destroy(*out);
    *out = NULL;
    return status;
}

/* Steps until the sequence has drawn n tokens. */
static r2_status step_until(bench *b, const r2_sequence *s, int32_t n, r2_error *err) {
    r2_sequence_status status;
    for (;;) {
        int32_t n_active;
        r2_sequence_get_status(s, &status);
        if (status.n_generated >= n) return R2_OK;
        if (r2i_signals_pending() != 0) return r2i_fail(err, R2_E_CANCELED, "stopped");
        R2I_TRY(r2_engine_step(b->session.engine, &n_active, err));
        if (n_active > 0) continue;
        r2_sequence_get_status(s, &status);
        if (status.n_generated >= n) return R2_OK;
        return r2i_fail(err, R2_E_FULL, "the sequence ended (%s) after %d tokens, expected %d",
                        r2i_finish_name(status.finish), status.n_generated, n);
    }
}

/* Seconds to read n_prompt tokens and draw the first one, then to draw n_new more. */
static r2_status measure_once(bench *b, int32_t n_prompt, int32_t n_new, double *read_s,
                              double *draw_s, r2_error *err) {
    r2_sequence *s;
    const int64_t begin = r2i_clock_ns();
    R2I_TRY(start(b, n_prompt, n_new + 1, &s, err));
    r2_status status = step_until(b, s, 1, err);
    const int64_t middle = r2i_clock_ns();
    if (status == R2_OK) status = step_until(b, s, n_new + 1, err);
    *draw_s = (double)(r2i_clock_ns() - middle) * 1e-9;
    *read_s = (double)(middle - begin) * 1e-9;
    note_cache(b);
    r2_sequence_destroy(s);
    return status;
}

static void keep_best(double *best, double rate) {
    if (rate > *best) *best = rate;
}

static r2_status measure_prefill(bench *b, r2_error *err) {
    double read_s, draw_s;
    for (int32_t i = 0; i < b->o->repeat; i++) {
        fill_prompt(b, b->o->prompt_tokens);
        R2I_TRY(measure_once(b, b->o->prompt_tokens, 0, &read_s, &draw_s, err));
        keep_best(&b->prefill, b->o->prompt_tokens / read_s);
    }
    return R2_OK;
}

/* The context before the drawn tokens is read once; later rounds find it in the prefix cache. */
static r2_status measure_decode(bench *b, r2_error *err) {
    double read_s, draw_s;
    const int32_t n_prompt = b->o->depth > 0 ? b->o->depth : SHORT_PROMPT;
    fill_prompt(b, n_prompt);
    for (int32_t i = 0; i < b->o->repeat; i++) {
        R2I_TRY(measure_once(b, n_prompt, b->o->predict, &read_s, &draw_s, err));
        keep_best(&b->decode, b->o->predict / draw_s);
    }
    return R2_OK;
}

static r2_status step_all(bench *b, r2_sequence **all, int32_t n, double *seconds, r2_error *err) {
    for (int32_t i = 0; i < n; i++) {
        fill_prompt(b, BATCH_PROMPT);
        R2I_TRY(start(b, BATCH_PROMPT, b->o->predict + 1, &all[i], err));
    }
    for (int32_t i = 0; i < n; i++)
        R2I_TRY(step_until(b, all[i], 1, err));
    /* Those that began to write while others still read have a head start: it is not counted. */
    int64_t n_before = 0, n_after = 0;
    r2_sequence_status status;
    for (int32_t i = 0; i < n; i++) {
        r2_sequence_get_status(all[i], &status);
        n_before += status.n_generated;
    }
    const int64_t begin = r2i_clock_ns();
    for (int32_t i = 0; i < n; i++)
        R2I_TRY(step_until(b, all[i], b->o->predict + 1, err));
    *seconds = (double)(r2i_clock_ns() - begin) * 1e-9;
    for (int32_t i = 0; i < n; i++) {
        r2_sequence_get_status(all[i], &status);
        n_after += status.n_generated;
    }
    note_cache(b);
    if (n_after > n_before) keep_best(&b->batch, (double)(n_after - n_before) / *seconds);
    return R2_OK;
}

static r2_status measure_batch(bench *b, r2_error *err) {
    const int32_t n = b->o->streams;
    r2_sequence **all = R2I_ARENA_ARRAY(&b->session.program->arena, r2_sequence *, (size_t)n);
    double seconds;
    r2_status status = R2_OK;
    if (all == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for %d streams", n);
    if (n == 1) {
        b->batch = b->decode;
        return R2_OK;
    }
    for (int32_t i = 0; i < b->o->repeat && status == R2_OK; i++) {
        status = step_all(b, all, n, &seconds, err);
        for (int32_t j = 0; j < n; j++) {
            if (all[j] != NULL) r2_sequence_destroy(all[j]);
            all[j] = NULL;
        }
    }
    return status;
}

/* A long prompt for the first time, and again with its prefix cached. */
static r2_status measure_long(bench *b, r2_error *err) {
    double read_s, draw_s;
    if (b->o->long_prompt == 0) return R2_OK;
    fill_prompt(b, b->o->long_prompt);
    R2I_TRY(measure_once(b, b->o->long_prompt, 0, &read_s, &draw_s, err));
    b->cold_ms = read_s * 1e3;
    for (int32_t i = 0; i < b->o->repeat; i++) {
        R2I_TRY(measure_once(b, b->o->long_prompt, 0, &read_s, &draw_s, err));
        if (i == 0 || read_s * 1e3 < b->cached_ms) b->cached_ms = read_s * 1e3;
    }
    return R2_OK;
}

/* The text's tokens, as a question where the model has a chat template. */
static r2_status read_text(bench *b, r2_error *err) {
    r2i_program *p = b->session.program;
    r2i_buffer buffer;
    r2_prompt *prompt = NULL;
    if (b->o->file == NULL) return R2_OK;
    r2i_prompt_buffer_init(&buffer, p);
    r2_status status = r2i_file_append(&buffer, b->o->file, err);
    if (status == R2_OK) status = r2i_prompt_check(&buffer, err);
    const char *text = buffer.bytes != NULL ? buffer.bytes : "";
    if (status == R2_OK && b->session.info.has_chat_template) {
        const r2_chat_message message = { .role = "user", .content = text };
        status = r2_chat_render(&prompt, b->session.model, &message, 1, NULL, err);
        b->n_text = prompt != NULL ? prompt->n_tokens : 0;
        b->text = R2I_ARENA_ARRAY(&p->arena, r2_token, (size_t)b->n_text + 1);
        if (status == R2_OK && b->text == NULL)
            status = r2i_fail(err, R2_E_NOMEM, "no memory for %d tokens", b->n_text);
        if (status == R2_OK) memcpy(b->text, prompt->tokens, (size_t)b->n_text * sizeof *b->text);
        r2_prompt_destroy(prompt);
    } else if (status == R2_OK) {
        status = r2i_session_tokenize(&b->session, text, buffer.n_bytes, R2_TOKENIZE_START,
                                      &b->text, &b->n_text, err);
    }
    r2i_buffer_destroy(&buffer);
    return status;
}

/* A greedy answer as long as the model makes it, at most --predict tokens. */
static r2_status answer_once(bench *b, r2_sequence *s, r2_error *err) {
    r2_sequence_status status;
    int64_t first_ns = 0;
    for (int32_t n_active = 1, n_first = 0; n_active > 0;) {
        if (r2i_signals_pending() != 0) return r2i_fail(err, R2_E_CANCELED, "stopped");
        R2I_TRY(r2_engine_step(b->session.engine, &n_active, err));
        r2_sequence_get_status(s, &status);
        if (first_ns == 0 && status.n_generated > 0) {
            first_ns = r2i_clock_ns();
            n_first = status.n_generated;
        }
        if (n_active > 0 || status.n_generated <= n_first) continue;
        const double seconds = (double)(r2i_clock_ns() - first_ns) * 1e-9,
                     rate = (status.n_generated - n_first) / seconds;
        if (rate > b->answer) b->answered = status;
        keep_best(&b->answer, rate);
    }
    return R2_OK;
}

static r2_status measure_answer(bench *b, r2_error *err) {
    const r2_sequence_options options = { .max_new_tokens = b->o->predict, .n_draft = b->o->draft };
    r2_status status = R2_OK;
    for (int32_t i = 0; b->n_text > 0 && i < b->o->repeat && status == R2_OK; i++) {
        r2_sequence *s;
        R2I_TRY(r2_sequence_create(&s, b->session.engine, &options, err));
        status = r2_sequence_append(s, b->text, b->n_text, err);
        if (status == R2_OK) status = answer_once(b, s, err);
        note_cache(b);
        r2_sequence_destroy(s);
    }
    return status;
}

/* From the start of the process to the first token of a question, as a user would see it. */
static r2_status measure_start(bench *b, r2_error *err) {
    const r2_chat_message message = { .role = "user", .content = "Hi" };
    r2_prompt *prompt = NULL;
    int32_t n_prompt = SHORT_PROMPT;
    double read_s, draw_s;
    if (b->session.info.has_chat_template)
        R2I_TRY(r2_chat_render(&prompt, b->session.model, &message, 1, NULL, err));
    if (prompt != NULL) n_prompt = r2i_min_i32(prompt->n_tokens, b->n_context - 1);
    if (prompt != NULL)
        memcpy(b->prompt, prompt->tokens, (size_t)n_prompt * sizeof *b->prompt);
    else
        fill_prompt(b, n_prompt);
    r2_prompt_destroy(prompt);
    R2I_TRY(measure_once(b, n_prompt, 0, &read_s, &draw_s, err));
    b->start_ms = (double)(r2i_clock_ns() - b->session.program->start_ns) * 1e-6;
    return R2_OK;
}

static int32_t n_threads(const bench *b) {
    return stats_of(b).n_threads;
}

static void note_peak(bench *b) {
    const int64_t peak = r2i_peak_memory();
    if (peak > b->peak_bytes) b->peak_bytes = peak;
}

/* The buffer that is read is none of what the model needs. */
static void measure_reading(bench *b) {
    note_peak(b);
    keep_best(&b->read_rate, r2i_read_rate(n_threads(b), read_seconds));
    r2i_peak_forget();
}

/* Weights are packed for good over the first steps; what comes after them is measured. */
static r2_status warm_up(bench *b, r2_error *err) {
    r2_engine_stats stats = { 0 };
    int64_t before;
    double read_s, draw_s;
    do {
        before = stats.packed_bytes;
        fill_prompt(b, SHORT_PROMPT);
        R2I_TRY(measure_once(b, SHORT_PROMPT, 4, &read_s, &draw_s, err));
        stats = stats_of(b);
    } while (stats.packed_bytes > before);
    return R2_OK;
}

static r2_status measure_all(bench *b, r2_error *err) {
    R2I_TRY(measure_start(b, err));
    R2I_TRY(warm_up(b, err));
    measure_reading(b);
    R2I_TRY(measure_prefill(b, err));
    R2I_TRY(measure_decode(b, err));
    R2I_TRY(measure_batch(b, err));
    R2I_TRY(measure_long(b, err));
    R2I_TRY(measure_answer(b, err));
    measure_reading(b);
    return R2_OK;
}

/* Bytes read per token: the weights, and the cache of an average drawn token. */
static double token_bytes(const bench *b) {
    const double context = (b->o->depth > 0 ? b->o->depth : SHORT_PROMPT) + b->o->predict / 2.0;
    return (double)b->session.info.bytes_per_token +
           context * (double)stats_of(b).cache_bytes_per_token;
}

static double share(const bench *b) {
    return b->read_rate > 0 ? b->decode * token_bytes(b) / (b->read_rate * 1e9) : 0;
}

static int print_json(bench *b) {
    const r2_model_info *info = &b->session.info;
    const r2_engine_stats stats = stats_of(b);
    json_t *o = json_object();
    const struct {
        const char *key;
        json_t *value;
    } rows[] = {
        { "model", json_string(b->session.path) },
        { "architecture", json_string(info->architecture) },
        { "weight_types", json_string(info->weight_types) },
        { "cpu_level", json_string(info->cpu_level) },
        { "threads", json_integer(n_threads(b)) },
        { "prompt_tokens", json_integer(b->o->prompt_tokens) },
        { "generated_tokens", json_integer(b->o->predict) },
        { "streams", json_integer(b->o->streams) },
        { "depth", json_integer(b->o->depth) },
        { "repeat", json_integer(b->o->repeat) },
        { "prefill_tok_s", json_real(b->prefill) },
        { "decode_tok_s", json_real(b->decode) },
        { "batch_decode_tok_s", json_real(b->batch) },
        { "bytes_per_token", json_integer(info->bytes_per_token) },
        { "cache_type", json_string(stats.cache_rows) },
        { "cache_bytes_per_token", json_integer(stats.cache_bytes_per_token) },
        { "read_gb_s", json_real(b->read_rate) },
        { "share_of_bandwidth", json_real(share(b)) },
        { "start_to_first_token_ms", json_real(b->start_ms) },
        { "long_prompt_tokens", b->o->long_prompt > 0 ? json_integer(b->o->long_prompt) : NULL },
        { "long_prompt_cold_ms", b->o->long_prompt > 0 ? json_real(b->cold_ms) : NULL },
        { "long_prompt_cached_ms", b->o->long_prompt > 0 ? json_real(b->cached_ms) : NULL },
        { "answer_tok_s", b->n_text > 0 ? json_real(b->answer) : NULL },
        { "answer_tokens", b->n_text > 0 ? json_integer(b->answered.n_generated) : NULL },
        { "answer_drafted", b->n_text > 0 ? json_integer(b->answered.n_drafted) : NULL },
        { "answer_accepted", b->n_text > 0 ? json_integer(b->answered.n_accepted) : NULL },
        { "cache_bytes", json_integer(b->cache_bytes) },
        { "peak_rss_mb", json_real((double)b->peak_bytes * 1e-6) },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (rows[i].value != NULL) (void)json_object_set_new(o, rows[i].key, rows[i].value);
    }
    return r2i_program_print_json(b->session.program, o);
}

static int print_table(const bench *b) {
    const r2_model_info *info = &b->session.info;
    const r2_engine_stats stats = stats_of(b);
    printf("%s\n%s, %s; %s, %d threads\n\n", b->session.path, info->architecture,
           info->weight_types, info->cpu_level, n_threads(b));
    printf("%-34s %10.1f tok/s\n", "prefill", b->prefill);
    printf("%-34s %10.1f tok/s   %.0f %% of the bandwidth\n", "decode, one stream", b->decode,
           100 * share(b));
    if (b->o->streams > 1)
        printf("decode, %4d streams               %10.1f tok/s\n", b->o->streams, b->batch);
    printf("%-34s %10.1f ms\n", "process start to first token", b->start_ms);
    if (b->o->long_prompt > 0) {
        printf("prompt of %7d tokens, cold      %10.1f ms\n", b->o->long_prompt, b->cold_ms);
        printf("prompt of %7d tokens, cached    %10.1f ms\n", b->o->long_prompt, b->cached_ms);
    }
    if (b->n_text > 0)
        printf("%-34s %10.1f tok/s   %d tokens, %d of %d guesses right\n", "answer to the text",
               b->answer, b->answered.n_generated, b->answered.n_accepted, b->answered.n_drafted);
    printf("%-34s %10.1f GB/s\n", "reading memory", b->read_rate);
    printf("%-34s %10.1f MB\n", "read per token", token_bytes(b) * 1e-6);
    printf("cache of %-25s %10.1f kB per token\n", stats.cache_rows,
           (double)stats.cache_bytes_per_token * 1e-3);
    printf("%-34s %10.1f MB\n", "most memory held", (double)b->peak_bytes * 1e-6);
    return R2I_EXIT_OK;
}

static r2_status run_all(bench *b, r2i_program *p, r2_error *err) {
    const char *path, *name = p->options->model;
    if (name == NULL || (p->arguments.n_words > 0 && !p->arguments.has_model_flag)) {
        name = p->arguments.n_words > 0 ? p->arguments.words[0] : name;
    }
    R2I_TRY(r2i_model_resolve(&path, p, name, err));
    r2i_signals_catch();
    R2I_TRY(r2i_session_open_model(&b->session, p, path, err));
    R2I_TRY(read_text(b, err));
    b->n_context = r2i_max_i32(longest(b), 512);
    const r2_engine_options options = { .n_context = b->n_context,
                                        .n_sequences = b->o->streams + 2,
                                        .cache_bytes = cache_room(b) };
    R2I_TRY(r2i_session_open_engine(&b->session, &options, err));
    b->prompt = R2I_ARENA_ARRAY(&p->arena, r2_token, (size_t)b->n_context);
    if (b->prompt == NULL)
        return r2i_fail(err, R2_E_NOMEM, "no memory for a prompt of %d tokens", b->n_context);
    return measure_all(b, err);
}

int r2i_bench_command(r2i_program *p) {
    bench b = { .o = p->options };
    r2_error err = { R2_OK, "" };
    const r2_status status = run_all(&b, p, &err);
    int code;
    if (status == R2_OK) {
        code = p->options->wants_json ? print_json(&b) : print_table(&b);
    } else {
        code = r2i_program_fail(p, status, &err);
        if (status == R2_E_NOT_FOUND) r2i_models_hint(p);
    }
    r2i_session_close(&b.session);
    return code;
}

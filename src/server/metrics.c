/* metrics.c - what the server did, in Prometheus' text format 0.0.4. */
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "base/failure.h"
#include "server/server_state.h"

/* ---- counting ---- */

void r2i_metrics_note_ending(r2i_counters *c, const char *route, int http) {
    for (int32_t i = 0; i < c->n_endings; i++) {
        if (c->endings[i].http != http || strcmp(c->endings[i].route, route) != 0) continue;
        c->endings[i].n++;
        return;
    }
    if (c->n_endings < R2I_N_ENDINGS) c->endings[c->n_endings++] = (r2i_ending){ route, http, 1 };
}

void r2i_metrics_note_answer(r2i_counters *c, const r2i_job_out *o, int64_t begin_ns) {
    const int64_t now = r2i_clock_ns();
    c->n_prompt_tokens += o->n_prompt;
    c->n_generated_tokens += o->n_generated;
    c->n_thinking_tokens += o->n_thinking;
    if (o->is_looked_up) {
        c->n_misses[o->miss]++;
        c->n_missed_tokens[o->miss] += o->n_prompt - o->n_cached;
    }
    if (o->first_ns == 0) return;
    r2i_histogram_note(&c->first_token, (double)(o->first_ns - begin_ns) * 1e-9, 1);
    r2i_histogram_note(&c->whole, (double)(now - begin_ns) * 1e-9, 1);
    r2i_histogram_note(&c->service, (double)(now - o->begin_ns) * 1e-9, 1);
}

/* ---- writing ---- */

typedef struct {
    const char *name, *labels, *type, *help;
    double value;
} metric;

static r2_status write_metric(const metric *m, r2i_buffer *out) {
    R2I_TRY(r2i_buffer_append_format(out, NULL, "# HELP r2:%s %s\n# TYPE r2:%s %s\n", m->name,
                                     m->help, m->name, m->type));
    return r2i_buffer_append_format(out, NULL, "r2:%s%s %.17g\n", m->name, m->labels, m->value);
}

static r2_status write_endings(const r2i_counters *c, r2i_buffer *out) {
    R2I_TRY(r2i_buffer_append_text(
        out,
        "# HELP r2:requests_total Requests by endpoint and status; 499: the client left.\n"
        "# TYPE r2:requests_total counter\n",
        NULL));
    for (int32_t i = 0; i < c->n_endings; i++) {
        const r2i_ending *e = &c->endings[i];
        R2I_TRY(r2i_buffer_append_format(
            out, NULL, "r2:requests_total{endpoint=\"%s\",code=\"%d\"} %" PRId64 "\n", e->route,
            e->http, e->n));
    }
    return R2_OK;
}

static r2_status write_by_reason(const char *name, const char *help, const int64_t *values,
                                 r2i_buffer *out) {
    R2I_TRY(r2i_buffer_append_format(out, NULL, "# HELP r2:%s %s\n# TYPE r2:%s counter\n", name,
                                     help, name));
    for (int i = 0; i < R2I_N_MISSES; i++)
        R2I_TRY(r2i_buffer_append_format(out, NULL, "r2:%s{reason=\"%s\"} %" PRId64 "\n", name,
                                         r2i_miss_name((r2_cache_miss)i), values[i]));
    return R2_OK;
}

static r2_status write_counters(const r2i_counters *c, r2i_buffer *out) {
    R2I_TRY(write_endings(c, out));
    R2I_TRY(write_by_reason("prefix_cache_requests_total",
                            "Requests by what ended the cached part of their prompt.", c->n_misses,
                            out));
    R2I_TRY(write_by_reason("prefix_cache_missed_tokens_total",
                            "Prompt tokens of these that were not found.", c->n_missed_tokens,
                            out));
    R2I_TRY(r2i_histogram_write(&c->first_token, "time_to_first_token_seconds",
                                "From a request to its first token.", out));
    return r2i_histogram_write(&c->whole, "e2e_request_latency_seconds",
                               "From a request to the end of its answer.", out);
}

static double ratio(double part, double whole) {
    return whole > 0 ? part / whole : 0;
}

r2_status r2i_metrics_write(r2i_server *s, r2i_buffer *out) {
    const r2i_counters *c = &s->counters;
    (void)pthread_mutex_lock(&s->desk.lock);
    const r2_engine_stats e = s->desk.stats;
    const r2i_histogram between_tokens = s->desk.between_tokens;
    const double reading_s = s->desk.reading_s, writing_s = s->desk.writing_s,
                 n_running = s->desk.n_running,
                 n_waiting = (double)(s->desk.to_write.line.n + s->desk.to_read.n);
    (void)pthread_mutex_unlock(&s->desk.lock);
    (void)pthread_mutex_lock(&s->grammars.lock);
    const int64_t n_compiled = s->grammars.n_compiled, n_hits = s->grammars.n_hits;
    (void)pthread_mutex_unlock(&s->grammars.lock);
    const double n_found = (double)e.n_cached_tokens,
                 n_asked = (double)(e.n_cached_tokens + e.n_prompt_tokens);
    const char *const ram = "{tier=\"ram\"}", *const none = "";
    const metric metrics[] = {
        { "prompt_tokens_total", none, "counter", "Prompt tokens of answered requests.",
          (double)c->n_prompt_tokens },
        { "tokens_predicted_total", none, "counter", "Tokens generated.",
          (double)c->n_generated_tokens },
        { "reasoning_tokens_total", none, "counter", "Of these, thoughts.",
          (double)c->n_thinking_tokens },
        { "prompt_seconds_total", none, "counter", "Reading prompts, summed over answers.",
          reading_s },
        { "tokens_predicted_seconds_total", none, "counter", "Writing, summed over answers.",
          writing_s },
        { "engine_seconds_total", none, "counter", "Time spent computing.",
          (double)e.step_ns * 1e-9 },
        { "engine_steps_total", none, "counter", "Batches computed.", (double)e.n_steps },
        { "requests_processing", none, "gauge", "Answers being written.", n_running },
        { "requests_deferred", none, "gauge", "Answers waiting to be begun.", n_waiting },
        { "connections", none, "gauge", "Open connections.", (double)s->n_connections },
        { "prefix_cache_queries_total", ram, "counter", "Prompt tokens looked up.", n_asked },
        { "prefix_cache_hits_total", ram, "counter", "Of these, found.", n_found },
        { "prefix_cache_evicted_pages_total", ram, "counter",
          "Known pages whose memory was needed.", (double)e.n_pages_evicted },
        { "kv_cache_usage_ratio", none, "gauge", "Share of the cache that running answers hold.",
          ratio(e.n_pages_used, e.n_pages) },
        { "kv_cache_kept_ratio", none, "gauge", "Share that known prefixes hold beside them.",
          ratio(e.n_pages_kept, e.n_pages) },
        { "preemptions_total", none, "counter",
          "Times that an answer gave its cache to an older one.", (double)e.n_preempted },
        { "grammars_compiled_total", none, "counter", "Grammars of answers compiled.",
          (double)n_compiled },
        { "grammar_cache_hits_total", none, "counter", "Grammars taken from those kept.",
          (double)n_hits },
        { "spec_decode_num_draft_tokens_total", none, "counter", "Tokens guessed ahead.",
          (double)e.n_drafted_tokens },
        { "spec_decode_num_accepted_tokens_total", none, "counter", "Of these, right.",
          (double)e.n_accepted_tokens },
    };
    for (size_t i = 0; i < sizeof metrics / sizeof *metrics; i++)
        R2I_TRY(write_metric(&metrics[i], out));
    R2I_TRY(r2i_histogram_write(&between_tokens, "inter_token_latency_seconds",
                                "Between two tokens of an answer.", out));
    return write_counters(c, out);
}

/* metrics.c - counters in Prometheus' text format 0.0.4. */
#include <inttypes.h>

#include "base/failure.h"
#include "server/server_state.h"

typedef struct {
    const char *name, *type, *help;
    double value;
} metric;

static r2_status write_one(const metric *m, r2i_buffer *out) {
    return r2i_buffer_append_format(out, NULL,
                                    "# HELP r2lm:%s %s\n# TYPE r2lm:%s %s\nr2lm:%s %.17g\n",
                                    m->name, m->help, m->name, m->type, m->name, m->value);
}

static r2_status write_codes(const r2i_counters *c, r2i_buffer *out) {
    R2I_TRY(r2i_buffer_append_text(
        out,
        "# HELP r2lm:requests_total Requests by status; 499: the client left.\n"
        "# TYPE r2lm:requests_total counter\n",
        NULL));
    for (int code = 0; code < R2I_N_CODES; code++) {
        if (c->n_by_code[code] == 0) continue;
        R2I_TRY(r2i_buffer_append_format(
            out, NULL, "r2lm:requests_total{code=\"%d\"} %" PRId64 "\n", code, c->n_by_code[code]));
    }
    return R2_OK;
}

r2_status r2i_metrics_write(r2i_server *s, r2i_buffer *out) {
    const r2i_counters *c = &s->counters;
    (void)pthread_mutex_lock(&s->desk.lock);
    const r2_engine_stats e = s->desk.stats;
    const double n_running = s->desk.n_running,
                 n_waiting = (double)(s->desk.to_write.n + s->desk.to_read.n),
                 n_restarts = (double)s->desk.n_restarts;
    (void)pthread_mutex_unlock(&s->desk.lock);
    const double n_found = (double)e.n_cached_tokens,
                 n_asked = (double)(e.n_cached_tokens + e.n_prompt_tokens);
    const metric metrics[] = {
        { "prompt_tokens_total", "counter", "Prompt tokens of answered requests.",
          (double)c->n_prompt_tokens },
        { "tokens_predicted_total", "counter", "Tokens generated.", (double)c->n_generated_tokens },
        { "reasoning_tokens_total", "counter", "Of these, thoughts.",
          (double)c->n_thinking_tokens },
        { "prefix_cache_queries_total", "counter", "Prompt tokens looked up.", n_asked },
        { "prefix_cache_hits_total", "counter", "Of these, found in the cache.", n_found },
        { "requests_processing", "gauge", "Requests being answered.", n_running },
        { "requests_deferred", "gauge", "Requests waiting.", n_waiting },
        { "requests_restarted_total", "counter", "Begun anew because the cache was full.",
          n_restarts },
        { "connections", "gauge", "Open connections.", (double)s->n_connections },
        { "kv_cache_usage_ratio", "gauge", "Cache pages held by running requests.",
          e.n_pages > 0 ? (double)e.n_pages_used / e.n_pages : 0 },
        { "engine_seconds_total", "counter", "Time spent computing.", (double)e.step_ns * 1e-9 },
        { "spec_decode_num_draft_tokens_total", "counter", "Tokens guessed ahead.",
          (double)e.n_drafted_tokens },
        { "spec_decode_num_accepted_tokens_total", "counter", "Of these, right.",
          (double)e.n_accepted_tokens },
        { "time_to_first_token_seconds_sum", "counter", "Waiting for first tokens.",
          c->first_token_s },
        { "time_to_first_token_seconds_count", "counter", "Answers with a first token.",
          (double)c->n_answers },
        { "e2e_request_latency_seconds_sum", "counter", "Time of answers.", c->request_s },
    };
    for (size_t i = 0; i < sizeof metrics / sizeof *metrics; i++)
        R2I_TRY(write_one(&metrics[i], out));
    return write_codes(c, out);
}

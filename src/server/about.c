#include "server/about.h"

enum { METRICS_BYTES = 1 << 20 };

void r2i_show_health(r2i_server *s, struct evhttp_request *request, const char *path) {
    (void)path;
    if (s->is_draining)
        r2i_reply_refuse_text(s, request, "/health", 503, NULL, "the server stops");
    else
        r2i_reply_json(s, request, "/health", json_pack("{s:s}", "status", "ok"));
}

void r2i_show_version(r2i_server *s, struct evhttp_request *request, const char *path) {
    (void)path;
    r2i_reply_json(s, request, "/version",
                   json_pack("{s:s, s:s}", "name", "r2lm", "version", R2LM_VERSION));
}

void r2i_show_metrics(r2i_server *s, struct evhttp_request *request, const char *path) {
    r2i_buffer body;
    (void)path;
    r2i_buffer_init(&body, &s->heap, METRICS_BYTES);
    if (r2i_metrics_write(s, &body) == R2_OK)
        r2i_reply_send(s, request, 200, "/metrics", "text/plain; version=0.0.4; charset=utf-8",
                       &body);
    else
        r2i_reply_refuse_text(s, request, "/metrics", 503, NULL, "no memory for the reply");
    r2i_buffer_destroy(&body);
}

/* ---- as llama.cpp's server says it, without paths and texts ---- */

static json_t *describe_defaults(const r2i_server_options *o) {
    const r2_sampling *s = &o->defaults.sampling;
    return json_pack("{s:f, s:i, s:f, s:f, s:f, s:f, s:f, s:i}", "temperature",
                     (double)s->temperature, "top_k", s->top_k, "top_p", (double)s->top_p, "min_p",
                     (double)s->min_p, "repeat_penalty", (double)s->repetition_penalty,
                     "presence_penalty", (double)s->presence_penalty, "frequency_penalty",
                     (double)s->frequency_penalty, "n_predict",
                     o->defaults.max_new_tokens > 0 ? o->defaults.max_new_tokens : -1);
}

void r2i_show_props(r2i_server *s, struct evhttp_request *request, const char *path) {
    const r2i_server_options *o = s->options;
    r2_model_info info;
    (void)path;
    r2_model_get_info(o->model, &info);
    json_t *settings =
        json_pack("{s:i, s:o}", "n_ctx", o->n_context, "params", describe_defaults(o));
    json_t *props =
        json_pack("{s:o, s:i, s:s, s:s, s:{s:b, s:b}, s:b, s:b}", "default_generation_settings",
                  settings, "total_slots", o->n_parallel, "model_alias", o->model_id, "build_info",
                  "r2lm-" R2LM_VERSION, "modalities", "vision", 0, "audio", 0, "has_chat_template",
                  (int)info.has_chat_template, "can_think", (int)info.can_think);
    r2i_reply_json(s, request, "/props", props);
}

/* One answer that is being read or written; numbers only, whosever it is. */
static json_t *describe_slot(const r2i_server *s, int32_t id, const r2i_choice *choice) {
    json_t *slot = json_pack("{s:i, s:i, s:b}", "id", id, "n_ctx", s->options->n_context,
                             "is_processing", choice != NULL);
    if (choice == NULL) return slot;
    (void)json_object_set_new(slot, "n_prompt_tokens", json_integer(choice->prompt->n_tokens));
    (void)json_object_set_new(slot, "n_prompt_tokens_processed", json_integer(choice->n_computed));
    (void)json_object_set_new(slot, "n_decoded", json_integer(choice->n_drawn));
    return slot;
}

void r2i_show_slots(r2i_server *s, struct evhttp_request *request, const char *path) {
    json_t *slots = json_array();
    int32_t n = 0;
    (void)path;
    (void)pthread_mutex_lock(&s->desk.lock);
    for (const r2i_pending *p = s->pendings; p != NULL; p = p->next) {
        const r2i_job *job = p->job;
        for (int32_t i = 0; job->out.is_accepted && i < job->n_choices; i++) {
            if (job->choices[i].sequence != NULL)
                (void)json_array_append_new(slots, describe_slot(s, n++, &job->choices[i]));
        }
    }
    (void)pthread_mutex_unlock(&s->desk.lock);
    while (n < s->options->n_parallel)
        (void)json_array_append_new(slots, describe_slot(s, n++, NULL));
    r2i_reply_json(s, request, "/slots", slots);
}

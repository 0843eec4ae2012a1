#include "server/wishes.h"

#include <stdlib.h>
#include <string.h>

#include "base/failure.h"
#include "server/request_fields.h"

static const double least_repetition = 0.01;

typedef struct {
    int64_t top_k, seed, n;
    double temperature, top_p, min_p, presence_penalty, frequency_penalty, repetition_penalty;
    const char *user, *user_id;
    bool is_stream, wants_progress, ignores_end;
} values;

#define AT(name) (int)offsetof(values, name)
static const r2i_field fields[] = {
    { "model", R2I_FIELD_TEXT, R2I_FIELD_NOWHERE, 0, 0 },
    { "temperature", R2I_FIELD_REAL, AT(temperature), 0, 2 },
    { "top_p", R2I_FIELD_REAL, AT(top_p), 0, 1 },
    { "top_k", R2I_FIELD_COUNT, AT(top_k), 0, 1 << 24 },
    { "min_p", R2I_FIELD_REAL, AT(min_p), 0, 1 },
    { "presence_penalty", R2I_FIELD_REAL, AT(presence_penalty), -2, 2 },
    { "frequency_penalty", R2I_FIELD_REAL, AT(frequency_penalty), -2, 2 },
    { "repetition_penalty", R2I_FIELD_REAL, AT(repetition_penalty), 0, 10 },
    { "seed", R2I_FIELD_COUNT, AT(seed), -9223372036854775808.0, 9223372036854774784.0 },
    { "n", R2I_FIELD_COUNT, AT(n), 1, R2I_MAX_CHOICES },
    { "ignore_eos", R2I_FIELD_FLAG, AT(ignores_end), 0, 0 },
    { "stop", R2I_FIELD_ELSEWHERE, 0, 0, 0 },
    { "stream", R2I_FIELD_FLAG, AT(is_stream), 0, 0 },
    { "stream_options", R2I_FIELD_OBJECT, R2I_FIELD_NOWHERE, 0, 0 },
    { "logit_bias", R2I_FIELD_OBJECT, R2I_FIELD_NOWHERE, 0, 0 },
    { "return_progress", R2I_FIELD_FLAG, AT(wants_progress), 0, 0 },
    { "user", R2I_FIELD_TEXT, AT(user), 0, 0 },
    { "user_id", R2I_FIELD_TEXT, AT(user_id), 0, 0 },
    { "prompt_cache_key", R2I_FIELD_TEXT, R2I_FIELD_NOWHERE, 0, 0 },
    { "metadata", R2I_FIELD_OBJECT, R2I_FIELD_NOWHERE, 0, 0 },
    { "store", R2I_FIELD_FLAG, R2I_FIELD_NOWHERE, 0, 0 },
    { "response_format", R2I_FIELD_ELSEWHERE, 0, 0, 0 }, /* answer_form.c, and its other names */
    { "service_tier", R2I_FIELD_IGNORED, 0, 0, 0 },
};
static const r2i_field_table table = { fields, sizeof fields / sizeof *fields };

static r2_status read_stop(r2i_wishes *w, const json_t *body, r2i_refusal *r) {
    const json_t *stop = json_object_get(body, "stop");
    const size_t n = json_array_size(stop);
    if (!r2i_json_is_given(stop)) return R2_OK;
    if (!json_is_string(stop) && !json_is_array(stop))
        return r2i_refuse_type(r, "stop", "a text or an array of texts", stop);
    if (n > R2I_MAX_STOPS)
        return r2i_refuse(r, 400, "stop", "out_of_range", "stop: expected at most %d texts",
                          R2I_MAX_STOPS);
    for (size_t i = 0; i < (json_is_array(stop) ? n : 1); i++) {
        const json_t *item = json_is_array(stop) ? json_array_get(stop, i) : stop;
        if (!json_is_string(item)) return r2i_refuse_type(r, "stop", "texts in the array", item);
        if (json_string_length(item) == 0 || json_string_length(item) > 1024)
            return r2i_refuse(r, 400, "stop", "out_of_range",
                              "stop: expected texts of 1 to 1024 bytes");
        w->stops[w->n_stops++] = json_string_value(item);
    }
    return R2_OK;
}

static r2_status read_stream_options(r2i_wishes *w, const json_t *body, r2i_refusal *r) {
    const json_t *o = json_object_get(body, "stream_options");
    const json_t *usage = json_object_get(o, "include_usage");
    if (!r2i_json_is_given(usage)) return R2_OK;
    if (!json_is_boolean(usage))
        return r2i_refuse_type(r, "stream_options.include_usage", "true or false", usage);
    w->wants_usage = json_is_true(usage);
    return R2_OK;
}

/* {"token": -100 .. 100} with the token's number as text. */
static r2_status read_biases(r2i_wishes *w, const json_t *body, r2i_refusal *r) {
    json_t *biases = json_object_get(body, "logit_bias"), *value;
    const char *name;
    if (json_object_size(biases) > R2I_MAX_BIASES)
        return r2i_refuse(r, 400, "logit_bias", "out_of_range",
                          "logit_bias: expected at most %d tokens", R2I_MAX_BIASES);
    json_object_foreach(biases, name, value) {
        const double bias = json_number_value(value);
        if (name[0] == '\0' || strlen(name) > 9 || strspn(name, "0123456789") != strlen(name))
            return r2i_refuse(r, 400, "logit_bias", "invalid_value",
                              "logit_bias: expected numbers of tokens as names, found \"%.20s\"",
                              name);
        if (!json_is_number(value)) return r2i_refuse_type(r, "logit_bias", "numbers", value);
        if (!(bias >= -100 && bias <= 100))
            return r2i_refuse(r, 400, "logit_bias", "out_of_range",
                              "logit_bias: expected -100 to 100, found %g", bias);
        w->biases[w->n_biases++] = (r2_logit_bias){ (r2_token)strtol(name, NULL, 10), (float)bias };
    }
    return R2_OK;
}

/* Divided by less, logits are no numbers any more. */
static r2_status check_repetition(double penalty, r2i_refusal *r) {
    static const char name[] = "repetition_penalty";
    return penalty == 0 || penalty >= least_repetition
               ? R2_OK
               : r2i_refuse(r, 400, name, "out_of_range", "%s: expected 0 or %g to 10, found %g",
                            name, least_repetition, penalty);
}

static void take_values(r2i_wishes *w, const values *v) {
    r2_sampling *s = &w->options.sampling;
    s->temperature = (float)v->temperature;
    s->top_p = (float)v->top_p;
    s->top_k = (int32_t)v->top_k;
    s->min_p = (float)v->min_p;
    s->presence_penalty = (float)v->presence_penalty;
    s->frequency_penalty = (float)v->frequency_penalty;
    s->repetition_penalty = (float)v->repetition_penalty;
    s->seed = (uint64_t)v->seed;
    w->options.ignores_end = v->ignores_end;
    w->user = v->user_id != NULL ? v->user_id : v->user;
    w->is_stream = v->is_stream;
    w->wants_progress = v->wants_progress;
    w->n_choices = (int32_t)v->n;
}

bool r2i_wishes_have_field(const char *name) {
    return r2i_fields_have(&table, name);
}

r2_status r2i_wishes_read(r2i_wishes *w, const json_t *body, r2i_refusal *r) {
    const r2_sampling *s = &w->options.sampling;
    values v = { .temperature = s->temperature,
                 .top_p = s->top_p,
                 .top_k = s->top_k,
                 .min_p = s->min_p,
                 .presence_penalty = s->presence_penalty,
                 .frequency_penalty = s->frequency_penalty,
                 .repetition_penalty = s->repetition_penalty,
                 .seed = (int64_t)s->seed,
                 .n = 1 };
    R2I_TRY(r2i_fields_read(&table, body, &v, r));
    R2I_TRY(check_repetition(v.repetition_penalty, r));
    take_values(w, &v);
    R2I_TRY(read_stop(w, body, r));
    R2I_TRY(read_biases(w, body, r));
    R2I_TRY(read_stream_options(w, body, r));
    return r2i_answer_form_read(&w->form, body, r);
}

r2_status r2i_wishes_check(const r2i_wishes *w, int32_t n_vocab, r2i_refusal *r) {
    for (int32_t i = 0; i < w->n_biases; i++) {
        if (w->biases[i].token >= n_vocab)
            return r2i_refuse(r, 400, "logit_bias", "out_of_range",
                              "logit_bias: expected tokens of 0 to %d, found %d", n_vocab - 1,
                              w->biases[i].token);
    }
    return R2_OK;
}

r2_sequence_options r2i_wishes_options(const r2i_wishes *w, int32_t i) {
    r2_sequence_options options = w->options;
    options.sampling.seed += (uint64_t)i;
    options.sampling.biases = w->biases;
    options.sampling.n_biases = w->n_biases;
    return options;
}

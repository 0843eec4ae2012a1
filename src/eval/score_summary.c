#include "eval/score_summary.h"

#include <stdio.h>
#include <string.h>

static bool is_in(const r2i_eval_item *item, const char *group) {
    return group == NULL || (item->group != NULL && strcmp(item->group, group) == 0);
}

static int32_t count_right(const r2i_eval_scores *s, int32_t item, bool is_lenient) {
    const r2i_eval_record *r = s->records + (size_t)item * (size_t)s->n_samples;
    int32_t n = 0;
    for (int32_t i = 0; i < s->n_samples; i++)
        n += r[i].is_done && (is_lenient ? r[i].is_found : r[i].is_right);
    return n;
}

/* pass@k: with k = 1 the share of right answers. */
static r2_eval_share pass_at(const r2i_eval_scores *s, const char *group, int32_t k,
                             bool is_lenient) {
    double sum = 0;
    int64_t n = 0;
    for (int32_t i = 0; i < s->n_items; i++) {
        if (!is_in(&s->items[i], group)) continue;
        sum += r2_eval_pass_at_k(s->n_samples, count_right(s, i, is_lenient), k);
        n++;
    }
    return r2_eval_wilson(sum, n);
}

r2_eval_share r2i_score_of(const r2i_eval_scores *scores, const char *group, bool is_lenient) {
    return pass_at(scores, group, 1, is_lenient);
}

static json_t *share_json(r2_eval_share share) {
    return json_pack("{s:f, s:f, s:f}", "value", share.value, "low", share.low, "high", share.high);
}

static json_t *group_json(const r2i_eval_scores *s, const char *group) {
    int64_t n_items = 0, n_form = 0, n_cut = 0, n_right = 0, n_tokens = 0;
    for (int32_t i = 0; i < s->n_items; i++) {
        if (!is_in(&s->items[i], group)) continue;
        n_items++;
        for (int32_t k = 0; k < s->n_samples; k++) {
            const r2i_eval_record *r = &s->records[(size_t)i * (size_t)s->n_samples + (size_t)k];
            n_form += r->has_form;
            n_cut += r->stop == R2I_STOP_LENGTH;
            n_right += r->is_right;
            n_tokens += r->n_tokens;
        }
    }
    json_t *out =
        json_pack("{s:I, s:i, s:I, s:I, s:I, s:I}", "items", (json_int_t)n_items, "samples",
                  s->n_samples, "right", (json_int_t)n_right, "in_form", (json_int_t)n_form, "cut",
                  (json_int_t)n_cut, "tokens", (json_int_t)n_tokens);
    for (int32_t k = 1; k <= s->n_samples && out != NULL; k *= 2) {
        char name[32];
        (void)snprintf(name, sizeof name, "pass@%d", k);
        (void)json_object_set_new(out, name, share_json(pass_at(s, group, k, false)));
        if (!s->suite->about.has_lenient) continue;
        (void)snprintf(name, sizeof name, "lenient_pass@%d", k);
        (void)json_object_set_new(out, name, share_json(pass_at(s, group, k, true)));
    }
    return out;
}

/* How many items of a group expect the answer that most of them expect. */
static json_int_t count_majority(const r2i_eval_scores *s, const char *group) {
    json_t *counts = json_object();
    json_int_t most = 0;
    for (int32_t i = 0; i < s->n_items; i++) {
        const char *expected = s->items[i].expected;
        if (expected == NULL || !is_in(&s->items[i], group)) continue;
        const json_int_t n = json_integer_value(json_object_get(counts, expected)) + 1;
        (void)json_object_set_new(counts, expected, json_integer(n));
        if (n > most) most = n;
    }
    json_decref(counts);
    return most;
}

/* What no model is needed for: one answer to all items of a group.  Returns how many are right. */
static json_int_t add_majority(json_t *out, const r2i_eval_scores *s, const char *group) {
    const json_int_t n = count_majority(s, group),
                     n_items = json_integer_value(json_object_get(out, "items"));
    (void)json_object_set_new(out, "majority", json_real((double)n / (double)n_items));
    return n;
}

json_t *r2i_score_json(const r2i_eval_scores *s) {
    json_t *out = group_json(s, NULL), *groups = json_object();
    json_int_t n_majority = 0;
    for (int32_t i = 0; i < s->n_items; i++) {
        const char *group = s->items[i].group;
        if (group == NULL || json_object_get(groups, group) != NULL) continue;
        json_t *numbers = group_json(s, group);
        if (s->suite->has_answers) n_majority += add_majority(numbers, s, group);
        (void)json_object_set_new(groups, group, numbers);
    }
    const bool has_groups = json_object_size(groups) > 0;
    if (s->suite->has_answers && !has_groups) (void)add_majority(out, s, NULL);
    if (s->suite->has_answers && has_groups)
        (void)json_object_set_new(out, "majority", json_real((double)n_majority / s->n_items));
    if (has_groups) (void)json_object_set(out, "groups", groups);
    json_decref(groups);
    return out;
}

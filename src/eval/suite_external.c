/* suite_external.c - questions and judgements of a program of the user's own (r2lm/verifier.h), such as the one
 * that brings reasoning-gym. */
#include <pthread.h>
#include <stdio.h>

#include "base/failure.h"
#include "eval/suite_load.h"
#include "r2lm/verifier.h"

enum { DEFAULT_ITEMS = 100 };

/* One program, which takes one request at a time. */
typedef struct {
    r2_verifier *verifier;
    pthread_mutex_t lock;
} shared;

static r2_status add_level(r2i_eval_load *load, shared *s, int32_t level, r2_error *err) {
    const int32_t n = load->options->limit > 0 ? load->options->limit : DEFAULT_ITEMS;
    char text[48];
    (void)snprintf(text, sizeof text, "level %d", level);
    const char *group = r2i_eval_copy(load, text);
    for (int32_t i = 0; i < n; i++) {
        r2_task_item made;
        R2I_TRY(r2_verifier_make(s->verifier, &made, level, load->options->sampling.seed,
                                 (uint64_t)i, err));
        (void)snprintf(text, sizeof text, " level %d #%d", level, i);
        const r2i_eval_item item = { .id = r2i_eval_join(load, r2_verifier_name(s->verifier), text,
                                                         ""),
                                     .group = group,
                                     .question = r2i_eval_copy(load, made.prompt),
                                     .expected = r2i_eval_copy(load, made.expected),
                                     .own = s };
        if (item.expected == NULL || group == NULL)
            return r2i_fail(err, R2_E_NOMEM, "no memory for items");
        R2I_TRY(r2i_eval_add(load, &item, err));
    }
    return R2_OK;
}

static r2_status load_items(r2i_eval_load *load, r2_error *err) {
    const r2_eval_options *o = load->options;
    if (o->verifier == NULL)
        return r2i_fail(err, R2_E_ARGUMENT, "external: expected the command of a verifier");
    shared *s = R2I_ARENA_NEW(load->arena, shared);
    if (s == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for a verifier");
    const r2_verifier_options how = { .command = o->verifier,
                                      .reply_seconds = o->verifier_seconds };
    R2I_TRY(r2_verifier_open(&s->verifier, &how, err));
    (void)pthread_mutex_init(&s->lock, NULL);
    load->own = s;
    const int32_t n_levels = r2_verifier_levels(s->verifier);
    if (n_levels < 1) return r2i_fail(err, R2_E_ARGUMENT, "%.80s: makes no items", o->verifier);
    if (o->level > n_levels)
        return r2i_fail(err, R2_E_ARGUMENT, "%.80s: expected a level of 1 to %d, found %d",
                        o->verifier, n_levels, o->level);
    for (int32_t level = 1; level <= n_levels; level++) {
        if (o->level == 0 || o->level == level) R2I_TRY(add_level(load, s, level, err));
    }
    return R2_OK;
}

static void close_verifier(r2i_eval_load *load) {
    shared *s = load->own;
    if (s == NULL) return;
    r2_verifier_close(s->verifier);
    (void)pthread_mutex_destroy(&s->lock);
}

static r2_status judge(r2_grade *grade, const r2i_eval_item *item, const r2i_eval_text *answer,
                       const r2_host *host, r2_error *err) {
    shared *s = item->own;
    (void)host;
    (void)pthread_mutex_lock(&s->lock);
    const r2_status status = r2_verifier_grade(s->verifier, grade, item->question, item->expected,
                                               answer->text, answer->n_bytes, err);
    (void)pthread_mutex_unlock(&s->lock);
    return status;
}

const r2i_eval_suite r2i_suite_external = {
    .about = { .name = "external",
               .about =
                   "asked and judged by a program of yours that speaks JSON lines (--verifier)",
               .files = "",
               .origin = "",
               .max_new_tokens = 512 },
    .load = load_items,
    .judge = judge,
    .close = close_verifier
};

#include "server/engine_loop.h"

#include "base/clock.h"

/* ---- the end of a choice; all under the desk's lock ---- */

static void let_go(r2i_engine_loop *l, r2i_choice *choice) {
    r2i_choice_release(choice);
    r2i_desk_end_choice(l->desk, choice);
}

/* Ends the whole request: choices that wait end now, those that run after the next step. */
static void fail(r2i_engine_loop *l, r2i_choice *choice, int http, const char *code,
                 const char *text) {
    r2i_job *job = choice->job;
    if (job->out.refusal.http == 0)
        (void)r2i_refuse(&job->out.refusal, http, NULL, code, "%s", text);
    let_go(l, choice);
    for (int32_t i = 0; i < job->n_choices; i++) {
        r2i_choice *other = &job->choices[i];
        if (other->sequence != NULL) r2_sequence_cancel(other->sequence);
        if (r2i_turns_remove(&l->desk->to_write, other)) let_go(l, other);
    }
}

static void end(r2i_engine_loop *l, r2i_choice *choice, const r2_sequence_status *status) {
    r2i_choice_out *out = &choice->out;
    (void)r2i_queue_remove(&l->running, &choice->link);
    out->finish = choice->stop.is_over ? R2_FINISH_END : status->finish;
    out->n_generated = choice->wishes->is_prompt_only ? 0 : status->n_generated;
    out->n_thinking = choice->n_thinking;
    out->n_drafted = status->n_drafted;
    out->n_accepted = status->n_accepted;
    out->is_think_cut = status->is_think_cut;
    l->desk->writing_s += (double)(choice->last_ns - choice->first_ns) * 1e-9;
    if (out->finish == R2_FINISH_MEMORY && out->n_generated > 0) out->finish = R2_FINISH_LENGTH;
    if (out->finish == R2_FINISH_MEMORY) {
        fail(l, choice, 503, "cache_full", "the cache has no room for this prompt");
    } else if (out->finish == R2_FINISH_ERROR && choice->matcher != NULL) {
        fail(l, choice, 400, "grammar_too_ambiguous",
             "the grammar can be read in too many ways behind what was written");
    } else if (out->finish == R2_FINISH_ERROR) {
        fail(l, choice, 500, NULL, "the model's logits are not numbers");
    } else if (r2i_choice_finish(choice) != R2_OK) {
        fail(l, choice, 503, NULL, "no memory for the answer");
    } else {
        let_go(l, choice);
    }
}

/* ---- its beginning ---- */

static void begin(r2i_engine_loop *l, r2i_choice *choice) {
    r2_error err = { R2_OK, "" };
    if (atomic_load(&choice->job->is_gone) || choice->job->out.refusal.http != 0) {
        let_go(l, choice);
    } else if (r2i_choice_begin(choice, &l->context, &err) == R2_OK) {
        if (choice->job->out.begin_ns == 0) choice->job->out.begin_ns = r2i_clock_ns();
        r2i_queue_add(&l->running, &choice->link);
    } else if (err.code == R2_E_NOMEM || err.code == R2_E_FULL) {
        fail(l, choice, 503, NULL, "no memory for the request");
    } else {
        fail(l, choice, 500, NULL, "the engine did not take the request");
    }
}

static void admit(r2i_engine_loop *l) {
    r2i_desk *d = l->desk;
    while (l->running.n < l->options->n_parallel) {
        r2i_choice *choice = r2i_turns_take(&d->to_write);
        if (choice == NULL) break;
        begin(l, choice);
    }
    d->n_running = l->running.n;
    d->n_waiting = d->to_write.line.n;
}

/* ---- the thread ---- */

/* Draws of one step count as equally far apart. */
static void note_times(r2i_engine_loop *l, r2i_choice *choice, int32_t n_drawn) {
    const int64_t now = r2i_clock_ns();
    if (n_drawn == 0) return;
    if (choice->last_ns > 0)
        r2i_histogram_note(&l->desk->between_tokens,
                           (double)(now - choice->last_ns) * 1e-9 / n_drawn, n_drawn);
    else
        l->desk->reading_s += (double)(now - choice->job->out.begin_ns) * 1e-9;
    choice->last_ns = now;
}

static void note_lookup(r2i_job_out *out, const r2_sequence_status *status) {
    if (out->is_looked_up || (status->n_computed == 0 && status->miss == R2_MISS_NONE)) return;
    out->is_looked_up = true;
    out->miss = status->miss;
    out->n_matched = status->n_matched;
}

/* How far the prompt is read; what was read again after its pages were taken away counts once. */
static void note_progress(r2i_choice *choice, const r2_sequence_status *status) {
    r2i_job_out *out = &choice->job->out;
    if (out->first_ns == 0) out->first_ns = choice->first_ns;
    if (choice->leader != NULL) return;
    if (choice->index == 0) note_lookup(out, status);
    out->n_cached += status->n_cached - choice->n_cached;
    choice->n_cached = status->n_cached;
    const int32_t n = status->n_computed < choice->prompt->n_tokens ? status->n_computed
                                                                    : choice->prompt->n_tokens;
    if (n <= choice->n_computed) return;
    out->n_computed += n - choice->n_computed;
    choice->n_computed = n;
    out->has_progress = choice->wishes->wants_progress;
}

static void collect_one(r2i_engine_loop *l, r2i_choice *choice) {
    r2_sequence_status status;
    bool has_more = false;
    const int32_t n_before = choice->n_drawn;
    const bool was_looked_up = choice->job->out.is_looked_up;
    const r2_status read = r2i_choice_read(choice, &l->context, &has_more);
    r2_sequence_get_status(choice->sequence, &status);
    note_times(l, choice, choice->n_drawn - n_before);
    note_progress(choice, &status);
    if (read != R2_OK) {
        (void)r2i_queue_remove(&l->running, &choice->link);
        fail(l, choice, 503, NULL, "no memory for the answer");
    } else if (status.finish != R2_FINISH_NONE || choice->stop.is_over) {
        end(l, choice, &status);
    } else if ((has_more || choice->job->out.has_progress ||
                choice->job->out.is_looked_up != was_looked_up) &&
               choice->wishes->is_stream) {
        r2i_desk_tell(l->desk, choice->job);
    }
}

static void collect(r2i_engine_loop *l) {
    for (r2i_link *at = l->running.first, *next; at != NULL; at = next) {
        next = at->next;
        collect_one(l, (r2i_choice *)(void *)at);
    }
}

static void fail_all(r2i_engine_loop *l, int http, const char *text) {
    for (r2i_link *at; (at = r2i_queue_take(&l->running)) != NULL;)
        fail(l, (r2i_choice *)(void *)at, http, NULL, text);
}

void *r2i_engine_loop_run(void *argument) {
    r2i_engine_loop *l = argument;
    r2i_desk *d = l->desk;
    (void)pthread_mutex_lock(&d->lock);
    while (!d->is_over) {
        r2_error err = { R2_OK, "" };
        int32_t n_active;
        admit(l);
        if (l->running.n == 0) {
            if (d->to_write.line.n == 0) (void)pthread_cond_wait(&d->has_writing, &d->lock);
            continue;
        }
        (void)pthread_mutex_unlock(&d->lock);
        const r2_status status = r2_engine_step(l->options->engine, &n_active, &err);
        (void)pthread_mutex_lock(&d->lock);
        if (status == R2_OK)
            collect(l);
        else
            fail_all(l, 500, "the engine failed");
        r2_engine_get_stats(l->options->engine, &d->stats); /* what ended holds no pages any more */
    }
    fail_all(l, 503, "the server stops");
    for (r2i_choice *choice; (choice = r2i_turns_drop(&d->to_write)) != NULL;)
        fail(l, choice, 503, NULL, "the server stops");
    (void)pthread_mutex_unlock(&d->lock);
    return NULL;
}

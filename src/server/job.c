#define _GNU_SOURCE /* eventfd */
#include "server/job.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/failure.h"

enum { MAX_TEXT_BYTES = 1 << 26 };

r2_status r2i_desk_init(r2i_desk *d, r2i_heap *heap, r2_error *err) {
    *d = (r2i_desk){ .heap = heap };
    d->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (d->wake_fd < 0) return r2i_fail(err, R2_E_IO, "eventfd: %s", strerror(errno));
    (void)pthread_mutex_init(&d->lock, NULL);
    (void)pthread_cond_init(&d->has_reading, NULL);
    (void)pthread_cond_init(&d->has_writing, NULL);
    return R2_OK;
}

void r2i_desk_destroy(r2i_desk *d) {
    (void)close(d->wake_fd);
    (void)pthread_mutex_destroy(&d->lock);
    (void)pthread_cond_destroy(&d->has_reading);
    (void)pthread_cond_destroy(&d->has_writing);
}

void r2i_desk_close(r2i_desk *d) {
    (void)pthread_mutex_lock(&d->lock);
    d->is_over = true;
    (void)pthread_cond_broadcast(&d->has_reading);
    (void)pthread_cond_broadcast(&d->has_writing);
    (void)pthread_mutex_unlock(&d->lock);
}

r2i_job *r2i_job_create(r2i_heap *heap, r2i_task task, size_t max_body_bytes) {
    r2i_job *job = r2i_heap_take(heap, sizeof *job);
    if (job == NULL) return NULL;
    memset(job, 0, sizeof *job);
    job->task = task;
    r2i_buffer_init(&job->body, heap, max_body_bytes);
    r2i_buffer_init(&job->out.reply, heap, MAX_TEXT_BYTES);
    return job;
}

r2_status r2i_job_make_choices(r2i_job *job, r2i_heap *heap, const r2i_wishes *wishes,
                               int32_t n_prompts) {
    const int32_t n_each = wishes->n_choices, n = n_prompts * n_each;
    job->wishes = wishes;
    job->prompts = r2i_heap_take(heap, (size_t)n_prompts * sizeof *job->prompts);
    if (job->prompts == NULL) return R2_E_NOMEM;
    job->n_prompts = n_prompts;
    for (int32_t i = 0; i < n_prompts; i++)
        r2i_choice_prompt_init(&job->prompts[i], heap);
    job->choices = r2i_heap_take(heap, (size_t)n * sizeof *job->choices);
    if (job->choices == NULL) return R2_E_NOMEM;
    for (int32_t i = 0; i < n; i++) {
        r2i_choice *choice = &job->choices[i];
        r2i_choice_init(choice, job, i, heap);
        choice->wishes = wishes;
        choice->prompt = &job->prompts[i / n_each];
        choice->i_draw = i % n_each;
        if (choice->i_draw > 0) choice->leader = choice - choice->i_draw;
    }
    job->n_choices = job->n_left = n;
    return R2_OK;
}

void r2i_job_destroy(r2i_job *job, r2i_heap *heap) {
    for (int32_t i = 0; i < job->n_choices; i++)
        r2i_choice_destroy(&job->choices[i]);
    for (int32_t i = 0; i < job->n_prompts; i++)
        r2i_choice_prompt_destroy(&job->prompts[i]);
    r2i_heap_give(heap, job->prompts, (size_t)job->n_prompts * sizeof *job->prompts);
    r2i_heap_give(heap, job->choices, (size_t)job->n_choices * sizeof *job->choices);
    r2i_grammar_cache_give(job->grammar);
    r2i_chat_request_destroy(&job->chat);
    r2i_completion_request_destroy(&job->completion);
    r2_prompt_destroy(job->prompt);
    r2i_buffer_destroy(&job->body);
    r2i_buffer_destroy(&job->out.reply);
    r2i_heap_give(heap, job, sizeof *job);
}

void r2i_desk_hand_in(r2i_desk *d, r2i_job *job) {
    (void)pthread_mutex_lock(&d->lock);
    r2i_queue_add(&d->to_read, &job->link);
    (void)pthread_cond_signal(&d->has_reading);
    (void)pthread_mutex_unlock(&d->lock);
}

void r2i_desk_abandon(r2i_desk *d, r2i_job *job) {
    (void)pthread_mutex_lock(&d->lock);
    atomic_store(&job->is_gone, true);
    if (r2i_queue_remove(&d->to_read, &job->link)) {
        job->out.is_done = true;
        r2i_desk_tell(d, job);
    }
    for (int32_t i = 0; job->out.is_accepted && i < job->n_choices; i++) {
        r2i_choice *choice = &job->choices[i];
        if (choice->sequence != NULL) r2_sequence_cancel(choice->sequence);
        if (r2i_turns_remove(&d->to_write, choice)) r2i_desk_end_choice(d, choice);
    }
    (void)pthread_mutex_unlock(&d->lock);
}

void r2i_desk_stop_thinking(r2i_desk *d, r2i_job *job) {
    (void)pthread_mutex_lock(&d->lock);
    job->is_think_stopped = true;
    /* Before it is accepted its choices are the reader's. */
    for (int32_t i = 0; job->out.is_accepted && i < job->n_choices; i++)
        r2i_choice_stop_thinking(&job->choices[i]);
    (void)pthread_mutex_unlock(&d->lock);
}

static r2i_job *job_of(r2i_link *link) {
    return (r2i_job *)(void *)link;
}

r2i_job *r2i_desk_take_reading(r2i_desk *d) {
    r2i_link *next = d->to_read.first;
    while (next != NULL && job_of(next)->key == d->last_key)
        next = next->next;
    if (next == NULL) next = d->to_read.first;
    if (next == NULL) return NULL;
    (void)r2i_queue_remove(&d->to_read, next);
    d->last_key = job_of(next)->key;
    return job_of(next);
}

r2i_job *r2i_desk_take_ready(r2i_desk *d) {
    (void)pthread_mutex_lock(&d->lock);
    r2i_job *job = d->ready_first;
    if (job != NULL) {
        d->ready_first = job->next_ready;
        if (d->ready_first == NULL) d->ready_last = NULL;
        job->out.is_told = false;
    }
    (void)pthread_mutex_unlock(&d->lock);
    return job;
}

static void wake(const r2i_desk *d) {
    const uint64_t one = 1;
    (void)!write(d->wake_fd, &one, sizeof one);
}

const r2i_job *r2i_desk_last_ready(r2i_desk *d) {
    (void)pthread_mutex_lock(&d->lock);
    const r2i_job *last = d->ready_last;
    (void)pthread_mutex_unlock(&d->lock);
    return last;
}

void r2i_desk_wake(r2i_desk *d) {
    (void)pthread_mutex_lock(&d->lock);
    if (d->ready_first != NULL) wake(d);
    (void)pthread_mutex_unlock(&d->lock);
}

void r2i_desk_tell(r2i_desk *d, r2i_job *job) {
    if (job->out.is_told) return;
    job->out.is_told = true;
    job->next_ready = NULL;
    if (d->ready_last != NULL)
        d->ready_last->next_ready = job;
    else
        d->ready_first = job;
    d->ready_last = job;
    /* The loop comes again while some are left, so whoever comes behind another need not wake it. */
    if (d->ready_first == job) wake(d);
}

void r2i_desk_end_choice(r2i_desk *d, r2i_choice *choice) {
    r2i_job *job = choice->job;
    choice->out.is_done = true;
    job->out.n_generated += choice->out.n_generated;
    job->out.n_thinking += choice->out.n_thinking;
    job->out.n_drafted += choice->out.n_drafted;
    job->out.n_accepted += choice->out.n_accepted;
    if (--job->n_left == 0) {
        job->out.is_done = true;
        job->out.end_ns = r2i_clock_ns();
    }
    r2i_desk_tell(d, job);
}

void r2i_desk_refuse(r2i_desk *d, r2i_job *job, const r2i_refusal *refusal) {
    (void)pthread_mutex_lock(&d->lock);
    job->out.refusal = *refusal;
    job->out.is_done = true;
    r2i_desk_tell(d, job);
    (void)pthread_mutex_unlock(&d->lock);
}

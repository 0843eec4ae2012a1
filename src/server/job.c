#define _GNU_SOURCE /* eventfd */
#include "server/job.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

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
    r2i_stop_text_init(&job->stop, heap, NULL, 0);
    r2i_buffer_init(&job->out.thinking, heap, MAX_TEXT_BYTES);
    r2i_buffer_init(&job->out.answer, heap, MAX_TEXT_BYTES);
    r2i_buffer_init(&job->out.reply, heap, MAX_TEXT_BYTES);
    return job;
}

void r2i_job_destroy(r2i_job *job, r2i_heap *heap) {
    r2i_chat_request_destroy(&job->chat);
    r2_prompt_destroy(job->prompt);
    r2i_buffer_destroy(&job->body);
    r2i_buffer_destroy(&job->out.thinking);
    r2i_buffer_destroy(&job->out.answer);
    r2i_buffer_destroy(&job->out.reply);
    json_decref(job->out.logprobs);
    r2i_heap_give(heap, job, sizeof *job);
}

void r2i_queue_add(r2i_job_queue *q, r2i_job *job) {
    job->next = NULL;
    if (q->last != NULL)
        q->last->next = job;
    else
        q->first = job;
    q->last = job;
    q->n++;
}

r2i_job *r2i_queue_take(r2i_job_queue *q) {
    r2i_job *job = q->first;
    if (job != NULL) (void)r2i_queue_remove(q, job);
    return job;
}

bool r2i_queue_remove(r2i_job_queue *q, const r2i_job *job) {
    r2i_job *before = NULL;
    for (r2i_job *j = q->first; j != NULL; before = j, j = j->next) {
        if (j != job) continue;
        if (before != NULL)
            before->next = j->next;
        else
            q->first = j->next;
        if (q->last == j) q->last = before;
        j->next = NULL;
        q->n--;
        return true;
    }
    return false;
}

void r2i_desk_hand_in(r2i_desk *d, r2i_job *job) {
    (void)pthread_mutex_lock(&d->lock);
    r2i_queue_add(&d->to_read, job);
    (void)pthread_cond_signal(&d->has_reading);
    (void)pthread_mutex_unlock(&d->lock);
}

void r2i_desk_abandon(r2i_desk *d, r2i_job *job) {
    (void)pthread_mutex_lock(&d->lock);
    atomic_store(&job->is_gone, true);
    if (job->sequence != NULL) r2_sequence_cancel(job->sequence);
    if (r2i_queue_remove(&d->to_read, job) || r2i_queue_remove(&d->to_write, job)) {
        job->out.is_done = true;
        r2i_desk_tell(d, job);
    }
    (void)pthread_mutex_unlock(&d->lock);
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

void r2i_desk_tell(r2i_desk *d, r2i_job *job) {
    const uint64_t one = 1;
    if (job->out.is_told) return;
    job->out.is_told = true;
    job->next_ready = NULL;
    if (d->ready_last != NULL)
        d->ready_last->next_ready = job;
    else
        d->ready_first = job;
    d->ready_last = job;
    (void)!write(d->wake_fd, &one,
                 sizeof one); /* full only when the loop is about to wake anyway */
}

void r2i_desk_refuse(r2i_desk *d, r2i_job *job, const r2i_refusal *refusal) {
    (void)pthread_mutex_lock(&d->lock);
    job->out.refusal = *refusal;
    job->out.is_done = true;
    r2i_desk_tell(d, job);
    (void)pthread_mutex_unlock(&d->lock);
}

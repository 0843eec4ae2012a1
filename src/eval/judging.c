#include "eval/judging.h"

#include <pthread.h>
#include <string.h>

#include "base/failure.h"

enum { MAX_JUDGES = 64 };

/* First come, first served. */
typedef struct {
    r2i_eval_answer *first, *last;
} queue;

struct r2i_judges {
    const r2i_eval_suite *suite;
    const r2i_eval_item *items;
    r2_host host;
    r2i_heap *heap;
    pthread_mutex_t lock;
    pthread_cond_t has_work, has_result;
    queue waiting, judged;
    int32_t n_lent; /* given and not judged */
    bool is_ending;
    pthread_t threads[MAX_JUDGES];
    int32_t n_threads;
};

static void put(queue *q, r2i_eval_answer *a) {
    a->next = NULL;
    if (q->last != NULL)
        q->last->next = a;
    else
        q->first = a;
    q->last = a;
}

static r2i_eval_answer *get(queue *q) {
    r2i_eval_answer *a = q->first;
    if (a == NULL) return NULL;
    q->first = a->next;
    if (q->first == NULL) q->last = NULL;
    return a;
}

static void judge_one(const r2i_judges *j, r2i_eval_answer *a) {
    const r2i_eval_text answer = { .text = a->text.bytes != NULL ? a->text.bytes : "",
                                   .n_bytes = a->text.n_bytes,
                                   .calls = a->calls.bytes != NULL ? a->calls.bytes : "" };
    a->grade = (r2_grade){ 0 };
    a->error = (r2_error){ R2_OK, "" };
    a->status = R2_OK;
    if (a->stop == R2I_STOP_TOO_LONG) return;
    a->status = j->suite->judge(&a->grade, &j->items[a->item], &answer, &j->host, &a->error);
}

static void *work(void *user) {
    r2i_judges *j = user;
    (void)pthread_mutex_lock(&j->lock);
    while (!j->is_ending) {
        r2i_eval_answer *a = get(&j->waiting);
        if (a == NULL) {
            (void)pthread_cond_wait(&j->has_work, &j->lock);
            continue;
        }
        (void)pthread_mutex_unlock(&j->lock);
        judge_one(j, a);
        (void)pthread_mutex_lock(&j->lock);
        put(&j->judged, a);
        j->n_lent--;
        (void)pthread_cond_signal(&j->has_result);
    }
    (void)pthread_mutex_unlock(&j->lock);
    return NULL;
}

r2_status r2i_judges_start(r2i_judges **out, const r2i_eval_suite *suite,
                           const r2i_eval_item *items, const r2_host *host, int32_t n_threads,
                           r2i_heap *heap, r2_error *err) {
    *out = NULL;
    r2i_judges *j = r2i_heap_take(heap, sizeof *j);
    if (j == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for judging answers");
    memset(j, 0, sizeof *j);
    j->suite = suite;
    j->items = items;
    j->host = *host;
    j->heap = heap;
    (void)pthread_mutex_init(&j->lock, NULL);
    (void)pthread_cond_init(&j->has_work, NULL);
    (void)pthread_cond_init(&j->has_result, NULL);
    if (n_threads > MAX_JUDGES) n_threads = MAX_JUDGES;
    while (j->n_threads < n_threads &&
           pthread_create(&j->threads[j->n_threads], NULL, work, j) == 0)
        j->n_threads++;
    if (j->n_threads == 0) {
        r2i_judges_stop(j);
        return r2i_fail(err, R2_E_IO, "no thread can be started for judging answers");
    }
    *out = j;
    return R2_OK;
}

void r2i_judges_stop(r2i_judges *j) {
    if (j == NULL) return;
    (void)pthread_mutex_lock(&j->lock);
    j->is_ending = true;
    (void)pthread_cond_broadcast(&j->has_work);
    (void)pthread_mutex_unlock(&j->lock);
    for (int32_t i = 0; i < j->n_threads; i++)
        (void)pthread_join(j->threads[i], NULL);
    (void)pthread_cond_destroy(&j->has_work);
    (void)pthread_cond_destroy(&j->has_result);
    (void)pthread_mutex_destroy(&j->lock);
    r2i_heap_give(j->heap, j, sizeof *j);
}

void r2i_judges_give(r2i_judges *j, r2i_eval_answer *a) {
    (void)pthread_mutex_lock(&j->lock);
    put(&j->waiting, a);
    j->n_lent++;
    (void)pthread_cond_signal(&j->has_work);
    (void)pthread_mutex_unlock(&j->lock);
}

r2i_eval_answer *r2i_judges_take(r2i_judges *j, bool waits) {
    (void)pthread_mutex_lock(&j->lock);
    r2i_eval_answer *a = get(&j->judged);
    while (a == NULL && waits && j->n_lent > 0) {
        (void)pthread_cond_wait(&j->has_result, &j->lock);
        a = get(&j->judged);
    }
    (void)pthread_mutex_unlock(&j->lock);
    return a;
}

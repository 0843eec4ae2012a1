#include "train/distill/own_answers.h"

#include <string.h>

#include "base/checked.h"
#include "base/failure.h"
#include "base/random.h"
#include "model/model.h"
#include "train/runs/trainer_model.h"

enum { DEFAULT_PARALLEL = 32, DEFAULT_PROMPT_TOKENS = 16, SEED_STREAM = 77 };

struct r2i_own_answers {
    r2i_heap *heap;
    r2i_own_rules rules;
    r2i_rollout *rollout;
    r2i_batch_data data;
    /* One block: of each answer run_tokens tokens and targets, then where it begins and ends. */
    int32_t *memory, *tokens, *targets, *begins;
    int32_t *n_written, *n_prompt; /* [n_jobs] */
    size_t memory_bytes;
    /* The batch at work. */
    const r2i_batch_data *prompts;
    int32_t run, sample, n_jobs;
};

r2_status r2i_own_answers_open(r2i_own_answers **out, r2_trainer *trainer,
                               const r2i_own_rules *rules, r2_error *err) {
    r2_model *model = r2i_trainer_model(trainer);
    r2_model_info info;
    *out = NULL;
    r2i_own_answers *own = r2i_heap_take(&model->heap, sizeof *own);
    if (own == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for a student's answers");
    *own = (r2i_own_answers){ .heap = &model->heap, .rules = *rules };
    if (own->rules.n_samples < 1) own->rules.n_samples = 1;
    if (own->rules.prompt_tokens < 1) own->rules.prompt_tokens = DEFAULT_PROMPT_TOKENS;
    if (own->rules.n_parallel < 1) own->rules.n_parallel = DEFAULT_PARALLEL;
    r2_model_get_info(model, &info);
    const int64_t pages =
        (int64_t)own->rules.n_parallel * (rules->run_tokens / R2I_PAGE_TOKENS + 1);
    const r2_engine_options options = { .n_threads = rules->n_threads,
                                        .n_context = rules->run_tokens,
                                        .n_sequences = own->rules.n_parallel,
                                        .cache_bytes =
                                            pages * R2I_PAGE_TOKENS * info.cache_bytes_per_token };
    const r2_status status = r2i_rollout_open_live(&own->rollout, trainer, &options, err);
    if (status != R2_OK)
        r2i_own_answers_close(own);
    else
        *out = own;
    return status;
}

static void give_memory(r2i_own_answers *own) {
    if (own->memory != NULL) r2i_heap_give(own->heap, own->memory, own->memory_bytes);
    own->memory = NULL;
}

void r2i_own_answers_close(r2i_own_answers *own) {
    if (own == NULL) return;
    r2i_rollout_close(own->rollout);
    give_memory(own);
    r2i_heap_give(own->heap, own, sizeof *own);
}

/* ---- prompts ---- */

/* Tokens of the run that are its prompt; 0: it has none, or no room for an answer. */
static int32_t prompt_of(const r2i_own_answers *own, int32_t run) {
    const r2i_batch_data *p = own->prompts;
    const int32_t begin = p->run_begins[run], n = p->run_begins[run + 1] - begin;
    int32_t first = 0;
    while (first < n && p->targets[begin + first] < 0)
        first++;
    const int32_t n_prompt = first == 0 ? own->rules.prompt_tokens : first + 1;
    return first < n && n_prompt <= n && n_prompt < own->rules.run_tokens ? n_prompt : 0;
}

static r2_status next_job(void *user, r2i_rollout_job *job, bool *has, r2_error *err) {
    r2i_own_answers *own = user;
    const r2i_batch_data *p = own->prompts;
    while (own->run < p->n_runs && prompt_of(own, own->run) == 0)
        own->run++;
    (void)err;
    *has = own->run < p->n_runs;
    if (!*has) return R2_OK;
    *job = (r2i_rollout_job){ .prompt = p->tokens + p->run_begins[own->run],
                              .n_prompt = prompt_of(own, own->run),
                              .seed = r2i_random_u64(own->rules.seed + (uint64_t)own->sample,
                                                     SEED_STREAM + (uint64_t)own->run,
                                                     r2i_own_place(p)),
                              .id = own->n_jobs };
    own->n_prompt[own->n_jobs++] = job->n_prompt;
    if (++own->sample == own->rules.n_samples) {
        own->sample = 0;
        own->run++;
    }
    return R2_OK;
}

static r2_status keep_answer(void *user, const r2i_rollout_answer *a, r2_error *err) {
    r2i_own_answers *own = user;
    if (a->status.finish == R2_FINISH_ERROR)
        return r2i_fail(err, R2_E_RANGE, "the student's own answer: numbers that are none");
    if (a->status.finish == R2_FINISH_MEMORY)
        return r2i_fail(err, R2_E_FULL, "the student's own answer: no room in the cache");
    memcpy(own->tokens + (size_t)a->job.id * (size_t)own->rules.run_tokens, a->tokens,
           (size_t)a->n_tokens * sizeof *a->tokens);
    own->n_written[a->job.id] = a->n_tokens;
    return R2_OK;
}

/* ---- the batch ---- */

static r2_status take_memory(r2i_own_answers *own, size_t n_jobs, r2_error *err) {
    const size_t room = n_jobs * (size_t)own->rules.run_tokens, n = 2 * room + 3 * n_jobs + 1;
    if (n * sizeof(int32_t) > own->memory_bytes || own->memory == NULL) {
        give_memory(own);
        own->memory_bytes = n * sizeof(int32_t);
        own->memory = r2i_heap_take(own->heap, own->memory_bytes);
    }
    if (own->memory == NULL)
        return r2i_fail(err, R2_E_NOMEM, "no memory for %zu answers of the student", n_jobs);
    own->tokens = own->memory;
    own->targets = own->tokens + room;
    own->begins = own->targets + room;
    own->n_written = own->begins + n_jobs + 1;
    own->n_prompt = own->n_written + n_jobs;
    return R2_OK;
}

/* Answers close up, in the order of the prompts; what the student wrote are their targets. */
static void close_up(r2i_own_answers *own) {
    r2i_batch_data *d = &own->data;
    *d = (r2i_batch_data){ .tokens = own->tokens,
                           .targets = own->targets,
                           .run_begins = own->begins,
                           .n_runs = own->n_jobs,
                           .after = own->prompts->after };
    for (int32_t job = 0; job < own->n_jobs; job++) {
        const int32_t n = own->n_written[job], first = d->n_tokens;
        own->begins[job] = first;
        memmove(own->tokens + first, own->tokens + (size_t)job * (size_t)own->rules.run_tokens,
                (size_t)n * sizeof *own->tokens);
        for (int32_t i = 0; i < n; i++) {
            const bool is_learnt = i + 1 < n && i + 1 >= own->n_prompt[job];
            own->targets[first + i] = is_learnt ? own->tokens[first + i + 1] : -1;
            d->n_targets += is_learnt;
        }
        d->n_tokens += n;
    }
    own->begins[own->n_jobs] = d->n_tokens;
}

r2_status r2i_own_answers_write(r2i_own_answers *own, const r2i_batch_data *prompts,
                                const r2i_batch_data **out, r2_error *err) {
    const r2i_rollout_work work = { .how = { .sampling = { .temperature = own->rules.temperature },
                                             .max_new_tokens = own->rules.new_tokens },
                                    .next = next_job,
                                    .answered = keep_answer,
                                    .user = own };
    R2I_TRY(take_memory(own, (size_t)prompts->n_runs * (size_t)own->rules.n_samples, err));
    own->prompts = prompts;
    own->run = own->sample = own->n_jobs = 0;
    R2I_TRY(r2i_rollout_run(own->rollout, &work, err));
    close_up(own);
    *out = &own->data;
    return R2_OK;
}

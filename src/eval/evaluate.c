/* evaluate.c - r2_eval_run: items, what is done of them already, the rest answered and judged, numbers. */
#define _GNU_SOURCE /* getrusage */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/failure.h"
#include "base/hash.h"
#include "base/random.h"
#include "eval/answering.h"
#include "eval/sample_file.h"
#include "eval/sample_line.h"
#include "eval/score_summary.h"
#include "files/atomic_write.h"
#include "model/adapter.h"
#include "model/model.h"
#include "task/grade_job.h"

enum { DEFAULT_PARALLEL = 64, DEFAULT_JUDGES = 2, PATH_BYTES = 4096, SEED_STREAM = 83 };

typedef struct {
    r2_model *model;
    const r2_eval_options *o;
    const r2i_eval_suite *suite;
    r2_eval_result *result;
    r2i_heap *heap;
    r2i_arena arena;
    r2i_eval_load load;
    r2i_eval_scores scores;
    r2i_eval_record *records;
    r2i_eval_prompt *prompts;
    r2_engine *engine;
    int32_t n_context, n_slots, max_new_tokens;
    int64_t next; /* place among items times samples */
    char path[PATH_BYTES + 32];
    r2i_item_places places;
    r2i_sample_file file;
    int64_t start_ns, cpu_ns;
} evaluation;

/* ---- settings ---- */

static uint64_t hash_text(uint64_t hash, const char *text) {
    const size_t n = text != NULL ? strlen(text) : 0;
    return r2i_hash_bytes(r2i_hash_mix(hash + n + (text != NULL)), text != NULL ? text : "", n);
}

/* What decides about an answer, but the item (take_line compares its texts) and the sample's number. */
static uint64_t settings_of(const evaluation *e) {
    const r2_eval_options *o = e->o;
    const r2_sampling *s = &o->sampling;
    r2_model_info info;
    const float numbers[] = { s->temperature,
                              s->top_p,
                              s->min_p,
                              s->repetition_penalty,
                              s->presence_penalty,
                              s->frequency_penalty,
                              o->adapter != NULL ? o->adapter_scale : 0 };
    const int64_t counts[] = { s->top_k,           s->n_penalty_tokens, (int64_t)s->seed,
                               o->think,           o->think_budget,     e->max_new_tokens,
                               o->is_raw,          o->reads_on,         o->engine.cache_rows,
                               o->engine.n_context };
    r2_model_get_info(e->model, &info);
    uint64_t hash = r2i_hash_bytes(e->model->fingerprint, numbers, sizeof numbers);
    hash = r2i_hash_bytes(hash, counts, sizeof counts);
    hash = hash_text(hash, o->suite);
    hash = hash_text(hash, o->system != NULL ? o->system : e->suite->about.system);
    hash = hash_text(hash, o->prompt != NULL ? o->prompt : e->suite->about.prompt);
    hash = hash_text(hash, o->verifier);
    if (o->adapter != NULL) hash = r2i_hash_mix(hash + o->adapter->content.fingerprint);
    hash = hash_text(hash, info.cpu_level);
    for (int32_t i = 0; i < o->n_data; i++)
        hash = r2i_hash_bytes(hash, o->data[i].bytes, o->data[i].n_bytes);
    return r2i_hash_mix(hash);
}

static json_t *head_of(const evaluation *e) {
    char settings[24];
    const r2_eval_options *o = e->o;
    (void)snprintf(settings, sizeof settings, "%016" PRIx64, settings_of(e));
    return json_pack("{s:s, s:i, s:s, s:s, s:s, s:s?, s:s?, s:f, s:I, s:i}", "format",
                     "r2lm evaluation", "version", 1, "settings", settings, "suite", o->suite,
                     "model", e->model->name, "model_path", o->model_path, "adapter",
                     o->adapter_path, "temperature", (double)o->sampling.temperature, "seed",
                     (json_int_t)o->sampling.seed, "max_new_tokens", e->max_new_tokens);
}

/* ---- answers ---- */

static r2i_eval_record *record_of(const evaluation *e, int32_t item, int32_t sample) {
    return &e->records[(size_t)item * (size_t)e->scores.n_samples + (size_t)sample];
}

static void count(evaluation *e, const r2i_eval_record *r) {
    e->result->n_done++;
    e->result->n_right += r->is_right;
    e->result->n_found += r->is_found;
    e->result->n_form += r->has_form;
    e->result->n_cut += r->stop == R2I_STOP_LENGTH;
}

/* A line of an earlier run.  What a smaller limit or fewer samples leave out stays in the file. */
static r2_status take_line(void *user, const json_t *line, r2_error *err) {
    evaluation *e = user;
    const json_int_t sample = json_integer_value(json_object_get(line, "sample"));
    if (!json_is_string(json_object_get(line, "stop")) ||
        !json_is_integer(json_object_get(line, "item")) ||
        !json_is_string(json_object_get(line, "id")))
        return r2i_fail(err, R2_E_FORMAT, "expected an answer");
    const int32_t item = r2i_item_place_of(&e->places, line);
    if (item < 0 || sample < 0 || sample >= e->scores.n_samples) return R2_OK;
    r2i_eval_record *r = record_of(e, item, (int32_t)sample), found;
    R2I_TRY(r2i_sample_line_read(&found, line, &e->scores.items[item], err));
    if (r->is_done) return R2_OK;
    *r = found;
    count(e, r);
    e->result->n_before++;
    return R2_OK;
}

static bool next_answer(void *user, int32_t *item, int32_t *sample, uint64_t *seed) {
    evaluation *e = user;
    const int64_t n = (int64_t)e->scores.n_items * e->scores.n_samples;
    while (e->next < n && e->records[e->next].is_done)
        e->next++;
    if (e->next == n) return false;
    *item = (int32_t)(e->next / e->scores.n_samples);
    *sample = (int32_t)(e->next % e->scores.n_samples);
    const uint64_t id = hash_text(R2I_HASH_SEED, e->scores.items[*item].id);
    *seed = r2i_random_u64(e->o->sampling.seed + id, SEED_STREAM, (uint64_t)*sample);
    e->next++;
    return true;
}

static double seconds_since(int64_t start_ns) {
    return (double)(r2i_clock_ns() - start_ns) * 1e-9;
}

static int64_t cpu_now(void) {
    static const int who[] = { RUSAGE_SELF, RUSAGE_CHILDREN };
    int64_t ns = 0;
    for (size_t i = 0; i < 2; i++) {
        struct rusage u;
        if (getrusage(who[i], &u) != 0) continue;
        ns += ((int64_t)u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000000 +
              ((int64_t)u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1000;
    }
    return ns;
}

static r2_status keep_judged(void *user, const r2i_eval_answer *a, r2_error *err) {
    evaluation *e = user;
    r2i_eval_record *r = record_of(e, a->item, a->sample);
    *r = (r2i_eval_record){ true,    a->grade.is_right, a->grade.is_found, a->grade.has_form,
                            a->stop, a->n_prompt,       a->n_tokens,       a->n_thinking };
    if (a->grade.is_unjudged) {
        e->result->n_unjudged++;
        (void)snprintf(e->result->why_unjudged, sizeof e->result->why_unjudged, "%s", a->grade.why);
    } else if (e->file.fd >= 0)
        R2I_TRY(
            r2i_sample_file_add(&e->file, r2i_sample_line_make(&e->scores.items[a->item], a), err));
    count(e, r);
    e->result->n_prompt_tokens += r->n_prompt;
    e->result->n_tokens += r->n_tokens;
    e->result->n_thinking += r->n_thinking;
    e->result->seconds = seconds_since(e->start_ns);
    if (e->o->progress == NULL || e->o->progress(e->o->user, e->result)) return R2_OK;
    return r2i_fail(err, R2_E_CANCELED, "canceled");
}

static void all_written(void *user) {
    evaluation *e = user;
    e->result->answer_seconds = seconds_since(e->start_ns);
}

/* ---- opening ---- */

static r2_status load_items(evaluation *e, r2_error *err) {
    e->load = (r2i_eval_load){ .options = e->o, .model = e->model, .arena = &e->arena };
    r2i_buffer_init(&e->load.items, e->heap, (size_t)1 << 32);
    R2I_TRY(e->suite->load(&e->load, err));
    const size_t n = e->load.items.n_bytes / sizeof(r2i_eval_item);
    const int32_t n_samples = e->o->n_samples > 0 ? e->o->n_samples : 1;
    if (n == 0) return r2i_fail(err, R2_E_FORMAT, "%s: expected items, found none", e->o->suite);
    if (n > INT32_MAX / 2 / (size_t)n_samples)
        return r2i_fail(err, R2_E_LIMIT, "%s: %zu items are too many", e->o->suite, n);
    e->records = R2I_ARENA_ARRAY(&e->arena, r2i_eval_record, n * (size_t)n_samples);
    if (e->records == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for %zu items", n);
    e->scores = (r2i_eval_scores){ .suite = e->suite,
                                   .items = (const r2i_eval_item *)(void *)e->load.items.bytes,
                                   .records = e->records,
                                   .n_items = (int32_t)n,
                                   .n_samples = n_samples };
    e->result->n_items = (int32_t)n;
    e->result->n_answers = (int32_t)n * n_samples;
    return r2i_item_places_make(&e->places, e->scores.items, (int32_t)n, &e->arena, err);
}

static r2_status open_output(evaluation *e, r2_error *err) {
    const char *folder = e->o->output;
    if (folder == NULL) return R2_OK;
    if (mkdir(folder, 0777) != 0 && errno != EEXIST)
        return r2i_fail(err, R2_E_IO, "%.150s: %s", folder, strerror(errno));
    (void)snprintf(e->path, sizeof e->path, "%.4000s/samples.jsonl", folder);
    json_t *head = head_of(e);
    if (head == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for the head of an evaluation");
    const r2_status status =
        r2i_sample_file_open(&e->file, e->path, head, e->o->is_forced, take_line, e, e->heap, err);
    json_decref(head);
    return status;
}

/* Sequences of the length that is needed, each with pages of its own. */
static r2_status open_engine(evaluation *e, int32_t longest, r2_error *err) {
    r2_engine_options o = e->o->engine;
    r2_model_info info;
    r2_model_get_info(e->model, &info);
    const int32_t most = info.n_context > 0 ? info.n_context : 1 << 20;
    if (o.n_sequences <= 0) o.n_sequences = DEFAULT_PARALLEL;
    const int32_t n_left = e->result->n_answers - e->result->n_done;
    if (o.n_sequences > n_left) o.n_sequences = n_left;
    if (o.n_context <= 0) o.n_context = longest + e->max_new_tokens + 1;
    if (o.n_context > most) o.n_context = most;
    e->n_context = o.n_context;
    e->n_slots = o.n_sequences;
    if (o.cache_bytes == 0) {
        const int64_t pages = (o.n_context + R2I_PAGE_TOKENS - 1) / R2I_PAGE_TOKENS + 1;
        o.cache_bytes = pages * o.n_sequences * R2I_PAGE_TOKENS * info.cache_bytes_per_token;
    }
    return r2_engine_create(&e->engine, e->model, &o, err);
}

/* ---- a run ---- */

static r2_status answer(evaluation *e, r2_error *err) {
    const r2_eval_options *o = e->o;
    int32_t longest;
    if (e->result->n_done == e->result->n_answers) return R2_OK;
    if (e->suite->about.runs_programs || e->load.runs_programs)
        R2I_TRY(r2i_grade_try_programs(&e->model->host, err));
    R2I_TRY(r2i_eval_prompts_make(&e->prompts, &longest, e->suite, e->scores.items,
                                  e->scores.n_items, e->model, o, &e->arena, err));
    R2I_TRY(open_engine(e, longest, err));
    r2i_answering job = { .model = e->model,
                          .engine = e->engine,
                          .n_slots = e->n_slots,
                          .suite = e->suite,
                          .items = e->scores.items,
                          .prompts = e->prompts,
                          .n_context = e->n_context,
                          .reads_on = o->reads_on,
                          .how = { .sampling = o->sampling,
                                   .max_new_tokens = e->max_new_tokens,
                                   .think = o->think,
                                   .think_budget = o->think_budget,
                                   .adapter = o->adapter,
                                   .adapter_scale = o->adapter_scale },
                          .heap = e->heap,
                          .next = next_answer,
                          .judged = keep_judged,
                          .written = all_written,
                          .user = e };
    R2I_TRY(r2i_judges_start(&job.judges, e->suite, e->scores.items, &e->model->host,
                             o->n_judges > 0 ? o->n_judges : DEFAULT_JUDGES, e->heap, err));
    return r2i_answer_all(&job, err);
}

static r2_status write_summary(evaluation *e, const json_t *json, r2_error *err) {
    char path[PATH_BYTES + 32];
    r2i_buffer text;
    r2i_atomic_file *file = NULL;
    (void)snprintf(path, sizeof path, "%.4000s/summary.json", e->o->output);
    r2i_buffer_init(&text, e->heap, (size_t)64 << 20);
    r2_status status = R2_OK;
    if (json_dump_callback(json, r2i_buffer_append_chunk, &text,
                           JSON_INDENT(2) | JSON_REAL_PRECISION(9)) != 0)
        status = r2i_fail(err, R2_E_NOMEM, "no memory for a summary");
    if (status == R2_OK) status = r2i_buffer_append_text(&text, "\n", err);
    if (status == R2_OK) status = r2i_atomic_begin(&file, path, false, e->heap, err);
    if (status == R2_OK) status = r2i_atomic_write(file, text.bytes, text.n_bytes, err);
    r2i_buffer_destroy(&text);
    if (status == R2_OK) return r2i_atomic_commit(file, err);
    r2i_atomic_abandon(file);
    return status;
}

static r2_status sum_up(evaluation *e, r2_error *err) {
    r2_eval_result *r = e->result;
    r->score = r2i_score_of(&e->scores, NULL, false);
    r->lenient = r2i_score_of(&e->scores, NULL, true);
    json_t *all = head_of(e), *scores = r2i_score_json(&e->scores);
    json_t *cost = json_pack(
        "{s:i, s:i, s:I, s:I, s:I, s:f, s:f, s:f, s:f}", "answers", r->n_done - r->n_before,
        "unjudged", r->n_unjudged, "prompt_tokens", (json_int_t)r->n_prompt_tokens, "tokens",
        (json_int_t)r->n_tokens, "thinking_tokens", (json_int_t)r->n_thinking, "seconds",
        r->seconds, "answer_seconds", r->answer_seconds, "cpu_seconds", r->cpu_seconds, "tok_s",
        r->answer_seconds > 0 ? (double)r->n_tokens / r->answer_seconds : 0);
    r2_status status = R2_OK;
    if (all == NULL || scores == NULL || cost == NULL || json_object_update(all, scores) != 0 ||
        json_object_set(all, "this_run", cost) != 0)
        status = r2i_fail(err, R2_E_NOMEM, "no memory for a summary");
    if (status == R2_OK && e->file.fd >= 0)
        status = r2i_sample_file_sort(&e->file, &e->places, err);
    if (status == R2_OK && e->file.fd >= 0) status = write_summary(e, all, err);
    if (status == R2_OK) r->summary_json = json_dumps(all, JSON_COMPACT | JSON_REAL_PRECISION(9));
    json_decref(cost);
    json_decref(scores);
    json_decref(all);
    return status;
}

static r2_status run(evaluation *e, r2_error *err) {
    R2I_TRY(load_items(e, err));
    R2I_TRY(open_output(e, err));
    const r2_status status = answer(e, err);
    e->result->seconds = seconds_since(e->start_ns);
    e->result->cpu_seconds = (double)(cpu_now() - e->cpu_ns) * 1e-9;
    return status == R2_OK ? sum_up(e, err) : status;
}

r2_status r2_eval_run(r2_eval_result *result, r2_model *model, const r2_eval_options *options,
                      r2_error *err) {
    evaluation e = { .model = model,
                     .o = options,
                     .result = result,
                     .heap = &model->heap,
                     .file = { .fd = -1 },
                     .start_ns = r2i_clock_ns(),
                     .cpu_ns = cpu_now() };
    r2_error own;
    if (err == NULL) err = &own;
    *err = (r2_error){ R2_OK, "" };
    *result = (r2_eval_result){ 0 };
    e.suite = options->suite != NULL ? r2i_eval_suite_find(options->suite) : NULL;
    if (e.suite == NULL)
        return r2i_fail(err, R2_E_NOT_FOUND, "%.60s: no such suite",
                        options->suite != NULL ? options->suite : "evaluation");
    e.max_new_tokens =
        options->max_new_tokens > 0 ? options->max_new_tokens : e.suite->about.max_new_tokens;
    r2i_arena_init(&e.arena, e.heap, 1 << 20, 0);
    const r2_status status = run(&e, err);
    r2_engine_destroy(e.engine);
    r2i_sample_file_close(&e.file);
    if (e.suite->close != NULL) e.suite->close(&e.load);
    if (e.load.items.heap != NULL) r2i_buffer_destroy(&e.load.items);
    r2i_arena_destroy(&e.arena);
    return status;
}

void r2_eval_result_free(r2_eval_result *result) {
    json_free_t release;
    json_get_alloc_funcs(NULL, &release);
    release(result->summary_json);
    result->summary_json = NULL;
}

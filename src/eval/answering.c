#include "eval/answering.h"

#include <string.h>

#include "base/failure.h"
#include "engine/spoken_text.h"
#include "model/model.h"
#include "r2lm/tools.h"

enum { READ_TOKENS = 32, SPARE_ANSWERS = 64 };
#define MAX_ANSWER_BYTES ((size_t)64 << 20)

typedef struct {
    r2_sequence *sequence; /* NULL: free */
    r2_detokenizer *text;
    r2_tool_parser *calls; /* of an item with tools */
    r2i_eval_answer *answer;
    r2i_spoken_text spoken;
} slot;

typedef struct {
    const r2i_answering *job;
    slot *slots;
    r2i_eval_answer *answers; /* [n_answers] */
    int32_t n_answers;
    r2i_eval_answer *spare; /* a list */
    bool has_more;
    int32_t n_open, n_judging;
} answering;

const char *r2i_eval_stop_name(r2i_eval_stop stop) {
    static const char *const names[] = { "end", "certain", "length", "too long" };
    return names[stop];
}

/* ---- judged ones ---- */

static r2_status take_judged(answering *a, bool waits, r2_error *err) {
    for (r2i_eval_answer *one; (one = r2i_judges_take(a->job->judges, waits)) != NULL;) {
        a->n_judging--;
        one->next = a->spare;
        a->spare = one;
        if (one->status != R2_OK) {
            if (err != NULL) *err = one->error;
            return one->status;
        }
        R2I_TRY(a->job->judged(a->job->user, one, err));
        waits = false;
    }
    return R2_OK;
}

static void give(answering *a, slot *s) {
    r2i_judges_give(a->job->judges, s->answer);
    a->n_judging++;
    a->n_open--;
    s->answer = NULL;
    r2_tool_parser_destroy(s->calls);
    s->calls = NULL;
    r2_sequence_destroy(s->sequence);
    s->sequence = NULL;
}

/* ---- beginning ---- */

static r2_status begin_sequence(answering *a, slot *s, int32_t item, uint64_t seed, r2_error *err) {
    const r2i_eval_prompt *prompt = &a->job->prompts[item];
    const char *tools = a->job->items[item].tools_json;
    r2_sequence_options how = a->job->how;
    how.sampling.seed = seed;
    if (s->text == NULL) R2I_TRY(r2_detokenizer_create(&s->text, a->job->model, false, err));
    s->spoken = (r2i_spoken_text){ .model = a->job->model, .detokenizer = s->text };
    (void)r2_detokenizer_finish(s->text);
    if (tools != NULL) R2I_TRY(r2_tool_parser_create(&s->calls, a->job->model, tools, err));
    R2I_TRY(r2_sequence_create(&s->sequence, a->job->engine, &how, err));
    return r2_sequence_append(s->sequence, prompt->tokens, prompt->n_tokens, err);
}

static r2_status begin(answering *a, slot *s, int32_t item, int32_t sample, uint64_t seed,
                       r2_error *err) {
    r2i_eval_answer *one = a->spare;
    const r2i_eval_prompt *prompt = &a->job->prompts[item];
    a->spare = one->next;
    s->answer = one;
    r2i_buffer_clear(&one->text);
    r2i_buffer_clear(&one->calls);
    one->item = item;
    one->sample = sample;
    one->n_prompt = prompt->n_tokens;
    one->n_tokens = one->n_thinking = 0;
    a->n_open++;
    if (prompt->n_tokens > 0 && prompt->n_tokens < a->job->n_context)
        return begin_sequence(a, s, item, seed, err);
    one->stop = R2I_STOP_TOO_LONG;
    give(a, s);
    return R2_OK;
}

static r2_status fill_slots(answering *a, r2_error *err) {
    for (int32_t i = 0; a->has_more && i < a->job->n_slots;) {
        int32_t item, sample;
        uint64_t seed;
        if (a->slots[i].sequence != NULL) {
            i++;
            continue;
        }
        while (a->spare == NULL)
            R2I_TRY(take_judged(a, true, err));
        a->has_more = a->job->next(a->job->user, &item, &sample, &seed);
        if (a->has_more) R2I_TRY(begin(a, &a->slots[i], item, sample, seed, err));
    }
    return R2_OK;
}

/* ---- writing ---- */

static bool is_certain(const answering *a, const r2i_eval_answer *one) {
    const r2i_eval_suite *suite = a->job->suite;
    return !a->job->reads_on && suite->is_certain != NULL &&
           suite->is_certain(&a->job->items[one->item], one->text.bytes, one->text.n_bytes);
}

static r2_status keep_pieces(r2i_eval_answer *out, const r2_answer_piece *pieces, int32_t n,
                             r2_error *err) {
    static const char call = R2I_CALL_MARK, arguments = R2I_ARGUMENTS_MARK;
    for (int32_t i = 0; i < n; i++) {
        const r2_answer_piece *p = &pieces[i];
        const bool is_content = p->kind == R2_PIECE_CONTENT;
        if (p->kind == R2_PIECE_CALL) R2I_TRY(r2i_buffer_append(&out->calls, &call, 1, err));
        R2I_TRY(r2i_buffer_append(is_content ? &out->text : &out->calls, p->text, p->n_bytes, err));
        if (p->kind == R2_PIECE_CALL) R2I_TRY(r2i_buffer_append(&out->calls, &arguments, 1, err));
    }
    return R2_OK;
}

/* The parser tells calls from text. */
static r2_status write_with_calls(slot *s, r2_token token, r2_error *err) {
    const r2_answer_piece *pieces;
    int32_t n;
    R2I_TRY(r2_tool_parser_feed(s->calls, token, &pieces, &n, err));
    return keep_pieces(s->answer, pieces, n, err);
}

/* What was held back. */
static r2_status end_text(slot *s, r2_error *err) {
    const r2_answer_piece *pieces;
    int32_t n = 0;
    R2I_TRY(r2i_buffer_append_text(&s->answer->text, r2_detokenizer_finish(s->text), err));
    if (s->calls == NULL) return R2_OK;
    R2I_TRY(r2_tool_parser_finish(s->calls, &pieces, &n, err));
    return keep_pieces(s->answer, pieces, n, err);
}

static r2_status write_token(answering *a, slot *s, const r2_generated *g, r2_error *err) {
    const r2_model *m = a->job->model;
    r2i_buffer *out = &s->answer->text;
    bool has_text;
    s->answer->n_tokens++;
    s->answer->n_thinking +=
        g->is_thinking && g->token != m->think_open && g->token != m->think_close;
    R2I_TRY(r2i_spoken_text_mark(&s->spoken, out, g->token, g->is_thinking, &has_text, err));
    if (!has_text) return R2_OK;
    if (s->calls != NULL && !g->is_thinking) return write_with_calls(s, g->token, err);
    return r2i_buffer_append_text(out, r2_detokenizer_feed(s->text, g->token), err);
}

/* Token by token, so that where it stops does not depend on how many came at once. */
static r2_status read_tokens(answering *a, slot *s, bool *is_done, r2_error *err) {
    r2_generated some[READ_TOKENS];
    for (int32_t n; (n = r2_sequence_read(s->sequence, some, READ_TOKENS)) > 0;) {
        for (int32_t i = 0; i < n; i++) {
            R2I_TRY(write_token(a, s, &some[i], err));
            if (s->spoken.is_thinking || s->answer->text.n_bytes == 0 || !is_certain(a, s->answer))
                continue;
            s->answer->stop = R2I_STOP_CERTAIN;
            *is_done = true;
            return R2_OK;
        }
    }
    return R2_OK;
}

static r2_status read_slot(answering *a, slot *s, r2_error *err) {
    r2_sequence_status status;
    bool is_done = false;
    R2I_TRY(read_tokens(a, s, &is_done, err));
    r2_sequence_get_status(s->sequence, &status);
    if (!is_done && status.state != R2_STATE_FINISHED) return R2_OK;
    if (!is_done && status.finish == R2_FINISH_ERROR)
        return r2i_fail(err, R2_E_RANGE, "%.80s: its numbers are none", a->job->model->name);
    if (!is_done && status.finish == R2_FINISH_MEMORY)
        return r2i_fail(err, R2_E_FULL, "the cache is too small for an answer of %d tokens",
                        status.n_tokens);
    if (!is_done) {
        s->answer->stop = status.finish == R2_FINISH_END ? R2I_STOP_END : R2I_STOP_LENGTH;
        R2I_TRY(end_text(s, err));
    }
    give(a, s);
    return R2_OK;
}

static r2_status step(answering *a, r2_error *err) {
    int32_t n_active;
    R2I_TRY(r2_engine_step(a->job->engine, &n_active, err));
    for (int32_t i = 0; i < a->job->n_slots; i++) {
        if (a->slots[i].sequence != NULL) R2I_TRY(read_slot(a, &a->slots[i], err));
    }
    return R2_OK;
}

static r2_status run(answering *a, r2_error *err) {
    for (a->has_more = true;;) {
        R2I_TRY(fill_slots(a, err));
        if (a->n_open == 0) break;
        R2I_TRY(step(a, err));
        R2I_TRY(take_judged(a, false, err));
    }
    a->job->written(a->job->user);
    while (a->n_judging > 0)
        R2I_TRY(take_judged(a, true, err));
    return R2_OK;
}

/* ---- memory ---- */

static r2_status take_memory(answering *a, r2i_arena *arena, r2_error *err) {
    a->n_answers = a->job->n_slots + SPARE_ANSWERS;
    a->slots = R2I_ARENA_ARRAY(arena, slot, (size_t)a->job->n_slots);
    a->answers = R2I_ARENA_ARRAY(arena, r2i_eval_answer, (size_t)a->n_answers);
    if (a->slots == NULL || a->answers == NULL)
        return r2i_fail(err, R2_E_NOMEM, "no memory for %d answers", a->job->n_slots);
    for (int32_t i = 0; i < a->n_answers; i++) {
        r2i_buffer_init(&a->answers[i].text, a->job->heap, MAX_ANSWER_BYTES);
        r2i_buffer_init(&a->answers[i].calls, a->job->heap, MAX_ANSWER_BYTES);
        a->answers[i].next = a->spare;
        a->spare = &a->answers[i];
    }
    return R2_OK;
}

/* Answers that are with the judges when something fails are given up with them. */
static void give_back(answering *a) {
    for (int32_t i = 0; a->slots != NULL && i < a->job->n_slots; i++) {
        r2_sequence_destroy(a->slots[i].sequence);
        r2_detokenizer_destroy(a->slots[i].text);
        r2_tool_parser_destroy(a->slots[i].calls);
    }
    for (int32_t i = 0; a->answers != NULL && i < a->n_answers; i++)
        r2i_buffer_destroy(&a->answers[i].text), r2i_buffer_destroy(&a->answers[i].calls);
}

r2_status r2i_answer_all(const r2i_answering *job, r2_error *err) {
    answering a = { .job = job };
    r2i_arena arena;
    r2i_arena_init(&arena, job->heap, 1 << 16, 0);
    r2_status status = take_memory(&a, &arena, err);
    if (status == R2_OK) status = run(&a, err);
    r2i_judges_stop(job->judges);
    give_back(&a);
    r2i_arena_destroy(&arena);
    return status;
}

#include "server/choice.h"

#include <string.h>

#include "base/clock.h"
#include "base/failure.h"

enum { READ_TOKENS = 64, JOINT_TOKENS = 8, MAX_TEXT_BYTES = 1 << 26 };

/* ---- from tokens to text ---- */

static r2_status add_logprobs(r2i_choice *c, const r2_generated *g, r2i_buffer *out) {
    r2i_token_logprob t = { .token = g->token, .logprob = g->logprob, .offset = c->n_characters };
    t.n_top = r2_sequence_top_logprobs(c->sequence, t.top, c->wishes->n_top);
    return r2i_buffer_append(out, &t, sizeof t, NULL);
}

/* ---- raw answers: all tokens are text, with their places in it ---- */

static void count_characters(r2i_choice *c, const char *text) {
    for (; *text != '\0'; text++)
        c->n_characters += ((unsigned char)*text & 0xc0) != 0x80;
}

/* What the answer's first token continues, in the midst of a character or behind a word, is told to the
 * detokenizer. */
static void join_prompt(r2i_choice *c) {
    const r2i_choice_prompt *p = c->prompt;
    for (int32_t i = p->n_tokens > JOINT_TOKENS ? p->n_tokens - JOINT_TOKENS : 0; i < p->n_tokens;
         i++)
        (void)r2_detokenizer_feed(c->texts[1], p->tokens[i]);
}

/* The prompt's text, known and its tokens read by now. */
static r2_status begin_raw(r2i_choice *c) {
    const r2i_choice_prompt *p = c->prompt;
    join_prompt(c);
    if (!c->wishes->has_echo) return R2_OK;
    c->n_characters = p->n_characters;
    R2I_TRY(r2i_buffer_append(&c->out.logprobs, p->logprobs.bytes, p->logprobs.n_bytes, NULL));
    return r2i_buffer_append(&c->out.answer, p->echo.bytes, p->echo.n_bytes, NULL);
}

static r2_status add_raw_token(r2i_choice *c, const r2i_choice_context *x, const r2_generated *g) {
    if (c->n_drawn == 1) R2I_TRY(begin_raw(c));
    if (c->wishes->is_prompt_only || r2_token_is_end(x->model, g->token)) return R2_OK;
    if (c->wishes->wants_logprobs) R2I_TRY(add_logprobs(c, g, &c->out.logprobs));
    const char *text = r2_detokenizer_feed(c->texts[1], g->token);
    count_characters(c, text);
    return r2i_stop_text_feed(&c->stop, text, false, &c->out.answer, NULL);
}

/* While the engine computes, without the lock: only the leader sees these. */
static void note_prompt_token(void *choice, int32_t position, float logprob,
                              const r2_top_logprob *likeliest, int32_t n_likeliest) {
    const r2i_choice *c = choice;
    r2i_token_logprob *tokens = (void *)c->prompt->logprobs.bytes;
    if (position < 1 || position >= c->prompt->n_tokens) return;
    tokens[position].logprob = logprob;
    tokens[position].n_top = n_likeliest;
    memcpy(tokens[position].top, likeliest, (size_t)n_likeliest * sizeof *likeliest);
}

/* ---- answers apart from thoughts ---- */

/* A model leaves blank lines between its thoughts and its answer: they are part of neither. */
static r2_status add_answer(r2i_choice *c, const char *text, bool is_last) {
    const bool skips = c->matcher == NULL || r2_grammar_matcher_skips_newlines(c->matcher);
    if (!c->has_answer && c->has_thoughts && skips) text += strspn(text, "\n");
    if (text[0] != '\0') c->has_answer = true;
    return r2i_stop_text_feed(&c->stop, text, is_last, &c->out.answer, NULL);
}

static r2_status add_thought(r2i_choice *c, const r2i_choice_context *x, r2_token token) {
    r2_detokenizer *texts = c->texts[0];
    c->has_thoughts = true;
    if (token == x->open) return R2_OK;
    if (token == x->close)
        return r2i_buffer_append_text(&c->out.thinking, r2_detokenizer_finish(texts), NULL);
    c->n_thinking++;
    return r2i_buffer_append_text(&c->out.thinking, r2_detokenizer_feed(texts, token), NULL);
}

/* Stop texts end content, never the arguments of a call. */
static r2_status add_pieces(r2i_choice *c, const r2_answer_piece *pieces, int32_t n) {
    for (int32_t i = 0; i < n && !c->stop.is_over; i++) {
        if (pieces[i].kind != R2_PIECE_CONTENT) {
            c->has_answer = true;
            R2I_TRY(r2i_call_list_add(&c->out.calls, &pieces[i]));
            continue;
        }
        if (c->wishes->is_calls_alone) continue;
        r2i_buffer_clear(&c->content);
        R2I_TRY(r2i_buffer_append(&c->content, pieces[i].text, pieces[i].n_bytes, NULL));
        R2I_TRY(add_answer(c, c->content.bytes, false));
    }
    if (c->wishes->is_single_call && r2_tool_parser_n_calls(c->calls) > 0) c->stop.is_over = true;
    return R2_OK;
}

static bool have_call(const r2_answer_piece *pieces, int32_t n) {
    for (int32_t i = 0; i < n; i++) {
        if (pieces[i].kind != R2_PIECE_CONTENT) return true;
    }
    return false;
}

static r2_status keep_logprobs(r2i_choice *c) {
    const r2i_buffer held = c->held_logprobs;
    c->held_logprobs.n_bytes = 0;
    return r2i_buffer_append(&c->out.logprobs, held.bytes, held.n_bytes, NULL);
}

/* Those of content.  While a call may have begun its tokens are held: if there is none, they are content. */
static r2_status add_content_logprobs(r2i_choice *c, const r2_generated *g,
                                      const r2_answer_piece *pieces, int32_t n) {
    const bool is_in_call = r2_tool_parser_is_in_call(c->calls);
    c->is_call_known |= have_call(pieces, n);
    if (c->is_call_known) c->held_logprobs.n_bytes = 0;
    const bool is_content = n > 0 && !is_in_call && !have_call(pieces, n);
    if (!c->is_call_known || is_content) R2I_TRY(add_logprobs(c, g, &c->held_logprobs));
    if (is_in_call) return R2_OK;
    c->is_call_known = false;
    return keep_logprobs(c);
}

static r2_status add_answer_token(r2i_choice *c, const r2i_choice_context *x,
                                  const r2_generated *g) {
    const bool wants_logprobs = c->wishes->wants_logprobs && !r2_token_is_end(x->model, g->token);
    if (c->calls == NULL) {
        if (wants_logprobs) R2I_TRY(add_logprobs(c, g, &c->out.logprobs));
        return add_answer(c, r2_detokenizer_feed(c->texts[1], g->token), false);
    }
    const r2_answer_piece *pieces;
    int32_t n;
    R2I_TRY(r2_tool_parser_feed(c->calls, g->token, &pieces, &n, NULL));
    if (wants_logprobs && !c->wishes->is_calls_alone)
        R2I_TRY(add_content_logprobs(c, g, pieces, n));
    return add_pieces(c, pieces, n);
}

static r2_status add_token(r2i_choice *c, const r2i_choice_context *x, const r2_generated *g) {
    if (c->stop.is_over) return R2_OK;
    c->n_drawn++;
    if (c->first_ns == 0) c->first_ns = r2i_clock_ns();
    if (c->wishes->is_raw) return add_raw_token(c, x, g);
    if (c->n_drawn == 1 && c->wishes->continues_text) join_prompt(c);
    if (g->is_thinking) return add_thought(c, x, g->token);
    return add_answer_token(c, x, g);
}

static size_t count_unsent(const r2i_choice_out *out) {
    return out->answer.n_bytes + out->thinking.n_bytes + out->logprobs.n_bytes +
           out->calls.n_unsent;
}

r2_status r2i_choice_read(r2i_choice *c, const r2i_choice_context *x, bool *has_more) {
    r2_generated tokens[READ_TOKENS];
    const size_t n_before = count_unsent(&c->out);
    for (int32_t n; (n = r2_sequence_read(c->sequence, tokens, READ_TOKENS)) > 0;) {
        for (int32_t i = 0; i < n; i++)
            R2I_TRY(add_token(c, x, &tokens[i]));
    }
    *has_more = count_unsent(&c->out) != n_before;
    return R2_OK;
}

r2_status r2i_choice_finish(r2i_choice *c) {
    R2I_TRY(r2i_buffer_append_text(&c->out.thinking, r2_detokenizer_finish(c->texts[0]), NULL));
    if (c->calls != NULL) {
        const r2_answer_piece *pieces;
        int32_t n;
        R2I_TRY(r2_tool_parser_finish(c->calls, &pieces, &n, NULL));
        R2I_TRY(add_pieces(c, pieces, n));
        if (!c->is_call_known && !have_call(pieces, n)) R2I_TRY(keep_logprobs(c));
    }
    return add_answer(c, r2_detokenizer_finish(c->texts[1]), true);
}

/* ---- beginning and end ---- */

void r2i_choice_prompt_init(r2i_choice_prompt *p, r2i_heap *heap) {
    *p = (r2i_choice_prompt){ .tokens = NULL };
    r2i_buffer_init(&p->owned, heap, MAX_TEXT_BYTES);
    r2i_buffer_init(&p->echo, heap, MAX_TEXT_BYTES);
    r2i_buffer_init(&p->logprobs, heap, MAX_TEXT_BYTES);
}

void r2i_choice_prompt_destroy(r2i_choice_prompt *p) {
    r2i_buffer_destroy(&p->owned);
    r2i_buffer_destroy(&p->echo);
    r2i_buffer_destroy(&p->logprobs);
}

void r2i_choice_init(r2i_choice *c, struct r2i_job *job, int32_t index, r2i_heap *heap) {
    *c = (r2i_choice){ .job = job, .index = index };
    r2i_stop_text_init(&c->stop, heap, NULL, 0);
    r2i_buffer_init(&c->out.thinking, heap, MAX_TEXT_BYTES);
    r2i_buffer_init(&c->out.answer, heap, MAX_TEXT_BYTES);
    r2i_buffer_init(&c->out.logprobs, heap, MAX_TEXT_BYTES);
    r2i_buffer_init(&c->content, heap, MAX_TEXT_BYTES);
    r2i_buffer_init(&c->held_logprobs, heap, MAX_TEXT_BYTES);
    r2i_call_list_init(&c->out.calls, heap);
}

void r2i_choice_destroy(r2i_choice *c) {
    r2i_choice_release(c);
    r2i_buffer_destroy(&c->out.thinking);
    r2i_buffer_destroy(&c->out.answer);
    r2i_buffer_destroy(&c->out.logprobs);
    r2i_call_list_destroy(&c->out.calls);
}

bool r2i_choice_can_begin(const r2i_choice *c) {
    r2_sequence_status status;
    if (c->leader == NULL || c->leader->out.is_done) return true;
    if (c->leader->sequence == NULL) return false;
    r2_sequence_get_status(c->leader->sequence, &status);
    return status.n_computed >= c->prompt->n_tokens;
}

static void drop_sequence(r2i_choice *c) {
    if (c->sequence != NULL) r2_sequence_destroy(c->sequence);
    c->sequence = NULL;
}

/* Reads the prompt, or takes it from the leader: the last token alone is computed again, for its logits. */
static r2_status begin_sequence(r2i_choice *c, const r2i_choice_context *x, r2_error *err) {
    r2_sequence_options options = r2i_wishes_options(c->wishes, c->i_draw);
    options.cache_domain = c->domain;
    options.client = c->client;
    if (c->is_think_stopped) options.think_budget = -1;
    if (c->matcher != NULL) {
        options.mask = r2_grammar_mask;
        options.user = c->matcher;
    }
    if (c->leader != NULL && c->leader->sequence != NULL) {
        R2I_TRY(r2_sequence_fork(&c->sequence, c->leader->sequence, &options, err));
        return r2_sequence_rewind(c->sequence, c->prompt->n_tokens, err);
    }
    if (c->leader == NULL && c->prompt->logprobs.n_bytes > 0) {
        options.wants_prompt_logprobs = true;
        options.prompt = note_prompt_token;
        options.prompt_user = c;
    }
    R2I_TRY(r2_sequence_create(&c->sequence, x->engine, &options, err));
    return r2_sequence_append(c->sequence, c->prompt->tokens, c->prompt->n_tokens, err);
}

/* At the beginning of a text, whatever was written before its pages were taken away. */
static r2_status begin_grammar(r2i_choice *c, r2_error *err) {
    if (c->wishes->grammar == NULL) return R2_OK;
    if (c->matcher != NULL) return r2_grammar_matcher_reset(c->matcher, err);
    return r2_grammar_matcher_create(&c->matcher, c->wishes->grammar, err);
}

r2_status r2i_choice_begin(r2i_choice *c, const r2i_choice_context *x, r2_error *err) {
    R2I_TRY(begin_grammar(c, err));
    R2I_TRY(begin_sequence(c, x, err));
    if (c->texts[0] != NULL) return R2_OK;
    r2i_stop_text_init(&c->stop, x->heap, c->wishes->stops, c->wishes->n_stops);
    R2I_TRY(r2_detokenizer_create(&c->texts[0], x->model, false, err));
    R2I_TRY(r2_detokenizer_create(&c->texts[1], x->model, false, err));
    if (c->wishes->tools_json == NULL) return R2_OK;
    return r2_tool_parser_create(&c->calls, x->model, c->wishes->tools_json, err);
}

void r2i_choice_stop_thinking(r2i_choice *c) {
    c->is_think_stopped = true;
    if (c->sequence != NULL) r2_sequence_stop_thinking(c->sequence);
}

void r2i_choice_release(r2i_choice *c) {
    drop_sequence(c);
    r2_detokenizer_destroy(c->texts[0]);
    r2_detokenizer_destroy(c->texts[1]);
    c->texts[0] = c->texts[1] = NULL;
    r2_tool_parser_destroy(c->calls);
    c->calls = NULL;
    r2i_buffer_destroy(&c->content);
    r2i_buffer_destroy(&c->held_logprobs);
    r2_grammar_matcher_destroy(c->matcher);
    c->matcher = NULL;
    r2i_stop_text_destroy(&c->stop);
}

/* text.h - between text and tokens: tokenizer, chat template, streaming back to text.
 *
 * All functions here take the model as read-only and may be called from several threads. */
#ifndef R2LM_TEXT_H
#define R2LM_TEXT_H

#include "r2lm/engine.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Texts are UTF-8 with a length in bytes; invalid sequences are tokenized byte by byte. */

enum {
    R2_TOKENIZE_SPECIAL =
        1, /* control tokens written in the text are recognised; never for users' text */
    R2_TOKENIZE_START = 2 /* put the start token in front if the model wants one */
};

/* Writes up to cap tokens and sets *n_tokens to the number the text needs (call with cap 0 to
 * count; R2_OK then).  `flags`: R2_TOKENIZE_*.  R2_E_FULL if cap was not 0 and too small. */
R2_API R2_CHECKED r2_status r2_tokenize(const r2_model *model, const char *text, size_t n_bytes,
                                        int flags, r2_token *tokens, int32_t cap, int32_t *n_tokens,
                                        r2_error *err);
/* The bytes one token stands for, possibly part of a character; control tokens give their name.
 * Writes at most cap bytes and returns how many there are; 0 if there is no such token. */
R2_API size_t r2_token_bytes(const r2_model *model, r2_token token, char *out, size_t cap);
R2_API bool r2_token_is_control(const r2_model *model, r2_token token);
/* Ends an answer (end of text, end of turn). */
R2_API bool r2_token_is_end(const r2_model *model, r2_token token);
/* Token with exactly this text ("<think>"), or -1. */
R2_API r2_token r2_token_find(const r2_model *model, const char *text);

/* Tokens for filling a gap: what stands before it comes behind out[0], what stands behind it behind out[1], and
 * what fills it is written behind out[2].  False, and -1 in all of them: the model has no such tokens. */
R2_API bool r2_fim_find(const r2_model *model, r2_token out[3]);

/* Turns tokens into text as they come, never printing half a character. */
typedef struct r2_detokenizer r2_detokenizer;
R2_API R2_CHECKED r2_status r2_detokenizer_create(r2_detokenizer **out, const r2_model *model,
                                                  bool shows_control, r2_error *err);
R2_API void r2_detokenizer_destroy(r2_detokenizer *detokenizer);
/* Feeds one token; returns the text that is complete now (terminated, possibly empty, valid until
 * the next call). */
R2_API const char *r2_detokenizer_feed(r2_detokenizer *detokenizer, r2_token token);
/* What was held back, invalid bytes as U+FFFD; the detokenizer starts afresh. */
R2_API const char *r2_detokenizer_finish(r2_detokenizer *detokenizer);

typedef struct {
    const char *role;    /* "system", "user", "assistant", "tool" */
    const char *content; /* terminated UTF-8; control tokens in it stay plain text; NULL: none */
    /* The rest may be NULL. */
    const char *reasoning; /* an assistant's thoughts; templates drop those of older turns */
    const char
        *tool_calls_json;     /* an assistant's calls, as the OpenAI API has them: [{"id", "type",
                                    "function": {"name", "arguments": text or object}}] */
    const char *tool_call_id; /* of a tool's result: which call it answers */
    const char *name;         /* of the function, or of who speaks */
} r2_chat_message;

typedef struct {
    bool has_no_answer_prompt; /* do not open the assistant's turn */
    r2_think_mode think;       /* tells the template, and closes a block that it opens */
    const char *
        messages_json; /* instead of messages: an OpenAI-style array (tool calls, reasoning, ...) */
    const char *tools_json; /* OpenAI-style array of tools, or NULL; see tools.h */
    const char *extra_json; /* object of further template variables, or NULL */
    /* What the answer begins with, to be gone on from, and the thoughts before it; both may be NULL.  Control
     * tokens in them stay plain text.  A block of thoughts that the template opens is closed before it. */
    const char *answer, *answer_thoughts;
} r2_chat_options;

/* A rendered conversation: text for people, tokens for the engine. */
typedef struct {
    const char *text;
    size_t n_bytes;
    const r2_token *tokens;
    int32_t n_tokens;
} r2_prompt;

/* Renders messages with the model's own chat template.  Without a template, R2_E_UNSUPPORTED.  A template
 * that knows nothing of tools gets them, calls and results in words.
 * `options` may be NULL.  The prompt is owned by the caller. */
R2_API R2_CHECKED r2_status r2_chat_render(r2_prompt **out, const r2_model *model,
                                           const r2_chat_message *messages, int32_t n_messages,
                                           const r2_chat_options *options, r2_error *err);
R2_API void r2_prompt_destroy(r2_prompt *prompt);

/* ---- grammars --------------------------------------------------------------------------------- */

/* What an answer may be, compiled for a model's vocabulary.  Any number of matchers may use it, also
 * on several threads: it remembers what they found out (at most about 150 MB, mostly below 1), under a
 * lock.  The model must outlive it, and it its matchers. */
typedef struct r2_grammar r2_grammar;

/* From GBNF, the notation of llama.cpp; the rule `root` is the whole text.  R2_E_FORMAT: malformed,
 * says where; rules that begin with themselves (left recursion); rules no text fits.  R2_E_LIMIT: too
 * large (1 MiB of text, 16,384 rules, 524,288 nodes).  R2_E_UNSUPPORTED: the model has no tokenizer.
 * Texts fit to a depth of 250 rules within rules; what would go deeper is not offered. */
R2_API R2_CHECKED r2_status r2_grammar_from_gbnf(r2_grammar **out, const r2_model *model,
                                                 const char *text, size_t n_bytes, r2_error *err);
/* From a JSON schema (a text, JSON itself); {"type": "object"} is any JSON object.  Every answer
 * validates; which of the valid ones are written is narrower: members in the schema's order, none
 * besides `properties` unless additionalProperties allows them, white space as models put it, at most
 * 15 digits before the point.  Understood: type enum const anyOf oneOf (as anyOf) allOf $ref $defs
 * properties required additionalProperties items prefixItems minItems maxItems uniqueItems (of a few
 * known values) minLength maxLength pattern (the stronger beside format) format (date time date-time
 * duration uuid email hostname ipv4 ipv6 uri) minimum maximum exclusiveMinimum exclusiveMaximum
 * multipleOf (whole numbers); annotations say nothing.
 * Any other keyword, and values or pairs of these that cannot be kept, are R2_E_UNSUPPORTED: the text
 * names the keyword and where it stands. */
R2_API R2_CHECKED r2_status r2_grammar_from_json_schema(r2_grammar **out, const r2_model *model,
                                                        const char *text, size_t n_bytes,
                                                        r2_error *err);
/* From a regular expression that the whole answer matches: characters, . [classes] \d \w \s groups |
 * * + ? {m,n}; look-around, back-references and \b are R2_E_UNSUPPORTED. */
R2_API R2_CHECKED r2_status r2_grammar_from_regex(r2_grammar **out, const r2_model *model,
                                                  const char *pattern, size_t n_bytes,
                                                  r2_error *err);
/* NULL is allowed. */
R2_API void r2_grammar_destroy(r2_grammar *grammar);
/* Bytes it takes now, what it remembers included. */
R2_API size_t r2_grammar_memory(const r2_grammar *grammar);

/* A place in a text of a grammar.  Belongs to one thread at a time. */
typedef struct r2_grammar_matcher r2_grammar_matcher;

/* At the beginning of a text. */
R2_API R2_CHECKED r2_status r2_grammar_matcher_create(r2_grammar_matcher **out, r2_grammar *grammar,
                                                      r2_error *err);
/* Another one at the same place; both go on independently. */
R2_API R2_CHECKED r2_status r2_grammar_matcher_clone(r2_grammar_matcher **out,
                                                     const r2_grammar_matcher *matcher,
                                                     r2_error *err);
/* NULL is allowed. */
R2_API void r2_grammar_matcher_destroy(r2_grammar_matcher *matcher);
/* Back to the beginning, for another text or sequence. */
R2_API R2_CHECKED r2_status r2_grammar_matcher_reset(r2_grammar_matcher *matcher, r2_error *err);
/* Goes on by bytes, or by a token (one that ends an answer: only where the text may end).
 * R2_E_MISMATCH: not allowed here, the place stays; R2_E_LIMIT: too many ways to read it. */
R2_API R2_CHECKED r2_status r2_grammar_matcher_accept(r2_grammar_matcher *matcher,
                                                      const char *bytes, size_t n_bytes,
                                                      r2_error *err);
R2_API R2_CHECKED r2_status r2_grammar_matcher_accept_token(r2_grammar_matcher *matcher,
                                                            r2_token token, r2_error *err);
/* Can no text of the grammar begin with a newline?  r2_grammar_mask then lets a model leave up to two
 * between </think> and its answer; they belong to neither. */
R2_API bool r2_grammar_matcher_skips_newlines(const r2_grammar_matcher *matcher);
/* May the text end here? */
R2_API bool r2_grammar_matcher_can_end(const r2_grammar_matcher *matcher);
/* Clears the bits of tokens that must not come next, in the form of r2_mask_callback.  Tokens that end
 * an answer stay where the text may end; control tokens, <think> and </think> never do.  A place seen
 * before costs a copy, a new one a walk over the vocabulary.  On failure (R2_E_LIMIT, R2_E_NOMEM) all
 * bits are cleared. */
R2_API R2_CHECKED r2_status r2_grammar_matcher_mask(r2_grammar_matcher *matcher, uint32_t *allowed,
                                                    int32_t n_vocab, r2_error *err);
/* An r2_mask_callback; `matcher` is an r2_grammar_matcher used by this sequence alone.  It follows the
 * tokens drawn from its first call on, leaves thoughts alone (but the text cannot end in them) and holds
 * what comes behind </think>, blank lines apart, to the grammar; a model that can think may begin with
 * <think>.  Rewinding the sequence is noticed. */
R2_API bool r2_grammar_mask(void *matcher, const r2_sequence *sequence, uint32_t *allowed,
                            int32_t n_vocab);

#ifdef __cplusplus
}
#endif
#endif

/* tokenizer.h - text to token ids and back.
 *
 *     text -> added tokens cut out -> NFC or space marks -> pieces (pattern) -> merges -> ids
 *
 * Two families share one merge loop: byte-level BPE ("gpt2": symbols start as bytes) and
 * SentencePiece-style BPE ("llama": symbols start as characters, a missing character becomes byte
 * tokens).  A tokenizer never changes after creation, so threads share it; what encoding needs to
 * write (buffers, word cache) lives in an encoder, one per thread. */
#ifndef R2I_TOKENIZER_H
#define R2I_TOKENIZER_H
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "base/memory.h"
#include "r2lm/status.h"
#include "text/text_range.h"

enum {
    R2I_MAX_TOKENS = 1 << 20,        /* ids in a vocabulary */
    R2I_MAX_TOKEN_BYTES = 1 << 14,   /* text of one token */
    R2I_MAX_ADDED_TOKEN_BYTES = 512, /* text of a control or user token */
    R2I_MAX_ENCODE_BYTES = 1 << 28   /* text of one encode call */
};

/* Numbers are those of tokenizer.ggml.token_type. */
typedef enum {
    R2I_TOKEN_NORMAL = 1,
    R2I_TOKEN_UNKNOWN = 2,
    R2I_TOKEN_CONTROL = 3, /* never comes out of untrusted text */
    R2I_TOKEN_USER = 4,    /* added token that is ordinary text: always matched as a whole */
    R2I_TOKEN_UNUSED = 5,
    R2I_TOKEN_BYTE = 6 /* "<0x0A>" */
} r2i_token_type;

/* n bytes at some place, not terminated. */
typedef struct {
    const char *bytes;
    size_t n_bytes;
} r2i_text_view;

static inline bool r2i_text_view_is(r2i_text_view text, const char *word) {
    return text.n_bytes == strlen(word) && memcmp(text.bytes, word, text.n_bytes) == 0;
}

/* A list of texts in one of two forms: an array of views, or (views == NULL) as GGUF stores it:
 * n times a little-endian u64 length and that many bytes, inside n_packed_bytes. */
typedef struct {
    size_t n;
    const r2i_text_view *views;
    const void *packed;
    size_t n_packed_bytes;
} r2i_text_list;

typedef enum {
    R2I_PREFIX_NONE,  /* no space put in front */
    R2I_PREFIX_FIRST, /* in front of the text only */
    R2I_PREFIX_EVERY  /* in front of the text and after every added token */
} r2i_space_prefix;

/* What a model file says about its tokenizer.  All memory is borrowed during the create call. */
typedef struct {
    r2i_text_view model;  /* "gpt2" or "llama" */
    r2i_text_view pre;    /* tokenizer.ggml.pre; empty means "default"; unused for "llama" */
    r2i_text_list tokens; /* text by id */
    r2i_text_list merges; /* "left right" in rank order; with merges_are_pairs left, right, ... */
    bool merges_are_pairs;
    const void *types;  /* i32 [tokens.n], any alignment, or NULL: all normal */
    const void *scores; /* f32 [tokens.n], any alignment; "llama" merges by them if given */
    int32_t bos_id, eos_id, eot_id, unk_id, pad_id; /* -1: none */
    int32_t fim_ids[3]; /* before a gap, behind it, its filling; -1: found by their usual texts */
    const int32_t *eog_ids; /* further ends of generation */
    size_t n_eog_ids;
    bool add_bos, add_eos;         /* what R2I_ENCODE_ENDS adds */
    r2i_space_prefix space_prefix; /* "llama" only */
} r2i_vocabulary;

/* All ids -1, space_prefix EVERY, the rest empty. */
void r2i_vocabulary_init(r2i_vocabulary *vocabulary);

typedef struct r2i_tokenizer r2i_tokenizer;

/* Copies what it needs.  R2_E_UNSUPPORTED: unknown model or pre-tokenizer name (it is in the text);
 * R2_E_FORMAT: lists that do not parse, merges of unknown tokens, ids outside the vocabulary;
 * R2_E_LIMIT, R2_E_NOMEM.  `heap` must outlive the tokenizer. */
R2_CHECKED r2_status r2i_tokenizer_create(r2i_tokenizer **out, const r2i_vocabulary *vocabulary,
                                          r2i_heap *heap, r2_error *err);

/* What a Hugging Face model folder says; borrowed during the create call. */
typedef struct {
    r2i_text_view tokenizer_json;   /* bytes of tokenizer.json */
    const json_t *tokenizer_config; /* objects, or NULL when the file is not there */
    const json_t *special_tokens_map;
    const int32_t *eog_ids; /* eos_token_id of generation_config.json */
    size_t n_eog_ids;
} r2i_tokenizer_files;

/* As above from tokenizer.json.  A component or pattern that is not built in is R2_E_UNSUPPORTED
 * and named. */
R2_CHECKED r2_status r2i_tokenizer_create_from_json(r2i_tokenizer **out,
                                                    const r2i_tokenizer_files *files,
                                                    r2i_heap *heap, r2_error *err);
/* NULL is allowed. */
void r2i_tokenizer_destroy(r2i_tokenizer *tokenizer);

/* Number of ids; the embedding may have more rows than this. */
int32_t r2i_tokenizer_size(const r2i_tokenizer *tokenizer);
/* Text of a token as the vocabulary writes it ("\u0120the", "<|im_end|>"); empty for an id outside. */
r2i_text_view r2i_tokenizer_text(const r2i_tokenizer *tokenizer, int32_t id);
/* Id of exactly this vocabulary text, or -1. */
int32_t r2i_tokenizer_find(const r2i_tokenizer *tokenizer, const char *text, size_t n_bytes);
/* Id of an added (control or user) token such as "<think>", or -1. */
int32_t r2i_tokenizer_find_added(const r2i_tokenizer *tokenizer, const char *text);
/* R2I_TOKEN_UNUSED for an id outside. */
r2i_token_type r2i_tokenizer_type(const r2i_tokenizer *tokenizer, int32_t id);
bool r2i_tokenizer_is_control(const r2i_tokenizer *tokenizer, int32_t id);
/* Does this token end a generation?  eos, eot and the known end texts of chat models. */
bool r2i_tokenizer_is_eog(const r2i_tokenizer *tokenizer, int32_t id);
/* The same set as a list; *n ids, valid as long as the tokenizer. */
const int32_t *r2i_tokenizer_eog(const r2i_tokenizer *tokenizer, size_t *n);
/* Ids [3] of the tokens around the text before a gap, behind it, and in front of what fills it, or NULL. */
const int32_t *r2i_tokenizer_fim(const r2i_tokenizer *tokenizer);
/* -1: none. */
int32_t r2i_tokenizer_bos(const r2i_tokenizer *tokenizer);
int32_t r2i_tokenizer_eos(const r2i_tokenizer *tokenizer);
bool r2i_tokenizer_adds_bos(const r2i_tokenizer *tokenizer);

/* The bytes a token stands for: "\u0120the" is " the", "<0x0A>" a newline; added tokens are their
 * text.  Writes at most cap_bytes and returns the full number of bytes (never above
 * R2I_MAX_TOKEN_BYTES); 0 for an id outside.  Single tokens may hold parts of a character: see
 * detokenizer.h for text to show. */
size_t r2i_tokenizer_token_bytes(const r2i_tokenizer *tokenizer, int32_t id, char *out,
                                 size_t cap_bytes);

/* ---- encoding ---- */
enum {
    R2I_ENCODE_CONTROL = 1, /* control tokens written in the text become their ids */
    R2I_ENCODE_ENDS = 2     /* add BOS and EOS where the vocabulary says so (never a second BOS) */
};

/* A chat prompt is one text: what the template wrote is trusted, what users and tools wrote is in
 * `untrusted`.  A control token, or a user token written "<...>", is recognised only where none of its
 * bytes is untrusted; pieces
 * and merges do not see the borders, so ordinary content gets the same ids as the whole string
 * would.  Without R2I_ENCODE_CONTROL all text is untrusted.  Bytes that are not UTF-8 are encoded
 * one by one. */
typedef struct {
    const char *bytes;
    size_t n_bytes;
    unsigned flags;                  /* R2I_ENCODE_* */
    const r2i_text_range *untrusted; /* ascending, disjoint; NULL: none */
    size_t n_untrusted;
} r2i_encode_text;

typedef struct r2i_encoder r2i_encoder;

/* Borrows the tokenizer and heap until destroyed.  About 1.5 MB. */
R2_CHECKED r2_status r2i_encoder_create(r2i_encoder **out, const r2i_tokenizer *tokenizer,
                                        r2i_heap *heap, r2_error *err);
/* NULL is allowed. */
void r2i_encoder_destroy(r2i_encoder *encoder);
/* *ids belongs to the encoder and is valid until its next call.  R2_E_LIMIT: text too long or a
 * pattern ran too far; R2_E_ARGUMENT: ranges not ascending; R2_E_NOMEM. */
R2_CHECKED r2_status r2i_encoder_run(r2i_encoder *encoder, const r2i_encode_text *text,
                                     const int32_t **ids, size_t *n_ids, r2_error *err);
/* The common case: no untrusted ranges. */
R2_CHECKED r2_status r2i_encoder_run_text(r2i_encoder *encoder, const char *bytes, size_t n_bytes,
                                          unsigned flags, const int32_t **ids, size_t *n_ids,
                                          r2_error *err);
#endif

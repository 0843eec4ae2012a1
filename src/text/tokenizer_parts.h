/* tokenizer_parts.h - the inside of a tokenizer, for the files that make and use one. */
#ifndef R2I_TOKENIZER_PARTS_H
#define R2I_TOKENIZER_PARTS_H
#include "base/arena.h"
#include "text/added_tokens.h"
#include "text/byte_letters.h"
#include "text/merge_table.h"
#include "text/pretokenizer.h"
#include "text/token_store.h"

enum { R2I_MAX_EOG = 64 };

/* U+2581, how SentencePiece writes a space. */
#define R2I_SPACE_MARK "\xe2\x96\x81"
enum { R2I_SPACE_MARK_BYTES = 3 };

/* What tokenizer.json can say and GGUF cannot. */
typedef struct {
    bool has_scheme; /* `scheme` instead of the one named by vocabulary->pre */
    r2i_scheme scheme;
    const uint8_t *strips;  /* [tokens.n] R2I_STRIP_* or NULL; copied */
    bool keep_single_space; /* no prefix where the text begins with a space */
    bool split_unknown;     /* neighbouring unknown characters stay apart */
} r2i_tokenizer_options;

struct r2i_tokenizer {
    r2i_heap *heap;
    r2i_arena arena;
    bool is_bytes; /* byte-level; otherwise SentencePiece-style */
    r2i_token_store store;
    r2i_merge_table merges;
    r2i_added_tokens added;
    r2i_byte_letters letters;
    r2i_scheme scheme;
    r2i_pretokenizer *pretokenizer; /* byte-level only */
    int32_t byte_ids[256];          /* token of a byte, -1: the vocabulary lacks it */
    int32_t ascii_ids[128];         /* SentencePiece: token of a character, -1: none */
    bool can_split_words;           /* no token holds a space mark behind another character */
    bool keep_single_space, split_unknown;
    r2i_space_prefix space_prefix;
    int32_t bos_id, eos_id, unk_id;
    bool add_bos, add_eos;
    int32_t eog_ids[R2I_MAX_EOG];
    size_t n_eog;
    int32_t fim_ids[3]; /* all or none: -1 */
};

/* The ids given, or else those of the texts that models use: fim_tokens.c. */
void r2i_fim_collect(r2i_tokenizer *tokenizer, const int32_t ids[3]);

/* r2i_tokenizer_create with options (NULL: none). */
R2_CHECKED r2_status r2i_tokenizer_build(r2i_tokenizer **out, const r2i_vocabulary *vocabulary,
                                         const r2i_tokenizer_options *options, r2i_heap *heap,
                                         r2_error *err);
/* Value of a byte token's text "<0x0A>", or -1. */
int32_t r2i_byte_token_value(r2i_text_view text);
#endif

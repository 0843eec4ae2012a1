/* data_manifest.h - what lies in a folder of prepared data: manifest.json. */
#ifndef R2I_DATA_MANIFEST_H
#define R2I_DATA_MANIFEST_H
#include "base/arena.h"
#include "r2lm/text.h"
#include "r2lm/train.h"
#include "train/data/data_shard.h"

#define R2I_MANIFEST_NAME "manifest.json"
#define R2I_DATA_CARD_NAME "DATA.md"

enum { R2I_MAX_SHARDS = 4096, R2I_SHARD_NAME_BYTES = 32 };

typedef enum { R2I_SPLIT_TRAIN, R2I_SPLIT_VALIDATION, R2I_N_SPLITS } r2i_split;
extern const char *const r2i_split_names[R2I_N_SPLITS];

typedef struct {
    char name[R2I_SHARD_NAME_BYTES];
    r2i_split split;
    uint64_t n_documents, n_tokens, checksum;
} r2i_shard_entry;

typedef struct {
    uint64_t tokenizer; /* r2i_tokenizer_fingerprint */
    int32_t n_vocab;
    bool has_chats;      /* some documents are chats: they are trained on whole */
    const char *licence; /* or NULL */
    const char *const *sources;
    int32_t n_sources;
    r2_data_result counts;
    r2i_shard_entry *shards;
    int32_t n_shards;
} r2i_data_manifest;

/* Hash of all tokens' texts: equal for two files of one tokenizer. */
uint64_t r2i_tokenizer_fingerprint(const r2_model *model);
R2_CHECKED r2_status r2i_manifest_write(const r2i_data_manifest *manifest, const char *folder,
                                        r2i_heap *heap, r2_error *err);
/* Texts and shards lie in the arena. */
R2_CHECKED r2_status r2i_manifest_read(r2i_data_manifest *out, const char *folder, r2i_arena *arena,
                                       r2_error *err);
/* The data card: what was read, what was left out and why, for people. */
R2_CHECKED r2_status r2i_data_card_write(const r2i_data_manifest *manifest, const char *folder,
                                         r2i_heap *heap, r2_error *err);
#endif

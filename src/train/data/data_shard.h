/* data_shard.h - the tokens of many documents in one file, read by mapping.
 *
 *     "r2lmtok1" | u32 tokens[n_tokens], 4 bytes if odd | u64 ends[n_documents] | footer
 *     footer: u64 n_documents | u64 n_tokens | u64 checksum | "r2lmtok1"
 *
 * Little-endian.  ends[i] is where document i ends among the tokens.  Bit 31 of a token: it is read but
 * not learnt (training_tokens.h).  The checksum is r2i_hash_bytes over the documents one by one, then
 * over the ends. */
#ifndef R2I_DATA_SHARD_H
#define R2I_DATA_SHARD_H
#include "base/buffer.h"
#include "files/atomic_write.h"
#include "files/mapping.h"

/* A document has something to foretell: two tokens at least. */
enum { R2I_LEAST_TOKENS = 2 };

typedef struct {
    r2i_atomic_file *file; /* NULL: none begun */
    r2i_buffer ends;
    uint64_t n_documents, n_tokens, checksum;
} r2i_shard_writer;

R2_CHECKED r2_status r2i_shard_begin(r2i_shard_writer *out, const char *path, r2i_heap *heap,
                                     r2_error *err);
/* n: R2I_LEAST_TOKENS or more. */
R2_CHECKED r2_status r2i_shard_add(r2i_shard_writer *writer, const uint32_t *tokens, size_t n,
                                   r2_error *err);
/* Puts the file in place; its counts and checksum stay readable. */
R2_CHECKED r2_status r2i_shard_finish(r2i_shard_writer *writer, r2_error *err);
/* Leaves no file; safe after finish. */
void r2i_shard_abandon(r2i_shard_writer *writer);

typedef struct {
    r2i_mapping file;
    const uint32_t *tokens;
    const uint64_t *ends;
    uint64_t n_documents, n_tokens, checksum;
} r2i_shard;

/* Maps a file and reads it once: R2_E_FORMAT, R2_E_CHECKSUM, R2_E_RANGE: a token at or above n_vocab
 * (0: any). */
R2_CHECKED r2_status r2i_shard_open(r2i_shard *out, const char *path, int32_t n_vocab,
                                    r2_error *err);
void r2i_shard_close(r2i_shard *shard);
/* Tokens of document i, 0 <= i < n_documents. */
const uint32_t *r2i_shard_document(const r2i_shard *shard, uint64_t i, size_t *n);
#endif

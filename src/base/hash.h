/* hash.h - a fast 64-bit hash for tables and for checksums of files that we wrote ourselves.
 *
 * FNV-1a over 8-byte words with a final mix: it finds torn writes and flipped bits.  It is no
 * defence against someone who forges a file on purpose, so readers check every field as well. */
#ifndef R2I_HASH_H
#define R2I_HASH_H
#include <stddef.h>
#include <stdint.h>

enum { R2I_HASH_SEED = 0x2c1b3c6d };

/* Continues from `hash` (R2I_HASH_SEED to begin).  The same bytes in other portions hash
 * differently: writer and reader must use the same portions. */
uint64_t r2i_hash_bytes(uint64_t hash, const void *bytes, size_t n_bytes);
/* The same idea for bytes that come in any portions. */
typedef struct {
    uint64_t hash, n_bytes;
    uint64_t word; /* of the bytes behind the last multiple of 8 */
} r2i_checksum;
void r2i_checksum_begin(r2i_checksum *sum);
void r2i_checksum_add(r2i_checksum *sum, const void *bytes, size_t n_bytes);
/* Of all bytes so far; more may follow.  Any change within 8 bytes is sure to be seen. */
uint64_t r2i_checksum_get(const r2i_checksum *sum);
/* splitmix64's finalizer: every input bit reaches every output bit. */
uint64_t r2i_hash_mix(uint64_t x);
#endif

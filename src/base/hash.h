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
/* splitmix64's finalizer: every input bit reaches every output bit. */
uint64_t r2i_hash_mix(uint64_t x);
#endif

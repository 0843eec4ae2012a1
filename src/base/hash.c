#include "base/hash.h"

#include <string.h>

uint64_t r2i_hash_mix(uint64_t x) {
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

uint64_t r2i_hash_bytes(uint64_t hash, const void *bytes, size_t n_bytes) {
    const unsigned char *p = bytes;
    uint64_t h = hash ^ (uint64_t)n_bytes * 0x9e3779b97f4a7c15u;
    for (; n_bytes >= 8; n_bytes -= 8, p += 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        h = (h ^ word) * 0x9e3779b97f4a7c15u;
        h ^= h >> 32;
    }
    uint64_t rest = 0;
    if (n_bytes != 0) memcpy(&rest, p, n_bytes);
    return r2i_hash_mix((h ^ rest) * 0x9e3779b97f4a7c15u);
}

static uint64_t take_word(uint64_t hash, uint64_t word) {
    const uint64_t h = (hash ^ word) * 0x9e3779b97f4a7c15u;
    return h ^ h >> 32;
}

void r2i_checksum_begin(r2i_checksum *sum) {
    *sum = (r2i_checksum){ .hash = R2I_HASH_SEED };
}

void r2i_checksum_add(r2i_checksum *sum, const void *bytes, size_t n_bytes) {
    const unsigned char *p = bytes, *end = p + n_bytes;
    uint64_t hash = sum->hash, at = sum->n_bytes;
    while (p < end) {
        if (at % 8 == 0 && end - p >= 8) {
            uint64_t word;
            memcpy(&word, p, 8);
            hash = take_word(hash, word);
            p += 8;
            at += 8;
            continue;
        }
        sum->word |= (uint64_t)*p++ << at % 8 * 8;
        if (++at % 8 != 0) continue;
        hash = take_word(hash, sum->word);
        sum->word = 0;
    }
    sum->hash = hash;
    sum->n_bytes = at;
}

uint64_t r2i_checksum_get(const r2i_checksum *sum) {
    return r2i_hash_mix(take_word(take_word(sum->hash, sum->word), sum->n_bytes));
}

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

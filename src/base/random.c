#include "base/random.h"

enum { N_ROUNDS = 10 };

void r2i_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < N_ROUNDS; round++) {
        const uint64_t a = (uint64_t)0xd2511f53u * c0, b = (uint64_t)0xcd9e8d57u * c2;
        c0 = (uint32_t)(b >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)b;
        c2 = (uint32_t)(a >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)a;
        k0 += 0x9e3779b9u; /* Weyl sequence of the golden ratio */
        k1 += 0xbb67ae85u; /* and of sqrt(3) - 1 */
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

uint64_t r2i_random_u64(uint64_t seed, uint64_t stream, uint64_t position) {
    const uint32_t counter[4] = { (uint32_t)position, (uint32_t)(position >> 32), (uint32_t)stream,
                                  (uint32_t)(stream >> 32) };
    const uint32_t key[2] = { (uint32_t)seed, (uint32_t)(seed >> 32) };
    uint32_t out[4];
    r2i_philox(counter, key, out);
    return (uint64_t)out[1] << 32 | out[0];
}

double r2i_random_unit(uint64_t seed, uint64_t stream, uint64_t position) {
    return (double)(r2i_random_u64(seed, stream, position) >> 11) * 0x1p-53;
}

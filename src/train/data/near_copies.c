#include "train/data/near_copies.h"

#include <string.h>

#include "base/failure.h"
#include "base/hash.h"
#include "train/data/word_hashes.h"

enum {
    RUN_WORDS = 5,
    BAND_HASHES = 4,
    N_BANDS = R2I_MIN_HASHES / BAND_HASHES,
    LEAST_ALIKE = 52, /* of 64: 0.8 */
    MAX_SIGNATURE_BYTES = 0x40000000
};

void r2i_near_copies_init(r2i_near_copies *c, r2i_heap *heap) {
    *c = (r2i_near_copies){ .n = 0 };
    r2i_number_map_init(&c->exact, heap);
    r2i_number_map_init(&c->bands, heap);
    r2i_buffer_init(&c->signatures, heap, (size_t)MAX_SIGNATURE_BYTES * 16);
}

void r2i_near_copies_destroy(r2i_near_copies *c) {
    r2i_number_map_destroy(&c->exact);
    r2i_number_map_destroy(&c->bands);
    r2i_buffer_destroy(&c->signatures);
}

/* The 64 functions are h * a + b in 64 bits, of which the upper half counts. */
static void sign(const uint64_t *words, size_t n, uint32_t signature[R2I_MIN_HASHES]) {
    uint64_t a[R2I_MIN_HASHES], b[R2I_MIN_HASHES];
    for (uint64_t i = 0; i < R2I_MIN_HASHES; i++) {
        a[i] = r2i_hash_mix(2 * i + 1) | 1;
        b[i] = r2i_hash_mix(2 * i + 2);
        signature[i] = UINT32_MAX;
    }
    for (size_t w = 0; w + RUN_WORDS <= n; w++) {
        const uint64_t run = r2i_word_hashes_join(words + w, RUN_WORDS);
        for (int i = 0; i < R2I_MIN_HASHES; i++) {
            const uint32_t x = (uint32_t)((run * a[i] + b[i]) >> 32);
            if (x < signature[i]) signature[i] = x;
        }
    }
}

static bool is_alike(const r2i_near_copies *c, uint32_t other, const uint32_t *signature) {
    const uint32_t *s =
        (const uint32_t *)(const void *)c->signatures.bytes + (size_t)other * R2I_MIN_HASHES;
    int n = 0;
    for (int i = 0; i < R2I_MIN_HASHES; i++)
        n += s[i] == signature[i];
    return n >= LEAST_ALIKE;
}

static uint64_t band_key(const uint32_t *signature, int band) {
    const uint64_t own = r2i_hash_mix((uint64_t)band + 1);
    return r2i_hash_bytes(own, signature + band * BAND_HASHES, BAND_HASHES * sizeof *signature);
}

static bool find_alike(const r2i_near_copies *c, const uint32_t *signature) {
    for (int band = 0; band < N_BANDS; band++) {
        const r2i_number_entry *e = r2i_number_map_find(&c->bands, band_key(signature, band));
        if (e != NULL && is_alike(c, e->value, signature)) return true;
    }
    return false;
}

r2_status r2i_near_copies_add(r2i_near_copies *c, const uint64_t *words, size_t n,
                              r2i_copy_kind *out, r2_error *err) {
    uint32_t signature[R2I_MIN_HASHES], first;
    const size_t n_before = c->exact.n;
    *out = R2I_COPY_EXACT;
    R2I_TRY(r2i_number_map_add(&c->exact, r2i_word_hashes_join(words, n), 0, &first, err));
    if (c->exact.n == n_before) return R2_OK;
    *out = R2I_COPY_NONE;
    if (n < RUN_WORDS) return R2_OK;
    sign(words, n, signature);
    *out = R2I_COPY_NEAR;
    if (find_alike(c, signature)) return R2_OK;
    *out = R2I_COPY_NONE;
    R2I_TRY(r2i_buffer_append(&c->signatures, signature, sizeof signature, err));
    for (int band = 0; band < N_BANDS; band++)
        R2I_TRY(r2i_number_map_add(&c->bands, band_key(signature, band), c->n, &first, err));
    c->n++;
    return R2_OK;
}

#include "train/data/word_hashes.h"

#include <stdbool.h>
#include <utf8proc.h>

#include "base/failure.h"
#include "base/hash.h"
#include "text/utf8_scan.h"

/* Letters and marks of scripts that part words by spaces, digits of all; 0: no part of a word. */
static int32_t folded(int32_t c) {
    if (c < 0x80) {
        if (c >= 'A' && c <= 'Z') return c + 32;
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ? c : 0;
    }
    const utf8proc_category_t category = utf8proc_category(c);
    const bool is_letter = category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_NO;
    return is_letter ? utf8proc_tolower(c) : 0;
}

/* Hiragana, katakana, CJK ideographs and their extensions. */
static bool is_alone(int32_t c) {
    return (c >= 0x3040 && c <= 0x30ff) || (c >= 0x3400 && c <= 0x4dbf) ||
           (c >= 0x4e00 && c <= 0x9fff) || (c >= 0xf900 && c <= 0xfaff) ||
           (c >= 0x20000 && c <= 0x3ffff);
}

static r2_status put(r2i_buffer *out, uint64_t *word, r2_error *err) {
    const uint64_t hash = *word;
    if (hash == 0) return R2_OK;
    *word = 0;
    return r2i_buffer_append(out, &hash, sizeof hash, err);
}

static uint64_t extend(uint64_t word, int32_t c) {
    return r2i_hash_mix((word == 0 ? R2I_HASH_SEED : word) ^ (uint64_t)c) | 1;
}

r2_status r2i_word_hashes_append(r2i_buffer *out, const char *text, size_t n_bytes, r2_error *err) {
    uint64_t word = 0;
    for (size_t i = 0; i < n_bytes;) {
        const r2i_utf8_step step = r2i_utf8_next(text + i, n_bytes - i);
        const int32_t c = step.kind == R2I_UTF8_CHAR ? folded(step.code_point) : 0;
        i += (size_t)step.n_bytes;
        if (c == 0 || is_alone(c)) R2I_TRY(put(out, &word, err));
        if (c != 0) word = extend(word, c);
        if (c != 0 && is_alone(c)) R2I_TRY(put(out, &word, err));
    }
    return put(out, &word, err);
}

const uint64_t *r2i_word_hashes_of(const r2i_buffer *words, size_t *n) {
    *n = words->n_bytes / sizeof(uint64_t);
    return (const uint64_t *)(const void *)words->bytes;
}

uint64_t r2i_word_hashes_join(const uint64_t *words, size_t n) {
    return r2i_hash_bytes(R2I_HASH_SEED, words, n * sizeof *words);
}

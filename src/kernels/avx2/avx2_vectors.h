/* avx2_vectors.h - short names for what every AVX2 file does with 256-bit registers.
 *
 * Everything here is static inline: code of an instruction set must never become the shared copy of
 * a function that plain x86-64 code links to. */
#ifndef R2I_AVX2_VECTORS_H
#define R2I_AVX2_VECTORS_H
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

/* Bodies are written once and specialised by literal arguments, which only inlining makes literal.
 */
#define R2I_INLINE static inline __attribute__((always_inline))

/* Arrays of registers exist only in loops that are unrolled completely. */
#if defined(__clang__)
#define R2I_UNROLL _Pragma("clang loop unroll(full)")
#else
#define R2I_UNROLL _Pragma("GCC unroll 16")
#endif

/* Ends an integer expression: gcc would turn a chain of sums into a tree and spill its leaves. */
#define R2I_SETTLE(v) __asm__("" : "+x"(v))

/* What was loaded before is loaded again: cheaper than the registers it would cost to keep it. */
#define R2I_FORGET_LOADS() __asm__ volatile("" ::: "memory")

R2I_INLINE __m256i r2i_load_i8x32(const void *p) { return _mm256_loadu_si256((const __m256i *)p); }
R2I_INLINE void r2i_store_i8x32(void *p, __m256i v) { _mm256_storeu_si256((__m256i *)p, v); }
R2I_INLINE __m128i r2i_load_i8x16(const void *p) { return _mm_loadu_si128((const __m128i *)p); }

/* Four bytes repeated: one group of four activation columns, or one pair of BF16. */
R2I_INLINE __m256i r2i_repeat_4_bytes(const void *p) {
    int32_t word;
    memcpy(&word, p, sizeof word);
    return _mm256_set1_epi32(word);
}
R2I_INLINE __m256 r2i_repeat_f32(const void *p) {
    float x;
    memcpy(&x, p, sizeof x);
    return _mm256_set1_ps(x);
}

/* Eight f16, eight unsigned or eight signed bytes as floats. */
R2I_INLINE __m256 r2i_f32x8_from_f16(const void *p) { return _mm256_cvtph_ps(r2i_load_i8x16(p)); }
R2I_INLINE __m256 r2i_f32x8_from_u8(__m128i low_8) {
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(low_8));
}
R2I_INLINE __m256 r2i_f32x8_from_i8(__m128i low_8) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(low_8));
}

/* Element-wise mask of the first n of 8 lanes, for maskload and maskstore. */
R2I_INLINE __m256i r2i_first_lanes(int32_t n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
#endif

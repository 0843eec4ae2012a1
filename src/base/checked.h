/* checked.h - arithmetic on numbers that come from files.  Never use raw + or * on those. */
#ifndef R2I_CHECKED_H
#define R2I_CHECKED_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Each returns false on overflow and leaves *out unspecified then. */
static inline bool r2i_add_size(size_t a, size_t b, size_t *out) {
    return !__builtin_add_overflow(a, b, out);
}
static inline bool r2i_mul_size(size_t a, size_t b, size_t *out) {
    return !__builtin_mul_overflow(a, b, out);
}
static inline bool r2i_add_u64(uint64_t a, uint64_t b, uint64_t *out) {
    return !__builtin_add_overflow(a, b, out);
}
static inline bool r2i_mul_u64(uint64_t a, uint64_t b, uint64_t *out) {
    return !__builtin_mul_overflow(a, b, out);
}

/* Rounds n up to a multiple of `unit` (a power of two); false on overflow. */
static inline bool r2i_round_up_size(size_t n, size_t unit, size_t *out) {
    size_t sum;
    if (!r2i_add_size(n, unit - 1, &sum)) return false;
    *out = sum & ~(unit - 1);
    return true;
}

static inline size_t r2i_min_size(size_t a, size_t b) {
    return a < b ? a : b;
}
static inline size_t r2i_max_size(size_t a, size_t b) {
    return a > b ? a : b;
}
static inline int32_t r2i_min_i32(int32_t a, int32_t b) {
    return a < b ? a : b;
}
static inline int32_t r2i_max_i32(int32_t a, int32_t b) {
    return a > b ? a : b;
}
static inline int32_t r2i_div_up_i32(int32_t a, int32_t b) {
    return (a + b - 1) / b;
}
#endif

/* kernel_check.h - what the kernel tests share: the tables of this machine, memory that ends at an
 * unreadable page, random data, and failures that print their case.
 *
 * Every test goes over all tables that the machine can run: portable, then each instruction-set
 * level with all its features and with none, so that a machine with more checks the others too. */
#ifndef KERNEL_CHECK_H
#define KERNEL_CHECK_H
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "kernels/kernels.h"

enum { CHECK_MAX_TABLES = 8 };

typedef struct {
    char name[32];
    r2i_kernels kernels;
} check_table;

/* Tables of this machine, portable first; prints which levels are here and which are not (once). */
int check_tables(const check_table **tables);
/* The judge and the definition of quantized products. */
const r2i_kernels *check_ref(void);
const r2i_kernels *check_portable(void);

/* n_bytes between two unreadable pages: touching the end (is_at_end) or the beginning.  At the end
 * the pointer has whatever alignment n_bytes leaves it.  Contents are 0xa5. */
void *check_take(size_t n_bytes, bool is_at_end);
/* Gives back all that was taken. */
void check_release(void);

/* Random numbers: a case starts from its own seed. */
typedef struct {
    uint64_t state;
} check_random;
uint32_t check_bits(check_random *random);
/* 0 .. n-1 */
int32_t check_below(check_random *random, int32_t n);
/* begin .. end, both included */
int32_t check_between(check_random *random, int32_t begin, int32_t end);
/* About normal, standard deviation 1. */
float check_normal(check_random *random);
void check_fill(check_random *random, float *x, size_t n, float size);
/* n_rows stored rows of any type with random codes and ordinary scales (row r at r * row bytes). */
void check_fill_stored(check_random *random, r2i_type type, uint8_t *rows, int32_t n_rows, int32_t n_cols);
/* The same for a quantized type, with every byte but the scales of blocks equal to `byte`. */
void check_fill_codes(check_random *random, r2i_type type, uint8_t *rows, int32_t n_rows, int32_t n_cols, int byte);

/* Names the case for failure messages: table, seed, parameters. */
void check_case(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Fails the test with the case and this text. */
void check_failed(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
#define CHECK(condition, ...) ((condition) ? (void)0 : check_failed(__VA_ARGS__))

/* Equal bits; two NaN are equal whatever their bits. */
bool check_same(float a, float b);
/* Fails at the first element that differs in bits. */
void check_equal(const float *found, const float *expected, size_t n, const char *what);
/* |found - expected| <= tolerance * size + tiny; NaN equals NaN and infinity its like. */
bool check_near(float found, double expected, double size, double tolerance);

/* Types of the list, in id order; returns their number. */
int check_types(r2i_type types[R2I_TYPE_LIMIT]);
bool check_is_quantized(r2i_type type);
/* 16 rows per panel, packed by `kernels`: a checked copy that ends at an unreadable page. */
const uint8_t *check_pack(const r2i_kernels *kernels, r2i_type layout, r2i_type type, const uint8_t *rows,
                          int32_t n_rows, int32_t n_cols);
/* Prepared rows of x [n_tokens, n_cols], rows ending at an unreadable page. */
const uint8_t *check_act(const r2i_kernels *kernels, r2i_act_kind kind, const float *x, int32_t n_tokens,
                         int32_t n_cols);
/* Element c of a prepared row as a double. */
double check_act_value(r2i_act_kind kind, const uint8_t *row, int32_t c);
#endif

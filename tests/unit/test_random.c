/* test_random.c - Philox against its authors' known answers, and what sampling relies on: a number
 * depends on its place alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/random.h"

/* Random123's kat_vectors for philox4x32 with 10 rounds. */
static void gives_known_answers(void **state) {
    static const struct {
        uint32_t counter[4], key[2], out[4];
    } cases[] = {
        { { 0, 0, 0, 0 }, { 0, 0 }, { 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 } },
        { { 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff },
          { 0xffffffff, 0xffffffff },
          { 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd } },
        { { 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344 },
          { 0xa4093822, 0x299f31d0 },
          { 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1 } },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint32_t out[4];
        r2i_philox(cases[i].counter, cases[i].key, out);
        assert_memory_equal(out, cases[i].out, sizeof out);
    }
}

/* Changing any part of the place changes the number; asking again does not. */
static void depends_on_the_place_alone(void **state) {
    (void)state;
    const uint64_t here = r2i_random_u64(7, 1, 1000);
    assert_true(r2i_random_u64(8, 1, 1000) != here);
    assert_true(r2i_random_u64(7, 2, 1000) != here);
    assert_true(r2i_random_u64(7, 1, 1001) != here);
    assert_true(r2i_random_u64(7 | 1ull << 40, 1, 1000) != here); /* upper halves count */
    assert_true(r2i_random_u64(7, 1 | 1ull << 40, 1000) != here);
    assert_true(r2i_random_u64(7, 1, 1000 | 1ull << 40) != here);
    assert_true(r2i_random_u64(7, 1, 1000) == here);
}

/* 40,000 numbers in 20 bins of 2,000: the standard deviation of a bin is 44, six of them is 262, so
 * a right generator never fails this fixed sample and one with a missing bit does. */
static void spreads_evenly(void **state) {
    int bins[20] = { 0 };
    (void)state;
    for (uint64_t i = 0; i < 40000; i++) {
        const double x = r2i_random_unit(3, 0, i);
        assert_true(x >= 0 && x < 1);
        bins[(int)(x * 20)]++;
    }
    for (int i = 0; i < 20; i++)
        assert_in_range(bins[i], 2000 - 262, 2000 + 262);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_known_answers),
        cmocka_unit_test(depends_on_the_place_alone),
        cmocka_unit_test(spreads_evenly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

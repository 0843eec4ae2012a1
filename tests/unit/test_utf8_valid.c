/* test_utf8_valid.c - the check of eight bytes at once against the standard's table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/utf8_valid.h"

/* The judge decodes one code point after the other, as the standard's table says. */
static bool is_valid_by_table(const uint8_t *p, size_t n) {
    for (size_t i = 0; i < n;) {
        const uint8_t c = p[i];
        const size_t length = c < 0x80             ? 1
                              : (c & 0xe0) == 0xc0 ? 2
                              : (c & 0xf0) == 0xe0 ? 3
                              : (c & 0xf8) == 0xf0 ? 4
                                                   : 0;
        static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
        if (length == 0 || length > n - i) return false;
        uint32_t x = length == 1 ? c : c & (0x7fu >> length);
        for (size_t k = 1; k < length; k++) {
            if ((p[i + k] & 0xc0) != 0x80) return false;
            x = x << 6 | (p[i + k] & 0x3fu);
        }
        if (x < least[length] || x > 0x10ffff || (x >= 0xd800 && x < 0xe000)) return false;
        i += length;
    }
    return true;
}

static void test_utf8_against_the_table(void **state) {
    (void)state;
    static const uint8_t odd[] = { 0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2,
                                   0xdf, 0xe0, 0xe1, 0xed, 0xef, 0xf0, 0xf1, 0xf4, 0xf5, 0xff };
    uint32_t seed = 1;
    size_t n_valid = 0;
    for (int round = 0; round < 200000; round++) {
        uint8_t text[24];
        size_t n = 0;
        seed = seed * 1664525u + 1013904223u;
        const size_t cap = (seed >> 8) % 20;
        while (n < cap) {
            seed = seed * 1664525u + 1013904223u;
            const uint32_t r = seed >> 12, kind = r % 16;
            if (kind < 6)
                text[n++] = (uint8_t)('a' + (r >> 4) % 26);
            else if (kind < 12)
                text[n++] = (uint8_t)(0xc2 + (r >> 4) % 30),
                text[n++] = (uint8_t)(0x80 + (r >> 10) % 64);
            else if (kind < 14)
                text[n++] = 0xe4, text[n++] = (uint8_t)(0x80 + (r >> 4) % 64), text[n++] = 0xa0;
            else if (kind < 15 && (r & 0x700) == 0)
                text[n++] = odd[(r >> 12) % sizeof odd];
        }
        n = n > cap ? cap : n; /* may cut a sequence */
        uint8_t *copy = malloc(n + 1);
        assert_non_null(copy);
        uint8_t *exact = copy + 1; /* ends where the allocation ends */
        memcpy(exact, text, n);
        const bool expected = is_valid_by_table(exact, n);
        if (r2i_utf8_is_valid((const char *)exact, n) != expected)
            fail_msg("round %d, %zu bytes", round, n);
        n_valid += expected;
        free(copy);
    }
    assert_true(n_valid > 50000 && n_valid < 190000); /* both outcomes were met */
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_utf8_against_the_table) };
    return cmocka_run_group_tests_name("utf8_valid", tests, NULL, NULL);
}

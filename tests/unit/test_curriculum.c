/* test_curriculum.c - the level follows what was right, rests where some is, and begins again from four
 * numbers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "r2lm/task.h"

/* A learner who is right so often at each level, in percent, for some steps of 8 prompts with 8 answers. */
static void learn(r2_curriculum *c, const int32_t *percent, int32_t n_steps, int32_t *n_right_all) {
    *n_right_all = 0;
    for (int32_t step = 0; step < n_steps; step++) {
        int32_t right = 0;
        for (uint64_t prompt = 0; prompt < 8; prompt++) {
            const int32_t level = r2_curriculum_level(c, 5, (uint64_t)step * 8 + prompt);
            assert_in_range(level, 1, c->n_levels);
            right += 8 * percent[level - 1];
        }
        *n_right_all += right / 100;
        (void)r2_curriculum_note(c, right / 100, 64);
    }
}

static void test_moves(void **state) {
    (void)state;
    static const struct {
        int32_t begin, percent[5], place_low, place_high;
    } learners[] = {
        { 1, { 50, 50, 50, 50, 50 }, 4, 4 },        /* stays */
        { 1, { 100, 100, 100, 100, 100 }, 20, 20 }, /* to the top */
        { 5, { 0, 0, 0, 0, 0 }, 4, 4 },             /* to the bottom */
        { 1, { 95, 90, 50, 10, 0 }, 10, 12 },       /* up to where it is hard */
        { 5, { 95, 90, 50, 10, 0 }, 12, 18 },       /* down to where some is right */
        { 1, { 100, 100, 0, 0, 0 }, 10, 10 },       /* between a level too easy and one too hard */
        { 4, { 100, 100, 0, 0, 0 }, 10, 10 },
    };
    for (size_t i = 0; i < sizeof learners / sizeof *learners; i++) {
        r2_curriculum c;
        int32_t n_right;
        r2_curriculum_begin(&c, 5, learners[i].begin);
        learn(&c, learners[i].percent, 40, &n_right);
        assert_in_range(c.place, learners[i].place_low, learners[i].place_high);
        learn(&c, learners[i].percent, 40, &n_right);
        if (learners[i].place_high < 20 && learners[i].place_low > 4)
            assert_in_range(n_right, 40 * 64 / 5 - 64, 40 * 64 * 4 / 5 + 64);
    }
}

/* Four numbers are all: a copy goes on alike. */
static void test_copy(void **state) {
    (void)state;
    static const int32_t percent[5] = { 95, 85, 60, 30, 10 };
    r2_curriculum a, b;
    int32_t n;
    r2_curriculum_begin(&a, 5, 1);
    learn(&a, percent, 3, &n);
    b = (r2_curriculum){ a.n_levels, a.place, a.n_right, a.n_samples };
    learn(&a, percent, 30, &n);
    learn(&b, percent, 30, &n);
    assert_memory_equal(&a, &b, sizeof a);
    r2_curriculum_begin(&a, 0, 9);
    assert_int_equal(r2_curriculum_level(&a, 1, 1), 1);
    assert_int_equal(a.n_levels, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_moves), cmocka_unit_test(test_copy) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

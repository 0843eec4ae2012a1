/* curriculum.c - r2_curriculum: the level at which some answers are right and some are not.
 *
 * Groups whose answers are all right or all wrong teach nothing (arXiv 2503.14476, section 3.2).  Between
 * two levels, of which one is too easy and the next too hard, it rests on a mixture of both. */
#include "base/random.h"
#include "r2lm/task.h"

enum {
    PER_LEVEL = 4,
    MOVE = 2,
    MIN_SAMPLES = 64,
    MAX_SAMPLES = 256,
    HIGH_PERCENT = 80,
    LOW_PERCENT = 20
};

static int32_t within(int32_t x, int32_t low, int32_t high) {
    return x < low ? low : x > high ? high : x;
}

void r2_curriculum_begin(r2_curriculum *c, int32_t n_levels, int32_t level) {
    n_levels = within(n_levels, 1, INT32_MAX / PER_LEVEL);
    *c = (r2_curriculum){ .n_levels = n_levels, .place = PER_LEVEL * within(level, 1, n_levels) };
}

int32_t r2_curriculum_level(const r2_curriculum *c, uint64_t seed, uint64_t index) {
    const int32_t above = c->place % PER_LEVEL,
                  dice = (int32_t)(r2i_random_u64(seed, index, 0) % PER_LEVEL);
    return within(c->place / PER_LEVEL + (dice < above ? 1 : 0), 1, c->n_levels);
}

bool r2_curriculum_note(r2_curriculum *c, int32_t n_right, int32_t n_samples) {
    c->n_right += n_right;
    c->n_samples += n_samples;
    if (c->n_samples < MIN_SAMPLES) return false;
    const int64_t percent = (int64_t)c->n_right * 100 / c->n_samples;
    const int32_t wanted = c->place + (percent > HIGH_PERCENT  ? MOVE
                                       : percent < LOW_PERCENT ? -MOVE
                                                               : 0),
                  place = within(wanted, PER_LEVEL, PER_LEVEL * c->n_levels);
    const bool has_moved = place != c->place;
    if (has_moved) {
        c->place = place;
        c->n_right = c->n_samples = 0;
    } else if (c->n_samples >= MAX_SAMPLES) {
        c->n_right /= 2;
        c->n_samples /= 2;
    }
    return has_moved;
}

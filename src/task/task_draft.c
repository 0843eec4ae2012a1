#include "task/task_draft.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/failure.h"
#include "base/hash.h"
#include "base/random.h"

__extension__ typedef unsigned __int128 wide;

int64_t r2i_draw(r2i_task_draft *d, int64_t low, int64_t high) {
    const uint64_t n = (uint64_t)(high - low) + 1;
    const uint64_t bits = r2i_random_u64(d->seed, d->place, d->n_drawn++);
    return low + (int64_t)((wide)bits * n >> 64);
}

bool r2i_draw_once_in(r2i_task_draft *d, int32_t n) {
    return r2i_draw(d, 1, n) == 1;
}

void r2i_draw_order(r2i_task_draft *d, int32_t *numbers, int32_t n) {
    for (int32_t i = n - 1; i > 0; i--) {
        const int64_t j = r2i_draw(d, 0, i);
        const int32_t kept = numbers[i];
        numbers[i] = numbers[j];
        numbers[j] = kept;
    }
}

void r2i_key_add(r2i_task_draft *d, int64_t value) {
    d->key = r2i_hash_bytes(d->key, &value, sizeof value);
}

void r2i_key_add_text(r2i_task_draft *d, const char *text) {
    d->key = r2i_hash_bytes(d->key, text, strlen(text));
}

void r2i_fill(r2i_task_draft *d, int i, const char *format, ...) {
    va_list args;
    va_start(args, format);
    const int n = vsnprintf(d->fills[i], R2I_FILL_BYTES, format, args);
    va_end(args);
    if ((n < 0 || n >= R2I_FILL_BYTES) && d->status == R2_OK)
        d->status = r2i_fail(d->err, R2_E_LIMIT,
                             "task: a part of a question is longer than %d bytes", R2I_FILL_BYTES);
}

static void append(r2i_task_draft *d, r2i_buffer *to, const char *text, size_t n) {
    const r2_status status = r2i_buffer_append(to, text, n, d->err);
    if (d->status == R2_OK) d->status = status;
}

static void say(r2i_task_draft *d, r2i_buffer *to, const char *format, va_list args) {
    char line[R2I_FILL_BYTES];
    const int n = vsnprintf(line, sizeof line, format, args);
    if (n >= 0 && n < R2I_FILL_BYTES)
        append(d, to, line, (size_t)n);
    else if (d->status == R2_OK)
        d->status =
            r2i_fail(d->err, R2_E_LIMIT, "task: a line is longer than %d bytes", R2I_FILL_BYTES);
}

void r2i_say(r2i_task_draft *d, r2i_buffer *to, const char *format, ...) {
    va_list args;
    va_start(args, format);
    say(d, to, format, args);
    va_end(args);
}

void r2i_say_all(r2i_task_draft *d, r2i_buffer *to, const r2i_buffer *from) {
    if (from->n_bytes > 0) append(d, to, from->bytes, from->n_bytes);
}

void r2i_think(r2i_task_draft *d, const char *format, ...) {
    va_list args;
    va_start(args, format);
    say(d, &d->trace, format, args);
    va_end(args);
}

void r2i_conclude(r2i_task_draft *d, const char *format, ...) {
    va_list args;
    va_start(args, format);
    say(d, &d->answer, format, args);
    va_end(args);
}

/* 0 to n - 1.  Numbers of its own: what an instance is does not depend on where it errs. */
static uint64_t roll(const r2i_task_draft *d, uint64_t place, uint64_t n) {
    return (uint64_t)((wide)r2i_random_u64(d->seed, ~d->place, place) * n >> 64);
}

void r2i_begin_doubt(r2i_task_draft *d) {
    enum { ONE_IN = 5 };
    d->n_doubts = 0;
    d->doubt[0] = '\0';
    d->errs = roll(d, 0, ONE_IN) == 0;
}

/* Of n places the last is taken once in n times, so that each is as likely in the end. */
void r2i_doubt(r2i_task_draft *d, const char *format, ...) {
    if (!d->errs) return;
    d->n_doubts++;
    if (roll(d, d->n_doubts, d->n_doubts) != 0) return;
    va_list args;
    va_start(args, format);
    const int n = vsnprintf(d->doubt, sizeof d->doubt, format, args);
    va_end(args);
    d->doubt_at = d->trace.n_bytes;
    if ((n < 0 || n >= R2I_FILL_BYTES) && d->status == R2_OK)
        d->status = r2i_fail(d->err, R2_E_LIMIT, "task: a wrong try is longer than %d bytes",
                             R2I_FILL_BYTES);
}

void r2i_settle_doubt(r2i_task_draft *d) {
    static const char *const no[R2I_N_LANGUAGES] = { "no,", "不对，", "no,", "non,", "nein," };
    char line[R2I_FILL_BYTES + 16];
    if (d->doubt[0] == '\0') return;
    const int n = snprintf(line, sizeof line, "%s? %s ", d->doubt, no[d->language]);
    const size_t n_behind = d->trace.n_bytes - d->doubt_at;
    append(d, &d->trace, line, (size_t)n);
    if (d->status != R2_OK) return;
    char *at = d->trace.bytes + d->doubt_at;
    memmove(at + n, at, n_behind);
    memcpy(at, line, (size_t)n);
}

void r2i_say_filled(r2i_task_draft *d, r2i_buffer *to, const char *phrase) {
    for (const char *at = phrase; *at != '\0';) {
        const size_t plain = strcspn(at, "{");
        append(d, to, at, plain);
        at += plain;
        if (at[0] != '{') break;
        const int i = at[1] - '0';
        const bool is_fill = i >= 0 && i < R2I_MAX_FILLS && at[2] == '}';
        append(d, to, is_fill ? d->fills[i] : at, is_fill ? strlen(d->fills[i]) : 1);
        at += is_fill ? 3 : 1;
    }
}

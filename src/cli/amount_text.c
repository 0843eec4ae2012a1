#include "cli/amount_text.h"

#include <inttypes.h>
#include <stdio.h>

/* "671.0 billion", "2.45 billion" */
static const char *scaled(char room[R2I_AMOUNT_BYTES], double n, const char *const units[3]) {
    const int unit = n >= 1e9 ? 2 : n >= 1e6 ? 1 : 0;
    static const double scales[] = { 1e-3, 1e-6, 1e-9 };
    const double x = n * scales[unit];
    (void)snprintf(room, R2I_AMOUNT_BYTES, "%.*f %s", x < 10 ? 2 : 1, x, units[unit]);
    return room;
}

const char *r2i_amount_bytes(char room[R2I_AMOUNT_BYTES], int64_t n) {
    static const char *const units[] = { "kB", "MB", "GB" };
    return scaled(room, (double)n, units);
}

const char *r2i_amount_count(char room[R2I_AMOUNT_BYTES], int64_t n) {
    static const char *const units[] = { "thousand", "million", "billion" };
    return scaled(room, (double)n, units);
}

const char *r2i_amount_time(char room[R2I_AMOUNT_BYTES], double seconds) {
    /* No number, or none that means a time, may come from a file. */
    const int64_t s = seconds > 0 ? (int64_t)(seconds < 1e12 ? seconds + 0.5 : 1e12) : 0;
    if (s >= 3600)
        (void)snprintf(room, R2I_AMOUNT_BYTES, "%" PRId64 ":%02d:%02d", s / 3600,
                       (int)(s / 60 % 60), (int)(s % 60));
    else
        (void)snprintf(room, R2I_AMOUNT_BYTES, "%d:%02d", (int)(s / 60), (int)(s % 60));
    return room;
}

const char *r2i_amount_money(char room[R2I_AMOUNT_BYTES], double amount, const char *currency) {
    const int digits = amount >= 0.1 || amount <= 0 ? 2 : amount >= 0.001 ? 4 : 6;
    (void)snprintf(room, R2I_AMOUNT_BYTES, "%.8s%.*f", currency, digits, amount);
    return room;
}

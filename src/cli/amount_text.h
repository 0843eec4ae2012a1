/* amount_text.h - amounts as people read them. */
#ifndef R2I_AMOUNT_TEXT_H
#define R2I_AMOUNT_TEXT_H
#include <stdint.h>

enum { R2I_AMOUNT_BYTES = 32 };

/* Each writes to `room` and returns it.  "671 million", "2.45 GB", "2:05" or "1:02:05". */
const char *r2i_amount_count(char room[R2I_AMOUNT_BYTES], int64_t n);
const char *r2i_amount_bytes(char room[R2I_AMOUNT_BYTES], int64_t n);
const char *r2i_amount_time(char room[R2I_AMOUNT_BYTES], double seconds);
/* "$0.02": two digits behind the point, more where the first ones are zeros. */
const char *r2i_amount_money(char room[R2I_AMOUNT_BYTES], double amount, const char *currency);
#endif

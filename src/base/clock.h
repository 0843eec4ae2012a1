/* clock.h - monotonic time. */
#ifndef R2I_CLOCK_H
#define R2I_CLOCK_H
#include <stdint.h>

/* Nanoseconds since an arbitrary start; never goes back. */
int64_t r2i_clock_ns(void);
#endif

/* read_rate.h - how fast this machine reads memory: the limit of one-token decoding. */
#ifndef R2I_READ_RATE_H
#define R2I_READ_RATE_H
#include <stdint.h>

/* Best rate in GB/s (10^9 bytes) of n_threads reading a buffer of 512 MiB again and again for about
 * `seconds`, prefetching ahead as the kernels do.  0: could not be measured.  The buffer counts in
 * r2i_peak_memory until r2i_peak_forget. */
double r2i_read_rate(int32_t n_threads, double seconds);
/* Most memory held at once so far, in bytes; 0 where the system does not say. */
int64_t r2i_peak_memory(void);
/* Counts the peak from what is held now. */
void r2i_peak_forget(void);
/* Bytes that a program may take now without driving others out, limits of a control group included;
 * 0 where the system does not say. */
int64_t r2i_available_memory(void);
#endif

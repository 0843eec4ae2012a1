/* bandwidth.c - how fast can this machine read memory?  The limit of one-token decoding.
 *
 *   bandwidth [THREADS [SECONDS]]
 *
 * Prints the best pass of the reader that `r2lm bench` and `r2lm doctor` use, in GB/s (10^9 bytes). */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/read_rate.h"

int main(int argc, char **argv) {
    const long threads = argc > 1 ? strtol(argv[1], NULL, 10) : 2;
    const double seconds = argc > 2 ? strtod(argv[2], NULL) : 1.0;
    const bool is_sane = threads >= 1 && threads <= 256 && seconds <= 60;
    const double rate = is_sane ? r2i_read_rate((int32_t)threads, seconds) : 0;
    if (rate <= 0) {
        fprintf(stderr, "bandwidth: could not be measured\nusage: bandwidth [THREADS [SECONDS]]\n");
        return 1;
    }
    printf("{\"threads\": %ld, \"best_gb_s\": %.2f}\n", threads, rate);
    return 0;
}

/* rank_choice.c - what Open MPI's mpirun and Slurm's srun tell a process, and where the plugin lies:
 * beside the program, or where `make install` puts it.  No other place is looked at. */
#define _POSIX_C_SOURCE 200809L /* readlink */
#include "cli/rank_choice.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/failure.h"

enum { PATH_BYTES = 4096 };
#define PLUGIN_NAME "libr2lm_mpi.so"

static long number_of(const char *name) {
    const char *text = getenv(name);
    return text != NULL ? strtol(text, NULL, 10) : 0;
}

/* srun sets SLURM_NTASKS for every program, PMIX_RANK where it starts ranks. */
static long count_processes(void) {
    const long n = number_of("OMPI_COMM_WORLD_SIZE");
    if (n > 0) return n;
    return getenv("PMIX_RANK") != NULL ? number_of("SLURM_NTASKS") : 1;
}

bool r2i_ranks_is_silent(void) {
    return count_processes() > 1 &&
           (number_of("OMPI_COMM_WORLD_RANK") > 0 || number_of("PMIX_RANK") > 0);
}

/* Beside the program, then ../LIBDIR/r2lm. */
static bool find_plugin(char path[PATH_BYTES]) {
    static const char *const places[] = { "", "/../" R2LM_LIBDIR "/r2lm" };
    char folder[PATH_BYTES / 2];
    const ssize_t n = readlink("/proc/self/exe", folder, sizeof folder - 1);
    if (n <= 0) return false;
    folder[n] = '\0';
    char *slash = strrchr(folder, '/');
    if (slash == NULL) return false;
    *slash = '\0';
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        (void)snprintf(path, PATH_BYTES, "%s%s/%s", folder, places[i], PLUGIN_NAME);
        if (access(path, R_OK) == 0) return true;
    }
    return false;
}

r2_status r2i_ranks_choose(r2_ranks **out, r2i_program *program, r2_error *err) {
    char path[PATH_BYTES];
    *out = NULL;
    const long n = count_processes();
    if (n <= 1) return R2_OK;
    if (r2i_ranks_is_silent()) program->terminal.is_quiet = true;
    if (!find_plugin(path))
        return r2i_fail(err, R2_E_NOT_FOUND,
                        "started as %ld processes, but " PLUGIN_NAME
                        " is missing: install Open MPI "
                        "(Debian: libopenmpi-dev, openmpi-bin) and build r2lm again",
                        n);
    return r2_ranks_open(out, path, err);
}

void r2i_ranks_leave(r2_ranks *ranks, int code) {
    if (r2_ranks_is_lost(ranks))
        r2_ranks_abort(ranks, code);
    else
        r2_ranks_close(ranks);
}

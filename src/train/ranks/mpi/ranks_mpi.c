/* ranks_mpi.c - the plugin libr2lm_mpi.so: messages between ranks over MPI.
 *
 * MPI_THREAD_FUNNELED: the thread that joined makes all calls, the pool's workers none.  There is no
 * progress thread: messages get on while `test` is called. */
#include <mpi.h>
#include <stdio.h>
#include <string.h>

#include "train/ranks/ranks_plugin.h"

_Static_assert(sizeof(MPI_Request) <= sizeof(r2i_ranks_request), "a request fits");

const r2i_ranks_plugin *r2lm_ranks_plugin(void);

enum { NO_THREADS = -1, ALREADY_OVER = -2 };

static int join_ranks(int32_t *rank, int32_t *n_ranks) {
    int provided = 0, is_there = 0, index = 0, n = 0;
    (void)MPI_Finalized(&is_there);
    if (is_there) return ALREADY_OVER;
    (void)MPI_Initialized(&is_there);
    int code = is_there ? MPI_Query_thread(&provided)
                        : MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &provided);
    if (code != MPI_SUCCESS) return code;
    if (provided < MPI_THREAD_FUNNELED) return NO_THREADS;
    code = MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    if (code == MPI_SUCCESS) code = MPI_Comm_rank(MPI_COMM_WORLD, &index);
    if (code == MPI_SUCCESS) code = MPI_Comm_size(MPI_COMM_WORLD, &n);
    *rank = index;
    *n_ranks = n;
    return code;
}

static int keep(r2i_ranks_request *out, MPI_Request request, int code) {
    memcpy(out, &request, sizeof request);
    return code;
}

static int send_bytes(r2i_ranks_request *out, int32_t to, int32_t tag, const void *bytes,
                      size_t n_bytes) {
    MPI_Request request = MPI_REQUEST_NULL;
    const int code = MPI_Isend(bytes, (int)n_bytes, MPI_BYTE, to, tag, MPI_COMM_WORLD, &request);
    return keep(out, request, code);
}

static int receive_bytes(r2i_ranks_request *out, int32_t from, int32_t tag, void *bytes,
                         size_t cap_bytes) {
    MPI_Request request = MPI_REQUEST_NULL;
    const int code =
        MPI_Irecv(bytes, (int)cap_bytes, MPI_BYTE, from, tag, MPI_COMM_WORLD, &request);
    return keep(out, request, code);
}

static int test_request(r2i_ranks_request *in, int *is_done, size_t *n_bytes) {
    MPI_Request request;
    MPI_Status status;
    int n = 0;
    memcpy(&request, in, sizeof request);
    int code = MPI_Test(&request, is_done, &status);
    memcpy(in, &request, sizeof request);
    if (code != MPI_SUCCESS || !*is_done) return code;
    code = MPI_Get_count(&status, MPI_BYTE, &n);
    *n_bytes = n > 0 ? (size_t)n : 0;
    return code;
}

static void describe_code(int code, char *out, size_t cap) {
    char text[MPI_MAX_ERROR_STRING + 1] = "";
    int n = 0;
    if (code == NO_THREADS)
        (void)snprintf(out, cap, "this MPI was built without support for threads");
    else if (code == ALREADY_OVER)
        (void)snprintf(out, cap, "MPI can be started once per process");
    else if (MPI_Error_string(code, text, &n) == MPI_SUCCESS)
        (void)snprintf(out, cap, "%s", text);
    else
        (void)snprintf(out, cap, "MPI error %d", code);
}

static void leave_ranks(void) {
    (void)MPI_Finalize();
}

static void end_all(int exit_code) {
    (void)MPI_Abort(MPI_COMM_WORLD, exit_code);
}

__attribute__((visibility("default"))) const r2i_ranks_plugin *r2lm_ranks_plugin(void) {
    static const r2i_ranks_plugin plugin = { .version = R2I_RANKS_PLUGIN_VERSION,
                                             .join = join_ranks,
                                             .send = send_bytes,
                                             .receive = receive_bytes,
                                             .test = test_request,
                                             .describe = describe_code,
                                             .leave = leave_ranks,
                                             .end = end_all };
    return &plugin;
}

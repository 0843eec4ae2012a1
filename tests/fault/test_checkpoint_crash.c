/* test_checkpoint_crash.c - a run that dies, or whose disk fails, at any moment:
 *
 *   killed at every write (before it, and half way), fsync, rename, unlink, mkdir: the checkpoint that is
 *   found is the last one that was done or the one at work, and the resumed run ends with the same bytes
 *   each call failing once (I/O error), the disk full from each call on: the checkpoints before are as they
 *   were, the run goes on, or says what is wrong; nothing unfinished is left
 *   short writes and interrupted ones change nothing */
#define _GNU_SOURCE /* MAP_ANONYMOUS */
#include <errno.h>
#include <ftw.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/memory.h"
#include "files/state_folder.h"
#include "io_shim.h"
#include "tiny_run.h"

/* Sanitizers make processes slow: there, every fifth point. */
#if defined(__SANITIZE_ADDRESS__)
enum { STRIDE = 5 };
#else
enum { STRIDE = 1 };
#endif

static tiny_place place;
static tiny_log whole; /* of the run that nothing happens to */
static uint64_t whole_hash;
static long n_points;

static void must(r2_status status, const r2_error *err) {
    if (status != R2_OK) fail_msg("%s: %s", r2_status_name(status), err->text);
}

static void folder_of(char out[TINY_PATH], const char *run) {
    snprintf(out, TINY_PATH, "%s/%s", place.folder, run);
}

static r2_status train(const char *run, bool is_resuming, tiny_log *log, r2_error *err) {
    char paths[2][TINY_PATH];
    r2_train_options o;
    tiny_run_options(&o, &place, run, paths, log);
    o.is_resuming = is_resuming;
    o.checkpoint_every = 1;
    o.n_steps = 6;
    return r2_train(&o, err);
}

/* The newest checkpoint that opens; 0: none. */
static int64_t newest(const char *run) {
    char folder[TINY_PATH + 32];
    r2i_heap heap;
    r2i_state *state;
    snprintf(folder, sizeof folder, "%s/%s/checkpoints", place.folder, run);
    r2i_heap_init(&heap);
    if (r2i_state_open_newest(&state, folder, NULL, &heap, NULL) != R2_OK) return 0;
    const int64_t step = r2i_state_get_manifest(state)->step;
    r2i_state_close(state);
    return step;
}

/* Goes on from what there is, or from the beginning, and ends as if nothing had been. */
static void check_resumed(const char *run, int64_t from, const char *when, long at) {
    r2_error err;
    tiny_log log;
    char folder[TINY_PATH];
    must(train(run, from > 0, &log, &err), &err);
    for (int64_t step = from + 1; step <= 6; step++) {
        if (log.losses[step] != whole.losses[step])
            fail_msg("%s at %ld: step %d: expected %.17g, found %.17g", when, at, (int)step,
                     whole.losses[step], log.losses[step]);
    }
    if (tiny_model_hash(&place, run) != whole_hash) fail_msg("%s at %ld: another model", when, at);
    folder_of(folder, run);
    tiny_remove(folder);
}

/* ---- killed ---- */

/* In a process of its own, which dies at the point; true: it did. */
static bool run_and_die(long at, volatile int64_t *saved) {
    char folder[TINY_PATH];
    folder_of(folder, "killed");
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        r2_error err;
        tiny_log *log = (tiny_log *)(uintptr_t)saved;
        io_shim_arm(folder, IO_KILL, at, 0);
        const r2_status status = train("killed", false, log, &err);
        _exit(status == R2_OK ? 0 : 1);
    }
    int how;
    assert_true(waitpid(child, &how, 0) == child);
    if (WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL) return true;
    if (!WIFEXITED(how) || WEXITSTATUS(how) != 0) fail_msg("killed at %ld: it failed before", at);
    return false;
}

static void test_killed_anywhere(void **state) {
    (void)state;
    tiny_log *log =
        mmap(NULL, sizeof *log, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(log != MAP_FAILED);
    long at = 0, n = 0;
    for (;; at += STRIDE, n++) {
        *log = (tiny_log){ .saved_step = 0 };
        if (!run_and_die(at, (volatile int64_t *)(void *)log)) break;
        const int64_t found = newest("killed");
        if (found != log->saved_step && found != log->saved_step + 1)
            fail_msg("killed at %ld: expected checkpoint %d or the next, found %d", at,
                     (int)log->saved_step, (int)found);
        check_resumed("killed", found, "killed", at);
    }
    printf("killed at %ld points of %ld\n", n, at);
    assert_true(at >= 100);
    char folder[TINY_PATH];
    folder_of(folder, "killed");
    tiny_remove(folder);
    munmap(log, sizeof *log);
}

/* ---- failing calls ---- */

static int n_parts;

static int count_part(const char *path, const struct stat *info, int kind, struct FTW *ftw) {
    (void)info;
    (void)kind;
    (void)ftw;
    n_parts += strstr(path, ".part") != NULL;
    return 0;
}

static void check_failing(io_mode mode, int problem, const char *when) {
    long n_ended = 0, n_continued = 0;
    for (long at = 0; at < n_points; at += STRIDE) {
        char folder[TINY_PATH];
        r2_error err;
        tiny_log log;
        folder_of(folder, "failing");
        io_shim_arm(folder, mode, at, problem);
        const r2_status status = train("failing", false, &log, &err);
        (void)io_shim_disarm();
        n_ended += status != R2_OK;
        n_continued += status == R2_OK;
        if (status == R2_OK && tiny_model_hash(&place, "failing") != whole_hash)
            fail_msg("%s at %ld: another model", when, at);
        const r2_status expected = problem == ENOSPC ? R2_E_FULL : R2_E_IO;
        if (status != R2_OK && (status != expected || err.text[0] == '\0'))
            fail_msg("%s at %ld: %s: %s", when, at, r2_status_name(status), err.text);
        if (log.n_failed > 0 && log.failure != expected)
            fail_msg("%s at %ld: a checkpoint failed with %s", when, at,
                     r2_status_name(log.failure));
        if (newest("failing") < log.saved_step)
            fail_msg("%s at %ld: expected checkpoint %d, found %d", when, at, (int)log.saved_step,
                     (int)newest("failing"));
        /* What cannot be unlinked stays; all else that is unfinished is gone. */
        n_parts = 0;
        (void)nftw(folder, count_part, 8, FTW_PHYS);
        if (n_parts > 0 && (status == R2_OK || mode == IO_FAIL_FROM) && log.n_failed > 0)
            fail_msg("%s at %ld: %d unfinished files", when, at, n_parts);
        tiny_remove(folder);
    }
    printf("%s: %ld runs went on, %ld ended\n", when, n_continued, n_ended);
    assert_true(n_continued > 0 && n_ended > 0);
}

static void test_full_disk(void **state) {
    (void)state;
    check_failing(IO_FAIL_FROM, ENOSPC, "disk full");
}

static void test_failing_calls(void **state) {
    (void)state;
    check_failing(IO_FAIL, EIO, "I/O error");
}

static void test_short_writes(void **state) {
    (void)state;
    char folder[TINY_PATH];
    r2_error err;
    tiny_log log;
    folder_of(folder, "short");
    io_shim_arm(folder, IO_SHORT, 0, 0);
    must(train("short", false, &log, &err), &err);
    (void)io_shim_disarm();
    assert_int_equal(log.n_failed, 0);
    assert_int_equal(newest("short"), 6);
    assert_true(tiny_model_hash(&place, "short") == whole_hash);
}

static int make_place(void **state) {
    char folder[TINY_PATH];
    r2_error err;
    (void)state;
    tiny_place_make(&place, "llama");
    folder_of(folder, "whole");
    io_shim_arm(folder, IO_COUNT, 0, 0);
    must(train("whole", false, &whole, &err), &err);
    n_points = io_shim_disarm();
    whole_hash = tiny_model_hash(&place, "whole");
    return whole_hash != 0 && whole.saved_step == 6 ? 0 : -1;
}

static int remove_place(void **state) {
    (void)state;
    tiny_place_remove(&place);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_killed_anywhere),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_failing_calls),
        cmocka_unit_test(test_short_writes),
    };
    return cmocka_run_group_tests(tests, make_place, remove_place);
}

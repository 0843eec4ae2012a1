/* test_atomic_write.c - a file appears whole or not at all, and says why not. */
#define _GNU_SOURCE /* mkdtemp, setrlimit */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "files/atomic_write.h"
#include "files/disk_room.h"
#include "files/gguf_write.h"

#define OK(call)                                       \
    do {                                               \
        if ((call) != R2_OK) fail_msg("%s", err.text); \
    } while (0)

typedef struct {
    char folder[64], path[128];
    r2i_heap heap;
} place;

static int set_up(void **state) {
    place *p = calloc(1, sizeof *p);
    memcpy(p->folder, "/tmp/r2lm-atomic-XXXXXX", 24);
    if (mkdtemp(p->folder) == NULL) return -1;
    (void)snprintf(p->path, sizeof p->path, "%s/file", p->folder);
    r2i_heap_init(&p->heap);
    *state = p;
    return 0;
}

static int tear_down(void **state) {
    place *p = *state;
    (void)remove(p->path);
    const int rc = rmdir(p->folder); /* fails when a temporary file was left behind */
    const size_t used = p->heap.used_bytes;
    free(p);
    return rc == 0 && used == 0 ? 0 : -1;
}

static int n_entries(const place *p) {
    DIR *folder = opendir(p->folder);
    int n = 0;
    assert_non_null(folder);
    while (readdir(folder) != NULL)
        n++;
    closedir(folder);
    return n - 2; /* . and .. */
}

static void expect_content(const place *p, const char *expected) {
    char text[64] = { 0 };
    FILE *file = fopen(p->path, "rb");
    assert_non_null(file);
    (void)!fread(text, 1, sizeof text - 1, file);
    fclose(file);
    assert_string_equal(text, expected);
}

static void write_old(const place *p) {
    FILE *file = fopen(p->path, "wb");
    assert_non_null(file);
    assert_int_equal(fputs("old", file) >= 0, 1);
    assert_int_equal(fclose(file), 0);
}

static void test_commit_replaces(void **state) {
    place *p = *state;
    r2_error err = { 0 };
    r2i_atomic_file *f;
    struct stat info;
    write_old(p);
    OK(r2i_atomic_begin(&f, p->path, true, &p->heap, &err));
    OK(r2i_atomic_write(f, "new ", 4, &err));
    expect_content(p, "old");
    OK(r2i_atomic_write(f, "text", 4, &err));
    OK(r2i_atomic_write_zeros(f, 2, &err));
    assert_int_equal(r2i_atomic_n_bytes(f), 10);
    OK(r2i_atomic_commit(f, &err));
    expect_content(p, "new text");
    assert_int_equal(stat(p->path, &info), 0);
    assert_int_equal(info.st_size, 10);
    assert_int_equal(info.st_mode & 0777, 0600);
    assert_int_equal(n_entries(p), 1);
}

static void test_abandon_leaves_no_trace(void **state) {
    place *p = *state;
    r2_error err = { 0 };
    r2i_atomic_file *f;
    write_old(p);
    OK(r2i_atomic_begin(&f, p->path, false, &p->heap, &err));
    OK(r2i_atomic_write(f, "new", 3, &err));
    assert_int_equal(n_entries(p), 2);
    r2i_atomic_abandon(f);
    r2i_atomic_abandon(NULL);
    expect_content(p, "old");
    assert_int_equal(n_entries(p), 1);
}

/* Two writers of one name do not meet; the last one to commit wins whole. */
static void test_two_writers(void **state) {
    place *p = *state;
    r2_error err = { 0 };
    r2i_atomic_file *a, *b;
    OK(r2i_atomic_begin(&a, p->path, false, &p->heap, &err));
    OK(r2i_atomic_begin(&b, p->path, false, &p->heap, &err));
    OK(r2i_atomic_write(a, "aaaa", 4, &err));
    OK(r2i_atomic_write(b, "bb", 2, &err));
    OK(r2i_atomic_commit(a, &err));
    expect_content(p, "aaaa");
    OK(r2i_atomic_commit(b, &err));
    expect_content(p, "bb");
}

static void test_bad_targets(void **state) {
    place *p = *state;
    r2_error err = { 0 };
    r2i_atomic_file *f;
    char path[400];
    assert_int_equal(r2i_atomic_begin(&f, p->folder, false, &p->heap, &err), R2_E_ARGUMENT);
    assert_non_null(strstr(err.text, "expected a regular file to replace, found a folder"));
    assert_null(f);
    assert_int_equal(r2i_atomic_begin(&f, "/dev/null", false, &p->heap, &err), R2_E_ARGUMENT);
    assert_int_equal(r2i_atomic_begin(&f, "", false, &p->heap, &err), R2_E_ARGUMENT);
    (void)snprintf(path, sizeof path, "%s/", p->folder);
    assert_int_equal(r2i_atomic_begin(&f, path, false, &p->heap, &err), R2_E_ARGUMENT);
    (void)snprintf(path, sizeof path, "%s/%0300d", p->folder, 0);
    assert_int_equal(r2i_atomic_begin(&f, path, false, &p->heap, &err), R2_E_ARGUMENT);
    (void)snprintf(path, sizeof path, "%s/absent/file", p->folder);
    assert_int_equal(r2i_atomic_begin(&f, path, false, &p->heap, &err), R2_E_NOT_FOUND);
    assert_non_null(strstr(err.text, "no such folder"));
    p->heap.limit_bytes = 1;
    assert_int_equal(r2i_atomic_begin(&f, p->path, false, &p->heap, &err), R2_E_NOMEM);
    p->heap.limit_bytes = 0;
}

/* Runs `work` with files limited to n bytes: the kernel then writes short and fails with EFBIG,
 * just as a disk that fills up writes short and fails with ENOSPC. */
static void with_file_limit(rlim_t n, void (*work)(place *), place *p) {
    struct rlimit before, limited;
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limited = before;
    limited.rlim_cur = n;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limited), 0);
    work(p);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    (void)signal(SIGXFSZ, handler);
}

static void fill_in_commit(place *p) {
    r2_error err = { 0 };
    r2i_atomic_file *f;
    char bytes[3000] = { 1 };
    OK(r2i_atomic_begin(&f, p->path, false, &p->heap, &err));
    OK(r2i_atomic_write(f, bytes, sizeof bytes, &err)); /* still in the buffer */
    assert_int_equal(r2i_atomic_commit(f, &err), R2_E_FULL);
    assert_string_equal(err.text, "file: cannot write: File too large");
}

static void fill_in_write(place *p) {
    static char bytes[1 << 20];
    r2_error err = { 0 };
    r2i_atomic_file *f;
    OK(r2i_atomic_begin(&f, p->path, false, &p->heap, &err));
    assert_int_equal(r2i_atomic_write(f, bytes, sizeof bytes, &err), R2_E_FULL);
    assert_int_equal(r2i_atomic_write(f, bytes, 1, &err), R2_E_FULL); /* sticks */
    assert_int_equal(r2i_atomic_commit(f, &err), R2_E_FULL);
    assert_string_equal(err.text, "file: an earlier write failed");
}

static void fill_in_gguf(place *p) {
    static const float x[4096];
    const int64_t ne[] = { 4096 };
    r2_error err = { 0 };
    r2i_gguf_writer *w;
    OK(r2i_gguf_writer_create(&w, &p->heap, &err));
    OK(r2i_gguf_writer_add_tensor(w, "t", R2I_TYPE_F32, 1, ne, x, &err));
    OK(r2i_gguf_writer_begin(w, p->path, &err));
    assert_int_equal(r2i_gguf_writer_finish(w, &err), R2_E_FULL);
    r2i_gguf_writer_destroy(w);
}

static void test_full_disk_keeps_the_old_file(void **state) {
    place *p = *state;
    void (*const works[])(place *) = { fill_in_commit, fill_in_write, fill_in_gguf };
    write_old(p);
    for (size_t i = 0; i < 3; i++) {
        with_file_limit(1000, works[i], p);
        expect_content(p, "old");
        assert_int_equal(n_entries(p), 1);
        assert_int_equal(p->heap.used_bytes, 0);
    }
}

static void test_write_all(void **state) {
    (void)state;
    r2_error err = { 0 };
    const int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
    if (fd >= 0) { /* not every sandbox has it */
        assert_int_equal(r2i_write_all(fd, "full", "x", 1, &err), R2_E_FULL);
        assert_string_equal(err.text, "full: cannot write: No space left on device");
        close(fd);
    }
    assert_int_equal(r2i_write_all(-1, "bad", "x", 1, &err), R2_E_IO);
    /* A pipe that does not block takes what fits, then refuses: a short write, then an error. */
    static char bytes[1 << 20];
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(fcntl(ends[1], F_SETFL, O_NONBLOCK), 0);
    assert_int_equal(r2i_write_all(ends[1], "pipe", bytes, sizeof bytes, &err), R2_E_IO);
    assert_int_equal(r2i_write_all(ends[1], "pipe", bytes, 0, &err), R2_OK);
    close(ends[0]);
    close(ends[1]);
}

static void test_room(void **state) {
    (void)state;
    r2_error err = { 0 };
    assert_int_equal(r2i_disk_room_check("here", 1, &err), R2_OK);
    assert_int_equal(r2i_disk_room_check("here", INT64_MAX, &err), R2_E_FULL);
    assert_non_null(strstr(err.text, "here: expected room for 9223372036854775807 bytes"));
    assert_int_equal(r2i_disk_room_check("/", INT64_MAX, &err), R2_E_FULL);
    assert_int_equal(r2i_disk_room_check("no/such/folder", INT64_MAX, &err), R2_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_commit_replaces, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_abandon_leaves_no_trace, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_two_writers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_bad_targets, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_full_disk_keeps_the_old_file, set_up, tear_down),
        cmocka_unit_test(test_write_all),
        cmocka_unit_test(test_room),
    };
    return cmocka_run_group_tests_name("atomic_write", tests, NULL, NULL);
}

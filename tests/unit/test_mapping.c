/* test_mapping.c - mapped bytes, pages given back, names kept beneath a folder. */
#define _GNU_SOURCE /* mkdtemp, symlink, truncate */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "files/beneath.h"
#include "files/mapping.h"

enum { FILE_BYTES = 16 << 20 };

/* Resident file-backed memory of this process in bytes; -1 where the kernel does not say. */
static long resident_file_bytes(void) {
    char line[128];
    long kilobytes = -1;
    FILE *status = fopen("/proc/self/status", "r");
    while (status != NULL && fgets(line, sizeof line, status) != NULL) {
        if (strncmp(line, "RssFile:", 8) == 0) kilobytes = strtol(line + 8, NULL, 10);
    }
    if (status != NULL) fclose(status);
    return kilobytes < 0 ? -1 : kilobytes * 1024;
}

static uint64_t sum_of(const r2i_mapping *m) {
    uint64_t sum = 0;
    for (size_t i = 0; i < m->n_bytes; i += 512)
        sum += m->bytes[i];
    return sum;
}

typedef struct {
    char folder[64], path[128];
} place;

static int set_up(void **state) {
    place *p = calloc(1, sizeof *p);
    memcpy(p->folder, "/tmp/r2lm-mapping-XXXXXX", 25);
    if (mkdtemp(p->folder) == NULL) return -1;
    (void)snprintf(p->path, sizeof p->path, "%s/file", p->folder);
    FILE *file = fopen(p->path, "wb");
    uint8_t *bytes = malloc(FILE_BYTES);
    if (file == NULL || bytes == NULL) return -1;
    memset(bytes, 3, FILE_BYTES);
    const size_t n = fwrite(bytes, 1, FILE_BYTES, file);
    free(bytes);
    *state = p;
    return fclose(file) == 0 && n == FILE_BYTES ? 0 : -1;
}

static int tear_down(void **state) {
    place *p = *state;
    (void)unlink(p->path);
    const int rc = rmdir(p->folder);
    free(p);
    return rc;
}

static void test_forgotten_pages_leave_memory(void **state) {
    place *p = *state;
    r2i_mapping m;
    r2_error err = { 0 };
    assert_int_equal(r2i_mapping_open(&m, p->path, &err), R2_OK);
    assert_int_equal(m.n_bytes, FILE_BYTES);
    r2i_mapping_sequential(&m);
    const uint64_t sum = sum_of(&m);
    assert_int_equal(sum, 3 * (FILE_BYTES / 512));
    const long full = resident_file_bytes();
    r2i_mapping_forget(&m, m.bytes + 1, FILE_BYTES - 2); /* all but the first page is whole */
    const long empty = resident_file_bytes();
    if (full >= 0) assert_true(full - empty > FILE_BYTES / 4 * 3);
    assert_int_equal(sum_of(&m), sum);
    /* Ranges that are not in the mapping are ignored. */
    r2i_mapping_forget(&m, &m, sizeof m);
    r2i_mapping_forget(&m, m.bytes + FILE_BYTES, 1);
    assert_true(r2i_mapping_is_intact(&m));
    assert_int_equal(truncate(p->path, FILE_BYTES - 1), 0);
    assert_false(r2i_mapping_is_intact(&m));
    r2i_mapping_close(&m);
    r2i_mapping_close(&m);
    assert_int_equal(truncate(p->path, 0), 0);
    assert_int_equal(r2i_mapping_open(&m, p->path, &err), R2_OK); /* empty is no error here */
    assert_null(m.bytes);
    r2i_mapping_close(&m);
}

static void test_names_stay_beneath(void **state) {
    place *p = *state;
    static const char *const bad[] = { "",    ".",    "..",      "../x", "a/b", "/etc/passwd",
                                       "a b", "a\nb", "\xc3\xa9" };
    static const char *const links[] = { "/etc/passwd",
                                         "file",
                                         "../blobs/x",
                                         "../../blobs/../x",
                                         "../../blobs/",
                                         "../../blobs/a/b",
                                         "../../../../../blobs/x",
                                         "x/../../blobs/x" };
    char link_path[160], long_name[257];
    r2i_mapping m;
    r2_error err = { 0 };
    int fd;
    memset(long_name, 'a', 256), long_name[256] = '\0';
    assert_false(r2i_beneath_is_name(long_name, 256));
    assert_true(r2i_beneath_is_name(long_name, 255));
    assert_int_equal(r2i_beneath_open_folder(&fd, p->path, &err), R2_E_NOT_FOUND); /* a file */
    assert_int_equal(r2i_beneath_open_folder(&fd, p->folder, &err), R2_OK);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(r2i_beneath_map(&m, fd, bad[i], &err), R2_E_ARGUMENT);
    }
    (void)snprintf(link_path, sizeof link_path, "%s/link", p->folder);
    for (size_t i = 0; i < sizeof links / sizeof *links; i++) {
        assert_int_equal(symlink(links[i], link_path), 0);
        assert_int_equal(r2i_beneath_map(&m, fd, "link", &err), R2_E_FORMAT);
        assert_non_null(strstr(err.text, "link: expected a file or a link to ../../blobs/NAME"));
        assert_int_equal(unlink(link_path), 0);
    }
    assert_int_equal(symlink("../../blobs/absent", link_path), 0);
    assert_int_equal(r2i_beneath_map(&m, fd, "link", &err), R2_E_NOT_FOUND);
    assert_int_equal(unlink(link_path), 0);
    assert_int_equal(r2i_beneath_map(&m, fd, "file", &err), R2_OK);
    r2i_mapping_close(&m);
    close(fd);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_forgotten_pages_leave_memory, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_names_stay_beneath, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("mapping", tests, NULL, NULL);
}

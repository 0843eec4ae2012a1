/* test_state_folder.c - the files of checkpoints:
 *
 *   any division into shards and ranges reads back in any other; what is missing is said
 *   one flipped bit at a thousand places, a byte less or more: never opens
 *   every allocation failing in turn: an error, no leak, and the one before still opens
 *   power lost at any moment: of the recorded calls, what was made durable stays, and of the rest any part
 *   of blocks and names: the last finished checkpoint opens, and whatever opens is whole */
#define _GNU_SOURCE /* O_DIRECTORY */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/failure.h"
#include "base/random.h"
#include "files/state_folder.h"
#include "io_shim.h"
#include "tiny_run.h"

enum { N_ARRAYS = 3, MOST = 3000, N_FLIPS = 1000, BLOCK = 4096 };
#if defined(__SANITIZE_ADDRESS__)
enum { N_STATES = 500 };
#else
enum { N_STATES = 3000 };
#endif
static const size_t sizes[N_ARRAYS] = { 7, MOST, 640 };
static const char *const names[N_ARRAYS] = { "weights/a", "weights/b", "m/b" };

static char folder[64];

static void must(r2_status status, const r2_error *err) {
    if (status != R2_OK) fail_msg("%s: %s", r2_status_name(status), err->text);
}

/* Value i of an array in the checkpoint of a step. */
static float value_of(int64_t step, int array, size_t i) {
    return (float)(r2i_random_u64((uint64_t)step, (uint64_t)array, i) % 100000) * 0.25f;
}

static void fill(int64_t step, float values[N_ARRAYS][MOST]) {
    for (int a = 0; a < N_ARRAYS; a++) {
        for (size_t i = 0; i < sizes[a]; i++)
            values[a][i] = value_of(step, a, i);
    }
}

/* Each array in n_shards parts, one per shard; the first shard has an empty part of every second one. */
static r2_status write_step(int64_t step, int32_t n_shards, r2i_heap *heap, r2_error *err) {
    static float values[N_ARRAYS][MOST];
    r2i_state_shard shards[8];
    fill(step, values);
    R2I_TRY(r2i_state_begin(folder, step, err));
    for (int32_t s = 0; s < n_shards; s++) {
        r2i_state_range ranges[N_ARRAYS];
        for (int a = 0; a < N_ARRAYS; a++) {
            const size_t first = sizes[a] * (size_t)s / (size_t)n_shards,
                         end = sizes[a] * (size_t)(s + 1) / (size_t)n_shards;
            ranges[a] =
                (r2i_state_range){ names[a], values[a] + first, first, end - first, sizes[a] };
        }
        R2I_TRY(r2i_state_write_shard(&shards[s], folder, step, s, n_shards, ranges, N_ARRAYS, heap,
                                      err));
    }
    r2i_state_manifest m = { .step = step, .n_shards = n_shards, .shards = shards };
    m.state = json_pack("{s:I}", "step", (json_int_t)step);
    const r2_status status = r2i_state_commit(folder, &m, heap, err);
    json_decref(m.state);
    return status;
}

/* Everything in an open checkpoint is what was written; in parts of other sizes. */
static bool is_right(const r2i_state *state, size_t part) {
    const int64_t step = r2i_state_get_manifest(state)->step;
    static float found[MOST];
    for (int a = 0; a < N_ARRAYS; a++) {
        for (size_t first = 0; first < sizes[a]; first += part) {
            const size_t n = first + part < sizes[a] ? part : sizes[a] - first;
            if (r2i_state_read(state, names[a], first, n, sizes[a], found, NULL) != R2_OK)
                return false;
            for (size_t i = 0; i < n; i++) {
                if (found[i] != value_of(step, a, first + i)) return false;
            }
        }
    }
    return true;
}

static r2_status open_step(r2i_state **out, int64_t step, r2_error *err) {
    static r2i_heap heap;
    r2i_heap_init(&heap);
    return r2i_state_open(out, folder, step, &heap, err);
}

static void test_any_division(void **state) {
    (void)state;
    r2i_heap heap;
    r2i_state *s;
    r2_error err;
    float found[MOST];
    r2i_heap_init(&heap);
    for (int32_t n_shards = 1; n_shards <= 8; n_shards += 3) {
        must(write_step(n_shards, n_shards, &heap, &err), &err);
        must(open_step(&s, n_shards, &err), &err);
        assert_true(is_right(s, 1000000) && is_right(s, 1) && is_right(s, 700));
        assert_int_equal(r2i_state_read(s, "v/b", 0, 1, 1, found, &err), R2_E_MISMATCH);
        assert_int_equal(r2i_state_read(s, names[0], 0, 6, 6, found, &err), R2_E_MISMATCH);
        assert_int_equal(r2i_state_read(s, names[0], 0, 8, 8, found, &err), R2_E_MISMATCH);
        assert_non_null(strstr(err.text, "weights/a: expected 8 numbers, found 7"));
        r2i_state_close(s);
    }
    must(r2i_state_open_newest(&s, folder, NULL, &heap, &err), &err);
    assert_int_equal(r2i_state_get_manifest(s)->step, 7);
    r2i_state_close(s);
    must(r2i_state_remove(folder, 7, &err), &err);
    must(r2i_state_remove(folder, 7, &err), &err);
    must(r2i_state_open_newest(&s, folder, NULL, &heap, &err), &err);
    assert_int_equal(r2i_state_get_manifest(s)->step, 4);
    r2i_state_close(s);
    assert_int_equal(heap.used_bytes, 0);
}

/* ---- damage ---- */

static void flip(int fd, off_t at, int bit) {
    unsigned char byte;
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= (unsigned char)(1 << bit);
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
}

static void check_damage(const char *name, int n_flips) {
    char path[192];
    r2i_state *s;
    r2_error err;
    struct stat info;
    snprintf(path, sizeof path, "%s/step-00000001/%s", folder, name);
    const int fd = open(path, O_RDWR);
    assert_true(fd >= 0 && fstat(fd, &info) == 0);
    for (int i = 0; i < n_flips; i++) {
        const off_t at = (off_t)(r2i_random_u64(9, 0, (uint64_t)i) % (uint64_t)info.st_size);
        const int bit = (int)(r2i_random_u64(9, 1, (uint64_t)i) % 8);
        flip(fd, at, bit);
        if (open_step(&s, 1, &err) == R2_OK)
            fail_msg("%s: bit %d of byte %ld of %ld flipped, and it opened", name, bit, (long)at,
                     (long)info.st_size);
        assert_true(err.text[0] != '\0');
        flip(fd, at, bit);
    }
    unsigned char last;
    assert_int_equal(pread(fd, &last, 1, info.st_size - 1), 1);
    assert_int_equal(ftruncate(fd, info.st_size - 1), 0);
    assert_true(open_step(&s, 1, &err) != R2_OK);
    assert_int_equal(pwrite(fd, &last, 1, info.st_size - 1), 1);
    must(open_step(&s, 1, &err), &err);
    r2i_state_close(s);
    assert_int_equal(pwrite(fd, &last, 1, info.st_size), 1);
    assert_true(open_step(&s, 1, &err) != R2_OK);
    assert_int_equal(ftruncate(fd, info.st_size), 0);
    close(fd);
}

static void test_flipped_bits(void **state) {
    (void)state;
    r2i_heap heap;
    r2_error err;
    r2i_heap_init(&heap);
    must(write_step(1, 2, &heap, &err), &err);
    check_damage("manifest.json", N_FLIPS * 2 / 5);
    check_damage("state-0-of-2.safetensors", N_FLIPS * 3 / 10);
    check_damage("state-1-of-2.safetensors", N_FLIPS * 3 / 10);
}

/* ---- memory ---- */

static long n_left; /* allocations that are granted */

static void *take_some(void *user, size_t n_bytes) {
    (void)user;
    return n_left-- > 0 ? malloc(n_bytes) : NULL;
}

static void give(void *user, void *memory, size_t n_bytes) {
    (void)user;
    (void)n_bytes;
    free(memory);
}

static r2_status write_and_read(r2i_heap *heap, r2_error *err) {
    r2i_state *s;
    R2I_TRY(write_step(20, 3, heap, err));
    R2I_TRY(r2i_state_open_newest(&s, folder, NULL, heap, err));
    const bool right = is_right(s, 512);
    r2i_state_close(s);
    assert_true(right);
    return R2_OK;
}

static void test_allocations(void **state) {
    (void)state;
    r2i_heap heap;
    r2_error err;
    r2i_state *s;
    r2i_heap_init(&heap);
    must(write_step(10, 1, &heap, &err), &err);
    heap.allocate = take_some;
    heap.release = give;
    long k = 0;
    for (;; k++) {
        n_left = k;
        const r2_status status = write_and_read(&heap, &err);
        assert_int_equal(heap.used_bytes, 0);
        if (status == R2_OK) break;
        if (status != R2_E_NOMEM)
            fail_msg("allocation %ld: %s: %s", k, r2_status_name(status), err.text);
        must(open_step(&s, 10, &err), &err);
        assert_true(is_right(s, 100));
        r2i_state_close(s);
    }
    printf("%ld allocations\n", k);
    assert_true(k > 20);
}

/* ---- power ---- */

typedef struct {
    char path[160];  /* where it was made, for a file; folders as they are called */
    char place[160]; /* its name in the state that is built; "": it has none */
    size_t n_bytes;
    unsigned char *bytes;
} lost_file;

enum { MOST_FILES = 64 };
static lost_file files[MOST_FILES];
static int n_files;

static lost_file *file_at(const char *place) {
    for (int i = n_files - 1; i >= 0; i--) {
        if (strcmp(files[i].place, place) == 0) return &files[i];
    }
    return NULL;
}

static void folder_of(const char *path, char out[160]) {
    const char *slash = strrchr(path, '/');
    snprintf(out, 160, "%.*s", slash == NULL ? 0 : (int)(slash - path), path);
}

/* Is the change of a name by event e durable at `end`: was the folder synced between them? */
static bool is_name_synced(const io_event *events, size_t e, size_t end) {
    char parent[160];
    folder_of(events[e].path, parent);
    for (size_t i = e + 1; i < end; i++) {
        if (events[i].kind == IO_SYNC && strcmp(events[i].path, parent) == 0) return true;
    }
    return false;
}

/* Do the bytes of write e last: was the same file (by that name then) synced afterwards? */
static bool is_write_synced(const io_event *events, size_t e, size_t end) {
    for (size_t i = e + 1; i < end; i++) {
        if (strcmp(events[i].path, events[e].path) != 0) continue;
        if (events[i].kind == IO_SYNC) return true;
        if (events[i].kind == IO_RENAME) return false; /* not before its name changed */
    }
    return false;
}

static void apply_write(const io_event *e, bool is_synced, uint64_t seed, uint64_t place) {
    lost_file *f = file_at(e->path);
    if (f == NULL) {
        assert_true(n_files < MOST_FILES);
        f = &files[n_files++];
        *f = (lost_file){ .n_bytes = 0 };
        snprintf(f->path, sizeof f->path, "%s", e->path);
        snprintf(f->place, sizeof f->place, "%s", e->path);
    }
    const size_t end = e->offset + e->n_bytes;
    if (end > f->n_bytes) {
        f->bytes = realloc(f->bytes, end);
        assert_non_null(f->bytes);
        memset(f->bytes + f->n_bytes, 0, end - f->n_bytes);
        f->n_bytes = end;
    }
    for (size_t at = e->offset; at < end;) { /* block by block: there, or zeros */
        const size_t stop = (at / BLOCK + 1) * BLOCK < end ? (at / BLOCK + 1) * BLOCK : end;
        if (is_synced || r2i_random_u64(seed, place, at / BLOCK) % 2 == 0)
            memcpy(f->bytes + at, e->bytes + (at - e->offset), stop - at);
        at = stop;
    }
    /* Its length may not have got there either. */
    if (!is_synced && r2i_random_u64(seed, place, 1 << 20) % 4 == 0)
        f->n_bytes = e->offset + e->n_bytes / 2;
}

static void put(const char *root, const lost_file *f) {
    char path[256], parent[160];
    folder_of(f->place, parent);
    snprintf(path, sizeof path, "%s/%s", root, parent);
    (void)mkdir(path, 0777);
    snprintf(path, sizeof path, "%s/%s", root, f->place);
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    assert_true(fd >= 0);
    assert_true(write(fd, f->bytes, f->n_bytes) == (ssize_t)f->n_bytes);
    close(fd);
}

/* What a disk holds when the power goes before event `end`. */
static void build_state(const char *root, const io_event *events, size_t end, uint64_t seed) {
    for (int i = 0; i < n_files; i++)
        free(files[i].bytes);
    n_files = 0;
    for (size_t i = 0; i < end; i++) {
        const io_event *e = &events[i];
        const bool is_there = is_name_synced(events, i, end) || r2i_random_u64(seed, i, 0) % 2 == 0;
        lost_file *f = e->kind == IO_RENAME || e->kind == IO_UNLINK ? file_at(e->path) : NULL;
        if (e->kind == IO_WRITE) apply_write(e, is_write_synced(events, i, end), seed, i);
        if (f == NULL || !is_there) continue;
        lost_file *replaced = e->kind == IO_RENAME ? file_at(e->to) : NULL;
        if (replaced != NULL) replaced->place[0] = '\0';
        snprintf(f->place, sizeof f->place, "%s", e->kind == IO_RENAME ? e->to : "");
    }
    for (int i = 0; i < n_files; i++) {
        if (files[i].place[0] != '\0') put(root, &files[i]);
    }
}

static void test_power(void **state) {
    (void)state;
    enum { N_STEPS = 4 };
    r2i_heap heap;
    r2_error err;
    size_t ends[N_STEPS + 1] = { 0 }, n_events = 0;
    char root[64] = "/tmp/r2lm_power_XXXXXX";
    assert_non_null(mkdtemp(root));
    r2i_heap_init(&heap);
    io_shim_arm(folder, IO_RECORD, 0, 0);
    for (int64_t step = 1; step <= N_STEPS; step++) {
        must(write_step(step, 2, &heap, &err), &err);
        (void)io_shim_trace(&ends[step]);
        if (step > 2) must(r2i_state_remove(folder, step - 2, &err), &err);
    }
    (void)io_shim_disarm();
    const io_event *events = io_shim_trace(&n_events);
    int n_newer = 0;
    for (uint64_t seed = 0; seed < N_STATES; seed++) {
        const size_t end = (size_t)(r2i_random_u64(77, 0, seed) % (n_events + 1));
        int64_t done = 0;
        r2i_state *s;
        while (done < N_STEPS && ends[done + 1] <= end)
            done++;
        build_state(root, events, end, seed);
        int64_t found = 0;
        if (r2i_state_open_newest(&s, root, NULL, &heap, &err) == R2_OK) {
            found = r2i_state_get_manifest(s)->step;
            if (!is_right(s, 5000))
                fail_msg("state %d: checkpoint %d is wrong", (int)seed, (int)found);
            r2i_state_close(s);
        }
        if (found < done || found > done + 1)
            fail_msg("state %d, power lost before call %zu of %zu: expected checkpoint %d or the "
                     "next, found %d",
                     (int)seed, end, n_events, (int)done, (int)found);
        n_newer += found > done;
        tiny_remove(root);
        assert_int_equal(mkdir(root, 0777), 0);
    }
    printf("%d states of %zu calls; in %d the checkpoint at work was already there\n", N_STATES,
           n_events, n_newer);
    for (int i = 0; i < n_files; i++)
        free(files[i].bytes);
    n_files = 0;
    tiny_remove(root);
    io_shim_forget();
}

static int make_folder(void **state) {
    (void)state;
    strcpy(folder, "/tmp/r2lm_state_XXXXXX");
    return mkdtemp(folder) != NULL ? 0 : -1;
}

static int remove_folder(void **state) {
    (void)state;
    tiny_remove(folder);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_any_division, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_flipped_bits, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_allocations, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_power, make_folder, remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

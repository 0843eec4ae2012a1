/* paired_comparison.c - r2_eval_compare: two runs on the same items, item by item. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/failure.h"
#include "base/hash.h"
#include "eval/sample_file.h"
#include "r2lm/eval.h"

enum { PATH_BYTES = 4096 };

typedef struct {
    uint64_t id; /* hash of the item's id */
    bool is_right;
} verdict;

typedef struct {
    r2i_buffer verdicts; /* verdict, sorted by id */
    bool is_lenient;
    char suite[48], model[96];
} run_read;

static r2_status take_line(void *user, const json_t *line, r2_error *err) {
    run_read *r = user;
    const char *id = json_string_value(json_object_get(line, "id"));
    if (id == NULL) return r2i_fail(err, R2_E_FORMAT, "expected an answer with \"id\"");
    if (json_integer_value(json_object_get(line, "sample")) != 0) return R2_OK;
    const verdict v = { r2i_hash_mix(r2i_hash_bytes(R2I_HASH_SEED, id, strlen(id))),
                        json_is_true(json_object_get(line, r->is_lenient ? "found" : "right")) };
    return r2i_buffer_append(&r->verdicts, &v, sizeof v, err);
}

static int compare_ids(const void *a, const void *b) {
    const verdict *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

static void keep_text(char *out, size_t cap, const json_t *head, const char *key) {
    const char *text = json_string_value(json_object_get(head, key));
    (void)snprintf(out, cap, "%s", text != NULL ? text : "");
}

static r2_status read_run(run_read *r, const char *path, r2i_heap *heap, r2_error *err) {
    char file[PATH_BYTES + 32];
    struct stat info;
    json_t *head;
    const bool is_folder = stat(path, &info) == 0 && S_ISDIR(info.st_mode);
    (void)snprintf(file, sizeof file, "%.4000s%s", path, is_folder ? "/samples.jsonl" : "");
    R2I_TRY(r2i_sample_file_read(file, &head, take_line, r, heap, err));
    keep_text(r->suite, sizeof r->suite, head, "suite");
    keep_text(r->model, sizeof r->model, head, "model");
    json_decref(head);
    if (r->verdicts.n_bytes > 0)
        qsort(r->verdicts.bytes, r->verdicts.n_bytes / sizeof(verdict), sizeof(verdict),
              compare_ids);
    return R2_OK;
}

static void count_pairs(r2_eval_comparison *out, const run_read runs[2]) {
    const verdict *a = (const verdict *)(void *)runs[0].verdicts.bytes,
                  *b = (const verdict *)(void *)runs[1].verdicts.bytes;
    const size_t n_a = runs[0].verdicts.n_bytes / sizeof *a,
                 n_b = runs[1].verdicts.n_bytes / sizeof *b;
    for (size_t i = 0, j = 0; i < n_a && j < n_b;) {
        if (a[i].id != b[j].id) {
            if (a[i].id < b[j].id)
                i++;
            else
                j++;
            continue;
        }
        int64_t *places[] = { &out->n_neither, &out->n_second, &out->n_first, &out->n_both };
        ++*places[2 * a[i].is_right + b[j].is_right];
        out->n_pairs++;
        i++;
        j++;
    }
}

r2_status r2_eval_compare(r2_eval_comparison *out, const char *first, const char *second,
                          bool lenient, const r2_host *host, r2_error *err) {
    r2i_heap heap;
    run_read runs[2] = { { .is_lenient = lenient }, { .is_lenient = lenient } };
    r2i_heap_init_host(&heap, host);
    *out = (r2_eval_comparison){ .p = 1 };
    for (int i = 0; i < 2; i++)
        r2i_buffer_init(&runs[i].verdicts, &heap, (size_t)1 << 32);
    r2_status status = read_run(&runs[0], first, &heap, err);
    if (status == R2_OK) status = read_run(&runs[1], second, &heap, err);
    if (status == R2_OK && strcmp(runs[0].suite, runs[1].suite) != 0)
        status = r2i_fail(err, R2_E_MISMATCH, "compare: %s against %s: expected the same suite",
                          runs[0].suite, runs[1].suite);
    if (status == R2_OK) count_pairs(out, runs);
    if (status == R2_OK && out->n_pairs == 0)
        status = r2i_fail(err, R2_E_MISMATCH, "compare: the two runs have no item in common");
    out->p = r2_eval_mcnemar(out->n_first, out->n_second);
    (void)snprintf(out->suite, sizeof out->suite, "%s", runs[0].suite);
    for (int i = 0; i < 2; i++) {
        (void)snprintf(out->models[i], sizeof out->models[i], "%s", runs[i].model);
        r2i_buffer_destroy(&runs[i].verdicts);
    }
    return status;
}

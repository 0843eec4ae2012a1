/* paired_comparison.c - r2_eval_compare: two runs on the same items, item by item. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/failure.h"
#include "base/hash.h"
#include "eval/sample_file.h"
#include "r2lm/eval.h"

enum { PATH_BYTES = 4096, NO_GROUP = -1 };

typedef struct {
    uint64_t id;   /* hash of the item's id */
    int32_t group; /* NO_GROUP, or of the run's */
    bool is_right;
} verdict;

typedef struct {
    r2i_buffer verdicts; /* verdict, sorted by id */
    r2i_buffer groups;   /* r2_eval_pairs, named and empty, as they come */
    bool is_lenient;
    char suite[48], model[192];
} run_read;

static void keep_text(char *out, size_t cap, const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    (void)snprintf(out, cap, "%s", text != NULL ? text : "");
}

/* Items of a group stand together: the last one is asked first. */
static r2_status find_group(int32_t *out, run_read *r, const json_t *line, r2_error *err) {
    r2_eval_pairs group = { .p = 1 };
    keep_text(group.group, sizeof group.group, line, "group");
    *out = NO_GROUP;
    if (group.group[0] == 0) return R2_OK;
    const r2_eval_pairs *known = (const r2_eval_pairs *)(void *)r->groups.bytes;
    const int32_t n = (int32_t)(r->groups.n_bytes / sizeof *known);
    *out = n;
    for (int32_t i = n - 1; i >= 0; i--) {
        if (strcmp(known[i].group, group.group) != 0) continue;
        *out = i;
        return R2_OK;
    }
    return r2i_buffer_append(&r->groups, &group, sizeof group, err);
}

static r2_status take_line(void *user, const json_t *line, r2_error *err) {
    run_read *r = user;
    const char *id = json_string_value(json_object_get(line, "id"));
    if (id == NULL) return r2i_fail(err, R2_E_FORMAT, "expected an answer with \"id\"");
    if (json_integer_value(json_object_get(line, "sample")) != 0) return R2_OK;
    verdict v = { .id = r2i_hash_mix(r2i_hash_bytes(R2I_HASH_SEED, id, strlen(id))),
                  .is_right =
                      json_is_true(json_object_get(line, r->is_lenient ? "found" : "right")) };
    R2I_TRY(find_group(&v.group, r, line, err));
    return r2i_buffer_append(&r->verdicts, &v, sizeof v, err);
}

static int compare_ids(const void *a, const void *b) {
    const verdict *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

static r2_status read_run(run_read *r, const char *path, r2i_heap *heap, r2_error *err) {
    char file[PATH_BYTES + 32], adapter[PATH_BYTES];
    struct stat info;
    json_t *head;
    const bool is_folder = stat(path, &info) == 0 && S_ISDIR(info.st_mode);
    (void)snprintf(file, sizeof file, "%.4000s%s", path, is_folder ? "/samples.jsonl" : "");
    R2I_TRY(r2i_sample_file_read(file, &head, take_line, r, heap, err));
    keep_text(r->suite, sizeof r->suite, head, "suite");
    keep_text(r->model, sizeof r->model, head, "model");
    keep_text(adapter, sizeof adapter, head, "adapter");
    const size_t n = strlen(r->model);
    if (adapter[0] != 0) (void)snprintf(r->model + n, sizeof r->model - n, " + %s", adapter);
    json_decref(head);
    if (r->verdicts.n_bytes > 0)
        qsort(r->verdicts.bytes, r->verdicts.n_bytes / sizeof(verdict), sizeof(verdict),
              compare_ids);
    return R2_OK;
}

static void count_pair(r2_eval_pairs *pairs, bool is_first, bool is_second) {
    int64_t *places[] = { &pairs->n_neither, &pairs->n_second, &pairs->n_first, &pairs->n_both };
    ++*places[2 * is_first + is_second];
    pairs->n_pairs++;
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
        count_pair(&out->all, a[i].is_right, b[j].is_right);
        if (a[i].group != NO_GROUP)
            count_pair(&out->groups[a[i].group], a[i].is_right, b[j].is_right);
        i++;
        j++;
    }
}

/* Groups that the second run has nothing of stay, without pairs. */
static r2_status compare_read(r2_eval_comparison *out, const run_read runs[2],
                              const char *const paths[2], r2i_heap *heap, r2_error *err) {
    const r2i_buffer *groups = &runs[0].groups;
    if (strcmp(runs[0].suite, runs[1].suite) != 0)
        return r2i_fail(err, R2_E_MISMATCH,
                        "compare: expected the same suite, found %s in %.120s and %s in %.120s",
                        runs[0].suite, paths[0], runs[1].suite, paths[1]);
    out->n_groups = (int32_t)(groups->n_bytes / sizeof *out->groups);
    out->groups = groups->n_bytes > 0 ? r2i_heap_take(heap, groups->n_bytes) : NULL;
    if (groups->n_bytes > 0 && out->groups == NULL)
        return r2i_fail(err, R2_E_NOMEM, "compare: no memory for %d groups", out->n_groups);
    if (groups->n_bytes > 0) memcpy(out->groups, groups->bytes, groups->n_bytes);
    for (int i = 0; i < 2; i++)
        out->n_items[i] = (int64_t)(runs[i].verdicts.n_bytes / sizeof(verdict));
    count_pairs(out, runs);
    if (out->all.n_pairs == 0)
        return r2i_fail(err, R2_E_MISMATCH,
                        "compare: %.120s (%lld items) and %.120s (%lld) have none in common",
                        paths[0], (long long)out->n_items[0], paths[1], (long long)out->n_items[1]);
    out->all.p = r2_eval_mcnemar(out->all.n_first, out->all.n_second);
    for (int32_t i = 0; i < out->n_groups; i++)
        out->groups[i].p = r2_eval_mcnemar(out->groups[i].n_first, out->groups[i].n_second);
    (void)snprintf(out->suite, sizeof out->suite, "%s", runs[0].suite);
    for (int i = 0; i < 2; i++)
        (void)snprintf(out->models[i], sizeof out->models[i], "%s", runs[i].model);
    return R2_OK;
}

r2_status r2_eval_compare(r2_eval_comparison *out, const char *first, const char *second,
                          bool lenient, const r2_host *host, r2_error *err) {
    r2i_heap heap;
    run_read runs[2] = { { .is_lenient = lenient }, { .is_lenient = lenient } };
    r2i_heap_init_host(&heap, host);
    *out = (r2_eval_comparison){ .n_groups = 0 };
    for (int i = 0; i < 2; i++) {
        r2i_buffer_init(&runs[i].verdicts, &heap, (size_t)1 << 32);
        r2i_buffer_init(&runs[i].groups, &heap, (size_t)1 << 24);
    }
    r2_status status = read_run(&runs[0], first, &heap, err);
    if (status == R2_OK) status = read_run(&runs[1], second, &heap, err);
    const char *const paths[] = { first, second };
    if (status == R2_OK) status = compare_read(out, runs, paths, &heap, err);
    if (status != R2_OK) r2_eval_comparison_free(out, host);
    for (int i = 0; i < 2; i++) {
        r2i_buffer_destroy(&runs[i].verdicts);
        r2i_buffer_destroy(&runs[i].groups);
    }
    return status;
}

void r2_eval_comparison_free(r2_eval_comparison *comparison, const r2_host *host) {
    r2i_heap heap;
    r2i_heap_init_host(&heap, host);
    if (comparison->groups != NULL)
        r2i_heap_give(&heap, comparison->groups,
                      (size_t)comparison->n_groups * sizeof *comparison->groups);
    *comparison = (r2_eval_comparison){ .n_groups = 0 };
}

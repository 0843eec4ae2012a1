#include "eval/suite_load.h"

#include <stdio.h>
#include <string.h>

#include "base/failure.h"
#include "files/json_read.h"

/* A line of a benchmark: texts and tests, no deep trees. */
static const r2i_json_limits line_limits = { .max_bytes = 16 << 20,
                                             .max_values = 1 << 18,
                                             .max_depth = 64 };

r2_status r2i_eval_add(r2i_eval_load *load, const r2i_eval_item *item, r2_error *err) {
    if (item->id == NULL || item->question == NULL)
        return r2i_fail(err, R2_E_NOMEM, "no memory for the items of an evaluation");
    return r2i_buffer_append(&load->items, item, sizeof *item, err);
}

const char *r2i_eval_copy(r2i_eval_load *load, const char *text) {
    return text != NULL ? r2i_arena_copy_text(load->arena, text, strlen(text)) : NULL;
}

const char *r2i_eval_join(r2i_eval_load *load, const char *first, const char *second,
                          const char *third) {
    if (first == NULL || second == NULL || third == NULL) return NULL;
    const size_t n = strlen(first), m = strlen(second), k = strlen(third);
    char *out = r2i_arena_push(load->arena, n + m + k + 1, 1);
    if (out == NULL) return NULL;
    memcpy(out, first, n);
    memcpy(out + n, second, m);
    memcpy(out + n + m, third, k);
    return out;
}

r2_status r2i_eval_each_word(const char *words,
                             r2_status (*use)(void *user, const char *word, r2_error *err),
                             void *user, r2_error *err) {
    char word[64];
    for (const char *at = words; *at != '\0';) {
        const size_t n = strcspn(at, ",");
        if (n == 0 || n >= sizeof word)
            return r2i_fail(err, R2_E_ARGUMENT, "%.80s: expected names parted by commas", words);
        memcpy(word, at, n);
        word[n] = '\0';
        R2I_TRY(use(user, word, err));
        at += n + (at[n] == ',');
    }
    return R2_OK;
}

bool r2i_eval_is_full(const r2i_eval_load *load, int32_t n) {
    return load->options->limit > 0 && n >= load->options->limit;
}

bool r2i_data_line(r2i_data_lines *lines, const char **text, size_t *n_bytes) {
    const char *bytes = lines->data->bytes;
    while (lines->at < lines->data->n_bytes) {
        const char *begin = bytes + lines->at;
        const size_t left = lines->data->n_bytes - lines->at;
        const char *end = memchr(begin, '\n', left);
        size_t n = end != NULL ? (size_t)(end - begin) : left;
        lines->at += n + (end != NULL);
        lines->number++;
        if (n > 0 && begin[n - 1] == '\r') n--;
        if (n == 0) continue;
        *text = begin;
        *n_bytes = n;
        (void)snprintf(lines->place, sizeof lines->place, "%.120s:%lld", lines->data->name,
                       (long long)lines->number);
        return true;
    }
    return false;
}

r2_status r2i_data_object(json_t **out, r2i_data_lines *lines, r2_error *err) {
    const char *text;
    size_t n;
    *out = NULL;
    if (!r2i_data_line(lines, &text, &n)) return R2_OK;
    return r2i_json_read(out, lines->place, text, n, &line_limits, err);
}

r2_status r2i_eval_each_object(r2i_eval_load *load,
                               r2_status (*add)(r2i_eval_load *load, const json_t *line,
                                                const char *place, int32_t n, r2_error *err),
                               r2_error *err) {
    int32_t n = 0;
    for (int32_t i = 0; i < load->options->n_data; i++) {
        r2i_data_lines lines = { .data = &load->options->data[i] };
        while (!r2i_eval_is_full(load, n)) {
            json_t *line;
            R2I_TRY(r2i_data_object(&line, &lines, err));
            if (line == NULL) break;
            const r2_status status = add(load, line, lines.place, n++, err);
            json_decref(line);
            if (status != R2_OK) return status;
        }
    }
    return R2_OK;
}

#define _GNU_SOURCE /* memmem */
#include "task/answer_text.h"

#include <ctype.h>
#include <string.h>

r2i_span r2i_span_trim(r2i_span s) {
    while (s.n > 0 && isspace((unsigned char)s.text[0]))
        s.text++, s.n--;
    while (s.n > 0 && isspace((unsigned char)s.text[s.n - 1]))
        s.n--;
    return s;
}

const char *r2i_span_first(r2i_span s, const char *word) {
    return s.n > 0 ? memmem(s.text, s.n, word, strlen(word)) : NULL;
}

const char *r2i_span_last(r2i_span s, const char *word) {
    const char *found = NULL;
    for (const char *at; (at = r2i_span_first(s, word)) != NULL;) {
        found = at;
        s.n -= (size_t)(at + 1 - s.text);
        s.text = at + 1;
    }
    return found;
}

static r2i_span behind(r2i_span s, const char *at) {
    return (r2i_span){ at, s.n - (size_t)(at - s.text) };
}

static r2i_span up_to(r2i_span s, const char *end) {
    return (r2i_span){ s.text, end != NULL ? (size_t)(end - s.text) : s.n };
}

static r2i_span find_visible(r2i_span all, bool *is_finished) {
    static const char begin[] = "<think>", end[] = "</think>";
    const char *last_end = r2i_span_last(all, end), *last_begin = r2i_span_last(all, begin);
    *is_finished = last_begin == NULL || (last_end != NULL && last_end > last_begin);
    if (!*is_finished) return (r2i_span){ all.text + all.n, 0 };
    return last_end != NULL ? behind(all, last_end + sizeof end - 1) : all;
}

/* The inside of \boxed{...}, braces within it counted. */
static bool find_boxed(r2i_span visible, r2i_span *out) {
    static const char mark[] = "\\boxed{";
    const char *at = r2i_span_last(visible, mark);
    if (at == NULL) return false;
    r2i_span inside = behind(visible, at + sizeof mark - 1);
    int depth = 1;
    for (size_t i = 0; i < inside.n; i++) {
        depth += (inside.text[i] == '{') - (inside.text[i] == '}');
        if (depth > 0) continue;
        *out = (r2i_span){ inside.text, i };
        return true;
    }
    return false;
}

static bool find_tagged(r2i_span visible, r2i_span *out) {
    static const char begin[] = "<answer>";
    const char *at = r2i_span_last(visible, begin);
    if (at == NULL) return false;
    const r2i_span inside = behind(visible, at + sizeof begin - 1);
    const char *end = r2i_span_first(inside, "</answer>");
    *out = up_to(inside, end);
    return end != NULL;
}

/* #### 42, as GSM8K writes it: to the end of the line. */
static bool find_marked(r2i_span visible, r2i_span *out) {
    static const char mark[] = "####";
    const char *at = r2i_span_last(visible, mark);
    if (at == NULL) return false;
    const r2i_span inside = behind(visible, at + sizeof mark - 1);
    *out = up_to(inside, r2i_span_first(inside, "\n"));
    return true;
}

static const char fence[] = "```";

/* Nothing else on the line of a fence. */
static bool is_word(r2i_span line) {
    line = r2i_span_trim(up_to(line, r2i_span_first(line, "\n")));
    bool is_one = line.n > 0;
    for (size_t i = 0; i < line.n; i++)
        is_one = is_one && !isspace((unsigned char)line.text[i]) && line.text[i] != '`';
    return is_one;
}

bool r2i_next_block(r2i_span *rest, r2i_code_block *out) {
    const char *at = r2i_span_first(*rest, fence);
    const char *end_of_line = at != NULL ? r2i_span_first(behind(*rest, at), "\n") : NULL;
    if (end_of_line == NULL) return false;
    const r2i_span body = behind(*rest, end_of_line + 1);
    const char *end = r2i_span_first(body, fence);
    *out = (r2i_code_block){ .code = up_to(body, end),
                             .is_named = is_word(behind(*rest, at + sizeof fence - 1)),
                             .is_closed = end != NULL };
    *rest = behind(body, end != NULL ? end : body.text + body.n);
    if (end == NULL) return true;
    const r2i_span after = behind(*rest, end + sizeof fence - 1);
    if (!is_word(after)) *rest = after;
    return true;
}

static int rank_of(const r2i_code_block *block) {
    return 2 * block->is_closed + block->is_named;
}

static bool find_code(r2i_span in, r2i_span *out) {
    int best = -1;
    for (r2i_code_block block; r2i_next_block(&in, &block);) {
        if (r2i_span_trim(block.code).n == 0 || rank_of(&block) < best) continue;
        *out = block.code;
        best = rank_of(&block);
    }
    return best >= 0;
}

void r2i_answer_find(r2i_answer_text *out, const char *text, size_t n) {
    *out = (r2i_answer_text){ 0 };
    out->visible = find_visible((r2i_span){ text, n }, &out->is_finished);
    out->answer = out->visible;
    out->has_form = find_tagged(out->visible, &out->answer) ||
                    find_boxed(out->visible, &out->answer) ||
                    find_marked(out->visible, &out->answer);
    if (!out->has_form) out->answer = out->visible;
    out->answer = r2i_span_trim(out->answer);
    out->code = out->answer;
    out->has_code = find_code(out->answer, &out->code) || find_code(out->visible, &out->code);
    if (!out->has_code) out->code = out->answer;
}

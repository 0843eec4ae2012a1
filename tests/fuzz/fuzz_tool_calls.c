/* Hostile answers in the syntax of every family, with marks as tokens and as text: the same calls and content
 * come out however the answer is cut. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "text/tool_parser.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes);

typedef struct {
    r2i_heap heap;
    r2i_buffer found; /* content and calls apart, with a mark before each call */
    r2i_buffer content;
} outcome;

static void look(outcome *o, const r2i_tool_parser *p) {
    size_t n;
    const r2i_call_piece *pieces = r2i_tool_parser_pieces(p, &n);
    for (size_t i = 0; i < n; i++) {
        const bool is_content = pieces[i].kind == R2I_PIECE_CONTENT;
        if (pieces[i].n_bytes == 0 || pieces[i].begin + pieces[i].n_bytes > p->text.n_bytes)
            abort();
        if (is_content != (pieces[i].call < 0) || pieces[i].call >= p->n_calls) abort();
        if (pieces[i].kind == R2I_PIECE_ARGUMENTS && pieces[i].call != p->n_calls - 1 && i + 1 == n)
            abort();
        r2i_buffer *to = is_content ? &o->content : &o->found;
        if (pieces[i].kind == R2I_PIECE_CALL && r2i_buffer_append(to, "\1", 1, NULL) != R2_OK)
            abort();
        if (r2i_buffer_append(to, p->text.bytes + pieces[i].begin, pieces[i].n_bytes, NULL) !=
            R2_OK)
            abort();
        if (pieces[i].kind == R2I_PIECE_CALL && r2i_buffer_append(to, "\2", 1, NULL) != R2_OK)
            abort();
    }
    if (r2i_tool_parser_n_complete(p) > p->n_calls) abort();
}

/* Bytes 0x80 to 0x84 are the marks. */
static void run(outcome *o, const uint8_t *bytes, size_t n, r2i_call_family family, bool has_tokens,
                size_t step, const json_t *tools) {
    r2i_tool_parser p;
    r2i_tool_syntax syntax = { .family = family };
    r2i_heap_init(&o->heap);
    r2i_buffer_init(&o->found, &o->heap, SIZE_MAX / 2);
    r2i_buffer_init(&o->content, &o->heap, SIZE_MAX / 2);
    for (int m = 0; m < R2I_N_MARKS; m++)
        syntax.ids[m] = has_tokens ? 1000 + m : -1;
    r2i_tool_parser_init(&p, &syntax, tools, NULL, &o->heap);
    for (size_t i = 0; i < n;) {
        size_t end = i;
        const char *mark = bytes[i] >= 0x80 && bytes[i] < 0x80 + R2I_N_MARKS
                               ? r2i_call_mark_text(family, (r2i_call_mark)(bytes[i] - 0x80))
                               : NULL;
        while (mark == NULL && end < n && end - i < step && (end == i || bytes[end] < 0x80))
            end++;
        r2_status status;
        if (mark != NULL && has_tokens)
            status = r2i_tool_parser_feed_mark(&p, (r2i_call_mark)(bytes[i] - 0x80), NULL);
        else if (mark != NULL)
            status = r2i_tool_parser_feed_text(&p, mark, strlen(mark), NULL);
        else
            status = r2i_tool_parser_feed_text(&p, (const char *)bytes + i, end - i, NULL);
        if (status != R2_OK) abort();
        look(o, &p);
        i = mark != NULL ? i + 1 : end;
    }
    if (r2i_tool_parser_finish(&p, NULL) != R2_OK) abort();
    look(o, &p);
    r2i_tool_parser_destroy(&p);
}

static bool is_same(const r2i_buffer *a, const r2i_buffer *b) {
    return a->n_bytes == b->n_bytes &&
           (a->n_bytes == 0 || memcmp(a->bytes, b->bytes, a->n_bytes) == 0);
}

static void finish(outcome *o) {
    r2i_buffer_destroy(&o->found);
    r2i_buffer_destroy(&o->content);
    if (o->heap.used_bytes != 0) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes) {
    outcome whole, cut;
    if (n_bytes < 1) return 0;
    const r2i_call_family family = (r2i_call_family)(bytes[0] % R2I_N_CALL_FAMILIES);
    const bool has_tokens = (bytes[0] & 0x80) != 0;
    json_t *tools = json_pack("[{s:{s:s}}]", "function", "name", "f");
    run(&whole, bytes + 1, n_bytes - 1, family, has_tokens, SIZE_MAX, tools);
    run(&cut, bytes + 1, n_bytes - 1, family, has_tokens, 1, tools);
    if (!is_same(&whole.found, &cut.found) || !is_same(&whole.content, &cut.content)) abort();
    finish(&whole);
    finish(&cut);
    json_decref(tools);
    return 0;
}

/* Answers as real models write them, cut at every place, with marks as tokens and as text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "text/tool_parser.h"

#define CALLS_BEGIN                 \
    "<\xef\xbd\x9ctool\xe2\x96\x81" \
    "calls\xe2\x96\x81"             \
    "begin\xef\xbd\x9c>"
#define CALL_BEGIN                  \
    "<\xef\xbd\x9ctool\xe2\x96\x81" \
    "call\xe2\x96\x81"              \
    "begin\xef\xbd\x9c>"
#define SEP                         \
    "<\xef\xbd\x9ctool\xe2\x96\x81" \
    "sep\xef\xbd\x9c>"
#define CALL_END                    \
    "<\xef\xbd\x9ctool\xe2\x96\x81" \
    "call\xe2\x96\x81"              \
    "end\xef\xbd\x9c>"
#define CALLS_END                   \
    "<\xef\xbd\x9ctool\xe2\x96\x81" \
    "calls\xe2\x96\x81"             \
    "end\xef\xbd\x9c>"

enum { HERMES = R2I_CALLS_HERMES, LLAMA = R2I_CALLS_LLAMA, DEEPSEEK = R2I_CALLS_DEEPSEEK };

typedef struct {
    int family;
    const char *answer;
    const char *found; /* content, then per call "|name(arguments)" */
} example;

static const example examples[] = {
    /* qwen 2.5, qwen 3 */
    { HERMES,
      "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": "
      "\"Paris\"}}\n</tool_call>",
      "|get_weather({\"city\": \"Paris\"})" },
    { HERMES,
      "I'll look.\n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": [1, {\"b\": "
      "\"}\"}]}}\n</tool_call>\n"
      "<tool_call>\n{\"name\": \"g\", \"arguments\": {}}\n</tool_call>",
      "I'll look.|f({\"a\": [1, {\"b\": \"}\"}]})|g({})" },
    { HERMES, "  \n<tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call>\n\n", "|f({})" },
    { HERMES, "Two.\n\n<tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call>", "Two.\n|f({})" },
    { HERMES, "<tool_call>\n{\"arguments\": {\"x\": 1}, \"name\": \"late\"}\n</tool_call> done",
      " done|late({\"x\": 1})" },
    { HERMES,
      "<tool_call>{\"id\": 7, \"type\": \"function\", \"name\": \"f\", \"extra\": "
      "[\"}\"]}</tool_call>",
      "|f({})" },
    { HERMES,
      "<tool_call>{\"name\": \"f\", \"arguments\": \"{\\\"a\\\": \\\"\\u00e9\\\"}\"}</tool_call>",
      "|f({\"a\": \"\xc3\xa9\"})" },
    { HERMES, "<tool_call>{\"name\": \"f\", \"arguments\": null}</tool_call>", "|f({})" },
    { HERMES, "<tool_call>{\"name\": \"f\", \"arguments\": }</tool_call>", "|f({})" },
    { HERMES,
      "<tool_call>{\"name\": \"f\", \"arguments\": {}, \"arguments\": {\"b\":1}}</tool_call>",
      "|f({})" },
    { HERMES, "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1}}}\n</tool_call>",
      "|f({\"a\": 1})" },
    { HERMES, "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1}}", "|f({\"a\": 1})" },
    { HERMES, "<tool_call>{\"name\": \"f\\u0020g\", \"arguments\": {}}</tool_call>", "|f g({})" },
    /* without the mark, as small models of qwen write: a known name alone makes it a call */
    { HERMES, "{\"name\": \"f\", \"arguments\": {\"a\": 1}}", "|f({\"a\": 1})" },
    { HERMES, "\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>", "|f({})" },
    { HERMES, "{\"name\": \"unknown\", \"arguments\": {}}",
      "{\"name\": \"unknown\", \"arguments\": {}}" },
    { HERMES, "{\"a\": {\"name\": \"f\"}}", "{\"a\": {\"name\": \"f\"}}" },
    { HERMES, "It is {\"name\": \"f\", \"arguments\": {}}",
      "It is {\"name\": \"f\", \"arguments\": {}}" },
    /* smollm writes lists */
    { HERMES,
      "<tool_call>[{\"name\": \"f\", \"arguments\": {\"a\": 1}}, {\"name\": \"g\", \"arguments\": "
      "{}}]</tool_call>",
      "|f({\"a\": 1})|g({})" },
    { HERMES, "<tool_call>[]</tool_call>", "" },
    /* a mark within a text is part of it */
    { HERMES,
      "<tool_call>{\"name\": \"w\", \"arguments\": {\"s\": \"a </tool_call><tool_call> \\\" "
      "b\"}}</tool_call>",
      "|w({\"s\": \"a </tool_call><tool_call> \\\" b\"})" },
    /* what is no call is content */
    { HERMES, "<tool_call>get_weather(Paris)</tool_call>",
      "<tool_call>get_weather(Paris)</tool_call>" },
    { HERMES, "<tool_call>\n{\"arguments\": {}}\n</tool_call>",
      "<tool_call>\n{\"arguments\": {}}\n</tool_call>" },
    { HERMES, "<tool_call>{\"name\": 3}</tool_call>", "<tool_call>{\"name\": 3}</tool_call>" },
    { HERMES, "<tool_call>{\"name\": \"\"}", "<tool_call>{\"name\": \"\"}" },
    { HERMES, "<tool_call>{'name': 'f'}</tool_call>x", "<tool_call>{'name': 'f'}</tool_call>x" },
    { HERMES, "<tool_call>{\"na", "<tool_call>{\"na" },
    { HERMES, "a < b <tool <tool_cal", "a < b <tool <tool_cal" },
    { HERMES, "<tool_response>\n{\"t\": 20}\n</tool_response>",
      "<tool_response>\n{\"t\": 20}\n</tool_response>" },
    { HERMES, "</tool_call>{\"name\": \"f\"}", "</tool_call>{\"name\": \"f\"}" },
    { HERMES, "plain \xf0\x9f\x99\x82 text \n", "plain \xf0\x9f\x99\x82 text \n" },
    /* cut by the limit of tokens */
    { HERMES, "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": \"xy", "|f({\"a\": \"xy)" },
    { HERMES, "<tool_call>{\"name\": \"f\"", "|f()" },
    { HERMES, "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1</tool_call>ok",
      "ok|f({\"a\": 1)" },
    { HERMES, "<tool_call>{\"name\": \"f\", oops</tool_call>", "oops</tool_call>|f({})" },
    /* llama 3 */
    { LLAMA, "{\"name\": \"f\", \"parameters\": {\"a\": \"b\"}}", "|f({\"a\": \"b\"})" },
    { LLAMA, "\n {\"type\": \"function\", \"function\": \"f\", \"parameters\": {}}", "|f({})" },
    { LLAMA, "<|python_tag|>{\"name\": \"unknown\", \"parameters\": {\"a\": 1}}",
      "|unknown({\"a\": 1})" },
    { LLAMA, "{\"name\": \"f\", \"parameters\": {}}; {\"name\": \"g\", \"parameters\": {\"b\": 2}}",
      "|f({})|g({\"b\": 2})" },
    { LLAMA, "{\"name\": \"unknown\", \"parameters\": {}}",
      "{\"name\": \"unknown\", \"parameters\": {}}" },
    { LLAMA, "{\"answer\": [1, 2]} is it", "{\"answer\": [1, 2]} is it" },
    { LLAMA, "It is {\"name\": \"f\", \"parameters\": {}}",
      "It is {\"name\": \"f\", \"parameters\": {}}" },
    { LLAMA, "<|python_tag|>print(1)", "print(1)" },
    { LLAMA, "{", "{" },
    /* deepseek: v3.1, then v3 and r1 */
    { DEEPSEEK,
      "Let me see. " CALLS_BEGIN CALL_BEGIN "f" SEP "{\"a\": 1}" CALL_END CALL_BEGIN "g" SEP
      "{}" CALL_END CALLS_END,
      "Let me see. |f({\"a\": 1})|g({})" },
    { DEEPSEEK,
      CALLS_BEGIN CALL_BEGIN "function" SEP "f\n```json\n{\"a\": \"```\"}\n```" CALL_END
                             "\n" CALL_BEGIN "function" SEP
                             "g\n```json\n{\"b\": {}}\n```" CALL_END CALLS_END,
      "|f({\"a\": \"```\"})|g({\"b\": {}})" },
    { DEEPSEEK, CALLS_BEGIN CALL_BEGIN "f" SEP CALL_END CALLS_END, "|f({})" },
    { DEEPSEEK, CALLS_BEGIN CALL_BEGIN "f" SEP "{\"a\": 1", "|f({\"a\": 1)" },
    { DEEPSEEK, CALLS_BEGIN CALL_BEGIN "f" SEP "{\"a\": " CALL_END CALLS_END "after",
      "after|f({\"a\": )" },
    { DEEPSEEK, CALLS_BEGIN CALL_BEGIN "what" CALL_END, CALL_BEGIN "what" CALL_END },
    { DEEPSEEK, "x" SEP "y" CALLS_END, "x" SEP "y" CALLS_END },
    { DEEPSEEK, CALLS_BEGIN "no call" CALLS_END, "no call" CALLS_END },
};
enum { N_EXAMPLES = sizeof examples / sizeof *examples, CAP = 4096 };

typedef struct {
    char content[CAP], calls[CAP];
    bool is_open;
} seen_answer;

static void look(seen_answer *seen, const r2i_tool_parser *p) {
    size_t n;
    const r2i_call_piece *pieces = r2i_tool_parser_pieces(p, &n);
    for (size_t i = 0; i < n; i++) {
        char *to = pieces[i].kind == R2I_PIECE_CONTENT ? seen->content : seen->calls;
        if (pieces[i].kind == R2I_PIECE_CALL) strcat(to, seen->is_open ? ")|" : "|");
        strncat(to, p->text.bytes + pieces[i].begin, pieces[i].n_bytes);
        if (pieces[i].kind == R2I_PIECE_CALL) strcat(to, "(");
        if (pieces[i].kind == R2I_PIECE_CALL) seen->is_open = true;
        assert_int_equal(pieces[i].call < 0, pieces[i].kind == R2I_PIECE_CONTENT);
        assert_true(pieces[i].n_bytes > 0 && pieces[i].call < p->n_calls);
    }
}

static void check(const example *e, const seen_answer *seen, const char *how, size_t at) {
    char all[2 * CAP + 8];
    (void)snprintf(all, sizeof all, "%s%s%s", seen->content, seen->calls, seen->is_open ? ")" : "");
    if (strcmp(all, e->found) != 0)
        fail_msg("%s, %s %zu:\nexpected %s\nfound    %s", e->answer, how, at, e->found, all);
}

/* Text from begin to end; marks as tokens when has_tokens. */
static void feed(r2i_tool_parser *p, const char *begin, const char *end, bool has_tokens,
                 seen_answer *seen) {
    while (begin < end) {
        const char *next = end;
        int mark = -1;
        for (int m = 0; has_tokens && m < R2I_N_MARKS; m++) {
            const char *text = r2i_call_mark_text(p->syntax.family, (r2i_call_mark)m);
            const char *at = text != NULL ? strstr(begin, text) : NULL;
            if (at == NULL || at >= next || at + strlen(text) > end) continue;
            next = at;
            mark = m;
        }
        if (next > begin)
            assert_int_equal(r2i_tool_parser_feed_text(p, begin, (size_t)(next - begin), NULL), 0);
        if (next > begin) look(seen, p);
        begin = next;
        if (mark < 0) continue;
        assert_int_equal(r2i_tool_parser_feed_mark(p, (r2i_call_mark)mark, NULL), 0);
        look(seen, p);
        begin += strlen(r2i_call_mark_text(p->syntax.family, (r2i_call_mark)mark));
    }
}

static json_t *two_tools(void) {
    return json_pack("[{s:s,s:{s:s}},{s:s,s:{s:s}}]", "type", "function", "function", "name", "f",
                     "type", "function", "function", "name", "g");
}

static bool is_inside_mark(const example *e, const char *at) {
    for (int m = 0; m < R2I_N_MARKS; m++) {
        const char *text = r2i_call_mark_text((r2i_call_family)e->family, (r2i_call_mark)m);
        const size_t n = text != NULL ? strlen(text) : 0;
        for (size_t i = 1; i < n; i++) {
            if (at >= e->answer + i && strncmp(at - i, text, n) == 0) return true;
        }
    }
    return false;
}

static void run(const example *e, bool has_tokens, size_t cut, size_t step) {
    r2i_heap heap;
    r2i_tool_parser p;
    r2i_tool_syntax syntax = { .family = (r2i_call_family)e->family };
    seen_answer seen = { .content = "" };
    json_t *tools = two_tools();
    const size_t n = strlen(e->answer);
    r2i_heap_init(&heap);
    for (int m = 0; m < R2I_N_MARKS; m++)
        syntax.ids[m] = has_tokens ? 100 + m : -1;
    r2i_tool_parser_init(&p, &syntax, tools, NULL, &heap);
    if (step > 0) {
        for (size_t i = 0; i < n; i += step)
            feed(&p, e->answer + i, e->answer + (i + step < n ? i + step : n), has_tokens, &seen);
    } else {
        feed(&p, e->answer, e->answer + cut, has_tokens, &seen);
        feed(&p, e->answer + cut, e->answer + n, has_tokens, &seen);
    }
    assert_int_equal(r2i_tool_parser_finish(&p, NULL), R2_OK);
    look(&seen, &p);
    check(e, &seen, has_tokens ? "marks as tokens, cut at" : "marks as text, cut at", cut);
    r2i_tool_parser_destroy(&p);
    json_decref(tools);
    assert_int_equal(heap.used_bytes, 0);
}

static void finds_calls_at_every_cut(void **state) {
    (void)state;
    for (size_t i = 0; i < N_EXAMPLES; i++) {
        for (size_t cut = 0; cut <= strlen(examples[i].answer); cut++) {
            run(&examples[i], false, cut, 0);
            if (!is_inside_mark(&examples[i], examples[i].answer + cut))
                run(&examples[i], true, cut, 0);
        }
        run(&examples[i], false, 0, 1);
        run(&examples[i], false, 0, 3);
    }
}

/* Where the vocabulary has the mark, a text that looks like it is a text. */
static void looks_at_tokens_only(void **state) {
    (void)state;
    static const char answer[] = "<tool_call>{\"name\": \"f\", \"arguments\": {}}</tool_call>";
    r2i_heap heap;
    r2i_tool_parser p;
    seen_answer seen = { .content = "" };
    const r2i_tool_syntax syntax = { .family = R2I_CALLS_HERMES, .ids = { -1, 7, -1, 8, -1 } };
    r2i_heap_init(&heap);
    r2i_tool_parser_init(&p, &syntax, NULL, NULL, &heap);
    assert_int_equal(r2i_tool_parser_feed_text(&p, answer, strlen(answer), NULL), R2_OK);
    look(&seen, &p);
    assert_string_equal(seen.content, answer);
    assert_int_equal(p.n_calls, 0);
    r2i_tool_parser_destroy(&p);
}

/* Arguments come as they are written, long before the call is complete. */
static void streams_arguments(void **state) {
    (void)state;
    r2i_heap heap;
    r2i_tool_parser p;
    const r2i_tool_syntax syntax = { .family = R2I_CALLS_HERMES, .ids = { -1, -1, -1, -1, -1 } };
    const char *parts[] = { "<tool_call>\n{\"name\": \"f\", \"arg", "uments\": {\"text\": \"",
                            "word " };
    r2i_heap_init(&heap);
    r2i_tool_parser_init(&p, &syntax, NULL, NULL, &heap);
    for (int i = 0; i < 3; i++)
        assert_int_equal(r2i_tool_parser_feed_text(&p, parts[i], strlen(parts[i]), NULL), R2_OK);
    for (int i = 0; i < 100; i++) {
        size_t n;
        assert_int_equal(r2i_tool_parser_feed_text(&p, "word ", 5, NULL), R2_OK);
        const r2i_call_piece *pieces = r2i_tool_parser_pieces(&p, &n);
        assert_true(n == 1 && pieces[0].kind == R2I_PIECE_ARGUMENTS && pieces[0].n_bytes == 5);
        assert_true(p.held.n_bytes == 0 && r2i_tool_parser_n_complete(&p) == 0);
    }
    assert_int_equal(r2i_tool_parser_feed_text(&p, "\"}}", 3, NULL), R2_OK);
    assert_int_equal(r2i_tool_parser_n_complete(&p), 1);
    r2i_tool_parser_destroy(&p);
}

/* What never becomes a call is held up to a limit only. */
static void holds_no_more_than_a_limit(void **state) {
    (void)state;
    r2i_heap heap;
    r2i_tool_parser p;
    size_t n_content = 0, n;
    const r2i_tool_syntax syntax = { .family = R2I_CALLS_HERMES, .ids = { -1, -1, -1, -1, -1 } };
    r2i_heap_init(&heap);
    r2i_tool_parser_init(&p, &syntax, NULL, NULL, &heap);
    assert_int_equal(r2i_tool_parser_feed_text(&p, "<tool_call>{\"arguments\": \"", 26, NULL), 0);
    for (int i = 0; i < R2I_CALL_HELD_BYTES / 8; i++) {
        assert_int_equal(r2i_tool_parser_feed_text(&p, "aaaaaaaa", 8, NULL), R2_OK);
        const r2i_call_piece *pieces = r2i_tool_parser_pieces(&p, &n);
        for (size_t k = 0; k < n; k++)
            n_content += pieces[k].n_bytes;
    }
    assert_int_equal(n_content, 26 + R2I_CALL_HELD_BYTES);
    r2i_tool_parser_destroy(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_calls_at_every_cut),
        cmocka_unit_test(looks_at_tokens_only),
        cmocka_unit_test(streams_arguments),
        cmocka_unit_test(holds_no_more_than_a_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

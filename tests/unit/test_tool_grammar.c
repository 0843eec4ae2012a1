/* Enforced tool calls: whatever a mask lets through is read back by the parser as calls of the tools. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/random.h"
#include "text/byte_letters.h"
#include "text/grammar_matcher.h"
#include "text/grammar_tools.h"
#include "text/tool_parser.h"

enum { N_TOKENS = 256 + 1 + R2I_N_MARKS, END = 256, N_WORDS = N_TOKENS / 32 + 1 };

static const char tools_text[] =
    "[{\"type\":\"function\",\"function\":{\"name\":\"turn\",\"strict\":true,\"parameters\":{"
    "\"type\":"
    "\"object\",\"properties\":{\"on\":{\"type\":\"boolean\"},\"to\":{\"$ref\":\"#/$defs/side\"}},"
    "\"required\":[\"on\",\"to\"],\"$defs\":{\"side\":{\"enum\":[\"left\",\"right\"]}}}}},"
    "{\"type\":\"function\",\"function\":{\"name\":\"go\",\"parameters\":{\"type\":\"object\","
    "\"properties\":{"
    "\"n\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":99},\"to\":{\"$ref\":\"#/$defs/"
    "side\"}},\"required\":"
    "[\"n\"],\"$defs\":{\"side\":{\"enum\":[\"up\",\"down\"]}}}}}]";

typedef struct {
    r2i_heap heap;
    r2i_tokenizer *tokenizer;
    r2i_token_forest *forest;
    r2i_grammar *grammar;
    r2i_tool_syntax syntax;
    json_t *tools;
} setup;

/* Ids 0..255: bytes; then the end and the marks of the family. */
static void make_tokenizer(setup *s) {
    static r2i_byte_letters letters;
    static const char *const unused[] = { "<0>", "<1>", "<2>", "<3>", "<4>" };
    r2i_text_view tokens[N_TOKENS];
    int32_t types[N_TOKENS];
    r2i_vocabulary v;
    r2i_byte_letters_init(&letters);
    r2i_vocabulary_init(&v);
    for (int i = 0; i < 256; i++) {
        tokens[i] = (r2i_text_view){ letters.letter[i], letters.n_bytes[i] };
        types[i] = R2I_TOKEN_NORMAL;
    }
    tokens[END] = (r2i_text_view){ "<|end|>", 7 };
    types[END] = R2I_TOKEN_CONTROL;
    for (int m = 0; m < R2I_N_MARKS; m++) {
        const char *text = r2i_call_mark_text(s->syntax.family, (r2i_call_mark)m);
        if (text == NULL) text = unused[m];
        tokens[END + 1 + m] = (r2i_text_view){ text, strlen(text) };
        types[END + 1 + m] = m % 2 == 0 ? R2I_TOKEN_CONTROL : R2I_TOKEN_USER;
    }
    v.model = (r2i_text_view){ "gpt2", 4 };
    v.tokens = (r2i_text_list){ .n = N_TOKENS, .views = tokens };
    v.types = types;
    v.eos_id = END;
    assert_int_equal(r2i_tokenizer_create(&s->tokenizer, &v, &s->heap, NULL), R2_OK);
}

static r2_status make_grammar(setup *s, const r2i_tools_wanted *wanted, r2_error *err) {
    r2i_arena arena;
    r2i_grammar_draft draft;
    r2i_arena_init(&arena, &s->heap, 1 << 16, R2I_GRAMMAR_MAX_DRAFT_BYTES);
    r2_status status = r2i_draft_init(&draft, &arena, err);
    if (status == R2_OK) status = r2i_tools_read(&draft, wanted, err);
    if (status == R2_OK) status = r2i_grammar_create(&s->grammar, &draft, s->forest, &s->heap, err);
    r2i_arena_destroy(&arena);
    return status;
}

static void begin(setup *s, r2i_call_family family, bool has_tokens) {
    *s = (setup){ .tools = json_loads(tools_text, 0, NULL) };
    assert_non_null(s->tools);
    r2i_heap_init(&s->heap);
    s->syntax.family = family;
    make_tokenizer(s);
    for (int m = 0; m < R2I_N_MARKS; m++)
        s->syntax.ids[m] =
            has_tokens && r2i_call_mark_text(family, (r2i_call_mark)m) != NULL ? END + 1 + m : -1;
    const r2i_token_roles roles = { NULL, 0, s->syntax.ids, R2I_N_MARKS };
    assert_int_equal(r2i_token_forest_create(&s->forest, s->tokenizer, &roles, &s->heap, NULL), 0);
}

static void end(setup *s) {
    r2i_grammar_destroy(s->grammar);
    r2i_token_forest_destroy(s->forest);
    r2i_tokenizer_destroy(s->tokenizer);
    json_decref(s->tools);
    assert_int_equal(s->heap.used_bytes, 0);
}

/* Any of the allowed tokens; blanks are rare, so that texts end. */
static int32_t draw(const uint32_t *allowed, uint64_t seed, uint64_t at) {
    int32_t found[N_TOKENS], n = 0;
    for (int32_t t = 0; t < N_TOKENS; t++) {
        const bool is_blank = t == ' ' || t == '\n' || t == '\t';
        if ((allowed[t / 32] >> t % 32 & 1) == 0) continue;
        if (!is_blank || r2i_random_u64(seed, 1, at) % 3 == 0) found[n++] = t;
    }
    for (int32_t t = 0; t < N_TOKENS && n == 0; t++) {
        if ((allowed[t / 32] >> t % 32 & 1) != 0) found[n++] = t;
    }
    assert_true(n > 0);
    return found[r2i_random_u64(seed, 0, at) % (uint64_t)n];
}

typedef struct {
    char names[8192], arguments[8192], content[8192];
    int n_calls;
} read_back;

static bool is_one_of(const json_t *value, const char *a, const char *b) {
    const char *text = json_string_value(value);
    return text != NULL && (strcmp(text, a) == 0 || strcmp(text, b) == 0);
}

static void check_call(const char *name, const char *arguments) {
    json_t *a = json_loads(arguments, JSON_REJECT_DUPLICATES, NULL);
    assert_true(json_is_object(a));
    const json_t *to = json_object_get(a, "to");
    if (strcmp(name, "turn") == 0) {
        assert_true(json_is_boolean(json_object_get(a, "on")) && json_object_size(a) == 2);
        assert_true(is_one_of(to, "left", "right"));
    } else {
        const json_int_t n = json_integer_value(json_object_get(a, "n"));
        assert_string_equal(name, "go");
        assert_true(n >= 1 && n <= 99 && (to == NULL || is_one_of(to, "up", "down")));
    }
    json_decref(a);
}

static void take_pieces(const r2i_tool_parser *p, read_back *r) {
    size_t n;
    const r2i_call_piece *pieces = r2i_tool_parser_pieces(p, &n);
    for (size_t i = 0; i < n; i++) {
        const char *text = p->text.bytes + pieces[i].begin;
        if (pieces[i].kind == R2I_PIECE_CALL) {
            if (r->n_calls++ > 0) check_call(r->names, r->arguments);
            r->names[0] = r->arguments[0] = '\0';
        }
        strncat(pieces[i].kind == R2I_PIECE_CALL        ? r->names
                : pieces[i].kind == R2I_PIECE_ARGUMENTS ? r->arguments
                                                        : r->content,
                text, pieces[i].n_bytes);
    }
}

/* Draws an answer; returns its calls, all of them checked. */
static int answer(const setup *s, uint64_t seed, bool has_content) {
    r2i_grammar_matcher m;
    r2i_tool_parser p;
    read_back *r = test_calloc(1, sizeof *r);
    int32_t token = -1;
    assert_int_equal(r2i_grammar_matcher_init(&m, s->grammar, NULL), R2_OK);
    r2i_tool_parser_init(&p, &s->syntax, s->tools, s->tokenizer, (r2i_heap *)(uintptr_t)&s->heap);
    for (uint64_t at = 0; token != END && at < 4000; at++) {
        uint32_t allowed[N_WORDS];
        memset(allowed, 0xff, sizeof allowed);
        assert_int_equal(r2i_grammar_matcher_mask(&m, allowed, N_TOKENS, NULL), R2_OK);
        token = draw(allowed, seed, at);
        assert_int_equal(r2i_grammar_matcher_accept_token(&m, token, NULL), R2_OK);
        if (token == END) break;
        assert_int_equal(r2i_tool_parser_feed(&p, token, NULL), R2_OK);
        take_pieces(&p, r);
    }
    assert_int_equal(token, END);
    assert_int_equal(r2i_tool_parser_finish(&p, NULL), R2_OK);
    take_pieces(&p, r);
    if (r->n_calls > 0) check_call(r->names, r->arguments);
    if (!has_content) assert_string_equal(r->content, "");
    const int n_calls = r->n_calls;
    test_free(r);
    r2i_tool_parser_destroy(&p);
    r2i_grammar_matcher_drop(&m);
    return n_calls;
}

static void requires_calls(void **state) {
    (void)state;
    for (int family = 0; family < R2I_N_CALL_FAMILIES; family++) {
        for (int k = 0; k < 4; k++) {
            setup s;
            const bool is_single = k % 2 == 1, has_tokens = k < 2;
            int most = 0;
            begin(&s, (r2i_call_family)family, has_tokens);
            const r2i_tools_wanted wanted = {
                .syntax = &s.syntax, .tools = s.tools, .is_required = true, .is_single = is_single
            };
            assert_true(r2i_tools_need_grammar(&wanted));
            assert_int_equal(make_grammar(&s, &wanted, NULL), R2_OK);
            for (uint64_t seed = 0; seed < 40; seed++) {
                const int n = answer(&s, seed, false);
                assert_true(n >= 1);
                if (n > most) most = n;
            }
            assert_true(is_single || family == R2I_CALLS_LLAMA ? most == 1 : most > 1);
            end(&s);
        }
    }
}

static void names_one(void **state) {
    (void)state;
    setup s;
    r2_error err = { R2_OK, "" };
    begin(&s, R2I_CALLS_HERMES, true);
    r2i_tools_wanted wanted = {
        .syntax = &s.syntax, .tools = s.tools, .name = "walk", .is_required = true
    };
    assert_int_equal(make_grammar(&s, &wanted, &err), R2_E_NOT_FOUND);
    assert_non_null(strstr(err.text, "walk"));
    wanted.name = "go";
    assert_int_equal(make_grammar(&s, &wanted, &err), R2_OK);
    r2i_grammar_matcher m;
    assert_int_equal(r2i_grammar_matcher_init(&m, s.grammar, NULL), R2_OK);
    assert_int_equal(r2i_grammar_matcher_accept(&m, "<", 1, NULL), R2_E_MISMATCH);
    assert_int_equal(r2i_grammar_matcher_accept_token(&m, s.syntax.ids[R2I_MARK_OPEN], NULL), 0);
    assert_int_equal(r2i_grammar_matcher_accept(&m, "\n{\"name\": \"turn", 14, NULL),
                     R2_E_MISMATCH);
    assert_int_equal(
        r2i_grammar_matcher_accept(&m, "\n{\"name\": \"go\", \"arguments\": {\"n\"", 33, NULL), 0);
    r2i_grammar_matcher_drop(&m);
    end(&s);
}

/* Left to the model: any text, but the arguments of strict functions fit once a mark was written. */
static void leaves_the_choice(void **state) {
    (void)state;
    setup s;
    begin(&s, R2I_CALLS_HERMES, true);
    const r2i_tools_wanted wanted = { .syntax = &s.syntax, .tools = s.tools };
    assert_true(r2i_tools_need_grammar(&wanted));
    assert_int_equal(make_grammar(&s, &wanted, NULL), R2_OK);
    r2i_grammar_matcher m;
    assert_int_equal(r2i_grammar_matcher_init(&m, s.grammar, NULL), R2_OK);
    static const char free_text[] = "Sure: {\"name\": <tool_call> \xf0\x9f\x99\x82\n";
    assert_int_equal(r2i_grammar_matcher_accept(&m, free_text, sizeof free_text - 1, NULL), R2_OK);
    assert_true(r2i_grammar_matcher_can_end(&m));
    assert_int_equal(r2i_grammar_matcher_accept_token(&m, s.syntax.ids[R2I_MARK_OPEN], NULL), 0);
    assert_false(r2i_grammar_matcher_can_end(&m));
    static const char call[] = "\n{\"name\": \"turn\", \"arguments\": {\"on\": ";
    assert_int_equal(r2i_grammar_matcher_accept(&m, call, sizeof call - 1, NULL), R2_OK);
    assert_int_equal(r2i_grammar_matcher_accept(&m, "1", 1, NULL), R2_E_MISMATCH);
    r2i_grammar_matcher_drop(&m);
    end(&s);
    begin(&s, R2I_CALLS_HERMES, false); /* no token tells where a call begins */
    const r2i_tools_wanted unmarked = { .syntax = &s.syntax, .tools = s.tools };
    assert_false(r2i_tools_need_grammar(&unmarked));
    end(&s);
}

/* A schema that is not understood: refused by name when strict, else any object. */
static void refuses_what_it_cannot_keep(void **state) {
    (void)state;
    setup s;
    r2_error err = { R2_OK, "" };
    begin(&s, R2I_CALLS_HERMES, true);
    json_t *go = json_object_get(json_array_get(s.tools, 1), "function");
    json_object_set_new(json_object_get(go, "parameters"), "patternProperties", json_object());
    r2i_tools_wanted wanted = { .syntax = &s.syntax, .tools = s.tools, .is_required = true };
    assert_int_equal(make_grammar(&s, &wanted, &err), R2_OK);
    r2i_grammar_destroy(s.grammar);
    s.grammar = NULL;
    json_object_set_new(go, "strict", json_true());
    assert_int_equal(make_grammar(&s, &wanted, &err), R2_E_UNSUPPORTED);
    assert_non_null(strstr(err.text, "patternProperties"));
    assert_non_null(strstr(err.text, "go"));
    json_t *none = json_array();
    wanted.tools = none;
    assert_int_equal(make_grammar(&s, &wanted, &err), R2_E_FORMAT);
    json_decref(none);
    end(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requires_calls),
        cmocka_unit_test(names_one),
        cmocka_unit_test(leaves_the_choice),
        cmocka_unit_test(refuses_what_it_cannot_keep),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

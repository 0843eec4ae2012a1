/* Grammars: what fits and what does not, byte by byte and token by token; limits of hostile ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "text/byte_letters.h"
#include "text/grammar_matcher.h"
#include "text/grammar_regex.h"
#include "text/grammar_schema.h"

enum { N_WORDS = 9, N_TOKENS = 256 + N_WORDS, END = 256, UNUSED = 257 };

static r2i_heap heap;
static r2i_byte_letters letters;
static r2i_text_view tokens[N_TOKENS];
static int32_t types[N_TOKENS];
static r2i_tokenizer *tokenizer;
static r2i_token_forest *forest;

/* Ids 0..255: bytes; then an end, an unused one and some words. */
static int make(void **state) {
    static const char *const WORDS[] = { "<|end|>", "<unused>", "aa",
                                         "ab",      "aaaaaaaa", "true",
                                         "12",      "a\"b",     "abababababababababab" };
    r2i_vocabulary v;
    (void)state;
    r2i_heap_init(&heap);
    r2i_byte_letters_init(&letters);
    r2i_vocabulary_init(&v);
    for (int i = 0; i < 256; i++) {
        tokens[i] = (r2i_text_view){ letters.letter[i], letters.n_bytes[i] };
        types[i] = R2I_TOKEN_NORMAL;
    }
    for (int i = 0; i < N_WORDS; i++) {
        tokens[256 + i] = (r2i_text_view){ WORDS[i], strlen(WORDS[i]) };
        types[256 + i] = R2I_TOKEN_NORMAL;
    }
    types[END] = R2I_TOKEN_CONTROL;
    types[UNUSED] = R2I_TOKEN_UNUSED;
    v.model = (r2i_text_view){ "gpt2", 4 };
    v.tokens = (r2i_text_list){ .n = N_TOKENS, .views = tokens };
    v.types = types;
    v.eos_id = END;
    if (r2i_tokenizer_create(&tokenizer, &v, &heap, NULL) != R2_OK) return -1;
    const r2i_token_roles roles = { 0 };
    return r2i_token_forest_create(&forest, tokenizer, &roles, &heap, NULL);
}

static int unmake(void **state) {
    (void)state;
    r2i_token_forest_destroy(forest);
    r2i_tokenizer_destroy(tokenizer);
    return heap.used_bytes == 0 ? 0 : -1;
}

typedef r2_status (*reader)(r2i_grammar_draft *, const char *, size_t, r2_error *);

static r2_status build(r2i_grammar **out, reader read, const char *text, r2_error *err) {
    r2i_arena arena;
    r2i_grammar_draft draft;
    *out = NULL;
    r2i_arena_init(&arena, &heap, 1 << 16, R2I_GRAMMAR_MAX_DRAFT_BYTES);
    r2_status status = r2i_draft_init(&draft, &arena, err);
    if (status == R2_OK) status = read(&draft, text, strlen(text), err);
    if (status == R2_OK) status = r2i_grammar_create(out, &draft, forest, &heap, err);
    r2i_arena_destroy(&arena);
    return status;
}

static bool fits(r2i_grammar *g, const char *text, size_t n_bytes) {
    r2i_grammar_matcher m;
    assert_int_equal(r2i_grammar_matcher_init(&m, g, NULL), R2_OK);
    const r2_status status = r2i_grammar_matcher_accept(&m, text, n_bytes, NULL);
    const bool can_end = status == R2_OK && r2i_grammar_matcher_can_end(&m);
    r2i_grammar_matcher_drop(&m);
    return can_end;
}

/* Texts that fit, "|" between; then texts that do not. */
static void check(reader read, const char *grammar, const char *good, const char *bad) {
    r2i_grammar *g;
    r2_error err = { 0 };
    if (build(&g, read, grammar, &err) != R2_OK) fail_msg("%s: %s", grammar, err.text);
    for (int is_bad = 0; is_bad < 2; is_bad++) {
        for (const char *text = is_bad ? bad : good; text != NULL;) {
            const size_t n = strcspn(text, "|");
            if (fits(g, text, n) == is_bad)
                fail_msg("%s: '%.*s' %s", grammar, (int)n, text, is_bad ? "fits" : "does not fit");
            text = text[n] == '|' ? text + n + 1 : NULL;
        }
    }
    r2i_grammar_destroy(g);
}

static void gbnf(const char *grammar, const char *good, const char *bad) {
    check(r2i_gbnf_read, grammar, good, bad);
}

static void refuse(reader read, const char *grammar, r2_status expected, const char *text) {
    r2i_grammar *g;
    r2_error err = { 0 };
    const r2_status status = build(&g, read, grammar, &err);
    r2i_grammar_destroy(g);
    if (status != expected || strstr(err.text, text) == NULL)
        fail_msg("%.200s: expected %s '%s', found %s '%s'", grammar, r2_status_name(expected), text,
                 r2_status_name(status), err.text);
}

static void test_gbnf(void **state) {
    (void)state;
    gbnf("root ::= \"yes\" | \"no\"", "yes|no", "|ye|yess|noo|maybe");
    gbnf("root ::= [a-c]+ # letters\n", "a|abc|ccc", "|d|abd");
    gbnf("root ::= [^a-c\\]]", "d|[|\xc3\xa9|\xf0\x9f\x98\x80", "|a|]|dd|\xc3|\xc3\xa9\xa9|\xff");
    gbnf("root ::= \"a\"{2,3} \"b\"{0} \"c\"{,2}", "aa|aaa|aac|aaacc", "a|aaaa|aab|aaccc");
    gbnf("root ::= \"a\"{2,} \"b\"?", "aa|aab|aaaaaaaaab", "a|ab|aabb|b");
    gbnf("root ::= item (\", \" item)*\nitem ::= [0-9]+ |\n  \"x\"", "1|1, x|x, 22, 3",
         "|1,|, 1|1, ");
    gbnf("root ::= (\n \"a\" # one\n | \"b\"\n)* \"\\x21\" \"\\u00e9\\U0001F600\\\"\"",
         "!\xc3\xa9\xf0\x9f\x98\x80\"|ab!\xc3\xa9\xf0\x9f\x98\x80\"", "!|!\xc3\xa9");
    gbnf("root ::= \"(\" root \")\" | \"\"", "|()|((()))", "(|())|)(");
    gbnf("root ::= . . \"\" |", "|ab|\xe4\xbd\xa0\xe5\xa5\xbd", "a|abc|\xe4\xbd\xa0|\xed\xa0\x80z");
    gbnf("root ::= \"x\" root | \"x\"", "x|xxxxxxxxxx", "|xy");
    gbnf("root ::= (\"a\"? \"b\"?)* \"c\"{4,6}", "cccc|abbacccccc|cccccc", "ccc|ccccccc|abc");
    gbnf("root ::= (\"ab\"{5,} | \"ab\"{2})",
         "ababab"
         "abab|abab|abababababab",
         "ab|ababab");
    gbnf("root ::= [\xc3\xa0-\xc3\xbf\xe4\xb8\x80-\xe9\xbf\xbf]+", "\xc3\xa9\xe4\xbd\xa0",
         "a|\xc3\x9f|\xea\x80\x80");
}

static void test_regex(void **state) {
    (void)state;
    static const struct {
        const char *pattern, *good, *bad;
    } CASES[] = {
        { "a+b?", "a|aab|ab", "|b|abb" },
        { "^(foo|ba[rz])$", "foo|bar|baz", "fo|bax|foobar" },
        { "[^a-c]x.", "dxy|\xc3\xa9x\xc3\xa9", "axy|dx|dx\n" },
        { "\\d{3}-\\d{2,}", "123-45|000-12345", "12-45|123-4|a23-45" },
        { "(?:ab){2,3}?c", "ababc|abababc", "abc|ababababc" },
        { "(?P<y>[0-9]{4})", "2024", "24" },
        { "\\w+\\s\\W", "az_9 !|A\t-", "az!|a  b" },
        { "\\x41\\u00e9\\.\\\\\\[", "A\xc3\xa9.\\[", "A\xc3\xa9x\\[" },
        { "[\\]\\-a]+", "]-a|a", "b|" },

        { "", "", "a" },
        { "a{,2}|{x}", "a{,2}", "aa|a" },
        { "[^\\d]", "a|-", "1|\xd9\xa3" },
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        check(r2i_regex_read, CASES[i].pattern, CASES[i].good, CASES[i].bad);
    }
    refuse(r2i_regex_read, "[]a]", R2_E_FORMAT, "holds something");
    refuse(r2i_regex_read, "(a)\\1", R2_E_UNSUPPORTED, "character 5: a back-reference");
    refuse(r2i_regex_read, "a(?=b)", R2_E_UNSUPPORTED, "looking ahead");
    refuse(r2i_regex_read, "\\bword", R2_E_UNSUPPORTED, "word border");
    refuse(r2i_regex_read, "\\p{L}", R2_E_UNSUPPORTED, "escape");
    refuse(r2i_regex_read, "a$b", R2_E_UNSUPPORTED, "inside");
    refuse(r2i_regex_read, "(?i)a", R2_E_UNSUPPORTED, "group");
    refuse(r2i_regex_read, "(a", R2_E_FORMAT, "expected )");
    refuse(r2i_regex_read, "a)", R2_E_FORMAT, "open parenthesis");
    refuse(r2i_regex_read, "*a", R2_E_FORMAT, "something to repeat");
    refuse(r2i_regex_read, "a**", R2_E_FORMAT, "one repetition");
    refuse(r2i_regex_read, "[b-a]", R2_E_FORMAT, "ascending");
    refuse(r2i_regex_read, "a{3,2}", R2_E_FORMAT, "m <= n");
    refuse(r2i_regex_read, "a{900000}", R2_E_LIMIT, "100000");
}

static void schema(const char *text, const char *good, const char *bad) {
    check(r2i_schema_read, text, good, bad);
}

static void test_schema_values(void **state) {
    (void)state;
    schema("{\"type\":\"boolean\"}", "true|false", "|null|True");
    schema("{\"enum\":[1,\"a\\\"b\",null,{\"k\":[1,2]}]}", "1|\"a\\\"b\"|null|{\"k\":[1,2]}",
           "2|\"a\"");
    schema("{\"const\":\"x\",\"type\":\"string\"}", "\"x\"", "x|\"y\"");
    schema("{\"type\":[\"integer\",\"null\"]}", "0|-1|12|null", "01|1.5|-|true");
    schema("{\"type\":\"number\"}", "0|-1.5|1e5|2E-10|0.001", "01|.5|1.|1e|--1");
    schema("{\"type\":\"integer\",\"minimum\":-12,\"maximum\":305}", "-12|-9|-1|0|7|99|100|299|305",
           "-13|306|-0|1000|00|05");
    schema("{\"type\":\"integer\",\"exclusiveMinimum\":8,\"maximum\":12.5}", "9|12", "8|13|1");
    schema("{\"type\":\"number\",\"minimum\":2,\"exclusiveMaximum\":10}", "2|2.0|9.999|5.5",
           "1.9|10|10.0|1|11");
    schema("{\"type\":\"number\",\"exclusiveMinimum\":0,\"maximum\":1}", "0.5|1|1.0|0.01",
           "0|0.0|1.01|2|-0.5");
    schema("{\"type\":\"number\",\"minimum\":-3,\"maximum\":-1}", "-1|-3|-3.0|-2.7",
           "-0.5|-3.1|0|1");
    schema("{\"type\":\"string\"}", "\"\"|\"a\\n\\u00e9\\ud83d\\ude00\"|\"\xc3\xa9\"",
           "\"|\"a\nb\"|\"\\ud83d\"|\"\\u0000\"|\"\\x\"");
    schema("{\"type\":\"string\",\"minLength\":2,\"maxLength\":3}",
           "\"ab\"|\"a\\nb\"|\"\xf0\x9f\x98\x80\\ud83d\\ude00\"", "\"a\"|\"abcd\"|\"\"");
    schema("{\"type\":\"string\",\"pattern\":\"^a[\\\"\\\\\\\\]+$\"}", "\"a\\\"\"|\"a\\\\\\\"\"",
           "\"a\"|\"a\"\"|\"ab\"");
    schema("{\"type\":\"string\",\"pattern\":\"b\\\\d\"}", "\"b1\"|\"xxb2\\n\"", "\"b\"|\"\"");
    schema("{\"type\":\"string\",\"format\":\"date\"}", "\"2024-02-28\"|\"1999-12-31\"",
           "\"2024-02-30\"|\"2024-13-01\"|\"0000-01-01\"");
    schema("{\"format\":\"date-time\"}", "\"2024-04-30T23:59:59Z\"|\"2024-04-30T00:00:00.5+02:00\"",
           "\"2024-04-31T00:00:00Z\"|\"2024-04-30T24:00:00Z\"|\"2024-04-30T00:00:00\"");
    schema("{\"format\":\"uuid\"}", "\"01234567-89ab-cdef-0123-456789abcdef\"", "\"01234567\"");
    schema("true", "1|{}|[1, {\"a\": null}]|\"x\"", "|x|{|[1,]");
    schema("{\"anyOf\":[{\"type\":\"null\"},{\"type\":\"integer\",\"minimum\":5}]}", "null|5", "4");
}

/* Lengths beside patterns and formats, multiples, lists without twins. */
static void test_schema_pairs(void **state) {
    (void)state;
    schema("{\"pattern\":\"^[a-z\\\"]+$\",\"minLength\":2,\"maxLength\":4}",
           "\"ab\"|\"abcd\"|\"a\\\"\\\"\"", "\"a\"|\"abcde\"|\"\"");
    schema("{\"pattern\":\"^[A-Z][a-z0-9]*-x$\",\"maxLength\":6}", "\"A-x\"|\"Abcd-x\"",
           "\"Abcde-x\"|\"-x\"");
    schema("{\"pattern\":\"^\\\\d{5}$\",\"minLength\":5,\"maxLength\":5}", "\"12345\"", "\"1234\"");
    schema("{\"pattern\":\"^(ab|\xc3\xa9)$\",\"minLength\":1,\"maxLength\":2}",
           "\"ab\"|\"\xc3\xa9\"", "\"a\"");
    schema("{\"format\":\"uri\",\"minLength\":1,\"maxLength\":2083}",
           "\"https://a-b.example.com:8080/x/y?z=1\"|\"http://x.de/\"",
           "\"\"|\"ftp://x.de\"|\"x\"");
    schema("{\"format\":\"email\"}", "\"a.b+c@d-e.org\"", "\"a@b\"|\".a@b.de\"|\"a..b@c.de\"");
    schema("{\"format\":\"ipv4\"}", "\"0.255.10.199\"", "\"256.1.1.1\"|\"01.1.1.1\"|\"1.1.1\"");
    schema("{\"format\":\"ipv6\"}", "\"1:2:3:4:5:6:7:abcd\"|\"fe80::1\"|\"::1\"",
           "\"1:2\"|\"g::1\"");
    schema("{\"format\":\"hostname\"}", "\"a\"|\"a-b.c.de\"", "\"-a\"|\"a-\"|\"a..b\"");
    schema("{\"format\":\"duration\"}", "\"P3W\"|\"P1Y2M\"|\"PT5M\"|\"P4DT1H30M5S\"",
           "\"P\"|\"PT\"|\"P1W2D\"|\"5S\"");
    schema("{\"format\":\"binary\",\"maxLength\":2}", "\"ab\"|\"\"", "\"abc\"");
    schema("{\"pattern\":\"^(?!^[-+.]*$)[+-]?0*\\\\d*\\\\.?\\\\d*$\"}", "\"-1.50\"|\".5\"|\"7.\"",
           "\"-\"|\".\"|\"\"|\"1.2.3\"");
    schema("{\"type\":\"integer\",\"multipleOf\":7}", "0|7|-14|98|700000007", "1|-0|07|8|-15");
    schema("{\"type\":\"number\",\"multipleOf\":5,\"exclusiveMinimum\":0}", "5|10|1005", "0|-5|3");
    schema("{\"type\":\"integer\",\"multipleOf\":30,\"minimum\":-31,\"maximum\":90}",
           "-30|0|30|60|90", "-60|120|15");
    schema("{\"uniqueItems\":true,\"items\":{\"enum\":[\"a\",\"b\",3]}}",
           "[]|[\"a\"]|[3,\"a\"]|[\"b\", \"a\", 3]", "[3,3]|[\"a\",\"b\",\"a\"]|[4]");
    schema("{\"uniqueItems\":true,\"minItems\":2,\"maxItems\":2,\"items\":{\"$ref\":\"#/$defs/v\"},"
           "\"$defs\":{\"v\":{\"enum\":[1,2,3]}}}",
           "[1,2]|[3,1]", "[1]|[1,1]|[1,2,3]");
    schema("{\"uniqueItems\":true,\"maxItems\":1,\"items\":{\"type\":\"integer\"}}", "[]|[5]",
           "[5,6]");
    schema("{\"oneOf\":[{\"const\":1},{\"const\":2}],\"discriminator\":{\"propertyName\":\"k\"},"
           "\"x-y\":0}",
           "1|2", "3");
}

static void test_schema_objects(void **state) {
    (void)state;
    schema("{\"type\":\"object\"}", "{}|{\"a\": 1}|{\n  \"a\": [1,\n 2]\n}",
           "[]|{a:1}|{\"a\":1,}|{,}");
    schema("{\"properties\":{\"a\":{\"type\":\"integer\"},\"b\":{\"type\":\"null\"},\"c\":{"
           "\"const\":1}},"
           "\"required\":[\"b\"]}",
           "{\"b\":null}|{\"a\": 3, \"b\": null, \"c\": 1}|{\"b\":null,\"c\":1}",
           "{}|{\"a\":1}|{\"b\":null,\"a\":1}|{\"b\":null,\"x\":1}|{,\"b\":null}|{\"b\":null,}");
    schema("{\"properties\":{\"ab\":{\"type\":\"null\"},\"ac\":{\"type\":\"null\"}},"
           "\"additionalProperties\":{\"type\":\"integer\"}}",
           "{}|{\"a\":1}|{\"ab\":null,\"abc\":2}|{\"b\":1,\"c\":2}|{\"\xc3\xa9\":1}",
           "{\"ab\":1}|{\"a\":null}|{\"ac\":5}|{\"a\\u0062\":1}");
    schema(
        "{\"type\":\"object\",\"required\":[\"k\"],\"additionalProperties\":{\"type\":\"null\"}}",
        "{\"k\":null}|{\"k\":null,\"l\":null}", "{}|{\"l\":null}");
    schema("{\"type\":\"array\",\"items\":{\"type\":\"integer\"},\"minItems\":1,\"maxItems\":3}",
           "[1]|[1,2,3]|[ 1, 2 ]", "[]|[1,2,3,4]|[\"a\"]");
    schema("{\"prefixItems\":[{\"type\":\"null\"},{\"type\":\"integer\"}],\"items\":{\"const\":0},"
           "\"minItems\":1}",
           "[null]|[null,4]|[null,4,0,0]", "[]|[4]|[null,null]|[null,4,1]");
    schema("{\"prefixItems\":[{\"type\":\"null\"},{}],\"items\":false}", "[]|[null]|[null,{}]",
           "[null,1,2]");
    schema("{\"type\":\"array\",\"maxItems\":0}", "[]|[ ]", "[1]");
    schema("{\"allOf\":[{\"properties\":{\"a\":{\"type\":\"integer\"}},\"required\":[\"a\"]},"
           "{\"properties\":{\"b\":{\"type\":\"null\"}},\"required\":[\"b\"]}]}",
           "{\"a\":1,\"b\":null}", "{\"a\":1}|{\"b\":null}");
    schema("{\"allOf\":[{\"type\":\"number\",\"minimum\":3},{\"type\":\"integer\",\"maximum\":5}]}",
           "3|5", "2|6|3.5");
    schema(
        "{\"type\":\"object\",\"properties\":{\"t\":{\"type\":\"integer\"}},\"anyOf\":[{"
        "\"required\":["
        "\"t\"]},{\"properties\":{\"u\":{}},\"required\":[\"u\"],\"additionalProperties\":false}]}",
        "{\"t\":1}|{\"u\":[]}", "{}|{\"t\":1,\"u\":1}");
    schema("{\"$ref\":\"#/$defs/"
           "n\",\"$defs\":{\"n\":{\"type\":\"object\",\"properties\":{\"v\":{\"type\":"
           "\"integer\"},\"kids\":{\"type\":\"array\",\"items\":{\"$ref\":\"#/$defs/"
           "n\"}}},\"required\":["
           "\"v\"]}}}",
           "{\"v\":1}|{\"v\":1,\"kids\":[{\"v\":2},{\"v\":3,\"kids\":[]}]}",
           "{}|{\"v\":1,\"kids\":[1]}");
    schema("{\"type\":\"array\",\"items\":{\"$ref\":\"#\"}}", "[]|[[],[[]]]", "[1]|[{}]");
}

static void test_bad_schemas(void **state) {
    static const struct {
        const char *schema, *text;
        r2_status status;
    } CASES[] = {
        { "{\"properties\":{\"a\":{\"not\":{}}}}", "#/properties/a: keyword not",
          R2_E_UNSUPPORTED },
        { "{\"type\":\"object\",\"patternProperties\":{}}", "patternProperties", R2_E_UNSUPPORTED },
        { "{\"items\":{\"uniqueItems\":true}}", "#/items: keyword uniqueItems", R2_E_UNSUPPORTED },
        { "{\"uniqueItems\":true,\"items\":{\"enum\":[1,1.0]}}", "uniqueItems", R2_E_UNSUPPORTED },
        { "{\"uniqueItems\":true,\"items\":{\"enum\":[1,2]},\"minItems\":3}", "minItems",
          R2_E_FORMAT },
        { "{\"type\":\"number\",\"multipleOf\":0.01}", "multipleOf", R2_E_UNSUPPORTED },
        { "{\"type\":\"integer\",\"multipleOf\":1000}", "multipleOf", R2_E_UNSUPPORTED },
        { "{\"type\":\"integer\",\"multipleOf\":3,\"minimum\":7}", "multipleOf", R2_E_UNSUPPORTED },
        { "{\"multipleOf\":0}", "above 0", R2_E_FORMAT },
        { "{\"format\":\"iri\"}", "format iri", R2_E_UNSUPPORTED },
        { "{\"properties\":{\"a/b~c\":{\"not\":{}}}}", "#/properties/a~1b~0c: keyword not",
          R2_E_UNSUPPORTED },
        { "{\"pattern\":\"(?=a)\"}", "looking ahead", R2_E_UNSUPPORTED },
        { "{\"pattern\":\"a\",\"maxLength\":3}", "beside this pattern", R2_E_UNSUPPORTED },
        { "{\"pattern\":\"^a*b*$\",\"maxLength\":3}", "beside this pattern", R2_E_UNSUPPORTED },
        { "{\"pattern\":\"^(ab)*$\",\"maxLength\":3}", "beside this pattern", R2_E_UNSUPPORTED },
        { "{\"pattern\":\"^abc$\",\"maxLength\":2}", "beside this pattern", R2_E_UNSUPPORTED },
        { "{\"pattern\":\"^a{3,9}$\",\"maxLength\":2}", "beside this pattern", R2_E_UNSUPPORTED },
        { "{\"enum\":[1,2],\"minimum\":2}", "minimum beside enum", R2_E_UNSUPPORTED },
        { "{\"type\":\"number\",\"minimum\":0.5}", "whole numbers", R2_E_UNSUPPORTED },
        { "{\"maximum\":1e300}", "10^15", R2_E_UNSUPPORTED },
        { "{\"type\":\"text\"}", "found text", R2_E_FORMAT },
        { "{\"type\":3}", "something else", R2_E_FORMAT },
        { "{\"minLength\":-1}", "at least 0", R2_E_FORMAT },
        { "{\"minItems\":4,\"maxItems\":3}", "minItems of at most 3", R2_E_FORMAT },
        { "{\"anyOf\":[]}", "list of schemas", R2_E_FORMAT },
        { "{\"$ref\":\"#/$defs/x\"}", "nothing at #/$defs/x", R2_E_FORMAT },
        { "{\"$ref\":\"http://a/b\"}", "nothing at http", R2_E_FORMAT },
        { "{\"$ref\":\"#\"}", "left recursion", R2_E_FORMAT },
        { "{\"properties\":{\"a\":{\"$ref\":\"#\"}},\"required\":[\"a\"]}", "no text",
          R2_E_FORMAT },
        { "{\"required\":[\"a\"],\"additionalProperties\":false}", "no text", R2_E_FORMAT },
        { "{\"a\":1,\"a\":2}", "duplicate", R2_E_FORMAT },
        { "{\"items\":5}", "#/items: expected a schema", R2_E_FORMAT },
        { "[", "line 1", R2_E_FORMAT },
        { "", "line 1", R2_E_FORMAT },
        { "false", "no text", R2_E_FORMAT },
        { "{\"allOf\":[{\"$ref\":\"#\"}]}", "", R2_E_LIMIT },
        { "{\"maxLength\":1000000}", "100000", R2_E_LIMIT },
    };
    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++)
        refuse(r2i_schema_read, CASES[i].schema, CASES[i].status, CASES[i].text);
}

static void test_bad_gbnf(void **state) {
    static const struct {
        const char *grammar, *text;
    } CASES[] = {
        { "root ::= \"a", "closing quote" },
        { "root ::= [a", "found the end" },
        { "root ::= (\"a\"", "expected )" },
        { "root := \"a\"", "line 1, column 6: expected ::=" },
        { "root ::= a", "a is not defined" },
        { "a ::= \"x\"", "root is not defined" },
        { "root ::= \"a\"{3,2}", "m <= n" },
        { "root ::= \"a\"{x}", "a number" },
        { "root ::= [b-a]", "ascending" },
        { "root ::= \"\\q\"", "an escape" },
        { "root ::= \"\\xg0\"", "hexadecimal" },
        { "root ::= \"\\ud800\"", "number of a character" },
        { "root ::= \"a\" )", "end of the rule" },
        { "root ::= *", "end of the rule" },
        { "\n\nroot ::= \"\xff\"", "line 3" },
        { "root ::= \"a\"\nroot ::= \"b\"", "twice" },
        { "root ::= root \"a\" | \"b\"", "left recursion" },
        { "root ::= a\na ::= b? \"x\"\nb ::= [0-9]? a", "left recursion" },
        { "root ::= \"a\" root", "no text" },
        { "root ::= []", "no text" },
        { "root ::= \"a\" b\nb ::= \"(\" b \")\"", "no text" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++)
        refuse(r2i_gbnf_read, CASES[i].grammar, R2_E_FORMAT, CASES[i].text);
    refuse(r2i_gbnf_read, "root ::= \"a\"{1000000}", R2_E_LIMIT, "100000");
    refuse(r2i_gbnf_read, "root ::= \"a\"{3}{3}{3}{3}{3}{3}{3}{3}{3}{3}", R2_E_LIMIT, "repetition");
}

/* The same set, asked of each token by itself. */
static void compare_mask(r2i_grammar *g, const r2i_grammar_matcher *m) {
    uint32_t allowed[N_TOKENS / 32 + 1];
    memset(allowed, 0xff, sizeof allowed);
    r2i_grammar_matcher asked;
    r2i_grammar_matcher_copy(&asked, m);
    assert_int_equal(r2i_grammar_matcher_mask(&asked, allowed, N_TOKENS, NULL), R2_OK);
    for (int32_t id = 0; id < N_TOKENS; id++) {
        r2i_grammar_matcher one;
        r2i_grammar_matcher_copy(&one, m);
        const bool expected = r2i_grammar_matcher_accept_token(&one, id, NULL) == R2_OK;
        r2i_grammar_matcher_drop(&one);
        if ((allowed[id / 32] >> id % 32 & 1) != expected)
            fail_msg("token %d: expected %d", (int)id, expected);
    }
    r2i_grammar_matcher_drop(&asked);
    (void)g;
}

/* Walks at random, comparing masks with what single tokens say. */
static void walk(const char *grammar, int n_steps) {
    r2i_grammar *g;
    r2_error err = { 0 };
    r2i_grammar_matcher m;
    if (build(&g, r2i_gbnf_read, grammar, &err) != R2_OK) fail_msg("%s: %s", grammar, err.text);
    assert_int_equal(r2i_grammar_matcher_init(&m, g, NULL), R2_OK);
    uint32_t dice = 12345;
    for (int i = 0; i < n_steps && !m.is_ended; i++) {
        compare_mask(g, &m);
        int32_t id = -1;
        for (int tries = 0; tries < 5000; tries++) {
            dice = dice * 1664525u + 1013904223u;
            id = (int32_t)((dice >> 8) % N_TOKENS);
            if (r2i_grammar_matcher_accept_token(&m, id, NULL) == R2_OK) break;
            id = -1;
        }
        if (id < 0) {
            assert_int_equal(r2i_grammar_matcher_accept_token(&m, END, NULL), R2_OK);
        }
    }
    r2i_grammar_matcher_drop(&m);
    r2i_grammar_destroy(g);
}

static void test_masks_are_exact(void **state) {
    (void)state;
    walk("root ::= \"{\" [a-z\"]* \"}\"", 40);
    walk("root ::= [ab]{0,300}", 200);
    walk("root ::= [ab]{40,} \"!\"", 120);
    walk("root ::= (\"a\" [ab]{3,30} \"b\"){5,60} \"\\n\"", 200);
    walk("root ::= ((\"a\" | \"aa\"){10,50} | \"ab\"{20,21})", 100);
    walk("root ::= \"[\" (root (\",\" root)*)? \"]\" | \"true\" | [0-9]{1,17}", 60);
}

static void test_end_tokens(void **state) {
    r2i_grammar *g;
    r2i_grammar_matcher m, other;
    (void)state;
    assert_int_equal(build(&g, r2i_gbnf_read, "root ::= \"ab\" \"c\"?", NULL), R2_OK);
    assert_int_equal(r2i_grammar_matcher_init(&m, g, NULL), R2_OK);
    assert_int_equal(r2i_grammar_matcher_accept_token(&m, END, NULL), R2_E_MISMATCH);
    assert_int_equal(r2i_grammar_matcher_accept_token(&m, 259, NULL), R2_OK); /* "ab" */
    r2i_grammar_matcher_copy(&other, &m);
    assert_int_equal(r2i_grammar_matcher_accept_token(&m, END, NULL), R2_OK);
    assert_int_equal(r2i_grammar_matcher_accept_token(&m, 'c', NULL), R2_E_MISMATCH);
    assert_int_equal(r2i_grammar_matcher_accept_token(&other, 'c', NULL), R2_OK);
    assert_int_equal(r2i_grammar_matcher_accept_token(&other, UNUSED, NULL), R2_E_MISMATCH);
    compare_mask(g, &m);
    compare_mask(g, &other);
    assert_int_equal(r2i_grammar_matcher_reset(&m, NULL), R2_OK);
    assert_int_equal(r2i_grammar_matcher_accept(&m, "abx", 3, NULL), R2_E_MISMATCH);
    assert_int_equal(r2i_grammar_matcher_accept(&m, "abc", 3, NULL), R2_OK);
    r2i_grammar_matcher_drop(&m);
    r2i_grammar_matcher_drop(&other);
    r2i_grammar_destroy(g);
}

/* Depth is bounded, and what is offered can always be finished. */
static void test_depth(void **state) {
    r2i_grammar *g;
    r2i_grammar_matcher m;
    int n_open = 0;
    (void)state;
    assert_int_equal(
        build(&g, r2i_gbnf_read,
              "root ::= \"(\" a \")\"\na ::= root | b\nb ::= \"[\" c \"]\"\nc ::= \"x\" d\nd "
              "::= e \"y\"\ne ::= \"z\"",
              NULL),
        R2_OK);
    assert_int_equal(r2i_grammar_matcher_init(&m, g, NULL), R2_OK);
    while (r2i_grammar_matcher_accept(&m, "(", 1, NULL) == R2_OK)
        n_open++;
    assert_in_range(n_open, 100, 251);
    assert_int_equal(r2i_grammar_matcher_accept(&m, "[xzy]", 5, NULL), R2_OK);
    for (int i = 0; i < n_open; i++)
        assert_int_equal(r2i_grammar_matcher_accept(&m, ")", 1, NULL), R2_OK);
    assert_true(r2i_grammar_matcher_can_end(&m));
    r2i_grammar_matcher_drop(&m);
    r2i_grammar_destroy(g);
}

/* Each ends in a limit or works, within moments and bounded memory. */
static void test_hostile(void **state) {
    static const char *const GRAMMARS[] = {
        "root ::= (\"a\"? \"a\"?){1000,50000}",
        "root ::= (\"a\" | \"a\" \"a\"){1,50000} \"b\"",
        "root ::= ((\"a\"{0,900} \"a\"?){0,900} \"a\"){0,900}",
        ("root ::= a a a a a a a a\na ::= b b b b b b b b\nb ::= c c c c c c c c\nc ::= (\"a\" | "
         "\"ab\" | \"\")"),
        "root ::= \"a\" root \"a\" | \"a\" root | \"a\"",
        "root ::= \"a\" (root root | root | \"\") \"a\" | \"a\"",
        "root ::= ((((((((((\"a\"*)*)*)*)*)*)*)*)*)*)",
    };
    (void)state;
    for (size_t i = 0; i < sizeof GRAMMARS / sizeof *GRAMMARS; i++) {
        r2i_grammar *g;
        r2i_grammar_matcher m;
        uint32_t allowed[N_TOKENS / 32 + 1];
        if (build(&g, r2i_gbnf_read, GRAMMARS[i], NULL) != R2_OK) continue;
        r2_status status = r2i_grammar_matcher_init(&m, g, NULL);
        const bool has_matcher = status == R2_OK;
        for (int n = 0; n < 300 && status == R2_OK; n++) {
            memset(allowed, 0xff, sizeof allowed);
            status = r2i_grammar_matcher_mask(&m, allowed, N_TOKENS, NULL);
            if (status == R2_OK) status = r2i_grammar_matcher_accept(&m, "a", 1, NULL);
        }
        assert_true(status == R2_OK || status == R2_E_LIMIT || status == R2_E_MISMATCH);
        assert_true(heap.used_bytes < 200u << 20);
        if (has_matcher) r2i_grammar_matcher_drop(&m);
        r2i_grammar_destroy(g);
    }
}

/* More states than are remembered: old ones are forgotten, matchers keep their places. */
static void test_forgetting(void **state) {
    enum { N = 90000 };
    r2i_grammar *g;
    r2i_grammar_matcher m, early;
    char bytes[4] = "ab!";
    (void)state;
    assert_int_equal(build(&g, r2i_gbnf_read, "root ::= [ab]{90000} \"!\"", NULL), R2_OK);
    assert_int_equal(r2i_grammar_matcher_init(&m, g, NULL), R2_OK);
    for (int i = 0; i < N; i++) {
        assert_int_equal(r2i_grammar_matcher_accept(&m, bytes + i % 2, 1, NULL), R2_OK);
        if (i == 9) r2i_grammar_matcher_copy(&early, &m);
    }
    assert_true(g->states.n_states < R2I_STATES_MAX);
    assert_int_equal(r2i_grammar_matcher_accept(&m, "a", 1, NULL), R2_E_MISMATCH);
    assert_int_equal(r2i_grammar_matcher_accept(&m, "!", 1, NULL), R2_OK);
    assert_true(r2i_grammar_matcher_can_end(&m));
    for (int i = 10; i < N; i++)
        assert_int_equal(r2i_grammar_matcher_accept(&early, "b", 1, NULL), R2_OK);
    assert_int_equal(r2i_grammar_matcher_accept(&early, "!", 1, NULL), R2_OK);
    r2i_grammar_matcher_drop(&m);
    r2i_grammar_matcher_drop(&early);
    r2i_grammar_destroy(g);
}

/* Allocation k fails, for every k: an error and no leak. */
static void *refuse_memory(void *user, size_t n_bytes) {
    int *left = user;
    return (*left)-- > 0 ? malloc(n_bytes) : NULL;
}

static void release(void *user, void *memory, size_t n_bytes) {
    (void)user;
    (void)n_bytes;
    free(memory);
}

static void test_no_memory(void **state) {
    const size_t used = heap.used_bytes;
    int left = 0;
    r2_status status = R2_E_NOMEM;
    (void)state;
    for (int k = 0; status != R2_OK; k++) {
        r2i_grammar *g;
        r2i_grammar_matcher m;
        uint32_t allowed[N_TOKENS / 32 + 1];
        left = k;
        heap.allocate = refuse_memory;
        heap.release = release;
        heap.user = &left;
        status = build(&g, r2i_gbnf_read, "root ::= [a-z\\u00e9]{5,9} (\"x\" root)*", NULL);
        if (status == R2_OK) {
            status = r2i_grammar_matcher_init(&m, g, NULL);
            if (status == R2_OK) {
                status = r2i_grammar_matcher_mask(&m, allowed, N_TOKENS, NULL);
                r2i_grammar_matcher_drop(&m);
            }
        }
        r2i_grammar_destroy(g);
        assert_true(status == R2_OK || status == R2_E_NOMEM);
        assert_int_equal(heap.used_bytes, used);
        assert_true(k < 10000);
    }
    heap.allocate = NULL;
    heap.release = NULL;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gbnf),         cmocka_unit_test(test_bad_gbnf),
        cmocka_unit_test(test_regex),        cmocka_unit_test(test_schema_values),
        cmocka_unit_test(test_schema_pairs), cmocka_unit_test(test_schema_objects),
        cmocka_unit_test(test_bad_schemas),  cmocka_unit_test(test_masks_are_exact),
        cmocka_unit_test(test_end_tokens),   cmocka_unit_test(test_depth),
        cmocka_unit_test(test_hostile),      cmocka_unit_test(test_forgetting),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, make, unmake);
}

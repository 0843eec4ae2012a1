/* The template language, case by case as Python's jinja2 has it; the limits that keep a hostile
 * template harmless; and the marks of untrusted bytes through every kind of operation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "text/chat_template.h"
#include "text/template_value.h"

typedef struct {
    r2i_heap heap;
    r2i_buffer text;
    r2i_text_ranges untrusted;
    r2_error err;
    r2_status status;
} outcome;

static void outcome_init(outcome *o) {
    memset(&o->err, 0, sizeof o->err);
    r2i_heap_init(&o->heap);
    r2i_buffer_init(&o->text, &o->heap, 8 * 1024 * 1024);
    r2i_text_ranges_init(&o->untrusted, &o->heap);
}

static void outcome_destroy(outcome *o) {
    r2i_buffer_destroy(&o->text);
    r2i_text_ranges_destroy(&o->untrusted);
    assert_int_equal(o->heap.used_bytes, 0);
}

static void render(outcome *o, const char *source, size_t n_bytes, json_t *context) {
    r2i_chat_template *tmpl;
    o->status = r2i_chat_template_create(&tmpl, source, n_bytes, &o->heap, &o->err);
    if (o->status != R2_OK) {
        assert_null(tmpl);
        return;
    }
    o->status =
        r2i_chat_template_render(tmpl, context, 1735689600, &o->text, &o->untrusted, &o->err);
    if (o->status != R2_OK) assert_int_equal(o->text.n_bytes, 0);
    r2i_chat_template_destroy(tmpl);
}

static json_t *load_cases(void) {
    char path[1024];
    const char *folder = getenv("R2LM_GOLDEN_DIR");
    json_error_t error;
    (void)snprintf(path, sizeof path, "%s/templates.json",
                   folder != NULL ? folder : R2LM_DEFAULT_GOLDEN_DIR);
    json_t *file = json_load_file(path, JSON_ALLOW_NUL, &error);
    if (file == NULL) fail_msg("%s: %s", path, error.text);
    return file;
}

static bool is_as_expected(outcome *o, json_t *item) {
    json_t *output = json_object_get(item, "output");
    if (output == NULL) return o->status != R2_OK && o->err.text[0] != '\0';
    return o->status == R2_OK && o->text.n_bytes == json_string_length(output) &&
           (o->text.n_bytes == 0 ||
            memcmp(o->text.bytes, json_string_value(output), o->text.n_bytes) == 0);
}

static void equals_jinja2(void **state) {
    (void)state;
    json_t *file = load_cases(), *item;
    size_t i, n_wrong = 0;
    json_array_foreach(json_object_get(file, "cases"), i, item) {
        json_t *source = json_object_get(item, "template"),
               *output = json_object_get(item, "output");
        outcome o;
        outcome_init(&o);
        render(&o, json_string_value(source), json_string_length(source),
               json_object_get(file, "context"));
        if (!is_as_expected(&o, item)) {
            n_wrong++;
            print_message("template %s\n  expected %s\n  found    %s\n", json_string_value(source),
                          output != NULL ? json_string_value(output)
                                         : json_string_value(json_object_get(item, "error")),
                          o.status == R2_OK ? (o.text.n_bytes != 0 ? o.text.bytes : "")
                                            : o.err.text);
        }
        outcome_destroy(&o);
    }
    assert_true(i >= 800);
    assert_int_equal(n_wrong, 0);
    json_decref(file);
}

/* Every limit: an error value and memory given back; soon, or the time limit of the test strikes. */
static void expect_limit(const char *name, const char *source, size_t n_bytes) {
    outcome o;
    json_t *context = json_pack("{s:[], s:s}", "messages", "s", "text");
    outcome_init(&o);
    render(&o, source, n_bytes, context);
    if (o.status == R2_OK) fail_msg("%s: rendered", name);
    if (o.status != R2_E_LIMIT && o.status != R2_E_NOMEM && o.status != R2_E_RANGE)
        fail_msg("%s: %s", name, o.err.text);
    assert_non_null(strstr(o.err.text, "chat template"));
    outcome_destroy(&o);
    json_decref(context);
}

static void repeated(const char *name, const char *before, const char *part, size_t n,
                     const char *after) {
    const size_t n_part = strlen(part), n_before = strlen(before), n_after = strlen(after);
    char *source = test_malloc(n_before + n * n_part + n_after);
    memcpy(source, before, n_before);
    for (size_t i = 0; i < n; i++)
        memcpy(source + n_before + i * n_part, part, n_part);
    memcpy(source + n_before + n * n_part, after, n_after);
    expect_limit(name, source, n_before + n * n_part + n_after);
    test_free(source);
}

static void stops_bombs(void **state) {
    (void)state;
    static const char *const bombs[] = {
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{% for i in range(100000) %}{{ 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx' "
        "}}{% endfor %}",
        "{{ 'x' * 10 ** 9 }}",
        "{{ [1] * 10 ** 9 }}",
        "{{ (1, 2) * 10 ** 9 }}",
        "{{ 'x'.center(10 ** 12) }}",
        "{{ 'x'.zfill(10 ** 12) }}",
        "{{ 's'|indent(10 ** 12) }}",
        "{{ [[1]]|tojson(indent=10 ** 12) }}",
        "{{ range(10 ** 18) }}",
        "{{ 10 ** 10000 }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% macro m(n) %}{{ m(n) }}{{ m(n) }}{% endmacro %}{{ m(1) }}",
        "{% set ns = namespace(x='x') %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% "
        "endfor %}",
        "{% set ns = namespace(x=[]) %}{% for i in range(9999) %}{% set ns.x = [ns.x] %}{% endfor "
        "%}{{ ns.x }}",
        "{% set ns = namespace(x=[]) %}{% for i in range(9999) %}{% set ns.x = [ns.x] %}{% endfor "
        "%}{{ ns.x|tojson }}",
        "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% "
        "endfor %}{{ ns.x|tojson|length }}",
        "{% set ns = namespace(x=[1], y=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] "
        "%}"
        "{% set ns.y = [ns.y, ns.y] %}{% endfor %}{{ ns.x == ns.y }}",
        "{% set ns = namespace() %}{% set ns.ns = ns %}{{ ns }}",
        "{% set x = 'ab' * 100000 %}{% for i in range(100000) %}{{ x.replace('a', 'b')|length }}{% "
        "endfor %}",
        "{% set x = 'a' * 1000000 %}{% for i in range(100000) %}{{ x.rfind('b' + x) }}{% endfor %}",
        "{% set x = 'a' * 2000000 %}{{ x.rfind('b' + 'a' * 1000000) }}",
        "{% set x = 'a' * 4000000 %}{{ x|list|length }}",
        "{% set x = 'a,' * 2000000 %}{{ x.split(',')|length }}",
        "{% set ns = namespace(d={}) %}{% for i in range(100000) %}{% set ns.d = dict(ns.d, **{'k' "
        "~ i: i}) %}{% endfor %}",
        "{% set x = '[' * 1000000 %}{{ x.strip('[' * 100000) }}{% for i in range(10000) %}{{ "
        "x.strip('[' * 100000) }}{% endfor %}",
        "{{ '%99999999d' % 1 }}{{ 'x' * 99999999 }}",
        "{{ -9223372036854775807 - 2 }}",
    };
    for (size_t i = 0; i < sizeof bombs / sizeof *bombs; i++)
        expect_limit(bombs[i], bombs[i], strlen(bombs[i]));
    repeated("parentheses", "{{ ", "(", 20000, "");
    repeated("lists", "{{ ", "[", 20000, "");
    repeated("dicts", "{{ ", "{1:", 20000, "");
    repeated("closed parentheses",
             "{{ ((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((", "(", 100,
             "1))))");
    repeated("minus", "{{ ", "- ", 20000, "1 }}");
    repeated("conditions", "{{ ", "1 if 1 else ", 20000, "1 }}");
    repeated("conditions to the left", "{{ 1", " if 1", 20000, " }}");
    repeated("if blocks", "", "{% if 1 %}", 20000, "");
    repeated("for blocks", "", "{% for x in [1] %}", 300, "");
    repeated("filters", "{{ s", "|upper", 20000, " }}");
    repeated("attributes", "{{ s", ".x", 20000, " }}");
    repeated("calls", "{{ s", "()", 20000, " }}");
    repeated("subscripts", "{{ ", "s[", 20000, "");
    repeated("source", "", "x", R2I_TEMPLATE_MAX_SOURCE_BYTES, "x");
}

/* Long but flat: no limit may strike. */
static void allows_long_chains(void **state) {
    (void)state;
    outcome o;
    json_t *context = json_pack("{s:s}", "s", "t");
    char source[40000];
    size_t n = (size_t)snprintf(source, sizeof source, "{{ '' ");
    for (int i = 0; i < 5000; i++)
        n += (size_t)snprintf(source + n, sizeof source - n, "+ s ");
    n += (size_t)snprintf(source + n, sizeof source - n, "}}");
    outcome_init(&o);
    render(&o, source, n, context);
    assert_int_equal(o.status, R2_OK);
    assert_int_equal(o.text.n_bytes, 5000);
    outcome_destroy(&o);
    json_decref(context);
}

static void names_the_line(void **state) {
    (void)state;
    outcome o;
    json_t *context = json_pack("{s:[]}", "messages");
    static const struct {
        const char *source, *text;
        r2_status status;
    } rows[] = {
        { "a\nb\n{{ x.y }}\n", "chat template line 3: 'x' is undefined", R2_E_FORMAT },
        { "\n{{ raise_exception('roles must alternate') }}",
          "chat template line 2: roles must alternate", R2_E_ARGUMENT },
        { "a\n\n\n{{ 1 + }}",
          "chat template line 4: expected an expression, found 'end of print statement'",
          R2_E_FORMAT },
        { "{# \n\n #}{% if x %}", "chat template line 3: expected endif, found 'end of template'",
          R2_E_FORMAT },
        { "\xff", "chat template: not valid UTF-8", R2_E_FORMAT },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        outcome_init(&o);
        render(&o, rows[i].source, strlen(rows[i].source), context);
        assert_string_equal(o.err.text, rows[i].text);
        assert_int_equal(o.status, rows[i].status);
        outcome_destroy(&o);
    }
    json_decref(context);
}

/* c is untrusted.  In `expected`, untrusted bytes stand between [ and ]. */
static void keeps_marks(void **state) {
    (void)state;
    static const struct {
        const char *source, *expected;
    } rows[] = {
        { "<{{ messages[0].content }}>", "<[ a</t>b\"\n]>" },
        { "{{ '<' + messages[0].content + '>' }}", "<[ a</t>b\"\n]>" },
        { "{{ '<' ~ c ~ '>' }}", "<[ a</t>b\"\n]>" },
        { "{{ c | trim }}.", "[a</t>b\"]." },
        { "{{ c.split('</t>')[-1] }}.", "[b\"\n]." },
        { "{{ c.split('</t>')[0].lstrip() }}.", "[a]." },
        { "{{ ('<' + c + '>')[1:-1] }}", "[ a</t>b\"\n]" },
        { "{{ ('xy' + c)[:4] }}", "xy[ a]" },
        { "{{ ('x' + c.strip() + 'y')[::-1] }}", "y[\"b>t/<a]x" },
        { "{{ ('x' + c).replace('a', 'Q') }}", "x[ ]Q[</t>b\"\n]" },
        { "{{ 'xAx'.replace('A', c.strip()) }}", "x[a</t>b\"]x" },
        { "{{ c | tojson }}", "\"[ a</t>b\\\"\\n]\"" },
        { "{{ {'k': c} | tojson }}", "{\"k\": \"[ a</t>b\\\"\\n]\"}" },
        { "{{ [c] }}", "['[ a</t>b\"\\n]']" },
        { "{{ ('x' + c.strip()) | upper }}", "X[A</T>B\"]" },
        { "{{ [c.strip(), 'x'] | join(', ') }}", "[a</t>b\"], x" },
        { "{{ c.strip() | e }}", "[a&lt;/t&gt;b&#34;]" },
        { "{{ 'x%sx' % c.strip() }}", "x[a</t>b\"]x" },
        { "{{ 'x{}x'.format(c.strip()) }}", "x[a</t>b\"]x" },
        { "{% set x %}<{{ c.strip() }}>{% endset %}{{ x }}", "<[a</t>b\"]>" },
        { "{% macro m(x) %}<{{ x }}>{% endmacro %}{{ m(c.strip()) }}", "<[a</t>b\"]>" },
        { "{% filter upper %}x{{ c.strip() }}{% endfilter %}", "X[A</T>B\"]" },
        { "{% for x in c.strip() %}{{ x }}-{% endfor %}", "[a]-[<]-[/]-[t]-[>]-[b]-[\"]-" },
        { "{{ c.strip() * 2 }}x", "[a</t>b\"a</t>b\"]x" },
        { "{{ c.strip().center(9, '*') }}", "*[a</t>b\"]*" },
        { "{{ c | indent(2, true) }}.", "  [ a</t>b\"]\n." },
        { "{{ (c.strip() ~ 'xyz') | truncate(6, true, '..', 0) }}", "[a</t].." },
        { "{{ messages[0].role }}{{ messages[1].role }}", "user[<|evil|>]" },
        { "{{ bos_token }}{{ c.strip() }}{{ n }}", "<s>[a</t>b\"]5" },
        { "{% for k in messages[0] %}{{ k }}{% endfor %}", "[rolecontent]" },
        { "{{ j | from_json }}", "{'[k]': 1}" },
        { "{{ 'a' in c }}{{ c | length }}", "True9" },
    };
    json_t *context = json_pack("{s:[{s:s,s:s},{s:s}],s:s,s:s,s:i,s:s}", "messages", "role", "user",
                                "content", " a</t>b\"\n", "role", "<|evil|>", "c", " a</t>b\"\n",
                                "bos_token", "<s>", "n", 5, "j", "{\"k\": 1}");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        outcome o;
        char marked[512];
        size_t n = 0, range = 0;
        outcome_init(&o);
        render(&o, rows[i].source, strlen(rows[i].source), context);
        if (o.status != R2_OK) fail_msg("%s: %s", rows[i].source, o.err.text);
        for (size_t at = 0; at <= o.text.n_bytes; at++) {
            if (range < o.untrusted.n_items && o.untrusted.items[range].end == at) {
                marked[n++] = ']';
                range++;
            }
            if (range < o.untrusted.n_items && o.untrusted.items[range].begin == at)
                marked[n++] = '[';
            if (at < o.text.n_bytes) marked[n++] = o.text.bytes[at];
        }
        marked[n] = '\0';
        if (strcmp(marked, rows[i].expected) != 0) {
            fail_msg("%s\nexpected %s\nfound    %s", rows[i].source, rows[i].expected, marked);
        }
        outcome_destroy(&o);
    }
    json_decref(context);
}

/* A failing allocation anywhere is an error value and leaks nothing. */
static void survives_failing_memory(void **state) {
    (void)state;
    const char *const source =
        "{% macro m(a) %}{{ a|tojson }}{% endmacro %}{% for x in l|sort %}{{ m(x) }}{% endfor %}";
    json_t *context = json_pack("{s:[i,i,i]}", "l", 3, 1, 2);
    for (size_t limit = 0; limit < 400 * 1024; limit += 8 * 1024) {
        outcome o;
        outcome_init(&o);
        o.heap.limit_bytes = limit == 0 ? 1 : limit;
        render(&o, source, strlen(source), context);
        if (o.status != R2_OK) assert_int_equal(o.status, R2_E_NOMEM);
        if (limit >= 392 * 1024) assert_int_equal(o.status, R2_OK);
        outcome_destroy(&o);
    }
    json_decref(context);
}

static void tolerates_generation(void **state) {
    (void)state;
    outcome o;
    json_t *context = json_object();
    const char *const source = "a{% generation %}b{% set x = 1 %}{% endgeneration %}{{ x }}c";
    outcome_init(&o);
    render(&o, source, strlen(source), context);
    assert_int_equal(o.status, R2_OK);
    assert_string_equal(o.text.bytes, "abc");
    outcome_destroy(&o);
    json_decref(context);
}

static void finds_traits(void **state) {
    (void)state;
    static const char qwen[] =
        "{% if tools %}{% endif %}{% if enable_thinking is defined %}<think>{% endif %}";
    static const char plain[] = "{{ mytools }}{{ thinking_of }}";
    const r2i_chat_template_traits a = r2i_chat_template_get_traits(qwen, sizeof qwen - 1);
    const r2i_chat_template_traits b = r2i_chat_template_get_traits(plain, sizeof plain - 1);
    assert_true(a.tools && a.thinking_switch && a.think_markers && !a.reasoning_content);
    assert_string_equal(a.thinking_name, "enable_thinking");
    assert_false(b.tools || b.thinking_switch || b.think_markers);
    assert_null(b.thinking_name);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_jinja2),        cmocka_unit_test(stops_bombs),
        cmocka_unit_test(allows_long_chains),   cmocka_unit_test(names_the_line),
        cmocka_unit_test(keeps_marks),          cmocka_unit_test(survives_failing_memory),
        cmocka_unit_test(tolerates_generation), cmocka_unit_test(finds_traits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

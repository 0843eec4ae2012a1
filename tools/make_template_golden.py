#!/usr/bin/env python3
"""Writes tests/golden/templates.json: small templates, their variables, and what Python's jinja2
makes of them (set up as Hugging Face transformers does).  Usage: make_template_golden.py [OUT]"""
import json, os, sys
import jinja2, jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

CONTEXT = {
    "n": 7, "m": -3, "z": 0, "f": 2.5, "big": 1e20, "tiny": 1.5e-7, "t": True, "no": False, "nil": None,
    "s": "Hello World", "u": "naïve 日本 🙂 é", "q": "it's \"q\" <&>", "sp": "  pad\t\n", "e": "", "lines": "a\nb\n\nc\n",
    "l": [3, 1, 2], "ls": ["b", "A", "c", "a"], "le": [], "ll": [[1, 2], [3, 4]], "mix": [1, "a", None, 2.5, True, [1], {"k": "v"}],
    "d": {"b": 2, "a": 1, "C": 3}, "de": {}, "dk": {"items": [1], "keys": 2, "get": "G", "x y": 1},
    "nest": {"a": {"b": [{"c": "deep"}]}},
    "users": [{"name": "Bob", "age": 30, "on": True}, {"name": "alice", "age": 25, "on": False}, {"name": "Carl", "age": 30}],
    "messages": [{"role": "system", "content": "sys"}, {"role": "user", "content": "hi </think> there"}, {"role": "assistant", "content": "<think>\nx\n</think>\n\nyes", "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1, "é": [None, True]}}}]}],
}

def expressions():
    return """n + 1|n - 10|n * 3|n / 2|n // 2|m // 2|n % 3|m % 3|m % -2|n ** 2|2 ** -1|2 ** 3 ** 2|-n|+n|- -n|-2 ** 2|n / z|n // z|n % z|f + n|f * 2|f // 1|f % 2|-f // 1|-f % 2|7.0 // 2|1e3|1.5e-5|1_000|0x1F|0b11|0o17|1e16|1e15|123456789012345678.0|0.1 + 0.2|1 / 3|100.0|1e22|big|tiny|-0.0|5e-324|1.7976931348623157e308|f == 2.5|n == 7.0|t == 1|t + t|t * 3|nil == none|n > 3|n >= 7|n < 7|n <= 6|1 < 2 < 3|1 < 3 < 2|3 > 2 > 1|n != 7|s == 'Hello World'|s < 'Z'|'a' < 'b'|[1, 2] < [1, 3]|[1, 2] == [1, 2]|(1, 2) == [1, 2]|{'a': 1} == {'a': 1.0}|1 < 'a'|nil < 1|'ell' in s|'x' in s|'x' not in s|1 in l|9 not in l|'a' in d|2 in d|'a' in d.keys()|'1' in 123|1 in s|nope in l|1 in nope|not t|not nope|not not n|n and z|z and n|z or n|e or 'x'|nil or nope or 5|t and no or 3|not t == no|'a' if t else 'b'|'a' if no else 'b'|'a' if no|'a' if n > 3 else 'b' if n else 'c'|n ~ s|n ~ f ~ nil ~ t ~ nope|'a' ~ 1 + 2|'a' + 'b'|'a' + 1|1 + 'a'|s + nope|nope + 1|'ab' * 3|3 * 'ab'|'ab' * -1|[1] * 3|[1] + [2]|(1,) + (2,)|[1] + (2,)|l + nope
'x'|"y\\"z"|'a\\nb\\tc\\\\d\\'e'|'\\x41\\u00e9\\U0001F642\\101'|'\\q'|'a' 'b' "c"|''|[]|()|{}|[1, 'a', none, true, 2.0]|(1, 2)|(1,)|{'a': 1, 'b': [1, {'c': none}]}|{1: 2, 1.5: 3, none: 4, true: 5, (1, 2): 6}|[1, 2,]|{'a': 1,}|{[1]: 2}|mix|d|u|[u]|[q]|['a\\'b', 'c"d', 'e\\'f"g']|['\\n\\t\\\\\\x00\\x7f\\u00ad\\u200b']|[s, sp]|nest|users|true, false|True and False|None|none
s[0]|s[-1]|s[20]|s[1:4]|s[::-1]|s[:-3]|s[-3:]|s[::2]|s[5:2]|s[10:0:-3]|u[0:5]|u[6]|u[-1]|u[::-1]|u|length|s[1:4:none]|l[0]|l[-1]|l[5]|l[1:]|l[::-1]|l[::2]|l[-2:]|l[:1]|(1, 2, 3)[1:]|(1, 2, 3)[::-1]|range(5)[1:]|range(10)[::2]|range(5)[2]|range(3)|range(1, 4)|range(5, 0, -2)|range(0)|range(3)|list|range(5, 0, -2)|list|s[::0]|l['a']|s['upper']|d['a']|d.a|d['zz']|d.zz|d.zz.y|nope|nope.x|nope['x']|nope[0]|nope()|nil.x|nil['x']|n.x|nest.a.b[0].c|nest['a']['b'][0]['c']|dk.items|dk['items']|dk['x y']|dk.get('zz', 4)|dk['get']|ll[1][0]|l.0|ll.1.0|(1, 2).0|s.foo|l.foo|l.append(1)|d.update({})|d.pop('a')|l.sort()|d.__class__|s.__class__.__mro__|''.__class__|n()|'a'()|d[[1]]|d[1:2]
s.upper()|s.lower()|s.title()|s.capitalize()|s.swapcase()|sp.strip()|sp.lstrip()|sp.rstrip()|'xxaxx'.strip('x')|'abcba'.lstrip('ab')|'abcba'.rstrip('ab')|'日本日'.strip('日')|s.split()|s.split('o')|s.split('o', 1)|s.split(maxsplit=1)|s.split(' ')|'a  b '.split(' ')|' a  b c '.split()|' a  b c '.split(none, 1)|' a  b c '.split(none, 0)|''.split()|''.split(',')|'a,b,c'.rsplit(',', 1)|'a b c'.rsplit()|' a b  c '.rsplit(none, 1)|'aXbXc'.rsplit('X')|'abc'.split('')|lines.splitlines()|lines.splitlines(true)|'a\\r\\nb\\rc\\x0bd\\u2028e'.splitlines()|s.startswith('Hell')|s.startswith(('x', 'H'))|s.startswith('ell', 1)|s.endswith('ld')|s.endswith('x')|s.startswith('')|s.find('o')|s.find('o', 5)|s.find('zz')|s.rfind('o')|u.find('本')|s.index('W')|s.index('zz')|s.count('o')|s.count('')|s.replace('o', '0')|s.replace('o', '0', 1)|s.replace('', '-')|'aaa'.replace('aa', 'b')|', '.join(['a', 'b'])|''.join([1])|'-'.join('abc')|'-'.join(d)|'abc'.isalpha()|'a1'.isalnum()|'12'.isdigit()|'1a'.isdigit()|''.isdigit()|' '.isspace()|'AB'.isupper()|'ab'.islower()|'Ab1'.isupper()|'x'.zfill(4)|'-5'.zfill(4)|'a'.center(6)|'ab'.center(5, '*')|'abc'.center(6, '*')|'a'.ljust(3) ~ '|'|'a'.rjust(3)|'a=b=c'.partition('=')|'a=b=c'.rpartition('=')|'abc'.partition('=')|'abc'.rpartition('=')|'{} and {}'.format(1, 'b')|'{0}{1}{0}'.format('a', 2)|'{x}'.format(x=nil)|'{{}}'.format()|'%s is %d' % ('a', 3)|'%05.1f' % f|'%x' % 255|'%-5s|' % 'a'|'%5s' % 'ab'|'%%' % ()|'%s' % nil|'%s' % l|'%r' % s|'%(a)s' % d|'%d' % 'x'|'%s' % (1, 2)|'prefix-x'.removeprefix('prefix-')|'x.c'.removesuffix('.c')|'ß'.upper()|'ÄÖ'.lower()|u.upper()|'they\\'re bill\\'s'.title()|'they\\'re bill\\'s x-y (z'|title|s.casefold()
d.items()|d.keys()|d.values()|d.items()|list|d.get('a')|d.get('zz')|d.get('zz', 9)|d|length|d|list|d.copy()|l.index(1)|l.index(9)|l.count(1)|(1, 1).count(1)|dict(a=1, b=2)|dict([('a', 1)])|dict({'a': 1}, b=2)|namespace(a=1).a|namespace(a=1)|namespace().x|d.items()|first|d|first
u|upper|s|lower|s|capitalize|'a bC'|title|sp|trim|'xxaxx'|trim('x')|s|length|l|length|n|length|nope|length|d|count|l|first|le|first|l|last|s|last|le|last|nope|first|l|join|l|join(', ')|users|join(', ', attribute='name')|users|map(attribute='name')|join('+')|users|map(attribute='zz')|list|users|map(attribute='on', default='?')|list|ls|map('upper')|list|ls|map('replace', 'a', 'X')|list|l|map('string')|join|l|map|list|nest|map(attribute='x')|list|users|selectattr('on')|map(attribute='name')|list|users|rejectattr('on')|map(attribute='name')|list|users|selectattr('age', 'gt', 26)|map(attribute='name')|list|users|selectattr('name', 'equalto', 'Bob')|list|users|selectattr('on', 'defined')|list|length|users|rejectattr('on', 'undefined')|list|length|mix|select('string')|list|l|select('odd')|list|l|reject('odd')|list|l|select('gt', 1)|list|mix|select|list|mix|reject('none')|list|l|select('divisibleby', 3)|list|ls|select('in', ['a', 'b'])|list|l|select('zzz')|list|l|map('zzz')|list|l|zzz|n is zzz
l|sort|l|sort(reverse=true)|ls|sort|ls|sort(case_sensitive=true)|users|sort(attribute='age')|map(attribute='name')|list|users|sort(attribute='name')|map(attribute='name')|list|users|sort(attribute='age', reverse=true)|map(attribute='name')|list|mix|sort|[1, 2.5, true]|sort|d|sort|d|dictsort|d|dictsort(true)|d|dictsort(by='value')|d|dictsort(reverse=true)|d|dictsort(by='x')|['a', 'A', 'b']|unique|list|['a', 'A', 'b']|unique(true)|list|[1, 1.0, 2]|unique|list|l|min|l|max|le|max|ls|min|ls|max|users|max(attribute='age')|l|sum|users|sum(attribute='age')|l|sum(start=10)|ls|sum|l|reverse|list|s|reverse|d|reverse|list|d|items|list|nope|items|list|n|items|list|l|batch(2)|list|l|batch(2, 'x')|list|l|slice(2)|list|l|slice(2, 'x')|list|users|groupby('age')|list|users|groupby('age')|map('first')|list|s|list|d|list|n|list|l|tojson|ll|list|l|map('abs')|list
nope|default('x')|nil|default('x')|nil|default('x', true)|e|d('x', true)|nope|default|n|default('x')|d.zz|default(1)|'5'|int|'x'|int|'x'|int(9)|'3.7'|int|f|int|-2.7|int|t|int|'ff'|int(0, 16)|'0x1f'|int(base=16)|' 12 '|int|'1_0'|length|nil|int|l|int|'2.5'|float|'x'|float|'x'|float(1.5)|n|float|nil|float|'1e3'|float|n|string|nil|string|l|string ~ '!'|m|abs|-2.5|abs|'a'|abs|2.5|round|3.5|round|2.567|round(2)|2.5|round(0, 'floor')|2.1|round(0, 'ceil')|2.345|round(1, 'floor')|n|round|1234|round(-2)|2.675|round(2)|1.005|round(2)|f|round|int|n|round(1)|q|e|q|escape|q|safe|q|e|e|q|e|string|'<'|forceescape|q|replace('q', 'Q')|s|replace('l', 'L', 2)|n|replace('7', 'x')|lines|indent|lines|indent(2)|lines|indent(2, true)|lines|indent(2, blank=true)|lines|indent('> ', first=true)|'a\\nb'|indent(width=1)|s|truncate(5)|s|truncate(5, true, '', 0)|s|truncate(9, false, '..', 0)|s|truncate(255)|s|wordcount|s|center(20)|'%s-%s'|format(1, 'a')|'%(x)s'|format(x=2)|'a b/ü?'|urlencode|d|attr('items')|s|attr('zz')|s|string|length
d|tojson|mix|tojson|u|tojson|q|tojson|'\\n\\t\\x01\\x7f\\\\"/'|tojson|nil|tojson|f|tojson|big|tojson|tiny|tojson|100.0|tojson|1e16|tojson|(1, 2)|tojson|le|tojson|de|tojson|d|tojson(indent=2)|nest|tojson(indent=4)|mix|tojson(indent=1)|le|tojson(indent=2)|[[], {}]|tojson(indent=2)|u|tojson(ensure_ascii=true)|d|tojson(sort_keys=true)|d|tojson(separators=(',', ':'))|d|tojson(indent=2, separators=(', ', ' = '))|{1: 2, true: 3, none: 4, 1.5: 5}|tojson|nope|tojson|range(3)|tojson|namespace(a=1)|tojson|l|map('string')|tojson|'x' + d|tojson|('x' + (d|tojson))|nest|tojson(indent='--')
n is defined|nope is defined|nope is not defined|d.zz is defined|nope is undefined|nil is none|nope is none|s is string|n is string|d is mapping|l is mapping|l is iterable|s is iterable|n is iterable|nope is iterable|l is sequence|s is sequence|d is sequence|d.items() is sequence|n is sequence|nil is sequence|n is number|t is number|f is number|s is number|n is integer|t is integer|f is integer|f is float|n is float|t is boolean|n is boolean|t is true|n is true|no is false|z is false|n is odd|n is even|n is divisibleby 7|n is divisibleby(2)|n is eq 7|n is ne 7|n is gt 3|n is lt(3)|n is ge 7|n is le 7|n is sameas 7|l is sameas l|nil is sameas none|n is in [7]|n is in l|'a' is lower|'A' is upper|'a1' is upper|range is callable|s is callable|d.items is callable|nope is callable|s is escaped|s|e is escaped|n is not none and t|not n is none|n is string or t|'x' is filter|'trim' is filter|n is defined and n is not none and n > 3|n is number if t else 0
(n)|((n))|(n, )|n|abs + 1|-n|abs|(-n)|abs|n + m|abs|'a' ~ 'b'|upper|[1, 2]|length + 1|s.split('o')[-1]|s.split('o')|last|upper|(s + 'x').upper()|'abc'[1]|[1, 2][0]|{'a': 1}.a|{'a': 1}['a']|(d.a + d.b) * 2|not (t and no)|l[l|length - 1]|messages[-1].content.split('</think>')[-1].lstrip('\\n')|messages[1]['content'].split('</think>', 1)[1]|messages[-1].tool_calls[0].function.arguments|tojson|messages|map(attribute='role')|join(',')|messages|selectattr('role', 'equalto', 'user')|list|length|messages[::-1]|map(attribute='role')|list|messages[1:]|length|joiner()|length|nope|upper|nil|upper|t|upper|s|upper|lower|title|replace(' ', '_')|n if n is odd else m|caller is defined|loop is defined|n=1|n n|(n|[n|n)|{{|n..a|1.a|'abc|n +|* n|n not l|is n|n is|n |||n|upper(|foo(a=1, 2)|s.upper(|{'a'}|{'a' 1}|[1 2]|n if|@|n$|`|a ? b : c|n && m|!n|1 = 1|s.strip(*['H'])|s.replace(*['o', '0'])|dict(**{'a': 1})|s.split(zz=1)|s.upper(1)|s|replace('a')|s|trim(zz=1)|range()|range(1, 5, 0)|range(200000)|9223372036854775807|s.join|lorem ipsum|true.x|1 if|nope.x.y|l|first|string|u|length|q|length|1.|.5|1e|'\\ud800'|e is defined|[nope]|[nope, nil]|'a' 'b'|upper|[]|first is undefined|'€'|tojson|'\\u20ac' ~ '€'""".split("\n")

STATEMENTS = r"""{% if n %}a{% endif %}
{% if z %}a{% elif n == 7 %}b{% else %}c{% endif %}
{% if z %}a{% elif no %}b{% else %}c{% endif %}
{% if nope %}x{% endif %}.
{% if nope.x %}x{% endif %}
{% for x in l %}{{ x }},{% endfor %}
{% for x in le %}{{ x }}{% else %}none{% endfor %}
{% for x in nope %}{{ x }}{% else %}none{% endfor %}
{% for x in n %}{{ x }}{% endfor %}
{% for x in nil %}{{ x }}{% endfor %}
{% for c in u %}[{{ c }}]{% endfor %}
{% for k in d %}{{ k }}{% endfor %}
{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}
{% for k, v in d|items %}{{ k }}={{ v }};{% endfor %}
{% for a, b in ll %}{{ a }}-{{ b }};{% endfor %}
{% for (a, b) in ll %}{{ a }}-{{ b }};{% endfor %}
{% for a, b in l %}{{ a }}{% endfor %}
{% for a, b, c in ll %}{{ a }}{% endfor %}
{% for i, (a, b) in [(1, (2, 3))] %}{{ i }}{{ a }}{{ b }}{% endfor %}
{% for x in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }};{% endfor %}
{% for x in l %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }};{% endfor %}
{% for x in l %}{{ loop.previtem is defined }}{{ loop.nextitem is defined }};{% endfor %}
{% for x in l %}{{ loop.cycle('a', 'b') }}{% endfor %}
{% for x in [1, 1, 2, 2, 1] %}{{ loop.changed(x) }}{% endfor %}
{% for x in l %}{{ loop.depth }}{{ loop.depth0 }}{% endfor %}
{% for x in l %}{% for y in l %}{{ loop.index }}{% endfor %}{{ loop.index }};{% endfor %}
{% for x in l %}{% set outer = loop %}{% for y in ls %}{{ outer.index }}{{ loop.index }} {% endfor %}{% endfor %}
{% for x in l if x > 1 %}{{ loop.index }}:{{ x }} {% endfor %}
{% for x in l if x > 5 %}{{ x }}{% else %}none{% endfor %}
{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}
{% for x in l %}{% if x == 1 %}{% break %}{% endif %}{{ x }}{% endfor %}
{% for x in l %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}
{% for x in l %}{% if loop.index == 2 %}{% break %}{% endif %}{{ x }}{% else %}E{% endfor %}
{% break %}
{% for x in range(3) %}{{ x }}{% endfor %}
{% for x in l|sort %}{{ x }}{% endfor %}
{% for x in l|reverse %}{{ x }}{{ loop.last }}{% endfor %}
{% for x in (1, 2) %}{{ x }}{% endfor %}
{% for x in 1, 2 %}{{ x }}{% endfor %}
{% for x in l %}{{ x }}{% endfor %}{{ x }}
{% for x in l %}{% set y = x %}{% endfor %}{{ y }}
{% set y = 0 %}{% for x in l %}{{ y }}{% set y = y + x %}{{ y }};{% endfor %}{{ y }}
{% set ns = namespace(a=1, b='x') %}{% for x in l %}{% set ns.a = ns.a + x %}{% endfor %}{{ ns.a }}{{ ns.b }}{{ ns.zz }}
{% set ns = namespace() %}{% set ns.x = [1] %}{% set ns.x = ns.x + [2] %}{{ ns.x }}
{% set d.x = 1 %}
{% set nope.x = 1 %}
{% set a, b = 1, 2 %}{{ a }}{{ b }}
{% set a, b = (1, 2, 3) %}
{% set a = 1, 2 %}{{ a }}
{% set (a, b) = ll[0] %}{{ a }}{{ b }}
{% set x %}hi {{ n }}{% endset %}{{ x }}{{ x|length }}
{% set x | upper %}hi {{ n }}{% endset %}{{ x }}
{% set x | upper | replace('H', 'J') %}hi{% endset %}{{ x }}
{% set true = 1 %}
{% set x = 1 %}{% if t %}{% set x = 2 %}{% endif %}{{ x }}
{% if not qq is defined %}{% set qq = 5 %}{% endif %}{{ qq }}
{% with a = 1, b = n %}{{ a }}{{ b }}{% endwith %}{{ a }}
{% set a = 5 %}{% with a = a + 1 %}{{ a }}{% endwith %}{{ a }}
{% with %}{% set zz = 1 %}{{ zz }}{% endwith %}{{ zz }}
{% macro m(a, b=2) %}[{{ a }}{{ b }}]{% endmacro %}{{ m(1) }}{{ m(1, 3) }}{{ m(b=4, a=5) }}{{ m() }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(zz=2) }}
{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, x=3) }}
{% macro m(a=1, b) %}{% endmacro %}
{% macro m(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ m(3) }}
{% macro m(x) %}{% if x %}{{ x[0] }}{{ m(x[1:]) }}{% endif %}{% endmacro %}{{ m(l) }}
{% macro m() %}{{ caller() }}!{% endmacro %}{% call m() %}body {{ n }}{% endcall %}
{% macro m(x) %}{{ caller(x, 2) }}!{% endmacro %}{% call(a, b) m(5) %}{{ a }}{{ b }}{% endcall %}
{% macro m() %}x{% endmacro %}{% call m() %}y{% endcall %}
{% call n %}y{% endcall %}
{% set y = 1 %}{% macro m() %}{{ y }}{% endmacro %}{% set y = 2 %}{{ m() }}
{% macro m() %}{% set y = 9 %}{% endmacro %}{{ m() }}{{ y }}
{% macro m() %}  a  {% endmacro %}{{ m()|trim }}{{ m() | length }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m.name }}{{ m is callable }}
{% filter upper %}abc {{ s }}{% endfilter %}
{% filter replace('a', 'b') | upper %}aaa{% endfilter %}
{% filter zzz %}a{% endfilter %}
{% raw %}{{ n }}{% if %}{% endraw %}
{%- raw -%}  {{ n }}  {%- endraw -%}  x
{% raw %}never closed
{# comment #}a{#- c -#} b
a {#- c -#} b
{# never closed
{% block x %}b{{ n }}{% endblock %}
{% block x %}b{% endblock x %}
{% print n %}
{% print n, s %}
{% generationx %}
{% include 'x' %}
{% extends 'x' %}
{% import 'x' as y %}
{% do l.append(1) %}
{% endif %}
{% if n %}
{% for x in l %}{{ x }}
{% for x l %}{% endfor %}
{% if %}x{% endif %}
{% elif n %}
{% zzz %}
{% %}
{{ }}
{% if n: %}a{% endif %}
{% for x in l: %}{{ x }}{% endfor %}
{{ raise_exception('no way: ' ~ n) }}
{% if no %}{{ raise_exception('x') }}{% endif %}ok
{{ strftime_now('%Y-%m-%d') }}
{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}
{% set j = joiner(', ') %}{% for x in l %}{{ j() }}{{ x }}{% endfor %}
{% set j = joiner() %}{% for x in l %}{{ j() }}{{ x }}{% endfor %}
{% set g = l|map('string') %}{{ g|list }}{{ g|list }}
{% for i in range(3) %}{% for j in range(i) %}{{ i }}{{ j }} {% endfor %}{% endfor %}
{% for m in messages %}{{ '<|' + m.role + '|>' + m.content }}{% if not loop.last %}{{ '\n' }}{% endif %}{% endfor %}
{% for m in messages %}{% if m.tool_calls %}{% for tc in m.tool_calls %}{{ tc.function.name }}({{ tc.function.arguments|tojson }}){% endfor %}{% endif %}{% endfor %}
{{ messages }}
{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% else %}{% set loop_messages = messages %}{% endif %}{% for m in loop_messages %}{{ m.role }}{{ loop.index0 % 2 == 0 }}{% endfor %}""".split("\n")

WHITESPACE = [
    "a\n  {% if n %}\n  b\n  {% endif %}\nc\n", "a\n  {%- if n %}\n  b\n  {%- endif %}\nc\n", "a\n  {% if n -%}\n  b\n  {% endif -%}\nc\n",
    "a\n  {%+ if n %}\n  b\n  {%+ endif %}\nc\n", "a\n  {% if n +%}\n  b\n  {% endif +%}\nc\n", "  {{ n }}  \n  {{- n }}\n{{ n -}}\n x", "x {{- n -}} y",
    "  {# c #}\n  x {# d #}\ny", "x\n{# c -#}\n\n y", "  {# a #}  {# b #}\nz", "{% set a = 1 %}\n{% set b = 2 %}\n{{ a }}{{ b }}\n\n", "\n\n{{ n }}\n\n", "\n", "", "   ",
    "  {% if n %}  {% endif %}  ", "a {% if n %} b {% endif %} c", "a\r\nb\r{{ n }}\r\n", "{% if n %}\r\nx{% endif %}\r\n", "{{ 'a\r\nb' }}", "  {% raw %}\n x\n  {% endraw %}\ny", "a\n  {%- raw %} x {% endraw -%}  y",
    "\t{% if n %}\tx{% endif %}", "x\t{% if n %}y{% endif %}", "{%- for x in l %}\n  - {{ x }}\n{%- endfor %}\n", "{% for x in l %}\n  - {{ x }}\n{% endfor %}\n", "{% for x in l -%}\n  {{ x }}\n{%- endfor %}",
    "a\u00a0\u3000{%- if n %}x{% endif %}", "\u00a0{% if n %}x{% endif %}", "{{ n }}\n", "{{ n }}\n\n", "{%if n%}a{%endif%}", "{%-if n-%} a {%-endif-%}", "{{n}}{{-n}}{{n-}} x", "{ {n} } {x %} #} }}", "{{ {'a': {'b': 1}} }}", "{{ {'a':{'b':1}}['a']['b']}}", "{%if n%}\n\n\na{%endif%}", "{{ '}}' }}{{ \"{% x %}\" }}", "{# {{ x }} {% y %} #}z", "{{\n n\n }}", "{%\n if n\n %}\nx{% endif %}", "x{%+ raw %} y {%+ endraw %}", "a{% raw -%}   b{% endraw %}", " a\n {%- set x = 1 -%} \n b", "line1\n    {{ n }}\nline3", "{% if n %}{# c #}\nx{% endif %}"]

def environment():
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols])
    env.filters["tojson"] = lambda x, ensure_ascii=False, indent=None, separators=None, sort_keys=False: json.dumps(
        x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
    def fail(message): raise jinja2.exceptions.TemplateError(message)
    env.globals["raise_exception"] = fail
    env.globals["strftime_now"] = lambda form: __import__("time").strftime(form, __import__("time").gmtime(1735689600))
    return env

def split_bars(line):
    """Expressions of a line: "|" separates them only where a filter cannot follow; so lines are cut by trying."""
    out, rest = [], line.split("|")
    filters = set(environment().filters) | {"zzz"}
    word = lambda x: x.split("(")[0].split(" ")[0].split("~")[0].strip()
    for part in rest:
        if out and (word(part) in filters and (word(out[-1].split("|")[0]) not in {"lorem"})) and part.strip() not in ("e", "d", "list") and not part.startswith(("e ", "d.", "d[", "e is", "d is", "d|")): out[-1] += "|" + part
        elif out and part.strip() in ("e", "list"): out[-1] += "|" + part
        else: out.append(part)
    return out

def main():
    target = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "golden", "templates.json")
    templates = ["{{ " + x + " }}" for line in expressions() for x in split_bars(line)] + STATEMENTS + WHITESPACE
    env, cases, seen = environment(), [], set()
    for source in templates:
        if source in seen: continue
        seen.add(source)
        try: text = env.from_string(source).render(**CONTEXT)
        except Exception as e:
            cases.append(dict(template=source, error=f"{type(e).__name__}: {e}"[:100])); continue
        if " object at 0x" in text or "<built-in method" in text or "<bound method" in text or "<class" in text or "<Macro" in text or any(0xD800 <= ord(c) < 0xE000 for c in text): continue  # no stable text
        cases.append(dict(template=source, output=text))
    with open(target, "w") as f:
        json.dump(dict(context=CONTEXT, now=1735689600, cases=cases), f, indent=0, ensure_ascii=False)
        f.write("\n")
    print(len(cases), "templates,", sum("error" in c for c in cases), "of them errors")

if __name__ == "__main__": main()

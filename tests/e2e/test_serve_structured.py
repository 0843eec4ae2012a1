"""Structured output through `r2lm serve`: spellings, thoughts in front, what cannot be kept, and random schemas judged by python's jsonschema.

R2LM_SERVE_SCHEMAS sets how many random ones (60), R2LM_SCHEMA_SEED the first.
"""
import concurrent.futures, json, os, re
import pytest

from serve_client import KEY, SOURCE, Server, error, events, serving

WORDS = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 10, "maximum": 99}, "of": {"enum": ["a", "b"]}}, "required": ["n", "of"], "additionalProperties": False}
LOOSE = dict(temperature=2, top_p=1, min_p=0, frequency_penalty=2, presence_penalty=2)    # the toy would write "an" for ever


@pytest.fixture(scope="module")
def server(): yield from serving()


def texts(said): return [(c["message"]["content"], c["finish_reason"]) for c in said["choices"]]
def ask(server, seed=0, **body): return texts(server.chat(reasoning_effort="none", seed=seed, **{**LOOSE, "max_tokens": 200, **body}))[0]


def strict(schema, **more): return {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema, **more}}}


SCHEMAS = [strict(WORDS), strict(WORDS, description="two words", strict=None), {"response_format": {"type": "json_schema", "schema": WORDS}}, {"response_format": {"type": "json_object", "schema": WORDS}},
           {"json_schema": WORDS}, {"json_schema": json.dumps(WORDS)}, {"guided_json": WORDS}, {"guided_json": json.dumps(WORDS)}, {"structured_outputs": {"json": WORDS}}]


@pytest.mark.parametrize("which", range(len(SCHEMAS)))
def test_schemas_by_every_name(server, which):
    for seed in range(3):
        text, why = ask(server, seed, **SCHEMAS[which])
        value = json.loads(text)
        assert why == "stop" and list(value) == ["n", "of"] and 10 <= value["n"] <= 99 and value["of"] in "ab"


def test_other_forms_by_every_name(server):
    for seed in range(3):
        for name in ("regex", "guided_regex"): assert re.fullmatch(r"\d{4}-[a-c]{2,3}", ask(server, seed, **{name: r"\d{4}-[a-c]{2,3}"})[0])
        assert re.fullmatch(r"[x-z]{5}", ask(server, seed, structured_outputs={"regex": "[x-z]{5}"})[0])
        for name in ("grammar", "ebnf", "guided_grammar"): assert ask(server, seed, **{name: 'root ::= "yes" | "no"'})[0] in ("yes", "no")
        assert ask(server, seed, structured_outputs={"grammar": 'root ::= [0-9]{3}'})[0].isdigit()
        choice = ["a \"quoted\" one", "back\\slash\n\ttab", "\u00e9\u4f60", "] [a-z] ("]
        assert ask(server, seed, guided_choice=choice)[0] in choice and ask(server, seed, structured_outputs={"choice": choice})[0] in choice
    for body in ({"response_format": {"type": "json_object"}}, {"structured_outputs": {"json_object": True}}):
        text, why = ask(server, **body)
        assert text.startswith("{") and (why == "length" or isinstance(json.loads(text), dict))
    for body in ({"response_format": {"type": "text"}}, {"grammar": ""}, {"json_schema": None, "regex": None}, {"structured_outputs": {}}, {"structured_outputs": {"json_object": False}}):
        assert ask(server, max_tokens=4, temperature=0, frequency_penalty=0, presence_penalty=0, **body)[0] == "an" * 4


def test_thoughts_come_first_and_are_free(server):
    """The grammar arms at </think>; a block that is never closed leaves no answer rather than a free one."""
    for stream in (False, True):
        body = dict(stream=stream, temperature=0, max_tokens=100, reasoning_budget_tokens=6, **strict({"enum": ["yes", "no"]}))
        said = server.chat(**body)
        if stream:
            chunks = events(said.text)
            deltas = [c["choices"][0]["delta"] for c in chunks]
            thoughts, text, why = ("".join(d.get(k, "") for d in deltas) for k in ("reasoning_content", "content")), None, chunks[-1]["choices"][0]["finish_reason"]
            thoughts, text = thoughts
        else:
            c = said["choices"][0]
            thoughts, text, why = c["message"]["reasoning_content"], c["message"]["content"], c["finish_reason"]
        assert (thoughts, json.loads(text) in ("yes", "no"), why) == ("an" * 6, True, "stop")
    unclosed = server.chat(temperature=0, max_tokens=20, reasoning_budget_tokens=-1, **strict(WORDS))["choices"][0]
    assert (unclosed["message"]["content"], unclosed["message"]["reasoning_content"], unclosed["finish_reason"]) == ("", "an" * 20, "length")
    for end in ({"reasoning_budget_tokens": -1}, {}):    # a model that would rather end its text than think: it must not, or there would be no answer
        eager = server.chat(temperature=0, max_tokens=40, logit_bias={"260": 100, "261": 100, "257": 100}, **end, **strict({"enum": ["yes", "no"]}))["choices"][0]
        assert eager["message"]["content"] == "" and eager["finish_reason"] == "length" or eager["finish_reason"] == "stop" and json.loads(eager["message"]["content"]) in ("yes", "no")


def test_every_choice_has_a_place_of_its_own(server):
    said = texts(server.chat(n=8, reasoning_effort="none", max_tokens=200, seed=3, **LOOSE, **strict(WORDS)))
    assert all(10 <= json.loads(text)["n"] <= 99 and why == "stop" for text, why in said) and len({text for text, _ in said}) > 1
    alone = [texts(server.chat(reasoning_effort="none", max_tokens=200, seed=3 + i, **LOOSE, **strict(WORDS)))[0] for i in range(8)]
    assert alone == said


def test_stop_texts_and_limits(server):
    assert ask(server, **strict(WORDS), stop="of", temperature=0)[0].count("of") == 0
    text, why = ask(server, max_tokens=3, **strict(WORDS))
    assert why == "length" and text


def test_drafts_change_nothing():
    body = {"regex": "(\\[[a-c]{5,9}\\]\\n){6}", "seed": 5, "reasoning_budget_tokens": 9, "max_tokens": 300}
    said = set()
    for draft in ("off", 16):
        server = Server("--draft", draft)
        said.add(json.dumps(texts(server.chat(**LOOSE, **body)) + [server.chat(**LOOSE, **body)["choices"][0]["message"]["reasoning_content"]]))
        server.stop()
    assert len(said) == 1 and re.fullmatch(r"(\[[a-c]{5,9}\]\n){6}", json.loads(said.pop())[0][0])


def test_a_full_cache_changes_no_answer():
    """The cache holds four of eight answers: pages are taken away and computed again, each grammar stays where it was."""
    server = Server("--parallel", 8, "--ctx-size", 512)
    try:
        body = dict(reasoning_effort="none", max_tokens=470, regex="(<[0-9]{3}>[a-z]{9};){200}", **LOOSE)
        one = lambda i: texts(server.chat(seed=i, **body))[0]
        alone = [one(i) for i in range(8)]
        n_read = server.metric("prefix_cache_queries_total")
        assert texts(server.chat(seed=0, n=8, **body)) == alone
        assert server.metric("prefix_cache_queries_total") > 3 * n_read    # tokens were read again
        assert all(re.match(r"(<[0-9]{3}>[a-z]{9};)*(<[0-9]{0,3}(>[a-z]{0,9})?)?$", text) for text, _ in alone)
    finally:
        server.stop()


BAD = [({"response_format": "json"}, "response_format", None), ({"response_format": {}}, "response_format.type", None), ({"response_format": {"type": "xml"}}, "response_format.type", "invalid_value"),
       ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.schema", None), ({"response_format": {"type": "json_schema", "json_schema": {}}}, "response_format.json_schema.schema", None),
       ({"response_format": {"type": "json_schema", "json_schema": 3}}, "response_format.json_schema", None), (strict([]), "response_format.json_schema.schema", None),
       (strict(WORDS, strict="yes"), "response_format.json_schema.strict", None), (strict(WORDS, name=3), "response_format.json_schema.name", None),
       (strict({"type": "objec"}), "response_format.json_schema.schema", "invalid_schema"), (strict({"type": "string", "minLength": 5, "maxLength": 4}), "response_format.json_schema.schema", "invalid_schema"),
       (strict({"$ref": "#/$defs/none"}), "response_format.json_schema.schema", "invalid_schema"), (strict({"not": {}}), "response_format.json_schema.schema", "unsupported_schema"),
       (strict(False), "response_format.json_schema.schema", None), ({"json_schema": "{"}, "json_schema", "invalid_schema"), ({"json_schema": 3}, "json_schema", None), ({"guided_json": [1]}, "guided_json", None),
       ({"grammar": 'root ::= "a'}, "grammar", "invalid_grammar"), ({"grammar": "root ::= root"}, "grammar", "invalid_grammar"), ({"grammar": {"a": 1}}, "grammar", None), ({"ebnf": "x"}, "ebnf", "invalid_grammar"),
       ({"regex": "("}, "regex", "invalid_grammar"), ({"regex": "(?=a)b"}, "regex", "unsupported_grammar"), ({"regex": "a{9999999}"}, "regex", None), ({"guided_regex": ["a"]}, "guided_regex", None),
       ({"guided_choice": []}, "guided_choice", None), ({"guided_choice": [3]}, "guided_choice", None), ({"guided_choice": "a"}, "guided_choice", None), ({"structured_outputs": []}, "structured_outputs", None),
       ({"structured_outputs": {"regex": 3}}, "structured_outputs.regex", None), ({"structured_outputs": {"json_object": 1}}, "structured_outputs.json_object", None),
       ({"grammar": 'root ::= "a"', "regex": "a"}, "regex", "contradictory_parameters"), ({**strict(WORDS), "json_schema": WORDS}, "json_schema", "contradictory_parameters"),
       ({"structured_outputs": {"json": WORDS, "json_object": True}}, "structured_outputs.json_object", "contradictory_parameters"),
       ({"response_format": {"type": "json_object"}, "guided_choice": ["a"]}, "guided_choice", "contradictory_parameters")]


def test_bad_forms_are_refused_by_name(server):
    for body, param, code in BAD:
        for stream in (False, True):
            e = error(server.ask("POST", "/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5, "stream": stream, **body}), 400)
            assert e["param"] == param and (code is None or e["code"] == code), (body, e)


@pytest.mark.parametrize("keyword", ["not", "if", "patternProperties", "propertyNames", "dependentRequired", "contains", "minProperties", "unevaluatedItems", "madeUp"])
def test_unsupported_keywords_are_named_with_their_place(server, keyword):
    inner = {"type": "object", "properties": {"a/b~c": {"type": "array", "items": {"type": "object", keyword: {}}}}}
    e = error(server.ask("POST", "/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}], **strict({"type": "object", "properties": {"list": {"anyOf": [inner, {"type": "null"}]}}})}), 400)
    assert e["code"] == "unsupported_schema" and keyword in e["message"] and "#/properties/list/anyOf/0/properties/a~1b~0c/items" in e["message"], e


def test_hostile_schemas_end(server):
    """Each is refused or answered, soon, and the server stays well."""
    wide = {"type": "object", "properties": {f"k{i}": {"type": "string"} for i in range(3000)}}
    nested = {"type": "string"}
    for _ in range(25): nested = {"type": "array", "items": nested, "maxItems": 50}
    power = {"$defs": {f"d{i}": {"type": "array", "prefixItems": [{"$ref": f"#/$defs/d{i + 1}"}] * 10, "items": False} for i in range(30)} | {"d30": {"type": "null"}}, "$ref": "#/$defs/d0"}
    loop = {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}
    any_of = {"anyOf": [{"allOf": [{"anyOf": [{"maxLength": i}, {"minLength": i}]} for i in range(8)]} for _ in range(8)]}
    for schema in (wide, nested, power, loop, any_of, {"type": "string", "pattern": "(a|a)*" * 40 + "b"}, {"type": "string", "maxLength": 100000}, {"type": "string", "pattern": "(((x{0,100}){0,100}){0,100}){0,10}"}):
        r = server.ask("POST", "/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 8, "reasoning_effort": "none", **strict(schema)})
        assert r.status in (200, 400), (r.status, r.text[:300])
        assert server.ask("GET", "/health").status == 200


def test_compiled_grammars_are_kept_per_key(tmp_path):
    file = tmp_path / "keys"
    file.write_text(f"{KEY}\nsk-other\n")
    server = Server("--api-key-file", file)
    try:
        def ask(key, n):
            schema = {"type": "string", "maxLength": n}
            server.chat(headers={"x-api-key": key}, reasoning_effort="none", max_tokens=4, **strict(schema))
            text = server.ask("GET", "/metrics", headers={"x-api-key": key}).text
            return [int(float(re.search(rf"^r2:{name} (\S+)$", text, re.M).group(1))) for name in ("grammars_compiled_total", "grammar_cache_hits_total")]
        assert (ask(KEY, 5), ask(KEY, 5), ask("sk-other", 5), ask(KEY, 6), ask("sk-other", 5)) == ([1, 0], [1, 1], [2, 1], [3, 1], [3, 2])
        for n in range(7, 150): compiled, hits = ask(KEY, n)
        assert (compiled, hits) == (146, 2) and ask(KEY, 149) == [146, 3] and ask(KEY, 7) == [147, 3]    # the first of so many was forgotten
    finally:
        server.stop()


REAL = json.load(open(os.path.join(SOURCE, "tests", "e2e", "schemas_real.json")))    # as pydantic, zod and tools write them


@pytest.mark.parametrize("name", REAL)
def test_real_schemas(server, name):
    jsonschema = pytest.importorskip("jsonschema")
    from test_schemas import formats
    n_finished = 0
    ends = {str(server.ask("POST", "/tokenize", {"content": c}).json["tokens"][0]): 6 for c in '"]}'}    # texts and lists come to an end
    for seed in range(5):
        text, why = ask(server, seed, max_tokens=900, logit_bias=ends, frequency_penalty=.3, **strict(REAL[name]))
        if why == "length": continue
        jsonschema.Draft202012Validator(REAL[name], format_checker=formats).validate(json.loads(text))
        n_finished += 1
    assert n_finished > 0


N, FIRST = int(os.environ.get("R2LM_SERVE_SCHEMAS", 60)), int(os.environ.get("R2LM_SCHEMA_SEED", 0))


def test_random_schemas(server):
    jsonschema = pytest.importorskip("jsonschema")
    from test_schemas import formats, whole

    def one(seed):
        rules = whole(seed)
        text, why = ask(server, seed, max_tokens=700, **strict(rules))
        if why == "length": return False
        assert why == "stop", (seed, why)
        try:
            jsonschema.Draft202012Validator(rules, format_checker=formats).validate(json.loads(text))
        except (ValueError, jsonschema.ValidationError) as failure:
            pytest.fail(f"seed {seed}: {json.dumps(rules)}\n{text}\n{failure}")
        return True

    with concurrent.futures.ThreadPoolExecutor(8) as pool: n_finished = sum(pool.map(one, range(FIRST, FIRST + N)))
    assert n_finished >= N * 0.6, (n_finished, N)    # the rest ran into the limit

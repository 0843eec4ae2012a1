"""`r2lm serve` from outside: plain sockets and http.client, the toy model.

The toy thinks without end, prints "an" and never stops by itself.
"""
import concurrent.futures, json, subprocess
import pytest

from serve_client import PROGRAM, Server, TOY, error, events, serving


@pytest.fixture(scope="module")
def server(): yield from serving("--budget", 0)


# ---------------------------------------------------------------- about the server
def test_routes_with_and_without_v1(server):
    for prefix in ("", "/v1"):
        assert server.ask("GET", prefix + "/health").json == {"status": "ok"}
        assert server.ask("GET", prefix + "/version").json["name"] == "r2lm"
        models = server.ask("GET", prefix + "/models").json
        assert models["object"] == "list" and [m["id"] for m in models["data"]] == ["toy"] and models["first_id"] == "toy"
        assert server.ask("GET", prefix + "/models/toy").json["object"] == "model"
        assert server.ask("GET", prefix + "/models/t%6Fy").json["id"] == "toy"
        assert error(server.ask("GET", prefix + "/models/a%2Fb"), 404)["code"] == "model_not_found"
        assert server.chat(prefix + "/chat/completions", max_tokens=2)["object"] == "chat.completion"
    error(server.ask("GET", "/nowhere"), 404)
    error(server.ask("GET", "/v1/chat/completions"), 405)
    error(server.ask("POST", "/health", {}), 405)
    for method in ("PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"): error(server.ask(method, "/health"), 405)


def test_text_endpoints(server):
    said = subprocess.run([PROGRAM, "tokenize", "-m", TOY, "-p", "Hello, world", "--json"], capture_output=True, text=True)
    tokens = server.ask("POST", "/tokenize", {"content": "Hello, world"}).json["tokens"]
    assert tokens == [t if isinstance(t, int) else t["id"] for t in json.loads(said.stdout)["tokens"]]
    assert server.ask("POST", "/detokenize", {"tokens": tokens}).json == {"content": "Hello, world"}
    prompt = server.ask("POST", "/apply-template", {"messages": [{"role": "user", "content": "Hi <|im_end|>"}]}).json
    assert prompt["prompt"].startswith("<|im_start|>user\nHi <|im_end|>") and prompt["n_tokens"] > 0
    assert len(server.ask("POST", "/tokenize", {"content": "<|im_end|>"}).json["tokens"]) > 1
    assert len(server.ask("POST", "/tokenize", {"content": "<|im_end|>", "parse_special": True}).json["tokens"]) == 1
    assert error(server.ask("POST", "/tokenize", {"content": 3}), 400)["param"] == "content"
    assert len(server.ask("POST", "/tokenize", {"content": "a" * (1 << 20)}).json["tokens"]) == 1 << 20
    assert error(server.ask("POST", "/tokenize", {"content": "a" * ((4 << 20) + 1)}), 400)["param"] == "content"
    for bad in ([-1], [1 << 40], ["a"], [1.5], 7): assert error(server.ask("POST", "/detokenize", {"tokens": bad}), 400)["param"] == "tokens"


# ---------------------------------------------------------------- chat
def test_whole_answer(server):
    said = server.chat(max_tokens=12, temperature=0, thinking={"type": "enabled", "budget_tokens": 4})
    choice, usage = said["choices"][0], said["usage"]
    assert choice["message"] == {"role": "assistant", "content": "an" * 7, "reasoning_content": "an" * 4}
    assert choice["reasoning_truncated"] is True
    assert choice["finish_reason"] == "length" and choice["index"] == 0 and said["model"] == "toy" and said["id"].startswith("chatcmpl-")
    assert usage["completion_tokens"] == 12 and usage["completion_tokens_details"]["reasoning_tokens"] == 4
    assert usage["prompt_cache_hit_tokens"] + usage["prompt_cache_miss_tokens"] == usage["prompt_tokens"] == usage["total_tokens"] - 12
    for off in ({"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}, {"enable_thinking": False}, {"chat_template_kwargs": {"enable_thinking": False}}):
        message = server.chat(max_tokens=6, temperature=0, **off)["choices"][0]["message"]
        assert message == {"role": "assistant", "content": "an" * 6}
    for budget in ({"reasoning_budget_tokens": 3}, {"thinking_token_budget": 3}):
        assert server.chat(max_tokens=12, temperature=0, **budget)["choices"][0]["message"]["reasoning_content"] == "an" * 3
    parts = [{"role": "user", "content": [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]}]
    assert server.chat(messages=parts, max_tokens=2)["usage"]["prompt_tokens"] == usage["prompt_tokens"]


def test_stream_rules(server):
    r = server.chat(stream=True, max_tokens=20, temperature=0, reasoning_budget_tokens=5, stream_options={"include_usage": True})
    assert r.getheader("Content-Type") == "text/event-stream" and r.getheader("Cache-Control") == "no-cache"
    chunks = events(r.text)
    assert all(c["object"] == "chat.completion.chunk" for c in chunks)
    assert len({(c["id"], c["created"], c["model"]) for c in chunks}) == 1
    deltas = [c["choices"][0]["delta"] for c in chunks[:-1]]
    assert deltas[0] == {"role": "assistant", "content": ""} and all("role" not in d for d in deltas[1:])
    assert all(not ("content" in d and "reasoning_content" in d) for d in deltas)
    assert "".join(d.get("reasoning_content", "") for d in deltas) == "an" * 5
    assert "".join(d.get("content", "") for d in deltas) == "an" * 14
    assert deltas[-1] == {} and [c["choices"][0]["finish_reason"] for c in chunks[:-1]] == [None] * (len(deltas) - 1) + ["length"]
    assert all(c["usage"] is None for c in chunks[:-1]) and chunks[-1]["choices"] == [] and chunks[-1]["usage"]["completion_tokens"] == 20
    plain = events(server.chat(stream=True, max_tokens=2).text)
    assert all("usage" not in c for c in plain) and plain[-1]["choices"][0]["finish_reason"] == "length"


def test_stop_texts_never_show(server):
    for stream in (False, True):
        for stop, left in (("an", ""), (["zz", "nan"], "a"), ("anan", ""), ("never", "an" * 9), ("nanx", "an" * 9)):
            said = server.chat(stream=stream, max_tokens=9, temperature=0, reasoning_effort="none", stop=stop)
            if stream:
                chunks = events(said.text)
                text, why = "".join(c["choices"][0]["delta"].get("content", "") for c in chunks), chunks[-1]["choices"][0]["finish_reason"]
            else: text, why = said["choices"][0]["message"]["content"], said["choices"][0]["finish_reason"]
            assert (text, why) == (left, "length" if left == "an" * 9 else "stop"), stop


def test_logprobs(server):
    for stream in (False, True):
        said = server.chat(stream=stream, max_tokens=5, temperature=0, reasoning_effort="none", logprobs=True, top_logprobs=3)
        if stream: items = [t for c in events(said.text) for t in (c["choices"][0]["logprobs"] or {"content": []})["content"]]
        else: items = said["choices"][0]["logprobs"]["content"]
        assert [i["token"] for i in items] == ["an"] * 5
        for i in items:
            assert i["logprob"] <= 0 and bytes(i["bytes"]) == b"an" and len(i["top_logprobs"]) == 3
            assert i["top_logprobs"][0]["logprob"] == max(t["logprob"] for t in i["top_logprobs"]) == i["logprob"]


def test_same_answer_as_run_alone_and_among_others(server):
    flags = ["-n", "40", "--temp", "2", "--top-p", "1", "--min-p", "0", "--json"]
    values = dict(max_tokens=40, temperature=2, top_p=1, min_p=0, reasoning_budget_tokens=-1)
    def run(seed):
        said = json.loads(subprocess.run([PROGRAM, "run", "-m", TOY, "-p", "Hello", "--seed", str(seed), *flags], capture_output=True, text=True).stdout)
        return said["text"], said["thinking"]
    def serve(seed):
        m = server.chat(seed=seed, **values)["choices"][0]["message"]
        return m["content"], m.get("reasoning_content", "")
    expected = {seed: run(seed) for seed in (1, 2, 3)}
    assert len(set(expected.values())) == 3
    assert {seed: serve(seed) for seed in expected} == expected
    with concurrent.futures.ThreadPoolExecutor(32) as pool:   # 32 clients at once
        got = list(pool.map(lambda i: (i % 3 + 1, serve(i % 3 + 1)), range(64)))
    assert all(expected[seed] == said for seed, said in got)


# ---------------------------------------------------------------- bad requests
BAD_FIELDS = {
    "messages": [None, [], {}, "hi", [7], [{}], [{"role": "king", "content": "x"}], [{"role": "user"}], [{"role": "user", "content": 5}],
                 [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}], [{"role": "user", "content": [{"type": "text", "text": 3}]}],
                 [{"role": "assistant", "content": None, "tool_calls": [{"id": "a"}]}]],
    "max_tokens": [0, -1, 1.5, "5", True, [], {}, 1 << 40], "max_completion_tokens": [0, "x"], "n": [0, 17, "1", -5, 1.5, True], "temperature": [-0.1, 2.1, "1", [], True], "repetition_penalty": [-1, 11, 1e-40, "1"],
    "top_p": [-1, 1.01, "x"], "top_k": [-1, 1.5, "x"], "min_p": [2, -1], "presence_penalty": [3, "x"], "frequency_penalty": [-2.5, {}], "seed": ["x", 1.5, {}],
    "stop": [3, {}, [3], [""], "", ["x"] * 17], "stream": ["yes", 1, []], "stream_options": [3, {"include_usage": "x"}], "logprobs": [1, "x"],
    "top_logprobs": [21, -1, "x", 3], "reasoning_effort": ["much", 3], "thinking": ["on", {"type": "maybe"}, {"type": "enabled", "budget_tokens": -1}, {}],
    "chat_template_kwargs": [[], {"messages": []}], "response_format": ["json", {}, {"type": "json_schema", "json_schema": {}}],
    "tools": [[{"type": "function"}], "x"], "tool_choice": ["required", {"type": "function"}], "functions": [[{}]], "logit_bias": [[], "x", {"x": 1}, {"": 1}, {"-1": 1}, {"5": "1"}, {"5": None}, {"5": 101}, {"5": -100.5}, {"99999": 1}, {"1" * 30: 1}, {str(i): 0 for i in range(301)}], "modalities": [["audio"], 3],
    "model": [3, []], "metadata": ["x"], "user": [3], "return_progress": [1, "x", []],
}


@pytest.mark.parametrize("name", BAD_FIELDS)
def test_bad_field_is_named(server, name):
    for value in BAD_FIELDS[name]:
        body = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2, name: value}
        e = error(server.ask("POST", "/v1/chat/completions", body), 400)
        assert e["type"] == "invalid_request_error" and (e["param"] or "").startswith(name), (value, e)


def test_harmless_fields_pass(server):
    server.chat(max_tokens=1, unknown_field={"a": [1]}, tools=[], tool_choice="auto", response_format={"type": "text"}, n=1, user="u", store=False, logit_bias={},
                stop=None, temperature=None, parallel_tool_calls=True, service_tier="auto", model="whatever", metadata={"a": "b"}, seed=-5)


def test_prompt_beyond_the_context(server):
    e = error(server.ask("POST", "/v1/chat/completions", {"messages": [{"role": "user", "content": "word " * 3000}]}), 400)
    assert e["code"] == "context_length_exceeded" and e["n_prompt_tokens"] > e["n_ctx"] == 1024


def test_answer_ends_at_the_context(server):
    said = server.chat(temperature=0, reasoning_effort="none")
    assert said["choices"][0]["finish_reason"] == "length" and said["usage"]["total_tokens"] <= 1024 + 1


def test_a_temperature_as_good_as_none(server):
    answers = [server.chat(temperature=t, max_tokens=9, reasoning_effort="none")["choices"] for t in (0, 5e-324, 1e-45, 1e-39)]
    assert all(a == answers[0] for a in answers)


# ---------------------------------------------------------------- many at once
def test_queue_is_bounded():
    server = Server("--parallel", 1, "--queue", 1)
    try:
        with concurrent.futures.ThreadPoolExecutor(12) as pool:
            def one(_):
                r = server.ask("POST", "/v1/chat/completions", {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 900, "temperature": 1, "logprobs": True, "top_logprobs": 20})
                return r.status, r.getheader("Retry-After"), r.json
            got = list(pool.map(one, range(12)))
        codes = [g[0] for g in got]
        assert set(codes) == {200, 429}, codes
        assert all(retry and said["error"]["type"] == "rate_limit_error" for status, retry, said in got if status == 429)
    finally:
        server.stop()


def test_full_cache_begins_anew():
    server = Server("--parallel", 8, "--ctx-size", 512)   # the cache holds four of them
    try:
        ask = lambda seed: server.chat(seed=seed, temperature=1.5, reasoning_effort="none", max_tokens=480)["choices"][0]["message"]["content"]
        alone = [ask(i) for i in range(8)]
        with concurrent.futures.ThreadPoolExecutor(8) as pool: assert list(pool.map(ask, range(8))) == alone
    finally:
        server.stop()

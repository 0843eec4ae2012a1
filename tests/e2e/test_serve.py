"""`r2lm serve` from outside: plain sockets and http.client, the toy model.

The toy thinks without end, prints "an" and never stops by itself.
"""
import concurrent.futures, http.client, json, os, re, shutil, signal, socket, subprocess, threading, time
import pytest

from serve_client import KEY, PROGRAM, SOURCE, TOY, Server, error, events


@pytest.fixture(scope="module")
def server():
    s = Server("--budget", 0)
    yield s
    assert s.ask("GET", "/health").status == 200   # whatever was done to it
    s.stop()


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
                 [{"role": "tool", "content": "x", "tool_call_id": "a"}], [{"role": "assistant", "content": None, "tool_calls": [{"id": "a"}]}]],
    "max_tokens": [0, -1, 1.5, "5", True, [], {}, 1 << 40], "max_completion_tokens": [0, "x"], "n": [0, 17, "1", -5, 1.5, True], "temperature": [-0.1, 2.1, "1", [], True],
    "top_p": [-1, 1.01, "x"], "top_k": [-1, 1.5, "x"], "min_p": [2, -1], "presence_penalty": [3, "x"], "frequency_penalty": [-2.5, {}], "seed": ["x", 1.5, {}],
    "stop": [3, {}, [3], [""], "", ["x"] * 17], "stream": ["yes", 1, []], "stream_options": [3, {"include_usage": "x"}], "logprobs": [1, "x"],
    "top_logprobs": [21, -1, "x", 3], "reasoning_effort": ["much", 3], "thinking": ["on", {"type": "maybe"}, {"type": "enabled", "budget_tokens": -1}, {}],
    "chat_template_kwargs": [[], {"messages": []}], "response_format": ["json", {}, {"type": "json_object"}, {"type": "json_schema", "json_schema": {}}],
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


def test_bad_json(server):
    deep = lambda n: '{"messages":' + "[" * n + "]" * n + "}"
    for body in ("", "{", "[]", "null", "7", '"x"', '{"a":1,"a":2}', '{"a":NaN}', '{"a":1e999}', '{"a":"\\ud800"}', '{"a":"\\u0000"}', "{} x", "{'a':1}", '{"a":1,}', deep(65),
                 deep(100000), '{"a":' + "9" * 5000 + "}", "[" * 1000000, '{"a":[' + "1," * 300000 + "1]}", b'{"a":"\xff\xfe"}', b'{"a":"\x01"}'):
        error(server.ask("POST", "/v1/chat/completions", body), 400)
    error(server.ask("POST", "/v1/chat/completions", "{}", {"Content-Type": "text/plain"}), 415)
    error(server.ask("POST", "/v1/chat/completions", "{}", {"Content-Type": "application/jsonx"}), 415)


def test_prompt_beyond_the_context(server):
    e = error(server.ask("POST", "/v1/chat/completions", {"messages": [{"role": "user", "content": "word " * 3000}]}), 400)
    assert e["code"] == "context_length_exceeded" and e["n_prompt_tokens"] > e["n_ctx"] == 1024


def test_answer_ends_at_the_context(server):
    said = server.chat(temperature=0, reasoning_effort="none")
    assert said["choices"][0]["finish_reason"] == "length" and said["usage"]["total_tokens"] <= 1024 + 1


H = b"Host: localhost\r\n"
WIRE = {
    "no host": (b"GET /health HTTP/1.1\r\n\r\n", 400), "two hosts": (b"GET /health HTTP/1.1\r\n" + H + H + b"\r\n", 400),
    "two lengths": (b"POST /tokenize HTTP/1.1\r\n" + H + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", 400),
    "length and chunks": (b"POST /tokenize HTTP/1.1\r\n" + H + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "two codings": (b"POST /tokenize HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "coding list": (b"POST /tokenize HTTP/1.1\r\n" + H + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
    "coding unknown": (b"POST /tokenize HTTP/1.1\r\n" + H + b"Transfer-Encoding: xchunked\r\n\r\n", 400),
    **{f"length {v!r}": (b"POST /tokenize HTTP/1.1\r\n" + H + b"Content-Length: " + v + b"\r\n\r\n{}", 400) for v in (b"+2", b"-2", b"0x2", b"2 2", b"2,2", b"", b"2.0", b"1e1")},
    "length huge": (b"POST /tokenize HTTP/1.1\r\n" + H + b"Content-Type: application/json\r\nContent-Length: 99999999999999999999999\r\n\r\n", 413),
    "length beyond": (b"POST /tokenize HTTP/1.1\r\n" + H + b"Expect: 100-continue\r\nContent-Length: 16777217\r\n\r\n", 413),
    "space before colon": (b"GET /health HTTP/1.1\r\n" + H + b"X : y\r\n\r\n", 400), "folded": (b"GET /health HTTP/1.1\r\n" + H + b"X: y\r\n z\r\n\r\n", 400),
    "space first": (b"GET /health HTTP/1.1\r\n Host: localhost\r\n\r\n", 400), "no colon": (b"GET /health HTTP/1.1\r\n" + H + b"Hello\r\n\r\n", 400),
    "bare LF": (b"GET /health HTTP/1.1\nHost: localhost\n\n", 400), "bare CR": (b"GET /health HTTP/1.1\r\n" + H + b"X: a\rb\r\n\r\n", 400),
    "zero": (b"GET /health HTTP/1.1\r\n" + H + b"X: a\0b\r\n\r\n", 400), "control": (b"GET /health HTTP/1.1\r\n" + H + b"X: a\x01b\r\n\r\n", 400),
    "empty name": (b"GET /health HTTP/1.1\r\n" + H + b": y\r\n\r\n", 400), "empty line first": (b"\r\nGET /health HTTP/1.1\r\n" + H + b"\r\n", 400),
    "no version": (b"GET /health\r\n" + H + b"\r\n", 400), "version": (b"GET /health HTTP/2.0\r\n" + H + b"\r\n", 505), "preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "two spaces": (b"GET  /health HTTP/1.1\r\n" + H + b"\r\n", 400), "absolute": (b"GET http://localhost/health HTTP/1.1\r\n" + H + b"\r\n", 400),
    "long line": (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n" + H + b"\r\n", 414), "long field": (b"GET / HTTP/1.1\r\n" + H + b"X: " + b"a" * 9000 + b"\r\n\r\n", 431),
    "large head": (b"GET / HTTP/1.1\r\n" + H + b"".join(b"X%d: %s\r\n" % (i, b"a" * 1000) for i in range(20)) + b"\r\n", 431),
    "many fields": (b"GET / HTTP/1.1\r\n" + H + b"X: y\r\n" * 101 + b"\r\n", 431), "binary": (bytes(range(128, 256)) + b"\r\n\r\n", 400), "tls": (b"\x16\x03\x01\x02\x00\x01\x00", 400),
    "chunk size": (b"POST /tokenize HTTP/1.1\r\n" + H + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400),
    "chunk sign": (b"POST /tokenize HTTP/1.1\r\n" + H + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n", 400),
    "chunk end": (b"POST /tokenize HTTP/1.1\r\n" + H + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}xx0\r\n\r\n", 400),
    "chunk huge": (b"POST /tokenize HTTP/1.1\r\n" + H + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n", 413),
    "trailer": (b"POST /tokenize HTTP/1.1\r\n" + H + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n\r\n", 400),
}


@pytest.mark.parametrize("name", WIRE)
def test_wire(server, name):
    data, status = WIRE[name]
    for pieces in (1, 3, min(len(data), 300)):   # at once, and in pieces
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as s:
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            got = b""
            try:
                for i in range(pieces):
                    s.sendall(data[len(data) * i // pieces:len(data) * (i + 1) // pieces])
                    if pieces == 3: time.sleep(0.002)
                while piece := s.recv(65536): got += piece
            except (ConnectionResetError, BrokenPipeError):
                pass
        assert got.startswith(b"HTTP/1.1 %d " % status), (name, got[:200])
        assert got.count(b"HTTP/1.1 ") == 1 and b"Connection: close" in got
        assert json.loads(got.split(b"\r\n\r\n", 1)[1])["error"]["message"]


def test_chunks_keep_alive_and_pipelines(server):
    head = b"POST /tokenize HTTP/1.1\r\n" + H + b"Content-Type: application/json\r\n"
    one = head + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{\"con\r\n9\r\ntent\":\"a\"\r\n1\r\n}\r\n0\r\n\r\n"
    two = head + b'Content-Length: 15\r\n\r\n{"content":"b"}'
    last = b"GET /health HTTP/1.1\r\n" + H + b"Connection: close\r\n\r\n"
    got = server.raw(one + two + one + last)
    assert got.count(b"HTTP/1.1 200 ") == 4 and got.endswith(b'{"status":"ok"}'), got
    c = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    for _ in range(50):
        c.request("GET", "/health")
        assert c.getresponse().read() == b'{"status":"ok"}'
    assert server.raw(b"GET /health HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200") or server.raw(b"GET /health HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.0 200")


def test_pages_from_elsewhere_stay_out(server):
    for host in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "localhost:80:80", "[::1", "localhost:x", "127.0.0.2"):
        assert error(server.ask("GET", "/health", headers={"Host": host}), 403)["code"] == "host_not_allowed"
    for host in ("localhost", f"localhost:{server.port}", "127.0.0.1", "LOCALHOST:1", "[::1]:80"): assert server.ask("GET", "/health", headers={"Host": host}).status == 200
    for origin in ("http://evil.example", "null", "https://127.0.0.1", "http://127.0.0.1:1", "file://", "http://"):
        assert error(server.ask("GET", "/health", headers={"Origin": origin}), 403)["code"] == "origin_not_allowed"
    r = server.ask("GET", "/health", headers={"Origin": f"http://127.0.0.1:{server.port}"})
    assert r.status == 200 and r.getheader("Access-Control-Allow-Origin") is None and r.getheader("X-Content-Type-Options") == "nosniff"


# ---------------------------------------------------------------- clients that leave, keys, ends
def open_stream(server, **body):
    s = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    data = json.dumps({"messages": [{"role": "user", "content": "Hello"}], "stream": True, "temperature": 0, "reasoning_effort": "none", **body}).encode()
    s.sendall(b"POST /v1/chat/completions HTTP/1.1\r\n" + H + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
    return s


def until(what, seconds=5):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def test_a_client_that_leaves_frees_its_place(server):
    for _ in range(30):
        s = open_stream(server, max_tokens=900)
        s.recv(10)
        s.close()
    until(lambda: server.metric("requests_processing") == 0 and server.metric("requests_deferred") == 0 and server.metric("connections") == 1)
    for _ in range(10):   # before an answer begins, in the midst of a head, of a body
        open_stream(server, max_tokens=900).close()
        for part in (b"GET /he", b"POST /tokenize HTTP/1.1\r\n" + H + b"Content-Type: application/json\r\nContent-Length: 50\r\n\r\n{"):
            with socket.create_connection(("127.0.0.1", server.port)) as s: s.sendall(part)
    until(lambda: server.metric("requests_processing") == 0 and server.metric("connections") == 1)
    assert server.chat(max_tokens=2)["usage"]["completion_tokens"] == 2


def test_idle_connections_do_not_matter(server):
    idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(200)]
    slow = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(50)]
    for s in slow: s.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: lo")
    begin = time.monotonic()
    server.chat(max_tokens=2)
    assert time.monotonic() - begin < 1
    for s in idle + slow: s.close()


def test_keys(tmp_path):
    file = tmp_path / "keys"
    file.write_text(f"# ours\n{KEY}\nsk-other\n")
    server = Server("--api-key-file", file)
    try:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Bearer {KEY}x"}, {"Authorization": f"Bearer {KEY[:-1]}"}, {"Authorization": KEY}, {"x-api-key": ""},
                        {"x-api-key": "k" * 5000}, {"Authorization": "Bearer "}):
            for path in ("/v1/models", "/metrics", "/version", "/nowhere", "/healthy"): assert error(server.ask("GET", path, headers=headers), 401)["type"] == "authentication_error"
            assert error(server.ask("POST", "/v1/chat/completions", {}, headers), 401)["code"] == "invalid_api_key"
        early = server.raw(b"POST /v1/chat/completions HTTP/1.1\r\n" + H + b"Content-Length: 1000000\r\n\r\n")
        assert early.startswith(b"HTTP/1.1 401 ")   # before the body
        assert server.ask("GET", "/health").status == 200
        for headers in ({"Authorization": f"Bearer {KEY}"}, {"x-api-key": "sk-other"}): assert server.ask("GET", "/v1/models", headers=headers).status == 200
        long = [{"role": "user", "content": "word " * 60}]   # more than a page of tokens
        cached = lambda key: server.chat(messages=long, max_tokens=1, headers={"x-api-key": key})["usage"]["prompt_cache_hit_tokens"]
        assert (cached(KEY), cached(KEY) > 0, cached("sk-other")) == (0, True, 0)   # no key sees another's prefix
    finally:
        server.stop()
    assert KEY not in "".join(server.lines) and "word" not in "".join(server.lines)


def test_other_addresses_need_a_key(tmp_path):
    run = lambda *flags: subprocess.run([PROGRAM, "serve", "-m", TOY, *flags], capture_output=True, text=True, timeout=20)
    done = run("--host", "0.0.0.0", "--port", "0")
    assert done.returncode == 2 and "--api-key" in done.stderr and done.stderr.count("\n") == 1
    assert run("--host", "example.com", "--api-key", "k").returncode == 2
    assert run("--api-key-file", tmp_path / "nothing").returncode == 3
    (tmp_path / "empty").write_text("\n")
    assert run("--api-key-file", tmp_path / "empty").returncode == 3
    taken = socket.create_server(("127.0.0.1", 0))
    assert run("--port", str(taken.getsockname()[1])).returncode == 1


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


def test_sigterm_finishes_what_runs():
    server = Server()
    s = open_stream(server, max_tokens=900)
    got = s.recv(100)
    server.child.send_signal(signal.SIGTERM)
    while piece := s.recv(65536): got += piece
    assert b"data: [DONE]" in got and server.child.wait(20) == 0
    with pytest.raises(OSError): socket.create_connection(("127.0.0.1", server.port), timeout=2)


def test_sigterm_cuts_what_takes_too_long():
    server = Server("--drain", 0)
    streams = [open_stream(server, max_tokens=900, logprobs=True, top_logprobs=20) for _ in range(8)]
    for s in streams: s.recv(1)
    begin = time.monotonic()
    server.stop()
    assert time.monotonic() - begin < 10
    for s in streams: s.close()


def test_a_second_signal_ends_at_once():
    server = Server("--draft", "off")
    stalled = [open_stream(server, max_tokens=900, logprobs=True, top_logprobs=20) for _ in range(32)]   # nobody reads: they stay
    server.child.send_signal(signal.SIGTERM)
    time.sleep(0.05)
    if server.child.poll() is None: server.child.send_signal(signal.SIGTERM)
    assert server.child.wait(5) in (0, 143, -15)   # 0: it was done before
    for s in stalled: s.close()


def test_bodies_beyond_the_limit():
    server = Server("--max-body", 1)
    try:
        head = b"POST /tokenize HTTP/1.1\r\n" + H + b"Content-Type: application/json\r\n"
        assert server.raw(head + b"Content-Length: 1048577\r\n\r\n").startswith(b"HTTP/1.1 413 ")
        assert b"HTTP/1.1 413 " in server.raw(head + b"Transfer-Encoding: chunked\r\n\r\n" + (b"80000\r\n" + b"x" * 0x80000 + b"\r\n") * 3)
        text = "a" * 1000000
        assert server.ask("POST", "/tokenize", {"content": text}).status == 200
        assert server.ask("GET", "/health").status == 200
    finally:
        server.stop()


@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")
def test_nothing_connects_outward(tmp_path):
    log = tmp_path / "calls"
    server = Server(prefix=["strace", "-f", "-qq", "-o", str(log), "-e", "trace=connect,sendto,sendmsg"])
    server.chat(max_tokens=3)
    server.chat(max_tokens=3, stream=True)
    subprocess.run(["pkill", "-TERM", "-P", str(server.child.pid)])
    server.child.wait(20)
    calls = [l for l in log.read_text().splitlines() if "AF_INET" in l]
    assert calls == []

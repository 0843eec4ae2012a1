"""Several answers to one request, biases, progress, times."""
import concurrent.futures, json, socket, time
import pytest

from serve_client import Server, events, serving


@pytest.fixture(scope="module")
def server(): yield from serving("--budget", 0)


WILD = dict(max_tokens=24, temperature=2, top_p=1, min_p=0)
LONG = [{"role": "user", "content": "word " * 120}]


def message(choice): return choice["message"]["content"], choice["message"].get("reasoning_content")


def streamed(chunks, n):
    """What each choice said, was told and gave as its reason."""
    text, roles, ends = [[""] * n, [""] * n], [[] for _ in range(n)], [[] for _ in range(n)]
    for c in chunks:
        for choice in c["choices"]:
            i, d = choice["index"], choice["delta"]
            text[0][i] += d.get("content") or ""
            text[1][i] += d.get("reasoning_content") or ""
            if "role" in d: roles[i].append(d["role"])
            if choice["finish_reason"]: ends[i].append(choice["finish_reason"])
    return text, roles, ends


@pytest.mark.parametrize("n", [2, 5, 16])
def test_choices_are_requests_with_the_next_seeds(server, n):
    each = [server.chat(seed=100 + i, reasoning_budget_tokens=5, **WILD) for i in range(n)]
    alone, whys = [message(e["choices"][0]) for e in each], [e["choices"][0]["finish_reason"] for e in each]
    total, thoughts = (sum(of(e["usage"]) for e in each) for of in (lambda u: u["completion_tokens"], lambda u: u["completion_tokens_details"]["reasoning_tokens"]))
    assert len(set(alone)) > n / 2
    said = server.chat(seed=100, n=n, reasoning_budget_tokens=5, **WILD)
    assert [c["index"] for c in said["choices"]] == list(range(n))
    assert [message(c) for c in said["choices"]] == alone
    assert said["usage"]["completion_tokens"] == total and said["usage"]["completion_tokens_details"]["reasoning_tokens"] == thoughts
    assert said["usage"]["prompt_tokens"] == server.chat(max_tokens=1)["usage"]["prompt_tokens"]
    chunks = events(server.chat(seed=100, n=n, stream=True, reasoning_budget_tokens=5, stream_options={"include_usage": True}, **WILD).text)
    assert [c["choices"][0]["index"] for c in chunks[:n]] == list(range(n))   # clients make room in this order
    (content, thought), roles, ends = streamed(chunks, n)
    assert list(zip(content, thought)) == alone and roles == [["assistant"]] * n and ends == [[w] for w in whys]
    assert chunks[-1]["usage"]["completion_tokens"] == total


def test_fewer_places_than_choices():
    server = Server("--parallel", 2, "--ctx-size", 512)
    try:
        alone = [message(server.chat(seed=7 + i, **WILD)["choices"][0]) for i in range(6)]
        assert [message(c) for c in server.chat(seed=7, n=6, **WILD)["choices"]] == alone
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            for said in pool.map(lambda _: server.chat(seed=7, n=6, **WILD), range(8)): assert [message(c) for c in said["choices"]] == alone
    finally:
        server.stop()


def test_choices_begin_anew_when_the_cache_is_full():
    server = Server("--parallel", 8, "--ctx-size", 512)   # the cache holds four of them
    try:
        values = dict(temperature=1.5, reasoning_effort="none", max_tokens=480)
        alone = [message(server.chat(seed=i, **values)["choices"][0]) for i in range(8)]
        assert [message(c) for c in server.chat(seed=0, n=8, **values)["choices"]] == alone
    finally:
        server.stop()


def test_prompt_is_read_once():
    server = Server()
    try:
        before = server.metric("prefix_cache_queries_total")
        said = server.chat(messages=LONG, n=8, max_tokens=4, reasoning_effort="none")
        n_prompt = said["usage"]["prompt_tokens"]
        assert n_prompt > 120 and said["usage"]["prompt_cache_hit_tokens"] == 0
        assert server.metric("prefix_cache_queries_total") - before == n_prompt + 7   # of each other choice, the last token
    finally:
        server.stop()


def test_stop_texts_and_logprobs_of_each_choice(server):
    values = dict(seed=3, n=4, stop=["a", "e"], logprobs=True, top_logprobs=2, reasoning_effort="none", **WILD)
    for c, alone in zip(server.chat(**values)["choices"], [server.chat(**{**values, "seed": 3 + i, "n": 1})["choices"][0] for i in range(4)]):
        assert {**c, "index": 0} == alone and "a" not in c["message"]["content"]


def test_a_client_that_leaves_ends_all_its_choices(server):
    body = json.dumps({"messages": LONG, "n": 16, "max_tokens": 800, "stream": True}).encode()
    for read in (0, 1, 400):
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as s:
            s.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            if read: s.recv(read)
    end = time.monotonic() + 20
    while server.metric("requests_processing") + server.metric("requests_deferred") > 0:
        assert time.monotonic() < end
        time.sleep(0.02)


def test_logit_bias(server):
    tokens = {t: server.ask("POST", "/tokenize", {"content": t}).json["tokens"] for t in ("an", "x")}
    assert all(len(t) == 1 for t in tokens.values())
    an, x = (str(tokens[t][0]) for t in ("an", "x"))
    values = dict(max_tokens=6, temperature=0, reasoning_effort="none")
    say = lambda bias: server.chat(logit_bias=bias, **values)["choices"][0]["message"]["content"]
    assert say({}) == say({an: 0}) == "an" * 6
    assert "an" not in say({an: -100}) and say({x: 100}) == "x" * 6 and say({x: 100, an: -100.0}) == "x" * 6
    assert server.chat(logit_bias={x: 100}, n=2, **values)["choices"][1]["message"]["content"] == "x" * 6


def test_progress_and_times(server):
    unique = [{"role": "user", "content": "progress " * 100}]
    n = server.chat(messages=unique, max_tokens=1)["usage"]["prompt_tokens"]
    server2 = Server()
    try:
        chunks = events(server2.chat(messages=unique, max_tokens=3, stream=True, return_progress=True).text)
        told = [c["prompt_progress"] for c in chunks if "prompt_progress" in c]
        assert told and all(c["choices"] == [] for c in chunks if "prompt_progress" in c)
        assert [t["processed"] for t in told] == sorted({t["processed"] for t in told}) and told[-1]["processed"] == n
        assert all(t["total"] == n and t["cache"] == 0 and t["time_ms"] >= 0 for t in told)
        assert all("prompt_progress" not in c for c in events(server2.chat(messages=unique, max_tokens=3, stream=True).text))
        said = server2.chat(messages=unique, max_tokens=3)
        times, usage = said["timings"], said["usage"]
        assert times["cache_n"] == usage["prompt_cache_hit_tokens"] > 0 and times["prompt_n"] == usage["prompt_cache_miss_tokens"] and times["predicted_n"] == 3
        assert times["prompt_ms"] > 0 and times["predicted_ms"] > 0
        assert abs(times["prompt_per_second"] * times["prompt_ms"] / 1e3 - times["prompt_n"]) < 1e-3
        for options in ({}, {"stream_options": {"include_usage": True}}):
            chunks = events(server2.chat(max_tokens=3, stream=True, **options).text)
            assert ["timings" in c for c in chunks] == [False] * (len(chunks) - 1) + [True]
    finally:
        server2.stop()

"""Who waits for whom, and what is read only once: turns, portions, preemption, cancellation, the prefix cache, metrics."""
import concurrent.futures, json, re, socket, threading, time
import pytest
from serve_client import Server, error, events, open_stream, serving, until

LONG = 60000   # tokens: nobody waits for the end of that
THINK_OFF = {"reasoning_effort": "none"}
A, B = {"Authorization": "Bearer sk-a"}, {"Authorization": "Bearer sk-b"}


def text_of(n, salt=0):
    """About n tokens, one a letter, that no other salt begins with."""
    return "".join(chr(97 + (i * 7 + salt * 3 + i * i % 11 + (salt >> i % 5)) % 26) for i in range(n))


def user(text):
    return [{"role": "user", "content": text}]


def cache_of(reply):
    found = re.fullmatch(r"hit=(\d+); miss=(\d+); reason=(\w+)(?:@(\d+))?", reply.getheader("X-R2-Cache"))
    return int(found[1]), int(found[2]), found[3], int(found[4]) if found[4] else None


def ask(server, text, headers=None, **body):
    reply = server.ask("POST", "/v1/chat/completions", {"messages": user(text), "max_tokens": 1, **THINK_OFF, **body}, headers)
    assert reply.status == 200, reply.text
    return reply


def open_chat(server, text, headers=None, **body): return open_stream(server, headers, messages=user(text), **{"stream": False, **body})


@pytest.fixture(scope="module")
def server(): yield from serving("--ctx-size", 16384)


# ---------------------------------------------------------------- turns
def deferred(server, headers):
    return float(re.search(r"^r2:requests_deferred (\S+)$", server.ask("GET", "/metrics", headers=headers).text, re.M)[1])


def test_many_requests_do_not_starve_one(tmp_path):
    """Two of A's are written, forty wait; B's only one is among the first that come next."""
    keys = tmp_path / "keys"
    keys.write_text("sk-a\nsk-b\n")
    server = Server("--parallel", 2, "--api-key-file", keys, "--ctx-size", 65536)
    try:
        held = [open_chat(server, "Hello", A, max_tokens=LONG, temperature=1.5, stream=True, logprobs=True, top_logprobs=20) for _ in range(2)]
        for s in held: s.recv(100)
        many = [open_chat(server, text_of(40, i), A, max_tokens=5) for i in range(40)]
        until(lambda: deferred(server, A) == 40)
        one = open_chat(server, "Hello", B, max_tokens=7)
        until(lambda: deferred(server, A) == 41)
        server.ask("POST", "/tokenize", {"content": "Hi"}, A)   # requests are read in their order: so all of them were
        for s in held: s.close()
        for s in [*many, one]: assert s.recv(12) == b"HTTP/1.1 200"
        ended = lambda: [found[1] for l in server.lines if (found := re.search(r"answer=([57])\b", l))]
        until(lambda: len(ended()) == 41)
        assert ended().index("7") <= 3, ended()[:10]
        for s in [*many, one]: s.close()
    finally:
        server.stop()


def test_a_short_prompt_passes_a_long_one(server):
    times = {}

    def one(name, text):
        begin = time.monotonic()
        server.chat(messages=user(text), max_tokens=1, **THINK_OFF)
        times[name] = time.monotonic() - begin
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        long = pool.submit(one, "long", text_of(14000, 1))
        until(lambda: server.metric("requests_processing") > 0 or long.done())
        if long.done(): pytest.skip("the long prompt was read at once")
        pool.submit(one, "short", text_of(50, 2)).result()
        was_first = not long.done()
        long.result()
    assert was_first or times["short"] < times["long"] / 2, times


def test_streams_flow_beside_a_long_prompt(server):
    stream = open_chat(server, text_of(30, 3), max_tokens=4000, temperature=1.5, stream=True, logprobs=True, top_logprobs=20)
    stream.recv(100)
    arrivals = []

    def watch():
        try:
            while stream.recv(4096): arrivals.append(time.monotonic())
        except OSError: pass
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    begin = time.monotonic()
    server.chat(messages=user(text_of(15000, 4)), max_tokens=1, **THINK_OFF)
    end = time.monotonic()
    stream.shutdown(socket.SHUT_RDWR)
    watcher.join()
    during = [t for t in arrivals if begin <= t <= end]
    stream.close()
    if len(arrivals) > 0 and arrivals[-1] < end - (end - begin) / 2: pytest.skip("the stream was done before")
    gaps = [b - a for a, b in zip([begin, *during], [*during, end])]
    assert len(during) > 5 and max(gaps) < max(0.5, (end - begin) / 2), (end - begin, max(gaps))


# ---------------------------------------------------------------- leaving
def test_leaving_while_the_prompt_is_read(server):
    before = server.metric("prefix_cache_queries_total")
    gone = [open_chat(server, text_of(15000, 10 + i), max_tokens=10) for i in range(6)]
    until(lambda: server.metric("requests_processing") > 0)
    for s in gone: s.close()
    until(lambda: server.metric("requests_processing") + server.metric("requests_deferred") == 0)
    read = server.metric("prefix_cache_queries_total") - before
    assert read < 6 * 15000   # they were not read to the end
    assert server.metric("kv_cache_usage_ratio") == 0


def test_leaving_while_waiting():
    server = Server("--parallel", 1, "--ctx-size", 65536)
    try:
        runs = open_chat(server, "Hello", max_tokens=LONG, temperature=1.5, stream=True, logprobs=True, top_logprobs=20)
        runs.recv(100)
        for i in range(8):   # read already, or being read: the long ones take a while
            waits = open_chat(server, text_of(50000, i) if i % 2 else "Hi", max_tokens=10)
            until(lambda: server.metric("requests_deferred") == 1)
            waits.close()
            until(lambda: server.metric("requests_deferred") == 0, 10)
            assert server.metric("requests_processing") == 1   # the other goes on
        runs.close()
        until(lambda: server.metric("requests_processing") == 0)
        text = server.ask("GET", "/metrics").text
        assert 'r2:requests_total{endpoint="/v1/chat/completions",code="499"} 9' in text
    finally:
        server.stop()


def test_retry_after_grows_with_the_queue():
    server = Server("--parallel", 1, "--queue", 3, "--ctx-size", 65536)
    try:
        held = [open_chat(server, text_of(20, i), max_tokens=LONG, temperature=1.5, logprobs=True, top_logprobs=20) for i in range(4)]
        until(lambda: server.metric("requests_processing") + server.metric("requests_deferred") == 4)
        refused = server.ask("POST", "/v1/chat/completions", {"messages": user("x")})
        assert error(refused, 429)["code"] == "queue_full" and 1 <= int(refused.getheader("Retry-After")) <= 30
        for s in held: s.close()
        until(lambda: server.metric("requests_processing") + server.metric("requests_deferred") == 0)
    finally:
        server.stop()


def test_a_key_with_nothing_under_way_finds_a_place(tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("sk-a\nsk-b\n")
    server = Server("--parallel", 1, "--queue", 2, "--api-key-file", keys, "--ctx-size", 65536)
    try:
        many = [open_chat(server, text_of(20, i), A, max_tokens=LONG, temperature=1.5, logprobs=True, top_logprobs=20) for i in range(6)]
        until(lambda: deferred(server, A) == 2)
        assert server.ask("POST", "/v1/chat/completions", {"messages": user("x")}, A).status == 429
        one = open_chat(server, "Hello", B, max_tokens=1)
        until(lambda: deferred(server, A) == 3)
        assert server.ask("POST", "/v1/chat/completions", {"messages": user("x")}, B).status == 429   # one place, not more
        for s in many: s.close()
        assert one.recv(12) == b"HTTP/1.1 200"
        one.close()
    finally:
        server.stop()


def test_many_texts_of_one_key_do_not_hold_up_another(tmp_path):
    """What takes long before the engine sees it: twelve large texts of A's; B's comes behind the one that is being read, or the next."""
    keys = tmp_path / "keys"
    keys.write_text("sk-a\nsk-b\n")
    server = Server("--api-key-file", keys)
    count = lambda: sum("/tokenize" in l for l in server.lines)
    body = json.dumps({"content": "ab " * (1 << 20)}).encode()
    head = b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer sk-a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    try:
        many = [server.connect(60) for _ in range(12)]
        for s in many: s.sendall(head % len(body) + body)
        until(lambda: count() > 0)   # the others have arrived by then
        n_before = count()
        assert n_before < 8
        assert server.ask("POST", "/detokenize", {"tokens": [1]}, B).status == 200
        assert count() <= n_before + 3
        for s in many: s.close()
    finally:
        server.stop()


# ---------------------------------------------------------------- a small cache
def test_more_than_the_cache_holds():
    """32 answers of up to 2,000 tokens share room for 8,192: the young give way, all end, with the same words as alone."""
    server = Server("--ctx-size", 8192, "--cache-ram", 1)
    try:
        def one(i):
            said = server.chat(messages=user(text_of(60, i)), max_tokens=600 + 40 * i, temperature=1.5, seed=i, **THINK_OFF)
            return said["choices"][0]["message"]["content"], said["choices"][0]["finish_reason"], said["usage"]["completion_tokens"]
        with concurrent.futures.ThreadPoolExecutor(32) as pool: together = list(pool.map(one, range(32)))
        assert server.metric("preemptions_total") > 0
        assert [t[2] for t in together] == [600 + 40 * i for i in range(32)] or all(t[1] == "stop" for t in together if t[2] < 600)
        for i in (0, 13, 31): assert one(i) == together[i]
        assert server.metric("kv_cache_usage_ratio") == 0
    finally:
        server.stop()


def test_what_never_fits_is_refused_at_once():
    server = Server("--ctx-size", 16384, "--cache-ram", 1)
    try:
        room = None
        e = error(server.ask("POST", "/v1/chat/completions", {"messages": user(text_of(15000))}), 400)
        room = e["n_ctx"]
        assert e["code"] == "cache_full" and e["n_prompt_tokens"] > room and str(room) in e["message"] and room % 128 == 0
        e = error(server.ask("POST", "/v1/chat/completions", {"messages": user(text_of(20000))}), 400)
        assert e["code"] == "context_length_exceeded" and e["n_ctx"] == room and "16384" in e["message"]
        said = server.chat(messages=user(text_of(room - 100)), max_tokens=4000, temperature=1.5, **THINK_OFF)   # ends where the cache does
        assert said["choices"][0]["finish_reason"] == "length" and said["usage"]["total_tokens"] == room
        with concurrent.futures.ThreadPoolExecutor(2) as pool:   # each needs more than half: both finish
            got = list(pool.map(lambda i: server.chat(messages=user(text_of(room * 6 // 10, i)), max_tokens=300, temperature=1.5, **THINK_OFF)["usage"], range(2)))
        assert all(u["completion_tokens"] > 0 for u in got)
    finally:
        server.stop()


# ---------------------------------------------------------------- the same words
def test_alone_in_a_batch_and_cached(server):
    body = dict(max_tokens=120, temperature=1.3, seed=5, logprobs=True, top_logprobs=2)
    say = lambda salt: server.chat(messages=user(text_of(400, salt)), **body, **THINK_OFF)["choices"][0]
    alone = say(70)
    with concurrent.futures.ThreadPoolExecutor(8) as pool: batch = list(pool.map(say, [70, *range(71, 78)]))
    assert batch[0] == alone   # and by now its prompt is cached
    fresh = Server("--ctx-size", 16384)
    try:
        cold = fresh.chat(messages=user(text_of(400, 70)), **body, **THINK_OFF)
        assert cold["choices"][0] == alone and cold["usage"]["prompt_cache_hit_tokens"] == 0
    finally:
        fresh.stop()


# ---------------------------------------------------------------- the prefix cache
def test_what_of_a_prompt_was_known():
    server = Server("--ctx-size", 4096)
    try:
        first = ask(server, text_of(300))
        hit, miss, reason, place = cache_of(first)
        usage = first.json["usage"]
        assert (hit, miss, reason, place) == (0, usage["prompt_tokens"], "first_seen", None)
        hit, miss, reason, place = cache_of(ask(server, text_of(300)))
        assert (hit, miss, reason) == (usage["prompt_tokens"] - 1, 1, "none")   # the last token is always computed
        hit, miss, reason, place = cache_of(ask(server, text_of(300)[:200] + "#" + text_of(300)[201:]))
        assert reason == "diverged" and hit == place and 200 <= place < usage["prompt_tokens"] - 50
        r = server.ask("POST", "/v1/chat/completions", {"messages": user(text_of(300)), "max_tokens": 1, "stream": True, "stream_options": {"include_usage": True}, **THINK_OFF})
        hit, miss, reason, place = cache_of(r)   # the head of a stream tells it too
        assert hit == usage["prompt_tokens"] - 1 and events(r.text)[-1]["usage"]["prompt_cache_hit_tokens"] == hit
        metrics = server.ask("GET", "/metrics").text
        for reason, n in (("first_seen", 1), ("none", 2), ("diverged", 1), ("grown", 0), ("evicted", 0)): assert f'r2:prefix_cache_requests_total{{reason="{reason}"}} {n}\n' in metrics
        assert server.ask("POST", "/v1/chat/completions", {"messages": "x"}).getheader("X-R2-Cache") is None
    finally:
        server.stop()


def test_prompts_that_were_evicted():
    server = Server("--ctx-size", 8192, "--cache-ram", 1)
    try:
        ask(server, text_of(6000, 1))
        ask(server, text_of(6000, 2))
        hit, miss, reason, place = cache_of(ask(server, text_of(6000, 1)))
        assert reason == "evicted" and hit == place < 3000
        assert 'r2:prefix_cache_requests_total{reason="evicted"} 1\n' in server.ask("GET", "/metrics").text
    finally:
        server.stop()


def test_no_key_or_user_sees_what_another_left(tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("sk-a\nsk-b\n")
    server = Server("--api-key-file", keys, "--ctx-size", 4096)
    canary = text_of(600, 7)
    try:
        def probe(headers, text, **body):
            r = ask(server, text, headers, **body)
            return cache_of(r), r.json["usage"]["prompt_cache_hit_tokens"], sorted(k for k, _ in r.getheaders())
        ask(server, canary, A)
        assert probe(A, canary)[1] > 500
        # What B sees of A's canary and of a text that nobody sent is the same, but for its own length.
        strange, known = probe(B, text_of(600, 8)), probe(B, canary)
        assert known[1] <= 40 and known[1] == known[0][0]   # at most the words around every message, which B itself sent
        assert (known[0][2], known[0][3], known[2]) == ("diverged", strange[0][3] or known[0][3], strange[2])
        assert known[0][3] <= 40
        # Users within a key.
        ask(server, canary, A, user_id="one")
        assert probe(A, canary, user_id="one")[1] > 500
        assert probe(A, canary, user_id="two")[1] == 0
        assert probe(B, canary, user_id="one")[1] == 0
    finally:
        server.stop()


def run_trace(server, n_turns, **body):
    """An agent's turns: each sends all that was said, the server's own answers as they came, and a tool's long output."""
    messages, n_sent, n_again, before = [{"role": "system", "content": "You are an agent. " * 20}], 0, 0, 0
    for turn in range(n_turns):
        messages.append({"role": "user", "content": f"Output of tool {turn}:\n{text_of(250, turn)}"})
        said = server.chat(messages=messages, max_tokens=50, temperature=1.2, seed=turn, **body)
        usage, message = said["usage"], said["choices"][0]["message"]
        n_sent += usage["prompt_tokens"]
        n_again += max(before - usage["prompt_cache_hit_tokens"], 0)
        before = usage["total_tokens"]
        messages.append({k: v for k, v in message.items() if k in ("role", "content", "reasoning_content")})
    return n_again / n_sent, n_again, messages


@pytest.mark.parametrize("body", [THINK_OFF, {"thinking": {"type": "enabled", "budget_tokens": 30}}], ids=["plain", "thinking"])
def test_an_agent_does_not_read_again_what_it_said(server, body):
    share, n_again, messages = run_trace(server, 20, **body)
    print(f"read again: {share:.2%}, {n_again} tokens")
    assert share < 0.02 and n_again <= 20 * 60   # what is left is the answers: the template leaves out thoughts, also empty ones, before all later turns, so they move
    # Regenerated: nothing is read again but the last token.
    last = lambda: server.chat(messages=messages[:-1], max_tokens=50, temperature=1.2, seed=77, **body)["usage"]
    last()
    usage = last()
    assert usage["prompt_cache_miss_tokens"] == 1


def test_a_text_that_goes_on_is_not_read_again(server):
    text, n_again, n_sent, before = text_of(400, 90), 0, 0, 0
    for turn in range(20):
        said = server.ask("POST", "/v1/completions", {"prompt": text, "max_tokens": 40, "temperature": 1.2, "seed": turn}).json
        usage = said["usage"]
        n_sent += usage["prompt_tokens"]
        n_again += max(before - usage["prompt_tokens_details"]["cached_tokens"], 0)
        before = usage["total_tokens"]
        text += said["choices"][0]["text"] + text_of(150, turn)
    print(f"read again: {n_again / n_sent:.2%}, {n_again} tokens")
    assert n_again <= 20 * 3   # the token drawn last, and what the texts make at the joint


def test_equal_prompts_are_read_once(server):
    text = text_of(5000, 40)
    before = server.metric("prefix_cache_hits_total")
    with concurrent.futures.ThreadPoolExecutor(8) as pool: said = list(pool.map(lambda i: server.chat(messages=user(text), max_tokens=2, **THINK_OFF)["usage"], range(8)))
    n = said[0]["prompt_tokens"]
    assert server.metric("prefix_cache_hits_total") - before > 6.5 * n


# ---------------------------------------------------------------- metrics
NAMES = """prompt_tokens_total tokens_predicted_total prompt_seconds_total requests_processing requests_deferred time_to_first_token_seconds inter_token_latency_seconds e2e_request_latency_seconds
prefix_cache_queries_total prefix_cache_hits_total kv_cache_usage_ratio spec_decode_num_draft_tokens_total spec_decode_num_accepted_tokens_total reasoning_tokens_total requests_total""".split()


def parse_strictly(text):
    """Prometheus' text format 0.0.4: {name: (type, [(sample, labels, value)])}."""
    families, current = {}, None
    assert text.endswith("\n") and "\r" not in text
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            name, help = line[7:].split(" ", 1)
            assert name not in families and help
            current, families[name] = name, [None, []]
        elif line.startswith("# TYPE "):
            name, kind = line[7:].split(" ")
            assert name == current and families[name][0] is None and not families[name][1] and kind in ("counter", "gauge", "histogram")
            families[name][0] = kind
        else:
            found = re.fullmatch(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[a-zA-Z_]\w*=\"(?:[^\"\\\n]|\\[\\n\"])*\",?)*)\})? (\S+)", line)
            assert found, line
            sample, labels, value = found[1], dict(re.findall(r'(\w+)="([^"]*)"', found[2] or "")), float(found[3])
            kind, samples = families[current]
            assert sample in ([current + s for s in ("_bucket", "_sum", "_count")] if kind == "histogram" else [current]), line
            assert (sample, labels) not in [(s, l) for s, l, _ in samples], line
            samples.append((sample, labels, value))
    return families


def test_metrics_are_as_prometheus_reads_them(server):
    server.chat(max_tokens=5, messages=user("Hello"))
    server.ask("GET", "/nowhere")
    text = server.ask("GET", "/metrics").text
    families = parse_strictly(text)
    assert {"r2:" + n for n in NAMES} <= set(families) and all(n.startswith("r2:") for n in families)
    for name, (kind, samples) in families.items():
        assert kind == "histogram" or samples, name
        if kind == "counter": assert name.endswith("_total") and all(v >= 0 for _, _, v in samples)
        if kind != "histogram": continue
        buckets = [(float(l["le"]), v) for s, l, v in samples if s.endswith("_bucket")]
        count = [v for s, _, v in samples if s.endswith("_count")]
        assert buckets == sorted(buckets) and [v for _, v in buckets] == sorted(v for _, v in buckets) and buckets[-1][0] == float("inf")
        assert count == [buckets[-1][1]] and count[0] > 0
    endings = {(l["endpoint"], l["code"]): v for _, l, v in families["r2:requests_total"][1]}
    assert endings["/v1/chat/completions", "200"] >= 1 and endings["-", "404"] == 1
    assert families["r2:prefix_cache_hits_total"][1][0][1] == {"tier": "ram"}


def test_metrics_as_the_client_library_reads_them(server):
    parser = pytest.importorskip("prometheus_client.parser")
    families = {f.name: f for f in parser.text_string_to_metric_families(server.ask("GET", "/metrics").text)}
    assert families["r2:time_to_first_token_seconds"].type == "histogram" and families["r2:prompt_tokens"].type == "counter"

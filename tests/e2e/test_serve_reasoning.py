"""Thinking through `r2lm serve`: every spelling of on, off, effort and budget; what is said twice; what is sent back.

The toy thinks without end, prints "an" and never closes its block by itself.
"""
import http.client, json
import pytest
import toy_variant

from serve_client import KEY, Server, TOY, error, events, serving

OPEN, CLOSED = "<think>\n", "<think>\n\n</think>\n\n"


@pytest.fixture(scope="module")
def server(): yield from serving()


def toy_with(tmp_path, template): return toy_variant.write(TOY, str(tmp_path / "toy.gguf"), template)


def answer(server, **body):
    choice = server.chat(temperature=0, **body)["choices"][0]
    message = choice["message"]
    return message.get("reasoning_content", ""), message["content"], choice.get("reasoning_truncated", False), choice["finish_reason"]


def thoughts(server, **body):
    said, _, _, _ = answer(server, **body)
    assert said == "an" * (len(said) // 2)
    return len(said) // 2


def prompt(server, **body):
    return server.ask("POST", "/apply-template", {"messages": [{"role": "user", "content": "Hi"}], **body}).json["prompt"]


ON = [{"thinking": {"type": "enabled"}}, {"thinking": {"type": "adaptive"}}, {"enable_thinking": True}, {"think": True}, {"reasoning": {"enabled": True}},
      {"chat_template_kwargs": {"enable_thinking": True}}, {"chat_template_kwargs": {"thinking": True}}]
OFF = [{"thinking": {"type": "disabled"}}, {"enable_thinking": False}, {"think": False}, {"reasoning": {"enabled": False}}, {"reasoning_effort": "none"}, {"reasoning": {"effort": "none"}},
       {"think": "none"}, {"chat_template_kwargs": {"enable_thinking": False}}, {"chat_template_kwargs": {"thinking": False}}]
EFFORTS = dict(minimal=1024, low=1024, medium=8192, high=8192, xhigh=8192, max=0, ultra=0)
BUDGETS = [lambda n: {"thinking": {"type": "enabled", "budget_tokens": n}}, lambda n: {"reasoning_budget_tokens": n}, lambda n: {"thinking_token_budget": n},
           lambda n: {"thinking_budget_tokens": n}, lambda n: {"reasoning": {"max_tokens": n}}]


def test_on_and_off(server):
    assert prompt(server).endswith(OPEN) and not prompt(server).endswith(CLOSED)
    for on in ON: assert prompt(server, **on).endswith(OPEN) and thoughts(server, max_tokens=8, **on) == 5, on
    for off in OFF: assert prompt(server, **off).endswith(CLOSED) and answer(server, max_tokens=8, **off) == ("", "an" * 8, False, "length"), off


def test_a_server_that_does_not_think_by_itself():
    server = Server("--no-think")
    try:
        assert prompt(server).endswith(CLOSED) and thoughts(server, max_tokens=8) == 0
        for on in ON + [{"reasoning_effort": "low"}, {"think": "high"}]: assert thoughts(server, max_tokens=8, **on) == 5, on
        assert thoughts(server, max_tokens=8, reasoning_budget_tokens=3) == 0    # a budget alone asks for nothing
    finally:
        server.stop()


@pytest.mark.parametrize("spelling", range(len(BUDGETS)))
def test_budgets_are_exact(server, spelling):
    for n in (0, 1, 2, 3, 7, 8, 9, 20, 31):
        said, text, is_cut, why = answer(server, max_tokens=40, **BUDGETS[spelling](n))
        assert (said, text, is_cut, why) == ("an" * n, "an" * (40 - n - 1), True, "length"), n
        chunks = events(server.chat(stream=True, temperature=0, max_tokens=40, stream_options={"include_usage": True}, **BUDGETS[spelling](n)).text)
        deltas = [c["choices"][0]["delta"] for c in chunks[:-1]]
        assert "".join(d.get("reasoning_content", "") for d in deltas) == "an" * n and "".join(d.get("content", "") for d in deltas) == "an" * (39 - n)
        assert chunks[-1]["usage"]["completion_tokens_details"]["reasoning_tokens"] == n
        assert chunks[-2]["choices"][0]["reasoning_truncated"] is True and not any("reasoning_truncated" in c["choices"][0] for c in chunks[:-2])


def test_warm_budgets_are_exact(server):
    """Drawn at a high temperature the toy may close its block itself, never later than its budget."""
    for seed in range(30):
        body = dict(max_tokens=60, temperature=2, top_p=1, min_p=0, seed=seed)
        usage = server.chat(reasoning_budget_tokens=17, **body)["usage"]
        assert usage["completion_tokens_details"]["reasoning_tokens"] <= 17


def test_without_a_budget_an_answer_follows(server):
    for n in (4, 5, 8, 12, 40, 100):
        said, text, is_cut, why = answer(server, max_tokens=n)
        most = min(n * 3 // 4, n - 3)
        assert (len(said) // 2, len(text) // 2, is_cut, why) == (most, n - most - 1, True, "length"), n
    for n in (1, 2, 3): assert answer(server, max_tokens=n)[0] == ""
    assert answer(server, max_tokens=40, reasoning_budget_tokens=-1) == ("an" * 40, "", False, "length")    # asked for
    assert answer(server, max_tokens=40, reasoning_budget_tokens=1000) == ("an" * 40, "", False, "length")
    said, text, is_cut, _ = answer(server)     # to the end of the context
    used = len(prompt(server)) and server.ask("POST", "/apply-template", {"messages": [{"role": "user", "content": "Hello"}]}).json["n_tokens"]
    assert len(said) // 2 == (1024 - used) * 3 // 4 and is_cut and text


def test_efforts(tmp_path):
    template = "{{ reasoning_effort|default('?') }} {{ thinking|default('?') }} {{ enable_thinking|default('?') }}"
    server = Server("-m", toy_with(tmp_path, template))
    try:
        told = dict(minimal="low", low="low", medium="high", high="high", xhigh="high", max="max", ultra="max")
        for name in EFFORTS:
            for body in ({"reasoning_effort": name}, {"reasoning": {"effort": name}}, {"think": name}): assert prompt(server, **body) == told[name] + " ? ?", body
        assert prompt(server, reasoning_effort="none").startswith("? ") and prompt(server, think=True) == "? True True" and prompt(server) == "? ? ?"
        assert prompt(server, reasoning_effort="low", chat_template_kwargs={"reasoning_effort": "mine"}) == "mine ? ?"
    finally:
        server.stop()


def test_a_budget_is_stronger_than_an_effort(server):
    for name in EFFORTS: assert thoughts(server, max_tokens=30, reasoning_effort=name, reasoning_budget_tokens=6) == 6
    assert thoughts(server, max_tokens=40, reasoning_effort="low") == 30    # the cap is lower than its 1,024


AGREE = [{"thinking": {"type": "enabled"}, "enable_thinking": True, "think": True}, {"think": False, "reasoning_effort": "none"}, {"reasoning_effort": "low", "think": "low", "reasoning": {"effort": "low"}},
         {"enable_thinking": False, "reasoning_effort": "high"}, {"enable_thinking": False, "reasoning_budget_tokens": 5}, {"thinking": {"type": "enabled", "budget_tokens": 0}},
         {"thinking": {"type": "enabled", "budget_tokens": 4}, "reasoning_budget_tokens": 4}, {"reasoning_min_tokens": 4, "reasoning_budget_tokens": 4}, {"thinking": None, "think": None, "reasoning": None}]
CONTRADICT = [({"thinking": {"type": "enabled"}, "enable_thinking": False}, "thinking.type"), ({"thinking": {"type": "disabled"}, "think": True}, "think"),
              ({"reasoning_effort": "none", "enable_thinking": True}, "enable_thinking"), ({"reasoning_effort": "low", "reasoning": {"effort": "high"}}, "reasoning.effort"),
              ({"reasoning_effort": "low", "think": "max"}, "think"), ({"chat_template_kwargs": {"enable_thinking": True, "thinking": False}}, "chat_template_kwargs.thinking"),
              ({"enable_thinking": True, "chat_template_kwargs": {"thinking": False}}, "chat_template_kwargs.thinking"),
              ({"thinking": {"type": "enabled", "budget_tokens": 4}, "reasoning_budget_tokens": 5}, "reasoning_budget_tokens"),
              ({"thinking_token_budget": -1, "thinking_budget_tokens": 7}, "thinking_token_budget"), ({"reasoning_min_tokens": 5, "reasoning_budget_tokens": 4}, "reasoning_min_tokens"),
              ({"reasoning_min_tokens": 5, "enable_thinking": False}, "reasoning_min_tokens"), ({"reasoning": {"enabled": False, "effort": "none"}, "think": True}, "think")]
BAD = [({"think": 3}, "think"), ({"think": "much"}, "think"), ({"enable_thinking": "yes"}, "enable_thinking"), ({"reasoning_effort": 5}, "reasoning_effort"), ({"thinking": 3}, "thinking"),
       ({"thinking": {"type": "enabled", "budget_tokens": -1}}, "thinking.budget_tokens"), ({"reasoning_budget_tokens": -2}, "reasoning_budget_tokens"), ({"reasoning": "high"}, "reasoning"),
       ({"reasoning_budget_tokens": 1.5}, "reasoning_budget_tokens"), ({"thinking_token_budget": "7"}, "thinking_token_budget"), ({"thinking_budget_tokens": 1 << 40}, "thinking_budget_tokens"),
       ({"reasoning": {"effort": "low!"}}, "reasoning.effort"), ({"reasoning": {"max_tokens": -1}}, "reasoning.max_tokens"), ({"chat_template_kwargs": {"thinking": 1}}, "chat_template_kwargs.thinking"),
       ({"chat_template_kwargs": []}, "chat_template_kwargs"), ({"chat_template_kwargs": {"tools": []}}, "chat_template_kwargs"), ({"reasoning_min_tokens": -1}, "reasoning_min_tokens")]


def test_what_is_said_twice(server):
    for body in AGREE: server.chat(max_tokens=12, **body)
    for body, name in CONTRADICT:
        e = error(server.ask("POST", "/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}], **body}), 400)
        assert (e["code"], e["param"]) == ("contradictory_parameters", name), (body, e)
    for body, name in BAD: assert error(server.ask("POST", "/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}], **body}), 400)["param"] == name, body


def test_minimum(server):
    """Greedy, the toy never closes its block; warm, it does now and then, and not before its minimum."""
    ends = []
    for minimum in (0, 12):
        counts = [server.chat(seed=seed, max_tokens=120, temperature=2, top_p=1, min_p=0, reasoning_min_tokens=minimum, reasoning_budget_tokens=90)["usage"]["completion_tokens_details"]["reasoning_tokens"]
                  for seed in range(60)]
        ends.append(counts)
    assert min(ends[1]) >= 12 and min(ends[0]) < 12 and max(ends[1]) <= 90


# ---------------------------------------------------------------- stop-thinking control
def begin_stream(server, headers=None, **body):
    """An open connection, the id in its first chunk, and a reader of what follows."""
    c = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    data = {"messages": [{"role": "user", "content": "Hello"}], "stream": True, "temperature": 0, "max_tokens": 900, "reasoning_budget_tokens": -1, "stream_options": {"include_usage": True}, **body}
    c.request("POST", "/v1/chat/completions", json.dumps(data), {"Content-Type": "application/json", **(headers or {})})
    r = c.getresponse()
    assert r.status == 200
    first = r.readline().decode()
    while not first.startswith("data: "): first = r.readline().decode()
    return json.loads(first[6:])["id"], lambda: events(first + r.read().decode())


def control(server, id, action="stop_thinking", headers=None): return server.ask("POST", "/v1/chat/completions/control", {"id": id, "action": action}, headers)


def stopped(server, action, **body):
    """Chunks of an answer that was stopped in time; on a busy machine it may have been over."""
    for _ in range(30):
        id, rest = begin_stream(server, **body)
        said, chunks = control(server, id, action), rest()
        if said.status == 200 and any(c["choices"] and "reasoning_truncated" in c["choices"][0] for c in chunks):
            assert said.json == {"id": id, "action": action, "success": True}
            assert error(control(server, id, action), 404)["code"] == "unknown_id"    # it is over
            return chunks
    raise AssertionError("never in time")


def test_thinking_is_stopped():
    server = Server("--draft", "off", "--threads", 1)
    try:
        for action, n in (("stop_thinking", 1), ("reasoning_end", 1), ("stop_thinking", 3)):
            chunks = stopped(server, action, n=n, logprobs=True, top_logprobs=20)
            for i in range(n):
                choices = [c["choices"][0] for c in chunks if c["choices"] and c["choices"][0]["index"] == i]
                thoughts, text = ("".join(c["delta"].get(k, "") for c in choices) for k in ("reasoning_content", "content"))
                assert len(thoughts) // 2 < 900 and choices[-1]["finish_reason"] == "length"
                assert (len(thoughts) + len(text)) // 2 == 900 - ("reasoning_truncated" in choices[-1])    # one token closes the block, the answer goes on to the limit
    finally:
        server.stop()


def test_control_is_for_the_same_key_only(tmp_path):
    file = tmp_path / "keys"
    file.write_text(f"{KEY}\nsk-other\n")
    server = Server("--api-key-file", file, "--draft", "off", "--threads", 1)
    try:
        id, rest = begin_stream(server, {"x-api-key": KEY}, logprobs=True, top_logprobs=20)
        for headers, code in (({"x-api-key": "sk-other"}, 404), ({}, 401), ({"x-api-key": "wrong"}, 401)): error(control(server, id, headers=headers), code)
        assert control(server, id, headers={"x-api-key": KEY}).status in (200, 404)    # 404: it was over already
        rest()
        for body, code, param in (({}, 400, "id"), ({"id": id}, 400, "action"), ({"id": id, "action": "explode"}, 400, "action"), ({"id": 3, "action": "stop_thinking"}, 400, "id"),
                                  ({"id": "chatcmpl-0", "action": "stop_thinking"}, 404, "id"), ("[", 400, None), ("{} x", 400, None), ({"id": "x" * 5000, "action": "stop_thinking"}, 413, None)):
            assert error(server.ask("POST", "/v1/chat/completions/control", body, {"x-api-key": KEY}), code)["param"] == param, body
        error(server.ask("GET", "/v1/chat/completions/control", headers={"x-api-key": KEY}), 405)
    finally:
        server.stop()


@pytest.mark.parametrize("field, names", [("reasoning_content", ["reasoning_content"]), ("reasoning", ["reasoning"]), ("both", ["reasoning", "reasoning_content"]), ("none", [])])
def test_names_of_thoughts(field, names):
    server = Server("--reasoning-field", field)
    try:
        body = dict(temperature=0, max_tokens=12, reasoning_budget_tokens=4)
        said = server.chat(**body)
        message = said["choices"][0]["message"]
        assert sorted(set(message) - {"role", "content"}) == names and all(message[n] == "an" * 4 for n in names) and message["content"] == "an" * 7
        assert said["usage"]["completion_tokens_details"]["reasoning_tokens"] == 4    # used whether shown or not
        deltas = [c["choices"][0]["delta"] for c in events(server.chat(stream=True, **body).text)]
        for n in names: assert "".join(d.get(n, "") for d in deltas) == "an" * 4
        assert sorted({k for d in deltas for k in d} - {"role", "content"}) == names and "".join(d.get("content", "") for d in deltas) == "an" * 7
    finally:
        server.stop()


def test_thoughts_of_earlier_turns(tmp_path):
    template = "{%- for m in messages %}[{{ m.role[0] }}:{{ m.reasoning_content|default('-') }}]{%- endfor %}"
    server = Server("-m", toy_with(tmp_path, template))    # it knows no tools: results come as the user's
    user, thought = {"role": "user", "content": "u"}, lambda text, **more: {"role": "assistant", "content": "c", "reasoning_content": text, **more}
    show = lambda *messages: prompt(server, messages=list(messages))
    try:
        assert show(user, thought("a"), user) == "[u:-][a:-][u:-]"
        assert show(user, {"role": "assistant", "content": "c", "reasoning": "b"}, user) == "[u:-][a:-][u:-]"
        call = {"tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}
        result = {"role": "tool", "tool_call_id": "call_1", "content": "r"}
        with_tools = [user, thought("a", **call), result, thought("b")]    # one turn: both stay, now and later
        assert show(*with_tools, user) == "[u:-][a:a][u:-][a:b][u:-]"
        assert show(user, {"role": "assistant", "content": "c", "reasoning": "a", **call}, result) == "[u:-][a:a][u:-]"    # also by the other name
        assert show(user, thought("x"), *with_tools, user, thought("y"), user) == "[u:-][a:-][u:-][a:a][u:-][a:b][u:-][a:-][u:-]"
        for bad in ({"reasoning_content": 3}, {"reasoning": ["x"]}):
            e = error(server.ask("POST", "/apply-template", {"messages": [user, {"role": "assistant", "content": "c", **bad}]}), 400)
            assert e["param"].startswith("messages[1]")
    finally:
        server.stop()

"""A last message of the assistant that is to be continued."""
import pytest

from serve_client import error, events, serving

ASK = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def server(): yield from serving("--budget", 0)


def begun(text, **more): return ASK + [{"role": "assistant", "content": text, "prefix": True, **more}]


def template(server, messages, **body):
    r = server.ask("POST", "/apply-template", {"messages": messages, **body})
    assert r.status == 200, r.text
    return r.json["prompt"]


def test_prompt_ends_with_the_text(server):
    off = template(server, ASK, enable_thinking=False)
    assert template(server, begun("The answer"), enable_thinking=False) == off + "The answer"
    assert template(server, begun([{"type": "text", "text": "The "}, {"type": "text", "text": "answer"}]), enable_thinking=False) == off + "The answer"
    on = template(server, ASK)
    assert template(server, begun("The answer")) == on + ("\n</think>\n\n" if on.rstrip().endswith("<think>") else "") + "The answer"
    opened = on if on.rstrip().endswith("<think>") else on + "<think>\n"
    assert template(server, begun("The answer", reasoning_content="so it is")) == opened + "so it is\n</think>\n\nThe answer"
    assert template(server, ASK + [{"role": "assistant", "content": "x", "prefix": False}, *ASK]) == template(server, ASK + [{"role": "assistant", "content": "x"}, *ASK])


def test_answer_goes_on(server):
    """As a completion of the same text does."""
    prompt = template(server, begun("One more wör"), enable_thinking=False)
    values = dict(max_tokens=20, temperature=1.5, seed=8, top_p=1, min_p=0)
    expected = server.ask("POST", "/v1/completions", {"prompt": prompt, **values}).json["choices"][0]["text"]
    for path in ("/v1/chat/completions", "/beta/chat/completions"):
        said = server.chat(path, messages=begun("One more wör"), enable_thinking=False, **values)
        assert said["choices"][0]["message"]["content"] == expected and said["usage"]["completion_tokens"] == 20
    chunks = events(server.chat(messages=begun("One more wör"), enable_thinking=False, stream=True, **values).text)
    assert "".join(c["choices"][0]["delta"].get("content", "") for c in chunks) == expected


def test_control_tokens_in_it_are_text(server):
    plain = server.ask("POST", "/apply-template", {"messages": begun("")}).json["n_tokens"]
    marked = server.ask("POST", "/apply-template", {"messages": begun("<|im_end|>")}).json["n_tokens"]
    assert marked - plain == len(server.ask("POST", "/tokenize", {"content": "<|im_end|>"}).json["tokens"]) > 1


@pytest.mark.parametrize("messages, param", [
    ([{**ASK[0], "prefix": True}], "messages[0].prefix"),
    (begun("x") + ASK, "messages[1].prefix"),
    ([{"role": "assistant", "content": "x", "prefix": True}], "messages[0].prefix"),
    (begun("x", tool_calls=[{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]), "messages[1]"),
    (begun("", reasoning_content="thoughts alone"), "messages[1].content"),
    (begun(None), "messages[1].content"), (begun(3), "messages[1].content"),
    (ASK + [{"role": "assistant", "content": "x", "prefix": "yes"}], "messages[1].prefix"),
    (ASK + [{"role": "assistant", "content": "x", "prefix": 1}], "messages[1].prefix"),
])
def test_bad_prefix_is_named(server, messages, param):
    assert error(server.ask("POST", "/v1/chat/completions", {"messages": messages}), 400)["param"].startswith(param)

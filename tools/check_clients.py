#!/usr/bin/env python3
"""Runs the Python package `openai` against `r2lm serve`; by hand, not part of `make check`.

  check_clients.py PROGRAM MODEL      (pip install openai)
"""
import re, subprocess, sys
import openai

program, model = sys.argv[1:3]
child = subprocess.Popen([program, "serve", "-m", model, "--port", "0", "--api-key", "sk-here"], stderr=subprocess.PIPE, text=True)
try:
    url = re.search(r"http://\S+", child.stderr.readline()).group(0)
    client = openai.OpenAI(base_url=url, api_key="sk-here", max_retries=0)
    name = client.models.list().data[0].id
    assert client.models.retrieve(name).id == name
    ask = dict(model=name, messages=[{"role": "user", "content": "Name three colours."}], max_tokens=40, temperature=0, seed=1)
    whole = client.chat.completions.create(**ask)
    text = whole.choices[0].message.content
    assert text and whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
    parts, last = [], None
    for chunk in client.chat.completions.create(stream=True, stream_options={"include_usage": True}, **ask):
        last = chunk
        if chunk.choices: parts.append(chunk.choices[0].delta.content or "")
    assert "".join(parts) == text and last.usage.completion_tokens == whole.usage.completion_tokens
    full = {**ask, "max_tokens": 400, "stop": ["\n", "."]}   # this helper of theirs takes "length" for an error
    with client.chat.completions.stream(**full) as stream: final = stream.get_final_completion()
    assert text.startswith(final.choices[0].message.content) and final.choices[0].message.role == "assistant"
    scored = client.chat.completions.create(logprobs=True, top_logprobs=2, **ask).choices[0].logprobs.content
    assert "".join(t.token for t in scored) == text and all(len(t.top_logprobs) == 2 for t in scored)
    for wrong, kind in ((dict(temperature=9), openai.BadRequestError), (dict(tools=[{"type": "function", "function": {"name": "f"}}]), openai.BadRequestError)):
        try: client.chat.completions.create(**{**ask, **wrong})
        except kind as e: assert e.param == next(iter(wrong)) and isinstance(e.code, str), e
        else: raise AssertionError(f"{wrong} passed")
    try: openai.OpenAI(base_url=url, api_key="no", max_retries=0).models.list()
    except openai.AuthenticationError: pass
    else: raise AssertionError("a wrong key passed")
    print(f"openai {openai.__version__}: all as expected; it said: {text!r}")
finally:
    child.terminate()
    assert child.wait(40) == 0

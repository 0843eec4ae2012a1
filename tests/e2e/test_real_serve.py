"""The server with a real model: what an agent's turns read again, and that company changes no word."""
import concurrent.futures, os
import pytest
from serve_client import SOURCE, serving

CACHE = os.environ.get("R2LM_MODEL_CACHE", os.path.join(os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache")), "r2lm", "models"))
QWEN = os.path.join(CACHE, "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf")
if not os.path.exists(QWEN): pytest.skip("not fetched yet; run tools/fetch_models.sh qwen05", allow_module_level=True)


@pytest.fixture(scope="module")
def server():
    yield from serving("--ctx-size", 8192, model=QWEN)


def test_an_agent_does_not_read_again_what_it_said(server):
    with open(os.path.join(SOURCE, "src", "engine", "schedule.c")) as file: code = file.read()
    messages, n_sent, n_again, before = [{"role": "system", "content": "You are an agent. You may call tools."}], 0, 0, 0
    for turn in range(20):
        messages.append({"role": "user", "content": f"Output of tool {turn}:\n{code[turn * 300:turn * 300 + 500]}\nWhat next?"})
        said = server.chat(messages=messages, max_tokens=30, temperature=0.8, seed=turn)
        usage = said["usage"]
        n_sent += usage["prompt_tokens"]
        n_again += max(before - usage["prompt_cache_hit_tokens"], 0)
        before = usage["total_tokens"]
        messages.append(said["choices"][0]["message"])
    print(f"read again: {n_again / n_sent:.2%}, {n_again} of {n_sent} tokens")
    assert n_again < 0.01 * n_sent   # the token drawn last in each turn; a little more where an answer's text makes other tokens


def test_alone_and_in_company(server):
    say = lambda i: server.chat(messages=[{"role": "user", "content": f"Write line {i} of a poem about the sea."}], max_tokens=24, temperature=0.9, seed=i)["choices"][0]["message"]
    alone = say(0)
    with concurrent.futures.ThreadPoolExecutor(4) as pool: assert list(pool.map(say, range(4)))[0] == alone

"""/v1/completions: plain text goes on.  Judges: chats and single requests, `r2lm ppl`, and for log-probabilities
the logits of the golden models, which other people's code computed."""
import concurrent.futures, json, math, os, shutil, subprocess
import pytest

from serve_client import PROGRAM, SOURCE, Server, TOY, error, events, serving

GOLDEN = os.environ.get("R2LM_GOLDEN_DIR", os.path.join(SOURCE, "tests", "golden"))
WILD = dict(max_tokens=24, temperature=2, top_p=1, min_p=0)


@pytest.fixture(scope="module")
def server(): yield from serving()


def complete(server, path="/v1/completions", code=200, **body):
    r = server.ask("POST", path, body)
    assert r.status == code, (r.status, r.text)
    return events(r.text) if body.get("stream") else r.json


def texts(said): return [c["text"] for c in sorted(said["choices"], key=lambda c: c["index"])]


def joined(chunks, n=1):
    """A stream as if it had come at once."""
    whole = [{"text": "", "index": i, "logprobs": None, "finish_reason": None} for i in range(n)]
    for chunk in chunks:
        assert chunk["object"] == "text_completion"
        for c in chunk["choices"]:
            w = whole[c["index"]]
            assert w["finish_reason"] is None
            w["text"] += c["text"]
            w["finish_reason"] = c["finish_reason"]
            if c["logprobs"]: w["logprobs"] = {k: (w["logprobs"] or {}).get(k, []) + v for k, v in c["logprobs"].items()}
    return whole


def tokens_of(server, text): return server.ask("POST", "/tokenize", {"content": text}).json["tokens"]


# ---------------------------------------------------------------- shapes
def test_shape_and_paths(server):
    for path in ("/completions", "/v1/completions", "/beta/completions"):
        said = complete(server, path, prompt="Hello", max_tokens=3, temperature=0)
        assert said["object"] == "text_completion" and said["id"].startswith("cmpl-") and said["model"] == "toy" and said["system_fingerprint"]
        assert said["choices"] == [{"text": "ananan", "index": 0, "logprobs": None, "finish_reason": "length"}]
        assert said["usage"]["completion_tokens"] == 3 and said["usage"]["prompt_tokens"] == len(tokens_of(server, "Hello"))
    assert complete(server, prompt="x", temperature=0)["usage"]["completion_tokens"] == 16   # as the API has it
    chunks = complete(server, prompt="Hello", max_tokens=40, temperature=0, stream=True, stream_options={"include_usage": True})
    assert len({(c["id"], c["created"], c["model"], c["object"]) for c in chunks}) == 1
    assert joined(chunks) == [{"text": "an" * 40, "index": 0, "logprobs": None, "finish_reason": "length"}]
    assert chunks[-1]["choices"] == [] and chunks[-1]["usage"]["completion_tokens"] == 40 and all(c["usage"] is None for c in chunks[:-1])


def test_thoughts_are_text_like_the_rest(server):
    said = complete(server, prompt="<|im_start|>assistant\n<think>\n", max_tokens=5, temperature=0)
    assert texts(said) == ["an" * 5] and said["usage"]["completion_tokens_details"]["reasoning_tokens"] == 0


def test_prompts_of_every_kind(server):
    two = ["Hello there", "word word"]
    tokens = [tokens_of(server, t) for t in two]
    alone = [texts(complete(server, prompt=t, seed=5, **WILD))[0] for t in two]
    assert alone[0] != alone[1]
    for prompt in (two, tokens):
        said = complete(server, prompt=prompt, seed=5, **WILD)
        assert texts(said) == alone and said["usage"]["prompt_tokens"] == sum(map(len, tokens))
        assert [w["text"] for w in joined(complete(server, prompt=prompt, seed=5, stream=True, **WILD), 2)] == alone
    assert texts(complete(server, prompt=tokens[1], seed=5, **WILD)) == alone[1:]
    assert texts(complete(server, prompt=["Hello there"], seed=5, **WILD)) == alone[:1]
    marked = complete(server, prompt="<|im_start|>user", max_tokens=1)   # control tokens are recognised
    assert marked["usage"]["prompt_tokens"] == 1 + len(tokens_of(server, "user"))


def test_many_prompts_and_choices(server):
    prompts = [f"text number {i}" for i in range(40)]
    alone = {(p, k): texts(complete(server, prompt=p, seed=9 + k, **WILD))[0] for p in prompts for k in range(2)}
    said = complete(server, prompt=prompts, n=2, best_of=2, seed=9, **WILD)
    assert texts(said) == [alone[p, k] for p in prompts for k in range(2)]
    assert [w["text"] for w in joined(complete(server, prompt=prompts, n=2, seed=9, stream=True, **WILD), 80)] == texts(said)


def test_stop_texts_and_echo(server):
    for stream in (False, True):
        def ask(**b):
            said = complete(server, stream=stream, temperature=0, **b)
            return joined(said)[0] if stream else said["choices"][0]
        assert ask(prompt="He", max_tokens=5, stop="nan") == {"text": "a", "index": 0, "logprobs": None, "finish_reason": "stop"}
        assert ask(prompt="an", max_tokens=5, stop="nana", echo=True)["text"] == "an" + "a"   # stop texts in the prompt do not count
        assert ask(prompt="Grüße", max_tokens=2, echo=True)["text"] == "Grüße" + "an" * 2
        assert ask(prompt="Grüße", max_tokens=0, echo=True) == {"text": "Grüße", "index": 0, "logprobs": None, "finish_reason": "length"}
        assert ask(prompt="Grüße", max_tokens=0)["text"] == ""
        assert ask(prompt=tokens_of(server, "ü")[:1], max_tokens=1, echo=True)["text"] == "\ufffdan"


# ---------------------------------------------------------------- log-probabilities
def check_offsets(text, l, names=None):
    """Each token's characters stand where its offset says."""
    for name, at, after in zip(l["tokens"], l["text_offset"], l["text_offset"][1:] + [None]):
        if not name.startswith("bytes:"): assert text[at:at + len(name)] == name and (after is None or after == at + len(name)), (name, at)
    assert l["text_offset"] == sorted(l["text_offset"])


def test_logprobs_with_places(server):
    prompt = "wörd 你好 😀 x"
    for echo in (False, True):
        for n_top in (0, 1, 5, 20):
            body = dict(prompt=prompt, max_tokens=6, seed=1, temperature=1.5, echo=echo, logprobs=n_top)
            choice = complete(server, **body)["choices"][0]
            l, n_prompt = choice["logprobs"], len(tokens_of(server, prompt))
            assert len(l["tokens"]) == len(l["token_logprobs"]) == len(l["top_logprobs"]) == len(l["text_offset"]) == 6 + n_prompt * echo
            check_offsets(choice["text"], l)
            for i, (name, value, top) in enumerate(zip(l["tokens"], l["token_logprobs"], l["top_logprobs"])):
                if echo and i == 0: assert value is None and top is None
                else: assert value <= 0 and top[name] == value and max(n_top, 1) <= len(top) <= n_top + 1
            assert joined(complete(server, stream=True, **body))[0] == choice


def test_no_logprobs_for_stop_texts(server):
    for stream in (False, True):
        said = complete(server, prompt="He", max_tokens=9, temperature=0, stop="nan", logprobs=1, stream=stream)
        choice = joined(said)[0] if stream else said["choices"][0]
        assert choice["text"] == "a" and choice["logprobs"]["tokens"] == ["an"] and choice["logprobs"]["text_offset"] == [0]


def test_prompt_logprobs_are_those_of_drawing_its_tokens(server):
    tokens = tokens_of(server, "Some words of a text, and a few more.")
    said = complete(server, prompt=[tokens], max_tokens=0, echo=True, logprobs=3)["choices"][0]
    assert said["text"] == "Some words of a text, and a few more." and said["finish_reason"] == "length"
    for i in range(1, len(tokens)):
        drawn = complete(server, prompt=tokens[:i], max_tokens=1, temperature=0, logprobs=3, logit_bias={str(tokens[i]): 100})["choices"][0]["logprobs"]
        assert drawn["tokens"] == [said["logprobs"]["tokens"][i]]
        assert abs(drawn["token_logprobs"][0] - said["logprobs"]["token_logprobs"][i]) < 1e-5
        assert drawn["top_logprobs"][0].keys() == said["logprobs"]["top_logprobs"][i].keys()


def test_as_ppl_scores_it(server, tmp_path):
    text = "The quick brown fox jumps over the lazy dog and runs away from all of it, while nobody looks. " * 2
    tokens = tokens_of(server, text)[:64]
    file = tmp_path / "text"
    file.write_text(text)
    ppl = json.loads(subprocess.run([PROGRAM, "ppl", "-m", TOY, "-f", str(file), "-c", "64", "--json"], capture_output=True, text=True).stdout)
    n_windows = ppl["n_windows"]
    all_tokens = tokens_of(server, text)
    values = []
    for w in range(n_windows):
        l = complete(server, prompt=[all_tokens[64 * w:64 * w + 64]], max_tokens=1, echo=True, logprobs=0)["choices"][0]["logprobs"]
        values += l["token_logprobs"][:64][-(ppl["n_scored"] // n_windows):]
    assert len(values) == ppl["n_scored"] > 20
    assert abs(math.exp(-sum(values) / len(values)) / ppl["perplexity"] - 1) < 1e-4


def test_shared_prompts_restarts_and_the_cache(server):
    """As lm-eval asks: batches of tokens, again and again, where prefixes are in the cache already."""
    tokens = [tokens_of(server, "a shared beginning of some length, long enough for pages of the cache " * 3 + end) for end in ("one", "two", "three")]
    once = complete(server, prompt=tokens, max_tokens=1, temperature=0, echo=True, logprobs=1)["choices"]
    for _ in range(2): assert complete(server, prompt=tokens, max_tokens=1, temperature=0, echo=True, logprobs=1)["choices"] == once
    several = complete(server, prompt=tokens, n=3, max_tokens=1, temperature=0, echo=True, logprobs=1)["choices"]
    assert [{**c, "index": 0} for c in several] == [{**c, "index": 0} for c in once for _ in range(3)]
    small = Server("--parallel", 8, "--ctx-size", 512)   # the cache is full before eight of them are
    try:
        prompts = [tokens_of(small, f"{i} " * 150) for i in range(8)]
        body = dict(max_tokens=150, temperature=1, seed=3, echo=True, logprobs=2)
        alone = [complete(small, prompt=[p], **body)["choices"][0] for p in prompts]
        assert [{**c, "index": 0} for c in complete(small, prompt=prompts, **body)["choices"]] == alone
    finally:
        small.stop()


def byte_tokenizer(folder, n_vocab, added):
    """A tokenizer.json of single bytes, enough for text whose letters are among the first."""
    letters = [chr(c) for c in range(33, 127)] + ["\u0120"]
    vocab = {t: i for i, t in enumerate(letters)}
    for i in range(len(letters), n_vocab - len(added)): vocab[f"<unused{i}>"] = i
    first = n_vocab - len(added)
    tokens = [{"id": first + k, "content": t, "special": True, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False} for k, t in enumerate(added)]
    folder.joinpath("tokenizer.json").write_text(json.dumps({
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": tokens, "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "post_processor": None, "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "", "end_of_word_suffix": "", "fuse_unk": False,
                  "byte_fallback": False, "ignore_merges": False, "vocab": {**vocab, **{t["content"]: t["id"] for t in tokens}}, "merges": []}}))


@pytest.fixture(scope="module")
def golden(tmp_path_factory):
    """A golden model with a tokenizer, and what transformers computed for it."""
    folder, case = tmp_path_factory.mktemp("golden"), os.path.join(GOLDEN, "qwen2")
    for name in ("config.json", "model.safetensors"): shutil.copy(os.path.join(case, name), folder)
    byte_tokenizer(folder, 168, ["<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"])
    s = Server("--arithmetic", "f32", model=folder)
    s.expected = json.load(open(os.path.join(case, "expected.json")))["prompts"]
    yield s
    s.stop()


def log_softmax(row):
    top = max(row)
    return [x - top - math.log(sum(math.exp(y - top) for y in row)) for x in row]


def test_as_transformers_computed_them(golden):
    asked = complete(golden, prompt=[p["input_ids"] for p in golden.expected], max_tokens=1, temperature=0, echo=True, logprobs=20)
    for p, choice in zip(golden.expected, asked["choices"]):
        ids, l, n = p["input_ids"], choice["logprobs"], len(p["input_ids"])
        for k in range(4):   # rows n-4 .. n-1 say what comes at n-3 .. n
            row, at = log_softmax(p["logits_last4"][k]), n - 3 + k
            token = ids[at] if at < n else max(range(len(row)), key=row.__getitem__)
            assert abs(l["token_logprobs"][at] - row[token]) < 1e-4
            assert all(abs(a - b) < 1e-4 for a, b in zip(sorted(l["top_logprobs"][at].values())[::-1], sorted(row)[::-1][:20]))


# ---------------------------------------------------------------- gaps
def test_gap(golden):
    before, behind = "def f(x):", "return y"
    ids = lambda t: golden.ask("POST", "/tokenize", {"content": t}).json["tokens"]
    body = dict(max_tokens=12, temperature=1, seed=4)
    said = complete(golden, prompt=before, suffix=behind, **body)
    assert texts(said) == texts(complete(golden, prompt=[165] + ids(before) + [166] + ids(behind) + [167], **body))
    assert said["usage"]["prompt_tokens"] == 3 + len(before) + len(behind)
    for path in ("/beta/completions", "/v1/completions"): assert texts(complete(golden, path, prompt=ids(before), suffix=behind, **body)) == texts(said)
    assert complete(golden, prompt="", suffix="", max_tokens=1)["usage"]["prompt_tokens"] == 3
    # control tokens in a file's text are text
    assert complete(golden, prompt="<|fim_middle|>", suffix="x", max_tokens=1)["usage"]["prompt_tokens"] == 3 + len("<|fim_middle|>") + 1
    e = error(golden.ask("POST", "/v1/completions", {"prompt": "a", "suffix": "b", "echo": True}), 400)
    assert e["param"] == "echo"


def test_no_gap_without_its_tokens(server):
    e = error(server.ask("POST", "/v1/completions", {"prompt": "a", "suffix": "b"}), 400)
    assert e["param"] == "suffix" and e["code"] == "unsupported_parameter"


# ---------------------------------------------------------------- bad requests
BAD = {
    "prompt": [None, 3, {}, True, [], [[]], [[], [1]], ["a", 1], [1, "a"], [["a"]], [[1], "a"], [1.5], [-1], [[-1]], [1 << 40], [99999], [[99999]], [None], [True],
               [[[1]]], "", ["a", ""], ["x"] * 257, [{}]],
    "suffix": [3, [], {}, True], "max_tokens": [-1, "5", 1.5, True, [], {}, 1 << 40], "echo": [1, "x", []], "logprobs": [21, -1, "x", True, 1.5, []],
    "best_of": [2, 0, 17, "x", True, 1.5], "n": [0, 17, "1", -5, 1.5, True], "temperature": [-0.1, 2.1, "1", [], True], "top_p": [-1, 1.01, "x"], "top_k": [-1, 1.5, "x"],
    "min_p": [2, -1], "presence_penalty": [3, "x"], "frequency_penalty": [-2.5, {}], "repetition_penalty": [-1, 1e-40, "x"], "seed": ["x", 1.5, {}],
    "stop": [3, {}, [3], [""], "", ["x"] * 17], "stream": ["yes", 1, []], "stream_options": [3, {"include_usage": "x"}], "logit_bias": [[], {"x": 1}, {"5": 101}, {"99999": 1}],
    "messages": [[{"role": "user", "content": "x"}]], "tools": [[{}]], "response_format": [{"type": "yaml"}], "regex": ["(", 3], "grammar": ["x"], "guided_choice": [[], "x"], "model": [3], "metadata": ["x"], "user": [3],
    "return_progress": ["x", 1],
}


@pytest.mark.parametrize("name", BAD)
def test_bad_field_is_named(server, name):
    for value in BAD[name]:
        e = error(server.ask("POST", "/v1/completions", {"prompt": "Hello", "max_tokens": 2, name: value}), 400)
        assert e["type"] == "invalid_request_error" and e["param"].startswith(name), (value, e)


def test_forms(server):
    for form, said in (({"regex": "x{3}y"}, "xxxy"), ({"guided_choice": ["words"]}, "words"), ({"grammar": 'root ::= "no" "thing"'}, "nothing")):
        for n in (1, 3): assert texts(complete(server, prompt="Hello", max_tokens=40, n=n, temperature=1, **form)) == [said] * n
    said = complete(server, prompt="Hello", max_tokens=200, response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {"enum": [17]}}}, echo=True, logprobs=1)["choices"][0]
    assert said["text"] == "Hello17" and said["finish_reason"] == "stop"
    check_offsets(said["text"], said["logprobs"])


def test_limits_and_harmless_fields(server):
    assert error(server.ask("POST", "/v1/completions", {}), 400)["param"] == "prompt"
    e = error(server.ask("POST", "/v1/completions", {"prompt": "word " * 3000}), 400)
    assert e["code"] == "context_length_exceeded" and e["param"] == "prompt" and e["n_prompt_tokens"] > e["n_ctx"] == 1024
    assert error(server.ask("POST", "/v1/completions", {"prompt": ["a"] * 100, "n": 3}), 400)["param"] == "n"
    for body in ("", "{", "[]", "null", '{"prompt":"\\ud800"}', '{"prompt":"a","prompt":"b"}'): error(server.ask("POST", "/v1/completions", body), 400)
    complete(server, prompt="x", max_tokens=1, suffix=None, best_of=1, n=1, logprobs=None, echo=None, stop=None, user="u", unknown=[1], model="whatever")
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        for said in pool.map(lambda i: complete(server, prompt=["a", "b", "c"], n=2, max_tokens=8, temperature=0), range(32)): assert texts(said) == ["an" * 8] * 6

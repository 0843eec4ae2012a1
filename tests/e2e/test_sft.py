"""r2lm train sft from outside: chats in, a model out that answers as they do and ends its turn."""
import json, os
import pytest
from cli_client import USAGE, here, home, r2lm, refused   # noqa: F401  (fixtures)
from test_train import metrics, small_model

QUESTIONS = {f"what is {i}?": f"it is {'abcd'[i]}" for i in range(4)}


def chats(name="chats.jsonl", pairs=QUESTIONS):
    with open(name, "w") as f:
        for q, a in pairs.items():
            f.write(json.dumps({"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]}) + "\n")
    return name


def sft(data, model, run, *flags, **more):
    return r2lm("train", "sft", *([data] if isinstance(data, str) else data), "-m", model, "-o", run, "--batch-tokens", 512, "--type", "f32",
                "--keep-copies", *flags, **more)


def test_learns_answers_and_their_end():
    model = small_model()
    done = sft(chats(), model, "run", "--steps", 150, "--lr", 0.02, "--optimizer", "muon", "--validation", 0, "--json")
    assert "run/data: 4 documents" in done.err and "longer than" not in done.err
    lines = metrics("run")
    assert lines[-1]["loss"] < 0.02 < lines[0]["loss"]
    # What is learnt: the answer's tokens and the end of the turn, nothing else.
    ends = [json.loads(r2lm("tokenize", "-m", model, "-p", a, "--json").out)["n_tokens"] + 1 for a in QUESTIONS.values()]
    shown = json.loads(r2lm("data", "show", "run/data", "--json").out)
    assert shown["train"]["targets"] == sum(ends)
    for q, a in list(QUESTIONS.items())[:3]:
        said = r2lm("run", "-m", "run/model", "-p", q, "--temp", 0, "-n", 40, "--no-think").out
        assert said.strip() == a          # and stops by itself
    assert sorted(os.listdir("run")) == ["config.ini", "data", "metrics.jsonl", "model"]


def test_left_to_itself():
    """Two epochs, a small rate that rises and falls by half a cosine, chats whole; published forms are read as they are."""
    model = small_model()
    with open("gsm.jsonl", "w") as f:
        for i in range(400): f.write(json.dumps({"question": f"what is {i} and {i}? " + "ab " * (i % 30), "answer": f"it is <<{i}+{i}={2 * i}>>{2 * i}.\n#### {2 * i}"}) + "\n")
    sft("gsm.jsonl", model, "run", "--validation", 0.1)
    lines = metrics("run")
    train = json.loads(r2lm("data", "show", "run/data", "--json").out)["train"]
    assert len(lines) == -(-2 * train["tokens"] // 512) > 60
    rates = [l["lr"] for l in lines]
    warmup = rates.index(max(rates)) + 1
    assert max(rates) == pytest.approx(2e-5) and warmup == len(lines) * 3 // 100 and rates[-1] == pytest.approx(2e-6)
    assert "validation_loss" in lines[-1] and "validation_bpb" in lines[-1]
    # Prepared folders and files side by side; a chat above --run-tokens is read up to there, and that is said.
    chats("one.jsonl", {"ab " * 300: "it is a"})
    done = sft(["run/data", "one.jsonl"], model, "both", "--steps", 2, "--run-tokens", 256, "--validation", 0)
    assert "1 chats are longer than 256 tokens" in done.err and "both/data: 1 documents" in done.err


def test_refusals_leave_nothing():
    model = small_model()
    open("bad.jsonl", "w").write('{"messages": [{"role": "user", "content": "a"}]}\n')
    refused("train", "sft", "bad.jsonl", "-m", model, "-o", "run", says="bad.jsonl:1")
    refused("train", "sft", chats(), "-m", model, "-o", "run", "--steps", 3, "--warmup", 5, code=USAGE, says="warm-up")
    # Every chat would be cut before its answer: a run that learns nothing is none.
    chats("long.jsonl", {"ab " * 300: "it is a"})
    refused("train", "sft", "long.jsonl", "-m", model, "-o", "run", "--run-tokens", 64, "--validation", 0, code=USAGE, says="--run-tokens")
    refused("train", "sft", "nowhere.jsonl", "-m", model, "-o", "run", says="nowhere.jsonl")
    refused("train", "sft", "-m", model, "-o", "run", code=USAGE, says="chats")


def test_refused_replacement_keeps_data():
    """A run that --force would replace can still go on when the new one is refused; an accepted one leaves nothing of it."""
    model = small_model()
    sft(chats(), model, "run", "--steps", 2, "--validation", 0)
    before = open("run/data/manifest.json").read()
    other = chats("other.jsonl", {"what is it?": "it is e"})
    refused("train", "sft", other, "-m", model, "-o", "run", "--steps", 3, "--warmup", 5, "--force", code=USAGE, says="warm-up")
    assert open("run/data/manifest.json").read() == before and "data.replaced" not in os.listdir("run")
    sft(other, model, "run", "--steps", 2, "--validation", 0, "--force")
    assert open("run/data/manifest.json").read() != before and "data.replaced" not in os.listdir("run")


# What DeepSeek-R1 and its distilled models write, tools left out and names in ASCII: thoughts of earlier turns are dropped, the prompt opens new ones.
R1 = ("{{bos_token}}{%- for m in messages -%}{%- if m['role'] == 'system' -%}{{m['content']}}{%- endif -%}{%- endfor -%}"
      "{%- for m in messages -%}{%- if m['role'] == 'user' -%}{{'<|User|>' + m['content']}}{%- endif -%}"
      "{%- if m['role'] == 'assistant' -%}{%- set content = m['content'] -%}{%- if '</think>' in content -%}{%- set content = content.split('</think>')[-1] -%}{%- endif -%}"
      "{{'<|Assistant|>' + content + '<|end_of_sentence|>'}}{%- endif -%}{%- endfor -%}"
      "{%- if add_generation_prompt -%}{{'<|Assistant|><think>\\n'}}{%- endif -%}")
CHATML = ("{% for m in messages %}{{'<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + '\\n'}}{% endfor %}"
          "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")


def tokenizer(name, template, *special, bos=None):
    open("some.txt", "w").write("the thing is on a hill, and what it is is this. " * 20)
    r2lm("tokenizer", "train", "some.txt", "-o", name, "--vocab-size", 300, "--reserve", 0, *[x for s in special for x in ("--special", s)], "--force")
    config = json.load(open(f"{name}/tokenizer_config.json"))
    config["chat_template"] = template
    if bos: config["bos_token"] = bos
    json.dump(config, open(f"{name}/tokenizer_config.json", "w"))
    for other in os.listdir(name):
        if other.endswith(".jinja"): open(f"{name}/{other}", "w").write(template)
    return name


def segments(folder, messages):
    """[(text, is it learnt), ...] of each document that a chat becomes."""
    json.dump(dict(messages=messages), open("chat.jsonl", "w"))
    r2lm("data", "prep", "chat.jsonl", "-m", folder, "-o", "chat", "--validation", 0, "--force")
    texts = {}
    documents = []
    for line in r2lm("data", "batches", "chat", "--batch-tokens", 1024, "--run-tokens", 1024).out.splitlines():
        b, at = json.loads(line), 0
        for n in b["lengths"]:
            tokens, learnt = b["tokens"][at:at + n], [False] + [t >= 0 for t in b["targets"][at:at + n - 1]]
            at += n
            parts = []
            for t, is_learnt in zip(tokens, learnt):
                if not parts or parts[-1][1] != is_learnt: parts.append((b"", is_learnt))
                parts[-1] = (parts[-1][0] + text_of(folder, t), is_learnt)
            documents.append([(text.decode(), is_learnt) for text, is_learnt in parts])
    return sorted(documents, key=lambda d: len(str(d)))


def text_of(folder, token, known={}):
    if folder not in known:
        letters = {chr(c): c for c in [*range(33, 127), *range(161, 173), *range(174, 256)]}     # GPT-2's letters of bytes
        letters.update((chr(256 + i), c) for i, c in enumerate(c for c in range(256) if chr(c) not in letters))
        file = json.load(open(f"{folder}/tokenizer.json"))
        known[folder] = {i: bytes(letters[c] for c in t) if all(c in letters for c in t) else t.encode() for t, i in file["model"]["vocab"].items()}
        known[folder].update((a["id"], a["content"].encode()) for a in file["added_tokens"])
    return known[folder][token]


def test_what_is_learnt_of_chatml():
    folder = tokenizer("chatml", CHATML, "<|im_end|>", "<|im_start|>")
    chat = [dict(role="system", content="Be brief."), dict(role="user", content="hi"), dict(role="assistant", content="hello"),
            dict(role="user", content="what is <|im_end|>?"), dict(role="assistant", content="this")]
    # One document for all turns; each teaches the answer and the end of the turn, not the newline behind it.
    assert segments(folder, chat) == [[
        ("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n", False), ("hello<|im_end|>", True),
        ("\n<|im_start|>user\nwhat is <|im_end|>?<|im_end|>\n<|im_start|>assistant\n", False), ("this<|im_end|>", True), ("\n", False)]]


@pytest.mark.parametrize("form", ["marks", "field"])
def test_what_is_learnt_of_thoughts(form):
    """DeepSeek's template drops thoughts of earlier turns: each turn becomes a document of its own, behind the prompt that asked for it."""
    folder = tokenizer("r1", R1, "<|end_of_sentence|>", "<|begin_of_sentence|>", "<|User|>", "<|Assistant|>", "<think>", "</think>", bos="<|begin_of_sentence|>")
    thought = lambda t, a: dict(role="assistant", content=f"<think>\n{t}\n</think>\n\n{a}") if form == "marks" else dict(role="assistant", reasoning_content=t, content=a)
    chat = [dict(role="system", content="Be brief."), dict(role="user", content="what is 2?"), thought("It is a thing.", "this"), dict(role="user", content="and 3?"), thought("3 it is", "that")]
    first, second = segments(folder, chat)
    assert first == [("<|begin_of_sentence|>Be brief.<|User|>what is 2?<|Assistant|><think>\n", False), ("It is a thing.\n</think>\n\nthis<|end_of_sentence|>", True)]
    assert second == [("<|begin_of_sentence|>Be brief.<|User|>what is 2?<|Assistant|>this<|end_of_sentence|><|User|>and 3?<|Assistant|><think>\n", False),
                      ("3 it is\n</think>\n\nthat<|end_of_sentence|>", True)]

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
    refused("train", "sft", "nowhere.jsonl", "-m", model, "-o", "run", says="nowhere.jsonl")
    refused("train", "sft", "-m", model, "-o", "run", code=USAGE, says="chats")

"""r2lm train from outside: a model from a configuration, a short run that learns, what it leaves behind, what is refused."""
import hashlib, json, math, os, signal, subprocess, time
import pytest
from cli_client import DATA, NUMBERS, OK, PROGRAM, TOY, USAGE, here, home, r2lm, refused   # noqa: F401  (fixtures)

SMALL = dict(hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=12)


def small_model(name="start", **changes):
    """A folder with a llama of two layers, the toy's tokenizer and random weights."""
    r2lm("convert", TOY, "toy", "--force")
    config = json.load(open("toy/config.json"))
    vocab = config["vocab_size"]
    config = dict(architectures=["LlamaForCausalLM"], model_type="llama", vocab_size=vocab, hidden_act="silu", rms_norm_eps=1e-5,
                  rope_theta=10000.0, max_position_embeddings=512, tie_word_embeddings=True, **SMALL)
    config.update(changes)
    os.makedirs("seed", exist_ok=True)
    json.dump(config, open("seed/config.json", "w"))
    for file in os.listdir("toy"):
        if "token" in file or "template" in file: os.replace(f"toy/{file}", f"seed/{file}")
    r2lm("train", "init", "seed", "-o", name, "--force")
    return name


def texts(model, name="data", validation=0.25):
    os.makedirs("txt", exist_ok=True)
    for i in range(24):
        open(f"txt/{i}.txt", "w").write("".join(f"{i} and {j} are {i + j}; " for j in range(40)))
    r2lm("data", "prep", "txt", "-m", model, "-o", name, "--validation", validation, "--keep-copies", "--force")
    return name


def train(data, model, run, *flags, code=OK):
    return r2lm("train", "pretrain", data, "-m", model, "-o", run, "--batch-tokens", 256, "--run-tokens", 64, "--type", "f32", *flags, code=code)


def metrics(run): return [json.loads(line) for line in open(f"{run}/metrics.jsonl") if line.endswith("\n")]


def digest(folder): return hashlib.sha256(open(f"{folder}/model.safetensors", "rb").read()).hexdigest()


def test_a_run_learns():
    model = small_model()
    data = texts(model)
    said = json.loads(train(data, model, "run", "--steps", 40, "--lr", 0.01, "--warmup", 4, "--validate-every", 20, "--json").out)
    lines = metrics("run")
    assert [l["step"] for l in lines] == list(range(1, 41)) and said["steps"] == 40
    assert lines[-1]["loss"] < 0.6 * lines[0]["loss"]
    assert [l["step"] for l in lines if "validation_loss" in l] == [20, 40]
    assert said["validation_loss"] == pytest.approx(lines[-1]["validation_loss"]) and said["validation_loss"] < 0.7 * lines[0]["loss"]
    # Bits per byte of text: the loss, times the tokens that a byte takes.
    text = open("txt/0.txt").read()
    per_byte = (json.loads(r2lm("tokenize", "-m", model, "-p", text, "--json").out)["n_tokens"] + 1) / len(text)
    assert said["validation_bpb"] == pytest.approx(said["validation_loss"] / math.log(2) * per_byte, rel=0.03)
    rates = [l["lr"] for l in lines]
    assert rates[0] == pytest.approx(0.0025) and max(rates) == pytest.approx(0.01) and rates[-1] < 0.002
    assert lines[-1]["tokens"] <= 40 * 256 and all(l["gradient_norm"] > 0 for l in lines)
    assert sum(l["tok_s"] * l["seconds"] for l in lines) == pytest.approx(lines[-1]["tokens"])
    drawn = r2lm("plot", "run").out
    for name in ("loss", "validation_loss", "validation_bpb", "gradient_norm", "lr", "tok_s"): assert f"\n  {name} " in drawn, drawn
    # What was saved is a model like any other, and has learnt what the losses say.
    open("held.txt", "w").write("".join(f"7 and {j} are {7 + j}; " for j in range(40)))
    ppl = lambda m: json.loads(r2lm("ppl", m, "-f", "held.txt", "-c", 64, "--arithmetic", "f32", "--json").out)["perplexity"]
    assert ppl("run/model") < 0.3 * ppl(model)
    r2lm("verify", "run/model")
    assert sorted(os.listdir("run")) == ["config.ini", "metrics.jsonl", "model"]


def test_same_bytes_for_any_threads_and_recomputing():
    model = small_model()
    data = texts(model)
    digests = set()
    for i, flags in enumerate([("-t", 1), ("-t", 2), ("-t", 3, "--recompute")]):
        train(data, model, f"run{i}", "--steps", 4, *flags)
        digests.add(digest(f"run{i}/model"))
    assert len(digests) == 1
    train(data, model, "other", "--steps", 4, "--seed", 2)      # another order
    assert digest("other/model") not in digests
    train(data, model, "muon", "--steps", 8, "--optimizer", "muon", "--lr", 0.005)
    assert metrics("muon")[-1]["loss"] < 0.9 * metrics("muon")[0]["loss"]
    # Batches of one step: as many tokens twice as large a batch has.
    train(data, model, "twice", "--steps", 2, "--accumulate", 2)
    assert metrics("twice")[-1]["tokens"] > 3 * 256


def test_initial_weights_follow_the_seed():
    small_model()
    r2lm("train", "init", "seed", "-o", "one", "--seed", 7)
    r2lm("train", "init", "seed", "-o", "two", "--seed", 7)
    r2lm("train", "init", "seed", "-o", "three", "--seed", 8)
    assert digest("one") == digest("two") != digest("three")
    refused("train", "init", "seed", "-o", "one", code=USAGE, says="exists already")
    config = json.load(open("seed/config.json"))
    json.dump({**config, "vocab_size": 100}, open("seed/config.json", "w"))
    refused("train", "init", "seed", "-o", "four", says="vocab_size: expected at least the")
    json.dump(config, open("seed/config.json", "w"))
    refused("train", "init", "nowhere", "-o", "four", says="nowhere")
    assert not os.path.exists("four")


def test_a_depth_makes_our_own_architecture():
    small_model()                                                  # for the toy's tokenizer
    r2lm("train", "init", "--depth", 2, "--tokenizer", "seed", "-o", "own")
    config = json.load(open("own/config.json"))
    assert config["model_type"] == "deepseek_v3" and config["num_hidden_layers"] == 2 and config["hidden_size"] == 64
    assert config["vocab_size"] == json.load(open("seed/config.json"))["vocab_size"]
    data = texts("own")
    train(data, "own", "run", "--steps", 30, "--lr", 0.01, "--warmup", 3)
    lines = metrics("run")
    assert lines[-1]["loss"] < 0.6 * lines[0]["loss"] and lines[-1]["mtp_loss"] < 0.8 * lines[0]["mtp_loss"]
    train(data, "own", "late", "--steps", 10, "--mtp-from", 0.6)
    assert ["mtp_loss" in l for l in metrics("late")] == 6 * [False] + 4 * [True]
    r2lm("convert", "run/model", "own.gguf")                       # with the prediction module, which drafts
    say = lambda model, *flags: r2lm("run", model, "--raw", "-p", "7 and 3 are", "-n", 24, "--temp", 0, "--ignore-eos", *flags).out
    assert say("run/model") == say("run/model", "--draft", "off") and say("own.gguf") == say("own.gguf", "--draft", "off")
    refused("train", "init", "seed", "--depth", 2, "-o", "both", code=USAGE, says="either a folder")
    refused("train", "init", "--depth", 1, "-o", "one", code=USAGE, says="2 to 32")
    refused("train", "init", "--depth", 2, "--tokenizer", "txt", "-o", "none", says="tokenizer.json")
    assert not os.path.exists("one") and not os.path.exists("none")


def test_refusals_come_before_the_first_step():
    model = small_model()
    data = texts(model)
    train(data, model, "run", "--steps", 1)
    refused("train", "pretrain", data, "-m", model, "-o", "run", code=USAGE, says="exists already")
    train(data, model, "run", "--steps", 1, "--force")
    assert "--force" in train(data, model, "run", "--steps", 1, code=USAGE).err
    refused("train", "pretrain", "txt", "-m", model, "-o", "run", "--force", says="manifest.json")
    assert len(metrics("run")) == 1                                # what was there stays
    refused("train", "pretrain", "txt", "-m", model, "-o", "no-data", says="manifest.json")
    refused("train", "pretrain", data, "-m", model, "-o", "warm", "--steps", 3, "--warmup", 3, code=USAGE, says="warm-up")
    refused("train", "walk", code=USAGE, says="init, pretrain, sft, distill, grpo, dpo or export")
    refused("train", "pretrain", "-m", model, "-o", "x", code=USAGE, says="data prep")
    shard = next(f for f in os.listdir(data) if f not in ("manifest.json", "DATA.md"))
    raw = bytearray(open(f"{data}/{shard}", "rb").read()); raw[20] ^= 1
    open(f"{data}/{shard}", "wb").write(raw)
    refused("train", "pretrain", data, "-m", model, "-o", "changed", says=shard)


def test_numbers_that_are_none_end_a_run():
    model = small_model()
    data = texts(model)
    done = train(data, model, "run", "--steps", 60, "--lr", 100, "--weight-decay", 100, "--schedule", "constant", code=NUMBERS)
    assert "no finite number" in done.err and not os.path.exists("run/model")
    assert "--lr" in done.err and "r2lm plot run" in done.err
    assert len(metrics("run")) < 60


def test_a_signal_saves():
    model = small_model()
    data = texts(model)
    p = subprocess.Popen([PROGRAM, "train", "pretrain", data, "-m", model, "-o", "run", "--steps", "1000000", "--batch-tokens", "256", "--run-tokens", "64"],
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    for _ in range(600):
        if os.path.exists("run/metrics.jsonl") and len(metrics("run")) >= 3: break
        time.sleep(0.1)
    p.send_signal(signal.SIGTERM)
    said = p.communicate(timeout=120)[1].decode()
    assert p.returncode == 0 and f"stopped after step {len(metrics('run'))} of 1000000" in said
    assert os.path.exists("run/model/model.safetensors")
    r2lm("verify", "run/model")


def test_batches_are_what_a_run_reads():
    model = small_model()
    data = texts(model)
    train(data, model, "run", "--steps", 5, "--seed", 3)
    printed = [json.loads(l) for l in r2lm("data", "batches", data, "--batches", 5, "--seed", 3, "--batch-tokens", 256, "--run-tokens", 64).out.splitlines()]
    assert len(printed) == 5
    sums = [0, 0]
    for b, line in zip(printed, metrics("run")):
        assert sum(b["lengths"]) == len(b["tokens"]) == len(b["targets"]) <= 256 and max(b["lengths"]) <= 64
        ends = [sum(b["lengths"][:i + 1]) - 1 for i in range(len(b["lengths"]))]
        for i, t in enumerate(b["targets"]): assert t == (b["tokens"][i + 1] if i not in ends else t)
        sums = [sums[0] + len(b["tokens"]), sums[1] + sum(t >= 0 for t in b["targets"])]
        assert sums == [line["tokens"], line["targets"]]
    # Without a number: every document once.
    shown = json.loads(r2lm("data", "show", data, "--json").out)
    whole = [json.loads(l) for l in r2lm("data", "batches", data, "--split", "validation", "--batch-tokens", 256, "--run-tokens", 256).out.splitlines()]
    assert sum(len(b["tokens"]) for b in whole) == shown["validation"]["tokens"]
    refused("data", "batches", "nowhere", says="nowhere")

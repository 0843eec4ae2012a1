"""r2lm train distill from outside: a small model learns from a larger one, what is the same every time, what is refused."""
import json, os
from cli_client import DATA, OK, TOY, USAGE, here, home, r2lm, refused   # noqa: F401  (fixtures)
from test_train import digest, metrics, small_model, texts


def teach(data="data"):
    """A teacher that has read the texts for longer than any student will."""
    small_model("larger", num_hidden_layers=3, hidden_size=64, intermediate_size=160, num_attention_heads=4, num_key_value_heads=4, head_dim=16)
    r2lm("train", "pretrain", data, "-m", "larger", "-o", "school", "--batch-tokens", 512, "--run-tokens", 128, "--type", "f32", "--steps", 60, "--lr", 0.01, "-q")
    return "school/model"


def distill(data, model, teacher, run, *flags, code=OK):
    return r2lm("train", "distill", data, "-m", model, "--teacher", teacher, "-o", run, "--batch-tokens", 256, "--run-tokens", 64, "--type", "f32",
                "--steps", 12, "--lr", 0.004, *flags, code=code)


def test_a_teacher_helps():
    model = small_model()
    data = texts(model)
    teacher = teach(data)
    flags = ("--batch-tokens", 256, "--run-tokens", 64, "--type", "f32", "--steps", 12, "--lr", 0.004, "--schedule", "cosine", "--json")
    alone = json.loads(r2lm("train", "pretrain", data, "-m", model, "-o", "alone", *flags).out)
    taught = json.loads(distill(data, model, teacher, "taught", "--json").out)
    assert taught["validation_loss"] < alone["validation_loss"] - 0.02, (taught, alone)
    lines = metrics("taught")
    assert lines[-1]["teacher_loss"] < 0.6 * lines[0]["teacher_loss"]
    assert "teacher_loss" not in metrics("alone")[0]
    # The other divergences, a temperature and a share of the data's own tokens; the seed decides, threads do not.
    distill(data, model, teacher, "mixed", "--teacher-share", 0.5, "--beta", 0.5, "--teacher-temp", 2, "--teacher-tokens", 8, "-t", 1)
    distill(data, model, teacher, "again", "--teacher-share", 0.5, "--beta", 0.5, "--teacher-temp", 2, "--teacher-tokens", 8, "-t", 2)
    assert digest("mixed/model") == digest("again/model") != digest("taught/model")
    assert metrics("mixed")[-1]["loss"] < metrics("mixed")[0]["loss"]
    # The teacher as a file of a smaller type, as it is run.
    r2lm("quantize", teacher, "teacher.gguf", "--type", "Q8_0", "--no-measure")
    r2lm("train", "distill", data, "-m", model, "--teacher", "teacher.gguf", "-o", "quantized", "--batch-tokens", 256, "--run-tokens", 64, "--steps", 2)
    assert metrics("quantized")[0]["teacher_loss"] > 0


def test_refusals():
    model = small_model()
    data = texts(model)
    refused("train", "distill", data, "-m", model, "-o", "run", code=USAGE, says="--teacher")
    refused("train", "distill", data, "-m", model, "--teacher", "nowhere", "-o", "run", says="nowhere")
    refused("train", "distill", data, "-m", model, "--teacher", model, "-o", "run", "--teacher-tokens", 10000, code=USAGE, says="teacher-tokens")
    # Another vocabulary: the first token that differs is named.
    files = json.load(open("seed/tokenizer.json"))
    names = sorted(files["model"]["vocab"], key=files["model"]["vocab"].get)
    first, second = names[5], names[6]
    files["model"]["vocab"][first], files["model"]["vocab"][second] = 6, 5
    json.dump(files, open("seed/tokenizer.json", "w"))
    r2lm("train", "init", "seed", "-o", "stranger", "--force")
    assert "token 5 is" in refused("train", "distill", data, "-m", model, "--teacher", "stranger", "-o", "run", says="vocabulary")


def test_own_answers():
    model = small_model()
    data = texts(model)
    teacher = teach(data)
    r2lm("train", "pretrain", data, "-m", model, "-o", "begun", "--batch-tokens", 256, "--run-tokens", 64, "--type", "f32", "--steps", 10, "--lr", 0.01, "-q")
    flags = ("--own-share", 1, "--own-samples", 2, "--own-tokens", 24, "--prompt-part", 8)
    distill(data, "begun/model", teacher, "own", *flags, "-t", 1)
    distill(data, "begun/model", teacher, "again", *flags, "-t", 2)
    assert digest("own/model") == digest("again/model")
    lines = metrics("own")
    assert sum(l["teacher_loss"] for l in lines[-3:]) < 0.8 * sum(l["teacher_loss"] for l in lines[:3]), lines
    assert all(0 < l["targets"] for l in lines) and lines[0]["targets"] <= 24 * 2 * 64
    # Some batches of each kind: of both the same numbers with the same seed.
    distill(data, "begun/model", teacher, "both", *flags, "--own-share", 0.5)
    assert digest("both/model") not in (digest("own/model"), digest("begun/model"))
    distill(data, "begun/model", teacher, "other", *flags, "--seed", 5)
    assert digest("other/model") != digest("own/model")
